//! `grist run --state`, stopped in order under load, and `grist state`. `GRISTMILL_STOPS` says how many stops (6).
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Ended, file, folder, grist, run};

/// How long a stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Nodes with a state: a reading that is held, two windows, rows that are thinned.
pub(crate) const NODES: &str = r#"
[[node]]
provides = ["temperature: f32"]
sensor = { hold_last = true }

[[node]]
needs = ["temperature: f32"]
provides = ["temperature.mean: f32"]
operator = { rolling = { rows = 50, stats = ["mean"] } }

[[node]]
needs = ["temperature.mean: f32"]
provides = ["temperature.step: f32"]
operator = { diff = { rows = 3 } }
every = "20ms"

[[node]]
needs = ["temperature.mean: f32"]
provides = ["temperature.slow: f32"]
operator = { window = { length = "1s", stats = ["mean"] } }

[[node]]
sink = "out"
asks = ["temperature.mean", "temperature.slow", "temperature.step"]
"#;

/// What came out, by key, in order.
pub(crate) fn written(path: &Path) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(path).expect("a file").lines().skip(1) {
        let key = line.split(',').next().expect("a key").to_owned();
        by_key.entry(key).or_default().push(line.to_owned());
    }
    by_key
}

/// Sends a signal, such as `-TERM`; whether the process was there.
fn signalled(child: &Child, signal: &str) -> bool {
    // `kill` of the shell: a slim machine need not have the program.
    let kill = format!("kill {signal} {}", child.id());
    let killed = std::process::Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
    killed.expect("there is a shell").success()
}

pub(crate) fn signal(child: &Child, signal: &str) {
    assert!(signalled(child, signal), "it has ended already");
}

/// Waits until it is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(30), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts it, and waits until it has opened its folder of states: from then on a signal stops it in order.
fn start_with(states: &str, arguments: &[&str]) -> Child {
    let lock = Path::new(states).join("lock");
    let _ = std::fs::remove_file(&lock); // of the process before
    let child = start(arguments);
    until("it opens its folder of states", || lock.exists());
    child
}

/// Waits for it to end in time.
pub(crate) fn ended(child: Child, since: Instant) -> Ended {
    let output = child.wait_with_output().expect("it ends");
    let took = since.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(took < STOP_WITHIN, "it took {took:?}: {stderr}");
    let code = output.status.code().unwrap_or_else(|| panic!("it was killed: {} {stderr}", output.status));
    Ended { code, stdout: String::from_utf8_lossy(&output.stdout).into_owned(), stderr }
}

