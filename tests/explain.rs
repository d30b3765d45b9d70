//! `explain` names every way in which a node can fail to write for a key, and none when it writes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gristmill::explain::{Explanation, Reason, Seen, Standing};
use gristmill::in_process::feed;
use gristmill::topology::{
    Attributes, Family, Missing, Node, Topology, Work, optional, previous, provide, sensor, sink,
};
use gristmill::traits::source::RowsRecord;
use gristmill::traits::{Axes, Digest, Done, Model, Port, ScoreError, Sink, SinkError, SinkFrame, SinkWriter};
use gristmill::words::{
    Column, ColumnMut, ColumnRef, ElementType, Key, Offset, Revision, ShardIndex, Span, Time, Value,
};
use gristmill::{Attribute, Bench, BenchOptions, Deployment, IntakePolicy, Runtime, Stream};

const WEAR: Stream<f64> = Stream::new("wear");
const LOAD: Stream<f64> = Stream::new("load");
const READY: Stream<bool> = Stream::new("ready");
const SCORE: Stream<f64> = Stream::new("score");
const LIMIT: Attribute<f64> = Attribute::new("limit");

fn at(second: i64) -> Time {
    Time::from_secs(second)
}

fn score() -> Node {
    provide(SCORE).needs(WEAR).by(|wear: f64| {
        assert!(wear >= 0.0, "{wear} is negative");
        wear * 2.0
    })
}

/// Each sensor's readings come singly, on an axis of its own.
fn narrow(topology: Topology) -> Bench {
    let axes = Axes::Open { groups: Vec::new(), wide: false };
    topology.bench_with(BenchOptions { axes, ..BenchOptions::default() })
}

fn machine() -> Topology {
    Topology::new("machine").with(sensor(WEAR)).with(sensor(LOAD)).with(sensor(READY))
}

/// Asks twice with a row in between, so that what is read in its row was kept.
fn explain_after(bench: &mut Bench, node: &str, second: i64, wear: f64) -> Explanation {
    let _ = bench.explain(node, "P1");
    let _ = bench.row("P1", at(second)).set(WEAR, wear);
    bench.explain(node, "P1")
}

fn running(born: u64) -> Standing {
    Standing::Running { born: Revision(born) }
}

fn value(time: i64, value: f64) -> Seen {
    Seen::Value { time: Some(at(time)), value: Value::F64(value) }
}

#[test]
fn a_node_that_writes_has_no_reason_not_to() {
    let mut bench = machine().with(score()).bench();
    let why = explain_after(&mut bench, "score", 1, 3.0);
    assert_eq!((why.state.clone(), why.reasons.clone(), why.watched), (running(1), vec![], true), "{why}");
    assert_eq!((why.needs[0].last.clone(), why.needs[0].provider.as_deref()), (value(1, 3.0), Some("wear")), "{why}");
    assert_eq!(why.outputs[0].last, value(1, 6.0), "{why}");
    assert_eq!((why.newest, why.counts.map(|counts| counts.computed)), (Some(at(1)), Some(1)));
    let text = why.to_string();
    assert_eq!(
        text,
        "`score` for `P1` in revision 1: running since revision 1\n  required wear: 3 at 1000000, from `wear`\n  \
         wrote score: 6 at 1000000\n  1 rows over all keys: 1 computed, 0 skipped, 0 failed, 0 in quarantine, 0 paused"
    );
    let json = serde_json::to_value(&why).expect("it is plain data");
    assert_eq!(json["state"], serde_json::json!({ "is": "running", "born": 1 }));
    assert_eq!(json["needs"][0]["how"], "required");
    // A sink and a sensor can be asked about too.
    assert_eq!(bench.explain("wear", "P1").needs[0].last, value(1, 3.0));
    let sink = bench.explain("harness.reads", "P1");
    let taken = sink.needs.iter().find(|need| need.name.as_str() == "score").expect("it takes all");
    assert_eq!((taken.how, taken.last.clone()), ("taken", value(1, 6.0)));
}

