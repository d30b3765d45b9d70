//! The Open Inference Protocol, version 2, over HTTP, with Triton's extensions for binary tensors and for its model
//! repository: clients of model servers score rows with the models of nodes, apart from the streams.
//!
//! Source: the protocol's REST description, github.com/kserve/open-inference-protocol, and Triton's documents
//! `extension_binary_data` and `extension_model_repository`.

mod model;
mod repository;
mod request;
mod response;
mod tensor;

use std::sync::Arc;

use gristmill::topology::scorer::{model_of, score_apart};
use gristmill::words::Key;
use serde_json::json;

pub(crate) use repository::{index, load, unload};

use self::model::Found;
use self::request::Request;
use self::response::Tensors;
use crate::call::{Answer, Answering, Call};
use crate::limits::Limits;
use crate::problem::Problem;

pub(crate) fn server(_: Call) -> Answering {
    Box::pin(async {
        Ok(Answer::Json(json!({
            "name": "gristmill",
            "version": env!("CARGO_PKG_VERSION"),
            "extensions": ["binary_tensor_data", "model_repository"],
        })))
    })
}

pub(crate) fn model(call: Call) -> Answering {
    Box::pin(async move { Ok(Answer::Json(Found::of(&call).await?.metadata())) })
}

pub(crate) fn model_ready(call: Call) -> Answering {
    Box::pin(async move {
        let found = Found::of(&call).await?;
        Ok(Answer::Json(json!({ "name": found.node.name, "ready": true })))
    })
}

/// Scores rows with the model of a node, on a thread that may take long.
pub(crate) fn infer(call: Call) -> Answering {
    Box::pin(async move {
        let found = Found::of(&call).await?;
        let site = Arc::clone(&call.site);
        let limits = site.limits;
        let Ok(turn) = Arc::clone(&site.scorings).try_acquire_owned() else {
            let reason = format!("{} requests are being scored, the limit; wait a second", limits.scorings);
            return Err(Problem::new("busy", reason));
        };
        let scoring = tokio::task::spawn_blocking(move || {
            // Held until a model that takes too long comes back.
            let _turn = turn;
            score(&call, &found, &limits)
        });
        let seconds = limits.scoring_time.as_secs();
        match tokio::time::timeout(limits.scoring_time, scoring).await {
            Ok(Ok(scored)) => scored,
            Ok(Err(_)) => Err(Problem::new("not-scored", "scoring ended without an answer")),
            Err(_) => Err(Problem::new("not-scored", format!("scoring took longer than {seconds} s, the limit"))),
        }
    })
}

fn score(call: &Call, found: &Found, limits: &Limits) -> Result<Answer, Problem> {
    let (request, binary) = Request::read(&call.body, call.header_length.as_deref())?;
    let node = &found.node.node;
    let key = match &request.parameters.key {
        None => None,
        Some(key) => Some(Key::from(Call::key(key)?)),
    };
    let model = model_of(node, key.as_ref()).map_err(|error| Problem::new("not-scored", error.0))?;
    let columns = request.columns(node, binary)?;
    let wanted = request.wanted(node)?;
    response::check_size(node, columns.first().map_or(0, gristmill::words::Column::len), limits.body_bytes)?;
    let scored = score_apart(node, model.as_ref(), &columns);
    let scored = scored.map_err(|error| Problem::new("not-scored", format!("the model said: {error}")))?;
    let tensors = Tensors { found, id: request.id.as_deref(), columns: &scored, wanted: &wanted };
    tensors.answer()
}
