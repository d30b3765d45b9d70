//! A change of members of families alone: nothing is rewired, so that work is in proportion to what changed.

use std::sync::Arc;

use super::declared::Declared;
use super::plan::{BasePlan, ClassPlan, PlanNode};
use super::problem::{Problem, ResolveErrors};
use super::scorer::Fit;
use crate::traits::Model;
use crate::words::{Key, NodeId, Revision};

/// Resolves a change of artifacts of running families, which `declared` already has. `None` when a family does not
/// run: then everything is resolved.
pub fn resolve_members<'m>(
    declared: &Declared,
    previous: &ClassPlan,
    revision: Revision,
    changed: impl Iterator<Item = (&'m NodeId, &'m Key, Option<&'m Arc<dyn Model>>)>,
) -> Option<Result<ClassPlan, ResolveErrors>> {
    let mut problems = Vec::new();
    let mut nodes = previous.base.nodes.clone();
    for (name, key, model) in changed {
        let now = declared.base.get(name)?;
        let running = nodes.iter_mut().find(|node| node.name == *name)?;
        if !Arc::ptr_eq(&running.node, now) {
            *running = Arc::new(PlanNode { node: Arc::clone(now), ..(**running).clone() });
        }
        let Some(model) = model else { continue };
        if let Err(why) = Fit::of(now).check(model.as_ref()) {
            problems.push(Problem::Unfit { node: name.clone(), why: format!("member `{key}`: {why}") });
        }
    }
    if !problems.is_empty() {
        return Some(Err(ResolveErrors(problems)));
    }
    let base = Arc::new(BasePlan { revision, nodes, ..(*previous.base).clone() });
    let touched = Some((previous.revision, Arc::default()));
    Some(Ok(ClassPlan { revision, base, touched, ..previous.clone() }))
}
