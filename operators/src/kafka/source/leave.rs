//! A consumer that goes leaves its group, and its client waits for the brokers in that. Where they are away it was seen to
//! wait without an end.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::Context;

/// Within the 9 s that a stop of `grist` has unless said, and the 10 s of those who kill what does not stop.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// Lets a consumer go. When it has not gone in time it is left to itself.
pub(super) fn leave(consumer: BaseConsumer<Context>) {
    consumer.context().close(&consumer);
    let (going, gone) = sync_channel::<()>(0);
    let going = move || {
        drop(consumer);
        drop(going);
    };
    if let Err(error) = std::thread::Builder::new().name("kafka-leave".to_owned()).spawn(going) {
        // The consumer has gone with what could not be started.
        tracing::warn!(%error, "no thread to leave a group");
    }
    if gone.recv_timeout(LEAVE_MAX) == Err(RecvTimeoutError::Timeout) {
        tracing::warn!(
            "a consumer could not leave its group in {LEAVE_MAX:?}: its brokers do not answer. The group finds out when its session times out"
        );
    }
}
