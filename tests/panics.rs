//! The panic rule: a failure ends a node's work on one row of one key; the state is as before the row, later rows go
//! on, other keys notice nothing; too many failures quarantine the node for the key.

use gristmill::topology::{Accepts, Topology, provide, sensor};
use gristmill::traits::sink::DeadLetter;
use gristmill::traits::{Operator, Outputs, RowError, Rows};
use gristmill::words::{ElementType, Time};
use gristmill::{Bench, BenchOptions, Deployment, Quarantine, Stream};
use gristmill_tests::interpreter::random::Random;

const VALUE: Stream<f64> = Stream::new("value");
const SUM: Stream<f64> = Stream::new("sum");
const BEHIND: Stream<f64> = Stream::new("behind");

/// Adds up; a negative value panics, one above a thousand is an error, both after the state was changed.
#[derive(Debug)]
struct Sum;

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
            out.f64(0)[row] = *state;
            assert!(*value >= 0.0, "{value} is negative");
            if *value > 1000.0 {
                return Err(RowError::new(format!("{value} is too much")));
            }
        }
        Ok(())
    }
}

fn topology() -> Topology {
    Topology::new("machine")
        .with(sensor(VALUE))
        .with(provide(SUM).needs(VALUE).by(Sum))
        .with(provide(BEHIND).needs(SUM).by(|sum: f64| sum / 2.0))
}

fn push(bench: &mut Bench, key: &str, values: &[f64]) {
    let from = bench.read(VALUE, key).len();
    for (row, value) in (0i64..).zip(values) {
        let from = i64::try_from(from).expect("it is small");
        bench.row(key, Time::from_secs(from + row)).set(VALUE, *value);
    }
}

fn values(bench: &mut Bench, stream: Stream<f64>, key: &str) -> Vec<f64> {
    bench.read(stream, key).into_iter().map(|(_, value)| value).collect()
}

#[test]
fn a_panic_ends_one_row_of_one_key() {
    let mut bench = topology().bench();
    push(&mut bench, "a", &[1.0, 2.0, -5.0, 3.0, 2000.0, 4.0]);
    push(&mut bench, "b", &[10.0, 20.0]);
    assert_eq!(values(&mut bench, SUM, "a"), [1.0, 3.0, 6.0, 10.0]);
    assert_eq!(values(&mut bench, BEHIND, "a"), [0.5, 1.5, 3.0, 5.0]);
    assert_eq!(values(&mut bench, SUM, "b"), [10.0, 30.0]);
    let letters: Vec<_> = bench.dead_letters().iter().map(|l| (l.cause.offset.0, l.reason.clone())).collect();
    assert_eq!(letters, [(2, "panicked: -5 is negative".to_owned()), (4, "2000 is too much".to_owned())]);
    let letter = &bench.dead_letters()[0];
    assert_eq!((letter.key.as_deref(), letter.node.as_deref()), (Some("a"), Some("sum")));
    assert_eq!(letter.time, Some(Time::from_secs(2)));
}

#[test]
fn counts_add_up() {
    let mut bench = topology().bench();
    push(&mut bench, "a", &[1.0, -5.0, 3.0]);
    let report = bench.report();
    let of = |name: &str| report.nodes.iter().find(|node| node.node.as_str() == name).expect("it runs").counts;
    assert_eq!((of("sum").rows, of("sum").computed, of("sum").failed), (3, 2, 1));
    assert_eq!((of("behind").rows, of("behind").computed, of("behind").skipped), (3, 2, 1));
}

#[test]
fn five_failures_in_a_hundred_rows_quarantine_the_node_for_the_key() {
    let mut bench = topology().bench();
    let mut rows = vec![1.0; 100];
    // The fifth failure is row 96 after the first: 0, 24, 48, 72, 96.
    (0..5).for_each(|failure| rows[failure * 24] = -1.0);
    push(&mut bench, "a", &rows);
    push(&mut bench, "b", &[1.0, 1.0]);
    assert_eq!(bench.dead_letters().len(), 5);
    assert_eq!(values(&mut bench, SUM, "a").len(), 96 - 4);
    assert_eq!(values(&mut bench, SUM, "b"), [1.0, 2.0]);
    let report = bench.report();
    let node = report.nodes.iter().find(|node| node.node.as_str() == "sum").expect("it runs");
    assert_eq!((node.quarantined_keys, node.counts.quarantined, node.counts.failed), (1, 3, 5));
    // It stays so, without more letters.
    push(&mut bench, "a", &[-1.0, 1.0]);
    assert_eq!(bench.dead_letters().len(), 5);
    assert_eq!(values(&mut bench, SUM, "a").len(), 96 - 4);
}

