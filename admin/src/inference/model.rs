//! Which node is meant, and what a client has to know of it.

use std::sync::Arc;

use gristmill::topology::plan::{ClassPlan, PlanNode};
use gristmill::topology::{NodeKind, Work};
use gristmill::words::NodeId;
use serde_json::{Value, json};

use super::tensor::{datatype, shape};
use crate::call::Call;
use crate::problem::Problem;

/// A running node with a model.
pub(super) struct Found {
    pub(super) node: Arc<PlanNode>,
}

impl Found {
    /// The node that the path names, in the version that the path names if it does.
    pub(super) async fn of(call: &Call) -> Result<Self, Problem> {
        let id = NodeId::from(call.name(0, "node")?);
        let mut all = Vec::new();
        for plan in plans(call).await? {
            all.extend(plan.node(&id).filter(|node| has_model(node)).cloned());
        }
        let found = match &all[..] {
            [node] => Self { node: Arc::clone(node) },
            [] => {
                let reason = format!("no model `{id}` runs; POST /v2/repository/index lists those that do");
                return Err(Problem::new("unknown-model", reason));
            }
            _ => {
                let reason = format!("several topologies have a model `{id}`; say which with ?topology=");
                return Err(Problem::new("which-topology", reason));
            }
        };
        match call.path.get(1) {
            Some(version) if *version != found.version() => {
                let reason = format!("version {} of `{id}` runs, no other", found.version());
                Err(Problem::new("unknown-model", reason))
            }
            _ => Ok(found),
        }
    }

    /// The revision in which it began to run.
    pub(super) fn version(&self) -> String {
        self.node.born.to_string()
    }

    pub(super) fn metadata(&self) -> Value {
        let node = &self.node.node;
        let tensor =
            |name: String, element| json!({ "name": name, "datatype": datatype(element), "shape": shape(element) });
        let inputs: Vec<Value> = node.needs.iter().map(|need| tensor(need.label(), need.element)).collect();
        let outputs: Vec<Value> =
            node.provides.iter().map(|(name, element)| tensor(name.to_string(), *element)).collect();
        json!({
            "name": self.node.name,
            "versions": [self.version()],
            "platform": "gristmill",
            "inputs": inputs,
            "outputs": outputs,
        })
    }
}

/// The plans that the request asks about.
pub(super) async fn plans(call: &Call) -> Result<Vec<Arc<ClassPlan>>, Problem> {
    let classes = match call.topology()? {
        Some(class) => vec![class],
        None => call.handle().classes().await,
    };
    let mut plans = Vec::new();
    for class in &classes {
        let plan = call.handle().plan(Some(class)).await;
        plans.push(
            plan.ok_or_else(|| Problem::new("unknown-topology", format!("no topology of class `{class}` runs")))?,
        );
    }
    Ok(plans)
}

/// Whether clients can score with a node: it has an artifact, not code alone.
pub(super) fn has_model(node: &PlanNode) -> bool {
    node.node.kind == NodeKind::Model && matches!(node.node.work, Work::Model(_) | Work::Family(_))
}
