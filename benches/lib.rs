//! Workloads that are too large to be tests: see the files beside this one, and README.md for what they have shown.

pub mod fleet;
