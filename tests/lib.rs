//! Support for the tests beside this file; each behaviour is a file of its own.

pub mod interpreter;
pub mod support;
