//! Support for the tests beside this file; each behaviour is a file of its own.

pub mod support;
//! See the files beside this one.

pub mod interpreter;
