//! What makes a row of an expression fail, and where in the text.

use std::fmt;

use super::error::Place;

/// Why a row failed, with the place in the text; [`Fault::NONE`] for rows that did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    what: Cause,
    start: u16,
    end: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    None,
    DivisionByZero,
    Overflow,
    Cast,
}

impl Fault {
    pub(super) const NONE: Self = Self { what: Cause::None, start: 0, end: 0 };

    pub(super) fn new(what: Cause, place: Place) -> Self {
        // A text is shorter than 2^16: see `LENGTH_MAX`.
        let byte = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        Self { what, start: byte(place.start), end: byte(place.end) }
    }

    /// This, unless it is none.
    pub(super) fn or(self, other: Self) -> Self {
        if self == Self::NONE { other } else { self }
    }

    /// The part of `text` that failed.
    pub(super) fn part<'t>(&self, text: &'t str) -> &'t str {
        text.get(usize::from(self.start)..usize::from(self.end)).unwrap_or(text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.what {
            Cause::None => "nothing failed",
            Cause::DivisionByZero => "an i64 is divided by zero",
            Cause::Overflow => "the result is beyond i64",
            Cause::Cast => "the value is beyond i64",
        })
    }
}
