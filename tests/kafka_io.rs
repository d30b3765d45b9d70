//! Kafka in and out, without the runtime: what is committed is done, what is done is there, and errors have names.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gristmill::traits::sink::{DeadLetter, DeadLetters, SinkColumn};
use gristmill::traits::source::{AxisStreams, PollLimits, Polled, RawRecord};
use gristmill::traits::{Done, Records, Sink, SinkFrame, Source, SourceError};
use gristmill::words::{
    Cause, Column, ElementType, Key, NodeId, Offset, PartitionIndex, Revision, ShardIndex, StreamName, Time, Traces,
};
use gristmill_operators::kafka::{self, KafkaSource};
use gristmill_tests::support::kafka::{Broker, total_lag};
use gristmill_tests::support::kafka_clients::Reader;

const LIMITS: PollLimits = PollLimits { records: 1_000, bytes: 1 << 20, wait: Duration::from_millis(100) };
/// Polls of 100 ms until a test gives up.
const POLLS_MAX: usize = 300;
/// How long a broker may take to be missed, or to be back.
const AWAY_MAX: Duration = Duration::from_secs(60);

fn source(broker: &Broker, topic: &str, group: &str) -> KafkaSource {
    kafka::source(topic)
        .brokers(&broker.bootstrap())
        .group(group)
        .json(|r| r.key("key").time("time").reading("stream", "value"))
}

/// Polls until `count` records have come: partition, offset, key and payload of each.
fn read(source: &mut KafkaSource, count: usize) -> Vec<(u32, i64, String, String)> {
    let mut records = Vec::new();
    for _ in 0..POLLS_MAX {
        let Polled::Batches(batches) = source.poll(LIMITS).expect("a poll") else { panic!("a topic has no end") };
        for batch in batches {
            let Records::Raw(raw) = batch.records else { panic!("Kafka's records are raw") };
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            records.extend(raw.into_iter().map(|record| {
                (
                    batch.partition,
                    record.offset.0,
                    text(record.key.as_deref().unwrap_or_default()),
                    text(&record.payload),
                )
            }));
        }
        if records.len() >= count {
            assert_eq!(records.len(), count);
            return records;
        }
    }
    panic!("{} of {count} records came", records.len());
}

/// The error that the source ends with.
fn error_of(mut source: KafkaSource) -> SourceError {
    (0..POLLS_MAX).find_map(|_| source.poll(LIMITS).err()).expect("an error")
}

/// A word that is counted when it is said.
fn counting(done: &Arc<AtomicUsize>) -> Done {
    let done = done.clone();
    Done::new(move || {
        done.fetch_add(1, Ordering::AcqRel);
    })
}

/// Writes `rows` values of each key; counts frames that are done.
fn write(sink: &dyn Sink, keys: &[&str], rows: usize, done: &Arc<AtomicUsize>) {
    let mut writer = sink.open(ShardIndex(0)).expect("the sink opens");
    let (stream, node) = (StreamName::from("wear"), NodeId::from("wear"));
    for (offset, key) in keys.iter().enumerate() {
        let key = Key::from(*key);
        let values = Column::F32((0..rows).map(|row| row as f32 / 2.0).collect());
        let times: Vec<Time> = (0..rows as i64).map(|row| Time::from_millis(1_700_000_000_000 + row)).collect();
        let causes: Vec<Cause> = (0..rows as u32).map(|row| Cause { offset: Offset(offset as i64), row }).collect();
        let column = SinkColumn {
            key: &key,
            stream: &stream,
            node: &node,
            artifact: None,
            times: &times,
            causes: &causes,
            values: values.as_ref(),
        };
        let frame = SinkFrame {
            revision: Revision(3),
            source: "sensors",
            partition: PartitionIndex(0),
            source_partition: 0,
            columns: &[column],
            traces: &Traces::default(),
        };
        writer.write(&frame, counting(done));
    }
}

