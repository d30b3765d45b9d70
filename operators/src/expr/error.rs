//! What is wrong with an expression, and where in its text.

use std::fmt;

/// What is wrong with an expression. As text it is several lines: what, the expression, and a line with carets under
/// the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprError {
    /// The expression.
    pub text: String,
    /// The place in it: the number of its first character, from 1.
    pub at: usize,
    /// How many characters are meant.
    pub length: usize,
    /// What is wrong there and what to do.
    pub problem: String,
}

/// Bytes of the text that something stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// So many characters of a long text are shown on either side of the place.
const SHOWN: usize = 60;

impl Place {
    pub(super) fn to(self, end: Self) -> Self {
        Self { start: self.start, end: end.end }
    }

    pub(super) fn error(self, problem: impl Into<String>) -> (Self, String) {
        (self, problem.into())
    }
}

impl ExprError {
    pub(super) fn new(text: &str, (place, problem): (Place, String)) -> Self {
        let characters = |bytes: usize| text.char_indices().take_while(|(at, _)| *at < bytes).count();
        let start = characters(place.start);
        let length = characters(place.end).saturating_sub(start).max(1);
        Self { text: text.to_owned(), at: start + 1, length, problem }
    }
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = (self.at - 1).saturating_sub(SHOWN);
        // A control character would move the carets away from their place.
        let shown = |character: char| if character.is_control() { ' ' } else { character };
        let line: String = self.text.chars().skip(from).take(self.at - 1 - from + 2 * SHOWN).map(shown).collect();
        let carets = "^".repeat(self.length.min(2 * SHOWN));
        write!(
            f,
            "at character {}: {}\n    {line}\n    {}{carets}",
            self.at,
            self.problem,
            " ".repeat(self.at - 1 - from)
        )
    }
}

impl std::error::Error for ExprError {}