#[test]
fn values_of_a_key_that_nobody_asked_about_are_not_kept() {
    let mut bench = machine().with(score()).bench();
    let _ = bench.row("P1", at(1)).set(WEAR, 3.0);
    let why = bench.explain("score", "P1");
    assert_eq!((why.needs[0].last.clone(), why.watched, why.reasons.len()), (Seen::NotKept, false, 0));
    assert!(why.to_string().ends_with("ask again after the next rows"), "{why}");
    // A key that many others pushed out is not kept either, and a deployment lets go of frames of old plans.
    assert!(bench.explain("score", "P1").watched);
    (0..16).for_each(|key| _ = bench.row(&format!("Q{key}"), at(1)).set(WEAR, 3.0));
    (0..16).for_each(|key| _ = bench.explain("score", &format!("Q{key}")));
    assert!(!bench.explain("score", "P1").watched);
}

#[test]
fn a_name_that_is_none() {
    let mut bench = machine().with(score()).bench();
    let why = bench.explain("scores", "P1");
    assert_eq!(why.state, Standing::Unknown { nearest: Some("score".into()) }, "{why}");
    assert_eq!(why.counts, None);
}

#[test]
fn pending_and_unused() {
    let later = provide(Stream::<f64>::new("after")).needs(Stream::<f64>::new("later")).by(|later: f64| later);
    let mut bench = machine().with(later.pending()).bench();
    assert_eq!(bench.explain("after", "P1").state, Standing::Pending { lacks: vec!["later".into()] });
    // The bench's own sink asks for everything; without it nobody does.
    bench.deploy(Deployment::new().put(score())).expect("nothing is wrong with it");
    bench.remove("harness.reads").expect("it is a node like any other");
    let why = bench.explain("score", "P1");
    assert_eq!((why.state.clone(), why.counts), (Standing::Unused, None), "{why}");
}

#[test]
fn a_key_that_never_spoke() {
    let mut bench = machine().with(score()).bench();
    let why = bench.explain("score", "P9");
    assert_eq!((why.state.clone(), why.reasons.clone()), (running(1), vec![Reason::KeyNeverSeen]), "{why}");
}

#[test]
fn selectors() {
    let mut attributes = Attributes::new().declare("line", ElementType::I64);
    attributes.set("P1", "line", &Value::I64(3)).expect("it is declared");
    let of_line =
        |line| score().named(format!("line{line}")).for_attribute("line", Value::I64(line)).priority(line as i32);
    let other = |key: &str| provide(Stream::<f64>::named(format!("of{key}"))).needs(WEAR).by(|wear: f64| wear);
    let machine = machine().attributes(attributes).with(score()).with(of_line(3)).with(of_line(4));
    let mut bench = machine.with(other("Q1").for_key("Q1")).with(other("X").for_keys("X*")).bench();
    let _ = bench.row("P1", at(1)).set(WEAR, 1.0);
    let why = bench.explain("line4@line=4", "P1");
    let Standing::NotSelected { why: text } = &why.state else { panic!("{why}") };
    assert_eq!(text, "it is for keys whose attribute `line` is 4, and that of `P1` is 3");
    assert!(matches!(bench.explain("ofQ1@Q1", "P1").state, Standing::NotSelected { .. }));
    assert!(matches!(bench.explain("ofX@X*", "P1").state, Standing::NotSelected { .. }));
    // The class's node loses for a key with a more specific one, and wins for others.
    assert_eq!(bench.explain("score", "P1").state, Standing::Overridden { by: "line3@line=3".into() });
    assert_eq!(bench.explain("line3@line=3", "P1").state, running(1));
    let _ = bench.row("P2", at(1)).set(WEAR, 1.0);
    assert_eq!(bench.explain("score", "P2").state, running(1));
    bench.deploy(score().for_key("P1")).expect("a key's own node wins");
    assert_eq!(bench.explain("line3@line=3", "P1").state, Standing::Overridden { by: "score@P1".into() });
    assert_eq!(bench.explain("score@P1", "P1").state, running(2));
}

