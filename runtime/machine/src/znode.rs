//! One znode without its path, and how it is ordered among others.
//!
//! Invariant: `children_count` is the number of znodes whose parent this is; `data_hash` is the
//! hash of `data`. A znode is never changed in place: a new one replaces it, so that snapshots can
//! share it.

use crate::codec;
use crate::digest;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use quorate_types::{
    AclEntry, LayoutError, LayoutReader, LayoutWriter, SessionId, Stat, ZnodeData, ZnodePath, Zxid,
};

/// How long an empty container is kept after its last child went, in milliseconds. ZooKeeper looks
/// every 60 s.
pub const CONTAINER_EMPTY_MS: u64 = 60_000;
/// ZooKeeper's longest TTL, in milliseconds.
pub const TTL_MS_MAX: u64 = 0xff_ffff_ffff;

const DATA_HASH_KEY: u64 = 0x64_61_74_61;
const NULL_HASH_KEY: u64 = 0x6e_75_6c_6c;
const PARENT_HASH_KEY: u64 = 0x70_61_72_65;

/// How long a znode lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZnodeKind {
    /// Until deleted.
    Persistent,
    /// Until this session ends.
    Ephemeral(SessionId),
    /// Until its last child has been gone for a while.
    Container {
        /// When the last child went; milliseconds since 1970.
        emptied_ms: u64,
    },
    /// Until unchanged and childless for so long, in milliseconds.
    Ttl(u64),
}

impl ZnodeKind {
    pub(crate) fn write(self, writer: &mut LayoutWriter) {
        let (tag, number) = match self {
            ZnodeKind::Persistent => (0, 0),
            ZnodeKind::Ephemeral(owner) => (1, owner.0),
            ZnodeKind::Container { emptied_ms } => (2, emptied_ms),
            ZnodeKind::Ttl(ttl_ms) => (3, ttl_ms),
        };
        writer.u8(tag);
        writer.u64(number);
    }

    pub(crate) fn read(reader: &mut LayoutReader<'_>) -> Result<ZnodeKind, LayoutError> {
        let tag = reader.u8("znode kind")?;
        let number = reader.u64("znode kind")?;
        match tag {
            0 if number == 0 => Ok(ZnodeKind::Persistent),
            1 => Ok(ZnodeKind::Ephemeral(SessionId(number))),
            2 => Ok(ZnodeKind::Container { emptied_ms: number }),
            3 => Ok(ZnodeKind::Ttl(number)),
            _ => Err(LayoutError::Invalid { field: "znode kind" }),
        }
    }
}

/// A znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Znode {
    pub(crate) data: ZnodeData,
    pub(crate) data_hash: u64,
    /// `None`: everything for everyone.
    pub(crate) acl: Option<Arc<Vec<AclEntry>>>,
    pub(crate) czxid: Zxid,
    pub(crate) mzxid: Zxid,
    pub(crate) pzxid: Zxid,
    pub(crate) ctime_ms: u64,
    pub(crate) mtime_ms: u64,
    pub(crate) version: i32,
    pub(crate) aversion: i32,
    /// Children ever created: what ZooKeeper stores as cversion and numbers sequential names by.
    pub(crate) children_created: i32,
    pub(crate) children_count: u32,
    pub(crate) kind: ZnodeKind,
}

impl Znode {
    /// One that was there before all transactions, with so many children like it.
    pub(crate) fn new_system(children_count: u32) -> Znode {
        Znode {
            data: ZnodeData::EMPTY,
            data_hash: hash_data(&ZnodeData::EMPTY),
            acl: None,
            czxid: Zxid(0),
            mzxid: Zxid(0),
            pzxid: Zxid(0),
            ctime_ms: 0,
            mtime_ms: 0,
            version: 0,
            aversion: 0,
            children_created: 0,
            children_count,
            kind: ZnodeKind::Persistent,
        }
    }

    pub(crate) fn owner(&self) -> Option<SessionId> {
        match self.kind {
            ZnodeKind::Ephemeral(owner) => Some(owner),
            ZnodeKind::Persistent | ZnodeKind::Container { .. } | ZnodeKind::Ttl(_) => None,
        }
    }

