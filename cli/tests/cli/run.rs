//! `grist run`: it ends with its source, or when it is asked to.

use std::process::Stdio;

use crate::support::{file, folder, grist, run};

const NODES: &str = r#"
[[node]]
provides = ["temperature: f32"]
sensor = {}

[[node]]
needs = ["temperature: f32"]
provides = ["hot: bool"]
operator = { threshold = { above = 60 } }

[[node]]
sink = "out"
asks = ["hot"]
"#;

fn topology(name: &str, source: &str, sink: &str) -> String {
    let folder = folder(name);
    file(&folder, "rows.csv", "machine,ts,temperature\nP1,1000,50\nP1,2000,70\nP2,1000,61\nP1,3000,oops\n");
    file(&folder, "topology.toml", &format!("class = \"pump\"\n[source]\n{source}\n[sink.out]\n{sink}\n{NODES}"))
}

#[test]
fn a_csv_source_ends_by_itself() {
    let source = "kind = \"csv\"\npath = \"rows.csv\"\nkey = \"machine\"\ntime = \"ts\"\ndead_letters = \"dead.jsonl\"";
    let path = topology("run-csv", source, "kind = \"csv\"\npath = \"out.csv\"\ntimes = \"micros\"");
    let ended = run(&["run", &path]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("3 rows of 2 keys"), "{}", ended.stdout);
    assert!(ended.stdout.contains("1 went to the dead letters"), "{}", ended.stdout);
    let read = |name: &str| std::fs::read_to_string(path.replace("topology.toml", name)).expect("a file");
    let out = read("out.csv");
    let mut rows: Vec<_> =
        out.lines().skip(1).map(|line| line.split(',').take(4).collect::<Vec<_>>().join(",")).collect();
    rows.sort_unstable();
    assert_eq!(rows, ["P1,1000000,hot,false", "P1,2000000,hot,true", "P2,1000000,hot,true"]);
    assert!(read("dead.jsonl").contains("oops"), "{}", read("dead.jsonl"));
}

