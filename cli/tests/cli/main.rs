//! `grist` from outside: what people type, and what they get.

mod admin;
#[cfg(feature = "kafka")]
mod attributes_kafka;
mod bench;
mod demo;
mod files;
mod help;
mod killed;
mod limits;
#[cfg(feature = "otel")]
mod otel;
mod remote;
mod run;
mod same_files;
mod score;
mod state;
#[cfg(feature = "kafka")]
mod state_kafka;
mod support;
mod texts;
mod written;
