//! Who waits for which locks, and how a free lock passes on.
//!
//! Comes in: claims, locks that became free, waits that ended. Goes out: holders.
//!
//! A claim stands in the line of every lock it wants under one name, its ticket's, and is in all of
//! them or in none. It is served in one transaction, when each of its locks is free and it is first in
//! each line. Tickets grow, so of two claims the older one is before the other wherever they meet:
//! the oldest claim of all waits for holders only, and nobody waits in a circle. Whatever makes a lock
//! free or changes who is first in its line ends in [`settle`] for that lock, or in a timer that goes on
//! with it: no wake-up is lost, and no run is long.
//! Must never: serve a claim in part, one whose session has ended or is ending, or, in the layout of
//! ZooKeeper, one that a client of ZooKeeper is before.

use crate::layout::{self, Contender};
use crate::messages::{Grant, Holder};
use quorate_recipe::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const HOLDER: &str = "holder";
pub(crate) const DELAY: &str = "delay";
pub(crate) const WAITER: &str = "waiter-";
/// Before the name of a lock whose line is to be looked at further.
pub(crate) const GO_ON: &str = "go-on-";
/// Places that one run looks at. A session may have thousands in one line, and when it ends they are
/// stepped over: what is left then goes with the session before the next run.
const LOOKS_MAX: u32 = 150;

/// Whoever wants or gets a lock.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Claim {
    /// Of the caller who waits.
    pub(crate) ticket: Option<Ticket<Grant>>,
    pub(crate) session: SessionId,
    pub(crate) identity: String,
    pub(crate) note: String,
    #[serde(default)]
    pub(crate) reentrant: bool,
    #[serde(default)]
    pub(crate) hold_ms: Option<u64>,
    #[serde(default)]
    pub(crate) delay_ms: Option<u64>,
    /// Every lock it wants, if there are several.
    #[serde(default)]
    pub(crate) with: Vec<String>,
    /// By which it contends with clients of ZooKeeper, if it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) places: Vec<String>,
}

/// A lock is kept free because its holder's session ended.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Delay {
    pub(crate) until_ms: u64,
    pub(crate) session: SessionId,
    pub(crate) fence: u64,
    /// Which keep clients of ZooKeeper away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) places: Vec<String>,
}

impl Claim {
    /// Names of the locks it wants; it is in this one's line.
    fn wants(&self, own: &str) -> Vec<String> {
        if self.with.is_empty() { vec![own.to_owned()] } else { self.with.clone() }
    }
}

/// A lock by its name; the run's own may be the mount itself.
pub(crate) fn lock_of(run: &Run, name: &str) -> Result<Object> {
    if name == run.path() { Ok(Object::clone(run)) } else { run.sibling(name) }
}

pub(crate) fn waiter_name(key: &str) -> String {
    format!("{WAITER}{key}")
}

/// Of the timer for the end of a hold or a delay. It is set on the object of the run that began it,
/// which is not always the lock's own; one that comes late or in vain finds nothing to do.
pub(crate) fn timer_name(lock: &Object) -> String {
    format!("deadline-{}", lock.path())
}

/// Nobody holds it and nobody waits.
pub(crate) fn is_idle(lock: &Object) -> Result<bool> {
    Ok(!lock.exists("") || lock.count("")? == 0)
}

/// Whether a claim that arrives has its turn at once.
pub(crate) fn is_next(run: &Run, claim: &Claim) -> Result<bool> {
    if claim.places.is_empty() {
        return is_idle(run);
    }
    let is_first = is_free(run) && next_in_line(run, WAITER)?.is_none();
    Ok(is_first && !layout::is_before(layout::first_contender(run, run)?.as_ref(), &claim.places))
}

/// How many are in line before a claim. With places each has three znodes, as have the lock and the
/// claim together; three clients of ZooKeeper count as one.
pub(crate) fn waiters(lock: &Object, claim: &Claim) -> Result<u32> {
    if !lock.exists("") {
        return Ok(0);
    }
    let beside = u32::from(lock.exists(HOLDER)) + u32::from(lock.exists(DELAY));
    let znodes = lock.count("")?;
    let claims = if claim.places.is_empty() { znodes } else { (znodes / 3).saturating_sub(1) };
    Ok(claims.saturating_sub(beside))
}

pub(crate) fn is_free(lock: &Object) -> bool {
    !lock.exists(HOLDER) && !lock.exists(DELAY)
}

/// Makes a claim the holder of all its locks.
pub(crate) fn grant(run: &Run, locks: &[Object], claim: Claim) -> Result<Grant> {
    let (fence, since_ms) = (run.zxid(), run.now_ms());
    let holder = Holder {
        session: claim.session,
        identity: claim.identity,
        fence,
        note: claim.note,
        since_ms,
        depth: u32::from(claim.reentrant),
        ends_at_ms: claim.hold_ms.map(|hold_ms| since_ms.saturating_add(hold_ms)),
        revoke_at_ms: None,
        delay_ms: claim.delay_ms,
        with: claim.with,
        places: claim.places,
    };
    for lock in locks {
        lock.create_owned(HOLDER, &holder, holder.session)?;
        if let Some(at_ms) = holder.deadline_ms() {
            run.set_timer(&timer_name(lock), at_ms);
        }
    }
    Ok(Grant { fence })
}

