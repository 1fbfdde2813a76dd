//! What a running recipe sees: the znodes below its mount, sessions, the clock, tickets, timers.
//!
//! Comes in: what host functions are asked, with paths relative to the mount. Goes out: answers,
//! and changes made at once to the outstanding state, to be undone by whoever started the run.
//! Invariant: nothing outside the mount exists here; every limit of a call is counted here. Must
//! never: let a query change anything.

use crate::change::{AclSource, Change};
use crate::digest;
use crate::executor::{RecipeEnd, RecipeFailure, RecipeFault, RecipeFaultKind};
use crate::items::{Mount, TimerKey};
use crate::prepare::{Work, refusal_of_failure, sequential_path};
use crate::tables::{Sessions, State, Tickets, Timers, Znodes};
use crate::znode::{TreeKey, Znode, ZnodeKind};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::recipe::RecipeLimits;
use quorate_types::{Reply, SessionId, TicketId, ZnodeData, ZnodePath, Zxid};

/// Mirrors the contract's `tree-error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeError {
    /// There is no such znode.
    NoNode,
    /// The znode is there already.
    NodeExists,
    /// The znode has children.
    NotEmpty,
    /// The version the znode has.
    BadVersion(i32),
    /// The path is none, or leaves the mount.
    BadPath,
    /// The owner given is no live session.
    NoSession,
    /// An ephemeral znode cannot have children.
    NoChildrenForEphemerals,
    /// A query tried to change something.
    ReadOnly,
    /// Anything else.
    Other(String),
}

/// Why a host function did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewError {
    /// Told to the recipe. Where the contract gives the function no error, it is a trap.
    Tree(TreeError),
    /// A limit of the call is passed: the run ends with [`RecipeFaultKind::OverLimit`].
    OverLimit(String),
    /// The recipe broke the contract: the run ends with [`RecipeFaultKind::Trap`].
    Misuse(String),
}

impl From<TreeError> for ViewError {
    fn from(error: TreeError) -> ViewError {
        ViewError::Tree(error)
    }
}

/// A znode's stat as recipes see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewStat {
    /// The transaction that created the znode.
    pub created: Zxid,
    /// The transaction that last set its data.
    pub modified: Zxid,
    /// Counts settings of the data.
    pub version: i32,
    /// The session whose end deletes it.
    pub owner: Option<SessionId>,
    /// Number of children.
    pub children: u32,
}

/// A znode as recipes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewZnode {
    /// Its data.
    pub data: Bytes,
    /// What else is known of it.
    pub stat: ViewStat,
}

/// A child as recipes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedZnode {
    /// Its name within the parent.
    pub name: String,
    /// Its data.
    pub data: Bytes,
    /// What else is known of it.
    pub stat: ViewStat,
}

/// A session as recipes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// Which.
    pub session: SessionId,
    /// Whose.
    pub identity: String,
    /// Granted, in milliseconds.
    pub timeout_ms: u32,
}

/// As in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For the recipe's author.
    Debug,
    /// Worth knowing.
    Info,
    /// May need a look.
    Warn,
    /// Needs a look.
    Error,
}

/// One line that a recipe logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// By the recipe mounted here.
    pub mount: ZnodePath,
    /// How much it matters.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// What a run may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViewMode {
    /// Everything, and park its caller.
    Command { session: SessionId, sequence: u64 },
    /// Everything but park.
    Event,
    /// Read.
    Query,
}

/// Bytes counted for each znode read, besides its name and data.
const READ_FIXED_BYTES: usize = 32;
/// Bytes counted for each entry that a scan passes over: znodes deleted in outstanding transactions
/// are in its way, and a recipe can make a thousand of them and scan without end.
const PASSED_BYTES: usize = 4;
/// Bytes counted for each line logged, besides its text: it is written with its time and mount.
const LINE_FIXED_BYTES: usize = 64;

#[derive(Default)]
struct Used {
    changes: u32,
    written_bytes: usize,
    read_bytes: usize,
    log_bytes: usize,
    tickets: u32,
    /// Timers of the object, once they were counted.
    object_timers: Option<usize>,
}

/// What a running recipe sees.
pub struct RecipeView<'a> {
    work: &'a mut Work,
    mount_path: &'a ZnodePath,
    mount: &'a Mount,
    object: &'a str,
    mode: ViewMode,
    limits: RecipeLimits,
    used: Used,
    parked: Option<TicketId>,
    /// The first limit passed or rule broken: the run cannot end well any more.
    broken: Option<(RecipeFaultKind, String)>,
}

