//! The folder of one process: revisions, audit, artifacts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::artifacts;
use super::disk::{Disk, SystemDisk, put};
use super::error::RegistryError;
use super::record::{Kind, Record, SetRef, Verdict};
use crate::traits::Digest;
use crate::words::{Revision, Time};

/// Revisions that are kept, the newest; the one that runs always is. Those that changed only what the host knows of keys
/// are counted apart, since there may be one a second.
pub const REVISIONS_KEPT: usize = 100;
/// How often artifacts that nobody refers to are looked for: an hour. They are kept for a day anyway.
const COLLECT_EVERY_MICROS: i64 = 3_600_000_000;

/// The version of the layout.
const FORMAT: &str = "gristmill-registry 1";

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

/// A folder of revisions that this process has to itself.
pub struct RegistryFolder {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    /// Holds the lock as long as it is open.
    _lock: File,
    records: BTreeMap<Revision, Record>,
    /// The manifests of the records, which share them.
    sets: BTreeSet<Arc<SetRef>>,
    kept: usize,
    /// When artifacts that nobody refers to were looked for last.
    collected: Option<Time>,
}

impl std::fmt::Debug for RegistryFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryFolder").field("root", &self.root).field("records", &self.records.len()).finish()
    }
}

impl RegistryFolder {
    /// Opens a folder, which is made if need be, and keeps other processes out of it. What was begun when the process
    /// before ended is marked as interrupted.
    ///
    /// # Errors
    /// [`RegistryError`]: another process has it, the disk refuses, or a file is damaged.
    pub fn open(root: impl Into<PathBuf>, now: Time) -> Result<Self, RegistryError> {
        Self::open_on(Arc::new(SystemDisk), root, now)
    }

    /// As [`RegistryFolder::open`], on a disk of the caller's.
    ///
    /// # Errors
    /// As [`RegistryFolder::open`].
    pub fn open_on(disk: Arc<dyn Disk>, root: impl Into<PathBuf>, now: Time) -> Result<Self, RegistryError> {
        let root = root.into();
        for folder in ["artifacts/sha256", "revisions", "aside"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(RegistryError::write(&folder))?;
        }
        let lock = lock(&root)?;
        disk.sync(&root).map_err(RegistryError::write(&root))?;
        check_format(disk.as_ref(), &root)?;
        clear_aside(disk.as_ref(), &root)?;
        let mut sets = BTreeSet::new();
        let records = read_records(&root, &mut sets)?;
        let mut folder = Self { root, disk, _lock: lock, records, sets, kept: REVISIONS_KEPT, collected: None };
        folder.mend_audit()?;
        folder.mark_interrupted(now)?;
        Ok(folder)
    }

    /// Keeps so many revisions instead of [`REVISIONS_KEPT`].
    #[must_use]
    pub fn keeping(mut self, revisions: usize) -> Self {
        self.kept = revisions.max(1);
        self
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The last revision that is in force.
    pub fn in_force(&self) -> Option<&Record> {
        self.records.values().rev().find(|record| record.verdict.in_force())
    }

    /// The highest number that any deployment had; 0 before the first.
    pub fn highest(&self) -> Revision {
        self.records.last_key_value().map_or(Revision(0), |(number, _)| *number)
    }

    /// The revisions that are kept, the oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.records.values()
    }

    /// A revision.
    pub fn record(&self, revision: Revision) -> Option<&Record> {
        self.records.get(&revision)
    }

    /// What a client's key was used for, as long as that revision is kept.
    pub fn by_idempotency(&self, key: &str) -> Option<&Record> {
        self.records.values().rev().find(|record| record.idempotency.as_ref().is_some_and(|used| used.key == key))
    }

