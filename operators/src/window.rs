//! Windows of event time that follow one another without overlap, from the Unix epoch on: a window of a minute begins
//! at every full minute UTC.
//!
//! A window holds the rows from its start up to, but not at, its end. It closes when a row or a tick at or past its
//! end arrives, and then gives one row, at its end. A window without rows, or with fewer than `min_rows`, gives none.
//! Rows of a window that a tick has closed come too late and are left out.

mod open;

use std::sync::Arc;

use gristmill::traits::{AnyOperator, Operator, Outputs, RowError, Rows};
use gristmill::words::{ElementType, Span, Time};
use serde::Deserialize;

pub use self::open::Open;
use crate::rolling::by_span::MICROS;
use crate::rolling::stat::{Axis, Summary};
use crate::rolling::values::with_buffer;
use crate::rolling::{MAX_ROWS_DEFAULT, MAX_ROWS_LIMIT, Stat};
use crate::span_text;

/// Statistics of windows that follow one another: see [the module](self).
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Tumbling {
    length: Span,
    summary: Summary,
    max_rows: usize,
}

/// Windows of so much event time, with a statistic for each provided stream, in their order.
///
/// ```
/// use std::time::Duration;
/// use gristmill::topology::provide;
/// use gristmill::Stream;
/// use gristmill_operators::{rolling::Stat, window};
/// const CURRENT: Stream<f32> = Stream::new("current"); // A
/// const MEAN: Stream<f32> = Stream::new("current.minute"); // A
/// const PEAK: Stream<f32> = Stream::new("current.peak"); // A
/// let minute = window::tumbling(Duration::from_secs(60), [Stat::Mean, Stat::Max]);
/// let node = provide((MEAN, PEAK)).needs(CURRENT).by(minute);
/// assert!(node.own_rows());
/// ```
pub fn tumbling(length: impl Into<Span>, stats: impl IntoIterator<Item = Stat>) -> Tumbling {
    let summary = Summary::new(stats.into_iter().collect());
    Tumbling { length: length.into(), summary, max_rows: MAX_ROWS_DEFAULT }
}

impl Tumbling {
    /// What the standard deviation takes off the number of values; 0 unless said.
    pub fn ddof(mut self, ddof: u32) -> Self {
        self.summary.ddof = ddof;
        self
    }

    /// A window with fewer values than this gives no row; 1 unless said.
    pub fn min_rows(mut self, rows: usize) -> Self {
        self.summary.min_rows = rows;
        self
    }

    /// Rows that a window may hold; the row that would be one more fails. [`MAX_ROWS_DEFAULT`] unless said.
    pub fn max_rows(mut self, rows: usize) -> Self {
        self.max_rows = rows;
        self
    }

    /// The start of the window that has `time` in it.
    fn start_of(&self, time: Time) -> Time {
        Time(time.0.saturating_sub(time.0.rem_euclid(self.length.0)))
    }

    /// Closes the open window if it has ended by `now`, and gives its row.
    fn close(&self, open: &mut Open, now: Time, row: usize, out: &mut Outputs<'_>) {
        let (end, count) = (open.start.plus(self.length), open.rows());
        if count == 0 || now < end {
            return;
        }
        if count >= self.summary.min_rows {
            let mut out = out.emit(row, end);
            with_buffer(count, |values| {
                open.copy_to(values);
                let axis = Axis { place: |value: usize| open.time(value).0, unit: MICROS };
                self.summary.ragged(values, |_| 0..count, &axis, 0..1, &mut out);
            });
        }
        open.clear();
    }
}

crate::types::accepts_floats!(Tumbling);

impl Operator for Tumbling {
    type State = Open;

