//! What the election promises: one leader, in line, fenced; whoever observes misses nothing.
//!
//! Comes in: the log in callers' words. Goes out: the first promise broken.

use super::super::waits::check_wait_ended;
use super::super::{Answered, LoggedCall, Overdue, Promises, RecipeEntry, Result, Timeline, Told};
use super::{
    Campaign, Config, Leader, Observe, Page, Place, Proclaim, Revision, Standing, Term, Transfer,
};
use quorate_types::{SessionId, TicketId, Zxid};
use serde_cbor::Value;
use std::collections::BTreeMap;
use std::mem;

/// Places of an ending session that one transaction passes over.
const PASSED_OVER_MAX: usize = 8;
/// Candidates that a page shows at most.
const PAGE_MAX: u32 = 100;

/// A caller in line.
#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    session: SessionId,
    name: String,
    value: Value,
}

/// An election as its callers know it after a transaction.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    leader: Option<Leader>,
    line: BTreeMap<TicketId, Candidate>,
    observers: u64,
}

impl State {
    fn standing(&self) -> Standing {
        let revision = self.leader.as_ref().map_or(0, |leader| leader.revision);
        Standing { revision, leader: self.leader.clone() }
    }

    fn is_taken(&self, name: &str) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader.name == name) || self.is_in_line(name)
    }

    fn is_in_line(&self, name: &str) -> bool {
        self.line.values().any(|candidate| candidate.name == name)
    }

    /// How many callers take the room of observers.
    fn crowd(&self) -> u64 {
        self.observers + 2 * self.line.len() as u64
    }

    fn leads(&self, session: SessionId, term: u64) -> bool {
        self.leader
            .as_ref()
            .is_some_and(|leader| (leader.session, leader.term) == (session.0, term))
    }

    fn lead(&mut self, (zxid, now_ms): (Zxid, u64), candidate: Candidate, won: Term) -> Result {
        if let Some(leader) = &self.leader {
            return Err(format!("{candidate:?} leads beside {leader:?}"));
        }
        if won.term != zxid.0 {
            return Err(format!("{won:?} is not the number of the transaction"));
        }
        let Candidate { session, name, value } = candidate;
        let (session, term) = (session.0, zxid.0);
        self.leader = Some(Leader { name, session, term, revision: term, value, since_ms: now_ms });
        Ok(())
    }
}

/// A caller that waits for a change.
#[derive(Clone, Copy, Debug)]
struct Observer {
    session: SessionId,
    since: Zxid,
}

#[derive(Debug, Default)]
struct Election {
    state: State,
    observers: BTreeMap<TicketId, Observer>,
    /// The last change of the leader or of its value.
    changed: Zxid,
    states: Timeline<State>,
    /// The next leader is found a little later: an ending session had too many places.
    passes_on: bool,
    pass_on_overdue: Overdue,
    /// Observers are told a little later: enough others were in the transaction before.
    tells: bool,
    /// Observers whose session ends in this transaction: to pass over one is as much work as to tell
    /// it.
    passed_over: u32,
    tell_overdue: Overdue,
}

impl Election {
    /// A session ends: its term, its places and its observers go.
    fn end_session(&mut self, session: SessionId) {
        let state = &mut self.state;
        let first = state.line.values().take_while(|candidate| candidate.session == session);
        self.passes_on |= first.count() >= PASSED_OVER_MAX;
        state.leader.take_if(|leader| leader.session == session.0);
        state.line.retain(|_, candidate| candidate.session != session);
        let before = self.observers.len();
        self.observers.retain(|_, observer| observer.session != session);
        self.passed_over += (before - self.observers.len()) as u32;
    }

