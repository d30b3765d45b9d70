//! The engine's way: the Kafka source and sink as they are, and clocks around them.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{
    Axes, Batch, Decode, Done, LoadError, Model, RawRecord, Records, Sink, SinkError, SinkFrame, SinkWriter, Source,
    SourceError,
};
use gristmill::words::{Offset, ShardIndex};
use gristmill::{Handle, Runtime, StartError, Stream};
use gristmill_operators::codec::TimeUnit;
use gristmill_operators::codec::row::TimeStyle;
use gristmill_operators::kafka::{self, KafkaSink, KafkaSource};
use gristmill_operators::model::Linear;

use super::rows::{BIAS, SENSORS, WEIGHTS};
use super::stages::{Place, Stages, produced_at};
use super::{Options, Run, processor_seconds};

const TIMEOUT: Duration = Duration::from_secs(300);

/// When the first record came, and how many are delivered.
#[derive(Debug, Default)]
pub(super) struct Watch {
    began: OnceLock<(Instant, f64)>,
    delivered: AtomicU64,
    /// Where ages of rows are counted, if they are.
    stages: Option<Arc<Stages>>,
}

impl Watch {
    fn polled(&self, batches: &[Batch]) {
        let raw = || {
            batches.iter().filter_map(|batch| match &batch.records {
                Records::Raw(records) => Some(records.as_slice()),
                _ => None,
            })
        };
        if raw().any(|records| !records.is_empty()) {
            self.began.get_or_init(|| (Instant::now(), processor_seconds()));
        }
        if let Some(stages) = &self.stages {
            let rows = || raw().flatten();
            stages.now(Place::Polled, rows().filter_map(|record| produced_at(&record.payload, b"\"ts\":")));
            let appended = |record: &RawRecord| Some((produced_at(&record.payload, b"\"ts\":")?, record.log_time?.0));
            stages.at(Place::Appended, rows().filter_map(appended));
        }
    }
}

struct Watched<T>(T, Arc<Watch>);

impl Source for Watched<KafkaSource> {
    fn axes(&self) -> Axes {
        self.0.axes()
    }

    fn decoder(&self) -> Option<Arc<dyn Decode>> {
        self.0.decoder()
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        let polled = self.0.poll(limits)?;
        if let Polled::Batches(batches) = &polled {
            self.1.polled(batches);
        }
        Ok(polled)
    }

    fn is_bounded(&self) -> bool {
        self.0.is_bounded()
    }

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        self.0.commit(partition, next)
    }

    fn pause(&mut self, paused: bool) {
        self.0.pause(paused);
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        self.0.idle()
    }

    fn close(&mut self) -> Result<(), SourceError> {
        self.0.close()
    }
}

impl Sink for Watched<KafkaSink> {
    fn open(&self, shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(Watched(self.0.open(shard)?, self.1.clone())))
    }

    fn flush(&self) -> Result<(), SinkError> {
        self.0.flush()
    }

    fn failure(&self) -> Option<SinkError> {
        self.0.failure()
    }
}

impl SinkWriter for Watched<Box<dyn SinkWriter>> {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let rows: usize = frame.columns.iter().map(|column| column.times.len()).sum();
        let watch = self.1.clone();
        let times = || frame.columns.iter().flat_map(|column| column.times).map(|time| time.0);
        let counted: Vec<i64> = if watch.stages.is_some() { times().collect() } else { Vec::new() };
        let said = Done::new(move || {
            watch.delivered.fetch_add(rows as u64, Ordering::AcqRel);
            if let Some(stages) = &watch.stages {
                stages.now(Place::Delivered, counted);
            }
            done.done();
        });
        self.0.write(frame, said);
        if let Some(stages) = &self.1.stages {
            stages.now(Place::Written, times());
        }
    }
}

fn topology() -> Result<Topology, LoadError> {
    let model: Arc<dyn Model> = Arc::new(Linear::new(&WEIGHTS, BIAS)?);
    let mut topology = Topology::new("device");
    for name in SENSORS {
        topology = topology.with(sensor(Stream::<f32>::new(name)));
    }
    let score = Stream::<f32>::new("score");
    let needs = SENSORS.map(Stream::<f32>::new);
    Ok(topology.with(provide(score.clone()).needs(needs).by(model)).with(sink("predictions").needs(score)))
}

/// Starts the engine between two topics.
pub(super) async fn start(
    brokers: &str,
    (from, to): (&str, &str),
    group: &str,
    options: &Options,
    stages: Option<Arc<Stages>>,
) -> Result<(Handle, Arc<Watch>), Box<dyn std::error::Error>> {
    let watch = Arc::new(Watch { stages, ..Watch::default() });
    let mut source = kafka::source(from).brokers(brokers).group(group);
    for (name, value) in &options.consumer {
        source = source.set(name, value);
    }
    let source = source.json(|r| r.key("device").time("ts").unit(TimeUnit::Micros));
    let mut sink = kafka::sink(to).brokers(brokers).times(TimeStyle::Micros);
    for (name, value) in &options.producer {
        sink = sink.set(name, value);
    }
    let builder = Runtime::builder().topology(topology()?).source(Watched(source, watch.clone()));
    let started: Result<Handle, StartError> =
        builder.sink("predictions", Watched(sink, watch.clone())).shards(options.shards).start().await;
    Ok((started?, watch))
}

pub(super) async fn run(brokers: &str, options: &Options, round: usize) -> Result<Run, Box<dyn std::error::Error>> {
    let group = format!("engine-{round}");
    let (handle, watch) = start(brokers, ("rows", "by-engine"), &group, options, None).await?;
    let deadline = Instant::now() + TIMEOUT;
    while watch.delivered.load(Ordering::Acquire) < options.rows as u64 {
        assert!(Instant::now() < deadline, "the engine has not written all rows within {TIMEOUT:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (began, processor) = *watch.began.get().ok_or("predictions came before rows")?;
    let run = Run { seconds: began.elapsed().as_secs_f64(), processor_seconds: processor_seconds() - processor };
    handle.stop().await?;
    Ok(run)
}
