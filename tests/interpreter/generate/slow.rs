//! Makes nodes slow: what they compute stays the same.

use gristmill::topology::NodeKind;
use gristmill::words::Span;

use super::super::case::Case;
use super::super::random::Random;

/// No row is ever given up.
const BUDGET: Span = Span::from_secs(600);

/// Makes some of the nodes that may be slow so, under some of the plans: keys come to lanes and leave them.
pub(super) fn make(random: &mut Random, case: &mut Case) {
    if random.percent(60) {
        return;
    }
    for plan in 0..case.plans.len() {
        for place in 0..case.plans[plan].nodes.len() {
            let node = &mut case.plans[plan].nodes[place];
            if node.kind == NodeKind::Sink || !random.percent(25) {
                continue;
            }
            *node = node.clone().slow(BUDGET).threads(random.between(1, 3) as u16);
            if !case.problems().is_empty() {
                case.plans[plan].nodes[place].slow = None;
            }
        }
    }
}