    /// When the znode is deleted if nothing happens to it.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        match self.kind {
            _ if self.children_count > 0 => None,
            ZnodeKind::Ttl(ttl_ms) => Some(self.mtime_ms.saturating_add(ttl_ms)),
            ZnodeKind::Container { emptied_ms } if self.children_created > 0 => {
                Some(emptied_ms.saturating_add(CONTAINER_EMPTY_MS))
            }
            ZnodeKind::Persistent | ZnodeKind::Ephemeral(_) | ZnodeKind::Container { .. } => None,
        }
    }

    /// The stat a client sees. The cversion is creations plus deletions of children, which
    /// ZooKeeper computes from the creations and the present count.
    pub(crate) fn stat(&self) -> Stat {
        let created = i64::from(self.children_created);
        let changes = created * 2 - i64::from(self.children_count);
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            pzxid: self.pzxid,
            ctime_ms: self.ctime_ms,
            mtime_ms: self.mtime_ms,
            version: self.version,
            cversion: i32::try_from(changes).unwrap_or(i32::MAX),
            aversion: self.aversion,
            ephemeral_owner: self.owner(),
            data_length: u32::try_from(self.data.len()).unwrap_or(u32::MAX),
            children_count: self.children_count,
        }
    }

    fn write_but_data(&self, writer: &mut LayoutWriter) {
        writer.option(self.acl.as_deref(), |writer, acl| codec::write_acl(writer, acl));
        writer.u64(self.czxid.0);
        writer.u64(self.mzxid.0);
        writer.u64(self.pzxid.0);
        writer.u64(self.ctime_ms);
        writer.u64(self.mtime_ms);
        writer.i32(self.version);
        writer.i32(self.aversion);
        writer.i32(self.children_created);
        writer.u32(self.children_count);
        self.kind.write(writer);
    }

    pub(crate) fn write(&self, writer: &mut LayoutWriter) {
        self.data.write(writer);
        self.write_but_data(writer);
    }

    /// As [`Znode::write`], with the hash of the data in its place.
    pub(crate) fn write_for_digest(&self, writer: &mut LayoutWriter) {
        writer.u64(self.data_hash);
        self.write_but_data(writer);
    }

    pub(crate) fn read(reader: &mut LayoutReader<'_>) -> Result<Znode, LayoutError> {
        let data = ZnodeData::read(reader)?;
        Ok(Znode {
            data_hash: hash_data(&data),
            data,
            acl: reader.option("acl", codec::read_acl)?.map(Arc::new),
            czxid: Zxid(reader.u64("czxid")?),
            mzxid: Zxid(reader.u64("mzxid")?),
            pzxid: Zxid(reader.u64("pzxid")?),
            ctime_ms: reader.u64("ctime_ms")?,
            mtime_ms: reader.u64("mtime_ms")?,
            version: reader.i32("version")?,
            aversion: reader.i32("aversion")?,
            children_created: reader.i32("children_created")?,
            children_count: reader.u32("children_count")?,
            kind: ZnodeKind::read(reader)?,
        })
    }
}

pub(crate) fn hash_data(data: &ZnodeData) -> u64 {
    let key = if data.is_null() { NULL_HASH_KEY } else { DATA_HASH_KEY };
    digest::hash_bytes(key, data)
}

/// A path ordered by a hash of the parent, then name: the children of a znode follow one another in
/// order of name, and most comparisons need only the numbers kept here, not the text elsewhere in
/// memory. Children of two parents with one hash are mixed: whoever walks children goes on while
/// [`TreeKey::may_be_beside`] says so, and passes over what is no child.
#[derive(Clone)]
pub(crate) struct TreeKey {
    parent_hash: u64,
    /// The first 16 bytes of the name, zero-padded, as numbers that compare as names do: enough to
    /// tell sequential names apart.
    name_start: (u64, u64),
    path: ZnodePath,
    /// Where the name begins; the parent's text ends before the slash in front of it.
    name_at: u32,
}

impl TreeKey {
    pub(crate) fn of(path: &ZnodePath) -> TreeKey {
        let name_at = path.as_str().rfind('/').map_or(0, |slash| slash + 1);
        TreeKey::cut(path, name_at)
    }

    /// What comes before every child of `parent` and is none of them.
    pub(crate) fn before_children(parent: &ZnodePath) -> TreeKey {
        match parent.is_root() {
            true => TreeKey::of(parent),
            false => TreeKey::cut(parent, parent.as_str().len() + 1),
        }
    }

    fn cut(path: &ZnodePath, name_at: usize) -> TreeKey {
        let (parent, name) = parts(path, name_at);
        let mut start = [0; 16];
        for (to, from) in start.iter_mut().zip(name) {
            *to = *from;
        }
        let start = u128::from_be_bytes(start);
        let low = u64::try_from(start & u128::from(u64::MAX)).expect("masked to 64 bits");
        let high = u64::try_from(start >> 64).expect("shifted to 64 bits");
        TreeKey {
            parent_hash: digest::hash_bytes(PARENT_HASH_KEY, parent),
            name_start: (high, low),
            name_at: u32::try_from(name_at).expect("paths are short"),
            path: path.clone(),
        }
    }

