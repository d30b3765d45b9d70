//! Attributes: typed facts about keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::words::{ElementType, Key, StreamName, Value};

/// The attributes of one key, by name.
pub type KeyAttributes = BTreeMap<StreamName, Value>;

/// The attributes of a class: their types, and the values that are known, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    types: BTreeMap<StreamName, ElementType>,
    values: BTreeMap<Key, Arc<KeyAttributes>>,
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
        Arc::make_mut(self.values.entry(key).or_default()).insert(name, cast);
        Ok(())
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
        self.values.keys()
    }
}
