//! What came out.

use std::collections::BTreeMap;

use gristmill::traits::Digest;
use gristmill::words::{Binding, Cause, Key, NodeId, StreamName, Time, Value};

/// Everything a run wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The values that each bound sink got of each key, in order.
    pub written: BTreeMap<(Binding, Key), Vec<Written>>,
    /// The dead letters; their order means nothing.
    pub letters: Vec<Letter>,
    /// What became of the rows of each node: computed, skipped, failed, quarantined, paused, as in the engine's series.
    pub fates: BTreeMap<(NodeId, Fate), u64>,
    /// How often each mechanism decided something; only the interpreter counts.
    pub counts: BTreeMap<Mechanism, u64>,
}

/// One value that a sink got.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// What let it be computed.
    pub cause: Cause,
    /// Event time.
    pub time: Time,
    /// The stream.
    pub stream: StreamName,
    /// The value.
    pub value: Value,
    /// The node that provided it.
    pub node: NodeId,
    /// The artifact that computed it.
    pub artifact: Option<Digest>,
    /// Which plan of the case computed it, from 0.
    pub plan: usize,
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// The source's own number of the partition.
    pub partition: u32,
    /// The row.
    pub cause: Cause,
    /// The key.
    pub key: Key,
    /// The node that failed; `None` when the row did not come in.
    pub node: Option<NodeId>,
    /// Event time.
    pub time: Time,
    /// Why: the operator's own text for a node that failed, a word for a row that did not come in.
    pub reason: String,
}

/// What became of a row of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It was computed.
    Computed,
    /// It lacked a value or an artifact.
    Skipped,
    /// It failed.
    Failed,
    /// Its node was in quarantine.
    Quarantined,
    /// Its node was paused.
    Paused,
    /// It still waits at the end.
    Waiting,
}

impl Outcome {
    pub(crate) fn fate(&mut self, node: &NodeId, fate: Fate) {
        *self.fates.entry((node.clone(), fate)).or_default() += 1;
    }

    pub(crate) fn count(&mut self, mechanism: Mechanism) {
        *self.counts.entry(mechanism).or_default() += 1;
    }
}

macro_rules! mechanisms {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something in the laws that can decide what comes out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mechanism {
            $($(#[$doc])* $name,)*
        }

        impl Mechanism {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

mechanisms! {
    /// A row came out of order within `reorder` and was sorted in.
    Reordered,
    /// A row came too late.
    Late,
    /// A second row of one time.
    Duplicate,
    /// A row too far ahead of its record's log time.
    Ahead,
    /// A reading was not in its row.
    Absent,
    /// A reading was not a number.
    NotANumber,
    /// A reading was outside its sensor's range.
    OutOfRange,
    /// A node read streams of the source's wide and narrow axes.
    NarrowAndWide,
    /// A row that waited had to go because too many did.
    NoRoom,
    /// A node that may block.
    Slow,
    /// A node that is slow under one plan and not under the one before.
    SlowChanged,
    /// More than one partition.
    Partitions,
    /// A record came in two pieces.
    Pieces,
    /// A value of another axis was read as of then.
    AsOf,
    /// It was there, but older than `max_age`.
    TooOld,
    /// It was there, but no longer among the last `as_of_rows`.
    Forgotten,
    /// A row of a node on the rows of any of its needs.
    OnAny,
    /// A time that was not after the last row of such a node.
    OnAnyLate,
    /// A row that all needs had reached.
    OnAllComplete,
    /// A row that waited long enough.
    OnAllWaited,
    /// A time that came after later rows of such a node.
    OnAllLate,
    /// A row that waited over at least one cause.
    OnAllHeld,
    /// A gate let no row pass.
    WhenClosed,
    /// A gate let a row pass.
    WhenOpen,
    /// A row came too soon after the last.
    EveryThinned,
    /// A row with a missing optional need was computed.
    OptionalMissing,
    /// A row with a missing value was skipped.
    MissingSkip,
    /// An earlier value stood in.
    MissingLast,
    /// No earlier value was there to stand in.
    MissingLastNone,
    /// A default stood in.
    MissingDefault,
    /// An operator got a missing value.
    MissingPass,
    /// An attribute was read.
    AttributeNeed,
    /// An attribute was not known for the key.
    AttributeMissing,
    /// A previous value was read, and there was one.
    Previous,
    /// A previous value was read before there was one.
    PreviousInitial,
    /// A row of a node that reads streams of earlier rows only.
    PreviousOnly,
    /// A row of a loop of more than one node.
    Loop,
    /// A row of its own that an operator made.
    OwnRow,
    /// A row of its own that a tick closed.
    OwnRowTick,
    /// A row of its own that was taken back because its operator failed.
    OwnRowUndone,
    /// A tick.
    Tick,
    /// A row that a tick released at the intake.
    TickReleased,
    /// A row that a tick let go on.
    TickOnAll,
    /// A panic.
    Panic,
    /// An operator's error.
    Error,
    /// A row that a node in quarantine did not compute.
    Quarantine,
    /// A row that a paused node did not compute.
    Paused,
    /// A node was resumed, which ended a quarantine.
    QuarantineResumed,
    /// A node was reset.
    Reset,
    /// A replaced artifact ended a quarantine.
    QuarantineEnded,
    /// A node for one key ran.
    SelectorKey,
    /// A node for keys by pattern ran.
    SelectorPattern,
    /// A node for keys by attribute ran.
    SelectorAttribute,
    /// A node stood still because a more specific one ran.
    Overridden,
    /// A need without a provider for this key was read.
    NoProvider,
    /// A member of a family scored.
    FamilyMember,
    /// A family's default scored.
    FamilyDefault,
    /// A family had no model for the key.
    FamilyNone,
    /// A model scored.
    Model,
    /// A node that no sink asked for did not run.
    Unused,
    /// A sink got what it asked for by a pattern.
    AskPattern,
    /// A sink got what it asked for by asking for all models.
    AskAllModels,
    /// A sink is for some keys, and not for this one.
    SinkOfSomeKeys,
    /// A partition went on under another plan.
    Switch,
    /// A node's state was kept over a switch.
    StateKept,
    /// A node's state was dropped at a switch.
    StateDropped,
    /// A node went on with another artifact.
    ArtifactReplaced,
    /// A waiting row was completed by a switch.
    SwitchCompleted,
    /// A row that waited at the intake was computed by the plan after.
    SwitchIntake,
}
