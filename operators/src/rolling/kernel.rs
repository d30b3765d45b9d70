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
        0..=4 => gather_lanes::<4>(values, windows, wanted, out),
        5..=8 => gather_lanes::<8>(values, windows, wanted, out),
        _ => gather_lanes::<LANES>(values, windows, wanted, out),
    }
}

#[inline(always)]
fn gather_lanes<const L: usize>(values: &[f64], windows: &Windows, wanted: Wanted, out: &mut Gathered) {
    let rows: [f64; L] = match windows {
        Windows::Sliding(rows) => [*rows as f64; L],
        Windows::Ragged { starts, ends } => std::array::from_fn(|lane| (ends[lane] - starts[lane]) as f64),
    };
    let mut mean = [0.0; L];
    put(&mut out.rows, &rows);
    if wanted.mean {
        let sum = fold::<Sum, L>(values, windows, &mean);
        put(&mut out.sum, &sum);
        mean = std::array::from_fn(|lane| sum[lane] / rows[lane]);
        put(&mut out.mean, &mean);
    }
    if wanted.std {
        let deviations = fold::<Deviations, L>(values, windows, &mean);
        let free: [f64; L] = std::array::from_fn(|lane| rows[lane] - wanted.ddof);
        let std: [f64; L] = std::array::from_fn(|lane| (deviations[lane] / free[lane]).sqrt());
        put(&mut out.std, &std::array::from_fn::<_, L, _>(|lane| if free[lane] > 0.0 { std[lane] } else { f64::NAN }));
    }
    if wanted.rms {
        let squares = fold::<Squares, L>(values, windows, &mean);
        put(&mut out.rms, &std::array::from_fn::<_, L, _>(|lane| (squares[lane] / rows[lane]).sqrt()));
    }
    if wanted.min {
        put(&mut out.min, &fold::<Min, L>(values, windows, &mean));
    }
    if wanted.max {
        put(&mut out.max, &fold::<Max, L>(values, windows, &mean));
    }
}

#[inline(always)]
fn put<const L: usize>(to: &mut [f64; LANES], from: &[f64; L]) {
    to[..L].copy_from_slice(from);
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
fn fold<F: Fold, const L: usize>(values: &[f64], windows: &Windows, mean: &[f64; L]) -> [f64; L] {
    match windows {
        Windows::Sliding(rows) => sliding::<F, L>(&values[..rows + L - 1], mean),
        Windows::Ragged { starts, ends } => ragged::<F, L>(values, &starts[..L], &ends[..L], mean),
    }
}

#[inline(always)]
fn sliding<F: Fold, const L: usize>(values: &[f64], mean: &[f64; L]) -> [f64; L] {
    let mut gathered = [F::START; L];
    for terms in values.array_windows::<L>() {
        for ((gathered, value), mean) in gathered.iter_mut().zip(terms).zip(mean) {
            *gathered = F::add(*gathered, *value, *mean);
        }
    }
    gathered
}

/// First the rows that only some windows have, then those that all have, then again some.
#[inline(always)]
fn ragged<F: Fold, const L: usize>(values: &[f64], starts: &[usize], ends: &[usize], mean: &[f64; L]) -> [f64; L] {
    let (first, last) = (starts[0], ends[L - 1]);
    let common = if starts[L - 1] < ends[0] { starts[L - 1]..ends[0] } else { last..last };
    // As floats, because SSE2 cannot compare 64-bit integers.
    let from: [f64; L] = std::array::from_fn(|lane| starts[lane] as f64);
    let to: [f64; L] = std::array::from_fn(|lane| ends[lane] as f64);
    let mut gathered = [F::START; L];
    some::<F, L>(&mut gathered, values, first..common.start, (&from, &to), mean);
    for value in &values[common.clone()] {
        for (gathered, mean) in gathered.iter_mut().zip(mean) {
            *gathered = F::add(*gathered, *value, *mean);
        }
    }
    some::<F, L>(&mut gathered, values, common.end..last, (&from, &to), mean);
    gathered
}

/// Rows that only the lanes have whose window reaches over them.
#[inline(always)]
fn some<F: Fold, const L: usize>(
    gathered: &mut [f64; L],
    values: &[f64],
    rows: Range<usize>,
    (from, to): (&[f64; L], &[f64; L]),
    mean: &[f64; L],
) {
    for (row, value) in rows.clone().zip(&values[rows]) {
        let row = row as f64;
        for (lane, gathered) in gathered.iter_mut().enumerate() {
            let with = F::add(*gathered, *value, mean[lane]);
            *gathered = if (from[lane] <= row) & (row < to[lane]) { with } else { *gathered };
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
