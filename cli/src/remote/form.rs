//! The form of a change set: manifests, the artifacts that they name, and what is removed and reset.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gristmill::topology::Manifest;
use gristmill::topology::manifest::{Run, artifact_file};

use crate::failure::Failure;

/// Parts with their names.
#[derive(Default)]
pub(super) struct Form(Vec<(String, Vec<u8>)>);

impl Form {
    pub(super) fn add(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), content.into()));
    }

    /// Manifests of files, with the artifacts that lie beside them. Nothing else is read: a manifest may come from
    /// somebody who wants to see other files.
    pub(super) fn add_files(&mut self, files: &[PathBuf]) -> Result<(), Failure> {
        let mut artifacts: BTreeMap<String, (PathBuf, Vec<u8>)> = BTreeMap::new();
        for file in files {
            let shown = file.display();
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
        }
        self.0.extend(artifacts.into_iter().map(|(name, (_, bytes))| (name, bytes)));
        match self.0.iter().find(|(name, _)| name.contains(['"', '\r', '\n', '\\'])) {
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
            !self.0.iter().any(|(_, content)| finder(content))
        };
        let limits = (0..).map(|number| format!("grist-limit-{number}"));
        let limit = limits.into_iter().find(|limit| is_free(limit)).unwrap_or_default();
        let mut body = Vec::new();
        for (name, content) in &self.0 {
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
