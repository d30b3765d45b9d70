//! The schemas of what is sent and answered, by the names that the table of routes calls them.

#![expect(clippy::needless_pass_by_value, reason = "schemas are built inside each other, and read once")]

use gristmill::deployer::REPLAY_MAX;
use gristmill::words::NAME_BYTES_MAX;
use serde_json::{Map, Value, json};

use crate::call::SELECTOR_BYTES_MAX;
use crate::problem::CODES;
use crate::resources::dead_letters::ID_MAX;

/// What a name consists of; see [`gristmill::words::check_name`].
const NAME: &str = "^[A-Za-z0-9](?:[A-Za-z0-9_:/-]|\\.(?!\\.))*$";

/// What a key consists of: anything but control characters.
const KEY: &str = "^[^\\x00-\\x1f\\x7f-\\x9f]+$";

/// The name of a node: a name, and the selector of one that is not for all keys behind an `@`.
pub(super) fn node_name() -> Value {
    let rest = NAME_BYTES_MAX - 1;
    let pattern = format!(
        r"^[A-Za-z0-9](?:[A-Za-z0-9_:/-]|\.(?!\.)){{0,{rest}}}(?:@[^\x00-\x1f\x7f-\x9f]{{1,{SELECTOR_BYTES_MAX}}})?$"
    );
    let longest = NAME_BYTES_MAX + 1 + SELECTOR_BYTES_MAX;
    json!({ "type": "string", "minLength": 1, "maxLength": longest, "pattern": pattern })
}

/// The same as a part of a form.
fn of_node(description: &str) -> Value {
    let mut name = node_name();
    name["description"] = description.into();
    name
}

/// All of them.
pub(super) fn schemas() -> Value {
    let mut all = Map::new();
    for group in [problem(), words(), system(), nodes(), revisions(), kept(), letters(), inference(), repository()] {
        if let Value::Object(group) = group {
            all.extend(group);
        }
    }
    Value::Object(all)
}

