//! What the demo measured, for people and for machines.

use std::fmt;
use std::time::Duration;

use gristmill::Report;
use gristmill::topology::NodeKind;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::addition::{Addition, FirstScores};
use super::models::{FAILURE, Layout};
use super::probe::{Phase, Probe};
use super::{DemoArgs, FAILING};
use crate::output::{count, grouped, micros, table};
use crate::report::{NodeLine, nodes};

/// Everything that the summary is made of.
pub(crate) struct Measured<'a> {
    pub(crate) args: &'a DemoArgs,
    pub(crate) layout: Layout,
    pub(crate) shards: u16,
    pub(crate) prepared: Duration,
    pub(crate) ran: Duration,
    /// Somebody stopped it before its end.
    pub(crate) stopped: bool,
    pub(crate) probe: &'a Probe,
    pub(crate) addition: Option<&'a Addition>,
    pub(crate) report: &'a Report,
}

/// The answer of `grist demo --json`.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    machines: u32,
    models: u32,
    shards: u16,
    seed: u64,
    seconds: f64,
    stopped_early: bool,
    /// Making all artifacts, before anything runs.
    prepare_ms: f64,
    rows: Rows,
    predictions: Predictions,
    /// Microseconds from the source handing a row over to the sink having its predictions.
    latency: Latencies,
    alarms: u64,
    failing_machines: u32,
    added: Option<Added>,
    nodes: Vec<NodeLine>,
    rows_per_second: f64,
    predictions_per_second: f64,
    #[serde(skip)]
    layout: Layout,
    #[serde(skip)]
    scores: Option<FirstScores>,
}

#[derive(Debug, Serialize)]
struct Rows {
    expected: u64,
    handed_over: u64,
    taken_in: u64,
    late: u64,
    duplicate: u64,
    refused: u64,
}

#[derive(Debug, Serialize)]
struct Predictions {
    expected: u64,
    scored: u64,
    failed: u64,
}

#[derive(Debug, Serialize)]
struct Latencies {
    all: Latency,
    before_adding: Latency,
    while_adding: Latency,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    predictions: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

#[derive(Debug, Serialize)]
struct Added {
    models: u32,
    revision: u64,
    preview_us: u64,
    apply_us: u64,
    /// After the call of apply, as is `all_scored_us`.
    first_score_us: Option<u64>,
    /// How much of that was waiting for the machine's next row after apply had come back.
    first_score_waited_us: u64,
    all_scored_us: Option<u64>,
    rows_expected: u64,
    rows_scored: u64,
}

impl Summary {
    pub(crate) fn of(measured: &Measured<'_>) -> Self {
        let Measured { args, layout, probe, report, .. } = *measured;
        let tally = probe.tally();
        let handed_over = probe.rows();
        let of_stream = |stream: &str| tally.values.get(stream).copied().unwrap_or(0);
        let added = measured.addition.map(|addition| Added {
            models: addition.models,
            revision: addition.revision.0,
            preview_us: addition.preview.as_micros() as u64,
            apply_us: addition.apply.as_micros() as u64,
            first_score_us: addition.scores.first.map(|first| first.as_micros() as u64),
            first_score_waited_us: addition.scores.waited.as_micros() as u64,
            all_scored_us: addition.scores.last.map(|all| all.as_micros() as u64),
            rows_expected: addition.rows(probe, layout.machines),
            rows_scored: of_stream(FAILURE.name()),
        });
        let rows = Rows {
            expected: u64::from(args.rate) * u64::from(args.seconds) * u64::from(layout.machines),
            handed_over,
            taken_in: report.intake.rows,
            late: report.intake.late,
            duplicate: report.intake.duplicate,
            refused: report.intake.refused + report.intake.ahead,
        };
        let scored = tally.predictions();
        let predictions = Predictions {
            expected: expected(layout, probe) + added.as_ref().map_or(0, |added| added.rows_expected),
            scored,
            failed: report.nodes.iter().map(|node| node.counts.failed + node.counts.quarantined).sum(),
        };
        let mut all = tally.latency[Phase::Begin as usize].clone();
        for phase in [Phase::Before, Phase::During, Phase::After] {
            all.add(&tally.latency[phase as usize]).expect("all phases have the same bounds");
        }
        let plant = args.plant(layout);
        let seconds = measured.ran.as_secs_f64();
        Self {
            machines: layout.machines,
            models: layout.models,
            shards: measured.shards,
            seed: args.seed,
            seconds,
            stopped_early: measured.stopped,
            prepare_ms: measured.prepared.as_secs_f64() * 1e3,
            rows_per_second: handed_over as f64 / seconds,
            predictions_per_second: scored as f64 / seconds,
            rows,
            predictions,
            latency: Latencies {
                all: Latency::of(&all),
                before_adding: Latency::of(&tally.latency[Phase::Before as usize]),
                while_adding: Latency::of(&tally.latency[Phase::During as usize]),
            },
            alarms: tally.alarms(),
            failing_machines: (0..layout.machines).filter(|number| plant.machine(*number).failing).count() as u32,
            added,
            nodes: nodes(report),
            layout,
            scores: measured.addition.map(|addition| addition.scores),
        }
    }

