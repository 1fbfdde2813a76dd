//! What applying a transaction tells the rest of the server.
//!
//! Goes out: replies, session changes, znode events and component changes, in the order of the
//! changes. Data only; nothing here is replicated state.

use crate::request::ConnectionOrigin;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::request::WatchEventKind;
use quorate_types::{AclEntry, ComponentDigest, Outcome, Refusal, SessionId, ZnodePath, Zxid};

/// What a client is to be told, wherever its connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedReply {
    /// Whose request.
    pub session: SessionId,
    /// Which.
    pub sequence: u64,
    /// What; may be parked, and then comes again.
    pub outcome: Outcome,
}

/// A session as granted to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionGrant {
    /// Which.
    pub session: SessionId,
    /// What the connection's requests carry from now on.
    pub epoch: Zxid,
    /// Needed to take the session over later.
    pub password: [u8; 16],
    /// Granted, in milliseconds.
    pub timeout_ms: u32,
}

/// What a connection that waits for a session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionResult {
    /// The connection.
    pub origin: ConnectionOrigin,
    /// Its session.
    pub outcome: Result<SessionGrant, Refusal>,
}

/// One change of a znode, for watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZnodeEvent {
    /// Which znode.
    pub path: ZnodePath,
    /// Created, deleted or data changed; never children changed, which watches derive.
    pub kind: WatchEventKind,
    /// Its data afterwards; `None` when it was deleted.
    pub data: Option<Bytes>,
    /// Its ACL, before it was deleted if it was; `None`: open to all.
    pub acl: Option<Arc<Vec<AclEntry>>>,
    /// Its parent's ACL. Not set when the data changed, which the parent's watches are not told.
    pub parent_acl: Option<Arc<Vec<AclEntry>>>,
}

/// What a transaction did that others must hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The origin's reply and those of completed tickets.
    pub replies: Vec<AppliedReply>,
    /// Connections that got a session.
    pub connections: Vec<ConnectionResult>,
    /// Changes of znodes, in order.
    pub events: Vec<ZnodeEvent>,
    /// Sessions that began.
    pub sessions_opened: Vec<SessionId>,
    /// Sessions that ended.
    pub sessions_closed: Vec<SessionId>,
    /// Sessions that moved to another connection.
    pub sessions_attached: Vec<(SessionId, ConnectionOrigin)>,
    /// Components whose upload finished: compile now.
    pub components_completed: Vec<ComponentDigest>,
    /// Components taken out of the catalogue.
    pub components_removed: Vec<ComponentDigest>,
    /// Whether addresses of members changed, or a member has left.
    pub members_changed: bool,
}
