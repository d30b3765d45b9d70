//! Models in nodes: whether they fit, and the way from a node's rows to a model's columns and back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::node::{Family, Node, Work};
use crate::traits::{Model, Outputs, Port, RowError, Rows, ScoreError};
use crate::words::{Column, ColumnMut, ColumnRef, ElementType, Key, Time};

/// Whether a model can stand in a node with these needs and provides.
///
/// # Errors
/// A text that names both sides.
pub fn check_model(model: &dyn Model, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String> {
    let inputs = model.inputs();
    if inputs.len() != needs.len() {
        return Err(format!("the model reads {} columns, but the node has {} needs", inputs.len(), needs.len()));
    }
    for (number, (port, need)) in inputs.iter().zip(needs).enumerate() {
        let number_like =
            |element| matches!(element, ElementType::F32 | ElementType::F64 | ElementType::I64 | ElementType::Bool);
        if port.element != *need && !(number_like(port.element) && number_like(*need)) {
            let name = port.name.as_deref().unwrap_or("");
            return Err(format!(
                "column {number} `{name}` of the model is {}, but need {number} is {need}",
                port.element
            ));
        }
    }
    let outputs: Vec<_> = model.outputs().iter().map(|port| port.element).collect();
    if outputs != provides {
        let list = |types: &[ElementType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(format!("the model gives {}, but the node provides {}", list(&outputs), list(provides)));
    }
    Ok(())
}

/// What a node asks of the models that it scores with.
pub(super) struct Fit<'n> {
    node: &'n Node,
    needs: Vec<ElementType>,
    provides: Vec<ElementType>,
}

impl<'n> Fit<'n> {
    pub(super) fn of(node: &'n Node) -> Self {
        let needs = node.needs.iter().map(|need| need.element).collect();
        Self { node, needs, provides: node.provides.iter().map(|(_, element)| *element).collect() }
    }

    /// Whether a model has the node's columns: their number, types and order, and the names of those that have one.
    ///
    /// # Errors
    /// A text that names both sides.
    pub(super) fn check(&self, model: &dyn Model) -> Result<(), String> {
        check_model(model, &self.needs, &self.provides)?;
        self.check_names(model.inputs())
    }

    /// Every model of the node that does not fit.
    pub(super) fn misfits(&self) -> Vec<String> {
        match &self.node.work {
            Work::Model(model) => self.check(model.as_ref()).err().into_iter().collect(),
            Work::Family(family) => misfits_of(family, |model| self.check(model)),
            _ => Vec::new(),
        }
    }

    fn check_names(&self, ports: &[Port]) -> Result<(), String> {
        let called = |need: usize| self.node.inputs.get(need).map_or(&*self.node.needs[need].name, String::as_str);
        let mut named = ports.iter().enumerate().filter_map(|(number, port)| Some((number, port.name.as_deref()?)));
        let Some((number, name)) = named.find(|(number, name)| *name != called(*number)) else { return Ok(()) };
        let mapped = if self.node.inputs.is_empty() { "" } else { ", as `inputs` says" };
        let known = (0..ports.len()).any(|need| called(need) == name);
        let other = if known { " (the order is another)" } else { "" };
        Err(format!(
            "input {number} of the model is `{name}`, but need {number} is `{}`{mapped}{other}; the model reads {}, the node \
             needs {}; write the needs in the model's order, or say what the model calls them: `.inputs([\"{name}\", …])` \
             in Rust, `inputs = {{ \"{name}\" = \"need\" }}` in a manifest",
            called(number),
            listed(ports.iter().map(|port| port.name.as_deref())),
            listed(self.node.needs.iter().map(|need| Some(&*need.name))),
        ))
    }
}

/// Every model of a family that does not fit, by key.
pub(super) fn misfits_of(family: &Family, check: impl Fn(&dyn Model) -> Result<(), String>) -> Vec<String> {
    let member =
        |(key, model): (&Key, &Arc<dyn Model>)| check(model.as_ref()).err().map(|why| format!("member `{key}`: {why}"));
    let default = family.default.as_ref().and_then(|model| check(model.as_ref()).err());
    let default = default.map(|why| format!("the default: {why}"));
    (&family.members).into_iter().filter_map(member).chain(default).collect()
}

/// Most names that a message lists.
const NAMES_LISTED_MAX: usize = 12;

fn listed<'n>(names: impl ExactSizeIterator<Item = Option<&'n str>>) -> String {
    let more = if names.len() > NAMES_LISTED_MAX { ", …" } else { "" };
    let shown = names.take(NAMES_LISTED_MAX);
    let shown = shown.map(|name| name.map_or_else(|| "one without a name".to_owned(), |name| format!("`{name}`")));
    shown.collect::<Vec<_>>().join(", ") + more
}

