//! Brokers with TLS, users and rules: what is not allowed has a name, nothing is sent in plain text in its place, and no
//! password is anywhere in what is said.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gristmill::topology::{Attributes, Topology};
use gristmill::traits::sink::SinkColumn;
use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{Done, Records, Sink, SinkFrame, Source, SourceError};
use gristmill::words::{
    Cause, Column, ElementType, Key, NodeId, Offset, PartitionIndex, Revision, ShardIndex, StreamName, Time, Traces,
};
use gristmill_operators::kafka::{self, KafkaSink, KafkaSource};
use gristmill_tests::support::kafka::{Broker, Listener};
use gristmill_tests::support::kafka_clients::produce_to;
use gristmill_tests::support::logs;

const LIMITS: PollLimits = PollLimits { records: 1_000, bytes: 1 << 20, wait: Duration::from_millis(100) };
const TIMEOUT: Duration = Duration::from_secs(60);
/// Planted where it must never come out.
const PASSWORD: &str = "planted-secret-4711";
const WRONG: &str = "planted-wrong-0815";

/// How a client comes.
#[derive(Clone)]
struct Door {
    brokers: String,
    set: Vec<(&'static str, String)>,
}

impl Door {
    fn new(broker: &Broker, listener: Listener, user: &str) -> Self {
        let ca = broker.folder().join("ca.pem").to_string_lossy().into_owned();
        let set = [("security.protocol", "sasl_ssl"), ("sasl.mechanism", "SCRAM-SHA-256"), ("sasl.password", PASSWORD)];
        let mut set: Vec<(&str, String)> = set.map(|(name, value)| (name, value.to_owned())).into();
        set.extend([("sasl.username", user.to_owned()), ("ssl.ca.location", ca)]);
        Self { brokers: broker.secured(listener), set }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.set.retain(|(other, _)| *other != name);
        self.set.push((name, value.into()));
        self
    }

    fn source(&self, group: &str) -> KafkaSource {
        let source = kafka::source("t").brokers(&self.brokers).group(group).json(|r| r.key("key").time("time"));
        self.set.iter().fold(source, |source, (name, value)| source.set(name, value))
    }

    fn sink(&self) -> KafkaSink {
        let sink = kafka::sink("t").brokers(&self.brokers).flush_timeout(Duration::from_secs(15));
        self.set.iter().fold(sink, |sink, (name, value)| sink.set(name, value))
    }
}

fn poll(source: &mut KafkaSource) -> Result<usize, SourceError> {
    let Polled::Batches(batches) = source.poll(LIMITS)? else { panic!("a topic has no end") };
    let mut count = 0;
    for batch in batches {
        let Records::Raw(raw) = batch.records else { panic!("Kafka's records are raw") };
        count += raw.len();
        source.commit(batch.partition, Offset(raw[raw.len() - 1].offset.0 + 1))?;
    }
    Ok(count)
}

fn read(source: &mut KafkaSource, count: usize) {
    let (mut had, deadline) = (0, Instant::now() + TIMEOUT);
    while had < count {
        had += poll(source).expect("a poll");
        assert!(Instant::now() < deadline, "{had} of {count} records came");
    }
}

/// The first error, whatever it is.
fn error_of(mut source: KafkaSource) -> SourceError {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match poll(&mut source) {
            Err(error) => return error,
            Ok(_) => assert!(Instant::now() < deadline, "no error came"),
        }
    }
}

fn no_secret(text: &str) {
    for secret in [PASSWORD, WRONG] {
        let place = text.find(secret);
        assert!(place.is_none(), "a password is shown: {}", &text[place.unwrap_or(0).saturating_sub(300)..]);
    }
}

