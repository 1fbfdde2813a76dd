//! What the semaphore promises: never above the capacity, whole, in order, fenced.
//!
//! Comes in: the log in callers' words. Goes out: the first promise broken. A lease whose time is over
//! ends by a timer, which leaves no answer: it may be there still or may not, and is judged as what it
//! can be.

use super::super::record::word_of;
use super::super::waits::check_wait_ended;
use super::super::{Answered, LoggedCall, Overdue, Promises, RecipeEntry, Result, Timeline, Told};
use super::{Acquire, Config, Grant, Holder, Lease, Leases, Page, Pool, Release, Renew, Resize};
use quorate_types::{SessionId, TicketId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

type LeaseName = (SessionId, u64);

/// A quantity that somebody has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    lease: Lease,
    /// Least that was free besides the sure leases since its time was over: more than that it
    /// cannot have kept.
    free_min: u64,
}

impl Held {
    /// Whether its timer can have ended it.
    fn may_be_over(&self, now_ms: u64) -> bool {
        self.lease.ends_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }
}

/// A semaphore as its callers know it after a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// Capacity, and whether it was set by `resize`.
    pool: Option<(u64, bool)>,
    leases: BTreeMap<LeaseName, Held>,
    waiters: usize,
}

impl State {
    /// Least and most that can be leased out.
    fn taken(&self, now_ms: u64) -> (u64, u64) {
        let quantity = |held: &Held| held.lease.quantity;
        let sure = self.leases.values().filter(|held| !held.may_be_over(now_ms));
        (sure.map(quantity).sum(), self.leases.values().map(quantity).sum())
    }

    /// Least and most leases that a session can have.
    fn leases_of(&self, session: SessionId, now_ms: u64) -> (usize, usize) {
        let own = self.leases.range((session, 0)..=(session, u64::MAX));
        let sure = own.clone().filter(|(_, held)| !held.may_be_over(now_ms));
        (sure.count(), own.count())
    }

    /// Least and most claims: sessions with leases, and waiters.
    fn claims(&self, now_ms: u64) -> (usize, usize) {
        let sure = self.leases.iter().filter(|(_, held)| !held.may_be_over(now_ms));
        let sure: BTreeSet<SessionId> = sure.map(|((session, _), _)| *session).collect();
        let all: BTreeSet<SessionId> = self.leases.keys().map(|(session, _)| *session).collect();
        (sure.len() + self.waiters, all.len() + self.waiters)
    }

    /// Whether it can be that nobody uses it, so that the next use is the first.
    fn may_be_unused(&self, now_ms: u64) -> bool {
        self.pool
            .is_none_or(|(_, resized)| !resized && self.waiters == 0 && self.taken(now_ms).0 == 0)
    }

    /// Whether it can be that a request of so much is never granted, at all or to this session.
    fn check_lease(&self, now_ms: u64, wanted: &Acquire) -> Result {
        let Some((capacity, _)) = self.pool else { return Err("there is no capacity".into()) };
        let taken = self.taken(now_ms).0;
        if taken.saturating_add(wanted.quantity) > capacity {
            let quantity = wanted.quantity;
            return Err(format!("{quantity} is granted beside {taken} of {capacity}"));
        }
        Ok(())
    }

    fn shows(&self, pool: Option<&Pool>, now_ms: u64) -> bool {
        let Some(pool) = pool else { return self.may_be_unused(now_ms) };
        let (least, most) = self.taken(now_ms);
        self.pool == Some((pool.capacity, pool.resized)) && (least..=most).contains(&pool.taken)
    }
}

/// One semaphore, and what is under way there.
#[derive(Debug, Default)]
struct Semaphore {
    state: State,
    line: BTreeMap<TicketId, (SessionId, Acquire)>,
    states: Timeline<State>,
    /// The first in line is served a little later: its session, or enough of others, were served in
    /// the transaction before.
    steps: bool,
    step_overdue: Overdue,
    timer_overdue: Overdue,
}

