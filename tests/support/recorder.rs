//! A recorder that keeps every series, as a host's would.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// Keeps the series of whatever starts on a thread that has it as local recorder.
#[derive(Clone, Debug, Default)]
pub struct Recorded(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    series: BTreeMap<String, Arc<Series>>,
    described: BTreeMap<String, (Option<Unit>, String)>,
}

/// A counter or gauge has a number; a histogram has values.
#[derive(Debug, Default)]
struct Series {
    bits: AtomicU64,
    values: Mutex<Vec<f64>>,
}

impl Recorded {
    /// The names of all series with their labels: `name{label=value,…}`.
    pub fn names(&self) -> Vec<String> {
        self.state().series.keys().cloned().collect()
    }

    /// A counter's sum.
    ///
    /// # Panics
    /// When there is no such series.
    pub fn counter(&self, name: &str) -> u64 {
        self.series(name).bits.load(Ordering::Relaxed)
    }

    /// A gauge's number.
    ///
    /// # Panics
    /// When there is no such series.
    pub fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.counter(name))
    }

    /// The values of a histogram.
    ///
    /// # Panics
    /// When there is no such series.
    pub fn histogram(&self, name: &str) -> Vec<f64> {
        self.series(name).values.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The unit and help text of each name, without labels.
    pub fn described(&self) -> BTreeMap<String, (Option<Unit>, String)> {
        self.state().described.clone()
    }

    fn series(&self, name: &str) -> Arc<Series> {
        let state = self.state();
        let known = || state.series.keys().map(String::as_str).collect::<Vec<_>>().join("\n");
        Arc::clone(state.series.get(name).unwrap_or_else(|| panic!("there is no series `{name}`, but\n{}", known())))
    }

    fn register(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.state().series.entry(name).or_default())
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, text: &SharedString) {
        self.state().described.insert(name.as_str().to_owned(), (unit, text.to_string()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }
    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }
    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.register(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.register(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.register(key))
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.bits.fetch_add(value, Ordering::Relaxed);
    }
    fn absolute(&self, value: u64) {
        self.bits.fetch_max(value, Ordering::Relaxed);
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.set(f64::from_bits(self.bits.load(Ordering::Relaxed)) + value);
    }
    fn decrement(&self, value: f64) {
        GaugeFn::increment(self, -value);
    }
    fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Ordering::Relaxed);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).push(value);
    }
}
