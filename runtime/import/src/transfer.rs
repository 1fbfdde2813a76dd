//! From ZooKeeper's znodes to quorate's: what is kept, what is dropped, what cannot be.
//!
//! Comes in: a tree as ZooKeeper had it. Goes out: znodes for a machine, and a list of what has no place
//! there. Invariant: sessions end with the import, so that ephemerals go as if their sessions had been
//! closed by the first transaction of the new cluster; everything else keeps every number. Must never
//! cut or change a znode to make it fit: what does not fit is an error that names all of it.

use crate::error::ImportError;
use crate::source_tree::{Life, SourceAcl, SourceTree, SourceZnode, parent_of};
use bytes::Bytes;
use quorate_machine::{WholeZnode, ZnodeKind};
use quorate_types::acl::open_acl;
use quorate_types::limits::Limits;
use quorate_types::{AclEntry, ZnodeData, ZnodePath, Zxid};
use std::collections::BTreeMap;
use std::sync::Arc;

/// ZooKeeper's list of its own servers: the new cluster has its own.
pub(crate) const CONFIG: &str = "/zookeeper/config";
/// Tickets are numbered by zxids of fewer than 48 bits; half of those are for the future.
const EPOCH_MAX: u64 = (1 << 15) - 2;
/// Bits of a zxid that count the transactions of an epoch.
const COUNTER_BITS: u32 = 32;
/// Schemes of ACLs that mean something to a server here.
const SCHEMES: [&str; 5] = ["world", "digest", "ip", "x509", "sasl"];

/// An ephemeral that did not come over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedEphemeral {
    /// Where it was.
    pub path: String,
    /// The session that owned it.
    pub session: i64,
}

/// What came over, and what did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Znodes dropped because their session ends.
    pub ephemerals: Vec<DroppedEphemeral>,
    /// Sessions dropped.
    pub sessions: u64,
    /// Containers among the znodes.
    pub containers: u64,
    /// Znodes with a time to live.
    pub ttls: u64,
    /// Znodes with an ACL of their own, not open to all.
    pub acls: u64,
    /// Znodes of ACL schemes that nobody can prove here, by scheme.
    pub unknown_schemes: BTreeMap<String, u64>,
    /// Znodes with so many children that a client cannot list them, with the number.
    pub crowded: Vec<(String, u64)>,
}

/// The number of the new cluster's first transaction: the first of the epoch after all that the
/// ensemble had, so that no client has seen a higher one.
pub(crate) fn seed_of(last_zxid: i64, known_epoch: u64) -> Result<Zxid, ImportError> {
    let epoch = (last_zxid.cast_unsigned() >> COUNTER_BITS).max(known_epoch);
    if epoch > EPOCH_MAX {
        return Err(ImportError::Epoch { epoch, max: EPOCH_MAX });
    }
    Ok(Zxid((epoch + 1) << COUNTER_BITS))
}

/// Takes out of the tree what does not come over.
pub(crate) fn drop_sessions(tree: &mut SourceTree, seed: Zxid) -> Transfer {
    let mut transfer = Transfer { sessions: tree.sessions.len() as u64, ..Transfer::default() };
    tree.znodes.remove(CONFIG);
    for (path, znode) in &tree.znodes {
        if let Life::Ephemeral(session) = tree.life_of(znode) {
            transfer.ephemerals.push(DroppedEphemeral { path: path.to_string(), session });
        }
    }
    for dropped in &transfer.ephemerals {
        tree.znodes.remove(dropped.path.as_str());
        let parent = parent_of(&dropped.path).and_then(|parent| tree.znodes.get_mut(parent));
        if let Some(parent) = parent {
            parent.stat.pzxid = seed.0.cast_signed();
        }
    }
    transfer
}

/// The newest time in the tree; milliseconds since 1970.
pub(crate) fn newest_time_ms(tree: &SourceTree) -> u64 {
    let times = tree.znodes.values().map(|znode| znode.stat.ctime_ms.max(znode.stat.mtime_ms));
    times.max().and_then(|time| u64::try_from(time).ok()).unwrap_or(0)
}