    pub(crate) fn path(&self) -> &ZnodePath {
        &self.path
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        parts(&self.path, self.name_at as usize)
    }

    pub(crate) fn name(&self) -> &str {
        self.path.name()
    }

    /// Whether the parents may be the same; false once a walk has left a parent's children.
    pub(crate) fn may_be_beside(&self, other: &TreeKey) -> bool {
        self.parent_hash == other.parent_hash
    }

    /// Whether this is a child of `parent`.
    pub(crate) fn is_child_of(&self, parent: &ZnodePath) -> bool {
        let text = if parent.is_root() { "" } else { parent.as_str() };
        let (own_parent, name) = self.parts();
        own_parent == text.as_bytes() && !name.is_empty()
    }
}

/// The parent's text, empty for the root's, and the name.
fn parts(path: &ZnodePath, name_at: usize) -> (&[u8], &[u8]) {
    let text = path.as_str().as_bytes();
    match text.split_at_checked(name_at) {
        Some((parent, name)) => (parent.split_last().map_or(parent, |(_, rest)| rest), name),
        None => (text, &[]),
    }
}

impl PartialEq for TreeKey {
    fn eq(&self, other: &TreeKey) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for TreeKey {}

impl Ord for TreeKey {
    fn cmp(&self, other: &TreeKey) -> Ordering {
        let numbers = (self.parent_hash, self.name_start);
        numbers.cmp(&(other.parent_hash, other.name_start)).then_with(|| {
            let ((parent, name), (other_parent, other_name)) = (self.parts(), other.parts());
            name.cmp(other_name).then_with(|| parent.cmp(other_parent))
        })
    }
}

impl PartialOrd for TreeKey {
    fn partial_cmp(&self, other: &TreeKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl core::fmt::Debug for TreeKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(&self.path, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> TreeKey {
        TreeKey::of(&ZnodePath::parse(text).unwrap())
    }

    #[test]
    fn children_follow_one_another_in_order_of_name() {
        let names = ["a", "a-long-name-1", "a-long-name-2", "a-long-nam", "b", "b-x", "bx", "é"];
        let mut keys: Vec<TreeKey> = Vec::new();
        for parent in ["", "/a", "/a/b"] {
            keys.extend(names.iter().map(|name| key(&alloc::format!("{parent}/{name}"))));
        }
        keys.sort();
        for parent in ["/", "/a", "/a/b"].map(|text| ZnodePath::parse(text).unwrap()) {
            let from = TreeKey::before_children(&parent);
            let at = keys.iter().position(|key| *key > from && key.is_child_of(&parent)).unwrap();
            let found = keys[at..].iter().take_while(|key| key.may_be_beside(&from));
            let found: Vec<&str> = found.map(TreeKey::name).collect();
            let mut sorted = names;
            sorted.sort_unstable();
            assert_eq!(found, sorted, "{parent}");
            assert!(at == 0 || !keys[at - 1].is_child_of(&parent));
        }
        assert!(!key("/").is_child_of(&ZnodePath::root()));
        assert!(!key("/a/b/c").is_child_of(&ZnodePath::parse("/a").unwrap()));
    }

    #[test]
    fn children_of_parents_with_one_hash_keep_their_order() {
        let collide = |text: &str| TreeKey { parent_hash: 1, ..key(text) };
        let mut keys = ["/a/x", "/b/w", "/a/w", "/b/x", "/a/v", "/b/y"].map(collide);
        keys.sort();
        let parent = ZnodePath::parse("/a").unwrap();
        let found = keys.iter().filter(|key| key.is_child_of(&parent)).map(TreeKey::name);
        assert!(found.eq(["v", "w", "x"]));
    }

    #[test]
    fn creations_and_deletions_of_children_both_count_in_the_cversion() {
        let mut znode = Znode::new_system(0);
        znode.children_created = 5;
        znode.children_count = 2;
        assert_eq!(znode.stat().cversion, 8);
        znode.children_created = i32::MAX;
        assert_eq!(znode.stat().cversion, i32::MAX);
    }

    #[test]
    fn only_empty_used_containers_and_childless_ttl_znodes_are_due() {
        let mut znode = Znode::new_system(0);
        znode.kind = ZnodeKind::Container { emptied_ms: 5 };
        assert_eq!(znode.due_ms(), None);
        znode.children_created = 1;
        assert_eq!(znode.due_ms(), Some(5 + CONTAINER_EMPTY_MS));
        znode.children_count = 1;
        assert_eq!(znode.due_ms(), None);
        znode.kind = ZnodeKind::Ttl(7);
        assert_eq!(znode.due_ms(), None);
        znode.children_count = 0;
        znode.mtime_ms = 3;
        assert_eq!(znode.due_ms(), Some(10));
    }
}
