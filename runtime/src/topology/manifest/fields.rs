//! Takes the fields of a table one by one; what nobody took is an unknown field.

use super::error::{Problems, Refusal};
use super::tree::{Entry, Kind, Tree, shorten};
use super::words;
use crate::topology::registry::suggest;
use crate::words::{ElementType, Span, Value};

/// The fields of one table.
pub(in crate::topology) struct Fields<'t> {
    entries: &'t [Entry],
    /// The line of the table.
    pub(in crate::topology) line: usize,
    /// Where it stands, for messages: `` node `wear`, model ``.
    pub(in crate::topology) place: String,
    asked: Vec<&'static str>,
    /// Fields that other tables have, each with where it belongs.
    elsewhere: &'static [(&'static str, &'static str)],
}

impl<'t> Fields<'t> {
    /// The fields of a tree, if it is a table.
    pub(in crate::topology) fn of(tree: &'t Tree, place: impl Into<String>, problems: &mut Problems) -> Option<Self> {
        let place = place.into();
        match &tree.kind {
            Kind::Table(entries) => Some(Self { entries, line: tree.line, place, asked: Vec::new(), elsewhere: &[] }),
            _ => wrong(tree, &place, "a table", problems),
        }
    }

    pub(in crate::topology) fn with_elsewhere(mut self, elsewhere: &'static [(&'static str, &'static str)]) -> Self {
        self.elsewhere = elsewhere;
        self
    }

    /// The field of that name, which is known from now on.
    pub(in crate::topology) fn entry(&mut self, name: &'static str) -> Option<&'t Entry> {
        self.asked.push(name);
        self.entries.iter().find(|entry| entry.name == name)
    }

    pub(in crate::topology) fn take(&mut self, name: &'static str) -> Option<&'t Tree> {
        self.entry(name).map(|entry| &entry.value)
    }

    /// The place of a field, for messages.
    pub(in crate::topology) fn at(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}, {name}", self.place) }
    }

    /// The fields that nobody asked for.
    pub(in crate::topology) fn rest(&self) -> impl Iterator<Item = &'t Entry> {
        self.entries.iter().filter(|entry| !self.asked.contains(&entry.name.as_str()))
    }

    /// Refuses the fields that nobody asked for.
    pub(in crate::topology) fn finish(mut self, problems: &mut Problems) {
        self.asked.sort_unstable();
        self.asked.dedup();
        for entry in self.rest() {
            let elsewhere = self.elsewhere.iter().find(|(name, _)| *name == entry.name);
            let advice = elsewhere
                .map_or_else(|| suggest(&entry.name, &self.asked, "field"), |(_, advice)| (*advice).to_owned());
            let problem = format!("there is no field `{}`", shorten(&entry.name));
            problems.add(entry.line, self.place.clone(), Refusal::new(problem, advice));
        }
    }

    pub(in crate::topology) fn text(&mut self, name: &'static str, problems: &mut Problems) -> Option<&'t str> {
        let tree = self.take(name)?;
        text(tree, &self.at(name), problems)
    }

    /// A text that is a name of a `kind`.
    pub(in crate::topology) fn name(
        &mut self,
        name: &'static str,
        kind: &'static str,
        problems: &mut Problems,
    ) -> Option<&'t str> {
        let tree = self.take(name)?;
        let place = self.at(name);
        let text = text(tree, &place, problems)?;
        kept(words::named(kind, text), tree.line, &place, problems)
    }

    pub(in crate::topology) fn bool(&mut self, name: &'static str, problems: &mut Problems) -> Option<bool> {
        let tree = self.take(name)?;
        match tree.kind {
            Kind::Bool(value) => Some(value),
            _ => wrong(tree, &self.at(name), "true or false", problems),
        }
    }

    pub(in crate::topology) fn number(&mut self, name: &'static str, problems: &mut Problems) -> Option<f64> {
        let tree = self.take(name)?;
        number(tree, &self.at(name), problems)
    }

