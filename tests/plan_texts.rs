//! What a plan looks like to people and programs.

use gristmill::Stream;
use gristmill::topology::{Family, Missing, Node, Topology, Work, all_models, previous, provide, sensor, sink};
use gristmill::words::{Key, Span};
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

/// The twins of a pump with these nodes, as its table and its JSON have them.
fn twins(nodes: impl IntoIterator<Item = Node>) -> (Vec<String>, serde_json::Value) {
    let every = sink("out").needs(gristmill::topology::matching("*"));
    let plan = Topology::new("pump").with(sensor(VIBRATION)).with_all(nodes).with(every).resolve();
    let plan = plan.expect("nothing is wrong with it");
    let told = plan.to_string().lines().filter(|line| line.starts_with("twins")).map(str::to_owned).collect();
    (told, plan.to_json()["twins"].take())
}

/// A node of this name over the vibration.
fn over(name: &str, work: Work) -> Node {
    provide(Stream::<f32>::named(name)).needs(VIBRATION).by(work)
}

fn twice(name: &str) -> Node {
    provide(Stream::<f32>::named(name)).needs(VIBRATION).by(equal_work::Twice)
}

fn model(name: &str, artifact: u8) -> Node {
    over(name, Work::Model(equal_work::artifact(artifact)))
}

fn family(name: &str, members: &[(&str, u8)], default: Option<u8>) -> Node {
    let members = members.iter().map(|(key, artifact)| (Key::from(*key), equal_work::artifact(*artifact)));
    over(name, Work::Family(Family { members: members.collect(), default: default.map(equal_work::artifact) }))
}

#[test]
fn twins_are_pointed_out() {
    let pair = |one: Node, other: Node| twins([one, other]);
    let told = (vec!["twins: `a` and `b` compute the same".to_owned()], json!([["a", "b"]]));
    let members = [("P1", 1), ("P2", 2)];
    let alike = [
        pair(twice("a"), twice("b")),
        pair(model("a", 1), model("b", 1)),
        pair(family("a", &members, Some(3)), family("b", &members, Some(3))),
        pair(family("a", &members, None), family("b", &members, None)),
    ];
    alike.into_iter().for_each(|twins| assert_eq!(twins, told));
}

#[test]
fn nodes_that_differ_in_what_they_compute_are_no_twins() {
    let members = [("P1", 1), ("P2", 2)];
    let pairs = [
        (twice("a"), twice("b").as_of_rows(8)),
        (twice("a"), twice("b").max_age(Span::from_secs(1))),
        (twice("a"), twice("b").every(Span::from_secs(1))),
        (twice("a"), twice("b").missing(Missing::Last)),
        (twice("a"), twice("b").for_keys("P*")),
        (twice("a"), twice("b").slow(Span::from_secs(1))),
        (model("a", 1), model("b", 2)),
        (model("a", 1), model("b", 1).as_of_rows(8)),
        (family("a", &members, None), family("b", &members, Some(3))),
        (family("a", &members, Some(3)), family("b", &members, Some(4))),
        (family("a", &members, None), family("b", &members[..1], None)),
        (family("a", &members, None), family("b", &[("P1", 1), ("P2", 1)], None)),
        (family("a", &members, None), family("b", &members, None).as_of_rows(8)),
        (over("a", function()), over("b", function())),
        (twice("a").for_key("P1"), twice("b").for_key("P2")),
    ];
    for (one, other) in pairs {
        let pair = format!("{one:?}\n{other:?}");
        assert_eq!(twins([one, other]), (Vec::new(), json!([])), "{pair}");
    }
}

/// The work of some closure.
fn function() -> Work {
    provide(WEAR).needs(VIBRATION).by(|v: f32| v).work
}

/// A family for one key is the model of that key.
#[test]
fn twins_among_the_nodes_of_single_keys_are_named_once_for_all_keys() {
    let keys = ["P1", "P2", "P3", "P4"];
    let own = keys.iter().flat_map(|key| {
        [model("a", 1).for_key(*key), family("b", &[(key, 1)], None).for_key(*key), twice("c").for_key(*key)]
    });
    let (table, json) = twins(own);
    assert_eq!(table, ["twins: `a` and `b` compute the same for 4 keys: P1, P2, P3, …"]);
    assert_eq!(json, json!([["a@P1", "b@P1"], ["a@P2", "b@P2"], ["a@P3", "b@P3"], ["a@P4", "b@P4"]]));
}

mod equal_work {
    use std::sync::{Arc, LazyLock};

    use gristmill::topology::Accepts;
    use gristmill::traits::{Digest, Model, Operator, Outputs, Port, RowError, Rows, ScoreError};
    use gristmill::words::{ColumnMut, ColumnRef, ElementType};

    static PORTS: LazyLock<[Port; 1]> = LazyLock::new(|| [Port { name: None, element: ElementType::F32 }]);

    /// A model of which only its artifact is known.
    #[derive(Debug)]
    struct Artifact(u8);

    impl Model for Artifact {
        fn inputs(&self) -> &[Port] {
            &*PORTS
        }
        fn outputs(&self) -> &[Port] {
            &*PORTS
        }
        fn score(&self, _inputs: &[ColumnRef<'_>], _outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
            Ok(())
        }
        fn bytes(&self) -> usize {
            1
        }
        fn digest(&self) -> Digest {
            Digest([self.0; 32])
        }
    }

    /// The model with this artifact, loaded anew.
    pub(super) fn artifact(number: u8) -> Arc<dyn Model> {
        Arc::new(Artifact(number))
    }

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