impl<'a> RecipeView<'a> {
    pub(crate) fn new(
        work: &'a mut Work,
        (mount_path, mount): (&'a ZnodePath, &'a Mount),
        (object, mode): (&'a str, ViewMode),
        limits: RecipeLimits,
    ) -> RecipeView<'a> {
        let (used, parked, broken) = (Used::default(), None, None);
        RecipeView { work, mount_path, mount, object, mode, limits, used, parked, broken }
    }

    /// Holds the end of a run against what it did here.
    pub(crate) fn judge(
        self,
        end: Result<RecipeEnd, RecipeFault>,
    ) -> Result<RecipeEnd, RecipeFault> {
        let end = end?;
        let fault = |kind, message| Err(RecipeFault { kind, message, fuel_used: 0 });
        if let Some((kind, message)) = self.broken {
            return fault(kind, message);
        }
        match (&end, self.parked) {
            (RecipeEnd::Parked(ticket), Some(parked)) if *ticket == parked => Ok(end),
            (RecipeEnd::Parked(_), _) => {
                fault(RecipeFaultKind::Trap, String::from("answered with a ticket not its own"))
            }
            (RecipeEnd::Done(_) | RecipeEnd::Handled, Some(_)) => {
                fault(RecipeFaultKind::Trap, String::from("answered a caller that it parked"))
            }
            _ => Ok(end),
        }
    }
}

