//! A case: everything that decides an outcome, and how the engine is to be run over it.

use std::collections::BTreeMap;
use std::fmt;

use gristmill::Quarantine;
use gristmill::topology::{Attributes, Node};
use gristmill::traits::RowsRecord;
use gristmill::traits::source::{ABSENT_F32, ABSENT_F64, AxisStreams};
use gristmill::words::{Column, NodeId, Offset, Span, Time};

use super::legal;

/// The class of all keys in cases.
pub const CLASS: &str = "machine";
/// The name under which the source of cases is bound.
pub const SOURCE: &str = "source";

/// Plans, log, and how to run the engine.
#[derive(Clone)]
pub struct Case {
    /// What it was made of; 0 when it was written by hand.
    pub seed: u64,
    /// The streams on each axis of the source.
    pub axes: Vec<AxisStreams>,
    /// How rows come in.
    pub intake: Intake,
    /// After how many failures in how many rows of a key a node is left out for it; `None`: never.
    pub quarantine: Option<Quarantine>,
    /// What runs, in order: the first from the start.
    pub plans: Vec<PlanVersion>,
    /// Before which entry of the log each plan but the first is deployed.
    pub deploy_before: Vec<usize>,
    /// All partitions' records and ticks, in the order in which they arrive.
    pub log: Vec<Entry>,
    /// What may not change the outcome.
    pub engine: EngineOptions,
}

/// One version of what the user wants.
#[derive(Clone)]
pub struct PlanVersion {
    /// The nodes, sinks among them.
    pub nodes: Vec<Node>,
    /// What is known of the keys.
    pub attributes: Attributes,
    /// What was decided about nodes while they ran.
    pub held: BTreeMap<NodeId, Held>,
}

/// What was decided about a node while it ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Whether it is paused.
    pub paused: bool,
    /// How often it was resumed.
    pub resumed: u32,
    /// How often it was reset.
    pub reset: u32,
}

impl PlanVersion {
    /// What was decided about a node.
    pub fn held(&self, node: &Node) -> Held {
        self.held.get(&node.name()).copied().unwrap_or_default()
    }

    /// All that the state of a node depends on.
    pub fn state_of(&self, node: &Node) -> String {
        format!("{} reset {}", node.content(), self.held(node).reset)
    }
}

/// How rows come in: the same for all axes of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intake {
    /// How much later than the newest row of its key and axis a row may come and still be sorted in.
    pub reorder: Span,
    /// How far after its record's log time a row may be.
    pub max_ahead: Span,
    /// What happens to a row that comes later than that.
    pub late: BadRow,
    /// What happens to a second row of one time.
    pub duplicate: BadRow,
    /// How many rows of a key may wait: on an axis to be sorted in, at a node for its other needs.
    pub waiting_rows: usize,
}

/// What happens to a row that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRow {
    /// It is dropped and counted.
    Drop,
    /// It goes to the dead letters.
    DeadLetter,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            reorder: Span::ZERO,
            max_ahead: Span::from_secs(60),
            late: BadRow::Drop,
            duplicate: BadRow::Drop,
            waiting_rows: 10_000,
        }
    }
}

/// Something that arrives.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where: the source's own number.
    pub partition: u32,
    /// What.
    pub what: Happening,
}

/// What arrives.
#[derive(Clone, Debug)]
pub enum Happening {
    /// Rows of one key. Two records in a row may have one offset: they are pieces of one record, and the rows of the
    /// second are numbered after those of the first.
    Record(RowsRecord),
    /// Event time has reached this for the partition's keys.
    Tick(Time),
}

/// What happens between two entries of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Break {
    /// The next plan is deployed.
    Deploy,
    /// The engine is stopped in order and started again.
    Stop,
}

/// From which offset of each partition a plan computes.
pub type Switch = BTreeMap<u32, Offset>;

/// What may not change the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How many shards, from 1.
    pub shards: u16,
    /// Most keys in a frame.
    pub frame_keys: usize,
    /// Most records of a micro-batch.
    pub batch_records: usize,
    /// Before which entries of the log a new micro-batch begins, beside those of another partition or kind.
    pub cuts: Vec<usize>,
    /// Before which entries of the log it is stopped in order and started again, where no record has come in part only.
    pub stops: Vec<usize>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { shards: 1, frame_keys: 64, batch_records: 1024, cuts: Vec::new(), stops: Vec::new() }
    }
}

