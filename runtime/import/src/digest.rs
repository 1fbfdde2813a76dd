//! One digest over everything that an import is to keep, computed from either side.
//!
//! Comes in: ZooKeeper's tree, or a machine that was read back from disk. Goes out: counts and a SHA-256.
//! Invariant: the two sides share nothing but the bytes that are hashed here; the order is that of paths.

use crate::source_tree::{Life, SourceAcl, SourceTree};
use crate::transfer::{CONFIG, shown_path};
use quorate_machine::{Machine, WholeZnode, ZnodeKind};
use quorate_types::AclEntry;
use quorate_types::acl::open_acl;
use sha2::{Digest, Sha256};

/// Counts and digest of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeFigures {
    /// Znodes, the root and ZooKeeper's own included, `/zookeeper/config` not.
    pub znodes: u64,
    /// Bytes of their data.
    pub data_bytes: u64,
    /// Bytes of their paths.
    pub path_bytes: u64,
    /// SHA-256 over path, data, ACL, stat and kind of each, in the order of paths; hexadecimal.
    pub sha256: String,
}

/// What is hashed of a znode.
struct Hashed<'a> {
    path: &'a str,
    /// `None`: null.
    data: Option<&'a [u8]>,
    acl: &'a [AclEntry],
    /// czxid, mzxid, pzxid, ctime, mtime.
    numbers: [i64; 5],
    /// Version, aversion, children created.
    counts: [i32; 3],
    /// 0 persistent, 1 container, 2 with a time to live, and that.
    kind: (u8, u64),
}

#[derive(Default)]
struct Summing {
    hash: Sha256,
    znodes: u64,
    data_bytes: u64,
    path_bytes: u64,
}

impl Summing {
    fn bytes(&mut self, bytes: &[u8]) {
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    fn add(&mut self, znode: &Hashed<'_>) {
        self.znodes += 1;
        let data = znode.data.unwrap_or_default();
        self.data_bytes += data.len() as u64;
        self.path_bytes += znode.path.len() as u64;
        self.bytes(znode.path.as_bytes());
        self.hash.update([u8::from(znode.data.is_some())]);
        self.bytes(data);
        self.hash.update((znode.acl.len() as u64).to_le_bytes());
        for entry in znode.acl {
            self.hash.update(entry.permissions.0.to_le_bytes());
            self.bytes(entry.scheme.as_bytes());
            self.bytes(entry.id.as_bytes());
        }
        for number in znode.numbers {
            self.hash.update(number.to_le_bytes());
        }
        for number in znode.counts {
            self.hash.update(number.to_le_bytes());
        }
        self.hash.update([znode.kind.0]);
        self.hash.update(znode.kind.1.to_le_bytes());
    }

    fn figures(self) -> TreeFigures {
        let Summing { hash, znodes, data_bytes, path_bytes } = self;
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        TreeFigures { znodes, data_bytes, path_bytes, sha256 }
    }
}

/// Of ZooKeeper's tree, once its sessions are dropped.
pub(crate) fn of_source(tree: &SourceTree) -> TreeFigures {
    let (mut sum, open) = (Summing::default(), open_acl());
    for (path, znode) in &tree.znodes {
        let acl = match &znode.acl {
            SourceAcl::Listed(listed) if !listed.is_empty() => listed.as_slice(),
            SourceAcl::Listed(_) | SourceAcl::Open | SourceAcl::Unexplained(_) => &open,
        };
        let stat = &znode.stat;
        sum.add(&Hashed {
            path: shown_path(path),
            data: znode.data.as_deref(),
            acl,
            numbers: [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime_ms, stat.mtime_ms],
            counts: [stat.version, stat.aversion, stat.cversion],
            kind: match tree.life_of(znode) {
                Life::Persistent | Life::Ephemeral(_) => (0, 0),
                Life::Container => (1, 0),
                Life::Ttl(ttl_ms) => (2, ttl_ms),
            },
        });
    }
    sum.figures()
}

/// Of a machine's tree.
pub(crate) fn of_machine(machine: &Machine) -> TreeFigures {
    let (mut znodes, mut sum, open): (Vec<WholeZnode>, _, _) =
        (Vec::new(), Summing::default(), open_acl());
    machine.each_znode(|znode| znodes.push(znode));
    znodes.retain(|znode| znode.path.as_str() != CONFIG);
    znodes.sort_by(|left, right| left.path.cmp(&right.path));
    for znode in &znodes {
        let signed = |number: u64| number.cast_signed();
        sum.add(&Hashed {
            path: znode.path.as_str(),
            data: (!znode.data.is_null()).then_some(&*znode.data),
            acl: znode.acl.as_ref().map_or(&open, |acl| acl),
            numbers: [
                signed(znode.czxid.0),
                signed(znode.mzxid.0),
                signed(znode.pzxid.0),
                signed(znode.ctime_ms),
                signed(znode.mtime_ms),
            ],
            counts: [znode.version, znode.aversion, znode.children_created],
            kind: match znode.kind {
                ZnodeKind::Persistent | ZnodeKind::Ephemeral(_) => (0, 0),
                ZnodeKind::Container { .. } => (1, 0),
                ZnodeKind::Ttl(ttl_ms) => (2, ttl_ms),
            },
        });
    }
    sum.figures()
}
