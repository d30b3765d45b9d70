//! One node over one frame: for each key its rows, what is missing in them, the operator, the outputs.

use std::sync::Arc;

use smallvec::SmallVec;

use super::align::{After, Aligned, Incoming};
use super::cell::{self, Cell};
use super::frame::{Axis, Frame, Own, View};
use super::guard::{self, RowFailure, Runner};
use super::missing::{Filled, fill};
use super::output::{Buffer, Finished};
use super::tally::Count;
use super::whole::Whole;
use crate::defect::{self, Defect};
use crate::prefetch::{CONTENT_AHEAD, MODEL_AHEAD, PLACE_AHEAD};
use crate::topology::node::{RowRule, Work};
use crate::topology::plan::{AxisLabel, From, PlanNeed, PlanNode};
use crate::traits::sink::DeadLetter;
use crate::traits::{BadReadings, Rows};
use crate::words::{Cause, Column, ColumnRef, KeyIndex, Time};

/// Needs whose references are kept on the stack.
pub(super) const NEEDS_ON_STACK: usize = 16;

/// A node at work on a frame: on all keys, or on the one it is for.
pub(super) struct NodeRun<'f> {
    pub(super) frame: &'f Frame,
    pub(super) plan: &'f PlanNode,
    pub(super) only_run: Option<usize>,
}

/// A key's rows for a node: in place in the frame, or put together.
#[expect(clippy::large_enum_variant, reason = "one at a time lives on the stack; a box would cost each key")]
pub(super) enum KeyRows<'f> {
    InPlace { times: &'f [Time], causes: &'f [Cause], views: SmallVec<[Option<View<'f>>; NEEDS_ON_STACK]> },
    Aligned(Aligned),
}

impl KeyRows<'_> {
    pub(super) fn times(&self) -> &[Time] {
        match self {
            Self::InPlace { times, .. } => times,
            Self::Aligned(rows) => &rows.times,
        }
    }

    pub(super) fn causes(&self) -> &[Cause] {
        match self {
            Self::InPlace { causes, .. } => causes,
            Self::Aligned(rows) => &rows.causes,
        }
    }

    /// A need's column, if it is a stream that somebody provides.
    pub(super) fn column(&self, need: usize) -> Option<(ColumnRef<'_>, bool)> {
        match self {
            Self::InPlace { views, .. } => views[need].as_ref().map(|view| (view.column, view.complete)),
            // What is no stream of the row has an empty column.
            Self::Aligned(rows) => {
                let column = rows.columns[need].as_ref();
                (column.len() == rows.times.len()).then_some((column, false))
            }
        }
    }
}

impl<'f> NodeRun<'f> {
    /// Runs the node over the frame.
    pub(super) fn run(&self, cell: &mut Cell) -> Finished {
        let mut out = self.buffer();
        match self.only_run {
            Some(run) => {
                self.run_key(run, cell, &mut out);
                out.end();
            }
            None => self.run_keys(cell, &mut out),
        }
        out.finish()
    }

    fn run_keys(&self, cell: &mut Cell, out: &mut Buffer) {
        let is_apart = self.is_apart_for_some();
        let whole = Whole::of(self);
        let whole = whole.as_ref().map(|whole| (whole, whole.columns()));
        let done = match &whole {
            Some((whole, columns)) if !is_apart => self.run_many(whole, columns, cell, out),
            _ => 0,
        };
        for run in done..self.frame.keys.len() {
            self.look_ahead(run, cell);
            if is_apart && self.frame.own(run).is_some() {
                if self.applies(run) {
                    self.run_key(run, cell, out);
                }
            } else if !whole.as_ref().is_some_and(|(whole, columns)| self.run_whole(run, whole, columns, cell, out)) {
                self.run_key(run, cell, out);
            }
            out.end();
        }
    }

