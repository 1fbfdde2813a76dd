//! From a request to a transaction, on the leader.
//!
//! Comes in: a request, the stamp of the entry it may become, state with what is outstanding. Goes
//! out: the changes, already applied to the outstanding state. Invariant: everything that could
//! fail is checked here; a refusal leaves no trace. Must never: touch the applied state.

mod catalogue;
mod config;
mod due;
mod members;
mod mounts;
mod recipes;
pub(crate) mod sessions;
mod znodes;

pub(crate) use mounts::descriptor_of;
pub(crate) use recipes::{operation_kind, query, refusal_of_failure, refusal_of_fault};

pub(crate) use znodes::{next_version, sequential_path};

use crate::applied::Applied;
use crate::apply;
use crate::change::Change;
use crate::executor::RecipeExecutor;
use crate::items::{KeptReply, Mount, TimerKey};
use crate::request::{Identity, Prepared, Request, Stamp};
use crate::shadow::Shadow;
use crate::tables::{
    KeptReplies, Layered, Mark, Mounts, ObjectTickets, Overlay, Sessions, State, Table, Tables,
    Timers,
};
use crate::transaction::{CallRecord, Origin, Transaction};
use crate::view::LogLine;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::limits::Limits;
use quorate_types::{ErrorCode, Operation, Outcome, Refusal, SessionId, TicketId, ZnodePath, Zxid};

/// A transaction being made.
pub(crate) struct Work {
    pub(crate) state: Layered,
    pub(crate) stamp: Stamp,
    pub(crate) limits: Limits,
    pub(crate) changes: Vec<Change>,
    /// About how many bytes the changes take in the log.
    pub(crate) weight: usize,
    pub(crate) tickets_parked: u16,
    /// Recipe runs so far: part of each run's seed.
    pub(crate) runs: u64,
    /// Fuel of these runs.
    pub(crate) fuel_used: u64,
    /// Fuel that event handlers used, by mount.
    event_fuel: BTreeMap<ZnodePath, u64>,
    /// The session that ends in this transaction: dead to recipes, its znodes still there.
    pub(crate) closing: Option<SessionId>,
    /// Objects that recipes touched: reaped at the end if empty.
    pub(crate) touched: BTreeSet<(ZnodePath, String)>,
    /// Znodes of open mounts that the client itself changed.
    plain_changes: Vec<(ZnodePath, ZnodePath)>,
    pub(crate) faults: BTreeMap<ZnodePath, u32>,
    /// Per session, below which number its kept replies were looked through already.
    pub(crate) replied_below: BTreeMap<SessionId, u64>,
    /// Against the mount that is asked for.
    pub(crate) objection: Option<Refusal>,
    pub(crate) shadows: BTreeMap<ZnodePath, Shadow>,
    pub(crate) log: Vec<LogLine>,
    /// For the operator.
    pub(crate) warnings: Vec<String>,
    scratch: Applied,
    /// What is applied when the transaction is made.
    #[cfg(feature = "planted-bugs")]
    pub(crate) applied: Zxid,
}

/// A point in the making of a transaction to go back to.
pub(crate) struct Savepoint {
    mark: Mark,
    changes: usize,
    weight: usize,
}

/// How a request ends if it is not refused.
enum Done {
    /// The changes become a transaction with this reply; `None`: a change says it.
    Changed(Option<Outcome>),
    /// Nothing is to be changed; this is the answer.
    Answer(Outcome),
    /// Nothing is to be changed, and nobody waits.
    Nothing,
    /// A repeated call that is parked.
    AlreadyParked(TicketId),
}

type Step = Result<Done, Refusal>;

pub(crate) fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(code, message))
}

impl Work {
    pub(crate) fn new(
        base: Arc<Tables>,
        overlay: Box<Overlay>,
        stamp: Stamp,
        limits: Limits,
    ) -> Work {
        Work {
            state: Layered { base, overlay },
            stamp,
            limits,
            changes: Vec::new(),
            weight: 0,
            tickets_parked: 0,
            runs: 0,
            fuel_used: 0,
            event_fuel: BTreeMap::new(),
            closing: None,
            touched: BTreeSet::new(),
            plain_changes: Vec::new(),
            faults: BTreeMap::new(),
            replied_below: BTreeMap::new(),
            objection: None,
            shadows: BTreeMap::new(),
            log: Vec::new(),
            warnings: Vec::new(),
            scratch: Applied::default(),
            #[cfg(feature = "planted-bugs")]
            applied: Zxid(0),
        }
    }

