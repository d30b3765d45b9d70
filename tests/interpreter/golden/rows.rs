//! Laws 1 to 8: how rows come in, and which rows a node has.

use gristmill::topology::{Attributes, BadReading, Missing, Node, provide, sensor};
use gristmill::words::{ElementType, Span, Value};
use gristmill::{Attribute, Stream};

use super::super::case::{BadRow, Intake};
use super::super::operators::Mix;
use super::Golden;
use super::words::{NO, either, golden, out, pair, positive, sense, times, total};

pub(super) fn all() -> Vec<Golden> {
    let mut all = intake();
    all.extend(sensors());
    all.extend(first());
    all.extend(on_any());
    all.extend(on_all());
    all.extend(gates());
    all.extend(missing());
    all
}

fn reorder(milliseconds: i64) -> Intake {
    Intake { reorder: Span::from_millis(milliseconds), ..Intake::default() }
}

fn intake() -> Vec<Golden> {
    let one = || vec![sense("a"), out(&["a"])];
    vec![
        golden("1: times rise strictly", &[&["a"]])
            .plan(one())
            .row("P", 0, 1000, &[1.0])
            .row("P", 0, 3000, &[2.0])
            .row("P", 0, 2000, &[3.0]) // late
            .row("P", 0, 3000, &[4.0]) // a second row of its time
            .row("P", 0, 4000, &[5.0])
            .row("Q", 0, 2000, &[6.0]) // another key's time is its own
            .writes(&["P 0.0 @1000 a=1", "P 1.0 @3000 a=2", "P 4.0 @4000 a=5", "Q 5.0 @2000 a=6"]),
        golden("1: rows are sorted in within `reorder`; the rest goes where it is sent", &[&["a"]])
            .intake(Intake { late: BadRow::DeadLetter, duplicate: BadRow::DeadLetter, ..reorder(1000) })
            .plan(one())
            .row("P", 0, 1000, &[1.0])
            .row("P", 0, 3000, &[2.0]) // releases 1000
            .row("P", 0, 2000, &[3.0]) // old enough at once
            .row("P", 0, 1500, &[4.0]) // late
            .row("P", 0, 3000, &[5.0]) // a row of this time waits
            .row("P", 0, 5000, &[6.0]) // releases 3000
            .writes(&["P 1.0 @1000 a=1", "P 2.0 @2000 a=3", "P 5.0 @3000 a=2"])
            .letters(&["P 3.0 @1500", "P 4.0 @3000"]),
        golden("1: a row too far ahead of its record's log time has no effect", &[&["a"]])
            .intake(Intake { max_ahead: Span::from_millis(1000), ..Intake::default() })
            .plan(one())
            .record("P", 0, Some(1000), &[(1500, &[1.0]), (2001, &[2.0]), (2000, &[3.0])])
            .record("P", 0, None, &[(9000, &[4.0])])
            .writes(&["P 0.0 @1500 a=1", "P 0.2 @2000 a=3", "P 1.0 @9000 a=4"])
            .letters(&["P 0.1 @2001"]),
        golden("1: the rows of a record that came in pieces are numbered on", &[&["a"], &["b"]])
            .plan(vec![sense("a"), sense("b"), out(&["a", "b"])])
            .rows("P", 0, &[(1000, &[1.0]), (1100, &[2.0])])
            .same_offset()
            .row("P", 1, 1000, &[3.0])
            .writes(&["P 0.0 @1000 a=1", "P 0.1 @1100 a=2", "P 0.2 @1000 b=3"]),
        golden("2: all rows of a cause are computed, in order of time", &[&["a"]])
            .intake(reorder(1000))
            .plan(vec![sense("a"), total("total", "a"), out(&["a", "total"])])
            .row("P", 0, 2000, &[2.0])
            .row("P", 0, 1500, &[3.0])
            .row("P", 0, 3500, &[9.0]) // releases both
            .writes(&["P 2.0 @1500 a=3", "P 2.0 @1500 total=3", "P 2.0 @2000 a=2", "P 2.0 @2000 total=5"]),
    ]
}

