//! What the read-write lock promises: readers or one writer, in order, fenced, changed without a gap.
//!
//! Comes in: the log in callers' words. Goes out: the first promise broken. Nothing here ends by a
//! timer but waits: what callers are told says all.

use super::super::waits::check_wait_ended;
use super::super::{Answered, LoggedCall, Overdue, Promises, RecipeEntry, Result, Timeline, Told};
use super::{Acquire, Config, Grant, Holder, Holders, Mode, Page};
use quorate_types::{ErrorCode, SessionId, TicketId, Zxid};
use std::collections::BTreeMap;

/// A lock as its callers know it after a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// In the order in which they are listed: readers by session.
    holders: BTreeMap<(Mode, SessionId, u64), Holder>,
    waiters: usize,
}

impl State {
    /// Whether somebody may have it beside those who do.
    fn fits(&self, mode: Mode) -> bool {
        let is_in_the_way = |other: Mode| mode == Mode::Write || other == Mode::Write;
        !self.holders.keys().any(|(other, ..)| is_in_the_way(*other))
    }

    fn hold(
        &mut self,
        (zxid, now_ms): (Zxid, u64),
        (mode, session): (Mode, SessionId),
        note: &str,
        granted: Grant,
    ) -> Result {
        if granted.fence != zxid.0 {
            return Err(format!("{granted:?} is not the number of the transaction"));
        }
        if !self.fits(mode) {
            return Err(format!("session {session} gets it for {mode:?} beside {self:?}"));
        }
        let fence = granted.fence;
        let new = Holder {
            mode,
            session: session.0,
            fence,
            note: note.into(),
            since_ms: now_ms,
            claims: 0,
        };
        self.holders.entry((mode, session, fence)).or_insert(new).claims += 1;
        Ok(())
    }

    /// A hold of this kind, which must be good.
    fn own(&mut self, mode: Mode, session: SessionId, fence: u64) -> Result<&mut Holder> {
        self.holders.get_mut(&(mode, session, fence)).ok_or_else(|| {
            format!("session {session} does not hold it under {fence}, as it is told")
        })
    }

    fn has(&self, mode: Mode, session: SessionId, fence: u64) -> bool {
        self.holders.contains_key(&(mode, session, fence))
    }

    /// Others that read beside this hold, or under it.
    fn others(&self, session: SessionId, fence: u64) -> u32 {
        let claims = |((_, by, under), holder): (&(Mode, SessionId, u64), &Holder)| {
            let is_own = (*by, *under) == (session, fence);
            holder.claims - u32::from(is_own)
        };
        self.holders.iter().map(claims).sum()
    }
}

/// One lock, and who is in line.
#[derive(Debug, Default)]
struct Lock {
    state: State,
    line: BTreeMap<TicketId, (SessionId, Mode)>,
    states: Timeline<State>,
    /// The first in line is served a little later: enough others were in the transaction before.
    steps: bool,
    overdue: Overdue,
}

impl Lock {
    fn enter(&self, config: &Config, wanted: &Acquire) -> Result {
        let claims = self.state.holders.len() + self.line.len();
        let is_proper = claims < config.claims_max as usize
            && wanted.note.len() <= config.note_bytes_max as usize;
        if is_proper { Ok(()) } else { Err(format!("{wanted:?} is let in beside {claims}")) }
    }

    /// Judges how things stand when a transaction is over; `served`: how many of the line it served.
    fn settle(&mut self, config: &Config, (zxid, now_ms): (Zxid, u64), served: u32) -> Result {
        self.state.waiters = self.line.len();
        self.states.note(zxid, self.state.clone());
        let first = self.line.values().next();
        let is_due = first.is_some_and(|(_, mode)| self.state.fits(*mode));
        self.steps = is_due && (self.steps || served >= config.grants_max);
        if (is_due && !self.steps) || self.overdue.passes(is_due, now_ms) {
            return Err(format!("{first:?} waits, and could have it: {:?}", self.state));
        }
        Ok(())
    }
}

pub(super) struct LockPromises {
    config: Config,
    locks: BTreeMap<String, Lock>,
    judged: u64,
}

