//! A model whose columns are named differently in the artifact, or of which only some outputs are provided.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::error::Refusal;
use super::node::{ModelManifest, OutputName};
use super::tree::shorten;
use crate::topology::need::Need;
use crate::topology::registry::suggest;
use crate::traits::{Digest, Model, Port, ScoreError};
use crate::words::{Column, ColumnMut, ColumnRef, ElementType};

/// A model in the order of a node's needs and provided streams.
#[derive(Debug)]
struct Mapped {
    model: Arc<dyn Model>,
    /// For each input of the model the number of the need that it reads.
    needs: Box<[usize]>,
    /// For each provided stream what it is of the model's outputs.
    provides: Box<[Pick]>,
    inputs: Box<[Port]>,
    outputs: Box<[Port]>,
}

/// An output of a model, or one element of an output that is a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pick {
    output: usize,
    element: Option<usize>,
}

impl Pick {
    fn whole(output: usize) -> Self {
        Self { output, element: None }
    }

    /// As a port of the mapped model.
    fn port(self, model: &dyn Model) -> Port {
        let port = model.outputs()[self.output].clone();
        match self.element {
            None => port,
            Some(element) => {
                let name = port.name.map(|name| format!("{name}[{element}]"));
                Port { name, element: ElementType::F32 }
            }
        }
    }

    /// Whether both are of one output, and not two elements of it.
    fn overlaps(self, other: Self) -> bool {
        self.output == other.output
            && (self.element.is_none() || other.element.is_none() || self.element == other.element)
    }
}

/// The model as the node reads and provides it: itself where the orders agree.
///
/// # Errors
/// With the model's names, where they do not match the node's.
pub(super) fn mapped(
    model: Arc<dyn Model>,
    manifest: &ModelManifest,
    needs: &[Need],
    provides: usize,
) -> Result<Arc<dyn Model>, Vec<Refusal>> {
    let (inputs, outputs) = (inputs(model.as_ref(), manifest, needs), outputs(model.as_ref(), manifest, provides));
    let (inputs, outputs) = match (inputs, outputs) {
        (Ok(inputs), Ok(outputs)) => (inputs, outputs),
        (inputs, outputs) => return Err(inputs.err().unwrap_or_default().into_iter().chain(outputs.err()).collect()),
    };
    let straight = |numbers: &[usize]| numbers.iter().enumerate().all(|(index, number)| index == *number);
    let all_outputs = outputs.iter().copied().eq((0..model.outputs().len()).map(Pick::whole));
    if straight(&inputs) && all_outputs {
        return Ok(model);
    }
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    order.sort_unstable_by_key(|input| inputs[*input]);
    Ok(Arc::new(Mapped {
        inputs: order.into_iter().map(|input| model.inputs()[input].clone()).collect(),
        outputs: outputs.iter().map(|pick| pick.port(model.as_ref())).collect(),
        needs: inputs.into(),
        provides: outputs.into(),
        model,
    }))
}

/// The number of the need that a manifest calls `text`: the one with this label (`wear`, `previous(wear)`, `@site`),
/// else the only one that reads a stream or attribute of this name.
///
/// # Errors
/// How many needs it could be.
pub(super) fn need_called(needs: &[Need], text: &str) -> Result<usize, usize> {
    // A label that is not the name itself is longer: most are told apart without writing them.
    let is_label = |need: &Need| {
        let is_name = need.is_direct() && &*need.name == text;
        is_name || (text.len() > need.name.len() && need.label() == text)
    };
    if let Some(need) = needs.iter().position(is_label) {
        return Ok(need);
    }
    let mut of_name = needs.iter().enumerate().filter(|(_, need)| &*need.name == text);
    match (of_name.next(), of_name.count()) {
        (Some((need, _)), 0) => Ok(need),
        (Some(_), more) => Err(1 + more),
        (None, _) => Err(0),
    }
}

