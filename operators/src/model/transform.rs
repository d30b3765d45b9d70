//! Steps between columns: scaling, imputing, normalising, arithmetic, soft maxima, labels.

use super::block::{LANES, Lanes};
use super::math;

/// How `Normalizer` divides a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Norm {
    /// By its largest value.
    Max,
    /// By the sum of absolute values.
    L1,
    /// By the root of the sum of squares.
    L2,
}

/// What is done to scores at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostTransform {
    /// Nothing.
    None,
    /// The logistic function.
    Logistic,
    /// Exponentials that sum to 1.
    Softmax,
    /// The same, but zeros stay zeros.
    SoftmaxZero,
    /// The probit.
    Probit,
}

/// Arithmetic of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Arithmetic {
    #[inline(always)]
    pub(crate) fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
        }
    }

    /// For every lane.
    pub(crate) fn lanes(self, a: &Lanes, b: &Lanes, out: &mut Lanes) {
        for lane in 0..LANES {
            out[lane] = self.apply(a[lane], b[lane]);
        }
    }
}

/// Normalises rows; a row whose norm is 0 stays as it is.
pub(crate) fn normalize(norm: Norm, x: &[Lanes], out: &mut [Lanes]) {
    for lane in 0..LANES {
        let values = x.iter().map(|column| column[lane]);
        let size = match norm {
            Norm::Max => values.fold(f32::MIN, |most, value| if value > most { value } else { most }),
            Norm::L1 => values.fold(0.0, |sum, value| sum + value.abs()),
            Norm::L2 => values.fold(0.0, |sum, value| sum + value * value),
        };
        for (out, x) in out.iter_mut().zip(x) {
            let value = x[lane];
            out[lane] = match norm {
                _ if size == 0.0 => value,
                Norm::L2 if value < 0.0 => -(value * value / size).sqrt(),
                Norm::L2 => (value * value / size).sqrt(),
                Norm::Max | Norm::L1 => value / size,
            };
        }
    }
}

/// Puts `fill` where a column holds `replaced`, NaN meaning missing.
pub(crate) fn impute(replaced: f32, fill: f32, x: &Lanes, out: &mut Lanes) {
    for (out, x) in out.iter_mut().zip(x) {
        let missing = if replaced.is_nan() { x.is_nan() } else { *x == replaced };
        *out = if missing { fill } else { *x };
    }
}

/// Exponentials of a row that sum to 1, in place.
pub(crate) fn softmax(scores: &mut [Lanes]) {
    let mut most = [f32::MIN; LANES];
    for column in &*scores {
        for lane in 0..LANES {
            most[lane] = if column[lane] > most[lane] { column[lane] } else { most[lane] };
        }
    }
    let mut sum = [0.0; LANES];
    for column in &mut *scores {
        for lane in 0..LANES {
            column[lane] = math::exp(column[lane] - most[lane]);
            sum[lane] += column[lane];
        }
    }
    for column in scores {
        for lane in 0..LANES {
            column[lane] /= sum[lane];
        }
    }
}

fn softmax_zero(scores: &mut [Lanes]) {
    for lane in 0..LANES {
        let most = scores.iter().fold(f32::MIN, |most, column| if column[lane] > most { column[lane] } else { most });
        let scale = math::exp(-most);
        let mut sum = 0.0;
        for column in &mut *scores {
            let value = column[lane];
            if value.abs() > 1e-7 {
                column[lane] = math::exp(value - most);
                sum += column[lane];
            } else {
                column[lane] = value * scale;
            }
        }
        scores.iter_mut().for_each(|column| column[lane] /= sum);
    }
}

impl PostTransform {
    /// Transforms the scores of rows, in place.
    pub(crate) fn apply(self, scores: &mut [Lanes]) {
        match self {
            Self::None => {}
            Self::Logistic => scores.iter_mut().flatten().for_each(|score| *score = math::logistic(*score)),
            Self::Softmax => softmax(scores),
            Self::SoftmaxZero => softmax_zero(scores),
            Self::Probit => scores.iter_mut().flatten().for_each(|score| *score = math::probit(*score)),
        }
    }
}

/// The number of the largest column of a row; of equal ones the first, or the last. A NaN is never larger.
pub(crate) fn arg_max(x: &[Lanes], last: bool, out: &mut Lanes) {
    let mut most = x[0];
    *out = [0.0; LANES];
    for (index, column) in x.iter().enumerate().skip(1) {
        for lane in 0..LANES {
            let larger = column[lane] > most[lane] || (last && column[lane] == most[lane]);
            most[lane] = if larger { column[lane] } else { most[lane] };
            out[lane] = if larger { index as f32 } else { out[lane] };
        }
    }
}
