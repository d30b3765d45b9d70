//! A test harness: a topology on a runtime of its own, fed row by row, read stream by stream; no broker, no files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::actor::guard::Quarantine;
use crate::actor::intake::IntakePolicy;
use crate::explain::Explanation;
use crate::handle::{Handle, Preview, Report};
use crate::in_process::{Collected, CollectedLetters, FeedSource, Feeder, Output, feed};
use crate::runtime::{Runtime, StartError};
use crate::supervisor::{Applied, DeployError, Deployment};
use crate::topology::plan::ClassPlan;
use crate::topology::{Topology, Work, matching, sink};
use crate::traits::sink::DeadLetter;
use crate::traits::source::{AxisStreams, PollLimits, Polled, absent};
use crate::traits::{Axes, Batch, Decode, RawRecord, Records, RowsRecord, Source, SourceError};
use crate::words::{Column, Element, ElementType, Key, NodeId, Offset, Revision, Stream, StreamName, Time, Value};

/// The sink through which the harness reads every stream, also those that no other sink asks for.
const READS: &str = "harness.reads";
/// Records of a micro-batch.
const BATCH_RECORDS: usize = 4_096;

/// How a [`Bench`] runs its topology.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Which sensors share their rows: all of them, unless said.
    pub axes: Axes,
    /// Threads that compute; 1 unless said. Results are the same with any number.
    pub shards: u16,
    /// How rows come in.
    pub intake: IntakePolicy,
    /// See [`Options::quarantine`](crate::Options::quarantine).
    pub quarantine: Option<Quarantine>,
}

impl Default for BenchOptions {
    fn default() -> Self {
        let quarantine = Some(Quarantine::default());
        Self { axes: Axes::default(), shards: 1, intake: IntakePolicy::default(), quarantine }
    }
}

/// A topology under test. Rows are pushed, time is advanced, deployments are made, streams are read; whatever is read
/// has seen everything that was pushed before. Every node runs, whether a sink asks for it or not.
///
/// ```
/// use gristmill::topology::{Topology, provide, sensor};
/// use gristmill::words::Time;
/// use gristmill::Stream;
/// const WEAR: Stream<f32> = Stream::new("wear");
/// const ALARM: Stream<bool> = Stream::new("alarm");
///
/// let pump = Topology::new("pump")
///     .with(sensor(WEAR).range(0.0..=1.0))
///     .with(provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.8));
/// let mut bench = pump.bench();
/// bench.row("P101", Time::from_secs(1)).set(WEAR, 0.3);
/// bench.row("P101", Time::from_secs(2)).set(WEAR, 0.9);
/// assert_eq!(bench.read(ALARM, "P101"), [(Time::from_secs(1), false), (Time::from_secs(2), true)]);
/// ```
///
/// It is for plain tests: it must not be used from within an async runtime.
pub struct Bench {
    runtime: tokio::runtime::Runtime,
    handle: Handle,
    /// `None` once it is dropped.
    feeder: Option<Feeder>,
    sinks: BTreeMap<String, (Collected, Vec<Output>)>,
    letters: (CollectedLetters, Vec<DeadLetter>),
    /// Rows that were pushed and not sent yet: nobody has looked.
    pushed: Vec<(u32, Pushed)>,
    next: HashMap<u32, i64>,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bench with {} rows not yet sent", self.pushed.len())
    }
}

impl Topology {
    /// Starts this topology in a test harness.
    ///
    /// # Panics
    /// When it does not resolve, with everything that is wrong.
    pub fn bench(self) -> Bench {
        self.bench_with(BenchOptions::default())
    }

