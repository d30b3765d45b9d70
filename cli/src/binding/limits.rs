//! The table `[limits]`.

use std::path::Path;
use std::time::Duration;

use gristmill::{Options, Quarantine};
use serde_json::Value;

use super::fields::{Fields, Problem};

/// What a system of this file may take; what is wrong is added to `problems`.
pub(crate) fn limits(table: Option<&Value>, folder: &Path, problems: &mut Vec<Problem>) -> Options {
    let mut options = Options::default();
    let Some(table) = table else { return options };
    let before = problems.len();
    let mut fields = Fields::of(table, "limits", folder, problems);
    let drive = &mut options.drive;
    let counts = [
        ("in_flight_records", &mut drive.in_flight_records),
        ("batch_records", &mut drive.batch_records),
        ("frame_keys", &mut options.frame_keys),
        ("keys_max", &mut options.keys_max),
        ("quarantine_keys", &mut options.quarantine_keys),
        ("waiting_rows_max", &mut options.intake.waiting_rows_max),
    ];
    for (name, count) in counts {
        *count = fields.whole(name).map_or(*count, |count| usize::try_from(count).unwrap_or(usize::MAX));
    }
    for (name, bytes) in [("in_flight_bytes", &mut drive.in_flight_bytes), ("batch_bytes", &mut drive.batch_bytes)] {
        *bytes = fields.bytes(name).unwrap_or(*bytes);
    }
    let times = [
        ("batch_age", &mut drive.batch_age),
        ("commit_interval", &mut drive.commit_interval),
        ("node_budget", &mut options.node_budget),
    ];
    for (name, time) in times {
        *time = duration(&mut fields, name).unwrap_or(*time);
    }
    drive.source_patience = duration(&mut fields, "source_patience");
    if let Some(given) = fields.text("quarantine") {
        match quarantine(&given) {
            Some(quarantine) => options.quarantine = quarantine,
            None => fields.wrong(
                format!("`quarantine` is \"{given}\""),
                "write after how many failures in how many rows of a key: \"5 in 100\", or \"never\"",
            ),
        }
    }
    let read = fields.found() == before;
    fields.finish();
    if read {
        let place = "[limits]".to_owned();
        let problem = |text: String| {
            let (problem, advice) = text.split_once("; ").unwrap_or((&text, ""));
            Problem { line: None, place: place.clone(), problem: problem.to_owned(), advice: advice.to_owned() }
        };
        problems.extend(options.problems().into_iter().map(problem));
    }
    options
}

/// A span of time; what is below nothing is nothing, which the options refuse where it makes no sense.
fn duration(fields: &mut Fields<'_>, name: &'static str) -> Option<Duration> {
    fields.span(name).map(|span| Duration::from_micros(u64::try_from(span.0).unwrap_or(0)))
}

/// After how many failures in how many rows, or never.
fn quarantine(text: &str) -> Option<Option<Quarantine>> {
    if text == "never" {
        return Some(None);
    }
    let (failures, rows) = text.split_once(" in ")?;
    Some(Some(Quarantine { failures: failures.trim().parse().ok()?, rows: rows.trim().parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(table: &Value) -> (Options, Vec<String>) {
        let mut problems = Vec::new();
        let options = limits(Some(table), Path::new(""), &mut problems);
        (options, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_given_is_taken_and_the_rest_stays() {
        let (options, problems) = read(
            &json!({"in_flight_bytes": "64 MiB", "keys_max": 1000, "node_budget": "20ms", "waiting_rows_max": 7, "quarantine_keys": 9, "source_patience": "10min"}),
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!((options.drive.in_flight_bytes, options.keys_max), (64 << 20, 1000));
        assert_eq!((options.node_budget, options.intake.waiting_rows_max), (Duration::from_millis(20), 7));
        assert_eq!((options.quarantine_keys, options.drive.source_patience), (9, Some(Duration::from_secs(600))));
        assert_eq!(options.frame_keys, Options::default().frame_keys);
    }

    #[test]
    fn a_quarantine_is_after_failures_in_rows_or_never() {
        let of = |text: &str| read(&json!({ "quarantine": text }));
        assert_eq!(of("2 in 50").0.quarantine, Some(Quarantine { failures: 2, rows: 50 }));
        assert_eq!(of("never").0.quarantine, None);
        assert_eq!(read(&json!({})).0.quarantine, Some(Quarantine::default()));
        for text in ["", "5", "in", "five in 100", "-1 in 100"] {
            let said = of(text).1;
            assert!(said[0].ends_with("\"5 in 100\", or \"never\""), "{text}: {said:?}");
        }
        assert_eq!(
            of("9 in 8").1,
            ["[limits]: `quarantine` is after 9 failures in 8 rows, which cannot happen; say at least 9 rows"]
        );
    }

    #[test]
    fn what_cannot_be_is_said_with_the_limit() {
        let (_, problems) = read(&json!({"in_flight_bytes": 1000, "keys": 5}));
        assert_eq!(
            problems[0],
            "[limits]: `in_flight_bytes` is 1000; write a size with its unit: \"512 KiB\", \"64 MiB\" or \"2 GiB\""
        );
        assert!(
            problems[1].starts_with("[limits]: there is no field `keys`; there are `in_flight_records`"),
            "{problems:?}"
        );
        let (_, problems) = read(&json!({"in_flight_records": 10, "keys_max": 0}));
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert_eq!(problems[0], "[limits]: `keys_max` is 0; say at least 1");
        assert!(problems[1].ends_with("a whole micro-batch must fit; say at least 4096"), "{problems:?}");
    }
}
