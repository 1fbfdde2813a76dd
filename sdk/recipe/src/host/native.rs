//! An in-memory world as host, so that recipes run without Wasm.
//!
//! Comes in: the same calls the server gets. Goes out: the answers the server would give.
//! Invariant: a world is there only while a run is on, on the thread of that run; two runs on equal
//! worlds leave equal worlds unless the recipe is not deterministic.
//! Must never: use a clock, entropy or a randomly ordered map.

use crate::contract::OperationKind;
use crate::failure::{Failure, TreeError};
use crate::object::{Child, Level, Session, SessionId, Stat};
use crate::ticket::TicketId;
use quorate_recipe_scenario::MOUNT_PATH;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// One znode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Znode {
    pub(crate) data: Vec<u8>,
    pub(crate) owner: Option<SessionId>,
    pub(crate) created: u64,
    pub(crate) modified: u64,
    pub(crate) version: i32,
    /// The number of the next sequential child.
    next_sequence: u32,
}

/// One parked call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParkedCall {
    pub(crate) object: String,
    pub(crate) session: SessionId,
    pub(crate) deadline_ms: Option<u64>,
}

/// What the run may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunScope {
    pub(crate) object: String,
    pub(crate) caller: Option<(SessionId, OperationKind)>,
    /// The session that is ending in this run.
    pub(crate) ending: Option<SessionId>,
    pub(crate) parked: Option<TicketId>,
    next_ordinal: u64,
}

/// Everything one mount can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) config: Vec<u8>,
    /// By path relative to the mount, which itself is `""`.
    pub(crate) znodes: BTreeMap<String, Znode>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) tickets: BTreeMap<TicketId, ParkedCall>,
    /// What was pushed to parked calls and not fetched yet, in the order of the answers.
    pub(crate) answers: Vec<(TicketId, Result<Vec<u8>, Failure>)>,
    /// By object and name.
    pub(crate) timers: BTreeMap<(String, String), u64>,
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) now_ms: u64,
    /// The number of the next transaction, which is what a run becomes that may change something.
    pub(crate) zxid: u64,
    /// When the last transaction was made.
    pub(crate) stamped_ms: u64,
    /// Runs of the transaction that is being made: part of each run's seed.
    pub(crate) runs: u64,
    pub(crate) scope: RunScope,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Lets `run` act on `world`; gives both what it came to and the world after it.
pub(crate) fn with_world<T>(world: World, run: impl FnOnce() -> T) -> (T, World) {
    WORLD.with(|slot| {
        let before = slot.borrow_mut().replace(world);
        assert!(before.is_none(), "a run within a run");
    });
    let result = run();
    let world = WORLD.with(|slot| slot.borrow_mut().take());
    (result, world.expect("the world stays for the run"))
}

/// Empties the slot that a run left when it panicked.
pub(crate) fn forget_world() {
    WORLD.with(|slot| slot.borrow_mut().take());
}

