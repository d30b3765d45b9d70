//! Rows of a Parquet file: each becomes a JSON object, which is read as any other and is what a dead letter shows.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use gristmill::words::Time;
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use crate::codec::time::write_time;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Rows that are decoded at once.
const BATCH_ROWS: usize = 1_024;

/// The rows of a file, in order.
pub(in crate::file) struct ParquetRows {
    rows: RowIter<'static>,
    units: Vec<Unit>,
}

/// What a whole number of a column counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Itself.
    One,
    Millis,
    Micros,
    Nanos,
}

impl ParquetRows {
    /// Opens a file that must have the columns `needed`; those of other types than this reads are passed over.
    pub(in crate::file) fn open(file: File, needed: &[&str]) -> Result<Self, String> {
        let reader = SerializedFileReader::new(file).map_err(|error| format!("it is no Parquet file: {error}"))?;
        let schema = reader.metadata().file_metadata().schema().clone();
        let (read, other): (Vec<_>, Vec<_>) = schema.get_fields().iter().cloned().partition(is_read);
        for name in needed {
            if let Some(column) = other.iter().find(|column| column.name() == *name) {
                return Err(not_read(column));
            }
            if !read.iter().any(|column| column.name() == *name) {
                let has: Vec<&str> = schema.get_fields().iter().map(|column| column.name()).collect();
                return Err(format!("it has no column `{name}`; it has {}", has.join(", ")));
            }
        }
        if read.is_empty() {
            return Err("it has no column of a type that is read".to_owned());
        }
        if !other.is_empty() {
            let columns: Vec<&str> = other.iter().map(|column| column.name()).collect();
            tracing::warn!(columns = columns.join(", "), "columns of types that are not read are passed over");
        }
        let units = read.iter().map(|column| unit(column)).collect();
        let projection = Type::group_type_builder(schema.name()).with_fields(read).build();
        let rows = projection.and_then(|columns| RowIter::from_file_into(Box::new(reader)).project(Some(columns)));
        Ok(Self { rows: rows.map_err(|error| error.to_string())?.with_batch_size(BATCH_ROWS), units })
    }

    /// The next row; `None` at the end.
    pub(in crate::file) fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        // The reader panics over some damaged pages.
        let row = catch_unwind(AssertUnwindSafe(|| self.rows.next()));
        let row = row.map_err(|_| "the file is damaged: a page cannot be decoded".to_owned())?;
        match row {
            Some(Ok(row)) => Ok(Some(self.object(&row))),
            Some(Err(error)) => Err(format!("the file is damaged: {error}")),
            None => Ok(None),
        }
    }

    fn object(&self, row: &Row) -> Vec<u8> {
        let mut out = vec![b'{'];
        for ((name, field), unit) in row.get_column_iter().zip(&self.units) {
            if out.len() > 1 {
                out.push(b',');
            }
            text(name, &mut out);
            out.push(b':');
            value(field, *unit, &mut out);
        }
        out.push(b'}');
        out
    }
}

/// Whether the values of a column have a meaning here.
fn is_read(column: &Arc<Type>) -> bool {
    if !column.is_primitive() {
        let list = column.get_basic_info().converted_type() == ConvertedType::LIST;
        return list && leaf(column).is_some_and(|leaf| matches!(leaf, Physical::FLOAT | Physical::DOUBLE));
    }
    let info = column.get_basic_info();
    if info.has_repetition() && info.repetition() == Repetition::REPEATED {
        return false;
    }
    let converted = info.converted_type();
    match column.get_physical_type() {
        Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE => true,
        Physical::INT32 => matches!(
            converted,
            ConvertedType::NONE
                | ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::DATE
        ),
        Physical::INT64 => {
            matches!(
                converted,
                ConvertedType::NONE
                    | ConvertedType::INT_64
                    | ConvertedType::UINT_64
                    | ConvertedType::TIMESTAMP_MILLIS
                    | ConvertedType::TIMESTAMP_MICROS
            ) && !matches!(info.logical_type_ref(), Some(LogicalType::Time(_)))
                && !is_without_zone(column)
        }
        Physical::BYTE_ARRAY => {
            matches!(converted, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON)
        }
        _ => false,
    }
}

/// Whether a column has the times of some clock, and does not say of which. They are not guessed, as little as in text.
fn is_without_zone(column: &Type) -> bool {
    matches!(column.get_basic_info().logical_type_ref(), Some(LogicalType::Timestamp(of)) if !of.is_adjusted_to_u_t_c)
}

/// Why a column cannot be used, and what to do.
fn not_read(column: &Type) -> String {
    let name = column.name();
    if is_without_zone(column) {
        return format!(
            "column `{name}` has times without a zone; write them with one, in pandas by \
             frame[\"{name}\"].dt.tz_localize(\"UTC\")"
        );
    }
    format!("column `{name}` is of a type that is not read: {}", type_name(column))
}

/// The type of the values in a list: a group of a repeated group of one column.
fn leaf(list: &Type) -> Option<Physical> {
    let [repeated] = list.get_fields() else { return None };
    let [element] = repeated.is_group().then(|| repeated.get_fields())? else { return None };
    element.is_primitive().then(|| element.get_physical_type())
}

