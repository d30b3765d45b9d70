//! What came out, as the client wants it.

use gristmill::topology::Node;
use gristmill::words::{Column, ElementType};
use serde::Serialize;

use super::model::Found;
use super::request::Wanted;
use super::tensor::{AsJson, datatype, to_bytes, width};
use crate::call::Answer;
use crate::problem::Problem;

/// Scored rows.
pub(super) struct Tensors<'r> {
    pub(super) found: &'r Found,
    pub(super) id: Option<&'r str>,
    pub(super) columns: &'r [Column],
    pub(super) wanted: &'r [Wanted],
}

#[derive(Serialize)]
struct Response<'r> {
    model_name: &'r str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'r str>,
    outputs: Vec<Output<'r>>,
}

#[derive(Serialize)]
struct Output<'r> {
    name: &'r str,
    datatype: &'static str,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<AsJson<'r>>,
}

#[derive(Serialize)]
struct Parameters {
    binary_data_size: usize,
}

impl Tensors<'_> {
    pub(super) fn answer(&self) -> Result<Answer, Problem> {
        let (mut outputs, mut binary, mut has_binary) = (Vec::new(), Vec::new(), false);
        for wanted in self.wanted {
            let (name, element) = &self.found.node.node.provides[wanted.place];
            let column = &self.columns[wanted.place];
            let shape = match element {
                ElementType::Vector(width) => vec![column.len(), usize::from(*width)],
                _ => vec![column.len()],
            };
            let (parameters, data) = if wanted.binary {
                let bytes = to_bytes(column).ok_or_else(|| {
                    let reason = format!("a value of `{name}` is missing, which bytes cannot say; ask for JSON");
                    Problem::new("not-scored", reason)
                })?;
                has_binary = true;
                binary.extend_from_slice(&bytes);
                (Some(Parameters { binary_data_size: bytes.len() }), None)
            } else {
                (None, Some(AsJson(column.as_ref())))
            };
            outputs.push(Output { name, datatype: datatype(*element), shape, parameters, data });
        }
        let (model_name, model_version) = (self.found.node.name.as_str(), self.found.version());
        let response = Response { model_name, model_version, id: self.id, outputs };
        let json = serde_json::to_vec(&response);
        let json = json.map_err(|error| Problem::new("not-scored", format!("the answer is no JSON: {error}")))?;
        Ok(Answer::Tensors { json, binary: has_binary.then_some(binary) })
    }
}

/// Refuses rows whose answer would be larger than a body may be.
pub(super) fn check_size(node: &Node, rows: usize, most: usize) -> Result<(), Problem> {
    const VALUE_BYTES_MAX: usize = 8;
    let row: usize = node.provides.iter().map(|(_, element)| width(*element) * VALUE_BYTES_MAX).sum();
    let rows_max = most / row.max(1);
    if rows > rows_max {
        return Err(Problem::new("body-too-large", format!("{rows} rows; the limit for this model is {rows_max}")));
    }
    Ok(())
}
