//! Families from files: every bad member is named at once, wherever it is found; many good ones load and score.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill::deployer::{Artifact, ChangeSet, Deployer, Terms};
use gristmill::in_process::{Collected, feed};
use gristmill::registry::RegistryFolder;
use gristmill::topology::{Family, Manifest, ManifestErrors, Node, Topology, Work, provide, sensor, sink};
use gristmill::traits::source::Axes;
use gristmill::traits::{Digest, Model, Port, ScoreError};
use gristmill::words::{ColumnMut, ColumnRef, ElementType, Key, Revision, Time};
use gristmill::{DeployError, Deployment, Runtime, Stream};
use gristmill_operators::registry::registry;
use gristmill_tests::support::onnx::{weight, weighted_sum};

const RMS: Stream<f32> = Stream::new("rms");
const HEAT: Stream<f32> = Stream::new("heat");
const WEAR: Stream<f32> = Stream::new("wear");

const MEMBERS: usize = 10_000;

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder); // what an earlier run left
    fs::create_dir_all(&folder).expect("the folder of temporary files can be written");
    folder
}

fn nodes(folder: &Path, model: &str) -> Result<Vec<Node>, ManifestErrors> {
    let text = format!(
        "topology = \"pump\"\nneeds = [\"rms: f32\", \"heat: f32\"]\nprovides = [\"wear: f32\"]\nmodel = {model}"
    );
    Manifest::from_toml(&text).and_then(|manifest| manifest.nodes(&registry(), folder))
}

/// Bug: of more than 20 bad files the rest were only counted, and members that loaded but did not fit were not looked at
/// before those that did not load were mended. Cause: both were cut off where they were found. Fix: the error has all.
#[test]
fn every_bad_member_among_ten_thousand_is_named_and_no_other() {
    let folder = folder("bad-members");
    let good = weighted_sum(&["rms", "heat"], 0.0);
    let wide = weighted_sum(&["rms", "heat", "load"], 0.0);
    let other = weighted_sum(&["rms", "speed"], 0.0);
    let mut bad = BTreeMap::new();
    for number in 0..MEMBERS {
        let file = folder.join(format!("P{number}.onnx"));
        if number % 271 != 5 {
            fs::write(file, &good).expect("the folder can be written");
            continue;
        }
        let written = match bad.len() % 5 {
            0 => fs::write(file, &good[..good.len() / 2]),
            1 => fs::write(file, &wide),
            2 => fs::write(file, &other),
            3 => fs::create_dir(file),
            _ => std::os::unix::fs::symlink("nowhere", file),
        };
        written.expect("the folder can be written");
        let reason = ["", "reads 3 columns", "`speed` reads no need", "it is not a file", "cannot be read"];
        bad.insert(format!("P{number}"), reason[bad.len() % 5]);
    }
    assert_eq!(bad.len(), 37);
    let errors = nodes(&folder, "{ onnx = \"{key}.onnx\" }").map(drop).expect_err("37 are bad");
    let mut named = BTreeMap::new();
    for error in &errors.errors {
        let name = error.problem.split('`').nth(1).expect("it is named");
        named.insert(name.trim_end_matches(".onnx").to_owned(), error.problem.clone());
    }
    assert_eq!(errors.errors.len(), 37, "{errors:#}");
    assert_eq!(named.keys().collect::<Vec<_>>(), bad.keys().collect::<Vec<_>>());
    for (key, reason) in &bad {
        assert!(named[key].contains(reason), "{key}, {reason}: {}", named[key]);
    }
    assert_eq!((errors.to_string().lines().count(), format!("{errors:#}").lines().count()), (21, 37));
}

#[test]
fn ten_thousand_members_and_a_default_load_and_score() {
    let folder = folder("many-members");
    for number in 0..MEMBERS {
        let model = weighted_sum(&["rms", "heat"], number as f32);
        fs::write(folder.join(format!("P{number}.onnx")), model).expect("the folder can be written");
    }
    fs::write(folder.join("default.onnx"), weighted_sum(&["rms", "heat"], -1.0)).expect("the folder can be written");
    let made = nodes(&folder, "{ onnx = \"P{key}.onnx\", default = \"default.onnx\" }").expect("all are good");
    let mut bench = Topology::new("pump").with(sensor(RMS)).with(sensor(HEAT)).with_all(made).bench();
    for number in 0..=MEMBERS {
        bench.row(&number.to_string(), Time::from_secs(1)).set(RMS, 2.0).set(HEAT, 3.0);
    }
    let wear = bench.outputs().iter().filter(|output| output.stream.as_str() == "wear");
    let wear: BTreeMap<usize, Option<f64>> =
        wear.map(|output| (output.key.parse().expect("a number"), output.value.as_f64())).collect();
    let sum = 2.0 * weight(0) + 3.0 * weight(1);
    let bias = |number| if number == MEMBERS { -1.0 } else { number as f32 };
    let expected: BTreeMap<_, _> = (0..=MEMBERS).map(|number| (number, Some(f64::from(sum + bias(number))))).collect();
    assert_eq!(wear, expected);
}

