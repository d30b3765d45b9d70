//! The short way through a frame, which most nodes can take: every need is a column of the frame on one axis that
//! lacks nothing, or an attribute. What holds for all keys is looked up once for the frame; a key costs its slices.

use smallvec::SmallVec;

use super::cell::Cell;
use super::compute::{NEEDS_ON_STACK, NodeRun};
use super::frame::Axis;
use super::guard;
use super::output::Buffer;
use crate::topology::need::NeedKind;
use crate::topology::node::Missing;
use crate::topology::plan::From;
use crate::traits::Rows;
use crate::words::{Column, ColumnRef, KeyIndex, Value};

/// The needs of a node over a frame.
///
/// For a node of one key it is looked up for that key, which is cheaper than the long way all the same.
pub(super) struct Whole<'f> {
    axis: &'f Axis,
    /// The column of each need over all keys; an attribute has an empty one.
    columns: SmallVec<[ColumnRef<'f>; NEEDS_ON_STACK]>,
    /// For each need that a node of the same key provides, what it wrote.
    pieces: SmallVec<[(usize, ColumnRef<'f>); 2]>,
    /// For each attribute its need, and a column of the value of the key that is run.
    constants: SmallVec<[(usize, Column); 2]>,
}

static NO_ROWS: Axis = Axis { times: Vec::new(), causes: Vec::new(), ends: Vec::new() };

impl<'f> Whole<'f> {
    /// `None` when the node has to look at each key.
    pub(super) fn of(work: &NodeRun<'f>) -> Option<Self> {
        let plan = work.plan;
        if !plan.aligned || plan.emits || plan.missing == Missing::Last {
            return None;
        }
        let mut found: Option<&'f Axis> = None;
        let mut whole =
            Self { axis: &NO_ROWS, columns: SmallVec::new(), pieces: SmallVec::new(), constants: SmallVec::new() };
        for (index, need) in plan.needs.iter().enumerate() {
            let (axis, complete) = match need.from {
                From::Attribute(_) => {
                    whole.constants.push((index, Column::with_capacity(need.element, 0)));
                    whole.columns.push(ColumnRef::F32(&[]));
                    continue;
                }
                From::Slot(slot) => {
                    let written = work.frame.slots.get(slot as usize)?.get()?;
                    whole.columns.push(written.column.as_ref());
                    (&*written.axis, written.complete)
                }
                From::Local(local) => {
                    let run = work.only_run?;
                    let piece =
                        work.frame.own(run)?.locals[usize::from(local)].get().filter(|piece| piece.run == run)?;
                    whole.pieces.push((index, piece.column.as_ref()));
                    whole.columns.push(ColumnRef::F32(&[]));
                    (&*piece.axis, piece.complete)
                }
            };
            let fine = need.kind == NeedKind::Optional || (need.kind == NeedKind::Required && complete);
            if !fine || !std::ptr::eq(*found.get_or_insert(axis), axis) {
                return None;
            }
        }
        whole.axis = found?;
        Some(whole)
    }
}

impl<'f> NodeRun<'f> {
    /// Runs all keys in one call, where an operator makes of a row what it makes of that row alone; `false` when they
    /// have to be run key by key: something sets a key apart, or a row failed.
    pub(super) fn run_all(&self, whole: &Whole<'f>, cell: &mut Cell, out: &mut Buffer) -> bool {
        let Some(operator) = self.plan.operator.as_ref().filter(|operator| operator.row_by_row()) else { return false };
        let apart = self.only_run.is_some() || !self.frame.own.is_empty() || !whole.constants.is_empty();
        if apart || self.plan.paused() || !cell.health.is_clear() || !out.is_on(whole.axis) {
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

    /// Runs a key; `false` when it has to go the long way: a node of its own stands in, or it lacks rows or an
    /// attribute.
    pub(super) fn run_whole(&self, run: usize, whole: &mut Whole<'f>, cell: &mut Cell, out: &mut Buffer) -> bool {
        if self.only_run.is_none()
            && let Some(own) = self.frame.own(run)
            && self.plan.slots_read().any(|slot| own.kind.wiring.local_of(slot).is_some())
        {
            return false;
        }
        let rows = whole.axis.run(run);
        if rows.is_empty() {
            // The node may still have the rows of its axis, in which nobody provides this need for the key.
            return false;
        }
        if !whole.constants.is_empty() && !self.constants(run, rows.len(), &mut whole.constants) {
            return false;
        }
        let (times, causes) = (&whole.axis.times[rows.clone()], &whole.axis.causes[rows.clone()]);
        let start = out.begin(run, times, causes, false);
        let key = self.frame.keys[run];
        cell.counts.rows += times.len() as u64;
        if self.stands_still(key, times.len(), cell) {
            return true;
        }
        let mut few = [ColumnRef::F32(&[]); NEEDS_ON_STACK];
        let mut many = Vec::new();
        let columns = if whole.columns.len() <= NEEDS_ON_STACK {
            &mut few[..whole.columns.len()]
        } else {
            many.resize(whole.columns.len(), ColumnRef::F32(&[]));
            &mut many[..]
        };
        for (column, all) in columns.iter_mut().zip(&whole.columns).filter(|(_, all)| !all.is_empty()) {
            *column = all.rows(rows.clone());
        }
        whole.pieces.iter().for_each(|(need, piece)| columns[*need] = *piece);
        whole.constants.iter().for_each(|(need, constant)| columns[*need] = constant.as_ref());
        let mut failures = Vec::new();
        let mut outputs = out.outputs(start, times.len(), false);
        let tried = self.guarded(key, &Rows::new(times, columns), &mut outputs, cell, &mut failures);
        self.count(cell, times.len(), tried, &failures);
        self.letters(run, failures, columns, |row| (times[row], causes[row]));
        true
    }

    /// Fills in the attributes of a key; `false` when one is missing.
    fn constants(&self, run: usize, rows: usize, constants: &mut [(usize, Column)]) -> bool {
        let attributes = &self.frame.attributes[run];
        constants.iter_mut().all(|(need, column)| {
            let From::Attribute(name) = &self.plan.needs[*need].from else { return false };
            attributes.get(name).is_some_and(|value| repeat(value, rows, column))
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
