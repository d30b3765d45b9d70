//! The folder of one process: revisions, audit, artifacts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::artifacts;
use super::audit::{AUDIT_FILE_BYTES, AuditLine, AuditLog};
use super::disk::{Disk, SystemDisk, put};
use super::error::RegistryError;
use super::numbers::Numbers;
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

/// A folder of revisions that this process has to itself.
pub struct RegistryFolder {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    /// Holds the lock as long as it is open.
    _lock: File,
    records: BTreeMap<Revision, Record>,
    /// Those whose files may say something else, since writing them failed.
    doubtful: BTreeSet<Revision>,
    audit: AuditLog,
    numbers: Arc<Numbers>,
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
        for folder in [&root.join("artifacts"), &root] {
            disk.sync(folder).map_err(RegistryError::write(folder))?;
        }
        check_format(disk.as_ref(), &root)?;
        clear_aside(disk.as_ref(), &root)?;
        let mut sets = BTreeSet::new();
        let records = read_records(&root, &mut sets)?;
        let audit = AuditLog::new(Arc::clone(&disk), &root, AUDIT_FILE_BYTES);
        let numbers = Arc::new(Numbers::open(Arc::clone(&disk), &root)?);
        let (kept, doubtful) = (REVISIONS_KEPT, BTreeSet::new());
        let mut folder =
            Self { root, disk, _lock: lock, records, doubtful, audit, numbers, sets, kept, collected: None };
        folder.mark_interrupted(now)?;
        Ok(folder)
    }

    /// Keeps so many revisions instead of [`REVISIONS_KEPT`], at least two: the one that runs, and the newest.
    #[must_use]
    pub fn keeping(mut self, revisions: usize) -> Self {
        self.kept = revisions.max(2);
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

    /// The highest number that a record has; 0 before the first.
    pub fn highest(&self) -> Revision {
        self.records.last_key_value().map_or(Revision(0), |(number, _)| *number)
    }

    /// The numbers of what has no record.
    pub(crate) fn numbers(&self) -> &Arc<Numbers> {
        &self.numbers
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
    /// When the disk refuses. The file is then the old one or the new one; the next write puts the old one in its place.
    pub fn write(&mut self, record: &Record) -> Result<(), RegistryError> {
        self.mend(record.revision)?;
        self.put(record)?;
        self.know(record);
        Ok(())
    }

    /// Forgets a revision.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn remove(&mut self, revision: Revision) -> Result<(), RegistryError> {
        let path = self.path_of(revision);
        self.disk.remove(&path).map_err(RegistryError::write(&path))?;
        self.records.remove(&revision);
        Ok(())
    }

    /// Takes back what may have been written of a revision: from now on it is `record`, durably as soon as the disk lets it.
    ///
    /// # Errors
    /// When the disk refuses for now.
    pub(crate) fn withdraw(&mut self, record: &Record) -> Result<(), RegistryError> {
        self.know(record);
        self.put(record)
    }

    /// Writes again what a failed write has left in doubt, but for a revision that is written anew anyway.
    fn mend(&mut self, but: Revision) -> Result<(), RegistryError> {
        for number in self.doubtful.clone().into_iter().filter(|number| *number != but) {
            match self.records.get(&number).cloned() {
                Some(record) => self.put(&record)?,
                None => {
                    let path = self.path_of(number);
                    if path.exists() {
                        self.disk.remove(&path).map_err(RegistryError::write(&path))?;
                    }
                    self.doubtful.remove(&number);
                }
            }
        }
        Ok(())
    }

    /// Writes the file of a revision.
    fn put(&mut self, record: &Record) -> Result<(), RegistryError> {
        let path = self.path_of(record.revision);
        let bytes = serde_json::to_vec_pretty(record)
            .map_err(|error| RegistryError::Damaged { path: path.clone(), reason: error.to_string() })?;
        let aside = self.root.join("aside").join(file_name(record.revision));
        let written = put(self.disk.as_ref(), &aside, &path, &bytes).map_err(RegistryError::write(&path));
        match &written {
            Ok(()) => _ = self.doubtful.remove(&record.revision),
            Err(_) => _ = self.doubtful.insert(record.revision),
        }
        written
    }

    fn know(&mut self, record: &Record) {
        let mut kept = record.clone();
        kept.share(&mut self.sets);
        self.records.insert(record.revision, kept);
    }

    fn path_of(&self, revision: Revision) -> PathBuf {
        self.root.join("revisions").join(file_name(revision))
    }

    /// Adds a line to the audit log; when this comes back it is durable.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn audit(&self, line: &AuditLine) -> Result<(), RegistryError> {
        self.audit.add(line)
    }

    /// The last lines of the audit log, at most so many, the oldest first; and how many are before them. A line that a
    /// dying process did not finish is left out.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn audit_lines(&self, most: usize) -> Result<(Vec<AuditLine>, usize), RegistryError> {
        self.audit.last(most)
    }

    /// The audit log, to be read by whoever need not hold the folder.
    pub(crate) fn audit_log(&self) -> AuditLog {
        self.audit.clone()
    }

    /// Keeps a content; when it is there already, it counts as sent now.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn store(&self, bytes: &[u8], now: Time) -> Result<Digest, RegistryError> {
        artifacts::store(self.disk.as_ref(), &self.root, bytes, now)
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
        let mut facts = BTreeSet::new();
        for number in old {
            let contents = self.records.get(&number).into_iter().flat_map(|record| record.content.values());
            facts.extend(contents.filter_map(|class| class.attributes));
            self.remove(number)?;
        }
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        self.remove_facts(facts)?;
        if self.collected.is_some_and(|last| now.0.saturating_sub(last.0) < COLLECT_EVERY_MICROS) {
            return Ok(());
        }
        self.collected = Some(now);
        let referred: BTreeSet<Digest> = self.records.values().flat_map(Record::refers_to).collect();
        artifacts::collect(self.disk.as_ref(), &self.root, &referred, now).map(|_| ())
    }

    /// Removes facts about keys that no revision refers to any more. Nobody has sent them as they are, and they are many: each
    /// change writes all of them.
    fn remove_facts(&self, mut facts: BTreeSet<Digest>) -> Result<(), RegistryError> {
        if facts.is_empty() {
            return Ok(());
        }
        let contents = self.records.values().flat_map(|record| record.content.values());
        contents.filter_map(|class| class.attributes).for_each(|referred| _ = facts.remove(&referred));
        facts.into_iter().try_for_each(|digest| artifacts::remove(self.disk.as_ref(), &self.root, digest))
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
