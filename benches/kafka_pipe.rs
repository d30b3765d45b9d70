//! How far is the engine from a plain loop, Kafka to Kafka, and how long does a row take at half load?
//! `cargo bench -p gristmill-benches --bench kafka_pipe -- --json`, after `bash scripts/test kafka`
#![expect(clippy::print_stdout, reason = "a bench prints")]

#[path = "pipe/mod.rs"]
mod pipe;

use std::time::Duration;

use clap::Parser;
use pipe::{Age, Options, run};

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
    /// Seconds for which latency is measured in a round.
    #[arg(long, default_value_t = 10)]
    latency_seconds: u64,
    /// Rounds in which latency is measured.
    #[arg(long, default_value_t = 3)]
    latency_rounds: usize,
    /// Rows a second for latency, instead of half of what the engine did.
    #[arg(long)]
    latency_rate: Option<f64>,
    /// Properties of both consumers, `name=value`.
    #[arg(long)]
    consumer: Vec<String>,
    /// Properties of both producers, `name=value`.
    #[arg(long)]
    producer: Vec<String>,
    /// How long the client that produces rows lingers, in milliseconds.
    #[arg(long, default_value_t = 1)]
    rows_linger_ms: u32,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let pairs = |texts: &[String]| {
        let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        texts.iter().map(|text| pair(text).ok_or(format!("`{text}` is not `name=value`"))).collect::<Result<_, _>>()
    };
    let report = run(&Options {
        consumer: pairs(&arguments.consumer)?,
        producer: pairs(&arguments.producer)?,
        rows_linger_ms: arguments.rows_linger_ms,
        rows: arguments.rows,
        devices: arguments.devices,
        partitions: arguments.partitions,
        shards: arguments.shards,
        rounds: arguments.rounds,
        latency: Duration::from_secs(arguments.latency_seconds),
        latency_rounds: arguments.latency_rounds,
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
    line("latency at", format!("{:.0} rows/s; p99 of rounds {:.1?}", report.latency_rate, report.p99_of_rounds));
    for (by, ages) in [("engine", &report.engine_ages), ("plain loop", &report.plain_ages)] {
        println!("age of rows in ms, {by:<16} {:>8} {:>8} {:>8} {:>8} {:>8}", "p50", "p90", "p99", "p99.9", "max");
        for Age { at, p50, p90, p99, p999, max, .. } in ages {
            println!("  {at:<32} {p50:>8.1} {p90:>8.1} {p99:>8.1} {p999:>8.1} {max:>8.1}");
        }
    }
    Ok(())
}
