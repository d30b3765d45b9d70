//! The source: records that were made before the clock starts, handed over when an epoch is released.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use gristmill::traits::Source;
use gristmill::traits::source::{Axes, Batch, PollLimits, Polled, Records, RowsRecord, SourceError};
use gristmill::words::{Column, ElementType, Key, Offset, StreamName, Time};

use super::data::{self, ROWS, SENSORS, WINDOW};
use super::topology::{self, RAW};

/// Partitions of the source; devices are dealt out to them one by one.
pub const PARTITIONS: usize = 4;
/// Records of a micro-batch.
const BATCH_RECORDS: usize = 1_024;
/// Records of a micro-batch of the history, which has more rows a record.
const HISTORY_RECORDS: usize = 256;
/// Rows of history before the first epoch: with them the first window is full.
pub const HISTORY_ROWS: usize = WINDOW - 1;
/// Between two rows, in microseconds.
const STEP: i64 = 1_000_000 / ROWS as i64;

/// The readings of a device in an epoch, sensor by sensor.
pub type Readings = [[f64; ROWS]; SENSORS];

/// Micro-batches that are released together.
type Released = VecDeque<Batch>;

/// Makes records and releases them.
#[derive(Debug)]
pub struct Release {
    keys: Vec<Key>,
    next: [i64; PARTITIONS],
    sender: SyncSender<Released>,
}

/// See the module.
#[derive(Debug)]
pub struct FleetSource {
    receiver: Receiver<Released>,
    waiting: Released,
}

/// A source for so many devices, and what releases its records.
pub fn source(devices: usize) -> (Release, FleetSource) {
    let (sender, receiver) = sync_channel(4);
    let release = Release { keys: (0..devices).map(topology::key).collect(), next: [0; PARTITIONS], sender };
    (release, FleetSource { receiver, waiting: Released::new() })
}

/// Event time of each row of an epoch.
pub fn times(epoch: usize) -> [Time; ROWS] {
    std::array::from_fn(|row| Time((epoch * ROWS + row) as i64 * STEP))
}

impl Release {
    /// The records of an epoch.
    pub fn epoch(&mut self, epoch: usize, readings: &[Readings]) -> impl FnOnce(&Self) + use<> {
        let times = times(epoch);
        let records = self.keys.iter().zip(readings).enumerate().map(|(device, (key, readings))| {
            let columns = readings.iter().map(|sensor| Column::F64(sensor.to_vec())).collect();
            (device, key.clone(), times.to_vec(), columns)
        });
        let batches = batches(records, &mut self.next, BATCH_RECORDS);
        |release| release.send(batches)
    }

    /// The records before the first epoch, of some devices.
    pub fn history(&mut self, devices: std::ops::Range<usize>) -> impl FnOnce(&Self) + use<> {
        let times: Vec<Time> = (1..WINDOW as i64).rev().map(|back| Time(-back * STEP)).collect();
        let columns: Vec<Column> =
            data::middle().into_iter().map(|value| Column::F64(vec![value; HISTORY_ROWS])).collect();
        let records = devices.map(|device| (device, self.keys[device].clone(), times.clone(), columns.clone()));
        let batches = batches(records, &mut self.next, HISTORY_RECORDS);
        |release| release.send(batches)
    }

    fn send(&self, batches: Released) {
        // The runtime has gone only after a failure, which it tells itself.
        let _ = self.sender.send(batches);
    }
}

/// Deals records out to the partitions and cuts them into micro-batches, those of the partitions in turns.
fn batches(
    records: impl Iterator<Item = (usize, Key, Vec<Time>, Vec<Column>)>,
    next: &mut [i64; PARTITIONS],
    most: usize,
) -> Released {
    let mut batches = Released::new();
    let mut open: [Vec<RowsRecord>; PARTITIONS] = Default::default();
    let close = |partition: usize, records: Vec<RowsRecord>, batches: &mut Released| {
        if !records.is_empty() {
            batches.push_back(Batch::new(partition as u32, Records::Rows(records)));
        }
    };
    for (device, key, times, columns) in records {
        let partition = device % PARTITIONS;
        let offset = Offset(next[partition]);
        next[partition] += 1;
        open[partition].push(RowsRecord { offset, log_time: None, key, axis: 0, times, columns });
        if open[partition].len() == most {
            close(partition, std::mem::take(&mut open[partition]), &mut batches);
        }
    }
    for (partition, records) in open.into_iter().enumerate() {
        close(partition, records, &mut batches);
    }
    batches
}

impl Source for FleetSource {
    fn axes(&self) -> Axes {
        let stream = |name: &str| (StreamName::from(name), ElementType::F64);
        Axes::Declared(vec![RAW.map(stream).to_vec()])
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        if self.waiting.is_empty() {
            match self.receiver.recv_timeout(limits.wait) {
                Ok(released) => self.waiting = released,
                Err(RecvTimeoutError::Timeout) => return Ok(Polled::Batches(Vec::new())),
                Err(RecvTimeoutError::Disconnected) => return Ok(Polled::End),
            }
        }
        let mut room = limits.records;
        let mut polled = Vec::new();
        while let Some(Batch { records: Records::Rows(records), .. }) = self.waiting.front_mut() {
            if records.len() > room {
                break;
            }
            room -= records.len();
            polled.extend(self.waiting.pop_front());
        }
        if polled.is_empty()
            && let Some(Batch { partition, records: Records::Rows(records), .. }) = self.waiting.front_mut()
        {
            let rest = records.split_off(room);
            let first = std::mem::replace(records, rest);
            polled.push(Batch::new(*partition, Records::Rows(first)));
        }
        Ok(Polled::Batches(polled))
    }

    fn commit(&mut self, _partition: u32, _next: Offset) -> Result<(), SourceError> {
        Ok(())
    }
}
