//! Why a broker's certificate was not accepted. The client says only that it was not; a handshake of our own, in which
//! nothing is sent, says which of its parts is wrong.

use super::errors::Trouble;
use super::properties::Properties;
use super::words::Named;

#[cfg(not(feature = "kafka-tls"))]
pub(super) fn examined(named: Named, _properties: &Properties) -> Trouble {
    named.trouble
}

#[cfg(feature = "kafka-tls")]
pub(super) use looked_at::examined;

#[cfg(feature = "kafka-tls")]
mod looked_at {
    use std::net::{TcpStream, ToSocketAddrs};
    use std::path::Path;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use openssl::error::ErrorStack;
    use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
    use openssl::x509::X509;
    use openssl::x509::store::X509StoreBuilder;

    use super::{Named, Properties, Trouble};
    use crate::kafka::fault::Fault;

    const TIMEOUT: Duration = Duration::from_secs(3);
    /// OpenSSL's numbers of what can be wrong with a certificate.
    const NOT_VALID_NOW: [i32; 2] = [9, 10];
    const OTHER_NAME: [i32; 2] = [62, 64];

    /// The trouble with what is wrong with the certificate, if that can be found out.
    pub(in crate::kafka) fn examined(named: Named, properties: &Properties) -> Trouble {
        let Named { mut trouble, broker, .. } = named;
        let (Fault::CertificateUntrusted, Some(broker)) = (trouble.fault, broker) else { return trouble };
        let Some((number, text)) = verdict(&broker, properties) else { return trouble };
        trouble.fault = match number {
            number if NOT_VALID_NOW.contains(&number) => Fault::CertificateExpired,
            number if OTHER_NAME.contains(&number) => Fault::CertificateOfAnotherHost,
            _ => Fault::CertificateUntrusted,
        };
        trouble.detail = format!("{broker}: {text}");
        trouble
    }

    /// OpenSSL's number and text of what is wrong.
    fn verdict(broker: &str, properties: &Properties) -> Option<(i32, String)> {
        let verdict: Arc<Mutex<Option<(i32, String)>>> = Arc::default();
        let mut connector = SslConnector::builder(SslMethod::tls_client()).ok()?;
        let trusted = match (properties.get("ssl.ca.location"), properties.get("ssl.ca.pem")) {
            (Some(place), _) if Path::new(place).is_dir() => {
                connector.load_verify_locations(None, Some(place.as_ref()))
            }
            (Some(file), _) => connector.set_ca_file(file),
            (None, Some(pem)) => authorities(pem).map(|store| connector.set_cert_store(store.build())),
            (None, None) => Ok(()),
        };
        trusted.ok()?;
        let tell = Arc::clone(&verdict);
        connector.set_verify_callback(SslVerifyMode::PEER, move |good, context| {
            if !good {
                let error = context.error();
                let mut first = tell.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| (error.as_raw(), error.error_string().to_owned()));
            }
            good
        });
        let mut configured = connector.build().configure().ok()?;
        configured.set_verify_hostname(properties.get("ssl.endpoint.identification.algorithm") != Some("none"));
        let address = broker.to_socket_addrs().ok()?.next()?;
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).and_then(|()| stream.set_write_timeout(Some(TIMEOUT))).ok()?;
        let host = broker.rsplit_once(':')?.0.trim_matches(['[', ']']);
        // How it ends does not matter: it is closed either way.
        let _ = configured.connect(host, stream);
        verdict.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn authorities(pem: &str) -> Result<X509StoreBuilder, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        for authority in X509::stack_from_pem(pem.as_bytes())? {
            store.add_cert(authority)?;
        }
        Ok(store)
    }
}
