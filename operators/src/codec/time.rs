//! Times as they are written outside: integers with a unit, or RFC 3339 text.

use gristmill::words::Time;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// What a time that is a number counts since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds; fractions are allowed.
    Seconds,
    /// Milliseconds.
    #[default]
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds; what is below a microsecond is cut off.
    Nanos,
}

impl TimeUnit {
    const fn nanos(self) -> i64 {
        match self {
            Self::Seconds => NANOS_PER_SECOND,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Millis => "ms",
            Self::Micros => "µs",
            Self::Nanos => "ns",
        }
    }
}

/// A time or a step, in nanoseconds: exact for every unit, and an `i64` of them ends where times do, in 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nanos(pub(crate) i64);

impl Nanos {
    pub(crate) fn time(self) -> Time {
        Time(self.0.div_euclid(1_000))
    }

    /// The time of row `row` of a series that starts here.
    pub(crate) fn step(self, step: Self, row: usize) -> Result<Self, String> {
        let steps = i64::try_from(row).ok().and_then(|row| step.0.checked_mul(row));
        let nanos = steps.and_then(|steps| self.0.checked_add(steps));
        nanos.map(Self).ok_or_else(|| format!("the time of row {row} is after the year 2262"))
    }
}

/// A time that is a whole number.
pub(crate) fn time_of_integer(number: i64, unit: TimeUnit) -> Result<Nanos, String> {
    match number.checked_mul(unit.nanos()) {
        Some(nanos) if nanos >= 0 => Ok(Nanos(nanos)),
        _ => Err(absurd(&format!("{number} {}", unit.name()))),
    }
}

/// A time that is a decimal number, to the microsecond.
pub(crate) fn time_of_float(number: f64, unit: TimeUnit) -> Result<Nanos, String> {
    let micros = (number * (unit.nanos() as f64 / 1_000.0)).round();
    if (0.0..i64::MAX as f64 / 1_000.0).contains(&micros) {
        Ok(Nanos(micros as i64 * 1_000))
    } else {
        Err(absurd(&format!("{number} {}", unit.name())))
    }
}

/// A step between rows: more than nothing.
pub(crate) fn step_of_float(number: f64, unit: TimeUnit) -> Result<Nanos, String> {
    let nanos = (number * unit.nanos() as f64).round();
    if (1.0..i64::MAX as f64).contains(&nanos) {
        Ok(Nanos(nanos as i64))
    } else {
        Err(format!("a step of {number} {} is no step forward", unit.name()))
    }
}

fn absurd(what: &str) -> String {
    format!("the time {what} is outside the years 1970 to 2262")
}

/// Reads `2026-11-23T19:12:04.25Z` or `2026-11-23 20:12:04+01:00`.
pub(crate) fn time_of_text(text: &str) -> Result<Nanos, String> {
    let shown = || text.chars().take(40).collect::<String>();
    let nanos = rfc3339(text.as_bytes()).ok_or_else(|| {
        let lacks_zone = text.len() < 40 && rfc3339(format!("{text}Z").as_bytes()).is_some();
        let advice = if lacks_zone { ": its zone is missing; write Z or +01:00 behind it" } else { "" };
        format!("`{}` is not an RFC 3339 time{advice}", shown())
    })?;
    match i64::try_from(nanos) {
        Ok(nanos) if nanos >= 0 => Ok(Nanos(nanos)),
        _ => Err(absurd(&shown())),
    }
}

/// A time in a text column or field: whole number, decimal number or RFC 3339.
pub(crate) fn time_of_any_text(text: &str, unit: TimeUnit) -> Result<Nanos, String> {
    if let Ok(number) = text.parse::<i64>() {
        time_of_integer(number, unit)
    } else if let Ok(number) = text.parse::<f64>() {
        time_of_float(number, unit)
    } else {
        time_of_text(text)
    }
}