    /// Judges how things stand when a transaction is over; `told`: how many observers it answered.
    fn settle(
        &mut self,
        config: &Config,
        (zxid, now_ms): (Zxid, u64),
        before: &Standing,
        told: u32,
    ) -> Result {
        self.state.observers = self.observers.len() as u64;
        if self.state.standing() != *before {
            self.changed = zxid;
        }
        self.states.note(zxid, self.state.clone());
        let is_due = self.state.leader.is_none() && !self.state.line.is_empty();
        self.passes_on &= is_due;
        let is_late = self.pass_on_overdue.passes(is_due, now_ms);
        if (is_due && !self.passes_on) || is_late {
            return Err(format!("nobody leads, and candidates wait: {:?}", self.state.line));
        }
        let are_left = self.observers.values().any(|observer| observer.since < self.changed);
        let seen_to = told + mem::take(&mut self.passed_over);
        self.tells = are_left && (self.tells || seen_to >= config.answered_max);
        let is_late = self.tell_overdue.passes(are_left, now_ms);
        if (are_left && !self.tells) || is_late {
            let (changed, observers) = (self.changed, &self.observers);
            return Err(format!("{observers:?} are not told of the change of {changed}"));
        }
        Ok(())
    }
}

pub(super) struct ElectionPromises {
    config: Config,
    elections: BTreeMap<String, Election>,
    judged: u64,
}

fn name_of(wanted: &Campaign, session: SessionId) -> String {
    wanted.name.clone().unwrap_or_else(|| session.0.to_string())
}

fn is_bad_name(name: &str) -> bool {
    name.is_empty() || name.len() > 200 || name.contains('/')
}

fn is_too_large(value: &Value, config: &Config) -> bool {
    matches!(value, Value::Bytes(bytes) if bytes.len() > config.value_bytes_max as usize)
}

impl ElectionPromises {
    pub(super) fn new(config: &[u8]) -> ElectionPromises {
        let config = serde_cbor::from_slice(config).expect("the trial drew it");
        ElectionPromises { config, elections: BTreeMap::new(), judged: 0 }
    }

    fn campaign(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let config = self.config;
        let wanted: Campaign = call.arguments()?;
        let session = call.name.0;
        let state = &mut self.elections.entry(call.object.into()).or_default().state;
        let name = name_of(&wanted, session);
        let is_proper =
            !is_bad_name(&name) && !is_too_large(&wanted.value, &config) && !state.is_taken(&name);
        if !is_proper {
            return Err(format!("{wanted:?} is let in: {state:?}"));
        }
        let room = u64::from(config.observers_max) + 2 * u64::from(config.candidates_max);
        let candidate = Candidate { session, name, value: wanted.value };
        match (call.reply::<Term>()?, call.reply) {
            (Some(_), _) if !state.line.is_empty() => {
                Err(format!("{candidate:?} overtakes {:?}", state.line))
            }
            (Some(won), _) => state.lead((entry.zxid, entry.time_ms), candidate, won),
            (None, Err(ticket)) if wanted.wait_ms != Some(0) && state.crowd() < room => {
                if state.leader.is_none() && state.line.is_empty() {
                    return Err(format!("{candidate:?} waits, and nobody leads"));
                }
                state.line.insert(ticket, candidate);
                Ok(())
            }
            _ => Err(format!("{candidate:?} waits beside {}", state.crowd())),
        }
    }

    fn observe(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let Observe { after, wait_ms } = call.arguments()?;
        let election = self.elections.entry(call.object.into()).or_default();
        let standing = election.state.standing();
        let Err(ticket) = call.reply else {
            return check_observed(after, &standing, call.reply()?);
        };
        let is_proper = after == Some(standing.revision)
            && wait_ms != Some(0)
            && election.state.crowd() < u64::from(self.config.observers_max);
        if !is_proper {
            return Err(format!("an observer of {after:?} waits: {:?}", election.state));
        }
        let observer = Observer { session: call.name.0, since: entry.zxid };
        election.observers.insert(ticket, observer);
        Ok(())
    }

