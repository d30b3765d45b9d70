//! The topology of the demo, and an artifact of its own for every machine and model.

use std::sync::Arc;

use gristmill::topology::{Family, Topology, Work, all_models, provide, sensor, sink};
use gristmill::traits::{LoadError, Model};
use gristmill::words::StreamName;
use gristmill::{Deployment, Stream};
use gristmill_operators::model::{Activation, Forest, Layer, Linear, Mlp};
use gristmill_operators::rolling::{self, Stat, rows};
use gristmill_operators::simulate::Plant;
use gristmill_operators::threshold;

use super::base_line::BaseLine;

const TEMPERATURE: Stream<f32> = Stream::new("temperature"); // °C
const VIBRATION: Stream<f32> = Stream::new("vibration"); // mm/s
const PRESSURE: Stream<f32> = Stream::new("pressure"); // bar
const CURRENT: Stream<f32> = Stream::new("current"); // A
const TEMPERATURE_MEAN: Stream<f32> = Stream::new("temperature.mean");
const VIBRATION_RMS: Stream<f32> = Stream::new("vibration.rms");
const VIBRATION_STD: Stream<f32> = Stream::new("vibration.std");
const PRESSURE_MEAN: Stream<f32> = Stream::new("pressure.mean");
const CURRENT_MEAN: Stream<f32> = Stream::new("current.mean");
/// Whether a machine should be looked at.
pub(crate) const ALARM: Stream<bool> = Stream::new("alarm");
/// What the models that are added half-way predict.
pub(crate) const FAILURE: Stream<f32> = Stream::new("failure");

/// Rows that features look back.
const WINDOW_ROWS: usize = 20;
/// Wear at which the alarm turns on, and off again.
const ALARM_ON: f64 = 0.7;
const ALARM_OFF: f64 = 0.3;
const TREES: usize = 30;
const DEPTH: usize = 4;
const HIDDEN: usize = 8;

/// What the models of a machine predict, in the order in which machines get them; the last needs the others.
pub(crate) const KINDS: [&str; 4] = ["anomaly", "load", "efficiency", "wear"];

/// How many models which machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) machines: u32,
    pub(crate) models: u32,
    pub(crate) seed: u64,
}

impl Layout {
    /// Models of one machine: they are dealt out one by one.
    pub(crate) fn models_of(self, machine: u32) -> u32 {
        self.models / self.machines + u32::from(machine < self.models % self.machines)
    }

    /// The stream of every machine's model `number`.
    pub(crate) fn stream(number: u32) -> StreamName {
        let kinds = KINDS.len() as u32;
        match number / kinds {
            0 => StreamName::from(KINDS[number as usize]),
            group => StreamName::from(format!("{}.{}", KINDS[(number % kinds) as usize], group + 1)),
        }
    }

    /// How many models the family of that name has.
    pub(crate) fn models_in(self, family: &str) -> Option<u32> {
        self.families().find(|(stream, _)| **stream == *family).map(|(_, members)| members)
    }

    /// Families, each with how many machines are its members.
    pub(crate) fn families(self) -> impl Iterator<Item = (StreamName, u32)> {
        let most = self.models.div_ceil(self.machines);
        (0..most).map(move |number| {
            (
                Self::stream(number),
                (0..self.machines).filter(|machine| number < self.models_of(*machine)).count() as u32,
            )
        })
    }
}

/// The topology: features, families, the alarm, a sink of everything that is predicted.
pub(crate) fn topology(layout: Layout, plant: &Plant) -> Result<Topology, LoadError> {
    let base: Vec<BaseLine> = (0..layout.machines).map(|machine| BaseLine::of(plant, machine)).collect();
    let mean = || rolling::mean(rows(WINDOW_ROWS));
    let mut topology = Topology::new("machine")
        .with(sensor(TEMPERATURE).range(-40.0..=200.0))
        .with(sensor(VIBRATION).range(0.0..=100.0))
        .with(sensor(PRESSURE))
        .with(sensor(CURRENT))
        .with(provide(TEMPERATURE_MEAN).needs(TEMPERATURE).by(mean()))
        .with(
            provide((VIBRATION_RMS, VIBRATION_STD))
                .needs(VIBRATION)
                .by(rolling::stats(rows(WINDOW_ROWS), [Stat::Rms, Stat::Std])),
        )
        .with(provide(PRESSURE_MEAN).needs(PRESSURE).by(mean()))
        .with(provide(CURRENT_MEAN).needs(CURRENT).by(mean()));
    for (number, (stream, members)) in (0..).zip(layout.families()) {
        let family: Result<Family, LoadError> = (0..members)
            .map(|machine| {
                let mut dice = Dice::new(layout.seed, machine, number);
                Ok((plant.key(machine), artifact(number, &base[machine as usize], &mut dice)?))
            })
            .collect();
        topology = topology.with(family_node(number, &stream, Work::Family(family?)));
    }
    Ok(topology
        .with(provide(ALARM).needs(Stream::<f32>::named(KINDS[3])).by(threshold::above(ALARM_ON).below(ALARM_OFF)))
        .with(sink("predictions").needs(all_models()).and(ALARM)))
}

fn family_node(number: u32, stream: &StreamName, family: Work) -> gristmill::topology::Node {
    let provided = provide(Stream::<f32>::named(stream.as_str()));
    let kinds = KINDS.len() as u32;
    match number % kinds {
        0 => provided.needs((VIBRATION_RMS, VIBRATION_STD, TEMPERATURE_MEAN, CURRENT_MEAN)).by(family),
        1 | 2 => provided.needs((TEMPERATURE_MEAN, PRESSURE_MEAN, CURRENT_MEAN)).by(family),
        _ => {
            let other = |back: u32| Stream::<f32>::named(Layout::stream(number - back).as_str());
            provided.needs((VIBRATION_RMS, other(3), other(2), other(1))).by(family)
        }
    }
}