    fn name(&self) -> &'static str {
        "window"
    }

    fn parameters(&self) -> String {
        format!("tumbling {} {} max_rows {}", self.length, self.summary, self.max_rows)
    }

    fn check(&self, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String> {
        self.summary.check(needs, provides)?;
        if self.length <= Span::ZERO {
            return Err("the length of the window is not above 0".to_owned());
        }
        if self.max_rows > MAX_ROWS_LIMIT {
            return Err(format!("a window of up to {} rows is more than {MAX_ROWS_LIMIT}", self.max_rows));
        }
        if self.summary.min_rows > self.max_rows {
            let (least, most) = (self.summary.min_rows, self.max_rows);
            return Err(format!("it wants at least {least} rows of a window of up to {most}"));
        }
        Ok(())
    }

    fn start(&self) -> Open {
        Open::new()
    }

    fn own_rows(&self) -> bool {
        true
    }

    fn run(&self, open: &mut Open, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        let column = rows.column(0);
        for (row, time) in rows.times().iter().enumerate() {
            self.close(open, *time, row, out);
            let start = self.start_of(*time);
            if start < open.start || column.is_missing(row) {
                continue;
            }
            if open.rows() == self.max_rows {
                let most = self.max_rows;
                return Err(RowError::new(format!("the window has `max_rows` {most} rows already")));
            }
            open.start = start;
            open.push(*time, column, row);
        }
        Ok(())
    }

    fn tick(&self, open: &mut Open, now: Time, out: &mut Outputs<'_>) -> Result<(), RowError> {
        self.close(open, now, 0, out);
        open.start = open.start.max(self.start_of(now));
        Ok(())
    }
}

/// How a manifest describes it: `{"length": "1min", "stats": ["mean", "max"]}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Event time of a window, as text: `500ms`, `60s`, `5min`, `2h`.
    #[serde(deserialize_with = "span_text::required")]
    pub length: Span,
    /// One for each provided stream, in their order.
    pub stats: Vec<Stat>,
    /// See [`Tumbling::ddof`].
    #[serde(default)]
    pub ddof: u32,
    /// See [`Tumbling::min_rows`].
    #[serde(default = "crate::parameters::one")]
    pub min_rows: usize,
    /// See [`Tumbling::max_rows`].
    pub max_rows: Option<usize>,
}

/// A window operator as a manifest describes it ([`Parameters`]).
///
/// # Errors
/// A text that says what is wrong with the parameters or the types.
pub fn from_parameters(
    parameters: &serde_json::Value,
    needs: &[ElementType],
    provides: &[ElementType],
) -> Result<Arc<dyn AnyOperator>, String> {
    let Parameters { length, stats, ddof, min_rows, max_rows } = crate::parameters::read(parameters)?;
    let window = tumbling(length, stats).ddof(ddof).min_rows(min_rows).max_rows(max_rows.unwrap_or(MAX_ROWS_DEFAULT));
    crate::parameters::checked(window, needs, provides)
}

#[cfg(test)]
mod tests {
    use gristmill::traits::OwnRows;
    use gristmill::words::{Column, ColumnRef};

    use super::*;

    /// An input: rows at these seconds with these values, or a tick.
    enum Input<'a> {
        Rows(&'a [(i64, f64)]),
        Tick(i64),
    }

