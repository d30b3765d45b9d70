//! What a client asks to be scored.

use std::borrow::Cow;
use std::fmt;

use gristmill::topology::Node;
use gristmill::topology::need::Need;
use gristmill::words::{Column, ElementType};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::tensor::{FromJson, datatype, from_bytes, width};
use crate::call::object;
use crate::problem::Problem;

/// Most dimensions of a tensor.
const DIMENSIONS_MAX: usize = 8;

/// A request to score rows.
#[derive(Deserialize)]
pub(super) struct Request<'b> {
    #[serde(borrow, default)]
    pub(super) id: Option<Cow<'b, str>>,
    #[serde(borrow)]
    inputs: Vec<Input<'b>>,
    #[serde(borrow, default)]
    outputs: Option<Vec<Output<'b>>>,
    #[serde(borrow, default)]
    pub(super) parameters: Parameters<'b>,
}

#[derive(Deserialize)]
struct Input<'b> {
    #[serde(borrow)]
    name: Cow<'b, str>,
    shape: Shape,
    #[serde(borrow)]
    datatype: Cow<'b, str>,
    #[serde(borrow, default)]
    parameters: Parameters<'b>,
    #[serde(borrow, default)]
    data: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Output<'b> {
    #[serde(borrow)]
    name: Cow<'b, str>,
    #[serde(borrow, default)]
    parameters: Parameters<'b>,
}

/// Those that are known; others are the client's own.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameters<'b> {
    /// Whose model of a family is asked.
    #[serde(borrow)]
    pub(super) key: Option<Cow<'b, str>>,
    binary_data_size: Option<usize>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    classification: Option<u64>,
    #[serde(borrow)]
    shared_memory_region: Option<Cow<'b, str>>,
}

/// An output that is asked for.
pub(super) struct Wanted {
    /// Its number among those that the node provides.
    pub(super) place: usize,
    pub(super) binary: bool,
}

/// The lengths of the dimensions; few, however long the list is.
struct Shape(Vec<usize>);

impl<'b> Request<'b> {
    /// The request of a body, and the bytes behind it when `header_length` says how long it is.
    pub(super) fn read(body: &'b [u8], header_length: Option<&str>) -> Result<(Self, &'b [u8]), Problem> {
        let (header, binary) = match header_length {
            None => (body, &body[..0]),
            Some(length) => {
                let split = length.trim().parse().ok().and_then(|length| body.split_at_checked(length));
                split.ok_or_else(|| {
                    let reason = format!("Inference-Header-Content-Length is no number of bytes up to {}", body.len());
                    Problem::new("bad-header", reason)
                })?
            }
        };
        Ok((object(header)?, binary))
    }

    /// The rows, a column for each need of the node.
    pub(super) fn columns(&self, node: &Node, mut binary: &[u8]) -> Result<Vec<Column>, Problem> {
        let names: Vec<String> = node.needs.iter().map(Need::label).collect();
        let mut columns: Vec<Option<Column>> = node.needs.iter().map(|_| None).collect();
        let mut rows = None;
        for input in &self.inputs {
            let wrong = |reason: String| bad(format!("input `{}`: {reason}", input.name.escape_debug()));
            let place = names.iter().position(|name| *name == input.name);
            let place = place.ok_or_else(|| wrong(format!("the model has no such input; it has {}", list(&names))))?;
            if columns[place].is_some() {
                return Err(wrong("it is there twice".to_owned()));
            }
            let element = node.needs[place].element;
            let count = input.rows(element).map_err(wrong)?;
            if *rows.get_or_insert(count) != count {
                return Err(wrong(format!("it has {count} rows, and another input has not")));
            }
            columns[place] = Some(input.column(element, count, &mut binary).map_err(wrong)?);
        }
        if !binary.is_empty() {
            return Err(bad(format!("{} bytes behind the request belong to no input", binary.len())));
        }
        let absent: Vec<&String> =
            names.iter().zip(&columns).filter(|(_, column)| column.is_none()).map(|(name, _)| name).collect();
        match absent[..] {
            [] => Ok(columns.into_iter().flatten().collect()),
            _ => Err(bad(format!("these inputs are missing: {}", list(&absent)))),
        }
    }

