//! The states of a shard's keys, written down when a system stops in order, and put back when it starts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use actix::{Handler, Message};

use super::cell::Cell;
use super::node::AbortOnPanic;
use super::shard::{KeyEntry, Shard};
use crate::defect::{self, Defect};
use crate::state::envelope::{self, EnvelopeError, Kind, Sum};
use crate::state::fit::identity;
use crate::state::{AxisClock, IntakeRecord, KeyRecord, NodeRecord, OperatorRecord, StateError, Waiting};
use crate::topology::plan::{ClassPlan, PlanNode};
use crate::traits::erased::STATE_BYTES_MAX;
use crate::traits::source::{AxisStreams, absent};
use crate::words::{Column, ElementType, Key, KeyIndex, NodeId, Offset, StreamName, Time};

/// Bytes of records after which a shard hands over what it has written.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Asks for the states of some of a shard's keys, while nothing is in flight.
pub(crate) struct Save {
    /// What runs.
    pub(crate) plan: Arc<ClassPlan>,
    /// The partitions whose keys are saved, by their numbers on shards.
    pub(crate) partitions: Arc<BTreeMap<u32, Place>>,
    /// The first key.
    pub(crate) from: usize,
    pub(crate) answer: SyncSender<Result<Piece, StateError>>,
}

/// How far a partition is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The source's own number of it.
    pub(crate) partition: u32,
    pub(crate) next: Offset,
    /// Whether its keys live on its own shard.
    pub(crate) home: bool,
}

/// Records of keys.
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sums: Vec<Sum>,
    /// The key to go on with, if there are more.
    pub(crate) next: Option<usize>,
    /// States of operators that are not in them.
    pub(crate) left_out: LeftOut,
}

/// States of operators that cannot be saved.
#[derive(Default)]
pub(crate) struct LeftOut {
    first: Option<(NodeId, Key, String)>,
    others: usize,
}

impl LeftOut {
    fn note(&mut self, node: &NodeId, key: &Key, reason: String) {
        tracing::error!(%node, %key, reason, "the state of a node is not saved");
        self.add(Self { first: Some((node.clone(), key.clone(), reason)), others: 0 });
    }

    /// Adds what else was left out.
    pub(crate) fn add(&mut self, more: Self) {
        self.others += more.others;
        match more.first {
            Some(_) if self.first.is_some() => self.others += 1,
            Some(first) => self.first = Some(first),
            None => {}
        }
    }

    /// What is to be said of it.
    pub(crate) fn error(self) -> Option<StateError> {
        let (node, key, reason) = self.first?;
        Some(StateError::Operator { node, key, reason, others: self.others })
    }
}

impl Piece {
    /// Adds a record, without the largest states of operators where all together are too many bytes for one record.
    fn seal(&mut self, record: &mut KeyRecord) -> Result<(), StateError> {
        loop {
            let error = match envelope::seal(Kind::Key, record, &mut self.bytes) {
                Ok(sum) => {
                    self.sums.push(sum);
                    return Ok(());
                }
                Err(error) => error,
            };
            let bytes = |node: &NodeRecord| node.operator.as_ref().map_or(0, |operator| operator.bytes.len());
            let largest = (0..record.nodes.len()).max_by_key(|place| bytes(&record.nodes[*place]));
            match largest.filter(|place| bytes(&record.nodes[*place]) > 0) {
                Some(largest) if matches!(error, EnvelopeError::TooLarge { .. }) => {
                    let node = record.nodes.swap_remove(largest);
                    let reason = format!("it has {} bytes, and of all that is kept of the key, {error}", bytes(&node));
                    self.left_out.note(&node.name, &record.key, reason);
                }
                _ => return Err(StateError::Key { key: record.key.clone(), reason: error.to_string() }),
            }
        }
    }
}

impl Message for Save {
    type Result = ();
}

impl Handler<Save> for Shard {
    type Result = ();

    fn handle(&mut self, save: Save, _context: &mut Self::Context) {
        let _guard = AbortOnPanic;
        // The driver waits for it, unless its thread is gone.
        let _ = save.answer.try_send(self.write(&save));
    }
}

/// A running node with its state.
struct Running<'p> {
    plan: &'p PlanNode,
    identity: [u8; 8],
    cell: Rc<RefCell<Cell>>,
}

impl Shard {
    fn write(&self, save: &Save) -> Result<Piece, StateError> {
        let mut piece = Piece { bytes: Vec::new(), sums: Vec::new(), next: None, left_out: LeftOut::default() };
        let base = self.running(save.plan.base.nodes.iter().map(AsRef::as_ref));
        for index in save.from..self.keys.len() {
            if piece.bytes.len() >= PIECE_BYTES {
                piece.next = Some(index);
                break;
            }
            let Some(&Place { partition, next, home }) = save.partitions.get(&self.keys[index].partition) else {
                continue;
            };
            let name = self.shared.keys.borrow()[index].clone();
            let key = KeyIndex(u32::try_from(index).expect("fewer than 2^32 keys"));
            let own = self.running(save.plan.own_nodes_of(&name).iter().map(AsRef::as_ref));
            let mut nodes = Vec::new();
            for node in base.iter().chain(&own) {
                match node.record(key) {
                    Ok(record) if record.is_empty() => {}
                    Ok(record) => nodes.push(record),
                    Err(reason) => piece.left_out.note(&node.plan.name, &name, reason),
                }
            }
            let mut record = KeyRecord {
                partition,
                next,
                home,
                revision: save.plan.revision,
                intake: intake_of(&self.keys[index], &save.plan.base.axes),
                nodes,
                key: name,
            };
            piece.seal(&mut record)?;
        }
        Ok(piece)
    }

