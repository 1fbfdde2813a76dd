//! What a server answers and tells: a record for each opcode.
//!
//! Comes in: the body of a reply behind its header and the opcode of its request, or a typed reply.
//! Goes out: the other. Invariant: a reply with an error has no body.

use super::message::ReplyHeader;
use super::multi::{Multi, MultiReadResult, MultiResult};
use super::number::{EventKind, Opcode, WatcherState, ZooKeeperError};
use super::record::{DecodeError, Reader, Record, Secret, records};
use super::request::Acl;
use alloc::vec::Vec;
use bytes::Bytes;

records! {
    /// What is known of a znode besides its data, as ZooKeeper tells it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Stat {
        /// The transaction that created it.
        czxid: i64,
        /// The transaction that last set its data.
        mzxid: i64,
        /// Milliseconds since 1970 when it was created.
        ctime_ms: i64,
        /// Milliseconds since 1970 when its data was last set.
        mtime_ms: i64,
        /// Counts settings of the data.
        version: i32,
        /// Counts creations and deletions of children.
        cversion: i32,
        /// Counts settings of the ACL.
        aversion: i32,
        /// The session that it goes with; 0: it is no ephemeral.
        ephemeral_owner: i64,
        /// Bytes of data.
        data_length: i32,
        /// Number of children.
        children_count: i32,
        /// The transaction that last created or deleted one of its children.
        pzxid: i64,
    }

    /// A znode created.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PathStat<'a> {
        /// Its path, with the number of a sequential one.
        path: &'a str,
        /// Its stat.
        stat: Stat,
    }

    /// Data read.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DataStat {
        /// The data, or null.
        data: Option<Bytes>,
        /// The stat.
        stat: Stat,
    }

    /// An ACL read.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AclStat<'a> {
        /// The ACL.
        acl: Vec<Acl<'a>>,
        /// The stat.
        stat: Stat,
    }

    /// Children read.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ChildrenStat<'a> {
        /// Their names, in no order that ZooKeeper promises.
        children: Vec<&'a str>,
        /// The stat of their parent.
        stat: Stat,
    }

    /// An identity that a connection has proved.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ClientInfo<'a> {
        /// How.
        scheme: &'a str,
        /// The identity under that scheme, without what is secret of it.
        user: &'a str,
    }

    /// A watch has fired.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct WatcherEvent<'a> {
        /// What happened.
        kind: EventKind,
        /// The state of the connection.
        state: WatcherState,
        /// The znode that it happened to.
        path: &'a str,
    }
}

