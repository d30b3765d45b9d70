//! Everything that is wrong with a topology is reported at once, with the names that are meant.

use gristmill::topology::need::Optional;
use gristmill::topology::{
    Accepts, Node, NodeKind, Topology, Work, all_models, matching, optional, previous, provide, sensor, sink,
};
use gristmill::traits::{Axes, Operator, Outputs, RowError, Rows};
use gristmill::words::{ElementType, Span, Value};
use gristmill::{Attribute, Stream};

const A: Stream<f64> = Stream::new("a");
const B: Stream<f64> = Stream::new("b");
const C: Stream<f64> = Stream::new("c");
const D: Stream<f64> = Stream::new("d");
const SITE: Attribute<f64> = Attribute::new("site");

fn narrow() -> Axes {
    Axes::Open { groups: Vec::new(), wide: false }
}

fn declared() -> Axes {
    Axes::Declared(vec![vec![("a".into(), ElementType::F64), ("b".into(), ElementType::I64)]])
}

fn same(value: f64) -> f64 {
    value
}

fn add(a: f64, b: f64) -> f64 {
    a + b
}

fn from(stream: Stream<f64>, need: Stream<f64>) -> Node {
    provide(stream).needs(need).by(same)
}

fn machine() -> Topology {
    Topology::new("machine").with(sensor(A))
}

/// Takes only `f32`.
#[derive(Debug)]
struct Picky;

impl Accepts<(f64,), (f64,)> for Picky {}

impl Operator for Picky {
    type State = ();
    fn name(&self) -> &'static str {
        "picky"
    }
    fn parameters(&self) -> String {
        String::new()
    }
    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Err("`picky` takes one f32".to_owned())
    }
    fn start(&self) {}
    fn run(&self, _state: &mut (), _rows: &Rows<'_>, _out: &mut Outputs<'_>) -> Result<(), RowError> {
        Ok(())
    }
}

