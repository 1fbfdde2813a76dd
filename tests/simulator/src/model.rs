//! The replicated tree as its rules say it must be: a reference that servers are compared with.
//!
//! Sources: ZooKeeper's Programmer's Guide, and its `PrepRequestProcessor` and `DataTree` for the
//! order of errors, the arithmetic of stats and the numbers in sequential names; our
//! `runtime/docs/native-protocol.md` for reads. Comes in: operations and committed entries, in order.
//! Goes out: what each must be answered, and the tree as of any zxid, so that a read can be judged by
//! the state that it says it shows. Invariant: simple before fast; nothing is taken from the servers
//! but what is said in [`Model::follow`]. Access is not modelled: clients here give no ACL but the open one.

mod follow;
mod operations;

pub use operations::{Denial, Execution, is_tree_read, is_tree_write, same_outcome};

use quorate_types::acl::open_acl;
use quorate_types::{AclEntry, Permissions, SessionId, Stat, ZnodeData, ZnodePath, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// A transaction's number and the time it bears, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    pub zxid: Zxid,
    pub time_ms: u64,
}

/// How long a znode lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until deleted.
    Persistent,
    /// Until this session ends.
    Ephemeral(SessionId),
    /// Until it has lost its last child.
    Container,
    /// Until unchanged and childless for so many milliseconds.
    Ttl(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    pub data: ZnodeData,
    /// `None`: everything for everyone.
    pub acl: Option<Vec<AclEntry>>,
    pub lifetime: Lifetime,
    pub created: When,
    pub set: When,
    pub version: i32,
    pub aversion: i32,
    /// When a child last came or went; at first, the znode's own creation.
    pub children_changed: Zxid,
    /// Children that it ever had: numbers sequential names.
    pub children_created: i32,
    pub children: u32,
}

impl Znode {
    fn new(when: When, data: ZnodeData, acl: Option<Vec<AclEntry>>, lifetime: Lifetime) -> Znode {
        Znode {
            data,
            acl,
            lifetime,
            created: when,
            set: when,
            version: 0,
            aversion: 0,
            children_changed: when.zxid,
            children_created: 0,
            children: 0,
        }
    }

    #[must_use]
    pub fn owner(&self) -> Option<SessionId> {
        match self.lifetime {
            Lifetime::Ephemeral(owner) => Some(owner),
            Lifetime::Persistent | Lifetime::Container | Lifetime::Ttl(_) => None,
        }
    }

    /// What a client is told. The cversion counts comings and goings of children.
    #[must_use]
    pub fn stat(&self) -> Stat {
        let gone = i64::from(self.children_created) - i64::from(self.children);
        let cversion = i64::from(self.children_created) + gone;
        Stat {
            czxid: self.created.zxid,
            mzxid: self.set.zxid,
            pzxid: self.children_changed,
            ctime_ms: self.created.time_ms,
            mtime_ms: self.set.time_ms,
            version: self.version,
            cversion: i32::try_from(cversion).unwrap_or(i32::MAX),
            aversion: self.aversion,
            ephemeral_owner: self.owner(),
            data_length: u32::try_from(self.data.len()).unwrap_or(u32::MAX),
            children_count: self.children,
        }
    }
}

/// The names below one znode: those of today, and every coming and going, oldest first.
#[derive(Clone, Debug, Default)]
struct Names {
    today: BTreeSet<String>,
    log: Vec<(Zxid, String, bool)>,
}

/// The tree, today and as of every earlier zxid, and what else decides what may be done to it.
#[derive(Clone, Debug)]
pub struct Model {
    /// Every version of every znode, oldest first; `None`: it went.
    znodes: BTreeMap<ZnodePath, Vec<(Zxid, Option<Znode>)>>,
    names: BTreeMap<ZnodePath, Names>,
    ephemerals: BTreeMap<SessionId, BTreeSet<ZnodePath>>,
    sessions: BTreeSet<SessionId>,
    mounts: BTreeSet<ZnodePath>,
    now: When,
}

impl Default for Model {
    fn default() -> Model {
        let mut model = Model {
            znodes: BTreeMap::new(),
            names: BTreeMap::new(),
            ephemerals: BTreeMap::new(),
            sessions: BTreeSet::new(),
            mounts: BTreeSet::new(),
            now: When::default(),
        };
        // ZooKeeper's own, which no transaction made.
        for (path, names) in FIRST {
            let mut znode =
                Znode::new(When::default(), ZnodeData::EMPTY, None, Lifetime::Persistent);
            znode.children = u32::try_from(names.len()).expect("two at most");
            if path == CONFIG {
                let [mut entry] = <[AclEntry; 1]>::try_from(open_acl()).expect("one entry");
                entry.permissions = Permissions::READ;
                znode.acl = Some(vec![entry]);
            }
            let path = ZnodePath::parse(path).expect("a path");
            model.znodes.insert(path.clone(), vec![(Zxid(0), Some(znode))]);
            let today = names.iter().map(|name| (*name).to_owned()).collect();
            model.names.insert(path, Names { today, log: Vec::new() });
        }
        model
    }
}

const CONFIG: &str = "/zookeeper/config";
/// Its version, whatever becomes of it.
const CONFIG_VERSION: i32 = -1;
/// The znodes of a new tree, and their children.
const FIRST: [(&str, &[&str]); 4] = [
    ("/", &["zookeeper"]),
    ("/zookeeper", &["config", "quota"]),
    ("/zookeeper/quota", &[]),
    (CONFIG, &[]),
];

