//! Launching a frame: which nodes it wakes, what each waits for, whose turn it is; then the first nodes get it.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, OnceLock};

use smallvec::SmallVec;

use super::cell::Shared;
use super::frame::{Axis, Flush, Frame, Gate, Installed, InstalledKey, KeyFrame, Kind, OwnNode, Piece, Waits, Written};
use super::gather::Gathering;
use super::lanes::{ByChain, ChainNumber};
use super::node::{At, feeds, send, send_own};
use super::shard::{Delivery, Shard};
use crate::defect::{self, Defect};
use crate::prefetch::prefetch;
use crate::topology::bits::Bits;
use crate::topology::plan::{AxisLabel, ClassPlan, KeyPlan, PlanNode};
use crate::words::{Cause, KeyIndex, Revision, Time};

impl Shard {
    /// Makes a frame of what was gathered and hands it to the nodes that wait for nothing.
    pub(super) fn launch(
        &mut self,
        delivery: &Delivery,
        mask: &Bits,
        gathering: &mut Gathering,
        tick: Option<(Time, Cause)>,
        flush: Option<&Arc<Flush>>,
    ) {
        let plan = &delivery.plan;
        let installed = self.installer.variant(plan, mask);
        let (axes, columns) = gathering.columns(&plan.base);
        let mut woken = woken(plan, &installed, &axes, tick.is_some(), flush);
        let starters = |plan: &PlanNode| {
            let has_rows = |axis: &AxisLabel| match axis {
                AxisLabel::Source(axis) => axes.get(usize::from(*axis)).is_some_and(Option::is_some),
                AxisLabel::Own(_) => false,
            };
            (tick.is_some() && plan.ticks())
                || flush.is_some_and(|flush| flush.ends(&plan.name, plan.born))
                || has_rows(&plan.input_axis)
        };
        let (waits, mut own) = self.waits(plan, &gathering.keys, &installed, &mut woken, (&starters, flush.is_some()));
        let mut tickets = vec![0; plan.base.nodes.len()];
        let lane = gathering.lane.filter(|_| !defect::is_chosen(Defect::Lane));
        let chain = lane.map_or(ChainNumber::Partition(delivery.chain), ChainNumber::Lane);
        for leader in woken.iter() {
            tickets[leader] = self.ticket(installed.cells[leader], chain);
        }
        let nodes = woken.iter().count() + self.own_tickets(&gathering.keys, &mut own);
        if nodes == 0 {
            return;
        }
        let known = !plan.base.attributes.types().is_empty();
        let attributes = gathering.keys.iter().filter(|_| known).map(|key| self.attributes(plan, *key)).collect();
        let slots: Box<[OnceLock<_>]> = (0..plan.base.slots).map(|_| OnceLock::new()).collect();
        for (slot, written) in columns {
            let complete = written.column.as_ref().is_complete();
            let written = super::frame::Written { complete, ..written };
            assert!(slots[slot as usize].set(written).is_ok(), "a column of the source has one place");
        }
        let bytes = frame_bytes(plan, &installed, &axes, own.locals as usize);
        self.options.tally.frame_begun(bytes);
        let sinks = installed.variant.sinks().filter(|leader| woken.contains(*leader as usize)).count();
        // Exporters of spans send an `i64` as a number, and a `usize` as text.
        let (shard, keys, count) = (i64::from(self.options.shard.0), gathering.keys.len() as i64, nodes as i64);
        let frame = Arc::new(Frame {
            tally: Arc::clone(&self.options.tally),
            span: tracing::trace_span!(parent: &delivery.part.token().span, "frame", shard, keys, nodes = count),
            plan: Arc::clone(plan),
            part: delivery.part.another(),
            chain,
            slow: gathering.lane.is_some(),
            keys: std::mem::take(&mut gathering.keys),
            names: std::mem::take(&mut gathering.names),
            attributes,
            axes,
            slots,
            waits: waits.into_iter().map(Waits::new).collect(),
            tickets: tickets.into_boxed_slice(),
            woken,
            own: own.frames,
            kinds: own.kinds,
            own_nodes: own.nodes,
            own_locals: (0..own.locals).map(|_| OnceLock::new()).collect(),
            gates: own.gates,
            tick,
            flush: flush.cloned(),
            computing: Waits::new(few(nodes - sinks)),
            left: AtomicU32::new(few(sinks) + u32::from(nodes > sinks)),
            dead: Mutex::new(Vec::new()),
            waiting_rows_max: self.options.policy.waiting_rows_max,
            bytes,
            installed,
        });
        self.shared.busy.begin(chain, nodes);
        self.shared.watches.borrow_mut().launched(&frame);
        start(&frame, &self.shared);
    }

