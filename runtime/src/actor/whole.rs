//! The short way through a frame, which most nodes can take: every need is a column of the frame on one axis that
//! lacks nothing, or an attribute. What holds for all keys is looked up once for the frame; a key costs its slices.

use smallvec::SmallVec;

use super::cell::Cell;
use super::compute::{NEEDS_ON_STACK, NodeRun};
use super::frame::Axis;
use super::output::Buffer;
use crate::prefetch::{MODEL_AHEAD, prefetch};
use crate::topology::node::Missing;
use crate::topology::plan::{From, PlanNeed, PlanNode};
use crate::traits::{Outputs, Rows};
use crate::words::{Cause, Column, ColumnRef, Value};

/// The needs of a node over a frame.
pub(super) struct Whole<'f> {
    pub(super) axis: &'f Axis,
    columns: SmallVec<[Need<'f>; NEEDS_ON_STACK]>,
    /// For each key whether it lacks an attribute; empty when none does.
    pub(super) lacking: Vec<bool>,
}

/// A need's column over all keys.
enum Need<'f> {
    Stream(ColumnRef<'f>),
    /// Each key's value in all its rows.
    Attribute(Column),
}

pub(super) type Columns<'c> = SmallVec<[ColumnRef<'c>; NEEDS_ON_STACK]>;

impl<'f> Whole<'f> {
    /// `None` when the node has to look at each key.
    pub(super) fn of(work: &NodeRun<'f>) -> Option<Self> {
        let plan = work.plan;
        if !may_be_short(plan) {
            return None;
        }
        let written = |need: &PlanNeed| match need.from {
            From::Slot(slot) => Some(work.frame.whole(need, slot)),
            From::Attribute(_) => None,
            From::Local(_) => Some(None),
        };
        let axis = &*plan.needs.iter().find_map(written)??.axis;
        let mut whole = Self { axis, columns: SmallVec::new(), lacking: Vec::new() };
        for need in &plan.needs {
            let column = match written(need) {
                Some(written) => {
                    Need::Stream(written.filter(|written| std::ptr::eq(&*written.axis, axis))?.column.as_ref())
                }
                None => Need::Attribute(whole.attribute(work, need)),
            };
            whole.columns.push(column);
        }
        Some(whole)
    }

    fn attribute(&mut self, work: &NodeRun<'f>, need: &PlanNeed) -> Column {
        let mut column = Column::with_capacity(need.element, self.axis.times.len());
        let keys = work.frame.keys.len();
        for run in 0..keys {
            let ahead = work.frame.attributes.get(run + MODEL_AHEAD);
            if let Some((name, value)) = ahead.and_then(|attributes| attributes.first_key_value()) {
                prefetch(name);
                prefetch(value);
            }
            let rows = self.axis.run(run).len();
            if !work.repeat_attribute(run, need, rows, &mut column) {
                column.extend_missing(rows);
                self.lacking.resize(keys, false);
                self.lacking[run] = true;
            }
        }
        column
    }

    /// The column of each need, over all keys.
    pub(super) fn columns(&self) -> Columns<'_> {
        let column = |need| match need {
            &Need::Stream(column) => column,
            Need::Attribute(column) => column.as_ref(),
        };
        self.columns.iter().map(column).collect()
    }
}

/// Whether a node's rows are those of its needs, one by one.
#[inline]
pub(super) fn may_be_short(plan: &PlanNode) -> bool {
    plan.aligned && !plan.emits && plan.missing != Missing::Last
}

impl<'f> NodeRun<'f> {
    /// Whether nodes of a key's own stand in for this one, or for what it reads, for some key of the frame.
    pub(super) fn is_apart_for_some(&self) -> bool {
        let wirings = || self.frame.kinds.iter().map(|kind| &kind.wiring);
        wirings().any(|wiring| wiring.overridden.contains(&self.plan.name))
            || self.plan.slots_read().any(|slot| wirings().any(|wiring| wiring.local_of(slot).is_some()))
    }

    /// Runs a key; `false` when it has to go the long way: it lacks rows or an attribute.
    pub(super) fn run_whole(
        &self,
        run: usize,
        whole: &Whole<'f>,
        columns: &[ColumnRef<'_>],
        cell: &mut Cell,
        out: &mut Buffer,
    ) -> bool {
        let rows = whole.axis.run(run);
        if rows.is_empty() || whole.lacking.get(run) == Some(&true) {
            // Without rows here, the node may still have those of its axis, in which nobody provides this need for the key.
            return false;
        }
        let columns: Columns<'_> = columns.iter().map(|all| all.rows(rows.clone())).collect();
        let (times, causes) = (&whole.axis.times[rows.clone()], &whole.axis.causes[rows]);
        let start = out.begin(run, times, causes, false);
        let mut outputs = out.outputs(start, times.len(), false);
        self.run_short(run, Rows::new(times, &columns), causes, cell, &mut outputs);
        true
    }

    /// Runs a key's rows on columns that lack nothing.
    pub(super) fn run_short(
        &self,
        run: usize,
        rows: Rows<'_>,
        causes: &[Cause],
        cell: &mut Cell,
        outputs: &mut Outputs<'_>,
    ) {
        let key = self.frame.keys[run];
        cell.counts.rows += rows.len() as u64;
        if self.stands_still(key, rows.len(), cell) {
            return;
        }
        let mut failures = Vec::new();
        let tried = self.guarded(key, &rows, outputs, cell, &mut failures);
        self.count(cell, rows.len(), tried, &failures);
        if !failures.is_empty() {
            let given: Columns<'_> = (0..rows.needs()).map(|need| rows.column(need)).collect();
            self.letters(run, failures, &given, |row| (rows.times()[row], causes[row]));
        }
    }

    /// Appends an attribute of a key for each of its rows; `false` when the key lacks it.
    pub(super) fn repeat_attribute(&self, run: usize, need: &PlanNeed, rows: usize, column: &mut Column) -> bool {
        let From::Attribute(name) = &need.from else { return false };
        self.frame.attributes[run].get(name).is_some_and(|value| repeat(value, rows, column))
    }
}

/// Appends so many rows of a number or bool; `false` when the value is of another type, or missing.
fn repeat(value: &Value, rows: usize, column: &mut Column) -> bool {
    fn fill<T: Copy>(values: &mut Vec<T>, value: T, rows: usize) {
        values.resize(values.len() + rows, value);
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