    /// Asks for what the next keys need to be brought near: step by step, as each pointer leads to the next.
    pub(super) fn look_ahead(&self, run: usize, cell: &Cell) {
        let ahead = |keys: usize| self.frame.keys.get(run + keys);
        if let Some(key) = ahead(PLACE_AHEAD) {
            cell.prefetch(*key);
        }
        let revision = self.frame.plan.revision;
        match (&self.plan.operator, &cell.table) {
            (Some(operator), Some(table)) => {
                ahead(CONTENT_AHEAD).into_iter().for_each(|key| operator.prefetch(table.as_ref(), *key));
            }
            _ => {
                ahead(MODEL_AHEAD).into_iter().for_each(|key| cell.prefetch_model(*key, revision));
                let model = ahead(CONTENT_AHEAD).and_then(|key| cell.member(*key, revision));
                model.into_iter().for_each(|model| model.prefetch());
            }
        }
    }

    pub(super) fn runs(&self) -> std::ops::Range<usize> {
        self.only_run.map_or(0..self.frame.keys.len(), |run| run..run + 1)
    }

    /// Whether the key has no node of its own in the place of this one.
    pub(super) fn applies(&self, run: usize) -> bool {
        self.only_run.is_some()
            || self.frame.own(run).is_none_or(|own| !own.kind.wiring.overridden.contains(&self.plan.name))
    }

    /// Where the outputs go.
    pub(super) fn buffer(&self) -> Buffer {
        if self.plan.own_rows {
            return Buffer::built(self.plan);
        }
        match self.shared_axis() {
            Some(axis) => Buffer::shared(self.plan, axis, self.only_run),
            None => Buffer::built(self.plan),
        }
    }

    /// The axis of the frame that all keys' rows of this node are on.
    fn shared_axis(&self) -> Option<Arc<Axis>> {
        match &self.plan.input_axis {
            AxisLabel::Source(axis) => self.frame.axes.get(usize::from(*axis))?.clone(),
            AxisLabel::Own(_) if self.only_run.is_none() && self.frame.own.is_empty() => {
                let written = self.frame.slots.get(self.plan.axis_slot? as usize)?.get()?;
                Some(Arc::clone(&written.axis))
            }
            AxisLabel::Own(_) => None,
        }
    }

