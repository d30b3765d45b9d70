//! How far is the engine from a plain loop? `cargo bench -p gristmill-benches --bench fleet_bench -- --devices 10000`
#![expect(clippy::print_stdout, reason = "a bench prints")]

use clap::{Parser, ValueEnum};
use gristmill_benches::fleet::{FleetError, Options, Report, run};
use gristmill_operators::model::Kernels;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The fleet workload: engine against plain loop.
#[derive(Parser)]
struct Arguments {
    /// Devices; each has four models.
    #[arg(long, default_value_t = 10_000)]
    devices: usize,
    /// Threads that compute.
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// Every model is a node of its own device.
    #[arg(long)]
    per_key_models: bool,
    /// Which kernels both use.
    #[arg(long, value_enum, default_value = "best")]
    kernels: Choice,
    /// Timed epochs.
    #[arg(long, default_value_t = 9)]
    epochs: usize,
    /// Keys in a frame of the engine.
    #[arg(long)]
    frame_keys: Option<usize>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    /// Row by row.
    Scalar,
    /// Blocks of rows, for the best instruction set of the machine.
    Best,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let options = Options {
        devices: arguments.devices,
        shards: arguments.shards,
        per_key_models: arguments.per_key_models,
        kernels: match arguments.kernels {
            Choice::Scalar => Kernels::Scalar,
            Choice::Best => Kernels::Best,
        },
        epochs: arguments.epochs,
        frame_keys: arguments.frame_keys,
    };
    let report = measure(&options)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        table(&report);
    }
    Ok(())
}

fn measure(options: &Options) -> Result<Report, FleetError> {
    run(options)
}

fn table(report: &Report) {
    let how = if report.per_key_models { "a node each" } else { "families" };
    let line = |what: &str, value: String| println!("{what:<34} {value}");
    line("models", format!("{} on {} devices, {how}, {} kernels", report.models, report.devices, report.kernels));
    line("shards, epochs", format!("{}, {}", report.shards, report.epochs));
    line("epoch", format!("{:.4} s", report.epoch_seconds));
    line("plain loop", format!("{:.4} s", report.plain_loop_seconds));
    line("ratio (plain / engine)", format!("{:.3}", report.ratio));
    line("ratio of processor time", format!("{:.3}", report.processor_ratio));
    line("plain loop, a device", format!("{:.2} µs", report.plain_micros_per_device));
    line("engine on top, a device", format!("{:.2} µs", report.engine_overhead_micros_per_device));
    line("largest error", format!("{:.2e} of {} scores", report.max_error, report.compared));
    line("same bits as the plain loop", report.bits_equal.to_string());
    line("memory", format!("{:.0} MB, {:.0} bytes a device", report.rss_bytes as f64 / 1e6, report.bytes_per_device));
    line("start", format!("{:.2} s", report.start_seconds));
}
