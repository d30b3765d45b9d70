//! Numbers of revisions without a record: what the host changes by itself, subscriptions, quarantines. Rows have them, so
//! that after a restart nothing else may.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Disk, put};
use super::error::RegistryError;
use crate::words::Revision;

/// So many are taken at once, as each time is a write.
const BLOCK: u64 = 16;

/// The highest number that may have been given to something without a record, in a file.
pub(crate) struct Numbers {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    aside: PathBuf,
    taken: Mutex<Revision>,
}

impl Numbers {
    /// Those of a folder.
    pub(super) fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, RegistryError> {
        let path = root.join("numbers");
        let taken = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Revision).map_err(|_| RegistryError::Damaged {
                path: path.clone(),
                reason: "it holds a number, and nothing else".to_owned(),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Revision(0),
            Err(error) => return Err(RegistryError::read(&path)(error)),
        };
        Ok(Self { disk, aside: root.join("aside/numbers"), path, taken: Mutex::new(taken) })
    }

    /// The highest that is taken.
    pub(crate) fn taken(&self) -> Revision {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a number; when this comes back it is durable.
    pub(crate) fn take(&self, number: Revision) -> Result<(), RegistryError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if number <= *taken {
            return Ok(());
        }
        let last = Revision(number.0 + BLOCK - 1);
        put(self.disk.as_ref(), &self.aside, &self.path, format!("{}\n", last.0).as_bytes())
            .map_err(RegistryError::write(&self.path))?;
        *taken = last;
        Ok(())
    }
}
