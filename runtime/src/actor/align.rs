//! Which rows a node has when its needs are on different axes, or when its rows are gated or thinned; and what the
//! other needs are as of then.

use super::explain::AlignLook;
use super::frame::View;
use crate::defect::{self, Defect};
use crate::state::{History, KeyAlign};
use crate::topology::node::{Node, RowRule};
use crate::topology::plan::PlanNeed;
use crate::words::{Cause, Column, ColumnRef, ElementType, Span, Time};

impl History {
    fn new(element: ElementType) -> Self {
        let values = Column::with_capacity(element, 0);
        Self { times: Vec::new(), causes: Vec::new(), values, rising: true, forgotten: None }
    }

    fn append(&mut self, view: &View<'_>) {
        for row in 0..view.times.len() {
            if !view.column.is_missing(row) {
                self.rising &= self.times.last().is_none_or(|last| *last < view.times[row]);
                self.times.push(view.times[row]);
                self.causes.push(view.causes[row]);
                self.values.push_row(view.column, row);
            }
        }
    }

    /// The row of the value as of a time, among those known by a cause; counts in `forgotten` when there was one before
    /// those that are remembered.
    fn as_of(&self, time: Time, cause: Cause, node: &Node, forgotten: &mut u64) -> Option<usize> {
        let known = self.causes.partition_point(|known| *known <= cause);
        let first = known.saturating_sub(node.as_of_rows);
        if defect::is_chosen(Defect::Alignment) {
            return known.checked_sub(1);
        }
        let row = if self.rising {
            self.times[..known].partition_point(|at| *at <= time).checked_sub(1).filter(|row| *row >= first)
        } else {
            (first..known).filter(|row| self.times[*row] <= time).max_by_key(|row| (self.times[*row], *row))
        };
        if row.is_none() {
            let before = self.times[..first].iter().take(if self.rising { 1 } else { first });
            let gone = self.forgotten.iter().chain(before).any(|at| *at <= time);
            *forgotten += u64::from(gone);
        }
        row.filter(|row| self.times[*row] >= time.minus(node.max_age))
    }

    /// Lets go of all but the last `keep`: as many are known by every later row.
    fn trim(&mut self, keep: usize) {
        if self.times.len() > keep.saturating_mul(2) {
            let drop = self.times.len() - keep;
            self.forgotten = self.times.drain(..drop).chain(self.forgotten).min();
            self.causes.drain(..drop);
            self.values.drop_front(drop);
            self.rising = self.times.is_sorted_by(|a, b| a < b);
        }
    }
}

/// A need as it comes in a frame: its rows, and whether anybody provides it for the key.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) need: &'a PlanNeed,
    pub(crate) view: Option<View<'a>>,
    pub(crate) provided: bool,
}

/// The rows of a node: times, causes, and for each need a column; those that are no streams have an empty one.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    pub(crate) times: Vec<Time>,
    pub(crate) causes: Vec<Cause>,
    pub(crate) columns: Vec<Column>,
    /// So many of them could have waited longer: there was no room.
    pub(crate) early: usize,
    /// Values that were read and had been forgotten.
    pub(crate) forgotten: u64,
}

/// Time that passed, or rows that must not wait any longer, after the rows of the frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct After {
    pub(crate) tick: Option<(Time, Cause)>,
    pub(crate) flush: Option<Cause>,
}

impl KeyAlign {
    /// What it remembers, for whoever asks.
    pub(crate) fn look(&self) -> AlignLook {
        let newest = |history: &History| {
            let row = history.times.len().checked_sub(1)?;
            Some((history.times[row], history.values.as_ref().value(row)?))
        };
        AlignLook {
            last: self.histories.iter().map(|history| newest(history.as_ref()?)).collect(),
            newest: self.newest.clone(),
            waiting: self.waiting.len(),
            first_waiting: self.waiting.first().copied(),
            passed: self.passed,
        }
    }

