//! What the rate limiter promises: never above the rate, in order, no wait in vain, leases paid for.
//!
//! Comes in: the log in callers' words. Goes out: the first promise broken. A lease whose time is over
//! goes by a timer: until then it may take the room of one.

use super::super::record::word_of;
use super::super::waits::check_wait_ended;
use super::super::{Answered, LoggedCall, Overdue, Promises, RecipeEntry, Result, Timeline, Told};
use super::bucket::Bucket;
use super::{Config, Configure, GiveBack, Lease, Quota, Rate, RetryAfter, Standing, Take, Taken};
use quorate_types::{SessionId, TicketId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// What a caller wants: tokens, to be leased for so long if that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    session: SessionId,
    tokens: u64,
    for_ms: Option<u64>,
    wait_ms: Option<u64>,
}

impl Wanted {
    fn read(session: SessionId, operation: &str, arguments: &[u8]) -> Result<Wanted> {
        let unread = |error: serde_cbor::Error| format!("{operation}: {error}");
        if operation == "take" {
            let Take { tokens, wait_ms } = serde_cbor::from_slice(arguments).map_err(unread)?;
            return Ok(Wanted { session, tokens, for_ms: None, wait_ms });
        }
        let Lease { tokens, for_ms, wait_ms } =
            serde_cbor::from_slice(arguments).map_err(unread)?;
        Ok(Wanted { session, tokens, for_ms: Some(for_ms), wait_ms })
    }

    fn is_out_of_range(&self, config: &Config) -> bool {
        let is_bad = |for_ms: u64| for_ms == 0 || for_ms > config.lease_ms_max;
        self.tokens == 0 || self.for_ms.is_some_and(is_bad)
    }
}

/// An object as its callers know it after a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    own_rate: Option<Rate>,
    /// None: there is no rate.
    bucket: Option<Bucket>,
    leases: BTreeMap<(SessionId, u64), Quota>,
    waiters: usize,
    /// Tokens that the first in line waits for.
    ahead: u64,
}

impl State {
    fn unused(config: &Config) -> State {
        State {
            own_rate: None,
            bucket: config.rate.map(Bucket::full),
            leases: BTreeMap::new(),
            waiters: 0,
            ahead: 0,
        }
    }

    /// Least and most leases that a session can have.
    fn leases_of(&self, session: SessionId, now_ms: u64) -> (usize, usize) {
        let own = self.leases.range((session, 0)..=(session, u64::MAX));
        let sure = own.clone().filter(|(_, quota)| quota.ends_at_ms > now_ms);
        (sure.count(), own.count())
    }

    /// Least and most claims: sessions with leases, and waiters.
    fn claims(&self, now_ms: u64) -> (usize, usize) {
        let sure = self.leases.iter().filter(|(_, quota)| quota.ends_at_ms > now_ms);
        let sure: BTreeSet<SessionId> = sure.map(|((session, _), _)| *session).collect();
        let all: BTreeSet<SessionId> = self.leases.keys().map(|(session, _)| *session).collect();
        (sure.len() + self.waiters, all.len() + self.waiters)
    }

    /// Whole tokens that callers are told of.
    fn left(&self, now_ms: u64) -> u64 {
        self.bucket.map_or(0, |bucket| bucket.at(now_ms).left())
    }

    fn standing(&self, now_ms: u64) -> Standing {
        Standing { rate: self.bucket.map(|bucket| bucket.rate), left: self.left(now_ms) }
    }

    /// When a new caller can have its tokens, as far as the first in line and the bucket tell.
    fn ready_in_ms(&self, tokens: u64, now_ms: u64) -> Option<u64> {
        Some(self.bucket?.at(now_ms).ready_in_ms(tokens.saturating_add(self.ahead)))
    }

    /// Takes the tokens and enters the lease; gives what the caller is told.
    fn serve(&mut self, (zxid, now_ms): (Zxid, u64), wanted: &Wanted) -> Result<(Taken, Quota)> {
        let before = self.bucket;
        let bucket = self.bucket.as_mut().ok_or("it is served without a rate")?;
        *bucket = bucket.at(now_ms);
        if !bucket.take(wanted.tokens) {
            return Err(format!("{wanted:?} is served at {now_ms}, there was {before:?}"));
        }
        let (tokens, left) = (wanted.tokens, bucket.left());
        let ends_at_ms = now_ms.saturating_add(wanted.for_ms.unwrap_or_default());
        let quota = Quota { fence: zxid.0, tokens, ends_at_ms };
        if wanted.for_ms.is_some() {
            let known = self.leases.insert((wanted.session, zxid.0), quota);
            if known.is_some() {
                return Err(format!("two leases have one fence: {quota:?} and {known:?}"));
            }
        }
        Ok((Taken { left }, quota))
    }
}

