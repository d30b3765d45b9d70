//! Why a deployment did not happen.

use std::fmt;

use super::node_state::{Move, NodeState};
use crate::topology::node::NodeKind;
use crate::topology::problem::ResolveErrors;
use crate::words::{Class, Key, NodeId, Revision};

/// A deployment was refused or undone; what ran before runs on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// No topology of that class runs.
    #[error("no topology of class `{class}` runs; there are {known}")]
    UnknownClass {
        /// The class.
        class: Class,
        /// Those that run.
        known: String,
    },
    /// The class was left out where there are several.
    #[error("several topologies run ({known}); say which one the deployment is for")]
    WhichClass {
        /// Those that run.
        known: String,
    },
    /// There is no such node.
    #[error("there is no node `{node}`{}", nearest.as_ref().map_or(String::new(), |name| format!("; did you mean `{name}`?")))]
    UnknownNode {
        /// The node.
        node: NodeId,
        /// The most similar name there is.
        nearest: Option<NodeId>,
    },
    /// The topology would be wrong.
    #[error(transparent)]
    Resolve(#[from] ResolveErrors),
    /// The plan has changed since the preview.
    #[error("the deployment was made for revision {base}, but {current} runs; preview it again")]
    Stale {
        /// What it was made for.
        base: Revision,
        /// What runs.
        current: Revision,
    },
    /// A node cannot be paused, resumed or reset.
    #[error("`{node}` cannot be {}: {}", asked.done(), refused(*state, *kind))]
    Illegal {
        /// The node.
        node: NodeId,
        /// How it stands.
        state: NodeState,
        /// What was asked for.
        asked: Move,
        /// What it is.
        kind: NodeKind,
    },
    /// States would be lost, and nobody said that they may be.
    #[error(
        "{} would lose what is known of earlier rows, as its new version cannot have it; say `reset` to let it begin anew",
        nodes.iter().map(|node| format!("`{node}`")).collect::<Vec<_>>().join(", ")
    )]
    StateLost {
        /// The nodes.
        nodes: Vec<NodeId>,
    },
    /// Models could not score their trial rows.
    #[error(transparent)]
    Trial(#[from] TrialErrors),
    /// A shard could not start the new nodes.
    #[error("the new nodes could not be started: {reason}")]
    Stage {
        /// Why.
        reason: String,
    },
    /// It took too long and was undone.
    #[error(
        "{phase}{} took longer than {limit:?}, the limit; it was undone, and what ran before runs on",
        node.as_ref().map_or(String::new(), |node| format!(" of `{node}`"))
    )]
    TimedOut {
        /// What took so long.
        phase: &'static str,
        /// The node, where it is one.
        node: Option<NodeId>,
        /// The limit.
        limit: std::time::Duration,
    },
    /// There is no such revision to go back to.
    #[error("revision {revision} is not kept; kept are {kept}")]
    UnknownRevision {
        /// The revision.
        revision: Revision,
        /// Those that are.
        kept: String,
    },
    /// The runtime has stopped.
    #[error("the runtime has stopped")]
    Stopped,
    /// Several of these.
    #[error("{}", lines(.0))]
    Several(Vec<Self>),
}

/// Errors that are written out; the rest is counted.
const SHOWN: usize = 50;

impl DeployError {
    /// Each thing that is wrong.
    pub fn each(&self) -> &[Self] {
        match self {
            Self::Several(errors) => errors,
            one => std::slice::from_ref(one),
        }
    }

    /// All of these.
    pub(super) fn of(mut errors: Vec<Self>) -> Self {
        if errors.len() == 1 { errors.remove(0) } else { Self::Several(errors) }
    }

    /// Nothing, if nothing is wrong; else all of it.
    pub(super) fn all(errors: Vec<Self>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self::of(errors)) }
    }
}

fn lines(errors: &[DeployError]) -> String {
    let more = errors.len().saturating_sub(SHOWN);
    let shown = errors.iter().take(SHOWN).map(ToString::to_string);
    shown.chain((more > 0).then(|| format!("… and {more} more"))).collect::<Vec<_>>().join("\n")
}

/// A model could not score its trial row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialError {
    /// The node.
    pub node: NodeId,
    /// The key whose model it is, where each has its own.
    pub member: Option<Key>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for TrialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` failed on its trial row: ", self.node)?;
        if let Some(key) = &self.member {
            write!(f, "member `{key}`: ")?;
        }
        f.write_str(&self.reason)
    }
}

/// Every model of a deployment that could not score its trial row. As text, one line each: `{}` writes the first 20 and
/// counts the rest, `{:#}` writes all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialErrors(pub Vec<TrialError>);

/// Models that are written out; the rest is counted, unless all are asked for.
const TRIALS_SHOWN: usize = 20;

impl fmt::Display for TrialErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if f.alternate() { self.0.len() } else { TRIALS_SHOWN };
        for (index, error) in self.0.iter().take(shown).enumerate() {
            write!(f, "{}{error}", if index == 0 { "" } else { "\n" })?;
        }
        match self.0.len().saturating_sub(shown) {
            0 => Ok(()),
            more => write!(f, "\n{more} more models failed and are not shown; `TrialErrors` has all"),
        }
    }
}

impl std::error::Error for TrialErrors {}

fn refused(state: NodeState, kind: NodeKind) -> String {
    match kind {
        NodeKind::Sink => "it is a sink, and what it does not write would be lost; remove it instead".to_owned(),
        _ => format!("it is {state}"),
    }
}
