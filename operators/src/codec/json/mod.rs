//! JSON records: wide rows, narrow readings and series, in any mixture that the fields tell apart.
//!
//! ```
//! use gristmill::traits::Decode;
//! use gristmill::traits::source::{AxisStreams, RawRecord};
//! use gristmill::words::{ElementType, Offset, StreamName};
//! use gristmill_operators::codec::json;
//!
//! let decoder = json(|r| r.key("device").time("ts"));
//! let axes = [AxisStreams { streams: vec![(StreamName::from("temp"), ElementType::F32)] }];
//! let payload = br#"{"device":"P101","ts":1700000000123,"temp":61.5}"#;
//! let record = RawRecord { offset: Offset(0), log_time: None, key: None, payload: payload[..].into() };
//! let mut rows = Vec::new();
//! decoder.decode(&record, &axes, &mut rows)?;
//! assert_eq!((&*rows[0].key, rows[0].times[0].0), ("P101", 1_700_000_000_123_000));
//! # Ok::<(), String>(())
//! ```

mod decode;
mod fields;
mod object;
mod shape;
#[cfg(test)]
mod tests;
mod value;

pub use decode::Json;
pub use shape::{JsonRecord, json};
