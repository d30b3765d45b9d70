//! How it goes, while it goes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use gristmill::Handle;
use gristmill::topology::NodeKind;

use super::models::Layout;
use super::probe::Probe;
use crate::output::{Output, grouped, micros, table};

/// Machines that a picture names.
const MACHINES_SHOWN: usize = 5;
/// Nodes that a picture names.
const NODES_SHOWN: usize = 8;

/// Counts at the last look.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    at: Duration,
    rows: u64,
    predictions: u64,
}

/// Who looks on.
pub(crate) struct Live {
    probe: Arc<Probe>,
    layout: Layout,
    shards: u16,
    started: Duration,
    length: Duration,
    seen: Seen,
}

/// One look.
struct Look {
    at: Duration,
    rows: f64,
    predictions: f64,
    p50: u64,
    p99: u64,
    alarms_on: usize,
    /// Key, wear, how often the alarm turned on, whether it is on.
    worst: Vec<(String, f32, u64, bool)>,
}

impl Live {
    pub(crate) fn new(probe: Arc<Probe>, layout: Layout, shards: u16, started: Duration, length: Duration) -> Self {
        let seen = Seen { at: started, ..Seen::default() };
        Self { probe, layout, shards, started, length, seen }
    }

    /// When models are added, after the start.
    pub(crate) fn half(&self) -> Duration {
        self.length / 2
    }

    /// Shows the time since the last look.
    pub(crate) async fn show(&mut self, mill: &Handle, output: &mut Output) {
        if output.is_json() {
            return;
        }
        let look = self.look();
        if output.is_terminal() {
            let nodes = self.nodes(mill).await;
            output.draw(&self.picture(&look, &nodes));
        } else {
            output.say(line(&look));
        }
    }

    fn look(&mut self) -> Look {
        let at = self.probe.now();
        let rows = self.probe.rows();
        let mut tally = self.probe.tally();
        let predictions = tally.predictions();
        let seconds = (at - self.seen.at).as_secs_f64().max(1e-6);
        let mut worst: Vec<_> = tally.machines.iter().collect();
        worst.sort_by(|(key, one), (other_key, other)| other.wear.total_cmp(&one.wear).then(key.cmp(other_key)));
        let named = worst.iter().take(MACHINES_SHOWN);
        let look = Look {
            at: at - self.started,
            rows: (rows - self.seen.rows) as f64 / seconds,
            predictions: (predictions - self.seen.predictions) as f64 / seconds,
            p50: tally.latest.value_at_quantile(0.5),
            p99: tally.latest.value_at_quantile(0.99),
            alarms_on: tally.alarms_on(),
            worst: named.map(|(key, machine)| (key.to_string(), machine.wear, machine.alarms, machine.on)).collect(),
        };
        tally.latest.reset();
        self.seen = Seen { at, rows, predictions };
        look
    }

    /// The nodes with most rows: name, kind, rows, rows that failed.
    async fn nodes(&self, mill: &Handle) -> Vec<Vec<String>> {
        let Ok(report) = mill.report(None).await else { return Vec::new() };
        let mut nodes: Vec<_> = report.nodes.iter().filter(|node| node.kind != NodeKind::Sensor).collect();
        nodes.sort_by_key(|node| std::cmp::Reverse((node.kind == NodeKind::Model, node.counts.rows)));
        let shown = nodes.iter().take(NODES_SHOWN);
        shown
            .map(|node| {
                let counts = node.counts;
                vec![
                    node.node.to_string(),
                    node.kind.to_string(),
                    grouped(counts.rows),
                    grouped(counts.failed + counts.quarantined),
                ]
            })
            .collect()
    }

    fn picture(&self, look: &Look, nodes: &[Vec<String>]) -> String {
        let Layout { machines, models, .. } = self.layout;
        let mut text = format!(
            "gristmill demo: {} machines, {} models, {} shards   {:.1} s of {} s\n\n{}\n",
            grouped(machines.into()),
            grouped(models.into()),
            self.shards,
            look.at.as_secs_f64(),
            self.length.as_secs(),
            numbers(look)
        );
        let _ = write!(text, "\n{}\n", table(&["NODE", "KIND", "ROWS", "FAILED"], &[1], nodes.iter().cloned()));
        let machines = look.worst.iter().map(|(key, wear, alarms, on)| {
            vec![key.clone(), format!("{wear:.2}"), alarms.to_string(), if *on { "on" } else { "" }.to_owned()]
        });
        let _ = write!(text, "\n{}\n", table(&["MACHINE", "WEAR", "ALARMS", "NOW"], &[3], machines));
        text
    }
}

fn numbers(look: &Look) -> String {
    format!(
        "rows/s {:>7}   predictions/s {:>8}   latency p50 {:>8}  p99 {:>8}   alarms on {:>3}",
        grouped(look.rows.round() as u64),
        grouped(look.predictions.round() as u64),
        micros(look.p50),
        micros(look.p99),
        look.alarms_on
    )
}

fn line(look: &Look) -> String {
    format!("{:>5.1} s   {}", look.at.as_secs_f64(), numbers(look))
}
