//! Parquet files: what pyarrow and pandas wrote is read to the bit, what was written pyarrow reads, and files that are wrong
//! have errors that say so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gristmill::topology::sensor::sensor_node;
use gristmill::topology::{Cleaning, Topology, matching, sensor, sink};
use gristmill::traits::sink::{DeadLetter, DeadLetters};
use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{Done, Source};
use gristmill::words::{ElementType, Offset};
use gristmill::{Runtime, Stream};
use gristmill_operators::codec::row::TimeStyle;
use gristmill_operators::file;
use gristmill_tests::support::python;
use serde_json::Value;

const SCRIPT: &str = "tests/clients/parquet_files.py";
const ROWS: usize = 5_000;
const STREAMS: [&str; 7] = ["count", "double", "on", "single", "small", "spectrum", "state"];

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

fn source(path: &Path) -> file::FileSource {
    file::parquet(path, |r| r.key("machine").time("ts")).unwrap_or_else(|error| panic!("{error}"))
}

/// Letters that were written.
#[derive(Clone, Default)]
struct Letters(Arc<Mutex<Vec<DeadLetter>>>);

impl DeadLetters for Letters {
    fn write(&self, letters: Vec<DeadLetter>, done: Done) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(letters);
        done.done();
    }
}

/// Runs every stream of a file into a Parquet file and a file of lines; the letters that were written.
async fn run(source: file::FileSource, out: &Path) -> Vec<DeadLetter> {
    let spectrum = sensor_node("spectrum".into(), ElementType::Vector(3), "spectrum".into(), Cleaning::default());
    let topology = Topology::new("machine")
        .with(sensor(Stream::<i64>::new("count")))
        .with(sensor(Stream::<f64>::new("double")))
        .with(sensor(Stream::<bool>::new("on")))
        .with(sensor(Stream::<f32>::new("single")))
        .with(sensor(Stream::<i64>::new("small")))
        .with(spectrum)
        .with(sensor(Stream::<smol_str::SmolStr>::new("state")))
        .with(sink("parquet").needs(matching("*")))
        .with(sink("lines").needs(matching("*")));
    let parquet = Arc::new(file::parquet_sink(out).on_failure(|reason| panic!("{reason}")));
    let lines = file::sink(out.with_extension("jsonl")).truncate().times(TimeStyle::Micros);
    let letters = Letters::default();
    let builder = Runtime::builder().topology(topology).source(source).dead_letters(letters.clone()).shards(2);
    let mill = builder.sink("parquet", Arc::clone(&parquet)).sink("lines", lines).start().await;
    mill.expect("the runtime starts").finished().await.expect("the file ends");
    assert!(!out.exists(), "it is there when it is whole");
    parquet.finish().expect("the file can be written");
    letters.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Every value of a file of lines: by the row in the file and the stream.
fn written(out: &Path) -> BTreeMap<(u64, String), (String, i64, Value)> {
    let lines = std::fs::read_to_string(out.with_extension("jsonl")).expect("lines");
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .map(|line| {
            let said = |field: &str| line[field].as_str().expect("a text").to_owned();
            let of = (line["offset"].as_u64().expect("a row"), said("stream"));
            (of, (said("key"), line["time"].as_i64().expect("a time"), line["value"].clone()))
        })
        .collect()
}

/// What pyarrow says is in the file it wrote.
fn expected(path: &Path) -> BTreeMap<(u64, String), (String, i64, Value)> {
    let rows = std::fs::read_to_string(path.with_extension("json")).expect("rows");
    let rows: Vec<Value> = serde_json::from_str(&rows).expect("JSON");
    assert_eq!(rows.len(), ROWS);
    let mut values = BTreeMap::new();
    for (number, row) in rows.iter().enumerate() {
        for stream in STREAMS.iter().filter(|stream| !row[**stream].is_null()) {
            let narrow = |value: &Value| Value::from(value.as_f64().expect("a number") as f32);
            let value = match &row[*stream] {
                value if *stream == "single" => narrow(value),
                Value::Array(vector) => vector.iter().map(narrow).collect(),
                value => value.clone(),
            };
            let key = row["machine"].as_str().expect("a key").to_owned();
            values.insert((number as u64, (*stream).to_owned()), (key, row["ts"].as_i64().expect("a time"), value));
        }
    }
    values
}

/// Both as numbers of 32 bits where they are such.
fn same(got: &(String, i64, Value), wanted: &(String, i64, Value), stream: &str) -> bool {
    let narrow = |value: &Value| value.as_f64().map(|number| number as f32);
    let value = match (&got.2, &wanted.2) {
        (got, wanted) if stream == "single" => narrow(got) == narrow(wanted),
        (Value::Array(got), Value::Array(wanted)) => got.iter().map(narrow).eq(wanted.iter().map(narrow)),
        (got, wanted) => got == wanted,
    };
    (&got.0, got.1) == (&wanted.0, wanted.1) && value
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pyarrow_wrote_is_read_and_what_was_written_pyarrow_reads() {
    let folder = folder("parquet");
    python::run("python", &[SCRIPT, "write", text(&folder)]).unwrap_or_else(|said| panic!("{said}"));
    for unit in ["ms", "us", "ns"] {
        let (path, out) = (folder.join(format!("{unit}.parquet")), folder.join(format!("{unit}-out.parquet")));
        assert_eq!(run(source(&path), &out).await, [], "{unit}");
        let (got, wanted) = (written(&out), expected(&path));
        assert_eq!(got.len(), wanted.len(), "{unit}");
        for ((of, got), wanted) in got.iter().zip(wanted.values()) {
            assert!(same(got, wanted, &of.1), "{unit}: {of:?}: {got:?}, not {wanted:?}");
        }
        python::run("python", &[SCRIPT, "read", text(&out), text(&out.with_extension("jsonl"))])
            .unwrap_or_else(|said| panic!("{unit}: {said}"));
        // The check would find a value that is wrong.
        let lines = std::fs::read_to_string(out.with_extension("jsonl")).expect("lines").replacen("true", "false", 1);
        std::fs::write(folder.join("wrong.jsonl"), lines).expect("a file");
        python::run("python", &[SCRIPT, "read", text(&out), text(&folder.join("wrong.jsonl"))])
            .expect_err("another value");
    }
    goes_on(&folder).await;
    pandas(&folder).await;
    infinite(&folder).await;
    wrong(&folder).await;
}

/// A restart goes on at the row where it stopped.
async fn goes_on(folder: &Path) {
    let (path, out) = (folder.join("us.parquet"), folder.join("rest.parquet"));
    run(source(&path).from_offset(3_210), &out).await;
    let all = written(&folder.join("us-out.parquet"));
    let rest: BTreeMap<_, _> = all.into_iter().filter(|((row, _), _)| *row >= 3_210).collect();
    assert_eq!(written(&out), rest);
    let mut source = source(&path);
    assert!(source.go_on_at(0, Offset(9_000)).expect("it can say where it begins"));
    let limits = PollLimits { records: 100_000, bytes: 1 << 30, wait: Default::default() };
    let error = (0..3).find_map(|_| source.poll(limits).err()).expect("it is another file");
    assert!(error.reason.contains("it has 5000 records, but 9000 of it were read before"), "{error}");
}

/// A column of floats with holes, as pandas has it.
async fn pandas(folder: &Path) {
    let out = folder.join("pandas-out.parquet");
    assert_eq!(run(source(&folder.join("pandas.parquet")), &out).await, []);
    let got: Vec<_> = written(&out).into_values().collect();
    assert_eq!(got, [("P1".to_owned(), 0, 1.5.into()), ("P2".to_owned(), 2_000_000, (-0.0).into())]);
}

/// Bug: a row with an infinite value was a dead letter. Fix: it is read, and the sensor's range decides.
async fn infinite(folder: &Path) {
    let out = folder.join("infinite-out.parquet");
    assert_eq!(run(source(&folder.join("infinite.parquet")), &out).await, []);
    let got: Vec<_> = written(&out).into_values().collect();
    assert_eq!(got, [("P1".to_owned(), 0, "inf".into())]);
}

/// Files that are wrong, and how that is said.
async fn wrong(folder: &Path) {
    let letters = run(source(&folder.join("beyond.parquet")), &folder.join("beyond-out.parquet")).await;
    assert!(letters.len() == 1 && letters[0].reason.contains("1e39 is out of the range of f32"), "{letters:?}");
    let record = letters[0].record.as_ref().expect("the row");
    assert!(record.payload.starts_with(br#"{"machine":"P1""#), "{letters:?}");

    let whole = std::fs::read(folder.join("us.parquet")).expect("a file");
    std::fs::write(folder.join("cut.parquet"), &whole[..whole.len() / 2]).expect("a file");
    std::fs::write(folder.join("text.parquet"), "machine,ts\nP1,0\n").expect("a file");
    let refused = |name: &str, key: &str| {
        let opened = file::parquet(folder.join(name), |r| r.key(key).time("ts"));
        let error = opened.err().unwrap_or_else(|| panic!("{name} was opened"));
        assert!(!error.retry && error.reason.contains(&format!("{name}`: ")), "{error}");
        error.reason
    };
    assert!(refused("cut.parquet", "machine").contains("it is no Parquet file"));
    assert!(refused("text.parquet", "machine").contains("it is no Parquet file"));
    assert!(refused("none.parquet", "machine").contains("No such file"));
    let lacks = refused("us.parquet", "device");
    assert!(lacks.contains("it has no column `device`; it has machine, ts, single"), "{lacks}");
    let untimed = refused("untimed.parquet", "machine");
    assert!(untimed.contains("column `ts` is of a type that is not read: BYTE_ARRAY"), "{untimed}");
    let naive = refused("naive.parquet", "machine");
    assert!(naive.contains("column `ts` has times without a zone"), "{naive}");
    damaged(folder, &whole);
}

/// Pages that are damaged: an error after the rows before them, or values that the format cannot tell from others; never a
/// panic.
fn damaged(folder: &Path, whole: &[u8]) {
    let (data, mut after_rows) = (4..whole.len() / 2, 0);
    for at in data.step_by(1_501) {
        let mut damaged = whole.to_vec();
        damaged[at..at + 40].fill(0xff);
        std::fs::write(folder.join("damaged.parquet"), &damaged).expect("a file");
        let Ok(mut source) = file::parquet(folder.join("damaged.parquet"), |r| r.key("machine").time("ts")) else {
            continue;
        };
        let limits = PollLimits { records: 100_000, bytes: 1 << 30, wait: Default::default() };
        let mut polls = 0;
        loop {
            match source.poll(limits) {
                Ok(Polled::End) => break,
                Ok(Polled::Batches(_)) => polls += 1,
                Err(error) => {
                    assert!(error.reason.contains("damaged.parquet`: record") && !error.retry, "{error}");
                    after_rows += polls;
                    break;
                }
            }
        }
    }
    assert!(after_rows > 0, "no rows are before a damaged page");
}
