//! From a graph to a program: every value becomes registers, every node a step or nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gristmill::traits::{Digest, LoadError, Port};
use gristmill::words::ElementType;
use gristmill::words::element::VECTOR_WIDTH_MAX;

use super::budget::{Budget, Part};
use super::node::{Node, domain, few};
use super::proto::{ModelProto, ValueInfoProto, element};
use super::scan::PORTS_MAX;
use super::tensor::Tensor;
use super::{ML_OPSETS, OPSETS, core, ml};
use crate::model::dense::Dense;
use crate::model::program::{Action, Labels, Program, Span, Step, Write};

/// The most registers of a program: 16 MiB of scratch for each thread.
pub(crate) const REGISTERS_MAX: usize = 1 << 18;

/// The bytes of the longest index behind a name: `[8191]`.
const INDEX_BYTES: usize = 6;

/// What the registers of a value hold.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Float,
    Int,
    Bool,
    /// A number from 0 up to, not including, this.
    Index(usize),
    /// The number of a class with this label.
    Label(Arc<Labels>),
}

/// A value that has a row for each row of the input.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
    /// Dimensions of size 1 before that of the rows.
    pub(crate) before: usize,
    /// Dimensions after that of the rows; their product is the width.
    pub(crate) after: Vec<usize>,
}

impl Rows {
    /// Whether it is `[rows, columns]`, or `[rows]`.
    pub(crate) fn is_plain(&self) -> bool {
        self.before == 0 && self.after.len() <= 1
    }
}

/// A value of the graph.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Constant(Arc<Tensor>),
    Rows(Rows),
}

/// The state of lowering.
pub(crate) struct Lowering {
    values: HashMap<String, Value>,
    uses: HashMap<String, usize>,
    pub(crate) steps: Vec<Step>,
    /// The name under which the last step, a dense layer, gave its output: the nodes that follow may complete it. Empty
    /// when the last step is none.
    pub(crate) open_layer: String,
    registers: usize,
    /// Every allocation that the file's contents decide the size of is taken from it before.
    pub(crate) budget: Budget,
}

fn refused<T>(reason: String) -> Result<T, LoadError> {
    Err(LoadError { reason })
}

/// Lowers a model whose constants have been read.
pub(crate) fn lower(
    model: &ModelProto,
    constants: HashMap<String, Tensor>,
    digest: Digest,
    budget: Budget,
) -> Result<Program, LoadError> {
    let Some(graph) = &model.graph else { return refused("the file has no graph".to_owned()) };
    let mut lowering = Lowering {
        values: HashMap::new(),
        uses: HashMap::new(),
        steps: Vec::new(),
        open_layer: String::new(),
        registers: 0,
        budget,
    };
    for name in graph.node.iter().flat_map(|node| &node.input).chain(graph.output.iter().map(|output| &output.name)) {
        *lowering.uses.entry(name.clone()).or_default() += 1;
    }
    let inputs = lowering.inputs(graph.input.iter().filter(|input| !constants.contains_key(&input.name)))?;
    for (name, tensor) in constants {
        lowering.values.insert(name, Value::Constant(Arc::new(tensor)));
    }
    for proto in &graph.node {
        let node = Node { proto, version: version(model, domain(proto)) };
        let domain = domain(proto);
        let known = match domain {
            "ai.onnx" => OPSETS,
            "ai.onnx.ml" => ML_OPSETS,
            _ => return Err(node.refused("custom domains are not supported")),
        };
        if !known.contains(&node.version) {
            let (first, last) = (known.start(), known.end());
            return Err(node.refused(format!("versions {first} to {last} of {domain} are supported")));
        }
        if domain == "ai.onnx" { core::lower(&mut lowering, node)? } else { ml::lower(&mut lowering, node)? }
    }
    let (outputs, writes) = lowering.outputs(&graph.output)?;
    let Lowering { steps, registers, .. } = lowering;
    Ok(Program { inputs, outputs, writes, steps, registers, digest })
}

/// The version of a domain that the model asks for; 0 when it names none.
fn version(model: &ModelProto, domain: &str) -> i64 {
    let asked =
        model.opset_import.iter().filter(|set| set.domain == domain || (domain == "ai.onnx" && set.domain.is_empty()));
    asked.map(|set| set.version).max().unwrap_or(0)
}

impl Lowering {
    /// Takes `count` times `each` bytes from the budget.
    pub(crate) fn take(&mut self, node: Node<'_>, part: Part, count: usize, each: usize) -> Result<(), LoadError> {
        self.budget.take(part, count, each).map_err(|error| node.refused(error.reason))
    }

