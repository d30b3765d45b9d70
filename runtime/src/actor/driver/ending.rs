//! How a driver ends: what is in flight has its effect, states are saved, positions committed, the source closed.

use std::sync::Arc;
use std::time::Duration;

use super::keeping::Saved;
use super::{Control, Running};
use crate::state::StateError;
use crate::traits::{SinkError, SourceError};

/// How a driver ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Everything that was read has had its effect and is committed.
    Finished,
    /// The source cannot go on.
    Failed(SourceError),
    /// A sink cannot go on: what was not committed is read again, and the states of keys are lost.
    Unwritten(SinkError),
    /// As finished, but the states of keys are lost.
    Unsaved(StateError),
    /// As finished, but one or some of the states of keys are lost.
    Partly(StateError),
    /// As finished, and the states of keys are saved, but not that the source knows how far they go.
    Untold(StateError),
}

/// What is logged where another failure is the answer.
const UNCOMMITTED: &str = "the last positions were not committed, or the source was not closed in order";
const PARTLY: &str = "not all states of keys are saved";
const UNTOLD: &str = "the states of keys are saved, but not that the source knows how far they go; the next start goes on with them all the same";

impl Running {
    /// The source cannot go on: what it brought has its effect all the same.
    pub(super) fn fail(self, error: SourceError) -> Ended {
        let name = Arc::clone(&self.driver.name);
        match self.finish(None) {
            Ended::Finished => {}
            Ended::Failed(error) => tracing::error!(source = %name, %error, "{UNCOMMITTED}"),
            Ended::Unwritten(error) => tracing::error!(source = %name, %error, "a sink failed, too"),
            Ended::Unsaved(error) => tracing::error!(source = %name, %error, "the states of keys are lost"),
            Ended::Partly(error) => tracing::error!(source = %name, %error, "{PARTLY}"),
            Ended::Untold(error) => tracing::warn!(source = %name, %error, "{UNTOLD}"),
        }
        Ended::Failed(error)
    }

    /// Waits for what is in flight, saves the states, commits, and closes the source; `failed` is what ends it.
    pub(super) fn finish(mut self, failed: Option<SinkError>) -> Ended {
        self.driver.source.pause(true);
        let waited = self.wait_for_sinks();
        self.tell_drained();
        let saved = if waited.is_ok() { self.save() } else { Ok(Saved::Nothing) };
        let committed = self.commit();
        let closed = self.driver.source.close();
        if committed.is_err()
            && let Err(error) = &closed
        {
            tracing::error!(source = %self.driver.name, %error, "the source was not closed in order either");
        }
        let committed = committed.and(closed);
        if let Some(unwritten) = waited.err().or(failed) {
            if let Err(error) = committed {
                tracing::error!(source = %self.driver.name, %error, "{UNCOMMITTED}");
            }
            return Ended::Unwritten(unwritten);
        }
        match (saved, committed) {
            (Ok(Saved::Nothing), Ok(())) => Ended::Finished,
            (Ok(Saved::Whole), Ok(())) => self.told().map_or_else(Ended::Untold, |()| Ended::Finished),
            (Ok(Saved::Partly(partly)), Ok(())) => {
                if let Err(error) = self.told() {
                    tracing::warn!(source = %self.driver.name, %error, "{UNTOLD}");
                }
                Ended::Partly(partly)
            }
            (Ok(saved), Err(error)) => {
                if let Saved::Partly(partly) = saved {
                    tracing::error!(source = %self.driver.name, error = %partly, "{PARTLY}");
                }
                Ended::Failed(error)
            }
            (Err(unsaved), Ok(())) => Ended::Unsaved(unsaved),
            (Err(unsaved), Err(error)) => {
                tracing::error!(source = %self.driver.name, %error, "{UNCOMMITTED}");
                Ended::Unsaved(unsaved)
            }
        }
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.partitions.iter().any(|partition| !partition.in_flight.is_empty())
    }

    /// Waits until nothing is in flight any more.
    ///
    /// # Errors
    /// When this will never be: a sink has failed, or nobody holds the system any more.
    pub(super) fn wait_for_sinks(&mut self) -> Result<(), SinkError> {
        while self.is_in_flight() {
            if self.driver.abandoned.is_abandoned() {
                let reason = "the system was dropped before it had stopped: what is in flight is read again";
                tracing::warn!(source = %self.driver.name, "{reason}");
                return Err(SinkError { reason: reason.to_owned() });
            }
            self.driver.sinks.flush();
            let failed = self.driver.sinks.failure();
            self.take_done(Duration::from_millis(1));
            self.answer_late();
            if let Err(error) = self.idle() {
                tracing::debug!(source = %self.driver.name, %error, "the source cannot keep its place until the end");
            }
            if let Some(error) = failed.filter(|_| self.is_in_flight()) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Control that comes while the driver ends: a switch is answered, as there is nothing more to compute.
    fn answer_late(&mut self) {
        while let Ok(control) = self.driver.control.try_recv() {
            match control {
                Control::Switch { plan, departing, switched } => self.switch(plan, &departing, switched),
                Control::Drained { until, drained } => self.await_done(until, drained),
                // Who asked is told by the end of the channel.
                Control::Replay(_) => {}
            }
        }
    }
}
