//! An expression as the operator of a node.

use std::sync::Arc;

use gristmill::topology::Accepts;
use gristmill::traits::{AnyOperator, Operator, Outputs, RowError, Rows};
use gristmill::words::{ColumnRef, Element, ElementType};

use super::check::check;
use super::error::ExprError;
use super::eval::evaluate;
use super::parse::{Part, parse};
use super::typed::Typed;

/// An expression over the needs of its node, by their names.
#[derive(Clone, Debug)]
#[must_use]
pub struct Expr {
    text: String,
    parsed: Result<Part, ExprError>,
    /// With the types of the node that it stands in, once it does.
    typed: Option<Result<Typed, ExprError>>,
}

/// What a node computes, as text: `vibration.rms / 50.0 > 0.8 and temperature < 90`. Names are those of the node's
/// needs; `docs/expressions.md` has all that can be written. What is wrong with it is said when the topology is
/// resolved, with the place in the text.
///
/// ```
/// use gristmill::Stream;
/// use gristmill::topology::{Topology, provide, sensor, sink};
/// use gristmill::words::Time;
/// use gristmill_operators::expr::expr;
/// const WEAR: Stream<f32> = Stream::new("wear"); // 0 new, 1 worn out
/// const TEMPERATURE: Stream<f32> = Stream::new("temperature"); // °C
/// const ALARM: Stream<bool> = Stream::new("alarm");
///
/// let pump = Topology::new("pump")
///     .with(sensor(WEAR))
///     .with(sensor(TEMPERATURE))
///     .with(provide(ALARM).needs((WEAR, TEMPERATURE)).by(expr("wear > 0.8 and temperature >= 90")))
///     .with(sink("alarms").needs(ALARM));
/// let mut bench = pump.bench();
/// bench.row("P101", Time::from_secs(1)).set(WEAR, 0.9).set(TEMPERATURE, 70.0);
/// bench.row("P101", Time::from_secs(2)).set(WEAR, 0.9).set(TEMPERATURE, 95.0);
/// assert_eq!(bench.read(ALARM, "P101"), [(Time::from_secs(1), false), (Time::from_secs(2), true)]);
/// ```
pub fn expr(text: impl Into<String>) -> Expr {
    let text = text.into();
    Expr { parsed: parse(&text), text, typed: None }
}

impl<A, T: Element> Accepts<A, (T,)> for Expr {}

impl Operator for Expr {
    type State = ();

    fn name(&self) -> &'static str {
        "expr"
    }

    /// The text, as JSON.
    fn parameters(&self) -> String {
        serde_json::Value::from(self.text.as_str()).to_string()
    }

    fn wire(&mut self, needs: &[(String, ElementType)], provides: &[(String, ElementType)]) {
        self.typed = Some(self.parsed.clone().and_then(|part| check(&self.text, &part, needs, provides)));
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        match (&self.typed, &self.parsed) {
            (Some(Err(error)), _) | (None, Err(error)) => Err(error.to_string()),
            (Some(Ok(_)), _) => Ok(()),
            (None, Ok(_)) => Err("the expression was not told the names of the node's needs".to_owned()),
        }
    }

    fn start(&self) {}

    fn can_fail(&self) -> bool {
        !matches!(&self.typed, Some(Ok(typed)) if !typed.can_fail())
    }

    fn row_by_row(&self) -> bool {
        true
    }

    fn run(&self, _state: &mut (), rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        let Some(Ok(typed)) = &self.typed else {
            return Err(RowError::new("the expression does not fit the node; `check` says why"));
        };
        let needs: smallvec::SmallVec<[ColumnRef<'_>; 8]> = (0..rows.needs()).map(|need| rows.column(need)).collect();
        evaluate(typed, &needs, rows.len(), &mut out.column(0))
            .map_err(|fault| RowError::new(format!("{fault} in `{}`", fault.part(&self.text))))
    }

    fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// An expression as a manifest has it: a text. Names and types are checked when the node is made.
///
/// # Errors
/// A text that says what is wrong with it, and where.
pub fn from_parameters(
    parameters: &serde_json::Value,
    _needs: &[ElementType],
    _provides: &[ElementType],
) -> Result<Arc<dyn AnyOperator>, String> {
    let Some(text) = parameters.as_str() else {
        return Err("an expression is a text: expr = \"wear > 0.8\"".to_owned());
    };
    let made = expr(text);
    match &made.parsed {
        Ok(_) => Ok(Arc::new(made)),
        Err(error) => Err(error.to_string()),
    }
}
