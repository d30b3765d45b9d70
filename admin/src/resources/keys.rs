//! What is known of a key.

use gristmill::explain::Standing;
use gristmill::words::Key;
use serde_json::{Map, json};

use crate::call::{Answer, Answering, Call};
use crate::problem::Problem;

/// Most nodes whose last values are asked for at once.
const NODES_MAX: usize = 1_000;

pub(crate) fn get(call: Call) -> Answering {
    Box::pin(async move {
        let key = Key::from(Call::key(&call.path[0])?);
        let topology = call.topology()?;
        let plan = call.handle().plan(topology.as_ref()).await;
        let plan = plan.ok_or_else(|| Problem::new("unknown-topology", "no such topology runs"))?;
        let of_key = |only: Option<&Key>| only.is_none_or(|only| *only == key);
        let own = plan.own_nodes_of(&key);
        let names: Vec<_> = plan.base.nodes.iter().chain(own).filter(|node| of_key(node.node.only_key())).collect();
        let (mut streams, mut nodes, mut watched) = (Map::new(), Map::new(), true);
        for node in names.iter().take(NODES_MAX) {
            let known = call.handle().explain(Some(plan.class.clone()), &node.name, &key).await?;
            watched &= known.watched;
            if matches!(known.state, Standing::Running { .. } | Standing::Quarantined { .. }) {
                for output in &known.outputs {
                    streams.insert(output.name.to_string(), json!(output.last));
                }
            }
            nodes.insert(node.name.to_string(), json!({ "state": known.state, "reasons": known.reasons }));
        }
        Ok(Answer::Json(json!({
            "key": key,
            "topology": plan.class,
            "revision": plan.revision,
            "watched": watched,
            "streams": streams,
            "nodes": nodes,
            "more": names.len().saturating_sub(NODES_MAX),
        })))
    })
}
