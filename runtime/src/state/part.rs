//! What the engine keeps of a key beside the operators' own states, as plain data. What is done with it is in `actor/`.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::traits::Digest;
use crate::words::{Cause, Column, Revision, Time};

/// The clock of one axis of a key, and its rows that wait to be sorted in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AxisClock {
    pub(crate) released: Time,
    pub(crate) newest: Time,
    pub(crate) waiting: Option<Box<Waiting>>,
}

/// Rows in order of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) times: Vec<Time>,
    /// A column of one row for each stream, for each time.
    pub(crate) rows: Vec<Vec<Column>>,
}

/// What a node remembers of a key to align its needs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct KeyAlign {
    /// The last values of each need that is read as of a time; the gate's are behind the needs'.
    pub(crate) histories: Vec<Option<History>>,
    pub(crate) newest: Vec<Option<Time>>,
    pub(crate) waiting: BTreeSet<Time>,
    pub(crate) clock: Option<Time>,
    /// For rows on all needs: the last that was let go.
    pub(crate) last_row: Option<Time>,
    /// The node's last row.
    pub(crate) passed: Option<Time>,
    /// The last revision with a need that came to be on another axis of which this knows. Those of the next start are later.
    #[serde(skip)]
    pub(crate) moved: Option<Revision>,
}

/// The last values of a need, in order of arrival: causes never fall.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) times: Vec<Time>,
    pub(crate) causes: Vec<Cause>,
    pub(crate) values: Column,
    /// Whether times rise. They do but after a switch, when a provider that is born anew begins at an earlier time.
    pub(crate) rising: bool,
    /// The oldest time of those that are no longer among the values.
    pub(crate) forgotten: Option<Time>,
}

/// How a node fares with a key that it failed for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct KeyHealth {
    /// The artifact that failed; another one begins with a clean record.
    pub(crate) artifact: Option<Digest>,
    /// The revision that had ended the node's quarantines last, when it failed.
    pub(crate) resumed: Option<Revision>,
    /// Rows since the first failure that is remembered.
    pub(crate) rows: u64,
    pub(crate) failed: VecDeque<u64>,
    pub(crate) quarantined: bool,
    /// Why it failed last.
    pub(crate) reason: String,
}
