//! Nodes that may block: what of their work is done on the shard's thread, before and after a thread of the node's own
//! has computed the rows. ADR 0008 says why it is as it is.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::attempt::{Attempt, Input, ONLY, Progress, Run, Seen, Task, state_of, time_out};
use super::cell::{self, Cell, Shared};
use super::compute::{NodeRun, gather};
use super::frame::Frame;
use super::missing::fill;
use super::node::At;
use super::output::{Buffer, Finished};
use super::pool::{Mark, Pool};
use super::tally::Count;
use crate::defect;
use crate::topology::node::Slow;
use crate::topology::plan::PlanNode;
use crate::words::{Cause, Column, ColumnRef, KeyIndex, Time};

/// A frame at a slow node: its rows are on a thread of the node's, or had none to compute.
pub(super) struct Pending {
    pub(super) frame: Arc<Frame>,
    pub(super) at: At,
    pub(super) plan: Arc<PlanNode>,
    cell: Rc<RefCell<Cell>>,
    only_run: Option<usize>,
    out: Buffer,
    /// `None` when nothing is to be computed.
    rows: Option<Picked>,
}

/// The rows of a key that lack nothing, with what they are computed by.
struct Picked {
    key: KeyIndex,
    /// Where the rows of the key begin in the outputs, and which of them these are.
    start: usize,
    picked: Vec<usize>,
    causes: Vec<Cause>,
    input: Arc<Input>,
    run: Run,
    progress: Progress,
}

/// What became of the rows.
pub(super) struct Outcome {
    progress: Progress,
    /// Threads that were given up.
    lost: u64,
    /// Whether the node went into quarantine for all keys.
    quarantine: bool,
}

impl Pending {
    /// Does what comes before the node's own work: which rows the key has, and what stands in for missing values.
    ///
    /// # Panics
    /// When the frame has several keys: those with slow nodes have frames of their own.
    pub(super) fn begin(
        frame: &Arc<Frame>,
        at: At,
        (plan, cell): (&Arc<PlanNode>, Rc<RefCell<Cell>>),
        pool: &Pool,
        shared: &Shared,
    ) -> Self {
        let only_run = match at {
            At::Class(_) => None,
            At::Key { run, .. } => Some(run as usize),
        };
        assert!(frame.keys.len() == 1, "a key with a slow node has a frame of its own");
        let work = NodeRun { frame, plan, only_run };
        let mut out = work.buffer();
        let before = cell.borrow().counts;
        let rows = if work.applies(0) { work.pick(&mut cell.borrow_mut(), &mut out, pool) } else { None };
        shared.tally.node(&before, &cell.borrow().counts);
        Self { frame: Arc::clone(frame), at, plan: Arc::clone(plan), cell, only_run, out, rows }
    }

    /// The rows' way through the pool, to be awaited on the shard's thread; `None` when there are none.
    pub(super) fn task(&mut self, pool: &Arc<Pool>, shared: &Shared) -> Option<impl Future<Output = Outcome> + use<>> {
        let rows = self.rows.as_mut()?;
        let slow = self.plan.node.slow.expect("only slow nodes come here");
        let task = Task {
            run: rows.run.clone(),
            key: rows.key,
            rows: Arc::clone(&rows.input),
            elements: self.plan.streams.iter().map(|(_, element)| *element).collect(),
            clock: Arc::clone(&shared.blocking.clock),
            budget: budget(slow),
            defect: defect::chosen(),
        };
        let progress = std::mem::take(&mut rows.progress);
        Some(through(Arc::new(task), Arc::clone(pool), slow.threads, Mark::of(&self.plan), progress))
    }

    /// Does what comes after: outputs in their places, the state back, counts, dead letters.
    pub(super) fn finish(mut self, outcome: Option<Outcome>, shared: &Shared) -> Finished {
        if let (Some(rows), Some(outcome)) = (&self.rows, outcome) {
            let work = NodeRun { frame: &self.frame, plan: &self.plan, only_run: self.only_run };
            let cell = &mut *self.cell.borrow_mut();
            let before = cell.counts;
            work.put(rows, outcome, cell, &mut self.out, shared);
            shared.name_ailing(&self.plan, cell);
            shared.tally.node(&before, &cell.counts);
        }
        shared.frame_done(&self.plan, &mut self.cell.borrow_mut(), None);
        self.out.end();
        self.out.finish()
    }
}