#[test]
fn what_the_sink_writes_the_source_reads_on_from_where_it_committed() {
    let broker = Broker::start();
    broker.create_topic("wear", 2);
    let (sink, done) = (kafka::sink("wear").brokers(&broker.bootstrap()), Arc::default());
    write(&sink, &["P1", "P2", "P3"], 100, &done);
    sink.flush().expect("all is delivered");
    assert_eq!(done.load(Ordering::Acquire), 3);
    assert_eq!(Reader::new(&broker.bootstrap(), "wear", 2).read(|_, _, _, _| ()), 300);

    let mut first = source(&broker, "wear", "readers");
    let records = read(&mut first, 300);
    let decoder = first.decoder().expect("JSON");
    let axes = [AxisStreams { streams: vec![(StreamName::from("wear"), ElementType::F32)] }];
    for key in ["P1", "P2", "P3"] {
        let of_key: Vec<_> = records.iter().filter(|(_, _, of, _)| of == key).collect();
        assert!(
            of_key.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 < pair[1].1),
            "in order, in one partition"
        );
        for (row, (_, offset, _, payload)) in of_key.iter().enumerate() {
            let record = gristmill::traits::RawRecord {
                offset: Offset(*offset),
                log_time: None,
                key: None,
                payload: payload.as_bytes().into(),
            };
            let mut rows = Vec::new();
            decoder.decode(&record, &axes, &mut rows).expect("our own rows are read");
            assert_eq!((&*rows[0].key, rows[0].times[0]), (key, Time::from_millis(1_700_000_000_000 + row as i64)));
        }
    }

    // Half of each partition is done.
    let mut left = 300;
    for partition in 0..2 {
        let end = records.iter().filter(|record| record.0 == partition).count() as i64;
        first.commit(partition, Offset(end / 2)).expect("a commit");
        left -= (end / 2) as usize;
    }
    first.close().expect("a close");
    assert_eq!(total_lag(&broker.consumer_group_lag("readers")), left as u64);

    let mut second = source(&broker, "wear", "readers");
    let rest = read(&mut second, left);
    for partition in 0..2 {
        let end = records.iter().filter(|record| record.0 == partition).count() as i64;
        if let Some(first) = rest.iter().find(|record| record.0 == partition) {
            assert_eq!(first.1, end / 2);
        }
        second.commit(partition, Offset(end)).expect("a commit");
    }
    // The next poll sends it, without a close.
    for _ in 0..10 {
        second.poll(LIMITS).expect("a poll");
    }
    assert_eq!(total_lag(&broker.consumer_group_lag("readers")), 0);
}

#[test]
fn members_of_a_group_share_partitions_and_hand_over_what_is_done() {
    let broker = Broker::start();
    broker.create_topic("a", 2);
    broker.create_topic("b", 1);
    broker.console_produce("b", &[("k", "b0")]);
    let both = || {
        let described = kafka::source(["a", "b"]).brokers(&broker.bootstrap()).group("g");
        described.json(|r| r.key("key").time("time"))
    };
    let mut first = both();
    let records = read(&mut first, 1);
    assert_eq!((first.partition_name(records[0].0), records[0].3.as_str()), ("b/0".to_owned(), "b0"));
    first.commit(records[0].0, Offset(1)).expect("a commit");

    let mut second = both();
    for _ in 0..60 {
        assert!(matches!(first.poll(LIMITS), Ok(Polled::Batches(batches)) if batches.is_empty()));
        assert!(matches!(second.poll(LIMITS), Ok(Polled::Batches(batches)) if batches.is_empty()));
    }
    let many: Vec<(String, String)> = (0..40).map(|number| (format!("k{number}"), number.to_string())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(key, value)| (&**key, &**value)).collect();
    broker.console_produce("a", &many);
    broker.console_produce("b", &many);
    let (mut of_first, mut of_second) = (0, 0);
    for _ in 0..POLLS_MAX {
        for (source, count) in [(&mut first, &mut of_first), (&mut second, &mut of_second)] {
            let Ok(Polled::Batches(batches)) = source.poll(LIMITS) else { panic!("a poll failed") };
            for batch in batches {
                let Records::Raw(records) = batch.records else { panic!("raw") };
                *count += records.len();
                source.commit(batch.partition, Offset(records[records.len() - 1].offset.0 + 1)).expect("a commit");
            }
        }
        if of_first + of_second >= 80 {
            break;
        }
    }
    assert!(of_first > 0 && of_second > 0 && of_first + of_second == 80, "{of_first} and {of_second}");
    first.close().expect("a close");
    drop(first);
    for _ in 0..50 {
        assert!(
            matches!(second.poll(LIMITS), Ok(Polled::Batches(batches)) if batches.is_empty()),
            "nothing came twice"
        );
    }
    second.close().expect("a close");
    assert_eq!(total_lag(&broker.consumer_group_lag("g")), 0);
}