    /// The value an input of a node names.
    pub(crate) fn value(&self, node: Node<'_>, index: usize) -> Result<Value, LoadError> {
        let Some(name) = node.input(index) else { return Err(node.refused(format!("input {index} is missing"))) };
        self.values.get(name).cloned().ok_or_else(|| node.refused(format!("input `{name}` is not defined before it")))
    }

    /// An input that has rows.
    pub(crate) fn rows(&self, node: Node<'_>, index: usize) -> Result<Rows, LoadError> {
        match self.value(node, index)? {
            Value::Rows(rows) => Ok(rows),
            Value::Constant(_) => Err(node.refused(format!("input {index} is a constant"))),
        }
    }

    /// An input that is `[rows, columns]` of numbers.
    pub(crate) fn floats(&self, node: Node<'_>, index: usize) -> Result<Rows, LoadError> {
        let rows = self.rows(node, index)?;
        match rows.kind {
            Kind::Float if rows.is_plain() => Ok(rows),
            Kind::Float => {
                Err(node.refused(format!("input {index} has {} dimensions", rows.after.len() + rows.before + 1)))
            }
            _ => Err(node.refused(format!("input {index} does not hold floats"))),
        }
    }

    /// An input that is constant.
    pub(crate) fn constant(&self, node: Node<'_>, index: usize) -> Result<Arc<Tensor>, LoadError> {
        match self.value(node, index)? {
            Value::Constant(tensor) => Ok(tensor),
            Value::Rows(_) => Err(node.refused(format!("input {index} is not a constant"))),
        }
    }

    /// Registers for a value.
    pub(crate) fn allocate(&mut self, node: Option<Node<'_>>, width: usize) -> Result<Span, LoadError> {
        let start = self.registers;
        if width == 0 || width > REGISTERS_MAX - start {
            let reason = format!("{width} columns more; 1 to {REGISTERS_MAX} in all are allowed");
            return Err(node.map_or_else(|| LoadError { reason: reason.clone() }, |node| node.refused(&reason)));
        }
        self.registers += width;
        Ok(Span { start, width })
    }

    /// Adds a step that makes `width` columns of floats of `input`. The layer before it is complete: only who adds a
    /// layer knows under which name it gives its output.
    pub(crate) fn step(
        &mut self,
        node: Node<'_>,
        action: Action,
        input: Span,
        width: usize,
    ) -> Result<Span, LoadError> {
        let output = self.allocate(Some(node), width)?;
        self.open_layer.clear();
        self.steps.push(Step { action, input, output });
        Ok(output)
    }

    /// Names an output of a node.
    pub(crate) fn define(&mut self, node: Node<'_>, index: usize, value: Value) -> Result<(), LoadError> {
        let Some(name) = node.proto.output.get(index).filter(|name| !name.is_empty()) else { return Ok(()) };
        match self.values.insert(name.clone(), value) {
            None => Ok(()),
            Some(_) => Err(node.refused(format!("output `{name}` is defined twice"))),
        }
    }

    /// Names an output of `[rows, columns]` of floats.
    pub(crate) fn define_floats(&mut self, node: Node<'_>, index: usize, span: Span) -> Result<(), LoadError> {
        self.define(node, index, Value::Rows(Rows { span, kind: Kind::Float, before: 0, after: vec![span.width] }))
    }

    /// The dense layer that gives this input of a node, if nobody else reads it and it is the last step.
    pub(crate) fn open_layer(&mut self, node: Node<'_>, index: usize) -> Option<&mut Dense> {
        let name = node.input(index)?;
        if name != self.open_layer || self.uses.get(name) != Some(&1) {
            return None;
        }
        match self.steps.last_mut() {
            Some(Step { action: Action::Dense(dense), .. }) => Some(dense),
            _ => None,
        }
    }

