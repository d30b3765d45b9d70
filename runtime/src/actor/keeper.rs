//! What the driver of a source keeps of saved states: those that wait until their partition is read, and how far each
//! goes. A state is only gone on with where the source begins just behind it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::driver::shard_of;
use crate::state::fit::{Fit, fit};
use crate::state::{Kept, KeyRecord, RefusedState, RestoreReport, StateError, StateStore, Stored, envelope, read};
use crate::topology::plan::ClassPlan;
use crate::words::{Class, Offset, Time};

/// See the module.
pub(crate) struct Keeper {
    class: Class,
    pub(super) store: Arc<dyn StateStore>,
    refused: RefusedState,
    /// By the source's number of the partition: how far the state goes, and its keys.
    pending: BTreeMap<u32, Restored>,
    /// Whether the source knows how far the states go.
    told: bool,
    /// Whether the store has a state that nobody has gone on with yet.
    untaken: bool,
    /// Partitions whose next records are in the state already.
    skipping: HashMap<u32, Known>,
    /// Partitions that began with a tick, which has no place: the first record has to be here.
    unproven: HashMap<u32, Offset>,
    report: Arc<Mutex<RestoreReport>>,
}

/// What a partition brings once more.
#[derive(Clone, Copy)]
struct Known {
    /// Records up to here.
    until: Offset,
    /// Ticks up to this.
    ticked: Time,
}

/// The state of a partition.
pub(crate) type Restored = (Offset, Vec<KeyRecord>);

impl Keeper {
    /// Reads what was saved of a class, as far as its plan can go on with it.
    ///
    /// # Errors
    /// When the store fails, or something is refused and that shall stop the start.
    pub(crate) fn open(
        store: Arc<dyn StateStore>,
        refused: RefusedState,
        plan: &ClassPlan,
        (shards, keys_max): (usize, usize),
    ) -> Result<Self, StateError> {
        let class = plan.class.clone();
        let mut report = RestoreReport::new(class.clone());
        let kept = store.load(&class)?;
        let (untaken, told) = match &kept {
            Kept::State(stored) => (true, stored.told),
            Kept::Nothing | Kept::Interrupted => (false, true),
        };
        let mut pending = BTreeMap::new();
        match kept {
            Kept::Nothing => {}
            Kept::Interrupted => {
                report.interrupted = true;
                tracing::warn!(%class, "no state was saved: the process before did not stop in order");
            }
            Kept::State(stored) => {
                let fit = read_stored(&stored, plan, &mut report);
                report.refused.extend(fit.refused);
                report.dropped = fit.dropped;
                pending = fit.partitions;
            }
        }
        report.refused.extend(too_many(&mut pending, shards, keys_max));
        if refused == RefusedState::Stop && !report.refused.is_empty() {
            return Err(StateError::Refused { class, reasons: report.refused });
        }
        for reason in &report.refused {
            tracing::warn!(%class, reason, "a saved state is refused; going on without it");
        }
        for (node, keys, why) in &report.dropped {
            tracing::warn!(%class, %node, keys, why, "the saved state of a node is dropped");
        }
        report.waiting = pending.keys().copied().collect();
        report.found = pending.values().map(|(_, keys)| keys.len()).sum();
        let (skipping, unproven, report) = (HashMap::new(), HashMap::new(), Arc::new(Mutex::new(report)));
        Ok(Self { class, store, refused, pending, told, untaken, skipping, unproven, report })
    }

    /// What became of what was saved.
    pub(crate) fn report(&self) -> Arc<Mutex<RestoreReport>> {
        Arc::clone(&self.report)
    }

