//! Access control entries in ZooKeeper's form: permissions for an identity under a scheme.
//!
//! Data only; who is allowed what is decided in one place, `machine`.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A set of permissions: bits as in ZooKeeper's `ZooDefs.Perms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Permissions(pub u32);

impl Permissions {
    /// Get data and list children.
    pub const READ: Permissions = Permissions(1);
    /// Set data.
    pub const WRITE: Permissions = Permissions(2);
    /// Create a child.
    pub const CREATE: Permissions = Permissions(4);
    /// Delete a child.
    pub const DELETE: Permissions = Permissions(8);
    /// Set the ACL.
    pub const ADMIN: Permissions = Permissions(16);
    /// All of them.
    pub const ALL: Permissions = Permissions(31);

    /// Whether every permission of `other` is in `self`.
    #[must_use]
    pub fn contains(self, other: Permissions) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One entry of an ACL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclEntry {
    /// What is allowed.
    pub permissions: Permissions,
    /// How the identity is proved: `world`, `auth`, `digest`, `ip`, `x509`.
    pub scheme: String,
    /// The identity under that scheme; `anyone` for `world`.
    pub id: String,
}

/// The ACL of a znode created without one: everything for everyone, as ZooKeeper's
/// `OPEN_ACL_UNSAFE`.
#[must_use]
pub fn open_acl() -> Vec<AclEntry> {
    alloc::vec![AclEntry {
        permissions: Permissions::ALL,
        scheme: String::from("world"),
        id: String::from("anyone"),
    }]
}
