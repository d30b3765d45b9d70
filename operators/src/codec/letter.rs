//! Dead letters as JSON: one object per letter.

use gristmill::traits::sink::DeadLetter;
use gristmill::words::Value;

use super::row::{TimeStyle, write_hex, write_integer, write_text, write_time_value, write_value};

/// Most bytes of the bad record that a letter quotes.
pub(crate) const RECORD_BYTES_QUOTED_MAX: usize = 64 * 1024;

/// Appends a letter as one JSON object, without a line break: `source`, `partition`, `offset`, `row`, then `key`, `node`
/// and `time` where they are known, `reason`, and the record's bytes as `record`, or as `record_hex` where they are no
/// text. A record above 64 KiB is cut and its length said as `record_bytes`. `values` has what is known of a node's row.
pub fn write_letter(letter: &DeadLetter, times: TimeStyle, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"source\":");
    write_text(&letter.source, out);
    out.extend_from_slice(b",\"partition\":");
    write_integer(letter.source_partition, out);
    out.extend_from_slice(b",\"offset\":");
    write_integer(letter.cause.offset.0, out);
    out.extend_from_slice(b",\"row\":");
    write_integer(letter.cause.row, out);
    if let Some(key) = &letter.key {
        out.extend_from_slice(b",\"key\":");
        write_text(key, out);
    }
    if let Some(node) = &letter.node {
        out.extend_from_slice(b",\"node\":");
        write_text(node, out);
    }
    if let Some(time) = letter.time {
        out.extend_from_slice(b",\"time\":");
        write_time_value(time, times, out);
    }
    out.extend_from_slice(b",\"reason\":");
    write_text(&letter.reason, out);
    if let Some(record) = &letter.record {
        write_record(&record.payload, out);
    }
    if !letter.values.is_empty() {
        write_values(&letter.values, out);
    }
    out.push(b'}');
}

fn write_values(values: &[(String, Value)], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"values\":{");
    for (index, (name, value)) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        write_value(value, out);
    }
    out.push(b'}');
}

fn write_record(record: &[u8], out: &mut Vec<u8>) {
    if record.len() > RECORD_BYTES_QUOTED_MAX {
        out.extend_from_slice(b",\"record_bytes\":");
        write_integer(record.len(), out);
    }
    let quoted = &record[..record.len().min(RECORD_BYTES_QUOTED_MAX)];
    let text = match std::str::from_utf8(quoted) {
        Ok(text) => Some(text),
        // The cut went through a character.
        Err(error) if error.error_len().is_none() && quoted.len() < record.len() => {
            std::str::from_utf8(&quoted[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    if let Some(text) = text {
        out.extend_from_slice(b",\"record\":");
        write_text(text, out);
    } else {
        out.extend_from_slice(b",\"record_hex\":\"");
        write_hex(quoted, out);
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use gristmill::traits::source::RawRecord;
    use gristmill::words::{Cause, Offset};

    use super::*;

    fn letter(record: &[u8]) -> serde_json::Value {
        let letter = DeadLetter {
            source: "sensors".into(),
            source_partition: 2,
            cause: Cause { offset: Offset(17), row: 0 },
            key: Some("P1".into()),
            node: None,
            time: None,
            reason: "not \"JSON\"".to_owned(),
            record: Some(Box::new(RawRecord { offset: Offset(17), log_time: None, key: None, payload: record.into() })),
            values: vec![("wear".to_owned(), Value::F32(0.1)), ("site".to_owned(), Value::Str("a".into()))],
        };
        let mut out = Vec::new();
        write_letter(&letter, TimeStyle::Rfc3339, &mut out);
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn a_letter_quotes_texts_as_texts_and_bytes_as_hex() {
        let text = letter("{oh \u{e9}".as_bytes());
        assert_eq!((&text["record"], &text["offset"], &text["key"]), (&"{oh \u{e9}".into(), &17.into(), &"P1".into()));
        assert_eq!(letter(b"\xff\x00")["record_hex"], "ff00");
        assert_eq!(text["values"], serde_json::json!({ "wear": 0.1, "site": "a" }));
        let long = letter("\u{20ac}".repeat(30_000).as_bytes());
        assert_eq!(long["record_bytes"], 90_000);
        assert_eq!(long["record"].as_str().map(str::len), Some(65_535));
    }
}
