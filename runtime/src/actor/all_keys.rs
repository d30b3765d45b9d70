//! All keys of a frame in one call, where nothing sets one of them apart: what a call costs is paid once for the frame,
//! and inside it operators and models are called directly.

use super::cell::{self, Artifacts, Cell};
use super::compute::NodeRun;
use super::guard;
use super::output::Buffer;
use super::whole::{Columns, Whole};
use crate::defect::{self, Defect};
use crate::prefetch::{CONTENT_AHEAD, MODEL_AHEAD, PLACE_AHEAD, prefetch};
use crate::topology::scorer;
use crate::traits::{AnyOperator, AnyTable, KeyRuns, Outputs, RowError};
use crate::words::{ColumnRef, KeyIndex};

/// How far a call came.
struct Through {
    keys: usize,
    /// Rows of keys without an artifact.
    skipped: usize,
}

impl NodeRun<'_> {
    /// Runs keys from the first on; how many it is through with. Those that are left have to be run key by key: something
    /// sets one apart, or the next failed.
    pub(super) fn run_many(&self, whole: &Whole<'_>, cell: &mut Cell, out: &mut Buffer) -> usize {
        let sets_apart = !whole.lacking.is_empty() || self.plan.paused() || !cell.health.is_clear();
        if sets_apart || !out.is_on(whole.axis) {
            return 0;
        }
        let columns = whole.columns();
        let keys = KeyRuns::new(&self.frame.keys, &whole.axis.ends, &whole.axis.times, &columns);
        let mut outputs = out.outputs(0, whole.axis.times.len(), false);
        let through = match (&self.plan.operator, &mut cell.table, &self.plan.model) {
            (Some(operator), Some(table), _) => run_operator(operator.as_ref(), table.as_mut(), &keys, &mut outputs),
            (_, _, Some(model)) => at_once(&keys, &mut outputs, |out| scorer::score(model.as_ref(), &keys.all(), out)),
            _ => self.score_each(&keys, &columns, &cell.members, &mut outputs),
        };
        let rows = through.keys.checked_sub(1).map_or(0, |last| keys.range(last).end);
        cell.counts.rows += rows as u64;
        cell.counts.skipped += through.skipped as u64;
        cell.counts.computed += (rows - through.skipped) as u64;
        let passed_over = through.keys > 0 && defect::is_chosen(Defect::FailedKey);
        through.keys + usize::from(passed_over)
    }

    /// Scores each key's rows by its own artifact, until one fails.
    fn score_each(
        &self,
        keys: &KeyRuns<'_>,
        columns: &[ColumnRef<'_>],
        members: &[Artifacts],
        out: &mut Outputs<'_>,
    ) -> Through {
        let member = |run: usize| cell::artifact(members, keys.key(run)?, self.frame.plan.revision);
        let mut of_key: Columns<'_> = columns.iter().copied().collect();
        let mut through = Through { keys: 0, skipped: 0 };
        let scored = guard::attempt(|| {
            for run in 0..keys.len() {
                let place = keys.key(run + PLACE_AHEAD).and_then(|key| members.get(key.0 as usize));
                place.into_iter().for_each(prefetch);
                member(run + MODEL_AHEAD).into_iter().for_each(|model| prefetch(model.as_ref()));
                member(run + CONTENT_AHEAD).into_iter().for_each(|model| model.prefetch());
                let rows = keys.range(run);
                match member(run) {
                    Some(_) if rows.is_empty() => {}
                    Some(model) => {
                        of_key.iter_mut().zip(columns).for_each(|(of_key, all)| *of_key = all.rows(rows.clone()));
                        scorer::score_columns(model.as_ref(), &of_key, &mut out.part(rows))?;
                    }
                    None => through.skipped += rows.len(),
                }
                through.keys += 1;
            }
            Ok(())
        });
        if scored.is_err() {
            out.undo(keys.range(through.keys), 0);
        }
        through
    }
}

fn run_operator(
    operator: &dyn AnyOperator,
    table: &mut dyn AnyTable,
    keys: &KeyRuns<'_>,
    out: &mut Outputs<'_>,
) -> Through {
    if operator.row_by_row() {
        return at_once(keys, out, |out| operator.run(table, KeyIndex(0), &keys.all(), out));
    }
    // A state that a failure has to restore is copied before each call: key by key.
    let can_run = !operator.can_fail() || table.is_stateless();
    Through { keys: if can_run { guard::run_keys(operator, table, keys, out) } else { 0 }, skipped: 0 }
}

/// Runs all rows as if they were of one key; none of them when one fails.
fn at_once(
    keys: &KeyRuns<'_>,
    out: &mut Outputs<'_>,
    run: impl FnOnce(&mut Outputs<'_>) -> Result<(), RowError>,
) -> Through {
    if guard::attempt(|| run(out)).is_err() {
        out.undo(0..out.len(), 0);
        return Through { keys: 0, skipped: 0 };
    }
    Through { keys: keys.len(), skipped: 0 }
}
