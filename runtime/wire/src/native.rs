//! What native clients and servers say to one another: frames of CBOR on one ordered stream.
//!
//! Comes in: typed frames, or the bytes of a stream. Goes out: bytes, or typed frames. Invariant:
//! the first frame of a client is `Connect`, the first of a server `Connected` or `Refused`; this
//! room does not check it, whoever owns the connection does. Must never show a password in a debug
//! print.

use crate::cbor;
pub use crate::frame::{FrameBuffer, FrameError};
use crate::frame::{finish, start};
use alloc::vec::Vec;
use core::fmt;
use quorate_types::request::{ReadLevel, WatchEvent};
use quorate_types::{Operation, Outcome, Refusal, ServerId, SessionId, Zxid};
use serde::{Deserialize, Serialize};

/// Name of this protocol in the TLS handshake.
pub const ALPN: &[u8] = b"quorate/1";

/// Version of the frames, checked in [`ClientFrame::Connect`].
pub const PROTOCOL: u16 = 1;

/// What a client shows to have its session back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// Which session.
    pub session: SessionId,
    /// Its password.
    #[serde(with = "password_bytes")]
    pub password: [u8; 16],
}

impl fmt::Debug for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resume").field("session", &self.session).finish_non_exhaustive()
    }
}

/// From a client to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientFrame {
    /// The first frame: a new session, or an old one again.
    Connect {
        /// [`PROTOCOL`] of the client.
        protocol: u16,
        /// The session to go on with; `None`: a new one.
        resume: Option<Resume>,
        /// Session timeout wished for, in milliseconds.
        timeout_ms: u32,
        /// The newest transaction that the client has seen. A server behind it catches up before
        /// it answers local reads.
        last_seen: Zxid,
        /// Whether a server without a quorum will do, which only reads.
        read_only: bool,
    },
    /// One request. Sent again under the same sequence after a reconnect until it is answered.
    Request {
        /// Counts the requests of the session, from 1.
        sequence: u64,
        /// Every reply below this one has reached the client: what is kept of them can go.
        oldest_unreplied: u64,
        /// Replies at or above `oldest_unreplied` that have reached the client too.
        acknowledged: Vec<u64>,
        /// How fresh a read must be; writes do not look at it.
        level: ReadLevel,
        /// What is asked for.
        operation: Operation,
    },
    /// The client is there. Answered with [`ServerFrame::Heartbeat`].
    Heartbeat,
    /// How does this server see the cluster? Before a session only, and without one, so that a
    /// server without a leader can be asked too. Answered with a [`ServerFrame::Reply`] under
    /// sequence 0.
    Status,
}

/// From a server to a client.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerFrame {
    /// The answer to [`ClientFrame::Connect`].
    Connected {
        /// The session.
        session: SessionId,
        /// What gets it back through another connection.
        #[serde(with = "password_bytes")]
        password: [u8; 16],
        /// The timeout granted, in milliseconds.
        timeout_ms: u32,
        /// The server.
        server: ServerId,
        /// Whether it is the session that the client asked to go on with.
        resumed: bool,
        /// The newest transaction that the server has applied.
        zxid: Zxid,
        /// Whether the server only reads: it has no quorum, and what it shows may be old.
        read_only: bool,
    },
    /// No session for this client; the connection closes.
    Refused(Refusal),
    /// The answer to a request. A call that waits is answered `Ok(Reply::Parked)` first and under the
    /// same sequence again when it is done.
    Reply {
        /// That of the request.
        sequence: u64,
        /// The transaction whose state the answer shows or made.
        zxid: Zxid,
        /// The answer.
        outcome: Outcome,
    },
    /// A watch has fired.
    Watch(WatchEvent),
    /// The answer to [`ClientFrame::Heartbeat`].
    Heartbeat {
        /// The newest transaction that the server has applied.
        zxid: Zxid,
    },
    /// The server gives the connection up; the session goes on at another server.
    Goodbye(Refusal),
}

impl fmt::Debug for ServerFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerFrame::Connected {
                session,
                timeout_ms,
                server,
                resumed,
                zxid,
                read_only,
                password: _,
            } => f
                .debug_struct("Connected")
                .field("session", session)
                .field("timeout_ms", timeout_ms)
                .field("server", server)
                .field("resumed", resumed)
                .field("zxid", zxid)
                .field("read_only", read_only)
                .finish_non_exhaustive(),
            ServerFrame::Refused(refusal) => f.debug_tuple("Refused").field(refusal).finish(),
            ServerFrame::Reply { sequence, zxid, outcome } => f
                .debug_struct("Reply")
                .field("sequence", sequence)
                .field("zxid", zxid)
                .field("outcome", outcome)
                .finish(),
            ServerFrame::Watch(event) => f.debug_tuple("Watch").field(event).finish(),
            ServerFrame::Heartbeat { zxid } => {
                f.debug_struct("Heartbeat").field("zxid", zxid).finish()
            }
            ServerFrame::Goodbye(refusal) => f.debug_tuple("Goodbye").field(refusal).finish(),
        }
    }
}

/// A client's frame as bytes, its length first.
///
/// ```
/// use quorate_wire::native::{ClientFrame, FrameBuffer, encode_client};
/// let mut buffer = FrameBuffer::new();
/// buffer.push(&encode_client(&ClientFrame::Heartbeat));
/// assert_eq!(buffer.next_client(1_024), Ok(Some(ClientFrame::Heartbeat)));
/// assert_eq!(buffer.next_client(1_024), Ok(None));
/// ```
#[must_use]
pub fn encode_client(frame: &ClientFrame) -> Vec<u8> {
    encode(frame)
}

/// A server's frame as bytes, its length first.
#[must_use]
pub fn encode_server(frame: &ServerFrame) -> Vec<u8> {
    encode(frame)
}

fn encode(frame: &impl Serialize) -> Vec<u8> {
    let mut bytes = start(124);
    cbor::append(&mut bytes, frame);
    finish(bytes)
}

impl FrameBuffer {
    /// Takes the next frame of a client; `None`: not all of it is there yet. `limit` is the bytes
    /// allowed after the length.
    ///
    /// # Errors
    /// The frame is over the limit or is none; the same error from then on.
    pub fn next_client(&mut self, limit: u32) -> Result<Option<ClientFrame>, FrameError> {
        self.next(limit, |body| cbor::read("frame of a client", &body))
    }

    /// Takes the next frame of a server; `None`: not all of it is there yet. `limit` is the bytes
    /// allowed after the length.
    ///
    /// # Errors
    /// The frame is over the limit or is none; the same error from then on.
    pub fn next_server(&mut self, limit: u32) -> Result<Option<ServerFrame>, FrameError> {
        self.next(limit, |body| cbor::read("frame of a server", &body))
    }
}

/// A password as a CBOR byte string, half the size of a list of numbers.
mod password_bytes {
    use bytes::Bytes;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        password: &[u8; 16],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(password)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 16], D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        <[u8; 16]>::try_from(&*bytes).map_err(|_| D::Error::custom("a password has 16 bytes"))
    }
}