#[test]
fn a_missing_need() {
    let both = provide(SCORE).needs((WEAR, LOAD)).by(|wear: f64, load: f64| wear + load);
    let mut bench = machine().with(both).bench();
    let why = explain_after(&mut bench, "score", 1, 3.0);
    assert_eq!(why.reasons, [Reason::NeedMissing { stream: "load".into() }], "{why}");
    assert_eq!(why.needs[1].last, Seen::Missing { time: Some(at(1)) });
    assert_eq!(why.outputs[0].last, Seen::Missing { time: Some(at(1)) });
    // Optional needs, and policies by which something stands in, are no reason.
    let optional = provide(SCORE).needs((WEAR, optional(LOAD))).by(|wear: f64, _: Option<f64>| wear);
    bench.deploy(optional).expect("nothing is wrong with it");
    assert_eq!(explain_after(&mut bench, "score", 2, 3.0).reasons, []);
    let stands_in = provide(SCORE).needs((WEAR, LOAD)).by(|wear: f64, _: f64| wear).missing(Missing::Default(0.0));
    bench.deploy(stands_in).expect("nothing is wrong with it");
    assert_eq!(explain_after(&mut bench, "score", 3, 3.0).reasons, []);
}

#[test]
fn needs_on_other_axes_that_never_came_or_are_too_old() {
    let both = provide(SCORE).needs((WEAR, LOAD)).by(|wear: f64, load: f64| wear + load).max_age(Span::from_secs(5));
    let mut bench = narrow(machine().with(both));
    bench.reading("P1", at(1), WEAR, 3.0);
    // What is read as of a time is remembered: one question is enough.
    let why = bench.explain("score", "P1");
    assert_eq!(why.reasons, [Reason::NeedMissing { stream: "load".into() }], "{why}");
    bench.reading("P1", at(2), LOAD, 1.0);
    bench.reading("P1", at(7), WEAR, 3.0);
    let why = bench.explain("score", "P1");
    assert_eq!((why.needs[1].last.clone(), why.reasons.clone()), (value(2, 1.0), vec![]), "{why}");
    bench.reading("P1", at(8), WEAR, 3.0);
    let too_old = Reason::NeedTooOld { stream: "load".into(), time: at(2), max_age: Span::from_secs(5) };
    assert_eq!(bench.explain("score", "P1").reasons, [too_old]);
}

#[test]
fn nobody_provides_its_rows_for_the_key() {
    let only = provide(LOAD).needs(WEAR).by(|wear: f64| wear).for_key("P2");
    let topology = Topology::new("machine").with(sensor(WEAR)).with(only);
    let mut bench = topology.with(provide(SCORE).needs(LOAD).by(|load: f64| load)).bench();
    let _ = bench.row("P1", at(1)).set(WEAR, 1.0);
    let why = bench.explain("score", "P1");
    assert!(why.reasons.contains(&Reason::NoRows), "{why}");
    assert_eq!(why.needs[0].provider, None);
    let _ = bench.row("P2", at(1)).set(WEAR, 1.0);
    let why = bench.explain("score", "P2");
    assert_eq!((why.reasons.clone(), why.needs[0].provider.as_deref()), (vec![], Some("load@P2")), "{why}");
}

#[test]
fn drops_at_the_intake_and_rows_that_wait_there() {
    let intake = IntakePolicy { reorder: Span::from_secs(5), ..IntakePolicy::default() };
    let mut bench = machine().with(score()).bench_with(BenchOptions { intake, ..BenchOptions::default() });
    for second in [1, 20, 20, 2, 3] {
        let _ = bench.row("P1", at(second)).set(WEAR, 1.0);
    }
    let _ = bench.row("P1", at(1_000)).log_time(at(20)).set(WEAR, 1.0);
    let _ = bench.row("P2", at(1)).set(WEAR, 1.0);
    let why = bench.explain("score", "P1");
    // 2 and 3 are not before the row that was released last, at 1: they come in, and are let go.
    let _ = bench.row("P1", at(2)).set(WEAR, 1.0);
    let late = bench.explain("score", "P1");
    let dropped = |late| Reason::Dropped { late, duplicate: 1, ahead: 1 };
    assert_eq!(why.reasons, [Reason::AtIntake { rows: 1 }, dropped(0)], "{why}");
    assert_eq!(late.reasons, [Reason::AtIntake { rows: 1 }, dropped(1)], "{late}");
    assert_eq!(bench.explain("score", "P2").reasons, [Reason::AtIntake { rows: 1 }]);
}

