//! Law 2: all that one cause lets be computed for one key, node by node.

use std::collections::{BTreeMap, BTreeSet};

use gristmill::Quarantine;
use gristmill::topology::node::stand_in;
use gristmill::topology::{Cleaning, Missing, Need, NeedKind, Node, Selector, Work};
use gristmill::traits::source::AxisStreams;
use gristmill::traits::{AnyOperator, Model};
use gristmill::words::{Cause, Column, Key, NodeId, StreamName, Time, Value};

use super::kernel::{self, Call, Failure, Values};
use super::outcome::{Fate, Letter, Mechanism, Outcome};
use super::plan::{self, Axis, KeyPlan, Plan};
use super::rows::At;
use super::state::NodeState;

/// One row on some axis.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnitRow {
    pub(crate) time: Time,
    /// What the source brought, on its own axes.
    pub(crate) raw: Vec<Column>,
    /// The values that are not missing.
    pub(crate) values: BTreeMap<StreamName, Value>,
}

/// What one cause lets be computed for one key.
pub(crate) struct Unit<'u, 'c> {
    pub(crate) source: &'c [AxisStreams],
    pub(crate) plan: &'u Plan<'c>,
    pub(crate) key_plan: &'u KeyPlan<'c>,
    pub(crate) key: &'u Key,
    pub(crate) partition: u32,
    pub(crate) cause: Cause,
    /// The time that a tick said, when the cause is one.
    pub(crate) tick: Option<Time>,
    /// The nodes that end here and let all waiting rows go, when the cause is a switch.
    pub(crate) departing: &'u BTreeSet<NodeId>,
    pub(crate) waiting_rows: usize,
    pub(crate) quarantine: Option<Quarantine>,
    pub(crate) states: &'u mut BTreeMap<NodeId, NodeState>,
    pub(crate) rows: BTreeMap<Axis, Vec<UnitRow>>,
    pub(crate) outcome: &'u mut Outcome,
}

/// A node at work, with its state.
type Member<'c> = (&'c Node, NodeState);

