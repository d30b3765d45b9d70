//! The short way through a frame, which most nodes can take: every need is a column of the frame on one axis that
//! lacks nothing, or an attribute. What holds for all keys is looked up once for the frame; a key costs its slices.

use std::ops::Range;

use smallvec::SmallVec;

use super::cell::Cell;
use super::compute::{NEEDS_ON_STACK, NodeRun};
use super::frame::Axis;
use super::guard;
use super::output::Buffer;
use crate::topology::need::NeedKind;
use crate::topology::node::Missing;
use crate::topology::plan::{From, PlanNeed, PlanNode};
use crate::traits::Rows;
use crate::words::{Column, ColumnRef, KeyIndex, Value};

/// The needs of a node over a frame.
pub(super) struct Whole<'f> {
    axis: &'f Axis,
    /// The column of each need: over all keys, and from the first key on that of the key that is run. An attribute has
    /// an empty one.
    columns: SmallVec<[ColumnRef<'f>; NEEDS_ON_STACK]>,
    /// For each need that is a stream, its column over all keys.
    streams: SmallVec<[(usize, ColumnRef<'f>); NEEDS_ON_STACK]>,
    constants: Constants,
}

/// For each need that is an attribute, a column of the value of the key that is run.
type Constants = SmallVec<[(usize, Column); 2]>;

static NO_ROWS: Axis = Axis { times: Vec::new(), causes: Vec::new(), ends: Vec::new() };

impl<'f> Whole<'f> {
    /// `None` when the node has to look at each key.
    pub(super) fn of(work: &NodeRun<'f>) -> Option<Self> {
        let plan = work.plan;
        if !may_be_short(plan) {
            return None;
        }
        let mut found: Option<&'f Axis> = None;
        let mut whole =
            Self { axis: &NO_ROWS, columns: SmallVec::new(), streams: SmallVec::new(), constants: SmallVec::new() };
        for (index, need) in plan.needs.iter().enumerate() {
            let (axis, complete) = match need.from {
                From::Attribute(_) => {
                    whole.constants.push((index, Column::with_capacity(need.element, 0)));
                    whole.columns.push(ColumnRef::F32(&[]));
                    continue;
                }
                From::Slot(slot) => {
                    let written = work.frame.slots.get(slot as usize)?.get()?;
                    whole.streams.push((index, written.column.as_ref()));
                    whole.columns.push(written.column.as_ref());
                    (&*written.axis, written.complete)
                }
                From::Local(_) => return None,
            };
            if !lacks_nothing(need, complete) || !std::ptr::eq(*found.get_or_insert(axis), axis) {
                return None;
            }
        }
        whole.axis = found?;
        Some(whole)
    }
}

/// Whether a node's rows are those of its needs, one by one.
#[inline]
fn may_be_short(plan: &PlanNode) -> bool {
    plan.aligned && !plan.emits && plan.missing != Missing::Last
}

#[inline]
fn lacks_nothing(need: &PlanNeed, complete: bool) -> bool {
    match need.kind {
        NeedKind::Optional => true,
        NeedKind::Required => complete,
        NeedKind::Previous { .. } | NeedKind::Attribute => false,
    }
}

impl<'f> NodeRun<'f> {
    /// Whether nodes of a key's own stand in for this one, or for what it reads, for some key of the frame.
    pub(super) fn is_apart_for_some(&self) -> bool {
        let wirings = || self.frame.kinds.iter().map(|kind| &kind.wiring);
        wirings().any(|wiring| wiring.overridden.contains(&self.plan.name))
            || self.plan.slots_read().any(|slot| wirings().any(|wiring| wiring.local_of(slot).is_some()))
    }

    /// Runs all keys in one call, where an operator makes of a row what it makes of that row alone; `false` when they
    /// have to be run key by key: something sets a key apart, or a row failed.
    pub(super) fn run_all(&self, whole: &Whole<'f>, cell: &mut Cell, out: &mut Buffer) -> bool {
        let Some(operator) = self.plan.operator.as_ref().filter(|operator| operator.row_by_row()) else { return false };
        let of_each = !whole.constants.is_empty() || self.plan.paused() || !cell.health.is_clear();
        if of_each || !out.is_on(whole.axis) {
            return false;
        }
        let Some(table) = &mut cell.table else { return false };
        let rows = whole.axis.times.len();
        let input = Rows::new(&whole.axis.times, &whole.columns);
        let mut outputs = out.outputs(0, rows, false);
        if guard::attempt(|| operator.run(table.as_mut(), KeyIndex(0), &input, &mut outputs)).is_err() {
            outputs.undo(0..rows, 0);
            return false;
        }
        cell.counts.rows += rows as u64;
        cell.counts.computed += rows as u64;
        true
    }

    /// Runs a key; `false` when it has to go the long way: it lacks rows or an attribute.
    pub(super) fn run_whole(&self, run: usize, whole: &mut Whole<'f>, cell: &mut Cell, out: &mut Buffer) -> bool {
        let rows = whole.axis.run(run);
        if rows.is_empty() {
            // The node may still have the rows of its axis, in which nobody provides this need for the key.
            return false;
        }
        for (need, all) in &whole.streams {
            whole.columns[*need] = all.rows(rows.clone());
        }
        if whole.constants.is_empty() {
            self.run_short(run, (whole.axis, rows), &whole.columns, cell, out);
            return true;
        }
        let mut columns: SmallVec<[ColumnRef<'_>; NEEDS_ON_STACK]> = whole.columns.iter().copied().collect();
        let known = self.constants(run, rows.len(), &mut whole.constants, &mut columns);
        if known {
            self.run_short(run, (whole.axis, rows), &columns, cell, out);
        }
        known
    }

    /// Runs a node of one key whose needs are all on one axis and lack nothing; `false` when it has to go the long way.
    pub(super) fn run_alone(&self, run: usize, cell: &mut Cell, out: &mut Buffer) -> bool {
        let (plan, frame) = (self.plan, self.frame);
        let Some(own) = frame.own(run).filter(|_| may_be_short(plan)) else { return false };
        let mut constants = Constants::new();
        let mut columns: SmallVec<[_; NEEDS_ON_STACK]> = SmallVec::from_elem(ColumnRef::F32(&[]), plan.needs.len());
        let mut found: Option<(&Axis, Range<usize>)> = None;
        for (index, (need, column)) in plan.needs.iter().zip(&mut columns).enumerate() {
            let (axis, complete, written, of_all) = match need.from {
                From::Slot(slot) => match frame.slots.get(slot as usize).and_then(|slot| slot.get()) {
                    Some(written) => (&*written.axis, written.complete, &written.column, true),
                    None => return false,
                },
                From::Local(local) => match own.locals[usize::from(local)].get() {
                    Some(piece) if piece.run == run => (&*piece.axis, piece.complete, &piece.column, false),
                    _ => return false,
                },
                From::Attribute(_) => {
                    constants.push((index, Column::with_capacity(need.element, 0)));
                    continue;
                }
            };
            let (on, rows) = found.get_or_insert_with(|| (axis, axis.run(run)));
            if !lacks_nothing(need, complete) || !std::ptr::eq(*on, axis) {
                return false;
            }
            *column = if of_all { written.rows(rows.clone()) } else { written.as_ref() };
        }
        let Some((axis, rows)) = found.filter(|(_, rows)| !rows.is_empty()) else { return false };
        if !constants.is_empty() && !self.constants(run, rows.len(), &mut constants, &mut columns) {
            return false;
        }
        self.run_short(run, (axis, rows), &columns, cell, out);
        true
    }

    /// Runs a key's rows on columns that lack nothing.
    fn run_short(
        &self,
        run: usize,
        (axis, rows): (&Axis, Range<usize>),
        columns: &[ColumnRef<'_>],
        cell: &mut Cell,
        out: &mut Buffer,
    ) {
        let (times, causes) = (&axis.times[rows.clone()], &axis.causes[rows]);
        let start = out.begin(run, times, causes, false);
        let key = self.frame.keys[run];
        cell.counts.rows += times.len() as u64;
        if self.stands_still(key, times.len(), cell) {
            return;
        }
        let mut failures = Vec::new();
        let mut outputs = out.outputs(start, times.len(), false);
        let tried = self.guarded(key, &Rows::new(times, columns), &mut outputs, cell, &mut failures);
        self.count(cell, times.len(), tried, &failures);
        self.letters(run, failures, columns, |row| (times[row], causes[row]));
    }

    /// Fills in the attributes of a key; `false` when one is missing.
    fn constants<'c>(
        &self,
        run: usize,
        rows: usize,
        constants: &'c mut [(usize, Column)],
        columns: &mut [ColumnRef<'c>],
    ) -> bool {
        let attributes = &self.frame.attributes[run];
        constants.iter_mut().all(|(need, constant)| {
            let From::Attribute(name) = &self.plan.needs[*need].from else { return false };
            let known = attributes.get(name).is_some_and(|value| repeat(value, rows, constant));
            columns[*need] = constant.as_ref();
            known
        })
    }
}

/// Makes `column` one of so many rows of a number or bool; `false` when the value is of another type, or missing.
fn repeat(value: &Value, rows: usize, column: &mut Column) -> bool {
    fn fill<T: Copy>(values: &mut Vec<T>, value: T, rows: usize) {
        values.clear();
        values.resize(rows, value);
    }
    match (value, column) {
        (Value::F32(value), Column::F32(column)) if !value.is_nan() => fill(column, *value, rows),
        (Value::F64(value), Column::F64(column)) if !value.is_nan() => fill(column, *value, rows),
        (Value::I64(value), Column::I64(column)) if *value != i64::MIN => fill(column, *value, rows),
        (Value::Bool(value), Column::Bool(column)) => fill(column, Some(*value), rows),
        _ => return false,
    }
    true
}
