//! Data beside the model's file: only a plain file in the same folder, and only when a file is loaded.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use gristmill::traits::LoadError;

use super::proto::TensorProto;
use super::scan::FILE_BYTES_MAX;

/// Whether the data of a tensor lie in another file.
pub(crate) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location != 0 || !tensor.external_data.is_empty()
}

/// What to do with a model of several files where only one can be.
pub(crate) const AS_ONE_FILE: &str =
    "save it as one file: onnx.save(onnx.load(path), path), or external_data=False when exporting from PyTorch";

/// What every refusal of this file begins with.
pub(crate) fn not_allowed(tensor: &TensorProto, why: &str) -> LoadError {
    LoadError { reason: format!("external data not allowed: tensor {} ({why})", tensor.name) }
}

/// The files that tensors refer to, each read once.
pub(crate) struct External {
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes that they may still have.
    left: usize,
}

impl External {
    /// None yet, beside a model of so many bytes.
    pub(crate) fn beside(model_bytes: usize) -> Self {
        Self { files: BTreeMap::new(), left: FILE_BYTES_MAX.saturating_sub(model_bytes) }
    }

    /// The bytes of a tensor, from a file in `folder`.
    pub(crate) fn bytes(&mut self, tensor: &TensorProto, folder: &Path) -> Result<&[u8], LoadError> {
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
        let location = entry("location").unwrap_or_default();
        let mut components = Path::new(location).components();
        let plain =
            matches!((components.next(), components.next()), (Some(Component::Normal(name)), None) if name == location);
        if !plain || location.contains(['/', '\\', ':', '*', '\0']) {
            return Err(not_allowed(tensor, &format!("`{location}` is not the plain name of a file")));
        }
        if folder.as_os_str().is_empty() {
            return Err(not_allowed(tensor, "the model's own path names no folder"));
        }
        let number = |key: &str| match entry(key) {
            Some(text) => {
                text.parse().map(Some).map_err(|_| not_allowed(tensor, &format!("{key} `{text}` is no number")))
            }
            None => Ok(None),
        };
        let (offset, length): (Option<usize>, Option<usize>) = (number("offset")?, number("length")?);
        if !self.files.contains_key(location) {
            let bytes = self.read(tensor, &folder.join(location))?;
            self.left = self.left.saturating_sub(bytes.len());
            self.files.insert(location.to_owned(), bytes);
        }
        let file = self.files.get(location).map_or(&[][..], |bytes| bytes);
        let start = offset.unwrap_or(0);
        let end = length.map_or(Some(file.len()), |length| start.checked_add(length));
        end.and_then(|end| file.get(start..end))
            .ok_or_else(|| not_allowed(tensor, &format!("`{location}` is shorter than offset and length say")))
    }

    fn read(&self, tensor: &TensorProto, path: &Path) -> Result<Vec<u8>, LoadError> {
        let failed = |error: std::io::Error| not_allowed(tensor, &format!("`{}`: {error}", path.display()));
        let meta = std::fs::symlink_metadata(path).map_err(failed)?;
        if !meta.is_file() {
            return Err(not_allowed(tensor, &format!("`{}` is a link or no regular file", path.display())));
        }
        if meta.len() > self.left as u64 {
            let why =
                format!("with the {} bytes of `{}` more than {FILE_BYTES_MAX} in all", meta.len(), path.display());
            return Err(not_allowed(tensor, &why));
        }
        std::fs::read(path).map_err(failed)
    }

    /// The files read, by name.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, bytes)| (&**name, &**bytes))
    }
}
