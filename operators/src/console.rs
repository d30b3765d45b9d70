//! Predictions for people: aligned lines on standard output.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkRow, SinkWriter};
use gristmill::words::ShardIndex;

use crate::codec::row::write_plain;
use crate::codec::time::write_time;

const KEY_WIDTH: usize = 16;
const STREAM_WIDTH: usize = 24;

type Output = Arc<Mutex<Box<dyn Write + Send>>>;

/// A sink that prints; made by [`sink`].
pub struct Console {
    output: Output,
}

/// A sink that prints a line for each prediction: time, key, stream, value.
pub fn sink() -> Console {
    Console::to(std::io::stdout())
}

impl Console {
    /// Prints to `output` instead.
    pub fn to(output: impl Write + Send + 'static) -> Self {
        Self { output: Arc::new(Mutex::new(Box::new(output))) }
    }
}

impl Sink for Console {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(Writer { output: self.output.clone(), lines: Vec::new() }))
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

struct Writer {
    output: Output,
    lines: Vec<u8>,
}

impl SinkWriter for Writer {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        self.lines.clear();
        frame.for_each(|row| write_line(&row, &mut self.lines));
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = output.write_all(&self.lines).and_then(|()| output.flush()) {
            // Nobody looks any more; there is nothing to read again.
            tracing::warn!(%error, "lines were not printed");
        }
        drop(output);
        done.done();
    }
}

fn write_line(row: &SinkRow<'_>, out: &mut Vec<u8>) {
    write_time(row.time, out);
    for (text, width) in [(row.key.as_str(), KEY_WIDTH), (row.stream.as_str(), STREAM_WIDTH)] {
        out.extend_from_slice(b"  ");
        out.extend_from_slice(text.as_bytes());
        out.resize(out.len() + width.saturating_sub(text.chars().count()), b' ');
    }
    out.extend_from_slice(b"  ");
    write_plain(&row.value, out);
    out.push(b'\n');
}
