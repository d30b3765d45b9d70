//! From a table to a node, with everything that is wrong reported.

use std::collections::BTreeMap;

use super::error::{Problems, Refusal};
use super::fields::{Fields, kept, number, span, text, wrong};
use super::node::{EXPR, Lines, ModelManifest, NodeManifest, OutputName, Run};
use super::tree::{Kind, Tree, shorten};
use super::{slow, trial, words};
use crate::topology::check;
use crate::topology::need::Need;
use crate::topology::node::{Ask, Missing, RowRule, Slow, TrialRow};
use crate::topology::selector::{Pattern, Selector};
use crate::topology::sensor::{BadReading, Cleaning};
use crate::words::{Binding, ElementType, Key, NodeId, Span, StreamName, Value};

/// Most needs or asks of one node.
pub const NEEDS_MAX: usize = check::NEEDS_MAX;
/// Most streams that one node provides.
pub const PROVIDES_MAX: usize = check::PROVIDES_MAX;
/// Most values that are kept of a need from another axis.
pub const AS_OF_ROWS_MAX: usize = check::AS_OF_ROWS_MAX;
/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 200;

const RUNS: [&str; 5] = ["sensor", "operator", EXPR, "model", "sink"];
const RUN_ADVICE: &str = "write one of `sensor`, `operator`, `expr`, `model` and `sink`";

/// What of a node is read before it is known what it runs.
struct Wires {
    needs: Option<Vec<Need>>,
    provides: Option<Vec<(StreamName, ElementType)>>,
}

/// Reads the fields of a node and leaves other fields to the caller, who finishes `fields`. `partial` is true where
/// fields may have been lost to a syntax error.
pub(super) fn node(fields: &mut Fields<'_>, partial: bool, problems: &mut Problems) -> Option<NodeManifest> {
    let before = problems.count();
    let given_id = fields.entry("id").and_then(|entry| match &entry.value.kind {
        Kind::Text(id) => Some(id.as_str()),
        _ => None,
    });
    let shown = given_id.filter(|id| !id.is_empty()).or_else(|| first_provided(fields));
    if let Some(shown) = shown {
        fields.place = format!("node `{}`", shorten(shown));
    }
    let given_id = fields.name("id", "node", problems);
    let mut lines = Lines::default();
    lines.node = fields.line;
    for field in ["needs", "provides", "sensor", "operator", EXPR, "model", "sink", "asks", "keys"] {
        if let Some(entry) = fields.entry(field) {
            lines.set(field, entry.line);
        }
    }
    let wires = Wires { needs: needs(fields, problems), provides: provides(fields, problems) };
    let run = run(fields, &wires, partial, problems);
    let settings = Settings::read(fields, problems);
    check_fields(fields, partial, problems);
    if problems.count() > before {
        return None;
    }
    let (run, provides) = (run?, wires.provides.unwrap_or_default());
    let id = match (given_id, &run, provides.first()) {
        (Some(id), _, _) => NodeId::from(id),
        (None, Run::Sink { binding, .. }, _) => NodeId::from(binding.as_str()),
        (None, _, first) => NodeId::from(first?.0.as_str()),
    };
    let mut node = NodeManifest::new(id, wires.needs.unwrap_or_default(), provides, run, lines);
    settings.put(&mut node);
    Some(node)
}

/// The name that a node without an id will have, for messages.
fn first_provided<'t>(fields: &mut Fields<'t>) -> Option<&'t str> {
    if let Some(Tree { kind: Kind::List(items), .. }) = fields.take("provides") {
        let Kind::Text(first) = &items.first()?.kind else { return None };
        return Some(first.rsplit_once(':').map_or(first.as_str(), |(name, _)| name).trim());
    }
    match &fields.take("sink")?.kind {
        Kind::Text(binding) => Some(binding),
        _ => None,
    }
}

