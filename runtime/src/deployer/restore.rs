//! Bringing back a node that was removed, as it was deployed last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Deployer;
use super::change::{Outcome, Refusal, Terms, hash_of};
use super::deploy::{Plan, Said};
use super::read::nodes_of;
use crate::registry::{ClassContent, Decided, Kind, SetRef};
use crate::topology::manifest::Run;
use crate::topology::{Manifest, NodeKind};
use crate::words::{Class, NodeId};

impl Deployer {
    /// Deploys a node again as a kept revision had it last; one that is in force already stays as it is. The host's
    /// nodes come back as it has started with them.
    ///
    /// # Errors
    /// As [`Deployer::deploy`], and `unknown-node` when no kept revision has it.
    pub async fn restore(&self, node: &NodeId, topology: Option<&Class>, terms: &Terms) -> Result<Outcome, Refusal> {
        let (node, topology, terms) = (node.clone(), topology.cloned(), terms.clone());
        self.at_its_turn(|deployer| async move { deployer.restore_in_turn(&node, topology, &terms).await }).await
    }

    async fn restore_in_turn(&self, node: &NodeId, named: Option<Class>, terms: &Terms) -> Result<Outcome, Refusal> {
        let topology = named.as_ref().map_or_else(String::new, ToString::to_string);
        let asked = hash_of(&[("restore", node.to_string(), topology)]);
        if let Some(answer) = self.said_before(terms, asked) {
            return answer;
        }
        match self.check_base(terms).and_then(|()| self.plan_restore(node, named.as_ref())) {
            Ok(plan) => self.carry_out(plan, terms, asked).await,
            Err(refusal) => {
                let topology = named.unwrap_or_else(|| Class::from("?"));
                let record = self.record_of(terms, asked, topology, Kind::Deploy, Said::default());
                Err(self.refuse(terms, record, refusal))
            }
        }
    }

    fn plan_restore(&self, name: &NodeId, named: Option<&Class>) -> Result<Plan, Refusal> {
        let topology = self.topology(named)?;
        let mut content = self.content(&topology);
        let last = match content.nodes.get(name) {
            Some(set) => Some(Arc::clone(set)),
            None if content.removed.contains(name) || !self.host_has(&topology, name) => {
                self.last(&topology, &content).remove(name).flatten()
            }
            None => None,
        };
        let of_host = || self.0.host.get(&topology).and_then(|nodes| nodes.get(name)).cloned();
        let node = match &last {
            Some(set) => nodes_of(&self.folder(), &self.0.operators, set)?.remove(name),
            None => of_host(),
        };
        let node = node.ok_or_else(|| {
            Refusal::new("unknown-node", format!("no revision that is kept has a node `{name}`; deploy it anew"))
        })?;
        match &last {
            Some(set) => content.put(set, [name.clone()]),
            None => content.give_back(name),
        }
        Ok(Plan {
            topology,
            kind: Kind::Deploy,
            put: vec![node],
            remove: Vec::new(),
            decided: Decided::default(),
            may_lose_state: false,
            attributes: None,
            facts: None,
            note: String::new(),
            sets: last.into_iter().collect(),
            content,
        })
    }

    /// Whether a topology has a node with a content, be it the host's.
    pub(super) fn runs(&self, topology: &Class, content: &ClassContent, node: &NodeId) -> bool {
        content.nodes.contains_key(node) || (self.host_has(topology, node) && !content.removed.contains(node))
    }

    fn host_has(&self, topology: &Class, node: &NodeId) -> bool {
        self.0.host.get(topology).is_some_and(|nodes| nodes.contains_key(node))
    }

    /// Each node that was deployed at a kept revision of a topology, and each of the host's that is removed now, as it was
    /// in force last: by its manifest, or as the host has it.
    fn last(&self, topology: &Class, now: &ClassContent) -> BTreeMap<NodeId, Option<Arc<SetRef>>> {
        let of_host = now.removed.iter().filter(|name| self.host_has(topology, name)).collect::<Vec<_>>();
        let (folder, nothing) = (self.folder(), ClassContent::default());
        let mut last: BTreeMap<NodeId, Option<Arc<SetRef>>> = BTreeMap::new();
        for record in folder.records().rev().filter(|record| record.verdict.in_force()) {
            let content = record.content.get(topology).unwrap_or(&nothing);
            for (name, set) in &content.nodes {
                if !last.contains_key(name) {
                    last.insert(name.clone(), Some(Arc::clone(set)));
                }
            }
            for name in of_host.iter().filter(|name| !content.removed.contains(**name)) {
                last.entry((*name).clone()).or_insert(None);
            }
        }
        last
    }

    /// The models of a topology that do not run, and that [`Deployer::restore`] can bring back.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub fn removed_models(&self, topology: &Class) -> Result<BTreeSet<NodeId>, Refusal> {
        let content = self.content(topology);
        let host = self.0.host.get(topology).into_iter().flatten();
        let taken = host.filter(|(name, node)| node.kind == NodeKind::Model && content.removed.contains(*name));
        let mut removed: BTreeSet<NodeId> = taken.map(|(name, _)| name.clone()).collect();
        let mut models_of: BTreeMap<Arc<SetRef>, BTreeSet<NodeId>> = BTreeMap::new();
        for (name, set) in self.last(topology, &content) {
            let Some(set) = set else { continue };
            if self.runs(topology, &content, &name) {
                continue;
            }
            if !models_of.contains_key(&set) {
                let text = self.folder().load(set.manifest)?;
                let manifest = Manifest::from_text(&String::from_utf8_lossy(&text))?;
                let models = manifest.declared().iter().filter(|node| matches!(node.run, Run::Model(_)));
                models_of.insert(set.clone(), models.map(|node| node.name()).collect());
            }
            if models_of[&set].contains(&name) {
                removed.insert(name);
            }
        }
        Ok(removed)
    }
}