#[test]
fn a_paused_source_keeps_its_place_and_goes_on() {
    let broker = Broker::start();
    broker.create_topic("t", 1);
    broker.console_produce("t", &[("k", "0")]);
    let mut source = source(&broker, "t", "g");
    read(&mut source, 1);
    // A short pause is not told to the client, a longer one is.
    for millis in [10, 1_500] {
        source.pause(true);
        broker.console_produce("t", &[("k", "more")]);
        idle(&mut source, Duration::from_millis(millis));
        source.pause(false);
        assert_eq!(read(&mut source, 1)[0].3, "more");
    }
}

/// Bug: the client says such an error once, and where records of another partition came before it in the same poll, it was
/// lost: the partition was left unread in silence. Fix: it is told at the next poll.
#[test]
fn an_error_that_ends_the_source_is_told_behind_records_too() {
    let broker = Broker::start();
    broker.create_topic("t", 2);
    let fine: Vec<(String, &str)> = (0..500).map(|key| (format!("k{key}"), "0")).collect();
    let records: Vec<(&str, &str)> = fine.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    broker.console_produce("t", &records);
    // Until it was so once.
    for round in 0.. {
        assert!(round < 12, "no error came behind records");
        let group = format!("g{round}");
        // The group has committed what one of the partitions never had.
        let mut ahead = source(&broker, "t", &group);
        read(&mut ahead, 500);
        ahead.commit(1, Offset(100_000)).expect("a commit");
        ahead.commit(0, Offset(0)).expect("a commit");
        ahead.close().expect("a close");
        let mut reader = source(&broker, "t", &group);
        let (mut records, deadline) = (0, Instant::now() + Duration::from_secs(30));
        let error = loop {
            assert!(Instant::now() < deadline, "round {round}: nothing is said after {records} records");
            match reader.poll(LIMITS) {
                Ok(Polled::Batches(batches)) => records += batches.len(),
                Ok(Polled::End) => panic!("a topic has no end"),
                Err(error) => break error,
            }
            // Both partitions may have something by the next poll.
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(!error.retry && error.reason.contains("position-out-of-range"), "{error}");
        if records > 0 {
            break;
        }
    }
}

/// What a driver does while its source is paused.
fn idle(source: &mut KafkaSource, how_long: Duration) {
    let until = Instant::now() + how_long;
    while Instant::now() < until {
        source.idle().expect("it keeps its place");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_jam_longer_than_the_poll_interval_costs_no_place_in_the_group() {
    let broker = Broker::start();
    broker.create_topic("t", 1);
    broker.console_produce("t", &[("k", "0")]);
    let within =
        |group| source(&broker, "t", group).set("max.poll.interval.ms", "11000").set("session.timeout.ms", "6000");
    let (mut kept, mut left) = (within("kept"), within("left"));
    read(&mut kept, 1);
    read(&mut left, 1);
    kept.pause(true);
    left.pause(true);
    idle(&mut kept, Duration::from_secs(15));
    broker.console_produce("t", &[("k", "1")]);
    kept.pause(false);
    left.pause(false);
    assert_eq!(read(&mut kept, 1)[0].3, "1");
    // One that nobody calls meanwhile has left.
    let said = (0..50).find_map(|_| left.poll(LIMITS).err()).expect("it has lost its place");
    let is_named = said.reason.contains("polled-too-late: ") && said.reason.contains("max.poll.interval.ms");
    assert!(said.retry && is_named, "{said}");
}

#[test]
fn errors_have_names() {
    let broker = Broker::start();
    broker.create_topic("t", 1);
    let missing = error_of(source(&broker, "sensor", "g"));
    assert!(
        !missing.retry
            && missing.reason.contains("topic-missing: a topic is missing; create it or check the name (`sensor`)"),
        "{missing}"
    );
    let Err(missing) = kafka::sink("wears").brokers(&broker.bootstrap()).open(ShardIndex(0)) else { panic!("opened") };
    assert!(missing.reason.contains("kafka sink `wears`") && missing.reason.contains("topic-missing"), "{missing}");

    // The group has committed what the log never had.
    broker.console_produce("t", &[("k", "0"), ("k", "1")]);
    let mut ahead = source(&broker, "t", "lost");
    read(&mut ahead, 2);
    ahead.commit(0, Offset(100)).expect("a commit");
    ahead.close().expect("a close");
    let lost = error_of(source(&broker, "t", "lost"));
    let said = "`t` partition 0: committed 100, the log has 0 to 2";
    assert!(!lost.retry && lost.reason.contains(said), "{lost}");
    assert!(lost.reason.contains("position-out-of-range") && lost.reason.contains("--reset-offsets"), "{lost}");
    let mut again = source(&broker, "t", "lost").start_at(kafka::StartAt::Earliest);
    read(&mut again, 2);

    let nowhere = kafka::source("t").brokers("127.0.0.1:9").set("security.protocol", "sasl_plaintext");
    let nowhere = nowhere.set("sasl.mechanism", "PLAIN").set("sasl.username", "me").set("sasl.password", "hush");
    let nowhere = nowhere.json(|r| r.key("k").time("t"));
    let down = error_of(nowhere);
    assert!(
        down.retry && down.reason.contains("brokers-away: no broker can be reached") && !down.reason.contains("hush"),
        "{down}"
    );
}

#[test]
fn rows_wait_for_a_broker_that_is_away() {
    let mut broker = Broker::start();
    broker.create_topic("wear", 1);
    let sink = kafka::sink("wear").brokers(&broker.bootstrap()).set("queue.buffering.max.messages", "100");
    let sink = sink.flush_timeout(Duration::from_secs(1)).on_failure(|reason| eprintln!("FAILED: {reason}"));
    let done = Arc::default();
    write(&sink, &["P1"], 10, &done);
    sink.flush().expect("all is delivered");
    broker.kill();
    // Ten times what the client's queue takes: the rest waits before it, in order.
    write(&sink, &["P1", "P2"], 500, &done);
    let error = sink.flush().expect_err("the broker is away");
    assert!(error.reason.contains("1000 records were not delivered within 1s"), "{error}");
    assert!(sink.failure().is_none(), "they wait");
    assert_eq!(done.load(Ordering::Acquire), 1);
    broker.start_again();
    for attempt in 0.. {
        if sink.flush().is_ok() {
            break;
        }
        assert!(attempt < 60, "rows still wait");
    }
    assert_eq!(done.load(Ordering::Acquire), 3);
    // The topic has one partition: the order of its records is the order of each key's rows.
    let lines = read(&mut source(&broker, "wear", "g"), 1_010);
    for (key, rows) in [("P1", 510), ("P2", 500)] {
        let of_key: Vec<&str> =
            lines.iter().filter(|(_, _, of, _)| of == key).map(|(_, _, _, line)| line.as_str()).collect();
        assert_eq!(of_key.len(), rows);
        let row = |line: &str| {
            line[line.rfind("\"row\":").expect("a row") + 6..line.len() - 1].parse::<usize>().expect("a number")
        };
        assert!(of_key[rows - 500..].iter().enumerate().all(|(index, line)| row(line) == index), "in order");
    }
}

/// A broker, and a source that has read its only record.
fn one_record_read() -> (Broker, KafkaSource) {
    let broker = Broker::start();
    broker.create_topic("t", 1);
    broker.console_produce("t", &[("k", "0")]);
    let mut source = source(&broker, "t", "g");
    read(&mut source, 1);
    (broker, source)
}

/// The client says so once and is quiet then, as it is where a topic has no records.
#[test]
fn a_source_whose_brokers_went_away_says_so_until_they_are_back() {
    let (mut broker, mut source) = one_record_read();
    assert!(source.failing().is_none());
    broker.kill();
    let mut poll_until = |fails: bool| {
        let deadline = Instant::now() + AWAY_MAX;
        // An error that passes is of the brokers that are away, too.
        while source.poll(LIMITS).is_err() || source.failing().is_some() != fails {
            assert!(Instant::now() < deadline, "the source is failing: {}", !fails);
        }
        source.failing()
    };
    let said = poll_until(true).expect("they are away");
    assert!(said.retry && said.reason.contains("kafka source `t`, group `g`"), "{said}");
    let later = Instant::now() + Duration::from_secs(12);
    while Instant::now() < later {
        assert!(poll_until(true).is_some());
    }
    broker.start_again();
    assert!(poll_until(false).is_none());
}

/// With a position that is done and not committed, so that there is something to wait for.
#[test]
fn a_source_goes_though_its_brokers_are_away() {
    let (mut broker, mut source) = one_record_read();
    broker.kill();
    source.commit(0, Offset(1)).expect("it is taken note of");
    let begun = Instant::now();
    drop(source);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn a_record_that_can_never_be_delivered_is_told_and_its_frame_not_done() {
    let broker = Broker::start();
    broker.create_topic("wear", 1);
    let told: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let telling = told.clone();
    let sink = kafka::sink("wear").brokers(&broker.bootstrap()).set("message.max.bytes", "1000");
    let sink = sink.on_failure(move |reason| telling.lock().expect("a lock").push(reason.to_owned()));
    let done = Arc::default();
    write(&sink, &[&"x".repeat(2_000)], 1, &done);
    assert!(sink.flush().is_err());
    let failure = sink.failure().expect("it can not go on").reason;
    let told = told.lock().expect("a lock");
    assert_eq!(*told, [failure]);
    assert!(
        told.len() == 1 && told[0].contains("record-too-large: a record is larger than the broker takes"),
        "{told:?}"
    );
    assert_eq!(done.load(Ordering::Acquire), 0);
}

#[test]
fn dead_letters_go_to_a_topic() {
    let broker = Broker::start();
    broker.create_topic("dead", 1);
    let letters = kafka::dead_letters("dead").brokers(&broker.bootstrap()).open().expect("a topic");
    let letter = DeadLetter {
        source: "sensors".into(),
        source_partition: 1,
        cause: Cause { offset: Offset(5), row: 0 },
        key: Some("P1".into()),
        node: None,
        time: None,
        reason: "no time".to_owned(),
        record: Some(Box::new(RawRecord { offset: Offset(5), log_time: None, key: None, payload: b"{}"[..].into() })),
        values: Vec::new(),
    };
    let done: Arc<AtomicUsize> = Arc::default();
    letters.write(vec![letter], counting(&done));
    letters.flush().expect("all is delivered");
    assert_eq!(done.load(Ordering::Acquire), 1);
    let read = Reader::new(&broker.bootstrap(), "dead", 1).read(|_, _, key, line| {
        let line = String::from_utf8_lossy(line);
        assert!(
            key == "P1" && line.starts_with("{\"source\":\"sensors\"") && line.contains("\"record\":\"{}\""),
            "{line}"
        );
    });
    assert_eq!(read, 1);
}
