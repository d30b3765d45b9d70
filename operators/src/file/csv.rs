//! CSV rows: columns by the names in the header, one of them the key and one the time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Mutex;

use gristmill::traits::source::{ABSENT_F32, AxisStreams, RawRecord};
use gristmill::traits::{Decode, RowsRecord};
use gristmill::words::{ElementType, Key, StreamName, Time};
use smol_str::SmolStr;

use crate::codec::cell::{Cell, Place, RECORD_BYTES_MAX, RowsOut, When, checked_i64, infinite, to_f32};
use crate::codec::names::{Names, key_of};
use crate::codec::time::{Nanos, TimeUnit, time_of_any_text};

/// What the columns of a CSV file mean; every other column is the stream of its name. An empty field is a missing
/// reading, `NaN` one that is not a number, `inf` and `-inf` are infinite; the elements of a vector are separated by blanks.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct CsvRecord {
    key: Option<String>,
    key_is: Option<String>,
    time: Option<String>,
    unit: TimeUnit,
    separator: Option<char>,
}

impl CsvRecord {
    /// The column with the key.
    pub fn key(mut self, column: &str) -> Self {
        self.key = Some(column.to_owned());
        self
    }

    /// All rows are of this key.
    pub fn key_is(mut self, key: &str) -> Self {
        self.key_is = Some(key.to_owned());
        self
    }

    /// The column with the event time: RFC 3339, or a number of [`CsvRecord::unit`].
    pub fn time(mut self, column: &str) -> Self {
        self.time = Some(column.to_owned());
        self
    }

    /// What times that are numbers count; milliseconds unless said.
    pub fn unit(mut self, unit: TimeUnit) -> Self {
        self.unit = unit;
        self
    }

    /// What separates columns, an ASCII character; a comma unless said.
    pub fn separator(mut self, separator: char) -> Self {
        self.separator = Some(separator);
        self
    }

    pub(super) fn separator_byte(&self) -> Result<u8, String> {
        let separator = u8::try_from(self.separator.unwrap_or(',')).ok();
        let fine = separator.filter(|byte| byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n'));
        fine.ok_or_else(|| "the separator is not an ASCII character that can separate".to_owned())
    }
}

/// What a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Key,
    Time,
    Stream,
}

/// Columns that a message names.
const LISTED_MAX: usize = 12;

fn listed(columns: &[(Box<str>, Column)]) -> String {
    let names = columns.iter().take(LISTED_MAX).map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if columns.len() > LISTED_MAX { format!("{names}, …") } else { names }
}

/// Decodes the rows below one header.
#[derive(Debug)]
pub(super) struct Csv {
    columns: Vec<(Box<str>, Column)>,
    key: Option<Key>,
    unit: TimeUnit,
    separator: u8,
    /// Uncontended: a file is one partition, so one shard decodes it at a time.
    names: Mutex<Names>,
}

impl Csv {
    /// The decoder for rows below `header`.
    pub(super) fn new(header: &[u8], record: &CsvRecord) -> Result<Self, String> {
        let header = std::str::from_utf8(header).map_err(|_| "the header is not UTF-8".to_owned())?;
        let separator = record.separator_byte()?;
        let key = record.key_is.as_deref().map(key_of).transpose()?;
        let mut columns: Vec<(Box<str>, Column)> = Vec::new();
        for name in fields(header, separator) {
            let name = name.map_err(|reason| format!("the header: {reason}"))?;
            let name = name.trim();
            if columns.iter().any(|(other, _)| **other == *name) {
                return Err(format!("column `{name}` is in the header twice"));
            }
            let role = match name {
                name if record.key.as_deref() == Some(name) => Column::Key,
                name if record.time.as_deref() == Some(name) => Column::Time,
                _ => Column::Stream,
            };
            columns.push((name.into(), role));
        }
        let has = |role| columns.iter().any(|(_, other)| *other == role);
        match (&record.key, &key) {
            (None, None) => return Err("no key: say `key(column)` or `key_is(key)`".to_owned()),
            (Some(_), Some(_)) => return Err("two keys: say `key(column)` or `key_is(key)`".to_owned()),
            (Some(column), None) if !has(Column::Key) => {
                return Err(format!("the header has no column `{column}` for the key; it has {}", listed(&columns)));
            }
            _ => {}
        }
        match &record.time {
            None => return Err("no time: say `time(column)`".to_owned()),
            Some(column) if !has(Column::Time) => {
                return Err(format!("the header has no column `{column}` for the time; it has {}", listed(&columns)));
            }
            Some(_) => {}
        }
        Ok(Self { columns, key, unit: record.unit, separator, names: Mutex::default() })
    }

