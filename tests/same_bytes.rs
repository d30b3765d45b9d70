//! The same rows from Kafka, from files and from memory give the same bytes at the sink: batches, shards and the way
//! rows come in decide nothing. Offsets are the same too, as Kafka's topic has one partition: nothing is left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gristmill::in_process::{Feeder, feed};
use gristmill::topology::{Topology, matching, optional, provide, sensor, sink};
use gristmill::traits::source::{ABSENT_F32, ABSENT_F64, RowsRecord};
use gristmill::traits::{Axes, Model, Source};
use gristmill::words::{Column, ElementType, Offset, Span, Time};
use gristmill::{Handle, Runtime, Stream};
use gristmill_operators::codec::TimeUnit;
use gristmill_operators::model::Linear;
use gristmill_operators::rolling::{self, Stat};
use gristmill_operators::{file, kafka, lag, window};
use gristmill_tests::support::kafka::Broker;
use gristmill_tests::support::kafka_clients::produce;

const ROWS: usize = 12_000;
const KEYS: usize = 30;
/// How far back in time rows are sorted in.
const REORDER: Span = Span::from_millis(500);

const HEAT: Stream<f32> = Stream::new("heat");
const POWER: Stream<f64> = Stream::new("power");
const COUNT: Stream<i64> = Stream::new("count");

/// A row as it was measured; a reading may be absent.
#[derive(Clone, Debug)]
struct Row {
    key: String,
    micros: i64,
    heat: Option<f32>,
    power: Option<f64>,
    count: Option<i64>,
}

/// Rows of all keys, most of them in order of time, with readings of all sizes and some that are absent.
fn rows() -> Vec<Row> {
    let mut seed = 7_u64;
    let mut draw = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    let mut rows: Vec<Row> = (0..ROWS)
        .map(|number| Row {
            key: format!("K{}", number % KEYS),
            micros: 1_767_225_600_000_000 + (number / KEYS) as i64 * 130_000 + (draw() % 999) as i64,
            heat: (draw() % 20 != 0).then(|| (draw() as f32 / 7.0e4 - 9_000.0) / 3.0),
            power: (draw() % 20 != 0).then(|| draw() as f64 / 3.0e-5 - 1.0e12),
            count: (draw() % 20 != 0).then(|| draw() as i64 - 1_000_000_000),
        })
        .collect();
    // An object of JSON that names no stream is no row of any axis, a line of CSV without a reading is one.
    rows.iter_mut()
        .filter(|row| row.heat.is_none() && row.power.is_none() && row.count.is_none())
        .for_each(|row| row.count = Some(1));
    // Two successive rows of a key come the wrong way round, now and then.
    for first in (0..ROWS - KEYS).step_by(7 * KEYS + 1) {
        rows.swap(first, first + KEYS);
    }
    rows
}

fn topology() -> Topology {
    let [mean, low] = ["heat.mean", "heat.low"].map(Stream::<f32>::new);
    let (second, before, risk) =
        (Stream::<f64>::new("power.second"), Stream::<i64>::new("count.before"), Stream::<f32>::new("risk"));
    let model: Arc<dyn Model> = Arc::new(Linear::new(&[0.37, -1.3e-3, 2.1], 0.1).expect("there are weights"));
    let any = |risk: Option<f32>, second: Option<f64>| f64::from(risk.unwrap_or(-1.0)) + second.unwrap_or(0.0) / 3.0;
    Topology::new("machine")
        .with(sensor(HEAT))
        .with(sensor(POWER).hold_last())
        .with(sensor(COUNT))
        .with(
            provide((mean.clone(), low.clone()))
                .needs(HEAT)
                .by(rolling::stats(rolling::rows(9), [Stat::Mean, Stat::Min])),
        )
        .with(provide(second.clone()).needs(POWER).by(window::tumbling(Duration::from_secs(1), [Stat::Mean])))
        .with(provide(before.clone()).needs(COUNT).by(lag::lag(3)))
        .with(provide(risk.clone()).needs([HEAT, mean, low]).by(model))
        .with(provide(Stream::<f64>::new("joined")).needs((optional(risk), optional(second))).by(any).on_any())
        .with(sink("out").needs(matching("*")))
}

