//! What a client asks for: a record for each opcode.
//!
//! Comes in: the body of a request behind its header, or a typed request. Goes out: the other.
//! Invariant: an opcode that is not in the table is `Unknown`, not an error, since the server has to
//! answer it. Numbers that a client can get wrong (modes, kinds of watches) stay numbers here.

use super::multi::{Multi, MultiOperation, MultiReadOperation};
use super::number::Opcode;
use super::record::{DecodeError, Reader, Record, Secret, Tagged, records, tagged};
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::Permissions;

records! {
    /// An entry of an ACL.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Acl<'a> {
        /// What is allowed.
        permissions: Permissions,
        /// How the identity is proved.
        scheme: &'a str,
        /// The identity under that scheme.
        id: &'a str,
    }

    /// A znode to be created.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Create<'a> {
        /// Where; a number is added to the name of a sequential one.
        path: &'a str,
        /// Its data, or null.
        data: Option<Bytes>,
        /// Its ACL.
        acl: Vec<Acl<'a>>,
        /// A number of [`CreateMode`](super::CreateMode).
        mode: i32,
    }

    /// A znode to be created that goes by itself.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CreateTtl<'a> {
        /// Where; a number is added to the name of a sequential one.
        path: &'a str,
        /// Its data, or null.
        data: Option<Bytes>,
        /// Its ACL.
        acl: Vec<Acl<'a>>,
        /// A number of [`CreateMode`](super::CreateMode).
        mode: i32,
        /// Milliseconds that it stays while it is empty and unchanged.
        ttl_ms: i64,
    }

    /// A znode, and the version it must have; -1: any.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PathVersion<'a> {
        /// Where.
        path: &'a str,
        /// The version expected.
        version: i32,
    }

    /// A znode to be read.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Read<'a> {
        /// Where.
        path: &'a str,
        /// Whether to leave a watch.
        watch: bool,
    }

    /// Data to be set.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SetData<'a> {
        /// Where.
        path: &'a str,
        /// The data, or null.
        data: Option<Bytes>,
        /// The version expected; -1: any.
        version: i32,
    }

    /// An ACL to be set.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SetAcl<'a> {
        /// Where.
        path: &'a str,
        /// The ACL.
        acl: Vec<Acl<'a>>,
        /// The version of the ACL expected; -1: any.
        version: i32,
    }

    /// Members to be changed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Reconfig<'a> {
        /// Servers to be added, separated by commas.
        joining: Option<&'a str>,
        /// Numbers of servers to be removed, separated by commas.
        leaving: Option<&'a str>,
        /// All servers to be.
        new_members: Option<&'a str>,
        /// The version of the present configuration expected; -1: any.
        config_id: i64,
    }

    /// Watches of this connection at a path.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct WatchesOf<'a> {
        /// Where.
        path: &'a str,
        /// A number of [`WatcherKind`](super::WatcherKind).
        kind: i32,
    }

    /// An identity to be proved.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Auth<'a> {
        /// 0; ZooKeeper does not look at it.
        kind: i32,
        /// How.
        scheme: &'a str,
        /// The proof.
        auth: Secret,
    }

    /// Watches of a lost connection.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SetWatches<'a> {
        /// The newest transaction that the client has seen.
        relative_zxid: i64,
        /// Paths with data watches.
        data: Vec<&'a str>,
        /// Paths watched for being there.
        exist: Vec<&'a str>,
        /// Paths with child watches.
        child: Vec<&'a str>,
    }

    /// Watches of a lost connection, persistent ones too.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SetWatches2<'a> {
        /// The newest transaction that the client has seen.
        relative_zxid: i64,
        /// Paths with data watches.
        data: Vec<&'a str>,
        /// Paths watched for being there.
        exist: Vec<&'a str>,
        /// Paths with child watches.
        child: Vec<&'a str>,
        /// Paths with persistent watches.
        persistent: Vec<&'a str>,
        /// Paths with persistent watches of everything below.
        persistent_recursive: Vec<&'a str>,
    }

    /// A persistent watch.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AddWatch<'a> {
        /// Where.
        path: &'a str,
        /// A number of [`AddWatchMode`](super::AddWatchMode).
        mode: i32,
    }
}

tagged! {
    /// A request of a client, behind its header.
    pub enum Request<'a> {
        /// Create a znode.
        Create(Create<'a>),
        /// Delete one.
        Delete(PathVersion<'a>),
        /// Its stat, if it is there.
        Exists(Read<'a>),
        /// Its data and stat.
        GetData(Read<'a>),
        /// Set its data.
        SetData(SetData<'a>),
        /// Its ACL and stat.
        GetAcl(&'a str),
        /// Set its ACL.
        SetAcl(SetAcl<'a>),
        /// The names of its children.
        GetChildren(Read<'a>),
        /// Let this server catch up with the leader.
        Sync(&'a str),
        /// The names of its children, and its stat.
        GetChildren2(Read<'a>),
        /// Compare its version. ZooKeeper takes it inside a multi only.
        Check(PathVersion<'a>),
        /// Several writes, all or none.
        Multi(Multi<MultiOperation<'a>>),
        /// Create a znode and tell its stat.
        Create2(Create<'a>),
        /// Change the members of the cluster.
        Reconfig(Reconfig<'a>),
        /// Is there such a watch of this connection?
        CheckWatches(WatchesOf<'a>),
        /// Remove watches of this connection.
        RemoveWatches(WatchesOf<'a>),
        /// Create a container.
        CreateContainer(Create<'a>),
        /// Delete an empty container: the bytes of its path. Not for clients.
        DeleteContainer(Option<Bytes>),
        /// Create a znode that goes by itself.
        CreateTtl(CreateTtl<'a>),
        /// Several reads.
        MultiRead(Multi<MultiReadOperation<'a>>),
        /// Prove an identity.
        Auth(Auth<'a>),
        /// Have the watches of a lost connection again.
        SetWatches(SetWatches<'a>),
        /// A step of SASL: the client's token.
        Sasl(Secret),
        /// The session's own ephemerals whose paths begin so.
        GetEphemerals(&'a str),
        /// How many znodes are below a path.
        GetAllChildrenNumber(&'a str),
        /// Have the watches of a lost connection again, persistent ones too.
        SetWatches2(SetWatches2<'a>),
        /// Add a persistent watch.
        AddWatch(AddWatch<'a>),
    } and {
        /// The client is there.
        Ping,
        /// Which identities this connection has proved.
        WhoAmI,
        /// Not for clients.
        CreateSession,
        /// End the session and the connection.
        CloseSession,
    } else
        /// No request of ZooKeeper 3.9 has this number. ZooKeeper answers it with `Unimplemented`
        /// and closes the connection.
        Unknown
}

impl<'a> Request<'a> {
    /// The number of its opcode.
    #[must_use]
    pub fn opcode(&self) -> i32 {
        self.number()
    }

    /// Reads the body of a request whose header says `opcode`.
    ///
    /// # Errors
    /// The body is not that of such a request. ZooKeeper answers `MarshallingError`.
    pub fn read(opcode: i32, reader: &mut Reader<'a>) -> Result<Request<'a>, DecodeError> {
        Ok(Request::read_body(opcode, reader)?.unwrap_or(Request::Unknown(opcode)))
    }
}
