//! Reads a table field by field; everything that is wrong with it is collected.

use std::path::{Path, PathBuf};

use gristmill::words::Span;
use gristmill_operators::span_text;
use serde::Serialize;
use serde_json::{Map, Value};

/// One thing that is wrong with a topology file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// The line, from 1, where it is known.
    pub(crate) line: Option<usize>,
    /// The table or node, or the option of the command line.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do; may be empty.
    pub(crate) advice: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.problem)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

/// A table that is being read.
pub(crate) struct Fields<'a> {
    place: &'a str,
    folder: &'a Path,
    table: Map<String, Value>,
    /// Every field that was asked for.
    known: Vec<&'static str>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// Paths in the table are relative to `folder`. The place is the table's name, or an option such as `--input`.
    pub(crate) fn of(table: &Value, place: &'a str, folder: &'a Path, problems: &'a mut Vec<Problem>) -> Self {
        let table = table.as_object().cloned().unwrap_or_default();
        Self { place, folder, table, known: Vec::new(), problems }
    }

    /// How many problems there are so far.
    pub(crate) fn found(&self) -> usize {
        self.problems.len()
    }

    /// Says what is wrong.
    pub(crate) fn wrong(&mut self, problem: impl Into<String>, advice: impl Into<String>) {
        let (problem, advice) = (problem.into(), advice.into());
        let place = if self.place.starts_with('-') { self.place.to_owned() } else { format!("[{}]", self.place) };
        self.problems.push(Problem { line: None, place, problem, advice });
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.table.remove(name)
    }

    fn taken<T>(&mut self, name: &'static str, wanted: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let value = self.take(name)?;
        let read = read(&value);
        if read.is_none() {
            self.wrong(format!("`{name}` is {value}"), format!("write {wanted}"));
        }
        read
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.taken(name, "a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    /// A text that must be there.
    pub(crate) fn needed(&mut self, name: &'static str, example: &str) -> Option<String> {
        let missing = !self.table.contains_key(name);
        if missing {
            self.wrong(format!("there is no `{name}`"), format!("add {name} = {example}"));
        }
        self.text(name)
    }

    /// The path of a file that must be named.
    pub(crate) fn path(&mut self, name: &'static str, example: &str) -> Option<PathBuf> {
        self.needed(name, example).map(|path| self.folder.join(path))
    }

    /// The path of a file that may be named.
    pub(crate) fn path_if(&mut self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(|path| self.folder.join(path))
    }

    /// A whole number.
    pub(crate) fn whole(&mut self, name: &'static str) -> Option<u64> {
        self.taken(name, "a whole number", Value::as_u64)
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &'static str) -> Option<f64> {
        self.taken(name, "a number", Value::as_f64)
    }

    /// A yes or no.
    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.taken(name, "true or false", Value::as_bool)
    }

    /// A length of time with its unit.
    pub(crate) fn span(&mut self, name: &'static str) -> Option<Span> {
        let wanted = "a length of time with its unit: \"500ms\", \"20s\", \"5min\" or \"2h\"";
        self.taken(name, wanted, |value| value.as_str().and_then(|text| span_text::parse(text).ok()))
    }

    /// A size with its unit.
    pub(crate) fn bytes(&mut self, name: &'static str) -> Option<usize> {
        let wanted = "a size with its unit: \"512 KiB\", \"64 MiB\" or \"2 GiB\"";
        self.taken(name, wanted, |value| bytes(value.as_str()?))
    }

    /// A text, or several.
    #[cfg(feature = "kafka")]
    pub(crate) fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        self.taken(name, "a text, or several in brackets", |value| match value {
            Value::Array(texts) => texts.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
            value => value.as_str().map(|text| vec![text.to_owned()]),
        })
    }

    /// A table of texts.
    pub(crate) fn table(&mut self, name: &'static str) -> Vec<(String, String)> {
        let texts = |table: &Map<String, Value>| {
            table.iter().map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned()))).collect()
        };
        self.taken(name, "a table of texts", |value| value.as_object().and_then(texts)).unwrap_or_default()
    }

    /// One of the words that stand for something.
    pub(crate) fn one_of<T: Clone>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        let listed: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let read =
            |value: &Value| words.iter().find(|(word, _)| value.as_str() == Some(word)).map(|(_, of)| of.clone());
        self.taken(name, &listed.join(" or "), read)
    }

    /// The table's `kind`, one of `kinds`.
    pub(crate) fn kind(&mut self, kinds: &[&str]) -> Option<String> {
        let all = || kinds.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ");
        match self.take("kind") {
            None => {
                self.wrong("it does not say its `kind`", format!("there are {}", all()));
                None
            }
            Some(Value::String(kind)) if kinds.contains(&kind.as_str()) => Some(kind),
            Some(Value::String(kind)) => {
                self.wrong(format!("there is no kind `{kind}`"), format!("there are {}", all()));
                None
            }
            Some(other) => {
                self.wrong(format!("`kind` is {other}"), format!("write one of {}", all()));
                None
            }
        }
    }

    /// Whatever was not asked for is wrong.
    pub(crate) fn finish(mut self) {
        let known = self.known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        // What there is instead is said once.
        let mut advice = format!("there are {known}");
        for name in self.table.keys().cloned().collect::<Vec<_>>() {
            self.wrong(format!("there is no field `{name}`"), std::mem::take(&mut advice));
        }
    }
}

/// A whole number of B, KiB, MiB or GiB.
fn bytes(text: &str) -> Option<usize> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let shift = match text[at..].trim_start() {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    text[..at].parse::<usize>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_wrong_is_said_with_what_would_be_right() {
        let mut problems = Vec::new();
        let table = json!({"kind": "simulate", "rate": "ten", "for": 20, "spede": 1, "unit": "min"});
        let mut fields = Fields::of(&table, "source", Path::new("folder"), &mut problems);
        assert_eq!(fields.kind(&["simulate", "csv"]).as_deref(), Some("simulate"));
        assert_eq!((fields.number("rate"), fields.span("for")), (None, None));
        assert_eq!(fields.one_of("unit", &[("s", 1), ("ms", 2)]), None);
        assert_eq!(fields.path("path", "\"a.csv\""), None);
        fields.finish();
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "[source]: `rate` is \"ten\"; write a number",
                "[source]: `for` is 20; write a length of time with its unit: \"500ms\", \"20s\", \"5min\" or \"2h\"",
                "[source]: `unit` is \"min\"; write \"s\" or \"ms\"",
                "[source]: there is no `path`; add path = \"a.csv\"",
                "[source]: there is no field `spede`; there are `kind`, `rate`, `for`, `unit`, `path`",
            ]
        );
    }

    #[test]
    fn sizes_have_units() {
        let cases =
            [("512 KiB", Some(512 << 10)), ("2GiB", Some(2 << 30)), ("7 B", Some(7)), ("64", None), ("1 MB", None)];
        cases.into_iter().for_each(|(text, size)| assert_eq!(bytes(text), size, "{text}"));
        assert_eq!(bytes("99999999999999999999 GiB"), None);
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let mut problems = Vec::new();
        let table = json!({"path": "a.csv", "other": "/b.csv"});
        let mut fields = Fields::of(&table, "source", Path::new("folder"), &mut problems);
        assert_eq!(fields.path("path", ""), Some(PathBuf::from("folder/a.csv")));
        assert_eq!(fields.path_if("other"), Some(PathBuf::from("/b.csv")));
    }
}
