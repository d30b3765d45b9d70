//! Dead letters: what could not be used, and once more after a fix.

use std::sync::Arc;

use gristmill::ReplayedRow;
use gristmill::deployer::REPLAY_MAX;
use gristmill::letters::{Kept, LetterFolder, LetterQuery};
use gristmill::words::{Key, NodeId, Value};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::call::{Answer, Answering, Call};
use crate::problem::Problem;

/// Most letters in one answer.
const LISTED: usize = 100;
/// The highest number of a letter that JSON says exactly.
pub(crate) const ID_MAX: u64 = (1 << 53) - 1;
/// Most bytes of a record that are shown.
const RECORD_BYTES_SHOWN: usize = 4_096;

/// The newest letters first; `before` goes on from there.
pub(crate) fn list(call: Call) -> Answering {
    Box::pin(async move {
        let before = match call.query.get("before") {
            None => None,
            Some(text) => {
                Some(text.parse().map_err(|_| Problem::new("bad-query", "`before` is the number of a letter"))?)
            }
        };
        let replayed = match call.query.get("replayed").map(String::as_str) {
            None | Some("false") => false,
            Some("" | "true") => true,
            Some(_) => return Err(Problem::new("bad-query", "`replayed` is true or false")),
        };
        let (node, key) = (call.query.get("node"), call.query.get("key"));
        let query = LetterQuery { before, replayed, ..meant(&call, node, key)? };
        let letters = Arc::clone(call.deployer().letters());
        let shown = tokio::task::spawn_blocking(move || {
            let (found, more) = letters.newest(&query, LISTED)?;
            Ok::<_, std::io::Error>((found.iter().map(|kept| shown(kept, &letters)).collect::<Vec<_>>(), more))
        });
        let (letters, more) = shown
            .await
            .map_err(|error| Problem::new("registry", error.to_string()))?
            .map_err(|error| Problem::new("registry", format!("the dead letters cannot be read: {error}")))?;
        Ok(Answer::Json(json!({ "letters": letters, "more": more })))
    })
}

/// Which letters are to be replayed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default, deserialize_with = "numbers")]
    ids: Option<Vec<u64>>,
    #[serde(default, deserialize_with = "text")]
    node: Option<String>,
    #[serde(default, deserialize_with = "text")]
    key: Option<String>,
    /// Only letters after this one.
    #[serde(default, deserialize_with = "number")]
    after: Option<u64>,
}

/// Numbers of letters.
fn numbers<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u64>>, D::Error> {
    let numbers: Vec<serde_json::Number> = Vec::deserialize(deserializer)?;
    let numbers: Option<Vec<u64>> = numbers.iter().map(whole_number).collect();
    numbers.map(Some).ok_or_else(|| serde::de::Error::custom(format!("`ids` are whole numbers from 0 to {ID_MAX}")))
}

/// The number of a letter.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let known = whole_number(&number).map(Some);
    known.ok_or_else(|| serde::de::Error::custom(format!("`after` is a whole number from 0 to {ID_MAX}")))
}

/// A whole number that JSON says exactly; `17.0` is one as well, as JSON has no whole numbers.
fn whole_number(number: &serde_json::Number) -> Option<u64> {
    let whole = |number: &f64| number.fract() == 0.0 && (0.0..=ID_MAX as f64).contains(number);
    match number.as_u64() {
        Some(id) => Some(id).filter(|id| *id <= ID_MAX),
        None => number.as_f64().filter(whole).map(|number| number as u64),
    }
}

/// A text; null is none.
fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

pub(crate) fn replay(call: Call) -> Answering {
    Box::pin(async move {
        let asked: Asked = call.object()?;
        if asked.ids.is_none() && asked.node.is_none() && asked.key.is_none() {
            return Err(Problem::new("bad-body", "say which letters: `ids`, `node` or `key`"));
        }
        if asked.ids.as_ref().is_some_and(|ids| ids.is_empty() || ids.len() > REPLAY_MAX) {
            return Err(Problem::new("bad-body", format!("`ids` has 1 to {REPLAY_MAX} numbers")));
        }
        let query = LetterQuery {
            ids: asked.ids.unwrap_or_default(),
            after: asked.after,
            ..meant(&call, asked.node.as_ref(), asked.key.as_ref())?
        };
        let done = call.deployer().replay(&query, &call.who).await?;
        let replayed: Vec<Json> = done.replayed.iter().map(|(id, row)| computed(*id, row)).collect();
        let refused: Vec<Json> =
            done.refused.iter().map(|(id, reason)| json!({ "id": id, "reason": reason })).collect();
        Ok(Answer::Json(json!({ "replayed": replayed, "refused": refused, "next": done.next })))
    })
}

/// Those of a topology, a node and a key, as far as they are named.
fn meant(call: &Call, node: Option<&String>, key: Option<&String>) -> Result<LetterQuery, Problem> {
    let key = key.map(|key| Call::key(key).map(Key::from)).transpose()?;
    let source = call.topology()?.map(|class| class.to_string());
    Ok(LetterQuery { source, node: node.map(|node| NodeId::from(node.as_str())), key, ..LetterQuery::default() })
}

fn computed(id: u64, row: &ReplayedRow) -> Json {
    let failed: Vec<Json> = row.failed.iter().map(|(node, reason)| json!({ "node": node, "reason": reason })).collect();
    json!({ "id": id, "revision": row.revision, "values": row.values, "left_out": row.left_out, "failed": failed })
}

fn shown(kept: &Kept, letters: &LetterFolder) -> Json {
    let letter = &kept.letter;
    let values: Map<String, Json> = letter.values.iter().map(|(name, value)| (name.clone(), value_of(value))).collect();
    let record = letter.record.as_ref().map(|record| {
        let bytes = &record.payload[..record.payload.len().min(RECORD_BYTES_SHOWN)];
        json!({ "bytes": record.payload.len(), "text": String::from_utf8_lossy(bytes) })
    });
    let replayed = letters.replayed(kept.id);
    let replayed = replayed.map(|mark| json!({ "revision": mark.revision, "when": mark.when, "who": mark.who }));
    json!({
        "id": kept.id,
        "when": kept.when,
        "topology": &*letter.source,
        "partition": letter.source_partition,
        "offset": letter.cause.offset,
        "row": letter.cause.row,
        "key": letter.key,
        "node": letter.node,
        "time": letter.time,
        "reason": letter.reason,
        "values": values,
        "record": record,
        "replayed": replayed,
    })
}

/// As people write it: the shortest number that has the same bits.
fn value_of(value: &Value) -> Json {
    let number = |text: String| serde_json::from_str(&text).unwrap_or(Json::String(text));
    match value {
        Value::F32(value) => number(format!("{value:?}")),
        Value::F64(value) => number(format!("{value:?}")),
        Value::I64(value) => json!(value),
        Value::Bool(value) => json!(value),
        Value::Str(value) => json!(value),
        Value::Vector(values) => values.iter().map(|value| number(format!("{value:?}"))).collect(),
    }
}
