//! A barrier: while it is closed, whoever comes waits until it opens.
//!
//! The znodes of an object, `/barriers/migration` say:
//!
//! ```text
//! closure            the Closure; owned by the closer's session unless it is detached
//! ended              how earlier closures ended, while some of their waiters are not told yet
//! waiter-<ticket>    a Waiter, owned by its session; sorts by arrival
//! ```
//!
//! Comes in: closings, openings, waits; ends of sessions, of waits and of times to live. Goes out:
//! how the closure ended, pushed to those who waited for it.
//!
//! Promises (README.md has them in full): nobody passes a closed barrier; every closure has a
//! generation of its own; all who wait for one closure are told the same end of it; no closure
//! outlives both its owner and its time.
//!
//! Invariants: waiters of a generation exist only while it is closed or listed in `ended`, and those
//! of earlier generations come first. A generation is the zxid of its closing.
//! Must never: leave a caller waiting for a closure that has ended.

use quorate_recipe::prelude::*;

/// How a closure ends that nobody opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "kebab-case")]
pub enum Unopened {
    /// As if it had been opened.
    #[default]
    Opens,
    /// Those who wait are refused `broken`.
    Breaks,
}

impl Unopened {
    fn broken(self, why: &str) -> Option<String> {
        (self == Unopened::Breaks).then(|| why.into())
    }
}

/// What a mount may be given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What a barrier does when the session that closed it ends.
    pub owner_ended: Unopened,
    /// What a barrier does when its time to live is over.
    pub ttl_ended: Unopened,
    /// Callers that may wait at one barrier.
    pub waiters_max: u32,
    /// Waiters that one transaction answers, at most 400; the next ones answer the others.
    pub answered_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        let (owner_ended, ttl_ended) = (Unopened::Opens, Unopened::Opens);
        Config { owner_ended, ttl_ended, waiters_max: 10_000, answered_max: 200 }
    }
}

/// How long to stay closed, and what to tell others.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Close {
    /// Milliseconds after which the barrier ends by itself; none: no limit.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// Whether the barrier outlives the caller's session; it needs `ttl_ms`.
    #[serde(default)]
    pub detached: bool,
    /// Shown to whoever asks for the state.
    #[serde(default)]
    pub note: String,
}

/// One closure of the barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Generation {
    /// Its number; later closures have greater ones.
    pub generation: u64,
}

/// Which closure to end.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// Only this one; none: whichever it is.
    #[serde(default)]
    pub generation: Option<u64>,
}

/// A new time to live.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// The closure.
    pub generation: u64,
    /// Milliseconds from now.
    pub ttl_ms: u64,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// The end of this closure: passes at once if it is over; none: of whichever there is.
    #[serde(default)]
    pub generation: Option<u64>,
    /// Milliseconds to wait; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// The way is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Passed {
    /// The closure that the caller waited for; none: it had not to wait.
    pub generation: Option<u64>,
}

/// Whether a barrier is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct State {
    /// None: it is open.
    pub closure: Option<Closure>,
    /// How many callers wait.
    pub waiting: u32,
}

/// A closed barrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Closure {
    /// Its number.
    pub generation: u64,
    /// Who closed it.
    pub session: SessionId,
    /// Who that session's connection proved to be.
    pub identity: String,
    /// Whether it outlives that session.
    pub detached: bool,
    /// What was said when it was closed.
    pub note: String,
    /// When it was closed: milliseconds since 1970, by the leader's stamp.
    pub since_ms: u64,
    /// When it ends by itself; none: never.
    pub until_ms: Option<u64>,
}

/// A closure that has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ended {
    generation: u64,
    /// Why those who waited do not pass; none: they do.
    broken: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiter {
    ticket: Ticket<Passed>,
    generation: u64,
}

const CLOSURE: &str = "closure";
const ENDED: &str = "ended";
const WAITERS: &str = "waiter-";