fn on_world<T>(act: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with(|slot| {
        let mut slot = slot.borrow_mut();
        let world = slot.as_mut().expect("the tree is there only while the recipe runs");
        act(world)
    })
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// As the server: no empty segment, none that is a dot or two, none of ZooKeeper's forbidden
/// characters.
pub(crate) fn check_path(path: &str) -> Result<(), TreeError> {
    let is_forbidden = |character: char| {
        character.is_control()
            || matches!(character, '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
    };
    let is_bad = |segment: &str| {
        segment.is_empty() || segment == "." || segment == ".." || segment.chars().any(is_forbidden)
    };
    if !path.is_empty() && path.split('/').any(is_bad) {
        return Err(TreeError::BadPath);
    }
    Ok(())
}

impl World {
    fn child_names(&self, path: &str) -> BTreeSet<&str> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let below = self.znodes.keys().filter_map(|key| key.strip_prefix(&prefix));
        below.filter(|rest| !rest.is_empty() && !rest.contains('/')).collect()
    }

    fn stat(&self, path: &str, znode: &Znode) -> Stat {
        Stat {
            created: znode.created,
            modified: znode.modified,
            version: znode.version,
            owner: znode.owner,
            children: u32::try_from(self.child_names(path).len()).unwrap_or(u32::MAX),
        }
    }

    fn is_query(&self) -> bool {
        matches!(self.scope.caller, Some((_, OperationKind::Query)))
    }

    fn writable(&self) -> Result<(), TreeError> {
        if self.is_query() { Err(TreeError::ReadOnly) } else { Ok(()) }
    }

    /// Number and time of the run: those of the transaction it becomes. A query becomes none and
    /// sees what the last one left, its time too.
    fn stamp(&self) -> (u64, u64) {
        if self.is_query() { (self.zxid - 1, self.stamped_ms) } else { (self.zxid, self.now_ms) }
    }

    /// A query that changes what has no error to give traps.
    fn assert_writable(&self, what: &str) {
        assert!(self.writable().is_ok(), "a query cannot {what}: make it a #[command]");
    }

    pub(crate) fn is_live(&self, session: SessionId) -> bool {
        self.scope.ending != Some(session) && self.sessions.contains_key(&session)
    }

    pub(crate) fn create(
        &mut self,
        path: &str,
        data: &[u8],
        owner: Option<SessionId>,
    ) -> Result<(), TreeError> {
        check_path(path)?;
        if path.is_empty() {
            return Err(TreeError::NodeExists);
        }
        self.writable()?;
        let parent = self.znodes.get(parent_of(path)).ok_or(TreeError::NoNode)?;
        if self.znodes.contains_key(path) {
            return Err(TreeError::NodeExists);
        }
        if parent.owner.is_some() {
            return Err(TreeError::NoChildrenForEphemerals);
        }
        if owner.is_some_and(|owner| !self.is_live(owner)) {
            return Err(TreeError::NoSession);
        }
        let parent = self.znodes.get_mut(parent_of(path)).ok_or(TreeError::NoNode)?;
        parent.next_sequence += 1;
        let (created, modified) = (self.zxid, self.zxid);
        let znode =
            Znode { data: data.to_vec(), owner, created, modified, version: 0, next_sequence: 0 };
        self.znodes.insert(path.into(), znode);
        Ok(())
    }

    /// Gives the name.
    pub(crate) fn create_sequential(
        &mut self,
        prefix: &str,
        data: &[u8],
        owner: Option<SessionId>,
    ) -> Result<String, TreeError> {
        check_path(parent_of(prefix))?;
        let parent = self.znodes.get(parent_of(prefix)).ok_or(TreeError::NoNode)?;
        let path = format!("{prefix}{:010}", parent.next_sequence);
        self.create(&path, data, owner)?;
        Ok(name_of(&path).to_owned())
    }

    fn check_version(&self, path: &str, expected: Option<i32>) -> Result<(), TreeError> {
        self.writable()?;
        check_path(path)?;
        let znode = self.znodes.get(path).ok_or(TreeError::NoNode)?;
        match expected {
            Some(expected) if expected != znode.version => {
                Err(TreeError::BadVersion(znode.version))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn delete(&mut self, path: &str, expected: Option<i32>) -> Result<(), TreeError> {
        if path.is_empty() {
            self.writable()?;
            return Err(TreeError::BadPath);
        }
        self.check_version(path, expected)?;
        if !self.child_names(path).is_empty() {
            return Err(TreeError::NotEmpty);
        }
        self.znodes.remove(path);
        Ok(())
    }

    /// Objects without children, data, parked calls and timers go at the end of a run.
    pub(crate) fn reap(&mut self) {
        let objects: Vec<String> = self.child_names("").iter().map(ToString::to_string).collect();
        for object in objects {
            if self.is_empty_object(&object) {
                self.znodes.remove(&object);
            }
        }
    }

    fn is_empty_object(&self, object: &str) -> bool {
        let Some(znode) = self.znodes.get(object) else { return false };
        znode.data.is_empty()
            && znode.owner.is_none()
            && self.child_names(object).is_empty()
            && self.tickets.values().all(|parked| parked.object != object)
            && self.timers.keys().all(|(owner, _)| owner != object)
    }
}

pub(crate) fn mount_path() -> String {
    MOUNT_PATH.into()
}

pub(crate) fn mount_config() -> Vec<u8> {
    on_world(|world| world.config.clone())
}

pub(crate) fn get(path: &str) -> Option<(Vec<u8>, Stat)> {
    on_world(|world| {
        let znode = world.znodes.get(path)?;
        Some((znode.data.clone(), world.stat(path, znode)))
    })
}

pub(crate) fn exists(path: &str) -> bool {
    on_world(|world| world.znodes.contains_key(path))
}

pub(crate) fn count(path: &str) -> Result<u32, TreeError> {
    check_path(path)?;
    get(path).map(|(_, stat)| stat.children).ok_or(TreeError::NoNode)
}

pub(crate) fn scan(path: &str, after: Option<&str>, limit: u32) -> Result<Vec<Child>, TreeError> {
    check_path(path)?;
    on_world(|world| {
        if !world.znodes.contains_key(path) {
            return Err(TreeError::NoNode);
        }
        after.map_or(Ok(()), check_path)?;
        let names = world.child_names(path).into_iter();
        let wanted = names.filter(|name| after.is_none_or(|after| *name > after));
        let named = |name: &str| {
            let key = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            let znode = &world.znodes[&key];
            let (stat, data) = (world.stat(&key, znode), znode.data.clone());
            Child { name: name.to_owned(), stat, data }
        };
        Ok(wanted.take(limit as usize).map(named).collect())
    })
}

pub(crate) fn create(path: &str, data: &[u8], owner: Option<SessionId>) -> Result<(), TreeError> {
    on_world(|world| world.create(path, data, owner))
}

pub(crate) fn create_sequential(
    prefix: &str,
    data: &[u8],
    owner: Option<SessionId>,
) -> Result<String, TreeError> {
    on_world(|world| world.create_sequential(prefix, data, owner))
}

pub(crate) fn set(path: &str, data: &[u8], expected: Option<i32>) -> Result<i32, TreeError> {
    on_world(|world| {
        world.check_version(path, expected)?;
        let zxid = world.zxid;
        let znode = world.znodes.get_mut(path).ok_or(TreeError::NoNode)?;
        znode.data = data.to_vec();
        znode.modified = zxid;
        znode.version = znode.version.wrapping_add(1);
        Ok(znode.version)
    })
}

pub(crate) fn delete(path: &str, expected: Option<i32>) -> Result<(), TreeError> {
    on_world(|world| world.delete(path, expected))
}

pub(crate) fn find_session(id: SessionId) -> Option<Session> {
    on_world(|world| world.is_live(id).then(|| world.sessions[&id].clone()))
}

pub(crate) fn now_ms() -> u64 {
    on_world(|world| world.stamp().1)
}

pub(crate) fn zxid() -> u64 {
    on_world(|world| world.stamp().0)
}

/// As the server makes it of number, run and time, so that a recipe draws the same here.
pub(crate) fn seed() -> (u64, u64) {
    let fold = |left: u64, right: u64| {
        let product = u128::from(left) * u128::from(right);
        (product & u128::from(u64::MAX)) as u64 ^ (product >> 64) as u64
    };
    let mix = |left: u64, right: u64| {
        let right = right.wrapping_add(0x9e37_79b9_7f4a_7c15) | 1;
        fold(left ^ 0xd6e8_feb8_6659_fd93, right).wrapping_add(left.rotate_left(29))
    };
    let ((zxid, now_ms), runs) = on_world(|world| (world.stamp(), world.runs));
    let base = mix(mix(zxid, runs), now_ms);
    (mix(base, 1), mix(base, 2))
}

pub(crate) fn park(deadline_ms: Option<u64>) -> TicketId {
    on_world(|world| {
        world.assert_writable("park");
        let session = world.scope.caller.map(|(session, _)| session);
        let session = session.expect("only a call has a caller to park");
        assert!(world.scope.parked.is_none(), "a call parks once");
        let ticket = TicketId(world.zxid << 16 | world.scope.next_ordinal);
        world.scope.next_ordinal += 1;
        world.scope.parked = Some(ticket);
        let object = world.scope.object.clone();
        world.tickets.insert(ticket, ParkedCall { object, session, deadline_ms });
        ticket
    })
}

pub(crate) fn complete(ticket: TicketId, outcome: Result<Vec<u8>, Failure>) -> bool {
    on_world(|world| {
        world.assert_writable("complete a ticket");
        let Some(parked) = world.tickets.get(&ticket) else { return false };
        if !world.is_live(parked.session) {
            return false;
        }
        world.tickets.remove(&ticket);
        world.answers.push((ticket, outcome));
        true
    })
}

pub(crate) fn timer_set(name: &str, at_ms: u64) {
    on_world(|world| {
        world.assert_writable("set a timer");
        let key = (world.scope.object.clone(), name.to_owned());
        // As the server: a handler that sets its own timer to now must not fire without end.
        world.timers.insert(key, at_ms.max(world.now_ms.saturating_add(1)));
    });
}

pub(crate) fn timer_cancel(name: &str) -> bool {
    on_world(|world| {
        world.assert_writable("cancel a timer");
        let key = (world.scope.object.clone(), name.to_owned());
        world.timers.remove(&key).is_some()
    })
}

pub(crate) fn log(level: Level, message: &str) {
    on_world(|world| world.log.push((level, message.to_owned())));
}