/// Sees rows through the pool: where one overruns, its thread is given up, and another goes on behind it.
async fn through(task: Arc<Task>, pool: Arc<Pool>, threads: u16, mark: Mark, progress: Progress) -> Outcome {
    let mut outcome = Outcome { progress, lost: 0, quarantine: false };
    while !outcome.progress.ended {
        let attempt = Attempt::new(std::mem::take(&mut outcome.progress));
        pool.submit(threads, task.job(&attempt));
        let seen = attempt.watch(task.clock.as_ref(), task.budget).await;
        outcome.progress = attempt.take();
        if seen == Seen::Over {
            // Rows that nobody took up are those of a node in quarantine, or have failed.
            if !outcome.progress.ended
                && let Some(reason) = pool.refusal()
            {
                outcome.progress.fail_rest(task.key, task.rows.times.len(), &reason);
            }
            break;
        }
        outcome.lost += 1;
        outcome.quarantine |= pool.give_up(mark);
        let progress = &mut outcome.progress;
        progress.overruns += 1;
        progress.fail(task.key, progress.row, time_out(task.budget));
        progress.row += 1;
        progress.ended |= progress.row == task.rows.times.len();
    }
    outcome
}

fn budget(slow: Slow) -> Duration {
    Duration::from_micros(u64::try_from(slow.budget.0).unwrap_or(0))
}

impl NodeRun<'_> {
    /// The rows of the frame's key that are to be computed.
    fn pick(&self, cell: &mut Cell, out: &mut Buffer, pool: &Pool) -> Option<Picked> {
        let (run, key) = (0, self.frame.keys[0]);
        let rows = self.rows(run, cell, None)?;
        let (times, causes) = (rows.times(), rows.causes());
        let start = out.begin(run, times, causes, false);
        let filled = fill(self, run, &rows, cell);
        let picked = filled.picked.clone().unwrap_or_else(|| (0..times.len()).collect());
        cell.counts.rows += times.len() as u64;
        cell.counts.skipped += (times.len() - picked.len()) as u64;
        if self.stands_still(key, picked.len(), cell) {
            return None;
        }
        if pool.quarantined(Mark::of(self.plan)) {
            cell.counts.quarantined += picked.len() as u64;
            return None;
        }
        let columns: SmallVec<[ColumnRef<'_>; 4]> = (0..self.plan.needs.len())
            .map(|need| filled.column(need).or_else(|| rows.column(need).map(|(column, _)| column)))
            .map(|column| column.expect("a need that nobody provides was filled"))
            .collect();
        if picked.is_empty() {
            return None;
        }
        let (run, state) = match (&self.plan.operator, &cell.table, &self.plan.model) {
            (Some(operator), Some(table), _) => {
                (Run::Operator(Arc::clone(operator)), state_of(operator.as_ref(), table.as_ref(), key))
            }
            (_, _, Some(model)) => (Run::Model(Arc::clone(model)), None),
            _ => match cell::artifact(&cell.members, key, self.frame.plan.revision) {
                Some(model) => (Run::Model(Arc::clone(model)), None),
                None => {
                    self.count(cell, picked.len(), None, &[]);
                    return None;
                }
            },
        };
        let progress = Progress {
            columns: self.plan.streams.iter().map(|(_, element)| Column::missing(*element, picked.len())).collect(),
            state,
            health: cell.health.apart(key),
            ..Progress::default()
        };
        let times: Vec<Time> = picked.iter().map(|row| times[*row]).collect();
        let input = Arc::new(Input { columns: gather(&columns, &picked), times });
        let causes = picked.iter().map(|row| causes[*row]).collect();
        Some(Picked { key, start, picked, causes, input, run, progress })
    }

    /// Puts what came of the rows where it belongs.
    fn put(&self, rows: &Picked, outcome: Outcome, cell: &mut Cell, out: &mut Buffer, shared: &Shared) {
        let Progress { row: tried, columns, state, health, failures, overruns, .. } = outcome.progress;
        for (from, to) in columns.iter().zip(&mut out.columns) {
            let mut to = to.as_mut();
            rows.picked.iter().enumerate().for_each(|(row, at)| to.copy_row(rows.start + at, from.as_ref(), row));
        }
        if let (Some(state), Some(table)) = (state, &mut cell.table) {
            table.restore(rows.key, state.save(ONLY));
        }
        cell.health.put(rows.key, health);
        cell.overruns += overruns;
        shared.tally.add(Count::Overruns, overruns);
        shared.tally.add(Count::ThreadsLost, outcome.lost);
        self.count(cell, rows.picked.len(), Some(tried), &failures);
        if let Some(last) = failures.last() {
            self.check_artifact(rows.key, cell);
            self.note_failure(rows.key, &last.reason, cell);
        }
        if outcome.quarantine {
            shared.tally.add(Count::Quarantines, 1);
            let node = &self.plan.name;
            tracing::warn!(%node, "too many threads of a slow node are lost; it is in quarantine for all keys");
        }
        let columns: SmallVec<[ColumnRef<'_>; 4]> = rows.input.columns.iter().map(Column::as_ref).collect();
        self.letters(0, failures, &columns, |row| (rows.input.times[row], rows.causes[row]));
    }
}
