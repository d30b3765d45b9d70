//! Manifests and topology files: both syntaxes say the same, what is wrong is all said at once, nothing panics.
//! `UPDATE=1 cargo test -p gristmill-tests --release --test manifest` writes the expected texts anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill::topology::{
    Manifest, ManifestErrors, Node, NodeKind, Registry, Selector, Topology, TopologyFile, Work, optional, provide,
    read_attributes, sensor, sink,
};
use gristmill::traits::{Digest, Format, LoadError, Model, Operator, Outputs, Port, RowError, Rows, ScoreError};
use gristmill::words::{Column, ColumnMut, ColumnRef, Key, Span};
use gristmill::{ElementType, Stream, Value};
use serde::Deserialize;

/// An operator that does nothing but have parameters.
#[derive(Debug)]
struct Rolling {
    rows: u64,
}

impl Operator for Rolling {
    type State = ();

    fn name(&self) -> &'static str {
        "rolling"
    }

    fn parameters(&self) -> String {
        format!("{{\"rows\":{}}}", self.rows)
    }

    fn check(&self, needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        if needs.contains(&ElementType::Bool) { Err("it takes numbers, not bool".to_owned()) } else { Ok(()) }
    }

    fn start(&self) {}

    fn run(&self, _state: &mut (), _rows: &Rows<'_>, _out: &mut Outputs<'_>) -> Result<(), RowError> {
        Ok(())
    }
}

/// A model whose every output is the sum of its inputs, each weighted by its number, times the number of the output,
/// plus the number of the element where it is a vector.
#[derive(Debug)]
struct Sum {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    digest: Digest,
}

impl Model for Sum {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        for (number, output) in outputs.iter_mut().enumerate() {
            let (width, output) = match output {
                ColumnMut::F32(output) => (1, &mut **output),
                ColumnMut::Vector { width, values } => (*width, &mut **values),
                _ => continue,
            };
            for (row, values) in output.chunks_mut(width).enumerate() {
                let inputs = inputs.iter().zip(1..);
                let sum: f64 = inputs.map(|(input, weight)| input.number(row) * f64::from(weight)).sum();
                values.iter_mut().zip(0..).for_each(|(value, at)| *value = sum as f32 * number as f32 + at as f32);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}

struct Fake;

#[derive(Deserialize)]
struct FakeArtifact {
    inputs: Vec<Option<String>>,
    outputs: Vec<(String, ElementType)>,
}

impl Format for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Model>, LoadError> {
        let artifact: FakeArtifact = serde_json::from_slice(bytes)
            .map_err(|_| LoadError { reason: "it does not begin as a fake model does".to_owned() })?;
        let mut digest = [0_u8; 32];
        for (index, byte) in bytes.iter().enumerate() {
            digest[index % 32] = digest[index % 32].wrapping_mul(31).wrapping_add(*byte);
        }
        let inputs = artifact.inputs.into_iter().map(|name| Port { name, element: ElementType::F32 });
        let outputs = artifact.outputs.into_iter().map(|(name, element)| Port { name: Some(name), element });
        Ok(Arc::new(Sum { inputs: inputs.collect(), outputs: outputs.collect(), digest: Digest(digest) }))
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.register_format(Fake).register("rolling", |parameters, _, _| {
        let rows = parameters["rows"].as_u64().ok_or("`rows` is a whole number from 1")?;
        Ok(Work::Operator(Arc::new(Rolling { rows })))
    });
    registry
}

fn good(name: &str) -> PathBuf {
    Path::new("manifests/good").join(name)
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder); // what an earlier run left
    fs::create_dir_all(&folder).expect("the folder of temporary files can be written");
    folder
}

/// What can be compared of nodes.
fn contents<'n>(nodes: impl Iterator<Item = &'n Node>) -> Vec<String> {
    nodes
        .map(|node| {
            format!("{} {:?} {} {:?} {}", node.name(), node.kind, node.priority, node.artifact(), node.content())
        })
        .collect()
}

