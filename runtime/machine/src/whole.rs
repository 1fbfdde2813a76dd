//! A whole tree at once: a state made from znodes that come from elsewhere, or taken apart into them.
//!
//! Comes in: znodes with all that is kept of them, or a machine. Goes out: the other. Invariant: a
//! machine made here is one that transactions could have made: every znode has its parent, each is
//! there once, and nothing belongs to a session, for there are none. Must never change what a znode
//! says of itself.

use crate::apply;
use crate::machine::Machine;
use crate::system;
use crate::tables::{State, Tables, Znodes};
use crate::znode::{self, TreeKey, Znode, ZnodeKind};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use quorate_types::limits::Limits;
use quorate_types::{AclEntry, ZnodeData, ZnodePath, Zxid};

/// A znode with everything that is kept of it but what follows from the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeZnode {
    /// Where.
    pub path: ZnodePath,
    /// Its data.
    pub data: ZnodeData,
    /// Its ACL; `None`: everything for everyone.
    pub acl: Option<Arc<Vec<AclEntry>>>,
    /// The transaction that created it.
    pub czxid: Zxid,
    /// The transaction that last set its data.
    pub mzxid: Zxid,
    /// The transaction that last created or deleted a child.
    pub pzxid: Zxid,
    /// Milliseconds since 1970 when it was created.
    pub ctime_ms: u64,
    /// Milliseconds since 1970 when its data was last set.
    pub mtime_ms: u64,
    /// Settings of its data.
    pub version: i32,
    /// Settings of its ACL.
    pub aversion: i32,
    /// Children ever created: what sequential names are numbered by.
    pub children_created: i32,
    /// How long it lives.
    pub kind: ZnodeKind,
}

/// Why znodes are no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTree {
    /// This path comes twice.
    Twice(ZnodePath),
    /// The parent of this one is not there.
    NoParent(ZnodePath),
    /// This one belongs to a session.
    Owned(ZnodePath),
}

impl fmt::Display for NoTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoTree::Twice(path) => write!(f, "{path} comes twice"),
            NoTree::NoParent(path) => write!(f, "{path} has no parent"),
            NoTree::Owned(path) => write!(f, "{path} belongs to a session"),
        }
    }
}

impl core::error::Error for NoTree {}

impl Machine {
    /// The state with these znodes and those of a new tree that are not among them, as if the
    /// transaction `applied` at `time_ms` had made all of it.
    ///
    /// # Errors
    /// They are no tree.
    pub fn with_znodes(
        limits: Limits,
        (applied, time_ms): (Zxid, u64),
        znodes: impl IntoIterator<Item = WholeZnode>,
    ) -> Result<Machine, NoTree> {
        let mut all = BTreeMap::new();
        for whole in znodes {
            let path = whole.path.clone();
            if matches!(whole.kind, ZnodeKind::Ephemeral(_)) {
                return Err(NoTree::Owned(path));
            }
            if all.insert(path.clone(), znode_of(whole)).is_some() {
                return Err(NoTree::Twice(path));
            }
        }
        for (path, znode) in system::first_znodes() {
            all.entry(path).or_insert(znode);
        }
        let mut counts: BTreeMap<ZnodePath, u32> = BTreeMap::new();
        for parent in all.keys().filter_map(ZnodePath::parent) {
            *counts.entry(parent).or_default() += 1;
        }
        let mut tables = Tables::default();
        for (path, mut znode) in all {
            if path.parent().is_some_and(|parent| !tables.has::<Znodes>(&TreeKey::of(&parent))) {
                return Err(NoTree::NoParent(path));
            }
            znode.children_count = counts.get(&path).copied().unwrap_or(0);
            apply::put_znode(&mut tables, &path, None, Some(znode));
        }
        Ok(Machine::of_tables(tables, (applied, time_ms), limits))
    }

    /// Every znode, those of a new tree included, in no particular order.
    pub fn each_znode(&self, mut visit: impl FnMut(WholeZnode)) {
        for (key, znode) in self.tables.table::<Znodes>().iter() {
            visit(whole_of(key.path(), znode));
        }
    }
}

fn znode_of(whole: WholeZnode) -> Znode {
    Znode {
        data_hash: znode::hash_data(&whole.data),
        data: whole.data,
        acl: whole.acl,
        czxid: whole.czxid,
        mzxid: whole.mzxid,
        pzxid: whole.pzxid,
        ctime_ms: whole.ctime_ms,
        mtime_ms: whole.mtime_ms,
        version: whole.version,
        aversion: whole.aversion,
        children_created: whole.children_created,
        children_count: 0,
        kind: whole.kind,
    }
}

fn whole_of(path: &ZnodePath, znode: &Znode) -> WholeZnode {
    WholeZnode {
        path: path.clone(),
        data: znode.data.clone(),
        acl: znode.acl.clone(),
        czxid: znode.czxid,
        mzxid: znode.mzxid,
        pzxid: znode.pzxid,
        ctime_ms: znode.ctime_ms,
        mtime_ms: znode.mtime_ms,
        version: znode.version,
        aversion: znode.aversion,
        children_created: znode.children_created,
        kind: znode.kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::SessionId;

    fn whole(text: &str) -> WholeZnode {
        let path = ZnodePath::parse(text).unwrap();
        WholeZnode { path, ..whole_of(&ZnodePath::root(), &Znode::new_system(0)) }
    }

    fn machine(znodes: &[WholeZnode]) -> Result<Machine, NoTree> {
        Machine::with_znodes(Limits::PRODUCTION, (Zxid(1 << 32), 7), znodes.iter().cloned())
    }

    #[test]
    fn a_tree_taken_apart_is_the_one_put_together() {
        let mut ttl = whole("/a/b");
        ttl.kind = ZnodeKind::Ttl(5);
        ttl.czxid = Zxid(9);
        ttl.data = "data".into();
        let given = [whole("/a"), ttl, whole("/a.b")];
        let machine = machine(&given).unwrap();
        assert_eq!((machine.applied(), machine.time_ms()), (Zxid(1 << 32), 7));
        let mut found = Vec::new();
        machine.each_znode(|znode| found.push(znode));
        assert_eq!(found.len(), 4 + given.len());
        assert!(given.iter().all(|znode| found.contains(znode)));
        let again = Machine::decode_image(&machine.encode_image()).unwrap();
        assert!(again.tables.has_same_items(&machine.tables), "indexes and counts too");
        assert_eq!(again.next_deadline_ms(), Some(5));
    }

    #[test]
    fn what_no_transaction_could_have_made_is_refused() {
        let path = |text| ZnodePath::parse(text).unwrap();
        assert_eq!(machine(&[whole("/a/b")]).unwrap_err(), NoTree::NoParent(path("/a/b")));
        let twice = machine(&[whole("/a"), whole("/a")]).unwrap_err();
        assert_eq!(twice, NoTree::Twice(path("/a")));
        let owned = WholeZnode { kind: ZnodeKind::Ephemeral(SessionId(1)), ..whole("/a") };
        assert_eq!(machine(&[owned]).unwrap_err(), NoTree::Owned(path("/a")));
    }
}