impl<'c> Unit<'_, 'c> {
    pub(crate) fn compute(&mut self) {
        let key_plan = self.key_plan;
        for group in &key_plan.groups {
            let mut members: Vec<Member<'c>> = group.iter().map(|node| (*node, self.take_state(node))).collect();
            self.group(&mut members);
            for (node, state) in members {
                self.states.insert(node.name(), state);
            }
        }
        (0..key_plan.overridden).for_each(|_| self.outcome.count(Mechanism::Overridden));
    }

    fn take_state(&mut self, node: &Node) -> NodeState {
        if node.slow.is_some() {
            self.outcome.count(Mechanism::Slow);
        }
        match node.selector {
            Selector::Key(_) => self.outcome.count(Mechanism::SelectorKey),
            Selector::Pattern(_) => self.outcome.count(Mechanism::SelectorPattern),
            Selector::Attribute { .. } => self.outcome.count(Mechanism::SelectorAttribute),
            Selector::Class => {}
        }
        self.states.remove(&node.name()).unwrap_or_else(|| NodeState::new(self.plan.version.state_of(node)))
    }

    /// A node, or the nodes of a loop: all their rows, row by row.
    fn group(&mut self, members: &mut [Member<'c>]) {
        let inside: BTreeSet<StreamName> =
            members.iter().flat_map(|(node, _)| node.provides.iter().map(|(name, _)| name.clone())).collect();
        for (node, state) in members.iter_mut() {
            self.remember(node, state, |name| !inside.contains(name));
        }
        if let Some(head) = members.iter().position(|(node, _)| node.own_rows()) {
            let (node, state) = &mut members[head];
            let axis = self.axis_out(node);
            for at in self.rows_of(node, state) {
                let before = self.rows_on(&axis).len();
                let (node, state) = &mut members[head];
                self.row(node, state, at);
                for row in before..self.rows_on(&axis).len() {
                    self.others(members, Some(head), &axis, row);
                }
            }
        } else {
            let axis = self.axis_in(members[0].0);
            for row in 0..self.rows_on(&axis).len() {
                self.others(members, None, &axis, row);
            }
        }
        for (node, state) in members.iter_mut() {
            self.tick(node, state);
            self.remember(node, state, |name| inside.contains(name));
            self.remember_previous(node, state);
        }
    }

    /// A row of all members but the one that has made it.
    fn others(&mut self, members: &mut [Member<'c>], head: Option<usize>, axis: &Axis, row: usize) {
        let count = members.len();
        for (number, (node, state)) in members.iter_mut().enumerate() {
            if head != Some(number) && self.has_rows_of_axis(node) {
                if count > 1 {
                    self.outcome.count(Mechanism::Loop);
                }
                let time = self.rows_on(axis)[row].time;
                self.row(node, state, At { time, row: Some(row) });
            }
        }
    }

    pub(crate) fn axis_in(&self, node: &Node) -> Axis {
        self.plan.axis_in(node, self.source).expect("a legal plan knows the axis of each node")
    }

    fn axis_out(&self, node: &Node) -> Axis {
        self.plan.axis_out(node, self.source).expect("a legal plan knows the axis of each node")
    }

    pub(crate) fn rows_on(&self, axis: &Axis) -> &[UnitRow] {
        self.rows.get(axis).map_or(&[], |rows| rows)
    }

    /// Keeps the new values of the streams that a node reads within the row.
    fn remember(&self, node: &Node, state: &mut NodeState, which: impl Fn(&StreamName) -> bool) {
        let direct: BTreeSet<&StreamName> =
            plan::reads(node).into_iter().filter(|(_, within)| *within).map(|(name, _)| name).collect();
        for name in direct.into_iter().filter(|name| which(name)) {
            let Some(axis) = self.plan.axes.get(name) else { continue };
            for row in self.rows_on(axis) {
                if let Some(value) = row.values.get(name) {
                    let seen = super::state::Seen { cause: self.cause, time: row.time, value: value.clone() };
                    state.seen.entry(name.clone()).or_default().push(seen);
                }
            }
        }
    }

    /// Keeps the last values of the streams that a node reads as previous.
    fn remember_previous(&self, node: &Node, state: &mut NodeState) {
        for need in &node.needs {
            if let (NeedKind::Previous { .. }, Some(axis)) = (&need.kind, self.plan.axes.get(&need.name)) {
                for value in self.rows_on(axis).iter().filter_map(|row| row.values.get(&need.name)) {
                    state.previous.insert(need.name.clone(), value.clone());
                }
            }
        }
    }

    /// One row of one node: read, see what is missing, compute, write.
    fn row(&mut self, node: &Node, state: &mut NodeState, at: At) {
        if plan::is_of_previous_only(node) {
            self.outcome.count(Mechanism::PreviousOnly);
        }
        let Some(needs) = self.needs_of(node, state, at) else {
            self.outcome.fate(&node.name(), Fate::Skipped);
            return self.write(node, at, None);
        };
        if let Work::Model(_) | Work::Family(_) = &node.work {
            let model = self.model_of(node);
            let (replaced, ended) = state.scores_with(model.as_ref().map(|model| model.digest()));
            if replaced {
                self.outcome.count(Mechanism::ArtifactReplaced);
            }
            if ended {
                self.outcome.count(Mechanism::QuarantineEnded);
            }
        }
        if self.stands_still(node, state) {
            let paused = self.plan.version.held(node).paused;
            self.outcome.fate(&node.name(), if paused { Fate::Paused } else { Fate::Quarantined });
            return self.write(node, at, None);
        }
        match &node.work {
            Work::Operator(operator) if operator.own_rows() => {
                self.call_own(node, operator.as_ref(), state, &Call::Row(at.time, &needs));
            }
            Work::Operator(operator) | Work::Sensor { clean: operator, .. } => {
                let table = state.table.get_or_insert_with(|| kernel::table(operator.as_ref()));
                let result = kernel::run(operator.as_ref(), table.as_mut(), at.time, &needs, &node.provides);
                if let Work::Sensor { .. } = &node.work {
                    self.count_reading(operator.as_ref(), &needs[0]);
                }
                self.finish(node, state, at, result);
            }
            Work::Model(_) | Work::Family(_) => {
                let Some(model) = self.model_of(node) else {
                    self.outcome.count(Mechanism::FamilyNone);
                    self.outcome.fate(&node.name(), Fate::Skipped);
                    return self.write(node, at, None);
                };
                let result = kernel::score(model.as_ref(), &needs, &node.provides);
                self.finish(node, state, at, result);
            }
            Work::Sink(_) => unreachable!("a sink provides nothing and so never runs here"),
        }
    }

    /// Whether a node computes nothing for the key.
    fn stands_still(&mut self, node: &Node, state: &mut NodeState) -> bool {
        let held = self.plan.version.held(node);
        if state.resumed_to(held.resumed) {
            self.outcome.count(Mechanism::QuarantineResumed);
        }
        if held.paused {
            self.outcome.count(Mechanism::Paused);
        } else if state.quarantined {
            self.outcome.count(Mechanism::Quarantine);
        }
        held.paused || state.quarantined
    }

    fn model_of(&mut self, node: &Node) -> Option<std::sync::Arc<dyn Model>> {
        match &node.work {
            Work::Model(model) => {
                self.outcome.count(Mechanism::Model);
                Some(model.clone())
            }
            Work::Family(family) => {
                let member = family.members.get(self.key).is_some();
                let model = family.model(self.key).cloned();
                if model.is_some() {
                    self.outcome.count(if member { Mechanism::FamilyMember } else { Mechanism::FamilyDefault });
                }
                model
            }
            _ => None,
        }
    }

    /// What the operator gets, a column of one row for each need; `None` when the row is skipped (law 8).
    fn needs_of(&mut self, node: &Node, state: &mut NodeState, at: At) -> Option<Vec<Column>> {
        if let Work::Sensor { .. } = &node.work {
            let (axis, place) =
                plan::raw_column(node, self.source).expect("a legal plan has only sensors of the source");
            let row = at.row.expect("a sensor has the rows of its axis");
            return Some(vec![self.rows_on(&Axis::Source(axis))[row].raw[place].clone()]);
        }
        let values: Values = node.needs.iter().map(|need| self.read(node, state, need, at)).collect();
        let mut columns = Some(Vec::new());
        for (number, (need, value)) in node.needs.iter().zip(values).enumerate() {
            let value = match value {
                Some(value) => {
                    state.last_values.insert(number, value.clone());
                    Ok(Some(value))
                }
                None => self.stand_in(node, state, number, need),
            };
            match (value, &mut columns) {
                (Ok(value), Some(columns)) => columns.push(kernel::one(need.element, value.as_ref())),
                _ => columns = None,
            }
        }
        columns
    }

    fn read(&mut self, node: &Node, state: &NodeState, need: &Need, at: At) -> Option<Value> {
        match &need.kind {
            NeedKind::Required | NeedKind::Optional => self.read_stream(node, state, &need.name, at),
            NeedKind::Previous { initial } => Some(self.read_previous(node, state, need, initial, at)),
            NeedKind::Attribute => {
                let value = self.plan.version.attributes.of(self.key).get(&need.name).cloned();
                self.outcome.count(match value {
                    Some(_) => Mechanism::AttributeNeed,
                    None => Mechanism::AttributeMissing,
                });
                value
            }
        }
    }

    /// Law 9: the last value in earlier rows of the node's own axis.
    fn read_previous(&mut self, node: &Node, state: &NodeState, need: &Need, initial: &Value, at: At) -> Value {
        let rows = self.rows_on(&self.axis_out(node));
        let earlier = if node.own_rows() { rows.len() } else { at.row.unwrap_or(0) };
        let in_this_cause = rows[..earlier].iter().rev().find_map(|row| row.values.get(&need.name));
        let value = in_this_cause.or_else(|| state.previous.get(&need.name)).cloned();
        self.outcome.count(if value.is_some() { Mechanism::Previous } else { Mechanism::PreviousInitial });
        value.unwrap_or_else(|| initial.clone())
    }

    /// Law 8: what stands in for a missing value; `Err` when the row is skipped.
    fn stand_in(&mut self, node: &Node, state: &NodeState, number: usize, need: &Need) -> Result<Option<Value>, ()> {
        if need.kind == NeedKind::Optional {
            self.outcome.count(Mechanism::OptionalMissing);
            return Ok(None);
        }
        let (mechanism, value) = match &node.missing {
            Missing::Skip => (Mechanism::MissingSkip, Err(())),
            Missing::Last => match state.last_values.get(&number) {
                Some(last) => (Mechanism::MissingLast, Ok(Some(last.clone()))),
                None => (Mechanism::MissingLastNone, Err(())),
            },
            Missing::Default(number) => {
                (Mechanism::MissingDefault, stand_in(*number, need.element).map(Some).ok_or(()))
            }
            Missing::Pass => (Mechanism::MissingPass, Ok(None)),
        };
        self.outcome.count(mechanism);
        value
    }

    fn finish(&mut self, node: &Node, state: &mut NodeState, at: At, result: Result<Values, Failure>) {
        match result {
            Ok(values) => {
                state.computed();
                self.outcome.fate(&node.name(), Fate::Computed);
                self.write(node, at, Some(values));
            }
            Err(failure) => {
                if failure.refused {
                    state.computed();
                    self.outcome.fate(&node.name(), Fate::Computed);
                } else {
                    state.failed(self.quarantine);
                    self.outcome.fate(&node.name(), Fate::Failed);
                }
                self.dead_letter(node, at.time, failure);
                self.write(node, at, None);
            }
        }
    }

    /// Law 10: a row or a tick for an operator with rows of its own.
    fn call_own(&mut self, node: &Node, operator: &dyn AnyOperator, state: &mut NodeState, call: &Call<'_>) {
        let table = state.table.get_or_insert_with(|| kernel::table(operator));
        let result = kernel::run_own(operator, table.as_mut(), call, &node.provides);
        let (time, mechanism) = match call {
            Call::Row(time, _) => (*time, Mechanism::OwnRow),
            Call::Tick(now) => (*now, Mechanism::OwnRowTick),
        };
        match result {
            Ok(made) => {
                if matches!(call, Call::Row(..)) {
                    state.computed();
                    self.outcome.fate(&node.name(), Fate::Computed);
                }
                for (time, values) in made {
                    self.outcome.count(mechanism);
                    self.push(node, time, values);
                }
            }
            Err(failure) => {
                // A tick that fails is as a row that does, and none that is counted.
                state.failed(self.quarantine);
                if matches!(call, Call::Row(..)) {
                    self.outcome.fate(&node.name(), Fate::Failed);
                }
                self.dead_letter(node, time, failure);
            }
        }
    }

    /// Law 11: time has passed.
    fn tick(&mut self, node: &Node, state: &mut NodeState) {
        if let (Some(now), Work::Operator(operator)) = (self.tick, &node.work)
            && operator.own_rows()
            && !self.stands_still(node, state)
        {
            self.call_own(node, operator.as_ref(), state, &Call::Tick(now));
        }
    }

    /// Writes a row's outputs; `None` when all are missing.
    fn write(&mut self, node: &Node, at: At, values: Option<Values>) {
        if matches!(&node.work, Work::Operator(operator) if operator.own_rows()) {
            return; // it makes its rows itself
        }
        let values = values.unwrap_or_else(|| vec![None; node.provides.len()]);
        if node.own_rows() {
            return self.push(node, at.time, values);
        }
        let (axis, row) = (self.axis_out(node), at.row.expect("a node without rows of its own has those of its axis"));
        let rows = self.rows.get_mut(&axis).expect("the row is there");
        insert(&mut rows[row].values, node, values);
    }

    /// Adds a row to a node's own axis.
    fn push(&mut self, node: &Node, time: Time, values: Values) {
        let mut row = UnitRow { time, ..UnitRow::default() };
        insert(&mut row.values, node, values);
        self.rows.entry(self.axis_out(node)).or_default().push(row);
    }

    /// Law 12, and law 1 for what a sensor refuses.
    fn dead_letter(&mut self, node: &Node, time: Time, failure: Failure) {
        if !failure.refused {
            self.outcome.count(if failure.panicked { Mechanism::Panic } else { Mechanism::Error });
        }
        (0..failure.undone).for_each(|_| self.outcome.count(Mechanism::OwnRowUndone));
        self.outcome.letters.push(Letter {
            partition: self.partition,
            cause: self.cause,
            key: self.key.clone(),
            node: Some(node.name()),
            time,
            reason: failure.reason,
        });
    }

    /// Law 1: why a sensor did not take a reading as it is, also where it is held or sent off.
    fn count_reading(&mut self, clean: &dyn AnyOperator, raw: &Column) {
        let Some(reading) = raw.as_ref().value(0) else {
            self.outcome.count(if super::case::is_absent(raw, 0) { Mechanism::Absent } else { Mechanism::NotANumber });
            return;
        };
        let number = match reading {
            Value::F32(number) => f64::from(number),
            Value::F64(number) => number,
            Value::I64(number) => number as f64,
            _ => return,
        };
        let cleaning: Cleaning = serde_json::from_str(&clean.parameters()).expect("a sensor of numbers has a cleaning");
        // The limits are as exact as the readings.
        let limit = |limit: f64| match reading {
            Value::F32(_) if (limit as f32).is_finite() && limit as f32 != 0.0 => f64::from(limit as f32),
            _ => limit,
        };
        let outside = cleaning.range.is_some_and(|(low, high)| number < limit(low) || number > limit(high));
        if outside || matches!(reading, Value::I64(number) if !becomes_i64(number, &cleaning)) {
            self.outcome.count(Mechanism::OutOfRange);
        }
    }
}

/// Whether a reading in the unit of its sensor is an `i64`, and not the one that means missing.
fn becomes_i64(number: i64, cleaning: &Cleaning) -> bool {
    let (scale, offset) = (cleaning.scale.unwrap_or(1.0), cleaning.offset.unwrap_or(0.0));
    let least = i64::MIN + 1;
    if [scale, offset].iter().all(|number| number.fract() == 0.0 && number.abs() < i64::MAX as f64) {
        let exact = i128::from(number) * scale as i128 + offset as i128;
        return (i128::from(least)..=i128::from(i64::MAX)).contains(&exact);
    }
    (number as f64 * scale + offset).round().abs() < i64::MAX as f64
}

fn insert(row: &mut BTreeMap<StreamName, Value>, node: &Node, values: Values) {
    for ((name, _), value) in node.provides.iter().zip(values) {
        if let Some(value) = value {
            row.insert(name.clone(), value);
        }
    }
}
