//! Requests to the broker that are cut, delayed or held on their way: rows flow on, positions say no more than what is
//! done, nothing is missing at the end, and what is written twice is counted.
//!
//! 10 s of random faults; as many as `GRISTMILL_PROXY_SECONDS` says otherwise.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::thread;
use std::time::{Duration, Instant};

use gristmill::defect::Defect;
use gristmill_tests::interpreter::random::Random;
use gristmill_tests::support::kafka::Broker;
use gristmill_tests::support::kafka_clients::{Reader, produce};
use gristmill_tests::support::kafka_proxy::{Api, Fault, Proxy};
use gristmill_tests::support::setting::number;
use gristmill_tests::support::tanks::{Outcome, TIMEOUT, Tanks, row};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Rows a second.
const RATE: u32 = 2_000;
/// A group notices sooner that a member is silent.
const QUICK_GROUP: [(&str, &str); 2] = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")];

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_flow_while_a_commit_is_held_and_are_read_again_when_it_never_came() {
    let proxy = Proxy::start();
    let broker = Broker::start_behind(&proxy);
    let (tanks, past) = (Tanks::create(&broker, "tanks"), broker.bootstrap());
    // Heartbeats are held behind the commit; and that the first member left is not heard while no commit gets through, so
    // that the next waits for its session to end.
    let handle = tanks.start(&proxy.bootstrap(), &[("session.timeout.ms", "20000")], None).await;
    let reader = tanks.reader(&past);
    produce(&past, &tanks.levels, (0..1_000).map(row));
    reader.wait_for(1_000, TIMEOUT);
    tanks.wait_for_commit(&broker);

    proxy.meet(Api::OffsetCommit, Fault::Hold, 1);
    produce(&past, &tanks.levels, (1_000..2_000).map(row));
    proxy.wait_for_held(1, TIMEOUT);
    produce(&past, &tanks.levels, (2_000..3_000).map(row));
    reader.wait_for(3_000, TIMEOUT);
    assert_eq!(tanks.lag(&broker), 2_000, "nobody has committed");
    proxy.release();
    tanks.wait_for_commit(&broker);

    proxy.meet(Api::OffsetCommit, Fault::CutRequest, 10_000);
    produce(&past, &tanks.levels, (3_000..3_500).map(row));
    reader.wait_for(3_500, TIMEOUT);
    // A commit is on its way, and never answered, when it is stopped.
    let (tried, deadline) = (proxy.seen(Api::OffsetCommit), Instant::now() + TIMEOUT);
    while proxy.seen(Api::OffsetCommit) == tried {
        assert!(Instant::now() < deadline, "no commit was tried");
        pause(5).await;
    }
    let stopped = Instant::now();
    let ended = handle.stop().await;
    eprintln!("a stop without a commit took {:.1} s: {ended:?}", stopped.elapsed().as_secs_f64());
    assert!(ended.is_err(), "a stop that could not commit says so");
    assert!(proxy.clear() > 0, "more commits than that were tried");
    assert_eq!(tanks.lag(&broker), 500, "nothing was committed");

    let again = tanks.start(&proxy.bootstrap(), &[], None).await;
    produce(&past, &tanks.levels, (3_500..4_000).map(row));
    tanks.wait_for_commit(&broker);
    again.stop().await.expect("a stop in order");
    assert_eq!(tanks.outcome(&past, 4_000), Outcome { missing: 0, repeated: 500 });
}

