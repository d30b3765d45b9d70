//! What the fields of a JSON record mean.

use std::collections::HashMap;

use gristmill::traits::Axes;
use gristmill::words::StreamName;

use super::decode::Json;
use crate::codec::cell::RECORD_BYTES_MAX;
use crate::codec::time::TimeUnit;

/// Where the key of a record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyFrom {
    /// In a field.
    Field(Box<str>),
    /// It is the record's key in the log.
    Record,
    /// It is the part of the tag before the last of these.
    Tag(char),
}

/// Where the time of a row stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TimeFrom {
    /// In a field.
    Field(Box<str>),
    /// It is when the log got the record.
    Log,
}

/// What the fields of a JSON record mean; see [`json`].
#[derive(Clone, Debug)]
#[must_use]
pub struct JsonRecord {
    pub(super) key: Option<KeyFrom>,
    pub(super) time: Option<TimeFrom>,
    pub(super) unit: TimeUnit,
    /// The fields with tag and value of a narrow reading.
    pub(super) reading: Option<(Box<str>, Box<str>)>,
    /// The fields with start and step of a series.
    pub(super) series: Option<(Box<str>, Box<str>)>,
    /// The field with the values of a series of one tag.
    pub(super) values: Box<str>,
    pub(super) renamed: HashMap<Box<str>, StreamName>,
    pub(super) groups: Vec<Vec<StreamName>>,
    pub(super) wide: Option<bool>,
    pub(super) record_bytes_max: usize,
}

/// Describes JSON records. Every field that is none of those named here is a stream's, and ignored if no sensor asks for
/// it. A record is an object or an array of objects of one key; a missing or null value is a missing reading, and so is an
/// empty array that is no series. For streams of floats the texts `"inf"` and `"-inf"` are infinite numbers.
///
/// Wide rows `{"device":"P1","ts":1700000000000,"temp":1.2,"vib":3}`:
/// ```
/// # use gristmill_operators::codec::json;
/// json(|r| r.key("device").time("ts"));
/// ```
/// Narrow readings `{"tag":"P101.VIB","ts":"2026-11-23T19:12:04Z","value":1.2}`:
/// ```
/// # use gristmill_operators::codec::json;
/// json(|r| r.reading("tag", "value").split_tag('.').rename("VIB", "vibration").time("ts"));
/// ```
/// Series `{"device":"P1","start":1700000000000,"step":10,"vib":[1.2,1.3]}`, or with `"tag":"vib","values":[1.2,1.3]`:
/// ```
/// # use gristmill_operators::codec::json;
/// json(|r| r.key("device").time("ts").reading("tag", "value").series("start", "step"));
/// ```
pub fn json(describe: impl FnOnce(JsonRecord) -> JsonRecord) -> Json {
    Json::new(describe(JsonRecord::default()))
}

impl Default for JsonRecord {
    fn default() -> Self {
        Self {
            key: None,
            time: None,
            unit: TimeUnit::default(),
            reading: None,
            series: None,
            values: "values".into(),
            renamed: HashMap::new(),
            groups: Vec::new(),
            wide: None,
            record_bytes_max: RECORD_BYTES_MAX,
        }
    }
}

impl JsonRecord {
    /// The field with the key, a text or a whole number.
    pub fn key(mut self, field: &str) -> Self {
        self.key = Some(KeyFrom::Field(field.into()));
        self
    }

    /// The key is the record's key in the log; records then go to their key's shard before they are decoded.
    pub fn key_from_record(mut self) -> Self {
        self.key = Some(KeyFrom::Record);
        self
    }

    /// The field with the event time: RFC 3339 text, or a number of [`JsonRecord::unit`].
    pub fn time(mut self, field: &str) -> Self {
        self.time = Some(TimeFrom::Field(field.into()));
        self
    }

    /// The event time is when the log got the record.
    pub fn time_from_log(mut self) -> Self {
        self.time = Some(TimeFrom::Log);
        self
    }

    /// What times and steps that are numbers count; milliseconds unless said.
    pub fn unit(mut self, unit: TimeUnit) -> Self {
        self.unit = unit;
        self
    }

    /// The fields of a narrow reading: the stream's name and its value.
    pub fn reading(mut self, tag: &str, value: &str) -> Self {
        self.reading = Some((tag.into(), value.into()));
        self
    }

    /// The fields of a series: the time of its first row and the time between rows, in [`JsonRecord::unit`].
    pub fn series(mut self, start: &str, step: &str) -> Self {
        self.series = Some((start.into(), step.into()));
        self
    }

    /// The field with the values of a series whose stream is told by a tag; `values` unless said.
    pub fn values(mut self, field: &str) -> Self {
        self.values = field.into();
        self
    }

    /// A tag is key and stream, separated by the last `separator`: `P101.VIB`.
    pub fn split_tag(mut self, separator: char) -> Self {
        self.key = Some(KeyFrom::Tag(separator));
        self
    }

    /// The tag or field `name` is the stream `stream`.
    pub fn rename(mut self, name: &str, stream: &str) -> Self {
        self.renamed.insert(name.into(), StreamName::from(stream));
        self
    }

    /// Streams that share their rows, where not all do.
    pub fn group<'a>(mut self, streams: impl IntoIterator<Item = &'a str>) -> Self {
        self.groups.push(streams.into_iter().map(StreamName::from).collect());
        self
    }

    /// Whether the streams of no group share their rows. Unless said: yes for wide rows; no where there are narrow
    /// readings, each of which is a row of its own stream.
    pub fn wide(mut self, wide: bool) -> Self {
        self.wide = Some(wide);
        self
    }

    /// Larger records are refused; 8 MiB unless said.
    pub fn record_bytes_max(mut self, bytes: usize) -> Self {
        self.record_bytes_max = bytes;
        self
    }

    /// The axes of a source of such records.
    pub(super) fn axes(&self) -> Axes {
        Axes::Open { groups: self.groups.clone(), wide: self.wide.unwrap_or(self.reading.is_none()) }
    }

    /// Every field with a meaning of its own.
    pub(super) fn fields(&self) -> Vec<&str> {
        let mut fields: Vec<&str> = Vec::new();
        if let Some(KeyFrom::Field(field)) = &self.key {
            fields.push(field);
        }
        if let Some(TimeFrom::Field(field)) = &self.time {
            fields.push(field);
        }
        for (first, second) in self.reading.iter().chain(&self.series) {
            fields.extend([&**first, &**second]);
        }
        if self.reading.is_some() && self.series.is_some() {
            fields.push(&self.values);
        }
        fields
    }

    /// What is wrong with this description, all of it.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        match &self.key {
            None => problems.push("no key: say `key(field)`, `key_from_record()` or `split_tag(separator)`".to_owned()),
            Some(KeyFrom::Tag(_)) if self.reading.is_none() => {
                problems.push("`split_tag` needs the field of the tag: say `reading(tag, value)`".to_owned());
            }
            _ => {}
        }
        if self.time.is_none() && self.series.is_none() {
            problems.push("no time: say `time(field)`, `time_from_log()` or `series(start, step)`".to_owned());
        }
        let mut fields = self.fields();
        fields.sort_unstable();
        for pair in fields.windows(2).filter(|pair| pair[0] == pair[1]) {
            problems.push(format!("field `{}` has two meanings", pair[0]));
        }
        problems
    }
}
