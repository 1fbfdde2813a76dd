//! The queue (plugins/queue/README.md): no item lost, in one hand, in order, not early, fenced.
//!
//! Comes in: clients' turns, and the log in callers' words. Goes out: puts, takes and what follows
//! them; the first promise broken. What the recipe does by its timer leaves no answer: an item whose
//! time is over may be in line again or may not be yet, and is judged as what it can be.

use super::waits::check_wait_ended;
use super::{
    Answered, EndedCall, LoggedCall, Overdue, Promises, RecipeEntry, Result, Timeline, Told, Trial,
    Turn, Work,
};
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use quorate_types::{SessionId, TicketId, Zxid};
use serde::{Deserialize, Serialize};
use serde_cbor::Value;
use std::collections::{BTreeMap, BTreeSet};

pub const TRIAL: Trial = Trial {
    name: "queue",
    config: draw_config,
    work: |_| Box::<QueueWork>::default(),
    promises: |config| Box::new(QueuePromises::new(config)),
};

const QUEUES: [&str; 2] = ["a", "b"];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    length_max: u64,
    deliveries_max: u32,
    visibility_ms: u64,
}

fn draw_config(choices: &mut Choices, plan: &Plan) -> Bytes {
    let spans = [plan.pause_ms * 8, plan.session_timeout_ms.1 * 2];
    to_cbor(&Config {
        length_max: [6, 40, 100_000][choices.below(3) as usize],
        deliveries_max: [0, 2, 5][choices.below(3) as usize],
        visibility_ms: spans[choices.below(2) as usize].max(1),
    })
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct NewItem {
    payload: Value,
    priority: u16,
    delay_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Put {
    items: Vec<NewItem>,
    wait_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Take {
    count: u32,
    wait_ms: Option<u64>,
    visibility_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Receipt {
    item: u64,
    fence: u64,
}

#[derive(Debug, Deserialize)]
struct Delivery {
    receipt: Receipt,
    payload: Value,
    priority: u16,
    deliveries: u32,
    due_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Receipts {
    receipts: Vec<Receipt>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SendBack {
    receipts: Vec<Receipt>,
    delay_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Extend {
    receipts: Vec<Receipt>,
    visibility_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Selection {
    items: Vec<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Count {
    count: u32,
}

#[derive(Debug, Deserialize)]
struct Dead {
    item: u64,
}

#[derive(Debug, Deserialize)]
struct Lengths {
    ready: u64,
    delayed: u64,
    taken: u64,
    dead: u64,
    takers: u64,
}

/// What one client does.
#[derive(Default)]
struct QueueWork {
    /// Deliveries in hand, with the time at which something is done about them.
    hands: Vec<(&'static str, Receipt, u64)>,
    put: u64,
}

impl QueueWork {
    fn ask_put(&mut self, turn: &mut Turn<'_>, queue: &str) {
        let count = 1 + turn.choices().below(3);
        let items = (0..count).map(|_| self.new_item(turn)).collect();
        let longest_ms = turn.session_timeout_ms();
        let wait_ms = match turn.choices().below(3) {
            0 => 1 + turn.choices().below(longest_ms),
            _ => 0,
        };
        turn.call(queue, "put", &Put { items, wait_ms });
    }

    fn new_item(&mut self, turn: &mut Turn<'_>) -> NewItem {
        self.put += 1;
        let payload = Value::Bytes(format!("{}-{}", turn.client(), self.put).into_bytes());
        let longest_ms = turn.pause_ms() * 10 + 1;
        let choices = turn.choices();
        let priority = [1, 100, 100][choices.below(3) as usize];
        let delay_ms = if choices.one_in(4) { choices.below(longest_ms) } else { 0 };
        NewItem { payload, priority, delay_ms }
    }

    fn ask_take(turn: &mut Turn<'_>, queue: &str) {
        let longest_ms = turn.session_timeout_ms() * 2;
        let count = 1 + turn.choices().below(3) as u32;
        let wait_ms = turn.draw_wait_ms();
        let choices = turn.choices();
        let visibility_ms = choices.one_in(3).then(|| 1 + choices.below(longest_ms));
        turn.call(queue, "take", &Take { count, wait_ms, visibility_ms });
    }

    /// Ends what was in hand long enough: mostly acknowledged, sometimes not.
    fn end(&mut self, turn: &mut Turn<'_>, queue: &'static str, receipt: Receipt) {
        let receipts = vec![receipt];
        let longest_ms = turn.pause_ms() * 10 + 1;
        match turn.choices().below(8) {
            0 => {
                let choices = turn.choices();
                let delay_ms = if choices.one_in(2) { choices.below(longest_ms) } else { 0 };
                turn.call(queue, "negative-acknowledge", &SendBack { receipts, delay_ms });
            }
            1 => {
                turn.call(queue, "extend", &Extend { receipts, visibility_ms: None });
                let until_ms = turn.now_ms() + turn.choices().below(longest_ms);
                self.hands.push((queue, receipt, until_ms));
            }
            // Forgotten: its time runs out.
            2 => {}
            _ => drop(turn.call(queue, "acknowledge", &Receipts { receipts })),
        }
    }
}

fn known_queue(object: &str) -> Option<&'static str> {
    QUEUES.into_iter().find(|queue| *queue == object)
}

impl Work for QueueWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let queue = QUEUES[turn.choices().below(2) as usize];
        match turn.choices().below(12) {
            0..=4 => self.ask_put(turn, queue),
            5..=8 => QueueWork::ask_take(turn, queue),
            9 => drop(turn.query(queue, "length", Bytes::new())),
            10 => drop(turn.query(queue, "peek", to_cbor(&Count { count: 2 }))),
            _ => drop(turn.query(queue, "dead-letters", to_cbor(&Count { count: 3 }))),
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let Some(queue) = known_queue(ended.object) else { return };
        match ended.operation {
            "take" => {
                let span_ms = turn.pause_ms() * 8 + 1;
                for delivery in ended.reply::<Vec<Delivery>>().unwrap_or_default() {
                    let until_ms = turn.now_ms() + turn.choices().below(span_ms);
                    self.hands.push((queue, delivery.receipt, until_ms));
                }
            }
            "dead-letters" => {
                let dead = ended.reply::<Vec<Dead>>().unwrap_or_default();
                let items: Vec<u64> = dead.into_iter().map(|dead| dead.item).collect();
                if !items.is_empty() {
                    let operation = ["redrive", "discard"][turn.choices().below(2) as usize];
                    turn.call(queue, operation, &Selection { items });
                }
            }
            _ => {}
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        let now_ms = turn.now_ms();
        for (queue, receipt, until_ms) in std::mem::take(&mut self.hands) {
            if !eager {
                turn.call(queue, "acknowledge", &Receipts { receipts: vec![receipt] });
            } else if until_ms <= now_ms {
                self.end(turn, queue, receipt);
            } else {
                self.hands.push((queue, receipt, until_ms));
            }
        }
        if !eager && turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {
        self.hands.clear();
    }

    fn is_at_rest(&self) -> bool {
        self.hands.is_empty()
    }
}

/// Where an item is, as far as callers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In line.
    Ready,
    /// Not in line before this time.
    Delayed {
        until_ms: u64,
    },
    /// In a hand; after its time it may be in line, or dead.
    Taken {
        session: SessionId,
        fence: u64,
        due_ms: u64,
    },
    Dead,
}

#[derive(Clone, Debug)]
struct Item {
    payload: Value,
    priority: u16,
    deliveries: u32,
    place: Place,
}

impl Item {
    /// Whether it may be in line at this time.
    fn may_be_ready(&self, now_ms: u64) -> bool {
        match self.place {
            Place::Ready => true,
            Place::Delayed { until_ms } => until_ms <= now_ms,
            Place::Taken { due_ms, .. } => due_ms <= now_ms,
            Place::Dead => false,
        }
    }

    fn is_held(&self, session: SessionId, fence: u64) -> bool {
        matches!(self.place, Place::Taken { session: by, fence: under, .. }
            if (by, under) == (session, fence))
    }
}

/// One queue as its callers know it.
#[derive(Debug, Default)]
struct Queue {
    items: BTreeMap<u64, Item>,
    /// Greatest number of an item.
    newest: u64,
    /// Takers and puts that wait, by ticket: in order of arrival.
    takers: BTreeSet<TicketId>,
    putters: BTreeSet<TicketId>,
    /// Items, and takers and puts that wait, as of every transaction.
    sizes: Timeline<(u64, u64, u64)>,
    /// Items surely in line, as of every transaction.
    ready: Timeline<u64>,
    /// A taker waits although an item is in line.
    overdue: Overdue,
}

impl Queue {
    /// Who waits with this operation.
    fn line_of(&mut self, operation: &str) -> &mut BTreeSet<TicketId> {
        if operation == "take" { &mut self.takers } else { &mut self.putters }
    }

    fn put(&mut self, now_ms: u64, wanted: &Put, numbers: &[u64]) -> Result {
        if numbers.len() != wanted.items.len() {
            return Err(format!("{} items are put as {numbers:?}", wanted.items.len()));
        }
        for (number, new) in numbers.iter().zip(&wanted.items) {
            if *number <= self.newest {
                return Err(format!("a new item has number {number} after {}", self.newest));
            }
            self.newest = *number;
            let until_ms = now_ms.saturating_add(new.delay_ms);
            let place = if new.delay_ms == 0 { Place::Ready } else { Place::Delayed { until_ms } };
            let (payload, priority) = (new.payload.clone(), new.priority);
            self.items.insert(*number, Item { payload, priority, deliveries: 0, place });
        }
        Ok(())
    }

    fn take(
        &mut self,
        (zxid, now_ms): (Zxid, u64),
        session: SessionId,
        deliveries: &[Delivery],
        deliveries_max: u32,
    ) -> Result {
        if deliveries.is_empty() {
            return Err("a take is answered without an item".into());
        }
        for delivery in deliveries {
            let Receipt { item: number, fence } = delivery.receipt;
            self.check_order(number)?;
            let Some(item) = self.items.get_mut(&number) else {
                return Err(format!("item {number} is delivered and is not in the queue"));
            };
            if !item.may_be_ready(now_ms) {
                return Err(format!("item {number} is delivered at {now_ms}: {:?}", item.place));
            }
            if deliveries_max > 0 && item.deliveries >= deliveries_max {
                return Err(format!("item {number} is delivered once more: {item:?}"));
            }
            item.deliveries += 1;
            let told = (&delivery.payload, delivery.priority, delivery.deliveries, fence);
            if told != (&item.payload, item.priority, item.deliveries, zxid.0) {
                return Err(format!("item {number} is {item:?}, delivered is {delivery:?}"));
            }
            item.place = Place::Taken { session, fence, due_ms: delivery.due_ms };
        }
        Ok(())
    }

    /// Nothing that is surely in line goes before the item.
    fn check_order(&self, number: u64) -> Result {
        let Some(taken) = self.items.get(&number) else { return Ok(()) };
        let place = (taken.priority, number);
        let before = self
            .items
            .iter()
            .find(|(other, item)| item.place == Place::Ready && (item.priority, **other) < place);
        match before {
            None => Ok(()),
            Some((other, _)) => Err(format!("item {number} is delivered before item {other}")),
        }
    }

    /// The items of these receipts, which must be good.
    fn reclaim(&mut self, session: SessionId, receipts: &[Receipt]) -> Result<Vec<u64>> {
        for Receipt { item: number, fence } in receipts {
            if !self.items.get(number).is_some_and(|item| item.is_held(session, *fence)) {
                let item = self.items.get(number);
                return Err(format!(
                    "receipt {fence} of item {number} is taken for good: {item:?}"
                ));
            }
        }
        Ok(receipts.iter().map(|receipt| receipt.item).collect())
    }

    /// An item that was not acknowledged goes back.
    fn send_back(&mut self, number: u64, until_ms: Option<u64>, deliveries_max: u32) {
        let Some(item) = self.items.get_mut(&number) else { return };
        let is_dead = deliveries_max > 0 && item.deliveries >= deliveries_max;
        item.place = match until_ms {
            _ if is_dead => Place::Dead,
            Some(until_ms) => Place::Delayed { until_ms },
            None => Place::Ready,
        };
    }

    /// Those of these items that may be dead letters, all of them.
    fn check_dead(&self, now_ms: u64, numbers: &[u64], deliveries_max: u32) -> Result {
        for number in numbers {
            let is_dead = self.items.get(number).is_some_and(|item| {
                let over = matches!(item.place, Place::Taken { due_ms, .. } if due_ms <= now_ms);
                item.place == Place::Dead || (over && item.deliveries >= deliveries_max)
            });
            if !is_dead || deliveries_max == 0 {
                let item = self.items.get(number);
                return Err(format!("item {number} is taken for a dead letter: {item:?}"));
            }
        }
        Ok(())
    }

    fn note(&mut self, zxid: Zxid) {
        let sizes = (self.items.len(), self.takers.len(), self.putters.len());
        self.sizes.note(zxid, (sizes.0 as u64, sizes.1 as u64, sizes.2 as u64));
        self.ready.note(zxid, self.surely_ready());
    }

    fn surely_ready(&self) -> u64 {
        self.items.values().filter(|item| item.place == Place::Ready).count() as u64
    }

    /// Nobody waits for long while something is in line.
    fn check_overdue(&mut self, now_ms: u64) -> Result {
        let is_due = !self.takers.is_empty() && self.surely_ready() > 0;
        if self.overdue.passes(is_due, now_ms) {
            return Err(format!("{:?} wait although items are in line", self.takers));
        }
        Ok(())
    }
}

struct QueuePromises {
    config: Config,
    queues: BTreeMap<String, Queue>,
    now_ms: u64,
    judged: u64,
}

impl QueuePromises {
    fn new(config: &[u8]) -> QueuePromises {
        let config = serde_cbor::from_slice(config).expect("the trial drew it");
        QueuePromises { config, queues: BTreeMap::new(), now_ms: 0, judged: 0 }
    }

    fn called(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let (config, now_ms, session) = (self.config, entry.time_ms, call.name.0);
        let queue = self.queues.entry(call.object.into()).or_default();
        match (call.operation, call.reply) {
            ("take", Err(ticket)) => drop(queue.takers.insert(ticket)),
            ("put", Err(ticket)) => drop(queue.putters.insert(ticket)),
            ("take", Ok(_)) => {
                let deliveries: Vec<Delivery> = call.reply()?.unwrap_or_default();
                if !queue.takers.is_empty() {
                    return Err(format!("{:?} are overtaken by a take", queue.takers));
                }
                queue.take((entry.zxid, now_ms), session, &deliveries, config.deliveries_max)?;
            }
            ("put", Ok(_)) => {
                if !queue.putters.is_empty() {
                    return Err(format!("{:?} are overtaken by a put", queue.putters));
                }
                queue.put(
                    now_ms,
                    &call.arguments()?,
                    &call.reply::<Vec<u64>>()?.unwrap_or_default(),
                )?;
            }
            ("acknowledge", _) => {
                for number in queue.reclaim(session, &call.arguments::<Receipts>()?.receipts)? {
                    queue.items.remove(&number);
                }
            }
            ("negative-acknowledge", _) => {
                let SendBack { receipts, delay_ms } = call.arguments()?;
                let until_ms = (delay_ms > 0).then(|| now_ms.saturating_add(delay_ms));
                for number in queue.reclaim(session, &receipts)? {
                    queue.send_back(number, until_ms, config.deliveries_max);
                }
            }
            ("extend", _) => {
                let until_ms = call.reply::<u64>()?.unwrap_or_default();
                for number in queue.reclaim(session, &call.arguments::<Extend>()?.receipts)? {
                    let item = queue.items.get_mut(&number).expect("it was reclaimed");
                    if let Place::Taken { due_ms, .. } = &mut item.place {
                        *due_ms = until_ms;
                    }
                }
            }
            ("redrive" | "discard", _) => {
                let numbers = call.arguments::<Selection>()?.items;
                queue.check_dead(now_ms, &numbers, config.deliveries_max)?;
                for number in numbers {
                    let item = queue.items.get_mut(&number).expect("it was found dead");
                    item.deliveries = 0;
                    item.place = Place::Ready;
                    if call.operation == "discard" {
                        queue.items.remove(&number);
                    }
                }
            }
            (other, _) => return Err(format!("the queue has no command {other}")),
        }
        Ok(())
    }

    fn answered(&mut self, entry: &RecipeEntry<'_>, answered: &Answered) -> Result {
        let call = &answered.call;
        let queue = self.queues.entry(call.object.clone()).or_default();
        let line = queue.line_of(&call.operation);
        if answered.outcome.is_ok()
            && let Some(first) = line.first().filter(|first| **first < answered.ticket)
        {
            return Err(format!("{:?} is served before {first:?}", answered.ticket));
        }
        let now_ms = entry.time_ms;
        if answered.outcome.is_err() {
            return check_wait_ended(entry, answered);
        }
        if call.operation == "take" {
            let deliveries: Vec<Delivery> = answered.reply()?.unwrap_or_default();
            let max = self.config.deliveries_max;
            return queue.take((entry.zxid, now_ms), call.name.0, &deliveries, max);
        }
        let numbers: Vec<u64> = answered.reply()?.unwrap_or_default();
        queue.put(now_ms, &answered.arguments()?, &numbers)
    }

    /// What the sessions had in hand goes back with their end.
    fn take_back(&mut self, ended: &[SessionId]) {
        for queue in self.queues.values_mut() {
            let held = queue.items.iter().filter(|(_, item)| {
                matches!(item.place, Place::Taken { session, .. } if ended.contains(&session))
            });
            for number in held.map(|(number, _)| *number).collect::<Vec<u64>>() {
                queue.send_back(number, None, self.config.deliveries_max);
            }
        }
    }
}

impl Promises for QueuePromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        self.now_ms = entry.time_ms;
        if entry.call.is_none() && entry.answered.is_empty() && entry.ended.is_empty() {
            return self
                .queues
                .values_mut()
                .try_for_each(|queue| queue.check_overdue(entry.time_ms));
        }
        self.judged += 1;
        // What ends in an entry makes room for what it answers.
        self.take_back(&entry.ended);
        for Answered { ticket, call, .. } in &entry.answered {
            let queue = self.queues.entry(call.object.clone()).or_default();
            queue.line_of(&call.operation).remove(ticket);
        }
        if let Some(call) = &entry.call {
            self.called(entry, call)?;
        }
        // In the order of the log: one transaction may be several runs, each of which lets puts in
        // before it serves takers.
        for answered in &entry.answered {
            self.answered(entry, answered)?;
        }
        for (name, queue) in &mut self.queues {
            queue.note(entry.zxid);
            if queue.items.len() as u64 > self.config.length_max {
                return Err(format!("queue {name} has {} items", queue.items.len()));
            }
            queue.check_overdue(entry.time_ms)?;
        }
        Ok(())
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        let now_ms = self.now_ms;
        let queue = self.queues.entry(told.object.into()).or_default();
        match (told.operation, told.refusal()) {
            ("take", Some("empty")) => {
                let mut ready = queue.ready.within(told.from, told.zxid);
                let mut sizes = queue.sizes.within(told.from, told.zxid);
                let was_empty = ready.any(|ready| ready.is_none_or(|ready| *ready == 0));
                if was_empty || sizes.any(|sizes| sizes.is_some_and(|sizes| sizes.1 > 0)) {
                    return Ok(());
                }
                Err("refused as empty, and items were in line all the time".into())
            }
            ("put", Some("full")) => {
                let room = self.config.length_max;
                let wanted = told.arguments::<Put>()?.items.len() as u64;
                let mut sizes = queue.sizes.within(told.from, told.zxid);
                let is_right = sizes.any(|sizes| {
                    sizes.is_some_and(|(items, _, putters)| items + wanted > room || *putters > 0)
                });
                if is_right { Ok(()) } else { Err("refused as full, and there was room".into()) }
            }
            ("acknowledge" | "negative-acknowledge" | "extend", Some("not-taken")) => {
                let receipts = match told.operation {
                    "acknowledge" => told.arguments::<Receipts>()?.receipts,
                    "extend" => told.arguments::<Extend>()?.receipts,
                    _ => told.arguments::<SendBack>()?.receipts,
                };
                // A receipt that is good now was good ever since its delivery.
                let is_good = |receipt: &Receipt| {
                    queue.items.get(&receipt.item).is_some_and(|item| {
                        item.is_held(told.session, receipt.fence) && !item.may_be_ready(now_ms)
                    })
                };
                if receipts.iter().all(is_good) {
                    return Err(format!("refused as not taken, and all are: {receipts:?}"));
                }
                Ok(())
            }
            ("length", None) => {
                let Some(shown) = told.reply::<Lengths>()? else { return Ok(()) };
                let items = shown.ready + shown.delayed + shown.taken + shown.dead;
                let known = queue.sizes.at(told.zxid).copied().unwrap_or_default();
                if (items, shown.takers) == (known.0, known.1) {
                    return Ok(());
                }
                Err(format!("shows {shown:?} at {}, there were {known:?}", told.zxid))
            }
            ("put", Some("too-large" | "out-of-range" | "too-many-putters")) => Ok(()),
            ("take", Some("too-many-takers" | "too-many-taken")) => Ok(()),
            ("redrive" | "discard", Some("no-such-item")) => Ok(()),
            ("peek" | "dead-letters", None) => Ok(()),
            (operation, refusal) => Err(format!("{operation} is told {refusal:?}")),
        }
    }

    fn finish(&mut self, left: &[String]) -> Result {
        for (name, queue) in &self.queues {
            let below = left.iter().filter(|path| path.split('/').next() == Some(name)).count();
            if queue.items.is_empty() && below > 0 {
                return Err(format!("queue {name} is empty and {below} znodes are left"));
            }
            if !queue.items.is_empty() && below < queue.items.len() {
                return Err(format!("queue {name} should have {} items", queue.items.len()));
            }
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::super::said::{Said, answer};
    use super::*;

    fn said() -> Said {
        let config = Config { length_max: 3, deliveries_max: 2, visibility_ms: 1_000 };
        Said::to((TRIAL.promises)(&to_cbor(&config)))
    }

    fn items(count: u64, delay_ms: u64) -> Put {
        let item = |number| NewItem { payload: Value::Integer(number), priority: 1, delay_ms };
        Put { items: (0..i128::from(count)).map(item).collect(), wait_ms: 0 }
    }

    fn one() -> Take {
        Take { count: 1, wait_ms: None, visibility_ms: None }
    }

    #[derive(Serialize)]
    struct Delivered {
        receipt: Receipt,
        payload: Value,
        priority: u16,
        deliveries: u32,
        due_ms: u64,
    }

    fn delivered(said: &Said, item: u64, payload: i128, deliveries: u32) -> Vec<Delivered> {
        let receipt = Receipt { item, fence: said.next() };
        let due_ms = said.now_ms + 1_000;
        let payload = Value::Integer(payload);
        vec![Delivered { receipt, payload, priority: 1, deliveries, due_ms }]
    }

    const PUT: (&str, &str) = ("a", "put");
    const TAKE: (&str, &str) = ("a", "take");

    #[test]
    fn what_a_queue_does_is_believed() {
        let mut said = said();
        said.done(1, PUT, &items(2, 0), &[7, 8], vec![]).unwrap();
        let first = delivered(&said, 7, 0, 1);
        said.done(1, TAKE, &one(), &first, vec![]).unwrap();
        let waits = said.parked(2, TAKE, &one());
        let second = delivered(&said, 8, 1, 1);
        said.event(&[], vec![answer(&waits, &second)]).unwrap();
        let receipts = vec![first[0].receipt];
        said.done(1, ("a", "acknowledge"), &Receipts { receipts }, &(), vec![]).unwrap();
        said.now_ms += 2_000;
        let again = delivered(&said, 8, 1, 2);
        said.done(1, TAKE, &one(), &again, vec![]).unwrap();
    }

    #[test]
    fn an_item_in_two_hands_is_found() {
        let mut said = said();
        said.done(1, PUT, &items(1, 0), &[7], vec![]).unwrap();
        let first = delivered(&said, 7, 0, 1);
        said.done(1, TAKE, &one(), &first, vec![]).unwrap();
        let again = delivered(&said, 7, 0, 2);
        let text = said.done(2, TAKE, &one(), &again, vec![]).unwrap_err();
        assert!(text.contains("item 7 is delivered at"), "{text}");
    }

    #[test]
    fn what_comes_early_or_out_of_order_or_is_lost_is_found() {
        let mut early = said();
        early.done(1, PUT, &items(1, 500), &[7], vec![]).unwrap();
        let first = delivered(&early, 7, 0, 1);
        assert!(early.done(1, TAKE, &one(), &first, vec![]).is_err());

        let mut jumped = said();
        jumped.done(1, PUT, &items(2, 0), &[7, 8], vec![]).unwrap();
        let second = delivered(&jumped, 8, 1, 1);
        let text = jumped.done(1, TAKE, &one(), &second, vec![]).unwrap_err();
        assert!(text.contains("before item 7"), "{text}");

        let mut lost = said();
        lost.done(1, PUT, &items(2, 0), &[7, 8], vec![]).unwrap();
        assert!(lost.promises.finish(&[]).is_err());
    }

    #[test]
    fn refusals_that_were_never_right_are_found() {
        let mut said = said();
        said.done(1, PUT, &items(2, 0), &[7, 8], vec![]).unwrap();
        said.told(1, TAKE, &one(), Err("empty")).unwrap_err();
        said.told(1, PUT, &items(1, 0), Err("full")).unwrap_err();
        said.told(1, PUT, &items(2, 0), Err("full")).unwrap();
        let first = delivered(&said, 7, 0, 1);
        said.done(1, TAKE, &one(), &first, vec![]).unwrap();
        let receipts = Receipts { receipts: vec![first[0].receipt] };
        said.told(1, ("a", "acknowledge"), &receipts, Err("not-taken")).unwrap_err();
        said.told(2, ("a", "acknowledge"), &receipts, Err("not-taken")).unwrap();
    }
}
