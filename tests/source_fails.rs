//! A source that fails is tried again with pauses, without an end unless a limit is set; then the runtime ends with the
//! source's own error, and what it brought before has had its effect.

use std::collections::VecDeque;
use std::time::Duration;

use gristmill::in_process::Collected;
use gristmill::topology::{Topology, sensor, sink};
use gristmill::traits::source::{Axes, Batch, PollLimits, Polled, Records, RowsRecord};
use gristmill::traits::{Source, SourceError};
use gristmill::words::{Column, ElementType, Offset, Time};
use gristmill::{Options, RunError, Runtime, Stream};

const VALUE: Stream<f64> = Stream::new("value");

/// Brings a row for each `true` and fails for each `false`; then it ends, or fails for ever.
struct Shaky {
    turns: VecDeque<bool>,
    ends: bool,
    next: i64,
    /// Its polls bring nothing instead of an error: that has to be asked for.
    mute: bool,
    fails: bool,
}

impl Shaky {
    fn new(turns: &[bool], ends: bool) -> Self {
        Self { turns: turns.iter().copied().collect(), ends, next: 0, mute: false, fails: false }
    }

    fn error() -> SourceError {
        SourceError { reason: "no road to the plant".to_owned(), retry: true }
    }
}

impl Source for Shaky {
    fn axes(&self) -> Axes {
        Axes::Declared(vec![vec![("value".into(), ElementType::F64)]])
    }

    fn poll(&mut self, _limits: PollLimits) -> Result<Polled, SourceError> {
        let turn = self.turns.pop_front();
        self.fails = turn == Some(false) || (turn.is_none() && !self.ends);
        match turn {
            Some(true) => {
                let (offset, time) = (Offset(self.next), Time::from_secs(self.next));
                self.next += 1;
                let columns = vec![Column::F64(vec![1.0])];
                let row = RowsRecord { offset, log_time: None, key: "p".into(), axis: 0, times: vec![time], columns };
                Ok(Polled::Batches(vec![Batch::new(0, Records::Rows(vec![row]))]))
            }
            None if self.ends => Ok(Polled::End),
            _ if self.mute => Ok(Polled::Batches(Vec::new())),
            _ => Err(Self::error()),
        }
    }

    fn failing(&mut self) -> Option<SourceError> {
        (self.mute && self.fails).then(Self::error)
    }

    fn commit(&mut self, _partition: u32, _next: Offset) -> Result<(), SourceError> {
        Ok(())
    }
}

/// How it ends, and how many rows had their effect.
async fn run(turns: &[bool], ends: bool, patience: Option<Duration>) -> (Result<(), RunError>, usize) {
    run_source(Shaky::new(turns, ends), patience).await
}

async fn run_source(source: Shaky, patience: Option<Duration>) -> (Result<(), RunError>, usize) {
    let (values, mut options) = (Collected::default(), Options::default());
    options.drive.source_patience = patience;
    let topology = Topology::new("pump").with(sensor(VALUE)).with(sink("values").needs(VALUE));
    let mill = Runtime::builder().topology(topology).source(source).sink("values", values.clone()).options(options);
    let mill = mill.start().await.expect("it starts");
    let ended = mill.finished().await;
    (ended, values.take().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_tried_again_until_it_works() {
    let (ended, rows) = run(&[true, false, false, false, true], true, None).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(rows, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_for_too_long_ends_the_runtime_with_its_error() {
    let (ended, rows) = run(&[true, true], false, Some(Duration::from_millis(300))).await;
    let error = ended.expect_err("it gave up").to_string();
    assert!(error.contains("no road to the plant") && error.contains("`source_patience`"), "{error}");
    assert_eq!(rows, 2, "what it brought before has had its effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_whose_polls_bring_nothing_for_as_long() {
    let mute = Shaky { mute: true, ..Shaky::new(&[true, true], false) };
    let (ended, rows) = run_source(mute, Some(Duration::from_millis(300))).await;
    let error = ended.expect_err("it gave up").to_string();
    assert!(error.contains("no road to the plant") && error.contains("`source_patience`"), "{error}");
    assert_eq!(rows, 2);
    let turns = [true, false, false, true];
    let (ended, rows) = run_source(Shaky { mute: true, ..Shaky::new(&turns, true) }, None).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(rows, 2);
}

/// Takes a while to say what it brings.
struct Slow(Shaky);

impl Source for Slow {
    fn axes(&self) -> Axes {
        std::thread::sleep(Duration::from_millis(300));
        self.0.axes()
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        self.0.poll(limits)
    }

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        self.0.commit(partition, next)
    }
}

/// The first class could run before the second is known to be wrong; it must not, as it would be cut off in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_for_one_class_has_read_nothing_of_another() {
    let shaky = || Shaky::new(&[true; 5], true);
    let values = Collected::default();
    let topology = |class: &str, of| Topology::new(class).with(sensor(VALUE)).with(sink("values").needs(of));
    let start = |of_valve| {
        let builder = Runtime::builder().topology(topology("pump", VALUE)).topology(topology("valve", of_valve));
        builder.sink("values", values.clone()).source_of("pump", shaky()).source_of("valve", Slow(shaky())).start()
    };
    let error = start(Stream::new("nobody")).await.map(drop).expect_err("nobody provides it");
    assert!(error.to_string().contains("`nobody`"), "{error}");
    assert_eq!(values.take().len(), 0);
    start(VALUE).await.expect("it starts").finished().await.expect("both end");
    assert_eq!(values.take().len(), 10);
}

/// Its failures together take longer than the limit, and none of them alone: three take at most 700 ms.
#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_works_begins_the_time_anew() {
    let turns = [[false, false, false, true]; 4].concat();
    let (ended, rows) = run(&turns, true, Some(Duration::from_millis(720))).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(rows, 4);
}
