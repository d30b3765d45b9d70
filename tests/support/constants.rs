//! A plant whose models add a constant, which is all that their artifacts say: every score tells which model made it.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a row and a deployment take is measured on the machine's clock"
)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gristmill::defect::Defect;
use gristmill::deployer::{Artifact, ChangeSet, Deployer};
use gristmill::in_process::{Feeder, LoggedLetters, feed};
use gristmill::registry::{RegistryFolder, digest_of};
use gristmill::topology::{Topology, all_models, sensor, sink};
use gristmill::traits::sink::DeadLetters;
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::traits::{
    Digest, Done, Format, LoadError, Model, Port, ScoreError, Sink, SinkError, SinkFrame, SinkWriter,
};
use gristmill::words::{Column, ColumnMut, ColumnRef, ElementType, Offset, Revision, ShardIndex, Time, Value};
use gristmill::{Runtime, Stream};

/// What the models read.
pub const X: Stream<f32> = Stream::new("x");

/// Ends the sleep of models that hang, so that their threads can be joined.
pub static OVER: AtomicBool = AtomicBool::new(false);

/// Adds what its artifact says; `loop 3` adds half of its second input as well. `panic`, `nan` and `hang` do that instead.
struct Constant;

#[derive(Debug)]
struct Adds {
    constant: f32,
    text: String,
    digest: Digest,
    inputs: Vec<Port>,
    outputs: [Port; 1],
}

impl Format for Constant {
    fn name(&self) -> &str {
        "constant"
    }

    fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Model>, LoadError> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let constant = match text.as_str() {
            "panic" | "hang" => 0.0,
            "nan" => f32::NAN,
            number => {
                let number = number.trim_start_matches("loop ");
                number.parse().map_err(|_| LoadError { reason: format!("`{number}` is no number") })?
            }
        };
        let port = || Port { name: None, element: ElementType::F32 };
        let inputs = (0..if text.starts_with("loop") { 2 } else { 1 }).map(|_| port()).collect();
        Ok(Arc::new(Adds { constant, text, digest: digest_of(bytes), inputs, outputs: [port()] }))
    }
}

impl Model for Adds {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        match self.text.as_str() {
            "panic" => panic!("it cannot"),
            "hang" => {
                let begun = Instant::now();
                while !OVER.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(60) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            _ => {}
        }
        let ColumnMut::F32(out) = &mut outputs[0] else { return Err(ScoreError("it gives f32".to_owned())) };
        for (row, out) in out.iter_mut().enumerate() {
            let before = inputs.get(1).map_or(0.0, |before| before.number(row) as f32);
            *out = inputs[0].number(row) as f32 + before * 0.5 + self.constant;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        4
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}

/// One score.
#[derive(Clone, Copy, Debug)]
pub struct Scored {
    /// The number in the key.
    pub key: u32,
    /// The source's number of the partition.
    pub partition: u32,
    /// Its record.
    pub offset: i64,
    /// The revision that it says it was computed by.
    pub revision: Revision,
    /// The score.
    pub value: f32,
    /// When the sink got it.
    pub at: Instant,
}

/// Keeps all scores.
#[derive(Clone, Default)]
pub struct Scores(Arc<Mutex<Vec<Scored>>>);

impl Scores {
    /// Those since it was asked last, those of a key in their order.
    ///
    /// # Panics
    /// Never: nobody panics with the lock.
    pub fn take(&self) -> Vec<Scored> {
        std::mem::take(&mut *self.0.lock().expect("nobody panics with this lock"))
    }
}

impl Sink for Scores {
    fn open(&self, _: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for Scores {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let at = Instant::now();
        let mut scores = self.0.lock().expect("nobody panics with this lock");
        frame.for_each(|row| {
            let Value::F32(value) = row.value else { panic!("a score is f32") };
            let key = row.key[1..].parse().expect("keys are K and a number");
            let (partition, offset) = (frame.source_partition, row.cause.offset.0);
            scores.push(Scored { key, partition, offset, revision: frame.revision, value, at });
        });
        drop(scores);
        done.done();
    }
}

/// The plant: a sensor, a sink of all models, and what was deployed in a folder.
///
/// # Panics
/// When it does not start.
pub async fn start(folder: &Path, defect: Option<Defect>) -> (Deployer, Feeder, Scores) {
    start_with(folder, defect, LoggedLetters).await
}

/// The same, with a place of one's own for dead letters beside the folder.
///
/// # Panics
/// As [`start`].
pub async fn start_with(
    folder: &Path,
    defect: Option<Defect>,
    letters: impl DeadLetters,
) -> (Deployer, Feeder, Scores) {
    let (feeder, source) = feed(Axes::Declared(vec![vec![("x".into(), ElementType::F32)]]));
    let scores = Scores::default();
    let plant = Topology::new("plant").with(sensor(X)).with(sink("out").needs(all_models()));
    let builder = Runtime::builder().topology(plant).source(source).sink("out", scores.clone()).shards(2);
    let builder = builder.dead_letters(letters);
    let mut formats = gristmill_operators::registry::registry();
    formats.register_format(Constant);
    let folder = RegistryFolder::open(folder, Time(0)).expect("the folder opens");
    let deployer = Deployer::start(builder.defect(defect), folder, formats).await.expect("it starts");
    (deployer, feeder, scores)
}

/// The memory that this process has taken, in bytes.
///
/// # Panics
/// Where there is no `/proc`.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    // Pages of the program's file come and go as the system likes.
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5 has it");
    let kilobytes: u64 = anonymous.trim().trim_end_matches(" kB").parse().expect("it is a number");
    kilobytes * 1024
}

/// The name of a key.
pub fn key(number: u32) -> String {
    format!("K{number:04}")
}

/// A model of its own for each of these keys, with this artifact.
pub fn put(models: impl IntoIterator<Item = (u32, String)>) -> ChangeSet {
    let mut nodes = Vec::new();
    let mut change = ChangeSet::new();
    for (number, artifact) in models {
        nodes.push(serde_json::json!({
            "id": "score", "keys": key(number), "needs": ["x: f32"], "provides": ["score: f32"],
            "model": { "constant": key(number) },
            "trial": [{ "given": { "x": 1 }, "gives": { "score": 0 }, "within": 1e9 }],
        }));
        change = change.artifact(key(number), Artifact::Bytes(artifact.into_bytes()));
    }
    change.manifest(serde_json::json!({ "topology": "plant", "node": nodes }).to_string())
}

/// A record with one row.
pub fn record(number: u32, offset: i64, time: Time) -> RowsRecord {
    let columns = vec![Column::F32(vec![x_of(offset)])];
    RowsRecord { offset: Offset(offset), log_time: None, key: key(number).into(), axis: 0, times: vec![time], columns }
}

/// What a record has.
pub fn x_of(offset: i64) -> f32 {
    (offset % 1000) as f32
}
