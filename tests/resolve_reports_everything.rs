//! Everything that is wrong with a topology is reported at once, with the names that are meant.

use gristmill::topology::need::Optional;
use gristmill::topology::{
    Accepts, Attributes, Missing, Node, NodeKind, Topology, Work, all_models, matching, optional, previous, provide,
    sensor, sink,
};
use gristmill::traits::{Axes, Operator, Outputs, RowError, Rows};
use gristmill::words::{ElementType, Span, Value};
use gristmill::{Attribute, Stream};
use smol_str::SmolStr;

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

/// All mistakes in one topology: none hides another.
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

const SECOND: Span = Span::from_secs(1);

fn named(name: &'static str) -> Stream<f64> {
    Stream::new(name)
}

/// Nodes of the class that are wrong in every way.
fn wrong_class() -> Topology {
    let two = provide((named("whole"), named("half"))).needs(A).by(|a: f64| (a, a));
    machine()
        .with(sensor(named("e")))
        .with(sensor(named("absent")))
        .with(from(named("unmet"), named("vibraton")))
        .with_all([from(C, D), from(D, C)])
        .with_all([from(named("rows"), A), from(named("rows"), A).every(SECOND).for_keys("P*")])
        .with(provide(named("elsewhere")).needs((A, previous(named("e"), 0.0))).by(add))
        .with(provide(named("loop.a")).needs((A, previous(named("loop.b"), 0.0))).by(add))
        .with(from(named("loop.b"), named("loop.a")).slow(SECOND))
        .with(provide(named("typed")).needs(Stream::<bool>::new("a")).by(|a: bool| f64::from(u8::from(a))))
        .with_all([from(named("twice"), A), from(named("second"), A).named("twice")])
        .with_all([from(named("rival"), A), from(named("rival"), A).named("other")])
        .with_all([two, from(named("whole"), A).for_keys("P*")])
        .with(provide(named("site")).needs((A, SITE)).by(add))
        .with(from(named("setting"), A).as_of_rows(0))
        .with(provide(named("picky")).needs(A).by(Picky))
        .with(from(Stream::new("b c"), A).named("name"))
        .with_all([from(named("t"), named("s")), from(named("s"), A)])
        .with(sink("out").needs(named("nowhere")).and(matching("*")))
}

/// The same of nodes of single keys.
fn wrong_keys() -> Vec<Node> {
    vec![
        from(named("own"), A).for_key("P1"),
        from(named("own"), A).named("own2").for_key("P1"),
        from(named("s"), named("t")).for_key("P2"),
        from(named("whole"), A).for_key("P3"),
        from(named("type"), A).for_key("P4"),
        provide(Stream::<f32>::new("type")).needs(A).by(|a: f64| a as f32).for_key("P5"),
        from(named("own.rows"), A).for_key("P4"),
        from(named("own.rows"), A).every(SECOND).for_key("P5"),
        from(named("own.unmet"), named("temperature")).for_key("P6"),
        from(named("loop.a"), named("loop.b")).for_key("P7"),
    ]
}

/// Nodes that are not wrong themselves: they are behind those, or what else could be said of them is said already.
fn behind() -> Vec<Node> {
    let past = |provides, needs, past| provide(named(provides)).needs((needs, previous(named(past), 0.0))).by(add);
    vec![
        from(named("absent.behind"), named("absent")),
        past("absent.past", A, "absent.behind"),
        from(named("unmet.behind"), named("unmet")),
        past("unmet.past", named("e"), "unmet.behind"),
        from(named("unmet.behind"), A).every(SECOND).for_keys("X*"),
        past("c.past", C, "a"),
        past("c.loop", C, "d.loop"),
        from(named("d.loop"), named("c.loop")),
        from(named("second.behind"), named("second")),
        past("second.past", named("second.behind"), "e"),
        from(C, D).for_key("P8"),
    ]
}

