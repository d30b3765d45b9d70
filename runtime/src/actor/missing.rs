//! What a missing value does: which rows an operator gets, and what stands in.

use smallvec::SmallVec;

use super::cell::Cell;
use super::compute::{KeyRows, NEEDS_ON_STACK, NodeRun};
use crate::topology::need::NeedKind;
use crate::topology::node::{Missing, stand_in};
use crate::topology::plan::{From, PlanNeed};
use crate::words::{Column, ColumnRef, ElementType, Value};

/// Columns that stand in for a key's own, and the rows that lack nothing.
#[derive(Debug, Default)]
pub(super) struct Filled {
    columns: SmallVec<[(usize, Column); 2]>,
    /// The rows the operator gets; `None` for all.
    pub(super) picked: Option<Vec<usize>>,
}

impl Filled {
    pub(super) fn column(&self, need: usize) -> Option<ColumnRef<'_>> {
        self.columns.iter().find(|(index, _)| *index == need).map(|(_, column)| column.as_ref())
    }
}

/// Fills in what the rows of a key do not bring with them: attributes, earlier values, stand-ins.
pub(super) fn fill(work: &NodeRun<'_>, run: usize, rows: &KeyRows<'_>, cell: &mut Cell) -> Filled {
    let plan = work.plan;
    let simple = |(index, need): (usize, &PlanNeed)| {
        need.kind.is_direct()
            && rows.column(index).is_some_and(|(_, complete)| complete || need.kind == NeedKind::Optional)
    };
    if plan.missing != Missing::Last && plan.needs.iter().enumerate().all(simple) {
        return Filled::default();
    }
    let count = rows.times().len();
    let mut filled = Filled::default();
    for (index, need) in plan.needs.iter().enumerate() {
        let column = match &need.kind {
            NeedKind::Attribute => {
                let column = attribute(work, run, need, count);
                match &plan.missing {
                    Missing::Default(number) => Some(with_default(*number, need.element, Some(column.as_ref()), count)),
                    Missing::Last => Some(last(work, run, (index, need), Some((column.as_ref(), false)), count, cell)),
                    Missing::Skip | Missing::Pass => Some(column),
                }
            }
            NeedKind::Previous { initial } => Some(previous(work, run, (index, need), initial, count, cell)),
            NeedKind::Required | NeedKind::Optional => {
                let column = rows.column(index);
                let required = need.kind == NeedKind::Required;
                match (&plan.missing, column) {
                    (Missing::Last, column) if required => Some(last(work, run, (index, need), column, count, cell)),
                    (Missing::Default(number), column) if required && !column.is_some_and(|(_, complete)| complete) => {
                        Some(with_default(*number, need.element, column.map(|(column, _)| column), count))
                    }
                    (_, None) => Some(Column::missing(need.element, count)),
                    _ => None,
                }
            }
        };
        filled.columns.extend(column.map(|column| (index, column)));
    }
    if plan.missing != Missing::Pass {
        filled.picked = pick(plan.needs.as_slice(), rows, &filled, count);
    }
    filled
}

/// The rows that lack nothing that is required; `None` when that is all.
fn pick(needs: &[PlanNeed], rows: &KeyRows<'_>, filled: &Filled, count: usize) -> Option<Vec<usize>> {
    let required = needs.iter().enumerate().filter(|(_, need)| need.kind != NeedKind::Optional);
    let columns: SmallVec<[ColumnRef<'_>; NEEDS_ON_STACK]> = required
        .filter_map(|(index, _)| filled.column(index).or_else(|| rows.column(index).map(|(column, _)| column)))
        .filter(|column| !column.is_complete())
        .collect();
    if columns.is_empty() {
        return None;
    }
    Some((0..count).filter(|row| columns.iter().all(|column| !column.is_missing(*row))).collect())
}

/// An attribute, the same in every row.
pub(super) fn attribute(work: &NodeRun<'_>, run: usize, need: &PlanNeed, count: usize) -> Column {
    let From::Attribute(name) = &need.from else { unreachable!("attributes are read from attributes") };
    match work.frame.attributes[run].get(name) {
        Some(value) if value.element_type() == need.element => constant(value, count),
        _ => Column::missing(need.element, count),
    }
}

/// A column of one value.
pub(super) fn constant(value: &Value, count: usize) -> Column {
    match value {
        Value::F32(value) => Column::F32(vec![*value; count]),
        Value::F64(value) => Column::F64(vec![*value; count]),
        Value::I64(value) => Column::I64(vec![*value; count]),
        Value::Bool(value) => Column::Bool(vec![Some(*value); count]),
        value => {
            let mut column = Column::with_capacity(value.element_type(), count);
            (0..count).for_each(|_| column.push(Some(value)));
            column
        }
    }
}

/// Where the node keeps the last value of a need for a key: a column of one row, once there is a value.
pub(super) fn last_slot<'c>(work: &NodeRun<'_>, run: usize, need: usize, cell: &'c mut Cell) -> &'c mut Option<Column> {
    let needs = work.plan.needs.len();
    let last = cell.last.entry(work.frame.keys[run]).or_default();
    if last.len() < needs {
        last.resize_with(needs, || None);
    }
    &mut last[need]
}

/// Remembers row `row` of a column, if it is not missing.
pub(super) fn remember(last: &mut Option<Column>, column: ColumnRef<'_>, row: usize) {
    if column.is_missing(row) {
        return;
    }
    match last {
        Some(last) => last.as_mut().copy_row(0, column, row),
        None => {
            let mut new = Column::with_capacity(column.element_type(), 1);
            new.push_row(column, row);
            *last = Some(new);
        }
    }
}

/// For each row the last value from earlier rows of a stream that the node does not provide itself.
fn previous(
    work: &NodeRun<'_>,
    run: usize,
    (index, need): (usize, &PlanNeed),
    initial: &Value,
    count: usize,
    cell: &mut Cell,
) -> Column {
    let view = work.view(run, need);
    let last = last_slot(work, run, index, cell);
    let mut column = Column::with_capacity(need.element, count);
    for row in 0..count {
        match &*last {
            Some(last) => column.push_row(last.as_ref(), 0),
            None => column.push(Some(initial)),
        }
        if let Some(view) = &view {
            remember(last, view.column, row);
        }
    }
    column
}

/// A need with the last value in the place of missing ones.
fn last(
    work: &NodeRun<'_>,
    run: usize,
    (index, need): (usize, &PlanNeed),
    column: Option<(ColumnRef<'_>, bool)>,
    count: usize,
    cell: &mut Cell,
) -> Column {
    let last = last_slot(work, run, index, cell);
    let mut held = Column::with_capacity(need.element, count);
    for row in 0..count {
        if let Some((column, _)) = column {
            remember(last, column, row);
        }
        match &*last {
            Some(last) => held.push_row(last.as_ref(), 0),
            None => held.push(None),
        }
    }
    held
}

fn with_default(number: f64, element: ElementType, column: Option<ColumnRef<'_>>, count: usize) -> Column {
    let value = stand_in(number, element);
    let mut filled = Column::with_capacity(element, count);
    for row in 0..count {
        match column.filter(|column| !column.is_missing(row)) {
            Some(column) => filled.push_row(column, row),
            None => filled.push(value.as_ref()),
        }
    }
    filled
}
