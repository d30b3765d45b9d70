//! Triton's model repository: which models there are, bringing one back, taking one out.

use gristmill::deployer::ChangeSet;
use gristmill::words::NodeId;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::model::{Found, has_model, plans};
use crate::call::{Answer, Answering, Call};
use crate::problem::Problem;

#[derive(Default, Deserialize)]
#[serde(default)]
struct IndexRequest {
    /// Whether only models that run are listed.
    ready: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadRequest {
    parameters: Map<String, Value>,
}

/// The models that run, and those that can be loaded.
pub(crate) fn index(call: Call) -> Answering {
    Box::pin(async move {
        let IndexRequest { ready } = read(&call)?;
        let mut models = Vec::new();
        for plan in plans(&call).await? {
            let running = plan.nodes().filter(|node| has_model(node));
            models.extend(
                running.map(|node| json!({ "name": node.name, "version": node.born.to_string(), "state": "READY" })),
            );
            if ready {
                continue;
            }
            let away = |name: &NodeId, reason: String| json!({ "name": name, "version": "", "state": "UNAVAILABLE", "reason": reason });
            let removed = call.deployer().removed_models(&plan.class)?;
            models.extend(removed.iter().map(|name| away(name, "unloaded".to_owned())));
        }
        Ok(Answer::Json(Value::Array(models)))
    })
}

/// Deploys a model again as it was deployed last.
pub(crate) fn load(call: Call) -> Answering {
    Box::pin(async move {
        let LoadRequest { parameters } = read(&call)?;
        if let Some(name) = parameters.keys().next() {
            let name = name.escape_debug();
            let reason = format!("the parameter `{name}` is not taken: new models come by PUT /v1/nodes");
            return Err(Problem::new("bad-body", reason));
        }
        let id = NodeId::from(call.name(0, "node")?);
        let restored = call.deployer().restore(&id, call.topology()?.as_ref(), &call.terms()?).await;
        match restored {
            Err(refusal) if refusal.code == "unknown-node" => Err(Problem::new("unknown-model", refusal.reason)),
            restored => Answer::json(&restored?),
        }
    })
}

/// Removes a model; nodes that need it are refused to be left alone.
pub(crate) fn unload(call: Call) -> Answering {
    Box::pin(async move {
        let LoadRequest { parameters } = read(&call)?;
        if parameters.get("unload_dependents") == Some(&Value::Bool(true)) {
            let reason = "`unload_dependents` is not taken: what needs a model is removed by name";
            return Err(Problem::new("bad-body", reason));
        }
        let found = Found::of(&call).await?;
        call.deploy(ChangeSet::new().remove(found.node.name.clone())).await
    })
}

/// The body; none is the same as an empty object.
fn read<T: Default + for<'b> Deserialize<'b>>(call: &Call) -> Result<T, Problem> {
    if call.body.trim_ascii().is_empty() { Ok(T::default()) } else { call.object() }
}
