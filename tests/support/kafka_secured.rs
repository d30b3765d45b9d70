//! A broker with TLS, users and rules: its certificates are made here, anew for each.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

/// A listener of a secured broker: they differ in their certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Names the host, is valid, and is signed by the authority of `ca.pem`.
    Good,
    /// As `Good`, until a day ago.
    Expired,
    /// As `Good`, of another host.
    OtherHost,
}

const LISTENERS: [(&str, &str, i64); 3] =
    [("GOOD", "localhost", 30), ("EXPIRED", "localhost", -1), ("OTHER", "broker.example", 30)];
const DAY: i64 = 86_400;

struct Authority {
    key: PKey<Private>,
    certificate: X509,
}

fn key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2_048).expect("a key")).expect("a key")
}

/// A certificate from 30 days ago until so many days from now; signed by itself without an authority.
fn certificate(name: &str, days: i64, key: &PKey<Private>, by: Option<&Authority>) -> X509 {
    let mut subject = X509NameBuilder::new().expect("a name");
    subject.append_entry_by_text("CN", name).expect("a name");
    let subject = subject.build();
    let now = std::process::Command::new("date").arg("+%s").output().expect("the time of day").stdout;
    let now: i64 = String::from_utf8_lossy(&now).trim().parse().expect("seconds");
    let mut made = X509::builder().expect("a certificate");
    let number = BigNum::from_u32(u32::from(by.is_some()) + 1).and_then(|number| number.to_asn1_integer());
    let from = Asn1Time::from_unix(now - 30 * DAY).expect("a time");
    let to = Asn1Time::from_unix(now + days * DAY).expect("a time");
    made.set_version(2).expect("a version");
    made.set_serial_number(&number.expect("a number")).expect("a number");
    made.set_subject_name(&subject).expect("a name");
    made.set_issuer_name(by.map_or(&subject, |by| by.certificate.subject_name())).expect("a name");
    made.set_not_before(&from).expect("a time");
    made.set_not_after(&to).expect("a time");
    made.set_pubkey(key).expect("a key");
    if by.is_none() {
        made.append_extension(BasicConstraints::new().critical().ca().build().expect("an extension")).expect("room");
    } else {
        let names = SubjectAlternativeName::new().dns(name).build(&made.x509v3_context(None, None)).expect("a name");
        made.append_extension(names).expect("room");
    }
    made.sign(by.map_or(key, |by| &by.key), MessageDigest::sha256()).expect("a signature");
    made.build()
}

fn authority() -> Authority {
    let key = key();
    Authority { certificate: certificate("test authority", 300, &key, None), key }
}

/// A broker's key with its certificate, as Kafka reads them.
fn keystore(by: &Authority, name: &str, days: i64) -> Vec<u8> {
    let key = key();
    let mut pem = key.private_key_to_pem_pkcs8().expect("a key");
    pem.extend(certificate(name, days, &key, Some(by)).to_pem().expect("a certificate"));
    pem
}

/// The properties of a plain broker with secured listeners added; writes the certificates that they name.
pub(super) fn properties(plain: &str, ports: [u16; 3], folder: &Path) -> String {
    let (ours, others) = (authority(), authority());
    write(&folder.join("ca.pem"), &ours.certificate.to_pem().expect("a certificate"));
    write(&folder.join("other-ca.pem"), &others.certificate.to_pem().expect("a certificate"));
    write(&folder.join("untrusted.pem"), &keystore(&others, "localhost", 30));
    let mut extra = String::new();
    let (mut listeners, mut advertised, mut protocols) = (String::new(), String::new(), String::new());
    for ((name, host, days), port) in LISTENERS.into_iter().zip(ports) {
        let file = folder.join(format!("{}.pem", name.to_lowercase()));
        write(&file, &keystore(&ours, host, days));
        write!(listeners, ",{name}://127.0.0.1:{port}").expect("a text");
        write!(advertised, ",{name}://localhost:{port}").expect("a text");
        write!(protocols, ",{name}:SASL_SSL").expect("a text");
        let of = format!("listener.name.{}", name.to_lowercase());
        write!(
            extra,
            "{of}.ssl.keystore.type=PEM\n{of}.ssl.keystore.location={}\n{of}.sasl.enabled.mechanisms=SCRAM-SHA-256\n\
             {of}.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n",
            file.display()
        )
        .expect("a text");
    }
    let lines = plain.lines().map(|line| match line.split_once('=').map(|(name, _)| name) {
        Some("listeners") => format!("{line}{listeners}"),
        Some("advertised.listeners") => format!("{line}{advertised}"),
        Some("listener.security.protocol.map") => format!("{line}{protocols}"),
        _ => line.to_owned(),
    });
    let mut all: Vec<String> = lines.collect();
    all.push(extra);
    all.push("inter.broker.listener.name=PLAINTEXT".to_owned());
    all.push("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned());
    all.push("super.users=User:ANONYMOUS\n".to_owned());
    all.join("\n")
}

fn write(file: &PathBuf, bytes: &[u8]) {
    fs::write(file, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
}
