//! A node as it is declared: what it needs and provides, what it runs, and for which rows and keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use immutable_chunkmap::map::MapM;
use serde::{Deserialize, Serialize};

use super::need::Need;
use super::selector::{Pattern, Selector};
use crate::traits::{AnyOperator, Digest, Model};
use crate::words::{Binding, ElementType, Key, NodeId, Span, StreamName, Value};

/// A vertex of the graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name without the selector: the first stream it provides unless given.
    pub id: NodeId,
    /// What it is to the user.
    pub kind: NodeKind,
    /// What it reads, in order.
    pub needs: Vec<Need>,
    /// What it writes, in order.
    pub provides: Vec<(StreamName, ElementType)>,
    /// What it runs.
    pub work: Work,
    /// Which rows it has when its needs are on different axes.
    pub rule: RowRule,
    /// At most one row in so much event time.
    pub every: Option<Span>,
    /// Only rows for which this bool stream is true as of then.
    pub when: Option<StreamName>,
    /// What a missing value does.
    pub missing: Missing,
    /// How old a value from another axis may be.
    pub max_age: Span,
    /// How many values of each need from another axis are kept for rows that come late.
    pub as_of_rows: usize,
    /// Its keys.
    pub selector: Selector,
    /// Which of two nodes with selectors of one kind that provide one name wins: the higher.
    pub priority: i32,
    /// Whether it may wait for a provider that is not there yet.
    pub pending: bool,
    /// The user's version of a closure, which cannot be compared.
    pub version: u32,
    /// Rows that its artifacts must score as is written there before they are deployed.
    pub trial: Vec<TrialRow>,
    /// Whether it may block, and how long a row may take then.
    pub slow: Option<Slow>,
    /// Of a sink that a host has subscribed with: the type of what it asks for. It is the host's, not a revision's.
    pub(crate) subscription: Option<ElementType>,
    /// What its models call their inputs, one name for each need; empty where they are the names of the needs.
    pub inputs: Vec<String>,
}

/// A node that may block: it runs on threads of its own, and a row that takes too long fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slow {
    /// How long a row may take, in the time of the machine; at least a millisecond.
    pub budget: Span,
    /// How many threads it has, for all shards together; at least one.
    pub threads: u16,
}

/// Threads of a node that may block, unless it says otherwise.
pub const SLOW_THREADS_DEFAULT: u16 = 2;

/// A row with what a model has to make of it, checked before the model is deployed.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRow {
    /// For a family: the key whose model is asked; its default unless said.
    pub key: Option<Key>,
    /// What the row has, by name; what is left out reads missing.
    pub given: BTreeMap<StreamName, Value>,
    /// What must come out, by name.
    pub gives: BTreeMap<StreamName, Value>,
    /// How far a number may be from that.
    pub within: f64,
}

/// See [`TrialRow::within`]; the tolerance unless said.
pub const TRIAL_WITHIN_DEFAULT: f64 = 1e-5;

/// What a node is to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Brings a source's values in.
    Sensor,
    /// Computes.
    Operator,
    /// Computes by an artifact.
    Model,
    /// Writes out.
    Sink,
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sensor => "sensor",
            Self::Operator => "operator",
            Self::Model => "model",
            Self::Sink => "sink",
        })
    }
}

/// What a node runs.
#[derive(Clone, Debug)]
pub enum Work {
    /// An operator.
    Operator(Arc<dyn AnyOperator>),
    /// A model, the same for all keys of the node.
    Model(Arc<dyn Model>),
    /// A model for each key.
    Family(Family),
    /// Nothing: it hands values to a bound sink.
    Sink(SinkNode),
    /// A reading that comes in through `raw`, cleaned by the operator.
    Sensor {
        /// The source's name of the stream.
        raw: StreamName,
        /// What cleans it.
        clean: Arc<dyn AnyOperator>,
    },
}