    /// Writes a revision; when this comes back it is durable.
    ///
    /// # Errors
    /// When the disk refuses; then the file is what it was.
    pub fn write(&mut self, record: &Record) -> Result<(), RegistryError> {
        let path = self.root.join("revisions").join(file_name(record.revision));
        let bytes = serde_json::to_vec_pretty(record)
            .map_err(|error| RegistryError::Damaged { path: path.clone(), reason: error.to_string() })?;
        let aside = self.root.join("aside").join(file_name(record.revision));
        put(self.disk.as_ref(), &aside, &path, &bytes).map_err(RegistryError::write(&path))?;
        let mut kept = record.clone();
        kept.share(&mut self.sets);
        self.records.insert(record.revision, kept);
        Ok(())
    }

    /// Adds a line to the audit log; when this comes back it is durable.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn audit(&self, line: &AuditLine) -> Result<(), RegistryError> {
        let path = self.root.join("audit.jsonl");
        let mut bytes = serde_json::to_vec(line)
            .map_err(|error| RegistryError::Damaged { path: path.clone(), reason: error.to_string() })?;
        bytes.push(b'\n');
        let is_new = !path.exists();
        let written = self.disk.append(&path, &bytes).and_then(|()| self.disk.sync(&path));
        let written = written.and_then(|()| if is_new { self.disk.sync(&self.root) } else { Ok(()) });
        written.map_err(RegistryError::write(&path))
    }

    /// The lines of the audit log, the oldest first; a line that a dying process did not finish is left out.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn audit_lines(&self) -> Result<Vec<AuditLine>, RegistryError> {
        let path = self.root.join("audit.jsonl");
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file.map_err(RegistryError::read(&path))?,
        };
        let mut lines = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(RegistryError::read(&path))?;
            lines.extend(serde_json::from_slice::<AuditLine>(&line));
        }
        Ok(lines)
    }

    /// Keeps a content; nothing is written when it is there already.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn store(&self, bytes: &[u8]) -> Result<Digest, RegistryError> {
        artifacts::store(self.disk.as_ref(), &self.root, bytes)
    }

    /// A content, checked against its hash.
    ///
    /// # Errors
    /// [`RegistryError::NoArtifact`], [`RegistryError::Mismatch`], or when the disk refuses.
    pub fn load(&self, digest: Digest) -> Result<Vec<u8>, RegistryError> {
        artifacts::load(&self.root, digest)
    }

    /// Every content that is kept, with its size in bytes.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn artifacts(&self) -> Result<Vec<(Digest, u64)>, RegistryError> {
        Ok(artifacts::list(&self.root)?.into_iter().map(|(digest, bytes, _)| (digest, bytes)).collect())
    }

    /// Forgets the oldest revisions beyond those that are kept, and the contents that nobody refers to any more.
    ///
    /// # Errors
    /// When the disk refuses; what is left over is removed the next time.
    pub fn retire(&mut self, now: Time) -> Result<(), RegistryError> {
        let in_force = self.in_force().map(|record| record.revision);
        let (facts, others): (Vec<&Record>, Vec<&Record>) =
            self.records.values().partition(|record| record.kind == Kind::Facts);
        let surplus = |records: Vec<&Record>| {
            let numbers = records.iter().map(|record| record.revision).filter(|number| Some(*number) != in_force);
            numbers.take(records.len().saturating_sub(self.kept)).collect::<Vec<_>>()
        };
        let old = [surplus(facts), surplus(others)].concat();
        for number in old {
            let path = self.root.join("revisions").join(file_name(number));
            self.disk.remove(&path).map_err(RegistryError::write(&path))?;
            self.records.remove(&number);
        }
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        if self.collected.is_some_and(|last| now.0.saturating_sub(last.0) < COLLECT_EVERY_MICROS) {
            return Ok(());
        }
        self.collected = Some(now);
        let referred: BTreeSet<Digest> = self.records.values().flat_map(Record::refers_to).collect();
        artifacts::collect(self.disk.as_ref(), &self.root, &referred, now).map(|_| ())
    }

    fn mark_interrupted(&mut self, now: Time) -> Result<(), RegistryError> {
        let begun: Vec<Record> =
            self.records.values().filter(|record| record.verdict == Verdict::Begun).cloned().collect();
        for mut record in begun {
            record.verdict = Verdict::Interrupted;
            let note = "the process ended before the deployment was done; what ran before runs".to_owned();
            self.audit(&AuditLine {
                when: now,
                who: record.who.clone(),
                what: record.verdict.name().to_owned(),
                revision: Some(record.revision),
                content: None,
                note,
            })?;
            self.write(&record)?;
        }
        Ok(())
    }

    /// Ends a line that a dying process did not finish, so that the next one is a line of its own.
    fn mend_audit(&self) -> Result<(), RegistryError> {
        let path = self.root.join("audit.jsonl");
        let Ok(mut file) = File::open(&path) else { return Ok(()) };
        let mut last = [b'\n'];
        let is_empty = file.metadata().map_err(RegistryError::read(&path))?.len() == 0;
        if !is_empty {
            file.seek(SeekFrom::End(-1))
                .and_then(|_| file.read_exact(&mut last))
                .map_err(RegistryError::read(&path))?;
        }
        if last == [b'\n'] {
            return Ok(());
        }
        self.disk.append(&path, b"\n").and_then(|()| self.disk.sync(&path)).map_err(RegistryError::write(&path))
    }
}

