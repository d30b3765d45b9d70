//! Metrics tell the truth: what a recorder has after a run is what was fed; and the number of series depends neither on
//! models nor on keys.

use gristmill::clock::SystemClock;
use gristmill::in_process::feed;
use gristmill::topology::{Topology, matching, provide, sensor, sink};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::traits::{Clock, Done, Sink, SinkError, SinkFrame, SinkWriter};
use gristmill::words::{Column, ElementType, Offset, ShardIndex, Span, Time};
use gristmill::{Bench, Counts, Deployment, Runtime, Stream};
use gristmill_tests::support::recorder::Recorded;
use serde_json::Value;

const VALUE: Stream<f64> = Stream::new("value");
const ROOT: Stream<f64> = Stream::new("root");
const LATER: Stream<f64> = Stream::new("later");

fn at(second: i64) -> Time {
    Time::from_secs(second)
}

/// A sensor, a node that fails on negative values, and one that waits for a provider.
fn topology() -> Topology {
    let root = provide(ROOT).needs(VALUE).by(|value: f64| {
        assert!(value >= 0.0, "{value} is negative");
        value.sqrt()
    });
    let later = provide(Stream::<f64>::new("after")).needs(LATER).by(|later: f64| later).pending();
    Topology::new("machine").with(sensor(VALUE)).with(root).with(later)
}

/// 20 rows of two keys: 5 fail and then 1 is quarantined, 1 is late, 1 comes twice, 1 is ahead, 1 has no value.
fn push(bench: &mut Bench) {
    (0..6).for_each(|second| _ = bench.row("bad", at(second)).set(VALUE, -1.0));
    (10..20).for_each(|second| _ = bench.row("good", at(second)).set(VALUE, 4.0));
    let _ = bench.row("good", at(5)).set(VALUE, 4.0);
    let _ = bench.row("good", at(19)).set(VALUE, 4.0);
    let _ = bench.row("good", at(1_000)).log_time(at(20)).set(VALUE, 4.0);
    let _ = bench.row("good", at(30)).set(VALUE, f64::NAN);
}

#[test]
fn what_was_fed_is_what_was_counted() {
    let recorded = Recorded::default();
    let _local = metrics::set_default_local_recorder(&recorded);
    let mut bench = topology().bench();
    push(&mut bench);
    bench.settle();
    let counter = |name: &str| recorded.counter(&format!("gristmill_{name}"));
    assert_eq!(counter("rows_total{class=machine}"), 20);
    for (cause, rows) in [("late", 1), ("duplicate", 1), ("ahead", 1)] {
        assert_eq!(counter(&format!("rows_dropped_total{{class=machine,cause={cause}}}")), rows, "{cause}");
    }
    let bad = |cause: &str| counter(&format!("bad_readings_total{{class=machine,cause={cause}}}"));
    assert_eq!(["nan", "out_of_range"].map(bad), [1, 0]);
    let outcomes = ["computed", "skipped", "failed", "quarantined"];
    let of = |outcome: &str| counter(&format!("node_rows_total{{class=machine,outcome={outcome}}}"));
    // 17 rows came in. The sensor computes all of them.
    assert_eq!(outcomes.map(of), [17 + 10, 1, 5, 1]);
    let mut reported = Counts::default();
    bench.report().nodes.iter().for_each(|node| reported.add(&node.counts));
    assert_eq!(outcomes.map(of).iter().sum::<u64>(), reported.rows);
    assert_eq!(of("computed"), reported.computed);

    assert_eq!(counter("quarantines_total{class=machine}"), 1);
    assert_eq!(counter("dead_letters_total{class=machine}"), 5 + 1);
    assert_eq!(counter("dead_letters_total{class=machine}"), bench.dead_letters().len() as u64);
    let batches = counter("batches_total{class=machine}");
    let seconds = recorded.histogram("gristmill_batch_seconds{class=machine}");
    assert!(batches > 0 && seconds.len() as u64 == batches, "{batches} batches, {seconds:?}");
    assert!(seconds.iter().all(|seconds| (0.0..60.0).contains(seconds)), "{seconds:?}");
    assert!(counter("frames_total{class=machine}") > 0);
    let gauge = |name: &str| recorded.gauge(&format!("gristmill_{name}"));
    assert_eq!(gauge("keys{class=machine}"), 2.0);
    for nothing in ["frames_in_flight", "records_in_flight", "bytes_in_flight"] {
        assert_eq!(gauge(&format!("{nothing}{{class=machine}}")), 0.0, "{nothing}");
    }
    assert_eq!(gauge("credits{class=machine}"), 65_536.0);
}

