//! One idempotent producer for all shards, and the words that wait for its delivery reports.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use gristmill::clock::SystemClock;
use gristmill::traits::{Clock, Done, SinkError};
use gristmill::words::TraceParent;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::errors::Trouble;
use super::fault::Fault;
use super::limits;
use super::overflow::{Offered, Overflow};
use super::properties::Properties;
use super::source::not_there;
use super::trace;
use super::words::Words;
use crate::failure::{OnFailure, abort};

/// How long a start waits for the brokers to say which topics there are.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it looks meanwhile whether the client has said why they do not.
const METADATA_STEP: Duration = Duration::from_secs(1);
/// How often waiting records are offered again.
const DRAIN_INTERVAL: Duration = Duration::from_millis(5);
const FLUSH_STEP: Duration = Duration::from_millis(50);

const OWNED: [(&str, &str); 8] = [
    ("bootstrap.servers", "say `brokers`"),
    ("metadata.broker.list", "say `brokers`"),
    ("enable.idempotence", "a retry must neither double nor reorder"),
    ("acks", "what counts as written is what all replicas have"),
    ("request.required.acks", "what counts as written is what all replicas have"),
    ("transactional.id", "this sink is at-least-once"),
    ("delivery.report.only.error", "a frame is done when its rows are reported as delivered"),
    ("allow.auto.create.topics", "a misspelt topic must fail"),
];
/// No time-out for messages: when brokers are away rows wait and sources pause. Java's partitioner: keys lie where other
/// clients look for them.
const DEFAULTS: [(&str, &str); 8] = [
    ("client.id", "gristmill"),
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    ("message.timeout.ms", "0"),
    ("queue.buffering.max.messages", "200000"),
    ("queue.buffering.max.kbytes", "131072"),
    ("partitioner", "murmur2_random"),
    ("socket.keepalive.enable", "true"),
];
/// A topic that is deleted is not created again by those who write to it.
const SET: [(&str, &str); 3] = [("enable.idempotence", "true"), ("acks", "all"), ("allow.auto.create.topics", "false")];

/// What a producer is made of.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) topic: String,
    pub(super) properties: Properties,
    pub(super) flush_timeout: Duration,
    pub(super) on_failure: OnFailure,
}

impl Options {
    pub(super) fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            properties: Properties::default(),
            flush_timeout: Duration::from_secs(30),
            on_failure: abort(),
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = self.properties.problems(&OWNED);
        if self.topic.is_empty() {
            problems.push("no topic".to_owned());
        }
        problems.extend(limits::sink(&self.properties));
        problems
    }

    fn error(&self, reason: &str) -> SinkError {
        SinkError { reason: format!("kafka sink `{}`: {reason}", self.topic) }
    }

    fn said(&self, trouble: &Trouble) -> SinkError {
        SinkError { reason: trouble.text(&format!("kafka sink `{}`", self.topic), &self.properties.brokers) }
    }

    /// All that is wrong with the description.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        let problems = self.problems();
        if problems.is_empty() {
            return Ok(());
        }
        let trouble = Trouble::new(Fault::SettingsRefused, problems.join("; "));
        Err(SinkError { reason: trouble.text(&format!("kafka sink `{}`", self.topic), "") })
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("topic", &self.topic)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

/// Counts the rows of a frame that are not delivered; says `done` at the last. Who writes owes it one word more.
pub(super) struct Word {
    left: AtomicUsize,
    done: Mutex<Option<Done>>,
}

impl Word {
    fn new(done: Done, rows: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(rows + 1), done: Mutex::new(Some(done)) })
    }

    fn less(&self, by: usize) {
        if self.left.fetch_sub(by, Ordering::AcqRel) == by
            && let Some(done) = self.take()
        {
            done.done();
        }
    }

    fn take(&self) -> Option<Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Never said, and kept from the alarm of a word that is dropped: the failure has been told already.
    fn fail(&self) {
        if let Some(done) = self.take() {
            done.never();
        }
    }
}

/// What goes with a record beside its bytes.
pub(super) struct Note {
    pub(super) word: Arc<Word>,
    pub(super) trace: Option<TraceParent>,
}

/// The context of the producer: takes delivery reports.
pub(super) struct Reports {
    topic: String,
    brokers: String,
    on_failure: OnFailure,
    /// Why a record can not be delivered: the first reason.
    failed: OnceLock<String>,
    lost: AtomicBool,
    undelivered: AtomicUsize,
    words: Words,
    /// The producer is about to go, with whatever is in it.
    leaving: AtomicBool,
}

impl Reports {
    fn failed(&self, error: &KafkaError, word: &Word) {
        word.fail();
        self.tell(error);
    }

