//! A deployment: understood, recorded as begun, applied, recorded as done. What was answered is durable.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tracing::Instrument;

use super::Deployer;
use super::attributes::AttributeChange;
use super::change::{ChangeSet, Outcome, Refusal, Terms};
use super::read::{Sent, read, understand};
use crate::handle::ended;
use crate::registry::{AuditLine, ClassContent, Decided, Idempotency, Kind, Record, SetRef, Verdict, digest_of};
use crate::supervisor::{Applied, Deployment};
use crate::topology::{Attributes, Node};
use crate::traits::Digest;
use crate::words::{Class, NodeId, Revision};

/// The longest reason of a refusal that is recorded, in bytes. A hundred are kept.
const REASON_BYTES_MAX: usize = 64 * 1024;
/// The longest key of a client, in bytes.
const IDEMPOTENCY_BYTES_MAX: usize = 200;

/// What is to be done, in the words of the engine and of the records.
pub(super) struct Plan {
    pub(super) topology: Class,
    pub(super) kind: Kind,
    pub(super) put: Vec<Node>,
    pub(super) remove: Vec<NodeId>,
    pub(super) decided: Decided,
    /// Whether states may be lost without a `reset` for each.
    pub(super) may_lose_state: bool,
    /// What is known of keys, where that changes.
    pub(super) attributes: Option<Attributes>,
    /// New facts about keys, as they are kept.
    pub(super) facts: Option<Vec<u8>>,
    /// What the record says beside what changes; may be empty.
    pub(super) note: String,
    /// What the record says was put.
    pub(super) sets: Vec<Arc<SetRef>>,
    /// What is deployed afterwards.
    pub(super) content: ClassContent,
}

/// What a record says was asked for.
#[derive(Default)]
pub(super) struct Said {
    pub(super) put: Vec<Arc<SetRef>>,
    pub(super) remove: Vec<NodeId>,
    pub(super) decided: Decided,
}

/// A reason as it is recorded; whoever was refused has been told all of it.
fn shortened(reason: &str) -> String {
    if reason.len() <= REASON_BYTES_MAX {
        return reason.to_owned();
    }
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    format!("{} … and {} bytes more", &reason[..end], reason.len() - end)
}

impl Deployer {
    /// Deploys a change set, or says what it would change.
    ///
    /// # Errors
    /// [`Refusal`] with everything that is wrong; what ran before runs on.
    pub async fn deploy(&self, change: ChangeSet, terms: &Terms) -> Result<Outcome, Refusal> {
        let terms = terms.clone();
        self.at_its_turn(|deployer| async move { deployer.deploy_in_turn(change, &terms).await }).await
    }

