//! What errors of the client mean for whoever runs it.

use gristmill::traits::SourceError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::fault::{Fault, Remedy};

/// A fault with all that is known of it.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) fault: Fault,
    /// Which partition, which certificate; in the client's words where it says more than a code.
    pub(super) detail: String,
}

impl Trouble {
    pub(super) fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self { fault, detail: detail.into() }
    }

    /// What `error` is, when that is all there is to know.
    pub(super) fn of(error: &KafkaError) -> Self {
        let Some(code) = error.rdkafka_error_code() else { return Self::new(Fault::ClientFailed, error.to_string()) };
        let fault = match (fault(code), error) {
            // One that ends the client by itself, whatever it is called.
            (fault, KafkaError::MessageConsumptionFatal(_)) if fault.remedy() != Remedy::Stop => Fault::ClientFailed,
            (fault, _) => fault,
        };
        Self::new(fault, code.to_string())
    }

    /// The whole text: what was done, where, the name, what it means and what to do, what is known.
    pub(super) fn text(&self, what: &str, brokers: &str) -> String {
        let (name, meaning) = (self.fault.name(), self.fault.meaning());
        let at = if brokers.is_empty() { String::new() } else { format!(" at `{brokers}`") };
        let detail = if self.detail.is_empty() { String::new() } else { format!(" ({})", self.detail) };
        format!("{what}{at}: {name}: {meaning}{detail}")
    }

    /// The same for a source. `met`: whether the brokers have been spoken to before.
    pub(super) fn source(&self, what: &str, brokers: &str, met: bool) -> SourceError {
        let retry = match self.fault.remedy() {
            Remedy::Wait => true,
            Remedy::Stop => false,
            Remedy::StopAtFirst => met,
        };
        SourceError { reason: self.text(what, brokers), retry }
    }
}

fn fault(code: Code) -> Fault {
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => {
            Fault::TopicMissing
        }
        Code::TopicAuthorizationFailed => Fault::TopicDenied,
        Code::GroupAuthorizationFailed => Fault::GroupDenied,
        Code::ClusterAuthorizationFailed | Code::TransactionalIdAuthorizationFailed => Fault::ClusterDenied,
        Code::SaslAuthenticationFailed | Code::Authentication | Code::UnsupportedSASLMechanism => {
            Fault::CredentialsRefused
        }
        Code::SSL => Fault::TlsFailed,
        Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::LogTruncation => Fault::PositionOutOfRange,
        Code::FencedInstanceId => Fault::SlotTaken,
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => Fault::RecordTooLarge,
        Code::InvalidRequiredAcks | Code::UnsupportedVersion | Code::UnsupportedFeature => Fault::BrokerUnfit,
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve => Fault::BrokersAway,
        Code::OperationTimedOut | Code::RequestTimedOut | Code::MessageTimedOut => Fault::BrokerSlow,
        Code::PollExceeded => Fault::PolledTooLate,
        Code::Fatal => Fault::ClientFailed,
        _ => Fault::ClientRetries,
    }
}

/// What the client says of a connection that is ended before a word was understood.
const LISTENER_WORDS: [&str; 3] =
    ["connecting to a PLAINTEXT broker", "connecting to a SSL listener", "in state APIVERSION_QUERY"];

/// What the client's words tell beyond the code: of certificates, credentials and listeners.
pub(super) fn from_words(code: Code, words: &str) -> Option<Fault> {
    let of = |some: &[&str]| some.iter().any(|part| words.contains(part));
    match code {
        Code::SSL if of(&["certificate verify failed", "certificate could not be verified"]) => {
            Some(Fault::CertificateUntrusted)
        }
        Code::SSL if of(&["wrong version number", "http request", "packet length too long"]) => {
            Some(Fault::ListenerOtherwise)
        }
        Code::SSL => Some(Fault::TlsFailed),
        Code::Authentication | Code::SaslAuthenticationFailed => Some(Fault::CredentialsRefused),
        Code::BrokerTransportFailure if of(&LISTENER_WORDS) => Some(Fault::ListenerOtherwise),
        Code::Fatal if of(&["authorization failed"]) => Some(Fault::ClusterDenied),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_where_and_whether_to_wait() {
        let denied = Trouble::of(&KafkaError::MessageConsumption(Code::TopicAuthorizationFailed));
        let said = denied.source("reading `a`", "b:1", true);
        assert!(
            said.reason.starts_with("reading `a` at `b:1`: topic-denied: this user may not use the topic"),
            "{said}"
        );
        assert!(!said.retry);
        let down = KafkaError::MessageConsumption(Code::AllBrokersDown);
        assert!(Trouble::of(&down).source("reading", "b:1", false).retry);
        let fenced = KafkaError::MessageConsumptionFatal(Code::BrokerTransportFailure);
        let fenced = Trouble::of(&fenced);
        assert_eq!((fenced.fault, fenced.source("reading", "b:1", true).retry), (Fault::ClientFailed, false));
    }

    #[test]
    fn what_may_be_put_right_at_the_brokers_stops_a_start_and_not_what_runs() {
        let refused = Trouble::of(&KafkaError::Global(Code::Authentication));
        assert_eq!([false, true].map(|met| refused.source("reading", "b", met).retry), [false, true]);
    }

    #[test]
    fn the_clients_words_tell_more_than_its_codes() {
        let cases = [
            (Code::SSL, "error:0A000086:SSL routines::certificate verify failed", Some(Fault::CertificateUntrusted)),
            (Code::SSL, "error:0A00010B:SSL routines::wrong version number", Some(Fault::ListenerOtherwise)),
            (Code::SSL, "something", Some(Fault::TlsFailed)),
            (Code::BrokerTransportFailure, "(connecting to a SSL listener?)", Some(Fault::ListenerOtherwise)),
            (Code::BrokerTransportFailure, "Connection refused", None),
        ];
        for (code, words, fault) in cases {
            assert_eq!(from_words(code, words), fault, "{words}");
        }
    }
}
