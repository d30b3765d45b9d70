//! The numbers of a running system, through the facade `metrics`: the host brings a recorder, without one nothing is
//! counted. Their names, units and help texts are here and nowhere else; docs/OPERATIONS.md has them as a table. Each
//! class has the same fixed number of series, whatever its nodes, models and keys are.

use metrics::{Counter, Gauge, Histogram, Unit};

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deployed {
    /// It runs.
    Applied,
    /// It changed nothing.
    Unchanged,
    /// It was wrong, or made for another revision.
    Refused,
    /// It could not be tried out or staged.
    Failed,
}

impl Deployed {
    const ALL: [Self; 4] = [Self::Applied, Self::Unchanged, Self::Refused, Self::Failed];

    /// As in the series and in spans.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The series of a class. Whoever starts a class makes them on its own thread: a recorder of that thread gets them.
pub(crate) struct ClassMetrics {
    /// What shards count, in the order of `actor::tally::Count`.
    pub(crate) counts: [Counter; COUNTS],
    pub(crate) dead_letters: Counter,
    pub(crate) batches: Counter,
    pub(crate) batch_seconds: Histogram,
    pub(crate) record_age_seconds: Histogram,
    pub(crate) poll_errors: Counter,
    pub(crate) commit_errors: Counter,
    pub(crate) sink_errors: Counter,
    pub(crate) keys: Gauge,
    pub(crate) frames_in_flight: Gauge,
    pub(crate) records_in_flight: Gauge,
    pub(crate) bytes_in_flight: Gauge,
    pub(crate) credits: Gauge,
    pub(crate) revision: Gauge,
    pub(crate) running: Gauge,
    pub(crate) pending: Gauge,
    pub(crate) unused: Gauge,
    deployments: [Counter; 4],
    pub(crate) deployment_seconds: Histogram,
}

/// Upper bounds of buckets, in seconds, that fit every histogram of the runtime: from half a millisecond to a day. Whoever
/// records histograms by buckets gives them to its recorder.
pub const SECONDS_BUCKETS: [f64; 20] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
    7200.0, 86400.0,
];

/// How many sums a shard keeps that are series.
pub(crate) const COUNTS: usize = 18;

impl ClassMetrics {
    pub(crate) fn new(class: &str) -> Self {
        describe();
        let counter = |name: &'static str| metrics::counter!(name, "class" => class.to_owned());
        let gauge = |name: &'static str| metrics::gauge!(name, "class" => class.to_owned());
        let labelled = |name: &'static str, label: &'static str, value: &'static str| metrics::counter!(name, "class" => class.to_owned(), label => value);
        let dropped = |cause| labelled("gristmill_rows_dropped_total", "cause", cause);
        let bad_readings = |cause| labelled("gristmill_bad_readings_total", "cause", cause);
        let node_rows = |outcome| labelled("gristmill_node_rows_total", "outcome", outcome);
        let deployments = |result| labelled("gristmill_deployments_total", "result", result);
        let nodes =
            |state: &'static str| metrics::gauge!("gristmill_nodes", "class" => class.to_owned(), "state" => state);
        Self {
            counts: [
                counter("gristmill_rows_total"),
                dropped("late"),
                dropped("duplicate"),
                dropped("ahead"),
                counter("gristmill_records_refused_total"),
                node_rows("computed"),
                node_rows("skipped"),
                node_rows("failed"),
                node_rows("quarantined"),
                node_rows("paused"),
                counter("gristmill_quarantines_total"),
                counter("gristmill_frames_total"),
                counter("gristmill_rows_released_early_total"),
                counter("gristmill_overruns_total"),
                counter("gristmill_threads_lost_total"),
                bad_readings("nan"),
                bad_readings("out_of_range"),
                counter("gristmill_as_of_forgotten_total"),
            ],
            dead_letters: counter("gristmill_dead_letters_total"),
            batches: counter("gristmill_batches_total"),
            batch_seconds: metrics::histogram!("gristmill_batch_seconds", "class" => class.to_owned()),
            record_age_seconds: metrics::histogram!("gristmill_record_age_seconds", "class" => class.to_owned()),
            poll_errors: counter("gristmill_poll_errors_total"),
            commit_errors: counter("gristmill_commit_errors_total"),
            sink_errors: counter("gristmill_sink_errors_total"),
            keys: gauge("gristmill_keys"),
            frames_in_flight: gauge("gristmill_frames_in_flight"),
            records_in_flight: gauge("gristmill_records_in_flight"),
            bytes_in_flight: gauge("gristmill_bytes_in_flight"),
            credits: gauge("gristmill_credits"),
            revision: gauge("gristmill_revision"),
            running: nodes("running"),
            pending: nodes("pending"),
            unused: nodes("unused"),
            deployments: Deployed::ALL.map(|how| deployments(how.name())),
            deployment_seconds: metrics::histogram!("gristmill_deployment_seconds", "class" => class.to_owned()),
        }
    }

