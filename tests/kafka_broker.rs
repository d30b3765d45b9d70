//! The broker of the tests is a real one: what it acknowledged survives its death.

use gristmill_tests::support::kafka::{Broker, total_lag};

#[test]
fn topics_records_and_groups_survive_kill_and_stop() {
    let mut broker = Broker::start();
    let address = broker.bootstrap();
    broker.create_topic("sensors", 3);
    assert_eq!(broker.topics(), ["sensors"]);
    broker.console_produce("sensors", &[("pump-1", "0.5"), ("pump-2", "0.7")]);

    let mut read = broker.console_consume("sensors", "readers");
    read.sort();
    assert_eq!(read, ["pump-1\t0.5", "pump-2\t0.7"]);
    assert_eq!(total_lag(&broker.consumer_group_lag("readers")), 0);

    broker.kill();
    assert_eq!(broker.process_id(), None);
    broker.start_again();
    assert_eq!(broker.bootstrap(), address);
    assert!(broker.topics().contains(&"sensors".to_owned()));
    broker.console_produce("sensors", &[("pump-1", "0.6")]);
    let lag = broker.consumer_group_lag("readers");
    assert_eq!((lag.len(), total_lag(&lag)), (3, 1));
    assert_eq!(broker.consumer_group_lag("strangers"), []);

    broker.stop();
    broker.start_again();
    assert_eq!(broker.console_consume("sensors", "readers"), ["pump-1\t0.6"]);
}