/// A model of its own for each of these machines; it needs what other models predict.
pub(crate) fn added(plant: &Plant, machines: u32, seed: u64) -> Result<Deployment, LoadError> {
    let mut deployment = Deployment::new();
    for machine in 0..machines {
        let mut dice = Dice::new(seed, machine, u32::MAX);
        let weights = [dice.between(0.3, 0.5), dice.between(0.4, 0.6)];
        let model: Arc<dyn Model> = Arc::new(Linear::new(&weights, dice.between(-0.05, 0.05))?);
        let needs = (Stream::<f32>::new(KINDS[0]), Stream::<f32>::new(KINDS[3]));
        deployment = deployment.put(provide(FAILURE).needs(needs).by(model).for_key(plant.key(machine)));
    }
    Ok(deployment)
}

fn artifact(number: u32, base: &BaseLine, dice: &mut Dice) -> Result<Arc<dyn Model>, LoadError> {
    Ok(match number % KINDS.len() as u32 {
        0 => Arc::new(anomaly(base, dice)?),
        1 => Arc::new(load(base, dice)?),
        2 => Arc::new(efficiency(base, dice)?),
        _ => Arc::new(wear(dice)?),
    })
}

/// A forest whose comparisons lie between a machine's quiet readings and those of a broken bearing; a leaf says which
/// share of the comparisons on its way was high.
fn anomaly(base: &BaseLine, dice: &mut Dice) -> Result<Forest, LoadError> {
    let sound = [base.vibration, 0.1, base.temperature, base.current];
    let broken = [base.vibration + 7.0, 0.6, base.temperature + 35.0, base.current + 3.0];
    let inner = (1 << DEPTH) - 1;
    let (mut features, mut thresholds, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
    for tree in 0..TREES {
        for node in 0..inner {
            // Every feature has its turn, so that all columns are read.
            let feature = if node == 0 { tree % sound.len() } else { dice.below(sound.len()) };
            let share = dice.between(0.1, 0.9);
            features.push(feature as u16);
            thresholds.push(sound[feature] + share * (broken[feature] - sound[feature]));
        }
        leaves.extend((0..=inner).map(|leaf: u32| leaf.count_ones() as f32 / (DEPTH * TREES) as f32));
    }
    Forest::perfect(TREES, DEPTH, &features, &thresholds, &leaves)
}

/// A small net: how hard the machine works, between 0 and 1.
fn load(base: &BaseLine, dice: &mut Dice) -> Result<Mlp, LoadError> {
    let centre = [base.temperature, base.pressure, base.current];
    let scale = [10.0, 0.2, 3.0];
    let mut hidden = Layer { weights: Vec::new(), bias: Vec::new(), activation: Activation::Tanh };
    for _ in 0..HIDDEN {
        let weights: Vec<f32> = scale.iter().map(|scale| dice.between(-1.0, 1.0) / scale).collect();
        hidden.bias.push(-weights.iter().zip(centre).map(|(weight, centre)| weight * centre).sum::<f32>());
        hidden.weights.extend(weights);
    }
    let weights = (0..HIDDEN).map(|_| dice.between(-1.0, 1.0)).collect();
    Mlp::new(&[hidden, Layer { weights, bias: vec![0.0], activation: Activation::Sigmoid }])
}

/// A linear model: 1 for a machine as it was when it was sound, less when it is hot or draws more.
fn efficiency(base: &BaseLine, dice: &mut Dice) -> Result<Linear, LoadError> {
    let weights = [-dice.between(0.008, 0.012), dice.between(0.01, 0.03), -dice.between(0.02, 0.04)];
    let at_rest = weights[0] * base.temperature + weights[1] * base.pressure + weights[2] * base.current;
    Linear::new(&weights, 1.0 - at_rest)
}

/// A net over vibration and what the other models of the machine predict.
fn wear(dice: &mut Dice) -> Result<Mlp, LoadError> {
    let weights = vec![0.05, dice.between(9.0, 11.0), dice.between(-0.2, 0.2), dice.between(-0.2, 0.2)];
    Mlp::new(&[Layer { weights, bias: vec![-5.0], activation: Activation::Sigmoid }])
}

/// Random numbers that are the same for the same seed, machine and model.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, machine: u32, model: u32) -> Self {
        let mut dice = Self(seed ^ (u64::from(machine) << 32 | u64::from(model)));
        dice.roll();
        dice
    }

    /// SplitMix64.
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.roll() >> 40) as f32 / (1_u64 << 24) as f32)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gristmill_operators::simulate;

    #[test]
    fn models_are_dealt_out_to_all_machines() {
        let layout = Layout { machines: 3, models: 14, seed: 1 };
        let dealt: Vec<u32> = (0..3).map(|machine| layout.models_of(machine)).collect();
        assert_eq!(dealt, [5, 5, 4]);
        let families: Vec<_> = layout.families().map(|(stream, members)| format!("{stream} {members}")).collect();
        assert_eq!(families, ["anomaly 3", "load 3", "efficiency 3", "wear 3", "anomaly.2 2"]);
    }

    #[test]
    fn every_machine_has_an_artifact_of_its_own_and_a_seed_always_the_same() {
        let plant = simulate::plant(2).seed(1);
        let digests = |seed| -> Vec<_> {
            let of = |machine, number| {
                let base = BaseLine::of(&plant, machine);
                artifact(number, &base, &mut Dice::new(seed, machine, number)).expect("an artifact").digest()
            };
            (0..8).map(|place| of(place % 2, place / 2)).collect()
        };
        assert_eq!(digests(1), digests(1));
        let mut all = [digests(1), digests(2)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 16);
    }
}