/// Znodes that are never deleted.
#[must_use]
fn is_first(path: &ZnodePath) -> bool {
    FIRST.iter().any(|(first, _)| path.as_str() == *first)
}

impl Model {
    /// The newest entry followed.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        self.now.zxid
    }

    /// The znode as it was after the entry `at`.
    #[must_use]
    pub fn znode(&self, path: &ZnodePath, at: Zxid) -> Option<&Znode> {
        let versions = self.znodes.get(path)?;
        let later = versions.partition_point(|(zxid, _)| *zxid <= at);
        versions.get(later.checked_sub(1)?)?.1.as_ref()
    }

    /// The names of the children as they were after the entry `at`, in order.
    #[must_use]
    pub fn children(&self, path: &ZnodePath, at: Zxid) -> BTreeSet<String> {
        let Some(names) = self.names.get(path) else { return BTreeSet::new() };
        let mut found = names.today.clone();
        for (_, name, came) in names.log.iter().rev().take_while(|(zxid, _, _)| *zxid > at) {
            if *came {
                found.remove(name);
            } else {
                found.insert(name.clone());
            }
        }
        found
    }

    /// Every znode there is today.
    pub fn tree(&self) -> impl Iterator<Item = (&ZnodePath, &Znode)> {
        self.znodes.iter().filter_map(|(path, versions)| Some((path, versions.last()?.1.as_ref()?)))
    }

    /// Whether a recipe governs the path.
    #[must_use]
    pub fn is_governed(&self, path: &ZnodePath) -> bool {
        self.mounts.iter().any(|mount| path.is_within(mount))
    }

    #[must_use]
    pub fn is_live(&self, session: SessionId) -> bool {
        self.sessions.contains(&session)
    }

    fn draft(&self, at: Zxid) -> Draft<'_> {
        Draft { model: self, at, changed: BTreeMap::new() }
    }

    fn commit(&mut self, zxid: Zxid, changed: BTreeMap<ZnodePath, Option<Znode>>) {
        for (path, after) in changed {
            let before = self.znode(&path, zxid).cloned();
            if before.is_some() != after.is_some() {
                self.note_name(zxid, &path, after.is_some());
            }
            if let Some(owner) = before.as_ref().and_then(Znode::owner) {
                self.ephemerals.entry(owner).or_default().remove(&path);
            }
            if let Some(owner) = after.as_ref().and_then(Znode::owner) {
                self.ephemerals.entry(owner).or_default().insert(path.clone());
            }
            self.znodes.entry(path).or_default().push((zxid, after));
        }
    }

    fn note_name(&mut self, zxid: Zxid, path: &ZnodePath, came: bool) {
        let parent = path.parent().expect("the root neither comes nor goes");
        let names = self.names.entry(parent).or_default();
        let name = path.name().to_owned();
        if came {
            names.today.insert(name.clone());
        } else {
            names.today.remove(&name);
        }
        names.log.push((zxid, name, came));
    }
}

/// The tree as of some zxid with changes of one transaction on top.
#[derive(Debug)]
pub struct Draft<'a> {
    model: &'a Model,
    at: Zxid,
    /// `None`: it went.
    changed: BTreeMap<ZnodePath, Option<Znode>>,
}

impl Draft<'_> {
    fn znode(&self, path: &ZnodePath) -> Option<&Znode> {
        match self.changed.get(path) {
            Some(changed) => changed.as_ref(),
            None => self.model.znode(path, self.at),
        }
    }

    /// The caller has seen that the parent is there and the path free.
    fn create(&mut self, when: When, path: &ZnodePath, znode: Znode) -> Stat {
        let mut parent = self.parent(path);
        parent.children_created = parent.children_created.saturating_add(1);
        parent.children += 1;
        self.put_parent(when, path, parent);
        let stat = znode.stat();
        self.changed.insert(path.clone(), Some(znode));
        stat
    }

    /// The caller has seen that the znode is there and has no children.
    fn delete(&mut self, when: When, path: &ZnodePath) {
        let mut parent = self.parent(path);
        parent.children -= 1;
        self.put_parent(when, path, parent);
        self.changed.insert(path.clone(), None);
    }

    /// The caller has seen that the znode is there.
    fn set(&mut self, when: When, path: &ZnodePath, data: &ZnodeData) -> Stat {
        let mut znode = self.znode(path).expect("the caller has seen it").clone();
        znode.data = data.clone();
        znode.version = next_version(znode.version);
        znode.set = when;
        let stat = znode.stat();
        self.changed.insert(path.clone(), Some(znode));
        stat
    }

    fn parent(&self, path: &ZnodePath) -> Znode {
        let parent = path.parent().expect("the root neither comes nor goes");
        self.znode(&parent).expect("the caller has seen it").clone()
    }

    fn put_parent(&mut self, when: When, path: &ZnodePath, mut parent: Znode) {
        parent.children_changed = when.zxid;
        self.changed.insert(path.parent().expect("it has one"), Some(parent));
    }
}

/// -1 stands for any version, so that no znode has it.
fn next_version(version: i32) -> i32 {
    match version.wrapping_add(1) {
        -1 => 0,
        next => next,
    }
}