fn sensors() -> Vec<Golden> {
    let range = |name: &'static str| sensor(Stream::<f64>::new(name)).range(0.0..=10.0);
    let letters: Node = range("a").out_of_range(BadReading::DeadLetter).nan(BadReading::DeadLetter).into();
    vec![
        golden("1: a reading that is absent, NaN or out of range is missing, or the last one held", &[&["a", "b"]])
            .plan(vec![range("a").into(), range("b").hold_last().into(), out(&["a", "b"])])
            .row("P", 0, 1000, &[5.0, 6.0])
            .row("P", 0, 2000, &[11.0, 11.0])
            .row("P", 0, 3000, &[f64::NAN, NO])
            .row("P", 0, 4000, &[7.0, f64::NAN])
            .writes(&[
                "P 0.0 @1000 a=5",
                "P 0.0 @1000 b=6",
                "P 1.0 @2000 b=6",
                "P 2.0 @3000 b=6",
                "P 3.0 @4000 a=7",
                "P 3.0 @4000 b=6",
            ]),
        golden("12: a sensor can send bad readings to the dead letters, but not absent ones", &[&["a"]])
            .plan(vec![letters, out(&["a"])])
            .rows("P", 0, &[(1000, &[11.0]), (2000, &[f64::NAN]), (3000, &[NO]), (4000, &[4.0])])
            .writes(&["P 0.3 @4000 a=4"])
            .letters(&["P 0.0 @1000 a: 11", "P 0.1 @2000 a: not a number"]),
    ]
}

fn first() -> Vec<Golden> {
    let wires = |node: Node| vec![sense("a"), sense("b"), node, out(&["n"])];
    vec![
        golden("3, 4: needs on one axis are read in one row, whatever is missing", &[&["a", "b"]])
            .plan(wires(either("n", "a", "b")))
            .rows("P", 0, &[(1000, &[1.0, 2.0]), (2000, &[NO, 3.0]), (3000, &[4.0, NO]), (4000, &[NO, NO])])
            .writes(&["P 0.0 @1000 n=102", "P 0.1 @2000 n=-97", "P 0.2 @3000 n=399", "P 0.3 @4000 n=-101"]),
        golden("4: a need on another axis is read as of then, if it is not too old", &[&["a"], &["b"]])
            .plan(wires(pair("n", "a", "b").max_age(Span::from_millis(1000))))
            .row("P", 1, 1000, &[7.0])
            .row("P", 0, 1500, &[1.0])
            .row("P", 0, 2000, &[2.0])
            .row("P", 0, 2001, &[3.0]) // 7 is too old
            .row("P", 1, 1800, &[8.0]) // too late for the row at 2000
            .row("P", 0, 2500, &[4.0])
            .row("P", 1, 3000, &[9.0])
            .row("P", 0, 2700, &[5.0]) // 9 is of a later time
            .writes(&[
                "P 1.0 @1500 n=107",
                "P 2.0 @2000 n=207",
                "P 3.0 @2001 n=299",
                "P 5.0 @2500 n=408",
                "P 7.0 @2700 n=508",
            ]),
        golden("4: only the last `as_of_rows` values are remembered", &[&["a"], &["b"]])
            .plan(wires(pair("n", "a", "b").as_of_rows(2)))
            .rows("P", 1, &[(1000, &[1.0]), (2000, &[2.0]), (3000, &[3.0])])
            .row("P", 0, 2500, &[1.0])
            .row("P", 1, 4000, &[4.0])
            .row("P", 0, 2700, &[3.0]) // 2000 is forgotten
            .writes(&["P 1.0 @2500 n=102", "P 3.0 @2700 n=299"]),
        golden("4: the axis gives the rows even where only another need on it is provided", &[&["a", "b"], &["c"]])
            .plan(vec![
                sense("a").for_key("Q"),
                sense("b"),
                sense("c").for_key("Q"),
                either("n", "a", "b"),
                either("m", "c", "b"),
                out(&["n", "m"]),
            ])
            .row("P", 0, 1000, &[1.0, 2.0])
            .row("Q", 0, 1000, &[1.0, 2.0])
            .row("P", 1, 1000, &[5.0]) // nobody brings in P's c
            .row("Q", 1, 1000, &[5.0])
            .writes(&["P 0.0 @1000 n=-98", "Q 1.0 @1000 n=102", "Q 3.0 @1000 m=502"]),
    ]
}

