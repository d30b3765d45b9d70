//! The description of the API, made from the table of routes.

pub(crate) mod page;
mod schemas;

use serde_json::{Map, Value, json};

use self::schemas::{node_name, schemas};
use crate::call::{Answer, Answering, Call};
use crate::routes::{Body, ROUTES, Route};
use crate::tokens::Scope;

pub(crate) fn answer(_: Call) -> Answering {
    Box::pin(async { Ok(Answer::Json(description())) })
}

/// OpenAPI 3.1.
pub(crate) fn description() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in &ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "gristmill admin API", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        }
    })
}

fn operation(route: &Route) -> Value {
    let open = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = open.map(|name| parameter(name, "path", true)).collect();
    parameters.extend(route.query.iter().map(|name| parameter(name, "query", is_needed(route, name))));
    if route.query.contains(&"dry_run") {
        parameters.extend(["If-Match", "Idempotency-Key"].map(|name| parameter(name, "header", false)));
    }
    let problem = json!({
        "description": "Problem details (RFC 9457)",
        "content": { "application/problem+json": { "schema": schema("Problem") } }
    });
    let tag = route.path.split('/').find(|part| !part.is_empty() && !part.starts_with('v'));
    let good = match route.gives {
        "Moved" => json!({ "307": { "description": "It is where `Location` says" } }),
        gives => json!({ "200": { "description": "Done", "content": content(gives) } }),
    };
    let mut operation = json!({
        "summary": route.summary,
        "description": format!("Needs the scope {}.", route.scope),
        "tags": [tag.unwrap_or("models")],
        "parameters": parameters,
        "responses": good,
    });
    operation["responses"]["default"] = problem;
    if route.scope != Scope::Open {
        operation["security"] = json!([{ "token": [] }]);
    }
    if route.takes != Body::None {
        operation["requestBody"] = body(route.takes);
    }
    operation
}

/// Whether a route cannot do without a parameter of its query.
fn is_needed(route: &Route, name: &str) -> bool {
    matches!((route.path, name), ("/v1/nodes/{id}/explain", "key"))
}

fn parameter(name: &str, place: &str, required: bool) -> Value {
    let of = match name {
        "n" | "to" | "before" | "If-Match" => json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
        "key" => schema("Key"),
        "class" | "topology" => schema("Name"),
        "id" => node_name(),
        // Any text: dead letters may be of a node that is long gone.
        "node" => json!({ "type": "string" }),
        "sha256" => schema("Digest"),
        "file" => json!({ "type": "string", "enum": ["index.html", "swagger-ui.css"] }),
        "dry_run" | "replayed" => json!({ "type": "string", "enum": ["true", "false", ""] }),
        "top" => json!({ "type": "string", "enum": ["cost", "memory", "errors"] }),
        _ => json!({ "type": "string", "minLength": 1 }),
    };
    json!({ "name": name, "in": place, "required": required, "schema": of })
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What an answer of a schema is sent as.
fn content(gives: &str) -> Value {
    let binary = json!({ "schema": { "type": "string", "format": "binary" } });
    match gives {
        "Text" => json!({ "text/plain": { "schema": schema(gives) } }),
        "Bytes" => json!({ "application/octet-stream": binary }),
        "Page" => json!({ "text/html": { "schema": schema("Text") }, "*/*": binary }),
        // With `Inference-Header-Content-Length` JSON and bytes behind it.
        "Inferred" => json!({ "application/json": { "schema": schema(gives) }, "application/octet-stream": binary }),
        _ => json!({ "application/json": { "schema": schema(gives) } }),
    }
}

fn body(takes: Body) -> Value {
    match takes {
        Body::None => Value::Null,
        Body::Nodes => json!({ "required": true, "content": {
            "multipart/form-data": { "schema": schema("NodesForm") },
            "application/json": { "schema": schema("Manifest") },
            "application/toml": { "schema": { "type": "string" } }
        } }),
        Body::Bytes => {
            let bytes = json!({ "schema": { "type": "string", "format": "binary", "minLength": 1 } });
            json!({ "required": true, "content": { "application/octet-stream": bytes } })
        }
        Body::Json(name) => {
            let required = !matches!(name, "IndexRequest" | "LoadRequest" | "UnloadRequest");
            json!({ "required": required, "content": { "application/json": { "schema": schema(name) } } })
        }
    }
}
