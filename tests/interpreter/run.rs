//! The interpreter: a log in order, one cause at a time.

use std::collections::{BTreeMap, BTreeSet};

use gristmill::topology::{Ask, Node, NodeKind, RowRule, Work};
use gristmill::traits::{Digest, RowsRecord};
use gristmill::words::{Cause, Key, NodeId, Offset, StreamName, Time};

use super::case::{BadRow, Case, Happening};
use super::intake::{Arrival, AxisIntake, RawRow};
use super::outcome::{Fate, Letter, Mechanism, Outcome, Written};
use super::plan::{self, Axis, KeyPlan, Plan};
use super::state::NodeState;
use super::unit::{Unit, UnitRow};

/// Computes what a case must write.
pub fn interpret(case: &Case) -> Outcome {
    let plans = case.plans.iter().enumerate().map(|(number, version)| Plan::new(number, version, &case.axes)).collect();
    let mut interpreter = Interpreter {
        case,
        deployed: 0,
        plans,
        key_plans: BTreeMap::new(),
        partitions: BTreeMap::new(),
        outcome: Outcome::default(),
    };
    for (number, entry) in case.log.iter().enumerate() {
        while case.deploy_before.get(interpreter.deployed).is_some_and(|before| *before <= number) {
            interpreter.deploy();
        }
        match &entry.what {
            Happening::Record(record) => interpreter.record(entry.partition, record),
            Happening::Tick(time) => interpreter.tick(entry.partition, *time),
        }
    }
    while interpreter.deployed < case.deploy_before.len() {
        interpreter.deploy();
    }
    interpreter.count_unused();
    interpreter.count_waiting();
    interpreter.outcome
}

struct Interpreter<'c> {
    case: &'c Case,
    /// How many plans have followed the first.
    deployed: usize,
    plans: Vec<Plan<'c>>,
    /// What the plans mean for the keys that were met.
    key_plans: BTreeMap<(usize, Key), KeyPlan<'c>>,
    partitions: BTreeMap<u32, Partition>,
    outcome: Outcome,
}

#[derive(Default)]
struct Partition {
    /// Which plan is in force.
    plan: usize,
    last: Option<Offset>,
    /// Rows that the record at `last` has had so far.
    rows_of_last: u32,
    keys: BTreeMap<Key, KeyState>,
}

#[derive(Default)]
struct KeyState {
    intake: BTreeMap<u16, AxisIntake>,
    nodes: BTreeMap<NodeId, NodeState>,
}

/// What a unit is about, beside its rows.
struct About<'a> {
    partition: u32,
    key: &'a Key,
    cause: Cause,
    tick: Option<Time>,
    departing: &'a BTreeSet<NodeId>,
}

