//! The API does what its description says: schemathesis reads the description, sends what it allows and what it does
//! not, and checks every answer against it.

use std::path::Path;

use gristmill_admin::Limits;
use gristmill_tests::support::python;
use gristmill_tests::support::site::{ANOMALY, Site, anomaly, folder};
use serde_json::{Value, json};

async fn site(name: &str) -> Site {
    let site = Site::start(&folder(name), Limits { requests_per_second: 1_000_000, ..Limits::default() }).await;
    site.put_nodes("", &[], &[("manifest", ANOMALY.as_bytes()), ("anomaly.onnx", &anomaly())]).done();
    site
}

fn description(site: &Site) -> Value {
    site.get("/v1/openapi.json").done()
}

/// Tries the API by a description.
fn try_by(site: &Site, description: &Value, more: &[&str]) -> Result<(), String> {
    let path = site.folder.join("openapi.json");
    std::fs::write(&path, description.to_string()).expect("the folder can be written");
    let (path, url) = (path.display().to_string(), format!("http://{}", site.listening.address()));
    let token = format!("Authorization: Bearer {}", site.tokens[2]);
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/schemathesis.toml");
    // The same requests each time: some that are drawn otherwise are sent without what makes them wrong.
    let same = ["--seed", "1", "--generation-deterministic"];
    let all = [&["--config-file", config, "run", &path, "--url", &url, "-H", &token, "--no-color"], &same[..]].concat();
    // It leaves what it has seen in the folder where it runs.
    let name = site.folder.file_name().expect("each test has a folder");
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis").join(name);
    let _ = std::fs::remove_dir_all(&own); // what an earlier run left
    std::fs::create_dir_all(&own).expect("the folder of temporary files can be written");
    python::run_in(&own, "schemathesis", &[&all[..], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_violation_of_the_description() {
    let site = site("openapi").await;
    try_by(&site, &description(&site), &[]).unwrap_or_else(|said| panic!("{said}"));
    site.end().await;
}

/// Whether a pattern of the description takes a text; the one who says is Python, as Rust's patterns cannot look ahead.
fn takes(pattern: &str, text: &str) -> bool {
    let script = "import re, sys; sys.exit(0 if re.search(sys.argv[1], sys.argv[2]) else 1)";
    python::run("python", &["-c", script, pattern, text]).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_needed_to_explain_alone_and_nodes_of_single_keys_can_be_named() {
    let site = site("openapi_parameters").await;
    let described = description(&site);
    let parameter = |path: &str, name: &str| -> Value {
        let all = described["paths"][path]["get"]["parameters"].as_array();
        let found = all.into_iter().flatten().find(|parameter| parameter["name"] == name);
        found.unwrap_or_else(|| panic!("{path} has no `{name}`")).clone()
    };
    for (path, needed, status) in [("/v1/dead-letters", false, 200), ("/v1/nodes/{id}/explain", true, 400)] {
        assert_eq!(parameter(path, "key")["required"], needed, "{path}");
        assert_eq!(site.get(&path.replace("{id}", "anomaly")).status, status, "{path}");
    }
    assert_eq!(site.get("/v1/dead-letters?node=").status, 200);
    assert!(parameter("/v1/dead-letters", "node")["schema"]["minLength"].is_null());

    let id = parameter("/v1/nodes/{id}", "id");
    let (pattern, longest) = (id["schema"]["pattern"].as_str(), id["schema"]["maxLength"].as_u64());
    let (pattern, longest) = (pattern.expect("a pattern"), longest.expect("a length"));
    let long = format!("{}@{}", "a".repeat(200), "ü".repeat(200));
    for name in ["a", "a.b:c/d-e_1", "a@P1", "a@P*", "a@model=X 200", "anomaly@Pümpe@2", long.as_str()] {
        assert!(takes(pattern, name) && name.chars().count() as u64 <= longest, "{name}");
        let path: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = site.get(&format!("/v1/nodes/{path}"));
        assert_eq!(answer.code(), "unknown-node", "{name}: {answer:?}");
    }
    let too_long = format!("{}@P1", "a".repeat(201));
    for name in ["", "@P1", "a b", "a..b", ".a", "a@P\n1", "a@\u{9b}", too_long.as_str()] {
        assert!(!takes(pattern, name), "{name:?}");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_is_wrong_is_found() {
    let site = site("openapi_wrong").await;
    let mut wrong = description(&site);
    wrong["components"]["schemas"]["Topologies"]["properties"]["topologies"]["items"]["properties"]["keys"] =
        json!({ "type": "string" });
    let said = try_by(&site, &wrong, &["--include-path", "/v1/topologies"]).expect_err("it is wrong");
    assert!(said.contains("is not of type \"string\""), "{said}");
    let mut wrong = description(&site);
    wrong["paths"]["/v1/attributes"]["put"]["requestBody"]["content"]["application/json"]["schema"] =
        json!({ "type": "object", "maxProperties": 0, "additionalProperties": false });
    wrong["components"]["schemas"]["Problem"]["properties"]["code"] = json!({ "const": "other" });
    let said = try_by(&site, &wrong, &["--include-path", "/v1/attributes"]).expect_err("it is wrong");
    assert!(said.contains("other"), "{said}");
    site.end().await;
}
