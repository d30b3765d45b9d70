//! From nodes back to manifests: as JSON values, which TOML is written from too.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json, json};

use super::node::{EXPR, Lines, ModelManifest, NodeManifest, OutputName, Run};
use super::trial;
use super::words::{need_text, span_text};
use crate::topology::node::{
    AS_OF_ROWS_DEFAULT, Ask, MAX_AGE_DEFAULT, Missing, Node, NodeKind, RowRule, SLOW_THREADS_DEFAULT, Slow, Work,
};
use crate::topology::registry::Registry;
use crate::topology::selector::Selector;
use crate::topology::sensor::{BadReading, Cleaning};
use crate::words::Value;

/// Why a node cannot be written as a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unwritable {
    /// It runs a closure, or an operator that says its parameters otherwise than the registry takes them.
    #[error("the node `{node}` runs `{operator}`, which no manifest can name: {reason}")]
    Operator {
        /// The node.
        node: String,
        /// The operator.
        operator: String,
        /// Why not.
        reason: String,
    },
    /// It scores with artifacts, and where their files are is not known to the node.
    #[error("the node `{node}` scores with loaded artifacts; keep the manifest that it came from")]
    Artifact {
        /// The node.
        node: String,
    },
    /// It says something that manifests do not have.
    #[error("the node `{node}` has `{field}`, which its manifest could not say")]
    Field {
        /// The node.
        node: String,
        /// What it has.
        field: &'static str,
    },
}

impl NodeManifest {
    /// The manifest of a node, where there is one: sensors, sinks, and operators that `registry` makes again from
    /// their own parameters.
    ///
    /// # Errors
    /// When reading the manifest would not give the same node.
    pub fn of(node: &Node, registry: &Registry) -> Result<Self, Unwritable> {
        let run = match &node.work {
            Work::Sensor { raw, clean } => {
                let no_json = |_| operator_error(node, "sensor", "its cleaning is not finite");
                let cleaning: Cleaning = match clean.parameters().as_str() {
                    "" => Cleaning::default(),
                    parameters => serde_json::from_str(parameters).map_err(no_json)?,
                };
                Run::Sensor { from: raw.clone(), cleaning }
            }
            Work::Operator(_) => operator(node, registry)?,
            Work::Model(_) | Work::Family(_) => return Err(Unwritable::Artifact { node: node.name().to_string() }),
            Work::Sink(sink) => Run::Sink { binding: sink.binding.clone(), asks: sink.asks.clone() },
        };
        let mut manifest = Self::new(node.id.clone(), node.needs.clone(), node.provides.clone(), run, Lines::default());
        manifest.rows = node.rule;
        manifest.every = node.every;
        manifest.when.clone_from(&node.when);
        manifest.missing.clone_from(&node.missing);
        manifest.max_age = node.max_age;
        manifest.as_of_rows = node.as_of_rows;
        manifest.keys.clone_from(&node.selector);
        manifest.priority = node.priority;
        manifest.pending = node.pending;
        manifest.version = node.version;
        manifest.slow = node.slow;
        manifest.trial.clone_from(&node.trial);
        manifest.check_again(node)?;
        Ok(manifest)
    }

    /// Reads what would be written: nothing may be lost or refused.
    fn check_again(&self, node: &Node) -> Result<(), Unwritable> {
        let mut object = self.to_object();
        object.insert("topology".to_owned(), json!("class"));
        match super::Manifest::from_json(&Json::Object(object).to_string()) {
            Ok(read) if read.nodes == [self.clone()] => Ok(()),
            Ok(_) => Err(Unwritable::Field { node: node.name().to_string(), field: "a value" }),
            Err(errors) => {
                let field = SETTINGS
                    .into_iter()
                    .find(|field| errors.errors.iter().any(|error| error.to_string().contains(&format!("`{field}`"))));
                Err(Unwritable::Field { node: node.name().to_string(), field: field.unwrap_or("a name or value") })
            }
        }
    }

    /// As a JSON object; what stands at its default is left out.
    pub fn to_object(&self) -> Map<String, Json> {
        let mut object = Map::new();
        let mut put = |name: &str, value: Json| object.insert(name.to_owned(), value);
        put("id", json!(&*self.id));
        if !self.needs.is_empty() {
            put("needs", self.needs.iter().map(need_text).collect());
        }
        if !self.provides.is_empty() {
            put("provides", self.provides.iter().map(|(name, element)| format!("{name}: {element}")).collect());
        }
        match &self.run {
            Run::Sensor { from, cleaning } => {
                let from = self.provides.first().is_none_or(|(name, _)| name != from).then_some(&**from);
                put("sensor", sensor(from, cleaning));
            }
            Run::Operator { name, parameters, model } => {
                match parameters {
                    Json::String(_) if name == EXPR => put(EXPR, parameters.clone()),
                    _ => put("operator", Json::Object([(name.clone(), parameters.clone())].into_iter().collect())),
                };
                if *model {
                    put("kind", json!("model"));
                }
            }
            Run::Model(manifest) => {
                put("model", model(manifest));
            }
            Run::Sink { binding, asks } => {
                put("sink", json!(&**binding));
                put("asks", asks.iter().map(ask).collect());
            }
        }
        self.put_settings(&mut put);
        object
    }

