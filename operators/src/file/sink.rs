//! Predictions to a file, as JSON lines or CSV.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkRow, SinkWriter};
use gristmill::words::ShardIndex;

use super::output::Output;
use crate::codec::row::{TimeStyle, write_plain, write_row};
use crate::codec::time::write_time;
use crate::failure::{OnFailure, abort};

const CSV_HEADER: &str = "key,time,stream,value,node,artifact,revision,source,partition,offset,row\n";

/// A sink to one file that all shards share; made by [`sink`].
pub struct FileSink {
    path: PathBuf,
    csv: bool,
    truncate: bool,
    times: TimeStyle,
    on_failure: OnFailure,
    output: Mutex<Option<Arc<Output>>>,
}

/// Begins a sink that appends every prediction to the file, as a line of JSON ([`write_row`]). A frame is done when the
/// system has its lines; a flush waits for the disk. When the file cannot be written the process ends, so that nothing
/// after it is committed; [`FileSink::on_failure`] does something else instead.
pub fn sink(path: impl AsRef<Path>) -> FileSink {
    FileSink {
        path: path.as_ref().to_owned(),
        csv: false,
        truncate: false,
        times: TimeStyle::default(),
        on_failure: abort(),
        output: Mutex::default(),
    }
}

impl FileSink {
    /// Lines are CSV with a header, a row for each value.
    #[must_use]
    pub fn csv(mut self) -> Self {
        self.csv = true;
        self
    }

    /// What the file holds before is thrown away.
    #[must_use]
    pub fn truncate(mut self) -> Self {
        self.truncate = true;
        self
    }

    /// How times are written; RFC 3339 unless said.
    #[must_use]
    pub fn times(mut self, times: TimeStyle) -> Self {
        self.times = times;
        self
    }

    /// What is called once, with the reason, when the file cannot be written, instead of aborting the process.
    #[must_use]
    pub fn on_failure(mut self, failed: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_failure = Arc::new(failed);
        self
    }
}

impl Sink for FileSink {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        let mut open = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let output = match &*open {
            Some(output) => output.clone(),
            None => {
                let header = if self.csv { CSV_HEADER.as_bytes() } else { b"" };
                let output = Output::open(&self.path, self.truncate, header, self.on_failure.clone())?;
                open.insert(Arc::new(output)).clone()
            }
        };
        Ok(Box::new(Writer { output, csv: self.csv, times: self.times, lines: Vec::new() }))
    }

    fn flush(&self) -> Result<(), SinkError> {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner).clone();
        output.map_or(Ok(()), |output| output.sync())
    }

    fn failure(&self) -> Option<SinkError> {
        // Who has the lock opens it, and has written nothing.
        self.output.try_lock().ok()?.as_ref()?.failure()
    }
}

impl std::fmt::Debug for FileSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink").field("path", &self.path).field("csv", &self.csv).finish_non_exhaustive()
    }
}

struct Writer {
    output: Arc<Output>,
    csv: bool,
    times: TimeStyle,
    /// Used again for every frame.
    lines: Vec<u8>,
}

impl SinkWriter for Writer {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        self.lines.clear();
        frame.for_each(|row| {
            if self.csv {
                write_csv(frame, &row, self.times, &mut self.lines);
            } else {
                write_row(frame, &row, self.times, &mut self.lines);
            }
            self.lines.push(b'\n');
        });
        self.output.write(&self.lines, done);
    }
}

fn write_csv(frame: &SinkFrame<'_>, row: &SinkRow<'_>, times: TimeStyle, out: &mut Vec<u8>) {
    quoted(out, |out| out.extend_from_slice(row.key.as_bytes()));
    out.push(b',');
    match times {
        TimeStyle::Rfc3339 => write_time(row.time, out),
        TimeStyle::Micros => out.extend_from_slice(row.time.0.to_string().as_bytes()),
    }
    out.push(b',');
    quoted(out, |out| out.extend_from_slice(row.stream.as_bytes()));
    out.push(b',');
    quoted(out, |out| write_plain(&row.value, out));
    out.push(b',');
    quoted(out, |out| out.extend_from_slice(row.node.as_bytes()));
    let artifact = row.artifact.map(|artifact| artifact.to_string()).unwrap_or_default();
    out.extend_from_slice(format!(",{artifact},{},", frame.revision).as_bytes());
    quoted(out, |out| out.extend_from_slice(frame.source.as_bytes()));
    out.extend_from_slice(format!(",{},{},{}", frame.source_partition, row.cause.offset, row.cause.row).as_bytes());
}

/// Quotes what `write` appended, if it must be.
fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    write(out);
    if out[begin..].iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        let field = out.split_off(begin);
        out.push(b'"');
        for byte in field {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
}
