//! Columns in the making: of one value that all rows have, of the frame's own, or computed.

use smol_str::SmolStr;

/// The values of a part for some rows.
#[derive(Clone, Debug)]
pub(super) enum Lane<'a, T: Clone> {
    /// The same in all rows.
    One(T),
    /// Of the frame.
    Of(&'a [T]),
    /// Computed.
    Made(Vec<T>),
}

/// Whether something is true: [`FALSE`], [`TRUE`] or [`UNKNOWN`], as bytes that loops in lanes can choose between.
pub(super) type Truth = u8;
pub(super) const FALSE: Truth = 0;
pub(super) const TRUE: Truth = 1;
/// It is missing.
pub(super) const UNKNOWN: Truth = 2;

/// The values of a part, of a type known only at run time.
#[derive(Clone, Debug)]
pub(super) enum Values<'a> {
    F32(Lane<'a, f32>),
    F64(Lane<'a, f64>),
    I64(Lane<'a, i64>),
    Bool(Lane<'a, Truth>),
    Str(Lane<'a, Option<SmolStr>>),
    Vector { width: usize, values: &'a [f32] },
}

impl<T: Clone> Lane<'_, T> {
    #[inline]
    fn slice(&self) -> Option<&[T]> {
        match self {
            Self::One(_) => None,
            Self::Of(values) => Some(values),
            Self::Made(values) => Some(values),
        }
    }

    /// The value in a row.
    #[inline]
    pub(super) fn get(&self, row: usize) -> &T {
        match self {
            Self::One(value) => value,
            Self::Of(values) => &values[row],
            Self::Made(values) => &values[row],
        }
    }

    /// `f` of each value.
    #[inline]
    pub(super) fn map<R: Clone>(&self, f: impl Fn(&T) -> R) -> Lane<'static, R> {
        match self {
            Self::One(value) => Lane::One(f(value)),
            Self::Of(values) => Lane::Made(values.iter().map(f).collect()),
            Self::Made(values) => Lane::Made(values.iter().map(f).collect()),
        }
    }

    /// `f` of the two values of each row.
    #[inline]
    pub(super) fn zip<U: Clone, R: Clone>(&self, other: &Lane<'_, U>, f: impl Fn(&T, &U) -> R) -> Lane<'static, R> {
        match (self.slice(), other.slice()) {
            (Some(left), Some(right)) => Lane::Made(left.iter().zip(right).map(|(a, b)| f(a, b)).collect()),
            (Some(left), None) => {
                let right = other.get(0).clone();
                Lane::Made(left.iter().map(|a| f(a, &right)).collect())
            }
            (None, Some(right)) => {
                let left = self.get(0).clone();
                Lane::Made(right.iter().map(|b| f(&left, b)).collect())
            }
            (None, None) => Lane::One(f(self.get(0), other.get(0))),
        }
    }

    /// Where `condition` is true the value of this, where it is false that of `other`, else `missing`.
    pub(super) fn choose(&self, condition: &Lane<'_, Truth>, other: &Self, missing: &T) -> Lane<'static, T> {
        let pick = |truth: Truth, then: &T, other: &T| match truth {
            TRUE => then.clone(),
            FALSE => other.clone(),
            _ => missing.clone(),
        };
        let Some(truths) = condition.slice() else {
            return self.zip(other, |then, other| pick(*condition.get(0), then, other));
        };
        let rows = truths.iter().enumerate();
        Lane::Made(match (self.slice(), other.slice()) {
            (Some(then), Some(other)) => {
                truths.iter().zip(then).zip(other).map(|((truth, then), other)| pick(*truth, then, other)).collect()
            }
            _ => rows.map(|(row, truth)| pick(*truth, self.get(row), other.get(row))).collect(),
        })
    }
}
