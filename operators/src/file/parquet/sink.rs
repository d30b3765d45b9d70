//! Predictions to a Parquet file, which is there when it is finished.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkRow, SinkWriter};
use gristmill::words::{ShardIndex, Value};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::codec::row::write_value;
use crate::failure::{OnFailure, abort};

/// Rows that are kept in memory, and written at once.
const GROUP_ROWS: usize = 65_536;
/// A value lies in the column of its type; a vector is a JSON array, as text.
const SCHEMA: &str = "message predictions {
    REQUIRED BYTE_ARRAY key (UTF8); REQUIRED INT64 time (TIMESTAMP(MICROS, true)); REQUIRED BYTE_ARRAY stream (UTF8);
    OPTIONAL DOUBLE value; OPTIONAL INT64 integer; OPTIONAL BOOLEAN flag; OPTIONAL BYTE_ARRAY text (UTF8);
    REQUIRED BYTE_ARRAY node (UTF8); OPTIONAL BYTE_ARRAY artifact (UTF8); REQUIRED INT64 revision;
    REQUIRED BYTE_ARRAY source (UTF8); REQUIRED INT64 partition; REQUIRED INT64 offset; REQUIRED INT64 row;
}";

/// A sink to one Parquet file; made by [`parquet_sink`].
pub struct ParquetSink {
    path: PathBuf,
    on_failure: OnFailure,
    open: Arc<Mutex<Option<Open>>>,
}

/// Begins a sink that writes every prediction as a row of a new Parquet file: key, time, stream, the value in the column of
/// its type (`value` for floats, `integer`, `flag`, `text`), and where it came from. The file is there when
/// [`ParquetSink::finish`] has been said, whole or not at all; what was there before is replaced then.
///
/// A Parquet file has its end last, so that rows are not durable before, and yet a frame is said to be done at once. That
/// fits a run over a file that is begun anew when it did not end, and no source that keeps its position: give that a
/// [`sink`](crate::file::sink()) of lines.
pub fn parquet_sink(path: impl AsRef<Path>) -> ParquetSink {
    ParquetSink { path: path.as_ref().to_owned(), on_failure: abort(), open: Arc::default() }
}

impl ParquetSink {
    /// What is called once, with the reason, when the file cannot be written, instead of aborting the process.
    #[must_use]
    pub fn on_failure(mut self, failed: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_failure = Arc::new(failed);
        self
    }

    /// All that was written is all there will be.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(&self) -> Result<(), SinkError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            *open = Some(Open::new(&self.path).map_err(|error| self.error(&error))?);
        }
        let open = open.take().expect("it was opened");
        if open.failed {
            return Err(self.error(&"rows could not be written; see the log"));
        }
        let written = open.end().map_err(|error| self.error(&error))?;
        written.sync_all().map_err(|error| self.error(&error))?;
        std::fs::rename(aside(&self.path), &self.path).map_err(|error| self.error(&error))
    }

    fn error(&self, reason: &dyn std::fmt::Display) -> SinkError {
        SinkError { reason: format!("file `{}`: {reason}", self.path.display()) }
    }
}

/// Where the file is written before it is whole.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    path.with_file_name(name)
}

impl Sink for ParquetSink {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            *open = Some(Open::new(&self.path).map_err(|error| self.error(&error))?);
        }
        let (path, on_failure) = (self.path.clone(), self.on_failure.clone());
        Ok(Box::new(Writer { open: Arc::clone(&self.open), path, on_failure }))
    }
}

impl std::fmt::Debug for ParquetSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetSink").field("path", &self.path).finish_non_exhaustive()
    }
}

struct Writer {
    open: Arc<Mutex<Option<Open>>>,
    path: PathBuf,
    on_failure: OnFailure,
}

impl SinkWriter for Writer {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // After its end, or a failure that was told, nothing is written.
        let written = match &mut *open {
            Some(open) if !open.failed => open.write(frame).inspect_err(|_| open.failed = true),
            _ => Ok(()),
        };
        drop(open);
        done.done();
        if let Err(error) = written {
            (self.on_failure)(&format!("file `{}` cannot be written: {error}", self.path.display()));
        }
    }
}

/// A file that is being written.
struct Open {
    file: SerializedFileWriter<File>,
    rows: Columns,
    failed: bool,
}

