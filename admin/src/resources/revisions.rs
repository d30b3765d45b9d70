//! Revisions: what was deployed when, by whom, and the way back.

use std::collections::{BTreeMap, BTreeSet};

use gristmill::registry::{ClassContent, Record};
use gristmill::words::{Class, Revision};
use serde_json::{Value, json};

use crate::call::{Answer, Answering, Call, revision};
use crate::problem::Problem;

pub(crate) fn list(call: Call) -> Answering {
    Box::pin(async move {
        let records = call.deployer().records();
        let revisions: Vec<Value> = records.iter().rev().map(summary).collect();
        Ok(Answer::Json(json!({ "in_force": call.deployer().in_force(), "revisions": revisions })))
    })
}

pub(crate) fn get(call: Call) -> Answering {
    Box::pin(async move { Answer::json(&record(&call, call.revision(0)?)?) })
}

/// Which deployed nodes differ between a revision and another, which is the one in force unless said.
pub(crate) fn diff(call: Call) -> Answering {
    Box::pin(async move {
        let from = record(&call, call.revision(0)?)?;
        let to = match call.query.get("to") {
            None => call.deployer().in_force(),
            Some(text) => revision(text, "bad-query")?,
        };
        let to = record(&call, to)?;
        let classes: BTreeSet<&Class> = from.content.keys().chain(to.content.keys()).collect();
        let nothing = ClassContent::default();
        let mut topologies = BTreeMap::new();
        for class in classes {
            let [from, to] = [&from, &to].map(|record| record.content.get(class).unwrap_or(&nothing));
            topologies.insert(class.to_string(), difference(from, to));
        }
        Ok(Answer::Json(json!({ "from": from.revision, "to": to.revision, "topologies": topologies })))
    })
}

pub(crate) fn rollback(call: Call) -> Answering {
    Box::pin(async move {
        let (to, topology) = (call.revision(0)?, call.topology()?);
        Answer::json(&call.deployer().rollback(to, topology.as_ref(), &call.terms()?).await?)
    })
}

fn record(call: &Call, revision: Revision) -> Result<Record, Problem> {
    let found = call.deployer().record(revision);
    found.ok_or_else(|| Problem::new("unknown-revision", format!("revision {revision} is not kept")))
}

fn summary(record: &Record) -> Value {
    json!({
        "revision": record.revision,
        "base": record.base,
        "topology": record.topology,
        "kind": record.kind,
        "who": record.who,
        "when": record.when,
        "verdict": record.verdict,
    })
}

fn difference(from: &ClassContent, to: &ClassContent) -> Value {
    let (mut added, mut removed, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for name in from.nodes.keys().chain(to.nodes.keys()).collect::<BTreeSet<_>>() {
        match (from.nodes.get(name), to.nodes.get(name)) {
            (None, Some(_)) => added.push(name),
            (Some(_), None) => removed.push(name),
            (before, after) if before != after => changed.push(name),
            _ => {}
        }
    }
    let taken: Vec<_> = to.removed.difference(&from.removed).collect();
    let given_back: Vec<_> = from.removed.difference(&to.removed).collect();
    json!({
        "added": added,
        "removed": removed,
        "changed": changed,
        "host_nodes_removed": taken,
        "host_nodes_back": given_back,
    })
}
