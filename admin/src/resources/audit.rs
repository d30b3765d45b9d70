//! The audit log.

use serde_json::json;

use crate::call::{Answer, Answering, Call};

pub(crate) fn list(call: Call) -> Answering {
    Box::pin(async move {
        let lines = call.deployer().audit_lines()?;
        let skipped = lines.len().saturating_sub(call.site.limits.listed);
        Ok(Answer::Json(json!({ "lines": lines[skipped..], "older": skipped })))
    })
}
