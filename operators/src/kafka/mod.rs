//! Kafka: records in through a consumer group, predictions and dead letters out.
//!
//! ```no_run
//! use gristmill_operators::kafka;
//!
//! let source = kafka::source("sensors")
//!     .brokers("localhost:9092")
//!     .group("wear")
//!     .json(|r| r.key("device").time("ts"));
//! let sink = kafka::sink("predictions").brokers("localhost:9092");
//! # let _ = (source, sink);
//! ```

mod attributes;
mod certificate;
mod context;
mod errors;
mod fault;
mod letters;
pub(crate) mod limits;
mod overflow;
mod positions;
mod producer;
mod properties;
mod sink;
mod source;
mod trace;
mod words;

pub use attributes::{
    ATTRIBUTE_RECORD_BYTES_MAX, AttributeCounts, AttributesTo, Following, KafkaAttributes, KafkaAttributesOptions,
    TOPIC_KEYS_MAX, attributes,
};
pub use letters::{KafkaLetters, KafkaLettersOptions, dead_letters};
pub use sink::{KafkaSink, sink};
pub use source::{KafkaSource, StartAt, source};
