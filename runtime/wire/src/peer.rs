//! What servers say to one another: fixed layouts on ordered streams.
//!
//! Comes in: typed frames, or the bytes of a stream. Goes out: bytes, or typed frames whose
//! payloads are slices of the bytes received. Invariant: the first frame each way is `Hello`; this
//! room does not check it, whoever owns the connection does.

use crate::cbor::{outcome_from_bytes, outcome_to_bytes};
pub use crate::frame::{FrameBuffer, FrameError};
use crate::frame::{PREFIX_BYTES, finish, start};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::request::MemberAddress;
use quorate_types::{
    ComponentDigest, Incarnation, LayoutError, LayoutReader, LayoutWriter, Outcome, ServerId,
    SessionId, Zxid,
};

/// Name of this protocol in the TLS handshake.
pub const ALPN: &[u8] = b"quorate-peer/1";

/// Version of the frames, checked in [`PeerFrame::Hello`].
pub const PROTOCOL: u16 = 1;

/// Between servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerFrame {
    /// The first frame each way.
    Hello {
        /// [`PROTOCOL`] of the sender.
        protocol: u16,
        /// The cluster that the sender belongs to.
        cluster: u64,
        /// The sender.
        server: ServerId,
        /// Of the sender's data directory.
        incarnation: Incarnation,
        /// The last transaction that the sender has applied.
        applied: Zxid,
    },
    /// A message of consensus, in the replica's codec.
    Raft(Bytes),
    /// A request of a client, brought to the leader.
    Forward {
        /// Names the request on this connection.
        id: u64,
        /// The request, in the replica's codec.
        request: Bytes,
    },
    /// The leader's answer to a request that needs no entry in the log.
    ForwardAnswer {
        /// That of the request.
        id: u64,
        /// The answer may reach the client once this is applied.
        after: Zxid,
        /// The answer.
        outcome: Outcome,
    },
    /// The receiver of the request is not the leader: nothing was done.
    ForwardLost {
        /// That of the request.
        id: u64,
    },
    /// Sessions whose clients were heard from.
    Touch {
        /// Which.
        sessions: Vec<SessionId>,
    },
    /// Where the members are, as far as the sender knows. A server that was away learns of members
    /// that came meanwhile, the leader perhaps among them, which could not reach it otherwise.
    Members {
        /// The last transaction that the sender has applied.
        applied: Zxid,
        /// By server.
        members: BTreeMap<ServerId, MemberAddress>,
    },
    /// Which components the sender has tried to compile.
    Compiled {
        /// What came of each: `None`: it is ready there; else why it cannot be a recipe there.
        components: BTreeMap<ComponentDigest, Option<String>>,
    },
    /// A part of a snapshot file.
    SnapshotChunk {
        /// The leader's term.
        term: u64,
        /// Index of the last entry in the snapshot.
        index: u64,
        /// Where the part begins, in bytes.
        offset: u64,
        /// Bytes of the file.
        total: u64,
        /// The part.
        bytes: Bytes,
    },
    /// How far the receiver of a snapshot has it.
    SnapshotAck {
        /// Which snapshot.
        index: u64,
        /// Bytes received from the start.
        received: u64,
        /// The receiver does not want it, or any more of it.
        refused: bool,
    },
}

/// The first byte of each frame. Numbers are never reused.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const RAFT: u8 = 2;
    pub(super) const FORWARD: u8 = 3;
    pub(super) const FORWARD_ANSWER: u8 = 4;
    pub(super) const FORWARD_LOST: u8 = 5;
    pub(super) const TOUCH: u8 = 6;
    pub(super) const SNAPSHOT_CHUNK: u8 = 7;
    pub(super) const SNAPSHOT_ACK: u8 = 8;
    pub(super) const MEMBERS: u8 = 9;
    pub(super) const COMPILED: u8 = 10;
}

