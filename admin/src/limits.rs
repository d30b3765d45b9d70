//! What a client may ask of the server; every number is a bound.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gristmill::Limit;

/// Bounds of the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// Most parts of a multipart body.
    pub parts: usize,
    /// Bodies that are read at the same time.
    pub bodies: usize,
    /// Inference requests that are scored at the same time.
    pub scorings: usize,
    /// How long an inference request may be scored; a model that takes longer keeps its turn until it comes back.
    pub scoring_time: Duration,
    /// Connections at the same time.
    pub connections: usize,
    /// How long the head of a request may take.
    pub head_time: Duration,
    /// How long a body may take.
    pub body_time: Duration,
    /// Requests a second of all tokens together, and of all requests without one; twice as many at once.
    pub requests_per_second: u32,
    /// Most entries in an answer that is a list.
    pub listed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 * 1024 * 1024,
            parts: 10_000,
            bodies: 4,
            scorings: 2,
            scoring_time: Duration::from_secs(30),
            connections: 256,
            head_time: Duration::from_secs(5),
            body_time: Duration::from_secs(60),
            requests_per_second: 100,
            listed: 10_000,
        }
    }
}

impl Limits {
    /// Those that bound what is held at one time, in the form of [`gristmill::limits`].
    pub fn list(&self) -> Vec<Limit> {
        const SET: &str = "Admin::limits";
        let all = [
            Limit::new("admin_connections", self.connections, "connections to the admin API", "the next one waits"),
            Limit::new("admin_bodies", self.bodies, "bodies that are read at the same time", "503; try again"),
            Limit::new("admin_body_bytes", self.body_bytes, "bytes of a body", "413").bytes(self.body_bytes),
            Limit::new("admin_scorings", self.scorings, "inference requests at the same time", "503; try again"),
            Limit::new(
                "admin_listed",
                self.listed,
                "entries of a list, where nothing less is said",
                "the rest is left out",
            ),
        ];
        all.map(|limit| limit.set_by(SET)).to_vec()
    }
}

/// Requests that may still come, refilled as time passes.
#[derive(Debug)]
pub(crate) struct Bucket(Mutex<(f64, Duration)>);

impl Bucket {
    pub(crate) fn full(rate: u32) -> Self {
        Self(Mutex::new((2.0 * f64::from(rate), Duration::ZERO)))
    }

    /// Whether one more may come now.
    pub(crate) fn take(&self, rate: u32, now: Duration) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = f64::from(rate);
        let passed = now.saturating_sub(state.1).as_secs_f64();
        *state = ((state.0 + passed * rate).min(2.0 * rate), now);
        let enough = state.0 >= 1.0;
        state.0 -= if enough { 1.0 } else { 0.0 };
        enough
    }
}
