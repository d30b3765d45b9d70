//! The source: a file is one partition, a record its offset.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{Axes, Batch, Decode, RawRecord, Records, Source, SourceError};
use gristmill::words::Offset;

use super::csv::{Csv, CsvRecord};
use super::lines::{Ends, Lines};
use crate::codec::json::{JsonRecord, json};

const BUFFER_BYTES: usize = 256 * 1024;

/// Gives the bytes of the next record; `None` at the end.
type NextRecord = Box<dyn FnMut() -> Result<Option<Vec<u8>>, String> + Send>;

/// A source that reads a file once; made by [`csv`], [`json_lines`] or `parquet`. Partition 0; offsets count records from 0, the
/// header not among them, blank lines among them.
pub struct FileSource {
    path: PathBuf,
    records: NextRecord,
    axes: Axes,
    decoder: Arc<dyn Decode>,
    from: i64,
    next: i64,
    /// A saved state goes up to `from`: the file must have as many records.
    goes_on: bool,
    paused: bool,
}

/// Reads a CSV file with a header. All columns of a row share their axis.
///
/// # Errors
/// When the file cannot be read, or its header lacks what is described.
pub fn csv(path: impl AsRef<Path>, describe: impl FnOnce(CsvRecord) -> CsvRecord) -> Result<FileSource, SourceError> {
    let path = path.as_ref();
    let record = describe(CsvRecord::default());
    let separator = record.separator_byte().map_err(|reason| stop(path, &reason))?;
    let mut lines = open(path, Ends::Row(separator))?;
    let header =
        lines.next().map_err(|error| stop(path, &error))?.ok_or_else(|| stop(path, &"the file has no header"))?;
    let decoder = Csv::new(&header, &record).map_err(|reason| stop(path, &reason))?;
    Ok(FileSource::new(path, by_line(lines), Axes::default(), Arc::new(decoder)))
}

/// Reads a file with a JSON record on each line.
///
/// # Errors
/// When the file cannot be read, or the description makes no sense.
pub fn json_lines(
    path: impl AsRef<Path>,
    describe: impl FnOnce(JsonRecord) -> JsonRecord,
) -> Result<FileSource, SourceError> {
    let path = path.as_ref();
    let decoder = json(describe);
    decoder.check().map_err(|reason| stop(path, &reason))?;
    let axes = decoder.axes();
    Ok(FileSource::new(path, by_line(open(path, Ends::Line)?), axes, Arc::new(decoder)))
}

/// Reads a Parquet file: a row is a record whose fields are named as its columns, described as one of JSON. A value that is
/// null or NaN is a reading that is not there; a column of timestamps has times, whatever the unit that is described; one
/// of lists of floats has vectors.
///
/// # Errors
/// When the file cannot be read, the description makes no sense, or a column that it names is missing.
#[cfg(feature = "parquet")]
pub fn parquet(
    path: impl AsRef<Path>,
    describe: impl FnOnce(JsonRecord) -> JsonRecord,
) -> Result<FileSource, SourceError> {
    let path = path.as_ref();
    let decoder = json(describe);
    decoder.check().map_err(|reason| stop(path, &reason))?;
    let (axes, file) = (decoder.axes(), File::open(path).map_err(|error| stop(path, &error))?);
    let mut rows = super::parquet::ParquetRows::open(file, &decoder.fields()).map_err(|reason| stop(path, &reason))?;
    Ok(FileSource::new(path, Box::new(move || rows.next()), axes, Arc::new(decoder)))
}

fn by_line(mut lines: Lines<BufReader<File>>) -> NextRecord {
    Box::new(move || lines.next().map_err(|error| error.to_string()))
}

fn open(path: &Path, ends: Ends) -> Result<Lines<BufReader<File>>, SourceError> {
    let mut file = File::open(path).map_err(|error| stop(path, &error))?;
    // A folder opens well and only then cannot be read.
    file.seek(SeekFrom::Start(0)).map_err(|error| stop(path, &error))?;
    let mut lines = Lines::new(BufReader::with_capacity(BUFFER_BYTES, file), ends);
    lines.skip_mark().map_err(|error| stop(path, &error))?;
    Ok(lines)
}

fn stop(path: &Path, reason: &dyn std::fmt::Display) -> SourceError {
    SourceError { reason: format!("file `{}`: {reason}", path.display()), retry: false }
}

impl FileSource {
    fn new(path: &Path, records: NextRecord, axes: Axes, decoder: Arc<dyn Decode>) -> Self {
        Self { path: path.to_owned(), records, axes, decoder, from: 0, next: 0, goes_on: false, paused: false }
    }

    /// Begins with the record at `offset`: those before it are read and dropped.
    #[must_use]
    pub fn from_offset(mut self, offset: i64) -> Self {
        self.from = offset;
        self
    }
}

impl Source for FileSource {
    fn axes(&self) -> Axes {
        self.axes.clone()
    }

    fn decoder(&self) -> Option<Arc<dyn Decode>> {
        Some(self.decoder.clone())
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        if self.paused {
            std::thread::sleep(limits.wait);
            return Ok(Polled::Batches(Vec::new()));
        }
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < limits.records.max(1) && bytes < limits.bytes.max(1) {
            let record = (self.records)();
            let record = record.map_err(|error| stop(&self.path, &format!("record {}: {error}", self.next)))?;
            let Some(payload) = record else {
                if self.goes_on && self.next < self.from {
                    let (has, from) = (self.next, self.from);
                    let reason = format!("it has {has} records, but {from} of it were read before: it is another file");
                    return Err(stop(&self.path, &reason));
                }
                if records.is_empty() {
                    return Ok(Polled::End);
                }
                break;
            };
            let offset = Offset(self.next);
            self.next += 1;
            bytes += payload.len();
            if offset.0 >= self.from && !payload.iter().all(u8::is_ascii_whitespace) {
                records.push(RawRecord { offset, log_time: None, key: None, payload: payload.into() });
            }
        }
        if records.is_empty() {
            return Ok(Polled::Batches(Vec::new()));
        }
        Ok(Polled::Batches(vec![Batch::new(0, Records::Raw(records))]))
    }

    /// Unless its host said where to begin.
    fn go_on_at(&mut self, partition: u32, next: Offset) -> Result<bool, SourceError> {
        if partition != 0 || self.from != 0 {
            return Ok(false);
        }
        (self.from, self.goes_on) = (next.0, true);
        Ok(true)
    }

    fn began_at(&self, partition: u32) -> Option<Offset> {
        (partition == 0).then_some(Offset(self.from))
    }

    /// A file keeps no position: whoever wants to go on says [`FileSource::from_offset`], or keeps states.
    fn commit(&mut self, _partition: u32, _next: Offset) -> Result<(), SourceError> {
        Ok(())
    }

    fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }
}

impl std::fmt::Debug for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSource").field("path", &self.path).field("next", &self.next).finish_non_exhaustive()
    }
}