#[test]
fn a_closed_gate() {
    let mut bench = machine().with(score().when(&READY)).bench();
    let why = explain_after(&mut bench, "score", 1, 3.0);
    assert_eq!(why.reasons, [Reason::GateClosed { stream: "ready".into(), value: None }], "{why}");
    let _ = bench.row("P1", at(2)).set(WEAR, 3.0).set(READY, false);
    let why = bench.explain("score", "P1");
    let closed = Reason::GateClosed { stream: "ready".into(), value: Some(Value::Bool(false)) };
    assert_eq!(why.reasons, [closed], "{why}");
    let _ = bench.row("P1", at(3)).set(WEAR, 3.0).set(READY, true);
    let why = bench.explain("score", "P1");
    assert_eq!((why.reasons.clone(), why.outputs[0].last.clone()), (vec![], value(3, 6.0)), "{why}");
}

#[test]
fn thinned() {
    let mut bench = machine().with(score().every(Span::from_secs(10))).bench();
    let why = explain_after(&mut bench, "score", 1, 3.0);
    assert_eq!(why.reasons, [], "{why}");
    let why = explain_after(&mut bench, "score", 4, 3.0);
    assert_eq!(why.reasons, [Reason::Thinned { every: Span::from_secs(10), last: at(1) }], "{why}");
    assert_eq!(explain_after(&mut bench, "score", 11, 3.0).reasons, []);
}

#[test]
fn rows_that_wait_for_all_needs() {
    let both = provide(SCORE).needs((WEAR, LOAD)).by(|wear: f64, load: f64| wear + load);
    let mut bench = narrow(machine().with(both.on_all(Span::from_secs(60))));
    bench.reading("P1", at(1), LOAD, 1.0);
    bench.reading("P1", at(1), WEAR, 1.0);
    assert_eq!(bench.explain("score", "P1").reasons, []);
    bench.reading("P1", at(2), WEAR, 1.0);
    bench.reading("P1", at(3), WEAR, 1.0);
    let why = bench.explain("score", "P1");
    assert_eq!(why.reasons, [Reason::Waiting { rows: 2, first: at(2), behind: vec!["load".into()] }], "{why}");
}

#[test]
fn failures_and_quarantine() {
    let mut bench = machine().with(score()).bench();
    let _ = bench.row("P1", at(0)).set(WEAR, -1.0);
    let why = bench.explain("score", "P1");
    let reason = "panicked: -1 is negative".to_owned();
    assert_eq!((why.state, why.reasons), (running(1), vec![Reason::Failed { reason: reason.clone() }]));
    (1..6).for_each(|second| _ = bench.row("P1", at(second)).set(WEAR, -1.0));
    let why = bench.explain("score", "P1");
    assert_eq!((why.state.clone(), why.reasons.clone()), (Standing::Quarantined { reason }, vec![]), "{why}");
    let counts = why.counts.expect("it runs");
    assert_eq!((counts.rows, counts.failed, counts.quarantined), (6, 5, 1));
    let _ = bench.row("P2", at(0)).set(WEAR, 1.0);
    assert_eq!(bench.explain("score", "P2").state, running(1));
}

#[test]
fn a_missing_attribute() {
    let limited = provide(SCORE).needs((WEAR, LIMIT)).by(|wear: f64, limit: f64| wear - limit);
    let mut attributes = Attributes::new().declare("limit", ElementType::F64);
    attributes.set("P2", "limit", &Value::F64(2.0)).expect("it is declared");
    let mut bench = machine().attributes(attributes).with(limited).bench();
    let why = explain_after(&mut bench, "score", 1, 3.0);
    assert_eq!(why.reasons, [Reason::AttributeMissing { attribute: "limit".into() }], "{why}");
    let _ = bench.row("P2", at(1)).set(WEAR, 3.0);
    let why = bench.explain("score", "P2");
    let limit = Seen::Value { time: None, value: Value::F64(2.0) };
    assert_eq!((why.reasons.clone(), why.needs[1].last.clone()), (vec![], limit), "{why}");
}

#[test]
fn a_last_value_of_its_own() {
    let sum = provide(SCORE).needs((WEAR, previous(SCORE, 10.0))).by(|wear: f64, sum: f64| sum + wear);
    let mut bench = machine().with(sum).bench();
    let initial = bench.explain("score", "P1").needs[1].last.clone();
    assert_eq!(initial, Seen::Value { time: None, value: Value::F64(10.0) });
    let _ = bench.row("P1", at(1)).set(WEAR, 3.0);
    let known = bench.explain("score", "P1").needs[1].last.clone();
    assert_eq!(known, Seen::Value { time: None, value: Value::F64(13.0) });
}

