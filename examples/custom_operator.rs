//! cargo run --release -p gristmill-examples --example custom_operator
//!
//! An operator with state: how long a machine has been running. The engine keeps the state for each key, puts it back
//! when a row fails, and lets it live on when other nodes are deployed.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use gristmill::topology::{Accepts, Topology, provide, sensor};
use gristmill::traits::{Operator, Outputs, RowError, Rows};
use gristmill::words::{Element, ElementType, Time};
use gristmill::{Bench, BenchOptions, Stream};
use serde::{Deserialize, Serialize};

const POWER: Stream<f32> = Stream::new("power"); // kW
const RUNNING: Stream<f64> = Stream::new("running"); // s

/// Sums up the time in which a value is above a threshold.
#[derive(Debug)]
struct TimeAbove {
    threshold: f32,
}

/// What it remembers of a key.
#[derive(Clone, Serialize, Deserialize)]
struct Above {
    since: Option<Time>,
    seconds: f64,
}

impl Operator for TimeAbove {
    type State = Above;

    fn name(&self) -> &'static str {
        "time_above"
    }

    /// Another threshold is another operator: a node that is deployed again with it begins anew.
    fn parameters(&self) -> String {
        format!("threshold {}", self.threshold)
    }

    /// For nodes that arrive as manifests; wires drawn in Rust are checked by `Accepts`.
    fn check(&self, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String> {
        if needs == [ElementType::F32] && provides == [ElementType::F64] {
            Ok(())
        } else {
            Err("it needs one f32 and provides one f64".to_owned())
        }
    }

    fn start(&self) -> Above {
        Above { since: None, seconds: 0.0 }
    }

    fn can_fail(&self) -> bool {
        false
    }

    fn run(&self, state: &mut Above, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        for (row, (time, power)) in rows.times().iter().zip(rows.f32(0)).enumerate() {
            if let Some(since) = state.since {
                state.seconds += (time.0 - since.0) as f64 / 1e6;
            }
            state.since = (*power > self.threshold).then_some(*time);
            f64::set(&mut out.column(0), row, Some(state.seconds));
        }
        Ok(())
    }
}

impl Accepts<(f32,), (f64,)> for TimeAbove {}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let machine = Topology::new("machine")
        .with(sensor(POWER))
        .with(provide(RUNNING).needs(POWER).by(TimeAbove { threshold: 1.0 }));
    let mut bench = Bench::start(machine, BenchOptions::default())?;
    for (second, power) in [(0, 0.2), (10, 5.0), (20, 6.0), (35, 0.1), (60, 5.0)] {
        bench.row("M1", Time::from_secs(second)).set(POWER, power);
    }
    for (time, seconds) in bench.read(RUNNING, "M1") {
        println!("at {:>2} s the machine has run for {seconds} s", time.0 / 1_000_000);
    }
    Ok(())
}
