//! The source: a file is one partition, a record its offset.

use std::fs::File;
use std::io::{BufReader, Chain, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{Axes, Batch, Decode, RawRecord, Records, Source, SourceError};
use gristmill::words::Offset;

use super::csv::{Csv, CsvRecord};
use super::lines::{Ends, Lines, without_mark};
#[cfg(feature = "parquet")]
use super::parquet::ParquetRows;
use crate::codec::json::{JsonRecord, json};

const BUFFER_BYTES: usize = 256 * 1024;

/// Where records come from.
trait Reader: Send {
    /// The bytes of the next record; `None` at the end.
    fn read(&mut self) -> Result<Option<Vec<u8>>, String>;

    /// Whether that can be read without waiting for it.
    fn is_there(&self) -> bool {
        true
    }
}

/// A file of text, or a pipe.
struct Text {
    lines: Lines<BufReader<Chain<Cursor<Vec<u8>>, File>>>,
    is_pipe: bool,
}

/// A source that reads a file once; made by [`csv`], [`json_lines`] or `parquet`. Partition 0; offsets count records from 0, the
/// header not among them, blank lines among them.
pub struct FileSource {
    path: PathBuf,
    records: Box<dyn Reader>,
    /// Why no more can be read.
    failed: Option<String>,
    axes: Axes,
    decoder: Arc<dyn Decode>,
    from: i64,
    next: i64,
    /// A saved state goes up to `from`: the file must have as many records.
    goes_on: bool,
    paused: bool,
}

/// Reads a CSV file with a header, or a pipe of one. All columns of a row share their axis.
///
/// # Errors
/// When the file cannot be read, or its header lacks what is described.
pub fn csv(path: impl AsRef<Path>, describe: impl FnOnce(CsvRecord) -> CsvRecord) -> Result<FileSource, SourceError> {
    let path = path.as_ref();
    let record = describe(CsvRecord::default());
    let separator = record.separator_byte().map_err(|reason| stop(path, &reason))?;
    let mut text = open(path, Ends::Row(separator))?;
    let header = text.lines.next().map_err(|error| stop(path, &error))?;
    let header = header.ok_or_else(|| stop(path, &"the file has no header"))?;
    let decoder = Csv::new(&header, &record).map_err(|reason| stop(path, &reason))?;
    Ok(FileSource::new(path, Box::new(text), Axes::default(), Arc::new(decoder)))
}

/// Reads a file, or a pipe, with a JSON record on each line.
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
    Ok(FileSource::new(path, Box::new(open(path, Ends::Line)?), axes, Arc::new(decoder)))
}

/// Reads a Parquet file: a row is a record whose fields are named as its columns, described as one of JSON. A value that is
/// null or NaN is a reading that is not there; a column of timestamps has times, whatever the unit that is described; one
/// of lists of floats has vectors. Timestamps without a zone are not read.
///
/// # Errors
/// When the file cannot be read or is a pipe, the description makes no sense, or a column that it names is missing or of a
/// type that is not read.
#[cfg(feature = "parquet")]
pub fn parquet(
    path: impl AsRef<Path>,
    describe: impl FnOnce(JsonRecord) -> JsonRecord,
) -> Result<FileSource, SourceError> {
    let path = path.as_ref();
    let decoder = json(describe);
    decoder.check().map_err(|reason| stop(path, &reason))?;
    let metadata = std::fs::metadata(path).map_err(|error| stop(path, &error))?;
    if !metadata.is_file() {
        let why = "it is no regular file, and Parquet is read from its end on; write it to a file first";
        return Err(stop(path, &why));
    }
    let (axes, file) = (decoder.axes(), File::open(path).map_err(|error| stop(path, &error))?);
    let rows = ParquetRows::open(file, &decoder.fields()).map_err(|reason| stop(path, &reason))?;
    Ok(FileSource::new(path, Box::new(rows), axes, Arc::new(decoder)))
}

