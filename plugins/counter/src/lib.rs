//! Counters: numbers that are added to, compared and set, handed out in blocks, and waited for.
//!
//! The znodes of an object, `/counters/invoices` say:
//!
//! ```text
//! number                      the number, unless it is the one that counters begin with
//! ticket-<ticket>             the name of the waiter with that ticket; owned by its session
//! waiter-<number>-<ticket>    a Ticket, owned by its session; sorts by the number waited for
//! ```
//!
//! Comes in: additions, settings, reservations, waits; ends of sessions and of waits. Goes out:
//! numbers; pushed to those who wait for them.
//!
//! Promises (README.md has them in full): every change is made once and on the number as it is;
//! blocks do not overlap while the number only grows; nothing overflows; a wait is answered when its
//! number is reached.
//!
//! Invariants: nobody waits for a number that is reached, but those that the timer `answer` is set
//! for. Each waiter has its `ticket-` znode and the other way round.
//! Must never: wrap around; look at waiters whose number is not reached.

use quorate_recipe::prelude::*;

/// What a mount may be given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The number that every counter begins with.
    pub initial: i64,
    /// Whether counters never go back: then no number is handed out twice.
    pub only_grows: bool,
    /// The largest block that one call may reserve.
    pub block_max: u64,
    /// Callers that may wait at one counter.
    pub waiters_max: u32,
    /// Waiters that one transaction answers, at most 300; the next ones answer the others.
    pub answered_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            initial: 0,
            only_grows: false,
            block_max: 1_000_000,
            waiters_max: 10_000,
            answered_max: 200,
        }
    }
}

/// How much to add.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// Less than 0: taken away; none: 1.
    #[serde(default)]
    pub by: Option<i64>,
}

/// What the number is to be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// From now on.
    pub number: i64,
}

/// What the number is to be, and what it must have been.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct CompareAndSet {
    /// Set only if the number is this one.
    pub expected: i64,
    /// From now on.
    pub number: i64,
}

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Changed {
    /// The number before it.
    pub before: i64,
    /// The number after it.
    pub after: i64,
}

/// How many numbers to reserve.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    /// At least 1, at most the mount's `block_max`.
    pub count: u64,
}

