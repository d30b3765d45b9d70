//! What could not be used is kept, and can be replayed after a fix: a node's rows are computed again apart from the
//! streams and reach the sinks with their own times and positions, records that could not be decoded come to the shards
//! again. Each letter is replayed once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use gristmill::deployer::Deployer;
use gristmill::in_process::Collected;
use gristmill::letters::LetterQuery;
use gristmill::registry::RegistryFolder;
use gristmill::topology::{IntoNode, Node, Registry, Topology, provide, sensor, sink};
use gristmill::traits::source::{Axes, AxisStreams, Batch, PollLimits, Polled, RawRecord, RowsRecord};
use gristmill::traits::{Decode, Records, Source, SourceError};
use gristmill::words::{Column, Key, Offset, Time};
use gristmill::{Runtime, Stream};
use gristmill_admin::Limits;
use gristmill_operators::rolling::{self, rows};
use gristmill_tests::support::site::{Answer, MEAN, RMS, Site, folder};
use serde_json::{Value, json};

const WEAR: Stream<f32> = Stream::new("wear");
const RISK: Stream<f32> = Stream::new("risk");
const SLOW: Stream<f32> = Stream::new("wear.slow");
const TREND: Stream<f32> = Stream::new("trend");

/// Wear fails on strong vibration; risk reads it in the same row, and the mean keeps a state.
fn plant(strongest: f32) -> Topology {
    Topology::new("pump")
        .with(sensor(RMS))
        .with(sensor(MEAN))
        .with(wear(strongest))
        .with(provide(RISK).needs((WEAR, MEAN)).by(|wear: f32, mean: f32| wear + mean))
        .with(provide(SLOW).needs(WEAR).by(rolling::mean(rows(3))))
        .with(provide(TREND).needs((SLOW, RISK)).by(|slow: f32, risk: f32| risk - slow))
        .with(sink("out").needs(WEAR).and(RISK).and(SLOW).and(TREND))
}

fn wear(strongest: f32) -> Node {
    let wear = move |rms: f32| {
        assert!(rms < strongest, "{rms} mm/s is more than a bearing survives");
        rms * 2.0
    };
    provide(WEAR).needs(RMS).by(wear).version(strongest as u32).into_node()
}

async fn row(site: &mut Site, rms: f32) {
    let columns = vec![Column::F32(vec![rms]), Column::F32(vec![40.0])];
    let (offset, times) = (Offset(site.next), vec![Time::from_secs(site.next)]);
    let row = RowsRecord { offset, log_time: None, key: "P1".into(), axis: 0, times, columns };
    site.next += 1;
    site.feeder.send(0, vec![row]).await.expect("it runs");
    site.feeder.taken().await.expect("it runs");
    site.deployer.handle().settled().await;
}

fn replay(site: &Site, body: &Value) -> Answer {
    let token = Some(&*site.tokens[1]);
    site.send("POST", "/v1/dead-letters/replay", token, &[], body.to_string().as_bytes())
}

