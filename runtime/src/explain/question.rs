//! From a plan and what a shard knows to an explanation.

use super::{Explanation, NeedSeen, OutputSeen, Reason, Seen, Standing};
use crate::actor::explain::{KeyLook, LastValue, Looked};
use crate::topology::declared::Declared;
use crate::topology::need::NeedKind;
use crate::topology::node::{Missing, Node, RowRule, Work};
use crate::topology::plan::{ClassPlan, From, PlanNeed, PlanNode, SlotNumber, To};
use crate::topology::problem::nearest;
use crate::topology::selector::Selector;
use crate::topology::{KeyAttributes, variant};
use crate::words::{Key, NodeId, StreamName, Value};

/// What an explanation is put together from.
pub(crate) struct Question<'a> {
    pub(crate) declared: &'a Declared,
    pub(crate) plan: &'a ClassPlan,
    pub(crate) node: &'a NodeId,
    pub(crate) key: &'a Key,
    /// Sums over the shards, and the key's own.
    pub(crate) looked: Looked,
}

impl Question<'_> {
    pub(crate) fn answer(self) -> Explanation {
        let attributes = self.plan.base.attributes.of(self.key);
        let declared = self.declared.get(self.node);
        let running = self.running();
        let nothing = KeyLook::default();
        let look = self.looked.key.as_ref().unwrap_or(&nothing);
        let mut explained = Explanation {
            class: self.plan.class.clone(),
            node: self.node.clone(),
            key: self.key.clone(),
            revision: self.plan.revision,
            state: self.state(declared.map(AsRef::as_ref), running, &attributes, look),
            reasons: Vec::new(),
            needs: Vec::new(),
            outputs: Vec::new(),
            counts: running.map(|_| self.looked.counts),
            newest: look.newest,
            watched: look.watched,
        };
        if let Some(node) = running {
            explained.needs = self.needs(node, &attributes, look);
            let before = node.needs.len() + usize::from(node.when.is_some()) + node.takes.len();
            let output = |(number, (name, _)): (usize, &(StreamName, _))| {
                let last = seen(look.last.get(before + number).and_then(Option::as_ref));
                OutputSeen { name: name.clone(), last }
            };
            explained.outputs = node.node.provides.iter().enumerate().map(output).collect();
            if let Standing::Running { .. } | Standing::Quarantined { .. } = explained.state {
                explained.reasons = self.reasons(node, &explained, look);
            }
        }
        explained
    }

    fn running(&self) -> Option<&PlanNode> {
        let own = self.plan.own_nodes_of(self.key).iter().find(|node| node.name == *self.node);
        own.or_else(|| self.plan.base.node(self.node)).map(AsRef::as_ref)
    }

    fn state(
        &self,
        declared: Option<&Node>,
        running: Option<&PlanNode>,
        attributes: &KeyAttributes,
        look: &KeyLook,
    ) -> Standing {
        let Some(node) = declared else {
            let names: Vec<StreamName> = self.declared.base.keys().map(|name| name.as_str().into()).collect();
            let nearest = nearest(self.node, names.iter()).map(|name| NodeId::from(name.as_str()));
            return Standing::Unknown { nearest };
        };
        if let Some(lacks) = self.plan.base.pending.get(self.node) {
            return Standing::Pending { lacks: lacks.clone() };
        }
        if !node.selector.takes(self.key, attributes) {
            return Standing::NotSelected { why: not_taken(&node.selector, self.key, attributes) };
        }
        let Some(running) = running else { return Standing::Unused };
        if let Some(by) = node.provides.iter().find_map(|(name, _)| self.provider(name, attributes))
            && by != *self.node
        {
            return Standing::Overridden { by };
        }
        if running.paused() {
            return Standing::Paused;
        }
        if running.quarantined() {
            return Standing::Quarantined { reason: "it failed for too many keys".to_owned() };
        }
        if look.quarantined {
            return Standing::Quarantined { reason: look.last_failure.clone().unwrap_or_default() };
        }
        Standing::Running { born: running.born }
    }

    /// Who provides a stream for the key.
    fn provider(&self, name: &StreamName, attributes: &KeyAttributes) -> Option<NodeId> {
        let provides = |node: &PlanNode| node.node.provides.iter().any(|(provided, _)| provided == name);
        let own = self.plan.own_nodes_of(self.key).iter().find(|node| provides(node));
        if let Some(own) = own {
            return Some(own.name.clone());
        }
        let slot: SlotNumber = self.plan.base.names.get(name)?.slot;
        let active = variant::mask(&self.plan.base, self.key, attributes);
        let mut active = active.iter().map(|index| &self.plan.base.nodes[index]);
        active.find(|node| node.provides.contains(&To::Slot(slot))).map(|node| node.name.clone())
    }

    fn needs(&self, node: &PlanNode, attributes: &KeyAttributes, look: &KeyLook) -> Vec<NeedSeen> {
        let mut needs = Vec::new();
        let mut add = |name: &StreamName, how: &'static str, as_of: bool, initial: Option<&Value>| {
            let number = needs.len();
            let provider = if how == "column" { None } else { self.provider(name, attributes) };
            let known = look.last.get(number).and_then(Option::as_ref);
            let last = match (how, known) {
                ("attribute", _) => attributes
                    .get(name)
                    .filter(|value| value.element_type() == node.needs[number].element)
                    .map_or(Seen::Missing { time: None }, |value| Seen::Value { time: None, value: value.clone() }),
                (_, Some(known)) => seen(Some(known)),
                // What is read as of a time is remembered from its first value on.
                (_, None) if as_of || (provider.is_none() && how != "column") => Seen::Missing { time: None },
                (_, None) => initial.map_or(Seen::NotKept, |value| Seen::Value { time: None, value: value.clone() }),
            };
            needs.push(NeedSeen { name: name.clone(), how, provider, last });
        };
        if let Work::Sensor { raw, .. } = &node.node.work {
            add(raw, "column", false, None);
        }
        for (need, resolved) in node.node.needs.iter().zip(&node.needs) {
            let as_of = need.kind.is_direct() && !resolved.in_row;
            match &need.kind {
                NeedKind::Required => add(&need.name, "required", as_of, None),
                NeedKind::Optional => add(&need.name, "optional", as_of, None),
                NeedKind::Previous { initial } => add(&need.name, "previous", false, Some(initial)),
                NeedKind::Attribute => add(&need.name, "attribute", false, None),
            }
        }
        if let (Some(gate), Some(resolved)) = (&node.node.when, &node.when) {
            add(gate, "gate", !resolved.in_row, None);
        }
        node.takes.iter().for_each(|(name, _)| add(name, "taken", false, None));
        needs
    }

    fn reasons(&self, node: &PlanNode, so_far: &Explanation, look: &KeyLook) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.looked.key.is_none() {
            reasons.push(Reason::KeyNeverSeen);
        }
        let on_axis = |(seen, need): &(&NeedSeen, &PlanNeed)| seen.how != "column" && node.gives_rows(need);
        let mut rows_from = so_far.needs.iter().zip(&node.needs).filter(on_axis).peekable();
        if rows_from.peek().is_some() && rows_from.all(|(seen, _)| seen.provider.is_none()) {
            reasons.push(Reason::NoRows);
        }
        if let Work::Family(family) = &node.node.work
            && family.model(self.key).is_none()
            && !look.has_artifact
        {
            reasons.push(Reason::NoArtifact);
        }
        let needs = so_far.needs.iter().zip(&node.needs);
        reasons.extend(needs.filter_map(|(seen, need)| missing(node, seen, need, look)));
        let gate = so_far.needs.iter().find(|need| need.how == "gate");
        if let Some(gate) = gate.filter(|_| self.looked.key.is_some()) {
            let value = match &gate.last {
                Seen::Value { value, .. } => Some(value.clone()),
                Seen::Missing { .. } | Seen::NotKept => None,
            };
            if value != Some(Value::Bool(true)) && gate.last != Seen::NotKept {
                reasons.push(Reason::GateClosed { stream: gate.name.clone(), value });
            }
        }
        if let (Some(every), Some(last), Some(newest)) = (node.node.every, look.aligned.passed, look.newest)
            && newest > last
            && newest < last.plus(every)
        {
            reasons.push(Reason::Thinned { every, last });
        }
        if let (RowRule::OnAll { .. }, Some(first)) = (node.node.rule, look.aligned.first_waiting) {
            let behind = so_far.needs.iter().enumerate().filter(|(number, need)| {
                let newest = look.aligned.newest.get(*number).copied().flatten();
                matches!(need.how, "required" | "optional") && need.provider.is_some() && newest < Some(first)
            });
            let behind = behind.map(|(_, need)| need.name.clone()).collect();
            reasons.push(Reason::Waiting { rows: look.aligned.waiting, first, behind });
        }
        if look.waiting > 0 {
            reasons.push(Reason::AtIntake { rows: look.waiting });
        }
        let drops = look.drops;
        if drops != Default::default() {
            let (late, duplicate, ahead) = (drops.late, drops.duplicate, drops.ahead);
            reasons.push(Reason::Dropped { late, duplicate, ahead });
        }
        if let (Some(reason), false) = (&look.last_failure, look.quarantined) {
            reasons.push(Reason::Failed { reason: reason.clone() });
        }
        reasons
    }
}