/// Runs the rows of a source to their end and gives back the lines of each key.
async fn lines(name: &str, shards: u16, source: impl Source, feeding: Option<Feeding>, rows: u64) -> Lines {
    let path = folder().join(format!("{name}.out"));
    let sink = file::sink(&path).truncate();
    let is_bounded = source.is_bounded();
    let mut builder = Runtime::builder().topology(topology()).source(source).sink("out", sink).shards(shards);
    builder.options_mut().intake.reorder = REORDER;
    let handle = builder.start().await.expect("the runtime starts");
    if let Some(Feeding { feeder, batches, tick }) = feeding {
        for batch in batches {
            feeder.send(0, batch).await.expect("the runtime runs");
        }
        if let Some(now) = tick {
            feeder.tick(0, now).await.expect("the runtime runs");
        }
        feeder.taken().await.expect("the runtime runs");
    }
    all_rows(&handle, rows).await;
    if is_bounded {
        handle.finished().await.expect("it ends in order");
    } else {
        handle.stop().await.expect("a stop in order");
    }
    let mut by_key = Lines::new();
    for line in std::fs::read_to_string(&path).expect("the sink has written").lines() {
        let key = line.split('"').nth(3).expect("a key comes first");
        let lines = by_key.entry(key.to_owned()).or_default();
        writeln!(lines, "{line}").expect("texts can be written to");
    }
    by_key
}

type Lines = BTreeMap<String, String>;
/// What is fed from memory, and how far time has come at the end.
struct Feeding {
    feeder: Feeder,
    batches: Vec<Vec<RowsRecord>>,
    tick: Option<Time>,
}

