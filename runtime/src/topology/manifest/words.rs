//! The little texts in manifests: needs, provided streams, lengths of time, values.

use super::error::Refusal;
use super::tree::shorten;
use crate::topology::need::{Need, NeedKind};
use crate::words::id::check_name;
use crate::words::{ElementType, Span, StreamName, Value};

type Read<T> = Result<T, Refusal>;

/// The longest length of time that a manifest can say, in days.
pub const SPAN_DAYS_MAX: i64 = 36_500;

/// Units of time with their microseconds, the longest first.
const UNITS: [(&str, i64); 5] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];

/// Most digits after the point of a length of time; a microsecond is the eleventh of a day.
const FRACTION_DIGITS_MAX: usize = 12;

/// `name: type`.
pub(super) fn provided(text: &str) -> Read<(StreamName, ElementType)> {
    let (name, element) = typed(text)?;
    Ok((stream(name)?, element))
}

/// `name: type`, `name?: type`, `@name: type` or `previous(name, initial): type`.
pub(super) fn need(text: &str) -> Read<Need> {
    let (left, element) = typed(text)?;
    let (name, kind) = if let Some(inner) = left.strip_prefix("previous(").and_then(|rest| rest.strip_suffix(')')) {
        let Some((name, initial)) = inner.split_once(',') else {
            return Err(Refusal::new(
                format!("`{}` has no initial value", shorten(left)),
                format!("write `previous({}, 0): {element}` with the value before there is any", shorten(inner.trim())),
            ));
        };
        (name.trim(), NeedKind::Previous { initial: value(initial, element)? })
    } else if let Some(name) = left.strip_prefix('@') {
        (name.trim_start(), NeedKind::Attribute)
    } else if let Some(name) = left.strip_suffix('?') {
        (name.trim_end(), NeedKind::Optional)
    } else {
        (left, NeedKind::Required)
    };
    Ok(Need { name: stream(name)?, element, kind })
}

/// What [`need`] reads.
pub(super) fn need_text(need: &Need) -> String {
    let left = match &need.kind {
        NeedKind::Previous { initial } => format!("previous({}, {})", need.name, value_text(initial)),
        NeedKind::Required | NeedKind::Optional | NeedKind::Attribute => need.to_string(),
    };
    format!("{left}: {}", need.element)
}

/// A name and the type after its last colon; names may have colons themselves.
pub(in crate::topology) fn typed(text: &str) -> Read<(&str, ElementType)> {
    let example = |name: &str| format!("write `{}: f32`, or another type than f32", shorten(name.trim()));
    let Some((name, element)) = text.rsplit_once(':') else {
        return Err(Refusal::new(format!("`{}` has no type", shorten(text)), example(text)));
    };
    match element.parse() {
        Ok(element) => Ok((name.trim(), element)),
        Err(_) if element.trim().is_empty() => {
            Err(Refusal::new(format!("`{}` has no type", shorten(text)), example(name)))
        }
        Err(_) => Err(Refusal::new(
            format!("`{}` is not an element type", shorten(element.trim())),
            "write f32, f64, i64, bool, str or f32[N] with N from 1 to 4096 after the last colon",
        )),
    }
}

/// A stream's or an attribute's name.
pub(super) fn stream(name: &str) -> Read<StreamName> {
    named("stream", name).map(StreamName::from)
}

/// A text that is a name.
pub(in crate::topology) fn named<'t>(kind: &'static str, name: &'t str) -> Read<&'t str> {
    match check_name(kind, name) {
        Ok(()) => Ok(name),
        Err(error) => Err(Refusal::new(error.to_string(), "")),
    }
}

