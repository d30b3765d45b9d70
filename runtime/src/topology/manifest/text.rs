//! From files to what they say.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::error::{ManifestErrors, Problems, Refusal};
use super::fields::{Fields, wrong};
use super::node::NodeManifest;
use super::read;
use super::tree::{self, Kind, Tree};
use crate::words::{Class, NodeId};

/// The largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most nodes of one file.
pub const NODES_MAX: usize = 100_000;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::topology) enum Syntax {
    Toml,
    Json,
    Csv,
}

/// The text of a file and how it is written, by the end of its name.
pub(in crate::topology) fn read_text(path: &Path) -> Result<(String, Syntax, Problems), ManifestErrors> {
    let mut problems = Problems::of_path(path);
    let syntax = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Ok(Syntax::Toml),
        Some("json") => Ok(Syntax::Json),
        Some("csv") => Ok(Syntax::Csv),
        _ => Err(Refusal::new("the name of the file does not say how it is written", "call it .toml, .json or .csv")),
    };
    let bytes = read_bytes(path);
    match (syntax, bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|error| not_utf8(&error)))) {
        (Ok(syntax), Ok(text)) => Ok((text, syntax, problems)),
        (syntax, text) => {
            syntax.err().into_iter().for_each(|refusal| problems.add(0, "", refusal));
            text.err().into_iter().for_each(|refusal| problems.add(0, "", refusal));
            Err(problems.into_errors())
        }
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Refusal> {
    let unreadable =
        |error: std::io::Error| Refusal::new(format!("cannot be read: {error}"), "check its path and rights");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Refusal::new("is not a file", "name the file itself"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn not_utf8(error: &std::string::FromUtf8Error) -> Refusal {
    let at = error.utf8_error().valid_up_to();
    let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    Refusal::new(format!("is not UTF-8 in line {line}"), "save it as UTF-8")
}

/// Reads a text by `reader`, which is told whether a syntax error may have hidden fields.
pub(in crate::topology) fn parse<T>(
    text: &str,
    syntax: Syntax,
    problems: &mut Problems,
    reader: impl FnOnce(&Tree, bool, &mut Problems) -> Option<T>,
) -> Option<T> {
    if text.len() > FILE_BYTES_MAX {
        let problem = format!("has {} bytes or more; the limit is {FILE_BYTES_MAX}", text.len());
        problems.add(0, "", Refusal::new(problem, "split it"));
        return None;
    }
    let tree = match syntax {
        Syntax::Toml => tree::from_toml(text, problems),
        Syntax::Json => tree::from_json(text, problems)?,
        Syntax::Csv => {
            problems.add(0, "", Refusal::new("is CSV", "write it as TOML or JSON"));
            return None;
        }
    };
    let broken = problems.lines();
    if broken.is_empty() {
        return reader(&tree, false, problems);
    }
    // What follows from a line that could not be read is no news.
    let mut more = Problems::of(problems.file());
    reader(&tree, true, &mut more);
    more.retain(|error| error.line.is_some_and(|line| !broken.contains(&line)));
    problems.extend(more);
    None
}

/// Fields of topology files, for those who write them into a manifest.
const OF_TOPOLOGIES: [(&str, &str); 4] = [
    ("class", "a manifest says `topology`; a file with `class` is a topology file"),
    ("attributes", "it belongs into the topology file"),
    ("source", "it belongs into the topology file"),
    ("nodes", "write each node as [[node]]"),
];

/// A manifest: a node and its topology, or a list of nodes.
pub(super) fn manifest(tree: &Tree, partial: bool, problems: &mut Problems) -> Option<(Class, Vec<NodeManifest>)> {
    let mut fields = Fields::of(tree, "", problems)?.with_elsewhere(&OF_TOPOLOGIES);
    let topology = class(&mut fields, "topology", partial, problems);
    let nodes = match fields.take("node") {
        Some(list) => nodes(list, "node", partial, problems),
        None => read::node(&mut fields, partial, problems).into_iter().collect(),
    };
    fields.finish(problems);
    Some((topology?, nodes))
}

/// The class that a file is for.
pub(super) fn class(
    fields: &mut Fields<'_>,
    field: &'static str,
    partial: bool,
    problems: &mut Problems,
) -> Option<Class> {
    if fields.entry(field).is_none() && !partial {
        let problem = format!("there is no `{field}`");
        problems.add(0, "", Refusal::new(problem, format!("write {field} = \"pump\", the class of keys it is for")));
    }
    fields.name(field, "class", problems).map(Class::from)
}

/// Fields of manifests, for those who write them into a node of a list.
const OF_MANIFESTS: [(&str, &str); 2] =
    [("topology", "it stands once, before the nodes"), ("class", "it stands once, before the nodes")];

/// A list of nodes.
pub(super) fn nodes(list: &Tree, place: &str, partial: bool, problems: &mut Problems) -> Vec<NodeManifest> {
    let Kind::List(items) = &list.kind else {
        return wrong(list, place, "a list of tables: [[node]] in TOML, \"node\": […] in JSON", problems)
            .unwrap_or_default();
    };
    if items.len() > NODES_MAX {
        let problem = format!("has {} nodes; the limit is {NODES_MAX}", items.len());
        problems.add(list.line, place, Refusal::new(problem, "split the file"));
        return Vec::new();
    }
    let mut nodes: Vec<NodeManifest> = Vec::with_capacity(items.len());
    let mut names: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let Some(mut fields) = Fields::of(item, format!("{place}[{index}]"), problems) else { continue };
        let node = read::node(&mut fields, partial, problems);
        fields.with_elsewhere(&OF_MANIFESTS).finish(problems);
        let Some(node) = node else { continue };
        if let Some(first) = names.insert(node.name(), node.lines.node) {
            let problem = format!("the node `{}` stands in line {first} already", node.name());
            let advice = "give it another `id`, or other `keys`";
            problems.add(node.lines.node, "", Refusal::new(problem, advice));
        }
        nodes.push(node);
    }
    nodes
}
