//! What the client says of itself: log lines and errors become events, without secrets; what names a fault is kept.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gristmill::clock::SystemClock;
use gristmill::traits::Clock;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::certificate;
use super::errors::{Trouble, from_words};
use super::properties::Properties;

/// The client's area of log lines that tells when a topic changes its id. It says little, and nothing for each record.
pub(super) const DEBUG_AREA: &str = "metadata";
/// A secret that is shorter is in many words by chance.
const SECRET_CHARACTERS_MIN: usize = 4;

/// What was said so long ago may be over. The client repeats what lasts every 30 s.
const HEARD_MAX: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub(super) struct Words {
    secrets: Vec<String>,
    /// Whether whoever runs it wants to see the client's debug lines.
    debug: bool,
    /// For a look at a certificate that was not accepted.
    properties: Properties,
    clock: SystemClock,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// The client's last error, in its words.
    last: Option<(Code, String)>,
    /// What its words named since the brokers were last spoken to.
    named: Option<Named>,
}

/// A fault with the broker that it is of.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) trouble: Trouble,
    /// `host:port`, where the client says it.
    #[cfg_attr(not(feature = "kafka-tls"), allow(dead_code, reason = "certificates are looked at only with TLS"))]
    pub(super) broker: Option<String>,
    at: Duration,
}

impl Words {
    pub(super) fn new(properties: &Properties) -> Self {
        let long = |secret: &String| secret.len() >= SECRET_CHARACTERS_MIN;
        let mut secrets: Vec<String> = properties.secrets().map(str::to_owned).filter(long).collect();
        // One that is part of another goes after it.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let debug = properties.get("debug").is_some();
        Self { secrets, debug, properties: properties.clone(), clock: SystemClock::default(), heard: Mutex::default() }
    }

    pub(super) fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "(hidden)"))
    }

    /// A log line as an event.
    pub(super) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let message = self.hide(message);
        // That a connection was ended is no error to the client, only a line.
        if let Some(fault) = from_words(Code::BrokerTransportFailure, &message) {
            self.name(Trouble::new(fault, message.clone()));
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::error!(target: "librdkafka", facility, message);
            }
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, message),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug if !self.debug => {}
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, message),
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, message),
        }
    }

    /// An error that the client tells aside; what it says is kept for the error that is returned.
    pub(super) fn error(&self, error: &KafkaError, words: &str) -> String {
        let words = self.hide(words);
        if let Some(code) = error.rdkafka_error_code() {
            if let Some(fault) = from_words(code, &words) {
                self.name(Trouble::new(fault, words.clone()));
            }
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).last = Some((code, words.clone()));
        }
        words
    }

    fn name(&self, trouble: Trouble) {
        let named = Named { broker: broker_in(&trouble.detail), at: self.clock.monotonic(), trouble };
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).named = Some(named);
    }

    /// The brokers have answered: what was wrong before is over.
    pub(super) fn over(&self) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).named = None;
    }

    pub(super) fn named(&self) -> Option<Named> {
        let named = self.heard.lock().unwrap_or_else(PoisonError::into_inner).named.clone();
        named.filter(|named| self.clock.monotonic() < named.at + HEARD_MAX)
    }

    /// What an error is, with what the client said of it. Where that was a certificate, the broker is connected to.
    pub(super) fn trouble(&self, error: &KafkaError) -> Trouble {
        let code = error.rdkafka_error_code();
        let mut trouble = Trouble::of(error);
        let unreachable = matches!(
            code,
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut)
                | Some(Code::SSL | Code::Authentication | Code::Fatal)
        );
        if unreachable && let Some(named) = self.named() {
            return certificate::examined(named, &self.properties);
        }
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((last, words)) = &heard.last
            && Some(*last) == code
        {
            trouble.detail.clone_from(words);
        }
        trouble.detail = self.hide(&trouble.detail);
        trouble
    }
}

/// The address in `ssl://host:port/bootstrap: ..`.
fn broker_in(words: &str) -> Option<String> {
    let address = words.split_once("://")?.1.split('/').next()?;
    let (host, port) = address.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| address.to_owned())
}

/// The topic and its new id, in a debug line that tells of a topic with another id than before; and whether there was
/// one before.
pub(super) fn changed_id(message: &str) -> Option<(&str, &str, bool)> {
    let (before, new) = message.rsplit_once(" to ")?;
    let (before, old) = before.rsplit_once(" changed id from ")?;
    let topic = before.rsplit_once("Topic ")?.1;
    Some((topic, new.trim(), !old.bytes().all(|byte| matches!(byte, b'A' | b'='))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::fault::Fault;

    fn words() -> Words {
        let mut properties = Properties::default();
        properties.set("sasl.password", "hush-hush");
        properties.set("ssl.key.password", "a");
        Words::new(&properties)
    }

    #[test]
    fn secrets_are_cut_out_of_what_the_client_says() {
        let words = words();
        let said = words.error(&KafkaError::Global(Code::Authentication), "user a, password hush-hush");
        assert_eq!(said, "user a, password (hidden)");
        assert!(!words.trouble(&KafkaError::Global(Code::Authentication)).detail.contains("hush"));
    }

    #[test]
    fn a_named_fault_stands_for_brokers_that_are_away_until_they_answer() {
        let words = words();
        let down = KafkaError::MessageConsumption(Code::AllBrokersDown);
        let ssl = "ssl://127.0.0.1:9093/bootstrap: SSL handshake failed: certificate verify failed";
        words.error(&KafkaError::Global(Code::SSL), ssl);
        words.error(&KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(words.trouble(&down).fault, Fault::CertificateUntrusted);
        assert_eq!(words.named().and_then(|named| named.broker).as_deref(), Some("127.0.0.1:9093"));
        words.over();
        let away = words.trouble(&down);
        assert_eq!((away.fault, away.detail.as_str()), (Fault::BrokersAway, "1/1 brokers are down"));
    }

    #[test]
    fn the_line_that_tells_of_a_new_id_is_read() {
        let first = "[thrd:main]: Topic my topic changed id from AAAAAAAAAAAAAAAAAAAAAA to q4x-_A";
        assert_eq!(changed_id(first), Some(("my topic", "q4x-_A", false)));
        assert_eq!(changed_id("Topic t changed id from bcd to q4x"), Some(("t", "q4x", true)));
        assert_eq!(changed_id("Topic t [0] Leader 1 Epoch 0"), None);
    }
}
