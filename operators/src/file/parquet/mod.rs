//! Parquet files in and out.

mod rows;
mod sink;

pub(super) use rows::ParquetRows;
pub use sink::{ParquetSink, parquet_sink};