/// What did not work is part of the one answer.
#[cfg(target_os = "linux")]
#[test]
fn a_sink_that_cannot_be_written_ends_it_with_one_answer() {
    let source = "kind = \"csv\"\npath = \"rows.csv\"\nkey = \"machine\"\ntime = \"ts\"";
    let path = topology("run-full", source, "kind = \"json\"\npath = \"/dev/full\"");
    let ended = run(&["run", &path, "--json"]);
    let answer = ended.json();
    assert_eq!((ended.code, answer["exit_code"].as_i64()), (1, Some(1)), "{ended:?}");
    let said = "file `/dev/full` cannot be written: No space left on device";
    assert!(answer["error"].as_str().is_some_and(|error| error.contains(said)), "{answer}");
    assert!(ended.stderr.contains(said) && ended.stderr.contains("what it wrote is not whole"), "{ended:?}");
    let ended = run(&["run", &path]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
}

#[test]
fn readings_that_cannot_be_used_are_in_its_report() {
    let source = "kind = \"csv\"\npath = \"bad.csv\"\nkey = \"machine\"\ntime = \"ts\"";
    let path = topology("run-bad", source, "kind = \"csv\"\npath = \"out.csv\"\ntruncate = true");
    let text = std::fs::read_to_string(&path).expect("it was just written");
    std::fs::write(&path, text.replacen("sensor = {}", "sensor = { range = [0, 100] }", 1)).expect("it can be written");
    let rows = "machine,ts,temperature\nP1,1000,50\nP1,2000,NaN\nP1,3000,101\nP1,4000,-1\nP1,5000,\n";
    std::fs::write(path.replace("topology.toml", "bad.csv"), rows).expect("it can be written");
    let answer = run(&["run", &path, "--json"]).json();
    assert_eq!((answer["nan"].as_u64(), answer["out_of_range"].as_u64()), (Some(1), Some(2)), "{answer}");
    let ended = run(&["run", &path]);
    assert!(ended.stdout.contains("\n1 reading was not a number\n2 readings were out of range"), "{}", ended.stdout);
}

#[test]
fn a_console_keeps_standard_output_to_itself_unless_json_is_asked_for() {
    let source = "kind = \"simulate\"\nmachines = 3\nrows = 4\nflat_out = true";
    let path = topology("run-console", source, "kind = \"console\"");
    let ended = run(&["run", &path]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 12, "{}", ended.stdout);
    assert!(ended.stdout.lines().all(|line| line.contains("pump-")), "{}", ended.stdout);
    assert!(ended.stderr.contains("12 rows of 3 keys"), "{}", ended.stderr);
    let answer = run(&["run", &path, "--json"]);
    assert_eq!(answer.json()["rows"], 12);
    assert_eq!(answer.stderr.lines().filter(|line| line.contains("pump-")).count(), 12, "{}", answer.stderr);
}

#[test]
fn a_text_of_a_sensor_is_one_line_of_the_console() {
    let folder = folder("run-controls");
    let row = r#"{"machine":"P1","ts":1000,"note":"heiß\u001b[2J\r\nP2\u009b31m"}"#;
    file(&folder, "rows.jsonl", &format!("{row}\n"));
    let text = r#"class = "pump"
[source]
kind = "json"
path = "rows.jsonl"
key = "machine"
time = "ts"
[sink.out]
kind = "console"
[[node]]
provides = ["note: str"]
sensor = {}
[[node]]
sink = "out"
asks = ["note"]
"#;
    let ended = run(&["run", &file(&folder, "topology.toml", text)]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    assert!(ended.stdout.ends_with("  heiß\\u{1b}[2J\\r\\nP2\\u{9b}31m\n"), "{:?}", ended.stdout);
}

#[test]
fn what_is_not_bound_is_refused() {
    let path = file(&folder("run-unbound"), "topology.toml", &format!("class = \"pump\"\n{NODES}"));
    let ended = run(&["run", &path]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("there is no [source]"), "{}", ended.stderr);
    assert!(ended.stderr.contains("add a table [sink.out], such as kind = \"console\""), "{}", ended.stderr);
    let looked = run(&["validate", &path]);
    assert_eq!(looked.code, 0, "a host may bind them");
    assert!(looked.stdout.contains("[source] and [sink.out] are left to a host"), "{}", looked.stdout);
}

#[cfg(unix)]
#[test]
fn a_signal_stops_it_in_order() {
    use crate::state::{signal as send, until};
    let path = topology(
        "run-signal",
        "kind = \"simulate\"\nmachines = 50\nrate = 20",
        "kind = \"json\"\npath = \"out.jsonl\"",
    );
    for signal in ["-INT", "-TERM"] {
        let child =
            grist(&["run", &path, "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let out = path.replace("topology.toml", "out.jsonl");
        until("rows come out", || std::fs::metadata(&out).is_ok_and(|file| file.len() > 0));
        send(&child, signal);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let written = std::fs::read_to_string(&out).expect("a file").lines().count() as u64;
        assert!(written > 0, "something came out");
        assert_eq!(Some(written), answer["rows"].as_u64(), "what was in flight is written");
        std::fs::remove_file(out).expect("the next signal begins anew");
    }
}

#[test]
fn it_stops_when_nobody_reads_what_it_prints() {
    use std::io::{BufRead, BufReader, Read};
    let path = topology("run-closed", "kind = \"simulate\"\nmachines = 5\nrate = 50", "kind = \"console\"");
    let mut child = grist(&["run", &path]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    reader.read_line(&mut first).expect("a line");
    drop(reader);
    assert!(first.contains("pump-0"), "{first}");
    // The source is endless: that it ends is what is tested.
    let code = child.wait().expect("it ends").code();
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("Broken pipe"), "{said}");
}
