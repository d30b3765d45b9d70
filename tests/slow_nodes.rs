//! Nodes that may block: a row that overruns fails and its late result is thrown away, a key's rows stay in order, too
//! many lost threads end the node for all keys, and keys that have no such node notice nothing.

#![expect(clippy::disallowed_methods, reason = "how long rows wait is measured on the machine's clock")]

#[path = "slow_nodes/load.rs"]
mod load;
#[path = "slow_nodes/order.rs"]
mod order;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gristmill::defect::Defect;

use gristmill::topology::{Accepts, Node, Topology, provide, sensor};
use gristmill::traits::{Operator, Outputs, RowError, Rows};
use gristmill::words::{ElementType, Span, Time};
use gristmill::{Bench, Deployment, NodeState, Stream};

use load::{Load, Measured, measure};

const VALUE: Stream<f64> = Stream::new("value");
const SUM: Stream<f64> = Stream::new("sum");
const BEHIND: Stream<f64> = Stream::new("behind");
const BUDGET: Span = Span::from_millis(150);

/// Adds up; 7 takes longer than the budget, a negative value panics, and values above 1000 hang until the tests end.
#[derive(Debug)]
struct Sum;

static OVER: AtomicBool = AtomicBool::new(false);

impl Accepts<(f64,), (f64,)> for Sum {}

impl Operator for Sum {
    type State = f64;
    fn name(&self) -> &'static str {
        "sum"
    }
    fn parameters(&self) -> String {
        String::new()
    }
    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }
    fn start(&self) -> f64 {
        0.0
    }
    fn run(&self, state: &mut f64, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        for (row, value) in rows.f64(0).iter().enumerate() {
            *state += value;
            if *value == 7.0 {
                std::thread::sleep(Duration::from_millis(400));
            }
            while *value > 1000.0 && !OVER.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            assert!(*value >= 0.0, "{value} is negative");
            out.f64(0)[row] = *state;
        }
        Ok(())
    }
}

fn sum() -> Node {
    provide(SUM).needs(VALUE).by(Sum)
}

fn bench() -> Bench {
    let behind = provide(BEHIND).needs(SUM).by(|sum: f64| sum / 2.0);
    Topology::new("machine").with(sensor(VALUE)).with(sum().slow(BUDGET)).with(behind).bench()
}

fn push(bench: &mut Bench, key: &str, values: &[f64]) {
    let from = i64::try_from(bench.read(VALUE, key).len()).expect("it is small");
    for (row, value) in (0i64..).zip(values) {
        bench.row(key, Time::from_secs(from + row)).set(VALUE, *value);
    }
}

fn values(bench: &mut Bench, stream: Stream<f64>, key: &str) -> Vec<f64> {
    bench.read(stream, key).into_iter().map(|(_, value)| value).collect()
}

fn node(bench: &mut Bench) -> gristmill::NodeReport {
    bench.report().nodes.into_iter().find(|node| node.node.as_str() == "sum").expect("it runs")
}

#[test]
fn a_row_that_overruns_fails_and_its_late_result_is_thrown_away() {
    let mut bench = bench();
    push(&mut bench, "a", &[1.0, 7.0, 2.0]);
    push(&mut bench, "b", &[5.0]);
    assert_eq!(values(&mut bench, SUM, "a"), [1.0, 3.0]);
    assert_eq!(values(&mut bench, BEHIND, "a"), [0.5, 1.5]);
    assert_eq!(values(&mut bench, SUM, "b"), [5.0]);
    let letters: Vec<_> = bench.dead_letters().iter().map(|l| (l.cause.offset.0, l.reason.clone())).collect();
    assert_eq!(letters, [(1, "time-out: it took longer than 150 ms".to_owned())]);
    let report = node(&mut bench);
    assert_eq!((report.overruns, report.counts.failed, report.counts.computed), (1, 1, 3));
    // The thread comes back, its result does not.
    let begun = Instant::now();
    while node(&mut bench).lost_threads > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "a thread that came back counts as lost");
        std::thread::sleep(Duration::from_millis(20));
    }
    push(&mut bench, "a", &[4.0]);
    assert_eq!(values(&mut bench, SUM, "a"), [1.0, 3.0, 7.0]);
}

/// What it does with a row that fails in time is what any node does.
#[test]
fn panics_are_as_on_the_shard() {
    let outcome = |bench: &mut Bench| {
        push(bench, "a", &[1.0, -1.0, 2.0, -1.0, -1.0, -1.0, -1.0, 3.0]);
        push(bench, "b", &[1.0]);
        let letters: Vec<_> = bench.dead_letters().iter().map(|l| (l.cause, l.reason.clone())).collect();
        let report = node(bench);
        (values(bench, SUM, "a"), values(bench, SUM, "b"), letters, report.counts, report.quarantined_keys)
    };
    let plain = provide(BEHIND).needs(SUM).by(|sum: f64| sum / 2.0);
    let mut plain = Topology::new("machine").with(sensor(VALUE)).with(sum()).with(plain).bench();
    let expected = outcome(&mut plain);
    assert_eq!((expected.2.len(), expected.4), (5, 1));
    assert_eq!(outcome(&mut bench()), expected);
}