    /// As [`Topology::bench`], told how.
    ///
    /// # Panics
    /// When it does not resolve, with everything that is wrong.
    pub fn bench_with(self, options: BenchOptions) -> Bench {
        Bench::start(self, options).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Bench {
    /// Starts a topology.
    ///
    /// # Errors
    /// [`StartError`], with everything that is wrong with it.
    pub fn start(topology: Topology, options: BenchOptions) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (feeder, inner) = feed(options.axes);
        let letters = CollectedLetters::default();
        let mut sinks = BTreeMap::from([(READS.to_owned(), (Collected::default(), Vec::new()))]);
        for node in topology.nodes() {
            if let Work::Sink(sink) = &node.work {
                sinks.entry(sink.binding.to_string()).or_default();
            }
        }
        let topology = topology.with(sink(READS).needs(matching("*")));
        let mut builder = Runtime::builder().topology(topology).source(BenchSource { inner }).shards(options.shards);
        for (name, (collected, _)) in &sinks {
            builder = builder.sink(name.as_str(), collected.clone());
        }
        builder = builder.dead_letters(letters.clone());
        builder.options_mut().intake = options.intake;
        builder.options_mut().quarantine = options.quarantine;
        builder.options_mut().drive.batch_age = std::time::Duration::from_millis(1);
        let handle = runtime.block_on(builder.start())?;
        let letters = (letters, Vec::new());
        Ok(Self { runtime, handle, feeder: Some(feeder), sinks, letters, pushed: Vec::new(), next: HashMap::new() })
    }

    /// Pushes a row of a key in partition 0; its values are set on what comes back.
    pub fn row(&mut self, key: &str, time: Time) -> PushedRow<'_> {
        self.row_in(0, key, time)
    }

