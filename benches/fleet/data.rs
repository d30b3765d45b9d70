//! The data: every reading, attribute and weight is a function of hashes, so that any system can make the same bits.

use super::npy::{self, Malformed};

/// Sensors of a device.
pub const SENSORS: usize = 4;
/// Rows of an epoch, which is one second of event time.
pub const ROWS: usize = 10;
/// Rows of a window.
pub const WINDOW: usize = 60;
/// Features that the sensors give.
pub const FEATURES: usize = 10;
/// Models of a device.
pub const MODELS: usize = 4;
/// Trees of a forest.
pub const TREES: usize = 50;
/// Comparisons on the way to a leaf.
pub const DEPTH: usize = 4;
/// Forests that the devices' forests are made of.
pub const TEMPLATES: usize = 40;
/// Outputs of the net's first layer.
pub const HIDDEN: usize = 16;
/// What each sensor can read: from 0 to this.
pub const HIGH: [f64; SENSORS] = [150.0, 20.0, 10.0, 100.0];
/// About how large each feature is; weights are divided by it.
const SCALE: [f64; FEATURES] = [150.0, 150.0, 20.0, 20.0, 10.0, 10.0, 100.0, 100.0, 20.0, 900.0];

const INNER: usize = TREES * ((1 << DEPTH) - 1);
const LEAVES: usize = TREES * (1 << DEPTH);

/// A number from 0 to below 1 for a key of integers: splitmix64 over a running state.
pub fn uniform(key: &[u64]) -> f64 {
    Hash::default().with(key).uniform()
}

/// The running state.
#[derive(Clone, Copy, Debug, Default)]
struct Hash(u64);

impl Hash {
    fn with(self, key: &[u64]) -> Self {
        let next = |state: u64, part: &u64| {
            let z = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Self(key.iter().fold(self.0, next))
    }

    fn uniform(self) -> f64 {
        (self.0 >> 11) as f64 * 2.0_f64.powi(-53)
    }
}

/// The readings of a device in an epoch, sensor by sensor: about 1% are NaN and 0.5% out of range.
pub fn readings(device: u64, epoch: u64) -> [[f64; ROWS]; SENSORS] {
    std::array::from_fn(|sensor| {
        let of = |kind: u64| Hash::default().with(&[kind, device, sensor as u64]);
        let (phase, noise, fault) = (of(1).uniform(), of(2), of(3));
        let period = 200.0 + (phase * 400.0).floor();
        std::array::from_fn(|row| {
            let at = epoch * ROWS as u64 + row as u64;
            let x = (at as f64 + (phase * 1000.0).floor()) % period / period;
            let share = 0.2 + 0.5 * (2.0 * x - 1.0).abs() + 0.1 * noise.with(&[at]).uniform();
            match fault.with(&[at]).uniform() {
                fault if fault < 0.01 => f64::NAN,
                fault if fault < 0.015 => HIGH[sensor] * 10.0 + 1.0,
                _ => HIGH[sensor] * share,
            }
        })
    })
}

/// What every row before the first epoch reads: the middle of each range.
pub fn middle() -> [f64; SENSORS] {
    HIGH.map(|high| high / 2.0)
}

/// A device's rated power and the offset of its site.
pub fn attributes(device: u64) -> (f64, f64) {
    (1.0 + 9.0 * uniform(&[4, device, 0]), 10.0 * uniform(&[4, device, 1]))
}

/// A weight from -1 to 1.
fn weight(kind: u64, device: u64, index: usize) -> f64 {
    2.0 * uniform(&[kind, device, index as u64]) - 1.0
}

/// The weights of a device's linear model, and its bias.
pub fn linear(device: u64) -> ([f64; FEATURES], f64) {
    (std::array::from_fn(|feature| weight(5, device, feature) / SCALE[feature]), weight(5, device, FEATURES))
}

/// The weights of a device's net.
#[derive(Clone, Debug)]
pub struct Net {
    /// Hidden unit by hidden unit, a weight for each feature.
    pub hidden: Vec<f64>,
    /// A bias for each hidden unit.
    pub hidden_bias: Vec<f64>,
    /// A weight for each hidden unit.
    pub output: Vec<f64>,
    /// The last bias.
    pub bias: f64,
}

/// The weights of a device's net.
pub fn net(device: u64) -> Net {
    let count = FEATURES * HIDDEN;
    let weight = |index: usize| weight(6, device, index);
    // The hash numbers them feature by feature.
    let hidden = |unit: usize, feature: usize| 2.0 * weight(feature * HIDDEN + unit) / SCALE[feature];
    Net {
        hidden: (0..HIDDEN).flat_map(|unit| (0..FEATURES).map(move |feature| hidden(unit, feature))).collect(),
        hidden_bias: (count..count + HIDDEN).map(weight).collect(),
        output: (count + HIDDEN..count + 2 * HIDDEN).map(weight).collect(),
        bias: weight(count + 2 * HIDDEN),
    }
}

/// What the leaves of a device's forest are multiplied by.
pub fn leaf_scale(device: u64, forest: Forest) -> f64 {
    0.5 + uniform(&[7, device, forest as u64])
}

/// Which of a device's two forests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forest {
    /// On the ten features.
    First = 1,
    /// On the ten features and two predictions.
    Last = 4,
}

