//! Deployments while rows flow: every row is computed once, by one revision; what did not change keeps its state; what
//! is refused changes nothing.

use std::sync::Arc;

use gristmill::in_process::{Collected, Feeder, feed};
use gristmill::topology::diff::Change;
use gristmill::topology::node::{Missing, TrialRow, Work};
use gristmill::topology::{Attributes, Family, Node, Topology, all_models, optional, previous, provide, sensor, sink};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::traits::{Digest, Model, Port, ScoreError};
use gristmill::words::{Column, ColumnMut, ColumnRef, ElementType, Offset, Revision, Span, Time, Value};
use gristmill::{Bench, BenchOptions, DeployError, Deployment, Runtime, StartError, Stream};

const VIBRATION: Stream<f32> = Stream::new("vibration");
const SUM: Stream<f32> = Stream::new("sum");
const WEAR: Stream<f32> = Stream::new("wear");
const FAILURE: Stream<f32> = Stream::new("failure");

/// The sum of its inputs, times a factor.
#[derive(Debug)]
struct Scaled {
    factor: f32,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

fn scaled(factor: f32, inputs: usize) -> Arc<dyn Model> {
    let port = || Port { name: None, element: ElementType::F32 };
    Arc::new(Scaled { factor, inputs: (0..inputs).map(|_| port()).collect(), outputs: vec![port()] })
}

impl Model for Scaled {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }
    fn outputs(&self) -> &[Port] {
        &self.outputs
    }
    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        if self.factor.is_nan() {
            return Err(ScoreError("it has no weights".to_owned()));
        }
        let ColumnMut::F32(out) = &mut outputs[0] else { return Err(ScoreError("not f32".to_owned())) };
        for (row, out) in out.iter_mut().enumerate() {
            *out = self.factor * inputs.iter().map(|input| input.number(row) as f32).sum::<f32>();
        }
        Ok(())
    }
    fn bytes(&self) -> usize {
        4
    }
    fn digest(&self) -> Digest {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&self.factor.to_le_bytes());
        Digest(digest)
    }
}

fn at(second: i64) -> Time {
    Time::from_secs(second)
}

/// Sums up what the model makes of each row, over a loop: its state is what was computed before.
fn sum(factor: f32) -> Node {
    provide(SUM).needs((VIBRATION, previous(SUM, 0.0))).by(scaled(factor, 2))
}

fn pump() -> Topology {
    Topology::new("pump").with(sensor(VIBRATION)).with(sum(1.0))
}

fn push(bench: &mut Bench, seconds: std::ops::Range<i64>) {
    seconds.for_each(|second| _ = bench.row("P1", at(second)).set(VIBRATION, 1.0));
}

fn values(bench: &mut Bench, stream: Stream<f32>) -> Vec<f32> {
    bench.read(stream, "P1").into_iter().map(|(_, value)| value).collect()
}

