//! A fair semaphore: so much of something, leased out in quantities.
//!
//! The znodes of an object, `/capacity/database` say:
//!
//! ```text
//! pool                 a Pool: how much there is, how much is taken
//! session-<session>    a Holder: the leases of a session, who owns it
//! waiter-<ticket>      a Waiter, owned by its session; sorts by arrival, after the sessions
//! ```
//!
//! Comes in: acquire, release, renew, resize; ends of sessions, of waits and of leases. Goes out:
//! leases, pushed to those who wait.
//!
//! Invariants: what is taken is the sum of the leases; nothing is granted beyond the capacity; between
//! two runs the first in line does not fit, unless a timer is set that goes on admitting; a semaphore
//! that is not used and was not resized has no znodes: its object is reaped. No two leases of one
//! session have one fence.
//! Must never: let a small request pass a large one in line, or grant to a session that is ending.

mod messages;

pub use messages::{
    Acquire, Config, Grant, Holder, Lease, Leases, Page, Pool, Release, Renew, Resize,
};
use quorate_recipe::prelude::*;
use serde::de::IgnoredAny;

/// A caller in line.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
struct Waiter {
    ticket: Ticket<Grant>,
    session: SessionId,
    identity: String,
    quantity: u64,
    ttl_ms: Option<u64>,
    note: String,
}

const POOL: &str = "pool";
const HOLDER: &str = "session-";
/// Sorts after every session, before every waiter.
const LINE: &str = "waiter";
const ADMIT_TIMER: &str = "admit";
const PAGE_MAX: u32 = 200;
/// Leases of one session, and waiters that one run answers, at most, whatever the mount says.
const LEASES_MAX: u32 = 100;
const GRANTS_MAX: u32 = 100;
/// What one run may look at: places in line, each with the leases of its session.
const LOOKS_MAX: usize = 150;

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Semaphore;

/// A fair semaphore: so much of something, leased out in quantities.
#[recipe(name = "semaphore", version = "1.0.0", state = 1, config = Config)]
impl Semaphore {
    /// Takes a quantity, or waits in line for it. Refused `unavailable` if it may not wait, `full` if
    /// too many hold and wait.
    #[command]
    pub fn acquire(call: &Call, wanted: Acquire) -> Result<Reply<Grant>> {
        let config = call.config::<Config>()?;
        let mut pool = pool_for(call, &config, &wanted)?;
        check(call, &config, &wanted)?;
        let (session, identity) = (call.session(), call.identity().to_owned());
        let Acquire { quantity, ttl_ms, note, .. } = wanted;
        let is_first = call.first_after::<IgnoredAny>("", LINE)?.is_none();
        if is_first && has_room(&pool, quantity) {
            let grant = grant_now(call, ttl_ms);
            lease(call, &mut pool, (session, identity), lease_of(call, grant, quantity, note))?;
            call.put(POOL, &pool)?;
            return Ok(grant.into());
        }
        if wanted.wait_ms == Some(0) {
            let message = format!("{} of {} are taken", pool.taken, pool.capacity);
            return Err(Failure::new("unavailable", message).with_detail(&pool));
        }
        let ticket = call.park(wanted.wait_ms);
        let waiter = Waiter { ticket, session, identity, quantity, ttl_ms, note };
        call.create_owned(&waiter_name(&ticket.key()), &waiter, session)?;
        admit(call, pool)?;
        Ok(Reply::Parked(ticket))
    }

    /// Gives a lease back. Refused `no-lease` unless the caller's session has one under this fence.
    #[command]
    pub fn release(call: &Call, released: Release) -> Result<()> {
        let (mut holder, place) = own(call, released.fence)?;
        let lease = holder.leases.remove(place);
        keep(call, &holder, lease.ends_at_ms.is_some())?;
        give_back(call, lease.quantity)
    }

