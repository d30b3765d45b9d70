//! What the environment says of a test: how many cases, how long, from which seed.

/// The number in a variable; `default` where there is none.
#[must_use]
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
