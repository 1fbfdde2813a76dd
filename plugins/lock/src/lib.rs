//! A fair lock with fencing tokens.
//!
//! The znodes of an object, `/locks/orders` say:
//!
//! ```text
//! delay              a Delay: its holder's session ended, and others are to wait a while
//! holder             a Holder, owned by the holder's session
//! waiter-<ticket>    a Claim, owned by the waiter's session; sorts by arrival, after `holder`
//! ```
//!
//! In the layout of ZooKeeper there are more, by which clients of ZooKeeper contend for the same lock:
//! `layout` has them.
//!
//! Comes in: acquire and release, of one lock or of several; requests to give way; ends of sessions,
//! of waits and of holds; what clients of ZooKeeper create and delete. Goes out: grants, pushed to those who wait.
//!
//! Promises (README.md has them in full): at most one holder; those who wait get the lock in order of
//! arrival, each by one push; every grant has a greater fence than those before; what a session holds
//! passes on, and its places in line go, in the transaction that ends it; a wait ends at its limit;
//! several locks are had all at once or not at all, and nobody waits in a circle.
//!
//! Invariants: waiters exist only while there is something to wait for, a holder, a delay, another lock
//! that the first in line wants too, a client of ZooKeeper that came before, or a timer that goes on
//! passing the lock on; a free lock has no znodes, its object is reaped, except in the layout of
//! ZooKeeper. A fence is the zxid of its grant, and no transaction grants one lock twice.
//! Must never: grant to a session that has ended or is ending.

mod layout;
mod line;
mod messages;

use line::{Claim, DELAY, Delay, HOLDER};
pub use messages::{
    Acquire, AcquireAll, Break, Config, Grant, Holder, Layout, Release, ReleaseAll, Released,
    Revoke,
};
use messages::{NOTE_BYTES_MAX, OBJECTS_MAX};
use quorate_recipe::prelude::*;
use std::collections::BTreeSet;

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Lock;

/// A fair lock with fencing tokens, alone or several at once.
#[recipe(name = "lock", version = "1.0.0", state = 1, config = Config)]
impl Lock {
    /// Takes the lock, or waits in line for it. Every acquire is a claim of its own, also within
    /// one session, unless it is reentrant. Refused `held` if it may not wait, `line-full`,
    /// `note-too-long`; `too-many-contenders` and `numbers-used-up` beside clients of ZooKeeper.
    #[command]
    pub fn acquire(call: &Call, wanted: Acquire) -> Result<Reply<Grant>> {
        check(wanted.hold_ms, &wanted.note)?;
        let claim = Claim {
            ticket: None,
            session: call.session(),
            identity: call.identity().into(),
            note: wanted.note,
            reentrant: wanted.reentrant,
            hold_ms: wanted.hold_ms,
            delay_ms: wanted.delay_ms,
            with: Vec::new(),
            places: Vec::new(),
        };
        let own = [Object::clone(call)];
        if let Some(holder) = call.get::<Holder>(HOLDER)?.filter(|holder| {
            wanted.reentrant && holder.depth > 0 && holder.session == call.session()
        }) {
            return Ok(reenter(call, holder, wanted.hold_ms)?.into());
        }
        let is_shared = layout::is_shared(call)?;
        let claim = if is_shared { layout::take_places(call, claim)? } else { claim };
        if line::is_next(call, &claim)? {
            return Ok(line::grant(call, &own, claim)?.into());
        }
        wait(call, &own, wanted.wait_ms, claim)
    }

