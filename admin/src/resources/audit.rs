//! The audit log.

use gristmill::DeployError;
use serde_json::json;

use crate::call::{Answer, Answering, Call};

pub(crate) fn list(call: Call) -> Answering {
    Box::pin(async move {
        let (deployer, most) = (call.deployer().clone(), call.site.limits.listed);
        // There may be many files of it.
        let read = tokio::task::spawn_blocking(move || deployer.audit_lines(most)).await;
        let (lines, older) = read.map_err(|_| DeployError::Stopped)??;
        Ok(Answer::Json(json!({ "lines": lines, "older": older })))
    })
}
