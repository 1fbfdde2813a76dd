//! TLS of all doors: which certificates are shown, which are asked for, under which protocol.
//!
//! Comes in: the certificate files. Goes out: configurations for QUIC endpoints and for ZooKeeper's
//! TCP. Invariant: TLS 1.3 only, but for ZooKeeper clients, whose 1.2 is taken too; every certificate
//! is verified against the authority of its door, nothing is accepted before the handshake is complete
//! (0-RTT is off), and no session is resumed, so each connection proves its certificate anew. Whom a
//! certificate names is decided in `identity_of` and, for ZooKeeper clients, by its subject, after
//! the handshake.

use crate::configuration::{ClientCertificates, TlsPaths};
use crate::transport;
use crate::zookeeper::ShownCertificates;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use ring::hmac;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the certificate files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there or is not PEM of the kind expected.
    #[error("{}: {reason}; `quorate cluster create` makes certificates", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The files do not fit one another or are not supported.
    #[error("the certificates cannot be used: {0}")]
    Unusable(String),
}

/// What a server proves itself with and what it trusts.
pub struct TlsMaterial {
    authorities: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl TlsMaterial {
    /// Reads the files.
    ///
    /// # Errors
    /// One is not there or not what it should be.
    pub fn load(paths: &TlsPaths) -> Result<TlsMaterial, TlsError> {
        let mut authorities = RootCertStore::empty();
        for certificate in certificates(&paths.authority)? {
            authorities
                .add(certificate)
                .map_err(|error| file_error(&paths.authority, &error.to_string()))?;
        }
        let key = PrivateKeyDer::from_pem_file(&paths.key)
            .map_err(|error| file_error(&paths.key, &no_key(&paths.key, &error.to_string())))?;
        Ok(TlsMaterial {
            authorities: Arc::new(authorities),
            chain: certificates(&paths.certificate)?,
            key,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        })
    }

    /// The certificate that this server shows.
    #[must_use]
    pub fn own_certificate(&self) -> &CertificateDer<'static> {
        self.chain.first().expect("files without a certificate are refused when loaded")
    }

    /// A secret that only holders of this server's private key can know, the same at every start.
    pub(crate) fn secret_for(&self, purpose: &str) -> hmac::Key {
        let own = hmac::Key::new(hmac::HMAC_SHA256, self.key.secret_der());
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&own, purpose.as_bytes()).as_ref())
    }

    /// The native door.
    ///
    /// # Errors
    /// Key and certificate do not fit.
    pub fn native_door(
        &self,
        clients: ClientCertificates,
    ) -> Result<quinn::ServerConfig, TlsError> {
        let config = self.server_config(clients, quorate_wire::native::ALPN)?;
        Ok(transport::native_door(config))
    }

    /// The door of ZooKeeper clients. Java clients before 3.9 speak TLS 1.2 unless told otherwise.
    ///
    /// # Errors
    /// Key and certificate do not fit.
    pub(crate) fn zookeeper_door(
        &self,
        clients: ShownCertificates,
    ) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let verifier = match clients {
            ShownCertificates::None => WebPkiClientVerifier::no_client_auth(),
            ShownCertificates::Want => self.verifier(ClientCertificates::Optional)?,
            ShownCertificates::Need => self.verifier(ClientCertificates::Required)?,
        };
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        Ok(Arc::new(self.config(verifier, &versions)?))
    }

    /// The peer door.
    ///
    /// # Errors
    /// Key and certificate do not fit.
    pub fn peer_door(&self) -> Result<quinn::ServerConfig, TlsError> {
        let config = self.server_config(ClientCertificates::Required, quorate_wire::peer::ALPN)?;
        Ok(transport::peer_door(config))
    }

    /// Dialing a peer.
    ///
    /// # Errors
    /// Key and certificate do not fit.
    pub fn peer_dialer(&self) -> Result<quinn::ClientConfig, TlsError> {
        let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?
            .with_root_certificates(Arc::clone(&self.authorities));
        let mut config = config
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(unusable)?;
        config.alpn_protocols = vec![quorate_wire::peer::ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_early_data = false;
        Ok(transport::peer_dialer(QuicClientConfig::try_from(config).map_err(unusable)?))
    }

    fn server_config(
        &self,
        clients: ClientCertificates,
        alpn: &[u8],
    ) -> Result<QuicServerConfig, TlsError> {
        let mut config = self.config(self.verifier(clients)?, &[&rustls::version::TLS13])?;
        config.alpn_protocols = vec![alpn.to_vec()];
        QuicServerConfig::try_from(config).map_err(unusable)
    }

    fn verifier(
        &self,
        clients: ClientCertificates,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&self.authorities),
            Arc::clone(&self.provider),
        );
        let verifier = match clients {
            ClientCertificates::Required => verifier,
            ClientCertificates::Optional => verifier.allow_unauthenticated(),
        };
        verifier.build().map_err(unusable)
    }

    fn config(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Result<rustls::ServerConfig, TlsError> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(unusable)?;
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// Why a file holds no key that can be read, with what to do about one with a password.
fn no_key(path: &Path, reason: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    if !text.contains("ENCRYPTED") {
        return reason.to_owned();
    }
    format!(
        "its key has a password, and keys are read without one: `openssl pkey -in {} -out plain.pem` \
         takes it off",
        path.display()
    )
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file_error(path, &error.to_string()))?;
    if read.is_empty() {
        return Err(file_error(path, "it holds no certificate"));
    }
    Ok(read)
}

fn file_error(path: &Path, reason: &str) -> TlsError {
    TlsError::File { path: path.to_owned(), reason: reason.to_owned() }
}

fn unusable(error: impl std::fmt::Display) -> TlsError {
    TlsError::Unusable(error.to_string())
}
