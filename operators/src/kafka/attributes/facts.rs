//! What records say, laid over what is known otherwise.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use gristmill::topology::attributes::value_of_json;
use gristmill::topology::{Attributes, KeyAttributes};
use gristmill::words::Key;
use gristmill::words::id::check_name;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value as Json};

use super::ATTRIBUTE_RECORD_BYTES_MAX;

/// What is known, and which of it a topic says.
pub(super) struct Facts {
    /// What is known of keys without a record.
    under: Attributes,
    known: Attributes,
    /// The partition of each key that has a record.
    keys: FxHashMap<Key, i32>,
    keys_max: usize,
    /// The offset after the last record, by partition.
    next: BTreeMap<i32, i64>,
    pub(super) records: u64,
    pub(super) refused: u64,
}

impl Facts {
    pub(super) fn over(under: Attributes, keys_max: usize) -> Self {
        let known = under.clone();
        let (keys, next) = (FxHashMap::default(), BTreeMap::new());
        Self { under, known, keys, keys_max, next, records: 0, refused: 0 }
    }

    /// The same without any record.
    pub(super) fn anew(&self) -> Self {
        let Self { under, keys_max, records, refused, .. } = self;
        Self { records: *records, refused: *refused, ..Self::over(under.clone(), *keys_max) }
    }

    pub(super) fn known(&self) -> &Attributes {
        &self.known
    }

