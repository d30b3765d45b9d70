//! Facts about keys.

use gristmill::deployer::{AttributeChange, ChangeSet};
use gristmill::topology::KeyAttributes;
use gristmill::words::{Key, Value};
use serde_json::{Map, Value as Json, json};

use crate::call::{Answer, Answering, Call};
use crate::problem::Problem;

pub(crate) fn list(call: Call) -> Answering {
    Box::pin(async move {
        let attributes = attributes(&call).await?;
        let types: Map<String, Json> =
            attributes.types().iter().map(|(name, element)| (name.to_string(), json!(element.to_string()))).collect();
        let most = call.site.limits.listed;
        let keys: Map<String, Json> =
            attributes.keys().take(most).map(|key| (key.to_string(), facts(&attributes.of(key)))).collect();
        let more = attributes.keys().count().saturating_sub(most);
        Ok(Answer::Json(json!({ "types": types, "keys": keys, "more": more })))
    })
}

pub(crate) fn get(call: Call) -> Answering {
    Box::pin(async move {
        let key = Key::from(Call::key(&call.path[0])?);
        let attributes = attributes(&call).await?;
        Ok(Answer::Json(json!({ "key": key, "attributes": facts(&attributes.of(&key)) })))
    })
}

pub(crate) fn put(call: Call) -> Answering {
    Box::pin(async move {
        let change: AttributeChange = call.object()?;
        call.deploy(ChangeSet::new().attributes(change)).await
    })
}

async fn attributes(call: &Call) -> Result<std::sync::Arc<gristmill::topology::Attributes>, Problem> {
    let plan = call.handle().plan(call.topology()?.as_ref()).await;
    let plan = plan.ok_or_else(|| Problem::new("unknown-topology", "no such topology runs"))?;
    Ok(std::sync::Arc::clone(&plan.base.attributes))
}

fn facts(attributes: &KeyAttributes) -> Json {
    let plain = |value: &Value| match value {
        Value::F32(number) => json!(number),
        Value::F64(number) => json!(number),
        Value::I64(number) => json!(number),
        Value::Bool(value) => json!(value),
        Value::Str(text) => json!(text.as_str()),
        Value::Vector(numbers) => json!(numbers),
    };
    Json::Object(attributes.iter().map(|(name, value)| (name.to_string(), plain(value))).collect())
}