fn open(path: &Path, ends: Ends) -> Result<Text, SourceError> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|error| stop(path, &error))?;
    if metadata.is_dir() {
        return Err(stop(path, &"it is a directory; name a file"));
    }
    let file = without_mark(file).map_err(|error| stop(path, &error))?;
    let lines = Lines::new(BufReader::with_capacity(BUFFER_BYTES, file), ends);
    Ok(Text { lines, is_pipe: !metadata.is_file() })
}

fn stop(path: &Path, reason: &dyn std::fmt::Display) -> SourceError {
    SourceError { reason: format!("file `{}`: {reason}", path.display()), retry: false }
}

impl Reader for Text {
    fn read(&mut self) -> Result<Option<Vec<u8>>, String> {
        self.lines.next().map_err(|error| error.to_string())
    }

    fn is_there(&self) -> bool {
        !self.is_pipe || self.lines.has_line()
    }
}

#[cfg(feature = "parquet")]
impl Reader for ParquetRows {
    fn read(&mut self) -> Result<Option<Vec<u8>>, String> {
        self.next()
    }
}

impl FileSource {
    fn new(path: &Path, records: Box<dyn Reader>, axes: Axes, decoder: Arc<dyn Decode>) -> Self {
        let (path, failed) = (path.to_owned(), None);
        Self { path, records, failed, axes, decoder, from: 0, next: 0, goes_on: false, paused: false }
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
        while self.failed.is_none() && records.len() < limits.records.max(1) && bytes < limits.bytes.max(1) {
            // What has come does not wait for what a pipe has still to bring.
            if !records.is_empty() && !self.records.is_there() {
                break;
            }
            let payload = match self.records.read() {
                Ok(Some(payload)) => payload,
                Ok(None) if self.goes_on && self.next < self.from => {
                    let (has, from) = (self.next, self.from);
                    let reason = format!("it has {has} records, but {from} of it were read before: it is another file");
                    return Err(stop(&self.path, &reason));
                }
                Ok(None) if records.is_empty() => return Ok(Polled::End),
                Ok(None) => break,
                Err(error) => {
                    // What came before is handed over first.
                    self.failed = Some(format!("record {}: {error}", self.next));
                    break;
                }
            };
            let offset = Offset(self.next);
            self.next += 1;
            bytes += payload.len();
            if offset.0 >= self.from && !payload.iter().all(u8::is_ascii_whitespace) {
                records.push(RawRecord { offset, log_time: None, key: None, payload: payload.into() });
            }
        }
        match &self.failed {
            Some(reason) if records.is_empty() => return Err(stop(&self.path, reason)),
            None if records.is_empty() => return Ok(Polled::Batches(Vec::new())),
            _ => {}
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

    fn is_bounded(&self) -> bool {
        true
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Two records, and then a place that cannot be read.
    struct Damaged(u32);

    impl Reader for Damaged {
        fn read(&mut self) -> Result<Option<Vec<u8>>, String> {
            self.0 += 1;
            if self.0 <= 2 { Ok(Some(b"{}".to_vec())) } else { Err(format!("damaged, read {} times", self.0)) }
        }
    }

    /// Bug: the records before a damaged place were lost where one poll came to both. Fix: they are handed over, and the next
    /// poll says what is damaged.
    #[test]
    fn what_comes_before_a_damaged_place_is_handed_over() {
        let decoder = Arc::new(json(|r| r.key("device").time("ts")));
        let mut source = FileSource::new(Path::new("rows"), Box::new(Damaged(0)), Axes::default(), decoder);
        let limits = PollLimits { records: 10, bytes: 1 << 20, wait: Duration::ZERO };
        let Ok(Polled::Batches(batches)) = source.poll(limits) else { panic!("two can be read") };
        let Records::Raw(records) = &batches[0].records else { panic!("raw") };
        assert_eq!(records.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [0, 1]);
        for _ in 0..2 {
            let error = source.poll(limits).expect_err("it is damaged");
            assert_eq!(error.reason, "file `rows`: record 2: damaged, read 3 times");
        }
    }
}
