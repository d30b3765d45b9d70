//! Deployments over HTTP while rows flow: a dry run says what the deed does, a repeated request has one effect, what is
//! refused changes nothing, and what was answered is there after a restart.

use gristmill_admin::Limits;
use gristmill_tests::support::constants::resident_bytes;
use gristmill_tests::support::site::{Site, folder};
use serde_json::json;

const MANIFEST: &str = r#"{
    "topology": "pump",
    "needs": ["vibration.rms: f32", "temperature.mean: f32"],
    "provides": ["anomaly: f32"],
    "model": { "onnx": "../anomaly.onnx" }
}"#;

fn model() -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/topologies/models/anomaly.onnx");
    std::fs::read(path).expect("the example's model is there")
}

/// The names of running nodes.
fn names(site: &Site) -> Vec<String> {
    let nodes = site.get("/v1/nodes").done();
    let nodes = nodes["nodes"].as_array().expect("a list").iter();
    let running = nodes.filter(|node| node["state"] == "running");
    running.map(|node| node["id"].as_str().expect("a name").to_owned()).collect()
}

/// The revisions that scored, one for each score since it was asked last.
fn scored(site: &Site) -> Vec<u64> {
    let values = site.values.take();
    values.iter().filter(|value| &*value.stream == "anomaly").map(|value| value.revision.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_deployed_kept_and_gone_back_from() {
    let folder = folder("deploy");
    let mut site = Site::start(&folder, Limits::default()).await;
    let model = model();
    // The name of an artifact is a name and no path: this one leads nowhere.
    let parts: &[(&str, &[u8])] = &[("manifest", MANIFEST.as_bytes()), ("../anomaly.onnx", &model)];
    site.row().await;

    let looked = site.put_nodes("?dry_run", &[], parts).done();
    assert_eq!(looked["verdict"], "dry_run");
    assert!(!names(&site).contains(&"anomaly".to_owned()));
    let once = [("Idempotency-Key", "k1"), ("If-Match", "\"1\"")];
    let done = site.put_nodes("", &once, parts).done();
    assert_eq!((&done["verdict"], &done["changes"], &done["base"]), (&json!("applied"), &looked["changes"], &json!(1)));
    let revision = done["revision"].as_u64().expect("a number");
    assert_eq!(site.get("/v1/nodes/anomaly").done()["born"], json!(revision));

    let again = site.put_nodes("", &once, parts).done();
    assert_eq!((&again["revision"], &again["repeated"]), (&done["revision"], &json!(true)));
    let other = site.put_nodes("", &once, &[("remove", b"anomaly")]);
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency-key"));
    let stale = site.put_nodes("", &[("If-Match", "1")], &[("remove", b"anomaly")]);
    assert_eq!((stale.status, stale.code().as_str()), (409, "stale-revision"));

    site.row().await;
    site.row().await;
    assert_eq!(scored(&site), [revision; 2]);
    let known = site.get("/v1/keys/P1").done();
    assert_eq!(known["nodes"]["anomaly"]["state"]["is"], "running", "{known}");
    let text = site.get("/v1/nodes/anomaly/explain?key=P1").done();
    assert!(text["text"].as_str().is_some_and(|text| text.contains("anomaly")), "{text}");
    site.end().await;

    let mut site = Site::start(&folder, Limits::default()).await;
    assert!(names(&site).contains(&"anomaly".to_owned()));
    site.row().await;
    assert_eq!(scored(&site), [revision], "it runs under the number that it had");
    assert_eq!(site.put_nodes("", &once, parts).done()["repeated"], json!(true));

    let token = Some(site.tokens[1].as_str());
    let back = site.send("POST", "/v1/revisions/1/rollback", token, &[], b"").done();
    assert!(back["revision"].as_u64() > Some(revision), "{back}");
    assert!(back["changes"].as_str().is_some_and(|changes| changes.starts_with("- anomaly\n")), "{back}");
    assert!(!names(&site).contains(&"anomaly".to_owned()));
    let diff = site.get(&format!("/v1/revisions/{revision}/diff")).done();
    assert_eq!(diff["topologies"]["pump"]["removed"], json!(["anomaly"]));
    let forth = site.send("POST", &format!("/v1/revisions/{revision}/rollback"), token, &[], b"").done();
    assert_eq!(forth["changes"], done["changes"]);
    assert!(names(&site).contains(&"anomaly".to_owned()));
    let removed = site.send("DELETE", "/v1/nodes/anomaly", token, &[], b"").done();
    assert_eq!(removed["changes"], back["changes"]);

    let audit = site.send("GET", "/v1/audit", Some(&site.tokens[2]), &[], b"").done();
    let lines = audit["lines"].as_array().expect("a list");
    let applied = lines.iter().filter(|line| line["what"] == "applied" && line["who"] == "deployer").count();
    assert_eq!(applied, 4, "{audit}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_changes_nothing_and_is_recorded() {
    let mut site = Site::start(&folder("refused"), Limits::default()).await;
    let before = names(&site);
    let model = model();
    let manifest = MANIFEST.as_bytes();
    let unmet = MANIFEST.replace("temperature.mean", "temperature.maen");
    let outside = r#"{ "topology": "pump", "needs": ["vibration.rms: f32"], "provides": ["x: f32"],
        "model": { "onnx": "/etc/passwd" } }"#;
    let elsewhere = MANIFEST.replace("\"pump\"", "\"mill\"");
    type Case<'a> = (&'a str, Vec<(&'a str, &'a [u8])>, &'a str);
    let cases: [Case<'_>; 9] = [
        ("bad-manifest", vec![("manifest", b"{")], "manifest"),
        ("bad-manifest", vec![("manifest", manifest)], "was not sent"),
        ("bad-manifest", vec![("manifest", manifest), ("../anomaly.onnx", &model[..model.len() / 2])], "anomaly.onnx"),
        ("bad-manifest", vec![("manifest", outside.as_bytes())], "was not sent"),
        ("unused-artifact", vec![("manifest", manifest), ("../anomaly.onnx", &model), ("b", b"")], "`b`"),
        ("does-not-resolve", vec![("manifest", unmet.as_bytes()), ("../anomaly.onnx", &model)], "temperature.mean"),
        ("unknown-topology", vec![("manifest", elsewhere.as_bytes()), ("../anomaly.onnx", &model)], "mill"),
        ("unknown-node", vec![("remove", b"nobody")], "nobody"),
        ("nothing-to-do", vec![], "no manifest"),
    ];
    for (code, parts, word) in &cases {
        let looked = site.put_nodes("?dry_run=true", &[], parts);
        let answer = site.put_nodes("", &[], parts);
        assert_eq!(&answer.code(), code, "{answer:?}");
        assert!(answer.text.contains(word), "{word}: {answer:?}");
        assert_eq!(answer.text, looked.text, "a dry run says the same");
    }
    assert_eq!(names(&site), before);
    let revisions = site.get("/v1/revisions").done();
    let refused = revisions["revisions"].as_array().expect("a list").iter();
    let refused: Vec<_> = refused.filter(|record| record["verdict"]["is"] == "refused").collect();
    assert_eq!((refused.len(), &revisions["in_force"]), (cases.len(), &json!(1)), "{revisions}");
    let number = refused[0]["revision"].as_u64().expect("a number");
    let token = Some(site.tokens[1].as_str());
    let back = site.send("POST", &format!("/v1/revisions/{number}/rollback"), token, &[], b"");
    assert_eq!(back.code(), "unknown-revision");

    let kept = site.send("PUT", "/v1/artifacts", token, &[], &model).done();
    let digest = kept["sha256"].as_str().expect("a hash");
    let done =
        site.put_nodes("", &[], &[("manifest", manifest), ("artifact:../anomaly.onnx", digest.as_bytes())]).done();
    assert_eq!(done["verdict"], "applied");
    site.row().await;
    assert_eq!(scored(&site).len(), 1);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_artifact_is_loaded_once_however_often_it_is_named() {
    let site = Site::start(&folder("deploy_named"), Limits::default()).await;
    let large = vec![7; 16 * 1024 * 1024];
    let stored = site.send("PUT", "/v1/artifacts", Some(&site.tokens[1]), &[], &large).done();
    let digest = stored["sha256"].as_str().expect("a hash").to_owned();
    let names: Vec<String> = (0..200).map(|number| format!("artifact:x{number}.onnx")).collect();
    let one = MANIFEST.replace("../anomaly.onnx", "other.onnx");
    let family = MANIFEST.replace("../anomaly.onnx", "{key}.onnx");
    let before = resident_bytes();
    for manifest in [one, family] {
        let mut parts: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), digest.as_bytes())).collect();
        parts.push(("manifest", manifest.as_bytes()));
        // It is no model.
        let refused = site.put_nodes("?dry_run=true", &[], &parts);
        assert_eq!(refused.code(), "bad-manifest");
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 256 * 1024 * 1024, "it holds {grown} bytes more");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_leaves_little_behind() {
    let site = Site::start(&folder("deploy_refused"), Limits::default()).await;
    let long = "x".repeat(1_000_000);
    for part in ["remove", "reset"] {
        let refused = site.put_nodes("", &[], &[(part, long.as_bytes())]);
        assert_eq!(refused.code(), "bad-body");
        assert!(refused.text.len() < 10_000, "{} bytes", refused.text.len());
    }
    let fields: Vec<String> = (0..20_000).map(|number| format!("\"field{number}\": 1")).collect();
    let manifest = format!("{{ \"topology\": \"pump\", {} }}", fields.join(", "));
    let refused = site.put_nodes("", &[], &[("manifest", manifest.as_bytes())]);
    assert_eq!(refused.code(), "bad-manifest");
    assert!(refused.text.len() > 500_000, "whoever sent it is told everything");
    let revisions = site.get("/v1/revisions").text;
    assert!(revisions.len() < 100_000 && revisions.contains("bytes more"), "{} bytes", revisions.len());
    site.end().await;
}
