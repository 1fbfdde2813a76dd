//! The replicated items besides znodes: sessions, kept replies, tickets, timers, mounts and
//! components, members.
//!
//! Each has one layout, used for images and, hashed, for the digest. Data only.

use crate::codec;
use crate::znode::{TreeKey, Znode};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::recipe::RecipeDescriptor;
use quorate_types::{
    ComponentDigest, Incarnation, LayoutError, LayoutReader, LayoutWriter, MemberAddress, Outcome,
    ServerId, SessionId, TicketId, ZnodePath, Zxid,
};

type Read<T> = Result<T, LayoutError>;

/// A key or value with a layout.
pub(crate) trait Stored: Sized {
    fn write(&self, writer: &mut LayoutWriter);
    fn read(reader: &mut LayoutReader<'_>) -> Read<Self>;

    /// What the digest hashes; shorter where bulk data has a hash of its own.
    fn write_for_digest(&self, writer: &mut LayoutWriter) {
        self.write(writer);
    }
}

/// A client's replicated identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// The transaction that opened it or last attached it.
    pub(crate) epoch: Zxid,
    pub(crate) password: [u8; 16],
    pub(crate) timeout_ms: u32,
    pub(crate) identity: String,
}

/// What is kept of a session's request until the client has the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeptReply {
    Parked(TicketId),
    Replied(Outcome),
}

/// Which request of which session.
pub(crate) type RequestKey = (SessionId, u64);

/// A parked call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) session: SessionId,
    pub(crate) sequence: u64,
    pub(crate) mount: ZnodePath,
    pub(crate) object: String,
    pub(crate) deadline_ms: Option<u64>,
}

/// Which timer of which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    pub(crate) mount: ZnodePath,
    pub(crate) object: String,
    pub(crate) name: String,
}

/// A recipe's rule over a subtree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) digest: ComponentDigest,
    pub(crate) config: Bytes,
    pub(crate) open: bool,
    pub(crate) fuel: Option<u64>,
    pub(crate) suspended: Option<String>,
}

/// A component of the catalogue, or one being uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Component {
    pub(crate) total_bytes: u32,
    pub(crate) received_bytes: u32,
    pub(crate) installed: Option<(Zxid, RecipeDescriptor)>,
}

impl Component {
    pub(crate) fn is_complete(&self) -> bool {
        self.received_bytes == self.total_bytes
    }
}

/// What is on record of a server. Consensus decides who is a member and who votes; this is the one
/// place that says where members are and which data directories they run on. It is replicated
/// state, so that snapshots carry it and no server's configuration has to follow a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Where it is reached; `None`: not on record yet.
    pub address: Option<MemberAddress>,
    /// The data directory it joined with; `None`: not connected to a leader yet.
    pub incarnation: Option<Incarnation>,
    /// What it is in the cluster, as of the last change that ended.
    pub standing: MemberStanding,
}

impl Member {
    /// Whether it has left for good: its id is never used again.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.standing == MemberStanding::Removed
    }
}

/// What a server on record is in the cluster. Consensus decides it; this is where everybody reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberStanding {
    /// No member, or not yet.
    #[default]
    Recorded,
    /// A member without a vote.
    Learner,
    /// A member with a vote.
    Voter,
    /// No member any more, for good.
    Removed,
}

/// How the membership is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipStep {
    /// The server becomes a learner, if it is no member yet.
    Add,
    /// The learner becomes a voter.
    Promote,
    /// The voter becomes a learner.
    Demote,
    /// The member leaves.
    Remove,
}

/// A step of a change, of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStep {
    /// Whose.
    pub server: ServerId,
    /// What it does.
    pub step: MembershipStep,
    /// Where a member moves to once the change is done.
    pub address: Option<MemberAddress>,
}

/// A change of the membership that is under way, and whose request it answers. On record, so that
/// the next leader ends what one began, and answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipChange {
    /// All of them, or none. A server with an [`MembershipStep::Add`] and a later
    /// [`MembershipStep::Promote`] becomes a member and a voter.
    pub steps: Vec<MemberStep>,
    /// Whose request.
    pub session: SessionId,
    /// Which.
    pub sequence: u64,
    /// Whether the answer is the data of `/zookeeper/config`.
    pub tells_config: bool,
}

