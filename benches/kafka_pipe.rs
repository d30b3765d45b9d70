//! How far is the engine from a plain loop, Kafka to Kafka, and how long does a row take at half load?
//! `cargo bench -p gristmill-benches --bench kafka_pipe -- --json`, after `bash scripts/test kafka`
#![expect(clippy::print_stdout, reason = "a bench prints")]

#[path = "pipe/mod.rs"]
mod pipe;

use std::time::Duration;

use clap::Parser;
use pipe::{Options, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Kafka in, a linear model, Kafka out: engine against plain loop.
#[derive(Parser)]
struct Arguments {
    /// Rows of a round.
    #[arg(long, default_value_t = 300_000)]
    rows: usize,
    /// Devices.
    #[arg(long, default_value_t = 1_000)]
    devices: usize,
    /// Partitions of both topics.
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// Threads of the engine that compute.
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// Timed rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds for which latency is measured.
    #[arg(long, default_value_t = 10)]
    latency_seconds: u64,
    /// Rows a second for latency, instead of half of what the engine did.
    #[arg(long)]
    latency_rate: Option<f64>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let report = run(&Options {
        rows: arguments.rows,
        devices: arguments.devices,
        partitions: arguments.partitions,
        shards: arguments.shards,
        rounds: arguments.rounds,
        latency: Duration::from_secs(arguments.latency_seconds),
        latency_rate: arguments.latency_rate,
    })?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    let line = |what: &str, value: String| println!("{what:<34} {value}");
    line("rows, rounds, shards", format!("{}, {}, {}", report.rows, report.rounds, report.shards));
    line("engine", format!("{:.0} rows/s", report.engine_rows_per_second));
    line("plain loop", format!("{:.0} rows/s", report.plain_rows_per_second));
    line("ratio (plain / engine)", format!("{:.3}", report.ratio));
    line("ratio of processor time", format!("{:.3}", report.processor_ratio));
    line("processor, engine, a row", format!("{:.2} µs", report.engine_micros_per_row));
    line("processor, plain loop, a row", format!("{:.2} µs", report.plain_micros_per_row));
    let latency = report.latency;
    line("latency at", format!("{:.0} rows/s", report.latency_rate));
    line("  p50, p90", format!("{:.1} ms, {:.1} ms", latency.p50, latency.p90));
    line("  p99, p99.9, slowest", format!("{:.1} ms, {:.1} ms, {:.1} ms", latency.p99, latency.p999, latency.max));
    Ok(())
}
