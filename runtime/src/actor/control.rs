//! What the supervisor tells a shard: to stage a plan, to retire what is over, to take a stage back, to say what it
//! has counted.

use std::sync::Arc;
use std::time::Duration;

use actix::{Handler, Message};
use rustc_hash::FxHashMap;

use super::cell::Counts;
use super::frame::InstalledKey;
use super::intake::IntakeCounts;
use super::lanes::ByChain;
use super::node::AbortOnPanic;
use super::pool::PoolStand;
use super::shard::Shard;
use crate::topology::plan::ClassPlan;
use crate::traits::{BadReadings, SinkError};
use crate::words::{Key, KeyIndex, NodeId, Revision};

/// Starts the actors of a plan beside those that run.
pub(crate) struct Stage {
    pub(crate) plan: Arc<ClassPlan>,
    /// Keys whose own nodes changed.
    pub(crate) keys: Arc<Vec<Key>>,
    /// Families whose members changed, with those keys: only these are looked at.
    pub(crate) members: Arc<Vec<(NodeId, Vec<Key>)>>,
}

impl Message for Stage {
    type Result = Result<(), SinkError>;
}

impl Handler<Stage> for Shard {
    type Result = Result<(), SinkError>;

    fn handle(&mut self, stage: Stage, _context: &mut Self::Context) -> Self::Result {
        let _guard = AbortOnPanic;
        let members = self.known(&stage.members);
        self.installer.stage(&stage.plan, &members)?;
        for name in stage.keys.iter() {
            if let Some(key) = self.index.get(name).copied() {
                self.install_own(&stage.plan, name, key);
            }
        }
        self.plans.push(stage.plan);
        Ok(())
    }
}

/// Ends what only plans before a revision had.
#[derive(Clone)]
pub(crate) struct Retire {
    pub(crate) before: Revision,
    /// Keys whose own nodes changed.
    pub(crate) keys: Arc<Vec<Key>>,
    /// As in [`Stage`].
    pub(crate) members: Arc<Vec<(NodeId, Vec<Key>)>>,
}

impl Message for Retire {
    type Result = ();
}

impl Handler<Retire> for Shard {
    type Result = ();

    fn handle(&mut self, retire: Retire, _context: &mut Self::Context) {
        let _guard = AbortOnPanic;
        self.plans.retain(|plan| plan.revision >= retire.before);
        self.shared.watches.borrow_mut().retire(retire.before);
        for name in retire.keys.iter() {
            if let Some(key) = self.index.get(name).copied() {
                self.retire_own(key, retire.before);
            }
        }
        let (plans, members) = (self.plans.clone(), self.known(&retire.members));
        for place in self.installer.retire(&plans, &members) {
            // The place is given again, to a node whose turns begin at 0.
            if let Some(tickets) = self.tickets.get_mut(place as usize) {
                tickets.clear();
            }
        }
    }
}

impl Shard {
    /// The changed members of families whose keys the shard has met.
    fn known(&self, members: &[(NodeId, Vec<Key>)]) -> Vec<(NodeId, Vec<KeyIndex>)> {
        let known = |keys: &Vec<Key>| keys.iter().filter_map(|key| self.index.get(key).copied()).collect();
        members.iter().map(|(node, keys)| (node.clone(), known(keys))).collect()
    }

    fn retire_own(&mut self, key: KeyIndex, before: Revision) {
        let own = &mut self.keys[key.0 as usize].own;
        let in_force = own.iter().rposition(|(from, _)| *from <= before).unwrap_or(0);
        let gone: Vec<_> = own.drain(..in_force).filter_map(|(_, own)| own).collect();
        self.end_own(key, &gone);
    }

    /// Ends what a key no longer has in any plan.
    fn end_own(&mut self, key: KeyIndex, gone: &[Arc<InstalledKey>]) {
        let entry = &self.keys[key.0 as usize];
        let kept: Vec<(NodeId, Revision)> = entry
            .own
            .iter()
            .filter_map(|(_, own)| own.as_ref())
            .flat_map(|own| own.plan.nodes.iter().map(|node| (node.name.clone(), node.born)))
            .collect();
        for node in gone.iter().flat_map(|own| &own.plan.nodes) {
            let identity = (node.name.clone(), node.born);
            if !kept.contains(&identity)
                && let Some(place) = self.installer.end(&identity)
            {
                self.keys[key.0 as usize].own_tickets.retain(|(of, _)| *of != place);
            }
        }
    }
}

