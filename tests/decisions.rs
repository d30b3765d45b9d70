//! What is decided about nodes beside what they are: pause, resume and reset; what would lose a state; rows that travel
//! with a model. That rows are computed as the contract says is shown by `engine_equals_interpreter.rs`.

use gristmill::NodeState;
use gristmill::node_state::{MOVES, Move};
use gristmill::registry::{Kind, REVISIONS_KEPT};
use gristmill::topology::Attributes;
use gristmill::words::{ElementType, Offset, Value};
use gristmill_admin::Limits;
use gristmill_tests::support::site::{Answer, MEAN, RMS, Site, folder, pump};
use serde_json::json;

const ANOMALY: &str = r#"{
    "topology": "pump",
    "needs": ["vibration.rms: f32", "temperature.mean: f32"],
    "provides": ["anomaly: f32"],
    "model": { "onnx": "anomaly.onnx" },
    "trial": [TRIAL]
}"#;

const ROLLING: &str = r#"{ "topology": "pump", "node": [
    { "id": "load", "needs": ["vibration.rms: f32"], "provides": ["load: f32"],
      "operator": { "rolling": { "rows": ROWS, "stats": ["mean"] } } },
    { "sink": "out", "id": "loads", "asks": ["load"] }
] }"#;

fn model() -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/topologies/models/anomaly.onnx");
    std::fs::read(path).expect("the example's model is there")
}

fn anomaly(trial: &str) -> String {
    ANOMALY.replace("TRIAL", trial)
}

fn post(site: &Site, path: &str) -> Answer {
    site.send("POST", path, Some(&site.tokens[1]), &[], b"")
}

fn state(site: &Site, node: &str) -> String {
    site.get(&format!("/v1/nodes/{node}")).done()["state"].as_str().expect("a state").to_owned()
}

