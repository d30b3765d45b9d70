//! Records of a text file, one after the other, in bounded memory: of one that is longer than a record may be so many
//! bytes and one more go on, for the decoder to refuse.

use std::io::{self, BufRead};

use crate::codec::cell::RECORD_BYTES_MAX;

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

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, ends: Ends) -> Self {
        Self { reader, ends }
    }

    /// Passes over the byte order mark with which some programs begin a file: it is no part of the first record.
    pub(super) fn skip_mark(&mut self) -> io::Result<()> {
        const MARK: &[u8] = "\u{feff}".as_bytes();
        if self.reader.fill_buf()?.starts_with(MARK) {
            self.reader.consume(MARK.len());
        }
        Ok(())
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
