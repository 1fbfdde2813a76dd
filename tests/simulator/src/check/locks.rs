//! The lock recipe's promises (plugins/lock/README.md; M. Kleppmann, "How to do distributed
//! locking", 2016, on fences): one holder; in order of arrival; every grant fenced by its own zxid,
//! which grows; what a session holds passes on with its end; a free lock has nobody in line and no
//! znodes; waits end when they say.
//!
//! Comes in: every committed entry, what clients were told of locks, and writes to what the locks
//! guard. Each lock is followed through the log; what clients were told must be what the log says.
//! The guarded resource is here: it keeps the greatest fence it has seen and refuses smaller ones.

use crate::history::{AskedOperation, CommittedEntry, Ending, History, OperationId};
use crate::observation::{Checker, Observation, Rest};
use crate::work::{Acquire, Grant, LOCKS, grant_of, path};
use quorate_machine::{Change, Transaction, ZnodeKind};
use quorate_types::{
    ErrorCode, Operation, Outcome, Refusal, Reply, SessionId, TicketId, ZnodePath, Zxid,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A wait is over for so long, in true time and under one leader that goes on committing, before its
/// caller must have been told.
const OVERDUE_MS: u64 = 60_000;
const OVERDUE_ENTRIES: u64 = 50;

/// A call by its session and number.
type CallName = (SessionId, u64);

/// What the recipe writes in `holder` and shows to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct Holder {
    session: SessionId,
    fence: u64,
}

/// One time of holding.
#[derive(Clone, Copy, Debug)]
struct Hold {
    holder: Holder,
    acquired_by: CallName,
    until: Option<Zxid>,
    /// The release that ended it; a session's end leaves none.
    released_by: Option<CallName>,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    call: CallName,
    deadline_ms: Option<u64>,
}

/// One lock as the log has it.
#[derive(Debug, Default)]
struct Lock {
    /// In order of fences; the last one may last.
    holds: Vec<Hold>,
    waiters: BTreeMap<TicketId, Waiter>,
    /// Who is in line by the znodes.
    line: BTreeSet<String>,
    has_object: bool,
    /// The greatest fence that the guarded resource has seen.
    resource_fence: u64,
}

impl Lock {
    fn hold(&self) -> Option<&Hold> {
        self.holds.last().filter(|hold| hold.until.is_none())
    }

    fn hold_of(&self, fence: u64) -> Option<&Hold> {
        let place = self.holds.binary_search_by_key(&fence, |hold| hold.holder.fence).ok()?;
        Some(&self.holds[place])
    }

    /// Who held it after this transaction.
    fn holder_at(&self, zxid: Zxid) -> Option<Holder> {
        let after = self.holds.partition_point(|hold| hold.holder.fence <= zxid.0);
        let hold = self.holds.get(after.checked_sub(1)?)?;
        hold.until.is_none_or(|until| zxid < until).then_some(hold.holder)
    }
}

/// What one entry does to one lock.
#[derive(Debug, Default)]
struct Effects {
    freed: bool,
    granted: Vec<Holder>,
    parked: Vec<(TicketId, Waiter)>,
    completed: Vec<(TicketId, Outcome)>,
}

/// An entry with what it says of causes.
struct Cause<'a> {
    zxid: Zxid,
    transaction: &'a Transaction,
    /// The request it came from, if one of our clients made it.
    asked: Option<&'a AskedOperation>,
    closed: BTreeSet<SessionId>,
}

impl Cause<'_> {
    /// The call, if the entry came from this operation of this lock.
    fn call(&self, lock: &str, name: &str) -> Option<CallName> {
        let asked = self.asked?;
        let Operation::Call { object, operation, .. } = &asked.operation else { return None };
        let named = lock_of(object) == Some(lock) && operation == name;
        asked.request.filter(|_| named)
    }

    fn released_fence(&self) -> Option<u64> {
        match &self.asked?.operation {
            Operation::Call { arguments, .. } => {
                serde_cbor::from_slice(arguments).ok().map(|grant: Grant| grant.fence)
            }
            _ => None,
        }
    }
}

/// The wait that should end next and has not.
#[derive(Clone, Copy, Debug)]
struct Overdue {
    ticket: TicketId,
    term: u64,
    since_ms: u64,
    entries: u64,
}

