//! The value some rows ago.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use gristmill::topology::Accepts;
use gristmill::traits::{AnyOperator, Operator, Outputs, RowError, Rows};
use gristmill::words::{Element, ElementType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::rolling::MAX_ROWS_LIMIT;

/// The value some rows ago; missing in the first rows of a key.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Lag<T> {
    rows: usize,
    element: PhantomData<fn() -> T>,
}

/// The value `rows` rows ago, of any type but vectors. What was missing then is missing now.
///
/// ```
/// use gristmill::topology::provide;
/// use gristmill::Stream;
/// use gristmill_operators::lag;
/// const MODE: Stream<bool> = Stream::new("mode");
/// const BEFORE: Stream<bool> = Stream::new("mode.before");
/// let node = provide(BEFORE).needs(MODE).by(lag::lag(1));
/// assert_eq!(node.provides.len(), 1);
/// ```
pub fn lag<T: Lagged>(rows: usize) -> Lag<T> {
    Lag { rows, element: PhantomData }
}

/// The value less the value some rows ago; missing in the first rows of a key.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Diff<T> {
    rows: usize,
    element: PhantomData<fn() -> T>,
}

/// The value less the value `rows` rows ago, in the unit and type of the stream. Missing where either is, and where
/// an `i64` cannot hold it.
///
/// ```
/// use gristmill::topology::provide;
/// use gristmill::Stream;
/// use gristmill_operators::lag;
/// const ENERGY: Stream<i64> = Stream::new("energy"); // Wh
/// const USED: Stream<i64> = Stream::new("energy.used"); // Wh since the row before
/// let node = provide(USED).needs(ENERGY).by(lag::diff(1));
/// assert_eq!(node.provides.len(), 1);
/// ```
pub fn diff<T: Subtract>(rows: usize) -> Diff<T> {
    Diff { rows, element: PhantomData }
}

/// What can be remembered for some rows.
pub trait Lagged: Element + Debug + Serialize + DeserializeOwned {}

impl Lagged for f32 {}
impl Lagged for f64 {}
impl Lagged for i64 {}
impl Lagged for bool {}
impl Lagged for SmolStr {}

/// What can be subtracted.
pub trait Subtract: Lagged {
    /// `self` less `other`; `None` where the type cannot hold it.
    fn less(self, other: Self) -> Option<Self>;
}

impl Subtract for f32 {
    fn less(self, other: Self) -> Option<Self> {
        Some(self - other)
    }
}

impl Subtract for f64 {
    fn less(self, other: Self) -> Option<Self> {
        Some(self - other)
    }
}

impl Subtract for i64 {
    fn less(self, other: Self) -> Option<Self> {
        self.checked_sub(other).filter(|difference| *difference != Self::MIN)
    }
}

/// The last rows of a key, oldest first, `None` for what was missing.
type Before<T> = VecDeque<Option<T>>;

fn run<T: Lagged>(
    length: usize,
    before: &mut Before<T>,
    rows: &Rows<'_>,
    out: &mut Outputs<'_>,
    result: impl Fn(Option<T>, Option<T>) -> Option<T>,
) {
    let (from, mut to) = (rows.column(0), out.column(0));
    for row in 0..rows.len() {
        let value = T::get(from, row);
        let old = if before.len() == length { before.pop_front().flatten() } else { None };
        T::set(&mut to, row, result(value.clone(), old));
        before.push_back(value);
    }
}

fn check<T: Element>(rows: usize, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String> {
    if !(1..=MAX_ROWS_LIMIT).contains(&rows) {
        return Err(format!("`rows` is {rows}; it is 1 to {MAX_ROWS_LIMIT}"));
    }
    match (needs, provides) {
        ([need], [provided]) if need == provided && *need == T::TYPE => Ok(()),
        ([need], [provided]) => Err(format!("it needs and provides {}, not {need} and {provided}", T::TYPE)),
        _ => Err(format!("it needs and provides one stream, not {} and {}", needs.len(), provides.len())),
    }
}

macro_rules! operator {
    ($operator:ident, $bound:ident, $name:literal, $result:expr) => {
        impl<T: $bound> Accepts<(T,), (T,)> for $operator<T> {}

        impl<T: $bound> Operator for $operator<T> {
            type State = Before<T>;

            fn name(&self) -> &'static str {
                $name
            }

            fn parameters(&self) -> String {
                format!("rows {}", self.rows)
            }

            fn check(&self, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String> {
                check::<T>(self.rows, needs, provides)
            }

            fn start(&self) -> Before<T> {
                VecDeque::new()
            }

            fn can_fail(&self) -> bool {
                false
            }

            fn run(&self, before: &mut Before<T>, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
                run(self.rows, before, rows, out, $result);
                Ok(())
            }
        }
    };
}
operator!(Lag, Lagged, "lag", |_, old| old);
operator!(Diff, Subtract, "diff", |new: Option<T>, old| new?.less(old?));

/// How a manifest describes both: `{"rows": 1}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// So many rows ago; 1 unless said.
    #[serde(default = "crate::parameters::one")]
    pub rows: usize,
}