impl LockPromises {
    pub(super) fn new(config: &[u8]) -> LockPromises {
        let config = serde_cbor::from_slice(config).expect("the trial drew it");
        LockPromises { config, locks: BTreeMap::new(), judged: 0 }
    }

    fn called(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let (at, session) = ((entry.zxid, entry.time_ms), call.name.0);
        let lock = self.locks.entry(call.object.into()).or_default();
        if call.operation == "acquire" {
            let wanted: Acquire = call.arguments()?;
            lock.enter(&self.config, &wanted)?;
            return match (call.reply::<Grant>()?, call.reply) {
                (Some(_), _) if !lock.line.is_empty() => {
                    Err(format!("{:?} are overtaken by session {session}", lock.line))
                }
                (Some(grant), _) => {
                    lock.state.hold(at, (wanted.mode, session), &wanted.note, grant)
                }
                (None, Err(ticket)) if wanted.wait_ms != Some(0) => {
                    lock.line.insert(ticket, (session, wanted.mode));
                    Ok(())
                }
                _ => Err(format!("{wanted:?} waits")),
            };
        }
        let fence = call.arguments::<Grant>()?.fence;
        let state = &mut lock.state;
        match call.operation {
            "release" => {
                let mode =
                    if state.has(Mode::Write, session, fence) { Mode::Write } else { Mode::Read };
                let holder = state.own(mode, session, fence)?;
                holder.claims -= 1;
                if holder.claims == 0 {
                    state.holders.remove(&(mode, session, fence));
                }
                Ok(())
            }
            "downgrade" | "try-upgrade" => {
                let (from, to) = match call.operation {
                    "downgrade" => (Mode::Write, Mode::Read),
                    _ => (Mode::Read, Mode::Write),
                };
                let note = state.own(from, session, fence)?.note.clone();
                if state.others(session, fence) > 0 {
                    return Err(format!("it changes hands although others have it: {state:?}"));
                }
                state.holders.clear();
                let granted = call.reply()?.ok_or("a change of a hold waits")?;
                state.hold(at, (to, session), &note, granted)
            }
            other => Err(format!("the lock has no command {other}")),
        }
    }

    fn answered(&mut self, entry: &RecipeEntry<'_>, answered: &Answered) -> Result {
        let call = &answered.call;
        let lock = self.locks.entry(call.object.clone()).or_default();
        lock.line.remove(&answered.ticket);
        if answered.outcome.is_err() {
            return check_wait_ended(entry, answered);
        }
        if let Some(first) = lock.line.keys().next().filter(|first| **first < answered.ticket) {
            return Err(format!("{:?} is served before {first:?}", answered.ticket));
        }
        let wanted: Acquire = answered.arguments()?;
        let granted = answered.reply()?.unwrap_or(Grant { fence: 0 });
        let at = (entry.zxid, entry.time_ms);
        lock.state.hold(at, (wanted.mode, call.name.0), &wanted.note, granted)
    }

    fn check_listed(&self, told: &Told<'_>) -> Result {
        let Some(listed) = told.reply::<Holders>()? else { return Ok(()) };
        let page: Page = told.arguments()?;
        let lock = self.locks.get(told.object);
        let state = lock.and_then(|lock| lock.states.at(told.zxid)).cloned().unwrap_or_default();
        let all: Vec<&Holder> = state.holders.values().collect();
        let shown: Vec<&Holder> = listed.holders.iter().collect();
        let limit = page.limit.map_or(usize::MAX, |limit| limit as usize);
        let has_all = match (&page.after, &listed.next) {
            (None, None) => shown == all,
            (None, Some(_)) => {
                shown.len() == limit && shown.len() < all.len() && all.starts_with(&shown)
            }
            (Some(_), None) => all.ends_with(&shown),
            (Some(_), Some(_)) => {
                shown.len() == limit && all.windows(limit).any(|some| some == shown)
            }
        };
        if has_all && shown.len() <= limit {
            return Ok(());
        }
        Err(format!("shows {listed:?} for {page:?} at {}, there was {state:?}", told.zxid))
    }

