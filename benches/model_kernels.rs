//! How long does a call of a model take, by rows and kernels?
//!
//! `cargo bench -p gristmill-benches --bench model_kernels`; with GRISTMILL_MODELS set to a folder of exported models,
//! for some of those as well.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use gristmill::traits::{Format, LoadError, Model};
use gristmill::words::{Column, ColumnMut, ColumnRef};
use gristmill_operators::model::{Activation, Forest, Kernels, Layer, Linear, Mlp, Onnx};

const ROWS: [usize; 5] = [1, 4, 10, 16, 160];
/// Blocks of other rows that the calls go round: the same few would teach the branch predictor.
const BLOCKS: usize = 64;
const REPEATS: usize = 20;
const EXPORTED: [&str; 6] =
    ["random_forest", "lightgbm", "xgboost_missing", "lightgbm_3", "imputer_scaler_ridge", "mlp_binary"];

/// Numbers from -1 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// The best mean of a call over all blocks, in nanoseconds.
fn time(model: &dyn Model, rows: usize) -> f64 {
    let mut random = Random(rows as u64);
    let blocks: Vec<Vec<Vec<f32>>> =
        (0..BLOCKS).map(|_| model.inputs().iter().map(|_| random.take(rows)).collect()).collect();
    let blocks: Vec<Vec<ColumnRef<'_>>> =
        blocks.iter().map(|columns| columns.iter().map(|column| ColumnRef::F32(column)).collect()).collect();
    let mut outputs: Vec<Column> = model.outputs().iter().map(|port| Column::missing(port.element, rows)).collect();
    let mut outputs: Vec<ColumnMut<'_>> = outputs.iter_mut().map(Column::as_mut).collect();
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let start = Instant::now();
        for block in &blocks {
            black_box(model.score(black_box(block), &mut outputs)).unwrap_or_else(|error| panic!("{error}"));
        }
        best = best.min(start.elapsed().as_nanos() as f64 / BLOCKS as f64);
    }
    best
}

fn report(name: &str, model: &dyn Model) {
    for kernels in [Kernels::Scalar, Kernels::Best] {
        kernels.set();
        let times: Vec<String> =
            ROWS.iter().map(|rows| format!("{rows:>4} rows {:>8.0} ns", time(model, *rows))).collect();
        println!("{name:<22} {:>7} bytes {kernels:?}: {}", model.bytes(), times.join(", "));
    }
}

fn forest(trees: usize, depth: usize) -> Result<Forest, LoadError> {
    let mut random = Random(3);
    let inner = (1 << depth) - 1;
    let features: Vec<u16> = random.take(trees * inner).iter().map(|x| ((x + 1.0) * 5.0).min(9.0) as u16).collect();
    let (thresholds, leaves) = (random.take(trees * inner), random.take(trees * (inner + 1)));
    Forest::perfect(trees, depth, &features, &thresholds, &leaves)?.with_inputs(10)
}

fn net(activation: Activation) -> Result<Mlp, LoadError> {
    let mut random = Random(5);
    let hidden = Layer { weights: random.take(160), bias: random.take(16), activation };
    Mlp::new(&[hidden, Layer { weights: random.take(16), bias: vec![0.1], activation: Activation::Identity }])
}

fn main() -> Result<(), LoadError> {
    report("forest 50 x depth 4", &forest(50, 4)?);
    report("forest 100 x depth 6", &forest(100, 6)?);
    report("net 10-16-1 relu", &net(Activation::Relu)?);
    report("net 10-16-1 tanh", &net(Activation::Tanh)?);
    report("linear 10", &Linear::new(&Random(7).take(10), 0.5)?);
    let Some(folder) = std::env::var_os("GRISTMILL_MODELS") else { return Ok(()) };
    for name in EXPORTED {
        report(name, &*Onnx.load_file(&Path::new(&folder).join(name).join("model.onnx"))?);
    }
    Ok(())
}
