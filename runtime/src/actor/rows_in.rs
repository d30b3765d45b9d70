//! Records on their way into a shard: decoded, looked up, let in or refused, and gathered into frames.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::gather::{Gathering, Record};
use super::install::VARIANTS_MAX;
use super::intake::{BadRow, Piece, Refused};
use super::shard::{Delivery, Shard};
use super::tally::Count;
use crate::prefetch::prefetch;
use crate::state::AxisClock;
use crate::topology::bits::Bits;
use crate::traits::sink::DeadLetter;
use crate::traits::source::{RawRecord, RowsRecord};
use crate::words::{Cause, Key, KeyIndex, Offset, Time};

/// Records that are looked at before the first of them is taken: memory is waited for once, not by each.
const RECORDS_AHEAD: usize = 8;
/// As [`RECORDS_AHEAD`], of records that are not decoded: another thread has written their bytes.
const PAYLOADS_AHEAD: usize = 4;

impl Shard {
    pub(super) fn decode(
        &mut self,
        delivery: &Delivery,
        records: &mut VecDeque<RawRecord>,
        decoded: &mut VecDeque<RowsRecord>,
    ) {
        let decoder = self.options.decoder.clone().expect("a source of raw records has a decoder");
        let mut rows = Vec::new();
        for _ in 0..self.options.frame_keys {
            if let Some(ahead) = records.get(PAYLOADS_AHEAD) {
                prefetch(&ahead.payload[..]);
            }
            let Some(record) = records.pop_front() else { break };
            if let Err(reason) = decoder.decode(&record, &delivery.plan.base.axes, &mut rows) {
                rows.clear();
                self.refuse_record(delivery, &record, reason);
            }
            decoded.extend(rows.drain(..));
        }
    }

    fn refuse_record(&mut self, delivery: &Delivery, record: &RawRecord, reason: String) {
        self.counts.refused += 1;
        let cause = Cause { offset: record.offset, row: 0 };
        let mut letter = letter(delivery, cause, None, None, reason);
        letter.record = Some(Box::new(record.clone()));
        delivery.part.another().finish(vec![letter]);
    }

    /// Gathers records into frames until one is full; what is left is for the next step.
    pub(super) fn take_rows(&mut self, delivery: &Delivery, records: &mut VecDeque<RowsRecord>) {
        let mut gathering: Vec<(Arc<Bits>, Gathering)> = Vec::new();
        self.mark += 1;
        let axes = delivery.plan.base.axes.len();
        let mut room = self.options.frame_keys;
        while room > 0 && !records.is_empty() {
            let known = self.look_ahead(records, room);
            for (record, known) in records.drain(..known.len()).zip(known) {
                let first_row = self.first_row(delivery.chain, &record);
                let Some(key) = self.key(delivery, &record, known) else { continue };
                let Some(place) = self.frame_of(delivery, key, axes, &mut gathering) else {
                    let reason = format!(
                        "key `{}` has nodes that no key before it had together, which is one set too many: the limit \
                         is {VARIANTS_MAX} sets, a plan and shard; select nodes by fewer attributes",
                        record.key
                    );
                    self.refuse_rows(delivery, &record, reason);
                    continue;
                };
                let record = Record::new(record, self.options.policy.reorder > crate::words::Span::ZERO);
                let pieces = self.admit(delivery, key, &record, first_row);
                if pieces.is_empty() {
                    continue;
                }
                let frames = gathering.len();
                let (_, frame) = &mut gathering[place];
                let run = self.run_in(frame, key, &record.key);
                frame.record(run, record, first_row, pieces);
                let full = if frame.lane.is_some() { frames } else { frame.keys.len() };
                room = room.min(self.options.frame_keys.saturating_sub(full));
            }
        }
        for (mask, mut frame) in gathering.into_iter().filter(|(_, frame)| !frame.is_empty()) {
            self.launch(delivery, &mask, &mut frame, None, None);
        }
    }

    /// Looks up the keys of the next records, and asks for what is known of them and for their rows to be brought near.
    fn look_ahead(
        &mut self,
        records: &VecDeque<RowsRecord>,
        most: usize,
    ) -> SmallVec<[Option<KeyIndex>; RECORDS_AHEAD]> {
        let names = self.shared.keys.borrow();
        let known = |record: &RowsRecord| {
            prefetch(&record.times[..]);
            prefetch(&record.columns[..]);
            let guess = self.order.guess().filter(|key| names.get(key.0 as usize) == Some(&record.key));
            let key = guess.or_else(|| self.index.get(&record.key).copied())?;
            self.order.came(key, names.len());
            prefetch(&self.keys[key.0 as usize]);
            Some(key)
        };
        let known = records.iter().take(RECORDS_AHEAD.min(most)).map(known).collect();
        for column in records.iter().take(RECORDS_AHEAD.min(most)).flat_map(|record| &record.columns) {
            column.prefetch();
        }
        known
    }

