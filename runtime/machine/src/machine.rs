//! The applied state, and what can be asked of it.
//!
//! Comes in: committed transactions in order, reads, queries. Goes out: what they did, replies.
//! Invariant: a clone shares every page and costs one reference count, so that a clone is a
//! snapshot; state depends on the transactions alone. Must never: fail or run a recipe to apply.

use crate::applied::Applied;
use crate::apply;
use crate::digest;
use crate::executor::RecipeExecutor;
use crate::image;
use crate::items::{Member, MembershipChange};
use crate::outstanding::Outstanding;
use crate::prepare::{self, Work};
use crate::read;
use crate::request::{Identity, Prepared, RecipeCall, Request, Stamp};
use crate::system;
use crate::tables::{
    Components, Deadlines, Ephemerals, Members, MembershipChanges, Mounts, Overlay, Sessions,
    State, Tables, Tickets, Timers, Znodes,
};
use crate::transaction::{Origin, Transaction};
use crate::znode::TreeKey;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;
use quorate_types::limits::Limits;
use quorate_types::recipe::OperationKind;
use quorate_types::request::{RestoredWatch, WatchEvent};
use quorate_types::{
    ComponentDigest, ErrorCode, LayoutError, Operation, Outcome, Refusal, ServerId, SessionId,
    ZnodePath, Zxid,
};

/// The applied state. A clone is cheap and does not change.
#[derive(Clone)]
pub struct Machine {
    pub(crate) tables: Arc<Tables>,
    applied: Zxid,
    time_ms: u64,
    limits: Limits,
}

/// What a second run of a call showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The transaction carries no call.
    NotACall,
    /// The same changes and reply.
    Agrees,
    /// Others: the recipe or an engine is not deterministic.
    Differs {
        /// What the log has, for a person.
        logged: String,
        /// What this run gave.
        computed: String,
    },
    /// The component is not compiled here.
    NotReady,
}

/// A session as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Which.
    pub session: SessionId,
    /// The transaction that opened it or last attached it.
    pub epoch: Zxid,
    /// Granted, in milliseconds.
    pub timeout_ms: u32,
    /// Whose.
    pub identity: String,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

impl Machine {
    /// A tree with nothing but its root and ZooKeeper's own znodes, under production's limits.
    #[must_use]
    pub fn new() -> Machine {
        Machine::with_limits(Limits::PRODUCTION)
    }

