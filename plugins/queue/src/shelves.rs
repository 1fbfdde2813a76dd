//! The znodes of one queue, and the counts of them.
//!
//! Comes in: what an operation or an event does with items. Goes out: changes of znodes, completed
//! waits, one timer.
//!
//! Invariants: an item lies on exactly one shelf: ready, due (delayed or taken) or dead; the header
//! counts each shelf and is there as long as any count is not zero; the timer stands at the first
//! due time. What one run does is bounded: a run that stops short sets the timer to go on.
//! Must never: read a shelf from end to end.

use crate::words::{CALL_BYTES_MAX, Config, Delivery, Lengths, NewItem, REASON_BYTES_MAX, Receipt};
use quorate_recipe::prelude::*;
use serde::de::IgnoredAny;

const HEADER: &str = "queue";
const TIMER: &str = "due";

// What names begin with. The dead come last of all: whoever reads on from one reads nothing else.
const READY: &str = "ready-";
const DUE: &str = "due-";
const DEAD: &str = "undeliverable-";
const TAKERS: &str = "taker-";
const PUTTERS: &str = "putter-";

/// Changes that one run makes before it stops short: within half of a run's fuel, and enough to serve
/// a taker of a whole batch.
const CHANGES_MAX: u32 = 310;
/// Payload that one run moves before it stops short: at most one call's more is written after it.
const RUN_BYTES_MAX: usize = 64 << 10;
/// Items that become due in one run.
const DUE_MAX: u32 = 40;

/// What goes with an item from shelf to shelf. Its payload stays where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) priority: u16,
    pub(crate) deliveries: u32,
    pub(crate) put_ms: u64,
    /// Why it came back the last time.
    pub(crate) reason: String,
}

/// An item that is delayed, or taken.
#[derive(Debug, Serialize, Deserialize)]
struct Due {
    card: Card,
    taken_by: Option<SessionId>,
}

/// A delivery, by session and item.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Held {
    fence: u64,
    due_ms: u64,
}

/// What one session has of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    taken: u32,
    takers: u32,
    putters: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    lengths: Lengths,
    timer_ms: Option<u64>,
    /// Greater than the number of every item before.
    next_item: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Taker {
    ticket: Ticket<Vec<Delivery>>,
    session: SessionId,
    count: u32,
    visibility_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Putter {
    ticket: Ticket<Vec<u64>>,
    session: SessionId,
    items: Vec<NewItem>,
}

fn item_name(item: u64) -> String {
    format!("item-{item:020}")
}

fn dead_name(item: u64) -> String {
    format!("{DEAD}{item:020}")
}

fn ready_name(priority: u16, item: u64) -> String {
    format!("{READY}{priority:05}-{item:020}")
}

fn due_name(due_ms: u64, item: u64) -> String {
    format!("{DUE}{due_ms:020}-{item:020}")
}

fn held_prefix(session: SessionId) -> String {
    format!("held-{:020}-", session.0)
}

fn held_name(session: SessionId, item: u64) -> String {
    format!("{}{item:020}", held_prefix(session))
}

fn share_name(session: SessionId) -> String {
    format!("share-{:020}", session.0)
}

fn taker_name(key: &str) -> String {
    format!("{TAKERS}{key}")
}

fn putter_name(key: &str) -> String {
    format!("{PUTTERS}{key}")
}

/// The last number in a name.
fn item_in(name: &str) -> Result<u64> {
    let number = name.rsplit('-').next().and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| Failure::new("corrupt-state", format!("znode {name:?} names no item")))
}

fn due_ms_in(name: &str) -> Result<u64> {
    let number = name.split('-').nth(1).and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| Failure::new("corrupt-state", format!("znode {name:?} names no time")))
}

pub(crate) fn lengths(run: &Run) -> Result<Lengths> {
    Ok(run.get::<Header>(HEADER)?.unwrap_or_default().lengths)
}

