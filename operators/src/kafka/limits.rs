//! Settings that can not work together. All are looked for at once, before anything is connected; the client itself would
//! name the first, and some not at all.

use std::time::Duration;

use super::properties::Properties;

/// The driver polls no more rarely than this, also after errors. A shorter limit would cost the place in the group.
const POLL_PAUSE_MS_MAX: f64 = 10_000.0;
/// Shorter than this, a restart of a broker would count as a failure.
const MESSAGE_TIMEOUT_MS_MIN: f64 = 10_000.0;
/// What an answer has beside the records that it carries.
const ANSWER_OVERHEAD: f64 = 512.0;
/// With more requests at once an idempotent producer can not keep the order.
const IN_FLIGHT_MAX: f64 = 5.0;

/// A setting with its other names, and what it is where nobody sets it.
pub(crate) struct Setting {
    pub(crate) names: &'static [&'static str],
    pub(crate) default: f64,
}

const fn setting(names: &'static [&'static str], default: f64) -> Setting {
    Setting { names, default }
}

const MESSAGE_TIMEOUT: Setting = setting(&["message.timeout.ms", "delivery.timeout.ms"], 0.0);
const LINGER: Setting = setting(&["linger.ms", "queue.buffering.max.ms"], 5.0);
const REQUEST_TIMEOUT: Setting = setting(&["request.timeout.ms"], 30_000.0);
pub(crate) const QUEUE_MESSAGES: Setting = setting(&["queue.buffering.max.messages"], 200_000.0);
pub(crate) const QUEUE_KBYTES: Setting = setting(&["queue.buffering.max.kbytes"], 131_072.0);
const MESSAGE_BYTES: Setting = setting(&["message.max.bytes"], 1_000_000.0);
const RETRIES: Setting = setting(&["message.send.max.retries", "retries"], f64::INFINITY);
const IN_FLIGHT: Setting = setting(&["max.in.flight.requests.per.connection", "max.in.flight"], IN_FLIGHT_MAX);
const POLL_INTERVAL: Setting = setting(&["max.poll.interval.ms"], 300_000.0);
const SESSION: Setting = setting(&["session.timeout.ms"], 45_000.0);
const HEARTBEAT: Setting = setting(&["heartbeat.interval.ms"], 3_000.0);
pub(crate) const QUEUED_KBYTES: Setting = setting(&["queued.max.messages.kbytes"], 65_536.0);
const FETCH_PARTITION: Setting = setting(&["fetch.message.max.bytes", "max.partition.fetch.bytes"], 1_048_576.0);
const FETCH: Setting = setting(&["fetch.max.bytes"], 52_428_800.0);
const ANSWER: Setting = setting(&["receive.message.max.bytes"], 100_000_000.0);
const REFRESH: Setting = setting(&["topic.metadata.refresh.interval.ms"], 60_000.0);
const RECONNECT: Setting = setting(&["reconnect.backoff.ms"], 100.0);
const RECONNECT_MAX: Setting = setting(&["reconnect.backoff.max.ms"], 3_000.0);

/// A setting as it will be.
struct Value {
    name: &'static str,
    number: f64,
    is_set: bool,
}

struct Limits<'p> {
    properties: &'p Properties,
    problems: Vec<String>,
}