impl MembershipChange {
    /// Servers that become members and voters at once.
    #[must_use]
    pub fn enlisted(&self) -> Vec<ServerId> {
        let has = |server, step| {
            self.steps.iter().any(|known: &MemberStep| (known.server, known.step) == (server, step))
        };
        let promoted = self.steps.iter().filter(|known| known.step == MembershipStep::Promote);
        let promoted = promoted.map(|known| known.server);
        promoted.filter(|server| has(*server, MembershipStep::Add)).collect()
    }
}

/// A part of a component: which, and where it begins.
pub(crate) type ChunkKey = (ComponentDigest, u32);

macro_rules! stored_number {
    ($name:ident) => {
        impl Stored for $name {
            fn write(&self, writer: &mut LayoutWriter) {
                writer.u64(self.0);
            }

            fn read(reader: &mut LayoutReader<'_>) -> Read<$name> {
                reader.u64(stringify!($name)).map($name)
            }
        }
    };
}

stored_number!(SessionId);
stored_number!(TicketId);
stored_number!(ServerId);

impl Stored for u64 {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.u64(*self);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<u64> {
        reader.u64("number")
    }
}

impl Stored for ZnodePath {
    fn write(&self, writer: &mut LayoutWriter) {
        codec::write_path(writer, self);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<ZnodePath> {
        codec::read_path(reader, "path")
    }
}

impl Stored for TreeKey {
    fn write(&self, writer: &mut LayoutWriter) {
        codec::write_path(writer, self.path());
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<TreeKey> {
        codec::read_path(reader, "path").map(|path| TreeKey::of(&path))
    }
}

impl<T: Stored> Stored for Arc<T> {
    fn write(&self, writer: &mut LayoutWriter) {
        (**self).write(writer);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<Arc<T>> {
        T::read(reader).map(Arc::new)
    }

    fn write_for_digest(&self, writer: &mut LayoutWriter) {
        (**self).write_for_digest(writer);
    }
}

impl Stored for Znode {
    fn write(&self, writer: &mut LayoutWriter) {
        Znode::write(self, writer);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<Znode> {
        Znode::read(reader)
    }

    fn write_for_digest(&self, writer: &mut LayoutWriter) {
        Znode::write_for_digest(self, writer);
    }
}

impl Stored for Session {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.u64(self.epoch.0);
        writer.raw(&self.password);
        writer.u32(self.timeout_ms);
        writer.text(&self.identity);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<Session> {
        Ok(Session {
            epoch: Zxid(reader.u64("epoch")?),
            password: codec::read_password(reader)?,
            timeout_ms: reader.u32("timeout_ms")?,
            identity: reader.text("identity")?,
        })
    }
}

impl Stored for RequestKey {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.u64(self.0.0);
        writer.u64(self.1);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<RequestKey> {
        Ok((SessionId(reader.u64("session")?), reader.u64("sequence")?))
    }
}

impl Stored for KeptReply {
    fn write(&self, writer: &mut LayoutWriter) {
        match self {
            KeptReply::Parked(ticket) => {
                writer.bool(false);
                writer.u64(ticket.0);
            }
            KeptReply::Replied(outcome) => {
                writer.bool(true);
                codec::write_outcome(writer, outcome);
            }
        }
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<KeptReply> {
        if reader.bool("kept reply")? {
            codec::read_outcome(reader).map(KeptReply::Replied)
        } else {
            Ok(KeptReply::Parked(TicketId(reader.u64("ticket")?)))
        }
    }
}

impl Stored for Ticket {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.u64(self.session.0);
        writer.u64(self.sequence);
        codec::write_path(writer, &self.mount);
        writer.text(&self.object);
        writer.option(self.deadline_ms, LayoutWriter::u64);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<Ticket> {
        Ok(Ticket {
            session: SessionId(reader.u64("session")?),
            sequence: reader.u64("sequence")?,
            mount: codec::read_path(reader, "mount")?,
            object: reader.text("object")?,
            deadline_ms: reader.option("deadline_ms", |reader| reader.u64("deadline_ms"))?,
        })
    }
}

impl Stored for TimerKey {
    fn write(&self, writer: &mut LayoutWriter) {
        codec::write_path(writer, &self.mount);
        writer.text(&self.object);
        writer.text(&self.name);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<TimerKey> {
        Ok(TimerKey {
            mount: codec::read_path(reader, "mount")?,
            object: reader.text("object")?,
            name: reader.text("timer")?,
        })
    }
}

impl Stored for Mount {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.raw(&self.digest.0);
        writer.bytes(&self.config);
        writer.bool(self.open);
        writer.option(self.fuel, LayoutWriter::u64);
        writer.option(self.suspended.as_deref(), LayoutWriter::text);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<Mount> {
        Ok(Mount {
            digest: ComponentDigest(reader.digest("digest")?),
            config: codec::read_bytes(reader, "config")?,
            open: reader.bool("open")?,
            fuel: reader.option("fuel", |reader| reader.u64("fuel"))?,
            suspended: reader.option("suspended", |reader| reader.text("suspended"))?,
        })
    }
}

impl Stored for ComponentDigest {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.raw(&self.0);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<ComponentDigest> {
        reader.digest("digest").map(ComponentDigest)
    }
}

impl Stored for Component {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.u32(self.total_bytes);
        writer.u32(self.received_bytes);
        writer.option(self.installed.as_ref(), |writer, (zxid, descriptor)| {
            writer.u64(zxid.0);
            codec::write_descriptor(writer, descriptor);
        });
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<Component> {
        Ok(Component {
            total_bytes: reader.u32("total_bytes")?,
            received_bytes: reader.u32("received_bytes")?,
            installed: reader.option("installed", |reader| {
                Ok((Zxid(reader.u64("installed")?), codec::read_descriptor(reader)?))
            })?,
        })
    }
}

impl Stored for ChunkKey {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.raw(&self.0.0);
        writer.u32(self.1);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<ChunkKey> {
        Ok((ComponentDigest(reader.digest("digest")?), reader.u32("offset")?))
    }
}

impl Stored for Bytes {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.bytes(self);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<Bytes> {
        codec::read_bytes(reader, "bytes")
    }
}

impl Stored for Member {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.option(self.address.as_ref(), codec::write_address);
        writer.option(self.incarnation, |writer, incarnation| writer.u64(incarnation.0));
        self.standing.write(writer);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<Member> {
        Ok(Member {
            address: reader.option("address", codec::read_address)?,
            incarnation: reader
                .option("incarnation", |reader| reader.u64("incarnation").map(Incarnation))?,
            standing: MemberStanding::read(reader)?,
        })
    }
}

impl Stored for MembershipStep {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.u8(match self {
            MembershipStep::Add => 0,
            MembershipStep::Promote => 1,
            MembershipStep::Remove => 2,
            MembershipStep::Demote => 3,
        });
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<MembershipStep> {
        match reader.u8("membership step")? {
            0 => Ok(MembershipStep::Add),
            1 => Ok(MembershipStep::Promote),
            2 => Ok(MembershipStep::Remove),
            3 => Ok(MembershipStep::Demote),
            _ => Err(LayoutError::Invalid { field: "membership step" }),
        }
    }
}

impl Stored for MemberStanding {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.u8(match self {
            MemberStanding::Recorded => 0,
            MemberStanding::Learner => 1,
            MemberStanding::Voter => 2,
            MemberStanding::Removed => 3,
        });
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<MemberStanding> {
        match reader.u8("standing")? {
            0 => Ok(MemberStanding::Recorded),
            1 => Ok(MemberStanding::Learner),
            2 => Ok(MemberStanding::Voter),
            3 => Ok(MemberStanding::Removed),
            _ => Err(LayoutError::Invalid { field: "standing" }),
        }
    }
}

impl Stored for MemberStep {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.u64(self.server.0);
        self.step.write(writer);
        writer.option(self.address.as_ref(), codec::write_address);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<MemberStep> {
        Ok(MemberStep {
            server: ServerId(reader.u64("server")?),
            step: MembershipStep::read(reader)?,
            address: reader.option("address", codec::read_address)?,
        })
    }
}

impl Stored for MembershipChange {
    fn write(&self, writer: &mut LayoutWriter) {
        writer.list(self.steps.iter(), |writer, step| step.write(writer));
        writer.u64(self.session.0);
        writer.u64(self.sequence);
        writer.bool(self.tells_config);
    }

    fn read(reader: &mut LayoutReader<'_>) -> Read<MembershipChange> {
        Ok(MembershipChange {
            steps: reader.list("steps", MemberStep::read)?,
            session: SessionId(reader.u64("session")?),
            sequence: reader.u64("sequence")?,
            tells_config: reader.bool("tells_config")?,
        })
    }
}