/// One row in a hundred panics, of several keys, in a node with a state and one behind it.
#[test]
fn without_a_limit_every_row_is_tried_and_only_those_that_panic_are_lost() {
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let mut bench = topology().bench_with(BenchOptions { quarantine: None, ..BenchOptions::default() });
    let mut random = Random::new(1);
    let (mut sums, mut lost) = ([0.0; 3], Vec::new());
    let mut expected: [Vec<f64>; 3] = Default::default();
    for row in 0..20_000i64 {
        let (of, is_bad) = (random.below(KEYS.len()), random.percent(1));
        let value = random.between(1, 100) as f64;
        bench.row(KEYS[of], Time::from_secs(row)).set(VALUE, if is_bad { -value } else { value });
        if is_bad {
            lost.push((row, KEYS[of].to_owned(), format!("panicked: -{value} is negative")));
        } else {
            sums[of] += value;
            expected[of].push(sums[of]);
        }
    }
    assert!(lost.len() > 150, "{} rows panic", lost.len());
    let letter =
        |letter: &DeadLetter| (letter.cause.offset.0, letter.key.as_deref().map(str::to_owned), letter.reason.clone());
    let mut letters: Vec<_> = bench.dead_letters().iter().map(letter).collect();
    letters.sort_unstable();
    let lost: Vec<_> = lost.into_iter().map(|(row, key, reason)| (row, Some(key), reason)).collect();
    assert_eq!(letters, lost);
    for (key, expected) in KEYS.iter().zip(&expected) {
        assert_eq!(values(&mut bench, SUM, key), *expected, "{key}");
        let behind: Vec<f64> = expected.iter().map(|sum| sum / 2.0).collect();
        assert_eq!(values(&mut bench, BEHIND, key), behind, "{key}");
    }
    let report = bench.report();
    let node = report.nodes.iter().find(|node| node.node.as_str() == "sum").expect("it runs");
    assert_eq!((node.quarantined_keys, node.counts.quarantined), (0, 0));
    assert_eq!((node.counts.failed, node.counts.computed), (letters.len() as u64, 20_000 - letters.len() as u64));
}

#[test]
fn the_limit_can_be_another() {
    let quarantine = Some(Quarantine { failures: 2, rows: 3 });
    let mut bench = topology().bench_with(BenchOptions { quarantine, ..BenchOptions::default() });
    // Two failures with two rows between them, then with one between them.
    push(&mut bench, "a", &[-1.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0]);
    assert_eq!(values(&mut bench, SUM, "a"), [1.0, 2.0, 3.0]);
    assert_eq!(bench.dead_letters().len(), 3);
}

/// The broken twin: failures that lie further apart quarantine nothing.
#[test]
fn five_failures_in_more_rows_do_not() {
    let mut bench = topology().bench();
    let mut rows = vec![1.0; 130];
    (0..5).for_each(|failure| rows[failure * 25] = -1.0);
    push(&mut bench, "a", &rows);
    assert_eq!(bench.dead_letters().len(), 5);
    assert_eq!(values(&mut bench, SUM, "a").len(), 125);
}

#[test]
fn a_replacement_ends_a_quarantine() {
    let mut bench = topology().bench();
    push(&mut bench, "a", &[-1.0; 6]);
    assert_eq!(bench.dead_letters().len(), 5);
    let newer = Deployment::new().put(provide(SUM).needs(VALUE).by(Sum).version(2)).reset("sum");
    bench.deploy(newer).expect("nothing is wrong with it");
    push(&mut bench, "a", &[7.0]);
    assert_eq!(values(&mut bench, SUM, "a"), [7.0]);
}
