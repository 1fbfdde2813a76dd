//! The barrier (plugins/barrier/README.md): closed is closed, one end for all, each closure ends.
//!
//! Comes in: clients' turns, and the log in callers' words. Goes out: closings, waits and what ends
//! them; the first promise broken. A closure whose time is over ends by a timer, which leaves no
//! answer when nobody waits: from that time on it is judged as what it can be.

use super::record::word_of;
use super::waits::{Waits, check_wait_ended};
use super::{
    Answered, EndedCall, Identities, LoggedCall, Promises, RecipeEntry, Result, Timeline, Told,
    Trial, Turn, Work,
};
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use quorate_types::SessionId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub const TRIAL: Trial = Trial {
    name: "barrier",
    config: draw_config,
    work: |_| Box::<BarrierWork>::default(),
    promises: |config| Box::new(BarrierPromises::new(config)),
};

const BARRIERS: [&str; 2] = ["a", "b"];

/// A timer that is due fires at once; the last entry of a run may be as near to it as this.
const JUST_DUE_MS: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Unopened {
    Opens,
    Breaks,
}

impl Unopened {
    fn end(self) -> End {
        match self {
            Unopened::Opens => End::Opened,
            Unopened::Breaks => End::Broken,
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    owner_ended: Unopened,
    ttl_ended: Unopened,
    waiters_max: u64,
    answered_max: usize,
}

fn draw_config(choices: &mut Choices, _: &Plan) -> Bytes {
    let mut unopened = || [Unopened::Opens, Unopened::Breaks][choices.below(2) as usize];
    let (owner_ended, ttl_ended) = (unopened(), unopened());
    to_cbor(&Config {
        owner_ended,
        ttl_ended,
        waiters_max: [2, 5, 10_000][choices.below(3) as usize],
        answered_max: [1, 2, 200][choices.below(3) as usize],
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct Close {
    ttl_ms: Option<u64>,
    detached: bool,
    note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Generation {
    generation: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    generation: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Renew {
    generation: u64,
    ttl_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Wait {
    generation: Option<u64>,
    wait_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Passed {
    generation: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Closure {
    generation: u64,
    session: SessionId,
    identity: String,
    detached: bool,
    note: String,
    since_ms: u64,
    until_ms: Option<u64>,
}

impl Closure {
    /// Whether its timer may have ended it by this time.
    fn is_due(&self, now_ms: u64) -> bool {
        self.until_ms.is_some_and(|until_ms| until_ms <= now_ms)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    closure: Option<Closure>,
    waiting: u64,
}

/// What one client does.
#[derive(Default)]
struct BarrierWork {
    /// Closures of its own, with the time at which something is done about them.
    closed: Vec<(&'static str, u64, u64)>,
    /// Closures heard of, perhaps long over.
    heard: BTreeMap<&'static str, u64>,
}

impl BarrierWork {
    fn ask_close(turn: &mut Turn<'_>, barrier: &str) {
        let longest_ms = turn.session_timeout_ms() * 2;
        let note = format!("client {}", turn.client());
        let choices = turn.choices();
        let ttl_ms = choices.one_in(2).then(|| choices.below(longest_ms));
        let detached = choices.one_in(3);
        turn.call(barrier, "close", &Close { ttl_ms, detached, note });
    }

    fn ask_wait(&self, turn: &mut Turn<'_>, barrier: &str) {
        let wait_ms = turn.draw_wait_ms();
        let generation = self.heard.get(barrier).copied().filter(|_| turn.choices().one_in(3));
        turn.call(barrier, "wait", &Wait { generation, wait_ms });
    }

    fn ask_renew(&self, turn: &mut Turn<'_>, barrier: &str) {
        let longest_ms = turn.session_timeout_ms();
        let ttl_ms = turn.choices().below(longest_ms + 1);
        if let Some(generation) = self.heard.get(barrier).copied() {
            turn.call(barrier, "renew", &Renew { generation, ttl_ms });
        }
    }

    /// Ends what was closed long enough: mostly opened, sometimes left to its time or session.
    fn end(&mut self, turn: &mut Turn<'_>, barrier: &'static str, generation: u64) {
        let span_ms = turn.pause_ms() * 12 + 1;
        let ttl_ms = turn.choices().below(span_ms);
        match turn.choices().below(6) {
            0 => {}
            1 => {
                turn.call(barrier, "renew", &Renew { generation, ttl_ms });
                let until_ms = turn.now_ms() + turn.choices().below(span_ms);
                self.closed.push((barrier, generation, until_ms));
            }
            _ => drop(turn.call(barrier, "open", &Open { generation: Some(generation) })),
        }
    }
}

impl Work for BarrierWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let barrier = BARRIERS[turn.choices().below(2) as usize];
        match turn.choices().below(12) {
            0..=2 => BarrierWork::ask_close(turn, barrier),
            3..=7 => self.ask_wait(turn, barrier),
            8 => drop(turn.query(barrier, "state", Bytes::new())),
            9 => {
                let known = self.heard.get(barrier).copied();
                let generation = known.filter(|_| turn.choices().one_in(2));
                turn.call(barrier, "open", &Open { generation });
            }
            10 => self.ask_renew(turn, barrier),
            _ => turn.abandon_any(),
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let known = BARRIERS.into_iter().find(|barrier| *barrier == ended.object);
        let Some(barrier) = known else { return };
        let heard = match ended.operation {
            "close" => {
                let made = ended.reply::<Generation>();
                if let Some(Generation { generation }) = made {
                    let span_ms = turn.pause_ms() * 12 + 1;
                    let until_ms = turn.now_ms() + turn.choices().below(span_ms);
                    self.closed.push((barrier, generation, until_ms));
                }
                made.map(|made| made.generation)
            }
            "state" => {
                let state = ended.reply::<State>();
                state.and_then(|state| state.closure).map(|closure| closure.generation)
            }
            "wait" => ended.reply::<Passed>().and_then(|passed| passed.generation),
            _ => None,
        };
        if let Some(generation) = heard {
            self.heard.insert(barrier, generation);
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        let now_ms = turn.now_ms();
        for (barrier, generation, until_ms) in std::mem::take(&mut self.closed) {
            if !eager {
                turn.call(barrier, "open", &Open { generation: Some(generation) });
            } else if until_ms <= now_ms {
                self.end(turn, barrier, generation);
            } else {
                self.closed.push((barrier, generation, until_ms));
            }
        }
        if !eager && turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {
        self.closed.clear();
    }

    fn is_at_rest(&self) -> bool {
        self.closed.is_empty()
    }
}

/// How a closure ended for those who waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Opened,
    Broken,
}

/// One barrier as its callers know it.
#[derive(Debug, Default)]
struct Barrier {
    closure: Option<Closure>,
    /// Greatest generation.
    newest: u64,
    /// Who waits for which closure.
    waits: Waits<u64>,
    /// How closures ended: what it may have been, until somebody is told.
    ends: BTreeMap<u64, Vec<End>>,
    /// The closure and how many wait, as of every transaction.
    states: Timeline<(Option<Closure>, u64)>,
}

impl Barrier {
    fn end(&mut self, ends: Vec<End>) {
        if let Some(closure) = self.closure.take() {
            self.ends.insert(closure.generation, ends);
        }
    }

    /// A call was told that this closure stands.
    fn standing(&self, wanted: Option<u64>, operation: &str) -> Result<&Closure> {
        match &self.closure {
            Some(closure) if wanted.is_none_or(|wanted| wanted == closure.generation) => {
                Ok(closure)
            }
            other => Err(format!("{operation} of closure {wanted:?}, there is {other:?}")),
        }
    }

    /// A call was told that the barrier is open: then the time of its closure is over.
    fn must_be_open(&mut self, now_ms: u64, ttl_ended: Unopened, operation: &str) -> Result {
        match &self.closure {
            Some(closure) if !closure.is_due(now_ms) => {
                Err(format!("{operation} passes at {now_ms}, and closed is {closure:?}"))
            }
            _ => {
                self.end(vec![ttl_ended.end()]);
                Ok(())
            }
        }
    }

    fn close(
        &mut self,
        now_ms: u64,
        (session, identity): (SessionId, String),
        wanted: Close,
        Generation { generation }: Generation,
    ) -> Result {
        if generation <= self.newest {
            return Err(format!("closure {generation} comes after {}", self.newest));
        }
        if wanted.detached && wanted.ttl_ms.is_none() {
            return Err("nothing would ever end this closure".into());
        }
        self.newest = generation;
        let until_ms = wanted.ttl_ms.map(|ttl_ms| now_ms.saturating_add(ttl_ms));
        let Close { detached, note, .. } = wanted;
        let since_ms = now_ms;
        let closure = Closure { generation, session, identity, detached, note, since_ms, until_ms };
        self.closure = Some(closure);
        Ok(())
    }

    /// One who waited is told the end of his closure.
    fn told(&mut self, now_ms: u64, ttl_ended: Unopened, answered: &Answered) -> Result {
        let first = self.waits.iter().next().map(|(ticket, _)| ticket);
        if first != Some(answered.ticket) {
            return Err(format!("{:?} is told before {first:?}", answered.ticket));
        }
        let generation = self.waits.end(answered.ticket)?;
        let (end, of) = match &answered.outcome {
            Ok(_) => (End::Opened, answered.reply::<Passed>()?.and_then(|told| told.generation)),
            Err(refusal) => {
                let told: Option<Generation> = serde_cbor::from_slice(&refusal.detail).ok();
                (End::Broken, told.map(|told| told.generation))
            }
        };
        if of != Some(generation) {
            return Err(format!("who waits for closure {generation} is told of {of:?}"));
        }
        let is_standing = |closure: &Closure| closure.generation == generation;
        if self.closure.as_ref().is_some_and(is_standing) {
            self.must_be_open(now_ms, ttl_ended, "a wait")?;
        }
        match self.ends.get_mut(&generation) {
            Some(ends) if ends.contains(&end) => {
                *ends = vec![end];
                Ok(())
            }
            ends => Err(format!("told that closure {generation} {end:?}, it did {ends:?}")),
        }
    }
}

struct BarrierPromises {
    config: Config,
    barriers: BTreeMap<String, Barrier>,
    identities: Identities,
    times: Timeline<u64>,
    now_ms: u64,
    judged: u64,
}

impl BarrierPromises {
    fn new(config: &[u8]) -> BarrierPromises {
        BarrierPromises {
            config: serde_cbor::from_slice(config).expect("the trial drew it"),
            barriers: BTreeMap::new(),
            identities: Identities::default(),
            times: Timeline::default(),
            now_ms: 0,
            judged: 0,
        }
    }

    fn called(&mut self, call: &LoggedCall<'_>) -> Result {
        let (now_ms, session) = (self.now_ms, call.name.0);
        let Config { ttl_ended, waiters_max, .. } = self.config;
        let barrier = self.barriers.entry(call.object.into()).or_default();
        match (call.operation, call.reply.is_ok()) {
            ("close", true) => {
                barrier.must_be_open(now_ms, ttl_ended, "close")?;
                let Some(made) = call.reply()? else { return Ok(()) };
                let owner = (session, self.identities.of(session));
                barrier.close(now_ms, owner, call.arguments()?, made)
            }
            ("open", true) => {
                let wanted: Open = call.arguments()?;
                let Generation { generation } =
                    call.reply()?.ok_or("an open is answered with nothing")?;
                barrier.standing(wanted.generation, "open")?;
                barrier.standing(Some(generation), "open")?;
                barrier.end(vec![End::Opened]);
                Ok(())
            }
            ("renew", true) => {
                let Renew { generation, ttl_ms } = call.arguments()?;
                let closure = barrier.standing(Some(generation), "renew")?.clone();
                let until_ms = Some(now_ms.saturating_add(ttl_ms));
                barrier.closure = Some(Closure { until_ms, ..closure });
                let told: Option<Closure> = call.reply()?;
                if told == barrier.closure {
                    return Ok(());
                }
                Err(format!("renewed is {:?}, told is {told:?}", barrier.closure))
            }
            ("wait", true) => {
                let told: Option<Passed> = call.reply()?;
                if told != Some(Passed { generation: None }) {
                    return Err(format!("had not to wait and is told {told:?}"));
                }
                let wanted = call.arguments::<Wait>()?.generation;
                if barrier.standing(wanted, "wait").is_err() {
                    return Ok(());
                }
                barrier.must_be_open(now_ms, ttl_ended, "wait")
            }
            ("wait", false) => {
                let Wait { generation, wait_ms } = call.arguments()?;
                let generation = barrier.standing(generation, "wait")?.generation;
                barrier.waits.begin(now_ms, call, (wait_ms, waiters_max), generation)
            }
            (other, _) => Err(format!("the barrier has no such command {other}")),
        }
    }

    /// What the sessions closed ends with them, unless it is detached.
    fn end_owned(&mut self, ended: &[SessionId]) {
        let Config { owner_ended, ttl_ended, .. } = self.config;
        for barrier in self.barriers.values_mut() {
            let Some(closure) = &barrier.closure else { continue };
            if closure.detached || !ended.contains(&closure.session) {
                continue;
            }
            let mut ends = vec![owner_ended.end()];
            if closure.is_due(self.now_ms) {
                ends.push(ttl_ended.end());
            }
            barrier.end(ends);
        }
    }

    /// A closure that ends in an entry is told of in it, to as many as one transaction may answer.
    fn check_told(
        &self,
        entry: &RecipeEntry<'_>,
        waited: &BTreeMap<String, (u64, BTreeSet<u64>)>,
    ) -> Result {
        let most = self.config.answered_max;
        for (name, barrier) in &self.barriers {
            let of_it = || entry.answered.iter().filter(|answered| answered.call.object == *name);
            let told = of_it().filter(|answered| is_told(answered)).count();
            let none = (0, BTreeSet::new());
            let (waited, ended_before) = waited.get(name).unwrap_or(&none);
            // One that ends by its time leaves no other sign than this.
            let ends = barrier.ends.keys().any(|generation| !ended_before.contains(generation));
            let least = if ends { most.min(*waited as usize) } else { 0 };
            if told > most || of_it().count() < least {
                return Err(format!("{waited} wait at {name}, and {told} are told that it ended"));
            }
        }
        Ok(())
    }
}

fn is_told(answered: &Answered) -> bool {
    answered.outcome.as_ref().map_or_else(|refusal| word_of(refusal) == "broken", |_| true)
}

impl Promises for BarrierPromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        self.now_ms = entry.time_ms;
        self.times.note(entry.zxid, entry.time_ms);
        self.identities.note(entry);
        let is_ours = entry.call.is_some() || !entry.answered.is_empty();
        self.judged += u64::from(is_ours);
        let before = |(name, barrier): (&String, &Barrier)| {
            (name.clone(), (barrier.waits.len(), barrier.ends.keys().copied().collect()))
        };
        let waited: BTreeMap<String, (u64, BTreeSet<u64>)> =
            self.barriers.iter().map(before).collect();
        self.end_owned(&entry.ended);
        // Whose wait ends is told nothing more of the closure.
        for answered in entry.answered.iter().filter(|answered| !is_told(answered)) {
            let barrier = self.barriers.entry(answered.call.object.clone()).or_default();
            barrier.waits.end(answered.ticket)?;
            check_wait_ended(entry, answered)?;
        }
        if let Some(call) = &entry.call {
            self.called(call)?;
        }
        for answered in entry.answered.iter().filter(|answered| is_told(answered)) {
            let barrier = self.barriers.entry(answered.call.object.clone()).or_default();
            barrier.told(entry.time_ms, self.config.ttl_ended, answered)?;
        }
        self.check_told(entry, &waited)?;
        for barrier in self.barriers.values_mut() {
            barrier.states.note(entry.zxid, (barrier.closure.clone(), barrier.waits.len()));
            let due = barrier.closure.as_ref().filter(|closure| closure.is_due(entry.time_ms));
            let due = due.map(|closure| closure.generation);
            let ends = &barrier.ends;
            let must = |_, of: &u64| ends.contains_key(of) || due == Some(*of);
            barrier.waits.check_overdue(entry, must)?;
        }
        Ok(())
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        let Config { waiters_max, .. } = self.config;
        let then_ms = self.times.at(told.zxid).copied().unwrap_or_default();
        let barrier = self.barriers.entry(told.object.into()).or_default();
        let states: Vec<(Option<Closure>, u64)> = barrier
            .states
            .within(told.from, told.zxid)
            .map(|state| state.cloned().unwrap_or_default())
            .collect();
        let stood = |closure: &Closure| {
            states.iter().any(|(standing, _)| standing.as_ref() == Some(closure))
        };
        let was_open = || {
            let open = |state: &Option<Closure>| {
                state.as_ref().is_none_or(|closure| closure.is_due(then_ms))
            };
            states.iter().any(|(state, _)| open(state))
        };
        let is_right = match (told.operation, told.refusal()) {
            ("close", Some("closed")) => stood(&told.detail()?),
            ("wait", Some("closed")) => {
                let (closure, wanted): (Closure, Wait) = (told.detail()?, told.arguments()?);
                let is_meant = wanted.generation.is_none_or(|wanted| wanted == closure.generation);
                stood(&closure) && is_meant && wanted.wait_ms == Some(0)
            }
            ("close", Some("needs-ttl")) => {
                let wanted: Close = told.arguments()?;
                wanted.detached && wanted.ttl_ms.is_none()
            }
            ("open" | "renew", Some("not-closed")) => match told.detail::<Option<Closure>>()? {
                None => was_open(),
                Some(closure) => {
                    // A renewal names its closure as well.
                    let wanted = told.arguments::<Open>()?.generation;
                    stood(&closure) && wanted.is_some_and(|wanted| wanted != closure.generation)
                }
            },
            ("wait", Some("waiters-full")) => {
                states.iter().any(|(closure, waiting)| closure.is_some() && *waiting >= waiters_max)
            }
            ("state", None) => {
                let Some(shown) = told.reply::<State>()? else { return Ok(()) };
                let known = barrier.states.at(told.zxid).cloned().unwrap_or_default();
                let may_be_over = known.0.as_ref().is_some_and(|closure| closure.is_due(then_ms));
                let is_known = shown.closure == known.0;
                let is_over = shown.closure.is_none() && may_be_over;
                if shown.waiting != known.1 || !(is_known || is_over) {
                    return Err(format!("shows {shown:?} at {}, there is {known:?}", told.zxid));
                }
                true
            }
            _ => false,
        };
        if is_right {
            return Ok(());
        }
        Err(format!("is told {:?}, the barrier was {states:?}", told.refusal()))
    }

    fn finish(&mut self, left: &[String]) -> Result {
        let mut left = left.to_vec();
        for (name, barrier) in &self.barriers {
            let Some(closure) = &barrier.closure else { continue };
            let paths = [name.clone(), format!("{name}/closure")];
            let is_there = paths.iter().all(|path| left.contains(path));
            let is_over = closure.is_due(self.now_ms.saturating_sub(JUST_DUE_MS));
            if is_there == is_over && closure.is_due(self.now_ms) == is_over {
                return Err(format!("at {} there should be {closure:?}: {left:?}", self.now_ms));
            }
            left.retain(|path| !paths.contains(path));
        }
        if left.is_empty() { Ok(()) } else { Err(format!("left are {left:?}")) }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::super::said::{Said, answer, end};
    use super::*;
    use quorate_types::{ErrorCode, TicketId};

    fn said_with(ttl_ended: Unopened, answered_max: usize) -> Said {
        let owner_ended = Unopened::Breaks;
        let config = Config { owner_ended, ttl_ended, waiters_max: 2, answered_max };
        Said::to((TRIAL.promises)(&to_cbor(&config)))
    }

    fn said() -> Said {
        said_with(Unopened::Opens, 10)
    }

    const CLOSE: (&str, &str) = ("a", "close");
    const OPEN: (&str, &str) = ("a", "open");
    const WAIT: (&str, &str) = ("a", "wait");
    const ANY: Wait = Wait { generation: None, wait_ms: None };

    fn close(said: &mut Said, ttl_ms: Option<u64>) -> u64 {
        let generation = said.next();
        let wanted = Close { ttl_ms, detached: false, note: String::new() };
        said.done(1, CLOSE, &wanted, &Generation { generation }, vec![]).unwrap();
        generation
    }

    fn open(said: &mut Said, generation: u64, answered: Vec<Answered>) -> Result {
        let wanted = Open { generation: None };
        said.done(2, OPEN, &wanted, &Generation { generation }, answered)
    }

    fn passed(parked: &(super::super::Parked, TicketId), generation: u64) -> Answered {
        answer(parked, &Passed { generation: Some(generation) })
    }

    fn broken(parked: &(super::super::Parked, TicketId), generation: u64) -> Answered {
        let mut broken = end(parked, ErrorCode::RecipeRefused);
        if let Err(refusal) = &mut broken.outcome {
            refusal.recipe_code = Some("broken".into());
            refusal.detail = to_cbor(&Generation { generation });
        }
        broken
    }

    #[test]
    fn what_a_barrier_does_is_believed() {
        let mut said = said();
        let first = close(&mut said, Some(500));
        let waits = [said.parked(2, WAIT, &ANY), said.parked(3, WAIT, &ANY)];
        open(&mut said, first, waits.iter().map(|wait| passed(wait, first)).collect()).unwrap();
        let at_once = Passed { generation: None };
        said.done(2, WAIT, &ANY, &at_once, vec![]).unwrap();
        let second = close(&mut said, Some(500));
        let waits = said.parked(2, WAIT, &ANY);
        said.now_ms += 500;
        said.event(&[], vec![passed(&waits, second)]).unwrap();
        let third = close(&mut said, None);
        let waits = said.parked(2, WAIT, &ANY);
        said.event(&[1], vec![broken(&waits, third)]).unwrap();
        said.promises.finish(&[]).unwrap();
    }

    #[test]
    fn who_passes_a_closed_barrier_is_found() {
        let mut said = said();
        let generation = close(&mut said, Some(500));
        said.now_ms += 499;
        let at_once = Passed { generation: None };
        let text = said.done(2, WAIT, &ANY, &at_once, vec![]).unwrap_err();
        assert!(text.contains("closed is"), "{text}");
        let waits = said.parked(2, WAIT, &ANY);
        said.event(&[], vec![passed(&waits, generation)]).unwrap_err();
        let again = Generation { generation: said.next() };
        let wanted = Close { ttl_ms: None, detached: false, note: String::new() };
        said.done(3, CLOSE, &wanted, &again, vec![]).unwrap_err();
    }

    #[test]
    fn who_is_left_behind_overtaken_or_told_another_end_is_found() {
        let mut left = said();
        let generation = close(&mut left, None);
        let waits = [left.parked(2, WAIT, &ANY), left.parked(3, WAIT, &ANY)];
        let text = open(&mut left, generation, vec![passed(&waits[0], generation)]).unwrap_err();
        assert!(text.contains("2 wait at a, and 1 are told"), "{text}");

        let mut overtaken = said_with(Unopened::Opens, 1);
        let generation = close(&mut overtaken, None);
        let waits = [overtaken.parked(2, WAIT, &ANY), overtaken.parked(3, WAIT, &ANY)];
        let text = open(&mut overtaken, generation, vec![passed(&waits[1], generation)]);
        assert!(text.unwrap_err().contains("is told before"));

        let mut two_ends = said_with(Unopened::Opens, 1);
        let generation = close(&mut two_ends, None);
        let waits = [two_ends.parked(2, WAIT, &ANY), two_ends.parked(3, WAIT, &ANY)];
        open(&mut two_ends, generation, vec![passed(&waits[0], generation)]).unwrap();
        let text = two_ends.event(&[], vec![broken(&waits[1], generation)]).unwrap_err();
        assert!(text.contains("Broken, it did Some([Opened])"), "{text}");
    }

    #[test]
    fn a_waiter_who_is_never_told_or_of_a_later_closure_is_found() {
        let mut said = said_with(Unopened::Opens, 1);
        let generation = close(&mut said, None);
        let waits = [said.parked(2, WAIT, &ANY), said.parked(3, WAIT, &ANY)];
        open(&mut said, generation, vec![passed(&waits[0], generation)]).unwrap();
        let later = close(&mut said, None);
        said.event(&[], vec![passed(&waits[1], later)]).unwrap_err();

        let mut said = said_with(Unopened::Opens, 1);
        let generation = close(&mut said, Some(10));
        said.parked(2, WAIT, &ANY);
        said.now_ms += 10;
        let mut found = Ok(());
        for _ in 0..100 {
            said.now_ms += 1_000;
            found = found.and_then(|()| said.event(&[], vec![]));
        }
        assert!(found.unwrap_err().contains("waits on since"), "{generation}");
    }

    #[test]
    fn refusals_and_states_that_were_never_right_are_found() {
        let mut said = said();
        let closed = Closure {
            generation: said.next(),
            session: SessionId(1),
            identity: String::new(),
            detached: false,
            note: String::new(),
            since_ms: said.now_ms,
            until_ms: None,
        };
        let none = to_cbor(&None::<Closure>);
        let any = Open { generation: None };
        let told = |said: &mut Said, word, detail: &Bytes| {
            said.told_with(2, OPEN, &any, Err(word), detail.clone())
        };
        told(&mut said, "not-closed", &none).unwrap();
        let generation = close(&mut said, None);
        said.told_with(2, CLOSE, &any, Err("closed"), to_cbor(&closed)).unwrap();
        let other = Closure { generation: generation + 1, ..closed.clone() };
        said.told_with(2, CLOSE, &any, Err("closed"), to_cbor(&other)).unwrap_err();
        told(&mut said, "not-closed", &none).unwrap_err();
        told(&mut said, "not-closed", &to_cbor(&closed)).unwrap_err();
        said.told(2, WAIT, &ANY, Err("waiters-full")).unwrap_err();
        let state = |closure: Option<&Closure>, waiting| {
            Ok(to_cbor(&State { closure: closure.cloned(), waiting }).to_vec())
        };
        said.told(2, ("a", "state"), &(), state(Some(&closed), 0)).unwrap();
        said.told(2, ("a", "state"), &(), state(Some(&closed), 1)).unwrap_err();
        said.told(2, ("a", "state"), &(), state(None, 0)).unwrap_err();
        said.promises.finish(&["a".into(), "a/closure".into()]).unwrap();
        said.promises.finish(&[]).unwrap_err();
        said.promises.finish(&["a".into(), "a/closure".into(), "a/ended".into()]).unwrap_err();
    }
}
