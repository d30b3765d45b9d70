//! `Handle::settled` beside a source that never pauses.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Handle;
use crate::in_process::{Feeder, feed};
use crate::runtime::Runtime;
use crate::topology::{Topology, provide, sensor, sink};
use crate::traits::sink::{Done, Sink, SinkError, SinkFrame, SinkWriter};
use crate::traits::source::{Axes, RowsRecord};
use crate::words::{Column, ElementType, Offset, ShardIndex, Stream, Time};

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
    let (feeder, source) = feed(Axes::Declared(vec![vec![("x".into(), ElementType::F32)]]));
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
