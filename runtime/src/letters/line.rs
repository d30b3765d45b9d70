//! Dead letters as lines of JSON that can be read back: values keep their type and every bit.

use serde::{Deserialize, Serialize};

use super::Kept;
use crate::traits::sink::DeadLetter;
use crate::traits::source::RawRecord;
use crate::words::{Cause, ElementType, Key, NodeId, Offset, Time, Value};

/// Most bytes of a record that are kept; a longer one is cut, and cannot be replayed.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// A letter as it lies in a file.
#[derive(Serialize, Deserialize)]
struct Line {
    id: u64,
    when: Time,
    source: String,
    partition: u32,
    offset: Offset,
    row: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<Time>,
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<RecordLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<(String, ElementType, String)>,
}

#[derive(Serialize, Deserialize)]
struct RecordLine {
    payload: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_time: Option<Time>,
    /// How long it was.
    bytes: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Bytes {
    Text(String),
    Hex(String),
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    fn read(self) -> Option<Box<[u8]>> {
        match self {
            Self::Text(text) => Some(text.into_bytes().into()),
            Self::Hex(digits) => {
                let pairs = digits.as_bytes().chunks(2);
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
                pairs.map(byte).collect()
            }
        }
    }
}

/// The line of a letter, with its end.
pub(super) fn write(id: u64, when: Time, letter: &DeadLetter) -> Vec<u8> {
    let record = letter.record.as_ref().map(|record| RecordLine {
        payload: Bytes::of(&record.payload[..record.payload.len().min(RECORD_BYTES_MAX)]),
        key: record.key.as_ref().map(|key| Bytes::of(key)),
        log_time: record.log_time,
        bytes: record.payload.len(),
    });
    let typed = |(name, value): &(String, Value)| (name.clone(), value.element_type(), text_of(value));
    let line = Line {
        id,
        when,
        source: letter.source.to_string(),
        partition: letter.source_partition,
        offset: letter.cause.offset,
        row: letter.cause.row,
        key: letter.key.clone(),
        node: letter.node.clone(),
        time: letter.time,
        reason: letter.reason.clone(),
        record,
        values: letter.values.iter().map(typed).collect(),
    };
    let mut bytes = serde_json::to_vec(&line).expect("names, numbers and texts are JSON");
    bytes.push(b'\n');
    bytes
}

/// The letter of a line; `None` when it is none.
pub(super) fn read(line: &[u8]) -> Option<Kept> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let cause = Cause { offset: line.offset, row: line.row };
    let mut cut = false;
    let record = match line.record {
        None => None,
        Some(record) => {
            let payload = record.payload.read()?;
            cut = payload.len() < record.bytes;
            let key = match record.key {
                None => None,
                Some(key) => Some(key.read()?),
            };
            Some(Box::new(RawRecord { offset: cause.offset, log_time: record.log_time, key, payload }))
        }
    };
    let values: Option<Vec<(String, Value)>> =
        line.values.into_iter().map(|(name, element, text)| Some((name, value_of(element, text)?))).collect();
    let letter = DeadLetter {
        source: line.source.into(),
        source_partition: line.partition,
        cause,
        key: line.key,
        node: line.node,
        time: line.time,
        reason: line.reason,
        record,
        values: values?,
    };
    Some(Kept { id: line.id, when: line.when, letter, cut })
}

fn text_of(value: &Value) -> String {
    match value {
        Value::F32(number) => number.to_string(),
        Value::F64(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Str(text) => text.to_string(),
        Value::Vector(numbers) => numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

fn value_of(element: ElementType, text: String) -> Option<Value> {
    Some(match element {
        ElementType::F32 => Value::F32(text.parse().ok()?),
        ElementType::F64 => Value::F64(text.parse().ok()?),
        ElementType::I64 => Value::I64(text.parse().ok()?),
        ElementType::Bool => Value::Bool(text.parse().ok()?),
        ElementType::Str => Value::Str(text.into()),
        ElementType::Vector(_) => {
            let numbers: Option<Box<[f32]>> = text.split(' ').map(|number| number.parse().ok()).collect();
            Value::Vector(numbers?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_with_every_bit() {
        let values = [
            ("a", Value::F32(0.1)),
            ("b", Value::F64(f64::NEG_INFINITY)),
            ("c", Value::I64(i64::MAX)),
            ("d", Value::Bool(true)),
            ("previous(e)", Value::Str("two\nlines \"é\"".into())),
            ("f", Value::Vector([1.0e-45, f32::MAX, f32::INFINITY].into())),
            ("g", Value::F32(-0.0)),
        ];
        let letter = DeadLetter {
            source: "pump".into(),
            source_partition: 3,
            cause: Cause { offset: Offset(7), row: 2 },
            key: Some("P1".into()),
            node: Some("wear@P1".into()),
            time: Some(Time(-5)),
            reason: "it panicked: \u{1}".to_owned(),
            record: Some(Box::new(RawRecord {
                offset: Offset(7),
                log_time: Some(Time(9)),
                key: Some([0xff, 0].into()),
                payload: b"{}"[..].into(),
            })),
            values: values.map(|(name, value)| (name.to_owned(), value)).into(),
        };
        let line = write(5, Time(11), &letter);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let kept = read(&line).expect("it is a line");
        assert_eq!((kept.id, kept.when, &kept.letter, kept.cut), (5, Time(11), &letter, false));
        assert!(matches!(kept.letter.values[6].1, Value::F32(zero) if zero.is_sign_negative()));

        let long =
            RawRecord { payload: vec![b'x'; RECORD_BYTES_MAX + 1].into(), ..*letter.record.clone().expect("one") };
        let kept = read(&write(6, Time(12), &DeadLetter { record: Some(Box::new(long)), ..letter })).expect("a line");
        assert!(kept.cut);
        assert!(read(b"{\"id\":1}").is_none() && read(b"").is_none());
    }
}