    fn called(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        match call.operation {
            "campaign" => return self.campaign(entry, call),
            "observe" => return self.observe(entry, call),
            _ => {}
        }
        let config = self.config;
        let state = &mut self.elections.entry(call.object.into()).or_default().state;
        let term = match call.operation {
            "proclaim" => call.arguments::<Proclaim>()?.term,
            "resign" => call.arguments::<Term>()?.term,
            "transfer" => call.arguments::<Transfer>()?.term,
            other => return Err(format!("the election has no command {other}")),
        };
        if !state.leads(call.name.0, term) {
            return Err(format!("session {} does not lead in {term}: {state:?}", call.name.0));
        }
        let Some(leader) = &mut state.leader else { return Ok(()) };
        if call.operation != "proclaim" {
            state.leader = None;
            return Ok(());
        }
        let value = call.arguments::<Proclaim>()?.value;
        let revision = entry.zxid.0;
        if is_too_large(&value, &config) || call.reply()? != Some(Revision { revision }) {
            return Err(format!("{value:?} is proclaimed as {:?}", call.reply));
        }
        (leader.value, leader.revision) = (value, revision);
        Ok(())
    }

    fn answered(
        &mut self,
        entry: &RecipeEntry<'_>,
        answered: &Answered,
        last: &Standing,
    ) -> Result {
        let Answered { ticket, call, outcome } = answered;
        let election = self.elections.entry(call.object.clone()).or_default();
        let candidate = election.state.line.get(ticket).cloned();
        let first = election.state.line.keys().next().copied();
        election.state.line.remove(ticket);
        let observer = election.observers.remove(ticket);
        if outcome.is_err() {
            return check_wait_ended(entry, answered);
        }
        if call.operation == "observe" {
            let told: Option<Standing> = answered.reply()?;
            // In a transaction of several timers the election may have changed in between.
            let is_by_timer = entry.call.is_none() && entry.ended.is_empty();
            let now = election.state.standing();
            let is_right = told.as_ref() == Some(last) || (is_by_timer && told == Some(now));
            let is_new = observer.is_none_or(|observer| observer.since < election.changed);
            if is_right && is_new {
                return Ok(());
            }
            return Err(format!("{observer:?} is told {told:?}, and it is {last:?}"));
        }
        let Some(candidate) = candidate else {
            return Err(format!("{call:?} leads, and its session has ended"));
        };
        let named = match &entry.call {
            Some(call) if call.operation == "transfer" => Some(call.arguments::<Transfer>()?.to),
            _ => None,
        };
        let is_next = named.as_ref().map_or(first == Some(*ticket), |to| *to == candidate.name);
        if !is_next {
            return Err(format!("{candidate:?} leads out of turn, named is {named:?}"));
        }
        let won = answered.reply()?.unwrap_or(Term { term: 0 });
        election.state.lead((entry.zxid, entry.time_ms), candidate, won)
    }

    /// How the elections will stand after this entry: what observers are to be told.
    fn last_standing(&self, entry: &RecipeEntry<'_>, object: &str) -> Result<Standing> {
        let state = self.elections.get(object).map(|election| &election.state);
        let mut state = state.cloned().unwrap_or_default();
        for answered in &entry.answered {
            let is_here = answered.call.object == object && answered.call.operation == "campaign";
            if let Some(won) = answered.reply::<Term>().ok().flatten().filter(|_| is_here)
                && let Some(candidate) = state.line.remove(&answered.ticket)
            {
                state.leader = None;
                state.lead((Zxid(won.term), entry.time_ms), candidate, won)?;
            }
        }
        Ok(state.standing())
    }

