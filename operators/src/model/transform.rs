//! Steps between columns: scaling, imputing, normalising, arithmetic, functions, soft maxima, labels.

use multiversion::multiversion;

use super::block::{LANES, Lanes};
use super::kernels::Kernels;
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

/// A function of one value. NaN stays NaN, but for `IsZero`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    /// e to the value.
    Exp,
    /// The square root; NaN below 0.
    Sqrt,
    /// 1 divided by the value.
    Reciprocal,
    /// `low` below it, and then `high` above it.
    Clip { low: f32, high: f32 },
    /// 1 for 0, else 0: what `Not` is to a bool.
    IsZero,
}

impl Function {
    #[inline(always)]
    fn apply(self, lanes: &mut Lanes) {
        match self {
            Self::Exp => lanes.iter_mut().for_each(|x| *x = math::exp(*x)),
            Self::Sqrt => lanes.iter_mut().for_each(|x| *x = x.sqrt()),
            Self::Reciprocal => lanes.iter_mut().for_each(|x| *x = 1.0 / *x),
            Self::Clip { low, high } => lanes.iter_mut().for_each(|x| {
                let raised = if *x < low { low } else { *x };
                *x = if raised > high { high } else { raised };
            }),
            Self::IsZero => lanes.iter_mut().for_each(|x| *x = f32::from(u8::from(*x == 0.0))),
        }
    }

    /// Of each of some constants.
    pub(crate) fn of_all(self, values: &[f32]) -> Vec<f32> {
        let mut all = Vec::with_capacity(values.len());
        for values in values.chunks(LANES) {
            let mut lanes = [0.0; LANES];
            lanes[..values.len()].copy_from_slice(values);
            self.apply(&mut lanes);
            all.extend_from_slice(&lanes[..values.len()]);
        }
        all
    }
}

/// Applies a function to lanes.
pub(crate) fn apply(function: Function, lanes: &mut [Lanes]) {
    match Kernels::current() {
        Kernels::Scalar => lanes.iter_mut().for_each(|lanes| function.apply(lanes)),
        Kernels::Best => apply_best(function, lanes),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2", "aarch64+neon"))]
fn apply_best(function: Function, lanes: &mut [Lanes]) {
    lanes.iter_mut().for_each(|lanes| function.apply(lanes));
}

/// Sums the columns of each row, in their order.
pub(crate) fn sum(x: &[Lanes], out: &mut Lanes) {
    *out = x[0];
    for column in &x[1..] {
        for lane in 0..LANES {
            out[lane] += column[lane];
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
