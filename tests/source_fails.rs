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
}

impl Source for Shaky {
    fn axes(&self) -> Axes {
        Axes::Declared(vec![vec![("value".into(), ElementType::F64)]])
    }

    fn poll(&mut self, _limits: PollLimits) -> Result<Polled, SourceError> {
        match self.turns.pop_front() {
            Some(true) => {
                let (offset, time) = (Offset(self.next), Time::from_secs(self.next));
                self.next += 1;
                let columns = vec![Column::F64(vec![1.0])];
                let row = RowsRecord { offset, log_time: None, key: "p".into(), axis: 0, times: vec![time], columns };
                Ok(Polled::Batches(vec![Batch::new(0, Records::Rows(vec![row]))]))
            }
            None if self.ends => Ok(Polled::End),
            _ => Err(SourceError { reason: "no road to the plant".to_owned(), retry: true }),
        }
    }

    fn commit(&mut self, _partition: u32, _next: Offset) -> Result<(), SourceError> {
        Ok(())
    }
}

/// How it ends, and how many rows had their effect.
async fn run(turns: &[bool], ends: bool, patience: Option<Duration>) -> (Result<(), RunError>, usize) {
    let source = Shaky { turns: turns.iter().copied().collect(), ends, next: 0 };
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

/// Its failures together take longer than the limit, and none of them alone: three take at most 700 ms.
#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_works_begins_the_time_anew() {
    let turns = [[false, false, false, true]; 4].concat();
    let (ended, rows) = run(&turns, true, Some(Duration::from_millis(720))).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(rows, 4);
}