/// Problems of a topology, each as its text.
fn problems(topology: &Topology, axes: Axes) -> Vec<String> {
    match topology.resolve_with(axes) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

type Case = (&'static str, Topology, Axes, &'static [&'static str]);

fn wrong_wires() -> Vec<Case> {
    let open = Axes::default;
    let vibration = Stream::<f64>::new("vibration");
    let wrong_type = provide(C).needs(Stream::<bool>::new("a")).by(|a: bool| f64::from(u8::from(a)));
    vec![
        ("nothing wrong", machine().with(from(B, A)), open(), &[]),
        (
            "unmet, with the nearest name",
            machine().with(sensor(vibration)).with(from(B, Stream::new("vibraton"))),
            open(),
            &["`b` needs `vibraton`, which nobody provides; did you mean `vibration`?"],
        ),
        (
            "unmet, nothing near",
            machine().with(from(B, Stream::new("temperature"))),
            open(),
            &["`b` needs `temperature`, which nobody provides"],
        ),
        (
            "an attribute that is not declared",
            machine().with(provide(B).needs((A, SITE)).by(add)),
            open(),
            &[
                "`b` needs the attribute `site`, which is not declared; declare it with `Attributes::declare` or in the attribute file",
            ],
        ),
        ("types", machine().with(wrong_type), open(), &["`a` is f64 as `a` provides it, but bool in `c`"]),
        (
            "a gate that is no bool",
            machine().with(from(B, A).when(&Stream::new("a"))),
            open(),
            &["`a` is f64 as `a` provides it, but bool in `b`"],
        ),
        (
            "two of one name",
            machine().with(from(B, A)).with(from(B, A).every(Span::from_secs(1))),
            open(),
            &["two nodes are named `b` and differ; name one of them otherwise with `.named(…)`"],
        ),
        (
            "two providers",
            machine().with(from(B, A)).with(from(B, A).named("other")),
            open(),
            &["`b` and `other` both provide `b` for the same keys; give one a selector or a higher `priority`"],
        ),
        (
            "an override that leaves something out",
            machine().with(provide((B, C)).needs(A).by(|a: f64| (a, a))).with(from(B, A).for_keys("P*")),
            open(),
            &["`b@P*` stands in for `b`, but does not provide `c`; an override provides all that the other does"],
        ),
        (
            "providers on other rows",
            machine().with(from(B, A)).with(from(B, A).every(Span::from_secs(1)).for_keys("P*")),
            open(),
            &["`b` has source 0 from `b`, but rows of b from `b@P*`; all providers of a stream need the same rows"],
        ),
        (
            "a cycle",
            machine().with(from(B, D)).with(from(C, B)).with(from(D, C)),
            open(),
            &["a cycle: `b` → `c` → `d` → `b`; close it with `previous(stream, initial)`"],
        ),
    ]
}

fn wrong_rows_and_settings() -> Vec<Case> {
    let open = Axes::default;
    vec![
        (
            "previous on other rows",
            machine().with(sensor(B)).with(provide(C).needs((A, previous(B, 0.0))).by(add)),
            narrow(),
            &["`c` needs `previous(b)`, which is on other rows (source 1) than its own (source 0)"],
        ),
        (
            "an operator that does not take it",
            machine().with(provide(B).needs(A).by(Picky)),
            open(),
            &["`b`: `picky` takes one f32"],
        ),
        (
            "settings",
            machine().with(from(B, A).as_of_rows(0).max_age(Span(-1)).every(Span(-1))),
            open(),
            &[
                "`b`: `as_of_rows` is 0; it must be from 1 to 1000000",
                "`b`: `max_age` is negative",
                "`b`: `every` is negative",
            ],
        ),
        (
            "a name",
            machine().with(from(Stream::new("b c"), A)),
            open(),
            &[
                "the name of a stream, `b c`, has ` ` in it; names are letters, digits and . _ - : / with no `..`, and start with a letter or digit",
                "the name of a node, `b c`, has ` ` in it; names are letters, digits and . _ - : / with no `..`, and start with a letter or digit",
            ],
        ),
        (
            "a sink of nothing",
            machine().with(sink("out").needs(Stream::<f64>::new("aa"))),
            open(),
            &["sink `out` asks for `aa`, which nobody provides; did you mean `a`?"],
        ),
        (
            "a source that does not bring it",
            machine().with(sensor(B)).with(sensor(C)),
            declared(),
            &[
                "sensor `b` reads `b` of f64, but the source brings it as i64",
                "sensor `c` reads `c` of f64, but the source brings `a`, `b`",
            ],
        ),
        (
            "no stream",
            machine().with(Node::new(
                "b",
                NodeKind::Operator,
                Vec::new(),
                vec![("b".into(), ElementType::F64)],
                function(),
            )),
            open(),
            &["`b`: it needs no stream, so it has no rows"],
        ),
        (
            "a sink of one key",
            machine().with(sink("out").needs(A).for_key("P1")),
            open(),
            &["`out@P1`: a sink cannot be limited to one key; use a pattern"],
        ),
        (
            "an attribute to select by",
            machine().with(from(B, A).for_attribute("line", Value::I64(1))),
            open(),
            &[
                "`b@line=1` needs the attribute `line`, which is not declared; declare it with `Attributes::declare` or in the attribute file",
            ],
        ),
    ]
}

/// The work of some closure, for nodes that are put together by hand.
fn function() -> Work {
    from(B, A).work
}

#[test]
fn each_problem_says_what_is_wrong_and_where() {
    for (what, topology, axes, expected) in wrong_wires().into_iter().chain(wrong_rows_and_settings()) {
        assert_eq!(problems(&topology, axes), expected, "{what}");
    }
}

/// All mistakes in one topology: none hides another, unless rows cannot be followed.
#[test]
fn all_problems_come_at_once() {
    let need: Optional<f64> = optional(Stream::new("nothing"));
    let topology = machine()
        .with(provide(B).needs((A, need)).by(|a: f64, b: Option<f64>| a + b.unwrap_or(0.0)))
        .with(from(B, A).named("other").as_of_rows(0))
        .with(from(C, D))
        .with(from(D, C))
        .with(sink("out").needs(Stream::<f64>::new("nowhere")).and(all_models()).and(matching("x*")))
        .with(sink("out").needs(A));
    let found = problems(&topology, declared());
    let expected = [
        "two nodes are named `out` and differ",
        "`other`: `as_of_rows` is 0",
        "`b` needs `nothing`",
        "sink `out` asks for `nowhere`",
        "`b` and `other` both provide `b`",
        "a cycle: `c` → `d` → `c`",
    ];
    for expected in expected {
        assert!(found.iter().any(|found| found.starts_with(expected)), "`{expected}` is not among {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn many_problems_are_counted() {
    let topology = machine()
        .with_all((0..60).map(|number| {
            from(Stream::named(format!("s{number}")), Stream::named(format!("unknown-stream-{number}")))
        }));
    let text = topology.resolve().err().expect("nothing is met").to_string();
    assert!(text.starts_with("60 problems in the topology:") && text.ends_with("… and 10 more"), "{text}");
}

#[test]
fn a_chain_of_thousands_of_nodes_resolves_on_a_small_stack() {
    let deep = || {
        let mut chain = machine();
        // Named so that the last of the chain is looked at first.
        let name = |place: usize| if place == 0 { "a".to_owned() } else { format!("s{:05}", 20_000 - place) };
        for place in 1..20_000 {
            chain = chain.with(from(Stream::named(name(place)), Stream::named(name(place - 1))));
        }
        let last: Stream<f64> = Stream::named(name(19_999));
        chain.with(sink("out").needs(last)).resolve().map(|plan| plan.base.nodes.len())
    };
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(deep).expect("a thread starts");
    assert_eq!(thread.join().expect("the stack is large enough").expect("nothing is wrong with it"), 20_001);
}