/// The path as quorate writes it.
pub(crate) fn shown_path(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// The ACL as the machine keeps it. ZooKeeper lets everybody do everything where a list is empty.
pub(crate) fn kept_acl(acl: &SourceAcl) -> Option<Arc<Vec<AclEntry>>> {
    match acl {
        SourceAcl::Listed(listed) if !listed.is_empty() && **listed != open_acl() => {
            Some(Arc::clone(listed))
        }
        SourceAcl::Listed(_) | SourceAcl::Open | SourceAcl::Unexplained(_) => None,
    }
}

/// The znodes that come over. `time_ms`: of the import's transaction.
pub(crate) fn transfer(
    tree: &SourceTree,
    limits: &Limits,
    time_ms: u64,
    transfer: &mut Transfer,
) -> Result<Vec<WholeZnode>, ImportError> {
    let (mut znodes, mut refused) = (Vec::with_capacity(tree.znodes.len()), Vec::new());
    for (path, znode) in &tree.znodes {
        match whole_of(tree, (path, znode), limits, time_ms) {
            Ok(whole) => {
                count(&whole, transfer);
                znodes.push(whole);
            }
            Err(reason) => refused.push(format!("{}: {reason}", shown_path(path))),
        }
    }
    if !refused.is_empty() {
        return Err(ImportError::OverLimits { list: refused });
    }
    let most = u64::from(limits.children_reply_max);
    transfer.crowded = child_counts(tree).into_iter().filter(|(_, count)| *count > most).collect();
    Ok(znodes)
}

fn child_counts(tree: &SourceTree) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for parent in tree.znodes.keys().filter_map(|path| parent_of(path)) {
        match counts.get_mut(shown_path(parent)) {
            Some(count) => *count += 1,
            None => drop(counts.insert(shown_path(parent).to_owned(), 1)),
        }
    }
    counts
}

fn count(whole: &WholeZnode, transfer: &mut Transfer) {
    transfer.containers += u64::from(matches!(whole.kind, ZnodeKind::Container { .. }));
    transfer.ttls += u64::from(matches!(whole.kind, ZnodeKind::Ttl(_)));
    transfer.acls += u64::from(whole.acl.is_some());
    let Some(acl) = &whole.acl else { return };
    let mut unknown: Vec<&str> = acl.iter().map(|entry| entry.scheme.as_str()).collect();
    unknown.retain(|scheme| !SCHEMES.contains(scheme));
    unknown.sort_unstable();
    unknown.dedup();
    for scheme in unknown {
        *transfer.unknown_schemes.entry(scheme.to_owned()).or_default() += 1;
    }
}

fn whole_of(
    tree: &SourceTree,
    (path, znode): (&str, &SourceZnode),
    limits: &Limits,
    time_ms: u64,
) -> Result<WholeZnode, String> {
    let stat = &znode.stat;
    if parent_of(path).is_some_and(|parent| !tree.znodes.contains_key(parent)) {
        return Err(String::from("its parent is gone: the ZooKeeper's tree is damaged"));
    }
    let parsed = ZnodePath::parse(shown_path(path)).map_err(|error| error.to_string())?;
    let (bytes, most) =
        (znode.data.as_ref().map_or(0, Bytes::len), limits.znode_data_bytes_max as usize);
    if bytes > most {
        return Err(format!("{bytes} bytes of data; limits.znode_data_bytes_max is {most}"));
    }
    if let SourceAcl::Unexplained(number) = znode.acl {
        return Err(format!("its ACL, number {number}, is in neither snapshot nor logs"));
    }
    let number = |number: i64, field: &str| {
        u64::try_from(number).map_err(|_| format!("its {field} is {number}"))
    };
    let zxid = |zxid: i64, field: &str| number(zxid, field).map(Zxid);
    let kind = match tree.life_of(znode) {
        Life::Persistent => ZnodeKind::Persistent,
        Life::Container => ZnodeKind::Container { emptied_ms: time_ms },
        Life::Ttl(ttl_ms) => ZnodeKind::Ttl(ttl_ms),
        Life::Ephemeral(session) => return Err(format!("it belongs to session {session:#x}")),
    };
    Ok(WholeZnode {
        path: parsed,
        // Copied, so that no small value keeps a whole file in memory.
        data: ZnodeData::from(znode.data.clone()).copied(),
        acl: kept_acl(&znode.acl),
        czxid: zxid(stat.czxid, "czxid")?,
        mzxid: zxid(stat.mzxid, "mzxid")?,
        pzxid: zxid(stat.pzxid, "pzxid")?,
        ctime_ms: number(stat.ctime_ms, "ctime")?,
        mtime_ms: number(stat.mtime_ms, "mtime")?,
        version: stat.version,
        aversion: stat.aversion,
        children_created: stat.cversion,
        kind,
    })
}
