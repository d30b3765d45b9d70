//! The only place that writes to the terminal: answers to standard output, everything else to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use console::{Term, truncate_str};
use gristmill_operators::console::printable;
use serde::Serialize;

use crate::failure::Failure;
use crate::stop;

/// Lines of a failure that people are shown; the rest is counted.
const FAILURE_LINES_SHOWN: usize = 20;

/// Where a command's answer goes.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    terminal: bool,
    /// Lines of the picture that the next one replaces.
    drawn: usize,
    /// Why nothing more is written to standard output.
    ended: Option<End>,
}

/// Why standard output takes no more.
#[derive(Debug)]
enum End {
    /// Whoever closed the other end wants no more: that is no failure.
    Closed,
    Failed(io::Error),
}

impl End {
    /// What a write has come to.
    fn of(written: io::Result<()>) -> Option<Self> {
        match written {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Some(Self::Closed),
            Err(error) => Some(Self::Failed(error)),
        }
    }
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, terminal: io::stdout().is_terminal(), drawn: 0, ended: None }
    }

    /// Whether a machine reads.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether somebody looks: pictures may be drawn over each other.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether what is written still gets somewhere: who shows the same again and again ends when it does not.
    pub(crate) fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether all that was written got where it was meant to go.
    pub(crate) fn whole(&self) -> Result<(), Failure> {
        match &self.ended {
            None | Some(End::Closed) => Ok(()),
            Some(End::Failed(error)) => Err(Failure::failed(format!("standard output cannot be written: {error}"))),
        }
    }

    /// A line or several, for people.
    pub(crate) fn say(&mut self, text: impl Display) {
        self.line(&shown(&text.to_string()));
    }

    fn line(&mut self, text: &str) {
        self.drawn = 0;
        self.write(&format!("{text}\n"));
    }

    fn write(&mut self, text: &str) {
        if self.ended.is_none() {
            let mut stdout = io::stdout().lock();
            self.ended = End::of(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
        }
    }

    /// A text as it stands.
    pub(crate) fn text(&mut self, text: &str) {
        self.write(text);
    }

    /// The answer as one JSON value.
    pub(crate) fn answer(&mut self, answer: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(answer);
        let text = text.map_err(|error| Failure::failed(format!("the answer cannot be written as JSON: {error}")))?;
        self.line(&text);
        Ok(())
    }

    /// A picture in the place of the one before.
    pub(crate) fn draw(&mut self, picture: &str) {
        let (text, lines) = redrawn(picture, self.drawn, Term::stdout().size_checked());
        self.write(&text);
        self.drawn = lines;
    }

    /// Why it did not work: to people on standard error, who get the first lines of many, to a machine as its answer.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        let more = failure.text.lines().count().saturating_sub(FAILURE_LINES_SHOWN);
        let more = (more > 0).then(|| format!("{} not shown; --json has all of them", count(more as u64, "more line")));
        for line in failure.text.lines().take(FAILURE_LINES_SHOWN).chain(more.as_deref()).chain(failure.see.as_deref())
        {
            let _ = writeln!(io::stderr().lock(), "grist: {}", printable(line));
        }
        if self.json && !failure.answered {
            let whole: Vec<&str> = [&*failure.text].into_iter().chain(failure.see.as_deref()).collect();
            let _ = self.answer(&serde_json::json!({ "error": whole.join("\n"), "exit_code": failure.exit as u8 }));
        }
    }

    /// A remark that is no part of the answer.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.json {
            let _ = writeln!(io::stderr().lock(), "{}", shown(&text.to_string()));
        }
    }
}

/// What a terminal of so many lines and columns is sent for a picture over the one before, which had so many lines; and how
/// many lines this one has. What is too long for a line or too high for the terminal is cut: a line that wraps is two, and
/// what has scrolled away cannot be drawn over.
fn redrawn(picture: &str, before: usize, size: Option<(u16, u16)>) -> (String, usize) {
    let most = |size: u16| usize::from(size).saturating_sub(1);
    // The cursor stays on the line below, and what stands in the last column would be cleared with the rest of its line.
    let (height, width) = size.map_or((usize::MAX, usize::MAX), |(lines, columns)| (most(lines), most(columns)));
    let mut text = String::new();
    if before > 0 {
        text.push_str(&format!("\x1b[{before}A"));
    }
    let lines: Vec<&str> = picture.lines().take(height).collect();
    for line in &lines {
        text.push_str(&truncate_str(&printable(line), width, ""));
        // Whatever the line before had beyond this one is cleared.
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    (text, lines.len())
}

/// A text for people: what came from outside gives no orders to their terminal.
fn shown(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Standard output for a sink that prints. When its other end is closed, as by `head`, the command is asked to stop and
/// what comes until then is dropped.
#[derive(Debug, Default)]
pub(crate) struct Printed {
    closed: bool,
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let written = io::stdout().lock().write(bytes);
        self.unless_closed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let flushed = io::stdout().lock().flush();
        self.unless_closed(flushed, ())
    }
}

impl Printed {
    fn unless_closed<T>(&mut self, result: io::Result<T>, dropped: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                stop::nobody_reads();
                Ok(dropped)
            }
            result => result,
        }
    }
}

