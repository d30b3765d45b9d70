//! The short way of a node of one key, when every need is a column that lacks nothing on an axis of the source. What
//! holds for all keys of a frame with the same nodes is found at the first of them; a key costs its slices.

use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use super::cell::Cell;
use super::compute::{NEEDS_ON_STACK, NodeRun};
use super::frame::{Axis, Frame, Kind, Own};
use super::guard;
use super::output::Finished;
use super::whole::may_be_short;
use crate::topology::plan::{AxisLabel, From, PlanNode, SlotNumber};
use crate::topology::scorer;
use crate::traits::{Outputs, Rows};
use crate::words::{Column, ColumnRef};

/// What holds for a node of each key in a frame.
pub(crate) struct Alone {
    axis: Arc<Axis>,
    reads: SmallVec<[Read; NEEDS_ON_STACK]>,
    /// The needs that are attributes.
    attributes: SmallVec<[usize; 2]>,
}

/// Where a need is read, in few bytes: they are gone through for each key.
#[derive(Clone, Copy)]
enum Read {
    Slot(SlotNumber),
    Local(u16),
    /// By its place among the attributes.
    Attribute(u16),
}

/// [`Alone`] of each node, found when it first runs; `None` for those that go the long way.
pub(crate) type AloneOfNodes = SmallVec<[OnceLock<Option<Alone>>; 4]>;

impl Alone {
    fn of(frame: &Frame, plan: &PlanNode) -> Option<Self> {
        let AxisLabel::Source(axis) = plan.input_axis else { return None };
        let axis = frame.axes.get(usize::from(axis))?.as_ref()?;
        if !may_be_short(plan) || plan.own_rows || plan.needs.len() > NEEDS_ON_STACK {
            return None;
        }
        let (mut reads, mut attributes) = (SmallVec::new(), SmallVec::new());
        for (number, need) in plan.needs.iter().enumerate() {
            reads.push(match need.from {
                From::Slot(slot) if Arc::ptr_eq(&frame.whole(need, slot)?.axis, axis) => Read::Slot(slot),
                From::Local(local) if need.is_met(true) => Read::Local(local),
                From::Slot(_) | From::Local(_) => return None,
                From::Attribute(_) => {
                    attributes.push(number);
                    Read::Attribute(u16::try_from(attributes.len() - 1).ok()?)
                }
            });
        }
        Some(Self { axis: Arc::clone(axis), reads, attributes })
    }
}

impl Kind {
    /// How a node can go the short way with each key of this kind; `None` when it cannot.
    #[inline]
    pub(super) fn alone(&self, frame: &Frame, plan: &PlanNode, node: u16) -> Option<&Alone> {
        self.alone[usize::from(node)].get_or_init(|| Alone::of(frame, plan)).as_ref()
    }
}

impl NodeRun<'_> {
    /// Runs a node of a key; `None` when it has to go the long way.
    pub(super) fn run_alone(&self, alone: &Alone, own: Own<'_>, run: usize, cell: &mut Cell) -> Option<Finished> {
        let (plan, frame) = (self.plan, self.frame);
        let rows = alone.axis.run(run);
        if rows.is_empty() {
            return None;
        }
        let mut attributes: SmallVec<[Column; 2]> = SmallVec::new();
        for need in &alone.attributes {
            let mut column = Column::with_capacity(plan.needs[*need].element, rows.len());
            if !self.repeat_attribute(run, &plan.needs[*need], rows.len(), &mut column) {
                return None;
            }
            attributes.push(column);
        }
        let mut columns = [ColumnRef::F32(&[]); NEEDS_ON_STACK];
        for (number, read) in alone.reads.iter().enumerate() {
            columns[number] = match *read {
                Read::Slot(slot) => frame.slots[slot as usize].get()?.column.rows(rows.clone()),
                Read::Local(local) => {
                    let piece = own.locals[usize::from(local)].get()?;
                    let is_on_axis = piece.run == run && Arc::ptr_eq(&piece.axis, &alone.axis);
                    if !is_on_axis || !plan.needs[number].is_met(piece.complete) {
                        return None;
                    }
                    piece.column.as_ref()
                }
                Read::Attribute(place) => attributes[usize::from(place)].as_ref(),
            };
        }
        let columns = &columns[..alone.reads.len()];
        let mut out: SmallVec<[Column; 1]> = SmallVec::new();
        out.extend(plan.streams.iter().map(|(_, element)| Column::missing(*element, rows.len())));
        let mut outputs = Outputs::new(&mut out, 0..rows.len());
        if !self.score_alone(columns, cell, &mut outputs) {
            let (times, causes) = (&alone.axis.times[rows.clone()], &alone.axis.causes[rows]);
            self.run_short(run, Rows::new(times, columns), causes, cell, &mut outputs);
        }
        Some(Finished { axis: Arc::clone(&alone.axis), columns: out })
    }

    /// Scores a model's rows; `false` when they have to be run as those of any node: it is none, it stands still, or a row
    /// failed.
    fn score_alone(&self, columns: &[ColumnRef<'_>], cell: &mut Cell, out: &mut Outputs<'_>) -> bool {
        let Some(model) = self.plan.model.as_ref().filter(|_| self.goes_on_for_all(cell)) else { return false };
        let score = |out: &mut Outputs<'_>| match self.plan.casts {
            true => scorer::score_columns(model.as_ref(), columns, out),
            false => scorer::score_same(model.as_ref(), columns, out),
        };
        let scored = guard::all_or_none(out, score);
        if scored {
            cell.counts.rows += out.len() as u64;
            cell.counts.computed += out.len() as u64;
        }
        scored
    }
}
