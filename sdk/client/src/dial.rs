//! Reaching a server: names to addresses, QUIC and TLS, and what their failures mean.
//!
//! Comes in: endpoints in the order to try. Goes out: a [`Transport`] to the first server that
//! answers, or the error that says most. Invariant: windows and buffers of a connection are
//! bounded; 0-RTT is never used.

use crate::config::{ClientConfig, Pem};
use crate::error::ClientError;
use bytes::{Buf, BytesMut};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ConnectionError, Endpoint, IdleTimeout, ReadError, RecvStream, SendStream, TransportConfig,
    VarInt, WriteError,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How long one server has before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);
/// How long the handshake with one server may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long packets may go unanswered before the server's host is asked whether anything listens.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// The servers' close code for a certificate that does not name a client of their cluster.
const NOT_ALLOWED: u32 = 1;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// Bytes taken from a stream at once.
const READ_BYTES: usize = 64 << 10;

/// Makes connections under one configuration.
pub(crate) struct Dialer {
    config: ClientConfig,
    quic: quinn::ClientConfig,
}

impl Dialer {
    pub(crate) fn new(config: &ClientConfig) -> Result<Dialer, ClientError> {
        let tls = QuicClientConfig::try_from(config.tls()?)
            .map_err(|error| ClientError::Configuration(error.to_string()))?;
        let mut quic = quinn::ClientConfig::new(Arc::new(tls));
        quic.transport_config(Arc::new(transport_config(config.session_timeout)));
        Ok(Dialer { config: config.clone(), quic })
    }

    /// Tries the endpoints, each a little after the one before or as soon as that has failed; the
    /// first to answer is taken.
    pub(crate) async fn dial(
        self: Arc<Dialer>,
        order: Vec<String>,
    ) -> Result<Transport, ClientError> {
        let mut attempts = JoinSet::new();
        let mut failures = Vec::new();
        let mut waiting = order.into_iter();
        loop {
            match waiting.next() {
                Some(target) => drop(attempts.spawn(Arc::clone(&self).dial_target(target))),
                None if attempts.is_empty() => return Err(most_telling(failures)),
                None => {}
            }
            let more = waiting.len() > 0;
            tokio::select! {
                Some(attempt) = attempts.join_next() => match attempt {
                    Ok(Ok(transport)) => return Ok(transport),
                    Ok(Err(error)) => failures.push(error),
                    Err(error) => failures.push(ClientError::Configuration(error.to_string())),
                },
                () = tokio::time::sleep(STAGGER), if more => {}
            }
        }
    }

    async fn dial_target(self: Arc<Dialer>, target: String) -> Result<Transport, ClientError> {
        let unreachable =
            |reason: String| ClientError::Unreachable { endpoints: target.clone(), reason };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(&target)
            .await
            .map_err(|error| unreachable(format!("its name has no address: {error}")))?
            .collect();
        let mut attempts = JoinSet::new();
        for address in addresses {
            attempts.spawn(Arc::clone(&self).dial_address(target.clone(), address));
        }
        let mut failures = Vec::new();
        while let Some(attempt) = attempts.join_next().await {
            match attempt {
                Ok(Ok(transport)) => return Ok(transport),
                Ok(Err(error)) => failures.push(error),
                Err(error) => failures.push(unreachable(error.to_string())),
            }
        }
        failures.push(unreachable("its name has no address".to_owned()));
        Err(failures.swap_remove(0))
    }

    async fn dial_address(
        self: Arc<Dialer>,
        target: String,
        address: SocketAddr,
    ) -> Result<Transport, ClientError> {
        let unreachable = |reason: &str| ClientError::Unreachable {
            endpoints: target.clone(),
            reason: reason.to_owned(),
        };
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let endpoint = Endpoint::client(any).map_err(|error| unreachable(&error.to_string()))?;
        let connecting = endpoint
            .connect_with(self.quic.clone(), address, &self.config.server_name)
            .map_err(|error| ClientError::Configuration(format!("{target}: {error}")))?;
        let connection = tokio::select! {
            connected = connecting => connected.map_err(|error| self.explain(&target, &error))?,
            () = port_closed(any, address) => return Err(unreachable("nothing listens there")),
            () = tokio::time::sleep(HANDSHAKE_TIMEOUT) => {
                return Err(unreachable("no answer within 3 s"));
            }
        };
        let (send, receive) =
            connection.open_bi().await.map_err(|error| self.explain(&target, &error))?;
        let mut watching = JoinSet::new();
        watching.spawn(close_with_port(connection.clone(), any, address));
        let outgoing = BytesMut::new();
        Ok(Transport { target, endpoint, connection, send, receive, outgoing, _watching: watching })
    }