/// A value of a type, as it stands in `previous(…)` and in files of attributes.
pub(in crate::topology) fn value(text: &str, element: ElementType) -> Read<Value> {
    let text = text.trim();
    let read = match element {
        ElementType::F32 => text.parse().ok().filter(|number: &f32| number.is_finite()).map(Value::F32),
        ElementType::F64 => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::F64),
        ElementType::I64 => text.parse().ok().filter(|number| *number != i64::MIN).map(Value::I64),
        ElementType::Bool => text.parse().ok().map(Value::Bool),
        ElementType::Str if text.starts_with('"') => {
            serde_json::from_str::<String>(text).ok().map(|t| Value::Str(t.into()))
        }
        ElementType::Str => (!text.is_empty()).then(|| Value::Str(within_single_quotes(text).unwrap_or(text).into())),
        ElementType::Vector(width) => serde_json::from_str::<Vec<f32>>(text)
            .ok()
            .filter(|values| values.len() == usize::from(width) && values.iter().all(|value| value.is_finite()))
            .map(|values| Value::Vector(values.into())),
    };
    read.ok_or_else(|| {
        let advice = match element {
            ElementType::F32 | ElementType::F64 => "write a finite number such as 0.5".to_owned(),
            ElementType::I64 => "write a whole number such as 3".to_owned(),
            ElementType::Bool => "write true or false".to_owned(),
            ElementType::Str => "write a text".to_owned(),
            ElementType::Vector(width) => format!("write a list of {width} numbers: [0, …]"),
        };
        Refusal::new(format!("`{}` is not a value of {element}", shorten(text)), advice)
    })
}

/// What stands between single quotes, as expressions have it: nothing in it is escaped, and none of it is such a quote.
fn within_single_quotes(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?.strip_suffix('\'').filter(|inner| !inner.contains('\''))
}

/// What [`value`] reads.
fn value_text(value: &Value) -> String {
    match value {
        Value::Str(text) => serde_json::Value::from(text.as_str()).to_string(),
        other => other.to_string(),
    }
}

/// A length of time with its unit: `10s`, `1.5 h`.
pub(super) fn span(text: &str) -> Read<Span> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let unit = unit.trim_start();
    let shown = shorten(text);
    if number.is_empty() {
        let problem = if text.starts_with('-') { "is negative" } else { "is not a length of time" };
        return Err(Refusal::new(format!("`{shown}` {problem}"), "write a number and its unit: \"10s\""));
    }
    if unit.is_empty() {
        return Err(unitless(number));
    }
    let Some((_, micros)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(Refusal::new(
            format!("`{}` is not a unit of time", shorten(unit)),
            "the units are ms, s, min, h and d; a microsecond is \"0.001ms\"",
        ));
    };
    let too_long = || Refusal::new(format!("`{shown}` is longer than {SPAN_DAYS_MAX}d, the limit"), "write less");
    let uneven = || Refusal::new(format!("`{shown}` is not a whole number of microseconds"), "write fewer digits");
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.contains('.') {
        return Err(Refusal::new(format!("`{}` is not a number", shorten(number)), "write it as 1.5"));
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > FRACTION_DIGITS_MAX {
        return Err(uneven());
    }
    let whole: i64 = whole.parse().map_err(|_| too_long())?;
    let parts = 10_i128.pow(u32::try_from(fraction.len()).expect("checked above"));
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| uneven())? };
    let (fraction, rest) = (fraction * i128::from(*micros) / parts, fraction * i128::from(*micros) % parts);
    if rest != 0 {
        return Err(uneven());
    }
    let total = i128::from(whole) * i128::from(*micros) + fraction;
    if total > i128::from(SPAN_DAYS_MAX) * i128::from(UNITS[0].1) {
        return Err(too_long());
    }
    i64::try_from(total).map(Span).map_err(|_| too_long())
}

/// A number without a unit, where a length of time should stand.
pub(super) fn unitless(number: &str) -> Refusal {
    let number = shorten(number);
    Refusal::new(
        format!("`{number}` has no unit"),
        format!("write \"{number}s\" for seconds; the units are ms, s, min, h and d"),
    )
}