/// Rows that are not committed after their predictions were held for a while.
async fn lag_while_predictions_are_held(name: &str, defect: Option<Defect>) -> u64 {
    let proxy = Proxy::start();
    let broker = Broker::start_behind(&proxy);
    let (tanks, past) = (Tanks::create(&broker, name), broker.bootstrap());
    let handle = tanks.start(&proxy.bootstrap(), &[], defect).await;
    produce(&past, &tanks.levels, (0..500).map(row));
    tanks.reader(&past).wait_for(500, TIMEOUT);
    tanks.wait_for_commit(&broker);
    proxy.meet(Api::Produce, Fault::Hold, 1);
    produce(&past, &tanks.levels, (500..1_000).map(row));
    proxy.wait_for_held(1, TIMEOUT);
    // Some intervals of commits.
    pause(1_000).await;
    let lag = tanks.lag(&broker);
    proxy.release();
    tanks.wait_for_commit(&broker);
    handle.stop().await.expect("a stop in order");
    assert_eq!(tanks.outcome(&past, 1_000), Outcome { missing: 0, repeated: 0 });
    lag
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_moves_only_when_what_it_stands_for_is_written() {
    assert_eq!(lag_while_predictions_are_held("tanks", None).await, 500);
    // The broken twin.
    assert!(lag_while_predictions_are_held("broken", Some(Defect::EarlyCommit)).await < 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn predictions_whose_answer_is_lost_are_not_there_twice() {
    let proxy = Proxy::start();
    let broker = Broker::start_behind(&proxy);
    let (tanks, past) = (Tanks::create(&broker, "tanks"), broker.bootstrap());
    let handle = tanks.start(&proxy.bootstrap(), &[], None).await;
    let reader = tanks.reader(&past);
    for part in 0..5 {
        proxy.meet(Api::Produce, Fault::CutAnswer, 1);
        produce(&past, &tanks.levels, (part * 200..(part + 1) * 200).map(row));
        reader.wait_for((part as u64 + 1) * 200, TIMEOUT);
    }
    tanks.wait_for_commit(&broker);
    assert_eq!(proxy.clear(), 0, "all five answers were lost");
    handle.stop().await.expect("a stop in order");
    assert_eq!(tanks.outcome(&past, 1_000), Outcome { missing: 0, repeated: 0 });

    // The broken twin: a producer that is not idempotent.
    broker.create_topic("plain", 1);
    let brokers = proxy.bootstrap();
    let plain: BaseProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("a producer");
    proxy.meet(Api::Produce, Fault::CutAnswer, 1);
    plain.send(BaseRecord::to("plain").key("k").payload("once")).expect("room");
    plain.flush(TIMEOUT).expect("it is written");
    assert_eq!(Reader::new(&past, "plain", 1).ends(), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_never_answered_is_sent_again() {
    let proxy = Proxy::start();
    let broker = Broker::start_behind(&proxy);
    let (tanks, past) = (Tanks::create(&broker, "tanks"), broker.bootstrap());
    // A request that is not answered for so long is given up with its connection.
    let handle = tanks.start(&proxy.bootstrap(), &[("socket.timeout.ms", "5000")], None).await;
    let reader = tanks.reader(&past);
    produce(&past, &tanks.levels, (0..1_000).map(row));
    reader.wait_for(1_000, TIMEOUT);
    tanks.wait_for_commit(&broker);
    proxy.meet(Api::OffsetCommit, Fault::Hold, 1);
    // One row, and so no later commit that brings its position along.
    produce(&past, &tanks.levels, [row(1_000)]);
    proxy.wait_for_held(1, TIMEOUT);
    reader.wait_for(1_001, TIMEOUT);
    assert_eq!(tanks.lag(&broker), 1);
    tanks.wait_for_commit(&broker);
    handle.stop().await.expect("a stop in order");
    assert_eq!(tanks.outcome(&past, 1_001), Outcome { missing: 0, repeated: 0 });
}

/// Lets requests of all kinds meet any fault for so long; how many did.
fn disturb(proxy: &Proxy, time: Duration) -> u32 {
    const APIS: [Api; 11] = [
        Api::Produce,
        Api::Fetch,
        Api::ListOffsets,
        Api::Metadata,
        Api::OffsetCommit,
        Api::OffsetFetch,
        Api::FindCoordinator,
        Api::JoinGroup,
        Api::Heartbeat,
        Api::SyncGroup,
        Api::InitProducerId,
    ];
    let (began, mut random, mut said) = (Instant::now(), Random::new(1), 0);
    while began.elapsed() < time {
        let fault = match random.below(4) {
            0 => Fault::CutRequest,
            1 => Fault::CutAnswer,
            2 => Fault::Delay(Duration::from_millis(random.between(10, 800) as u64)),
            _ => Fault::Hold,
        };
        proxy.meet(*random.pick(&APIS), fault, 1);
        said += 1;
        thread::sleep(Duration::from_millis(random.between(20, 300) as u64));
        if random.percent(20) {
            proxy.release();
        }
    }
    let left = proxy.clear();
    proxy.release();
    said - left as u32
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_after_requests_of_all_kinds_were_cut_delayed_and_held() {
    let proxy = Proxy::start();
    let broker = Broker::start_behind(&proxy);
    let (tanks, past) = (Tanks::create(&broker, "tanks"), broker.bootstrap());
    let handle = tanks.start(&proxy.bootstrap(), &QUICK_GROUP, None).await;
    let feeding = tanks.feed(&past, RATE);
    let reader = tanks.reader(&past);
    reader.wait_for(1_000, TIMEOUT);

    // The group thinks that its member is gone.
    let joined = proxy.seen(Api::JoinGroup);
    proxy.meet(Api::Heartbeat, Fault::Hold, 1);
    proxy.wait_for_held(1, TIMEOUT);
    pause(8_000).await;
    proxy.release();
    let deadline = Instant::now() + TIMEOUT;
    while proxy.seen(Api::JoinGroup) == joined {
        assert!(Instant::now() < deadline, "the member does not join again");
        pause(50).await;
    }

    let time = Duration::from_secs(number("GRISTMILL_PROXY_SECONDS", 10));
    let met = tokio::task::block_in_place(|| disturb(&proxy, time));
    let rows = feeding.end();
    reader.wait_for(rows as u64, TIMEOUT);
    tanks.wait_for_commit(&broker);
    let intake = handle.report(None).await.expect("the runtime runs").intake;
    handle.stop().await.expect("a stop in order");
    let outcome = tanks.outcome(&past, rows);
    let again = intake.late + intake.duplicate;
    eprintln!("{met} faults in {time:?}, {rows} rows: {outcome:?}, {again} rows read again and dropped");
    assert_eq!(outcome.missing, 0);
    assert!(u64::from(met) >= time.as_secs(), "{met} faults were met");
}
