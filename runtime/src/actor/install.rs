//! Plans on a shard: the actors and states of their nodes. Staging adds, beside what runs; retiring takes away what no
//! frame can refer to any more.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, RwLock};

use actix::{Actor, Addr};
use rustc_hash::FxHashMap;

use super::cell::{Artifacts, Cell, Shared};
use super::frame::{Installed, InstalledKey, InstalledNode};
use super::node::NodeActor;
use super::run_queue::{Address, RunQueue};
use crate::topology::bits::Bits;
use crate::topology::node::Work;
use crate::topology::plan::{BasePlan, ClassPlan, KeyPlan, PlanNode};
use crate::topology::variant::Variant;
use crate::traits::{Sink, SinkError};
use crate::words::{Binding, KeyIndex, NodeId, Revision, ShardIndex};

/// The actors of a class on one shard.
pub(crate) struct Installer {
    pub(crate) shard: ShardIndex,
    pub(crate) shared: Rc<Shared>,
    pub(crate) sinks: Arc<RwLock<HashMap<Binding, Arc<dyn Sink>>>>,
    /// Frames that can be in flight on this shard.
    pub(crate) mailbox: usize,
    class_nodes: FxHashMap<(NodeId, Revision), Node>,
    key_nodes: FxHashMap<(NodeId, Revision), KeyNode>,
    free: Vec<u32>,
    bases: Vec<Base>,
    run_queue: RunQueue,
}

struct Node {
    cell: u32,
    actor: Addr<NodeActor>,
}

struct KeyNode {
    cell: u32,
    address: Address,
}

/// The variants of one base plan.
struct Base {
    plan: Arc<BasePlan>,
    variants: HashMap<Bits, Arc<Installed>>,
}

/// Most variants of one plan on a shard: combinations of selectors that keys really have.
pub(crate) const VARIANTS_MAX: usize = 10_000;

impl Installer {
    pub(crate) fn new(
        shard: ShardIndex,
        shared: Rc<Shared>,
        sinks: Arc<RwLock<HashMap<Binding, Arc<dyn Sink>>>>,
        mailbox: usize,
    ) -> Self {
        let (class_nodes, key_nodes) = (FxHashMap::default(), FxHashMap::default());
        let run_queue = RunQueue::new(Rc::clone(&shared.queue));
        let (free, bases) = (Vec::new(), Vec::new());
        Self { shard, shared, sinks, mailbox, class_nodes, key_nodes, free, bases, run_queue }
    }

    /// Starts the actors of the class nodes of a plan that do not run yet. A family that runs looks only at the keys
    /// in `changed`.
    ///
    /// # Errors
    /// When a sink cannot be written to; nothing is left behind that frames could meet.
    pub(crate) fn stage(&mut self, plan: &ClassPlan, changed: &[(NodeId, Vec<KeyIndex>)]) -> Result<(), SinkError> {
        if self.bases.iter().any(|base| base.plan.revision == plan.base.revision) {
            return Ok(());
        }
        for node in &plan.base.nodes {
            let runs = self.class_nodes.contains_key(&(node.name.clone(), node.born));
            self.class_node(node)?;
            if let Work::Family(_) = node.node.work {
                let changed = changed.iter().find(|(name, _)| *name == node.name).filter(|_| runs);
                match changed {
                    Some((_, keys)) => keys.iter().for_each(|key| self.member(node, *key, plan.revision)),
                    None => self.stage_family(node, plan.revision),
                }
            }
        }
        self.bases.push(Base { plan: Arc::clone(&plan.base), variants: HashMap::new() });
        Ok(())
    }

    /// Starts a node of the class, if it is new.
    fn class_node(&mut self, plan: &PlanNode) -> Result<(), SinkError> {
        let identity = (plan.name.clone(), plan.born);
        if self.class_nodes.contains_key(&identity) {
            return Ok(());
        }
        let writer = match &plan.node.work {
            Work::Sink(sink) => {
                let sinks = self.sinks.read().expect("nobody panics with this lock");
                let bound = sinks.get(&sink.binding).ok_or_else(|| SinkError {
                    reason: format!("no sink is bound under the name `{}`", sink.binding),
                })?;
                Some(bound.open(self.shard)?)
            }
            _ => None,
        };
        let cell = self.new_cell(plan);
        let actor = NodeActor::new(Rc::clone(&self.shared), writer);
        let mailbox = self.mailbox;
        let actor = NodeActor::create(|context| {
            context.set_mailbox_capacity(mailbox);
            actor
        });
        self.class_nodes.insert(identity, Node { cell, actor });
        Ok(())
    }

