//! What the fields of records mean, as tables say it.

use gristmill_operators::codec::{JsonRecord, TimeUnit};
use gristmill_operators::file::CsvRecord;

use super::fields::Fields;

const UNITS: [(&str, TimeUnit); 4] =
    [("s", TimeUnit::Seconds), ("ms", TimeUnit::Millis), ("us", TimeUnit::Micros), ("ns", TimeUnit::Nanos)];

/// Key and time where the command line has the last word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// Whether the command line can say them.
    pub(crate) by_option: bool,
    pub(crate) key: Option<String>,
    pub(crate) time: Option<String>,
}

/// Refuses fields that say one thing, each with whether it is there: one of them would count for nothing.
fn only_one(fields: &mut Fields<'_>, what: &str, said: &[(&str, bool)]) {
    let said: Vec<_> = said.iter().filter(|(_, there)| *there).map(|(name, _)| format!("`{name}`")).collect();
    if said.len() > 1 {
        fields.wrong(format!("{} each say what {what} is", said.join(" and ")), "keep one of them");
    }
}

/// `key` or `key_is`, `time`, `unit`, `separator`.
pub(super) fn csv(fields: &mut Fields<'_>, given: &Given) -> CsvRecord {
    let mut record = CsvRecord::default();
    let (column, key_is) = (fields.text("key"), fields.text("key_is"));
    match (given.key.as_ref().or(column.as_ref()), key_is.filter(|_| given.key.is_none())) {
        (Some(_), Some(_)) => only_one(fields, "the key", &[("key", true), ("key_is", true)]),
        (Some(column), None) => record = record.key(column),
        (None, Some(key)) => record = record.key_is(&key),
        _ if given.by_option => fields.wrong("it is not said which column is the key", "add --key COLUMN"),
        _ => fields.wrong("it does not say which column is the key", "add key = \"machine\", or key_is = \"P101\""),
    }
    match given.time.clone().or(fields.text("time")) {
        Some(time) => record = record.time(&time),
        None if given.by_option => fields.wrong("it is not said which column is the event time", "add --time COLUMN"),
        None => fields.wrong("it does not say which column is the event time", "add time = \"time\""),
    }
    if let Some(unit) = fields.one_of("unit", &UNITS) {
        record = record.unit(unit);
    }
    match fields.text("separator").map(|text| text.chars().collect::<Vec<_>>()) {
        Some(characters) if characters.len() == 1 => record = record.separator(characters[0]),
        Some(_) => fields.wrong("`separator` is not one character", "write one, such as \";\""),
        None => {}
    }
    record
}

/// As [`JsonRecord`] has it; `in_log` where records have keys and times beside their bytes.
pub(super) fn json(fields: &mut Fields<'_>, given: &Given, in_log: bool) -> JsonRecord {
    let mut record = JsonRecord::default();
    let (key, time) = (fields.text("key"), fields.text("time"));
    let key_from_record = in_log && fields.flag("key_from_record") == Some(true);
    let time_from_log = in_log && fields.flag("time_from_log") == Some(true);
    let split = fields.text("split_tag");
    if given.key.is_none() {
        let said = [("key", key.is_some()), ("key_from_record", key_from_record), ("split_tag", split.is_some())];
        only_one(fields, "the key", &said);
    }
    if given.time.is_none() {
        only_one(fields, "the event time", &[("time", time.is_some()), ("time_from_log", time_from_log)]);
    }
    let (key, time) = (given.key.clone().or(key), given.time.clone().or(time));
    let split = split.filter(|_| given.key.is_none());
    let (has_key, has_time) = (key.is_some(), time.is_some());
    if let Some(key) = key {
        record = record.key(&key);
    }
    if let Some(time) = time {
        record = record.time(&time);
    }
    if key_from_record {
        record = record.key_from_record();
    }
    if time_from_log {
        record = record.time_from_log();
    }
    if let Some(unit) = fields.one_of("unit", &UNITS) {
        record = record.unit(unit);
    }
    match (fields.text("tag"), fields.text("value")) {
        (Some(tag), Some(value)) => record = record.reading(&tag, &value),
        (None, None) if split.is_some() => {
            let advice = "add tag = \"tag\" and value = \"value\", the fields of stream and value";
            fields.wrong("`split_tag` splits the `tag`, which is not said", advice);
        }
        (None, None) => {}
        _ => fields.wrong("`tag` and `value` go together", "write both, or neither for rows with a field each stream"),
    }
    if !has_key && split.is_none() && !key_from_record {
        let advice = match (given.by_option, in_log) {
            (true, _) => "add --key FIELD",
            (false, false) => "add key = \"machine\", or split_tag = \".\"",
            (false, true) => "add key = \"machine\", split_tag = \".\", or key_from_record = true",
        };
        fields.wrong("it is not said which field is the key", advice);
    }
    match split.map(|text| text.chars().collect::<Vec<_>>()) {
        Some(characters) if characters.len() == 1 => record = record.split_tag(characters[0]),
        Some(_) => fields.wrong("`split_tag` is not one character", "write one, such as \".\""),
        None => {}
    }
    match (fields.text("start"), fields.text("step")) {
        (Some(start), Some(step)) => record = record.series(&start, &step),
        (None, None) if has_time || time_from_log => {}
        (None, None) => {
            let advice = match (given.by_option, in_log) {
                (true, _) => "add --time FIELD",
                (false, false) => "add time = \"time\"",
                (false, true) => "add time = \"time\", or time_from_log = true",
            };
            fields.wrong("it is not said which field is the event time", advice);
        }
        _ => fields.wrong("`start` and `step` go together", "write both for records that are series, or neither"),
    }
    for (name, stream) in fields.table("rename") {
        record = record.rename(&name, &stream);
    }
    record
}