/// Numbers that are the caller's: `first`, `first + 1`, … `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Block {
    /// The first of them.
    pub first: i64,
    /// The last of them.
    pub last: i64,
    /// How many.
    pub count: u64,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Await {
    /// Answered once the counter is here or beyond.
    pub at_least: i64,
    /// Milliseconds to wait; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

const NUMBER: &str = "number";
const WAITERS: &str = "waiter-";

/// Answers the waiters that are left.
const ANSWER: &str = "answer";

/// Answering is three changes each, and one run makes at most a thousand.
const ANSWERED_MAX: u32 = 300;

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Counter;

/// Counters of signed 64-bit numbers; exactly once.
#[recipe(name = "counter", version = "1.0.0", state = 1, config = Config)]
impl Counter {
    /// Adds to the number. Refused `overflow`; `only-grows` if the mount says so and it would go back.
    #[command]
    pub fn add(call: &Call, wanted: Add) -> Result<Changed> {
        let config = call.config::<Config>()?;
        let before = number(call, &config)?;
        let by = wanted.by.unwrap_or(1);
        let after = before.checked_add(by).ok_or_else(|| overflow(before))?;
        change(call, &config, before, after)
    }

    /// Sets the number, whatever it is. Refused `only-grows` if the mount says so and it would go
    /// back.
    #[command]
    pub fn set(call: &Call, wanted: Set) -> Result<Changed> {
        let config = call.config::<Config>()?;
        change(call, &config, number(call, &config)?, wanted.number)
    }

    /// Sets the number if it is the one expected. Refused `other-number` if it is not; `only-grows` if
    /// the mount says so and it would go back.
    #[command]
    pub fn compare_and_set(call: &Call, wanted: CompareAndSet) -> Result<Changed> {
        let config = call.config::<Config>()?;
        let before = number(call, &config)?;
        if before != wanted.expected {
            let message = format!("the number is {before}, not {}", wanted.expected);
            return Err(Failure::new("other-number", message).with_detail(&before));
        }
        change(call, &config, before, wanted.number)
    }

    /// Reserves a block of numbers: those from the number on, which is moved behind them. Refused
    /// `bad-count`, `overflow`.
    #[command]
    pub fn reserve(call: &Call, wanted: Reserve) -> Result<Block> {
        let config = call.config::<Config>()?;
        let count = wanted.count;
        if !(1..=config.block_max).contains(&count) {
            let message = format!("a block has from 1 to {} numbers", config.block_max);
            return Err(Failure::new("bad-count", message));
        }
        let first = number(call, &config)?;
        let after = first.checked_add_unsigned(count).ok_or_else(|| overflow(first))?;
        change(call, &config, first, after)?;
        Ok(Block { first, last: after - 1, count })
    }

    /// Waits until the number is at least this one, and gives it. Refused `below` if it may not wait.
    #[command]
    pub fn r#await(call: &Call, wanted: Await) -> Result<Reply<i64>> {
        let config = call.config::<Config>()?;
        let number = number(call, &config)?;
        if number >= wanted.at_least {
            return Ok(number.into());
        }
        if wanted.wait_ms == Some(0) {
            let message = format!("the number is {number}");
            return Err(Failure::new("below", message).with_detail(&number));
        }
        // Each waiter has two znodes, and the number may have one.
        if call.count("")? / 2 >= config.waiters_max {
            let message = "too many callers wait at this counter; try later";
            return Err(Failure::new("waiters-full", message));
        }
        let ticket = call.park::<i64>(wanted.wait_ms);
        let waiter = waiter_name(wanted.at_least, &ticket.key());
        call.create_owned(&waiter, &ticket, call.session())?;
        call.create_owned(&ticket_name(&ticket.key()), &waiter, call.session())?;
        Ok(Reply::Parked(ticket))
    }

    /// The number.
    #[query]
    pub fn get(call: &Call) -> Result<i64> {
        number(call, &call.config()?)
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, before: Config) -> Result<()> {
        if run.config::<Config>()?.initial == before.initial {
            return Ok(());
        }
        let message = "counters stand on `initial`: unmount, or set the counters instead";
        Err(Failure::new("initial-is-fixed", message))
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        let ticket = ticket_name(&ended.ticket.key());
        if let Some(waiter) = run.get::<String>(&ticket)? {
            run.delete(&waiter)?;
        }
        run.delete(&ticket).map(drop)
    }

    #[on(timer)]
    fn timer(run: &Run, _name: &str) -> Result<()> {
        let config = run.config::<Config>()?;
        answer_waiters(run, &config, number(run, &config)?)
    }
}

fn ticket_name(key: &str) -> String {
    format!("ticket-{key}")
}

/// Sorts as the numbers do, negative ones first.
fn waiter_name(at_least: i64, key: &str) -> String {
    let from_lowest = at_least.cast_unsigned() ^ (1 << 63);
    format!("{WAITERS}{from_lowest:020}-{key}")
}

fn overflow(number: i64) -> Failure {
    let message = format!("the number is {number}; that is too much for 64 bits");
    Failure::new("overflow", message).with_detail(&number)
}

fn number(run: &Run, config: &Config) -> Result<i64> {
    Ok(run.get(NUMBER)?.unwrap_or(config.initial))
}

/// Sets the number, and answers those who waited for it.
fn change(run: &Run, config: &Config, before: i64, after: i64) -> Result<Changed> {
    if config.only_grows && after < before {
        let message = format!("the number is {before}, and counters here never go back");
        return Err(Failure::new("only-grows", message).with_detail(&before));
    }
    if after == config.initial {
        run.delete(NUMBER)?;
    } else {
        run.put(NUMBER, &after)?;
    }
    answer_waiters(run, config, after)?;
    Ok(Changed { before, after })
}

/// Answers those who wait for this number or a smaller one: as many as one run may; a timer sees to
/// the others.
fn answer_waiters(run: &Run, config: &Config, number: i64) -> Result<()> {
    let beyond = waiter_name(number, "~");
    let most = config.answered_max.clamp(1, ANSWERED_MAX);
    let mut answered = 0;
    let mut last = WAITERS.to_owned();
    while let Some((waiter, ticket)) = run.first_after::<Ticket<i64>>("", &last)? {
        if waiter > beyond {
            break;
        }
        if answered == most {
            run.set_timer(ANSWER, run.now_ms());
            return Ok(());
        }
        run.delete(&waiter)?;
        run.delete(&ticket_name(&ticket.key()))?;
        run.complete(ticket, &number)?;
        answered += 1;
        last = waiter;
    }
    run.cancel_timer(ANSWER);
    Ok(())
}

#[cfg(test)]
mod tests;
