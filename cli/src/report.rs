//! What a run came to, for people and for machines.

use std::fmt;
use std::time::Duration;

use gristmill::state::RestoreReport;
use gristmill::topology::NodeKind;
use gristmill::{IntakeCounts, Report};
use serde::Serialize;

use crate::binding::Traffic;
use crate::output::{count, grouped, table};

/// A node, or all nodes that differ only in their key.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeLine {
    pub(crate) node: String,
    pub(crate) kind: NodeKind,
    pub(crate) nodes: u64,
    pub(crate) rows: u64,
    pub(crate) computed: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    pub(crate) quarantined_keys: u64,
}

/// The nodes of the plan, in its order.
pub(crate) fn nodes(report: &Report) -> Vec<NodeLine> {
    let mut lines: Vec<NodeLine> = Vec::new();
    for node in &report.nodes {
        let name = node.node.split_once('@').map_or(node.node.as_str(), |(name, _)| name);
        let place = lines.iter().position(|line| line.node == name).unwrap_or_else(|| {
            lines.push(NodeLine {
                node: name.to_owned(),
                kind: node.kind,
                nodes: 0,
                rows: 0,
                computed: 0,
                skipped: 0,
                failed: 0,
                quarantined_keys: 0,
            });
            lines.len() - 1
        });
        let (line, counts) = (&mut lines[place], node.counts);
        line.nodes += 1;
        line.rows += counts.rows;
        line.computed += counts.computed;
        line.skipped += counts.skipped;
        line.failed += counts.failed + counts.quarantined;
        line.quarantined_keys += node.quarantined_keys as u64;
    }
    lines
}

/// The lines as a table, without sensors and sinks.
pub(crate) fn node_table(lines: &[NodeLine]) -> String {
    let rows = lines.iter().filter(|line| matches!(line.kind, NodeKind::Operator | NodeKind::Model)).map(|line| {
        let counts = [line.nodes, line.rows, line.computed, line.skipped, line.failed].map(grouped);
        [vec![line.node.clone(), line.kind.to_string()], counts.to_vec()].concat()
    });
    table(&["NODE", "KIND", "NODES", "ROWS", "COMPUTED", "SKIPPED", "FAILED"], &[1], rows)
}

/// What `grist run --json` and `grist score --json` answer, besides why it was no success.
#[derive(Debug, Serialize)]
pub(crate) struct RunReport {
    seconds: f64,
    revision: u64,
    keys: usize,
    actors: usize,
    records: u64,
    rows: u64,
    rows_per_second: f64,
    late: u64,
    duplicate: u64,
    ahead: u64,
    refused: u64,
    nan: u64,
    out_of_range: u64,
    dead_letters: u64,
    nodes: Vec<NodeLine>,
    /// What became of saved states, where they are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    state: Vec<RestoreReport>,
    /// What the sensors read.
    #[serde(skip)]
    columns: Vec<String>,
}

impl RunReport {
    pub(crate) fn of(report: &Report, traffic: &Traffic, columns: Vec<String>, ran: Duration) -> Self {
        let IntakeCounts { rows, late, duplicate, ahead, refused, nan, out_of_range } = report.intake;
        let seconds = ran.as_secs_f64();
        Self {
            seconds,
            revision: report.revision.0,
            keys: report.keys,
            actors: report.actors,
            records: traffic.records(),
            rows,
            rows_per_second: rows as f64 / seconds.max(1e-9),
            late,
            duplicate,
            ahead,
            refused,
            nan,
            out_of_range,
            dead_letters: traffic.letters(),
            nodes: nodes(report),
            state: Vec::new(),
            columns,
        }
    }

    /// With what became of saved states.
    pub(crate) fn with(mut self, state: Vec<RestoreReport>) -> Self {
        self.state = state;
        self
    }
}

impl RunReport {
    /// Why no row was taken in, though records came.
    pub(crate) fn nothing(&self) -> Option<String> {
        let dropped = self.late + self.duplicate + self.ahead + self.refused;
        (self.rows == 0 && self.records > 0).then(|| {
            let columns = self.columns.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let why = match dropped {
                0 => format!("none has a value of what the sensors read, which is {columns}"),
                _ if dropped == self.records => "none could be used".to_owned(),
                _ => format!("the others have no value of what the sensors read, which is {columns}"),
            };
            format!("no row came out of {}: {why}", count(self.records, "record"))
        })
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", node_table(&self.nodes))?;
        write!(
            f,
            "{} of {} in {:.2} s: {} rows/s",
            count(self.rows, "row"),
            count(self.keys as u64, "key"),
            self.seconds,
            grouped(self.rows_per_second.round() as u64)
        )?;
        // Of one, and of several.
        let counts = [
            (self.late, "came too late", "came too late"),
            (self.duplicate, "was there already", "were there already"),
            (self.ahead, "was too far ahead of its record", "were too far ahead of their record"),
            (self.refused, "was in a record that could not be read", "were in records that could not be read"),
            (self.nan, "reading was not a number", "readings were not numbers"),
            (self.out_of_range, "reading was out of range", "readings were out of range"),
            (self.dead_letters, "went to the dead letters", "went to the dead letters"),
        ];
        for (count, one, several) in counts.into_iter().filter(|(count, ..)| *count > 0) {
            write!(f, "\n{} {}", grouped(count), if count == 1 { one } else { several })?;
        }
        if let Some(nothing) = self.nothing() {
            write!(f, "\n{nothing}")?;
        }
        // What was refused while it ran was not known when the start said what it found.
        self.state.iter().filter(|state| !state.refused.is_empty()).try_for_each(|state| write!(f, "\n{state}"))?;
        let quarantined = self.nodes.iter().filter(|line| line.quarantined_keys > 0);
        for line in quarantined {
            write!(f, "\n`{}` is quarantined for {}", line.node, count(line.quarantined_keys, "key"))?;
        }
        Ok(())
    }
}
