//! What is deployed is tried out before it is staged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::error::{DeployError, TrialError, TrialErrors};
use crate::topology::declared::Declared;
use crate::topology::node::{Node, TrialRow, Work};
use crate::topology::{Topology, scorer};
use crate::traits::{Model, ScoreError};
use crate::words::{Column, ElementType, Key, StreamName, Value};

/// What is tried out before it is staged.
pub(super) enum Trial {
    /// Every artifact of a node.
    Node(Arc<Node>),
    /// The artifact of a key for a node.
    Member(Arc<Node>, Key, Arc<dyn Model>),
}

impl Trial {
    fn node(&self) -> &Node {
        match self {
            Self::Node(node) | Self::Member(node, ..) => node,
        }
    }

    /// Tries it out; all that fails is added to `failed`.
    fn run(&self, failed: &mut Vec<TrialError>) {
        match self {
            Self::Node(node) => try_node(node, failed),
            Self::Member(node, key, model) => {
                if let Err(reason) = try_model(node, model) {
                    failed.push(TrialError { node: node.name(), member: Some(key.clone()), reason });
                }
            }
        }
    }
}

impl Topology {
    /// Scores with every artifact of the topology what it is tried out with before it runs, at a start as in a deployment: a
    /// row of zeros, and the rows that travel with its node. Nothing is started.
    ///
    /// ```
    /// use gristmill::topology::{Topology, provide, sensor};
    /// use gristmill::Stream;
    /// const WEAR: Stream<f32> = Stream::new("wear");
    /// const ALARM: Stream<bool> = Stream::new("alarm");
    /// let alarm = provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.8);
    /// let pump = Topology::new("pump").with(sensor(WEAR)).with(alarm);
    /// pump.try_out()?; // it has no artifact that could fail
    /// # Ok::<(), gristmill::DeployError>(())
    /// ```
    ///
    /// # Errors
    /// [`DeployError::Trial`] of each node that fails.
    pub fn try_out(&self) -> Result<(), DeployError> {
        try_nodes(self.nodes())
    }
}

/// Tries out all that is declared, before any of it runs.
pub(crate) fn try_declared(declared: &Declared) -> Result<(), DeployError> {
    try_nodes(declared.nodes().map(AsRef::as_ref))
}

fn try_nodes<'n>(nodes: impl Iterator<Item = &'n Node>) -> Result<(), DeployError> {
    let mut failed = Vec::new();
    nodes.for_each(|node| try_node(node, &mut failed));
    all(failed)
}

fn try_node(node: &Node, failed: &mut Vec<TrialError>) {
    try_out(node, |member, reason| {
        failed.push(TrialError { node: node.name(), member: member.cloned(), reason });
    });
}

fn all(failed: Vec<TrialError>) -> Result<(), DeployError> {
    if failed.is_empty() { Ok(()) } else { Err(TrialErrors(failed).into()) }
}

/// Tries out all of them, one after the other; `tell` hears which node is at it.
fn run_all(trials: &[Trial], tell: impl Fn(&Node)) -> Result<(), DeployError> {
    let mut failed = Vec::new();
    for trial in trials {
        tell(trial.node());
        trial.run(&mut failed);
    }
    all(failed)
}

/// Tries out all artifacts; with a limit on a thread of their own, which a model that never comes back keeps.
pub(super) async fn try_all(trials: Vec<Trial>, limit: Option<Duration>) -> Result<(), DeployError> {
    let Some(limit) = limit.filter(|_| !trials.is_empty()) else {
        return run_all(&trials, |_| {});
    };
    let at = Arc::new(std::sync::Mutex::new(None));
    let tell = Arc::clone(&at);
    let (done, tried) = tokio::sync::oneshot::channel();
    let trying = move || {
        let tried = run_all(&trials, |node| {
            *tell.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(node.name());
        });
        // Nobody listens any more when it has taken too long.
        let _ = done.send(tried);
    };
    // Not one of the pool's threads: there are few, and a model that never comes back keeps it.
    let thread = std::thread::Builder::new().name("trial".to_owned()).spawn(trying);
    thread.map_err(|error| DeployError::Stage { reason: format!("no thread for the trial row: {error}") })?;
    match tokio::time::timeout(limit, tried).await {
        Ok(Ok(tried)) => tried,
        Ok(Err(_)) => Err(DeployError::Stopped),
        Err(_) => {
            let node = at.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            Err(DeployError::TimedOut { phase: "scoring the trial row", node, limit })
        }
    }
}

