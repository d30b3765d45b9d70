//! What does a change cost while rows flow? One model is added among many, as a node of its own and as a member of a
//! family; then a thousand in one change set. `cargo bench -p gristmill-benches --bench live_change -- --devices 25000`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints and reads the clock")]

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use gristmill::topology::{Family, Node, Work, provide};
use gristmill::traits::source::{Axes, Batch, PollLimits, Polled, Records, RowsRecord, SourceError};
use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkWriter, Source};
use gristmill::words::{Column, ElementType, Key, Offset, ShardIndex, StreamName, Time};
use gristmill::{Deployment, Handle, Runtime, Stream};
use gristmill_benches::fleet::data::{self, Templates};
use gristmill_benches::fleet::models::{self, DeviceModels};
use gristmill_benches::fleet::topology;
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Partitions of the source.
const PARTITIONS: usize = 4;
/// Between two rows of a device.
const PERIOD: Duration = Duration::from_millis(10);
/// How long it is waited for a first score.
const PATIENCE: Duration = Duration::from_secs(30);
/// The stream of models that are added as nodes.
const NODE: &str = "added.node";
/// The stream of the family that gets members.
const MEMBER: &str = "added.member";

/// The cost of live changes.
#[derive(Parser)]
struct Arguments {
    /// Devices; each has four models before anything is added.
    #[arg(long, default_value_t = 25_000)]
    devices: usize,
    /// Changes of each kind that are measured.
    #[arg(long, default_value_t = 40)]
    changes: usize,
    /// Models in the one large change set.
    #[arg(long, default_value_t = 1_000)]
    set: usize,
    /// The models that are there before are nodes of their own devices, not members of families.
    #[arg(long)]
    per_key_models: bool,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Times of one kind of change, in milliseconds: the median and the worst.
#[derive(Debug, Serialize)]
struct Cost {
    first_score_ms: [f64; 2],
    /// Processor time of the shard's thread, above what rows alone take in the same time.
    shard_ms: [f64; 2],
    /// The same where nothing is changed: what the machine adds by itself.
    idle_ms: [f64; 2],
}

#[derive(Debug, Serialize)]
struct Report {
    models_before: usize,
    per_key_models: bool,
    changes: usize,
    node: Cost,
    member: Cost,
    set: usize,
    /// From the call to its return, and to the last model's first score.
    set_applied_ms: f64,
    set_scored_ms: f64,
}

/// Which devices send a row every [`PERIOD`].
type Speaking = Arc<Mutex<Vec<usize>>>;

struct Rows {
    /// Records of all devices, so that all are known and warm.
    first: VecDeque<Batch>,
    speaking: Speaking,
    keys: Arc<Vec<Key>>,
    next: [i64; PARTITIONS],
    at: Instant,
    turn: i64,
}

fn record(key: &Key, offset: i64, time: Time) -> RowsRecord {
    let columns = data::middle().into_iter().map(|value| Column::F64(vec![value])).collect();
    RowsRecord { offset: Offset(offset), log_time: None, key: key.clone(), axis: 0, times: vec![time], columns }
}

impl Rows {
    fn new(keys: &Arc<Vec<Key>>, speaking: &Speaking) -> Self {
        let mut next = [0; PARTITIONS];
        let mut first = VecDeque::new();
        let devices: Vec<usize> = (0..keys.len()).collect();
        for some in devices.chunks(4_096) {
            first.extend(batches(some, keys, &mut next, Time(0)));
        }
        Self { first, speaking: Arc::clone(speaking), keys: Arc::clone(keys), next, at: Instant::now(), turn: 0 }
    }
}

fn batches(devices: &[usize], keys: &[Key], next: &mut [i64; PARTITIONS], time: Time) -> Vec<Batch> {
    let mut records: [Vec<RowsRecord>; PARTITIONS] = Default::default();
    for device in devices {
        let partition = device % PARTITIONS;
        records[partition].push(record(&keys[*device], next[partition], time));
        next[partition] += 1;
    }
    let filled = records.into_iter().enumerate().filter(|(_, records)| !records.is_empty());
    filled.map(|(partition, records)| Batch::new(partition as u32, Records::Rows(records))).collect()
}

impl Source for Rows {
    fn axes(&self) -> Axes {
        let stream = |name: &str| (StreamName::from(name), ElementType::F64);
        Axes::Declared(vec![topology::RAW.map(stream).to_vec()])
    }