fn written(site: &Site) -> Vec<(String, i64, f64)> {
    let values = site.values.take();
    let number = |value: &gristmill::Value| value.as_f64().expect("a number");
    values.iter().map(|value| (value.stream.to_string(), value.cause.offset.0, number(&value.value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_node_failed_on_are_computed_after_a_fix() {
    let folder = folder("dead_letters");
    let mut site = Site::start_on(&folder, Limits::default(), plant(5.0), &[RMS, MEAN]).await;
    for rms in [1.0, 10.0, 2.0, 20.0] {
        row(&mut site, rms).await;
    }
    site.values.take();
    let listed = site.get("/v1/dead-letters").done();
    let letter = &listed["letters"][1];
    assert_eq!((listed["letters"].as_array().map(Vec::len), &listed["more"]), (Some(2), &json!(false)));
    assert_eq!((&letter["id"], &letter["offset"], &letter["node"]), (&json!(1), &json!(1), &json!("wear")));
    assert_eq!(letter["values"], json!({ "vibration.rms": 10.0, "temperature.mean": 40.0 }));
    assert!(letter["reason"].as_str().is_some_and(|reason| reason.contains("10 mm/s")), "{letter}");

    let still = replay(&site, &json!({ "node": "wear" })).done();
    assert_eq!(still["replayed"], json!([]));
    assert!(still["refused"][1]["reason"].as_str().is_some_and(|reason| reason.contains("panicked")), "{still}");
    assert_eq!(written(&site), []);

    site.deployer.handle().apply(wear(100.0)).await.expect("a fix");
    let done = replay(&site, &json!({ "ids": [1, 77] })).done();
    let row = json!({ "id": 1, "revision": 2, "values": 2, "left_out": ["wear.slow", "trend"], "failed": [] });
    assert_eq!(done["replayed"], json!([row]), "{done}");
    assert_eq!(done["refused"][0]["id"], 77);
    assert_eq!(written(&site), [("risk".to_owned(), 1, 60.0), ("wear".to_owned(), 1, 20.0)]);

    let again = replay(&site, &json!({ "ids": [1] })).done();
    assert_eq!(again["refused"][0]["reason"], "it was replayed under revision 2");
    assert_eq!(replay(&site, &json!({ "key": "P1" })).done()["replayed"][0]["id"], 2);
    assert_eq!(site.get("/v1/dead-letters").done()["letters"], json!([]));
    let all = site.get("/v1/dead-letters?replayed&node=wear&before=2").done();
    assert_eq!(all["letters"][0]["replayed"]["who"], "deployer");
    for body in [json!({}), json!({ "ids": "all" }), json!({ "nodes": "wear" }), json!([])] {
        assert_eq!(replay(&site, &body).code(), "bad-body", "{body}");
    }
    site.end().await;

    // They are kept over a restart, with what was replayed.
    let site = Site::start_on(&folder, Limits::default(), plant(5.0), &[RMS, MEAN]).await;
    assert_eq!(site.get("/v1/dead-letters?replayed=true").done()["letters"].as_array().map(Vec::len), Some(2));
    assert_eq!(replay(&site, &json!({ "node": "wear" })).done()["replayed"], json!([]));
    site.end().await;
}

/// Bug: a replay waited for the subscriber, for 30 s, and was refused although other sinks had its values. Fix: a subscriber,
/// who has every row from its position on, is not given them.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_who_does_not_read_keeps_no_replay_from_its_end() {
    let mut site = Site::start_on(&folder("dead_unread"), Limits::default(), plant(5.0), &[RMS, MEAN]).await;
    row(&mut site, 10.0).await;
    let handle = site.deployer.handle();
    handle.apply(wear(100.0)).await.expect("a fix");
    let mut unread = handle.subscribe(&RISK).await.expect("it is provided");
    site.values.take();
    let done = replay(&site, &json!({ "node": "wear" })).done();
    assert_eq!((&done["replayed"][0]["id"], &done["refused"]), (&json!(1), &json!([])), "{done}");
    assert_eq!(written(&site), [("risk".to_owned(), 0, 60.0), ("wear".to_owned(), 0, 20.0)]);
    site.end().await;
    assert!(unread.next().await.is_none(), "it is of a row before its position");
}

/// Takes numbers in quotes only after it was mended.
struct Numbers {
    mended: AtomicBool,
}

impl Decode for Numbers {
    fn decode(&self, record: &RawRecord, _axes: &[AxisStreams], rows: &mut Vec<RowsRecord>) -> Result<(), String> {
        let text = String::from_utf8_lossy(&record.payload);
        let bare = if self.mended.load(Ordering::Relaxed) { text.trim_matches('"') } else { &text };
        let number = bare.parse().map_err(|_| format!("`{text}` is no number"))?;
        rows.push(RowsRecord {
            offset: record.offset,
            log_time: None,
            key: Key::from("P1"),
            axis: 0,
            times: vec![Time::from_secs(record.offset.0)],
            columns: vec![Column::F32(vec![number])],
        });
        Ok(())
    }
}

struct Lines {
    decoder: Arc<Numbers>,
    lines: Receiver<(i64, &'static str)>,
    committed: Arc<std::sync::Mutex<Vec<Offset>>>,
}

impl Source for Lines {
    fn axes(&self) -> Axes {
        Axes::default()
    }

    fn decoder(&self) -> Option<Arc<dyn Decode>> {
        Some(Arc::clone(&self.decoder) as Arc<dyn Decode>)
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        match self.lines.recv_timeout(limits.wait) {
            Ok((offset, line)) => {
                let payload = line.as_bytes().into();
                let record = RawRecord { offset: Offset(offset), log_time: None, key: None, payload };
                Ok(Polled::Batches(vec![Batch::new(7, Records::Raw(vec![record]))]))
            }
            Err(RecvTimeoutError::Timeout) => Ok(Polled::Batches(Vec::new())),
            Err(RecvTimeoutError::Disconnected) => Ok(Polled::End),
        }
    }

    fn commit(&mut self, _partition: u32, next: Offset) -> Result<(), SourceError> {
        self.committed.lock().expect("nobody panics").push(next);
        Ok(())
    }
}

async fn settled(
    lines: &SyncSender<(i64, &'static str)>,
    deployer: &Deployer,
    sent: &[(i64, &'static str)],
    all: usize,
) {
    sent.iter().for_each(|line| lines.send(*line).expect("it runs"));
    for _ in 0..1_000 {
        deployer.handle().settled().await;
        let report = deployer.handle().report(None).await.expect("it runs");
        if report.intake.rows as usize + report.intake.refused as usize == all {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{all} records were not taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_could_not_be_decoded_come_again() {
    let folder = folder("dead_records");
    let decoder = Arc::new(Numbers { mended: AtomicBool::new(false) });
    let (lines, receiver) = sync_channel(16);
    let committed = Arc::default();
    let source = Lines { decoder: Arc::clone(&decoder), lines: receiver, committed: Arc::clone(&committed) };
    let values = Collected::default();
    let topology = Topology::new("pump").with(sensor(RMS)).with(sink("out").needs(RMS));
    let builder = Runtime::builder().topology(topology).source(source).sink("out", values.clone()).shards(1);
    let revisions = RegistryFolder::open(&folder, Time(0)).expect("the folder opens");
    let deployer = Deployer::start(builder, revisions, Registry::new()).await.expect("it starts");

    settled(&lines, &deployer, &[(1, "\"1\""), (2, "\"2\"")], 2).await;
    let all = LetterQuery::default();
    let before = deployer.replay(&all, "me").await.expect("it is tried");
    assert_eq!((before.replayed.len(), before.refused.len()), (0, 2));
    assert_eq!(before.refused[0], (1, "`\"1\"` is no number".to_owned()));
    decoder.mended.store(true, Ordering::Relaxed);
    let later = LetterQuery { after: Some(1), ..LetterQuery::default() };
    assert_eq!(deployer.letters().oldest(&later, 9).expect("they are read").0.len(), 1);
    let only = LetterQuery { ids: vec![2], ..LetterQuery::default() };
    assert_eq!(deployer.replay(&only, "me").await.expect("it is tried").replayed.len(), 1);
    // One of an earlier time is late by now, as any row would be.
    assert_eq!(deployer.replay(&all, "me").await.expect("it is tried").replayed.len(), 1);
    settled(&lines, &deployer, &[(3, "3")], 5).await;
    let took: Vec<_> = values.take().iter().map(|value| (value.cause.offset.0, value.value.to_string())).collect();
    assert_eq!(took, [(2, "2".to_owned()), (3, "3".to_owned())]);
    assert_eq!(deployer.handle().report(None).await.expect("it runs").intake.late, 1);
    drop(lines);
    deployer.handle().finished().await.expect("it ends in order");
    // A record that comes again moves no position.
    let positions: Vec<Offset> = committed.lock().expect("nobody panics").clone();
    assert!(positions.is_sorted() && positions.last() == Some(&Offset(4)), "{positions:?}");
}
