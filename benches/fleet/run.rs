//! A run: engine and plain loop in turns over the same epochs, in one process.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use gristmill::{Handle, Runtime};
use gristmill_operators::model::Kernels;
use serde::Serialize;

use super::data::{self, MODELS, ROWS, Reference, Templates};
use super::machine::{processor_seconds, resident};
use super::models::{self, DeviceModels};
use super::plain::PlainLoop;
use super::sink::Predictions;
use super::source::{self, Readings, Release, times};
use super::topology;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Devices; each has four models.
    pub devices: usize,
    /// Devices besides, which have spoken once and are silent while it is timed.
    pub idle: usize,
    /// Threads that compute, in the engine as in the plain loop.
    pub shards: u16,
    /// Whether every model is a node of its own device, rather than a member of one of four families.
    pub per_key_models: bool,
    /// Which kernels both use.
    pub kernels: Kernels,
    /// Timed epochs; one more runs before them.
    pub epochs: usize,
    /// Keys in a frame of the engine; its default unless said.
    pub frame_keys: Option<usize>,
    /// Is told what is done next; never while something is timed.
    pub progress: fn(&str),
}

/// What came out. Times are of the wall unless said; per device they are multiplied by the shards.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Models that scored ten rows each in an epoch.
    pub models: usize,
    /// Devices.
    pub devices: usize,
    /// Devices that are known but silent.
    pub idle: usize,
    /// Threads.
    pub shards: u16,
    /// Whether every model was a node of its own.
    pub per_key_models: bool,
    /// `scalar` or `best`.
    pub kernels: &'static str,
    /// Timed epochs.
    pub epochs: usize,
    /// Seconds from the release of an epoch until its last prediction is in the sink: the median.
    pub epoch_seconds: f64,
    /// The same for the plain loop.
    pub plain_loop_seconds: f64,
    /// Plain loop by engine: the median over the epochs, each of which both have computed one after the other.
    pub ratio: f64,
    /// As `ratio`, of the processor time of all threads: what other work on the machine disturbs less.
    pub processor_ratio: f64,
    /// Processor time of the plain loop for a device and epoch, in microseconds: the median.
    pub plain_micros_per_device: f64,
    /// Processor time that the engine takes more than that: the median of the epochs' differences.
    pub engine_overhead_micros_per_device: f64,
    /// The largest difference from the reference, relative above 1.
    pub max_error: f64,
    /// Scores that were compared with the reference.
    pub compared: usize,
    /// Whether engine and plain loop gave the same bits for all scores.
    pub bits_equal: bool,
    /// Resident memory at the end, with the plain loop's.
    pub rss_bytes: u64,
    /// Models, plan, states and all else of the engine, by devices; without the plain loop.
    pub bytes_per_device: f64,
    /// Seconds from the topology to the first row.
    pub start_seconds: f64,
}

