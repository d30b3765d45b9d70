//! A whole topology as a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::artifact::{Place, inside};
use super::error::{ManifestErrors, Problems, Refusal};
use super::fields::{Fields, wrong};
use super::node::NodeManifest;
use super::text::{self, Syntax, read_text};
use super::tree::{Kind, Tree, shorten};
use super::{make, words};
use crate::topology::attribute_file::{Column, read_attributes, read_types};
use crate::topology::attributes::Attributes;
use crate::topology::graph::Topology;
use crate::topology::registry::{Registry, suggest};
use crate::topology::selector::Selector;
use crate::words::{Binding, Class};

/// A topology as a file has it, with what the file says of sources and sinks, which is for those who bind them.
#[derive(Clone, Debug)]
pub struct TopologyFile {
    read: Read,
    file: String,
    folder: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct Read {
    class: Class,
    attributes: Option<(String, usize)>,
    topic: Option<Topic>,
    nodes: Vec<NodeManifest>,
    source: Option<serde_json::Value>,
    limits: Option<serde_json::Value>,
    sinks: BTreeMap<Binding, serde_json::Value>,
}

/// A topic of attributes: what it brings, and all that is said of it.
#[derive(Clone, Debug)]
struct Topic {
    types: Vec<Column>,
    line: usize,
    table: serde_json::Value,
}

impl PartialEq for TopologyFile {
    /// Whether both say the same, wherever they came from.
    fn eq(&self, other: &Self) -> bool {
        let content = |read: &Read| {
            let attributes = read.attributes.as_ref().map(|(path, _)| path.clone());
            let topic = read.topic.as_ref().map(|topic| topic.table.clone());
            (read.class.clone(), attributes, topic, read.source.clone(), read.limits.clone(), read.sinks.clone())
        };
        content(&self.read) == content(&other.read) && self.read.nodes == other.read.nodes
    }
}

impl TopologyFile {
    /// Reads a file, `.toml` or `.json`.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ManifestErrors> {
        let path = path.as_ref();
        let (text, syntax, problems) = read_text(path)?;
        let mut file = Self::parse(&text, syntax, problems)?;
        file.folder = path.parent().map(Path::to_owned);
        Ok(file)
    }

    /// Reads TOML that came from elsewhere than a file; it can name neither artifacts nor a file of attributes.
    ///
    /// # Errors
    /// As [`TopologyFile::read`].
    pub fn from_toml(text: &str) -> Result<Self, ManifestErrors> {
        Self::parse(text, Syntax::Toml, Problems::of("topology"))
    }

    /// Reads JSON, else as [`TopologyFile::from_toml`].
    ///
    /// # Errors
    /// As [`TopologyFile::read`].
    pub fn from_json(text: &str) -> Result<Self, ManifestErrors> {
        Self::parse(text, Syntax::Json, Problems::of("topology"))
    }

    fn parse(text: &str, syntax: Syntax, mut problems: Problems) -> Result<Self, ManifestErrors> {
        let file = problems.file().to_owned();
        let read = text::parse(text, syntax, &mut problems, topology);
        Ok(Self { read: problems.finish_read(read)?, file, folder: None })
    }

    /// The class that it is for.
    pub fn class(&self) -> &Class {
        &self.read.class
    }

    /// What it says of its nodes.
    pub fn declared(&self) -> &[NodeManifest] {
        &self.read.nodes
    }

    /// Its `[source]` table.
    pub fn source(&self) -> Option<&serde_json::Value> {
        self.read.source.as_ref()
    }

    /// Its `[attributes_topic]` table; the types in it are those of the topology already.
    pub fn attributes_topic(&self) -> Option<&serde_json::Value> {
        self.read.topic.as_ref().map(|topic| &topic.table)
    }

    /// Its `[limits]` table.
    pub fn limits(&self) -> Option<&serde_json::Value> {
        self.read.limits.as_ref()
    }

    /// Its `[sink.NAME]` tables, by the name of the binding.
    pub fn sinks(&self) -> &BTreeMap<Binding, serde_json::Value> {
        &self.read.sinks
    }

    /// The folder of the file it was read from, where its artifacts and attributes are.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Makes the topology: operators by `registry`, artifacts and attributes from files in its folder.
    ///
    /// # Errors
    /// With everything that does not fit.
    pub fn topology(&self, registry: &Registry) -> Result<Topology, ManifestErrors> {
        let mut problems = Problems::of(self.file.as_str());
        let attributes = self.attributes(&mut problems).map(|known| self.declared_by_topic(known, &mut problems));
        let mut declared = self.read.nodes.clone();
        if let Some(attributes) = &attributes {
            declared.iter_mut().for_each(|node| cast_selector(node, attributes, &mut problems));
        }
        let nodes =
            make::nodes(&declared, registry, self.folder().map_or(Place::Nowhere, Place::Folder), &mut problems);
        let topology = Topology::new(self.read.class.clone()).with_all(nodes);
        problems.finish(topology.attributes(attributes.unwrap_or_default()))
    }

