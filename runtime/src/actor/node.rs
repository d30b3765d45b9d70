//! The actor of a node on a shard: it takes frames in their order, computes, writes its slots, and wakes whoever has
//! become ready.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message};
use smallvec::SmallVec;

use super::cell::{Cell, Shared};
use super::compute::NodeRun;
use super::frame::{Frame, InstalledNode, Kind, Own, Piece, Written};
use super::lanes::{ByChain, ChainNumber};
use super::loops::{reads_itself, run_loop};
use super::output::Finished;
use super::own_actor::Slow;
use super::pool::Pool;
use super::run_queue::Queue;
use super::sink;
use super::slow::{Outcome, Pending};
use crate::defect::{self, Defect};
use crate::prefetch::{CONTENT_AHEAD, MODEL_AHEAD, prefetch};
use crate::topology::node::Work;
use crate::topology::plan::{PlanNode, To, Wires};
use crate::topology::variant::Variant;
use crate::traits::SinkWriter;

/// So many keys before its own a key's nodes are asked for; the node, and its places in the frame; its plan and the place of
/// its state; from [`MODEL_AHEAD`] on as for nodes of many keys. What there is of a frame does not stay in the cache until its
/// last key's turn.
const KEY_AHEAD: usize = 12;
const NODE_AHEAD: usize = 9;
const PLAN_AHEAD: usize = 6;
/// So many nodes before they are woken, one after the other, what their keys have is asked for; the nodes; their actors.
const WAKE_KEY_AHEAD: usize = 24;
const WAKE_NODE_AHEAD: usize = 16;
const WAKE_AHEAD: usize = 8;

/// A frame is ready for a node.
pub(crate) struct Run {
    pub(crate) frame: Arc<Frame>,
    pub(crate) at: At,
}

/// Which node of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// A node of the class, by its place in the plan; it leads its loop.
    Class(u32),
    /// A node of the key at a place of the frame.
    Key { run: u32, node: u16 },
}

impl Message for Run {
    type Result = ();
}

/// See the module.
pub(crate) struct NodeActor {
    shared: Rc<Shared>,
    writer: Option<Box<dyn SinkWriter>>,
    /// Of a node that may block.
    pool: Option<Arc<Pool>>,
    slow: Option<Slow>,
    /// A node of one key has one chain.
    chains: ByChain<Turns>,
}

/// Whose turn it is among the frames of a chain, for one node.
#[derive(Default)]
struct Turns {
    next: u64,
    /// Frames that are ready before their turn; never more than there are in flight.
    early: BTreeMap<u64, Run>,
}

impl Turns {
    /// The frame whose turn it was is done; the next, if it is there.
    fn next(&mut self) -> Option<Run> {
        self.next += 1;
        if self.early.is_empty() { None } else { self.early.remove(&self.next) }
    }
}

/// Engine code that panics ends the process: recovery is proven, half-broken state is not.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the engine panicked; aborting");
            std::process::abort();
        }
    }
}

impl NodeActor {
    pub(crate) fn new(shared: Rc<Shared>, writer: Option<Box<dyn SinkWriter>>) -> Self {
        Self { shared, writer, pool: None, slow: None, chains: ByChain::default() }
    }

    /// The rest of the work on a frame of a key, if it waits for a pool.
    pub(super) fn slow(&mut self) -> Option<Slow> {
        self.slow.take()
    }

    /// Takes a frame that is ready.
    pub(super) fn take(&mut self, run: Run, context: &mut Context<Self>) {
        let _guard = AbortOnPanic;
        let (chain, ticket) = match run.at {
            At::Class(leader) => (run.frame.chain, run.frame.tickets[leader as usize]),
            At::Key { run: key, node } => (ChainNumber::Partition(0), run.frame.own_node(key, node).ticket),
        };
        let turns = self.chains.at(chain);
        if turns.next != ticket && !defect::is_chosen(Defect::TicketOrder) {
            turns.early.insert(ticket, run);
            return;
        }
        self.go_on(chain, run, context);
    }

    /// Works on a frame whose turn it is, and on those behind it whose turn comes.
    fn go_on(&mut self, chain: ChainNumber, run: Run, context: &mut Context<Self>) {
        let mut next = Some(run);
        while let Some(run) = next {
            let _entered = run.frame.span.enter();
            match slow_node(&run) {
                Some((plan, cell)) => {
                    let (plan, cell) = (Arc::clone(plan), self.shared.cell(cell));
                    let pool = self.pool.get_or_insert_with(|| self.shared.blocking.pools.of(&plan.name, plan.born));
                    let mut pending = Pending::begin(&run.frame, run.at, (&plan, cell), pool, &self.shared);
                    if let Some(task) = pending.task(pool, &self.shared) {
                        let done = actix::fut::wrap_future(task).map(move |outcome, actor: &mut Self, context| {
                            let _guard = AbortOnPanic;
                            actor.end_slow(pending, Some(outcome));
                            if let Some(run) = actor.chains.at(chain).next() {
                                actor.go_on(chain, run, context);
                            }
                        });
                        match run.at {
                            At::Class(_) => _ = context.spawn(done),
                            At::Key { .. } => self.slow = Some(Box::pin(done)),
                        }
                        return;
                    }
                    self.end_slow(pending, None);
                }
                None => self.work(&run),
            }
            next = self.chains.at(chain).next();
        }
    }

