//! The commands that speak to a running system: what they show, what they change, and how they end when they cannot.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use crate::support::{Ended, Running, TOPOLOGY, file, folder, grist, run};

const MODEL: &str = r#"
topology = "pump"
[[node]]
needs = ["temperature: f32", "temperature.mean: f32"]
provides = ["anomaly: f32"]
model = { onnx = "anomaly.onnx" }

[[node]]
needs = ["temperature: f32"]
provides = ["temperature.mean: f32"]
operator = { rolling = { rows = 2, stats = ["mean"] } }
"#;

/// A node that no sink asks for.
const IDLE: &str = r#"
topology = "pump"
needs = ["temperature: f32"]
provides = ["idle: f32"]
operator = { rolling = { rows = 2, stats = ["mean"] } }
"#;

/// A running system, with a token for who may deploy.
struct System {
    _running: Running,
    url: String,
    folder: PathBuf,
    token: String,
}

impl System {
    fn start(name: &str) -> Self {
        let folder = folder(name);
        let topology = file(&folder, "topology.toml", TOPOLOGY);
        let registry = folder.join("registry");
        let registry = registry.to_str().expect("text");
        let token = run(&["token", "create", "me", "--registry", registry, "--scope", "deploy"]).stdout;
        let running = Running::start(&topology, registry);
        let url = format!("http://{}", running.address);
        Self { _running: running, url, folder, token: token.trim().to_owned() }
    }

    fn asked(&self, url: &str, token: &str, arguments: &[&str]) -> Ended {
        let mut command = grist(arguments);
        command
            .env("GRIST_SERVER", url)
            .env("GRIST_TOKEN", token)
            .env("GRIST_CONFIG", self.folder.join("servers.json"));
        let output = command.output().expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let code = output.status.code().expect("it ends by itself");
        let ended = Ended { code, stdout: text(output.stdout), stderr: text(output.stderr) };
        assert!(
            !format!("{}{}", ended.stdout, ended.stderr).contains(token),
            "{arguments:?} shows the token: {ended:?}"
        );
        ended
    }

    fn ask(&self, arguments: &[&str]) -> Ended {
        self.asked(&self.url, &self.token, arguments)
    }

    fn done(&self, arguments: &[&str]) -> Ended {
        let ended = self.ask(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended
    }

    /// A manifest with its model beside it.
    fn manifest(&self) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/topologies/models/anomaly.onnx");
        std::fs::copy(root, self.folder.join("anomaly.onnx")).expect("the example's model is there");
        file(&self.folder, "model.toml", MODEL)
    }
}

