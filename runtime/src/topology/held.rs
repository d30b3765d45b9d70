//! What was decided about a node while it ran, apart from what it is.

use std::sync::Arc;

use immutable_chunkmap::map::MapM;

use crate::words::{NodeId, Revision};

/// What was decided about a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Whether it computes nothing: its rows' outputs are missing, and its state stays as it is.
    pub paused: bool,
    /// Whether it computes nothing as it failed for too many keys: the same, until it is resumed or replaced.
    pub quarantined: bool,
    /// The revision that ended its quarantines last; 0 for none.
    pub resumed: Revision,
    /// The revision in which its state began anew last; 0 for none.
    pub reset: Revision,
}

/// What was decided about the nodes of a class; most have nothing.
pub type AllHeld = MapM<NodeId, Arc<Held>>;

/// Decides something about a node.
pub fn hold(all: &mut AllHeld, node: &NodeId, decide: impl FnOnce(&mut Held)) {
    let mut held = all.get(node).map_or_else(Held::default, |held| **held);
    decide(&mut held);
    if held == Held::default() {
        all.remove_cow(node);
    } else {
        all.insert_cow(node.clone(), Arc::new(held));
    }
}
