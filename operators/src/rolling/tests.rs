//! A row's statistics depend on the rows inside its window and on nothing else.

use gristmill::traits::{Operator, Outputs, RowError, Rows};
use gristmill::words::{Column, ColumnRef, ElementType, Span, Time};
use proptest::prelude::*;

use super::*;
use crate::testing::{run, run_at};

const ALL: [Stat; 8] = [Stat::Mean, Stat::Std, Stat::Min, Stat::Max, Stat::Rms, Stat::Slope, Stat::Count, Stat::Sum];

/// The statistics of one window, by their definitions; `places` in units of the slope.
fn by_hand(stat: Stat, window: &[(f64, f64)]) -> f64 {
    let rows = window.len() as f64;
    let sum =
        |term: &dyn Fn(f64, f64) -> f64| window.iter().fold(0.0, |sum, (place, value)| sum + term(*place, *value));
    let total = sum(&|_, value| value);
    let mean = total / rows;
    match stat {
        _ if window.is_empty() => f64::NAN,
        Stat::Mean => mean,
        Stat::Std => (sum(&|_, value| (value - mean) * (value - mean)) / rows).sqrt(),
        Stat::Min => window.iter().fold(f64::INFINITY, |min, (_, value)| if *value < min { *value } else { min }),
        Stat::Max => window.iter().fold(f64::NEG_INFINITY, |max, (_, value)| if *value > max { *value } else { max }),
        Stat::Rms => (sum(&|_, value| value * value) / rows).sqrt(),
        Stat::Slope => {
            let middle = sum(&|place, _| place) / rows;
            let together = sum(&|place, value| (place - middle) * (value - mean));
            together / sum(&|place, _| (place - middle) * (place - middle))
        }
        Stat::Count => rows,
        Stat::Sum => total,
    }
}

/// The rows of each row's window: `(place from its newest row, value)`, missing ones left out.
fn windows(window: Window, times: &[Time], values: &[f64]) -> Vec<Vec<(f64, f64)>> {
    let row_window = |row: usize| {
        let inside = |old: &usize| match window {
            Window::Rows(rows) => row - old < rows,
            Window::Span(span) => times[*old] > times[row].minus(span),
        };
        let inside: Vec<usize> = (0..=row).filter(inside).filter(|old| !values[*old].is_nan()).collect();
        let newest = inside.last().copied().unwrap_or(row);
        let place = |old: usize| match window {
            Window::Rows(_) => old as f64 - newest as f64,
            Window::Span(_) => (times[old].0 - times[newest].0) as f64,
        };
        inside.into_iter().map(|old| (place(old), values[old])).collect()
    };
    (0..values.len()).map(row_window).collect()
}

/// Compares all rows with windows computed by hand, bit by bit; the first difference is the error.
fn check(window: Window, times: &[Time], values: &[f64], got: &[Column]) -> Result<(), String> {
    let unit = if matches!(window, Window::Span(_)) { by_span::MICROS } else { 1.0 };
    for (row, rows) in windows(window, times, values).iter().enumerate() {
        for (stat, column) in ALL.iter().zip(got) {
            let hand = by_hand(*stat, rows) * if *stat == Stat::Slope { unit } else { 1.0 };
            let value = column.as_ref().number(row);
            if hand.to_bits() != value.to_bits() && !(hand.is_nan() && value.is_nan()) {
                return Err(format!("row {row}: {stat:?} is {value}, by hand {hand}"));
            }
        }
    }
    Ok(())
}

fn cuts(rows: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::btree_set(1..rows, 0..12).prop_map(|cuts| cuts.into_iter().collect())
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![20 => -1e3..1e3f64, 2 => Just(f64::NAN), 1 => Just(1e12), 1 => Just(-0.0)]
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![(1..90usize).prop_map(rows), (1..20_000i64).prop_map(|millis| span(Span::from_millis(millis)))]
}