/// A frame as bytes, its length first.
#[must_use]
pub fn encode(frame: &PeerFrame) -> Vec<u8> {
    let mut writer = LayoutWriter::with_capacity(PREFIX_BYTES + 64 + payload_bytes(frame));
    writer.raw(&start(0));
    match frame {
        PeerFrame::Hello { protocol, cluster, server, incarnation, applied } => {
            writer.u8(kind::HELLO);
            writer.u16(*protocol);
            writer.u64(*cluster);
            writer.u64(server.0);
            writer.u64(incarnation.0);
            writer.u64(applied.0);
        }
        PeerFrame::Raft(message) => {
            writer.u8(kind::RAFT);
            writer.raw(message);
        }
        PeerFrame::Forward { id, request } => {
            writer.u8(kind::FORWARD);
            writer.u64(*id);
            writer.raw(request);
        }
        PeerFrame::ForwardAnswer { id, after, outcome } => {
            writer.u8(kind::FORWARD_ANSWER);
            writer.u64(*id);
            writer.u64(after.0);
            writer.raw(&outcome_to_bytes(outcome));
        }
        PeerFrame::ForwardLost { id } => {
            writer.u8(kind::FORWARD_LOST);
            writer.u64(*id);
        }
        PeerFrame::Touch { sessions } => {
            writer.u8(kind::TOUCH);
            writer.list(sessions.iter(), |writer, session| writer.u64(session.0));
        }
        PeerFrame::Members { applied, members } => {
            writer.u8(kind::MEMBERS);
            writer.u64(applied.0);
            writer.list(members.iter(), |writer, (server, address)| {
                writer.u64(server.0);
                writer.text(&address.peer);
                writer.text(&address.native);
                writer.option(address.zookeeper.as_deref(), LayoutWriter::text);
            });
        }
        PeerFrame::Compiled { components } => {
            writer.u8(kind::COMPILED);
            writer.list(components.iter(), |writer, (digest, invalid)| {
                writer.raw(&digest.0);
                writer.option(invalid.as_ref(), |writer, why| writer.text(why));
            });
        }
        PeerFrame::SnapshotChunk { term, index, offset, total, bytes } => {
            writer.u8(kind::SNAPSHOT_CHUNK);
            writer.u64(*term);
            writer.u64(*index);
            writer.u64(*offset);
            writer.u64(*total);
            writer.raw(bytes);
        }
        PeerFrame::SnapshotAck { index, received, refused } => {
            writer.u8(kind::SNAPSHOT_ACK);
            writer.u64(*index);
            writer.u64(*received);
            writer.bool(*refused);
        }
    }
    finish(writer.into_bytes())
}

fn payload_bytes(frame: &PeerFrame) -> usize {
    match frame {
        PeerFrame::Raft(payload)
        | PeerFrame::Forward { request: payload, .. }
        | PeerFrame::SnapshotChunk { bytes: payload, .. } => payload.len(),
        PeerFrame::Touch { sessions } => sessions.len() * 8,
        _ => 0,
    }
}

/// Reads the body of a frame, without its length. Payloads are slices of `body`.
///
/// # Errors
/// The body is no frame; the error names the field.
pub fn decode(body: Bytes) -> Result<PeerFrame, FrameError> {
    let mut reader = LayoutReader::new(&body);
    let frame = match reader.u8("kind")? {
        kind::HELLO => read_hello(&mut reader)?,
        kind::RAFT => PeerFrame::Raft(read_rest(&mut reader, &body)?),
        kind::FORWARD => PeerFrame::Forward {
            id: reader.u64("forward id")?,
            request: read_rest(&mut reader, &body)?,
        },
        kind::FORWARD_ANSWER => read_forward_answer(&mut reader)?,
        kind::FORWARD_LOST => PeerFrame::ForwardLost { id: reader.u64("forward id")? },
        kind::TOUCH => PeerFrame::Touch { sessions: read_sessions(&mut reader)? },
        kind::MEMBERS => read_members(&mut reader)?,
        kind::COMPILED => read_compiled(&mut reader)?,
        kind::SNAPSHOT_CHUNK => read_snapshot_chunk(&mut reader, &body)?,
        kind::SNAPSHOT_ACK => read_snapshot_ack(&mut reader)?,
        kind => return Err(FrameError::UnknownKind { kind }),
    };
    reader.finish()?;
    Ok(frame)
}

