//! States that last over a stop in order: what comes out after it is what would have come out without it, and what cannot
//! be gone on with is refused. `GRISTMILL_STOPS` says how many stops at random rows (100), `GRISTMILL_SEED` where to begin.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gristmill::in_process::{Collected, FeedSource, Feeder, Output, feed};
use gristmill::registry::disk::{Disk, SystemDisk};
use gristmill::state::{RefusedState, RestoreReport, StateFolder, check};
use gristmill::topology::{Accepts, Node, Topology, previous, provide, sensor, sink};
use gristmill::traits::source::{Axes, PollLimits, Polled, RowsRecord};
use gristmill::traits::{Operator, Outputs, RowError, Rows, Source, SourceError};
use gristmill::words::{Column, ElementType, Offset, Time};
use gristmill::{Handle, Runtime, StartError, Stream};
use gristmill_tests::interpreter::compare::assert_same;
use gristmill_tests::interpreter::random::Random;
use gristmill_tests::interpreter::{engine, generate};
use gristmill_tests::support::setting::number;

#[test]
fn a_stop_and_a_start_at_any_row_change_nothing() {
    let (most, mut seed) = (number("GRISTMILL_STOPS", 100), number("GRISTMILL_SEED", 1));
    let mut stops = 0;
    while stops < most {
        let mut case = generate::case(seed);
        let mut random = Random::new(seed);
        case.engine.stops = (0..random.between(1, 12)).map(|_| random.below(case.log.len())).collect();
        case.engine.stops.sort_unstable();
        stops += case.breaks().len().saturating_sub(case.deploy_before.len()) as u64;
        let ran = engine::run(&case);
        assert_same(&case, &engine::expected(&case, &ran), &ran.outcome);
        seed += 1;
    }
    eprintln!("{stops} stops over the cases before {seed}");
}

const X: Stream<f32> = Stream::new("x");
const SUM: Stream<f64> = Stream::new("sum");
const LAST: Stream<f32> = Stream::new("last");

/// The sum of all rows so far.
#[derive(Debug)]
struct Total {
    version: u32,
}

impl Operator for Total {
    type State = f64;

    fn name(&self) -> &'static str {
        "total"
    }

    fn parameters(&self) -> String {
        String::new()
    }

    fn state_version(&self) -> u32 {
        self.version
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) -> f64 {
        0.0
    }

    fn run(&self, state: &mut f64, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        for (row, x) in rows.f32(0).iter().enumerate() {
            *state += f64::from(*x);
            out.f64(0)[row] = *state;
        }
        Ok(())
    }
}

impl Accepts<(f32,), (f64,)> for Total {}

fn total(version: u32) -> Node {
    provide(SUM).needs(X).by(Total { version })
}

