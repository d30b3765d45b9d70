//! Gathers several windows at once. A lane of a vector register belongs to one window from its oldest row to its
//! newest, so the terms of a sum are added in their order whatever the width of the registers: all instruction sets
//! give the same bits, and so does every cut of the rows into calls. Nothing is fused.

use std::ops::Range;

use multiversion::multiversion;

/// Windows that are gathered at once: six registers of SSE2 or three of AVX2, enough chains of additions to hide the
/// latency of one, and few enough to stay in registers together with their means.
pub(crate) const LANES: usize = 12;

/// What is gathered of a window besides the number of its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    /// Sum and mean.
    pub(crate) mean: bool,
    /// Standard deviation; needs `mean`.
    pub(crate) std: bool,
    /// What the standard deviation takes off the number of values.
    pub(crate) ddof: f64,
    /// Root of the mean of the squares.
    pub(crate) rms: bool,
    /// The smallest.
    pub(crate) min: bool,
    /// The largest.
    pub(crate) max: bool,
}

/// What was gathered, a window in each lane; what was not wanted is as it was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gathered {
    /// Rows in the window.
    pub(crate) rows: [f64; LANES],
    /// Their sum.
    pub(crate) sum: [f64; LANES],
    /// Their sum by their number.
    pub(crate) mean: [f64; LANES],
    /// Standard deviation; NaN where there are no more values than `ddof`.
    pub(crate) std: [f64; LANES],
    /// Root of the mean of the squares.
    pub(crate) rms: [f64; LANES],
    /// The smallest.
    pub(crate) min: [f64; LANES],
    /// The largest.
    pub(crate) max: [f64; LANES],
}

/// Where the windows of the lanes lie in the values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Windows {
    /// Of so many rows each, the first at 0, the next at 1. The values go on for [`LANES`] past the last window.
    Sliding(usize),
    /// From here to there; neither starts nor ends fall from lane to lane.
    Ragged {
        /// First row of each.
        starts: [usize; LANES],
        /// After the last row of each.
        ends: [usize; LANES],
    },
}

/// Gathers `lanes` windows of `values`, none of them missing, with the widest registers this machine has.
#[multiversion(targets("x86_64+avx+avx2"))]
pub(crate) fn gather(values: &[f64], windows: &Windows, lanes: usize, wanted: Wanted, out: &mut Gathered) {
    gather_here(values, windows, lanes, wanted, out);
}

/// As [`gather`], with the registers every machine has.
#[cfg(test)]
pub(crate) fn gather_plain(values: &[f64], windows: &Windows, lanes: usize, wanted: Wanted, out: &mut Gathered) {
    gather_here(values, windows, lanes, wanted, out);
}

#[inline(always)]
fn gather_here(values: &[f64], windows: &Windows, lanes: usize, wanted: Wanted, out: &mut Gathered) {
    match lanes {
        0..=4 => gather_fours::<1>(values, windows, wanted, out),
        5..=8 => gather_fours::<2>(values, windows, wanted, out),
        _ => gather_fours::<3>(values, windows, wanted, out),
    }
}

#[inline(always)]
fn gather_fours<const N: usize>(values: &[f64], windows: &Windows, wanted: Wanted, out: &mut Gathered) {
    let rows: [Four; N] = match windows {
        Windows::Sliding(rows) => [[*rows as f64; 4]; N],
        Windows::Ragged { starts, ends } => each(|four, lane| (ends[4 * four + lane] - starts[4 * four + lane]) as f64),
    };
    let mut mean = [[0.0; 4]; N];
    put(&mut out.rows, &rows);
    if wanted.mean {
        let sum = fold::<Sum, N>(values, windows, &mean);
        put(&mut out.sum, &sum);
        mean = each(|four, lane| sum[four][lane] / rows[four][lane]);
        put(&mut out.mean, &mean);
    }
    if wanted.std {
        let deviations = fold::<Deviations, N>(values, windows, &mean);
        let free: [Four; N] = each(|four, lane| rows[four][lane] - wanted.ddof);
        let std: [Four; N] = each(|four, lane| (deviations[four][lane] / free[four][lane]).sqrt());
        put(&mut out.std, &each::<N>(|four, lane| if free[four][lane] > 0.0 { std[four][lane] } else { f64::NAN }));
    }
    if wanted.rms {
        let squares = fold::<Squares, N>(values, windows, &mean);
        put(&mut out.rms, &each::<N>(|four, lane| (squares[four][lane] / rows[four][lane]).sqrt()));
    }
    if wanted.min {
        put(&mut out.min, &fold::<Min, N>(values, windows, &mean));
    }
    if wanted.max {
        put(&mut out.max, &fold::<Max, N>(values, windows, &mean));
    }
}

