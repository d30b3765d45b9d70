//! A source that failed is tried again after a pause.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use super::Running;
use crate::traits::SourceError;

/// How often a driver that waits for its source looks whether it is to stop.
const WAIT_STEP: Duration = Duration::from_millis(50);
/// Longest pause after a source failed.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// How a source fails.
#[derive(Debug, Default)]
pub(super) struct Failing {
    since: Option<Duration>,
    /// Pauses that were made.
    pauses: u32,
}

impl Failing {
    /// How long to wait before it is tried again.
    pub(super) fn pause(&mut self) -> Duration {
        self.pauses += 1;
        backoff(self.pauses, random())
    }
}

impl Running {
    /// Takes note of a poll: with which error the source fails, if it does.
    ///
    /// # Errors
    /// That error, when it has failed for as long as it may.
    pub(super) fn bears(&self, failing: &mut Failing, error: Option<&SourceError>) -> Result<(), SourceError> {
        let Some(error) = error else {
            if std::mem::take(failing).since.is_some() {
                tracing::info!(source = %self.driver.name, "the source works again");
            }
            return Ok(());
        };
        let now = self.driver.clock.monotonic();
        let lasts = now.saturating_sub(*failing.since.get_or_insert(now));
        if self.driver.options.source_patience.is_some_and(|patience| lasts >= patience) {
            let reason = format!("{} (for {lasts:.0?}, which `source_patience` is the limit of)", error.reason);
            return Err(SourceError { reason, retry: false });
        }
        Ok(())
    }

    /// Waits before the source is tried again; whether to stop.
    pub(super) fn waits(&mut self, pause: Duration) -> bool {
        let until = self.driver.clock.monotonic() + pause;
        while self.driver.clock.monotonic() < until {
            if self.take_control() {
                return true;
            }
            self.take_done(WAIT_STEP);
        }
        false
    }
}

/// From half of a longest pause to the whole, which doubles from 100 ms up to 10 s. `random` is another number each time:
/// sources and processes that failed together do not try again together.
fn backoff(failures: u32, random: u64) -> Duration {
    let doubled = Duration::from_millis(100) * 2u32.saturating_pow(failures.min(10).saturating_sub(1));
    let half = doubled.min(BACKOFF_MAX) / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}

/// A number that nothing depends on but how long a pause is.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        for (failures, most) in [(1, 100), (2, 200), (3, 400), (7, 6_400), (8, 10_000), (1_000_000, 10_000)] {
            let most = Duration::from_millis(most);
            assert_eq!((backoff(failures, 0), backoff(failures, u64::MAX)), (most / 2, most));
        }
        assert_ne!(backoff(100, random()), backoff(100, random()));
    }
}
