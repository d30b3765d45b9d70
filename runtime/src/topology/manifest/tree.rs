//! TOML and JSON as one tree that knows its lines.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Problems, Refusal};

/// How deep tables and lists may be nested.
pub const DEPTH_MAX: usize = 32;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::topology) struct Tree {
    /// From 1.
    pub(in crate::topology) line: usize,
    pub(in crate::topology) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(in crate::topology) enum Kind {
    /// Could not be read, and was reported.
    Bad,
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Tree>),
    Table(Vec<Entry>),
}

/// One field of a table.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::topology) struct Entry {
    pub(in crate::topology) name: String,
    /// Of the name, from 1.
    pub(in crate::topology) line: usize,
    pub(in crate::topology) value: Tree,
}

impl Tree {
    /// What it is, for messages: `the number 3`, `a table`.
    pub(in crate::topology) fn describe(&self) -> String {
        match &self.kind {
            Kind::Bad => "a value that cannot be read".to_owned(),
            Kind::Null => "null".to_owned(),
            Kind::Bool(value) => format!("{value}"),
            Kind::Integer(value) => format!("the number {value}"),
            Kind::Float(value) => format!("the number {value}"),
            Kind::Text(text) => format!("the text `{}`", shorten(text)),
            Kind::List(_) => "a list".to_owned(),
            Kind::Table(_) => "a table".to_owned(),
        }
    }

    /// The same as plain JSON; a number that JSON cannot say becomes `None` with its line.
    pub(in crate::topology) fn to_json(&self) -> Result<serde_json::Value, usize> {
        use serde_json::Value;
        Ok(match &self.kind {
            Kind::Bad | Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Integer(value) => Value::from(*value),
            Kind::Float(value) => Value::Number(serde_json::Number::from_f64(*value).ok_or(self.line)?),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect::<Result<_, _>>()?),
            Kind::Table(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| Ok((entry.name.clone(), entry.value.to_json()?)))
                    .collect::<Result<_, usize>>()?,
            ),
        })
    }
}

/// Most characters of a user's text that a message repeats.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// A user's text for a message: control characters escaped, its middle left out when it is long.
pub(in crate::topology) fn shorten(text: &str) -> String {
    let mut characters = text.chars();
    let shown: String = characters.by_ref().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if characters.next().is_some() { format!("{shown}…") } else { shown }
}

/// The lines of a text, to find one by its place in bytes.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn line(&self, at: usize) -> usize {
        self.0.partition_point(|newline| *newline < at) + 1
    }
}

fn too_deep() -> Refusal {
    Refusal::new(format!("is nested deeper than {DEPTH_MAX} tables and lists"), "make it flatter")
}

/// Reads TOML. Syntax errors are all reported, and what could be read in spite of them is given back.
pub(in crate::topology) fn from_toml(text: &str, problems: &mut Problems) -> Tree {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map_or(0, |span| lines.line(span.start));
        problems.add(line, "", Refusal::new(format!("not TOML: {}", shorten(error.message())), ""));
    }
    let span = table.span().start;
    toml_table(table.get_ref(), lines.line(span), &lines, DEPTH_MAX, problems)
}

fn toml_table(table: &DeTable<'_>, line: usize, lines: &Lines, depth: usize, problems: &mut Problems) -> Tree {
    let entries = table.iter().map(|(name, value)| Entry {
        name: name.get_ref().to_string(),
        line: lines.line(name.span().start),
        value: toml_value(value, lines, depth - 1, problems),
    });
    Tree { line, kind: Kind::Table(entries.collect()) }
}

