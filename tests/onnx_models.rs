//! Exported models score as in onnxruntime: numbers within 1e-5 (relative above 1), labels equal.
//!
//! The models and what onnxruntime made of their rows are written by tests/models/export.py.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill::ElementType;
use gristmill::traits::{Format, Model};
use gristmill::words::{Column, ColumnMut, ColumnRef, Value};
use gristmill_operators::model::{Kernels, Onnx};
use serde_json::Value as Json;

const TOLERANCE: f64 = 1e-5;
const MODELS_MIN: usize = 30;

/// A model with its rows and the outputs that onnxruntime gave.
struct Case {
    name: String,
    model: Arc<dyn Model>,
    inputs: Vec<Column>,
    expected: Vec<Expected>,
    rows: usize,
}

/// An output: so many values a row.
struct Expected {
    name: String,
    columns: usize,
    values: Vec<Json>,
}

/// How far an output is from what was expected.
#[derive(Default)]
struct Distance {
    error_max: f64,
    wrong: usize,
}

fn folder() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("GRISTMILL_MODELS").map_or_else(|| root.join("target/models"), PathBuf::from);
    assert!(
        folder.is_dir(),
        "there are no exported models in {}; `bash scripts/test` makes them (tests/models/export.py)",
        folder.display()
    );
    folder
}

fn cases() -> Vec<Case> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the folder is readable")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.sort();
    folders.retain(|folder| folder.join("model.onnx").is_file());
    folders.iter().map(|folder| read(folder)).collect()
}

fn read(folder: &Path) -> Case {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let model = Onnx.load_file(&folder.join("model.onnx")).unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = std::fs::read_to_string(folder.join("cases.json")).expect("cases.json is readable");
    let cases: Json = serde_json::from_str(&text).expect("cases.json is JSON");
    let (mut inputs, mut rows) = (Vec::new(), 0);
    for input in cases["inputs"].as_array().expect("inputs") {
        let (columns, values) = table(input);
        rows = values.len() / columns;
        for column in 0..columns {
            let column = values.iter().skip(column).step_by(columns);
            inputs.push(Column::F32(column.map(|value| number(value).unwrap_or(f64::NAN) as f32).collect()));
        }
    }
    let expected = cases["outputs"].as_array().expect("outputs").iter().map(|output| {
        let (columns, values) = table(output);
        assert_eq!(values.len(), columns * rows, "{name}: outputs have as many rows as inputs");
        Expected { name: output["name"].as_str().expect("a name").to_owned(), columns, values: values.clone() }
    });
    Case { expected: expected.collect(), name, model, inputs, rows }
}

fn table(value: &Json) -> (usize, &Vec<Json>) {
    (value["columns"].as_u64().expect("columns") as usize, value["values"].as_array().expect("values"))
}

/// A number as export.py writes it: infinities are strings.
fn number(value: &Json) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn score(case: &Case, inputs: &[Column]) -> Vec<Column> {
    let inputs: Vec<ColumnRef<'_>> = inputs.iter().map(Column::as_ref).collect();
    let mut outputs: Vec<Column> =
        case.model.outputs().iter().map(|port| Column::missing(port.element, case.rows)).collect();
    let mut columns: Vec<ColumnMut<'_>> = outputs.iter_mut().map(Column::as_mut).collect();
    case.model.score(&inputs, &mut columns).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    outputs
}

/// The values of all output columns that begin with this name, row by row.
fn named(case: &Case, outputs: &[Column], expected: &Expected) -> Vec<Option<Value>> {
    let ports = case.model.outputs().iter().zip(outputs);
    let of = |name: &str| name == expected.name || name.starts_with(&format!("{}[", expected.name));
    let columns: Vec<&Column> =
        ports.filter(|(port, _)| port.name.as_deref().is_some_and(of)).map(|(_, column)| column).collect();
    let mut values = Vec::new();
    for row in 0..case.rows {
        for column in &columns {
            match column {
                Column::Vector { width, values: all } => {
                    let row = &all[row * width..(row + 1) * width];
                    values.extend(row.iter().map(|value| (!value.is_nan()).then_some(Value::F32(*value))));
                }
                column => values.push(column.as_ref().value(row)),
            }
        }
    }
    assert_eq!(values.len(), case.rows * expected.columns, "{}: output `{}`", case.name, expected.name);
    values
}

fn distance(case: &Case, outputs: &[Column]) -> Distance {
    let mut distance = Distance::default();
    for expected in &case.expected {
        for (is, wanted) in named(case, outputs, expected).iter().zip(&expected.values) {
            let equal = match (is, wanted) {
                (None, Json::Null) => true,
                (Some(Value::F32(is)), wanted) => {
                    let (is, wanted) = (f64::from(*is), number(wanted).unwrap_or(f64::NAN));
                    let error = if is == wanted { 0.0 } else { (is - wanted).abs() / wanted.abs().max(1.0) };
                    distance.error_max = distance.error_max.max(error);
                    error <= TOLERANCE
                }
                (Some(Value::I64(is)), Json::Number(wanted)) => Some(*is) == wanted.as_i64(),
                (Some(Value::Bool(is)), Json::Number(wanted)) => Some(i64::from(*is)) == wanted.as_i64(),
                (Some(Value::Str(is)), Json::String(wanted)) => is == wanted,
                _ => false,
            };
            distance.wrong += usize::from(!equal);
        }
    }
    distance
}