/// A lag as a manifest describes it ([`Parameters`]).
///
/// # Errors
/// A text that says what is wrong with the parameters or the types.
pub fn lag_from_parameters(
    parameters: &serde_json::Value,
    needs: &[ElementType],
    provides: &[ElementType],
) -> Result<Arc<dyn AnyOperator>, String> {
    let Parameters { rows } = crate::parameters::read(parameters)?;
    match needs {
        [ElementType::F32] => crate::parameters::checked(lag::<f32>(rows), needs, provides),
        [ElementType::F64] => crate::parameters::checked(lag::<f64>(rows), needs, provides),
        [ElementType::I64] => crate::parameters::checked(lag::<i64>(rows), needs, provides),
        [ElementType::Bool] => crate::parameters::checked(lag::<bool>(rows), needs, provides),
        [ElementType::Str] => crate::parameters::checked(lag::<SmolStr>(rows), needs, provides),
        _ => Err("it needs one stream of f32, f64, i64, bool or str".to_owned()),
    }
}

/// A difference as a manifest describes it ([`Parameters`]).
///
/// # Errors
/// A text that says what is wrong with the parameters or the types.
pub fn diff_from_parameters(
    parameters: &serde_json::Value,
    needs: &[ElementType],
    provides: &[ElementType],
) -> Result<Arc<dyn AnyOperator>, String> {
    let Parameters { rows } = crate::parameters::read(parameters)?;
    match crate::types::one_number(needs)? {
        ElementType::F32 => crate::parameters::checked(diff::<f32>(rows), needs, provides),
        ElementType::F64 => crate::parameters::checked(diff::<f64>(rows), needs, provides),
        _ => crate::parameters::checked(diff::<i64>(rows), needs, provides),
    }
}

#[cfg(test)]
mod tests {
    use gristmill::words::{Column, ColumnRef};

    use super::*;
    use crate::testing::run;

    #[test]
    fn every_type_comes_back_some_rows_later() {
        let text = |text: &str| Some(SmolStr::from(text));
        type Lagging<'a> = &'a dyn Fn(ColumnRef<'_>, &[usize]) -> Vec<Column>;
        let cases: [(Column, Lagging<'_>); 3] = [
            (Column::F32(vec![1.0, f32::NAN, 3.0, 4.0, 5.0]), &|column, cuts| {
                run(&lag::<f32>(2), column, &[ElementType::F32], cuts).0
            }),
            (Column::Bool(vec![Some(true), None, Some(false), Some(true), None]), &|column, cuts| {
                run(&lag::<bool>(2), column, &[ElementType::Bool], cuts).0
            }),
            (Column::Str(vec![text("a"), None, text("b"), text("c"), None]), &|column, cuts| {
                run(&lag::<SmolStr>(2), column, &[ElementType::Str], cuts).0
            }),
        ];
        for (column, lagged) in cases {
            let mut expected = Column::missing(column.element_type(), 2);
            expected.extend(column.rows(0..3));
            for cuts in [&[][..], &[1, 2, 3, 4], &[3]] {
                assert!(lagged(column.as_ref(), cuts)[0].as_ref().same(&expected.as_ref()), "{column:?}");
            }
        }
    }

    #[test]
    fn a_difference_that_does_not_fit_is_missing() {
        let values = [1, 4, i64::MAX, -2, i64::MIN, 3];
        let (columns, _) = run(&diff::<i64>(1), ColumnRef::I64(&values), &[ElementType::I64], &[2]);
        let missing = i64::MIN;
        assert!(columns[0].as_ref().same(&ColumnRef::I64(&[missing, 3, i64::MAX - 4, missing, missing, missing])));
    }

    #[test]
    fn manifests_make_them_for_the_types_they_name() {
        let types = [ElementType::Bool];
        let made = lag_from_parameters(&serde_json::json!({"rows": 3}), &types, &types).expect("bools can lag");
        assert_eq!((made.name(), made.parameters().as_str()), ("lag", "rows 3"));
        assert!(diff_from_parameters(&serde_json::Value::Null, &types, &types).is_err());
        let floats = [ElementType::F32];
        assert!(diff_from_parameters(&serde_json::Value::Null, &floats, &floats).is_ok());
        assert!(lag_from_parameters(&serde_json::json!({"rows": 0}), &floats, &floats).is_err());
        assert!(lag_from_parameters(&serde_json::json!({}), &floats, &types).is_err());
    }
}