async fn all_rows(handle: &Handle, rows: u64) {
    for _ in 0..6_000 {
        let intake = handle.report(None).await.expect("the runtime runs").intake;
        assert_eq!((intake.refused, intake.ahead), (0, 0));
        if intake.rows == rows {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{rows} rows did not come within a minute");
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("same_bytes");
    std::fs::create_dir_all(&folder).expect("cargo's folder for tests can be written");
    folder
}

fn json(row: &Row) -> String {
    let mut text = format!(r#"{{"key":"{}","at":{}"#, row.key, row.micros);
    let readings = [
        ("heat", row.heat.map(|heat| heat.to_string())),
        ("power", row.power.map(|power| power.to_string())),
        ("count", row.count.map(|count| count.to_string())),
    ];
    for (name, reading) in readings {
        if let Some(reading) = reading {
            write!(text, r#","{name}":{reading}"#).expect("texts can be written to");
        }
    }
    text + "}"
}

fn csv(row: &Row) -> String {
    let text = |reading: Option<String>| reading.unwrap_or_default();
    let heat = text(row.heat.map(|heat| heat.to_string()));
    let (power, count) =
        (text(row.power.map(|power| power.to_string())), text(row.count.map(|count| count.to_string())));
    format!("{power},{},{heat},{},{count}", row.key, row.micros)
}

fn record(number: usize, row: &Row) -> RowsRecord {
    RowsRecord {
        offset: Offset(number as i64),
        log_time: None,
        key: row.key.as_str().into(),
        axis: 0,
        times: vec![Time(row.micros)],
        columns: vec![
            Column::I64(vec![row.count.unwrap_or(i64::MIN)]),
            Column::F32(vec![row.heat.unwrap_or(ABSENT_F32)]),
            Column::F64(vec![row.power.unwrap_or(ABSENT_F64)]),
        ],
    }
}

async fn from_memory(name: &str, shards: u16, rows: &[Row], tick: Option<Time>) -> Lines {
    let streams = [("count", ElementType::I64), ("heat", ElementType::F32), ("power", ElementType::F64)];
    let (feeder, source) = feed(Axes::Declared(vec![streams.map(|(name, element)| (name.into(), element)).to_vec()]));
    let records: Vec<RowsRecord> = rows.iter().enumerate().map(|(number, row)| record(number, row)).collect();
    let batches = records.chunks(61).map(<[RowsRecord]>::to_vec).collect();
    lines(name, shards, source, Some(Feeding { feeder, batches, tick }), rows.len() as u64).await
}

async fn from_csv(rows: &[Row]) -> Lines {
    let path = folder().join("rows.csv");
    let text: String = rows.iter().map(|row| csv(row) + "\n").collect();
    std::fs::write(&path, format!("power,key,heat,at,count\n{text}")).expect("the folder can be written");
    let source = file::csv(&path, |r| r.key("key").time("at").unit(TimeUnit::Micros)).expect("a good file");
    lines("csv", 1, source, None, rows.len() as u64).await
}

async fn from_json_lines(rows: &[Row]) -> Lines {
    let path = folder().join("rows.jsonl");
    let text: String = rows.iter().map(|row| json(row) + "\n").collect();
    std::fs::write(&path, text).expect("the folder can be written");
    let source = file::json_lines(&path, |r| r.key("key").time("at").unit(TimeUnit::Micros)).expect("a good file");
    lines("json_lines", 3, source, None, rows.len() as u64).await
}

async fn from_kafka(broker: &Broker, rows: &[Row]) -> Lines {
    broker.create_topic("rows", 1);
    produce(&broker.bootstrap(), "rows", rows.iter().map(|row| (row.key.clone(), json(row))));
    let source = kafka::source("rows").brokers(&broker.bootstrap()).group("same");
    let source = source.json(|r| r.key("key").time("at").unit(TimeUnit::Micros));
    lines("kafka", 2, source, None, rows.len() as u64).await
}

/// The keys whose lines differ.
fn differing<'a>(one: &'a Lines, other: &Lines) -> Vec<&'a str> {
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    one.iter().filter(|(key, lines)| other[*key] != **lines).map(|(key, _)| key.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_files_and_memory_give_the_same_bytes() {
    let (broker, rows) = (Broker::start(), rows());
    let memory = from_memory("memory", 2, &rows, None).await;
    // Not the same nothing: every node has spoken for every key, many times.
    let names = ["heat", "power", "count", "heat.mean", "heat.low", "power.second", "count.before", "risk", "joined"];
    for (key, lines) in &memory {
        for name in names {
            let count = lines.matches(&format!(r#""stream":"{name}""#)).count();
            assert!(count > 40, "`{key}` has {count} values of `{name}`");
        }
    }
    // The end of a file is a tick: all rows that wait come in.
    let newest = rows.iter().map(|row| Time(row.micros)).max().expect("there are rows");
    let to_the_end = from_memory("memory_to_the_end", 2, &rows, Some(newest.plus(REORDER))).await;
    assert_eq!(differing(&memory, &to_the_end).len(), memory.len(), "the last rows of every key wait");
    for (name, other, expected) in [
        ("kafka", from_kafka(&broker, &rows).await, &memory),
        ("csv", from_csv(&rows).await, &to_the_end),
        ("json_lines", from_json_lines(&rows).await, &to_the_end),
        ("memory again", from_memory("memory_again", 1, &rows, None).await, &memory),
    ] {
        let differing = differing(expected, &other);
        assert!(differing.is_empty(), "{name} differs for {differing:?}; see {}", folder().display());
    }

    // Twins that are broken in one place must be told from the original, and only where they are.
    let place = ROWS / 2;
    let key = [rows[place].key.as_str()];
    let mut reading = rows.clone();
    reading[place].heat = Some(reading[place].heat.unwrap_or(1.0).next_up());
    assert_eq!(differing(&memory, &from_memory("reading", 2, &reading, None).await), key);
    let mut time = rows.clone();
    time[place].micros += 1;
    assert_eq!(differing(&memory, &from_memory("time", 2, &time, None).await), key);
    let mut absent = rows.clone();
    absent[place].count = if absent[place].count.is_some() { None } else { Some(1) };
    assert_eq!(differing(&memory, &from_memory("absent", 2, &absent, None).await), key);
    let mut offset = rows.clone();
    offset.swap(place, place + 1);
    assert_eq!(differing(&memory, &from_memory("offset", 2, &offset, None).await).len(), 2, "causes count too");
}
