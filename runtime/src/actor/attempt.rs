//! Rows of one key on a thread that may block, and who watches it. Both look at the same progress under a lock: the
//! thread puts each row there when it is done, the watcher takes what is there when a row overruns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::guard::{Health, RowFailure, attempt};
use super::pool::Came;
use crate::defect::{self, Defect};
use crate::topology::scorer;
use crate::traits::{AnyOperator, AnyTable, Clock, Model, Outputs, Rows};
use crate::words::{Column, ColumnRef, ElementType, KeyIndex, Time};

/// The place of a key's state in a table that has only this one.
pub(super) const ONLY: KeyIndex = KeyIndex(0);

/// How far the rows have come.
#[derive(Default)]
pub(super) struct Progress {
    /// The row that is next or at work; those before it are done.
    pub(super) row: usize,
    /// The outputs, missing where a row failed or is not done.
    pub(super) columns: Vec<Column>,
    /// The state after the rows that are done; `None` where there is nothing to remember.
    pub(super) state: Option<Box<dyn AnyTable>>,
    pub(super) health: Health,
    pub(super) failures: Vec<RowFailure>,
    /// Rows that took longer than their budget.
    pub(super) overruns: u64,
    /// Whether nothing is left to do: all rows are done, or the node is in quarantine for the key.
    pub(super) ended: bool,
}

/// What is done to the rows; the thread has all of it and nothing of the engine's.
pub(super) struct Task {
    pub(super) run: Run,
    pub(super) key: KeyIndex,
    pub(super) rows: Arc<Input>,
    pub(super) elements: Vec<ElementType>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) budget: Duration,
    pub(super) defect: Option<Defect>,
}

/// What a slow node runs.
#[derive(Clone)]
pub(super) enum Run {
    Operator(Arc<dyn AnyOperator>),
    Model(Arc<dyn Model>),
}

/// The rows that lack nothing.
pub(super) struct Input {
    pub(super) times: Vec<Time>,
    pub(super) columns: Vec<Column>,
}

/// See the module.
pub(super) struct Attempt {
    inner: Mutex<Inner>,
    changed: Notify,
}

struct Inner {
    progress: Progress,
    /// Since when the row is at work, once a thread is at it.
    since: Option<Duration>,
    given_up: bool,
    /// Whether the thread has come to an end, or nobody will take the rows up.
    over: bool,
}

/// What the watcher saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The rows are done, or nobody took them up.
    Over,
    /// A row overran; its thread was given up.
    Overrun,
}

