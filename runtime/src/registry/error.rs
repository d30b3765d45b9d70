//! What can go wrong with a folder of revisions.

use std::path::{Path, PathBuf};

use crate::traits::Digest;

/// The folder of revisions cannot be used, or a part of it cannot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A file cannot be read or written.
    #[error("`{}` cannot be {what}: {error}; check the disk, the path and its rights", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// Another process uses the folder.
    #[error(
        "`{}` is used by another process ({holder}); a registry belongs to one process: stop that one, or use another folder",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// What the lock file says of its holder.
        holder: String,
    },
    /// The folder was written by another version, or is something else.
    #[error("`{}` says `{found}`, but this version reads `{expected}`; use another folder", path.display())]
    Format {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// A revision's file is not what was written.
    #[error("`{}` is damaged: {reason}; restore the file from a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it is damaged.
        reason: String,
    },
    /// There is no such artifact.
    #[error("there is no artifact {digest}; send it first")]
    NoArtifact {
        /// Its hash.
        digest: Digest,
    },
    /// An artifact's bytes are not those that its name says.
    #[error("the artifact {digest} is damaged: its content has the hash {found}; send it again")]
    Mismatch {
        /// The hash it is kept under.
        digest: Digest,
        /// The hash of what was read.
        found: Digest,
    },
}

impl RegistryError {
    pub(super) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, what: "read", error }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, what: "written", error }
    }
}