/// Scores one row of zeros with each artifact of a node, and the rows that travel with it; `fail` hears of each that
/// fails, with the key whose artifact it is.
fn try_out(node: &Node, mut fail: impl FnMut(Option<&Key>, String)) {
    // By address: a model that cannot score zeros is not asked for rows as well.
    let mut broken: BTreeSet<*const ()> = BTreeSet::new();
    let mut zeros = |member: Option<&Key>, model: &Arc<dyn Model>, of: &str| {
        if let Err(reason) = try_model(node, model) {
            broken.insert(address(model));
            fail(member, format!("{of}{reason}"));
        }
    };
    match &node.work {
        Work::Model(model) => zeros(None, model, ""),
        Work::Family(family) => {
            (&family.members).into_iter().for_each(|(key, model)| zeros(Some(key), model, ""));
            family.default.iter().for_each(|model| zeros(None, model, "the default: "));
        }
        _ => {}
    }
    for (number, row) in node.trial.iter().enumerate() {
        let model = scorer::model_of(node, row.key.as_ref());
        if model.as_ref().is_ok_and(|model| broken.contains(&address(model))) {
            continue;
        }
        if let Err(why) = try_row(node, row, model) {
            fail(row.key.as_ref(), format!("row {} of its trial: {why}", number + 1));
        }
    }
}

fn address(model: &Arc<dyn Model>) -> *const () {
    Arc::as_ptr(model).cast()
}

fn try_model(node: &Node, model: &Arc<dyn Model>) -> Result<(), String> {
    let zeros = node.needs.iter().map(|need| match need.element {
        ElementType::F32 => Column::F32(vec![0.0]),
        ElementType::F64 => Column::F64(vec![0.0]),
        ElementType::I64 => Column::I64(vec![0]),
        ElementType::Bool => Column::Bool(vec![Some(false)]),
        element => Column::missing(element, 1),
    });
    let zeros: Vec<Column> = zeros.collect();
    scorer::score_apart(node, model.as_ref(), &zeros).map(drop).map_err(|error| error.0)
}

/// Whether a row that travels with a node is scored as is written there.
fn try_row(node: &Node, trial: &TrialRow, model: Result<&Arc<dyn Model>, ScoreError>) -> Result<(), String> {
    if !matches!(node.work, Work::Model(_) | Work::Family(_)) {
        return Err("only models have trial rows".to_owned());
    }
    let model = model.map_err(|error| error.0)?;
    let known = |name: &StreamName| node.needs.iter().any(|need| need.name == *name);
    if let Some(name) = trial.given.keys().find(|name| !known(name)) {
        return Err(format!("it gives `{name}`, which the node does not need"));
    }
    let mut row = Vec::with_capacity(node.needs.len());
    for need in &node.needs {
        let value = trial.given.get(&need.name);
        let cast = value.map(|value| {
            let element = need.element;
            value.cast(element).ok_or_else(|| format!("`{}` is {element}, not `{value}`", need.name))
        });
        let mut column = Column::with_capacity(need.element, 1);
        column.push(cast.transpose()?.as_ref());
        row.push(column);
    }
    let out = scorer::score_apart(node, model.as_ref(), &row).map_err(|error| error.0)?;
    for (name, expected) in &trial.gives {
        let place = node.provides.iter().position(|(provided, _)| provided == name);
        let place = place.ok_or_else(|| format!("it expects `{name}`, which the node does not provide"))?;
        let got = out[place].as_ref().value(0);
        if !is_near(got.as_ref(), expected, trial.within) {
            let got = got.map_or_else(|| "no value".to_owned(), |value| value.to_string());
            return Err(format!("`{name}` came out as {got}, where {expected} was expected"));
        }
    }
    Ok(())
}

/// Whether a value is what was expected: numbers within a distance, all else exactly.
fn is_near(got: Option<&Value>, expected: &Value, within: f64) -> bool {
    let number = |value: &Value| match value.cast(ElementType::F64) {
        Some(Value::F64(number)) => Some(number),
        _ => None,
    };
    let Some(got) = got else { return false };
    match (number(got), number(expected)) {
        (Some(got), Some(expected)) => (got - expected).abs() <= within,
        _ => expected.cast(got.element_type()).as_ref() == Some(got),
    }
}