    /// What does not add up.
    pub(crate) fn wrong(&self) -> Option<String> {
        let mut wrong = Vec::new();
        let mut equal = |what: &str, is: u64, expected: u64| {
            if is != expected {
                wrong.push(format!("{what}: {} of {}", grouped(is), grouped(expected)));
            }
        };
        if !self.stopped_early {
            equal("rows that the plant handed over", self.rows.handed_over, self.rows.expected);
        }
        equal("rows that were taken in", self.rows.taken_in, self.rows.handed_over);
        equal("predictions", self.predictions.scored, self.predictions.expected);
        if let Some(added) = &self.added {
            equal("predictions of added models", added.rows_scored, added.rows_expected);
            equal("failed rows", self.predictions.failed, 0);
        }
        (!wrong.is_empty())
            .then(|| format!("the counts do not add up: {}; this is a defect of the engine", wrong.join(", ")))
    }
}

/// What all families must have scored: a prediction of every model for every row of its machine.
fn expected(layout: Layout, probe: &Probe) -> u64 {
    // Machines speak in turns: of partition p, its machines one after the other.
    (0..super::PARTITIONS)
        .map(|partition| {
            let machines: Vec<u32> = (partition..layout.machines).step_by(super::PARTITIONS as usize).collect();
            let rows = probe.next(partition).0 as u64;
            let (rounds, rest) = (rows / machines.len().max(1) as u64, rows % machines.len().max(1) as u64);
            let of =
                |machines: &[u32]| machines.iter().map(|machine| u64::from(layout.models_of(*machine))).sum::<u64>();
            rounds * of(&machines) + of(&machines[..rest as usize])
        })
        .sum()
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            predictions: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            max_us: histogram.max(),
        }
    }

    fn line(self, what: &str) -> Vec<String> {
        let count = grouped(self.predictions);
        vec![what.to_owned(), micros(self.p50_us), micros(self.p99_us), micros(self.max_us), count]
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.node_table())?;
        let latency = [
            self.latency.all.line("all"),
            self.latency.before_adding.line("before adding"),
            self.latency.while_adding.line("while adding"),
        ];
        writeln!(f, "{}\n", table(&["LATENCY", "P50", "P99", "MAX", "PREDICTIONS"], &[], latency))?;
        let figures = self.figures();
        let width = figures.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (index, (name, figure)) in figures.iter().enumerate() {
            let end = if index + 1 == figures.len() { "" } else { "\n" };
            write!(f, "{name:width$}  {figure}{end}")?;
        }
        Ok(())
    }
}

impl Summary {
    /// All nodes but sensors and sinks; those that differ only in their machine are one line.
    fn node_table(&self) -> String {
        let shown = self.nodes.iter().filter(|line| matches!(line.kind, NodeKind::Operator | NodeKind::Model));
        let rows = shown.map(|line| {
            let models = self.layout.models_in(&line.node).map_or(line.nodes, u64::from);
            let models = if line.kind == NodeKind::Model { grouped(models) } else { String::new() };
            let counts = [line.rows, line.computed, line.skipped, line.failed].map(grouped);
            [vec![line.node.clone(), line.kind.to_string(), models], counts.to_vec()].concat()
        });
        table(&["NODE", "KIND", "MODELS", "ROWS", "COMPUTED", "SKIPPED", "FAILED"], &[1], rows)
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        let mut figures = vec![
            (
                "ran",
                format!(
                    "{:.1} s with {}, {} models made in {:.0} ms before",
                    self.seconds,
                    count(self.shards.into(), "shard"),
                    grouped(self.models.into()),
                    self.prepare_ms
                ),
            ),
            (
                "rows",
                format!(
                    "{} handed over, {} taken in ({}/s)",
                    grouped(self.rows.handed_over),
                    grouped(self.rows.taken_in),
                    grouped(self.rows_per_second.round() as u64)
                ),
            ),
            (
                "predictions",
                format!(
                    "{} of {} expected ({}/s)",
                    grouped(self.predictions.scored),
                    grouped(self.predictions.expected),
                    grouped(self.predictions_per_second.round() as u64)
                ),
            ),
            (
                "alarms",
                format!(
                    "{}; {} machines have bad bearings ({FAILING} of 100)",
                    grouped(self.alarms),
                    self.failing_machines
                ),
            ),
        ];
        if let (Some(added), Some(scores)) = (&self.added, self.scores) {
            figures.push((
                "added",
                format!(
                    "{} as revision {}: preview {}, apply {}",
                    count(added.models.into(), "model"),
                    added.revision,
                    micros(added.preview_us),
                    micros(added.apply_us),
                ),
            ));
            figures.push(("", scores.to_string()));
            let (scored, expected) = (grouped(added.rows_scored), grouped(added.rows_expected));
            figures.push(("", format!("they scored {scored} of {expected} rows since they took over")));
        }
        figures.push((
            "lost",
            self.wrong().unwrap_or_else(|| "nothing: every row was scored by every model that it had".to_owned()),
        ));
        figures
    }
}
