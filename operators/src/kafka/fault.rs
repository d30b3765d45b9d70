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

/// Of each its name, whether to wait, and what it means and what to do; in the order of their numbers.
const SAID: [(Fault, &str, Remedy, &str); 24] = [
    (Fault::BrokersAway, "brokers-away", Remedy::Wait, "no broker can be reached; trying again"),
    (Fault::BrokerSlow, "broker-slow", Remedy::Wait, "the broker did not answer in time; trying again"),
    (
        Fault::BrokerUnfit,
        "broker-unfit",
        Remedy::Stop,
        "the broker is too old or set up otherwise; Kafka 2.5 or later is needed",
    ),
    (
        Fault::CertificateExpired,
        "certificate-expired",
        Remedy::StopAtFirst,
        "the broker's certificate is not valid at this time; renew it, or set this machine's clock",
    ),
    (
        Fault::CertificateOfAnotherHost,
        "certificate-of-another-host",
        Remedy::StopAtFirst,
        "the broker's certificate does not name the host that was connected to; say `brokers` by a name in it, or \
         have one made with this name",
    ),
    (
        Fault::CertificateUntrusted,
        "certificate-untrusted",
        Remedy::StopAtFirst,
        "nobody in `ssl.ca.location` vouches for the broker's certificate; name the file of the CA that signed it",
    ),
    (
        Fault::ClientFailed,
        "client-failed",
        Remedy::Stop,
        "the client has given up; what was not committed is read again",
    ),
    (Fault::ClientRetries, "client-retries", Remedy::Wait, "the client tries again"),
    (
        Fault::ClusterDenied,
        "cluster-denied",
        Remedy::Stop,
        "this user may not do that; allow it at the broker (kafka-acls)",
    ),
    (
        Fault::CredentialsRefused,
        "credentials-refused",
        Remedy::StopAtFirst,
        "the broker does not accept these credentials; check `sasl.username`, `sasl.password` and `sasl.mechanism`",
    ),
    (
        Fault::GroupDenied,
        "group-denied",
        Remedy::Stop,
        "this user may not use the consumer group; allow Read on the group at the broker (kafka-acls)",
    ),
    (
        Fault::ListenerOtherwise,
        "listener-otherwise",
        Remedy::Wait,
        "the broker's listener speaks another `security.protocol` than this client, or the broker is starting; \
         nothing was sent unprotected in its place; trying again",
    ),
    (
        Fault::PolledTooLate,
        "polled-too-late",
        Remedy::Wait,
        "the group has given the partitions away, as nothing was polled for `max.poll.interval.ms`; joining again",
    ),
    (
        Fault::PositionMissing,
        "position-missing",
        Remedy::Stop,
        "the group has no position where it had one; set one (kafka-consumer-groups --reset-offsets), or say \
         `start_at` earliest or latest",
    ),
    (
        Fault::PositionOutOfRange,
        "position-out-of-range",
        Remedy::Stop,
        "the group's position is not in the log; set one (kafka-consumer-groups --reset-offsets), or say \
         `start_at` earliest or latest",
    ),
    (
        Fault::RecordTooLarge,
        "record-too-large",
        Remedy::Stop,
        "a record is larger than the broker takes; raise max.message.bytes of the topic and `message.max.bytes`",
    ),
    (Fault::SettingsRefused, "settings-refused", Remedy::Stop, "the settings can not work"),
    (
        Fault::SlotTaken,
        "slot-taken",
        Remedy::Stop,
        "the slot `group.instance.id` is taken by another process; give each process its own",
    ),
    (
        Fault::TlsFailed,
        "tls-failed",
        Remedy::StopAtFirst,
        "no secure connection; check certificates and the ssl.* properties",
    ),
    (
        Fault::TlsNotBuilt,
        "tls-not-built",
        Remedy::Stop,
        "this program has no TLS and no SCRAM in it; build it with feature `kafka-tls`",
    ),
    (
        Fault::TopicDeleted,
        "topic-deleted",
        Remedy::Stop,
        "a topic that was read is gone; make it again, or take it out, and start anew",
    ),
    (
        Fault::TopicDenied,
        "topic-denied",
        Remedy::Stop,
        "this user may not use the topic; allow Read (source) or Write (sink) on it at the broker (kafka-acls)",
    ),
    (Fault::TopicMissing, "topic-missing", Remedy::Stop, "a topic is missing; create it or check the name"),
    (
        Fault::TopicRemade,
        "topic-remade",
        Remedy::Stop,
        "a topic that was read was deleted and made again, so that positions in it mean nothing; start anew, and \
         it is read from its beginning",
    ),
];

impl Fault {
    pub(super) fn name(self) -> &'static str {
        SAID[self as usize].1
    }

    pub(super) fn remedy(self) -> Remedy {
        SAID[self as usize].2
    }

    /// What it means and what to do.
    pub(super) fn meaning(self) -> &'static str {
        SAID[self as usize].3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_row() {
        assert!(SAID.iter().enumerate().all(|(place, row)| row.0 as usize == place));
        assert_eq!(Fault::TopicRemade as usize + 1, SAID.len());
    }

    /// The table of `docs/OPERATIONS.md` has every name of this file, and no other.
    #[test]
    fn the_table_in_the_docs_has_every_name() {
        let docs = include_str!("../../../docs/OPERATIONS.md");
        let table = docs.split("## Kafka's errors by name").nth(1).expect("the chapter is there");
        let table = table.split("\n## ").next().unwrap_or_default();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut listed: Vec<&str> = rows.collect();
        listed.sort_unstable();
        let mut names: Vec<&str> = SAID.iter().map(|row| row.1).collect();
        names.sort_unstable();
        assert_eq!(listed, names);
    }
}