#[test]
fn deployments_are_counted_by_how_they_ended() {
    let recorded = Recorded::default();
    let _local = metrics::set_default_local_recorder(&recorded);
    let mut bench = topology().bench();
    let nodes = || {
        ["running", "pending", "unused"]
            .map(|state| recorded.gauge(&format!("gristmill_nodes{{class=machine,state={state}}}")))
    };
    // The bench reads every stream by a sink of its own.
    assert_eq!(nodes(), [3.0, 1.0, 0.0]);
    assert_eq!(recorded.gauge("gristmill_revision{class=machine}"), 1.0);
    let later = || provide(LATER).needs(VALUE).by(|value: f64| value + 1.0);
    bench.deploy(later()).expect("nothing is wrong with it");
    bench.deploy(later()).expect("it is there already");
    bench.deploy(Deployment::new().remove("nobody")).expect_err("there is no such node");
    bench.remove("root").expect("nobody needs it");
    for (result, count) in [("applied", 2), ("unchanged", 1), ("refused", 1), ("failed", 0)] {
        let name = format!("gristmill_deployments_total{{class=machine,result={result}}}");
        assert_eq!(recorded.counter(&name), count, "{result}");
    }
    assert_eq!(recorded.histogram("gristmill_deployment_seconds{class=machine}").len(), 4);
    assert_eq!(recorded.gauge("gristmill_revision{class=machine}"), 3.0);
    assert_eq!(nodes(), [4.0, 0.0, 0.0]);
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(Self))
    }
}

impl SinkWriter for Nowhere {
    fn write(&mut self, _frame: &SinkFrame<'_>, done: Done) {
        done.done();
    }
}

/// The series after a run of so many models over as many keys.
async fn series_with(count: u64) -> Vec<String> {
    let recorded = Recorded::default();
    let local = metrics::set_default_local_recorder(&recorded);
    let model = |number| provide(Stream::<f64>::named(format!("model{number}"))).needs(VALUE).by(|v: f64| v).model();
    let topology = Topology::new("machine").with(sensor(VALUE)).with_all((0..count).map(model));
    let topology = topology.with(sink("nowhere").needs(matching("model*")));
    let (feeder, source) = feed(Axes::Declared(vec![vec![("value".into(), ElementType::F64)]]));
    let mill = Runtime::builder().topology(topology).source(source).sink("nowhere", Nowhere).shards(2);
    let mill = mill.start().await.expect("nothing is wrong with it");
    drop(local);
    let row = |number: u64| RowsRecord {
        offset: Offset(i64::try_from(number).expect("it is small")),
        log_time: None,
        key: format!("key{number}").into(),
        axis: 0,
        times: vec![at(0)],
        columns: vec![Column::F64(vec![1.0])],
    };
    feeder.send(0, (0..count).map(row).collect()).await.expect("it runs");
    drop(feeder);
    mill.finished().await.expect("the source ends in order");
    let computed = recorded.counter("gristmill_node_rows_total{class=machine,outcome=computed}");
    assert_eq!(computed, count * (count + 1));
    assert_eq!(recorded.gauge("gristmill_keys{class=machine}"), count as f64);
    let described = recorded.described();
    for name in recorded.names() {
        let of = name.split('{').next().expect("a split has a first part");
        let (unit, text) = described.get(of).unwrap_or_else(|| panic!("`{of}` is not described"));
        assert!(unit.is_some() && text.ends_with('.'), "`{of}`: {unit:?} {text}");
    }
    recorded.names()
}

