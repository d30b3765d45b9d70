//! Laws 9 to 17: memory, ticks, failures, who provides what, and changes of plan.

use gristmill::Stream;
use gristmill::topology::{Ask, Attributes, Need, NeedKind, Node, Pattern, previous, provide};
use gristmill::words::{ElementType, Key, Span, StreamName, Value};

use super::super::case::Intake;
use super::super::model::{Linear, family_node, model_node};
use super::super::operators::{Tumble, operator_node};
use super::Golden;
use super::words::{NO, either, golden, out, pair, sense, sink, times, total};

pub(super) fn all() -> Vec<Golden> {
    let mut all = loops();
    all.extend(previous_only());
    all.extend(own_rows());
    all.extend(failures());
    all.extend(selectors());
    all.extend(families());
    all.extend(states());
    all.extend(switches());
    all.extend(sinks());
    all
}

fn reorder(milliseconds: i64) -> Intake {
    Intake { reorder: Span::from_millis(milliseconds), ..Intake::default() }
}

fn required(name: &str) -> Vec<Need> {
    vec![Need { name: name.into(), element: ElementType::F64, kind: NeedKind::Required }]
}

fn provided(names: &[&str], element: ElementType) -> Vec<(StreamName, ElementType)> {
    names.iter().map(|name| ((*name).into(), element)).collect()
}

/// `name` is `a` plus the previous `of`.
fn adds_previous(name: &'static str, of: &'static str, initial: f64) -> Node {
    provide(Stream::<f64>::new(name))
        .needs((previous(Stream::<f64>::new(of), initial), Stream::<f64>::new("a")))
        .by(|before: f64, a: f64| a + before)
}

fn loops() -> Vec<Golden> {
    vec![
        golden("9: previous is the last value that was there, and the initial one before", &[&["a"]])
            .plan(vec![sense("a"), adds_previous("n", "n", 100.0), out(&["n"])])
            .rows("P", 0, &[(1000, &[1.0]), (2000, &[NO]), (3000, &[2.0])])
            .row("P", 0, 4000, &[3.0])
            .writes(&["P 0.0 @1000 n=101", "P 0.2 @3000 n=103", "P 1.0 @4000 n=106"]),
        golden("9: the nodes of a loop advance together, row by row", &[&["a"]])
            .intake(reorder(1000))
            .plan(vec![sense("a"), adds_previous("x", "y", 0.0), times("y", "x", 2.0), out(&["x", "y"])])
            .rows("P", 0, &[(1000, &[1.0]), (1100, &[2.0]), (1200, &[3.0]), (2300, &[0.0])])
            .writes(&[
                "P 0.3 @1000 x=1",
                "P 0.3 @1000 y=2",
                "P 0.3 @1100 x=4",
                "P 0.3 @1100 y=8",
                "P 0.3 @1200 x=11",
                "P 0.3 @1200 y=22",
            ]),
        golden("9: previous of a node that is not in a loop", &[&["a"]])
            .plan(vec![sense("a"), adds_previous("n", "b", 0.0), times("b", "a", 10.0), out(&["n"])])
            .rows("P", 0, &[(1000, &[1.0]), (2000, &[2.0])])
            .writes(&["P 0.0 @1000 n=1", "P 0.1 @2000 n=12"]),
    ]
}

/// `name` is the previous `of`.
fn was(name: &'static str, of: &'static str, initial: f64) -> Node {
    provide(Stream::<f64>::new(name)).needs(previous(Stream::<f64>::new(of), initial)).by(|before: f64| before)
}

