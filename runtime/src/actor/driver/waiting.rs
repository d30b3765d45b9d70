//! A source that failed is tried again after a pause.

use std::time::Duration;

use super::Running;

/// How often a driver that waits for its source looks whether it is to stop.
const WAIT_STEP: Duration = Duration::from_millis(50);
/// Longest pause after a source failed.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

impl Running {
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

/// Doubles from 100 ms, with jitter from the count itself: drivers of several sources do not fail in step for long.
pub(super) fn backoff(failures: u32) -> Duration {
    let base = Duration::from_millis(100) * 2u32.saturating_pow(failures.min(10).saturating_sub(1));
    let jitter = Duration::from_millis(u64::from(failures.wrapping_mul(37) % 50));
    (base + jitter).min(BACKOFF_MAX)
}
