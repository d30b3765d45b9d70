//! What errors of the client mean for whoever runs it.

use gristmill::traits::SourceError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The client goes on by itself.
    Wait,
    /// Somebody has to change something.
    Stop,
}

/// What `error` means when `what` was done.
pub(super) fn explain(error: &KafkaError, what: &str, brokers: &str) -> (String, Remedy) {
    let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    let Some(code) = error.rdkafka_error_code() else { return (format!("{what}: {error}"), Remedy::Stop) };
    let (meaning, remedy) = meaning(code);
    let remedy = if fatal { Remedy::Stop } else { remedy };
    (format!("{what} at `{brokers}`: {meaning} ({code})"), remedy)
}

pub(super) fn source_error(error: &KafkaError, what: &str, brokers: &str) -> SourceError {
    let (reason, remedy) = explain(error, what, brokers);
    SourceError { reason, retry: remedy == Remedy::Wait }
}

fn meaning(code: Code) -> (&'static str, Remedy) {
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            ("a topic is missing, or this user may not see it; create it or check the name", Remedy::Stop)
        }
        Code::TopicAuthorizationFailed => ("this user may not use the topic; check the broker's ACLs", Remedy::Stop),
        Code::GroupAuthorizationFailed => {
            ("this user may not use the consumer group; check the broker's ACLs", Remedy::Stop)
        }
        Code::ClusterAuthorizationFailed | Code::TransactionalIdAuthorizationFailed => {
            ("this user may not do that; check the broker's ACLs", Remedy::Stop)
        }
        Code::SaslAuthenticationFailed | Code::Authentication | Code::UnsupportedSASLMechanism => {
            ("the broker does not accept these credentials; check sasl.* properties", Remedy::Stop)
        }
        Code::SSL => ("no secure connection; check certificates and ssl.* properties", Remedy::Stop),
        Code::OffsetOutOfRange | Code::AutoOffsetReset => {
            ("the group's position is not in the log any more; set the group's offset or say `start_at`", Remedy::Stop)
        }
        Code::FencedInstanceId => ("the slot group.instance.id is taken by another process", Remedy::Stop),
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => {
            ("a record is larger than the broker takes; raise max.message.bytes of the topic", Remedy::Stop)
        }
        Code::InvalidRequiredAcks | Code::UnsupportedVersion | Code::UnsupportedFeature => {
            ("the broker is too old or set up otherwise", Remedy::Stop)
        }
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve => {
            ("no broker can be reached; trying again", Remedy::Wait)
        }
        Code::OperationTimedOut | Code::RequestTimedOut | Code::MessageTimedOut => {
            ("the broker did not answer in time; trying again", Remedy::Wait)
        }
        _ => ("the client tries again", Remedy::Wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_where_and_whether_to_wait() {
        let (reason, remedy) =
            explain(&KafkaError::MessageConsumption(Code::TopicAuthorizationFailed), "reading `a`", "b:1");
        assert!(reason.starts_with("reading `a` at `b:1`: this user may not use the topic"), "{reason}");
        assert_eq!(remedy, Remedy::Stop);
        let down = KafkaError::MessageConsumption(Code::AllBrokersDown);
        assert!(source_error(&down, "reading", "b:1").retry);
        let fenced = KafkaError::MessageConsumptionFatal(Code::BrokerTransportFailure);
        assert!(!source_error(&fenced, "reading", "b:1").retry);
    }
}