/// The row before, by the version of the closure.
fn last(version: u32) -> Node {
    provide(LAST).needs((X, previous(X, 0.0))).by(|_: f32, before: f32| before).version(version)
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("state-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn axes() -> Axes {
    Axes::Declared(vec![vec![("x".into(), ElementType::F32)]])
}

fn record(key: &str, offset: i64) -> RowsRecord {
    RowsRecord {
        offset: Offset(offset),
        log_time: None,
        key: key.into(),
        axis: 0,
        times: vec![Time::from_secs(offset + 1)],
        columns: vec![Column::F32(vec![offset as f32 + 1.0])],
    }
}

/// A system whose states last.
struct Mill {
    handle: Handle,
    feeder: Feeder,
    out: Collected,
}

impl Mill {
    async fn start(folder: &Path, nodes: [Node; 2], refused: RefusedState) -> Result<Self, StartError> {
        let (feeder, source) = feed(axes());
        Self::start_with(folder, nodes, refused, feeder, source).await
    }

    async fn start_with(
        folder: &Path,
        nodes: [Node; 2],
        refused: RefusedState,
        feeder: Feeder,
        source: impl Source,
    ) -> Result<Self, StartError> {
        let store = StateFolder::open(folder).expect("the folder is free");
        Self::start_on(store, nodes, refused, feeder, source).await
    }

    async fn start_on(
        store: StateFolder,
        nodes: [Node; 2],
        refused: RefusedState,
        feeder: Feeder,
        source: impl Source,
    ) -> Result<Self, StartError> {
        let out = Collected::default();
        let topology = Topology::new("pump").with(sensor(X)).with_all(nodes).with(sink("out").needs(SUM).and(LAST));
        let builder = Runtime::builder().topology(topology).source(source).sink("out", out.clone()).shards(2);
        let handle = builder.state(store).refused_state(refused).start().await?;
        Ok(Self { handle, feeder, out })
    }

    async fn rows(&self, partition: u32, key: &str, offsets: std::ops::Range<i64>) {
        let records = offsets.map(|offset| record(key, offset)).collect();
        self.feeder.send(partition, records).await.expect("it runs");
        self.feeder.taken().await.expect("it runs");
        self.handle.settled().await;
    }

    /// The sums that came out, and the values before.
    fn values(&self, key: &str) -> (Vec<f64>, Vec<f64>) {
        let written = self.out.take();
        let of = |stream: &str| -> Vec<f64> {
            let of = |output: &&Output| &*output.stream == stream && &*output.key == key;
            written.iter().filter(of).map(|output| output.value.as_f64().expect("a number")).collect()
        };
        (of("sum"), of("last"))
    }

    fn restored(&self) -> RestoreReport {
        self.handle.restored().remove(0)
    }
}

fn nodes() -> [Node; 2] {
    [total(1), last(1)]
}

/// Five rows of two keys in two partitions, stopped in order.
async fn saved(folder: &Path) {
    let mill = Mill::start(folder, nodes(), RefusedState::Stop).await.expect("it starts");
    mill.rows(0, "a", 0..5).await;
    mill.rows(7, "b", 0..5).await;
    mill.handle.stop().await.expect("it stops in order");
}

/// What a start that is refused says.
async fn refused(folder: &Path, nodes: [Node; 2]) -> String {
    match Mill::start(folder, nodes, RefusedState::Stop).await {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it starts"),
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("saved/pump.state")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_goes_on_with_what_the_stop_saved_and_says_so() {
    let folder = folder("plain");
    saved(&folder).await;
    let mill = Mill::start(&folder, nodes(), RefusedState::Stop).await.expect("it starts");
    let report = mill.restored();
    assert_eq!((report.found, report.waiting, report.dropped, report.refused), (2, vec![0, 7], vec![], vec![]));
    mill.rows(0, "a", 5..6).await;
    assert_eq!(mill.values("a"), (vec![21.0], vec![5.0]));
    let report = mill.restored();
    assert_eq!((report.keys, report.partitions, report.waiting), (1, vec![(0, Offset(5))], vec![7]));
    mill.handle.stop().await.expect("it stops in order");
    // Nothing of the other partition came: its state is saved again as it was.
    let mill = Mill::start(&folder, nodes(), RefusedState::Stop).await.expect("it starts");
    mill.rows(7, "b", 5..6).await;
    mill.rows(0, "a", 6..7).await;
    assert_eq!(mill.values("b"), (vec![21.0], vec![5.0]), "state of the partition that was not read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_leaves_nothing_that_a_start_would_take() {
    let folder = folder("killed");
    saved(&folder).await;
    {
        let mill = Mill::start(&folder, nodes(), RefusedState::Stop).await.expect("it starts");
        assert_eq!(StateFolder::look(&folder).expect("a folder").files().expect("it is read").len(), 1);
        mill.rows(0, "a", 5..6).await;
        // As it would be found if the process were killed now.
        assert_eq!(StateFolder::look(&folder).expect("a folder").files().expect("it is read"), []);
        let copy = folder.with_extension("copy");
        let _ = std::fs::remove_dir_all(&copy);
        for part in ["saved", "untold", "previous", "aside"] {
            std::fs::create_dir_all(copy.join(part)).expect("a folder");
        }
        std::fs::copy(folder.join("format"), copy.join("format")).expect("a copy");
        std::fs::copy(folder.join("previous/pump.state"), copy.join("previous/pump.state")).expect("a copy");
        let next = Mill::start(&copy, nodes(), RefusedState::Stop).await.expect("it starts");
        let report = next.restored();
        assert!(report.interrupted && report.found == 0, "{report}");
        assert!(report.to_string().contains("did not stop in order"), "{report}");
        next.rows(0, "a", 6..7).await;
        assert_eq!(next.values("a").0, [7.0], "it begins without state");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_was_moved_is_refused_by_name_with_both_numbers() {
    for moved in [4, 6] {
        let folder = folder("moved");
        saved(&folder).await;
        let mill = Mill::start(&folder, nodes(), RefusedState::Stop).await.expect("where it begins is not known yet");
        mill.rows_unsettled(0, "a", moved).await;
        let error = mill.handle.finished().await.expect_err("it does not go on").to_string();
        let said = format!("partition 0 begins at offset {moved}, but its state goes to offset 5");
        assert!(error.contains(&said) && error.contains("--state-refused begin-anew"), "{error}");
        assert_eq!(mill.values("a").0, Vec::<f64>::new(), "no row was computed");
        drop(mill);
        let mill = Mill::start(&folder, nodes(), RefusedState::BeginAnew).await.expect("it starts");
        mill.rows(0, "a", moved..moved + 1).await;
        mill.rows(7, "b", 5..6).await;
        assert_eq!(mill.values("b").0, [21.0], "what is not refused goes on");
        let report = mill.restored();
        assert!(report.refused.len() == 1 && report.refused[0].contains(&said), "{report}");
        assert_eq!((report.keys, report.partitions), (1, vec![(7, Offset(5))]));
    }
}

impl Mill {
    async fn rows_unsettled(&self, partition: u32, key: &str, offset: i64) {
        self.feeder.send(partition, vec![record(key, offset)]).await.expect("it runs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_read_again_take_no_position_back() {
    let folder = folder("again");
    let mill = Mill::start(&folder, nodes(), RefusedState::Stop).await.expect("it starts");
    mill.rows(0, "a", 0..10).await;
    mill.rows(0, "a", 3..5).await;
    mill.handle.stop().await.expect("it ends in order");
    drop(mill);
    let mill = Mill::start(&folder, nodes(), RefusedState::Stop).await.expect("it starts");
    mill.rows(0, "a", 10..11).await;
    assert_eq!(mill.values("a"), (vec![66.0], vec![10.0]));
    mill.handle.stop().await.expect("nothing is missing between them");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_another_node_is_dropped_and_listed_and_the_others_stay() {
    let folder = folder("changed");
    saved(&folder).await;
    let mill = Mill::start(&folder, [total(1), last(2)], RefusedState::Stop).await.expect("it starts");
    mill.rows(0, "a", 5..6).await;
    assert_eq!(mill.values("a"), (vec![21.0], vec![0.0]));
    let dropped = mill.restored().dropped;
    assert!(dropped.len() == 1 && &*dropped[0].0 == "last" && dropped[0].1 == 2, "{dropped:?}");
    assert!(mill.restored().to_string().contains("dropped: `last` of 2 keys: it is another node now"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_another_version_is_refused_with_both_and_only_it() {
    let folder = folder("version");
    saved(&folder).await;
    let error = refused(&folder, [total(2), last(1)]).await;
    assert!(error.contains("node `sum` of 2 keys: its state is of version 1"), "{error}");
    assert!(error.contains("`total` of this program reads version 2"), "{error}");
    let mill = Mill::start(&folder, [total(2), last(1)], RefusedState::BeginAnew).await.expect("it was told to");
    mill.rows(0, "a", 5..6).await;
    assert_eq!(mill.values("a"), (vec![6.0], vec![5.0]), "what is not refused goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_old_newer_foreign_or_damaged_are_refused_with_both_versions() {
    let folder = folder("files");
    saved(&folder).await;
    let whole = std::fs::read(file(&folder)).expect("it was saved");
    let with = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let cases: [(&str, Vec<u8>, &[&str]); 6] = [
        ("old", with(4, 0), &["format version 0", "reads version 1"]),
        ("newer", with(4, 9), &["format version 9", "reads version 1"]),
        ("schema", with(8, whole[8] ^ 1), &["of schema", "reads schema"]),
        ("foreign", b"{\"revision\": 1}".to_vec(), &["not with `GRST`", "it says no format", "reads format 1"]),
        ("damaged", with(40, whole[40] ^ 1), &["checksum", "it says format 1", "reads format 1"]),
        ("cut off", whole[..whole.len() - 1].to_vec(), &["cut off", "it says format 1", "reads format 1"]),
    ];
    for (name, bytes, said) in cases {
        std::fs::write(file(&folder), &bytes).expect("it is written");
        let error = refused(&folder, nodes()).await;
        assert!(said.iter().all(|said| error.contains(said)), "{name}: {error}");
        assert!(error.contains("--state-refused begin-anew") && error.contains("pump.state"), "{name}: {error}");
        assert_eq!(std::fs::read(file(&folder)).expect("it stays"), bytes, "{name}");
    }
    let mill = Mill::start(&folder, nodes(), RefusedState::BeginAnew).await.expect("it was told to");
    assert_eq!(mill.restored().refused.len(), 1);
    mill.rows(0, "a", 5..6).await;
    assert_eq!(mill.values("a").0, [6.0], "it begins without state");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bit_and_every_length_of_a_file_is_checked() {
    let folder = folder("bits");
    saved(&folder).await;
    let whole = std::fs::read(file(&folder)).expect("it was saved");
    assert_eq!((check(&whole).keys, check(&whole).damage), (2, vec![]));
    for at in 0..whole.len() {
        assert!(!check(&whole[..at]).damage.is_empty(), "cut at {at}");
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            assert!(!check(&flipped).damage.is_empty(), "bit {bit} of byte {at}");
            if bit == at % 8 && at % 16 == 0 {
                std::fs::write(file(&folder), &flipped).expect("it is written");
                let error = refused(&folder, nodes()).await;
                assert!(error.contains("the saved state of `pump` is refused"), "byte {at}: {error}");
            }
        }
    }
    let twice = [&whole[..], &whole[..]].concat();
    assert!(!check(&twice).damage.is_empty(), "a file behind a file");
}

/// A source whose other side hears nothing when it says how far it is.
struct Deaf {
    source: FeedSource,
    began: Option<Offset>,
}

impl Source for Deaf {
    fn axes(&self) -> Axes {
        self.source.axes()
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        self.source.poll(limits)
    }

    fn began_at(&self, _partition: u32) -> Option<Offset> {
        self.began
    }

    fn commit(&mut self, _partition: u32, _next: Offset) -> Result<(), SourceError> {
        Err(SourceError { reason: "nobody hears".to_owned(), retry: true })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_was_not_told_is_passed_over_and_not_done_twice() {
    let folder = folder("deaf");
    let (feeder, source) = feed(axes());
    let deaf = Deaf { source, began: None };
    let mill = Mill::start_with(&folder, nodes(), RefusedState::Stop, feeder, deaf).await.expect("it starts");
    mill.rows(0, "a", 0..5).await;
    let error = mill.handle.stop().await.expect_err("it could not be told").to_string();
    assert!(error.contains("nobody hears"), "{error}");
    drop(mill);
    assert!(folder.join("untold/pump.state").exists(), "the state is there all the same");
    let (feeder, source) = feed(axes());
    let deaf = Deaf { source, began: Some(Offset(2)) };
    let mill = Mill::start_with(&folder, nodes(), RefusedState::Stop, feeder, deaf).await.expect("it starts");
    mill.rows(0, "a", 2..4).await;
    mill.rows(0, "a", 4..7).await;
    assert_eq!(mill.values("a"), (vec![21.0, 28.0], vec![5.0, 6.0]));
}

/// A disk that breaks after so many steps, in the middle of what is written.
struct Breaking(Mutex<usize>);

impl Breaking {
    fn step(&self) -> io::Result<()> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("broken"))?;
        Ok(())
    }
}

impl Disk for Breaking {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step().and_then(|()| SystemDisk.write(path, bytes))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        SystemDisk.append(path, &bytes[..bytes.len() / 2])?;
        self.step().and_then(|()| SystemDisk.append(path, &bytes[bytes.len() / 2..]))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| SystemDisk.sync(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step().and_then(|()| SystemDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| SystemDisk.remove(path))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_breaks_at_any_step_leaves_a_whole_state_or_none_and_the_stop_says_so() {
    let (mut whole, mut none) = (0, 0);
    for steps in 0.. {
        let folder = folder("breaking");
        drop(StateFolder::open(&folder).expect("it is free"));
        let disk = Arc::new(Breaking(Mutex::new(steps)));
        let store = StateFolder::open_on(disk.clone(), &folder).expect("nothing is written");
        let (feeder, source) = feed(axes());
        let mill = Mill::start_on(store, nodes(), RefusedState::Stop, feeder, source).await.expect("it starts");
        mill.rows(0, "a", 0..5).await;
        let stopped = mill.handle.stop().await;
        drop(mill);
        let files = StateFolder::look(&folder).expect("a folder").files().expect("it is read");
        match (&stopped, &files[..]) {
            (Err(error), []) => {
                assert!(error.to_string().contains("were not saved"), "{error}");
                none += 1;
            }
            // It is there, though not all that comes after could be done.
            (_, [(file, _)]) => {
                assert_eq!(check(&std::fs::read(file).expect("a file")).damage, []);
                whole += 1;
            }
            (stopped, files) => panic!("{steps} steps: {stopped:?} and {files:?}"),
        }
        if stopped.is_ok() {
            break;
        }
    }
    assert!(none > 3 && whole > 1, "{none} times none, {whole} times a whole one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_belongs_to_one_process_and_to_one_layout() {
    let folder = folder("folder");
    let held = StateFolder::open(&folder).expect("it is free");
    assert!(StateFolder::open(&folder).expect_err("it is held").to_string().contains("used by another process"));
    drop(held);
    std::fs::write(folder.join("format"), "gristmill-state 2\n").expect("it is written");
    let error = StateFolder::open(&folder).expect_err("another layout").to_string();
    assert!(error.contains("says `gristmill-state 2`") && error.contains("reads `gristmill-state 1`"), "{error}");
}