/// Lanes go by fours, which the compiler puts into one register of AVX2 or two of SSE2; left to itself it pairs lanes
/// that do not lie side by side.
type Four = [f64; 4];

#[inline(always)]
fn each<const N: usize>(lane: impl Fn(usize, usize) -> f64) -> [Four; N] {
    let mut fours = [[0.0; 4]; N];
    for (four, lanes) in fours.iter_mut().enumerate() {
        for (index, value) in lanes.iter_mut().enumerate() {
            *value = lane(four, index);
        }
    }
    fours
}

#[inline(always)]
fn put<const N: usize>(to: &mut [f64; LANES], from: &[Four; N]) {
    to[..4 * N].copy_from_slice(from.as_flattened());
}

/// How the next value of a window is added to what has been gathered of it.
trait Fold {
    /// Of a window without rows.
    const START: f64;
    /// With one value more.
    fn add(gathered: f64, value: f64, mean: f64) -> f64;
}

macro_rules! fold {
    ($name:ident, $start:expr, $add:expr) => {
        struct $name;
        impl Fold for $name {
            const START: f64 = $start;
            #[inline(always)]
            fn add(gathered: f64, value: f64, mean: f64) -> f64 {
                $add(gathered, value, mean)
            }
        }
    };
}

// INVARIANT: a sum begins at +0 and can never become -0, so a lane that sits a term out keeps its bits.
fold!(Sum, 0.0, |gathered: f64, value: f64, _| gathered + value);
fold!(Squares, 0.0, |gathered: f64, value: f64, _| gathered + value * value);
fold!(Deviations, 0.0, |gathered: f64, value: f64, mean: f64| gathered + (value - mean) * (value - mean));
fold!(Min, f64::INFINITY, |gathered: f64, value: f64, _| if value < gathered { value } else { gathered });
fold!(Max, f64::NEG_INFINITY, |gathered: f64, value: f64, _| if value > gathered { value } else { gathered });

#[inline(always)]
fn add<F: Fold>(gathered: &mut Four, values: &Four, mean: &Four) {
    for lane in 0..4 {
        gathered[lane] = F::add(gathered[lane], values[lane], mean[lane]);
    }
}

#[inline(always)]
fn fold<F: Fold, const N: usize>(values: &[f64], windows: &Windows, mean: &[Four; N]) -> [Four; N] {
    match windows {
        Windows::Sliding(rows) => sliding::<F, N>(values, *rows, mean),
        Windows::Ragged { starts, ends } => ragged::<F, N>(values, &starts[..4 * N], &ends[..4 * N], mean),
    }
}

#[inline(always)]
fn sliding<F: Fold, const N: usize>(values: &[f64], rows: usize, mean: &[Four; N]) -> [Four; N] {
    // Told that this is 1, the compiler would keep lanes from one term to the next instead of loading them side by side.
    let step = std::hint::black_box(1);
    let mut gathered = [[F::START; 4]; N];
    let mut first = 0;
    for _ in 0..rows {
        let terms = &values[first..first + 4 * N];
        first += step;
        for ((gathered, values), mean) in gathered.iter_mut().zip(terms.as_chunks().0).zip(mean) {
            add::<F>(gathered, values, mean);
        }
    }
    gathered
}

