//! Numbers with a meaning on the ZooKeeper wire: one table each.
//!
//! Comes in: a number, or its name. Goes out: the other. Invariant: numbers are ZooKeeper 3.9's; a
//! Java client gives up its connection on an error that is not in the table, so none is invented.

use super::record::{DecodeError, Reader, Record};
use alloc::vec::Vec;

macro_rules! numbers {
    ($(#[$doc:meta])* pub enum $name:ident {
        $( $(#[$variant_doc:meta])* $variant:ident = $number:literal, )*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[$variant_doc])* $variant = $number, )* }

        impl $name {
            /// All of them, in the order of the table.
            pub const ALL: &'static [$name] = &[$( $name::$variant, )*];

            /// The number on the wire.
            #[must_use]
            pub fn number(self) -> i32 { self as i32 }

            /// What this number stands for, if for anything.
            #[must_use]
            pub fn from_number(number: i32) -> Option<$name> {
                match number { $( $number => Some($name::$variant), )* _ => None }
            }
        }

        impl Record<'_> for $name {
            const BYTES_MIN: usize = 4;

            fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<$name, DecodeError> {
                let number = i32::read(reader, field)?;
                $name::from_number(number).ok_or(DecodeError::UnknownNumber { field, number })
            }

            fn write(&self, out: &mut Vec<u8>) { self.number().write(out); }
        }
    };
}

numbers! {
    /// What a request asks for, and what an item of a multi or of its reply is.
    pub enum Opcode {
        /// Create a znode.
        Create = 1,
        /// Delete one.
        Delete = 2,
        /// Its stat, if it is there.
        Exists = 3,
        /// Its data and stat.
        GetData = 4,
        /// Set its data.
        SetData = 5,
        /// Its ACL and stat.
        GetAcl = 6,
        /// Set its ACL.
        SetAcl = 7,
        /// The names of its children.
        GetChildren = 8,
        /// Let this server catch up with the leader.
        Sync = 9,
        /// The client is there.
        Ping = 11,
        /// The names of its children, and its stat.
        GetChildren2 = 12,
        /// Compare its version; in a multi only.
        Check = 13,
        /// Several writes, all or none.
        Multi = 14,
        /// Create a znode and tell its stat.
        Create2 = 15,
        /// Change the members of the cluster.
        Reconfig = 16,
        /// Is there such a watch of this connection?
        CheckWatches = 17,
        /// Remove watches of this connection.
        RemoveWatches = 18,
        /// Create a container.
        CreateContainer = 19,
        /// Delete an empty container: what ZooKeeper's leader asks of itself.
        DeleteContainer = 20,
        /// Create a znode that goes when it was empty and unchanged for a time.
        CreateTtl = 21,
        /// Several reads.
        MultiRead = 22,
        /// Prove an identity.
        Auth = 100,
        /// Have the watches of a lost connection again: those of up to ZooKeeper 3.5.
        SetWatches = 101,
        /// A step of SASL.
        Sasl = 102,
        /// The session's own ephemerals.
        GetEphemerals = 103,
        /// How many znodes are below a path.
        GetAllChildrenNumber = 104,
        /// As `SetWatches`, with persistent ones.
        SetWatches2 = 105,
        /// Add a persistent watch.
        AddWatch = 106,
        /// Which identities this connection has proved.
        WhoAmI = 107,
        /// What ZooKeeper's servers ask of one another; not for clients.
        CreateSession = -10,
        /// End the session and the connection.
        CloseSession = -11,
        /// The result of an item of a multi that was not done; no request.
        Error = -1,
    }
}

numbers! {
    /// Why a request was not done: the table of ZooKeeper's `KeeperException.Code`.
    pub enum ZooKeeperError {
        /// It was done.
        Ok = 0,
        /// Something is wrong with the server.
        SystemError = -1,
        /// Also: this item of a multi was not tried, since an earlier one failed.
        RuntimeInconsistency = -2,
        /// Data does not agree with itself.
        DataInconsistency = -3,
        /// The connection is lost.
        ConnectionLoss = -4,
        /// The request cannot be read.
        MarshallingError = -5,
        /// The request is not known.
        Unimplemented = -6,
        /// It took too long.
        OperationTimeout = -7,
        /// An argument is wrong.
        BadArguments = -8,
        /// There is no such session.
        UnknownSession = -12,
        /// The members to be have no quorum that is up to date.
        NewConfigNoQuorum = -13,
        /// Members are being changed already.
        ReconfigInProgress = -14,
        /// The client used its library wrongly.
        ApiError = -100,
        /// There is no such znode.
        NoNode = -101,
        /// The ACL does not allow it.
        NoAuth = -102,
        /// The version expected is not the znode's.
        BadVersion = -103,
        /// An ephemeral znode cannot have children.
        NoChildrenForEphemerals = -108,
        /// The znode is there already.
        NodeExists = -110,
        /// The znode has children.
        NotEmpty = -111,
        /// The session has expired.
        SessionExpired = -112,
        /// The callback is none.
        InvalidCallback = -113,
        /// The ACL given is not one.
        InvalidAcl = -114,
        /// The identity is not proved.
        AuthFailed = -115,
        /// The session went on at another server.
        SessionMoved = -118,
        /// This server only reads.
        NotReadOnly = -119,
        /// A session of one server alone cannot own an ephemeral.
        EphemeralOnLocalSession = -120,
        /// There is no such watch.
        NoWatcher = -121,
        /// The request took too long.
        RequestTimeout = -122,
        /// Members cannot be changed by clients here.
        ReconfigDisabled = -123,
        /// Clients must prove an identity here.
        SessionClosedRequireSaslAuth = -124,
        /// A quota is used up.
        QuotaExceeded = -125,
        /// There is too much to do.
        ThrottledOp = -127,
    }
}

numbers! {
    /// How long a znode lives and how it is named: the flags of a create.
    pub enum CreateMode {
        /// Until it is deleted.
        Persistent = 0,
        /// Until its session ends.
        Ephemeral = 1,
        /// Until it is deleted; numbered.
        PersistentSequential = 2,
        /// Until its session ends; numbered.
        EphemeralSequential = 3,
        /// Until its last child is gone.
        Container = 4,
        /// Until it was empty and unchanged for its time.
        PersistentTtl = 5,
        /// As `PersistentTtl`; numbered.
        PersistentSequentialTtl = 6,
    }
}

numbers! {
    /// What a notification tells.
    pub enum EventKind {
        /// Nothing of a znode: the state of the connection.
        None = -1,
        /// The znode was created.
        Created = 1,
        /// The znode was deleted.
        Deleted = 2,
        /// Its data was set.
        DataChanged = 3,
        /// A child was created or deleted.
        ChildrenChanged = 4,
        /// A data watch was removed: told by a client's library, not by a server.
        DataWatchRemoved = 5,
        /// A child watch was removed: told by a client's library, not by a server.
        ChildWatchRemoved = 6,
        /// A persistent watch was removed: told by a client's library, not by a server.
        PersistentWatchRemoved = 7,
    }
}

numbers! {
    /// The state of the connection that a notification tells. Servers tell `SyncConnected`.
    pub enum WatcherState {
        /// No connection.
        Disconnected = 0,
        /// A connection with a server that has a quorum.
        SyncConnected = 3,
        /// The identity is not proved.
        AuthFailed = 4,
        /// A connection with a server that only reads.
        ConnectedReadOnly = 5,
        /// The identity is proved.
        SaslAuthenticated = 6,
        /// The client is closed.
        Closed = 7,
        /// The session has expired.
        Expired = -112,
    }
}

numbers! {
    /// Which watches are to be looked for or removed.
    pub enum WatcherKind {
        /// Of children.
        Children = 1,
        /// Of data, or of being there.
        Data = 2,
        /// All of them.
        Any = 3,
        /// Persistent.
        Persistent = 4,
        /// Persistent, with everything below.
        PersistentRecursive = 5,
    }
}

numbers! {
    /// What a persistent watch covers.
    pub enum AddWatchMode {
        /// The znode.
        Persistent = 0,
        /// The znode and everything below.
        PersistentRecursive = 1,
    }
}
