//! Every route, in one table: what is not in it is denied.

use crate::call::{Answering, Call};
use crate::inference;
use crate::openapi;
use crate::resources::{artifacts, attributes, audit, dead_letters, health, keys, nodes, revisions, topologies};
use crate::tokens::Scope;

/// What a route takes as its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// Manifests with their artifacts.
    Nodes,
    /// Bytes.
    Bytes,
    /// JSON of a schema that the description of the API names; an empty body where all of it may be left out.
    Json(&'static str),
}

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
    /// What it takes as its body.
    pub takes: Body,
    /// The schema of its answer, as the description of the API names it.
    pub gives: &'static str,
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
    Route { method, path, scope, query, takes: Body::None, gives: "Outcome", summary, answer }
}

impl Route {
    const fn takes(mut self, body: Body) -> Self {
        self.takes = body;
        self
    }

    const fn gives(mut self, schema: &'static str) -> Self {
        self.gives = schema;
        self
    }
}

const TOPOLOGY: &[&str] = &["topology"];

/// All routes. Those that change something answer with an `Outcome`, unless it says otherwise.
pub const ROUTES: [Route; 43] = [
    route("GET", "/livez", Scope::Open, NONE, "Whether the process answers", health::live).gives("Live"),
    route("GET", "/readyz", Scope::Open, NONE, "Whether a source brings rows", health::ready).gives("Ready"),
    route("GET", "/metrics", Scope::Read, NONE, "Metrics in the text format of Prometheus", health::metrics)
        .gives("Text"),
    route("GET", "/v1/openapi.json", Scope::Open, NONE, "This description", openapi::answer).gives("Object"),
    route("GET", "/v1/docs", Scope::Open, NONE, "Leads to the page for people", openapi::page::moved).gives("Moved"),
    route("GET", "/v1/docs/{file}", Scope::Open, NONE, "The page for people", openapi::page::file).gives("Page"),
    route("PUT", "/v1/nodes", Scope::Deploy, TERMS, "Deploys manifests as one change set", nodes::put)
        .takes(Body::Nodes),
    route("GET", "/v1/nodes", Scope::Read, &["top", "topology"], "Running nodes with what they did", nodes::list)
        .gives("Nodes"),
    route("GET", "/v1/nodes/{id}", Scope::Read, TOPOLOGY, "One node", nodes::get).gives("Node"),
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
    )
    .gives("Explained"),
    route("GET", "/v1/actors", Scope::Read, TOPOLOGY, "The actors of nodes, and what waits for them", nodes::actors)
        .gives("Actors"),
    route("GET", "/v1/topologies", Scope::Read, NONE, "The plans that run", topologies::list).gives("Topologies"),
    route("GET", "/v1/topologies/{class}", Scope::Read, NONE, "One plan", topologies::get).gives("Object"),
    route("GET", "/v1/revisions", Scope::Read, NONE, "The revisions that are kept", revisions::list).gives("Revisions"),
    route("GET", "/v1/revisions/{n}", Scope::Read, NONE, "One revision", revisions::get).gives("Revision"),
    route("GET", "/v1/revisions/{n}/diff", Scope::Read, &["to"], "What differs between two revisions", revisions::diff)
        .gives("Difference"),
    route("POST", "/v1/revisions/{n}/rollback", Scope::Deploy, TERMS, "Goes back", revisions::rollback),
    route("GET", "/v1/keys/{key}", Scope::Read, TOPOLOGY, "The last values of a key", keys::get).gives("KeyValues"),
    route("GET", "/v1/attributes", Scope::Read, TOPOLOGY, "What is known of keys", attributes::list)
        .gives("Attributes"),
    route("GET", "/v1/attributes/{key}", Scope::Read, TOPOLOGY, "What is known of a key", attributes::get)
        .gives("KeyAttributes"),
    route("PUT", "/v1/attributes", Scope::Deploy, TERMS, "Changes what is known of keys", attributes::put)
        .takes(Body::Json("AttributeChange")),
    route("GET", "/v1/artifacts", Scope::Read, NONE, "What is kept, by content", artifacts::list).gives("Artifacts"),
    route("GET", "/v1/artifacts/{sha256}", Scope::Read, NONE, "The bytes of an artifact", artifacts::get)
        .gives("Bytes"),
    route("PUT", "/v1/artifacts", Scope::Deploy, NONE, "Keeps the body as an artifact", artifacts::put)
        .takes(Body::Bytes)
        .gives("Artifact"),
    route(
        "GET",
        "/v1/dead-letters",
        Scope::Read,
        &["before", "key", "node", "replayed", "topology"],
        "What could not be used, the newest first",
        dead_letters::list,
    )
    .gives("DeadLetters"),
    route(
        "POST",
        "/v1/dead-letters/replay",
        Scope::Deploy,
        TOPOLOGY,
        "Takes dead letters once more, in their order",
        dead_letters::replay,
    )
    .takes(Body::Json("Replay"))
    .gives("Replays"),
    route("GET", "/v1/audit", Scope::Admin, NONE, "Everything that was done or refused", audit::list).gives("Audit"),
    route("GET", "/v2", Scope::Read, NONE, "Which inference server this is", inference::server).gives("Server"),
    route("GET", "/v2/health/live", Scope::Open, NONE, "Whether the server answers", health::live).gives("Live"),
    route("GET", "/v2/health/ready", Scope::Open, NONE, "Whether a source brings rows", health::ready).gives("Ready"),
    route("GET", "/v2/models/{id}", Scope::Read, TOPOLOGY, MODEL, inference::model).gives("Model"),
    route("GET", "/v2/models/{id}/versions/{version}", Scope::Read, TOPOLOGY, MODEL, inference::model).gives("Model"),
    route("GET", "/v2/models/{id}/ready", Scope::Read, TOPOLOGY, READY, inference::model_ready).gives("ModelReady"),
    route("GET", "/v2/models/{id}/versions/{version}/ready", Scope::Read, TOPOLOGY, READY, inference::model_ready)
        .gives("ModelReady"),
    route("POST", "/v2/models/{id}/infer", Scope::Read, TOPOLOGY, INFER, inference::infer)
        .takes(Body::Json("Inference"))
        .gives("Inferred"),
    route("POST", "/v2/models/{id}/versions/{version}/infer", Scope::Read, TOPOLOGY, INFER, inference::infer)
        .takes(Body::Json("Inference"))
        .gives("Inferred"),
    route("POST", "/v2/repository/index", Scope::Read, TOPOLOGY, "Models that run or could", inference::index)
        .takes(Body::Json("IndexRequest"))
        .gives("Index"),
    route("POST", "/v2/repository/models/{id}/load", Scope::Deploy, TERMS, "Deploys a model again", inference::load)
        .takes(Body::Json("LoadRequest")),
    route("POST", "/v2/repository/models/{id}/unload", Scope::Deploy, TERMS, "Removes a model", inference::unload)
        .takes(Body::Json("UnloadRequest")),
];

const MODEL: &str = "What a model takes and gives";
const READY: &str = "Whether a model can be asked";
const INFER: &str = "Scores rows with a model, apart from the streams";

/// What a method and a path lead to.
pub(crate) enum Found {
    Route(&'static Route, Vec<String>),
    /// The path has these methods.
    OtherMethods(Vec<&'static str>),
    Nothing,
}

static TABLE: [Route; ROUTES.len()] = ROUTES;

/// The route of a path as it was sent, with its open parts decoded.
pub(crate) fn find(method: &str, path: &str) -> Found {
    let mut methods = Vec::new();
    for route in &TABLE {
        let Some(open) = open_parts(route.path, path) else { continue };
        if route.method == method {
            return Found::Route(route, open);
        }
        methods.push(route.method);
    }
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods) }
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
