//! The form of a change set: manifests, the artifacts that they name, and what is removed and reset.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gristmill::topology::Manifest;
use gristmill::topology::manifest::{Run, artifact_file};
use gristmill::words::NodeId;

use crate::failure::Failure;

/// Parts with their names.
#[derive(Default)]
pub(super) struct Form {
    parts: Vec<(String, Vec<u8>)>,
    /// The files of manifests, with their nodes.
    manifests: Vec<(String, Vec<NodeId>)>,
}

impl Form {
    pub(super) fn add(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.parts.push((name.to_owned(), content.into()));
    }

    /// What a server says of manifests, which have no names there, with the file that a line is about: the only one, or
    /// the only one that has the node.
    pub(super) fn with_files(&self, text: &str) -> String {
        let line = |line: &str| -> String {
            let Some(rest) = line.strip_prefix("manifest:") else { return line.to_owned() };
            let node = rest.split_once("node `").and_then(|(_, rest)| rest.split('`').next());
            let has = |nodes: &[NodeId]| node.is_some_and(|node| nodes.iter().any(|id| id.as_str() == node));
            let mut files = self.manifests.iter().filter(|(_, nodes)| self.manifests.len() == 1 || has(nodes));
            match (files.next(), files.next()) {
                (Some((file, _)), None) => format!("{file}:{rest}"),
                _ => line.to_owned(),
            }
        };
        text.split('\n').map(line).collect::<Vec<_>>().join("\n")
    }

    /// Manifests of files, with the artifacts that lie beside them. Nothing else is read: a manifest may come from
    /// somebody who wants to see other files.
    pub(super) fn add_files(&mut self, files: &[PathBuf]) -> Result<(), Failure> {
        let mut artifacts: BTreeMap<String, (PathBuf, Vec<u8>)> = BTreeMap::new();
        for file in files {
            let shown = file.display();
            let is_named = matches!(file.extension().and_then(|name| name.to_str()), Some("toml" | "json"));
            if !is_named && file.is_file() {
                let advice = "manifests are written as .toml or .json";
                return Err(Failure::refused(format!("{shown}: it is no manifest by its name; {advice}")));
            }
            let text = std::fs::read_to_string(file).map_err(|error| Failure::refused(format!("{shown}: {error}")))?;
            let manifest = Manifest::read(file).map_err(|errors| Failure::refused(errors.to_string()))?;
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            for name in named(&manifest, folder) {
                let path = artifact_file(folder, &name);
                let path = path.map_err(|error| Failure::refused(format!("{shown}: {error}")))?;
                let bytes = std::fs::read(&path).map_err(|error| {
                    Failure::refused(format!("{shown} names `{name}`, but {}: {error}", path.display()))
                })?;
                match artifacts.insert(name.clone(), (path, bytes)) {
                    Some((other, before)) if before != artifacts[&name].1 => {
                        let text = format!("two manifests call different files `{name}`: {} is one", other.display());
                        return Err(Failure::refused(format!("{text}; give one of them another name")));
                    }
                    _ => {}
                }
            }
            self.add("manifest", text);
            let nodes = manifest.declared().iter().map(|node| node.id.clone()).collect();
            self.manifests.push((shown.to_string(), nodes));
        }
        self.parts.extend(artifacts.into_iter().map(|(name, (_, bytes))| (name, bytes)));
        match self.parts.iter().find(|(name, _)| name.contains(['"', '\r', '\n', '\\'])) {
            Some((name, _)) => Err(Failure::refused(format!(
                "an artifact cannot be sent under the name `{}`; rename its file",
                name.escape_debug()
            ))),
            None => Ok(()),
        }
    }

    /// As multipart/form-data, with its content type.
    pub(super) fn encoded(&self) -> (String, Vec<u8>) {
        let is_free = |limit: &str| {
            let finder = |content: &Vec<u8>| content.windows(limit.len()).any(|window| window == limit.as_bytes());
            !self.parts.iter().any(|(_, content)| finder(content))
        };
        let limits = (0..).map(|number| format!("grist-limit-{number}"));
        let limit = limits.into_iter().find(|limit| is_free(limit)).unwrap_or_default();
        let mut body = Vec::new();
        for (name, content) in &self.parts {
            body.extend(format!("--{limit}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").into_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend(format!("--{limit}--\r\n").into_bytes());
        (format!("multipart/form-data; boundary={limit}"), body)
    }
}

/// The artifacts that a manifest names, members of families by the files that are there.
fn named(manifest: &Manifest, folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for node in manifest.declared() {
        let Run::Model(model) = &node.run else { continue };
        names.extend(model.default.clone());
        if !model.path.contains("{key}") {
            names.push(model.path.clone());
            continue;
        }
        let inside = Path::new(&model.path).parent().unwrap_or(Path::new(""));
        // A folder that cannot be read has no members, which the server says.
        let files = std::fs::read_dir(folder.join(inside)).into_iter().flatten().flatten();
        let files = files.filter_map(|file| Some(inside.join(file.file_name()).to_str()?.to_owned()));
        names.extend(files.filter(|name| manifest.names_artifact(name)));
    }
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(manifests: &[(&str, &[&str])]) -> Form {
        let nodes = |nodes: &[&str]| nodes.iter().map(|node| NodeId::from(*node)).collect();
        let manifests = manifests.iter().map(|(file, of)| ((*file).to_owned(), nodes(of))).collect();
        Form { manifests, ..Form::default() }
    }

    /// Bug: of several files what was wrong was in `manifest`. Fix: the file is found by its node.
    #[test]
    fn what_is_wrong_has_the_name_of_its_file() {
        let said = "manifest:4: node `wear`, model: no\nmanifest:9: node `load`, needs: no\n`a` is not there";
        let one = form(&[("a.toml", &["wear", "load"])]);
        let expected = "a.toml:4: node `wear`, model: no\na.toml:9: node `load`, needs: no\n`a` is not there";
        assert_eq!(one.with_files(said), expected);
        let two = form(&[("a.toml", &["wear"]), ("b.toml", &["load"])]);
        assert_eq!(two.with_files(said), expected.replace("a.toml:9", "b.toml:9"));
        let both = form(&[("a.toml", &["wear"]), ("b.toml", &["wear"])]);
        assert_eq!(both.with_files(said), said, "which of them is not known");
        assert_eq!(Form::default().with_files("manifest: is empty"), "manifest: is empty");
    }
}
