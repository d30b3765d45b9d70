//! Changes of a topic of attributes go to the running system.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gristmill::clock::SystemClock;
use gristmill::deployer::{Deployer, LIMIT_DEFAULT};
use gristmill::topology::Attributes;
use gristmill::traits::{Clock, SourceError};
use gristmill::words::{Class, Revision};
use gristmill::{DeployError, Deployment, Handle};
use tokio::runtime::Handle as Tokio;

use super::super::limits;
use super::facts::Facts;
use super::reading::{Came, Reading};
use super::{KafkaAttributes, KafkaAttributesOptions};

/// After a failure it is tried again after a second, then after twice as long, up to a minute.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// The system that attributes go to.
#[derive(Clone)]
#[non_exhaustive]
pub enum AttributesTo {
    /// By deployments of its handle: they replace what else was deployed of attributes.
    Handle(Handle),
    /// By its deployer, with a record: what was deployed lies over what the topic says.
    Deployer(Deployer),
}

impl From<Handle> for AttributesTo {
    fn from(handle: Handle) -> Self {
        Self::Handle(handle)
    }
}

impl From<Deployer> for AttributesTo {
    fn from(deployer: Deployer) -> Self {
        Self::Deployer(deployer)
    }
}

impl fmt::Debug for AttributesTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handle(_) => "Handle",
            Self::Deployer(_) => "Deployer",
        })
    }
}

impl AttributesTo {
    fn is_running(&self) -> bool {
        match self {
            Self::Handle(handle) => handle.is_running(),
            Self::Deployer(deployer) => deployer.handle().is_running(),
        }
    }

    /// The revision since which it is known; `None` when the system has stopped.
    async fn apply(
        &self,
        class: &Class,
        known: Attributes,
        topic: &str,
        position: &str,
    ) -> Result<Option<Revision>, String> {
        match self {
            Self::Handle(handle) => {
                let deployment = Deployment::of(class.clone()).attributes(known).within(LIMIT_DEFAULT);
                match handle.apply(deployment).await {
                    Ok(applied) => Ok(Some(applied.revision)),
                    Err(DeployError::Stopped) => Ok(None),
                    Err(error) => Err(error.to_string()),
                }
            }
            Self::Deployer(deployer) => {
                let note = format!("topic `{topic}` up to {position}");
                let who = format!("topic {topic}");
                match deployer.host_attributes(Some(class), known, &note, &who).await {
                    Ok(outcome) => Ok(Some(outcome.revision)),
                    Err(refusal) if refusal.code == "stopped" => Ok(None),
                    Err(refusal) => Err(refusal.reason),
                }
            }
        }
    }
}

/// What came of a topic of attributes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributeCounts {
    /// Records that were read.
    pub records: u64,
    /// Records that were refused.
    pub refused: u64,
    /// Keys that have a record.
    pub keys: u64,
    /// Changes that took effect, each as a revision.
    pub changes: u64,
    /// Changes that the system refused; each is tried again.
    pub changes_refused: u64,
    /// Failures to read the topic; it is tried again.
    pub failures: u64,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    records: AtomicU64,
    refused: AtomicU64,
    keys: AtomicU64,
    changes: AtomicU64,
    changes_refused: AtomicU64,
    failures: AtomicU64,
}

/// A topic of attributes that is followed until this is dropped, or the system ends.
pub struct Following(Arc<Shared>);

impl Following {
    /// What came so far.
    pub fn counts(&self) -> AttributeCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Acquire);
        let shared = &self.0;
        AttributeCounts {
            records: read(&shared.records),
            refused: read(&shared.refused),
            keys: read(&shared.keys),
            changes: read(&shared.changes),
            changes_refused: read(&shared.changes_refused),
            failures: read(&shared.failures),
        }
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Following").field(&self.counts()).finish()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // Its thread is not waited for: it may wait for the caller's own.
        self.0.stopped.store(true, Ordering::Release);
    }
}

impl KafkaAttributes {
    /// Hands over what changes from now on, on a thread of its own: at most one change in each interval, with all that came
    /// since. Each takes effect at a position of each partition, as every deployment does. When the topic cannot be read it
    /// is tried again for ever, and the system goes on with what it knows.
    ///
    /// # Errors
    /// Outside of a tokio runtime, and when there is no thread.
    pub fn follow(self, to: impl Into<AttributesTo>) -> Result<Following, SourceError> {
        let Self { options, class, facts, reading } = self;
        let failed = |reason: String| SourceError { reason, retry: false };
        let tokio = Tokio::try_current().map_err(|error| failed(format!("{}: {error}", options.what())))?;
        let shared = Arc::<Shared>::default();
        let applied = facts.known().clone();
        let (reading, to, what) = (Some(reading), to.into(), options.what());
        let mut follower = Follower {
            options,
            class,
            facts,
            reading,
            to,
            tokio,
            applied,
            shared: Arc::clone(&shared),
            clock: SystemClock::default(),
            again: BackOff::default(),
            deploy_again: BackOff::default(),
            tell_again: BackOff::default(),
            looked: Duration::ZERO,
            news: false,
        };
        follower.count();
        let thread = std::thread::Builder::new().name("kafka-attributes".to_owned());
        thread.spawn(move || follower.run()).map_err(|error| failed(format!("{what}: no thread: {error}")))?;
        Ok(Following(shared))
    }
}