    /// Takes this lock and others of the mount, all at once, or waits in all their lines. Refused
    /// `held` if it may not wait; `one-at-a-time` beside clients of ZooKeeper.
    #[command]
    pub fn acquire_all(call: &Call, wanted: AcquireAll) -> Result<Reply<Grant>> {
        check(wanted.hold_ms, &wanted.note)?;
        layout::one_at_a_time(call)?;
        let objects_max = call.config::<Config>()?.objects_max;
        let locks = locks(call, wanted.with, objects_max)?;
        let claim = Claim {
            ticket: None,
            session: call.session(),
            identity: call.identity().into(),
            note: wanted.note,
            reentrant: false,
            hold_ms: wanted.hold_ms,
            delay_ms: wanted.delay_ms,
            with: locks.iter().map(|lock| lock.path().to_owned()).collect(),
            places: Vec::new(),
        };
        for lock in &locks {
            if !line::is_idle(lock)? {
                return wait(call, &locks, wanted.wait_ms, claim);
            }
        }
        locks.iter().try_for_each(Object::ensure)?;
        Ok(line::grant(call, &locks, claim)?.into())
    }

    /// Gives the lock back, to the first in line. Refused `not-holder` unless the caller's session
    /// holds it under this fence.
    #[command]
    pub fn release(call: &Call, released: Release) -> Result<()> {
        match call.get::<Holder>(HOLDER)? {
            Some(holder) if is_own(call, &holder, released.fence) => {
                if holder.depth > 1 {
                    let holder = Holder { depth: holder.depth - 1, ..holder };
                    return call.set(HOLDER, &holder).map(drop);
                }
                pass_on(call, call, &holder)
            }
            holder => Err(not_holder(holder.as_ref())),
        }
    }

    /// Gives back what is still held under this fence of this lock and others, or of all that were
    /// acquired with this one. Refused `not-holder` if none is; `one-at-a-time` beside clients of ZooKeeper.
    #[command]
    pub fn release_all(call: &Call, given: ReleaseAll) -> Result<Released> {
        layout::one_at_a_time(call)?;
        let with = match (given.with, call.get::<Holder>(HOLDER)?) {
            (Some(with), _) => with,
            (None, Some(holder)) if is_own(call, &holder, given.fence) => holder.with,
            (None, holder) => return Err(not_holder(holder.as_ref())),
        };
        let mut released = Vec::new();
        for lock in locks(call, with, OBJECTS_MAX)? {
            if let Some(holder) = lock.get::<Holder>(HOLDER)?
                && is_own(call, &holder, given.fence)
            {
                line::free(call, &lock, &holder)?;
                released.push(lock.path().to_owned());
            }
        }
        if released.is_empty() {
            return Err(not_holder(call.get(HOLDER)?.as_ref()));
        }
        line::settle(call, released.clone())?;
        Ok(Released { released })
    }

    /// Asks the holder to release, who sees it in `holder`; at the deadline the lock passes on. A
    /// later deadline than one that is set changes nothing. Refused `free` if nobody holds it,
    /// `other-holder` if it is not the one meant, `foreign-holder` if a client of ZooKeeper has it.
    #[command]
    pub fn revoke(call: &Call, wanted: Revoke) -> Result<Holder> {
        let Some(mut holder) = meant(call, wanted.fence)? else { return Err(free(call)) };
        let at_ms = call.now_ms().saturating_add(wanted.within_ms);
        let at_ms = holder.revoke_at_ms.map_or(at_ms, |before_ms| before_ms.min(at_ms));
        holder.revoke_at_ms = Some(at_ms);
        call.set(HOLDER, &holder)?;
        set_timer(call, &holder);
        Ok(holder)
    }

