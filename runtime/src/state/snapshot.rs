//! The file of a class: a head, a record for each key, an end that says how many and which.

use serde::{Deserialize, Serialize};

use super::envelope::{self, EnvelopeError, Kind, Opened, Sum, sum_of};
use super::key::KeyRecord;
use crate::words::{Class, Key, Offset, Revision, Time};

/// What a file is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The class of its keys.
    pub class: Class,
    /// The plan that ran.
    pub revision: Revision,
    /// When it was saved.
    pub saved: Time,
    /// The version of gristmill that wrote it.
    pub by: String,
    /// How far each partition of the source is in it: the next offset, by the source's own number.
    pub partitions: Vec<(u32, Offset)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    keys: u64,
    /// A hash over the checksums of all records before: none is missing, twice, or of another file.
    chain: Sum,
}

/// A whole file.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What it is about.
    pub head: Head,
    /// Its keys, each with the bytes of its record.
    pub keys: Vec<(KeyRecord, usize)>,
}

/// Why a file is not what was written, or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {record} at byte {byte}: {error}")]
pub struct Damage {
    /// Which record, from 0: the head.
    pub record: usize,
    /// Where it begins.
    pub byte: usize,
    /// What is wrong.
    pub error: EnvelopeError,
}

/// What a look at every record of a file found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What it is about, if its first record says so.
    pub head: Option<Head>,
    /// Records of keys that are whole.
    pub keys: usize,
    /// All that is wrong.
    pub damage: Vec<Damage>,
}

/// Writes a file record by record.
pub(crate) struct SnapshotWriter {
    keys: u64,
    chain: Sum,
}

impl SnapshotWriter {
    /// Begins: adds the head to `out`.
    pub(crate) fn new(head: &Head, out: &mut Vec<u8>) -> Result<Self, EnvelopeError> {
        let sum = envelope::seal(Kind::Head, head, out)?;
        Ok(Self { keys: 0, chain: sum_of(&[&sum]) })
    }

    /// Counts a record that was sealed elsewhere, in its place.
    pub(crate) fn count(&mut self, sum: Sum) {
        self.keys += 1;
        self.chain = sum_of(&[&self.chain, &sum]);
    }

    /// Adds the end to `out`.
    pub(crate) fn end(self, out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        envelope::seal(Kind::End, &End { keys: self.keys, chain: self.chain }, out).map(|_| ())
    }
}

/// Reads a file whole.
///
/// # Errors
/// The first damage.
pub fn read(bytes: &[u8]) -> Result<Snapshot, Damage> {
    let mut keys = Vec::new();
    let mut checked = Checked::default();
    walk(bytes, &mut checked, true, |key, size| keys.push((key, size)));
    match (checked.damage.into_iter().next(), checked.head) {
        (Some(damage), _) => Err(damage),
        (None, Some(head)) => Ok(Snapshot { head, keys }),
        (None, None) => Err(lacks(0, 0, "it has no head")),
    }
}

/// Looks at every record of a file, beyond the first damage as far as possible.
pub fn check(bytes: &[u8]) -> Checked {
    let mut checked = Checked::default();
    walk(bytes, &mut checked, false, |_, _| {});
    checked
}

fn lacks(record: usize, byte: usize, what: &str) -> Damage {
    Damage { record, byte, error: EnvelopeError::Content(what.to_owned()) }
}

fn walk(bytes: &[u8], checked: &mut Checked, stop_at_first: bool, mut took: impl FnMut(KeyRecord, usize)) {
    let (mut byte, mut record, mut chain): (usize, usize, Sum) = (0, 0, [0; 8]);
    while byte < bytes.len() {
        let step = match envelope::open(&bytes[byte..]) {
            Ok(opened) => {
                let next = byte + opened.bytes();
                let (ended, result) = one(&opened, record, chain, checked, &mut took);
                chain = if record == 0 { sum_of(&[&opened.sum]) } else { sum_of(&[&chain, &opened.sum]) };
                if let Err(error) = result {
                    checked.damage.push(Damage { record, byte, error });
                } else if ended {
                    if next < bytes.len() {
                        let more = format!("{} bytes come after the end", bytes.len() - next);
                        checked.damage.push(lacks(record + 1, next, &more));
                    }
                    return;
                }
                next
            }
            Err(error) => {
                // Where only the content is damaged the next record's place is known; its chain is broken all the same.
                let length = bytes.get(byte + 16..byte + 20).map(|l| u32::from_le_bytes([l[0], l[1], l[2], l[3]]));
                let goes_on = matches!(error, EnvelopeError::Checksum { .. });
                checked.damage.push(Damage { record, byte, error });
                match length.filter(|_| goes_on) {
                    Some(length) => byte + envelope::HEADER_BYTES + length as usize,
                    None => return,
                }
            }
        };
        if stop_at_first && !checked.damage.is_empty() {
            return;
        }
        (byte, record) = (step, record + 1);
    }
    checked.damage.push(lacks(record, byte, "the end is missing: the file is cut off"));
}