    /// Makes a change that was checked.
    pub(crate) fn change(&mut self, change: Change) {
        apply::apply_change(&mut self.state, self.stamp, &change, &mut self.scratch);
        self.scratch = Applied::default();
        self.weight += change.weight();
        self.changes.push(change);
    }

    pub(crate) fn savepoint(&self) -> Savepoint {
        let (changes, weight) = (self.changes.len(), self.weight);
        Savepoint { mark: self.state.overlay.mark(), changes, weight }
    }

    pub(crate) fn rollback(&mut self, to: &Savepoint) {
        self.state.overlay.rollback(&to.mark);
        self.changes.truncate(to.changes);
        self.weight = to.weight;
    }

    fn rollback_all(&mut self) {
        self.state.overlay.rollback(&Mark::default());
        self.changes.clear();
        self.weight = 0;
    }

    /// Entries of a table, perhaps a few too many while some are outstanding.
    pub(crate) fn count_at_most<T: Table>(&self) -> usize {
        self.state.base.count::<T>() + T::pending(&self.state.overlay).len()
    }

    /// The mount at or above a path.
    pub(crate) fn governing(&self, path: &ZnodePath) -> Option<(ZnodePath, Arc<Mount>)> {
        governing(&self.state, path)
    }

    /// Deletes objects that recipes left without children, data, tickets and timers.
    fn reap_objects(&mut self) {
        for (mount, object) in core::mem::take(&mut self.touched) {
            if !object.is_empty()
                && let Ok(path) = mount.join(&object)
                && self.is_empty_object(&mount, &object, &path)
            {
                // An object that was only looked at leaves no trace.
                if self.made_nothing_but(&path) {
                    self.rollback_all();
                } else {
                    self.change(Change::DeleteZnode { path });
                }
            }
        }
    }

    fn made_nothing_but(&self, path: &ZnodePath) -> bool {
        matches!(&self.changes[..], [Change::CreateZnode { path: made, .. }] if made == path)
    }

    fn is_empty_object(&self, mount: &ZnodePath, object: &str, path: &ZnodePath) -> bool {
        let Some(znode) = self.state.znode(path) else { return false };
        if znode.children_count > 0 || !znode.data.is_empty() {
            return false;
        }
        let first_ticket = (mount.clone(), String::from(object), TicketId(0));
        let tickets = self.state.keys_while::<ObjectTickets>(&first_ticket, |(owner, name, _)| {
            owner == mount && name == object
        });
        tickets.is_empty() && self.timers_of(mount, Some(object)).is_empty()
    }

    /// The timers of a mount, or of one object of it.
    pub(crate) fn timers_of(&self, mount: &ZnodePath, object: Option<&str>) -> Vec<TimerKey> {
        let first = TimerKey {
            mount: mount.clone(),
            object: String::from(object.unwrap_or("")),
            name: String::new(),
        };
        self.state.keys_while::<Timers>(&first, |key| {
            key.mount == *mount && object.is_none_or(|object| key.object == object)
        })
    }

    /// The kept replies that have reached the client. Looks only above what earlier requests of
    /// the session forgot, which may still be outstanding and many.
    fn forget_replies(
        &mut self,
        session: SessionId,
        oldest: u64,
        acknowledged: &[u64],
    ) -> Vec<u64> {
        if !self.state.has::<Sessions>(&session) {
            self.replied_below.remove(&session);
            return Vec::new();
        }
        let below = self.replied_below.entry(session).or_default();
        let first = (session, *below);
        *below = oldest.max(*below);
        let mut forgotten = BTreeSet::new();
        self.state.scan::<KeptReplies>(Bound::Included(&first), &mut |(owner, sequence), kept| {
            let within = *owner == session && *sequence < oldest;
            if within && matches!(kept, KeptReply::Replied(_)) {
                forgotten.insert(*sequence);
            }
            within
        });
        for sequence in acknowledged {
            let kept = self.state.get::<KeptReplies>(&(session, *sequence));
            if matches!(kept, Some(KeptReply::Replied(_))) {
                forgotten.insert(*sequence);
            }
        }
        forgotten.into_iter().collect()
    }

