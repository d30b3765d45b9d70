//! The audit log: a line for everything that was done or refused, in files that follow each other.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::error::RegistryError;
use crate::traits::Digest;
use crate::words::{Revision, Time};

/// The largest file of the audit log, in bytes; then the next one begins.
pub const AUDIT_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Files of the audit log that are kept, the one that is written to among them.
pub const AUDIT_FILES: usize = 16;

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// When, in microseconds since 1970.
    pub when: Time,
    /// Who.
    pub who: String,
    /// What was done: `begun`, `applied`, `refused`, …
    pub what: String,
    /// The revision, where it is about one.
    pub revision: Option<Revision>,
    /// The artifact or manifest, where it is about one.
    pub content: Option<Digest>,
    /// Reasons and circumstances.
    pub note: String,
}

/// Where the lines are. One at a time adds to it; reading needs nobody's leave.
#[derive(Clone)]
pub(crate) struct AuditLog {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    file_bytes: u64,
    /// Held while files get other names, and while they are opened to be read.
    names: Arc<Mutex<()>>,
    /// Whether the name of the newest file is durable.
    named: Arc<AtomicBool>,
}

impl AuditLog {
    /// The log of a folder.
    pub(super) fn new(disk: Arc<dyn Disk>, root: &Path, file_bytes: u64) -> Self {
        Self { root: root.to_owned(), disk, file_bytes, names: Arc::default(), named: Arc::default() }
    }

    fn newest(&self) -> PathBuf {
        self.root.join("audit.jsonl")
    }

    /// Adds a line; when this comes back it is durable. What a process or a disk did not finish before is ended first, so
    /// that this is a line of its own.
    pub(super) fn add(&self, line: &AuditLine) -> Result<(), RegistryError> {
        let path = self.newest();
        let mut bytes = serde_json::to_vec(line)
            .map_err(|error| RegistryError::Damaged { path: path.clone(), reason: error.to_string() })?;
        bytes.push(b'\n');
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.named.store(false, Ordering::Relaxed),
            file => {
                let (size, is_whole) = file.and_then(end_of).map_err(RegistryError::read(&path))?;
                if !is_whole && size < self.file_bytes {
                    bytes.insert(0, b'\n');
                }
                if size >= self.file_bytes {
                    self.named.store(false, Ordering::Relaxed);
                    self.begin_next()?;
                }
            }
        }
        let written = self.disk.append(&path, &bytes).and_then(|()| self.disk.sync(&path));
        written.map_err(RegistryError::write(&path))?;
        if !self.named.load(Ordering::Relaxed) {
            self.disk.sync(&self.root).map_err(RegistryError::write(&self.root))?;
            self.named.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Puts the newest file to the older ones, and removes the oldest beyond those that are kept.
    fn begin_next(&self) -> Result<(), RegistryError> {
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let older = self.older()?;
        let next = older.last().map_or(1, |(number, _)| number + 1);
        let path = self.root.join(format!("audit-{next:08}.jsonl"));
        self.disk.rename(&self.newest(), &path).map_err(RegistryError::write(&path))?;
        for (_, path) in older.iter().take((older.len() + 2).saturating_sub(AUDIT_FILES)) {
            if let Err(error) = self.disk.remove(path) {
                tracing::warn!(file = %path.display(), %error, "an old file of the audit log could not be removed");
            }
        }
        Ok(())
    }

    /// The files before the newest with their numbers, the oldest first.
    fn older(&self) -> Result<Vec<(u64, PathBuf)>, RegistryError> {
        let mut older = Vec::new();
        for file in fs::read_dir(&self.root).map_err(RegistryError::read(&self.root))? {
            let path = file.map_err(RegistryError::read(&self.root))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let digits = name.and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".jsonl"));
            // Somebody may have put files of their own beside them.
            let number = digits.filter(|digits| digits.len() == 8).and_then(|digits| digits.parse().ok());
            older.extend(number.map(|number| (number, path)));
        }
        older.sort_unstable();
        Ok(older)
    }

    /// All files, open, the oldest first.
    fn files(&self) -> Result<Vec<(PathBuf, File)>, RegistryError> {
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = Vec::new();
        for path in self.older()?.into_iter().map(|(_, path)| path).chain([self.newest()]) {
            match File::open(&path) {
                // Nothing was done yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => files.push((path.clone(), file.map_err(RegistryError::read(&path))?)),
            }
        }
        Ok(files)
    }

    /// The last lines, at most so many, the oldest first; and how many are before them. A line that a dying process did not
    /// finish is left out.
    pub(crate) fn last(&self, most: usize) -> Result<(Vec<AuditLine>, usize), RegistryError> {
        let (mut lines, mut before) = (Vec::new(), 0);
        for (path, file) in self.files()?.iter().rev() {
            let file = BufReader::new(file);
            if lines.len() >= most {
                before += count(file).map_err(RegistryError::read(path))?;
                continue;
            }
            let mut of_file = Vec::new();
            for line in file.split(b'\n') {
                of_file.extend(serde_json::from_slice::<AuditLine>(&line.map_err(RegistryError::read(path))?));
            }
            let skipped = of_file.len().saturating_sub(most - lines.len());
            before += skipped;
            lines.splice(..0, of_file.drain(skipped..));
        }
        Ok((lines, before))
    }
}

