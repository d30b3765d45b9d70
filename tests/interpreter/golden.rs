//! Cases whose outcome was worked out by hand.

use super::{Case, Outcome};

/// A case and what it must write.
pub struct Golden {
    /// What it shows.
    pub name: &'static str,
    /// The case.
    pub case: Case,
}

impl Golden {
    /// Checks.
    pub fn check(&self, _outcome: &Outcome) {}
}

/// All.
pub fn all() -> Vec<Golden> {
    Vec::new()
}
