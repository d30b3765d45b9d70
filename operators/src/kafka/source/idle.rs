//! A source that is paused keeps its place in the group: it is polled, and brings nothing.

use std::time::Duration;

use gristmill::traits::{Clock, SourceError};
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{Context, KafkaSource, Pause};

/// A pause that is shorter costs nothing: what the client has fetched stays with it.
const PAUSE_UNSAID_MAX: Duration = Duration::from_millis(500);

impl KafkaSource {
    /// Keeps the place in the group of a consumer whose records are not wanted.
    pub(super) fn idle_connected(&mut self, consumer: &BaseConsumer<Context>) -> Result<(), SourceError> {
        self.settle(consumer)?;
        match self.pause {
            Pause::Unsaid(since) if self.clock.monotonic() < since + PAUSE_UNSAID_MAX => return Ok(()),
            Pause::Unsaid(_) => {
                self.pause = Pause::Said;
                consumer.context().pause(true);
                let assigned = consumer.assignment().map_err(|error| self.error(consumer, &error))?;
                consumer.pause(&assigned).map_err(|error| self.error(consumer, &error))?;
            }
            Pause::Said | Pause::No => {}
        }
        match consumer.poll(Duration::ZERO) {
            // Whatever the client was about to hand over when it was told.
            Some(Ok(message)) => {
                let mut held = std::mem::take(&mut self.held);
                self.put(&message, &mut held);
                self.held = held;
                Ok(())
            }
            Some(Err(error)) => Err(self.diagnosed(consumer, &error)),
            None => Ok(()),
        }
    }
}