    /// With the attributes that a topic brings.
    fn declared_by_topic(&self, mut known: Attributes, problems: &mut Problems) -> Attributes {
        let Some(topic) = &self.read.topic else { return known };
        for (name, element) in &topic.types {
            match known.types().get(name).filter(|before| *before != element) {
                Some(before) => {
                    let problem = format!("`{name}` is {element} here and {before} in the file of attributes");
                    let refusal = Refusal::new(problem, "write one type in both");
                    problems.add(topic.line, format!("attributes_topic.types.{name}"), refusal);
                }
                None => known = known.declare(name.clone(), *element),
            }
        }
        known
    }

    /// The attributes of the keys; `None` where they could not be read, which is reported.
    fn attributes(&self, problems: &mut Problems) -> Option<Attributes> {
        let Some((path, line)) = &self.read.attributes else { return Some(Attributes::new()) };
        let Some(folder) = self.folder() else {
            let problem = format!("the file `{}` is named, but this topology has no folder", shorten(path));
            problems.add(*line, "attributes", Refusal::new(problem, "read the topology from a file"));
            return None;
        };
        let file = inside(folder, path).map_err(|refusal| problems.add(*line, "attributes", refusal)).ok()?;
        match read_attributes(file) {
            Ok(attributes) => Some(attributes),
            Err(errors) => {
                for error in errors.errors {
                    // The place is in the other file.
                    let at = error.line.map_or_else(String::new, |line| format!(":{line}"));
                    let refusal = Refusal::new(error.problem, error.advice);
                    let place = if error.place.is_empty() { String::new() } else { format!(": {}", error.place) };
                    problems.add(*line, format!("{path}{at}{place}"), refusal);
                }
                None
            }
        }
    }
}

/// Gives the value in a selector the type of its attribute.
fn cast_selector(node: &mut NodeManifest, attributes: &Attributes, problems: &mut Problems) {
    let Selector::Attribute { name, value } = &mut node.keys else { return };
    let refusal = match attributes.types().get(name) {
        None => {
            let known: Vec<_> = attributes.types().keys().map(|name| &**name).collect();
            Refusal::new(format!("there is no attribute `{name}`"), suggest(name, &known, "attribute"))
        }
        Some(element) => match value.cast(*element) {
            Some(cast) => return *value = cast,
            None => {
                let problem = format!("the attribute `{name}` is {element}, not `{value}`");
                Refusal::new(problem, format!("write a value of {element}"))
            }
        },
    };
    problems.add(node.lines.of("keys"), node.place("keys"), refusal);
}

/// Fields of manifests, for those who write them into a topology file.
const OF_MANIFESTS: [(&str, &str); 2] = [
    ("topology", "a topology file says `class`; a file with `topology` is a manifest"),
    ("nodes", "write each node as [[node]]"),
];

fn topology(tree: &Tree, partial: bool, problems: &mut Problems) -> Option<Read> {
    let mut fields = Fields::of(tree, "", problems)?.with_elsewhere(&OF_MANIFESTS);
    let class = text::class(&mut fields, "class", partial, problems);
    let line = fields.entry("attributes").map_or(0, |entry| entry.line);
    let attributes = fields.text("attributes", problems).map(|path| (path.to_owned(), line));
    let topic = fields.take("attributes_topic").and_then(|tree| topic(tree, problems));
    let nodes = match fields.take("node") {
        Some(list) => text::nodes(list, "node", partial, problems),
        None => Vec::new(),
    };
    let source = fields.take("source").and_then(|tree| opaque(tree, "source", problems));
    let limits = fields.take("limits").and_then(|tree| opaque(tree, "limits", problems));
    let mut sinks = BTreeMap::new();
    if let Some(tree) = fields.take("sink") {
        let Kind::Table(entries) = &tree.kind else {
            return wrong(tree, "sink", "a table for each sink: [sink.predictions]", problems);
        };
        for entry in entries {
            let place = format!("sink.{}", shorten(&entry.name));
            match words::named("sink", &entry.name) {
                Ok(name) => {
                    sinks.extend(opaque(&entry.value, &place, problems).map(|value| (Binding::from(name), value)))
                }
                Err(refusal) => problems.add(entry.line, place, refusal),
            }
        }
    }
    fields.finish(problems);
    Some(Read { class: class?, attributes, topic, nodes, source, limits, sinks })
}

/// A topic of attributes. Only its types are for us: keys are selected by them.
fn topic(tree: &Tree, problems: &mut Problems) -> Option<Topic> {
    let table = opaque(tree, "attributes_topic", problems)?;
    let Kind::Table(entries) = &tree.kind else { return None };
    let types = entries.iter().find(|entry| entry.name == "types").map(|entry| &entry.value);
    Some(Topic { types: read_types(types, "attributes_topic.types", problems), line: tree.line, table })
}

/// A table that is for somebody else to read.
fn opaque(tree: &Tree, place: &str, problems: &mut Problems) -> Option<serde_json::Value> {
    if !matches!(tree.kind, Kind::Table(_)) {
        return wrong(tree, place, "a table", problems);
    }
    let no_number = Refusal::new("has a number that is not finite", "write a finite number");
    tree.to_json().map_err(|line| problems.add(line, place, no_number)).ok()
}
