//! The API does what its description says: schemathesis reads the description, sends what it allows and what it does
//! not, and checks every answer against it.

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
    let config = "tests/clients/schemathesis.toml";
    // The same requests each time: some that are drawn otherwise are sent without what makes them wrong.
    let same = ["--seed", "1", "--generation-deterministic"];
    let all = [&["--config-file", config, "run", &path, "--url", &url, "-H", &token, "--no-color"], &same[..]].concat();
    python::run("schemathesis", &[&all[..], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_violation_of_the_description() {
    let site = site("openapi").await;
    try_by(&site, &description(&site), &[]).unwrap_or_else(|said| panic!("{said}"));
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
