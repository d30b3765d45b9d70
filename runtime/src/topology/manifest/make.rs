//! From manifests to nodes: operators are made, artifacts loaded, and everything that does not fit is reported.

use std::sync::Arc;

use super::artifact::{Artifacts, Place, is_family};
use super::error::{Problems, Refusal};
use super::mapped::{mapped, need_called};
use super::node::{ModelManifest, NodeManifest, Run};
use super::tree::shorten;
use crate::topology::node::{Family, Node, NodeKind, SinkNode, Work};
use crate::topology::registry::Registry;
use crate::topology::scorer::{check_model, misfits_of};
use crate::topology::sensor::sensor_node;
use crate::traits::Model;
use crate::words::ElementType;

/// Makes nodes; `place` is where the artifacts are.
pub(super) fn nodes(
    manifests: &[NodeManifest],
    registry: &Registry,
    place: Place<'_>,
    problems: &mut Problems,
) -> Vec<Node> {
    let mut maker = Maker { registry, artifacts: Artifacts::of(place), problems };
    manifests.iter().filter_map(|manifest| maker.node(manifest)).collect()
}

struct Maker<'a> {
    registry: &'a Registry,
    artifacts: Artifacts<'a>,
    problems: &'a mut Problems,
}

impl Maker<'_> {
    fn node(&mut self, manifest: &NodeManifest) -> Option<Node> {
        let (kind, work) = match &manifest.run {
            Run::Sensor { from, cleaning } => {
                let (name, element) = manifest.provides.first()?;
                let node = sensor_node(name.clone(), *element, from.clone(), cleaning.clone());
                (NodeKind::Sensor, node.work)
            }
            Run::Operator { name, parameters, model } => {
                let work = self.operator(manifest, name, parameters)?;
                let model = *model || matches!(work, Work::Model(_) | Work::Family(_));
                (if model { NodeKind::Model } else { NodeKind::Operator }, work)
            }
            Run::Model(model) => (NodeKind::Model, self.model(manifest, model)?),
            Run::Sink { binding, asks } => {
                (NodeKind::Sink, Work::Sink(SinkNode { binding: binding.clone(), asks: asks.clone() }))
            }
        };
        let (id, needs, provides) = (manifest.id.clone(), manifest.needs.clone(), manifest.provides.clone());
        let mut node = Node::new(id, kind, needs, provides, work);
        node.rule = manifest.rows;
        node.every = manifest.every;
        node.when.clone_from(&manifest.when);
        node.missing.clone_from(&manifest.missing);
        node.max_age = manifest.max_age;
        node.as_of_rows = manifest.as_of_rows;
        node.selector.clone_from(&manifest.keys);
        node.priority = manifest.priority;
        node.pending = manifest.pending;
        node.version = manifest.version;
        node.slow = manifest.slow;
        if let Run::Model(model) = &manifest.run {
            node.inputs = called(manifest, model);
        }
        node.trial.clone_from(&manifest.trial);
        Some(node)
    }

    fn refuse(&mut self, manifest: &NodeManifest, refusal: Refusal) {
        let field = manifest.run.field();
        self.problems.add(manifest.lines.of(field), manifest.place(field), refusal);
    }

    fn operator(&mut self, manifest: &NodeManifest, name: &str, parameters: &serde_json::Value) -> Option<Work> {
        let (needs, provides) = types(manifest);
        let made = match self.registry.operator(name) {
            Ok(factory) => factory(parameters, &needs, &provides).map_err(|reason| {
                vec![Refusal::new(format!("the operator `{}` is refused: {reason}", shorten(name)), "")]
            }),
            Err(error) => Err(vec![Refusal::new(format!("there is no {} `{}`", error.kind, error.name), error.advice)]),
        };
        let made = made.and_then(|mut work| {
            work.wire(&manifest.needs, &manifest.provides);
            let misfits = misfits(&work, &needs, &provides);
            if misfits.is_empty() {
                return Ok(work);
            }
            let refusal = |why| Refusal::new(format!("the operator `{}` does not fit: {why}", shorten(name)), "");
            Err(misfits.into_iter().map(refusal).collect())
        });
        made.map_err(|refusals| refusals.into_iter().for_each(|refusal| self.refuse(manifest, refusal))).ok()
    }

    fn model(&mut self, manifest: &NodeManifest, model: &ModelManifest) -> Option<Work> {
        let format = match self.registry.format(&model.format) {
            Ok(format) => Arc::clone(format),
            Err(error) => {
                let problem = format!("there is no {} `{}`", error.kind, error.name);
                self.refuse(manifest, Refusal::new(problem, error.advice));
                return None;
            }
        };
        let work = if is_family(&model.path) {
            let (loaded, refusals) = self.artifacts.family(format.as_ref(), &model.path, model.default.as_deref());
            fit_family(&loaded, manifest, model, refusals).map(Work::Family)
        } else if model.default.is_some() {
            let problem = "has a `default`, but its path has no `{key}`";
            Err(vec![Refusal::new(problem, "leave it out, or write {key} into the name of the file")])
        } else {
            let loaded = self.artifacts.model(format.as_ref(), &model.path).map_err(|refusal| vec![refusal]);
            loaded.and_then(|loaded| fit(loaded, manifest, model)).map(Work::Model)
        };
        match work {
            Ok(work) => Some(work),
            Err(refusals) => {
                refusals.into_iter().for_each(|refusal| self.refuse(manifest, refusal));
                None
            }
        }
    }
}

