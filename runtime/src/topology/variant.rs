//! Which nodes of a class a key has, and who wakes whom. Keys for which the same nodes win share a variant; a frame
//! holds keys of one variant.

use std::collections::HashMap;
use std::sync::Arc;

use super::attributes::KeyAttributes;
use super::bits::Bits;
use super::plan::{AxisLabel, BasePlan, PlanNode, SinkPlace, SlotNumber, To};
use super::selector::Selector;
use crate::words::Key;

/// The class nodes of some keys. Nodes of a loop are woken as one: by their leader, the first of them.
#[derive(Debug)]
pub struct Variant {
    /// Which nodes run.
    pub active: Bits,
    /// For each leader the nodes it runs, in order: itself unless it leads a loop.
    pub members: Vec<Vec<u32>>,
    /// For each leader the leaders that wait for it.
    pub successors: Vec<Box<[u32]>>,
    /// For each leader the leaders it waits for.
    pub providers: Vec<Bits>,
    /// For each axis of the source the leaders that its rows reach.
    pub reach: Vec<Bits>,
    /// The leaders that a tick reaches.
    pub tick_reach: Bits,
    /// The leaders that read a slot.
    pub readers: HashMap<SlotNumber, Box<[u32]>>,
    /// Who leads a node.
    pub leader: Vec<u32>,
    /// Which leader provides a slot.
    pub provider: HashMap<SlotNumber, u32>,
    /// Each sink of the class, by its [`SinkPlace`]; `None` where it does not take these keys.
    sinks: Vec<Option<u32>>,
}

/// Which class nodes win all their names for a key.
pub fn mask(base: &BasePlan, key: &Key, attributes: &KeyAttributes) -> Bits {
    let mut mask = Bits::below(base.nodes.len());
    let takes: Vec<bool> = base.nodes.iter().map(|node| node.node.selector.takes(key, attributes)).collect();
    let mut winner: HashMap<SlotNumber, (u8, i32, usize)> = HashMap::new();
    for (index, node) in base.nodes.iter().enumerate().filter(|(index, _)| takes[*index]) {
        for to in &node.provides {
            if let To::Slot(slot) = to {
                let strength = (node.node.selector.rank(), node.node.priority, index);
                let best = winner.entry(*slot).or_insert(strength);
                *best = (*best).max(strength);
            }
        }
    }
    for (index, node) in base.nodes.iter().enumerate().filter(|(index, _)| takes[*index]) {
        let wins = node.provides.iter().all(|to| match to {
            To::Slot(slot) => winner.get(slot).is_some_and(|(_, _, best)| *best == index),
            To::Local(_) => true,
        });
        if wins {
            mask.insert(index);
        }
    }
    mask
}

/// Whether all keys have the same nodes, whatever they are called.
pub fn only_one(base: &BasePlan) -> bool {
    base.nodes.iter().all(|node| node.node.selector == Selector::Class)
}

impl Variant {
    /// Works out who wakes whom among the nodes of `active`.
    pub fn of(base: &BasePlan, active: Bits) -> Self {
        let nodes = &base.nodes;
        let count = nodes.len();
        let leader = leaders(nodes, &active);
        let mut members = vec![Vec::new(); count];
        let mut provider = HashMap::new();
        for index in active.iter() {
            members[leader[index] as usize].push(number(index));
            for to in &nodes[index].provides {
                if let To::Slot(slot) = to {
                    provider.insert(*slot, leader[index]);
                }
            }
        }
        let mut providers = vec![Bits::below(count); count];
        let mut readers: HashMap<SlotNumber, Vec<u32>> = HashMap::new();
        for index in active.iter() {
            let reader = leader[index];
            for slot in nodes[index].slots_read() {
                let waiting = readers.entry(slot).or_default();
                if !waiting.contains(&reader) {
                    waiting.push(reader);
                }
                if let Some(from) = provider.get(&slot).filter(|from| **from != reader) {
                    providers[reader as usize].insert(*from as usize);
                }
            }
        }
        let mut successors = vec![Vec::new(); count];
        for (reader, from) in providers.iter().enumerate() {
            from.iter().for_each(|from| successors[from].push(number(reader)));
        }
        let reach_from = |starts: Vec<u32>| reach(count, &successors, starts);
        let axis_starts = |axis: u16| {
            let starts = active.iter().filter(|index| {
                let node = &nodes[*index];
                // Sensors, and nodes that have the axis' rows though no sensor brings them a value.
                node.input_axis == AxisLabel::Source(axis)
            });
            starts.map(|index| leader[index]).collect()
        };
        let axes = u16::try_from(base.axes.len()).unwrap_or(u16::MAX);
        let tickers = active.iter().filter(|index| nodes[*index].ticks()).map(|index| leader[index]).collect();
        let sinks = nodes.iter().enumerate().filter(|(_, node)| node.is_sink());
        let sinks = sinks.map(|(index, _)| active.contains(index).then(|| number(index))).collect();
        Self {
            reach: (0..axes).map(|axis| reach_from(axis_starts(axis))).collect(),
            tick_reach: reach_from(tickers),
            successors: successors.into_iter().map(Vec::into_boxed_slice).collect(),
            readers: readers.into_iter().map(|(slot, readers)| (slot, readers.into_boxed_slice())).collect(),
            active,
            members,
            providers,
            leader,
            provider,
            sinks,
        }
    }

    /// The sinks that take these keys, in order.
    pub fn sinks(&self) -> impl Iterator<Item = u32> {
        self.sinks.iter().copied().flatten()
    }

    /// The sink at a place, if it takes these keys.
    #[inline]
    pub fn sink(&self, place: SinkPlace) -> Option<u32> {
        self.sinks.get(usize::from(place.0)).copied().flatten()
    }

    /// The place of a sink.
    pub fn place_of(&self, sink: u32) -> Option<SinkPlace> {
        self.sinks.iter().zip(0..).find(|(at, _)| **at == Some(sink)).map(|(_, place)| SinkPlace(place))
    }

    /// Those of `starts` and all behind them.
    pub fn reach_from(&self, starts: Vec<u32>) -> Bits {
        reach(self.members.len(), &self.successors, starts)
    }

    /// The leaders that must be done before nodes that read `slots` can be woken.
    pub fn gate(&self, slots: &[SlotNumber]) -> Arc<Bits> {
        let mut gate = Bits::below(self.members.len());
        slots.iter().filter_map(|slot| self.provider.get(slot)).for_each(|leader| gate.insert(*leader as usize));
        Arc::new(gate)
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a class has at most 65,535 nodes")
}

fn leaders(nodes: &[Arc<PlanNode>], active: &Bits) -> Vec<u32> {
    let mut first: HashMap<u16, u32> = HashMap::new();
    let leader = nodes.iter().enumerate().map(|(index, node)| match node.in_loop {
        Some(of) if active.contains(index) => *first.entry(of).or_insert(number(index)),
        _ => number(index),
    });
    leader.collect()
}

fn reach(count: usize, successors: &[impl AsRef<[u32]>], starts: Vec<u32>) -> Bits {
    let mut reached = Bits::below(count);
    let mut open = starts;
    while let Some(node) = open.pop() {
        if !reached.contains(node as usize) {
            reached.insert(node as usize);
            open.extend(successors[node as usize].as_ref());
        }
    }
    reached
}