    fn poll(&mut self, _limits: PollLimits) -> Result<Polled, SourceError> {
        if let Some(batch) = self.first.pop_front() {
            self.at = Instant::now();
            return Ok(Polled::Batches(vec![batch]));
        }
        self.at += PERIOD;
        std::thread::sleep(self.at.saturating_duration_since(Instant::now()));
        self.turn += 1;
        let time = Time(self.turn * PERIOD.as_micros() as i64);
        let devices = self.speaking.lock().expect("nobody panics with this lock").clone();
        Ok(Polled::Batches(batches(&devices, &self.keys, &mut self.next, time)))
    }

    fn commit(&mut self, _partition: u32, _next: Offset) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Notes when an added model first scored.
#[derive(Clone, Default)]
struct Scores(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    values: u64,
    first: HashMap<(StreamName, Key), Instant>,
}

impl Sink for Scores {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for Scores {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let mut seen = self.0.lock().expect("nobody panics with this lock");
        for column in frame.columns {
            seen.values += column.times.len() as u64;
            let scored = (0..column.times.len()).any(|row| !column.values.is_missing(row));
            if scored && column.stream.as_str().starts_with("added") {
                seen.first.entry((column.stream.clone(), column.key.clone())).or_insert_with(Instant::now);
            }
        }
        drop(seen);
        done.done();
    }
}

impl Scores {
    async fn wait<T>(&self, look: impl Fn(&Seen) -> Option<T>) -> Result<T, String> {
        let began = Instant::now();
        loop {
            if let Some(found) = look(&self.0.lock().expect("nobody panics with this lock")) {
                return Ok(found);
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("no score within {PATIENCE:?}"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Processor time of the shard's thread, in milliseconds.
fn shard_time() -> f64 {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let shards = threads
        .filter(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.starts_with("actix-rt")));
    let nanos = shards.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    nanos.sum::<u64>() as f64 / 1e6
}

fn node_for(key: &Key, models: &DeviceModels) -> Node {
    added(NODE, Work::Model(models[0].clone())).for_key(key.clone())
}

fn added(name: &'static str, work: Work) -> Node {
    let needs: Vec<Stream<f32>> = topology::FEATURES.into_iter().map(Stream::<f32>::named).collect();
    provide(Stream::<f32>::named(name)).needs(needs.as_slice()).by(work)
}

struct Bench {
    handle: Handle,
    scores: Scores,
    speaking: Speaking,
    keys: Arc<Vec<Key>>,
    models: Vec<DeviceModels>,
}

impl Bench {
    /// How long a window is measured, with a change and without one.
    const WINDOW: Duration = Duration::from_millis(150);

    /// The time to the first score, and the shard's time above that of rows alone with the change and without.
    async fn one(&self, device: usize, stream: &'static str) -> Result<[f64; 3], Box<dyn std::error::Error>> {
        *self.speaking.lock().expect("nobody panics with this lock") = vec![device];
        tokio::time::sleep(4 * PERIOD).await;
        let mut rows_alone = [0.0; 2];
        for window in &mut rows_alone {
            let before = shard_time();
            tokio::time::sleep(Self::WINDOW).await;
            *window = shard_time() - before;
        }
        let [rows_alone, again] = rows_alone;
        let key = &self.keys[device];
        let deployment = if stream == NODE {
            Deployment::new().put(node_for(key, &self.models[device]))
        } else {
            Deployment::new().member(MEMBER, key.clone(), Some(self.models[device][0].clone()))
        };
        let (before, began) = (shard_time(), Instant::now());
        self.handle.apply(deployment).await?;
        let wanted = (StreamName::from(stream), key.clone());
        let first = self.scores.wait(|seen| seen.first.get(&wanted).copied()).await?;
        tokio::time::sleep(Self::WINDOW.saturating_sub(began.elapsed())).await;
        let above = |time: f64| (time - rows_alone).max(0.0);
        Ok([(first - began).as_secs_f64() * 1e3, above(shard_time() - before), above(again)])
    }

    async fn many(&self, stream: &'static str, from: usize, count: usize) -> Result<Cost, Box<dyn std::error::Error>> {
        let (mut scored, mut shard, mut idle) = (Vec::new(), Vec::new(), Vec::new());
        for device in from..from + count {
            let [first_score, with_change, without] = self.one(device, stream).await?;
            scored.push(first_score);
            shard.push(with_change);
            idle.push(without);
        }
        let [first_score_ms, shard_ms, idle_ms] = [scored, shard, idle].map(median_and_worst);
        Ok(Cost { first_score_ms, shard_ms, idle_ms })
    }

    async fn set(&self, from: usize, count: usize) -> Result<[f64; 2], Box<dyn std::error::Error>> {
        let devices: Vec<usize> = (from..from + count).collect();
        let nodes = devices.iter().map(|device| node_for(&self.keys[*device], &self.models[*device]));
        let deployment = Deployment::new().put_all(nodes);
        *self.speaking.lock().expect("nobody panics with this lock") = devices;
        tokio::time::sleep(4 * PERIOD).await;
        let already = self.scores.0.lock().expect("nobody panics with this lock").first.len();
        let began = Instant::now();
        self.handle.apply(deployment).await?;
        let applied = began.elapsed();
        let all = |seen: &Seen| (seen.first.len() >= already + count).then(|| seen.first.values().max().copied());
        let last = self.scores.wait(all).await?.ok_or("nothing was added")?;
        Ok([applied.as_secs_f64() * 1e3, (last - began).as_secs_f64() * 1e3])
    }
}

fn median_and_worst(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_unstable_by(f64::total_cmp);
    [values[values.len() / 2], values[values.len() - 1]]
}

async fn run(arguments: &Arguments) -> Result<Report, Box<dyn std::error::Error>> {
    if arguments.changes == 0 || arguments.devices < 2 * arguments.changes + arguments.set {
        return Err("there must be changes, and a device for each: --devices at least 2 * --changes + --set".into());
    }
    let templates = Templates::load()?;
    let models: Vec<DeviceModels> =
        (0..arguments.devices as u64).map(|device| models::of_device(&templates, device)).collect::<Result<_, _>>()?;
    let keys = Arc::new((0..arguments.devices).map(topology::key).collect::<Vec<_>>());
    let (speaking, scores) = (Speaking::default(), Scores::default());
    let spare = added(MEMBER, Work::Family(Family::from_iter(Vec::<(Key, _)>::new())));
    let topology = topology::build(&models, arguments.per_key_models)?.with(spare);
    let source = Rows::new(&keys, &speaking);
    let runtime = Runtime::builder().topology(topology).source(source).sink(topology::SINK, scores.clone()).shards(1);
    let handle = runtime.start().await?;
    let all = (arguments.devices * data::MODELS) as u64;
    scores.wait(|seen| (seen.values >= all).then_some(())).await?;
    let bench = Bench { handle, scores, speaking, keys, models };
    let node = bench.many(NODE, 0, arguments.changes).await?;
    let member = bench.many(MEMBER, arguments.changes, arguments.changes).await?;
    let [set_applied_ms, set_scored_ms] = bench.set(2 * arguments.changes, arguments.set).await?;
    bench.handle.stop().await?;
    Ok(Report {
        models_before: arguments.devices * data::MODELS,
        per_key_models: arguments.per_key_models,
        changes: arguments.changes,
        node,
        member,
        set: arguments.set,
        set_applied_ms,
        set_scored_ms,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let report = run(&arguments).await?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!("{} models run; milliseconds, median and worst of {} changes", report.models_before, report.changes);
    for (what, cost) in [("a node of its own", &report.node), ("a member of a family", &report.member)] {
        let ([score, worst_score], [shard, worst_shard]) = (cost.first_score_ms, cost.shard_ms);
        let [idle, worst_idle] = cost.idle_ms;
        println!(
            "{what:22} first score {score:8.1} {worst_score:8.1}   shard {shard:8.2} {worst_shard:8.2}   without a change {idle:8.2} {worst_idle:8.2}"
        );
    }
    println!(
        "{} nodes in one set: applied {:.1}, all scored {:.1}",
        report.set, report.set_applied_ms, report.set_scored_ms
    );
    Ok(())
}
