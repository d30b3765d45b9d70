//! The words that topologies are written with in Rust: `sensor`, `provide`, `sink`.

use std::marker::PhantomData;

use super::function::Logic;
use super::need::{Needs, Provides};
use super::node::{Ask, Missing, Node, NodeKind, RowRule, SLOW_THREADS_DEFAULT, SinkNode, Slow, Work};
use super::selector::{Pattern, Selector};
use crate::words::{Binding, Element, ElementType, Key, NodeId, Span, Stream, StreamName, Value};

/// What is a node, or becomes one as it stands.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a whole node",
    label = "not a node yet",
    note = "provide(…) becomes a node by `.needs(…).by(…)`, sink(…) by `.needs(…)`",
    note = "a stream alone is no node: write sensor(stream), or provide(stream).needs(…).by(…)"
)]
pub trait IntoNode {
    /// The node.
    fn into_node(self) -> Node;
}

#[diagnostic::do_not_recommend]
impl<N: Into<Node>> IntoNode for N {
    fn into_node(self) -> Node {
        self.into()
    }
}

/// A node that has no needs yet: call [`Provide::needs`].
#[must_use = "a node without needs does nothing: call `.needs(…)`"]
#[derive(Debug)]
pub struct Provide<P: Provides> {
    provides: P,
}

/// A node that has no logic yet: call [`Wired::by`].
#[must_use = "a node without logic does nothing: call `.by(…)`"]
#[derive(Debug)]
pub struct Wired<A, V> {
    provides: Vec<(StreamName, ElementType)>,
    needs: Vec<super::need::Need>,
    types: PhantomData<fn(A) -> V>,
}

/// Begins a node that provides a stream, or a tuple of streams.
///
/// ```
/// use gristmill::topology::{Topology, provide, sensor};
/// use gristmill::Stream;
/// const WEAR: Stream<f32> = Stream::new("wear");
/// const ALARM: Stream<bool> = Stream::new("alarm");
/// let pump = Topology::new("pump")
///     .with(sensor(WEAR).range(0.0..=1.0))
///     .with(provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.8));
/// assert_eq!(pump.nodes().count(), 2);
/// ```
pub fn provide<P: Provides>(provides: P) -> Provide<P> {
    Provide { provides }
}

impl<P: Provides> Provide<P> {
    /// What the node reads, in the order in which its logic gets it.
    pub fn needs<N: Needs>(self, needs: N) -> Wired<N::Args, P::Values> {
        Wired { provides: self.provides.list(), needs: needs.list(), types: PhantomData }
    }
}

impl<A, V> Wired<A, V> {
    /// What the node runs: a closure, an operator, or a model.
    ///
    /// A closure computes from what it is given alone: it may be called again for a row, when another row of the same frame
    /// failed.
    pub fn by<M>(self, logic: impl Logic<A, V, M>) -> Node {
        let work = logic.work();
        let kind = match work {
            Work::Model(_) | Work::Family(_) => NodeKind::Model,
            _ => NodeKind::Operator,
        };
        let id = self.provides.first().map_or_else(|| NodeId::from(""), |(name, _)| NodeId::from(name.as_str()));
        Node::new(id, kind, self.needs, self.provides, work)
    }
}

/// What can be said of any node after its logic.
impl Node {
    /// Names it; else it is called after the first stream it provides.
    #[must_use]
    pub fn named(mut self, id: impl Into<NodeId>) -> Self {
        self.id = id.into();
        self
    }

    /// Says that its closure is a model to the user, so that sinks of all models write it.
    #[must_use]
    pub fn model(mut self) -> Self {
        self.kind = NodeKind::Model;
        self
    }

    /// The user's version of its closure; a new one makes it another node, with new state.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// A row at each time that any need brings, the others as of then.
    #[must_use]
    pub fn on_any(mut self) -> Self {
        self.rule = RowRule::OnAny;
        self
    }

    /// A row for each time that any need brought, once every need has got there or the clock has got `wait` further.
    #[must_use]
    pub fn on_all(mut self, wait: impl Into<Span>) -> Self {
        self.rule = RowRule::OnAll { wait: wait.into() };
        self
    }

    /// At most one row in `span` of event time: the first, then the first that is at least so much later.
    #[must_use]
    pub fn every(mut self, span: impl Into<Span>) -> Self {
        self.every = Some(span.into());
        self
    }

    /// Only rows for which `gate` is true as of then.
    #[must_use]
    pub fn when(mut self, gate: &Stream<bool>) -> Self {
        self.when = Some(gate.name().into());
        self
    }

    /// How old a value from another axis may be; 10 s unless said.
    #[must_use]
    pub fn max_age(mut self, span: impl Into<Span>) -> Self {
        self.max_age = span.into();
        self
    }

    /// How many values of each need from another axis are kept for rows that come late; 1,024 unless said.
    #[must_use]
    pub fn as_of_rows(mut self, rows: usize) -> Self {
        self.as_of_rows = rows;
        self
    }

