//! A stop in order while the brokers are away: it ends in time, and the next start goes on without loss.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::path::Path;
use std::time::{Duration, Instant};

use gristmill_tests::support::kafka::Broker;

use crate::state::{NODES, ended, signal, start, written};
use crate::support::{file, folder, run};

const RECORDS: i64 = 3_000;

fn produce(broker: &Broker, from: i64, to: i64) {
    let records: Vec<(String, String)> = (from..to)
        .map(|at| {
            let row =
                format!("{{\"machine\":\"P{}\",\"ts\":{},\"temperature\":{}}}", at % 5, at * 100, 20 + at * 7 % 60);
            (format!("P{}", at % 5), row)
        })
        .collect();
    let records: Vec<(&str, &str)> = records.iter().map(|(key, row)| (&key[..], &row[..])).collect();
    broker.console_produce("in", &records);
}

/// The rows of the node that writes one for each record.
fn means(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| line.contains(",temperature.mean,")).count()
}

/// Waits until the rows of so many records are written.
fn until_written(path: &Path, records: i64) {
    let (since, most) = (Instant::now(), usize::try_from(records).expect("it is small"));
    while means(path) < most {
        assert!(since.elapsed() < Duration::from_secs(40), "the rows of {} of {most} records", means(path));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn topology(folder: &Path, out: &str, group: &str, brokers: &str) -> String {
    let source = format!(
        "kind = \"kafka\"\nbrokers = \"{brokers}\"\ntopics = \"in\"\ngroup = \"{group}\"\nkey = \"machine\"\ntime = \"ts\"\nproperties = {{ \"session.timeout.ms\" = \"6000\" }}"
    );
    let sink = format!("kind = \"csv\"\npath = \"{out}.csv\"");
    file(folder, &format!("{out}.toml"), &format!("class = \"pump\"\n[source]\n{source}\n[sink.out]\n{sink}\n{NODES}"))
}

#[test]
fn a_stop_while_the_broker_is_down_ends_in_time_and_the_next_start_goes_on() {
    let folder = folder("state-kafka");
    let mut broker = Broker::start();
    broker.create_topic("in", 2);
    produce(&broker, 0, RECORDS);
    let states = folder.join("states");
    let parts = topology(&folder, "parts", "parts", &broker.bootstrap());
    let arguments = ["run", &parts, "--state", states.to_str().expect("text")];
    // Once in order, with the broker there.
    let child = start(&arguments);
    until_written(&folder.join("parts.csv"), RECORDS);
    let since = Instant::now();
    signal(&child, "-TERM");
    let first = ended(child, since);
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(means(&folder.join("parts.csv")), RECORDS as usize, "each once");
    // Once with the broker away.
    produce(&broker, RECORDS, 2 * RECORDS);
    let child = start(&arguments);
    until_written(&folder.join("parts.csv"), 2 * RECORDS);
    broker.kill();
    std::thread::sleep(Duration::from_millis(500));
    let since = Instant::now();
    signal(&child, "-TERM");
    let second = ended(child, since);
    assert!(second.code == 0 || (second.code == 1 && second.stderr.contains("grist: ")), "{second:?}");
    assert!(second.stderr.contains("5 keys of 2 partitions, saved at revision 1"), "{second:?}");
    eprintln!(
        "with the broker down it ended with {} after {:?}: {}",
        second.code,
        since.elapsed(),
        second.stderr.lines().last().unwrap_or("")
    );
    broker.start_again();
    produce(&broker, 2 * RECORDS, 3 * RECORDS);
    // What the broker was not told is passed over; the rest goes on.
    let child = start(&arguments);
    let values = |out: &str| -> usize { written(&folder.join(out)).values().map(Vec::len).sum() };
    let whole = topology(&folder, "whole", "whole", &broker.bootstrap());
    let other = start(&["run", &whole]);
    until_written(&folder.join("whole.csv"), 3 * RECORDS);
    until_written(&folder.join("parts.csv"), 3 * RECORDS);
    for child in [child, other] {
        let since = Instant::now();
        signal(&child, "-TERM");
        let last = ended(child, since);
        assert!(last.code == 0 && !last.stderr.contains("refused"), "{last:?}");
    }
    assert_eq!(values("parts.csv"), values("whole.csv"));
    assert_eq!(written(&folder.join("parts.csv")), written(&folder.join("whole.csv")), "as if there had been no stop");
    moved(&folder, &broker, &arguments);
}

/// The group's position is moved by somebody else.
fn moved(folder: &Path, broker: &Broker, arguments: &[&str]) {
    broker.reset_group("in", "parts");
    let refused = run(arguments);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("begins at offset 0, but its state goes to offset"), "{refused:?}");
    assert_eq!(run(&["state", "verify", folder.join("states").to_str().expect("text")]).code, 0, "the state stays");
}