const ALL: [&str; 22] = [
    "sensor `absent` reads `absent` of f64, but the source brings `a`, `e`",
    "`unmet` needs `vibraton`, which nobody provides",
    "a cycle: `c` → `d` → `c`; close it with `previous(stream, initial)`",
    "`rows` has source 0 from `rows`, but rows of rows from `rows@P*`; all providers of a stream need the same rows",
    "`elsewhere` needs `previous(e)`, which is on other rows (source 1) than its own (source 0)",
    "`loop.b` is in a loop, but it is slow; a loop advances row by row on the shard's thread",
    "`a` is f64 as `a` provides it, but bool in `typed`",
    "two nodes are named `twice` and differ; name one of them otherwise with `.named(…)`",
    "`other` and `rival` both provide `rival` for the same keys; give one a selector or a higher `priority`",
    "`whole@P*` stands in for `whole`, but does not provide `half`; an override provides all that the other does",
    "`site` needs the attribute `site`, which is not declared; declare it with `Attributes::declare` or in the attribute file",
    "`setting`: `as_of_rows` is 0; it must be from 1 to 1000000",
    "`picky`: `picky` takes one f32",
    "the name of a stream, `b c`, has ` ` in it; names are letters, digits and . _ - : / with no `..`, and start with a letter or digit",
    "sink `out` asks for `nowhere`, which nobody provides",
    "`own2@P1` and `own@P1` both provide `own` for the same keys; give one a selector or a higher `priority`",
    "a cycle: `s@P2` → `t` → `s@P2`; close it with `previous(stream, initial)`",
    "`whole@P3` stands in for `whole`, but does not provide `half`; an override provides all that the other does",
    "`type` is f64 as `type@P4` provides it, but f32 in `type@P5`",
    "`own.rows` has source 0 from `own.rows@P4`, but rows of own.rows from `own.rows@P5`; all providers of a stream need the same rows",
    "`own.unmet@P6` needs `temperature`, which nobody provides",
    "`loop.a` is in a loop, but `loop.a` is also provided by a node of one key; use a family, or an attribute",
];

/// No kind of problem hides another, and none is told twice: what is only behind a problem is not one.
#[test]
fn a_problem_of_each_kind_is_reported_and_no_other() {
    let axes = Axes::Declared(vec![vec![("a".into(), ElementType::F64)], vec![("e".into(), ElementType::F64)]]);
    let mut found = problems(&wrong_class().with_all(wrong_keys()).with_all(behind()), axes);
    let mut expected = ALL.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// Bug: a default that cannot stand in for an attribute was accepted, and rows of keys without it were skipped. Cause: only
/// streams were compared with it. Fix: attributes are as well.
#[test]
fn a_default_must_be_of_the_types_of_streams_and_attributes() {
    const NAME: Attribute<SmolStr> = Attribute::new("name");
    const LOT: Attribute<i64> = Attribute::new("lot");
    let found = |default: f64| {
        let known = Attributes::new().declare("name", ElementType::Str).declare("lot", ElementType::I64);
        let named = provide(B).needs((A, NAME)).by(|a: f64, _: SmolStr| a).missing(Missing::Default(default));
        let lots = provide(C).needs((A, LOT)).by(|a: f64, lot: i64| a * lot as f64).missing(Missing::Default(default));
        problems(&machine().attributes(known).with(named).with(lots), Axes::default())
    };
    // Nothing stands in for a text: a key without it has no rows.
    assert_eq!(found(0.0), [""; 0]);
    assert_eq!(found(0.5), ["`c`: 0.5 cannot stand in for `lot`, which is i64"]);
}

#[test]
fn a_cycle_of_one_keys_nodes_is_a_path_with_the_nodes_of_the_class_in_it() {
    let chain = |name, need: &'static str| from(Stream::new(name), Stream::new(need));
    let own = [chain("x", "y").for_key("P1"), chain("y", "z").for_key("P1"), chain("z", "x").for_key("P1")];
    let every = || sink("out").needs(matching("*"));
    let found = problems(&machine().with_all(own).with(every()), Axes::default());
    assert_eq!(found, ["a cycle: `x@P1` → `z@P1` → `y@P1` → `x@P1`; close it with `previous(stream, initial)`"]);

    // The class reads `x`, two nodes further the key's node reads what came of it.
    let class = [from(Stream::new("x"), A), chain("m", "x"), chain("l", "m")];
    let own = [chain("x", "w").for_key("P1"), chain("w", "l").for_key("P1"), chain("apart", "x").for_key("P2")];
    let found = problems(&machine().with_all(class).with_all(own).with(every()), Axes::default());
    assert_eq!(found, ["a cycle: `w@P1` → `x@P1` → `m` → `l` → `w@P1`; close it with `previous(stream, initial)`"]);
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
