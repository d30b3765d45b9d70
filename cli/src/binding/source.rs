//! The table `[source]`.

use std::path::{Path, PathBuf};

use gristmill::traits::{Source, SourceError};
use gristmill::words::Span;
use gristmill::{BadRow, IntakePolicy};
use gristmill_operators::codec::JsonRecord;
use gristmill_operators::{file, simulate};
use serde_json::Value;

use super::fields::{Fields, Problem};
use super::record::{self, Given};

/// What can be a source.
const KINDS: [&str; 5] = ["simulate", "csv", "json", "parquet", "kafka"];
/// The option that a file comes from.
pub(super) const INPUT: &str = "--input";
const PARTITIONS_MAX: u64 = 1_024;

/// What a file's records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Csv,
    Json,
    Parquet,
}

/// A file that stands in for whatever the table says.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) kind: FileKind,
    pub(crate) key: Option<String>,
    pub(crate) time: Option<String>,
}

/// What else the table decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intake {
    pub(crate) policy: IntakePolicy,
    /// A file for dead letters; they are logged unless it is named.
    pub(crate) dead_letters: Option<PathBuf>,
}

/// Makes the source; `None` when something is wrong, which is added to `problems`.
pub(crate) fn source(
    table: &Value,
    class: &str,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<(Box<dyn Source>, Intake)> {
    let before = problems.len();
    let mut fields = Fields::of(table, "source", folder, problems);
    let kind = fields.kind(&KINDS)?;
    let intake = intake(&mut fields);
    let given = Given::default();
    let made = match kind.as_str() {
        "simulate" => simulated(&mut fields, class),
        "csv" => csv(&mut fields, &given, None),
        "json" => json(&mut fields, &given, None),
        "parquet" => parquet(&mut fields, &given, None),
        _ => kafka(&mut fields, &given),
    };
    fields.finish();
    settled(made, "[source]", before, problems).map(|source| (source, intake))
}

/// Makes the source of a file in the place of the one that the table describes; what the table says of records of this
/// kind still holds.
pub(crate) fn replaced(
    table: Option<&Value>,
    input: &Input,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<(Box<dyn Source>, Intake)> {
    let before = problems.len();
    let nothing = Value::Null;
    let kind = table.and_then(|table| table.get("kind")).and_then(Value::as_str);
    let same = match input.kind {
        FileKind::Csv => kind == Some("csv"),
        FileKind::Json => matches!(kind, Some("json" | "kafka")),
        FileKind::Parquet => kind == Some("parquet"),
    };
    let table = table.filter(|_| same).unwrap_or(&nothing);
    let place = if same { "source" } else { INPUT };
    let mut fields = Fields::of(table, place, folder, problems);
    let given = Given { by_option: true, key: input.key.clone(), time: input.time.clone() };
    let intake = intake(&mut fields);
    let made = match input.kind {
        FileKind::Csv => csv(&mut fields, &given, Some(&input.path)),
        FileKind::Json => json(&mut fields, &given, Some(&input.path)),
        FileKind::Parquet => parquet(&mut fields, &given, Some(&input.path)),
    };
    // What else the table has is about where records come from, and that has been replaced.
    drop(fields);
    settled(made, INPUT, before, problems).map(|source| (source, intake))
}

type Made = Option<Result<Box<dyn Source>, SourceError>>;

/// The source, if nothing was wrong with it.
fn settled(made: Made, place: &str, before: usize, problems: &mut Vec<Problem>) -> Option<Box<dyn Source>> {
    match made {
        Some(Ok(source)) if problems.len() == before => Some(source),
        Some(Err(error)) => {
            let (place, advice) = (place.to_owned(), String::new());
            problems.push(Problem { line: None, place, problem: error.reason, advice });
            None
        }
        _ => None,
    }
}

/// `reorder`, `late`, `duplicate`, `max_ahead`, `dead_letters`.
fn intake(fields: &mut Fields<'_>) -> Intake {
    let mut policy = IntakePolicy::default();
    let bad = [("drop", BadRow::Drop), ("dead_letter", BadRow::DeadLetter)];
    policy.reorder = fields.span("reorder").unwrap_or(policy.reorder);
    policy.late = fields.one_of("late", &bad).unwrap_or(policy.late);
    policy.duplicate = fields.one_of("duplicate", &bad).unwrap_or(policy.duplicate);
    policy.max_ahead = fields.span("max_ahead").unwrap_or(policy.max_ahead);
    Intake { policy, dead_letters: fields.path_if("dead_letters") }
}

fn simulated(fields: &mut Fields<'_>, class: &str) -> Made {
    let machines = fields.whole("machines").unwrap_or(10);
    let rate = fields.number("rate").unwrap_or(10.0);
    let partitions = fields.whole("partitions").unwrap_or(1);
    let rows = fields.whole("rows");
    let length = fields.span("for");
    let speed = above_nothing(fields, "speed");
    let flat_out = fields.flag("flat_out").unwrap_or(false);
    let seed = fields.whole("seed").unwrap_or(0);
    let failing = fields.number("failing").unwrap_or(10.0);
    if !(0.0..=100.0).contains(&failing) {
        fields.wrong(format!("`failing` is {failing}"), "write how many machines of a hundred wear out: 0 to 100");
    }
    let life = fields.span("life").unwrap_or(Span::from_secs(86_400));
    let machines = u32::try_from(machines).unwrap_or_else(|_| {
        fields.wrong(format!("`machines` is {machines}"), format!("write at most {}", u32::MAX));
        1
    });
    if partitions > PARTITIONS_MAX {
        fields.wrong(format!("`partitions` is {partitions}"), format!("write at most {PARTITIONS_MAX}"));
    }
    if rows.is_some() && length.is_some() {
        fields.wrong("`rows` and `for` both say when it ends", "keep one of them");
    }
    if speed.is_some() && flat_out {
        fields.wrong("`speed` and `flat_out` contradict each other", "keep one of them");
    }
    let rows = rows.or(length.map(|length| (length.0 as f64 / 1e6 * rate).round() as u64));
    let mut plant = simulate::plant(machines).class(class).rate(rate).partitions(partitions.min(PARTITIONS_MAX) as u32);
    plant = plant.seed(seed).failing(failing, life);
    if let Some(rows) = rows {
        plant = plant.rows(rows);
    }
    if !flat_out {
        plant = plant.realtime(speed.unwrap_or(1.0));
    }
    Some(plant.check().map(|()| Box::new(plant) as Box<dyn Source>))
}

/// A number that makes no sense unless it is above 0.
fn above_nothing(fields: &mut Fields<'_>, name: &'static str) -> Option<f64> {
    let number = fields.number(name)?;
    if number > 0.0 && number.is_finite() {
        return Some(number);
    }
    fields.wrong(format!("`{name}` is {number}"), "write a number above 0");
    None
}

fn csv(fields: &mut Fields<'_>, given: &Given, path: Option<&Path>) -> Made {
    let path = path.map(Path::to_owned).or_else(|| fields.path("path", "\"readings.csv\""));
    let before = fields.found();
    let record = record::csv(fields, given);
    if fields.found() > before {
        return unreadable(&path?);
    }
    Some(file::csv(path?, |_| record).map(|source| Box::new(source) as Box<dyn Source>))
}

/// What else is wrong with a file whose records are not described.
fn unreadable(path: &Path) -> Made {
    let error = std::fs::File::open(path).err()?;
    Some(Err(SourceError { reason: format!("file `{}`: {error}", path.display()), retry: false }))
}

fn json(fields: &mut Fields<'_>, given: &Given, path: Option<&Path>) -> Made {
    let open = |path: PathBuf, record| file::json_lines(path, |_| record);
    described(fields, given, path, "\"readings.jsonl\"", open)
}

#[cfg(feature = "parquet")]
fn parquet(fields: &mut Fields<'_>, given: &Given, path: Option<&Path>) -> Made {
    let open = |path: PathBuf, record| file::parquet(path, |_| record);
    described(fields, given, path, "\"readings.parquet\"", open)
}

/// A file whose records are described as those of JSON.
fn described(
    fields: &mut Fields<'_>,
    given: &Given,
    path: Option<&Path>,
    example: &str,
    open: impl FnOnce(PathBuf, JsonRecord) -> Result<file::FileSource, SourceError>,
) -> Made {
    let path = path.map(Path::to_owned).or_else(|| fields.path("path", example));
    let before = fields.found();
    let record = record::json(fields, given, false);
    if fields.found() > before {
        return unreadable(&path?);
    }
    Some(open(path?, record).map(|source| Box::new(source) as Box<dyn Source>))
}

#[cfg(not(feature = "parquet"))]
fn parquet(fields: &mut Fields<'_>, _given: &Given, _path: Option<&Path>) -> Made {
    fields.wrong("this grist was built without Parquet", "build it with --features parquet");
    None
}

#[cfg(feature = "kafka")]
fn kafka(fields: &mut Fields<'_>, given: &Given) -> Made {
    use gristmill_operators::kafka::{self, StartAt};
    let brokers = fields.needed("brokers", "\"localhost:9092\"");
    let topics = fields.texts("topics");
    if topics.is_none() {
        fields.wrong("it does not say what it reads", "add topics = \"sensors\", or several in brackets");
    }
    let group = fields.text("group");
    let starts = [("committed", StartAt::Committed), ("earliest", StartAt::Earliest), ("latest", StartAt::Latest)];
    let start_at = fields.one_of("start_at", &starts).unwrap_or_default();
    let properties = fields.table("properties");
    let before = fields.found();
    let record = record::json(fields, given, true);
    if fields.found() > before {
        return None;
    }
    let mut source = kafka::source(topics?).brokers(&brokers?).start_at(start_at).json(|_| record);
    if let Some(group) = group {
        source = source.group(&group);
    }
    for (name, value) in properties {
        source = source.set(&name, &value);
    }
    Some(source.check().map(|()| Box::new(source) as Box<dyn Source>))
}

#[cfg(not(feature = "kafka"))]
fn kafka(fields: &mut Fields<'_>, _given: &Given) -> Made {
    fields.wrong("this grist was built without Kafka", "build it with --features kafka");
    None
}
