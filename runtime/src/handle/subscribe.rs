//! Subscriptions: a host reads a stream of the running system, typed, row by row.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, Weak};

use tracing::Instrument;

use super::deploy::ended;
use super::subscriptions::{Flow, SubscriptionSink, Unread};
use super::{Handle, Inner};
use crate::in_process::Output;
use crate::supervisor::{Applied, DeployError, Deployment};
use crate::topology::build::subscriber;
use crate::traits::Sink;
use crate::words::{Binding, Class, Element, NodeId, Stream};

/// A stream that a host reads; see [`Handle::subscribe`].
///
/// **Backpressure.** Rows that were not read are in flight, as those of any other sink that is not done with them: when
/// they are too many the source pauses ([`DriveOptions::in_flight_records`](crate::DriveOptions::in_flight_records)).
/// Nothing is dropped. A row counts as read when the next one is asked for, so [`Handle::settled`] waits until then.
///
/// **The end.** [`Subscription::next`] gives `None` when all was taken and no more can come: the class's source has ended,
/// by itself or by [`Handle::stop`], or a deployment has removed the sink. From then on nothing waits for the reader:
/// what it has not read is kept for it, and counts as done.
///
/// **Dropping it** gives up what was not read and blocks nobody: a task on the tokio runtime on which it was subscribed takes
/// the sink out of the plan, with what only it asked for, as the next deployment. [`Subscription::close`] waits for that.
/// A subscription does not keep the runtime alive.
#[must_use = "a subscription ends when it is dropped"]
pub struct Subscription<T: Element> {
    flow: Arc<Flow>,
    reading: Option<Reading>,
    node: NodeId,
    applied: Applied,
    handle: Weak<Inner>,
    runtime: tokio::runtime::Handle,
    element: PhantomData<fn() -> T>,
}

/// A frame that is being read.
struct Reading {
    frame: Unread,
    row: usize,
    run: usize,
}

impl<T: Element> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription `{}` to `{}`", self.node, self.flow.stream)
    }
}

impl<T: Element> Subscription<T> {
    /// The next value, with its provenance: in order for each key, missing ones left out. Waits until there is one; `None`
    /// when no more will come. It may be dropped while it waits, as `select!` does, and loses nothing.
    pub async fn next(&mut self) -> Option<Output<T>> {
        loop {
            if let Some(output) = self.reading.as_mut().and_then(|reading| reading.next(&self.flow)) {
                return Some(output);
            }
            self.reading = None;
            self.reading = Some(Reading { frame: self.flow.next().await?, row: 0, run: 0 });
        }
    }

    /// The deployment that put its sink into the plan. It has every row whose cause is at
    /// [`Applied::positions`] or later, and of partitions that are not named there all; none before.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// The name of its sink in the plan.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Ends it, and waits until its sink is out of the plan. What was not read is given up.
    ///
    /// # Errors
    /// When the shards have ended already.
    pub async fn close(self) -> Result<(), DeployError> {
        self.flow.close();
        match self.handle.upgrade() {
            Some(inner) => Handle(inner).remove_closed().await,
            None => Ok(()),
        }
    }
}

impl<T: Element> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.flow.close();
        // When the system is gone, or has no such sink any more, nothing is left to remove.
        let Some(inner) = self.handle.upgrade().filter(|inner| inner.subscriptions.has(&self.node)) else { return };
        let (handle, node) = (Handle(inner), self.node.clone());
        self.runtime.spawn(async move {
            if let Err(error) = handle.remove_closed().await {
                tracing::warn!(%node, %error, "the sink of a subscription was not removed; the next that ends removes it");
            }
        });
    }
}

impl Reading {
    fn next<T: Element>(&mut self, flow: &Flow) -> Option<Output<T>> {
        let (frame, row) = (&self.frame, self.row);
        let run = frame.runs.get(self.run)?;
        self.row += 1;
        self.run += usize::from(self.row == run.end);
        Some(Output {
            key: run.key.clone(),
            time: frame.times[row],
            stream: flow.stream.clone(),
            value: T::get(frame.values.as_ref(), row).expect("missing values are left out"),
            node: run.node.clone(),
            revision: frame.revision,
            partition: frame.partition,
            cause: frame.causes[row],
        })
    }
}

