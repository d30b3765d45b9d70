//! Tanks whose level is doubled: rows from one topic of Kafka, predictions in another, each row known by its number.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gristmill::defect::Defect;
use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::{Handle, Runtime, Stream};
use gristmill_operators::codec::row::TimeStyle;
use gristmill_operators::kafka;

use super::kafka::{Broker, PartitionLag, total_lag};
use super::kafka_clients::{Feed, Reader};

/// Partitions of both topics.
pub const PARTITIONS: u32 = 4;
/// A group and all it does must be through after this.
pub const TIMEOUT: Duration = Duration::from_secs(120);

const DEVICES: usize = 50;
const START_MILLIS: i64 = 1_767_225_600_000;
const LEVEL: Stream<f64> = Stream::new("level");
const TWICE: Stream<f64> = Stream::new("twice");

/// Two topics and a group.
#[derive(Clone, Debug)]
pub struct Tanks {
    /// Rows, and the group that reads them.
    pub levels: String,
    /// Predictions.
    pub twice: String,
}

impl Tanks {
    /// Makes the topics.
    #[must_use]
    pub fn create(broker: &Broker, name: &str) -> Self {
        let tanks = Self { levels: name.to_owned(), twice: format!("{name}-twice") };
        broker.create_topic(&tanks.levels, PARTITIONS);
        broker.create_topic(&tanks.twice, PARTITIONS);
        tanks
    }

    /// Starts a runtime; the properties are those of the source.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&self, brokers: &str, properties: &[(&str, &str)], defect: Option<Defect>) -> Handle {
        let tank = Topology::new("tank")
            .with(sensor(LEVEL))
            .with(provide(TWICE).needs(LEVEL).by(|level: f64| level * 2.0))
            .with(sink("out").needs(TWICE));
        let mut source = kafka::source(self.levels.as_str()).brokers(brokers).group(&self.levels);
        for (name, value) in properties {
            source = source.set(name, value);
        }
        let source = source.json(|r| r.key("tank").time("ts"));
        let sink = kafka::sink(self.twice.as_str()).brokers(brokers).times(TimeStyle::Micros);
        let builder = Runtime::builder().topology(tank).source(source).sink("out", sink).shards(1).defect(defect);
        builder.start().await.expect("the runtime starts")
    }

    /// Reads the predictions.
    #[must_use]
    pub fn reader(&self, brokers: &str) -> Reader {
        Reader::new(brokers, &self.twice, PARTITIONS)
    }

    /// Rows that the group has not committed.
    #[must_use]
    pub fn lag(&self, broker: &Broker) -> u64 {
        let lag: Vec<PartitionLag> = broker.consumer_group_lag(&self.levels);
        total_lag(&lag)
    }

    /// Waits until the group has committed all rows.
    ///
    /// # Panics
    /// When it has not in time.
    pub fn wait_for_commit(&self, broker: &Broker) {
        let deadline = Instant::now() + TIMEOUT;
        while self.lag(broker) > 0 {
            assert!(Instant::now() < deadline, "the group lags: {:?}", broker.consumer_group_lag(&self.levels));
        }
    }

    /// Appends rows at so many a second, as long as brokers are there, until it is ended.
    #[must_use]
    pub fn feed(&self, brokers: &str, rate: u32) -> Feeding {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, feed) = (Arc::clone(&stop), Feed::new(brokers, &self.levels));
        let thread = thread::spawn(move || {
            let (began, mut number) = (Instant::now(), 0);
            while !stopped.load(Ordering::Acquire) {
                while (number as f64) < began.elapsed().as_secs_f64() * f64::from(rate) {
                    feed.send(row(number));
                    number += 1;
                }
                feed.poll(Duration::from_millis(5));
            }
            feed.delivered();
            number
        });
        Feeding { stop, thread }
    }

    /// What became of the first `rows` rows; each prediction is right.
    ///
    /// # Panics
    /// When one is not.
    #[must_use]
    pub fn outcome(&self, brokers: &str, rows: usize) -> Outcome {
        let mut seen: HashMap<usize, usize> = HashMap::new();
        self.reader(brokers).read(|_, _, _, line| {
            let said: serde_json::Value = serde_json::from_slice(line).expect("predictions are JSON");
            let millis = said["time"].as_i64().expect("a time") / 1_000;
            let row = usize::try_from(millis - START_MILLIS).expect("a row");
            assert_eq!(said["value"].as_f64(), Some(row as f64 * 2.0));
            assert!(row < rows, "there is no row {row}");
            *seen.entry(row).or_default() += 1;
        });
        Outcome { missing: rows - seen.len(), repeated: seen.values().map(|times| times - 1).sum() }
    }
}

/// What became of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Rows without a prediction.
    pub missing: usize,
    /// Predictions beside the first of a row.
    pub repeated: usize,
}

/// Rows that are being appended.
pub struct Feeding {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Feeding {
    /// Ends it when all rows are there; how many they are.
    ///
    /// # Panics
    /// When they can not be appended.
    pub fn end(self) -> usize {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("all rows are fed")
    }
}

/// Each row of all tanks has a time of its own.
#[must_use]
pub fn row(number: usize) -> (String, String) {
    let tank = format!("T{}", number % DEVICES);
    let value = format!(r#"{{"tank":"{tank}","ts":{},"level":{number}}}"#, START_MILLIS + number as i64);
    (tank, value)
}
