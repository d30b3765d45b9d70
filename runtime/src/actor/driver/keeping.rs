//! States that last: restored where a partition begins, saved when everything has had its effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::split::shard_of;
use super::{Running, SourceError};
use crate::actor::saving::{LeftOut, Piece, Place, Save};
use crate::actor::shard::Delivered;
use crate::state::envelope::{self, Kind, Sum};
use crate::state::{Head, KeyRecord, SnapshotWriter, StateError};
use crate::traits::{Batch, Records};
use crate::words::Offset;

/// What came of saving the states of keys.
pub(super) enum Saved {
    /// None are kept, or what the store has is all there is.
    Nothing,
    Whole,
    /// But for some, and why.
    Partly(StateError),
}

fn stop(error: &StateError) -> SourceError {
    SourceError { reason: error.to_string(), retry: false }
}

impl Running {
    /// Restores the partitions that the source goes on with where their states end.
    pub(super) fn go_on(&mut self) -> Result<(), SourceError> {
        for (partition, next) in self.pending() {
            if self.driver.source.go_on_at(partition, next)? {
                self.begin(partition, Some(next))?;
            }
        }
        self.begin_known()
    }

    /// Hands over what a poll brought, behind the states of its partitions.
    pub(super) fn hand_over_all(&mut self, batches: Vec<Batch>) -> Result<(), SourceError> {
        self.begin_known()?;
        for batch in batches {
            let batch = self.begun(batch)?;
            self.hand_over(batch);
        }
        Ok(())
    }

    fn pending(&self) -> Vec<(u32, Offset)> {
        let pending = self.driver.keeper.iter().flat_map(|keeper| keeper.pending());
        pending.map(|(partition, (next, _))| (*partition, *next)).collect()
    }

    /// Restores the partitions of which the source can say where it began.
    fn begin_known(&mut self) -> Result<(), SourceError> {
        for (partition, _) in self.pending() {
            if let Some(began) = self.driver.source.began_at(partition) {
                self.begin(partition, Some(began))?;
            }
        }
        Ok(())
    }

    /// Restores the partition of a batch if this is the first of it; takes from it what the state has already.
    fn begun(&mut self, batch: Batch) -> Result<Batch, SourceError> {
        if self.driver.keeper.is_none() {
            return Ok(batch);
        }
        let partition = batch.partition;
        if !self.by_local.contains_key(&partition) {
            let began = self.driver.source.began_at(partition).or_else(|| ends(&batch).map(|(first, _)| first));
            self.begin(partition, began)?;
        }
        let Some(keeper) = &mut self.driver.keeper else { return Ok(batch) };
        if let Records::Tick(now) = batch.records
            && keeper.passes_over_tick(partition, now)
        {
            return Ok(Batch::new(partition, Records::Rows(Vec::new())));
        }
        let Some((first, last)) = ends(&batch) else { return Ok(batch) };
        keeper.prove(partition, first).map_err(|error| stop(&error))?;
        let Some(until) = keeper.passes_over(partition, last) else { return Ok(batch) };
        let place = self.partition(partition);
        self.partitions[place].committed = self.partitions[place].committed.max(Some(until));
        let records = match batch.records {
            Records::Rows(mut rows) => {
                rows.retain(|record| record.offset >= until);
                Records::Rows(rows)
            }
            Records::Raw(mut records) => {
                records.retain(|record| record.offset >= until);
                Records::Raw(records)
            }
            tick @ Records::Tick(_) => tick,
        };
        Ok(Batch { partition, records, traces: batch.traces })
    }

    fn begin(&mut self, partition: u32, began: Option<Offset>) -> Result<(), SourceError> {
        let Some(keeper) = &mut self.driver.keeper else { return Ok(()) };
        let Some(((next, keys), tell)) = keeper.begin(partition, began).map_err(|error| stop(&error))? else {
            return Ok(());
        };
        let place = self.partition(partition);
        self.partitions[place].reached(Offset(next.0 - 1));
        self.partitions[place].committed = tell.then_some(next);
        let shards = self.driver.shards.len();
        let mut parts: Vec<Vec<KeyRecord>> = (0..shards).map(|_| Vec::new()).collect();
        for record in keys {
            self.partitions[place].home |= record.home;
            let shard = if record.home { place % shards } else { shard_of(&record.key, shards) };
            parts[shard].push(record);
        }
        self.tell_all_shards(place, |shard| Delivered::Restore(std::mem::take(&mut parts[shard])));
        Ok(())
    }

