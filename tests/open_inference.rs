//! Clients of model servers work with the API unchanged: Triton's own client lists, reads, scores, unloads and loads, and
//! its scores are those of onnxruntime. Bodies that no good client sends are refused without harm.

use std::path::{Path, PathBuf};

use gristmill::Stream;
use gristmill::topology::{Topology, all_models, sensor, sink};
use gristmill_admin::Limits;
use gristmill_tests::support::python;
use gristmill_tests::support::site::{ANOMALY, MEAN, RMS, Site, anomaly, folder};
use serde_json::json;

const WEAR: &str = r#"{ "topology": "pump", "needs": ["vibration.rms: f32", "anomaly: f32"],
    "provides": ["wear: f32"], "model": { "onnx": "wear/{key}.onnx", "default": "default.onnx" } }"#;
const STATE: &str = r#"{ "topology": "pump", "needs": ["s0: f32", "s1: f32", "s2: f32", "s3: f32", "s4: f32", "s5: f32"],
    "provides": ["state: str", "share: f32[3]"], "model": { "onnx": "state.onnx" } }"#;
const MANY: [Stream<f32>; 6] =
    [Stream::new("s0"), Stream::new("s1"), Stream::new("s2"), Stream::new("s3"), Stream::new("s4"), Stream::new("s5")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| {
        panic!("{}: {error}; `bash scripts/test models` exports what is not in the repository", path.display())
    })
}

/// A system with three models.
async fn site(name: &str, limits: Limits) -> Site {
    let sensors = MANY.into_iter().fold(Topology::new("pump"), |plant, stream| plant.with(sensor(stream)));
    let plant = sensors.with(sensor(RMS)).with(sensor(MEAN)).with(sink("out").needs(all_models()));
    let columns: Vec<Stream<f32>> = MANY.into_iter().chain([RMS, MEAN]).collect();
    let site = Site::start_on(&folder(name), limits, plant, &columns).await;
    let models = root().join("examples/topologies/models");
    let (anomaly, default) = (anomaly(), bytes(&models.join("wear/default.onnx")));
    let wear = bytes(&models.join("wear/machine-1.onnx"));
    let state = bytes(&root().join("target/models/net_label_strings/model.onnx"));
    let parts: [(&str, &[u8]); 7] = [
        ("manifest", ANOMALY.as_bytes()),
        ("manifest", WEAR.as_bytes()),
        ("manifest", STATE.as_bytes()),
        ("anomaly.onnx", &anomaly),
        ("wear/machine-1.onnx", &wear),
        ("default.onnx", &default),
        ("state.onnx", &state),
    ];
    site.put_nodes("", &[], &parts).done();
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_client_lists_loads_unloads_and_infers() {
    let site = site("open_inference", Limits { requests_per_second: 10_000, ..Limits::default() }).await;
    let address = site.listening.address().to_string();
    let models = root().join("examples/topologies/models/wear");
    let paths = [
        models.join("machine-1.onnx"),
        models.join("default.onnx"),
        root().join("target/models/net_label_strings/model.onnx"),
    ];
    let paths = paths.map(|path| path.display().to_string());
    let arguments = ["tests/clients/open_inference.py", &address, &site.tokens[1], &paths[0], &paths[1], &paths[2]];
    python::run("python", &arguments).expect("it finds what it expects");
    let mut other = arguments;
    other.swap(3, 4);
    let said = python::run("python", &other).expect_err("it compares scores with those of the model");
    assert!(said.contains("Not equal to tolerance"), "{said}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_good_client_sends_is_refused() {
    let limits = Limits { requests_per_second: 10_000, body_bytes: 100_000, ..Limits::default() };
    let site = site("open_inference_bad", limits).await;
    let infer = |body: &str, headers: &[(&str, &str)]| {
        site.send("POST", "/v2/models/anomaly/infer", Some(&site.tokens[0]), headers, body.as_bytes())
    };
    let request = |shape: &str, data: &str| {
        let input = |name| format!(r#"{{ "name": "{name}", "datatype": "FP32", "shape": {shape}, {data} }}"#);
        format!(r#"{{ "inputs": [{}, {}] }}"#, input("vibration.rms"), input("temperature.mean"))
    };
    let good = infer(&request("[2, 1]", r#""data": [[1, null], [2.5]]"#), &[]);
    assert!(good.status == 400 && good.text.contains("more values"), "{good:?}");
    let good = infer(&request("[2, 1]", r#""data": [[1], [null]]"#), &[]).done();
    assert_eq!((&good["outputs"][0]["shape"], &good["model_name"]), (&json!([2]), &json!("anomaly")));

    let deep = format!(r#""data": {}"#, "[".repeat(40_000));
    let deep_closed = format!(r#""data": {}{}"#, "[".repeat(20_000), "]".repeat(20_000));
    let long = format!("[{}1]", "1,".repeat(20_000));
    let bad = [
        request("[18446744073709551615, 1]", r#""data": [1]"#),
        request("[18446744073709551616]", r#""data": [1]"#),
        request("[100000000000]", r#""data": [1]"#),
        request("[-1]", r#""data": [1]"#),
        request("[2]", r#""data": [1]"#),
        request("[1]", r#""data": ["1"]"#),
        request("[1]", r#""data": [true]"#),
        request("[1]", r#""data": {"a": 1}"#),
        request("[1]", r#""parameters": { "binary_data_size": 4 }"#),
        request("[1]", r#""parameters": { "shared_memory_region": "x" }"#),
        request(&long, r#""data": [1]"#),
        request("[1]", &deep),
        request("[1]", &deep_closed),
        r#"{ "inputs": [] }"#.to_owned(),
        "[]".to_owned(),
        String::new(),
        "\u{0}".repeat(1_000),
    ];
    for body in &bad {
        let answer = infer(body, &[]);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad-body"), "{body:.200}: {answer:?}");
        assert_eq!(answer.json()["error"], answer.json()["detail"]);
    }
    for length in ["1000000", "-1", "x"] {
        let answer = infer("{}", &[("Inference-Header-Content-Length", length)]);
        assert_eq!(answer.code(), "bad-header", "{length}: {answer:?}");
    }
    let packed = infer("{}", &[("Content-Encoding", "gzip")]);
    assert_eq!((packed.status, packed.code().as_str()), (415, "content-encoding"));
    let large = infer(&request("[13000]", &format!(r#""data": [{}1]"#, "1,".repeat(12_999))), &[]);
    assert!(large.code() == "body-too-large" && large.text.contains("limit for this model is 12500"), "{large:?}");
    let none = site.send(
        "POST",
        "/v2/models/wear/infer",
        Some(&site.tokens[0]),
        &[],
        br#"{"inputs":[],"parameters":{"key":"\u0001"}}"#,
    );
    assert_eq!(none.code(), "bad-path");
    site.end().await;
}