    /// A node of a key, started if it is new.
    fn key_node(&mut self, plan: &Arc<PlanNode>) -> InstalledNode {
        let identity = (plan.name.clone(), plan.born);
        let known = self.key_nodes.get(&identity).map(|node| (node.cell, node.address.clone()));
        let (cell, address) = known.unwrap_or_else(|| {
            let cell = self.new_cell(plan);
            let actor = NodeActor::new(Rc::clone(&self.shared), None);
            let address = self.run_queue.start(actor, self.mailbox);
            self.key_nodes.insert(identity, KeyNode { cell, address: address.clone() });
            (cell, address)
        });
        // A family of one key may have had no artifact so far.
        self.shared.cell(cell).borrow_mut().give_table(plan);
        if plan.node.slow.is_some() {
            self.run_queue.may_await(&address);
        }
        InstalledNode { plan: Arc::clone(plan), address, cell }
    }

    /// The place of a state for a new node.
    fn new_cell(&mut self, plan: &PlanNode) -> u32 {
        let cell = Rc::new(RefCell::new(Cell::new(plan, self.shared.quarantine)));
        let mut cells = self.shared.cells.borrow_mut();
        let place = self.free.pop().unwrap_or_else(|| {
            cells.push(None);
            u32::try_from(cells.len() - 1).expect("fewer than 2^32 nodes")
        });
        cells[place as usize] = Some(cell);
        place
    }

    /// Gives the keys of this shard their artifacts of a family, from a revision on.
    fn stage_family(&mut self, plan: &PlanNode, revision: Revision) {
        let keys = self.shared.keys.borrow().len();
        for key in 0..keys {
            let key = KeyIndex(u32::try_from(key).expect("fewer than 2^32 keys"));
            self.member(plan, key, revision);
        }
    }

    /// Gives a key its artifact of a family from a revision on, unless it has it.
    fn member(&self, plan: &PlanNode, key: KeyIndex, revision: Revision) {
        let Work::Family(family) = &plan.node.work else { return };
        let Some(node) = self.class_nodes.get(&(plan.name.clone(), plan.born)) else { return };
        let model = family.model(&self.shared.keys.borrow()[key.0 as usize]).cloned();
        let cell = self.shared.cell(node.cell);
        let members = &mut cell.borrow_mut().members;
        if members.len() <= key.0 as usize {
            members.resize_with(key.0 as usize + 1, Artifacts::new);
        }
        let artifacts = &mut members[key.0 as usize];
        let same = match (artifacts.last().and_then(|(_, model)| model.as_ref()), &model) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if !same {
            artifacts.push((revision, model));
        }
    }

    /// Gives a key that has just been met its artifacts of all families of a plan.
    pub(crate) fn members(&self, plan: &ClassPlan, key: KeyIndex) {
        for node in &plan.base.nodes {
            self.member(node, key, plan.revision);
        }
    }

    /// Starts the actors of a key's own nodes that do not run yet.
    pub(crate) fn key(&mut self, plan: &Arc<KeyPlan>) -> Arc<InstalledKey> {
        let nodes = plan.nodes.iter().map(|node| self.key_node(node)).collect();
        let slow = plan.nodes.iter().any(|node| node.node.slow.is_some());
        Arc::new(InstalledKey { plan: Arc::clone(plan), wiring: Arc::clone(&plan.wiring), nodes, slow })
    }

    /// Whether there is room for keys with these class nodes, beside so many sets that are not installed yet.
    pub(crate) fn takes(&self, plan: &ClassPlan, mask: &Bits, others: usize) -> bool {
        let base = self.bases.iter().find(|base| base.plan.revision == plan.base.revision);
        base.is_none_or(|base| base.variants.len() + others < VARIANTS_MAX || base.variants.contains_key(mask))
    }

