//! Every route, in one table: what is not in it is denied.

use crate::call::{Answering, Call};
use crate::resources::{artifacts, attributes, audit, health, keys, nodes, revisions, topologies};
use crate::tokens::Scope;

/// A route.
pub struct Route {
    /// `GET`, `PUT`, …
    pub method: &'static str,
    /// Its path; parts in braces are open.
    pub path: &'static str,
    /// What a token must allow.
    pub scope: Scope,
    /// Parameters that it knows.
    pub query: &'static [&'static str],
    /// Whether it takes a body.
    pub body: bool,
    /// What it does.
    pub summary: &'static str,
    pub(crate) answer: fn(Call) -> Answering,
}

const NONE: &[&str] = &[];
const TERMS: &[&str] = &["dry_run", "topology"];

const fn route(
    method: &'static str,
    path: &'static str,
    scope: Scope,
    query: &'static [&'static str],
    summary: &'static str,
    answer: fn(Call) -> Answering,
) -> Route {
    Route { method, path, scope, query, body: false, summary, answer }
}

const fn with_body(mut route: Route) -> Route {
    route.body = true;
    route
}

/// All routes.
pub const ROUTES: [Route; 26] = [
    route("GET", "/livez", Scope::Open, NONE, "Whether the process answers", health::live),
    route("GET", "/readyz", Scope::Open, NONE, "Whether a source brings rows", health::ready),
    route("GET", "/metrics", Scope::Read, NONE, "Metrics in the text format of Prometheus", health::metrics),
    route("GET", "/v1/openapi.json", Scope::Read, NONE, "This description", crate::openapi::answer),
    with_body(route("PUT", "/v1/nodes", Scope::Deploy, TERMS, "Deploys manifests as one change set", nodes::put)),
    route("GET", "/v1/nodes", Scope::Read, &["top", "topology"], "Running nodes with what they did", nodes::list),
    route("GET", "/v1/nodes/{id}", Scope::Read, &["topology"], "One node", nodes::get),
    route("DELETE", "/v1/nodes/{id}", Scope::Deploy, TERMS, "Removes a node", nodes::delete),
    route("POST", "/v1/nodes/{id}/pause", Scope::Deploy, TERMS, "Makes a node compute nothing", nodes::pause),
    route("POST", "/v1/nodes/{id}/resume", Scope::Deploy, TERMS, "Ends a pause, and quarantines", nodes::resume),
    route("POST", "/v1/nodes/{id}/reset", Scope::Deploy, TERMS, "Lets a node's state begin anew", nodes::reset),
    route(
        "GET",
        "/v1/nodes/{id}/explain",
        Scope::Read,
        &["key", "topology"],
        "Why a node did or did not write for a key",
        nodes::explain,
    ),
    route("GET", "/v1/topologies", Scope::Read, NONE, "The plans that run", topologies::list),
    route("GET", "/v1/topologies/{class}", Scope::Read, NONE, "One plan", topologies::get),
    route("GET", "/v1/revisions", Scope::Read, NONE, "The revisions that are kept", revisions::list),
    route("GET", "/v1/revisions/{n}", Scope::Read, NONE, "One revision", revisions::get),
    route("GET", "/v1/revisions/{n}/diff", Scope::Read, &["to"], "What differs between two revisions", revisions::diff),
    route("POST", "/v1/revisions/{n}/rollback", Scope::Deploy, TERMS, "Goes back", revisions::rollback),
    route("GET", "/v1/keys/{key}", Scope::Read, &["topology"], "The last values of a key", keys::get),
    route("GET", "/v1/attributes", Scope::Read, &["topology"], "What is known of keys", attributes::list),
    route("GET", "/v1/attributes/{key}", Scope::Read, &["topology"], "What is known of a key", attributes::get),
    with_body(route("PUT", "/v1/attributes", Scope::Deploy, TERMS, "Changes what is known of keys", attributes::put)),
    route("GET", "/v1/artifacts", Scope::Read, NONE, "What is kept, by content", artifacts::list),
    route("GET", "/v1/artifacts/{sha256}", Scope::Read, NONE, "The bytes of an artifact", artifacts::get),
    with_body(route("PUT", "/v1/artifacts", Scope::Deploy, NONE, "Keeps the body as an artifact", artifacts::put)),
    route("GET", "/v1/audit", Scope::Admin, NONE, "Everything that was done or refused", audit::list),
];

/// What a method and a path lead to.
pub(crate) enum Found {
    Route(&'static Route, Vec<String>),
    OtherMethods,
    Nothing,
}

static TABLE: [Route; ROUTES.len()] = ROUTES;

/// The route of a path as it was sent, with its open parts decoded.
pub(crate) fn find(method: &str, path: &str) -> Found {
    let mut found = Found::Nothing;
    for route in &TABLE {
        let Some(open) = open_parts(route.path, path) else { continue };
        if route.method == method {
            return Found::Route(route, open);
        }
        found = Found::OtherMethods;
    }
    found
}

/// The open parts of a path; `None` when it is another path, or says what is no text.
fn open_parts(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    let mut open = Vec::new();
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(open),
            (Some(wanted), Some(part)) if wanted.starts_with('{') => {
                open.push(decode(part).filter(|part| !part.is_empty())?);
            }
            (Some(wanted), Some(part)) if wanted == part => {}
            _ => return None,
        }
    }
}

/// A text with `%2F` and the like decoded, once.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'%' => bytes.push(u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}
