//! The field `slow`: a node that may block.

use super::Problems;
use super::fields::Fields;
use crate::topology::check::SLOW_THREADS_MAX;
use crate::topology::node::{SLOW_THREADS_DEFAULT, Slow};

/// The field `slow` of a node: `{ budget = "200ms", threads = 2 }`.
pub(super) fn slow(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Slow> {
    let tree = fields.take("slow")?;
    let place = fields.at("slow");
    let mut fields = Fields::of(tree, place.as_str(), problems)?;
    let before = problems.count();
    let budget = fields.span("budget", problems);
    let threads = fields.integer("threads", 1, i64::from(SLOW_THREADS_MAX), problems);
    if budget.is_none() && problems.count() == before {
        let refusal = super::Refusal::new("says no `budget`", "write slow = { budget = \"200ms\" }");
        problems.add(tree.line, place, refusal);
    }
    fields.finish(problems);
    Some(Slow { budget: budget?, threads: threads.unwrap_or(SLOW_THREADS_DEFAULT) })
}
