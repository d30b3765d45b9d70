//! How it goes, while it goes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use gristmill::Handle;
use gristmill::topology::NodeKind;

use super::models::{KINDS, Layout};
use super::probe::Probe;
use crate::output::{Output, count, grouped, micros, table};
use crate::report::{NodeLine, nodes};

/// Machines that a picture names. With the nodes and what happened it fits a terminal of 24 lines.
const MACHINES_SHOWN: usize = 4;
/// Nodes that a picture names.
const NODES_SHOWN: usize = 8;

/// Counts at the last look.
#[derive(Clone, Debug, Default)]
struct Seen {
    at: Duration,
    rows: u64,
    predictions: u64,
    /// Events that were said.
    events: usize,
    /// Rows of each node.
    nodes: Vec<NodeLine>,
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
    /// Since the last look.
    seconds: f64,
    rows: f64,
    predictions: f64,
    p50: u64,
    p99: u64,
    alarms_on: usize,
    /// Key, wear, how often the alarm turned on, whether it is on.
    worst: Vec<(String, f32, u64, bool)>,
    /// What happened so far.
    events: Vec<String>,
}

/// What runs, before it does.
pub(crate) fn introduction(layout: Layout, rate: u32) -> String {
    let families: Vec<String> =
        layout.families().map(|(stream, members)| format!("{} {stream}", grouped(members.into()))).collect();
    let shown = families.iter().take(2 * KINDS.len()).cloned().collect::<Vec<_>>().join(", ");
    let more = if families.len() > 2 * KINDS.len() { ", …" } else { "" };
    format!(
        "{} machines, {rate} rows a second of each; {} models, each made for its machine: {shown}{more}\n\
         4 sensors → 5 features → anomaly, load, efficiency → wear → alarm; added half-way: anomaly, wear → failure\n",
        grouped(layout.machines.into()),
        grouped(layout.models.into()),
    )
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
            let nodes = self.nodes(mill, look.seconds).await;
            output.draw(&self.picture(&look, &nodes));
        } else {
            self.say_events(&look.events, output);
            output.say(line(&look));
        }
    }

    /// The last picture, or what has happened since the last line.
    pub(crate) async fn finish(&mut self, mill: &Handle, output: &mut Output) {
        if output.is_terminal() {
            self.show(mill, output).await;
        } else if !output.is_json() {
            let events = self.events();
            self.say_events(&events, output);
        }
    }

    fn say_events(&mut self, events: &[String], output: &mut Output) {
        for event in &events[self.seen.events..] {
            output.say(event);
        }
        self.seen.events = events.len();
    }

    fn events(&self) -> Vec<String> {
        let after = |at: Duration| at.saturating_sub(self.started).as_secs_f64();
        self.probe.tally().events.iter().map(|(at, text)| format!("{:>5.1} s   * {text}", after(*at))).collect()
    }

    fn look(&mut self) -> Look {
        let at = self.probe.now();
        let rows = self.probe.rows();
        let events = self.events();
        let mut tally = self.probe.tally();
        let predictions = tally.predictions();
        let seconds = (at - self.seen.at).as_secs_f64().max(1e-6);
        let mut worst: Vec<_> = tally.machines.iter().collect();
        worst.sort_by(|(key, one), (other_key, other)| other.wear.total_cmp(&one.wear).then(key.cmp(other_key)));
        let named = worst.iter().take(MACHINES_SHOWN);
        let look = Look {
            at: at - self.started,
            seconds,
            rows: (rows - self.seen.rows) as f64 / seconds,
            predictions: (predictions - self.seen.predictions) as f64 / seconds,
            p50: tally.latest.value_at_quantile(0.5),
            p99: tally.latest.value_at_quantile(0.99),
            alarms_on: tally.alarms_on(),
            worst: named.map(|(key, machine)| (key.to_string(), machine.wear, machine.alarms, machine.on)).collect(),
            events,
        };
        tally.latest.reset();
        (self.seen.at, self.seen.rows, self.seen.predictions) = (at, rows, predictions);
        look
    }

    /// The busiest nodes: name, kind, models, rows a second, rows, rows that failed.
    async fn nodes(&mut self, mill: &Handle, seconds: f64) -> Vec<Vec<String>> {
        let Ok(report) = mill.report(None).await else { return Vec::new() };
        let before = std::mem::replace(&mut self.seen.nodes, nodes(&report));
        let rate = |line: &NodeLine| {
            let before = before.iter().find(|before| before.node == line.node).map_or(0, |before| before.rows);
            ((line.rows - before) as f64 / seconds).round() as u64
        };
        let shown = |line: &&NodeLine| matches!(line.kind, NodeKind::Operator | NodeKind::Model);
        let mut lines: Vec<&NodeLine> = self.seen.nodes.iter().filter(shown).collect();
        // Models first; the rows of added ones are few but what one looks for.
        lines.sort_by_key(|line| std::cmp::Reverse((line.kind == NodeKind::Model, rate(line))));
        let cells = |line: &&NodeLine| {
            let numbers = [rate(line), line.rows, line.failed].map(grouped);
            let models = self.layout.models_in(&line.node).map_or(line.nodes, u64::from);
            let models = if line.kind == NodeKind::Model { grouped(models) } else { String::new() };
            [vec![line.node.clone(), line.kind.to_string(), models], numbers.to_vec()].concat()
        };
        lines.iter().take(NODES_SHOWN).map(cells).collect()
    }

    fn picture(&self, look: &Look, nodes: &[Vec<String>]) -> String {
        let Layout { machines, models, .. } = self.layout;
        let mut text = format!(
            "gristmill demo: {} machines, {} models, {}   {:.1} s of {} s\n\n{}\n",
            grouped(machines.into()),
            grouped(models.into()),
            count(self.shards.into(), "shard"),
            look.at.as_secs_f64(),
            self.length.as_secs(),
            narrow_numbers(look)
        );
        let head = ["NODE", "KIND", "MODELS", "ROWS/S", "ROWS", "FAILED"];
        let _ = write!(text, "\n{}\n", table(&head, &[1], nodes.iter().cloned()));
        let machines = look.worst.iter().map(|(key, wear, alarms, on)| {
            vec![key.clone(), format!("{wear:.2}"), alarms.to_string(), if *on { "on" } else { "off" }.to_owned()]
        });
        let _ = write!(text, "\n{}\n", table(&["MOST WORN", "WEAR", "ALARMS", "NOW"], &[3], machines));
        let _ = write!(text, "\n{}", look.events.join("\n"));
        text
    }
}

