//! The panic rule: an error or panic ends a node's work on one row of one key; earlier rows stand, the state is as
//! before the row, later rows go on. After too many, the node is quarantined for the key.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustc_hash::FxHashMap;

use crate::defect::{self, Defect};
use crate::state::KeyHealth;
use crate::topology::scorer;
use crate::traits::{AnyOperator, AnyTable, Digest, KeyRuns, Model, Outputs, RowError, Rows};
use crate::words::{KeyIndex, Revision, Time};

/// So many failures of a node within so many rows of a key, those that it computed or failed, quarantine it for the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// 1 to 1,000; each is remembered until it is `rows` old: eight bytes for a key that has any.
    pub failures: usize,
    /// At least `failures`.
    pub rows: u64,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { failures: 5, rows: 100 }
    }
}

/// Most failures that a quarantine can ask for.
pub(crate) const QUARANTINE_FAILURES_MAX: usize = 1_000;

/// What a node runs for a key.
pub(crate) enum Runner<'a> {
    Operator(&'a dyn AnyOperator, &'a mut dyn AnyTable),
    Model(&'a dyn Model),
}

impl Runner<'_> {
    fn can_fail(&self) -> bool {
        match self {
            Self::Operator(operator, _) => operator.can_fail(),
            Self::Model(_) => true,
        }
    }

    fn run(&mut self, key: KeyIndex, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        match self {
            Self::Operator(operator, table) => operator.run(*table, key, rows, out),
            Self::Model(model) => scorer::score(*model, rows, out),
        }
    }

    fn save(&self, key: KeyIndex) -> Option<Box<dyn std::any::Any>> {
        match self {
            Self::Operator(_, table) if !table.is_stateless() => table.save(key),
            _ => None,
        }
    }

    fn restore(&mut self, key: KeyIndex, saved: Option<Box<dyn std::any::Any>>) {
        if let Self::Operator(_, table) = self
            && !table.is_stateless()
            && !defect::is_chosen(Defect::StateRestore)
        {
            table.restore(key, saved);
        }
    }
}

/// A row that has no result and goes to the dead letters.
#[derive(Debug)]
pub(crate) struct RowFailure {
    pub(crate) row: usize,
    pub(crate) reason: String,
    /// Whether the row was no good. The node has not failed then: the row counts as computed.
    pub(crate) is_refusal: bool,
}

/// How a node fares with each key that it failed for.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    keys: FxHashMap<KeyIndex, KeyHealth>,
    /// How many of a key's newest failures are remembered, and for how many rows.
    remembered: Quarantine,
    /// Whether so many quarantine the node.
    is_limited: bool,
    /// Whether there is a quarantine that has not been told of.
    grown: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self::new(Some(Quarantine::default()))
    }
}

impl Health {
    pub(crate) fn new(limit: Option<Quarantine>) -> Self {
        // Without a limit the last failure is still told to whoever asks.
        let remembered = limit.unwrap_or(Quarantine { failures: 1, ..Quarantine::default() });
        Self { keys: FxHashMap::default(), remembered, is_limited: limit.is_some(), grown: false }
    }

    /// Whether no failure of any key is remembered.
    pub(crate) fn is_clear(&self) -> bool {
        self.keys.is_empty()
    }

    /// What is remembered of one key, to travel with its rows.
    pub(crate) fn apart(&self, key: KeyIndex) -> Self {
        let of_key = self.keys.get(&key).map(|health| (key, health.clone()));
        Self { keys: of_key.into_iter().collect(), grown: false, ..*self }
    }

    /// Puts back what [`Health::apart`] gave.
    pub(crate) fn put(&mut self, key: KeyIndex, mut of: Self) {
        self.grown |= of.grown;
        match of.keys.remove(&key) {
            Some(health) => _ = self.keys.insert(key, health),
            None => _ = self.keys.remove(&key),
        }
    }

    /// Whether the node is quarantined for the key.
    #[inline]
    pub(crate) fn quarantined(&self, key: KeyIndex) -> bool {
        !self.keys.is_empty() && self.keys.get(&key).is_some_and(|health| health.quarantined)
    }

    /// Whether the node is in quarantine for another key than when that was told.
    #[inline]
    pub(crate) fn has_grown(&self) -> bool {
        self.grown
    }

    /// It was told.
    pub(crate) fn told(&mut self) {
        self.grown = false;
    }

