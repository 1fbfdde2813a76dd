//! Queues: first in, first out by priority, with delays, receipts and dead letters.
//!
//! The znodes of an object, `/queues/mails` say:
//!
//! ```text
//! queue                       counts and the timer: goes when the queue is empty
//! item-<item>                 the payload, as it was put
//! ready-<priority>-<item>     can be taken: the first of them is next
//! due-<time>-<item>           delayed, or taken: comes back at that time
//! undeliverable-<item>        a dead letter
//! held-<session>-<item>       a delivery, owned by the taker's session
//! share-<session>             what a session has of this queue, owned by it
//! taker-<ticket>              waits for an item, owned by its session
//! putter-<ticket>             waits for room with its items, owned by its session
//! ```
//!
//! Comes in: items, takers, receipts; ends of sessions and of waits, time. Goes out: deliveries and
//! the numbers of items put, at once or pushed to those who wait.
//!
//! Promises (README.md has them in full): no item is lost and none is in two hands at once; every
//! delivery has a greater fence than those before of its item; what a session took goes back in the
//! transaction that ends it; a call costs the same however long the queue is.
//!
//! Invariants: as `shelves` has them. Must never: hand an item to a session that has ended or is
//! ending, or drop one that was not acknowledged or discarded.

mod shelves;
mod words;

use quorate_recipe::prelude::*;
use shelves::Shelves;
pub use words::{
    Acknowledge, Config, DeadLetter, DeadLetters, Delivery, Extend, Lengths, NegativeAcknowledge,
    NewItem, Peek, Put, ReadyItem, Receipt, Selection, Take,
};

/// Marker of the recipe; it has no state of its own.
#[derive(Debug)]
pub struct Queue;

/// A queue with priorities, delays, receipts that are fencing tokens, and dead letters.
#[recipe(name = "queue", version = "1.0.0", state = 1, config = Config)]
impl Queue {
    #[on(mounted)]
    fn mounted(run: &Run) -> Result<()> {
        run.config::<Config>()?.check()
    }

    #[on(config_changed)]
    fn config_changed(run: &Run, _before: Config) -> Result<()> {
        run.config::<Config>()?.check()
    }

    /// Puts items, all or none; gives their numbers. Refused `full` if there is no room and it may
    /// not wait.
    #[command]
    pub fn put(call: &Call, wanted: Put) -> Result<Reply<Vec<u64>>> {
        let mut shelves = Shelves::open(call)?;
        check_items(&shelves.config, &wanted.items)?;
        let has_room = wanted.items.len() as u64 <= shelves.room();
        let reply = if has_room && !shelves.has_putter()? {
            Reply::Done(shelves.put(&wanted.items)?)
        } else if wanted.wait_ms == 0 {
            let words = "the queue has as many items as it may; dead letters count: \
                         redrive or discard them";
            return Err(Failure::new("full", words).with_detail(shelves.lengths()));
        } else {
            Reply::Parked(shelves.park_putter(call, wanted.items, wanted.wait_ms)?)
        };
        shelves.finish()?;
        Ok(reply)
    }

    /// Takes the first items that are ready, or waits in line for one. Refused `empty` if there is
    /// none and it may not wait.
    #[command]
    pub fn take(call: &Call, wanted: Take) -> Result<Reply<Vec<Delivery>>> {
        let mut shelves = Shelves::open(call)?;
        check_count(&shelves.config, wanted.count as usize)?;
        let visibility_ms = visibility_of(&shelves.config, wanted.visibility_ms)?;
        let reply = if shelves.lengths().ready > 0 && !shelves.has_taker()? {
            Reply::Done(shelves.take(call.session(), wanted.count, visibility_ms)?)
        } else if wanted.wait_ms == Some(0) {
            return Err(Failure::new("empty", "no item is ready for you"));
        } else {
            let taker = (wanted.count, wanted.wait_ms, visibility_ms);
            Reply::Parked(shelves.park_taker(call, taker)?)
        };
        shelves.finish()?;
        Ok(reply)
    }

    /// Says that items are done with: they are gone. Refused `not-taken` unless the caller's session
    /// has every one of them under its fence.
    #[command]
    pub fn acknowledge(call: &Call, done: Acknowledge) -> Result<()> {
        let mut shelves = Shelves::open(call)?;
        check_count(&shelves.config, done.receipts.len())?;
        for (item, _) in shelves.reclaim(call.session(), &done.receipts)? {
            shelves.forget(item)?;
        }
        shelves.finish()
    }

    /// Gives items back, to be taken again now or later. Refused as `acknowledge`.
    #[command]
    pub fn negative_acknowledge(call: &Call, failed: NegativeAcknowledge) -> Result<()> {
        let mut shelves = Shelves::open(call)?;
        check_count(&shelves.config, failed.receipts.len())?;
        for reclaimed in shelves.reclaim(call.session(), &failed.receipts)? {
            shelves.send_back(reclaimed, failed.delay_ms, &failed.reason)?;
        }
        shelves.finish()
    }