/// A staged plan is not switched to: it is forgotten, with what only it had.
pub(crate) struct Unstage(pub(crate) Revision);

impl Message for Unstage {
    type Result = ();
}

impl Handler<Unstage> for Shard {
    type Result = ();

    fn handle(&mut self, Unstage(revision): Unstage, _context: &mut Self::Context) {
        self.plans.retain(|plan| plan.revision != revision);
        for index in 0..self.keys.len() {
            let own = &mut self.keys[index].own;
            if own.last().is_some_and(|(from, _)| *from == revision)
                && let Some((_, own)) = own.pop()
            {
                self.end_own(KeyIndex(u32::try_from(index).expect("fewer than 2^32 keys")), own.as_slice());
            }
        }
        let plans = self.plans.clone();
        self.installer.unstage_members(revision);
        for place in self.installer.retire(&plans, &[]) {
            if let Some(tickets) = self.tickets.get_mut(place as usize) {
                tickets.clear();
            }
        }
    }
}

/// Asks for what the shard has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Inspect {
    /// Also for memory, which takes the shard a microsecond or more a node.
    pub(crate) memory: bool,
    /// Also for what waits.
    pub(crate) waiting: bool,
}

/// What a shard has counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inspected {
    pub(crate) keys: usize,
    pub(crate) actors: usize,
    /// Messages that an actor's mailbox takes.
    pub(crate) mailbox: usize,
    pub(crate) intake: IntakeCounts,
    pub(crate) nodes: Vec<InspectedNode>,
}

/// A node on a shard.
#[derive(Clone, Debug)]
pub(crate) struct InspectedNode {
    pub(crate) name: NodeId,
    pub(crate) born: Revision,
    pub(crate) counts: Counts,
    /// What a sensor could not use.
    pub(crate) bad: BadReadings,
    /// See [`Cell::forgotten`](super::cell::Cell::forgotten).
    pub(crate) forgotten: u64,
    /// Keys it is quarantined for.
    pub(crate) quarantined: usize,
    /// See [`Cell::busy`](super::cell::Cell::busy).
    pub(crate) busy: Duration,
    /// Rows that wait until all needs have reached them.
    pub(crate) waiting_rows: u64,
    /// Frames that it is to compute and has not, if that was asked for.
    pub(crate) waiting: u64,
    /// Bytes of states and artifacts by key, if that was asked for.
    pub(crate) bytes: usize,
    pub(crate) overruns: u64,
    /// Of a slow node, for all shards.
    pub(crate) pool: Option<PoolStand>,
}

impl Message for Inspect {
    type Result = Inspected;
}

impl Handler<Inspect> for Shard {
    type Result = actix::MessageResult<Inspect>;

    fn handle(&mut self, inspect: Inspect, _context: &mut Self::Context) -> Self::Result {
        let own = self.keys.iter().filter(|_| inspect.waiting).flat_map(|key| &key.own_tickets);
        let own: FxHashMap<u32, u64> = own.copied().collect();
        let nodes = self.installer.running().map(|(name, born, place)| {
            let cell = self.shared.cell(place);
            let cell = cell.borrow();
            let of_class = self.tickets.get(place as usize).map_or(0, ByChain::sum);
            let given = of_class + own.get(&place).copied().unwrap_or(0);
            InspectedNode {
                name: name.clone(),
                born,
                counts: cell.counts,
                bad: cell.bad,
                forgotten: cell.forgotten,
                quarantined: cell.health.quarantines(|_, _| true).count(),
                busy: cell.busy,
                waiting_rows: cell.align.values().map(|align| align.waiting.len() as u64).sum(),
                waiting: given.saturating_sub(cell.frames),
                bytes: if inspect.memory { cell.bytes() } else { 0 },
                overruns: cell.overruns,
                pool: self.shared.blocking.pools.stand(name, born),
            }
        });
        actix::MessageResult(Inspected {
            keys: self.keys.len(),
            actors: self.installer.actors(),
            mailbox: self.options.mailbox,
            intake: self.shared.tally.with_readings(self.counts),
            nodes: nodes.collect(),
        })
    }
}
