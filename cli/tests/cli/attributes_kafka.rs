//! `[attributes_topic]`: what a topic says of keys is known from the first row on.

use gristmill_tests::support::kafka::Broker;

use crate::support::{file, folder, run};

const NODES: &str = r#"
[[node]]
provides = ["temperature: f64"]
sensor = {}

[[node]]
needs = ["temperature: f64", "@limit: f64"]
provides = ["above: f64"]
expr = "temperature - @limit"

[[node]]
keys = { attribute = "site", equals = "north" }
needs = ["temperature: f64"]
provides = ["north: f64"]
expr = "temperature"

[[node]]
sink = "out"
asks = ["above", "north"]
"#;

const SOURCE: &str = "[source]\nkind = \"csv\"\npath = \"rows.csv\"\nkey = \"machine\"\ntime = \"ts\"\n";
const SINK: &str = "[sink.out]\nkind = \"csv\"\npath = \"out.csv\"\ntimes = \"micros\"\ntruncate = true\n";

#[test]
fn facts_of_a_topic_are_known_from_the_first_row_on() {
    let folder = folder("attributes-kafka");
    file(&folder, "rows.csv", "machine,ts,temperature\nP1,1000,50\nP2,1000,61\nP3,1000,70\n");
    file(&folder, "known.csv", "key,limit:f64\nP1,1\nP2,1\n");
    let broker = Broker::start();
    broker.create_topic_with("facts", 2, &["cleanup.policy=compact"]);
    let said = [("P1", r#"{"limit": 40, "site": "north"}"#), ("P3", r#"{"limit": 60}"#), ("P3", "{")];
    broker.console_produce("facts", &said);
    let table = format!(
        "[attributes_topic]\nbrokers = \"{}\"\ntopic = \"facts\"\ntypes = {{ site = \"str\" }}\n",
        broker.bootstrap()
    );
    let text = format!("class = \"pump\"\nattributes = \"known.csv\"\n{table}{SOURCE}{SINK}{NODES}");
    let path = file(&folder, "topology.toml", &text);
    let registry = folder.join("registry");
    for more in [&[][..], &["--registry", registry.to_str().expect("text")]] {
        let ended = run(&[&["run", &path], more].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.contains("topic=\"facts\"") && ended.stderr.contains("offset="), "{}", ended.stderr);
        let out = std::fs::read_to_string(folder.join("out.csv")).expect("a file");
        let mut rows: Vec<_> =
            out.lines().skip(1).map(|line| line.split(',').take(4).collect::<Vec<_>>().join(",")).collect();
        rows.sort_unstable();
        let expected = ["P1,1000000,above,10", "P1,1000000,north,50", "P2,1000000,above,60", "P3,1000000,above,10"];
        assert_eq!(rows, expected);
    }

    let wrong = text.replace("topic = \"facts\"", "topic = \"fatcs\"");
    let refused = run(&["run", &file(&folder, "wrong.toml", &wrong)]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains(": topic-missing: "), "{refused:?}");
}

#[test]
fn everything_wrong_with_the_table_is_said() {
    let folder = folder("attributes-wrong");
    file(&folder, "rows.csv", "machine,ts,temperature\nP1,1000,50\n");
    file(&folder, "known.csv", "key,limit:f64\n");
    let table = "[attributes_topic]\ntopic = \"facts\"\ntypes = { site = \"str\", limit = \"str\", size = \"big\" }\ngroup = \"g\"\n";
    let text = format!("class = \"pump\"\nattributes = \"known.csv\"\n{table}{SOURCE}{SINK}{NODES}");
    let refused = run(&["validate", &file(&folder, "topology.toml", &text)]);
    assert!(refused.code != 0 && refused.stderr.contains("size"), "{refused:?}");
    let text = text.replace(", size = \"big\"", "");
    let refused = run(&["validate", &file(&folder, "topology.toml", &text)]);
    assert_ne!(refused.code, 0, "{refused:?}");
    for said in ["`limit` is str here and f64", "there is no `brokers`", "there is no field `group`"] {
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
}
