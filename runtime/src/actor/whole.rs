//! The short way through a frame, which most nodes can take: every need is a column of the frame on one axis that
//! lacks nothing, or an attribute. What holds for all keys is looked up once for the frame; a key costs its slices.

use smallvec::SmallVec;

use super::cell::Cell;
use super::compute::{NEEDS_ON_STACK, NodeRun};
use super::frame::Axis;
use super::output::Buffer;
use crate::topology::need::NeedKind;
use crate::topology::node::Missing;
use crate::topology::plan::{From, PlanNeed};
use crate::traits::Rows;
use crate::words::{Column, ColumnRef, Value};

/// The needs of a node over a frame.
pub(super) struct Whole<'f> {
    axis: &'f Axis,
    needs: SmallVec<[Input<'f>; NEEDS_ON_STACK]>,
    /// For each attribute a column of the value of the key that is run.
    constants: SmallVec<[Column; 2]>,
}

enum Input<'f> {
    Column(ColumnRef<'f>),
    Constant(usize),
}

impl<'f> Whole<'f> {
    /// `None` when the node has to look at each key.
    pub(super) fn of(work: &NodeRun<'f>) -> Option<Self> {
        let plan = work.plan;
        let emits = plan.operator.as_ref().is_some_and(|operator| operator.own_rows());
        if !plan.aligned || emits || work.only_run.is_some() || plan.node.missing == Missing::Last {
            return None;
        }
        let mut found: Option<&'f Axis> = None;
        let (mut needs, mut constants) = (SmallVec::new(), SmallVec::new());
        for need in &plan.needs {
            let From::Slot(slot) = need.from else {
                if need.kind != NeedKind::Attribute {
                    return None;
                }
                needs.push(Input::Constant(constants.len()));
                constants.push(Column::with_capacity(need.element, 0));
                continue;
            };
            let written = work.frame.slots.get(slot as usize)?.get()?;
            let axis = *found.get_or_insert(&*written.axis);
            let fine = need.kind == NeedKind::Optional || (need.kind == NeedKind::Required && written.complete);
            if !fine || !std::ptr::eq(axis, &*written.axis) {
                return None;
            }
            needs.push(Input::Column(written.column.as_ref()));
        }
        Some(Self { axis: found?, needs, constants })
    }
}

impl<'f> NodeRun<'f> {
    /// Runs a key; `false` when it has to go the long way: a node of its own stands in, or it lacks an attribute.
    pub(super) fn run_whole(&self, run: usize, whole: &mut Whole<'f>, cell: &mut Cell, out: &mut Buffer) -> bool {
        if let Some(own) = self.frame.own(run)
            && self.plan.slots_read().any(|slot| own.installed.plan.local_of(slot).is_some())
        {
            return false;
        }
        let rows = whole.axis.run(run);
        if rows.is_empty() {
            return true;
        }
        if !whole.constants.is_empty() && !self.constants(run, rows.len(), &mut whole.constants) {
            return false;
        }
        let (times, causes) = (&whole.axis.times[rows.clone()], &whole.axis.causes[rows.clone()]);
        let start = out.begin(run, times, causes, false);
        let key = self.frame.keys[run];
        cell.counts.rows += times.len() as u64;
        self.check_artifact(key, cell);
        if cell.health.quarantined(key) {
            cell.counts.quarantined += times.len() as u64;
            return true;
        }
        let column = |input: &Input<'f>| match input {
            Input::Column(column) => column.rows(rows.clone()),
            Input::Constant(constant) => whole.constants[*constant].as_ref(),
        };
        let columns: SmallVec<[ColumnRef<'_>; NEEDS_ON_STACK]> = whole.needs.iter().map(column).collect();
        let mut failures = Vec::new();
        let mut outputs = out.outputs(start, times.len(), false);
        let tried = self.guarded(key, &Rows::new(times, &columns), &mut outputs, cell, &mut failures);
        self.count(cell, times.len(), tried, &failures);
        self.letters(run, failures, |row| (times[row], causes[row]));
        true
    }

    /// Fills in the attributes of a key; `false` when one is missing.
    fn constants(&self, run: usize, rows: usize, constants: &mut [Column]) -> bool {
        let attributes = &self.frame.attributes[run];
        let needs = self.plan.needs.iter().filter(|need| need.kind == NeedKind::Attribute);
        needs.zip(constants).all(|(need, column)| {
            let value = attribute_name(need).and_then(|name| attributes.get(name));
            value.is_some_and(|value| repeat(value, rows, column))
        })
    }
}

fn attribute_name(need: &PlanNeed) -> Option<&crate::words::StreamName> {
    match &need.from {
        From::Attribute(name) => Some(name),
        From::Slot(_) | From::Local(_) => None,
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
