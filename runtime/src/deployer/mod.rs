//! Deployments that last: manifests with their artifacts go in, a recorded revision comes out, and a restart runs it
//! again. Between clients and the [`Handle`]; it knows formats of models only through
//! [`topology::Registry`](crate::topology::Registry).

mod attributes;
mod change;
mod deploy;
mod host_facts;
mod letters;
mod read;
mod restore;
mod rollback;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::handle::Handle;
use crate::letters::LetterFolder;
use crate::registry::{AuditLine, Record, RegistryError, RegistryFolder};
use crate::topology::{Attributes, Node, Registry};
use crate::traits::{Clock, Digest};
use crate::words::{Class, NodeId, Revision};

pub use crate::topology::attributes::FACTS_MAX;
pub use attributes::AttributeChange;
pub use change::{Artifact, ChangeSet, Outcome, Refusal, Terms};
pub use letters::{REPLAY_MAX, Replays};
pub use start::DeployerStartError;

/// How long trying out and starting what is deployed may take, unless said.
pub const LIMIT_DEFAULT: Duration = Duration::from_secs(60);

/// Deploys manifests on a running system and keeps what was deployed; clones are cheap and all the same.
///
/// ```
/// use gristmill::deployer::{ChangeSet, Deployer, Terms};
/// use gristmill::in_process::{Collected, feed};
/// use gristmill::registry::RegistryFolder;
/// use gristmill::topology::{Registry, Topology, sensor, sink};
/// use gristmill::traits::source::Axes;
/// use gristmill::words::{ElementType, Time};
/// use gristmill::{Runtime, Stream};
/// const WEAR: Stream<f32> = Stream::new("wear");
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("gristmill-doc-{}", std::process::id()));
/// let (feeder, source) = feed(Axes::Declared(vec![vec![("wear".into(), ElementType::F32)]]));
/// let pump = Topology::new("pump").with(sensor(WEAR)).with(sink("out").needs(WEAR));
/// let builder = Runtime::builder().topology(pump).source(source).sink("out", Collected::default());
/// let deployer = Deployer::start(builder, RegistryFolder::open(&folder, Time(0))?, Registry::new()).await?;
///
/// let manifest = r#"{ "topology": "pump", "sink": "out", "id": "again", "asks": ["wear"] }"#;
/// let done = deployer.deploy(ChangeSet::new().manifest(manifest), &Terms::by("me")).await?;
/// assert_eq!(done.changes, "+ again: wear →");
/// deployer.rollback(done.base, None, &Terms::by("me")).await?;
/// # drop(feeder);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Deployer(Arc<Inner>);

struct Inner {
    handle: Handle,
    operators: Registry,
    clock: Arc<dyn Clock>,
    limit: Mutex<Duration>,
    /// What the host starts with, by topology and name.
    host: BTreeMap<Class, BTreeMap<NodeId, Node>>,
    /// The nodes that it begins paused, by topology.
    paused: BTreeMap<Class, BTreeSet<NodeId>>,
    /// What the host knows of keys, by topology.
    facts: Mutex<BTreeMap<Class, Attributes>>,
    ground: Digest,
    /// Deployments go one after the other.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Held for reading and writing files only, never while a deployment waits.
    folder: Mutex<RegistryFolder>,
    letters: Arc<LetterFolder>,
    /// Replays go one after the other.
    replays: tokio::sync::Mutex<()>,
}

impl Deployer {
    /// The system that it deploys on.
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// Gives deployments another limit than [`LIMIT_DEFAULT`] from now on.
    pub fn set_limit(&self, limit: Duration) {
        *self.0.limit.lock().unwrap_or_else(PoisonError::into_inner) = limit;
    }

    /// The revisions that are kept, the oldest first.
    pub fn records(&self) -> Vec<Record> {
        self.folder().records().cloned().collect()
    }

    /// A revision.
    pub fn record(&self, revision: Revision) -> Option<Record> {
        self.folder().record(revision).cloned()
    }

    /// The revision that is in force.
    pub fn in_force(&self) -> Revision {
        self.folder().in_force().map_or(Revision(0), |record| record.revision)
    }

    /// Keeps an artifact for a deployment to come.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn store(&self, bytes: &[u8], who: &str) -> Result<Digest, RegistryError> {
        let folder = self.folder();
        let digest = folder.store(bytes, self.0.clock.wall())?;
        let note = format!("{} bytes", bytes.len());
        let (who, what) = (who.to_owned(), "stored".to_owned());
        folder.audit(&AuditLine {
            when: self.0.clock.wall(),
            who,
            what,
            revision: None,
            content: Some(digest),
            note,
        })?;
        Ok(digest)
    }

    /// Every artifact and manifest that is kept, with its size in bytes.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn artifacts(&self) -> Result<Vec<(Digest, u64)>, RegistryError> {
        self.folder().artifacts()
    }

    /// The bytes of an artifact or manifest, checked against their hash.
    ///
    /// # Errors
    /// When it is not there, or damaged.
    pub fn load(&self, digest: Digest) -> Result<Vec<u8>, RegistryError> {
        self.folder().load(digest)
    }

    /// The last lines of the audit log, at most so many, the oldest first; and how many are before them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn audit_lines(&self, most: usize) -> Result<(Vec<AuditLine>, usize), RegistryError> {
        let log = self.folder().audit_log();
        log.last(most)
    }

    fn facts(&self) -> MutexGuard<'_, BTreeMap<Class, Attributes>> {
        // A topology's are replaced as a whole.
        self.0.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self) -> MutexGuard<'_, RegistryFolder> {
        // Nobody changes it half-way: each record is put in when its file is written.
        self.0.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