/// A model that cannot score, or gives what it reads.
#[derive(Debug)]
struct Fake {
    broken: bool,
    ports: [Port; 1],
}

fn fake(broken: bool) -> Arc<dyn Model> {
    Arc::new(Fake { broken, ports: [Port { name: None, element: ElementType::F32 }] })
}

impl Model for Fake {
    fn inputs(&self) -> &[Port] {
        &self.ports
    }

    fn outputs(&self) -> &[Port] {
        &self.ports
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        if self.broken {
            return Err(ScoreError("it has no weights".to_owned()));
        }
        (0..inputs[0].len()).for_each(|row| outputs[0].copy_row(row, inputs[0], row));
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }

    fn digest(&self) -> Digest {
        Digest([u8::from(self.broken); 32])
    }
}

/// Bug: the trial stopped at the first member that failed. Fix: all are tried, and the error has all that failed.
#[test]
fn every_member_that_fails_its_trial_is_named() {
    let mut bench = Topology::new("pump").with(sensor(RMS)).bench();
    let members = |numbers: std::ops::Range<usize>, broken: bool| {
        numbers.map(move |number| (Key::from(format!("P{number}")), fake(broken)))
    };
    let mut family: Family = members(0..100, false).chain(members(100..130, true)).collect();
    family.default = Some(fake(true));
    let node = |family: &Family| provide(WEAR).needs(RMS).by(Work::Family(family.clone()));
    let error = bench.deploy(node(&family)).expect_err("31 are broken");
    let text = error.to_string();
    assert_eq!(text.lines().count(), 21, "{text}");
    assert!(text.starts_with("`wear` failed on its trial row: member `P100`: it has no weights\n"), "{text}");
    let DeployError::Trial(errors) = error else { panic!("{text}") };
    let named: Vec<Option<Key>> = errors.0.iter().map(|error| error.member.clone()).collect();
    let broken = (100..130).map(|number| Some(Key::from(format!("P{number}"))));
    assert_eq!(named, broken.chain([None]).collect::<Vec<_>>());
    assert_eq!(errors.0[30].to_string(), "`wear` failed on its trial row: the default: it has no weights");

    // Members that are added one by one are told apart too, and nothing has changed meanwhile.
    let mut good: Family = members(0..100, false).collect();
    good.default = Some(fake(false));
    bench.deploy(node(&good)).expect("nothing is wrong with it");
    let added = members(100..102, true)
        .fold(Deployment::new(), |deployment, (key, model)| deployment.member("wear", key, Some(model)));
    let error = bench.deploy(added).expect_err("both are broken").to_string();
    assert!(error.contains("member `P100`: ") && error.contains("member `P101`: "), "{error}");
    bench.row("P100", Time::from_secs(1)).set(RMS, 2.0);
    assert_eq!(bench.read(WEAR, "P100"), [(Time::from_secs(1), 2.0)]);
    assert_eq!(bench.plan().revision, Revision(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_answered_with_every_bad_member() {
    let (feeder, source) = feed(Axes::Declared(vec![vec![("rms".into(), ElementType::F32)]]));
    let pump = Topology::new("pump").with(sensor(RMS)).with(sink("out").needs(RMS));
    let builder = Runtime::builder().topology(pump).source(source).sink("out", Collected::default()).shards(1);
    let revisions = RegistryFolder::open(folder("bad-members-sent"), Time(0)).expect("a new folder opens");
    let deployer = Deployer::start(builder, revisions, registry()).await.expect("it starts");
    let manifest = r#"{ "topology": "pump", "needs": ["rms: f32"], "provides": ["wear: f32"],
        "model": { "onnx": "P{key}.onnx" } }"#;
    let with_bad = |change: ChangeSet, number: usize| {
        change.artifact(format!("P{number}.onnx"), Artifact::Bytes(format!("no model {number}").into_bytes()))
    };
    let change = (0..60).fold(ChangeSet::new().manifest(manifest), with_bad);
    let refused = deployer.deploy(change, &Terms::by("test")).await.expect_err("all are bad");
    assert_eq!((&*refused.code, refused.reason.lines().count()), ("bad-manifest", 60), "{refused}");
    assert!((0..60).all(|number| refused.reason.contains(&format!("`P{number}.onnx`"))), "{refused}");
    assert_eq!(deployer.in_force(), Revision(1));
    drop(feeder);
    deployer.handle().finished().await.expect("it ends in order");
}
