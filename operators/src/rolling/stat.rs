//! What can be said of the values of a window.

use std::fmt;
use std::ops::Range;

use gristmill::traits::Outputs;
use gristmill::words::{ColumnMut, ElementType};
use serde::{Deserialize, Serialize};

use super::kernel::{Gathered, LANES, Wanted, Windows, gather};

/// A statistic of the values in a window. All are computed in `f64`, from the oldest value to the newest, and depend
/// on nothing but the values inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stat {
    /// Sum by number.
    Mean,
    /// Standard deviation: root of the squared distances from the mean by number less `ddof`. The mean comes first
    /// and the distances in a second pass, so nothing cancels (Chan, Golub and LeVeque 1983, the two-pass algorithm).
    Std,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// Root of the mean of the squares.
    Rms,
    /// Slope of the straight line with the least squares of errors: in units a second for windows of time, in units
    /// a row for windows of rows. Missing for fewer than two values.
    Slope,
    /// How many values there are.
    Count,
    /// Their sum.
    Sum,
}

/// The statistics of a node, in the order of what it provides.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) stats: Vec<Stat>,
    /// What [`Stat::Std`] takes off the number of values.
    pub(crate) ddof: u32,
    /// Windows with fewer values give nothing.
    pub(crate) min_rows: usize,
}

/// Where values lie, for their slope.
pub(crate) struct Axis<F> {
    /// The place of a value: number of its row, or its time in µs.
    pub(crate) place: F,
    /// How many places make one unit of the slope.
    pub(crate) unit: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ddof {} min_rows {}", self.stats, self.ddof, self.min_rows)
    }
}

impl Summary {
    pub(crate) fn new(stats: Vec<Stat>) -> Self {
        Self { stats, ddof: 0, min_rows: 1 }
    }

    /// Whether it can read one need of numbers and fill `provides`.
    pub(crate) fn check(&self, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String> {
        crate::types::one_number(needs)?;
        if self.stats.is_empty() {
            return Err("it has no statistic; name at least one".to_owned());
        }
        if self.stats.len() != provides.len() {
            let (stats, provided) = (self.stats.len(), provides.len());
            return Err(format!(
                "it computes {stats} statistics {:?}, but {provided} streams are provided",
                self.stats
            ));
        }
        if let Some(other) = provides.iter().find(|element| !crate::types::is_float(**element)) {
            return Err(format!("it provides f32 or f64, not {other}"));
        }
        if self.min_rows == 0 {
            return Err("`min_rows` is 0; it is at least 1".to_owned());
        }
        Ok(())
    }

    fn wanted(&self) -> Wanted {
        let all = self.stats.iter().fold(0, |all, stat| all | 1_u32 << *stat as u32);
        let has = |stat: Stat| all & 1 << stat as u32 != 0;
        Wanted {
            mean: has(Stat::Mean) || has(Stat::Sum) || has(Stat::Std) || has(Stat::Slope),
            std: has(Stat::Std),
            ddof: f64::from(self.ddof),
            rms: has(Stat::Rms),
            min: has(Stat::Min),
            max: has(Stat::Max),
        }
    }

    /// Writes rows `rows` of `out`, whose windows are of `length` values each and begin at 0, 1, 2, … of `values`;
    /// behind the last window there is room for [`LANES`] values more. None is missing.
    pub(crate) fn sliding(&self, values: &[f64], length: usize, rows: Range<usize>, out: &mut Outputs<'_>) {
        let (wanted, mut gathered) = (self.wanted(), Gathered::default());
        let axis = Axis { place: |value| value as i64, unit: 1.0 };
        for first in (0..rows.len()).step_by(LANES) {
            let lanes = (rows.len() - first).min(LANES);
            gather(&values[first..], &Windows::Sliding(length), lanes, wanted, &mut gathered);
            let window = |lane| first + lane..first + lane + length;
            self.write(&gathered, values, window, &axis, rows.start + first..rows.start + first + lanes, out);
        }
    }

    /// Writes rows `rows` of `out`, the first of which has the values in `window(0)`. None is missing.
    pub(crate) fn ragged(
        &self,
        values: &[f64],
        window: impl Fn(usize) -> Range<usize>,
        axis: &Axis<impl Fn(usize) -> i64>,
        rows: Range<usize>,
        out: &mut Outputs<'_>,
    ) {
        let (wanted, mut gathered) = (self.wanted(), Gathered::default());
        for first in (0..rows.len()).step_by(LANES) {
            let lanes = (rows.len() - first).min(LANES);
            // Lanes without a row repeat the last.
            let of = |lane: usize| window(first + lane.min(lanes - 1));
            let starts = std::array::from_fn(|lane| of(lane).start);
            let ends = std::array::from_fn(|lane| of(lane).end);
            gather(values, &Windows::Ragged { starts, ends }, lanes, wanted, &mut gathered);
            self.write(&gathered, values, of, axis, rows.start + first..rows.start + first + lanes, out);
        }
    }

    fn write(
        &self,
        gathered: &Gathered,
        values: &[f64],
        window: impl Fn(usize) -> Range<usize>,
        axis: &Axis<impl Fn(usize) -> i64>,
        rows: Range<usize>,
        out: &mut Outputs<'_>,
    ) {
        for (provided, stat) in self.stats.iter().enumerate() {
            let mut results = match stat {
                Stat::Mean => gathered.mean,
                Stat::Std => gathered.std,
                Stat::Min => gathered.min,
                Stat::Max => gathered.max,
                Stat::Rms => gathered.rms,
                Stat::Slope => std::array::from_fn(|lane| match lane < rows.len() {
                    true => slope(values, window(lane), gathered.mean[lane], axis),
                    false => f64::NAN,
                }),
                Stat::Count => gathered.rows,
                Stat::Sum => gathered.sum,
            };
            let least = self.min_rows as f64;
            for (result, rows) in results.iter_mut().zip(&gathered.rows) {
                *result = if *rows >= least { *result } else { f64::NAN };
            }
            match out.column(provided) {
                ColumnMut::F32(column) => {
                    column[rows.clone()].iter_mut().zip(&results).for_each(|(to, result)| *to = *result as f32);
                }
                ColumnMut::F64(column) => column[rows.clone()].copy_from_slice(&results[..rows.len()]),
                other => panic!("output {provided} is of {}, not f32 or f64", other.as_ref().element_type()),
            }
        }
    }
}

/// Least squares: the covariance of place and value by the variance of place, both about their means. Places count
/// from the newest, so that they are exact in `f64` whatever the epoch.
fn slope(values: &[f64], window: Range<usize>, mean: f64, axis: &Axis<impl Fn(usize) -> i64>) -> f64 {
    if window.len() < 2 {
        return f64::NAN;
    }
    let newest = (axis.place)(window.end - 1);
    let place = |value: usize| ((axis.place)(value) - newest) as f64;
    let mut places = 0.0;
    window.clone().for_each(|value| places += place(value));
    let middle = places / window.len() as f64;
    let (mut together, mut spread) = (0.0, 0.0);
    for value in window {
        let away = place(value) - middle;
        together += away * (values[value] - mean);
        spread += away * away;
    }
    together / spread * axis.unit
}
