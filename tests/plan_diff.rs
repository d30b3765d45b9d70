//! Plans and their differences, over random topologies: carrying out `diff(old, new)` on what ran gives what runs then;
//! the first start is the difference from nothing; the same topology gives the same plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use gristmill::Stream;
use gristmill::topology::declared::Declared;
use gristmill::topology::diff::{Change, Changes, diff, identities, replay};
use gristmill::topology::plan::ClassPlan;
use gristmill::topology::resolve::{resolve, resolve_touched};
use gristmill::topology::{Node, Topology, matching, optional, previous, provide, sensor, sink};
use gristmill::traits::Axes;
use gristmill::words::{Class, Key, Revision, Span};
use proptest::prelude::*;

/// Streams that nodes provide.
const STREAMS: usize = 8;
const KEYS: [&str; 3] = ["P1", "P2", "P3"];

/// A node as chance makes it: stream `s{stream}`, read from streams with lower numbers or from the sensor.
#[derive(Clone, Debug)]
struct Drawn {
    stream: usize,
    needs: Vec<usize>,
    own: Option<usize>,
    version: u32,
    looped: bool,
    thinned: bool,
}

fn name(number: usize) -> Stream<f64> {
    if number == 0 { Stream::new("raw") } else { Stream::named(format!("s{number}")) }
}

fn node(drawn: &Drawn) -> Node {
    let provided = name(drawn.stream);
    let first = name(drawn.needs[0]);
    let more = name(*drawn.needs.last().expect("there is one"));
    let node = if drawn.looped && !drawn.thinned {
        provide(provided.clone()).needs((first, previous(provided, 0.0))).by(|a: f64, b: f64| a + b)
    } else {
        provide(provided).needs((first, optional(more))).by(|a: f64, b: Option<f64>| a + b.unwrap_or(0.0))
    };
    let node = if drawn.thinned { node.every(Span::from_secs(1)) } else { node };
    let node = node.version(drawn.version);
    drawn.own.map_or(node.clone(), |key| node.for_key(KEYS[key]))
}

prop_compose! {
    fn drawn()(stream in 1..STREAMS)(
        stream in Just(stream),
        needs in prop::collection::vec(0..stream, 1..3),
        own in prop::option::weighted(0.3, 0..KEYS.len()),
        version in 1..3u32,
        looped in any::<bool>(),
        thinned in prop::bool::weighted(0.1),
    ) -> Drawn {
        Drawn { stream, needs, own, version, looped, thinned }
    }
}

/// Nodes of many keys, then some of single keys, one of each name; a need that nobody provides for all keys is the
/// sensor's instead.
fn topology(drawn: &[Drawn]) -> Topology {
    let mut provided = BTreeSet::from([0]);
    let mut topology = Topology::new("machine").with(sensor(name(0))).with(sink("out").needs(matching("s*")));
    let mut sorted: Vec<Drawn> = drawn.to_vec();
    sorted.sort_by_key(|drawn| (drawn.own, drawn.stream));
    sorted.dedup_by_key(|drawn| (drawn.own, drawn.stream));
    for mut drawn in sorted {
        let met = |need: &usize| if provided.contains(need) { *need } else { 0 };
        drawn.needs = drawn.needs.iter().map(met).collect();
        if drawn.own.is_none() {
            provided.insert(drawn.stream);
        }
        topology = topology.with(node(&drawn));
    }
    topology
}

fn declared(drawn: &[Drawn]) -> Declared {
    Declared::of(&topology(drawn), Axes::default())
}

/// The nodes of single keys of a plan, counted.
fn own_nodes(plan: &ClassPlan) -> usize {
    (&plan.keys).into_iter().map(|(_, plan)| plan.nodes.len()).sum()
}

