//! What a stream is made of: the element types, and values of a type known only at run time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::column::ColumnRef;
use super::column_mut::ColumnMut;

/// The type of a stream's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ElementType {
    /// 32-bit float; missing is NaN.
    F32,
    /// 64-bit float; missing is NaN.
    F64,
    /// 64-bit signed integer; missing is `i64::MIN`.
    I64,
    /// True or false.
    Bool,
    /// A short string, such as a label.
    Str,
    /// So many `f32`; missing when the first of them is NaN.
    Vector(u16),
}

impl ElementType {
    /// How many bytes a row of a column of it takes.
    pub const fn row_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::Bool => 1,
            Self::Str => size_of::<SmolStr>(),
            Self::Vector(width) => 4 * width as usize,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::I64 => f.write_str("i64"),
            Self::Bool => f.write_str("bool"),
            Self::Str => f.write_str("str"),
            Self::Vector(width) => write!(f, "f32[{width}]"),
        }
    }
}

/// The text is not the name of an element type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an element type; write f32, f64, i64, bool, str or f32[N] with N from 1 to 4096")]
pub struct UnknownElementType(pub String);

/// The widest vector a stream may carry, in `f32`.
pub const VECTOR_WIDTH_MAX: u16 = 4096;

impl FromStr for ElementType {
    type Err = UnknownElementType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownElementType(text.to_owned());
        match text.trim() {
            "f32" => Ok(Self::F32),
            "f64" => Ok(Self::F64),
            "i64" => Ok(Self::I64),
            "bool" => Ok(Self::Bool),
            "str" => Ok(Self::Str),
            other => {
                let width = other.strip_prefix("f32[").and_then(|rest| rest.strip_suffix(']')).ok_or_else(unknown)?;
                let width: u16 = width.parse().map_err(|_| unknown())?;
                if (1..=VECTOR_WIDTH_MAX).contains(&width) { Ok(Self::Vector(width)) } else { Err(unknown()) }
            }
        }
    }
}

impl From<ElementType> for String {
    fn from(element: ElementType) -> Self {
        element.to_string()
    }
}

impl TryFrom<String> for ElementType {
    type Error = UnknownElementType;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// One value whose type is known only at run time. A missing value is `None: Option<Value>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// 32-bit float.
    F32(f32),
    /// 64-bit float.
    F64(f64),
    /// 64-bit signed integer.
    I64(i64),
    /// True or false.
    Bool(bool),
    /// A short string.
    Str(SmolStr),
    /// A vector of `f32`.
    Vector(Box<[f32]>),
}

impl Value {
    /// The type of this value.
    pub fn element_type(&self) -> ElementType {
        match self {
            Self::F32(_) => ElementType::F32,
            Self::F64(_) => ElementType::F64,
            Self::I64(_) => ElementType::I64,
            Self::Bool(_) => ElementType::Bool,
            Self::Str(_) => ElementType::Str,
            Self::Vector(values) => ElementType::Vector(u16::try_from(values.len()).unwrap_or(u16::MAX)),
        }
    }