impl Interpreter<'_> {
    fn record(&mut self, number: u32, record: &RowsRecord) {
        let plan = self.deployed;
        let partition = self.partitions.entry(number).or_insert_with(|| Partition { plan, ..Partition::default() });
        if partition.last != Some(record.offset) {
            (partition.last, partition.rows_of_last) = (Some(record.offset), 0);
        } else {
            self.outcome.count(Mechanism::Pieces);
        }
        partition.keys.entry(record.key.clone()).or_default();
        let first = partition.rows_of_last;
        partition.rows_of_last += u32::try_from(record.times.len()).expect("records are short");
        for row in 0..record.times.len() {
            let cause = Cause { offset: record.offset, row: first + u32::try_from(row).expect("records are short") };
            self.row(number, record, row, cause);
        }
    }

    /// Law 1, then all that the row lets be computed.
    fn row(&mut self, number: u32, record: &RowsRecord, row: usize, cause: Cause) {
        let rules = self.case.intake;
        let time = record.times[row];
        if record.log_time.is_some_and(|log_time| time > log_time.plus(rules.max_ahead)) {
            self.outcome.count(Mechanism::Ahead);
            return self.refuse(number, record, time, cause, "ahead");
        }
        let partition = self.partitions.get_mut(&number).expect("made when its record came");
        let arrived_under = partition.plan;
        let key = partition.keys.get_mut(&record.key).expect("made when its record came");
        let intake = key.intake.entry(record.axis).or_default();
        let out_of_order = intake.out_of_order(time);
        let values = record.columns.iter().map(|column| one_of(column, row)).collect();
        let (mechanism, policy, word) = match intake.arrive(RawRow { time, values, arrived_under }) {
            Arrival::Waits => {
                if out_of_order {
                    self.outcome.count(Mechanism::Reordered);
                }
                let (released, early) = intake.release(rules.reorder, rules.waiting_rows);
                (0..early).for_each(|_| self.outcome.count(Mechanism::NoRoom));
                let rows = BTreeMap::from([(record.axis, released)]);
                let about =
                    About { partition: number, key: &record.key, cause, tick: None, departing: &BTreeSet::new() };
                return self.unit(&about, rows);
            }
            Arrival::Late => (Mechanism::Late, rules.late, "late"),
            Arrival::Duplicate => (Mechanism::Duplicate, rules.duplicate, "duplicate"),
        };
        self.outcome.count(mechanism);
        if policy == BadRow::DeadLetter {
            self.refuse(number, record, time, cause, word);
        }
    }

    fn refuse(&mut self, partition: u32, record: &RowsRecord, time: Time, cause: Cause, word: &str) {
        let (key, reason) = (record.key.clone(), word.to_owned());
        self.outcome.letters.push(Letter { partition, cause, key, node: None, time, reason });
    }

    /// Law 11.
    fn tick(&mut self, number: u32, now: Time) {
        self.outcome.count(Mechanism::Tick);
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        let cause = Cause { offset: partition.last.unwrap_or(Offset(-1)), row: u32::MAX };
        let keys: Vec<Key> = partition.keys.keys().cloned().collect();
        for key in keys {
            let partition = self.partitions.get_mut(&number).expect("it is there");
            let state = partition.keys.get_mut(&key).expect("listed above");
            let mut rows = BTreeMap::new();
            for axis in 0..u16::try_from(self.case.axes.len()).expect("a source has few axes") {
                let intake = state.intake.entry(axis).or_default();
                intake.time_has_come(now);
                // What waits was few enough before.
                let (released, _) = intake.release(self.case.intake.reorder, usize::MAX);
                released.iter().for_each(|_| self.outcome.count(Mechanism::TickReleased));
                rows.insert(axis, released);
            }
            // Rows from within `reorder` may still come to the nodes.
            let tick = Some(now.minus(self.case.intake.reorder));
            let about = About { partition: number, key: &key, cause, tick, departing: &BTreeSet::new() };
            self.unit(&about, rows);
        }
    }

    /// The next plan takes over, in every partition after its last record or tick.
    fn deploy(&mut self) {
        let partitions: Vec<u32> = self.partitions.keys().copied().collect();
        partitions.into_iter().for_each(|number| self.switch(number));
        self.deployed += 1;
    }

    /// Law 16.
    fn switch(&mut self, number: u32) {
        self.outcome.count(Mechanism::Switch);
        let partition = self.partitions.entry(number).or_default();
        let cause = Cause { offset: partition.last.unwrap_or(Offset(-1)), row: u32::MAX };
        let (old, new) = (&self.plans[partition.plan], &self.plans[partition.plan + 1]);
        let resets = new.running.iter().filter(|node| old.version.held(node).reset < new.version.held(node).reset);
        resets.for_each(|_| self.outcome.count(Mechanism::Reset));
        let before = |node: &Node| old.running.iter().find(|old| old.name() == node.name());
        let changed = new.running.iter().filter(|node| before(node).is_some_and(|old| old.slow != node.slow));
        changed.for_each(|_| self.outcome.count(Mechanism::SlowChanged));
        let goes = |node: &&&Node| !new.runs(&node.name(), &old.version.state_of(node));
        let waits = |node: &&&Node| matches!(node.rule, RowRule::OnAll { .. });
        let departing: BTreeSet<NodeId> =
            old.running.iter().filter(goes).filter(waits).map(|node| node.name()).collect();
        let keys: Vec<Key> = partition.keys.keys().cloned().collect();
        if !departing.is_empty() {
            for key in &keys {
                let about = About { partition: number, key, cause, tick: None, departing: &departing };
                self.unit(&about, BTreeMap::new());
            }
        }
        let partition = self.partitions.get_mut(&number).expect("made above");
        partition.plan += 1;
        let new = &self.plans[partition.plan];
        for key in partition.keys.values_mut() {
            let before = key.nodes.len();
            key.nodes.retain(|name, state| new.runs(name, &state.content));
            let (kept, dropped) = (key.nodes.len(), before - key.nodes.len());
            (0..kept).for_each(|_| self.outcome.count(Mechanism::StateKept));
            (0..dropped).for_each(|_| self.outcome.count(Mechanism::StateDropped));
        }
    }

    /// Law 2: everything that one cause lets be computed for one key.
    fn unit(&mut self, about: &About<'_>, released: BTreeMap<u16, Vec<RawRow>>) {
        let partition = self.partitions.get_mut(&about.partition).expect("a unit is of a known partition");
        let plan = &self.plans[partition.plan];
        let known = self.key_plans.entry((plan.number, about.key.clone()));
        let key_plan: &KeyPlan<'_> = known.or_insert_with(|| plan.for_key(about.key));
        let mut rows: BTreeMap<Axis, Vec<UnitRow>> = BTreeMap::new();
        for (axis, released) in released {
            for row in released {
                if row.arrived_under != plan.number {
                    self.outcome.count(Mechanism::SwitchIntake);
                }
                let row = UnitRow { time: row.time, raw: row.values, values: BTreeMap::new() };
                rows.entry(Axis::Source(axis)).or_default().push(row);
            }
        }
        let mut unit = Unit {
            source: &self.case.axes,
            plan,
            key_plan,
            key: about.key,
            partition: about.partition,
            cause: about.cause,
            tick: about.tick,
            departing: about.departing,
            waiting_rows: self.case.intake.waiting_rows,
            quarantine: self.case.quarantine,
            states: &mut partition.keys.get_mut(about.key).expect("a unit is of a known key").nodes,
            rows,
            outcome: &mut self.outcome,
        };
        unit.compute();
        let rows = unit.rows;
        for sink in plan.sinks() {
            write_sink(plan, key_plan, sink, about, &rows, &mut self.outcome);
        }
        if self.partitions.len() > 1 {
            self.outcome.count(Mechanism::Partitions);
        }
    }

    fn count_waiting(&mut self) {
        let keys = self.partitions.values().flat_map(|partition| partition.keys.values());
        for (name, state) in keys.flat_map(|key| &key.nodes) {
            state.waiting.iter().for_each(|_| self.outcome.fate(name, Fate::Waiting));
        }
    }

    fn count_unused(&mut self) {
        for plan in &self.plans {
            let computing = plan.version.nodes.iter().filter(|node| plan::sink_node(node).is_none());
            for _ in plan.running.len()..computing.count() {
                self.outcome.count(Mechanism::Unused);
            }
        }
    }
}

