//! Properties that are handed through to the client; what gristmill decides itself cannot be set, secrets are not shown.

use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::errors::Trouble;
use super::fault::Fault;
use super::words::Words;

/// Names whose values are never shown.
const SECRET_WORDS: [&str; 7] =
    ["password", "secret", ".pem", "token", "sasl.oauthbearer.config", "sasl.jaas", "credential"];

/// How a client comes back to brokers that were away.
const COMING_BACK: [(&str, &str); 2] = [
    // The other strategy begins anew at once whenever all brokers are down: with a certificate that is not accepted that is
    // 20 connections a second, without the pauses that `reconnect.backoff.ms` promises.
    ("metadata.recovery.strategy", "none"),
    // No broker that has come back is left alone for longer.
    ("reconnect.backoff.max.ms", "3000"),
];

/// Names of one and the same property.
const ALIASES: [(&str, &str); 7] = [
    ("linger.ms", "queue.buffering.max.ms"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("compression.type", "compression.codec"),
    ("retries", "message.send.max.retries"),
    ("max.in.flight.requests.per.connection", "max.in.flight"),
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
];

/// The properties of a client, as its operator set them.
#[derive(Clone, Default)]
pub(super) struct Properties {
    pub(super) brokers: String,
    set: Vec<(String, String)>,
}

impl Properties {
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.set.retain(|(other, _)| other != name);
        self.set.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.set.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The names of all that is set.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.set.iter().map(|(name, _)| name.as_str())
    }

    /// The values of secrets.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.set.iter().filter(|(name, _)| is_secret(name)).map(|(_, value)| value.as_str())
    }

    /// Everything that is wrong with the properties. `owned`: names that are not the operator's to set, and what sets
    /// them.
    pub(super) fn problems(&self, owned: &[(&str, &str)]) -> Vec<String> {
        let mut problems = Vec::new();
        if self.brokers.trim().is_empty() {
            problems.push("no brokers: say `brokers(\"host:9092\")`".to_owned());
        }
        for (name, why) in owned {
            if self.get(name).is_some() {
                problems.push(format!("property `{name}` is not to be set: {why}"));
            }
        }
        for (one, other) in ALIASES {
            if self.get(one).is_some() && self.get(other).is_some() {
                problems.push(format!("properties `{one}` and `{other}` are one and the same; set one of them"));
            }
        }
        problems
    }

    /// The client's configuration: `defaults`, then what was set, then `owned`.
    pub(super) fn config(&self, defaults: &[(&str, &str)], owned: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in COMING_BACK.iter().chain(defaults) {
            config.set(*name, *value);
        }
        for (name, value) in &self.set {
            // The client takes them in no order.
            let others = ALIASES.iter().flat_map(|(one, other)| [(one, other), (other, one)]);
            others.filter(|(of, _)| *of == name).for_each(|(_, other)| _ = config.remove(other));
            config.set(name, value);
        }
        for (name, value) in owned {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", &self.brokers).set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// Why a client could not be made, without the values of secrets.
    pub(super) fn creation(&self, error: &KafkaError) -> Trouble {
        let detail = match error {
            KafkaError::ClientConfig(_, _, name, _) if is_secret(name) => {
                format!("property `{name}` has no value that can be used")
            }
            KafkaError::ClientConfig(_, what, name, value) => format!("property `{name}` = `{value}`: {what}"),
            other => other.to_string(),
        };
        // What the client says when its library was built without OpenSSL.
        let without =
            ["not built with", "OpenSSL not available", "requires SSL", "without SSL", "not available at build"];
        let no_tls = !cfg!(feature = "kafka-tls") && without.iter().any(|part| detail.contains(part));
        let fault = if no_tls { Fault::TlsNotBuilt } else { Fault::SettingsRefused };
        Trouble::new(fault, Words::new(self).hide(&detail))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entry(&"bootstrap.servers", &self.brokers);
        for (name, value) in &self.set {
            map.entry(name, if is_secret(name) { &"(hidden)" } else { value });
        }
        map.finish()
    }
}

fn is_secret(name: &str) -> bool {
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaConfRes;

    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let mut properties = Properties { brokers: "b:9092".to_owned(), ..Properties::default() };
        for name in ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"] {
            properties.set(name, "hush");
            let error = KafkaError::ClientConfig(
                RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
                "bad hush".into(),
                name.into(),
                "hush".into(),
            );
            assert!(!properties.creation(&error).detail.contains("hush"));
        }
        properties.set("client.id", "seen");
        let shown = format!("{properties:?}");
        assert!(shown.contains("seen") && shown.contains("sasl.password") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn what_is_owned_is_refused_with_the_reason() {
        let mut properties = Properties::default();
        properties.set("enable.auto.commit", "true");
        let problems = properties.problems(&[("enable.auto.commit", "positions are committed when rows are done")]);
        assert_eq!(problems.len(), 2);
        assert!(problems[1].contains("enable.auto.commit") && problems[1].contains("when rows are done"));
    }

    #[test]
    fn a_property_that_is_set_under_its_other_name_has_no_default_beside_it() {
        let mut properties = Properties::default();
        properties.set("queue.buffering.max.ms", "50");
        let config = properties.config(&[("linger.ms", "5"), ("acks", "all")], &[]);
        let of = |name| config.get(name);
        assert_eq!([of("linger.ms"), of("queue.buffering.max.ms"), of("acks")], [None, Some("50"), Some("all")]);
        properties.set("linger.ms", "7");
        let problems = properties.problems(&[]).join("; ");
        assert!(problems.contains("`linger.ms` and `queue.buffering.max.ms` are one and the same"), "{problems}");
    }
}
