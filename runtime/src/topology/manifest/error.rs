//! What is wrong with a file: all of it at once, each with its line.

use std::fmt;
use std::path::Path;

use serde::Serialize;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManifestError {
    /// The line, from 1; `None` for what is wrong with the whole.
    pub line: Option<usize>,
    /// The node and field: `` node `failure`, needs[1] ``; empty for the whole file.
    pub place: String,
    /// What is wrong, with the limit where there is one.
    pub problem: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.problem)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

/// How many errors the text of [`ManifestErrors`] shows; the rest are counted, unless all are asked for.
pub const ERRORS_SHOWN_MAX: usize = 20;

/// Everything that is wrong with a file, in order of lines. As text, one line each: `file:line: what; what to do`. `{}`
/// writes the first [`ERRORS_SHOWN_MAX`] and counts the rest, `{:#}` writes all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManifestErrors {
    /// The file, or `manifest` where the text came from elsewhere.
    pub file: String,
    /// What is wrong; never empty.
    pub errors: Vec<ManifestError>,
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if f.alternate() { self.errors.len() } else { ERRORS_SHOWN_MAX };
        for (index, error) in self.errors.iter().take(shown).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match error.line {
                Some(line) => write!(f, "{}:{line}: {error}", self.file)?,
                None => write!(f, "{}: {error}", self.file)?,
            }
        }
        match self.errors.len().saturating_sub(shown) {
            0 => Ok(()),
            more => write!(f, "\n{}: {more} more errors are not shown; `ManifestErrors::errors` has all", self.file),
        }
    }
}

impl std::error::Error for ManifestErrors {}

/// What was refused, and what to do; where it stands is added by the caller.
#[derive(Debug, PartialEq)]
pub(in crate::topology) struct Refusal {
    pub(in crate::topology) problem: String,
    pub(in crate::topology) advice: String,
}

impl Refusal {
    pub(in crate::topology) fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { problem: problem.into(), advice: advice.into() }
    }
}

/// Most errors of one file that are kept; more are counted. A family has up to 10,000 members, and each may be bad.
const ERRORS_KEPT_MAX: usize = 20_000;

/// The errors of one file as they are found.
#[derive(Debug)]
pub(in crate::topology) struct Problems {
    file: String,
    errors: Vec<ManifestError>,
    more: usize,
}

impl Problems {
    pub(in crate::topology) fn of(file: impl Into<String>) -> Self {
        Self { file: file.into(), errors: Vec::new(), more: 0 }
    }

    pub(in crate::topology) fn of_path(path: &Path) -> Self {
        Self::of(path.display().to_string())
    }

    /// Adds an error; `line` 0 stands for the whole file.
    pub(in crate::topology) fn add(&mut self, line: usize, place: impl Into<String>, refusal: Refusal) {
        if self.errors.len() == ERRORS_KEPT_MAX {
            self.more += 1;
            return;
        }
        let line = (line > 0).then_some(line);
        let Refusal { problem, advice } = refusal;
        self.errors.push(ManifestError { line, place: place.into(), problem, advice });
    }

    pub(in crate::topology) fn file(&self) -> &str {
        &self.file
    }

    pub(in crate::topology) fn count(&self) -> usize {
        self.errors.len() + self.more
    }

    pub(in crate::topology) fn lines(&self) -> Vec<usize> {
        self.errors.iter().filter_map(|error| error.line).collect()
    }

    pub(in crate::topology) fn retain(&mut self, keep: impl FnMut(&ManifestError) -> bool) {
        self.errors.retain(keep);
    }

    pub(in crate::topology) fn extend(&mut self, other: Self) {
        let room = ERRORS_KEPT_MAX - self.errors.len();
        self.more += other.more + other.errors.len().saturating_sub(room);
        self.errors.extend(other.errors.into_iter().take(room));
    }

    /// `value` when nothing was wrong, else all errors in order of lines.
    pub(in crate::topology) fn finish<T>(self, value: T) -> Result<T, ManifestErrors> {
        if self.errors.is_empty() { Ok(value) } else { Err(self.into_errors()) }
    }

    /// What was read, when nothing was wrong.
    pub(in crate::topology) fn finish_read<T>(mut self, read: Option<T>) -> Result<T, ManifestErrors> {
        if read.is_none() && self.errors.is_empty() {
            self.add(0, "", Refusal::new("cannot be read", "")); // a defect: whoever reads nothing says why
        }
        match read {
            Some(read) => self.finish(read),
            None => Err(self.into_errors()),
        }
    }

    /// The errors in order of lines; there must be one.
    pub(in crate::topology) fn into_errors(mut self) -> ManifestErrors {
        self.errors.sort_by_key(|error| error.line);
        if self.more > 0 {
            let problem = format!("{} more errors", self.more);
            let advice = "mend these first".to_owned();
            self.errors.push(ManifestError { line: None, place: String::new(), problem, advice });
        }
        debug_assert!(!self.errors.is_empty(), "an error list has an error");
        ManifestErrors { file: self.file, errors: self.errors }
    }
}
