//! Standard output that cannot be written, or that nobody reads any more.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::support::{file, folder, grist, run};

const PLANT: &str = "examples/topologies/plant.toml";

/// What a command says on standard error, with its exit code, when its standard output is on a full disk.
#[cfg(target_os = "linux")]
fn on_full(arguments: &[&str]) -> (Option<i32>, String) {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
    let output = grist(arguments).stdout(full).stderr(Stdio::piped()).output().expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Bug: an answer that could not be written counted as given; the only copy of a token was gone. Fix: only a closed pipe wants
/// no more, whatever else fails is said and has exit code 1.
#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    for arguments in [
        &["validate", PLANT, "--json"][..],
        &["validate", PLANT],
        &["plan", PLANT, "--dot"],
        &["limits"],
        &["completion", "bash"],
        &["demo", "--models", "40", "--machines", "10", "--seconds", "60"],
    ] {
        let (code, said) = on_full(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        let why = "standard output cannot be written: No space left on device";
        assert_eq!(said.matches(why).count(), 1, "{arguments:?}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_token_that_nobody_got_is_to_be_ended() {
    let registry = folder("token-full").join("registry");
    let registry = registry.to_str().expect("text");
    for more in [&[][..], &["--json"]] {
        let create = ["token", "create", "ci", "--registry", registry, "--scope", "read"];
        let (code, said) = on_full(&[&create[..], more].concat());
        assert_eq!(code, Some(1), "{said}");
        let revoke = format!("nobody has the token `ci`: end it with `grist token revoke ci --registry {registry}`");
        assert!(said.contains(&revoke), "{said}");
        assert_eq!(run(&["token", "revoke", "ci", "--registry", registry]).code, 0);
    }
}

/// Bug: a console sink that could not print warned for each frame, and the run was said to be done. Fix: the run ends with the
/// sink's error.
#[cfg(target_os = "linux")]
#[test]
fn a_console_that_cannot_be_written_ends_the_run() {
    let text = "class = \"pump\"\n[source]\nkind = \"simulate\"\nmachines = 2\nrate = 50\n[sink.out]\nkind = \"console\"\n\
                [[node]]\nprovides = [\"temperature: f32\"]\nsensor = {}\n[[node]]\nsink = \"out\"\nasks = [\"temperature\"]\n";
    let (code, said) = on_full(&["run", &file(&folder("console-full"), "a.toml", text)]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("lines cannot be printed: No space left on device"), "{said}");
    assert!(said.matches("cannot be printed").count() <= 4, "not for each of its frames: {said}");
}

/// Bug: `demo | head` ran its whole time. Fix: who reads no more ends it.
#[test]
fn a_demo_that_nobody_reads_any_more_ends() {
    let arguments = ["demo", "--models", "40", "--machines", "10", "--seconds", "86400"];
    let mut child = grist(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    reader.read_line(&mut first).expect("a line");
    drop(reader);
    assert!(first.contains("10 machines"), "{first}");
    // It would take a day: that it ends is what is tested.
    let code = child.wait().expect("it ends").code();
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!((code, said.as_str()), (Some(0), ""));
}