    /// What a failed connection means to the user.
    pub(crate) fn explain(&self, target: &str, error: &ConnectionError) -> ClientError {
        let endpoint = target.to_owned();
        match error {
            ConnectionError::TransportError(failure) => {
                self.explain_own_alert(endpoint, alert_of(failure.code.into()), &failure.reason)
            }
            ConnectionError::ConnectionClosed(close) => {
                let reason = close.to_string();
                self.explain_their_alert(endpoint, alert_of(close.error_code.into()), reason)
            }
            ConnectionError::VersionMismatch => {
                ClientError::NotQuorate { endpoint, reason: error.to_string() }
            }
            ConnectionError::ApplicationClosed(close)
                if close.error_code == VarInt::from_u32(NOT_ALLOWED) =>
            {
                let certificate = self.config.client_certificate_pem.as_ref();
                let certificate = certificate.map_or("no file", Pem::source).to_owned();
                let reason = String::from_utf8_lossy(&close.reason).into_owned();
                ClientError::CertificateRefused { endpoint, certificate, reason }
            }
            ConnectionError::LocallyClosed => {
                let reason = "nothing listens there any more".to_owned();
                ClientError::Disconnected { endpoint, reason }
            }
            ConnectionError::TimedOut => {
                let reason = "it has stopped answering".to_owned();
                ClientError::Disconnected { endpoint, reason }
            }
            _ => ClientError::Disconnected { endpoint, reason: error.to_string() },
        }
    }

    /// The alert is one that this side sent: the server's certificate was looked at here.
    fn explain_own_alert(&self, endpoint: String, alert: Option<u8>, words: &str) -> ClientError {
        let reason = words.to_owned();
        let is_about_certificate = words.contains("certificate");
        match alert {
            Some(_) if is_about_certificate && words.contains("not valid for name") => {
                let server_name = self.config.server_name.clone();
                ClientError::WrongServerName { endpoint, server_name, reason }
            }
            Some(_) if is_about_certificate => {
                let authority = self.config.ca_pem.source().to_owned();
                ClientError::Untrusted { endpoint, authority, reason }
            }
            Some(_) => ClientError::NotQuorate { endpoint, reason },
            None => ClientError::Disconnected { endpoint, reason },
        }
    }

    /// The alert is one that the server sent: numbers from RFC 8446, section 6.
    fn explain_their_alert(
        &self,
        endpoint: String,
        alert: Option<u8>,
        reason: String,
    ) -> ClientError {
        match (alert, &self.config.client_certificate_pem) {
            (Some(116), _) | (Some(42..=46 | 48), None) => {
                ClientError::CertificateRequired { endpoint }
            }
            (Some(42..=46 | 48 | 51), Some(certificate)) => {
                let certificate = certificate.source().to_owned();
                ClientError::CertificateRefused { endpoint, certificate, reason }
            }
            (Some(_), _) => ClientError::NotQuorate { endpoint, reason },
            (None, _) => ClientError::Disconnected { endpoint, reason },
        }
    }
}

/// The TLS alert in a QUIC error code: 0x0100 plus the alert (RFC 9001, section 4.8).
fn alert_of(code: u64) -> Option<u8> {
    code.checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())
}

/// A wrong certificate says more than a dead server.
fn most_telling(mut failures: Vec<ClientError>) -> ClientError {
    if let Some(position) = failures.iter().position(|error| !error.is_passing()) {
        return failures.swap_remove(position);
    }
    let endpoints: Vec<&str> = failures.iter().filter_map(unreachable_endpoint).collect();
    let endpoints = endpoints.join(", ");
    match failures.pop() {
        Some(ClientError::Unreachable { reason, .. }) => {
            ClientError::Unreachable { endpoints, reason }
        }
        Some(error) => error,
        None => ClientError::Configuration("there was no endpoint to try".to_owned()),
    }
}

