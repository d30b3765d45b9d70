//! What is in the topics.

use std::collections::HashMap;

use gristmill_tests::support::kafka_clients::{Reader, produce};
use serde::{Deserialize, Serialize};

use super::Options;

/// The model: a weight for each sensor, and a bias.
pub(super) const WEIGHTS: [f32; 4] = [0.011, 0.23, -0.4, 0.017];
pub(super) const BIAS: f32 = 1.5;
pub(super) const SENSORS: [&str; 4] = ["temperature", "vibration", "pressure", "current"];
const START_MICROS: i64 = 1_767_225_600_000_000;

/// A row as the plain loop reads it.
#[derive(Deserialize)]
pub(super) struct Row<'a> {
    pub(super) device: &'a str,
    pub(super) ts: i64,
    pub(super) temperature: f32,
    pub(super) vibration: f32,
    pub(super) pressure: f32,
    pub(super) current: f32,
}

impl Row<'_> {
    pub(super) fn score(&self) -> f32 {
        let values = [self.temperature, self.vibration, self.pressure, self.current];
        values.iter().zip(WEIGHTS).fold(0.0, |sum, (value, weight)| sum + weight * value) + BIAS
    }
}

/// A prediction, with the fields and so about the bytes of ours.
#[derive(Serialize, Deserialize)]
pub(super) struct Prediction<'a> {
    pub(super) key: &'a str,
    pub(super) time: i64,
    pub(super) stream: &'a str,
    pub(super) value: f32,
    pub(super) node: &'a str,
    pub(super) artifact: &'a str,
    pub(super) revision: u64,
    pub(super) source: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) row: u32,
}

pub(super) fn key(device: usize) -> String {
    format!("device-{device:05}")
}

pub(super) fn json(number: usize, devices: usize, micros: i64) -> String {
    let device = number % devices;
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let [t, v, p, c] = [10_000, 5_000, 1_000, 4_000].map(|range| (mixed % range) as f32 / 100.0);
    format!(
        r#"{{"device":"device-{device:05}","ts":{micros},"temperature":{t},"vibration":{v},"pressure":{p},"current":{c}}}"#
    )
}

pub(super) fn produce_all(brokers: &str, options: &Options) {
    let row = |number: usize| {
        let micros = START_MICROS + (number / options.devices) as i64 * 100_000;
        (key(number % options.devices), json(number, options.devices, micros))
    };
    produce(brokers, "rows", (0..options.rows).map(row));
}

/// Both have written the same: as many predictions, and for each device and time the same bits.
pub(super) fn check(brokers: &str, options: &Options) {
    let mut seen: HashMap<(String, i64), u32> = HashMap::new();
    let rounds = (options.rounds + 1) as u64;
    for topic in ["by-engine", "by-plain-loop"] {
        let count = Reader::new(brokers, topic, options.partitions).read(|_, _, key, line| {
            let said: Prediction<'_> = serde_json::from_slice(line).expect("a prediction");
            let bits = *seen.entry((key.to_owned(), said.time)).or_insert(said.value.to_bits());
            assert_eq!((said.key, bits), (key, said.value.to_bits()), "in `{topic}`");
        });
        assert_eq!(count, options.rows as u64 * rounds, "predictions in `{topic}`");
    }
    assert_eq!(seen.len(), options.rows);
}