#[test]
fn a_model_is_previewed_deployed_looked_at_and_taken_back() {
    let system = System::start("remote");
    let manifest = system.manifest();
    let looked = system.done(&["preview", &manifest]);
    assert!(looked.stdout.contains("+ anomaly: temperature, temperature.mean → anomaly"), "{looked:?}");
    assert!(looked.stderr.contains("nothing was done"), "{looked:?}");
    let done = system.done(&["deploy", &manifest]);
    assert_eq!(done.stdout, looked.stdout, "the deed is told in the words of the preview");
    assert!(done.stderr.contains("revision 2 is in force"), "{done:?}");
    assert_eq!(system.done(&["deploy", &manifest]).stderr, "it is what runs already\n");

    let list = system.done(&["ls"]);
    assert!(list.stdout.lines().any(|line| line.starts_with("anomaly ") && line.contains("running")), "{list:?}");
    let list = system.done(&["ls", "--json"]).json();
    assert!(list["nodes"].as_array().is_some_and(|nodes| nodes.iter().any(|node| node["id"] == "anomaly")), "{list}");
    assert!(system.done(&["show", "anomaly"]).stdout.contains("model of `pump`, running since revision 2"));
    let key = system.done(&["ls", "--top", "cost", "--json"]).json();
    assert!(key["nodes"].is_array(), "{key}");
    assert_eq!(system.ask(&["explain", "anomaly", "--key", "nobody"]).code, 0);
    assert_eq!(system.done(&["keys", "nobody", "--json"]).json()["key"], "nobody");
    let top = system.done(&["top", "--once"]);
    assert!(top.stdout.contains("rows/s") && top.stdout.contains("anomaly"), "{top:?}");
    assert!(system.done(&["top", "--once", "--json"]).json()["nodes"].is_array());

    assert_eq!(system.done(&["pause", "anomaly"]).stdout, "~ anomaly: paused, its state stays\n");
    assert!(system.done(&["show", "anomaly"]).stdout.contains("paused since"));
    assert_eq!(system.done(&["resume", "anomaly"]).stdout, "~ anomaly: resumed\n");
    assert_eq!(system.done(&["reset", "temperature.mean"]).stdout, "~ temperature.mean: its state begins anew\n");

    assert!(system.done(&["rollback", "1"]).stdout.starts_with("- anomaly\n- temperature.mean\n"));
    let revisions = system.done(&["revisions"]);
    assert!(revisions.stdout.contains("rollback"), "{revisions:?}");
    assert_eq!(system.done(&["revisions", "2", "--json"]).json()["who"], "me");
    assert!(system.done(&["revisions", "2", "--diff", "1"]).stdout.contains("anomaly"));
    // Without a number: to what was in force before.
    assert!(
        system.done(&["rollback", "--json"]).json()["changes"].as_str().is_some_and(|text| text.contains("+ anomaly"))
    );
    // One that no sink asks for does not run, and is removed all the same.
    system.done(&["deploy", &file(&system.folder, "idle.toml", IDLE)]);
    let removed = system.done(&["remove", "idle"]);
    assert!(removed.stdout.is_empty() && removed.stderr.contains("what runs is as before"), "{removed:?}");
    let removed = system.done(&["remove", "anomaly", "temperature.mean"]);
    assert!(removed.stdout.starts_with("- anomaly\n- temperature.mean\n"), "{removed:?}");
}

/// Bug: `grist top | head` never ended. Fix: who reads no more ends it.
#[test]
fn top_ends_when_nobody_reads_it() {
    use std::io::{BufRead, BufReader};
    let system = System::start("remote-top");
    for json in [&["top"][..], &["top", "--json"]] {
        let mut command = grist(json);
        command
            .env("GRIST_SERVER", &system.url)
            .env("GRIST_TOKEN", &system.token)
            .env("GRIST_CONFIG", system.folder.join("servers.json"));
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
        let mut first = String::new();
        let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
        reader.read_line(&mut first).expect("a line");
        drop(reader);
        assert!(first.contains("revision"), "{first}");
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{json:?}");
    }
}

#[test]
fn what_goes_wrong_has_a_code_and_says_what_to_do() {
    let system = System::start("remote-wrong");
    let manifest = system.manifest();
    let missing = file(
        &system.folder,
        "missing.toml",
        &std::fs::read_to_string(&manifest).expect("as written").replace("anomaly.onnx", "none.onnx"),
    );
    let unmet = file(
        &system.folder,
        "unmet.toml",
        "topology = \"pump\"\nneeds = [\"wear: f32\"]\nprovides = [\"mean: f32\"]\noperator = { rolling = { rows = 2, stats = [\"mean\"] } }\n",
    );
    let text = file(&system.folder, "model.txt", "topology = \"pump\"\n");
    let bad = "topology = \"pump\"\nneeds = [\"temperature: f32\"]\nprovides = [\"other: f32\"]\nmodel = { onnx = \"bad.onnx\" }\n";
    file(&system.folder, "bad.onnx", "no model");
    let bad = file(&system.folder, "bad.toml", bad);
    let named = format!("{bad}:");
    let cases: [(&[&str], i32, &str); 13] = [
        (&["explain", "nobody", "--key", "P1"], 3, "there is no such node"),
        (&["deploy", &text], 3, "it is no manifest by its name; manifests are written as .toml or .json"),
        (&["deploy", &manifest, &bad], 3, &named),
        (&["deploy"], 2, "nothing is asked for"),
        (&["deploy", "none.toml"], 3, "none.toml"),
        (&["deploy", &missing], 3, "none.onnx"),
        (&["deploy", &unmet], 3, "does-not-resolve"),
        (&["deploy", &manifest, "--base", "7"], 3, "stale-revision"),
        (&["show", "nobody"], 3, "unknown-node"),
        (&["pause", "out"], 3, "illegal-move"),
        (&["rollback", "99"], 3, "unknown-revision"),
        (&["ls", "--server", "https://plant"], 2, "no TLS"),
        (&["ls", "--server", "nowhere"], 2, "neither"),
    ];
    for (arguments, code, said) in cases {
        let ended = system.ask(arguments);
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{arguments:?}: {ended:?}");
        let machine = system.ask(&[arguments, &["--json"]].concat());
        assert_eq!((machine.code, machine.json()["exit_code"].as_i64()), (code, Some(i64::from(code))), "{machine:?}");
    }
    let guessed = system.asked(&system.url, "grist_guess", &["ls"]);
    assert_eq!(guessed.code, 4, "{guessed:?}");
    let said = "the token that was sent is none of this server; say --token-file FILE, set $GRIST_TOKEN";
    assert!(guessed.stderr.contains("unauthorized") && guessed.stderr.contains(said), "{guessed:?}");
    // What is empty is as if it were not set.
    let mut unset = grist(&["ls", "--server", &system.url]);
    unset.env("GRIST_TOKEN", "").env("GRIST_SERVER", "").env("GRIST_CONFIG", system.folder.join("servers.json"));
    let output = unset.output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("no token was sent; say --token-file FILE"), "{said}");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let nobody = system.asked(&format!("http://{port}"), &system.token, &["ls"]);
    assert_eq!(nobody.code, 5, "{nobody:?}");
    assert!(nobody.stderr.contains("does not answer"), "{nobody:?}");
}

