//! Why a node did or did not write for a key.

mod question;
mod text;

use serde::Serialize;

use crate::actor::Counts;
use crate::words::{Class, Key, NodeId, Revision, Span, StreamName, Time, Value};

pub(crate) use question::Question;

/// What is known of a node for one key; what [`Handle::explain`](crate::Handle::explain) answers. It reads well
/// (`Display`) and is plain data for JSON: fields and cases are added, never renamed.
///
/// The runtime does not keep the values of a stream that a node reads in the row they came in. Asking about a key makes
/// its shard keep the last few frames of that key (of the 16 keys that were asked about last), so that the second
/// answer, after the next rows, has them. What is read as of a time, last values that stand in, attributes, and all
/// else is known at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The class.
    pub class: Class,
    /// The node.
    pub node: NodeId,
    /// The key.
    pub key: Key,
    /// The revision that runs.
    pub revision: Revision,
    /// How the node stands for the key.
    pub state: Standing,
    /// What keeps it from writing, what matters most first; empty when nothing does.
    pub reasons: Vec<Reason>,
    /// What it reads, the gate last; for a sink what it takes.
    pub needs: Vec<NeedSeen>,
    /// What it wrote last, as far as it was kept.
    pub outputs: Vec<OutputSeen>,
    /// What became of its rows, over all its keys; `None` when it does not run.
    pub counts: Option<Counts>,
    /// The newest event time of the key.
    pub newest: Option<Time>,
    /// Whether frames of the key were kept before this question.
    pub watched: bool,
}

/// How a node stands for a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// It runs.
    Running {
        /// The revision in which it began.
        born: Revision,
    },
    /// It failed too often for the key.
    Quarantined {
        /// Its last failure.
        reason: String,
    },
    /// It is paused, and keeps its state.
    Paused,
    /// It waits for providers.
    Pending {
        /// Streams that nobody provides.
        lacks: Vec<StreamName>,
    },
    /// No sink asks for what it provides.
    Unused,
    /// It is not for this key.
    NotSelected {
        /// Why.
        why: String,
    },
    /// A more specific node, or one of a higher priority, provides its streams for this key.
    Overridden {
        /// That node.
        by: NodeId,
    },
    /// There is none of that name.
    Unknown {
        /// The most similar name.
        nearest: Option<NodeId>,
    },
}

/// What keeps a node from writing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// No row of the key has come.
    KeyNeverSeen,
    /// Nobody provides a stream on whose rows it runs.
    NoRows,
    /// It has no artifact for the key, and no default.
    NoArtifact,
    /// The key lacks an attribute, or it is of another type.
    AttributeMissing {
        /// The attribute.
        attribute: StreamName,
    },
    /// A required value was missing in the last row, or never came.
    NeedMissing {
        /// The stream.
        stream: StreamName,
    },
    /// A required value is older than the node takes.
    NeedTooOld {
        /// The stream.
        stream: StreamName,
        /// When the value is of.
        time: Time,
        /// How old it may be.
        max_age: Span,
    },
    /// The gate is not true.
    GateClosed {
        /// The gate.
        stream: StreamName,
        /// Its last value; none is as good as false.
        value: Option<Value>,
    },
    /// Its last row was not long enough ago.
    Thinned {
        /// One row in so much time.
        every: Span,
        /// The last row that passed.
        last: Time,
    },
    /// Rows wait for slower needs.
    Waiting {
        /// How many.
        rows: usize,
        /// The first of them.
        first: Time,
        /// Needs that have not got so far.
        behind: Vec<StreamName>,
    },
    /// Rows wait at the intake to be sorted in.
    AtIntake {
        /// How many.
        rows: usize,
    },
    /// Rows of the key did not come in.
    Dropped {
        /// Later rows had been released.
        late: u64,
        /// There was a row at their time.
        duplicate: u64,
        /// Too far ahead of their record.
        ahead: u64,
    },
    /// It failed, and not yet too often.
    Failed {
        /// The last failure.
        reason: String,
    },
}

/// A need and what the node would read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NeedSeen {
    /// The stream, attribute or column.
    pub name: StreamName,
    /// How it is read: `required`, `optional`, `previous`, `attribute`, `column`, `gate`, or `taken` by a sink.
    pub how: &'static str,
    /// Who provides it for this key.
    pub provider: Option<NodeId>,
    /// What there was last.
    pub last: Seen,
}

/// A stream that the node provides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputSeen {
    /// The stream.
    pub name: StreamName,
    /// What it wrote last.
    pub last: Seen,
}

/// The last that is known of a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Seen {
    /// A value.
    Value {
        /// What it is of, where that was kept.
        time: Option<Time>,
        /// The value.
        value: Value,
    },
    /// The last row had none, or none ever came.
    Missing {
        /// That row.
        time: Option<Time>,
    },
    /// It was not kept.
    NotKept,
}
