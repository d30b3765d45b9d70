//! The trace that a record is part of, as W3C Trace Context has it: plain data that travels with a micro-batch.

use std::fmt;

use super::Offset;

/// Bytes of a `traceparent`.
const TEXT_BYTES: usize = 55;

/// What the header `traceparent` of a record says: which trace it is part of, and after which span.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: [u8; 16],
    parent: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// Reads `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`, all in lower case. `None` for anything else: another
    /// version, an id of zeros, a byte too many.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != TEXT_BYTES || &text[..3] != b"00-" || text[35] != b'-' || text[52] != b'-' {
            return None;
        }
        let (mut trace, mut parent, mut flags) = ([0; 16], [0; 8], [0; 1]);
        hex(&text[3..35], &mut trace)?;
        hex(&text[36..52], &mut parent)?;
        hex(&text[53..], &mut flags)?;
        let named = trace != [0; 16] && parent != [0; 8];
        named.then_some(Self { trace, parent, flags: flags[0] })
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace
    }

    /// The id of the span that the record came out of.
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent
    }
}

fn hex(digits: &[u8], into: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    for (pair, byte) in digits.chunks_exact(2).zip(into) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(())
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, parent, flags } = self;
        let (trace, parent) = (u128::from_be_bytes(*trace), u64::from_be_bytes(*parent));
        write!(f, "00-{trace:032x}-{parent:016x}-{flags:02x}")
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceParent({self})")
    }
}

/// Which records of a micro-batch are part of a trace. Empty, and without memory of its own, where none is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces(Vec<(Offset, TraceParent)>);

impl Traces {
    /// The record at `offset` is part of a trace. Offsets rise.
    pub fn push(&mut self, offset: Offset, parent: TraceParent) {
        debug_assert!(self.0.last().is_none_or(|(last, _)| *last < offset), "offsets rise");
        self.0.push((offset, parent));
    }

    /// The trace of the record at `offset`.
    #[inline]
    pub fn of(&self, offset: Offset) -> Option<TraceParent> {
        if self.0.is_empty() {
            return None;
        }
        let at = self.0.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        Some(self.0[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_again() {
        let parent = TraceParent::parse(GOOD.as_bytes()).expect("the example of the recommendation");
        assert_eq!(parent.to_string(), GOOD);
        assert_eq!((parent.trace_id()[0], parent.parent_id()[7]), (0x4b, 0xb7));
    }

    #[test]
    fn anything_else_is_not_read() {
        let at = |place: usize, byte: u8| {
            let mut text = GOOD.as_bytes().to_vec();
            text[place] = byte;
            text
        };
        // No byte of it may be other than it is: upper case, a letter beyond f, a dash elsewhere, another version.
        for place in 0..TEXT_BYTES {
            for byte in [b'F', b'g', b' ', 0, 0xff] {
                assert_eq!(TraceParent::parse(&at(place, byte)), None, "byte {place}");
            }
        }
        for text in [
            "",
            "00",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "`{text}`");
        }
    }

    #[test]
    fn a_record_has_the_trace_that_it_came_with() {
        let parent = TraceParent::parse(GOOD.as_bytes()).expect("good");
        let mut traces = Traces::default();
        assert_eq!(traces.of(Offset(3)), None);
        traces.push(Offset(3), parent);
        traces.push(Offset(7), parent);
        assert_eq!([2, 3, 5, 7, 8].map(|at| traces.of(Offset(at)).is_some()), [false, true, false, true, false]);
    }
}
