//! What lies between sinks and those who subscribed: the rows that were not read yet, and which subscriptions there are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::traits::sink::SinkColumn;
use crate::traits::{Done, Sink, SinkError, SinkFrame, SinkWriter};
use crate::words::{Cause, Class, Column, ElementType, Key, NodeId, Revision, ShardIndex, StreamName, Time};

/// The rows of a subscription that were not read yet. They are bounded by what is in flight: each frame is, until it
/// was read.
pub(super) struct Flow {
    pub(super) stream: StreamName,
    element: ElementType,
    queue: Mutex<Queue>,
    some: Notify,
}

struct Queue {
    frames: VecDeque<Unread>,
    /// The word for the frame whose rows are being read.
    reading: Option<Done>,
    stage: Stage,
}

/// How far a subscription has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Stage {
    /// Rows come, and are in flight until they were read.
    Open,
    /// What is under way still comes. It is kept for the reader, and in flight no longer.
    Ending,
    /// Nothing comes any more.
    Ended,
    /// Nobody reads any more.
    Closed,
}

/// The rows that a frame has of a stream, without missing ones.
pub(super) struct Unread {
    pub(super) revision: Revision,
    pub(super) partition: u32,
    pub(super) runs: Vec<Run>,
    pub(super) times: Vec<Time>,
    pub(super) causes: Vec<Cause>,
    pub(super) values: Column,
    done: Option<Done>,
}

/// The rows of a key.
pub(super) struct Run {
    pub(super) key: Key,
    pub(super) node: NodeId,
    /// Where they end.
    pub(super) end: usize,
}

