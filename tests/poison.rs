//! One record in a hundred is bad, of every kind: exactly those are dead letters, once each, with offset and reason, what is
//! good comes out as if they had not been there, and nothing stalls.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill::in_process::{Collected, CollectedLetters};
use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::traits::Decode;
use gristmill::traits::source::{Axes, Batch, PollLimits, Polled, RawRecord, Records, Source, SourceError};
use gristmill::words::{Offset, Time, Value};
use gristmill::{BadRow, Runtime, Stream};
use gristmill_operators::codec::json::json;

const X: Stream<f64> = Stream::new("x");
const DOUBLE: Stream<f64> = Stream::new("double");

const RECORDS: i64 = 20_000;
const KEYS: i64 = 40;
/// The log got the first record then, in milliseconds; each is there a millisecond later.
const BEGUN: i64 = 1_700_000_000_000;

/// Makes a bad record; what its dead letter says.
type Poison = (&'static str, fn(i64) -> Vec<u8>);

fn good(number: i64) -> Vec<u8> {
    format!(r#"{{"machine": "m{}", "ts": {}, "x": {}}}"#, number % KEYS, BEGUN + number, value(number)).into_bytes()
}

fn value(number: i64) -> f64 {
    (number * 7919 % 10_007) as f64 / 8.0
}

fn with(number: i64, machine: &str, ts: &str, x: &str) -> Vec<u8> {
    let machine = if machine.is_empty() { format!("\"m{}\"", number % KEYS) } else { machine.to_owned() };
    let ts = if ts.is_empty() { (BEGUN + number).to_string() } else { ts.to_owned() };
    format!(r#"{{"machine": {machine}, "ts": {ts}, "x": {x}}}"#).into_bytes()
}

const POISONS: [Poison; 16] = [
    ("the record is empty", |_| Vec::new()),
    ("is not UTF-8", |n| [good(n), vec![0xff, 0xfe]].concat()),
    ("EOF", |n| good(n)[..20].to_vec()),
    ("at line 1", |_| b"\x00\x01\x02\x03magic".to_vec()),
    ("no key", |n| format!(r#"{{"ts": {}, "x": 1}}"#, BEGUN + n).into_bytes()),
    ("no time", |n| format!(r#"{{"machine": "m{}", "x": 1}}"#, n % KEYS).into_bytes()),
    ("the key is empty", |n| with(n, "\"\"", "", "1")),
    ("control character", |n| with(n, r#""a\nb""#, "", "1")),
    ("the key has 300 bytes", |n| with(n, &format!("\"{}\"", "k".repeat(300)), "", "1")),
    ("at line 1", |n| with(n, "", "", "NaN")),
    ("out of range", |n| with(n, "", "", "1e999")),
    ("x", |n| with(n, "", "", "\"not a number\"")),
    ("ahead of when the log got it", |n| with(n, "", &(BEGUN + n + 3_600_000).to_string(), "1")),
    ("the row is late", |n| with(n, "", "0", "1")),
    ("outside the years 1970 to 2262", |n| with(n, "", "99999999999999999", "1")),
    ("the limit is 1048576", |n| with(n, "", "", &format!("1, \"note\": \"{}\"", "n".repeat(10 << 20)))),
];

/// Which poison a record is, if it is one: one in a hundred, once each key has had a good row.
fn poison(number: i64) -> Option<&'static Poison> {
    let turn = usize::try_from(number / 100).expect("it is no negative");
    (number % 100 == 37 && number > KEYS).then(|| &POISONS[turn % POISONS.len()])
}

struct Log {
    next: i64,
}

impl Source for Log {
    fn axes(&self) -> Axes {
        Axes::default()
    }

    fn decoder(&self) -> Option<Arc<dyn Decode>> {
        Some(Arc::new(json(|r| r.key("machine").time("ts").record_bytes_max(1 << 20))))
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        if self.next == RECORDS {
            return Ok(Polled::End);
        }
        let last = RECORDS.min(self.next + i64::try_from(limits.records).unwrap_or(i64::MAX).min(500));
        let record = |number: i64| RawRecord {
            offset: Offset(number),
            log_time: Some(Time::from_millis(BEGUN + number)),
            key: None,
            payload: poison(number).map_or_else(|| good(number), |(_, make)| make(number)).into_boxed_slice(),
        };
        let records = (self.next..last).map(record).collect();
        self.next = last;
        Ok(Polled::Batches(vec![Batch::new(0, Records::Raw(records))]))
    }

    fn commit(&mut self, _: u32, _: Offset) -> Result<(), SourceError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_the_bad_records_and_no_others() {
    let (written, letters) = (Collected::default(), CollectedLetters::default());
    let plant = Topology::new("machine")
        .with(sensor(X))
        .with(provide(DOUBLE).needs(X).by(|x: f64| x * 2.0))
        .with(sink("out").needs(DOUBLE));
    let mut builder = Runtime::builder().topology(plant).source(Log { next: 0 }).sink("out", written.clone());
    builder = builder.dead_letters(letters.clone()).shards(2);
    builder.options_mut().intake.late = BadRow::DeadLetter;
    let handle = builder.start().await.expect("nothing is wrong with it");
    handle.finished().await.expect("it ends in order");

    let expected: BTreeMap<i64, &str> = (0..RECORDS).filter_map(|n| Some((n, poison(n)?.0))).collect();
    assert_eq!(expected.len() as i64, RECORDS / 100 - 1, "all but the first hundred have one");
    let letters = letters.take();
    let got: BTreeMap<i64, &str> =
        letters.iter().map(|letter| (letter.cause.offset.0, letter.reason.as_str())).collect();
    assert_eq!(got.len(), letters.len(), "a record is a dead letter once");
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{got:?}");
    for (number, reason) in &expected {
        assert!(got[number].contains(reason), "record {number}: `{}` does not say `{reason}`", got[number]);
    }
    let out: BTreeMap<i64, Value> = written.take().into_iter().map(|out| (out.cause.offset.0, out.value)).collect();
    let good: BTreeMap<i64, Value> =
        (0..RECORDS).filter(|n| poison(*n).is_none()).map(|n| (n, Value::F64(value(n) * 2.0))).collect();
    assert_eq!(out, good);
    // The numbers agree.
    let report = handle.report(None).await.expect("it has run");
    let refused = report.intake.refused + report.intake.late + report.intake.ahead;
    assert_eq!(refused, expected.len() as u64, "{:?}", report.intake);
}
