//! cargo run --release -p gristmill-examples --example hot_add
//!
//! Models come and go while rows flow: added, replaced, removed, rolled back. No row is lost, none is computed twice,
//! and each says which revision computed it.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use gristmill::in_process::{Collected, Feeder, feed};
use gristmill::topology::{Topology, all_models, provide, sensor, sink};
use gristmill::traits::Axes;
use gristmill::traits::source::RowsRecord;
use gristmill::words::{Column, ElementType, Offset, Revision, Time};
use gristmill::{Applied, Deployment, Handle, Runtime, Stream};

const VIBRATION: Stream<f32> = Stream::new("vibration");
const WEAR: Stream<f32> = Stream::new("wear");
const FAILURE: Stream<f32> = Stream::new("failure");

/// Feeds a row of one of ten pumps every millisecond until it is told to stop.
async fn rows_flow(feeder: Feeder, sent: Arc<AtomicI64>) {
    while let Ok(()) = {
        let offset = sent.fetch_add(1, Ordering::Relaxed);
        let key = format!("P{}", offset % 10).into();
        let columns = vec![Column::F32(vec![(offset % 50) as f32])];
        let times = vec![Time::from_millis(offset)];
        let row = RowsRecord { offset: Offset(offset), log_time: None, key, axis: 0, times, columns };
        feeder.send(0, vec![row]).await
    } {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Shows what a deployment would change, then carries it out.
async fn deploy(mill: &Handle, deployment: Deployment) -> Result<(), Box<dyn std::error::Error>> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    let preview = mill.preview(deployment).await?;
    println!("{preview}");
    show(&preview.apply().await?);
    Ok(())
}

fn show(applied: &Applied) {
    for (partition, offset) in &applied.positions {
        println!("  revision {} runs from offset {offset} of partition {partition} on", applied.revision);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pump = Topology::new("pump")
        .with(sensor(VIBRATION))
        .with(provide(WEAR).needs(VIBRATION).by(|vibration: f32| vibration / 50.0).model())
        .with(sink("predictions").needs(all_models())); // also those deployed later
    let (feeder, source) = feed(Axes::Declared(vec![vec![("vibration".into(), ElementType::F32)]]));
    let predictions = Collected::default();
    let mill =
        Runtime::builder().topology(pump).source(source).sink("predictions", predictions.clone()).start().await?;
    let sent = Arc::new(AtomicI64::new(0));
    let feeding = tokio::spawn(rows_flow(feeder, Arc::clone(&sent)));

    let failure = provide(FAILURE).needs((VIBRATION, WEAR)).by(|v: f32, wear: f32| v * wear).model();
    deploy(&mill, Deployment::new().put(failure)).await?;
    let of_one = provide(WEAR).needs(VIBRATION).by(|vibration: f32| vibration / 40.0).model().for_key("P3");
    deploy(&mill, Deployment::new().put(of_one)).await?; // one pump gets a model of its own
    let better = provide(WEAR).needs(VIBRATION).by(|vibration: f32| vibration / 45.0).model().version(2);
    deploy(&mill, Deployment::new().put(better)).await?;
    deploy(&mill, Deployment::new().remove("failure").remove("wear@P3")).await?;
    println!("back to revision 2");
    show(&mill.rollback(None, Revision(2)).await?);

    feeding.abort();
    mill.stop().await?;
    let outputs = predictions.take();
    for revision in 1..=6 {
        let of = outputs.iter().filter(|output| output.revision == Revision(revision));
        println!("revision {revision} computed {} values", of.count());
    }
    let wears = outputs.iter().filter(|output| output.stream.as_str() == "wear").count();
    println!("{} rows were sent, {wears} were scored", sent.load(Ordering::Relaxed));
    Ok(())
}
