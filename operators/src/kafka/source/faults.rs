//! What went wrong, as whoever runs the source is told.

use std::time::Duration;

use gristmill::traits::SourceError;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use super::{Context, KafkaSource};
use crate::kafka::context::AssignError;
use crate::kafka::errors::Trouble;
use crate::kafka::fault::Fault;

const OFFSETS_TIMEOUT: Duration = Duration::from_secs(3);

impl KafkaSource {
    /// The description does not make sense.
    pub(super) fn refused(&self, problems: &str) -> SourceError {
        Trouble::new(Fault::SettingsRefused, problems).source(&self.what(), "", false)
    }

    fn what(&self) -> String {
        format!("kafka source `{}`, group `{}`", self.topics.join(", "), self.group)
    }

    pub(super) fn said(&self, trouble: &Trouble) -> SourceError {
        trouble.source(&self.what(), &self.properties.brokers, self.met)
    }

    pub(super) fn error(&self, consumer: &BaseConsumer<Context>, error: &KafkaError) -> SourceError {
        self.said(&consumer.context().words.trouble(error))
    }

    /// Partitions could not be begun.
    pub(super) fn unassigned(&self, consumer: &BaseConsumer<Context>, error: AssignError) -> SourceError {
        match error {
            // Where they go on is not known: the group is left and joined again.
            AssignError::Client(error) => SourceError { retry: true, ..self.error(consumer, &error) },
            AssignError::Named(trouble) => self.said(&trouble),
        }
    }

    /// What an error of a poll means; for a lost position, of which partitions.
    pub(super) fn diagnosed(&self, consumer: &BaseConsumer<Context>, error: &KafkaError) -> SourceError {
        let context = consumer.context();
        let mut trouble = context.words.trouble(error);
        match trouble.fault {
            Fault::PositionOutOfRange => trouble.detail += &out_of_range(consumer),
            Fault::TopicMissing => {
                if let Some(topic) = context.topic_in(&trouble.detail) {
                    // It was there when it was begun to be read.
                    trouble.fault = Fault::TopicDeleted;
                    context.forget(&topic);
                }
            }
            _ => {}
        }
        self.said(&trouble)
    }
}

/// The positions that their logs do not have.
fn out_of_range(consumer: &BaseConsumer<Context>) -> String {
    let mut said = String::new();
    let Ok(committed) = consumer.committed(OFFSETS_TIMEOUT) else { return said };
    for element in committed.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        if let rdkafka::Offset::Offset(offset) = element.offset()
            && let Ok((low, high)) = consumer.fetch_watermarks(topic, partition, OFFSETS_TIMEOUT)
            && !(low..=high).contains(&offset)
        {
            said += &format!("; `{topic}` partition {partition}: committed {offset}, the log has {low} to {high}");
        }
    }
    said
}
