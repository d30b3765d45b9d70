//! Nodes that fail for many keys: shards say which, and how many keys; whether a node is put in quarantine for all of
//! them is for the supervisor to decide, as it is a change of the plan.

use actix::{Handler, Message, MessageResult};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::cell::{Cell, Shared};
use super::shard::Shard;
use crate::state::KeyHealth;
use crate::topology::node::Work;
use crate::topology::plan::PlanNode;
use crate::topology::selector::Selector;
use crate::words::{KeyIndex, NodeId};

/// Where shards name nodes that went into quarantine for another key. A full one is tried again after the next frame.
pub(crate) type AilingSender = mpsc::Sender<NodeId>;

/// Most names that wait to be looked at.
pub(crate) const AILING_MAX: usize = 64;

impl Shared {
    /// Names a node of the class that went into quarantine for another key since it was named.
    #[inline]
    pub(super) fn name_ailing(&self, plan: &PlanNode, cell: &mut Cell) {
        if !cell.health.has_grown() {
            return;
        }
        // The node of one key has no others.
        let is_full = plan.node.only_key().is_none()
            && self
                .ailing
                .as_ref()
                .is_some_and(|to| matches!(to.try_send(plan.name.clone()), Err(TrySendError::Full(_))));
        if !is_full {
            cell.health.told();
        }
    }
}

/// Asks for how many keys a shard has a node of the class, and for how many of them it is in quarantine.
pub(crate) struct CountQuarantined(pub(crate) std::sync::Arc<PlanNode>);

/// The answer to [`CountQuarantined`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quarantined {
    pub(crate) keys: usize,
    pub(crate) of: usize,
}

impl Message for CountQuarantined {
    type Result = Quarantined;
}

impl Handler<CountQuarantined> for Shard {
    type Result = MessageResult<CountQuarantined>;

    fn handle(&mut self, CountQuarantined(node): CountQuarantined, _context: &mut Self::Context) -> Self::Result {
        let Some(place) = self.installer.place(&node) else { return MessageResult(Quarantined::default()) };
        let names = self.shared.keys.borrow();
        // Those that it was resumed for since, or has another artifact for, may be well.
        let stands = |key: KeyIndex, health: &KeyHealth| {
            let resumed = health.resumed.is_some_and(|before| before < node.resumed());
            let artifact = match &node.node.work {
                Work::Family(family) if node.node.only_key().is_none() => {
                    family.model(&names[key.0 as usize]).map(|model| model.digest())
                }
                _ => node.artifact,
            };
            !resumed && (health.artifact.is_none() || health.artifact == artifact)
        };
        let keys = self.shared.cell(place).borrow().health.quarantines(stands).count();
        let takes = |key: &usize| node.node.selector.takes(&names[*key], &self.keys[*key].attributes.1);
        let of = match node.node.selector {
            Selector::Class => names.len(),
            _ if keys == 0 => 0,
            _ => (0..names.len()).filter(takes).count(),
        };
        MessageResult(Quarantined { keys, of })
    }
}
