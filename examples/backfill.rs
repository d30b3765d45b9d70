//! cargo run --release -p gristmill-examples --example backfill [-- HISTORY.csv PREDICTIONS.jsonl]
//!
//! History through the topology that also runs live: a CSV file in, a file of predictions out. Event time decides what
//! comes out and not when it is computed, so history gives what live would have given, as fast as the disk delivers.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::{Path, PathBuf};

use gristmill::topology::{Topology, matching, provide, sensor, sink};
use gristmill::traits::{Sink, Source};
use gristmill::{Handle, Runtime, StartError, Stream};
use gristmill_operators::file;
use gristmill_operators::rolling::{self, Stat};

const TEMPERATURE: Stream<f32> = Stream::new("temperature"); // °C
const VIBRATION: Stream<f32> = Stream::new("vibration"); // mm/s
const MEAN: Stream<f32> = Stream::new("vibration.mean"); // mm/s, over the last 5 s
const WEAR: Stream<f32> = Stream::new("wear"); // 0 new, 1 worn out

/// The topology, written once: for history as for what happens now.
fn machine() -> Topology {
    Topology::new("machine")
        .with(sensor(TEMPERATURE).range(-40.0..=200.0).hold_last())
        .with(sensor(VIBRATION).range(0.0..=50.0).hold_last())
        .with(provide(MEAN).needs(VIBRATION).by(rolling::stats(rolling::rows(5), [Stat::Mean])))
        .with(provide(WEAR).needs((MEAN, TEMPERATURE)).by(|mean: f32, t: f32| mean / 50.0 + t / 400.0).model())
        .with(sink("predictions").needs(matching("wear")))
}

/// Starts it on any source and sink. Live these would be `kafka::source` and `kafka::sink`: see `kafka.rs`.
async fn start(source: impl Source, predictions: impl Sink) -> Result<Handle, StartError> {
    Runtime::builder().topology(machine()).source(source).sink("predictions", predictions).start().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/readings.csv");
    let history = arguments.next().unwrap_or(shipped);
    let predictions = arguments.next().unwrap_or_else(|| std::env::temp_dir().join("gristmill-backfill.jsonl"));

    let rows = file::csv(&history, |r| r.key("machine").time("time"))?;
    let mill = start(rows, file::sink(&predictions).truncate()).await?;
    mill.finished().await?; // the file has an end; Kafka has none: there it is `run_until(signal)`

    let report = mill.report(None).await?;
    println!("{} rows of {} machines from {}", report.intake.rows, report.keys, history.display());
    for line in std::fs::read_to_string(&predictions)?.lines().take(3) {
        println!("  {line}");
    }
    println!("… all of them in {}", predictions.display());
    Ok(())
}