    /// The number of a record's first row: a record in the log may come in several parts.
    fn first_row(&mut self, chain: u32, record: &RowsRecord) -> u32 {
        let rows = u32::try_from(record.times.len()).expect("a record has fewer than 2^32 rows");
        let last = self.last_offset.entry(chain).or_insert((Offset(i64::MIN), 0));
        let first = if last.0 == record.offset { last.1 } else { 0 };
        *last = (record.offset, first + rows);
        first
    }

    /// The key of a record, met now or before; `None` when it is refused.
    fn key(&mut self, delivery: &Delivery, record: &RowsRecord, known: Option<KeyIndex>) -> Option<KeyIndex> {
        // A key that was unknown may have been met since, by the record before.
        if let Some(key) = known.or_else(|| self.index.get(&record.key).copied()) {
            let home = self.keys[key.0 as usize].partition;
            if home == delivery.chain {
                return Some(key);
            }
            let reason = format!(
                "key `{}` came before from another partition; all rows of a key come from one: rekey the topic by key",
                record.key
            );
            self.refuse_rows(delivery, record, reason);
            return None;
        }
        if self.keys.len() >= self.options.keys_max {
            let reason =
                format!("key `{}` is one too many: the limit is {} keys a shard", record.key, self.options.keys_max);
            self.refuse_rows(delivery, record, reason);
            return None;
        }
        Some(self.meet(&delivery.plan, delivery.chain, &record.key))
    }

    fn refuse_rows(&mut self, delivery: &Delivery, record: &RowsRecord, reason: String) {
        self.counts.refused += 1;
        let cause = Cause { offset: record.offset, row: 0 };
        let letter = letter(delivery, cause, Some(record.key.clone()), record.times.first().copied(), reason);
        delivery.part.another().finish(vec![letter]);
    }

    /// Lets the rows of a record in.
    fn admit(&mut self, delivery: &Delivery, key: KeyIndex, record: &Record, first_row: u32) -> SmallVec<[Piece; 1]> {
        let entry = &mut self.keys[key.0 as usize];
        prefetch(entry.attributes.1.as_ref());
        entry.own.last().and_then(|(_, own)| own.as_ref()).into_iter().for_each(|own| prefetch(own.as_ref()));
        let axis = usize::from(record.axis);
        if entry.axes.len() <= axis {
            let ticked = entry.ticked;
            entry.axes.resize_with(axis + 1, || AxisClock::after(ticked));
        }
        if let Record::Shared(record) = record {
            entry.like = Some((record.offset, record.log_time));
        }
        let (mut pieces, mut refused) = (SmallVec::new(), Vec::new());
        entry.axes[axis].take(record, first_row, &self.options.policy, &mut pieces, &mut refused);
        self.counts.rows += record.times.len() as u64;
        let early = |piece: &Piece| if let Piece::Released { early, .. } = piece { *early as u64 } else { 0 };
        let early: u64 = pieces.iter().map(early).sum();
        if early > 0 {
            self.options.tally.add(Count::ReleasedEarly, early);
        }
        if !refused.is_empty() {
            self.refuse(delivery, record, first_row, refused);
        }
        pieces
    }

    fn refuse(&mut self, delivery: &Delivery, record: &RowsRecord, first_row: u32, refused: Vec<(usize, Refused)>) {
        let policy = self.options.policy;
        let mut letters = Vec::new();
        for (row, why) in refused {
            let (count, send) = match why {
                Refused::Late => (&mut self.counts.late, policy.late == BadRow::DeadLetter),
                Refused::Duplicate => (&mut self.counts.duplicate, policy.duplicate == BadRow::DeadLetter),
                Refused::Ahead => (&mut self.counts.ahead, true),
            };
            *count += 1;
            self.shared.watches.borrow_mut().dropped(&record.key, why);
            if send {
                let number = u32::try_from(row).expect("a record has fewer than 2^32 rows");
                let cause = Cause { offset: record.offset, row: first_row + number };
                let time = Some(record.times[row]);
                letters.push(letter(delivery, cause, Some(record.key.clone()), time, why.reason(&policy)));
            }
        }
        if !letters.is_empty() {
            delivery.part.another().finish(letters);
        }
    }
}

fn letter(delivery: &Delivery, cause: Cause, key: Option<Key>, time: Option<Time>, reason: String) -> DeadLetter {
    let token = delivery.part.token();
    DeadLetter {
        source: Arc::clone(&token.source),
        source_partition: token.source_partition,
        cause,
        key,
        node: None,
        time,
        reason,
        record: None,
        values: Vec::new(),
    }
}