    /// Ends what is remembered of a key when the node has another artifact for it now, or was resumed since.
    pub(crate) fn with_artifact(
        &mut self,
        key: KeyIndex,
        resumed: Revision,
        artifact: impl FnOnce() -> Option<Digest>,
    ) {
        if self.keys.is_empty() {
            return;
        }
        if let std::collections::hash_map::Entry::Occupied(mut entry) = self.keys.entry(key) {
            let artifact = artifact();
            let health = entry.get();
            let is_other = health.artifact.is_some() && health.artifact != artifact;
            let is_later = health.resumed.is_some_and(|before| before < resumed);
            if is_other || (is_later && !defect::is_chosen(Defect::Resume)) {
                entry.remove();
            } else {
                let health = entry.get_mut();
                (health.artifact, health.resumed) = (artifact, health.resumed.max(Some(resumed)));
            }
        }
    }

    /// Keeps why the node failed for the key.
    pub(crate) fn note(&mut self, key: KeyIndex, reason: &str) {
        if let Some(health) = self.keys.get_mut(&key) {
            reason.clone_into(&mut health.reason);
        }
    }

    /// Why the node failed for the key last, while its failures are remembered.
    pub(crate) fn last_failure(&self, key: KeyIndex) -> Option<&str> {
        self.keys.get(&key).map(|health| health.reason.as_str())
    }

    /// What is remembered of a key, to be saved.
    pub(crate) fn of(&self, key: KeyIndex) -> Option<&KeyHealth> {
        self.keys.get(&key)
    }

    /// Goes on with what was saved of a key. Revisions may be numbered anew since: the next `resume` ends its quarantine,
    /// and a runtime that quarantines nothing ends it at once.
    pub(crate) fn restore(&mut self, key: KeyIndex, health: KeyHealth, resumed: Revision) {
        let resumed = health.resumed.map(|_| resumed);
        let quarantined = health.quarantined && self.is_limited;
        self.keys.insert(key, KeyHealth { resumed, quarantined, ..health });
    }

    /// Keys that the node is quarantined for, and for which that `stands`: a quarantine that is over is forgotten at the next
    /// row of its key.
    pub(crate) fn quarantines(&self, stands: impl Fn(KeyIndex, &KeyHealth) -> bool) -> impl Iterator<Item = KeyIndex> {
        self.keys.iter().filter(move |(key, health)| health.quarantined && stands(**key, health)).map(|(key, _)| *key)
    }

    #[inline]
    pub(crate) fn fine(&mut self, key: KeyIndex, rows: usize) {
        if self.keys.is_empty() {
            return;
        }
        let rows_max = self.remembered.rows;
        if let Some(health) = self.keys.get_mut(&key) {
            health.rows += rows as u64;
            while health.failed.front().is_some_and(|failed| health.rows - failed >= rows_max) {
                health.failed.pop_front();
            }
            if health.failed.is_empty() {
                self.keys.remove(&key);
            }
        }
    }

    /// Counts a failed row; whether it was one too many.
    pub(crate) fn failed(&mut self, key: KeyIndex) -> bool {
        let Quarantine { failures, rows } = self.remembered;
        let health = self.keys.entry(key).or_default();
        let newest = health.rows;
        health.failed.push_back(newest);
        health.rows += 1;
        // More may have been saved under another limit.
        while health.failed.len() > failures {
            health.failed.pop_front();
        }
        if self.is_limited && health.failed.len() == failures && newest - health.failed[0] < rows {
            health.quarantined = true;
            self.grown = true;
        }
        health.quarantined
    }
}

/// Runs `rows`; what fails is undone and listed. How many rows were tried: fewer than there are after a quarantine.
pub(crate) fn run(
    runner: &mut Runner<'_>,
    key: KeyIndex,
    rows: &Rows<'_>,
    out: &mut Outputs<'_>,
    health: &mut Health,
    failures: &mut Vec<RowFailure>,
) -> usize {
    if !runner.can_fail() {
        runner.run(key, rows, out).unwrap_or_else(|error| unforeseen(&error));
        health.fine(key, rows.len());
        return rows.len();
    }
    let (saved, emitted) = (runner.save(key), out.emitted());
    match attempt(|| runner.run(key, rows, out)) {
        Ok(()) => {
            health.fine(key, rows.len());
            rows.len()
        }
        Err(_) => {
            runner.restore(key, saved);
            out.undo(0..rows.len(), emitted);
            out.uncount_bad();
            one_by_one(runner, key, rows, out, health, failures)
        }
    }
}

