//! Artifacts by content.

use gristmill::traits::Digest;
use serde_json::json;

use crate::call::{Answer, Answering, Call};
use crate::problem::Problem;

pub(crate) fn list(call: Call) -> Answering {
    Box::pin(async move {
        let kept = call.deployer().artifacts()?;
        let most = call.site.limits.listed;
        let artifacts: Vec<_> =
            kept.iter().take(most).map(|(digest, bytes)| json!({ "sha256": digest, "bytes": bytes })).collect();
        Ok(Answer::Json(json!({ "artifacts": artifacts, "more": kept.len().saturating_sub(most) })))
    })
}

pub(crate) fn get(call: Call) -> Answering {
    Box::pin(async move {
        let digest: Digest = call.path[0].parse().map_err(|_| {
            Problem::new("bad-path", "an artifact is named by its SHA-256: 64 digits of 0-9 and a-f, in small letters")
        })?;
        Ok(Answer::Bytes(call.deployer().load(digest)?))
    })
}

pub(crate) fn put(call: Call) -> Answering {
    Box::pin(async move {
        if call.body.is_empty() {
            return Err(Problem::new("bad-body", "the body is empty; send the artifact's bytes"));
        }
        let digest = call.deployer().store(&call.body, &call.who)?;
        Ok(Answer::Json(json!({ "sha256": digest, "bytes": call.body.len() })))
    })
}