    fn said(&self) -> MutexGuard<'_, RestoreReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn class(&self) -> &Class {
        &self.class
    }

    /// The states that wait, and how far each goes.
    pub(super) fn pending(&self) -> &BTreeMap<u32, Restored> {
        &self.pending
    }

    /// Whether all that the store has is older than what this process has computed.
    pub(super) fn has_taken(&self) -> bool {
        !self.untaken
    }

    /// Whether the source may not know how far one of the waiting states goes.
    pub(super) fn has_untold(&self) -> bool {
        !self.told && !self.pending.is_empty()
    }

    /// The source begins with a partition at `began`, unless it does not know: what to restore, and whether the source is
    /// to be told how far that goes.
    ///
    /// # Errors
    /// When the state goes to another place and that shall stop it, or the store fails.
    pub(super) fn begin(
        &mut self,
        partition: u32,
        began: Option<Offset>,
    ) -> Result<Option<(Restored, bool)>, StateError> {
        let Some((next, _)) = self.pending.get(&partition) else {
            self.take()?;
            return Ok(None);
        };
        let (next, at) = (*next, began.unwrap_or(*next));
        if at != next && (self.told || at > next) {
            return self.refuse(partition, at, next).map(|()| None);
        }
        self.take()?;
        if at < next {
            tracing::info!(class = %self.class, partition, begins = at.0, state = next.0, "the source was not told how far the state goes: records up to there are passed over");
            let ticked = self.pending[&partition].1.iter().map(KeyRecord::ticked).max().unwrap_or(Time::MIN);
            self.skipping.insert(partition, Known { until: next, ticked });
        }
        if began.is_none() {
            self.unproven.insert(partition, next);
        }
        let (_, keys) = self.pending.remove(&partition).expect("it was just there");
        let mut said = self.said();
        said.keys += keys.len();
        said.partitions.push((partition, next));
        said.waiting.retain(|waiting| *waiting != partition);
        drop(said);
        Ok(Some(((next, keys), !self.told)))
    }

    /// A state is not where the source begins.
    fn refuse(&mut self, partition: u32, began: Offset, next: Offset) -> Result<(), StateError> {
        let reason = format!(
            "partition {partition} begins at offset {began}, but its state goes to offset {next}: the position was moved, or its records were read by another process since"
        );
        if self.refused == RefusedState::Stop {
            return Err(StateError::Refused { class: self.class.clone(), reasons: vec![reason] });
        }
        tracing::warn!(class = %self.class, reason, "a saved state is refused; going on without it");
        self.take()?;
        self.pending.remove(&partition);
        let mut said = self.said();
        said.waiting.retain(|waiting| *waiting != partition);
        said.refused.push(reason);
        Ok(())
    }

    /// From now on what the store has is not true any more.
    fn take(&mut self) -> Result<(), StateError> {
        if std::mem::take(&mut self.untaken) {
            self.store.taken(&self.class)?;
        }
        Ok(())
    }

    /// Where the records end that are in the state already, if some may still come; `last` is the last that has come.
    pub(super) fn passes_over(&mut self, partition: u32, last: Offset) -> Option<Offset> {
        let Known { until, .. } = *self.skipping.get(&partition)?;
        if last >= until {
            self.skipping.remove(&partition);
        }
        Some(until)
    }

    /// Whether a tick is in the state already, as are the records among which it comes.
    pub(super) fn passes_over_tick(&self, partition: u32, now: Time) -> bool {
        self.skipping.get(&partition).is_some_and(|known| now <= known.ticked)
    }

    /// Checks the first record of a partition that began with a tick.
    ///
    /// # Errors
    /// When it is not behind the state: that was used already.
    pub(super) fn prove(&mut self, partition: u32, first: Offset) -> Result<(), StateError> {
        match self.unproven.remove(&partition) {
            Some(next) if next != first => {
                let reason =
                    format!("partition {partition} goes on at offset {first}, but its state goes to offset {next}");
                Err(StateError::Refused { class: self.class.clone(), reasons: vec![reason] })
            }
            _ => Ok(()),
        }
    }
}

/// What a stored state is good for; what it is, is said in the report.
fn read_stored(stored: &Stored, plan: &ClassPlan, report: &mut RestoreReport) -> Fit {
    let nothing = |refused| Fit { partitions: BTreeMap::new(), dropped: Vec::new(), refused: vec![refused] };
    let place = &stored.place;
    let snapshot = match read(&stored.bytes) {
        Ok(snapshot) => snapshot,
        Err(damage) => return nothing(format!("`{place}`, {damage} ({})", versions(&stored.bytes))),
    };
    if snapshot.head.class != plan.class {
        return nothing(format!("`{place}` is of class `{}`, not of `{}`", snapshot.head.class, plan.class));
    }
    report.saved = Some((snapshot.head.saved, snapshot.head.revision));
    let mut fit = fit(snapshot, plan);
    fit.refused.iter_mut().for_each(|refused| *refused = format!("`{place}`, {refused}"));
    fit
}

/// Which versions meet.
fn versions(bytes: &[u8]) -> String {
    let reads = format!("this gristmill {} reads format {}", env!("CARGO_PKG_VERSION"), envelope::FORMAT);
    match bytes.get(..6).filter(|begin| begin.starts_with(&envelope::MAGIC)) {
        Some(begin) => format!("it says format {}, {reads}", u16::from_le_bytes([begin[4], begin[5]])),
        None => format!("it says no format, {reads}"),
    }
}

/// Takes the states away if they have more keys than a shard may have, and says so.
fn too_many(pending: &mut BTreeMap<u32, Restored>, shards: usize, keys_max: usize) -> Option<String> {
    let mut counts = vec![0_usize; shards];
    for record in pending.values().flat_map(|(_, keys)| keys) {
        let shard = if record.home { record.partition as usize % shards } else { shard_of(&record.key, shards) };
        counts[shard] += 1;
    }
    let most = counts.into_iter().max().filter(|most| *most > keys_max)?;
    pending.clear();
    Some(format!("{most} of its keys are of one shard; the limit is {keys_max}: raise `keys_max`, or use more shards"))
}
