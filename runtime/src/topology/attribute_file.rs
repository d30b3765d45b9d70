//! Attributes of keys as a file.
//!
//! CSV has a header of `key` and `name:type`, then a line for each key; an empty cell is an attribute that the key does
//! not have. JSON has the types and the keys: `{"types": {"site": "str"}, "keys": {"P101": {"site": "north"}}}`.

use std::path::Path;

use super::attributes::Attributes;
use super::manifest::{
    Fields, Kind, ManifestErrors, Problems, Refusal, Syntax, Tree, from_json, named, read_text, shorten, text_of,
    typed, value,
};
use crate::words::{ElementType, Key, StreamName, Value};

/// Most attributes of a class.
pub const ATTRIBUTES_MAX: usize = 1024;

/// Reads a file of attributes, `.csv` or `.json`.
///
/// # Errors
/// With every line that is wrong.
pub fn read_attributes(path: impl AsRef<Path>) -> Result<Attributes, ManifestErrors> {
    let (text, syntax, mut problems) = read_text(path.as_ref())?;
    let attributes = match syntax {
        Syntax::Csv => from_csv(&text, &mut problems),
        Syntax::Json => from_json(&text, &mut problems).map(|tree| from_tree(&tree, &mut problems)),
        Syntax::Toml => {
            problems.add(0, "", Refusal::new("attributes are not written in TOML", "write a .csv or a .json file"));
            None
        }
    };
    problems.finish_read(attributes)
}

/// An attribute with its type: a column of CSV.
pub(super) type Column = (StreamName, ElementType);

fn from_csv(text: &str, problems: &mut Problems) -> Option<Attributes> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut records = reader.records();
    let Some(header) = records.next() else {
        problems.add(0, "", Refusal::new("is empty", "begin with a header such as key,site:str,rating:f64"));
        return None;
    };
    let header = header.map_err(|error| not_csv(&error, problems)).ok()?;
    let columns = columns(&header, problems);
    let mut attributes = Attributes::new();
    for (name, element) in columns.iter().flatten() {
        attributes = attributes.declare(name.clone(), *element);
    }
    let mut keys = rustc_hash::FxHashMap::default();
    for record in records {
        let Ok(record) = record.map_err(|error| not_csv(&error, problems)) else { continue };
        let line = record.position().map_or(0, |position| usize::try_from(position.line()).unwrap_or_default());
        if record.len() != columns.len() + 1 {
            let problem = format!("has {} cells, but the header has {}", record.len(), columns.len() + 1);
            problems.add(line, "", Refusal::new(problem, "write a cell for each, empty where there is no value"));
            continue;
        }
        let Some(key) = key(&record[0], line, problems) else { continue };
        if let Some(first) = keys.insert(key.clone(), line) {
            let problem = format!("the key `{key}` stands in line {first} already");
            problems.add(line, "", Refusal::new(problem, "keep one of them"));
            continue;
        }
        for (column, cell) in columns.iter().zip(record.iter().skip(1)) {
            if let (Some((name, element)), false) = (column, cell.is_empty()) {
                match value(cell, *element) {
                    Ok(value) => set(&mut attributes, &key, name, &value, line, problems),
                    Err(refusal) => problems.add(line, format!("key `{key}`, {name}"), refusal),
                }
            }
        }
    }
    Some(attributes)
}

fn not_csv(error: &csv::Error, problems: &mut Problems) {
    let line = error.position().map_or(0, |position| usize::try_from(position.line()).unwrap_or_default());
    problems.add(line, "", Refusal::new(format!("not CSV: {error}"), ""));
}

/// The columns behind `key`; `None` for one that is wrong.
fn columns(header: &csv::StringRecord, problems: &mut Problems) -> Vec<Option<Column>> {
    let first = header.get(0).unwrap_or_default();
    if first != "key" {
        let problem = format!("the first column is `{}`, not `key`", shorten(first));
        problems.add(1, "", Refusal::new(problem, "begin with a header such as key,site:str,rating:f64"));
    }
    if header.len() > ATTRIBUTES_MAX + 1 {
        let problem = format!("has {} attributes; the limit is {ATTRIBUTES_MAX}", header.len() - 1);
        problems.add(1, "", Refusal::new(problem, "leave out what no node needs"));
        return vec![None; header.len() - 1];
    }
    let mut names = rustc_hash::FxHashSet::default();
    let column = |cell: &str| {
        let (name, element) = typed(cell)?;
        let name = StreamName::from(named("key's attribute", name)?);
        match names.insert(name.clone()) {
            true => Ok((name, element)),
            false => Err(Refusal::new(format!("the attribute `{name}` has two columns"), "keep one of them")),
        }
    };
    let columns: Vec<_> = header.iter().skip(1).map(column).collect();
    columns.into_iter().map(|column| column.map_err(|refusal| problems.add(1, "header", refusal)).ok()).collect()
}