/// A manifest may come from somebody else: it does not choose which files of this machine are sent.
#[test]
fn files_outside_of_a_manifests_folder_are_neither_read_nor_sent() {
    let system = System::start("remote-outside");
    let manifest = std::fs::read_to_string(system.manifest()).expect("as written");
    let inner = system.folder.join("inner");
    std::fs::create_dir(&inner).expect("a folder");
    std::fs::copy(system.folder.join("anomaly.onnx"), system.folder.join("outside.onnx")).expect("a copy");
    let absolute = system.folder.join("outside.onnx").display().to_string();
    let mut cases = vec![
        (
            "../outside.onnx",
            "`../outside.onnx` is not inside the manifest's folder; write a relative path without `..`",
        ),
        (absolute.as_str(), "is not inside the manifest's folder; write a relative path without `..`"),
        ("../{key}.onnx", ".onnx` is not inside the manifest's folder"),
        (".", "the artifact `.` is refused: it is not a file"),
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../outside.onnx", inner.join("link.onnx")).expect("a link");
        cases.push(("link.onnx", "`link.onnx` leads out of the manifest's folder by a link; put a copy of the file"));
    }
    for (name, said) in cases {
        let path = file(&inner, "outside.toml", &manifest.replace("anomaly.onnx", name));
        for command in ["preview", "deploy"] {
            let ended = system.ask(&[command, &path]);
            assert_eq!(ended.code, 3, "{command} {name}: {ended:?}");
            assert!(ended.stderr.contains(said) && ended.stderr.contains("outside.toml"), "{name}: {ended:?}");
        }
    }
    std::fs::copy(system.folder.join("anomaly.onnx"), inner.join("anomaly.onnx")).expect("a copy");
    system.done(&["preview", &file(&inner, "inside.toml", &manifest)]);
}

#[test]
fn servers_are_kept_by_name_for_their_owner_alone() {
    let system = System::start("remote-servers");
    let config = system.folder.join("servers.json");
    let asked = |arguments: &[&str]| {
        let mut command = grist(arguments);
        command.env("GRIST_CONFIG", &config).env_remove("GRIST_SERVER").env_remove("GRIST_TOKEN");
        let output = command.output().expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let token = file(&system.folder, "token.txt", &system.token);
    assert_eq!(asked(&["server", "add", "plant", &system.url, "--token-file", &token]).0, Some(0));
    assert_eq!(asked(&["server", "add", "other", "http://127.0.0.1:1"]).0, Some(0));
    let (_, list, _) = asked(&["server", "ls"]);
    assert!(list.contains("plant") && list.contains("in use") && !list.contains(&system.token), "{list}");
    assert!(!asked(&["server", "ls", "--json"]).1.contains(&system.token));
    assert_eq!(asked(&["ls"]).0, Some(0));
    assert_eq!(asked(&["server", "use", "other"]).0, Some(0));
    assert_eq!(asked(&["ls", "--server", "plant"]).0, Some(0));
    assert_eq!(asked(&["server", "use", "nobody"]).0, Some(3));
    assert_eq!(asked(&["server", "remove", "other"]).0, Some(0));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&config).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
        let (code, _, said) = asked(&["ls"]);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("others can read it") && said.contains("chmod 600"), "{said}");
    }
}

