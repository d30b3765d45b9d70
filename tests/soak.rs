//! Mixed load for a long time: rows of a thousand devices, some late, some not numbers, some that a model fails for, a node
//! that may block, and a deployment (add, replace, remove, bad, rollback) again and again. Memory, descriptors and threads
//! stay as they are, and at the end everything is accounted for: rows, scores, readings and dead letters, each exactly.
//!
//! `GRISTMILL_SOAK_SECONDS` says how long (120), `GRISTMILL_SOAK_DEPLOY_SECONDS` how often it is deployed (3; 60 for an hour).

#![expect(clippy::disallowed_methods, reason = "it goes on for a while on the machine's clock")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gristmill::deployer::{ChangeSet, Deployer, Terms};
use gristmill::in_process::Feeder;
use gristmill::traits::Done;
use gristmill::traits::sink::{DeadLetter, DeadLetters};
use gristmill::traits::source::RowsRecord;
use gristmill::words::{Column, Time};
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

/// The device of the node that may block.
const PATIENT: u32 = 7;
/// Devices for which the expression fails on each row, so that it is soon in quarantine for them.
const BROKEN: [u32; 2] = [0, 500];
/// Failures that lead to quarantine.
const FAILURES: u64 = 5;

/// Nodes beside the models: an expression that fails for some rows, and one that may block.
fn beside() -> ChangeSet {
    let expression = serde_json::json!({
        "id": "ratio", "needs": ["x: f32"], "provides": ["ratio: f32"], "kind": "model",
        "expr": "f32(1000 / (i64(x) % 500))",
    });
    let slow = serde_json::json!({
        "id": "patient", "keys": key(PATIENT), "needs": ["x: f32"], "provides": ["patient: f32"], "kind": "model",
        "expr": "x + f32(1)", "slow": { "budget": "5s" },
    });
    ChangeSet::new().manifest(serde_json::json!({ "topology": "plant", "node": [expression, slow] }).to_string())
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Usual,
    /// It comes ten seconds too late.
    Late,
    NotANumber,
    /// The expression fails on it.
    Fails,
}

impl Kind {
    /// By turns: each device has some of every kind, and for none are there enough failures for a quarantine.
    fn of(device: u32, turn: u64, everything_runs: bool) -> Self {
        let number = turn + u64::from(device);
        match (number % 100, number % 500, number % 1_000) {
            // Before its first row nothing is late.
            (99, ..) if turn > 0 => Self::Late,
            (_, 33, _) if everything_runs => Self::NotANumber,
            (_, _, 666) if everything_runs => Self::Fails,
            _ if everything_runs && BROKEN.contains(&device) => Self::Fails,
            _ => Self::Usual,
        }
    }
}

/// The row of a device.
fn row(device: u32, offset: i64, kind: Kind) -> RowsRecord {
    let late = if kind == Kind::Late { 10_000_000 } else { 0 };
    let x = match kind {
        Kind::NotANumber => f32::NAN,
        Kind::Fails => 0.0,
        Kind::Usual | Kind::Late => 1.0 + (offset % 499) as f32,
    };
    let time = Time(1_000_000_000 + offset * 1000 - late);
    RowsRecord { columns: vec![Column::F32(vec![x])], ..record(device, offset, time) }
}

/// What was sent, and what must become of it.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    rows: u64,
    late: u64,
    not_a_number: u64,
    /// Rows on which the expression fails, but for those of broken devices.
    failing: u64,
    /// Rows of models, since all of them run.
    out: u64,
}

impl Sent {
    fn count(&mut self, device: u32, kind: Kind, everything_runs: bool) {
        self.rows += 1;
        match kind {
            Kind::Late => self.late += 1,
            Kind::NotANumber => self.not_a_number += 1,
            // Its own model's, the expression's, and that of the node that may block.
            Kind::Usual if everything_runs => self.out += if device == PATIENT { 3 } else { 2 },
            Kind::Usual => {}
            Kind::Fails => {
                self.out += if device == PATIENT { 2 } else { 1 };
                self.failing += u64::from(!BROKEN.contains(&device));
            }
        }
    }
}

/// What the test and who sends tell each other.
struct Course {
    /// All models run, and the nodes beside them.
    everything_runs: AtomicBool,
    /// The first record that was made since.
    from: AtomicI64,
    over: AtomicBool,
}

