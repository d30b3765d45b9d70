//! Random nodes.

use std::sync::Arc;

use gristmill::Stream;
use gristmill::topology::{
    Missing, Need, NeedKind, Node, NodeKind, RowRule, Selector, Work, optional, previous, provide,
};
use gristmill::words::{ElementType, Key, Span, StreamName, Value};

use super::super::model::{Linear, family_node, model_node};
use super::super::operators::{Fails, Fragile, Lag, Mix, Sum, Tumble, operator_node};
use super::super::plan::Axis;
use super::expression;
use super::maker::{Known, Maker};

impl Maker {
    /// A node, or the nodes of a loop, that read what is known.
    pub(super) fn some_nodes(&mut self) -> Vec<Node> {
        let mut node = match self.random.weighted(&[14, 12, 8, 14, 14, 18, 12, 10, 5]) {
            0 => self.operator(|maker| Arc::new(Mix { salt: maker.random.between(-3, 9) })),
            1 => self.operator(|maker| Arc::new(Sum { scale: maker.random.between(1, 4) })),
            2 => self.operator(|maker| Arc::new(Lag { rows: maker.random.below(4) })),
            3 => {
                let mut node = self.operator(|_| Arc::new(Mix { salt: 0 }));
                node.work = self.tumble();
                node
            }
            4 => {
                let percent = *self.random.pick(&[5, 30, 60]);
                let fails = *self.random.pick(&[Fails::Panics, Fails::Errs]);
                self.operator(|_| Arc::new(Fragile { fails, percent }))
            }
            5 => self.model(),
            6 => return self.circle(),
            8 => {
                let mut node = self.operator(|_| Arc::new(Mix { salt: 0 }));
                node.provides.truncate(1);
                self.decorate(&mut node);
                expression::put(&mut self.random, &mut node);
                return vec![node];
            }
            _ => match self.closure() {
                Some(node) => node,
                None => self.operator(|_| Arc::new(Mix { salt: 7 })),
            },
        };
        self.decorate(&mut node);
        vec![node]
    }

    fn tumble(&mut self) -> Work {
        let width = *self.random.pick(&[300_000, 500_000, 1_000_000, 4_000_000]);
        let fails_percent = *self.random.pick(&[0, 0, 10]);
        Work::Operator(Arc::new(Tumble { width, fails_percent }))
    }

    fn operator(&mut self, make: impl FnOnce(&mut Self) -> Arc<dyn gristmill::traits::AnyOperator>) -> Node {
        let needs = self.needs();
        let provides = self.provides();
        let id = provides[0].0.clone();
        let mut node = operator_node(&id, needs, provides, Mix { salt: 0 });
        node.work = Work::Operator(make(self));
        node
    }

    fn need(&mut self, known: &Known) -> Need {
        let kind = if self.random.percent(25) { NeedKind::Optional } else { NeedKind::Required };
        Need { name: known.name.clone(), element: known.element, kind }
    }