/// First the rows that only some windows have, then those that all have, then again some.
#[inline(always)]
fn ragged<F: Fold, const N: usize>(values: &[f64], starts: &[usize], ends: &[usize], mean: &[Four; N]) -> [Four; N] {
    let (first, last) = (starts[0], ends[4 * N - 1]);
    let common = if starts[4 * N - 1] < ends[0] { starts[4 * N - 1]..ends[0] } else { last..last };
    // As floats, because SSE2 cannot compare 64-bit integers.
    let bounds: [[Four; 2]; N] =
        std::array::from_fn(|four| [starts, ends].map(|rows| std::array::from_fn(|lane| rows[4 * four + lane] as f64)));
    let mut gathered = [[F::START; 4]; N];
    some::<F, N>(&mut gathered, values, first..common.start, &bounds, mean);
    for value in &values[common.clone()] {
        for (gathered, mean) in gathered.iter_mut().zip(mean) {
            add::<F>(gathered, &[*value; 4], mean);
        }
    }
    some::<F, N>(&mut gathered, values, common.end..last, &bounds, mean);
    gathered
}

/// Rows that only the lanes have whose window reaches over them.
#[inline(always)]
fn some<F: Fold, const N: usize>(
    gathered: &mut [Four; N],
    values: &[f64],
    rows: Range<usize>,
    bounds: &[[Four; 2]; N],
    mean: &[Four; N],
) {
    for (row, value) in rows.clone().zip(&values[rows]) {
        let row = row as f64;
        for ((gathered, [from, to]), mean) in gathered.iter_mut().zip(bounds).zip(mean) {
            let mut with = *gathered;
            add::<F>(&mut with, &[*value; 4], mean);
            for lane in 0..4 {
                let inside = (from[lane] <= row) & (row < to[lane]);
                gathered[lane] = if inside { with[lane] } else { gathered[lane] };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Wanted = Wanted { mean: true, std: true, ddof: 1.0, rms: true, min: true, max: true };

    fn bits(gathered: &Gathered, lane: usize) -> [u64; 7] {
        let Gathered { rows, sum, mean, std, rms, min, max } = gathered;
        [rows, sum, mean, std, rms, min, max].map(|lanes| lanes[lane].to_bits())
    }

    /// One window, the way anybody would write it.
    fn by_hand(window: &[f64]) -> [u64; 7] {
        let rows = window.len() as f64;
        let (mut sum, mut deviations, mut squares) = (0.0, 0.0, 0.0);
        window.iter().for_each(|value| sum += value);
        let mean = sum / rows;
        window.iter().for_each(|value| deviations += (value - mean) * (value - mean));
        window.iter().for_each(|value| squares += value * value);
        let min = window.iter().copied().fold(f64::INFINITY, |min, value| if value < min { value } else { min });
        let max = window.iter().copied().fold(f64::NEG_INFINITY, |max, value| if value > max { value } else { max });
        let std = if rows > 1.0 { (deviations / (rows - 1.0)).sqrt() } else { f64::NAN };
        [rows, sum, mean, std, (squares / rows).sqrt(), min, max].map(f64::to_bits)
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![8 => -1e6..1e6f64, 1 => Just(0.0), 1 => Just(-0.0), 1 => Just(1e300), 1 => Just(5e-324)]
    }

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_bits_of_one_window_by_hand(
            values in prop::collection::vec(value(), 64),
            rows in 1..40usize,
            lanes in 1..=LANES,
            steps in prop::collection::vec((0..4usize, 0..4usize), LANES),
        ) {
            let mut ragged = ([0; LANES], [0; LANES]);
            let (mut start, mut end) = (0, 0);
            for (lane, (from, to)) in steps.into_iter().enumerate() {
                if lane < lanes {
                    end = (end + to).max(start + from + 1);
                    start += from;
                }
                (ragged.0[lane], ragged.1[lane]) = (start, end);
            }
            let ragged = Windows::Ragged { starts: ragged.0, ends: ragged.1 };
            for windows in [Windows::Sliding(rows), ragged] {
                let (mut best, mut plain) = (Gathered::default(), Gathered::default());
                gather(&values, &windows, lanes, ALL, &mut best);
                gather_plain(&values, &windows, lanes, ALL, &mut plain);
                for lane in 0..lanes {
                    let window = match windows {
                        Windows::Sliding(rows) => lane..lane + rows,
                        Windows::Ragged { starts, ends } => starts[lane]..ends[lane],
                    };
                    prop_assert_eq!(bits(&best, lane), by_hand(&values[window]));
                    prop_assert_eq!(bits(&plain, lane), bits(&best, lane));
                }
            }
        }
    }
}
