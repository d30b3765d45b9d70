//! The system's clock: the only file that reads it.
#![expect(clippy::disallowed_methods, reason = "this is the file that the ban points to")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::traits::Clock;
use crate::words::Time;

/// The clock of the machine.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

/// Measures how long work takes; what it measures is shown to people and decides nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> Time {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        Time(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}
