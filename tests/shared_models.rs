//! Equal artifacts are one model in memory, wherever they come from, and gone when nobody uses them any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gristmill::deployer::{Artifact, ChangeSet, Deployer, Terms};
use gristmill::in_process::{Collected, feed};
use gristmill::registry::{RegistryFolder, digest_of};
use gristmill::topology::{Manifest, Node, Registry, Topology, Work, all_models, sensor, sink};
use gristmill::traits::source::Axes;
use gristmill::traits::{Digest, Format, LoadError, Model, Port, ScoreError};
use gristmill::words::{ColumnMut, ColumnRef, ElementType, Time};
use gristmill::{Deployment, Runtime, Stream};

const RMS: Stream<f32> = Stream::new("rms");

/// How many models were loaded, and how many are in memory.
#[derive(Clone, Debug, Default)]
struct Count {
    loaded: Arc<AtomicUsize>,
    live: Arc<AtomicUsize>,
}

impl Count {
    fn loaded(&self) -> usize {
        self.loaded.load(Ordering::SeqCst)
    }

    fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }
}

/// A format whose models are counted.
struct Counted(Count);

#[derive(Debug)]
struct Echo {
    count: Count,
    digest: Digest,
    ports: [Port; 1],
}

impl Format for Counted {
    fn name(&self) -> &str {
        "counted"
    }

    fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Model>, LoadError> {
        self.0.loaded.fetch_add(1, Ordering::SeqCst);
        self.0.live.fetch_add(1, Ordering::SeqCst);
        let ports = [Port { name: None, element: ElementType::F32 }];
        Ok(Arc::new(Echo { count: self.0.clone(), digest: digest_of(bytes), ports }))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.count.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Model for Echo {
    fn inputs(&self) -> &[Port] {
        &self.ports
    }

    fn outputs(&self) -> &[Port] {
        &self.ports
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        (0..inputs[0].len()).for_each(|row| outputs[0].copy_row(row, inputs[0], row));
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}

fn counted() -> (Registry, Count) {
    let (mut formats, count) = (Registry::new(), Count::default());
    formats.register_format(Counted(count.clone()));
    (formats, count)
}

fn manifest(name: &str) -> String {
    format!(
        "{{ \"topology\": \"pump\", \"needs\": [\"rms: f32\"], \"provides\": [\"{name}: f32\"],\
         \"model\": {{ \"counted\": \"model\" }} }}"
    )
}

fn change(name: &str, artifact: &str) -> ChangeSet {
    ChangeSet::new().manifest(manifest(name)).artifact("model", Artifact::Bytes(artifact.as_bytes().to_vec()))
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run left
    std::fs::create_dir_all(&folder).expect("the folder of temporary files can be written");
    folder
}

/// A system with these nodes of the host's; what keeps its source open comes with it.
async fn start(host: Vec<Node>, revisions: &Path, formats: Registry) -> (Deployer, impl Sized + use<>) {
    let (feeder, source) = feed(Axes::Declared(vec![vec![("rms".into(), ElementType::F32)]]));
    let pump = Topology::new("pump").with(sensor(RMS)).with(sink("out").needs(all_models()).and(RMS)).with_all(host);
    let builder = Runtime::builder().topology(pump).source(source).sink("out", Collected::default()).shards(1);
    let revisions = RegistryFolder::open(revisions, Time(0)).expect("the folder opens");
    (Deployer::start(builder, revisions, formats).await.expect("it starts"), feeder)
}

async fn model(deployer: &Deployer, node: &str) -> Arc<dyn Model> {
    let plan = deployer.handle().plan(None).await.expect("one class runs");
    let node = plan.base.nodes.iter().find(|running| running.name.as_str() == node).expect("it runs");
    let Work::Model(model) = &node.node.work else { panic!("it is a model") };
    Arc::clone(model)
}

/// Bug: deployments of one artifact had a copy each. Cause: only nodes of one manifest shared. Fix: the registry does it.
#[tokio::test(flavor = "multi_thread")]
async fn deployments_of_equal_content_share_one_model_until_nobody_uses_it() {
    let (terms, revisions) = (Terms::by("test"), folder("shared-revisions"));
    let files = folder("shared-files");
    std::fs::write(files.join("model"), "a").expect("the folder can be written");
    let (formats, count) = counted();
    let host = Manifest::from_json(&manifest("zero")).and_then(|manifest| manifest.nodes(&formats, &files));
    let (deployer, feeder) = start(host.expect("it is right"), &revisions, formats).await;
    for (name, artifact) in [("one", "a"), ("two", "a"), ("three", "b")] {
        deployer.deploy(change(name, artifact), &terms).await.expect("nothing is wrong with it");
    }
    assert_eq!((count.loaded(), count.live()), (2, 2), "the host's `a` and the deployed `b`");
    let [zero, one, two] =
        [model(&deployer, "zero").await, model(&deployer, "one").await, model(&deployer, "two").await];
    assert!(Arc::ptr_eq(&zero, &one) && Arc::ptr_eq(&one, &two));
    drop([zero, one, two]);

    // As long as a revision with it is kept it is there, and going back loads nothing.
    let before = deployer.in_force();
    let removed = ChangeSet::new().of("pump").remove("three");
    deployer.deploy(removed.clone(), &terms).await.expect("nobody needs it");
    deployer.rollback(before, None, &terms).await.expect("it is kept");
    assert_eq!((count.loaded(), count.live()), (2, 2));
    deployer.deploy(removed, &terms).await.expect("nobody needs it");

    // When all revisions with it are forgotten it is gone, and what is used stays.
    for number in 0..100 {
        let deployment = Deployment::new();
        let deployment = if number % 2 == 0 { deployment.pause("one") } else { deployment.resume("one") };
        deployer.handle().apply(deployment).await.expect("it can be paused and resumed");
    }
    for _ in 0..500 {
        if count.live() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await; // what departed drains in the background
        }
    }
    assert_eq!((count.loaded(), count.live()), (2, 1));
    drop(feeder);
    deployer.handle().finished().await.expect("it ends in order");
    drop(deployer);

    // A start loads what was deployed twice once.
    let (formats, count) = counted();
    let (deployer, feeder) = start(Vec::new(), &revisions, formats).await;
    assert!(Arc::ptr_eq(&model(&deployer, "one").await, &model(&deployer, "two").await));
    assert_eq!((count.loaded(), count.live()), (1, 1));
    drop(feeder);
    deployer.handle().finished().await.expect("it ends in order");
}

#[test]
fn a_format_that_is_replaced_shares_nothing_with_the_one_before() {
    let files = folder("replaced-format");
    std::fs::write(files.join("model"), "a").expect("the folder can be written");
    let (mut formats, before) = counted();
    let made = |formats: &Registry| {
        let nodes = Manifest::from_json(&manifest("one")).and_then(|manifest| manifest.nodes(formats, &files));
        let Work::Model(model) = nodes.expect("it is right").remove(0).work else { panic!("it is a model") };
        model
    };
    let first = made(&formats);
    assert!(Arc::ptr_eq(&first, &made(&formats.clone())));
    let after = Count::default();
    formats.register_format(Counted(after.clone()));
    assert!(!Arc::ptr_eq(&first, &made(&formats)));
    assert_eq!((before.live(), after.loaded()), (1, 1));
}
