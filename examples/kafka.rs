//! cargo run --release -p gristmill-examples --features kafka --example kafka [-- localhost:9092]
//!
//! Kafka in, models, Kafka out, until Ctrl-C. Topic `readings` has JSON rows,
//! `{"machine":"M1","ts":1767225600000,"temperature":61.5,"vibration":3.2}`; topic `predictions` gets the predictions. What
//! is committed in the consumer group `gristmill-example` is done: after a stop or a crash the rest is read again.
//!
//! It needs a broker and both topics:
//!
//! ```sh
//! docker run --name kafka -p 9092:9092 apache/kafka:4.1.0
//! docker exec kafka /opt/kafka/bin/kafka-topics.sh --bootstrap-server localhost:9092 --create --topic readings
//! docker exec kafka /opt/kafka/bin/kafka-topics.sh --bootstrap-server localhost:9092 --create --topic predictions
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::process::ExitCode;
use std::sync::Arc;

use gristmill::topology::{Topology, all_models, provide, sensor, sink};
use gristmill::traits::Model;
use gristmill::{Runtime, Stream};
use gristmill_operators::kafka;
use gristmill_operators::model::Linear;

const TEMPERATURE: Stream<f32> = Stream::new("temperature"); // °C
const VIBRATION: Stream<f32> = Stream::new("vibration"); // mm/s
const WEAR: Stream<f32> = Stream::new("wear"); // 0 new, 1 worn out
const FAILURE: Stream<f32> = Stream::new("failure"); // how likely, 0 to 1

const HELP: &str = "No Kafka to talk to? Start a broker and create the topics `readings` and `predictions` (the \
commands are at the top of examples/kafka.rs), then say where it is: --example kafka -- HOST:PORT";

async fn run(brokers: &str) -> Result<(), Box<dyn std::error::Error>> {
    let wear: Arc<dyn Model> = Arc::new(Linear::new(&[0.0025, 0.02], 0.0)?);
    let topology = Topology::new("machine")
        .with(sensor(TEMPERATURE).range(-40.0..=200.0).hold_last())
        .with(sensor(VIBRATION).range(0.0..=50.0).hold_last())
        .with(provide(WEAR).needs([TEMPERATURE, VIBRATION]).by(wear))
        .with(provide(FAILURE).needs(WEAR).by(|wear: f32| (wear * 2.0 - 0.8).clamp(0.0, 1.0)).model())
        .with(sink("predictions").needs(all_models()));
    println!("{}\n", topology.resolve()?);

    let source = kafka::source("readings").brokers(brokers).group("gristmill-example");
    let source = source.json(|r| r.key("machine").time("ts"));
    let predictions = kafka::sink("predictions").brokers(brokers);
    let mill = Runtime::builder().topology(topology).source(source).sink("predictions", predictions).start().await?;
    println!("reading `readings` at {brokers}, writing `predictions`; Ctrl-C stops");
    mill.run_until(tokio::signal::ctrl_c()).await?;
    println!("stopped: {} rows are done and committed", mill.report(None).await?.intake.rows);
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let brokers = std::env::args().nth(1).unwrap_or_else(|| "localhost:9092".to_owned());
    match run(&brokers).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}\n\n{HELP}");
            ExitCode::FAILURE
        }
    }
}
