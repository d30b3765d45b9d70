//! Whether it lives, whether it is ready, and its metrics.

use serde_json::json;

use crate::call::{Answer, Answering, Call};
use crate::problem::Problem;

pub(crate) fn live(_: Call) -> Answering {
    Box::pin(async { Ok(Answer::Json(json!({ "live": true }))) })
}

pub(crate) fn ready(call: Call) -> Answering {
    Box::pin(async move {
        match call.handle().is_running() {
            true => Ok(Answer::Json(json!({ "ready": true }))),
            false => Err(Problem::new("not-ready", "every source has ended")),
        }
    })
}

pub(crate) fn metrics(call: Call) -> Answering {
    Box::pin(async move {
        let render = call.site.metrics.as_ref();
        let render = render.ok_or_else(|| Problem::new("no-metrics", "the host has not said how to render them"))?;
        Ok(Answer::Text(render()))
    })
}
