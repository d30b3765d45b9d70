//! Artifacts by content.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use super::disk::{Disk, put};
use super::error::RegistryError;
use crate::traits::Digest;
use crate::words::Time;

/// How long an artifact is kept that no revision refers to, since it may have been sent for the next one.
pub const UNREFERRED_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The hash of a content.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Where an artifact lies.
pub(super) fn path_of(root: &Path, digest: Digest) -> PathBuf {
    let name = digest.to_string();
    root.join("artifacts/sha256").join(&name[..2]).join(name)
}

/// Keeps a content; when it is there already and whole, only its time is new.
pub(super) fn store(disk: &dyn Disk, root: &Path, bytes: &[u8], now: Time) -> Result<Digest, RegistryError> {
    let digest = digest_of(bytes);
    let path = path_of(root, digest);
    let folder = path.parent().unwrap_or(root);
    if matches!(load(root, digest), Ok(found) if found == bytes) {
        // Whoever placed it may have died before its name was durable.
        disk.sync(folder).map_err(RegistryError::write(folder))?;
        // It may have been sent for the next deployment, like one that is new.
        let now = UNIX_EPOCH + since_epoch(now);
        let is_older = fs::metadata(&path).and_then(|found| found.modified()).is_ok_and(|written| written < now);
        if is_older && let Err(error) = disk.date(&path, now) {
            // It is there, and somebody else's file perhaps.
            tracing::warn!(%error, %digest, "an artifact that was sent again does not count as new");
        }
        return Ok(digest);
    }
    fs::create_dir_all(folder).map_err(RegistryError::write(folder))?;
    let above = folder.parent().unwrap_or(root);
    disk.sync(above).map_err(RegistryError::write(above))?;
    let aside = root.join("aside").join(digest.to_string());
    put(disk, &aside, &path, bytes).map_err(RegistryError::write(&path))?;
    Ok(digest)
}

/// A content, checked against its hash.
pub(super) fn load(root: &Path, digest: Digest) -> Result<Vec<u8>, RegistryError> {
    let path = path_of(root, digest);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(RegistryError::NoArtifact { digest });
        }
        bytes => bytes.map_err(RegistryError::read(&path))?,
    };
    match digest_of(&bytes) {
        found if found == digest => Ok(bytes),
        found => Err(RegistryError::Mismatch { digest, found }),
    }
}

/// Every artifact with its size in bytes, by hash.
pub(super) fn list(root: &Path) -> Result<Vec<(Digest, u64, Duration)>, RegistryError> {
    let top = root.join("artifacts/sha256");
    let mut found = Vec::new();
    for folder in fs::read_dir(&top).map_err(RegistryError::read(&top))? {
        let folder = folder.map_err(RegistryError::read(&top))?.path();
        for file in fs::read_dir(&folder).map_err(RegistryError::read(&folder))? {
            let file = file.map_err(RegistryError::read(&folder))?;
            let metadata = file.metadata().map_err(RegistryError::read(&folder))?;
            let Some(digest) = file.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let written = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            found.push((digest, metadata.len(), written.unwrap_or_default()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn since_epoch(time: Time) -> Duration {
    Duration::from_micros(u64::try_from(time.0).unwrap_or(0))
}

/// Removes a content, if it is there.
pub(super) fn remove(disk: &dyn Disk, root: &Path, digest: Digest) -> Result<(), RegistryError> {
    let path = path_of(root, digest);
    match disk.remove(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(RegistryError::write(&path)),
    }
}

/// Removes what nobody refers to any more and nobody has sent of late.
pub(super) fn collect(
    disk: &dyn Disk,
    root: &Path,
    referred: &BTreeSet<Digest>,
    now: Time,
) -> Result<usize, RegistryError> {
    let now = since_epoch(now);
    let mut removed = 0;
    for (digest, _, written) in list(root)? {
        if !referred.contains(&digest) && now.saturating_sub(written) > UNREFERRED_KEPT {
            let path = path_of(root, digest);
            disk.remove(&path).map_err(RegistryError::write(&path))?;
            removed += 1;
        }
    }
    Ok(removed)
}
