//! Positions are facts: where a group goes on is what was committed, and whatever contradicts it is an error with a name.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::time::{Duration, Instant};

use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{Records, Source, SourceError};
use gristmill::words::Offset;
use gristmill_operators::kafka::{self, KafkaSource, StartAt};
use gristmill_tests::support::kafka::{Broker, total_lag};
use gristmill_tests::support::kafka_clients::produce_to;
use gristmill_tests::support::kafka_proxy::{Api, Fault, Proxy};
use gristmill_tests::support::logs;

const LIMITS: PollLimits = PollLimits { records: 1_000, bytes: 1 << 20, wait: Duration::from_millis(100) };
const TIMEOUT: Duration = Duration::from_secs(60);

fn source(broker: &Broker, group: &str) -> KafkaSource {
    source_at(&broker.bootstrap(), group)
}

fn source_at(brokers: &str, group: &str) -> KafkaSource {
    let source = kafka::source("t").brokers(brokers).group(group).set("topic.metadata.refresh.interval.ms", "1000");
    source.set("topic.metadata.propagation.max.ms", "2000").json(|r| r.key("key").time("time"))
}

/// Polls once and says that all that came is done; the partition, the first and the last offset of each batch.
fn poll(source: &mut KafkaSource) -> Result<Vec<(u32, i64, i64)>, SourceError> {
    let Polled::Batches(batches) = source.poll(LIMITS)? else { panic!("a topic has no end") };
    let mut came = Vec::new();
    for batch in batches {
        let Records::Raw(raw) = batch.records else { panic!("Kafka's records are raw") };
        let (first, last) = (raw[0].offset.0, raw[raw.len() - 1].offset.0);
        source.commit(batch.partition, Offset(last + 1))?;
        came.push((batch.partition, first, last));
    }
    Ok(came)
}

/// Reads so many records, and closes what is asked to be closed.
fn read(source: &mut KafkaSource, count: i64) -> Vec<(u32, i64, i64)> {
    let (mut all, mut had) = (Vec::new(), 0);
    let deadline = Instant::now() + TIMEOUT;
    while had < count {
        assert!(Instant::now() < deadline, "{had} of {count} records came");
        let came = poll(source).expect("a poll");
        had += came.iter().map(|(_, first, last)| last - first + 1).sum::<i64>();
        all.extend(came);
    }
    assert_eq!(had, count);
    all
}

fn error_of(source: &mut KafkaSource) -> SourceError {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match poll(source) {
            Err(error) if !error.retry => return error,
            Err(error) => eprintln!("waits: {error}"),
            Ok(_) => {}
        }
        assert!(Instant::now() < deadline, "no error came");
    }
}

fn begins(came: &[(u32, i64, i64)], partition: u32) -> Option<i64> {
    came.iter().find(|(of, _, _)| *of == partition).map(|(_, first, _)| *first)
}

#[test]
fn a_position_that_was_there_is_not_taken_for_a_beginning() {
    let broker = Broker::start();
    broker.create_topic("t", 3);
    (0..3).for_each(|partition| produce_to(&broker.bootstrap(), "t", partition, 10));
    // A new group begins at the beginning of an old topic.
    let mut first = source(&broker, "g");
    let came = read(&mut first, 30);
    assert!((0..3).all(|partition| begins(&came, partition) == Some(0)), "{came:?}");
    first.close().expect("a close");
    drop(first);
    assert_eq!(total_lag(&broker.consumer_group_lag("g")), 0);

    // Partitions that are added are read from their beginning, also where the group reads on at the end.
    broker.add_partitions("t", 5);
    (0..5).for_each(|partition| produce_to(&broker.bootstrap(), "t", partition, 5));
    let mut second = source(&broker, "g").start_at(StartAt::Latest);
    let came = read(&mut second, 25);
    assert_eq!((begins(&came, 0), begins(&came, 3), begins(&came, 4)), (Some(10), Some(0), Some(0)), "{came:?}");
    second.close().expect("a close");
    drop(second);

    // One of the five is taken away.
    broker.delete_offsets("g", "t:1");
    let lost = error_of(&mut source(&broker, "g"));
    for said in ["position-missing", "`t` partition 1", "group `g` has none", "partitions 0 to 4", "now in: 0, 2, 3, 4"]
    {
        assert!(lost.reason.contains(said), "{lost}");
    }
    assert!(lost.reason.contains("--reset-offsets") && lost.reason.contains("`start_at`"), "{lost}");
    // The two ways out.
    let mut said = source(&broker, "g").start_at(StartAt::Earliest);
    assert_eq!(begins(&read(&mut said, 15), 1), Some(0));
    said.close().expect("a close");
    drop(said);
    broker.delete_offsets("g", "t:1");
    broker.admin(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--reset-offsets", "--group", "g", "--topic", "t:1", "--to-offset", "12", "--execute"],
    );
    assert_eq!(read(&mut source(&broker, "g"), 3), [(1, 12, 14)]);
}

