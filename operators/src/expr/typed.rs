//! An expression whose types are known.

use std::fmt;

use gristmill::words::ElementType;
use smol_str::SmolStr;

use super::error::Place;

/// The type of a part: that of a stream, or of a number that is written out and takes the type of what it stands with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Of(ElementType),
    /// A written whole number.
    Whole,
    /// A written number with a point.
    Point,
}

pub(super) const F32: Type = Type::Of(ElementType::F32);
pub(super) const F64: Type = Type::Of(ElementType::F64);
pub(super) const I64: Type = Type::Of(ElementType::I64);
pub(super) const BOOL: Type = Type::Of(ElementType::Bool);
pub(super) const STR: Type = Type::Of(ElementType::Str);

impl Type {
    pub(super) fn is_written(self) -> bool {
        matches!(self, Self::Whole | Self::Point)
    }

    pub(super) fn is_number(self) -> bool {
        self.is_written() || self == I64 || self.is_float()
    }

    pub(super) fn is_float(self) -> bool {
        self == F32 || self == F64
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(element) => write!(f, "{element}"),
            Self::Whole => f.write_str("a whole number"),
            Self::Point => f.write_str("a number with a point"),
        }
    }
}

/// A part of an expression, with its type.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub(super) place: Place,
    pub(super) of: Type,
    pub(super) what: Op,
}

/// What a part does. Numbers that meet have one type.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(SmolStr),
    /// A need, by its number.
    Need(usize),
    Negate(Box<Typed>),
    Not(Box<Typed>),
    Arithmetic(Arithmetic, Box<[Typed; 2]>),
    Compare(Comparison, Box<[Typed; 2]>),
    /// `and` if true, else `or`.
    Logic(bool, Box<[Typed; 2]>),
    If(Box<[Typed; 3]>),
    /// Of floats.
    Math(Math, Box<Typed>),
    Abs(Box<Typed>),
    IsMissing(Box<Typed>),
    Coalesce(Box<[Typed; 2]>),
    /// To the type of the part.
    Cast(Box<Typed>),
    Element(Box<Typed>, usize),
}

/// What makes a number of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Min,
    Max,
    /// Of floats.
    Pow,
}

/// What makes a bool of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// What makes a float of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Math {
    Sqrt,
    Exp,
    Log,
    Sin,
    Cos,
    Tanh,
    Floor,
    Ceil,
    Round,
}

impl Typed {
    pub(super) fn new(place: Place, of: Type, what: Op) -> Self {
        Self { place, of, what }
    }

    /// Gives what is written out in it, and all that is made of that alone, a type.
    pub(super) fn settle(&mut self, of: Type) {
        if !self.of.is_written() {
            return;
        }
        self.of = of;
        match &mut self.what {
            Op::Negate(inner) | Op::Math(_, inner) | Op::Abs(inner) => inner.settle(of),
            Op::Arithmetic(_, two) | Op::Coalesce(two) => two.iter_mut().for_each(|part| part.settle(of)),
            Op::If(three) => three[1..].iter_mut().for_each(|part| part.settle(of)),
            _ => {}
        }
    }

    /// Whether a row can fail in it.
    pub(super) fn can_fail(&self) -> bool {
        let parts: &[Self] = match &self.what {
            Op::Arithmetic(Arithmetic::Min | Arithmetic::Max, two) => &two[..],
            Op::Arithmetic(..) if self.of == I64 => return true,
            Op::Cast(inner) if self.of == I64 && inner.of.is_float() => return true,
            Op::Arithmetic(_, two) | Op::Compare(_, two) | Op::Logic(_, two) | Op::Coalesce(two) => &two[..],
            Op::If(three) => &three[..],
            Op::Negate(of)
            | Op::Not(of)
            | Op::Math(_, of)
            | Op::Abs(of)
            | Op::IsMissing(of)
            | Op::Cast(of)
            | Op::Element(of, _) => std::slice::from_ref(of),
            Op::Integer(_) | Op::Float(_) | Op::Bool(_) | Op::Text(_) | Op::Need(_) => &[],
        };
        parts.iter().any(Self::can_fail)
    }
}
