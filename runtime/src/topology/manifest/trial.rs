//! Rows that travel with a model, each with what must come out of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::fields::{Fields, wrong};
use super::tree::{Kind, Tree};
use super::words;
use super::{Problems, Refusal};
use crate::topology::node::{TRIAL_WITHIN_DEFAULT, TrialRow};
use crate::words::{Key, StreamName, Value};

/// Most trial rows of one node.
pub const TRIAL_ROWS_MAX: usize = 1000;

/// The field `trial` of a node.
pub(super) fn rows(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Vec<TrialRow>> {
    fields.list("trial", TRIAL_ROWS_MAX, problems, row)
}

fn row(tree: &Tree, place: &str, problems: &mut Problems) -> Option<TrialRow> {
    let mut fields = Fields::of(tree, place, problems)?;
    let key = fields.name("key", "key", problems).map(Key::from);
    let given = values(&mut fields, "given", problems).unwrap_or_default();
    let gives = values(&mut fields, "gives", problems);
    let within = fields.number("within", problems).unwrap_or(TRIAL_WITHIN_DEFAULT);
    let line = fields.line;
    fields.finish(problems);
    if within < 0.0 {
        problems.add(line, place, Refusal::new("`within` is negative", "write how far a number may be: 1e-5"));
        return None;
    }
    match gives {
        Some(gives) if !gives.is_empty() => Some(TrialRow { key, given, gives, within }),
        _ => {
            let advice = "write what the model must give: gives = { failure = 0.31 }";
            problems.add(line, place, Refusal::new("says nothing that must come out", advice));
            None
        }
    }
}

/// A table of values by stream.
fn values(fields: &mut Fields<'_>, name: &'static str, problems: &mut Problems) -> Option<BTreeMap<StreamName, Value>> {
    let tree = fields.take(name)?;
    let place = fields.at(name);
    let Kind::Table(entries) = &tree.kind else { return wrong(tree, &place, "a table of values", problems) };
    let mut values = BTreeMap::new();
    for entry in entries {
        let place = format!("{place}, {}", super::shorten(&entry.name));
        let stream = super::fields::kept(words::stream(&entry.name), entry.line, &place, problems);
        let value = value(&entry.value, &place, problems);
        values.extend(stream.zip(value));
    }
    Some(values)
}

fn value(tree: &Tree, place: &str, problems: &mut Problems) -> Option<Value> {
    match &tree.kind {
        Kind::Bool(value) => Some(Value::Bool(*value)),
        Kind::Integer(value) => Some(Value::I64(*value)),
        Kind::Float(value) if value.is_finite() => Some(Value::F64(*value)),
        Kind::Text(text) => Some(Value::Str(text.as_str().into())),
        Kind::List(items) => {
            let numbers = items.iter().map(|item| super::fields::narrow_number(item, place, problems));
            Some(Value::Vector(numbers.collect::<Option<Vec<f32>>>()?.into()))
        }
        _ => wrong(tree, place, "a finite number, true, false, a text or a list of numbers", problems),
    }
}

/// What [`rows`] reads.
pub(super) fn written(rows: &[TrialRow]) -> Json {
    let row = |row: &TrialRow| {
        let mut table = Map::new();
        table.extend(row.key.iter().map(|key| ("key".to_owned(), json!(&**key))));
        table.insert("given".to_owned(), all(&row.given));
        table.insert("gives".to_owned(), all(&row.gives));
        table.insert("within".to_owned(), json!(row.within));
        Json::Object(table)
    };
    rows.iter().map(row).collect()
}

fn all(values: &BTreeMap<StreamName, Value>) -> Json {
    Json::Object(values.iter().map(|(name, value)| (name.to_string(), super::write::plain(value))).collect())
}
