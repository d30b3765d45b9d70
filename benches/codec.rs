//! How many rows a second does one core decode from JSON, and encode to it? `cargo bench -p gristmill-benches --bench codec`
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use gristmill::traits::sink::SinkColumn;
use gristmill::traits::source::{AxisStreams, RawRecord};
use gristmill::traits::{Decode, SinkFrame};
use gristmill::words::{
    Cause, Column, ElementType, Key, NodeId, Offset, PartitionIndex, Revision, StreamName, Time, Traces,
};
use gristmill_operators::codec::row::{TimeStyle, write_row};
use gristmill_operators::codec::{Json, json};

const RECORDS: usize = 10_000;
const LEAST: Duration = Duration::from_secs(1);

fn main() {
    let streams = ["temperature", "vibration", "pressure", "current"];
    let stream = |name: &str| (StreamName::from(name), ElementType::F32);
    let one = [AxisStreams { streams: streams.map(stream).to_vec() }];
    let each = streams.map(|name| AxisStreams { streams: vec![stream(name)] });

    let wide = records(|i| {
        let (at, x) = (1_700_000_000_000 + i, i as f32 / 7.0);
        format!(
            r#"{{"device":"P{}","ts":{at},"temperature":{x:.2},"vibration":{:.4},"pressure":6.{i},"current":{}}}"#,
            i % 100,
            x / 9.0,
            i % 30
        )
    });
    decode("wide, 4 values", 1, &one, &json(|r| r.key("device").time("ts")), &wide);

    let narrow = records(|i| {
        let at = 1_700_000_000_000 + i;
        format!(r#"{{"device":"P{}","tag":"vibration","ts":{at},"value":{:.3}}}"#, i % 100, i as f32 / 7.0)
    });
    decode("narrow", 1, &each, &json(|r| r.key("device").time("ts").reading("tag", "value")), &narrow);

    let series = records(|i| {
        let values: Vec<String> = (0..100).map(|row| format!("{:.3}", (i + row) as f32 / 7.0)).collect();
        format!(
            r#"{{"device":"P{}","start":{},"step":10,"vibration":[{}]}}"#,
            i % 100,
            1_700_000_000_000 + i,
            values.join(",")
        )
    });
    decode("series of 100", 100, &each, &json(|r| r.key("device").series("start", "step")), &series);
    encode();
}

fn records(text: impl Fn(i64) -> String) -> Vec<RawRecord> {
    let record = |i| RawRecord { offset: Offset(i), log_time: None, key: None, payload: text(i).into_bytes().into() };
    (0..RECORDS as i64).map(record).collect()
}

fn decode(name: &str, rows_per_record: usize, axes: &[AxisStreams], decoder: &Json, records: &[RawRecord]) {
    let mut rows = Vec::new();
    let rate = rate(records.len() * rows_per_record, || {
        for record in records {
            rows.clear();
            decoder.decode(record, axes, &mut rows).expect("a good record");
            black_box(&rows);
        }
    });
    println!("decode {name}: {rate:.2} M rows/s ({} bytes a record)", records[0].payload.len());
}

fn encode() {
    const ROWS: usize = 1_000;
    let (key, stream, node) = (Key::from("P101"), StreamName::from("wear"), NodeId::from("wear"));
    let values = Column::F32((0..ROWS).map(|row| row as f32 / 7.0).collect());
    let times: Vec<Time> = (0..ROWS as i64).map(|row| Time::from_millis(1_700_000_000_000 + row)).collect();
    let causes = vec![Cause::default(); ROWS];
    let column = SinkColumn {
        key: &key,
        stream: &stream,
        node: &node,
        artifact: None,
        times: &times,
        causes: &causes,
        values: values.as_ref(),
    };
    let frame = SinkFrame {
        revision: Revision(1),
        source: "sensors",
        partition: PartitionIndex(0),
        source_partition: 0,
        columns: &[column],
        traces: &Traces::default(),
    };
    let mut out = Vec::new();
    let rate = rate(ROWS, || {
        out.clear();
        frame.for_each(|row| write_row(&frame, &row, TimeStyle::Rfc3339, &mut out));
        black_box(&out);
    });
    println!("encode a prediction: {rate:.2} M rows/s ({} bytes a row)", out.len() / ROWS);
}

/// Millions of rows a second; `work` does `rows` of them.
fn rate(rows: usize, mut work: impl FnMut()) -> f64 {
    work();
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < LEAST {
        work();
        done += rows;
    }
    done as f64 / start.elapsed().as_secs_f64() / 1e6
}
