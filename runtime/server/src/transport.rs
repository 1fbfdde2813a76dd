//! Windows, deadlines and close codes of QUIC connections.
//!
//! Comes in: TLS configurations. Goes out: the same with bounded transport parameters. Invariant:
//! what one connection can make this server buffer is bounded by the numbers here, whatever the
//! other side does.

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use std::sync::Arc;
use std::time::Duration;

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
