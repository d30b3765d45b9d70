//! What sources, sinks and operators hold at most, in the form of [`gristmill::limits`].

use gristmill::Limit;

use crate::codec::cell::{DECODED_BYTES_MAX, RECORD_BYTES_MAX, ROWS_PER_RECORD_MAX};
use crate::codec::letter::RECORD_BYTES_QUOTED_MAX;
use crate::rolling::{MAX_ROWS_DEFAULT, MAX_ROWS_LIMIT};

/// A time and a value.
const ROW_IN_WINDOW_BYTES: usize = 16;

/// Every bound of what this crate brings to a runtime that holds rows or records, unless said otherwise. Those of
/// models and expressions hold when they are loaded.
pub fn limits() -> Vec<Limit> {
    let mut all = of_records();
    #[cfg(feature = "kafka")]
    all.extend(of_kafka());
    all.push(
        Limit::new("max_rows", MAX_ROWS_DEFAULT, "rows in a window of time, a node and key", "the row fails")
            .set_by("max_rows of the operator")
            .bytes(MAX_ROWS_DEFAULT * ROW_IN_WINDOW_BYTES),
    );
    all.push(
        Limit::new("max_rows_most", MAX_ROWS_LIMIT, "rows that a window or lag can ask for", "the node is refused")
            .bytes(MAX_ROWS_LIMIT * ROW_IN_WINDOW_BYTES),
    );
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
    #[test]
    fn names_are_told_apart_from_each_other_and_from_those_of_the_engine() {
        let all = [gristmill::limits(&gristmill::Options::default()), super::limits()].concat();
        let mut names: Vec<&str> = all.iter().map(|limit| limit.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }
}
