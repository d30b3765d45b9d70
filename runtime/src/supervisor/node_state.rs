//! How a node stands, and what can become of it: one table.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::topology::declared::Declared;
use crate::topology::node::Node;
use crate::topology::plan::ClassPlan;

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It is accepted, and waits until somebody provides what it needs.
    Pending,
    /// It is accepted, and runs once a sink asks for what it provides.
    Unused,
    /// Its actors are being started.
    Staged,
    /// It computes.
    Running,
    /// It computes nothing until it is resumed, and keeps its state.
    Paused,
    /// It failed too often for at least one key, or for all, and computes nothing for it until it is resumed or replaced.
    Quarantined,
    /// Rows that came before the switch are computed to their end.
    Draining,
    /// It is gone.
    Retired,
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Move {
    /// What it needs is provided and asked for: its actors are started.
    Stage,
    /// Rows come to it from a position on.
    Switch,
    /// Its provider goes.
    Wait,
    /// Nobody asks for it any more.
    Unask,
    /// An operator of the system pauses it.
    Pause,
    /// An operator of the system lets it compute again.
    Resume,
    /// Its state begins anew.
    Reset,
    /// It is replaced by another version with its name.
    Replace,
    /// It failed too often for a key, or for many.
    Quarantine,
    /// It is removed, or what was staged is taken back.
    Remove,
    /// The last row from before the switch is done.
    Drain,
}

/// Every legal move: from, by, to. What is not in it cannot happen.
pub const MOVES: [(NodeState, Move, NodeState); 42] = {
    use Move::{Drain, Pause, Quarantine, Remove, Replace, Reset, Resume, Stage, Switch, Unask, Wait};
    use NodeState::{Draining, Paused, Pending, Quarantined, Retired, Running, Staged, Unused};
    [
        (Pending, Stage, Staged),
        (Pending, Unask, Unused),
        (Pending, Replace, Pending),
        (Pending, Pause, Pending),
        (Pending, Resume, Pending),
        (Pending, Reset, Pending),
        (Pending, Remove, Retired),
        (Unused, Stage, Staged),
        (Unused, Wait, Pending),
        (Unused, Replace, Unused),
        (Unused, Pause, Unused),
        (Unused, Resume, Unused),
        (Unused, Reset, Unused),
        (Unused, Remove, Retired),
        (Staged, Switch, Running),
        (Staged, Pause, Staged),
        (Staged, Resume, Staged),
        (Staged, Reset, Staged),
        (Staged, Remove, Retired),
        (Running, Pause, Paused),
        (Running, Resume, Running),
        (Running, Reset, Running),
        (Running, Replace, Running),
        (Running, Quarantine, Quarantined),
        (Running, Wait, Draining),
        (Running, Unask, Draining),
        (Running, Remove, Draining),
        (Paused, Pause, Paused),
        (Paused, Resume, Running),
        (Paused, Reset, Paused),
        (Paused, Replace, Paused),
        (Paused, Wait, Draining),
        (Paused, Unask, Draining),
        (Paused, Remove, Draining),
        (Quarantined, Resume, Running),
        (Quarantined, Reset, Running),
        (Quarantined, Replace, Running),
        (Quarantined, Pause, Paused),
        (Quarantined, Wait, Draining),
        (Quarantined, Unask, Draining),
        (Quarantined, Remove, Draining),
        (Draining, Drain, Retired),
    ]
};

impl NodeState {
    /// What becomes of it; `None` when that cannot happen to it.
    pub fn after(self, what: Move) -> Option<Self> {
        MOVES.iter().find(|(from, by, _)| (*from, *by) == (self, what)).map(|(_, _, to)| *to)
    }

    /// Whether this can happen to it.
    pub fn allows(self, what: Move) -> bool {
        self.after(what).is_some()
    }

    /// As in answers of the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Unused => "unused",
            Self::Staged => "staged",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Quarantined => "quarantined",
            Self::Draining => "draining",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Move {
    /// What was done to the node, as a sentence has it.
    pub(super) fn done(self) -> &'static str {
        match self {
            Self::Stage => "staged",
            Self::Switch => "switched to",
            Self::Wait => "made to wait",
            Self::Unask => "unasked",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Reset => "reset",
            Self::Replace => "replaced",
            Self::Quarantine => "put in quarantine",
            Self::Remove => "removed",
            Self::Drain => "drained",
        }
    }
}

/// How a declared node stands, as far as plans know.
pub(crate) fn declared(plan: &ClassPlan, declared: &Declared, node: &Node) -> NodeState {
    let name = node.name();
    if plan.base.pending.contains_key(&name) {
        return NodeState::Pending;
    }
    if plan.node(&name).is_none() && declared.get(&name).is_some() {
        return if plan.base.unused.contains(&name) { NodeState::Unused } else { NodeState::Staged };
    }
    match declared.held.get(&name) {
        Some(held) if held.paused => NodeState::Paused,
        Some(held) if held.quarantined => NodeState::Quarantined,
        _ => NodeState::Running,
    }
}