/// Ends the closure.
const TTL: &str = "ttl";
/// Answers the waiters that are left.
const ANSWER: &str = "answer";

/// Answering is two changes each, and one run makes at most a thousand.
const ANSWERED_MAX: u32 = 400;

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Barrier;

/// A barrier with generations, bound to its owner's session or to a time.
#[recipe(name = "barrier", version = "1.0.0", state = 1, config = Config)]
impl Barrier {
    /// Closes the barrier. Refused `closed` if it is; `needs-ttl` if nothing would ever end it.
    #[command]
    pub fn close(call: &Call, wanted: Close) -> Result<Generation> {
        if let Some(closure) = call.get::<Closure>(CLOSURE)? {
            let message = format!("the barrier was closed by session {}", closure.session);
            return Err(Failure::new("closed", message).with_detail(&closure));
        }
        if wanted.detached && wanted.ttl_ms.is_none() {
            let message = "a barrier that outlives its session needs a ttl_ms";
            return Err(Failure::new("needs-ttl", message));
        }
        let generation = call.zxid();
        let until_ms = wanted.ttl_ms.map(|ttl_ms| call.now_ms().saturating_add(ttl_ms));
        let closure = Closure {
            generation,
            session: call.session(),
            identity: call.identity().into(),
            detached: wanted.detached,
            note: wanted.note,
            since_ms: call.now_ms(),
            until_ms,
        };
        if wanted.detached {
            call.create(CLOSURE, &closure)?;
        } else {
            call.create_owned(CLOSURE, &closure, call.session())?;
        }
        if let Some(until_ms) = until_ms {
            call.set_timer(TTL, until_ms);
        }
        Ok(Generation { generation })
    }

    /// Opens the barrier: all who wait pass. Anyone may. Refused `not-closed` if it is open, or closed
    /// in another generation than the one given.
    #[command]
    pub fn open(call: &Call, wanted: Open) -> Result<Generation> {
        let closure = closure_of(call, wanted.generation)?;
        end(call, &closure, None)?;
        Ok(Generation { generation: closure.generation })
    }

    /// Sets the time to live anew, from now. Refused `not-closed` unless the barrier is closed in this
    /// generation.
    #[command]
    pub fn renew(call: &Call, wanted: Renew) -> Result<Closure> {
        let closure = closure_of(call, Some(wanted.generation))?;
        let until_ms = call.now_ms().saturating_add(wanted.ttl_ms);
        let closure = Closure { until_ms: Some(until_ms), ..closure };
        call.set(CLOSURE, &closure)?;
        call.set_timer(TTL, until_ms);
        Ok(closure)
    }

    /// Passes if the barrier is open, else waits until it opens. Refused `closed` if it may not wait,
    /// `broken` if the closure ends otherwise.
    #[command]
    pub fn wait(call: &Call, wanted: Wait) -> Result<Reply<Passed>> {
        let Some(closure) = call.get::<Closure>(CLOSURE)? else {
            return Ok(Passed { generation: None }.into());
        };
        let generation = closure.generation;
        if wanted.generation.is_some_and(|wanted| wanted != generation) {
            return Ok(Passed { generation: None }.into());
        }
        if wanted.wait_ms == Some(0) {
            let message = format!("the barrier was closed by session {}", closure.session);
            return Err(Failure::new("closed", message).with_detail(&closure));
        }
        if waiting(call)? >= call.config::<Config>()?.waiters_max {
            let message = "too many callers wait at this barrier; try later";
            return Err(Failure::new("waiters-full", message));
        }
        let ticket = call.park(wanted.wait_ms);
        let waiter = Waiter { ticket, generation };
        call.create_owned(&waiter_name(&ticket.key()), &waiter, call.session())?;
        Ok(Reply::Parked(ticket))
    }

