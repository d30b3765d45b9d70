//! Dense layers and nets: every output of a layer is a sum over its inputs, in their order, lanes across rows.

use std::borrow::Cow;

use gristmill::prefetch::prefetch;
use gristmill::traits::{Digest, LoadError, Model, Port, ScoreError};
use gristmill::words::{ColumnMut, ColumnRef};
use multiversion::multiversion;
use smallvec::SmallVec;

use super::block::{self, LANES, Lanes};
use super::digest::Content;
use super::kernels::Kernels;
use super::math;

/// What is applied to every output of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

impl Activation {
    #[inline(always)]
    pub(crate) fn apply(self, lanes: &mut Lanes) {
        match self {
            Self::Identity => {}
            Self::Relu => lanes.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
            Self::Tanh => lanes.iter_mut().for_each(|x| *x = math::tanh(*x)),
            Self::Sigmoid => lanes.iter_mut().for_each(|x| *x = math::logistic(*x)),
        }
    }
}

/// Applies an activation to lanes.
pub(crate) fn activate(activation: Activation, lanes: &mut [Lanes]) {
    match Kernels::current() {
        Kernels::Scalar => lanes.iter_mut().for_each(|lanes| activation.apply(lanes)),
        Kernels::Best => activate_best(activation, lanes),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2", "aarch64+neon"))]
fn activate_best(activation: Activation, lanes: &mut [Lanes]) {
    lanes.iter_mut().for_each(|lanes| activation.apply(lanes));
}

/// A dense layer: `activation(weights * x + bias)`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Output by output, a weight for each input.
    pub weights: Vec<f32>,
    /// One for each output.
    pub bias: Vec<f32>,
    /// Applied to every output.
    pub activation: Activation,
}

/// A layer laid out for scoring: for each output its weights, then its bias.
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) inputs: usize,
    rows: Box<[f32]>,
    pub(crate) activation: Activation,
}

impl Dense {
    /// `weights` output by output; `bias` one for each output.
    pub(crate) fn new(weights: &[f32], bias: &[f32], activation: Activation) -> Result<Self, LoadError> {
        let inputs = weights.len() / bias.len().max(1);
        if bias.is_empty() || inputs == 0 || inputs * bias.len() != weights.len() {
            return Err(LoadError {
                reason: format!("a dense layer of {} weights and {} biases", weights.len(), bias.len()),
            });
        }
        let rows = weights.chunks_exact(inputs).zip(bias).flat_map(|(row, bias)| row.iter().chain([bias])).copied();
        Ok(Self { inputs, rows: rows.collect(), activation })
    }

    pub(crate) fn outputs(&self) -> usize {
        self.rows.len() / (self.inputs + 1)
    }

    /// Takes biases, one for each output; `false` when it has some already, or an activation.
    pub(crate) fn take_bias(&mut self, bias: &[f32]) -> bool {
        let mut rows = self.rows.chunks_exact(self.inputs + 1);
        let free = self.activation == Activation::Identity && rows.all(|row| row[self.inputs] == 0.0);
        if !free || bias.len() != self.outputs() {
            return false;
        }
        for (row, bias) in self.rows.chunks_exact_mut(self.inputs + 1).zip(bias) {
            row[self.inputs] = *bias;
        }
        true
    }

    pub(crate) fn prefetch(&self) {
        prefetch(&*self.rows);
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.rows)
    }

    pub(crate) fn run(&self, x: &[Lanes], out: &mut [Lanes]) {
        match Kernels::current() {
            Kernels::Scalar => layer(self, x, out),
            Kernels::Best => layer_best(self, x, out),
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2", "aarch64+neon"))]
fn layer_best(dense: &Dense, x: &[Lanes], out: &mut [Lanes]) {
    layer(dense, x, out);
}

#[inline(always)]
fn layer(dense: &Dense, x: &[Lanes], out: &mut [Lanes]) {
    for (row, out) in dense.rows.chunks_exact(dense.inputs + 1).zip(out) {
        let mut sum = [0.0; LANES];
        for (weight, x) in row[..dense.inputs].iter().zip(x) {
            for lane in 0..LANES {
                sum[lane] += weight * x[lane];
            }
        }
        for lane in &mut sum {
            *lane += row[dense.inputs];
        }
        dense.activation.apply(&mut sum);
        *out = sum;
    }
}

/// A net of dense layers. One output column for each output of the last layer.
#[derive(Debug)]
pub struct Mlp {
    /// In place up to two: a model is then its own memory and that of its weights.
    layers: SmallVec<[Dense; 2]>,
    registers: usize,
    inputs: Cow<'static, [Port]>,
    outputs: Cow<'static, [Port]>,
    digest: Digest,
}

impl Mlp {
    /// A net of these layers, the first one first.
    ///
    /// # Errors
    /// When there is none, or the weights of one do not fit its biases and the layer before.
    pub fn new(layers: &[Layer]) -> Result<Self, LoadError> {
        let mut content = Content::new("mlp");
        let mut built = SmallVec::<[Dense; 2]>::new();
        for (index, layer) in layers.iter().enumerate() {
            let dense = Dense::new(&layer.weights, &layer.bias, layer.activation)?;
            if let Some(before) = built.last()
                && before.outputs() != dense.inputs
            {
                return Err(LoadError {
                    reason: format!(
                        "layer {index} reads {} values, the one before gives {}",
                        dense.inputs,
                        before.outputs()
                    ),
                });
            }
            content.floats(&layer.weights);
            content.floats(&layer.bias);
            content.number(layer.activation as usize);
            built.push(dense);
        }
        let (Some(first), Some(last)) = (built.first(), built.last()) else {
            return Err(LoadError { reason: "a net without a layer".to_owned() });
        };
        Ok(Self {
            registers: first.inputs + built.iter().map(Dense::outputs).sum::<usize>(),
            inputs: block::ports(first.inputs),
            outputs: block::ports(last.outputs()),
            digest: content.finish(),
            layers: built,
        })
    }
}

impl Model for Mlp {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        block::check(inputs, outputs, (self.inputs.len(), self.outputs.len()))?;
        block::each_block(inputs, self.registers, |start, rows, registers| {
            let mut rest = registers;
            for layer in &self.layers {
                let (x, out) = rest.split_at_mut(layer.inputs);
                layer.run(x, out);
                rest = out;
            }
            outputs.iter_mut().zip(rest).for_each(|(output, lanes)| block::scatter(lanes, start, rows, output));
        })
    }

    fn prefetch(&self) {
        self.layers.iter().for_each(Dense::prefetch);
    }

    fn bytes(&self) -> usize {
        self.layers.iter().map(Dense::bytes).sum()
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}
