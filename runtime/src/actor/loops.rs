//! Loops: nodes that `previous` closes advance together, row by row, member by member.

use std::cell::RefCell;
use std::rc::Rc;

use smallvec::SmallVec;

use super::cell::Cell;
use super::compute::{KeyRows, NEEDS_ON_STACK, NodeRun};
use super::missing::{attribute, last_slot, remember};
use super::output::{Buffer, Finished};
use crate::topology::need::NeedKind;
use crate::topology::node::{Missing, stand_in};
use crate::topology::plan::{From, PlanNeed, PlanNode, To};
use crate::traits::Rows;
use crate::words::{Cause, Column, ColumnRef, Time};

/// A member of a loop, with its state and its outputs so far.
pub(super) struct Member<'f> {
    pub(super) work: NodeRun<'f>,
    pub(super) cell: Rc<RefCell<Cell>>,
    out: Buffer,
}

/// What provides a need of a member within the loop: the member, and which of its outputs.
type Inside = Option<(usize, usize)>;

/// Whether a node needs `previous` of what it provides itself.
pub(super) fn reads_itself(plan: &PlanNode) -> bool {
    let own = |need: &PlanNeed| plan.provides.iter().any(|to| same(to, &need.from));
    plan.needs.iter().any(own)
}

fn same(to: &To, from: &From) -> bool {
    match (to, from) {
        (To::Slot(to), From::Slot(from)) => to == from,
        (To::Local(to), From::Local(from)) => to == from,
        _ => false,
    }
}

/// Runs the members of a loop over a frame.
pub(super) fn run_loop<'f>(members: Vec<(NodeRun<'f>, Rc<RefCell<Cell>>)>) -> Vec<Finished> {
    let mut members: Vec<Member<'f>> =
        members.into_iter().map(|(work, cell)| Member { out: work.buffer(), work, cell }).collect();
    let inside: Vec<Vec<Inside>> = members.iter().map(|member| inside(member, &members)).collect();
    for run in members[0].work.runs() {
        run_key(run, &mut members, &inside);
        members.iter_mut().for_each(|member| member.out.end());
    }
    members.into_iter().map(|member| member.out.finish()).collect()
}

fn inside(member: &Member<'_>, members: &[Member<'_>]) -> Vec<Inside> {
    let provider = |need: &PlanNeed| {
        members.iter().enumerate().find_map(|(number, member)| {
            let output = member.work.plan.provides.iter().position(|to| same(to, &need.from))?;
            Some((number, output))
        })
    };
    member.work.plan.needs.iter().map(provider).collect()
}

fn run_key(run: usize, members: &mut [Member<'_>], inside: &[Vec<Inside>]) {
    let base = if members.len() > 1 { base(run, members) } else { None };
    let mut rows: Vec<Option<KeyRows<'_>>> = Vec::with_capacity(members.len());
    for member in members.iter() {
        let cell = &mut *member.cell.borrow_mut();
        rows.push(if member.work.applies(run) { member.work.rows(run, cell, base) } else { None });
    }
    // A member whose own needs all come from within has the rows of the others.
    let Some(some) = rows.iter().position(Option::is_some) else { return };
    let (times, causes) = {
        let rows = rows[some].as_ref().expect("it was just found");
        (rows.times().to_vec(), rows.causes().to_vec())
    };
    let starts: Vec<usize> = members.iter_mut().map(|member| member.out.begin(run, &times, &causes, false)).collect();
    for row in 0..times.len() {
        for (number, inside) in inside.iter().enumerate() {
            let work = &members[number].work;
            if work.applies(run) && (members.len() == 1 || work.has_axis(run)) {
                run_row(run, row, number, members, inside, &rows, (&times, &causes), &starts);
            }
        }
        for (number, inside) in inside.iter().enumerate() {
            remember_row(run, row, number, members, inside, &starts);
        }
    }
}

/// The rows of the axis that the members of a loop share, for a key.
fn base<'f>(run: usize, members: &[Member<'f>]) -> Option<(&'f [Time], &'f [Cause])> {
    members.iter().filter(|member| member.work.applies(run)).find_map(|member| {
        let work = &member.work;
        if let Some(rows) = work.axis_rows(run) {
            return Some(rows);
        }
        let in_row =
            work.plan.needs.iter().filter(|need| need.in_row || matches!(need.kind, NeedKind::Previous { .. }));
        in_row.filter_map(|need| work.view(run, need)).map(|view| (view.times, view.causes)).next()
    })
}

