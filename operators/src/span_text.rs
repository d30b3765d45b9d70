//! Lengths of time as manifests write them: `500ms`, `60s`, `5min`, `2h`.

use gristmill::words::Span;
use serde::{Deserialize, Deserializer};

const UNITS: [(&str, i64); 4] = [("ms", 1_000), ("min", 60_000_000), ("s", 1_000_000), ("h", 3_600_000_000)];

/// Reads a whole number with a unit: `ms`, `s`, `min` or `h`.
///
/// ```
/// use gristmill::words::Span;
/// use gristmill_operators::span_text;
/// assert_eq!(span_text::parse("5min"), Ok(Span::from_secs(300)));
/// assert!(span_text::parse("5").unwrap_err().contains("ms, s, min or h"));
/// ```
///
/// # Errors
/// A text that says what is read instead.
pub fn parse(text: &str) -> Result<Span, String> {
    let wrong = || format!("`{text}` is not a length of time; write a whole number and ms, s, min or h, such as `60s`");
    let unit_at = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let (_, micros) = UNITS.into_iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(wrong)?;
    number.checked_mul(micros).map(Span).ok_or_else(wrong)
}

/// For `#[serde(deserialize_with)]` of a span that must be there.
pub(crate) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// For `#[serde(deserialize_with)]` of a span that may be absent.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
    required(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_whole_number_and_a_unit() {
        assert_eq!(parse("500ms"), Ok(Span::from_millis(500)));
        assert_eq!(parse("60s"), Ok(Span::from_secs(60)));
        assert_eq!(parse("2 h"), Ok(Span::from_secs(7200)));
        for bad in ["", "s", "60", "1.5s", "-1s", "60S", "60 sec", "99999999999999999999s", "9999999999999h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