/// The body of the reply to a request that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Nothing: to `Delete`, `Ping`, `Check`, `CheckWatches`, `RemoveWatches`, `DeleteContainer`,
    /// `Auth`, `SetWatches`, `SetWatches2`, `CreateSession` and `CloseSession`.
    Empty,
    /// A path: to `Create` and `Sync`.
    Path(&'a str),
    /// A path and a stat: to `Create2`, `CreateContainer` and `CreateTtl`.
    PathStat(PathStat<'a>),
    /// A stat: to `Exists`, `SetData` and `SetAcl`.
    Stat(Stat),
    /// Data and a stat: to `GetData`, and, of `/zookeeper/config`, to `Reconfig`.
    DataStat(DataStat),
    /// An ACL and a stat: to `GetAcl`.
    AclStat(AclStat<'a>),
    /// Names: to `GetChildren`.
    Children(Vec<&'a str>),
    /// Names and a stat: to `GetChildren2`.
    ChildrenStat(ChildrenStat<'a>),
    /// Results: to `Multi`, also where it was not done.
    Multi(Multi<MultiResult<'a>>),
    /// Results: to `MultiRead`.
    MultiRead(Multi<MultiReadResult<'a>>),
    /// The server's token: to `Sasl`.
    Sasl(Secret),
    /// Paths: to `GetEphemerals`.
    Ephemerals(Vec<&'a str>),
    /// How many: to `GetAllChildrenNumber`.
    ChildrenNumber(i32),
    /// `Ok`: to `AddWatch`.
    Error(ZooKeeperError),
    /// Identities: to `WhoAmI`.
    WhoAmI(Vec<ClientInfo<'a>>),
}

impl<'a> Reply<'a> {
    /// Reads the body of a reply without error to a request with this opcode.
    ///
    /// # Errors
    /// The body is not that of such a reply.
    pub fn read(opcode: Opcode, reader: &mut Reader<'a>) -> Result<Reply<'a>, DecodeError> {
        Ok(match opcode {
            Opcode::Create | Opcode::Sync => Reply::Path(Record::read(reader, "Reply::Path")?),
            Opcode::Create2 | Opcode::CreateContainer | Opcode::CreateTtl => {
                Reply::PathStat(Record::read(reader, "Reply::PathStat")?)
            }
            Opcode::Exists | Opcode::SetData | Opcode::SetAcl => {
                Reply::Stat(Record::read(reader, "Reply::Stat")?)
            }
            Opcode::GetData | Opcode::Reconfig => {
                Reply::DataStat(Record::read(reader, "Reply::DataStat")?)
            }
            Opcode::GetAcl => Reply::AclStat(Record::read(reader, "Reply::AclStat")?),
            Opcode::GetChildren => Reply::Children(Record::read(reader, "Reply::Children")?),
            Opcode::GetChildren2 => {
                Reply::ChildrenStat(Record::read(reader, "Reply::ChildrenStat")?)
            }
            Opcode::Multi => Reply::Multi(Record::read(reader, "Reply::Multi")?),
            Opcode::MultiRead => Reply::MultiRead(Record::read(reader, "Reply::MultiRead")?),
            Opcode::Sasl => Reply::Sasl(Record::read(reader, "Reply::Sasl")?),
            Opcode::GetEphemerals => Reply::Ephemerals(Record::read(reader, "Reply::Ephemerals")?),
            Opcode::GetAllChildrenNumber => {
                Reply::ChildrenNumber(Record::read(reader, "Reply::ChildrenNumber")?)
            }
            Opcode::AddWatch => Reply::Error(Record::read(reader, "Reply::Error")?),
            Opcode::WhoAmI => Reply::WhoAmI(Record::read(reader, "Reply::WhoAmI")?),
            Opcode::Delete
            | Opcode::Ping
            | Opcode::Check
            | Opcode::CheckWatches
            | Opcode::RemoveWatches
            | Opcode::DeleteContainer
            | Opcode::Auth
            | Opcode::SetWatches
            | Opcode::SetWatches2
            | Opcode::CreateSession
            | Opcode::CloseSession
            | Opcode::Error => Reply::Empty,
        })
    }

    /// Appends the body.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Empty => {}
            Reply::Path(body) => body.write(out),
            Reply::PathStat(body) => body.write(out),
            Reply::Stat(body) => body.write(out),
            Reply::DataStat(body) => body.write(out),
            Reply::AclStat(body) => body.write(out),
            Reply::Children(body) | Reply::Ephemerals(body) => body.write(out),
            Reply::ChildrenStat(body) => body.write(out),
            Reply::Multi(body) => body.write(out),
            Reply::MultiRead(body) => body.write(out),
            Reply::Sasl(body) => body.write(out),
            Reply::ChildrenNumber(body) => body.write(out),
            Reply::Error(body) => body.write(out),
            Reply::WhoAmI(body) => body.write(out),
        }
    }
}

/// A frame of a server, behind the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// A watch has fired; the zxid is that of the transaction.
    Notification {
        /// What tells the transaction.
        header: ReplyHeader,
        /// What happened.
        event: WatcherEvent<'a>,
    },
    /// The request under this xid was not done. A failed multi is a `Reply`.
    Refused(ReplyHeader),
    /// The request under this xid was done.
    Reply {
        /// Which request, and the transaction whose state the reply shows or made.
        header: ReplyHeader,
        /// The answer.
        reply: Reply<'a>,
    },
}