/// The first ready items, none if there is no such queue, with their payloads: at most so many, and as many as fit one reply.
pub(crate) fn first_ready(run: &Run, count: u64) -> Result<Vec<(u64, Card, Blob)>> {
    let count = count.min(lengths(run)?.ready);
    if count == 0 {
        return Ok(Vec::new());
    }
    with_payloads(run, run.scan("", Some(READY), u32::try_from(count).unwrap_or(u32::MAX))?)
}

/// The first dead letters after an item.
pub(crate) fn dead_after(
    run: &Run,
    item: Option<u64>,
    count: u32,
) -> Result<Vec<(u64, Card, Blob)>> {
    if lengths(run)?.dead == 0 {
        return Ok(Vec::new());
    }
    let after = item.map_or_else(|| DEAD.to_owned(), dead_name);
    with_payloads(run, run.scan("", Some(&after), count)?)
}

fn with_payloads(run: &Run, cards: Vec<(String, Card)>) -> Result<Vec<(u64, Card, Blob)>> {
    let mut items = Vec::new();
    let mut bytes = 0;
    for (name, card) in cards {
        let item = item_in(&name)?;
        let payload = run.get::<Blob>(&item_name(item))?.unwrap_or_default();
        bytes += payload.0.len();
        if bytes > CALL_BYTES_MAX && !items.is_empty() {
            break;
        }
        items.push((item, card, payload));
    }
    Ok(items)
}

/// One queue in the hands of one run. Every change goes through it; [`Shelves::finish`] writes the
/// header and sets the timer.
pub(crate) struct Shelves<'a> {
    run: &'a Run,
    pub(crate) config: Config,
    header: Header,
    stored: Header,
    changes: u32,
    bytes: usize,
    stopped_short: bool,
}