/// One object, and who is in line there.
#[derive(Debug)]
struct Limiter {
    state: State,
    line: BTreeMap<TicketId, Wanted>,
    states: Timeline<State>,
    /// The first in line is served a little later: its session, or enough of others, were served in
    /// the transaction before.
    steps: bool,
    overdue: Overdue,
}

impl Limiter {
    fn new(config: &Config) -> Limiter {
        Limiter {
            state: State::unused(config),
            line: BTreeMap::new(),
            states: Timeline::default(),
            steps: false,
            overdue: Overdue::default(),
        }
    }

    fn note_line(&mut self) {
        self.state.waiters = self.line.len();
        self.state.ahead = self.line.values().next().map_or(0, |first| first.tokens);
    }

    fn check_entry(
        &self,
        config: &Config,
        wanted: &Wanted,
        now_ms: u64,
        is_parked: bool,
    ) -> Result {
        let state = &self.state;
        let is_lease = wanted.for_ms.is_some();
        let has_room = state.claims(now_ms).0 < config.claims_max as usize;
        let has_leases =
            is_lease && state.leases_of(wanted.session, now_ms).0 >= config.leases_max as usize;
        let burst = state.bucket.map_or(0, |bucket| bucket.rate.burst);
        let is_proper = !wanted.is_out_of_range(config)
            && wanted.tokens <= burst
            && (has_room || !(is_lease || is_parked))
            && !has_leases;
        if is_proper { Ok(()) } else { Err(format!("{wanted:?} is let in: {state:?}")) }
    }

    fn park(&mut self, ticket: TicketId, wanted: Wanted, now_ms: u64) -> Result {
        let ready_in_ms = self.state.ready_in_ms(wanted.tokens, now_ms).unwrap_or_default();
        if wanted.wait_ms.is_some_and(|wait_ms| wait_ms <= ready_in_ms.max(1)) {
            return Err(format!("{wanted:?} waits in vain, for {ready_in_ms} ms at least"));
        }
        if self.line.is_empty() && ready_in_ms == 0 {
            return Err(format!("{wanted:?} waits at {now_ms}: {:?}", self.state));
        }
        self.line.insert(ticket, wanted);
        Ok(())
    }

    /// Whether something is to be done about the first in line.
    fn first_is_due(&self, config: &Config, now_ms: u64) -> bool {
        let Some(first) = self.line.values().next() else { return false };
        let Some(bucket) = self.state.bucket else { return true };
        let leases = self.state.leases_of(first.session, now_ms).0;
        first.tokens > bucket.rate.burst
            || (first.for_ms.is_some() && leases >= config.leases_max as usize)
            || bucket.at(now_ms).ready_in_ms(first.tokens) == 0
    }

    /// Judges how things stand when a transaction is over; `served`: how many of the line it served;
    /// `is_moved`: it looked at the line.
    fn settle(
        &mut self,
        config: &Config,
        (zxid, now_ms): (Zxid, u64),
        served: u32,
        is_moved: bool,
    ) -> Result {
        self.note_line();
        self.states.note(zxid, self.state.clone());
        let is_due = self.first_is_due(config, now_ms);
        let first = self.line.values().next();
        let has_fence =
            first.is_some_and(|first| self.state.leases.contains_key(&(first.session, zxid.0)));
        self.steps = is_due && (self.steps || has_fence || served >= config.grants_max);
        let is_late = self.overdue.passes(is_due, now_ms);
        if (is_moved && is_due && !self.steps) || is_late {
            return Err(format!("{first:?} waits at {now_ms}: {:?}", self.state));
        }
        Ok(())
    }
}

pub(super) struct RatePromises {
    config: Config,
    limiters: BTreeMap<String, Limiter>,
    /// The leaders' time as of every transaction.
    times: Timeline<u64>,
    /// Leases that callers were told are over, at a time between this transaction and the next.
    doubts: Vec<(Zxid, Quota)>,
    now_ms: u64,
    judged: u64,
}