    /// As [`Machine::new`] under other limits. They bind what is prepared and queried through this
    /// machine and are not part of the state.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Machine {
        let mut tables = Tables::default();
        for (path, znode) in system::first_znodes() {
            tables.put::<Znodes>(TreeKey::of(&path), Some(Arc::new(znode)));
        }
        Machine::of_tables(tables, (Zxid(0), 0), limits)
    }

    /// A machine with this state, as of a transaction and its stamp.
    pub(crate) fn of_tables(
        tables: Tables,
        (applied, time_ms): (Zxid, u64),
        limits: Limits,
    ) -> Machine {
        Machine { tables: Arc::new(tables), applied, time_ms, limits }
    }

    /// Replaces the limits.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The last transaction applied.
    #[must_use]
    pub fn applied(&self) -> Zxid {
        self.applied
    }

    /// Its stamp: milliseconds since 1970.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Equal on two servers exactly when their states at the same zxid are (but for collisions).
    #[must_use]
    pub fn digest(&self) -> u64 {
        let position = digest::mix(self.applied.0, self.time_ms);
        self.tables.digest().wrapping_add(position)
    }

    /// Applies a committed transaction.
    ///
    /// # Panics
    /// When it was not prepared on the state before it: this server's state is not the leader's,
    /// and going on would spread the damage.
    pub fn apply(&mut self, zxid: Zxid, transaction: &Transaction) -> Applied {
        assert!(zxid > self.applied, "transaction {zxid} comes after {}", self.applied);
        assert!(
            transaction.time_ms >= self.time_ms,
            "transaction {zxid} is stamped before the one before it"
        );
        let applied = apply::apply_transaction(Arc::make_mut(&mut self.tables), zxid, transaction);
        self.applied = zxid;
        self.time_ms = transaction.time_ms;
        applied
    }

    /// Passes an entry that carries no transaction: a leader's first, a change of the membership.
    ///
    /// # Panics
    /// When it does not come after everything applied.
    pub fn advance(&mut self, zxid: Zxid) {
        assert!(zxid > self.applied, "entry {zxid} comes after {}", self.applied);
        self.applied = zxid;
    }

    /// Answers a read: get, exists, children, ACL, sync, the catalogue, the mounts. Watches are
    /// left to the caller; so are `ready` of recipes and `faults` of mounts, which are not state.
    ///
    /// # Errors
    /// The refusal for the client.
    pub fn read(&self, identity: &Identity, operation: &Operation) -> Outcome {
        read::read(&self.tables, &self.limits, identity, operation)
    }

    /// The ephemeral znodes of a session whose paths begin so, in order.
    #[must_use]
    pub fn ephemerals(&self, session: SessionId, prefix: &str) -> Vec<ZnodePath> {
        let mut found = read::ephemerals_of(&*self.tables, session);
        found.retain(|path| path.as_str().starts_with(prefix));
        found
    }

    /// What a watch to be restored has missed since a transaction, by how its znode is now; `None`:
    /// nothing. Who may not read the znode is told nothing of it, and waits on.
    #[must_use]
    pub fn missed(
        &self,
        identity: &Identity,
        watch: &RestoredWatch,
        since: Zxid,
    ) -> Option<WatchEvent> {
        read::missed(&self.tables, identity, watch, (since, self.applied))
    }

    /// Whether an operation of an object is a command or a query.
    ///
    /// # Errors
    /// No mount, a suspended one, or no such operation.
    pub fn operation_kind(
        &self,
        object: &ZnodePath,
        operation: &str,
    ) -> Result<OperationKind, Refusal> {
        prepare::operation_kind(&*self.tables, object, operation)
    }

    /// Runs a query on the applied state.
    ///
    /// # Errors
    /// The refusal for the client; `recipe-loading` when the component is not compiled here.
    pub fn query(&self, executor: &mut dyn RecipeExecutor, call: RecipeCall<'_>) -> Outcome {
        let stamp = Stamp { zxid: self.applied, time_ms: self.time_ms };
        let overlay: Box<Overlay> = Box::default();
        let mut work = Work::new(self.tables.clone(), overlay, stamp, self.limits);
        prepare::query(&mut work, executor, call)
    }

    /// Runs the call of a transaction that is about to be applied again, on this server's state.
    #[must_use]
    pub fn verify(
        &self,
        executor: &mut dyn RecipeExecutor,
        zxid: Zxid,
        transaction: &Transaction,
    ) -> Verdict {
        let (Some(call), Origin::Session { session, sequence, .. }) =
            (&transaction.call, &transaction.origin)
        else {
            return Verdict::NotACall;
        };
        let epoch = self.tables.get::<Sessions>(session).map(|facts| facts.epoch);
        let request = Request::Client {
            session: *session,
            epoch: epoch.unwrap_or_default(),
            sequence: *sequence,
            oldest_unreplied: 0,
            acknowledged: Vec::new(),
            identity: call.identity.clone(),
            operation: Operation::Call {
                object: call.object.clone(),
                operation: call.operation.clone(),
                arguments: call.arguments.clone(),
            },
        };
        let stamp = Stamp { zxid, time_ms: transaction.time_ms };
        executor.set_counted(false);
        let prepared = Outstanding::new().prepare(self, executor, stamp, request);
        executor.set_counted(true);
        match prepared {
            Prepared::Transaction(again)
                if again.changes == transaction.changes && again.reply == transaction.reply =>
            {
                Verdict::Agrees
            }
            Prepared::Transaction(again) => Verdict::Differs {
                logged: format!("{:?} -> {:?}", transaction.changes, transaction.reply),
                computed: format!("{:?} -> {:?}", again.changes, again.reply),
            },
            Prepared::Answer(Err(refusal)) if refusal.code == ErrorCode::RecipeLoading => {
                Verdict::NotReady
            }
            other => Verdict::Differs {
                logged: format!("{:?} -> {:?}", transaction.changes, transaction.reply),
                computed: format!("{other:?}"),
            },
        }
    }

    /// The whole state as bytes.
    #[must_use]
    pub fn encode_image(&self) -> Vec<u8> {
        image::encode(self.applied, self.time_ms, &self.tables)
    }

    /// The state of an image, under production's limits.
    ///
    /// # Errors
    /// When the bytes are no image, or do not have its digest.
    pub fn decode_image(bytes: &[u8]) -> Result<Machine, LayoutError> {
        let image::Image { applied, time_ms, tables } = image::decode(bytes)?;
        Ok(Machine::of_tables(tables, (applied, time_ms), Limits::PRODUCTION))
    }

    /// When the next timer, ticket deadline, TTL or empty container is due; milliseconds since
    /// 1970. What waits for a component to be compiled may be past.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let mut next = None;
        self.tables.scan::<Deadlines>(Bound::Unbounded, &mut |(at_ms, _), ()| {
            next = Some(*at_ms);
            false
        });
        next
    }

    /// The bytes of a completely uploaded component.
    #[must_use]
    pub fn component_bytes(&self, digest: &ComponentDigest) -> Option<Bytes> {
        let component = self.tables.get::<Components>(digest)?;
        if !component.is_complete() {
            return None;
        }
        Some(Bytes::from(apply::component_parts(&*self.tables, digest).concat()))
    }

    /// The completely uploaded components.
    #[must_use]
    pub fn components(&self) -> Vec<ComponentDigest> {
        let all = self.tables.table::<Components>();
        let complete = all.iter().filter(|(_, component)| component.is_complete());
        complete.map(|(digest, _)| *digest).collect()
    }

    /// A session.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<SessionStatus> {
        let facts = self.tables.get::<Sessions>(&session)?;
        Some(SessionStatus {
            session,
            epoch: facts.epoch,
            timeout_ms: facts.timeout_ms,
            identity: facts.identity.clone(),
        })
    }

    /// A session, for whoever opened it.
    ///
    /// # Errors
    /// It is not there, or not the caller's: the refusal that attaching to it would get.
    pub fn session_of(
        &self,
        session: SessionId,
        password: &[u8; 16],
        identity: &Identity,
    ) -> Result<SessionStatus, Refusal> {
        prepare::sessions::check_owner(&*self.tables, session, password, identity)?;
        Ok(self.session(session).expect("it was there a moment ago"))
    }

    /// Every session, in order of its id.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionStatus> {
        self.first_sessions(usize::MAX)
    }

    /// The first sessions in the order of their ids, at most so many.
    #[must_use]
    pub fn first_sessions(&self, sessions_max: usize) -> Vec<SessionStatus> {
        let all = self.tables.table::<Sessions>();
        let first = all.iter().take(sessions_max);
        first.filter_map(|(session, _)| self.session(*session)).collect()
    }

    /// The first ephemeral znodes with their owners, in the order of the owners, at most so many.
    #[must_use]
    pub fn first_ephemerals(&self, ephemerals_max: usize) -> Vec<(SessionId, ZnodePath)> {
        let all = self.tables.table::<Ephemerals>();
        all.iter().take(ephemerals_max).map(|(owned, _)| owned.clone()).collect()
    }

    /// What is on record of a server.
    #[must_use]
    pub fn member(&self, server: ServerId) -> Option<Arc<Member>> {
        self.tables.get::<Members>(&server)
    }

    /// Every server on record, removed ones included.
    #[must_use]
    pub fn members(&self) -> Vec<(ServerId, Arc<Member>)> {
        let all = self.tables.table::<Members>();
        all.iter().map(|(server, member)| (*server, member.clone())).collect()
    }

    /// The change of the membership that is under way.
    #[must_use]
    pub fn membership_change(&self) -> Option<Arc<MembershipChange>> {
        let all = self.tables.table::<MembershipChanges>();
        all.iter().next().map(|(_, change)| change.clone())
    }

    /// Number of znodes, the root included.
    #[must_use]
    pub fn znode_count(&self) -> u64 {
        self.tables.count::<Znodes>() as u64
    }

    /// Number of sessions.
    #[must_use]
    pub fn session_count(&self) -> u64 {
        self.tables.count::<Sessions>() as u64
    }

    /// Number of parked calls.
    #[must_use]
    pub fn ticket_count(&self) -> u64 {
        self.tables.count::<Tickets>() as u64
    }

    /// Number of timers that are set.
    #[must_use]
    pub fn timer_count(&self) -> u64 {
        self.tables.count::<Timers>() as u64
    }

    /// The suspended mounts with their reasons.
    #[must_use]
    pub fn suspended_mounts(&self) -> Vec<(ZnodePath, String)> {
        let all = self.tables.table::<Mounts>();
        let suspended = all.iter().filter_map(|(path, mount)| {
            mount.suspended.as_ref().map(|reason| (path.clone(), reason.clone()))
        });
        suspended.collect()
    }
}

impl core::fmt::Debug for Machine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Machine")
            .field("applied", &self.applied)
            .field("time_ms", &self.time_ms)
            .field("znodes", &self.znode_count())
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}
