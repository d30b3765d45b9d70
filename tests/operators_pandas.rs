//! Operators compute what pandas computes, within 1e-9 relative: rolling and tumbling statistics, lags, differences,
//! exponential means, expressions; alarms are as a plain loop says.
//!
//! The streams and pandas' results are written by tests/operators/reference.py.

use std::path::PathBuf;
use std::sync::Arc;

use gristmill::ElementType;
use gristmill::traits::{AnyOperator, Outputs, OwnRows, Rows};
use gristmill::words::{Column, KeyIndex, Time, Value};
use gristmill_operators::registry::OPERATORS;
use serde_json::{Value as Json, json};

const TOLERANCE: f64 = 1e-9;
const CASES_MIN: usize = 60;
/// Rows in each call, over and over.
const CALLS: [usize; 5] = [10, 1, 37, 3, 110];

/// What the Python script wrote.
fn recorded() -> Json {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("GRISTMILL_OPERATORS").map_or_else(|| root.join("target/operators"), PathBuf::from);
    let path = folder.join("operators.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; `bash scripts/test` writes it (tests/operators/reference.py)", path.display())
    });
    serde_json::from_str(&text).expect("the script writes JSON")
}

fn element(json: &Json) -> ElementType {
    json.as_str().expect("a type is text").parse().expect("the script names types as manifests do")
}

fn list(json: &Json) -> &[Json] {
    json.as_array().expect("a list")
}

fn times(json: &Json) -> Vec<Time> {
    list(json).iter().map(|time| Time(time.as_i64().expect("a time in µs"))).collect()
}

/// A column of this type; null is missing.
fn column(element: ElementType, values: &Json) -> Column {
    let mut column = Column::with_capacity(element, list(values).len());
    for value in list(values) {
        let value = match (element, value) {
            (_, Json::Null) => None,
            (ElementType::Bool, Json::Bool(value)) => Some(Value::Bool(*value)),
            (ElementType::Str, Json::String(value)) => Some(Value::Str(value.as_str().into())),
            (_, Json::Number(number)) => Value::F64(number.as_f64().expect("a number")).cast(element).or_else(|| {
                assert_eq!(element, ElementType::F64, "a number of a stream of {element}");
                number.as_f64().map(Value::F64)
            }),
            (element, other) => panic!("{other} in a stream of {element}"),
        };
        column.push(value.as_ref());
    }
    column
}

fn operator(
    name: &str,
    parameters: &Json,
    needs: &[(String, ElementType)],
    provides: &[ElementType],
) -> Arc<dyn AnyOperator> {
    let (_, make) = OPERATORS.iter().find(|(known, _)| *known == name).expect("the script names known operators");
    let types: Vec<ElementType> = needs.iter().map(|(_, element)| *element).collect();
    let mut made = make(parameters, &types, provides).unwrap_or_else(|error| panic!("{name} {parameters}: {error}"));
    let named: Vec<_> = provides.iter().map(|element| ("out".to_owned(), *element)).collect();
    Arc::get_mut(&mut made).expect("nobody else has it").wire(needs, &named);
    made.check(&types, provides).unwrap_or_else(|error| panic!("{name} {parameters}: {error}"));
    made
}

/// Runs an operator in calls of several sizes; a tick long after the last row closes what is open.
fn run(
    operator: &dyn AnyOperator,
    at: &[Time],
    streams: &[Column],
    provides: &[ElementType],
) -> (Option<Vec<Time>>, Vec<Column>) {
    let mut table = operator.table(true);
    let rows = if operator.own_rows() { 0 } else { at.len() };
    let mut columns: Vec<Column> = provides.iter().map(|element| Column::missing(*element, rows)).collect();
    let mut own = OwnRows::default();
    let (mut first, mut calls) = (0, CALLS.iter().cycle());
    while first < at.len() {
        let call = first..at.len().min(first + calls.next().expect("a cycle"));
        let needs: Vec<_> = streams.iter().map(|stream| stream.rows(call.clone())).collect();
        let rows = Rows::new(&at[call.clone()], &needs);
        let mut out = match operator.own_rows() {
            true => Outputs::own(&mut columns, &mut own, 0),
            false => Outputs::new(&mut columns, call.clone()),
        };
        operator.run(&mut *table, KeyIndex(3), &rows, &mut out).expect("no row fails");
        first = call.end;
    }
    if !operator.own_rows() {
        return (None, columns);
    }
    let late = Time(at[at.len() - 1].0 + 86_400_000_000);
    operator.tick(&mut *table, KeyIndex(3), late, &mut Outputs::own(&mut columns, &mut own, 0)).expect("ticks fit");
    (Some(own.times), columns)
}

