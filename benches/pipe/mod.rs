//! The pipe: JSON rows from a Kafka topic, a linear model, predictions as JSON to another topic. By the engine, and by a
//! plain loop over the same client library with the same settings; and how long a row takes at half load.

mod engine;
mod latency;
mod plain;
mod rows;
mod stages;

use std::time::Duration;

use gristmill_tests::support::kafka::Broker;
use serde::Serialize;

use latency::By;
pub(crate) use stages::Age;

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Properties of the consumers of the engine and of the loop.
    pub(crate) consumer: Vec<(String, String)>,
    /// Properties of their producers.
    pub(crate) producer: Vec<(String, String)>,
    /// How long the client that produces rows lingers.
    pub(crate) rows_linger_ms: u32,
    /// Rows of a round.
    pub(crate) rows: usize,
    /// Devices.
    pub(crate) devices: usize,
    /// Partitions of both topics.
    pub(crate) partitions: u32,
    /// Threads of the engine that compute.
    pub(crate) shards: u16,
    /// Timed rounds; one more runs before them.
    pub(crate) rounds: usize,
    /// How long latency is measured in a round.
    pub(crate) latency: Duration,
    /// Rounds of it.
    pub(crate) latency_rounds: usize,
    /// Rows a second for latency; half of what the engine did unless said.
    pub(crate) latency_rate: Option<f64>,
}

/// One run from the first record that came to the last delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    /// Of all threads of this process, the clients' too; the broker is another process.
    pub(crate) processor_seconds: f64,
}

/// What came out: medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Rows of a round, one prediction each.
    pub(crate) rows: usize,
    /// Timed rounds.
    pub(crate) rounds: usize,
    /// Threads of the engine that compute.
    pub(crate) shards: u16,
    /// Rows a second through the engine.
    pub(crate) engine_rows_per_second: f64,
    /// Rows a second through the plain loop.
    pub(crate) plain_rows_per_second: f64,
    /// Time of the plain loop by time of the engine, of the rounds each of which both have done.
    pub(crate) ratio: f64,
    /// The same of processor time.
    pub(crate) processor_ratio: f64,
    /// Processor time of the engine for a row, in microseconds.
    pub(crate) engine_micros_per_row: f64,
    /// As `engine_micros_per_row`, of the plain loop.
    pub(crate) plain_micros_per_row: f64,
    /// Rows a second while latency was measured.
    pub(crate) latency_rate: f64,
    /// How old rows are at each place, by the engine: medians over the rounds. The last is the latency, from before a row
    /// is produced until after its prediction has been consumed.
    pub(crate) engine_ages: Vec<Age>,
    /// As `engine_ages`, by the plain loop.
    pub(crate) plain_ages: Vec<Age>,
    /// The p99 of the latency in each round, in milliseconds: engine, plain loop.
    pub(crate) p99_of_rounds: Vec<(f64, f64)>,
}

/// Runs the workload on a broker of its own.
///
/// # Errors
/// When the runtime does not start or end in order, or a client cannot be made.
///
/// # Panics
/// When no broker can be started, or predictions are missing or wrong.
pub(crate) fn run(options: &Options) -> Result<Report, Box<dyn std::error::Error>> {
    let broker = Broker::start();
    let brokers = broker.bootstrap();
    for topic in ["rows", "by-engine", "by-plain-loop"] {
        broker.create_topic(topic, options.partitions);
    }
    rows::produce_all(&brokers, options);
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut pairs = Vec::new();
    for round in 0..=options.rounds {
        let engine = || tokio.block_on(engine::run(&brokers, options, round));
        let plain = || plain::run(&brokers, options, round);
        let pair = if round.is_multiple_of(2) {
            let engine = engine()?;
            (engine, plain()?)
        } else {
            let plain = plain()?;
            (engine()?, plain)
        };
        pairs.push(pair);
    }
    rows::check(&brokers, options);
    let timed = &pairs[1..];
    let of = |value: &dyn Fn(&(Run, Run)) -> f64| median(timed.iter().map(value).collect());
    let rows = options.rows as f64;
    let engine_rows_per_second = rows / of(&|(engine, _)| engine.seconds);
    let latency_rate = options.latency_rate.unwrap_or(engine_rows_per_second / 2.0);
    let (mut by_engine, mut by_plain) = (Vec::new(), Vec::new());
    for round in 0..options.latency_rounds {
        for by in if round.is_multiple_of(2) { [By::Engine, By::Plain] } else { [By::Plain, By::Engine] } {
            let ages = latency::run(&broker, options, by, round, latency_rate)?;
            if by == By::Engine { by_engine.push(ages) } else { by_plain.push(ages) }
        }
    }
    let p99 = |ages: &Vec<Age>| ages.last().map_or(f64::NAN, |age| age.p99);
    Ok(Report {
        rows: options.rows,
        rounds: timed.len(),
        shards: options.shards,
        engine_rows_per_second,
        plain_rows_per_second: rows / of(&|(_, plain)| plain.seconds),
        ratio: of(&|(engine, plain)| plain.seconds / engine.seconds),
        processor_ratio: of(&|(engine, plain)| plain.processor_seconds / engine.processor_seconds),
        engine_micros_per_row: of(&|(engine, _)| engine.processor_seconds) * 1e6 / rows,
        plain_micros_per_row: of(&|(_, plain)| plain.processor_seconds) * 1e6 / rows,
        latency_rate,
        engine_ages: stages::medians(&by_engine),
        plain_ages: stages::medians(&by_plain),
        p99_of_rounds: by_engine.iter().map(p99).zip(by_plain.iter().map(p99)).collect(),
    })
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

/// Processor time of this process, threads that have ended too, to a hundredth of a second; 0 where the system does not
/// say.
pub(crate) fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold blanks: state is field 0, user time field 11, system time field 12.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
