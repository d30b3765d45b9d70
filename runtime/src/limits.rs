//! Everything that could grow has a bound; here they all are, with what happens there.

use serde::Serialize;

use crate::actor::ailing::AILING_MAX;
use crate::actor::driver::CONTROLS_MAX;
use crate::actor::explain::{FRAMES_KEPT, WATCHED_MAX};
use crate::actor::guard::Quarantine;
use crate::actor::install::VARIANTS_MAX;
use crate::actor::pool::LOST_MAX;
use crate::in_process::FEED_CAPACITY;
use crate::letters::{LetterLimits, RECORD_BYTES_MAX};
use crate::options::Options;
use crate::registry::{AUDIT_FILE_BYTES, AUDIT_FILES, REVISIONS_KEPT};
use crate::supervisor::HISTORY_MAX;
use crate::topology::attribute_file::ATTRIBUTES_MAX;
use crate::topology::attributes::FACTS_MAX;
use crate::topology::check::{AS_OF_ROWS_MAX, NEEDS_MAX, PROVIDES_MAX, SLOW_THREADS_MAX};
use crate::topology::key_graph::{KEY_NODES_MAX, KEY_STREAMS_MAX};
use crate::topology::manifest::MEMBERS_MAX;
use crate::topology::node::AS_OF_ROWS_DEFAULT;
use crate::topology::resolve::BASE_NODES_MAX;
use crate::traits::erased::STATE_BYTES_MAX;

/// A bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Its name, as whoever sets it writes it.
    pub name: &'static str,
    /// The most there can be.
    pub most: u64,
    /// Of what, and for each of what.
    pub of: &'static str,
    /// What happens when it is reached.
    pub when_full: &'static str,
    /// Where it is seen: a metric, or a report.
    pub seen_in: &'static str,
    /// What sets it; nothing where it is fixed.
    pub set_by: Option<&'static str>,
    /// About how many bytes that can take, for each of what it is for; nothing where that depends on what is in it.
    pub bytes: Option<u64>,
}

/// Beside the frames, records are there as they came and decoded, and columns have room to grow: so much more than the
/// bytes in flight. `tests/bounded.rs` holds a system to it.
const COPIES: usize = 3;
/// A row that waits: its time, a place, and a column of one value for each of a few streams.
const WAITING_ROW_BYTES: usize = 256;
/// What a shard keeps of a key without its nodes' states: the name twice, its clocks, its places.
const KEY_BYTES: usize = 400;
/// A time, a cause and a value.
const AS_OF_ROW_BYTES: usize = 32;

impl Options {
    /// The most that records in flight can take of memory, in bytes, when the source is paused: see [`limits`].
    pub fn in_flight_memory(&self) -> usize {
        (self.drive.in_flight_bytes + self.drive.batch_bytes) * COPIES
    }
}

impl Limit {
    /// One that is fixed, and that nothing shows.
    pub const fn new(name: &'static str, most: usize, of: &'static str, when_full: &'static str) -> Self {
        Self { name, most: most as u64, of, when_full, seen_in: "", set_by: None, bytes: None }
    }

    /// Says where it is seen.
    #[must_use]
    pub const fn seen_in(mut self, seen_in: &'static str) -> Self {
        self.seen_in = seen_in;
        self
    }

    /// Says what sets it.
    #[must_use]
    pub const fn set_by(mut self, set_by: &'static str) -> Self {
        self.set_by = Some(set_by);
        self
    }

    /// Says about how many bytes it can take.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes as u64);
        self
    }
}

/// Every bound of a runtime with these options; those of what it is given (operators, models, sources, sinks) are theirs:
/// `gristmill_operators::limits`, `gristmill_admin::Limits::list`.
pub fn limits(options: &Options) -> Vec<Limit> {
    let all = [in_flight(options), of_keys(options), of_nodes(), kept()];
    all.into_iter().flatten().collect()
}

