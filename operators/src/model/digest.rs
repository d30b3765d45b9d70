//! Digests over content, for models that code builds rather than loads.

use gristmill::traits::Digest;
use sha2::{Digest as _, Sha256};

/// Gathers the content of a model. Every part is preceded by its length, so that no two models share their bytes.
pub(crate) struct Content(Sha256);

impl Content {
    /// The content of a model of this kind.
    pub(crate) fn new(kind: &str) -> Self {
        let mut content = Self(Sha256::new());
        content.bytes(kind.as_bytes());
        content
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    pub(crate) fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }

    pub(crate) fn floats(&mut self, values: &[f32]) {
        self.number(values.len());
        for value in values {
            self.0.update(value.to_bits().to_le_bytes());
        }
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// SHA-256 of bytes: the digest of an artifact that is one file.
pub fn of_bytes(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}