impl Work {
    /// Tells an operator what the streams of its node are called. One that several nodes share is not told.
    pub(crate) fn wire(&mut self, needs: &[Need], provides: &[(StreamName, ElementType)]) {
        if let Self::Operator(operator) = self
            && let Some(operator) = Arc::get_mut(operator)
        {
            let needs: Vec<_> = needs.iter().map(|need| (need.label(), need.element)).collect();
            let provides: Vec<_> = provides.iter().map(|(name, element)| (name.to_string(), *element)).collect();
            operator.wire(&needs, &provides);
        }
    }
}

/// Models by key.
#[derive(Clone, Default)]
pub struct Family {
    /// The members.
    pub members: MapM<Key, Arc<dyn Model>>,
    /// What a key without a model of its own gets; else its rows read missing.
    pub default: Option<Arc<dyn Model>>,
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = if self.default.is_some() { " and a default" } else { "" };
        write!(f, "Family of {}{default}", self.members.len())
    }
}

impl FromIterator<(Key, Arc<dyn Model>)> for Family {
    fn from_iter<I: IntoIterator<Item = (Key, Arc<dyn Model>)>>(members: I) -> Self {
        Self { members: members.into_iter().collect(), default: None }
    }
}

/// What a sink takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkNode {
    /// The bound sink.
    pub binding: Binding,
    /// The streams.
    pub asks: Vec<Ask>,
}

/// Streams that a sink asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// One stream; refused when nobody provides it.
    Stream(StreamName),
    /// What all models provide, those deployed later too.
    AllModels,
    /// Every provided stream whose name matches, those deployed later too.
    Pattern(Pattern),
}

/// Which rows a node has when its needs are on different axes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowRule {
    /// The rows of its first need, the others as of then.
    #[default]
    First,
    /// A row at each time that any need brings, the others as of then.
    OnAny,
    /// A row for each time that any need brought, once every need has got so far, or the clock has by so much more.
    OnAll {
        /// How long a row waits for the slower needs, in event time.
        wait: Span,
    },
}

/// What a row that lacks a required value does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The row's outputs are missing.
    #[default]
    Skip,
    /// The key's last value of that need stands in; before any, the row is skipped.
    Last,
    /// This number stands in.
    Default(f64),
    /// The operator gets the row as it is: NaN in float columns.
    Pass,
}

/// How old a value from another axis may be unless the node says otherwise.
pub const MAX_AGE_DEFAULT: Span = Span::from_secs(10);
/// How many values of a need from another axis are kept unless the node says otherwise.
pub const AS_OF_ROWS_DEFAULT: usize = 1024;

impl Node {
    /// A node with everything at its default.
    pub fn new(
        id: impl Into<NodeId>,
        kind: NodeKind,
        needs: Vec<Need>,
        provides: Vec<(StreamName, ElementType)>,
        mut work: Work,
    ) -> Self {
        work.wire(&needs, &provides);
        Self {
            id: id.into(),
            kind,
            needs,
            provides,
            work,
            rule: RowRule::First,
            every: None,
            when: None,
            missing: Missing::Skip,
            max_age: MAX_AGE_DEFAULT,
            as_of_rows: AS_OF_ROWS_DEFAULT,
            selector: Selector::Class,
            priority: 0,
            pending: false,
            version: 1,
            trial: Vec::new(),
            slow: None,
            subscription: None,
            inputs: Vec::new(),
        }
    }

    /// Its name in the plan: `id`, or `id@selector`.
    pub fn name(&self) -> NodeId {
        match &self.selector {
            Selector::Class => self.id.clone(),
            selector => NodeId::from(format!("{}@{selector}", self.id)),
        }
    }

    /// The one key it is for, if it is.
    pub fn only_key(&self) -> Option<&Key> {
        match &self.selector {
            Selector::Key(key) => Some(key),
            _ => None,
        }
    }

