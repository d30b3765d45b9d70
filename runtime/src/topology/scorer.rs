//! Models in nodes: whether they fit, and the way from a node's rows to a model's columns and back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::node::{Node, Work};
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
