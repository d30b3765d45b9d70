//! At the end of a file what waits for later rows comes in: those that `reorder` holds, those of `on_all`, and windows whose
//! end has come. A source that only pauses, and one whose states are kept, let nothing go.

use std::path::{Path, PathBuf};

use gristmill::in_process::{Collected, Output, feed};
use gristmill::state::StateFolder;
use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::traits::Source;
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::words::{Column, ElementType, Offset, Span, Time};
use gristmill::{Runtime, Stream};
use gristmill_operators::file::{self, FileSource};
use gristmill_operators::rolling::Stat;
use gristmill_operators::window::tumbling;

const X: Stream<f64> = Stream::new("x");
const Y: Stream<f64> = Stream::new("y");
const ROWS: Stream<f64> = Stream::new("rows");
const BOTH: Stream<f64> = Stream::new("both");

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("end-of-file-{name}"))
}

/// Readings in a file: key, second, stream.
fn readings(name: &str, readings: &[(&str, i64, &str)]) -> FileSource {
    let path = path(name);
    let line = |(key, second, stream): &(&str, i64, &str)| {
        format!(
            "{{\"key\":\"{key}\",\"time\":\"1970-01-01T00:00:{second:02}Z\",\"stream\":\"{stream}\",\"value\":{second}}}\n"
        )
    };
    std::fs::write(&path, readings.iter().map(line).collect::<String>()).expect("the folder can be written");
    file::json_lines(&path, |r| r.key("key").time("time").reading("stream", "value")).expect("it is there")
}

/// What comes of a source whose rows may be three seconds late: stream, key and second of each value, sorted.
async fn run(source: impl Source, state: Option<&Path>) -> Vec<(String, String, i64)> {
    let plant = Topology::new("pump")
        .with(sensor(X))
        .with(sensor(Y))
        .with(provide(ROWS).needs(X).by(tumbling(Span::from_secs(10), [Stat::Count])))
        .with(provide(BOTH).needs((X, Y)).by(|x: f64, y: f64| x + y).on_all(Span::from_secs(5)))
        .with(sink("out").needs(X).and(ROWS).and(BOTH));
    let out = Collected::default();
    let mut builder = Runtime::builder().topology(plant).source(source).sink("out", out.clone()).shards(2);
    builder.options_mut().intake.reorder = Span::from_secs(3);
    if let Some(folder) = state {
        builder = builder.state(StateFolder::open(folder).expect("the folder is free"));
    }
    let mill = builder.start().await.expect("nothing is wrong with it");
    mill.finished().await.expect("it ends in order");
    let of = |output: &Output| (output.stream.to_string(), output.key.to_string(), output.time.0 / 1_000_000);
    let mut written: Vec<_> = out.take().iter().map(of).collect();
    written.sort();
    written
}

fn expected(of: &[(&str, &str, i64)]) -> Vec<(String, String, i64)> {
    of.iter().map(|(stream, key, second)| ((*stream).to_owned(), (*key).to_owned(), *second)).collect()
}

/// Bug: the last rows of every key, those of `on_all` and windows of keys that had fallen silent never came out. Fix: the end
/// of a file is a tick.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_the_end_of_a_file_comes_in() {
    let rows =
        [("a", 1, "x"), ("a", 1, "y"), ("a", 3, "x"), ("a", 2, "x"), ("b", 21, "x"), ("b", 21, "y"), ("b", 22, "x")];
    // Nobody brings a `y` for the last ones: they are as of then. The window of `b` has not ended.
    let all = [
        ("both", "a", 1),
        ("both", "a", 2),
        ("both", "a", 3),
        ("both", "b", 21),
        ("both", "b", 22),
        ("rows", "a", 10),
        ("x", "a", 1),
        ("x", "a", 2),
        ("x", "a", 3),
        ("x", "b", 21),
        ("x", "b", 22),
    ];
    assert_eq!(run(readings("all", &rows), None).await, expected(&all));
    // Where states are kept, what waits is in them: the next start goes on with it.
    let folder = path("state");
    let _ = std::fs::remove_dir_all(&folder);
    assert_eq!(run(readings("kept", &rows), Some(&folder)).await, expected(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_ends_too() {
    assert_eq!(run(readings("empty", &[]), None).await, expected(&[]));
}

/// A host that stops to feed may go on another day: it says itself how far time has got.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_ends_lets_nothing_go() {
    let axes = Axes::Declared(vec![vec![("x".into(), ElementType::F64)], vec![("y".into(), ElementType::F64)]]);
    let (feeder, source) = feed(axes);
    let (times, columns) = (vec![Time::from_secs(1)], vec![Column::F64(vec![1.0])]);
    let record = RowsRecord { offset: Offset(0), log_time: None, key: "a".into(), axis: 0, times, columns };
    feeder.send(0, vec![record]).await.expect("there is room");
    drop(feeder);
    assert_eq!(run(source, None).await, expected(&[]));
}