    /// What comes after a slow node's rows.
    fn end_slow(&self, pending: Pending, outcome: Option<Outcome>) {
        let (frame, at, plan) = (Arc::clone(&pending.frame), pending.at, Arc::clone(&pending.plan));
        let finished = pending.finish(outcome, &self.shared);
        match at {
            At::Class(leader) => {
                publish_slots(&frame, &plan, finished);
                wake_after_class(&frame, leader, &self.shared);
            }
            At::Key { run, node } => {
                let own = frame.own(run as usize).expect("as in `work`");
                publish_pieces(own, &plan, run as usize, finished);
                wake_after_key(&frame, own, (run, node), &self.shared);
            }
        }
        self.shared.busy.computed(frame.chain);
        frame.computed();
    }

    fn work(&mut self, run: &Run) {
        let frame = &run.frame;
        match run.at {
            At::Class(leader) => {
                let installed = &frame.installed;
                let members = &installed.variant.members[leader as usize];
                let first = &frame.plan.base.nodes[members[0] as usize];
                if matches!(first.node.work, Work::Sink(_)) {
                    let cell = self.shared.cell(installed.cells[leader as usize]);
                    let watch = cell.borrow().watch();
                    let writer = self.writer.as_mut().expect("a sink's actor has a writer");
                    sink::write(frame, leader, first, &self.shared, writer.as_mut());
                    self.shared.frame_done(first, &mut cell.borrow_mut(), watch);
                    self.shared.busy.computed(frame.chain);
                    return;
                }
                let nodes = members.iter().map(|member| {
                    let plan = frame.plan.base.nodes[*member as usize].as_ref();
                    (plan, installed.cells[*member as usize])
                });
                self.compute_of_class(frame, &nodes.collect::<SmallVec<[_; 1]>>());
                wake_after_class(frame, leader, &self.shared);
            }
            At::Key { run, node } => {
                let own = frame.own(run as usize).expect("a key with nodes of its own has them in the frame");
                self.look_ahead(frame, own.kind, run as usize, node);
                self.compute_of_key(frame, own, run as usize, node);
                wake_after_key(frame, own, (run, node), &self.shared);
            }
        }
        self.shared.busy.computed(frame.chain);
        frame.computed();
    }

    /// Asks for what the same node of the next keys needs to be brought near, a pointer further at each key: theirs
    /// are the next messages on this thread.
    fn look_ahead(&self, frame: &Frame, kind: &Kind, run: usize, node: u16) {
        let place = usize::from(node);
        let key = |ahead: usize| frame.own.get(run + ahead)?.as_ref();
        let nodes = |ahead: usize| Some(&key(ahead)?.installed.nodes);
        let at = |ahead: usize| nodes(ahead)?.get(place);
        let cells = self.shared.cells.borrow();
        if let Some(key) = key(KEY_AHEAD) {
            prefetch(key.installed.as_ref());
        }
        if let Some(key) = key(NODE_AHEAD) {
            prefetch(&key.installed.nodes[..]);
            frame.own_nodes.get(key.first_node as usize + place).into_iter().for_each(prefetch);
            frame.own_locals.get(key.first_local as usize + place).into_iter().for_each(prefetch);
        }
        if let Some((nodes, next)) = nodes(PLAN_AHEAD).and_then(|nodes| Some((nodes, nodes.get(place)?))) {
            prefetch(next.plan.as_ref());
            prefetch(&cells[next.cell as usize]);
            // Keys beside each other are mostly of one kind; for another's the hint is wrong, and that is all.
            let wires = &kind.wiring.wires;
            let waits_first = |successor: &u16| wires[usize::from(*successor)].providers.first() == Some(&node);
            for successor in wires[place].successors.iter().copied().filter(waits_first) {
                let next = nodes.get(usize::from(successor));
                next.into_iter().for_each(|next| self.shared.queue.prefetch(&next.address));
            }
        }
        if let Some(next) = at(MODEL_AHEAD) {
            cells[next.cell as usize].iter().for_each(|cell| Cell::prefetch_hot(cell));
            next.plan.operator.iter().for_each(|operator| prefetch(operator.as_ref()));
            next.plan.model.iter().for_each(|model| prefetch(model.as_ref()));
        }
        if let Some(model) = at(CONTENT_AHEAD).and_then(|next| next.plan.model.as_ref()) {
            model.prefetch();
        }
    }

