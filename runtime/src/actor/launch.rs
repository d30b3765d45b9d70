//! Launching a frame: which nodes it wakes, what each waits for, whose turn it is; then the first nodes get it.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, OnceLock};

use smallvec::SmallVec;

use super::frame::{Flush, Frame, Gate, Installed, InstalledKey, KeyFrame, Waits};
use super::gather::Gathering;
use super::node::{At, feeds, send};
use super::shard::{Delivery, Shard};
use super::tally::Count;
use crate::topology::bits::Bits;
use crate::topology::plan::{AxisLabel, PlanNode};
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
        let (waits, mut own) = loop {
            let mut waits: Vec<u32> = vec![0; plan.base.nodes.len()];
            for leader in woken.iter() {
                waits[leader] = installed.variant.providers[leader].common(&woken);
            }
            let own = self.own(plan.revision, &gathering.keys, &installed, &woken, &mut waits, &starters);
            // Class nodes that only keys' own nodes feed are woken too, with all behind them: then once more.
            let fed = (0u32..).zip(&waits).filter(|(leader, waits)| **waits > 0 && !woken.contains(*leader as usize));
            let fed: Vec<u32> = fed.map(|(leader, _)| leader).collect();
            if fed.is_empty() {
                break (waits, own);
            }
            woken.add(&installed.variant.reach_from(fed));
        };
        let mut tickets = vec![0; plan.base.nodes.len()];
        let chain = delivery.chain as usize;
        for leader in woken.iter() {
            tickets[leader] = self.ticket(installed.cells[leader], chain);
        }
        let left = woken.iter().count() + self.own_tickets(&gathering.keys, &mut own.frames);
        if left == 0 {
            return;
        }
        let attributes = if plan.base.attributes.types().is_empty() {
            Vec::new()
        } else {
            gathering.keys.iter().map(|key| self.attributes(plan, *key)).collect()
        };
        let slots: Box<[OnceLock<_>]> = (0..plan.base.slots).map(|_| OnceLock::new()).collect();
        for (slot, written) in columns {
            let complete = written.column.as_ref().is_complete();
            let written = super::frame::Written { complete, ..written };
            assert!(slots[slot as usize].set(written).is_ok(), "a column of the source has one place");
        }
        self.options.tally.add(Count::Frames, 1);
        let (shard, keys) = (self.options.shard.0, gathering.keys.len());
        let frame = Arc::new(Frame {
            tally: Arc::clone(&self.options.tally),
            span: tracing::trace_span!(parent: &delivery.part.token().span, "frame", shard, keys, nodes = left),
            plan: Arc::clone(plan),
            part: delivery.part.another(),
            chain: delivery.chain,
            keys: std::mem::take(&mut gathering.keys),
            names: std::mem::take(&mut gathering.names),
            attributes,
            axes,
            slots,
            waits: waits.into_iter().map(Waits::new).collect(),
            tickets: tickets.into_boxed_slice(),
            woken,
            own: own.frames,
            gates: own.gates,
            tick,
            flush: flush.cloned(),
            left: AtomicU32::new(u32::try_from(left).expect("a frame wakes fewer than 2^32 nodes")),
            dead: Mutex::new(Vec::new()),
            installed,
        });
        self.shared.watches.borrow_mut().launched(&frame);
        start(&frame);
    }

    fn ticket(&mut self, cell: u32, chain: usize) -> u64 {
        let cell = cell as usize;
        if self.tickets.len() <= cell {
            self.tickets.resize_with(cell + 1, Vec::new);
        }
        let tickets = &mut self.tickets[cell];
        if tickets.len() <= chain {
            tickets.resize(chain + 1, 0);
        }
        tickets[chain] += 1;
        tickets[chain] - 1
    }

    /// The keys' own nodes: which are woken, and what they and the class nodes behind them wait for.
    fn own(
        &self,
        revision: Revision,
        keys: &[KeyIndex],
        installed: &Installed,
        woken: &Bits,
        waits: &mut [u32],
        starters: &dyn Fn(&PlanNode) -> bool,
    ) -> Own {
        let mut own = Own::default();
        for (run, key) in (0u32..).zip(keys) {
            let Some(installed_key) = self.own_at(*key, revision) else { continue };
            if own.frames.is_empty() {
                own.frames.resize_with(keys.len(), || None);
            }
            let frame = key_frame(run, installed_key, installed, woken, waits, &mut own.gates, starters);
            own.frames[run as usize] = Some(frame);
        }
        own
    }

    fn own_at(&self, key: KeyIndex, revision: Revision) -> Option<Arc<InstalledKey>> {
        let own = &self.keys[key.0 as usize].own;
        own.iter().rev().find(|(from, _)| *from <= revision)?.1.clone()
    }

    /// Gives the woken own nodes their turns; how many there are.
    fn own_tickets(&mut self, keys: &[KeyIndex], frames: &mut [Option<KeyFrame>]) -> usize {
        let mut count = 0;
        for (key, frame) in keys.iter().zip(frames) {
            let Some(frame) = frame else { continue };
            for (node, waits) in frame.waits.iter().enumerate().filter(|(_, waits)| waits.get() != u32::MAX) {
                debug_assert!(waits.get() != u32::MAX);
                frame.tickets[node] = self.own_ticket(*key, frame.installed.cells[node]);
                count += 1;
            }
        }
        count
    }

    fn own_ticket(&mut self, key: KeyIndex, cell: u32) -> u64 {
        let tickets = &mut self.keys[key.0 as usize].own_tickets;
        let place = tickets.iter().position(|(of, _)| *of == cell).unwrap_or_else(|| {
            tickets.push((cell, 0));
            tickets.len() - 1
        });
        tickets[place].1 += 1;
        tickets[place].1 - 1
    }
}