    /// Saves the states of all keys, once nothing is in flight; what came of it.
    pub(super) fn save(&mut self) -> Result<Saved, StateError> {
        let driver = &self.driver;
        let Some(keeper) = driver.keeper.as_ref().filter(|keeper| keeper.has_taken()) else {
            return Ok(Saved::Nothing);
        };
        let read = self.partitions.iter().enumerate().filter(|(_, partition)| driver.source.holds(partition.local));
        let read: BTreeMap<u32, Place> = read
            .filter_map(|(place, partition)| {
                // A record here and there without its key is refused, and says nothing of where the others' keys live.
                let home = partition.home && !partition.told;
                let (partition, next) = (partition.local, partition.next?);
                Some((u32::try_from(place).ok()?, Place { partition, next, home }))
            })
            .collect();
        let waiting = keeper.pending().iter().map(|(partition, (next, _))| (*partition, *next));
        let mut partitions: Vec<(u32, Offset)> =
            read.values().map(|place| (place.partition, place.next)).chain(waiting).collect();
        partitions.sort_unstable();
        if partitions.is_empty() {
            return Ok(Saved::Nothing);
        }
        let head = Head {
            class: keeper.class().clone(),
            revision: driver.plan.revision,
            saved: driver.clock.wall(),
            by: env!("CARGO_PKG_VERSION").to_owned(),
            partitions,
        };
        // What is in the states is nowhere else than where sinks have put it.
        driver.sinks.flush();
        let left_out = LeftOut::default();
        let mut pieces = Pieces { running: self, read: Arc::new(read), writer: None, at: At::Head, left_out };
        keeper.store.save(keeper.class(), &mut || pieces.next(&head))?;
        Ok(pieces.left_out.error().map_or(Saved::Whole, Saved::Partly))
    }

    /// The source has been told how far the saved states go.
    pub(super) fn told(&self) -> Result<(), StateError> {
        match &self.driver.keeper {
            Some(keeper) if !keeper.has_untold() => keeper.store.told(keeper.class()),
            _ => Ok(()),
        }
    }

    fn ask(&self, shard: usize, from: usize, read: &Arc<BTreeMap<u32, Place>>) -> Result<Piece, StateError> {
        let (answer, answered) = sync_channel(1);
        let save = Save { plan: Arc::clone(&self.driver.plan), partitions: Arc::clone(read), from, answer };
        self.driver.shards[shard].try_send(save).map_err(|_| StateError::Shard)?;
        answered.recv().map_err(|_| StateError::Shard)?
    }
}

/// The first and the last offset of a batch that has records.
fn ends(batch: &Batch) -> Option<(Offset, Offset)> {
    match &batch.records {
        Records::Rows(rows) => Some((rows.first()?.offset, rows.last()?.offset)),
        Records::Raw(records) => Some((records.first()?.offset, records.last()?.offset)),
        Records::Tick(_) => None,
    }
}

/// A file in the making, piece by piece.
struct Pieces<'r> {
    running: &'r Running,
    read: Arc<BTreeMap<u32, Place>>,
    writer: Option<SnapshotWriter>,
    at: At,
    left_out: LeftOut,
}

enum At {
    Head,
    /// A shard, and which of its keys is next.
    Shard(usize, usize),
    /// States that nobody has gone on with: they stay what they are.
    Waiting,
    Over,
}

impl Pieces<'_> {
    fn next(&mut self, head: &Head) -> Result<Option<Vec<u8>>, StateError> {
        let unwritten = |error: envelope::EnvelopeError| StateError::Key {
            key: head.class.as_str().into(),
            reason: error.to_string(),
        };
        let mut bytes = Vec::new();
        match self.at {
            At::Head => {
                self.writer = Some(SnapshotWriter::new(head, &mut bytes).map_err(unwritten)?);
                self.at = At::Shard(0, 0);
            }
            At::Shard(shard, _) if shard == self.running.driver.shards.len() => self.at = At::Waiting,
            At::Shard(shard, from) => {
                let piece = self.running.ask(shard, from, &self.read)?;
                self.count(&piece.sums);
                self.left_out.add(piece.left_out);
                bytes = piece.bytes;
                self.at = piece.next.map_or(At::Shard(shard + 1, 0), |next| At::Shard(shard, next));
            }
            At::Waiting => {
                let keeper = self.running.driver.keeper.iter();
                for record in keeper.flat_map(|keeper| keeper.pending().values()).flat_map(|(_, keys)| keys) {
                    let sum = envelope::seal(Kind::Key, record, &mut bytes).map_err(unwritten)?;
                    self.count(&[sum]);
                }
                if let Some(writer) = self.writer.take() {
                    writer.end(&mut bytes).map_err(unwritten)?;
                }
                self.at = At::Over;
            }
            At::Over => return Ok(None),
        }
        Ok(Some(bytes))
    }

    fn count(&mut self, sums: &[Sum]) {
        if let Some(writer) = &mut self.writer {
            sums.iter().for_each(|sum| writer.count(*sum));
        }
    }
}
