//! The topology: sensors, features, and the models as families or each as a node of its device.

use gristmill::topology::attributes::AttributeError;
use gristmill::topology::{Attributes, Family, Node, Topology, Work, all_models, provide, sensor, sink};
use gristmill::words::{ElementType, Key};
use gristmill::{Attribute, Stream, Value};
use gristmill_operators::rolling::{self, Rolling, Stat, rows};

use super::data::{self, HIGH, MODELS, SENSORS, WINDOW};
use super::models::DeviceModels;

/// The sensors, as the source calls them.
pub const RAW: [&str; SENSORS] = ["temp", "vib", "pressure", "current"];
/// The predictions.
pub const PREDICTIONS: [&str; MODELS] = ["m1", "m2", "m3", "m4"];
/// The sink's binding.
pub const SINK: &str = "predictions";

/// The features in the order of the models' inputs; the last model reads two predictions after them.
pub const FEATURES: [&str; data::FEATURES] = [
    "temp.mean",
    "temp.std",
    "vib.mean",
    "vib.std",
    "pressure.mean",
    "pressure.std",
    "current.mean",
    "current.std",
    "vib.rms",
    "power",
];

/// The name of a device.
pub fn key(device: usize) -> Key {
    Key::from(format!("device-{device:07}"))
}

/// The windows of a sensor.
pub fn windows(sensor: usize) -> Rolling {
    let stats = [Stat::Mean, Stat::Std, Stat::Rms];
    rolling::stats(rows(WINDOW), stats[..if RAW[sensor] == "vib" { 3 } else { 2 }].iter().copied())
}

/// What a device draws, from the current it reads.
pub fn power(current: f64, rated: f64, offset: f64) -> f32 {
    (current * rated * 0.9 + offset) as f32
}

/// The whole topology for the devices whose models these are.
///
/// # Errors
/// Never: the attributes are declared with the types they are set with.
pub fn build(models: &[DeviceModels], per_key_models: bool) -> Result<Topology, AttributeError> {
    let keys: Vec<Key> = (0..models.len()).map(key).collect();
    let mut topology = Topology::new("device").attributes(attributes(&keys)?);
    for (name, high) in RAW.into_iter().zip(HIGH) {
        topology = topology.with(sensor(f64_stream(name)).range(0.0..=high).hold_last());
    }
    for (index, name) in RAW.into_iter().enumerate() {
        let of = |what: &str| Stream::<f32>::named(format!("{name}.{what}"));
        let (mean, std) = (of("mean"), of("std"));
        topology = if name == "vib" {
            topology.with(provide((mean, std, of("rms"))).needs(f64_stream(name)).by(windows(index)))
        } else {
            topology.with(provide((mean, std)).needs(f64_stream(name)).by(windows(index)))
        };
    }
    let (rated, offset) = (Attribute::<f64>::new("rated_power"), Attribute::<f64>::new("offset"));
    topology = topology.with(provide(f32_stream("power")).needs((f64_stream("current"), rated, offset)).by(power));
    for model in 0..MODELS {
        topology = if per_key_models {
            let node = |(key, models): (&Key, &DeviceModels)| {
                node(model, Work::Model(models[model].clone())).for_key(key.clone())
            };
            topology.with_all(keys.iter().zip(models).map(node))
        } else {
            let members = keys.iter().zip(models).map(|(key, models)| (key.clone(), models[model].clone()));
            topology.with(node(model, Work::Family(Family::from_iter(members))))
        };
    }
    Ok(topology.with(sink(SINK).needs(all_models())))
}

/// A model, or a family of models, on the features.
pub fn node(model: usize, work: Work) -> Node {
    let mut needs: Vec<Stream<f32>> = FEATURES.into_iter().map(f32_stream).collect();
    if model == MODELS - 1 {
        needs.extend([f32_stream(PREDICTIONS[0]), f32_stream(PREDICTIONS[2])]);
    }
    provide(f32_stream(PREDICTIONS[model])).needs(needs.as_slice()).by(work)
}

fn attributes(keys: &[Key]) -> Result<Attributes, AttributeError> {
    let types = [("rated_power", ElementType::F64), ("offset", ElementType::F64)];
    let mut attributes = types.into_iter().fold(Attributes::new(), |all, (name, element)| all.declare(name, element));
    for (device, key) in keys.iter().enumerate() {
        let (rated, offset) = data::attributes(device as u64);
        attributes.set(key.clone(), "rated_power", &Value::F64(rated))?;
        attributes.set(key.clone(), "offset", &Value::F64(offset))?;
    }
    Ok(attributes)
}

fn f32_stream(name: &'static str) -> Stream<f32> {
    Stream::new(name)
}

fn f64_stream(name: &'static str) -> Stream<f64> {
    Stream::new(name)
}