fn file_name(revision: Revision) -> String {
    format!("{:020}.json", revision.0)
}

fn lock(root: &Path) -> Result<File, RegistryError> {
    let path = root.join("lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(RegistryError::write(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who holds it is only said for people; without it the error stands all the same.
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "it has not said which" } else { holder.trim() };
            return Err(RegistryError::Locked { path: root.to_owned(), holder: holder.to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(RegistryError::write(&path)(error)),
    }
    let written = file.set_len(0).and_then(|()| file.write_all(format!("process {}\n", std::process::id()).as_bytes()));
    written.map_err(RegistryError::write(&path))?;
    Ok(file)
}

fn check_format(disk: &dyn Disk, root: &Path) -> Result<(), RegistryError> {
    let path = root.join("format");
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == FORMAT => Ok(()),
        Ok(found) => {
            let found = found.trim().chars().take(80).collect();
            Err(RegistryError::Format { path, found, expected: FORMAT })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let aside = root.join("aside/format");
            put(disk, &aside, &path, format!("{FORMAT}\n").as_bytes()).map_err(RegistryError::write(&path))
        }
        Err(error) => Err(RegistryError::read(&path)(error)),
    }
}

/// Removes what a dying process did not finish.
fn clear_aside(disk: &dyn Disk, root: &Path) -> Result<(), RegistryError> {
    let aside = root.join("aside");
    for file in fs::read_dir(&aside).map_err(RegistryError::read(&aside))? {
        let path = file.map_err(RegistryError::read(&aside))?.path();
        disk.remove(&path).map_err(RegistryError::write(&path))?;
    }
    Ok(())
}

/// All revisions; `sets` gets the manifests that they share.
fn read_records(root: &Path, sets: &mut BTreeSet<Arc<SetRef>>) -> Result<BTreeMap<Revision, Record>, RegistryError> {
    let folder = root.join("revisions");
    let mut records = BTreeMap::new();
    for file in fs::read_dir(&folder).map_err(RegistryError::read(&folder))? {
        let path = file.map_err(RegistryError::read(&folder))?.path();
        let bytes = fs::read(&path).map_err(RegistryError::read(&path))?;
        let mut record: Record = serde_json::from_slice(&bytes)
            .map_err(|error| RegistryError::Damaged { path: path.clone(), reason: error.to_string() })?;
        record.share(sets);
        if path.file_name().and_then(|name| name.to_str()) != Some(&file_name(record.revision)) {
            let reason = format!("it holds revision {}", record.revision);
            return Err(RegistryError::Damaged { path, reason });
        }
        records.insert(record.revision, record);
    }
    Ok(records)
}
