//! The plans that run.

use gristmill::words::Class;
use serde_json::json;

use crate::call::{Answer, Answering, Call};
use crate::problem::Problem;

pub(crate) fn list(call: Call) -> Answering {
    Box::pin(async move {
        let mut topologies = Vec::new();
        for class in call.handle().classes().await {
            let report = call.handle().report(Some(class.clone())).await?;
            let nodes = report.nodes.len();
            topologies
                .push(json!({ "class": class, "revision": report.revision, "keys": report.keys, "nodes": nodes }));
        }
        Ok(Answer::Json(json!({ "revision": call.deployer().in_force(), "topologies": topologies })))
    })
}

pub(crate) fn get(call: Call) -> Answering {
    Box::pin(async move {
        let class = Class::from(call.name(0, "topology")?);
        let plan = call.handle().plan(Some(&class)).await;
        let plan =
            plan.ok_or_else(|| Problem::new("unknown-topology", format!("no topology of class `{class}` runs")))?;
        Ok(Answer::Json(plan.to_json()))
    })
}
