//! All that is kept of one key, at one position: what decides what its later rows become.

use serde::{Deserialize, Serialize};

use super::part::{AxisClock, KeyAlign, KeyHealth};
use crate::traits::Digest;
use crate::words::{Column, ElementType, Key, NodeId, Offset, Revision, StreamName, Time};

/// A key as it is saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The key.
    pub key: Key,
    /// The source's own number of its partition.
    pub partition: u32,
    /// Every row of the key before this place of the partition is in the state, and none after.
    pub next: Offset,
    /// Whether it lives on the shard of its partition, as its records do not tell the key before they are decoded.
    pub home: bool,
    /// The plan that ran.
    pub revision: Revision,
    /// How its rows came in.
    pub intake: IntakeRecord,
    /// Its nodes that remember something.
    pub nodes: Vec<NodeRecord>,
}

impl KeyRecord {
    /// The latest tick that it was told.
    pub(crate) fn ticked(&self) -> Time {
        self.intake.ticked
    }
}

/// The intake of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IntakeRecord {
    /// The latest tick.
    pub(crate) ticked: Time,
    /// Offset and log time of the last record, where a tick lets go rows as if they had come with it.
    pub(crate) like: Option<(Offset, Option<Time>)>,
    /// Each axis by its streams: its number may be another one after a start.
    pub(crate) axes: Vec<(Vec<(StreamName, ElementType)>, AxisClock)>,
}

impl IntakeRecord {
    /// Rows that wait to be sorted in.
    pub fn waiting(&self) -> usize {
        self.axes.iter().filter_map(|(_, clock)| clock.waiting.as_ref()).map(|waiting| waiting.times.len()).sum()
    }

    /// The newest time that rows or ticks have brought.
    pub fn newest(&self) -> Option<Time> {
        let newest = self.axes.iter().map(|(_, clock)| clock.newest).max().unwrap_or(Time::MIN).max(self.ticked);
        (newest > Time::MIN).then_some(newest)
    }
}

/// What one node keeps of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its name in the plan.
    pub name: NodeId,
    /// A hash of all that its state depends on, the state's version apart.
    pub identity: [u8; 8],
    /// The revision in which it began to run.
    pub born: Revision,
    /// What it scores with, if that is the same for all its keys.
    pub artifact: Option<Digest>,
    /// Its operator's state.
    pub operator: Option<OperatorRecord>,
    /// Last values as of then, waiting rows, the last row that passed.
    pub(crate) align: Option<KeyAlign>,
    /// What `previous` and `missing = last` read next: a column of one row for each need that has a value.
    pub(crate) last: Vec<Option<Column>>,
    /// Failures that are remembered.
    pub(crate) health: Option<KeyHealth>,
}

/// The state of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// Which version of its state the operator wrote: [`Operator::state_version`](crate::traits::Operator::state_version).
    pub version: u32,
    /// The state in bincode.
    pub bytes: Vec<u8>,
}

impl NodeRecord {
    /// Whether there is nothing in it to restore.
    pub(crate) fn is_empty(&self) -> bool {
        self.operator.is_none() && self.align.is_none() && self.last.is_empty() && self.health.is_none()
    }

    /// Whether the node is in quarantine for the key.
    pub fn is_quarantined(&self) -> bool {
        self.health.as_ref().is_some_and(|health| health.quarantined)
    }

    /// Rows that wait for other needs.
    pub fn waiting(&self) -> usize {
        self.align.as_ref().map_or(0, |align| align.waiting.len())
    }
}