    /// Computes a node of the class, or those of a loop together, and writes what comes out.
    fn compute_of_class(&self, frame: &Frame, nodes: &[(&PlanNode, u32)]) {
        let of = |plan| NodeRun { frame, plan, only_run: None };
        if let [(plan, cell)] = nodes
            && !reads_itself(plan)
        {
            publish_slots(frame, plan, self.compute_alone(plan, *cell, |cell| of(plan).run(cell)));
            return;
        }
        let members = nodes.iter().map(|(plan, cell)| (of(plan), self.shared.cell(*cell)));
        let finished = self.compute_loop(members.collect());
        nodes.iter().zip(finished).for_each(|((plan, _), finished)| publish_slots(frame, plan, finished));
    }

    /// Computes a node of a key and writes what comes out.
    fn compute_of_key(&self, frame: &Frame, own: Own<'_>, run: usize, node: u16) {
        let installed = &own.installed.nodes[usize::from(node)];
        let (plan, cell) = (installed.plan.as_ref(), installed.cell);
        let work = NodeRun { frame, plan, only_run: Some(run) };
        let alone = own.kind.alone(frame, plan, node);
        let finished = if alone.is_none() && reads_itself(plan) {
            self.compute_loop(vec![(work, self.shared.cell(cell))]).pop().expect("one node gives one output")
        } else {
            let short = |cell: &mut Cell| work.run_alone(alone?, own, run, cell);
            self.compute_alone(plan, cell, |cell| short(cell).unwrap_or_else(|| work.run(cell)))
        };
        publish_pieces(own, plan, run, finished);
    }

    fn compute_alone(&self, plan: &PlanNode, cell: u32, run: impl FnOnce(&mut Cell) -> Finished) -> Finished {
        let cell = self.shared.cell(cell);
        let cell = &mut *cell.borrow_mut();
        let (before, watch) = (cell.counts, cell.watch());
        let finished = run(cell);
        self.shared.frame_done(plan, cell, watch);
        self.shared.name_ailing(plan, cell);
        self.shared.tally.node(&before, &cell.counts);
        finished
    }

    fn compute_loop(&self, members: Vec<(NodeRun<'_>, Rc<RefCell<Cell>>)>) -> Vec<Finished> {
        let first = members[0].0.plan;
        let cells: SmallVec<[_; 4]> = members.iter().map(|(_, cell)| (Rc::clone(cell), cell.borrow().counts)).collect();
        let plans: SmallVec<[_; 4]> = members.iter().map(|(work, _)| work.plan).collect();
        // The nodes of a loop are measured together, as the first of them.
        let watch = cells[0].0.borrow().watch();
        let finished = run_loop(members);
        self.shared.frame_done(first, &mut cells[0].0.borrow_mut(), watch);
        cells.iter().zip(plans).for_each(|((cell, _), plan)| self.shared.name_ailing(plan, &mut cell.borrow_mut()));
        cells.iter().for_each(|(cell, before)| self.shared.tally.node(before, &cell.borrow().counts));
        finished
    }
}

impl Actor for NodeActor {
    type Context = Context<Self>;
}

impl Handler<Run> for NodeActor {
    type Result = ();