#[derive(Default)]
pub struct Locks {
    locks: BTreeMap<String, Lock>,
    lock_of_ticket: BTreeMap<TicketId, String>,
    deadlines: BTreeSet<(u64, TicketId)>,
    overdue: Option<Overdue>,
    sessions: BTreeSet<SessionId>,
    /// The newest entry when a call that may not wait was asked for.
    asked_at: BTreeMap<OperationId, Zxid>,
    /// Who was told of which fence.
    told: BTreeMap<(String, u64), (usize, SessionId)>,
    judged: u64,
}

impl Locks {
    fn follow(&mut self, history: &History, entry: &CommittedEntry) -> Result<(), String> {
        let Some(transaction) = &entry.transaction else { return Ok(()) };
        let mut closed = BTreeSet::new();
        for change in &transaction.changes {
            match change {
                Change::OpenSession { .. } => drop(self.sessions.insert(SessionId(entry.zxid.0))),
                Change::CloseSession { session } => {
                    self.sessions.remove(session);
                    closed.insert(*session);
                }
                _ => {}
            }
        }
        let asked = history.origin(transaction).map(|id| history.operation(id));
        let cause = Cause { zxid: entry.zxid, transaction, asked, closed };
        let effects = self.effects_of(&cause)?;
        for (lock, effects) in effects {
            self.judged += 1;
            self.judge(&cause, &lock, effects)
                .map_err(|text| format!("entry {} on lock {lock}: {text}", entry.zxid))?;
        }
        self.check_ends(&cause)?;
        self.check_overdue(entry, transaction.time_ms)
    }

    /// Sorts an entry's changes by lock, and follows the znodes.
    fn effects_of(&mut self, cause: &Cause<'_>) -> Result<BTreeMap<String, Effects>, String> {
        let mut effects: BTreeMap<String, Effects> = BTreeMap::new();
        for change in &cause.transaction.changes {
            match change {
                Change::CreateZnode { path, data, kind, .. } => {
                    let Some((name, leaf)) = place_of(path) else { continue };
                    let found = effects.entry(name.into()).or_default();
                    let lock = self.locks.entry(name.into()).or_default();
                    match leaf {
                        "" => lock.has_object = true,
                        "holder" => found.granted.push(read_holder(path, data, *kind)?),
                        other => drop(lock.line.insert(other.into())),
                    }
                }
                Change::DeleteZnode { path } => {
                    let Some((name, leaf)) = place_of(path) else { continue };
                    let found = effects.entry(name.into()).or_default();
                    let lock = self.locks.entry(name.into()).or_default();
                    match leaf {
                        "" => lock.has_object = false,
                        "holder" => found.freed = true,
                        other => drop(lock.line.remove(other)),
                    }
                }
                Change::Park { ticket, session, sequence, mount, object, deadline_ms }
                    if mount.as_str() == LOCKS =>
                {
                    let (call, deadline_ms) = ((*session, *sequence), *deadline_ms);
                    self.lock_of_ticket.insert(*ticket, object.clone());
                    self.deadlines.extend(deadline_ms.map(|at_ms| (at_ms, *ticket)));
                    let waiter = Waiter { call, deadline_ms };
                    effects.entry(object.clone()).or_default().parked.push((*ticket, waiter));
                }
                Change::Complete { ticket, outcome } => {
                    let Some(name) = self.lock_of_ticket.get(ticket) else { continue };
                    let found = effects.entry(name.clone()).or_default();
                    found.completed.push((*ticket, outcome.clone()));
                }
                _ => {}
            }
        }
        Ok(effects)
    }

    fn judge(&mut self, cause: &Cause<'_>, name: &str, effects: Effects) -> Result<(), String> {
        let lock = self.locks.entry(name.into()).or_default();
        for (ticket, waiter) in effects.parked {
            if cause.call(name, "acquire") != Some(waiter.call) {
                return Err(format!("ticket {ticket:?} does not wait for the caller's acquire"));
            }
            lock.waiters.insert(ticket, waiter);
        }
        if effects.freed {
            free(lock, cause, name)?;
        }
        let mut pushed = None;
        for (ticket, outcome) in effects.completed {
            let Some(waiter) = lock.waiters.remove(&ticket) else {
                return Err(format!("ticket {ticket:?} is completed and waits for nothing"));
            };
            if let Some(at_ms) = waiter.deadline_ms {
                self.deadlines.remove(&(at_ms, ticket));
            }
            match outcome {
                Ok(reply) => {
                    if pushed.replace((ticket, waiter, grant_of(&reply))).is_some() {
                        return Err("two waiters are granted the lock at once".into());
                    }
                }
                Err(refusal) => check_wait_ended(cause, ticket, &waiter, &refusal)?,
            }
        }
        match (effects.granted.as_slice(), pushed) {
            ([], None) => {}
            ([holder], pushed) => take(lock, (cause, name), *holder, pushed, &self.sessions)?,
            (granted, pushed) => {
                return Err(format!("{granted:?} are made holders, {pushed:?} is told so"));
            }
        }
        check_standing(lock)
    }