impl Semaphore {
    /// A request is let in: it is proper, and agrees with the capacity.
    fn enter(
        &mut self,
        config: &Config,
        now_ms: u64,
        session: SessionId,
        wanted: &Acquire,
    ) -> Result {
        let state = &mut self.state;
        let differs = |(capacity, resized): (u64, bool)| {
            !resized && wanted.capacity.is_some_and(|wanted| wanted != capacity)
        };
        if state.pool.is_none_or(differs) && state.may_be_unused(now_ms) {
            // This is the first use: what could be over is over.
            state.leases.clear();
            state.pool = config.capacity.or(wanted.capacity).map(|capacity| (capacity, false));
        }
        let Some((capacity, _)) = state.pool.filter(|pool| !differs(*pool)) else {
            return Err(format!("{wanted:?} is let in, the pool is {:?}", state.pool));
        };
        let is_proper = (1..=capacity).contains(&wanted.quantity)
            && wanted.ttl_ms != Some(0)
            && wanted.note.len() <= config.note_bytes_max as usize
            && state.leases_of(session, now_ms).0 < config.leases_max as usize
            && state.claims(now_ms).0 < config.claims_max as usize;
        if is_proper { Ok(()) } else { Err(format!("{wanted:?} is let in: {state:?}")) }
    }

    fn grant(
        &mut self,
        (zxid, now_ms): (Zxid, u64),
        session: SessionId,
        wanted: &Acquire,
        grant: Grant,
    ) -> Result {
        if let Some((first, _)) = self.line.first_key_value() {
            return Err(format!("{first:?} is overtaken by session {session}"));
        }
        self.lease((zxid, now_ms), session, wanted, grant)
    }

    fn lease(
        &mut self,
        (zxid, now_ms): (Zxid, u64),
        session: SessionId,
        wanted: &Acquire,
        grant: Grant,
    ) -> Result {
        let state = &mut self.state;
        state.check_lease(now_ms, wanted)?;
        let ends_at_ms = wanted.ttl_ms.map(|ttl_ms| now_ms.saturating_add(ttl_ms));
        if grant != (Grant { fence: zxid.0, ends_at_ms }) {
            return Err(format!("{grant:?} is granted at {now_ms} for {wanted:?}"));
        }
        let (fence, quantity, note) = (zxid.0, wanted.quantity, wanted.note.clone());
        let lease = Lease { fence, quantity, since_ms: now_ms, ends_at_ms, note };
        let before = state.leases.insert((session, fence), Held { lease, free_min: u64::MAX });
        if let Some(before) = before {
            return Err(format!("two leases of session {session} have one fence: {before:?}"));
        }
        let capacity = state.pool.map_or(0, |(capacity, _)| capacity);
        let free = capacity.saturating_sub(state.taken(now_ms).0);
        for held in state.leases.values_mut().filter(|held| held.may_be_over(now_ms)) {
            held.free_min = held.free_min.min(free);
        }
        Ok(())
    }

    /// A lease of the caller, which must be good.
    fn own(&mut self, session: SessionId, fence: u64) -> Result<&mut Held> {
        let Some(held) = self.state.leases.get_mut(&(session, fence)) else {
            return Err(format!("session {session} has no lease {fence}, and it is good"));
        };
        if held.lease.quantity > held.free_min {
            return Err(format!("{held:?} is good, and was leased to others meanwhile"));
        }
        Ok(held)
    }

    /// Whether something is to be done about the first in line.
    fn first_is_due(&self, config: &Config, now_ms: u64, taken: u64) -> bool {
        let Some((session, wanted)) = self.line.values().next() else { return false };
        let capacity = self.state.pool.map_or(0, |(capacity, _)| capacity);
        let is_hopeless = wanted.quantity > capacity
            || self.state.leases_of(*session, now_ms).0 >= config.leases_max as usize;
        is_hopeless || taken.saturating_add(wanted.quantity) <= capacity
    }

    /// Judges how things stand when a transaction is over; `served`: how many of the line it served.
    fn settle(&mut self, config: &Config, (zxid, now_ms): (Zxid, u64), served: u32) -> Result {
        self.state.waiters = self.line.len();
        if self.line.is_empty() && self.state.leases.is_empty() {
            self.state.pool = self.state.pool.filter(|(_, resized)| *resized);
        }
        self.states.note(zxid, self.state.clone());
        let (least, most) = self.state.taken(now_ms);
        let is_due = self.first_is_due(config, now_ms, most);
        let first = self.line.values().next();
        let has_fence =
            first.is_some_and(|(session, _)| self.state.leases.contains_key(&(*session, zxid.0)));
        self.steps = is_due && (self.steps || has_fence || served >= config.grants_max);
        if is_due && !self.steps {
            return Err(format!("{first:?} waits, and is to be served: {:?}", self.state));
        }
        let may_be_due = self.first_is_due(config, now_ms, least);
        let is_late = self.step_overdue.passes(is_due, now_ms);
        if self.timer_overdue.passes(may_be_due, now_ms) || is_late {
            return Err(format!("{:?} is not served: {:?}", self.line, self.state));
        }
        Ok(())
    }
}