fn key(text: &str, line: usize, problems: &mut Problems) -> Option<Key> {
    named("key", text).map(Key::from).map_err(|refusal| problems.add(line, "", refusal)).ok()
}

fn set(attributes: &mut Attributes, key: &Key, name: &StreamName, value: &Value, line: usize, problems: &mut Problems) {
    if let Err(error) = attributes.set(key.clone(), name.clone(), value) {
        problems.add(line, "", Refusal::new(error.to_string(), ""));
    }
}

fn from_tree(tree: &Tree, problems: &mut Problems) -> Attributes {
    let mut attributes = Attributes::new();
    let Some(mut fields) = Fields::of(tree, "", problems) else { return attributes };
    let (types, keys) = (fields.take("types"), fields.take("keys"));
    for (name, missing) in [("types", types.is_none()), ("keys", keys.is_none())] {
        if missing {
            let example = "write {\"types\": {\"site\": \"str\"}, \"keys\": {\"P101\": {\"site\": \"north\"}}}";
            problems.add(tree.line, "", Refusal::new(format!("there is no `{name}`"), example));
        }
    }
    fields.finish(problems);
    for (name, element) in read_types(types, "types", problems) {
        attributes = attributes.declare(name, element);
    }
    for (name, tree) in members(keys, "keys", problems) {
        let Some(key) = key(name, tree.line, problems) else { continue };
        for (name, cell) in members(Some(tree), &format!("key `{key}`"), problems) {
            let name = StreamName::from(name);
            let read = match &cell.kind {
                Kind::Null | Kind::Bad => continue,
                Kind::Bool(value) => Value::Bool(*value),
                Kind::Integer(value) => Value::I64(*value),
                Kind::Float(value) => Value::F64(*value),
                Kind::Text(text) => Value::Str(text.as_str().into()),
                Kind::List(_) | Kind::Table(_) => match vector(cell) {
                    Some(value) => value,
                    None => {
                        let refusal = Refusal::new(format!("is {}", cell.describe()), "write a value of its type");
                        problems.add(cell.line, format!("key `{key}`, {name}"), refusal);
                        continue;
                    }
                },
            };
            set(&mut attributes, &key, &name, &read, cell.line, problems);
        }
    }
    attributes
}

/// A table of types by the names of attributes.
pub(super) fn read_types(types: Option<&Tree>, place: &str, problems: &mut Problems) -> Vec<Column> {
    let mut read = Vec::new();
    for (name, tree) in members(types, place, problems) {
        let place = format!("{place}.{}", shorten(name));
        let Some(text) = text_of(tree, &place, problems) else { continue };
        match (named("key's attribute", name), text.parse::<ElementType>()) {
            (Ok(name), Ok(element)) => read.push((StreamName::from(name), element)),
            (name, element) => {
                name.err().into_iter().for_each(|refusal| problems.add(tree.line, place.clone(), refusal));
                let unknown = element.err().map(|error| Refusal::new(error.to_string(), ""));
                unknown.into_iter().for_each(|refusal| problems.add(tree.line, place.clone(), refusal));
            }
        }
    }
    read
}

fn vector(tree: &Tree) -> Option<Value> {
    let Kind::List(items) = &tree.kind else { return None };
    let numbers = items.iter().map(|item| {
        let number = match item.kind {
            Kind::Integer(value) => Value::I64(value),
            Kind::Float(value) => Value::F64(value),
            _ => return None,
        };
        if let Some(Value::F32(number)) = number.cast(ElementType::F32) { Some(number) } else { None }
    });
    numbers.collect::<Option<Box<[f32]>>>().map(Value::Vector)
}

fn members<'t>(
    tree: Option<&'t Tree>,
    place: &str,
    problems: &mut Problems,
) -> impl Iterator<Item = (&'t str, &'t Tree)> + use<'t> {
    let entries: &[_] = match tree.map(|tree| (&tree.kind, tree)) {
        Some((Kind::Table(entries), _)) => entries,
        None | Some((Kind::Bad, _)) => &[],
        Some((_, tree)) => {
            problems.add(tree.line, place, Refusal::new(format!("is {}", tree.describe()), "write a table"));
            &[]
        }
    };
    entries.iter().map(|entry| (entry.name.as_str(), &entry.value))
}
