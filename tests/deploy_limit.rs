//! A deployment that hangs is undone by its limit and says which node it was; what ran before runs on, and the next
//! deployment goes through.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gristmill::Runtime;
use gristmill::deployer::{Artifact, ChangeSet, Deployer, Terms};
use gristmill::in_process::{Collected, feed};
use gristmill::registry::{RegistryFolder, digest_of};
use gristmill::topology::{Registry, Topology, all_models, sensor, sink};
use gristmill::traits::source::Axes;
use gristmill::traits::{Digest, Format, LoadError, Model, Port, ScoreError};
use gristmill::words::{ColumnMut, ColumnRef, ElementType, Revision, Time};
use gristmill_tests::support::site::RMS;

/// A format whose models take as many milliseconds for a call as their artifact says.
struct Slow;

#[derive(Debug)]
struct Sleeper {
    time: Duration,
    digest: Digest,
    ports: [Port; 1],
}

impl Format for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Model>, LoadError> {
        let text = String::from_utf8_lossy(bytes);
        let millis = text.parse().map_err(|_| LoadError { reason: "it is no number".to_owned() })?;
        let ports = [Port { name: None, element: ElementType::F32 }];
        Ok(Arc::new(Sleeper { time: Duration::from_millis(millis), digest: digest_of(bytes), ports }))
    }
}

impl Model for Sleeper {
    fn inputs(&self) -> &[Port] {
        &self.ports
    }

    fn outputs(&self) -> &[Port] {
        &self.ports
    }

    fn score(&self, _: &[ColumnRef<'_>], _: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        std::thread::sleep(self.time);
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}

fn change(millis: &str) -> ChangeSet {
    let manifest = r#"{ "topology": "pump", "needs": ["vibration.rms: f32"], "provides": ["slow: f32"],
        "model": { "slow": "model" } }"#;
    ChangeSet::new().manifest(manifest).artifact("model", Artifact::Bytes(millis.as_bytes().to_vec()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_hangs_in_its_trial_is_undone() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy-limit");
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run left
    let (feeder, source) = feed(Axes::Declared(vec![vec![("vibration.rms".into(), ElementType::F32)]]));
    let pump = Topology::new("pump").with(sensor(RMS)).with(sink("out").needs(all_models()).and(RMS));
    let builder = Runtime::builder().topology(pump).source(source).sink("out", Collected::default()).shards(1);
    let mut formats = Registry::new();
    formats.register_format(Slow);
    let folder = RegistryFolder::open(folder, Time(0)).expect("a new folder opens");
    let deployer = Deployer::start(builder, folder, formats).await.expect("it starts");

    deployer.set_limit(Duration::from_millis(50));
    let error = deployer.deploy(change("3000"), &Terms::by("test")).await.expect_err("it takes too long");
    assert_eq!(error.code, "timed-out");
    assert!(error.reason.contains("trial row of `slow`") && error.reason.contains("50ms"), "{error}");
    assert_eq!(deployer.in_force(), Revision(1));

    deployer.set_limit(Duration::from_secs(60));
    let done = deployer.deploy(change("1"), &Terms::by("test")).await.expect("it is quick enough");
    assert_eq!(done.revision, Revision(3), "the number of what was refused is not used again");
    assert_eq!(deployer.in_force(), Revision(3));
    drop(feeder);
    deployer.handle().finished().await.expect("it ends in order");
}
