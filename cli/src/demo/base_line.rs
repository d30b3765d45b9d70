//! What is taught by a machine's own quiet hours: the base line that its artifacts are made from.

use gristmill::words::Time;
use gristmill_operators::simulate::{Machine, Plant};

/// Readings that a base line is taken from.
const READINGS: i64 = 64;
/// Below this wear a machine counts as sound.
const SOUND: f64 = 0.3;

/// The mean of every sensor of one machine while it was sound.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BaseLine {
    /// °C.
    pub(crate) temperature: f32,
    /// mm/s.
    pub(crate) vibration: f32,
    /// bar.
    pub(crate) pressure: f32,
    /// A.
    pub(crate) current: f32,
}

impl BaseLine {
    /// Of the machine's life before the first row.
    pub(crate) fn of(plant: &Plant, number: u32) -> Self {
        let machine = plant.machine(number);
        let before = |place: i64| Time(plant.start_time().0 - place * (machine.life.0 / READINGS).max(1));
        let sound = (1..=READINGS).map(before).filter(|time| machine.wear(*time) < SOUND);
        mean(&machine, sound)
    }
}

fn mean(machine: &Machine, times: impl Iterator<Item = Time>) -> BaseLine {
    let (mut sums, mut count) = ([0.0_f32; 4], 0.0_f32);
    // Rows that the run itself never gets to: its noise is another.
    for (row, time) in (u64::MAX / 8..).zip(times) {
        for (sum, value) in sums.iter_mut().zip(machine.read(row, time)) {
            *sum += value;
        }
        count += 1.0;
    }
    let [temperature, vibration, pressure, current] = sums.map(|sum| sum / count.max(1.0));
    BaseLine { temperature, vibration, pressure, current }
}
