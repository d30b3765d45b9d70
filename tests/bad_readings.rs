//! What is there and cannot be used is counted by its cause, once, wherever its key lives: readings that are not numbers or
//! out of range, and values that are no longer among the last `as_of_rows`.

use gristmill::topology::{BadReading, Node, Topology, provide, sensor};
use gristmill::traits::Axes;
use gristmill::words::Time;
use gristmill::{Bench, BenchOptions, Deployment, Stream};
use gristmill_tests::support::recorder::Recorded;

const PLAIN: Stream<f32> = Stream::new("plain");
const HELD: Stream<f32> = Stream::new("held");
const UNIT: Stream<f64> = Stream::new("unit");
const SENT: Stream<f64> = Stream::new("sent");
const WHOLE: Stream<i64> = Stream::new("whole");

const KEYS: u64 = 7;

fn at(second: i64) -> Time {
    Time::from_secs(second)
}

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|key| format!("P{key}"))
}

/// Sensors that come all ways through the cleaning.
fn sensors() -> Topology {
    let sent = sensor(SENT).range(0.0..=10.0).out_of_range(BadReading::DeadLetter).nan(BadReading::DeadLetter);
    Topology::new("pump")
        .with(sensor(PLAIN).range(0.0..=10.0))
        .with(sensor(HELD).range(0.0..=10.0).hold_last())
        .with(sensor(UNIT).range(0.0..=10.0).unit(2.0, 1.0))
        .with(sent)
        .with(sensor(WHOLE).range(0.0..=10.0))
}

/// Six rows of each key: for each sensor two good readings, two out of range, one that is not a number, none at all.
fn push(bench: &mut Bench, from: i64) {
    for key in keys() {
        for (row, value) in [3.0, -1.0, f64::NAN, 11.0, 10.0].into_iter().enumerate() {
            let row = bench.row(&key, at(from + row as i64));
            let row = row.set(PLAIN, value as f32).set(HELD, value as f32).set(UNIT, value).set(SENT, value);
            let _ = if value.is_nan() { row } else { row.set(WHOLE, value as i64) };
        }
        let _ = bench.row(&key, at(from + 5));
    }
}

/// What the series of the class and its report say: not a number, out of range.
fn told(bench: &mut Bench, recorded: &Recorded) -> [u64; 2] {
    bench.settle();
    let series = ["nan", "out_of_range"]
        .map(|cause| recorded.counter(&format!("gristmill_bad_readings_total{{class=pump,cause={cause}}}")));
    let intake = bench.report().intake;
    assert_eq!([intake.nan, intake.out_of_range], series, "the report says what the series say");
    series
}

fn of(bench: &mut Bench, node: &str) -> [u64; 3] {
    let report = bench.report();
    let node = report.nodes.iter().find(|of| of.node.as_str() == node).expect("it runs");
    [node.counts.rows, node.nan, node.out_of_range]
}

#[test]
fn each_bad_reading_is_counted_once_by_its_cause() {
    let recorded = Recorded::default();
    let _local = metrics::set_default_local_recorder(&recorded);
    let mut bench = sensors().bench_with(BenchOptions { shards: 3, quarantine: None, ..BenchOptions::default() });
    push(&mut bench, 0);
    assert_eq!(told(&mut bench, &recorded), [4 * KEYS, 5 * 2 * KEYS]);
    for node in ["plain", "held", "unit", "sent"] {
        assert_eq!(of(&mut bench, node), [6 * KEYS, KEYS, 2 * KEYS], "{node}");
    }
    assert_eq!(of(&mut bench, "whole"), [6 * KEYS, 0, 2 * KEYS]);
    assert_eq!(bench.dead_letters().len() as u64, 3 * KEYS, "of `sent` alone");
    assert_eq!(bench.read(HELD, "P1").len(), 6, "what is held is counted all the same");

    // The node begins anew, what the class has counted stays. A key has a sensor of its own as well.
    let wider = Deployment::new().put(sensor(PLAIN).range(-5.0..=10.0)).reset("plain");
    let mut own = Node::from(sensor(HELD).range(0.0..=5.0));
    own.selector = gristmill::topology::Selector::Key("P1".into());
    bench.deploy(wider).expect("nothing is wrong with it");
    bench.deploy(own).expect("nothing is wrong with it");
    push(&mut bench, 10);
    assert_eq!(told(&mut bench, &recorded), [2 * 4 * KEYS, 2 * 5 * 2 * KEYS - KEYS + 1]);
    assert_eq!(of(&mut bench, "plain"), [6 * KEYS, KEYS, KEYS]);
    assert_eq!(of(&mut bench, "held"), [12 * KEYS - 6, 2 * KEYS - 1, 4 * KEYS - 2]);
    assert_eq!(of(&mut bench, "held@P1"), [6, 1, 3]);
}

