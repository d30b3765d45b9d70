//! A folder of saved states.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StateError;
use super::store::{Kept, StateStore, Stored};
use crate::registry::disk::{Disk, SystemDisk, place, put};
use crate::words::Class;

/// The version of the layout.
const LAYOUT: &str = "gristmill-state 1";
/// The file that says it.
const FORMAT: &str = "format";

const SAVED: &str = "saved";
const UNTOLD: &str = "untold";
const PREVIOUS: &str = "previous";
const ASIDE: &str = "aside";
/// How names of files of states end.
const SUFFIX: &str = ".state";

/// Saved states in a folder; a process that opens it has it to itself.
pub struct StateFolder {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    /// Holds the lock as long as it is open; `None` for who only looks.
    _lock: Option<File>,
}

impl std::fmt::Debug for StateFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateFolder").field("root", &self.root).finish_non_exhaustive()
    }
}

impl StateFolder {
    /// Opens a folder, which is made if need be, and keeps other processes out of it. What an earlier process has not
    /// finished to write is removed.
    ///
    /// # Errors
    /// [`StateError`]: another process has it, the disk refuses, or it is something else.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StateError> {
        Self::open_on(Arc::new(SystemDisk), root)
    }

    /// As [`StateFolder::open`], on a disk of the caller's.
    ///
    /// # Errors
    /// As [`StateFolder::open`].
    pub fn open_on(disk: Arc<dyn Disk>, root: impl Into<PathBuf>) -> Result<Self, StateError> {
        let root = root.into();
        for folder in [SAVED, UNTOLD, PREVIOUS, ASIDE] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(StateError::write(&folder))?;
        }
        let lock = lock(&root)?;
        let path = root.join(FORMAT);
        match read_layout(&path)? {
            None => put(disk.as_ref(), &root.join(ASIDE).join(FORMAT), &path, format!("{LAYOUT}\n").as_bytes())
                .map_err(StateError::write(&path))?,
            Some(found) if found == LAYOUT => {}
            Some(found) => return Err(StateError::Layout { path, found, expected: LAYOUT }),
        }
        clear_aside(disk.as_ref(), &root)?;
        Ok(Self { root, disk, _lock: Some(lock) })
    }

    /// Opens a folder to look at it, beside the process that uses it.
    ///
    /// # Errors
    /// When it is no folder of saved states.
    pub fn look(root: impl Into<PathBuf>) -> Result<Self, StateError> {
        let root = root.into();
        let path = root.join(FORMAT);
        match read_layout(&path)? {
            Some(found) if found == LAYOUT => {}
            Some(found) => return Err(StateError::Layout { path, found, expected: LAYOUT }),
            None => {
                let found = "nothing".to_owned();
                return Err(StateError::Layout { path, found, expected: LAYOUT });
            }
        }
        Ok(Self { root, disk: Arc::new(SystemDisk), _lock: None })
    }

    /// The files of saved states that a start would take, and whether their sources know how far they go.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn files(&self) -> Result<Vec<(PathBuf, bool)>, StateError> {
        let mut files = Vec::new();
        for (folder, told) in [(SAVED, true), (UNTOLD, false)] {
            let folder = self.root.join(folder);
            for file in fs::read_dir(&folder).map_err(StateError::read(&folder))? {
                files.push((file.map_err(StateError::read(&folder))?.path(), told));
            }
        }
        files.sort();
        Ok(files)
    }

    fn file(&self, folder: &str, class: &Class) -> PathBuf {
        self.root.join(folder).join(file_name(class))
    }

    fn write_state(
        &self,
        class: &Class,
        aside: &Path,
        next: &mut dyn FnMut() -> Result<Option<Vec<u8>>, StateError>,
    ) -> Result<(), StateError> {
        self.disk.write(aside, &[]).map_err(StateError::write(aside))?;
        while let Some(piece) = next()? {
            self.disk.append(aside, &piece).map_err(StateError::write(aside))?;
        }
        self.taken(class)?;
        let path = self.file(UNTOLD, class);
        place(self.disk.as_ref(), aside, &path).map_err(StateError::write(&path))
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)?;
        // The new name first: a file with two names is found, one without is lost.
        [to, from].iter().filter_map(|path| path.parent()).try_for_each(|folder| self.disk.sync(folder))
    }
}

