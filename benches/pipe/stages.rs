//! Where the time of a row goes: how old it is at each place that it passes.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Places that a row passes, in this order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The broker has appended it, to a millisecond.
    Appended,
    /// A poll has brought it.
    Polled,
    /// Its prediction has been handed to the client.
    Written,
    /// The broker has appended its prediction, to a millisecond.
    AppendedOut,
    /// The broker has acknowledged it.
    Delivered,
    /// A consumer has its prediction.
    Received,
}

const NAMES: [&str; 6] = ["row appended", "polled", "written", "prediction appended", "acknowledged", "received"];

/// Ages of rows at all places.
#[derive(Debug)]
pub(super) struct Stages {
    /// In microseconds.
    ages: [Mutex<Vec<i64>>; 6],
    /// Rows that were produced before are not counted.
    from: AtomicI64,
}

/// How old rows are at a place, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Age {
    /// Where.
    pub(crate) at: &'static str,
    /// Half of all rows are younger.
    pub(crate) p50: f64,
    /// 90 of 100 rows are younger.
    pub(crate) p90: f64,
    /// 99 of 100 rows are younger.
    pub(crate) p99: f64,
    /// 999 of 1,000 rows are younger.
    pub(crate) p999: f64,
    /// The oldest.
    pub(crate) max: f64,
    /// How many were counted.
    pub(crate) rows: usize,
}

pub(super) fn micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

impl Stages {
    /// Counts nothing yet.
    pub(super) fn new() -> Self {
        Self { ages: Default::default(), from: AtomicI64::new(i64::MAX) }
    }

    /// Counts rows that are produced at `from` or later.
    pub(super) fn begin(&self, from: i64) {
        self.from.store(from, Ordering::Release);
    }

    /// Rows that were produced at `times` are at a place now.
    pub(super) fn now(&self, place: Place, times: impl IntoIterator<Item = i64>) {
        let now = micros();
        self.at(place, times.into_iter().map(|time| (time, now)));
    }

    /// Rows, by when they were produced, and when they were at a place.
    pub(super) fn at(&self, place: Place, rows: impl IntoIterator<Item = (i64, i64)>) {
        let from = self.from.load(Ordering::Acquire);
        let mut ages = self.ages[place as usize].lock().unwrap_or_else(PoisonError::into_inner);
        ages.extend(rows.into_iter().filter(|(time, _)| *time >= from).map(|(time, at)| at - time));
    }

    /// What was counted.
    pub(super) fn ages(&self) -> Vec<Age> {
        let ages = self.ages.iter().zip(NAMES).filter_map(|(ages, at)| {
            let mut ages = ages.lock().unwrap_or_else(PoisonError::into_inner);
            ages.sort_unstable();
            let last = ages.len().checked_sub(1)?;
            let share = |share: f64| ages[(last as f64 * share) as usize] as f64 / 1e3;
            let [p50, p90, p99, p999, max] = [0.5, 0.9, 0.99, 0.999, 1.0].map(share);
            Some(Age { at, p50, p90, p99, p999, max, rows: ages.len() })
        });
        ages.collect()
    }
}

/// When a row was produced: the number after `field` (`"ts":`) in its JSON or its prediction's.
pub(super) fn produced_at(json: &[u8], field: &[u8]) -> Option<i64> {
    let from = json.windows(field.len()).position(|window| window == field)? + field.len();
    let digits = json[from..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// The ages of several rounds as one: medians of each.
pub(super) fn medians(rounds: &[Vec<Age>]) -> Vec<Age> {
    let places = rounds.iter().map(Vec::len).min().unwrap_or_default();
    let of =
        |place: usize, value: &dyn Fn(&Age) -> f64| super::median(rounds.iter().map(|of| value(&of[place])).collect());
    let one = |place: usize| Age {
        at: rounds[0][place].at,
        p50: of(place, &|age| age.p50),
        p90: of(place, &|age| age.p90),
        p99: of(place, &|age| age.p99),
        p999: of(place, &|age| age.p999),
        max: of(place, &|age| age.max),
        rows: rounds.iter().map(|of| of[place].rows).sum(),
    };
    (0..places).map(one).collect()
}
