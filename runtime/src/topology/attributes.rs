//! Attributes: typed facts about keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use immutable_chunkmap::map::MapM;

use crate::words::{ElementType, Key, StreamName, Value};

/// Most facts that are set while it runs, over those that the host has.
pub const FACTS_MAX: usize = 1_000_000;

/// The attributes of one key, by name.
pub type KeyAttributes = BTreeMap<StreamName, Value>;

/// The attributes of a class: their types, and the values that are known, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    types: BTreeMap<StreamName, ElementType>,
    /// Copies share what they have in common: each revision that is kept has one.
    values: MapM<Key, Arc<KeyAttributes>>,
}

/// A value was not of its attribute's type.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// The attribute was not declared.
    #[error("key `{key}` has an attribute `{name}` that is not declared; the attributes are {known}")]
    Unknown {
        /// The key.
        key: Key,
        /// The attribute.
        name: StreamName,
        /// What is declared.
        known: String,
    },
    /// The value is of another type.
    #[error("attribute `{name}` of key `{key}` is {element}, not `{value}`")]
    Type {
        /// The key.
        key: Key,
        /// The attribute.
        name: StreamName,
        /// Its type.
        element: ElementType,
        /// The value.
        value: Value,
    },
}

impl Attributes {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares an attribute.
    #[must_use]
    pub fn declare(mut self, name: impl Into<StreamName>, element: ElementType) -> Self {
        self.types.insert(name.into(), element);
        self
    }

    /// Sets the attribute of a key; numbers are cast to the declared type where nothing is lost.
    ///
    /// # Errors
    /// When it is not declared or of another type.
    pub fn set(
        &mut self,
        key: impl Into<Key>,
        name: impl Into<StreamName>,
        value: &Value,
    ) -> Result<(), AttributeError> {
        let (key, name) = (key.into(), name.into());
        // All keys share one name, so that looking it up touches no memory of a key's own.
        let Some((name, element)) = self.types.get_key_value(&name).map(|(name, element)| (name.clone(), *element))
        else {
            let known = self.types.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(AttributeError::Unknown { key, name, known });
        };
        let Some(cast) = value.cast(element) else {
            return Err(AttributeError::Type { key, name, element, value: value.clone() });
        };
        let mut facts = self.values.remove_cow(&key).unwrap_or_default();
        Arc::make_mut(&mut facts).insert(name, cast);
        self.values.insert_cow(key, facts);
        Ok(())
    }

    /// Takes away an attribute of a key.
    pub(crate) fn unset(&mut self, key: &Key, name: &StreamName) {
        if self.values.get(key).is_some_and(|facts| facts.contains_key(name)) {
            let mut facts = self.values.remove_cow(key).unwrap_or_default();
            Arc::make_mut(&mut facts).remove(name);
            self.put(key, facts);
        }
    }

    /// Replaces all that is known of a key; the values are of the declared types.
    pub(crate) fn put(&mut self, key: &Key, facts: Arc<KeyAttributes>) {
        if facts.is_empty() {
            self.forget(key);
        } else {
            self.values.insert_cow(key.clone(), facts);
        }
    }

    /// The keys of which something else is known here than there.
    pub(crate) fn keys_that_differ(&self, other: &Self) -> BTreeSet<Key> {
        let differs = |one: &Self, key: &Key, facts: &Arc<KeyAttributes>| {
            one.values.get(key).is_none_or(|other| !Arc::ptr_eq(facts, other) && facts != other)
        };
        let here = (&self.values).into_iter().filter(|(key, facts)| differs(other, key, facts));
        let there = (&other.values).into_iter().filter(|(key, _)| self.values.get(*key).is_none());
        here.chain(there).map(|(key, _)| key.clone()).collect()
    }

    /// Takes away all that is known of a key.
    pub fn forget(&mut self, key: &Key) {
        self.values.remove_cow(key);
    }

    /// The declared types.
    pub fn types(&self) -> &BTreeMap<StreamName, ElementType> {
        &self.types
    }

    /// The attributes of a key; empty when none is known.
    pub fn of(&self, key: &Key) -> Arc<KeyAttributes> {
        self.values.get(key).cloned().unwrap_or_default()
    }

    /// The keys that have attributes.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        (&self.values).into_iter().map(|(key, _)| key)
    }
}

/// The value of an attribute as JSON has it: a number, a text, true or false; `None` for anything else.
pub fn value_of_json(value: &serde_json::Value) -> Option<Value> {
    use serde_json::Value as Json;
    match value {
        Json::Bool(value) => Some(Value::Bool(*value)),
        Json::Number(number) => number.as_i64().map(Value::I64).or_else(|| Some(Value::F64(number.as_f64()?))),
        Json::String(text) => Some(Value::Str(text.as_str().into())),
        _ => None,
    }
}