    /// Counts a deployment.
    pub(crate) fn deployed(&self, how: Deployed, seconds: f64) {
        self.deployments[how as usize].increment(1);
        self.deployment_seconds.record(seconds);
    }
}

fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram};
    counter!("gristmill_rows_total", Unit::Count, "Rows that came in from the source, dropped ones among them.");
    counter!("gristmill_rows_dropped_total", Unit::Count, "Rows that the intake did not let in, by cause.");
    counter!(
        "gristmill_records_refused_total",
        Unit::Count,
        "Records that were not decoded, came from a second partition, or are of one key too many."
    );
    counter!("gristmill_node_rows_total", Unit::Count, "Rows of all nodes, by what became of them.");
    counter!("gristmill_quarantines_total", Unit::Count, "How often a node was put in quarantine for a key.");
    counter!("gristmill_frames_total", Unit::Count, "Frames that shards made of micro-batches.");
    counter!(
        "gristmill_rows_released_early_total",
        Unit::Count,
        "Rows that waited for earlier rows, or at a node for its other needs, and had to go because too many did."
    );
    counter!(
        "gristmill_overruns_total",
        Unit::Count,
        "Rows of slow nodes, and calls of others, that took longer than their budget."
    );
    counter!("gristmill_threads_lost_total", Unit::Count, "Threads of slow nodes that were given up.");
    counter!("gristmill_bad_readings_total", Unit::Count, "Readings that sensors did not take as they were, by cause.");
    counter!(
        "gristmill_as_of_forgotten_total",
        Unit::Count,
        "Values that rows did not find, as they were no longer among the last `as_of_rows`."
    );
    counter!("gristmill_dead_letters_total", Unit::Count, "Records and rows that were sent to the dead letters.");
    counter!("gristmill_batches_total", Unit::Count, "Micro-batches that are done.");
    counter!("gristmill_poll_errors_total", Unit::Count, "Polls of the source that failed.");
    counter!("gristmill_commit_errors_total", Unit::Count, "Commits of positions that failed.");
    counter!("gristmill_sink_errors_total", Unit::Count, "Flushes of a sink that failed.");
    counter!("gristmill_deployments_total", Unit::Count, "Deployments, by how they ended.");
    histogram!("gristmill_batch_seconds", Unit::Seconds, "From the poll of a micro-batch until all of it is done.");
    histogram!(
        "gristmill_record_age_seconds",
        Unit::Seconds,
        "From when the log got the first record of a micro-batch until all of it is done."
    );
    histogram!("gristmill_deployment_seconds", Unit::Seconds, "From the call of a deployment until it is switched to.");
    gauge!("gristmill_keys", Unit::Count, "Keys met.");
    gauge!("gristmill_frames_in_flight", Unit::Count, "Frames that are not done.");
    gauge!("gristmill_records_in_flight", Unit::Count, "Records that were polled and are not done.");
    gauge!("gristmill_bytes_in_flight", Unit::Bytes, "Bytes of those records, or of the frames made of them.");
    gauge!("gristmill_credits", Unit::Count, "Records that may be polled before the source pauses.");
    gauge!("gristmill_revision", Unit::Count, "The revision that runs.");
    gauge!("gristmill_nodes", Unit::Count, "Declared nodes, by state.");
}
