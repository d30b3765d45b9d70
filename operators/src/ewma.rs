//! Exponentially weighted mean.

use std::sync::Arc;

use gristmill::topology::Accepts;
use gristmill::traits::{AnyOperator, Operator, Outputs, RowError, Rows};
use gristmill::words::{ColumnMut, ElementType};
use serde::Deserialize;

use crate::types::{Float, Number};

/// Exponentially weighted mean of all rows of a key: `alpha` of the new value and the rest of the mean before; the
/// first value is the first mean (Roberts 1959). Computed in `f64`. A row whose value is missing or infinite has no mean
/// and leaves it as it is, because an infinite one would never fade.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Ewma {
    alpha: f64,
}

/// With this weight for the new value, above 0 and at most 1.
///
/// ```
/// use gristmill::topology::provide;
/// use gristmill::Stream;
/// use gristmill_operators::ewma;
/// const FLOW: Stream<f32> = Stream::new("flow"); // l/min
/// const SMOOTH: Stream<f32> = Stream::new("flow.smooth"); // l/min
/// let node = provide(SMOOTH).needs(FLOW).by(ewma::alpha(0.1));
/// assert_eq!(node.provides.len(), 1);
/// ```
pub fn alpha(alpha: f64) -> Ewma {
    Ewma { alpha }
}

/// With the weight at which a value counts half after so many rows.
pub fn half_life(rows: f64) -> Ewma {
    Ewma { alpha: -libm::expm1(-std::f64::consts::LN_2 / rows) }
}

impl<T: Number, V: Float> Accepts<(T,), (V,)> for Ewma {}

impl Operator for Ewma {
    /// The mean.
    type State = Option<f64>;

    fn name(&self) -> &'static str {
        "ewma"
    }

    fn parameters(&self) -> String {
        format!("alpha {:?}", self.alpha)
    }

    fn check(&self, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String> {
        crate::types::one_number(needs)?;
        if !matches!(provides, [provided] if crate::types::is_float(*provided)) {
            return Err(format!("it provides one stream of f32 or f64, not {provides:?}"));
        }
        // Written so that a NaN is refused too.
        if !(self.alpha > 0.0 && self.alpha <= 1.0) {
            return Err(format!("the weight of the new value is {}; it is above 0 and at most 1", self.alpha));
        }
        Ok(())
    }

    fn start(&self) -> Option<f64> {
        None
    }

    fn can_fail(&self) -> bool {
        false
    }

    fn run(&self, mean: &mut Option<f64>, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        let column = rows.column(0);
        let mut to = out.column(0);
        for row in 0..rows.len() {
            let value = column.number(row);
            if !value.is_finite() {
                continue;
            }
            let next = mean.map_or(value, |mean| (1.0 - self.alpha) * mean + self.alpha * value);
            *mean = Some(next);
            match &mut to {
                ColumnMut::F32(to) => to[row] = next as f32,
                ColumnMut::F64(to) => to[row] = next,
                other => panic!("output 0 is of {}, not f32 or f64", other.as_ref().element_type()),
            }
        }
        Ok(())
    }
}

/// How a manifest describes it: `{"alpha": 0.1}` or `{"half_life": 10}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Weight of the new value; or else `half_life`.
    pub alpha: Option<f64>,
    /// Rows after which a value counts half; or else `alpha`.
    pub half_life: Option<f64>,
}

/// An exponentially weighted mean as a manifest describes it ([`Parameters`]).
///
/// # Errors
/// A text that says what is wrong with the parameters or the types.
pub fn from_parameters(
    parameters: &serde_json::Value,
    needs: &[ElementType],
    provides: &[ElementType],
) -> Result<Arc<dyn AnyOperator>, String> {
    let ewma = match crate::parameters::read(parameters)? {
        Parameters { alpha: Some(weight), half_life: None } => alpha(weight),
        Parameters { alpha: None, half_life: Some(rows) } => half_life(rows),
        _ => return Err("give either `alpha` or `half_life`".to_owned()),
    };
    crate::parameters::checked(ewma, needs, provides)
}

#[cfg(test)]
mod tests {
    use gristmill::words::{Column, ColumnRef, ElementType};

    use super::*;
    use crate::testing::run;

    #[test]
    fn each_value_counts_by_its_weight_and_an_infinite_one_not_at_all() {
        let values = [8.0, 4.0, f64::INFINITY, f64::NAN, 0.0];
        let (columns, _) = run(&alpha(0.5), ColumnRef::F64(&values), &[ElementType::F64], &[2]);
        assert!(columns[0].as_ref().same(&Column::F64(vec![8.0, 6.0, f64::NAN, f64::NAN, 3.0]).as_ref()));
    }

    #[test]
    fn after_a_half_life_a_value_counts_half() {
        let (columns, _) = run(&half_life(3.0), ColumnRef::I64(&[1, 0, 0, 0]), &[ElementType::F64], &[]);
        assert!((columns[0].as_ref().number(3) - 0.5).abs() < 1e-15);
    }

    #[test]
    fn weights_that_are_none_are_refused() {
        let (needs, provides) = ([ElementType::F32], [ElementType::F32]);
        for bad in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(Operator::check(&alpha(bad), &needs, &provides).unwrap_err().contains("above 0"));
        }
        for bad in [r#"{}"#, r#"{"alpha": 0.1, "half_life": 3}"#, r#"{"beta": 1}"#, r#"{"half_life": 0}"#] {
            let parameters = serde_json::from_str(bad).expect("it is JSON");
            let made = from_parameters(&parameters, &needs, &provides);
            // A half-life of no rows is a weight of 1.
            assert_eq!(made.is_ok(), bad.contains("0}"), "{bad}: {made:?}");
        }
    }
}
