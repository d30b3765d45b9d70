//! Time as the engine's machinery sees it. It decides when work is done, never what comes out.

use std::time::Duration;

use crate::words::Time;

/// A clock. The system's is [`crate::clock::SystemClock`]; tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// Time since an arbitrary start; never goes back.
    fn monotonic(&self) -> Duration;
    /// The time of day.
    fn wall(&self) -> Time;
}
