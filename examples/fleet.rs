//! cargo run --release -p gristmill-examples --example fleet
//!
//! A small fleet, and a family: one node with a model of its own for each machine. Each model has learnt what is normal
//! for its machine from its past; what it says is how far vibration is from that, in standard deviations.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::sync::Arc;

use gristmill::in_process::Collected;
use gristmill::topology::{Family, Topology, Work, provide, sensor, sink};
use gristmill::traits::{LoadError, Model};
use gristmill::words::{Key, Span, Time, Value};
use gristmill::{Runtime, Stream};
use gristmill_operators::model::Linear;
use gristmill_operators::rolling::{self, Stat};
use gristmill_operators::simulate::{self, Plant};

const VIBRATION: Stream<f32> = Stream::new("vibration"); // mm/s
const MEAN: Stream<f32> = Stream::new("vibration.mean"); // mm/s, over a minute
const STRANGE: Stream<f32> = Stream::new("strange"); // standard deviations from what is normal for this machine
const ALARM: Stream<bool> = Stream::new("alarm");

const MACHINES: u32 = 10;
/// A row a second of each machine, for an hour.
const ROWS: u64 = 3_600;
const LEARNT_ROWS: usize = 600;

fn plant() -> Plant {
    // Half of the machines wear out, each within about two hours.
    simulate::plant(MACHINES).seed(5).rows(ROWS).failing(50.0, Span::from_secs(7_200))
}

/// The model of one machine, from its own last ten minutes with a bearing that was new.
fn learn(plant: &Plant, number: u32) -> Result<Arc<dyn Model>, LoadError> {
    let (machine, second) = (plant.machine(number), Span::from_secs(1));
    let past = (1..).map(|row| (row, Time(plant.start_time().0 - row as i64 * second.0)));
    let good = past.filter(|(_, time)| machine.wear(*time) < 0.3).take(LEARNT_ROWS);
    let readings: Vec<f32> = good.map(|(row, time)| machine.read(row, time)[1]).collect();
    let mean = readings.iter().sum::<f32>() / LEARNT_ROWS as f32;
    let variance = readings.iter().map(|reading| (reading - mean).powi(2)).sum::<f32>() / LEARNT_ROWS as f32;
    Ok(Arc::new(Linear::new(&[1.0 / variance.sqrt()], -mean / variance.sqrt())?))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plant = plant();
    let members = (0..MACHINES).map(|number| Ok((plant.key(number), learn(&plant, number)?)));
    let family: Family = members.collect::<Result<HashMap<Key, Arc<dyn Model>>, LoadError>>()?.into_iter().collect();
    let topology = Topology::new("machine")
        .with(sensor(VIBRATION).range(0.0..=50.0))
        .with(provide(MEAN).needs(VIBRATION).by(rolling::stats(rolling::rows(60), [Stat::Mean])))
        .with(provide(STRANGE).needs(MEAN).by(Work::Family(family)))
        .with(provide(ALARM).needs(STRANGE).by(|strange: f32| strange > 6.0))
        .with(sink("out").needs(STRANGE).and(ALARM));
    println!("{}\n", topology.resolve()?);

    let worn: Vec<f64> =
        (0..MACHINES).map(|number| plant.machine(number).wear(Time(plant.start_time().0 + 3_600_000_000))).collect();
    let keys: Vec<Key> = (0..MACHINES).map(|number| plant.key(number)).collect();
    let out = Collected::default();
    let mill = Runtime::builder().topology(topology).source(plant).sink("out", out.clone()).start().await?;
    mill.finished().await?;

    println!("{:<12} {:>10} {:>16} {:>8}", "machine", "true wear", "strange at last", "alarms");
    let outputs = out.take();
    for (key, worn) in keys.iter().zip(worn) {
        let of_key = || outputs.iter().filter(|output| output.key == *key);
        let last =
            of_key().rev().find_map(|output| if let Value::F32(strange) = output.value { Some(strange) } else { None });
        let alarms = of_key().filter(|output| output.value == Value::Bool(true)).count();
        println!("{key:<12} {worn:>10.2} {:>16.1} {alarms:>8}", last.unwrap_or(f32::NAN));
    }
    println!("{} values came out of {} rows of {MACHINES} machines", outputs.len(), ROWS * u64::from(MACHINES));
    Ok(())
}