fn on_any() -> Vec<Golden> {
    vec![
        golden("5: on_any has a row for each new time that any need brings", &[&["a"], &["b"]])
            .plan(vec![sense("a"), sense("b"), either("n", "a", "b").on_any(), out(&["n"])])
            .row("P", 0, 1000, &[1.0])
            .row("P", 1, 2000, &[2.0])
            .row("P", 0, 1500, &[3.0]) // not after 2000: a last value only
            .row("P", 1, 2500, &[4.0])
            .row("P", 0, 3000, &[NO]) // brings nothing
            .writes(&["P 0.0 @1000 n=99", "P 1.0 @2000 n=102", "P 3.0 @2500 n=304"]),
        golden("5: what one cause brings on several axes is one row", &[&["a"]])
            .plan(vec![
                sense("a"),
                times("x", "a", 2.0).every(Span::ZERO), // on an axis of its own
                either("n", "a", "x").on_any(),
                out(&["n"]),
            ])
            .row("P", 0, 1000, &[1.0])
            .writes(&["P 0.0 @1000 n=102"]),
    ]
}

fn on_all() -> Vec<Golden> {
    let wires = |wait| vec![sense("a"), sense("b"), either("n", "a", "b").on_all(Span::from_millis(wait)), out(&["n"])];
    vec![
        golden("6: on_all waits for the slower need, but not longer than it was told", &[&["a"], &["b"]])
            .plan(wires(2000))
            .row("P", 0, 1000, &[1.0])
            .row("P", 1, 1000, &[2.0]) // both have got to 1000
            .row("P", 0, 2000, &[3.0])
            .row("P", 0, 3000, &[4.0])
            .row("P", 1, 2500, &[5.0]) // both have got to 2500
            .row("P", 0, 5500, &[6.0]) // 3000 has waited 2000 and more
            .row("P", 1, 2800, &[7.0]) // not after 3000: a last value only
            .row("P", 1, 5500, &[8.0])
            .writes(&[
                "P 1.0 @1000 n=102",
                "P 4.0 @2000 n=302",
                "P 4.0 @2500 n=305",
                "P 5.0 @3000 n=405",
                "P 7.0 @5500 n=608",
            ]),
        golden("6, 11: a tick moves the clock of on_all", &[&["a"], &["b"]])
            .plan(wires(1000))
            .row("P", 0, 1000, &[1.0])
            .tick(1999)
            .row("Q", 0, 3000, &[5.0])
            .tick(2000)
            .writes(&["P 1.end @1000 n=99"]),
    ]
}

