//! Expressions give what a naive evaluator gives, one row at a time (tests/support/expression.rs). They are random:
//! `GRISTMILL_EXPRESSIONS` says how many (3,000), `GRISTMILL_SEED` where to begin (1). In manifests they are nodes, and say
//! what is wrong with them.

use std::fs;

use gristmill::topology::{Manifest, Node, Topology, TopologyFile, provide, sensor, sink};
use gristmill::traits::{Operator, Outputs, Rows};
use gristmill::words::{Column, Time};
use gristmill::{ElementType, Stream};
use gristmill_operators::expr::{expr, functions};
use gristmill_operators::registry::registry;
use gristmill_tests::interpreter::random::Random;
use gristmill_tests::support::expression::{Maker, NEEDS, Result1, Row, Twist};
use gristmill_tests::support::setting::number;

/// What can be compared of nodes.
fn contents<'n>(nodes: impl Iterator<Item = &'n Node>) -> Vec<String> {
    nodes.map(|node| format!("{} {}", node.name(), node.content())).collect()
}

/// The first difference of an expression from what it must give, over some random rows.
fn difference(seed: u64, twist: Option<Twist>) -> Option<String> {
    let mut maker = Maker { random: Random::new(seed), twist };
    let types = [ElementType::F32, ElementType::F64, ElementType::I64, ElementType::Bool, ElementType::Str];
    let element = *maker.random.pick(&types);
    let made = maker.part(element, 4);
    let count = if seed.is_multiple_of(50) { 1500 } else { maker.random.between(1, 40) as usize };
    let rows: Vec<Row> = (0..count).map(|_| NEEDS.map(|(_, element)| maker.value(element)).to_vec()).collect();
    let needs: Vec<Column> = (0..NEEDS.len())
        .map(|need| {
            let mut column = Column::with_capacity(NEEDS[need].1, count);
            rows.iter().for_each(|row| column.push(row[need].as_ref()));
            column
        })
        .collect();
    let mut operator = expr(made.text.as_str());
    operator.wire(&NEEDS.map(|(name, element)| (name.to_owned(), element)), &[("out".to_owned(), element)]);
    operator.check(&[], &[]).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let times: Vec<Time> = (0..count as i64).map(Time::from_secs).collect();
    let run = |rows: std::ops::Range<usize>| {
        let columns: Vec<_> = needs.iter().map(|column| column.rows(rows.clone())).collect();
        let mut out = [Column::missing(element, rows.len())];
        let input = Rows::new(&times[rows.clone()], &columns);
        operator.run(&mut (), &input, &mut Outputs::new(&mut out, 0..rows.len())).map(|()| out)
    };
    let expected: Vec<Result1> = rows.iter().map(|row| (made.of)(row)).collect();
    let whole = run(0..count);
    if whole.is_err() != expected.iter().any(Result::is_err) || (whole.is_err() && operator.can_fail().eq(&false)) {
        return Some(format!("seed {seed}: {}: over {count} rows {:?}", made.text, whole.err()));
    }
    for (row, expected) in expected.iter().enumerate() {
        let (alone, mut right) = (run(row..row + 1), Column::with_capacity(element, 1));
        right.push(expected.as_ref().ok().and_then(Option::as_ref));
        let same = match (&alone, expected) {
            (Ok(alone), Ok(_)) => {
                alone[0].as_ref().same(&right.as_ref())
                    && whole.as_ref().map_or(true, |whole| whole[0].rows(row..row + 1).same(&right.as_ref()))
            }
            (Err(got), Err(expected)) => got.0 == *expected,
            _ => false,
        };
        if !same {
            let alone = alone.map(|column| column[0].as_ref().value(0));
            return Some(format!("seed {seed}: {}: {:?} gives {alone:?}, not {expected:?}", made.text, rows[row]));
        }
    }
    None
}

#[test]
fn random_expressions_give_what_a_naive_evaluator_gives() {
    let (count, first) = (number("GRISTMILL_EXPRESSIONS", 3000), number("GRISTMILL_SEED", 1));
    let different: Vec<String> = (first..first + count).filter_map(|seed| difference(seed, None)).take(5).collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// The broken twins: an evaluator that is wrong in one thing is found out.
#[test]
fn a_difference_in_one_rule_is_found() {
    for twist in [Twist::RoundHalfEven, Twist::StrictAnd, Twist::EagerIf, Twist::Wide] {
        let found = (1..3000).find(|seed| difference(*seed, Some(twist)).is_some());
        assert!(found.is_some(), "{twist:?} is not found");
    }
}

#[test]
fn an_expression_is_a_node_and_says_what_is_wrong_with_it() {
    let registry = registry();
    let text = |expr: &str| {
        format!(
            "topology = \"t\"\nneeds = [\"wear: f32\", \"on?: bool\"]\nprovides = [\"alarm: bool\"]\nexpr = \"{expr}\""
        )
    };
    let read = |text: &str| Manifest::from_toml(text)?.nodes_without_artifacts(&registry);
    let nodes = read(&text("wear > 0.8 and coalesce(on, true)")).expect("it is right");
    let long = text("x").replace("expr = \"x\"", "operator = { expr = \"wear > 0.8 and coalesce(on, true)\" }");
    assert_eq!(contents(nodes.iter()), contents(read(&long).expect("it is the same").iter()));
    let written = Manifest::of("t", &nodes, &registry).expect("a manifest says it");
    assert!(written.to_json().contains("\"expr\": \"wear > 0.8 and coalesce(on, true)\""), "{}", written.to_json());
    assert_eq!(
        contents(written.nodes_without_artifacts(&registry).expect("it was read").iter()),
        contents(nodes.iter())
    );
    for (bad, says) in [
        (
            "waer > 0.8",
            "manifest:4: node `alarm`, expr: the operator `expr` does not fit: at character 1: `waer` is no need of the node; did you mean `wear`?\n    waer > 0.8\n    ^^^^",
        ),
        ("wear >", "at character 7: a value must follow"),
        ("wear * 2", "gives f32, but `alarm` is bool"),
    ] {
        let error = read(&text(bad)).expect_err(bad).to_string();
        assert!(error.contains(says), "{error}");
    }
    // The same in Rust is found when the topology is resolved.
    const WEAR: Stream<f32> = Stream::new("wear");
    const ALARM: Stream<bool> = Stream::new("alarm");
    let alarm = provide(ALARM).needs(WEAR).by(expr("weir > 0.8"));
    let topology = Topology::new("t").with(sensor(WEAR)).with(alarm).with(sink("alarms").needs(ALARM));
    let error = topology.resolve().err().expect("there is no `weir`").to_string();
    assert!(error.contains("`weir` is no need of the node; did you mean `wear`?"), "{error}");
}

#[test]
fn every_function_and_example_of_the_documentation_is_one() {
    let docs = fs::read_to_string("../docs/expressions.md").expect("it is there");
    for name in functions() {
        assert!(docs.contains(&format!("`{name}(")), "docs/expressions.md lacks `{name}`");
    }
    let block = docs.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let registry = registry();
    let example = TopologyFile::read("../examples/topologies/expressions.toml").expect("it is right");
    assert!(example.topology(&registry).expect("its expressions are right").nodes().count() > 5);
    Manifest::from_toml(block).and_then(|read| read.nodes_without_artifacts(&registry)).expect("it is right");
}