fn unreachable_endpoint(error: &ClientError) -> Option<&str> {
    match error {
        ClientError::Unreachable { endpoints, .. } => Some(endpoints),
        _ => None,
    }
}

/// Ends when the host at `address` says that nothing listens on the port. QUIC itself does not look
/// at such messages, since they can be forged; here they only let the next endpoint be tried sooner.
async fn port_closed(any: SocketAddr, address: SocketAddr) {
    let probe = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        // One byte that no QUIC packet begins with: servers drop it.
        socket.send(&[0]).await?;
        socket.recv(&mut [0; 16]).await
    };
    match probe.await {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
        _ => std::future::pending().await,
    }
}

/// Closes a connection whose server process is gone, long before its silence says so.
async fn close_with_port(connection: quinn::Connection, any: SocketAddr, address: SocketAddr) {
    let mut ticks = tokio::time::interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = connection.stats();
    loop {
        tokio::select! {
            _ = connection.closed() => return,
            _ = ticks.tick() => {}
        }
        let now = connection.stats();
        let sent = now.udp_tx.datagrams > before.udp_tx.datagrams;
        let heard = now.udp_rx.datagrams > before.udp_rx.datagrams;
        before = now;
        let probe = tokio::time::timeout(PROBE_INTERVAL, port_closed(any, address));
        if sent && !heard && probe.await.is_ok() {
            connection.close(VarInt::from_u32(0), b"");
            return;
        }
    }
}

fn transport_config(session_timeout: Duration) -> TransportConfig {
    let idle = (session_timeout / 3).clamp(Duration::from_secs(1), Duration::from_secs(10));
    let idle_timeout = IdleTimeout::try_from(idle).expect("ten seconds fit");
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle_timeout))
        .keep_alive_interval(Some(idle / 3))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(None);
    transport
}

/// What came of waiting on a transport.
pub(crate) enum TransportEvent {
    Received(bytes::Bytes),
    Sent,
    Ended(ClientError),
}

/// One connection with the one stream of a session.
pub(crate) struct Transport {
    pub(crate) target: String,
    endpoint: Endpoint,
    connection: quinn::Connection,
    send: SendStream,
    receive: RecvStream,
    outgoing: BytesMut,
    /// Ends with the transport.
    _watching: JoinSet<()>,
}

impl Transport {
    /// Adds to what is to be sent.
    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Bytes that wait to be sent.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// Sends and receives until one of both has come forward. May be dropped at any time.
    pub(crate) async fn next(&mut self, dialer: &Dialer) -> TransportEvent {
        let Transport { target, connection, send, receive, outgoing, .. } = self;
        let ended = |error: &ConnectionError| TransportEvent::Ended(dialer.explain(target, error));
        tokio::select! {
            read = receive.read_chunk(READ_BYTES, true) => match read {
                Ok(Some(chunk)) => TransportEvent::Received(chunk.bytes),
                Err(ReadError::ConnectionLost(error)) => ended(&error),
                Ok(None) | Err(_) => TransportEvent::Ended(stream_ended(target, connection, dialer)),
            },
            wrote = send.write(outgoing), if !outgoing.is_empty() => match wrote {
                Ok(bytes) => {
                    outgoing.advance(bytes);
                    TransportEvent::Sent
                }
                Err(WriteError::ConnectionLost(error)) => ended(&error),
                Err(_) => TransportEvent::Ended(stream_ended(target, connection, dialer)),
            },
        }
    }

    /// Says goodbye and lets the words leave.
    pub(crate) async fn close(self, words: &str) {
        self.connection.close(VarInt::from_u32(0), words.as_bytes());
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

fn stream_ended(target: &str, connection: &quinn::Connection, dialer: &Dialer) -> ClientError {
    match connection.close_reason() {
        Some(error) => dialer.explain(target, &error),
        None => {
            let reason = "the server has ended the stream".to_owned();
            ClientError::Disconnected { endpoint: target.to_owned(), reason }
        }
    }
}
