//! `grist run --otel-endpoint`: spans that a receiver of other people's make decodes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use gristmill_tests::support::python;
use serde_json::Value;

use crate::state::signal;
use crate::support::{file, folder, grist, run};

const NODES: &str = r#"
[[node]]
provides = ["temperature: f32"]
sensor = {}

[[node]]
sink = "out"
asks = ["temperature", { all = "models" }]
"#;
const MEAN: &str = r#"
topology = "pump"
[[node]]
needs = ["temperature: f32"]
provides = ["temperature.mean: f32"]
operator = { rolling = { rows = 2, stats = ["mean"] } }
"#;

/// Takes spans on a port of its own.
struct Receiver {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    url: String,
}

impl Receiver {
    fn start() -> Self {
        let mut command = Command::new(python::path("python"));
        command.arg("tests/clients/otlp_receiver.py").current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("as said above")).lines();
        let port = lines.next().expect("it says its port").expect("text");
        Self { child, lines, url: format!("http://127.0.0.1:{port}") }
    }

    /// All spans that came.
    fn spans(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        let lines = self.lines.map(|line| serde_json::from_str(&line.expect("text")).expect("JSON"));
        let spans = lines.collect();
        assert!(self.child.wait().expect("it ends").success());
        spans
    }
}

fn named<'s>(spans: &'s [Value], name: &str) -> Vec<&'s Value> {
    spans.iter().filter(|span| span["name"] == name).collect()
}

fn topology(folder: &std::path::Path, source: &str) -> String {
    let sink = format!("[sink.out]\nkind = \"json\"\npath = \"{}\"", folder.join("out.jsonl").display());
    let source = format!("[source]\nkind = \"simulate\"\nmachines = 4\nrate = 10\nseed = 1\n{source}");
    file(folder, "plant.toml", &format!("class = \"pump\"\n{source}\n{sink}\n{NODES}"))
}

#[test]
fn every_micro_batch_is_a_span_with_its_frames() {
    let (folder, receiver) = (folder("otel"), Receiver::start());
    let topology = topology(&folder, "rows = 500\nflat_out = true");
    let arguments = ["run", &topology, "--shards", "1", "--otel-endpoint", &receiver.url];
    let arguments = [&arguments[..], &["--otel-spans", "gristmill=trace"]].concat();
    let ended = run(&arguments);
    assert_eq!(ended.code, 0, "{ended:?}");
    let spans = receiver.spans();
    let (batches, frames) = (named(&spans, "batch"), named(&spans, "frame"));
    assert!(spans.iter().all(|span| span["service"] == "gristmill" && span["nanos"].as_i64() >= Some(0)), "{spans:?}");
    let sum = |of: &str| batches.iter().map(|span| span["attributes"][of].as_i64().expect("a number")).sum::<i64>();
    assert_eq!(sum("records"), 2_000, "{batches:?}");
    assert!(sum("bytes") > 0 && batches.iter().all(|span| span["attributes"]["revision"] == 1), "{batches:?}");
    for batch in &batches {
        let attributes = &batch["attributes"];
        assert!(attributes["source"].is_string() && attributes["partition"] == 0 && batch["parent"] == "", "{batch}");
        let within = |frame: &&&Value| frame["parent"] == batch["span"] && frame["trace"] == batch["trace"];
        let keys = frames.iter().filter(within).map(|frame| frame["attributes"]["keys"].as_i64()).max();
        assert_eq!(keys, Some(Some(4)), "{batch}");
    }
    // Frames are only sent when they are asked for.
    let receiver = Receiver::start();
    assert_eq!(run(&["run", &topology, "--otel-endpoint", &receiver.url]).code, 0);
    let spans = receiver.spans();
    assert!(!named(&spans, "batch").is_empty() && named(&spans, "frame").is_empty(), "{spans:?}");
}

#[test]
fn a_deployment_is_a_span_with_its_phases() {
    let (folder, receiver) = (folder("otel-deployment"), Receiver::start());
    let topology = topology(&folder, "for = \"120s\"");
    let mean = file(&folder, "mean.toml", MEAN);
    let registry = folder.join("registry");
    let registry = registry.to_str().expect("text");
    let token = run(&["token", "create", "me", "--registry", registry, "--scope", "deploy"]).stdout;
    let arguments = ["run", &topology, "--registry", registry, "--admin", "127.0.0.1:0"];
    let arguments = [&arguments[..], &["--otel-endpoint", &receiver.url]].concat();
    let mut child = grist(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("as said above")).lines().map_while(Result::ok);
    let address = lines.find_map(|line| Some(line.split_once("admin API on ")?.1.to_owned()));
    let address = address.expect("it says where it listens");
    let deployed = grist(&["deploy", &mean]).env("GRIST_SERVER", address).env("GRIST_TOKEN", token.trim()).output();
    signal(&child, "-TERM");
    let rest: Vec<String> = lines.collect();
    assert!(child.wait().expect("it ends").success(), "{rest:?}");
    assert!(deployed.as_ref().is_ok_and(|deployed| deployed.status.success()), "{deployed:?}");
    let spans = receiver.spans();
    let deployments = named(&spans, "deployment");
    assert_eq!(deployments.len(), 1, "{deployments:?}");
    let attributes = &deployments[0]["attributes"];
    assert_eq!((&attributes["class"], &attributes["result"]), (&"pump".into(), &"applied".into()), "{attributes}");
    for phase in ["prepare_us", "trial_us", "stage_us", "switch_us"] {
        assert!(attributes[phase].as_i64() >= Some(0), "{phase}: {attributes}");
    }
}

#[test]
fn a_collector_that_is_away_stops_nothing() {
    let topology = topology(&folder("otel-away"), "rows = 50\nflat_out = true");
    let ended = run(&["run", &topology, "--otel-endpoint", "http://127.0.0.1:9"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("127.0.0.1:9") || ended.stderr.contains("Export"), "{ended:?}");
    let wrong = run(&["run", &topology, "--otel-endpoint", "collector:4318"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("http://127.0.0.1:4318"), "{wrong:?}");
}
