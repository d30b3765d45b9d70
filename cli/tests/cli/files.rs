//! `grist validate` and `grist plan`.

use crate::support::{file, folder, run};

const PLANT: &str = "examples/topologies/plant.toml";

#[test]
fn a_good_file_is_fine() {
    let ended = run(&["validate", PLANT]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert!(ended.stdout.contains("plant.toml: fine; class `machine`, 8 nodes"), "{}", ended.stdout);
    let answer = run(&["validate", PLANT, "--json"]).json();
    assert_eq!((answer["valid"].as_bool(), answer["nodes"].as_u64()), (Some(true), Some(8)));
}

#[test]
fn everything_wrong_is_said_at_once_with_its_line() {
    let folder = folder("bad");
    let path = file(
        &folder,
        "bad.toml",
        r#"class = "pump"

[source]
kind = "simulate"
for = 20
machnes = 3

[sink.out]
kind = "kafca"

[sink.nobody]
kind = "console"

[[node]]
provides = ["vibration: f32"]
sensor = {}

[[node]]
needs = ["vibration: f32"]
provides = ["rms: f32"]
operator = { roling = { rows = 2, stats = ["rms"] } }

[[node]]
needs = ["vibration: f32"]
provides = ["wear: f32"]
model = { onnx = "nothing.onnx" }

[[node]]
sink = "out"
asks = ["wear"]
"#,
    );
    let ended = run(&["validate", &path]);
    assert_eq!(ended.code, 3);
    assert_eq!(ended.stdout, "");
    for said in [
        ":5: [source]: `for` is 20; write a length of time with its unit",
        ":6: [source]: there is no field `machnes`; there are `kind`, ",
        ":9: [sink.out]: there is no kind `kafca`; there are `console`, `json`, `csv`, `kafka`",
        ":11: [sink.nobody]: no node writes to it; add a node with sink = \"nobody\"",
        ":21: node `rms`, operator: there is no operator `roling`; did you mean `rolling`?",
        ":26: node `wear`, model: ",
    ] {
        assert!(ended.stderr.contains(said), "{said}\nis not in\n{}", ended.stderr);
    }
    let answer = run(&["validate", &path, "--json"]);
    assert_eq!((answer.code, answer.json()["valid"].as_bool()), (3, Some(false)));
    assert_eq!(answer.json()["problems"].as_array().map(Vec::len), Some(6), "{}", answer.stdout);
    assert_eq!(run(&["run", &path]).code, 3, "it is not run either");
}

#[test]
fn wires_that_lead_nowhere_are_refused() {
    let path = file(
        &folder("wires"),
        "wires.toml",
        r#"class = "pump"
[[node]]
provides = ["vibration: f32"]
sensor = {}
[[node]]
needs = ["vibrations: f32", "pressure: f32"]
provides = ["rms: f32"]
operator = { rolling = { rows = 2, stats = ["rms"] } }
"#,
    );
    let ended = run(&["validate", &path]);
    assert_eq!(ended.code, 3, "{ended:?}");
    let path = file(
        &folder("wires"),
        "wires.toml",
        r#"class = "pump"
[[node]]
provides = ["vibration: f32"]
sensor = {}
[[node]]
needs = ["vibrations: f32"]
provides = ["rms: f32"]
operator = { rolling = { rows = 2, stats = ["rms"] } }
[[node]]
sink = "out"
asks = ["rmz"]
"#,
    );
    let ended = run(&["validate", &path]);
    assert_eq!(ended.code, 3, "{ended:?}");
    for said in ["`vibrations`", "did you mean `vibration`?", "`rmz`", "did you mean `rms`?"] {
        assert!(ended.stderr.contains(said), "{said}\nis not in\n{}", ended.stderr);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let ended = run(&["plan", "no/such.toml"]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("no/such.toml") && !ended.stderr.contains("Os {"), "{}", ended.stderr);
    let answer = run(&["plan", "no/such.toml", "--json"]);
    assert_eq!(answer.json()["exit_code"], 3);
}

#[test]
fn a_plan_is_a_table_a_figure_and_json() {
    let table = run(&["plan", PLANT]);
    assert_eq!(table.code, 0);
    assert!(table.stdout.starts_with("machine, revision 1: 8 nodes"), "{}", table.stdout);
    assert!(table.stdout.contains("family of 4 and a default"), "{}", table.stdout);
    let figure = run(&["plan", PLANT, "--dot"]).stdout;
    assert!(figure.starts_with("digraph \"machine\" {") && figure.ends_with("}\n"), "{figure}");
    assert!(figure.contains("\"anomaly\" -> \"wear\""), "{figure}");
    let json = run(&["plan", PLANT, "--json"]).json();
    let nodes: Vec<_> = json["nodes"].as_array().expect("nodes").iter().map(|node| node["node"].clone()).collect();
    let named =
        ["temperature", "temperature.mean", "vibration", "vibration.rms", "anomaly", "wear", "alarm", "predictions"];
    assert_eq!(nodes, named);
    let wear = &json["nodes"][5];
    let needs: Vec<_> = wear["needs"].as_array().expect("needs").iter().map(|need| need["name"].clone()).collect();
    assert_eq!(needs, ["vibration.rms", "anomaly"], "what is predicted is a need of another model");
}

#[test]
fn what_cannot_be_a_topology_file_is_told_apart() {
    let folder = folder("no-topology");
    let name = folder.to_str().expect("text");
    for (path, said) in [
        (name.to_owned(), "is a folder; name the topology file in it"),
        (file(&folder, "a.csv", "a,b"), "is no topology file by its name; topologies are written as .toml or .json"),
        (file(&folder, "empty.toml", ""), "there is no `class`; write class = "),
        (file(&folder, "bad.toml", "class = \"x"), "bad.toml:1: not TOML: "),
        (file(&folder, "bad.json", "{\"class\": }"), "bad.json:1: not JSON: "),
    ] {
        let ended = run(&["validate", &path]);
        assert_eq!((ended.code, ended.stdout.as_str()), (3, ""), "{path}");
        assert!(ended.stderr.starts_with("grist: ") && ended.stderr.contains(said), "{path}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

/// Of a family with many bad members people see the first and how to see the others, machines see all.
#[test]
fn every_bad_member_of_a_family_is_said_to_machines() {
    let folder = folder("bad-family");
    let bad: Vec<String> = (0..30).map(|number| file(&folder, &format!("P{number}.onnx"), "no model")).collect();
    let text = "class = \"pump\"\n[[node]]\nprovides = [\"a: f32\"]\nsensor = {}\n[[node]]\nneeds = [\"a: f32\"]\n\
                provides = [\"x: f32\"]\nmodel = { onnx = \"{key}.onnx\" }\n";
    let path = file(&folder, "a.toml", text);
    let ended = run(&["validate", &path]);
    assert_eq!((ended.code, ended.stderr.lines().count()), (3, 21), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("grist: 10 more lines not shown; --json has all of them\n"), "{}", ended.stderr);
    let answer = run(&["validate", &path, "--json"]).json();
    assert_eq!(answer["problems"].as_array().map(Vec::len), Some(bad.len()), "{answer}");
    // A command without an answer of its own says them in its error.
    let answer = run(&["plan", &path, "--json"]).json();
    let error = answer["error"].as_str().expect("it was refused");
    assert!((0..30).all(|number| error.contains(&format!("`P{number}.onnx`"))), "{error}");
}

#[test]
fn a_sink_into_a_folder_that_is_not_there_is_refused_before_anything_runs() {
    let text = "class = \"pump\"\n[sink.out]\nkind = \"csv\"\npath = \"no/such/a.csv\"\n\
                [[node]]\nprovides = [\"a: f32\"]\nsensor = {}\n[[node]]\nsink = \"out\"\nasks = [\"a\"]\n";
    let ended = run(&["validate", &file(&folder("no-folder"), "a.toml", text)]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains(":4: [sink.out]: `path` is in the folder `"), "{}", ended.stderr);
    assert!(ended.stderr.contains("no/such`, which does not exist; make it first"), "{}", ended.stderr);
}

/// A field that another makes void is not passed over in silence.
#[test]
fn a_source_whose_fields_say_one_thing_twice_is_refused() {
    let folder = folder("twice");
    file(&folder, "rows.csv", "machine,ts,a\nP1,1000,1\n");
    file(&folder, "rows.jsonl", "{\"machine\":\"P1\",\"ts\":1000,\"a\":1}\n");
    let tried = |source: &str| {
        let text = format!("class = \"pump\"\n[source]\n{source}\n[[node]]\nprovides = [\"a: f32\"]\nsensor = {{}}\n");
        run(&["validate", &file(&folder, "a.toml", &text)])
    };
    let csv = "kind = \"csv\"\npath = \"rows.csv\"\ntime = \"ts\"\nkey = \"machine\"";
    let json = "kind = \"json\"\npath = \"rows.jsonl\"\ntime = \"ts\"\nkey = \"machine\"";
    let kafka = "kind = \"kafka\"\nbrokers = \"127.0.0.1:1\"\ntopics = \"a\"";
    let narrow = "tag = \"t\"\nvalue = \"v\"\nsplit_tag = \".\"";
    let record = "key_from_record = true";
    let mut cases = vec![
        (
            format!("{csv}\nkey_is = \"P1\""),
            ":6: [source]: `key` and `key_is` each say what the key is; keep one of them",
        ),
        (format!("{json}\n{narrow}"), ":6: [source]: `key` and `split_tag` each say what the key is; keep one of them"),
    ];
    let mut fine = vec![csv.to_owned(), json.to_owned()];
    if cfg!(feature = "kafka") {
        let time = "time = \"ts\"";
        cases.extend([
            (
                format!("{kafka}\n{time}\nkey = \"machine\"\n{record}"),
                "`key` and `key_from_record` each say what the key",
            ),
            (
                format!("{kafka}\n{time}\n{record}\n{narrow}"),
                "`key_from_record` and `split_tag` each say what the key is",
            ),
            (
                format!("{kafka}\n{time}\n{record}\ntime_from_log = true"),
                "`time` and `time_from_log` each say what the event time is; keep one of them",
            ),
        ]);
        fine.push(format!("{kafka}\n{record}\ntime_from_log = true"));
        fine.push(format!("{kafka}\n{time}\nkey = \"machine\"\nkey_from_record = false\ntime_from_log = false"));
    }
    for (source, said) in cases {
        let ended = tried(&source);
        assert_eq!(ended.code, 3, "{source}: {ended:?}");
        assert!(ended.stderr.contains(said), "{said}\nis not in\n{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    for source in fine {
        assert_eq!(tried(&source).code, 0, "{source}: {:?}", tried(&source));
    }
}

/// A topology file whose model must give this.
fn tried(folder: &std::path::Path, anomaly: &str) -> String {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/topologies/models/anomaly.onnx");
    std::fs::copy(model, folder.join("anomaly.onnx")).expect("the example's model is there");
    let text = r#"class = "pump"
[source]
kind = "csv"
path = "rows.csv"
key = "machine"
time = "ts"
[sink.out]
kind = "csv"
path = "out.csv"
[[node]]
provides = ["rms: f32"]
sensor = {}
[[node]]
provides = ["temperature: f32"]
sensor = {}
[[node]]
needs = ["rms: f32", "temperature: f32"]
provides = ["anomaly: f32"]
model = { onnx = "anomaly.onnx" }
trial = [{ given = { rms = 1, temperature = 40 }, gives = { anomaly = EXPECTED } }]
[[node]]
sink = "out"
asks = ["anomaly"]
"#;
    file(folder, "rows.csv", "machine,ts,rms,temperature\nP1,1000,1,40\n");
    file(folder, "tried.toml", &text.replace("EXPECTED", anomaly))
}

#[test]
fn a_file_whose_model_fails_its_trial_is_not_run() {
    let folder = folder("tried");
    let registry = folder.join("registry");
    let wrong = tried(&folder, "1e9");
    let told = "`anomaly` failed on its trial row: row 1 of its trial: `anomaly` came out as ";
    let validated = run(&["validate", &wrong]);
    let ran = run(&["run", &wrong]);
    let deployed = run(&["run", &wrong, "--registry", registry.to_str().expect("text")]);
    let (rows, scores) = (folder.join("rows.csv"), folder.join("scores.csv"));
    let (rows, scores) = (rows.to_str().expect("text"), scores.to_str().expect("text"));
    let scored = run(&["score", &wrong, "--input", rows, "--output", scores]);
    for ended in [&validated, &ran, &deployed, &scored] {
        assert_eq!(ended.code, 3, "{ended:?}");
        assert!(ended.stderr.contains(told) && ended.stderr.contains(", where 1000000000 was expected"), "{ended:?}");
    }
    let answer = run(&["validate", &wrong, "--json"]).json();
    assert_eq!(answer["problems"].as_array().map(Vec::len), Some(1), "{answer}");
    assert!(!std::fs::read_to_string(folder.join("out.csv")).unwrap_or_default().contains("P1"), "nothing has run");

    let (_, rest) = validated.stderr.split_once(told).expect("it was told");
    let (score, _) = rest.split_once(',').expect("it gave something");
    let right = tried(&folder, score);
    assert_eq!(run(&["validate", &right]).code, 0);
    for arguments in [vec!["run", &right], vec!["run", &right, "--registry", registry.to_str().expect("text")]] {
        let ended = run(&arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(std::fs::read_to_string(folder.join("out.csv")).expect("a file").contains("P1"), "{ended:?}");
    }
}
