//! Makes plans: sensors, then nodes that read what is there, then overrides and sinks.

use gristmill::Stream;
use gristmill::topology::{Ask, Attributes, BadReading, Node, NodeKind, Pattern, Selector, SinkNode, Work, sensor};
use gristmill::traits::source::AxisStreams;
use gristmill::words::{Binding, ElementType, Key, NodeId, StreamName, Value};
use smol_str::SmolStr;

use super::super::case::PlanVersion;
use super::super::plan::{self, Axis};
use super::super::random::Random;

/// A stream that nodes can read.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: StreamName,
    pub(super) element: ElementType,
    pub(super) axis: Axis,
}

/// Makes plans of one case; names are never used twice.
pub(super) struct Maker {
    pub(super) random: Random,
    pub(super) axes: Vec<AxisStreams>,
    pub(super) keys: Vec<Key>,
    pub(super) partitions: u32,
    pub(super) known: Vec<Known>,
    pub(super) nodes: Vec<Node>,
    next: usize,
}

impl Maker {
    pub(super) fn new(mut random: Random) -> Self {
        let keys =
            (0..random.between(1, 6)).map(|number| Key::from(format!("{}{number}", ["P", "M"][number as usize % 2])));
        let keys: Vec<Key> = keys.collect();
        let partitions = random.between(1, 3).min(keys.len() as i64) as u32;
        let mut maker =
            Self { random, axes: Vec::new(), keys, partitions, known: Vec::new(), nodes: Vec::new(), next: 0 };
        maker.make_axes();
        maker
    }

    /// Wide and narrow axes of two to five streams, and one stream that no sensor brings in.
    fn make_axes(&mut self) {
        let count = self.random.between(2, 5) as usize;
        let mut left: Vec<(StreamName, ElementType)> = (0..count)
            .map(|number| {
                const TYPES: [ElementType; 6] = [
                    ElementType::F32,
                    ElementType::F64,
                    ElementType::I64,
                    ElementType::Bool,
                    ElementType::Str,
                    ElementType::Vector(2),
                ];
                (StreamName::from(format!("raw{number}")), TYPES[self.random.weighted(&[40, 20, 12, 12, 8, 8])])
            })
            .collect();
        while !left.is_empty() {
            let width = if self.random.percent(50) { 1 } else { self.random.between(1, left.len() as i64) as usize };
            let mut streams: Vec<_> = left.drain(..width).collect();
            if width > 1 && self.random.percent(30) {
                streams.push((StreamName::from(format!("spare{}", self.axes.len())), ElementType::F32));
            }
            self.axes.push(AxisStreams { streams });
        }
    }

    pub(super) fn plan(&mut self) -> PlanVersion {
        let raw: Vec<_> = self.axes.iter().flat_map(|axis| axis.streams.clone()).collect();
        for (raw, element) in raw.into_iter().filter(|(raw, _)| raw.starts_with("raw")) {
            let node = self.sensor(&raw, element);
            self.add(node);
        }
        let target = self.random.between(3, 15) as usize;
        while self.nodes.len() < target.max(self.known.len() + 1) && self.nodes.len() < 16 {
            for node in self.some_nodes() {
                self.add(node);
            }
        }
        if self.random.percent(50) {
            let model = self.model();
            self.add(model);
        }
        for node in self.nodes.clone() {
            if self.random.percent(10) && node.selector == Selector::Class {
                let over = self.over(&node);
                self.nodes.push(over);
            }
        }
        let sinks = self.sinks();
        self.nodes.extend(sinks);
        let attributes = self.attributes();
        PlanVersion { nodes: self.nodes.clone(), attributes, held: std::collections::BTreeMap::new() }
    }

    /// A name that was never used.
    pub(super) fn name(&mut self, stem: &str) -> String {
        self.next += 1;
        format!("{stem}{}", self.next)
    }

    /// The axis of a node's rows, all that it reads being known.
    pub(super) fn axis(&self, node: &Node) -> Axis {
        if node.own_rows() {
            return Axis::Own(node.provides[0].0.clone());
        }
        match plan::first_need(node) {
            Some(first) => {
                self.known.iter().find(|known| known.name == first.name).expect("needs are known").axis.clone()
            }
            None => Axis::Source(plan::raw_column(node, &self.axes).expect("only sensors need nothing").0),
        }
    }

