//! Mixed load for a long time: rows of a thousand devices, some late, some not numbers, some that a model fails for, a node
//! that may block, and a deployment (add, replace, remove, bad, rollback) again and again. Memory, descriptors and threads
//! stay as they are, and the numbers agree at the end.
//!
//! `GRISTMILL_SOAK_SECONDS` says how long (120), `GRISTMILL_SOAK_DEPLOY_SECONDS` how often it is deployed (3; 60 for an hour).

#![expect(clippy::disallowed_methods, reason = "it goes on for a while on the machine's clock")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gristmill::deployer::{ChangeSet, Deployer, Terms};
use gristmill::in_process::Feeder;
use gristmill::words::Time;
use gristmill_tests::support::constants::{self, Scores, key, put, record, resident_bytes};
use gristmill_tests::support::setting::number;

/// Devices with a model each.
const DEVICES: u32 = 1_000;
/// Descriptors and threads that are there for a moment; one that is lost at each deployment is more than that.
const PASSING: usize = 3;
/// Deployments before it is measured, a whole number of rounds less one.
const WARM: u64 = 119;
/// Records a second.
const RATE: u64 = 4_000;

/// What a process has, at one moment.
#[derive(Clone, Copy, Debug)]
struct Size {
    megabytes: f64,
    descriptors: usize,
    threads: usize,
}

impl Size {
    fn now() -> Self {
        let count = |folder: &str| std::fs::read_dir(folder).expect("Linux has it").count();
        let megabytes = resident_bytes() as f64 / f64::from(1 << 20);
        Self { megabytes, descriptors: count("/proc/self/fd"), threads: count("/proc/self/task") }
    }
}

/// Nodes beside the models: an expression that fails for some rows, and one that may block.
fn beside() -> ChangeSet {
    let expression = serde_json::json!({
        "id": "ratio", "needs": ["x: f32"], "provides": ["ratio: f32"], "kind": "model",
        "expr": "f32(1000 / (i64(x) % 500))",
    });
    let slow = serde_json::json!({
        "id": "patient", "keys": key(7), "needs": ["x: f32"], "provides": ["patient: f32"], "kind": "model",
        "expr": "x + f32(1)", "slow": { "budget": "5s" },
    });
    ChangeSet::new().manifest(serde_json::json!({ "topology": "plant", "node": [expression, slow] }).to_string())
}

async fn send(feeder: Feeder, over: Arc<AtomicBool>, sent: Arc<AtomicU64>) {
    let begun = Instant::now();
    let mut offset = 0i64;
    while !over.load(Ordering::Relaxed) {
        let there = i64::try_from(begun.elapsed().as_millis() as u64 * RATE / 1000).expect("it is small");
        let mut records = Vec::new();
        while offset < there && records.len() < 256 {
            let number = u32::try_from(offset % i64::from(DEVICES)).expect("it is small");
            // Each hundredth comes late and is dropped.
            let late = if offset % 100 == 99 { 10_000_000 } else { 0 };
            records.push(record(number, offset, Time(1_000_000_000 + offset * 1000 - late)));
            offset += 1;
        }
        if records.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        feeder.send(0, records).await.expect("it runs");
        sent.store(u64::try_from(offset).expect("it is no negative"), Ordering::Relaxed);
    }
}

