//! What a start made of the saved states.

use serde::Serialize;

use crate::words::{Class, NodeId, Offset, Revision, Time};

/// What a start made of the saved state of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RestoreReport {
    /// The class.
    pub class: Class,
    /// When the state was saved, and by which plan; `None` where there was none to take.
    pub saved: Option<(Time, Revision)>,
    /// Whether the process before did not stop in order, so that its state is gone.
    pub interrupted: bool,
    /// Keys in what was saved that can be gone on with.
    pub found: usize,
    /// Keys that were restored so far.
    pub keys: usize,
    /// How far each partition was that was restored: the next offset.
    pub partitions: Vec<(u32, Offset)>,
    /// Partitions whose state waits until the source has them.
    pub waiting: Vec<u32>,
    /// Nodes whose state was dropped, for how many keys, and why.
    pub dropped: Vec<(NodeId, usize, String)>,
    /// What was refused, and is gone on without.
    pub refused: Vec<String>,
}

/// What happens when a saved state, or a part of it, cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefusedState {
    /// The runtime does not start, or stops; the state stays.
    #[default]
    Stop,
    /// It goes on without what is refused.
    BeginAnew,
}

impl RestoreReport {
    pub(crate) fn new(class: Class) -> Self {
        Self {
            class,
            saved: None,
            interrupted: false,
            found: 0,
            keys: 0,
            partitions: Vec::new(),
            waiting: Vec::new(),
            dropped: Vec::new(),
            refused: Vec::new(),
        }
    }
}

impl std::fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "state of `{}`: ", self.class)?;
        match self.saved {
            None if self.interrupted => {
                f.write_str("begins without: the process before did not stop in order, so it saved none")?;
            }
            None => f.write_str("begins without: none was saved")?,
            Some((_, revision)) => {
                let partitions = self.partitions.len() + self.waiting.len();
                let (keys, s) = (self.found, |count: usize| if count == 1 { "" } else { "s" });
                let (of_keys, of_partitions) = (s(keys), s(partitions));
                write!(
                    f,
                    "{keys} key{of_keys} of {partitions} partition{of_partitions}, saved at revision {revision}"
                )?;
            }
        }
        for (node, keys, why) in &self.dropped {
            write!(f, "\n  dropped: `{node}` of {keys} keys: {why}")?;
        }
        self.refused.iter().try_for_each(|refused| write!(f, "\n  refused: {refused}"))
    }
}
