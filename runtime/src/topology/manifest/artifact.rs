//! From the names of artifacts to loaded models. Names are the operator's own, and still may not leave the folder of
//! the manifest that has them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::error::Refusal;
use super::tree::shorten;
use super::words;
use crate::topology::node::Family;
use crate::traits::{Format, Model};
use crate::words::Key;

/// The largest artifact, in bytes.
pub const ARTIFACT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Most members of a family.
pub const MEMBERS_MAX: usize = 1_000_000;

/// What stands for the key in the path of a family.
const KEY: &str = "{key}";

/// Contents by the names that a manifest calls them.
pub type GivenArtifacts<'a> = BTreeMap<String, Cow<'a, [u8]>>;

/// Where the artifacts of a manifest are.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// It may name none.
    Nowhere,
    /// In a folder.
    Folder(&'a Path),
    /// They came with it: names are looked up, and are no paths.
    Given(&'a GivenArtifacts<'a>),
}

/// Loads the artifacts of one manifest, each once.
pub(super) struct Artifacts<'a> {
    place: Place<'a>,
    loaded: BTreeMap<(String, PathBuf), Result<Arc<dyn Model>, String>>,
}

impl<'a> Artifacts<'a> {
    pub(super) fn of(place: Place<'a>) -> Self {
        Self { place, loaded: BTreeMap::new() }
    }

    /// The model in a file.
    pub(super) fn model(&mut self, format: &dyn Format, path: &str) -> Result<Arc<dyn Model>, Refusal> {
        let file = self.file(path)?;
        self.load(format, &file).map_err(|reason| refused(path, &reason))
    }

    /// The models of all files whose names match `path`, in which `{key}` stands for the key, with everything that is
    /// refused: those that were loaded may still not fit their node, and that is to be said at once too.
    pub(super) fn family(&mut self, format: &dyn Format, path: &str, default: Option<&str>) -> (Family, Vec<Refusal>) {
        let mut refusals = Vec::new();
        let default = match default.map(|default| (self.model(format, default), self.file(default))) {
            Some((Ok(model), Ok(file))) => Some((model, file)),
            Some((Err(refusal), _) | (_, Err(refusal))) => {
                refusals.push(refusal);
                None
            }
            None => None,
        };
        let files = self.members(path).unwrap_or_else(|refusal| {
            refusals.push(refusal);
            Vec::new()
        });
        let mut members = Vec::with_capacity(files.len());
        let default_file = default.as_ref().map(|(_, file)| file.clone());
        for (name, key) in files {
            let file = match self.file(&name) {
                Ok(file) if Some(&file) == default_file.as_ref() => continue,
                file => file,
            };
            let key = words::named("key", &key).map(Key::from).map_err(|error| refused(&name, &error.problem));
            let model = file.and_then(|file| self.load(format, &file).map_err(|reason| refused(&name, &reason)));
            match (key, model) {
                (Ok(key), Ok(model)) => members.push((key, model)),
                (key, model) => refusals.extend(key.err().into_iter().chain(model.err())),
            }
        }
        if members.is_empty() && default.is_none() && refusals.is_empty() {
            let advice = "put a file for each key there, or name a `default`";
            refusals.push(Refusal::new(format!("no file matches `{}`", shorten(path)), advice));
        }
        let mut family: Family = members.into_iter().collect();
        family.default = default.map(|(model, _)| model);
        (family, refusals)
    }

    fn load(&mut self, format: &dyn Format, file: &Path) -> Result<Arc<dyn Model>, String> {
        let place = (format.name().to_owned(), file.to_owned());
        if let Some(loaded) = self.loaded.get(&place) {
            return loaded.clone();
        }
        let loaded = match self.place {
            Place::Given(artifacts) => match file.to_str().and_then(|name| artifacts.get(name)) {
                Some(bytes) => format.load(bytes).map_err(|error| error.reason),
                None => Err("it was not sent".to_owned()),
            },
            _ => check_size(file).and_then(|()| format.load_file(file).map_err(|error| error.reason)),
        };
        self.loaded.insert(place, loaded.clone());
        loaded
    }

    /// The file that a path names, inside the folder even after links were followed.
    fn file(&self, path: &str) -> Result<PathBuf, Refusal> {
        match self.place {
            Place::Folder(folder) => inside(folder, path),
            Place::Given(artifacts) if artifacts.contains_key(path) => Ok(PathBuf::from(path)),
            Place::Given(_) => {
                let problem = format!("the artifact `{}` is named, but was not sent", shorten(path));
                Err(Refusal::new(problem, "send it under this name, beside the manifest"))
            }
            Place::Nowhere => {
                let problem = format!("the artifact `{}` is named, but this manifest has no folder", shorten(path));
                Err(Refusal::new(problem, "deploy it from a file beside its artifacts"))
            }
        }
    }