    /// Keeps items for longer; gives when they go back. Refused as `acknowledge`.
    #[command]
    pub fn extend(call: &Call, wanted: Extend) -> Result<u64> {
        let mut shelves = Shelves::open(call)?;
        check_count(&shelves.config, wanted.receipts.len())?;
        let visibility_ms = visibility_of(&shelves.config, wanted.visibility_ms)?;
        let due_ms = shelves.extend(call.session(), &wanted.receipts, visibility_ms)?;
        shelves.finish()?;
        Ok(due_ms)
    }

    /// Makes dead letters items again, at their old places in line; gives how many. Refused
    /// `no-such-item`.
    #[command]
    pub fn redrive(call: &Call, wanted: Selection) -> Result<u64> {
        let mut shelves = Shelves::open(call)?;
        let dead = select(&mut shelves, &wanted)?;
        let count = dead.len() as u64;
        for (item, card) in dead {
            shelves.revive(item, card)?;
        }
        shelves.finish()?;
        Ok(count)
    }

    /// Drops dead letters for good; gives how many. Refused `no-such-item`.
    #[command]
    pub fn discard(call: &Call, wanted: Selection) -> Result<u64> {
        let mut shelves = Shelves::open(call)?;
        let dead = select(&mut shelves, &wanted)?;
        let count = dead.len() as u64;
        for (item, _) in dead {
            shelves.forget(item)?;
        }
        shelves.finish()?;
        Ok(count)
    }

    /// The items that would be taken next, left where they are.
    #[query]
    pub fn peek(call: &Call, wanted: Peek) -> Result<Vec<ReadyItem>> {
        check_count(&call.config()?, wanted.count as usize)?;
        let ready = shelves::first_ready(call, u64::from(wanted.count))?.into_iter();
        let told = |(item, card, payload): (u64, shelves::Card, Blob)| ReadyItem {
            item,
            payload,
            priority: card.priority,
            deliveries: card.deliveries,
            put_ms: card.put_ms,
        };
        Ok(ready.map(told).collect())
    }

    /// Dead letters, the oldest first.
    #[query]
    pub fn dead_letters(call: &Call, wanted: DeadLetters) -> Result<Vec<DeadLetter>> {
        check_count(&call.config()?, wanted.count as usize)?;
        let dead = shelves::dead_after(call, wanted.after, wanted.count)?.into_iter();
        let told = |(item, card, payload): (u64, shelves::Card, Blob)| DeadLetter {
            item,
            payload,
            priority: card.priority,
            deliveries: card.deliveries,
            put_ms: card.put_ms,
            reason: card.reason,
        };
        Ok(dead.map(told).collect())
    }

    /// How many items there are of each kind, and how many callers wait.
    #[query]
    pub fn length(call: &Call) -> Result<Lengths> {
        shelves::lengths(call)
    }

    #[on(timer)]
    fn timer(run: &Run, _name: &str) -> Result<()> {
        let mut shelves = Shelves::open(run)?;
        shelves.time_passed()?;
        shelves.finish()
    }

    #[on(session_closed)]
    fn session_closed(run: &Run, session: SessionId) -> Result<()> {
        let mut shelves = Shelves::open(run)?;
        shelves.take_back(session)?;
        shelves.finish()
    }

    #[on(ticket_expired, ticket_cancelled)]
    fn wait_ended(run: &Run, ended: EndedTicket) -> Result<()> {
        let mut shelves = Shelves::open(run)?;
        shelves.leave(ended)?;
        shelves.finish()
    }
}

fn check_count(config: &Config, count: usize) -> Result<()> {
    if count == 0 || count > config.batch_max as usize {
        let words = format!("a call is about 1 to {} items", config.batch_max);
        return Err(Failure::new("out-of-range", words));
    }
    Ok(())
}

fn check_items(config: &Config, items: &[NewItem]) -> Result<()> {
    check_count(config, items.len())?;
    if items.len() as u64 > config.length_max {
        let words = format!("the queue never has room for more than {} items", config.length_max);
        return Err(Failure::new("out-of-range", words));
    }
    let sizes = || items.iter().map(|item| item.payload.0.len());
    if sizes().any(|size| size > config.payload_bytes_max as usize) {
        let words = format!("a payload has at most {} bytes", config.payload_bytes_max);
        return Err(Failure::new("too-large", words));
    }
    if sizes().sum::<usize>() > words::CALL_BYTES_MAX {
        let words = format!("the payloads of a call have at most {} bytes", words::CALL_BYTES_MAX);
        return Err(Failure::new("too-large", words));
    }
    Ok(())
}

fn visibility_of(config: &Config, wanted_ms: Option<u64>) -> Result<u64> {
    let visibility_ms = wanted_ms.unwrap_or(config.visibility_ms);
    if visibility_ms == 0 || visibility_ms > config.visibility_ms_max {
        let words = format!("visibility_ms is from 1 to {}", config.visibility_ms_max);
        return Err(Failure::new("out-of-range", words));
    }
    Ok(visibility_ms)
}

fn select(shelves: &mut Shelves<'_>, wanted: &Selection) -> Result<Vec<(u64, shelves::Card)>> {
    if let Some(items) = &wanted.items {
        check_count(&shelves.config, items.len())?;
    }
    shelves.dead(wanted.items.as_deref())
}

#[cfg(test)]
mod tests;