    /// Lets a lease last longer, or end sooner: from now on. Refused `no-lease` unless the caller's
    /// session has one under this fence.
    #[command]
    pub fn renew(call: &Call, renewed: Renew) -> Result<Grant> {
        check_ttl(renewed.ttl_ms)?;
        let (mut holder, place) = own(call, renewed.fence)?;
        let had_end = holder.leases[place].ends_at_ms.is_some();
        let ends_at_ms = grant_now(call, renewed.ttl_ms).ends_at_ms;
        holder.leases[place].ends_at_ms = ends_at_ms;
        keep(call, &holder, had_end || ends_at_ms.is_some())?;
        Ok(Grant { fence: renewed.fence, ends_at_ms })
    }

    /// Changes how much there is. Leases stay, also those beyond a smaller capacity; requests in line
    /// that can never be granted any more are refused `over-capacity` when it is their turn.
    #[command]
    pub fn resize(call: &Call, wanted: Resize) -> Result<Option<Pool>> {
        let before = call.get::<Pool>(POOL)?;
        let fallback = call.config::<Config>()?.capacity.or(before.map(|pool| pool.capacity));
        let Some(capacity) = wanted.capacity.or(fallback) else { return Ok(None) };
        if capacity == 0 {
            return Err(Failure::new("out-of-range", "a capacity is at least 1"));
        }
        let taken = before.map_or(0, |pool| pool.taken);
        admit(call, Pool { capacity, taken, resized: wanted.capacity.is_some() })
    }

    /// How much there is, and who has it, by pages.
    #[query]
    pub fn leases(call: &Call, page: Page) -> Result<Leases> {
        let limit = page.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX) as usize;
        let mut listed = Leases { pool: call.get(POOL)?, holders: Vec::new(), next: None };
        let (mut count, mut last) = (0, page.after);
        while listed.pool.is_some()
            && let Some(name) = holder_after(call, last)?
        {
            if count >= limit {
                listed.next = last;
                break;
            }
            let Some(holder) = call.get::<Holder>(&name)? else { break };
            count += holder.leases.len();
            last = Some(holder.session);
            listed.holders.push(holder);
        }
        Ok(listed)
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        let name = holder_name(session);
        let holder = run.get::<Holder>(&name)?;
        run.delete(&name)?;
        run.cancel_timer(&name);
        let leases = holder.iter().flat_map(|holder| &holder.leases);
        give_back(run, leases.map(|lease| lease.quantity).sum())
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        run.delete(&waiter_name(&ended.ticket.key()))?;
        give_back(run, 0)
    }

    #[on(timer)]
    fn timer(run: &Run, name: &str) -> Result<()> {
        let mut over = 0;
        if let Some(mut holder) = run.get::<Holder>(name)? {
            let now_ms = run.now_ms();
            holder.leases.retain(|lease| {
                let is_over = lease.ends_at_ms.is_some_and(|at_ms| at_ms <= now_ms);
                over += if is_over { lease.quantity } else { 0 };
                !is_over
            });
            keep(run, &holder, true)?;
        }
        give_back(run, over)
    }
}

fn waiter_name(key: &str) -> String {
    format!("waiter-{key}")
}

/// Of the znode with a session's leases, and of the timer of the first of them to end.
fn holder_name(session: SessionId) -> String {
    format!("{HOLDER}{session:020}")
}

fn holder_after(run: &Run, session: Option<SessionId>) -> Result<Option<String>> {
    let after = session.map_or_else(|| HOLDER.to_owned(), holder_name);
    let next = run.first_after::<IgnoredAny>("", &after)?.map(|(name, _)| name);
    Ok(next.filter(|name| name.starts_with(HOLDER)))
}