    fn own(&self, run: usize) -> Option<Own<'f>> {
        self.frame.own(run)
    }

    /// A need's rows of a key.
    #[inline]
    pub(super) fn view(&self, run: usize, need: &PlanNeed) -> Option<View<'f>> {
        match need.from {
            From::Slot(slot) => self.frame.view(run, slot),
            From::Local(local) => self.own(run)?.view(local),
            From::Attribute(_) => None,
        }
    }

    /// Whether anybody provides a need for a key.
    fn provided(&self, run: usize, need: &PlanNeed) -> bool {
        match need.from {
            From::Slot(slot) => {
                self.own(run).is_some_and(|own| own.kind.wiring.local_of(slot).is_some())
                    || self.frame.installed.variant.provider.contains_key(&slot)
            }
            From::Local(_) => true,
            From::Attribute(_) => false,
        }
    }

    /// The rows that the node has for a key; `None` when there are none.
    pub(super) fn rows(&self, run: usize, cell: &mut Cell, base: Option<(&[Time], &[Cause])>) -> Option<KeyRows<'f>> {
        let plan = self.plan;
        if !plan.aligned {
            return self.aligned_rows(run, cell, base);
        }
        let mut views: SmallVec<[Option<View<'f>>; NEEDS_ON_STACK]> = SmallVec::new();
        let mut first = None;
        for need in &plan.needs {
            let view = self.view(run, need);
            first = first.or(view.filter(|_| need.kind.is_direct()));
            views.push(view);
        }
        let (times, causes) = match first {
            Some(view) => (view.times, view.causes),
            None => self.axis_rows(run)?,
        };
        Some(KeyRows::InPlace { times, causes, views })
    }

    /// Whether somebody provides a need that gives the node its rows for the key: without, it has none.
    pub(super) fn has_axis(&self, run: usize) -> bool {
        self.plan.needs.iter().any(|need| self.plan.gives_rows(need) && self.provided(run, need))
    }

    /// The rows of the axis that the node is on, if somebody provides one of its needs on it for the key.
    pub(super) fn axis_rows(&self, run: usize) -> Option<(&'f [Time], &'f [Cause])> {
        if self.plan.rule != RowRule::First || !self.has_axis(run) {
            return None;
        }
        let AxisLabel::Source(axis) = &self.plan.input_axis else {
            // Where a node of the same key makes the rows, they have no slot, and are those of a need on its axis.
            let by_need = || self.plan.needs.iter().filter(|need| self.plan.gives_rows(need));
            let view = match self.plan.axis_slot {
                Some(slot) => self.frame.view(run, slot),
                None => by_need().find_map(|need| self.view(run, need)),
            };
            return view.map(|view| (view.times, view.causes));
        };
        let axis = self.frame.axes.get(usize::from(*axis))?.as_ref()?;
        let rows = axis.run(run);
        (!rows.is_empty()).then(|| (&axis.times[rows.clone()], &axis.causes[rows]))
    }

    fn aligned_rows(&self, run: usize, cell: &mut Cell, base: Option<(&[Time], &[Cause])>) -> Option<KeyRows<'f>> {
        let needs = self.plan.needs.iter().chain(&self.plan.when);
        let incoming: SmallVec<[Incoming<'_>; NEEDS_ON_STACK]> = needs
            .map(|need| Incoming { need, view: self.view(run, need), provided: self.provided(run, need) })
            .collect();
        let base = base.or_else(|| self.axis_rows(run));
        let flush = self.frame.flush.as_ref().filter(|flush| flush.ends(&self.plan.name, self.plan.born));
        let after = After { tick: self.frame.tick, flush: flush.map(|flush| flush.cause) };
        let nothing = base.is_none() && incoming.iter().all(|incoming| incoming.view.is_none());
        let key = self.frame.keys[run];
        if nothing && after.tick.is_none() && after.flush.is_none() {
            return None;
        }
        cell.forget_moved(self.plan, key);
        let align = cell.align.entry(key).or_default();
        let rows = align.rows(&self.plan.node, &incoming, base, after, self.frame.waiting_rows_max);
        if rows.early > 0 {
            self.frame.tally.add(Count::ReleasedEarly, rows.early as u64);
        }
        if rows.forgotten > 0 {
            cell.forgotten += rows.forgotten;
            self.frame.tally.add(Count::Forgotten, rows.forgotten);
        }
        (!rows.times.is_empty()).then_some(KeyRows::Aligned(rows))
    }

    fn run_key(&self, run: usize, cell: &mut Cell, out: &mut Buffer) {
        let key = self.frame.keys[run];
        let emits = self.plan.emits;
        if let Some(rows) = self.rows(run, cell, None) {
            let start = out.begin(run, rows.times(), rows.causes(), emits);
            let filled = fill(self, run, &rows, cell);
            self.run_rows(run, key, &rows, &filled, start, cell, out);
        }
        if let (Some((now, cause)), true) = (self.frame.tick, emits) {
            self.tick(run, key, now, cause, cell, out);
        }
    }

    /// Runs the rows that lack nothing, and puts their outputs in their places.
    #[expect(clippy::too_many_arguments, reason = "one step of a pipeline, cut out for its length")]
    fn run_rows(
        &self,
        run: usize,
        key: KeyIndex,
        rows: &KeyRows<'_>,
        filled: &Filled,
        start: usize,
        cell: &mut Cell,
        out: &mut Buffer,
    ) {
        let emits = self.plan.emits;
        let (times, causes) = (rows.times(), rows.causes());
        // What lacks a value is skipped whether the node stands still or not: where frames end must not show in counts.
        let lacking = filled.picked.as_ref().map_or(0, |picked| times.len() - picked.len());
        cell.counts.rows += times.len() as u64;
        cell.counts.skipped += lacking as u64;
        if self.stands_still(key, times.len() - lacking, cell) {
            return;
        }
        let columns: SmallVec<[ColumnRef<'_>; NEEDS_ON_STACK]> = (0..self.plan.needs.len())
            .map(|need| filled.column(need).or_else(|| rows.column(need).map(|(column, _)| column)))
            .map(|column| column.expect("a need that nobody provides was filled"))
            .collect();
        let mut failures = Vec::new();
        match &filled.picked {
            None => {
                let input = Rows::new(times, &columns);
                let mut outputs = out.outputs(start, times.len(), emits);
                let tried = self.guarded(key, &input, &mut outputs, cell, &mut failures);
                out_causes(out, emits, |row| causes[row]);
                self.count(cell, times.len(), tried, &failures);
                self.letters(run, failures, &columns, |row| (times[row], causes[row]));
            }
            Some(picked) => {
                if picked.is_empty() {
                    return;
                }
                let gathered = gather(&columns, picked);
                let columns: SmallVec<[ColumnRef<'_>; NEEDS_ON_STACK]> = gathered.iter().map(Column::as_ref).collect();
                let picked_times: Vec<Time> = picked.iter().map(|row| times[*row]).collect();
                let input = Rows::new(&picked_times, &columns);
                let tried = if emits {
                    let tried = self.guarded(key, &input, &mut out.outputs(start, 0, true), cell, &mut failures);
                    out_causes(out, true, |row| causes[picked[row]]);
                    tried
                } else {
                    self.scattered(key, &input, picked, start, cell, out, &mut failures)
                };
                self.count(cell, picked.len(), tried, &failures);
                self.letters(run, failures, &columns, |row| (times[picked[row]], causes[picked[row]]));
            }
        }
    }

    /// Runs picked rows into columns of their own and copies those to the rows' places.
    #[expect(clippy::too_many_arguments, reason = "one step of a pipeline, cut out for its length")]
    fn scattered(
        &self,
        key: KeyIndex,
        input: &Rows<'_>,
        picked: &[usize],
        start: usize,
        cell: &mut Cell,
        out: &mut Buffer,
        failures: &mut Vec<RowFailure>,
    ) -> Option<usize> {
        let provides = &self.plan.streams;
        let mut dense: Vec<Column> =
            provides.iter().map(|(_, element)| Column::missing(*element, picked.len())).collect();
        let mut outputs = crate::traits::Outputs::new(&mut dense, 0..picked.len());
        let tried = self.guarded(key, input, &mut outputs, cell, failures);
        for (from, to) in dense.iter().zip(&mut out.columns) {
            let mut to = to.as_mut();
            picked.iter().enumerate().for_each(|(row, at)| to.copy_row(start + at, from.as_ref(), row));
        }
        tried
    }

    /// Runs rows under the panic rule; a family's key without an artifact skips them.
    pub(super) fn guarded(
        &self,
        key: KeyIndex,
        rows: &Rows<'_>,
        out: &mut crate::traits::Outputs<'_>,
        cell: &mut Cell,
        failures: &mut Vec<RowFailure>,
    ) -> Option<usize> {
        let Cell { table, members, health, .. } = &mut *cell;
        let mut runner = match (&self.plan.operator, table) {
            (Some(operator), Some(table)) => Runner::Operator(operator.as_ref(), table.as_mut()),
            _ => Runner::Model(match &self.plan.model {
                Some(model) => model.as_ref(),
                None => cell::artifact(members, key, self.frame.plan.revision)?.as_ref(),
            }),
        };
        let (before, mut bad) = (failures.len(), BadReadings::default());
        let tried = guard::run(&mut runner, key, rows, &mut out.counting(&mut bad), health, failures);
        self.count_bad(&bad, cell);
        if let Some(last) = failures[before..].iter().rfind(|failure| !failure.is_refusal) {
            self.check_artifact(key, cell);
            self.note_failure(key, &last.reason, cell);
        }
        Some(tried)
    }

    /// Counts what a sensor could not use.
    #[inline]
    pub(super) fn count_bad(&self, bad: &BadReadings, cell: &mut Cell) {
        if !bad.is_none() {
            cell.bad.add(bad);
            self.frame.tally.add(Count::NotANumber, bad.nan);
            self.frame.tally.add(Count::OutOfRange, bad.out_of_range);
        }
    }

    /// Keeps why a node failed for a key; says once that it is in quarantine from now on.
    pub(super) fn note_failure(&self, key: KeyIndex, reason: &str, cell: &mut Cell) {
        cell.health.note(key, reason);
        if cell.health.quarantined(key) {
            self.frame.tally.add(Count::Quarantines, 1);
            let run = self.frame.keys.iter().position(|of| *of == key).expect("the frame has the key");
            let (node, key) = (&self.plan.name, &self.frame.names[run]);
            tracing::warn!(%node, %key, reason, "a node failed too often for a key and is in quarantine for it");
        }
    }

    /// Whether no key is known to stand still: the node does not for all, and no failure is remembered.
    pub(super) fn goes_on_for_all(&self, cell: &Cell) -> bool {
        !self.plan.stands_still() && cell.health.is_clear()
    }

    /// Whether the node computes nothing for a key: it is paused, or quarantined. Counts the rows if so.
    #[inline]
    pub(super) fn stands_still(&self, key: KeyIndex, rows: usize, cell: &mut Cell) -> bool {
        self.check_artifact(key, cell);
        if self.plan.paused() && !defect::is_chosen(Defect::Pause) {
            cell.counts.paused += rows as u64;
            return true;
        }
        let whole = self.plan.quarantined() && !defect::is_chosen(Defect::WholeNode);
        let quarantined = whole || cell.health.quarantined(key);
        if quarantined {
            cell.counts.quarantined += rows as u64;
        }
        quarantined
    }

    /// A node that has another artifact for a key, or was resumed, begins with a clean record.
    pub(super) fn check_artifact(&self, key: KeyIndex, cell: &mut Cell) {
        let Cell { health, members, .. } = cell;
        health.with_artifact(key, self.plan.resumed(), || match &self.plan.node.work {
            Work::Family(_) if self.only_run.is_none() => {
                Some(cell::artifact(members, key, self.frame.plan.revision)?.digest())
            }
            _ => self.plan.artifact,
        });
    }

    pub(super) fn count(&self, cell: &mut Cell, rows: usize, tried: Option<usize>, failures: &[RowFailure]) {
        match tried {
            None => cell.counts.skipped += rows as u64,
            Some(tried) => {
                let failed = failures.iter().filter(|failure| !failure.is_refusal).count();
                cell.counts.computed += (tried - failed) as u64;
                cell.counts.failed += failed as u64;
                cell.counts.quarantined += (rows - tried) as u64;
            }
        }
    }

    /// Sends rows that failed or were refused to the dead letters, with what the node was given.
    pub(super) fn letters(
        &self,
        run: usize,
        failures: Vec<RowFailure>,
        given: &[ColumnRef<'_>],
        at: impl Fn(usize) -> (Time, Cause),
    ) {
        if failures.is_empty() {
            return;
        }
        let token = self.frame.part.token();
        let letters = failures.into_iter().map(|failure| {
            let (time, cause) = at(failure.row);
            let needs = self.plan.node.needs.iter().zip(given);
            let values = needs.filter_map(|(need, column)| Some((need.label(), column.value(failure.row)?))).collect();
            DeadLetter {
                source: Arc::clone(&token.source),
                source_partition: token.source_partition,
                cause,
                key: Some(self.frame.names[run].clone()),
                node: Some(self.plan.name.clone()),
                time: Some(time),
                reason: failure.reason,
                record: None,
                values,
            }
        });
        self.frame.dead.lock().expect("nobody panics with this lock").extend(letters);
    }

    fn tick(&self, run: usize, key: KeyIndex, now: Time, cause: Cause, cell: &mut Cell, out: &mut Buffer) {
        if self.stands_still(key, 0, cell) {
            return;
        }
        let (Some(operator), Some(table)) = (&self.plan.operator, &mut cell.table) else { return };
        let mut outputs = out.outputs(0, 0, true);
        let result = guard::tick(operator.as_ref(), table.as_mut(), key, now, &mut outputs);
        out.caused(|_| cause);
        if let Err(error) = result {
            // For the quarantine it is a failed row; it is none for the counts, as no row came.
            cell.health.failed(key);
            self.check_artifact(key, cell);
            self.note_failure(key, &error.0, cell);
            let failure = RowFailure { row: 0, reason: error.0, is_refusal: false };
            self.letters(run, vec![failure], &[], |_| (now, cause));
        }
    }
}

fn out_causes(out: &mut Buffer, emits: bool, cause_of: impl Fn(usize) -> Cause) {
    if emits {
        out.caused(cause_of);
    }
}

pub(super) fn gather(columns: &[ColumnRef<'_>], picked: &[usize]) -> Vec<Column> {
    let gathered = columns.iter().map(|column| {
        let mut dense = Column::with_capacity(column.element_type(), picked.len());
        picked.iter().for_each(|row| dense.push_row(*column, *row));
        dense
    });
    gathered.collect()
}
