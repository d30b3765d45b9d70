//! The envelope around each record, so that whoever finds it can tell whether it is whole, and whether it can be read.
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | `GRST` |
//! | 2 | version of this format |
//! | 1 | codec of the content: 1 is bincode 2, standard configuration |
//! | 1 | kind: 1 head, 2 key, 3 end |
//! | 8 | schema: the beginning of the SHA-256 of what the contents are made of |
//! | 4 | length of the content |
//! | 8 | checksum: the beginning of the SHA-256 of all the above and the content |
//! | … | the content |
//!
//! Numbers are little-endian.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// The version of the envelope that is written and read.
pub const FORMAT: u16 = 1;
/// The codec of contents: bincode 2 in its standard configuration.
pub const CODEC: u8 = 1;
/// What every record begins with.
pub const MAGIC: [u8; 4] = *b"GRST";
/// Bytes before the content.
pub const HEADER_BYTES: usize = 28;
/// The largest content of one record.
pub const CONTENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What the contents are made of. It is changed with the structs that are written, and a test holds it to their bytes.
const SCHEMA: &str = "\
head { class, revision, saved, by, partitions [ (number, next) ] } \
key { key, partition, next, home, revision, \
intake { ticked, like ( offset, log_time )?, axes [ streams [ (name, type) ], clock { released, newest, \
waiting { times, rows [ [ column ] ] }? } ] }, \
nodes [ name, identity, born, artifact?, operator { version, bytes }?, \
align { histories [ { times, causes, values, rising, forgotten? }? ], newest, waiting, clock, last_row, passed }?, \
last [ column? ], health { artifact, resumed, rows, failed, quarantined, reason }? ] } \
end { keys, chain }";

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What a file is about: its first record.
    Head = 1,
    /// All that is kept of a key.
    Key = 2,
    /// That the file ends here, and with what.
    End = 3,
}

/// The beginning of a hash.
pub type Sum = [u8; 8];

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It begins with something else.
    #[error("it begins with {found:02x?} and not with `GRST`: it is something else, or damaged")]
    Foreign {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The envelope is of another version.
    #[error("it is of format version {found}, and this program reads version {FORMAT}")]
    Format {
        /// Its version.
        found: u16,
    },
    /// The content is written otherwise.
    #[error("its content is of codec {found}, and this program reads codec {CODEC}")]
    Codec {
        /// Its codec.
        found: u8,
    },
    /// The content is made of other parts.
    #[error("its content is of schema {}, and this program reads schema {}", hex(found), hex(&schema()))]
    Schema {
        /// Its schema.
        found: Sum,
    },
    /// There is no such kind of record.
    #[error("it is of kind {found}, which there is not")]
    Kind {
        /// Its kind.
        found: u8,
    },
    /// It is longer than what is there.
    #[error("it is cut off: it has {needed} bytes, of which {left} are there")]
    Truncated {
        /// Its length, as far as it is known.
        needed: usize,
        /// What is there.
        left: usize,
    },
    /// It is too large.
    #[error("it has {bytes} bytes; the limit is {CONTENT_BYTES_MAX}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Some of its bytes are not those that were written.
    #[error("it is damaged: its checksum is {found}, and should be {expected}", found = hex(found), expected = hex(expected))]
    Checksum {
        /// Of what is there.
        found: Sum,
        /// As written.
        expected: Sum,
    },
    /// Its content makes no sense.
    #[error("its content cannot be read: {0}")]
    Content(String),
}

/// A record whose envelope is whole.
#[derive(Clone, Copy, Debug)]
pub struct Opened<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its content.
    pub content: &'a [u8],
    /// Its checksum.
    pub sum: Sum,
}

impl Opened<'_> {
    /// Bytes of the record, envelope and content.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.content.len()
    }
}

/// The schema of the contents that are written and read.
pub fn schema() -> Sum {
    sum_of(&[SCHEMA.as_bytes()])
}

/// The beginning of the SHA-256 of these parts, one after the other.
pub(super) fn sum_of(parts: &[&[u8]]) -> Sum {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    first_8(&hash.finalize())
}

fn first_8(bytes: &[u8]) -> Sum {
    std::array::from_fn(|at| bytes[at])
}