/// Writes one row; what the sink says if it can not be delivered.
fn write(sink: KafkaSink) -> Result<(), String> {
    let told: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let (telling, said) = (told.clone(), Arc::<AtomicUsize>::default());
    let sink = sink.on_failure(move |reason| telling.lock().expect("a lock").push(reason.to_owned()));
    let mut writer = sink.open(ShardIndex(0)).map_err(|error| error.reason)?;
    let (stream, node, key) = (StreamName::from("wear"), NodeId::from("wear"), Key::from("k"));
    let values = Column::F32(vec![1.0]);
    let column = SinkColumn {
        key: &key,
        stream: &stream,
        node: &node,
        artifact: None,
        times: &[Time::from_millis(1_700_000_000_000)],
        causes: &[Cause { offset: Offset(0), row: 0 }],
        values: values.as_ref(),
    };
    let (revision, partition) = (Revision(1), PartitionIndex(0));
    let frame = SinkFrame {
        revision,
        source: "s",
        partition,
        source_partition: 0,
        columns: &[column],
        traces: &Traces::default(),
    };
    let saying = said.clone();
    writer.write(&frame, Done::new(move || _ = saying.fetch_add(1, Ordering::AcqRel)));
    let flushed = sink.flush();
    let told = told.lock().expect("a lock").first().cloned();
    match (flushed, told) {
        (Ok(()), None) if said.load(Ordering::Acquire) == 1 => Ok(()),
        (flushed, told) => Err(told.unwrap_or_else(|| format!("nothing was told: {flushed:?}"))),
    }
}

fn allow(broker: &Broker, user: &str, operation: &str, on: [&str; 2]) {
    let user = format!("User:{user}");
    let arguments = ["--add", "--allow-principal", &user, "--operation", operation, on[0], on[1]];
    broker.admin("org.apache.kafka.tools.AclCommand", &arguments);
}

#[test]
fn who_may_comes_in_and_who_may_not_is_told_why() {
    let logged = logs::captured();
    let broker = Broker::start_secured(&[("alice", PASSWORD)]);
    broker.create_topic("t", 1);
    allow(&broker, "alice", "All", ["--topic", "t"]);
    allow(&broker, "alice", "All", ["--group", "g"]);
    let door = |listener| Door::new(&broker, listener, "alice");

    // In and out by TLS and SCRAM.
    write(door(Listener::Good).sink()).expect("a row is delivered");
    let mut source = door(Listener::Good).source("g");
    read(&mut source, 1);
    no_secret(&format!("{source:?}"));
    source.close().expect("a close");

    let other_ca = broker.folder().join("other-ca.pem").to_string_lossy().into_owned();
    let plain = |listener| Door { set: Vec::new(), ..door(listener) };
    let secure_to_plain = Door { brokers: broker.bootstrap(), ..door(Listener::Good) };
    let cases = [
        ("credentials-refused", door(Listener::Good).with("sasl.password", WRONG), false),
        ("credentials-refused", door(Listener::Good).with("sasl.username", "nobody"), false),
        ("certificate-untrusted", door(Listener::Good).with("ssl.ca.location", other_ca), false),
        ("certificate-expired", door(Listener::Expired), false),
        ("certificate-of-another-host", door(Listener::OtherHost), false),
        ("listener-otherwise", plain(Listener::Good), true),
        ("listener-otherwise", secure_to_plain, true),
    ];
    for (name, door, retry) in cases {
        let began = Instant::now();
        let error = error_of(door.source("g"));
        eprintln!("after {:.1} s: {error}", began.elapsed().as_secs_f64());
        assert!(error.reason.contains(&format!(": {name}: ")) && error.retry == retry, "{name}: {error}");
        assert!(error.reason.contains(&format!("at `{}`", door.brokers)), "{error}");
        let of_sink = write(door.sink()).expect_err("it may not");
        assert!(of_sink.contains(&format!(": {name}: ")), "{name}: {of_sink}");
        [error.reason, of_sink, format!("{:?}", door.sink())].iter().for_each(|text| no_secret(text));
    }
    // What the client itself does not take, and credentials that would not be used.
    let refused = error_of(door(Listener::Good).with("sasl.mechanism", "SECRET-1").with("linger.ms", "5").source("g"));
    assert!(
        refused.reason.contains("settings-refused") && refused.reason.contains("SECRET-1") && !refused.retry,
        "{refused}"
    );
    let refused = error_of(door(Listener::Good).with("security.protocol", "plaintext").source("g"));
    assert!(refused.reason.contains("settings-refused") && refused.reason.contains("`sasl.password`"), "{refused}");
    no_secret(&refused.reason);
    let log = logged.text();
    assert!(log.contains("librdkafka"), "the client's words are logged");
    no_secret(&log);
}