fn in_flight(options: &Options) -> Vec<Limit> {
    const LIMITS: &str = "[limits], DriveOptions";
    let drive = &options.drive;
    vec![
        Limit::new(
            "in_flight_records",
            drive.in_flight_records,
            "records polled and not done, a class",
            "the source pauses",
        )
        .seen_in("gristmill_records_in_flight")
        .set_by(LIMITS),
        Limit::new(
            "in_flight_bytes",
            drive.in_flight_bytes,
            "bytes of those records, or of their frames, a class",
            "the source pauses",
        )
        .seen_in("gristmill_bytes_in_flight")
        .set_by(LIMITS)
        .bytes(options.in_flight_memory()),
        Limit::new("batch_records", drive.batch_records, "records of a micro-batch", "the next one begins")
            .set_by(LIMITS),
        Limit::new(
            "batch_bytes",
            drive.batch_bytes,
            "bytes of a micro-batch; one record may exceed it",
            "the next one begins",
        )
        .set_by(LIMITS),
        Limit::new("frame_keys", options.frame_keys, "keys of a frame", "the next one begins")
            .set_by("[limits], Options"),
        Limit::new(
            "mailbox",
            drive.messages_max(),
            "frames that wait at a node, a shard",
            "it cannot be: it is what can be in flight",
        )
        .seen_in("grist ls --actors"),
        Limit::new(
            "controls",
            CONTROLS_MAX,
            "orders to a source's thread that it has not taken up",
            "who gives one waits",
        ),
        Limit::new(
            "subscription",
            drive.messages_max(),
            "frames that a host has not read, a subscription",
            "it cannot be: they are in flight, and the source pauses",
        ),
        Limit::new(
            "feed",
            FEED_CAPACITY,
            "micro-batches that a host has sent and a FeedSource not taken",
            "the sender waits",
        ),
    ]
}

fn of_keys(options: &Options) -> Vec<Limit> {
    let waiting = options.intake.waiting_rows_max;
    vec![
        Limit::new("keys_max", options.keys_max, "keys, a class and shard", "records of further keys are dead letters")
            .seen_in("gristmill_keys, gristmill_records_refused_total")
            .set_by("[limits], Options")
            .bytes(options.keys_max.saturating_mul(KEY_BYTES)),
        Limit::new(
            "waiting_rows_max",
            waiting,
            "rows that wait for their order or for other needs, a key and axis or node",
            "the oldest go early",
        )
        .seen_in("gristmill_rows_released_early_total")
        .set_by("[limits], IntakePolicy")
        .bytes(waiting.saturating_mul(WAITING_ROW_BYTES)),
        Limit::new(
            "as_of_rows",
            AS_OF_ROWS_DEFAULT,
            "values of a need on another axis, a key; twice as many for a moment",
            "the oldest are forgotten",
        )
        .set_by("as_of_rows of the node")
        .bytes(2 * AS_OF_ROWS_DEFAULT * AS_OF_ROW_BYTES),
        failures(options),
        Limit::new(
            "quarantine_keys",
            options.quarantine_keys,
            "keys that a node is in quarantine for, if they are half of its keys",
            "quarantine for all keys",
        )
        .seen_in("grist ls")
        .set_by("[limits], Options"),
        Limit::new(
            "failing_nodes",
            AILING_MAX,
            "names of such nodes that the supervisor has not looked at",
            "shards name them again later",
        ),
        Limit::new(
            "watched_keys",
            WATCHED_MAX,
            "keys whose frames are kept for explain, a shard",
            "the one asked about longest ago is forgotten",
        ),
        Limit::new("watched_frames", FRAMES_KEPT, "frames kept of such a key", "the oldest is let go"),
        Limit::new(
            "state_bytes",
            STATE_BYTES_MAX,
            "bytes of an operator's state of a key when it is saved",
            "it is not saved, and the stop says so",
        )
        .bytes(STATE_BYTES_MAX),
    ]
}

/// Failures that are remembered of a key.
fn failures(options: &Options) -> Limit {
    const OF: &str = "failed rows of a node and key in as many rows as `quarantine` says";
    let limit = match options.quarantine {
        Some(Quarantine { failures, .. }) => Limit::new("quarantine", failures, OF, "quarantine for the key"),
        None => Limit::new("failures_remembered", 1, "failures of a node and key", "the one before is forgotten"),
    };
    let bytes = limit.most as usize * size_of::<u64>();
    let limit = if options.quarantine.is_some() { limit.seen_in("gristmill_quarantines_total") } else { limit };
    limit.set_by("[limits], Options").bytes(bytes)
}

