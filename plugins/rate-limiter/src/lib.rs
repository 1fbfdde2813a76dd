//! A rate limiter: a token bucket, waits in line for it, and leased quotas.
//!
//! The znodes of an object, `/rates/mailer` say:
//!
//! ```text
//! bucket               the Level at a time; no such znode: the bucket is full
//! rate                 the object's own Rate
//! session-<session>    the leases of a session, who owns it
//! waiter-<ticket>      a Waiter, owned by its session; sorts by arrival, after all others
//! ```
//!
//! Comes in: tokens taken, leased and given back; rates; the time. Goes out: tokens, pushed to those
//! who wait.
//!
//! Invariants: in any span of time no more is taken than the burst and what comes in meanwhile; while
//! somebody waits, a timer is set for when the first in line can be served; a bucket that is full
//! again leaves no znode: an object without a rate of its own is reaped.
//! Must never: serve out of turn, or count back what was leased and not given back in time.

mod bucket;
mod messages;

use bucket::{Bucket, Level};
pub use messages::{
    Config, Configure, GiveBack, Lease, Quota, Rate, RetryAfter, Standing, Take, Taken,
};
use quorate_recipe::TicketId;
use quorate_recipe::prelude::*;

/// The leases of one session, in order of their fences.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
struct Holder {
    session: SessionId,
    leases: Vec<Quota>,
}

/// A caller in line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
struct Waiter {
    /// Of a `Quota` if it leases, of a `Taken` otherwise.
    ticket: TicketId,
    session: SessionId,
    tokens: u64,
    /// How long it leases them for.
    for_ms: Option<u64>,
}

const BUCKET: &str = "bucket";
const RATE: &str = "rate";
/// Sorts after everything but the waiters.
const LINE: &str = "waiter";
/// When the first in line can be served.
const TURN_TIMER: &str = "turn";
/// Leases of one session, and waiters that one run answers, at most, whatever the mount says.
const LEASES_MAX: u32 = 100;
const GRANTS_MAX: u32 = 100;
/// What one run may look at: places in line, each with the leases of its session.
const LOOKS_MAX: usize = 150;
/// When the bucket may be full again.
const FULL_TIMER: &str = "full";

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct RateLimiter;

/// A token bucket that callers take from, wait for in line, and lease from.
#[recipe(name = "rate-limiter", version = "1.0.0", state = 1, config = Config)]
impl RateLimiter {
    /// Takes tokens, or waits in line until they are there. Refused `limited` if they cannot be there
    /// within the wait.
    #[command]
    pub fn take(call: &Call, wanted: Take) -> Result<Reply<Taken>> {
        match draw(call, wanted.tokens, wanted.wait_ms, None)? {
            Drawn::Now(bucket) => Ok(Taken { left: bucket.left() }.into()),
            Drawn::Later(ticket) => Ok(Reply::Parked(Ticket::from_id(ticket))),
        }
    }

    /// Takes tokens as `take` does, to be spent without asking again. What is not given back in time
    /// counts as spent.
    #[command]
    pub fn lease(call: &Call, wanted: Lease) -> Result<Reply<Quota>> {
        let longest_ms = call.config::<Config>()?.lease_ms_max;
        if wanted.for_ms == 0 || wanted.for_ms > longest_ms {
            let message = format!("a lease lasts 1 to {longest_ms} ms");
            return Err(Failure::new("out-of-range", message));
        }
        match draw(call, wanted.tokens, wanted.wait_ms, Some(wanted.for_ms))? {
            Drawn::Now(_) => {
                Ok(enter_lease(call, call.session(), wanted.tokens, wanted.for_ms)?.into())
            }
            Drawn::Later(ticket) => Ok(Reply::Parked(Ticket::from_id(ticket))),
        }
    }