/// A run that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// There is nothing to run.
    #[error("there must be at least one device, one shard and one epoch")]
    Nothing,
    /// A file of the workload is damaged.
    #[error(transparent)]
    Data(#[from] super::npy::Malformed),
    /// A model could not be made.
    #[error(transparent)]
    Model(#[from] gristmill::traits::LoadError),
    /// The topology could not be made.
    #[error(transparent)]
    Attribute(#[from] gristmill::topology::AttributeError),
    /// The runtime did not start.
    #[error(transparent)]
    Start(#[from] gristmill::StartError),
    /// The runtime did not end in order.
    #[error(transparent)]
    Run(#[from] gristmill::RunError),
    /// No thread.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
    /// A thread of this bench panicked.
    #[error("a thread of the bench failed")]
    Panic,
}

/// Runs the workload.
///
/// # Errors
/// [`FleetError`].
pub fn run(options: &Options) -> Result<Report, FleetError> {
    let options = *options;
    if options.devices == 0 || options.shards == 0 || options.epochs == 0 {
        return Err(FleetError::Nothing);
    }
    // On a thread of its own, so that the caller may be on a tokio runtime.
    let thread = std::thread::Builder::new().name("fleet".to_owned()).spawn(move || on_thread(&options))?;
    thread.join().map_err(|_| FleetError::Panic)?
}

/// One epoch of engine and plain loop.
#[derive(Clone, Copy, Debug)]
struct Pair {
    engine: Cost,
    plain: Cost,
    equal: bool,
}

#[derive(Clone, Copy, Debug)]
struct Cost {
    wall: f64,
    processor: f64,
}

fn on_thread(options: &Options) -> Result<Report, FleetError> {
    let before = resident();
    options.kernels.set();
    let all = options.devices + options.idle;
    (options.progress)(&format!("making {} models", all * MODELS));
    let templates = Templates::load()?;
    let models: Vec<DeviceModels> =
        (0..all as u64).map(|device| models::of_device(&templates, device)).collect::<Result<_, _>>()?;
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let keys = (0..Reference::DEVICES.min(options.devices)).map(topology::key);
    let sink = Predictions::keeping(keys);
    let (mut release, source) = source::source(all);
    (options.progress)("starting the engine");
    let start = Instant::now();
    let topology = topology::build(&models, options.per_key_models)?;
    let mut builder = Runtime::builder().topology(topology).source(source).sink(topology::SINK, sink.clone());
    builder = builder.shards(options.shards);
    if let Some(frame_keys) = options.frame_keys {
        builder.options_mut().frame_keys = frame_keys;
    }
    let handle: Handle = tokio.block_on(builder.start())?;
    let start_seconds = start.elapsed().as_secs_f64();
    (options.progress)("filling every device's windows");
    warm_up(&mut release, &sink, all);
    let bytes = resident().saturating_sub(before);
    let plain = PlainLoop::start(&models[..options.devices], usize::from(options.shards))?;
    let mut pairs = Vec::with_capacity(options.epochs);
    for epoch in 0..=options.epochs {
        match epoch {
            0 => (options.progress)("an epoch that is not counted"),
            _ => (options.progress)(&format!("epoch {epoch} of {}", options.epochs)),
        }
        pairs.push(pair(epoch, options, &mut release, &sink, &plain)?);
    }
    let rss_bytes = resident();
    drop(release);
    tokio.block_on(handle.finished())?;
    let (max_error, compared) = error(&sink, options.epochs + 1)?;
    let report = Report {
        max_error,
        compared,
        rss_bytes,
        bytes_per_device: bytes as f64 / all as f64,
        start_seconds,
        ..summary(options, &pairs)
    };
    Ok(report)
}

/// Devices whose history is in memory at once.
const HISTORY_DEVICES: usize = 10_000;

fn warm_up(release: &mut Release, sink: &Predictions, devices: usize) {
    for first in (0..devices).step_by(HISTORY_DEVICES) {
        let some = first..devices.min(first + HISTORY_DEVICES);
        sink.expect((some.len() * MODELS * source::HISTORY_ROWS) as u64);
        release.history(some)(release);
        sink.wait();
    }
    sink.take_checksum();
}

/// An epoch, by the engine and by the plain loop; who is first takes turns.
fn pair(
    epoch: usize,
    options: &Options,
    release: &mut Release,
    sink: &Predictions,
    plain: &PlainLoop,
) -> Result<Pair, FleetError> {
    let readings: Vec<Readings> =
        (0..options.devices as u64).map(|device| data::readings(device, epoch as u64)).collect();
    let records = release.epoch(epoch, &readings);
    let readings = Arc::new(readings);
    sink.expect((options.devices * MODELS * ROWS) as u64);
    let mut records = Some(records);
    let mut engine = || {
        cost(|| {
            if let Some(records) = records.take() {
                records(release);
                sink.wait();
            }
        })
        .0
    };
    let loops = || cost(|| plain.run(epoch, &readings));
    let (engine, (plain, sum)) = if epoch.is_multiple_of(2) {
        let engine = engine();
        (engine, loops())
    } else {
        let plain = loops();
        (engine(), plain)
    };
    let equal = sum.ok_or(FleetError::Panic)? == sink.take_checksum();
    Ok(Pair { engine, plain, equal })
}

/// Runs and measures; nothing else of this process has work.
fn cost<T>(work: impl FnOnce() -> T) -> (Cost, T) {
    let processor = processor_seconds();
    let start = Instant::now();
    let result = work();
    let wall = start.elapsed().as_secs_f64();
    // Threads go to sleep; what they do after the last prediction is freeing, which is work too.
    std::thread::sleep(Duration::from_millis(2));
    (Cost { wall, processor: processor_seconds() - processor }, result)
}

/// The largest difference from the reference, and how many scores were compared.
fn error(sink: &Predictions, epochs: usize) -> Result<(f64, usize), FleetError> {
    let (reference, captured) = (Reference::load()?, sink.captured());
    let (mut largest, mut compared) = (0.0_f64, 0);
    for epoch in 0..epochs.min(Reference::EPOCHS) {
        let time = times(epoch)[0];
        for device in 0..Reference::DEVICES {
            let Some(scores) = captured.get(&(device, time)) else { continue };
            for (model, scores) in scores.iter().enumerate() {
                for (row, score) in scores.iter().enumerate() {
                    let right = reference.score(epoch, device, model, row);
                    largest = largest.max((f64::from(*score) - right).abs() / right.abs().max(1.0));
                    compared += 1;
                }
            }
        }
    }
    Ok((largest, compared))
}

fn summary(options: &Options, pairs: &[Pair]) -> Report {
    let timed = &pairs[1..];
    let of = |value: &dyn Fn(&Pair) -> f64| median(timed.iter().map(value).collect());
    let micros = 1e6 / options.devices as f64;
    Report {
        models: options.devices * MODELS,
        devices: options.devices,
        idle: options.idle,
        shards: options.shards,
        per_key_models: options.per_key_models,
        kernels: if options.kernels == Kernels::Scalar { "scalar" } else { "best" },
        epochs: timed.len(),
        epoch_seconds: of(&|pair| pair.engine.wall),
        plain_loop_seconds: of(&|pair| pair.plain.wall),
        ratio: of(&|pair| pair.plain.wall / pair.engine.wall),
        processor_ratio: of(&|pair| pair.plain.processor / pair.engine.processor),
        plain_micros_per_device: of(&|pair| pair.plain.processor) * micros,
        engine_overhead_micros_per_device: of(&|pair| pair.engine.processor - pair.plain.processor) * micros,
        bits_equal: pairs.iter().all(|pair| pair.equal),
        max_error: 0.0,
        compared: 0,
        rss_bytes: 0,
        bytes_per_device: 0.0,
        start_seconds: 0.0,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}
