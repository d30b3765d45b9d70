//! A fleet over a real Kafka: rows of many devices in, four models a device, predictions out. The runtime is stopped at
//! about the middle and started again in the same group; then plain clients and Kafka's own tools look at what is there.
//!
//! 100,000 rows of 500 devices; with `GRISTMILL_FLEET=long` 2,000,000 rows of 2,000 devices. The models are without
//! state, and none is saved: positions alone say where the second run begins. Stops with states are in `saved_state.rs`.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gristmill::topology::{Family, Topology, Work, all_models, provide, sensor, sink};
use gristmill::traits::Model;
use gristmill::words::{Column, Key};
use gristmill::{Handle, Runtime, Stream};
use gristmill_operators::codec::row::TimeStyle;
use gristmill_operators::kafka;
use gristmill_operators::model::{Forest, Linear};
use gristmill_tests::support::kafka::{Broker, total_lag};
use gristmill_tests::support::kafka_clients::{Reader, produce};

const PARTITIONS: u32 = 8;
const SENSORS: [&str; 4] = ["temperature", "vibration", "pressure", "current"];
const MODELS: [&str; 4] = ["health", "wear", "load", "failure"];
const START_MILLIS: i64 = 1_767_225_600_000;
const STEP_MILLIS: i64 = 100;
const TIMEOUT: Duration = Duration::from_secs(500);

/// How much there is.
#[derive(Clone, Copy)]
struct Size {
    rows: usize,
    devices: usize,
}

impl Size {
    fn asked() -> Self {
        match std::env::var("GRISTMILL_FLEET").as_deref() {
            Ok("long") => Self { rows: 2_000_000, devices: 2_000 },
            Ok(other) => panic!("GRISTMILL_FLEET is `{other}`; it may be `long`"),
            Err(_) => Self { rows: 100_000, devices: 500 },
        }
    }

    fn rows_of_device(self) -> usize {
        self.rows / self.devices
    }

    fn predictions(self) -> u64 {
        (self.rows * MODELS.len()) as u64
    }
}

fn key(device: usize) -> String {
    format!("device-{device:05}")
}