fn toml_value(value: &Spanned<DeValue<'_>>, lines: &Lines, depth: usize, problems: &mut Problems) -> Tree {
    let line = lines.line(value.span().start);
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Boolean(value) => Kind::Bool(*value),
        DeValue::Datetime(time) => Kind::Text(time.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) => Kind::Integer(value),
            Err(_) => {
                problems.add(line, "", too_big(&number.to_string()));
                Kind::Bad
            }
        },
        DeValue::Float(number) => number.as_str().parse().map_or(Kind::Bad, Kind::Float),
        DeValue::Array(_) | DeValue::Table(_) if depth == 0 => {
            problems.add(line, "", too_deep());
            Kind::Bad
        }
        DeValue::Array(items) => {
            Kind::List(items.iter().map(|item| toml_value(item, lines, depth - 1, problems)).collect())
        }
        DeValue::Table(table) => return toml_table(table, line, lines, depth, problems),
    };
    Tree { line, kind }
}

fn too_big(number: &str) -> Refusal {
    Refusal::new(format!("the number {} does not fit 64 bits", shorten(number)), "write a smaller one")
}

/// Reads JSON; a syntax error ends it.
pub(in crate::topology) fn from_json(text: &str, problems: &mut Problems) -> Option<Tree> {
    // The first pass finds syntax errors, without recursion; the second can then trust the brackets.
    let checked = serde_json::from_str::<IgnoredAny>(text).and_then(|_| serde_json::from_str::<&RawValue>(text));
    match checked {
        Ok(raw) => Some(Json { text, lines: Lines::of(text), problems }.value(raw, DEPTH_MAX)),
        Err(error) => {
            // `… at line 3 column 7`: the line stands before the text already.
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default().to_owned();
            problems.add(error.line(), "", Refusal::new(format!("not JSON: {}", shorten(&message)), ""));
            None
        }
    }
}

struct Json<'t, 'p> {
    text: &'t str,
    lines: Lines,
    problems: &'p mut Problems,
}

impl<'t> Json<'t, '_> {
    fn value(&mut self, raw: &'t RawValue, depth: usize) -> Tree {
        let raw = raw.get();
        // `raw` is a part of `text`, so this is its place in it.
        let line = self.lines.line(raw.as_ptr().addr().saturating_sub(self.text.as_ptr().addr()));
        let mut refuse = |refusal| {
            self.problems.add(line, "", refusal);
            Kind::Bad
        };
        let kind = match raw.as_bytes().first() {
            Some(b'{' | b'[') if depth == 0 => refuse(too_deep()),
            Some(b'{') => match serde_json::from_str::<Members<'t>>(raw) {
                Ok(members) => Kind::Table(self.members(members, depth - 1)),
                Err(error) => refuse(Refusal::new(format!("not JSON: {error}"), "")),
            },
            Some(b'[') => match serde_json::from_str::<Vec<&'t RawValue>>(raw) {
                Ok(items) => Kind::List(items.into_iter().map(|item| self.value(item, depth - 1)).collect()),
                Err(error) => refuse(Refusal::new(format!("not JSON: {error}"), "")),
            },
            Some(b'"') => match serde_json::from_str(raw) {
                Ok(text) => Kind::Text(text),
                Err(_) => refuse(Refusal::new("not JSON: a text with half of a surrogate pair", "write the character")),
            },
            Some(b't') => Kind::Bool(true),
            Some(b'f') => Kind::Bool(false),
            Some(b'n') | None => Kind::Null,
            Some(_) if raw.contains(['.', 'e', 'E']) => match raw.parse::<f64>() {
                Ok(number) if number.is_finite() => Kind::Float(number),
                _ => refuse(too_big(raw)),
            },
            Some(_) => match raw.parse() {
                Ok(number) => Kind::Integer(number),
                Err(_) => refuse(too_big(raw)),
            },
        };
        Tree { line, kind }
    }

    fn members(&mut self, members: Members<'t>, depth: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::with_capacity(members.0.len());
        let mut names = rustc_hash::FxHashSet::default();
        for (name, raw) in members.0 {
            let value = self.value(raw, depth);
            let line = value.line;
            if names.insert(name.clone()) {
                entries.push(Entry { name, line, value });
            } else {
                let problem = format!("the field `{}` stands twice in one table", shorten(&name));
                self.problems.add(line, "", Refusal::new(problem, "keep one"));
            }
        }
        entries
    }
}

/// The members of an object, in order, those of one name too.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
