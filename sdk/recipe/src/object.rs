//! Everything a recipe can see and do.
//!
//! Comes in: typed values and paths relative to an object. Goes out: calls of the host, with CBOR
//! and paths relative to the mount.
//! Invariant: the same methods mean the same on wasm32 and in [`crate::testing`].
//!
//! [`Object`] reads and writes znodes; [`Run`] is an object within one run of the recipe: time,
//! sessions, tickets, timers; [`Call`] is a run that has a caller, who can be parked.

use crate::contract::read_config;
use crate::failure::{Failure, Result, TreeError};
use crate::ticket::{Ticket, TicketId};
use crate::{codec, host};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;

/// A client's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// Who its connection proved to be.
    pub identity: String,
    /// It ends when its client is silent for so long.
    pub timeout_ms: u32,
}

/// What is known of a znode besides its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The transaction that created it.
    pub created: u64,
    /// The transaction that last set its data.
    pub modified: u64,
    /// Counts settings of the data.
    pub version: i32,
    /// The session with whose end it goes.
    pub owner: Option<SessionId>,
    /// How many children it has.
    pub children: u32,
}

/// A child as it is, whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its name within the parent.
    pub name: String,
    /// What is known of it besides its data.
    pub stat: Stat,
    /// Its data.
    pub data: Vec<u8>,
}

impl Child {
    /// Its data as a value.
    ///
    /// # Errors
    /// `corrupt-state`: it is not a `T`.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T> {
        decode_state(&self.name, &self.data)
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the recipe's author.
    Debug,
    /// For the operator.
    Info,
    /// Something is odd.
    Warn,
    /// Something is wrong.
    Error,
}

/// A znode of the mount and the znodes below it. Every path is relative to it: `""` is the object
/// itself, `"holder"` its child of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Relative to the mount; empty for the mount itself.
    path: String,
}

impl Object {
    pub(crate) fn at(path: String) -> Object {
        Object { path }
    }

