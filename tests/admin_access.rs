//! Who may do what: each route with every kind of token, drawn from the table of routes; limits; what is no route.

use std::time::Duration;

use gristmill_admin::{CODES, Limits, ROUTES, Scope};
use gristmill_tests::support::site::{Site, folder};

fn filled(path: &str) -> String {
    path.replace("{id}", "x")
        .replace("{n}", "1")
        .replace("{version}", "1")
        .replace("{file}", "index.html")
        .replace("{key}", "P1")
        .replace("{class}", "pump")
        .replace("{sha256}", "0")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_for_its_scope() {
    let site = Site::start(&folder("access"), Limits { requests_per_second: 10_000, ..Limits::default() }).await;
    let [read, deploy, admin, old] = site.tokens.clone();
    let longer = format!("{read}0");
    let tokens = [
        (None, None),
        (Some("guess"), None),
        (Some(longer.as_str()), None),
        (Some(old.as_str()), None),
        (Some(read.as_str()), Some(Scope::Read)),
        (Some(deploy.as_str()), Some(Scope::Deploy)),
        (Some(admin.as_str()), Some(Scope::Admin)),
    ];
    let mut denied = 0;
    for route in &ROUTES {
        for (token, scope) in &tokens {
            let answer = site.send(route.method, &filled(route.path), *token, &[], b"");
            let what = format!("{} {} with {scope:?}: {answer:?}", route.method, route.path);
            let expected = match scope {
                _ if route.scope == Scope::Open => None,
                None if *token == Some(old.as_str()) => Some((401, "expired-token")),
                None => Some((401, "unauthorized")),
                Some(scope) if *scope < route.scope => Some((403, "forbidden")),
                Some(_) => None,
            };
            match expected {
                Some((status, code)) => {
                    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}");
                    denied += 1;
                }
                None => assert!(![401, 403, 405, 429].contains(&answer.status), "{what}"),
            }
        }
    }
    let guarded = ROUTES.iter().filter(|route| route.scope != Scope::Open).count();
    assert!(denied > 4 * guarded && guarded > 30, "{denied} requests were denied");

    for path in ["/", "/v2/", "/v1/nodes/", "/v1/nodes/a/b", "/v1//nodes", "/v1/../v1/nodes", "/metrics/x"] {
        assert_eq!(site.send("GET", path, None, &[], b"").status, 401, "{path}");
        assert_eq!(site.get(path).code(), "unknown-route", "{path}");
    }
    assert_eq!(site.send("DELETE", "/v1/keys/P1", Some(&admin), &[], b"").code(), "method-not-allowed");
    gristmill_admin::TokenFile::revoke(&site.folder.join("tokens.json"), "reader").expect("it is there");
    assert_eq!(site.get("/v1/nodes").code(), "unauthorized");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_by_its_limit() {
    let limits = Limits { body_bytes: 1_000, parts: 2, ..Limits::default() };
    let site = Site::start(&folder("limits"), limits).await;
    let deploy = Some(site.tokens[1].as_str());
    let large = site.send("PUT", "/v1/artifacts", deploy, &[], &[0; 1_001]);
    assert_eq!((large.status, large.code().as_str()), (413, "body-too-large"));
    assert_eq!(site.send("PUT", "/v1/artifacts", deploy, &[], &[0; 1_000]).status, 200);
    let many = site.put_nodes("", &[], &[("a", b""), ("b", b""), ("c", b"")]);
    assert!(many.code() == "bad-body" && many.text.contains("more than 2 parts"), "{many:?}");
    let deep = format!("{{\"a\":{}", "[".repeat(900));
    let deep = site.send("PUT", "/v1/nodes", deploy, &[], deep.as_bytes());
    assert_eq!(deep.code(), "bad-manifest", "{deep:?}");

    for name in ["%2e%2e%2fetc", "a%00", "a%0ab", "%ff", "a%23b", &"x".repeat(10_000)] {
        let answer = site.get(&format!("/v1/nodes/{name}"));
        assert!(["bad-path", "unknown-route"].contains(&answer.code().as_str()), "{name}: {answer:?}");
    }
    assert_eq!(site.get("/v1/artifacts/..%2f..%2ftokens.json").code(), "bad-path");
    assert_eq!(site.get("/v1/revisions/-1").code(), "bad-path");
    assert_eq!(site.get("/v1/nodes?tpo=cost").code(), "bad-query");
    assert_eq!(site.get(&format!("/v1/artifacts/{}", "0".repeat(64))).code(), "unknown-artifact");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_too_fast_are_refused_and_strangers_take_nothing_from_others() {
    let site = Site::start(&folder("rate"), Limits { requests_per_second: 5, ..Limits::default() }).await;
    let strangers = (0..30).map(|_| site.send("GET", "/v1/nodes", None, &[], b"").status);
    let strangers: Vec<u16> = strangers.collect();
    assert!(strangers.contains(&401) && strangers.contains(&429), "{strangers:?}");
    assert_eq!(site.get("/v1/nodes").status, 200);
    let known: Vec<u16> = (0..30).map(|_| site.get("/v1/nodes").status).collect();
    assert!(known.contains(&429), "{known:?}");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(site.get("/v1/nodes").status, 200);
    site.end().await;
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
    for (code, status, title) in CODES {
        let page = std::fs::read_to_string(folder.join(format!("{code}.md")))
            .unwrap_or_else(|error| panic!("docs/errors/{code}.md: {error}"));
        assert!(page.starts_with(&format!("# {code}\n\nStatus {status}. {title}.")), "docs/errors/{code}.md: {page}");
    }
    let pages = std::fs::read_dir(&folder).expect("docs/errors is there").count();
    assert_eq!(pages, CODES.len(), "docs/errors has a page for each code and no other");
}