impl RatePromises {
    pub(super) fn new(config: &[u8]) -> RatePromises {
        let config = serde_cbor::from_slice(config).expect("the trial drew it");
        let (limiters, times) = (BTreeMap::new(), Timeline::default());
        RatePromises { config, limiters, times, doubts: Vec::new(), now_ms: 0, judged: 0 }
    }

    fn limiter(&mut self, name: &str) -> &mut Limiter {
        let config = self.config;
        self.limiters.entry(name.into()).or_insert_with(|| Limiter::new(&config))
    }

    fn draw(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let (config, now_ms) = (self.config, entry.time_ms);
        let wanted = Wanted::read(call.name.0, call.operation, call.arguments)?;
        let limiter = self.limiter(call.object);
        limiter.check_entry(&config, &wanted, now_ms, call.reply.is_err())?;
        if let Err(ticket) = call.reply {
            return limiter.park(ticket, wanted, now_ms);
        }
        if !limiter.line.is_empty() {
            return Err(format!("{:?} are overtaken by {wanted:?}", limiter.line));
        }
        let (taken, quota) = limiter.state.serve((entry.zxid, now_ms), &wanted)?;
        let is_right = match wanted.for_ms {
            None => call.reply()? == Some(taken),
            Some(_) => call.reply()? == Some(quota),
        };
        if is_right { Ok(()) } else { Err(format!("it is told other than {taken:?}, {quota:?}")) }
    }

    fn called(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let (config, now_ms) = (self.config, entry.time_ms);
        let session = call.name.0;
        match call.operation {
            "take" | "lease" => self.draw(entry, call),
            "give-back" => {
                let GiveBack { fence, unspent } = call.arguments()?;
                let state = &mut self.limiter(call.object).state;
                let quota = state.leases.remove(&(session, fence));
                let is_good = |quota: Quota| quota.ends_at_ms > now_ms && unspent <= quota.tokens;
                if !quota.is_some_and(is_good) {
                    return Err(format!("{unspent} of {quota:?} come back at {now_ms}"));
                }
                if let Some(bucket) = &mut state.bucket {
                    *bucket = bucket.at(now_ms);
                    bucket.put_back(unspent);
                }
                Ok(())
            }
            "configure" => {
                let rate = call.arguments::<Configure>()?.rate;
                if rate.is_some_and(|rate| rate.tokens == 0 || rate.burst == 0) {
                    return Err(format!("{rate:?} is no rate"));
                }
                let state = &mut self.limiter(call.object).state;
                state.own_rate = rate;
                let before = state.bucket.map(|bucket| bucket.at(now_ms));
                state.bucket = rate.or(config.rate).map(|rate| match before {
                    Some(bucket) => bucket.changed_to(rate),
                    None => Bucket::full(rate),
                });
                Ok(())
            }
            other => Err(format!("the rate limiter has no command {other}")),
        }
    }

    fn answered(&mut self, entry: &RecipeEntry<'_>, answered: &Answered) -> Result {
        let (config, now_ms) = (self.config, entry.time_ms);
        let Answered { ticket, call, outcome } = answered;
        let limiter = self.limiter(&call.object);
        let known = limiter.line.remove(ticket);
        let wanted = Wanted::read(call.name.0, &call.operation, &call.arguments)?;
        let passed = limiter.line.keys().next().filter(|first| *first < ticket);
        let state = &mut limiter.state;
        let burst = state.bucket.map(|bucket| bucket.rate.burst);
        let (least, most) = state.leases_of(wanted.session, now_ms);
        let max = config.leases_max as usize;
        let is_right = match outcome {
            Ok(_) => known.is_some() && (wanted.for_ms.is_none() || least < max),
            Err(refusal) => match word_of(refusal) {
                "not-configured" => burst.is_none(),
                "over-burst" => burst.is_some_and(|burst| wanted.tokens > burst),
                "too-many-leases" => wanted.for_ms.is_some() && most >= max,
                _ => return check_wait_ended(entry, answered),
            },
        };
        if passed.is_some() || !is_right {
            return Err(format!("{call:?} is answered {outcome:?} before {passed:?}: {state:?}"));
        }
        if outcome.is_err() {
            return Ok(());
        }
        let (taken, quota) = state.serve((entry.zxid, now_ms), &wanted)?;
        let is_right = match wanted.for_ms {
            None => answered.reply()? == Some(taken),
            Some(_) => answered.reply()? == Some(quota),
        };
        if is_right { Ok(()) } else { Err(format!("it is told other than {taken:?}, {quota:?}")) }
    }

