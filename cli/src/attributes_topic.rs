//! The table `[attributes_topic]`: what is known of keys comes from a topic of Kafka.

use std::path::Path;

use gristmill::Topology;
use serde_json::Value;

use crate::binding::{Fields, Problem};
use crate::failure::Failure;

/// The place of the table in a topology file.
const PLACE: &str = "attributes_topic";

#[cfg(feature = "kafka")]
mod with_kafka {
    use gristmill_operators::kafka::{self, AttributesTo, Following, KafkaAttributes, KafkaAttributesOptions};

    use super::{Failure, Fields, Topology};

    /// What the table says.
    pub(crate) type AttributesTopic = KafkaAttributesOptions;
    /// A topic that was read up to its end.
    pub(crate) type Known = KafkaAttributes;

    pub(super) fn of_fields(fields: &mut Fields<'_>) -> Option<AttributesTopic> {
        let brokers = fields.needed("brokers", "\"localhost:9092\"");
        let topic = fields.needed("topic", "\"pump-facts\"");
        // The types are the topology's already.
        fields.table("types");
        let (keys_max, interval, properties) =
            (fields.whole("keys_max"), fields.span("interval"), fields.table("properties"));
        let mut described = kafka::attributes(&topic?).brokers(&brokers?);
        if let Some(keys) = keys_max {
            described = described.keys_max(usize::try_from(keys).unwrap_or(usize::MAX));
        }
        if let Some(interval) = interval {
            let micros = u64::try_from(interval.0).unwrap_or_default();
            described = described.interval(std::time::Duration::from_micros(micros));
        }
        for (name, value) in properties {
            described = described.set(&name, &value);
        }
        match described.check() {
            Ok(()) => Some(described),
            Err(error) => {
                fields.wrong(error.reason, "");
                None
            }
        }
    }

    pub(crate) async fn read(
        topic: Option<AttributesTopic>,
        topology: Topology,
    ) -> Result<(Topology, Option<Known>), Failure> {
        let Some(topic) = topic else { return Ok((topology, None)) };
        let read = tokio::task::spawn_blocking(move || topic.read(topology)).await;
        match read {
            Ok(Ok((topology, known))) => Ok((topology, Some(known))),
            Ok(Err(error)) => Err(Failure::failed(error.reason)),
            Err(error) => Err(Failure::failed(format!("attributes could not be read: {error}"))),
        }
    }

    /// Hands over what changes from now on, as long as the result is kept.
    pub(crate) fn follow(known: Option<Known>, to: impl Into<AttributesTo>) -> Result<Option<Following>, Failure> {
        let followed = known.map(|known| known.follow(to)).transpose();
        followed.map_err(|error| Failure::failed(error.reason))
    }
}

#[cfg(not(feature = "kafka"))]
mod with_kafka {
    use super::{Failure, Fields, Topology};

    /// There is none.
    #[derive(Debug)]
    pub(crate) enum AttributesTopic {}
    pub(crate) type Known = AttributesTopic;

    pub(super) fn of_fields(fields: &mut Fields<'_>) -> Option<AttributesTopic> {
        fields.wrong("this grist was built without Kafka", "build it with --features kafka");
        None
    }

    pub(crate) async fn read(
        _topic: Option<AttributesTopic>,
        topology: Topology,
    ) -> Result<(Topology, Option<Known>), Failure> {
        Ok((topology, None))
    }

    pub(crate) fn follow<T>(_known: Option<Known>, _to: T) -> Result<Option<Known>, Failure> {
        Ok(None)
    }
}

pub(crate) use with_kafka::{AttributesTopic, Known, follow, read};

/// Reads the table; `None` when something is wrong, which is added to `problems`.
pub(crate) fn of_table(table: &Value, folder: &Path, problems: &mut Vec<Problem>) -> Option<AttributesTopic> {
    let mut fields = Fields::of(table, PLACE, folder, problems);
    let read = with_kafka::of_fields(&mut fields);
    // Without Kafka no field has been looked at.
    if cfg!(feature = "kafka") {
        fields.finish();
    }
    read
}
