//! cargo run --release -p gristmill-examples --example hello
//!
//! Two sensors of a pump, a feature and an alarm: the nodes are wired by the names of their streams.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::words::Time;
use gristmill::{Bench, Stream};

const VIBRATION: Stream<f32> = Stream::new("vibration"); // mm/s
const TEMPERATURE: Stream<f32> = Stream::new("temperature"); // °C
const WEAR: Stream<f32> = Stream::new("wear"); // 0 new, 1 worn out
const ALARM: Stream<bool> = Stream::new("alarm");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pump = Topology::new("pump")
        .with(sensor(VIBRATION).range(0.0..=50.0).hold_last())
        .with(sensor(TEMPERATURE).range(-40.0..=200.0))
        .with(provide(WEAR).needs((VIBRATION, TEMPERATURE)).by(|v: f32, t: f32| v / 50.0 + t / 400.0))
        .with(provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.8))
        .with(sink("alarms").needs(ALARM));
    println!("{}\n", pump.resolve()?); // every problem at once, if there were any

    let mut bench = Bench::start(pump, gristmill::BenchOptions::default())?;
    for (second, vibration) in [(1, 11.0), (2, 24.0), (3, 38.0)] {
        bench.row("P101", Time::from_secs(second)).set(VIBRATION, vibration).set(TEMPERATURE, 60.0);
    }
    for (time, alarm) in bench.read(ALARM, "P101") {
        println!("P101 at {time} µs: alarm {alarm}");
    }
    Ok(())
}
