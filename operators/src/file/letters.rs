//! Dead letters to a file, as JSON lines.

use std::path::Path;

use gristmill::traits::sink::{DeadLetter, DeadLetters};
use gristmill::traits::{Done, SinkError};

use super::output::Output;
use crate::codec::letter::write_letter;
use crate::codec::row::TimeStyle;
use crate::failure::abort;

/// Writes dead letters to a file.
pub struct FileLetters {
    output: Output,
}

/// Appends dead letters to the file, as lines of the JSON of [`write_letter`]. When it cannot be written the process
/// ends.
///
/// # Errors
/// When the file cannot be opened.
pub fn dead_letters(path: impl AsRef<Path>) -> Result<FileLetters, SinkError> {
    Ok(FileLetters { output: Output::open(path.as_ref(), false, b"", abort())? })
}

impl FileLetters {
    /// Waits until the disk has all letters.
    ///
    /// # Errors
    /// When it cannot take them.
    pub fn flush(&self) -> Result<(), SinkError> {
        self.output.sync()
    }
}

impl DeadLetters for FileLetters {
    fn write(&self, letters: Vec<DeadLetter>, done: Done) {
        let mut lines = Vec::new();
        for letter in &letters {
            write_letter(letter, TimeStyle::Rfc3339, &mut lines);
            lines.push(b'\n');
        }
        self.output.write(&lines, done);
    }
}

impl std::fmt::Debug for FileLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileLetters")
    }
}
