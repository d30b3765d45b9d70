//! A change of members of families alone: nothing is rewired, so that work is in proportion to what changed.

use std::sync::Arc;

use super::declared::Declared;
use super::plan::{BasePlan, ClassPlan, PlanNode};
use super::problem::{Problem, ResolveErrors};
use super::scorer::check_model;
use crate::traits::Model;
use crate::words::{ElementType, NodeId, Revision};

/// Resolves a change of artifacts of running families, which `declared` already has. `None` when a family does not
/// run: then everything is resolved.
pub fn resolve_members<'m>(
    declared: &Declared,
    previous: &ClassPlan,
    revision: Revision,
    changed: impl Iterator<Item = (&'m NodeId, Option<&'m Arc<dyn Model>>)>,
) -> Option<Result<ClassPlan, ResolveErrors>> {
    let mut problems = Vec::new();
    let mut nodes = previous.base.nodes.clone();
    for (name, model) in changed {
        let now = declared.base.get(name)?;
        let running = nodes.iter_mut().find(|node| node.name == *name)?;
        if !Arc::ptr_eq(&running.node, now) {
            *running = Arc::new(PlanNode { node: Arc::clone(now), ..(**running).clone() });
        }
        let Some(model) = model else { continue };
        let needs: Vec<ElementType> = now.needs.iter().map(|need| need.element).collect();
        let provides: Vec<ElementType> = now.provides.iter().map(|(_, element)| *element).collect();
        if let Err(why) = check_model(model.as_ref(), &needs, &provides) {
            problems.push(Problem::Unfit { node: name.clone(), why });
        }
    }
    if !problems.is_empty() {
        return Some(Err(ResolveErrors(problems)));
    }
    let base = Arc::new(BasePlan { revision, nodes, ..(*previous.base).clone() });
    Some(Ok(ClassPlan { revision, base, ..previous.clone() }))
}