    /// Whoever's session has ended holds nothing and waits for nothing.
    fn check_ends(&self, cause: &Cause<'_>) -> Result<(), String> {
        if cause.closed.is_empty() {
            return Ok(());
        }
        for (name, lock) in &self.locks {
            let holder = lock.hold().map(|hold| hold.holder.session);
            let waiting = lock.waiters.values().map(|waiter| waiter.call.0);
            if let Some(session) =
                holder.into_iter().chain(waiting).find(|id| cause.closed.contains(id))
            {
                let zxid = cause.zxid;
                return Err(format!(
                    "session {session} ended in entry {zxid} and keeps its place at lock {name}"
                ));
            }
        }
        Ok(())
    }

    fn check_overdue(&mut self, entry: &CommittedEntry, time_ms: u64) -> Result<(), String> {
        let first = self.deadlines.first().filter(|(at_ms, _)| *at_ms <= time_ms);
        let Some((at_ms, ticket)) = first.copied() else {
            self.overdue = None;
            return Ok(());
        };
        let (term, now_ms) = (entry.term, entry.moment.at_ms);
        let fresh = Overdue { ticket, term, since_ms: now_ms, entries: 0 };
        let known = self.overdue.filter(|known| (known.ticket, known.term) == (ticket, term));
        let mut overdue = known.unwrap_or(fresh);
        overdue.entries += 1;
        self.overdue = Some(overdue);
        if now_ms - overdue.since_ms > OVERDUE_MS && overdue.entries > OVERDUE_ENTRIES {
            return Err(format!(
                "ticket {ticket:?} should have timed out at {at_ms}; entry {} of one leader later it \
                 still waits, at {time_ms}",
                overdue.entries
            ));
        }
        Ok(())
    }

    fn judge_told(&mut self, history: &History, id: OperationId) -> Result<(), String> {
        let asked = history.operation(id);
        let Operation::Call { object, operation, arguments } = &asked.operation else {
            return Ok(());
        };
        let (Some(name), Some(ending), Some(call)) = (lock_of(object), &asked.ended, asked.request)
        else {
            return Ok(());
        };
        let Some(outcome) = ending.outcome() else { return Ok(()) };
        self.judged += 1;
        let newest_asked = self.asked_at.remove(&id);
        let lock = self.locks.entry(name.into()).or_default();
        let judged = match (operation.as_str(), &outcome) {
            ("acquire", Ok(reply)) => {
                let told = check_grant(lock, call, reply);
                told.and_then(|fence| self.remember_told(name, fence, (asked.client, call.0)))
            }
            ("acquire", Err(refusal)) if code(refusal) == "held" => {
                check_held(lock, newest_asked, arguments, ending, refusal)
            }
            ("release", told) => check_release(lock, call, arguments, ending, told),
            ("holder", Ok(reply)) => check_shown_holder(lock, ending, reply),
            _ => Ok(()),
        };
        judged.map_err(|text| {
            let (session, sequence) = call;
            format!("session {session}, request {sequence}, {operation} of lock {name}: {text}")
        })
    }

    fn remember_told(
        &mut self,
        name: &str,
        fence: u64,
        who: (usize, SessionId),
    ) -> Result<(), String> {
        match self.told.insert((name.into(), fence), who) {
            Some(before) if before != who => Err(format!(
                "fence {fence} was granted to client {} in session {} and to client {} in session {}",
                before.0, before.1, who.0, who.1
            )),
            _ => Ok(()),
        }
    }