fn read_hello(reader: &mut LayoutReader<'_>) -> Result<PeerFrame, LayoutError> {
    Ok(PeerFrame::Hello {
        protocol: reader.u16("protocol")?,
        cluster: reader.u64("cluster")?,
        server: ServerId(reader.u64("server")?),
        incarnation: Incarnation(reader.u64("incarnation")?),
        applied: Zxid(reader.u64("applied")?),
    })
}

fn read_rest(reader: &mut LayoutReader<'_>, body: &Bytes) -> Result<Bytes, LayoutError> {
    let payload = reader.raw("payload", reader.rest().len())?;
    Ok(body.slice_ref(payload))
}

fn read_forward_answer(reader: &mut LayoutReader<'_>) -> Result<PeerFrame, FrameError> {
    let id = reader.u64("forward id")?;
    let after = Zxid(reader.u64("after")?);
    let outcome = outcome_from_bytes(reader.raw("outcome", reader.rest().len())?)?;
    Ok(PeerFrame::ForwardAnswer { id, after, outcome })
}

fn read_sessions(reader: &mut LayoutReader<'_>) -> Result<Vec<SessionId>, LayoutError> {
    reader.list("sessions", |reader| reader.u64("session").map(SessionId))
}

fn read_members(reader: &mut LayoutReader<'_>) -> Result<PeerFrame, LayoutError> {
    let applied = Zxid(reader.u64("members applied")?);
    let members = reader.list("members", |reader| {
        let server = ServerId(reader.u64("member")?);
        let peer = reader.text("member peer address")?;
        let native = reader.text("member native address")?;
        let field = "member zookeeper address";
        let zookeeper = reader.option(field, |reader| reader.text(field))?;
        Ok((server, MemberAddress { peer, native, zookeeper }))
    })?;
    Ok(PeerFrame::Members { applied, members: members.into_iter().collect() })
}

fn read_compiled(reader: &mut LayoutReader<'_>) -> Result<PeerFrame, LayoutError> {
    let components = reader.list("compiled", |reader| {
        let digest = ComponentDigest(reader.digest("compiled digest")?);
        let invalid = reader.option("compiled reason", |reader| reader.text("compiled reason"))?;
        Ok((digest, invalid))
    })?;
    Ok(PeerFrame::Compiled { components: components.into_iter().collect() })
}

fn read_snapshot_chunk(
    reader: &mut LayoutReader<'_>,
    body: &Bytes,
) -> Result<PeerFrame, LayoutError> {
    Ok(PeerFrame::SnapshotChunk {
        term: reader.u64("snapshot term")?,
        index: reader.u64("snapshot index")?,
        offset: reader.u64("snapshot offset")?,
        total: reader.u64("snapshot total")?,
        bytes: read_rest(reader, body)?,
    })
}

fn read_snapshot_ack(reader: &mut LayoutReader<'_>) -> Result<PeerFrame, LayoutError> {
    Ok(PeerFrame::SnapshotAck {
        index: reader.u64("snapshot index")?,
        received: reader.u64("snapshot received")?,
        refused: reader.bool("snapshot refused")?,
    })
}

impl FrameBuffer {
    /// Takes the next frame of a peer; `None`: not all of it is there yet. `limit` is the bytes
    /// allowed after the length.
    ///
    /// # Errors
    /// The frame is over the limit or is none; the same error from then on.
    pub fn next_peer(&mut self, limit: u32) -> Result<Option<PeerFrame>, FrameError> {
        self.next(limit, decode)
    }
}