/// The first row that is further apart than the tolerance is an error with both values.
fn close(got: &Column, expected: &Column) -> Result<(), String> {
    if got.len() != expected.len() {
        return Err(format!("{} rows instead of {}", got.len(), expected.len()));
    }
    for row in 0..got.len() {
        let (got, expected) = (got.as_ref().value(row), expected.as_ref().value(row));
        let relative = match (&got, &expected) {
            (Some(Value::F64(got)), Some(Value::F64(expected))) if got != expected => {
                (got - expected).abs() / expected.abs().max(f64::MIN_POSITIVE)
            }
            (got, expected) if got == expected => 0.0,
            _ => f64::INFINITY,
        };
        if relative > TOLERANCE {
            return Err(format!("row {row}: {got:?} instead of {expected:?}"));
        }
    }
    Ok(())
}

/// Compares one case, with these parameters instead of its own if any; every difference is one text.
fn compare(recorded: &Json, case: &Json, parameters: Option<&Json>) -> Vec<String> {
    let of = |name: &str| &recorded["streams"][name];
    let first = case["stream"].as_str().expect("a name");
    let also = case["also"].as_array().into_iter().flatten().map(|name| name.as_str().expect("a name"));
    let names: Vec<&str> = std::iter::once(first).chain(also).collect();
    let needs: Vec<_> = names.iter().map(|name| ((*name).to_owned(), element(&of(name)["element"]))).collect();
    let provides: Vec<ElementType> = list(&case["provides"]).iter().map(element).collect();
    let parameters = parameters.unwrap_or(&case["parameters"]);
    let name = case["operator"].as_str().expect("a name");
    let operator = operator(name, parameters, &needs, &provides);
    let values: Vec<Column> = needs.iter().map(|(name, element)| column(*element, &of(name)["values"])).collect();
    let (own, columns) = run(&*operator, &times(&of(first)["times"]), &values, &provides);

    let label = |what: &str| format!("{name} {parameters} of {}, {what}", case["stream"]);
    let mut wrong = Vec::new();
    if own.as_deref() != case["times"].as_array().map(|_| times(&case["times"])).as_deref() {
        wrong.push(label("times of windows"));
    }
    for (provided, (got, expected)) in columns.iter().zip(list(&case["expected"])).enumerate() {
        if let Err(error) = close(got, &column(provides[provided], expected)) {
            wrong.push(label(&format!("output {provided}, {error}")));
        }
    }
    wrong
}

#[test]
fn operators_compute_what_pandas_computes() {
    let recorded = recorded();
    let cases = list(&recorded["cases"]);
    assert!(cases.len() >= CASES_MIN, "only {} cases; run tests/operators/reference.py again", cases.len());
    for (name, _) in OPERATORS {
        assert!(cases.iter().any(|case| case["operator"] == name), "no case has {name}");
    }
    let wrong: Vec<String> = cases.iter().flat_map(|case| compare(&recorded, case, None)).collect();
    assert!(wrong.is_empty(), "{} outputs differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_operator_that_is_slightly_wrong_is_caught() {
    let recorded = recorded();
    for (name, parameter, value) in [
        ("rolling", "rows", json!(59)),
        ("rolling", "ddof", json!(2)),
        ("rolling", "span", json!("59999ms")),
        ("rolling", "min_rows", json!(2)),
        ("window", "length", json!("61s")),
        ("lag", "rows", json!(2)),
        ("diff", "rows", json!(2)),
        ("ewma", "alpha", json!(0.100_000_1)),
        ("threshold", "below", json!(46)),
        ("expr", "", json!("steady / far * 100 - 3.500001")),
        ("expr", "", json!("far / steady * 100 - 3.5")),
    ] {
        let whole = parameter.is_empty();
        let cases = list(&recorded["cases"]).iter();
        let has = |case: &&Json| whole || !case["parameters"][parameter].is_null();
        let case = cases.filter(|case| case["operator"] == name).find(has).expect("a case has this parameter");
        let mut parameters = case["parameters"].clone();
        if whole {
            parameters = value;
        } else {
            parameters[parameter] = value;
        }
        let wrong = compare(&recorded, case, Some(&parameters));
        assert!(!wrong.is_empty(), "{name} with {parameters} was not caught");
    }
}
