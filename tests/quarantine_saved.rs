//! The quarantine of a node for a key is part of what a stop in order saves; a start that quarantines nothing ends it.

use std::path::Path;

use gristmill::in_process::{Collected, feed};
use gristmill::state::StateFolder;
use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::words::{Column, ElementType, Offset, Time};
use gristmill::{Options, Quarantine, Runtime, Stream};

const VALUE: Stream<f64> = Stream::new("value");
const ROOT: Stream<f64> = Stream::new("root");

/// Starts on what was saved, brings these rows of a key, and stops in order: how many rows came out, failed, and found the
/// node in quarantine.
async fn run(folder: &Path, quarantine: Option<Quarantine>, from: i64, values: &[f64]) -> (usize, u64, u64) {
    let (feeder, source) = feed(Axes::Declared(vec![vec![("value".into(), ElementType::F64)]]));
    let root = provide(ROOT).needs(VALUE).by(|value: f64| {
        assert!(value >= 0.0, "{value} has no root");
        value.sqrt()
    });
    let topology = Topology::new("pump").with(sensor(VALUE)).with(root).with(sink("roots").needs(ROOT));
    let (roots, store) = (Collected::default(), StateFolder::open(folder).expect("the folder is free"));
    let builder = Runtime::builder().topology(topology).source(source).sink("roots", roots.clone()).state(store);
    let options = Options { shards: 1, quarantine, ..Options::default() };
    let mill = builder.options(options).start().await.expect("it starts");
    let record = |(offset, value): (i64, &f64)| RowsRecord {
        offset: Offset(offset),
        log_time: None,
        key: "p".into(),
        axis: 0,
        times: vec![Time::from_secs(offset)],
        columns: vec![Column::F64(vec![*value])],
    };
    feeder.send(0, (from..).zip(values).map(record).collect()).await.expect("it runs");
    feeder.taken().await.expect("it runs");
    mill.settled().await;
    let report = mill.report(None).await.expect("it runs");
    let node = report.nodes.iter().find(|node| node.node.as_str() == "root").expect("it runs");
    let counts = node.counts;
    mill.stop().await.expect("it stops in order");
    (roots.take().len(), counts.failed, counts.quarantined)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_quarantines_nothing_ends_a_quarantine_that_was_saved() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quarantine-saved");
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run left
    let some = Some(Quarantine::default());
    assert_eq!(run(&folder, some, 0, &[-1.0, -1.0, -1.0, -1.0, -1.0, 4.0]).await, (0, 5, 1));
    assert_eq!(run(&folder, some, 6, &[4.0, 4.0]).await, (0, 0, 2), "a start goes on with it");
    assert_eq!(run(&folder, None, 8, &[4.0, -1.0, 4.0]).await, (2, 1, 0));
    // It is over: what one failure of three counts for is no quarantine.
    assert_eq!(run(&folder, some, 11, &[4.0, 4.0]).await, (2, 0, 0));
}
