//! Sinks that are limited to some keys get what they ask for of these, and take nothing from the others.

use gristmill::topology::replay::again;
use gristmill::topology::{Attributes, Node, Topology, matching, provide, sensor, sink};
use gristmill::words::{Binding, ElementType, Key, Time, Value};
use gristmill::{Bench, Stream};

const VIBRATION: Stream<f32> = Stream::new("vibration");
const WEAR: Stream<f32> = Stream::new("wear");
const ALARM: Stream<bool> = Stream::new("alarm");

fn at(second: i64) -> Time {
    Time::from_secs(second)
}

fn wear(most: f32) -> Node {
    provide(WEAR).needs(VIBRATION).by(move |vibration: f32| vibration / most)
}

fn pump() -> Topology {
    let alarm = provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.8);
    Topology::new("pump").with(sensor(VIBRATION)).with(wear(50.0)).with(alarm)
}

/// Keys, nodes and values that a sink was given of `wear`, sorted.
fn wears(bench: &mut Bench, binding: &str) -> Vec<(String, String, f32)> {
    let of_wear = |output: &&gristmill::in_process::Output| output.stream.as_str() == "wear";
    let value = |value: &Value| if let Value::F32(value) = value { *value } else { f32::NAN };
    let written = bench.written(binding).iter().filter(of_wear);
    let mut wears: Vec<(String, String, f32)> =
        written.map(|output| (output.key.to_string(), output.node.to_string(), value(&output.value))).collect();
    wears.sort_by(|one, other| one.partial_cmp(other).expect("none is NaN"));
    wears
}

/// Bug: what a key's own node provides went to a sink that had not asked for it, or to none, where a sink before it did not
/// take the key. Cause: sinks were numbered among all, and looked up among those that take the key. Fix: one numbering.
#[test]
fn what_a_keys_own_node_provides_goes_to_the_sinks_that_ask_for_it() {
    let mut known = Attributes::new().declare("site", ElementType::Str);
    for (key, site) in [("P1", "north"), ("M1", "south")] {
        known.set(key, "site", &Value::Str(site.into())).expect("it is declared");
    }
    let pump = pump()
        .attributes(known)
        .with(wear(25.0).for_key("P1"))
        .with(wear(100.0).for_key("M1"))
        .with(sink("alarms").needs(ALARM).for_keys("M*"))
        .with(sink("few").needs(WEAR).for_attribute("site", Value::Str("south".into())))
        .with(sink("many").needs(matching("wear")).for_keys("P*"))
        .with(sink("out").needs(WEAR));
    let mut bench = pump.bench();
    for key in ["P1", "P2", "M1", "M2"] {
        bench.row(key, at(1)).set(VIBRATION, 50.0);
    }
    let written = |key: &str, node: &str, value: f32| (key.to_owned(), node.to_owned(), value);
    let own = [written("P1", "wear@P1", 2.0), written("P2", "wear", 1.0)];
    assert_eq!(wears(&mut bench, "many"), own);
    let south = written("M1", "wear@M1", 0.5);
    assert_eq!(wears(&mut bench, "few"), std::slice::from_ref(&south));
    let all = [south, written("M2", "wear", 1.0), own[0].clone(), own[1].clone()];
    assert_eq!(wears(&mut bench, "out"), all);
    assert_eq!(bench.read(WEAR, "P1"), [(at(1), 2.0)]);
    let mut alarms: Vec<String> =
        bench.written("alarms").iter().map(|output| format!("{} {}", output.key, output.value)).collect();
    alarms.sort();
    assert_eq!(alarms, ["M1 false", "M2 true"]);
}

/// Bug: a dead letter that was replayed was written to every sink that asks for its streams, whichever keys it takes. Fix: a
/// sink that does not take the key is passed over.
#[test]
fn a_replayed_row_goes_to_the_sinks_that_take_its_key() {
    let pump = pump().with(sink("all").needs(WEAR)).with(sink("few").needs(matching("*")).for_keys("M*"));
    let plan = pump.resolve().expect("nothing is wrong with it");
    let given = [("vibration".to_owned(), Value::F32(10.0))];
    let sinks = |key: &str| -> Vec<Binding> {
        let done = again(&plan, &Key::from(key), &"wear".into(), at(1), &given).expect("it can be computed");
        done.writes.into_keys().collect()
    };
    assert_eq!(sinks("P1"), [Binding::from("all")]);
    assert_eq!(sinks("M1"), [Binding::from("all"), Binding::from("few")]);
}