fn numbers(look: &Look) -> String {
    let [rows, predictions, p50, p99] = measured(look);
    let on = look.alarms_on;
    format!(
        "rows/s {rows:>7}   predictions/s {predictions:>8}   latency p50 {p50:>8}  p99 {p99:>8}   alarms on {on:>3}"
    )
}

/// The same in less than 80 columns.
fn narrow_numbers(look: &Look) -> String {
    let [rows, predictions, p50, p99] = measured(look);
    let on = look.alarms_on;
    format!("rows/s {rows:>6}  predictions/s {predictions:>7}  p50 {p50:>7}  p99 {p99:>7}  alarms on {on:>3}")
}

/// Rows and predictions a second, median and 99th of a hundred of the latency.
fn measured(look: &Look) -> [String; 4] {
    let [rows, predictions] = [look.rows, look.predictions].map(|rate| grouped(rate.round() as u64));
    [rows, predictions, micros(look.p50), micros(look.p99)]
}

fn line(look: &Look) -> String {
    format!("{:>5.1} s   {}", look.at.as_secs_f64(), numbers(look))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: the first picture that anybody sees was wider and higher than a terminal of 80 columns and 24 lines, which cannot
    /// be drawn over. Fix: it fits.
    #[test]
    fn a_picture_fits_an_ordinary_terminal() {
        let layout = Layout { machines: 500, models: 2_000, seed: 1 };
        let live = Live::new(Probe::new(4), layout, 16, Duration::ZERO, Duration::from_secs(20));
        let look = Look {
            at: Duration::from_secs(19),
            seconds: 0.5,
            rows: 5_000.0,
            predictions: 20_000.0,
            p50: 999_900,
            p99: 999_900,
            alarms_on: 100,
            worst: vec![("machine-499".to_owned(), 1.0, 10, true); MACHINES_SHOWN],
            events: vec!["  4.0 s   * adding 100 models while rows flow".to_owned(); 3],
        };
        let node = ["temperature.mean", "operator", "500", "5,000", "100,000", "0"].map(str::to_owned).to_vec();
        let picture = live.picture(&look, &vec![node; NODES_SHOWN]);
        assert!(picture.lines().count() < 24, "{picture}");
        assert!(picture.lines().all(|line| line.chars().count() < 80), "{picture}");
    }
}
