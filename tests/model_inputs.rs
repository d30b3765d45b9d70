//! Needs are the order of a model's columns: where its inputs have names, they are those of the needs, or are mapped.

use std::sync::Arc;

use gristmill::topology::{Attributes, Family, Manifest, Node, Topology, Work, provide, sensor};
use gristmill::traits::{Format, Model};
use gristmill::words::{Revision, Time, Value};
use gristmill::{Bench, Deployment, ElementType, Stream};
use gristmill_operators::model::{Linear, Onnx, Ordered};
use gristmill_operators::registry::registry;
use gristmill_tests::support::onnx::weighted_sum;

const RMS: Stream<f32> = Stream::new("rms");
const HEAT: Stream<f32> = Stream::new("heat");
const WEAR: Stream<f32> = Stream::new("wear");

fn model(inputs: &[&str]) -> Arc<dyn Model> {
    Onnx.load(&weighted_sum(inputs, 0.0)).expect("it was written here")
}

fn wear(work: Work) -> Node {
    provide(WEAR).needs((RMS, HEAT)).by(work)
}

fn family(members: &[(&str, &[&str])]) -> Work {
    Work::Family(members.iter().map(|(key, inputs)| ((*key).into(), model(inputs))).collect())
}

fn pump(node: Node) -> Topology {
    Topology::new("pump").with(sensor(RMS)).with(sensor(HEAT)).with(node)
}

/// What a row of 1 and 2 gives: 21 where the first need is the model's first input, 12 where it is the second.
fn scored(bench: &mut Bench, key: &str, second: i64) -> Vec<f32> {
    let time = Time::from_secs(second);
    bench.row(key, time).set(RMS, 1.0).set(HEAT, 2.0);
    bench.read(WEAR, key).into_iter().filter(|(at, _)| *at == time).map(|(_, value)| value).collect()
}

fn refused(node: Node) -> String {
    pump(node).resolve().map(drop).expect_err("the names are others").to_string()
}

/// Bug: a node built in Rust fed its needs to whatever columns the model had, so that a model with the same columns in
/// another order scored wrongly. Cause: only numbers and types were compared. Fix: the resolver compares names.
#[test]
fn a_model_whose_inputs_have_other_names_is_refused_with_both() {
    assert_eq!(
        refused(wear(Work::Model(model(&["heat", "rms"])))),
        "1 problem in the topology:\n  - `wear`: input 0 of the model is `heat`, but need 0 is `rms` (the order is another); \
         the model reads `heat`, `rms`, the node needs `rms`, `heat`; write the needs in the model's order, or say what the \
         model calls them: `.inputs([\"heat\", …])` in Rust, `inputs = { \"heat\" = \"need\" }` in a manifest"
    );
    let other = refused(wear(Work::Model(model(&["rms", "f1"]))));
    assert!(
        other.contains("input 1 of the model is `f1`, but need 1 is `heat`; the model reads `rms`, `f1`, "),
        "{other}"
    );
    let members = refused(wear(family(&[("P1", &["rms", "heat"]), ("P2", &["heat", "rms"]), ("P3", &["f0", "f1"])])));
    assert!(members.starts_with("2 problems") && !members.contains("`P1`"), "{members}");
    assert!(members.contains("`wear`: member `P2`: input 0 of") && members.contains("`P3`"), "{members}");
}

#[test]
fn a_model_whose_inputs_have_the_names_of_the_needs_or_none_scores() {
    let named = wear(Work::Model(model(&["rms", "heat"])));
    assert_eq!(scored(&mut pump(named).bench(), "P1", 1), [21.0]);
    let nameless: Arc<dyn Model> = Arc::new(Linear::new(&[1.0, 10.0], 0.0).expect("two weights"));
    assert_eq!(scored(&mut pump(wear(Work::Model(nameless))).bench(), "P1", 1), [21.0]);
    let ordered = Ordered::new(model(&["heat", "rms"]), &["rms", "heat"]).expect("these are its inputs");
    assert_eq!(scored(&mut pump(wear(Work::Model(Arc::new(ordered)))).bench(), "P1", 1), [12.0]);
}

#[test]
fn names_are_mapped_in_rust_and_in_manifests() {
    let mapped = wear(Work::Model(model(&["f0", "f1"]))).inputs(["f0", "f1"]);
    assert_eq!(scored(&mut pump(mapped).bench(), "P1", 1), [21.0]);
    let swapped = refused(wear(Work::Model(model(&["f0", "f1"]))).inputs(["f1", "f0"]));
    assert!(swapped.contains("input 0 of the model is `f0`, but need 0 is `f1`, as `inputs` says"), "{swapped}");
    let short = refused(wear(Work::Model(model(&["f0", "f1"]))).inputs(["f0"]));
    assert!(short.contains("`inputs` has 1 names for 2 needs; give one for each, in their order"), "{short}");
    let closure = refused(provide(WEAR).needs((RMS, HEAT)).by(|rms: f32, heat: f32| rms + heat).inputs(["f0", "f1"]));
    assert!(closure.contains("`wear`: `inputs` says what a model calls its inputs, but it runs none"), "{closure}");

    let artifacts = [("m".to_owned(), weighted_sum(&["f0", "f1"], 0.0).into())].into();
    let manifest = |inputs: &str| {
        let text = format!(
            "topology = \"pump\"\nneeds = [\"rms: f32\", \"heat: f32\"]\nprovides = [\"wear: f32\"]\n\
             model = {{ onnx = \"m\", inputs = {inputs} }}"
        );
        let made = Manifest::from_toml(&text).and_then(|manifest| manifest.nodes_with(&registry(), &artifacts));
        made.expect("it is right").remove(0)
    };
    for (inputs, score) in [("{ f0 = \"rms\", f1 = \"heat\" }", 21.0), ("{ f1 = \"rms\", f0 = \"heat\" }", 12.0)] {
        assert_eq!(scored(&mut pump(manifest(inputs)).bench(), "P1", 1), [score], "{inputs}");
    }
}