#[expect(clippy::too_many_arguments, reason = "one step of a loop over rows and members")]
fn run_row(
    run: usize,
    row: usize,
    number: usize,
    members: &mut [Member<'_>],
    inside: &[Inside],
    rows: &[Option<KeyRows<'_>>],
    (times, causes): (&[Time], &[Cause]),
    starts: &[usize],
) {
    let cell = Rc::clone(&members[number].cell);
    let cell = &mut *cell.borrow_mut();
    let work = &members[number].work;
    let key = work.frame.keys[run];
    cell.counts.rows += 1;
    let mut columns: SmallVec<[Column; NEEDS_ON_STACK]> = SmallVec::new();
    for (index, need) in work.plan.needs.iter().enumerate() {
        let mut column = Column::with_capacity(need.element, 1);
        match (&need.kind, inside[index]) {
            (NeedKind::Attribute, _) => column = attribute(work, run, need, 1),
            (NeedKind::Previous { initial }, _) => match last_slot(work, run, index, cell) {
                Some(last) => column.push_row(last.as_ref(), 0),
                None => column.push(Some(initial)),
            },
            (_, Some((provider, output))) => {
                column.push_row(members[provider].out.columns[output].as_ref(), starts[provider] + row);
            }
            (_, None) => match rows[number].as_ref().and_then(|rows| rows.column(index)) {
                Some((from, _)) => column.push_row(from, row),
                None => column.push(None),
            },
        }
        if matches!(need.kind, NeedKind::Required | NeedKind::Attribute) {
            stand_in_for(work, run, index, need, &mut column, cell);
        }
        columns.push(column);
    }
    let lacks = work
        .plan
        .needs
        .iter()
        .zip(&columns)
        .any(|(need, column)| need.kind != NeedKind::Optional && column.as_ref().is_missing(0));
    if lacks && work.plan.node.missing != Missing::Pass {
        work.stands_still(key, 0, cell);
        cell.counts.skipped += 1;
        return;
    }
    if work.stands_still(key, 1, cell) {
        return;
    }
    let columns: SmallVec<[ColumnRef<'_>; NEEDS_ON_STACK]> = columns.iter().map(Column::as_ref).collect();
    let mut failures = Vec::new();
    let input = Rows::new(&times[row..=row], &columns);
    let member = &mut members[number];
    let mut outputs = member.out.outputs(starts[number] + row, 1, false);
    let tried = member.work.guarded(key, &input, &mut outputs, cell, &mut failures);
    member.work.count(cell, 1, tried, &failures);
    member.work.letters(run, failures, &columns, |_| (times[row], causes[row]));
}

fn stand_in_for(work: &NodeRun<'_>, run: usize, index: usize, need: &PlanNeed, column: &mut Column, cell: &mut Cell) {
    match work.plan.node.missing {
        Missing::Last => {
            let last = last_slot(work, run, index, cell);
            remember(last, column.as_ref(), 0);
            if let Some(last) = last {
                column.as_mut().copy_row(0, last.as_ref(), 0);
            }
        }
        Missing::Default(number) if column.as_ref().is_missing(0) => {
            column.clear();
            column.push(stand_in(number, need.element).as_ref());
        }
        _ => {}
    }
}

/// After all members have done a row: what their `previous` needs read in the next.
fn remember_row(run: usize, row: usize, number: usize, members: &[Member<'_>], inside: &[Inside], starts: &[usize]) {
    let member = &members[number];
    let cell = &mut *member.cell.borrow_mut();
    for (index, need) in member.work.plan.needs.iter().enumerate() {
        if !matches!(need.kind, NeedKind::Previous { .. }) {
            continue;
        }
        let last = last_slot(&member.work, run, index, cell);
        match inside[index] {
            Some((provider, output)) => {
                remember(last, members[provider].out.columns[output].as_ref(), starts[provider] + row);
            }
            None => {
                if let Some(view) = member.work.view(run, need).filter(|view| row < view.times.len()) {
                    remember(last, view.column, row);
                }
            }
        }
    }
}
