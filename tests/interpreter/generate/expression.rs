//! Random expressions over what a node needs.

use gristmill::topology::{Need, NeedKind, Node};
use gristmill::words::ElementType;
use gristmill_operators::expr::expr;

use super::super::operators::operator_node;
use super::super::random::Random;

/// Gives a node with one output an expression to run, if one can give what it provides.
pub(super) fn put(random: &mut Random, node: &mut Node) {
    let sum = node.needs.iter().map(term).collect::<Vec<_>>().join(" * 0.5 + ");
    let text = match node.provides[0].1 {
        ElementType::F64 if random.percent(50) => format!("coalesce({sum}, -1)"),
        ElementType::F64 => sum,
        ElementType::F32 => format!("f32(min({sum}, 40)) / 3"),
        ElementType::Bool => format!("{sum} > 3 and not ({sum} > 20)"),
        // Divided by zero in every third row.
        ElementType::I64 => format!("100 / (i64(clamp({sum}, -1000, 1000)) % 3)"),
        ElementType::Str => format!("if({sum} > 10, 'high', 'low')"),
        ElementType::Vector(_) => return,
    };
    node.work = operator_node(&node.id, node.needs.clone(), node.provides.clone(), expr(text)).work;
}

/// A need as an f64.
fn term(need: &Need) -> String {
    let name = match need.kind {
        NeedKind::Required | NeedKind::Optional => need.name.to_string(),
        NeedKind::Previous { .. } => format!("previous({})", need.name),
        NeedKind::Attribute => format!("@{}", need.name),
    };
    match need.element {
        ElementType::F64 => name,
        ElementType::F32 | ElementType::I64 | ElementType::Bool => format!("f64({name})"),
        ElementType::Str => format!("if({name} == 'is 1', 1.0, 2.5)"),
        ElementType::Vector(_) => format!("f64({name}[0])"),
    }
}
