//! A node as a manifest declares it, with everything that was said and the defaults of what was not.

use std::collections::BTreeMap;

use crate::topology::need::Need;
use crate::topology::node::{AS_OF_ROWS_DEFAULT, Ask, MAX_AGE_DEFAULT, Missing, RowRule, Slow, TrialRow};
use crate::topology::selector::Selector;
use crate::topology::sensor::Cleaning;
use crate::words::{Binding, ElementType, NodeId, Span, StreamName};

/// A node of a manifest. It names its operator, model format and artifacts; nothing of these is loaded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NodeManifest {
    /// Its id; the first stream it provides, or a sink's binding, unless given.
    pub id: NodeId,
    /// What it reads, in order.
    pub needs: Vec<Need>,
    /// What it writes, in order.
    pub provides: Vec<(StreamName, ElementType)>,
    /// What it runs.
    pub run: Run,
    /// Which rows it has when its needs are on different axes.
    pub rows: RowRule,
    /// At most one row in so much event time.
    pub every: Option<Span>,
    /// Only rows for which this bool stream is true as of then.
    pub when: Option<StreamName>,
    /// What a missing value does.
    pub missing: Missing,
    /// How old a value from another axis may be.
    pub max_age: Span,
    /// How many values of each need from another axis are kept.
    pub as_of_rows: usize,
    /// Its keys.
    pub keys: Selector,
    /// Which of two nodes with selectors of one kind wins: the higher.
    pub priority: i32,
    /// Whether it may wait for a provider that is not there yet.
    pub pending: bool,
    /// The user's version.
    pub version: u32,
    /// Rows with what a model must make of them before it is deployed.
    pub trial: Vec<TrialRow>,
    /// Whether it may block, and how long a row may take then.
    pub slow: Option<Slow>,
    /// The lines of its fields.
    pub(super) lines: Lines,
}

impl NodeManifest {
    pub(super) fn new(
        id: NodeId,
        needs: Vec<Need>,
        provides: Vec<(StreamName, ElementType)>,
        run: Run,
        lines: Lines,
    ) -> Self {
        Self {
            id,
            needs,
            provides,
            run,
            rows: RowRule::First,
            every: None,
            when: None,
            missing: Missing::Skip,
            max_age: MAX_AGE_DEFAULT,
            as_of_rows: AS_OF_ROWS_DEFAULT,
            keys: Selector::Class,
            priority: 0,
            pending: false,
            version: 1,
            trial: Vec::new(),
            slow: None,
            lines,
        }
    }

    /// Its name in the plan: `id`, or `id@selector`.
    pub fn name(&self) -> NodeId {
        match &self.keys {
            Selector::Class => self.id.clone(),
            keys => NodeId::from(format!("{}@{keys}", self.id)),
        }
    }

    /// Where it stands, for messages.
    pub(super) fn place(&self, field: &str) -> String {
        format!("node `{}`, {field}", self.id)
    }
}

/// The field whose text is the parameter of the operator that is registered under the same name.
pub(super) const EXPR: &str = "expr";

/// What a node of a manifest runs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Run {
    /// Brings in the source's column.
    Sensor {
        /// The source's name of the column.
        from: StreamName,
        /// How readings are cleaned.
        cleaning: Cleaning,
    },
    /// A registered operator.
    Operator {
        /// Its name in the registry.
        name: String,
        /// Its parameters, as the registered factory takes them.
        parameters: serde_json::Value,
        /// Whether it is a model to the user, so that sinks of all models write it.
        model: bool,
    },
    /// A model, or a family of them.
    Model(ModelManifest),
    /// Hands values to a bound sink.
    Sink {
        /// The name of the binding.
        binding: Binding,
        /// The streams it takes.
        asks: Vec<Ask>,
    },
}

impl Run {
    /// The field that says it.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Sensor { .. } => "sensor",
            Self::Operator { name, .. } if name == EXPR => EXPR,
            Self::Operator { .. } => "operator",
            Self::Model(_) => "model",
            Self::Sink { .. } => "sink",
        }
    }
}

/// Which artifact a node scores with, and how its columns are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelManifest {
    /// The model format's name in the registry.
    pub format: String,
    /// The artifact, relative to the manifest's folder; with `{key}` in its file name a family.
    pub path: String,
    /// The artifact of keys that are no member of the family.
    pub default: Option<String>,
    /// The model's names of inputs, each with the need that it reads.
    pub inputs: BTreeMap<String, String>,
    /// The model's outputs that are provided, in the order of `provides`; empty for all.
    pub outputs: Vec<OutputName>,
}

/// An output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputName {
    /// By name: `label`, `probabilities[1]`.
    Name(String),
    /// By the number of its column, from 0.
    Column(usize),
}

/// The lines of a node and its fields. All are equal, so that a manifest is the same however it was laid out.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    pub(super) node: usize,
    fields: BTreeMap<&'static str, usize>,
}

impl PartialEq for Lines {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Lines {
    pub(super) fn set(&mut self, field: &'static str, line: usize) {
        self.fields.insert(field, line);
    }

    /// The line of a field, or of the node where the field was not written.
    pub(super) fn of(&self, field: &str) -> usize {
        self.fields.get(field).copied().unwrap_or(self.node)
    }
}
