//! The double barrier (plugins/double-barrier/README.md): in together, out together, broken for all.
//!
//! Comes in: clients' turns, and the log in callers' words. Goes out: members that enter and leave,
//! and resets; the first promise broken. Invariant: nothing here happens by a timer of the recipe, so
//! after every entry the round is known exactly. A round's number is the zxid of its first `enter`,
//! a member's that of its own.

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
use quorate_types::{SessionId, TicketId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const TRIAL: Trial = Trial {
    name: "double-barrier",
    config: draw_config,
    work: |_| Box::<DoubleBarrierWork>::default(),
    promises: |config| Box::new(DoubleBarrierPromises::new(config)),
};

/// With the parties that most of their members ask for.
const BARRIERS: [(&str, u32); 2] = [("a", 2), ("b", 3)];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    parties_max: u32,
    resets_itself: bool,
}

fn draw_config(choices: &mut Choices, _: &Plan) -> Bytes {
    to_cbor(&Config {
        parties_max: [3, 256][choices.below(2) as usize],
        resets_itself: choices.one_in(2),
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct Enter {
    parties: u32,
    wait_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entered {
    generation: u64,
    member: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Leave {
    member: u64,
    wait_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Generation {
    generation: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reset {
    generation: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    Gathering,
    Inside,
    Broken,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Round {
    generation: u64,
    parties: u32,
    phase: Phase,
    entered: u32,
    left: u32,
    broken: Option<String>,
}

impl Round {
    /// All but the words that say why it broke, and whether there are any.
    fn facts(&self) -> (u64, u32, Phase, u32, u32, bool) {
        let Round { generation, parties, phase, entered, left, .. } = *self;
        (generation, parties, phase, entered, left, self.broken.is_some())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    member: u64,
    session: SessionId,
    identity: String,
    has_left: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    round: Option<Round>,
    members: Vec<Member>,
}

impl State {
    fn is(&self, phase: Phase) -> bool {
        self.round.as_ref().is_some_and(|round| round.phase == phase)
    }

    /// Whether the session is inside under this number and has not left.
    fn has_inside(&self, session: SessionId, number: u64) -> bool {
        let is_it = |member: &Member| {
            (member.session, member.member, member.has_left) == (session, number, false)
        };
        self.is(Phase::Inside) && self.members.iter().any(is_it)
    }

    fn shows(&self, round: Option<&Round>) -> bool {
        self.round.as_ref().map(Round::facts) == round.map(Round::facts)
    }
}

/// What one client does.
#[derive(Default)]
struct DoubleBarrierWork {
    /// Places it has inside, with the time at which it leaves.
    inside: Vec<(&'static str, Entered, u64)>,
    /// A place that it had.
    stale: Option<Entered>,
}

impl DoubleBarrierWork {
    fn ask_enter(turn: &mut Turn<'_>, (barrier, usual): (&str, u32)) {
        let wait_ms = turn.draw_wait_ms();
        let choices = turn.choices();
        let parties =
            if choices.one_in(12) { [0, 1, 4, 300][choices.below(4) as usize] } else { usual };
        turn.call(barrier, "enter", &Enter { parties, wait_ms });
    }

    fn ask_reset(&self, turn: &mut Turn<'_>, barrier: &str) {
        let stale = self.stale.map(|place| place.generation);
        let generation = stale.filter(|_| turn.choices().one_in(2));
        turn.call(barrier, "reset", &Reset { generation });
    }

    fn hold(&mut self, turn: &mut Turn<'_>, barrier: &'static str, place: Entered) {
        let span_ms = turn.pause_ms() * 6 + 1;
        let until_ms = turn.now_ms() + turn.choices().below(span_ms);
        self.inside.push((barrier, place, until_ms));
    }
}

impl Work for DoubleBarrierWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let (barrier, usual) = BARRIERS[turn.choices().below(2) as usize];
        match turn.choices().below(16) {
            0..=10 => DoubleBarrierWork::ask_enter(turn, (barrier, usual)),
            11 => {
                let (wait_ms, any) = (turn.draw_wait_ms(), turn.choices().below(200));
                let member = self.stale.map_or(any, |place| place.member);
                turn.call(barrier, "leave", &Leave { member, wait_ms });
            }
            12 | 13 => drop(turn.query(barrier, "state", Bytes::new())),
            14 => self.ask_reset(turn, barrier),
            _ => turn.abandon_any(),
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let known = BARRIERS.into_iter().find(|(barrier, _)| *barrier == ended.object);
        let Some((barrier, _)) = known else { return };
        let word = ended.refusal().map(word_of);
        match (ended.operation, word) {
            ("enter", None) => {
                if let Some(place) = ended.reply::<Entered>() {
                    self.hold(turn, barrier, place);
                }
            }
            // Who could not wait leaves later.
            ("leave", Some("incomplete")) => {
                if let Ok(Leave { member, .. }) = serde_cbor::from_slice(ended.arguments) {
                    self.hold(turn, barrier, Entered { generation: 0, member });
                }
            }
            ("enter" | "leave", Some("broken")) if turn.choices().one_in(2) => {
                let round = ended.refusal().map(|refusal| &refusal.detail[..]);
                let round = round.and_then(|detail| serde_cbor::from_slice::<Round>(detail).ok());
                let generation = round.map(|round| round.generation);
                turn.call(barrier, "reset", &Reset { generation });
            }
            _ => {}
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        let now_ms = turn.now_ms();
        for (barrier, place, until_ms) in std::mem::take(&mut self.inside) {
            if eager && until_ms > now_ms {
                self.inside.push((barrier, place, until_ms));
                continue;
            }
            self.stale = Some(place);
            // Sometimes it forgets to leave.
            if !eager || !turn.choices().one_in(12) {
                let wait_ms = if eager { turn.draw_wait_ms() } else { None };
                turn.call(barrier, "leave", &Leave { member: place.member, wait_ms });
            }
        }
        if !eager && turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {
        self.inside.clear();
    }

    fn is_at_rest(&self) -> bool {
        self.inside.is_empty()
    }
}

/// One double barrier as its callers know it.
#[derive(Debug, Default)]
struct Barrier {
    state: State,
    /// Who waits: members by their numbers.
    waits: Waits<u64>,
    states: Timeline<State>,
}

impl Barrier {
    /// The round is broken: nobody is in it any more, and nobody waits.
    fn break_up(&mut self, resets_itself: bool) {
        self.state.members.clear();
        match &mut self.state.round {
            Some(round) if !resets_itself => {
                round.phase = Phase::Broken;
                round.broken = Some(String::new());
            }
            round => *round = None,
        }
    }

    fn enter(
        &mut self,
        entry: &RecipeEntry<'_>,
        call: &LoggedCall<'_>,
        identity: String,
        parties_max: u32,
    ) -> Result {
        let Enter { parties, wait_ms } = call.arguments()?;
        let number = entry.zxid.0;
        let round = self.state.round.get_or_insert(Round {
            generation: number,
            parties,
            phase: Phase::Gathering,
            entered: 0,
            left: 0,
            broken: None,
        });
        if (round.phase, round.parties) != (Phase::Gathering, parties) || parties > parties_max {
            return Err(format!("one enters for {parties} parties: {round:?}"));
        }
        round.entered += 1;
        let (generation, is_last) = (round.generation, round.entered == parties);
        if is_last {
            round.phase = Phase::Inside;
        }
        let session = call.name.0;
        let member = Member { member: number, session, identity, has_left: false };
        self.state.members.push(member);
        match call.reply::<Entered>()? {
            Some(told) if is_last && told == (Entered { generation, member: number }) => Ok(()),
            None if !is_last => self.waits.begin(entry.time_ms, call, (wait_ms, u64::MAX), number),
            told => Err(format!("one enters and is told {told:?}: {:?}", self.state)),
        }
    }

    fn leave(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let Leave { member: number, wait_ms } = call.arguments()?;
        if !self.state.has_inside(call.name.0, number) {
            return Err(format!("{number} leaves and is not inside: {:?}", self.state));
        }
        let round = self.state.round.as_mut().expect("somebody is inside");
        round.left += 1;
        let (generation, is_last) = (round.generation, round.left == round.parties);
        let member = self.state.members.iter_mut().find(|member| member.member == number);
        member.expect("it is inside").has_left = true;
        match call.reply::<Generation>()? {
            Some(told) if is_last && told == (Generation { generation }) => {
                self.state = State::default();
                Ok(())
            }
            None if !is_last => self.waits.begin(entry.time_ms, call, (wait_ms, u64::MAX), number),
            told => Err(format!("one leaves and is told {told:?}: {:?}", self.state)),
        }
    }

    /// A member hears that all are in, or all are out: which is so in this very entry.
    fn told(&mut self, answered: &Answered, finished: Option<u64>) -> Result {
        let member = self.waits.end(answered.ticket)?;
        if answered.call.operation == "leave" {
            let told = answered.reply::<Generation>()?.map(|told| told.generation);
            if told.is_some() && told == finished {
                return Ok(());
            }
            return Err(format!("{member} is told that all are out of {told:?}: {finished:?}"));
        }
        let told: Option<Entered> = answered.reply()?;
        let round = self.state.round.as_ref().filter(|round| round.phase == Phase::Inside);
        let right = round.map(|round| Entered { generation: round.generation, member });
        if told.is_some() && told == right {
            return Ok(());
        }
        Err(format!("{member} is told that all are in: {told:?}, and it is {:?}", self.state))
    }

    /// Who may still wait: members that gather, and those that have left while others are inside.
    fn check_waits(&self) -> Result {
        let waits_for: Vec<u64> = self.waits.iter().map(|(_, member)| *member).collect();
        let is_waiting = |member: &&Member| self.state.is(Phase::Gathering) || member.has_left;
        let mut waiting: Vec<u64> =
            self.state.members.iter().filter(is_waiting).map(|member| member.member).collect();
        let mut known = waits_for.clone();
        known.sort_unstable();
        waiting.sort_unstable();
        if known == waiting {
            return Ok(());
        }
        Err(format!("{known:?} wait, and should do: {waiting:?} of {:?}", self.state))
    }
}

struct DoubleBarrierPromises {
    config: Config,
    barriers: BTreeMap<String, Barrier>,
    identities: Identities,
    judged: u64,
}

impl DoubleBarrierPromises {
    fn new(config: &[u8]) -> DoubleBarrierPromises {
        DoubleBarrierPromises {
            config: serde_cbor::from_slice(config).expect("the trial drew it"),
            barriers: BTreeMap::new(),
            identities: Identities::default(),
            judged: 0,
        }
    }

    /// Sessions and waits that end: a member that is missed breaks the round for all.
    fn lose(&mut self, entry: &RecipeEntry<'_>) -> Result {
        let Config { resets_itself, .. } = self.config;
        for (name, barrier) in &mut self.barriers {
            let has_ended = |member: &Member| entry.ended.contains(&member.session);
            let members = &barrier.state.members;
            let mut breaks = members.iter().any(|member| has_ended(member) && !member.has_left);
            let of_it = || entry.answered.iter().filter(|answered| answered.call.object == *name);
            for answered in of_it() {
                let Err(refusal) = &answered.outcome else { continue };
                let word = word_of(refusal);
                if word != "broken" {
                    check_wait_ended(entry, answered)?;
                    breaks |= word != "session-expired";
                    barrier.waits.end(answered.ticket)?;
                }
            }
            let is_reset =
                |call: &LoggedCall<'_>| (call.object, call.operation) == (name.as_str(), "reset");
            breaks |= entry.call.as_ref().is_some_and(is_reset);
            let told: Vec<TicketId> =
                of_it().filter(|answered| is_broken(answered)).map(|one| one.ticket).collect();
            if !breaks && !told.is_empty() {
                return Err(format!("nothing broke {name}, and {told:?} are told so"));
            }
            for ticket in told {
                barrier.waits.end(ticket)?;
            }
            barrier.state.members.retain(|member| !entry.ended.contains(&member.session));
            if breaks {
                barrier.break_up(resets_itself);
                barrier.check_waits().map_err(|text| format!("{name} broke: {text}"))?;
            }
        }
        Ok(())
    }

    fn called(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let identity = self.identities.of(call.name.0);
        let barrier = self.barriers.entry(call.object.into()).or_default();
        match call.operation {
            "enter" => barrier.enter(entry, call, identity, self.config.parties_max),
            "leave" => barrier.leave(entry, call),
            "reset" => {
                let wanted = call.arguments::<Reset>()?.generation;
                let before = barrier.states.at(entry.zxid).and_then(|state| state.round.as_ref());
                if before.is_some_and(|round| wanted.is_some_and(|it| it != round.generation)) {
                    return Err(format!("a reset of {wanted:?} ends {before:?}"));
                }
                barrier.state = State::default();
                Ok(())
            }
            other => Err(format!("the double barrier has no command {other}")),
        }
    }
}

fn is_broken(answered: &Answered) -> bool {
    answered.outcome.as_ref().is_err_and(|refusal| word_of(refusal) == "broken")
}

impl Promises for DoubleBarrierPromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        self.identities.note(entry);
        if entry.call.is_none() && entry.answered.is_empty() && entry.ended.is_empty() {
            return Ok(());
        }
        self.judged += 1;
        self.lose(entry)?;
        let mut finished = None;
        if let Some(call) = &entry.call {
            self.called(entry, call)?;
            if call.operation == "leave" {
                finished = call.reply::<Generation>()?.map(|told| told.generation);
            }
        }
        for answered in entry.answered.iter().filter(|answered| answered.outcome.is_ok()) {
            let barrier = self.barriers.entry(answered.call.object.clone()).or_default();
            barrier.told(answered, finished)?;
        }
        for (name, barrier) in &mut self.barriers {
            barrier.check_waits().map_err(|text| format!("{name}: {text}"))?;
            barrier.waits.check_overdue(entry, |_, _| false)?;
            barrier.states.note(entry.zxid, barrier.state.clone());
        }
        Ok(())
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        let Config { parties_max, .. } = self.config;
        let barrier = self.barriers.entry(told.object.into()).or_default();
        let within = barrier.states.within(told.from, told.zxid);
        let states: Vec<State> = within.map(|state| state.cloned().unwrap_or_default()).collect();
        let any = |is_right: &dyn Fn(&State) -> bool| states.iter().any(is_right);
        let is_right = match (told.operation, told.refusal()) {
            ("enter" | "leave", Some("broken")) => {
                let round: Round = told.detail()?;
                any(&|state| state.is(Phase::Broken) && state.shows(Some(&round)))
            }
            ("enter", Some("full")) => {
                let round: Round = told.detail()?;
                any(&|state| state.is(Phase::Inside) && state.shows(Some(&round)))
            }
            ("enter", Some("other-parties")) => {
                let (round, wanted): (Round, Enter) = (told.detail()?, told.arguments()?);
                any(&|state| state.is(Phase::Gathering) && state.shows(Some(&round)))
                    && round.parties != wanted.parties
            }
            ("enter", Some("bad-parties")) => {
                let parties = told.arguments::<Enter>()?.parties;
                any(&|state| state.round.is_none()) && (parties == 0 || parties > parties_max)
            }
            ("enter", Some("incomplete")) => {
                let (round, wanted): (Option<Round>, Enter) = (told.detail()?, told.arguments()?);
                let entered = round.as_ref().map_or(0, |round| round.entered);
                let is_short = wanted.wait_ms == Some(0) && entered + 1 < wanted.parties;
                is_short && any(&|state| !state.is(Phase::Inside) && state.shows(round.as_ref()))
            }
            ("leave", Some("incomplete")) => {
                let (round, wanted): (Option<Round>, Leave) = (told.detail()?, told.arguments()?);
                let is_short = |round: &Round| round.left + 1 < round.parties;
                let is_meant = |state: &State| {
                    state.has_inside(told.session, wanted.member) && state.shows(round.as_ref())
                };
                wanted.wait_ms == Some(0) && round.as_ref().is_some_and(is_short) && any(&is_meant)
            }
            ("leave", Some("not-a-member")) => {
                let (round, wanted): (Option<Round>, Leave) = (told.detail()?, told.arguments()?);
                any(&|state| {
                    !state.has_inside(told.session, wanted.member) && state.shows(round.as_ref())
                })
            }
            ("reset", Some("other-generation")) => {
                let (round, wanted): (Round, Reset) = (told.detail()?, told.arguments()?);
                let is_other = wanted.generation.is_some_and(|wanted| wanted != round.generation);
                is_other && any(&|state| state.shows(Some(&round)))
            }
            ("state", None) => {
                let Some(shown) = told.reply::<State>()? else { return Ok(()) };
                let known = barrier.states.at(told.zxid).cloned().unwrap_or_default();
                if !known.shows(shown.round.as_ref()) || known.members != shown.members {
                    return Err(format!("shows {shown:?} at {}, it is {known:?}", told.zxid));
                }
                true
            }
            _ => false,
        };
        if is_right {
            return Ok(());
        }
        Err(format!("is told {:?}, it was {states:?}", told.outcome))
    }

    fn finish(&mut self, left: &[String]) -> Result {
        for (name, barrier) in &self.barriers {
            let below = left.iter().filter(|path| path.split('/').next() == Some(name)).count();
            let State { round, members } = &barrier.state;
            // The object, its round, and members whose sessions live.
            let right = if round.is_some() { 2 + members.len() } else { 0 };
            if below != right {
                return Err(format!("{:?}, and of {name} are left {left:?}", barrier.state));
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
    use super::super::Parked;
    use super::super::said::{Said, answer, end};
    use super::*;
    use quorate_types::ErrorCode;

    fn said() -> Said {
        let config = Config { parties_max: 3, resets_itself: false };
        Said::to((TRIAL.promises)(&to_cbor(&config)))
    }

    const ENTER: (&str, &str) = ("a", "enter");
    const LEAVE: (&str, &str) = ("a", "leave");
    const RESET: (&str, &str) = ("a", "reset");

    fn enter(parties: u32) -> Enter {
        Enter { parties, wait_ms: None }
    }

    fn leave(member: u64) -> Leave {
        Leave { member, wait_ms: None }
    }

    fn broken(parked: &(Parked, TicketId)) -> Answered {
        let mut broken = end(parked, ErrorCode::RecipeRefused);
        if let Err(refusal) = &mut broken.outcome {
            refusal.recipe_code = Some("broken".into());
        }
        broken
    }

    /// Sessions 1 and 2 are inside as members 11 and 12 of round 11.
    fn inside(said: &mut Said) -> Result {
        let waits = said.parked(1, ENTER, &enter(2));
        let first = answer(&waits, &Entered { generation: 11, member: 11 });
        let second = Entered { generation: 11, member: 12 };
        said.done(2, ENTER, &enter(2), &second, vec![first])
    }

    #[test]
    fn what_a_double_barrier_does_is_believed() {
        let mut said = said();
        inside(&mut said).unwrap();
        let waits = said.parked(1, LEAVE, &leave(11));
        let all_out = Generation { generation: 11 };
        said.done(2, LEAVE, &leave(12), &all_out, vec![answer(&waits, &all_out)]).unwrap();
        let waits = said.parked(1, ENTER, &enter(3));
        let late = said.parked(2, ENTER, &enter(3));
        said.event(&[2], vec![broken(&waits), end(&late, ErrorCode::SessionExpired)]).unwrap();
        said.promises.finish(&["a".into(), "a/round".into()]).unwrap();
        said.done(1, RESET, &Reset { generation: None }, &(), vec![]).unwrap();
        said.promises.finish(&[]).unwrap();
    }

    #[test]
    fn who_is_in_or_out_before_the_others_is_found() {
        let mut early = said();
        let waits = early.parked(1, ENTER, &enter(3));
        let told = answer(&waits, &Entered { generation: 11, member: 11 });
        let second = Entered { generation: 11, member: 12 };
        early.done(2, ENTER, &enter(3), &second, vec![told]).unwrap_err();

        let mut alone = said();
        alone.parked(1, ENTER, &enter(2));
        let second = Entered { generation: 11, member: 12 };
        let text = alone.done(2, ENTER, &enter(2), &second, vec![]).unwrap_err();
        assert!(text.contains("[11] wait, and should do: []"), "{text}");

        let mut out = said();
        inside(&mut out).unwrap();
        let all_out = Generation { generation: 11 };
        out.done(1, LEAVE, &leave(11), &all_out, vec![]).unwrap_err();

        let mut pushed = said();
        inside(&mut pushed).unwrap();
        let waits = pushed.parked(2, LEAVE, &leave(12));
        pushed.event(&[], vec![answer(&waits, &all_out)]).unwrap_err();
    }

    #[test]
    fn one_more_than_the_parties_or_of_another_round_is_found() {
        let mut said = said();
        inside(&mut said).unwrap();
        let third = Entered { generation: 11, member: 13 };
        said.done(3, ENTER, &enter(2), &third, vec![]).unwrap_err();

        let mut stale = super::tests::said();
        inside(&mut stale).unwrap();
        stale.done(3, RESET, &Reset { generation: None }, &(), vec![]).unwrap();
        stale.parked(1, ENTER, &enter(2));
        let all_out = Generation { generation: 11 };
        stale.done(2, LEAVE, &leave(12), &all_out, vec![]).unwrap_err();
    }

    #[test]
    fn a_round_that_does_not_break_for_all_is_found() {
        let mut said = said();
        let waits = said.parked(1, ENTER, &enter(3));
        said.parked(2, ENTER, &enter(3));
        let text = said.event(&[], vec![end(&waits, ErrorCode::Cancelled)]).unwrap_err();
        assert!(text.contains("a broke: [12] wait"), "{text}");

        let mut unbroken = super::tests::said();
        let waits = unbroken.parked(1, ENTER, &enter(3));
        let text = unbroken.event(&[], vec![broken(&waits)]).unwrap_err();
        assert!(text.contains("nothing broke a"), "{text}");

        let mut missed = super::tests::said();
        inside(&mut missed).unwrap();
        missed.event(&[1], vec![]).unwrap();
        let all_out = Generation { generation: 11 };
        missed.done(2, LEAVE, &leave(12), &all_out, vec![]).unwrap_err();
    }

    #[test]
    fn a_broken_round_that_begins_anew_by_itself_is_found() {
        let mut said = said();
        let waits = said.parked(1, ENTER, &enter(3));
        said.event(&[], vec![end(&waits, ErrorCode::Cancelled)]).unwrap();
        said.promises.finish(&[]).unwrap_err();
        let alone = Entered { generation: said.next(), member: said.next() };
        said.done(2, ENTER, &enter(1), &alone, vec![]).unwrap_err();
    }

    #[test]
    fn refusals_and_states_that_were_never_right_are_found() {
        let mut said = said();
        inside(&mut said).unwrap();
        let round = |phase, left| {
            let (generation, parties, entered) = (11, 2, 2);
            to_cbor(&Round { generation, parties, phase, entered, left, broken: None })
        };
        let (inside, gathering) = (round(Phase::Inside, 0), round(Phase::Gathering, 0));
        said.told_with(3, ENTER, &enter(2), Err("full"), inside.clone()).unwrap();
        said.told_with(3, ENTER, &enter(2), Err("full"), gathering.clone()).unwrap_err();
        said.told_with(3, ENTER, &enter(2), Err("broken"), inside.clone()).unwrap_err();
        said.told_with(3, ENTER, &enter(3), Err("other-parties"), gathering).unwrap_err();
        said.told_with(3, LEAVE, &leave(11), Err("not-a-member"), inside.clone()).unwrap();
        said.told_with(1, LEAVE, &leave(11), Err("not-a-member"), inside.clone()).unwrap_err();
        let at_once = Leave { member: 11, wait_ms: Some(0) };
        said.told_with(1, LEAVE, &at_once, Err("incomplete"), inside.clone()).unwrap();
        let counted = round(Phase::Inside, 1);
        said.told_with(1, LEAVE, &at_once, Err("incomplete"), counted).unwrap_err();
        let reset = Reset { generation: Some(11) };
        said.told_with(1, RESET, &reset, Err("other-generation"), inside).unwrap_err();
        let nobody = Ok(to_cbor(&State::default()).to_vec());
        said.told(1, ("a", "state"), &(), nobody).unwrap_err();
    }
}