proptest! {
    /// A provider that begins anew may bring times from before its last ones.
    #[test]
    fn any_cut_gives_the_same_bits_where_times_go_back(
        millis in 1..20_000i64,
        steps in prop::collection::vec(-300..400i64, 200),
        cuts in cuts(200),
    ) {
        let mut now = 0;
        let times: Vec<Time> = steps.iter().map(|step| { now += step; Time::from_millis(now) }).collect();
        let values: Vec<f64> = (0..200).map(f64::from).collect();
        let (rolling, provides) = (stats(span(Span::from_millis(millis)), ALL), [ElementType::F64; 8]);
        let whole = run_at(&rolling, &times, ColumnRef::F64(&values), &provides, &[]);
        let cut = run_at(&rolling, &times, ColumnRef::F64(&values), &provides, &cuts);
        prop_assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
    }

    #[test]
    fn any_cut_of_the_rows_gives_the_bits_of_windows_by_hand_and_the_same_state(
        window in window(),
        values in prop::collection::vec(value(), 200),
        missing in any::<bool>(),
        steps in prop::collection::vec(1..400i64, 200),
        cuts in cuts(200),
    ) {
        let values: Vec<f64> =
            values.into_iter().map(|value| if value.is_nan() && !missing { 7.0 } else { value }).collect();
        let mut now = -10_000;
        let times: Vec<Time> = steps.iter().map(|step| { now += step; Time::from_millis(now) }).collect();
        let (rolling, provides) = (stats(window, ALL), [ElementType::F64; 8]);
        let (once, state) = run_at(&rolling, &times, ColumnRef::F64(&values), &provides, &[]);
        let (cut, cut_state) = run_at(&rolling, &times, ColumnRef::F64(&values), &provides, &cuts);
        prop_assert_eq!(check(window, &times, &values, &once), Ok(()));
        prop_assert_eq!(check(window, &times, &values, &cut), Ok(()));
        prop_assert_eq!(state, cut_state);
    }

    #[test]
    fn narrow_and_whole_numbers_are_computed_in_f64(
        values in prop::collection::vec(-1_000_000..1_000_000i64, 100),
        length in 1..70usize,
        cuts in cuts(100),
    ) {
        let wide: Vec<f64> = values.iter().map(|value| *value as f64).collect();
        let narrow: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        let times: Vec<Time> = (0..100).map(Time::from_secs).collect();
        for column in [ColumnRef::F32(&narrow), ColumnRef::I64(&values)] {
            let (got, _) = run(&stats(rows(length), ALL), column, &[ElementType::F64; 8], &cuts);
            prop_assert_eq!(check(rows(length), &times, &wide, &got), Ok(()));
        }
    }
}

/// A mean that adds what comes and takes off what goes, as one is tempted to write it.
#[derive(Debug)]
struct RunningMean(usize);

impl Operator for RunningMean {
    type State = (Vec<f64>, f64);

    fn name(&self) -> &'static str {
        "running mean"
    }

    fn parameters(&self) -> String {
        self.0.to_string()
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) -> Self::State {
        (Vec::new(), 0.0)
    }

    fn run(&self, (held, sum): &mut Self::State, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        for (row, value) in rows.f64(0).iter().enumerate() {
            held.push(*value);
            *sum += value;
            if held.len() > self.0 {
                *sum -= held.remove(0);
            }
            out.f64(0)[row] = *sum / held.len() as f64;
        }
        Ok(())
    }
}

#[test]
fn nothing_drifts_after_a_spike_and_a_running_sum_is_caught() {
    let values: Vec<f64> = (0..500).map(|row| if row == 100 { 1e17 } else { f64::from(row % 7) * 0.1 }).collect();
    let times: Vec<Time> = (0..500).map(|row| Time::from_millis(100 * row)).collect();
    let (column, provides) = (ColumnRef::F64(&values), [ElementType::F64]);
    let (got, _) = run(&mean(rows(60)), column, &provides, &[250]);
    assert_eq!(check(rows(60), &times, &values, &got), Ok(()));
    let (drifted, _) = run(&RunningMean(60), column, &provides, &[250]);
    let error = check(rows(60), &times, &values, &drifted).unwrap_err();
    assert!(error.contains("Mean"), "{error}");
}

