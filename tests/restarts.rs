//! What was answered is there after a restart, whatever the host has done, and whatever the disk has refused.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gristmill::Runtime;
use gristmill::deployer::{AttributeChange, ChangeSet, Deployer, DeployerStartError, Refusal, Terms};
use gristmill::in_process::{Collected, Feeder, feed};
use gristmill::registry::disk::{Disk, SystemDisk};
use gristmill::registry::{RegistryFolder, Verdict};
use gristmill::state::StateFolder;
use gristmill::topology::{Attributes, Registry, Topology, provide, sensor, sink};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::words::{Column, ElementType, NodeId, Offset, Time, Value};
use gristmill_operators::registry::registry;
use gristmill_tests::support::site::{RMS, folder};

const NOW: Time = Time::from_secs(1_700_000_000);

fn pump() -> Topology {
    Topology::new("pump").with(sensor(RMS)).with(sink("out").needs(gristmill::topology::all_models()).and(RMS))
}

/// A host's own model.
fn doubled(times: f32) -> gristmill::topology::Node {
    provide(gristmill::Stream::<f32>::new("doubled")).needs(RMS).by(move |rms: f32| rms * times).model()
}

/// A manifest of a node that asks for what is there.
fn asks(id: &str) -> ChangeSet {
    ChangeSet::new()
        .manifest(format!(r#"{{ "topology": "pump", "sink": "out", "id": "{id}", "asks": ["vibration.rms"] }}"#))
}

struct Mill {
    deployer: Deployer,
    feeder: Feeder,
    values: Collected,
}

fn builder(topology: Topology) -> (gristmill::Builder, Feeder, Collected) {
    let axes = Axes::Declared(vec![vec![("vibration.rms".into(), ElementType::F32)]]);
    let (feeder, source) = feed(axes);
    let values = Collected::default();
    (Runtime::builder().topology(topology).source(source).sink("out", values.clone()).shards(1), feeder, values)
}

async fn start(folder: &Path, topology: Topology) -> Mill {
    let revisions = RegistryFolder::open(folder, NOW).expect("the folder opens");
    start_on(revisions, topology).await
}

async fn start_on(revisions: RegistryFolder, topology: Topology) -> Mill {
    let (builder, feeder, values) = builder(topology);
    let deployer = Deployer::start(builder, revisions, registry()).await.expect("it starts");
    Mill { deployer, feeder, values }
}

impl Mill {
    async fn deploy(&self, change: ChangeSet) -> Result<gristmill::deployer::Outcome, Refusal> {
        self.deployer.deploy(change, &Terms::by("me")).await
    }

    async fn runs(&self, node: &str) -> bool {
        let report = self.deployer.handle().report(None).await.expect("it runs");
        report.nodes.iter().any(|of| of.node == NodeId::from(node))
    }

    async fn state(&self, node: &str) -> String {
        let report = self.deployer.handle().report(None).await.expect("it runs");
        report.nodes.iter().find(|of| of.node == NodeId::from(node)).map(|of| of.state.to_string()).unwrap_or_default()
    }

    async fn row(&self, offset: i64, value: f32) {
        let (times, columns) = (vec![Time::from_secs(offset)], vec![Column::F32(vec![value])]);
        let row = RowsRecord { offset: Offset(offset), log_time: None, key: "P1".into(), axis: 0, times, columns };
        self.feeder.send(0, vec![row]).await.expect("it runs");
        self.feeder.taken().await.expect("it runs");
        self.deployer.handle().settled().await;
    }

    /// The values of a stream since it was asked last.
    fn written(&self, stream: &str) -> Vec<String> {
        let values = self.values.take();
        values.iter().filter(|value| &*value.stream == stream).map(|value| value.value.to_string()).collect()
    }

    async fn end(self) {
        let Self { deployer, feeder, .. } = self;
        drop(feeder);
        deployer.handle().finished().await.expect("it ends in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_after_one_that_the_host_could_not_make_is_applied_and_stays() {
    let folder = folder("restarts-tried");
    let mill = start(&folder, pump()).await;
    mill.deployer.handle().apply(sink("nowhere").needs(RMS)).await.expect_err("no sink is bound so");
    let outcome = mill.deploy(asks("again")).await.expect("it is right");
    assert_eq!(outcome.verdict, "applied");
    assert_eq!(Some(outcome.revision), mill.deployer.handle().plan(None).await.map(|plan| plan.revision));
    mill.end().await;
    let mill = start(&folder, pump()).await;
    assert!(mill.runs("again").await, "what was answered is there");
    mill.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_nothing_now_is_deployed_all_the_same() {
    let folder = folder("restarts-unchanged");
    let known = |rating: f64| {
        let mut known = Attributes::new().declare("rating", ElementType::F64);
        known.set("P1", "rating", &Value::F64(rating)).expect("it is declared");
        known
    };
    let mill = start(&folder, pump().attributes(known(5.0))).await;
    let facts: AttributeChange = serde_json::from_str(r#"{ "keys": { "P1": { "rating": 5 } } }"#).expect("facts");
    let outcome = mill.deploy(ChangeSet::new().attributes(facts)).await.expect("it is right");
    assert_eq!(outcome.verdict, "unchanged");
    mill.end().await;
    let mill = start(&folder, pump().attributes(known(6.0))).await;
    let plan = mill.deployer.handle().plan(None).await.expect("it runs");
    assert_eq!(plan.base.attributes.of(&"P1".into()).get("rating"), Some(&Value::F64(5.0)), "it lies over the host's");
    mill.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_rows_had_are_not_given_again() {
    let folder = folder("restarts-numbers");
    let mill = start(&folder, pump().with(doubled(2.0))).await;
    let mut subscription = mill.deployer.handle().subscribe(&RMS).await.expect("it is there");
    let reads = tokio::spawn(async move { while subscription.next().await.is_some() {} });
    mill.row(0, 1.0).await;
    mill.deploy(ChangeSet::new().remove("nobody")).await.expect_err("there is none");
    let refused = mill.deployer.records().last().expect("it is recorded").revision;
    let used = mill.deployer.handle().revision().await;
    assert!(mill.values.take().iter().any(|value| value.revision == used));
    reads.abort();
    let other = mill.deployer.handle().subscribe(&RMS).await.expect("it is there").applied().revision;
    assert!(other > refused, "{other} after {refused}, which was refused");
    let used = used.max(other);
    mill.end().await;
    let mill = start(&folder, pump().with(doubled(2.0))).await;
    let next = mill.deploy(asks("again")).await.expect("it is right").revision;
    assert!(next > used, "{next} after {used}");
    // Those that have a record need no other mark.
    let more = mill.deploy(asks("more")).await.expect("it is right").revision;
    assert_eq!(more.0, next.0 + 1);
    mill.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_does_without_nodes_that_the_host_has_no_more() {
    let folder = folder("restarts-back");
    let mill = start(&folder, pump().with(doubled(2.0))).await;
    let before = mill.deploy(asks("again")).await.expect("it is right").revision;
    mill.deploy(ChangeSet::new().pause("doubled")).await.expect("it runs");
    let paused = mill.deployer.in_force();
    mill.end().await;
    let mill = start(&folder, pump()).await;
    mill.deployer.rollback(before, None, &Terms::by("me")).await.expect("nothing is left to resume");
    mill.deployer.rollback(paused, None, &Terms::by("me")).await.expect("nothing is left to pause");
    mill.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_comes_back_as_it_ran_last() {
    let all = sink("out").needs(gristmill::topology::matching("*"));
    let topology = Topology::new("pump").with(sensor(RMS)).with(all).with(doubled(2.0));
    let mill = start(&folder("restarts-last"), topology).await;
    let host = mill.deployer.in_force();
    let newer = r#"{ "topology": "pump", "id": "doubled", "needs": ["vibration.rms: f32"], "provides": ["doubled: f32"],
        "expr": "vibration.rms * 3" }"#;
    mill.deploy(ChangeSet::new().manifest(newer)).await.expect("it is right");
    mill.deployer.rollback(host, None, &Terms::by("me")).await.expect("it is kept");
    mill.deploy(ChangeSet::new().remove("doubled")).await.expect("it runs");
    mill.deployer.restore(&"doubled".into(), None, &Terms::by("me")).await.expect("it ran");
    mill.row(0, 1.0).await;
    assert_eq!(mill.written("doubled"), ["2"], "the host's, which it was gone back to");
    mill.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_pauses_stays_paused_when_something_was_deployed() {
    let folder = folder("restarts-paused");
    let topology = || pump().with(doubled(2.0)).paused(["doubled".into()]);
    let mill = start(&folder, topology()).await;
    assert_eq!(mill.state("doubled").await, "paused");
    mill.deploy(asks("again")).await.expect("it is right");
    mill.end().await;
    let mill = start(&folder, topology()).await;
    assert_eq!(mill.state("doubled").await, "paused");
    mill.deploy(ChangeSet::new().resume("doubled")).await.expect("it is paused");
    mill.end().await;
    let mill = start(&folder, topology()).await;
    assert_eq!(mill.state("doubled").await, "running", "it was resumed since");
    let resumed = mill.deployer.in_force();
    mill.deploy(ChangeSet::new().remove("again")).await.expect("it runs");
    mill.deploy(ChangeSet::new().pause("doubled")).await.expect("it runs");
    mill.deployer.rollback(resumed, None, &Terms::by("me")).await.expect("it is kept");
    assert_eq!(mill.state("doubled").await, "running");
    mill.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_pauses_no_more_runs() {
    let folder = folder("restarts-not-paused");
    let mill = start(&folder, pump().with(doubled(2.0)).paused(["doubled".into(), "later".into()])).await;
    assert_eq!(mill.state("doubled").await, "paused");
    mill.end().await;
    let mill = start(&folder, pump().with(doubled(2.0)).with(doubled(3.0).named("later").for_key("P9"))).await;
    assert_eq!(mill.state("doubled").await, "running");
    mill.end().await;
}

/// Refuses what it is told to, so many times.
struct Refusing {
    what: fn(&str, &Path) -> bool,
    skip: AtomicUsize,
    times: AtomicUsize,
}

impl Refusing {
    fn new(what: fn(&str, &Path) -> bool, skip: usize, times: usize) -> Arc<Self> {
        Arc::new(Self { what, skip: AtomicUsize::new(skip), times: AtomicUsize::new(times) })
    }

    fn step(&self, what: &str, path: &Path) -> io::Result<()> {
        let less = |count: &AtomicUsize| {
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        };
        let refused = (self.what)(what, path) && !less(&self.skip) && less(&self.times);
        if refused { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
}

impl Disk for Refusing {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step("write", path).and_then(|()| SystemDisk.write(path, bytes))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step("append", path).and_then(|()| SystemDisk.append(path, bytes))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.step("sync", path).and_then(|()| SystemDisk.sync(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename", from).and_then(|()| SystemDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path).and_then(|()| SystemDisk.remove(path))
    }
}

fn is_revision(what: &str, path: &Path) -> bool {
    what == "write" && path.extension().is_some_and(|ending| ending == "json")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_record_cannot_be_written_leaves_the_saved_states() {
    for (skip, name) in [(0, "begun"), (1, "done")] {
        let (folder, states) = (folder(&format!("restarts-start-{name}")), folder(&format!("restarts-states-{name}")));
        let summed = provide(gristmill::Stream::<f32>::new("sum"))
            .needs((RMS, gristmill::topology::previous(gristmill::Stream::<f32>::new("sum"), 0.0)))
            .by(|rms: f32, sum: f32| rms + sum)
            .model();
        let on = |disk: Arc<dyn Disk>, topology: Topology| {
            let (builder, feeder, values) = builder(topology);
            let builder = builder.state(StateFolder::open(&states).expect("it is free"));
            let revisions = RegistryFolder::open_on(disk, &folder, NOW).expect("the folder opens");
            (Deployer::start(builder, revisions, Registry::new()), feeder, values)
        };
        let (started, feeder, values) = on(Arc::new(SystemDisk), pump().with(summed.clone()));
        let mill = Mill { deployer: started.await.expect("it starts"), feeder, values };
        mill.row(0, 1.0).await;
        mill.end().await;

        // Another node makes it a start with other topologies than before, which gets a record.
        let other = pump().with(summed).with(doubled(2.0));
        let (started, feeder, _) = on(Refusing::new(is_revision, skip, 1), other.clone());
        let error = started.await.err().expect("its record is refused");
        assert!(matches!(error, DeployerStartError::Registry(_)), "{error}");
        drop(feeder);
        let (started, feeder, values) = on(Arc::new(SystemDisk), other);
        let mill = Mill { deployer: started.await.expect("it starts"), feeder, values };
        mill.row(1, 2.0).await;
        assert_eq!(mill.written("sum"), ["3"], "{name}: the sum goes on");
        mill.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_undone_as_it_is_not_durable_does_not_run_after_a_restart() {
    fn names_of_revisions(what: &str, path: &Path) -> bool {
        what == "sync" && path.file_name().is_some_and(|name| name == "revisions")
    }
    fn end_of_revision(what: &str, path: &Path) -> bool {
        is_revision(what, path)
    }
    // The start writes its record twice, and so does the deployment.
    for (what, name) in [(names_of_revisions as fn(&str, &Path) -> bool, "sync"), (end_of_revision, "write")] {
        for times in [1, 2] {
            let folder = folder(&format!("restarts-undone-{name}-{times}"));
            let disk = Refusing::new(what, 3, times);
            let mill = start_on(RegistryFolder::open_on(disk, &folder, NOW).expect("it opens"), pump()).await;
            let before = mill.deployer.in_force();
            let terms = Terms { idempotency: Some("once".to_owned()), ..Terms::by("me") };
            let refusal = mill.deployer.deploy(asks("again"), &terms).await.expect_err("its record is refused");
            assert_eq!(refusal.code, "not-durable", "{refusal}");
            assert!(!mill.runs("again").await);
            assert_eq!(mill.deployer.in_force(), before);
            // A deployment that is refused is recorded, and mends what is in doubt.
            if times == 2 {
                mill.deploy(ChangeSet::new().remove("nobody")).await.expect_err("there is none");
            }
            mill.end().await;
            let mill = start(&folder, pump()).await;
            assert!(!mill.runs("again").await, "{name}, {times} times");
            mill.deployer.deploy(asks("again"), &terms).await.expect("it may be tried again with its key");
            let records = mill.deployer.records();
            let of = records.iter().find(|record| record.revision.0 == before.0 + 1).expect("it is kept");
            assert!(matches!(&of.verdict, Verdict::Refused { code, .. } if code == "not-durable"), "{:?}", of.verdict);
            mill.end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_share_what_did_not_change_and_leave_the_disk_with_their_revisions() {
    let folder = folder("restarts-facts");
    let mut known = Attributes::new().declare("rating", ElementType::F64);
    for key in 0..1_000 {
        known.set(format!("P{key}"), "rating", &Value::F64(1.0)).expect("it is declared");
    }
    let revisions = RegistryFolder::open(&folder, NOW).expect("the folder opens").keeping(3);
    let mill = start_on(revisions, pump().attributes(known.clone())).await;
    let rating = |rating: usize| -> AttributeChange {
        let text = format!(
            r#"{{ "keys": {{ "P1": {{ "rating": {rating} }}, "P9": {{ "rating": null }}, "Q1": {{ "rating": null }} }} }}"#
        );
        serde_json::from_str(&text).expect("facts")
    };
    let mut plans = Vec::new();
    for number in 0..20 {
        mill.deploy(ChangeSet::new().attributes(rating(number))).await.expect("it is right");
        plans.push(mill.deployer.handle().plan(None).await.expect("it runs"));
    }
    let of = |plan: usize, key: &str| plans[plan].base.attributes.of(&key.into());
    assert!(Arc::ptr_eq(&of(18, "P2"), &of(19, "P2")) && !Arc::ptr_eq(&of(18, "P1"), &of(19, "P1")));
    assert_eq!((of(19, "P1").len(), of(19, "P9").len(), of(19, "P2").len()), (1, 0, 1));
    assert!(mill.deployer.artifacts().expect("they are listed").len() <= 4, "facts go with their revisions");

    // The host learns of one key, and the rest stays as it is.
    known.set("P2", "rating", &Value::F64(2.0)).expect("it is declared");
    known.set("P9", "rating", &Value::F64(2.0)).expect("it is declared");
    mill.deployer.host_attributes(None, known, "a topic", "host").await.expect("it is right");
    let plan = mill.deployer.handle().plan(None).await.expect("it runs");
    let now = |key: &str| plan.base.attributes.of(&key.into());
    assert!(Arc::ptr_eq(&now("P3"), &of(19, "P3")) && Arc::ptr_eq(&now("P1"), &of(19, "P1")));
    assert_eq!(now("P2").get("rating"), Some(&Value::F64(2.0)));
    assert!(now("P9").is_empty(), "it is still hidden");
    mill.end().await;
}

#[test]
fn deployments_that_wait_leave_threads_for_the_one_that_has_its_turn() {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let threads = threads.worker_threads(1).max_blocking_threads(2).enable_all().build().expect("threads");
    threads.block_on(async {
        let mill = start(&folder("restarts-threads"), pump()).await;
        mill.deployer.set_limit(Duration::from_secs(20));
        let mut all = tokio::task::JoinSet::new();
        for number in 0..8 {
            let deployer = mill.deployer.clone();
            all.spawn(async move { deployer.deploy(asks(&format!("again{number}")), &Terms::by("me")).await });
        }
        for outcome in all.join_all().await {
            outcome.expect("it is right");
        }
        mill.end().await;
    });
}
