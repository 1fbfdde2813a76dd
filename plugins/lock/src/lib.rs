//! A fair lock with fencing tokens.
//!
//! The znodes of an object, `/locks/orders` say:
//!
//! ```text
//! holder             a Claim, owned by the holder's session
//! waiter-<ticket>    a Claim, owned by the waiter's session; sorts by arrival, after `holder`
//! ```
//!
//! Comes in: acquire and release; ends of sessions and of waits. Goes out: grants, pushed to those
//! who wait.
//!
//! Promises (README.md has them in full): at most one holder; those who wait get the lock in order of
//! arrival, each by one push; every grant has a greater fence than those before; what a session holds
//! passes on, and its places in line go, in the transaction that ends it; a wait ends at its limit.
//!
//! Invariants: waiters exist only while there is a holder, and a free lock has no znodes: its object
//! is reaped. A fence is the zxid of its grant, and no transaction grants one lock twice.
//! Must never: grant to a session that has ended or is ending.

use quorate_recipe::prelude::*;

/// How to wait, and what to tell others.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// Milliseconds to wait in line; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// Shown to whoever asks for the holder.
    #[serde(default)]
    pub note: String,
}

/// The lock is yours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Grant {
    /// Send it with every write to what the lock guards, and let that refuse a smaller one than it
    /// has seen.
    pub fence: u64,
}

/// Which grant to give back.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The fence of the grant.
    pub fence: u64,
}

/// Who has the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Holder {
    /// The session.
    pub session: SessionId,
    /// Who the session's connection proved to be.
    pub identity: String,
    /// The fence of its grant.
    pub fence: u64,
    /// What it said when it acquired.
    pub note: String,
    /// When it was granted: milliseconds since 1970, by the leader's stamp.
    pub since_ms: u64,
}

/// A caller in line.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
struct Waiter {
    ticket: Ticket<Grant>,
    session: SessionId,
    identity: String,
    note: String,
}

const HOLDER: &str = "holder";

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Lock;

/// A fair lock with fencing tokens. Not reentrant.
#[recipe(name = "lock", version = "1.0.0", state = 1)]
impl Lock {
    /// Takes the lock, or waits in line for it. Every acquire is a claim of its own, also within
    /// one session. Refused `held` if it may not wait.
    #[command]
    pub fn acquire(call: &Call, wanted: Acquire) -> Result<Reply<Grant>> {
        let Some(holder) = call.get::<Holder>(HOLDER)? else {
            let session = call.session();
            return Ok(grant(call, session, call.identity().into(), wanted.note)?.into());
        };
        if wanted.wait_ms == Some(0) {
            let message = format!("the lock is held by session {}", holder.session);
            return Err(Failure::new("held", message).with_detail(&holder));
        }
        let ticket = call.park(wanted.wait_ms);
        let waiter = Waiter {
            ticket,
            session: call.session(),
            identity: call.identity().into(),
            note: wanted.note,
        };
        call.create_owned(&waiter_name(&ticket.key()), &waiter, call.session())?;
        Ok(Reply::Parked(ticket))
    }

    /// Gives the lock back, to the first in line. Refused `not-holder` unless the caller's session
    /// holds it under this fence.
    #[command]
    pub fn release(call: &Call, released: Release) -> Result<()> {
        match call.get::<Holder>(HOLDER)? {
            Some(holder) if holder.session == call.session() && holder.fence == released.fence => {
                pass_on(call)
            }
            holder => Err(Failure::new("not-holder", "you do not hold the lock under this fence")
                .with_detail(&holder)),
        }
    }

    /// Who holds the lock; none if it is free.
    #[query]
    pub fn holder(call: &Call) -> Result<Option<Holder>> {
        call.get(HOLDER)
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        match run.get::<Holder>(HOLDER)? {
            Some(holder) if holder.session == session => pass_on(run),
            // Its places in line go with the session; nobody behind them is next.
            _ => Ok(()),
        }
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        run.delete(&waiter_name(&ended.ticket.key())).map(drop)
    }
}

fn waiter_name(key: &str) -> String {
    format!("waiter-{key}")
}

fn grant(run: &Run, session: SessionId, identity: String, note: String) -> Result<Grant> {
    let fence = run.zxid();
    let holder = Holder { session, identity, fence, note, since_ms: run.now_ms() };
    run.create_owned(HOLDER, &holder, session)?;
    Ok(Grant { fence })
}

/// Makes the first caller in line who is still there the holder.
fn pass_on(run: &Run) -> Result<()> {
    run.delete(HOLDER)?;
    while let Some((name, waiter)) = run.first_after::<Waiter>("", HOLDER)? {
        run.delete(&name)?;
        let granted = Grant { fence: run.zxid() };
        if run.is_live(waiter.session) && run.complete(waiter.ticket, &granted)? {
            return grant(run, waiter.session, waiter.identity, waiter.note).map(drop);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
