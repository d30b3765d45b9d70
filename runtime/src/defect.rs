//! Mechanisms that can be broken on purpose, so that a test can show that it would find out. The choice is made at run
//! time for the threads of one runtime; without the feature `defects` there is none, and the questions cost nothing.

use std::cell::Cell;

/// A mechanism that does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Frames of a partition overtake each other in a node.
    TicketOrder,
    /// A plan takes over one record too late.
    SwitchPosition,
    /// After a row that failed the state is not put back.
    StateRestore,
    /// A need on another axis reads its newest value, whatever the row's time.
    Alignment,
    /// Where all keys of a frame are run in one call, one that failed is passed over.
    FailedKey,
    /// A paused node computes all the same.
    Pause,
    /// A node that is resumed stays in quarantine.
    Resume,
    /// A node that is in quarantine for all keys computes for those that it has not failed for.
    WholeNode,
    /// A source that is paused is not called until it may go on.
    Idle,
    /// Positions are committed before what their rows lead to is done.
    EarlyCommit,
    /// Of what was saved, what nodes remember to align their needs is not restored.
    SavedState,
    /// A row of a slow node may take as long as it likes.
    TimeOut,
    /// The machine refuses every thread of a slow node.
    NoThreads,
    /// Keys with slow nodes are on the chain of their partition.
    Lane,
    /// A key's first rows on a lane do not wait for its rows before them. Whether that shows hangs on the threads' timing.
    LaneEntry,
}

impl Defect {
    /// Those that change what comes out.
    pub const ALL: [Self; 8] = [
        Self::TicketOrder,
        Self::SwitchPosition,
        Self::StateRestore,
        Self::Alignment,
        Self::FailedKey,
        Self::Pause,
        Self::Resume,
        Self::SavedState,
    ];
}

thread_local! {
    static CHOSEN: Cell<Option<Defect>> = const { Cell::new(None) };
}

/// Breaks a mechanism for what runs on this thread.
pub(crate) fn choose(defect: Option<Defect>) {
    CHOSEN.set(defect);
}

/// What is broken on this thread, to be broken on another too.
pub(crate) fn chosen() -> Option<Defect> {
    CHOSEN.get()
}

/// Whether a mechanism is broken on this thread.
#[inline]
pub(crate) fn is_chosen(defect: Defect) -> bool {
    cfg!(feature = "defects") && CHOSEN.get() == Some(defect)
}
