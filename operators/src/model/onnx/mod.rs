//! ONNX: files are checked, decoded and lowered to a short program over columns.
//!
//! What cannot be scored exactly is refused, with the operator, its domain and version. See docs/models.md.

pub mod budget;
mod core;
mod external;
mod functions;
mod lower;
mod ml;
mod node;
mod proto;
pub mod scan;
mod shape;
mod tensor;
#[cfg(test)]
mod tests;
mod trees;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use gristmill::traits::{Digest, Format, LoadError, Model};
use prost::Message;
use sha2::Digest as _;

use super::digest::of_bytes;
use super::program::Program;
use budget::Budget;
use external::{AS_ONE_FILE, External};
use proto::{ModelProto, TensorProto};
use tensor::Tensor;

/// The versions of ai.onnx whose operators are known to mean the same here.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=24;
/// The versions of ai.onnx.ml.
pub const ML_OPSETS: std::ops::RangeInclusive<i64> = 1..=5;

/// Reads ONNX.
#[derive(Clone, Copy, Debug, Default)]
pub struct Onnx;

impl Format for Onnx {
    fn name(&self) -> &str {
        "onnx"
    }

    fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Model>, LoadError> {
        Ok(Arc::new(program(bytes, Budget::of(budget::BYTES_MAX))?))
    }

    fn load_file(&self, path: &Path) -> Result<Arc<dyn Model>, LoadError> {
        let failed = |error| LoadError { reason: format!("`{}` cannot be read: {error}", path.display()) };
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > scan::FILE_BYTES_MAX as u64 {
            return Err(LoadError {
                reason: format!(
                    "`{}` has {length} bytes; {} are allowed: {}",
                    path.display(),
                    scan::FILE_BYTES_MAX,
                    scan::SMALLER
                ),
            });
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(Arc::new(program_of_files(&bytes, folder, Budget::of(budget::BYTES_MAX))?))
    }
}

/// The program of a model that is one file.
fn program(bytes: &[u8], mut budget: Budget) -> Result<Program, LoadError> {
    let model = decode(bytes)?;
    let elsewhere = |tensor: &TensorProto, _: &mut Budget| {
        Err(external::not_allowed(tensor, &format!("the model was not loaded from a file; {AS_ONE_FILE}")))
    };
    let constants = constants(&model, &mut budget, elsewhere)?;
    lower::lower(&model, constants, of_bytes(bytes), budget)
}

/// The program of a model whose constants may lie in other files of the folder.
fn program_of_files(bytes: &[u8], folder: &Path, mut budget: Budget) -> Result<Program, LoadError> {
    let model = decode(bytes)?;
    let mut files = External::beside(bytes.len());
    let constants = constants(&model, &mut budget, |tensor, budget| {
        Tensor::read(tensor, Some(files.bytes(tensor, folder)?), budget)
    })?;
    let digest = with_files(bytes, &files);
    lower::lower(&model, constants, digest, budget)
}

/// The digest of the file alone when there are no others, so that both ways of loading agree.
fn with_files(bytes: &[u8], files: &External) -> Digest {
    let mut files = files.files().peekable();
    let own = of_bytes(bytes);
    if files.peek().is_none() {
        return own;
    }
    let mut hash = sha2::Sha256::new_with_prefix(own.0);
    for (name, bytes) in files {
        hash.update(of_bytes(name.as_bytes()).0);
        hash.update(of_bytes(bytes).0);
    }
    Digest(hash.finalize().into())
}

fn decode(bytes: &[u8]) -> Result<ModelProto, LoadError> {
    scan::scan(bytes)?;
    let model =
        ModelProto::decode(bytes).map_err(|error| LoadError { reason: format!("not an ONNX file: {error}") })?;
    // Attributes can hold tensors too: none of them may lie elsewhere.
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    let mut tensors = nodes.flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
    match tensors.find(|tensor| external::is_external(tensor)) {
        Some(tensor) => Err(external::not_allowed(tensor, &format!("it belongs to an attribute; {AS_ONE_FILE}"))),
        None => Ok(model),
    }
}

fn constants(
    model: &ModelProto,
    budget: &mut Budget,
    mut elsewhere: impl FnMut(&TensorProto, &mut Budget) -> Result<Tensor, LoadError>,
) -> Result<HashMap<String, Tensor>, LoadError> {
    let mut constants = HashMap::new();
    for proto in model.graph.iter().flat_map(|graph| &graph.initializer) {
        let is_external = external::is_external(proto);
        let tensor = if is_external { elsewhere(proto, budget)? } else { Tensor::read(proto, None, budget)? };
        if constants.insert(proto.name.clone(), tensor).is_some() {
            return Err(LoadError { reason: format!("two constants are named `{}`", proto.name) });
        }
    }
    Ok(constants)
}