    /// Takes the lock from its holder at once, or ends the delay after one: for an operator who knows
    /// that it is dead. Says who was displaced. Refused `free` if there is neither, `other-holder`
    /// if it is not the one meant, `foreign-holder` if a client of ZooKeeper has it, `not-admin`.
    #[command]
    pub fn r#break(call: &Call, wanted: Break) -> Result<Option<Holder>> {
        let admins = call.config::<Config>()?.admins;
        if !admins.is_empty() && !admins.iter().any(|admin| admin == call.identity()) {
            return Err(Failure::new("not-admin", "the mount names those who may break its locks"));
        }
        let displaced = meant(call, wanted.fence)?;
        match &displaced {
            Some(holder) => pass_on(call, call, holder)?,
            None if call.exists(DELAY) => {
                call.cancel_timer(&line::timer_name(call));
                end_delay(call, call)?;
            }
            None => return Err(free(call)),
        }
        Ok(displaced)
    }

    /// Who holds the lock; none if nobody does.
    #[query]
    pub fn holder(call: &Call) -> Result<Option<Holder>> {
        holder_of_any_kind(call)
    }

    #[on(mounted)]
    fn mounted(run: &Run) -> Result<()> {
        if (1..=OBJECTS_MAX).contains(&run.config::<Config>()?.objects_max) {
            return Ok(());
        }
        Err(Failure::new("bad-config", format!("`objects_max` is 1 to {OBJECTS_MAX}")))
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, before: Config) -> Result<()> {
        if before.layout != run.config::<Config>()?.layout && run.count("")? > 0 {
            let message = "the layout changes only while the mount has no locks: delete them";
            return Err(Failure::new("layout-in-use", message));
        }
        Lock::mounted(run)
    }

    #[on(znode_changed)]
    fn znode_changed(run: &Run, path: &str) -> Result<()> {
        layout::changed(run, path)
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        let holder = run.get::<Holder>(HOLDER)?.filter(|holder| holder.session == session);
        if let Some(holder) = holder {
            line::free(run, run, &holder)?;
            let delay_ms = match holder.delay_ms {
                Some(delay_ms) => delay_ms,
                None => run.config::<Config>()?.delay_ms,
            };
            if delay_ms > 0 {
                let until_ms = run.now_ms().saturating_add(delay_ms);
                run.set_timer(&line::timer_name(run), until_ms);
                layout::hold_on(run, &holder)?;
                let (fence, places) = (holder.fence, holder.places);
                return run.put(DELAY, &Delay { until_ms, session, fence, places });
            }
        }
        line::settle(run, [run.path().to_owned()])
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        line::leave(run, &line::waiter_name(&ended.ticket.key()))
    }

    #[on(timer)]
    fn timer(run: &Run, name: &str) -> Result<()> {
        if let Some(name) = name.strip_prefix(line::GO_ON) {
            return line::settle(run, [name.to_owned()]);
        }
        let lock = line::lock_of(run, name.strip_prefix("deadline-").unwrap_or(name))?;
        let is_over = |at_ms: u64| at_ms <= run.now_ms();
        if let Some(holder) = lock.get::<Holder>(HOLDER)?
            && holder.deadline_ms().is_some_and(is_over)
        {
            return pass_on(run, &lock, &holder);
        }
        if lock.get::<Delay>(DELAY)?.is_some_and(|delay| is_over(delay.until_ms)) {
            end_delay(run, &lock)?;
        }
        Ok(())
    }
}

fn check(hold_ms: Option<u64>, note: &str) -> Result<()> {
    if hold_ms == Some(0) {
        return Err(Failure::new("out-of-range", "a hold lasts a millisecond at least"));
    }
    if note.len() > NOTE_BYTES_MAX {
        let message = format!("a note has at most {NOTE_BYTES_MAX} bytes");
        return Err(Failure::new("note-too-long", message));
    }
    Ok(())
}

/// The lock that is called and these others, in order of name.
fn locks(call: &Call, others: Vec<String>, objects_max: u32) -> Result<Vec<Object>> {
    if call.path().is_empty() {
        return Err(Failure::new("no-object", "call it on one of the locks, not on the mount"));
    }
    let mut names: BTreeSet<String> = others.into_iter().collect();
    names.insert(call.path().to_owned());
    if names.len() > objects_max as usize {
        let message = format!("at most {objects_max} locks at once");
        return Err(Failure::new("too-many-objects", message));
    }
    names.iter().map(|name| line::lock_of(call, name)).collect()
}

/// The session that holds the lock takes it once more; its end is put off, never brought forward.
fn reenter(call: &Call, mut holder: Holder, hold_ms: Option<u64>) -> Result<Grant> {
    let Some(depth) = holder.depth.checked_add(1) else {
        return Err(Failure::new("too-deep", "the lock is held too often"));
    };
    holder.depth = depth;
    let wanted_ms = hold_ms.map(|hold_ms| call.now_ms().saturating_add(hold_ms));
    if let (Some(ends_at_ms), Some(wanted_ms)) = (&mut holder.ends_at_ms, wanted_ms) {
        *ends_at_ms = wanted_ms.max(*ends_at_ms);
        set_timer(call, &holder);
    }
    call.set(HOLDER, &holder)?;
    Ok(Grant { fence: holder.fence })
}