    /// Pushes a row of a key in a partition. All rows of a key must come in one.
    pub fn row_in(&mut self, partition: u32, key: &str, time: Time) -> PushedRow<'_> {
        self.pushed.push((partition, Pushed { key: key.into(), time, log_time: None, values: Vec::new() }));
        PushedRow { bench: self }
    }

    /// Pushes one reading of one sensor, as narrow records bring them.
    pub fn reading<T: Element>(&mut self, key: &str, time: Time, stream: Stream<T>, value: T) {
        self.row(key, time).set(stream, value);
    }

    /// Says that event time has reached `now` for every key.
    pub fn advance(&mut self, now: Time) {
        self.settle();
        let partitions: Vec<u32> = self.next.keys().copied().collect();
        for partition in partitions {
            self.send(Batch::new(partition, Records::Tick(now)));
        }
        self.settle();
    }

    /// All values of a stream of a key so far, in the order in which they were computed.
    ///
    /// # Panics
    /// When the stream has another type than it is read with.
    #[expect(clippy::needless_pass_by_value, reason = "streams are constants, handed over by value everywhere")]
    pub fn read<T: Element>(&mut self, stream: Stream<T>, key: &str) -> Vec<(Time, T)> {
        let of = |output: &&Output| output.stream.as_str() == stream.name() && output.key.as_str() == key;
        self.outputs().iter().filter(of).map(|output| (output.time, typed(&stream, &output.value))).collect()
    }

    /// Everything that came out so far, with its provenance.
    pub fn outputs(&mut self) -> &[Output] {
        self.written(READS)
    }

    /// Everything that a sink of the topology was given so far.
    ///
    /// # Panics
    /// When the topology had no such sink at the start.
    pub fn written(&mut self, binding: &str) -> &[Output] {
        self.settle();
        let known = self.sinks.get_mut(binding);
        let (collected, kept) = known.unwrap_or_else(|| panic!("the topology has no sink `{binding}`"));
        kept.extend(collected.take());
        kept
    }

    /// All dead letters so far.
    pub fn dead_letters(&mut self) -> &[DeadLetter] {
        self.settle();
        self.letters.1.extend(self.letters.0.take());
        &self.letters.1
    }

    /// Deploys a node or a set of changes, from the next row on.
    ///
    /// # Errors
    /// [`DeployError`]; what ran before runs on.
    pub fn deploy(&mut self, deployment: impl Into<Deployment>) -> Result<Applied, DeployError> {
        self.settle();
        self.runtime.block_on(self.handle.apply(deployment))
    }

    /// What a deployment would change.
    ///
    /// # Errors
    /// [`DeployError`] with everything that is wrong.
    pub fn preview(&mut self, deployment: impl Into<Deployment>) -> Result<Preview, DeployError> {
        self.settle();
        self.runtime.block_on(self.handle.preview(deployment))
    }

    /// Carries out what was previewed.
    ///
    /// # Errors
    /// As [`Preview::apply`].
    pub fn apply(&mut self, preview: Preview) -> Result<Applied, DeployError> {
        self.settle();
        self.runtime.block_on(preview.apply())
    }

    /// Removes a node.
    ///
    /// # Errors
    /// As [`Bench::deploy`].
    pub fn remove(&mut self, node: impl Into<NodeId>) -> Result<Applied, DeployError> {
        self.deploy(Deployment::new().remove(node))
    }

    /// Goes back to what was declared at a revision.
    ///
    /// # Errors
    /// As [`Handle::rollback`].
    pub fn rollback(&mut self, to: Revision) -> Result<Applied, DeployError> {
        self.settle();
        self.runtime.block_on(self.handle.rollback(None, to))
    }

    /// The plan that runs.
    ///
    /// # Panics
    /// Never: a bench has one class.
    pub fn plan(&self) -> Arc<ClassPlan> {
        self.runtime.block_on(self.handle.plan(None)).expect("a bench has one class")
    }

    /// What became of the rows so far.
    ///
    /// # Panics
    /// When the runtime has stopped, which it does only when the bench is dropped.
    pub fn report(&mut self) -> Report {
        self.settle();
        self.runtime.block_on(self.handle.report(None)).expect("a bench has one class, and it runs")
    }

    /// Why a node did or did not write for a key, once all that was pushed has had its effect.
    ///
    /// # Panics
    /// When the runtime has stopped, which it does only when the bench is dropped.
    pub fn explain(&mut self, node: &str, key: &str) -> Explanation {
        self.settle();
        let (node, key) = (node.into(), key.into());
        let explained = self.handle.explain(None, &node, &key);
        self.runtime.block_on(explained).expect("a bench has one class, and it runs")
    }

    /// Sends what was pushed, and waits until it has had its effect.
    pub fn settle(&mut self) {
        let mut batches: BTreeMap<u32, Vec<RawRecord>> = BTreeMap::new();
        for (partition, pushed) in std::mem::take(&mut self.pushed) {
            let offset = self.next.entry(partition).or_default();
            let key = Some(pushed.key.as_bytes().into());
            let record =
                RawRecord { offset: Offset(*offset), log_time: pushed.log_time, key, payload: pushed.encode() };
            *offset += 1;
            batches.entry(partition).or_default().push(record);
        }
        for (partition, records) in batches {
            for records in records.chunks(BATCH_RECORDS) {
                self.send(Batch::new(partition, Records::Raw(records.to_vec())));
            }
        }
        let feeder = self.feeder.as_ref().expect("it is dropped with the bench");
        self.runtime.block_on(feeder.taken()).expect("the runtime runs as long as the bench");
        self.runtime.block_on(self.handle.settled());
    }

    fn send(&self, batch: Batch) {
        let feeder = self.feeder.as_ref().expect("it is dropped with the bench");
        self.runtime.block_on(feeder.send_batch(batch)).expect("the runtime runs as long as the bench");
    }

    /// The source's name of the column that a sensor brings in as `stream`.
    fn column(&self, stream: &str, element: ElementType) -> StreamName {
        let plan = self.plan();
        let sensor = plan.base.nodes.iter().find_map(|node| match &node.node.work {
            Work::Sensor { raw, .. } if node.node.provides.iter().any(|(name, _)| name.as_str() == stream) => {
                Some(raw.clone())
            }
            _ => None,
        });
        let raw = sensor.unwrap_or_else(|| stream.into());
        let brought = plan.base.axes.iter().flat_map(|axis| &axis.streams).find(|(name, _)| *name == raw);
        match brought {
            Some((_, is)) if *is == element => raw,
            Some((_, is)) => panic!("`{stream}` is {is}, but was set to a value of {element}"),
            None => panic!("no sensor reads `{stream}`, so a row cannot have it"),
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.feeder.take());
        if !std::thread::panicking()
            && let Err(error) = self.runtime.block_on(self.handle.finished())
        {
            panic!("the bench did not end in order: {error}");
        }
    }
}

