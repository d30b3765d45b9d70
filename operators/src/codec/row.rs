//! Predictions as JSON: one object per value, with all that says where it came from.
//!
//! ```json
//! {"key":"P101","time":"2026-11-23T19:12:04.250000Z","stream":"wear","value":0.31,"node":"wear",
//!  "artifact":"9f86…","revision":3,"source":"sensors","partition":2,"offset":1711,"row":0}
//! ```

use std::fmt::Write as _;
use std::io::Write as _;

use gristmill::traits::{SinkFrame, SinkRow};
use gristmill::words::{Time, Value};

use super::time::write_time;

/// How times are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeStyle {
    /// `"2026-11-23T19:12:04.250000Z"`.
    #[default]
    Rfc3339,
    /// `1795461124250000`: microseconds since the Unix epoch.
    Micros,
}

/// Appends `row` of `frame` as one JSON object, without a line break. Infinite numbers, which JSON does not have, are
/// the texts `"inf"` and `"-inf"`; a vector's missing elements are null.
///
/// ```
/// use gristmill::traits::{SinkFrame, sink::SinkColumn};
/// use gristmill::words::{Cause, Column, Key, NodeId, PartitionIndex, Revision, StreamName, Time, Traces};
/// use gristmill_operators::codec::row::{TimeStyle, write_row};
///
/// let (key, stream, node) = (Key::from("P1"), StreamName::from("wear"), NodeId::from("wear"));
/// let values = Column::F32(vec![0.5]);
/// let (times, causes) = ([Time(0)], [Cause::default()]);
/// let column = SinkColumn {
///     key: &key, stream: &stream, node: &node, artifact: None, times: &times, causes: &causes, values: values.as_ref(),
/// };
/// let frame = SinkFrame {
///     revision: Revision(1), source: "sensors", partition: PartitionIndex(0), source_partition: 0, columns: &[column],
///     traces: &Traces::default(),
/// };
/// let mut line = Vec::new();
/// frame.for_each(|row| write_row(&frame, &row, TimeStyle::Micros, &mut line));
/// assert_eq!(
///     String::from_utf8_lossy(&line),
///     r#"{"key":"P1","time":0,"stream":"wear","value":0.5,"node":"wear","revision":1,"source":"sensors","partition":0,"offset":0,"row":0}"#
/// );
/// ```
pub fn write_row(frame: &SinkFrame<'_>, row: &SinkRow<'_>, times: TimeStyle, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":");
    write_text(row.key, out);
    out.extend_from_slice(b",\"time\":");
    write_time_value(row.time, times, out);
    out.extend_from_slice(b",\"stream\":");
    write_text(row.stream, out);
    out.extend_from_slice(b",\"value\":");
    write_value(&row.value, out);
    out.extend_from_slice(b",\"node\":");
    write_text(row.node, out);
    if let Some(artifact) = row.artifact {
        out.extend_from_slice(b",\"artifact\":\"");
        write_hex(&artifact.0, out);
        out.push(b'"');
    }
    out.extend_from_slice(b",\"revision\":");
    write_integer(frame.revision.0, out);
    out.extend_from_slice(b",\"source\":");
    write_text(frame.source, out);
    out.extend_from_slice(b",\"partition\":");
    write_integer(frame.source_partition, out);
    out.extend_from_slice(b",\"offset\":");
    write_integer(row.cause.offset.0, out);
    out.extend_from_slice(b",\"row\":");
    write_integer(row.cause.row, out);
    out.push(b'}');
}

pub(super) fn write_time_value(time: Time, times: TimeStyle, out: &mut Vec<u8>) {
    match times {
        TimeStyle::Micros => write_integer(time.0, out),
        TimeStyle::Rfc3339 => {
            out.push(b'"');
            write_time(time, out);
            out.push(b'"');
        }
    }
}

pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail, nor can a text be no JSON.
    let _ = serde_json::to_writer(out, text);
}

pub(super) fn write_integer(number: impl serde::Serialize, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, &number);
}

pub(super) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

pub(crate) fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::F32(number) if number.is_infinite() => write_infinite(f64::from(*number), out),
        Value::F64(number) if number.is_infinite() => write_infinite(*number, out),
        Value::F32(number) => drop(serde_json::to_writer(out, number)),
        Value::F64(number) => drop(serde_json::to_writer(out, number)),
        Value::I64(number) => write_integer(number, out),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Str(text) => write_text(text, out),
        Value::Vector(values) => {
            out.push(b'[');
            for (index, number) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                if number.is_infinite() {
                    write_infinite(f64::from(*number), out);
                } else {
                    // NaN becomes null.
                    let _ = serde_json::to_writer(&mut *out, number);
                }
            }
            out.push(b']');
        }
    }
}

fn write_infinite(number: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(if number > 0.0 { b"\"inf\"" } else { b"\"-inf\"" });
}

/// Appends a value as people read it, for CSV and the console: `0.5`, `true`, `[1 2 3]`.
pub(crate) fn write_plain(value: &Value, out: &mut Vec<u8>) {
    let _ = match value {
        Value::F32(number) => write!(out, "{number}"),
        Value::F64(number) => write!(out, "{number}"),
        Value::I64(number) => write!(out, "{number}"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Str(text) => out.write_all(text.as_bytes()),
        Value::Vector(values) => {
            let mut text = String::from("[");
            for (index, number) in values.iter().enumerate() {
                let _ = write!(text, "{}{number}", if index > 0 { " " } else { "" });
            }
            text.push(']');
            out.write_all(text.as_bytes())
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value) -> String {
        let mut out = Vec::new();
        write_value(value, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn every_value_is_json() {
        for (value, expected) in [
            (Value::F32(0.1), "0.1"),
            (Value::F64(f64::NEG_INFINITY), "\"-inf\""),
            (Value::I64(-3), "-3"),
            (Value::Bool(true), "true"),
            (Value::Str("a\"\n".into()), r#""a\"\n""#),
            (Value::Vector([1.0, f32::NAN, f32::INFINITY].into()), r#"[1.0,null,"inf"]"#),
        ] {
            assert_eq!(written(&value), expected);
            assert!(serde_json::from_str::<serde_json::Value>(expected).is_ok());
        }
    }
}
