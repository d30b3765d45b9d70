//! How fast, and how large, are forests beside onnxruntime on one thread through its C API?
//!
//! `bash scripts/test python models`, then
//! `cargo bench -p gristmill-benches --features onnxruntime --bench onnxruntime`. The library is that of the Python
//! package in target/venv, or what ORT_DYLIB_PATH names.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and prints")]

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gristmill::traits::{Format, Model};
use gristmill::words::{Column, ColumnMut, ColumnRef};
use gristmill_operators::model::{Kernels, Onnx};
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;

/// Forests among the exported models; the last two are walked node by node.
const FORESTS: [&str; 5] = ["random_forest", "lightgbm", "xgboost_missing", "extra_trees", "random_forest_strings"];
const ROWS: [usize; 2] = [1, 10];
/// Blocks of other rows that the calls go round.
const BLOCKS: usize = 64;
const REPEATS: usize = 15;
/// Bytes of files that are loaded, as copies of one model, to see how large it is: so many that what other allocations
/// left does not hold them.
const COPIED_BYTES: usize = 100 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let library = library(&root)?;
    let environment = ort::init_from(&library)?.build().map_err(text)?;
    let models = std::env::var_os("GRISTMILL_MODELS").map_or_else(|| root.join("models"), PathBuf::from);
    println!(
        "{:18} {:>4}  {:>12} {:>10} {:>10}  {:>7} {:>7}",
        "forest", "rows", "onnxruntime", "scalar", "best", "scalar", "best"
    );
    for name in FORESTS {
        let file = models.join(name).join("model.onnx");
        let bytes = fs::read(&file).map_err(|error| {
            format!("{} cannot be read ({error}): run `bash scripts/test python models`", file.display())
        })?;
        let ours = Onnx.load(&bytes)?;
        let mut theirs = session(&environment, &bytes)?;
        for rows in ROWS {
            let blocks = blocks(ours.inputs().len(), rows);
            let onnxruntime = best(|block| run_theirs(&mut theirs, &blocks[block], rows))?;
            let mut times = Vec::new();
            for kernels in [Kernels::Scalar, Kernels::Best] {
                kernels.set();
                times.push(ours_time(ours.as_ref(), &blocks, rows)?);
            }
            println!(
                "{name:18} {rows:>4}  {onnxruntime:>9.0} ns {:>7.0} ns {:>7.0} ns  {:>6.1}x {:>6.1}x",
                times[0],
                times[1],
                onnxruntime / times[0],
                onnxruntime / times[1]
            );
        }
        let (our_size, their_size) =
            (size(bytes.len(), || Ok(Onnx.load(&bytes)?))?, size(bytes.len(), || session(&environment, &bytes))?);
        println!(
            "{name:18} bytes of one: onnxruntime {their_size:.0}, gristmill {our_size:.0}, {:.1} times",
            their_size / our_size
        );
    }
    Ok(())
}

/// Where onnxruntime's library is.
fn library(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH") {
        return Ok(path.into());
    }
    let capi = |python: PathBuf| python.join("site-packages/onnxruntime/capi");
    let folders = fs::read_dir(root.join("venv/lib")).into_iter().flatten().flatten().map(|entry| capi(entry.path()));
    let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten().map(|entry| entry.path());
    let is_library = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("libonnxruntime.so"))
    };
    files.into_iter().find(is_library).ok_or_else(|| "no onnxruntime: run `bash scripts/test python`".into())
}

fn session(environment: &Environment, bytes: &[u8]) -> Result<Session, Box<dyn Error>> {
    let builder = Session::builder(environment).map_err(text)?.with_intra_threads(1).map_err(text)?;
    Ok(builder.with_inter_threads(1).map_err(text)?.commit_from_memory(bytes).map_err(text)?)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Rows as onnxruntime takes them, one after the other.
fn blocks(columns: usize, rows: usize) -> Vec<Vec<f32>> {
    let mut state = rows as u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..BLOCKS).map(|_| (0..rows * columns).map(|_| next()).collect()).collect()
}

/// The best mean of a call over all blocks, in nanoseconds.
fn best(mut call: impl FnMut(usize) -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let start = Instant::now();
        (0..BLOCKS).try_for_each(&mut call)?;
        best = best.min(start.elapsed().as_nanos() as f64 / BLOCKS as f64);
    }
    Ok(best)
}

fn run_theirs(session: &mut Session, block: &[f32], rows: usize) -> Result<(), Box<dyn Error>> {
    let tensor = TensorRef::from_array_view(([rows, block.len() / rows], block)).map_err(text)?;
    black_box(session.run(ort::inputs![tensor]).map_err(text)?);
    Ok(())
}

fn ours_time(model: &dyn Model, blocks: &[Vec<f32>], rows: usize) -> Result<f64, Box<dyn Error>> {
    let width = model.inputs().len();
    let column =
        |block: &Vec<f32>, column: usize| (0..rows).map(|row| block[row * width + column]).collect::<Vec<f32>>();
    let columns: Vec<Vec<Vec<f32>>> =
        blocks.iter().map(|block| (0..width).map(|place| column(block, place)).collect()).collect();
    let inputs: Vec<Vec<ColumnRef<'_>>> =
        columns.iter().map(|columns| columns.iter().map(|column| ColumnRef::F32(column)).collect()).collect();
    let mut outputs: Vec<Column> = model.outputs().iter().map(|port| Column::missing(port.element, rows)).collect();
    let mut outputs: Vec<ColumnMut<'_>> = outputs.iter_mut().map(Column::as_mut).collect();
    best(|block| Ok(black_box(model.score(black_box(&inputs[block]), &mut outputs)).map_err(text)?))
}

/// Resident bytes of one of many.
fn size<T>(bytes: usize, make: impl Fn() -> Result<T, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let resident = || -> Result<f64, Box<dyn Error>> {
        let pages: f64 = fs::read_to_string("/proc/self/statm")?.split(' ').nth(1).ok_or("no size")?.parse()?;
        Ok(pages * 4_096.0)
    };
    let copies = (COPIED_BYTES / bytes).clamp(50, 2_000);
    let before = resident()?;
    let many = (0..copies).map(|_| make()).collect::<Result<Vec<T>, _>>()?;
    let grown = resident()? - before;
    // Kept: the next ones would lie in what these leave, and seem to take nothing.
    std::mem::forget(many);
    Ok(grown / copies as f64)
}