/// The own nodes of the keys of a frame.
#[derive(Default)]
struct Own {
    frames: Vec<Option<KeyFrame>>,
    gates: Vec<Gate>,
}

/// The own nodes of one key: which are woken, and what they and the class nodes that they feed wait for.
fn key_frame(
    run: u32,
    own: Arc<InstalledKey>,
    installed: &Installed,
    woken: &Bits,
    fed: &mut [u32],
    gates: &mut Vec<Gate>,
    starters: &dyn Fn(&PlanNode) -> bool,
) -> KeyFrame {
    let nodes = &own.plan.nodes;
    let mut waits: SmallVec<[u32; 8]> = SmallVec::with_capacity(nodes.len());
    for (number, node) in (0u16..).zip(nodes) {
        let gate = gate(gates, installed, woken, &node.gate);
        let gated = gates[gate].waits.get() > 0;
        let providers = node.providers.iter().filter(|provider| waits[usize::from(**provider)] != u32::MAX).count();
        let mut waiting = u32::from(gated) + u32::try_from(providers).expect("a key has few nodes");
        if waiting == 0 && !starters(&node.plan) {
            waiting = u32::MAX;
        }
        if gated {
            gates[gate].members.push((run, number));
        }
        if waiting != u32::MAX {
            feeds(&installed.variant, node).into_iter().for_each(|leader| fed[leader as usize] += 1);
        }
        waits.push(waiting);
    }
    KeyFrame {
        tickets: vec![0; waits.len()].into_boxed_slice(),
        waits: waits.into_iter().map(Waits::new).collect(),
        locals: (0..own.plan.locals).map(|_| OnceLock::new()).collect(),
        installed: own,
    }
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
fn start(frame: &Arc<Frame>) {
    for leader in frame.woken.iter().filter(|leader| frame.waits[*leader].get() == 0) {
        let actor = frame.installed.actors[leader].as_ref().expect("an active node has an actor");
        send(actor, frame, At::Class(u32::try_from(leader).expect("a class has at most 65,535 nodes")));
    }
    for (run, own) in (0u32..).zip(&frame.own) {
        let Some(own) = own else { continue };
        for (node, waits) in (0u16..).zip(&own.waits) {
            if waits.get() == 0 {
                send(&own.installed.actors[usize::from(node)], frame, At::Key { run, node });
            }
        }
    }
}
