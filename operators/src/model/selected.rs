//! Models seen through names: some outputs of a model, or its named inputs in another order.

use std::cell::Cell;
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

thread_local! {
    // The outputs of the model that is wrapped, kept by the thread so that scoring does not allocate.
    static SCRATCH: Cell<Vec<Column>> = const { Cell::new(Vec::new()) };
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

impl Pick {
    fn copy(self, column: &Column, output: &mut ColumnMut<'_>) -> Result<(), ScoreError> {
        match (self.element, column, &mut *output) {
            (Some(element), Column::Vector { width, values }, ColumnMut::F32(to)) => {
                to.iter_mut().zip(values.chunks_exact(*width)).for_each(|(to, row)| *to = row[element]);
                Ok(())
            }
            (None, column, output) if column.element_type() == output.as_ref().element_type() => {
                (0..column.len().min(output.as_ref().len())).for_each(|row| output.copy_row(row, column.as_ref(), row));
                Ok(())
            }
            (_, column, output) => {
                let (is, wanted) = (column.element_type(), output.as_ref().element_type());
                Err(ScoreError(format!("an output of {is} was given a column of {wanted}")))
            }
        }
    }
}

/// Makes a column of `rows` rows for each port, of whatever is there already.
fn prepare(columns: &mut Vec<Column>, ports: &[Port], rows: usize) {
    columns.truncate(ports.len());
    for (column, port) in columns.iter_mut().zip(ports) {
        match column {
            Column::F32(values) if port.element == ElementType::F32 => values.resize(rows, f32::NAN),
            Column::I64(values) if port.element == ElementType::I64 => values.resize(rows, i64::MIN),
            Column::Vector { width, values } if port.element == ElementType::Vector(*width as u16) => {
                values.resize(rows * *width, f32::NAN);
            }
            other => *other = Column::missing(port.element, rows),
        }
    }
    columns.extend(ports[columns.len()..].iter().map(|port| Column::missing(port.element, rows)));
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
        let mut all = SCRATCH.take();
        prepare(&mut all, self.model.outputs(), rows);
        let scored = match all.as_mut_slice() {
            [one] => self.model.score(inputs, &mut [one.as_mut()]),
            [one, two] => self.model.score(inputs, &mut [one.as_mut(), two.as_mut()]),
            many => self.model.score(inputs, &mut many.iter_mut().map(Column::as_mut).collect::<Vec<_>>()),
        };
        let copied = scored.and_then(|()| {
            self.picks.iter().zip(outputs).try_for_each(|(pick, output)| pick.copy(&all[pick.output], output))
        });
        SCRATCH.set(all);
        copied
    }

    fn prefetch(&self) {
        self.model.prefetch();
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

    fn prefetch(&self) {
        self.model.prefetch();
    }

    fn bytes(&self) -> usize {
        self.model.bytes()
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activation, Layer, Mlp};

    /// Names the ports of another model: `a`, `b`; `y`, and `p` as a vector of 2.
    #[derive(Debug)]
    struct Named(Mlp, Vec<Port>, Vec<Port>);

    impl Model for Named {
        fn inputs(&self) -> &[Port] {
            &self.1
        }
        fn outputs(&self) -> &[Port] {
            &self.2
        }
        fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
            let rows = inputs[0].len();
            let (mut first, mut second) = (vec![0.0; rows], vec![0.0; rows]);
            self.0.score(inputs, &mut [ColumnMut::F32(&mut first), ColumnMut::F32(&mut second)])?;
            for row in 0..rows {
                outputs[0].copy_row(row, ColumnRef::F32(&first), row);
                let pair = [first[row], second[row]];
                outputs[1].copy_row(row, ColumnRef::Vector { width: 2, values: &pair }, 0);
            }
            Ok(())
        }
        fn bytes(&self) -> usize {
            self.0.bytes()
        }
        fn digest(&self) -> Digest {
            self.0.digest()
        }
    }

    fn named() -> Result<Arc<dyn Model>, LoadError> {
        let (weights, bias) = (vec![1.0, 0.0, 10.0, 100.0], vec![0.0, 0.0]);
        let net = Mlp::new(&[Layer { weights, bias, activation: Activation::Identity }])?;
        let port = |name: &str, element| Port { name: Some(name.to_owned()), element };
        let inputs = vec![port("a", ElementType::F32), port("b", ElementType::F32)];
        let outputs = vec![port("y", ElementType::F32), port("p", ElementType::Vector(2))];
        Ok(Arc::new(Named(net, inputs, outputs)))
    }

    #[test]
    fn outputs_are_picked_by_name_and_element() -> Result<(), Box<dyn std::error::Error>> {
        let picked = Selected::new(named()?, &["p[1]", "y"])?;
        let (mut p, mut y) = ([0.0; 3], [0.0; 3]);
        let inputs = [ColumnRef::F32(&[1.0, 2.0, 3.0]), ColumnRef::F32(&[1.0, 0.0, 2.0])];
        picked.score(&inputs, &mut [ColumnMut::F32(&mut p), ColumnMut::F32(&mut y)])?;
        assert_eq!((p, y), ([110.0, 20.0, 230.0], [1.0, 2.0, 3.0]));
        for unknown in ["q", "p[2]", "y[0]", "p[-1]", "p["] {
            let reason = Selected::new(named()?, &[unknown]).map(drop).expect_err(unknown).reason;
            assert_eq!(reason, format!("the model has no output `{unknown}`; it has `y` (f32), `p` (f32[2])"));
        }
        Ok(())
    }

    #[test]
    fn inputs_come_in_any_order_but_all_of_them() -> Result<(), Box<dyn std::error::Error>> {
        let swapped = Selected::new(Arc::new(Ordered::new(named()?, &["b", "a"])?), &["p[1]"])?;
        let mut p = [0.0];
        swapped.score(&[ColumnRef::F32(&[2.0]), ColumnRef::F32(&[1.0])], &mut [ColumnMut::F32(&mut p)])?;
        assert_eq!(p, [210.0]);
        for names in [&["a"][..], &["a", "c"], &["a", "a"], &["a", "b", "b"]] {
            let reason = Ordered::new(named()?, names).map(drop).expect_err("refused").reason;
            assert!(reason.contains("the model reads `a` (f32), `b` (f32)"), "{reason}");
        }
        Ok(())
    }
}