impl StateStore for StateFolder {
    fn load(&self, class: &Class) -> Result<Kept, StateError> {
        for (folder, told) in [(UNTOLD, false), (SAVED, true)] {
            let path = self.file(folder, class);
            match fs::read(&path) {
                Ok(bytes) => return Ok(Kept::State(Stored { bytes, told, place: path.display().to_string() })),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StateError::read(&path)(error)),
            }
        }
        Ok(if self.file(PREVIOUS, class).exists() { Kept::Interrupted } else { Kept::Nothing })
    }

    fn save(
        &self,
        class: &Class,
        next: &mut dyn FnMut() -> Result<Option<Vec<u8>>, StateError>,
    ) -> Result<(), StateError> {
        let aside = self.file(ASIDE, class);
        let saved = self.write_state(class, &aside, next);
        if saved.is_err()
            && let Err(error) = self.disk.remove(&aside)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            // It would keep a full disk full.
            tracing::warn!(file = %aside.display(), %error, "a state that was not saved whole is not removed");
        }
        saved
    }

    fn told(&self, class: &Class) -> Result<(), StateError> {
        let (from, to) = (self.file(UNTOLD, class), self.file(SAVED, class));
        self.rename(&from, &to).map_err(StateError::write(&to))
    }

    fn taken(&self, class: &Class) -> Result<(), StateError> {
        let to = self.file(PREVIOUS, class);
        for from in [SAVED, UNTOLD].map(|folder| self.file(folder, class)) {
            match self.rename(&from, &to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StateError::write(&to)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Names of classes have no `%`, so that no two classes have one file.
fn file_name(class: &Class) -> String {
    format!("{}{SUFFIX}", class.replace('/', "%2F").replace(':', "%3A"))
}

/// Removes what an earlier process has begun to write; what else is there is somebody's own.
fn clear_aside(disk: &dyn Disk, root: &Path) -> Result<(), StateError> {
    let aside = root.join(ASIDE);
    for file in fs::read_dir(&aside).map_err(StateError::read(&aside))? {
        let file = file.map_err(StateError::read(&aside))?;
        let (name, path) = (file.file_name(), file.path());
        let is_own = name.to_str().is_some_and(|name| name == FORMAT || name.ends_with(SUFFIX));
        if is_own && file.file_type().map_err(StateError::read(&path))?.is_file() {
            disk.remove(&path).map_err(StateError::write(&path))?;
        }
    }
    Ok(())
}

fn read_layout(path: &Path) -> Result<Option<String>, StateError> {
    match fs::read(path) {
        Ok(found) => Ok(Some(String::from_utf8_lossy(&found).trim().chars().take(80).collect())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StateError::read(path)(error)),
    }
}

fn lock(root: &Path) -> Result<File, StateError> {
    let path = root.join("lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(StateError::write(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::Locked { path: root.to_owned() }),
        Err(TryLockError::Error(error)) => Err(StateError::write(&path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Takes half of what is added to a file, then it is full.
    struct Full;

    impl Disk for Full {
        fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            SystemDisk.write(path, bytes)
        }

        fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            SystemDisk.append(path, &bytes[..bytes.len() / 2])?;
            Err(io::ErrorKind::StorageFull.into())
        }

        fn sync(&self, path: &Path) -> io::Result<()> {
            SystemDisk.sync(path)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            SystemDisk.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            SystemDisk.remove(path)
        }
    }

    /// A place where no folder is.
    fn fresh(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("gristmill-state-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        root
    }

    fn aside(root: &Path) -> Vec<String> {
        let files = fs::read_dir(root.join(ASIDE)).expect("a folder");
        let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_state_that_is_not_saved_whole_takes_no_room() {
        let (root, class) = (fresh("full"), Class::new("pump"));
        let folder = StateFolder::open_on(Arc::new(Full), &root).expect("it is free");
        let error = folder.save(&class, &mut || Ok(Some(vec![1; 1000]))).expect_err("the disk is full");
        assert!(error.to_string().contains("pump.state"), "{error}");
        assert!(aside(&root).is_empty(), "{:?}", aside(&root));
        drop(folder);

        // The disk is all right here: a shard is gone.
        let folder = StateFolder::open(&root).expect("it is free");
        let mut pieces = vec![Err(StateError::Shard), Ok(Some(vec![1; 1000]))];
        folder.save(&class, &mut || pieces.pop().expect("a piece")).expect_err("no more comes");
        assert!(aside(&root).is_empty(), "{:?}", aside(&root));
        let mut pieces = vec![Ok(None), Ok(Some(vec![1; 1000]))];
        folder.save(&class, &mut || pieces.pop().expect("a piece")).expect("it is saved");
        assert!(matches!(folder.load(&class), Ok(Kept::State(stored)) if stored.bytes == [1; 1000]));
        assert!(aside(&root).is_empty(), "{:?}", aside(&root));
        fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn what_a_process_that_was_killed_has_begun_to_write_is_removed_and_nothing_else() {
        let root = fresh("killed");
        drop(StateFolder::open(&root).expect("it is free"));
        for name in ["pump.state", "format", "notes.txt"] {
            fs::write(root.join(ASIDE).join(name), "half").expect("it is written");
        }
        fs::create_dir(root.join(ASIDE).join("old.state")).expect("a folder");
        StateFolder::look(&root).expect("a folder");
        assert_eq!(aside(&root).len(), 4, "who only looks removes nothing");
        drop(StateFolder::open(&root).expect("it is free"));
        assert_eq!(aside(&root), ["notes.txt", "old.state"]);
        fs::remove_dir_all(&root).expect("removed");
    }
}
