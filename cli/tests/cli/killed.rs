//! A system that is killed while it is deployed on runs the old or the new after its next start, never half of it, and what it
//! has said to be done stays done. `GRISTMILL_KILLS` says how often it is killed (5), or more often until it was once in the
//! middle of a deployment.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Ended, Running, TOPOLOGY, file, folder, grist, run};

/// Further kills until one is in the middle of a deployment.
const MORE: u64 = 40;

/// What is deployed: two nodes that carry the same number, in the place of those before.
fn pair(number: u64) -> String {
    let node = |name: &str| {
        format!(
            "[[node]]\nid = \"{name}-{number}\"\nneeds = [\"temperature: f32\"]\nprovides = [\"{name}: f32\"]\nexpr = \"temperature * {number}\"\n"
        )
    };
    format!(
        "topology = \"pump\"\n{}{}[[node]]\nid = \"pairs\"\nsink = \"out\"\nasks = [\"one\", \"two\"]\n",
        node("one"),
        node("two")
    )
}

fn asked(url: &str, token: &str, arguments: &[&str]) -> Ended {
    let output = grist(arguments).env("GRIST_SERVER", url).env("GRIST_TOKEN", token).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The number that runs; 0 before the first.
fn number(url: &str, token: &str) -> u64 {
    let listed = asked(url, token, &["ls", "--json"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    let nodes: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let ids = nodes["nodes"].as_array().into_iter().flatten().filter_map(|node| node["id"].as_str());
    let of = |name: &str| -> Vec<u64> {
        ids.clone().filter_map(|id| id.strip_prefix(name)?.strip_prefix('-')?.parse().ok()).collect()
    };
    let (ones, twos) = (of("one"), of("two"));
    assert!(ones == twos && ones.len() <= 1, "half of a deployment runs: {ones:?} and {twos:?}");
    ones.first().copied().unwrap_or(0)
}

/// Deploys one after the other until the system is gone; the last that was said to be done.
fn deploy(folder: &Path, url: &str, token: &str, from: u64, gone: &AtomicBool, begun: &AtomicU64) -> u64 {
    let mut done = from;
    while !gone.load(Ordering::Relaxed) {
        let next = done + 1;
        begun.store(next, Ordering::Relaxed);
        let path = file(folder, "pair.toml", &pair(next));
        let (one, two) = (format!("one-{done}"), format!("two-{done}"));
        let before = ["--remove", one.as_str(), "--remove", two.as_str()];
        let arguments: Vec<&str> = ["deploy", path.as_str()]
            .into_iter()
            .chain(if done > 0 { &before[..] } else { &[] }.iter().copied())
            .collect();
        let ended = asked(url, token, &arguments);
        match ended.code {
            0 => done = next,
            // Unreachable: nobody knows what became of it.
            5 => return done,
            _ => panic!("{ended:?}"),
        }
    }
    done
}

/// The last file of a revision.
fn newest(registry: &Path) -> Option<OsString> {
    let files = std::fs::read_dir(registry.join("revisions")).ok()?;
    files.filter_map(|file| Some(file.ok()?.file_name())).max()
}

/// Deployments that a start found begun and not done.
fn interrupted(registry: &Path) -> usize {
    let audit = std::fs::read_to_string(registry.join("audit.jsonl")).unwrap_or_default();
    audit.lines().filter(|line| line.contains("\"what\":\"interrupted\"")).count()
}

/// Waits for the moment of a kill: by turns any, and just after the record that a deployment has begun.
fn until_it_is_time(kill: u64, registry: &Path) {
    std::thread::sleep(Duration::from_millis(60 + kill * 37 % 240));
    if kill % 2 == 1 {
        let (before, since) = (newest(registry), Instant::now());
        while newest(registry) == before {
            assert!(since.elapsed() < Duration::from_secs(20), "no deployment begins");
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

#[test]
fn a_deployment_that_is_killed_is_whole_or_not_at_all() {
    let kills: u64 = std::env::var("GRISTMILL_KILLS").map_or(5, |kills| kills.parse().expect("a number"));
    let folder = folder("killed");
    let topology = file(&folder, "topology.toml", TOPOLOGY);
    let place = folder.join("registry");
    let registry = place.display().to_string();
    let token = run(&["token", "create", "me", "--registry", &registry, "--scope", "deploy"]).stdout.trim().to_owned();
    let (mut runs, mut deployed, mut kill, since) = (0, 0, 0, Instant::now());
    while kill < kills || interrupted(&place) == 0 {
        let so_long = since.elapsed();
        assert!(kill < kills + MORE, "none of {kill} kills in {so_long:?} was in the middle of a deployment");
        let running = Running::start(&topology, &registry);
        let url = format!("http://{}", running.address);
        let now = number(&url, &token);
        assert_eq!(now, runs, "what was found to run after the last kill runs on");
        let (gone, begun) = (AtomicBool::new(false), AtomicU64::new(now));
        let done = std::thread::scope(|scope| {
            let deploying = scope.spawn(|| deploy(&folder, &url, &token, now, &gone, &begun));
            until_it_is_time(kill, &place);
            gone.store(true, Ordering::Relaxed);
            drop(running); // by SIGKILL
            deploying.join().expect("nothing but the kill is in its way")
        });
        let running = Running::start(&topology, &registry);
        runs = number(&format!("http://{}", running.address), &token);
        let last = begun.load(Ordering::Relaxed);
        assert!((done..=last).contains(&runs), "{done} was said to be done and {last} begun, but {runs} runs");
        deployed += done - now;
        kill += 1;
    }
    assert!(deployed > kills, "only {deployed} deployments");
    eprintln!("{kill} kills, {} of them in the middle of a deployment", interrupted(&place));
}