/// A sum as text.
pub fn hex(sum: &Sum) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds a record to `out`.
///
/// # Errors
/// When it is too large, or cannot be written down.
pub fn seal(kind: Kind, content: &impl Serialize, out: &mut Vec<u8>) -> Result<Sum, EnvelopeError> {
    let content = bincode::serde::encode_to_vec(content, bincode::config::standard())
        .map_err(|error| EnvelopeError::Content(error.to_string()))?;
    let length = u32::try_from(content.len()).ok().filter(|_| content.len() <= CONTENT_BYTES_MAX);
    let length = length.ok_or(EnvelopeError::TooLarge { bytes: content.len() })?;
    let begin = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&[CODEC, kind as u8]);
    out.extend_from_slice(&schema());
    out.extend_from_slice(&length.to_le_bytes());
    let sum = sum_of(&[&out[begin..], &content]);
    out.extend_from_slice(&sum);
    out.extend_from_slice(&content);
    Ok(sum)
}

/// The record at the beginning of `bytes`.
///
/// # Errors
/// [`EnvelopeError`]: what is wrong with it.
pub fn open(bytes: &[u8]) -> Result<Opened<'_>, EnvelopeError> {
    let begin = &bytes[..bytes.len().min(MAGIC.len())];
    if begin != &MAGIC[..begin.len()] {
        let found = std::array::from_fn(|at| begin.get(at).copied().unwrap_or(0));
        return Err(EnvelopeError::Foreign { found });
    }
    let cut = |needed| EnvelopeError::Truncated { needed, left: bytes.len() };
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| cut(HEADER_BYTES))?;
    let format = u16::from_le_bytes([header[4], header[5]]);
    if format != FORMAT {
        return Err(EnvelopeError::Format { found: format });
    }
    if header[6] != CODEC {
        return Err(EnvelopeError::Codec { found: header[6] });
    }
    let kind = match header[7] {
        1 => Kind::Head,
        2 => Kind::Key,
        3 => Kind::End,
        found => return Err(EnvelopeError::Kind { found }),
    };
    let found = first_8(&header[8..16]);
    if found != schema() {
        return Err(EnvelopeError::Schema { found });
    }
    let length = u32::from_le_bytes([header[16], header[17], header[18], header[19]]) as usize;
    if length > CONTENT_BYTES_MAX {
        return Err(EnvelopeError::TooLarge { bytes: length });
    }
    let content = rest.get(..length).ok_or_else(|| cut(HEADER_BYTES + length))?;
    let expected = first_8(&header[20..28]);
    let found = sum_of(&[&header[..20], content]);
    if found != expected {
        return Err(EnvelopeError::Checksum { found, expected });
    }
    Ok(Opened { kind, content, sum: found })
}

/// What a content says.
///
/// # Errors
/// When it makes no sense, or is too large.
pub fn content<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, EnvelopeError> {
    if bytes.len() > CONTENT_BYTES_MAX {
        return Err(EnvelopeError::TooLarge { bytes: bytes.len() });
    }
    // The decoder's own limit counts numbers as if they were not packed: it would refuse what was written.
    let (value, read) = bincode::serde::decode_from_slice::<T, _>(bytes, bincode::config::standard())
        .map_err(|error| EnvelopeError::Content(error.to_string()))?;
    if read == bytes.len() {
        Ok(value)
    } else {
        Err(EnvelopeError::Content(format!("{} bytes are left over", bytes.len() - read)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Vec<u8> {
        let mut bytes = Vec::new();
        seal(Kind::End, &(3_u64, "some text"), &mut bytes).expect("it is small");
        bytes
    }

    #[test]
    fn what_was_sealed_is_opened() {
        let bytes = record();
        let opened = open(&bytes).expect("it is whole");
        assert_eq!((opened.kind, opened.bytes()), (Kind::End, bytes.len()));
        assert_eq!(content::<(u64, String)>(opened.content), Ok((3, "some text".to_owned())));
        assert!(content::<u64>(opened.content).is_err(), "what is left over is no content");
    }

    #[test]
    fn every_bit_and_every_length_counts() {
        let bytes = record();
        for at in 0..bytes.len() {
            assert!(open(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(open(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn other_versions_are_told_apart_from_damage_by_both_numbers() {
        let with = |at: usize, byte: u8| {
            let mut bytes = record();
            bytes[at] = byte;
            open(&bytes).expect_err("another version").to_string()
        };
        assert_eq!(with(4, 7), "it is of format version 7, and this program reads version 1");
        assert_eq!(with(4, 0), "it is of format version 0, and this program reads version 1");
        assert_eq!(with(6, 9), "its content is of codec 9, and this program reads codec 1");
        let schema = with(8, 0xff);
        assert!(schema.contains("schema ff") && schema.contains(&hex(&super::schema())), "{schema}");
        assert!(open(b"{\"a\": 1}").expect_err("JSON").to_string().contains("not with `GRST`"));
    }
}