    pub(super) fn add(&mut self, node: Node) {
        let axis = self.axis(&node);
        for (name, element) in &node.provides {
            self.known.push(Known { name: name.clone(), element: *element, axis: axis.clone() });
        }
        self.nodes.push(node);
    }

    fn sensor(&mut self, raw: &StreamName, element: ElementType) -> Node {
        let name = self.name("s");
        let random = &mut self.random;
        let (range, held, unit) = (random.percent(50), random.percent(20), random.percent(20));
        let letters = (random.percent(10), random.percent(10));
        macro_rules! described {
            ($type:ty) => {{
                let mut described = sensor(Stream::<$type>::named(name)).from(raw.clone());
                if range {
                    described = described.range(-100.0..=500.0);
                }
                if held {
                    described = described.hold_last();
                }
                if unit {
                    described = described.unit(0.3, 1.0);
                }
                if letters.0 {
                    described = described.out_of_range(BadReading::DeadLetter);
                }
                if letters.1 {
                    described = described.nan(BadReading::DeadLetter);
                }
                Node::from(described)
            }};
        }
        let mut node = match element {
            ElementType::F32 => described!(f32),
            ElementType::F64 => described!(f64),
            ElementType::I64 => described!(i64),
            ElementType::Bool => described!(bool),
            ElementType::Str => described!(SmolStr),
            ElementType::Vector(_) => {
                gristmill::topology::sensor::sensor_node(name.into(), element, raw.clone(), Default::default())
            }
        };
        if self.random.percent(8) {
            node.selector = self.selector();
        }
        node
    }

    /// Limits a node to some keys.
    pub(super) fn selector(&mut self) -> Selector {
        match self.random.below(3) {
            0 => Selector::Key(self.random.pick(&self.keys).clone()),
            1 => Selector::Pattern(Pattern((*self.random.pick(&["P*", "M*", "?1", "*2"])).to_owned())),
            _ => Selector::Attribute { name: "site".into(), value: Value::I64(self.random.between(0, 1)) },
        }
    }

    /// A node that overrides another for some keys: the same wires, other logic.
    pub(super) fn over(&mut self, node: &Node) -> Node {
        let mut over = node.clone();
        over.selector = self.selector();
        over.priority = self.random.between(1, 1_000_000) as i32;
        self.other_logic(&mut over);
        over
    }

    pub(super) fn attributes(&mut self) -> Attributes {
        let mut attributes = Attributes::new().declare("site", ElementType::I64).declare("rating", ElementType::F64);
        for key in &self.keys {
            if self.random.percent(70) {
                let site = Value::I64(self.random.between(0, 1));
                attributes.set(key.clone(), "site", &site).expect("it is declared");
            }
            if self.random.percent(60) {
                let rating = Value::F64(self.random.between(1, 9) as f64);
                attributes.set(key.clone(), "rating", &rating).expect("it is declared");
            }
        }
        attributes
    }

    /// One sink, or two.
    pub(super) fn sinks(&mut self) -> Vec<Node> {
        let mut sinks = Vec::new();
        let asks = if self.random.percent(45) {
            vec![Ask::Pattern(Pattern((*self.random.pick(&["*", "*", "n*", "s*"])).to_owned()))]
        } else {
            let count = self.random.between(2, 7);
            (0..count).map(|_| self.ask()).collect()
        };
        sinks.push(sink_node("out", asks));
        if self.random.percent(70) {
            sinks.push(sink_node("models", vec![Ask::AllModels]));
        }
        sinks
    }

    fn ask(&mut self) -> Ask {
        // Late nodes lie at the end of long paths.
        let late = self.known.len() / 2;
        let names = if self.random.percent(75) { &self.known[late..] } else { &self.known[..] };
        Ask::Stream(self.random.pick(names).name.clone())
    }
}

pub(super) fn sink_node(binding: &str, asks: Vec<Ask>) -> Node {
    let sink = SinkNode { binding: Binding::from(binding), asks };
    Node::new(NodeId::from(binding), NodeKind::Sink, Vec::new(), Vec::new(), Work::Sink(sink))
}