    /// The guarded resource takes a write, or refuses it.
    fn write(&mut self, client: usize, path: &str, fence: u64) -> Result<(), String> {
        self.judged += 1;
        let name = path.rsplit('/').next().unwrap_or(path);
        let writer = self.told.get(&(name.into(), fence));
        if writer.map(|(known, _)| *known) != Some(client) {
            return Err(format!(
                "client {client} writes to what {path} guards with fence {fence}, which was told to \
                 {writer:?}"
            ));
        }
        let lock = self.locks.entry(name.into()).or_default();
        if fence >= lock.resource_fence {
            lock.resource_fence = fence;
            return Ok(());
        }
        match lock.hold() {
            Some(hold) if hold.holder.fence == fence => Err(format!(
                "client {client} holds {path} under fence {fence} and is refused: the resource has \
                 seen {}",
                lock.resource_fence
            )),
            _ => Ok(()),
        }
    }
}

/// The holder leaves: by its release, or with its session.
fn free(lock: &mut Lock, cause: &Cause<'_>, name: &str) -> Result<(), String> {
    let Some(hold) = lock.holds.last_mut().filter(|hold| hold.until.is_none()) else {
        return Err("the holder goes and there is none".into());
    };
    let holder = hold.holder;
    if let Some(release) = cause.call(name, "release") {
        if release.0 != holder.session || cause.released_fence() != Some(holder.fence) {
            return Err(format!(
                "session {} releases fence {:?}, the holder is {holder:?}",
                release.0,
                cause.released_fence()
            ));
        }
        hold.released_by = Some(release);
    } else if !cause.closed.contains(&holder.session) {
        return Err(format!("{holder:?} loses the lock and neither released it nor ended"));
    }
    hold.until = Some(cause.zxid);
    Ok(())
}

/// A wait ends without a grant.
fn check_wait_ended(
    cause: &Cause<'_>,
    ticket: TicketId,
    waiter: &Waiter,
    refusal: &Refusal,
) -> Result<(), String> {
    let session = waiter.call.0;
    let right = match refusal.code {
        ErrorCode::TimedOut => {
            waiter.deadline_ms.is_some_and(|at_ms| at_ms <= cause.transaction.time_ms)
        }
        ErrorCode::SessionExpired => cause.closed.contains(&session),
        ErrorCode::Cancelled => true,
        _ => false,
    };
    if right {
        return Ok(());
    }
    let time_ms = cause.transaction.time_ms;
    Err(format!("ticket {ticket:?} of {waiter:?} ends at {time_ms} with {refusal}"))
}