#[tokio::test]
async fn the_number_of_series_is_fixed() {
    let few = series_with(10).await;
    assert_eq!(few, series_with(1_000).await);
    assert_eq!(few.len(), 39, "{few:#?}");
}

#[tokio::test]
async fn the_age_of_records_is_told_where_the_log_says_it() {
    let recorded = Recorded::default();
    let local = metrics::set_default_local_recorder(&recorded);
    let (feeder, source) = feed(Axes::Declared(vec![vec![("value".into(), ElementType::F64)]]));
    let topology = Topology::new("machine").with(sensor(VALUE)).with(sink("nowhere").needs(VALUE));
    let mill = Runtime::builder().topology(topology).source(source).sink("nowhere", Nowhere);
    let mill = mill.start().await.expect("nothing is wrong with it");
    drop(local);
    let logged = SystemClock::default().wall().minus(Span::from_secs(5));
    for (offset, log_time) in [(0, Some(logged)), (1, None)] {
        let (key, columns) = ("key".into(), vec![Column::F64(vec![1.0])]);
        let times = vec![at(offset)];
        let record = RowsRecord { offset: Offset(offset), log_time, key, axis: 0, times, columns };
        feeder.send(0, vec![record]).await.expect("it runs");
    }
    drop(feeder);
    mill.finished().await.expect("the source ends in order");
    let ages = recorded.histogram("gristmill_record_age_seconds{class=machine}");
    assert!(ages.len() == 1 && (5.0..65.0).contains(&ages[0]), "{ages:?}");
}

/// docs/OPERATIONS.md has every series, and nothing else that looks like one.
#[test]
fn the_table_in_the_docs_has_every_name() {
    let recorded = Recorded::default();
    let _local = metrics::set_default_local_recorder(&recorded);
    drop(topology().bench());
    let docs = include_str!("../docs/OPERATIONS.md");
    let listed = docs.lines().filter_map(|line| line.strip_prefix("| `gristmill_")?.split(['`', '{']).next());
    let mut listed: Vec<String> = listed.map(|name| format!("gristmill_{name}")).collect();
    listed.sort_unstable();
    assert_eq!(listed, recorded.described().into_keys().collect::<Vec<_>>());
}

/// All names of ours in a text.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    parts.filter(|part| part.starts_with("gristmill_"))
}

/// docs/grafana/gristmill.json asks for series that there are, and leaves none out.
#[test]
fn the_dashboard_asks_for_every_series_and_no_other() {
    let recorded = Recorded::default();
    let _local = metrics::set_default_local_recorder(&recorded);
    drop(topology().bench());
    let described = recorded.described();
    let dashboard: Value = serde_json::from_str(include_str!("../docs/grafana/gristmill.json")).expect("JSON");
    assert!(dashboard["schemaVersion"].as_i64() >= Some(36), "Grafana 10 reads it as it is");
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    assert_eq!((&variables[0]["name"], &variables[0]["type"]), (&"datasource".into(), &"datasource".into()));
    let panels = dashboard["panels"].as_array().expect("a list");
    let mut asked: Vec<String> = Vec::new();
    for (number, panel) in panels.iter().enumerate() {
        assert_eq!(panel["id"].as_u64(), Some(number as u64 + 1), "{panel}");
        let place = &panel["gridPos"];
        let end = place["x"].as_u64().expect("a place") + place["w"].as_u64().expect("a width");
        assert!(end <= 24, "{panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        let targets = panel["targets"].as_array().expect("a list");
        assert!(!targets.is_empty(), "{panel}");
        asked.extend(targets.iter().map(|target| target["expr"].as_str().expect("a query").to_owned()));
    }
    asked.extend(variables[1..].iter().map(|variable| variable["definition"].as_str().expect("a query").to_owned()));
    let mut named: Vec<&str> = asked.iter().flat_map(|query| names_in(query)).collect();
    // A histogram is asked for by its buckets.
    named.iter_mut().for_each(|name| *name = name.strip_suffix("_bucket").unwrap_or(name));
    named.sort_unstable();
    named.dedup();
    assert_eq!(named, described.keys().map(String::as_str).collect::<Vec<_>>());
}
