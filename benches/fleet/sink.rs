//! The sink: reads every prediction into a checksum, keeps those of some devices, and tells when an epoch is through.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;

use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkWriter};
use gristmill::words::{ColumnRef, Key, ShardIndex, Time};

use super::data::{MODELS, ROWS};
use super::topology::PREDICTIONS;

/// The scores of a device in an epoch, model by model.
pub type Scores = [[f32; ROWS]; MODELS];

/// A sum over all predictions that shows when one of them has another bit, or is of another device or model. It does
/// not depend on the order in which devices come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum(pub u64);

impl Checksum {
    /// The predictions of one model for one device.
    #[inline]
    pub fn add(&mut self, device: u64, model: usize, scores: &[f32]) {
        let start = device.wrapping_add(model as u64);
        let sum = scores.iter().fold(start, |sum, score| {
            (sum.rotate_left(5) ^ u64::from(score.to_bits())).wrapping_mul(0x517c_c1b7_2722_0a95)
        });
        self.0 = self.0.wrapping_add(sum);
    }
}

/// What stands for a device in a checksum: the last eight bytes of its name.
pub fn tag(key: &Key) -> u64 {
    key.as_bytes().last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// See the module. Clones are one sink.
#[derive(Clone, Debug, Default)]
pub struct Predictions(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    rows: AtomicU64,
    target: AtomicU64,
    checksum: AtomicU64,
    waiting: Mutex<Option<Thread>>,
    /// The devices whose predictions are kept, by what stands for them in a checksum.
    wanted: BTreeMap<u64, usize>,
    /// By the device's number and the time of an epoch's first row.
    captured: Mutex<HashMap<(usize, Time), Scores>>,
}

impl Predictions {
    /// A sink that keeps the predictions of the first devices.
    pub fn keeping(keys: impl Iterator<Item = Key>) -> Self {
        let wanted = keys.map(|key| tag(&key)).zip(0..).collect();
        Self(Arc::new(Shared { wanted, ..Shared::default() }))
    }

    /// From now on [`Predictions::wait`] waits for so many more rows.
    pub fn expect(&self, rows: u64) {
        *self.0.waiting.lock().expect("nobody panics with this lock") = Some(std::thread::current());
        self.0.target.store(self.0.rows.load(Ordering::Acquire) + rows, Ordering::Release);
    }

    /// Waits on the thread that has called [`Predictions::expect`] until its rows are here.
    pub fn wait(&self) {
        while self.0.rows.load(Ordering::Acquire) < self.0.target.load(Ordering::Acquire) {
            std::thread::park();
        }
    }

    /// The sum over everything since the last call.
    pub fn take_checksum(&self) -> Checksum {
        Checksum(self.0.checksum.swap(0, Ordering::AcqRel))
    }

    /// The predictions that were kept, by the device's number and the time of an epoch's first row.
    pub fn captured(&self) -> HashMap<(usize, Time), Scores> {
        self.0.captured.lock().expect("nobody panics with this lock").clone()
    }
}

impl Sink for Predictions {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(Writer(Arc::clone(&self.0))))
    }
}

struct Writer(Arc<Shared>);

impl SinkWriter for Writer {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let (mut checksum, mut rows) = (Checksum::default(), 0);
        for column in frame.columns {
            let ColumnRef::F32(values) = column.values else { continue };
            let Some(model) = PREDICTIONS.iter().position(|name| *name == column.stream.as_str()) else { continue };
            checksum.add(tag(column.key), model, values);
            rows += values.len() as u64;
        }
        let shared = &self.0;
        if !shared.wanted.is_empty() {
            shared.keep(frame);
        }
        shared.checksum.fetch_add(checksum.0, Ordering::AcqRel);
        let before = shared.rows.fetch_add(rows, Ordering::AcqRel);
        let target = shared.target.load(Ordering::Acquire);
        if before < target
            && before + rows >= target
            && let Some(thread) = &*shared.waiting.lock().expect("nobody panics with this lock")
        {
            thread.unpark();
        }
        done.done();
    }
}

impl Shared {
    fn keep(&self, frame: &SinkFrame<'_>) {
        for of_key in frame.columns.chunk_by(|a, b| a.key == b.key) {
            let Some(device) = self.wanted.get(&tag(of_key[0].key)) else { continue };
            let mut captured = self.captured.lock().expect("nobody panics with this lock");
            for column in of_key {
                let model = PREDICTIONS.iter().position(|name| *name == column.stream.as_str());
                if let (ColumnRef::F32(values), Some(model), Some(time)) = (column.values, model, column.times.first())
                    && let Some(values) = values.first_chunk()
                {
                    captured.entry((*device, *time)).or_default()[model] = *values;
                }
            }
        }
    }
}