    /// Ends a lease and puts its unspent tokens back. Refused `no-lease` unless the caller's session
    /// has one under this fence.
    #[command]
    pub fn give_back(call: &Call, given: GiveBack) -> Result<Taken> {
        let holder = call.get::<Holder>(&holder_name(call.session()))?;
        let find = |holder: Holder| {
            // Its timer may be late: what comes back after its time counts as spent all the same.
            let is_meant =
                |lease: &Quota| lease.fence == given.fence && lease.ends_at_ms > call.now_ms();
            let place = holder.leases.iter().position(is_meant)?;
            Some((holder, place))
        };
        let Some((mut holder, place)) = holder.and_then(find) else {
            let message =
                "your session has no lease under this fence: it was given back or is over";
            return Err(Failure::new("no-lease", message));
        };
        let lease = holder.leases.remove(place);
        if given.unspent > lease.tokens {
            let message = format!("the lease was of {} tokens", lease.tokens);
            return Err(Failure::new("out-of-range", message));
        }
        keep(call, &holder)?;
        let config = call.config::<Config>()?;
        let mut bucket = bucket_of(call, &config)?;
        if let Some(bucket) = &mut bucket {
            bucket.put_back(given.unspent);
        }
        Ok(Taken { left: serve(call, &config, bucket)? })
    }

    /// Gives the object a rate of its own, or takes it away. Tokens in the bucket stay, as many as
    /// it holds; callers in line who ask for more than it holds are refused.
    #[command]
    pub fn configure(call: &Call, wanted: Configure) -> Result<Standing> {
        let config = call.config::<Config>()?;
        let before = bucket_of(call, &config)?;
        match wanted.rate {
            Some(rate) => call.put(RATE, &rate.check()?)?,
            None => drop(call.delete(RATE)?),
        }
        let rate = rate_of(call, &config)?;
        let level = before.filter(|bucket| !bucket.is_full()).map(|bucket| bucket.level());
        let bucket = rate.map(|rate| Bucket::at(rate, level, call.now_ms()));
        let left = serve(call, &config, bucket)?;
        Ok(Standing { rate, left })
    }

    /// The rate, and how many tokens are there.
    #[query]
    pub fn standing(call: &Call) -> Result<Standing> {
        let config = call.config::<Config>()?;
        let left = bucket_of(call, &config)?.map_or(0, |bucket| bucket.left());
        Ok(Standing { rate: rate_of(call, &config)?, left })
    }

    #[on(mounted)]
    fn mounted(run: &Run) -> Result<()> {
        run.config::<Config>()?.rate.map_or(Ok(()), |rate| rate.check().map(drop))
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, _before: Config) -> Result<()> {
        RateLimiter::mounted(run)
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        run.cancel_timer(&holder_name(session));
        go_on(run)
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        run.delete(&waiter_name(&ended.ticket.key()))?;
        go_on(run)
    }

    #[on(timer)]
    fn timer(run: &Run, name: &str) -> Result<()> {
        if let Some(mut holder) = run.get::<Holder>(name)? {
            holder.leases.retain(|lease| lease.ends_at_ms > run.now_ms());
            return keep(run, &holder);
        }
        go_on(run)?;
        let bucket = bucket_of(run, &run.config()?)?;
        if let Some(bucket) = bucket.filter(|_| name == FULL_TIMER && run.exists(BUCKET)) {
            run.set_timer(FULL_TIMER, bucket.full_at_ms());
        }
        Ok(())
    }
}

fn waiter_name(key: &str) -> String {
    format!("waiter-{key}")
}

/// Of the znode with a session's leases, and of the timer of the first of them to end.
fn holder_name(session: SessionId) -> String {
    format!("session-{session:020}")
}

fn rate_of(run: &Run, config: &Config) -> Result<Option<Rate>> {
    Ok(run.get::<Rate>(RATE)?.or(config.rate))
}

/// The bucket now, if the object has a rate.
fn bucket_of(run: &Run, config: &Config) -> Result<Option<Bucket>> {
    let Some(rate) = rate_of(run, config)? else { return Ok(None) };
    let level = run.get::<Level>(BUCKET)?;
    Ok(Some(Bucket::at(rate, level, run.now_ms())))
}

/// Writes the bucket down, or deletes the last trace of one that is full.
fn save(run: &Run, bucket: Option<Bucket>) -> Result<()> {
    match bucket.filter(|bucket| !bucket.is_full()) {
        Some(bucket) => {
            if !run.exists(BUCKET) {
                // Not moved by those who take afterwards: it looks again when it fires.
                run.set_timer(FULL_TIMER, bucket.full_at_ms());
            }
            run.put(BUCKET, &bucket.level())
        }
        None => {
            run.cancel_timer(FULL_TIMER);
            run.delete(BUCKET).map(drop)
        }
    }
}

