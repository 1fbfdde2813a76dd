//! The latch (plugins/latch/README.md): not before zero, everybody afterwards, a key counts once.
//!
//! Comes in: clients' turns, and the log in callers' words. Goes out: counts and waits; the first
//! promise broken. A latch that is kept for a time only is gone by a timer, which leaves no answer:
//! from that time on it is judged as what it can be.

use super::waits::{Waits, check_wait_ended};
use super::{
    Answered, EndedCall, LoggedCall, Promises, RecipeEntry, Result, Timeline, Told, Trial, Turn,
    Work,
};
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use quorate_types::Zxid;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub const TRIAL: Trial = Trial {
    name: "latch",
    config: draw_config,
    work: |_| Box::<LatchWork>::default(),
    promises: |config| Box::new(LatchPromises::new(config)),
};

const LATCHES: [&str; 2] = ["a", "b"];

/// A timer that is due fires at once; the last entry of a run may be as near to it as this.
const JUST_DUE_MS: u64 = 1_000;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    keys_max: u64,
    waiters_max: u64,
    kept_ms: Option<u64>,
    answered_max: usize,
}

fn draw_config(choices: &mut Choices, plan: &Plan) -> Bytes {
    let kept_ms = [None, Some(plan.pause_ms * 8), Some(plan.session_timeout_ms.0)];
    to_cbor(&Config {
        keys_max: [3, 10_000][choices.below(2) as usize],
        waiters_max: [2, 5, 10_000][choices.below(3) as usize],
        kept_ms: kept_ms[choices.below(3) as usize],
        answered_max: [1, 2, 200][choices.below(3) as usize],
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct Start {
    count: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct CountDown {
    by: Option<u64>,
    key: Option<String>,
    generation: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    count: u64,
    is_new: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Wait {
    wait_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Opened {
    generation: u64,
    zxid: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reset {
    count: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Latch {
    generation: u64,
    initial: u64,
    count: u64,
    opened: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Shown {
    latch: Option<Latch>,
    waiting: u64,
}

/// What one client does.
#[derive(Default)]
struct LatchWork {
    /// Latches heard of, perhaps over.
    heard: BTreeMap<&'static str, u64>,
}

impl LatchWork {
    fn ask_count_down(&self, turn: &mut Turn<'_>, latch: &str) {
        let heard = self.heard.get(latch).copied();
        let choices = turn.choices();
        let by = [None, None, Some(1), Some(2 + choices.below(3))][choices.below(4) as usize];
        let by = if choices.one_in(40) { Some(0) } else { by };
        let key = choices.one_in(2).then(|| match choices.below(40) {
            0 => String::new(),
            1 => "a/b".into(),
            _ => format!("shard-{}", choices.below(5)),
        });
        let generation = heard.filter(|_| choices.one_in(4));
        turn.call(latch, "count-down", &CountDown { by, key, generation });
    }
}

fn draw_count(choices: &mut Choices) -> u64 {
    if choices.one_in(20) { 0 } else { 1 + choices.below(8) }
}

impl Work for LatchWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let latch = LATCHES[turn.choices().below(2) as usize];
        match turn.choices().below(16) {
            0 | 1 => {
                let count = draw_count(turn.choices());
                turn.call(latch, "start", &Start { count });
            }
            2..=7 => self.ask_count_down(turn, latch),
            8..=11 => {
                let wait_ms = turn.draw_wait_ms();
                turn.call(latch, "wait", &Wait { wait_ms });
            }
            12 | 13 => drop(turn.query(latch, "count", Bytes::new())),
            14 => {
                let choices = turn.choices();
                let count = choices.one_in(2).then(|| draw_count(choices));
                turn.call(latch, "reset", &Reset { count });
            }
            _ => turn.abandon_any(),
        }
    }

    fn take(&mut self, _: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let known = LATCHES.into_iter().find(|latch| *latch == ended.object);
        let Some(latch) = known else { return };
        let heard = match ended.operation {
            "start" => ended.reply::<Latch>(),
            "count" => ended.reply::<Shown>().and_then(|shown| shown.latch),
            "reset" => ended.reply::<Option<Latch>>().flatten(),
            _ => None,
        };
        if let Some(Latch { generation, .. }) = heard {
            self.heard.insert(latch, generation);
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        if !eager && turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {}

    fn is_at_rest(&self) -> bool {
        true
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    latch: Option<Latch>,
    /// When it may be gone, once it is at zero.
    forgotten_ms: Option<u64>,
    keys: usize,
    waiting: u64,
}

impl State {
    fn may_be_gone(&self, now_ms: u64) -> bool {
        self.latch.is_none() || self.forgotten_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    fn is_at_zero(&self) -> bool {
        self.latch.is_some_and(|latch| latch.count == 0)
    }
}

/// One latch as its callers know it.
#[derive(Debug, Default)]
struct Known {
    state: State,
    keys: BTreeSet<String>,
    /// Greatest generation.
    newest: u64,
    /// Who waits, and since which transaction.
    waits: Waits<Zxid>,
    /// Every time that zero was reached.
    zeros: Vec<Opened>,
    states: Timeline<State>,
}

impl Known {
    fn begin(&mut self, count: u64, told: Option<Latch>) -> Result {
        let generation = told.map_or(0, |told| told.generation);
        let latch = Latch { generation, initial: count, count, opened: None };
        if told != Some(latch) || generation <= self.newest || count == 0 {
            return Err(format!("starts after {} at {count} as {told:?}", self.newest));
        }
        self.newest = generation;
        self.keys.clear();
        self.state = State { latch: Some(latch), ..State::default() };
        Ok(())
    }

    fn count_down(
        &mut self,
        entry: &RecipeEntry<'_>,
        config: &Config,
        wanted: CountDown,
        told: Option<Counted>,
    ) -> Result {
        let Some(latch) = &mut self.state.latch else {
            return Err("counts down a latch that is not started".into());
        };
        let by = wanted.by.unwrap_or(1);
        let is_meant = wanted.generation.is_none_or(|wanted| wanted == latch.generation);
        if by == 0 || !is_meant {
            return Err(format!("{wanted:?} counts {latch:?} down"));
        }
        let is_new =
            latch.count > 0 && wanted.key.as_ref().is_none_or(|key| self.keys.insert(key.clone()));
        if self.keys.len() as u64 > config.keys_max {
            return Err(format!("{} keys have counted", self.keys.len()));
        }
        if is_new {
            latch.count = latch.count.saturating_sub(by);
        }
        let right = Counted { count: latch.count, is_new };
        if told != Some(right) {
            return Err(format!("counts {wanted:?} and tells {told:?}, it is {right:?}"));
        }
        if is_new && latch.count == 0 {
            latch.opened = Some(entry.zxid.0);
            self.keys.clear();
            self.state.forgotten_ms =
                config.kept_ms.map(|kept_ms| entry.time_ms.saturating_add(kept_ms));
            self.zeros.push(Opened { generation: latch.generation, zxid: entry.zxid.0 });
        }
        Ok(())
    }

    /// A call was told that the latch is not there: then it was kept long enough.
    fn must_be_gone(&mut self, now_ms: u64, operation: &str) -> Result {
        if !self.state.may_be_gone(now_ms) {
            return Err(format!("{operation} finds no latch, it is {:?}", self.state));
        }
        self.state = State::default();
        Ok(())
    }

    /// One who waited is told of zero.
    fn told(&mut self, answered: &Answered) -> Result {
        let first = self.waits.iter().next().map(|(ticket, _)| ticket);
        if first != Some(answered.ticket) {
            return Err(format!("{:?} is told before {first:?}", answered.ticket));
        }
        let since = self.waits.end(answered.ticket)?;
        match answered.reply::<Opened>()? {
            Some(told) if self.zeros.contains(&told) && told.zxid > since.0 => Ok(()),
            told => Err(format!("who waits since {since} is told {told:?}: {:?}", self.zeros)),
        }
    }
}

struct LatchPromises {
    config: Config,
    latches: BTreeMap<String, Known>,
    times: Timeline<u64>,
    now_ms: u64,
    judged: u64,
}

impl LatchPromises {
    fn new(config: &[u8]) -> LatchPromises {
        LatchPromises {
            config: serde_cbor::from_slice(config).expect("the trial drew it"),
            latches: BTreeMap::new(),
            times: Timeline::default(),
            now_ms: 0,
            judged: 0,
        }
    }

    fn called(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let (config, now_ms) = (self.config, entry.time_ms);
        let known = self.latches.entry(call.object.into()).or_default();
        match (call.operation, call.reply.is_ok()) {
            ("start", true) => {
                known.must_be_gone(now_ms, "start")?;
                known.begin(call.arguments::<Start>()?.count, call.reply()?)
            }
            ("reset", true) => {
                known.state = State::default();
                known.keys.clear();
                match (call.arguments::<Reset>()?.count, call.reply::<Option<Latch>>()?.flatten()) {
                    (None, None) => Ok(()),
                    (None, told) => Err(format!("is ended and told as {told:?}")),
                    (Some(count), told) => known.begin(count, told),
                }
            }
            ("count-down", true) => {
                known.count_down(entry, &config, call.arguments()?, call.reply()?)
            }
            ("wait", true) => {
                let told: Option<Opened> = call.reply()?;
                let zero = known.state.latch.and_then(|latch| {
                    latch.opened.map(|zxid| Opened { generation: latch.generation, zxid })
                });
                if told.is_some() && told == zero {
                    return Ok(());
                }
                Err(format!("passes with {told:?}, it is {:?}", known.state))
            }
            ("wait", false) => {
                if known.state.is_at_zero() {
                    known.must_be_gone(now_ms, "wait")?;
                }
                let wait_ms = call.arguments::<Wait>()?.wait_ms;
                known.waits.begin(now_ms, call, (wait_ms, config.waiters_max), entry.zxid)
            }
            (other, _) => Err(format!("the latch has no such command {other}")),
        }
    }

    /// Zero is told in the transaction that reaches it, to as many as one may answer.
    fn check_told(&self, entry: &RecipeEntry<'_>, waited: &BTreeMap<String, u64>) -> Result {
        let most = self.config.answered_max;
        for (name, known) in &self.latches {
            let of_it =
                |answered: &&Answered| answered.call.object == *name && answered.outcome.is_ok();
            let told = entry.answered.iter().filter(of_it).count();
            let waited = waited.get(name).copied().unwrap_or_default() as usize;
            let is_zero = known.zeros.last().is_some_and(|zero| zero.zxid == entry.zxid.0);
            let least = if is_zero { most.min(waited) } else { 0 };
            if told > most || told < least {
                return Err(format!("{waited} wait at {name}, and {told} are told of zero"));
            }
        }
        Ok(())
    }
}

impl Promises for LatchPromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        self.now_ms = entry.time_ms;
        self.times.note(entry.zxid, entry.time_ms);
        self.judged += u64::from(entry.call.is_some() || !entry.answered.is_empty());
        let count = |(name, known): (&String, &Known)| (name.clone(), known.waits.len());
        let waited: BTreeMap<String, u64> = self.latches.iter().map(count).collect();
        for answered in entry.answered.iter().filter(|answered| answered.outcome.is_err()) {
            let known = self.latches.entry(answered.call.object.clone()).or_default();
            known.waits.end(answered.ticket)?;
            check_wait_ended(entry, answered)?;
        }
        if let Some(call) = &entry.call {
            self.called(entry, call)?;
        }
        for answered in entry.answered.iter().filter(|answered| answered.outcome.is_ok()) {
            let known = self.latches.entry(answered.call.object.clone()).or_default();
            known.told(answered)?;
        }
        self.check_told(entry, &waited)?;
        for known in self.latches.values_mut() {
            known.state.waiting = known.waits.len();
            known.state.keys = known.keys.len();
            known.states.note(entry.zxid, known.state.clone());
            let newest = known.zeros.last().map_or(0, |zero| zero.zxid);
            known.waits.check_overdue(entry, |_, since| since.0 < newest)?;
        }
        Ok(())
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        let config = self.config;
        let then_ms = self.times.at(told.zxid).copied().unwrap_or_default();
        let known = self.latches.entry(told.object.into()).or_default();
        let within = known.states.within(told.from, told.zxid);
        let states: Vec<State> = within.map(|state| state.cloned().unwrap_or_default()).collect();
        let any = |is_right: &dyn Fn(&State) -> bool| states.iter().any(is_right);
        let may_be = |state: &State, latch: Option<Latch>| {
            state.latch == latch || (latch.is_none() && state.may_be_gone(then_ms))
        };
        let is_right = match (told.operation, told.refusal()) {
            ("start", Some("started")) => {
                let latch: Latch = told.detail()?;
                any(&|state| state.latch == Some(latch))
            }
            ("start", Some("bad-count")) => told.arguments::<Start>()?.count == 0,
            ("reset", Some("bad-count")) => told.arguments::<Reset>()?.count == Some(0),
            ("count-down", Some("bad-count")) => told.arguments::<CountDown>()?.by == Some(0),
            ("count-down", Some("not-started")) => any(&|state| state.may_be_gone(then_ms)),
            ("count-down", Some("other-generation")) => {
                let (latch, wanted): (Latch, CountDown) = (told.detail()?, told.arguments()?);
                let is_other = wanted.generation.is_some_and(|wanted| wanted != latch.generation);
                is_other && any(&|state| state.latch == Some(latch))
            }
            ("count-down", Some("bad-key")) => {
                let key = told.arguments::<CountDown>()?.key;
                key.is_some_and(|key| key.is_empty() || key.contains('/'))
            }
            ("count-down", Some("keys-full")) => any(&|state| state.keys as u64 >= config.keys_max),
            ("wait", Some("not-zero")) => {
                let latch: Option<Latch> = told.detail()?;
                let is_short = latch.is_none_or(|latch| latch.count > 0);
                let at_once = told.arguments::<Wait>()?.wait_ms == Some(0);
                at_once && is_short && any(&|state| may_be(state, latch))
            }
            ("wait", Some("waiters-full")) => any(&|state| {
                let passes = state.is_at_zero() && !state.may_be_gone(then_ms);
                state.waiting >= config.waiters_max && !passes
            }),
            ("count", None) => {
                let Some(shown) = told.reply::<Shown>()? else { return Ok(()) };
                let state = known.states.at(told.zxid).cloned().unwrap_or_default();
                if shown.waiting != state.waiting || !may_be(&state, shown.latch) {
                    return Err(format!("shows {shown:?} at {}, it is {state:?}", told.zxid));
                }
                true
            }
            _ => false,
        };
        if is_right {
            return Ok(());
        }
        Err(format!("is told {:?}, the latch was {states:?}", told.outcome))
    }

    fn finish(&mut self, left: &[String]) -> Result {
        for (name, known) in &self.latches {
            let below = left.iter().filter(|path| path.split('/').next() == Some(name)).count();
            // The object, its latch, and the keys in two folders.
            let whole = match (known.state.latch, known.keys.len()) {
                (None, _) => 0,
                (Some(_), 0) => 2,
                (Some(_), keys) => 4 + keys,
            };
            let is_gone = known.state.may_be_gone(self.now_ms.saturating_sub(JUST_DUE_MS));
            let may_be_gone = known.state.may_be_gone(self.now_ms);
            let is_right = (below == whole && !is_gone) || (below == 0 && may_be_gone);
            if !is_right {
                return Err(format!("of {name}, which is {:?}, are left {left:?}", known.state));
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
        let config = Config { keys_max: 2, waiters_max: 2, kept_ms: Some(1_000), answered_max: 10 };
        Said::to((TRIAL.promises)(&to_cbor(&config)))
    }

    const START: (&str, &str) = ("a", "start");
    const COUNT_DOWN: (&str, &str) = ("a", "count-down");
    const WAIT: (&str, &str) = ("a", "wait");
    const RESET: (&str, &str) = ("a", "reset");
    const EVER: Wait = Wait { wait_ms: None };

    fn latch(generation: u64, count: u64, opened: Option<u64>) -> Latch {
        Latch { generation, initial: 2, count, opened }
    }

    /// Starts at 2.
    fn start(said: &mut Said) -> u64 {
        let generation = said.next();
        said.done(1, START, &Start { count: 2 }, &latch(generation, 2, None), vec![]).unwrap();
        generation
    }

    fn count(said: &mut Said, key: Option<&str>, left: (u64, bool), told: Vec<Answered>) -> Result {
        let wanted = CountDown { key: key.map(str::to_owned), ..CountDown::default() };
        let (count, is_new) = left;
        said.done(1, COUNT_DOWN, &wanted, &Counted { count, is_new }, told)
    }

    #[test]
    fn what_a_latch_does_is_believed() {
        let mut said = said();
        let waits = said.parked(2, WAIT, &EVER);
        let generation = start(&mut said);
        count(&mut said, Some("k"), (1, true), vec![]).unwrap();
        count(&mut said, Some("k"), (1, false), vec![]).unwrap();
        let zero = Opened { generation, zxid: said.next() };
        count(&mut said, None, (0, true), vec![answer(&waits, &zero)]).unwrap();
        said.done(2, WAIT, &EVER, &zero, vec![]).unwrap();
        count(&mut said, None, (0, false), vec![]).unwrap();
        said.now_ms += 1_000;
        let wait = said.parked(2, WAIT, &EVER);
        start(&mut said);
        let again = latch(said.next(), 2, None);
        said.done(1, RESET, &Reset { count: Some(2) }, &Some(again), vec![]).unwrap();
        said.done(1, RESET, &Reset { count: None }, &None::<Latch>, vec![]).unwrap();
        let late = said.event(&[], vec![answer(&wait, &zero)]).unwrap_err();
        assert!(late.contains("who waits since"), "{late}");
        said.promises.finish(&[]).unwrap();
    }

    #[test]
    fn who_passes_before_zero_or_is_left_behind_is_found() {
        let mut early = said();
        let generation = start(&mut early);
        let zero = Opened { generation, zxid: early.next() };
        early.done(2, WAIT, &EVER, &zero, vec![]).unwrap_err();
        let waits = early.parked(2, WAIT, &EVER);
        early.event(&[], vec![answer(&waits, &zero)]).unwrap_err();

        let mut behind = said();
        let generation = start(&mut behind);
        let waits = [behind.parked(2, WAIT, &EVER), behind.parked(3, WAIT, &EVER)];
        count(&mut behind, None, (1, true), vec![]).unwrap();
        let zero = Opened { generation, zxid: behind.next() };
        let text = count(&mut behind, None, (0, true), vec![answer(&waits[0], &zero)]).unwrap_err();
        assert!(text.contains("2 wait at a, and 1 are told"), "{text}");

        let mut overtaken = said();
        let generation = start(&mut overtaken);
        let waits = [overtaken.parked(2, WAIT, &EVER), overtaken.parked(3, WAIT, &EVER)];
        count(&mut overtaken, None, (1, true), vec![]).unwrap();
        let zero = Opened { generation, zxid: overtaken.next() };
        let told = vec![answer(&waits[1], &zero), answer(&waits[0], &zero)];
        assert!(count(&mut overtaken, None, (0, true), told).is_err());
    }

    #[test]
    fn what_is_counted_twice_or_not_at_all_is_found() {
        let mut said = said();
        start(&mut said);
        count(&mut said, Some("k"), (1, true), vec![]).unwrap();
        assert!(count(&mut said, Some("k"), (0, true), vec![]).is_err());

        let mut lost = super::tests::said();
        start(&mut lost);
        assert!(count(&mut lost, None, (2, true), vec![]).is_err());

        let mut other = super::tests::said();
        let generation = start(&mut other);
        let wanted = CountDown { generation: Some(generation - 1), ..CountDown::default() };
        let told = Counted { count: 1, is_new: true };
        assert!(other.done(1, COUNT_DOWN, &wanted, &told, vec![]).is_err());
    }

    #[test]
    fn a_latch_that_starts_again_before_its_time_is_found() {
        let mut said = said();
        start(&mut said);
        count(&mut said, None, (1, true), vec![]).unwrap();
        count(&mut said, None, (0, true), vec![]).unwrap();
        said.promises.finish(&["a".into(), "a/latch".into()]).unwrap();
        said.promises.finish(&[]).unwrap_err();
        said.now_ms += 999;
        let again = latch(said.next(), 2, None);
        let text = said.done(1, START, &Start { count: 2 }, &again, vec![]).unwrap_err();
        assert!(text.contains("start finds no latch"), "{text}");
    }

    #[test]
    fn refusals_and_states_that_were_never_right_are_found() {
        let mut said = said();
        let any = CountDown::default();
        said.told(1, COUNT_DOWN, &any, Err("not-started")).unwrap();
        let generation = start(&mut said);
        said.told(1, COUNT_DOWN, &any, Err("not-started")).unwrap_err();
        said.told(1, COUNT_DOWN, &any, Err("keys-full")).unwrap_err();
        said.told(1, WAIT, &EVER, Err("waiters-full")).unwrap_err();
        let (right, wrong) = (latch(generation, 2, None), latch(generation, 1, None));
        let started = |said: &mut Said, latch| {
            said.told_with(1, START, &Start { count: 1 }, Err("started"), to_cbor(&latch))
        };
        started(&mut said, right).unwrap();
        started(&mut said, wrong).unwrap_err();
        let not_zero = to_cbor(&Some(right));
        said.told_with(1, WAIT, &Wait { wait_ms: Some(0) }, Err("not-zero"), not_zero.clone())
            .unwrap();
        said.told_with(1, WAIT, &EVER, Err("not-zero"), not_zero).unwrap_err();
        let shown = |latch, waiting| Ok(to_cbor(&Shown { latch, waiting }).to_vec());
        said.told(1, ("a", "count"), &(), shown(Some(right), 0)).unwrap();
        said.told(1, ("a", "count"), &(), shown(Some(wrong), 0)).unwrap_err();
        said.told(1, ("a", "count"), &(), shown(Some(right), 1)).unwrap_err();
        said.told(1, ("a", "count"), &(), shown(None, 0)).unwrap_err();
    }
}