    /// What each woken node waits for, class nodes by leader; class nodes that only keys' own nodes feed are woken too.
    fn waits(
        &self,
        plan: &ClassPlan,
        keys: &[KeyIndex],
        installed: &Installed,
        woken: &mut Bits,
        (starters, apart): (&dyn Fn(&PlanNode) -> bool, bool),
    ) -> (Vec<u32>, OwnNodes) {
        loop {
            let mut waits: Vec<u32> = vec![0; plan.base.nodes.len()];
            for leader in woken.iter() {
                waits[leader] = installed.variant.providers[leader].common(woken);
            }
            let mut own = OwnNodes { apart, ..OwnNodes::default() };
            self.own(plan.revision, keys, (installed, woken, starters), &mut waits, &mut own);
            // Those that were fed and not yet woken, with all behind them: then once more.
            let fed = (0u32..).zip(&waits).filter(|(leader, waits)| **waits > 0 && !woken.contains(*leader as usize));
            let fed: Vec<u32> = fed.map(|(leader, _)| leader).collect();
            if fed.is_empty() {
                return (waits, own);
            }
            woken.add(&installed.variant.reach_from(fed));
        }
    }

    fn ticket(&mut self, cell: u32, chain: ChainNumber) -> u64 {
        let cell = cell as usize;
        if self.tickets.len() <= cell {
            self.tickets.resize_with(cell + 1, ByChain::default);
        }
        let next = self.tickets[cell].at(chain);
        *next += 1;
        *next - 1
    }

    /// The keys' own nodes: which are woken, and what they and the class nodes behind them wait for.
    fn own(&self, revision: Revision, keys: &[KeyIndex], frame: Starting<'_>, fed: &mut [u32], own: &mut OwnNodes) {
        for (run, key) in (0u32..).zip(keys) {
            let Some(installed) = self.own_at(*key, revision) else { continue };
            // Their turns are given when all keys have been gone through.
            prefetch(&installed.nodes[..]);
            if own.frames.is_empty() {
                own.frames.resize_with(keys.len(), || None);
            }
            let key = own.key((run, keys.len()), installed, frame);
            own.frames[run as usize] = Some(key);
        }
        let mut keys_of = vec![0; own.kinds.len()];
        own.frames.iter().flatten().for_each(|key| keys_of[key.kind as usize] += 1);
        for (kind, keys) in own.kinds.iter().zip(keys_of) {
            kind.feeds.iter().flatten().for_each(|leader| fed[*leader as usize] += keys);
        }
    }

    pub(super) fn own_at(&self, key: KeyIndex, revision: Revision) -> Option<Arc<InstalledKey>> {
        let own = &self.keys[key.0 as usize].own;
        own.iter().rev().find(|(from, _)| *from <= revision)?.1.clone()
    }

    /// Gives the woken own nodes their turns; how many there are.
    fn own_tickets(&mut self, keys: &[KeyIndex], own: &mut OwnNodes) -> usize {
        let mut count = 0;
        for (key, frame) in keys.iter().zip(&own.frames) {
            let Some(frame) = frame else { continue };
            let tickets = &mut self.keys[key.0 as usize].own_tickets;
            let nodes = &mut own.nodes[frame.first_node as usize..];
            for (place, (node, installed)) in nodes.iter_mut().zip(&frame.installed.nodes).enumerate() {
                if node.waits.get() != u32::MAX {
                    node.ticket = next_ticket(tickets, place, installed.cell);
                    count += 1;
                }
            }
        }
        count
    }
}

