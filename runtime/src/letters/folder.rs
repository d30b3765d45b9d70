//! The folder: files of lines, and a file that says which were replayed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::line;
use super::{Kept, LetterQuery, Replayed};
use crate::traits::sink::{DeadLetter, DeadLetters};
use crate::traits::{Clock, Done};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterLimits {
    /// Bytes of all files; beyond it the oldest file is removed.
    pub bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
}

impl Default for LetterLimits {
    /// 64 MiB, in files of 4 MiB.
    fn default() -> Self {
        Self { bytes: 64 * 1024 * 1024, file_bytes: 4 * 1024 * 1024 }
    }
}

/// Keeps dead letters in a folder, and hands them on to where else they go.
pub struct LetterFolder {
    root: PathBuf,
    limits: LetterLimits,
    clock: Arc<dyn Clock>,
    then: Arc<dyn DeadLetters>,
    state: Mutex<State>,
}

struct State {
    /// Each file's first number, and its bytes.
    files: BTreeMap<u64, u64>,
    /// The newest of them.
    open: Option<File>,
    next: u64,
    replayed: BTreeMap<u64, Replayed>,
    /// Whether writing has failed, so that it is said once.
    failed: bool,
}

impl LetterFolder {
    /// Opens a folder, which is made if need be. A line that was cut off by the end of a process is removed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(
        root: impl Into<PathBuf>,
        limits: LetterLimits,
        clock: Arc<dyn Clock>,
        then: Arc<dyn DeadLetters>,
    ) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&root)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jsonl"));
            if let Some(first) = name.and_then(|name| name.parse().ok()) {
                files.insert(first, whole_lines(&path)?);
            }
        }
        let marks = root.join(MARKS);
        let first = files.keys().next().copied().unwrap_or(0);
        let mut replayed = BTreeMap::new();
        if marks.exists() {
            whole_lines(&marks)?;
            for line in BufReader::new(File::open(&marks)?).split(b'\n') {
                let mark = serde_json::from_slice::<Replayed>(&line?);
                replayed.extend(mark.ok().filter(|mark| mark.id >= first).map(|mark| (mark.id, mark)));
            }
        }
        let mut next = replayed.keys().next_back().map_or(1, |last| last + 1);
        if let Some(newest) = files.keys().next_back() {
            next = next.max(*newest);
            each(&file_path(&root, *newest), |kept| next = next.max(kept.id + 1))?;
        }
        let state = Mutex::new(State { files, open: None, next, replayed, failed: false });
        Ok(Self { root, limits, clock, then, state })
    }

    /// The letters that a query means, the newest first, at most so many; and whether there are more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn newest(&self, query: &LetterQuery, most: usize) -> io::Result<(Vec<Kept>, bool)> {
        let files: Vec<u64> = self.state().files.keys().rev().copied().collect();
        let mut found = Vec::new();
        for first in files.into_iter().filter(|first| query.before.is_none_or(|before| *first < before)) {
            let mut of_file = self.of_file(first, query)?;
            of_file.reverse();
            found.append(&mut of_file);
            if found.len() > most {
                found.truncate(most);
                return Ok((found, true));
            }
        }
        Ok((found, false))
    }

    /// As [`LetterFolder::newest`], the oldest first.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn oldest(&self, query: &LetterQuery, most: usize) -> io::Result<(Vec<Kept>, bool)> {
        let files: Vec<u64> = self.state().files.keys().copied().collect();
        let mut found = Vec::new();
        for first in files {
            found.append(&mut self.of_file(first, query)?);
            if found.len() > most {
                found.truncate(most);
                return Ok((found, true));
            }
        }
        Ok((found, false))
    }

    fn of_file(&self, first: u64, query: &LetterQuery) -> io::Result<Vec<Kept>> {
        let mut found = Vec::new();
        match each(&file_path(&self.root, first), |kept| found.extend(query.takes(&kept).then_some(kept))) {
            // It was the oldest, and has made room since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read?,
        }
        if !query.replayed {
            let state = self.state();
            found.retain(|kept| !state.replayed.contains_key(&kept.id));
        }
        Ok(found)
    }

    /// Whether and when a letter was replayed.
    pub fn replayed(&self, id: u64) -> Option<Replayed> {
        self.state().replayed.get(&id).cloned()
    }

    /// Notes that letters were replayed; durable when this comes back.
    ///
    /// # Errors
    /// When the disk refuses; they count as not replayed then.
    pub fn note(&self, marks: &[Replayed]) -> io::Result<()> {
        let mut lines = Vec::new();
        for mark in marks {
            serde_json::to_writer(&mut lines, mark)?;
            lines.push(b'\n');
        }
        let mut state = self.state();
        let mut file = OpenOptions::new().create(true).append(true).open(self.root.join(MARKS))?;
        file.write_all(&lines)?;
        file.sync_data()?;
        state.replayed.extend(marks.iter().map(|mark| (mark.id, mark.clone())));
        Ok(())
    }

    fn keep(&self, state: &mut State, letters: &[DeadLetter]) -> io::Result<()> {
        let when = self.clock.wall();
        let mut lines = Vec::new();
        let first = state.next;
        for letter in letters {
            lines.extend(line::write(state.next, when, letter));
            state.next += 1;
        }
        let newest = state.files.last_key_value().map(|(first, bytes)| (*first, *bytes));
        let newest = match newest {
            Some((newest, bytes)) if bytes < self.limits.file_bytes => newest,
            _ => {
                state.open = None;
                state.files.insert(first, 0);
                first
            }
        };
        let file = match &mut state.open {
            Some(file) => file,
            None => {
                let path = file_path(&self.root, newest);
                state.open.insert(OpenOptions::new().create(true).append(true).open(path)?)
            }
        };
        file.write_all(&lines)?;
        *state.files.entry(newest).or_default() += lines.len() as u64;
        while state.files.len() > 1 && state.files.values().sum::<u64>() > self.limits.bytes {
            let Some((oldest, _)) = state.files.pop_first() else { break };
            fs::remove_file(file_path(&self.root, oldest))?;
            let now_first = state.files.keys().next().copied().unwrap_or(state.next);
            state.replayed = state.replayed.split_off(&now_first);
            tracing::warn!(from = oldest, to = now_first - 1, "the oldest dead letters were removed to make room");
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is counted is what the files have, or a little less: a write that fails is not counted.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file of marks.
const MARKS: &str = "replayed";

impl DeadLetters for LetterFolder {
    /// Letters go on to where else they are written also when the folder cannot keep them, which is logged.
    fn write(&self, letters: Vec<DeadLetter>, done: Done) {
        let mut state = self.state();
        let kept = self.keep(&mut state, &letters);
        if let Err(error) = &kept
            && !state.failed
        {
            tracing::error!(folder = %self.root.display(), %error, "dead letters are not kept for a replay");
        }
        state.failed = kept.is_err();
        drop(state);
        self.then.write(letters, done);
    }
}

impl std::fmt::Debug for LetterFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LetterFolder").field("root", &self.root).finish_non_exhaustive()
    }
}