/// Bug: a model could not read a stream and its previous value, nor an attribute of the same name, by named inputs.
/// Cause: needs were looked up by the name of what they read, which all three share. Fix: by their labels first.
#[test]
fn a_model_reads_a_stream_its_previous_value_and_an_attribute_of_one_name() {
    let artifacts = [("m".to_owned(), weighted_sum(&["now", "before", "limit"], 0.0).into())].into();
    let made = |needs: &str, inputs: &str| {
        let text = format!(
            "topology = \"pump\"\nneeds = [{needs}]\nprovides = [\"wear: f32\"]\n\
             model = {{ onnx = \"m\", inputs = {{ {inputs} }} }}"
        );
        let manifest = Manifest::from_toml(&text);
        manifest.and_then(|manifest| manifest.nodes_with(&registry(), &artifacts)).map_err(|error| error.to_string())
    };
    let needs = "\"rms: f32\", \"previous(rms, 0.0): f32\", \"@rms: f32\"";
    for (inputs, first) in [
        ("now = \"rms\", before = \"previous(rms)\", limit = \"@rms\"", 301.0),
        ("before = \"rms\", now = \"previous(rms)\", limit = \"@rms\"", 310.0),
        ("limit = \"rms\", before = \"previous(rms)\", now = \"@rms\"", 103.0),
    ] {
        let mut attributes = Attributes::new().declare("rms", ElementType::F32);
        attributes.set("P1", "rms", &Value::F32(3.0)).expect("it is declared");
        let node = made(needs, inputs).expect("it is right").remove(0);
        let mut bench = pump(node).attributes(attributes).bench();
        assert_eq!(scored(&mut bench, "P1", 1), [first], "{inputs}");
    }
    // By its name alone where no other need reads it, as before; else by a label, which the refusal lists.
    let needs = "\"previous(rms, 0.0): f32\", \"@rms: f32\", \"previous(heat, 0.0): f32\"";
    let inputs = |now: &str| format!("now = \"{now}\", before = \"@rms\", limit = \"heat\"");
    made(needs, &inputs("previous(rms)")).expect("`heat` is one of them");
    let several = made(needs, &inputs("rms")).map(drop).expect_err("it is two of them");
    assert!(
        several.contains(
            "the model's input `now` reads `rms`, which several needs do; say which with inputs = { \"now\" = \"need\" }; the \
             node needs `previous(rms)`, `@rms`, `previous(heat)`"
        ),
        "{several}"
    );
    let other = made(needs, &inputs("previous(rsm)")).map(drop).expect_err("it is none of them");
    assert!(other.contains("did you mean `previous(rms)`?"), "{other}");
    let twice = made(needs, &inputs("@rms")).map(drop).expect_err("it is read already");
    assert!(twice.contains("two inputs of the model read the need `@rms`"), "{twice}");
}

#[test]
fn a_member_that_is_added_while_it_runs_is_checked_by_its_names() {
    let add = |inputs: &[&str]| Deployment::new().member("wear", "P2", Some(model(inputs)));
    let mut bench = pump(wear(family(&[("P1", &["rms", "heat"])]))).bench();
    for inputs in [["heat", "rms"], ["f0", "f1"]] {
        let error = bench.deploy(add(&inputs)).expect_err("the names are others").to_string();
        let said = format!("`wear`: member `P2`: input 0 of the model is `{}`, but need 0 is `rms`", inputs[0]);
        assert!(error.contains(&said), "{error}");
    }
    assert_eq!((scored(&mut bench, "P1", 1), scored(&mut bench, "P2", 1)), (vec![21.0], vec![]));
    assert_eq!(bench.plan().revision, Revision(1));
    bench.deploy(add(&["rms", "heat"])).expect("nothing is wrong with it");
    assert_eq!(scored(&mut bench, "P2", 2), [21.0]);

    // Where the names are mapped, later members have the mapped names.
    let mut bench = pump(wear(Work::Family(Family::default())).inputs(["f0", "f1"])).bench();
    bench.deploy(add(&["rms", "heat"])).expect_err("the model calls them otherwise");
    bench.deploy(add(&["f0", "f1"])).expect("nothing is wrong with it");
    assert_eq!(scored(&mut bench, "P2", 1), [21.0]);
}
