//! What counts as a failure of a node, and leads to its quarantine: ticks that fail do, bad readings do not.

use gristmill::explain::Standing;
use gristmill::topology::{Accepts, BadReading, Topology, provide, sensor};
use gristmill::traits::{Operator, Outputs, RowError, Rows};
use gristmill::words::{ElementType, Time};
use gristmill::{Bench, Counts, Stream};

const LOAD: Stream<f64> = Stream::new("load");
const PEAK: Stream<f64> = Stream::new("peak");

fn at(second: i64) -> Time {
    Time::from_secs(second)
}

fn counts(bench: &mut Bench, node: &str) -> Counts {
    bench.report().nodes.iter().find(|of| of.node.as_str() == node).expect("it runs").counts
}

/// Bug: a sensor that sends bad readings to the dead letters was in quarantine after five of them, and its good readings
/// were lost too. Cause: what it refused counted as its own failures. Fix: it counts as computed, and as a bad reading.
#[test]
fn bad_readings_that_are_dead_letters_do_not_switch_a_sensor_off() {
    let load = sensor(LOAD).range(0.0..=10.0).out_of_range(BadReading::DeadLetter).nan(BadReading::DeadLetter);
    let mut bench = Topology::new("pump").with(load.hold_last()).bench();
    for second in 0..40 {
        let value = [5.0, 99.0, f64::NAN, 6.0][second as usize % 4];
        bench.row("P1", at(second)).set(LOAD, value);
        if second == 21 {
            bench.settle();
        }
    }
    let good: Vec<(Time, f64)> = (0..40)
        .filter_map(|second| Some((at(second), [Some(5.0), None, None, Some(6.0)][second as usize % 4]?)))
        .collect();
    assert_eq!(bench.read(LOAD, "P1"), good);
    assert_eq!(bench.dead_letters().len(), 20);
    let counted = counts(&mut bench, "load");
    assert_eq!((counted.rows, counted.computed, counted.failed, counted.quarantined), (40, 40, 0, 0));
    let report = bench.report();
    assert_eq!((report.intake.nan, report.intake.out_of_range), (10, 10));
    let why = bench.explain("load", "P1");
    assert!(matches!(why.state, Standing::Running { .. }) && why.reasons.is_empty(), "{why}");
}

/// Cannot bear that time passes.
#[derive(Debug)]
struct Impatient;

impl Operator for Impatient {
    type State = u64;

    fn name(&self) -> &'static str {
        "impatient"
    }

    fn parameters(&self) -> String {
        String::new()
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) -> u64 {
        0
    }

    fn own_rows(&self) -> bool {
        true
    }

    fn run(&self, _rows_so_far: &mut u64, _rows: &Rows<'_>, _out: &mut Outputs<'_>) -> Result<(), RowError> {
        Ok(())
    }

    fn tick(&self, _rows_so_far: &mut u64, _now: Time, _out: &mut Outputs<'_>) -> Result<(), RowError> {
        Err(RowError::new("too late"))
    }
}

impl Accepts<(f64,), (f64,)> for Impatient {}

/// Bug: an operator that failed at every tick wrote a dead letter for each key at each, for ever, and nobody could see why.
/// Cause: ticks were left out of what counts as a failure. Fix: one that fails is as a row that does.
#[test]
fn a_node_that_fails_at_ticks_goes_into_quarantine() {
    let mut bench = Topology::new("pump").with(sensor(LOAD)).with(provide(PEAK).needs(LOAD).by(Impatient)).bench();
    bench.row("P1", at(0)).set(LOAD, 1.0);
    (1..5).for_each(|second| bench.advance(at(second)));
    let why = bench.explain("peak", "P1");
    assert!(why.to_string().contains("too late") && matches!(why.state, Standing::Running { .. }), "{why}");
    (5..9).for_each(|second| bench.advance(at(second)));
    let why = bench.explain("peak", "P1");
    assert_eq!(why.state, Standing::Quarantined { reason: "too late".to_owned() }, "{why}");
    assert_eq!(bench.dead_letters().len(), 5);
    // A tick is no row.
    let counted = counts(&mut bench, "peak");
    assert_eq!((counted.rows, counted.computed, counted.failed, counted.quarantined), (1, 1, 0, 0));
}