/// One test, because the kernels are a switch of the whole process.
#[test]
fn exported_models_score_as_in_onnxruntime() {
    let cases = cases();
    let mut failures = Vec::new();
    eprintln!("{:<40} {:>5} {:>10} {:>9} {:>9}", "model", "rows", "max error", "bytes", "file");
    for case in &cases {
        let outputs = score(case, &case.inputs);
        let result = distance(case, &outputs);
        let file = std::fs::metadata(folder().join(&case.name).join("model.onnx")).map_or(0, |meta| meta.len());
        eprintln!(
            "{:<40} {:>5} {:>10.1e} {:>9} {:>9}",
            case.name,
            case.rows,
            result.error_max,
            case.model.bytes(),
            file
        );
        assert!(case.rows >= 200, "{} has {} rows", case.name, case.rows);
        if result.wrong > 0 {
            failures.push(format!("{}: {} wrong values, max error {:e}", case.name, result.wrong, result.error_max));
        }
        one_by_one(case, &outputs);
        Kernels::Scalar.set();
        same(case, &score(case, &case.inputs), &outputs, "by scalar kernels");
        Kernels::Best.set();
    }
    assert!(failures.is_empty(), "{} models differ:\n{}", failures.len(), failures.join("\n"));
    assert!(cases.len() >= MODELS_MIN, "{} models; at least {MODELS_MIN} are asked for", cases.len());
}

/// A row scores the same whatever rows stand beside it.
fn one_by_one(case: &Case, outputs: &[Column]) {
    let inputs: Vec<ColumnRef<'_>> = case.inputs.iter().map(Column::as_ref).collect();
    for size in [1, 3, 5, 10, 37] {
        let mut pieces: Vec<Column> =
            case.model.outputs().iter().map(|port| Column::missing(port.element, case.rows)).collect();
        for start in (0..case.rows).step_by(size) {
            let rows = start..(start + size).min(case.rows);
            let piece: Vec<ColumnRef<'_>> = inputs.iter().map(|column| column.rows(rows.clone())).collect();
            let mut to: Vec<ColumnMut<'_>> = pieces.iter_mut().map(|column| column.rows_mut(rows.clone())).collect();
            case.model.score(&piece, &mut to).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        }
        same(case, &pieces, outputs, &format!("{size} rows at a time"));
    }
}

fn same(case: &Case, is: &[Column], wanted: &[Column], how: &str) {
    for (is, wanted) in is.iter().zip(wanted) {
        assert!(is.as_ref().same(&wanted.as_ref()), "{} has other bits {how}", case.name);
    }
}

/// The comparison can fail: the same models, with missing values taken for zeros or a threshold off, are told apart.
#[test]
fn a_model_that_takes_missing_for_zero_is_told_apart() {
    let mut told = 0;
    for case in cases().iter().filter(|case| case.name.contains("missing") && case.name.contains("boost")) {
        let zeros = case.inputs.iter().map(|column| match column {
            Column::F32(values) => Column::F32(values.iter().map(|x| if x.is_nan() { 0.0 } else { *x }).collect()),
            other => other.clone(),
        });
        let wrong = distance(case, &score(case, &zeros.collect::<Vec<_>>())).wrong;
        assert!(wrong > 0, "{} scores missing values as zeros", case.name);
        told += 1;
    }
    assert!(told > 0, "no model with missing values was compared");
}

/// Every node that sends NaN one way is turned around in the file: the comparison must see it.
#[test]
fn a_model_whose_missing_values_go_the_other_way_is_told_apart() {
    let name = "tree_branch_leq_tracks";
    let bytes = std::fs::read(folder().join(name).join("model.onnx")).expect("the model is readable");
    let attribute = b"nodes_missing_value_tracks_true";
    let at = bytes.windows(attribute.len()).position(|window| window == attribute).expect("the attribute is there");
    // Behind the name come the flags: either packed into one field (key 0x42 and a length) or one by one (key 0x40).
    let mut twin = bytes.clone();
    let mut place = at + attribute.len();
    let mut turned = 0;
    while twin[place] == 0x40 {
        twin[place + 1] ^= 1;
        place += 2;
        turned += 1;
    }
    assert!(turned > 10, "the flags were not found");
    let mut case = cases().into_iter().find(|case| case.name == name).expect("the model is there");
    assert_eq!(distance(&case, &score(&case, &case.inputs)).wrong, 0);
    case.model = Onnx.load(&twin).expect("the twin loads");
    assert!(distance(&case, &score(&case, &case.inputs)).wrong > 0, "the comparison did not see the turned flags");
}

/// What the outputs of a classifier look like.
#[test]
fn a_classifier_has_a_label_and_a_vector() {
    let cases = cases();
    let case = cases.iter().find(|case| case.name == "random_forest_strings").expect("the model is there");
    let ports: Vec<_> =
        case.model.outputs().iter().map(|port| (port.name.as_deref().unwrap_or_default(), port.element)).collect();
    assert_eq!(ports, [("output_label", ElementType::Str), ("output_probability", ElementType::Vector(3))]);
}
