//! Where the servers are, whom to trust, who this client is, how long to wait.
//!
//! Comes in: what the user gives. Goes out: a [`ClientConfig`] and the TLS configuration made from
//! it. Must never: print a key.

use crate::error::ClientError;
use quorate_wire::native;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The DNS name that every server certificate of a cluster carries, besides its hosts: clients
/// verify against it, so that endpoints may be addresses.
pub const SERVER_NAME: &str = "server.quorate.internal";

/// The UDP port of an endpoint that names none.
pub const DEFAULT_PORT: u16 = 7420;

/// Certificates or a key in PEM form, with a word on where they came from for error messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    source: String,
    text: Vec<u8>,
}

impl Pem {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ClientError::Configuration`] when the file cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Pem, ClientError> {
        let source = path.as_ref().display().to_string();
        let text = std::fs::read(&path).map_err(|error| {
            ClientError::Configuration(format!("cannot read {source}: {error}"))
        })?;
        Ok(Pem { source, text })
    }

    /// Text at hand; `source` says in error messages where it came from.
    #[must_use]
    pub fn new(source: impl Into<String>, text: impl Into<Vec<u8>>) -> Pem {
        Pem { source: source.into(), text: text.into() }
    }

    /// Where the text came from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, ClientError> {
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(&self.text).collect::<Result<_, _>>().map_err(
                |error| ClientError::Configuration(format!("{} is no PEM: {error}", self.source)),
            )?;
        if certificates.is_empty() {
            let words = format!("there is no certificate in {}", self.source);
            return Err(ClientError::Configuration(words));
        }
        Ok(certificates)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, ClientError> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|error| {
            ClientError::Configuration(format!(
                "there is no private key in {}: {error}",
                self.source
            ))
        })
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").field("source", &self.source).finish_non_exhaustive()
    }
}

impl From<&str> for Pem {
    fn from(text: &str) -> Pem {
        Pem::new("the PEM text given", text)
    }
}

impl From<String> for Pem {
    fn from(text: String) -> Pem {
        Pem::new("the PEM text given", text)
    }
}

/// What a client needs to know.
///
/// ```no_run
/// # fn main() -> Result<(), quorate_client::ClientError> {
/// use quorate_client::{ClientConfig, Pem};
/// let mut config = ClientConfig::new(["10.0.0.1:7420", "10.0.0.2"], Pem::read("ca.pem")?);
/// config.client_certificate_pem = Some(Pem::read("client.pem")?);
/// config.client_key_pem = Some(Pem::read("client.key")?);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host`, `host:port`, `address` or `[address]:port` of some or all servers; tried in random
    /// order.
    pub endpoints: Vec<String>,
    /// The certificate of the cluster's authority.
    pub ca_pem: Pem,
    /// This client's certificate, if the servers ask for one.
    pub client_certificate_pem: Option<Pem>,
    /// The key of the client's certificate.
    pub client_key_pem: Option<Pem>,
    /// How long the servers keep the session without hearing from this client. They grant 1 s to
    /// 10 min. Default: 10 s.
    pub session_timeout: Duration,
    /// The name looked for in server certificates. Default: [`SERVER_NAME`].
    pub server_name: String,
    /// How long [`crate::Client::connect`] tries. Default: 10 s.
    pub connect_timeout: Duration,
    /// How long a request may take, over any number of tries, until it is answered or parked.
    /// Default: 30 s.
    pub request_timeout: Duration,
}

impl ClientConfig {
    /// The defaults for these endpoints and this authority.
    pub fn new<E: Into<String>>(
        endpoints: impl IntoIterator<Item = E>,
        ca_pem: impl Into<Pem>,
    ) -> ClientConfig {
        ClientConfig {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            ca_pem: ca_pem.into(),
            client_certificate_pem: None,
            client_key_pem: None,
            session_timeout: Duration::from_secs(10),
            server_name: SERVER_NAME.to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
        }
    }

    /// The endpoints with their ports.
    pub(crate) fn targets(&self) -> Result<Vec<String>, ClientError> {
        if self.endpoints.is_empty() {
            let words = "no endpoint was given: name at least one server as host:port".to_owned();
            return Err(ClientError::Configuration(words));
        }
        self.endpoints.iter().map(|endpoint| with_port(endpoint)).collect()
    }

    pub(crate) fn tls(&self) -> Result<rustls::ClientConfig, ClientError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.ca_pem.certificates()? {
            roots.add(certificate).map_err(|error| {
                let source = self.ca_pem.source();
                ClientError::Configuration(format!("{source} holds no authority: {error}"))
            })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| ClientError::Configuration(error.to_string()))?
            .with_root_certificates(roots);
        let mut tls = match (&self.client_certificate_pem, &self.client_key_pem) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => builder
                .with_client_auth_cert(certificate.certificates()?, key.key()?)
                .map_err(|error| {
                    ClientError::Configuration(format!(
                        "the client certificate in {} and the key in {} cannot be used: {error}",
                        certificate.source(),
                        key.source()
                    ))
                })?,
            (Some(_), None) => return Err(half_an_identity("certificate", "key")),
            (None, Some(_)) => return Err(half_an_identity("key", "certificate")),
        };
        tls.alpn_protocols = vec![native::ALPN.to_vec()];
        Ok(tls)
    }
}

fn half_an_identity(given: &str, missing: &str) -> ClientError {
    ClientError::Configuration(format!("a client {given} was given without its {missing}"))
}

fn with_port(endpoint: &str) -> Result<String, ClientError> {
    let text = endpoint.strip_prefix("quorate://").unwrap_or(endpoint).trim();
    let wrong = || {
        let words = format!("`{endpoint}` is no endpoint: write host:port, such as 127.0.0.1:7420");
        Err(ClientError::Configuration(words))
    };
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>() {
        return Ok(format!("[{address}]:{DEFAULT_PORT}"));
    }
    match text.rsplit_once(':') {
        None if text.is_empty() || text.contains(['/', ' ']) => wrong(),
        None => Ok(format!("{text}:{DEFAULT_PORT}")),
        Some((host, port))
            if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(text.to_owned())
        }
        Some(_) => wrong(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_without_a_port_get_the_default() {
        let cases = [
            ("host", "host:7420"),
            ("host:1", "host:1"),
            ("10.0.0.1", "10.0.0.1:7420"),
            ("::1", "[::1]:7420"),
            ("[::1]", "[::1]:7420"),
            ("[::1]:9", "[::1]:9"),
            ("quorate://host:8", "host:8"),
        ];
        for (text, expected) in cases {
            assert_eq!(with_port(text).as_deref(), Ok(expected));
        }
        for text in ["", "host:", ":7420", "host:port", "host:70000", "host:0"] {
            assert!(matches!(with_port(text), Err(ClientError::Configuration(_))), "{text}");
        }
    }

    #[test]
    fn unusable_pem_is_refused_and_names_its_source() {
        let config = ClientConfig::new(["host"], Pem::new("/etc/ca.pem", "nothing"));
        let error = config.tls().unwrap_err().to_string();
        assert!(error.contains("/etc/ca.pem"), "{error}");
        let error = Pem::read("/no/such/ca.pem").unwrap_err().to_string();
        assert!(error.contains("/no/such/ca.pem"), "{error}");
        assert!(!format!("{:?}", Pem::from("secret words")).contains("secret"));
    }
}