fn texts(changes: &Changes) -> Vec<String> {
    changes.0.iter().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_difference_leads_from_the_old_to_the_new(
        old in prop::collection::vec(drawn(), 0..10),
        new in prop::collection::vec(drawn(), 0..10),
    ) {
        let nothing = ClassPlan::nothing(Class::from("machine"));
        // Providers of one name on other rows are refused: nothing to compare then.
        let Ok(old) = resolve(&declared(&old), &nothing, Revision(1), None) else { return Ok(()) };
        let Ok(new) = resolve(&declared(&new), &old, Revision(2), None) else { return Ok(()) };
        let changes = diff(&old, &new);
        prop_assert_eq!(replay(&identities(&old), &changes), identities(&new));
        // The way back is a difference as well.
        prop_assert_eq!(replay(&identities(&new), &diff(&new, &old)), identities(&old));
        prop_assert!(diff(&new, &new).0.is_empty());
        // The broken twin: without one of the births, the replay does not arrive.
        let birth = changes.0.iter().position(|change| matches!(change, Change::Add { .. }));
        if let Some(birth) = birth {
            let mut fewer = changes;
            fewer.0.remove(birth);
            prop_assert_ne!(replay(&identities(&old), &fewer), identities(&new));
        }
    }

    #[test]
    fn the_first_start_is_the_difference_from_nothing(drawn in prop::collection::vec(drawn(), 0..10)) {
        let nothing = ClassPlan::nothing(Class::from("machine"));
        let Ok(plan) = resolve(&declared(&drawn), &nothing, Revision(1), None) else { return Ok(()) };
        let changes = diff(&nothing, &plan);
        let (added, idle): (Vec<&Change>, Vec<&Change>) =
            changes.0.iter().partition(|change| matches!(change, Change::Add { born: Revision(1), .. }));
        let all_unused = idle.iter().all(|change| matches!(change, Change::Unused { .. }));
        prop_assert!(all_unused);
        prop_assert_eq!(added.len(), plan.nodes().count());
        prop_assert_eq!(replay(&identities(&nothing), &changes), identities(&plan));
    }

    #[test]
    fn resolving_is_deterministic_and_deaf_to_the_order_of_nodes(drawn in prop::collection::vec(drawn(), 0..10)) {
        let one = topology(&drawn).resolve();
        let again = topology(&drawn).resolve();
        let reversed: Vec<Node> = topology(&drawn).nodes().cloned().collect();
        let reversed = Topology::new("machine").with_all(reversed.into_iter().rev()).resolve();
        match (one, again, reversed) {
            (Ok(one), Ok(again), Ok(reversed)) => {
                prop_assert_eq!(one.to_json(), again.to_json());
                prop_assert_eq!(one.to_string(), reversed.to_string());
            }
            (Err(one), Err(again), Err(_)) => prop_assert_eq!(one, again),
            _ => prop_assert!(false, "one resolves and another does not"),
        }
    }

    /// Nodes of single keys that change are resolved alone where that is enough: the same comes out.
    #[test]
    fn what_was_not_touched_need_not_be_resolved_again(
        old in prop::collection::vec(drawn(), 0..10),
        more in prop::collection::vec(drawn(), 1..4),
        key in 0..KEYS.len(),
    ) {
        let nothing = ClassPlan::nothing(Class::from("machine"));
        let before = declared(&old);
        let Ok(plan) = resolve(&before, &nothing, Revision(1), None) else { return Ok(()) };
        let mut after = before;
        let mut touched = BTreeSet::new();
        for mut drawn in more {
            drawn.own = Some(key);
            drawn.needs = vec![0];
            touched.insert(Key::from(KEYS[key]));
            after.put(node(&drawn).into());
        }
        let whole = resolve(&after, &plan, Revision(2), None);
        let quick = resolve_touched(&after, &plan, Revision(2), &touched);
        let Some(quick) = quick else { return Ok(()) };
        match (whole, quick) {
            (Ok(whole), Ok(quick)) => {
                prop_assert_eq!(identities(&whole), identities(&quick));
                let changes = texts(&diff(&plan, &quick));
                prop_assert_eq!(&texts(&diff(&plan, &whole)), &changes);
                prop_assert_eq!(quick.own_nodes, own_nodes(&quick));
                prop_assert_eq!(after.own_nodes, (&after.exact).into_iter().map(|(_, nodes)| nodes.len()).sum::<usize>());
                // From another plan than the one it was made from, the keys that were touched say nothing.
                let begun = replay(&identities(&nothing), &diff(&nothing, &quick));
                prop_assert_eq!(begun, identities(&quick));
                // The broken twin: where the touched keys are not noted, their changes are missed.
                let unnoted = ClassPlan { touched: Some((plan.revision, Arc::default())), ..quick };
                prop_assert!(diff(&plan, &unnoted).0.is_empty());
            }
            (Err(_), Err(_)) => {}
            (whole, quick) => {
                prop_assert!(false, "whole {:?}, quick {:?}", whole.err(), quick.err());
            }
        }
    }

    /// Nodes of the class that change may go round through nodes of keys, or be only half of what those stand in for.
    #[test]
    fn a_change_of_the_class_is_refused_whichever_keys_are_resolved_again(
        old in prop::collection::vec(drawn(), 0..10),
        more in prop::collection::vec((drawn(), 0..STREAMS, prop::option::weighted(0.3, 1..STREAMS)), 1..3),
    ) {
        let nothing = ClassPlan::nothing(Class::from("machine"));
        let before = declared(&old);
        let Ok(plan) = resolve(&before, &nothing, Revision(1), None) else { return Ok(()) };
        let mut after = before;
        for (drawn, need, also) in more {
            let (first, more, provided) = (name(drawn.needs[0]), name(need), name(drawn.stream));
            let node = match also.map(name).filter(|also| also.name() != provided.name()) {
                Some(also) => provide((provided, also)).needs((first, optional(more))).by(|a: f64, _: Option<f64>| (a, a)),
                None => provide(provided).needs((first, optional(more))).by(|a: f64, _: Option<f64>| a),
            };
            after.put(node.version(3).into());
        }
        let whole = resolve(&after, &plan, Revision(2), None);
        match (whole, resolve(&after, &plan, Revision(2), Some(&BTreeSet::new()))) {
            (Ok(whole), Ok(quick)) => prop_assert_eq!(identities(&whole), identities(&quick)),
            (Err(_), Err(_)) => {}
            (whole, quick) => prop_assert!(false, "whole {:?}, quick {:?}", whole.err(), quick.err()),
        }
    }
}

