//! The few things that are done to files, so that tests can stop them half-way.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

/// Changes files. Reading needs no such door: it changes nothing.
pub trait Disk: Send + Sync + 'static {
    /// Writes a file anew.
    ///
    /// # Errors
    /// Those of the system, here and below.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Adds to the end of a file, which is made if need be.
    ///
    /// # Errors
    /// Those of the system.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Makes the content of a file, or the names in a folder, durable.
    ///
    /// # Errors
    /// Those of the system.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, in place of the file that has it.
    ///
    /// # Errors
    /// Those of the system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Says when a file was written.
    ///
    /// # Errors
    /// Those of the system.
    fn date(&self, path: &Path, when: SystemTime) -> io::Result<()> {
        File::options().append(true).open(path)?.set_modified(when)
    }
}

/// The disk of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        File::create(path)?.write_all(bytes)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().create(true).append(true).open(path)?.write_all(bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

/// Puts a whole file in place: written aside, made durable, renamed, and the name made durable.
///
/// # Errors
/// Those of the system; the file is then the old one or the new one.
pub fn put(disk: &dyn Disk, aside: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    disk.write(aside, bytes)?;
    place(disk, aside, path)
}

/// Puts a file in place that is written already: made durable, renamed, and the name made durable.
///
/// # Errors
/// As [`put`].
pub fn place(disk: &dyn Disk, aside: &Path, path: &Path) -> io::Result<()> {
    disk.sync(aside)?;
    disk.rename(aside, path)?;
    match path.parent() {
        None => Ok(()),
        Some(folder) if folder.as_os_str().is_empty() => disk.sync(Path::new(".")),
        Some(folder) => disk.sync(folder),
    }
}