/// Nodes that read nothing in their row.
fn previous_only() -> Vec<Golden> {
    let sum = || {
        let needs = (Stream::<f64>::new("a"), Stream::<f64>::new("x"));
        provide(Stream::<f64>::new("y")).needs(needs).by(|a: f64, x: f64| a + x)
    };
    vec![
        golden("9: a node of previous alone has the rows of that axis", &[&["a"]])
            .plan(vec![sense("a"), was("n", "a", 100.0), out(&["n"])])
            .rows("P", 0, &[(1000, &[1.0]), (2000, &[NO]), (3000, &[2.0])])
            .row("P", 0, 4000, &[3.0])
            .writes(&["P 0.0 @1000 n=100", "P 0.1 @2000 n=1", "P 0.2 @3000 n=1", "P 1.0 @4000 n=2"]),
        golden("9: the same, for keys for which somebody provides the stream", &[&["a", "b"]])
            .plan(vec![
                sense("a"),
                sense("b").for_keys("P*"),
                was("n", "b", 7.0),
                was("m", "a", 8.0).for_key("Q"),
                out(&["n", "m"]),
            ])
            .row("P", 0, 1000, &[1.0, 2.0])
            .row("Q", 0, 1000, &[3.0, 4.0])
            .row("P", 0, 2000, &[5.0, 6.0])
            .row("Q", 0, 2000, &[5.0, 6.0])
            .writes(&["P 0.0 @1000 n=7", "P 2.0 @2000 n=2", "Q 1.0 @1000 m=8 by m@Q", "Q 3.0 @2000 m=3 by m@Q"]),
        golden("9: the same, of a window", &[&["a"]])
            .plan(vec![sense("a"), window(), was("n", "w", -1.0), out(&["n"])])
            .rows("P", 0, &[(1100, &[1.0]), (1200, &[2.0])])
            .row("P", 0, 2100, &[4.0])
            .row("P", 0, 3000, &[8.0])
            .writes(&["P 1.0 @2000 n=-1", "P 2.0 @3000 n=3"]),
        golden("9: in a loop such a node has the rows of the others", &[&["a"]])
            .plan(vec![sense("a"), was("x", "y", 0.5), sum(), out(&["x", "y"])])
            .rows("P", 0, &[(1000, &[1.0]), (2000, &[NO]), (3000, &[2.0])])
            .row("P", 0, 4000, &[3.0])
            .writes(&[
                "P 0.0 @1000 x=0.5",
                "P 0.0 @1000 y=1.5",
                "P 0.1 @2000 x=1.5",
                "P 0.2 @3000 x=1.5",
                "P 0.2 @3000 y=3.5",
                "P 1.0 @4000 x=3.5",
                "P 1.0 @4000 y=6.5",
            ]),
    ]
}

fn window() -> Node {
    let tumble = Tumble { width: 1_000_000, fails_percent: 0 };
    operator_node("w", required("a"), provided(&["w", "count"], ElementType::F64), tumble)
}

fn own_rows() -> Vec<Golden> {
    vec![
        golden("10: a window's rows are caused by the rows that close it", &[&["a"]])
            .plan(vec![sense("a"), window(), pair("n", "w", "a"), out(&["w", "count", "n"])])
            .rows("P", 0, &[(1100, &[1.0]), (1200, &[2.0])])
            .row("P", 0, 2100, &[4.0])
            .row("P", 0, 3000, &[8.0])
            .writes(&[
                "P 1.0 @2000 count=2 by w",
                "P 1.0 @2000 n=302",
                "P 1.0 @2000 w=3",
                "P 2.0 @3000 count=1 by w",
                "P 2.0 @3000 n=408",
                "P 2.0 @3000 w=4",
            ]),
        golden("11: a tick releases what waits at the intake and closes windows", &[&["a"]])
            .intake(reorder(500))
            .plan(vec![sense("a"), window(), out(&["a", "w"])])
            .tick(9000) // nobody has spoken
            .row("P", 0, 1100, &[1.0])
            .tick(2000)
            .row("P", 0, 1500, &[2.0]) // old enough at once, and its window is open as long as such rows come
            .tick(3000)
            .writes(&["P 0.end @1100 a=1", "P 1.0 @1500 a=2", "P 1.end @2000 w=3"]),
    ]
}