/// Whether a need keeps a row from being computed.
fn missing(node: &PlanNode, seen: &NeedSeen, need: &PlanNeed, look: &KeyLook) -> Option<Reason> {
    let stream = || seen.name.clone();
    if let (From::Attribute(_), Seen::Missing { .. }) = (&need.from, &seen.last) {
        return (node.node.missing != Missing::Pass).then(|| Reason::AttributeMissing { attribute: stream() });
    }
    let skips = match node.node.missing {
        Missing::Skip => true,
        // A value from an earlier row stands in, if there was any.
        Missing::Last => matches!(seen.last, Seen::Missing { time: None }),
        Missing::Default(_) | Missing::Pass => false,
    };
    if seen.how != "required" || !skips || look.newest.is_none() {
        return None;
    }
    match &seen.last {
        Seen::Missing { .. } => Some(Reason::NeedMissing { stream: stream() }),
        Seen::Value { time: Some(time), .. } if !need.in_row => {
            let (time, max_age) = (*time, node.node.max_age);
            let too_old = look.newest.is_some_and(|newest| time < newest.minus(max_age));
            too_old.then(|| Reason::NeedTooOld { stream: stream(), time, max_age })
        }
        Seen::Value { .. } | Seen::NotKept => None,
    }
}

fn seen(last: Option<&LastValue>) -> Seen {
    match last {
        Some((time, Some(value))) => Seen::Value { time: *time, value: value.clone() },
        Some((time, None)) => Seen::Missing { time: *time },
        None => Seen::NotKept,
    }
}

fn not_taken(selector: &Selector, key: &Key, attributes: &KeyAttributes) -> String {
    match selector {
        Selector::Attribute { name, value } => match attributes.get(name) {
            Some(has) => format!("it is for keys whose attribute `{name}` is {value}, and that of `{key}` is {has}"),
            None => format!("it is for keys whose attribute `{name}` is {value}, and `{key}` has none"),
        },
        Selector::Pattern(pattern) => format!("it is for keys like `{}`, and `{key}` is none", pattern.0),
        Selector::Class | Selector::Key(_) => format!("it is for key `{selector}` only"),
    }
}
