//! Every example is run to its end, and has shown what it is there to show.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gristmill_tests::support::kafka::{Broker, total_lag};
use gristmill_tests::support::kafka_clients::{Reader, produce};

/// The example, which `cargo test` has built beside this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("tests lie in target/release/deps");
    let path: PathBuf = folder.join("examples").join(name);
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.rs"));
    let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    // `cargo test --test run` alone builds no examples.
    let how = "run `cargo test -p gristmill-examples --all-features --release`";
    assert!(changed(&path) >= changed(&source), "{} is missing or older than its source: {how}", path.display());
    Command::new(path)
}

/// What it prints; it must end well.
fn said(name: &str, arguments: &[&str]) -> String {
    let output = example(name).args(arguments).output().expect("the example starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{text}\n{problem}", output.status);
    text
}

fn contains(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "`{wanted}` is not in:\n{text}");
    }
}

#[test]
fn hello() {
    contains(&said("hello", &[]), &["alarm false", "alarm true"]);
}

#[test]
fn custom_operator() {
    assert!(said("custom_operator", &[]).lines().count() > 3);
}

#[test]
fn loop_back() {
    contains(&said("loop_back", &[]), &["cycle", "at 1 s: valve 1.000, level 1.000 m"]);
}

#[test]
fn hot_add() {
    contains(&said("hot_add", &[]), &["back to revision 2", "revision 6 computed", "rows were sent"]);
}

#[test]
fn fleet() {
    let text = said("fleet", &[]);
    contains(&text, &["family of 10", "true wear"]);
    // Only machines that are far worn have alarms, and they do.
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("machine-"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 10, "{text}");
    let alarmed = |row: &&Vec<&str>| row[3] != "0";
    let worn = |row: &Vec<&str>| row[1].parse::<f64>().expect("a number") > 0.0;
    assert!(rows.iter().filter(alarmed).count() >= 2 && rows.iter().filter(alarmed).all(worn), "{text}");
}

#[test]
fn backfill() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (history, out) = (folder.join("history.csv"), folder.join("backfill.jsonl"));
    let rows: String = (0..50).map(|row| format!("{row}000,M{},60,{}\n", row % 2, row % 7)).collect();
    std::fs::write(&history, format!("time,machine,temperature,vibration\n{rows}")).expect("a folder for tests");
    contains(
        &said("backfill", &[&history.to_string_lossy(), &out.to_string_lossy()]),
        &["50 rows of 2 machines", r#""stream":"wear""#],
    );
    assert_eq!(std::fs::read_to_string(&out).expect("predictions").lines().count(), 50);
    contains(&said("backfill", &[]), &["7 rows of 3 machines"]);
}

#[test]
fn kafka_says_what_to_start_when_there_is_none() {
    let output = example("kafka").arg("127.0.0.1:9").output().expect("the example starts");
    assert!(!output.status.success());
    contains(&String::from_utf8_lossy(&output.stdout), &["127.0.0.1:9", "Start a broker and create the topics"]);
}

#[test]
fn kafka() {
    let broker = Broker::start();
    for topic in ["readings", "predictions"] {
        broker.create_topic(topic, 2);
    }
    let row = |row: i64| {
        let (machine, ts) = (format!("M{}", row % 5), 1_767_225_600_000 + row);
        let value = format!(r#"{{"machine":"{machine}","ts":{ts},"temperature":60,"vibration":{}}}"#, row % 30);
        (machine, value)
    };
    produce(&broker.bootstrap(), "readings", (0..1_000).map(row));
    let mut child = example("kafka").arg(broker.bootstrap()).stdout(Stdio::piped()).spawn().expect("it starts");
    let reader = Reader::new(&broker.bootstrap(), "predictions", 2);
    reader.wait_for(2_000, Duration::from_secs(60));
    interrupt(&child);
    assert!(child.wait().expect("it ends").success());
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("text");
    contains(&text, &["reading `readings`", "1000 rows are done and committed"]);
    let mut streams = [0, 0];
    let read = reader.read(|_, _, key, line| {
        let line = String::from_utf8_lossy(line);
        assert!(line.contains(&format!(r#""key":"{key}""#)), "{line}");
        streams[usize::from(line.contains(r#""stream":"failure""#))] += 1;
    });
    assert_eq!((read, streams), (2_000, [1_000, 1_000]));
    assert_eq!(total_lag(&broker.consumer_group_lag("gristmill-example")), 0);
}

#[test]
fn serve() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("serve.registry");
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run left
    let mut command = example("serve");
    command.args(["127.0.0.1:0", &folder.to_string_lossy()]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map(|line| line.expect("text"));
    let token = lines.next().and_then(|line| line.strip_prefix("token ").map(str::to_owned)).expect("a token");
    let url = lines.next().and_then(|line| line.strip_prefix("serving on ").map(str::to_owned)).expect("an address");

    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let sent = agent.post(format!("{url}/pumps/P101")).send("45.5").expect("an answer");
    assert_eq!(sent.status(), 202);
    let get = |path: &str, token: &str| {
        let asked = agent.get(format!("{url}{path}")).header("Authorization", format!("Bearer {token}")).call();
        let mut answer = asked.expect("an answer");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
    };
    let tries = std::iter::repeat_with(|| get("/pumps/P101", "")).take(200);
    let scored = tries.inspect(|_| std::thread::sleep(Duration::from_millis(10))).find(|(status, _)| *status == 200);
    assert_eq!(scored.expect("it is scored").1, r#"{"alarm":true,"wear":0.91}"#);
    let (status, nodes) = get("/mill/v1/nodes", &token);
    assert!(status == 200 && nodes.contains(r#""id":"wear""#), "{status} {nodes}");
    assert_eq!(get("/mill/v1/nodes", "none").0, 401);
    assert_eq!(get("/mill/v1/docs/index.html", "").0, 200);
    assert_eq!(get("/v1/nodes", &token).0, 404);
    assert!(get("/metrics", "").1.contains("gristmill_"));
    interrupt(&child);
    assert!(child.wait().expect("it ends").success());
    let lines: Vec<String> = lines.collect();
    assert!(lines[0].starts_with("alarm of P101 at "), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("stopped in order"));
}

/// What Ctrl-C does. `kill` of the shell: a slim machine need not have the program.
fn interrupt(child: &Child) {
    let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
    assert!(sent.expect("a shell").success());
}