/// Bug: a sensor of f32 with the range 0 to 0.3 took a reading of 0.3 for one out of range. Cause: the reading, rounded to
/// f32, was compared with a limit that was not. Fix: the limits are rounded as the readings are.
#[test]
fn a_reading_at_a_limit_is_in_range() {
    const DOUBLED: Stream<f32> = Stream::new("doubled");
    // As an f32, 0.3 is more than 0.3, and 0.7 less than 0.7.
    let cases = [
        (0.0..=0.3, 0.3, 0.300_01),
        (0.7..=1.0, 0.7, 0.699_99),
        (-0.3..=0.0, -0.3, -0.300_01),
        (-1.0..=-0.7, -0.7, -0.699_99),
    ];
    for (range, limit, outside) in cases {
        let pump = Topology::new("limits")
            .with(sensor(PLAIN).range(range.clone()))
            .with(sensor(HELD).range(range.clone()).hold_last())
            .with(sensor(DOUBLED).range(range.clone()).unit(2.0, 0.0))
            .with(sensor(UNIT).range(range));
        let (mut bench, narrow) = (pump.bench(), limit as f32);
        bench.row("P1", at(1)).set(PLAIN, narrow).set(HELD, narrow).set(DOUBLED, narrow).set(UNIT, limit);
        assert_eq!(bench.read(PLAIN, "P1"), [(at(1), narrow)]);
        assert_eq!(bench.read(HELD, "P1"), [(at(1), narrow)]);
        assert_eq!(bench.read(DOUBLED, "P1"), [(at(1), 2.0 * narrow)]);
        assert_eq!(bench.read(UNIT, "P1"), [(at(1), limit)]);
        assert_eq!(bench.report().intake.out_of_range, 0, "{limit}");
        bench.row("P1", at(2)).set(PLAIN, outside).set(DOUBLED, outside);
        assert_eq!((bench.read(PLAIN, "P1").len(), bench.read(DOUBLED, "P1").len()), (1, 1), "{outside}");
        assert_eq!(bench.report().intake.out_of_range, 2, "{outside}");
    }
}

/// Bug: a reading of 1e30 with a scale of 1e30 came out infinite, and was no bad reading. Fix: it is out of range.
#[test]
fn a_reading_that_its_unit_makes_infinite_is_out_of_range() {
    const NARROW: Stream<f32> = Stream::new("narrow");
    const WIDE: Stream<f64> = Stream::new("wide");
    let pump = Topology::new("pump")
        .with(sensor(NARROW).unit(1e30, 0.0).hold_last())
        .with(sensor(WIDE).unit(1e300, 0.0).out_of_range(BadReading::DeadLetter));
    let mut bench = pump.bench();
    for (second, narrow, wide) in [(1, 2.0, 2.0), (2, 1e9, 1e9), (3, -1e8, -1e8)] {
        bench.row("P1", at(second)).set(NARROW, narrow).set(WIDE, wide);
    }
    assert_eq!(bench.read(NARROW, "P1"), [(at(1), 2e30), (at(2), 2e30), (at(3), -1e38)]);
    assert_eq!(bench.read(WIDE, "P1"), [(at(1), 2e300), (at(3), -1e308)]);
    assert_eq!((of(&mut bench, "narrow"), of(&mut bench, "wide")), ([3, 0, 1], [3, 0, 1]));
    let reasons: Vec<&str> = bench.dead_letters().iter().map(|letter| letter.reason.as_str()).collect();
    assert!(reasons.len() == 1 && reasons[0].contains("plus 0 is beyond f64"), "{reasons:?}");
}

