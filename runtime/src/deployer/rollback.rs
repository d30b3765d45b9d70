//! Going back: what was deployed at an earlier revision is deployed again, under a new number.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Deployer;
use super::attributes::AttributeChange;
use super::change::{Outcome, Refusal, Terms, hash_of};
use super::deploy::{Plan, Said};
use super::read::nodes_of;
use crate::registry::{ClassContent, Decided, Kind, Record, SetRef};
use crate::topology::Node;
use crate::words::{Class, NodeId, Revision};

impl Deployer {
    /// Deploys again what was deployed on a topology at an earlier revision. The host's own nodes are those that it has
    /// started with, not those of then.
    ///
    /// # Errors
    /// As [`Deployer::deploy`], and when the revision is not kept or was never in force.
    pub async fn rollback(&self, to: Revision, topology: Option<&Class>, terms: &Terms) -> Result<Outcome, Refusal> {
        let (topology, terms) = (topology.cloned(), terms.clone());
        self.at_its_turn(|deployer| async move { deployer.rollback_in_turn(to, topology.as_ref(), &terms).await }).await
    }

    async fn rollback_in_turn(
        &self,
        to: Revision,
        topology: Option<&Class>,
        terms: &Terms,
    ) -> Result<Outcome, Refusal> {
        let named = topology.map_or_else(String::new, ToString::to_string);
        let asked = hash_of(&[("rollback", to.to_string(), named)]);
        if let Some(answer) = self.said_before(terms, asked) {
            return answer;
        }
        let planned = self.check_base(terms).and_then(|()| self.plan_back(to, topology));
        match planned {
            Ok(plan) => self.carry_out(plan, terms, asked).await,
            Err(refusal) => {
                let topology = topology.cloned().unwrap_or_else(|| Class::from("?"));
                let record = self.record_of(terms, asked, topology, Kind::Rollback { to }, Said::default());
                Err(self.refuse(terms, record, refusal))
            }
        }
    }

    fn plan_back(&self, to: Revision, topology: Option<&Class>) -> Result<Plan, Refusal> {
        let target = self.kept(to)?;
        let topology = match topology {
            Some(_) => self.topology(topology)?,
            None => self.only_other(&target)?,
        };
        let then = target.content.get(&topology).cloned().unwrap_or_default();
        let now = self.content(&topology);
        let (put, remove) = self.difference(&topology, &now, &then)?;
        let sets = then.by_set().into_keys().cloned().collect();
        let (paused, paused_then) = (self.paused(&topology, &now), self.paused(&topology, &then));
        let pause = paused_then.difference(&paused).cloned().collect();
        let resume = paused.difference(&paused_then).filter(|node| !remove.contains(node)).cloned().collect();
        let decided = Decided { pause, resume, reset: Vec::new() };
        let attributes = if then.attributes == now.attributes {
            None
        } else {
            let facts = AttributeChange::load(&self.folder(), then.attributes)?;
            Some(facts.over(&self.facts_of(&topology))?)
        };
        let kind = Kind::Rollback { to };
        Ok(Plan {
            topology,
            kind,
            put,
            remove,
            decided,
            may_lose_state: true,
            attributes,
            facts: None,
            note: String::new(),
            sets,
            content: then,
        })
    }

    /// The nodes that stand still with a content: those that were paused, and those that the host begins paused. A host that
    /// starts with other nodes than before may have none of that name.
    fn paused(&self, topology: &Class, content: &ClassContent) -> BTreeSet<NodeId> {
        let begin = self.0.paused.get(topology).into_iter().flatten().filter(|node| !content.resumed.contains(*node));
        content.paused.iter().chain(begin).filter(|node| self.runs(topology, content, node)).cloned().collect()
    }

    /// A revision that was in force.
    fn kept(&self, revision: Revision) -> Result<Record, Refusal> {
        let folder = self.folder();
        let numbers: Vec<String> = folder
            .records()
            .filter(|record| record.verdict.in_force())
            .map(|record| record.revision.to_string())
            .collect();
        match folder.record(revision) {
            Some(record) if record.verdict.in_force() => Ok(record.clone()),
            Some(record) => {
                let reason = format!("revision {revision} was {}, so it cannot be gone back to", record.verdict.name());
                Err(Refusal::new("unknown-revision", format!("{reason}; these can: {}", numbers.join(", "))))
            }
            None => {
                let reason = format!("revision {revision} is not kept; kept are {}", numbers.join(", "));
                Err(Refusal::new("unknown-revision", reason))
            }
        }
    }

    /// The topology whose content differs, if it is one.
    fn only_other(&self, target: &Record) -> Result<Class, Refusal> {
        let nothing = ClassContent::default();
        let differs = |class: &&Class| self.content(class) != *target.content.get(*class).unwrap_or(&nothing);
        let other: Vec<&Class> = self.0.host.keys().filter(differs).collect();
        match other[..] {
            [] => self.topology(Some(&target.topology)).or_else(|_| self.topology(None)),
            [class] => Ok(class.clone()),
            _ => {
                let names: Vec<String> = other.iter().map(|class| format!("`{class}`")).collect();
                let reason = format!("{} were changed since then; say which one goes back", names.join(" and "));
                Err(Refusal::new("which-topology", reason))
            }
        }
    }

    /// What must be put and removed to get from one content to another.
    fn difference(
        &self,
        topology: &Class,
        now: &ClassContent,
        then: &ClassContent,
    ) -> Result<(Vec<Node>, Vec<NodeId>), Refusal> {
        let nothing = BTreeMap::new();
        let host = self.0.host.get(topology).unwrap_or(&nothing);
        let folder = self.folder();
        let mut loaded: HashMap<*const SetRef, BTreeMap<NodeId, Node>> = HashMap::new();
        let (mut put, mut remove) = (Vec::new(), Vec::new());
        let names: BTreeSet<&NodeId> =
            [now, then].into_iter().flat_map(|content| content.nodes.keys().chain(&content.removed)).collect();
        for name in names {
            let runs = self.runs(topology, now, name);
            match then.nodes.get(name) {
                Some(set) if now.nodes.get(name) == Some(set) => {}
                Some(set) => {
                    let made = match loaded.entry(Arc::as_ptr(set)) {
                        Entry::Occupied(made) => made.into_mut(),
                        Entry::Vacant(free) => free.insert(nodes_of(&folder, &self.0.operators, set)?),
                    };
                    put.extend(made.get(name).cloned());
                }
                None if then.removed.contains(name) => remove.extend(runs.then(|| name.clone())),
                None => match host.get(name) {
                    Some(node) if now.nodes.contains_key(name) || !runs => put.push(node.clone()),
                    Some(_) => {}
                    None => remove.extend(runs.then(|| name.clone())),
                },
            }
        }
        Ok((put, remove))
    }
}
