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

const SAVED: &str = "saved";
const UNTOLD: &str = "untold";
const PREVIOUS: &str = "previous";

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
    /// Opens a folder, which is made if need be, and keeps other processes out of it.
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
        for folder in [SAVED, UNTOLD, PREVIOUS, "aside"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(StateError::write(&folder))?;
        }
        let lock = lock(&root)?;
        let path = root.join("format");
        match read_layout(&path)? {
            None => put(disk.as_ref(), &root.join("aside/format"), &path, format!("{LAYOUT}\n").as_bytes())
                .map_err(StateError::write(&path))?,
            Some(found) if found == LAYOUT => {}
            Some(found) => return Err(StateError::Layout { path, found, expected: LAYOUT }),
        }
        Ok(Self { root, disk, _lock: Some(lock) })
    }

    /// Opens a folder to look at it, beside the process that uses it.
    ///
    /// # Errors
    /// When it is no folder of saved states.
    pub fn look(root: impl Into<PathBuf>) -> Result<Self, StateError> {
        let root = root.into();
        let path = root.join("format");
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
        let (aside, path) = (self.file("aside", class), self.file(UNTOLD, class));
        self.disk.write(&aside, &[]).map_err(StateError::write(&aside))?;
        while let Some(piece) = next()? {
            self.disk.append(&aside, &piece).map_err(StateError::write(&aside))?;
        }
        self.taken(class)?;
        place(self.disk.as_ref(), &aside, &path).map_err(StateError::write(&path))
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
    format!("{}.state", class.replace('/', "%2F").replace(':', "%3A"))
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