    /// The node's rows in a frame. `incoming` has the needs, then the gate if there is one; `base` the rows of the
    /// node's input axis where they are known otherwise than by a need.
    pub(crate) fn rows(
        &mut self,
        node: &Node,
        incoming: &[Incoming<'_>],
        base: Option<(&[Time], &[Cause])>,
        after: After,
        waiting_max: usize,
    ) -> Aligned {
        let mut early = 0;
        self.histories.resize_with(incoming.len(), || None);
        self.newest.resize(incoming.len(), None);
        for (incoming, history) in incoming.iter().zip(&mut self.histories) {
            // Not once for good: a provider may have moved to another axis, or to the node's own.
            if !incoming.need.is_as_of() {
                *history = None;
                continue;
            }
            let history = history.get_or_insert_with(|| History::new(incoming.need.element));
            if let Some(view) = &incoming.view {
                history.append(view);
            }
        }
        let candidates = match node.rule {
            RowRule::First => first(incoming, node, base),
            RowRule::OnAny => on_any(incoming, node),
            RowRule::OnAll { wait } => self.on_all(incoming, node, (wait, waiting_max), after, &mut early),
        };
        let rows = Aligned { early, ..self.pick(node, incoming, candidates) };
        for history in self.histories.iter_mut().flatten() {
            history.trim(node.as_of_rows);
        }
        rows
    }

    /// Of the candidates those that the gate lets through, thinned, with the values of all needs.
    fn pick(&mut self, node: &Node, incoming: &[Incoming<'_>], candidates: Vec<Candidate>) -> Aligned {
        let needs = incoming.len() - usize::from(node.when.is_some());
        let mut rows = Aligned::default();
        rows.columns.extend(incoming[..needs].iter().map(|need| Column::with_capacity(need.need.element, 0)));
        for candidate in candidates {
            if node.rule == RowRule::OnAny && self.passed.is_some_and(|last| candidate.time <= last) {
                continue;
            }
            if node.when.is_some() {
                let open = match self.read(needs, &incoming[needs], candidate, node, &mut rows.forgotten) {
                    Some((ColumnRef::Bool(values), row)) => values[row] == Some(true),
                    _ => false,
                };
                if !open {
                    continue;
                }
            }
            if let (Some(every), Some(passed)) = (node.every, self.passed)
                && candidate.time < passed.plus(every)
            {
                continue;
            }
            self.passed = Some(candidate.time);
            rows.times.push(candidate.time);
            rows.causes.push(candidate.cause);
            for (index, need) in incoming[..needs].iter().enumerate().filter(|(_, need)| need.need.kind.is_direct()) {
                match self.read(index, need, candidate, node, &mut rows.forgotten) {
                    Some((column, row)) => rows.columns[index].push_row(column, row),
                    None => rows.columns[index].push(None),
                }
            }
        }
        rows
    }

    /// Where the value of a need in a row is.
    fn read<'a>(
        &'a self,
        index: usize,
        incoming: &Incoming<'a>,
        row: Candidate,
        node: &Node,
        forgotten: &mut u64,
    ) -> Option<(ColumnRef<'a>, usize)> {
        if incoming.need.in_row {
            return Some((incoming.view?.column, row.index?));
        }
        // What is remembered of a need that nobody provides any more does not count.
        let history = self.histories[index].as_ref().filter(|_| incoming.provided)?;
        Some((history.values.as_ref(), history.as_of(row.time, row.cause, node, forgotten)?))
    }

    fn on_all(
        &mut self,
        incoming: &[Incoming<'_>],
        node: &Node,
        (wait, waiting_max): (Span, usize),
        after: After,
        early: &mut usize,
    ) -> Vec<Candidate> {
        let mut rows = Vec::new();
        let brought = brought(incoming, node);
        for of_cause in brought.chunk_by(|a, b| a.0 == b.0) {
            for &(_, time, need) in of_cause {
                self.newest[need] = self.newest[need].max(Some(time));
                self.clock = self.clock.max(Some(time));
                if self.last_row.is_none_or(|last| time > last) {
                    self.waiting.insert(time);
                }
            }
            self.release(incoming, node, wait, of_cause[0].0, &mut rows);
            while self.waiting.len() > waiting_max {
                *early += 1;
                self.let_go(of_cause[0].0, &mut rows);
            }
        }
        if let Some((time, cause)) = after.tick {
            self.clock = self.clock.max(Some(time));
            self.release(incoming, node, wait, cause, &mut rows);
        }
        if let Some(cause) = after.flush {
            while !self.waiting.is_empty() {
                self.let_go(cause, &mut rows);
            }
        }
        rows
    }

    fn release(&mut self, incoming: &[Incoming<'_>], node: &Node, wait: Span, cause: Cause, rows: &mut Vec<Candidate>) {
        let needs = incoming.len() - usize::from(node.when.is_some());
        let provided = (0..needs).filter(|need| incoming[*need].need.kind.is_direct() && incoming[*need].provided);
        let all = provided.map(|need| self.newest[need]).min().flatten();
        let horizon = all.max(self.clock.map(|clock| clock.minus(wait)));
        while self.waiting.first().is_some_and(|time| Some(*time) <= horizon) {
            self.let_go(cause, rows);
        }
    }

    /// The oldest row that waits does so no longer.
    fn let_go(&mut self, cause: Cause, rows: &mut Vec<Candidate>) {
        if let Some(time) = self.waiting.pop_first() {
            self.last_row = Some(time);
            rows.push(Candidate { time, cause, index: None });
        }
    }
}

/// A row that a node may have; `index` is its row on the node's input axis, if it has one.
#[derive(Clone, Copy)]
struct Candidate {
    time: Time,
    cause: Cause,
    index: Option<usize>,
}

fn first(incoming: &[Incoming<'_>], node: &Node, base: Option<(&[Time], &[Cause])>) -> Vec<Candidate> {
    // A gate lets rows through and makes none.
    let needs = incoming.len() - usize::from(node.when.is_some());
    let in_row = |need: &Incoming<'_>| need.need.in_row && need.need.kind.is_direct();
    let by_need = || incoming[..needs].iter().find_map(|need| need.view.filter(|_| in_row(need)));
    let rows = base.or_else(|| by_need().map(|view| (view.times, view.causes)));
    rows.map_or_else(Vec::new, |(times, causes)| {
        let row = |index| Candidate { time: times[index], cause: causes[index], index: Some(index) };
        (0..times.len()).map(row).collect()
    })
}

/// Every time that a need brings, once for each cause.
fn on_any(incoming: &[Incoming<'_>], node: &Node) -> Vec<Candidate> {
    let mut brought: Vec<(Cause, Time)> = brought(incoming, node).into_iter().map(|(c, t, _)| (c, t)).collect();
    brought.dedup();
    brought.into_iter().map(|(cause, time)| Candidate { time, cause, index: None }).collect()
}

/// The times that values of direct needs bring, by cause and time.
fn brought(incoming: &[Incoming<'_>], node: &Node) -> Vec<(Cause, Time, usize)> {
    let needs = incoming.len() - usize::from(node.when.is_some());
    let mut brought = Vec::new();
    for (index, need) in incoming[..needs].iter().enumerate().filter(|(_, need)| need.need.kind.is_direct()) {
        let Some(view) = need.view else { continue };
        let values = (0..view.times.len()).filter(|row| !view.column.is_missing(*row));
        brought.extend(values.map(|row| (view.causes[row], view.times[row], index)));
    }
    brought.sort_unstable();
    brought
}
