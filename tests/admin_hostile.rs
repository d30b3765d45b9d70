//! Clients that mean harm get nothing out of the admin API and do not stop it: slow, huge, deep and packed bodies, and the
//! ways in which model servers and job servers were broken into before.
#![expect(clippy::disallowed_methods, reason = "waits for connections, whose time no Clock of ours can drive")]

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gristmill_admin::{Body, Limits, ROUTES};
use gristmill_tests::support::site::{ANOMALY, Site, anomaly, folder};

fn limits() -> Limits {
    Limits {
        head_time: Duration::from_secs(1),
        body_time: Duration::from_secs(1),
        body_bytes: 100_000,
        requests_per_second: 1_000_000,
        ..Limits::default()
    }
}

/// A connection on which bytes are sent as they are.
fn connect(site: &Site) -> TcpStream {
    let stream = TcpStream::connect(site.listening.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket takes a time-out");
    stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a socket takes a time-out");
    stream
}

/// What comes until the other side closes or 10 s are over.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if ![ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()) => {
            panic!("the connection is still open: {error}; {}", String::from_utf8_lossy(&bytes))
        }
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

fn head(site: &Site, method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: plant\r\nAuthorization: Bearer {}\r\n{more}\r\n", site.tokens[1])
}

/// Bytes that this process has in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux says it");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4_096
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_let_go_and_keep_nobody_out() {
    // Longer than a busy machine holds anybody up: who waits for the slow ones waits for this.
    let patience = Duration::from_secs(5);
    let limits = Limits { head_time: patience, body_time: patience, ..limits() };
    let site = Site::start(&folder("hostile_slow"), limits).await;
    let mut slow_heads: Vec<TcpStream> = (0..100).map(|_| connect(&site)).collect();
    for stream in &mut slow_heads {
        stream.write_all(b"GET /v1/nodes HTTP/1.1\r\nHost: ").expect("it is taken");
    }
    let mut slow_body = connect(&site);
    let half = head(&site, "PUT", "/v1/artifacts", "Content-Length: 1000\r\n") + "half";
    slow_body.write_all(half.as_bytes()).expect("it is taken");
    let since = Instant::now();
    assert_eq!(site.get("/v1/nodes").status, 200);
    assert!(since.elapsed() < patience - Duration::from_secs(1), "others waited {:?}", since.elapsed());
    let said = answer(&mut slow_body);
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("too-slow"), "{said}");
    for mut stream in slow_heads {
        answer(&mut stream);
    }
    assert!(since.elapsed() < patience * 3, "slow heads were kept for {:?}", since.elapsed());
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_bodies_are_refused_without_being_kept() {
    let site = Site::start(&folder("hostile_huge"), limits()).await;
    let before = resident();
    for _ in 0..5 {
        let mut claimed = connect(&site);
        claimed
            .write_all(head(&site, "PUT", "/v1/artifacts", "Content-Length: 10000000000\r\n").as_bytes())
            .expect("sent");
        let said = answer(&mut claimed);
        assert!(said.starts_with("HTTP/1.1 413") && said.contains("body-too-large"), "{said}");
    }
    // Chunks of a byte each, and more of them than a body may have bytes.
    let mut endless = connect(&site);
    endless.write_all(head(&site, "PUT", "/v1/nodes", "Transfer-Encoding: chunked\r\n").as_bytes()).expect("sent");
    let chunks = "1\r\nx\r\n".repeat(10_000);
    let since = Instant::now();
    let closed = loop {
        match endless.write_all(chunks.as_bytes()) {
            Ok(()) => assert!(since.elapsed() < Duration::from_secs(8), "it is read without end"),
            Err(error) => break error,
        }
    };
    let is_open = [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&closed.kind());
    assert!(!is_open, "the connection is neither read nor closed: {closed}");
    let two = head(&site, "PUT", "/v1/artifacts", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n");
    let mut smuggled = connect(&site);
    smuggled.write_all(format!("{two}0\r\n\r\nGET /v1/audit HTTP/1.1\r\n\r\n").as_bytes()).expect("sent");
    let said = answer(&mut smuggled);
    assert!(said.starts_with("HTTP/1.1 4") && !said.contains("200 OK"), "{said}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "it holds {grown} bytes more");
    assert_eq!(site.get("/v1/nodes").status, 200);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_and_deep_bodies_are_refused_by_every_route() {
    let site = Site::start(&folder("hostile_deep"), limits()).await;
    let deep = format!("{}{}", "{\"a\":".repeat(15_000), "[".repeat(20_000));
    let mut tried = 0;
    for route in ROUTES.iter().filter(|route| route.takes != Body::None) {
        let path = route.path.replace("{id}", "anomaly").replace("{version}", "1");
        let token = Some(&*site.tokens[2]);
        let packed = site.send(route.method, &path, token, &[("Content-Encoding", "gzip")], b"\x1f\x8b");
        let reached = packed.code() == "unknown-model";
        assert!(reached || packed.code() == "content-encoding", "{path}: {packed:?}");
        if route.takes != Body::Bytes {
            let answer =
                site.send(route.method, &path, token, &[("Content-Type", "application/json")], deep.as_bytes());
            assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        }
        tried += 1;
    }
    assert!(tried > 8, "{tried} routes take a body");
    assert_eq!(site.get("/v1/nodes").status, 200);
    site.end().await;
}

/// Every file and folder below one.
fn below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("it is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.insert(path);
    }
    found
}

/// MLflow (CVE-2023-1177, 2024-1483, 2024-3848), Triton (CVE-2025-23316, 2026-47487): a client's name became a path.
#[tokio::test(flavor = "multi_thread")]
async fn no_name_of_a_client_becomes_a_path() {
    let place = folder("hostile_names");
    let site = Site::start(&place.join("registry"), limits()).await;
    std::fs::write(place.join("secret.onnx"), anomaly()).expect("a secret");
    let absolute = place.join("secret.onnx").display().to_string();
    let names = [
        "../secret.onnx",
        "../../secret.onnx",
        "..%2fsecret.onnx",
        "file:///etc/passwd",
        "a#/../secret.onnx",
        &absolute,
    ];
    let outside = |site: &Site| -> BTreeSet<PathBuf> {
        below(&place).into_iter().filter(|path| !path.starts_with(&site.folder)).collect()
    };
    let before = outside(&site);
    for name in names {
        // The artifact is not sent: it would have to be read from the disk.
        let manifest = ANOMALY.replace("anomaly.onnx", name);
        let asked = site.put_nodes("", &[], &[("manifest", manifest.as_bytes())]);
        assert!([400, 422].contains(&asked.status), "{name}: {asked:?}");
        // It is sent under such a name: the name is looked up among the parts, and stays one.
        let sent = site.put_nodes("", &[], &[("manifest", manifest.as_bytes()), (name, &anomaly())]);
        assert!([200, 400, 422].contains(&sent.status), "{name}: {sent:?}");
        let id = ANOMALY.replacen("\"topology\"", &format!("\"id\": {}, \"topology\"", serde_json::json!(name)), 1);
        let named = site.put_nodes("", &[], &[("manifest", id.as_bytes()), ("anomaly.onnx", &anomaly())]);
        assert!([400, 422].contains(&named.status), "{name}: {named:?}");
    }
    assert_eq!(outside(&site), before);
    let digest = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.len() >= 62);
    let artifacts = below(&site.folder.join("artifacts/sha256"));
    assert!(artifacts.iter().filter(|path| path.is_file()).all(digest), "{artifacts:?}");
    site.end().await;
}

/// TorchServe (CVE-2023-43654, CVE-2024-35198): a model was fetched from any URL. Kafka clients (CVE-2025-27817): so was a
/// token, by a property.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_from_where_a_client_says() {
    let site = Site::start(&folder("hostile_urls"), limits()).await;
    let trap = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    trap.set_nonblocking(true).expect("a socket does not wait");
    let address = trap.local_addr().expect("it has an address");
    for url in [format!("http://{address}/a.onnx"), format!("//{address}/a"), format!("s3://{address}/a")] {
        let manifest = ANOMALY.replace("anomaly.onnx", &url);
        let answer = site.put_nodes("", &[], &[("manifest", manifest.as_bytes())]);
        assert!([400, 422].contains(&answer.status), "{url}: {answer:?}");
    }
    let properties =
        r#"{ "topology": "pump", "source": { "kind": "kafka", "sasl.oauthbearer.token.endpoint.url": "file:///x" } }"#;
    let answer = site.put_nodes("", &[], &[("manifest", properties.as_bytes())]);
    assert_eq!(answer.code(), "bad-manifest", "{answer:?}");
    let came = trap.accept();
    assert!(came.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "somebody came");
    site.end().await;
}