    /// The outputs that are asked for; all, unless some are named.
    pub(super) fn wanted(&self, node: &Node) -> Result<Vec<Wanted>, Problem> {
        let all_binary = self.parameters.binary_data_output.unwrap_or(false);
        let Some(outputs) = self.outputs.as_ref().filter(|outputs| !outputs.is_empty()) else {
            return Ok((0..node.provides.len()).map(|place| Wanted { place, binary: all_binary }).collect());
        };
        let mut wanted: Vec<Wanted> = Vec::new();
        for output in outputs {
            let wrong = |reason: &str| bad(format!("output `{}`: {reason}", output.name.escape_debug()));
            let place = node.provides.iter().position(|(name, _)| **name == *output.name);
            let place = place.ok_or_else(|| wrong("the model has no such output"))?;
            if wanted.iter().any(|wanted| wanted.place == place) {
                return Err(wrong("it is there twice"));
            }
            if output.parameters.classification.is_some_and(|classes| classes > 0) {
                return Err(wrong("classification is not an extension of this server"));
            }
            if output.parameters.shared_memory_region.is_some() {
                return Err(wrong("shared memory is not an extension of this server"));
            }
            wanted.push(Wanted { place, binary: output.parameters.binary_data.unwrap_or(all_binary) });
        }
        Ok(wanted)
    }
}

impl Input<'_> {
    /// How many rows its shape says, if it is a shape of such values.
    fn rows(&self, element: ElementType) -> Result<usize, String> {
        let expected = datatype(element);
        if self.datatype != expected {
            return Err(format!("its datatype is {}, and must be {expected}", self.datatype.escape_debug()));
        }
        match (element, &self.shape.0[..]) {
            (ElementType::Vector(width), [rows, columns]) if *columns == usize::from(width) => Ok(*rows),
            (ElementType::Vector(width), _) => Err(format!("its shape must be [rows, {width}]")),
            (_, [rows] | [rows, 1]) => Ok(*rows),
            _ => Err("its shape must be [rows] or [rows, 1]".to_owned()),
        }
    }

    fn column(&self, element: ElementType, rows: usize, binary: &mut &[u8]) -> Result<Column, String> {
        let too_many = || "its shape is larger than any body".to_owned();
        let values = rows.checked_mul(width(element)).ok_or_else(too_many)?;
        match (self.parameters.binary_data_size, self.data) {
            (Some(size), None) => {
                let (bytes, rest) = binary.split_at_checked(size).ok_or("there are not as many bytes as it says")?;
                *binary = rest;
                from_bytes(element, bytes, values)
            }
            (None, Some(data)) => {
                let mut column = Column::with_capacity(element, 0);
                FromJson::new(&mut column, values).read(data.get())?;
                Ok(column)
            }
            (None, None) if self.parameters.shared_memory_region.is_some() => {
                Err("shared memory is not an extension of this server".to_owned())
            }
            _ => Err("it must have either `data` or the parameter `binary_data_size`".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lengths;
        impl<'de> Visitor<'de> for Lengths {
            type Value = Shape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a shape of up to {DIMENSIONS_MAX} dimensions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
                let mut lengths = Vec::new();
                while let Some(length) = list.next_element()? {
                    if lengths.len() == DIMENSIONS_MAX {
                        return Err(A::Error::invalid_length(DIMENSIONS_MAX + 1, &self));
                    }
                    lengths.push(length);
                }
                Ok(Shape(lengths))
            }
        }
        deserializer.deserialize_seq(Lengths)
    }
}

fn bad(reason: impl Into<String>) -> Problem {
    Problem::new("bad-body", reason)
}

fn list(names: &[impl fmt::Display]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