impl Case {
    /// Where each plan but the first begins: in every partition at the first record that arrives after it was
    /// deployed. A partition without such a record is not in the map.
    pub fn switches(&self) -> Vec<Switch> {
        let switch = |before: &usize| {
            let mut switch = Switch::new();
            for entry in self.log.iter().skip(*before) {
                if let Happening::Record(record) = &entry.what {
                    switch.entry(entry.partition).or_insert(record.offset);
                }
            }
            switch
        };
        self.deploy_before.iter().map(switch).collect()
    }

    /// Whether an entry of the log is a further piece of the record before it.
    pub fn is_within_record(&self, place: usize) -> bool {
        let record = |place: usize| match self.log.get(place) {
            Some(Entry { partition, what: Happening::Record(record) }) => Some((*partition, record.offset)),
            _ => None,
        };
        place > 0 && record(place).is_some() && record(place - 1) == record(place)
    }

    /// Deployments and stops, in order, with the entry of the log that each comes before.
    pub fn breaks(&self) -> Vec<(usize, Break)> {
        let whole = |place: &&usize| !self.is_within_record(**place);
        let deployed = self.deploy_before.iter().map(|place| (*place, Break::Deploy));
        let stopped = self.engine.stops.iter().filter(whole).map(|place| (*place, Break::Stop));
        let mut breaks: Vec<(usize, Break)> = deployed.chain(stopped).collect();
        breaks.sort_unstable();
        breaks
    }

    /// Why the resolver would refuse one of the plans, or a law leaves its outcome open; empty for a good case.
    pub fn problems(&self) -> Vec<String> {
        legal::problems(self)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "case of seed {}: {:?}, {:?}, {:?}", self.seed, self.intake, self.quarantine, self.engine)?;
        for (number, axis) in self.axes.iter().enumerate() {
            let streams: Vec<String> =
                axis.streams.iter().map(|(name, element)| format!("{name}: {element}")).collect();
            writeln!(f, "  axis {number}: {}", streams.join(", "))?;
        }
        for (number, plan) in self.plans.iter().enumerate() {
            match number.checked_sub(1).and_then(|number| self.deploy_before.get(number)) {
                Some(before) => writeln!(f, "  plan {number}, deployed before entry {before}")?,
                None => writeln!(f, "  plan {number}")?,
            }
            write!(f, "{plan:?}")?;
        }
        for (number, entry) in self.log.iter().enumerate() {
            writeln!(f, "  {number:3} {}", describe(entry))?;
        }
        Ok(())
    }
}

impl fmt::Debug for PlanVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            let artifact = node.artifact().map_or_else(String::new, |digest| format!(" artifact {:02x}", digest.0[0]));
            writeln!(
                f,
                "    {} ({}, priority {}){artifact}: {}",
                node.name(),
                node.kind,
                node.priority,
                node.content()
            )?;
        }
        for (node, held) in &self.held {
            writeln!(f, "    {node}: {held:?}")?;
        }
        for key in self.attributes.keys() {
            writeln!(f, "    @{key}: {:?}", self.attributes.of(key))?;
        }
        Ok(())
    }
}

/// An entry of the log on one line.
pub fn describe(entry: &Entry) -> String {
    match &entry.what {
        Happening::Tick(time) => format!("partition {}: tick {time}", entry.partition),
        Happening::Record(record) => {
            let log_time = record.log_time.map_or_else(|| "none".to_owned(), |time| time.to_string());
            let mut text = format!(
                "partition {} offset {} log time {log_time} key {} axis {}:",
                entry.partition, record.offset, record.key, record.axis
            );
            for (row, time) in record.times.iter().enumerate() {
                let values: Vec<String> = record.columns.iter().map(|column| reading(column, row)).collect();
                text.push_str(&format!(" {time} [{}]", values.join(", ")));
            }
            text
        }
    }
}

/// Whether the reading in `row` was not in its record.
pub(crate) fn is_absent(column: &Column, row: usize) -> bool {
    match column {
        Column::F32(values) => values[row].to_bits() == ABSENT_F32.to_bits(),
        Column::F64(values) => values[row].to_bits() == ABSENT_F64.to_bits(),
        _ => column.as_ref().is_missing(row),
    }
}

fn reading(column: &Column, row: usize) -> String {
    let missing = if is_absent(column, row) { "-" } else { "NaN" };
    column.as_ref().value(row).map_or_else(|| missing.to_owned(), |value| value.to_string())
}
