//! Everything that is known to go wrong with Kafka, by name. `docs/OPERATIONS.md` has a row for each.

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The client goes on by itself.
    Wait,
    /// Somebody has to change something.
    Stop,
    /// At the first connection somebody has to change something; later it may be the brokers' side that is put right.
    StopAtFirst,
}

/// What went wrong.
#[cfg_attr(not(feature = "kafka-tls"), allow(dead_code, reason = "certificates are looked at only with TLS"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    BrokersAway,
    BrokerSlow,
    BrokerUnfit,
    CertificateExpired,
    CertificateOfAnotherHost,
    CertificateUntrusted,
    ClientFailed,
    ClientRetries,
    ClusterDenied,
    CredentialsRefused,
    GroupDenied,
    ListenerOtherwise,
    PolledTooLate,
    PositionMissing,
    PositionOutOfRange,
    RecordTooLarge,
    SettingsRefused,
    SlotTaken,
    TlsFailed,
    TlsNotBuilt,
    TopicDeleted,
    TopicDenied,
    TopicMissing,
    TopicRemade,
}

impl Fault {
    /// Its name, what it means and what to do, and whether to wait.
    pub(super) fn said(self) -> (&'static str, &'static str, Remedy) {
        use Remedy::{Stop, StopAtFirst, Wait};
        match self {
            Self::BrokersAway => ("brokers-away", "no broker can be reached; trying again", Wait),
            Self::BrokerSlow => ("broker-slow", "the broker did not answer in time; trying again", Wait),
            Self::BrokerUnfit => {
                ("broker-unfit", "the broker is too old or set up otherwise; Kafka 2.5 or later is needed", Stop)
            }
            Self::CertificateExpired => (
                "certificate-expired",
                "the broker's certificate is not valid at this time; renew it, or set this machine's clock",
                StopAtFirst,
            ),
            Self::CertificateOfAnotherHost => (
                "certificate-of-another-host",
                "the broker's certificate does not name the host that was connected to; say `brokers` by a name in it, or \
                 have one made with this name",
                StopAtFirst,
            ),
            Self::CertificateUntrusted => (
                "certificate-untrusted",
                "nobody in `ssl.ca.location` vouches for the broker's certificate; name the file of the CA that signed it",
                StopAtFirst,
            ),
            Self::ClientFailed => {
                ("client-failed", "the client has given up; what was not committed is read again", Stop)
            }
            Self::ClientRetries => ("client-retries", "the client tries again", Wait),
            Self::ClusterDenied => {
                ("cluster-denied", "this user may not do that; allow it at the broker (kafka-acls)", Stop)
            }
            Self::CredentialsRefused => (
                "credentials-refused",
                "the broker does not accept these credentials; check `sasl.username`, `sasl.password` and `sasl.mechanism`",
                StopAtFirst,
            ),
            Self::GroupDenied => (
                "group-denied",
                "this user may not use the consumer group; allow Read on the group at the broker (kafka-acls)",
                Stop,
            ),
            Self::ListenerOtherwise => (
                "listener-otherwise",
                "the broker's listener speaks another `security.protocol` than this client, or the broker is starting; \
                 nothing was sent unprotected in its place; trying again",
                Wait,
            ),
            Self::PolledTooLate => (
                "polled-too-late",
                "the group has given the partitions away, as nothing was polled for `max.poll.interval.ms`; joining again",
                Wait,
            ),
            Self::PositionMissing => (
                "position-missing",
                "the group has no position where it had one; set one (kafka-consumer-groups --reset-offsets), or say \
                 `start_at` earliest or latest",
                Stop,
            ),
            Self::PositionOutOfRange => (
                "position-out-of-range",
                "the group's position is not in the log; set one (kafka-consumer-groups --reset-offsets), or say \
                 `start_at` earliest or latest",
                Stop,
            ),
            Self::RecordTooLarge => (
                "record-too-large",
                "a record is larger than the broker takes; raise max.message.bytes of the topic and `message.max.bytes`",
                Stop,
            ),
            Self::SettingsRefused => ("settings-refused", "the settings can not work", Stop),
            Self::SlotTaken => (
                "slot-taken",
                "the slot `group.instance.id` is taken by another process; give each process its own",
                Stop,
            ),
            Self::TlsFailed => {
                ("tls-failed", "no secure connection; check certificates and the ssl.* properties", StopAtFirst)
            }
            Self::TlsNotBuilt => {
                ("tls-not-built", "this program has no TLS and no SCRAM in it; build it with feature `kafka-tls`", Stop)
            }
            Self::TopicDeleted => {
                ("topic-deleted", "a topic that was read is gone; make it again, or take it out, and start anew", Stop)
            }
            Self::TopicDenied => (
                "topic-denied",
                "this user may not use the topic; allow Read (source) or Write (sink) on it at the broker (kafka-acls)",
                Stop,
            ),
            Self::TopicMissing => ("topic-missing", "a topic is missing; create it or check the name", Stop),
            Self::TopicRemade => (
                "topic-remade",
                "a topic that was read was deleted and made again, so that positions in it mean nothing; start anew, and \
                 it is read from its beginning",
                Stop,
            ),
        }
    }

    pub(super) fn name(self) -> &'static str {
        self.said().0
    }
}

#[cfg(test)]
mod tests {
    use super::Fault::*;
    use super::*;

    const ALL: [Fault; 24] = [
        BrokersAway,
        BrokerSlow,
        BrokerUnfit,
        CertificateExpired,
        CertificateOfAnotherHost,
        CertificateUntrusted,
        ClientFailed,
        ClientRetries,
        ClusterDenied,
        CredentialsRefused,
        GroupDenied,
        ListenerOtherwise,
        PolledTooLate,
        PositionMissing,
        PositionOutOfRange,
        RecordTooLarge,
        SettingsRefused,
        SlotTaken,
        TlsFailed,
        TlsNotBuilt,
        TopicDeleted,
        TopicDenied,
        TopicMissing,
        TopicRemade,
    ];

    /// The table of `docs/OPERATIONS.md` has every name of this file, and no other.
    #[test]
    fn the_table_in_the_docs_has_every_name() {
        let docs = include_str!("../../../docs/OPERATIONS.md");
        let table = docs.split("## Kafka's errors by name").nth(1).expect("the chapter is there");
        let table = table.split("\n## ").next().unwrap_or_default();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut listed: Vec<&str> = rows.collect();
        listed.sort_unstable();
        let mut names: Vec<&str> = ALL.iter().map(|fault| fault.name()).collect();
        names.sort_unstable();
        assert_eq!(listed, names);
        // Each is listed above once, as the compiler numbers them.
        assert!(ALL.iter().enumerate().all(|(place, fault)| *fault as usize == place));
        assert_eq!(TopicRemade as usize + 1, ALL.len());
    }
}
