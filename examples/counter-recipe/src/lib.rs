//! Counters, and blocks of numbers that nobody else gets.
//!
//! The znodes of an object, `/tallies/invoices` say:
//!
//! ```text
//! (the object itself)   the next number: a u64
//! waiter-<ticket>       a Waiter, owned by its session: waits for the number to be reached
//! ```
//!
//! Comes in: additions, reservations, waits. Goes out: numbers.
//! Invariant: the number never goes back, so that no number is ever given out twice.
//! Must never: wrap around.

use quorate_recipe::prelude::*;

/// What a mount may be given: `quorate recipe mount /tallies tally@1.0.0 --config '{…}'`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The first number of every counter.
    pub first: u64,
    /// The largest block that one call may reserve.
    pub block_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { first: 0, block_max: 1_000_000 }
    }
}

/// How much to add.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// At least 1.
    pub by: u64,
}

/// How many numbers to reserve.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    /// At least 1, at most the mount's `block_max`.
    pub count: u64,
}

/// Numbers that are the caller's alone: `first`, `first + 1`, … `count` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Block {
    /// The first of them.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Await {
    /// Answered once the counter is here or beyond.
    pub at_least: u64,
    /// Milliseconds to wait; none: for ever.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
struct Waiter {
    ticket: Ticket<u64>,
    at_least: u64,
}

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Counter;

/// Counters that only grow. Exactly once: an addition that is sent again is added once.
#[recipe(name = "tally", version = "1.0.0", state = 1)]
impl Counter {
    /// Adds to the counter and gives the sum.
    #[command]
    pub fn add(call: &Call, add: Add) -> Result<u64> {
        advance(call, add.by, u64::MAX)?;
        current(call)
    }

    /// Reserves a block of numbers.
    #[command]
    pub fn reserve(call: &Call, reserve: Reserve) -> Result<Block> {
        let block_max = call.config::<Config>()?.block_max;
        let first = advance(call, reserve.count, block_max)?;
        Ok(Block { first, count: reserve.count })
    }

    /// Waits until the counter has reached a number, and gives where it is then.
    #[command]
    pub fn wait(call: &Call, wanted: Await) -> Result<Reply<u64>> {
        let number = current(call)?;
        if number >= wanted.at_least {
            return Ok(number.into());
        }
        let ticket = call.park(wanted.wait_ms);
        let waiter = Waiter { ticket, at_least: wanted.at_least };
        call.create_owned(&waiter_name(&ticket.key()), &waiter, call.session())?;
        Ok(Reply::Parked(ticket))
    }

    /// Where the counter is.
    #[query]
    pub fn read(call: &Call) -> Result<u64> {
        current(call)
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        run.delete(&waiter_name(&ended.ticket.key())).map(drop)
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, before: Config) -> Result<()> {
        let after = run.config::<Config>()?;
        if after.first == before.first {
            return Ok(());
        }
        Err(Failure::new("first-is-fixed", "numbers below `first` may have been given out"))
    }
}

fn waiter_name(key: &str) -> String {
    format!("waiter-{key}")
}

fn current(run: &Run) -> Result<u64> {
    match run.get("")? {
        Some(number) => Ok(number),
        None => Ok(run.config::<Config>()?.first),
    }
}