/// Hands its input on.
#[derive(Debug)]
struct Same([Port; 1]);

impl Model for Same {
    fn inputs(&self) -> &[Port] {
        &self.0
    }
    fn outputs(&self) -> &[Port] {
        &self.0
    }
    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        let ColumnMut::F64(out) = &mut outputs[0] else { return Err(ScoreError("not f64".to_owned())) };
        out.iter_mut().enumerate().for_each(|(row, out)| *out = inputs[0].number(row));
        Ok(())
    }
    fn bytes(&self) -> usize {
        8
    }
    fn digest(&self) -> Digest {
        Digest([7; 32])
    }
}

#[test]
fn a_family_without_a_member_for_the_key() {
    let model: Arc<dyn Model> = Arc::new(Same([Port { name: None, element: ElementType::F64 }]));
    let family: Family = [(Key::from("P2"), Arc::clone(&model))].into_iter().collect();
    let mut bench = machine().with(provide(SCORE).needs(WEAR).by(Work::Family(family))).bench();
    let why = explain_after(&mut bench, "score", 1, 3.0);
    assert_eq!(why.reasons, [Reason::NoArtifact], "{why}");
    let _ = bench.row("P2", at(1)).set(WEAR, 3.0);
    assert_eq!(bench.explain("score", "P2").reasons, []);
    bench.deploy(Deployment::new().member("score", "P1", Some(model))).expect("nothing is wrong with it");
    let why = explain_after(&mut bench, "score", 2, 3.0);
    assert_eq!((why.reasons.clone(), why.outputs[0].last.clone()), (vec![], value(2, 3.0)), "{why}");
}

/// A sink whose frames are done when its test says so.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Option<Vec<Done>>>>);

impl Sink for Held {
    fn open(&self, _: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for Held {
    fn write(&mut self, _: &SinkFrame<'_>, done: Done) {
        match &mut *self.0.lock().expect("nobody panics with this lock") {
            Some(held) => held.push(done),
            None => done.done(),
        }
    }
}

/// What is kept are rows of a plan that had fewer nodes for the key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_began_while_rows_of_the_plan_before_are_on_their_way() {
    let (feeder, source) = feed(Axes::Declared(vec![vec![("wear".into(), ElementType::F64)]]));
    let held = Held(Arc::new(Mutex::new(Some(Vec::new()))));
    let of_key =
        |stream: &'static str| provide(Stream::<f64>::new(stream)).needs(WEAR).by(|wear: f64| wear * 2.0).for_key("P1");
    let machine = Topology::new("machine").with(sensor(WEAR)).with(of_key("score")).with(sink("out").needs(SCORE));
    let builder =
        Runtime::builder().topology(machine).source(source).sink("out", held.clone()).sink("more", held.clone());
    let handle = builder.shards(1).start().await.expect("nothing is wrong with it");
    let explain = async |node: &str| handle.explain(None, &node.into(), &"P1".into()).await.expect("the runtime runs");
    let send = async |offset: i64| {
        let columns = vec![Column::F64(vec![3.0])];
        let row = RowsRecord {
            offset: Offset(offset),
            log_time: None,
            key: "P1".into(),
            axis: 0,
            times: vec![at(offset)],
            columns,
        };
        feeder.send(0, vec![row]).await.expect("the runtime runs");
        feeder.taken().await.expect("the runtime runs");
    };
    explain("score@P1").await;
    let until_seen = async {
        for offset in 0.. {
            send(offset).await;
            if explain("score@P1").await.outputs.iter().any(|output| matches!(output.last, Seen::Value { .. })) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), until_seen).await.expect("a value is seen");
    let more = Deployment::new().put(of_key("more")).put(sink("more").needs(Stream::<f64>::new("more")));
    handle.apply(more).await.expect("nothing is wrong with it");
    let why = explain("more@P1").await;
    assert_eq!(why.outputs[0].last, Seen::NotKept, "{why}");
    let held = held.0.lock().expect("nobody panics with this lock").take();
    held.into_iter().flatten().for_each(Done::done);
    drop(feeder);
    handle.finished().await.expect("it ends in order");
}
