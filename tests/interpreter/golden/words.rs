//! Short words to write golden cases with.

use gristmill::topology::{Ask, Attributes, Node, NodeKind, SinkNode, Work, optional, provide, sensor};
use gristmill::traits::source::{ABSENT_F64, AxisStreams};
use gristmill::traits::{Operator, Outputs, RowError, Rows, RowsRecord};
use gristmill::words::{Binding, Column, ElementType, NodeId, Offset, Time};
use gristmill::{Quarantine, Stream};

use super::super::case::{Case, EngineOptions, Entry, Happening, Intake, PlanVersion};
use super::super::kernel::ON_PURPOSE;
use super::super::operators::operator_node;
use super::Golden;

/// A reading that is not in its row.
pub(super) const NO: f64 = ABSENT_F64;

/// A golden case on its way. All readings are `f64`.
pub(super) struct Building {
    name: &'static str,
    case: Case,
    next: i64,
}

/// Begins a case; each list of names is an axis of the source.
pub(super) fn golden(name: &'static str, axes: &[&[&'static str]]) -> Building {
    let axis = |names: &&[&'static str]| AxisStreams {
        streams: names.iter().map(|name| ((*name).into(), ElementType::F64)).collect(),
    };
    let case = Case {
        seed: 0,
        axes: axes.iter().map(axis).collect(),
        intake: Intake::default(),
        quarantine: Some(Quarantine::default()),
        plans: Vec::new(),
        deploy_before: Vec::new(),
        log: Vec::new(),
        engine: EngineOptions::default(),
    };
    Building { name, case, next: 0 }
}

impl Building {
    pub(super) fn intake(mut self, intake: Intake) -> Self {
        self.case.intake = intake;
        self
    }

    /// The first plan, or one that is deployed after what the log has so far.
    pub(super) fn plan(self, nodes: Vec<Node>) -> Self {
        self.plan_with(nodes, Attributes::new())
    }

    pub(super) fn plan_with(mut self, nodes: Vec<Node>, attributes: Attributes) -> Self {
        if !self.case.plans.is_empty() {
            self.case.deploy_before.push(self.case.log.len());
        }
        self.case.plans.push(PlanVersion { nodes, attributes, held: std::collections::BTreeMap::new() });
        self
    }

    /// A record of one row: axis, time in milliseconds, readings.
    pub(super) fn row(self, key: &str, axis: u16, time: i64, readings: &[f64]) -> Self {
        self.rows(key, axis, &[(time, readings)])
    }

    /// A record of some rows.
    pub(super) fn rows(self, key: &str, axis: u16, rows: &[(i64, &[f64])]) -> Self {
        self.record(key, axis, None, rows)
    }

    pub(super) fn record(mut self, key: &str, axis: u16, log_time: Option<i64>, rows: &[(i64, &[f64])]) -> Self {
        let width = self.case.axes[usize::from(axis)].streams.len();
        let column = |place: usize| Column::F64(rows.iter().map(|(_, readings)| readings[place]).collect());
        let record = RowsRecord {
            offset: Offset(self.next),
            log_time: log_time.map(Time::from_millis),
            key: key.into(),
            axis,
            times: rows.iter().map(|(time, _)| Time::from_millis(*time)).collect(),
            columns: (0..width).map(column).collect(),
        };
        self.next += 1;
        self.case.log.push(Entry { partition: 0, what: Happening::Record(record) });
        self
    }

    /// The next record is another piece of the last.
    pub(super) fn same_offset(mut self) -> Self {
        self.next -= 1;
        self
    }

    pub(super) fn tick(mut self, time: i64) -> Self {
        self.case.log.push(Entry { partition: 0, what: Happening::Tick(Time::from_millis(time)) });
        self
    }

    pub(super) fn writes(self, writes: &[&'static str]) -> Golden {
        Golden { name: self.name, case: self.case, writes: writes.to_vec(), letters: Vec::new() }
    }
}

impl Golden {
    pub(super) fn letters(mut self, letters: &[&'static str]) -> Self {
        self.letters = letters.to_vec();
        self
    }
}

/// A sensor of the source's stream of that name.
pub(super) fn sense(name: &str) -> Node {
    sensor(Stream::<f64>::named(name)).into()
}

/// A sink called `out`.
pub(super) fn out(streams: &[&str]) -> Node {
    sink("out", streams.iter().map(|name| Ask::Stream((*name).into())).collect())
}

pub(super) fn sink(binding: &str, asks: Vec<Ask>) -> Node {
    let sink = SinkNode { binding: Binding::from(binding), asks };
    Node::new(NodeId::from(binding), NodeKind::Sink, Vec::new(), Vec::new(), Work::Sink(sink))
}

/// The need times a factor.
pub(super) fn times(name: &str, need: &str, factor: f64) -> Node {
    provide(Stream::<f64>::named(name)).needs(Stream::<f64>::named(need)).by(move |value: f64| value * factor)
}

/// 100 times the first need plus the second; a missing second counts as -1.
pub(super) fn pair(name: &str, a: &str, b: &str) -> Node {
    provide(Stream::<f64>::named(name))
        .needs((Stream::<f64>::named(a), optional(Stream::<f64>::named(b))))
        .by(|a: f64, b: Option<f64>| a * 100.0 + b.unwrap_or(-1.0))
}

/// 100 times the first need plus the second; each that is missing counts as -1.
pub(super) fn either(name: &str, a: &str, b: &str) -> Node {
    provide(Stream::<f64>::named(name))
        .needs((optional(Stream::<f64>::named(a)), optional(Stream::<f64>::named(b))))
        .by(|a: Option<f64>, b: Option<f64>| a.unwrap_or(-1.0) * 100.0 + b.unwrap_or(-1.0))
}

/// Whether the need is above 0.
pub(super) fn positive(name: &str, need: &str) -> Node {
    provide(Stream::<bool>::named(name)).needs(Stream::<f64>::named(need)).by(|value: f64| value > 0.0)
}

/// The sum of all values so far.
pub(super) fn total(name: &str, need: &str) -> Node {
    let need = gristmill::topology::Need {
        name: need.into(),
        element: ElementType::F64,
        kind: gristmill::topology::NeedKind::Required,
    };
    operator_node(name, vec![need], vec![(name.into(), ElementType::F64)], Total)
}

/// Adds up its need; will not have 13, and panics at 66, after it has added them.
#[derive(Debug)]
struct Total;

impl Operator for Total {
    type State = f64;

    fn name(&self) -> &'static str {
        "total"
    }

    fn parameters(&self) -> String {
        String::new()
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) -> f64 {
        0.0
    }

    fn run(&self, total: &mut f64, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        for (row, value) in rows.f64(0).iter().enumerate() {
            *total += value;
            out.f64(0)[row] = *total;
            if *value == 13.0 {
                return Err(RowError::new("thirteen"));
            }
            assert!(*value != 66.0, "{ON_PURPOSE}sixty-six");
        }
        Ok(())
    }
}
