//! Dead letters in a folder, so that they can be looked through and replayed: JSON lines, the newest kept within
//! bounds.

mod folder;
mod line;

pub use folder::{LetterFolder, LetterLimits};
pub use line::RECORD_BYTES_MAX;

use serde::{Deserialize, Serialize};

use crate::traits::sink::DeadLetter;
use crate::words::{Key, NodeId, Revision, Time};

/// A letter in a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its number; rising, in the order in which letters came.
    pub id: u64,
    /// When it came.
    pub when: Time,
    /// The letter.
    pub letter: DeadLetter,
    /// Whether its record was too long to be kept whole.
    pub cut: bool,
}

/// That a letter was replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Which.
    pub id: u64,
    /// Under which plan.
    pub revision: Revision,
    /// When.
    pub when: Time,
    /// By whom.
    pub who: String,
}

/// Which letters are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterQuery {
    /// Only these; all, when there are none.
    pub ids: Vec<u64>,
    /// Only those of a source.
    pub source: Option<String>,
    /// Only those of a node.
    pub node: Option<NodeId>,
    /// Only those of a key.
    pub key: Option<Key>,
    /// Only those before this one.
    pub before: Option<u64>,
    /// Only those after this one.
    pub after: Option<u64>,
    /// Also those that were replayed.
    pub replayed: bool,
}

impl LetterQuery {
    fn takes(&self, kept: &Kept) -> bool {
        let letter = &kept.letter;
        (self.ids.is_empty() || self.ids.contains(&kept.id))
            && self.source.as_ref().is_none_or(|source| **source == *letter.source)
            && self.node.as_ref().is_none_or(|node| letter.node.as_ref() == Some(node))
            && self.key.as_ref().is_none_or(|key| letter.key.as_ref() == Some(key))
            && self.before.is_none_or(|before| kept.id < before)
            && self.after.is_none_or(|after| kept.id > after)
    }
}