    fn row(&self, record: &RawRecord, axes: &[AxisStreams], out: &mut RowsOut<'_>) -> Result<(), String> {
        if record.payload.len() > RECORD_BYTES_MAX {
            return Err(format!("the row has more than {RECORD_BYTES_MAX} bytes"));
        }
        let text = std::str::from_utf8(&record.payload)
            .map_err(|error| format!("the row is not UTF-8 at byte {}", error.valid_up_to()))?;
        let mut names = self.names.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        names.begin();
        let (mut key, mut time): (Option<Key>, Option<Time>) = (self.key.clone(), None);
        let mut cells: Vec<(Place, Cell)> = Vec::with_capacity(self.columns.len());
        let mut count = 0;
        for field in fields(text, self.separator) {
            let field = field?;
            let Some((name, role)) = self.columns.get(count) else {
                return Err(format!("the row has more than {} fields", self.columns.len()));
            };
            count += 1;
            let field = field.trim();
            let within = |reason: String| format!("column `{name}`: {reason}");
            match role {
                Column::Key => key = Some(key_of(field).map_err(within)?),
                Column::Time => time = Some(time_of_any_text(field, self.unit).map(Nanos::time).map_err(within)?),
                Column::Stream => {
                    if let Some(place) = names.place(name, axes, no_names()) {
                        cells.push((place, cell(field, place.element).map_err(within)?));
                    }
                }
            }
        }
        if count < self.columns.len() {
            return Err(format!("the row has {count} fields; the header has {}", self.columns.len()));
        }
        let (Some(key), Some(time)) = (key, time) else { return Err("the row has no key or no time".to_owned()) };
        out.append(&key, When::At(time), &mut cells)
    }
}

fn no_names() -> &'static HashMap<Box<str>, StreamName> {
    static NONE: std::sync::LazyLock<HashMap<Box<str>, StreamName>> = std::sync::LazyLock::new(HashMap::new);
    &NONE
}

impl Decode for Csv {
    fn decode(&self, record: &RawRecord, axes: &[AxisStreams], rows: &mut Vec<RowsRecord>) -> Result<(), String> {
        let mut out = RowsOut::new(axes, record, rows);
        let read = self.row(record, axes, &mut out);
        if read.is_err() {
            out.take_back();
        }
        read
    }
}

/// The value of a field; empty is a reading that is not there.
fn cell(field: &str, element: ElementType) -> Result<Cell, String> {
    if field.is_empty() {
        return Ok(Cell::Absent);
    }
    let wrong = || format!("`{}` is no {element}", field.chars().take(40).collect::<String>());
    let float = |text: &str| {
        // A number that is too large is refused; infinity is one that says so.
        let number = text.parse::<f64>().ok().filter(|number| !number.is_infinite());
        number.or_else(|| infinite(text)).ok_or_else(wrong)
    };
    Ok(match element {
        ElementType::F32 => Cell::F32(to_f32(float(field)?)?),
        ElementType::F64 => Cell::F64(float(field)?),
        ElementType::I64 => Cell::I64(field.parse().map_err(|_| wrong()).and_then(checked_i64)?),
        ElementType::Bool => match field {
            "true" | "TRUE" | "True" | "1" => Cell::Bool(true),
            "false" | "FALSE" | "False" | "0" => Cell::Bool(false),
            _ => return Err(wrong()),
        },
        ElementType::Str => Cell::Str(SmolStr::new(field)),
        ElementType::Vector(width) => {
            let text = field.trim_start_matches('[').trim_end_matches(']');
            let values: Result<Vec<f32>, String> = text.split_whitespace().map(|text| to_f32(float(text)?)).collect();
            let values = values?;
            if values.len() != usize::from(width) {
                return Err(format!("{} values; the stream is {element}", values.len()));
            }
            // A NaN that was written is told from a reading that is not there by its bits alone.
            Cell::Vector(values.into_iter().map(|value| if value.is_nan() { ABSENT_F32 } else { value }).collect())
        }
    })
}

/// The fields of one row, without their quotes.
fn fields(text: &str, separator: u8) -> impl Iterator<Item = Result<Cow<'_, str>, String>> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        if !text.starts_with('"') {
            let end = text.bytes().position(|byte| byte == separator);
            rest = end.map(|end| &text[end + 1..]);
            return Some(Ok(Cow::Borrowed(&text[..end.unwrap_or(text.len())])));
        }
        let mut field = Cow::Borrowed("");
        let mut inner = &text[1..];
        loop {
            let Some(end) = inner.find('"') else { return Some(Err("a quote is not closed".to_owned())) };
            if field.is_empty() {
                field = Cow::Borrowed(&inner[..end])
            } else {
                field.to_mut().push_str(&inner[..end])
            }
            let after = &inner[end + 1..];
            if let Some(more) = after.strip_prefix('"') {
                field.to_mut().push('"');
                inner = more;
            } else if after.is_empty() {
                return Some(Ok(field));
            } else if after.as_bytes()[0] == separator {
                rest = Some(&after[1..]);
                return Some(Ok(field));
            } else {
                return Some(Err("there is text after a closing quote".to_owned()));
            }
        }
    })
}