impl Open {
    fn new(path: &Path) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(format!("gristmill {}", env!("CARGO_PKG_VERSION")))
            .build();
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let file = SerializedFileWriter::new(File::create(aside(path))?, schema, Arc::new(properties))?;
        Ok(Self { file, rows: Columns::default(), failed: false })
    }

    fn write(&mut self, frame: &SinkFrame<'_>) -> Result<(), ParquetError> {
        frame.for_each(|row| self.rows.push(frame, &row));
        if self.rows.time.len() >= GROUP_ROWS { self.group() } else { Ok(()) }
    }

    fn group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        std::mem::take(&mut self.rows).write(&mut group)?;
        group.close().map(drop)
    }

    fn end(mut self) -> Result<File, ParquetError> {
        if !self.rows.time.is_empty() {
            self.group()?;
        }
        self.file.into_inner()
    }
}

/// Values that may be missing, as Parquet has them.
struct Sparse<T> {
    values: Vec<T>,
    /// 1 where a row has a value.
    levels: Vec<i16>,
}

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self { values: Vec::new(), levels: Vec::new() }
    }
}

impl<T> Sparse<T> {
    fn push(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }
}

/// Rows, by the columns of the schema.
#[derive(Default)]
struct Columns {
    key: Vec<ByteArray>,
    time: Vec<i64>,
    stream: Vec<ByteArray>,
    value: Sparse<f64>,
    integer: Sparse<i64>,
    flag: Sparse<bool>,
    text: Sparse<ByteArray>,
    node: Vec<ByteArray>,
    artifact: Sparse<ByteArray>,
    revision: Vec<i64>,
    source: Vec<ByteArray>,
    partition: Vec<i64>,
    offset: Vec<i64>,
    row: Vec<i64>,
}

fn bytes(text: &str) -> ByteArray {
    text.as_bytes().to_vec().into()
}

impl Columns {
    fn push(&mut self, frame: &SinkFrame<'_>, row: &SinkRow<'_>) {
        self.key.push(bytes(row.key));
        self.time.push(row.time.0);
        self.stream.push(bytes(row.stream));
        let (mut value, mut integer, mut flag, mut text) = (None, None, None, None);
        match &row.value {
            Value::F32(number) => value = Some(f64::from(*number)),
            Value::F64(number) => value = Some(*number),
            Value::I64(number) => integer = Some(*number),
            Value::Bool(is) => flag = Some(*is),
            Value::Str(said) => text = Some(bytes(said)),
            Value::Vector(_) => {
                let mut array = Vec::new();
                write_value(&row.value, &mut array);
                text = Some(array.into());
            }
        }
        self.value.push(value);
        self.integer.push(integer);
        self.flag.push(flag);
        self.text.push(text);
        self.node.push(bytes(row.node));
        self.artifact.push(row.artifact.map(|artifact| bytes(&artifact.to_string())));
        self.revision.push(i64::try_from(frame.revision.0).unwrap_or(i64::MAX));
        self.source.push(bytes(frame.source));
        self.partition.push(frame.source_partition.into());
        self.offset.push(row.cause.offset.0);
        self.row.push(row.cause.row.into());
    }

    fn write(self, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<(), ParquetError> {
        column::<ByteArrayType>(group, &self.key, None)?;
        column::<Int64Type>(group, &self.time, None)?;
        column::<ByteArrayType>(group, &self.stream, None)?;
        column::<DoubleType>(group, &self.value.values, Some(&self.value.levels))?;
        column::<Int64Type>(group, &self.integer.values, Some(&self.integer.levels))?;
        column::<BoolType>(group, &self.flag.values, Some(&self.flag.levels))?;
        column::<ByteArrayType>(group, &self.text.values, Some(&self.text.levels))?;
        column::<ByteArrayType>(group, &self.node, None)?;
        column::<ByteArrayType>(group, &self.artifact.values, Some(&self.artifact.levels))?;
        column::<Int64Type>(group, &self.revision, None)?;
        column::<ByteArrayType>(group, &self.source, None)?;
        column::<Int64Type>(group, &self.partition, None)?;
        column::<Int64Type>(group, &self.offset, None)?;
        column::<Int64Type>(group, &self.row, None)
    }
}

/// Writes the next column of a group.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("the schema has fewer columns than there are".to_owned()));
    };
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}