    fn put_settings(&self, put: &mut impl FnMut(&str, Json) -> Option<Json>) {
        match self.rows {
            RowRule::First => {}
            RowRule::OnAny => drop(put("rows", json!("on_any"))),
            RowRule::OnAll { wait } => drop(put("rows", json!({ "on_all": span_text(wait) }))),
        }
        if let Some(every) = self.every {
            put("every", json!(span_text(every)));
        }
        if let Some(when) = &self.when {
            put("when", json!(&**when));
        }
        match self.missing {
            Missing::Skip => {}
            Missing::Last => drop(put("missing", json!("last"))),
            Missing::Pass => drop(put("missing", json!("pass"))),
            Missing::Default(number) => drop(put("missing", json!({ "default": number }))),
        }
        if self.max_age != MAX_AGE_DEFAULT {
            put("max_age", json!(span_text(self.max_age)));
        }
        if self.as_of_rows != AS_OF_ROWS_DEFAULT {
            put("as_of_rows", json!(self.as_of_rows));
        }
        match &self.keys {
            Selector::Class => {}
            Selector::Key(key) => drop(put("keys", json!(&**key))),
            Selector::Pattern(pattern) => drop(put("keys", json!({ "pattern": pattern.0 }))),
            Selector::Attribute { name, value } => {
                let equals = plain(value);
                let attribute = format!("{name}: {}", value.element_type());
                put("keys", json!({ "attribute": attribute, "equals": equals }));
            }
        }
        if self.priority != 0 {
            put("priority", json!(self.priority));
        }
        if self.pending {
            put("pending", json!(true));
        }
        if self.version != 1 {
            put("version", json!(self.version));
        }
        if let Some(Slow { budget, threads }) = self.slow {
            let mut slow = json!({ "budget": span_text(budget) });
            if threads != SLOW_THREADS_DEFAULT {
                slow["threads"] = json!(threads);
            }
            put("slow", slow);
        }
        if !self.trial.is_empty() {
            put("trial", trial::written(&self.trial));
        }
    }
}

/// The fields that a node of some kinds does not have in a manifest.
const SETTINGS: [&str; 9] = ["needs", "provides", "rows", "every", "when", "missing", "max_age", "as_of_rows", "slow"];

/// A value as a manifest has it.
pub(super) fn plain(value: &Value) -> Json {
    match value {
        Value::F32(number) => shortest(*number),
        Value::F64(number) => json!(number),
        Value::I64(number) => json!(number),
        Value::Bool(value) => json!(value),
        Value::Str(text) => json!(text.as_str()),
        Value::Vector(numbers) => json!(numbers),
    }
}

/// The double with the fewest digits that reads back as this float.
fn shortest(number: f32) -> Json {
    json!(number.to_string().parse::<f64>().unwrap_or(f64::from(number)))
}

impl Serialize for NodeManifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_object().serialize(serializer)
    }
}

fn operator_error(node: &Node, operator: &str, reason: impl Into<String>) -> Unwritable {
    Unwritable::Operator { node: node.name().to_string(), operator: operator.to_owned(), reason: reason.into() }
}

/// The registered operator that is the same as the node's, which its factory proves.
fn operator(node: &Node, registry: &Registry) -> Result<Run, Unwritable> {
    let Work::Operator(own) = &node.work else { return Err(operator_error(node, "", "it is no operator")) };
    let refuse = |reason: String| operator_error(node, own.name(), reason);
    let factory = registry.operator(own.name()).map_err(|error| refuse(error.to_string()))?;
    let parameters = match own.parameters().as_str() {
        "" => json!({}),
        text => serde_json::from_str(text).map_err(|_| refuse("its parameters are not JSON".to_owned()))?,
    };
    let needs: Vec<_> = node.needs.iter().map(|need| need.element).collect();
    let provides: Vec<_> = node.provides.iter().map(|(_, element)| *element).collect();
    match factory(&parameters, &needs, &provides) {
        Ok(Work::Operator(made)) if made.name() == own.name() && made.parameters() == own.parameters() => {
            let name = own.name().to_owned();
            Ok(Run::Operator { name, parameters, model: node.kind == NodeKind::Model })
        }
        Ok(_) => Err(refuse("the registry makes another operator from its parameters".to_owned())),
        Err(reason) => Err(refuse(format!("the registry refuses its parameters: {reason}"))),
    }
}

fn sensor(from: Option<&str>, cleaning: &Cleaning) -> Json {
    let mut sensor = Map::new();
    let mut put = |name: &str, value: Json| sensor.insert(name.to_owned(), value);
    if let Some(from) = from {
        put("from", json!(from));
    }
    if let Some((low, high)) = cleaning.range {
        put("range", json!([low, high]));
    }
    for (name, policy) in [("out_of_range", cleaning.out_of_range), ("nan", cleaning.nan)] {
        if policy == BadReading::DeadLetter {
            put(name, json!("dead_letter"));
        }
    }
    if cleaning.hold_last {
        put("hold_last", json!(true));
    }
    for (name, number) in [("scale", cleaning.scale), ("offset", cleaning.offset)] {
        if let Some(number) = number {
            put(name, json!(number));
        }
    }
    Json::Object(sensor)
}

fn model(manifest: &ModelManifest) -> Json {
    let mut model = Map::new();
    model.insert(manifest.format.clone(), json!(manifest.path));
    if let Some(default) = &manifest.default {
        model.insert("default".to_owned(), json!(default));
    }
    if !manifest.inputs.is_empty() {
        model.insert("inputs".to_owned(), json!(manifest.inputs));
    }
    if !manifest.outputs.is_empty() {
        let outputs = manifest.outputs.iter().map(|output| match output {
            OutputName::Name(name) => json!(name),
            OutputName::Column(number) => json!(number),
        });
        model.insert("outputs".to_owned(), outputs.collect());
    }
    Json::Object(model)
}

fn ask(ask: &Ask) -> Json {
    match ask {
        Ask::Stream(name) => json!(&**name),
        Ask::AllModels => json!({ "all": "models" }),
        Ask::Pattern(pattern) => json!({ "pattern": pattern.0 }),
    }
}