    /// Whether a refusal was right at some time between the question and the answer.
    fn is_justified(&self, told: &Told<'_>, word: &str) -> Result<bool> {
        let nothing = State::default();
        let states: Vec<&State> = match self.locks.get(told.object) {
            None => vec![&nothing],
            Some(lock) => {
                let states = lock.states.within(told.from, told.zxid);
                states.map(|state| state.unwrap_or(&nothing)).collect()
            }
        };
        let was = |is_right: &dyn Fn(&State) -> bool| states.iter().any(|state| is_right(state));
        let detail: Option<Holder> = match told.outcome {
            Err(refusal)
                if refusal.code == ErrorCode::RecipeRefused && !refusal.detail.is_empty() =>
            {
                serde_cbor::from_slice(&refusal.detail).map_err(|error| error.to_string())?
            }
            _ => None,
        };
        let is_shown = |state: &State| {
            detail.as_ref().is_none_or(|shown| state.holders.values().any(|known| known == shown))
        };
        if told.operation == "acquire" {
            let wanted: Acquire = told.arguments()?;
            let max = self.config.claims_max as usize;
            return Ok(match word {
                "held" => {
                    wanted.wait_ms == Some(0)
                        && was(&|state| {
                            let is_held = !state.fits(wanted.mode);
                            let names = detail.is_some() || state.holders.is_empty();
                            (is_held || state.waiters > 0) && is_shown(state) && names
                        })
                }
                "full" => was(&|state| state.holders.len() + state.waiters >= max),
                "note-too-long" => wanted.note.len() > self.config.note_bytes_max as usize,
                _ => false,
            });
        }
        let fence = told.arguments::<Grant>()?.fence;
        let session = told.session;
        Ok(match (told.operation, word) {
            ("release", "not-holder") => was(&|state| {
                let is_own = |mode| state.has(mode, session, fence);
                !is_own(Mode::Read) && !is_own(Mode::Write) && is_shown(state)
            }),
            ("downgrade", "not-holder") => was(&|state| !state.has(Mode::Write, session, fence)),
            ("try-upgrade", "not-holder") => was(&|state| !state.has(Mode::Read, session, fence)),
            ("try-upgrade", "other-readers") => was(&|state| {
                state.has(Mode::Read, session, fence) && state.others(session, fence) > 0
            }),
            _ => false,
        })
    }
}

