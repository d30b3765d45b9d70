//! The first words with the brokers: a consumer is made, what must be there is looked for, the group is joined.

use std::time::Duration;

use gristmill::traits::{Clock, SourceError};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{IsError, KafkaError};
use rdkafka::metadata::Metadata;

use super::{Context, KafkaSource, Pause, StartAt};
use crate::kafka::errors::Trouble;
use crate::kafka::fault::Fault;
use crate::kafka::words::{DEBUG_AREA, Words};

/// How long a start waits for the brokers to say which topics there are.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it looks meanwhile whether the client has said why they do not.
const METADATA_STEP: Duration = Duration::from_secs(1);
const TOLD_WAIT: Duration = Duration::from_millis(50);

impl KafkaSource {
    pub(super) fn connect(&mut self) -> Result<BaseConsumer<Context>, SourceError> {
        self.check()?;
        let reset = match self.start_at {
            StartAt::Committed => "error",
            StartAt::Earliest => "earliest",
            StartAt::Latest => "latest",
        };
        let debug = self.properties.get("debug").map_or(DEBUG_AREA.to_owned(), |said| format!("{said},{DEBUG_AREA}"));
        let defaults = [
            ("client.id", "gristmill"),
            ("isolation.level", "read_committed"),
            ("socket.keepalive.enable", "true"),
            // Partitions that are added are noticed within a minute.
            ("topic.metadata.refresh.interval.ms", "60000"),
        ];
        let owned = [
            ("group.id", &*self.group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", reset),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("allow.auto.create.topics", "false"),
            ("debug", &debug),
        ];
        let words = Words::new(&self.properties);
        let context = Context::new(&self.group, self.start_at, words, self.expected.clone());
        context.pause(self.pause == Pause::Said);
        let mut config = self.properties.config(&defaults, &owned);
        // What is said at the level of debugging is read here, and shown only where it was asked for.
        config.set_log_level(RDKafkaLogLevel::Debug);
        let consumer: BaseConsumer<Context> =
            config.create_with_context(context).map_err(|error| self.said(&self.properties.creation(&error)))?;
        let metadata = self.metadata(&consumer)?;
        self.met = true;
        consumer.context().words.over();
        for name in &self.topics {
            if !metadata.topics().iter().any(|topic| topic.name() == name) {
                return Err(self.said(&not_there(&consumer, name)));
            }
        }
        let names: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| self.error(&consumer, &error))?;
        Ok(consumer)
    }

    /// All topics, not the ones by name: those that this user may not see are not among them.
    fn metadata(&self, consumer: &BaseConsumer<Context>) -> Result<Metadata, SourceError> {
        let until = self.clock.monotonic() + METADATA_TIMEOUT;
        loop {
            let error = match consumer.fetch_metadata(None, METADATA_STEP) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            // What the client tells aside comes with polls; there are no records yet. A poll that does not wait ends with
            // the first line that is logged.
            while consumer.poll(TOLD_WAIT).is_some() {}
            if consumer.context().words.named().is_some() || self.clock.monotonic() >= until {
                return Err(self.error(consumer, &error));
            }
        }
    }
}

/// Why a topic is not among those that there are. A consumer that asks for it by name does not create it.
pub(in crate::kafka) fn not_there<C: rdkafka::consumer::ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
) -> Trouble {
    let asked = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT);
    let error = asked.ok().and_then(|metadata| metadata.topics().first()?.error()).filter(IsError::is_error);
    let mut trouble = error.map_or_else(
        || Trouble::new(Fault::TopicMissing, ""),
        |error| Trouble::of(&KafkaError::MetadataFetch(error.into())),
    );
    trouble.detail = format!("`{topic}`");
    trouble
}