    /// One to three streams, an attribute at times, and at times a previous value of the node's own axis.
    fn needs(&mut self) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        let count = self.random.between(1, 3);
        for _ in 0..count {
            // Nodes that were made last are read more often, so that paths get long.
            let late = if self.random.percent(50) { self.known.len() / 2 } else { 0 };
            let known = self.random.pick(&self.known[late..]).clone();
            if needs.iter().all(|need| need.name != known.name) {
                let need = self.need(&known);
                needs.push(need);
            }
        }
        if self.random.percent(10) {
            let place = self.random.below(needs.len() + 1);
            needs.insert(place, Need { name: "rating".into(), element: ElementType::F64, kind: NeedKind::Attribute });
        }
        if self.random.percent(10) {
            let first = needs.iter().find(|need| need.is_direct()).expect("it reads a stream").name.clone();
            let axis = self.axis_of(&first).expect("it is known");
            let beside: Vec<Known> = self.known.iter().filter(|known| known.axis == axis).cloned().collect();
            let known = self.random.pick(&beside).clone();
            let kind = NeedKind::Previous { initial: initial(known.element) };
            let place = self.random.below(needs.len() + 1);
            needs.insert(place, Need { name: known.name, element: known.element, kind });
        }
        needs
    }

    fn provides(&mut self) -> Vec<(StreamName, ElementType)> {
        let count = if self.random.percent(25) { 2 } else { 1 };
        (0..count)
            .map(|_| {
                const TYPES: [ElementType; 6] = [
                    ElementType::F64,
                    ElementType::F32,
                    ElementType::Bool,
                    ElementType::I64,
                    ElementType::Str,
                    ElementType::Vector(3),
                ];
                let element = TYPES[self.random.weighted(&[35, 25, 20, 10, 5, 5])];
                (StreamName::from(self.name("n")), element)
            })
            .collect()
    }

    /// A model for all keys, or a family.
    pub(super) fn model(&mut self) -> Node {
        let numbers: Vec<Known> = self.known.iter().filter(|known| is_number(known.element)).cloned().collect();
        if numbers.is_empty() {
            return self.operator(|_| Arc::new(Mix { salt: 3 }));
        }
        let mut needs: Vec<Need> = Vec::new();
        for _ in 0..self.random.between(1, 3) {
            let known = self.random.pick(&numbers).clone();
            if needs.iter().all(|need| need.name != known.name) {
                let need = self.need(&known);
                needs.push(need);
            }
        }
        let outputs = 1 + self.random.weighted(&[75, 25]);
        let provides: Vec<_> = (0..outputs).map(|_| (StreamName::from(self.name("n")), ElementType::F32)).collect();
        let id = provides[0].0.clone();
        if self.random.percent(40) {
            let model = self.linear(needs.len(), outputs);
            return model_node(&id, needs, provides, model);
        }
        let default = self.random.percent(50).then(|| self.linear(needs.len(), outputs));
        let members = self.members(needs.len(), outputs);
        family_node(&id, needs, provides, members, default)
    }

    pub(super) fn linear(&mut self, inputs: usize, outputs: usize) -> Linear {
        let model = Linear::new(inputs, outputs, self.random.between(1, 200) as u8);
        if self.random.percent(60) { model.refuses_above(self.random.between(-100, 100) as f32) } else { model }
    }

    pub(super) fn members(&mut self, inputs: usize, outputs: usize) -> Vec<(Key, Linear)> {
        let keys: Vec<Key> = self.keys.clone();
        let chosen: Vec<Key> = keys.into_iter().filter(|_| self.random.percent(50)).collect();
        chosen.into_iter().map(|key| (key, self.linear(inputs, outputs))).collect()
    }

    /// A loop of one to three nodes on one axis.
    fn circle(&mut self) -> Vec<Node> {
        let length = self.random.between(1, 3) as usize;
        let names: Vec<StreamName> = (0..length).map(|_| self.name("n").into()).collect();
        let back = Need {
            name: names[length - 1].clone(),
            element: ElementType::F64,
            kind: NeedKind::Previous { initial: Value::F64(1.5) },
        };
        let mut nodes = Vec::new();
        for (place, name) in names.iter().enumerate() {
            let mut needs = match place.checked_sub(1) {
                None => {
                    let mut needs: Vec<Need> = self.needs();
                    needs.retain(|need| !matches!(need.kind, NeedKind::Previous { .. }));
                    needs.push(back.clone());
                    needs
                }
                Some(before) => {
                    let before =
                        Need { name: names[before].clone(), element: ElementType::F64, kind: NeedKind::Required };
                    let also = self.random.pick(&self.known).clone();
                    vec![before, self.need(&also)]
                }
            };
            if place == 0 && self.random.percent(20) {
                let last = needs.len() - 1;
                needs.swap(0, last); // previous first: the axis is that of the first need read within the row
            }
            let provides = vec![(name.clone(), ElementType::F64)];
            let salt = self.random.between(1, 9);
            let mut node = match self.random.below(4) {
                0 => operator_node(name, needs, provides, Sum { scale: salt }),
                1 => operator_node(name, needs, provides, Fragile { fails: Fails::Panics, percent: 15 }),
                _ => operator_node(name, needs, provides, Mix { salt }),
            };
            node.missing = self.missing();
            if place == 0 && self.random.percent(30) {
                self.decorate(&mut node);
            }
            nodes.push(node);
        }
        nodes
    }

    fn missing(&mut self) -> Missing {
        match self.random.weighted(&[50, 20, 15, 15]) {
            0 => Missing::Skip,
            1 => Missing::Last,
            2 => Missing::Default(1.0),
            _ => Missing::Pass,
        }
    }

    /// Which rows and keys, and what a missing value does.
    fn decorate(&mut self, node: &mut Node) {
        if node.needs.iter().filter(|need| need.is_direct()).count() > 1 {
            node.rule = match self.random.weighted(&[45, 20, 35]) {
                0 => RowRule::First,
                1 => RowRule::OnAny,
                _ => RowRule::OnAll { wait: Span::from_millis(*self.random.pick(&[0, 500, 2_000, 20_000, 60_000])) },
            };
        }
        if self.random.percent(12) {
            node.every = Some(Span::from_millis(*self.random.pick(&[200, 500, 1_500])));
        }
        let gates: Vec<Known> = self.known.iter().filter(|known| known.element == ElementType::Bool).cloned().collect();
        if !gates.is_empty() && self.random.percent(20) {
            node.when = Some(self.random.pick(&gates).name.clone());
        }
        let numbers = node.needs.iter().all(|need| is_number(need.element) && need.element != ElementType::Bool);
        node.missing = self.missing();
        if matches!(node.missing, Missing::Default(_)) && !numbers {
            node.missing = Missing::Last;
        }
        node.max_age = Span::from_millis(*self.random.pick(&[300, 1_000, 3_000, 10_000]));
        node.as_of_rows = *self.random.pick(&[1, 2, 3, 1024]);
        if self.random.percent(8) {
            node.selector = self.selector();
        }
        let previous = node.needs.iter().any(|need| matches!(need.kind, NeedKind::Previous { .. }));
        if previous && node.own_rows() {
            // Only what is on the node's own axis has a previous value: its own outputs.
            let (name, element) = node.provides[0].clone();
            for need in node.needs.iter_mut().filter(|need| matches!(need.kind, NeedKind::Previous { .. })) {
                if !matches!(self.axis_of(&need.name), None | Some(Axis::Own(_))) || need.name != name {
                    *need =
                        Need { name: name.clone(), element, kind: NeedKind::Previous { initial: initial(element) } };
                }
            }
        }
    }

    fn axis_of(&self, name: &StreamName) -> Option<Axis> {
        self.known.iter().find(|known| known.name == *name).map(|known| known.axis.clone())
    }

    /// A closure in Rust's own types.
    fn closure(&mut self) -> Option<Node> {
        let of = |maker: &mut Self, element| -> Option<String> {
            let known: Vec<Known> = maker.known.iter().filter(|known| known.element == element).cloned().collect();
            (!known.is_empty()).then(|| maker.random.pick(&known).name.to_string())
        };
        let id = self.name("n");
        let form = self.random.below(5);
        let node = match form {
            0 => {
                let (a, b) = (of(self, ElementType::F32)?, of(self, ElementType::F64)?);
                provide(Stream::<f64>::named(id))
                    .needs((Stream::<f32>::named(a), optional(Stream::<f64>::named(b))))
                    .by(|a: f32, b: Option<f64>| b.unwrap_or(0.5) - f64::from(a))
            }
            1 => {
                let a = of(self, ElementType::F32)?;
                provide(Stream::<bool>::named(id)).needs(Stream::<f32>::named(a)).by(|a: f32| a > 0.0)
            }
            2 => {
                let (a, b) = (of(self, ElementType::Bool)?, of(self, ElementType::I64)?);
                provide(Stream::<smol_str::SmolStr>::named(id))
                    .needs((Stream::<bool>::named(a), Stream::<i64>::named(b)))
                    .by(|a: bool, b: i64| (b % 3 != 0).then(|| smol_str::SmolStr::from(format!("{a} {b}"))))
            }
            3 => {
                let (a, b) = (of(self, ElementType::F64)?, of(self, ElementType::Str)?);
                provide((Stream::<i64>::named(id), Stream::<bool>::named(self.name("n"))))
                    .needs((Stream::<f64>::named(a), optional(Stream::<smol_str::SmolStr>::named(b))))
                    .by(|a: f64, b: Option<smol_str::SmolStr>| {
                        let length = b.map_or(-1, |b| b.len() as i64);
                        if a > 40.0 { Err(format!("{a} is too much")) } else { Ok((a as i64 + length, a > 0.0)) }
                    })
            }
            _ => {
                let a = of(self, ElementType::F64)?;
                let out = Stream::<f64>::named(id);
                provide(out.clone())
                    .needs((Stream::<f64>::named(a), previous(out, 0.25)))
                    .by(|a: f64, before: f64| a * 0.5 + before * 0.25)
            }
        };
        Some(node)
    }

    /// Gives a node other logic over the same wires.
    pub(super) fn other_logic(&mut self, node: &mut Node) {
        let (inputs, outputs) = (node.needs.len(), node.provides.len());
        match &node.work {
            Work::Sensor { raw, .. } => {
                let (name, element) = node.provides[0].clone();
                let cleaning =
                    gristmill::topology::Cleaning { range: Some((-50.0, 60.0)), hold_last: true, ..Default::default() };
                let other = gristmill::topology::sensor::sensor_node(name, element, raw.clone(), cleaning);
                node.work = other.work;
            }
            Work::Operator(operator) if operator.own_rows() => node.work = self.tumble(),
            Work::Operator(_) if self.random.percent(30) => {
                node.work = Work::Operator(Arc::new(Sum { scale: self.random.between(5, 90) }));
            }
            Work::Operator(_) => {
                node.work = Work::Operator(Arc::new(Mix { salt: self.random.between(10, 99) }));
            }
            Work::Model(_) | Work::Family(_) => node.work = Work::Model(self.linear(inputs, outputs).shared()),
            Work::Sink(_) => {}
        }
    }

    /// Whether a node can be taken for an override or be overridden.
    pub(super) fn is_plain(node: &Node) -> bool {
        node.kind != NodeKind::Sink && node.selector == Selector::Class
    }
}

fn is_number(element: ElementType) -> bool {
    matches!(element, ElementType::F32 | ElementType::F64 | ElementType::I64 | ElementType::Bool)
}

pub(super) fn initial(element: ElementType) -> Value {
    match element {
        ElementType::F32 => Value::F32(0.5),
        ElementType::F64 => Value::F64(-1.5),
        ElementType::I64 => Value::I64(3),
        ElementType::Bool => Value::Bool(true),
        ElementType::Str => Value::Str("first".into()),
        ElementType::Vector(width) => Value::Vector(vec![0.5; usize::from(width)].into()),
    }
}
