//! A file that all shards write to, whole frames at a time.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use gristmill::traits::{Done, SinkError};

use crate::failure::OnFailure;

/// An open file.
pub(super) struct Output {
    path: PathBuf,
    file: Mutex<File>,
    /// Why nothing is written any more; beside the lock, which is held while the system writes.
    failed: OnceLock<String>,
    on_failure: OnFailure,
}

/// What ends a file that is not empty and ends within a line: its disk was full, or who wrote it was killed. One that may
/// not be read is taken for such: an empty line harms nobody.
fn end_of_torn(path: &Path, is_csv: bool) -> &'static [u8] {
    let mut last = [0_u8];
    let file = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        file.rewind()?;
        Ok(file)
    });
    match file {
        Ok(_) if last == *b"\n" => b"",
        // All that follows would be part of the text that was begun.
        Ok(file) if is_csv && is_quoted_at_end(&file) => b"\"\n",
        _ => b"\n",
    }
}

/// Whether a CSV file ends within quotes, as far as it can be read.
fn is_quoted_at_end(file: &File) -> bool {
    let mut file = BufReader::new(file);
    let mut quotes = 0;
    while let Ok(bytes) = file.fill_buf()
        && !bytes.is_empty()
    {
        quotes += bytes.iter().filter(|byte| **byte == b'"').count();
        let read = bytes.len();
        file.consume(read);
    }
    quotes % 2 == 1
}

impl Output {
    /// Opens the file; a new or empty one begins with `header`. A line that was torn when it was last written is ended, so
    /// that the next one is a line of its own.
    pub(super) fn open(path: &Path, truncate: bool, header: &[u8], on_failure: OnFailure) -> Result<Self, SinkError> {
        let error = |error: std::io::Error| SinkError { reason: format!("file `{}`: {error}", path.display()) };
        let mut options = OpenOptions::new();
        options.create(true);
        if truncate {
            options.write(true).truncate(true)
        } else {
            options.append(true)
        };
        let mut file = options.open(path).map_err(error)?;
        let about = file.metadata().map_err(error)?;
        if about.len() == 0 {
            file.write_all(header).map_err(error)?;
        } else if about.is_file() {
            // Of the files of lines only CSV has a header.
            file.write_all(end_of_torn(path, !header.is_empty())).map_err(error)?;
        }
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), failed: OnceLock::new(), on_failure })
    }

    /// Writes whole lines and says `done` once the system has them. After a failure nothing is written any more, and
    /// nothing is said to be done.
    pub(super) fn write(&self, lines: &[u8], done: Done) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failed.get().is_some() {
            return done.never();
        }
        let Err(error) = file.write_all(lines) else {
            drop(file);
            return done.done();
        };
        let reason = format!("file `{}` cannot be written: {error}", self.path.display());
        // It is the first: none is written after it.
        let _ = self.failed.set(reason.clone());
        drop(file);
        done.never();
        tracing::error!(reason, "what was not committed will be read again");
        (self.on_failure)(&reason);
    }

    /// Why nothing is written any more.
    pub(super) fn failure(&self) -> Option<SinkError> {
        self.failed.get().map(|reason| SinkError { reason: reason.clone() })
    }

    /// Waits until the disk has everything.
    pub(super) fn sync(&self) -> Result<(), SinkError> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        match file.sync_data() {
            // A pipe or a terminal has no disk.
            Err(problem) if problem.kind() != std::io::ErrorKind::InvalidInput => {
                Err(SinkError { reason: format!("file `{}`: {problem}", self.path.display()) })
            }
            _ => Ok(()),
        }
    }
}
