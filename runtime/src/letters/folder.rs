//! The folder: files of lines, and a file that says which were replayed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::line;
use super::{Kept, LetterQuery, Replayed};
use crate::registry::disk::{SystemDisk, put};
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
    /// Adds lines to the end of a file; tests have a disk that is full half-way.
    add: fn(&mut File, &[u8]) -> io::Result<()>,
    state: Mutex<State>,
}

struct State {
    /// Each file's first number, and its bytes.
    files: BTreeMap<u64, u64>,
    /// The newest of them.
    open: Option<File>,
    /// Whether the newest ends in half a line that could not be cut off, so that nothing may follow it.
    torn: bool,
    next: u64,
    replayed: BTreeMap<u64, Replayed>,
    /// Whether the file of marks ends so.
    marks_torn: bool,
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
        let replayed = read_marks(&root.join(MARKS), files.keys().next().copied().unwrap_or(0))?;
        let mut next = replayed.keys().next_back().map_or(1, |last| last + 1);
        if let Some(newest) = files.keys().next_back() {
            next = next.max(*newest);
            each(&file_path(&root, *newest), |kept| next = next.max(kept.id + 1))?;
        }
        let state = State { files, open: None, torn: false, next, replayed, marks_torn: false, failed: false };
        Ok(Self { root, limits, clock, then, add: File::write_all, state: Mutex::new(state) })
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
        let mut lines = lines_of(marks)?;
        let mut state = self.state();
        if state.marks_torn {
            // What is left of other marks becomes a line of its own.
            lines.insert(0, b'\n');
        }
        let mut file = OpenOptions::new().create(true).append(true).open(self.root.join(MARKS))?;
        let bytes = file.metadata()?.len();
        self.append(&mut file, bytes, &lines, &mut state.marks_torn)?;
        state.marks_torn = false;
        file.sync_data()?;
        state.replayed.extend(marks.iter().map(|mark| (mark.id, mark.clone())));
        Ok(())
    }

    /// Adds lines to a file of so many bytes. When that fails the file is cut back to them; `torn` says if it cannot be.
    fn append(&self, file: &mut File, bytes: u64, lines: &[u8], torn: &mut bool) -> io::Result<()> {
        let added = (self.add)(file, lines);
        if added.is_err() {
            *torn |= file.set_len(bytes).is_err();
        }
        added
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
        let (newest, bytes) = match newest {
            Some((newest, bytes)) if bytes < self.limits.file_bytes && !state.torn => (newest, bytes),
            _ => {
                (state.open, state.torn) = (None, false);
                state.files.insert(first, 0);
                (first, 0)
            }
        };
        let file = match &mut state.open {
            Some(file) => file,
            None => {
                let path = file_path(&self.root, newest);
                state.open.insert(OpenOptions::new().create(true).append(true).open(path)?)
            }
        };
        if let Err(error) = self.append(file, bytes, &lines, &mut state.torn) {
            if state.torn {
                state.open = None;
                if bytes == 0 {
                    // Nothing in it counts, and each write may leave one more like it.
                    state.files.remove(&newest);
                }
            }
            return Err(error);
        }
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

/// Marks as lines.
fn lines_of<'m>(marks: impl IntoIterator<Item = &'m Replayed>) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for mark in marks {
        serde_json::to_writer(&mut lines, mark)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// The marks of letters from `first` on; the file is written anew without those before, whose letters are gone.
fn read_marks(path: &Path, first: u64) -> io::Result<BTreeMap<u64, Replayed>> {
    let (mut replayed, mut gone) = (BTreeMap::new(), false);
    if !path.exists() {
        return Ok(replayed);
    }
    whole_lines(path)?;
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        let Ok(mark) = serde_json::from_slice::<Replayed>(&line?) else { continue };
        if mark.id < first {
            gone = true;
        } else {
            replayed.insert(mark.id, mark);
        }
    }
    if gone {
        let aside = path.with_extension("aside");
        let lines = lines_of(replayed.values())?;
        if let Err(error) = put(&SystemDisk, &aside, path, &lines) {
            // The old file says the same, and more; a disk that is full shall not stop a start.
            let _ = fs::remove_file(&aside);
            tracing::warn!(file = %path.display(), %error, "marks of dead letters that are gone were not removed");
        }
    }
    Ok(replayed)
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

    fn mark(id: u64) -> Replayed {
        Replayed { id, revision: Revision(2), when: Time(1), who: "me".to_owned() }
    }

    fn write(folder: &LetterFolder, offsets: impl IntoIterator<Item = i64>) {
        folder.write(offsets.into_iter().map(|offset| letter(offset, "wear")).collect(), Done::new(|| ()));
    }

    /// A place where no folder is.
    fn fresh(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("gristmill-letters-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        root
    }

    fn opened(root: &Path, limits: LetterLimits) -> LetterFolder {
        let clock = Arc::new(SystemClock::default());
        LetterFolder::open(root, limits, clock, Arc::new(Counted::default())).expect("a folder")
    }

    /// A disk that is full half-way.
    fn half(file: &mut File, lines: &[u8]) -> io::Result<()> {
        file.write_all(&lines[..lines.len() / 2])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    /// All letters that are found.
    fn found(folder: &LetterFolder) -> Vec<u64> {
        ids(&folder.oldest(&LetterQuery::default(), 100).expect("read")).0
    }

    fn ids(found: &(Vec<Kept>, bool)) -> (Vec<u64>, bool) {
        (found.0.iter().map(|kept| kept.id).collect(), found.1)
    }

    #[test]
    fn the_newest_letters_are_kept_and_found_again() {
        let root = fresh("newest");
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

    #[test]
    fn a_write_that_breaks_off_takes_no_later_letter_with_it() {
        let root = fresh("half");
        let mut folder = opened(&root, LetterLimits::default());
        // At first the file is new, then it has a letter.
        for offset in [0, 10] {
            folder.add = half;
            write(&folder, [offset, offset + 1, offset + 2]);
            folder.add = File::write_all;
            write(&folder, [offset + 3]);
        }
        assert_eq!(found(&folder), [4, 8], "those that could be written");
        let bytes = fs::metadata(file_path(&root, 1)).expect("the file").len();
        assert_eq!(folder.state().files, BTreeMap::from([(1, bytes)]));
        fs::remove_dir_all(&root).expect("removed");
    }

    /// A file is on a disk that can neither write nor cut, for as long as `run` takes; that leaves half a line.
    #[cfg(target_os = "linux")]
    fn broken(path: &Path, run: impl FnOnce()) {
        let whole = fs::read(path).expect("a file");
        fs::remove_file(path).and_then(|()| std::os::unix::fs::symlink("/dev/full", path)).expect("a link");
        run();
        fs::remove_file(path).and_then(|()| fs::write(path, [&whole[..], b"{\"id\":"].concat())).expect("torn");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nothing_is_added_to_a_file_whose_torn_end_cannot_be_cut_off() {
        let (root, limits) = (fresh("torn"), LetterLimits::default());
        write(&opened(&root, limits), [0]);
        let folder = opened(&root, limits);
        broken(&file_path(&root, 1), || write(&folder, [1]));
        write(&folder, [2]);
        assert_eq!(found(&folder), [1, 3]);
        assert!(folder.state().files.keys().eq(&[1_u64, 3]), "the third has a file of its own");
        drop(folder);

        let folder = opened(&root, LetterLimits { file_bytes: 1, ..limits });
        fs::write(file_path(&root, 4), b"").expect("an empty file");
        broken(&file_path(&root, 4), || write(&folder, [3]));
        write(&folder, [4]);
        assert_eq!(found(&folder), [1, 3, 5]);
        assert!(folder.state().files.keys().eq(&[1_u64, 3, 5]), "one that never had a letter does not count");
        fs::remove_dir_all(&root).expect("removed");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn marks_that_break_off_take_no_later_mark_with_them() {
        let (root, limits) = (fresh("marks"), LetterLimits::default());
        let mut folder = opened(&root, limits);
        folder.add = half;
        folder.note(&[mark(1)]).expect_err("the disk is full");
        folder.add = File::write_all;
        folder.note(&[mark(2)]).expect("noted");
        broken(&root.join(MARKS), || _ = folder.note(&[mark(3)]).expect_err("the disk is broken"));
        folder.note(&[mark(4)]).expect("noted");
        folder.note(&[mark(5)]).expect("noted");
        drop(folder);
        let (folder, of) = (opened(&root, limits), |id| Some(mark(id)));
        assert_eq!([1, 2, 3, 4, 5].map(|id| folder.replayed(id)), [None, of(2), None, of(4), of(5)]);
        fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn marks_of_letters_that_are_gone_are_removed_from_their_file() {
        let (root, limits) = (fresh("gone"), LetterLimits { bytes: 2_000, file_bytes: 500 });
        let folder = opened(&root, limits);
        (0..40).for_each(|offset| write(&folder, [offset]));
        folder.note(&(1..=40).map(mark).collect::<Vec<_>>()).expect("noted");
        let lines = || fs::read_to_string(root.join(MARKS)).expect("marks").lines().count();
        assert_eq!(lines(), 40);
        let folder = opened(&root, limits);
        let kept: Vec<u64> = folder.state().replayed.keys().copied().collect();
        assert!(kept.len() < 20 && kept.last() == Some(&40), "{kept:?}");
        assert_eq!(lines(), kept.len());
        assert!(!root.join("replayed.aside").exists());
        // They are read from the new file, which goes on.
        write(&folder, [40]);
        folder.note(&[mark(41)]).expect("noted");
        drop(folder);
        let folder = opened(&root, limits);
        assert_eq!([39, 40, 41].map(|id| folder.replayed(id)), [39, 40, 41].map(|id| Some(mark(id))));
        assert!(found(&folder).is_empty(), "none is replayed again");
        fs::remove_dir_all(&root).expect("removed");
    }
}