    fn finish(
        &mut self,
        origin: Origin,
        reply: Option<Outcome>,
        call: Option<CallRecord>,
    ) -> Transaction {
        self.reap_objects();
        let mut scratch = Applied::default();
        apply::settle_origin(&mut self.state, &origin, reply.as_ref(), &mut scratch);
        self.state.overlay.commit(self.stamp.zxid);
        let changes = core::mem::take(&mut self.changes);
        Transaction { time_ms: self.stamp.time_ms, origin, changes, reply, call }
    }
}

/// The mount at or above a path.
pub(crate) fn governing(state: &impl State, path: &ZnodePath) -> Option<(ZnodePath, Arc<Mount>)> {
    let mut above = Some(path.clone());
    while let Some(path) = above {
        if let Some(mount) = state.get::<Mounts>(&path) {
            return Some((path, mount));
        }
        above = path.parent();
    }
    None
}

/// Turns a request into a transaction or an answer.
pub(crate) fn prepare(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    request: Request,
    record_calls: bool,
) -> Prepared {
    match request {
        Request::Client {
            session,
            epoch,
            sequence,
            oldest_unreplied,
            acknowledged,
            identity,
            operation,
        } => {
            let caller = Caller { session, epoch, sequence, identity: &identity };
            let step = client(work, executor, caller, &operation);
            let call = match operation {
                Operation::Call { object, operation, arguments } if record_calls => {
                    let identity = identity.clone();
                    Some(CallRecord { object, operation, arguments, identity })
                }
                _ => None,
            };
            let forgotten = match step {
                Ok(Done::Changed(_)) => {
                    work.forget_replies(session, oldest_unreplied, &acknowledged)
                }
                _ => Vec::new(),
            };
            let origin = Origin::Session { session, sequence, forgotten };
            conclude(work, step, origin, call)
        }
        Request::OpenSession { origin, password, timeout_ms, identity } => {
            let step = sessions::open(work, password, timeout_ms, &identity);
            conclude(work, step, Origin::Connection(origin), None)
        }
        Request::AttachSession { origin, session, password, identity } => {
            let step = sessions::attach(work, session, password, &identity);
            conclude(work, step, Origin::Connection(origin), None)
        }
        Request::ExpireSession { session } => {
            let step = sessions::expire(work, executor, session);
            work.replied_below.remove(&session);
            conclude(work, step, Origin::Leader, None)
        }
        Request::FireDue => {
            let step = due::fire(work, executor);
            conclude(work, step, Origin::Leader, None)
        }
        Request::RecordMember { server, incarnation } => {
            let step = members::record_incarnation(work, server, incarnation);
            conclude(work, step, Origin::Leader, None)
        }
        Request::RecordVoters { voters } => {
            let step = members::record_voters(work, voters);
            conclude(work, step, Origin::Leader, None)
        }
        Request::EndMembership { outcome } => {
            let Some((origin, step)) = members::end(work, outcome) else {
                return Prepared::Nothing;
            };
            conclude(work, step, origin, None)
        }
    }
}

fn conclude(work: &mut Work, step: Step, origin: Origin, call: Option<CallRecord>) -> Prepared {
    match step {
        Ok(Done::Changed(reply)) => {
            // A call whose mount was suspended by it did not make its changes: nothing to verify.
            let suspended =
                work.changes.iter().any(|change| matches!(change, Change::SuspendMount { .. }));
            let call = call.filter(|_| !suspended);
            Prepared::Transaction(work.finish(origin, reply, call))
        }
        Ok(Done::Answer(outcome)) => {
            work.rollback_all();
            Prepared::Answer(outcome)
        }
        Ok(Done::Nothing) => {
            work.rollback_all();
            Prepared::Nothing
        }
        Ok(Done::AlreadyParked(ticket)) => Prepared::AlreadyParked(ticket),
        Err(refusal) => {
            work.rollback_all();
            Prepared::Answer(Err(refusal))
        }
    }
}

/// Who asks for a write.
#[derive(Clone, Copy)]
struct Caller<'a> {
    session: SessionId,
    epoch: Zxid,
    sequence: u64,
    identity: &'a Identity,
}