fn set_timer(call: &Call, holder: &Holder) {
    if let Some(at_ms) = holder.deadline_ms() {
        call.set_timer(&line::timer_name(call), at_ms);
    }
}

/// Parks the caller in the lines of locks that cannot all be had now, unless it does not wait.
fn wait(call: &Call, locks: &[Object], wait_ms: Option<u64>, claim: Claim) -> Result<Reply<Grant>> {
    if wait_ms == Some(0) {
        return Err(held(call, locks)?);
    }
    let waiters_max = call.config::<Config>()?.waiters_max;
    for lock in locks {
        if line::waiters(lock, &claim)? >= waiters_max {
            let message = format!("{waiters_max} wait for lock {:?} already", lock.path());
            return Err(Failure::new("line-full", message));
        }
    }
    let ticket = line::stand(call, locks, wait_ms, claim)?;
    // Ends that were not heard of, as while the mount was suspended, are made good here.
    line::settle(call, locks.iter().map(|lock| lock.path().to_owned()))?;
    Ok(Reply::Parked(ticket))
}

/// The refusal of a caller that may not wait, with the holder who is in its way, if it is one.
fn held(call: &Call, locks: &[Object]) -> Result<Failure> {
    if let Some(holder) = layout::foreign_holder(call)? {
        let message = format!("a client of ZooKeeper holds the lock by {:?}", holder.places);
        return Ok(Failure::new("held", message).with_detail(&Some(holder)));
    }
    for lock in locks {
        if let Some(holder) = lock.get::<Holder>(HOLDER)? {
            let message = format!("the lock is held by session {}", holder.session);
            return Ok(Failure::new("held", message).with_detail(&holder));
        }
    }
    let message =
        "the lock is kept free after the end of its holder's session, or for those in line";
    Ok(Failure::new("held", message).with_detail(&None::<Holder>))
}

fn is_own(call: &Call, holder: &Holder, fence: u64) -> bool {
    holder.session == call.session() && holder.fence == fence
}

fn not_holder(holder: Option<&Holder>) -> Failure {
    Failure::new("not-holder", "you do not hold the lock under this fence").with_detail(&holder)
}

/// The refusal where a holder of the recipe's is needed and none is.
fn free(call: &Call) -> Failure {
    let none = || Failure::new("free", "nobody holds the lock");
    layout::spare_foreign(call).map_or_else(|failure| failure, |()| none())
}

fn holder_of_any_kind(call: &Call) -> Result<Option<Holder>> {
    match call.get(HOLDER)? {
        None => layout::foreign_holder(call),
        holder => Ok(holder),
    }
}

/// The holder, if it is the one meant.
fn meant(call: &Call, fence: Option<u64>) -> Result<Option<Holder>> {
    let holder = call.get::<Holder>(HOLDER)?;
    if let Some(fence) = fence
        && holder.as_ref().is_none_or(|holder| holder.fence != fence)
    {
        let message = "the lock is not held under this fence any more";
        return Err(Failure::new("other-holder", message).with_detail(&holder));
    }
    Ok(holder)
}

/// Whoever is first gets the lock that was kept from all.
fn end_delay(run: &Run, lock: &Object) -> Result<()> {
    let delay = lock.get::<Delay>(DELAY)?;
    lock.delete(DELAY)?;
    layout::give_up(lock, &delay.map(|delay| delay.places).unwrap_or_default())?;
    line::settle(run, [lock.path().to_owned()])
}

/// Takes the lock from its holder and gives it to the first in line.
fn pass_on(run: &Run, lock: &Object, holder: &Holder) -> Result<()> {
    line::free(run, lock, holder)?;
    line::settle(run, [lock.path().to_owned()])
}

#[cfg(test)]
mod tests;