impl Flow {
    pub(super) fn new(stream: StreamName, element: ElementType) -> Self {
        let queue = Queue { frames: VecDeque::new(), reading: None, stage: Stage::Open };
        Self { stream, element, queue: Mutex::new(queue), some: Notify::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing is left half done with it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next frame, once there is one; `None` when no more will come. What was read before has had its effect.
    pub(super) async fn next(&self) -> Option<Unread> {
        let read = self.queue().reading.take();
        say(read);
        loop {
            {
                let mut queue = self.queue();
                if let Some(mut frame) = queue.frames.pop_front() {
                    queue.reading = frame.done.take();
                    return Some(frame);
                }
                if matches!(queue.stage, Stage::Ended | Stage::Closed) {
                    return None;
                }
            }
            self.some.notified().await;
        }
    }

    fn push(&self, mut frame: Unread) {
        let done = {
            let mut queue = self.queue();
            let done = if queue.stage == Stage::Open { None } else { frame.done.take() };
            if matches!(queue.stage, Stage::Open | Stage::Ending) {
                queue.frames.push_back(frame);
            }
            done
        };
        self.some.notify_one();
        say(done);
    }

    /// Nothing waits for the reader any more; what is there and under way is kept for it.
    pub(super) fn release(&self) {
        self.leave(Stage::Ending);
    }

    /// Nothing comes any more.
    pub(super) fn end(&self) {
        self.leave(Stage::Ended);
    }

    /// Nobody reads any more.
    pub(super) fn close(&self) {
        self.leave(Stage::Closed);
        let _unread = std::mem::take(&mut self.queue().frames);
    }

    /// Goes on to a later stage. What was held back until it was read is held back no longer.
    fn leave(&self, to: Stage) {
        let mut words = Vec::new();
        {
            let mut queue = self.queue();
            if queue.stage < to {
                queue.stage = to;
            }
            words.extend(queue.reading.take());
            words.extend(queue.frames.iter_mut().filter_map(|frame| frame.done.take()));
        }
        self.some.notify_one();
        say(words);
    }

    fn is_closed(&self) -> bool {
        self.queue().stage == Stage::Closed
    }

    /// What a frame has for it. A sink of another name may be bound to the same place and be given what nobody asked for.
    fn unread(&self, frame: &SinkFrame<'_>) -> Unread {
        let mut unread = Unread {
            revision: frame.revision,
            partition: frame.source_partition,
            runs: Vec::new(),
            times: Vec::new(),
            causes: Vec::new(),
            values: Column::with_capacity(self.element, 0),
            done: None,
        };
        let is_own =
            |column: &&SinkColumn<'_>| *column.stream == self.stream && column.values.element_type() == self.element;
        frame.columns.iter().filter(is_own).for_each(|column| unread.add(column));
        unread
    }
}

/// Outside of locks: the words may free whoever waits for them.
fn say(words: impl IntoIterator<Item = Done>) {
    words.into_iter().for_each(Done::done);
}

impl Unread {
    fn add(&mut self, column: &SinkColumn<'_>) {
        let before = self.times.len();
        if column.values.is_complete() {
            self.times.extend_from_slice(column.times);
            self.causes.extend_from_slice(column.causes);
            self.values.extend(column.values);
        } else {
            for row in (0..column.times.len()).filter(|row| !column.values.is_missing(*row)) {
                self.times.push(column.times[row]);
                self.causes.push(column.causes[row]);
                self.values.push_row(column.values, row);
            }
        }
        if self.times.len() > before {
            self.runs.push(Run { key: column.key.clone(), node: column.node.clone(), end: self.times.len() });
        }
    }
}

/// The sink that a subscription reads.
#[derive(Clone)]
pub(super) struct SubscriptionSink(pub(super) Arc<Flow>);

impl Sink for SubscriptionSink {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for SubscriptionSink {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let mut unread = self.0.unread(frame);
        if unread.times.is_empty() {
            done.done();
        } else {
            unread.done = Some(done);
            self.0.push(unread);
        }
    }
}

/// The subscriptions of all classes whose sinks are in a plan.
#[derive(Default)]
pub(crate) struct Subscriptions(Mutex<Known>);

#[derive(Default)]
struct Known {
    next: u64,
    /// By the name of the sink, which no other class has either.
    flows: BTreeMap<NodeId, (Class, Arc<Flow>)>,
    /// Classes whose sources have ended.
    ended: BTreeSet<Class>,
}

impl Subscriptions {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing is left half done with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name for a sink that no other has had.
    pub(super) fn name(&self) -> NodeId {
        let mut known = self.known();
        known.next += 1;
        NodeId::from(format!("subscription-{}", known.next))
    }

    /// A subscription's sink is in the plan.
    pub(super) fn add(&self, class: Class, node: NodeId, flow: Arc<Flow>) {
        let mut known = self.known();
        if known.ended.contains(&class) {
            flow.end();
        }
        known.flows.insert(node, (class, flow));
    }

    pub(super) fn has(&self, node: &NodeId) -> bool {
        self.known().flows.contains_key(node)
    }

    /// Those that nobody reads any more, by class.
    pub(super) fn closed(&self) -> BTreeMap<Class, Vec<NodeId>> {
        let mut closed: BTreeMap<Class, Vec<NodeId>> = BTreeMap::new();
        for (node, (class, _)) in self.known().flows.iter().filter(|(_, (_, flow))| flow.is_closed()) {
            closed.entry(class.clone()).or_default().push(node.clone());
        }
        closed
    }

    /// Forgets those of a class whose sinks do not run any more.
    pub(super) fn take(&self, of: &Class, runs: impl Fn(&NodeId) -> bool) -> BTreeMap<NodeId, Arc<Flow>> {
        let gone = |node: &NodeId, (class, _): &mut (Class, Arc<Flow>)| class == of && !runs(node);
        let gone = self.known().flows.extract_if(.., gone).collect::<Vec<_>>();
        gone.into_iter().map(|(node, (_, flow))| (node, flow)).collect()
    }

    fn of(&self, class: &Class) -> Vec<Arc<Flow>> {
        self.known().flows.values().filter(|(of, _)| of == class).map(|(_, flow)| Arc::clone(flow)).collect()
    }
}

/// Ends the subscriptions of a class when it is dropped: with the thread of the class's source, also by a panic.
pub(crate) struct SourceEnd {
    subscriptions: Arc<Subscriptions>,
    class: Class,
}

impl SourceEnd {
    pub(crate) fn new(subscriptions: Arc<Subscriptions>, class: Class) -> Self {
        Self { subscriptions, class }
    }

    /// The source ends: what is in flight shall not wait for subscribers.
    pub(crate) fn release(&self) {
        self.subscriptions.of(&self.class).iter().for_each(|flow| flow.release());
    }
}

impl Drop for SourceEnd {
    fn drop(&mut self) {
        self.subscriptions.known().ended.insert(self.class.clone());
        self.subscriptions.of(&self.class).iter().for_each(|flow| flow.end());
    }
}