/// For each input of the model the number of its need: by name where the model has one, the others in order.
fn inputs(model: &dyn Model, manifest: &ModelManifest, needs: &[Need]) -> Result<Vec<usize>, Vec<Refusal>> {
    let ports = model.inputs();
    if ports.len() != needs.len() {
        let names: Vec<_> = needs.iter().map(|need| format!("`{}`", need.label())).take(LISTED_MAX).collect();
        return Err(vec![Refusal::new(
            format!("the model reads {} columns ({}), but the node needs {}", ports.len(), list(ports), needs.len()),
            format!("write a need for each column, in their order; now there is {}", names.join(", ")),
        )]);
    }
    let labels: Vec<String> = needs.iter().map(Need::label).collect();
    let known: Vec<&str> = labels.iter().map(String::as_str).collect();
    let mut taken = vec![false; needs.len()];
    let mut numbers = vec![None; ports.len()];
    let mut refusals = Vec::new();
    for name in manifest.inputs.keys() {
        if !ports.iter().any(|port| port.name.as_ref() == Some(name)) {
            let names: Vec<_> = ports.iter().filter_map(|port| port.name.as_deref()).collect();
            let problem = format!("the model has no input `{}`", shorten(name));
            refusals.push(Refusal::new(problem, suggest(name, &names, "input")));
        }
    }
    for (port, number) in ports.iter().zip(&mut numbers) {
        let Some(name) = &port.name else { continue };
        let need = manifest.inputs.get(name).unwrap_or(name);
        match need_called(needs, need) {
            Ok(need) if !taken[need] => (taken[need], *number) = (true, Some(need)),
            Ok(_) => refusals.push(Refusal::new(
                format!("two inputs of the model read the need `{}`", shorten(need)),
                format!("map each to its own: inputs = {{ name = \"need\" }}; {}", listed(&known)),
            )),
            Err(2..) => refusals.push(Refusal::new(
                format!("the model's input `{}` reads `{}`, which several needs do", shorten(name), shorten(need)),
                format!("say which with inputs = {{ \"{}\" = \"need\" }}; {}", shorten(name), listed(&known)),
            )),
            Err(_) => refusals.push(Refusal::new(
                format!("the model's input `{}` reads no need of this name: `{}`", shorten(name), shorten(need)),
                format!(
                    "map it with inputs = {{ \"{}\" = \"need\" }}; {}",
                    shorten(name),
                    suggest(need, &known, "need")
                ),
            )),
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let mut free = (0..needs.len()).filter(|need| !taken[*need]);
    Ok(numbers.into_iter().map(|number| number.or_else(|| free.next()).unwrap_or_default()).collect())
}

/// For each provided stream what it is of the model's outputs.
fn outputs(model: &dyn Model, manifest: &ModelManifest, provides: usize) -> Result<Vec<Pick>, Refusal> {
    let ports = model.outputs();
    if manifest.outputs.is_empty() {
        if ports.len() == provides {
            return Ok((0..provides).map(Pick::whole).collect());
        }
        return Err(Refusal::new(
            format!("the model gives {} columns ({}), but the node provides {provides}", ports.len(), list(ports)),
            "say with outputs = [\"…\"] which of them it provides, by name or number",
        ));
    }
    let mut picks: Vec<Pick> = Vec::with_capacity(provides);
    for output in &manifest.outputs {
        let pick = match output {
            OutputName::Column(number) => (*number < ports.len()).then_some(Pick::whole(*number)),
            OutputName::Name(name) => by_name(ports, name),
        };
        let shown = match output {
            OutputName::Column(number) => number.to_string(),
            OutputName::Name(name) => shorten(name),
        };
        match pick {
            Some(pick) if !picks.iter().any(|other| pick.overlaps(*other)) => picks.push(pick),
            Some(_) => return Err(Refusal::new(format!("the output `{shown}` is provided twice"), "name each once")),
            None => {
                let problem = format!("the model has no output `{shown}`");
                return Err(Refusal::new(problem, format!("its outputs are {}", list(ports))));
            }
        }
    }
    Ok(picks)
}

/// The output of that name; `name[2]` is the third element of a vector, or the third of those that share a name.
fn by_name(ports: &[Port], name: &str) -> Option<Pick> {
    let named = |name: &str, skip: usize| {
        let of_name = ports.iter().enumerate().filter(|(_, port)| port.name.as_deref() == Some(name));
        of_name.map(|(number, _)| number).nth(skip)
    };
    if let Some(output) = named(name, 0) {
        return Some(Pick::whole(output));
    }
    let (name, index) = name.strip_suffix(']')?.rsplit_once('[')?;
    let index: usize = index.parse().ok()?;
    let first = named(name, 0)?;
    match ports[first].element {
        ElementType::Vector(width) => {
            (index < usize::from(width)).then_some(Pick { output: first, element: Some(index) })
        }
        _ => named(name, index).map(Pick::whole),
    }
}

const LISTED_MAX: usize = 12;

/// The labels of the needs, for an advice.
fn listed(labels: &[&str]) -> String {
    let shown: Vec<_> = labels.iter().take(LISTED_MAX).map(|label| format!("`{}`", shorten(label))).collect();
    let more = if labels.len() > LISTED_MAX { ", …" } else { "" };
    format!("the node needs {}{more}", shown.join(", "))
}

fn list(ports: &[Port]) -> String {
    let shown = ports.iter().enumerate().take(LISTED_MAX).map(|(number, port)| {
        let name = port.name.as_deref().map(shorten).unwrap_or_default();
        format!("{number} `{name}: {}`", port.element)
    });
    let more = if ports.len() > LISTED_MAX { ", …" } else { "" };
    shown.collect::<Vec<_>>().join(", ") + more
}

impl Model for Mapped {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        let rows = inputs.first().map_or(0, ColumnRef::len);
        let inputs: Vec<ColumnRef<'_>> = self.needs.iter().map(|need| inputs[*need]).collect();
        let mut slots: Vec<Option<ColumnMut<'_>>> = self.model.outputs().iter().map(|_| None).collect();
        let mut elements = Vec::new();
        for (pick, column) in self.provides.iter().zip(outputs) {
            match pick.element {
                None => slots[pick.output] = Some(column.rows(0..rows)),
                Some(element) => elements.push((pick.output, element, column)),
            }
        }
        // What the node provides only in part, or not at all, is written beside it.
        let aside = slots.iter().zip(self.model.outputs()).enumerate().filter(|(_, (slot, _))| slot.is_none());
        let mut aside: Vec<(usize, Column)> =
            aside.map(|(output, (_, port))| (output, Column::missing(port.element, rows))).collect();
        let mut refs = aside.iter_mut().map(|(_, column)| column.as_mut());
        let mut all: Vec<ColumnMut<'_>> = slots.into_iter().filter_map(|slot| slot.or_else(|| refs.next())).collect();
        self.model.score(&inputs, &mut all)?;
        for (output, element, column) in elements {
            let vector = aside.iter().find(|(aside, _)| *aside == output);
            if let (Some((_, Column::Vector { width, values })), ColumnMut::F32(to)) = (vector, column) {
                to.iter_mut().zip(values.chunks_exact(*width)).for_each(|(to, row)| *to = row[element]);
            }
        }
        Ok(())
    }

    fn prefetch(&self) {
        self.model.prefetch();
    }

    fn bytes(&self) -> usize {
        self.model.bytes()
    }

    /// Of the artifact and the mapping: the same artifact read another way scores otherwise.
    fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        hash.update(self.model.digest().0);
        hash.update(format!("{:?} {:?}", self.needs, self.provides));
        Digest(hash.finalize().into())
    }
}