/// Forests of perfect trees that were trained once.
#[derive(Clone, Debug)]
pub struct Templates {
    first: Vec<Template>,
    last: Vec<Template>,
}

/// A forest: tree by tree, level by level. A row goes right when its feature is above the threshold.
#[derive(Clone, Debug)]
pub struct Template {
    /// The feature of each comparison.
    pub features: Vec<u16>,
    /// Its threshold.
    pub thresholds: Vec<f32>,
    /// The leaves, before a device's scale.
    pub leaves: Vec<f64>,
}

impl Templates {
    /// Those in the repository.
    ///
    /// # Errors
    /// When the file is not what it should be.
    pub fn load() -> Result<Self, Malformed> {
        let mut rest: &[u8] = include_bytes!("templates.bin");
        let templates = Self { first: forests(&mut rest)?, last: forests(&mut rest)? };
        if rest.is_empty() { Ok(templates) } else { Err(Malformed("bytes are left over")) }
    }

    /// The forest that a device's is made of.
    pub fn of(&self, device: u64, forest: Forest) -> &Template {
        let forests = match forest {
            Forest::First => &self.first,
            Forest::Last => &self.last,
        };
        &forests[(device % TEMPLATES as u64) as usize]
    }
}

fn forests(rest: &mut &[u8]) -> Result<Vec<Template>, Malformed> {
    let features = npy::numbers(rest, TEMPLATES * INNER, i32::from_le_bytes)?;
    let thresholds = npy::numbers(rest, TEMPLATES * INNER, f32::from_le_bytes)?;
    let leaves = npy::numbers(rest, TEMPLATES * LEAVES, f64::from_le_bytes)?;
    let features = features.into_iter().map(u16::try_from).collect::<Result<Vec<_>, _>>();
    let features = features.map_err(|_| Malformed("a feature below 0"))?;
    let forest = |index: usize| {
        let inner = index * INNER..(index + 1) * INNER;
        Template {
            features: features[inner.clone()].to_vec(),
            thresholds: thresholds[inner].to_vec(),
            leaves: leaves[index * LEAVES..(index + 1) * LEAVES].to_vec(),
        }
    };
    Ok((0..TEMPLATES).map(forest).collect())
}

/// Scores of another implementation: of the first devices over the first epochs.
#[derive(Clone, Debug)]
pub struct Reference(Vec<f64>);

impl Reference {
    /// Epochs it has.
    pub const EPOCHS: usize = 8;
    /// Devices it has.
    pub const DEVICES: usize = 10;

    /// The one in the repository.
    ///
    /// # Errors
    /// When the file is not what it should be.
    pub fn load() -> Result<Self, Malformed> {
        npy::read(include_bytes!("reference.npy"), &[Self::EPOCHS, Self::DEVICES, MODELS, ROWS]).map(Self)
    }

    /// A score.
    pub fn score(&self, epoch: usize, device: usize, model: usize, row: usize) -> f64 {
        self.0[((epoch * Self::DEVICES + device) * MODELS + model) * ROWS + row]
    }
}
