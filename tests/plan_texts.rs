//! What a plan looks like to people and programs.

use gristmill::Stream;
use gristmill::topology::{Missing, Topology, all_models, previous, provide, sensor, sink};
use gristmill::words::Span;
use serde_json::json;

const VIBRATION: Stream<f32> = Stream::new("vibration");
const WEAR: Stream<f32> = Stream::new("wear");
const FAILURE: Stream<f32> = Stream::new("failure");
const ALARM: Stream<bool> = Stream::new("alarm");
const CALM: Stream<f32> = Stream::new("calm");

fn pump() -> Topology {
    let wear = |vibration: f32, before: f32| before + vibration;
    Topology::new("pump")
        .with(sensor(VIBRATION).from("VIB"))
        .with(provide(WEAR).needs((VIBRATION, previous(WEAR, 0.0))).by(wear).model())
        .with(provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.8).missing(Missing::Last))
        .with(provide(CALM).needs(VIBRATION).by(|v: f32| v).every(Span::from_secs(60)))
        .with(sink("predictions").needs(all_models()).and(ALARM))
        .with(provide(FAILURE).needs(Stream::<f32>::new("pressure")).by(|p: f32| p).model().pending())
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_table_shows_what_runs_and_what_does_not() {
    let expected = "\
pump, revision 1: 4 nodes
#  node         kind      runs      needs                         provides          rows                    keys
1  vibration    sensor              column VIB                    vibration: f32    source 0                all
2  wear         model     function  vibration, previous(wear, 0)  wear: f32         source 0                all
3  alarm        operator  function  wear                          alarm: bool       source 0, missing: last  all
4  predictions  sink                all models, alarm             (to predictions)                          all
unused: `calm`, as no sink asks for what it provides
pending: `failure` until somebody provides `pressure`";
    let plan = pump().resolve().expect("nothing is wrong with it");
    assert_eq!(lines(&plan.to_string()), lines(expected), "{plan}");
}

#[test]
fn rows_that_are_put_together_say_how() {
    let narrow = gristmill::traits::Axes::Open { groups: Vec::new(), wide: false };
    let pump = Topology::new("pump")
        .with(sensor(VIBRATION))
        .with(sensor(CALM))
        .with(provide(WEAR).needs((VIBRATION, CALM)).by(|a: f32, b: f32| a + b).as_of_rows(8))
        .with(provide(FAILURE).needs((WEAR, CALM)).by(|a: f32, b: f32| a + b).on_all(Span::from_secs(2)))
        .with(sink("out").needs(FAILURE));
    let table = pump.resolve_with(narrow).expect("nothing is wrong with it").to_string();
    assert!(table.contains("source 1, as of then, max_age 10 s, last 8 rows"), "{table}");
    assert!(table.contains("on all needs, wait 2 s, as of then, max_age 10 s"), "{table}");
}

#[test]
fn thousands_of_nodes_of_single_keys_are_summed_up() {
    let own = (0..5_000)
        .map(|number| provide(FAILURE).needs(VIBRATION).by(|v: f32| v).model().for_key(format!("P{number:04}")));
    let plan = pump().with_all(own).resolve();
    // `failure` is provided for some keys now, and the pending node of all keys still lacks its need.
    let table = plan.expect("nothing is wrong with it").to_string();
    assert!(table.starts_with("pump, revision 1: 4 nodes and 5000 of single keys"), "{table}");
    assert!(table.contains("5000 keys: P0000, P0001, P0002, …"), "{table}");
    assert!(table.lines().count() < 12, "{table}");
}

#[test]
fn twins_are_pointed_out() {
    let model = |name: &str| provide(Stream::<f32>::named(name)).needs(VIBRATION).by(two_operators::Twice);
    let plan = Topology::new("pump")
        .with(sensor(VIBRATION))
        .with(model("a"))
        .with(model("b"))
        .with(sink("out").needs(gristmill::topology::matching("*")))
        .resolve();
    let table = plan.expect("nothing is wrong with it").to_string();
    assert!(table.ends_with("twins: `a` and `b` compute the same"), "{table}");
}

mod two_operators {
    use gristmill::topology::Accepts;
    use gristmill::traits::{Operator, Outputs, RowError, Rows};
    use gristmill::words::ElementType;

    /// Doubles a value.
    #[derive(Debug)]
    pub(super) struct Twice;

    impl Accepts<(f32,), (f32,)> for Twice {}

    impl Operator for Twice {
        type State = ();
        fn name(&self) -> &'static str {
            "twice"
        }
        fn parameters(&self) -> String {
            String::new()
        }
        fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
            Ok(())
        }
        fn start(&self) {}
        fn run(&self, _state: &mut (), rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
            out.f32(0).iter_mut().zip(rows.f32(0)).for_each(|(out, value)| *out = 2.0 * value);
            Ok(())
        }
    }
}

#[test]
fn the_figure_has_every_wire() {
    let dot = pump().resolve().expect("nothing is wrong with it").to_dot();
    let expected = r#"digraph "pump" {
  rankdir=LR;
  "vibration" [shape=house];
  "wear" [shape=box, style=bold];
  "alarm" [shape=box];
  "predictions" [shape=cylinder];
  "vibration" -> "wear" [label="vibration"];
  "wear" -> "wear" [label="wear", style=dashed];
  "wear" -> "alarm" [label="wear"];
  "alarm" -> "predictions" [label="alarm"];
  "wear" -> "predictions" [label="wear"];
}
"#;
    assert_eq!(dot, expected);
}

#[test]
fn json_has_stable_fields() {
    let plan = pump().resolve().expect("nothing is wrong with it").to_json();
    assert_eq!(plan["class"], json!("pump"));
    assert_eq!(plan["pending"], json!([{ "node": "failure", "lacks": ["pressure"] }]));
    assert_eq!(plan["unused"], json!(["calm"]));
    assert_eq!(plan["key_node_count"], json!(0));
    let expected = json!({
        "node": "wear",
        "kind": "model",
        "runs": "function",
        "born": 1,
        "needs": [
            { "name": "vibration", "element": "f32", "how": "required", "initial": null, "same_row": true },
            { "name": "wear", "element": "f32", "how": "previous", "initial": "0", "same_row": true },
        ],
        "takes": [],
        "provides": [{ "name": "wear", "element": "f32" }],
        "rows": {
            "of": "source 0",
            "rule": "first",
            "every_us": null,
            "when": null,
            "max_age_us": 10_000_000,
            "as_of_rows": 1024,
            "missing": "skip",
        },
        "selector": "class",
        "priority": 0,
        "loop": null,
    });
    assert_eq!(plan["nodes"][1], expected);
}