#[test]
fn toml_and_json_say_the_same() {
    let toml = TopologyFile::read(good("pump.toml")).expect("it is right");
    let json = TopologyFile::read(good("pump.json")).expect("it is right");
    assert_eq!(toml, json);
    let topology = |file: &TopologyFile| file.topology(&registry()).expect("it is right");
    let (toml_topology, json_topology) = (topology(&toml), topology(&json));
    assert_eq!(contents(toml_topology.nodes()), contents(json_topology.nodes()));
    assert_eq!(toml_topology.nodes().count(), 7);
    assert_eq!(toml.source(), Some(&serde_json::json!({ "file": "readings.csv", "key": "device" })));
    assert_eq!(toml.sinks().keys().map(|name| &**name).collect::<Vec<_>>(), ["predictions"]);
    for node in toml.declared() {
        let manifest = format!("topology = \"pump\"\n{}", toml::to_string(node).expect("TOML says it"));
        let read = Manifest::from_toml(&manifest).expect(&manifest);
        assert_eq!(read.declared(), std::slice::from_ref(node), "{manifest}");
        assert_eq!(Manifest::from_json(&read.to_json()).as_ref(), Ok(&read));
        assert_eq!(Manifest::from_toml(&read.to_toml().expect("TOML says it")).as_ref(), Ok(&read));
    }
}

#[test]
fn a_topology_file_says_what_rust_says() {
    let file = TopologyFile::read(good("pump.toml")).expect("it is right").topology(&registry()).expect("it is right");
    let (vibration, temperature) = (Stream::<f32>::new("vibration"), Stream::<f64>::new("temperature"));
    let cleaned = sensor(vibration.clone())
        .from("VIB")
        .range(0.0..=50.0)
        .out_of_range(gristmill::topology::BadReading::DeadLetter)
        .hold_last()
        .unit(0.5, -1.5);
    let rust = Topology::new("pump").with(cleaned).with(sensor(temperature));
    assert_eq!(contents(file.nodes().take(2)), contents(rust.nodes()));
    let nodes: Vec<_> = file.nodes().collect();
    assert_eq!(nodes[2].every, Some(Span::from_millis(500)));
    assert_eq!(nodes[3].max_age, Span::from_secs(5400));
    let Work::Family(family) = &nodes[3].work else { panic!("it has a model for each key") };
    assert_eq!(family.members.into_iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["P101", "P102"]);
    assert!(family.default.is_some());
    assert_eq!(nodes[4].selector, Selector::Key(Key::from("P101")));
    assert_eq!(nodes[5].kind, NodeKind::Model);
    assert_eq!(nodes[5].selector, Selector::Attribute { name: "rating".into(), value: Value::F64(3.0) });
    assert_eq!(file.known_attributes().of(&Key::from("P101")).get("rating"), Some(&Value::F64(3.0)));
}

#[test]
fn a_mapped_model_reads_and_writes_the_columns_that_were_named() {
    let folder = folder("mapped");
    let artifact =
        r#"{"inputs": ["a", "b"], "outputs": [["label", "i64"], ["p", "f32"], ["p", "f32"], ["v", "f32[4]"]]}"#;
    fs::write(folder.join("m.fake"), artifact).expect("the folder can be written");
    let make = |model: &str| {
        let text = format!(
            "topology = \"t\"\nneeds = [\"y: f32\", \"a: f32\"]\nprovides = [\"z: f32\"]\nmodel = {{ fake = \"m.fake\", {model} }}"
        );
        let nodes = Manifest::from_toml(&text).and_then(|manifest| manifest.nodes(&registry(), &folder));
        let Work::Model(model) = nodes.expect("it is right").remove(0).work else { panic!("it is a model") };
        model
    };
    let model = make("inputs = { b = \"y\" }, outputs = [\"p[1]\"]");
    let mut out = Column::missing(ElementType::F32, 2);
    model.score(&[ColumnRef::F32(&[10.0, 20.0]), ColumnRef::F32(&[1.0, 2.0])], &mut [out.as_mut()]).expect("it scores");
    // Output 2 of (a = 1) * 1 + (b = 10) * 2.
    assert!(matches!(&out, Column::F32(values) if values == &[42.0, 84.0]), "{out:?}");
    let element = make("inputs = { b = \"y\" }, outputs = [\"v[2]\"]");
    element
        .score(&[ColumnRef::F32(&[10.0, 20.0]), ColumnRef::F32(&[1.0, 2.0])], &mut [out.as_mut()])
        .expect("it scores");
    assert!(matches!(&out, Column::F32(values) if values == &[65.0, 128.0]), "{out:?}");
    assert_ne!(model.digest(), make("inputs = { b = \"y\" }, outputs = [\"p[0]\"]").digest());
    assert_eq!(model.digest(), make("inputs = { b = \"y\" }, outputs = [2]").digest());
}

