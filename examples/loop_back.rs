//! cargo run --release -p gristmill-examples --example loop_back
//!
//! A loop: a controller and a tank that feed each other. Within a row the graph has no cycle; what comes back is read
//! from the row before, through `previous`. Nodes of a loop advance together, row by row.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use gristmill::topology::{Topology, previous, provide, sensor};
use gristmill::words::Time;
use gristmill::{Bench, BenchOptions, Stream};

const SETPOINT: Stream<f64> = Stream::new("setpoint"); // m
const VALVE: Stream<f64> = Stream::new("valve"); // 0 shut, 1 open
const LEVEL: Stream<f64> = Stream::new("level"); // m

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let valve = |setpoint: f64, level: f64| (0.5 * (setpoint - level)).clamp(0.0, 1.0);
    let tank = Topology::new("tank")
        .with(sensor(SETPOINT))
        .with(provide(VALVE).needs((SETPOINT, previous(LEVEL, 0.0))).by(valve))
        .with(provide(LEVEL).needs((VALVE, previous(LEVEL, 0.0))).by(|valve: f64, level: f64| level + valve));

    // Without `previous` the same wires are refused, with the whole path.
    let cycle = Topology::new("tank")
        .with(sensor(SETPOINT))
        .with(provide(VALVE).needs((SETPOINT, LEVEL)).by(valve))
        .with(provide(LEVEL).needs(VALVE).by(|valve: f64| valve));
    if let Err(problems) = cycle.resolve() {
        println!("{problems}\n");
    }

    let mut bench = Bench::start(tank, BenchOptions::default())?;
    println!("{}\n", bench.plan());
    for second in 1..=6 {
        bench.row("T1", Time::from_secs(second)).set(SETPOINT, 4.0);
    }
    for ((time, valve), (_, level)) in bench.read(VALVE, "T1").into_iter().zip(bench.read(LEVEL, "T1")) {
        println!("at {} s: valve {valve:.3}, level {level:.3} m", time.0 / 1_000_000);
    }
    Ok(())
}