/// The values of a stream since it was asked last.
fn written(site: &Site, stream: &str) -> Vec<String> {
    let values = site.values.take();
    values.iter().filter(|value| &*value.stream == stream).map(|value| value.value.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_node_computes_nothing_and_stays_paused_over_versions_and_starts() {
    let folder = folder("paused");
    let mut site = Site::start(&folder, Limits::default()).await;
    let (manifest, model) = (anomaly(""), model());
    let parts: &[(&str, &[u8])] = &[("manifest", manifest.as_bytes()), ("anomaly.onnx", &model)];
    let first = site.put_nodes("", &[], parts).done();
    assert_eq!(state(&site, "anomaly"), "running");
    let looked = post(&site, "/v1/nodes/anomaly/pause?dry_run").done();
    let paused = post(&site, "/v1/nodes/anomaly/pause").done();
    assert_eq!(paused["changes"], "~ anomaly: paused, its state stays");
    assert_eq!(paused["changes"], looked["changes"]);
    assert_eq!(post(&site, "/v1/nodes/anomaly/pause").done()["verdict"], "unchanged");
    site.row().await;
    assert_eq!((state(&site, "anomaly"), written(&site, "anomaly")), ("paused".to_owned(), Vec::new()));
    assert_eq!(site.get("/v1/nodes/anomaly").done()["counts"]["paused"], 1);
    let why = site.get("/v1/nodes/anomaly/explain?key=P1").done();
    assert!(why["text"].as_str().is_some_and(|text| text.contains("paused: it computes nothing")), "{why}");

    let newer = manifest.replace("\"trial\"", "\"version\": 2, \"trial\"");
    let parts: &[(&str, &[u8])] = &[("manifest", newer.as_bytes()), ("anomaly.onnx", &model)];
    assert_eq!(site.put_nodes("", &[], parts).done()["verdict"], "applied");
    assert_eq!(state(&site, "anomaly"), "paused");
    site.end().await;

    let mut site = Site::start(&folder, Limits::default()).await;
    assert_eq!(state(&site, "anomaly"), "paused");
    assert_eq!(post(&site, "/v1/nodes/anomaly/resume").done()["changes"], "~ anomaly: resumed");
    site.row().await;
    assert_eq!((state(&site, "anomaly").as_str(), written(&site, "anomaly").len()), ("running", 1));
    let back = post(&site, &format!("/v1/revisions/{}/rollback", paused["revision"])).done();
    assert!(back["changes"].as_str().is_some_and(|text| text.contains("~ anomaly: paused")), "{back}");
    let back = post(&site, &format!("/v1/revisions/{}/rollback", first["revision"])).done();
    assert!(back["changes"].as_str().is_some_and(|text| text.contains("~ anomaly: resumed")), "{back}");

    assert_eq!(post(&site, "/v1/nodes/nobody/pause").code(), "unknown-node");
    let sink = post(&site, "/v1/nodes/out/pause");
    assert_eq!(sink.code(), "illegal-move");
    assert!(sink.text.contains("would be lost"), "{sink:?}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_only_lost_when_it_was_said_to_be() {
    let mut site = Site::start(&folder("state-lost"), Limits::default()).await;
    let (three, four) = (ROLLING.replace("ROWS", "3"), ROLLING.replace("ROWS", "4"));
    site.put_nodes("", &[], &[("manifest", three.as_bytes())]).done();
    site.row().await;
    let born = site.get("/v1/nodes/load").done()["born"].clone();
    let refused = site.put_nodes("", &[], &[("manifest", four.as_bytes())]);
    assert_eq!((refused.status, refused.code().as_str()), (409, "state-lost"));
    assert!(refused.text.contains("`load`") && refused.text.contains("reset"), "{refused:?}");
    site.row().await;
    assert_eq!(site.get("/v1/nodes/load").done()["born"], born, "what ran before runs on");
    assert_eq!(site.get("/v1/nodes/load").done()["counts"]["computed"], 2);

    let said = site.put_nodes("", &[], &[("manifest", four.as_bytes()), ("reset", b"load")]).done();
    assert_eq!(said["changes"], "~ load: replaced, its state begins anew");
    let reset = post(&site, "/v1/nodes/load/reset").done();
    assert_eq!(reset["changes"], "~ load: its state begins anew");
    assert_eq!(site.get("/v1/nodes/load").done()["born"], reset["revision"]);
    // Going back says so by itself: what comes back is born anew.
    let back = post(&site, &format!("/v1/revisions/{}/rollback", born)).done();
    assert_eq!(back["changes"], "~ load: replaced, its state begins anew");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_must_score_the_rows_that_travel_with_it() {
    let mut site = Site::start(&folder("trial"), Limits::default()).await;
    let model = model();
    let put = |site: &Site, trial: &str| {
        let manifest = anomaly(trial);
        site.put_nodes("", &[], &[("manifest", manifest.as_bytes()), ("anomaly.onnx", &model)])
    };
    put(&site, "").done();
    site.row().await; // rms 1, mean 40
    let score: f64 = written(&site, "anomaly")[0].parse().expect("a number");
    let row = |gives: f64| {
        let row = json!({ "given": { "vibration.rms": 1.0, "temperature.mean": 40 }, "gives": { "anomaly": gives } });
        row.to_string()
    };
    let wrong = put(&site, &format!("{}, {}", row(score), row(score + 0.1)));
    assert_eq!((wrong.status, wrong.code().as_str()), (422, "trial-failed"));
    assert!(wrong.text.contains("`anomaly`") && wrong.text.contains("row 2 of its trial"), "{wrong:?}");
    for (trial, word) in [
        (r#"{ "given": { "rms": 1 }, "gives": { "anomaly": 1 } }"#, "does not need"),
        (r#"{ "gives": { "score": 1 } }"#, "does not provide"),
        (r#"{ "key": "P1", "gives": { "anomaly": 1 } }"#, "all keys have one model"),
        (r#"{ "given": { "vibration.rms": "much" }, "gives": { "anomaly": 1 } }"#, "f32, not `much`"),
        (r#"{ "given": {} }"#, "must come out"),
        (r#"{ "gives": { "anomaly": 1 }, "within": -1 }"#, "negative"),
    ] {
        let answer = put(&site, trial);
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.text.contains(word), "{word}: {answer:?}");
    }
    put(&site, &row(score)).done();
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_keys_is_changed_lasts_and_is_gone_back_from() {
    let folder = folder("attributes");
    let mut site = Site::start(&folder, Limits::default()).await;
    let put = |site: &Site, body: &str| site.send("PUT", "/v1/attributes", Some(&site.tokens[1]), &[], body.as_bytes());
    let declared = put(&site, r#"{ "types": { "rating": "f64" } }"#).done();
    assert_eq!(declared["changes"], "~ attributes of keys");
    let manifest = ANOMALY.replace("temperature.mean: f32", "@rating: f64").replace("TRIAL", "");
    let model = model();
    site.put_nodes("", &[], &[("manifest", manifest.as_bytes()), ("anomaly.onnx", &model)]).done();
    site.row().await;
    assert_eq!(written(&site, "anomaly"), Vec::<String>::new(), "P1 has no rating");
    let rated = put(&site, r#"{ "keys": { "P1": { "rating": 40 }, "P2": { "rating": 7.5 } } }"#).done();
    site.row().await;
    assert_eq!(written(&site, "anomaly").len(), 1);
    assert_eq!(site.get("/v1/attributes/P2").done()["attributes"], json!({ "rating": 7.5 }));
    for (body, word) in [
        (r#"{ "keys": { "P1": { "site": 1 } } }"#, "not declared"),
        (r#"{ "keys": { "P1": { "rating": "much" } } }"#, "f64"),
        (r#"{ "keys": { "P1": { "rating": [1] } } }"#, "no number"),
        (r#"{ "types": { "rating": "str" } }"#, "f64 already"),
        (r#"{ "types": { "site": "text" } }"#, "no type"),
    ] {
        let refused = put(&site, body);
        assert_eq!((refused.status, refused.code().as_str()), (422, "bad-attribute"), "{body}");
        assert!(refused.text.contains(word), "{word}: {refused:?}");
    }
    assert_eq!(put(&site, "[]").code(), "bad-body");
    site.end().await;

    let mut site = Site::start(&folder, Limits::default()).await;
    site.row().await;
    assert_eq!(written(&site, "anomaly").len(), 1);
    put(&site, r#"{ "keys": { "P1": { "rating": null } } }"#).done();
    let known = site.get("/v1/attributes").done();
    assert_eq!((&known["types"], &known["keys"]), (&json!({ "rating": "f64" }), &json!({ "P2": { "rating": 7.5 } })));
    post(&site, &format!("/v1/revisions/{}/rollback", rated["revision"])).done();
    assert_eq!(site.get("/v1/attributes/P1").done()["attributes"], json!({ "rating": 40.0 }));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_knows_of_keys_changes_under_what_was_deployed() {
    let known = |ratings: &[(&str, f64)]| {
        ratings.iter().fold(Attributes::new().declare("rating", ElementType::F64), |mut known, (key, rating)| {
            known.set(*key, "rating", &Value::F64(*rating)).expect("it is declared");
            known
        })
    };
    let ratings = |site: &Site| site.get("/v1/attributes").done()["keys"].clone();
    let folder = folder("host-attributes");
    let columns = [RMS, MEAN];
    let start = || Site::start_on(&folder, Limits::default(), pump().attributes(known(&[("P1", 1.0)])), &columns);
    let mut site = start().await;
    site.row().await;
    let put = |site: &Site, body: &str| site.send("PUT", "/v1/attributes", Some(&site.tokens[1]), &[], body.as_bytes());
    let deployed = put(&site, r#"{ "keys": { "P2": { "rating": 7 } } }"#).done();
    // More than revisions are kept: those that were deployed are not forgotten for them.
    for turn in 0..REVISIONS_KEPT + 5 {
        let now = known(&[("P1", 2.0 + turn as f64), ("P2", 3.0)]);
        let outcome = site.deployer.host_attributes(None, now, "as of then", "a topic").await.expect("it applies");
        assert_eq!(outcome.changes, "~ attributes of keys (as of then)");
    }
    let last = 2.0 + (REVISIONS_KEPT + 4) as f64;
    assert_eq!(ratings(&site), json!({ "P1": { "rating": last }, "P2": { "rating": 7.0 } }));
    let records = site.deployer.records();
    let facts = records.iter().filter(|record| record.kind == Kind::Facts).count();
    assert_eq!((facts, records.len()), (REVISIONS_KEPT, REVISIONS_KEPT + 2));
    let record = &records[records.len() - 1];
    assert_eq!((record.who.as_str(), record.positions.get(&0)), ("a topic", Some(&Offset(1))));
    let same = site.deployer.host_attributes(None, known(&[("P1", last), ("P2", 3.0)]), "", "a topic").await;
    assert_eq!(same.expect("it is fine").verdict, "unchanged");
    let wrong = Attributes::new().declare("rating", ElementType::Str);
    let refused = site.deployer.host_attributes(None, wrong, "", "a topic").await.expect_err("7 is no text");
    assert_eq!(refused.code, "bad-attribute");
    // Going back takes back what was deployed, not what the host knows.
    let base = deployed["base"].as_u64().expect("a number");
    post(&site, &format!("/v1/revisions/{base}/rollback")).done();
    assert_eq!(ratings(&site), json!({ "P1": { "rating": last }, "P2": { "rating": 3.0 } }));
    site.end().await;
    let site = start().await;
    assert_eq!(ratings(&site), json!({ "P1": { "rating": 1.0 } }), "the next start has what the host knows then");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_do_not_run_are_listed_with_how_they_stand() {
    let site = Site::start(&folder("stand"), Limits::default()).await;
    let waits = r#"{ "topology": "pump", "node": [
        { "id": "late", "pending": true, "needs": ["later: f32"], "provides": ["x: f32"],
          "operator": { "rolling": { "rows": 3, "stats": ["mean"] } } },
        { "id": "own", "needs": ["vibration.rms: f32"], "provides": ["y: f32"], "keys": "P1",
          "operator": { "rolling": { "rows": 3, "stats": ["mean"] } } } ] }"#;
    site.put_nodes("", &[], &[("manifest", waits.as_bytes())]).done();
    assert_eq!((state(&site, "late").as_str(), state(&site, "own@P1").as_str()), ("pending", "unused"));
    let sink = r#"{ "topology": "pump", "sink": "out", "id": "ys", "asks": ["y"] }"#;
    site.put_nodes("", &[], &[("manifest", sink.as_bytes())]).done();
    assert_eq!(state(&site, "own@P1"), "running");
    site.end().await;
}

#[test]
fn the_table_of_moves_is_a_function_and_leads_somewhere() {
    for (from, by, _) in &MOVES {
        let same = MOVES.iter().filter(|(other, what, _)| (other, what) == (from, by)).count();
        assert_eq!(same, 1, "{from} has two ends for {by:?}");
    }
    // What is staged can come to its end, and nothing comes back from there.
    let run = [Move::Switch, Move::Quarantine, Move::Pause, Move::Resume, Move::Replace, Move::Remove, Move::Drain];
    let end = run.iter().try_fold(NodeState::Staged, |state, what| state.after(*what));
    assert_eq!(end, Some(NodeState::Retired));
    assert!(MOVES.iter().all(|(from, ..)| *from != NodeState::Retired));
    assert_eq!(NodeState::Draining.after(Move::Resume), None);
}
