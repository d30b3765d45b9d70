//! The functions that an expression can call.

use gristmill::topology::nearest;

/// A function, by what it does with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    If,
    Min,
    Max,
    Clamp,
    Abs,
    Sqrt,
    Exp,
    Log,
    Pow,
    Sin,
    Cos,
    Tanh,
    Floor,
    Ceil,
    Round,
    IsMissing,
    Coalesce,
    F32,
    F64,
    I64,
}

use Function::*;

/// Name, how it is called, and how many arguments it takes at least and at most.
const FUNCTIONS: [(Function, &str, &str, (usize, usize)); 20] = [
    (If, "if", "if(condition, then, else) takes three", (3, 3)),
    (Min, "min", "min(a, b, …) takes two or more", (2, usize::MAX)),
    (Max, "max", "max(a, b, …) takes two or more", (2, usize::MAX)),
    (Clamp, "clamp", "clamp(value, low, high) takes three", (3, 3)),
    (Abs, "abs", "abs(a) takes one", (1, 1)),
    (Sqrt, "sqrt", "sqrt(a) takes one", (1, 1)),
    (Exp, "exp", "exp(a) takes one", (1, 1)),
    (Log, "log", "log(a) takes one, and is the natural logarithm", (1, 1)),
    (Pow, "pow", "pow(base, exponent) takes two", (2, 2)),
    (Sin, "sin", "sin(radians) takes one", (1, 1)),
    (Cos, "cos", "cos(radians) takes one", (1, 1)),
    (Tanh, "tanh", "tanh(a) takes one", (1, 1)),
    (Floor, "floor", "floor(a) takes one", (1, 1)),
    (Ceil, "ceil", "ceil(a) takes one", (1, 1)),
    (Round, "round", "round(a) takes one", (1, 1)),
    (IsMissing, "is_missing", "is_missing(a) takes one", (1, 1)),
    (Coalesce, "coalesce", "coalesce(a, b, …) takes two or more", (2, usize::MAX)),
    (F32, "f32", "f32(a) takes one", (1, 1)),
    (F64, "f64", "f64(a) takes one", (1, 1)),
    (I64, "i64", "i64(a) takes one", (1, 1)),
];

impl Function {
    /// The function of that name; else what to write instead.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        if let Some((function, ..)) = FUNCTIONS.into_iter().find(|(_, known, ..)| *known == name) {
            return Ok(function);
        }
        Err(match nearest(name, Self::names()) {
            Some(nearest) => format!("there is no function `{name}`; did you mean `{nearest}`?"),
            None => {
                let names: Vec<_> = Self::names().collect();
                format!("there is no function `{name}`; there is {}", names.join(", "))
            }
        })
    }

    /// The names of all.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        FUNCTIONS.into_iter().map(|(_, name, ..)| name)
    }

    pub(super) fn name(self) -> &'static str {
        self.row().1
    }

    pub(super) fn usage(self) -> &'static str {
        self.row().2
    }

    pub(super) fn arguments(self) -> (usize, usize) {
        self.row().3
    }

    fn row(self) -> (Self, &'static str, &'static str, (usize, usize)) {
        FUNCTIONS[self as usize]
    }
}
