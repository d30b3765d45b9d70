//! What is known of keys, read from a compacted topic.

mod facts;
mod follow;
mod reading;

use std::time::Duration;

use gristmill::Topology;
use gristmill::traits::SourceError;
use gristmill::words::ElementType;
use gristmill::words::id::check_name;

use super::limits;
use super::properties::Properties;
use facts::Facts;
pub use follow::{AttributeCounts, AttributesTo, Following};
use reading::Reading;

/// Most keys of a topic of attributes, unless said.
pub const TOPIC_KEYS_MAX: usize = 1_000_000;
/// The largest record of attributes, in bytes.
pub const ATTRIBUTE_RECORD_BYTES_MAX: usize = 64 * 1024;
/// The shortest time from one change to the next, unless said.
const INTERVAL: Duration = Duration::from_secs(1);

/// Names that are not the operator's to set, and why.
const OWNED: [(&str, &str); 9] = [
    ("bootstrap.servers", "say `brokers`"),
    ("metadata.broker.list", "say `brokers`"),
    ("group.id", "the topic is read without a group"),
    ("group.instance.id", "the topic is read without a group"),
    ("enable.auto.commit", "nothing is committed"),
    ("enable.auto.offset.store", "nothing is committed"),
    ("auto.offset.reset", "the topic is read from its beginning"),
    ("enable.partition.eof", "it says how far the topic goes"),
    ("allow.auto.create.topics", "a misspelt topic must fail"),
];

/// Where attributes are to be read from; made by [`attributes`].
#[derive(Clone, Debug)]
#[must_use]
pub struct KafkaAttributesOptions {
    topic: String,
    properties: Properties,
    types: Vec<(String, ElementType)>,
    keys_max: usize,
    interval: Duration,
}

/// Begins to describe a compacted topic of attributes: a record's key is the name of a key, its value a JSON object of all
/// that is known of it (`{"site": "north", "rating": 5.5}`), and a record without a value takes that away.
///
/// The topic is one layer over the attributes of the topology: of a key that has a record only that record is known, of
/// one that has none what the topology has. A record that cannot be read is refused with its place in the topic in a
/// warning, and what was known before stands. All records of a key must lie in one partition.
///
/// ```no_run
/// use gristmill::topology::{Topology, sensor, sink};
/// use gristmill::in_process::Collected;
/// use gristmill::words::ElementType;
/// use gristmill::{Runtime, Stream};
/// use gristmill_operators::kafka;
/// const WEAR: Stream<f32> = Stream::new("wear");
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let pump = Topology::new("pump").with(sensor(WEAR)).with(sink("out").needs(WEAR));
/// // What the topic has now is known from the first row on.
/// let facts = kafka::attributes("pump-facts").brokers("localhost:9092").declare("rating", ElementType::F64);
/// let (pump, facts) = tokio::task::spawn_blocking(move || facts.read(pump)).await??;
/// let source = kafka::source("sensors").brokers("localhost:9092").json(|r| r.key("device").time("ts"));
/// let mill = Runtime::builder().topology(pump).source(source).sink("out", Collected::default()).start().await?;
/// // What comes then takes effect while rows flow, each time as a revision.
/// let following = facts.follow(mill.clone())?;
/// mill.finished().await?;
/// println!("{} records, {} refused", following.counts().records, following.counts().refused);
/// # Ok(())
/// # }
/// ```
pub fn attributes(topic: &str) -> KafkaAttributesOptions {
    KafkaAttributesOptions {
        topic: topic.to_owned(),
        properties: Properties::default(),
        types: Vec::new(),
        keys_max: TOPIC_KEYS_MAX,
        interval: INTERVAL,
    }
}

impl KafkaAttributesOptions {
    /// The addresses to connect to first.
    pub fn brokers(mut self, brokers: &str) -> Self {
        brokers.clone_into(&mut self.properties.brokers);
        self
    }

    /// Sets a property of librdkafka, from the operator's own configuration only.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.properties.set(name, value);
        self
    }

    /// Declares an attribute, beside those of the topology.
    pub fn declare(mut self, name: &str, element: ElementType) -> Self {
        self.types.push((name.to_owned(), element));
        self
    }

    /// Most keys that have a record; [`TOPIC_KEYS_MAX`] unless said. Records of further keys are refused.
    pub fn keys_max(mut self, keys: usize) -> Self {
        self.keys_max = keys;
        self
    }

    /// The shortest time from one change to the next; a second unless said. All that comes meanwhile is one change.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Looks at the description without connecting.
    ///
    /// # Errors
    /// With all that makes no sense.
    pub fn check(&self) -> Result<(), SourceError> {
        let mut problems = self.properties.problems(&OWNED);
        problems.extend(limits::reader(&self.properties));
        if self.topic.is_empty() {
            problems.push("no topic is named".to_owned());
        }
        for (name, element) in &self.types {
            problems.extend(check_name("attribute", name).err().map(|error| error.to_string()));
            if matches!(element, ElementType::Vector(_)) {
                problems.push(format!("attribute `{name}` is {element}; attributes are f32, f64, i64, bool or str"));
            }
        }
        if self.keys_max == 0 {
            problems.push("keys_max is 0, so that every record would be refused".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(self.stop(&problems.join("; "))) }
    }

    /// Reads the topic up to where it ends now, and lays what it says over the attributes of a topology. It blocks.
    ///
    /// # Errors
    /// When the description makes no sense, an attribute has another type in the topology, no broker answers, or the topic
    /// is missing or cannot be read.
    pub fn read(self, topology: Topology) -> Result<(Topology, KafkaAttributes), SourceError> {
        self.check()?;
        let mut under = topology.known_attributes().clone();
        for (name, element) in &self.types {
            match under.types().get(name.as_str()) {
                Some(before) if before != element => {
                    return Err(self.stop(&format!("`{name}` is {before} already, and cannot become {element}")));
                }
                _ => under = under.declare(name.as_str(), *element),
            }
        }
        let mut facts = Facts::over(under, self.keys_max);
        let reading = Reading::from_beginning(&self, &mut facts, &|| false)?;
        let class = topology.class().clone();
        let topology = topology.attributes(facts.known().clone());
        Ok((topology, KafkaAttributes { options: self, class, facts, reading }))
    }

    fn what(&self) -> String {
        format!("kafka attributes `{}`", self.topic)
    }

    fn stop(&self, reason: &str) -> SourceError {
        SourceError { reason: format!("{}: {reason}", self.what()), retry: false }
    }
}

/// A topic of attributes that was read up to its end; see [`attributes`].
pub struct KafkaAttributes {
    options: KafkaAttributesOptions,
    class: gristmill::words::Class,
    facts: Facts,
    reading: Reading,
}

impl std::fmt::Debug for KafkaAttributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaAttributes")
            .field("options", &self.options)
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_without_sense_is_refused_with_all_that_is_wrong() {
        let described =
            attributes("").set("group.id", "g").set("sasl.username", "u").declare("a b", ElementType::F64).keys_max(0);
        let error = described.check().expect_err("nonsense");
        for said in
            ["no brokers", "without a group", "`sasl.username` would not be used", "no topic", "`a b`", "keys_max"]
        {
            assert!(error.reason.contains(said), "{said}: {}", error.reason);
        }
        let known = gristmill::topology::Attributes::new().declare("rating", ElementType::Str);
        let described = attributes("t").brokers("b").declare("rating", ElementType::F64);
        let error = described.read(Topology::new("pump").attributes(known)).expect_err("two types");
        assert!(!error.retry && error.reason.contains("`rating` is str already"), "{error}");
    }
}