#[test]
fn what_rules_deny_is_named_by_what_they_are_about() {
    let logged = logs::captured();
    let users = ["reader", "blind", "groupless", "stranger", "writer"];
    let broker = Broker::start_secured(&users.map(|user| (user, PASSWORD)));
    broker.create_topic("t", 1);
    produce_to(&broker.bootstrap(), "t", 0, 10);
    allow(&broker, "reader", "Read", ["--topic", "t"]);
    allow(&broker, "reader", "Read", ["--group", "g"]);
    allow(&broker, "blind", "Describe", ["--topic", "t"]);
    allow(&broker, "blind", "Read", ["--group", "h"]);
    allow(&broker, "groupless", "Read", ["--topic", "t"]);
    let door = |user| Door::new(&broker, Listener::Good, user);
    let mut source = door("reader").source("g");
    read(&mut source, 10);
    source.close().expect("a close");
    for (name, user, group) in
        [("topic-denied", "blind", "h"), ("group-denied", "groupless", "g"), ("topic-denied", "stranger", "g")]
    {
        let error = error_of(door(user).source(group));
        assert!(error.reason.contains(&format!(": {name}: ")) && !error.retry, "{user}: {error}");
        assert!(error.reason.contains("kafka-acls"), "{error}");
    }
    let types = || Topology::new("tank").attributes(Attributes::new().declare("site", ElementType::Str));
    let attributes = |user| {
        let door = door(user);
        let attributes = kafka::attributes("t").brokers(&door.brokers);
        let attributes = door.set.iter().fold(attributes, |attributes, (name, value)| attributes.set(name, value));
        attributes.read(types()).map(|_| ())
    };
    // No group is needed; its records are none of attributes, and refused one by one.
    attributes("groupless").expect("the topic is read");
    for user in ["blind", "stranger"] {
        let error = attributes(user).expect_err("it may not");
        assert!(error.reason.contains(": topic-denied: ") && !error.retry, "{user}: {error}");
    }
    // Who may read may see the topic, and is told at the first row; who may nothing, at the start.
    for (names, user) in [(["topic-denied", "cluster-denied"], "reader"), (["topic-denied"; 2], "stranger")] {
        let error = write(door(user).sink()).expect_err("it may not");
        eprintln!("{user}: {error}");
        assert!(names.iter().any(|name| error.contains(&format!(": {name}: "))), "{user}: {error}");
    }
    allow(&broker, "writer", "Write", ["--topic", "t"]);
    write(door("writer").sink()).expect("a row is delivered");
    no_secret(&logged.text());
}

#[test]
fn a_certificate_that_goes_bad_while_rows_flow_is_waited_out() {
    let mut broker = Broker::start_secured(&[("alice", PASSWORD)]);
    broker.create_topic("t", 1);
    produce_to(&broker.bootstrap(), "t", 0, 10);
    allow(&broker, "alice", "All", ["--topic", "t"]);
    allow(&broker, "alice", "All", ["--group", "g"]);
    let mut source = Door::new(&broker, Listener::Good, "alice").source("g");
    read(&mut source, 10);
    // Until the broker knows how far it went.
    (0..10).for_each(|_| assert_eq!(poll(&mut source).expect("a poll"), 0));
    let (good, kept) = (broker.folder().join("good.pem"), broker.folder().join("kept.pem"));
    std::fs::rename(&good, &kept).expect("it is there");
    std::fs::copy(broker.folder().join("untrusted.pem"), &good).expect("it is there");
    broker.kill();
    broker.start_again();
    // As a driver does it, but without its pauses: the client's own keep it from trying again and again.
    let (mut named, began) = (0, Instant::now());
    while began.elapsed() < Duration::from_secs(15) {
        if let Err(error) = poll(&mut source) {
            assert!(error.retry, "{error}");
            named += usize::from(error.reason.contains("certificate-untrusted"));
        }
    }
    assert!((1..60).contains(&named), "{named} errors in 15 s");
    eprintln!("{named} errors in 15 s");
    std::fs::rename(&kept, &good).expect("it is there");
    broker.kill();
    broker.start_again();
    produce_to(&broker.bootstrap(), "t", 0, 10);
    let deadline = Instant::now() + TIMEOUT;
    let mut more = 0;
    while more < 10 {
        more += poll(&mut source).unwrap_or(0);
        assert!(Instant::now() < deadline, "{more} of 10 records came");
    }
    assert_eq!(more, 10, "nothing came twice");
}
