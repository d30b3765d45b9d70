//! The sinks that the driver of a source knows: whether what they were given is durable, and can be.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use metrics::Counter;

use crate::topology::Work;
use crate::topology::plan::ClassPlan;
use crate::traits::{Sink, SinkError};
use crate::words::Binding;

/// See the module.
pub(crate) struct BoundSinks {
    sinks: Arc<RwLock<HashMap<Binding, Arc<dyn Sink>>>>,
    /// Those that the class has given something, under any of its plans.
    used: BTreeSet<Binding>,
    errors: Counter,
    /// Lets those who subscribed read later what is under way: nothing waits for them then.
    release: Box<dyn Fn() + Send>,
}

impl BoundSinks {
    pub(crate) fn new(
        sinks: Arc<RwLock<HashMap<Binding, Arc<dyn Sink>>>>,
        errors: Counter,
        release: impl Fn() + Send + 'static,
    ) -> Self {
        Self { sinks, used: BTreeSet::new(), errors, release: Box::new(release) }
    }

    /// The sinks of a plan are used from now on, beside those that are still bound of the plans before.
    pub(super) fn uses(&mut self, plan: &ClassPlan) {
        let sinks = self.sinks.read().unwrap_or_else(PoisonError::into_inner);
        self.used.retain(|binding| sinks.contains_key(binding));
        let of_plan = plan.base.sinks().filter_map(|(_, node)| match &node.node.work {
            Work::Sink(sink) => Some(sink.binding.clone()),
            _ => None,
        });
        self.used.extend(of_plan);
    }

    fn bound(&self) -> Vec<Arc<dyn Sink>> {
        let sinks = self.sinks.read().unwrap_or_else(PoisonError::into_inner);
        self.used.iter().filter_map(|binding| sinks.get(binding).cloned()).collect()
    }

    /// Makes everything durable that sinks hold back, as far as they can.
    pub(super) fn flush(&self) {
        (self.release)();
        for sink in self.bound() {
            if let Err(error) = sink.flush() {
                self.errors.increment(1);
                tracing::error!(%error, "a sink could not make everything durable");
            }
        }
    }

    /// Why a sink will never be done with what it was given.
    pub(super) fn failure(&self) -> Option<SinkError> {
        self.bound().iter().find_map(|sink| sink.failure())
    }
}
