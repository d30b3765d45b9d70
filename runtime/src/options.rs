//! How a runtime runs: its bounds and its paces.

use std::time::Duration;

use crate::actor::driver::DriveOptions;
use crate::actor::guard::{QUARANTINE_FAILURES_MAX, Quarantine};
use crate::actor::intake::IntakePolicy;

/// How a runtime runs; every number is a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads that compute; keys are pinned to them.
    pub shards: u16,
    /// Whether each shard's thread is pinned to a core.
    pub pin: bool,
    /// Keys in a frame: few enough for the cache, many enough to share the cost of messages.
    pub frame_keys: usize,
    /// Most keys of a class on a shard.
    pub keys_max: usize,
    /// How sources are driven.
    pub drive: DriveOptions,
    /// How rows come in.
    pub intake: IntakePolicy,
    /// How long a call of a node may take for a frame before it counts as an overrun. A node that may take longer is
    /// declared slow ([`Node::slow`](crate::topology::Node::slow)).
    pub node_budget: Duration,
    /// When a node that fails for a key is left out for it; `None`: never, so that every row of it is tried.
    pub quarantine: Option<Quarantine>,
    /// A node that is in quarantine for so many keys, and for half of those that it is for, is put in quarantine for all;
    /// `usize::MAX`: none is.
    pub quarantine_keys: usize,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            shards: u16::try_from(cores).unwrap_or(u16::MAX),
            pin: false,
            frame_keys: 64,
            keys_max: 10_000_000,
            drive: DriveOptions::default(),
            intake: IntakePolicy::default(),
            node_budget: Duration::from_millis(100),
            quarantine: Some(Quarantine::default()),
            quarantine_keys: 100,
        }
    }
}

impl Options {
    /// Everything that cannot be, each with its limit.
    pub fn problems(&self) -> Vec<String> {
        let (drive, mut problems) = (&self.drive, Vec::new());
        let counts = [
            ("shards", usize::from(self.shards)),
            ("frame_keys", self.frame_keys),
            ("keys_max", self.keys_max),
            ("quarantine_keys", self.quarantine_keys),
            ("batch_records", drive.batch_records),
            ("batch_bytes", drive.batch_bytes),
            ("waiting_rows_max", self.intake.waiting_rows_max),
        ];
        problems.extend(
            counts
                .into_iter()
                .filter(|(_, count)| *count == 0)
                .map(|(name, _)| format!("`{name}` is 0; say at least 1")),
        );
        if self.node_budget.is_zero() {
            problems.push("`node_budget` is 0; say how long a node may hold its shard".to_owned());
        }
        if drive.source_patience.is_some_and(|patience| patience.is_zero()) {
            problems.push("`source_patience` is 0; say how long a source may fail, or leave it out".to_owned());
        }
        if let Some(Quarantine { failures, rows }) = self.quarantine {
            if !(1..=QUARANTINE_FAILURES_MAX).contains(&failures) {
                problems.push(format!(
                    "`quarantine` is after {failures} failures; say 1 to {QUARANTINE_FAILURES_MAX}, or \"never\""
                ));
            } else if rows < failures as u64 {
                problems.push(format!(
                    "`quarantine` is after {failures} failures in {rows} rows, which cannot happen; say at least {failures} rows"
                ));
            }
        }
        let fits = [
            ("in_flight_records", drive.in_flight_records, "batch_records", drive.batch_records),
            ("in_flight_bytes", drive.in_flight_bytes, "batch_bytes", drive.batch_bytes),
        ];
        for (name, all, one, least) in fits.into_iter().filter(|(_, all, _, least)| all < least) {
            problems.push(format!(
                "`{name}` is {all} and `{one}` {least}: a whole micro-batch must fit; say at least {least}"
            ));
        }
        problems
    }
}
