//! `grist score`: the numbers are those that one gets by hand.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Ended, file, folder, grist, run};

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
        let found: f64 =
            scores.get(&place).unwrap_or_else(|| panic!("{place:?} is not in {scores:?}")).parse().expect("a number");
        assert!((found - expected).abs() < 1e-6, "{place:?} {found} {expected}");
    }
}

#[test]
fn a_file_is_scored_as_by_hand() {
    let (ended, scores) = score("score-csv", READINGS, "out.jsonl", &["--key", "machine", "--time", "time"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert_by_hand(&scores);
    assert!(ended.stdout.contains("7 rows of 3 keys"), "{}", ended.stdout);
    // Six rows have both readings, and three streams each.
    assert!(ended.stdout.contains("\n1 reading was out of range\n18 values written to "), "{}", ended.stdout);
    assert_eq!(scores.len(), 18, "{scores:?}");
    let alarms: Vec<_> = scores.iter().filter(|((.., stream), _)| stream == "alarm").collect();
    let on: Vec<_> = alarms.iter().filter(|(_, value)| *value == "true").map(|((key, ..), _)| key.as_str()).collect();
    assert_eq!(on, ["machine-9", "machine-9"], "its wear is 0.5, at which the alarm turns on: {alarms:?}");
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
    assert_eq!(answer["values"], 6);
    assert_eq!(scores.len(), 6, "{scores:?}");
}

#[test]
fn what_the_key_is_must_be_said() {
    let (ended, _) = score("score-no-key", READINGS, "out.jsonl", &[]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("--input: it is not said which column is the key; add --key COLUMN"), "{ended:?}");
    assert!(ended.stderr.contains("which column is the event time; add --time COLUMN"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 2, "two problems, each said once: {}", ended.stderr);
    let (ended, _) = score("score-bad-key", READINGS, "out.jsonl", &["--key", "pump", "--time", "time"]);
    assert_eq!(ended.code, 3);
    let said = "no column `pump` for the key; it has `machine`, `time`, `temperature`, `vibration`";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
}

#[test]
fn inputs_and_outputs_that_cannot_be_used_are_refused() {
    let folder = folder("score-refused");
    let empty = file(&folder, "empty.csv", "");
    let output = folder.join("out.csv");
    let output = output.to_str().expect("text");
    for (input, output, code, said) in [
        ("no/such.csv", output, 3, "--input: file `no/such.csv`: No such file"),
        (&empty, output, 3, "empty.csv`: the file has no header"),
        (READINGS, "no/such/out.csv", 3, "--output no/such/out.csv: cannot be written: No such file"),
        (READINGS, READINGS, 2, "it is the input; name another file"),
    ] {
        let ended = run(&["score", PLANT, "--input", input, "--output", output, "--key", "machine", "--time", "time"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{input} {ended:?}");
        assert!(ended.stderr.contains(said), "{said} is not in {}", ended.stderr);
        assert!(!ended.stderr.contains("plant.toml"), "the topology is not what is wrong: {}", ended.stderr);
    }
}

#[test]
fn a_file_of_other_columns_is_no_success_and_one_without_rows_is_said_to_be() {
    let folder = folder("score-columns");
    let key = ["--key", "machine", "--time", "time"];
    let other = file(&folder, "other.csv", "machine,time,temp\nmachine-0,2026-01-01T00:00:00Z,56\n");
    let (ended, scores) = score("score-other", &other, "out.csv", &key);
    assert_eq!((ended.code, scores.len()), (1, 0), "{ended:?}");
    let said = "1 record: none has a value of what the sensors read, which is `temperature`, `vibration`";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let json = file(&folder, "other.jsonl", "{\"machine\":\"machine-0\"}\n{\"machine\":1\n");
    let (ended, _) = score("score-other-json", &json, "out.csv", &[&key[..], &["--json"]].concat());
    assert_eq!(ended.code, 1, "{ended:?}");
    let answer = ended.json();
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("2 records: none could be used")), "{answer}");
    let header = file(&folder, "header.csv", "machine,time,temperature,vibration\n");
    let (ended, _) = score("score-header", &header, "out.csv", &key);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("header.csv has no rows"), "{}", ended.stderr);
}

#[test]
fn bad_rows_are_told_and_no_more_than_one_can_read() {
    let rows: String = (0..100).map(|row| format!("machine-0,{row},oops,3\n")).collect();
    let text = format!("machine,time,temperature,vibration\nmachine-0,2026-01-01T00:00:00Z,56,3\n{rows}");
    let input = file(&folder("score-rows"), "rows.csv", &text);
    let (ended, scores) = score("score-bad-rows", &input, "out.csv", &["--key", "machine", "--time", "time"]);
    assert_eq!((ended.code, scores.len()), (0, 3), "{ended:?}");
    assert!(ended.stdout.contains("100 went to the dead letters"), "{}", ended.stdout);
    assert_eq!(ended.stderr.matches("`oops` is no f32").count(), 20, "{}", ended.stderr);
    assert!(ended.stderr.contains("more dead letters are only counted"), "{}", ended.stderr);
    assert!(!ended.stderr.contains('\u{1b}'), "no colours where nobody looks");
}

/// Bug: Ctrl-C took the running system down with frames in flight, which aborted the process. Fix: that is no failure of its
/// own, and the command says that its output is not whole.
#[cfg(unix)]
#[test]
fn who_interrupts_it_is_told_that_the_output_is_not_whole() {
    use crate::state::{signal, until};
    let folder = folder("score-interrupted");
    // More than is scored before the signal comes.
    let rows: String = (0..400_000).map(|row| format!("machine-0,{row},56,3\n")).collect();
    let input = file(&folder, "rows.csv", &format!("machine,time,temperature,vibration\n{rows}"));
    for json in [&[][..], &["--json"]] {
        let output = folder.join("out.jsonl");
        let _ = std::fs::remove_file(&output); // of the run before
        let path = output.to_str().expect("text");
        let arguments = ["score", PLANT, "--input", &input, "--output", path, "--key", "machine", "--time", "time"];
        let mut command = grist(&[&arguments[..], json].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        until("values come out", || std::fs::metadata(&output).is_ok_and(|file| file.len() > 0));
        signal(&child, "-INT");
        let ended = child.wait_with_output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&ended.stdout), text(&ended.stderr));
        assert_eq!(ended.status.code(), Some(1), "{stdout} {stderr}");
        let said = format!("stopped before the end of the input; {path} is not whole");
        assert!(stderr.contains(&said), "{stderr}");
        if json.is_empty() {
            assert_eq!(stdout, "");
        } else {
            let answer: Value = serde_json::from_str(&stdout).expect("one answer");
            assert_eq!((answer["error"].as_str(), answer["exit_code"].as_i64()), (Some(&*said), Some(1)));
        }
    }
}
