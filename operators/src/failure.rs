//! What a sink does that can never write what it was given.

use std::sync::Arc;

/// Called with the reason.
pub(crate) type OnFailure = Arc<dyn Fn(&str) + Send + Sync>;

/// Ends the process: what was not committed is read again.
pub(crate) fn abort() -> OnFailure {
    Arc::new(|_| std::process::abort())
}