/// When something may be tried again.
#[derive(Clone, Copy, Debug, Default)]
struct BackOff {
    at: Duration,
    wait: Duration,
}

impl BackOff {
    fn failed(&mut self, now: Duration) {
        self.wait = (self.wait * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
        self.at = now + self.wait;
    }

    fn succeeded(&mut self, next: Duration) {
        *self = Self { at: next, wait: Duration::ZERO };
    }
}

struct Follower {
    options: KafkaAttributesOptions,
    class: Class,
    facts: Facts,
    /// Nothing after a failure, until the topic is read anew.
    reading: Option<Reading>,
    to: AttributesTo,
    tokio: Tokio,
    /// What the system knows.
    applied: Attributes,
    /// Whether the topic has said something since.
    news: bool,
    shared: Arc<Shared>,
    clock: SystemClock,
    /// When the topic may be read anew.
    again: BackOff,
    /// When the next change may be deployed.
    deploy_again: BackOff,
    /// When a failure may be told of again.
    tell_again: BackOff,
    /// When the partitions were last looked at.
    looked: Duration,
}

impl Follower {
    fn run(&mut self) {
        while !self.shared.stopped.load(Ordering::Acquire) && self.to.is_running() {
            let read = match self.reading.take() {
                Some(reading) => self.poll(reading),
                None => self.read_anew(),
            };
            if let Err(error) = read {
                self.failed(&error);
            }
            self.count();
            if self.news && self.clock.monotonic() >= self.deploy_again.at && !self.deploy() {
                return;
            }
        }
    }

    /// Counts a failure and tells of it, ever more seldom while it lasts.
    fn failed(&mut self, error: &SourceError) {
        self.shared.failures.fetch_add(1, Ordering::AcqRel);
        let now = self.clock.monotonic();
        if now >= self.tell_again.at {
            self.tell_again.failed(now);
            tracing::warn!(
                topic = self.options.topic,
                reason = error.reason,
                "attributes cannot be read; what is known of keys stays as it is"
            );
        }
    }

    /// Takes what comes, and says so when it cannot.
    fn poll(&mut self, mut reading: Reading) -> Result<(), SourceError> {
        let now = self.clock.monotonic();
        let mut polled = reading.poll(&self.options, &mut self.facts).map(|came| match came {
            Came::Record(is_news) => {
                self.news |= is_news;
                self.tell_again.succeeded(Duration::ZERO);
            }
            Came::Nothing | Came::End(_) => {}
        });
        if polled.is_ok() && now >= self.looked + limits::refresh(&self.options.properties) {
            self.looked = now;
            polled = match reading.has_changed(&self.options) {
                Ok(false) => Ok(()),
                Ok(true) => {
                    tracing::info!(topic = self.options.topic, "the topic has other partitions now; it is read anew");
                    return Ok(());
                }
                Err(error) => Err(error),
            };
        }
        match polled {
            // The client connects again by itself.
            Err(error) if error.retry => {
                self.reading = Some(reading);
                Err(error)
            }
            Err(error) => {
                self.again.failed(now);
                Err(error)
            }
            Ok(()) => {
                self.reading = Some(reading);
                Ok(())
            }
        }
    }

    /// Reads the topic from its beginning, when it is time; what it says then takes the place of what it said before.
    fn read_anew(&mut self) -> Result<(), SourceError> {
        let now = self.clock.monotonic();
        if now < self.again.at {
            std::thread::sleep((self.again.at - now).min(Duration::from_millis(100)));
            return Ok(());
        }
        let (mut facts, shared) = (self.facts.anew(), &self.shared);
        let stopped = || shared.stopped.load(Ordering::Acquire);
        match Reading::from_beginning(&self.options, &mut facts, &stopped) {
            Ok(_) if stopped() => Ok(()),
            Ok(reading) => {
                (self.facts, self.reading) = (facts, Some(reading));
                self.again.succeeded(Duration::ZERO);
                self.looked = self.clock.monotonic();
                self.news |= *self.facts.known() != self.applied;
                Ok(())
            }
            Err(error) => {
                self.again.failed(self.clock.monotonic());
                Err(error)
            }
        }
    }

    /// Hands over what is known now; whether the system goes on.
    fn deploy(&mut self) -> bool {
        let known = self.facts.known().clone();
        if known == self.applied {
            // It has been taken back since.
            self.news = false;
            return true;
        }
        let (topic, position) = (self.options.topic.as_str(), self.facts.position());
        let applied = self.tokio.block_on(self.to.apply(&self.class, known.clone(), topic, &position));
        let now = self.clock.monotonic();
        match applied {
            Ok(Some(revision)) => {
                self.shared.changes.fetch_add(1, Ordering::AcqRel);
                tracing::info!(topic, position, revision = revision.0, "attributes of keys have changed");
                (self.applied, self.news) = (known, false);
                self.deploy_again.succeeded(now + self.options.interval);
                true
            }
            Ok(None) => false,
            Err(reason) => {
                self.shared.changes_refused.fetch_add(1, Ordering::AcqRel);
                tracing::warn!(topic, position, reason, "attributes are refused; what was known stands");
                self.deploy_again.failed(now);
                true
            }
        }
    }

    fn count(&self) {
        let keep = |place: &AtomicU64, count: u64| place.store(count, Ordering::Release);
        keep(&self.shared.records, self.facts.records);
        keep(&self.shared.refused, self.facts.refused);
        keep(&self.shared.keys, self.facts.keys() as u64);
    }
}
