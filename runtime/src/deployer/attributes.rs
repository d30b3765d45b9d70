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
use crate::words::{ElementType, Key, StreamName};

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

    /// Lays further changes on top. Null takes away what was deployed before, and hides what the host knows, if it does.
    pub(super) fn merge(&mut self, later: &Self, host: &Attributes) -> Result<(), Refusal> {
        for (name, element) in &later.types {
            let before = self.types.insert(name.clone(), element.clone());
            if let Some(before) = before.filter(|before| before != element) {
                let reason = format!("`{name}` is {before} already, and cannot become {element}");
                return Err(Refusal::new("bad-attribute", reason));
            }
        }
        for (key, facts) in &later.keys {
            let (of_host, of_key) = (host.of(key), self.keys.entry(key.clone()).or_default());
            for (name, value) in facts {
                if value.is_null() && !of_host.contains_key(name) {
                    of_key.remove(name);
                } else {
                    of_key.insert(name.clone(), value.clone());
                }
            }
            if of_key.is_empty() {
                self.keys.remove(key);
            }
        }
        Ok(())
    }

    /// The host's attributes with this on top.
    pub(super) fn over(&self, host: &Attributes) -> Result<Attributes, Refusal> {
        self.over_keys(self.keys.keys(), host, host)
    }

    /// The same for a host that knew something else before: what is `known` so far, but for the keys that differ.
    pub(super) fn over_changed(
        &self,
        host: &Attributes,
        before: &Attributes,
        known: &Attributes,
    ) -> Result<Attributes, Refusal> {
        if *self == Self::default() || host.types() != before.types() {
            return self.over(host);
        }
        self.over_keys(host.keys_that_differ(before).iter(), host, known)
    }

    /// The host's attributes with this on top: what is `known` so far, but for these keys. All else is shared with it, as a
    /// hundred revisions of many keys are kept.
    pub(super) fn over_keys<'k>(
        &self,
        keys: impl Iterator<Item = &'k Key>,
        host: &Attributes,
        known: &Attributes,
    ) -> Result<Attributes, Refusal> {
        let count: usize = self.keys.values().map(BTreeMap::len).sum();
        if count > FACTS_MAX {
            return Err(bad(format!("{count} facts about keys; the limit is {FACTS_MAX}")));
        }
        let mut attributes = self
            .types_over(host)?
            .into_iter()
            .fold(known.clone(), |known, (name, element)| known.declare(name, element));
        for key in keys {
            attributes.put(key, host.of(key));
            for (name, value) in self.keys.get(key).into_iter().flatten() {
                check_name("key", key).map_err(|error| bad(error.to_string()))?;
                if value.is_null() {
                    attributes.unset(key, name);
                    continue;
                }
                let wrong = || bad(format!("`{name}` of key `{key}` is no number, text, true or false"));
                let value = value_of_json(value).ok_or_else(wrong)?;
                attributes.set(key.clone(), name.clone(), &value).map_err(|error| bad(error.to_string()))?;
            }
        }
        Ok(attributes)
    }

    /// The host's types, and those that are new.
    fn types_over(&self, host: &Attributes) -> Result<BTreeMap<StreamName, ElementType>, Refusal> {
        let mut types = host.types().clone();
        for (name, element) in &self.types {
            check_name("attribute", name).map_err(|error| bad(error.to_string()))?;
            let read = element.parse::<ElementType>().ok().filter(|read| !matches!(read, ElementType::Vector(_)));
            let read = read.ok_or_else(|| {
                bad(format!("`{name}` is of no type that attributes have; write f32, f64, i64, bool or str"))
            })?;
            if let Some(before) = types.insert(name.clone(), read).filter(|before| *before != read) {
                return Err(bad(format!("`{name}` is {before} already, and cannot become {read}")));
            }
        }
        Ok(types)
    }
}

fn bad(reason: String) -> Refusal {
    Refusal::new("bad-attribute", reason)
}
