//! Bug: values that a need had on another axis came back, when it was on the node's own axis for a plan and then on another
//! again. Cause: what is remembered of a need was looked at only under plans in which a need is on another axis, and only
//! when its key had rows. Fix: the plan says since when a need is on another axis, and what is older is forgotten.

use gristmill::topology::{Node, Topology, optional, provide, sensor};
use gristmill::traits::Axes;
use gristmill::words::Time;
use gristmill::{Bench, BenchOptions, Deployment, Stream};

const A: Stream<f64> = Stream::new("a");
const B: Stream<f64> = Stream::new("b");
const C: Stream<f64> = Stream::new("c");
const N: Stream<f64> = Stream::new("n");

fn at(second: i64) -> Time {
    Time::from_secs(second)
}

/// `b` with the rows of `a`.
fn beside() -> Node {
    provide(B).needs(A).by(|a: f64| a * 10.0)
}

/// `b` with rows of its own, or with those of `a`.
fn put(bench: &mut Bench, node: impl Into<Node>) {
    // A sensor and an operator of one name are two contents: the state of `b` is nothing here.
    bench.deploy(Deployment::new().put(node.into()).reset("b")).expect("nothing is wrong with it");
}

/// A topology with each sensor on an axis of its own, and a node that reads `b` and `c` with the rows of `a`.
fn joined() -> Bench {
    let needs = (A, optional(B), optional(C));
    let sum = |a: f64, b: Option<f64>, c: Option<f64>| a * 100.0 + b.unwrap_or(-1.0) + c.unwrap_or(0.0);
    let node = provide(N).needs(needs).by(sum);
    let axes = Axes::Open { groups: Vec::new(), wide: false };
    let topology = Topology::new("pump").with(sensor(A)).with(sensor(B)).with(sensor(C)).with(node);
    topology.bench_with(BenchOptions { axes, ..BenchOptions::default() })
}

fn values(bench: &mut Bench, key: &str) -> Vec<f64> {
    bench.read(N, key).into_iter().map(|(_, value)| value).collect()
}

#[test]
fn what_a_need_had_before_it_was_on_the_nodes_axis_does_not_come_back() {
    let mut bench = joined();
    for key in ["P1", "P2"] {
        bench.reading(key, at(1), B, 7.0);
        bench.reading(key, at(1), C, 0.5);
        bench.reading(key, at(1), A, 1.0);
    }
    put(&mut bench, beside());
    // Only one of the keys has a row meanwhile.
    bench.reading("P1", at(2), A, 2.0);
    put(&mut bench, sensor(B));
    for key in ["P1", "P2"] {
        bench.reading(key, at(3), A, 3.0);
        bench.reading(key, at(4), B, 9.0);
        bench.reading(key, at(4), A, 4.0);
    }
    // What `c` had is remembered throughout.
    assert_eq!(values(&mut bench, "P1"), [107.5, 220.5, 299.5, 409.5]);
    assert_eq!(values(&mut bench, "P2"), [107.5, 299.5, 409.5]);
}

#[test]
fn nor_where_the_node_read_nothing_on_another_axis_meanwhile() {
    let node = provide(N).needs((A, optional(B))).by(|a: f64, b: Option<f64>| a * 100.0 + b.unwrap_or(-1.0));
    let axes = Axes::Open { groups: Vec::new(), wide: false };
    let topology = Topology::new("pump").with(sensor(A)).with(sensor(B)).with(node);
    let mut bench = topology.bench_with(BenchOptions { axes, ..BenchOptions::default() });
    bench.reading("P1", at(1), B, 7.0);
    bench.reading("P1", at(1), A, 1.0);
    for round in [2, 4] {
        put(&mut bench, beside());
        bench.reading("P1", at(round), A, 2.0);
        put(&mut bench, sensor(B));
        bench.reading("P1", at(round + 1), A, 3.0);
        bench.reading("P1", at(round + 1), B, 5.0);
    }
    assert_eq!(values(&mut bench, "P1"), [107.0, 220.0, 299.0, 220.0, 299.0]);
}