fn mix(number: u64) -> u64 {
    let mixed = (number.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 11
}

/// A number from 0 to 100 with two decimals.
fn drawn(seed: u64) -> f32 {
    (mix(seed) % 10_001) as f32 / 100.0
}

fn reading(device: usize, row: usize, sensor: usize) -> f32 {
    drawn(((device * 1_000_000 + row) * SENSORS.len() + sensor) as u64)
}

fn time(row: usize) -> i64 {
    START_MILLIS + row as i64 * STEP_MILLIS
}

fn record(device: usize, row: usize) -> (String, String) {
    let [t, v, p, c] = std::array::from_fn(|sensor| reading(device, row, sensor));
    let (key, time) = (key(device), time(row));
    let value =
        format!(r#"{{"device":"{key}","ts":{time},"temperature":{t},"vibration":{v},"pressure":{p},"current":{c}}}"#);
    (key, value)
}

/// What each model reads: streams by name. The last needs two others.
const NEEDS: [&[&str]; 4] = [&SENSORS, &SENSORS, &["pressure", "current"], &["health", "load", "vibration"]];

/// The models of a device, which no other device has.
fn models(device: usize) -> [Arc<dyn Model>; 4] {
    let number = |seed: usize| drawn((device * 1_000 + seed) as u64 ^ 0x00ab_cdef_0000_0000);
    let linear = |from: usize, inputs: usize| -> Arc<dyn Model> {
        let weights: Vec<f32> = (0..inputs).map(|input| number(from + input) / 50.0 - 1.0).collect();
        Arc::new(Linear::new(&weights, number(from + 9)).expect("there are weights"))
    };
    let (trees, depth) = (8, 3);
    let splits = trees * ((1 << depth) - 1);
    let features: Vec<u16> = (0..splits).map(|split| (mix((device * 997 + split) as u64) % 4) as u16).collect();
    let thresholds: Vec<f32> = (0..splits).map(|split| number(100 + split)).collect();
    let leaves: Vec<f32> = (0..trees << depth).map(|leaf| number(300 + leaf) / 10.0).collect();
    let forest = Forest::perfect(trees, depth, &features, &thresholds, &leaves).expect("a perfect forest");
    let forest = forest.with_inputs(SENSORS.len()).expect("no tree reads more");
    [linear(0, 4), Arc::new(forest), linear(20, 2), linear(40, 3)]
}

fn topology(all: &[[Arc<dyn Model>; 4]]) -> Topology {
    let mut topology = Topology::new("device");
    for name in SENSORS {
        topology = topology.with(sensor(Stream::<f32>::new(name)));
    }
    for (model, name) in MODELS.into_iter().enumerate() {
        let needs: Vec<Stream<f32>> = NEEDS[model].iter().map(|name| Stream::new(name)).collect();
        let members = all.iter().enumerate().map(|(device, of)| (Key::from(key(device)), of[model].clone()));
        let family = Work::Family(Family::from_iter(members));
        topology = topology.with(provide(Stream::<f32>::new(name)).needs(needs.as_slice()).by(family));
    }
    topology.with(sink("predictions").needs(all_models()))
}

/// What the models say of all rows of a device: the same kernels, in a plain loop.
fn expected(device: usize, models: &[Arc<dyn Model>; 4], rows: usize) -> [Vec<f32>; 4] {
    let mut columns: HashMap<&str, Column> = HashMap::new();
    for (sensor, name) in SENSORS.into_iter().enumerate() {
        columns.insert(name, Column::F32((0..rows).map(|row| reading(device, row, sensor)).collect()));
    }
    for ((name, model), needs) in MODELS.into_iter().zip(models).zip(NEEDS) {
        let inputs: Vec<_> = needs.iter().map(|need| columns[need].as_ref()).collect();
        let mut scores = Column::F32(vec![f32::NAN; rows]);
        model.score(&inputs, &mut [scores.as_mut()]).expect("numbers can be scored");
        columns.insert(name, scores);
    }
    MODELS.map(|name| match columns.remove(name) {
        Some(Column::F32(scores)) => scores,
        other => panic!("`{name}` gave {other:?}"),
    })
}

async fn start(broker: &Broker, topology: Topology) -> Handle {
    let source = kafka::source("readings").brokers(&broker.bootstrap()).group("fleet");
    let source = source.json(|r| r.key("device").time("ts"));
    let sink = kafka::sink("predictions").brokers(&broker.bootstrap()).times(TimeStyle::Micros);
    let mut builder = Runtime::builder().topology(topology).source(source).sink("predictions", sink).shards(2);
    // Few enough that a stop in the middle leaves much to do.
    builder.options_mut().drive.in_flight_records = 8_192;
    builder.start().await.expect("the runtime starts")
}

/// Waits until so many rows have come in.
async fn rows_in(handle: &Handle, rows: u64) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let report = handle.report(None).await.expect("the runtime runs");
        assert_eq!((report.intake.refused, report.intake.late, report.intake.duplicate), (0, 0, 0));
        if report.intake.rows >= rows {
            return;
        }
        assert!(Instant::now() < deadline, "{} of {rows} rows came within {TIMEOUT:?}", report.intake.rows);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A prediction as it lies in the topic.
#[derive(serde::Deserialize)]
struct Prediction<'a> {
    key: &'a str,
    time: i64,
    stream: &'a str,
    value: f32,
    node: &'a str,
    partition: usize,
    offset: i64,
}

/// Where the first run ended: the ends of the output's partitions, and what the group had committed.
struct Middle {
    outputs: Vec<i64>,
    committed: Vec<i64>,
}

#[derive(Default)]
struct Seen {
    /// For each device and model the number of the next row.
    next: Vec<[usize; 4]>,
    repeated: u64,
    wrong: Vec<String>,
}

impl Seen {
    fn take(&mut self, middle: &Middle, expected: &[[Vec<f32>; 4]], output: (i32, i64), key: &str, line: &[u8]) {
        let said: Prediction<'_> = serde_json::from_slice(line).expect("predictions are JSON");
        let device: usize = said.key.strip_prefix("device-").and_then(|number| number.parse().ok()).expect("a device");
        let model = MODELS.iter().position(|name| *name == said.stream).expect("a model");
        let row = usize::try_from((said.time / 1000 - START_MILLIS) / STEP_MILLIS).expect("a row");
        let next = &mut self.next[device][model];
        let first_run = output.1 < middle.outputs[output.0 as usize];
        let of_first_run = said.offset < middle.committed[said.partition];
        let right = expected[device][model].get(row).is_some_and(|right| right.to_bits() == said.value.to_bits());
        let names = said.key == key && said.node == said.stream && said.time == time(row) * 1000;
        if row < *next {
            self.repeated += 1;
        } else if row > *next || !right || !names || first_run != of_first_run {
            self.wrong.push(format!("row {next} of {key} was due: {}", String::from_utf8_lossy(line)));
        }
        *next = (*next).max(row + 1);
    }
}

fn checked(reader: &Reader, middle: &Middle, expected: &[[Vec<f32>; 4]], rows_of_device: usize) -> (u64, u64) {
    let mut seen = Seen { next: vec![[0; 4]; expected.len()], ..Seen::default() };
    let read = reader.read(|partition, offset, key, line| {
        seen.take(middle, expected, (partition, offset), key, line);
    });
    assert!(seen.wrong.is_empty(), "{} wrong: {:#?}", seen.wrong.len(), &seen.wrong[..seen.wrong.len().min(5)]);
    let short = seen.next.iter().flatten().filter(|next| **next != rows_of_device).count();
    assert_eq!(short, 0, "streams of devices end early");
    (read, seen.repeated)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_prediction_is_there_once_after_a_stop_and_a_start() {
    let size = Size::asked();
    let broker = Broker::start();
    broker.create_topic("readings", PARTITIONS);
    broker.create_topic("predictions", PARTITIONS);
    let began = Instant::now();
    let rows = (0..size.rows_of_device()).flat_map(|row| (0..size.devices).map(move |device| record(device, row)));
    produce(&broker.bootstrap(), "readings", rows);
    eprintln!("{} rows produced in {:.1} s", size.rows, began.elapsed().as_secs_f64());
    let all: Vec<_> = (0..size.devices).map(models).collect();
    let expected: Vec<_> =
        all.iter().enumerate().map(|(device, models)| expected(device, models, size.rows_of_device())).collect();
    let reader = Reader::new(&broker.bootstrap(), "predictions", PARTITIONS);

    let began = Instant::now();
    let handle = start(&broker, topology(&all)).await;
    rows_in(&handle, size.rows as u64 / 2).await;
    handle.stop().await.expect("a stop in order");
    drop(handle);
    let first_seconds = began.elapsed().as_secs_f64();
    let outputs = reader.ends();
    let done = outputs.iter().sum::<i64>() as u64 / MODELS.len() as u64;
    let lag = broker.consumer_group_lag("fleet");
    eprintln!("stopped after {first_seconds:.1} s: {done} rows done, the group lags {}", total_lag(&lag));
    assert!(done >= size.rows as u64 / 2 && done < size.rows as u64 * 9 / 10, "{done} rows were done at the stop");
    assert_eq!(total_lag(&lag), size.rows as u64 - done, "the lag is what is not done");
    let mut committed = vec![0; PARTITIONS as usize];
    for partition in &lag {
        committed[partition.partition as usize] = partition.committed.unwrap_or(0) as i64;
    }
    let middle = Middle { outputs, committed };

    let began = Instant::now();
    let handle = start(&broker, topology(&all)).await;
    rows_in(&handle, size.rows as u64 - done).await;
    handle.stop().await.expect("a stop in order");
    eprintln!("the rest after {:.1} s more", began.elapsed().as_secs_f64());
    assert_eq!(total_lag(&broker.consumer_group_lag("fleet")), 0);

    let began = Instant::now();
    let (read, repeated) = checked(&reader, &middle, &expected, size.rows_of_device());
    eprintln!("{read} predictions checked in {:.1} s, {repeated} repeated", began.elapsed().as_secs_f64());
    assert_eq!((read, repeated), (size.predictions(), 0));
}