/// What [`span`] reads.
pub(super) fn span_text(span: Span) -> String {
    let whole = UNITS.iter().find(|(_, micros)| span.0 % micros == 0);
    match whole {
        _ if span == Span::ZERO => "0s".to_owned(),
        Some((unit, micros)) => format!("{}{unit}", span.0 / micros),
        None => format!("{}.{:03}ms", span.0 / 1000, span.0 % 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read_as_they_are_written() {
        for text in [
            "wear: f32",
            "a:b: f64",
            "temp?: f64",
            "@rating: f64",
            "previous(wear, 0): f32",
            "previous(wear, 0.1): f32",
            "previous(label, \"a, \\\"b\\\": c\"): str",
            "previous(on, true): bool",
            "previous(count, -3): i64",
            "previous(spectrum, [0, 1.5]): f32[2]",
        ] {
            let read = need(text).expect(text);
            assert_eq!(need_text(&read), text);
        }
        assert_eq!(need(" wear :f32 "), need("wear: f32"));
        assert_eq!(need("previous(label, ok): str"), need("previous(label, \"ok\"): str"));
    }

    /// Bug: the single quotes around a text were part of it. Fix: they are read as those of an expression.
    #[test]
    fn a_text_may_stand_in_single_quotes() {
        for (text, same) in [
            ("previous(label, 'ok'): str", "previous(label, \"ok\"): str"),
            ("previous(label, 'a, \"b\"'): str", "previous(label, \"a, \\\"b\\\"\"): str"),
            ("previous(label, ''): str", "previous(label, \"\"): str"),
            ("previous(label, 'tis): str", "previous(label, \"'tis\"): str"),
            ("previous(label, 'a' or 'b'): str", "previous(label, \"'a' or 'b'\"): str"),
        ] {
            assert_eq!(need(text), need(same), "{text}");
            assert!(need(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn bad_needs_say_what_is_wrong() {
        for (text, problem) in [
            ("", "`` has no type"),
            ("wear", "`wear` has no type"),
            ("wear:", "`wear:` has no type"),
            ("wear: f16", "`f16` is not an element type"),
            ("wear: f32[0]", "`f32[0]` is not an element type"),
            ("previous(wear): f32", "`previous(wear)` has no initial value"),
            ("previous(wear, x): f32", "`x` is not a value of f32"),
            ("previous(wear, NaN): f32", "`NaN` is not a value of f32"),
            ("previous(wear, 1e39): f32", "`1e39` is not a value of f32"),
            ("previous(count, -9223372036854775808): i64", "`-9223372036854775808` is not a value of i64"),
            ("previous(s, [1]): f32[2]", "`[1]` is not a value of f32[2]"),
            (": f32", "the name of a stream is empty"),
        ] {
            assert_eq!(need(text).map_err(|refusal| refusal.problem), Err(problem.to_owned()), "{text}");
        }
        assert!(need("we ar: f32").is_err_and(|refusal| refusal.problem.contains("has ` ` in it")));
    }

    #[test]
    fn spans_are_exact_and_always_have_a_unit() {
        for (text, micros) in [
            ("0s", 0),
            ("1500ms", 1_500_000),
            ("1.5 s", 1_500_000),
            ("10min", 600_000_000),
            ("0.001ms", 1),
            ("1.500h", 5_400_000_000),
            ("36500d", 36_500 * 86_400_000_000),
        ] {
            assert_eq!(span(text), Ok(Span(micros)), "{text}");
            assert_eq!(span(&span_text(Span(micros))), Ok(Span(micros)), "{text}");
        }
        for (text, problem) in [
            ("10", "`10` has no unit"),
            ("10 sec", "`sec` is not a unit of time"),
            ("5us", "`us` is not a unit of time"),
            ("-1s", "`-1s` is negative"),
            ("s", "`s` is not a length of time"),
            ("", "`` is not a length of time"),
            ("1.s", "`1.` is not a number"),
            (".5s", "`.5` is not a number"),
            ("1.2.3s", "`1.2.3` is not a number"),
            ("0.0001ms", "`0.0001ms` is not a whole number of microseconds"),
            ("36501d", "`36501d` is longer than 36500d, the limit"),
            ("99999999999999999999999s", "`99999999999999999999999s` is longer than 36500d, the limit"),
        ] {
            assert_eq!(span(text).map_err(|refusal| refusal.problem), Err(problem.to_owned()), "{text}");
        }
        assert_eq!(
            span("10").map_err(|refusal| refusal.advice),
            Err("write \"10s\" for seconds; the units are ms, s, min, h and d".to_owned())
        );
    }
}
