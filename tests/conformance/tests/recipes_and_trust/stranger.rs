//! Somebody who dials the peer door without being a peer.
//!
//! Comes in: an address, certificates or none. Goes out: how the server ended the connection.
//! Invariant: the stranger itself trusts everybody, so that only the server can refuse.

use anyhow::{Context, Result, bail};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use quorate_client::SERVER_NAME;
use quorate_conformance::PATIENCE;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::time::timeout;

const PEER_PROTOCOL: &[u8] = b"quorate-peer/1";

/// Certificate and key, as files.
pub(crate) type Papers<'a> = Option<(&'a Path, &'a Path)>;

/// Dials, and gives the reason for which the server ended the connection.
pub(crate) async fn dial(address: SocketAddr, papers: Papers<'_>) -> Result<String> {
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    let connecting = endpoint.connect_with(config(papers)?, address, SERVER_NAME)?;
    let ended = async {
        match connecting.await {
            // In TLS 1.3 the one who dials is done before the other has looked at its certificate.
            Ok(connection) => until_refused(connection).await,
            Err(error) => Ok(error.to_string()),
        }
    };
    timeout(PATIENCE, ended).await.context("the server let the stranger be")?
}

/// Sends what a peer would send first; a server must end the connection by itself.
async fn until_refused(connection: Connection) -> Result<String> {
    let greet = async {
        let mut lane = connection.open_uni().await?;
        lane.write_all(&[0; 64]).await?;
        anyhow::Ok(())
    };
    // Refused in the middle of it is refused as well.
    let _ = greet.await;
    match connection.closed().await {
        quinn::ConnectionError::TimedOut => bail!("the server said nothing"),
        reason => Ok(reason.to_string()),
    }
}

fn config(papers: Papers<'_>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(TrustsAnybody(provider.signature_verification_algorithms));
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match papers {
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PEER_PROTOCOL.to_vec()];
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(config)?)))
}

#[derive(Debug)]
struct TrustsAnybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for TrustsAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
