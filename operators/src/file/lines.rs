//! Records of a text file, one after the other, in bounded memory: of one that is longer than a record may be so many
//! bytes and one more go on, for the decoder to refuse.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use crate::codec::cell::RECORD_BYTES_MAX;

/// What is left of a file after the byte order mark with which some programs begin one: it is no part of the first record.
/// A pipe may give fewer bytes at once than the mark has, and none of them twice.
pub(super) fn without_mark<R: Read>(mut file: R) -> io::Result<Chain<Cursor<Vec<u8>>, R>> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let mut first = Vec::with_capacity(MARK.len());
    file.by_ref().take(MARK.len() as u64).read_to_end(&mut first)?;
    if first == MARK {
        first.clear();
    }
    Ok(Cursor::new(first).chain(file))
}

/// What ends a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Every line break.
    Line,
    /// A line break outside quotes, in rows of fields with this separator.
    Row(u8),
}

/// Where in a row of fields a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote within quotes: it closes them, or is the first of two.
    Closing,
}

impl Place {
    fn after(self, piece: &[u8], separator: u8) -> Self {
        piece.iter().fold(self, |place, byte| match (place, *byte) {
            (Self::Quoted, b'"') => Self::Closing,
            (Self::Quoted, _) | (Self::FieldStart | Self::Closing, b'"') => Self::Quoted,
            (_, byte) if byte == separator => Self::FieldStart,
            _ => Self::Unquoted,
        })
    }
}

/// Reads records.
pub(super) struct Lines<R> {
    reader: R,
    ends: Ends,
}

impl<R: Read> Lines<BufReader<R>> {
    /// Whether a line can be read without waiting for bytes.
    pub(super) fn has_line(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, ends: Ends) -> Self {
        Self { reader, ends }
    }

    /// The next record without its line break; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut record = Vec::new();
        let mut place = Place::FieldStart;
        if self.reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        loop {
            let before = record.len();
            let complete = self.append_line(&mut record)?;
            if let Ends::Row(separator) = self.ends {
                place = place.after(&record[before..], separator);
            }
            if !complete || place != Place::Quoted || record.len() > RECORD_BYTES_MAX {
                break;
            }
            record.push(b'\n');
        }
        if record.last() == Some(&b'\r') {
            record.pop();
        }
        Ok(Some(record))
    }

    /// Appends up to the line break; says whether there was one.
    fn append_line(&mut self, record: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            let room = (RECORD_BYTES_MAX + 1).saturating_sub(record.len());
            record.extend_from_slice(&piece[..piece.len().min(room)]);
            let used = piece.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time, as a pipe may.
    struct Singly<'a>(&'a [u8]);

    impl Read for Singly<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let room = to.len().min(1);
            self.0.read(&mut to[..room])
        }
    }

    /// Bug: a byte order mark that did not come in one piece was taken for text. Fix: its three bytes are waited for.
    #[test]
    fn a_mark_that_comes_in_pieces_is_passed_over_and_nothing_else_is() {
        for (text, left) in [
            ("\u{feff}ts,machine", "ts,machine"),
            ("\u{feff}", ""),
            ("\u{feff}\u{feff}a", "\u{feff}a"),
            ("ab", "ab"),
            ("{}\n", "{}\n"),
            ("", ""),
        ] {
            let mut got = String::new();
            let rest = without_mark(Singly(text.as_bytes()));
            rest.and_then(|mut rest| rest.read_to_string(&mut got)).expect("nothing fails");
            assert_eq!(got, left, "{text:?}");
        }
    }
}