pub(super) struct SemaphorePromises {
    config: Config,
    semaphores: BTreeMap<String, Semaphore>,
    /// The leaders' time as of every transaction.
    times: Timeline<u64>,
    now_ms: u64,
    judged: u64,
}

impl SemaphorePromises {
    pub(super) fn new(config: &[u8]) -> SemaphorePromises {
        let config = serde_cbor::from_slice(config).expect("the trial drew it");
        let times = Timeline::default();
        SemaphorePromises { config, semaphores: BTreeMap::new(), times, now_ms: 0, judged: 0 }
    }

    fn called(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let (config, session, now_ms) = (self.config, call.name.0, entry.time_ms);
        let semaphore = self.semaphores.entry(call.object.into()).or_default();
        match call.operation {
            "acquire" => {
                let wanted: Acquire = call.arguments()?;
                semaphore.enter(&config, now_ms, session, &wanted)?;
                match (call.reply::<Grant>()?, call.reply) {
                    (Some(grant), _) => {
                        semaphore.grant((entry.zxid, now_ms), session, &wanted, grant)?;
                    }
                    (None, Err(ticket)) if wanted.wait_ms != Some(0) => {
                        semaphore.line.insert(ticket, (session, wanted));
                    }
                    _ => return Err(format!("{wanted:?} waits")),
                }
            }
            "release" => {
                let fence = call.arguments::<Release>()?.fence;
                semaphore.own(session, fence)?;
                semaphore.state.leases.remove(&(session, fence));
            }
            "renew" => {
                let Renew { fence, ttl_ms } = call.arguments()?;
                let held = semaphore.own(session, fence)?;
                held.lease.ends_at_ms = ttl_ms.map(|ttl_ms| now_ms.saturating_add(ttl_ms));
                let right = Grant { fence, ends_at_ms: held.lease.ends_at_ms };
                if ttl_ms == Some(0) || call.reply()? != Some(right) {
                    return Err(format!("a renewal for {ttl_ms:?} ends at {:?}", right.ends_at_ms));
                }
            }
            "resize" => {
                let wanted = call.arguments::<Resize>()?.capacity;
                let pool = &mut semaphore.state.pool;
                let fallback = config.capacity.or(pool.map(|(capacity, _)| capacity));
                *pool = wanted.or(fallback).map(|capacity| (capacity, wanted.is_some()));
                if wanted == Some(0) {
                    return Err("a semaphore gets no capacity".into());
                }
            }
            other => return Err(format!("the semaphore has no command {other}")),
        }
        Ok(())
    }

    fn answered(&mut self, entry: &RecipeEntry<'_>, answered: &Answered) -> Result {
        let config = self.config;
        let call = &answered.call;
        let (session, now_ms) = (call.name.0, entry.time_ms);
        let semaphore = self.semaphores.entry(call.object.clone()).or_default();
        semaphore.line.remove(&answered.ticket);
        let passed = semaphore.line.keys().next().filter(|first| **first < answered.ticket);
        let wanted: Acquire = answered.arguments()?;
        let state = &semaphore.state;
        let is_right = match &answered.outcome {
            Ok(_) => true,
            Err(refusal) => match word_of(refusal) {
                "over-capacity" => {
                    state.pool.is_some_and(|(capacity, _)| wanted.quantity > capacity)
                }
                "too-many-leases" => {
                    state.leases_of(session, now_ms).1 >= config.leases_max as usize
                }
                _ => return check_wait_ended(entry, answered),
            },
        };
        if passed.is_some() || !is_right {
            let outcome = &answered.outcome;
            return Err(format!("{call:?} is answered {outcome:?} before {passed:?}: {state:?}"));
        }
        match answered.reply()? {
            Some(grant) => semaphore.lease((entry.zxid, now_ms), session, &wanted, grant),
            None => Ok(()),
        }
    }

    /// What the recipe answers to parked calls of one object.
    fn served(entry: &RecipeEntry<'_>, object: &str) -> u32 {
        let is_served = |answered: &&Answered| {
            let is_own = match &answered.outcome {
                Ok(_) => true,
                Err(refusal) => refusal.recipe_code.is_some(),
            };
            is_own && answered.call.object == object
        };
        u32::try_from(entry.answered.iter().filter(is_served).count()).unwrap_or(u32::MAX)
    }

