//! The oracle: what the runtime must write, computed by the slowest program that is obviously right.
//!
//! [`interpret`] takes a [`Case`] (plans, where they switch, and the log) and computes the [`Outcome`] one cause at a
//! time and one row at a time, node by node, as docs/SEMANTICS.md says. It shares nothing with the engine but the
//! operators. [`case`] makes random cases of a seed, [`golden`] holds cases whose outcome was worked out by hand,
//! [`compare`] finds the first difference of two outcomes, and [`shrink`] makes a failing case small. [`feed`] and
//! [`gather`] are the engine's side: a source of the case's log, and a sink for what comes out.

pub mod case;
pub mod compare;
pub mod engine;
pub mod feed;
pub mod gather;
pub mod generate;
pub mod golden;
mod intake;
mod kernel;
mod legal;
pub mod model;
pub mod operators;
pub mod outcome;
mod plan;
pub mod random;
mod rows;
mod run;
pub mod shrink;
mod state;
pub mod store;
mod unit;

pub use case::{Case, Entry, Happening, Intake, PlanVersion, Switch};
pub use outcome::{Fate, Letter, Mechanism, Outcome, Written};
pub use run::interpret;