fn types(manifest: &NodeManifest) -> (Vec<ElementType>, Vec<ElementType>) {
    let needs = manifest.needs.iter().map(|need| need.element).collect();
    (needs, manifest.provides.iter().map(|(_, element)| *element).collect())
}

/// Why what a factory made cannot stand in a node with these types; names are looked at when the node is resolved.
fn misfits(work: &Work, needs: &[ElementType], provides: &[ElementType]) -> Vec<String> {
    let checked = match work {
        Work::Operator(operator) => operator.check(needs, provides),
        Work::Model(model) => check_model(model.as_ref(), needs, provides),
        Work::Family(family) => return misfits_of(family, |model| check_model(model, needs, provides)),
        Work::Sink(_) | Work::Sensor { .. } => Err("it makes a sensor or a sink, which are no operators".to_owned()),
    };
    checked.err().into_iter().collect()
}

/// What the model calls each need; nothing where no name is mapped.
fn called(manifest: &NodeManifest, model: &ModelManifest) -> Vec<String> {
    if model.inputs.is_empty() {
        return Vec::new();
    }
    let mut called: Vec<String> = manifest.needs.iter().map(|need| need.name.to_string()).collect();
    for (name, need) in &model.inputs {
        if let Ok(need) = need_called(&manifest.needs, need) {
            called[need].clone_from(name);
        }
    }
    called
}

fn fit(model: Arc<dyn Model>, manifest: &NodeManifest, names: &ModelManifest) -> Result<Arc<dyn Model>, Vec<Refusal>> {
    let (needs, provides) = types(manifest);
    let model = mapped(model, names, &manifest.needs, provides.len())?;
    match check_model(model.as_ref(), &needs, &provides) {
        Ok(()) => Ok(model),
        Err(reason) => Err(vec![Refusal::new(reason, "change the types of `needs` and `provides` to the model's")]),
    }
}

/// Fits all members of a family, each in the same way; `refusals` are those that could not be loaded.
fn fit_family(
    family: &Family,
    manifest: &NodeManifest,
    names: &ModelManifest,
    mut refusals: Vec<Refusal>,
) -> Result<Family, Vec<Refusal>> {
    let mut fit_one = |who: String, model: &Arc<dyn Model>| {
        fit(Arc::clone(model), manifest, names)
            .map_err(|errors| {
                let of = |error: Refusal| Refusal::new(format!("{who}: {}", error.problem), error.advice);
                refusals.extend(errors.into_iter().map(of));
            })
            .ok()
    };
    let default = family.default.as_ref().and_then(|model| fit_one("the default".to_owned(), model));
    let members = family
        .members
        .into_iter()
        .filter_map(|(key, model)| fit_one(format!("the member `{key}`"), model).map(|model| (key.clone(), model)));
    let mut fitted: Family = members.collect();
    fitted.default = default;
    if refusals.is_empty() { Ok(fitted) } else { Err(refusals) }
}