    fn check_reply(&self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let served = SemaphorePromises::served(entry, call.object);
        if served > self.config.grants_max {
            return Err(format!("one call serves {served}"));
        }
        if call.operation != "resize" {
            return Ok(());
        }
        let pool = call.reply::<Option<Pool>>()?.flatten();
        let state = &self.semaphores[call.object].state;
        if state.shows(pool.as_ref(), entry.time_ms) {
            return Ok(());
        }
        Err(format!("resize is answered {pool:?}: {state:?}"))
    }

    fn check_listed(&self, told: &Told<'_>) -> Result {
        let Some(listed) = told.reply::<Leases>()? else { return Ok(()) };
        let page: Page = told.arguments()?;
        let nothing = State::default();
        let semaphore = self.semaphores.get(told.object);
        let state = semaphore.and_then(|known| known.states.at(told.zxid)).unwrap_or(&nothing);
        let now_ms = self.times.at(told.zxid).copied().unwrap_or_default();
        let limit = page.limit.unwrap_or(500) as usize;
        let mut shown = BTreeMap::new();
        let mut newest = page.after;
        for Holder { session, leases } in &listed.holders {
            if newest.is_some_and(|newest| *session <= newest) || leases.is_empty() {
                return Err(format!("{listed:?} is out of order"));
            }
            newest = Some(*session);
            if shown.len() >= limit {
                return Err(format!("{listed:?} is too long for {page:?}"));
            }
            shown.extend(leases.iter().map(|lease| ((SessionId(*session), lease.fence), lease)));
        }
        let sum: u64 = shown.values().map(|lease| lease.quantity).sum();
        let is_whole = page.after.is_none() && listed.next.is_none();
        let ends_well = listed.next.is_none() || (listed.next == newest && shown.len() >= limit);
        let is_here = |(session, _): &LeaseName| {
            page.after.is_none_or(|after| session.0 > after)
                && listed.next.is_none_or(|next| session.0 <= next)
        };
        let lacks = state.leases.iter().find(|(name, held)| {
            is_here(name) && !held.may_be_over(now_ms) && !shown.contains_key(name)
        });
        let invented = shown
            .iter()
            .find(|(name, lease)| state.leases.get(name).is_none_or(|held| held.lease != ***lease));
        let taken = listed.pool.map_or(0, |pool| pool.taken);
        let is_right = state.shows(listed.pool.as_ref(), now_ms)
            && ends_well
            && (!is_whole || taken == sum)
            && sum <= taken;
        if is_right && lacks.is_none() && invented.is_none() {
            return Ok(());
        }
        let zxid = told.zxid;
        Err(format!("shows {listed:?} for {page:?} at {zxid}, {now_ms} ms; there was {state:?}"))
    }

    /// Whether a refusal was right at some time between the question and the answer.
    fn is_justified(&self, told: &Told<'_>, word: &str) -> Result<bool> {
        let config = &self.config;
        let now_ms = self.times.at(told.zxid).copied().unwrap_or_default();
        let nothing = State::default();
        let states: Vec<&State> = match self.semaphores.get(told.object) {
            None => vec![&nothing],
            Some(known) => known
                .states
                .within(told.from, told.zxid)
                .map(|state| state.unwrap_or(&nothing))
                .collect(),
        };
        let was = |is_right: &dyn Fn(&State) -> bool| states.iter().any(|state| is_right(state));
        if word == "no-lease" {
            let fence = match told.operation {
                "renew" => told.arguments::<Renew>()?.fence,
                _ => told.arguments::<Release>()?.fence,
            };
            let name = (told.session, fence);
            return Ok(was(&|state| {
                state.leases.get(&name).is_none_or(|held| held.may_be_over(now_ms))
            }));
        }
        match told.operation {
            "renew" => return Ok(told.arguments::<Renew>()?.ttl_ms == Some(0)),
            "resize" => return Ok(told.arguments::<Resize>()?.capacity == Some(0)),
            _ => {}
        }
        let wanted: Acquire = told.arguments()?;
        let first_use = config.capacity.or(wanted.capacity);
        let capacity = |state: &State| state.pool.map(|(capacity, _)| capacity);
        Ok(match word {
            "unavailable" => was(&|state| {
                let free =
                    capacity(state).map_or(0, |all| all.saturating_sub(state.taken(now_ms).1));
                wanted.wait_ms == Some(0)
                    && state.pool.is_some()
                    && (state.waiters > 0 || wanted.quantity > free)
            }),
            "over-capacity" => was(&|state| {
                capacity(state).or(first_use).is_some_and(|all| wanted.quantity > all)
                    || (state.may_be_unused(now_ms)
                        && first_use.is_some_and(|all| wanted.quantity > all))
            }),
            "no-capacity" => first_use.is_none() && was(&|state| state.may_be_unused(now_ms)),
            "capacity-differs" => was(&|state| {
                let differs = |all: u64| wanted.capacity.is_some_and(|wanted| wanted != all);
                match state.pool {
                    Some((all, resized)) => !resized && differs(all),
                    None => first_use.is_some_and(differs),
                }
            }),
            "too-many-leases" => {
                was(&|state| state.leases_of(told.session, now_ms).1 >= config.leases_max as usize)
            }
            "full" => was(&|state| state.claims(now_ms).1 >= config.claims_max as usize),
            "note-too-long" => wanted.note.len() > config.note_bytes_max as usize,
            "out-of-range" => wanted.quantity == 0 || wanted.ttl_ms == Some(0),
            _ => false,
        })
    }
}