    /// A record that is not delivered, and of which nobody is told here.
    fn lost(&self, word: &Word) {
        word.fail();
        self.lost.store(true, Ordering::Release);
    }

    /// Tells of the first failure.
    fn tell(&self, error: &KafkaError) {
        let trouble = self.words.trouble(error);
        let what = format!("kafka sink `{}`: a record can not be delivered", self.topic);
        let reason = trouble.text(&what, &self.brokers);
        if self.failed.set(reason.clone()).is_ok() {
            tracing::error!(topic = self.topic, reason, "what was not committed will be read again");
            (self.on_failure)(&reason);
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.words.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = self.words.error(&error, reason);
        tracing::warn!(target: "librdkafka", topic = self.topic, %error, reason);
        // The client takes no more records, and gives back those that it has as if somebody had asked for it.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.tell(&error);
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Word>;

    fn delivery(&self, result: &DeliveryResult<'_>, word: Arc<Word>) {
        match result {
            Ok(_) => word.less(1),
            // The producer goes away with rows in it: its owner has given up waiting, and commits nothing.
            Err((error, _)) if is_purge(error) && self.leaving.load(Ordering::Acquire) => word.fail(),
            // The client has given up, and says why in an error of its own; it may come after this.
            Err((error, _)) if is_purge(error) => self.lost(&word),
            Err((error, _)) => self.failed(error, &word),
        }
        self.undelivered.fetch_sub(1, Ordering::AcqRel);
    }
}

fn is_purge(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight))
}

/// The producer with the queues before it.
pub(super) struct Core {
    options: Options,
    producer: ThreadedProducer<Reports>,
    /// Kept beyond their writers, while records wait in them.
    queues: Mutex<Vec<Arc<Overflow<Note>>>>,
    wake: SyncSender<()>,
}

impl Core {
    /// Connects, and checks that the topic is there.
    pub(super) fn open(options: &Options) -> Result<Arc<Self>, SinkError> {
        options.check()?;
        let reports = Reports {
            topic: options.topic.clone(),
            brokers: options.properties.brokers.clone(),
            on_failure: options.on_failure.clone(),
            failed: OnceLock::new(),
            lost: AtomicBool::new(false),
            undelivered: AtomicUsize::new(0),
            words: Words::new(&options.properties),
            leaving: AtomicBool::new(false),
        };
        let config = options.properties.config(&DEFAULTS, &SET);
        let producer: ThreadedProducer<Reports> =
            config.create_with_context(reports).map_err(|error| options.said(&options.properties.creation(&error)))?;
        look_for_topic(options, &producer)?;
        let (wake, woken) = sync_channel(1);
        let core = Arc::new(Self { options: options.clone(), producer, queues: Mutex::default(), wake });
        let weak = Arc::downgrade(&core);
        std::thread::Builder::new()
            .name("kafka-overflow".to_owned())
            .spawn(move || drain_forever(&weak, &woken))
            .map_err(|error| options.error(&format!("no thread for waiting records: {error}")))?;
        Ok(core)
    }

