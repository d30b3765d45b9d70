//! What manifests say of operators.

use std::sync::Arc;

use gristmill::traits::{AnyOperator, Operator};
use gristmill::words::ElementType;
use serde::de::DeserializeOwned;

/// Reads the parameters of an operator; a node without any has `null`.
pub(crate) fn read<P: DeserializeOwned>(parameters: &serde_json::Value) -> Result<P, String> {
    let parameters = if parameters.is_null() { &serde_json::Value::Object(serde_json::Map::new()) } else { parameters };
    P::deserialize(parameters).map_err(|error| error.to_string())
}

/// The operator, if it can work with these types.
pub(crate) fn checked(
    operator: impl Operator,
    needs: &[ElementType],
    provides: &[ElementType],
) -> Result<Arc<dyn AnyOperator>, String> {
    Operator::check(&operator, needs, provides)?;
    Ok(Arc::new(operator))
}

/// The default of what counts from one.
pub(crate) fn one() -> usize {
    1
}
