//! Nodes as files: a deployable node, or a whole topology, in TOML or JSON. `docs/manifests.md` describes every field.

mod artifact;
mod error;
mod fields;
mod make;
mod mapped;
mod node;
mod read;
mod slow;
mod text;
mod topology_file;
mod tree;
mod trial;
mod words;
mod write;

use std::path::{Path, PathBuf};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::node::Node;
use super::registry::Registry;
use crate::words::Class;

pub use artifact::{ARTIFACT_BYTES_MAX, GivenArtifacts, MEMBERS_MAX, artifact_file};
use artifact::{Place, is_named};
pub use error::{ERRORS_SHOWN_MAX, ManifestError, ManifestErrors};
pub use node::{ModelManifest, NodeManifest, OutputName, Run};
pub use read::{AS_OF_ROWS_MAX, NEEDS_MAX, PROVIDES_MAX};
pub use text::{FILE_BYTES_MAX, NODES_MAX};
pub use topology_file::TopologyFile;
pub use tree::DEPTH_MAX;
pub use trial::TRIAL_ROWS_MAX;
pub use words::SPAN_DAYS_MAX;
pub use write::Unwritable;

pub(super) use error::{Problems, Refusal};
pub(super) use fields::{Fields, text as text_of};
pub(super) use text::{Syntax, read_text};
pub(super) use tree::{Kind, Tree, from_json, shorten};
pub(super) use words::{named, typed, value};

/// A node, or several that are deployed as one, for a topology that is there already.
#[derive(Clone, Debug)]
pub struct Manifest {
    topology: Class,
    nodes: Vec<NodeManifest>,
    file: String,
    folder: Option<PathBuf>,
}

impl PartialEq for Manifest {
    /// Whether both say the same, wherever they came from.
    fn eq(&self, other: &Self) -> bool {
        self.topology == other.topology && self.nodes == other.nodes
    }
}

impl Manifest {
    /// Reads a file, `.toml` or `.json`.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ManifestErrors> {
        let path = path.as_ref();
        let (text, syntax, problems) = read_text(path)?;
        let mut manifest = Self::parse(&text, syntax, problems)?;
        manifest.folder = path.parent().map(Path::to_owned);
        Ok(manifest)
    }

    /// Reads TOML that came from elsewhere than a file.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn from_toml(text: &str) -> Result<Self, ManifestErrors> {
        Self::parse(text, Syntax::Toml, Problems::of("manifest"))
    }

    /// Reads JSON that came from elsewhere than a file.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn from_json(text: &str) -> Result<Self, ManifestErrors> {
        Self::parse(text, Syntax::Json, Problems::of("manifest"))
    }

    /// Reads JSON if the text begins with a brace, else TOML.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn from_text(text: &str) -> Result<Self, ManifestErrors> {
        // Some editors write a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with('{') { Self::from_json(text) } else { Self::from_toml(text) }
    }

    fn parse(text: &str, syntax: Syntax, mut problems: Problems) -> Result<Self, ManifestErrors> {
        let file = problems.file().to_owned();
        let read = text::parse(text, syntax, &mut problems, text::manifest);
        let (topology, nodes) = problems.finish_read(read)?;
        Ok(Self { topology, nodes, file, folder: None })
    }

    /// The topology that its nodes are for.
    pub fn topology(&self) -> &Class {
        &self.topology
    }

    /// What it says of its nodes.
    pub fn declared(&self) -> &[NodeManifest] {
        &self.nodes
    }

    /// The folder of the file it was read from, where its artifacts are.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Makes its nodes: operators by `registry`, artifacts from files in `folder`.
    ///
    /// # Errors
    /// With everything that does not fit.
    pub fn nodes(&self, registry: &Registry, folder: &Path) -> Result<Vec<Node>, ManifestErrors> {
        self.make(registry, Place::Folder(folder))
    }

    /// Makes its nodes where no artifact may be named: a manifest that a client sent must not choose files.
    ///
    /// # Errors
    /// As [`Manifest::nodes`], and when it names an artifact.
    pub fn nodes_without_artifacts(&self, registry: &Registry) -> Result<Vec<Node>, ManifestErrors> {
        self.make(registry, Place::Nowhere)
    }

    /// Makes its nodes with artifacts that came beside it: the names in the manifest are looked up among them, and are
    /// no paths.
    ///
    /// # Errors
    /// As [`Manifest::nodes`], and when it names an artifact that did not come.
    pub fn nodes_with(&self, registry: &Registry, artifacts: &GivenArtifacts<'_>) -> Result<Vec<Node>, ManifestErrors> {
        self.make(registry, Place::Given(artifacts))
    }

    /// Whether it names this artifact, by itself or as one of a family.
    pub fn names_artifact(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| match &node.run {
            Run::Model(model) => is_named(&model.path, name) || model.default.as_deref() == Some(name),
            _ => false,
        })
    }

    fn make(&self, registry: &Registry, place: Place<'_>) -> Result<Vec<Node>, ManifestErrors> {
        let mut problems = Problems::of(self.file.as_str());
        let nodes = make::nodes(&self.nodes, registry, place, &mut problems);
        problems.finish(nodes)
    }

    /// A manifest of nodes that were declared in Rust.
    ///
    /// # Errors
    /// When one of them cannot be written: see [`NodeManifest::of`].
    pub fn of<'n>(
        topology: impl Into<Class>,
        nodes: impl IntoIterator<Item = &'n Node>,
        registry: &Registry,
    ) -> Result<Self, Unwritable> {
        let nodes = nodes.into_iter().map(|node| NodeManifest::of(node, registry)).collect::<Result<_, _>>()?;
        Ok(Self { topology: topology.into(), nodes, file: "manifest".to_owned(), folder: None })
    }

    /// As JSON, on several lines.
    pub fn to_json(&self) -> String {
        // Maps with text for keys, texts and numbers: nothing that JSON could not say.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// As TOML.
    ///
    /// # Errors
    /// When an operator has a parameter that TOML cannot say, such as null.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("topology", &self.topology)?;
        match &self.nodes[..] {
            [node] => node.to_object().iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?,
            nodes => map.serialize_entry("node", nodes)?,
        }
        map.end()
    }
}
