//! Bug: a hot-added sensor of a source whose axes follow the sensors moved the axes and columns of the others, so that
//! their clocks were mixed up, and rows that waited to be sorted in had too few columns: the shard aborted.
//! Cause: axes were numbered anew, by name, for each plan.
//! Fix: an axis and a stream in it keep their places; rows from before lack what came later.

use gristmill::topology::{Topology, sensor};
use gristmill::traits::Axes;
use gristmill::words::{Span, Time};
use gristmill::{BenchOptions, IntakePolicy, Stream};

const PRESSURE: Stream<f64> = Stream::new("pressure");
const VIBRATION: Stream<f64> = Stream::new("vibration");
/// Before the others in the order of names.
const AMPERE: Stream<f64> = Stream::new("ampere");

fn at(second: i64) -> Time {
    Time::from_secs(second)
}

#[test]
fn narrow_readings_keep_their_own_clocks() {
    let narrow = Axes::Open { groups: Vec::new(), wide: false };
    let pump = Topology::new("pump").with(sensor(PRESSURE)).with(sensor(VIBRATION));
    let mut bench = pump.bench_with(BenchOptions { axes: narrow, ..BenchOptions::default() });
    bench.reading("P1", at(100), PRESSURE, 1.0);
    bench.reading("P1", at(5), VIBRATION, 1.0);
    bench.deploy(gristmill::topology::Node::from(sensor(AMPERE))).expect("nothing is wrong with it");
    bench.reading("P1", at(3), AMPERE, 3.0);
    bench.reading("P1", at(6), VIBRATION, 2.0);
    bench.reading("P1", at(101), PRESSURE, 2.0);
    assert_eq!(bench.read(AMPERE, "P1"), [(at(3), 3.0)]);
    assert_eq!(bench.read(VIBRATION, "P1"), [(at(5), 1.0), (at(6), 2.0)]);
    assert_eq!(bench.read(PRESSURE, "P1"), [(at(100), 1.0), (at(101), 2.0)]);
    assert_eq!(bench.report().intake.late, 0);
}

#[test]
fn rows_that_wait_to_be_sorted_in_live_through_a_new_sensor() {
    let intake = IntakePolicy { reorder: Span::from_secs(10), ..IntakePolicy::default() };
    let pump = Topology::new("pump").with(sensor(PRESSURE));
    let mut bench = pump.bench_with(BenchOptions { intake, ..BenchOptions::default() });
    bench.row("P1", at(1)).set(PRESSURE, 1.0);
    bench.deploy(gristmill::topology::Node::from(sensor(AMPERE))).expect("nothing is wrong with it");
    bench.row("P1", at(2)).set(PRESSURE, 2.0).set(AMPERE, 20.0);
    bench.row("P1", at(13)).set(PRESSURE, 13.0);
    assert_eq!(bench.read(PRESSURE, "P1"), [(at(1), 1.0), (at(2), 2.0)]);
    assert_eq!(bench.read(AMPERE, "P1"), [(at(2), 20.0)]);
}

#[test]
fn a_sensor_that_goes_leaves_the_others_in_their_places() {
    let pump = Topology::new("pump").with(sensor(AMPERE)).with(sensor(PRESSURE)).with(sensor(VIBRATION));
    let mut bench = pump.bench();
    bench.row("P1", at(1)).set(AMPERE, 1.0).set(PRESSURE, 2.0).set(VIBRATION, 3.0);
    bench.remove("ampere").expect("nobody needs it");
    bench.row("P1", at(2)).set(PRESSURE, 4.0).set(VIBRATION, 5.0);
    assert_eq!(bench.read(AMPERE, "P1"), [(at(1), 1.0)]);
    assert_eq!(bench.read(PRESSURE, "P1"), [(at(1), 2.0), (at(2), 4.0)]);
    assert_eq!(bench.read(VIBRATION, "P1"), [(at(1), 3.0), (at(2), 5.0)]);
}