    /// Everything that its state depends on, as text: operator, parameters, needs, provides, rows and keys, but not
    /// artifact, members, priority or pending.
    pub fn content(&self) -> String {
        match &self.work {
            Work::Operator(operator) => format!("{} of state v{}", self.identity(), operator.state_version()),
            _ => self.identity(),
        }
    }

    /// The same without the version of the operator's state: a node that is the same with another version cannot read
    /// what it has saved.
    pub fn identity(&self) -> String {
        let work = match &self.work {
            Work::Operator(operator) => format!("{} {}", operator.name(), operator.parameters()),
            Work::Sensor { raw, clean } => format!("sensor of {raw} {}", clean.parameters()),
            Work::Model(_) => "model".to_owned(),
            Work::Family(_) => "family".to_owned(),
            Work::Sink(sink) => format!("sink {} {:?}", sink.binding, sink.asks),
        };
        format!(
            "{work} version {}; {:?} -> {:?}; {:?} every {:?} when {:?} missing {:?} max_age {} as_of_rows {}; {:?}",
            self.version,
            self.needs,
            self.provides,
            self.rule,
            self.every,
            self.when,
            self.missing,
            self.max_age,
            self.as_of_rows,
            self.selector,
        )
    }

    /// What it scores with, if that is the same for all keys.
    pub fn artifact(&self) -> Option<Digest> {
        match &self.work {
            Work::Model(model) => Some(model.digest()),
            Work::Family(family) => self.only_key().and_then(|key| family.model(key)).map(|model| model.digest()),
            _ => None,
        }
    }

    /// Whether both do the same: same kind, same content, same artifact, same members, same place in the order of providers.
    pub fn same(&self, other: &Self) -> bool {
        let work = match (&self.work, &other.work) {
            (Work::Family(a), Work::Family(b)) => a.same(b),
            _ => self.artifact() == other.artifact(),
        };
        let settings = self.priority == other.priority && self.slow == other.slow && self.inputs == other.inputs;
        work && settings && self.kind == other.kind && self.id == other.id && self.content() == other.content()
    }

    /// Whether another node of the name goes on with its state. A sink has none, and goes on whatever it asks for: so each
    /// frame is written behind those before it, also where a plan between them asks for something else.
    pub(crate) fn continues_as(&self, other: &Self) -> bool {
        match (&self.work, &other.work) {
            (Work::Sink(a), Work::Sink(b)) => a.binding == b.binding,
            _ => self.content() == other.content(),
        }
    }

    /// Whether it makes rows of its own rather than write on the axis of its first need.
    pub fn own_rows(&self) -> bool {
        self.work_emits() || self.own_rows_by_rule()
    }

    /// Whether its operator makes rows of its own, as windows do.
    pub fn work_emits(&self) -> bool {
        matches!(&self.work, Work::Operator(operator) if operator.own_rows())
    }

    /// Whether its rows are picked from those of its needs, or put together from several axes.
    pub fn own_rows_by_rule(&self) -> bool {
        self.rule != RowRule::First || self.every.is_some() || self.when.is_some()
    }
}

impl Family {
    /// Whether both have the same artifacts for the same keys.
    pub fn same(&self, other: &Self) -> bool {
        let default = |family: &Self| family.default.as_ref().map(|model| model.digest());
        self.members.len() == other.members.len()
            && default(self) == default(other)
            && self
                .members
                .into_iter()
                .zip(&other.members)
                .all(|((key, a), (other_key, b))| key == other_key && (Arc::ptr_eq(a, b) || a.digest() == b.digest()))
    }

    /// The artifact for a key.
    pub fn model(&self, key: &Key) -> Option<&Arc<dyn Model>> {
        self.members.get(key).or(self.default.as_ref())
    }
}

/// A constant that stands in for a missing value of type `element`; `None` where a number cannot.
pub fn stand_in(number: f64, element: ElementType) -> Option<Value> {
    match element {
        ElementType::Bool if number == 0.0 || number == 1.0 => Some(Value::Bool(number == 1.0)),
        element => Value::F64(number).cast(element),
    }
}