    /// The actors for keys with these class nodes, for which there is room.
    pub(crate) fn variant(&mut self, plan: &ClassPlan, mask: &Bits) -> Arc<Installed> {
        let base = self.bases.iter().position(|base| base.plan.revision == plan.base.revision);
        let base = base.expect("a plan is staged before frames carry it");
        if let Some(installed) = self.bases[base].variants.get(mask) {
            return Arc::clone(installed);
        }
        let count = plan.base.nodes.len();
        let (mut actors, mut cells) = (vec![None; count], vec![0; count]);
        for index in mask.iter() {
            let node = &plan.base.nodes[index];
            let running = &self.class_nodes[&(node.name.clone(), node.born)];
            actors[index] = Some(running.actor.clone());
            cells[index] = running.cell;
        }
        let streams = mask.iter().flat_map(|index| &plan.base.nodes[index].streams);
        let row_bytes = streams.map(|(_, element)| element.row_bytes()).sum();
        let variant = Variant::of(&plan.base, mask.clone());
        let installed = Arc::new(Installed { variant, actors, cells, row_bytes });
        self.bases[base].variants.insert(mask.clone(), Arc::clone(&installed));
        installed
    }

    /// Ends all class nodes that no plan of `alive` has, and forgets plans that are not among them; the places of the
    /// states that ended. Actors end when their last address is dropped. Of a family in `changed` only those keys are
    /// looked at.
    pub(crate) fn retire(&mut self, alive: &[Arc<ClassPlan>], changed: &[(NodeId, Vec<KeyIndex>)]) -> Vec<u32> {
        self.bases.retain(|base| alive.iter().any(|plan| plan.base.revision == base.plan.revision));
        let mut keep: std::collections::HashSet<(NodeId, Revision)> = std::collections::HashSet::new();
        for plan in alive {
            keep.extend(plan.base.nodes.iter().map(|node| (node.name.clone(), node.born)));
        }
        let ended: Vec<_> = self.class_nodes.keys().filter(|identity| !keep.contains(*identity)).cloned().collect();
        let places = ended.into_iter().filter_map(|identity| self.end(&identity)).collect();
        let oldest = alive.iter().map(|plan| plan.revision).min().unwrap_or_default();
        for node in alive.iter().flat_map(|plan| &plan.base.nodes) {
            if let (Work::Family(_), Some(running)) =
                (&node.node.work, self.class_nodes.get(&(node.name.clone(), node.born)))
            {
                let keys = changed.iter().find(|(name, _)| *name == node.name).map(|(_, keys)| &keys[..]);
                trim_members(&self.shared, running.cell, keys, oldest);
            }
        }
        places
    }

    /// Takes back the artifacts of a revision that is not switched to.
    pub(crate) fn unstage_members(&self, revision: Revision) {
        for node in self.class_nodes.values() {
            let cell = self.shared.cell(node.cell);
            for artifacts in &mut cell.borrow_mut().members {
                artifacts.retain(|(from, _)| *from != revision);
            }
        }
    }

    /// Ends one node; the place of its state.
    pub(crate) fn end(&mut self, identity: &(NodeId, Revision)) -> Option<u32> {
        let of_key = self.key_nodes.remove(identity).map(|node| node.cell);
        let cell = of_key.or_else(|| self.class_nodes.remove(identity).map(|node| node.cell))?;
        self.shared.cells.borrow_mut()[cell as usize] = None;
        self.free.push(cell);
        Some(cell)
    }

    /// The place of a running node's state.
    pub(crate) fn place(&self, node: &PlanNode) -> Option<u32> {
        let identity = (node.name.clone(), node.born);
        match node.node.only_key() {
            Some(_) => self.key_nodes.get(&identity).map(|node| node.cell),
            None => self.class_nodes.get(&identity).map(|node| node.cell),
        }
    }

    /// How many actors there are.
    pub(crate) fn actors(&self) -> usize {
        self.class_nodes.len() + self.key_nodes.len()
    }

    /// The running nodes with the places of their states.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&NodeId, Revision, u32)> {
        let of_class = self.class_nodes.iter().map(|(identity, node)| (identity, node.cell));
        let of_keys = self.key_nodes.iter().map(|(identity, node)| (identity, node.cell));
        of_class.chain(of_keys).map(|((name, born), cell)| (name, *born, cell))
    }
}

/// Forgets artifacts that no living plan's frames can ask for.
fn trim_members(shared: &Shared, cell: u32, keys: Option<&[KeyIndex]>, oldest: Revision) {
    let cell = shared.cell(cell);
    let members = &mut cell.borrow_mut().members;
    let trim = |artifacts: &mut Artifacts| {
        let in_force = artifacts.iter().rposition(|(from, _)| *from <= oldest).unwrap_or(0);
        artifacts.drain(..in_force);
    };
    match keys {
        None => members.iter_mut().for_each(trim),
        Some(keys) => keys.iter().for_each(|key| {
            if let Some(artifacts) = members.get_mut(key.0 as usize) {
                trim(artifacts);
            }
        }),
    }
}
