//! Models: artifacts that score rows.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::words::{ColumnMut, ColumnRef, ElementType};

/// One input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the artifact; `None` when the artifact names only the tensor this column belongs to.
    pub name: Option<String>,
    /// The type of its values.
    pub element: ElementType,
}

/// A loaded artifact. It has no state, is shared by every node and key that uses the same bytes, and gives the same
/// row the same bits whatever rows stand beside it.
pub trait Model: fmt::Debug + Send + Sync + 'static {
    /// The columns it reads, in order. A model takes numbers: `f64`, `i64` and `bool` needs are cast to `f32`.
    fn inputs(&self) -> &[Port];

    /// The columns it writes, in order.
    fn outputs(&self) -> &[Port];

    /// Scores rows. `inputs` has a column for each of [`Model::inputs`], all of the same length, missing values as NaN
    /// (the caller decides which rows get here at all); `outputs` a column for each of [`Model::outputs`].
    ///
    /// # Errors
    /// When a row cannot be scored. The caller then scores the rows one by one to find which.
    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError>;

    /// Asks for what [`Model::score`] reads to be brought near, if that is more than the value itself: see
    /// [`prefetch`](crate::prefetch::prefetch). It is called a little before `score`, and changes nothing.
    fn prefetch(&self) {}

    /// Bytes of memory that the weights hold.
    fn bytes(&self) -> usize;

    /// SHA-256 of the artifact, external data included; equal artifacts are loaded once.
    fn digest(&self) -> Digest;
}

/// SHA-256 of an artifact's content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let mut digest = [0; 32];
        let nibble = |letter: u8| match letter {
            b'0'..=b'9' => Ok(letter - b'0'),
            b'a'..=b'f' => Ok(letter - b'a' + 10),
            _ => Err(NoDigest),
        };
        if text.len() != 64 {
            return Err(NoDigest);
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no SHA-256; one is 64 digits of 0-9 and a-f, in small letters")]
pub struct NoDigest;

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A model could not score a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScoreError(pub String);

/// An artifact was refused.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct LoadError {
    /// What is wrong, with the limit or the operator and its version.
    pub reason: String,
}

/// Reads one kind of artifact.
pub trait Format: Send + Sync + 'static {
    /// Its name in manifests: `onnx`.
    fn name(&self) -> &str;

    /// Reads the bytes of an artifact. Nothing is read but these bytes.
    ///
    /// # Errors
    /// Everything that cannot be scored exactly is refused here, before anything of a declared size is allocated.
    fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Model>, LoadError>;

    /// Reads an artifact from a file of the operator's own choosing (never of a client's).
    ///
    /// # Errors
    /// As [`Format::load`], and when the file cannot be read.
    fn load_file(&self, path: &Path) -> Result<Arc<dyn Model>, LoadError> {
        let bytes = std::fs::read(path)
            .map_err(|error| LoadError { reason: format!("`{}` cannot be read: {error}", path.display()) })?;
        self.load(&bytes)
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::{Digest, Model, Port, ScoreError};
    use crate::words::{ColumnMut, ColumnRef};

    /// A model without columns that is its digest.
    #[derive(Debug)]
    pub(crate) struct Content(pub(crate) Digest);

    impl Model for Content {
        fn inputs(&self) -> &[Port] {
            &[]
        }
        fn outputs(&self) -> &[Port] {
            &[]
        }
        fn score(&self, _: &[ColumnRef<'_>], _: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
            Ok(())
        }
        fn bytes(&self) -> usize {
            0
        }
        fn digest(&self) -> Digest {
            self.0
        }
    }
}
