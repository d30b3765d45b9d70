//! What can be wrong with a topology.

use std::fmt;

use crate::words::id::NameError;
use crate::words::{ElementType, NodeId, StreamName};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A name that names do not look like.
    #[error("{0}")]
    Name(#[from] NameError),
    /// Nobody provides what a node needs.
    #[error("`{node}` needs `{stream}`, which nobody provides{}", nearest.as_ref().map_or(String::new(), |name| format!("; did you mean `{name}`?")))]
    Unmet {
        /// The node.
        node: NodeId,
        /// What it needs.
        stream: StreamName,
        /// The most similar name there is.
        nearest: Option<StreamName>,
    },
    /// The attribute is not declared.
    #[error(
        "`{node}` needs the attribute `{attribute}`, which is not declared; declare it with `Attributes::declare` or in the attribute file"
    )]
    UnknownAttribute {
        /// The node.
        node: NodeId,
        /// The attribute.
        attribute: StreamName,
    },
    /// A need or a second provider has another type.
    #[error("`{stream}` is {is} as `{provider}` provides it, but {wants} in `{node}`")]
    Type {
        /// The stream.
        stream: StreamName,
        /// Who provides it.
        provider: NodeId,
        /// Its type there.
        is: ElementType,
        /// Who disagrees.
        node: NodeId,
        /// The type there.
        wants: ElementType,
    },
    /// Two nodes of one name.
    #[error("two nodes are named `{node}` and differ; name one of them otherwise with `.named(…)`")]
    SameName {
        /// Their name.
        node: NodeId,
    },
    /// Two providers where neither is more specific.
    #[error(
        "`{first}` and `{second}` both provide `{stream}` for the same keys; give one a selector or a higher `priority`"
    )]
    TwoProviders {
        /// The stream.
        stream: StreamName,
        /// One of them.
        first: NodeId,
        /// The other.
        second: NodeId,
    },
    /// An override that leaves something out.
    #[error(
        "`{node}` stands in for `{other}`, but does not provide `{stream}`; an override provides all that the other does"
    )]
    PartialOverride {
        /// The override.
        node: NodeId,
        /// What it overrides.
        other: NodeId,
        /// What it leaves out.
        stream: StreamName,
    },
    /// Two providers whose rows differ.
    #[error(
        "`{stream}` has {is} from `{provider}`, but {other_is} from `{node}`; all providers of a stream need the same rows"
    )]
    Axis {
        /// The stream.
        stream: StreamName,
        /// One provider.
        provider: NodeId,
        /// Its axis.
        is: String,
        /// The other.
        node: NodeId,
        /// Its axis.
        other_is: String,
    },
    /// Nodes that wait for each other.
    #[error("a cycle: {}; close it with `previous(stream, initial)`", join(path, " → "))]
    Cycle {
        /// The nodes, the first again at the end.
        path: Vec<NodeId>,
    },
    /// A `previous` on other rows.
    #[error("`{node}` needs `previous({stream})`, which is on other rows ({is}) than its own ({own})")]
    PreviousElsewhere {
        /// The node.
        node: NodeId,
        /// The stream.
        stream: StreamName,
        /// Its axis.
        is: String,
        /// The node's axis.
        own: String,
    },
    /// A node that cannot be in a loop.
    #[error("`{node}` is in a loop, but {why}")]
    Loop {
        /// The node.
        node: NodeId,
        /// Why it cannot.
        why: String,
    },
    /// The operator or model does not take these types.
    #[error("`{node}`: {why}")]
    Unfit {
        /// The node.
        node: NodeId,
        /// What does not fit.
        why: String,
    },
    /// A parameter that cannot be.
    #[error("`{node}`: {what}")]
    Setting {
        /// The node.
        node: NodeId,
        /// Which, its limit, and what to do.
        what: String,
    },
    /// A sink that takes nothing.
    #[error("sink `{node}` asks for `{stream}`, which nobody provides{}", nearest.as_ref().map_or(String::new(), |name| format!("; did you mean `{name}`?")))]
    NothingToSink {
        /// The sink.
        node: NodeId,
        /// What it asks for.
        stream: StreamName,
        /// The most similar name there is.
        nearest: Option<StreamName>,
    },
    /// The source brings no such column.
    #[error("sensor `{node}` reads `{raw}` of {element}, but the source brings {brings}")]
    NotInSource {
        /// The sensor.
        node: NodeId,
        /// Its column.
        raw: StreamName,
        /// The type it wants.
        element: ElementType,
        /// What there is.
        brings: String,
    },
    /// More than there may be.
    #[error("{what}: {count}; the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
}

/// Everything that is wrong with a topology. As text, one line each: `{}` writes the first 50 and counts the rest, `{:#}`
/// writes all.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolveErrors(pub Vec<Problem>);

/// Problems that are written out; the rest is counted, unless all are asked for.
const SHOWN: usize = 50;

impl fmt::Display for ResolveErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} problem{} in the topology:", if count == 1 { "" } else { "s" })?;
        let shown = if f.alternate() { count } else { SHOWN };
        for problem in self.0.iter().take(shown) {
            write!(f, "\n  - {problem}")?;
        }
        if count > shown { write!(f, "\n  … and {} more", count - shown) } else { Ok(()) }
    }
}

impl std::error::Error for ResolveErrors {}

fn join(names: &[NodeId], between: &str) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(between)
}

/// The name most like `wanted`, if one is near enough to be meant.
pub fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n StreamName>) -> Option<StreamName> {
    let limit = wanted.len() / 3 + 1;
    names
        .map(|name| (distance(wanted, name), name))
        .filter(|(far, _)| *far <= limit)
        .min()
        .map(|(_, name)| name.clone())
}

/// Levenshtein's distance: insertions, deletions and substitutions of bytes between two texts.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
