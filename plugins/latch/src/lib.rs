//! A latch that counts down: whoever waits goes on when it reaches zero.
//!
//! The znodes of an object, `/latches/import` say:
//!
//! ```text
//! keys/<generation>/<key>   a key that has counted down
//! latch                     the Latch
//! opened                    the Opened that waiters are being told of, while some are not told yet
//! waiter-<ticket>           a Waiter, owned by its session; sorts by arrival
//! ```
//!
//! Comes in: starts, counts, waits, resets; ends of sessions and of waits. Goes out: the word that
//! zero is reached, pushed to those who wait for it.
//!
//! Promises (README.md has them in full): nobody passes before zero, everybody afterwards; a key
//! counts once; zero is final until somebody resets the latch.
//!
//! Invariants: while the latch is at zero, waiters are only those listed to be told by `opened`. Keys
//! of a generation are there only while it counts, or until the timer `clear` has deleted them.
//! Must never: count below zero, or up.

use quorate_recipe::prelude::*;

/// What a mount may be given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Keys that may have counted down one latch.
    pub keys_max: u32,
    /// Callers that may wait at one latch.
    pub waiters_max: u32,
    /// Milliseconds that a latch stays when it has reached zero; none: until it is reset.
    pub kept_ms: Option<u64>,
    /// Waiters that one transaction answers, at most 300; the next ones answer the others.
    pub answered_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { keys_max: 10_000, waiters_max: 10_000, kept_ms: None, answered_max: 200 }
    }
}

/// Where to count from.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// At least 1.
    pub count: u64,
}

/// How much to count.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct CountDown {
    /// At least 1; none: 1. More than is left counts to zero.
    #[serde(default)]
    pub by: Option<u64>,
    /// Counts only if this key has not counted yet: a worker's or a task's name.
    #[serde(default)]
    pub key: Option<String>,
    /// Only if the latch is of this generation; none: of whichever it is.
    #[serde(default)]
    pub generation: Option<u64>,
}

/// What counting came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Counted {
    /// What is left.
    pub count: u64,
    /// False: the key had counted already, or the latch was at zero.
    pub is_new: bool,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// Milliseconds to wait; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// Zero is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Opened {
    /// The latch that reached it.
    pub generation: u64,
    /// The transaction that reached it.
    pub zxid: u64,
}

/// Where to count from anew.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// At least 1; none: the latch is gone until it is started again.
    #[serde(default)]
    pub count: Option<u64>,
}

/// A latch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Latch {
    /// Its number; later latches of this name have greater ones.
    pub generation: u64,
    /// What it counts from.
    pub initial: u64,
    /// What is left.
    pub count: u64,
    /// The transaction that reached zero.
    pub opened: Option<u64>,
}

/// How far a latch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct State {
    /// None: it is not started.
    pub latch: Option<Latch>,
    /// How many callers wait.
    pub waiting: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiter {
    ticket: Ticket<Opened>,
    /// The transaction that parked it.
    since: u64,
}

const KEYS: &str = "keys";
const LATCH: &str = "latch";
const OPENED: &str = "opened";
const WAITERS: &str = "waiter-";

/// Answers the waiters that are left.
const ANSWER: &str = "answer";
/// Deletes keys that count no more.
const CLEAR: &str = "clear";
/// Deletes the latch that was at zero long enough.
const FORGET: &str = "forget";

/// Answering is two changes each, and one run makes at most a thousand.
const ANSWERED_MAX: u32 = 300;
/// Keys that one run deletes.
const CLEARED_MAX: u32 = 200;
const KEY_BYTES_MAX: usize = 200;

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct CountdownLatch;