enum Drawn {
    Now(Bucket),
    Later(TicketId),
}

fn not_configured() -> Failure {
    let message = "the mount gives no rate: set one by `configure`";
    Failure::new("not-configured", message)
}

fn over_burst(burst: u64) -> Failure {
    Failure::new("over-burst", format!("the bucket holds {burst} tokens: ask for fewer"))
}

fn leases_max(config: &Config) -> u32 {
    config.leases_max.min(LEASES_MAX)
}

fn too_many_leases(config: &Config) -> Failure {
    let message = format!("a session has at most {} leases here", leases_max(config));
    Failure::new("too-many-leases", message)
}

/// Whether one more may wait or lease.
fn check_room(run: &Run, config: &Config) -> Result<()> {
    let others = u32::from(run.exists(BUCKET)) + u32::from(run.exists(RATE));
    if run.count("")?.saturating_sub(others) >= config.claims_max {
        let message = format!("{} wait or lease already", config.claims_max);
        return Err(Failure::new("full", message));
    }
    Ok(())
}

/// Takes tokens from the bucket, or parks the caller.
fn draw(call: &Call, tokens: u64, wait_ms: Option<u64>, for_ms: Option<u64>) -> Result<Drawn> {
    let config = call.config::<Config>()?;
    let mut bucket = bucket_of(call, &config)?.ok_or_else(not_configured)?;
    if tokens == 0 {
        return Err(Failure::new("out-of-range", "take at least 1 token"));
    }
    if tokens > bucket.burst() {
        return Err(over_burst(bucket.burst()));
    }
    if for_ms.is_some() {
        check_room(call, &config)?;
        if leases_of(call, call.session())?.len() >= leases_max(&config) as usize {
            return Err(too_many_leases(&config));
        }
    }
    let first = call.first_after::<Waiter>("", LINE)?.map(|(_, waiter)| waiter);
    let ahead = first.map_or(0, |first| first.tokens);
    let ready_in_ms = bucket.ready_in_ms(tokens.saturating_add(ahead));
    if first.is_none() && ready_in_ms == 0 {
        bucket.take(tokens);
        save(call, Some(bucket))?;
        return Ok(Drawn::Now(bucket));
    }
    let retry_after_ms = ready_in_ms.max(1);
    if wait_ms.is_some_and(|wait_ms| wait_ms <= retry_after_ms) {
        let message = format!("not before {retry_after_ms} ms from now");
        return Err(Failure::new("limited", message).with_detail(&RetryAfter { retry_after_ms }));
    }
    check_room(call, &config)?;
    let ticket = call.park::<()>(wait_ms).id();
    let waiter = Waiter { ticket, session: call.session(), tokens, for_ms };
    call.create_owned(&waiter_name(&ticket.key()), &waiter, call.session())?;
    if first.is_none() {
        call.set_timer(TURN_TIMER, call.now_ms().saturating_add(ready_in_ms));
    }
    Ok(Drawn::Later(ticket))
}

fn leases_of(run: &Run, session: SessionId) -> Result<Vec<Quota>> {
    let holder = run.get::<Holder>(&holder_name(session))?;
    Ok(holder.map_or_else(Vec::new, |holder| holder.leases))
}

fn quota_now(run: &Run, tokens: u64, for_ms: u64) -> Quota {
    Quota { fence: run.zxid(), tokens, ends_at_ms: run.now_ms().saturating_add(for_ms) }
}

fn enter_lease(run: &Run, session: SessionId, tokens: u64, for_ms: u64) -> Result<Quota> {
    let quota = quota_now(run, tokens, for_ms);
    let mut holder = Holder { session, leases: leases_of(run, session)? };
    let is_first = holder.leases.is_empty();
    holder.leases.push(quota);
    if is_first {
        run.create_owned(&holder_name(session), &holder, session)?;
        run.set_timer(&holder_name(session), quota.ends_at_ms);
    } else {
        keep(run, &holder)?;
    }
    Ok(quota)
}

