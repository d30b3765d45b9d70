//! What sources, sinks and operators hold at most, in the form of [`gristmill::limits`].

use gristmill::Limit;
use smol_str::SmolStr;

use crate::codec::cell::{DECODED_BYTES_MAX, RECORD_BYTES_MAX, ROWS_PER_RECORD_MAX};
use crate::codec::letter::RECORD_BYTES_QUOTED_MAX;
use crate::rolling::{MAX_ROWS_DEFAULT, MAX_ROWS_LIMIT};

/// A time and a value.
const ROW_IN_WINDOW_BYTES: usize = 16;
/// A text in place; one of more than 23 bytes lies elsewhere.
const TEXT_IN_LAG_BYTES: usize = size_of::<Option<SmolStr>>();

/// Every bound of what this crate brings to a runtime that holds rows or records, unless said otherwise. Those of
/// models and expressions hold when they are loaded.
pub fn limits() -> Vec<Limit> {
    const REFUSED: &str = "the node is refused";
    let mut all = of_records();
    #[cfg(feature = "kafka")]
    all.extend(of_kafka());
    all.push(
        Limit::new("max_rows", MAX_ROWS_DEFAULT, "rows in a window of time, a node and key", "the row fails")
            .set_by("max_rows of the operator")
            .bytes(MAX_ROWS_DEFAULT * ROW_IN_WINDOW_BYTES),
    );
    all.push(
        Limit::new("max_rows_most", MAX_ROWS_LIMIT, "rows of numbers that a window or lag can ask for", REFUSED)
            .bytes(MAX_ROWS_LIMIT * ROW_IN_WINDOW_BYTES),
    );
    let texts = "rows of texts that a lag can ask for; a text of more than 23 bytes takes its own on top";
    all.push(Limit::new("max_rows_texts", MAX_ROWS_LIMIT, texts, REFUSED).bytes(MAX_ROWS_LIMIT * TEXT_IN_LAG_BYTES));
    all
}

fn of_records() -> Vec<Limit> {
    const REFUSED: &str = "it is a dead letter";
    vec![
        Limit::new("record_bytes", RECORD_BYTES_MAX, "bytes of a JSON record, or of a line of a file", REFUSED)
            .set_by("Json::record_bytes_max"),
        Limit::new("record_rows", ROWS_PER_RECORD_MAX, "rows that a record brings", REFUSED),
        Limit::new(
            "decoded_bytes",
            DECODED_BYTES_MAX,
            "bytes of those rows, each with a place for every stream of its axis",
            REFUSED,
        ),
        Limit::new(
            "quoted_bytes",
            RECORD_BYTES_QUOTED_MAX,
            "bytes of its record in a dead letter of a file or topic",
            "the rest is left out",
        ),
    ]
}

#[cfg(feature = "kafka")]
fn of_kafka() -> Vec<Limit> {
    use crate::kafka::limits::{QUEUE_KBYTES, QUEUE_MESSAGES, QUEUED_KBYTES, Setting};
    use crate::kafka::{ATTRIBUTE_RECORD_BYTES_MAX, TOPIC_KEYS_MAX};

    const WAIT: &str = "further ones wait, and are in flight";
    let set = |setting: &Setting, of, when_full| {
        Limit::new(setting.names[0], setting.default as usize, of, when_full).set_by("properties")
    };
    let bytes = |setting: &Setting| setting.default as usize * 1_024;
    vec![
        set(&QUEUE_MESSAGES, "lines that a Kafka sink has given its client", WAIT),
        set(&QUEUE_KBYTES, "KiB of those lines", WAIT).bytes(bytes(&QUEUE_KBYTES)),
        set(&QUEUED_KBYTES, "KiB that a Kafka source's client has read ahead", "it reads no more")
            .bytes(bytes(&QUEUED_KBYTES)),
        Limit::new(
            "attribute_keys",
            TOPIC_KEYS_MAX,
            "keys with a record in a topic of attributes",
            "records of further keys are refused",
        )
        .set_by("keys_max in [attributes_topic]"),
        Limit::new("attribute_bytes", ATTRIBUTE_RECORD_BYTES_MAX, "bytes of such a record", "it is refused"),
    ]
}

#[cfg(test)]
mod tests {
    /// Bug: the memory of a lag of texts was told as that of numbers, which is less. Fix: a line of its own.
    #[test]
    fn rows_of_texts_take_more_than_those_of_numbers() {
        let all = super::limits();
        let bytes = |name: &str| all.iter().find(|limit| limit.name == name).and_then(|limit| limit.bytes);
        assert_eq!(bytes("max_rows_most"), Some(16_000_000));
        assert_eq!(bytes("max_rows_texts"), Some(24_000_000));
    }

    #[test]
    fn names_are_told_apart_from_each_other_and_from_those_of_the_engine() {
        let all = [gristmill::limits(&gristmill::Options::default()), super::limits()].concat();
        let mut names: Vec<&str> = all.iter().map(|limit| limit.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }
}
