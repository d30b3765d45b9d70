//! Cases whose outcome was worked out by hand: every law, a few rows each.

mod plans;
mod rows;
mod words;

use super::case::Case;
use super::outcome::Outcome;

/// A case and what it must write.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The law it shows.
    pub name: &'static str,
    /// The case.
    pub case: Case,
    /// A line for each value, such as `P 0.1 @1500 n=3.5`: key, cause (`0.end` after all rows of a record), time in
    /// milliseconds, stream, value; then ` by` the node where it is not called as the stream, and ` #` with the plan
    /// where it is not the first. Sinks that are not `out` stand before the key, with a colon.
    pub writes: Vec<&'static str>,
    /// A line for each dead letter, such as `P 0.1 @1500 n: reason`; rows that did not come in name no node.
    pub letters: Vec<&'static str>,
}

/// All golden cases.
pub fn all() -> Vec<Golden> {
    let mut all = rows::all();
    all.extend(plans::all());
    all
}

impl Golden {
    /// Checks what was written.
    ///
    /// # Panics
    /// When it is not what was worked out by hand.
    pub fn check(&self, outcome: &Outcome) {
        let writes = writes(outcome);
        assert_eq!(writes, self.writes, "{}\n{:?}", self.name, self.case);
        let letters = letters(outcome);
        // The engine words what stands around an operator's own text, and why a row did not come in.
        let alike = |expected: &str, got: &str| match expected.split_once(": ") {
            Some((row, reason)) => got.split_once(": ").is_some_and(|got| got.0 == row && got.1.contains(reason)),
            None => got == expected,
        };
        let same = letters.len() == self.letters.len()
            && self.letters.iter().zip(&letters).all(|(expected, got)| alike(expected, got));
        assert!(same, "{}: expected dead letters {:?}, got {letters:?}\n{:?}", self.name, self.letters, self.case);
    }
}

fn writes(outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    for ((binding, key), written) in &outcome.written {
        for value in written {
            let sink = if binding.as_str() == "out" { String::new() } else { format!("{binding}:") };
            let node = if *value.node == *value.stream { String::new() } else { format!(" by {}", value.node) };
            let plan = if value.plan == 0 { String::new() } else { format!(" #{}", value.plan) };
            let place = place(key, value.cause, value.time);
            lines.push(format!("{sink}{place} {}={}{node}{plan}", value.stream, value.value));
        }
    }
    lines
}

fn letters(outcome: &Outcome) -> Vec<String> {
    let mut letters: Vec<_> = outcome.letters.iter().collect();
    letters.sort_by_key(|letter| (&letter.key, letter.cause, &letter.node, letter.time));
    let line = |letter: &super::outcome::Letter| {
        let place = place(&letter.key, letter.cause, letter.time);
        letter.node.as_ref().map_or_else(|| place.clone(), |node| format!("{place} {node}: {}", letter.reason))
    };
    letters.into_iter().map(line).collect()
}

fn place(key: &str, cause: gristmill::words::Cause, time: gristmill::words::Time) -> String {
    let row = if cause.row == u32::MAX { "end".to_owned() } else { cause.row.to_string() };
    format!("{key} {}.{row} @{}", cause.offset, time.0 / 1000)
}