impl Handle {
    /// Subscribes to a stream of the one topology that runs: a sink of the host's own, deployed like any other, so that what
    /// provides the stream runs as long as somebody asks for it.
    ///
    /// While it is there, a deployment that would take the stream away or give it another type is refused, as it is for
    /// other sinks; a rollback leaves it as it is. It is not recorded: a restart begins without.
    ///
    /// ```
    /// use gristmill::in_process::feed;
    /// use gristmill::topology::{Topology, provide, sensor};
    /// use gristmill::traits::source::{Axes, RowsRecord};
    /// use gristmill::words::{Column, ElementType, Offset, Time};
    /// use gristmill::{Runtime, Stream};
    /// const WEAR: Stream<f32> = Stream::new("wear");
    /// const SCORE: Stream<f32> = Stream::new("score");
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (feeder, source) = feed(Axes::Declared(vec![vec![("wear".into(), ElementType::F32)]]));
    /// let pump = Topology::new("pump").with(sensor(WEAR)).with(provide(SCORE).needs(WEAR).by(|wear: f32| 2.0 * wear));
    /// let mill = Runtime::builder().topology(pump).source(source).start().await?;
    ///
    /// let mut scores = mill.subscribe(&SCORE).await?; // now a sink asks for it, and it runs
    /// let (times, columns) = (vec![Time::from_secs(1)], vec![Column::F32(vec![0.4])]);
    /// let row = RowsRecord { offset: Offset(0), log_time: None, key: "P101".into(), axis: 0, times, columns };
    /// feeder.send(0, vec![row]).await?;
    /// drop(feeder); // the source ends, and so does the subscription
    /// let mut seen = Vec::new();
    /// while let Some(row) = scores.next().await {
    ///     seen.push((row.key.to_string(), row.value, row.cause.offset));
    /// }
    /// assert_eq!(seen, [("P101".to_owned(), 0.8, Offset(0))]);
    ///
    /// let wrong = mill.subscribe(&Stream::<bool>::new("score")).await.expect_err("it is f32").to_string();
    /// assert!(wrong.contains("`score` is f32 as `score` provides it, but bool"), "{wrong}");
    /// mill.finished().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Handle::apply`]: when nobody provides the stream, or as another type; when several topologies run. Nothing is
    /// changed then.
    pub async fn subscribe<T: Element>(&self, stream: &Stream<T>) -> Result<Subscription<T>, DeployError> {
        self.subscribe_in(None, stream.clone()).await
    }

    /// As [`Handle::subscribe`], to a stream of the topology of a class.
    ///
    /// # Errors
    /// As [`Handle::subscribe`], and when no such topology runs.
    pub async fn subscribe_of<T: Element>(
        &self,
        class: impl Into<Class>,
        stream: &Stream<T>,
    ) -> Result<Subscription<T>, DeployError> {
        self.subscribe_in(Some(class.into()), stream.clone()).await
    }

    /// In a task of its own: when the caller goes away meanwhile, the subscription is made and dropped.
    async fn subscribe_in<T: Element>(
        &self,
        class: Option<Class>,
        stream: Stream<T>,
    ) -> Result<Subscription<T>, DeployError> {
        let handle = self.clone();
        let task = async move { handle.subscribe_in_turn(class, stream).await };
        ended(tokio::spawn(task.in_current_span())).await
    }

    async fn subscribe_in_turn<T: Element>(
        &self,
        class: Option<Class>,
        stream: Stream<T>,
    ) -> Result<Subscription<T>, DeployError> {
        let _turn = self.turn().await;
        let class = self.0.state().class(&Deployment { class, ..Deployment::default() })?;
        let flow = Arc::new(Flow::new(stream.name().into(), T::TYPE));
        let (node, binding) = self.free_name(&class);
        self.sinks_mut(|sinks| sinks.insert(binding.clone(), Arc::new(SubscriptionSink(Arc::clone(&flow)))));
        let deployment = Deployment::of(class.clone()).put(subscriber(binding.clone(), stream));
        let deployed = self.in_turn(&Deployment { only_subscriptions: true, ..deployment }, None).await;
        if deployed.is_err() {
            self.sinks_mut(|sinks| sinks.remove(&binding));
        }
        let applied = deployed?;
        self.0.subscriptions.add(class, node.clone(), Arc::clone(&flow));
        let (handle, runtime) = (Arc::downgrade(&self.0), tokio::runtime::Handle::current());
        Ok(Subscription { flow, reading: None, node, applied, handle, runtime, element: PhantomData })
    }