    /// Its path relative to the mount; empty for the mount itself.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    fn full(&self, path: &str) -> String {
        if self.path.is_empty() || path.is_empty() {
            return format!("{}{path}", self.path);
        }
        format!("{}/{path}", self.path)
    }

    /// The data of a znode, if the znode is there.
    ///
    /// # Errors
    /// `corrupt-state`: the data is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        match self.get_bytes(path) {
            Some(bytes) if bytes.is_empty() => Ok(None),
            Some(bytes) => decode_state(path, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The data of a znode as it is, if the znode is there.
    #[must_use]
    pub fn get_bytes(&self, path: &str) -> Option<Vec<u8>> {
        host::get(&self.full(path)).map(|(data, _)| data)
    }

    /// What is known of a znode besides its data, if it is there.
    #[must_use]
    pub fn stat(&self, path: &str) -> Option<Stat> {
        host::get(&self.full(path)).map(|(_, stat)| stat)
    }

    /// Whether a znode is there.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        host::exists(&self.full(path))
    }

    /// How many children a znode has.
    ///
    /// # Errors
    /// `no-node`.
    pub fn count(&self, path: &str) -> Result<u32> {
        host::count(&self.full(path)).map_err(|error| error.at(path))
    }

    /// Children in order of name, only those after `after`, at most `limit`. What it costs grows
    /// with `limit`, not with the number of children: ask for as few as will do.
    ///
    /// # Errors
    /// `no-node`; `corrupt-state`: the data of one is not a `T`.
    pub fn scan<T: DeserializeOwned>(
        &self,
        path: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, T)>> {
        let children = self.list(path, after, limit)?;
        children.into_iter().map(|child| child.value().map(|value| (child.name, value))).collect()
    }

    /// As [`Object::scan`], but children as they are: for those that others may have written.
    ///
    /// # Errors
    /// `no-node`.
    pub fn list(&self, path: &str, after: Option<&str>, limit: u32) -> Result<Vec<Child>> {
        host::scan(&self.full(path), after, limit).map_err(|error| error.at(path))
    }

    /// The first child in order of name.
    ///
    /// # Errors
    /// As [`Object::scan`].
    pub fn first<T: DeserializeOwned>(&self, path: &str) -> Result<Option<(String, T)>> {
        Ok(self.scan(path, None, 1)?.pop())
    }

    /// The first child whose name comes after this one.
    ///
    /// # Errors
    /// As [`Object::scan`].
    pub fn first_after<T: DeserializeOwned>(
        &self,
        path: &str,
        after: &str,
    ) -> Result<Option<(String, T)>> {
        Ok(self.scan(path, Some(after), 1)?.pop())
    }

    /// Creates a znode that stays until it is deleted.
    ///
    /// # Errors
    /// `node-exists`; `no-node`: the parent is missing; `bad-path`; `read-only` in a query.
    pub fn create<T: Serialize + ?Sized>(&self, path: &str, value: &T) -> Result<()> {
        let data = codec::encode(value)?;
        host::create(&self.full(path), &data, None).map_err(|error| error.at(path))
    }

    /// Creates a znode that goes with a session.
    ///
    /// # Errors
    /// As [`Object::create`]; `no-session`: the session has ended or is ending.
    pub fn create_owned<T: Serialize + ?Sized>(
        &self,
        path: &str,
        value: &T,
        owner: SessionId,
    ) -> Result<()> {
        let data = codec::encode(value)?;
        host::create(&self.full(path), &data, Some(owner)).map_err(|error| error.at(path))
    }

    /// Creates a znode with data that others read, who know no CBOR.
    ///
    /// # Errors
    /// As [`Object::create_owned`].
    pub fn create_bytes(&self, path: &str, data: &[u8], owner: Option<SessionId>) -> Result<()> {
        host::create(&self.full(path), data, owner).map_err(|error| error.at(path))
    }

    /// Creates a znode whose name is the prefix and a number that grows within the parent; gives
    /// the name.
    ///
    /// # Errors
    /// As [`Object::create_owned`].
    pub fn create_sequential<T: Serialize + ?Sized>(
        &self,
        prefix: &str,
        value: &T,
        owner: Option<SessionId>,
    ) -> Result<String> {
        self.create_sequential_bytes(prefix, &codec::encode(value)?, owner)
    }

    /// As [`Object::create_sequential`], with data that others read, who know no CBOR.
    ///
    /// # Errors
    /// As [`Object::create_owned`].
    pub fn create_sequential_bytes(
        &self,
        prefix: &str,
        data: &[u8],
        owner: Option<SessionId>,
    ) -> Result<String> {
        let full = self.full(prefix);
        host::create_sequential(&full, data, owner).map_err(|error| error.at(prefix))
    }

    /// Creates the object's own znode unless it is there. Objects that are called are there; this
    /// is for a sibling that is only written to.
    ///
    /// # Errors
    /// As [`Object::create`].
    pub fn ensure(&self) -> Result<()> {
        match host::create(&self.path, &[], None) {
            Ok(()) | Err(TreeError::NodeExists) => Ok(()),
            Err(error) => Err(error.at(&self.path)),
        }
    }

    /// Replaces the data of a znode; gives its new version.
    ///
    /// # Errors
    /// `no-node`; `read-only` in a query.
    pub fn set<T: Serialize + ?Sized>(&self, path: &str, value: &T) -> Result<i32> {
        let data = codec::encode(value)?;
        host::set(&self.full(path), &data, None).map_err(|error| error.at(path))
    }

    /// Replaces the data of a znode if it has this version; gives its new version.
    ///
    /// # Errors
    /// `bad-version`; as [`Object::set`].
    pub fn set_at_version<T: Serialize + ?Sized>(
        &self,
        path: &str,
        value: &T,
        version: i32,
    ) -> Result<i32> {
        let data = codec::encode(value)?;
        host::set(&self.full(path), &data, Some(version)).map_err(|error| error.at(path))
    }

    /// Replaces the data of a znode, creating it if need be.
    ///
    /// # Errors
    /// As [`Object::create`].
    pub fn put<T: Serialize + ?Sized>(&self, path: &str, value: &T) -> Result<()> {
        let data = codec::encode(value)?;
        let full = self.full(path);
        match host::set(&full, &data, None) {
            Ok(_) => Ok(()),
            Err(TreeError::NoNode) => {
                host::create(&full, &data, None).map_err(|error| error.at(path))
            }
            Err(error) => Err(error.at(path)),
        }
    }

    /// Deletes a znode; false if it was not there.
    ///
    /// # Errors
    /// `not-empty`; `read-only` in a query.
    pub fn delete(&self, path: &str) -> Result<bool> {
        match host::delete(&self.full(path), None) {
            Ok(()) => Ok(true),
            Err(TreeError::NoNode) => Ok(false),
            Err(error) => Err(error.at(path)),
        }
    }
}

