//! `grist score`: the numbers are those that one gets by hand.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{Ended, file, folder, run};

const PLANT: &str = "examples/topologies/plant.toml";
const READINGS: &str = "examples/topologies/readings.csv";

/// Values by key, second and stream.
type Scores = BTreeMap<(String, String, String), String>;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// What must come out of the readings: the models' weights are in `make_models.py`.
fn by_hand() -> Vec<(&'static str, u32, &'static str, f64)> {
    let rms = |one: f64, other: f64| ((one * one + other * other) / 2.0).sqrt();
    let anomaly = |vibration: f64, temperature: f64| sigmoid(vibration + 0.125 * temperature - 12.0);
    let wear = |vibration: f64, anomaly: f64, number: f64| 0.0625 * vibration + (0.5 + 0.125 * number) * anomaly;
    let mut expected = Vec::new();
    // The vibration of the last row is missing and held; the temperature of machine-3 is missing once.
    for (second, vibration, temperature) in [(0, 3.0, 56.0), (1, rms(3.0, 4.0), 60.0), (2, 4.0, 60.0)] {
        expected.push(("machine-0", second, "anomaly", anomaly(vibration, temperature)));
        expected.push(("machine-0", second, "wear", wear(vibration, anomaly(vibration, temperature), 0.0)));
    }
    expected.push(("machine-3", 0, "anomaly", anomaly(3.0, 56.0)));
    expected.push(("machine-3", 0, "wear", wear(3.0, anomaly(3.0, 56.0), 3.0)));
    // No artifact of its own: the default is what `anomaly` says. A vibration of 999 cannot be true, and is held too.
    for second in [1, 2] {
        expected.push(("machine-9", second, "anomaly", anomaly(3.0, 72.0)));
        expected.push(("machine-9", second, "wear", anomaly(3.0, 72.0)));
    }
    expected
}

fn score(name: &str, input: &str, output: &str, more: &[&str]) -> (Ended, Scores) {
    let output = folder(name).join(output);
    let output = output.to_str().expect("text");
    let ended = run(&[&["score", PLANT, "--input", input, "--output", output], more].concat());
    let text = std::fs::read_to_string(output).unwrap_or_default();
    let scores = if output.ends_with("csv") { of_csv(&text) } else { of_json(&text) };
    (ended, scores)
}

fn of_json(text: &str) -> Scores {
    let row = |line: &str| -> ((String, String, String), String) {
        let row: Value = serde_json::from_str(line).expect("a line of JSON");
        let field = |name: &str| row[name].as_str().expect("a text").to_owned();
        ((field("key"), field("time"), field("stream")), row["value"].to_string())
    };
    text.lines().map(row).collect()
}

fn of_csv(text: &str) -> Scores {
    let row = |line: &str| -> ((String, String, String), String) {
        let fields: Vec<&str> = line.split(',').collect();
        ((fields[0].to_owned(), fields[1].to_owned(), fields[2].to_owned()), fields[3].to_owned())
    };
    text.lines().skip(1).map(row).collect()
}

fn assert_by_hand(scores: &Scores) {
    for (key, second, stream, expected) in by_hand() {
        let place = (key.to_owned(), format!("2026-01-01T00:00:0{second}.000000Z"), stream.to_owned());
        let found: f64 = scores.get(&place).unwrap_or_else(|| panic!("{place:?} is not in {scores:?}")).parse().expect("a number");
        assert!((found - expected).abs() < 1e-6, "{place:?} {found} {expected}");
    }
}

#[test]
fn a_file_is_scored_as_by_hand() {
    let (ended, scores) = score("score-csv", READINGS, "out.jsonl", &["--key", "machine", "--time", "time"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert_by_hand(&scores);
    assert!(ended.stdout.contains("7 rows of 3 keys"), "{}", ended.stdout);
    let alarms: Vec<_> = scores.iter().filter(|((.., stream), _)| stream == "alarm").collect();
    let on: Vec<_> = alarms.iter().filter(|(_, value)| *value == "true").map(|((key, ..), _)| key.as_str()).collect();
    assert_eq!(on, [] as [&str; 0], "{alarms:?}");
}

#[test]
fn csv_out_has_the_same_values_and_one_shard_the_same_as_four() {
    let more = ["--key", "machine", "--time", "time", "--shards"];
    let (_, one) = score("score-one", READINGS, "out.csv", &[&more[..], &["1"]].concat());
    let (_, four) = score("score-four", READINGS, "out.jsonl", &[&more[..], &["4"]].concat());
    assert_by_hand(&one);
    assert_eq!(one, four);
}

#[test]
fn json_rows_are_scored_and_json_is_answered() {
    let rows = r#"{"machine":"machine-0","time":"2026-01-01T00:00:00Z","temperature":56,"vibration":3}
{"machine":"machine-0","time":"2026-01-01T00:00:01Z","temperature":64,"vibration":4}
this is no JSON
"#;
    let input = file(&folder("score-json-rows"), "rows.jsonl", rows);
    let (ended, scores) = score("score-json", &input, "out.jsonl", &["--key", "machine", "--time", "time", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let answer = ended.json();
    assert_eq!((answer["rows"].as_u64(), answer["dead_letters"].as_u64()), (Some(2), Some(1)));
    assert_eq!(scores.len(), 6, "{scores:?}");
}

#[test]
fn what_the_key_is_must_be_said() {
    let (ended, _) = score("score-no-key", READINGS, "out.jsonl", &[]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("which column is the key") && ended.stderr.contains("event time"), "{}", ended.stderr);
    let (ended, _) = score("score-bad-key", READINGS, "out.jsonl", &["--key", "pump", "--time", "time"]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("no column `pump`"), "{}", ended.stderr);
}