/// Writes a session's leases back, or deletes the last trace of them.
fn keep(run: &Run, holder: &Holder) -> Result<()> {
    let name = holder_name(holder.session);
    match holder.leases.iter().map(|lease| lease.ends_at_ms).min() {
        Some(at_ms) => {
            run.set_timer(&name, at_ms);
            run.set(&name, holder).map(drop)
        }
        None => {
            run.cancel_timer(&name);
            run.delete(&name).map(drop)
        }
    }
}

/// Why a caller in line can never be served, if so.
fn hopeless(
    waiter: &Waiter,
    bucket: Option<&Bucket>,
    leases: &[Quota],
    config: &Config,
) -> Option<Failure> {
    match bucket {
        None => Some(not_configured()),
        Some(bucket) if waiter.tokens > bucket.burst() => Some(over_burst(bucket.burst())),
        Some(_) if leases.len() >= leases_max(config) as usize => Some(too_many_leases(config)),
        Some(_) => None,
    }
}

/// Serves whom the time or an end concerns.
fn go_on(run: &Run) -> Result<()> {
    let config = run.config::<Config>()?;
    let bucket = bucket_of(run, &config)?;
    serve(run, &config, bucket).map(drop)
}

/// Serves those at the head of the line whose tokens are there, and writes the bucket; gives what is
/// left in it.
fn serve(run: &Run, config: &Config, mut bucket: Option<Bucket>) -> Result<u64> {
    let (mut after, mut seen, mut looks, mut turn_in_ms) = (LINE.to_owned(), 0, 0, None);
    while let Some((name, waiter)) = run.first_after::<Waiter>("", &after)? {
        after.clone_from(&name);
        if looks >= LOOKS_MAX {
            turn_in_ms = Some(1);
            break;
        }
        looks += 1;
        if !run.is_live(waiter.session) {
            // Its place goes with its session.
            continue;
        }
        let leases = match waiter.for_ms {
            Some(_) => leases_of(run, waiter.session)?,
            None => Vec::new(),
        };
        looks += leases.len();
        let refusal = hopeless(&waiter, bucket.as_ref(), &leases, config);
        let ready_in_ms = match (&refusal, &bucket) {
            (None, Some(bucket)) => bucket.ready_in_ms(waiter.tokens),
            _ => 0,
        };
        // A second lease to one session would have the fence of the first.
        let is_same_fence = leases.last().is_some_and(|lease| lease.fence == run.zxid());
        let is_put_off =
            seen >= config.grants_max.clamp(1, GRANTS_MAX) || (refusal.is_none() && is_same_fence);
        if ready_in_ms > 0 || is_put_off {
            turn_in_ms = Some(ready_in_ms.max(1));
            break;
        }
        seen += 1;
        run.delete(&name)?;
        match (refusal, &mut bucket) {
            (None, Some(bucket)) => answer(run, &waiter, bucket)?,
            (Some(refusal), _) => drop(run.refuse(waiter.ticket, refusal)),
            (None, None) => {}
        }
    }
    match turn_in_ms {
        Some(turn_in_ms) => run.set_timer(TURN_TIMER, run.now_ms().saturating_add(turn_in_ms)),
        None => drop(run.cancel_timer(TURN_TIMER)),
    }
    save(run, bucket)?;
    Ok(bucket.map_or(0, |bucket| bucket.left()))
}

/// Gives a waiting caller its tokens, unless it has gone.
fn answer(run: &Run, waiter: &Waiter, bucket: &mut Bucket) -> Result<()> {
    let before = *bucket;
    bucket.take(waiter.tokens);
    let is_there = match waiter.for_ms {
        Some(for_ms) => {
            let quota = quota_now(run, waiter.tokens, for_ms);
            let is_there = run.complete(Ticket::from_id(waiter.ticket), &quota)?;
            if is_there {
                enter_lease(run, waiter.session, waiter.tokens, for_ms)?;
            }
            is_there
        }
        None => {
            let taken = Taken { left: bucket.left() };
            run.complete(Ticket::from_id(waiter.ticket), &taken)?
        }
    };
    if !is_there {
        *bucket = before;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