impl Limits<'_> {
    fn value(&mut self, setting: &Setting) -> Value {
        let name = setting.names[0];
        let Some((name, text)) = setting.names.iter().find_map(|name| Some((*name, self.properties.get(name)?))) else {
            return Value { name, number: setting.default, is_set: false };
        };
        let number = text.trim().parse::<f64>().unwrap_or_else(|_| {
            let problem = format!("`{name}` = `{text}`: no number; give it one");
            // Several limits look at one setting.
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
            f64::NAN
        });
        Value { name, number, is_set: true }
    }

    /// Adds a problem with `value` unless it is `good`; a text that is no number is a problem already.
    fn need(&mut self, value: &Value, good: bool, must: &str, why: &str, what_to_do: &str) {
        if !good && !value.number.is_nan() {
            let Value { name, number, .. } = value;
            self.problems.push(format!("`{name}` = `{number}`: it must be {must}, {why}; {what_to_do}"));
        }
    }

    /// Needs one setting to be below, or at most, another. One that is not a number is a problem already.
    fn need_order(&mut self, low: &Setting, high: &Setting, (scale, more): (f64, f64), strictly: bool, why: &str) {
        let (low, high) = (self.value(low), self.value(high));
        let (a, b) = (low.number, high.number * scale);
        let bad = if strictly { a >= b } else { a + more > b };
        if bad && (low.is_set || high.is_set) {
            let (relation, unit) =
                (if strictly { "less than" } else { "at most" }, if scale > 1.0 { " KiB" } else { "" });
            let must = format!("{relation} `{}` = `{}`{unit}", high.name, high.number);
            let advice = format!("lower `{}` or raise `{}`", low.name, high.name);
            self.need(&low, false, &must, why, &advice);
        }
    }

    /// What holds for every client.
    fn all(&mut self) {
        self.need_order(&RECONNECT, &RECONNECT_MAX, (1.0, 0.0), false, "as pauses grow from the one to the other");
        let protocol = self.properties.get("security.protocol").unwrap_or("plaintext").to_lowercase();
        for (prefix, part) in [("sasl.", "sasl"), ("ssl.", "ssl")] {
            let set: Vec<&str> = self.properties.names().filter(|name| name.starts_with(prefix)).collect();
            if !set.is_empty() && !protocol.contains(part) {
                self.problems.push(format!(
                    "`security.protocol` = `{protocol}`: it must have `{part}` in it, else `{}` would not be used and the \
                     connection would not be what it says; say `sasl_ssl`, `ssl` or `sasl_plaintext`, or take the others out",
                    set.join("`, `")
                ));
            }
        }
    }
}

impl Limits<'_> {
    fn looks_at_topics(&mut self) {
        let refresh = self.value(&REFRESH);
        let is_good = refresh.number > 0.0;
        self.need(&refresh, is_good, "more than 0", "else partitions that are added are never read", "raise it");
    }
}

/// What can not work in a client that reads without a group.
pub(super) fn reader(properties: &Properties) -> Vec<String> {
    let mut limits = Limits { properties, problems: Vec::new() };
    limits.all();
    limits.looks_at_topics();
    limits.problems
}

/// How often a client looks what there is of its topic.
pub(super) fn refresh(properties: &Properties) -> Duration {
    let said = properties.get(REFRESH.names[0]).and_then(|text| text.trim().parse().ok());
    Duration::from_millis(said.unwrap_or(REFRESH.default as u64))
}

/// What can not work in a source.
pub(super) fn source(properties: &Properties) -> Vec<String> {
    let mut limits = Limits { properties, problems: Vec::new() };
    limits.all();
    let poll = limits.value(&POLL_INTERVAL);
    let must = format!("more than {POLL_PAUSE_MS_MAX}");
    limits.need(&poll, poll.number > POLL_PAUSE_MS_MAX, &must, "the longest pause after an error", "raise it");
    limits.need_order(&SESSION, &POLL_INTERVAL, (1.0, 0.0), false, "else the group would not notice in time");
    limits.need_order(&HEARTBEAT, &SESSION, (1.0, 0.0), true, "else the session ends between two heartbeats");
    limits.need_order(
        &FETCH_PARTITION,
        &QUEUED_KBYTES,
        (1024.0, 0.0),
        false,
        "else the queue does not hold one answer",
    );
    if limits.value(&FETCH).is_set {
        limits.need_order(&FETCH, &QUEUED_KBYTES, (1024.0, 0.0), false, "else the queue does not hold one answer");
        limits.need_order(&MESSAGE_BYTES, &FETCH, (1.0, 0.0), false, "else the largest record can not be fetched");
        limits.need_order(&FETCH, &ANSWER, (1.0, ANSWER_OVERHEAD), false, "with 512 bytes more for the answer itself");
    }
    limits.looks_at_topics();
    limits.problems
}

