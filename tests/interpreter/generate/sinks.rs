//! Limits sinks to some keys.

use gristmill::topology::{Ask, NodeKind, Pattern, Selector, Work};
use gristmill::words::Value;

use super::super::case::Case;
use super::super::random::Random;
use super::maker::sink_node;

/// Gives all plans a sink for some keys that asks for some of what `out` asks for, so that the same nodes run as before, and
/// at times limits the sink of all models. A sink has one selector under all plans: with another it would be another sink.
pub(super) fn make(random: &mut Random, case: &mut Case) {
    if random.percent(50) {
        return;
    }
    let (of_few, of_models) = (selector(random), selector(random));
    let limits_models = random.percent(40);
    for plan in &mut case.plans {
        let mut sinks = plan.nodes.iter_mut().filter(|node| node.kind == NodeKind::Sink);
        let Some(Work::Sink(out)) = sinks.next().map(|node| &node.work) else { continue };
        // By its name it stands before the others.
        let mut few = sink_node("few", some_of(random, &out.asks));
        few.selector = of_few.clone();
        if limits_models {
            sinks.for_each(|models| models.selector = of_models.clone());
        }
        plan.nodes.push(few);
    }
}

fn selector(random: &mut Random) -> Selector {
    match random.below(3) {
        0 => Selector::Attribute { name: "site".into(), value: Value::I64(random.between(0, 1)) },
        _ => Selector::Pattern(Pattern((*random.pick(&["P*", "M*", "?1", "*2"])).to_owned())),
    }
}

/// One or more of these, or less than one of them.
fn some_of(random: &mut Random, asks: &[Ask]) -> Vec<Ask> {
    let first = random.below(asks.len());
    let picked = asks.iter().enumerate().filter(|(place, _)| *place == first || random.percent(40));
    let picked: Vec<Ask> = picked.map(|(_, ask)| ask.clone()).collect();
    let less = |ask: Ask| match &ask {
        Ask::Pattern(pattern) if pattern.0 == "*" => Ask::Pattern(Pattern("n*".to_owned())),
        // Models are called so.
        Ask::Pattern(pattern) if pattern.0 == "n*" => Ask::AllModels,
        _ => ask,
    };
    picked.into_iter().map(less).collect()
}
