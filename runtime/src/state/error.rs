//! What can go wrong with saved states.

use std::path::{Path, PathBuf};

/// A state cannot be saved, or one that was saved cannot be restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
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
    #[error("`{}` is used by another process; saved states belong to one process: stop that one, or use another folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder was written by another version, or is something else.
    #[error("`{}` says `{found}`, but this version reads `{expected}`; use another folder", path.display())]
    Layout {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// A saved state was refused, in whole or in part.
    #[error(
        "the saved state of `{class}` is refused: {}; it stays where it is. Put back what was, or begin without what is refused: `--state-refused begin-anew`, in a host `Builder::refused_state(RefusedState::BeginAnew)`",
        reasons.join("; ")
    )]
    Refused {
        /// The class.
        class: crate::words::Class,
        /// Why: each with the place, and where versions differ both of them.
        reasons: Vec<String>,
    },
    /// A key's state cannot be written down.
    #[error("the state of key `{key}` cannot be saved: {reason}")]
    Key {
        /// The key.
        key: crate::words::Key,
        /// Why.
        reason: String,
    },
    /// An operator's state of a key cannot be saved; those of other nodes and keys are.
    #[error(
        "the state of node `{node}` of key `{key}` is not saved: {reason}; the node begins anew for the key at the next start{}",
        if *others > 0 { format!(", and so do {others} states more, of other keys or nodes") } else { String::new() }
    )]
    Operator {
        /// The node.
        node: crate::words::NodeId,
        /// The key.
        key: crate::words::Key,
        /// Why.
        reason: String,
        /// How many states more are not saved, each for a reason of its own that is in the log.
        others: usize,
    },
    /// What holds the states is gone.
    #[error("a shard ended before its states were saved")]
    Shard,
}

impl StateError {
    pub(super) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, what: "read", error }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, what: "written", error }
    }
}
