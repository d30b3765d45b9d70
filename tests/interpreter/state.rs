//! What a node remembers of a key since it was born.

use std::collections::BTreeMap;

use gristmill::Quarantine;
use gristmill::traits::{AnyTable, Digest};
use gristmill::words::{Cause, Span, StreamName, Time, Value};

/// One value of a need.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) cause: Cause,
    pub(crate) time: Time,
    pub(crate) value: Value,
}

/// What reading as of a time found.
pub(crate) enum AsOf {
    Nothing,
    TooOld,
    Forgotten,
    Found(Value),
}

/// The state of one node for one key.
pub(crate) struct NodeState {
    /// [`gristmill::topology::Node::content`] of the node it belongs to.
    pub(crate) content: String,
    /// What its operator remembers.
    pub(crate) table: Option<Box<dyn AnyTable>>,
    /// Every value of every stream it reads within the row.
    pub(crate) seen: BTreeMap<StreamName, Vec<Seen>>,
    /// The last value of every stream it reads as previous.
    pub(crate) previous: BTreeMap<StreamName, Value>,
    /// Times that wait for the slower needs (`on_all`).
    pub(crate) waiting: BTreeMap<Time, Cause>,
    /// The last time that went on from there.
    pub(crate) last_emitted: Option<Time>,
    /// The largest time that values and ticks have brought.
    pub(crate) clock: Option<Time>,
    /// The time of its last row.
    pub(crate) last_row: Option<Time>,
    /// The last value of each need in its rows.
    pub(crate) last_values: BTreeMap<usize, Value>,
    /// How many rows it has computed or failed.
    ordinal: usize,
    /// Which of them failed.
    failures: Vec<usize>,
    pub(crate) quarantined: bool,
    /// The artifact that it scored with last.
    artifact: Option<Digest>,
    /// How often it had been resumed then.
    resumed: u32,
}

impl NodeState {
    pub(crate) fn new(content: String) -> Self {
        Self {
            content,
            table: None,
            seen: BTreeMap::new(),
            previous: BTreeMap::new(),
            waiting: BTreeMap::new(),
            last_emitted: None,
            clock: None,
            last_row: None,
            last_values: BTreeMap::new(),
            ordinal: 0,
            failures: Vec::new(),
            quarantined: false,
            artifact: None,
            resumed: 0,
        }
    }

    pub(crate) fn time_has_come(&mut self, time: Time) {
        self.clock = self.clock.max(Some(time));
    }

    /// The largest time at which a stream had a value.
    pub(crate) fn newest(&self, stream: &StreamName) -> Option<Time> {
        self.seen.get(stream)?.iter().map(|seen| seen.time).max()
    }

    /// The value of a stream as of `time`, known by `cause`.
    pub(crate) fn as_of(&self, stream: &StreamName, time: Time, cause: Cause, max_age: Span, rows: usize) -> AsOf {
        let seen = self.seen.get(stream).map_or(&[][..], |seen| seen);
        let known: Vec<&Seen> = seen.iter().filter(|seen| seen.cause <= cause).collect();
        let (forgotten, remembered) = known.split_at(known.len().saturating_sub(rows));
        let not_after = |seen: &&&Seen| seen.time <= time;
        // Of two with one time, which only a switch can bring about, the later to arrive.
        match remembered.iter().filter(not_after).max_by_key(|seen| seen.time) {
            None if forgotten.iter().any(|seen| not_after(&seen)) => AsOf::Forgotten,
            None => AsOf::Nothing,
            Some(best) if best.time < time.minus(max_age) => AsOf::TooOld,
            Some(best) => AsOf::Found(best.value.clone()),
        }
    }

    /// A row was computed.
    pub(crate) fn computed(&mut self) {
        self.ordinal += 1;
    }

    /// A row failed.
    pub(crate) fn failed(&mut self, limit: Option<Quarantine>) {
        self.failures.push(self.ordinal);
        self.ordinal += 1;
        let Some(limit) = limit else { return };
        let since = self.ordinal.saturating_sub(limit.rows as usize);
        let recent = self.failures.iter().filter(|ordinal| **ordinal >= since).count();
        self.quarantined |= recent >= limit.failures;
    }

    /// Says how often the node was resumed. Once more than before ends a quarantine and forgets the failures. Gives
    /// whether a quarantine ended.
    pub(crate) fn resumed_to(&mut self, resumed: u32) -> bool {
        if self.resumed == resumed {
            return false;
        }
        self.resumed = resumed;
        self.failures.clear();
        std::mem::take(&mut self.quarantined)
    }

    /// Says with what the node scores from now on. Another artifact than before ends a quarantine and forgets the
    /// failures. Gives whether the artifact is another, and whether a quarantine ended.
    pub(crate) fn scores_with(&mut self, artifact: Option<Digest>) -> (bool, bool) {
        if self.artifact == artifact {
            return (false, false);
        }
        let replaced = self.artifact.is_some();
        let ended = std::mem::take(&mut self.quarantined);
        self.artifact = artifact;
        self.failures.clear();
        (replaced, ended)
    }
}
