//! ZooKeeper's tree, made again from a snapshot and the transactions since.
//!
//! Comes in: records of ZooKeeper's files. Goes out: znodes by path. Invariant: a transaction leaves
//! behind what ZooKeeper's `DataTree.processTxn` does, also when the snapshot, which is fuzzy, holds its
//! effect already: a create of what is there and a delete of what is gone change no more than the
//! parent's counts, and these never go back. Must never judge what a znode holds.

use bytes::Bytes;
use quorate_types::AclEntry;
use quorate_wire::zookeeper::Acl;
use quorate_wire::zookeeper::stored::{
    AclRow, CreatedZnode, DataSet, StoredAclSet, StoredStat, StoredTransaction, StoredZnode,
    TransactionHeader,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The owner of containers.
pub(crate) const CONTAINER_OWNER: i64 = i64::MIN;
/// The high byte of the owner of a znode that goes by itself after a time.
const EXTENDED_MASK: u64 = 0xff << 56;
/// Which kind of such znodes: 0 for those with a time, the only kind there is.
const FEATURE_MASK: u64 = 0xffff << 40;
/// The number of the ACL that is never listed: everything for everyone.
const OPEN_ACL: i64 = -1;
/// Below it every server keeps its own counts, which digests leave out.
const UNDIGESTED: &str = "/zookeeper/";

/// How a znode goes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Persistent,
    Ephemeral(i64),
    Container,
    /// Milliseconds.
    Ttl(u64),
}

/// An ACL as a znode has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceAcl {
    Open,
    Listed(Arc<Vec<AclEntry>>),
    /// By this number, which the snapshot does not explain: it was taken while the znode was made.
    Unexplained(i64),
}

/// A znode without its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceZnode {
    /// `None`: null.
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: SourceAcl,
    pub(crate) stat: StoredStat,
}

/// An ACL's entries, to be compared: permissions, scheme, id.
type AclKey = Vec<(u32, String, String)>;

/// The tree. The root's path is empty, as in ZooKeeper's files.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceTree {
    pub(crate) znodes: BTreeMap<Box<str>, SourceZnode>,
    pub(crate) sessions: BTreeMap<i64, i32>,
    ephemerals: HashMap<i64, BTreeSet<Box<str>>>,
    acls: HashMap<i64, Arc<Vec<AclEntry>>>,
    /// Equal ACLs are there once.
    shared: HashMap<AclKey, Arc<Vec<AclEntry>>>,
}

/// What a new znode begins with.
struct Creation<'a> {
    path: &'a str,
    data: Option<Bytes>,
    acl: &'a [Acl<'a>],
    ephemeral_owner: i64,
    /// `None`: one more than before.
    parent_cversion: Option<i32>,
}

/// The path of a znode's parent, empty for the root's children; `None` for the root.
pub(crate) fn parent_of(path: &str) -> Option<&str> {
    path.rfind('/').and_then(|slash| path.get(..slash))
}

impl SourceTree {
    /// An ensemble's tree before its first transaction.
    pub(crate) fn new() -> SourceTree {
        let mut tree = SourceTree::default();
        for path in ["", "/zookeeper", "/zookeeper/quota"] {
            let (acl, stat) = (SourceAcl::Open, StoredStat::default());
            tree.put(path, SourceZnode { data: Some(Bytes::new()), acl, stat });
        }
        tree
    }