/// A deployment by its number: most replace a model, some add and remove one, some are bad, some go back.
async fn deploy(deployer: &Deployer, number: u64) {
    let device = u32::try_from(number * 37 % u64::from(DEVICES)).expect("it is small");
    let terms = Terms::by("soak");
    let change = match number % 6 {
        0 => put([(DEVICES + device, "3".to_owned())]),
        1 => ChangeSet::new().remove(format!(
            "score@{}",
            key(DEVICES + u32::try_from((number - 1) * 37 % u64::from(DEVICES)).expect("it is small"))
        )),
        2 => put([(device, "no number".to_owned())]),
        3 => {
            let records = deployer.records();
            let back = records.iter().rev().nth(1).expect("there were several").revision;
            deployer.rollback(back, None, &terms).await.expect("it is kept");
            return;
        }
        _ => put([(device, format!("{}", number % 90))]),
    };
    let deployed = deployer.deploy(change, &terms).await;
    assert_eq!(deployed.is_err(), number % 6 == 2, "deployment {number}: {deployed:?}");
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run left
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_descriptors_and_threads_are_flat() {
    let seconds = number("GRISTMILL_SOAK_SECONDS", 120);
    let every = Duration::from_secs(number("GRISTMILL_SOAK_DEPLOY_SECONDS", 3));
    let folder = folder("soak");
    let (deployer, feeder, scores) = constants::start(&folder, None).await;
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let sending = tokio::spawn(send(feeder, Arc::clone(&over), Arc::clone(&sent)));
    tokio::time::sleep(Duration::from_millis(300)).await; // the partition has rows
    deployer.deploy(put((0..DEVICES).map(|n| (n, "1".to_owned()))), &Terms::by("soak")).await.expect("it is right");
    deployer.deploy(beside(), &Terms::by("soak")).await.expect("it is right");
    // So many revisions are kept; until then their records grow.
    for number in 0..=WARM {
        deploy(&deployer, number).await;
    }
    let begun = Instant::now();
    let (mut sizes, mut scored, mut deployments) = (Vec::new(), 0, WARM + 1);
    while begun.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(every).await;
        deploy(&deployer, deployments).await;
        deployments += 1;
        scored += scores.take().len();
        sizes.push(Size::now());
    }
    over.store(true, Ordering::Relaxed);
    sending.await.expect("it sends");
    let handle = deployer.handle();
    handle.finished().await.expect("it ends in order");
    scored += Scores::take(&scores).len();
    let report = handle.report(None).await.expect("it has run");
    let sent = sent.load(Ordering::Relaxed);
    assert_eq!(report.intake.rows, sent, "every row that was sent is counted");
    let out: u64 = report
        .nodes
        .iter()
        .chain(&report.in_transit)
        .filter(|node| node.kind == gristmill::topology::NodeKind::Model)
        .map(|node| node.counts.computed)
        .sum();
    assert!(scored as u64 >= out, "what models that still run computed has come out: {scored} of {out}");
    // Warm after a third: the caches are full and the kept revisions all there.
    let warm = &sizes[sizes.len() / 3..];
    let (first, last) = warm.split_at(warm.len() / 2);
    let mean = |sizes: &[Size], of: fn(&Size) -> f64| sizes.iter().map(of).sum::<f64>() / sizes.len() as f64;
    let most = |sizes: &[Size], of: fn(&Size) -> usize| sizes.iter().map(of).max().unwrap_or(0);
    let memory = [mean(first, |size| size.megabytes), mean(last, |size| size.megabytes)];
    eprintln!(
        "{seconds} s, {sent} rows, {deployments} deployments: {:.1} MiB, then {:.1} ({:+.1} %); first {:?}, last {:?}",
        memory[0],
        memory[1],
        (memory[1] / memory[0] - 1.0) * 100.0,
        warm.first(),
        warm.last()
    );
    let tenths =
        sizes.chunks(sizes.len().div_ceil(10)).map(|tenth| format!("{:.1}", mean(tenth, |size| size.megabytes)));
    eprintln!("MiB by tenths of the time: {}", tenths.collect::<Vec<_>>().join(" "));
    assert!(memory[1] < memory[0] * 1.05, "memory grows: {memory:?}");
    let grown = |of: fn(&Size) -> usize| most(last, of).saturating_sub(most(first, of));
    assert!(grown(|size| size.descriptors) <= PASSING, "descriptors grow: {warm:?}");
    assert!(grown(|size| size.threads) <= PASSING, "threads grow: {warm:?}");
}