    /// A whole number from `least` to `most`.
    pub(in crate::topology) fn integer<T: TryFrom<i64>>(
        &mut self,
        name: &'static str,
        least: i64,
        most: i64,
        problems: &mut Problems,
    ) -> Option<T> {
        let tree = self.take(name)?;
        match tree.kind {
            Kind::Integer(value) if (least..=most).contains(&value) => T::try_from(value).ok(),
            _ => wrong(tree, &self.at(name), &format!("a whole number from {least} to {most}"), problems),
        }
    }

    pub(in crate::topology) fn span(&mut self, name: &'static str, problems: &mut Problems) -> Option<Span> {
        let tree = self.take(name)?;
        span(tree, &self.at(name), problems)
    }

    /// A list of at most `most` items, each read by `item`, which gets its place. What is wrong is left out.
    pub(in crate::topology) fn list<T>(
        &mut self,
        name: &'static str,
        most: usize,
        problems: &mut Problems,
        mut item: impl FnMut(&'t Tree, &str, &mut Problems) -> Option<T>,
    ) -> Option<Vec<T>> {
        let tree = self.take(name)?;
        let place = self.at(name);
        let Kind::List(items) = &tree.kind else { return wrong(tree, &place, "a list", problems) };
        if items.len() > most {
            let problem = format!("has {} items; the limit is {most}", items.len());
            problems.add(tree.line, place, Refusal::new(problem, "split the node"));
            return None;
        }
        let before = problems.count();
        let mut read = Vec::with_capacity(items.len());
        for (index, tree) in items.iter().enumerate() {
            read.extend(item(tree, &format!("{place}[{index}]"), problems));
        }
        // A list that lost an item must not be judged as a whole.
        (problems.count() == before).then_some(read)
    }
}

/// Reports that a value is not what it should be. Values that could not be read were reported already.
pub(in crate::topology) fn wrong<T>(tree: &Tree, place: &str, expected: &str, problems: &mut Problems) -> Option<T> {
    if tree.kind != Kind::Bad {
        let refusal = Refusal::new(format!("is {}", tree.describe()), format!("write {expected}"));
        problems.add(tree.line, place, refusal);
    }
    None
}

/// What was read, or `None` and a report.
pub(in crate::topology) fn kept<T>(
    read: Result<T, Refusal>,
    line: usize,
    place: &str,
    problems: &mut Problems,
) -> Option<T> {
    read.map_err(|refusal| problems.add(line, place, refusal)).ok()
}

pub(in crate::topology) fn text<'t>(tree: &'t Tree, place: &str, problems: &mut Problems) -> Option<&'t str> {
    match &tree.kind {
        Kind::Text(text) => Some(text),
        _ => wrong(tree, place, "a text", problems),
    }
}

pub(in crate::topology) fn number(tree: &Tree, place: &str, problems: &mut Problems) -> Option<f64> {
    match tree.kind {
        Kind::Integer(value) => Some(value as f64),
        Kind::Float(value) if value.is_finite() => Some(value),
        _ => wrong(tree, place, "a finite number", problems),
    }
}

/// A finite number of an `f32`.
pub(in crate::topology) fn narrow_number(tree: &Tree, place: &str, problems: &mut Problems) -> Option<f32> {
    let wide = number(tree, place, problems)?;
    match Value::F64(wide).cast(ElementType::F32) {
        Some(Value::F32(narrow)) => Some(narrow),
        _ => wrong(tree, place, "a number that an f32 can hold", problems),
    }
}

pub(in crate::topology) fn span(tree: &Tree, place: &str, problems: &mut Problems) -> Option<Span> {
    let read = match &tree.kind {
        Kind::Integer(value) if *value >= 0 => Err(words::unitless(&value.to_string())),
        Kind::Float(value) if *value >= 0.0 => Err(words::unitless(&value.to_string())),
        Kind::Text(text) => words::span(text),
        _ => return wrong(tree, place, "a number and its unit as a text: \"10s\"", problems),
    };
    kept(read, tree.line, place, problems)
}
