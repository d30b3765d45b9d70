//! Predictions for people: aligned lines on standard output.

use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkRow, SinkWriter};
use gristmill::words::{ShardIndex, Value};

use crate::codec::row::write_plain;
use crate::codec::time::write_time;

const KEY_WIDTH: usize = 16;
const STREAM_WIDTH: usize = 24;

/// What the writers of all shards print to.
struct Output {
    /// `None` once its other end is closed.
    to: Mutex<Option<Box<dyn Write + Send>>>,
    /// Why nothing is printed any more; beside the lock, which is held while the system writes.
    failed: OnceLock<String>,
}

/// A sink that prints; made by [`sink`].
pub struct Console {
    output: Arc<Output>,
}

/// A sink that prints a line for each prediction: time, key, stream, value.
///
/// When the other end is closed nobody looks any more, and what comes then is dropped. After any other failure nothing is
/// printed, and nothing is said to be done: the runtime ends with that error.
pub fn sink() -> Console {
    Console::to(std::io::stdout())
}

impl Console {
    /// Prints to `output` instead.
    pub fn to(output: impl Write + Send + 'static) -> Self {
        Self { output: Arc::new(Output { to: Mutex::new(Some(Box::new(output))), failed: OnceLock::new() }) }
    }
}

impl Sink for Console {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(Writer { output: Arc::clone(&self.output), lines: Vec::new() }))
    }

    fn failure(&self) -> Option<SinkError> {
        self.output.failed.get().map(|reason| SinkError { reason: reason.clone() })
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

impl Output {
    fn print(&self, lines: &[u8], done: Done) {
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failed.get().is_some() {
            return done.never();
        }
        let printed = to.as_mut().map_or(Ok(()), |to| to.write_all(lines).and_then(|()| to.flush()));
        match printed {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                *to = None;
                tracing::warn!("nobody reads what is printed; no more of it is");
            }
            Err(error) => {
                let reason = format!("lines cannot be printed: {error}");
                tracing::error!(reason, "what was not committed will be read again");
                // It is the first: none is printed after it.
                let _ = self.failed.set(reason);
                return done.never();
            }
        }
        drop(to);
        done.done();
    }
}

struct Writer {
    output: Arc<Output>,
    lines: Vec<u8>,
}

impl SinkWriter for Writer {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        self.lines.clear();
        frame.for_each(|row| write_line(&row, &mut self.lines));
        self.output.print(&self.lines, done);
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
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering};

    use gristmill::words::{Cause, Key, NodeId, StreamName, Time};

    use super::*;

    /// Fails as it is told, and counts how often it is written to.
    struct Fails(ErrorKind, Arc<AtomicU32>);

    impl Write for Fails {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Bug: lines that could not be printed counted as printed, with a warning for each frame. Fix: after a failure nothing
    /// is done, and the sink says why; only a closed pipe wants no more.
    #[test]
    fn what_cannot_be_printed_is_not_done_unless_nobody_reads() {
        for (kind, done, said) in [
            (ErrorKind::StorageFull, 0, Some("lines cannot be printed: no storage space")),
            (ErrorKind::BrokenPipe, 3, None),
        ] {
            let (tried, dones) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
            let console = Console::to(Fails(kind, Arc::clone(&tried)));
            assert!(console.failure().is_none());
            for _ in 0..3 {
                let dones = Arc::clone(&dones);
                console.output.print(b"a\n", Done::new(move || _ = dones.fetch_add(1, Ordering::Relaxed)));
            }
            assert_eq!(dones.load(Ordering::Relaxed), done, "{kind:?}");
            assert_eq!(tried.load(Ordering::Relaxed), 1, "{kind:?}: it is not tried again");
            assert_eq!(console.failure().map(|error| error.reason).as_deref(), said);
        }
    }

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