    /// What a row that lacks a required value does; it is skipped unless said.
    #[must_use]
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// Only for this key.
    #[must_use]
    pub fn for_key(mut self, key: impl Into<Key>) -> Self {
        self.selector = Selector::Key(key.into());
        self
    }

    /// Only for keys whose name matches: `*` stands for any text, `?` for one character.
    #[must_use]
    pub fn for_keys(mut self, pattern: impl Into<String>) -> Self {
        self.selector = Selector::Pattern(Pattern(pattern.into()));
        self
    }

    /// Only for keys whose attribute has this value.
    #[must_use]
    pub fn for_attribute(mut self, name: impl Into<StreamName>, value: Value) -> Self {
        self.selector = Selector::Attribute { name: name.into(), value };
        self
    }

    /// Which of two nodes with selectors of one kind that provide one name wins: the higher; 0 unless said.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// May block: it runs on two threads of its own instead of the shard's, and a row that takes longer than `budget`
    /// fails. Its keys' rows stay in their order; those of other keys do not wait for them.
    #[must_use]
    pub fn slow(mut self, budget: impl Into<Span>) -> Self {
        let threads = self.slow.map_or(SLOW_THREADS_DEFAULT, |slow| slow.threads);
        self.slow = Some(Slow { budget: budget.into(), threads });
        self
    }

    /// How many threads a node has that may block ([`Node::slow`]); on any other node it does nothing.
    #[must_use]
    pub fn threads(mut self, threads: u16) -> Self {
        if let Some(slow) = &mut self.slow {
            slow.threads = threads;
        }
        self
    }

    /// What its model calls its inputs: a name for each need, in their order. A model whose inputs have names is refused
    /// unless they are those of the needs, or these; so is each member of a family, those that are added later too.
    ///
    /// ```
    /// use gristmill::topology::{Family, Topology, Work, provide, sensor};
    /// use gristmill::Stream;
    /// const RMS: Stream<f32> = Stream::new("rms");
    /// const HEAT: Stream<f32> = Stream::new("heat");
    /// const WEAR: Stream<f32> = Stream::new("wear");
    /// let family = Work::Family(Family::default()); // of models that were exported with columns `f0` and `f1`
    /// let wear = provide(WEAR).needs((RMS, HEAT)).by(family).inputs(["f0", "f1"]);
    /// Topology::new("pump").with(sensor(RMS)).with(sensor(HEAT)).with(wear).resolve()?;
    /// # Ok::<(), gristmill::topology::problem::ResolveErrors>(())
    /// ```
    #[must_use]
    pub fn inputs<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.inputs = names.into_iter().map(Into::into).collect();
        self
    }

    /// May wait for a provider that is not there yet.
    #[must_use]
    pub fn pending(mut self) -> Self {
        self.pending = true;
        self
    }
}

/// A sink that has not been told what to take: call [`SinkBuilder::needs`].
#[derive(Debug)]
#[must_use = "a sink without needs takes nothing: call `.needs(…)`"]
pub struct SinkBuilder {
    binding: Binding,
}

/// Begins a node that hands values to the sink bound under this name.
pub fn sink(binding: impl Into<Binding>) -> SinkBuilder {
    SinkBuilder { binding: binding.into() }
}

/// What a sink can ask for: a stream, [`all_models`], or [`matching`] a pattern.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not something a sink can take",
    label = "not a stream",
    note = "a sink takes a Stream<T>, all_models() or matching(\"pattern\"); further ones by `.and(…)`"
)]
pub trait IntoAsk {
    /// As plain data.
    fn ask(self) -> Ask;
}

impl<T: Element> IntoAsk for Stream<T> {
    fn ask(self) -> Ask {
        Ask::Stream(self.name().into())
    }
}

impl IntoAsk for Ask {
    fn ask(self) -> Ask {
        self
    }
}

/// What all models provide, those deployed later too.
pub fn all_models() -> Ask {
    Ask::AllModels
}

/// Every provided stream whose name matches, those deployed later too.
pub fn matching(pattern: impl Into<String>) -> Ask {
    Ask::Pattern(Pattern(pattern.into()))
}

impl SinkBuilder {
    /// The first thing it takes; call [`Node::and`] for more.
    pub fn needs(self, ask: impl IntoAsk) -> Node {
        let id = NodeId::from(self.binding.as_str());
        let sink = SinkNode { binding: self.binding, asks: vec![ask.ask()] };
        Node::new(id, NodeKind::Sink, Vec::new(), Vec::new(), Work::Sink(sink))
    }
}

/// The sink with which a host subscribes to a stream; one of another type is refused.
pub(crate) fn subscriber<T: Element>(binding: impl Into<Binding>, stream: Stream<T>) -> Node {
    Node { subscription: Some(T::TYPE), ..sink(binding).needs(stream) }
}

impl Node {
    /// Another thing that a sink takes; on any other node it does nothing.
    #[must_use]
    pub fn and(mut self, ask: impl IntoAsk) -> Self {
        if let Work::Sink(sink) = &mut self.work {
            sink.asks.push(ask.ask());
        }
        self
    }
}