async fn feed_rows(feeder: Feeder, rows: i64) {
    for offset in 0..rows {
        let key = format!("P{}", offset % 7).into();
        let columns = vec![Column::F32(vec![1.0])];
        let row =
            RowsRecord { offset: Offset(offset), log_time: None, key, axis: 0, times: vec![Time(offset)], columns };
        feeder.send(0, vec![row]).await.expect("the runtime runs");
        if offset % 20 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

/// While rows flow, nodes come and go; afterwards every row is there once, at the revision of its position.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_add_keeps_every_row() {
    const ROWS: i64 = 4_000;
    let (feeder, source) = feed(Axes::Declared(vec![vec![("vibration".into(), ElementType::F32)]]));
    let out = Collected::default();
    let topology =
        pump().with(sink("out").needs(all_models()).and(VIBRATION)).with(provide(WEAR).needs(SUM).by(|s: f32| s));
    let mill = Runtime::builder().topology(topology).source(source).sink("out", out.clone()).shards(2);
    let mill = mill.start().await.expect("nothing is wrong with it");
    let feeding = tokio::spawn(feed_rows(feeder, ROWS));
    let mut switches = vec![(0, Revision(1))];
    for number in 0..6 {
        let name = Stream::<f32>::named(format!("more{number}"));
        let node = provide(name).needs(SUM).by(|sum: f32| sum + 0.5).model();
        let applied = mill.apply(node).await.expect("nothing is wrong with it");
        let position = applied.positions.first().map_or(0, |(_, offset)| offset.0);
        switches.push((position, applied.revision));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    feeding.await.expect("it does not panic");
    mill.finished().await.expect("the source ends in order");

    let outputs = out.take();
    let of = |name: &str| {
        let mut offsets: Vec<i64> = outputs
            .iter()
            .filter(|output| output.stream.as_str() == name)
            .map(|output| output.cause.offset.0)
            .collect();
        offsets.sort_unstable();
        offsets
    };
    assert_eq!(of("sum"), (0..ROWS).collect::<Vec<_>>());
    for (number, (position, _)) in switches.iter().skip(1).enumerate() {
        assert_eq!(of(&format!("more{number}")), (*position..ROWS).collect::<Vec<_>>());
    }
    for output in &outputs {
        let (_, revision) = switches.iter().rev().find(|(from, _)| *from <= output.cause.offset.0).expect("0 is first");
        assert_eq!(output.revision, *revision, "offset {}", output.cause.offset);
    }
    // The sums were never interrupted: the last of a key is the number of its rows.
    for key in 0..7 {
        let of_key = |output: &&gristmill::in_process::Output| {
            output.stream.as_str() == "sum" && output.key.as_str() == format!("P{key}")
        };
        let last = outputs.iter().rfind(of_key).map(|output| output.value.clone()).expect("it had rows");
        assert_eq!(last.as_f64(), Some(((ROWS - key + 6) / 7) as f64));
    }
}

#[test]
fn a_new_artifact_keeps_the_state() {
    let mut bench = pump().bench();
    push(&mut bench, 0..3);
    let applied = bench.deploy(sum(10.0)).expect("nothing is wrong with it");
    assert_eq!(applied.changes.to_string(), "~ sum: replaced, its state stays");
    push(&mut bench, 3..4);
    assert_eq!(values(&mut bench, SUM), [1.0, 2.0, 3.0, 40.0]);
}

/// The broken twin: what is not the same node begins anew.
#[test]
fn another_version_begins_anew_when_that_is_said() {
    let mut bench = pump().bench();
    push(&mut bench, 0..3);
    let refused = bench.deploy(sum(1.0).version(2)).expect_err("its state would be lost");
    assert!(matches!(&refused, DeployError::StateLost { nodes } if nodes[..] == ["sum".into()]), "{refused}");
    let applied =
        bench.deploy(Deployment::new().put(sum(1.0).version(2)).reset("sum")).expect("nothing is wrong with it");
    assert!(matches!(applied.changes.0[..], [Change::Replace { state_kept: false, .. }]), "{}", applied.changes);
    push(&mut bench, 3..4);
    assert_eq!(values(&mut bench, SUM), [1.0, 2.0, 3.0, 1.0]);
}

#[test]
fn an_untouched_node_keeps_its_state() {
    let mut bench = pump().bench();
    push(&mut bench, 0..3);
    bench.deploy(provide(WEAR).needs(SUM).by(|sum: f32| -sum)).expect("nothing is wrong with it");
    push(&mut bench, 3..5);
    bench.remove("wear").expect("nobody needs it");
    push(&mut bench, 5..6);
    assert_eq!(values(&mut bench, SUM), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(values(&mut bench, WEAR), [-4.0, -5.0]);
}

#[test]
fn a_node_that_comes_back_begins_anew() {
    let mut bench = pump().bench();
    push(&mut bench, 0..3);
    bench.remove("sum").expect("nobody needs it");
    push(&mut bench, 3..5);
    bench.deploy(sum(1.0)).expect("nothing is wrong with it");
    push(&mut bench, 5..7);
    assert_eq!(values(&mut bench, SUM), [1.0, 2.0, 3.0, 1.0, 2.0]);
}

#[test]
fn the_same_again_changes_nothing() {
    let mut bench = pump().bench();
    let applied = bench.deploy(sum(1.0)).expect("nothing is wrong with it");
    assert_eq!((applied.revision, applied.changes.to_string().as_str()), (Revision(1), "nothing changes"));
}

#[test]
fn a_stale_preview_is_refused_with_both_numbers() {
    let mut bench = pump().bench();
    let wear = || provide(WEAR).needs(SUM).by(|sum: f32| sum);
    let preview = bench.preview(wear()).expect("nothing is wrong with it");
    assert_eq!(preview.to_string(), "+ wear: sum → wear\n~ harness.reads: rewired (revision 2)");
    let other = provide(FAILURE).needs(SUM).by(|sum: f32| sum);
    bench.deploy(other).expect("nothing is wrong with it");
    let error = bench.apply(preview).expect_err("it is stale");
    assert_eq!(error.to_string(), "the deployment was made for revision 1, but 2 runs; preview it again");
    let fresh = bench.preview(wear()).expect("nothing is wrong with it");
    assert_eq!(bench.apply(fresh).expect("it is not stale").revision, Revision(3));
}

#[test]
fn a_preview_says_what_the_deployment_does() {
    let mut bench = pump().bench();
    let deployment = Deployment::new().put(provide(WEAR).needs(SUM).by(|sum: f32| sum)).put(sum(3.0));
    let preview = bench.preview(deployment).expect("nothing is wrong with it");
    let changes = preview.changes().clone();
    assert_eq!(bench.apply(preview).expect("it is not stale").changes, changes);
}

#[test]
fn a_stage_that_fails_leaves_the_old_plan() {
    let mut bench = pump().bench();
    push(&mut bench, 0..2);
    let deployment = Deployment::new().put(sum(10.0)).put(sink("nowhere").needs(SUM));
    let error = bench.deploy(deployment).expect_err("no sink is bound under that name");
    assert!(matches!(error, DeployError::Stage { .. }), "{error}");
    push(&mut bench, 2..3);
    assert_eq!(values(&mut bench, SUM), [1.0, 2.0, 3.0]);
    assert_eq!(bench.plan().revision, Revision(1));
    let applied = bench.deploy(sum(10.0)).expect("nothing is left behind");
    assert_eq!(applied.revision, Revision(3), "the shards may still know the number of the one that failed");
    push(&mut bench, 3..4);
    assert_eq!(values(&mut bench, SUM), [1.0, 2.0, 3.0, 40.0]);
}

#[test]
fn a_model_that_fails_its_trial_row_is_refused() {
    let mut bench = pump().bench();
    let error = bench.deploy(sum(f32::NAN)).expect_err("the model is broken");
    assert_eq!(error.to_string(), "`sum` failed on its trial row: it has no weights");
    push(&mut bench, 0..1);
    assert_eq!(values(&mut bench, SUM), [1.0]);
}

/// Everything that is wrong is said, and nothing that only follows from it: a node that was not removed as its name was
/// wrong still provides what the new one does.
#[test]
fn all_that_is_wrong_with_a_deployment_is_said_at_once() {
    let mut bench = pump().with(sink("all").needs(all_models())).bench();
    let model = scaled(1.0, 1);
    let other = sum(1.0).named("total").as_of_rows(0);
    let deployment = Deployment::new()
        .remove("sun")
        .remove("nobody")
        .pause("nothing")
        .reset("nothing")
        .pause("all")
        .member("sum", "P1", Some(Arc::clone(&model)))
        .member("sum", "P2", Some(Arc::clone(&model)))
        .member("families", "P1", Some(model))
        .put_all([other, provide(FAILURE).needs(WEAR).by(|wear: f32| wear)]);
    let error = bench.deploy(deployment).expect_err("nearly all of it is wrong");
    let lines = error.to_string();
    let expected = [
        "there is no node `sun`; did you mean `sum`?",
        "there is no node `nobody`",
        "`sum` failed on its trial row: it is not a family, so it has no members",
        "there is no node `families`",
        "there is no node `nothing`",
        "`all` cannot be paused: it is a sink, and what it does not write would be lost; remove it instead",
        "2 problems in the topology:",
        "  - `total`: `as_of_rows` is 0; it must be from 1 to 1000000",
        "  - `failure` needs `wear`, which nobody provides",
    ];
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    assert!(matches!(&error.each()[0], DeployError::UnknownNode { .. }), "{error:?}");
    let two = Deployment::new().put_all([sum(f32::NAN), sum(f32::NAN).named("other").for_key("P1").priority(1)]);
    let error = bench.deploy(two).expect_err("both models are broken");
    let no_weights = |node: &str| format!("`{node}` failed on its trial row: it has no weights");
    assert_eq!(error.to_string(), format!("{}\n{}", no_weights("sum"), no_weights("other@P1")));
    push(&mut bench, 0..1);
    assert_eq!(values(&mut bench, SUM), [1.0]);
}

/// A node whose model adds up; its trial expects this.
fn tried(expected: f32) -> Node {
    let mut node = sum(1.0);
    let given = [("vibration".into(), Value::F32(2.0)), ("sum".into(), Value::F32(1.0))];
    let gives = [("sum".into(), Value::F32(expected))];
    let (given, gives) = (given.into_iter().collect(), gives.into_iter().collect());
    node.trial = vec![TrialRow { key: None, given, gives, within: 1e-5 }];
    node
}

#[test]
fn the_first_start_is_tried_out_as_a_deployment_is() {
    let plant =
        |node: Node| Topology::new("pump").with(sensor(VIBRATION)).with(node).with(sink("all").needs(all_models()));
    let start = |node| Bench::start(plant(node), BenchOptions::default());
    let mut bench = start(tried(3.0)).expect("it scores as is written");
    let told = bench.deploy(tried(4.0)).expect_err("it gives 3").to_string();
    assert_eq!(told, "`sum` failed on its trial row: row 1 of its trial: `sum` came out as 3, where 4 was expected");
    let refused = start(tried(4.0)).expect_err("it gives 3");
    assert!(matches!(&refused, StartError::Trial { .. }), "{refused}");
    assert_eq!(refused.to_string(), format!("topology `pump`: {told}"));
    // The row of zeros is tried as well, without any trial.
    let refused = start(sum(f32::NAN)).expect_err("the model is broken").to_string();
    assert_eq!(refused, "topology `pump`: `sum` failed on its trial row: it has no weights");
    assert_eq!(plant(tried(4.0)).try_out().expect_err("it gives 3").to_string(), told);
}

/// A reader that goes on has its values all the same, in the row or as of then, however often its provider moves.
#[test]
fn a_need_may_move_to_another_axis_and_back() {
    const SLOW: Stream<f32> = Stream::new("slow");
    let second = Span::from_secs(1);
    let wear = || provide(WEAR).needs(VIBRATION);
    let topology = Topology::new("pump")
        .with(sensor(VIBRATION))
        .with(wear().by(|v: f32| v))
        .with(provide(SLOW).needs(VIBRATION).by(|v: f32| v).every(second))
        .with(provide(FAILURE).needs((VIBRATION, WEAR, SLOW)).by(|v: f32, w: f32, s: f32| v + 10.0 * w + 100.0 * s));
    let mut bench = topology.bench();
    push(&mut bench, 0..2);
    for round in 1..3 {
        bench.deploy(wear().by(|v: f32| v).every(second)).expect("it moves away");
        push(&mut bench, 4 * round..4 * round + 2);
        bench.deploy(wear().by(|v: f32| v)).expect("it moves back");
        push(&mut bench, 4 * round + 2..4 * round + 4);
    }
    assert_eq!(values(&mut bench, FAILURE), [111.0; 10]);
}

#[test]
fn a_pending_node_starts_when_its_provider_comes() {
    let mut bench = pump().bench();
    let failure = provide(FAILURE).needs(WEAR).by(|wear: f32| 2.0 * wear);
    let refused = bench.deploy(failure).expect_err("nobody provides `wear`");
    assert!(refused.to_string().contains("`failure` needs `wear`, which nobody provides"), "{refused}");
    let failure = provide(FAILURE).needs(WEAR).by(|wear: f32| 2.0 * wear);
    bench.deploy(failure.pending()).expect("it may wait");
    push(&mut bench, 0..1);
    let applied = bench.deploy(provide(WEAR).needs(SUM).by(|sum: f32| sum)).expect("nothing is wrong with it");
    assert!(applied.changes.to_string().contains("+ failure: wear → failure"), "{}", applied.changes);
    push(&mut bench, 1..2);
    assert_eq!(values(&mut bench, FAILURE), [4.0]);
    // It waits again when its provider goes.
    bench.remove("wear").expect("the one that needs it may wait");
    push(&mut bench, 2..3);
    assert_eq!(values(&mut bench, FAILURE), [4.0]);
}

/// Bug: a pending node of one key was resolved although nobody provided its need: the resolver panicked.
/// Cause: only nodes of many keys were looked at. Fix: those of single keys are, too.
#[test]
fn a_pending_node_of_one_key_starts_when_its_provider_comes() {
    let mut bench = pump().bench();
    let failure = provide(FAILURE).needs(WEAR).by(|wear: f32| 2.0 * wear);
    bench.deploy(failure.for_key("P1").pending()).expect("it may wait");
    assert!(bench.plan().to_string().contains("pending: `failure@P1` until somebody provides `wear`"));
    push(&mut bench, 0..1);
    bench.deploy(provide(WEAR).needs(SUM).by(|sum: f32| sum)).expect("nothing is wrong with it");
    push(&mut bench, 1..2);
    assert_eq!(values(&mut bench, FAILURE), [4.0]);
    bench.remove("wear").expect("the one that needs it may wait");
    push(&mut bench, 2..3);
    bench.remove("failure@P1").expect("nobody needs it");
    assert_eq!(bench.plan().base.pending.len(), 0);
    assert_eq!(values(&mut bench, FAILURE), [4.0]);
}

#[test]
fn a_rollback_is_a_new_revision_with_the_old_content() {
    let mut bench = pump().bench();
    push(&mut bench, 0..2);
    bench.deploy(Deployment::new().put(sum(1.0).version(2)).reset("sum")).expect("nothing is wrong with it");
    push(&mut bench, 2..4);
    let applied = bench.rollback(Revision(1)).expect("it is kept");
    assert_eq!(applied.revision, Revision(3));
    push(&mut bench, 4..6);
    // What comes back is born anew.
    assert_eq!(values(&mut bench, SUM), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
    let error = bench.rollback(Revision(9)).expect_err("it never was");
    assert_eq!(error.to_string(), "revision 9 is not kept; kept are 1, 2, 3");
}

#[test]
fn removing_a_node_that_is_needed_is_refused_with_those_that_need_it() {
    let mut bench = pump().bench();
    let more = [WEAR, FAILURE].map(|stream| provide(stream).needs(SUM).by(|sum: f32| sum));
    bench.deploy(Deployment::new().put_all(more)).expect("nothing is wrong with it");
    let error = bench.remove("sum").expect_err("two nodes need it").to_string();
    assert!(error.starts_with("2 problems"), "{error}");
    assert!(error.contains("`failure` needs `sum`") && error.contains("`wear` needs `sum`"), "{error}");
    push(&mut bench, 0..1);
    assert_eq!(values(&mut bench, FAILURE), [1.0]);
    let unknown = bench.remove("sun").expect_err("there is none").to_string();
    assert_eq!(unknown, "there is no node `sun`; did you mean `sum`?");
}

#[test]
fn a_node_of_one_key_takes_the_place_of_the_class_node_for_that_key() {
    let mut bench = pump().bench();
    push(&mut bench, 0..2);
    let own = provide(SUM).needs(VIBRATION).by(|vibration: f32| -vibration).for_key("P1");
    bench.deploy(own).expect("nothing is wrong with it");
    push(&mut bench, 2..3);
    bench.row("P2", at(2)).set(VIBRATION, 5.0);
    bench.remove("sum@P1").expect("the class node is there");
    push(&mut bench, 3..4);
    // The overridden state stood still.
    assert_eq!(values(&mut bench, SUM), [1.0, 2.0, -1.0, 3.0]);
    assert_eq!(bench.read(SUM, "P2"), [(at(2), 5.0)]);
}

#[test]
fn a_member_of_a_family_for_one_key_is_changed_at_once() {
    let members = Work::Family(Family::from_iter([("P1".into(), scaled(2.0, 1))]));
    let wear = provide(WEAR).needs([VIBRATION].as_slice()).by(members).for_key("P1");
    let mut bench = Topology::new("pump").with(sensor(VIBRATION)).with(wear).bench();
    push(&mut bench, 0..1);
    bench.deploy(Deployment::new().member("wear@P1", "P1", Some(scaled(3.0, 1)))).expect("nothing is wrong with it");
    push(&mut bench, 1..2);
    assert_eq!(values(&mut bench, WEAR), [2.0, 3.0]);
}

#[test]
fn a_node_that_becomes_a_model_is_asked_for_as_one() {
    let wear = || provide(WEAR).needs(VIBRATION).by(|vibration: f32| vibration * 2.0);
    let models = || sink("models").needs(all_models());
    let mut bench = Topology::new("pump").with(sensor(VIBRATION)).with(wear()).with(models()).bench();
    push(&mut bench, 0..1);
    bench.deploy(wear().model()).expect("nothing is wrong with it");
    push(&mut bench, 1..2);
    bench.deploy(wear()).expect("nothing is wrong with it");
    push(&mut bench, 2..3);
    let written: Vec<Time> = bench.written("models").iter().map(|output| output.time).collect();
    assert_eq!(written, [at(1)]);
}

#[test]
fn whatever_is_remembered_of_a_key_is_lost_only_when_that_is_said() {
    const SLOW: Stream<f32> = Stream::new("slow");
    let plus = || provide(WEAR).needs((VIBRATION, optional(SLOW))).by(|a: f32, b: Option<f32>| a + b.unwrap_or(0.0));
    let beside = || Topology::new("pump").with(sensor(VIBRATION)).with(sensor(SLOW));
    let thinned = provide(SLOW).needs(VIBRATION).by(|v: f32| v).every(Span::from_secs(9));
    let elsewhere = || Topology::new("pump").with(sensor(VIBRATION)).with(thinned.clone());
    for (remembers, topology, node) in
        [(true, beside(), plus().missing(Missing::Last)), (true, elsewhere(), plus()), (false, beside(), plus())]
    {
        let mut bench = topology.with(node.clone()).bench();
        let replaced = bench.deploy(node.clone().version(2));
        if !remembers {
            replaced.expect("nothing is lost");
            continue;
        }
        let error = replaced.expect_err("it would lose what it knows");
        assert!(matches!(&error, DeployError::StateLost { nodes } if *nodes == ["wear".into()]), "{error}");
        bench.deploy(Deployment::new().put(node.version(2)).reset("wear")).expect("it is said");
    }
}

#[test]
fn nodes_for_two_values_of_an_attribute_share_a_name() {
    let mut known = Attributes::new().declare("site", ElementType::Str);
    for (key, site) in [("P1", "north"), ("P2", "south")] {
        known.set(key, "site", &Value::Str(site.into())).expect("it is declared");
    }
    let at_site = |site: &str, factor: f32| {
        provide(WEAR).needs(VIBRATION).by(move |v: f32| v * factor).for_attribute("site", Value::Str(site.into()))
    };
    let topology = Topology::new("pump").with(sensor(VIBRATION)).attributes(known);
    let mut bench = topology.with(at_site("north", 2.0)).with(at_site("south", 3.0)).bench();
    for key in ["P1", "P2", "P3"] {
        bench.row(key, at(0)).set(VIBRATION, 1.0);
    }
    let values: [Vec<f32>; 3] =
        ["P1", "P2", "P3"].map(|key| bench.read(WEAR, key).into_iter().map(|(_, value)| value).collect());
    assert_eq!(values, [vec![2.0], vec![3.0], vec![]]);
}