fn few(nodes: usize) -> u32 {
    u32::try_from(nodes).expect("a frame wakes fewer than 2^32 nodes")
}

/// The next turn of the node whose state is at `cell`, nearly always the one at `place` of the key.
fn next_ticket(tickets: &mut SmallVec<[(u32, u64); 4]>, place: usize, cell: u32) -> u64 {
    let place = if tickets.get(place).is_some_and(|(of, _)| *of == cell) {
        place
    } else {
        tickets.iter().position(|(of, _)| *of == cell).unwrap_or_else(|| {
            tickets.push((cell, 0));
            tickets.len() - 1
        })
    };
    tickets[place].1 += 1;
    tickets[place].1 - 1
}

/// What a frame starts with: the class nodes of its keys, those it wakes, and whether a node has work by itself.
type Starting<'s> = (&'s Installed, &'s Bits, &'s dyn Fn(&PlanNode) -> bool);

/// The own nodes of the keys of a frame.
#[derive(Default)]
struct OwnNodes {
    frames: Vec<Option<KeyFrame>>,
    kinds: Vec<Kind>,
    nodes: Vec<OwnNode>,
    locals: u32,
    gates: Vec<Gate>,
    /// Keys of one kind may start differently: nodes end in this frame, and that is by name.
    apart: bool,
}

impl OwnNodes {
    /// Adds a key, one of so many.
    fn key(&mut self, (run, keys): (u32, usize), installed: Arc<InstalledKey>, frame: Starting<'_>) -> KeyFrame {
        let wiring = &installed.wiring;
        let known = self.kinds.iter().rposition(|kind| Arc::ptr_eq(&kind.wiring, wiring)).filter(|_| !self.apart);
        let place = known.unwrap_or_else(|| {
            let kind = kind(&installed.plan, frame, &mut self.gates);
            self.kinds.push(kind);
            self.kinds.len() - 1
        });
        let kind = &self.kinds[place];
        let first_node = u32::try_from(self.nodes.len()).expect("a frame has fewer than 2^32 nodes");
        if known.is_none() {
            self.nodes.reserve(kind.waits.len() * keys);
            kind.gates.iter().flatten().for_each(|gate| self.gates[*gate].members.reserve(keys));
        }
        self.nodes.extend(kind.waits.iter().map(|waits| OwnNode { waits: Waits::new(*waits), ticket: 0 }));
        for (number, gate) in (0u16..).zip(&kind.gates) {
            gate.iter().for_each(|gate| self.gates[*gate].members.push((run, number)));
        }
        let first_local = self.locals;
        self.locals += u32::from(kind.wiring.locals);
        let kind = u32::try_from(place).expect("a frame has few keys");
        KeyFrame { installed, kind, first_node, first_local }
    }
}

/// What the nodes of a key wait for, and which class nodes wait for those that are woken.
fn kind(plan: &KeyPlan, (installed, woken, starters): Starting<'_>, gates: &mut Vec<Gate>) -> Kind {
    let wiring = &plan.wiring;
    let (mut waits, mut of_gates, mut fed) = (SmallVec::<[u32; 8]>::new(), SmallVec::new(), SmallVec::new());
    for (node, wires) in plan.nodes.iter().zip(&wiring.wires) {
        let gate = gate(gates, installed, woken, &wires.gate);
        let gated = gates[gate].waits.get() > 0;
        let providers = wires.providers.iter().filter(|provider| waits[usize::from(**provider)] != u32::MAX).count();
        let mut waiting = u32::from(gated) + u32::try_from(providers).expect("a key has few nodes");
        if waiting == 0 && !starters(node) {
            waiting = u32::MAX;
        }
        of_gates.push(gated.then_some(gate));
        let feeds = if waiting == u32::MAX { SmallVec::new() } else { feeds(&installed.variant, wires) };
        fed.push(feeds);
        waits.push(waiting);
    }
    let alone = waits.iter().map(|_| OnceLock::new()).collect();
    Kind { wiring: Arc::clone(wiring), waits, gates: of_gates, feeds: fed, alone }
}

