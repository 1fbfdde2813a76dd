//! What is known of a znode besides its data, field by field as in ZooKeeper's `Stat`.
//!
//! Invariant: every field but `children_count` and `data_length` is replicated state and equal on
//! all servers at equal zxid.

use crate::id::{SessionId, Zxid};
use serde::{Deserialize, Serialize};

/// A znode's stat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// The transaction that created the znode.
    pub czxid: Zxid,
    /// The transaction that last set its data.
    pub mzxid: Zxid,
    /// The transaction that last created or deleted one of its children.
    pub pzxid: Zxid,
    /// Milliseconds since 1970 when it was created, by the leader's stamp.
    pub ctime_ms: u64,
    /// Milliseconds since 1970 when its data was last set, by the leader's stamp.
    pub mtime_ms: u64,
    /// Counts settings of the data, from 0.
    pub version: i32,
    /// Counts creations and deletions of children, from 0.
    pub cversion: i32,
    /// Counts settings of the ACL, from 0.
    pub aversion: i32,
    /// The session whose end deletes it; `None` unless ephemeral.
    pub ephemeral_owner: Option<SessionId>,
    /// Bytes of data.
    pub data_length: u32,
    /// Number of children.
    pub children_count: u32,
}