/// Law 17.
fn write_sink(
    plan: &Plan<'_>,
    key_plan: &KeyPlan<'_>,
    sink: &Node,
    about: &About<'_>,
    rows: &BTreeMap<Axis, Vec<UnitRow>>,
    outcome: &mut Outcome,
) {
    let sink_node = plan::sink_node(sink).expect("only sinks get here");
    if !sink.selector.takes(about.key, &plan.version.attributes.of(about.key)) {
        outcome.count(Mechanism::SinkOfSomeKeys);
        return;
    }
    let asked = plan.asked(sink_node);
    let mut written: Vec<Written> = Vec::new();
    for row in rows.values().flatten() {
        for (stream, value) in row.values.iter().filter(|(stream, _)| asked.contains(*stream)) {
            let node = key_plan.providers[stream];
            if !sink_node.asks.iter().any(|ask| takes(ask, stream, node, outcome)) {
                continue;
            }
            written.push(Written {
                cause: about.cause,
                time: row.time,
                stream: stream.clone(),
                value: value.clone(),
                node: node.name(),
                artifact: artifact(node, about.key),
                plan: plan.number,
            });
        }
    }
    if !written.is_empty() {
        written.sort_by(|a, b| (a.time, &a.stream).cmp(&(b.time, &b.stream)));
        outcome.written.entry((sink_node.binding.clone(), about.key.clone())).or_default().extend(written);
    }
}

fn takes(ask: &Ask, stream: &StreamName, node: &Node, outcome: &mut Outcome) -> bool {
    match ask {
        Ask::Stream(asked) => asked == stream,
        Ask::AllModels => {
            let takes = node.kind == NodeKind::Model;
            if takes {
                outcome.count(Mechanism::AskAllModels);
            }
            takes
        }
        Ask::Pattern(pattern) => {
            let takes = pattern.matches(stream);
            if takes {
                outcome.count(Mechanism::AskPattern);
            }
            takes
        }
    }
}

fn artifact(node: &Node, key: &Key) -> Option<Digest> {
    match &node.work {
        Work::Model(model) => Some(model.digest()),
        Work::Family(family) => family.model(key).map(|model| model.digest()),
        _ => None,
    }
}

/// One row of a column, to the bit.
fn one_of(column: &gristmill::words::Column, row: usize) -> gristmill::words::Column {
    let mut one = gristmill::words::Column::with_capacity(column.element_type(), 1);
    one.extend(column.rows(row..row + 1));
    one
}
