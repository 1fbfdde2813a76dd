//! What tests of both doors share: a cluster's certificates on disk, endpoints on loopback, and an
//! inbox that a test reads in place of a replica.

use crate::certificates::ClusterAuthority;
use crate::configuration::TlsPaths;
use crate::inbox::{Event, Inbox};
use crate::running::endpoint;
use crate::tls::TlsMaterial;
use quinn::Endpoint;
use quinn::crypto::rustls::QuicClientConfig;
use quorate_types::ServerId;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for something that must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A cluster's authority with a folder for its files.
pub(crate) struct TestCluster {
    pub(crate) authority: ClusterAuthority,
    folder: tempfile::TempDir,
}

impl TestCluster {
    pub(crate) fn new(name: &str) -> TestCluster {
        let folder = tempfile::tempdir().unwrap();
        let authority = ClusterAuthority::create(name).unwrap();
        authority.save(folder.path()).unwrap();
        TestCluster { authority, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Files of a server's certificate.
    pub(crate) fn server_paths(&self, server: u64) -> TlsPaths {
        let issued = self.authority.issue_server(ServerId(server), &[]).unwrap();
        self.paths(issued.save(self.folder(), &format!("server-{server}")).unwrap())
    }

    fn paths(&self, (certificate, key): (std::path::PathBuf, std::path::PathBuf)) -> TlsPaths {
        let authority = self.folder().join(crate::certificates::AUTHORITY_FILE);
        TlsPaths { authority, certificate, key }
    }

    /// A server's certificate, loaded.
    pub(crate) fn server(&self, server: u64) -> TlsMaterial {
        TlsMaterial::load(&self.server_paths(server)).unwrap()
    }

    /// A client's certificate, loaded as a server would load its own.
    pub(crate) fn client(&self, name: &str) -> TlsMaterial {
        let issued = self.authority.issue_client(name).unwrap();
        let paths = issued.save(self.folder(), &format!("client-{name}")).unwrap();
        TlsMaterial::load(&self.paths(paths)).unwrap()
    }

    /// How a client dials the native door, with a certificate or without.
    pub(crate) fn native_dialer(&self, client: Option<&str>) -> quinn::ClientConfig {
        let pem = self.authority.certificate_pem().as_bytes();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            None => config.with_no_client_auth(),
            Some(name) => {
                let issued = self.authority.issue_client(name).unwrap();
                let certificate = issued.certificate_pem.as_bytes();
                let certificate = CertificateDer::from_pem_slice(certificate).unwrap();
                let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = vec![quorate_wire::native::ALPN.to_vec()];
        quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
    }
}

/// An endpoint on a free port of loopback.
pub(crate) fn loopback(config: quinn::ServerConfig) -> Endpoint {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    endpoint(socket, config, quinn::EndpointConfig::default()).unwrap()
}

/// An endpoint that only dials.
pub(crate) fn dialing() -> Endpoint {
    Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

/// Takes events until `wanted` gives something for one.
pub(crate) async fn find<T>(inbox: &Inbox, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    let mut events = Vec::new();
    while Instant::now() < deadline {
        // One at a time, so that what follows the event found is left for the next search.
        inbox.take(&mut events, deadline, 1).await;
        if let Some(found) = events.drain(..).find_map(&mut wanted) {
            return found;
        }
    }
    panic!("the event did not come");
}
