//! What tests share: worlds that a test owns and that end with it.

pub mod constants;
pub mod expression;
pub mod kafka;
pub mod kafka_clients;
pub mod kafka_proxy;
mod kafka_secured;
mod kafka_tools;
pub mod logs;
pub mod onnx;
pub mod python;
pub mod recorder;
pub mod setting;
pub mod site;
pub mod source;
pub mod tanks;
