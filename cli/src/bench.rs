//! `grist bench`: workloads that show how fast the engine is here.

use std::io::{IsTerminal, Write};

use clap::{Args, Subcommand, ValueEnum};
use gristmill_benches::fleet::{self, Options, Report};
use gristmill_operators::model::Kernels;

use crate::failure::Failure;
use crate::output::{Output, count, grouped, table};

/// The largest error of a score that is no defect, relative above 1.
const ERROR_MAX: f64 = 1e-5;

const EXAMPLE: &str = "\
Examples:
  grist bench fleet
  grist bench fleet --devices 50000 --kernels scalar
  grist bench fleet --json | jq .ratio";

const FLEET: &str = "\
Every device has four sensors with ten rows a second, ten features over 60 rows, and four models of its own, one of which
reads what two others predict. Each epoch, ten rows of every device, is computed by the engine and by a plain loop over
the same kernels with as many threads, one after the other in one process; who is first takes turns. The table has the
medians. It fails when a score is wrong. Times of shared machines lie: compare only within one run.

Examples:
  grist bench fleet
  grist bench fleet --devices 50000 --shards 1 --kernels best
  grist bench fleet --devices 1000 --per-key-models --json | jq .ratio";

/// What is measured.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Thousands of devices with four models each: the engine against a plain loop
    Fleet(FleetArgs),
}

#[derive(Debug, Args)]
#[command(after_help = FLEET)]
struct FleetArgs {
    /// Devices; each has four models
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    devices: u32,
    /// Devices besides that are known, models and all, and send nothing while it is timed
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    idle: u32,
    /// Threads that compute, in the engine as in the plain loop
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    shards: u16,
    /// Every model is a node, and so an actor, of its own device; else it is one of a family
    #[arg(long)]
    per_key_models: bool,
    /// Which kernels both use
    #[arg(long, value_enum, default_value_t = Choice::Best)]
    kernels: Choice,
    /// Epochs that are timed
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    epochs: u32,
    /// Devices in a frame of the engine; its default unless said
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    frame_keys: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Choice {
    /// Row by row
    Scalar,
    /// Blocks of rows, for the best instruction set of the machine
    Best,
}

/// Runs it.
pub(crate) fn run(args: &BenchArgs, output: &mut Output) -> Result<(), Failure> {
    let Workload::Fleet(args) = &args.workload;
    let options = Options {
        devices: args.devices as usize,
        idle: args.idle as usize,
        shards: args.shards,
        per_key_models: args.per_key_models,
        kernels: match args.kernels {
            Choice::Scalar => Kernels::Scalar,
            Choice::Best => Kernels::Best,
        },
        epochs: args.epochs as usize,
        frame_keys: args.frame_keys.map(|keys| keys as usize),
        progress: say_on_terminal,
    };
    let report = fleet::run(&options);
    say_on_terminal("");
    let report = report.map_err(|error| Failure::failed(format!("bench fleet: {error}")))?;
    if output.is_json() {
        output.answer(&report)?;
    } else {
        output.say(readable(&report));
    }
    match wrong(&report) {
        Some(wrong) => Err(Failure::failed(wrong).answered()),
        None => Ok(()),
    }
}

/// One line that is written over; nothing where nobody looks.
fn say_on_terminal(step: &str) {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{step}").and_then(|()| stderr.flush());
    }
}

/// What makes the times worthless.
fn wrong(report: &Report) -> Option<String> {
    if !report.bits_equal {
        return Some("engine and plain loop do not give the same scores; this is a defect".to_owned());
    }
    let is_wrong = report.compared == 0 || report.max_error.is_nan() || report.max_error > ERROR_MAX;
    is_wrong.then(|| {
        let (error, compared) = (report.max_error, grouped(report.compared as u64));
        format!("scores are wrong: the largest error of {compared} is {error:.1e}, the limit {ERROR_MAX:.0e}; this is a defect")
    })
}

fn readable(report: &Report) -> String {
    let how = if report.per_key_models { "a node each" } else { "in families" };
    let models = grouped(report.models as u64);
    let devices = count(report.devices as u64, "device");
    let threads = count(report.shards.into(), "shard");
    let rows = [
        ("models", format!("{models} of {devices}, {how}; {} kernels", report.kernels)),
        ("run with", format!("{threads}, {} of 10 rows a device", count(report.epochs as u64, "timed epoch"))),
        ("epoch", format!("{:.4} s", report.epoch_seconds)),
        ("plain loop", format!("{:.4} s", report.plain_loop_seconds)),
        ("ratio (plain / engine)", format!("{:.3}; 1 would be an engine that costs nothing", report.ratio)),
        (
            "ratio of processor time",
            format!("{:.3}; other work on the machine disturbs it less", report.processor_ratio),
        ),
        ("plain loop, a device", format!("{:.2} µs", report.plain_micros_per_device)),
        ("engine on top, a device", format!("{:.2} µs", report.engine_overhead_micros_per_device)),
        ("largest error", format!("{:.1e} of {} scores", report.max_error, grouped(report.compared as u64))),
        ("same bits as the plain loop", if report.bits_equal { "yes" } else { "no" }.to_owned()),
        ("memory, with the plain loop's", format!("{:.0} MB", report.rss_bytes as f64 / 1e6)),
        ("memory of the engine, a device", format!("{} bytes", grouped(report.bytes_per_device as u64))),
        ("start", format!("{:.2} s", report.start_seconds)),
    ];
    table(&["FLEET", ""], &[1], rows.map(|(what, value)| vec![what.to_owned(), value]))
}
