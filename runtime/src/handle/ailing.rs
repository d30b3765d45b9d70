//! Puts nodes in quarantine for all keys that fail for many of them: a change of the plan, as it is not for one shard to
//! decide, and a replay has to find it at the same position.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use super::{Handle, Inner};
use crate::actor::ailing::{CountQuarantined, Quarantined};
use crate::supervisor::Deployment;
use crate::words::{Class, NodeId};

/// From one look to the next at least: shards count for each.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

impl Handle {
    /// Looks after the nodes of a class until its shards end. `keys`: see
    /// [`Options::quarantine_keys`](crate::Options::quarantine_keys).
    pub(crate) fn look_after(&self, class: Class, named: Receiver<NodeId>, keys: usize) {
        tokio::spawn(look_after(Arc::downgrade(&self.0), class, named, keys));
    }
}

async fn look_after(runtime: Weak<Inner>, class: Class, mut named: Receiver<NodeId>, keys: usize) {
    while let Some(first) = named.recv().await {
        let mut nodes = BTreeSet::from([first]);
        while let Ok(node) = named.try_recv() {
            nodes.insert(node);
        }
        for node in nodes {
            let Some(handle) = runtime.upgrade().map(Handle) else { return };
            let Some(now) = handle.quarantined(&class, &node).await else { continue };
            if now.keys < keys || now.keys * 2 < now.of {
                continue;
            }
            let deployment = Deployment::of(class.as_str()).quarantine(node.clone());
            let (quarantined, of) = (now.keys as i64, now.of as i64);
            match handle.apply(deployment).await {
                Ok(applied) => tracing::warn!(
                    %class, %node, quarantined, of, revision = applied.revision.0 as i64,
                    "a node failed for too many keys and is in quarantine for all; mend it, or resume it"
                ),
                Err(error) => tracing::warn!(
                    %class, %node, quarantined, of, %error,
                    "a node failed for too many keys and could not be put in quarantine for all"
                ),
            }
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

impl Handle {
    /// For how many keys a node of the class that runs is in quarantine, and of how many; `None` where it stands still.
    async fn quarantined(&self, class: &Class, node: &NodeId) -> Option<Quarantined> {
        let (node, shards) = {
            let state = self.0.state();
            let class = state.classes.get(class)?;
            let node = class.plan.base.nodes.iter().find(|running| running.name == *node)?;
            (Arc::clone(node), class.doors.shards.clone())
        };
        if node.stands_still() {
            return None;
        }
        let mut all = Quarantined::default();
        for shard in shards {
            let here = shard.send(CountQuarantined(Arc::clone(&node))).await.ok()?;
            all.keys += here.keys;
            all.of += here.of;
        }
        Some(all)
    }
}