/// A row that was pushed into a [`Bench`]; values that are not set are absent.
#[derive(Debug)]
pub struct PushedRow<'b> {
    bench: &'b mut Bench,
}

impl PushedRow<'_> {
    /// Sets the value that a sensor brings in.
    ///
    /// # Panics
    /// When no sensor brings in this stream, or as another type.
    #[expect(clippy::needless_pass_by_value, reason = "streams are constants, handed over by value everywhere")]
    pub fn set<T: Element>(mut self, stream: Stream<T>, value: T) -> Self {
        let raw = self.bench.column(stream.name(), T::TYPE);
        let mut column = Column::missing(T::TYPE, 1);
        T::set(&mut column.as_mut(), 0, Some(value));
        self.pushed().values.push((raw, column.as_ref().value(0)));
        self
    }

    /// Sets when the log got the row.
    pub fn log_time(mut self, time: Time) -> Self {
        self.pushed().log_time = Some(time);
        self
    }

    fn pushed(&mut self) -> &mut Pushed {
        &mut self.bench.pushed.last_mut().expect("this row was pushed, and the bench is borrowed since").1
    }
}

/// A row on its way to the shard, where the plan says which axes there are.
#[derive(Serialize, Deserialize)]
struct Pushed {
    key: Key,
    time: Time,
    log_time: Option<Time>,
    /// Columns of the source; `None` is a reading that is not a number.
    values: Vec<(StreamName, Option<Value>)>,
}

impl Pushed {
    fn encode(&self) -> Box<[u8]> {
        let bytes = bincode::serde::encode_to_vec(self, bincode::config::standard());
        bytes.expect("rows can be serialised").into_boxed_slice()
    }
}

/// The source of a bench: rows are decoded on their shard, by the plan of their frame, so that sensors can be added.
struct BenchSource {
    inner: FeedSource,
}

impl Source for BenchSource {
    fn axes(&self) -> Axes {
        self.inner.axes()
    }

    fn decoder(&self) -> Option<Arc<dyn Decode>> {
        Some(Arc::new(Rowwise))
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        self.inner.poll(limits)
    }

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        self.inner.commit(partition, next)
    }
}

/// Decodes [`Pushed`] rows.
struct Rowwise;

impl Decode for Rowwise {
    fn key<'r>(&self, record: &'r RawRecord) -> Option<&'r str> {
        std::str::from_utf8(record.key.as_ref()?).ok()
    }

    fn decode(&self, record: &RawRecord, axes: &[AxisStreams], rows: &mut Vec<RowsRecord>) -> Result<(), String> {
        let decoded = bincode::serde::decode_from_slice::<Pushed, _>(&record.payload, bincode::config::standard());
        let (pushed, _) = decoded.map_err(|error| error.to_string())?;
        for (number, axis) in (0..).zip(axes) {
            let value = |name: &StreamName| pushed.values.iter().find(|(of, _)| of == name).map(|(_, value)| value);
            if !pushed.values.is_empty() && axis.streams.iter().all(|(name, _)| value(name).is_none()) {
                continue;
            }
            let columns = axis.streams.iter().map(|(name, element)| match value(name) {
                Some(value) => {
                    let mut column = Column::with_capacity(*element, 1);
                    column.push(value.as_ref());
                    column
                }
                None => absent(*element, 1),
            });
            rows.push(RowsRecord {
                offset: record.offset,
                log_time: pushed.log_time,
                key: pushed.key.clone(),
                axis: number,
                times: vec![pushed.time],
                columns: columns.collect(),
            });
        }
        Ok(())
    }
}

/// A value as the type it is read with.
fn typed<T: Element>(stream: &Stream<T>, value: &Value) -> T {
    let is = value.element_type();
    assert!(is == T::TYPE, "`{}` is {is}, but was read as {}", stream.name(), T::TYPE);
    let mut column = Column::with_capacity(is, 1);
    column.push(Some(value));
    T::get(column.as_ref(), 0).expect("missing values are not written")
}
