//! All keys of a frame in one call, where nothing sets one of them apart: what a call costs is paid once for the frame,
//! and inside it operators and models are called directly.

use super::cell::Cell;
use super::compute::NodeRun;
use super::guard;
use super::output::Buffer;
use super::whole::{Columns, Whole};
use crate::defect::{self, Defect};
use crate::topology::scorer;
use crate::traits::{AnyOperator, AnyTable, BadReadings, KeyRuns, Outputs};
use crate::words::{ColumnRef, KeyIndex};

impl NodeRun<'_> {
    /// Runs keys from the first on, over the columns of all of them; how many it is through with. Those that are left have
    /// to be run key by key: something sets one apart, or the next failed.
    pub(super) fn run_many(
        &self,
        whole: &Whole<'_>,
        columns: &[ColumnRef<'_>],
        cell: &mut Cell,
        out: &mut Buffer,
    ) -> usize {
        if !whole.lacking.is_empty() || !self.goes_on_for_all(cell) || !out.is_on(whole.axis) {
            return 0;
        }
        let keys = KeyRuns::new(&self.frame.keys, &whole.axis.ends, &whole.axis.times, columns);
        let (mut skipped, mut bad) = (0, BadReadings::default());
        let mut outputs = out.outputs(0, whole.axis.times.len(), false);
        let mut outputs = outputs.counting(&mut bad);
        let through = match (&self.plan.operator, &mut cell.table, &self.plan.model) {
            (Some(operator), Some(table), _) => run_operator(operator.as_ref(), table.as_mut(), &keys, &mut outputs),
            (_, _, Some(model)) => {
                let scored = guard::all_or_none(&mut outputs, |out| scorer::score(model.as_ref(), &keys.all(), out));
                if scored { keys.len() } else { 0 }
            }
            _ => self.score_each(&keys, columns, cell, &mut outputs, &mut skipped),
        };
        self.count_bad(&bad, cell);
        let rows = through.checked_sub(1).map_or(0, |last| keys.range(last).end);
        cell.counts.rows += rows as u64;
        cell.counts.skipped += skipped as u64;
        cell.counts.computed += (rows - skipped) as u64;
        let passed_over = through > 0 && defect::is_chosen(Defect::FailedKey);
        through + usize::from(passed_over)
    }

    /// Scores each key's rows by its own artifact, until one fails; how many keys went well. Adds the rows of those without
    /// an artifact to `skipped`.
    fn score_each(
        &self,
        keys: &KeyRuns<'_>,
        columns: &[ColumnRef<'_>],
        cell: &Cell,
        out: &mut Outputs<'_>,
        skipped: &mut usize,
    ) -> usize {
        let mut of_key: Columns<'_> = columns.iter().copied().collect();
        let mut next = 0;
        let scored = guard::attempt(|| {
            while let Some(key) = keys.key(next) {
                self.look_ahead(next, cell);
                let rows = keys.range(next);
                match cell.member(key, self.frame.plan.revision) {
                    Some(_) if rows.is_empty() => {}
                    Some(model) => {
                        of_key.iter_mut().zip(columns).for_each(|(of_key, all)| *of_key = all.rows(rows.clone()));
                        scorer::score_columns(model.as_ref(), &of_key, &mut out.part(rows))?;
                    }
                    None => *skipped += rows.len(),
                }
                next += 1;
            }
            Ok(())
        });
        if scored.is_err() {
            out.undo(keys.range(next), 0);
        }
        next
    }
}

/// Runs an operator for one key after the other, or for all rows as if they were of one key where it can; how many keys
/// went well.
fn run_operator(
    operator: &dyn AnyOperator,
    table: &mut dyn AnyTable,
    keys: &KeyRuns<'_>,
    out: &mut Outputs<'_>,
) -> usize {
    if operator.row_by_row() {
        let went_well = guard::all_or_none(out, |out| operator.run(table, KeyIndex(0), &keys.all(), out));
        return if went_well { keys.len() } else { 0 };
    }
    // A state that a failure has to restore is copied before each call: key by key.
    if operator.can_fail() && !table.is_stateless() {
        return 0;
    }
    guard::run_keys(operator, table, keys, out)
}