    /// The number nearest to this value: a bool is 0 or 1; `None` for strings and vectors.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::F32(value) => Some(f64::from(*value)),
            Self::F64(value) => Some(*value),
            Self::I64(value) => Some(*value as f64),
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            Self::Str(_) | Self::Vector(_) => None,
        }
    }

    /// This value as `element`, if it can be said in that type without changing its meaning: numbers go between the
    /// numeric types, all else only to its own type. A finite number that would be infinite as an `f32` is none of it, and
    /// `i64::MIN`, which means missing, is no value of an `i64`.
    pub fn cast(&self, element: ElementType) -> Option<Self> {
        match (self, element) {
            (Self::I64(i64::MIN), ElementType::I64) => None,
            (value, element) if value.element_type() == element => Some(value.clone()),
            (Self::F64(_) | Self::I64(_), ElementType::F32) => {
                let number = self.as_f64()?;
                let narrow = number as f32;
                (narrow.is_finite() || !number.is_finite()).then_some(Self::F32(narrow))
            }
            (Self::F32(_) | Self::I64(_), ElementType::F64) => Some(Self::F64(self.as_f64()?)),
            (Self::F32(_) | Self::F64(_), ElementType::I64) => {
                let number = self.as_f64()?;
                (number.fract() == 0.0 && number.abs() < 9.0e15).then_some(Self::I64(number as i64))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32(value) => write!(f, "{value}"),
            Self::F64(value) => write!(f, "{value}"),
            Self::I64(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Str(value) => f.write_str(value),
            Self::Vector(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{value}")?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A Rust type that a [`Stream`](super::Stream) can carry. Implemented for `f32`, `f64`, `i64`, `bool`,
/// [`SmolStr`] and `[f32; N]`; nobody else can implement it.
#[diagnostic::on_unimplemented(
    message = "a stream cannot carry `{Self}`",
    note = "streams carry f32, f64, i64, bool, SmolStr and [f32; N]"
)]
pub trait Element: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The same type, known at run time.
    const TYPE: ElementType;

    /// The value in `row` of a column, `None` when it is missing.
    ///
    /// # Panics
    /// When the column is of another type or shorter: the resolver has checked both.
    fn get(column: ColumnRef<'_>, row: usize) -> Option<Self>;

    /// Writes `value` into `row` of a column.
    ///
    /// # Panics
    /// As [`Element::get`].
    fn set(column: &mut ColumnMut<'_>, row: usize, value: Option<Self>);
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! element {
    ($type:ty, $variant:ident, $get:expr, $set:expr) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const TYPE: ElementType = ElementType::$variant;

            #[inline]
            fn get(column: ColumnRef<'_>, row: usize) -> Option<Self> {
                let ColumnRef::$variant(values) = column else { wrong_type(Self::TYPE, column.element_type()) };
                $get(&values[row])
            }

            #[inline]
            fn set(column: &mut ColumnMut<'_>, row: usize, value: Option<Self>) {
                let ColumnMut::$variant(values) = column else {
                    wrong_type(Self::TYPE, column.as_ref().element_type())
                };
                values[row] = $set(value);
            }
        }
    };
}

element!(f32, F32, |v: &f32| (!v.is_nan()).then_some(*v), |v: Option<f32>| v.unwrap_or(f32::NAN));
element!(f64, F64, |v: &f64| (!v.is_nan()).then_some(*v), |v: Option<f64>| v.unwrap_or(f64::NAN));
element!(i64, I64, |v: &i64| (*v != i64::MIN).then_some(*v), |v: Option<i64>| v.unwrap_or(i64::MIN));
element!(bool, Bool, |v: &Option<bool>| *v, |v| v);
element!(SmolStr, Str, |v: &Option<SmolStr>| v.clone(), |v| v);

impl<const N: usize> sealed::Sealed for [f32; N] {}
impl<const N: usize> Element for [f32; N] {
    const TYPE: ElementType = {
        assert!(N > 0 && N <= VECTOR_WIDTH_MAX as usize, "a vector stream is 1 to 4096 wide");
        ElementType::Vector(N as u16)
    };

    fn get(column: ColumnRef<'_>, row: usize) -> Option<Self> {
        let ColumnRef::Vector { width, values } = column else { wrong_type(Self::TYPE, column.element_type()) };
        assert_eq!(width, N, "a stream of f32[{N}] reads a column of f32[{width}]");
        let row: [f32; N] = values[row * N..(row + 1) * N].try_into().ok()?;
        (!row[0].is_nan()).then_some(row)
    }

    fn set(column: &mut ColumnMut<'_>, row: usize, value: Option<Self>) {
        let ColumnMut::Vector { width, values } = column else {
            wrong_type(Self::TYPE, column.as_ref().element_type())
        };
        assert_eq!(*width, N, "a stream of f32[{N}] writes a column of f32[{width}]");
        values[row * N..(row + 1) * N].copy_from_slice(&value.unwrap_or([f32::NAN; N]));
    }
}

#[cold]
fn wrong_type(asked: ElementType, is: ElementType) -> ! {
    panic!("a column of {is} was used as {asked}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for element in [
            ElementType::F32,
            ElementType::F64,
            ElementType::I64,
            ElementType::Bool,
            ElementType::Str,
            ElementType::Vector(7),
        ] {
            assert_eq!(element.to_string().parse(), Ok(element));
        }
        for bad in ["", "f16", "f32[]", "f32[0]", "f32[4097]", "f32[-1]", "F32"] {
            assert_eq!(bad.parse::<ElementType>(), Err(UnknownElementType(bad.to_owned())));
        }
    }

    #[test]
    fn only_numbers_are_cast_and_only_whole_ones_to_integers() {
        assert_eq!(Value::I64(3).cast(ElementType::F32), Some(Value::F32(3.0)));
        assert_eq!(Value::F64(3.0).cast(ElementType::I64), Some(Value::I64(3)));
        assert_eq!(Value::F64(3.5).cast(ElementType::I64), None);
        assert_eq!(Value::Bool(true).cast(ElementType::F32), None);
        assert_eq!(Value::Str("3".into()).cast(ElementType::F32), None);
    }

    /// Bug: attributes, defaults and selectors of 1e39 were infinite as f32. Fix: such a number is no value of f32.
    #[test]
    fn a_number_stays_finite_and_is_not_what_means_missing() {
        for beyond in [1e39, -1e39, f64::MAX] {
            assert_eq!(Value::F64(beyond).cast(ElementType::F32), None);
        }
        assert_eq!(Value::F64(f64::from(f32::MAX)).cast(ElementType::F32), Some(Value::F32(f32::MAX)));
        assert_eq!(Value::F64(f64::INFINITY).cast(ElementType::F32), Some(Value::F32(f32::INFINITY)));
        assert_eq!(Value::F64(1e-300).cast(ElementType::F32), Some(Value::F32(0.0)));
        assert_eq!(Value::I64(i64::MAX).cast(ElementType::F32), Some(Value::F32(i64::MAX as f32)));
        assert_eq!(Value::I64(i64::MIN).cast(ElementType::I64), None);
        assert_eq!(Value::F64(i64::MIN as f64).cast(ElementType::I64), None);
        assert_eq!(Value::I64(i64::MIN + 1).cast(ElementType::I64), Some(Value::I64(i64::MIN + 1)));
    }
}