fn rfc3339(text: &[u8]) -> Option<i128> {
    let digits = |from: usize, count: usize| -> Option<i64> {
        text.get(from..from + count)?
            .iter()
            .try_fold(0_i64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
    };
    let is = |at: usize, allowed: &[u8]| text.get(at).is_some_and(|byte| allowed.contains(byte));
    let (year, month, day) = (digits(0, 4)?, digits(5, 2)?, digits(8, 2)?);
    let (hour, minute, second) = (digits(11, 2)?, digits(14, 2)?, digits(17, 2)?);
    let marks = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let in_range = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    // A leap second is the first second of the next minute, as in Unix time.
    if !marks || !in_range || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = fraction(text, 19)?;
    let offset = match text.get(zone)? {
        b'Z' | b'z' if text.len() == zone + 1 => 0,
        sign @ (b'+' | b'-') if text.len() == zone + 6 && is(zone + 3, b":") => {
            let (hours, minutes) = (digits(zone + 1, 2)?, digits(zone + 4, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3_600 + minutes * 60) * if *sign == b'+' { 1 } else { -1 }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second - offset;
    Some(i128::from(seconds) * i128::from(NANOS_PER_SECOND) + i128::from(fraction))
}

/// The nanoseconds after a point at `from`, and where the zone begins.
fn fraction(text: &[u8], from: usize) -> Option<(i64, usize)> {
    if text.get(from) != Some(&b'.') {
        return Some((0, from));
    }
    let count = text[from + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let nanos = (0..9).fold(0_i64, |nanos, place| {
        nanos * 10 + if place < count { i64::from(text[from + 1 + place] - b'0') } else { 0 }
    });
    (count > 0).then_some((nanos, from + 1 + count))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since the Unix epoch; the year begins in March, so that the leap day is its last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Writes a time as `2026-11-23T19:12:04.250000Z`; one that RFC 3339 cannot say, as its microseconds.
pub(crate) fn write_time(time: Time, out: &mut Vec<u8>) {
    let (seconds, micros) = (time.0.div_euclid(1_000_000), time.0.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = civil_from_days(days);
    if !(0..=9999).contains(&year) {
        out.extend_from_slice(time.0.to_string().as_bytes());
        return;
    }
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |end: usize, count: usize, mut number: i64| {
        for place in (end - count..end).rev() {
            text[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(4, 4, year);
    put(7, 2, month);
    put(10, 2, day);
    put(13, 2, second / 3_600);
    put(16, 2, second / 60 % 60);
    put(19, 2, second % 60);
    put(26, 6, micros);
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(time: Time) -> String {
        let mut out = Vec::new();
        write_time(time, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn known_times_are_read() {
        for (written, nanos) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:30:00.5Z", 951_827_400_500_000_000),
            ("2000-02-29 13:30:00.500000000+01:00", 951_827_400_500_000_000),
            ("2016-12-31t23:59:60z", 1_483_228_800_000_000_000),
        ] {
            assert_eq!(time_of_text(written), Ok(Nanos(nanos)), "{written}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_by_name() {
        for bad in [
            "",
            "now",
            "2000-02-30T00:00:00Z",
            "1999-02-29T00:00:00Z",
            "2000-13-01T00:00:00Z",
            "2000-01-01T24:00:00Z",
            "2000-01-01T00:00:00",
            "2000-01-01T00:00:00.Z",
            "2000-01-01T00:00:00+1:00",
            "2000-01-01T00:00:00Zx",
            "日本語日本語日本語",
        ] {
            assert!(time_of_text(bad).is_err_and(|reason| reason.contains("is not an RFC 3339 time")), "{bad}");
        }
        let reason = time_of_text("2000-01-01T00:00:00").expect_err("no zone");
        assert!(
            reason.ends_with("is not an RFC 3339 time: its zone is missing; write Z or +01:00 behind it"),
            "{reason}"
        );
        for early_or_late in ["1969-12-31T23:59:59Z", "2263-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
            let reason = time_of_text(early_or_late).expect_err("outside");
            assert!(reason.contains("outside the years 1970 to 2262"), "{reason}");
        }
        assert!(time_of_integer(-1, TimeUnit::Millis).is_err());
        assert!(time_of_integer(i64::MAX, TimeUnit::Seconds).is_err());
        assert!(time_of_float(f64::NAN, TimeUnit::Seconds).is_err());
        assert!(step_of_float(0.0, TimeUnit::Millis).is_err());
    }

    #[test]
    fn units_agree() {
        let expected = Time(1_700_000_000_123_000);
        for (number, unit) in [
            (1_700_000_000_123, TimeUnit::Millis),
            (1_700_000_000_123_000, TimeUnit::Micros),
            (1_700_000_000_123_000_999, TimeUnit::Nanos),
        ] {
            assert_eq!(time_of_integer(number, unit).map(Nanos::time), Ok(expected));
        }
        assert_eq!(time_of_float(1_700_000_000.123, TimeUnit::Seconds).map(Nanos::time), Ok(expected));
    }

    proptest! {
        #[test]
        fn written_times_are_read_back(micros in 0..9_223_372_036_854_775_i64) {
            prop_assert_eq!(time_of_text(&text(Time(micros))).map(Nanos::time), Ok(Time(micros)));
        }

        #[test]
        fn any_text_is_answered(any in "\\PC*", micros in any::<i64>()) {
            let _ = time_of_text(&any);
            let _ = text(Time(micros));
        }
    }
}
