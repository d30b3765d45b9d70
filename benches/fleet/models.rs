//! The models: four for each device, with weights of their own.

use std::sync::Arc;

use gristmill::traits::{LoadError, Model};
use gristmill_operators::model::{Activation, Forest, Layer, Linear, Mlp};

use super::data::{self, DEPTH, FEATURES, MODELS, TREES, Templates};

/// The models of one device; no other has the same.
pub type DeviceModels = [Arc<dyn Model>; MODELS];

/// Makes the models of a device.
///
/// # Errors
/// Never, unless the templates are damaged.
pub fn of_device(templates: &Templates, device: u64) -> Result<DeviceModels, LoadError> {
    let (weights, bias) = data::linear(device);
    let linear = Linear::new(&weights.map(|weight| weight as f32), bias as f32)?;
    Ok([
        Arc::new(forest(templates, device, data::Forest::First, FEATURES)?),
        Arc::new(linear),
        Arc::new(net(device)?),
        Arc::new(forest(templates, device, data::Forest::Last, FEATURES + 2)?),
    ])
}

fn forest(templates: &Templates, device: u64, which: data::Forest, inputs: usize) -> Result<Forest, LoadError> {
    let (template, scale) = (templates.of(device, which), data::leaf_scale(device, which));
    let leaves: Vec<f32> = template.leaves.iter().map(|leaf| (leaf * scale) as f32).collect();
    Forest::perfect(TREES, DEPTH, &template.features, &template.thresholds, &leaves)?.with_inputs(inputs)
}

fn net(device: u64) -> Result<Mlp, LoadError> {
    let net = data::net(device);
    let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
    Mlp::new(&[
        Layer { weights: narrow(&net.hidden), bias: narrow(&net.hidden_bias), activation: Activation::Relu },
        Layer { weights: narrow(&net.output), bias: vec![net.bias as f32], activation: Activation::Identity },
    ])
}
