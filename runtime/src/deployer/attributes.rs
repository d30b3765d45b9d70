//! Facts about keys that are deployed: they lie over those that the host starts with, as nodes do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::change::Refusal;
use crate::registry::RegistryFolder;
use crate::topology::Attributes;
use crate::topology::attributes::{FACTS_MAX, value_of_json};
use crate::traits::Digest;
use crate::words::id::check_name;
use crate::words::{ElementType, Key, StreamName, Value};

/// Facts about keys, to be laid over others.
///
/// ```
/// use gristmill::deployer::AttributeChange;
/// let text = r#"{ "types": { "rating": "f64" }, "keys": { "P101": { "rating": 5.5, "site": null } } }"#;
/// let change: AttributeChange = serde_json::from_str(text)?;
/// assert_eq!(change.keys["P101"].len(), 2);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttributeChange {
    /// The types of attributes that are new: `f32`, `f64`, `i64`, `bool` or `str`.
    pub types: BTreeMap<StreamName, String>,
    /// By key and attribute; null takes a fact away.
    pub keys: BTreeMap<Key, BTreeMap<StreamName, Json>>,
}

impl AttributeChange {
    /// Those that a folder keeps under a hash; none without one.
    pub(super) fn load(folder: &RegistryFolder, digest: Option<Digest>) -> Result<Self, Refusal> {
        let Some(digest) = digest else { return Ok(Self::default()) };
        let read = serde_json::from_slice(&folder.load(digest)?);
        read.map_err(|error| Refusal::new("registry", format!("the facts about keys in {digest}: {error}")))
    }

    /// As a folder keeps them.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Refusal> {
        serde_json::to_vec(self).map_err(|error| Refusal::new("bad-attribute", error.to_string()))
    }

    /// Lays further changes on top.
    pub(super) fn merge(&mut self, later: &Self) -> Result<(), Refusal> {
        for (name, element) in &later.types {
            let before = self.types.insert(name.clone(), element.clone());
            if let Some(before) = before.filter(|before| before != element) {
                let reason = format!("`{name}` is {before} already, and cannot become {element}");
                return Err(Refusal::new("bad-attribute", reason));
            }
        }
        for (key, facts) in &later.keys {
            self.keys.entry(key.clone()).or_default().extend(facts.clone());
        }
        Ok(())
    }

    /// The host's attributes with this on top.
    pub(super) fn over(&self, host: &Attributes) -> Result<Attributes, Refusal> {
        if *self == Self::default() {
            return Ok(host.clone());
        }
        let refuse = |reason: String| Refusal::new("bad-attribute", reason);
        let count: usize = self.keys.values().map(BTreeMap::len).sum();
        if count > FACTS_MAX {
            return Err(refuse(format!("{count} facts about keys; the limit is {FACTS_MAX}")));
        }
        let mut types = host.types().clone();
        for (name, element) in &self.types {
            check_name("attribute", name).map_err(|error| refuse(error.to_string()))?;
            let read = element.parse::<ElementType>().ok().filter(|read| !matches!(read, ElementType::Vector(_)));
            let read = read.ok_or_else(|| {
                refuse(format!("`{name}` is of no type that attributes have; write f32, f64, i64, bool or str"))
            })?;
            if let Some(before) = types.insert(name.clone(), read).filter(|before| *before != read) {
                return Err(refuse(format!("`{name}` is {before} already, and cannot become {read}")));
            }
        }
        let declared = types.into_iter().fold(Attributes::new(), |known, (name, element)| known.declare(name, element));
        let mut attributes = declared;
        let mut set = |key: &Key, name: &StreamName, value: &Value| {
            attributes.set(key.clone(), name.clone(), value).map_err(|error| refuse(error.to_string()))
        };
        for key in host.keys() {
            let over = self.keys.get(key);
            for (name, value) in
                host.of(key).iter().filter(|(name, _)| over.is_none_or(|over| !over.contains_key(*name)))
            {
                set(key, name, value)?;
            }
        }
        for (key, facts) in &self.keys {
            check_name("key", key).map_err(|error| refuse(error.to_string()))?;
            for (name, value) in facts.iter().filter(|(_, value)| !value.is_null()) {
                let wrong = || refuse(format!("`{name}` of key `{key}` is no number, text, true or false"));
                set(key, name, &value_of_json(value).ok_or_else(wrong)?)?;
            }
        }
        Ok(attributes)
    }
}
