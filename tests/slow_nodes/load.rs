//! Rows of many keys beside those of one whose node may block, and how long each waits for what comes of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gristmill::defect::Defect;
use gristmill::in_process::{CollectedLetters, FeedSource, feed};
use gristmill::topology::{Node, Topology, provide, sensor, sink};
use gristmill::traits::source::{Axes, PollLimits, Polled, RowsRecord, Source, SourceError};
use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkWriter};
use gristmill::words::{Column, ElementType, Key, Offset, ShardIndex, Span, Time};
use gristmill::{Runtime, Stream};

const X: Stream<f64> = Stream::new("x");
const Y: Stream<f64> = Stream::new("y");
const Z: Stream<f64> = Stream::new("z");

/// One row of the slow key for so many of the others.
const ONE_IN: usize = 50;
const KEYS: usize = 20;
const SLOW: &str = "slow";

/// What is run.
pub(crate) struct Load {
    /// Rows of the keys that are measured.
    pub rows: usize,
    /// How often a row comes.
    pub every: Duration,
    /// What the node of the one key computes.
    pub slow: Box<dyn Fn(f64) -> f64 + Send + Sync>,
    /// Its budget.
    pub budget: Span,
    /// Whether it is an actor for this key alone.
    pub own: bool,
    /// What is broken.
    pub defect: Option<Defect>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Measured {
    /// From a row of the other keys to what comes of it, the 99th of a hundred.
    pub p99: Duration,
    /// Rows of the other keys that came out.
    pub others: usize,
    /// Rows of the slow key that came out.
    pub slow: usize,
    /// Its rows that failed.
    pub failed: usize,
    /// Why they did, without doubles.
    pub reasons: BTreeSet<String>,
    /// Its rows that nothing was tried for.
    pub quarantined: usize,
    /// The longest time between two calls of the source.
    pub longest_pause: Duration,
}

/// A source that notes how late it is asked.
struct Watched {
    inner: FeedSource,
    last: Option<Instant>,
    longest: Arc<Mutex<Duration>>,
}

impl Source for Watched {
    fn axes(&self) -> Axes {
        self.inner.axes()
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        self.asked();
        let polled = self.inner.poll(limits);
        self.last = Some(Instant::now());
        polled
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        self.asked();
        self.last = Some(Instant::now());
        self.inner.idle()
    }

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        self.inner.commit(partition, next)
    }
}

impl Watched {
    fn asked(&self) {
        let mut longest = self.longest.lock().expect("nobody panics with this lock");
        *longest = longest.max(self.last.map_or(Duration::ZERO, |last| last.elapsed()));
    }
}

/// When each offset came out at last, and of which key.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<HashMap<i64, (Key, Instant)>>>);

impl Sink for Arrivals {
    fn open(&self, _: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for Arrivals {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let (at, mut arrivals) = (Instant::now(), self.0.lock().expect("nobody panics with this lock"));
        frame.for_each(|row| {
            if row.stream.as_str() == "z" {
                arrivals.insert(row.cause.offset.0, (row.key.clone(), at));
            }
        });
        drop(arrivals);
        done.done();
    }
}

/// Runs a load.
pub(crate) fn measure(load: Load) -> Measured {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("there are threads").block_on(run(load))
}

async fn run(load: Load) -> Measured {
    let (feeder, inner) = feed(Axes::Declared(vec![vec![("x".into(), ElementType::F64)]]));
    let longest = Arc::new(Mutex::new(Duration::ZERO));
    let source = Watched { inner, last: None, longest: Arc::clone(&longest) };
    let (arrivals, letters) = (Arrivals::default(), CollectedLetters::default());
    let slow = load.slow;
    let special: Node = provide(Y).needs(X).by(move |x: f64| slow(x)).priority(1).slow(load.budget);
    let special = if load.own { special.for_key(SLOW) } else { special.for_keys("slo?") };
    let plant = Topology::new("plant")
        .with(sensor(X))
        .with(provide(Y).needs(X).by(|x: f64| x + 1.0))
        .with(provide(Z).needs(Y).by(|y: f64| y * 2.0))
        .with(special)
        .with(sink("out").needs(Z));
    let mut builder = Runtime::builder().topology(plant).source(source).sink("out", arrivals.clone());
    builder = builder.dead_letters(letters.clone()).shards(1).defect(load.defect);
    builder.options_mut().drive.batch_age = Duration::from_millis(1);
    let handle = builder.start().await.expect("nothing is wrong with it");
    let mut sent = Vec::new();
    let mut pace = tokio::time::interval(load.every);
    for row in 0..load.rows {
        pace.tick().await;
        let mut keys = vec![format!("k{}", row % KEYS)];
        if row % ONE_IN == 0 {
            keys.push(SLOW.to_owned());
        }
        for key in keys {
            let offset = i64::try_from(sent.len()).expect("it is small");
            sent.push(Instant::now());
            let columns = vec![Column::F64(vec![1.0])];
            let times = vec![Time::from_millis(offset)];
            let record =
                RowsRecord { offset: Offset(offset), log_time: None, key: key.into(), axis: 0, times, columns };
            feeder.send(0, vec![record]).await.expect("it runs");
        }
    }
    feeder.taken().await.expect("it runs");
    handle.settled().await;
    let report = handle.report(None).await.expect("it runs");
    let quarantined: u64 = report.nodes.iter().map(|node| node.counts.quarantined).sum();
    drop(feeder);
    handle.finished().await.expect("it ends in order");
    let letters = letters.take();
    let arrivals = arrivals.0.lock().expect("nobody panics with this lock");
    let of = |slow: bool| arrivals.iter().filter(move |(_, (key, _))| (key.as_str() == SLOW) == slow);
    let place = |offset: &i64| usize::try_from(*offset).expect("it is no negative");
    let mut took: Vec<Duration> = of(false).map(|(offset, (_, at))| *at - sent[place(offset)]).collect();
    took.sort_unstable();
    let longest_pause = *longest.lock().expect("nobody panics with this lock");
    Measured {
        p99: took[took.len() * 99 / 100],
        others: took.len(),
        slow: of(true).count(),
        failed: letters.len(),
        reasons: letters.into_iter().map(|letter| letter.reason).collect(),
        quarantined: usize::try_from(quarantined).expect("it is small"),
        longest_pause,
    }
}