impl Attempt {
    pub(super) fn new(progress: Progress) -> Arc<Self> {
        let inner = Inner { progress, since: None, given_up: false, over: false };
        Arc::new(Self { inner: Mutex::new(inner), changed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that can panic is done under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the progress, when nothing more can come to it.
    pub(super) fn take(&self) -> Progress {
        std::mem::take(&mut self.lock().progress)
    }

    /// Waits until the rows are done or one has taken longer than the budget.
    pub(super) async fn watch(&self, clock: &dyn Clock, budget: Duration) -> Seen {
        loop {
            let left = {
                let mut inner = self.lock();
                if inner.over {
                    return Seen::Over;
                }
                let took = inner.since.map(|since| clock.monotonic().saturating_sub(since));
                if took.is_some_and(|took| took > budget) && !defect::is_chosen(Defect::TimeOut) {
                    inner.given_up = true;
                    return Seen::Overrun;
                }
                took.map(|took| budget.saturating_sub(took) + Duration::from_millis(1))
            };
            match left {
                // The timer only says when to look again.
                Some(left) => _ = tokio::time::timeout(left, self.changed.notified()).await,
                None => self.changed.notified().await,
            }
        }
    }
}

/// Tells the watcher when the rows are done, or are dropped before anybody took them up.
struct Over(Arc<Attempt>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.changed.notify_one();
    }
}

/// Why a row failed that took longer than it may.
pub(super) fn time_out(budget: Duration) -> String {
    format!("time-out: it took longer than {} ms", budget.as_millis())
}

/// A table of one key's state, a copy of that in another.
pub(super) fn state_of(operator: &dyn AnyOperator, table: &dyn AnyTable, key: KeyIndex) -> Option<Box<dyn AnyTable>> {
    if table.is_stateless() {
        return None;
    }
    let mut only = operator.table(false);
    only.restore(ONLY, table.save(key));
    Some(only)
}

impl Task {
    /// The rest of the rows as a job for a thread.
    pub(super) fn job(self: &Arc<Self>, attempt: &Arc<Attempt>) -> super::pool::Job {
        let (task, over) = (Arc::clone(self), Over(Arc::clone(attempt)));
        Box::new(move || task.work(&over.0))
    }

    /// Computes row by row: each has its own budget, and what is done when one overruns stands.
    fn work(&self, attempt: &Attempt) -> Came {
        defect::choose(self.defect);
        let columns: Vec<ColumnRef<'_>> = self.rows.columns.iter().map(Column::as_ref).collect();
        let rows = Rows::new(&self.rows.times, &columns);
        let mut table = self.copy(attempt.lock().progress.state.as_deref());
        loop {
            let (row, since) = {
                let mut inner = attempt.lock();
                if inner.given_up {
                    return Came::TooLate;
                }
                if inner.progress.ended {
                    return Came::InTime;
                }
                let (now, first) = (self.clock.monotonic(), inner.since.is_none());
                inner.since = Some(now);
                if first {
                    attempt.changed.notify_one();
                }
                (inner.progress.row, now)
            };
            let mut out: Vec<Column> = self.elements.iter().map(|element| Column::missing(*element, 1)).collect();
            let result = self.one(&rows.part(row..row + 1), table.as_deref_mut(), &mut Outputs::new(&mut out, 0..1));
            let late = self.clock.monotonic().saturating_sub(since) > self.budget;
            let after = if result.is_ok() && !late { self.copy(table.as_deref()) } else { None };
            let mut inner = attempt.lock();
            if inner.given_up {
                return Came::TooLate;
            }
            let progress = &mut inner.progress;
            match (result, late && !defect::is_chosen(Defect::TimeOut)) {
                (Ok(()), false) => {
                    for (to, from) in progress.columns.iter_mut().zip(&out) {
                        to.as_mut().copy_row(row, from.as_ref(), 0);
                    }
                    progress.state = after.or(progress.state.take());
                    progress.health.fine(self.key, 1);
                }
                (result, late) => {
                    progress.overruns += u64::from(late);
                    let reason = result.err().filter(|_| !late).unwrap_or_else(|| time_out(self.budget));
                    progress.fail(self.key, row, reason);
                    table = self.copy(progress.state.as_deref());
                }
            }
            progress.row += 1;
            progress.ended |= progress.row == self.rows.times.len();
            if progress.ended {
                // Said together with the last row: what the thread still does takes time that is no row's.
                inner.over = true;
                attempt.changed.notify_one();
                return Came::InTime;
            }
            inner.since = Some(self.clock.monotonic());
        }
    }

    fn one(&self, row: &Rows<'_>, table: Option<&mut dyn AnyTable>, out: &mut Outputs<'_>) -> Result<(), String> {
        let result = match &self.run {
            Run::Model(model) => attempt(|| scorer::score(model.as_ref(), row, out)),
            Run::Operator(operator) => match table {
                Some(table) => attempt(|| operator.run(table, ONLY, row, out)),
                None => attempt(|| operator.run(operator.table(false).as_mut(), ONLY, row, out)),
            },
        };
        // Only sensors refuse rows, and they are never slow.
        result.map_err(|error| error.0)
    }

    fn copy(&self, state: Option<&dyn AnyTable>) -> Option<Box<dyn AnyTable>> {
        match (&self.run, state) {
            (Run::Operator(operator), Some(state)) => state_of(operator.as_ref(), state, ONLY),
            _ => None,
        }
    }
}

impl Progress {
    /// A row failed; after too many failures nothing more is done for the key.
    pub(super) fn fail(&mut self, key: KeyIndex, row: usize, reason: String) {
        self.failures.push(RowFailure { row, reason, is_refusal: false });
        self.ended |= self.health.failed(key);
    }

    /// All that are left of so many rows fail, as far as any are tried.
    pub(super) fn fail_rest(&mut self, key: KeyIndex, rows: usize, reason: &str) {
        while !self.ended {
            self.fail(key, self.row, reason.to_owned());
            self.row += 1;
            self.ended |= self.row == rows;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::traits::Digest;
    use crate::traits::model::fixture::Content;

    /// Stands still while the row is measured, and leaps after.
    #[derive(Default)]
    struct Leaps(AtomicU32);

    impl Clock for Leaps {
        fn monotonic(&self) -> Duration {
            let asked = self.0.fetch_add(1, Ordering::Relaxed);
            Duration::from_secs(if asked < 2 { 0 } else { 3_600 })
        }
        fn wall(&self) -> Time {
            Time(0)
        }
    }

    #[tokio::test]
    async fn what_the_thread_does_after_its_last_row_is_no_rows_time() {
        let (clock, budget) = (Arc::new(Leaps::default()), Duration::from_secs(1));
        let task = Task {
            run: Run::Model(Arc::new(Content(Digest([0; 32])))),
            key: ONLY,
            rows: Arc::new(Input { times: vec![Time(0)], columns: Vec::new() }),
            elements: Vec::new(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            budget,
            defect: None,
        };
        let attempt = Attempt::new(Progress::default());
        assert_eq!(task.work(&attempt), Came::InTime);
        assert_eq!(attempt.watch(clock.as_ref(), budget).await, Seen::Over);
        let progress = attempt.take();
        assert_eq!((progress.row, progress.failures.len(), progress.overruns), (1, 0, 0));
    }
}
