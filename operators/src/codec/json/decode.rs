//! The decoder: checks a record as a whole, then reads its objects.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill::traits::source::{AxisStreams, RawRecord};
use gristmill::traits::{Axes, Decode, RowsRecord};
use gristmill::words::Key;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::fields::Role;
use super::object::{Kept, Object, ObjectSeed};
use super::shape::{JsonRecord, KeyFrom, TimeFrom};
use crate::codec::cell::RowsOut;
use crate::codec::names::key_of;

/// Longest reason that is given for a refused record, in characters: a hostile record is not quoted whole.
const REASON_CHARS_MAX: usize = 300;
/// Decoders for which a thread keeps something.
const DECODERS_PER_THREAD_MAX: usize = 32;

pub(super) type Roles = HashMap<Box<str>, Role, BuildHasherDefault<rustc_hash::FxHasher>>;

/// Decodes JSON records; made by [`json`](super::json()).
#[derive(Debug)]
pub struct Json {
    pub(super) shape: JsonRecord,
    pub(super) roles: Roles,
    problem: Option<String>,
    number: u64,
}

impl Json {
    pub(super) fn new(shape: JsonRecord) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let problems = shape.problems();
        let problem =
            (!problems.is_empty()).then(|| format!("the JSON records are not described: {}", problems.join("; ")));
        Self { roles: roles(&shape), shape, problem, number: NUMBERS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Which streams such records bring.
    pub fn axes(&self) -> Axes {
        self.shape.axes()
    }

    /// Whether the description makes sense; sources ask before they read.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        self.problem.clone().map_or(Ok(()), Err)
    }

    /// Every field with a meaning of its own.
    #[cfg(feature = "parquet")]
    pub(crate) fn fields(&self) -> Vec<&str> {
        self.shape.fields()
    }

    fn checked_text<'r>(&self, record: &'r RawRecord) -> Result<&'r str, String> {
        self.check()?;
        let bytes = record.payload.len();
        if bytes == 0 {
            return Err("the record is empty".to_owned());
        }
        if bytes > self.shape.record_bytes_max {
            return Err(format!("the record has {bytes} bytes; the limit is {}", self.shape.record_bytes_max));
        }
        std::str::from_utf8(&record.payload)
            .map_err(|error| format!("the record is not UTF-8 at byte {}", error.valid_up_to()))
    }

    fn record_key(&self, record: &RawRecord) -> Result<Option<Key>, String> {
        if self.shape.key != Some(KeyFrom::Record) {
            return Ok(None);
        }
        let key = record.key.as_deref().ok_or("the record has no key in the log")?;
        let key = std::str::from_utf8(key).map_err(|_| "the record's key in the log is not UTF-8")?;
        key_of(key).map(Some)
    }
}

impl Decode for Json {
    fn key<'r>(&self, record: &'r RawRecord) -> Option<&'r str> {
        if self.shape.key != Some(KeyFrom::Record) {
            return None;
        }
        std::str::from_utf8(record.key.as_deref()?).ok()
    }

    fn decode(&self, record: &RawRecord, axes: &[AxisStreams], rows: &mut Vec<RowsRecord>) -> Result<(), String> {
        let text = self.checked_text(record)?;
        let key = self.record_key(record)?;
        if self.shape.time == Some(TimeFrom::Log) && record.log_time.is_none() {
            return Err("the log does not say when it got the record".to_owned());
        }
        with_kept(self.number, |kept| {
            kept.begin();
            let out = RowsOut::new(axes, record, rows);
            let mut object = Object::new(self, axes, record.log_time, key, kept, out);
            let mut json = serde_json::Deserializer::from_str(text);
            let read = Top { object: &mut object }.deserialize(&mut json).and_then(|()| json.end());
            match read {
                Ok(()) => Ok(()),
                Err(error) => {
                    object.out.take_back();
                    Err(shortened(&error.to_string()))
                }
            }
        })
    }
}

fn roles(shape: &JsonRecord) -> Roles {
    let mut roles = Roles::default();
    if let Some(KeyFrom::Field(field)) = &shape.key {
        roles.insert(field.clone(), Role::Key);
    }
    if let Some(TimeFrom::Field(field)) = &shape.time {
        roles.insert(field.clone(), Role::Time);
    }
    if let Some((tag, value)) = &shape.reading {
        roles.extend([(tag.clone(), Role::Tag), (value.clone(), Role::Value)]);
        if shape.series.is_some() {
            roles.insert(shape.values.clone(), Role::Value);
        }
    }
    if let Some((start, step)) = &shape.series {
        roles.extend([(start.clone(), Role::Start), (step.clone(), Role::Step)]);
    }
    roles
}

/// What this thread keeps for a decoder.
fn with_kept<R>(number: u64, work: impl FnOnce(&mut Kept) -> R) -> R {
    thread_local! {
        static KEPT: RefCell<Vec<(u64, Kept)>> = const { RefCell::new(Vec::new()) };
    }
    KEPT.with_borrow_mut(|all| {
        let known = all.iter().position(|(of, _)| *of == number);
        let place = known.unwrap_or_else(|| {
            if all.len() >= DECODERS_PER_THREAD_MAX {
                all.remove(0);
            }
            all.push((number, Kept::default()));
            all.len() - 1
        });
        work(&mut all[place].1)
    })
}

fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(REASON_CHARS_MAX) {
        None => reason.to_owned(),
        Some(_) => {
            // The place stands at the end.
            let head: String = reason.chars().take(REASON_CHARS_MAX - 60).collect();
            let tail: Vec<char> = reason.chars().rev().take(60).collect();
            format!("{head} … {}", tail.into_iter().rev().collect::<String>())
        }
    }
}

/// An object, or an array of objects.
struct Top<'o, 'a> {
    object: &'o mut Object<'a>,
}

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        ObjectSeed { object: self.object }.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while array.next_element_seed(ObjectSeed { object: self.object })?.is_some() {}
        Ok(())
    }
}
