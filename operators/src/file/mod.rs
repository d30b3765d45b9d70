//! Files: CSV and JSON lines in and out, and Parquet with the feature `parquet`.
//!
//! ```no_run
//! use gristmill_operators::file;
//!
//! let readings = file::csv("plant.csv", |r| r.key("machine").time("ts"))?;
//! let lines = file::json_lines("plant.jsonl", |r| r.key("device").time("ts"))?.from_offset(1_000);
//! let predictions = file::sink("predictions.csv").csv();
//! # drop((readings, lines, predictions));
//! # Ok::<(), gristmill::traits::SourceError>(())
//! ```

mod csv;
mod letters;
mod lines;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod sink;
mod source;
#[cfg(test)]
mod tests;

pub use csv::CsvRecord;
pub use letters::{FileLetters, dead_letters};
#[cfg(feature = "parquet")]
pub use parquet::{ParquetSink, parquet_sink};
pub use sink::{FileSink, sink};
#[cfg(feature = "parquet")]
pub use source::parquet;
pub use source::{FileSource, csv, json_lines};
