//! Micro-batches on their way to the shards: counted, cut by key, with the plan that they are computed under.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::Running;
use super::split::{rows_bytes, shard_of, split};
use crate::actor::ledger::{BatchToken, Part};
use crate::actor::shard::{Delivered, Delivery};
use crate::defect::{self, Defect};
use crate::traits::source::{Batch, RawRecord, Records};
use crate::words::{Cause, Offset, Time, Traces};

/// What is known of a micro-batch beside its records.
#[derive(Default)]
pub(super) struct Beside {
    /// Which of its records are part of a trace.
    pub(super) traces: Traces,
    /// When the log got its first record.
    pub(super) logged: Option<Time>,
}

impl Running {
    pub(super) fn hand_over(&mut self, batch: Batch) {
        let place = self.partition(batch.partition);
        match batch.records {
            Records::Rows(mut records) if self.late.is_some() => {
                let rest = records.split_off(1);
                let plan = self.late.take();
                let (partition, traces) = (batch.partition, batch.traces.clone());
                self.hand_over(Batch { partition, records: Records::Rows(records), traces });
                self.driver.plan = plan.expect("it was just there");
                self.hand_over(Batch { partition, records: Records::Rows(rest), traces: batch.traces });
            }
            Records::Rows(records) => {
                let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
                let (last, beside) = (last.offset, Beside { traces: batch.traces, logged: first.log_time });
                self.partitions[place].reached(last);
                let bytes = records.iter().map(rows_bytes).sum();
                let count = records.len();
                let shards = self.driver.shards.len();
                let parts = split(records, shards, |record| shard_of(&record.key, shards));
                let parts = parts.into_iter().map(|records| records.map(Delivered::Rows)).collect();
                self.deliver(place, parts, count, bytes, Some(Offset(last.0 + 1)), beside);
            }
            Records::Raw(records) => {
                let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
                let (last, beside) = (last.offset, Beside { traces: batch.traces, logged: first.log_time });
                self.partitions[place].reached(last);
                let bytes = records.iter().map(|record| record.payload.len()).sum();
                let count = records.len();
                let parts = self.split_raw(place, records);
                self.deliver(place, parts, count, bytes, Some(Offset(last.0 + 1)), beside);
            }
            Records::Tick(now) => {
                let last = self.partitions[place].last.unwrap_or(Offset(-1));
                let cause = Cause { offset: last, row: u32::MAX };
                self.tell_all_shards(place, |_| Delivered::Tick(now, cause, 0));
            }
        }
    }

    pub(super) fn token(
        &mut self,
        place: usize,
        parts: usize,
        records: usize,
        bytes: usize,
        then: Option<Offset>,
        beside: Beside,
    ) -> Arc<BatchToken> {
        let revision = self.driver.plan.revision;
        self.records += records;
        self.bytes += bytes;
        let partition = &mut self.partitions[place];
        if defect::is_chosen(Defect::EarlyCommit) {
            partition.next_committed(then);
        }
        let since = (self.driver.clock.monotonic(), beside.logged);
        let number = partition.in_flight.leave(revision, records, bytes, since, then);
        let (source, local) = (&self.driver.name, partition.local);
        // Signed: collectors of spans know no other whole numbers.
        let span = tracing::debug_span!(
            parent: None, "batch", %source, partition = i64::from(local), number = number as i64,
            records = records as i64, bytes = bytes as i64, revision = revision.0 as i64
        );
        let done = self.done.0.clone();
        Arc::new(BatchToken {
            source: Arc::clone(&self.driver.name),
            partition: partition.index,
            source_partition: partition.local,
            number,
            parts: AtomicU32::new(u32::try_from(parts).expect("few shards")),
            finished: Box::new(move |partition, number| {
                // The driver has gone only after a failure; nobody counts then.
                let _ = done.try_send((partition, number));
            }),
            abandoned: self.driver.abandoned.clone(),
            dead_letters: Arc::clone(&self.driver.dead_letters),
            metrics: Arc::clone(&self.driver.metrics),
            traces: beside.traces,
            span,
        })
    }

    /// Records to decode, by shard: that of the key where the record tells it, else the partition's home.
    pub(super) fn split_raw(&mut self, place: usize, records: Vec<RawRecord>) -> Vec<Option<Delivered>> {
        let shards = self.driver.shards.len();
        let (home, mut untold, mut told) = (place % shards, false, false);
        let parts = split(records, shards, |record: &RawRecord| {
            let key = self.driver.decoder.as_ref().and_then(|decoder| decoder.key(record));
            untold |= key.is_none();
            told |= key.is_some();
            key.map_or(home, |key| shard_of(key, shards))
        });
        let partition = &mut self.partitions[place];
        (partition.home, partition.told) = (partition.home || untold, partition.told || told);
        parts.into_iter().map(|records| records.map(|records| Delivered::Raw(records, VecDeque::new()))).collect()
    }

    /// Hands the parts of a micro-batch to the shards; `then` is the position that is reached with it.
    pub(super) fn deliver(
        &mut self,
        place: usize,
        parts: Vec<Option<Delivered>>,
        records: usize,
        bytes: usize,
        then: Option<Offset>,
        beside: Beside,
    ) -> Arc<BatchToken> {
        let count = parts.iter().flatten().count();
        let token = self.token(place, count, records, bytes, then, beside);
        for (shard, what) in parts.into_iter().enumerate() {
            if let Some(what) = what {
                self.send(shard, place, &token, what);
            }
        }
        token
    }

    pub(super) fn tell_all_shards(&mut self, place: usize, mut what: impl FnMut(usize) -> Delivered) {
        let shards = self.driver.shards.len();
        let token = self.token(place, shards, 1, 0, None, Beside::default());
        (0..shards).for_each(|shard| self.send(shard, place, &token, what(shard)));
    }

    fn send(&mut self, shard: usize, place: usize, token: &Arc<BatchToken>, what: Delivered) {
        let delivery = Delivery {
            part: Part::counted(Arc::clone(token)),
            plan: Arc::clone(&self.driver.plan),
            chain: u32::try_from(place).expect("few partitions"),
            what,
        };
        self.pace.sent(shard);
        if let Err(error) = self.driver.shards[shard].try_send(delivery)
            && !self.driver.abandoned.is_abandoned()
        {
            tracing::error!(shard, %error, "a shard did not take a micro-batch; aborting so that it is read again");
            std::process::abort();
        }
    }
}