async fn send(feeder: Feeder, course: Arc<Course>) -> Sent {
    let begun = Instant::now();
    let (mut offset, mut sent) = (0i64, Sent::default());
    while !course.over.load(Ordering::Relaxed) {
        let there = i64::try_from(begun.elapsed().as_millis() as u64 * RATE / 1000).expect("it is small");
        let everything_runs = course.everything_runs.load(Ordering::Acquire);
        if everything_runs {
            course.from.fetch_min(offset, Ordering::AcqRel);
        }
        let mut records = Vec::new();
        while offset < there && records.len() < 256 {
            let number = u64::try_from(offset).expect("it is no negative");
            let (turn, device) = (number / u64::from(DEVICES), (number % u64::from(DEVICES)) as u32);
            let kind = Kind::of(device, turn, everything_runs);
            sent.count(device, kind, everything_runs);
            records.push(row(device, offset, kind));
            offset += 1;
        }
        if records.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        feeder.send(0, records).await.expect("it runs");
    }
    sent
}

/// Counts dead letters: those of an hour are too many to keep.
#[derive(Clone, Default)]
struct Letters(Arc<AtomicU64>);

impl DeadLetters for Letters {
    fn write(&self, letters: Vec<DeadLetter>, done: Done) {
        self.0.fetch_add(letters.len() as u64, Ordering::Relaxed);
        done.done();
    }
}

/// How many scores are of records since all models run.
fn scored(scores: &Scores, course: &Course) -> u64 {
    let from = course.from.load(Ordering::Acquire);
    scores.take().iter().filter(|scored| scored.offset >= from).count() as u64
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
    let letters = Letters::default();
    let (deployer, feeder, scores) = constants::start_with(&folder, None, letters.clone()).await;
    let (everything_runs, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let course = Arc::new(Course { everything_runs, from: AtomicI64::new(i64::MAX), over });
    let sending = tokio::spawn(send(feeder, Arc::clone(&course)));
    tokio::time::sleep(Duration::from_millis(300)).await; // the partition has rows
    deployer.deploy(put((0..DEVICES).map(|n| (n, "1".to_owned()))), &Terms::by("soak")).await.expect("it is right");
    deployer.deploy(beside(), &Terms::by("soak")).await.expect("it is right");
    course.everything_runs.store(true, Ordering::Release);
    // So many revisions are kept; until then their records grow.
    for number in 0..=WARM {
        deploy(&deployer, number).await;
    }
    let begun = Instant::now();
    let (mut sizes, mut out, mut deployments) = (Vec::new(), 0, WARM + 1);
    while begun.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(every).await;
        deploy(&deployer, deployments).await;
        deployments += 1;
        out += scored(&scores, &course);
        sizes.push(Size::now());
    }
    course.over.store(true, Ordering::Relaxed);
    let sent = sending.await.expect("it sends");
    let handle = deployer.handle();
    handle.finished().await.expect("it ends in order");
    out += scored(&scores, &course);
    let report = handle.report(None).await.expect("it has run");
    let intake = report.intake;
    assert!(sent.late > 0 && sent.not_a_number > 0 && sent.failing > 0, "some kind of row never came: {sent:?}");
    assert_eq!((intake.rows, intake.late, intake.nan), (sent.rows, sent.late, sent.not_a_number), "{intake:?}");
    assert_eq!((intake.duplicate, intake.ahead, intake.refused, intake.out_of_range), (0, 0, 0, 0), "{intake:?}");
    let quarantined: usize = report.nodes.iter().map(|node| node.quarantined_keys).sum();
    assert_eq!(quarantined, BROKEN.len(), "one node, for the devices that are broken");
    assert_eq!(letters.0.load(Ordering::Relaxed), sent.failing + FAILURES * BROKEN.len() as u64, "{sent:?}");
    assert_eq!(out, sent.out, "every row of a model comes out, once: {sent:?}");
    // Warm after a third: the caches are full and the kept revisions all there.
    let warm = &sizes[sizes.len() / 3..];
    let (first, last) = warm.split_at(warm.len() / 2);
    let mean = |sizes: &[Size], of: fn(&Size) -> f64| sizes.iter().map(of).sum::<f64>() / sizes.len() as f64;
    let most = |sizes: &[Size], of: fn(&Size) -> usize| sizes.iter().map(of).max().unwrap_or(0);
    let memory = [mean(first, |size| size.megabytes), mean(last, |size| size.megabytes)];
    eprintln!(
        "{seconds} s, {} rows, {deployments} deployments: {:.1} MiB, then {:.1} ({:+.1} %); first {:?}, last {:?}",
        sent.rows,
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