/// The pool as it is, or as this first use makes it.
fn pool_for(run: &Run, config: &Config, wanted: &Acquire) -> Result<Pool> {
    let mut pool = match (run.get::<Pool>(POOL)?, config.capacity.or(wanted.capacity)) {
        (Some(pool), _) => pool,
        (None, Some(capacity)) => Pool { capacity, taken: 0, resized: false },
        (None, None) => {
            let message = "the mount gives no capacity: say one at the first use";
            return Err(Failure::new("no-capacity", message));
        }
    };
    pool.follow(config);
    if !pool.resized && wanted.capacity.is_some_and(|capacity| capacity != pool.capacity) {
        let message = format!("the capacity is {}: change it by `resize`", pool.capacity);
        return Err(Failure::new("capacity-differs", message).with_detail(&pool));
    }
    if wanted.quantity > pool.capacity {
        return Err(over_capacity(&pool));
    }
    Ok(pool)
}

fn over_capacity(pool: &Pool) -> Failure {
    let message = format!("there are only {} in all", pool.capacity);
    Failure::new("over-capacity", message).with_detail(pool)
}

fn leases_max(config: &Config) -> u32 {
    config.leases_max.min(LEASES_MAX)
}

fn too_many_leases(config: &Config) -> Failure {
    let message = format!("a session has at most {} leases here", leases_max(config));
    Failure::new("too-many-leases", message)
}

fn check_ttl(ttl_ms: Option<u64>) -> Result<()> {
    match ttl_ms {
        Some(0) => Err(Failure::new("out-of-range", "a lease lasts a millisecond at least")),
        _ => Ok(()),
    }
}

fn check(call: &Call, config: &Config, wanted: &Acquire) -> Result<()> {
    check_ttl(wanted.ttl_ms)?;
    if wanted.quantity == 0 {
        return Err(Failure::new("out-of-range", "a quantity is at least 1"));
    }
    if wanted.note.len() > config.note_bytes_max as usize {
        let message = format!("a note has at most {} bytes", config.note_bytes_max);
        return Err(Failure::new("note-too-long", message));
    }
    let holder = call.get::<Holder>(&holder_name(call.session()))?;
    if holder.is_some_and(|holder| holder.leases.len() >= leases_max(config) as usize) {
        return Err(too_many_leases(config));
    }
    // The pool's own znode is one of them.
    if call.count("")? > config.claims_max {
        let message = format!("{} hold leases or wait for one already", config.claims_max);
        return Err(Failure::new("full", message));
    }
    Ok(())
}

fn has_room(pool: &Pool, quantity: u64) -> bool {
    pool.taken.checked_add(quantity).is_some_and(|taken| taken <= pool.capacity)
}

fn grant_now(run: &Run, ttl_ms: Option<u64>) -> Grant {
    let ends_at_ms = ttl_ms.map(|ttl_ms| run.now_ms().saturating_add(ttl_ms));
    Grant { fence: run.zxid(), ends_at_ms }
}

fn lease_of(run: &Run, grant: Grant, quantity: u64, note: String) -> Lease {
    let Grant { fence, ends_at_ms } = grant;
    Lease { fence, quantity, since_ms: run.now_ms(), ends_at_ms, note }
}

/// Enters a lease.
fn lease(
    run: &Run,
    pool: &mut Pool,
    (session, identity): (SessionId, String),
    lease: Lease,
) -> Result<()> {
    pool.taken += lease.quantity;
    let (name, has_end) = (holder_name(session), lease.ends_at_ms.is_some());
    match run.get::<Holder>(&name)? {
        Some(mut holder) => {
            holder.leases.push(lease);
            keep(run, &holder, has_end)
        }
        None => {
            let holder = Holder { session, identity, leases: vec![lease] };
            run.create_owned(&name, &holder, session)?;
            arm(run, &holder, has_end);
            Ok(())
        }
    }
}

/// Writes a session's leases back, or deletes the last trace of them.
fn keep(run: &Run, holder: &Holder, ends_changed: bool) -> Result<()> {
    let name = holder_name(holder.session);
    if holder.leases.is_empty() {
        run.delete(&name)?;
    } else {
        run.set(&name, holder)?;
    }
    arm(run, holder, ends_changed);
    Ok(())
}