    fn handle(&mut self, run: Run, context: &mut Self::Context) {
        self.take(run, context);
    }
}

/// The node that gets a frame, and the place of its state, if it may block.
#[inline]
fn slow_node(run: &Run) -> Option<(&Arc<PlanNode>, u32)> {
    let frame = &run.frame;
    if !frame.slow {
        return None;
    }
    let (plan, cell) = match run.at {
        At::Class(leader) => (&frame.plan.base.nodes[leader as usize], frame.installed.cells[leader as usize]),
        At::Key { run, node } => {
            let installed = &frame.own(run as usize)?.installed.nodes[usize::from(node)];
            (&installed.plan, installed.cell)
        }
    };
    plan.node.slow.is_some().then_some((plan, cell))
}

/// Sends a frame to a node of the class.
pub(super) fn send(actor: &Addr<NodeActor>, frame: &Arc<Frame>, at: At) {
    if let Err(error) = actor.try_send(Run { frame: Arc::clone(frame), at }) {
        not_taken(at, &error);
    }
}

/// Sends a frame to a node of a key.
#[inline]
pub(super) fn send_own(node: &InstalledNode, frame: &Arc<Frame>, at: At, shared: &Shared) {
    if !shared.queue.send(&node.address, Run { frame: Arc::clone(frame), at }) {
        not_taken(at, &"its mailbox is full");
    }
}

/// Credits keep mailboxes from being full: a full one is a defect.
#[cold]
fn not_taken(at: At, reason: &dyn std::fmt::Display) -> ! {
    tracing::error!(?at, %reason, "a node did not take a frame; aborting so that it is read again");
    std::process::abort();
}

fn publish_slots(frame: &Frame, plan: &PlanNode, finished: Finished) {
    for (to, column) in plan.provides.iter().zip(finished.columns) {
        let To::Slot(slot) = to else { unreachable!("class nodes write slots") };
        let complete = column.as_ref().is_complete();
        let written = Written { axis: Arc::clone(&finished.axis), column, complete };
        assert!(frame.slots[*slot as usize].set(written).is_ok(), "`{}` wrote a slot twice", plan.name);
    }
}

fn publish_pieces(own: Own<'_>, plan: &PlanNode, run: usize, finished: Finished) {
    // Rows of the node's own are an axis of one run; shared rows are a run of the frame's.
    let run = if finished.axis.ends.len() == 1 { 0 } else { run };
    let axes = std::iter::repeat_n(finished.axis, finished.columns.len());
    for ((to, column), axis) in plan.provides.iter().zip(finished.columns).zip(axes) {
        let To::Local(local) = to else { unreachable!("nodes of a key write their own places") };
        let complete = column.as_ref().is_complete();
        let piece = Piece { axis, run, column, complete };
        assert!(own.locals[usize::from(*local)].set(piece).is_ok(), "`{}` wrote a place twice", plan.name);
    }
}

fn wake_class(frame: &Arc<Frame>, leader: u32) {
    let index = leader as usize;
    if frame.woken.contains(index) && frame.waits[index].one_less() {
        send(frame.installed.actors[index].as_ref().expect("an active node has an actor"), frame, At::Class(leader));
    }
}

fn wake_key(frame: &Arc<Frame>, own: Own<'_>, (run, node): (u32, u16), shared: &Shared) {
    let waits = &own.nodes[usize::from(node)].waits;
    if waits.get() != u32::MAX && waits.one_less() {
        send_own(&own.installed.nodes[usize::from(node)], frame, At::Key { run, node }, shared);
    }
}

fn wake_after_class(frame: &Arc<Frame>, leader: u32, shared: &Shared) {
    for successor in &frame.installed.variant.successors[leader as usize] {
        wake_class(frame, *successor);
    }
    for gate in &frame.gates {
        if gate.providers.contains(leader as usize) && gate.waits.one_less() {
            for (place, (run, node)) in gate.members.iter().enumerate() {
                look_ahead_of_wake(frame, &gate.members[place..], &shared.queue);
                let own = frame.own(*run as usize).expect("a gate is for keys with nodes");
                wake_key(frame, own, (*run, *node), shared);
            }
        }
    }
}

/// Asks for what the nodes that are woken next need to be brought near, a pointer further at each.
fn look_ahead_of_wake(frame: &Frame, members: &[(u32, u16)], queue: &Queue) {
    let ahead = |nodes: usize| {
        let (run, node) = members.get(nodes)?;
        Some((&frame.own[*run as usize].as_ref()?.installed, usize::from(*node)))
    };
    if let Some((key, _)) = ahead(WAKE_KEY_AHEAD) {
        prefetch(key.as_ref());
    }
    if let Some((key, node)) = ahead(WAKE_NODE_AHEAD) {
        prefetch(&key.nodes[node]);
    }
    if let Some((key, node)) = ahead(WAKE_AHEAD) {
        queue.prefetch(&key.nodes[node].address);
    }
}

fn wake_after_key(frame: &Arc<Frame>, own: Own<'_>, (run, node): (u32, u16), shared: &Shared) {
    for successor in &own.kind.wiring.wires[usize::from(node)].successors {
        wake_key(frame, own, (run, *successor), shared);
    }
    for leader in &own.kind.feeds[usize::from(node)] {
        wake_class(frame, *leader);
    }
}

/// The class nodes, by leader, that wait for a node of a key: those that read what it provides, and sinks.
pub(crate) fn feeds(variant: &Variant, node: &Wires) -> SmallVec<[u32; 4]> {
    let readers = node.read_as.iter().filter_map(|slot| variant.readers.get(slot)).flatten().copied();
    let sinks = node.sinks.iter().filter_map(|(place, _)| variant.sink(*place));
    let mut leaders: SmallVec<[u32; 4]> = readers.chain(sinks).collect();
    leaders.sort_unstable();
    leaders.dedup();
    leaders
}