/// A call becomes the holder: at once, or pushed from the line.
fn take(
    lock: &mut Lock,
    (cause, name): (&Cause<'_>, &str),
    holder: Holder,
    pushed: Option<(TicketId, Waiter, Option<Grant>)>,
    sessions: &BTreeSet<SessionId>,
) -> Result<(), String> {
    if let Some(before) = lock.hold() {
        return Err(format!("{holder:?} is made holder beside {:?}", before.holder));
    }
    let newest = lock.holds.last().map_or(0, |hold| hold.holder.fence);
    if holder.fence != cause.zxid.0 || holder.fence <= newest {
        return Err(format!("{holder:?} has not the fence of its grant, above {newest}"));
    }
    if !sessions.contains(&holder.session) {
        return Err(format!("{holder:?} is granted to a session that has ended"));
    }
    let (acquired_by, grant) = match pushed {
        Some((_, waiter, grant)) => (Some(waiter.call), grant),
        None => {
            let reply = cause.transaction.reply.as_ref().and_then(|outcome| outcome.as_ref().ok());
            (cause.call(name, "acquire"), reply.and_then(grant_of))
        }
    };
    let Some(acquired_by) = acquired_by.filter(|call| call.0 == holder.session) else {
        return Err(format!("{holder:?} is made holder and its session did not ask"));
    };
    if grant.map(|grant| grant.fence) != Some(holder.fence) {
        return Err(format!("{holder:?} is told {grant:?}"));
    }
    let behind = pushed.map(|(ticket, ..)| ticket);
    let older = lock.waiters.keys().next().filter(|first| behind.is_none_or(|own| **first < own));
    if let Some(older) = older {
        return Err(format!(
            "{acquired_by:?} overtakes ticket {older:?} {:?}",
            lock.waiters[older]
        ));
    }
    if lock.holds.iter().rev().take(64).any(|hold| hold.acquired_by == acquired_by) {
        return Err(format!("the acquire {acquired_by:?} is granted a second time"));
    }
    lock.holds.push(Hold { holder, acquired_by, until: None, released_by: None });
    Ok(())
}

/// After every entry: who waits waits for somebody, the line is the tickets, a free lock is nothing.
fn check_standing(lock: &Lock) -> Result<(), String> {
    let held = lock.hold().is_some();
    if !held && !lock.waiters.is_empty() {
        return Err(format!("the lock is free and {:?} wait", lock.waiters));
    }
    let line: BTreeSet<String> =
        lock.waiters.keys().map(|ticket| format!("waiter-{:020}", ticket.0)).collect();
    if line != lock.line {
        return Err(format!("{:?} stand in line, {:?} wait", lock.line, lock.waiters));
    }
    if held != lock.has_object {
        let there = if lock.has_object { "there" } else { "gone" };
        return Err(format!("the lock's object is {there}, its holder {:?}", lock.hold()));
    }
    Ok(())
}

fn check_grant(lock: &Lock, call: CallName, reply: &Reply) -> Result<u64, String> {
    let Some(Grant { fence }) = grant_of(reply) else {
        return Err(format!("{reply:?} is no grant"));
    };
    match lock.hold_of(fence) {
        Some(hold) if hold.acquired_by == call => Ok(fence),
        other => Err(format!("it was told of fence {fence}; the log has {other:?}")),
    }
}

/// Refused because somebody holds it: somebody did, between asking and the answer.
fn check_held(
    lock: &Lock,
    newest_asked: Option<Zxid>,
    arguments: &[u8],
    ending: &Ending,
    refusal: &Refusal,
) -> Result<(), String> {
    let wanted: Result<Acquire, _> = serde_cbor::from_slice(arguments);
    if wanted.is_ok_and(|wanted| wanted.wait_ms != Some(0)) {
        return Err(format!("it would have waited and was refused: {refusal}"));
    }
    let Ok(shown) = serde_cbor::from_slice::<Holder>(&refusal.detail) else {
        return Err(format!("the refusal does not show the holder: {refusal:?}"));
    };
    let hold = lock.hold_of(shown.fence).filter(|hold| hold.holder == shown);
    let (from, to) = (newest_asked.unwrap_or_default(), ending.zxid.unwrap_or_default());
    match hold {
        Some(hold) if shown.fence <= to.0 && hold.until.is_none_or(|until| until > from) => Ok(()),
        other => Err(format!(
            "asked after {from} and refused at {to} because of {shown:?}; the log has {other:?}"
        )),
    }
}

fn check_release(
    lock: &Lock,
    call: CallName,
    arguments: &[u8],
    ending: &Ending,
    outcome: &Outcome,
) -> Result<(), String> {
    let Ok(Grant { fence }) = serde_cbor::from_slice(arguments) else { return Ok(()) };
    let hold = lock.hold_of(fence).filter(|hold| hold.holder.session == call.0);
    let at = ending.zxid.unwrap_or_default();
    match (outcome, hold) {
        (Ok(_), Some(hold)) if hold.released_by == Some(call) => Ok(()),
        (Ok(_), other) => Err(format!("fence {fence} was released; the log has {other:?}")),
        (Err(refusal), Some(hold)) if code(refusal) == "not-holder" => {
            if hold.released_by == Some(call) || hold.until.is_none_or(|until| until > at) {
                return Err(format!("refused at {at} as not the holder; the log has {hold:?}"));
            }
            Ok(())
        }
        (Err(_), _) => Ok(()),
    }
}

fn check_shown_holder(lock: &Lock, ending: &Ending, reply: &Reply) -> Result<(), String> {
    let Reply::Called(bytes) = reply else { return Ok(()) };
    let Ok(shown) = serde_cbor::from_slice::<Option<Holder>>(bytes) else {
        return Err(format!("{reply:?} is no holder"));
    };
    let zxid = ending.zxid.unwrap_or_default();
    let known = lock.holder_at(zxid);
    if shown == known {
        return Ok(());
    }
    Err(format!("{shown:?} was shown at {zxid}; by the log it was {known:?}"))
}

fn code(refusal: &Refusal) -> &str {
    refusal.recipe_code.as_deref().unwrap_or_default()
}

/// The name of the lock that a path below the mount belongs to, and the rest.
fn place_of(path: &ZnodePath) -> Option<(&str, &str)> {
    let relative = path.relative_to(&locks()).filter(|relative| !relative.is_empty())?;
    Some(relative.split_once('/').unwrap_or((relative, "")))
}

fn lock_of(object: &ZnodePath) -> Option<&str> {
    place_of(object).map(|(name, _)| name)
}

fn locks() -> ZnodePath {
    path(LOCKS)
}

fn read_holder(path: &ZnodePath, data: &[u8], kind: ZnodeKind) -> Result<Holder, String> {
    let Ok(holder) = serde_cbor::from_slice::<Holder>(data) else {
        return Err(format!("{path} holds no holder"));
    };
    if kind != ZnodeKind::Ephemeral(holder.session) {
        return Err(format!("{path} of {holder:?} does not go with its session: {kind:?}"));
    }
    Ok(holder)
}

impl Checker for Locks {
    fn name(&self) -> &'static str {
        "locks"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => self.follow(history, entry),
            Observation::Asked { id } => {
                if matches!(history.operation(*id).operation, Operation::Call { .. }) {
                    self.asked_at.insert(*id, history.newest());
                }
                Ok(())
            }
            Observation::Ended { id } => self.judge_told(history, *id),
            Observation::ResourceWritten { client, lock, fence } => {
                self.write(*client, lock, *fence)
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, history: &History, _rest: &Rest<'_>) -> Result<(), String> {
        match self.overdue {
            Some(overdue) if history.now.at_ms - overdue.since_ms > OVERDUE_MS => {
                Err(format!("at the end {overdue:?} still waits"))
            }
            _ => Ok(()),
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_machine::Origin;

    const FIRST: Waiter = Waiter { call: (SessionId(1), 1), deadline_ms: None };
    const SECOND: Waiter = Waiter { call: (SessionId(2), 1), deadline_ms: None };

    fn queue() -> Lock {
        let mut lock = Lock { has_object: true, ..Lock::default() };
        for (ticket, waiter) in [(TicketId(1), FIRST), (TicketId(2), SECOND)] {
            lock.waiters.insert(ticket, waiter);
            lock.line.insert(format!("waiter-{:020}", ticket.0));
        }
        lock
    }

    /// The caller of a ticket is pushed a grant in entry 9.
    fn push(
        mut lock: Lock,
        ticket: TicketId,
        fence: u64,
        live: &[SessionId],
    ) -> Result<(), String> {
        let (origin, changes, reply, call) = (Origin::Leader, Vec::new(), None, None);
        let transaction = Transaction { time_ms: 0, origin, changes, reply, call };
        let closed = BTreeSet::new();
        let cause = Cause { zxid: Zxid(9), transaction: &transaction, asked: None, closed };
        let waiter = lock.waiters.remove(&ticket).expect("it waits");
        let holder = Holder { session: waiter.call.0, fence };
        let pushed = Some((ticket, waiter, Some(Grant { fence })));
        let live = live.iter().copied().collect();
        take(&mut lock, (&cause, "a"), holder, pushed, &live)
    }

    #[test]
    fn a_free_lock_with_waiters_is_a_lost_wake_up() {
        assert!(check_standing(&queue()).is_err());
        check_standing(&Lock::default()).unwrap();
    }

    #[test]
    fn the_oldest_waiter_is_next_under_a_fence_of_its_own_while_its_session_lives() {
        let live = [SessionId(1), SessionId(2)];
        push(queue(), TicketId(1), 9, &live).unwrap();
        assert!(push(queue(), TicketId(2), 9, &live).is_err(), "overtaken");
        assert!(push(queue(), TicketId(1), 8, &live).is_err(), "not its own fence");
        assert!(push(queue(), TicketId(1), 9, &live[1..]).is_err(), "its session has ended");
    }

    #[test]
    fn the_resource_never_refuses_the_holder() {
        let mut locks = Locks::default();
        locks.remember_told("a", 5, (0, SessionId(1))).unwrap();
        locks.remember_told("a", 6, (0, SessionId(1))).unwrap();
        assert!(locks.remember_told("a", 6, (1, SessionId(2))).is_err());
        locks.remember_told("a", 7, (1, SessionId(2))).unwrap();
        assert!(locks.write(1, "/locks/a", 5).is_err(), "not its fence");
        locks.write(1, "/locks/a", 7).unwrap();
        let holder = Holder { session: SessionId(2), fence: 7 };
        let hold = Hold { holder, acquired_by: (SessionId(2), 1), until: None, released_by: None };
        let lock = locks.locks.entry("a".into()).or_default();
        lock.holds.push(hold);
        lock.resource_fence = 8;
        assert!(locks.write(1, "/locks/a", 7).is_err());
    }
}