/// Sets the session's timer to the first end among its leases.
fn arm(run: &Run, holder: &Holder, ends_changed: bool) {
    if !ends_changed {
        return;
    }
    let name = holder_name(holder.session);
    match holder.leases.iter().filter_map(|lease| lease.ends_at_ms).min() {
        Some(at_ms) => run.set_timer(&name, at_ms),
        None => drop(run.cancel_timer(&name)),
    }
}

/// The caller's leases, and which of them has this fence.
fn own(call: &Call, fence: u64) -> Result<(Holder, usize)> {
    let holder = call.get::<Holder>(&holder_name(call.session()))?;
    let place = |holder: Holder| {
        let place = holder.leases.iter().position(|lease| lease.fence == fence)?;
        Some((holder, place))
    };
    let message = "your session has no lease under this fence: it was released, or has ended";
    holder.and_then(place).ok_or_else(|| Failure::new("no-lease", message))
}

/// Makes a quantity free again and admits whom that concerns.
fn give_back(run: &Run, quantity: u64) -> Result<()> {
    let Some(mut pool) = run.get::<Pool>(POOL)? else { return Ok(()) };
    pool.taken = pool.taken.saturating_sub(quantity);
    admit(run, pool).map(drop)
}

/// Why a request can never be granted, if so.
fn hopeless(waiter: &Waiter, pool: &Pool, leases: &[Lease], config: &Config) -> Option<Failure> {
    if waiter.quantity > pool.capacity {
        return Some(over_capacity(pool));
    }
    (leases.len() >= leases_max(config) as usize).then(|| too_many_leases(config))
}

/// Grants leases to those at the head of the line who fit, and writes the pool.
fn admit(run: &Run, mut pool: Pool) -> Result<Option<Pool>> {
    let config = run.config::<Config>()?;
    pool.follow(&config);
    if holder_after(run, None)?.is_none() {
        // Ends that were not heard of, as while the mount was suspended, are made good here.
        pool.taken = 0;
    }
    let (mut after, mut seen, mut looks, mut is_waited_for) = (LINE.to_owned(), 0, 0, false);
    while let Some((name, waiter)) = run.first_after::<Waiter>("", &after)? {
        after.clone_from(&name);
        if looks >= LOOKS_MAX {
            is_waited_for = true;
            run.set_timer(ADMIT_TIMER, run.now_ms().saturating_add(1));
            break;
        }
        looks += 1;
        if !run.is_live(waiter.session) {
            // Its place goes with its session.
            continue;
        }
        let holder = run.get::<Holder>(&holder_name(waiter.session))?;
        let leases = holder.map_or_else(Vec::new, |holder| holder.leases);
        looks += leases.len();
        let refusal = hopeless(&waiter, &pool, &leases, &config);
        is_waited_for = refusal.is_none() && !has_room(&pool, waiter.quantity);
        if is_waited_for {
            break;
        }
        // A second grant to one session would have the fence of the first.
        let is_same_fence = leases.last().is_some_and(|lease| lease.fence == run.zxid());
        is_waited_for =
            seen >= config.grants_max.clamp(1, GRANTS_MAX) || (refusal.is_none() && is_same_fence);
        if is_waited_for {
            run.set_timer(ADMIT_TIMER, run.now_ms().saturating_add(1));
            break;
        }
        seen += 1;
        run.delete(&name)?;
        if let Some(refusal) = refusal {
            run.refuse(waiter.ticket.id(), refusal);
            continue;
        }
        let grant = grant_now(run, waiter.ttl_ms);
        if run.complete(waiter.ticket, &grant)? {
            let leased = lease_of(run, grant, waiter.quantity, waiter.note);
            lease(run, &mut pool, (waiter.session, waiter.identity), leased)?;
        }
    }
    if !is_waited_for && pool.taken == 0 && !pool.resized {
        run.delete(POOL)?;
        return Ok(None);
    }
    if run.get::<Pool>(POOL)? != Some(pool) {
        run.put(POOL, &pool)?;
    }
    Ok(Some(pool))
}

#[cfg(test)]
mod tests;
