//! Laws 4 to 7: which rows a node has.

use std::collections::BTreeSet;

use gristmill::topology::{Node, RowRule, Work};
use gristmill::words::{Span, StreamName, Time, Value};

use super::outcome::Mechanism;
use super::plan::{self, Axis};
use super::state::{AsOf, NodeState};
use super::unit::Unit;

/// A row that a node has: its time, and under rule First its place among the rows of the axis it reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) time: Time,
    pub(crate) row: Option<usize>,
}

impl Unit<'_, '_> {
    /// The streams that a node reads within the row and that somebody provides for this key.
    pub(crate) fn provided_needs<'n>(&self, node: &'n Node) -> Vec<&'n StreamName> {
        let direct = node.needs.iter().filter(|need| need.is_direct());
        direct.map(|need| &need.name).filter(|name| self.key_plan.providers.contains_key(*name)).collect()
    }

    /// Law 4: whether the rows of the axis that a node reads are its rows.
    pub(crate) fn has_rows_of_axis(&self, node: &Node) -> bool {
        let axis = self.axis_in(node);
        let has_rows = |name: &StreamName| self.plan.axes.get(name) == Some(&axis);
        let provided = |name: &StreamName| self.key_plan.providers.contains_key(name);
        matches!(node.work, Work::Sensor { .. })
            || plan::row_needs(node).any(|need| provided(&need.name) && has_rows(&need.name))
    }

    /// The rows of a node whose rows are not simply those of its axis.
    pub(crate) fn rows_of(&mut self, node: &Node, state: &mut NodeState) -> Vec<At> {
        match node.rule {
            RowRule::First => self.on_first(node, state),
            RowRule::OnAny => self.on_any(node, state),
            RowRule::OnAll { wait } => self.on_all(node, state, wait),
        }
    }

    fn on_first(&mut self, node: &Node, state: &mut NodeState) -> Vec<At> {
        if !self.has_rows_of_axis(node) {
            return Vec::new();
        }
        let axis = self.axis_in(node);
        let times: Vec<Time> = self.rows_on(&axis).iter().map(|row| row.time).collect();
        let mut rows = Vec::new();
        for (row, time) in times.into_iter().enumerate() {
            let at = At { time, row: Some(row) };
            if self.passes(node, state, at) {
                rows.push(at);
            }
        }
        rows
    }

    fn on_any(&mut self, node: &Node, state: &mut NodeState) -> Vec<At> {
        let mut rows = Vec::new();
        for time in self.brought(node) {
            let at = At { time, row: None };
            if state.last_row.is_some_and(|last| time <= last) {
                self.outcome.count(Mechanism::OnAnyLate);
            } else if self.passes(node, state, at) {
                self.outcome.count(Mechanism::OnAny);
                rows.push(at);
            }
        }
        rows
    }

    fn on_all(&mut self, node: &Node, state: &mut NodeState, wait: Span) -> Vec<At> {
        let brought = self.brought(node);
        let leaves = self.departing.contains(&node.name());
        if brought.is_empty() && self.tick.is_none() && !leaves {
            return Vec::new();
        }
        for time in brought {
            state.time_has_come(time);
            if state.last_emitted.is_some_and(|last| time <= last) {
                self.outcome.count(Mechanism::OnAllLate);
            } else {
                state.waiting.entry(time).or_insert(self.cause);
            }
        }
        if let Some(tick) = self.tick {
            state.time_has_come(tick);
        }
        let newest: Vec<Option<Time>> = self.provided_needs(node).into_iter().map(|need| state.newest(need)).collect();
        let complete = newest.into_iter().min().flatten();
        let waited = state.clock.map(|clock| clock.minus(wait));

        let mut rows = Vec::new();
        for (time, since) in state.waiting.clone() {
            let is_complete = complete.is_some_and(|complete| time <= complete);
            if !is_complete && waited.is_none_or(|waited| time > waited) && !leaves {
                continue;
            }
            self.outcome.count(match (is_complete, leaves, self.tick) {
                (false, true, _) => Mechanism::SwitchCompleted,
                (true, ..) => Mechanism::OnAllComplete,
                (false, false, Some(_)) => Mechanism::TickOnAll,
                (false, false, None) => Mechanism::OnAllWaited,
            });
            if since < self.cause {
                self.outcome.count(Mechanism::OnAllHeld);
            }
            state.waiting.remove(&time);
            state.last_emitted = Some(time);
            let at = At { time, row: None };
            if self.passes(node, state, at) {
                rows.push(at);
            }
        }
        while state.waiting.len() > self.waiting_rows {
            self.outcome.count(Mechanism::NoRoom);
            let (time, _) = state.waiting.pop_first().expect("there are too many");
            state.last_emitted = Some(time);
            let at = At { time, row: None };
            if self.passes(node, state, at) {
                rows.push(at);
            }
        }
        rows
    }

    /// The times at which any need of a node has a value in what is being computed.
    fn brought(&self, node: &Node) -> BTreeSet<Time> {
        let mut times = BTreeSet::new();
        for need in self.provided_needs(node) {
            let rows = self.rows_on(&self.plan.axes[need]);
            times.extend(rows.iter().filter(|row| row.values.contains_key(need)).map(|row| row.time));
        }
        times
    }

    /// Law 7: `when`, then `every`. A row that passes is the node's last row from then on.
    fn passes(&mut self, node: &Node, state: &mut NodeState, at: At) -> bool {
        if let Some(gate) = &node.when {
            let open = self.read_stream(node, state, gate, at) == Some(Value::Bool(true));
            self.outcome.count(if open { Mechanism::WhenOpen } else { Mechanism::WhenClosed });
            if !open {
                return false;
            }
        }
        if let (Some(every), Some(last)) = (node.every, state.last_row)
            && at.time < last.plus(every)
        {
            self.outcome.count(Mechanism::EveryThinned);
            return false;
        }
        state.last_row = Some(at.time);
        true
    }

    /// Law 4: a stream in the same row when it is on the axis whose rows the node has, else as of the row's time.
    pub(crate) fn read_stream(&mut self, node: &Node, state: &NodeState, name: &StreamName, at: At) -> Option<Value> {
        if !self.key_plan.providers.contains_key(name) {
            self.outcome.count(Mechanism::NoProvider);
            return None;
        }
        let axis = &self.plan.axes[name];
        if let Some(row) = at.row
            && *axis == self.axis_in(node)
        {
            return self.rows_on(axis)[row].values.get(name).cloned();
        }
        match state.as_of(name, at.time, self.cause, node.max_age, node.as_of_rows) {
            AsOf::Nothing => None,
            AsOf::TooOld => {
                self.outcome.count(Mechanism::TooOld);
                None
            }
            AsOf::Forgotten => {
                self.outcome.count(Mechanism::Forgotten);
                None
            }
            AsOf::Found(value) => {
                self.outcome.count(Mechanism::AsOf);
                self.count_narrow_and_wide(axis, &self.axis_in(node));
                Some(value)
            }
        }
    }

    fn count_narrow_and_wide(&mut self, a: &Axis, b: &Axis) {
        let width = |axis: &Axis| match axis {
            Axis::Source(number) => self.source[usize::from(*number)].streams.len(),
            Axis::Own(_) => 0,
        };
        if width(a) == 1 && width(b) > 1 || width(a) > 1 && width(b) == 1 {
            self.outcome.count(Mechanism::NarrowAndWide);
        }
    }
}
