//! `grist token`, and `grist run --registry --admin`: the API listens, and denies whoever has no token.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Running, TOPOLOGY, file, folder, run};

/// The status line and body of a request.
fn get(address: &str, path: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the API listens");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn a_token_is_made_listed_and_ended() {
    let registry = folder("token").join("registry");
    let registry = registry.to_str().expect("the path is text");
    let made = run(&["token", "create", "ci", "--registry", registry, "--scope", "deploy", "--days", "90"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.stdout.starts_with("grist_"), "{made:?}");
    let kept = std::fs::read_to_string(format!("{registry}/tokens.json")).expect("the file of tokens");
    assert!(!kept.contains(made.stdout.trim()), "the token itself is kept");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(format!("{registry}/tokens.json")).expect("as above").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let again = run(&["token", "create", "ci", "--registry", registry, "--scope", "read"]);
    assert_eq!(again.code, 3, "{again:?}");
    assert!(again.stderr.contains("there is a token `ci` already"), "{again:?}");
    assert_eq!(run(&["token", "list", "--registry", registry]).stdout, "ci  deploy  ends in 90 days\n");
    assert_eq!(run(&["token", "revoke", "ci", "--registry", registry]).code, 0);
    assert_eq!(run(&["token", "list", "--registry", registry]).stdout, "");
}

#[test]
fn the_api_listens_beside_what_runs() {
    let folder = folder("run-admin");
    let topology = file(&folder, "topology.toml", TOPOLOGY);
    let registry = folder.join("registry");
    let registry = registry.to_str().expect("the path is text");
    let made = run(&["token", "create", "me", "--registry", registry, "--scope", "read"]);
    let token = made.stdout.trim();
    let running = Running::start(&topology, registry);
    let known = get(&running.address, "/v1/topologies", token);
    assert!(known.starts_with("HTTP/1.1 200") && known.contains("\"class\":\"pump\""), "{known}");
    let metrics = get(&running.address, "/metrics", token);
    // Histograms, not summaries: their quantiles can be read off over processes and time.
    for le in ["0.0005", "0.01", "1", "86400", "+Inf"] {
        let bucket = format!("gristmill_batch_seconds_bucket{{class=\"pump\",le=\"{le}\"}}");
        assert!(metrics.contains(&bucket), "no {bucket} in {metrics}");
    }
    let stranger = get(&running.address, "/v1/topologies", "grist_0");
    assert!(stranger.starts_with("HTTP/1.1 401"), "{stranger}");
    let second = run(&["run", &topology, "--registry", registry]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains("is used by another process"), "{second:?}");
}

#[test]
fn an_api_needs_a_registry_and_an_address_of_this_machine() {
    let ended = run(&["run", "a.toml", "--admin", "127.0.0.1:0"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    let folder = folder("run-admin-beyond");
    let topology = file(&folder, "topology.toml", TOPOLOGY);
    let registry = folder.join("registry");
    let ended = run(&["run", &topology, "--admin", "0.0.0.0:0", "--registry", registry.to_str().expect("text")]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("which others can reach"), "{ended:?}");
}
