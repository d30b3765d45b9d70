//! A node that fails for many keys is put in quarantine for all of them: a revision of its own, which `resume`, `reset` or
//! another version ends. One that fails for few keys, or for a small part of its keys, is not.

use std::time::Duration;

use gristmill::defect::Defect;
use gristmill::in_process::{Collected, Feeder, feed};
use gristmill::topology::{Node, Topology, provide, sensor, sink};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::words::{Column, ElementType, Offset, Revision, Time};
use gristmill::{Deployment, Handle, NodeReport, NodeState, Options, Runtime, Stream};

const VALUE: Stream<f64> = Stream::new("value");
const ROOT: Stream<f64> = Stream::new("root");
/// Enough for the supervisor to look several times.
const QUIET: Duration = Duration::from_millis(500);

fn root(version: u32) -> Node {
    let root = |value: f64| {
        assert!(value >= 0.0, "{value} has no root");
        value.sqrt()
    };
    provide(ROOT).needs(VALUE).by(root).version(version)
}

struct Running {
    mill: Handle,
    feeder: Feeder,
    scores: Collected,
    second: i64,
}

impl Running {
    async fn start(quarantine_keys: usize, defect: Option<Defect>) -> Self {
        let (feeder, source) = feed(Axes::Declared(vec![vec![("value".into(), ElementType::F64)]]));
        let scores = Collected::default();
        let topology = Topology::new("pump").with(sensor(VALUE)).with(root(1)).with(sink("scores").needs(ROOT));
        let options = Options { shards: 2, quarantine_keys, ..Options::default() };
        let mill = Runtime::builder().topology(topology).source(source).sink("scores", scores.clone());
        let mill = mill.options(options).defect(defect).start().await.expect("it starts");
        Self { mill, feeder, scores, second: 0 }
    }

    /// One row of each key a second: `value` of those below `bad`, 4 of the others.
    async fn rows(&mut self, seconds: i64, keys: usize, bad: usize) {
        for _ in 0..seconds {
            let time = Time::from_secs(self.second);
            let record = |(offset, key): (i64, usize)| RowsRecord {
                offset: Offset(self.second * 1_000_000 + offset),
                log_time: None,
                key: format!("p{key}").as_str().into(),
                axis: 0,
                times: vec![time],
                columns: vec![Column::F64(vec![if key < bad { -1.0 } else { 4.0 }])],
            };
            self.feeder.send(0, (0..).zip(0..keys).map(record).collect()).await.expect("it runs");
            self.second += 1;
        }
        self.feeder.taken().await.expect("it runs");
        self.mill.settled().await;
    }

    async fn node(&self) -> NodeReport {
        let report = self.mill.report(None).await.expect("it runs");
        report.nodes.into_iter().find(|node| node.node.as_str() == "root").expect("it is deployed")
    }

    async fn quarantined(&self) {
        for _ in 0..100 {
            if self.node().await.quarantined {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it is not in quarantine: {:?}", self.node().await);
    }

    /// Scores since the last time.
    fn scored(&self) -> usize {
        self.scores.take().len()
    }
}

/// What happens to 200 keys of which `bad` fail from the start on.
async fn with(bad: usize, quarantine_keys: usize) -> Running {
    let mut running = Running::start(quarantine_keys, None).await;
    running.rows(5, 200, bad).await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_left_out_for_all_until_it_is_resumed() {
    let mut running = with(120, 100).await;
    running.quarantined().await;
    assert_eq!(running.mill.revision().await, Revision(2));
    let node = running.node().await;
    assert_eq!((node.state, node.quarantined_keys, node.counts.failed), (NodeState::Quarantined, 120, 600));
    let why = running.mill.explain(None, &"root".into(), &"p150".into()).await.expect("it runs").to_string();
    assert!(why.contains("it failed for too many keys"), "{why}");
    running.scored();
    // Neither keys that were well nor new ones, bad or not, come to it.
    running.rows(5, 400, 120).await;
    let node = running.node().await;
    assert_eq!((running.scored(), node.counts.failed, node.counts.quarantined), (0, 600, 2_000));
    running.mill.apply(Deployment::new().resume("root")).await.expect("it is resumed");
    // One that fails again is one, though the others have not had a row since.
    running.rows(5, 1, 1).await;
    tokio::time::sleep(QUIET).await;
    assert!(!running.node().await.quarantined, "the others' quarantines are over");
    running.rows(1, 400, 0).await;
    let node = running.node().await;
    assert_eq!((running.scored(), node.quarantined, node.quarantined_keys), (399, false, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_ends_it() {
    let mut running = with(200, 100).await;
    running.quarantined().await;
    running.mill.apply(root(1)).await.expect("the same again");
    assert!(running.node().await.quarantined, "the same again is no replacement");
    running.mill.apply(root(2)).await.expect("it is replaced");
    running.rows(1, 200, 0).await;
    assert_eq!((running.scored(), running.node().await.state), (200, NodeState::Running));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_ends_it() {
    let mut running = with(200, 100).await;
    running.quarantined().await;
    running.mill.apply(Deployment::new().reset("root")).await.expect("it is reset");
    running.rows(1, 200, 0).await;
    assert_eq!((running.scored(), running.node().await.state), (200, NodeState::Running));
}

#[tokio::test(flavor = "multi_thread")]
async fn few_keys_or_a_small_part_of_them_are_left_out_alone() {
    for (bad, quarantine_keys) in [(99, 100), (120, 121), (120, usize::MAX), (99, 10)] {
        let mut running = with(bad, quarantine_keys).await;
        tokio::time::sleep(QUIET).await;
        running.scored();
        running.rows(1, 200, bad).await;
        assert_eq!(running.scored(), 200 - bad, "{bad} of 200 bad, {quarantine_keys} asked for");
        assert!(!running.node().await.quarantined);
        assert_eq!(running.mill.revision().await, Revision(1));
    }
}

/// What a shard does of it could be broken.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_on_would_be_found() {
    let mut running = Running::start(100, Some(Defect::WholeNode)).await;
    running.rows(5, 200, 120).await;
    running.quarantined().await;
    running.scored();
    running.rows(1, 200, 120).await;
    assert_eq!(running.scored(), 80, "keys that were well go on");
}
