//! What the lock promises: one holder, in order, fenced, all or none, ends when it says.
//!
//! Comes in: the log in callers' words. Goes out: the first promise broken.

use super::super::waits::check_wait_ended;
use super::super::{Answered, LoggedCall, Overdue, Promises, RecipeEntry, Result, Timeline, Told};
use super::state::{Lock, Locks};
use super::{
    ADMIN, Acquire, AcquireAll, Break, Config, Grant, Holder, ReleaseAll, Released, Revoke,
};
use quorate_types::{SessionId, TicketId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// Whoever wants locks.
#[derive(Clone, Debug)]
struct Claim {
    session: SessionId,
    note: String,
    reentrant: bool,
    hold_ms: Option<u64>,
    delay_ms: Option<u64>,
    wait_ms: Option<u64>,
    wants: BTreeSet<String>,
    /// Whether several may be wanted: the holder names them all.
    is_of_all: bool,
}

impl Claim {
    fn read(session: SessionId, object: &str, operation: &str, arguments: &[u8]) -> Result<Claim> {
        let unread = |error: serde_cbor::Error| format!("{operation}: {error}");
        let is_of_all = operation == "acquire-all";
        let (asked, with) = if is_of_all {
            let AcquireAll { with, wait_ms, note, hold_ms, delay_ms } =
                serde_cbor::from_slice(arguments).map_err(unread)?;
            (Acquire { wait_ms, note, reentrant: false, hold_ms, delay_ms }, with)
        } else {
            (serde_cbor::from_slice(arguments).map_err(unread)?, Vec::new())
        };
        let Acquire { wait_ms, note, reentrant, hold_ms, delay_ms } = asked;
        let wants = with.into_iter().chain([object.to_owned()]).collect();
        Ok(Claim { session, note, reentrant, hold_ms, delay_ms, wait_ms, wants, is_of_all })
    }

    /// What it becomes when it is served.
    fn holder(&self, (zxid, now_ms): (Zxid, u64)) -> Holder {
        Holder {
            session: self.session.0,
            fence: zxid.0,
            note: self.note.clone(),
            since_ms: now_ms,
            depth: u32::from(self.reentrant),
            ends_at_ms: self.hold_ms.map(|hold_ms| now_ms.saturating_add(hold_ms)),
            revoke_at_ms: None,
            delay_ms: self.delay_ms,
            with: if self.is_of_all { self.wants.iter().cloned().collect() } else { Vec::new() },
        }
    }

    fn has_bad_name(&self) -> bool {
        self.wants.iter().any(|name| name.is_empty() || name.contains('/'))
    }
}

pub(super) struct LockPromises {
    config: Config,
    locks: Locks,
    line: BTreeMap<TicketId, Claim>,
    states: Timeline<Locks>,
    /// The leaders' time as of every transaction.
    times: Timeline<u64>,
    /// Locks whose timers are due.
    overdue: BTreeMap<String, Overdue>,
    /// Whose sessions are whose, as far as answers told.
    clients: BTreeMap<SessionId, usize>,
    /// Greatest end of a hold: until then timers may keep objects, also those of other locks.
    timers_until_ms: u64,
    now_ms: u64,
    judged: u64,
}

impl LockPromises {
    pub(super) fn new(config: &[u8]) -> LockPromises {
        LockPromises {
            config: serde_cbor::from_slice(config).expect("the trial drew it"),
            locks: BTreeMap::new(),
            line: BTreeMap::new(),
            states: Timeline::default(),
            times: Timeline::default(),
            overdue: BTreeMap::new(),
            clients: BTreeMap::new(),
            timers_until_ms: 0,
            now_ms: 0,
            judged: 0,
        }
    }

    fn lock(&mut self, name: &str) -> &mut Lock {
        self.locks.entry(name.into()).or_default()
    }

    /// Tickets in the line of a lock, in order of arrival.
    fn line_of(&self, name: &str) -> impl Iterator<Item = TicketId> {
        let stands = |claim: &Claim| claim.wants.contains(name);
        self.line.iter().filter(move |(_, claim)| stands(claim)).map(|(ticket, _)| *ticket)
    }

    fn waiters(&self, name: &str) -> usize {
        self.line_of(name).count()
    }

    fn acquire(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let at = (entry.zxid, entry.time_ms);
        let claim = Claim::read(call.name.0, call.object, call.operation, call.arguments)?;
        let is_proper = claim.hold_ms != Some(0)
            && !claim.has_bad_name()
            && (!claim.is_of_all || claim.wants.len() <= self.config.objects_max as usize);
        if !is_proper {
            return Err(format!("{claim:?} is let in"));
        }
        let again = self.holder_again(call.object, &claim);
        match (call.reply::<Grant>()?, call.reply) {
            (Some(Grant { fence }), _) if again == Some(fence) => {
                self.reenter(call.object, &claim, at.1);
                Ok(())
            }
            (Some(_), _) if claim.wants.iter().any(|name| self.waiters(name) > 0) => {
                Err(format!("{:?} are overtaken by {claim:?}", self.line))
            }
            (Some(granted), _) => self.grant(at, &claim, granted),
            (None, Err(ticket)) if claim.wait_ms != Some(0) => {
                let holder = self.lock(call.object).sure_holder(at.1);
                if again.is_some() && holder.is_some() {
                    return Err(format!("{claim:?} waits for itself: {holder:?}"));
                }
                let max = self.config.waiters_max as usize;
                if claim.wants.iter().any(|name| self.waiters(name) >= max) {
                    return Err(format!("{claim:?} is let into a line of {max}"));
                }
                for name in &claim.wants {
                    self.lock(name);
                }
                self.line.insert(ticket, claim);
                Ok(())
            }
            _ => Err(format!("{claim:?} waits")),
        }
    }

    /// The fence under which the claim's session has the lock already, if both allow that.
    fn holder_again(&self, object: &str, claim: &Claim) -> Option<u64> {
        let holder = self.locks.get(object)?.holder.as_ref()?;
        let is_again = claim.reentrant && holder.depth > 0 && holder.session == claim.session.0;
        is_again.then_some(holder.fence)
    }

    fn reenter(&mut self, object: &str, claim: &Claim, now_ms: u64) {
        let Some(holder) = &mut self.lock(object).holder else { return };
        holder.depth += 1;
        if let (Some(ends_at_ms), Some(hold_ms)) = (&mut holder.ends_at_ms, claim.hold_ms) {
            *ends_at_ms = now_ms.saturating_add(hold_ms).max(*ends_at_ms);
        }
    }

    fn grant(&mut self, at: (Zxid, u64), claim: &Claim, granted: Grant) -> Result {
        if granted.fence != at.0.0 {
            return Err(format!("{granted:?} is not the number of the transaction"));
        }
        let holder = claim.holder(at);
        let deadline_ms = holder.deadline_ms().unwrap_or_default();
        self.timers_until_ms = self.timers_until_ms.max(deadline_ms);
        for name in &claim.wants {
            self.lock(name)
                .grant(holder.clone(), at.1)
                .map_err(|text| format!("lock {name}: {text}"))?;
        }
        Ok(())
    }

    fn release_all(&mut self, session: SessionId, call: &LoggedCall<'_>, now_ms: u64) -> Result {
        let ReleaseAll { fence, with } = call.arguments()?;
        let released = call.reply::<Released>()?.map_or_else(Vec::new, |reply| reply.released);
        let mut names: BTreeSet<String> = match with {
            Some(with) => with.into_iter().collect(),
            None => self.lock(call.object).own(session, fence)?.with.iter().cloned().collect(),
        };
        names.insert(call.object.to_owned());
        let is_sorted = released.is_sorted_by(|one, other| one < other);
        if released.is_empty() || !is_sorted || !released.iter().all(|name| names.contains(name)) {
            return Err(format!("{released:?} are released of {names:?}"));
        }
        for name in names {
            let lock = self.lock(&name);
            if released.contains(&name) {
                lock.own(session, fence)?;
                lock.holder = None;
            } else if lock.is_surely(session, fence, now_ms) {
                return Err(format!("{name} is not released, only {released:?}: {lock:?}"));
            }
        }
        Ok(())
    }

    fn give_way(&mut self, call: &LoggedCall<'_>, now_ms: u64) -> Result {
        let session = call.name.0;
        let client = self.clients.get(&session).copied();
        let has_admins = !self.config.admins.is_empty();
        let lock = self.lock(call.object);
        let before = lock.holder.clone();
        let is_meant = |fence: Option<u64>| {
            fence.is_none_or(|fence| before.as_ref().is_some_and(|holder| holder.fence == fence))
        };
        if call.operation == "revoke" {
            let Revoke { within_ms, fence } = call.arguments()?;
            if let Some(holder) = &mut lock.holder {
                let at_ms = now_ms.saturating_add(within_ms);
                let at_ms = holder.revoke_at_ms.map_or(at_ms, |before_ms| before_ms.min(at_ms));
                holder.revoke_at_ms = Some(at_ms);
            }
            let told = call.reply::<Holder>()?;
            if told.is_none() || told != lock.holder || !is_meant(fence) {
                return Err(format!("{told:?} is asked to give way: {lock:?}"));
            }
            return Ok(());
        }
        let fence = call.arguments::<Break>()?.fence;
        let told = call.reply::<Option<Holder>>()?.flatten();
        let had_delay = lock.delay.take().is_some();
        lock.holder = None;
        if has_admins && client.is_some_and(|client| client != ADMIN.0) {
            return Err(format!("client {client:?} breaks a lock"));
        }
        let is_right = if told.is_some() { told == before } else { had_delay };
        if is_right && is_meant(fence) {
            return Ok(());
        }
        Err(format!("{told:?} is displaced: there was {before:?}"))
    }

    fn called(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let (session, now_ms) = (call.name.0, entry.time_ms);
        match call.operation {
            "acquire" | "acquire-all" => self.acquire(entry, call),
            "release" => {
                let fence = call.arguments::<Grant>()?.fence;
                let lock = self.lock(call.object);
                let holder = lock.own(session, fence)?;
                holder.depth = holder.depth.saturating_sub(1);
                if holder.depth == 0 {
                    lock.holder = None;
                }
                Ok(())
            }
            "release-all" => self.release_all(session, call, now_ms),
            "revoke" | "break" => self.give_way(call, now_ms),
            other => Err(format!("the lock has no command {other}")),
        }
    }

    fn answered(&mut self, entry: &RecipeEntry<'_>, answered: &Answered) -> Result {
        let Answered { ticket, call, outcome } = answered;
        let known = self.line.remove(ticket);
        if outcome.is_err() {
            return check_wait_ended(entry, answered);
        }
        let Some(claim) = known else {
            return Err(format!("{call:?} is served and its session has ended"));
        };
        let passed = claim.wants.iter().find_map(|name| {
            self.line_of(name).next().filter(|first| first < ticket).map(|first| (name, first))
        });
        if let Some(passed) = passed {
            return Err(format!("{claim:?} is served before {passed:?}"));
        }
        let granted = answered.reply()?.unwrap_or(Grant { fence: 0 });
        self.grant((entry.zxid, entry.time_ms), &claim, granted)
    }

    /// Judges how things stand when a transaction is over: whoever can be served was.
    fn settle(&mut self, zxid: Zxid, now_ms: u64) -> Result {
        for (name, lock) in &mut self.locks {
            lock.waiters = self.line.values().filter(|claim| claim.wants.contains(name)).count();
            let overdue = self.overdue.entry(name.clone()).or_default();
            if overdue.passes(lock.is_over(now_ms), now_ms) {
                // By now its timer has ended it.
                (lock.holder, lock.delay) = (None, None);
            }
        }
        self.states.note(zxid, self.locks.clone());
        for (ticket, claim) in &self.line {
            let has_turn = claim.wants.iter().all(|name| {
                let is_free = self.locks.get(name).is_none_or(Lock::is_surely_free);
                is_free && self.line_of(name).next() == Some(*ticket)
            });
            if has_turn {
                return Err(format!("{claim:?} waits, and all it wants is free and its turn"));
            }
        }
        Ok(())
    }

    fn time_of(&self, told: &Told<'_>) -> u64 {
        self.times.at(told.zxid).copied().unwrap_or_default()
    }

    fn check_shown(&self, told: &Told<'_>) -> Result {
        let Some(shown) = told.reply::<Option<Holder>>()? else { return Ok(()) };
        let now_ms = self.time_of(told);
        let known = self.states.at(told.zxid).and_then(|locks| locks.get(told.object));
        let is_right = match (&shown, known) {
            (None, None) => true,
            (None, Some(lock)) => lock.sure_holder(now_ms).is_none(),
            (Some(_), None) => false,
            (Some(_), Some(lock)) => lock.holder == shown,
        };
        if is_right {
            Ok(())
        } else {
            Err(format!("shows {shown:?} at {}, it was {known:?}", told.zxid))
        }
    }

    /// Whether a refusal was right at some time between the question and the answer.
    fn is_justified(&self, told: &Told<'_>, word: &str) -> Result<bool> {
        let (object, session, now_ms) = (told.object, told.session, self.time_of(told));
        let (nothing, unused) = (Locks::default(), Lock::default());
        let states: Vec<&Locks> = self
            .states
            .within(told.from, told.zxid)
            .map(|locks| locks.unwrap_or(&nothing))
            .collect();
        let lock = |locks: &'_ Locks, name: &str| locks.get(name).unwrap_or(&unused).clone();
        let was = |is_right: &dyn Fn(&Locks) -> bool| states.iter().any(|locks| is_right(locks));
        let detail: Option<Holder> = match told.outcome {
            Err(refusal) if !refusal.detail.is_empty() => {
                serde_cbor::from_slice(&refusal.detail).map_err(|error| error.to_string())?
            }
            _ => None,
        };
        let is_shown = |lock: &Lock| match &detail {
            Some(_) => detail == lock.holder,
            None => lock.sure_holder(now_ms).is_none(),
        };
        match (told.operation, word) {
            ("acquire" | "acquire-all", _) => {
                let claim = Claim::read(session, object, told.operation, told.arguments)?;
                Ok(self.is_unserved(&claim, word, now_ms, &states, detail.as_ref(), object))
            }
            ("release", "not-holder") => {
                let fence = told.arguments::<Grant>()?.fence;
                Ok(was(&|locks| {
                    let lock = lock(locks, object);
                    !lock.is_surely(session, fence, now_ms) && is_shown(&lock)
                }))
            }
            ("release-all", "not-holder") => {
                let ReleaseAll { fence, with } = told.arguments()?;
                let names = with.unwrap_or_default();
                Ok(was(&|locks| {
                    let own = lock(locks, object);
                    let all = names.iter().map(|name| lock(locks, name)).chain([own.clone()]);
                    is_shown(&own)
                        && !all.into_iter().any(|lock| lock.is_surely(session, fence, now_ms))
                }))
            }
            ("revoke", "free") => {
                Ok(was(&|locks| lock(locks, object).sure_holder(now_ms).is_none()))
            }
            ("break", "free") => Ok(was(&|locks| lock(locks, object).may_be_free(now_ms))),
            ("revoke" | "break", "other-holder") => {
                let fence = match told.operation {
                    "revoke" => told.arguments::<Revoke>()?.fence,
                    _ => told.arguments::<Break>()?.fence,
                };
                Ok(fence.is_some()
                    && was(&|locks| {
                        let lock = lock(locks, object);
                        let is_other = |holder: &Holder| Some(holder.fence) != fence;
                        is_shown(&lock) && lock.sure_holder(now_ms).is_none_or(is_other)
                    }))
            }
            ("break", "not-admin") => Ok(!self.config.admins.is_empty() && told.client != ADMIN.0),
            _ => Ok(false),
        }
    }

    fn is_unserved(
        &self,
        claim: &Claim,
        word: &str,
        now_ms: u64,
        states: &[&Locks],
        detail: Option<&Holder>,
        object: &str,
    ) -> bool {
        let was = |is_right: &dyn Fn(&Locks) -> bool| states.iter().any(|locks| is_right(locks));
        match word {
            "held" => {
                claim.wait_ms == Some(0)
                    && was(&|locks| {
                        let mut wanted = claim.wants.iter().filter_map(|name| locks.get(name));
                        let is_busy =
                            wanted.clone().any(|lock| !lock.is_surely_free() || lock.waiters > 0);
                        let is_shown = match detail {
                            Some(shown) => wanted.any(|lock| lock.holder.as_ref() == Some(shown)),
                            None => wanted.all(|lock| lock.sure_holder(now_ms).is_none()),
                        };
                        let own = locks.get(object).and_then(|lock| lock.sure_holder(now_ms));
                        let is_again = own.is_some_and(|holder| {
                            claim.reentrant && holder.depth > 0 && holder.session == claim.session.0
                        });
                        is_busy && is_shown && !is_again
                    })
            }
            "line-full" => was(&|locks| {
                let max = self.config.waiters_max as usize;
                let mut wanted = claim.wants.iter().filter_map(|name| locks.get(name));
                claim.wait_ms != Some(0) && wanted.any(|lock| lock.waiters >= max)
            }),
            "out-of-range" => claim.hold_ms == Some(0),
            "too-many-objects" => claim.wants.len() > self.config.objects_max as usize,
            "bad-path" => claim.has_bad_name(),
            "no-object" => object.is_empty(),
            _ => false,
        }
    }
}

impl Promises for LockPromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        let now_ms = entry.time_ms;
        self.now_ms = now_ms;
        self.times.note(entry.zxid, now_ms);
        let is_about =
            entry.call.is_some() || !entry.answered.is_empty() || !entry.ended.is_empty();
        self.judged += u64::from(is_about);
        for session in &entry.ended {
            self.line.retain(|_, claim| claim.session != *session);
            for lock in self.locks.values_mut() {
                lock.end_session(*session, now_ms, self.config.delay_ms);
            }
        }
        if let Some(call) = &entry.call {
            self.called(entry, call)?;
        }
        for answered in &entry.answered {
            self.answered(entry, answered)?;
        }
        self.settle(entry.zxid, now_ms)
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        self.clients.insert(told.session, told.client);
        match told.refusal() {
            Some(word) => {
                if self.is_justified(told, word)? {
                    return Ok(());
                }
                let (outcome, locks) = (told.outcome, &self.locks);
                Err(format!("is told {outcome:?} and that was never right; now: {locks:?}"))
            }
            None if told.operation == "holder" => self.check_shown(told),
            None => Err("is answered and is not in the log".into()),
        }
    }

    fn finish(&mut self, left: &[String]) -> Result {
        for (name, lock) in &self.locks {
            let below: Vec<&String> =
                left.iter().filter(|path| path.split('/').next() == Some(name)).collect();
            let is_empty =
                below.is_empty() || (below == [name] && self.timers_until_ms >= self.now_ms);
            if lock.may_be_free(self.now_ms) != is_empty {
                return Err(format!("lock {name} has {below:?}: {lock:?}"));
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
        let config =
            Config { delay_ms: 0, waiters_max: 2, objects_max: 2, admins: vec![ADMIN.1.into()] };
        Said::to((TRIAL.promises)(&to_cbor(&config)))
    }

    fn one() -> Acquire {
        Acquire {
            wait_ms: None,
            note: String::new(),
            reentrant: false,
            hold_ms: None,
            delay_ms: None,
        }
    }

    fn with(other: &str) -> AcquireAll {
        let Acquire { wait_ms, note, hold_ms, delay_ms, .. } = one();
        AcquireAll { with: vec![other.into()], wait_ms, note, hold_ms, delay_ms }
    }

    fn granted(said: &Said) -> Grant {
        Grant { fence: said.next() }
    }

    fn take(said: &mut Said, session: u64, object: &str, wanted: &Acquire) -> Result<Grant> {
        let grant = granted(said);
        said.done(session, (object, "acquire"), wanted, &grant, vec![]).map(|()| grant)
    }

    const A: (&str, &str) = ("a", "acquire");
    const BOTH: (&str, &str) = ("a", "acquire-all");
    const RELEASE: (&str, &str) = ("a", "release");

    #[test]
    fn what_a_lock_does_is_believed() {
        let mut said = said();
        let first = take(&mut said, 1, "a", &one()).unwrap();
        let both = said.parked(2, BOTH, &with("b"));
        let last = said.parked(3, ("b", "acquire"), &one());
        let second = granted(&said);
        said.done(1, RELEASE, &first, &(), vec![answer(&both, &second)]).unwrap();
        let third = granted(&said);
        let all = ReleaseAll { fence: second.fence, with: None };
        let released = Released { released: vec!["a".into(), "b".into()] };
        let answered = vec![answer(&last, &third)];
        said.done(2, ("a", "release-all"), &all, &released, answered).unwrap();
        said.event(&[3], vec![]).unwrap();
        said.promises.finish(&[]).unwrap();
    }

    #[test]
    fn a_second_holder_and_an_old_fence_are_found() {
        let mut said = said();
        let first = take(&mut said, 1, "a", &one()).unwrap();
        let text = take(&mut said, 2, "a", &one()).unwrap_err();
        assert!(text.contains("is granted"), "{text}");
        let mut said = self::said();
        take(&mut said, 1, "b", &one()).unwrap();
        let text = said.done(2, A, &one(), &first, vec![]).unwrap_err();
        assert!(text.contains("is not the number"), "{text}");
    }

    #[test]
    fn who_passes_a_line_or_is_forgotten_in_it_is_found() {
        let mut said = said();
        let first = take(&mut said, 1, "a", &one()).unwrap();
        said.parked(2, BOTH, &with("b"));
        let text = take(&mut said, 3, "b", &one()).unwrap_err();
        assert!(text.contains("overtaken"), "{text}");
        let text = said.done(1, RELEASE, &first, &(), vec![]).unwrap_err();
        assert!(text.contains("its turn"), "{text}");
    }

    #[test]
    fn a_line_that_is_longer_than_it_may_be_is_found() {
        let mut said = said();
        take(&mut said, 1, "a", &one()).unwrap();
        said.parked(2, A, &one());
        said.told(4, A, &one(), Err("line-full")).unwrap_err();
        said.parked(3, A, &one());
        said.told(4, A, &one(), Err("line-full")).unwrap();
        let text = said.told(4, A, &one(), Err("held")).unwrap_err();
        assert!(text.contains("never right"), "{text}");
    }

    #[test]
    fn a_hold_that_passes_on_early_and_one_that_was_put_off_are_found() {
        let short = Acquire { hold_ms: Some(500), ..one() };
        let mut said = said();
        let first = take(&mut said, 1, "a", &short).unwrap();
        said.now_ms = 1_499;
        take(&mut said, 2, "a", &one()).unwrap_err();
        let mut said = self::said();
        take(&mut said, 1, "a", &short).unwrap();
        said.now_ms = 1_500;
        take(&mut said, 2, "a", &one()).unwrap();
        let text = said.done(1, RELEASE, &first, &(), vec![]).unwrap_err();
        assert!(text.contains("has fence"), "{text}");
    }

    #[test]
    fn a_delay_that_is_not_kept_and_a_break_by_anybody_are_found() {
        let kept = Acquire { delay_ms: Some(500), ..one() };
        let mut said = said();
        take(&mut said, 1, "a", &kept).unwrap();
        said.event(&[1], vec![]).unwrap();
        take(&mut said, 2, "a", &one()).unwrap_err();

        let mut said = self::said();
        said.told(1, ("a", "holder"), &(), Ok(to_cbor(&None::<Holder>).to_vec())).unwrap();
        take(&mut said, 1, "a", &one()).unwrap();
        let shown = said.told(1, ("a", "holder"), &(), Ok(to_cbor(&None::<Holder>).to_vec()));
        shown.unwrap_err();
        said.told(1, ("a", "break"), &Break { fence: None }, Err("not-admin")).unwrap_err();
        said.told(1, ("a", "break"), &Break { fence: Some(1) }, Err("free")).unwrap_err();
        said.promises.finish(&[]).unwrap_err();
    }
}
