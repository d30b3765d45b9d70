use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use gristmill::traits::sink::{DeadLetter, DeadLetters, SinkColumn};
use gristmill::traits::source::{AxisStreams, PollLimits, Polled};
use gristmill::traits::{Done, Records, RowsRecord, Sink, SinkFrame, Source};
use gristmill::words::{
    Cause, Column, ElementType, Key, NodeId, Offset, PartitionIndex, Revision, ShardIndex, StreamName, Time, Traces,
    Value,
};
use proptest::prelude::*;

use super::{FileSource, csv, dead_letters, json_lines, sink};

const LIMITS: PollLimits = PollLimits { records: 2, bytes: 1 << 20, wait: Duration::ZERO };

/// A file that goes with the test.
struct Temporary(std::path::PathBuf);

impl Temporary {
    fn new(text: &[u8]) -> Self {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let name = format!("gristmill-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a temporary file");
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn axes() -> [AxisStreams; 1] {
    let streams = [("temp", ElementType::F32), ("note", ElementType::Str), ("v", ElementType::Vector(2))];
    [AxisStreams { streams: streams.iter().map(|(name, element)| (StreamName::from(*name), *element)).collect() }]
}

/// Everything a source brings: the offset of each record with its rows or why it is none.
fn all(mut source: FileSource) -> Vec<(i64, Result<RowsRecord, String>)> {
    let (decoder, mut all) = (source.decoder().expect("a decoder"), Vec::new());
    loop {
        let batches = match source.poll(LIMITS).expect("a poll") {
            Polled::End => return all,
            Polled::Batches(batches) => batches,
        };
        for batch in batches {
            let Records::Raw(records) = batch.records else { panic!("raw") };
            assert!(batch.partition == 0 && records.len() <= LIMITS.records);
            for record in records {
                let mut rows = Vec::new();
                let read = decoder.decode(&record, &axes(), &mut rows);
                all.push((record.offset.0, read.map(|()| rows.remove(0))));
            }
        }
    }
}

const CSV: &str = "\u{feff}ts,machine,temp,ignored,note,v\r\n1000,P1,1.5,x,\"a \"\"b\"\",\nc\",1 2\r\n\r\n1970-01-01T00:00:02Z,P2,,,,\n";

#[test]
fn csv_rows_are_read_by_the_header() {
    let file = Temporary::new(CSV.as_bytes());
    let rows = all(csv(&file.0, |r| r.key("machine").time("ts")).expect("a file"));
    let (offset, Ok(first)) = &rows[0] else { panic!("{rows:?}") };
    assert_eq!((*offset, &*first.key, first.times[0]), (0, "P1", Time::from_secs(1)));
    let value = |column: usize| first.columns[column].as_ref().value(0);
    assert_eq!(value(0), Some(Value::F32(1.5)));
    assert_eq!(value(1), Some(Value::Str("a \"b\",\nc".into())));
    assert_eq!(value(2), Some(Value::Vector([1.0, 2.0].into())));
    let (offset, Ok(second)) = &rows[1] else { panic!("{rows:?}") };
    assert_eq!((*offset, &*second.key, second.times[0]), (2, "P2", Time::from_secs(2)));
    assert!((0..3).all(|column| second.columns[column].as_ref().is_missing(0)));
    let rest = all(csv(&file.0, |r| r.key("machine").time("ts")).expect("a file").from_offset(1));
    assert_eq!(rest.len(), 1);
}

/// Bug: a row with an infinite value was refused, though the sink writes such values. Fix: it is read, and the sensor's range
/// decides.
#[test]
fn infinite_numbers_are_read() {
    let file = Temporary::new(b"ts,machine,temp,v\n1,P1,inf,1 -inf\n2,P1,-Infinity,\n");
    let rows = all(csv(&file.0, |r| r.key("machine").time("ts")).expect("a file"));
    let value = |row: usize, column: usize| rows[row].1.as_ref().expect("good").columns[column].as_ref().value(0);
    assert_eq!(value(0, 0), Some(Value::F32(f32::INFINITY)));
    assert_eq!(value(0, 2), Some(Value::Vector([1.0, f32::NEG_INFINITY].into())));
    assert_eq!(value(1, 0), Some(Value::F32(f32::NEG_INFINITY)));
}

#[test]
fn bad_csv_rows_say_what_and_where() {
    let rows = "1,P1\",5\n1,P1,hot\n1,P1\n1,P1,1,2\nsoon,P1,1\n1,,1\n1,P1,1e40\n1,P1,infinite\n1,\"P1\"x,1\n1,P1,\"1\n";
    let file = Temporary::new(format!("ts,machine,temp\n{rows}").as_bytes());
    let rows = all(csv(&file.0, |r| r.key("machine").time("ts")).expect("a file"));
    let rows_said = [
        "",
        "column `temp`: `hot` is no f32",
        "the row has 2 fields; the header has 3",
        "the row has more than 3 fields",
        "column `ts`: `soon` is not an RFC 3339 time",
        "column `machine`: the key is empty",
        "out of the range of f32",
        "`infinite` is no f32",
        "there is text after a closing quote",
        "a quote is not closed",
    ];
    assert_eq!(rows.len(), rows_said.len());
    assert!(rows[0].1.is_ok(), "a quote within a field is a character");
    for ((_, row), said) in rows.iter().zip(rows_said).skip(1) {
        assert!(row.as_ref().is_err_and(|reason| reason.contains(said)), "{row:?} is not `{said}`");
    }
}

#[test]
fn a_file_without_what_is_described_is_refused() {
    let file = Temporary::new(b"ts,machine\n");
    for (source, said) in [
        (csv(&file.0, |r| r.key("device").time("ts")), "no column `device` for the key; it has `ts`, `machine`"),
        (csv(&file.0, |r| r.key("machine")), "no time"),
        (csv(&file.0, |r| r.key("machine").key_is("P1").time("ts")), "two keys"),
        (csv("/nowhere", |r| r.key("machine").time("ts")), "file `/nowhere`: No such file"),
        (csv("/", |r| r.key("machine").time("ts")), "directory"),
        (json_lines(&file.0, |r| r), "no key"),
    ] {
        let reason = source.expect_err("refused").reason;
        assert!(reason.contains(said), "{reason}");
    }
    let empty = Temporary::new(b"");
    assert!(csv(&empty.0, |r| r.key("k").time("t")).expect_err("refused").reason.contains("no header"));
}

#[test]
fn json_lines_are_read_in_bounded_memory() {
    let mut text = b"{\"device\":\"P1\",\"ts\":1,\"temp\":2}\n\n".to_vec();
    text.resize(text.len() + 9 * 1024 * 1024, b'x');
    text.extend_from_slice(b"\n{\"device\":\"P1\",\"ts\":2,\"temp\":3}");
    let file = Temporary::new(&text);
    let rows = all(json_lines(&file.0, |r| r.key("device").time("ts")).expect("a file"));
    assert_eq!(rows.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [0, 2, 3]);
    assert!(rows[1].1.as_ref().is_err_and(|reason| reason.contains("the limit is")), "{:?}", rows[1]);
    assert!(rows[0].1.is_ok() && rows[2].1.is_ok());
}

/// Bug: the first row of a file that begins with a byte order mark was a dead letter. Fix: the mark is no part of it.
#[test]
fn a_byte_order_mark_is_no_part_of_the_first_record() {
    let text = "\u{feff}{\"device\":\"P1\",\"ts\":1,\"temp\":2}\n{\"device\":\"P1\",\"ts\":2,\"temp\":3}\n";
    let file = Temporary::new(text.as_bytes());
    let lines = || json_lines(&file.0, |r| r.key("device").time("ts")).expect("a file");
    let rows = all(lines());
    assert!(rows.len() == 2 && rows.iter().all(|(_, row)| row.is_ok()), "{rows:?}");
    let rest = all(lines().from_offset(1));
    assert!(matches!(&rest[..], [(1, Ok(row))] if row.times[0] == Time(2_000)), "{rest:?}");
    assert!(all(json_lines(&Temporary::new(b"\xef\xbb\xbf").0, |r| r.key("k").time("t")).expect("a file")).is_empty());
    // Also where the first column is quoted and has a line break in it.
    let file = Temporary::new("\u{feff}\"ts\nin ms\",machine,temp\n1000,P1,1.5\n".as_bytes());
    let rows = all(csv(&file.0, |r| r.key("machine").time("ts\nin ms")).expect("a file"));
    assert!(matches!(&rows[..], [(0, Ok(_))]), "{rows:?}");
}

/// A pipe, by its path, and where it is written.
#[cfg(target_os = "linux")]
fn pipe() -> (String, std::io::PipeReader, std::io::PipeWriter) {
    use std::os::fd::AsRawFd;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (format!("/proc/self/fd/{}", reader.as_raw_fd()), reader, writer)
}

/// Bug: no pipe could be read: "Illegal seek". Cause: a file was opened with a seek, to tell it from a folder. Fix: it is
/// asked what it is; what came through a pipe does not wait for more.
#[cfg(target_os = "linux")]
#[test]
fn a_pipe_is_read_as_its_rows_come() {
    use std::io::Write;
    let (path, _reader, mut writer) = pipe();
    let mut write = |text: &str| writer.write_all(text.as_bytes()).expect("the pipe has room");
    write("\u{feff}ts,machine,temp\n1,P1,1.5\n2,P1");
    let mut source = csv(&path, |r| r.key("machine").time("ts")).expect("a pipe");
    let poll = |source: &mut FileSource| match source.poll(LIMITS).expect("a poll") {
        Polled::End => None,
        Polled::Batches(batches) => match &batches[0].records {
            Records::Raw(records) => Some(records.iter().map(|record| record.offset.0).collect::<Vec<_>>()),
            other => panic!("{other:?}"),
        },
    };
    assert_eq!(poll(&mut source), Some(vec![0]));
    write(",2\n3,P1,3\n");
    assert_eq!(poll(&mut source), Some(vec![1, 2]));
    drop(writer);
    assert_eq!(poll(&mut source), None);
}

#[cfg(all(target_os = "linux", feature = "parquet"))]
#[test]
fn a_parquet_file_is_no_pipe() {
    let (path, _reader, _writer) = pipe();
    for path in [path.as_str(), "/"] {
        let reason = super::parquet(path, |r| r.key("machine").time("ts")).expect_err("refused").reason;
        assert!(reason.contains("it is no regular file"), "{reason}");
    }
}

fn write(sink: &dyn Sink, key: &str, done: &Arc<AtomicUsize>) {
    let (key, stream, node) = (Key::from(key), StreamName::from("wear"), NodeId::from("wear"));
    let values = Column::F32(vec![0.5, f32::NAN, 1.5]);
    let times = [0, 1, 2].map(Time::from_secs);
    let causes = [0, 1, 2].map(|row| Cause { offset: Offset(7), row });
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
        revision: Revision(2),
        source: "plant",
        partition: PartitionIndex(0),
        source_partition: 0,
        columns: &[column],
        traces: &Traces::default(),
    };
    let done = done.clone();
    let said = Done::new(move || {
        done.fetch_add(1, Ordering::AcqRel);
    });
    sink.open(ShardIndex(0)).expect("the sink opens").write(&frame, said);
}

#[test]
fn what_a_sink_writes_is_appended_and_read_back() {
    let file = Temporary::new(b"");
    let done = Arc::default();
    for _ in 0..2 {
        let sink = sink(&file.0).csv();
        write(&sink, "P1, \"old\"", &done);
        sink.flush().expect("a disk");
    }
    assert_eq!(done.load(Ordering::Acquire), 2);
    let text = std::fs::read_to_string(&file.0).expect("text");
    let row = "\"P1, \"\"old\"\"\",1970-01-01T00:00:02.000000Z,wear,1.5,wear,,2,plant,0,7,2";
    assert_eq!((text.lines().count(), text.lines().nth(2)), (5, Some(row)));
    assert_eq!(all_answers(csv(&file.0, |r| r.key("key").time("time")).expect("a file")), 4);

    let lines = Temporary::new(b"left over");
    let sink = sink(&lines.0).truncate();
    write(&sink, "P1", &done);
    let text = std::fs::read_to_string(&lines.0).expect("text");
    assert!(text.lines().count() == 2 && text.starts_with("{\"key\":\"P1\""), "{text}");
}

/// Bug: after a torn write the first new line was glued to what was left, and lost although its frame was done. Fix: what
/// was torn is ended by a line break first.
#[test]
fn a_line_that_was_torn_does_not_take_the_next_one_with_it() {
    let done = Arc::default();
    let file = Temporary::new(b"{\"torn");
    for _ in 0..2 {
        write(&sink(&file.0), "P1", &done);
    }
    let text = std::fs::read_to_string(&file.0).expect("text");
    assert!(text.starts_with("{\"torn\n") && text.lines().count() == 5, "{text}");
    for line in text.lines().skip(1) {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }

    let file = Temporary::new(b"key,time,stream,value\nP0,1970");
    for _ in 0..2 {
        write(&sink(&file.0).csv(), "P1", &done);
    }
    let text = std::fs::read_to_string(&file.0).expect("text");
    assert_eq!((text.lines().count(), text.lines().nth(1)), (6, Some("P0,1970")), "{text}");
    assert!(text.lines().skip(2).all(|line| line.starts_with("P1,1970-01-01T")), "{text}");

    // Within quotes a line break is part of the text.
    let file = Temporary::new(b"key,time,stream,value\nP0,1970,note,\"a, \"\"b");
    write(&sink(&file.0).csv(), "P1", &done);
    let text = std::fs::read_to_string(&file.0).expect("text");
    assert_eq!(text.lines().nth(1), Some("P0,1970,note,\"a, \"\"b\""), "{text}");
    assert!(text.lines().skip(2).all(|line| line.starts_with("P1,1970-01-01T")), "{text}");
    assert_eq!(done.load(Ordering::Acquire), 5);
}

#[test]
fn a_full_disk_is_told_once_and_nothing_is_done() {
    let told = Arc::new(AtomicUsize::new(0));
    let telling = told.clone();
    let sink = sink("/dev/full").on_failure(move |reason| {
        assert!(reason.contains("`/dev/full` cannot be written: No space left"), "{reason}");
        telling.fetch_add(1, Ordering::AcqRel);
    });
    let done = Arc::default();
    write(&sink, "P1", &done);
    write(&sink, "P1", &done);
    assert_eq!((told.load(Ordering::Acquire), done.load(Ordering::Acquire)), (1, 0));
    assert!(sink.flush().is_err());
}

#[test]
fn dead_letters_are_lines() {
    let file = Temporary::new(b"");
    let letters = dead_letters(&file.0).expect("a file");
    let letter = DeadLetter {
        source: "plant".into(),
        source_partition: 0,
        cause: Cause::default(),
        key: None,
        node: None,
        time: None,
        reason: "no time".to_owned(),
        record: None,
        values: Vec::new(),
    };
    letters.write(vec![letter.clone(), letter.clone()], Done::new(|| ()));
    letters.flush().expect("a disk");
    let line = "{\"source\":\"plant\",\"partition\":0,\"offset\":0,\"row\":0,\"reason\":\"no time\"}\n";
    assert_eq!(std::fs::read_to_string(&file.0).expect("text"), line.repeat(2));
    // After a torn one.
    let file = Temporary::new(b"{\"source\":\"pl");
    dead_letters(&file.0).expect("a file").write(vec![letter], Done::new(|| ()));
    assert_eq!(std::fs::read_to_string(&file.0).expect("text"), format!("{{\"source\":\"pl\n{line}"));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(prop::sample::select(b"a1,\"\n\r \xff".to_vec()), 0..60)) {
        let file = Temporary::new(&[b"ts,machine,temp,note\n", &bytes[..]].concat());
        let _ = all_answers(csv(&file.0, |r| r.key("machine").time("ts")).expect("a file"));
    }
}

/// As [`all`], for records that may be of no asked stream.
fn all_answers(mut source: FileSource) -> usize {
    let (decoder, mut count) = (source.decoder().expect("a decoder"), 0);
    while let Polled::Batches(batches) = source.poll(LIMITS).expect("a poll") {
        for batch in batches {
            let Records::Raw(records) = batch.records else { panic!("raw") };
            for record in records {
                let _ = decoder.decode(&record, &axes(), &mut Vec::new());
                count += 1;
            }
        }
    }
    count
}