/// The class nodes, by leader, that a frame reaches.
fn woken(
    plan: &crate::topology::plan::ClassPlan,
    installed: &Installed,
    axes: &[Option<Arc<super::frame::Axis>>],
    tick: bool,
    flush: Option<&Arc<Flush>>,
) -> Bits {
    let mut woken = Bits::below(plan.base.nodes.len());
    let variant = &installed.variant;
    for (reach, _) in variant.reach.iter().zip(axes).filter(|(_, axis)| axis.is_some()) {
        woken.add(reach);
    }
    if tick {
        woken.add(&variant.tick_reach);
    }
    if let Some(flush) = flush {
        let departing = variant.active.iter().filter(|index| {
            let node = &plan.base.nodes[*index];
            flush.ends(&node.name, node.born)
        });
        let starts = departing.map(|index| variant.leader[index]).collect();
        woken.add(&variant.reach_from(starts));
    }
    woken
}

/// The gate for nodes that read `slots`, among those of the frame.
fn gate(gates: &mut Vec<Gate>, installed: &Installed, woken: &Bits, slots: &Arc<[u32]>) -> usize {
    let found = gates.iter().position(|gate| Arc::ptr_eq(&gate.slots, slots) || gate.slots == *slots);
    found.unwrap_or_else(|| {
        let providers = installed.variant.gate(slots);
        let waits = Waits::new(providers.common(woken));
        gates.push(Gate { slots: Arc::clone(slots), providers, waits, members: Vec::new() });
        gates.len() - 1
    })
}

/// Gives the frame to the nodes that wait for nothing.
fn start(frame: &Arc<Frame>, shared: &Shared) {
    for leader in frame.woken.iter().filter(|leader| frame.waits[*leader].get() == 0) {
        let actor = frame.installed.actors[leader].as_ref().expect("an active node has an actor");
        send(actor, frame, At::Class(u32::try_from(leader).expect("a class has at most 65,535 nodes")));
    }
    if !frame.kinds.iter().any(|kind| kind.waits.contains(&0)) {
        return;
    }
    for (run, own) in (0u32..).zip(&frame.own) {
        let Some(own) = own else { continue };
        for (node, (own, installed)) in
            (0u16..).zip(frame.own_nodes[own.first_node as usize..].iter().zip(&own.installed.nodes))
        {
            if own.waits.get() == 0 {
                send_own(installed, frame, At::Key { run, node }, shared);
            }
        }
    }
}

/// About how much memory a frame takes: its rows with all that is written for them, and a place for each node and stream.
fn frame_bytes(plan: &ClassPlan, installed: &Installed, axes: &[Option<Arc<Axis>>], locals: usize) -> u64 {
    /// A row's time and cause.
    const ROW: usize = size_of::<Time>() + size_of::<Cause>();
    let rows = |axis: &Option<Arc<Axis>>| axis.as_ref().map_or(0, |axis| axis.times.len());
    let read = axes.iter().zip(&plan.base.axes).map(|(axis, of)| {
        let columns: usize = of.streams.iter().map(|(_, element)| element.row_bytes()).sum();
        rows(axis) * (ROW + columns)
    });
    let most = axes.iter().map(rows).max().unwrap_or(0);
    let places = size_of::<Frame>() + plan.base.slots * size_of::<Written>() + installed.cells.len() * 16;
    let own = locals * (size_of::<Piece>() + ROW);
    (places + own + read.sum::<usize>() + most * installed.row_bytes) as u64
}