/// All errors of a file, a line each, more than their own text shows.
fn errors(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let errors: Result<(), ManifestErrors> = if name.starts_with("attributes") {
        read_attributes(path).map(drop)
    } else if name.starts_with("topology") {
        TopologyFile::read(path).and_then(|file| file.topology(&registry())).map(drop)
    } else {
        let folder = path.parent().unwrap_or(path);
        Manifest::read(path).and_then(|manifest| manifest.nodes(&registry(), folder)).map(drop)
    };
    let errors = errors.expect_err(name);
    let line = |line: Option<usize>| line.map_or_else(String::new, |line| format!("{line}: "));
    errors.errors.iter().map(|error| format!("{}{error}\n", line(error.line))).collect()
}

#[test]
fn everything_that_is_wrong_with_a_file_is_said_at_once() {
    let mut files = 0;
    for entry in fs::read_dir("manifests/bad").expect("the files are there") {
        let path = entry.expect("the files are there").path();
        if path.extension().is_none_or(|extension| extension == "txt") || path.ends_with("pumps.csv") {
            continue;
        }
        files += 1;
        let found = errors(&path);
        let expected = PathBuf::from(format!("{}.txt", path.display()));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, &found).expect("the folder can be written");
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(found, expected, "{}", path.display());
    }
    assert!(files >= 10, "{files} files");
}

#[test]
fn no_artifact_outside_the_folder_is_read() {
    let folder = folder("outside");
    fs::create_dir_all(folder.join("inside/models")).expect("the folder can be written");
    let artifact = r#"{"inputs": [null], "outputs": [["x", "f32"]]}"#;
    fs::write(folder.join("secret.fake"), artifact).expect("the folder can be written");
    fs::write(folder.join("inside/models/P1.fake"), artifact).expect("the folder can be written");
    std::os::unix::fs::symlink(folder.join("secret.fake"), folder.join("inside/link.fake")).expect("links are there");
    std::os::unix::fs::symlink(folder.join("secret.fake"), folder.join("inside/models/P2.fake"))
        .expect("links are there");
    std::os::unix::fs::symlink("models/P1.fake", folder.join("inside/near.fake")).expect("links are there");
    let inside = folder.join("inside");
    let read = |path: &str| {
        let text =
            format!("topology = \"t\"\nneeds = [\"a: f32\"]\nprovides = [\"x: f32\"]\nmodel = {{ fake = '{path}' }}");
        Manifest::from_toml(&text).map_err(|errors| errors.to_string()).and_then(|manifest| {
            assert!(manifest.nodes_without_artifacts(&registry()).is_err(), "{path}: a client named a file");
            manifest.nodes(&registry(), &inside).map_err(|errors| errors.to_string())
        })
    };
    for fine in ["near.fake", "models/P1.fake", "./models/P1.fake"] {
        assert!(read(fine).is_ok(), "{fine}: {:?}", read(fine));
    }
    let secret = folder.join("secret.fake").display().to_string();
    for (bad, reason) in [
        ("link.fake", "leads out of the manifest's folder by a link"),
        ("models/{key}.fake", "leads out of the manifest's folder by a link"),
        ("../secret.fake", "is not inside the manifest's folder"),
        ("models/../../secret.fake", "is not inside the manifest's folder"),
        ("../{key}.fake", "is not inside the manifest's folder"),
        (&secret, "is not inside the manifest's folder"),
        ("..\\secret.fake", "is not inside the manifest's folder"),
        ("", "is not inside the manifest's folder"),
    ] {
        let error = read(bad).expect_err(bad);
        assert!(error.contains(reason), "{bad}: {error}");
    }
}

