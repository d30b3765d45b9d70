//! A key whose rows have a long way under one plan, and a short one with a node that may block under the next.

use std::time::{Duration, Instant};

use gristmill::defect::Defect;
use gristmill::in_process::{Collected, feed};
use gristmill::topology::{Node, Topology, provide, sensor, sink};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::words::{Column, ElementType, Offset, Span, Time};
use gristmill::{Deployment, Runtime, Stream};

const X: Stream<f64> = Stream::new("x");
const OUT: Stream<f64> = Stream::new("out");

/// Nodes on the long way, more than a shard lets run before it takes up the next row, and how long each holds the shard:
/// several rows are on the way when the plan changes.
const STEPS: usize = 200;
const HOLDS: Duration = Duration::from_micros(200);
const ROWS: i64 = 60;
const EVERY: Duration = Duration::from_millis(10);

fn holds(x: f64) -> f64 {
    let begun = Instant::now();
    while begun.elapsed() < HOLDS {
        std::hint::spin_loop();
    }
    x
}

/// The nodes of the long way, the last of which provides `out`.
fn long_way() -> Vec<Node> {
    let stream = |step: usize| Stream::named(format!("step{step}"));
    let step = |step: usize| {
        let needed = if step == 0 { X } else { stream(step - 1) };
        let provided = if step + 1 == STEPS { OUT } else { stream(step) };
        provide(provided).needs(needed).by(holds)
    };
    (0..STEPS).map(step).collect()
}

/// How many rows came out behind a later one of the key.
pub(crate) fn out_of_order(defect: Option<Defect>) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("there are threads").block_on(run(defect))
}

async fn run(defect: Option<Defect>) -> usize {
    let (feeder, source) = feed(Axes::Declared(vec![vec![("x".into(), ElementType::F64)]]));
    let written = Collected::default();
    let long = long_way();
    let plant = Topology::new("plant").with(sensor(X)).with_all(long.clone()).with(sink("to").needs(OUT));
    let mut builder = Runtime::builder().topology(plant).source(source).sink("to", written.clone()).shards(1);
    builder = builder.defect(defect);
    builder.options_mut().drive.batch_age = Duration::from_millis(1);
    let handle = builder.start().await.expect("nothing is wrong with it");
    let deploying = {
        let handle = handle.clone();
        tokio::spawn(async move {
            tokio::time::sleep(EVERY * 20).await;
            let short = provide(OUT).needs(X).by(|x: f64| x).slow(Span::from_secs(60));
            let id = short.name();
            let mut change = Deployment::new().put(short).reset(id.clone());
            for node in long.iter().filter(|node| node.name() != id) {
                change = change.remove(node.name());
            }
            handle.apply(change).await.expect("it is right")
        })
    };
    for row in 0..ROWS {
        let columns = vec![Column::F64(vec![row as f64])];
        let (offset, times) = (Offset(row), vec![Time::from_millis(row)]);
        let record = RowsRecord { offset, log_time: None, key: "k".into(), axis: 0, times, columns };
        feeder.send(0, vec![record]).await.expect("it runs");
        tokio::time::sleep(EVERY).await;
    }
    deploying.await.expect("it does not panic");
    drop(feeder);
    handle.finished().await.expect("it ends in order");
    let offsets: Vec<i64> = written.take().into_iter().map(|output| output.cause.offset.0).collect();
    assert_eq!(offsets.len(), usize::try_from(ROWS).expect("it is small"), "every row is written");
    offsets.windows(2).filter(|pair| pair[0] > pair[1]).count()
}