    fn running<'p>(&self, nodes: impl Iterator<Item = &'p PlanNode>) -> Vec<Running<'p>> {
        let running = nodes.filter_map(|plan| {
            let cell = self.shared.cell(self.installer.place(plan)?);
            Some(Running { plan, identity: identity(&plan.node), cell })
        });
        running.collect()
    }

    /// Puts back what was saved of keys of a partition, before any of its rows.
    pub(super) fn restore(&mut self, plan: &ClassPlan, chain: u32, records: Vec<KeyRecord>) {
        let base = self.running(plan.base.nodes.iter().map(AsRef::as_ref));
        for record in records {
            if self.index.contains_key(&record.key) {
                tracing::warn!(key = %record.key, partition = record.partition, "a saved state is dropped: the key's rows come from another partition now");
                continue;
            }
            let key = self.meet(plan, chain, &record.key);
            let own = self.running(plan.own_nodes_of(&record.key).iter().map(AsRef::as_ref));
            let entry = &mut self.keys[key.0 as usize];
            restore_intake(entry, record.intake, &plan.base.axes);
            for saved in record.nodes {
                match own.iter().chain(&base).find(|node| node.plan.name == saved.name) {
                    Some(node) if node.identity == saved.identity => node.restore(key, saved),
                    // Deployed between the start and the first row of the partition.
                    _ => {
                        tracing::warn!(node = %saved.name, key = %record.key, "a saved state is dropped: the node was replaced before it was restored")
                    }
                }
            }
        }
    }
}

impl Running<'_> {
    /// What the node keeps of a key, or why its operator's state cannot be saved.
    fn record(&self, key: KeyIndex) -> Result<NodeRecord, String> {
        self.cell.borrow_mut().forget_moved(self.plan, key);
        let cell = self.cell.borrow();
        let operator = match self.plan.operator.as_ref().zip(cell.table.as_ref()) {
            Some((operator, table)) => table.encode(key)?.map(|bytes| (operator.state_version(), bytes)),
            None => None,
        };
        if let Some(bytes) = operator.as_ref().map(|(_, bytes)| bytes.len()).filter(|bytes| *bytes > STATE_BYTES_MAX) {
            return Err(format!("it has {bytes} bytes, and the limit is {STATE_BYTES_MAX}"));
        }
        let operator = operator.map(|(version, bytes)| OperatorRecord { version, bytes });
        let last = cell.last.get(&key).filter(|last| last.iter().any(Option::is_some));
        Ok(NodeRecord {
            name: self.plan.name.clone(),
            identity: self.identity,
            born: self.plan.born,
            artifact: self.plan.artifact,
            operator,
            align: cell.align.get(&key).filter(|align| !align.histories.is_empty()).cloned(),
            last: last.cloned().unwrap_or_default(),
            // What was resumed since is over with the next row, and revisions may be numbered anew until then.
            health: cell.health.of(key).filter(|health| health.resumed >= Some(self.plan.resumed())).cloned(),
        })
    }

    fn restore(&self, key: KeyIndex, saved: NodeRecord) {
        let mut cell = self.cell.borrow_mut();
        if let (Some(state), Some(table)) = (&saved.operator, &mut cell.table)
            && let Err(error) = table.decode(key, &state.bytes)
        {
            tracing::error!(node = %saved.name, error, "a saved state that was read before cannot be read; aborting");
            std::process::abort();
        }
        if !defect::is_chosen(Defect::SavedState) {
            cell.align.extend(saved.align.map(|align| (key, align)));
        }
        if !saved.last.is_empty() {
            cell.last.insert(key, saved.last);
        }
        if let Some(health) = saved.health {
            cell.health.restore(key, health, self.plan.resumed());
        }
    }
}

fn intake_of(entry: &KeyEntry, axes: &[AxisStreams]) -> IntakeRecord {
    let streams = |axis: &AxisStreams| axis.streams.clone();
    IntakeRecord {
        ticked: entry.ticked,
        like: entry.like,
        axes: entry.axes.iter().zip(axes).map(|(clock, axis)| (streams(axis), clock.clone())).collect(),
    }
}

fn restore_intake(entry: &mut KeyEntry, saved: IntakeRecord, axes: &[AxisStreams]) {
    entry.ticked = saved.ticked;
    entry.like = saved.like;
    for (streams, mut clock) in saved.axes {
        // An axis is known by its streams: the sensors that are declared now may have given it another number.
        let has = |axis: &AxisStreams| axis.streams.iter().any(|(name, _)| streams.iter().any(|(of, _)| of == name));
        let Some(place) = axes.iter().position(has) else { continue };
        if let Some(waiting) = &mut clock.waiting {
            rearrange(waiting, &streams, &axes[place].streams);
        }
        if entry.axes.len() <= place {
            let ticked: Time = saved.ticked;
            entry.axes.resize_with(place + 1, || AxisClock::after(ticked));
        }
        entry.axes[place] = clock;
    }
}

/// Puts the columns of waiting rows into the order in which records have them now.
fn rearrange(waiting: &mut Waiting, before: &[(StreamName, ElementType)], now: &[(StreamName, ElementType)]) {
    if before == now {
        return;
    }
    let from: Vec<Option<usize>> = now.iter().map(|stream| before.iter().position(|of| of == stream)).collect();
    for row in &mut waiting.rows {
        let value = |(from, (_, element)): (&Option<usize>, &(StreamName, ElementType))| -> Column {
            from.and_then(|from| row.get(from).cloned()).unwrap_or_else(|| absent(*element, 1))
        };
        *row = from.iter().zip(now).map(value).collect();
    }
}