fn failures() -> Vec<Golden> {
    let rows = |fails: &[usize]| -> Vec<(i64, &'static [f64])> {
        let value = |row: &usize| -> &'static [f64] { if fails.contains(row) { &[13.0] } else { &[0.0] } };
        let mut rows: Vec<(i64, &'static [f64])> = (0..101).map(|row| (1000 + row as i64, value(&row))).collect();
        rows.push((2000, &[7.0]));
        rows
    };
    let (apart, close) = (rows(&[0, 25, 50, 75, 100]), rows(&[0, 25, 50, 75, 99]));
    let seen = provide(Stream::<f64>::new("seen"))
        .needs(Stream::<f64>::new("total"))
        .by(|total: f64| (total > 0.0).then_some(total));
    let model = |model| model_node("m", required("a"), provided(&["m"], ElementType::F32), model);
    vec![
        golden("12: a failed row leaves no trace in the state", &[&["a"]])
            .plan(vec![sense("a"), total("total", "a"), out(&["total"])])
            .rows("P", 0, &[(1, &[1.0]), (2, &[13.0]), (3, &[2.0]), (4, &[66.0]), (5, &[3.0])])
            .writes(&["P 0.0 @1 total=1", "P 0.2 @3 total=3", "P 0.4 @5 total=6"])
            .letters(&["P 0.1 @2 total: thirteen", "P 0.3 @4 total: sixty-six"]),
        golden("12: five failures quarantine a node for that key", &[&["a"]])
            .plan(vec![sense("a"), total("total", "a"), out(&["total"])])
            .rows("P", 0, &[(1, &[1.0]), (2, &[13.0]), (3, &[13.0]), (4, &[NO]), (5, &[13.0]), (6, &[13.0])])
            .rows("P", 0, &[(7, &[2.0]), (8, &[13.0]), (9, &[13.0]), (10, &[4.0])])
            .rows("Q", 0, &[(1, &[13.0]), (2, &[4.0])])
            .writes(&["P 0.0 @1 total=1", "P 1.0 @7 total=3", "Q 2.1 @2 total=4"])
            .letters(&[
                "P 0.1 @2 total: thirteen",
                "P 0.2 @3 total: thirteen",
                "P 0.4 @5 total: thirteen",
                "P 0.5 @6 total: thirteen",
                "P 1.1 @8 total: thirteen",
                "Q 2.0 @1 total: thirteen",
            ]),
        golden("12: five failures must lie within a hundred rows", &[&["a"]])
            .plan(vec![sense("a"), total("total", "a"), seen, out(&["seen"])])
            .rows("P", 0, &apart)
            .rows("Q", 0, &close)
            .writes(&["P 0.101 @2000 seen=7"])
            .letters(&[
                "P 0.0 @1000 total: thirteen",
                "P 0.25 @1025 total: thirteen",
                "P 0.50 @1050 total: thirteen",
                "P 0.75 @1075 total: thirteen",
                "P 0.100 @1100 total: thirteen",
                "Q 1.0 @1000 total: thirteen",
                "Q 1.25 @1025 total: thirteen",
                "Q 1.50 @1050 total: thirteen",
                "Q 1.75 @1075 total: thirteen",
                "Q 1.99 @1099 total: thirteen",
            ]),
        golden("12: another artifact ends a quarantine", &[&["a"]])
            .plan(vec![sense("a"), model(Linear::new(1, 1, 0).refuses_above(10.0)), out(&["m"])])
            .rows("P", 0, &[(1, &[20.0]), (2, &[20.0]), (3, &[20.0]), (4, &[20.0]), (5, &[20.0]), (6, &[1.0])])
            .plan(vec![sense("a"), model(Linear::new(1, 1, 1)), out(&["m"])])
            .row("P", 0, 7, &[2.0])
            .writes(&["P 1.0 @7 m=3 #1"])
            .letters(&[
                "P 0.0 @1 m: refuses 20",
                "P 0.1 @2 m: refuses 20",
                "P 0.2 @3 m: refuses 20",
                "P 0.3 @4 m: refuses 20",
                "P 0.4 @5 m: refuses 20",
            ]),
    ]
}

fn selectors() -> Vec<Golden> {
    let mut attributes = Attributes::new().declare("site", ElementType::I64);
    for key in ["P1", "P2"] {
        attributes.set(key, "site", &Value::I64(1)).expect("it is declared");
    }
    vec![
        golden("13: the most specific provider wins, then the highest priority", &[&["a"]])
            .plan_with(
                vec![
                    sense("a"),
                    times("n", "a", 1.0),
                    times("n", "a", 2.0).for_keys("P*").priority(1),
                    times("n", "a", 3.0).for_keys("?3").priority(2),
                    times("n", "a", 4.0).for_attribute("site", Value::I64(1)),
                    times("n", "a", 5.0).for_key("P1"),
                    out(&["n"]),
                ],
                attributes,
            )
            .row("M5", 0, 1000, &[1.0])
            .row("P1", 0, 1000, &[1.0])
            .row("P2", 0, 1000, &[1.0])
            .row("P3", 0, 1000, &[1.0])
            .row("P4", 0, 1000, &[1.0])
            .writes(&[
                "M5 0.0 @1000 n=1",
                "P1 1.0 @1000 n=5 by n@P1",
                "P2 2.0 @1000 n=4 by n@site=1",
                "P3 3.0 @1000 n=3 by n@?3",
                "P4 4.0 @1000 n=2 by n@P*",
            ]),
        golden("13: the state of a node that is overridden stands still", &[&["a"]])
            .plan(vec![sense("a"), total("n", "a"), out(&["n"])])
            .row("P", 0, 1000, &[1.0])
            .plan(vec![sense("a"), total("n", "a"), times("n", "a", 1.0).for_key("P"), out(&["n"])])
            .row("P", 0, 2000, &[10.0])
            .row("Q", 0, 1000, &[5.0])
            .plan(vec![sense("a"), total("n", "a"), out(&["n"])])
            .row("P", 0, 3000, &[2.0])
            .row("Q", 0, 2000, &[5.0])
            .writes(&[
                "P 0.0 @1000 n=1",
                "P 1.0 @2000 n=10 by n@P #1",
                "P 3.0 @3000 n=3 #2",
                "Q 2.0 @1000 n=5 #1",
                "Q 4.0 @2000 n=10 #2",
            ]),
    ]
}

fn families() -> Vec<Golden> {
    let family = |default| {
        let members = vec![(Key::from("P"), Linear::new(1, 1, 1))];
        let node = family_node("m", required("a"), provided(&["m"], ElementType::F32), members, default);
        vec![sense("a"), node, out(&["m"])]
    };
    vec![
        golden("14: a key that is no member gets the default, else reads missing", &[&["a"]])
            .plan(family(None))
            .row("P", 0, 1000, &[1.0])
            .row("Q", 0, 1000, &[1.0])
            .plan(family(Some(Linear::new(1, 1, 2))))
            .row("Q", 0, 2000, &[1.0])
            .row("P", 0, 2000, &[2.0])
            .writes(&["P 0.0 @1000 m=2", "P 3.0 @2000 m=3 #1", "Q 2.0 @2000 m=3 #1"]),
    ]
}

fn states() -> Vec<Golden> {
    vec![
        golden("15: only what a sink asks for runs, and what does not run forgets", &[&["a"]])
            .plan(vec![sense("a"), total("total", "a"), total("unused", "a"), out(&["total"])])
            .row("P", 0, 1000, &[1.0])
            .plan(vec![sense("a"), total("total", "a"), out(&["a"])])
            .row("P", 0, 2000, &[13.0]) // would fail
            .plan(vec![sense("a"), total("total", "a"), out(&["total"])])
            .row("P", 0, 3000, &[4.0])
            .writes(&["P 0.0 @1000 total=1", "P 1.0 @2000 a=13 #1", "P 2.0 @3000 total=4 #2"]),
        golden("4, 15: what a node remembers of its needs begins when it begins to run", &[&["a"], &["b"]])
            .plan(vec![sense("a"), sense("b"), out(&["b"])])
            .row("P", 1, 1000, &[7.0])
            .plan(vec![sense("a"), sense("b"), pair("n", "a", "b"), out(&["n"])])
            .row("P", 0, 1500, &[1.0])
            .row("P", 1, 1600, &[8.0])
            .row("P", 0, 1700, &[2.0])
            .writes(&["P 0.0 @1000 b=7", "P 1.0 @1500 n=99 #1", "P 3.0 @1700 n=208 #1"]),
        golden("15: a node keeps its state while its content stays", &[&["a"]])
            .plan(vec![sense("a"), total("total", "a"), out(&["total"])])
            .row("P", 0, 1000, &[1.0])
            .plan(vec![sense("a"), total("total", "a"), times("n", "a", 1.0), out(&["total", "n"])])
            .row("P", 0, 2000, &[2.0])
            .plan(vec![sense("a"), total("total", "a").version(2), out(&["total"])])
            .row("P", 0, 3000, &[4.0])
            .writes(&["P 0.0 @1000 total=1", "P 1.0 @2000 n=2 #1", "P 1.0 @2000 total=3 #1", "P 2.0 @3000 total=4 #2"]),
    ]
}

fn switches() -> Vec<Golden> {
    let waiting = |wait| {
        let node = either("n", "a", "b").on_all(Span::from_millis(wait));
        vec![sense("a"), sense("b"), node, total("t", "n"), out(&["n", "t"])]
    };
    vec![
        golden("16: rows that wait in a departing node complete under the old plan", &[&["a"], &["b"]])
            .plan(waiting(10_000))
            .row("P", 0, 1000, &[1.0])
            .row("P", 0, 2000, &[2.0])
            .plan(waiting(5_000)) // another content: born anew
            .row("P", 1, 3000, &[3.0])
            .row("P", 0, 3000, &[4.0])
            .writes(&[
                "P 1.end @1000 n=99",
                "P 1.end @1000 t=99",
                "P 1.end @2000 n=199",
                "P 1.end @2000 t=298",
                "P 3.0 @3000 n=403 #1",
                "P 3.0 @3000 t=701 #1",
            ]),
        golden("16: rows that wait in a node that goes on go on waiting", &[&["a"], &["b"]])
            .plan(waiting(10_000))
            .row("P", 0, 1000, &[1.0])
            .plan([waiting(10_000), vec![times("x", "a", 1.0)]].concat())
            .row("P", 1, 3000, &[3.0])
            .row("P", 0, 3000, &[2.0])
            .writes(&["P 1.0 @1000 n=99 #1", "P 1.0 @1000 t=99 #1", "P 2.0 @3000 n=203 #1", "P 2.0 @3000 t=302 #1"]),
        golden("16: a row is computed by the plan of its cause, and the intake forgets nothing", &[&["a"]])
            .intake(reorder(1000))
            .plan(vec![sense("a"), times("n", "a", 1.0), out(&["n"])])
            .row("P", 0, 1000, &[1.0])
            .plan(vec![sense("a"), times("n", "a", 10.0).version(2), out(&["n"])])
            .row("P", 0, 3000, &[2.0])
            .writes(&["P 1.0 @1000 n=10 #1"]),
    ]
}

fn sinks() -> Vec<Golden> {
    let model = model_node("score", required("a"), provided(&["score"], ElementType::F32), Linear::new(1, 1, 1));
    vec![
        golden("17: sinks get what they ask for, by name, by pattern, or all models", &[&["b", "a"]])
            .plan(vec![
                sense("a"),
                sense("b"),
                times("nx", "a", 1.0),
                times("ny", "b", 1.0).model(),
                model,
                sink("by-name", vec![Ask::Stream("score".into()), Ask::Stream("a".into())]),
                sink("by-pattern", vec![Ask::Pattern(Pattern("n*".into())), Ask::Stream("nx".into())]),
                sink("models", vec![Ask::AllModels]),
            ])
            .rows("P", 0, &[(1000, &[1.0, 2.0]), (2000, &[NO, 3.0])])
            .writes(&[
                "by-name:P 0.0 @1000 a=2",
                "by-name:P 0.0 @1000 score=3",
                "by-name:P 0.1 @2000 a=3",
                "by-name:P 0.1 @2000 score=4",
                "by-pattern:P 0.0 @1000 nx=2",
                "by-pattern:P 0.0 @1000 ny=1",
                "by-pattern:P 0.1 @2000 nx=3",
                "models:P 0.0 @1000 ny=1",
                "models:P 0.0 @1000 score=3",
                "models:P 0.1 @2000 score=4",
            ]),
    ]
}