#[test]
fn nodes_that_manifests_can_name_are_written_and_read_back() {
    const WEAR: Stream<f32> = Stream::new("wear");
    const ALARM: Stream<bool> = Stream::new("alarm");
    let rolling = || Arc::new(Rolling { rows: 3 }) as Arc<dyn gristmill::traits::AnyOperator>;
    let own = provide(Stream::<f32>::new("smooth")).needs((WEAR, optional(Stream::<f64>::new("life")))).by(rolling());
    let nodes: [Node; 3] = [
        sensor(WEAR).from("W").range(0.0..=1.0).into(),
        own.model().on_all(Span::from_millis(1)).when(&ALARM).for_attribute("rating", Value::F32(0.1)).named("own"),
        sink("predictions").needs(WEAR).and(gristmill::topology::all_models()).for_keys("P*"),
    ];
    let manifest = Manifest::of("pump", &nodes, &registry()).expect("a manifest says them");
    let read = Manifest::from_toml(&manifest.to_toml().expect("TOML says it")).expect("it was written here");
    let read = read.nodes_without_artifacts(&registry()).expect("they name no artifact");
    assert_eq!(contents(read.iter()), contents(nodes.iter()));

    let closure = provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.8);
    let endless = sensor(WEAR).range(f64::NEG_INFINITY..=1.0).into();
    let every = Node::from(sensor(WEAR)).every(Span::from_secs(1));
    for (node, reason) in [
        (closure, "the node `alarm` runs `function`, which no manifest can name: there is no operator `function`"),
        (endless, "the node `wear` runs `sensor`, which no manifest can name: its cleaning is not finite"),
        (every, "the node `wear` has `every`, which its manifest could not say"),
    ] {
        let error = Manifest::of("pump", [&node], &registry()).expect_err(reason).to_string();
        assert!(error.starts_with(reason), "{error}");
    }
}

#[test]
fn attributes_in_csv_and_json_are_the_same() {
    let (csv, json) = (read_attributes(good("pumps.csv")), read_attributes(good("pumps.json")));
    let (csv, json) = (csv.expect("it is right"), json.expect("it is right"));
    assert_eq!(csv.types(), json.types());
    for key in ["P101", "P102", "P103"] {
        assert_eq!(csv.of(&Key::from(key)), json.of(&Key::from(key)), "{key}");
    }
    assert_eq!(csv.of(&Key::from("P102")).get("site"), Some(&Value::Str("south, old".into())));
    assert_eq!(csv.of(&Key::from("P102")).get("rating"), None);
}

#[test]
fn limits_are_named() {
    let wide: Vec<_> = (0..=gristmill::topology::manifest::NEEDS_MAX).map(|need| format!("s{need}: f32")).collect();
    let many = serde_json::json!({
        "topology": "t", "needs": wide, "provides": ["x: f32"], "operator": { "rolling": { "rows": 1 } }
    });
    let deep = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    let deeper = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let node = |value: &str| format!("{{\"topology\": \"t\", \"operator\": {{\"rolling\": {value}}}}}");
    let large = " ".repeat(gristmill::topology::manifest::FILE_BYTES_MAX + 1);
    for (text, reason) in [
        (many.to_string(), "has 4097 items; the limit is 4096"),
        (node(&deep), "is nested deeper than 32 tables and lists"),
        (node(&deeper), "is nested deeper than 32 tables and lists"),
        (large, "the limit is 33554432"),
        (node("123456789012345678901234567890"), "does not fit 64 bits"),
        (node("1e999"), "does not fit 64 bits"),
        ("[]".to_owned(), "is a list; write a table"),
        (String::new(), "not JSON: EOF while parsing a value"),
    ] {
        let errors = Manifest::from_json(&text).expect_err(reason).to_string();
        assert!(errors.contains(reason), "{reason}: {errors}");
    }
    for text in [
        format!("a = {deeper}"),
        format!("a = {deep}"),
        format!("{}a = 1", "a.".repeat(1_000_000)),
        "[".repeat(1_000_000),
    ] {
        let errors = Manifest::from_toml(&text).expect_err("it is too deep");
        assert!(errors.errors.len() < 1000, "{} errors", errors.errors.len());
    }
    let many_errors = (0..50).map(|number| format!("unknown{number} = 1\n")).collect::<String>();
    let errors = Manifest::from_toml(&many_errors).expect_err("no field is known").to_string();
    assert_eq!(errors.lines().count(), gristmill::topology::manifest::ERRORS_SHOWN_MAX + 1, "{errors}");
    assert!(errors.contains("\nmanifest: 32 more errors are not shown; "), "{errors}");
}