/// A countdown latch; keys count once.
#[recipe(name = "latch", version = "1.0.0", state = 1, config = Config)]
impl CountdownLatch {
    /// Starts the latch. Refused `started` if it is, also if it has reached zero.
    #[command]
    pub fn start(call: &Call, wanted: Start) -> Result<Latch> {
        if let Some(latch) = call.get::<Latch>(LATCH)? {
            let message = "the latch has been started; reset it to use it again";
            return Err(Failure::new("started", message).with_detail(&latch));
        }
        begin(call, wanted.count)
    }

    /// Counts down, and lets all who wait go on if that reaches zero. Refused `not-started`, and
    /// `other-generation` unless the latch is the one given.
    #[command]
    pub fn count_down(call: &Call, wanted: CountDown) -> Result<Counted> {
        let Some(mut latch) = call.get::<Latch>(LATCH)? else {
            return Err(Failure::new("not-started", "the latch is not started; start it first"));
        };
        let by = wanted.by.unwrap_or(1);
        check_count(by)?;
        if wanted.generation.is_some_and(|generation| generation != latch.generation) {
            let message = format!("the latch is {}, not the one given", latch.generation);
            return Err(Failure::new("other-generation", message).with_detail(&latch));
        }
        let is_new = match &wanted.key {
            _ if latch.count == 0 => false,
            Some(key) => is_new_key(call, latch.generation, key)?,
            None => true,
        };
        if is_new {
            latch.count = latch.count.saturating_sub(by);
            if latch.count == 0 {
                latch.opened = Some(call.zxid());
            }
            call.set(LATCH, &latch)?;
            if latch.count == 0 {
                open(call, latch.generation)?;
            }
        }
        Ok(Counted { count: latch.count, is_new })
    }

    /// Passes if the latch has reached zero, else waits until it does, also if it is not started yet.
    /// Refused `not-zero` if it may not wait.
    #[command]
    pub fn wait(call: &Call, wanted: Wait) -> Result<Reply<Opened>> {
        let latch = call.get::<Latch>(LATCH)?;
        if let Some(Latch { generation, opened: Some(zxid), .. }) = latch {
            return Ok(Opened { generation, zxid }.into());
        }
        if wanted.wait_ms == Some(0) {
            let message = "the latch has not reached zero";
            return Err(Failure::new("not-zero", message).with_detail(&latch));
        }
        if waiting(call)? >= call.config::<Config>()?.waiters_max {
            let message = "too many callers wait at this latch; try later";
            return Err(Failure::new("waiters-full", message));
        }
        let ticket = call.park(wanted.wait_ms);
        let waiter = Waiter { ticket, since: call.zxid() };
        call.create_owned(&waiter_name(&ticket.key()), &waiter, call.session())?;
        Ok(Reply::Parked(ticket))
    }

    /// What is left to count, and how many wait.
    #[query]
    pub fn count(call: &Call) -> Result<State> {
        let waiting = if call.exists("") { waiting(call)? } else { 0 };
        Ok(State { latch: call.get(LATCH)?, waiting })
    }

    /// Starts the latch anew, or ends it. Whoever waits goes on waiting, for the next zero.
    #[command]
    pub fn reset(call: &Call, wanted: Reset) -> Result<Option<Latch>> {
        call.delete(LATCH)?;
        call.cancel_timer(FORGET);
        let latch = wanted.count.map(|count| begin(call, count)).transpose()?;
        clear_keys(call)?;
        Ok(latch)
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        run.delete(&waiter_name(&ended.ticket.key())).map(drop)
    }

    #[on(timer)]
    fn timer(run: &Run, name: &str) -> Result<()> {
        match name {
            FORGET => run.delete(LATCH).map(drop),
            CLEAR => clear_keys(run),
            _ => match run.get(OPENED)? {
                Some(opened) => answer_waiters(run, opened),
                None => Ok(()),
            },
        }
    }
}

fn waiter_name(key: &str) -> String {
    format!("{WAITERS}{key}")
}

fn folder_of(generation: u64) -> String {
    format!("{KEYS}/{generation:020}")
}