    fn sinks_mut<R>(&self, change: impl FnOnce(&mut HashMap<Binding, Arc<dyn Sink>>) -> R) -> R {
        // Whoever changes it puts in or takes out one.
        change(&mut self.0.sinks.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// A name that neither a node nor a bound sink has; the caller has the turn.
    fn free_name(&self, class: &Class) -> (NodeId, Binding) {
        loop {
            let node = self.0.subscriptions.name();
            let binding = Binding::from(node.as_str());
            let is_bound = self.sinks_mut(|sinks| sinks.contains_key(&binding));
            if !is_bound && self.0.state().classes[class].declared.get(&node).is_none() {
                return (node, binding);
            }
        }
    }

    /// Takes the sinks of all subscriptions that were closed out of the plans, in a task of its own.
    async fn remove_closed(&self) -> Result<(), DeployError> {
        let handle = self.clone();
        let task = async move {
            let _turn = handle.turn().await;
            let mut result = Ok(());
            for (class, nodes) in handle.0.subscriptions.closed() {
                let deployment = Deployment { only_subscriptions: true, ..Deployment::of(class) };
                let deployment = nodes.into_iter().fold(deployment, Deployment::remove);
                result = result.and(handle.in_turn(&deployment, None).await.map(drop));
            }
            result
        };
        ended(tokio::spawn(task.in_current_span())).await
    }

    /// Lets go of the subscriptions of a class whose sinks do not run any more, be they removed or replaced. They get what is
    /// under way, then they end.
    pub(super) fn let_go(&self, class: &Class) -> Vec<Arc<Flow>> {
        let gone = {
            let state = self.0.state();
            let nodes = &state.classes[class].declared.base;
            let runs = |node: &NodeId| nodes.get(node).is_some_and(|node| node.subscription.is_some());
            self.0.subscriptions.take(class, runs)
        };
        if !gone.is_empty() {
            self.sinks_mut(|sinks| gone.keys().for_each(|node| _ = sinks.remove(node.as_str())));
        }
        gone.values().for_each(|flow| flow.release());
        gone.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_process::{Collected, feed};
    use crate::runtime::Runtime;
    use crate::topology::{Topology, sensor, sink};
    use crate::traits::Axes;
    use crate::words::ElementType;

    #[tokio::test]
    async fn what_is_over_or_refused_leaves_no_binding_and_no_revision_to_go_back_to() {
        const X: Stream<f32> = Stream::new("x");
        let (_feeder, source) = feed(Axes::Declared(vec![vec![("x".into(), ElementType::F32)]]));
        let topology = Topology::new("pump").with(sensor(X)).with(sink("subscription-2").needs(X));
        let builder = Runtime::builder().topology(topology).source(source);
        // Its name would be that of the second subscription.
        let builder = builder.sink("subscription-2", Collected::default());
        let mill = builder.shards(1).start().await.expect("nothing is wrong with it");
        for _ in 0..20 {
            mill.subscribe(&X).await.expect("nothing is wrong with it").close().await.expect("it runs");
            mill.subscribe(&Stream::<bool>::new("x")).await.expect_err("it is f32");
        }
        assert!(mill.0.subscriptions.closed().is_empty());
        assert_eq!(mill.sinks_mut(|sinks| sinks.keys().cloned().collect::<Vec<_>>()), ["subscription-2".into()]);
        assert_eq!(mill.0.state().classes[&Class::from("pump")].history.len(), 1);
        mill.stop().await.expect("the source ends in order");
    }
}