fn of_nodes() -> Vec<Limit> {
    vec![
        Limit::new("nodes", BASE_NODES_MAX, "nodes for all or several keys, a class", "the deployment is refused"),
        Limit::new(
            "node_sets",
            VARIANTS_MAX,
            "sets of nodes that keys have by selectors, a class and shard",
            "records of keys with another set are dead letters",
        )
        .seen_in("gristmill_records_refused_total"),
        Limit::new("key_nodes", KEY_NODES_MAX, "nodes of one key", "the deployment is refused"),
        Limit::new("key_streams", KEY_STREAMS_MAX, "streams of nodes of one key", "the deployment is refused"),
        Limit::new("family_members", MEMBERS_MAX, "members of a family in a folder", "the manifest is refused"),
        Limit::new("attributes", ATTRIBUTES_MAX, "attributes of keys in a file", "the file is refused"),
        Limit::new("needs", NEEDS_MAX, "needs of a node", "the manifest is refused"),
        Limit::new("provides", PROVIDES_MAX, "streams that a node provides", "the manifest is refused"),
        Limit::new("as_of_rows_most", AS_OF_ROWS_MAX, "that a node's as_of_rows can say", "the manifest is refused"),
        Limit::new(
            "slow_threads",
            usize::from(SLOW_THREADS_MAX),
            "threads of a slow node",
            "its rows wait, and are in flight",
        )
        .set_by("slow of the node"),
        Limit::new(
            "lost_threads",
            usize::from(LOST_MAX),
            "threads of a slow node that were given up and are not back",
            "quarantine for all keys",
        )
        .seen_in("gristmill_threads_lost_total"),
    ]
}

fn kept() -> Vec<Limit> {
    let letters = LetterLimits::default();
    vec![
        Limit::new(
            "plans",
            HISTORY_MAX,
            "earlier plans that a host can go back to, a class",
            "the oldest is forgotten",
        ),
        Limit::new(
            "audit_bytes",
            AUDIT_FILES * AUDIT_FILE_BYTES as usize,
            "bytes of the audit log in the registry's folder",
            "the oldest lines are deleted",
        ),
        Limit::new("revisions", REVISIONS_KEPT, "revisions in the registry's folder", "the oldest is deleted")
            .seen_in("grist revisions"),
        Limit::new(
            "attribute_facts",
            FACTS_MAX,
            "attributes of single keys that were set over HTTP, a topology",
            "the change is refused",
        ),
        Limit::new(
            "dead_letter_bytes",
            letters.bytes as usize,
            "bytes of dead letters in the registry's folder",
            "the oldest are deleted",
        )
        .seen_in("grist dead-letters ls"),
        Limit::new(
            "letter_record_bytes",
            RECORD_BYTES_MAX,
            "bytes of a record kept there",
            "it is cut, and cannot be replayed",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_nothing_is_unbounded() {
        let limits = limits(&Options::default());
        let mut names: Vec<&str> = limits.iter().map(|limit| limit.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), limits.len());
        assert!(limits.iter().all(|limit| limit.most > 0 && limit.most < u64::MAX), "{limits:?}");
    }

    #[test]
    fn what_is_set_is_what_is_listed() {
        let mut options = Options::default();
        options.drive.in_flight_bytes = 12_345_678;
        options.intake.waiting_rows_max = 77;
        let of = |name: &str| limits(&options).into_iter().find(|limit| limit.name == name).expect("it is listed").most;
        assert_eq!((of("in_flight_bytes"), of("waiting_rows_max")), (12_345_678, 77));
    }

    #[test]
    fn options_that_cannot_be_are_all_named() {
        let mut options = Options { shards: 0, node_budget: std::time::Duration::ZERO, ..Options::default() };
        options.drive.in_flight_records = 10;
        options.drive.source_patience = Some(std::time::Duration::ZERO);
        options.intake.waiting_rows_max = 0;
        let problems = options.problems();
        assert_eq!(problems.len(), 5, "{problems:?}");
        assert!(problems[3].starts_with("`source_patience` is 0; say how long"), "{problems:?}");
        assert!(problems[4].contains("`in_flight_records` is 10 and `batch_records` 4096"), "{problems:?}");
        assert_eq!(Options::default().problems(), [""; 0]);
        let said = |failures, rows| {
            let quarantine = Some(Quarantine { failures, rows });
            Options { quarantine, ..Options::default() }.problems()
        };
        assert!(said(0, 1)[0].contains("after 0 failures; say 1 to 1000"), "{:?}", said(0, 1));
        assert!(said(1_001, 2_000)[0].contains("say 1 to 1000"), "{:?}", said(1_001, 2_000));
        assert!(said(6, 5)[0].contains("say at least 6 rows"), "{:?}", said(6, 5));
        assert_eq!(said(6, 6), [""; 0]);
    }
}