pub(crate) fn start(arguments: &[&str]) -> Child {
    grist(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn stops(default: u64) -> u64 {
    std::env::var("GRISTMILL_STOPS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A topology over 100,000 rows of 20 machines, which take five seconds.
fn plant(folder: &Path, out: &str) -> String {
    let source = "kind = \"simulate\"\nmachines = 20\npartitions = 3\nrate = 1000\nrows = 5000\nseed = 3";
    let sink = format!("kind = \"csv\"\npath = \"{out}.csv\"");
    file(folder, &format!("{out}.toml"), &format!("class = \"pump\"\n[source]\n{source}\n[sink.out]\n{sink}\n{NODES}"))
}

/// Different from process to process, and from call to call.
fn random(below: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) % below
}

#[cfg(unix)]
#[test]
fn stops_under_load_lose_nothing_and_repeat_nothing() {
    let folder = folder("state-load");
    let whole = run(&["run", &plant(&folder, "whole"), "--json"]);
    assert_eq!(whole.code, 0, "{whole:?}");
    let expected = written(&folder.join("whole.csv"));
    assert_eq!(expected.len(), 20);
    let (mut stopped, most, mut round) = (0, stops(6), 0);
    while stopped < most {
        round += 1;
        let out = format!("part-{round}");
        let (topology, states) = (plant(&folder, &out), folder.join(format!("{out}.state")));
        let arguments = ["run", &topology, "--state", states.to_str().expect("text"), "--json"];
        let mut is_over = false;
        while !is_over {
            let mut child = start_with(arguments[3], &arguments);
            std::thread::sleep(Duration::from_millis(random(1_050)));
            is_over = stopped == most || child.try_wait().expect("it can be asked").is_some();
            if is_over {
                child.wait().expect("it ends by itself");
            } else {
                signal(&child, "-TERM");
                stopped += 1;
            }
            let part = ended(child, Instant::now());
            assert_eq!(part.code, 0, "stop {stopped}: {part:?}");
            assert_eq!(part.json()["state"][0]["refused"], serde_json::json!([]), "{part:?}");
        }
        let came = written(&folder.join(format!("{out}.csv")));
        for (key, lines) in &expected {
            let got = &came[key];
            let first = lines.iter().zip(got).position(|(a, b)| a != b);
            assert!(first.is_none(), "{key} differs: {:?}", first.map(|at| (&lines[at], &got[at])));
            assert_eq!(lines.len(), got.len(), "{key}");
        }
    }
    eprintln!("{stopped} stops in {round} rounds: 100,000 rows each, as if there had been none");
}

/// Bug: a SIGTERM that came between the start of the source and the first wait for a signal ended the process, and the
/// saved states were lost. Fix: signals are listened for before anything starts.
#[cfg(unix)]
#[test]
fn a_signal_while_it_still_starts_stops_it_in_order() {
    use std::io::{Read, Write};
    let folder = folder("state-early");
    let (topology, states) = (plant(&folder, "out"), folder.join("out.state"));
    let arguments = ["run", &topology, "--state", states.to_str().expect("text")];
    // Its first note, which comes once the source runs, finds the pipe full: there it is held until somebody reads.
    let (mut said, to) = std::io::pipe().expect("a pipe");
    let mut full = to.try_clone().expect("a pipe has several ends");
    let filling = std::thread::spawn(move || full.write_all(&[b'.'; 4096].repeat(256)));
    let child = grist(&arguments).stdout(Stdio::piped()).stderr(to).spawn().expect("it starts");
    let out = folder.join("out.csv");
    until("rows come out", || std::fs::read_to_string(&out).is_ok_and(|text| text.lines().count() > 1));
    let since = Instant::now();
    signal(&child, "-TERM");
    let mut text = String::new();
    said.read_to_string(&mut text).expect("text");
    filling.join().expect("it does not panic").expect("all of it was read");
    let part = ended(child, since);
    assert_eq!(part.code, 0, "{part:?} {}", text.trim_start_matches('.'));
    let listed = run(&["state", "ls", arguments[3], "--json"]).json();
    assert_eq!(listed["states"][0]["class"], "pump", "{listed}");
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_it_at_once_and_nothing_is_lost() {
    let folder = folder("state-twice");
    let (topology, states) = (plant(&folder, "out"), folder.join("out.state"));
    let arguments = ["run", &topology, "--state", states.to_str().expect("text"), "--json"];
    for _ in 0..stops(6).div_ceil(3) {
        let child = start_with(arguments[3], &arguments);
        std::thread::sleep(Duration::from_millis(random(600)));
        let since = Instant::now();
        signal(&child, "-TERM");
        std::thread::sleep(Duration::from_micros(random(3_000)));
        // It may be over by now.
        let _ = signalled(&child, "-TERM");
        let part = ended(child, since);
        assert!(part.code == 0 || (part.code == 1 && part.stderr.contains("read again")), "{part:?}");
    }
    let last = run(&arguments);
    assert_eq!(last.code, 0, "{last:?}");
    let whole = run(&["run", &plant(&folder, "whole"), "--json"]);
    assert_eq!(whole.code, 0, "{whole:?}");
    let came = written(&folder.join("out.csv"));
    for (key, lines) in written(&folder.join("whole.csv")) {
        let got: std::collections::BTreeSet<_> = came[&key].iter().collect();
        let lost: Vec<_> = lines.iter().filter(|line| !got.contains(line)).collect();
        assert!(lost.is_empty() && got.len() == lines.len(), "{key} lacks {lost:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_killed_process_leaves_no_state_and_the_next_start_says_so() {
    let folder = folder("state-killed");
    let (topology, states) = (plant(&folder, "out"), folder.join("out.state"));
    let arguments = ["run", &topology, "--state", states.to_str().expect("text")];
    let stop = |signal_name: &str, after: u64| {
        let child = start_with(arguments[3], &arguments);
        std::thread::sleep(Duration::from_millis(after));
        signal(&child, signal_name);
        child.wait_with_output().expect("it ends")
    };
    assert_eq!(stop("-TERM", 500).status.code(), Some(0));
    assert_eq!(run(&["state", "verify", arguments[3]]).code, 0);
    stop("-KILL", 700);
    assert!(run(&["state", "ls", arguments[3]]).stdout.contains("nothing is saved"));
    let next = stop("-TERM", 500);
    let said = String::from_utf8_lossy(&next.stderr);
    assert!(next.status.success() && said.contains("did not stop in order"), "{said}");
}

#[test]
fn a_file_that_grows_is_gone_on_with_and_states_can_be_looked_at() {
    let folder = folder("state-file");
    let header = "machine,ts,temperature\n";
    let rows = |from: i64, to: i64| -> String {
        (from..to).map(|at| format!("P{},{},{}\n", at % 3, at * 100_000, 20 + at * 7 % 60)).collect()
    };
    let topology = |out: &str, input: &str| {
        let source = format!("kind = \"csv\"\npath = \"{input}\"\nkey = \"machine\"\ntime = \"ts\"");
        let sink = format!("kind = \"csv\"\npath = \"{out}.csv\"");
        let text = format!("class = \"pump\"\n[source]\n{source}\n[sink.out]\n{sink}\n{NODES}");
        file(&folder, &format!("{out}.toml"), &text)
    };
    file(&folder, "whole-in.csv", &format!("{header}{}", rows(0, 300)));
    // With states too: without, what waits at the end would come in.
    let apart = folder.join("states-whole");
    let whole = ["run", &topology("whole", "whole-in.csv"), "--state", apart.to_str().expect("text")];
    assert_eq!(run(&whole).code, 0);
    file(&folder, "in.csv", &format!("{header}{}", rows(0, 100)));
    let (parts, states) = (topology("parts", "in.csv"), folder.join("states"));
    let states = states.to_str().expect("text");
    let first = run(&["run", &parts, "--state", states]);
    assert!(first.code == 0 && first.stderr.contains("begins without: none was saved"), "{first:?}");
    look(&folder, states, &parts);
    file(&folder, "in.csv", &format!("{header}{}", rows(0, 300)));
    let second = run(&["run", &parts, "--state", states]);
    assert!(second.code == 0 && second.stderr.contains("3 keys of 1 partition, saved at revision 1"), "{second:?}");
    assert_eq!(written(&folder.join("parts.csv")), written(&folder.join("whole.csv")));
    file(&folder, "in.csv", &format!("{header}{}", rows(0, 10)));
    let other = run(&["run", &parts, "--state", states, "--json"]);
    assert!(other.code == 1 && other.stderr.contains("it is another file"), "{other:?}");
    let answer = other.json();
    let error = answer["error"].as_str().expect("it says why");
    assert!(
        error.contains("it is another file") && answer["records"] == 0,
        "one report, with the error in it: {answer}"
    );
}

/// `grist state` over what was saved.
fn look(folder: &Path, states: &str, topology: &str) {
    let listed = run(&["state", "ls", states, "--json"]).json();
    let state = &listed["states"][0];
    assert_eq!((&state["class"], &state["keys"], &state["told"]), (&"pump".into(), &3.into(), &true.into()));
    assert_eq!(state["positions"]["0"], 100);
    let table = run(&["state", "ls", states]).stdout;
    assert!(table.contains("class") && table.contains("0: 100"), "{table}");
    let dumped = run(&["state", "dump", states, "--key", "P1"]).stdout;
    assert!(dumped.contains("`P1` of `pump`: partition 0 up to offset 100"), "{dumped}");
    assert!(dumped.contains("temperature.mean: identity") && dumped.contains("state of version 1"), "{dumped}");
    let read = run(&["state", "dump", states, "--key", "P1", "--topology", topology, "--json"]).json();
    let nodes = read[0]["nodes"].as_array().expect("nodes");
    assert!(nodes.iter().any(|node| node["node"] == "temperature.mean" && !node["state"]["value"].is_null()), "{read}");
    assert_eq!(run(&["state", "dump", states, "--key", "P9"]).code, 1);
    assert_eq!(run(&["state", "verify", states]).code, 0);
    let saved = Path::new(states).join("saved/pump.state");
    let whole = std::fs::read(&saved).expect("it is there");
    let mut damaged = whole.clone();
    damaged[200] ^= 4;
    std::fs::write(&saved, &damaged).expect("it is written");
    let verified = run(&["state", "verify", states]);
    assert!(verified.code == 3 && verified.stderr.contains("its checksum is"), "{verified:?}");
    let refused = run(&["run", topology, "--state", states]);
    assert!(refused.code == 1 && refused.stderr.contains("--state-refused begin-anew"), "{refused:?}");
    std::fs::write(&saved, &whole).expect("it is written");
    assert_eq!(run(&["state", "ls", folder.to_str().expect("text")]).code, 3, "it is no folder of states");
}