fn file_path(root: &Path, first: u64) -> PathBuf {
    root.join(format!("{first:020}.jsonl"))
}

/// Cuts off what follows the last whole line; the bytes that are left.
fn whole_lines(path: &Path) -> io::Result<u64> {
    let bytes = fs::read(path)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    if whole < bytes.len() {
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    }
    Ok(whole as u64)
}

/// Every letter of a file, in order; lines that are none are left out.
fn each(path: &Path, mut take: impl FnMut(Kept)) -> io::Result<()> {
    for bytes in BufReader::new(File::open(path)?).split(b'\n') {
        if let Some(kept) = line::read(&bytes?) {
            take(kept);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::words::{Cause, Offset, Revision, Time};

    /// Counts what is handed on.
    #[derive(Clone, Default)]
    struct Counted(Arc<std::sync::atomic::AtomicUsize>);

    impl DeadLetters for Counted {
        fn write(&self, letters: Vec<DeadLetter>, done: Done) {
            self.0.fetch_add(letters.len(), std::sync::atomic::Ordering::Relaxed);
            done.done();
        }
    }

    fn letter(offset: i64, node: &str) -> DeadLetter {
        DeadLetter {
            source: "pump".into(),
            source_partition: 0,
            cause: Cause { offset: Offset(offset), row: 0 },
            key: Some("P1".into()),
            node: Some(node.into()),
            time: Some(Time(offset)),
            reason: "it panicked".to_owned(),
            record: None,
            values: Vec::new(),
        }
    }

    fn ids(found: &(Vec<Kept>, bool)) -> (Vec<u64>, bool) {
        (found.0.iter().map(|kept| kept.id).collect(), found.1)
    }

    #[test]
    fn the_newest_letters_are_kept_and_found_again() {
        let root = std::env::temp_dir().join(format!("gristmill-letters-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let limits = LetterLimits { bytes: 2_000, file_bytes: 500 };
        let then = Counted::default();
        let open = || {
            let clock = Arc::new(SystemClock::default());
            LetterFolder::open(&root, limits, clock, Arc::new(then.clone())).expect("a folder")
        };
        let folder = open();
        for offset in 0..40 {
            let node = if offset % 2 == 0 { "wear" } else { "alarm" };
            folder.write(vec![letter(offset, node)], Done::new(|| ()));
        }
        assert_eq!(then.0.load(std::sync::atomic::Ordering::Relaxed), 40);
        let all = LetterQuery::default();
        let (kept, more) = ids(&folder.oldest(&all, 100).expect("read"));
        assert!(!more && kept.last() == Some(&40) && kept.len() < 20 && kept.len() >= 8, "{kept:?}");
        assert_eq!(ids(&folder.newest(&all, 2).expect("read")), (vec![40, 39], true));
        let wear = LetterQuery { node: Some("wear".into()), before: Some(39), ..LetterQuery::default() };
        assert_eq!(ids(&folder.newest(&wear, 2).expect("read")), (vec![37, 35], true));

        let mark = |id| Replayed { id, revision: Revision(2), when: Time(1), who: "me".to_owned() };
        folder.note(&[mark(39), mark(37)]).expect("noted");
        drop(folder);
        let torn = file_path(&root, *open().state().files.keys().next_back().expect("a file"));
        OpenOptions::new().append(true).open(&torn).and_then(|mut file| file.write_all(b"{\"id\":99")).expect("torn");
        let folder = open();
        assert_eq!(ids(&folder.newest(&wear, 2).expect("read")), (vec![35, 33], true));
        let also = LetterQuery { replayed: true, ids: vec![39, 35], ..LetterQuery::default() };
        assert_eq!(ids(&folder.oldest(&also, 9).expect("read")), (vec![35, 39], false));
        assert_eq!(folder.replayed(39), Some(mark(39)));
        folder.write(vec![letter(40, "wear")], Done::new(|| ()));
        assert_eq!(ids(&folder.newest(&all, 1).expect("read")), (vec![41], true));
        fs::remove_dir_all(&root).expect("removed");
    }
}