    /// The files that a family's path names, by name, each with the text in place of `{key}`.
    fn members(&self, path: &str) -> Result<Vec<(String, String)>, Refusal> {
        let (parent, pattern) = path.rsplit_once('/').unwrap_or(("", path));
        let advice = "write it once, in the name of the file: \"models/wear/{key}.onnx\"";
        if !pattern.contains(KEY) {
            return Err(Refusal::new(format!("`{KEY}` in `{}` is not in the name of a file", shorten(path)), advice));
        }
        if path.matches(KEY).count() > 1 {
            return Err(Refusal::new(format!("`{KEY}` stands twice in `{}`", shorten(path)), advice));
        }
        if let Place::Given(artifacts) = self.place {
            let named = artifacts.keys().filter_map(|name| Some((name.clone(), key_in(path, name)?.to_owned())));
            return Ok(named.collect());
        }
        let folder = self.file(if parent.is_empty() { "." } else { parent })?;
        let unreadable = |error: std::io::Error| {
            Refusal::new(format!("the folder `{}` cannot be read: {error}", shorten(parent)), "make it readable")
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            // A name that is not UTF-8 keeps its place, and is refused as the name of a key.
            let found = name.to_string_lossy();
            let Some(key) = key_in(pattern, &found) else { continue };
            let key = key.to_owned();
            files.push((if parent.is_empty() { found.into_owned() } else { format!("{parent}/{found}") }, key));
            if files.len() > MEMBERS_MAX {
                let problem = format!("`{}` has more than {MEMBERS_MAX} members, the limit", shorten(path));
                return Err(Refusal::new(problem, "split the family by a selector"));
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}

/// Whether a path names a family.
pub(super) fn is_family(path: &str) -> bool {
    path.contains(KEY)
}

/// Whether a path names an artifact, by itself or as one of a family.
pub(super) fn is_named(path: &str, name: &str) -> bool {
    path == name || key_in(path, name).is_some()
}

/// What stands in a name in place of the path's `{key}`; `None` when the path is not one of it.
fn key_in<'n>(path: &str, name: &'n str) -> Option<&'n str> {
    let (before, after) = path.split_once(KEY)?;
    name.strip_prefix(before)?.strip_suffix(after)
}

fn refused(path: &str, reason: &str) -> Refusal {
    Refusal::new(format!("the artifact `{}` is refused: {reason}", shorten(path)), "")
}

fn check_size(file: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(file).map_err(|error| format!("it cannot be read: {error}"))?;
    match (metadata.is_file(), metadata.len()) {
        (false, _) => Err("it is not a file".to_owned()),
        (true, bytes) if bytes > ARTIFACT_BYTES_MAX => {
            Err(format!("it has {bytes} bytes; the limit is {ARTIFACT_BYTES_MAX}"))
        }
        (true, _) => Ok(()),
    }
}

/// The file of an artifact that a manifest in `folder` names, for whoever sends it elsewhere: inside the folder even
/// after links were followed, and no larger than an artifact may be.
///
/// # Errors
/// A text that names the path, what is wrong with it, and what to do.
pub fn artifact_file(folder: &Path, path: &str) -> Result<PathBuf, String> {
    let file = inside(folder, path).map_err(|Refusal { problem, advice }| format!("{problem}; {advice}"))?;
    check_size(&file).map_err(|reason| format!("the artifact `{}` is refused: {reason}", shorten(path)))?;
    Ok(file)
}

/// The place of a relative path inside `folder`, with links followed.
pub(in crate::topology) fn inside(folder: &Path, path: &str) -> Result<PathBuf, Refusal> {
    let shown = shorten(path);
    let relative = Path::new(path);
    let strange = path.contains(['\\', '\0'])
        || !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if path.is_empty() || strange {
        let problem = format!("the path `{shown}` is not inside the manifest's folder");
        return Err(Refusal::new(problem, "write a relative path without `..`"));
    }
    let unreadable =
        |path: &str, error| Refusal::new(format!("`{path}` cannot be read: {error}"), "check the path and its rights");
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = folder.canonicalize().map_err(|error| unreadable(&folder.display().to_string(), error))?;
    let file = folder.join(relative).canonicalize().map_err(|error| unreadable(&shown, error))?;
    if !file.starts_with(&folder) {
        let problem = format!("the path `{shown}` leads out of the manifest's folder by a link");
        return Err(Refusal::new(problem, "put a copy of the file into the folder"));
    }
    Ok(file)
}