    /// What a call is told that others were served after.
    fn check_reply(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let state = &self.limiter(call.object).state;
        let standing = state.standing(entry.time_ms);
        let is_right = match call.operation {
            "give-back" => call.reply()? == Some(Taken { left: standing.left }),
            "configure" => call.reply()? == Some(standing),
            _ => true,
        };
        if is_right {
            return Ok(());
        }
        Err(format!("{} is told other than {standing:?}", call.operation))
    }

    fn states(&self, told: &Told<'_>) -> Vec<State> {
        let unused = State::unused(&self.config);
        match self.limiters.get(told.object) {
            None => vec![unused],
            Some(limiter) => {
                let states = limiter.states.within(told.from, told.zxid);
                states.map(|state| state.unwrap_or(&unused).clone()).collect()
            }
        }
    }

    /// Whether a refusal was right at some time between the question and the answer.
    fn is_justified(&mut self, told: &Told<'_>, word: &str) -> Result<bool> {
        let config = self.config;
        let now_ms = self.times.at(told.zxid).copied().unwrap_or_default();
        let states = self.states(told);
        let was = |is_right: &dyn Fn(&State) -> bool| states.iter().any(is_right);
        let session = told.session;
        match told.operation {
            "give-back" => {
                let GiveBack { fence, unspent } = told.arguments()?;
                let lease = |state: &State| state.leases.get(&(session, fence)).copied();
                return Ok(match word {
                    "no-lease" => {
                        // One that was had all the time can only have been over.
                        let had: Option<Vec<Quota>> = states.iter().map(lease).collect();
                        had.is_none_or(|had| self.may_be_over(told, had[0]))
                    }
                    "out-of-range" => {
                        was(&|state| lease(state).is_some_and(|quota| unspent > quota.tokens))
                    }
                    _ => false,
                });
            }
            "configure" => {
                let rate = told.arguments::<Configure>()?.rate;
                let is_bad = rate.is_some_and(|rate| rate.tokens == 0 || rate.burst == 0);
                return Ok(word == "out-of-range" && is_bad);
            }
            _ => {}
        }
        let wanted = Wanted::read(session, told.operation, told.arguments)?;
        let burst = |state: &State| state.bucket.map(|bucket| bucket.rate.burst);
        Ok(match word {
            "limited" => self.is_limited(told, &wanted, &states)?,
            "not-configured" => was(&|state| state.bucket.is_none()),
            "over-burst" => was(&|state| burst(state).is_some_and(|burst| wanted.tokens > burst)),
            "full" => was(&|state| state.claims(now_ms).1 >= config.claims_max as usize),
            "too-many-leases" => {
                let max = config.leases_max as usize;
                wanted.for_ms.is_some() && was(&|state| state.leases_of(session, now_ms).1 >= max)
            }
            "out-of-range" => wanted.is_out_of_range(&config),
            _ => false,
        })
    }

    /// Whether a caller may be told that its lease is over. A refusal has a time of its own, which no
    /// transaction tells: it is not after that of the next one, which settles the doubt.
    fn may_be_over(&mut self, told: &Told<'_>, quota: Quota) -> bool {
        if self.times.after(told.zxid).is_none() {
            self.doubts.push((told.zxid, quota));
            return true;
        }
        quota.ends_at_ms <= self.now_ms
    }

    fn settle_doubts(&mut self, zxid: Zxid, now_ms: u64) -> Result {
        let (settled, open) = self.doubts.drain(..).partition(|(since, _)| *since < zxid);
        self.doubts = open;
        let settled: Vec<(Zxid, Quota)> = settled;
        match settled.iter().find(|(_, quota)| quota.ends_at_ms > now_ms) {
            None => Ok(()),
            Some((since, quota)) => {
                Err(format!("after {since} its session was told that {quota:?} is over"))
            }
        }
    }

    /// The tokens could not be there in time, and are not there before the caller is told.
    fn is_limited(&self, told: &Told<'_>, wanted: &Wanted, states: &[State]) -> Result<bool> {
        let Err(refusal) = told.outcome else { return Ok(false) };
        let RetryAfter { retry_after_ms } =
            serde_cbor::from_slice(&refusal.detail).map_err(|error| error.to_string())?;
        let since_ms = self.times.at(told.from).copied().unwrap_or_default();
        let is_late = |state: &State| {
            let ready_in_ms = state.ready_in_ms(wanted.tokens, since_ms).unwrap_or_default();
            let is_busy = ready_in_ms > 0 || state.waiters > 0;
            is_busy && retry_after_ms <= ready_in_ms.max(1)
        };
        let is_in_vain = wanted.wait_ms.is_some_and(|wait_ms| wait_ms <= retry_after_ms);
        Ok(retry_after_ms > 0 && is_in_vain && states.iter().any(is_late))
    }
}