#[test]
fn options_decide_what_is_missing() {
    let column = ColumnRef::F32(&[2.0, 4.0, f32::NAN, 9.0]);
    let values = |rolling: &Rolling| match run(rolling, column, &[ElementType::F32], &[1]).0.remove(0) {
        Column::F32(values) => values.into_iter().map(|value| (!value.is_nan()).then_some(value)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let half = 2_f32.sqrt();
    assert_eq!(values(&std(rows(2)).ddof(1)), [None, Some(half), None, None]);
    assert_eq!(values(&std(rows(2))), [Some(0.0), Some(1.0), Some(0.0), Some(0.0)]);
    assert_eq!(values(&mean(rows(3)).min_rows(2)), [None, Some(3.0), Some(3.0), Some(6.5)]);
    assert_eq!(values(&slope(span(Span::from_millis(300)))), [None, Some(20.0), Some(20.0), Some(25.0)]);
    assert_eq!(values(&count(rows(1))), [Some(1.0), Some(1.0), None, Some(1.0)]);
}

#[test]
fn a_window_of_time_holds_so_many_rows_and_the_next_one_fails() {
    let rolling = mean(span(Span::from_secs(10))).max_rows(3);
    assert!(Operator::can_fail(&rolling));
    let mut state = rolling.start();
    let mut row_at = |second| {
        let (times, needs) = ([Time::from_secs(second)], [ColumnRef::F64(&[1.0])]);
        let before = state.clone();
        let done = rolling.run(
            &mut state,
            &Rows::new(&times, &needs),
            &mut Outputs::new(&mut [Column::missing(ElementType::F64, 1)], 0..1),
        );
        if done.is_err() {
            state = before;
        }
        done
    };
    assert!((0..3).all(|second| row_at(second).is_ok()));
    assert_eq!(row_at(3).unwrap_err().to_string(), "more than `max_rows` 3 rows lie within 10 s");
    assert_eq!(row_at(10), Ok(()));
}

#[test]
fn a_stream_of_f32_is_remembered_in_four_bytes_a_row() {
    let values = vec![1.5; 500];
    let (_, state) = run(&mean(rows(60)), ColumnRef::F32(&values), &[ElementType::F32], &[]);
    assert!(state.len() <= 59 * 4 + 4, "{} bytes", state.len());
}

#[test]
fn manifests_describe_the_same_operator_and_are_checked() {
    let (needs, provides) = ([ElementType::F32], [ElementType::F32, ElementType::F64]);
    let made = |text: &str| from_parameters(&serde_json::from_str(text).expect("it is JSON"), &needs, &provides);
    let in_rust = stats(span(Span::from_secs(60)), [Stat::Mean, Stat::Slope]).min_rows(5);
    let in_text = made(r#"{"span": "1min", "stats": ["mean", "slope"], "min_rows": 5}"#).expect("it is right");
    assert_eq!(in_text.parameters(), Operator::parameters(&in_rust));
    for (bad, why) in [
        (r#"{"stats": ["mean", "std"]}"#, "either `rows` or `span`"),
        (r#"{"rows": 60, "span": "60s", "stats": ["mean", "std"]}"#, "either `rows` or `span`"),
        (r#"{"rows": 60, "stats": ["mean"]}"#, "1 statistics [Mean], but 2 streams"),
        (r#"{"rows": 60, "stats": ["mean", "median"]}"#, "median"),
        (r#"{"rows": 0, "stats": ["mean", "std"]}"#, "at least 1"),
        (r#"{"rows": 9999999, "stats": ["mean", "std"]}"#, "more than 1000000"),
        (r#"{"rows": 60, "stats": ["mean", "std"], "min_rows": 61}"#, "at least 61"),
        (r#"{"rows": 60, "stats": ["mean", "std"], "min_rows": 0}"#, "at least 1"),
        (r#"{"rows": 1, "stats": ["mean", "std"], "ddof": 1}"#, "`ddof`"),
        (r#"{"rows": 60, "stats": ["mean", "std"], "max_rows": 100}"#, "goes with `span`"),
        (r#"{"span": 60, "stats": ["mean", "std"]}"#, "string"),
        (r#"{"span": "60", "stats": ["mean", "std"]}"#, "ms, s, min or h"),
        (r#"{"rows": 60, "stats": ["mean", "std"], "centre": true}"#, "centre"),
    ] {
        let error = made(bad).unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
    }
    let text = [ElementType::Str];
    assert!(Operator::check(&mean(rows(2)), &text, &needs).unwrap_err().contains("not str"));
    assert!(Operator::check(&mean(rows(2)), &needs, &text).unwrap_err().contains("not str"));
}