    /// A queue of its own for one writer.
    pub(super) fn queue(&self) -> Arc<Overflow<Note>> {
        let queue = Arc::new(Overflow::default());
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| Arc::strong_count(queue) > 1 || !queue.is_empty());
        queues.push(queue.clone());
        queue
    }

    /// A frame of at most `rows` rows will be written. They are counted at once: whoever takes delivery reports would
    /// wait for the counts at every row, and make the writer wait.
    pub(super) fn begin(&self, rows: usize, done: Done) -> Arc<Word> {
        self.producer.context().undelivered.fetch_add(rows, Ordering::AcqRel);
        Word::new(done, rows)
    }

    /// The frame is written, but for so many rows that it does not have.
    pub(super) fn end(&self, word: &Word, missing: usize) {
        self.producer.context().undelivered.fetch_sub(missing, Ordering::AcqRel);
        word.less(missing + 1);
    }

    /// Sends a record of a frame that has begun, or lets it wait; never blocks.
    pub(super) fn send(&self, queue: &Overflow<Note>, key: &[u8], payload: &[u8], note: Note) {
        if queue.offer(key, payload, note, |key, payload, note| self.offer(key, payload, note)) {
            // Full means that it will be woken anyway.
            let _ = self.wake.try_send(());
        }
    }

    fn offer(&self, key: &[u8], payload: &[u8], Note { word, trace }: Note) -> Offered<Note> {
        let mut record = BaseRecord::with_opaque_to(&self.options.topic, word).payload(payload);
        record.headers = trace.map(trace::write);
        let record = if key.is_empty() { record } else { record.key(key) };
        match self.producer.send(record) {
            Ok(()) => Offered::Taken,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                Offered::Full(Note { word: record.delivery_opaque, trace })
            }
            Err((error, record)) => {
                let reports = self.producer.context();
                reports.undelivered.fetch_sub(1, Ordering::AcqRel);
                // The client's last word, where it has said one.
                let error = self.producer.client().fatal_error().map_or(error, |(code, _)| KafkaError::Global(code));
                reports.failed(&error, &record.delivery_opaque);
                Offered::Taken
            }
        }
    }

    fn drain(&self) -> bool {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut waiting = false;
        for queue in queues {
            waiting |= queue.drain(|key, payload, note| self.offer(key, payload, note));
        }
        waiting
    }

    /// Why a record was not delivered and will not be.
    pub(super) fn failure(&self) -> Option<SinkError> {
        let reports = self.producer.context();
        let lost = reports.lost.load(Ordering::Acquire);
        if lost && let Some((code, _)) = self.producer.client().fatal_error() {
            reports.tell(&KafkaError::Global(code));
        }
        if let Some(reason) = reports.failed.get() {
            return Some(SinkError { reason: reason.clone() });
        }
        lost.then(|| self.options.error("a record could not be delivered; see the log"))
    }

    /// Waits until everything is delivered.
    pub(super) fn flush(&self) -> Result<(), SinkError> {
        let reports = self.producer.context();
        let mut left = self.options.flush_timeout;
        loop {
            let undelivered = reports.undelivered.load(Ordering::Acquire);
            if let Some(error) = self.failure() {
                return Err(error);
            } else if undelivered == 0 {
                return Ok(());
            } else if left.is_zero() {
                let waited = self.options.flush_timeout;
                return Err(self.options.error(&format!("{undelivered} records were not delivered within {waited:?}")));
            }
            self.drain();
            // Returns early when all is sent; tells the client not to linger.
            if self.producer.flush(FLUSH_STEP).is_ok() && reports.undelivered.load(Ordering::Acquire) > 0 {
                std::thread::sleep(Duration::from_millis(1));
                left = left.saturating_sub(Duration::from_millis(1));
            } else {
                left = left.saturating_sub(FLUSH_STEP);
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.producer.context().leaving.store(true, Ordering::Release);
        // As for rows that the client purges.
        for queue in self.queues.get_mut().unwrap_or_else(PoisonError::into_inner) {
            queue.drain(|_, _, note| {
                note.word.fail();
                Offered::Taken
            });
        }
    }
}

/// Whether the topic is there. All topics are asked for: a producer that asks for one by name has it created.
fn look_for_topic(options: &Options, producer: &ThreadedProducer<Reports>) -> Result<(), SinkError> {
    let words = &producer.context().words;
    let clock = SystemClock::default();
    let until = clock.monotonic() + METADATA_TIMEOUT;
    let metadata = loop {
        let error = match producer.client().fetch_metadata(None, METADATA_STEP) {
            Ok(metadata) => break metadata,
            Err(error) => error,
        };
        if words.named().is_some() || clock.monotonic() >= until {
            return Err(options.said(&words.trouble(&error)));
        }
    };
    words.over();
    if metadata.topics().iter().any(|topic| topic.name() == options.topic) {
        return Ok(());
    }
    let config = options.properties.config(&[], &[("allow.auto.create.topics", "false")]);
    let asks: BaseConsumer = config.create().map_err(|error| options.said(&options.properties.creation(&error)))?;
    Err(options.said(&not_there(&asks, &options.topic)))
}

/// The queue's last records would wait for ever if no frame came after them.
fn drain_forever(core: &Weak<Core>, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        while core.upgrade().is_some_and(|core| core.drain()) {
            std::thread::sleep(DRAIN_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_said_once_all_rows_are_delivered() {
        let said = Arc::new(AtomicBool::new(false));
        let saying = said.clone();
        let word = Word::new(Done::new(move || saying.store(true, Ordering::Release)), 5);
        (0..3).for_each(|_| word.less(1));
        assert!(!said.load(Ordering::Acquire));
        // Two were missing.
        word.less(2 + 1);
        assert!(said.load(Ordering::Acquire));
        Word::new(Done::new(|| panic!("a failed word was said")), 0).fail();
    }

    #[test]
    fn what_would_lose_or_double_rows_is_refused() {
        let mut options = Options::new("");
        for (name, value) in [("acks", "1"), ("enable.idempotence", "false"), ("message.timeout.ms", "500")] {
            options.properties.set(name, value);
        }
        let Err(error) = Core::open(&options) else { panic!("opened") };
        for said in ["no brokers", "no topic", "`acks`", "`enable.idempotence`", "`message.timeout.ms` = `500`"] {
            assert!(error.reason.contains(said), "{}", error.reason);
        }
    }
}
