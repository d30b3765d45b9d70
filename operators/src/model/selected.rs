//! Models seen through names: some outputs of a model, or its named inputs in another order.

use std::sync::Arc;

use gristmill::traits::{Digest, LoadError, Model, Port, ScoreError};
use gristmill::words::{Column, ColumnMut, ColumnRef, ElementType};

use super::digest::Content;

/// Some outputs of a model, in an order of the caller's, picked by name: `label`, or `probabilities[1]` for one element
/// of a vector.
#[derive(Debug)]
pub struct Selected {
    model: Arc<dyn Model>,
    outputs: Vec<Port>,
    picks: Vec<Pick>,
    digest: Digest,
}

#[derive(Clone, Copy, Debug)]
struct Pick {
    output: usize,
    element: Option<usize>,
}

impl Selected {
    /// `names` of outputs, each with an element or without.
    ///
    /// # Errors
    /// When an output or element does not exist; the text lists the outputs there are.
    pub fn new<S: AsRef<str>>(model: Arc<dyn Model>, names: &[S]) -> Result<Self, LoadError> {
        let mut content = Content::new("selected");
        content.bytes(&model.digest().0);
        let (mut picks, mut outputs) = (Vec::new(), Vec::new());
        for name in names {
            let name = name.as_ref();
            content.bytes(name.as_bytes());
            let (pick, element) = find(model.outputs(), name).ok_or_else(|| LoadError {
                reason: format!("the model has no output `{name}`; it has {}", listed(model.outputs())),
            })?;
            picks.push(pick);
            outputs.push(Port { name: Some(name.to_owned()), element });
        }
        Ok(Self { model, outputs, picks, digest: content.finish() })
    }
}

fn find(ports: &[Port], name: &str) -> Option<(Pick, ElementType)> {
    if let Some(output) = ports.iter().position(|port| port.name.as_deref() == Some(name)) {
        return Some((Pick { output, element: None }, ports[output].element));
    }
    let (base, index) = name.strip_suffix(']')?.rsplit_once('[')?;
    let element: u16 = index.parse().ok()?;
    let output = ports.iter().position(|port| port.name.as_deref() == Some(base))?;
    match ports[output].element {
        ElementType::Vector(width) if element < width => {
            Some((Pick { output, element: Some(usize::from(element)) }, ElementType::F32))
        }
        _ => None,
    }
}

fn listed(ports: &[Port]) -> String {
    let names = ports.iter().map(|port| format!("`{}` ({})", port.name.as_deref().unwrap_or("unnamed"), port.element));
    names.collect::<Vec<_>>().join(", ")
}

impl Model for Selected {
    fn inputs(&self) -> &[Port] {
        self.model.inputs()
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        let rows = inputs.first().map_or(0, ColumnRef::len);
        let mut all: Vec<Column> =
            self.model.outputs().iter().map(|port| Column::missing(port.element, rows)).collect();
        let mut refs: Vec<ColumnMut<'_>> = all.iter_mut().map(Column::as_mut).collect();
        self.model.score(inputs, &mut refs)?;
        for (pick, output) in self.picks.iter().zip(outputs) {
            match (pick.element, &all[pick.output], &mut *output) {
                (Some(element), Column::Vector { width, values }, ColumnMut::F32(to)) => {
                    to.iter_mut().zip(values.chunks_exact(*width)).for_each(|(to, row)| *to = row[element]);
                }
                (_, column, output) => {
                    let (is, wanted) = (column.element_type(), output.as_ref().element_type());
                    if is != wanted || pick.element.is_some() {
                        return Err(ScoreError(format!("an output of {is} was given a column of {wanted}")));
                    }
                    (0..rows).for_each(|row| output.copy_row(row, column.as_ref(), row));
                }
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.model.bytes()
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}

/// A model with named inputs, whose columns come in an order of the caller's.
#[derive(Debug)]
pub struct Ordered {
    model: Arc<dyn Model>,
    inputs: Vec<Port>,
    /// For each input of the model, the column it reads.
    order: Vec<usize>,
    digest: Digest,
}

impl Ordered {
    /// `names` of the inputs, in the order in which their columns will come.
    ///
    /// # Errors
    /// When the names are not exactly those of the model's inputs; the text lists them.
    pub fn new<S: AsRef<str>>(model: Arc<dyn Model>, names: &[S]) -> Result<Self, LoadError> {
        let refused =
            |what: String| LoadError { reason: format!("{what}; the model reads {}", listed(model.inputs())) };
        let mut content = Content::new("ordered");
        content.bytes(&model.digest().0);
        for (place, name) in names.iter().map(AsRef::as_ref).enumerate() {
            content.bytes(name.as_bytes());
            if !model.inputs().iter().any(|port| port.name.as_deref() == Some(name)) {
                return Err(refused(format!("the model has no input `{name}`")));
            }
            if names[..place].iter().any(|before| before.as_ref() == name) {
                return Err(refused(format!("`{name}` is given twice")));
            }
        }
        let place = |port: &Port| {
            let name = port.name.as_deref();
            names
                .iter()
                .position(|given| Some(given.as_ref()) == name)
                .ok_or_else(|| refused(format!("no column is given for the input `{}`", name.unwrap_or("unnamed"))))
        };
        let order = model.inputs().iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let mut inputs = model.inputs().to_vec();
        order.iter().zip(model.inputs()).for_each(|(column, port)| inputs[*column] = port.clone());
        Ok(Self { inputs, order, digest: content.finish(), model })
    }
}

impl Model for Ordered {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        self.model.outputs()
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        if inputs.len() != self.order.len() {
            return Err(ScoreError(format!("{} columns were given for {} inputs", inputs.len(), self.order.len())));
        }
        const STACK: usize = 32;
        let Some(first) = inputs.first() else { return self.model.score(inputs, outputs) };
        if self.order.len() <= STACK {
            let mut ordered = [*first; STACK];
            ordered.iter_mut().zip(&self.order).for_each(|(to, from)| *to = inputs[*from]);
            return self.model.score(&ordered[..self.order.len()], outputs);
        }
        let ordered: Vec<ColumnRef<'_>> = self.order.iter().map(|from| inputs[*from]).collect();
        self.model.score(&ordered, outputs)
    }

    fn bytes(&self) -> usize {
        self.model.bytes()
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}
