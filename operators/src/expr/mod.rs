//! Expressions given as text, such as `vibration.rms / 50.0 > 0.8 and temperature < 90`: what a node computes when
//! nobody wants to compile. `docs/expressions.md` has the language.
//!
//! A text is read (`parse`), its types are worked out against the node's needs (`check`), and rows are computed a
//! column for each sub-expression (`eval`). No crate does this: those that evaluate text know one type, compute row by
//! row, or call the system's transcendental functions, whose bits differ between machines.

mod check;
mod error;
mod eval;
mod fault;
mod function;
mod lane;
mod lexer;
mod operator;
mod parse;
mod scalar;
#[cfg(test)]
mod tests;
mod typed;

/// The names of all functions.
pub fn functions() -> impl Iterator<Item = &'static str> {
    function::Function::names()
}

pub use error::ExprError;
pub use lexer::LENGTH_MAX;
pub use operator::{Expr, expr, from_parameters};
pub use parse::{DEPTH_MAX, PARTS_MAX};
