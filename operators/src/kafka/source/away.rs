//! A connected client whose brokers go away says so once and tries again by itself: polls then bring nothing, as those of
//! an idle topic do. Whoever wants to know which it is is told here.

use std::time::Duration;

use gristmill::traits::{Clock, SourceError};
use rdkafka::consumer::Consumer;

use super::KafkaSource;

/// How often the brokers are asked while nothing comes.
const ASKED_EVERY: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Brokers that were away when they were last heard of.
pub(super) struct Away {
    reason: String,
    asked: Duration,
}

impl KafkaSource {
    /// An error came that may pass.
    pub(super) fn failed(&mut self, error: &SourceError) {
        self.away = Some(Away { reason: error.reason.clone(), asked: self.clock.monotonic() });
    }

    /// Why nothing comes, if that is because the brokers are away.
    pub(super) fn is_away(&mut self) -> Option<SourceError> {
        let now = self.clock.monotonic();
        let (away, consumer) = (self.away.as_mut()?, self.consumer.as_ref()?);
        if now >= away.asked + ASKED_EVERY {
            away.asked = now;
            if consumer.fetch_metadata(self.topics.first().map(String::as_str), ANSWER_TIMEOUT).is_ok() {
                self.away = None;
                return None;
            }
        }
        Some(SourceError { reason: away.reason.clone(), retry: true })
    }
}
