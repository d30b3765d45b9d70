//! The broker is killed and comes back, again and again, while rows flow through one runtime: source and sink recover by
//! themselves, and nothing is missing at the end. What is read or written twice is counted.
//!
//! 3 kills; as many as `GRISTMILL_BROKER_KILLS` says otherwise.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::time::{Duration, Instant};

use gristmill_tests::interpreter::random::Random;
use gristmill_tests::support::kafka::Broker;
use gristmill_tests::support::recorder::Recorded;
use gristmill_tests::support::setting::number;
use gristmill_tests::support::tanks::{TIMEOUT, Tanks};

/// Rows a second, as long as the broker is there.
const RATE: u32 = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_after_the_broker_was_killed_under_load() {
    let (kills, recorded) = (number("GRISTMILL_BROKER_KILLS", 3), Recorded::default());
    let mut broker = Broker::start();
    let tanks = Tanks::create(&broker, "tanks");
    let brokers = broker.bootstrap();
    let local = metrics::set_default_local_recorder(&recorded);
    let handle = tanks.start(&brokers, &[], None).await;
    drop(local);
    let feeding = tanks.feed(&brokers, RATE);
    let reader = tanks.reader(&brokers);
    reader.wait_for(1_000, TIMEOUT);
    let (mut slowest, mut random) = (Duration::ZERO, Random::new(1));
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(random.between(500, 3_000) as u64)).await;
        let before: i64 = reader.ends().iter().sum();
        broker.kill();
        tokio::time::sleep(Duration::from_millis(random.between(0, 1_500) as u64)).await;
        broker.start_again();
        let back = Instant::now();
        reader.wait_for(before.unsigned_abs() + 1_000, TIMEOUT);
        slowest = slowest.max(back.elapsed());
    }
    let rows = feeding.end();
    reader.wait_for(rows as u64, TIMEOUT);
    tanks.wait_for_commit(&broker);
    let intake = handle.report(None).await.expect("the runtime runs").intake;
    handle.stop().await.expect("a stop in order");

    let outcome = tanks.outcome(&brokers, rows);
    let read_again = intake.late + intake.duplicate;
    let poll_errors = recorded.counter("gristmill_poll_errors_total{class=tank}");
    eprintln!(
        "{kills} kills, {rows} rows: {outcome:?}, {read_again} rows read again and dropped, {poll_errors} poll errors; \
         the slowest recovery took {:.1} s from the broker's return",
        slowest.as_secs_f64()
    );
    assert_eq!(outcome.missing, 0);
    assert!(poll_errors >= kills, "{poll_errors} poll errors of {kills} kills");
}