/// A table without frame: a heading, then rows of one line each. The first column is left-aligned, and so are those in
/// `left`.
pub(crate) fn table(head: &[&str], left: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let on_a_line = |row: Vec<String>| -> Vec<String> { row.iter().map(|cell| printable(cell).into_owned()).collect() };
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).map(on_a_line).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let cell = |(column, cell): (usize, &String)| {
        let width = widths[column];
        if column == 0 || left.contains(&column) { format!("{cell:width$}") } else { format!("{cell:>width$}") }
    };
    let text =
        |line: &Vec<String>| line.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned();
    lines.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// A size in the largest unit that keeps a digit before the point.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| bytes >> shift > 0) {
        None => format!("{bytes} B"),
        Some((unit, shift)) if bytes.is_multiple_of(1 << shift) => format!("{} {unit}", grouped(bytes >> shift)),
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / f64::from(1u32 << shift)),
    }
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things.
pub(crate) fn count(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Microseconds, for people.
pub(crate) fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// A length of time, for people.
pub(crate) fn duration(length: Duration) -> String {
    micros(length.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let written = [0, 7, 999, 1_000, 12_345, 1_234_567].map(grouped);
        assert_eq!(written, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!([12, 1_250, 2_500_000].map(micros), ["12 µs", "1.2 ms", "2.50 s"]);
    }

    #[test]
    fn a_picture_is_drawn_over_the_one_before() {
        let (text, lines) = redrawn("head\na\x1b[2J", 0, None);
        assert_eq!((text.as_str(), lines), ("head\x1b[K\na\\u{1b}[2J\x1b[K\n\x1b[J", 2));
        let (text, lines) = redrawn("head\na", 2, Some((24, 80)));
        assert_eq!((text.as_str(), lines), ("\x1b[2Ahead\x1b[K\na\x1b[K\n\x1b[J", 2));
    }

    /// Bug: a line longer than the terminal took two of its lines and a high picture scrolled, so that the next one was
    /// drawn below. Fix: both are cut.
    #[test]
    fn a_picture_is_cut_to_the_terminal() {
        let picture = format!("{}\nwear µ\n{}last", "x".repeat(300), "line\n".repeat(40));
        let (text, lines) = redrawn(&picture, 0, Some((10, 20)));
        assert_eq!(lines, 9, "the cursor stays on the tenth");
        let shown: Vec<&str> = text.trim_end_matches("\x1b[J").split_terminator("\x1b[K\n").collect();
        assert_eq!(shown[..3], [&*"x".repeat(19), "wear µ", "line"]);
        assert_eq!(shown.len(), 9);
    }

    #[test]
    fn only_who_closes_the_other_end_wants_no_more() {
        let after = |kind: io::ErrorKind| Output { ended: End::of(Err(kind.into())), ..Output::new(false) };
        let closed = after(io::ErrorKind::BrokenPipe);
        assert!(!closed.is_open() && closed.whole().is_ok());
        let full = after(io::ErrorKind::StorageFull);
        let said = full.whole().map_err(|failure| failure.text);
        assert_eq!(said, Err("standard output cannot be written: no storage space".to_owned()));
        assert!(!full.is_open() && Output::new(false).is_open() && Output::new(false).whole().is_ok());
    }

    #[test]
    fn texts_from_outside_give_no_orders_to_a_terminal() {
        assert_eq!(shown("heiß\x1b[2J\r\nund\u{9b}1m"), "heiß\\u{1b}[2J\\r\nund\\u{9b}1m");
        let rows = [vec!["note".to_owned(), "a\n\x1b[1mb".to_owned()]];
        assert_eq!(table(&["node", "is"], &[1], rows), "node  is\nnote  a\\n\\u{1b}[1mb");
    }

    #[test]
    fn tables_align_numbers_to_the_right() {
        let rows = [vec!["wear".to_owned(), "1,000".to_owned()], vec!["a".to_owned(), "7".to_owned()]];
        assert_eq!(table(&["node", "rows"], &[], rows), "node   rows\nwear  1,000\na         7");
    }
}
