//! Windows, deadlines and close codes of QUIC connections.
//!
//! Comes in: TLS configurations. Goes out: the same with bounded transport parameters. Invariant:
//! what one connection can make this server buffer is bounded by the numbers here, whatever the
//! other side does.

use crate::entropy;
use crate::outbox::{Next, Outbox};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, SendStream, TransportConfig,
    VarInt,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// From the first packet to the first stream of a client, or to the peer's hello.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Handshakes under way at one door; more wait in the endpoint and are refused beyond that.
pub(crate) const HANDSHAKES_MAX: usize = 256;
/// Handshakes under way above which an address must first prove that it is not made up.
pub(crate) const HANDSHAKES_UNPROVEN_MAX: usize = 64;
/// How long a connection that is being closed may take to bring its last frames across.
pub(crate) const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// How long the last packets of closed connections may take to leave this process. Waiting for the
/// other sides as well would take seconds where one of them is gone.
pub(crate) const CLOSE_DEADLINE: Duration = Duration::from_millis(200);

/// Silence after which a client's connection is given up. Sessions have their own timeouts; this
/// frees what is left of clients that vanished.
const NATIVE_IDLE_MS: u32 = 60_000;
/// Silence after which a peer's connection is made anew.
const PEER_IDLE_MS: u32 = 4_000;
const PEER_KEEP_ALIVE: Duration = Duration::from_millis(1_000);

/// Why a connection is closed; the other side sees the number and a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseCode {
    /// Nothing is wrong.
    Done = 0,
    /// The certificate does not allow this door.
    NotAllowed = 1,
    /// What was sent is not the protocol.
    Protocol = 2,
    /// Too slow: the handshake, or taking what was sent.
    TooSlow = 3,
    /// The server is going down.
    ShuttingDown = 4,
    /// A newer connection took this one's place.
    Replaced = 5,
}

/// Closes a connection for a reason that both sides log.
pub(crate) fn close(connection: &quinn::Connection, code: CloseCode, reason: &str) {
    connection.close(VarInt::from_u32(code as u32), reason.as_bytes());
}

/// Why nothing more is written to a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WritingEnd {
    /// The other side or the network ended it.
    Broken(String),
    /// Everything was written and nothing follows.
    Finished,
    /// What waited is not written, for this reason.
    Abandoned(String),
}

/// Writes the frames that come into an outbox to a stream, each encoded by `encode`, to the end.
pub(crate) async fn write_all<F>(
    outbox: &Outbox<F>,
    send: &mut SendStream,
    encode: impl Fn(&F) -> Vec<u8>,
) -> WritingEnd {
    let mut bytes = Vec::new();
    loop {
        match outbox.next().await {
            Next::Write(frames, weight) => {
                bytes.clear();
                for frame in &frames {
                    bytes.extend_from_slice(&encode(frame));
                }
                if let Err(error) = send.write_all(&bytes).await {
                    return WritingEnd::Broken(error.to_string());
                }
                outbox.written(weight);
            }
            Next::Finish => {
                let _ = send.finish();
                // Until the other side has it all; a lost last word would look like a crash.
                let _ = timeout(FLUSH_DEADLINE, send.stopped()).await;
                return WritingEnd::Finished;
            }
            Next::Abandon(reason) => return WritingEnd::Abandoned(reason),
        }
    }
}

/// Lets a server that starts again disown the connections of its last run at the first packet that
/// comes on them: the other side need not wait for its silence to be long. `secret`: of the server,
/// and the same at every start.
pub(crate) fn endpoint_config(secret: ring::hmac::Key) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(secret));
    config.cid_generator(|| Box::new(RandomConnectionIds));
    config
}

/// Ids that carry no mark of the process that made them: packets for those of the last run must not
/// be dropped unanswered.
struct RandomConnectionIds;

impl ConnectionIdGenerator for RandomConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&entropy::random_number().to_le_bytes())
    }

    fn cid_len(&self) -> usize {
        size_of::<u64>()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn idle(idle_ms: u32) -> Option<IdleTimeout> {
    Some(IdleTimeout::from(VarInt::from_u32(idle_ms)))
}

pub(crate) fn native_door(tls: QuicServerConfig) -> quinn::ServerConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(512 << 10))
        .receive_window(VarInt::from_u32(1 << 20))
        .send_window(1 << 20)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(idle(NATIVE_IDLE_MS));
    door(tls, transport)
}

pub(crate) fn peer_door(tls: QuicServerConfig) -> quinn::ServerConfig {
    door(tls, peer_transport())
}

pub(crate) fn peer_dialer(tls: QuicClientConfig) -> quinn::ClientConfig {
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(peer_transport()));
    config
}

fn peer_transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(8))
        .stream_receive_window(VarInt::from_u32(4 << 20))
        .receive_window(VarInt::from_u32(16 << 20))
        .send_window(16 << 20)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(PEER_KEEP_ALIVE))
        .max_idle_timeout(idle(PEER_IDLE_MS));
    transport
}

fn door(tls: QuicServerConfig, transport: TransportConfig) -> quinn::ServerConfig {
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(HANDSHAKES_MAX * 4)
        .incoming_buffer_size(64 << 10)
        .incoming_buffer_size_total(16 << 20);
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::running::endpoint;
    use crate::test_doors::{SOON, TestCluster, dialing};
    use quinn::ConnectionError;
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::time::Instant;

    /// The port of a run that was cut off is free once its threads are gone.
    async fn bind_again(address: SocketAddr) -> UdpSocket {
        let deadline = Instant::now() + SOON;
        loop {
            match UdpSocket::bind(address) {
                Ok(socket) => return socket,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_server_that_starts_again_disowns_the_connections_of_its_last_run() {
        let cluster = TestCluster::new("orders");
        let tls = cluster.server(1);
        let open = |socket| {
            let config = endpoint_config(tls.secret_for("a test"));
            endpoint(socket, tls.peer_door().unwrap(), config).unwrap()
        };
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let first_run = tokio::runtime::Runtime::new().unwrap();
        let door = {
            let _entered = first_run.enter();
            open(socket)
        };
        first_run.spawn(async move {
            let accepted = door.accept().await.unwrap().await.unwrap();
            accepted.closed().await
        });
        let (dialing, dialer) = (dialing(), cluster.server(2).peer_dialer().unwrap());
        let name = crate::certificates::SERVER_NAME;
        let connection = dialing.connect_with(dialer, address, name).unwrap().await.unwrap();
        first_run.shutdown_background();

        let _second_run = open(bind_again(address).await);
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(b"to whom it may concern").await.unwrap();
        let ended = timeout(SOON, connection.closed()).await.unwrap();
        assert_eq!(ended, ConnectionError::Reset);
    }
}
