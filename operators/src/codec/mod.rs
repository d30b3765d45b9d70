//! How bytes become rows, and rows bytes.

pub mod json;
pub mod letter;
pub mod row;
pub mod time;

pub(crate) mod cell;
pub(crate) mod names;

pub use json::{Json, JsonRecord, json};
pub use time::TimeUnit;