/// Moves the counter on and wakes whom that concerns; gives where it was.
fn advance(run: &Run, by: u64, by_max: u64) -> Result<u64> {
    if by == 0 || by > by_max {
        return Err(Failure::new("out-of-range", format!("a number from 1 to {by_max}")));
    }
    let before = current(run)?;
    let after = before
        .checked_add(by)
        .ok_or_else(|| Failure::new("exhausted", "the counter has come to its end"))?;
    run.set("", &after)?;
    for (name, waiter) in run.scan::<Waiter>("", None, u32::MAX)? {
        if waiter.at_least <= after {
            run.delete(&name)?;
            run.complete(waiter.ticket, &after)?;
        }
    }
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_recipe::testing::{Draw, NextCall, Seen, Simulation, TestMount};

    #[test]
    fn additions_add_up_per_counter() {
        let mut mount = TestMount::<Counter>::new();
        let session = mount.session();
        assert_eq!(mount.call::<u64>(session, "visits", "add", &Add { by: 2 }).done(), 2);
        assert_eq!(mount.call::<u64>(session, "visits", "add", &Add { by: 40 }).done(), 42);
        assert_eq!(mount.call::<u64>(session, "other", "read", &()).done(), 0);
        assert_eq!(mount.paths(), ["visits"]);
    }

    #[test]
    fn blocks_never_overlap() {
        let mut mount = TestMount::<Counter>::new();
        let session = mount.session();
        let mut free_from = 0;
        for count in 1..50 {
            let reserve = Reserve { count };
            let block: Block = mount.call(session, "ids", "reserve", &reserve).done();
            assert_eq!(block, Block { first: free_from, count });
            free_from += count;
        }
    }

    #[test]
    fn the_mount_says_where_counters_begin_and_how_large_blocks_are() {
        let config = Config { first: 1_000, block_max: 10 };
        let mut mount = TestMount::<Counter>::with_config(&config);
        let session = mount.session();
        let refused = mount.call::<Block>(session, "ids", "reserve", &Reserve { count: 11 });
        assert_eq!(refused.refused().code, "out-of-range");
        let block: Block = mount.call(session, "ids", "reserve", &Reserve { count: 10 }).done();
        assert_eq!(block.first, 1_000);
        let moved = Config { first: 0, ..config };
        assert_eq!(mount.configure(&moved).unwrap_err().code, "first-is-fixed");
        assert!(mount.configure(&Config { block_max: 20, ..config }).is_ok());
    }

    #[test]
    fn a_counter_ends_rather_than_begins_again() {
        let mut mount = TestMount::<Counter>::new();
        let session = mount.session();
        let _: u64 = mount.call(session, "ids", "add", &Add { by: u64::MAX }).done();
        let refused = mount.call::<u64>(session, "ids", "add", &Add { by: 1 }).refused();
        assert_eq!(refused.code, "exhausted");
        assert_eq!(mount.call::<u64>(session, "ids", "read", &()).done(), u64::MAX);
    }

    #[test]
    fn a_wait_is_answered_when_its_number_is_reached() {
        let mut mount = TestMount::<Counter>::new();
        let (waiting, adding) = (mount.session(), mount.session());
        let until = |at_least| Await { at_least, wait_ms: Some(1_000) };
        let five = mount.call::<u64>(waiting, "n", "wait", &until(5)).parked();
        let nine = mount.call::<u64>(waiting, "n", "wait", &until(9)).parked();
        let _: u64 = mount.call(adding, "n", "add", &Add { by: 4 }).done();
        assert_eq!(mount.pushed(five), None);
        let _: u64 = mount.call(adding, "n", "add", &Add { by: 2 }).done();
        assert_eq!(mount.pushed(five), Some(Ok(6)));
        assert_eq!(mount.call::<u64>(waiting, "n", "wait", &until(6)).done(), 6);
        mount.advance(1_000);
        assert_eq!(mount.pushed(nine).unwrap().unwrap_err().code, "timed-out");
        assert_eq!(mount.paths(), ["n"]);
    }

    #[test]
    fn a_wait_goes_with_its_session() {
        let mut mount = TestMount::<Counter>::new();
        let session = mount.session();
        let wanted = Await { at_least: 1, wait_ms: None };
        let _ = mount.call::<u64>(session, "n", "wait", &wanted).parked();
        mount.close(session);
        assert_eq!((mount.paths().len(), mount.parked_count()), (0, 0));
    }

    #[test]
    fn scenarios_leave_their_traces() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        quorate_recipe::testing::run_scenarios::<Counter>(folder);
    }

    fn next_call(draw: &mut Draw, _seen: &Seen<'_>) -> NextCall {
        let client = usize::try_from(draw.below(3)).unwrap();
        match draw.below(3) {
            0 => NextCall::new(client, "n", "add", &Add { by: draw.below(4) }),
            1 => NextCall::new(client, "n", "reserve", &Reserve { count: draw.below(12) }),
            _ => {
                let wanted = Await { at_least: draw.below(200), wait_ms: Some(1_000) };
                NextCall::new(client, "n", "wait", &wanted)
            }
        }
    }

    #[test]
    fn random_calls_and_faults_break_no_promise() {
        Simulation::<Counter>::new(next_call)
            .configuration(&Config { first: 0, block_max: 10 })
            .configuration(&Config { first: 0, block_max: 5 })
            .configuration(&Config { first: 7, block_max: 5 })
            .invariant("the number is the sum of what was added and reserved", |seen| {
                let calls = || seen.history().calls().iter().filter(|call| call.is_done());
                let added: u64 =
                    calls().filter_map(|call| call.arguments::<Add>()).map(|add| add.by).sum();
                let reserved = calls().filter_map(|call| call.reply::<Block>());
                let sum = added + reserved.map(|block| block.count).sum::<u64>();
                let number = seen.get::<u64>("n").unwrap_or(0);
                if number == sum { Ok(()) } else { Err(format!("{number}, not {sum}")) }
            })
            .invariant("nobody waits for a number that was reached", |seen| {
                let number = seen.get::<u64>("n").unwrap_or(0);
                let calls = seen.history().calls().iter();
                let waiting = calls.filter(|call| call.is_unanswered());
                let mut waiting = waiting.filter(|call| seen.history().is_open(call.session));
                match waiting.find_map(|call| {
                    call.arguments::<Await>().filter(|wanted| wanted.at_least <= number)
                }) {
                    Some(wanted) => Err(format!("{} of {number}", wanted.at_least)),
                    None => Ok(()),
                }
            })
            .run();
    }
}
