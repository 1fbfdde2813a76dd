//! The znodes that every tree has from the start, as ZooKeeper's has them.
//!
//! Comes in: nothing. Goes out: paths, and the znodes of a new tree. Invariant: they are there for
//! ever: nobody deletes them. They count as children of their parents and were never created by a
//! transaction, so that the first sequential name below them is 0, as in ZooKeeper.

use crate::znode::Znode;
use alloc::sync::Arc;
use quorate_types::{AclEntry, Permissions, ZnodePath};

/// ZooKeeper's own subtree.
const ZOOKEEPER: &str = "/zookeeper";
/// Limits of subtrees.
const QUOTA: &str = "/zookeeper/quota";
/// Members of the cluster. Everybody reads it, and its data follows the members by
/// itself: who may write it may change them.
pub(crate) const CONFIG: &str = "/zookeeper/config";

/// Whether the znode must not be deleted.
pub(crate) fn is_system(path: &ZnodePath) -> bool {
    path.is_root() || [ZOOKEEPER, QUOTA, CONFIG].contains(&path.as_str())
}

/// What a new tree holds.
pub(crate) fn first_znodes() -> [(ZnodePath, Znode); 4] {
    let path = |text| ZnodePath::parse(text).expect("a path of this table");
    let reading = quorate_types::acl::open_acl()
        .into_iter()
        .map(|entry| AclEntry { permissions: Permissions::READ, ..entry })
        .collect();
    let config = Znode { acl: Some(Arc::new(reading)), ..Znode::new_system(0) };
    [
        (ZnodePath::root(), Znode::new_system(1)),
        (path(ZOOKEEPER), Znode::new_system(2)),
        (path(QUOTA), Znode::new_system(0)),
        (path(CONFIG), config),
    ]
}