fn waiting(run: &Run) -> Result<u32> {
    let others = [KEYS, LATCH, OPENED].iter().filter(|name| run.exists(name)).count();
    Ok(run.count("")?.saturating_sub(others as u32))
}

fn check_count(count: u64) -> Result<()> {
    if count > 0 {
        return Ok(());
    }
    Err(Failure::new("bad-count", "count at least 1"))
}

fn begin(call: &Call, count: u64) -> Result<Latch> {
    check_count(count)?;
    let latch = Latch { generation: call.zxid(), initial: count, count, opened: None };
    call.create(LATCH, &latch)?;
    Ok(latch)
}

/// Remembers that the key has counted; false if it had.
fn is_new_key(call: &Call, generation: u64, key: &str) -> Result<bool> {
    let fits = (1..=KEY_BYTES_MAX).contains(&key.len()) && key != "." && key != "..";
    if !fits || key.contains(|letter: char| letter == '/' || letter.is_control()) {
        let message = format!("a key has 1 to {KEY_BYTES_MAX} bytes, and neither / nor controls");
        return Err(Failure::new("bad-key", message));
    }
    let folder = folder_of(generation);
    let path = format!("{folder}/{key}");
    if call.exists(&path) {
        return Ok(false);
    }
    for missing in [KEYS, &folder] {
        if !call.exists(missing) {
            call.create(missing, &())?;
        }
    }
    if call.count(&folder)? >= call.config::<Config>()?.keys_max {
        let message = "too many keys have counted down this latch; count without keys";
        return Err(Failure::new("keys-full", message));
    }
    call.create(&path, &())?;
    Ok(true)
}

/// Zero is reached: keys count no more, and whoever waits goes on.
fn open(call: &Call, generation: u64) -> Result<()> {
    clear_keys(call)?;
    if let Some(kept_ms) = call.config::<Config>()?.kept_ms {
        call.set_timer(FORGET, call.now_ms().saturating_add(kept_ms));
    }
    answer_waiters(call, Opened { generation, zxid: call.zxid() })
}

/// Deletes keys that count no more: as many as one run may; a timer sees to the others.
fn clear_keys(run: &Run) -> Result<()> {
    if !run.exists(KEYS) {
        return Ok(());
    }
    let latch = run.get::<Latch>(LATCH)?;
    let counting = latch.filter(|latch| latch.count > 0).map(|latch| folder_of(latch.generation));
    // Folders sort by generation: the one that counts is the last.
    let Some((first, ())) = run.first(KEYS)? else { return run.delete(KEYS).map(drop) };
    let folder = format!("{KEYS}/{first}");
    if counting == Some(folder.clone()) {
        return Ok(());
    }
    let keys = run.scan::<()>(&folder, None, CLEARED_MAX)?;
    for (key, ()) in &keys {
        run.delete(&format!("{folder}/{key}"))?;
    }
    if run.count(&folder)? == 0 {
        run.delete(&folder)?;
    }
    if run.count(KEYS)? == 0 {
        return run.delete(KEYS).map(drop);
    }
    run.set_timer(CLEAR, run.now_ms());
    Ok(())
}

/// Tells those who began to wait before zero was reached: as many as one run may; a timer sees to
/// the others.
fn answer_waiters(run: &Run, opened: Opened) -> Result<()> {
    let most = run.config::<Config>()?.answered_max.clamp(1, ANSWERED_MAX);
    let waiters = run.scan::<Waiter>("", Some(WAITERS), most)?;
    let mut are_left = waiters.len() == most as usize;
    for (name, waiter) in waiters {
        if waiter.since >= opened.zxid {
            are_left = false;
            break;
        }
        run.delete(&name)?;
        run.complete(waiter.ticket, &opened)?;
    }
    if are_left {
        run.set_timer(ANSWER, run.now_ms());
        return run.put(OPENED, &opened);
    }
    run.cancel_timer(ANSWER);
    run.delete(OPENED).map(drop)
}

#[cfg(test)]
mod tests;