fn unit(column: &Type) -> Unit {
    if !column.is_primitive() {
        return Unit::One;
    }
    match (column.get_basic_info().logical_type_ref(), column.get_basic_info().converted_type()) {
        (Some(LogicalType::Timestamp(of)), _) => match of.unit {
            TimeUnit::MILLIS => Unit::Millis,
            TimeUnit::MICROS => Unit::Micros,
            TimeUnit::NANOS => Unit::Nanos,
        },
        (_, ConvertedType::TIMESTAMP_MILLIS) => Unit::Millis,
        (_, ConvertedType::TIMESTAMP_MICROS) => Unit::Micros,
        _ => Unit::One,
    }
}

fn type_name(column: &Type) -> String {
    if column.is_primitive() {
        let (physical, converted) = (column.get_physical_type(), column.get_basic_info().converted_type());
        return format!("{physical} {converted}");
    }
    "a nested one".to_owned()
}

fn text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text can be written into memory");
}

/// A number; NaN is a value that is not there.
fn number(number: f64, out: &mut Vec<u8>) {
    if number.is_infinite() {
        return text(if number > 0.0 { "inf" } else { "-inf" }, out);
    }
    serde_json::to_writer(out, &number).expect("a number can be written into memory");
}

fn moment(micros: i64, out: &mut Vec<u8>) {
    out.push(b'"');
    write_time(Time(micros), out);
    out.push(b'"');
}

fn whole(number: impl std::fmt::Display, out: &mut Vec<u8>) {
    write!(out, "{number}").expect("memory takes what is written");
}

fn value(field: &Field, unit: Unit, out: &mut Vec<u8>) {
    match (field, unit) {
        (Field::Long(time) | Field::TimestampMillis(time), Unit::Millis) => moment(time.saturating_mul(1_000), out),
        (Field::Long(time) | Field::TimestampMicros(time), Unit::Micros) => moment(*time, out),
        (Field::Long(time), Unit::Nanos) => moment(time.div_euclid(1_000), out),
        (Field::Date(days), _) => moment(i64::from(*days) * MICROS_PER_DAY, out),
        (Field::Bool(value), _) => whole(value, out),
        (Field::Byte(value), _) => whole(value, out),
        (Field::Short(value), _) => whole(value, out),
        (Field::Int(value), _) => whole(value, out),
        (Field::Long(value), _) => whole(value, out),
        (Field::UByte(value), _) => whole(value, out),
        (Field::UShort(value), _) => whole(value, out),
        (Field::UInt(value), _) => whole(value, out),
        (Field::ULong(value), _) => whole(value, out),
        (Field::Float(value), _) => number(f64::from(*value), out),
        (Field::Double(value), _) => number(*value, out),
        (Field::Str(value), _) => text(value, out),
        (Field::ListInternal(list), _) => {
            out.push(b'[');
            for (place, element) in list.elements().iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                value(element, Unit::One, out);
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use parquet::data_type::Int64Type;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// A file with one row, in which each column is a million, opened for its column `ts`.
    fn opened(number: u32, columns: &str) -> Result<ParquetRows, String> {
        let path = std::env::temp_dir().join(format!("gristmill-zone-{}-{number}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a file");
        // What is open stays until it is closed.
        std::fs::remove_file(&path).expect("it is there");
        let schema = parse_message_type(&format!("message rows {{ {columns} }}")).expect("a schema");
        let (to, properties) = (file.try_clone().expect("a handle"), WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties)).expect("a writer");
        let mut group = writer.next_row_group().expect("a group");
        while let Some(mut column) = group.next_column().expect("a column") {
            column.typed::<Int64Type>().write_batch(&[1_000_000], None, None).expect("a value is written");
            column.close().expect("the column is whole");
        }
        group.close().expect("the group is whole");
        writer.close().expect("the file is whole");
        ParquetRows::open(file, &["ts"])
    }

    /// Bug: timestamps of no zone, as pandas has them unless told, were taken for UTC; the same times in CSV or JSON are
    /// refused. Fix: they are refused where they are needed, and passed over elsewhere.
    #[test]
    fn times_without_a_zone_are_not_taken_for_utc() {
        for (number, unit) in (0..).zip(["MILLIS", "MICROS", "NANOS"]) {
            let refused = opened(number, &format!("REQUIRED INT64 ts (TIMESTAMP({unit}, false));"));
            let reason = refused.err().expect("it has no zone");
            assert!(reason.contains("column `ts` has times without a zone"), "{reason}");
            assert!(reason.contains("frame[\"ts\"].dt.tz_localize(\"UTC\")"), "{reason}");
        }
        let [zone, none] = ["ts (TIMESTAMP(MICROS, true))", "local (TIMESTAMP(MICROS, false))"];
        let columns = format!("REQUIRED INT64 {zone}; REQUIRED INT64 {none}; REQUIRED INT64 n;");
        let mut rows = opened(3, &columns).expect("`ts` has a zone");
        let row = rows.next().expect("it is whole").expect("there is a row");
        assert_eq!(String::from_utf8_lossy(&row), r#"{"ts":"1970-01-01T00:00:01.000000Z","n":1000000}"#);
        assert_eq!(rows.next(), Ok(None));
    }
}