/// Runs an operator for one key after the other until one fails, whose outputs are taken back; how many went well. An
/// operator that can fail has to be one without state.
pub(crate) fn run_keys(
    operator: &dyn AnyOperator,
    table: &mut dyn AnyTable,
    keys: &KeyRuns<'_>,
    out: &mut Outputs<'_>,
) -> usize {
    let mut next = 0;
    if !operator.can_fail() {
        operator.run_keys(table, keys, &mut next, out).unwrap_or_else(|error| unforeseen(&error));
    } else if attempt(|| operator.run_keys(table, keys, &mut next, out)).is_err() {
        out.undo(keys.range(next), 0);
    }
    next
}

/// Runs rows together, all or none; whether they went well.
pub(crate) fn all_or_none(out: &mut Outputs<'_>, run: impl FnOnce(&mut Outputs<'_>) -> Result<(), RowError>) -> bool {
    let went_well = attempt(|| run(out)).is_ok();
    if !went_well {
        out.undo(0..out.len(), 0);
    }
    went_well
}

fn unforeseen(error: &RowError) -> ! {
    tracing::error!(%error, "an operator that says it cannot fail did");
    std::process::abort();
}

fn one_by_one(
    runner: &mut Runner<'_>,
    key: KeyIndex,
    rows: &Rows<'_>,
    out: &mut Outputs<'_>,
    health: &mut Health,
    failures: &mut Vec<RowFailure>,
) -> usize {
    for row in 0..rows.len() {
        let (saved, emitted) = (runner.save(key), out.emitted());
        let one = rows.part(row..row + 1);
        match attempt(|| runner.run(key, &one, &mut out.part(row..row + 1))) {
            Ok(()) => health.fine(key, 1),
            Err(error) => {
                runner.restore(key, saved);
                out.undo(row..row + 1, emitted);
                let is_refusal = error.is_refusal();
                failures.push(RowFailure { row, reason: error.0, is_refusal });
                if is_refusal {
                    health.fine(key, 1);
                } else if health.failed(key) {
                    return row + 1;
                }
            }
        }
    }
    rows.len()
}

/// Tells an operator with rows of its own that time has passed.
pub(crate) fn tick(
    operator: &dyn AnyOperator,
    table: &mut dyn AnyTable,
    key: KeyIndex,
    now: Time,
    out: &mut Outputs<'_>,
) -> Result<(), RowError> {
    let (saved, emitted) = (if table.is_stateless() { None } else { table.save(key) }, out.emitted());
    let result = attempt(|| operator.tick(table, key, now, out));
    if result.is_err() {
        if !table.is_stateless() {
            table.restore(key, saved);
        }
        out.undo(0..0, emitted);
    }
    result
}

pub(crate) fn attempt(work: impl FnOnce() -> Result<(), RowError>) -> Result<(), RowError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(RowError::new(format!("panicked: {}", text_of(panic.as_ref())))))
}

/// The text of a panic.
fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyIndex = KeyIndex(0);

    fn after(limit: Option<Quarantine>, failures: usize) -> Health {
        let mut health = Health::new(limit);
        (0..failures).for_each(|_| _ = health.failed(KEY));
        health
    }

    #[test]
    fn what_was_saved_goes_on_under_another_limit() {
        let saved = |failures| after(Some(Quarantine::default()), failures).of(KEY).expect("it failed").clone();
        let restored = |limit, failures| {
            let mut health = Health::new(limit);
            health.restore(KEY, saved(failures), Revision(1));
            health
        };
        assert!(restored(Some(Quarantine::default()), 5).quarantined(KEY));
        assert!(!restored(None, 5).quarantined(KEY), "nothing is quarantined");
        let mut fewer = restored(Some(Quarantine { failures: 2, rows: 10 }), 4);
        assert!(!fewer.quarantined(KEY) && fewer.failed(KEY), "the next failure is one too many");
    }

    #[test]
    fn without_a_limit_little_is_remembered() {
        let health = after(None, 1_000);
        assert_eq!(health.of(KEY).map(|health| health.failed.len()), Some(1));
        assert!(!health.quarantined(KEY));
    }
}
