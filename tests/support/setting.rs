//! What the environment says of a test: how many cases, how long, from which seed.

/// The number in a variable; `default` where there is none.
///
/// # Panics
/// When something else is in it.
#[must_use]
pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(said) => said.parse().unwrap_or_else(|_| panic!("{variable} is `{said}`, not a whole number")),
        Err(_) => default,
    }
}