/// The size of a file in bytes, and whether its last line is ended.
fn end_of(mut file: File) -> io::Result<(u64, bool)> {
    let size = file.metadata()?.len();
    let mut last = [b'\n'];
    if size > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((size, last == [b'\n']))
}

/// How many lines a file has.
fn count(mut file: impl BufRead) -> io::Result<usize> {
    let mut lines = 0;
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(lines);
        }
        lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        let read = bytes.len();
        file.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::disk::SystemDisk;

    fn line(number: u64) -> AuditLine {
        let (who, what) = ("me".to_owned(), "applied".to_owned());
        AuditLine { when: Time(1), who, what, revision: Some(Revision(number)), content: None, note: String::new() }
    }

    #[test]
    fn the_log_has_a_bound_and_is_read_from_its_end() {
        let root = std::env::temp_dir().join(format!("gristmill-audit-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).expect("a folder");
        let log = AuditLog::new(Arc::new(SystemDisk), &root, 1_000);
        assert_eq!(log.last(5).expect("nothing yet"), (Vec::new(), 0));
        for number in 1..=1_000 {
            log.add(&line(number)).expect("there is room");
        }
        let files = fs::read_dir(&root).expect("a folder");
        let bytes: u64 = files.map(|file| file.and_then(|file| file.metadata()).expect("a file").len()).sum();
        assert!((14_000..16 * 1_100).contains(&bytes), "{bytes} bytes are kept");

        let numbers = |most| {
            let (lines, before) = log.last(most).expect("read");
            (lines.iter().filter_map(|line| Some(line.revision?.0)).collect::<Vec<_>>(), before)
        };
        let (kept, none) = numbers(10_000);
        assert_eq!(none, 0);
        assert!(kept.windows(2).all(|two| two[1] == two[0] + 1) && kept.last() == Some(&1_000), "{kept:?}");
        for most in [1, 9, 40] {
            assert_eq!(numbers(most), (kept[kept.len() - most..].to_vec(), kept.len() - most));
        }

        SystemDisk.append(&log.newest(), b"{\"when\":1,\"wh").expect("a torn line");
        let log = AuditLog::new(Arc::new(SystemDisk), &root, 1_000_000);
        log.add(&line(1_001)).expect("there is room");
        let last: Vec<_> = log.last(2).expect("read").0.iter().filter_map(|line| line.revision).collect();
        assert_eq!(last, [Revision(1_000), Revision(1_001)]);
        fs::remove_dir_all(&root).expect("removed");
    }
}