    fn check_shown(&self, told: &Told<'_>) -> Result {
        let nothing = State::default();
        let election = self.elections.get(told.object);
        let state = election.and_then(|known| known.states.at(told.zxid)).unwrap_or(&nothing);
        let is_right = match told.operation {
            "leader" => told.reply()? == Some(state.standing()),
            "observe" => {
                let Observe { after, .. } = told.arguments()?;
                check_observed(after, &state.standing(), told.reply()?)?;
                true
            }
            "candidates" => {
                let page: Page = told.arguments()?;
                let limit = page.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX) as usize;
                let behind = |ticket: &TicketId| page.after.is_none_or(|after| ticket.0 > after);
                let place = |(ticket, candidate): (&TicketId, &Candidate)| Place {
                    place: ticket.0,
                    name: candidate.name.clone(),
                    session: candidate.session.0,
                };
                let line = state.line.iter().filter(|(ticket, _)| behind(ticket));
                let line: Vec<Place> = line.map(place).take(limit).collect();
                told.reply()? == Some(line)
            }
            _ => false,
        };
        if is_right {
            return Ok(());
        }
        Err(format!("shows {:?} at {}, there was {state:?}", told.outcome, told.zxid))
    }

    /// Whether a refusal was right at some time between the question and the answer.
    fn is_justified(&self, told: &Told<'_>, word: &str) -> Result<bool> {
        let config = &self.config;
        let nothing = State::default();
        let states: Vec<&State> = match self.elections.get(told.object) {
            None => vec![&nothing],
            Some(election) => {
                let states = election.states.within(told.from, told.zxid);
                states.map(|state| state.unwrap_or(&nothing)).collect()
            }
        };
        let was = |is_right: &dyn Fn(&State) -> bool| states.iter().any(|state| is_right(state));
        let detail: Option<Leader> = match told.outcome {
            Err(refusal) if !refusal.detail.is_empty() => {
                serde_cbor::from_slice(&refusal.detail).map_err(|error| error.to_string())?
            }
            _ => None,
        };
        let term = match told.operation {
            "campaign" => {
                let wanted: Campaign = told.arguments()?;
                let name = name_of(&wanted, told.session);
                let room = u64::from(config.observers_max) + 2 * u64::from(config.candidates_max);
                return Ok(match word {
                    "led" => {
                        wanted.wait_ms == Some(0)
                            && was(&|state| {
                                let is_led = state.leader.is_some() || !state.line.is_empty();
                                is_led && state.leader == detail
                            })
                    }
                    "already-candidate" => was(&|state| state.is_taken(&name)),
                    "bad-name" => is_bad_name(&name),
                    "value-too-large" => is_too_large(&wanted.value, config),
                    "line-full" => was(&|state| state.crowd() >= room),
                    _ => false,
                });
            }
            "observe" => {
                let Observe { after, wait_ms } = told.arguments()?;
                let is_seen = |state: &State| after == Some(state.standing().revision);
                return Ok(match word {
                    "unchanged" => wait_ms == Some(0) && was(&is_seen),
                    "observers-full" => was(&|state| {
                        is_seen(state) && state.crowd() >= u64::from(config.observers_max)
                    }),
                    _ => false,
                });
            }
            "proclaim" => {
                let Proclaim { term, value } = told.arguments()?;
                if word == "value-too-large" {
                    return Ok(is_too_large(&value, config));
                }
                term
            }
            "transfer" => {
                let Transfer { term, to } = told.arguments()?;
                if word == "no-candidate" {
                    return Ok(was(&|state| {
                        state.leads(told.session, term) && !state.is_in_line(&to)
                    }));
                }
                term
            }
            _ => told.arguments::<Term>()?.term,
        };
        let is_right = |state: &State| !state.leads(told.session, term) && state.leader == detail;
        Ok(word == "not-leader" && was(&is_right))
    }
}

/// What an observer is answered at once is how it stands, and news.
fn check_observed(after: Option<u64>, standing: &Standing, told: Option<Standing>) -> Result {
    if told.as_ref() == Some(standing) && after != Some(standing.revision) {
        return Ok(());
    }
    Err(format!("an observer of {after:?} is told {told:?}, and it is {standing:?}"))
}

