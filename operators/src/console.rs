//! Predictions for people: aligned lines on standard output.

use std::borrow::Cow;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkRow, SinkWriter};
use gristmill::words::{ShardIndex, Value};

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
        let text = printable(text);
        out.extend_from_slice(text.as_bytes());
        out.resize(out.len() + width.saturating_sub(text.chars().count()), b' ');
    }
    out.extend_from_slice(b"  ");
    match &row.value {
        Value::Str(text) => out.extend_from_slice(printable(text).as_bytes()),
        value => write_plain(value, out),
    }
    out.push(b'\n');
}

/// A text that came from outside, on one line of a terminal: its control characters are written out (`\u{1b}`, `\n`),
/// so that it gives no orders to the terminal and begins no line of its own.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_debug());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use gristmill::words::{Cause, Key, NodeId, StreamName, Time};

    use super::*;

    #[test]
    fn a_text_of_a_sensor_gives_no_orders_to_the_terminal() {
        let (key, stream, node) = (Key::from("Pümpe"), StreamName::from("note"), NodeId::from("note"));
        let value = Value::Str("heiß\u{1b}[2J\r\nP2\u{9b}31m".into());
        let (time, cause) = (Time(0), Cause::default());
        let row = SinkRow { key: &key, time, stream: &stream, value, node: &node, artifact: None, cause };
        let mut out = Vec::new();
        write_line(&row, &mut out);
        let line = String::from_utf8(out).expect("text");
        assert!(line.contains("  Pümpe             note  "), "{line:?}");
        assert!(line.ends_with("  heiß\\u{1b}[2J\\r\\nP2\\u{9b}31m\n"), "{line:?}");
        assert_eq!(line.chars().filter(|character| character.is_control()).count(), 1, "the end of the line: {line:?}");
    }
}
