//! The plain loop: the same operators and models called one after the other, device by device, without an engine. It is
//! what a team would write by hand, and what the engine is measured against.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use gristmill::traits::{Operator, Outputs, Rows, ScoreError};
use gristmill::words::{Column, ColumnMut, ColumnRef, ElementType, Time};
use gristmill_operators::rolling::{History, Rolling};

use super::data::{self, FEATURES, HIGH, MODELS, ROWS, SENSORS};
use super::models::DeviceModels;
use super::sink::{Checksum, tag};
use super::source::{HISTORY_ROWS, Readings, times};
use super::topology::{self, RAW, windows};

/// What the loop keeps of a device.
struct Device {
    held: [f64; SENSORS],
    histories: [History; SENSORS],
    rated: f64,
    offset: f64,
    models: DeviceModels,
    tag: u64,
}

/// Some devices, and the columns that their features are computed in.
struct Part {
    devices: Vec<Device>,
    first: usize,
    windows: [Rolling; SENSORS],
    cleaned: [f64; ROWS],
    /// For each sensor its statistics.
    statistics: [Vec<Column>; SENSORS],
    power: [f32; ROWS],
    scores: [[f32; ROWS]; MODELS],
}

/// An epoch to compute: its number and the readings of all devices.
type Epoch = (usize, Arc<Vec<Readings>>);

/// The loop on threads of its own, each for its share of the devices.
pub struct PlainLoop {
    threads: Vec<Worker>,
}

struct Worker {
    epochs: SyncSender<Epoch>,
    results: Receiver<Checksum>,
    _thread: JoinHandle<()>,
}

impl PlainLoop {
    /// Starts the threads; every device has its history.
    ///
    /// # Errors
    /// When the machine refuses a thread.
    pub fn start(models: &[DeviceModels], threads: usize) -> std::io::Result<Self> {
        let share = models.len().div_ceil(threads).max(1);
        let worker = |(index, models): (usize, &[DeviceModels])| {
            let (epochs, todo) = sync_channel::<Epoch>(1);
            let (tell, results) = sync_channel(1);
            let models = models.to_vec();
            let thread = std::thread::Builder::new().name(format!("plain-{index}")).spawn(move || {
                let mut part = Part::new(index * share, models);
                while let Ok((epoch, readings)) = todo.recv() {
                    if tell.send(part.run(epoch, &readings)).is_err() {
                        break;
                    }
                }
            })?;
            Ok(Worker { epochs, results, _thread: thread })
        };
        Ok(Self { threads: models.chunks(share).enumerate().map(worker).collect::<std::io::Result<_>>()? })
    }

    /// Computes an epoch; the sum over all its predictions. `None` when a thread has failed.
    pub fn run(&self, epoch: usize, readings: &Arc<Vec<Readings>>) -> Option<Checksum> {
        for worker in &self.threads {
            worker.epochs.send((epoch, Arc::clone(readings))).ok()?;
        }
        let mut all = Checksum::default();
        for worker in &self.threads {
            all.0 = all.0.wrapping_add(worker.results.recv().ok()?.0);
        }
        Some(all)
    }
}

impl Part {
    fn new(first: usize, models: Vec<DeviceModels>) -> Self {
        let windows = std::array::from_fn(windows);
        let devices = models.into_iter().enumerate().map(|(index, models)| {
            let device = first + index;
            let (rated, offset) = data::attributes(device as u64);
            let histories = std::array::from_fn(|sensor| history(&windows[sensor], data::middle()[sensor]));
            let tag = tag(&topology::key(device));
            Device { held: data::middle(), histories, rated, offset, models, tag }
        });
        let statistics = |sensor: usize| vec![Column::missing(ElementType::F32, ROWS); statistics_of(sensor)];
        Self {
            devices: devices.collect(),
            first,
            cleaned: [0.0; ROWS],
            statistics: std::array::from_fn(statistics),
            power: [0.0; ROWS],
            scores: Default::default(),
            windows,
        }
    }

    fn run(&mut self, epoch: usize, readings: &[Readings]) -> Checksum {
        let times = times(epoch);
        let mut checksum = Checksum::default();
        for (index, readings) in readings[self.first..][..self.devices.len()].iter().enumerate() {
            // A model of the workload takes every row.
            if self.device(index, readings, &times).is_err() {
                return Checksum::default();
            }
            let tag = self.devices[index].tag;
            self.scores.iter().enumerate().for_each(|(model, scores)| checksum.add(tag, model, scores));
        }
        checksum
    }

    fn device(&mut self, index: usize, readings: &Readings, times: &[Time; ROWS]) -> Result<(), ScoreError> {
        let device = &mut self.devices[index];
        for sensor in 0..SENSORS {
            for (cleaned, reading) in self.cleaned.iter_mut().zip(&readings[sensor]) {
                if (0.0..=HIGH[sensor]).contains(reading) {
                    device.held[sensor] = *reading;
                }
                *cleaned = device.held[sensor];
            }
            let column = [ColumnRef::F64(&self.cleaned)];
            let rows = Rows::new(times, &column);
            let mut out = Outputs::new(&mut self.statistics[sensor], 0..ROWS);
            let failed = |error: gristmill::traits::RowError| ScoreError(error.0);
            self.windows[sensor].run(&mut device.histories[sensor], &rows, &mut out).map_err(failed)?;
        }
        // The current is the last sensor.
        for (power, current) in self.power.iter_mut().zip(&self.cleaned) {
            *power = topology::power(*current, device.rated, device.offset);
        }
        let statistic = |sensor: usize, which: usize| self.statistics[sensor][which].as_ref();
        let mut inputs = [ColumnRef::F32(&self.power); FEATURES + 2];
        for sensor in 0..SENSORS {
            inputs[2 * sensor] = statistic(sensor, 0);
            inputs[2 * sensor + 1] = statistic(sensor, 1);
        }
        inputs[2 * SENSORS] = statistic(1, 2);
        let [first, linear, net, last] = &mut self.scores;
        let models = &device.models;
        models[0].score(&inputs[..FEATURES], &mut [ColumnMut::F32(first)])?;
        models[1].score(&inputs[..FEATURES], &mut [ColumnMut::F32(linear)])?;
        models[2].score(&inputs[..FEATURES], &mut [ColumnMut::F32(net)])?;
        inputs[FEATURES..].copy_from_slice(&[ColumnRef::F32(first), ColumnRef::F32(net)]);
        models[3].score(&inputs, &mut [ColumnMut::F32(last)])
    }
}

fn statistics_of(sensor: usize) -> usize {
    if RAW[sensor] == "vib" { 3 } else { 2 }
}

/// A window that is full but for one row.
fn history(windows: &Rolling, value: f64) -> History {
    let mut history = windows.start();
    let (values, times) = ([value; HISTORY_ROWS], [Time(0); HISTORY_ROWS]);
    let column = [ColumnRef::F64(&values)];
    let mut out = vec![Column::missing(ElementType::F32, HISTORY_ROWS); 3];
    let run = windows.run(&mut history, &Rows::new(&times, &column), &mut Outputs::new(&mut out, 0..HISTORY_ROWS));
    debug_assert!(run.is_ok(), "a window of rows cannot fail");
    history
}
