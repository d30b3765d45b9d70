//! The types that operators compute with.

use gristmill::words::{Element, ElementType};

/// Numbers: `f32`, `f64` and `i64`. Operators compute with them in `f64`, to which an `i64` beyond 2^53 is rounded.
pub trait Number: Element {}

impl Number for f32 {}
impl Number for f64 {}
impl Number for i64 {}

/// Floats: `f32` and `f64`.
pub trait Float: Element {}

impl Float for f32 {}
impl Float for f64 {}

pub(crate) fn is_number(element: ElementType) -> bool {
    matches!(element, ElementType::F32 | ElementType::F64 | ElementType::I64)
}

pub(crate) fn is_float(element: ElementType) -> bool {
    matches!(element, ElementType::F32 | ElementType::F64)
}

/// The single need of an operator that reads one stream of numbers.
pub(crate) fn one_number(needs: &[ElementType]) -> Result<ElementType, String> {
    match needs {
        [need] if is_number(*need) => Ok(*need),
        [need] => Err(format!("it needs a stream of f32, f64 or i64, not {need}")),
        needs => Err(format!("it needs one stream, not {}", needs.len())),
    }
}

/// `impl Accepts` for one number in and one to six floats out.
macro_rules! accepts_floats {
    ($operator:ty) => {
        crate::types::accepts_floats!($operator; A);
        crate::types::accepts_floats!($operator; A, B);
        crate::types::accepts_floats!($operator; A, B, C);
        crate::types::accepts_floats!($operator; A, B, C, D);
        crate::types::accepts_floats!($operator; A, B, C, D, E);
        crate::types::accepts_floats!($operator; A, B, C, D, E, F);
    };
    ($operator:ty; $($value:ident),+) => {
        impl<T: crate::types::Number, $($value: crate::types::Float),+>
            gristmill::topology::Accepts<(T,), ($($value,)+)> for $operator {}
    };
}
pub(crate) use accepts_floats;