impl Promises for RatePromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        let (config, now_ms) = (self.config, entry.time_ms);
        self.now_ms = now_ms;
        self.times.note(entry.zxid, now_ms);
        self.settle_doubts(entry.zxid, now_ms)?;
        let is_about =
            entry.call.is_some() || !entry.answered.is_empty() || !entry.ended.is_empty();
        self.judged += u64::from(is_about);
        for limiter in self.limiters.values_mut() {
            limiter.state.leases.retain(|(session, _), _| !entry.ended.contains(session));
            limiter.line.retain(|_, wanted| !entry.ended.contains(&wanted.session));
            limiter.note_line();
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
        for (name, limiter) in &mut self.limiters {
            let here = || entry.answered.iter().filter(|answered| answered.call.object == *name);
            let is_own = |answered: &&Answered| match &answered.outcome {
                Ok(_) => true,
                Err(refusal) => refusal.recipe_code.is_some(),
            };
            let served = here().filter(is_own).count() as u32;
            if entry.call.is_some() && served > config.grants_max {
                return Err(format!("bucket {name}: one call serves {served}"));
            }
            let is_looked_at = |call: &LoggedCall<'_>| {
                call.object == name && matches!(call.operation, "give-back" | "configure")
            };
            let is_moved = entry.call.as_ref().is_some_and(is_looked_at) || here().count() > 0;
            limiter
                .settle(&config, (entry.zxid, now_ms), served, is_moved)
                .map_err(|text| format!("bucket {name}: {text}"))?;
        }
        Ok(())
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        if let Some(word) = told.refusal() {
            if self.is_justified(told, word)? {
                return Ok(());
            }
            let states = self.states(told);
            return Err(format!("is told {:?} and that was never right: {states:?}", told.outcome));
        }
        let now_ms = self.times.at(told.zxid).copied().unwrap_or_default();
        let unused = State::unused(&self.config);
        let limiter = self.limiters.get(told.object);
        let state = limiter.and_then(|known| known.states.at(told.zxid)).unwrap_or(&unused);
        let standing = state.standing(now_ms);
        if told.operation == "standing" && told.reply()? == Some(standing) {
            return Ok(());
        }
        Err(format!("shows {:?} at {}, there was {standing:?}", told.outcome, told.zxid))
    }

    fn finish(&mut self, left: &[String]) -> Result {
        for (name, limiter) in &self.limiters {
            let state = &limiter.state;
            let below = left.iter().filter(|path| path.split('/').next() == Some(name)).count();
            let is_unused = state.own_rate.is_none()
                && state.bucket.is_none_or(|bucket| bucket.at(self.now_ms).is_full())
                && state.claims(self.now_ms).0 == 0;
            if is_unused != (below == 0) {
                return Err(format!("bucket {name} has {below} znodes: {state:?}"));
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

    const RATE: Rate = Rate { tokens: 1, per_ms: 100, burst: 3 };

    const CONFIG: Config = Config {
        rate: Some(RATE),
        claims_max: 2,
        leases_max: 1,
        lease_ms_max: 1_000,
        grants_max: 2,
    };

    fn said() -> Said {
        Said::to((TRIAL.promises)(&to_cbor(&CONFIG)))
    }

    fn some(tokens: u64) -> Take {
        Take { tokens, wait_ms: None }
    }

    const TAKE: (&str, &str) = ("a", "take");
    const GIVE_BACK: (&str, &str) = ("a", "give-back");

    fn left(left: u64) -> Taken {
        Taken { left }
    }

    /// Session 1 has taken all there was.
    fn emptied() -> Said {
        let mut said = said();
        said.done(1, TAKE, &some(3), &left(0), vec![]).unwrap();
        said
    }

    /// Session 1 has leased two tokens for half a second.
    fn leased() -> (Said, Quota) {
        let mut said = said();
        let wanted = Lease { tokens: 2, for_ms: 500, wait_ms: None };
        let quota = Quota { fence: said.next(), tokens: 2, ends_at_ms: 1_500 };
        said.done(1, ("a", "lease"), &wanted, &quota, vec![]).unwrap();
        (said, quota)
    }

    #[test]
    fn what_a_bucket_does_is_believed() {
        let mut said = emptied();
        let first = said.parked(2, TAKE, &some(2));
        said.now_ms += 200;
        said.event(&[], vec![answer(&first, &left(0))]).unwrap();
        said.now_ms += 300;
        said.promises.finish(&["a".into(), "a/bucket".into()]).unwrap();
        let standing = Standing { rate: Some(RATE), left: 0 };
        said.told(1, ("a", "standing"), &(), Ok(to_cbor(&standing).to_vec())).unwrap();
        said.event(&[], vec![]).unwrap();
        said.promises.finish(&[]).unwrap();
    }

    #[test]
    fn tokens_that_are_not_there_yet_are_found() {
        let mut said = emptied();
        said.now_ms += 199;
        let text = said.done(1, TAKE, &some(2), &left(0), vec![]).unwrap_err();
        assert!(text.contains("is served at"), "{text}");
        let mut said = emptied();
        let first = said.parked(2, TAKE, &some(2));
        said.now_ms += 199;
        said.event(&[], vec![answer(&first, &left(0))]).unwrap_err();
        said = emptied();
        said.now_ms += 200;
        said.done(1, TAKE, &some(1), &left(0), vec![]).unwrap_err();
    }

    #[test]
    fn who_passes_the_line_or_waits_in_vain_is_found() {
        let mut said = emptied();
        said.parked(2, TAKE, &some(3));
        said.now_ms += 100;
        let text = said.done(3, TAKE, &some(1), &left(0), vec![]).unwrap_err();
        assert!(text.contains("are overtaken"), "{text}");
        let mut said = emptied();
        let retry = Take { tokens: 1, wait_ms: Some(100) };
        said.told(1, TAKE, &retry, Err("full")).unwrap_err();
        let mut bucket = Bucket::full(RATE).at(1_000);
        assert!(bucket.take(3));
        let mut limiter = Limiter::new(&CONFIG);
        limiter.state.bucket = Some(bucket);
        let wanted = |wait_ms| Wanted { session: SessionId(1), tokens: 1, for_ms: None, wait_ms };
        limiter.park(TicketId(1), wanted(Some(100)), 1_000).unwrap_err();
        limiter.park(TicketId(1), wanted(Some(101)), 1_000).unwrap();
    }

    #[test]
    fn what_comes_back_too_late_or_twice_or_is_kept_is_found() {
        let (mut said, quota) = leased();
        let given = GiveBack { fence: quota.fence, unspent: 1 };
        said.told(1, GIVE_BACK, &given, Err("out-of-range")).unwrap_err();
        said.told(1, GIVE_BACK, &given, Err("no-lease")).unwrap();
        said.event(&[], vec![]).unwrap_err();
        said.done(1, GIVE_BACK, &given, &left(2), vec![]).unwrap();
        said.done(1, GIVE_BACK, &given, &left(3), vec![]).unwrap_err();
        let (mut said, _) = leased();
        said.now_ms = 1_500;
        said.done(1, GIVE_BACK, &given, &left(3), vec![]).unwrap_err();
        let (mut said, _) = leased();
        said.done(1, GIVE_BACK, &given, &left(1), vec![]).unwrap_err();
        let (mut said, _) = leased();
        said.promises.finish(&[]).unwrap_err();
    }

    #[test]
    fn a_rate_that_changes_keeps_tokens_and_serves_the_line() {
        let faster = Configure { rate: Some(Rate { tokens: 1, per_ms: 10, burst: 9 }) };
        let configure = ("a", "configure");
        let mut said = emptied();
        let told = Standing { rate: faster.rate, left: 9 };
        said.done(1, configure, &faster, &told, vec![]).unwrap_err();
        let mut said = emptied();
        let told = Standing { rate: faster.rate, left: 0 };
        said.parked(2, TAKE, &some(3));
        said.done(1, configure, &faster, &told, vec![]).unwrap();
        let smaller = Configure { rate: Some(Rate { tokens: 1, per_ms: 10, burst: 2 }) };
        let told = Standing { rate: smaller.rate, left: 0 };
        let text = said.done(1, configure, &smaller, &told, vec![]).unwrap_err();
        assert!(text.contains("waits at"), "{text}");
    }
}