/// Whether a node's needs are cast for the model that it scores with.
pub(super) fn casts(model: &dyn Model, node: &Node) -> bool {
    model.inputs().iter().zip(&node.needs).any(|(port, need)| port.element != need.element)
}

/// Scores rows; needs that are not of the model's types are cast.
///
/// # Errors
/// The model's.
pub fn score(model: &dyn Model, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
    match rows.columns() {
        Some(columns) => score_columns(model, columns, out),
        None => {
            let columns: Vec<ColumnRef<'_>> = (0..rows.needs()).map(|need| rows.column(need)).collect();
            score_columns(model, &columns, out)
        }
    }
}

/// The same, of columns that have a value for each row.
///
/// # Errors
/// As [`score`].
#[inline]
pub(crate) fn score_columns(
    model: &dyn Model,
    columns: &[ColumnRef<'_>],
    out: &mut Outputs<'_>,
) -> Result<(), RowError> {
    let inputs = model.inputs();
    let same = |(port, column): (&Port, &ColumnRef<'_>)| match (port.element, column) {
        (ElementType::F32, ColumnRef::F32(_)) => true,
        (element, column) => column.element_type() == element,
    };
    if inputs.iter().zip(columns).all(same) {
        return score_same(model, columns, out);
    }
    let cast: Vec<Column> = inputs.iter().zip(columns).map(|(port, column)| cast(*column, port.element)).collect();
    let columns: Vec<ColumnRef<'_>> = cast.iter().map(Column::as_ref).collect();
    score_same(model, &columns, out)
}

/// The same, of columns that have the types of the model.
///
/// # Errors
/// As [`score`].
#[inline]
pub(crate) fn score_same(model: &dyn Model, columns: &[ColumnRef<'_>], out: &mut Outputs<'_>) -> Result<(), RowError> {
    let result = if out.provides() == 1 {
        model.score(columns, &mut [out.column(0)])
    } else {
        let mut outputs: Vec<ColumnMut<'_>> = out.columns().collect();
        model.score(columns, &mut outputs)
    };
    result.map_err(|error| RowError::new(error.0))
}

/// The model of a node that scores a key's rows; of a family without a key, its default.
///
/// # Errors
/// When there is none, with the reason.
pub fn model_of<'n>(node: &'n Node, key: Option<&Key>) -> Result<&'n Arc<dyn Model>, ScoreError> {
    let model = match (&node.work, key) {
        (Work::Model(model), None) => Ok(model),
        (Work::Model(_), Some(key)) => Err(format!("key `{key}` is named, but all keys have one model")),
        (Work::Family(family), Some(key)) => family.model(key).ok_or_else(|| format!("key `{key}` has no model")),
        (Work::Family(family), None) => {
            family.default.as_ref().ok_or_else(|| "the family has no default; name the key that is asked".to_owned())
        }
        _ => Err("it is no node with a model".to_owned()),
    };
    model.map_err(ScoreError)
}

/// Scores rows outside of the flow, exactly as the node would: `columns` has one for each need, all of the same length,
/// and the answer one for each of its provides. What is missing is handed to the model; a panic is an error.
///
/// # Errors
/// The model's.
pub fn score_apart(node: &Node, model: &dyn Model, columns: &[Column]) -> Result<Vec<Column>, ScoreError> {
    let count = columns.first().map_or(0, Column::len);
    let columns: Vec<ColumnRef<'_>> = columns.iter().map(Column::as_ref).collect();
    let mut out: Vec<Column> = node.provides.iter().map(|(_, element)| Column::missing(*element, count)).collect();
    let times = vec![Time(0); count];
    let rows = Rows::new(&times, &columns);
    let scoring = || score(model, &rows, &mut Outputs::new(&mut out, 0..count));
    match catch_unwind(AssertUnwindSafe(scoring)) {
        Ok(Ok(())) => Ok(out),
        Ok(Err(error)) => Err(ScoreError(error.0)),
        Err(_) => Err(ScoreError("it panicked".to_owned())),
    }
}

fn cast(column: ColumnRef<'_>, element: ElementType) -> Column {
    if column.element_type() == element {
        let mut same = Column::with_capacity(element, column.len());
        same.extend(column);
        return same;
    }
    let numbers = (0..column.len()).map(|row| column.number(row));
    match element {
        ElementType::F32 => Column::F32(numbers.map(|number| number as f32).collect()),
        ElementType::F64 => Column::F64(numbers.collect()),
        ElementType::I64 => {
            Column::I64(numbers.map(|number| if number.is_nan() { i64::MIN } else { number as i64 }).collect())
        }
        ElementType::Bool => Column::Bool(numbers.map(|number| (!number.is_nan()).then_some(number != 0.0)).collect()),
        ElementType::Str | ElementType::Vector(_) => Column::missing(element, column.len()),
    }
}