    /// Whether the barrier is closed, by whom, until when, and how many wait.
    #[query]
    pub fn state(call: &Call) -> Result<State> {
        let closure = call.get::<Closure>(CLOSURE)?;
        let waiting = if call.exists("") { waiting(call)? } else { 0 };
        Ok(State { closure, waiting })
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        match run.get::<Closure>(CLOSURE)? {
            Some(closure) if closure.session == session && !closure.detached => {
                let unopened = run.config::<Config>()?.owner_ended;
                end(run, &closure, unopened.broken("the session that closed it has ended"))
            }
            // Its waits go with the session.
            _ => Ok(()),
        }
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        run.delete(&waiter_name(&ended.ticket.key())).map(drop)
    }

    #[on(timer)]
    fn timer(run: &Run, name: &str) -> Result<()> {
        if name != TTL {
            return answer_waiters(run, run.get(ENDED)?.unwrap_or_default());
        }
        match run.get::<Closure>(CLOSURE)? {
            Some(closure) => {
                let unopened = run.config::<Config>()?.ttl_ended;
                end(run, &closure, unopened.broken("its time to live is over"))
            }
            None => Ok(()),
        }
    }
}

fn waiter_name(key: &str) -> String {
    format!("{WAITERS}{key}")
}

/// How many wait, also those of earlier closures who are not told yet.
fn waiting(run: &Run) -> Result<u32> {
    let others = [CLOSURE, ENDED].iter().filter(|name| run.exists(name)).count();
    Ok(run.count("")?.saturating_sub(others as u32))
}

/// The closure there is, if it is the one asked for.
fn closure_of(run: &Run, generation: Option<u64>) -> Result<Closure> {
    let closure = run.get::<Closure>(CLOSURE)?;
    match closure {
        Some(closure) if generation.is_none_or(|wanted| wanted == closure.generation) => {
            Ok(closure)
        }
        closure => {
            let message = match &closure {
                Some(closure) => format!("it is closed in generation {}", closure.generation),
                None => "the barrier is open".into(),
            };
            Err(Failure::new("not-closed", message).with_detail(&closure))
        }
    }
}

/// Ends the closure, and tells those who wait for it.
fn end(run: &Run, closure: &Closure, broken: Option<String>) -> Result<()> {
    run.delete(CLOSURE)?;
    run.cancel_timer(TTL);
    let mut ended = run.get::<Vec<Ended>>(ENDED)?.unwrap_or_default();
    ended.push(Ended { generation: closure.generation, broken });
    answer_waiters(run, ended)
}

/// Tells waiters how their closure ended: as many as one run may; a timer sees to the others. Ends
/// that nobody waits for any more are forgotten.
fn answer_waiters(run: &Run, mut ended: Vec<Ended>) -> Result<()> {
    let most = run.config::<Config>()?.answered_max.clamp(1, ANSWERED_MAX);
    let waiters = run.scan::<Waiter>("", Some(WAITERS), most.saturating_add(1))?;
    let mut left = None;
    for (place, (name, waiter)) in (0u32..).zip(waiters) {
        let known = ended.iter().find(|ended| ended.generation == waiter.generation);
        match known {
            Some(ended) if place < most => {
                run.delete(&name)?;
                answer(run, &waiter, ended)?;
            }
            // It is told in a later run, or its closure has not ended.
            _ => {
                left = Some(waiter.generation);
                break;
            }
        }
    }
    ended.retain(|ended| left.is_some_and(|generation| ended.generation >= generation));
    if ended.is_empty() {
        run.cancel_timer(ANSWER);
        return run.delete(ENDED).map(drop);
    }
    run.set_timer(ANSWER, run.now_ms());
    run.put(ENDED, &ended)
}

fn answer(run: &Run, waiter: &Waiter, ended: &Ended) -> Result<()> {
    let generation = ended.generation;
    match &ended.broken {
        None => {
            run.complete(waiter.ticket, &Passed { generation: Some(generation) })?;
        }
        Some(why) => {
            let failure = Failure::new("broken", format!("nobody opened the barrier: {why}"));
            run.refuse(waiter.ticket.id(), failure.with_detail(&Generation { generation }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
