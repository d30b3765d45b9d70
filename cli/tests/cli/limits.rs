//! `grist limits`.

use crate::support::{file, folder, run};

const PLANT: &str = r#"class = "machine"

[limits]
in_flight_bytes = "64 MiB"
keys_max = 1000
waiting_rows_max = 50

[source]
kind = "simulate"

[[node]]
provides = ["temperature: f32"]
sensor = {}

[[node]]
sink = "out"
asks = ["temperature"]

[sink.out]
kind = "console"
"#;

#[test]
fn every_bound_is_listed_with_what_happens_there() {
    let folder = folder("limits");
    let plant = file(&folder, "plant.toml", PLANT);
    let ended = run(&["limits", &plant]);
    assert_eq!(ended.code, 0, "{ended:?}");
    for said in [
        "keys_max",
        "1,000",
        "the source pauses",
        "64 MiB",
        "records of further keys are dead letters",
        "attribute_keys",
        "131,072",
    ] {
        assert!(ended.stdout.contains(said), "{said}: {}", ended.stdout);
    }
    let json: serde_json::Value = serde_json::from_str(&run(&["limits", &plant, "--json"]).stdout).expect("it is JSON");
    let most = |name: &str| {
        let all = json["limits"].as_array().expect("they are a list");
        all.iter().find(|limit| limit["name"] == name).expect("it is listed")["most"].clone()
    };
    assert_eq!((most("keys_max"), most("waiting_rows_max")), (1000.into(), 50.into()));
}

#[test]
fn limits_that_cannot_be_are_refused_with_their_lines() {
    let folder = folder("limits-bad");
    let bad = PLANT.replace("\"64 MiB\"", "\"1 MiB\"").replace("keys_max = 1000", "keys = 1000\nkeys_max = \"many\"");
    let plant = file(&folder, "plant.toml", &bad);
    let ended = run(&["validate", &plant]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(
        ended.stderr.contains("plant.toml:6: [limits]: `keys_max` is \"many\"; write a whole number"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("plant.toml:5: [limits]: there is no field `keys`"), "{}", ended.stderr);
    let plant = file(&folder, "plant.toml", &PLANT.replace("\"64 MiB\"", "\"1 MiB\""));
    let ended = run(&["run", &plant]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(
        ended.stderr.contains("plant.toml:4: [limits]: `in_flight_bytes` is 1048576 and `batch_bytes` 4194304: a whole micro-batch must fit"),
        "{}",
        ended.stderr
    );
}