    /// How many keys have a record.
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Up to where the topic was read: `0:17 1:4`.
    pub(super) fn position(&self) -> String {
        self.next.iter().fold(String::new(), |mut text, (partition, next)| {
            let space = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}{partition}:{next}"); // a text takes everything
            text
        })
    }

    /// Takes in a record; whether anything else is known since.
    ///
    /// # Errors
    /// Why it is refused; what was known before stands.
    pub(super) fn take(
        &mut self,
        partition: i32,
        offset: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<bool, String> {
        self.next.insert(partition, offset + 1);
        self.records += 1;
        let taken = self.try_take(partition, key, value);
        self.refused += u64::from(taken.is_err());
        taken
    }

    fn try_take(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<bool, String> {
        let key = key.ok_or("it has no key; the name of a key is needed")?;
        let key = std::str::from_utf8(key).map_err(|error| format!("its key is no text: {error}"))?;
        check_name("key", key).map_err(|error| error.to_string())?;
        let key = Key::from(key);
        if let Some(other) = self.keys.get(&key).filter(|other| **other != partition) {
            return Err(format!("the record of `{key}` lies in partition {other}; its records must lie in one"));
        }
        let facts = match value {
            None => {
                self.keys.remove(&key);
                self.under.of(&key)
            }
            Some(value) => {
                let facts = self.read(&key, value)?;
                if self.keys.len() >= self.keys_max && !self.keys.contains_key(&key) {
                    let most = self.keys_max;
                    return Err(format!("{most} keys have a record already, the limit (keys_max); raise it"));
                }
                self.keys.insert(key.clone(), partition);
                facts
            }
        };
        self.put(&key, &facts)
    }

    /// Makes these all that is known of a key; whether that is news.
    fn put(&mut self, key: &Key, facts: &KeyAttributes) -> Result<bool, String> {
        if *self.known.of(key) == *facts {
            return Ok(false);
        }
        self.known.forget(key);
        for (name, value) in facts {
            self.known.set(key.clone(), name.clone(), value).map_err(|error| error.to_string())?;
        }
        Ok(true)
    }

    /// The facts of a record, in the types that are declared.
    fn read(&self, key: &Key, value: &[u8]) -> Result<Arc<KeyAttributes>, String> {
        if value.len() > ATTRIBUTE_RECORD_BYTES_MAX {
            return Err(format!("it has {} bytes; the limit is {ATTRIBUTE_RECORD_BYTES_MAX}", value.len()));
        }
        let object: Map<String, Json> =
            serde_json::from_slice(value).map_err(|error| format!("it is no JSON object: {error}"))?;
        let types = self.under.types();
        let mut read = types.iter().fold(Attributes::new(), |read, (name, element)| {
            if object.contains_key(name.as_str()) { read.declare(name.clone(), *element) } else { read }
        });
        for (name, value) in &object {
            if !types.contains_key(name.as_str()) {
                let known = types.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let name = name.chars().take(200).collect::<String>();
                return Err(format!("`{}` is not declared; the attributes are {known}", name.escape_debug()));
            }
            if value.is_null() {
                continue;
            }
            let value = value_of_json(value).ok_or_else(|| format!("`{name}` is no number, text, true or false"))?;
            read.set(key.clone(), name.as_str(), &value).map_err(|error| error.to_string())?;
        }
        Ok(read.of(key))
    }
}

#[cfg(test)]
mod tests {
    use gristmill::words::{ElementType, Value};

    use super::*;

    fn facts() -> Facts {
        let mut under = Attributes::new().declare("rating", ElementType::F64).declare("site", ElementType::Str);
        under.set("P1", "rating", &Value::F64(1.0)).expect("declared");
        under.set("P1", "site", &Value::Str("file".into())).expect("declared");
        Facts::over(under, 2)
    }

    fn said(facts: &Facts, key: &str) -> String {
        format!(
            "{:?}",
            facts.known().of(&key.into()).iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        )
    }

    #[test]
    fn a_record_is_all_that_is_known_and_a_tombstone_shows_what_lies_under() {
        let mut facts = facts();
        let take = |facts: &mut Facts, at, value| facts.take(0, at, Some(b"P1"), value);
        assert_eq!(take(&mut facts, 0, Some(b"{\"rating\": 5}")), Ok(true));
        assert_eq!(said(&facts, "P1"), "[\"rating=5\"]");
        assert_eq!(take(&mut facts, 1, Some(b"{\"rating\": 5.0, \"site\": null}")), Ok(false));
        assert_eq!(take(&mut facts, 2, Some(b"{}")), Ok(true));
        assert_eq!(said(&facts, "P1"), "[]");
        assert_eq!(take(&mut facts, 3, None), Ok(true));
        assert_eq!(said(&facts, "P1"), "[\"rating=1\", \"site=file\"]");
        assert_eq!((take(&mut facts, 7, None), facts.keys(), facts.position()), (Ok(false), 0, "0:8".to_owned()));
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_what_was_known_stands() {
        let mut facts = facts();
        facts.take(0, 0, Some(b"P2"), Some(b"{\"rating\": 5}")).expect("a record");
        let long = [b"{\"site\": \"".to_vec(), vec![b'x'; ATTRIBUTE_RECORD_BYTES_MAX], b"\"}".to_vec()].concat();
        type Case<'a> = (Option<&'a [u8]>, &'a [u8], &'a str);
        let cases: [Case<'_>; 9] = [
            (None, b"{}", "no key"),
            (Some(b"\xff"), b"{}", "no text"),
            (Some(b"a b"), b"{}", "a b"),
            (Some(b"P2"), b"{", "no JSON object"),
            (Some(b"P2"), b"5", "no JSON object"),
            (Some(b"P2"), b"{\"rating\": \"much\"}", "f64"),
            (Some(b"P2"), b"{\"rating\": [1]}", "no number"),
            (Some(b"P2"), b"{\"height\": 1}", "`height` is not declared"),
            (Some(b"P2"), &long, "65536"),
        ];
        for (key, value, word) in cases {
            let refused = facts.take(0, 1, key, Some(value)).expect_err(word);
            assert!(refused.contains(word), "{word}: {refused}");
        }
        assert_eq!((facts.records, facts.refused, said(&facts, "P2")), (10, 9, "[\"rating=5\"]".to_owned()));
        assert!(facts.take(1, 0, Some(b"P2"), Some(b"{}")).expect_err("elsewhere").contains("partition 0"));
        facts.take(0, 2, Some(b"P3"), Some(b"{}")).expect("the second key");
        assert!(facts.take(0, 3, Some(b"P4"), Some(b"{}")).expect_err("the third").contains("keys_max"));
        facts.take(0, 4, Some(b"P2"), None).expect("a tombstone");
        assert_eq!(facts.take(0, 5, Some(b"P4"), Some(b"{\"rating\": 2}")), Ok(true));
        assert_eq!(facts.anew().known(), &super::tests::facts().known);
    }
}