impl RecipeView<'_> {
    /// The mount's absolute path.
    #[must_use]
    pub fn mount_path(&self) -> &ZnodePath {
        self.mount_path
    }

    /// The configuration given at mount: CBOR.
    #[must_use]
    pub fn config(&self) -> Bytes {
        self.mount.config.clone()
    }

    /// A znode; `None` also when the path is none.
    ///
    /// # Errors
    /// Over the limit of bytes read.
    pub fn get(&mut self, path: &str) -> Result<Option<ViewZnode>, ViewError> {
        let Ok(path) = self.full(path) else { return Ok(None) };
        let Some(znode) = self.work.state.znode(&path) else { return Ok(None) };
        self.charge_read(znode.data.len())?;
        Ok(Some(ViewZnode { data: znode.data.to_bytes(), stat: stat_of(&znode) }))
    }

    /// Whether a znode is there.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.full(path).is_ok_and(|path| self.work.state.has::<Znodes>(&TreeKey::of(&path)))
    }

    /// Number of children.
    ///
    /// # Errors
    /// No such znode, or the path is none.
    pub fn count(&mut self, path: &str) -> Result<u32, ViewError> {
        let path = self.full(path)?;
        Ok(self.znode(&path)?.children_count)
    }

    /// Children in order of name, only those after `after`, at most `limit`.
    ///
    /// # Errors
    /// No such znode, the path or name is none, or over the limit of bytes read.
    pub fn scan(
        &mut self,
        path: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<NamedZnode>, ViewError> {
        let path = self.full(path)?;
        self.znode(&path)?;
        let from = match after {
            None | Some("") => TreeKey::before_children(&path),
            Some(name) => TreeKey::of(&path.join(name).map_err(|_| TreeError::BadPath)?),
        };
        let limit = limit as usize;
        let budget = (self.limits.read_bytes as usize).saturating_sub(self.used.read_bytes);
        let mut found = Vec::new();
        let mut bytes = 0;
        let passed = self.work.state.scan::<Znodes>(Bound::Excluded(&from), &mut |key, znode| {
            if found.len() >= limit || bytes > budget || !key.may_be_beside(&from) {
                return false;
            }
            if !key.is_child_of(&path) {
                return true;
            }
            let name = String::from(key.name());
            bytes += READ_FIXED_BYTES + name.len() + znode.data.len();
            found.push(NamedZnode { name, data: znode.data.to_bytes(), stat: stat_of(znode) });
            true
        });
        let deleted = passed.saturating_sub(found.len());
        self.charge_read(bytes + deleted * PASSED_BYTES)?;
        Ok(found)
    }

    /// Creates a znode; with an owner it is ephemeral.
    ///
    /// # Errors
    /// As the contract's `create`, or over a limit.
    pub fn create(
        &mut self,
        path: &str,
        data: &[u8],
        owner: Option<SessionId>,
    ) -> Result<(), ViewError> {
        let path = self.full(path)?;
        if path == *self.mount_path {
            return Err(TreeError::NodeExists.into());
        }
        self.create_at(path, data, owner)
    }

    /// Creates a znode whose name is the last segment of `prefix` and a number that grows within
    /// the parent. Gives the name: one segment.
    ///
    /// # Errors
    /// As the contract's `create-sequential`, or over a limit.
    pub fn create_sequential(
        &mut self,
        prefix: &str,
        data: &[u8],
        owner: Option<SessionId>,
    ) -> Result<String, ViewError> {
        let (parent, name) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        let parent_path = self.full(parent)?;
        let parent = self.znode(&parent_path)?;
        let path = sequential_path(&parent_path, name, &parent).map_err(|_| TreeError::BadPath)?;
        let name = String::from(path.name());
        self.create_at(path, data, owner).map(|()| name)
    }

    fn create_at(
        &mut self,
        path: ZnodePath,
        data: &[u8],
        owner: Option<SessionId>,
    ) -> Result<(), ViewError> {
        self.check_writable()?;
        let parent_path = path.parent().ok_or(TreeError::BadPath)?;
        let parent = self.znode(&parent_path)?;
        if self.work.state.has::<Znodes>(&TreeKey::of(&path)) {
            return Err(TreeError::NodeExists.into());
        }
        if parent.owner().is_some() {
            return Err(TreeError::NoChildrenForEphemerals.into());
        }
        let kind = match owner {
            None => ZnodeKind::Persistent,
            Some(owner) if self.is_live(owner) => ZnodeKind::Ephemeral(owner),
            Some(_) => return Err(TreeError::NoSession.into()),
        };
        let data = self.charge_data(&path, data)?;
        self.change(Change::CreateZnode { path, data, acl: AclSource::Parent, kind })
    }

    /// Replaces data; gives the new version.
    ///
    /// # Errors
    /// As the contract's `set`, or over a limit.
    pub fn set(
        &mut self,
        path: &str,
        data: &[u8],
        expected: Option<i32>,
    ) -> Result<i32, ViewError> {
        self.check_writable()?;
        let path = self.full(path)?;
        let znode = self.znode(&path)?;
        check_version(&znode, expected)?;
        let version = crate::prepare::next_version(znode.version);
        let data = self.charge_data(&path, data)?;
        self.change(Change::SetData { path, data, version })?;
        Ok(version)
    }

    /// Deletes a childless znode.
    ///
    /// # Errors
    /// As the contract's `delete`, or over a limit.
    pub fn delete(&mut self, path: &str, expected: Option<i32>) -> Result<(), ViewError> {
        self.check_writable()?;
        let path = self.full(path)?;
        if path == *self.mount_path {
            return Err(TreeError::BadPath.into());
        }
        let znode = self.znode(&path)?;
        check_version(&znode, expected)?;
        if znode.children_count > 0 {
            return Err(TreeError::NotEmpty.into());
        }
        self.charge_data(&path, &[])?;
        self.change(Change::DeleteZnode { path })
    }

    /// A session; `None` when it has ended or is ending in this very run.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<SessionFacts> {
        if self.work.closing == Some(session) {
            return None;
        }
        let facts = self.work.state.get::<Sessions>(&session)?;
        let (identity, timeout_ms) = (facts.identity.clone(), facts.timeout_ms);
        Some(SessionFacts { session, identity, timeout_ms })
    }

    /// Milliseconds since 1970 by the leader's stamp; constant during a run.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.work.stamp.time_ms
    }

    /// The transaction that this run becomes; for a query, the last one applied.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::TokenFromAppliedState) && self.mode != ViewMode::Query {
            return self.work.applied;
        }
        self.work.stamp.zxid
    }

    /// Differs from run to run, equal wherever this run is repeated.
    #[must_use]
    pub fn seed(&self) -> (u64, u64) {
        let run = digest::mix(self.work.stamp.zxid.0, self.work.runs);
        let base = digest::mix(run, self.work.stamp.time_ms);
        (digest::mix(base, 1), digest::mix(base, 2))
    }

    /// Parks the caller until the ticket is completed; `deadline_ms` since 1970.
    ///
    /// # Errors
    /// Misuse outside commands, or twice in a run.
    pub fn park(&mut self, deadline_ms: Option<u64>) -> Result<TicketId, ViewError> {
        let ViewMode::Command { session, sequence } = self.mode else {
            return self.misuse("only a command parks its caller");
        };
        if self.parked.is_some() {
            return self.misuse("a caller is parked once");
        }
        self.charge_ticket()?;
        let ticket = TicketId::of(self.work.stamp.zxid, self.work.tickets_parked);
        self.work.tickets_parked += 1;
        self.parked = Some(ticket);
        let (mount, object) = (self.mount_path.clone(), String::from(self.object));
        self.change(Change::Park { ticket, session, sequence, mount, object, deadline_ms })?;
        Ok(ticket)
    }

    /// Answers a parked caller. False: it has gone, take the next one.
    ///
    /// # Errors
    /// Misuse in queries, or over a limit.
    pub fn complete(
        &mut self,
        ticket: TicketId,
        outcome: Result<Bytes, RecipeFailure>,
    ) -> Result<bool, ViewError> {
        if self.mode == ViewMode::Query {
            return self.misuse("a query cannot complete tickets");
        }
        let parked = self.work.state.get::<Tickets>(&ticket);
        let is_here = parked.is_some_and(|parked| {
            parked.mount == *self.mount_path && self.work.closing != Some(parked.session)
        });
        if !is_here {
            return Ok(false);
        }
        self.charge_ticket()?;
        let bytes = match &outcome {
            Ok(reply) => reply.len(),
            Err(failure) => failure.code.len() + failure.message.len() + failure.detail.len(),
        };
        if bytes > self.limits.reply_bytes as usize {
            return self.over(format!("a reply has at most {} bytes", self.limits.reply_bytes));
        }
        let outcome = match outcome {
            Ok(reply) => Ok(Reply::Called(Bytes::copy_from_slice(&reply))),
            Err(failure) => Err(refusal_of_failure(failure)),
        };
        self.change(Change::Complete { ticket, outcome })?;
        Ok(true)
    }

    /// Sets or moves a timer of the object. One that is due already fires a millisecond later.
    ///
    /// # Errors
    /// Misuse in queries, or over a limit.
    pub fn timer_set(&mut self, name: &str, at_ms: u64) -> Result<(), ViewError> {
        if self.mode == ViewMode::Query {
            return self.misuse("a query cannot set timers");
        }
        self.charge_written(name.len())?;
        let key = self.timer(name);
        self.check_timer_room(&key)?;
        let TimerKey { mount, object, name } = key;
        // Else a handler that sets its own timer to now would fire without end.
        let at_ms = at_ms.max(self.now_ms().saturating_add(1));
        self.change(Change::SetTimer { mount, object, name, at_ms })
    }

    /// Takes a timer of the object back; whether it was set.
    ///
    /// # Errors
    /// Misuse in queries, or over a limit.
    pub fn timer_cancel(&mut self, name: &str) -> Result<bool, ViewError> {
        if self.mode == ViewMode::Query {
            return self.misuse("a query cannot cancel timers");
        }
        let key = self.timer(name);
        if !self.work.state.has::<Timers>(&key) {
            return Ok(false);
        }
        if let Some(timers) = &mut self.used.object_timers {
            *timers = timers.saturating_sub(1);
        }
        let TimerKey { mount, object, name } = key;
        self.change(Change::CancelTimer { mount, object, name })?;
        Ok(true)
    }

    /// Logs a line, whatever becomes of the run.
    ///
    /// # Errors
    /// Over the limit of log text.
    pub fn log(&mut self, level: LogLevel, message: &str) -> Result<(), ViewError> {
        self.used.log_bytes += LINE_FIXED_BYTES + message.len();
        if self.used.log_bytes > self.limits.log_bytes as usize {
            return self.over(format!("a run logs at most {} bytes", self.limits.log_bytes));
        }
        let (mount, message) = (self.mount_path.clone(), String::from(message));
        self.work.log.push(LogLine { mount, level, message });
        Ok(())
    }

    fn full(&self, relative: &str) -> Result<ZnodePath, TreeError> {
        self.mount_path.join(relative).map_err(|_| TreeError::BadPath)
    }

    fn znode(&self, path: &ZnodePath) -> Result<Arc<Znode>, TreeError> {
        self.work.state.znode(path).ok_or(TreeError::NoNode)
    }

    fn timer(&self, name: &str) -> TimerKey {
        let (mount, object) = (self.mount_path.clone(), String::from(self.object));
        TimerKey { mount, object, name: String::from(name) }
    }

    /// A handler may set two timers for every one that fires. Those of the object are counted only
    /// when there are many at all, and once in a run.
    fn check_timer_room(&mut self, key: &TimerKey) -> Result<(), ViewError> {
        let max = self.work.limits.object_timers_max;
        let few = self.work.count_at_most::<Timers>() < max as usize;
        if few || self.work.state.has::<Timers>(key) {
            return Ok(());
        }
        let counted = self.used.object_timers;
        let timers =
            counted.unwrap_or_else(|| self.work.timers_of(&key.mount, Some(&key.object)).len());
        if timers >= max as usize {
            return self.over(format!("an object has at most {max} timers"));
        }
        self.used.object_timers = Some(timers + 1);
        Ok(())
    }

    fn is_live(&self, session: SessionId) -> bool {
        self.work.closing != Some(session) && self.work.state.has::<Sessions>(&session)
    }

    fn check_writable(&self) -> Result<(), ViewError> {
        match self.mode {
            ViewMode::Query => Err(TreeError::ReadOnly.into()),
            ViewMode::Command { .. } | ViewMode::Event => Ok(()),
        }
    }

    fn change(&mut self, change: Change) -> Result<(), ViewError> {
        self.used.changes += 1;
        if self.used.changes > self.limits.changes {
            return self.over(format!("a run makes at most {} changes", self.limits.changes));
        }
        if let Change::CreateZnode { path, .. }
        | Change::DeleteZnode { path }
        | Change::SetData { path, .. } = &change
        {
            self.touch(path);
        }
        self.work.change(change);
        Ok(())
    }

    /// Remembers the object of a path, should it be empty at the end.
    fn touch(&mut self, path: &ZnodePath) {
        let relative = path.relative_to(self.mount_path).unwrap_or("");
        let object = relative.split('/').next().unwrap_or("");
        if object != self.object {
            self.work.touched.insert((self.mount_path.clone(), String::from(object)));
        }
    }

    fn charge_read(&mut self, bytes: usize) -> Result<(), ViewError> {
        self.used.read_bytes += READ_FIXED_BYTES + bytes;
        if self.used.read_bytes > self.limits.read_bytes as usize {
            return self.over(format!("a run reads at most {} bytes", self.limits.read_bytes));
        }
        Ok(())
    }

    fn charge_written(&mut self, bytes: usize) -> Result<(), ViewError> {
        self.used.written_bytes += bytes;
        if self.used.written_bytes > self.limits.written_bytes as usize {
            return self.over(format!("a run writes at most {} bytes", self.limits.written_bytes));
        }
        Ok(())
    }

    fn charge_data(&mut self, path: &ZnodePath, data: &[u8]) -> Result<ZnodeData, ViewError> {
        let max = self.work.limits.znode_data_bytes_max;
        if data.len() > max as usize {
            return self.over(format!("a znode holds at most {max} bytes"));
        }
        self.charge_written(path.as_str().len() + data.len())?;
        Ok(Bytes::copy_from_slice(data).into())
    }

    fn charge_ticket(&mut self) -> Result<(), ViewError> {
        self.used.tickets += 1;
        if self.used.tickets > self.limits.tickets {
            return self.over(format!("a run uses at most {} tickets", self.limits.tickets));
        }
        Ok(())
    }

    fn over<T>(&mut self, message: String) -> Result<T, ViewError> {
        self.broken.get_or_insert((RecipeFaultKind::OverLimit, message.clone()));
        Err(ViewError::OverLimit(message))
    }

    fn misuse<T>(&mut self, message: &str) -> Result<T, ViewError> {
        let message = String::from(message);
        self.broken.get_or_insert((RecipeFaultKind::Trap, message.clone()));
        Err(ViewError::Misuse(message))
    }
}

fn check_version(znode: &Znode, expected: Option<i32>) -> Result<(), ViewError> {
    match expected {
        Some(expected) if expected != znode.version => {
            Err(TreeError::BadVersion(znode.version).into())
        }
        Some(_) | None => Ok(()),
    }
}

fn stat_of(znode: &Znode) -> ViewStat {
    ViewStat {
        created: znode.czxid,
        modified: znode.mzxid,
        version: znode.version,
        owner: znode.owner(),
        children: znode.children_count,
    }
}