#[test]
fn too_many_lost_threads_end_the_node_for_all_keys_until_it_is_resumed() {
    let mut bench = bench();
    for key in 0..3 {
        push(&mut bench, &format!("k{key}"), &[2000.0; 4]);
    }
    bench.settle();
    let report = node(&mut bench);
    // The ninth lost thread is one too many; of rows that came later nothing is tried.
    assert_eq!((report.state, report.quarantined, report.lost_threads), (NodeState::Quarantined, true, 9));
    assert!(report.counts.failed >= 9 && report.counts.failed + report.counts.quarantined == 12, "{report:?}");
    push(&mut bench, "other", &[1.0]);
    assert_eq!(values(&mut bench, SUM, "other"), [0.0; 0]);
    let text = bench.explain("sum", "other").to_string();
    assert!(
        text.contains(
            "in quarantine: it failed too often, last as a row took longer than its budget (9 threads are lost)"
        ),
        "{text}"
    );
    bench.deploy(Deployment::new().resume("sum")).expect("it may be resumed");
    assert_eq!(node(&mut bench).state, NodeState::Running);
    push(&mut bench, "other", &[1.0, 2.0]);
    assert_eq!(values(&mut bench, SUM, "other"), [1.0, 3.0]);
    OVER.store(true, Ordering::Relaxed);
}

/// Bug: such rows were counted as those of a node in quarantine, and were in no dead letter. Fix: they fail.
#[test]
fn rows_of_a_node_whose_threads_the_machine_refuses_fail_with_letters() {
    let refused = load(false, |value| value, Some(Defect::NoThreads));
    assert_eq!((refused.others, refused.slow), (2_000, 0));
    // Failures put the node in quarantine for the key, as they do everywhere.
    assert!(refused.failed >= 5 && refused.failed + refused.quarantined == 2_000 / 50, "{refused:?}");
    let reason = refused.reasons.first().expect("they failed");
    assert!(reason.starts_with("no thread of the slow node could be started: "), "{:?}", refused.reasons);
    assert_eq!(refused.reasons.len(), 1);
}

#[test]
fn what_cannot_be_slow_is_refused() {
    let refused = |node: Node| {
        let topology = Topology::new("machine").with(sensor(VALUE)).with(node);
        topology.resolve().err().expect("it is wrong").to_string()
    };
    let text = refused(sum().slow(Span(0)));
    assert!(text.contains("the budget of a slow node is at least 1 ms"), "{text}");
    let text = refused(sum().slow(BUDGET).threads(65));
    assert!(text.contains("a slow node has 1 to 64 threads"), "{text}");
    let previous = gristmill::topology::previous(VALUE, 0.0);
    let text = refused(provide(SUM).needs(previous).by(|value: f64| value).slow(BUDGET));
    assert!(text.contains("a slow node cannot need `previous`"), "{text}");
}

/// What a node of one key does while the other keys' rows are measured.
fn load(own: bool, slow: impl Fn(f64) -> f64 + Send + Sync + 'static, defect: Option<Defect>) -> Measured {
    measure(Load {
        rows: 2_000,
        every: Duration::from_millis(1),
        slow: Box::new(slow),
        budget: Span::from_millis(100),
        own,
        defect,
    })
}

/// As bad a neighbour as none: below twice, or within what a busy machine adds by itself.
fn contained(with: &Measured, without: &Measured) -> bool {
    with.p99 < (without.p99 * 2).max(Duration::from_millis(20))
}

#[test]
fn other_keys_do_not_wait_for_a_node_that_never_returns_sleeps_or_costs_much() {
    let without = load(false, |value| value, None);
    assert_eq!((without.others, without.slow, without.failed), (2_000, 2_000 / 50, 0));
    type Slow = fn(f64) -> f64;
    let never: Slow = |_| loop {
        std::thread::park();
    };
    let minute: Slow = |value| {
        std::thread::sleep(Duration::from_secs(60));
        value
    };
    let much: Slow = |value| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(4) {
            std::hint::spin_loop();
        }
        value
    };
    for (name, slow, fails) in [("never", never, true), ("minute", minute, true), ("much", much, false)] {
        let with = load(name == "much", slow, None);
        eprintln!(
            "{name}: p99 {:?} beside {:?}, longest pause of polls {:?}",
            with.p99, without.p99, with.longest_pause
        );
        assert_eq!(with.others, 2_000, "{name}");
        assert_eq!(with.failed > 0, fails, "{name}");
        assert_eq!(with.slow + with.failed + with.quarantined, 2_000 / 50, "{name}: none is lost");
        assert!(with.longest_pause < Duration::from_secs(1), "{name}: {:?}", with.longest_pause);
        assert!(contained(&with, &without), "{name}: {:?} beside {:?}", with.p99, without.p99);
    }
}

/// The broken twins: on the chain of their partition other keys wait, and without time-outs a row is never done.
#[test]
fn without_lanes_other_keys_wait() {
    let minute = |value| {
        std::thread::sleep(Duration::from_secs(60));
        value
    };
    let (with, without) = (load(false, minute, Some(Defect::Lane)), load(false, |value| value, Some(Defect::Lane)));
    assert!(!contained(&with, &without), "{:?} beside {:?}", with.p99, without.p99);
    let late = load(
        false,
        |value| {
            std::thread::sleep(Duration::from_millis(300));
            value
        },
        Some(Defect::TimeOut),
    );
    assert_eq!((late.failed, late.slow), (0, 2_000 / 50));
}

/// Rows that are on a long way when their key comes to a lane are written before those that have a short one.
#[test]
fn a_key_that_comes_to_a_lane_keeps_its_order() {
    assert_eq!(order::out_of_order(None), 0);
}

/// The broken twin.
#[test]
fn without_the_wait_at_its_entry_a_lane_overtakes() {
    assert!(order::out_of_order(Some(Defect::LaneEntry)) > 0);
}