fn gates() -> Vec<Golden> {
    vec![
        golden("7: a gate on another axis is read as of then", &[&["a"], &["b"]])
            .plan(vec![
                sense("a"),
                sense("b"),
                positive("open", "b"),
                times("n", "a", 1.0).when(&Stream::new("open")),
                out(&["n"]),
            ])
            .row("P", 0, 1000, &[1.0])
            .row("P", 1, 1500, &[1.0])
            .row("P", 0, 2000, &[2.0])
            .row("P", 1, 2500, &[-1.0])
            .row("P", 0, 3000, &[3.0])
            .writes(&["P 2.0 @2000 n=2"]),
        golden("7: a gate on the same axis is read in the same row", &[&["a", "b"]])
            .plan(vec![
                sense("a"),
                sense("b"),
                positive("open", "b"),
                times("n", "a", 1.0).when(&Stream::new("open")),
                out(&["n"]),
            ])
            .rows("P", 0, &[(1000, &[1.0, 1.0]), (2000, &[2.0, NO]), (3000, &[3.0, -1.0]), (4000, &[4.0, 1.0])])
            .writes(&["P 0.0 @1000 n=1", "P 0.3 @4000 n=4"]),
        golden("3, 7: every thins, and what it leaves is an axis of its own", &[&["a"]])
            .plan(vec![
                sense("a"),
                times("n", "a", 1.0).every(Span::from_millis(1000)),
                pair("m", "n", "a"),
                out(&["m"]),
            ])
            .rows("P", 0, &[(1000, &[1.0]), (1500, &[2.0]), (2000, &[3.0]), (2900, &[4.0]), (3100, &[5.0])])
            .writes(&["P 0.0 @1000 m=101", "P 0.2 @2000 m=303", "P 0.4 @3100 m=505"]),
        golden("5, 7: a row that a gate kept back was no row of the node", &[&["a"], &["b"], &["c"]])
            .plan(vec![
                sense("a"),
                sense("b"),
                sense("c"),
                positive("open", "c"),
                either("n", "a", "b").on_any().when(&Stream::new("open")),
                out(&["n"]),
            ])
            .row("P", 2, 500, &[1.0])
            .row("P", 0, 1000, &[1.0])
            .row("P", 2, 2500, &[-1.0])
            .row("P", 0, 3000, &[2.0]) // kept back
            .row("P", 1, 2000, &[3.0]) // after the last row, and the gate was open then
            .writes(&["P 1.0 @1000 n=99", "P 4.0 @2000 n=103"]),
    ]
}

fn missing() -> Vec<Golden> {
    let ten = |name: &'static str| {
        provide(Stream::<f64>::new(name))
            .needs((Stream::<f64>::new("a"), Stream::<f64>::new("b")))
            .by(|a: f64, b: f64| a * 10.0 + b)
    };
    let mut pass = ten("pass").missing(Missing::Pass);
    pass.work = gristmill::topology::Work::Operator(std::sync::Arc::new(Mix { salt: 0 })); // a / 2 + b, holes 0.5
    let rated = |name: &'static str| {
        provide(Stream::<f64>::new(name))
            .needs((Stream::<f64>::new("a"), Attribute::<f64>::new("rating")))
            .by(|a: f64, rating: f64| a * rating)
    };
    let mut attributes = Attributes::new().declare("rating", ElementType::F64);
    attributes.set("P", "rating", &Value::F64(2.0)).expect("it is declared");
    vec![
        golden("8: what a missing value does", &[&["a", "b"]])
            .plan(vec![
                sense("a"),
                sense("b"),
                ten("skip"),
                ten("last").missing(Missing::Last),
                ten("zero").missing(Missing::Default(0.0)),
                pass,
                out(&["skip", "last", "zero", "pass"]),
            ])
            .row("P", 0, 500, &[NO, 9.0])
            .row("P", 0, 1000, &[1.0, NO])
            .row("P", 0, 2000, &[NO, 3.0])
            .row("P", 0, 3000, &[4.0, 5.0])
            .writes(&[
                "P 0.0 @500 pass=9.25",
                "P 0.0 @500 zero=9",
                "P 1.0 @1000 last=19",
                "P 1.0 @1000 pass=1",
                "P 1.0 @1000 zero=10",
                "P 2.0 @2000 last=13",
                "P 2.0 @2000 pass=3.25",
                "P 2.0 @2000 zero=3",
                "P 3.0 @3000 last=45",
                "P 3.0 @3000 pass=7",
                "P 3.0 @3000 skip=45",
                "P 3.0 @3000 zero=45",
            ]),
        golden("8: an attribute that is not known is a missing value", &[&["a"]])
            .plan_with(
                vec![sense("a"), rated("n"), rated("m").missing(Missing::Default(5.0)), out(&["n", "m"])],
                attributes,
            )
            .row("P", 0, 1000, &[3.0])
            .row("Q", 0, 1000, &[3.0])
            .writes(&["P 0.0 @1000 m=6", "P 0.0 @1000 n=6", "Q 1.0 @1000 m=15"]),
    ]
}
