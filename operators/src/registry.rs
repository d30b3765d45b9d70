//! The operators that manifests can name.

use std::sync::Arc;

use gristmill::topology::{Registry, Work};
use gristmill::traits::AnyOperator;
use gristmill::words::ElementType;

use crate::model::Onnx;

/// Makes an operator from the parameters of a manifest, for a node with these types of needs and provides; the error
/// says what is wrong with them.
pub type FromParameters =
    fn(&serde_json::Value, &[ElementType], &[ElementType]) -> Result<Arc<dyn AnyOperator>, String>;

/// By name, in alphabetical order.
pub const OPERATORS: [(&str, FromParameters); 7] = [
    ("diff", crate::lag::diff_from_parameters),
    ("ewma", crate::ewma::from_parameters),
    ("expr", crate::expr::from_parameters),
    ("lag", crate::lag::lag_from_parameters),
    ("rolling", crate::rolling::from_parameters),
    ("threshold", crate::threshold::from_parameters),
    ("window", crate::window::from_parameters),
];

/// Hands every operator of this crate to `register`.
///
/// ```
/// let mut names = Vec::new();
/// gristmill_operators::registry::register_all(&mut |name, _| names.push(name.to_owned()));
/// assert!(names.contains(&"rolling".to_owned()));
/// ```
pub fn register_all(register: &mut impl FnMut(&str, FromParameters)) {
    for (name, from_parameters) in OPERATORS {
        register(name, from_parameters);
    }
}

/// Everything of this crate that manifests can name: its operators and model formats. A host adds its own to it.
///
/// ```
/// let registry = gristmill_operators::registry::registry();
/// assert!(registry.operators().any(|name| name == "rolling"));
/// assert!(registry.formats().any(|name| name == "onnx"));
/// ```
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    register_all(&mut |name, from_parameters| {
        registry.register(name, move |parameters, needs, provides| {
            from_parameters(parameters, needs, provides).map(Work::Operator)
        });
    });
    registry.register_format(Onnx);
    registry
}