/// Puts the caller in every line.
pub(crate) fn stand(
    call: &Call,
    locks: &[Object],
    wait_ms: Option<u64>,
    claim: Claim,
) -> Result<Ticket<Grant>> {
    let ticket = call.park(wait_ms);
    let claim = Claim { ticket: Some(ticket), ..claim };
    for lock in locks {
        lock.ensure()?;
        lock.create_owned(&waiter_name(&ticket.key()), &claim, claim.session)?;
    }
    Ok(ticket)
}

/// Takes a claim out of every line.
pub(crate) fn leave(run: &Run, name: &str) -> Result<()> {
    let Some(claim) = run.get::<Claim>(name)? else { return Ok(()) };
    let wanted = claim.wants(run.path());
    for lock in &wanted {
        lock_of(run, lock)?.delete(name)?;
    }
    layout::give_up(run, &claim.places)?;
    settle(run, wanted)
}

/// Takes the lock from its holder.
pub(crate) fn free(run: &Run, lock: &Object, holder: &Holder) -> Result<()> {
    lock.delete(HOLDER)?;
    layout::give_up(lock, &holder.places)?;
    if holder.deadline_ms().is_some() {
        run.cancel_timer(&timer_name(lock));
    }
    Ok(())
}

/// Passes locks on that may be free to those who are first in line; after many looks a timer goes on.
pub(crate) fn settle(run: &Run, names: impl IntoIterator<Item = String>) -> Result<()> {
    let mut unsettled: BTreeSet<String> = names.into_iter().collect();
    let mut looks_left = LOOKS_MAX;
    let mut contenders = Contenders::new();
    while let Some(name) = unsettled.pop_first() {
        let lock = lock_of(run, &name)?;
        if !is_free(&lock) {
            continue;
        }
        let Some((place, claim)) = first_in_line(run, &lock, &mut looks_left)? else {
            if looks_left == 0 {
                run.set_timer(&format!("{GO_ON}{name}"), run.now_ms().saturating_add(1));
            }
            continue;
        };
        if !claim.places.is_empty() && !is_before_others(run, (&lock, &mut contenders), &claim)? {
            continue;
        }
        let wanted = claim.wants(&name);
        let locks = wanted.iter().map(|name| lock_of(run, name)).collect::<Result<Vec<_>>>()?;
        if !claim.with.is_empty() && !is_ready(run, &locks, (&place, &mut looks_left))? {
            if looks_left == 0 {
                run.set_timer(&format!("{GO_ON}{name}"), run.now_ms().saturating_add(1));
            }
            continue;
        }
        for lock in &locks {
            lock.delete(&place)?;
        }
        let granted = Grant { fence: run.zxid() };
        match claim.ticket {
            Some(ticket) if run.complete(ticket, &granted)? => drop(grant(run, &locks, claim)?),
            // It has gone unheard: whoever is next in each of its lines may be served.
            _ => {
                layout::give_up(&lock, &claim.places)?;
                unsettled.extend(wanted);
            }
        }
    }
    Ok(())
}

/// Who is first of the clients of ZooKeeper, by lock: they come and go between runs only.
type Contenders = BTreeMap<String, Option<Contender>>;

/// Whether no client of ZooKeeper has its turn before a claim. If there are too many to tell, they have:
/// each that goes is a new event, and what made the lock free must not fail for their sake.
fn is_before_others(
    run: &Run,
    (lock, contenders): (&Object, &mut Contenders),
    claim: &Claim,
) -> Result<bool> {
    if !contenders.contains_key(lock.path()) {
        let first = match layout::first_contender(run, lock) {
            Err(failure) if failure.code == layout::TOO_MANY => {
                run.log(Level::Warn, failure.message);
                return Ok(false);
            }
            first => first?,
        };
        contenders.insert(lock.path().to_owned(), first);
    }
    let first = contenders.get(lock.path()).and_then(Option::as_ref);
    Ok(!layout::is_before(first, &claim.places))
}

/// The first place in line after one. Others' znodes may stand beside.
fn next_in_line(lock: &Object, after: &str) -> Result<Option<(String, Claim)>> {
    let next = lock.list("", Some(after), 1)?.pop();
    let next = next.filter(|child| child.name.starts_with(WAITER));
    next.map(|child| Ok((child.name.clone(), child.value()?))).transpose()
}

/// The first in line who can be served; places of a session that is ending go with it. Nobody, if no
/// looks are left.
fn first_in_line(
    run: &Run,
    lock: &Object,
    looks_left: &mut u32,
) -> Result<Option<(String, Claim)>> {
    let mut after = WAITER.to_owned();
    while *looks_left > 0
        && let Some((name, claim)) = next_in_line(lock, &after)?
    {
        *looks_left -= 1;
        if run.is_live(claim.session) {
            return Ok(Some((name, claim)));
        }
        after = name;
    }
    Ok(None)
}

/// Whether a claim has its turn everywhere.
fn is_ready(run: &Run, locks: &[Object], (place, looks): (&str, &mut u32)) -> Result<bool> {
    for lock in locks {
        let is_first = is_free(lock)
            && first_in_line(run, lock, looks)?.is_some_and(|(name, _)| name == place);
        if !is_first {
            return Ok(false);
        }
    }
    Ok(true)
}