    /// Takes the ACLs of a snapshot, before its znodes.
    pub(crate) fn take_acls(&mut self, rows: &[AclRow<'_>]) {
        for row in rows {
            let shared = self.share(&row.entries);
            self.acls.insert(row.number, shared);
        }
    }

    /// Takes a znode of a snapshot; false: its parent is not there.
    pub(crate) fn take_znode(&mut self, path: &str, stored: StoredZnode) -> bool {
        if parent_of(path).is_some_and(|parent| !self.znodes.contains_key(parent)) {
            return false;
        }
        let acl = match (stored.acl, self.acls.get(&stored.acl)) {
            (OPEN_ACL, _) => SourceAcl::Open,
            (_, Some(listed)) => SourceAcl::Listed(Arc::clone(listed)),
            (number, None) => SourceAcl::Unexplained(number),
        };
        self.put(path, SourceZnode { data: stored.data, acl, stat: stored.stat });
        true
    }

    fn put(&mut self, path: &str, znode: SourceZnode) {
        let owner = znode.stat.ephemeral_owner;
        if owner != 0 {
            self.ephemerals.entry(owner).or_default().insert(path.into());
        }
        self.znodes.insert(path.into(), znode);
    }

    /// Applies a transaction of a log.
    pub(crate) fn apply(
        &mut self,
        header: &TransactionHeader,
        transaction: &StoredTransaction<'_>,
    ) {
        match transaction {
            StoredTransaction::Create(created) | StoredTransaction::Create2(created) => {
                self.create_znode(header, created);
            }
            StoredTransaction::CreateTtl(created) => self.create(
                header,
                Creation {
                    path: created.path,
                    data: created.data.clone(),
                    acl: &created.acl,
                    ephemeral_owner: (EXTENDED_MASK | created.ttl_ms.cast_unsigned()).cast_signed(),
                    parent_cversion: Some(created.parent_cversion),
                },
            ),
            StoredTransaction::CreateContainer(created) => self.create(
                header,
                Creation {
                    path: created.path,
                    data: created.data.clone(),
                    acl: &created.acl,
                    ephemeral_owner: CONTAINER_OWNER,
                    parent_cversion: Some(created.parent_cversion),
                },
            ),
            StoredTransaction::Delete(deleted) | StoredTransaction::DeleteContainer(deleted) => {
                self.delete(deleted.path, header.zxid);
            }
            StoredTransaction::SetData(set) | StoredTransaction::Reconfig(set) => {
                self.set_data(header, set);
            }
            StoredTransaction::SetAcl(set) => self.set_acl(set),
            StoredTransaction::Multi(multi) => {
                let fails =
                    |item: &StoredTransaction<'_>| matches!(item, StoredTransaction::Error(_));
                if !multi.items.iter().any(|item| fails(&item.0)) {
                    multi.items.iter().for_each(|item| self.apply(header, &item.0));
                }
            }
            StoredTransaction::CreateSession(timeout_ms) => {
                self.sessions.insert(header.session, *timeout_ms);
            }
            StoredTransaction::CloseSession(closed) => {
                self.close_session(header, closed.0.as_deref().unwrap_or_default());
            }
            StoredTransaction::Check(_) | StoredTransaction::Error(_) => {}
        }
    }

    fn create_znode(&mut self, header: &TransactionHeader, created: &CreatedZnode<'_>) {
        self.create(
            header,
            Creation {
                path: created.path,
                data: created.data.clone(),
                acl: &created.acl,
                ephemeral_owner: if created.ephemeral { header.session } else { 0 },
                parent_cversion: created.parent_cversion.filter(|cversion| *cversion != -1),
            },
        );
    }

    fn create(&mut self, header: &TransactionHeader, creation: Creation<'_>) {
        let Creation { path, data, acl, ephemeral_owner, parent_cversion } = creation;
        let acl = SourceAcl::Listed(self.share(acl));
        let Some(parent) = parent_of(path).and_then(|parent| self.znodes.get_mut(parent)) else {
            return;
        };
        let before = parent.stat.cversion;
        let after = parent_cversion.unwrap_or(before.wrapping_add(1));
        if after > before {
            parent.stat.cversion = after;
            parent.stat.pzxid = header.zxid;
        }
        if let Some(there) = self.znodes.get_mut(path) {
            there.acl = acl;
            return;
        }
        let stat = StoredStat {
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime_ms: header.time_ms,
            mtime_ms: header.time_ms,
            ephemeral_owner,
            ..StoredStat::default()
        };
        self.put(path, SourceZnode { data, acl, stat });
    }

    fn delete(&mut self, path: &str, zxid: i64) {
        let Some(parent) = parent_of(path).and_then(|parent| self.znodes.get_mut(parent)) else {
            return;
        };
        parent.stat.pzxid = parent.stat.pzxid.max(zxid);
        let Some(znode) = self.znodes.remove(path) else { return };
        if let Some(owned) = self.ephemerals.get_mut(&znode.stat.ephemeral_owner) {
            owned.remove(path);
        }
    }

    fn set_data(&mut self, header: &TransactionHeader, set: &DataSet<'_>) {
        if let Some(znode) = self.znodes.get_mut(key_of(set.path)) {
            znode.data = set.data.clone();
            znode.stat.version = set.version;
            znode.stat.mzxid = header.zxid;
            znode.stat.mtime_ms = header.time_ms;
        }
    }

    fn set_acl(&mut self, set: &StoredAclSet<'_>) {
        let acl = SourceAcl::Listed(self.share(&set.acl));
        if let Some(znode) = self.znodes.get_mut(key_of(set.path)) {
            znode.acl = acl;
            znode.stat.aversion = set.version;
        }
    }

    /// With the ephemerals that the transaction names go any others that the session has.
    fn close_session(&mut self, header: &TransactionHeader, named: &[&str]) {
        self.sessions.remove(&header.session);
        let owned = self.ephemerals.remove(&header.session).unwrap_or_default();
        for path in named {
            self.delete(path, header.zxid);
        }
        for path in owned.iter().filter(|path| !named.contains(&&***path)) {
            self.delete(path, header.zxid);
        }
    }

    fn share(&mut self, entries: &[Acl<'_>]) -> Arc<Vec<AclEntry>> {
        let key = entries
            .iter()
            .map(|entry| (entry.permissions.0, entry.scheme.to_owned(), entry.id.to_owned()));
        let entry = |entry: &Acl<'_>| AclEntry {
            permissions: entry.permissions,
            scheme: entry.scheme.to_owned(),
            id: entry.id.to_owned(),
        };
        let made = || Arc::new(entries.iter().map(entry).collect());
        Arc::clone(self.shared.entry(key.collect()).or_insert_with(made))
    }

    /// How a znode goes by itself. The high byte of a session is the number of its server, so that a
    /// session of server 255 could look like a time; a session that lives is one.
    pub(crate) fn life_of(&self, znode: &SourceZnode) -> Life {
        let owner = znode.stat.ephemeral_owner;
        let bits = owner.cast_unsigned();
        let is_session = self.sessions.contains_key(&owner);
        match owner {
            0 => Life::Persistent,
            CONTAINER_OWNER => Life::Container,
            _ if !is_session
                && bits & EXTENDED_MASK == EXTENDED_MASK
                && bits & FEATURE_MASK == 0 =>
            {
                Life::Ttl(bits & !EXTENDED_MASK)
            }
            _ => Life::Ephemeral(owner),
        }
    }

    /// ZooKeeper's own digest of the tree, version 2: a sum over znodes of the CRC-32 of path, data and
    /// stat.
    pub(crate) fn digest(&self) -> i64 {
        let digested = self.znodes.iter().filter(|(path, _)| !path.starts_with(UNDIGESTED));
        digested.fold(0, |sum: i64, (path, znode)| {
            let StoredStat { czxid, mzxid, pzxid, ctime_ms, mtime_ms, .. } = znode.stat;
            let mut crc = crc32fast::Hasher::new();
            crc.update(path.as_bytes());
            crc.update(znode.data.as_deref().unwrap_or_default());
            for number in [czxid, mzxid, pzxid, ctime_ms, mtime_ms] {
                crc.update(&number.to_be_bytes());
            }
            for number in [znode.stat.version, znode.stat.cversion, znode.stat.aversion] {
                crc.update(&number.to_be_bytes());
            }
            crc.update(&znode.stat.ephemeral_owner.to_be_bytes());
            sum.wrapping_add(i64::from(crc.finalize()))
        })
    }
}

/// `/` is the root, too, where a transaction names a znode.
fn key_of(path: &str) -> &str {
    if path == "/" { "" } else { path }
}
