//! How a command ends when it does not end well: a sentence for people and a number for scripts.

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use gristmill::StartError;

use crate::output::Output;

/// The exit codes besides 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was begun and did not work.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A file was refused before anything ran, or a server refused what was asked: nothing has changed.
    Refused = 3,
    /// The token does not allow it, or there is none.
    #[cfg(feature = "remote")]
    Denied = 4,
    /// Nobody answers there.
    #[cfg(feature = "remote")]
    Unreachable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Held by whoever ends the process.
static ENDING: Mutex<()> = Mutex::new(());

/// What is done when a file that is written cannot be written any more: nothing after it counts as done. When `json`, a
/// machine waits for an answer.
pub(crate) fn cannot_go_on(json: bool) -> impl Fn(&str) + Send + Sync + 'static {
    move |reason: &str| {
        // Of several files that fail at once, one is the answer.
        let _ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
        let text = format!("{reason}; it stops here, and what it wrote is not whole");
        Output::new(json).failed(&Failure::failed(text));
        std::process::exit(i32::from(Exit::Failed as u8));
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Everything that is wrong, where, and what to do; one line each.
    pub(crate) text: String,
    /// Where more is said of it.
    pub(crate) see: Option<String>,
    /// Whether standard output has it already, as part of a machine's answer.
    pub(crate) answered: bool,
}

impl Failure {
    /// It did not work.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, text: text.into(), see: None, answered: false }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, text: text.into(), see: None, answered: false }
    }

    /// A file was refused.
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, text: text.into(), see: None, answered: false }
    }

    /// The runtime did not start: what is wrong with the file is told apart from what does not work.
    pub(crate) fn not_started(error: &StartError, text: impl Into<String>) -> Self {
        if matches!(error, StartError::Trial { .. }) { Self::refused(text) } else { Self::failed(text) }
    }

    /// Its JSON has been written.
    pub(crate) fn answered(mut self) -> Self {
        self.answered = true;
        self
    }
}