impl Promises for SemaphorePromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        let now_ms = entry.time_ms;
        self.now_ms = now_ms;
        self.times.note(entry.zxid, now_ms);
        let is_about =
            entry.call.is_some() || !entry.answered.is_empty() || !entry.ended.is_empty();
        self.judged += u64::from(is_about);
        for semaphore in self.semaphores.values_mut() {
            semaphore.state.leases.retain(|(session, _), _| !entry.ended.contains(session));
            semaphore.line.retain(|_, (session, _)| !entry.ended.contains(session));
        }
        if let Some(call) = &entry.call {
            self.called(entry, call)?;
        }
        for answered in &entry.answered {
            self.answered(entry, answered)?;
        }
        if let Some(call) = &entry.call {
            self.check_reply(entry, call)?;
        }
        for (name, semaphore) in &mut self.semaphores {
            let served = SemaphorePromises::served(entry, name);
            semaphore
                .settle(&self.config, (entry.zxid, now_ms), served)
                .map_err(|text| format!("semaphore {name}: {text}"))?;
        }
        Ok(())
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        match told.refusal() {
            Some(word) => {
                if self.is_justified(told, word)? {
                    return Ok(());
                }
                let state = self.semaphores.get(told.object).map(|known| &known.state);
                Err(format!("is told {word} and that was never right; now: {state:?}"))
            }
            None if told.operation == "leases" => self.check_listed(told),
            None => Err("is answered and is not in the log".into()),
        }
    }

    fn finish(&mut self, left: &[String]) -> Result {
        for (name, semaphore) in &self.semaphores {
            let state = &semaphore.state;
            let below = left.iter().filter(|path| path.split('/').next() == Some(name)).count();
            let is_unused = state.may_be_unused(self.now_ms);
            if is_unused != (below == 0) {
                return Err(format!("semaphore {name} has {below} znodes: {state:?}"));
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
    use super::super::super::said::{Said, answer};
    use super::super::TRIAL;
    use super::*;
    use crate::work::to_cbor;

    fn said() -> Said {
        let config = Config {
            capacity: Some(3),
            claims_max: 10,
            leases_max: 3,
            grants_max: 2,
            note_bytes_max: 8,
        };
        Said::to((TRIAL.promises)(&to_cbor(&config)))
    }

    fn some(quantity: u64) -> Acquire {
        Acquire { quantity, wait_ms: None, capacity: None, ttl_ms: None, note: String::new() }
    }

    fn granted(said: &Said) -> Grant {
        Grant { fence: said.next(), ends_at_ms: None }
    }

    const ACQUIRE: (&str, &str) = ("a", "acquire");
    const RELEASE: (&str, &str) = ("a", "release");

    /// Session 1 has so much.
    fn taken(quantity: u64) -> (Said, Release) {
        let mut said = said();
        let grant = granted(&said);
        said.done(1, ACQUIRE, &some(quantity), &grant, vec![]).unwrap();
        (said, Release { fence: grant.fence })
    }

    #[test]
    fn what_a_semaphore_does_is_believed() {
        let (mut said, first) = taken(2);
        let (large, small) = (said.parked(2, ACQUIRE, &some(2)), said.parked(3, ACQUIRE, &some(1)));
        said.told(1, ACQUIRE, &some(1), Err("unavailable")).unwrap_err();
        let tries = Acquire { wait_ms: Some(0), ..some(1) };
        said.told(1, ACQUIRE, &tries, Err("unavailable")).unwrap();
        let both = vec![answer(&large, &granted(&said)), answer(&small, &granted(&said))];
        said.done(1, RELEASE, &first, &(), both).unwrap();
        said.event(&[2, 3], vec![]).unwrap();
        said.promises.finish(&[]).unwrap();
    }

    #[test]
    fn more_than_there_is_and_a_fence_that_is_not_the_grants_are_found() {
        let (mut said, _) = taken(2);
        let grant = granted(&said);
        let text = said.done(2, ACQUIRE, &some(2), &grant, vec![]).unwrap_err();
        assert!(text.contains("beside 2 of 3"), "{text}");

        let (mut said, first) = taken(1);
        let old = Grant { fence: first.fence, ends_at_ms: None };
        said.done(2, ACQUIRE, &some(1), &old, vec![]).unwrap_err();
    }

    #[test]
    fn who_passes_the_line_or_is_forgotten_in_it_is_found() {
        let (mut said, _) = taken(2);
        said.parked(2, ACQUIRE, &some(3));
        let grant = granted(&said);
        let text = said.done(3, ACQUIRE, &some(1), &grant, vec![]).unwrap_err();
        assert!(text.contains("is overtaken"), "{text}");

        let (mut said, first) = taken(3);
        said.parked(2, ACQUIRE, &some(1));
        let second = said.parked(3, ACQUIRE, &some(1));
        let answered = vec![answer(&second, &granted(&said))];
        said.done(1, RELEASE, &first, &(), answered).unwrap_err();

        let (mut said, first) = taken(3);
        said.parked(2, ACQUIRE, &some(3));
        let text = said.done(1, RELEASE, &first, &(), vec![]).unwrap_err();
        assert!(text.contains("is to be served"), "{text}");
    }

    #[test]
    fn two_leases_of_one_session_under_one_fence_are_found() {
        let (mut said, first) = taken(3);
        let (one, two) = (said.parked(2, ACQUIRE, &some(1)), said.parked(2, ACQUIRE, &some(1)));
        let both = vec![answer(&one, &granted(&said)), answer(&two, &granted(&said))];
        let text = said.done(1, RELEASE, &first, &(), both).unwrap_err();
        assert!(text.contains("one fence"), "{text}");
    }

    #[test]
    fn a_lease_is_gone_with_its_time_or_is_still_there_never_both() {
        let mut said = said();
        let grant = Grant { fence: said.next(), ends_at_ms: Some(1_500) };
        let short = Acquire { ttl_ms: Some(500), ..some(2) };
        said.done(1, ACQUIRE, &short, &grant, vec![]).unwrap();
        let renewed = Renew { fence: grant.fence, ttl_ms: None };
        said.told(1, ("a", "renew"), &renewed, Err("no-lease")).unwrap_err();
        said.now_ms = 1_500;
        let other = granted(&said);
        said.done(2, ACQUIRE, &some(2), &other, vec![]).unwrap();
        said.told(1, ("a", "renew"), &renewed, Err("no-lease")).unwrap();
        let text = said.done(1, ("a", "renew"), &renewed, &grant, vec![]).unwrap_err();
        assert!(text.contains("leased to others"), "{text}");
    }

    #[test]
    fn what_is_left_and_lists_that_are_wrong_are_found() {
        let (mut said, first) = taken(2);
        let lease = Lease {
            fence: first.fence,
            quantity: 2,
            since_ms: 1_000,
            ends_at_ms: None,
            note: String::new(),
        };
        let pool = Pool { capacity: 3, taken: 2, resized: false };
        let holders = vec![Holder { session: 1, leases: vec![lease] }];
        let listed = Leases { pool: Some(pool), holders, next: None };
        let page = Page::default();
        let leases = ("a", "leases");
        said.told(1, leases, &page, Ok(to_cbor(&listed).to_vec())).unwrap();
        let forgets = Leases { holders: Vec::new(), ..listed.clone() };
        said.told(1, leases, &page, Ok(to_cbor(&forgets).to_vec())).unwrap_err();
        let miscounts = Leases { pool: Some(Pool { taken: 1, ..pool }), ..listed };
        said.told(1, leases, &page, Ok(to_cbor(&miscounts).to_vec())).unwrap_err();
        said.promises.finish(&[]).unwrap_err();
        said.done(1, RELEASE, &first, &(), vec![]).unwrap();
        said.promises.finish(&["a".into(), "a/pool".into()]).unwrap_err();
    }
}
