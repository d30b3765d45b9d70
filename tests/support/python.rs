//! Python with the packages that tests need.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A program of the Python environment.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn path(program: &str) -> PathBuf {
    let path = root().join("target/venv/bin").join(program);
    assert!(path.exists(), "{} is not there; `bash scripts/test python` installs it", path.display());
    path
}

/// Runs a program of the Python environment to its end, in the project's root.
///
/// # Errors
/// All that it said, when it does not end well.
///
/// # Panics
/// When it is not installed.
pub fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    run_in(&root(), program, arguments)
}

/// The same in another folder, for a program that leaves files where it runs.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// As [`run`].
pub fn run_in(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let path = path(program);
    let ended = Command::new(&path).args(arguments).current_dir(folder).env("PYTHONDONTWRITEBYTECODE", "1").output();
    let ended = ended.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let said = [&ended.stdout[..], &ended.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    if ended.status.success() { Ok(()) } else { Err(format!("{program} ended with {}:\n{said}", ended.status)) }
}
