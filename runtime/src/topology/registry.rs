//! What manifests can name: operators and model formats.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::node::Work;
use super::shared::Shared;
use crate::traits::Format;
use crate::words::ElementType;

/// Makes an operator from its parameters in a manifest and the types of the node's needs and provides; or says, for
/// the person who wrote the manifest, what is wrong with them.
pub type Factory =
    Arc<dyn Fn(&serde_json::Value, &[ElementType], &[ElementType]) -> Result<Work, String> + Send + Sync>;

/// Operators and model formats by the names that manifests call them.
///
/// Models of equal content that were loaded by it or a clone are one in memory, as long as some node or kept revision
/// uses them: a host that reads files and deploys hands the same registry to both.
#[derive(Clone, Default)]
pub struct Registry {
    operators: BTreeMap<String, Factory>,
    formats: BTreeMap<String, Arc<dyn Format>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("operators", &self.operators.keys())
            .field("formats", &self.formats.keys())
            .finish()
    }
}

/// Nothing is registered under a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {kind} `{name}`; {advice}")]
pub struct Unregistered {
    /// `operator` or `model format`.
    pub kind: &'static str,
    /// The name that was asked for.
    pub name: String,
    /// The nearest name, or all of them.
    pub advice: String,
}

impl Registry {
    /// Nothing registered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers an operator; whatever had the name before is replaced.
    pub fn register(
        &mut self,
        name: impl Into<String>,
        factory: impl Fn(&serde_json::Value, &[ElementType], &[ElementType]) -> Result<Work, String> + Send + Sync + 'static,
    ) -> &mut Self {
        self.operators.insert(name.into(), Arc::new(factory));
        self
    }

    /// Registers a model format under its own name; whatever had the name before is replaced.
    pub fn register_format(&mut self, format: impl Format) -> &mut Self {
        self.formats.insert(format.name().to_owned(), Arc::new(Shared::of(format)));
        self
    }

    /// What makes the operator of that name.
    ///
    /// # Errors
    /// With the nearest name when there is none.
    pub fn operator(&self, name: &str) -> Result<&Factory, Unregistered> {
        self.operators.get(name).ok_or_else(|| unregistered("operator", name, self.operators()))
    }

    /// The model format of that name.
    ///
    /// # Errors
    /// With the nearest name when there is none.
    pub fn format(&self, name: &str) -> Result<&Arc<dyn Format>, Unregistered> {
        self.formats.get(name).ok_or_else(|| unregistered("model format", name, self.formats()))
    }

    /// The names of the operators, sorted.
    pub fn operators(&self) -> impl Iterator<Item = &str> {
        self.operators.keys().map(String::as_str)
    }

    /// The names of the model formats, sorted.
    pub fn formats(&self) -> impl Iterator<Item = &str> {
        self.formats.keys().map(String::as_str)
    }
}

fn unregistered<'n>(kind: &'static str, name: &str, known: impl Iterator<Item = &'n str>) -> Unregistered {
    let known: Vec<_> = known.collect();
    Unregistered { kind, name: name.escape_debug().to_string(), advice: suggest(name, &known, kind) }
}

/// Most names that an advice lists.
const NAMES_LISTED_MAX: usize = 12;

/// An advice for a name that is not among `known`: the nearest of them, else all, else that there are none.
pub(super) fn suggest(name: &str, known: &[&str], kind: &str) -> String {
    if let Some(nearest) = nearest(name, known.iter().copied()) {
        return format!("did you mean `{nearest}`?");
    }
    let listed: Vec<_> = known.iter().take(NAMES_LISTED_MAX).map(|name| format!("`{name}`")).collect();
    match known.len().checked_sub(listed.len()) {
        _ if known.is_empty() => format!("none is there: register the {kind} first"),
        Some(0) | None => format!("there is {}", listed.join(", ")),
        Some(more) => format!("there is {} and {more} more", listed.join(", ")),
    }
}

/// Names longer than this are not compared: the comparison takes the product of both lengths.
const COMPARED_BYTES_MAX: usize = 200;

/// The name that `name` was probably meant to be: at most a third of it is different.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if name.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let most = name.chars().count().div_ceil(3);
    known
        .filter(|other| other.len() <= COMPARED_BYTES_MAX)
        .map(|other| (distance(name, other), other))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// How many characters must be put in, taken out or changed to get from one text to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, character) in from.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(character != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let known = ["rolling", "expr", "window"];
        for (name, expected) in [
            ("roling", Some("rolling")),
            ("Rolling", Some("rolling")),
            ("expression", None),
            ("winow", Some("window")),
            ("", None),
        ] {
            assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(COMPARED_BYTES_MAX + 1), known.into_iter()), None);
    }

    #[test]
    fn what_is_not_registered_is_named_with_what_is() {
        let mut registry = Registry::new();
        let error = registry.operator("rolling").err().expect("nothing is registered");
        assert_eq!(error.to_string(), "there is no operator `rolling`; none is there: register the operator first");
        registry.register("rolling", |_, _, _| Err("never made".to_owned()));
        let error = registry.operator("roling").err().expect("it is called rolling");
        assert_eq!(error.to_string(), "there is no operator `roling`; did you mean `rolling`?");
        let error = registry.clone().operator("kalman").err().expect("only rolling is registered");
        assert_eq!(error.to_string(), "there is no operator `kalman`; there is `rolling`");
        assert!(registry.operator("rolling").is_ok());
    }
}
