//! Nodes: deploy, look at, remove.

use gristmill::deployer::{Artifact, ChangeSet};
use gristmill::words::{Class, Key, NodeId};
use gristmill::{ActorReport, NodeReport};
use serde_json::{Value, json};

use crate::call::{Answer, Answering, Call, check_node};
use crate::multipart::parts;
use crate::problem::Problem;

/// The nodes that are listed of those that took most time, hold most memory, or failed most.
const TOP: usize = 20;

pub(crate) fn put(call: Call) -> Answering {
    Box::pin(async move {
        let change = change(&call)?;
        call.deploy(change).await
    })
}

/// A manifest as the whole body, or a form: parts `manifest`, `remove`, `reset` and `artifact:NAME` (a hash of what is kept), and
/// every other part an artifact under the name that a manifest calls it.
fn change(call: &Call) -> Result<ChangeSet, Problem> {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec());
        text.map_err(|_| Problem::new("bad-body", "the manifest is not UTF-8"))
    };
    let node_of = |bytes: &[u8]| {
        let name = text(bytes)?;
        check_node(&name).map_err(|reason| Problem::new("bad-body", reason))?;
        Ok::<_, Problem>(NodeId::from(name))
    };
    if !call.content_type.starts_with("multipart/form-data") {
        return Ok(ChangeSet::new().manifest(text(&call.body)?));
    }
    let mut change = ChangeSet::new();
    for part in parts(&call.content_type, &call.body, call.site.limits.parts)? {
        change = match (part.name.as_str(), part.name.strip_prefix("artifact:")) {
            ("manifest", _) => change.manifest(text(part.content)?),
            ("remove", _) => change.remove(node_of(part.content)?),
            ("reset", _) => change.reset(node_of(part.content)?),
            (_, Some(name)) => {
                let digest = text(part.content)?.trim().parse();
                let digest = digest.map_err(|error| Problem::new("bad-body", format!("`{name}`: {error}")))?;
                change.artifact(name, Artifact::Kept(digest))
            }
            (name, None) => change.artifact(name, Artifact::Bytes(part.content.to_vec())),
        };
    }
    Ok(change)
}

pub(crate) fn list(call: Call) -> Answering {
    Box::pin(async move {
        let top = call.query.get("top").map(String::as_str);
        let mut nodes = reports(&call, top == Some("memory")).await?;
        let most = match top {
            None => call.site.limits.listed,
            Some("cost") => {
                nodes.sort_by_key(|node| std::cmp::Reverse(node.busy));
                TOP
            }
            Some("errors") => {
                nodes.retain(|node| node.counts.failed + node.counts.quarantined > 0);
                nodes.sort_by_key(|node| std::cmp::Reverse(node.counts.failed + node.counts.quarantined));
                TOP
            }
            Some("memory") => {
                nodes.sort_by_key(|node| std::cmp::Reverse(node.memory_bytes));
                TOP
            }
            Some(_) => return Err(Problem::new("bad-query", "`top` is cost, memory or errors")),
        };
        let more = nodes.len().saturating_sub(most);
        let nodes: Vec<Value> = nodes.iter().take(most).map(shown).collect();
        Ok(Answer::Json(json!({ "revision": call.deployer().in_force(), "nodes": nodes, "more": more })))
    })
}

pub(crate) fn get(call: Call) -> Answering {
    Box::pin(async move {
        let id = call.name(0, "node")?;
        let nodes = reports(&call, true).await?;
        let node = nodes.iter().find(|node| &*node.node == id);
        node.map(|node| Answer::Json(shown(node))).ok_or_else(|| {
            Problem::new(
                "unknown-node",
                format!("no node `{}` runs; GET /v1/nodes lists those that do", id.escape_debug()),
            )
        })
    })
}

pub(crate) fn delete(call: Call) -> Answering {
    change_one(call, ChangeSet::remove)
}

pub(crate) fn pause(call: Call) -> Answering {
    change_one(call, ChangeSet::pause)
}

pub(crate) fn resume(call: Call) -> Answering {
    change_one(call, ChangeSet::resume)
}

pub(crate) fn reset(call: Call) -> Answering {
    change_one(call, ChangeSet::reset)
}

/// A change of the one node that the path names.
fn change_one(call: Call, what: fn(ChangeSet, String) -> ChangeSet) -> Answering {
    Box::pin(async move {
        let change = what(ChangeSet::new(), call.name(0, "node")?.to_owned());
        call.deploy(change).await
    })
}

pub(crate) fn explain(call: Call) -> Answering {
    Box::pin(async move {
        let node = NodeId::from(call.name(0, "node")?);
        let key = Key::from(call.key_asked()?);
        let known = call.handle().explain(call.topology()?, &node, &key).await?;
        let text = known.to_string();
        Ok(Answer::Json(json!({ "text": text, "explanation": known })))
    })
}

/// The actors, those for which most waits first.
pub(crate) fn actors(call: Call) -> Answering {
    Box::pin(async move {
        let mut actors = Vec::new();
        for class in classes(&call).await? {
            actors.extend(call.handle().actors(Some(class)).await?);
        }
        actors.sort_by_key(|actor| std::cmp::Reverse(actor.waiting));
        let most = call.site.limits.listed;
        let more = actors.len().saturating_sub(most);
        let shown = |actor: &ActorReport| {
            json!({
                "node": actor.node,
                "topology": actor.class,
                "born": actor.born,
                "shard": actor.shard,
                "waiting": actor.waiting,
                "mailbox": actor.mailbox,
            })
        };
        let actors: Vec<Value> = actors.iter().take(most).map(shown).collect();
        Ok(Answer::Json(json!({ "actors": actors, "more": more })))
    })
}

/// Those that the request asks about.
async fn classes(call: &Call) -> Result<Vec<Class>, Problem> {
    Ok(match call.topology()? {
        Some(class) => vec![class],
        None => call.handle().classes().await,
    })
}

async fn reports(call: &Call, memory: bool) -> Result<Vec<NodeReport>, Problem> {
    let mut nodes = Vec::new();
    for class in classes(call).await? {
        let handle = call.handle();
        let report = match memory {
            true => handle.report_with_memory(Some(class)).await?,
            false => handle.report(Some(class)).await?,
        };
        nodes.extend(report.nodes.into_iter().chain(report.in_transit));
    }
    Ok(nodes)
}

fn shown(node: &NodeReport) -> Value {
    json!({
        "id": node.node,
        "topology": node.class,
        "state": node.state,
        "kind": format!("{:?}", node.kind).to_lowercase(),
        "born": node.born,
        "wiring": node.wiring,
        "counts": node.counts,
        "nan": node.nan,
        "out_of_range": node.out_of_range,
        "forgotten": node.forgotten,
        "quarantined_keys": node.quarantined_keys,
        "quarantined": node.quarantined,
        "overruns": node.overruns,
        "lost_threads": node.lost_threads,
        "busy_seconds": node.busy.as_secs_f64(),
        "memory_bytes": node.memory_bytes,
    })
}
