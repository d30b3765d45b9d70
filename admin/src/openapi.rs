//! The description of the API, made from the table of routes.

use serde_json::{Map, Value, json};

use crate::call::{Answer, Answering, Call};
use crate::problem::CODES;
use crate::routes::{ROUTES, Route};
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
    let codes: Vec<&str> = CODES.iter().map(|(code, _, _)| *code).collect();
    json!({
        "openapi": "3.1.0",
        "info": { "title": "gristmill admin API", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": {
                "Problem": {
                    "type": "object",
                    "required": ["type", "title", "status", "code", "detail"],
                    "properties": {
                        "type": { "type": "string", "format": "uri" },
                        "title": { "type": "string" },
                        "status": { "type": "integer" },
                        "code": { "type": "string", "enum": codes },
                        "detail": { "type": "string" }
                    }
                }
            }
        }
    })
}

fn operation(route: &Route) -> Value {
    let open = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str, place: &str, required: bool| json!({ "name": name, "in": place, "required": required, "schema": { "type": "string" } });
    let mut parameters: Vec<Value> = open.map(|name| parameter(name, "path", true)).collect();
    parameters.extend(route.query.iter().map(|name| parameter(name, "query", false)));
    if route.query.contains(&"dry_run") {
        parameters.extend(["If-Match", "Idempotency-Key"].map(|name| parameter(name, "header", false)));
    }
    let problem = json!({
        "description": "Problem details (RFC 9457)",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } }
    });
    let mut operation = json!({
        "summary": route.summary,
        "description": format!("Needs the scope {}.", route.scope),
        "parameters": parameters,
        "responses": { "200": { "description": "Done" }, "default": problem }
    });
    if route.scope != Scope::Open {
        operation["security"] = json!([{ "token": [] }]);
    }
    if route.body {
        let binary = json!({ "schema": { "type": "string", "format": "binary" } });
        operation["requestBody"] = match route.path {
            "/v1/nodes" => json!({ "required": true, "content": {
                "multipart/form-data": { "schema": { "type": "object" } },
                "application/json": { "schema": { "type": "object" } },
                "application/toml": { "schema": { "type": "string" } }
            } }),
            _ => json!({ "required": true, "content": { "application/octet-stream": binary } }),
        };
    }
    operation
}