fn client(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    caller: Caller<'_>,
    operation: &Operation,
) -> Step {
    let Some(session) = work.state.get::<Sessions>(&caller.session) else {
        return refuse(ErrorCode::SessionExpired, "the session has ended");
    };
    #[cfg(feature = "planted-bugs")]
    let caller = if is_planted(PlantedBug::OlderEpochAccepted) {
        Caller { epoch: session.epoch, ..caller }
    } else {
        caller
    };
    if session.epoch != caller.epoch {
        return refuse(ErrorCode::SessionMoved, "the session has moved to another connection");
    }
    match work.state.get::<KeptReplies>(&(caller.session, caller.sequence)) {
        #[cfg(feature = "planted-bugs")]
        Some(KeptReply::Replied(_)) if is_planted(PlantedBug::KeptReplyIgnored) => {}
        Some(KeptReply::Replied(outcome)) => return Ok(Done::Answer(outcome)),
        Some(KeptReply::Parked(ticket)) => return Ok(Done::AlreadyParked(ticket)),
        None => {}
    }
    match change(work, executor, caller, operation) {
        Err(refusal) if !refusal.code.is_transient() => Ok(record_refusal(work, refusal)),
        step => step,
    }
}

/// A refusal takes its place in the log like any write, and is kept (ZooKeeper's error transactions):
/// lost with its leader and judged again, it might be done after later requests of its session.
fn record_refusal(work: &mut Work, refusal: Refusal) -> Done {
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::RefusalLeavesTrace) {
        return Done::Changed(Some(Err(refusal)));
    }
    work.rollback_all();
    Done::Changed(Some(Err(refusal)))
}

fn change(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    caller: Caller<'_>,
    operation: &Operation,
) -> Step {
    let done = client_write(work, executor, caller, operation)?;
    znodes::tell_open_mounts(work, executor)?;
    let ends_session = matches!(operation, Operation::CloseSession);
    if work.weight > work.limits.transaction_bytes_max as usize && !ends_session {
        let max = work.limits.transaction_bytes_max;
        let message = format!("the changes would take more than {max} bytes in the log");
        return refuse(ErrorCode::QuotaExceeded, message);
    }
    Ok(done)
}

fn client_write(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    caller: Caller<'_>,
    operation: &Operation,
) -> Step {
    match operation {
        Operation::Create { .. } => znodes::create_alone(work, caller, operation),
        Operation::Delete { path, expected_version } => {
            znodes::delete_alone(work, caller, path, *expected_version)
        }
        Operation::SetData { path, data, expected_version } => {
            znodes::set_data_alone(work, caller, (path, data), *expected_version)
        }
        Operation::SetAcl { path, acl, expected_version } => {
            znodes::set_acl(work, caller, (path, acl), *expected_version)
        }
        Operation::Multi { operations } => znodes::multi(work, caller, operations),
        Operation::Call { object, operation, arguments } => {
            recipes::call(work, executor, caller, (object, operation, arguments))
        }
        Operation::CancelCall { sequence } => {
            recipes::cancel(work, executor, caller.session, *sequence)
        }
        Operation::CloseSession => sessions::close(work, executor, caller.session),
        Operation::UploadComponent { .. } => catalogue::upload(work, executor, operation),
        Operation::InstallRecipe { digest, signature } => {
            catalogue::install(work, executor, (digest, signature.as_deref()))
        }
        Operation::RemoveRecipe { digest } => catalogue::remove(work, digest),
        Operation::Mount { .. } => mounts::mount(work, executor, caller, operation),
        Operation::Unmount { path } => mounts::unmount(work, caller, path),
        Operation::AddMember { .. } => members::add(work, caller, operation),
        Operation::PromoteMember { server } => members::promote(work, caller, *server),
        Operation::RemoveMember { server } => members::remove(work, caller, *server),
        Operation::Reconfigure { .. } => members::reconfigure(work, caller, operation),
        Operation::TransferLeader { .. }
        | Operation::BeginShadow { .. }
        | Operation::ShadowReport { .. }
        | Operation::Get { .. }
        | Operation::Exists { .. }
        | Operation::Children { .. }
        | Operation::GetAcl { .. }
        | Operation::Sync
        | Operation::AddWatch { .. }
        | Operation::ResumeWatches { .. }
        | Operation::RemoveWatches { .. }
        | Operation::CountWatches { .. }
        | Operation::RestoreWatches { .. }
        | Operation::Ephemerals { .. }
        | Operation::CountBelow { .. }
        | Operation::MultiRead { .. }
        | Operation::ListRecipes
        | Operation::ListMounts
        | Operation::Status => refuse(ErrorCode::Unimplemented, "this is no write of the log"),
    }
}
