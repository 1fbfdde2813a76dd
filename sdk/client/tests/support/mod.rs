//! A scripted server over real QUIC and TLS, and the certificates for both sides.
//!
//! Comes in: what each test wants answered. Goes out: frames to the client under test, and the
//! frames that it sent. Invariant: tests wait for frames and answers, never for time.

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig, VarInt};
use quorate_client::{ClientConfig, Pem, SERVER_NAME, ServerId, SessionId, Zxid};
use quorate_wire::native::{ALPN, ClientFrame, FrameBuffer, Resume, ServerFrame, encode_server};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::sync::Arc;
use std::time::Duration;

pub const SESSION: SessionId = SessionId(42);
pub const PASSWORD: [u8; 16] = [7; 16];

/// A cluster's authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, as PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn create() -> Authority {
        Authority::named("the cluster")
    }

    pub fn named(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// What a client of the servers under this authority is configured with.
    pub fn client_config(&self, servers: &[&FakeServer]) -> ClientConfig {
        let endpoints = servers.iter().map(|server| server.endpoint());
        ClientConfig::new(endpoints, Pem::new("ca.pem", self.pem()))
    }
}

fn certificate_of(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A server that does what the test says.
pub struct FakeServer {
    endpoint: Endpoint,
}

impl FakeServer {
    pub fn start(authority: &Authority) -> FakeServer {
        FakeServer::start_as(authority, SERVER_NAME, false)
    }

    pub fn start_as(authority: &Authority, name: &str, wants_certificate: bool) -> FakeServer {
        let identity = authority.issue(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let builder = if wants_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(certificate_of(&authority.pem())).unwrap();
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![certificate_of(&identity.certificate)];
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let mut tls = builder.with_single_cert(chain, key).unwrap();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let quic = QuicServerConfig::try_from(tls).unwrap();
        let config = ServerConfig::with_crypto(Arc::new(quic));
        let endpoint = Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
        FakeServer { endpoint }
    }

    pub fn endpoint(&self) -> String {
        self.endpoint.local_addr().unwrap().to_string()
    }

    /// Waits for a client's stream.
    pub async fn accept(&self) -> FakeConnection {
        let connection = self.endpoint.accept().await.unwrap().await.unwrap();
        let (send, receive) = connection.accept_bi().await.unwrap();
        FakeConnection { connection, send, receive, frames: FrameBuffer::new() }
    }

    /// Lets clients in as far as TLS does, for as long as it is awaited.
    pub async fn accept_for_ever(&self) {
        while let Some(incoming) = self.endpoint.accept().await {
            tokio::spawn(incoming.into_future());
        }
    }

    /// Waits for a client and grants it the session.
    pub async fn serve(&self) -> FakeConnection {
        let mut connection = self.accept().await;
        connection.expect_connect(None).await;
        connection.grant(false).await;
        connection
    }
}

/// One client at a fake server.
pub struct FakeConnection {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    frames: FrameBuffer,
}

impl FakeConnection {
    /// The next frame that is no heartbeat; heartbeats are answered.
    pub async fn next(&mut self) -> Option<ClientFrame> {
        loop {
            match self.frames.next_client(1 << 20).unwrap() {
                Some(ClientFrame::Heartbeat) => {
                    self.send(&ServerFrame::Heartbeat { zxid: Zxid(1) }).await;
                }
                Some(frame) => return Some(frame),
                None => {
                    let chunk = self.receive.read_chunk(1 << 16, true).await.ok()??;
                    self.frames.push(&chunk.bytes);
                }
            }
        }
    }

    /// The next request: its sequence number and operation.
    pub async fn request(&mut self) -> (u64, quorate_client::Operation) {
        match self.next().await {
            Some(ClientFrame::Request { sequence, operation, .. }) => (sequence, operation),
            other => panic!("a request was expected: {other:?}"),
        }
    }

    pub async fn expect_connect(&mut self, expected: Option<Resume>) {
        match self.next().await {
            Some(ClientFrame::Connect { resume, .. }) => assert_eq!(resume, expected),
            other => panic!("a connect frame was expected: {other:?}"),
        }
    }

    pub async fn send(&mut self, frame: &ServerFrame) {
        self.send.write_all(&encode_server(frame)).await.unwrap();
    }

    pub async fn grant(&mut self, resumed: bool) {
        let frame = ServerFrame::Connected {
            session: SESSION,
            password: PASSWORD,
            timeout_ms: 10_000,
            server: ServerId(1),
            resumed,
            zxid: Zxid(1),
            read_only: false,
        };
        self.send(&frame).await;
    }

    pub async fn reply(&mut self, sequence: u64, outcome: quorate_types::Outcome) {
        self.send(&ServerFrame::Reply { sequence, zxid: Zxid(sequence), outcome }).await;
    }

    /// Breaks the connection.
    pub fn cut(self) {
        self.close(0);
    }

    /// Closes the connection with a code.
    pub fn close(self, code: u32) {
        self.connection.close(VarInt::from_u32(code), b"closed by the test");
    }
}

/// What a client shows to have [`SESSION`] back.
pub fn resume() -> Option<Resume> {
    Some(Resume { session: SESSION, password: PASSWORD })
}

/// Fails the test when the future takes longer than any healthy run would.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took more than 20 s"),
    }
}