/// Bug: 100 times 0.29 was 28 in a sensor of i64, whole numbers beyond 2^53 lost their last digits, and what no i64 holds
/// became the largest one, or missing without being counted. Cause: a cast of the product as f64. Fix: it is rounded, exact
/// where scale and offset are whole, and out of range beyond i64.
#[test]
fn a_whole_number_is_rounded_is_exact_and_is_out_of_range_beyond_i64() {
    const SHARE: Stream<i64> = Stream::new("share");
    const NEXT: Stream<i64> = Stream::new("next");
    const TWICE: Stream<i64> = Stream::new("twice");
    const HUGE: Stream<i64> = Stream::new("huge");
    const LOST: Stream<i64> = Stream::new("lost");
    let pump = Topology::new("pump")
        .with(sensor(SHARE).unit(0.29, 0.0))
        .with(sensor(NEXT).unit(1.0, 1.0))
        .with(sensor(TWICE).unit(2.0, 0.0))
        .with(sensor(HUGE).unit(1e10, 0.0))
        .with(sensor(LOST).unit(1e10, 0.5).out_of_range(BadReading::DeadLetter));
    let mut bench = pump.bench();
    for (second, share, next, twice, huge) in [
        (1, 100, 9_007_199_254_740_993, 1 << 61, 9_000_000_000_000),
        // Twice the last is i64::MIN, which means missing.
        (2, -100, i64::MAX, -(1 << 62), -9_000_000_000_000),
        (3, 0, -1, 3, -900_000_000),
    ] {
        let row = bench.row("P1", at(second)).set(SHARE, share).set(NEXT, next).set(TWICE, twice);
        row.set(HUGE, huge).set(LOST, huge);
    }
    assert_eq!(bench.read(SHARE, "P1"), [(at(1), 29), (at(2), -29), (at(3), 0)]);
    assert_eq!(bench.read(NEXT, "P1"), [(at(1), 9_007_199_254_740_994), (at(3), 0)]);
    assert_eq!(bench.read(TWICE, "P1"), [(at(1), 1 << 62), (at(3), 6)]);
    assert_eq!(bench.read(HUGE, "P1"), [(at(3), -9_000_000_000_000_000_000)]);
    for (node, out_of_range) in [("share", 0), ("next", 1), ("twice", 1), ("huge", 2), ("lost", 2)] {
        assert_eq!(of(&mut bench, node), [3, 0, out_of_range], "{node}");
    }
    let reasons: Vec<&str> = bench.dead_letters().iter().map(|letter| letter.reason.as_str()).collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons[1].ends_with("-9000000000000 times 10000000000 plus 0.5 is beyond i64"), "{reasons:?}");
}

#[test]
fn a_reading_that_a_paused_sensor_does_not_look_at_is_not_counted() {
    let recorded = Recorded::default();
    let _local = metrics::set_default_local_recorder(&recorded);
    let mut bench = sensors().bench();
    bench.deploy(Deployment::new().pause("sent")).expect("it is a node like any other");
    push(&mut bench, 0);
    assert_eq!(told(&mut bench, &recorded), [3 * KEYS, 4 * 2 * KEYS]);
    assert_eq!(of(&mut bench, "sent"), [6 * KEYS, 0, 0]);
}

#[test]
fn a_value_that_is_no_longer_among_the_last_is_counted() {
    const FAST: Stream<f64> = Stream::new("fast");
    const SLOW: Stream<f64> = Stream::new("slow");
    for settles in [false, true] {
        let recorded = Recorded::default();
        let _local = metrics::set_default_local_recorder(&recorded);
        let sum = provide(Stream::<f64>::new("sum")).needs((SLOW, FAST)).by(|a: f64, b: f64| a + b).as_of_rows(3);
        let axes = Axes::Open { groups: Vec::new(), wide: false };
        let pump = Topology::new("pump").with(sensor(SLOW)).with(sensor(FAST)).with(sum);
        let mut bench = pump.bench_with(BenchOptions { axes, shards: 2, ..BenchOptions::default() });
        for second in 10..30 {
            keys().for_each(|key| bench.reading(&key, at(second), FAST, 1.0));
            if settles {
                bench.settle();
            }
        }
        // Before the first there never was a value; 10 and 26 are forgotten; 27 is the last that is remembered.
        for second in [9, 10, 26, 27, 29] {
            keys().for_each(|key| bench.reading(&key, at(second), SLOW, 1.0));
        }
        bench.settle();
        assert_eq!(recorded.counter("gristmill_as_of_forgotten_total{class=pump}"), 2 * KEYS, "{settles}");
        let report = bench.report();
        let node = report.nodes.iter().find(|node| node.node.as_str() == "sum").expect("it runs");
        assert_eq!((node.forgotten, node.counts.skipped, node.counts.computed), (2 * KEYS, 3 * KEYS, 2 * KEYS));
    }
}
