//! Alarms that do not flicker.

use std::sync::Arc;

use gristmill::topology::Accepts;
use gristmill::traits::{AnyOperator, Operator, Outputs, RowError, Rows};
use gristmill::words::{ColumnMut, ColumnRef, ElementType};
use serde::Deserialize;

use crate::types::Number;

/// An alarm with hysteresis: it turns on at or above one value, off at or below another, and stays between them.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Threshold {
    above: f64,
    below: f64,
}

/// An alarm that is on from `high` upwards, in the unit of the stream; [`Threshold::below`] says when it turns off.
///
/// Both values are rounded to the type of the stream, so that a reading of 0.7 in a stream of `f32` is at 0.7.
///
/// ```
/// use gristmill::topology::provide;
/// use gristmill::Stream;
/// use gristmill_operators::threshold;
/// const TEMPERATURE: Stream<f32> = Stream::new("temperature"); // °C
/// const HOT: Stream<bool> = Stream::new("hot");
/// let node = provide(HOT).needs(TEMPERATURE).by(threshold::above(90.0).below(80.0));
/// assert_eq!(node.provides.len(), 1);
/// ```
pub fn above(high: f64) -> Threshold {
    Threshold { above: high, below: high }
}

impl Threshold {
    /// It turns off at or below `low`; unless said, it is off whenever the value is below `high`.
    pub fn below(mut self, low: f64) -> Self {
        self.below = low;
        self
    }
}

impl<T: Number> Accepts<(T,), (bool,)> for Threshold {}

impl Operator for Threshold {
    /// Whether it is on.
    type State = bool;

    fn name(&self) -> &'static str {
        "threshold"
    }

    fn parameters(&self) -> String {
        format!("above {:?} below {:?}", self.above, self.below)
    }

    fn check(&self, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String> {
        crate::types::one_number(needs)?;
        if provides != [ElementType::Bool] {
            return Err(format!("it provides one stream of bool, not {provides:?}"));
        }
        let (above, below) = (self.above, self.below);
        // Written so that a NaN is refused too.
        if !(below <= above && above.is_finite() && below.is_finite()) {
            return Err(format!("it turns on above {above} and off below {below}; they are numbers, off not above on"));
        }
        Ok(())
    }

    fn start(&self) -> bool {
        false
    }

    fn can_fail(&self) -> bool {
        false
    }

    fn run(&self, on: &mut bool, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        let column = rows.column(0);
        let (above, below) = match column {
            ColumnRef::F32(_) => (f64::from(self.above as f32), f64::from(self.below as f32)),
            _ => (self.above, self.below),
        };
        let ColumnMut::Bool(alarms) = out.column(0) else {
            panic!("output 0 is not of bool; the resolver has checked it")
        };
        for (row, alarm) in alarms.iter_mut().enumerate() {
            let value = column.number(row);
            if value.is_nan() {
                continue;
            }
            // Without hysteresis both hold at the value itself, where it is on.
            *on = value >= above || (*on && value > below);
            *alarm = Some(*on);
        }
        Ok(())
    }
}

/// How a manifest describes it: `{"above": 90.0, "below": 80.0}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// It turns on at or above this, in the unit of the stream.
    pub above: f64,
    /// It turns off at or below this; below `above` unless said.
    pub below: Option<f64>,
}

/// A threshold as a manifest describes it ([`Parameters`]).
///
/// # Errors
/// A text that says what is wrong with the parameters or the types.
pub fn from_parameters(
    parameters: &serde_json::Value,
    needs: &[ElementType],
    provides: &[ElementType],
) -> Result<Arc<dyn AnyOperator>, String> {
    let Parameters { above: high, below } = crate::parameters::read(parameters)?;
    crate::parameters::checked(above(high).below(below.unwrap_or(high)), needs, provides)
}

#[cfg(test)]
mod tests {
    use gristmill::words::Column;

    use super::*;
    use crate::testing::run;

    fn alarms(threshold: &Threshold, column: ColumnRef<'_>) -> Vec<Option<bool>> {
        match run(threshold, column, &[ElementType::Bool], &[1, 4]).0.remove(0) {
            Column::Bool(alarms) => alarms,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_turns_on_at_the_high_value_and_off_at_the_low_one() {
        let values = [8.5, 9.0, 8.5, 8.1, 8.0, 8.5, f64::NAN, 9.5, 7.0];
        let on = alarms(&above(9.0).below(8.0), ColumnRef::F64(&values));
        let expected = "0111 00-10".replace(' ', "");
        assert_eq!(on, expected.chars().map(|c| (c != '-').then_some(c == '1')).collect::<Vec<_>>());
    }

    #[test]
    fn without_hysteresis_it_is_on_at_the_value_itself_in_the_type_of_the_stream() {
        assert_eq!(alarms(&above(0.7), ColumnRef::F32(&[0.7, 0.699])), [Some(true), Some(false)]);
        assert_eq!(alarms(&above(7.0), ColumnRef::I64(&[6, 7, 6])), [Some(false), Some(true), Some(false)]);
    }

    #[test]
    fn off_above_on_and_other_types_are_refused() {
        let (needs, provides) = ([ElementType::F32], [ElementType::Bool]);
        for bad in [above(1.0).below(2.0), above(f64::NAN), above(1.0).below(f64::NEG_INFINITY)] {
            assert!(Operator::check(&bad, &needs, &provides).is_err(), "{bad:?}");
        }
        assert!(Operator::check(&above(1.0), &[ElementType::Str], &provides).is_err());
        assert!(Operator::check(&above(1.0), &needs, &needs).is_err());
        let made = |text: &str| from_parameters(&serde_json::from_str(text).expect("it is JSON"), &needs, &provides);
        assert_eq!(made(r#"{"above": 9, "below": 8}"#).expect("it is right").parameters(), "above 9.0 below 8.0");
        assert!(made(r#"{"above": 9, "under": 8}"#).unwrap_err().contains("`under`"));
    }
}
