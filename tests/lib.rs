//! See the files beside this one.

pub mod interpreter;