impl<'a> Shelves<'a> {
    pub(crate) fn open(run: &'a Run) -> Result<Shelves<'a>> {
        let stored = run.get::<Header>(HEADER)?.unwrap_or_default();
        let config = run.config()?;
        let (changes, bytes, stopped_short) = (0, 0, false);
        Ok(Shelves { run, config, header: stored, stored, changes, bytes, stopped_short })
    }

    pub(crate) fn lengths(&self) -> &Lengths {
        &self.header.lengths
    }

    /// How many more items the queue may have.
    pub(crate) fn room(&self) -> u64 {
        let Lengths { ready, delayed, taken, dead, .. } = self.header.lengths;
        self.config.length_max.saturating_sub(ready + delayed + taken + dead)
    }

    /// Whether the run may do so much more; if not, the timer goes on with it.
    fn may_change(&mut self, changes: u32) -> bool {
        let may = self.changes + changes <= CHANGES_MAX && self.bytes < RUN_BYTES_MAX;
        self.stopped_short |= !may;
        may
    }

    fn create<T: Serialize>(&mut self, name: &str, value: &T) -> Result<()> {
        self.changes += 1;
        self.run.create(name, value)
    }

    fn create_owned<T: Serialize>(
        &mut self,
        name: &str,
        value: &T,
        owner: SessionId,
    ) -> Result<()> {
        self.changes += 1;
        self.run.create_owned(name, value, owner)
    }

    fn delete(&mut self, name: &str) -> Result<bool> {
        self.changes += 1;
        self.run.delete(name)
    }

    fn share(&self, session: SessionId) -> Result<Share> {
        Ok(self.run.get(&share_name(session))?.unwrap_or_default())
    }

    /// A session that has ended has no share: should its end not have been told, there is nothing to
    /// take off.
    fn change_share(&mut self, session: SessionId, change: impl FnOnce(&mut Share)) -> Result<()> {
        let name = share_name(session);
        let before = self.run.get::<Share>(&name)?;
        let mut after = before.unwrap_or_default();
        change(&mut after);
        match before {
            _ if after == Share::default() => self.delete(&name).map(drop),
            None => self.create_owned(&name, &after, session),
            Some(_) => {
                self.changes += 1;
                self.run.set(&name, &after).map(drop)
            }
        }
    }

    // Items, from shelf to shelf.

    /// Puts items; gives their numbers.
    pub(crate) fn put(&mut self, items: &[NewItem]) -> Result<Vec<u64>> {
        let now_ms = self.run.now_ms();
        let mut numbers = Vec::with_capacity(items.len());
        for new in items {
            // As tickets are numbered; and never twice, should one transaction put in several runs.
            let item = self.header.next_item.max(self.run.zxid() << 16);
            self.header.next_item = item + 1;
            self.bytes += new.payload.0.len();
            self.create(&item_name(item), &new.payload)?;
            let reason = String::new();
            let card = Card { priority: new.priority, deliveries: 0, put_ms: now_ms, reason };
            self.shelve(item, card, new.delay_ms)?;
            numbers.push(item);
        }
        Ok(numbers)
    }

    fn shelve(&mut self, item: u64, card: Card, delay_ms: u64) -> Result<()> {
        if delay_ms == 0 {
            self.header.lengths.ready += 1;
            return self.create(&ready_name(card.priority, item), &card);
        }
        self.header.lengths.delayed += 1;
        let due_ms = self.run.now_ms().saturating_add(delay_ms);
        self.create(&due_name(due_ms, item), &Due { card, taken_by: None })
    }

    /// Puts an item that was delivered in vain where it belongs now. It is on no shelf.
    fn come_back(&mut self, item: u64, mut card: Card, delay_ms: u64, reason: &str) -> Result<()> {
        card.reason = reason.to_owned();
        let deliveries_max = self.config.deliveries_max;
        if deliveries_max == 0 || card.deliveries < deliveries_max {
            return self.shelve(item, card, delay_ms);
        }
        self.header.lengths.dead += 1;
        self.create(&dead_name(item), &card)
    }

    /// Hands ready items to a session: how many there are, it may hold, and fit one reply.
    fn choose(&mut self, session: SessionId, count: u32) -> Result<Vec<(u64, Card, Blob)>> {
        let room = self.config.taken_max.saturating_sub(self.share(session)?.taken);
        if room == 0 {
            return Err(Failure::new(
                "too-many-taken",
                "the session has taken as many items as it may: acknowledge some first",
            ));
        }
        let count = u64::from(count.min(room)).min(self.header.lengths.ready);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        with_payloads(self.run, self.run.scan("", Some(READY), count)?)
    }

    fn delivery_of(
        &self,
        (item, card, payload): &(u64, Card, Blob),
        visibility_ms: u64,
    ) -> Delivery {
        Delivery {
            receipt: Receipt { item: *item, fence: self.run.zxid() },
            payload: payload.clone(),
            priority: card.priority,
            deliveries: card.deliveries + 1,
            put_ms: card.put_ms,
            due_ms: self.run.now_ms().saturating_add(visibility_ms),
        }
    }

    fn hand_over(
        &mut self,
        session: SessionId,
        chosen: Vec<(u64, Card, Blob)>,
        visibility_ms: u64,
    ) -> Result<()> {
        let due_ms = self.run.now_ms().saturating_add(visibility_ms);
        let held = Held { fence: self.run.zxid(), due_ms };
        let count = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
        for (item, mut card, payload) in chosen {
            self.bytes += payload.0.len();
            self.delete(&ready_name(card.priority, item))?;
            card.deliveries += 1;
            self.create(&due_name(due_ms, item), &Due { card, taken_by: Some(session) })?;
            self.create_owned(&held_name(session, item), &held, session)?;
        }
        self.header.lengths.ready -= u64::from(count);
        self.header.lengths.taken += u64::from(count);
        self.change_share(session, |share| share.taken += count)
    }

    /// Takes ready items for a caller who need not wait.
    pub(crate) fn take(
        &mut self,
        session: SessionId,
        count: u32,
        visibility_ms: u64,
    ) -> Result<Vec<Delivery>> {
        let chosen = self.choose(session, count)?;
        let deliver = |chosen| self.delivery_of(chosen, visibility_ms);
        let deliveries = chosen.iter().map(deliver).collect();
        self.hand_over(session, chosen, visibility_ms)?;
        Ok(deliveries)
    }

    /// Takes deliveries off their session's hands; gives the items, which are on no shelf then.
    /// Refused unless the session holds every one of them.
    pub(crate) fn reclaim(
        &mut self,
        session: SessionId,
        receipts: &[Receipt],
    ) -> Result<Vec<(u64, Card)>> {
        let mut reclaimed = Vec::with_capacity(receipts.len());
        let mut stale = Vec::new();
        for receipt in receipts {
            let name = held_name(session, receipt.item);
            let held = self.run.get::<Held>(&name)?;
            let Some(held) = held.filter(|held| held.fence == receipt.fence) else {
                stale.push(*receipt);
                continue;
            };
            self.delete(&name)?;
            let due_name = due_name(held.due_ms, receipt.item);
            if let Some(due) = self.run.get::<Due>(&due_name)? {
                self.delete(&due_name)?;
                reclaimed.push((receipt.item, due.card));
            }
        }
        if !stale.is_empty() {
            let words = "the session has not taken these items under these fences, \
                         or their time is over";
            return Err(Failure::new("not-taken", words).with_detail(&stale));
        }
        let count = u32::try_from(reclaimed.len()).unwrap_or(u32::MAX);
        self.header.lengths.taken -= u64::from(count);
        self.change_share(session, |share| share.taken = share.taken.saturating_sub(count))?;
        Ok(reclaimed)
    }

    /// Gives deliveries of the session another time at which they go back.
    pub(crate) fn extend(
        &mut self,
        session: SessionId,
        receipts: &[Receipt],
        visibility_ms: u64,
    ) -> Result<u64> {
        let due_ms = self.run.now_ms().saturating_add(visibility_ms);
        let reclaimed = self.reclaim(session, receipts)?;
        let count = u32::try_from(reclaimed.len()).unwrap_or(u32::MAX);
        for ((item, card), receipt) in reclaimed.into_iter().zip(receipts) {
            self.create(&due_name(due_ms, item), &Due { card, taken_by: Some(session) })?;
            let held = Held { fence: receipt.fence, due_ms };
            self.create_owned(&held_name(session, item), &held, session)?;
        }
        self.header.lengths.taken += u64::from(count);
        self.change_share(session, |share| share.taken += count)?;
        Ok(due_ms)
    }

    /// Forgets an item that is on no shelf.
    pub(crate) fn forget(&mut self, item: u64) -> Result<()> {
        self.delete(&item_name(item)).map(drop)
    }

    pub(crate) fn send_back(
        &mut self,
        (item, card): (u64, Card),
        delay_ms: u64,
        reason: &str,
    ) -> Result<()> {
        let mut end = reason.len().min(REASON_BYTES_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.come_back(item, card, delay_ms, &reason[..end])
    }

    /// Takes dead letters off their shelf: these, or the oldest.
    pub(crate) fn dead(&mut self, wanted: Option<&[u64]>) -> Result<Vec<(u64, Card)>> {
        let mut found = Vec::new();
        match wanted {
            Some(items) => {
                for item in items {
                    let name = dead_name(*item);
                    let card = self.run.get::<Card>(&name)?.ok_or_else(|| {
                        let words = format!("item {item} is not among the dead letters");
                        Failure::new("no-such-item", words).with_detail(item)
                    })?;
                    self.delete(&name)?;
                    found.push((*item, card));
                }
            }
            None => {
                let count = self.config.batch_max;
                for (name, card) in self.run.scan("", Some(DEAD), count)? {
                    self.delete(&name)?;
                    found.push((item_in(&name)?, card));
                }
            }
        }
        self.header.lengths.dead -= found.len() as u64;
        Ok(found)
    }

    /// Makes a dead letter a new item, at its old place in line.
    pub(crate) fn revive(&mut self, item: u64, mut card: Card) -> Result<()> {
        card.deliveries = 0;
        self.shelve(item, card, 0)
    }

    // Those who wait.

    pub(crate) fn park_taker(
        &mut self,
        call: &Call,
        (count, wait_ms, visibility_ms): (u32, Option<u64>, u64),
    ) -> Result<Ticket<Vec<Delivery>>> {
        if self.header.lengths.takers >= u64::from(self.config.takers_max) {
            return Err(Failure::new("too-many-takers", "too many takers wait at this queue"));
        }
        let (ticket, session) = (call.park(wait_ms), call.session());
        let taker = Taker { ticket, session, count, visibility_ms };
        self.create_owned(&taker_name(&ticket.key()), &taker, session)?;
        self.header.lengths.takers += 1;
        self.change_share(session, |share| share.takers += 1)?;
        Ok(ticket)
    }

    pub(crate) fn park_putter(
        &mut self,
        call: &Call,
        items: Vec<NewItem>,
        wait_ms: u64,
    ) -> Result<Ticket<Vec<u64>>> {
        if self.header.lengths.putters >= u64::from(self.config.putters_max) {
            return Err(Failure::new("too-many-putters", "too many puts wait at this queue"));
        }
        let (ticket, session) = (call.park(Some(wait_ms)), call.session());
        let putter = Putter { ticket, session, items };
        self.create_owned(&putter_name(&ticket.key()), &putter, session)?;
        self.header.lengths.putters += 1;
        self.change_share(session, |share| share.putters += 1)?;
        Ok(ticket)
    }

    /// Forgets a wait that has ended.
    pub(crate) fn leave(&mut self, ended: EndedTicket) -> Result<()> {
        let key = ended.ticket.key();
        if self.delete(&taker_name(&key))? {
            let lengths = &mut self.header.lengths;
            lengths.takers = lengths.takers.saturating_sub(1);
            return self.change_share(ended.session, |share| {
                share.takers = share.takers.saturating_sub(1)
            });
        }
        if self.delete(&putter_name(&key))? {
            let lengths = &mut self.header.lengths;
            lengths.putters = lengths.putters.saturating_sub(1);
            return self.change_share(ended.session, |share| {
                share.putters = share.putters.saturating_sub(1)
            });
        }
        Ok(())
    }

    /// Takes back what an ending session has. Its own znodes go after this run.
    pub(crate) fn take_back(&mut self, session: SessionId) -> Result<()> {
        let share = self.share(session)?;
        let lengths = &mut self.header.lengths;
        lengths.takers = lengths.takers.saturating_sub(u64::from(share.takers));
        lengths.putters = lengths.putters.saturating_sub(u64::from(share.putters));
        lengths.taken -= u64::from(share.taken);
        let prefix = held_prefix(session);
        for (name, held) in self.run.scan::<Held>("", Some(&prefix), share.taken)? {
            let item = item_in(&name)?;
            let due_name = due_name(held.due_ms, item);
            if let Some(due) = self.run.get::<Due>(&due_name)? {
                self.delete(&due_name)?;
                self.come_back(item, due.card, 0, "the session of its taker ended")?;
            }
        }
        Ok(())
    }

    /// Moves on what is due.
    pub(crate) fn time_passed(&mut self) -> Result<()> {
        self.header.timer_ms = None;
        for _ in 0..DUE_MAX {
            let there = self.header.lengths.delayed + self.header.lengths.taken;
            let first = if there > 0 { self.run.first_after::<Due>("", DUE)? } else { None };
            let Some((name, due)) = first else { break };
            if due_ms_in(&name)? > self.run.now_ms() {
                break;
            }
            self.delete(&name)?;
            let item = item_in(&name)?;
            let Some(session) = due.taken_by else {
                self.header.lengths.delayed -= 1;
                self.shelve(item, due.card, 0)?;
                continue;
            };
            self.header.lengths.taken -= 1;
            self.delete(&held_name(session, item))?;
            self.change_share(session, |share| share.taken = share.taken.saturating_sub(1))?;
            self.come_back(item, due.card, 0, "its taker's time was over")?;
        }
        Ok(())
    }

    /// The first name that begins so. The counts of those who wait are too high after sessions whose
    /// end was not told, since the mount was suspended; the znodes went with the sessions.
    fn first_name(&self, prefix: &str) -> Result<Option<String>> {
        let first = self.run.first_after::<IgnoredAny>("", prefix)?;
        Ok(first.map(|(name, _)| name).filter(|name| name.starts_with(prefix)))
    }

    /// Whether somebody waits for an item.
    pub(crate) fn has_taker(&self) -> Result<bool> {
        Ok(self.header.lengths.takers > 0 && self.first_name(TAKERS)?.is_some())
    }

    /// Whether somebody waits for room.
    pub(crate) fn has_putter(&self) -> Result<bool> {
        Ok(self.header.lengths.putters > 0 && self.first_name(PUTTERS)?.is_some())
    }

    /// Puts what waits for room, in order of arrival.
    fn admit(&mut self) -> Result<()> {
        while self.header.lengths.putters > 0 {
            let Some(name) = self.first_name(PUTTERS)? else {
                self.header.lengths.putters = 0;
                break;
            };
            let Some(putter) = self.run.get::<Putter>(&name)? else { break };
            let count = putter.items.len();
            let is_live = self.run.is_live(putter.session);
            if is_live && count as u64 > self.room() {
                break;
            }
            if !self.may_change(u32::try_from(2 * count + 4).unwrap_or(u32::MAX)) {
                break;
            }
            self.delete(&name)?;
            if !is_live {
                continue;
            }
            self.header.lengths.putters -= 1;
            self.change_share(putter.session, |share| {
                share.putters = share.putters.saturating_sub(1)
            })?;
            let numbers = self.put(&putter.items)?;
            self.changes += 1;
            self.run.complete(putter.ticket, &numbers)?;
        }
        Ok(())
    }

    /// Hands ready items to those who wait, in order of arrival.
    fn serve(&mut self) -> Result<()> {
        while self.header.lengths.takers > 0 && self.header.lengths.ready > 0 {
            let Some(name) = self.first_name(TAKERS)? else {
                self.header.lengths.takers = 0;
                break;
            };
            let Some(taker) = self.run.get::<Taker>(&name)? else { break };
            let count = u64::from(taker.count).min(self.header.lengths.ready);
            if !self.may_change(u32::try_from(3 * count + 4).unwrap_or(u32::MAX)) {
                break;
            }
            self.delete(&name)?;
            if !self.run.is_live(taker.session) {
                continue;
            }
            self.header.lengths.takers -= 1;
            self.changes += 1;
            let chosen = match self.choose(taker.session, taker.count) {
                Ok(chosen) => chosen,
                Err(refusal) => {
                    self.run.refuse(taker.ticket.id(), refusal);
                    self.change_share(taker.session, |share| {
                        share.takers = share.takers.saturating_sub(1)
                    })?;
                    continue;
                }
            };
            let deliver = |chosen| self.delivery_of(chosen, taker.visibility_ms);
            let deliveries: Vec<Delivery> = chosen.iter().map(deliver).collect();
            if self.run.complete(taker.ticket, &deliveries)? {
                self.hand_over(taker.session, chosen, taker.visibility_ms)?;
            }
            self.change_share(taker.session, |share| {
                share.takers = share.takers.saturating_sub(1)
            })?;
        }
        Ok(())
    }

    /// Lets those who wait have what there is for them now; writes the header, sets the timer.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.admit()?;
        self.serve()?;
        let next_ms = self.run.now_ms().saturating_add(1);
        let timer_ms = match self.stopped_short {
            true => Some(next_ms),
            false => self.first_due_ms()?.map(|due_ms| due_ms.max(next_ms)),
        };
        if timer_ms != self.header.timer_ms {
            match timer_ms {
                Some(at_ms) => self.run.set_timer(TIMER, at_ms),
                None => drop(self.run.cancel_timer(TIMER)),
            }
            self.header.timer_ms = timer_ms;
        }
        if self.header.lengths == Lengths::default() && timer_ms.is_none() {
            return self.run.delete(HEADER).map(drop);
        }
        if self.header == self.stored {
            return Ok(());
        }
        self.run.put(HEADER, &self.header)
    }

    fn first_due_ms(&self) -> Result<Option<u64>> {
        if self.header.lengths.delayed + self.header.lengths.taken == 0 {
            return Ok(None);
        }
        self.first_name(DUE)?.map(|name| due_ms_in(&name)).transpose()
    }
}
