//! The fleet: thousands of devices with four sensors, ten features and four models each. Engine and plain loop compute
//! the same scores; their times are compared.

pub mod data;
mod machine;
pub mod models;
pub mod npy;
pub mod plain;
mod run;
pub mod sink;
pub mod source;
pub mod topology;

pub use run::{FleetError, Options, Report, run};