#[test]
fn a_saved_state_proves_that_there_was_a_position() {
    let broker = Broker::start();
    broker.create_topic("t", 1);
    produce_to(&broker.bootstrap(), "t", 0, 10);
    let mut source = source(&broker, "nobody");
    assert!(!source.go_on_at(0, Offset(7)).expect("it may be"));
    let lost = error_of(&mut source);
    assert!(lost.reason.contains("position-missing") && lost.reason.contains("the saved state goes to 7"), "{lost}");
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let logged = logs::captured();
    let broker = Broker::start();
    broker.create_topic("t", 1);
    for start_at in [StartAt::Committed, StartAt::Latest] {
        let partitions = if start_at == StartAt::Committed { 2 } else { 4 };
        let mut source = source(&broker, &format!("{start_at:?}")).start_at(start_at);
        let deadline = Instant::now() + TIMEOUT;
        // With `latest` a record counts that comes after the group is there.
        while poll(&mut source).expect("a poll").is_empty() {
            produce_to(&broker.bootstrap(), "t", 0, 1);
            assert!(Instant::now() < deadline, "nothing came");
        }
        broker.add_partitions("t", partitions);
        produce_to(&broker.bootstrap(), "t", partitions as i32 - 1, 50);
        let mut came = Vec::new();
        while begins(&came, partitions - 1).is_none() {
            came.extend(poll(&mut source).expect("a poll"));
            assert!(Instant::now() < deadline, "nothing came of partition {}: {came:?}", partitions - 1);
        }
        assert_eq!(begins(&came, partitions - 1), Some(0), "{start_at:?}: {came:?}");
        source.close().expect("a close");
    }
    let said = logged.text();
    assert!(said.contains("reading from the beginning") && said.contains("the partition was added"), "{said}");
}

#[test]
fn a_topic_that_is_deleted_while_it_is_read_has_a_name() {
    let broker = Broker::start();
    broker.create_topic("t", 1);
    produce_to(&broker.bootstrap(), "t", 0, 10);
    let mut source = source(&broker, "g");
    read(&mut source, 10);
    broker.delete_topic("t");
    let gone = error_of(&mut source);
    assert!(gone.reason.contains("topic-deleted") && gone.reason.contains('t'), "{gone}");
    let missing = error_of(&mut source);
    assert!(missing.reason.contains("topic-missing") && missing.reason.contains("`t`"), "{missing}");
}

/// What came before the error may be done only after it, and is the group's position all the same.
#[test]
fn what_is_done_after_an_error_that_ends_a_source_is_committed() {
    let broker = Broker::start();
    for topic in ["t", "gone"] {
        broker.create_topic(topic, 1);
        produce_to(&broker.bootstrap(), topic, 0, 10);
    }
    let source = kafka::source(["t", "gone"]).brokers(&broker.bootstrap()).group("g");
    let mut source = source.set("topic.metadata.refresh.interval.ms", "1000").json(|r| r.key("key").time("time"));
    let (mut had, deadline) = (0, Instant::now() + TIMEOUT);
    while had < 20 {
        let Polled::Batches(batches) = source.poll(LIMITS).expect("a poll") else { panic!("a topic has no end") };
        let records = |records: Records| if let Records::Raw(raw) = records { raw.len() } else { 0 };
        had += batches.into_iter().map(|batch| records(batch.records)).sum::<usize>();
        assert!(Instant::now() < deadline, "{had} of 20 records came");
    }
    assert_eq!(total_lag(&broker.consumer_group_lag("g")), 20);
    broker.delete_topic("gone");
    let error = error_of(&mut source);
    assert!(error.reason.contains("topic-deleted"), "{error}");
    source.commit(0, Offset(10)).expect("it is still known");
    source.close().expect("a close");
    assert_eq!(total_lag(&broker.consumer_group_lag("g")), 0);
    let error = source.commit(0, Offset(10)).expect_err("nobody is connected");
    assert!(error.retry && error.reason.contains("`t/0` is not connected, so offset 10"), "{error}");
}

/// Once with fewer records than were read, once with more: by offsets alone the second would go on in the middle.
#[test]
fn a_topic_that_is_made_again_is_not_gone_on_with() {
    let proxy = Proxy::start();
    let broker = Broker::start_behind(&proxy);
    for records in [5, 500] {
        broker.create_topic("t", 1);
        produce_to(&broker.bootstrap(), "t", 0, 100);
        let mut source = source_at(&proxy.bootstrap(), "g");
        read(&mut source, 100);
        poll(&mut source).expect("a poll");
        // The client looks when the topic is there again: a look in between would find that it is gone.
        proxy.meet(Api::Metadata, Fault::Hold, 1_000);
        broker.delete_topic("t");
        broker.create_topic("t", 1);
        proxy.clear();
        proxy.release();
        produce_to(&broker.bootstrap(), "t", 0, records);
        let remade = error_of(&mut source);
        assert!(remade.reason.contains("topic-remade") && remade.reason.contains("`t`"), "{records}: {remade}");
        source.close().expect("a close");
        drop(source);
        // The broker has forgotten the group's positions with the topic: it is read from its beginning.
        let mut again = self::source(&broker, "g");
        assert_eq!(begins(&read(&mut again, records as i64), 0), Some(0));
        again.close().expect("a close");
        drop(again);
        broker.delete_topic("t");
    }
}
