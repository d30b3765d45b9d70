//! The sinks of a runtime as the driver of a source knows them: whether what they were given is durable, and can be.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use metrics::Counter;

use crate::traits::{Sink, SinkError};
use crate::words::Binding;

/// See the module.
pub(crate) struct BoundSinks {
    pub(crate) sinks: Arc<RwLock<HashMap<Binding, Arc<dyn Sink>>>>,
    pub(crate) errors: Counter,
    /// Lets those who subscribed read later what is under way: nothing waits for them then.
    pub(crate) release: Box<dyn Fn() + Send>,
}

impl BoundSinks {
    fn bound(&self) -> Vec<Arc<dyn Sink>> {
        self.sinks.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
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
