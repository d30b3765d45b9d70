//! One machine: what its sensors read at a row, from the seed alone.

use std::f64::consts::TAU;

use gristmill::words::{Span, Time};

/// The sensors of a machine, in the order of their columns.
pub(super) const SENSORS: [&str; 4] = ["temperature", "vibration", "pressure", "current"];

const DAY: f64 = 86_400.0 * 1e6;
const DRIFT_DAYS: f64 = 30.0;
/// From this share of its life on a bearing also gets hot.
const HOT_FROM: f64 = 0.7;

/// A machine of the plant.
#[derive(Clone, Debug)]
pub struct Machine {
    seed: u64,
    /// Whether its bearing wears; the others run for ever.
    pub failing: bool,
    /// From repair to repair.
    pub life: Span,
    /// How far into a life it is at time 0, in shares of a life.
    phase: f64,
    /// What each sensor reads on a quiet night.
    base: [f64; SENSORS.len()],
}

impl Machine {
    /// Machine `number` of the plant with that seed; of a hundred machines `failing` wear out, each after about `life`.
    pub(super) fn new(seed: u64, number: u32, failing: f64, life: Span) -> Self {
        let seed = splitmix(seed ^ splitmix(u64::from(number) + 1));
        let share = |salt: u64| unit(splitmix(seed ^ salt));
        let between = |salt, low: f64, high: f64| low + (high - low) * share(salt);
        Self {
            seed,
            failing: share(1) * 100.0 < failing,
            life: Span((life.0 as f64 * between(2, 0.5, 1.5)).max(1.0) as i64),
            phase: share(3),
            base: [between(4, 48.0, 62.0), between(5, 1.0, 2.4), between(6, 5.5, 6.5), between(7, 18.0, 32.0)],
        }
    }

    /// How worn the bearing is: 0 after a repair, 1 just before the next; 0 for a machine that does not wear.
    pub fn wear(&self, time: Time) -> f64 {
        if !self.failing {
            return 0.0;
        }
        let lives = time.0 as f64 / self.life.0 as f64 + self.phase;
        lives - libm::floor(lives)
    }

    /// What the sensors read: temperature in °C, vibration in mm/s, pressure in bar, current in A.
    pub fn read(&self, row: u64, time: Time) -> [f32; SENSORS.len()] {
        let micros = time.0 as f64;
        let day = libm::sin(TAU * (micros / DAY - 0.375));
        let drift = libm::sin(TAU * (micros / (DAY * DRIFT_DAYS) + self.phase));
        let wear = self.wear(time);
        let rough = wear * wear * wear * wear;
        let hot = ((wear - HOT_FROM) / (1.0 - HOT_FROM)).max(0.0);
        let noise = |sensor: u64| bell(splitmix(self.seed ^ splitmix(row.wrapping_mul(4).wrapping_add(sensor))));
        let [temperature, vibration, pressure, current] = self.base;
        [
            (temperature + 4.0 * day + 0.8 * drift + 35.0 * hot * hot + 0.4 * noise(0)) as f32,
            (vibration + 0.15 * day + 7.0 * rough + (0.08 + 0.5 * rough) * noise(1)).max(0.0) as f32,
            (pressure + 0.1 * drift - 0.2 * rough + 0.03 * noise(2)) as f32,
            (current + 1.5 * day + 3.0 * hot + 0.5 * noise(3)) as f32,
        ]
    }
}

/// A hash whose bits are as good as random.
fn splitmix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// From 0 to below 1.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// About normal, with mean 0 and deviation 1: the sum of four even numbers.
fn bell(bits: u64) -> f64 {
    let sum: u64 = (0..4).map(|quarter| (bits >> (16 * quarter)) & 0xffff).sum();
    (sum as f64 / 65_535.0 - 2.0) * 1.732_050_807_568_877_2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(machine: &Machine, sensor: usize, at: impl Fn(u64) -> Time) -> f64 {
        (0..1_000).map(|row| f64::from(machine.read(row, at(row))[sensor])).sum::<f64>() / 1_000.0
    }

    #[test]
    fn the_same_seed_reads_the_same_and_another_does_not() {
        let read = |seed| Machine::new(seed, 7, 10.0, Span::from_secs(1_000)).read(5, Time::from_secs(3));
        assert_eq!(read(1), read(1));
        assert_ne!(read(1), read(2));
    }

    #[test]
    fn wear_shakes_first_then_heats_until_the_repair() {
        let life = Span::from_secs(100_000);
        let machine = Machine::new(1, 0, 100.0, life);
        let at_wear = |wear: f64| {
            let lives = wear - machine.phase + 10.0;
            Time((lives * machine.life.0 as f64) as i64)
        };
        let [new, middle, old] = [0.01, 0.65, 0.99].map(|wear| {
            let time = at_wear(wear);
            assert!((machine.wear(time) - wear).abs() < 1e-3);
            (mean(&machine, 0, |_| time), mean(&machine, 1, |_| time))
        });
        assert!(middle.1 > new.1 + 0.5, "{new:?} {middle:?}");
        assert!(old.1 > middle.1 + 3.0 && old.0 > middle.0 + 20.0, "{middle:?} {old:?}");
        let sound = Machine::new(1, 0, 0.0, life);
        assert!(!sound.failing && (mean(&sound, 1, |row| Time::from_secs(row as i64)) - sound.base[1]).abs() < 0.3);
    }

    #[test]
    fn noise_is_centred() {
        let mean = (0..100_000).map(|row| bell(splitmix(row))).sum::<f64>() / 1e5;
        let variance = (0..100_000).map(|row| bell(splitmix(row)).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