/// A connection that is lost after the server has understood: the request is sent again, and carried out once.
#[test]
fn a_lost_answer_is_asked_for_again_and_the_deed_is_done_once() {
    let system = System::start("remote-lost");
    let manifest = system.manifest();
    let target = system.url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let proxy = format!("http://{}", listener.local_addr().expect("it listens"));
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let mut client = client.expect("a connection");
            let mut server = TcpStream::connect(&target).expect("it listens");
            let mut up = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
            std::thread::spawn(move || std::io::copy(&mut up.0, &mut up.1));
            let mut answer = vec![0; 1 << 16];
            let read = server.read(&mut answer).expect("it answers");
            if number == 0 {
                client.shutdown(std::net::Shutdown::Both).expect("it is open");
            } else {
                client.write_all(&answer[..read]).expect("it is asked");
                let _ = std::io::copy(&mut server, &mut client); // until either end goes
            }
        }
    });
    let done = system.asked(&proxy, &system.token, &["deploy", &manifest, "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!((done.json()["repeated"].as_bool(), done.json()["revision"].as_u64()), (Some(true), Some(2)));
    let revisions = system.done(&["revisions", "--json"]).json();
    assert_eq!(revisions["revisions"].as_array().map(Vec::len), Some(2), "{revisions}");
}

#[test]
fn shells_can_complete() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completion", shell]);
        assert!(script.stdout.contains("rollback"), "{shell}: {script:?}");
    }
}

const RISKY: &str = r#"
topology = "pump"
[[node]]
needs = ["temperature: f32"]
provides = ["risk: f32"]
expr = "EXPR"

[[node]]
id = "risks"
sink = "out"
asks = ["risk"]
"#;

#[test]
fn dead_letters_are_listed_and_replayed_after_a_fix() {
    let system = System::start("remote_letters");
    let broken = RISKY.replace("EXPR", "f32(i64(f64(temperature) * 1e300))");
    system.done(&["deploy", &file(&system.folder, "risky.toml", &broken)]);
    let tries = std::iter::repeat_with(|| system.done(&["dead-letters", "ls", "--node", "risk"]).stdout).take(100);
    let listed = tries.inspect(|_| std::thread::sleep(std::time::Duration::from_millis(100)));
    let listed = listed.into_iter().find(|text| text.lines().count() > 3).expect("rows fail");
    assert!(listed.starts_with("letter") && listed.contains("risk"), "{listed}");
    let shown = system.done(&["dead-letters", "show", "1"]).stdout;
    assert!(shown.contains("node: risk") && shown.contains("  temperature: "), "{shown}");
    let still = system.ask(&["dead-letters", "replay", "1"]);
    assert!(still.code == 1 && still.stdout.contains("1: not replayed"), "{still:?}");
    let still = system.ask(&["dead-letters", "replay", "1", "--json"]);
    assert_eq!((still.code, still.json()["refused"][0]["id"].as_u64()), (1, Some(1)), "{still:?}");

    let mended = RISKY.replace("EXPR", "temperature * 2");
    system.done(&["deploy", &file(&system.folder, "risky.toml", &mended)]);
    let done = system.done(&["dead-letters", "replay", "1"]).stdout;
    assert_eq!(done, "1: replayed, 1 value under revision 3\n");
    let again = system.ask(&["dead-letters", "replay", "1"]);
    assert!(again.code == 1 && again.stdout.contains("it was replayed under revision 3"), "{again:?}");
    assert_eq!(system.ask(&["dead-letters", "replay"]).code, 2);
    let actors = system.done(&["ls", "--actors"]).stdout;
    assert!(actors.contains("mailbox takes") && actors.contains("risk"), "{actors}");
    assert!(system.done(&["ls", "--top", "memory"]).stdout.contains("bytes"));
}