    fn inputs<'a>(&mut self, ports: impl Iterator<Item = &'a ValueInfoProto>) -> Result<Vec<Port>, LoadError> {
        let mut inputs = Vec::new();
        for port in ports {
            let name = &port.name;
            let Some(tensor) = port.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()) else {
                return refused(format!("input `{name}` is no tensor"));
            };
            let kind = match tensor.elem_type {
                element::FLOAT => Kind::Float,
                element::INT32 | element::INT64 => Kind::Int,
                element::BOOL => Kind::Bool,
                other => {
                    return refused(format!(
                        "input `{name}` is of {}; float, int32, int64 and bool are supported",
                        element::name(other)
                    ));
                }
            };
            let dims: Vec<Option<i64>> =
                tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| dim.dim_value).collect();
            let after = match dims[..] {
                [_] => vec![],
                [_, Some(columns)] if columns >= 1 && columns <= PORTS_MAX as i64 => vec![columns as usize],
                _ => {
                    let dims = few(&dims);
                    return refused(format!(
                        "input `{name}` is {dims}; [rows, columns] with 1 to {PORTS_MAX} columns is supported"
                    ));
                }
            };
            let width = after.iter().product();
            let span = self.allocate(None, width)?;
            self.budget.take(Part::Columns, width, size_of::<Port>())?;
            inputs.extend((0..width).map(|_| Port {
                name: (width == 1).then(|| name.clone()),
                element: ElementType::F32, // a model takes numbers: whole ones and bools are read as such
            }));
            if self.values.insert(name.clone(), Value::Rows(Rows { span, kind, before: 0, after })).is_some() {
                return refused(format!("two inputs are named `{name}`"));
            }
        }
        match inputs.len() {
            0 => return refused("the graph has no input".to_owned()),
            1 => inputs[0].name = None,
            _ => {}
        }
        Ok(inputs)
    }

    fn outputs(&mut self, ports: &[ValueInfoProto]) -> Result<(Vec<Port>, Vec<Write>), LoadError> {
        let (mut values, mut names) = (Vec::new(), HashSet::new());
        for ValueInfoProto { name, .. } in ports {
            if !names.insert(name) {
                return refused(format!("two outputs are named `{name}`; name each once"));
            }
            match self.values.get(name) {
                Some(Value::Rows(rows)) => values.push((name, rows)),
                Some(Value::Constant(_)) => return refused(format!("output `{name}` is a constant")),
                None => return refused(format!("output `{name}` is not defined by any node")),
            }
        }
        if values.is_empty() {
            return refused("the graph has no output".to_owned());
        }
        // Beside a label, scores belong together; without one, every column is a target of its own.
        let has_label = values.iter().any(|(_, rows)| !matches!(rows.kind, Kind::Float));
        let (mut outputs, mut writes, mut elements) = (Vec::new(), Vec::new(), 0);
        for (name, rows) in values {
            let width = rows.span.width;
            let is_vector = has_label && width > 1 && matches!(rows.kind, Kind::Float);
            if is_vector && width > usize::from(VECTOR_WIDTH_MAX) {
                return refused(format!("output `{name}` has {width} columns; {VECTOR_WIDTH_MAX} are allowed"));
            }
            let columns = if is_vector { 1 } else { width };
            elements += width;
            if columns > PORTS_MAX - outputs.len() || elements > REGISTERS_MAX {
                return refused(format!(
                    "output `{name}` has {width} columns, which are too many with those before it; {PORTS_MAX} columns \
                     and {REGISTERS_MAX} elements of vectors are allowed in all: give fewer outputs"
                ));
            }
            let each = size_of::<Port>() + size_of::<Write>() + name.len() + INDEX_BYTES;
            self.budget.take(Part::Columns, columns, each)?;
            if is_vector {
                outputs.push(Port { name: Some(name.clone()), element: ElementType::Vector(width as u16) });
                writes.push(Write::Vector(rows.span));
            } else {
                write_columns(name, rows, &mut outputs, &mut writes);
            }
        }
        Ok((outputs, writes))
    }
}

/// An output column for each column of a value.
fn write_columns(name: &str, rows: &Rows, outputs: &mut Vec<Port>, writes: &mut Vec<Write>) {
    let Span { start, width } = rows.span;
    for column in 0..width {
        let (element, write) = match &rows.kind {
            Kind::Float => (ElementType::F32, Write::Float(start + column)),
            Kind::Int | Kind::Index(_) => (ElementType::I64, Write::Int(start + column)),
            Kind::Bool => (ElementType::Bool, Write::Bool(start + column)),
            Kind::Label(labels) => {
                let element = match **labels {
                    Labels::Ints(_) => ElementType::I64,
                    Labels::Strings(_) => ElementType::Str,
                };
                (element, Write::Label(start + column, Arc::clone(labels)))
            }
        };
        let name = if width == 1 { name.to_owned() } else { format!("{name}[{column}]") };
        outputs.push(Port { name: Some(name), element });
        writes.push(write);
    }
}