/// What can not work in a sink.
pub(super) fn sink(properties: &Properties) -> Vec<String> {
    let mut limits = Limits { properties, problems: Vec::new() };
    limits.all();
    let timeout = limits.value(&MESSAGE_TIMEOUT);
    let good = timeout.number == 0.0 || timeout.number >= MESSAGE_TIMEOUT_MS_MIN;
    let must = format!("0 (wait for the brokers) or at least {MESSAGE_TIMEOUT_MS_MIN}");
    limits.need(&timeout, good, &must, "else a restart of a broker would end the process", "raise it, or leave it out");
    if timeout.number > 0.0 {
        limits.need_order(&LINGER, &MESSAGE_TIMEOUT, (1.0, 0.0), true, "else records time out before they are sent");
        limits.need_order(
            &REQUEST_TIMEOUT,
            &MESSAGE_TIMEOUT,
            (1.0, 0.0),
            false,
            "else no record is sent a second time",
        );
    }
    let messages = limits.value(&QUEUE_MESSAGES);
    limits.need(&messages, messages.number >= 1.0, "at least 1", "as 0 is without end", "raise it");
    limits.need_order(
        &MESSAGE_BYTES,
        &QUEUE_KBYTES,
        (1024.0, 0.0),
        false,
        "else the largest record never gets into the queue",
    );
    let retries = limits.value(&RETRIES);
    limits.need(&retries, retries.number >= 1.0, "at least 1", "as an idempotent producer tries again", "leave it out");
    let in_flight = limits.value(&IN_FLIGHT);
    let must = format!("at most {IN_FLIGHT_MAX}");
    limits.need(&in_flight, in_flight.number <= IN_FLIGHT_MAX, &must, "else the order of rows is lost", "lower it");
    limits.problems
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = &'static [(&'static str, &'static str)];

    fn properties(set: &[(&str, &str)]) -> Properties {
        let mut properties = Properties::default();
        set.iter().for_each(|(name, value)| properties.set(name, value));
        properties
    }

    #[test]
    fn what_is_not_set_works() {
        assert_eq!((source(&properties(&[])), sink(&properties(&[]))), (Vec::new(), Vec::new()));
    }

    /// What is set, and what is said of it: the setting, its value, the limit.
    #[test]
    fn what_can_not_work_in_a_source_is_said() {
        let cases: [(Set, &str, &str, &str); 10] = [
            (
                &[("max.poll.interval.ms", "9000"), ("session.timeout.ms", "6000")],
                "max.poll.interval.ms",
                "9000",
                "10000",
            ),
            (&[("session.timeout.ms", "400000")], "session.timeout.ms", "400000", "`max.poll.interval.ms` = `300000`"),
            (&[("heartbeat.interval.ms", "50000")], "heartbeat.interval.ms", "50000", "`session.timeout.ms` = `45000`"),
            (&[("queued.max.messages.kbytes", "512")], "fetch.message.max.bytes", "1048576", "`512` KiB"),
            (&[("max.partition.fetch.bytes", "99999999")], "max.partition.fetch.bytes", "99999999", "`65536` KiB"),
            (&[("fetch.max.bytes", "70000000")], "fetch.max.bytes", "70000000", "`65536` KiB"),
            (&[("fetch.max.bytes", "1000")], "message.max.bytes", "1000000", "`fetch.max.bytes` = `1000`"),
            (
                &[("topic.metadata.refresh.interval.ms", "-1")],
                "topic.metadata.refresh.interval.ms",
                "-1",
                "more than 0",
            ),
            (&[("session.timeout.ms", "soon")], "session.timeout.ms", "soon", "no number"),
            (
                &[("reconnect.backoff.ms", "20000")],
                "reconnect.backoff.ms",
                "20000",
                "`reconnect.backoff.max.ms` = `3000`",
            ),
        ];
        for (set, name, value, limit) in cases {
            let said = source(&properties(set));
            assert_eq!(said.len(), 1, "{said:#?}");
            assert!(said[0].starts_with(&format!("`{name}` = `{value}`: ")) && said[0].contains(limit), "{}", said[0]);
        }
    }

    #[test]
    fn what_can_not_work_in_a_sink_is_said_all_at_once() {
        let set = [
            ("delivery.timeout.ms", "500"),
            ("linger.ms", "600"),
            ("queue.buffering.max.messages", "0"),
            ("queue.buffering.max.kbytes", "100"),
            ("retries", "0"),
            ("max.in.flight", "6"),
            ("sasl.password", "hush"),
        ];
        let said = sink(&properties(&set)).join("\n");
        let limits = [
            "`delivery.timeout.ms` = `500`: it must be 0 (wait for the brokers) or at least 10000",
            "`linger.ms` = `600`: it must be less than `delivery.timeout.ms` = `500`",
            "`request.timeout.ms` = `30000`: it must be at most `delivery.timeout.ms` = `500`",
            "`queue.buffering.max.messages` = `0`: it must be at least 1",
            "`message.max.bytes` = `1000000`: it must be at most `queue.buffering.max.kbytes` = `100` KiB",
            "`retries` = `0`: it must be at least 1",
            "`max.in.flight` = `6`: it must be at most 5",
            "`security.protocol` = `plaintext`: it must have `sasl` in it, else `sasl.password` would not be used",
        ];
        for limit in limits {
            assert!(said.contains(limit), "{limit}\nis not in\n{said}");
        }
        assert_eq!(said.lines().count(), limits.len(), "{said}");
        assert!(!said.contains("hush"));
    }
}