fn needs(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Vec<Need>> {
    fields.list("needs", NEEDS_MAX, problems, |tree, place, problems| {
        let text = text(tree, place, problems)?;
        kept(words::need(text), tree.line, place, problems)
    })
}

fn provides(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Vec<(StreamName, ElementType)>> {
    let mut names = rustc_hash::FxHashSet::default();
    fields.list("provides", PROVIDES_MAX, problems, |tree, place, problems| {
        let provided = kept(words::provided(text(tree, place, problems)?), tree.line, place, problems)?;
        if !names.insert(provided.0.clone()) {
            let problem = format!("`{}` is provided twice", provided.0);
            problems.add(tree.line, place, Refusal::new(problem, "give each stream its own name"));
        }
        Some(provided)
    })
}

fn run(fields: &mut Fields<'_>, wires: &Wires, partial: bool, problems: &mut Problems) -> Option<Run> {
    let said: Vec<_> = RUNS.into_iter().filter_map(|name| fields.entry(name)).collect();
    let [entry] = said[..] else {
        if let Some(second) = said.get(1) {
            let names: Vec<_> = said.iter().map(|entry| format!("`{}`", entry.name)).collect();
            let problem = format!("says {} at once", names.join(" and "));
            problems.add(second.line, fields.place.clone(), Refusal::new(problem, RUN_ADVICE));
        } else if !partial {
            problems.add(fields.line, fields.place.clone(), Refusal::new("does not say what it runs", RUN_ADVICE));
        }
        return None;
    };
    let (tree, place) = (&entry.value, fields.at(&entry.name));
    match entry.name.as_str() {
        "sensor" => sensor(tree, &place, wires, problems),
        "operator" => operator(fields, tree, &place, problems),
        EXPR => {
            let model = is_model(fields, problems)?;
            let text = text(tree, &place, problems)?;
            Some(Run::Operator { name: EXPR.to_owned(), parameters: text.into(), model })
        }
        "model" => model(tree, &place, wires, problems).map(Run::Model),
        _ => {
            let binding = text(tree, &place, problems).map(|text| words::named("sink", text));
            let binding = binding.and_then(|binding| kept(binding, tree.line, &place, problems));
            let asks = fields.list("asks", NEEDS_MAX, problems, ask);
            Some(Run::Sink { binding: Binding::from(binding?), asks: asks.unwrap_or_default() })
        }
    }
}

fn sensor(tree: &Tree, place: &str, wires: &Wires, problems: &mut Problems) -> Option<Run> {
    let mut fields = Fields::of(tree, place, problems)?;
    let from = fields.name("from", "column", problems).map(StreamName::from);
    let cleaning = Cleaning {
        range: fields.list("range", 2, problems, number).and_then(|range| match range[..] {
            [low, high] if low <= high => Some((low, high)),
            _ => {
                let problem = "is not the least and the largest value";
                problems.add(tree.line, format!("{place}, range"), Refusal::new(problem, "write range = [0, 50]"));
                None
            }
        }),
        out_of_range: bad_reading(&mut fields, "out_of_range", problems),
        nan: bad_reading(&mut fields, "nan", problems),
        hold_last: fields.bool("hold_last", problems).unwrap_or_default(),
        scale: fields.number("scale", problems),
        offset: fields.number("offset", problems),
    };
    fields.finish(problems);
    if cleaning.scale == Some(0.0) {
        let refusal = Refusal::new("is 0, which makes every value the same", "write what the value is multiplied by");
        problems.add(tree.line, format!("{place}, scale"), refusal);
    }
    let [(name, element), ..] = &wires.provides.as_ref()?[..] else { return None };
    let numbers = cleaning.range.is_some() || cleaning.scale.is_some() || cleaning.offset.is_some();
    let number_like = matches!(element, ElementType::F32 | ElementType::F64 | ElementType::I64);
    if numbers && !number_like {
        let problem = format!("`range`, `scale` and `offset` are for numbers, but `{name}` is {element}");
        problems.add(tree.line, place, Refusal::new(problem, "leave them out"));
    } else if matches!(element, ElementType::Vector(_)) && cleaning != Cleaning::default() {
        let problem = format!("vectors such as `{name}` pass as they are");
        problems.add(tree.line, place, Refusal::new(problem, "leave out all but `from`"));
    }
    Some(Run::Sensor { from: from.unwrap_or_else(|| name.clone()), cleaning })
}

fn bad_reading(fields: &mut Fields<'_>, name: &'static str, problems: &mut Problems) -> BadReading {
    let Some(tree) = fields.take(name) else { return BadReading::default() };
    match &tree.kind {
        Kind::Text(text) if text == "missing" => BadReading::Missing,
        Kind::Text(text) if text == "dead_letter" => BadReading::DeadLetter,
        _ => wrong(tree, &fields.at(name), "\"missing\" or \"dead_letter\"", problems).unwrap_or_default(),
    }
}

fn operator(fields: &mut Fields<'_>, tree: &Tree, place: &str, problems: &mut Problems) -> Option<Run> {
    const EXPECTED: &str = "the operator's name with its parameters: operator = { rolling = { rows = 10 } }";
    let model = is_model(fields, problems)?;
    let (name, parameters) = match &tree.kind {
        Kind::Text(name) => (name, serde_json::Value::Object(serde_json::Map::new())),
        Kind::Table(entries) => match &entries[..] {
            [entry] => match entry.value.to_json() {
                Ok(parameters) => (&entry.name, parameters),
                Err(line) => {
                    let refusal = Refusal::new("has a number that is not finite", "write a finite number");
                    problems.add(line, format!("{place}, {}", entry.name), refusal);
                    return None;
                }
            },
            _ => return wrong(tree, place, EXPECTED, problems),
        },
        _ => return wrong(tree, place, EXPECTED, problems),
    };
    Some(Run::Operator { name: name.clone(), parameters, model })
}

/// Whether an operator says that it is a model to the user.
fn is_model(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<bool> {
    let Some(kind) = fields.take("kind") else { return Some(false) };
    match &kind.kind {
        Kind::Text(text) if text == "model" => Some(true),
        Kind::Text(text) if text == "operator" => Some(false),
        _ => wrong(kind, &fields.at("kind"), "\"operator\" or \"model\"", problems),
    }
}

fn model(tree: &Tree, place: &str, wires: &Wires, problems: &mut Problems) -> Option<ModelManifest> {
    let mut fields = Fields::of(tree, place, problems)?;
    let default = fields.text("default", problems).map(str::to_owned);
    let outputs = fields.list("outputs", PROVIDES_MAX, problems, |tree, place, problems| match &tree.kind {
        Kind::Text(name) => Some(OutputName::Name(name.clone())),
        Kind::Integer(number) if *number >= 0 => usize::try_from(*number).ok().map(OutputName::Column),
        _ => wrong(tree, place, "the name of an output, or the number of its column from 0", problems),
    });
    if let (Some(outputs), Some(provides)) = (&outputs, &wires.provides)
        && outputs.len() != provides.len()
    {
        let problem = format!("has {} names, but the node provides {} streams", outputs.len(), provides.len());
        let advice = "write an output for each of `provides`, in that order";
        problems.add(tree.line, format!("{place}, outputs"), Refusal::new(problem, advice));
    }
    let inputs = inputs(&mut fields, problems);
    let formats: Vec<_> = fields.rest().collect();
    let [artifact] = formats[..] else {
        let problem = match formats.get(1) {
            None => "names no artifact".to_owned(),
            Some(_) => {
                let names: Vec<_> = formats.iter().map(|entry| format!("`{}`", shorten(&entry.name))).collect();
                format!("has {}, where one names the format and the others are unknown", names.join(" and "))
            }
        };
        let advice = "write model = { onnx = \"file.onnx\" } with `default`, `inputs` and `outputs` where needed";
        problems.add(tree.line, place, Refusal::new(problem, advice));
        return None;
    };
    let path = text(&artifact.value, &format!("{place}, {}", artifact.name), problems)?.to_owned();
    Some(ModelManifest {
        format: artifact.name.clone(),
        path,
        default,
        inputs: inputs.unwrap_or_default(),
        outputs: outputs.unwrap_or_default(),
    })
}

fn inputs(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let tree = fields.take("inputs")?;
    let Kind::Table(entries) = &tree.kind else {
        let expected = "the model's names with the needs they read: { float_input = \"wear\" }";
        return wrong(tree, &fields.at("inputs"), expected, problems);
    };
    let mut inputs = BTreeMap::new();
    for entry in entries {
        let place = fields.at(&format!("inputs.{}", shorten(&entry.name)));
        if let Some(need) = text(&entry.value, &place, problems) {
            inputs.insert(entry.name.clone(), need.to_owned());
        }
    }
    Some(inputs)
}

fn ask(tree: &Tree, place: &str, problems: &mut Problems) -> Option<Ask> {
    const EXPECTED: &str = "a stream's name, { pattern = \"pump.*\" } or { all = \"models\" }";
    match &tree.kind {
        Kind::Text(text) if text.contains(['*', '?']) => {
            let advice =
                "write { all = \"models\" } for what all models provide, or { pattern = \"…\" } for matching names";
            let refusal = Refusal::new(format!("`{}` is not the name of a stream", shorten(text)), advice);
            kept(Err(refusal), tree.line, place, problems)
        }
        Kind::Text(text) => kept(words::stream(text).map(Ask::Stream), tree.line, place, problems),
        Kind::Table(entries) if entries.len() == 1 => {
            let mut fields = Fields::of(tree, place, problems)?;
            let pattern = pattern(&mut fields, problems).map(Ask::Pattern);
            let all = fields.take("all").and_then(|all| match &all.kind {
                Kind::Text(text) if text == "models" => Some(Ask::AllModels),
                _ => wrong(all, &fields.at("all"), "\"models\"", problems),
            });
            fields.finish(problems);
            pattern.or(all)
        }
        _ => wrong(tree, place, EXPECTED, problems),
    }
}

fn pattern(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Pattern> {
    let tree = fields.take("pattern")?;
    let place = fields.at("pattern");
    let text = text(tree, &place, problems)?;
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
        let problem = format!("has {} bytes; 1 to {PATTERN_BYTES_MAX} are allowed", text.len());
        problems.add(tree.line, place, Refusal::new(problem, "write a name in which * stands for any text"));
        return None;
    }
    Some(Pattern(text.to_owned()))
}

/// What any node may say of its rows and keys.
struct Settings {
    rows: Option<RowRule>,
    every: Option<Span>,
    when: Option<StreamName>,
    missing: Option<Missing>,
    max_age: Option<Span>,
    as_of_rows: Option<usize>,
    keys: Option<Selector>,
    priority: Option<i32>,
    pending: Option<bool>,
    version: Option<u32>,
    trial: Option<Vec<TrialRow>>,
    slow: Option<Slow>,
}

impl Settings {
    fn read(fields: &mut Fields<'_>, problems: &mut Problems) -> Self {
        Self {
            rows: rows(fields, problems),
            every: every(fields, problems),
            when: fields.name("when", "stream", problems).map(StreamName::from),
            missing: missing(fields, problems),
            max_age: fields.span("max_age", problems),
            as_of_rows: fields.integer("as_of_rows", 1, AS_OF_ROWS_MAX as i64, problems),
            keys: keys(fields, problems),
            priority: fields.integer("priority", i64::from(i32::MIN), i64::from(i32::MAX), problems),
            pending: fields.bool("pending", problems),
            version: fields.integer("version", 1, i64::from(u32::MAX), problems),
            trial: trial::rows(fields, problems),
            slow: slow::slow(fields, problems),
        }
    }

    fn put(self, node: &mut NodeManifest) {
        node.rows = self.rows.unwrap_or(node.rows);
        node.every = self.every;
        node.when = self.when;
        node.missing = self.missing.unwrap_or_default();
        node.max_age = self.max_age.unwrap_or(node.max_age);
        node.as_of_rows = self.as_of_rows.unwrap_or(node.as_of_rows);
        node.keys = self.keys.unwrap_or_default();
        node.priority = self.priority.unwrap_or(node.priority);
        node.pending = self.pending.unwrap_or(node.pending);
        node.version = self.version.unwrap_or(node.version);
        node.trial = self.trial.unwrap_or_default();
        node.slow = self.slow;
    }
}

fn rows(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<RowRule> {
    const EXPECTED: &str = "\"first\", \"on_any\" or { on_all = \"2s\" }";
    let tree = fields.take("rows")?;
    let place = fields.at("rows");
    match &tree.kind {
        Kind::Text(text) if text == "first" => Some(RowRule::First),
        Kind::Text(text) if text == "on_any" => Some(RowRule::OnAny),
        Kind::Table(entries) => match &entries[..] {
            [entry] if entry.name == "on_all" => {
                span(&entry.value, &format!("{place}, on_all"), problems).map(|wait| RowRule::OnAll { wait })
            }
            _ => wrong(tree, &place, EXPECTED, problems),
        },
        _ => wrong(tree, &place, EXPECTED, problems),
    }
}

fn every(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Span> {
    let every = fields.span("every", problems)?;
    if every == Span::ZERO {
        let refusal = Refusal::new("is no time at all", "write a longer one, or leave it out for every row");
        problems.add(fields.entry("every").map_or(0, |entry| entry.line), fields.at("every"), refusal);
    }
    Some(every)
}

fn missing(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Missing> {
    const EXPECTED: &str = "\"skip\", \"last\", \"pass\" or { default = 0 }";
    let tree = fields.take("missing")?;
    let place = fields.at("missing");
    match &tree.kind {
        Kind::Text(text) if text == "skip" => Some(Missing::Skip),
        Kind::Text(text) if text == "last" => Some(Missing::Last),
        Kind::Text(text) if text == "pass" => Some(Missing::Pass),
        Kind::Table(entries) => match &entries[..] {
            [entry] if entry.name == "default" => {
                number(&entry.value, &format!("{place}, default"), problems).map(Missing::Default)
            }
            _ => wrong(tree, &place, EXPECTED, problems),
        },
        _ => wrong(tree, &place, EXPECTED, problems),
    }
}

fn keys(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Selector> {
    let tree = fields.take("keys")?;
    let place = fields.at("keys");
    if let Kind::Text(key) = &tree.kind {
        if key.contains(['*', '?']) {
            let refusal = Refusal::new(
                format!("`{}` is not one key", shorten(key)),
                format!("write keys = {{ pattern = \"{}\" }}", shorten(key)),
            );
            return kept(Err(refusal), tree.line, &place, problems);
        }
        let key = words::named("key", key).map(Key::from);
        return kept(key, tree.line, &place, problems).map(Selector::Key);
    }
    let Kind::Table(entries) = &tree.kind else {
        let expected = "one key, { pattern = \"P1*\" } or { attribute = \"site: str\", equals = \"north\" }";
        return wrong(tree, &place, expected, problems);
    };
    let mut fields = Fields::of(tree, place.as_str(), problems)?;
    let selector = match entries.iter().any(|entry| entry.name == "pattern") {
        true => pattern(&mut fields, problems).map(Selector::Pattern),
        false => attribute(&mut fields, problems),
    };
    fields.finish(problems);
    selector
}

fn attribute(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Selector> {
    let (Some(attribute), Some(equals)) = (fields.take("attribute"), fields.take("equals")) else {
        let refusal = Refusal::new(
            "does not say which keys",
            "write { pattern = \"P1*\" } or { attribute = \"site: str\", equals = \"north\" }",
        );
        problems.add(fields.line, fields.place.clone(), refusal);
        return None;
    };
    let place = fields.at("attribute");
    let name = text(attribute, &place, problems)?;
    let read = match &equals.kind {
        Kind::Text(_) if !name.contains(':') => words::stream(name).map(|name| (name, ElementType::Str)),
        Kind::Bool(_) if !name.contains(':') => words::stream(name).map(|name| (name, ElementType::Bool)),
        _ => words::provided(name),
    };
    let (name, element) = kept(read, attribute.line, &place, problems)?;
    let value = match &equals.kind {
        Kind::Text(text) if element == ElementType::Str => Some(Value::Str(text.as_str().into())),
        Kind::Bool(value) if element == ElementType::Bool => Some(Value::Bool(*value)),
        Kind::Integer(value) if *value != i64::MIN => Value::I64(*value).cast(element),
        Kind::Float(value) if value.is_finite() => Value::F64(*value).cast(element),
        _ => None,
    };
    match value {
        Some(value) => Some(Selector::Attribute { name, value }),
        None => wrong(equals, &fields.at("equals"), &format!("a value of {element}, the attribute's type"), problems),
    }
}

/// What must be there, and what does not go together.
fn check_fields(fields: &mut Fields<'_>, partial: bool, problems: &mut Problems) {
    const OF_ROWS: [&str; 8] = ["needs", "rows", "every", "when", "missing", "max_age", "as_of_rows", "slow"];
    let said: Vec<_> = RUNS.into_iter().filter(|name| fields.entry(name).is_some()).collect();
    let [what] = said[..] else { return };
    let article = if matches!(what, "operator" | EXPR) { "an" } else { "a" };
    let (must, must_not): (&[&'static str], &[&[&'static str]]) = match what {
        "sensor" => (&["provides"], &[&OF_ROWS, &["asks", "kind"]]),
        "sink" => (&["asks"], &[&OF_ROWS, &["provides", "kind"]]),
        "operator" | EXPR => (&["needs", "provides"], &[&["asks"]]),
        _ => (&["needs", "provides"], &[&["asks", "kind"]]),
    };
    for field in must_not.iter().copied().flatten() {
        if let Some(entry) = fields.entry(field) {
            let refusal = Refusal::new(format!("{article} {what} has no `{field}`"), "leave it out");
            problems.add(entry.line, fields.place.clone(), refusal);
        }
    }
    for field in must {
        let empty = match fields.take(field).map(|tree| &tree.kind) {
            None => !partial,
            Some(Kind::List(items)) => items.is_empty(),
            Some(_) => false,
        };
        if empty {
            let example = match *field {
                "needs" => "write needs = [\"wear: f32\"]",
                "provides" => "write provides = [\"alarm: bool\"]",
                _ => "write asks = [\"alarm\", { all = \"models\" }]",
            };
            let line = fields.entry(field).map_or(fields.line, |entry| entry.line);
            problems.add(
                line,
                fields.place.clone(),
                Refusal::new(format!("{article} {what} must have `{field}`"), example),
            );
        }
    }
    if let ("sensor", Some(Tree { kind: Kind::List(items), line })) = (what, fields.take("provides"))
        && items.len() > 1
    {
        let refusal =
            Refusal::new(format!("a sensor provides one stream, not {}", items.len()), "write a node for each");
        problems.add(*line, fields.at("provides"), refusal);
    }
}