/// A plan, and whether it can be resolved when a node is put: all of it, and only what the node's own key is about.
fn put(before: &Topology, node: Node) -> (bool, Option<bool>) {
    let nothing = ClassPlan::nothing(Class::from("machine"));
    let mut declared = Declared::of(before, Axes::default());
    let plan = resolve(&declared, &nothing, Revision(1), None).expect("nothing is wrong with it");
    let touched: BTreeSet<Key> = node.only_key().cloned().into_iter().collect();
    declared.put(node.into());
    let quick = match touched.is_empty() {
        true => Some(resolve(&declared, &plan, Revision(2), Some(&touched)).is_ok()),
        false => resolve_touched(&declared, &plan, Revision(2), &touched).map(|plan| plan.is_ok()),
    };
    (resolve(&declared, &plan, Revision(2), None).is_ok(), quick)
}

#[test]
fn what_a_node_of_the_class_means_for_keys_is_seen_when_only_it_changes() {
    let (raw, one, two) = (|| name(0), || name(1), || name(2));
    let plant = || Topology::new("machine").with(sensor(raw())).with(sink("out").needs(matching("s*")));
    let sum = |a: f64, b: Option<f64>| a + b.unwrap_or(0.0);

    // raw → s1 → s2 of P1; then s1 needs s2.
    let own = provide(two()).needs(one()).by(|a: f64| a).for_key("P1");
    let chain = plant().with(provide(one()).needs(raw()).by(|a: f64| a)).with(own);
    let closes = provide(one()).needs((raw(), optional(two()))).by(sum);
    assert_eq!(put(&chain, closes), (false, Some(false)));
    let beside = provide(name(3)).needs((raw(), optional(two()))).by(sum);
    assert_eq!(put(&chain, beside), (true, Some(true)), "nothing of a key needs it");

    // s1 of P1 stands in for a node that provides s2 as well from then on.
    let own = provide(one()).needs(raw()).by(|a: f64| a + 1.0).for_key("P1");
    let covered = plant().with(provide(one()).needs(raw()).by(|a: f64| a)).with(own);
    let wider = provide((one(), two())).needs(raw()).by(|a: f64| (a, a)).named("s1");
    assert_eq!(put(&covered, wider), (false, Some(false)));

    // Two nodes of the class in a loop; then one of them is another for P1.
    let first = provide(one()).needs((raw(), previous(two(), 0.0))).by(|a: f64, b: f64| a + b);
    let looped = plant().with(first).with(provide(two()).needs(one()).by(|a: f64| a / 2.0));
    let (whole, quick) = put(&looped, provide(one()).needs(raw()).by(|a: f64| a).for_key("P1"));
    assert!(!whole && quick != Some(true), "{quick:?}");
}

#[test]
fn a_pattern_that_is_also_a_key_makes_no_second_node_of_a_name() {
    let plant = || Topology::new("machine").with(sensor(name(0))).with(sink("out").needs(matching("s*")));
    let one = |by: f64| provide(name(1)).needs(name(0)).by(move |a: f64| a + by);
    let (own, pattern) = (|| one(1.0).for_key("P1"), || one(2.0).for_keys("P1"));
    for (first, second) in [(own(), pattern()), (pattern(), own())] {
        let errors = plant().with(first.clone()).with(second.clone()).resolve().err().expect("one name").to_string();
        assert!(errors.contains("s1@P1"), "{errors}");
        let (whole, quick) = put(&plant().with(first), second);
        assert!(!whole && quick != Some(true), "{quick:?}");
    }
}

#[test]
fn a_node_that_needs_only_itself_is_refused() {
    let plant = Topology::new("machine").with(sensor(name(0))).with(sink("out").needs(matching("s*")));
    let counts = provide(name(1)).needs(previous(name(1), 0.0)).by(|count: f64| count + 1.0);
    let errors = plant.clone().with(counts).resolve().err().expect("it has no rows").to_string();
    assert!(errors.contains("nothing gives it rows"), "{errors}");
    let one = provide(name(1)).needs(previous(name(2), 0.0)).by(|a: f64| a);
    let other = provide(name(2)).needs(previous(name(1), 0.0)).by(|a: f64| a);
    assert!(plant.clone().with(one).with(other).resolve().is_err(), "neither has rows");
    let follows = provide(name(1)).needs(previous(name(0), 0.0)).by(|a: f64| a);
    plant.with(follows).resolve().expect("it has those of the sensor");
}
