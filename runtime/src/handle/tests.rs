//! `Handle::settled` beside a source that never pauses, and what is said at the end.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::Field;
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::{Handle, RunError};
use crate::in_process::{Feeder, feed};
use crate::runtime::Runtime;
use crate::state::{Kept, StateError, StateStore};
use crate::topology::{Topology, provide, sensor, sink};
use crate::traits::sink::{Done, Sink, SinkError, SinkFrame, SinkWriter};
use crate::traits::source::{Axes, PollLimits, Polled, RowsRecord, Source, SourceError};
use crate::words::{Class, Column, ElementType, Offset, ShardIndex, Stream, Time};

const X: Stream<f32> = Stream::new("x");
const Y: Stream<f32> = Stream::new("y");

/// Says that a frame is durable when the next one has come, so that one is always in flight.
#[derive(Clone, Default)]
struct OneBehind(Arc<Mutex<Option<Done>>>);

impl OneBehind {
    fn hold(&self, done: Option<Done>) {
        let before = std::mem::replace(&mut *self.0.lock().expect("nobody panics with this lock"), done);
        before.into_iter().for_each(Done::done);
    }
}

impl Sink for OneBehind {
    fn open(&self, _: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
    fn flush(&self) -> Result<(), SinkError> {
        self.hold(None);
        Ok(())
    }
}

impl SinkWriter for OneBehind {
    fn write(&mut self, _: &SinkFrame<'_>, done: Done) {
        self.hold(Some(done));
    }
}

fn axes() -> Axes {
    Axes::Declared(vec![vec![("x".into(), ElementType::F32)]])
}

async fn row(feeder: &Feeder, offset: i64) {
    let columns = vec![Column::F32(vec![1.0])];
    let (offset, times) = (Offset(offset), vec![Time(offset)]);
    let row = RowsRecord { offset, log_time: None, key: "k".into(), axis: 0, times, columns };
    feeder.send(0, vec![row]).await.expect("it runs");
    feeder.taken().await.expect("it runs");
}

async fn is_settled(handle: &Handle) -> bool {
    tokio::time::timeout(Duration::from_millis(300), handle.settled()).await.is_ok()
}

#[tokio::test]
async fn settled_waits_for_what_was_handed_over_and_for_nothing_that_comes_later() {
    let (feeder, source) = feed(axes());
    let node = provide(Y).needs(X).by(|x: f32| x + 1.0);
    let topology = Topology::new("pump").with(sensor(X)).with(node).with(sink("out").needs(Y));
    let builder = Runtime::builder().topology(topology).source(source).sink("out", OneBehind::default());
    let handle = builder.shards(1).start().await.expect("nothing is wrong with it");
    assert!(is_settled(&handle).await, "nothing was handed over");

    row(&feeder, 0).await;
    assert!(!is_settled(&handle).await, "the first row's frame is not durable");
    let settled = tokio::spawn({
        let handle = handle.clone();
        async move { handle.settled().await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!settled.is_finished());
    row(&feeder, 1).await;
    tokio::time::timeout(Duration::from_secs(20), settled)
        .await
        .expect("the first row is durable, though the second is in flight")
        .expect("it does not panic");
    handle.stop().await.expect("the source ends in order");
}

/// Cannot go on, and says so with these words.
struct Broken {
    words: &'static str,
    /// Only when it is closed.
    at_the_end: bool,
}

impl Broken {
    fn error(&self) -> SourceError {
        SourceError { reason: self.words.to_owned(), retry: false }
    }
}

impl Source for Broken {
    fn axes(&self) -> Axes {
        axes()
    }

    fn poll(&mut self, _limits: PollLimits) -> Result<Polled, SourceError> {
        if self.at_the_end { Ok(Polled::Batches(Vec::new())) } else { Err(self.error()) }
    }

    fn close(&mut self) -> Result<(), SourceError> {
        if self.at_the_end { Err(self.error()) } else { Ok(()) }
    }

    fn commit(&mut self, _partition: u32, _next: Offset) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Keeps what is logged as an error.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<String>>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().expect("nobody panics with this lock");
        event.record(&mut |field: &Field, value: &dyn Debug| write!(text, "{field}: {value:?}; ").expect("a text"));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn everybody_who_waits_for_the_end_gets_the_first_failure_and_the_others_are_logged() {
    let errors = Errors::default();
    let _logged = tracing::subscriber::set_default(errors.clone());
    let topology = |class: &str| Topology::new(class).with(sensor(X)).with(sink("out").needs(X));
    let builder = Runtime::builder().topology(topology("pump")).topology(topology("valve"));
    // One ends the other, which fails in that.
    let source = |words, at_the_end| Broken { words, at_the_end };
    let builder = builder.source_of("pump", source("no road", false)).source_of("valve", source("no bridge", true));
    let builder = builder.sink("out", OneBehind::default()).shards(1);
    let handle = builder.start().await.expect("nothing is wrong with it");
    let (one, other) = tokio::join!(handle.finished(), handle.finished());
    for ended in [one, other, handle.finished().await, handle.stop().await] {
        assert!(matches!(&ended, Err(RunError::Source(error)) if error.reason == "no road"), "{ended:?}");
    }
    let logged = errors.0.lock().expect("nobody panics with this lock");
    assert!(logged.contains("source-valve") && logged.matches("no bridge").count() == 1, "{logged}");
}

/// Keeps a state, but not that its source knows how far it goes.
struct Untelling;

impl StateStore for Untelling {
    fn load(&self, _class: &Class) -> Result<Kept, StateError> {
        Ok(Kept::Nothing)
    }

    fn save(
        &self,
        _class: &Class,
        next: &mut dyn FnMut() -> Result<Option<Vec<u8>>, StateError>,
    ) -> Result<(), StateError> {
        while next()?.is_some() {}
        Ok(())
    }

    fn told(&self, _class: &Class) -> Result<(), StateError> {
        Err(StateError::Shard)
    }

    fn taken(&self, _class: &Class) -> Result<(), StateError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_state_that_is_saved_and_only_not_told_is_not_said_to_be_lost() {
    let (feeder, source) = feed(axes());
    let topology = Topology::new("pump").with(sensor(X)).with(sink("out").needs(X));
    let builder = Runtime::builder().topology(topology).source(source).sink("out", OneBehind::default());
    let handle = builder.state(Untelling).shards(1).start().await.expect("nothing is wrong with it");
    row(&feeder, 0).await;
    let error = handle.stop().await.expect_err("that could not be noted").to_string();
    assert!(error.contains("are saved and the next start goes on with them"), "{error}");
    assert!(!error.contains("begins without"), "{error}");
}