/// Ray (CVE-2026-27482, CVE-2023-48022): another site's page reached the API; one method was closed and another not.
/// Triton (CVE-2025-23319): shared memory was registered by name.
#[tokio::test(flavor = "multi_thread")]
async fn other_sites_pages_and_other_methods_get_nowhere() {
    let site = Site::start(&folder("hostile_sites"), limits()).await;
    let reader = Some(&*site.tokens[0]);
    site.put_nodes("", &[], &[("manifest", ANOMALY.as_bytes()), ("anomaly.onnx", &anomaly())]).done();
    for method in ["OPTIONS", "TRACE", "PATCH", "CONNECT", "DELETE", "POST", "HEAD"] {
        let mut stream = connect(&site);
        let asked = format!(
            "{method} /v1/nodes HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nConnection: close\r\n\
             Access-Control-Request-Method: PUT\r\n\r\n"
        );
        stream.write_all(asked.as_bytes()).expect("sent");
        let said = answer(&mut stream).to_lowercase();
        assert!(said.starts_with("http/1.1 40"), "{method}: {said}");
        assert!(!said.contains("access-control-allow"), "{method}: {said}");
    }
    for header in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        assert_eq!(site.send("GET", "/v1/nodes/anomaly", reader, &[(header, "DELETE")], b"").status, 200);
    }
    assert_eq!(site.send("DELETE", "/v1/nodes/anomaly", reader, &[], b"").code(), "forbidden");
    assert_eq!(site.get("/v1/nodes/anomaly").done()["state"], "running");
    for path in
        ["/v2/systemsharedmemory/region/x/register", "/v2/cudasharedmemory/status", "/v2/trace/setting", "/v2/logging"]
    {
        assert_eq!(site.send("POST", path, Some(&site.tokens[2]), &[], b"{}").code(), "unknown-route", "{path}");
    }
    let page = site.send("GET", "/v1/docs/..%2f..%2fCargo.toml", None, &[], b"");
    assert_eq!(page.code(), "unknown-route", "{page:?}");
    site.end().await;
}