fn decode_state<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T> {
    codec::decode(bytes)
        .map_err(|error| Failure::new("corrupt-state", format!("znode {path:?}: {error}")))
}

/// One run of the recipe, on one object.
#[derive(Debug)]
pub struct Run {
    object: Object,
}

impl Deref for Run {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.object
    }
}

impl Run {
    pub(crate) fn on(object: String) -> Run {
        Run { object: Object::at(object) }
    }

    /// The absolute path of the mount.
    #[must_use]
    pub fn mount_path(&self) -> String {
        host::mount_path()
    }

    /// The mount as an object: the parent of every object.
    #[must_use]
    pub fn mount(&self) -> Object {
        Object::at(String::new())
    }

    /// Another object of the mount. It need not be there: see [`Object::ensure`].
    ///
    /// # Errors
    /// `bad-path`: a name is one segment.
    pub fn sibling(&self, name: &str) -> Result<Object> {
        if name.is_empty() || name.contains('/') {
            return Err(TreeError::BadPath.at(name));
        }
        Ok(Object::at(name.into()))
    }

    /// The configuration given at mount; the default if none was given.
    ///
    /// # Errors
    /// `bad-config`: it is not a `C`.
    pub fn config<C: DeserializeOwned + Default>(&self) -> Result<C> {
        read_config(&host::mount_config())
    }

    /// Milliseconds since 1970 by the leader's stamp: constant during a run, never goes back.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        host::now_ms()
    }

    /// The number of the transaction this run becomes: a fencing token. It grows from call to call;
    /// events that are due together may share one transaction and so one number.
    #[must_use]
    pub fn zxid(&self) -> u64 {
        host::zxid()
    }

    /// The only randomness: differs from run to run, equal wherever this run is repeated.
    #[must_use]
    pub fn seed(&self) -> (u64, u64) {
        host::seed()
    }

    /// A session, unless it has ended or is ending in this very run.
    #[must_use]
    pub fn find_session(&self, id: SessionId) -> Option<Session> {
        host::find_session(id)
    }

    /// Whether a session lives; one that is ending in this very run does not.
    #[must_use]
    pub fn is_live(&self, id: SessionId) -> bool {
        self.find_session(id).is_some()
    }

    /// Answers a parked caller. False: the caller has gone, take the next one.
    ///
    /// # Errors
    /// `cannot-encode`: the reply has no CBOR form.
    pub fn complete<R: Serialize>(&self, ticket: Ticket<R>, reply: &R) -> Result<bool> {
        Ok(host::complete(ticket.id(), Ok(codec::encode(reply)?)))
    }

    /// Refuses a parked caller. False: the caller has gone.
    pub fn refuse(&self, ticket: TicketId, failure: Failure) -> bool {
        host::complete(ticket, Err(failure))
    }

    /// Sets a timer of this object, or moves the one of that name. It fires a millisecond from now at
    /// the soonest. An object with a timer stays, even if it is empty.
    pub fn set_timer(&self, name: &str, at_ms: u64) {
        host::timer_set(name, at_ms);
    }

    /// Cancels a timer of this object; false if there was none.
    pub fn cancel_timer(&self, name: &str) -> bool {
        host::timer_cancel(name)
    }

    /// Writes a line to the server's log.
    pub fn log(&self, level: Level, message: impl AsRef<str>) {
        host::log(level, message.as_ref());
    }
}

/// One call of an operation.
#[derive(Debug)]
pub struct Call {
    run: Run,
    session: SessionId,
    identity: String,
}

impl Deref for Call {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

impl Call {
    pub(crate) fn of(run: Run, session: SessionId, identity: String) -> Call {
        Call { run, session, identity }
    }

    /// The caller's session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Who the caller's connection proved to be.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Parks the caller, who is answered by a later run, or `timed-out` after `wait_ms`. Only in a
    /// command, which must then give back [`crate::Reply::Parked`] with this ticket.
    #[must_use]
    pub fn park<R>(&self, wait_ms: Option<u64>) -> Ticket<R> {
        let deadline_ms = wait_ms.map(|wait_ms| self.now_ms().saturating_add(wait_ms));
        Ticket::from_id(host::park(deadline_ms))
    }
}