    /// Times in seconds and values of the rows it gives, and by which incoming row of a call.
    fn windows(window: &Tumbling, inputs: &[Input<'_>]) -> Vec<(i64, f64, u32)> {
        let (mut state, mut own) = (window.start(), OwnRows::default());
        let mut columns = [Column::with_capacity(ElementType::F64, 0)];
        for input in inputs {
            let mut out = Outputs::own(&mut columns, &mut own, 0);
            match input {
                Input::Rows(rows) => {
                    let times: Vec<Time> = rows.iter().map(|(time, _)| Time::from_secs(*time)).collect();
                    let values: Vec<f64> = rows.iter().map(|(_, value)| *value).collect();
                    let needs = [ColumnRef::F64(&values)];
                    Operator::run(window, &mut state, &Rows::new(&times, &needs), &mut out).expect("they fit");
                }
                Input::Tick(now) => {
                    Operator::tick(window, &mut state, Time::from_secs(*now), &mut out).expect("ticks fit");
                }
            }
        }
        let value = |row| columns[0].as_ref().number(row);
        own.times
            .iter()
            .zip(&own.from)
            .enumerate()
            .map(|(row, (time, from))| (time.0 / 1_000_000, value(row), *from))
            .collect()
    }

    fn minute() -> Tumbling {
        tumbling(Span::from_secs(60), [Stat::Sum])
    }

    #[test]
    fn a_window_closes_with_the_first_row_at_its_end_and_empty_ones_say_nothing() {
        let rows = [(-61, 1.0), (-60, 2.0), (-1, 4.0), (0, 8.0), (59, 16.0), (600, 32.0), (660, 64.0)];
        let expected = [(-60, 1.0, 1), (0, 6.0, 3), (60, 24.0, 5), (660, 32.0, 6)];
        assert_eq!(windows(&minute(), &[Input::Rows(&rows)]), expected);
        let one_by_one: Vec<_> = rows.chunks(1).map(Input::Rows).collect();
        let alone = windows(&minute(), &one_by_one);
        assert_eq!(alone, expected.map(|(time, value, _)| (time, value, 0)));
    }

    #[test]
    fn a_window_of_many_chunks_is_computed_as_a_whole() {
        let rows: Vec<(i64, f64)> = (0..=1_000).map(|second| (second, 2.0 * second as f64)).collect();
        let one_by_one: Vec<_> = rows.chunks(1).map(Input::Rows).collect();
        for (stat, expected) in [(Stat::Sum, 999_000.0), (Stat::Slope, 2.0), (Stat::Max, 1_998.0)] {
            let window = tumbling(Span::from_secs(1_000), [stat]);
            for inputs in [&[Input::Rows(&rows)][..], &one_by_one[..]] {
                let got = windows(&window, inputs);
                let fits = matches!(&got[..], [(1_000, value, _)] if (value - expected).abs() < 1e-9);
                assert!(fits, "{stat:?}: {got:?}");
            }
        }
    }

    #[test]
    fn a_tick_closes_a_window_and_its_rows_then_come_too_late() {
        let inputs = [
            Input::Rows(&[(10, 1.0)]),
            Input::Tick(59),
            Input::Rows(&[(30, 2.0)]),
            Input::Tick(60),
            Input::Rows(&[(40, 4.0), (70, 8.0)]),
            Input::Tick(120),
            Input::Tick(180),
        ];
        assert_eq!(windows(&minute(), &inputs), [(60, 3.0, 0), (120, 8.0, 0)]);
    }

    #[test]
    fn too_few_rows_give_nothing_and_missing_ones_do_not_count() {
        let rows = [(0, 1.0), (1, f64::NAN), (60, 2.0), (61, 4.0), (120, f64::NAN)];
        assert_eq!(windows(&minute().min_rows(2), &[Input::Rows(&rows)]), [(120, 6.0, 4)]);
    }

    #[test]
    fn the_row_too_many_fails_and_the_window_stands() {
        let window = minute().max_rows(2);
        let (mut state, mut own) = (window.start(), OwnRows::default());
        let mut columns = [Column::with_capacity(ElementType::F64, 0)];
        let mut run = |time, value: f64| {
            let (times, values) = ([Time::from_secs(time)], [value]);
            let needs = [ColumnRef::F64(&values)];
            let mut out = Outputs::own(&mut columns, &mut own, 0);
            Operator::run(&window, &mut state, &Rows::new(&times, &needs), &mut out)
        };
        assert_eq!((run(0, 1.0), run(1, 2.0)), (Ok(()), Ok(())));
        assert!(run(2, 4.0).unwrap_err().to_string().contains("`max_rows` 2"));
        assert_eq!(run(60, 8.0), Ok(()));
        assert_eq!(columns[0].as_ref().number(0), 3.0);
    }

    #[test]
    fn manifests_are_checked() {
        let types = [ElementType::F32];
        let made = |text: &str| from_parameters(&serde_json::from_str(text).expect("it is JSON"), &types, &types);
        let window = made(r#"{"length": "1min", "stats": ["mean"]}"#).expect("it is right");
        let in_rust = tumbling(Span::from_secs(60), [Stat::Mean]);
        assert_eq!(window.parameters(), Operator::parameters(&in_rust));
        for (bad, why) in [
            (r#"{"stats": ["mean"]}"#, "length"),
            (r#"{"length": "0s", "stats": ["mean"]}"#, "above 0"),
            (r#"{"length": "1s", "stats": ["mean", "max"]}"#, "2 statistics"),
            (r#"{"length": "1s", "stats": ["median"]}"#, "median"),
            (r#"{"length": "1s", "stats": ["mean"], "hop": "1s"}"#, "hop"),
            (r#"{"length": "1s", "stats": ["mean"], "min_rows": 9, "max_rows": 8}"#, "at least 9"),
        ] {
            let error = made(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