    /// As [`Self::to_its_end`], when its turn comes. Those that wait keep no thread.
    pub(super) async fn at_its_turn<F, T>(&self, what: impl FnOnce(Self) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>> + Send + 'static,
        T: Send + 'static,
    {
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        let with_turn = |deployer| {
            let what = what(deployer);
            async move {
                let _turn = turn;
                what.await
            }
        };
        self.to_its_end(with_turn).await
    }

    /// Does it on a thread of its own, as it loads models and waits for the disk; and to its end, so that a caller who goes
    /// away leaves nothing half done.
    pub(super) async fn to_its_end<F, T>(&self, what: impl FnOnce(Self) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>> + Send + 'static,
        T: Send + 'static,
    {
        let (runtime, what) = (tokio::runtime::Handle::current(), what(self.clone()).in_current_span());
        ended(tokio::task::spawn_blocking(move || runtime.block_on(what))).await
    }

    async fn deploy_in_turn(&self, change: ChangeSet, terms: &Terms) -> Result<Outcome, Refusal> {
        let asked = change.digest();
        if let Some(answer) = self.said_before(terms, asked) {
            return answer;
        }
        let sent = read(&change);
        let plan = match self.check_base(terms).and_then(|()| self.plan(&change, &sent)) {
            Ok(plan) => plan,
            Err(refusal) => {
                let topology = change.topology.clone().unwrap_or_else(|| Class::from("?"));
                let put = sent.into_iter().map(|sent| sent.set).collect();
                let said = Said { put, remove: change.remove, decided: change.decided };
                let record = self.record_of(terms, asked, topology, Kind::Deploy, said);
                return Err(self.refuse(terms, record, refusal));
            }
        };
        if !terms.dry_run {
            self.keep(&change)?;
        }
        self.carry_out(plan, terms, asked).await
    }

    /// What a change set means, on top of what is deployed.
    fn plan(&self, change: &ChangeSet, sent: &[Sent]) -> Result<Plan, Refusal> {
        let asks_nothing = change.manifests.is_empty() && change.remove.is_empty() && change.decided.is_nothing();
        if asks_nothing && change.attributes.is_none() {
            return Err(Refusal::new("nothing-to-do", "no manifest was sent and no node is named"));
        }
        let understood = understand(change, sent, &self.0.operators, |digest| self.load(digest))?;
        let topology = self.topology(understood.topology.as_ref())?;
        let mut content = self.content(&topology);
        let host = self.0.host.get(&topology);
        for node in &change.remove {
            content.remove(node, host.is_some_and(|nodes| nodes.contains_key(node)));
        }
        let mut sets = Vec::new();
        for (set, names) in understood.sets {
            content.put(&set, names);
            sets.push(set);
        }
        content.decide(&change.decided);
        let begins_paused = |node: &NodeId| self.0.paused.get(&topology).is_some_and(|paused| paused.contains(node));
        content.resumed.retain(begins_paused);
        let (mut attributes, mut facts) = (None, None);
        if let Some(later) = &change.attributes {
            let mut laid = AttributeChange::load(&self.folder(), content.attributes)?;
            let of_host = self.facts_of(&topology);
            laid.merge(later, &of_host)?;
            attributes = Some(laid.over_keys(later.keys.keys(), &of_host, &self.known(&topology))?);
            let bytes = laid.to_bytes()?;
            content.attributes = Some(digest_of(&bytes));
            facts = Some(bytes);
        }
        Ok(Plan {
            topology,
            kind: Kind::Deploy,
            put: understood.nodes,
            remove: change.remove.clone(),
            decided: change.decided.clone(),
            may_lose_state: false,
            attributes,
            facts,
            note: String::new(),
            sets,
            content,
        })
    }

    /// The topology that is meant.
    pub(super) fn topology(&self, named: Option<&Class>) -> Result<Class, Refusal> {
        let known = || self.0.host.keys().map(|class| format!("`{class}`")).collect::<Vec<_>>().join(", ");
        match named {
            Some(class) if self.0.host.contains_key(class) => Ok(class.clone()),
            Some(class) => {
                let reason = format!("no topology of class `{class}` runs; there are {}", known());
                Err(Refusal::new("unknown-topology", reason))
            }
            None if self.0.host.len() == 1 => Ok(self.0.host.keys().next().expect("there is one").clone()),
            None => {
                let reason = format!("several topologies run ({}); say which one the change is for", known());
                Err(Refusal::new("which-topology", reason))
            }
        }
    }

    /// What the host knows of keys.
    pub(super) fn facts_of(&self, topology: &Class) -> Attributes {
        self.facts().get(topology).cloned().unwrap_or_default()
    }

    /// What is known of keys.
    pub(super) fn known(&self, topology: &Class) -> Attributes {
        let plan = self.0.handle.running(topology);
        plan.map(|plan| plan.base.attributes.as_ref().clone()).unwrap_or_default()
    }

    /// What is deployed on a topology.
    pub(super) fn content(&self, topology: &Class) -> ClassContent {
        let folder = self.folder();
        folder.in_force().and_then(|record| record.content.get(topology)).cloned().unwrap_or_default()
    }

    /// The answer that a request with the same key had.
    pub(super) fn said_before(&self, terms: &Terms, asked: Digest) -> Option<Result<Outcome, Refusal>> {
        let key = terms.idempotency.as_ref()?;
        let refuse = |reason| Some(Err(Refusal::new("idempotency-key", reason)));
        if key.is_empty() || key.len() > IDEMPOTENCY_BYTES_MAX {
            return refuse(format!("an idempotency key has 1 to {IDEMPOTENCY_BYTES_MAX} bytes, not {}", key.len()));
        }
        let folder = self.folder();
        let record = folder.by_idempotency(key)?;
        if record.idempotency.as_ref().is_none_or(|used| used.content != asked) {
            return refuse(format!(
                "the idempotency key was used for revision {} with other content; use a new key",
                record.revision
            ));
        }
        let outcome = |verdict, changes: &str| Outcome {
            revision: record.revision,
            base: record.base,
            topology: record.topology.clone(),
            verdict,
            changes: changes.to_owned(),
            repeated: true,
        };
        match &record.verdict {
            Verdict::Applied { changes } => Some(Ok(outcome("applied", changes))),
            Verdict::Unchanged => Some(Ok(outcome("unchanged", "nothing changes"))),
            Verdict::Refused { code, reason } => {
                Some(Err(Refusal { code: code.clone().into(), reason: reason.clone() }))
            }
            // It did not happen, so it may be tried again.
            Verdict::Begun | Verdict::Interrupted => None,
        }
    }

    pub(super) fn check_base(&self, terms: &Terms) -> Result<(), Refusal> {
        let current = self.in_force();
        match terms.base.filter(|base| *base != current) {
            None => Ok(()),
            Some(base) => {
                let reason =
                    format!("the deployment was made for revision {base}, but {current} runs; look at it again");
                Err(Refusal::new("stale-revision", reason))
            }
        }
    }

    /// A record as it stands when a deployment begins.
    pub(super) fn record_of(&self, terms: &Terms, asked: Digest, topology: Class, kind: Kind, said: Said) -> Record {
        let used = self.0.handle.last_number();
        let folder = self.folder();
        Record {
            revision: Revision(used.max(folder.highest()).0 + 1),
            base: folder.in_force().map_or(Revision(0), |record| record.revision),
            topology,
            kind,
            who: terms.who.clone(),
            when: self.0.clock.wall(),
            verdict: Verdict::Begun,
            positions: BTreeMap::new(),
            put: said.put,
            remove: said.remove,
            decided: said.decided,
            idempotency: terms.idempotency.clone().map(|key| Idempotency { key, content: asked }),
            ground: self.0.ground,
            content: folder.in_force().map_or_else(BTreeMap::new, |record| record.content.clone()),
        }
    }

    /// Records a refusal; a dry run leaves no trace.
    pub(super) fn refuse(&self, terms: &Terms, mut record: Record, refusal: Refusal) -> Refusal {
        if terms.dry_run {
            return refusal;
        }
        let reason = shortened(&refusal.reason);
        record.verdict = Verdict::Refused { code: refusal.code.to_string(), reason: reason.clone() };
        match self.finish(&record, &reason) {
            Ok(()) => refusal,
            Err(error) => error,
        }
    }

    /// Keeps what was sent.
    fn keep(&self, change: &ChangeSet) -> Result<(), Refusal> {
        let (folder, now) = (self.folder(), self.0.clock.wall());
        for text in &change.manifests {
            folder.store(text.as_bytes(), now)?;
        }
        for (_, artifact) in change.artifacts.values() {
            if let super::Artifact::Bytes(bytes) = artifact {
                folder.store(bytes, now)?;
            }
        }
        Ok(())
    }

    /// Carries a plan out, between a record that says so and one that says what became of it.
    pub(super) async fn carry_out(&self, plan: Plan, terms: &Terms, asked: Digest) -> Result<Outcome, Refusal> {
        let Plan { topology, kind, put, remove, decided, may_lose_state, attributes, facts, note, sets, content } =
            plan;
        let said = Said { put: sets, remove, decided };
        // A host who deploys or subscribes meanwhile would take the number and the ground away.
        let _turn = self.0.handle.turn().await;
        let mut record = self.record_of(terms, asked, topology.clone(), kind, said);
        let limit = *self.0.limit.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let deployment = Deployment::of(topology.clone()).put_all(put).numbered(record.revision).within(limit);
        let deployment = record.remove.iter().cloned().fold(deployment, Deployment::remove);
        let deployment = record.decided.pause.iter().cloned().fold(deployment, Deployment::pause);
        let deployment = record.decided.resume.iter().cloned().fold(deployment, Deployment::resume);
        let mut deployment = record.decided.reset.iter().cloned().fold(deployment, Deployment::reset);
        if let Some(attributes) = attributes {
            deployment = deployment.attributes(attributes);
        }
        if let Some(facts) = facts.filter(|_| !terms.dry_run) {
            self.folder().store(&facts, self.0.clock.wall())?;
        }
        if may_lose_state {
            deployment = deployment.may_lose_state();
        }
        let preview = match self.0.handle.preview(deployment).await {
            Ok(preview) => preview,
            Err(error) => return Err(self.refuse(terms, record, error.into())),
        };
        let mut changes = preview.changes().to_string();
        if !note.is_empty() {
            changes = format!("{changes} ({note})");
        }
        let (revision, base) = (record.revision, record.base);
        let outcome = |verdict, changes| Outcome {
            revision,
            base,
            topology: topology.clone(),
            verdict,
            changes,
            repeated: false,
        };
        if terms.dry_run {
            return Ok(outcome("dry_run", changes));
        }
        self.folder().write(&record)?;
        let before = self.0.handle.running(&topology).map(|plan| plan.revision);
        let applied = match preview.apply_in_turn().await {
            Ok(applied) => applied,
            Err(error) => return Err(self.refuse(terms, record, error.into())),
        };
        record.positions = applied.positions.iter().copied().collect();
        // Also when nothing changes: what is deployed stays when the host has it otherwise at the next start.
        let ground = record.content.insert(topology.clone(), content);
        record.verdict = if Some(applied.revision) == before {
            Verdict::Unchanged
        } else {
            Verdict::Applied { changes: changes.clone() }
        };
        if let Err(error) = self.finish(&record, &changes) {
            match ground {
                Some(content) => _ = record.content.insert(topology, content),
                None => _ = record.content.remove(&topology),
            }
            return Err(self.undo(&applied, before, record, error).await);
        }
        Ok(outcome(record.verdict.name(), changes))
    }

    /// What could not be made durable is taken back, in the same turn, and so is what may have been written of it.
    async fn undo(&self, applied: &Applied, before: Option<Revision>, mut record: Record, error: Refusal) -> Refusal {
        let undone = match before.filter(|before| *before != applied.revision) {
            Some(before) => {
                let class = Some(record.topology.clone());
                let back = Deployment { class, back_to: Some(before), ..Deployment::default() };
                self.0.handle.in_turn(&back, None).await.map(|_| ())
            }
            None => Ok(()),
        };
        let end = match undone {
            Ok(()) => "it was undone".to_owned(),
            Err(other) => format!("undoing it failed too, so it runs until the process ends: {other}"),
        };
        let refusal =
            Refusal::new("not-durable", format!("it was applied, but could not be recorded ({error}); {end}"));
        record.verdict = Verdict::Refused { code: refusal.code.to_string(), reason: refusal.reason.clone() };
        // It may be sent again with its key when the disk is well.
        record.idempotency = None;
        let mut folder = self.folder();
        let noted = folder.audit(&self.line_of(&record, &refusal.reason));
        if let Err(error) = folder.withdraw(&record).and(noted) {
            tracing::error!(%error, revision = record.revision.0 as i64, "that it was undone is not durable yet");
        }
        refusal
    }

    /// Writes the audit line and then the record: what has an answer has both.
    pub(super) fn finish(&self, record: &Record, note: &str) -> Result<(), Refusal> {
        let mut folder = self.folder();
        folder.audit(&self.line_of(record, note))?;
        folder.write(record)?;
        // Plans without a record are not to have its number.
        self.0.handle.used(record.revision);
        if let Err(error) = folder.retire(self.0.clock.wall()) {
            // Nothing depends on it: what is left over is removed the next time.
            tracing::warn!(%error, "old revisions could not be removed");
        }
        Ok(())
    }

    fn line_of(&self, record: &Record, note: &str) -> AuditLine {
        AuditLine {
            when: self.0.clock.wall(),
            who: record.who.clone(),
            what: record.verdict.name().to_owned(),
            revision: Some(record.revision),
            content: record.put.first().map(|set| set.manifest),
            note: note.to_owned(),
        }
    }
}