impl Promises for LockPromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        let is_about =
            entry.call.is_some() || !entry.answered.is_empty() || !entry.ended.is_empty();
        self.judged += u64::from(is_about);
        for lock in self.locks.values_mut() {
            lock.state.holders.retain(|(_, session, _), _| !entry.ended.contains(session));
            lock.line.retain(|_, (session, _)| !entry.ended.contains(session));
        }
        if let Some(call) = &entry.call {
            self.called(entry, call)?;
        }
        for answered in &entry.answered {
            self.answered(entry, answered)?;
        }
        for (name, lock) in &mut self.locks {
            let is_served =
                |answered: &&Answered| answered.outcome.is_ok() && answered.call.object == *name;
            let served = entry.answered.iter().filter(is_served).count() as u32;
            if entry.call.is_some() && served > self.config.grants_max {
                return Err(format!("lock {name}: one call serves {served}"));
            }
            lock.settle(&self.config, (entry.zxid, entry.time_ms), served)
                .map_err(|text| format!("lock {name}: {text}"))?;
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
                let state = self.locks.get(told.object).map(|lock| &lock.state);
                let outcome = told.outcome;
                Err(format!("is told {outcome:?} and that was never right; now: {state:?}"))
            }
            None if told.operation == "holders" => self.check_listed(told),
            None => Err("is answered and is not in the log".into()),
        }
    }

    fn finish(&mut self, left: &[String]) -> Result {
        for (name, lock) in &self.locks {
            let state = &lock.state;
            let below = left.iter().filter(|path| path.split('/').next() == Some(name)).count();
            if state.holders.is_empty() != (below == 0) {
                return Err(format!("lock {name} has {below} znodes: {state:?}"));
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
        let config = Config { claims_max: 4, grants_max: 2, note_bytes_max: 8 };
        Said::to((TRIAL.promises)(&to_cbor(&config)))
    }

    fn to(mode: Mode) -> Acquire {
        Acquire { mode, wait_ms: None, note: String::new() }
    }

    const ACQUIRE: (&str, &str) = ("a", "acquire");
    const RELEASE: (&str, &str) = ("a", "release");
    const UPGRADE: (&str, &str) = ("a", "try-upgrade");

    fn granted(said: &Said) -> Grant {
        Grant { fence: said.next() }
    }

    fn take(said: &mut Said, session: u64, mode: Mode) -> Result<Grant> {
        let grant = granted(said);
        said.done(session, ACQUIRE, &to(mode), &grant, vec![]).map(|()| grant)
    }

    #[test]
    fn what_a_lock_does_is_believed() {
        let mut said = said();
        let one = take(&mut said, 1, Mode::Read).unwrap();
        let two = take(&mut said, 2, Mode::Read).unwrap();
        let writer = said.parked(3, ACQUIRE, &to(Mode::Write));
        said.done(1, RELEASE, &one, &(), vec![]).unwrap();
        let second = granted(&said);
        said.done(2, UPGRADE, &two, &second, vec![]).unwrap();
        let third = granted(&said);
        said.done(2, RELEASE, &second, &(), vec![answer(&writer, &third)]).unwrap();
        let reader = said.parked(1, ACQUIRE, &to(Mode::Read));
        let fourth = granted(&said);
        said.done(3, ("a", "downgrade"), &third, &fourth, vec![answer(&reader, &fourth)]).unwrap();
        said.event(&[1, 3], vec![]).unwrap();
        said.promises.finish(&[]).unwrap();
    }

    #[test]
    fn a_writer_beside_others_is_found() {
        let mut said = said();
        take(&mut said, 1, Mode::Read).unwrap();
        take(&mut said, 2, Mode::Write).unwrap_err();
        let mut said = self::said();
        take(&mut said, 1, Mode::Write).unwrap();
        let text = take(&mut said, 2, Mode::Read).unwrap_err();
        assert!(text.contains("beside"), "{text}");
    }

    #[test]
    fn who_passes_the_line_or_is_forgotten_in_it_is_found() {
        let mut said = said();
        let one = take(&mut said, 1, Mode::Read).unwrap();
        said.parked(2, ACQUIRE, &to(Mode::Write));
        let text = take(&mut said, 3, Mode::Read).unwrap_err();
        assert!(text.contains("overtaken"), "{text}");
        let text = said.done(1, RELEASE, &one, &(), vec![]).unwrap_err();
        assert!(text.contains("could have it"), "{text}");
    }

    #[test]
    fn an_upgrade_beside_readers_and_a_fence_that_is_old_are_found() {
        let mut said = said();
        let one = take(&mut said, 1, Mode::Read).unwrap();
        take(&mut said, 2, Mode::Read).unwrap();
        said.told(1, UPGRADE, &one, Err("other-readers")).unwrap();
        let grant = granted(&said);
        said.done(1, UPGRADE, &one, &grant, vec![]).unwrap_err();

        let mut said = self::said();
        let one = take(&mut said, 1, Mode::Write).unwrap();
        said.told(1, ("a", "downgrade"), &one, Err("not-holder")).unwrap_err();
        said.done(1, ("a", "downgrade"), &one, &one, vec![]).unwrap_err();
    }

    #[test]
    fn lists_and_refusals_that_were_never_right_are_found() {
        let mut said = said();
        take(&mut said, 1, Mode::Read).unwrap();
        let tries = Acquire { wait_ms: Some(0), ..to(Mode::Read) };
        said.told(2, ACQUIRE, &tries, Err("held")).unwrap_err();
        said.told(2, ACQUIRE, &tries, Err("full")).unwrap_err();
        let nobody = to_cbor(&Holders { holders: vec![], next: None }).to_vec();
        said.told(2, ("a", "holders"), &Page::default(), Ok(nobody)).unwrap_err();
        said.promises.finish(&[]).unwrap_err();
    }
}
