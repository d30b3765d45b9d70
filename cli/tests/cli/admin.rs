//! `grist token`, and `grist run --registry --admin`: the API listens, and denies whoever has no token.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use crate::support::{Running, TOPOLOGY, file, folder, run};

/// A source that ends.
const CSV: &str = "kind = \"csv\"\npath = \"rows.csv\"\nkey = \"machine\"\ntime = \"ts\"";

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
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("others could reach the admin API there"), "{ended:?}");
    assert!(!ended.stderr.contains("allow"), "there is no option that allows it: {ended:?}");
}

/// Bug: the API took its address after the start, so that one that was taken ended a run whose outputs were truncated already
/// and whose rows were written. Fix: the address is bound first.
#[test]
fn an_address_that_cannot_be_had_is_found_out_before_anything_runs() {
    let folder = folder("run-admin-taken");
    file(&folder, "rows.csv", "machine,ts,temperature\nP1,1000,50\nP1,2000,70\n");
    let out = file(&folder, "out.csv", "what was there\n");
    let text = TOPOLOGY
        .replace("kind = \"console\"", "kind = \"csv\"\npath = \"out.csv\"\ntruncate = true")
        .replace("kind = \"simulate\"\nmachines = 2\nrate = 20\nfor = \"120s\"", CSV);
    let topology = file(&folder, "topology.toml", &text);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let taken = taken.local_addr().map(|address| (address.to_string(), taken)).expect("it is bound");
    let damaged = folder.join("damaged");
    std::fs::create_dir(&damaged).expect("a folder");
    file(&damaged, "tokens.json", "no tokens");
    let fresh = folder.join("registry");
    for (address, registry, code, said) in [
        ("0.0.0.0:0", &fresh, 2, "others could reach"),
        (&*taken.0, &fresh, 1, "the admin API cannot listen there: Address already in use"),
        ("127.0.0.1:0", &damaged, 1, "is damaged"),
    ] {
        let registry = registry.to_str().expect("text");
        let ended = run(&["run", &topology, "--registry", registry, "--admin", address]);
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
        assert_eq!(std::fs::read_to_string(&out).expect("a file"), "what was there\n", "{address}");
        assert!(!Path::new(registry).join("revisions").exists(), "{address}: no revision was begun");
    }
}