impl Promises for ElectionPromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        let is_about =
            entry.call.is_some() || !entry.answered.is_empty() || !entry.ended.is_empty();
        self.judged += u64::from(is_about);
        let before: BTreeMap<String, Standing> = self
            .elections
            .iter()
            .map(|(name, election)| (name.clone(), election.state.standing()))
            .collect();
        for session in &entry.ended {
            self.elections.values_mut().for_each(|election| election.end_session(*session));
        }
        if let Some(call) = &entry.call {
            self.called(entry, call)?;
        }
        let objects: Vec<String> = self.elections.keys().cloned().collect();
        let nobody = Standing { revision: 0, leader: None };
        let mut last = BTreeMap::new();
        for object in &objects {
            let standing = self.last_standing(entry, object)?;
            let election = self.elections.entry(object.clone()).or_default();
            if before.get(object).unwrap_or(&nobody) != &standing {
                election.changed = entry.zxid;
            }
            last.insert(object.clone(), standing);
        }
        for answered in &entry.answered {
            let last = last.get(&answered.call.object).unwrap_or(&nobody);
            self.answered(entry, answered, last)?;
        }
        for (name, election) in &mut self.elections {
            let is_told = |answered: &&Answered| {
                let of = &answered.call;
                answered.outcome.is_ok() && of.operation == "observe" && of.object == *name
            };
            let told = entry.answered.iter().filter(is_told).count() as u32;
            if entry.call.is_some() && told > self.config.answered_max {
                return Err(format!("election {name}: one call answers {told}"));
            }
            let before = before.get(name).unwrap_or(&nobody);
            election
                .settle(&self.config, (entry.zxid, entry.time_ms), before, told)
                .map_err(|text| format!("election {name}: {text}"))?;
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
                let state = self.elections.get(told.object).map(|election| &election.state);
                let outcome = told.outcome;
                Err(format!("is told {outcome:?} and that was never right; now: {state:?}"))
            }
            None => self.check_shown(told),
        }
    }

    fn finish(&mut self, left: &[String]) -> Result {
        for (name, election) in &self.elections {
            let state = &election.state;
            let below = left.iter().filter(|path| path.split('/').next() == Some(name)).count();
            if state.leader.is_none() != (below == 0) {
                return Err(format!("election {name} has {below} znodes: {state:?}"));
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
            Config { candidates_max: 2, observers_max: 2, value_bytes_max: 4, answered_max: 1 };
        Said::to((TRIAL.promises)(&to_cbor(&config)))
    }

    fn named(name: &str) -> Campaign {
        Campaign { name: Some(name.into()), value: Value::Bytes(vec![]), wait_ms: None }
    }

    fn leader(name: &str, session: u64, term: u64) -> Standing {
        let value = Value::Bytes(vec![]);
        let (name, since_ms, revision) = (name.into(), 1_000, term);
        Standing {
            revision,
            leader: Some(Leader { name, session, term, revision, value, since_ms }),
        }
    }

    const CAMPAIGN: (&str, &str) = ("a", "campaign");
    const OBSERVE: (&str, &str) = ("a", "observe");
    const RESIGN: (&str, &str) = ("a", "resign");

    /// Session 1 leads.
    fn led() -> (Said, Term) {
        let mut said = said();
        let won = Term { term: said.next() };
        said.done(1, CAMPAIGN, &named("x"), &won, vec![]).unwrap();
        (said, won)
    }

    fn seen(revision: u64) -> Observe {
        Observe { after: Some(revision), wait_ms: None }
    }

    #[test]
    fn what_an_election_does_is_believed() {
        let (mut said, won) = led();
        let observer = said.parked(4, OBSERVE, &seen(won.term));
        let (_, third) =
            (said.parked(2, CAMPAIGN, &named("y")), said.parked(3, CAMPAIGN, &named("z")));
        let next = Term { term: said.next() };
        let standing = leader("z", 3, next.term);
        let to = Transfer { term: won.term, to: "z".into() };
        let answered = vec![answer(&third, &next), answer(&observer, &standing)];
        said.done(1, ("a", "transfer"), &to, &next, answered).unwrap();
        said.told(1, ("a", "leader"), &(), Ok(to_cbor(&standing).to_vec())).unwrap();
        said.event(&[2, 3], vec![]).unwrap();
        said.promises.finish(&[]).unwrap();
    }

    #[test]
    fn a_second_leader_and_a_term_that_is_old_are_found() {
        let (mut said, _) = led();
        let won = Term { term: said.next() };
        let text = said.done(2, CAMPAIGN, &named("y"), &won, vec![]).unwrap_err();
        assert!(text.contains("leads beside"), "{text}");
        let mut said = self::said();
        said.done(2, CAMPAIGN, &named("y"), &won, vec![]).unwrap_err();
    }

    #[test]
    fn who_passes_the_line_or_is_forgotten_in_it_is_found() {
        let (mut said, won) = led();
        said.parked(2, CAMPAIGN, &named("y"));
        let third = said.parked(3, CAMPAIGN, &named("z"));
        let next = Term { term: said.next() };
        let text = said.done(1, RESIGN, &won, &(), vec![answer(&third, &next)]).unwrap_err();
        assert!(text.contains("out of turn"), "{text}");
        let (mut said, _) = led();
        said.parked(2, CAMPAIGN, &named("y"));
        let text = said.event(&[1], vec![]).unwrap_err();
        assert!(text.contains("nobody leads"), "{text}");
    }

    #[test]
    fn an_observer_that_misses_a_change_or_hears_of_none_is_found() {
        let (mut said, won) = led();
        let observer = said.parked(4, OBSERVE, &seen(won.term));
        let nobody = Standing { revision: 0, leader: None };
        let early = said.event(&[], vec![answer(&observer, &leader("x", 1, won.term))]);
        early.unwrap_err();
        let (mut said, won) = led();
        said.parked(4, OBSERVE, &seen(won.term));
        let text = said.done(1, RESIGN, &won, &(), vec![]).unwrap_err();
        assert!(text.contains("are not told"), "{text}");
        let (mut said, won) = led();
        let observer = said.parked(4, OBSERVE, &seen(won.term));
        let candidate = said.parked(2, CAMPAIGN, &named("y"));
        let next = Term { term: said.next() };
        let answered = vec![answer(&observer, &nobody), answer(&candidate, &next)];
        let text = said.done(1, RESIGN, &won, &(), answered).unwrap_err();
        assert!(text.contains("is told"), "{text}");
        let (mut said, won) = led();
        let stale = leader("x", 1, won.term);
        said.done(5, OBSERVE, &seen(won.term), &stale, vec![]).unwrap_err();
    }

    #[test]
    fn observers_of_an_ending_session_are_work_as_those_that_are_told() {
        let (mut said, won) = led();
        said.parked(1, OBSERVE, &seen(won.term));
        said.parked(4, OBSERVE, &seen(won.term));
        said.event(&[1], vec![]).unwrap();
        let (mut said, won) = led();
        said.parked(4, OBSERVE, &seen(won.term));
        said.event(&[1], vec![]).unwrap_err();
    }

    #[test]
    fn refusals_that_were_never_right_are_found() {
        let (mut said, won) = led();
        let tries = Campaign { wait_ms: Some(0), ..named("y") };
        said.told(2, CAMPAIGN, &tries, Err("already-candidate")).unwrap_err();
        said.told(2, CAMPAIGN, &tries, Err("line-full")).unwrap_err();
        said.told(1, RESIGN, &won, Err("not-leader")).unwrap_err();
        said.told(2, OBSERVE, &seen(won.term), Err("observers-full")).unwrap_err();
        let to = Transfer { term: won.term, to: "y".into() };
        said.told(1, ("a", "transfer"), &to, Err("no-candidate")).unwrap();
        said.told(2, ("a", "candidates"), &Page::default(), Err("led")).unwrap_err();
        said.promises.finish(&[]).unwrap_err();
    }
}