/// A manifest of an operator with one more field, which stands in for that of the same name.
fn with_field(field: &str) -> String {
    let defaults = [
        "topology = \"t\"",
        "needs = [\"wear: f32\"]",
        "provides = [\"x: f32\"]",
        "operator = { rolling = { rows = 1 } }",
    ];
    let name = |field: &str| field.split(' ').next().map(str::to_owned);
    let run = matches!(name(field).as_deref(), Some("sensor" | "model" | "expr"));
    let kept = defaults.into_iter().filter(|default| {
        let sensor_has_none = name(field).as_deref() == Some("sensor") && default.starts_with("needs");
        name(default) != name(field) && !(run && default.starts_with("operator")) && !sensor_has_none
    });
    kept.chain([field]).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_the_documentation_shows_can_be_read() {
    const FIELDS: [&str; 16] = [
        "id",
        "keys",
        "priority",
        "pending",
        "version",
        "needs",
        "provides",
        "rows",
        "every",
        "when",
        "missing",
        "max_age",
        "as_of_rows",
        "slow",
        "operator",
        "sensor",
    ];
    let docs = fs::read_to_string("../docs/manifests.md").expect("it is there");
    let check = |text: &str| {
        if let Err(errors) = Manifest::from_toml(text) {
            panic!("{text}\n{errors}");
        }
    };
    let mut read = 0;
    for block in docs.split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        read += 1;
        if block.contains("topology = ") {
            check(block);
        } else if block.contains("provides") || block.contains("sink") {
            check(&format!("topology = \"t\"\n{block}"));
        } else if block.starts_with('[') {
            let text = format!("class = \"t\"\n{block}");
            TopologyFile::from_toml(&text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
        } else {
            block.lines().for_each(|line| check(&with_field(line)));
        }
    }
    for code in docs.split('`').filter(|code| FIELDS.iter().any(|field| code.starts_with(&format!("{field} = ")))) {
        read += 1;
        check(&with_field(code.split(" # ").next().unwrap_or(code)));
    }
    assert!(read > 20, "{read} examples");
}

mod random {
    use super::{Manifest, TopologyFile, good, registry};
    use proptest::prelude::*;

    /// Pieces of manifests, right and wrong, in any order.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("topology = \"t\"\n".to_owned()),
            Just("class = \"t\"\n".to_owned()),
            Just("[[node]]\n".to_owned()),
            Just("provides = [\"x: f32\"]\n".to_owned()),
            Just("needs = [\"previous(x, 1): f32\", \"@a: str\"]\n".to_owned()),
            Just("operator = { rolling = { rows = 3 } }\n".to_owned()),
            Just("sensor = { range = [1, 2] }\n".to_owned()),
            Just("model = { fake = \"{key}\", default = \"x\" }\n".to_owned()),
            Just("sink = \"s\"\nasks = [{ pattern = \"*\" }]\n".to_owned()),
            "(id|needs|provides|keys|rows|missing|every|max_age|asks|outputs|[a-z]{1,4}) = (\"\\PC{0,12}\"|[0-9]{1,22}|\\[.{0,9}\\]|\\{.{0,9}\\}|nan|-inf)\n",
            "(\\[|\\]|\\{|\\}|\"|=|\\.|,|#|\n|\\PC){0,9}",
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn check(text: &str) {
        let manifests = [Manifest::from_toml(text), Manifest::from_json(text)];
        for manifest in manifests {
            match manifest {
                Ok(manifest) => drop(manifest.nodes_without_artifacts(&registry())),
                Err(errors) => assert!(!errors.errors.is_empty() && !errors.to_string().is_empty()),
            }
        }
        for file in [TopologyFile::from_toml(text), TopologyFile::from_json(text)] {
            match file {
                Ok(file) => drop(file.topology(&registry())),
                Err(errors) => assert!(!errors.errors.is_empty()),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn text_never_panics(text in "\\PC{0,200}") {
            check(&text);
        }

        #[test]
        fn pieces_of_manifests_never_panic(text in pieces()) {
            check(&text);
        }

        #[test]
        fn a_damaged_file_never_panics(at in 0.0..1.0_f64, change in any::<char>(), json in any::<bool>()) {
            let name = if json { "pump.json" } else { "pump.toml" };
            let mut text: Vec<char> = std::fs::read_to_string(good(name)).expect("it is there").chars().collect();
            let at = (at * text.len() as f64) as usize;
            text[at] = change;
            check(&text.into_iter().collect::<String>());
        }
    }
}
