//! Nodes that read streams of earlier rows only.

use gristmill::explain::Reason;
use gristmill::topology::{Node, Topology, previous, provide, sensor, sink};
use gristmill::words::{Span, Time};
use gristmill::{Bench, Stream};

const LOAD: Stream<f64> = Stream::new("load");
const SPEED: Stream<f64> = Stream::new("speed");
const WAS: Stream<f64> = Stream::new("was");
const TOTAL: Stream<f64> = Stream::new("total");

fn at(second: i64) -> Time {
    Time::from_secs(second)
}

/// Rows of these seconds, whose loads they are.
fn push(bench: &mut Bench, seconds: std::ops::Range<i64>) {
    for second in seconds {
        bench.row("P1", at(second)).set(LOAD, second as f64);
    }
    bench.settle();
}

fn was(of: Stream<f64>) -> Node {
    provide(WAS).needs(previous(of, 0.5)).by(|before: f64| before)
}

/// Bug: a node that needed nothing but `previous` was planned and never computed a row. Cause: only needs that are read in
/// the row were looked at to see whether it has rows. Fix: where there are none, those of `previous` count.
#[test]
fn a_node_of_previous_alone_has_the_rows_of_its_axis() {
    for own in [false, true] {
        let node = if own { was(LOAD).for_key("P1") } else { was(LOAD) };
        let name = node.name();
        let mut bench = Topology::new("pump").with(sensor(LOAD)).with(node).bench();
        push(&mut bench, 1..3);
        push(&mut bench, 3..5);
        assert_eq!(bench.read(WAS, "P1"), [(at(1), 0.5), (at(2), 1.0), (at(3), 2.0), (at(4), 3.0)], "{name}");
        let report = bench.report();
        let node = report.nodes.iter().find(|node| node.node == name).expect("it runs");
        assert_eq!((node.counts.rows, node.counts.computed), (4, 4), "{name}");
    }
}

#[test]
fn in_a_loop_such_a_node_advances_with_the_others() {
    let total = provide(TOTAL).needs((LOAD, WAS)).by(|load: f64, before: f64| load + before);
    let mut bench = Topology::new("pump").with(sensor(LOAD)).with(was(TOTAL)).with(total).bench();
    push(&mut bench, 1..4);
    push(&mut bench, 4..5);
    assert_eq!(bench.read(TOTAL, "P1"), [(at(1), 1.5), (at(2), 3.5), (at(3), 6.5), (at(4), 10.5)]);
    assert_eq!(bench.read(WAS, "P1"), [(at(1), 0.5), (at(2), 1.5), (at(3), 3.5), (at(4), 6.5)]);
}

#[test]
fn without_a_provider_for_the_key_it_has_no_rows() {
    let speed = Node::from(sensor(SPEED)).for_keys("M*");
    let mut bench = Topology::new("pump").with(sensor(LOAD)).with(speed).with(was(SPEED)).bench();
    push(&mut bench, 1..3);
    assert!(bench.read(WAS, "P1").is_empty());
    let why = bench.explain("was", "P1");
    assert_eq!(why.reasons, [Reason::NoRows], "{why}");
}

/// Bug: a node that needs its own past alone was accepted with `every` or `when`, and had no rows. Fix: it is refused.
#[test]
fn rows_that_are_picked_from_its_own_are_none() {
    let plant = |node: Node| Topology::new("pump").with(sensor(LOAD)).with(node).with(sink("out").needs(WAS)).resolve();
    let refused = plant(was(WAS).every(Span::from_secs(1))).err().expect("nothing gives it rows").to_string();
    assert!(refused.contains("`was`: nothing gives it rows"), "{refused}");
    plant(was(LOAD)).expect("it has those of the sensor");
}