fn of(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn list_of(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn map_of(values: Value) -> Value {
    json!({ "type": "object", "additionalProperties": values })
}

/// An object that has all of these fields.
fn object(fields: Value) -> Value {
    let required: Vec<String> = fields.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    json!({ "type": "object", "required": required, "properties": fields })
}

/// An object that may have these fields.
fn open(required: &[&str], fields: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": fields })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn truth() -> Value {
    json!({ "type": "boolean" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn problem() -> Value {
    let codes: Vec<&str> = CODES.iter().map(|(code, _, _)| *code).collect();
    json!({
        "Problem": open(&["type", "title", "status", "code", "detail"], json!({
            "type": { "type": "string", "format": "uri" },
            "title": text(),
            "status": count(),
            "code": { "type": "string", "enum": codes },
            "detail": text(),
            "error": { "type": "string", "description": "The detail once more, on the paths of the inference protocol." },
        })),
    })
}

fn words() -> Value {
    json!({
        "Name": { "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": NAME },
        "Key": { "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX, "pattern": KEY },
        "Digest": { "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "A SHA-256." },
        "RevisionNumber": count(),
        "Object": { "type": "object" },
        "Text": text(),
        "Scalar": { "type": ["number", "string", "boolean", "null"] },
    })
}

fn system() -> Value {
    json!({
        "Live": object(json!({ "live": truth() })),
        "Ready": object(json!({ "ready": truth() })),
        "Topologies": object(json!({
            "revision": of("RevisionNumber"),
            "topologies": list_of(object(json!({
                "class": of("Name"), "revision": of("RevisionNumber"), "keys": count(), "nodes": count(),
            }))),
        })),
        "KeyValues": object(json!({
            "key": text(),
            "topology": of("Name"),
            "revision": of("RevisionNumber"),
            "watched": truth(),
            "streams": of("Object"),
            "nodes": map_of(object(json!({ "state": of("Object"), "reasons": list_of(json!({})) }))),
            "more": count(),
        })),
        "Audit": object(json!({
            "lines": list_of(object(json!({
                "when": { "type": "integer" },
                "who": text(),
                "what": text(),
                "revision": { "type": ["integer", "null"] },
                "content": { "type": ["string", "null"] },
                "note": text(),
            }))),
            "older": count(),
        })),
    })
}

fn nodes() -> Value {
    let states = ["pending", "unused", "staged", "running", "paused", "quarantined", "draining", "retired"];
    json!({
        "Node": object(json!({
            "id": text(),
            "topology": of("Name"),
            "state": { "type": "string", "enum": states },
            "kind": { "type": "string", "enum": ["sensor", "operator", "model", "sink"] },
            "born": { "type": ["integer", "null"] },
            "wiring": text(),
            "counts": map_of(count()),
            "nan": count(),
            "out_of_range": count(),
            "forgotten": count(),
            "quarantined_keys": count(),
            "quarantined": { "type": "boolean" },
            "overruns": count(),
            "lost_threads": count(),
            "busy_seconds": { "type": "number", "minimum": 0 },
            "memory_bytes": { "type": ["integer", "null"] },
        })),
        "Actors": object(json!({
            "actors": list_of(object(json!({
                "node": text(),
                "topology": of("Name"),
                "born": of("RevisionNumber"),
                "shard": count(),
                "waiting": count(),
                "mailbox": count(),
            }))),
            "more": count(),
        })),
        "Nodes": object(json!({ "revision": of("RevisionNumber"), "nodes": list_of(of("Node")), "more": count() })),
        "Explained": object(json!({ "text": text(), "explanation": of("Object") })),
        "NodesForm": {
            "type": "object",
            "properties": {
                "manifest": { "type": "string", "description": "A manifest, JSON or TOML; several are one change set." },
                "remove": of_node("A node to remove in the same step."),
                "reset": of_node("A node whose state begins anew."),
            },
            "propertyNames": { "minLength": 1, "pattern": "^[^\\\\\"\\x00-\\x1f\\x7f-\\x9f]+$" },
            "additionalProperties": {
                "type": "string",
                "format": "binary",
                "description": "An artifact under the name that a manifest calls it; `artifact:NAME` has the SHA-256 of a kept one.",
            },
        },
        "Manifest": { "type": "object", "description": "docs/manifests.md has its fields." },
    })
}

fn revisions() -> Value {
    let summary = json!({
        "revision": of("RevisionNumber"),
        "base": of("RevisionNumber"),
        "topology": text(),
        "kind": open(&["is"], json!({ "is": { "enum": ["start", "deploy", "facts", "rollback"] }, "to": of("RevisionNumber") })),
        "who": text(),
        "when": { "type": "integer", "description": "In microseconds since 1970." },
        "verdict": open(&["is"], json!({
            "is": { "enum": ["begun", "applied", "unchanged", "refused", "interrupted"] },
            "changes": text(),
            "code": text(),
            "reason": text(),
        })),
    });
    let set = object(json!({ "manifest": of("Digest"), "artifacts": map_of(of("Digest")) }));
    let mut whole = summary.clone();
    whole["put"] = list_of(set);
    whole["remove"] = list_of(text());
    whole["content"] = map_of(of("Object"));
    json!({
        "Outcome": object(json!({
            "revision": of("RevisionNumber"),
            "base": of("RevisionNumber"),
            "topology": of("Name"),
            "verdict": { "type": "string", "enum": ["applied", "unchanged", "dry_run"] },
            "changes": text(),
            "repeated": truth(),
        })),
        "Revisions": object(json!({ "in_force": of("RevisionNumber"), "revisions": list_of(object(summary)) })),
        "Revision": object(whole),
        "Difference": object(json!({
            "from": of("RevisionNumber"),
            "to": of("RevisionNumber"),
            "topologies": map_of(object(json!({
                "added": list_of(text()),
                "removed": list_of(text()),
                "changed": list_of(text()),
                "host_nodes_removed": list_of(text()),
                "host_nodes_back": list_of(text()),
            }))),
        })),
    })
}

fn kept() -> Value {
    let element = json!({ "type": "string", "enum": ["f32", "f64", "i64", "bool", "str"] });
    let name = json!({ "pattern": NAME, "maxLength": NAME_BYTES_MAX });
    json!({
        "AttributeChange": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "types": { "type": "object", "propertyNames": name, "additionalProperties": element },
                "keys": {
                    "type": "object",
                    "propertyNames": { "minLength": 1, "maxLength": NAME_BYTES_MAX },
                    "additionalProperties": {
                        "type": "object", "propertyNames": name, "additionalProperties": of("Scalar"),
                    },
                },
            },
        },
        "Attributes": object(json!({
            "types": map_of(text()), "keys": map_of(map_of(of("Scalar"))), "more": count(),
        })),
        "KeyAttributes": object(json!({ "key": text(), "attributes": map_of(of("Scalar")) })),
        "Artifact": object(json!({ "sha256": of("Digest"), "bytes": count() })),
        "Artifacts": object(json!({ "artifacts": list_of(of("Artifact")), "more": count() })),
    })
}

fn letters() -> Value {
    let id = json!({ "type": "integer", "minimum": 0, "maximum": ID_MAX });
    let null_or = |of: &str| json!({ "type": [of, "null"] });
    json!({
        "DeadLetter": object(json!({
            "id": count(),
            "when": { "type": "integer", "description": "In microseconds since 1970." },
            "topology": of("Name"),
            "partition": count(),
            "offset": { "type": "integer" },
            "row": count(),
            "key": null_or("string"),
            "node": null_or("string"),
            "time": null_or("integer"),
            "reason": text(),
            "values": of("Object"),
            "record": null_or("object"),
            "replayed": null_or("object"),
        })),
        "DeadLetters": object(json!({ "letters": list_of(of("DeadLetter")), "more": truth() })),
        "Replay": {
            "type": "object",
            "additionalProperties": false,
            "anyOf": [{ "required": ["ids"] }, { "required": ["node"] }, { "required": ["key"] }],
            "properties": {
                "ids": { "type": "array", "minItems": 1, "maxItems": REPLAY_MAX, "items": id },
                "node": text(),
                "key": of("Key"),
                "after": id,
            },
        },
        "Replays": object(json!({
            "replayed": list_of(object(json!({
                "id": count(),
                "revision": of("RevisionNumber"),
                "values": count(),
                "left_out": list_of(text()),
                "failed": list_of(object(json!({ "node": text(), "reason": text() }))),
            }))),
            "refused": list_of(object(json!({ "id": count(), "reason": text() }))),
            "next": null_or("integer"),
        })),
    })
}

fn inference() -> Value {
    let tensor = |wanted: Value| {
        object(json!({
            "name": text(),
            "datatype": { "type": "string", "enum": ["FP32", "FP64", "INT64", "BOOL", "BYTES"] },
            "shape": list_of(wanted),
        }))
    };
    let mut input = tensor(count());
    input["properties"]["shape"]["maxItems"] = json!(8);
    input["properties"]["data"] = json!({ "type": "array" });
    input["properties"]["parameters"] = open(&[], json!({ "binary_data_size": count() }));
    let mut output = tensor(count());
    output["properties"]["data"] = list_of(of("Scalar"));
    output["properties"]["parameters"] = object(json!({ "binary_data_size": count() }));
    json!({
        "Server": object(json!({ "name": text(), "version": text(), "extensions": list_of(text()) })),
        "Model": object(json!({
            "name": text(),
            "versions": list_of(text()),
            "platform": text(),
            "inputs": list_of(tensor(json!({ "type": "integer" }))),
            "outputs": list_of(tensor(json!({ "type": "integer" }))),
        })),
        "ModelReady": object(json!({ "name": text(), "ready": truth() })),
        "Inference": open(&["inputs"], json!({
            "id": text(),
            "parameters": open(&[], json!({
                "key": of("Key"),
                "binary_data_output": truth(),
            })),
            "inputs": list_of(input),
            "outputs": list_of(open(&["name"], json!({
                "name": text(), "parameters": open(&[], json!({ "binary_data": truth() })),
            }))),
        })),
        "Inferred": open(&["model_name", "model_version", "outputs"], json!({
            "model_name": text(), "model_version": text(), "id": text(), "outputs": list_of(output),
        })),
    })
}

fn repository() -> Value {
    json!({
        "IndexRequest": open(&[], json!({ "ready": truth() })),
        "Index": list_of(open(&["name", "version", "state"], json!({
            "name": text(),
            "version": text(),
            "state": { "type": "string", "enum": ["READY", "UNAVAILABLE"] },
            "reason": text(),
        }))),
        "LoadRequest": open(&[], json!({ "parameters": { "type": "object", "maxProperties": 0 } })),
        "UnloadRequest": open(&[], json!({
            "parameters": open(&[], json!({ "unload_dependents": { "type": "boolean", "const": false } })),
        })),
    })
}