/// Takes one record; whether it was the end.
fn one(
    opened: &Opened<'_>,
    record: usize,
    chain: Sum,
    checked: &mut Checked,
    took: &mut impl FnMut(KeyRecord, usize),
) -> (bool, Result<(), EnvelopeError>) {
    match (opened.kind, record) {
        (Kind::Head, 0) => (false, envelope::content(opened.content).map(|head| checked.head = Some(head))),
        (Kind::Key, 1..) => {
            let taken = envelope::content::<KeyRecord>(opened.content).map(|key| {
                checked.keys += 1;
                took(key, opened.bytes());
            });
            (false, taken)
        }
        (Kind::End, 1..) => {
            let whole = envelope::content::<End>(opened.content).and_then(|end| {
                let whole = end.keys == record as u64 - 1 && end.chain == chain;
                let why = || format!("{} records of keys were written, and these are others", end.keys);
                if whole { Ok(()) } else { Err(EnvelopeError::Content(why())) }
            });
            (true, whole)
        }
        (kind, _) => (false, Err(EnvelopeError::Content(format!("a record of kind {kind:?} has no business here")))),
    }
}

impl Snapshot {
    /// A key's record.
    pub fn key(&self, key: &str) -> Option<&KeyRecord> {
        self.keys.iter().map(|(record, _)| record).find(|record| record.key.as_str() == key)
    }

    /// The keys, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(|(record, _)| &record.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{AxisClock, History, IntakeRecord, KeyAlign, KeyHealth, NodeRecord, OperatorRecord, Waiting};
    use crate::traits::Digest;
    use crate::words::{Cause, Column, ElementType};

    fn align() -> KeyAlign {
        let history = History {
            times: vec![Time(5)],
            causes: vec![Cause { offset: Offset(6), row: 7 }],
            values: Column::F32(vec![1.5]),
            rising: true,
            forgotten: None,
        };
        KeyAlign {
            histories: vec![Some(history), None],
            newest: vec![Some(Time(8)), None],
            waiting: [Time(9)].into(),
            clock: Some(Time(10)),
            last_row: Some(Time(11)),
            passed: Some(Time(12)),
            moved: None,
        }
    }

    /// A record with something in each of its parts.
    fn full() -> KeyRecord {
        let waiting = Waiting { times: vec![Time(2)], rows: vec![vec![Column::I64(vec![3])]] };
        let clock = AxisClock { released: Time(1), newest: Time(2), waiting: Some(Box::new(waiting)) };
        let health = KeyHealth {
            artifact: Some(Digest([4; 32])),
            resumed: Some(Revision(13)),
            rows: 14,
            failed: [15].into(),
            quarantined: true,
            reason: "why".to_owned(),
        };
        let node = NodeRecord {
            name: "node".into(),
            identity: [16; 8],
            born: Revision(17),
            artifact: Some(Digest([18; 32])),
            operator: Some(OperatorRecord { version: 19, bytes: vec![20, 21] }),
            align: Some(align()),
            last: vec![None, Some(Column::Str(vec![Some("text".into())]))],
            health: Some(health),
        };
        KeyRecord {
            key: "key".into(),
            partition: 22,
            next: Offset(23),
            home: true,
            revision: Revision(24),
            intake: IntakeRecord {
                ticked: Time(25),
                like: Some((Offset(26), Some(Time(27)))),
                axes: vec![(vec![("x".into(), ElementType::Vector(3))], clock)],
            },
            nodes: vec![node],
        }
    }

    fn head() -> Head {
        let (class, by) = ("class".into(), "0.0.0".to_owned());
        Head { class, revision: Revision(1), saved: Time(2), by, partitions: vec![(22, Offset(23))] }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let mut bytes = Vec::new();
        let mut writer = SnapshotWriter::new(&head(), &mut bytes).expect("it is small");
        writer.count(envelope::seal(Kind::Key, &full(), &mut bytes).expect("it is small"));
        writer.end(&mut bytes).expect("it is small");
        let snapshot = read(&bytes).expect("it is whole");
        assert_eq!(snapshot.head, head());
        assert_eq!(format!("{:?}", snapshot.keys[0].0), format!("{:?}", full()));
    }

    #[test]
    fn the_bytes_that_are_written_are_those_of_the_schema() {
        let mut bytes = Vec::new();
        envelope::seal(Kind::Head, &head(), &mut bytes).expect("it is small");
        let head = envelope::hex(&sum_of(&[&bytes[envelope::HEADER_BYTES..]]));
        bytes.clear();
        envelope::seal(Kind::Key, &full(), &mut bytes).expect("it is small");
        let key = envelope::hex(&sum_of(&[&bytes[envelope::HEADER_BYTES..]]));
        let schema = envelope::hex(&envelope::schema());
        // Who changes what is written changes SCHEMA in envelope.rs too, and then these.
        let written = ("2db7dd7c2aebb8d3", "4814b2028cbfe5ff", "a89f5e7e286b7ac5");
        assert_eq!((&*head, &*key, &*schema), written);
    }
}
