//! Finds the first difference of two outcomes and says it so that a reader can find the row.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use gristmill::words::{Cause, Key, Value};

use super::case::{Case, Happening, describe};
use super::outcome::{Letter, Outcome, Written};

/// How many values, and entries of the log, are shown before and after the difference.
const AROUND: usize = 3;

/// The first difference, in words; `None` when the outcomes are equal byte for byte.
///
/// Values of one cause that is no row (a tick, a switch) may come in any order, since two of them can have one cause.
pub fn difference(case: &Case, expected: &Outcome, got: &Outcome) -> Option<String> {
    let bindings: BTreeSet<_> = expected.written.keys().chain(got.written.keys()).collect();
    for place in bindings {
        let expected = settled(expected.written.get(place).map_or(&[], |written| written));
        let got = settled(got.written.get(place).map_or(&[], |written| written));
        let length = expected.len().max(got.len());
        let differs = |at: &usize| match (expected.get(*at), got.get(*at)) {
            (Some(expected), Some(got)) => !same(expected, got),
            _ => true,
        };
        if let Some(at) = (0..length).find(differs) {
            let (binding, key) = place;
            let mut text = format!("seed {}: sink `{binding}`, key `{key}`: value {at} differs\n", case.seed);
            let around = at.saturating_sub(AROUND)..(at + AROUND + 1).min(length);
            for row in around {
                let mark = if row == at { ">" } else { " " };
                let _ = writeln!(text, "{mark} {row:4} expected {}", show(expected.get(row)));
                let _ = writeln!(text, "{mark}           got {}", show(got.get(row)));
            }
            let causes = [expected.get(at), got.get(at)].into_iter().flatten().map(|written| written.cause);
            text.push_str(&surroundings(case, key, causes.min()));
            return Some(text);
        }
    }
    letters(case, expected, got)
}

/// Panics with the first difference and the case.
///
/// # Panics
/// When the outcomes differ.
pub fn assert_same(case: &Case, expected: &Outcome, got: &Outcome) {
    if let Some(difference) = difference(case, expected, got) {
        panic!("{difference}\n{case:?}");
    }
}

fn settled(written: &[Written]) -> Vec<Written> {
    let mut settled = written.to_vec();
    for group in settled.chunk_by_mut(|a, b| a.cause == b.cause) {
        if group[0].cause.row == u32::MAX {
            group.sort_by_cached_key(|written| {
                (written.time, written.stream.clone(), written.plan, bits(&written.value))
            });
        }
    }
    settled
}

fn same(a: &Written, b: &Written) -> bool {
    let rest = |written: &Written| Written { value: Value::Bool(false), ..written.clone() };
    rest(a) == rest(b) && bits(&a.value) == bits(&b.value) && a.value.element_type() == b.value.element_type()
}

fn bits(value: &Value) -> Vec<u8> {
    match value {
        Value::F32(value) => value.to_bits().to_le_bytes().to_vec(),
        Value::F64(value) => value.to_bits().to_le_bytes().to_vec(),
        Value::I64(value) => value.to_le_bytes().to_vec(),
        Value::Bool(value) => vec![u8::from(*value)],
        Value::Str(value) => value.as_bytes().to_vec(),
        Value::Vector(values) => values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect(),
    }
}

fn show(written: Option<&Written>) -> String {
    written.map_or_else(
        || "nothing".to_owned(),
        |written| {
            let Written { cause, time, stream, value, node, artifact, plan } = written;
            let artifact = artifact.map_or_else(String::new, |digest| format!(" artifact {:02x}", digest.0[0]));
            let bits: String = bits(value).iter().rev().map(|byte| format!("{byte:02x}")).collect();
            format!(
                "cause {}.{} time {time} {stream} = {value} (0x{bits}) by `{node}`{artifact} plan {plan}",
                cause.offset, cause.row
            )
        },
    )
}

/// The entries of the log around a cause, of its key's partition, and the ticks among them.
fn surroundings(case: &Case, key: &Key, cause: Option<Cause>) -> String {
    let Some(cause) = cause else { return String::new() };
    let of_key = case.log.iter().find_map(|entry| match &entry.what {
        Happening::Record(record) if record.key == *key => Some(entry.partition),
        _ => None,
    });
    let Some(partition) = of_key else { return String::new() };
    let near: Vec<_> = case.log.iter().enumerate().filter(|(_, entry)| entry.partition == partition).collect();
    let is_cause =
        |entry: &super::case::Entry| matches!(&entry.what, Happening::Record(record) if record.offset >= cause.offset);
    let at = near.iter().position(|(_, entry)| is_cause(entry)).unwrap_or(near.len());
    let mut text = format!("around the cause {}.{}:\n", cause.offset, cause.row);
    for (number, entry) in near.iter().take(at + AROUND).skip(at.saturating_sub(AROUND)) {
        let _ = writeln!(text, "  entry {number}: {}", describe(entry));
    }
    text
}

fn letters(case: &Case, expected: &Outcome, got: &Outcome) -> Option<String> {
    let sorted = |outcome: &Outcome| {
        let mut letters = outcome.letters.clone();
        letters.sort_by_cached_key(|letter| {
            (letter.partition, letter.cause, letter.key.clone(), letter.node.clone(), letter.time)
        });
        letters
    };
    let (expected, got) = (sorted(expected), sorted(got));
    let length = expected.len().max(got.len());
    let differs = |at: &usize| match (expected.get(*at), got.get(*at)) {
        (Some(expected), Some(got)) => !same_letter(expected, got),
        _ => true,
    };
    let at = (0..length).find(differs)?;
    let letter = expected.get(at).or(got.get(at));
    let text = format!(
        "seed {}: dead letter {at} of {length} differs\n  expected {:?}\n       got {:?}\n",
        case.seed,
        expected.get(at),
        got.get(at)
    );
    Some(text + &letter.map_or_else(String::new, |letter| surroundings(case, &letter.key, Some(letter.cause))))
}

/// The reason for a row that did not come in, and what stands around an operator's own text, are the engine's to word.
fn same_letter(expected: &Letter, got: &Letter) -> bool {
    let rest = |letter: &Letter| Letter { reason: String::new(), ..letter.clone() };
    rest(expected) == rest(got) && (expected.node.is_none() || got.reason.contains(&expected.reason))
}
