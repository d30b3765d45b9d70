//! Problem details (RFC 9457): one shape for everything that goes wrong, with a code that does not change.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use gristmill::DeployError;
use gristmill::deployer::Refusal;
use gristmill::registry::RegistryError;
use serde::Serialize;

/// A code with the status that it is answered with and what it means.
pub type Code = (&'static str, u16, &'static str);

/// Every code; each has a page in docs/errors.
pub const CODES: [Code; 40] = [
    ("bad-attribute", 422, "A fact about a key is wrong"),
    ("bad-body", 400, "The body is not what this route takes"),
    ("bad-header", 400, "A header has no meaning"),
    ("bad-manifest", 422, "A manifest is wrong"),
    ("bad-path", 400, "A part of the path is no name or number"),
    ("bad-query", 400, "A parameter is unknown or has no meaning"),
    ("body-too-large", 413, "The body is too large"),
    ("busy", 503, "Too many bodies are being read"),
    ("cannot-start", 500, "New nodes could not be started"),
    ("content-encoding", 415, "The body is compressed"),
    ("damaged-artifact", 500, "An artifact is damaged"),
    ("does-not-resolve", 422, "The topology would be wrong"),
    ("expired-token", 401, "The token has ended"),
    ("forbidden", 403, "The token does not allow this"),
    ("idempotency-key", 422, "The idempotency key cannot be used"),
    ("illegal-move", 409, "A node cannot be paused, resumed or reset"),
    ("method-not-allowed", 405, "The path has no such method"),
    ("no-metrics", 404, "The host records no metrics"),
    ("not-durable", 500, "The deployment could not be recorded"),
    ("not-ready", 503, "The system does not run"),
    ("not-scored", 422, "The model could not score"),
    ("nothing-to-do", 422, "Nothing was asked for"),
    ("registry", 500, "The registry's folder cannot be used"),
    ("several-topologies", 422, "One change set is for several topologies"),
    ("stale-revision", 409, "Another revision is in force"),
    ("state-lost", 409, "A node would lose its state"),
    ("stopped", 503, "The system has stopped"),
    ("timed-out", 422, "The deployment took too long"),
    ("too-many-requests", 429, "Requests come too fast"),
    ("too-slow", 408, "The body came too slowly"),
    ("trial-failed", 422, "A model failed on its trial row"),
    ("unauthorized", 401, "No valid token was sent"),
    ("unknown-artifact", 404, "There is no such artifact"),
    ("unknown-model", 404, "There is no such model"),
    ("unknown-node", 404, "There is no such node"),
    ("unknown-revision", 404, "There is no such revision"),
    ("unknown-route", 404, "There is no such path"),
    ("unknown-topology", 404, "No such topology runs"),
    ("unused-artifact", 422, "An artifact is named by no manifest"),
    ("which-topology", 422, "Several topologies run"),
];

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    /// The methods of a path that has no such method.
    allow: Option<String>,
}

#[derive(Serialize)]
struct Body<'p> {
    r#type: String,
    title: &'p str,
    status: u16,
    code: &'p str,
    detail: &'p str,
    /// The detail once more, under the name that clients of the inference protocol look for.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'p str>,
}

impl Problem {
    pub(crate) fn new(code: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        match CODES.iter().find(|known| known.0 == code) {
            Some(known) => Self { code: *known, detail, allow: None },
            None => {
                let detail = format!("{code}: {detail}");
                Self { code: ("registry", 500, "A problem without a code"), detail, allow: None }
            }
        }
    }

    /// That a path has other methods only.
    pub(crate) fn other_methods(method: &str, known: &[&str]) -> Self {
        let known = known.join(", ");
        let reason = format!("this path has no {}, but {known}", method.escape_debug());
        Self { allow: Some(known), ..Self::new("method-not-allowed", reason) }
    }

    /// As it is answered on a path.
    pub(crate) fn response(&self, path: &str) -> HttpResponse {
        let (code, status, title) = self.code;
        let place = env!("CARGO_PKG_REPOSITORY");
        let body = Body {
            r#type: format!("{place}/blob/main/docs/errors/{code}.md"),
            title,
            status,
            code,
            detail: &self.detail,
            error: path.starts_with("/v2").then_some(&self.detail),
        };
        let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or_default());
        response.content_type("application/problem+json");
        if status == 401 {
            response.insert_header(("WWW-Authenticate", "Bearer"));
        }
        if let Some(allow) = &self.allow {
            response.insert_header(("Allow", allow.as_str()));
        }
        if matches!(code, "too-many-requests" | "busy") {
            response.insert_header(("Retry-After", "1"));
        }
        if matches!(code, "body-too-large" | "content-encoding" | "too-slow") {
            response.force_close();
        }
        response.body(serde_json::to_string(&body).unwrap_or_default())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(&refusal.code, refusal.reason)
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<DeployError> for Problem {
    fn from(error: DeployError) -> Self {
        Refusal::from(error).into()
    }
}
