//! The assignment (plugins/assignment/README.md): in one hand, cooperative, sticky, fenced.
//!
//! Comes in: clients' turns, and the log in callers' words. Goes out: members that join, wait,
//! acknowledge and leave; the first promise broken. Who gets what is the recipe's affair: judged is
//! whether all that members were told fits together. Invariant: whatever a member is known to have it
//! has until it acknowledged, left, or its session ended, all of which the log tells.

mod holdings;
mod work;

use super::record::word_of;
use super::waits::{Waits, check_wait_ended};
use super::{
    Answered, Identities, LoggedCall, Promises, RecipeEntry, Result, Timeline, Told, Trial,
};
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use holdings::{Event, Holdings};
use quorate_faulty_disk::Choices;
use quorate_types::{SessionId, TicketId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub const TRIAL: Trial = Trial {
    name: "assignment",
    config: draw_config,
    work: |_| Box::<work::AssignmentWork>::default(),
    promises: |config| Box::new(AssignmentPromises::new(config)),
};

const OBJECTS: [&str; 2] = ["a", "b"];
const NAME_BYTES_MAX: usize = 64;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    members_max: usize,
    partitions_max: usize,
}

fn draw_config(choices: &mut Choices, _: &Plan) -> Bytes {
    to_cbor(&Config {
        members_max: [3, 64][choices.below(2) as usize],
        partitions_max: [8, 160][choices.below(2) as usize],
    })
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Partitions {
    Count(u32),
    Names(BTreeSet<String>),
}

impl Partitions {
    fn names(self) -> BTreeSet<String> {
        match self {
            Partitions::Count(count) => (0..count).map(|number| number.to_string()).collect(),
            Partitions::Names(names) => names,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Define {
    partitions: Partitions,
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberName {
    name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Assignment {
    generation: u64,
    granted: BTreeMap<String, u64>,
    revoking: BTreeSet<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Acknowledge {
    name: String,
    generation: u64,
    partitions: BTreeSet<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AwaitAssignment {
    name: String,
    after: u64,
    wait_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    name: String,
    session: SessionId,
    identity: String,
    assignment: Assignment,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Assignments {
    generation: u64,
    members: Vec<Share>,
    free: BTreeSet<String>,
}

fn is_bad_name(name: &str) -> bool {
    name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('/')
}

/// Who is there, and what is dealt out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// Session and number of each member, by name.
    members: BTreeMap<String, (SessionId, u64)>,
    partitions: BTreeSet<String>,
    /// The last transaction that dealt out.
    dealt: u64,
}

impl State {
    /// The number of the session's member.
    fn own(&self, name: &str, session: SessionId) -> Option<u64> {
        self.members.get(name).filter(|(of, _)| *of == session).map(|(_, member)| *member)
    }
}

/// One object as its callers know it.
#[derive(Debug, Default)]
struct Object {
    state: State,
    states: Timeline<State>,
    /// Who waits: a member by its number, and the generation that it knows.
    waits: Waits<(u64, u64)>,
    holdings: Holdings,
}

impl Object {
    fn deal(&mut self, zxid: u64, event: Event) {
        self.state.dealt = zxid;
        self.holdings.happens(zxid, event);
    }

    /// A member is gone.
    fn take_out(&mut self, zxid: u64, name: &str) {
        if let Some((_, member)) = self.state.members.remove(name) {
            self.holdings.goes(member, zxid);
            self.deal(zxid, Event::Leave);
        }
    }

    fn own(&self, name: &str, session: SessionId) -> Result<u64> {
        let own = self.state.own(name, session);
        own.ok_or_else(|| format!("session {session} has no member {name}: {:?}", self.state))
    }

    fn waiting(&self, member: u64) -> Option<TicketId> {
        self.waits.iter().find(|(_, (of, _))| *of == member).map(|(ticket, _)| ticket)
    }

    /// A member gives up partitions; who waits for it is answered in the same transaction.
    fn acknowledge(&mut self, zxid: u64, call: &LoggedCall<'_>) -> Result {
        let given_up: Acknowledge = call.arguments()?;
        let member = self.own(&given_up.name, call.name.0)?;
        let told: Assignment = call.reply()?.unwrap_or_default();
        self.holdings.check_given_up(member, &given_up)?;
        if given_up.partitions.is_empty() {
            return self.learn(member, &told, zxid);
        }
        self.holdings.gives_up(member, &given_up.partitions, zxid);
        self.deal(zxid, Event::Acknowledge);
        check_generation(Some(told.generation), zxid)?;
        self.holdings.learn(member, &told, zxid)
    }

    /// What a member has at this time. Who waits for it would have been told of it.
    fn learn(&mut self, member: u64, assignment: &Assignment, at: u64) -> Result {
        self.holdings.learn(member, assignment, at)?;
        let generation = assignment.generation;
        match self.waits.iter().find(|(_, (of, knows))| *of == member && *knows < generation) {
            None => Ok(()),
            Some((ticket, _)) => {
                Err(format!("{ticket:?} waits, and what it waits for changed at {generation}"))
            }
        }
    }
}

struct AssignmentPromises {
    config: Config,
    objects: BTreeMap<String, Object>,
    identities: Identities,
    judged: u64,
}

impl AssignmentPromises {
    fn new(config: &[u8]) -> AssignmentPromises {
        AssignmentPromises {
            config: serde_cbor::from_slice(config).expect("the trial drew it"),
            objects: BTreeMap::new(),
            identities: Identities::default(),
            judged: 0,
        }
    }

    fn called(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let (zxid, session) = (entry.zxid.0, call.name.0);
        let Config { members_max, partitions_max } = self.config;
        let object = self.objects.entry(call.object.into()).or_default();
        match (call.operation, call.reply.is_ok()) {
            ("define", true) => {
                let partitions = call.arguments::<Define>()?.partitions.names();
                if partitions.len() > partitions_max {
                    return Err(format!("there are {} partitions", partitions.len()));
                }
                object.state.partitions = partitions;
                object.deal(zxid, Event::Define);
                check_generation(call.reply()?, zxid)
            }
            ("join", true) => {
                let MemberName { name } = call.arguments()?;
                let told: Assignment = call.reply()?.unwrap_or_default();
                let before = object.state.members.insert(name.clone(), (session, zxid));
                if before.is_some() || is_bad_name(&name) {
                    return Err(format!("{name} joins after {before:?}"));
                }
                if object.state.members.len() > members_max {
                    return Err(format!("one more joins: {:?}", object.state.members));
                }
                object.holdings.comes(zxid);
                object.deal(zxid, Event::Join);
                let is_fresh = told.granted.values().all(|fence| *fence == zxid);
                if told.generation != zxid || !told.revoking.is_empty() || !is_fresh {
                    return Err(format!("who joins at {zxid} is told {told:?}"));
                }
                object.learn(zxid, &told, zxid)
            }
            ("leave", true) => {
                let MemberName { name } = call.arguments()?;
                object.own(&name, session)?;
                object.take_out(zxid, &name);
                check_generation(call.reply()?, zxid)
            }
            ("acknowledge", true) => object.acknowledge(zxid, call),
            ("await-assignment", true) => {
                let wanted: AwaitAssignment = call.arguments()?;
                let member = object.own(&wanted.name, session)?;
                let told: Assignment = call.reply()?.unwrap_or_default();
                if told.generation == wanted.after {
                    return Err(format!("had to wait and is told {told:?}"));
                }
                object.learn(member, &told, zxid)
            }
            ("await-assignment", false) => {
                let AwaitAssignment { name, after, wait_ms } = call.arguments()?;
                let member = object.own(&name, session)?;
                object.holdings.check_unchanged(member, after, zxid)?;
                if let Some(waiting) = object.waiting(member) {
                    return Err(format!("{waiting:?} is not replaced"));
                }
                object.waits.begin(entry.time_ms, call, (wait_ms, u64::MAX), (member, after))
            }
            (other, _) => Err(format!("the assignment has no such command {other}")),
        }
    }

    /// Waits that end without an assignment.
    fn wait_ended(&mut self, entry: &RecipeEntry<'_>, answered: &Answered, word: &str) -> Result {
        let Answered { ticket, call, .. } = answered;
        let object = self.objects.entry(call.object.clone()).or_default();
        let (member, _) = object.waits.end(*ticket)?;
        let by = entry.call.as_ref().filter(|by| by.object == call.object);
        let name = match (word, by.map(|by| (by, by.operation))) {
            ("replaced", Some((by, "await-assignment"))) => by.arguments::<AwaitAssignment>()?.name,
            ("not-member", Some((by, "leave"))) => by.arguments::<MemberName>()?.name,
            _ => return check_wait_ended(entry, answered),
        };
        let session = by.map_or(SessionId(0), |by| by.name.0);
        if object.state.own(&name, session) == Some(member) {
            return Ok(());
        }
        Err(format!("the wait of member {member} ends {word} by a call for {name}"))
    }

    /// Members that wait are pushed what they have since this transaction.
    fn pushed(&mut self, entry: &RecipeEntry<'_>, answered: &Answered) -> Result {
        let object = self.objects.entry(answered.call.object.clone()).or_default();
        let (member, after) = object.waits.end(answered.ticket)?;
        let told: Assignment = answered.reply()?.unwrap_or_default();
        check_generation(Some(told.generation), entry.zxid.0)?;
        if object.holdings.known(member, after).is_some_and(|before| {
            (&before.granted, &before.revoking) == (&told.granted, &told.revoking)
        }) {
            return Err(format!("member {member} is woken and nothing changed for it: {told:?}"));
        }
        object.learn(member, &told, entry.zxid.0)
    }

    fn show(&mut self, told: &Told<'_>) -> Result {
        let Some(shown) = told.reply::<Assignments>()? else { return Ok(()) };
        let object = self.objects.entry(told.object.into()).or_default();
        let state = object.states.at(told.zxid).cloned().unwrap_or_default();
        let identities = &self.identities;
        let there: Vec<(&str, SessionId, String)> = state
            .members
            .iter()
            .map(|(name, (session, _))| (name.as_str(), *session, identities.of(*session)))
            .collect();
        let told_there: Vec<(&str, SessionId, String)> = shown
            .members
            .iter()
            .map(|share| (share.name.as_str(), share.session, share.identity.clone()))
            .collect();
        let is_empty = state.members.is_empty() && state.partitions.is_empty();
        let generation = if is_empty { 0 } else { state.dealt };
        if there != told_there || shown.generation != generation {
            return Err(format!("shows {shown:?}, there is {state:?}"));
        }
        let mut hands = BTreeMap::new();
        for Share { name, assignment, .. } in shown.members {
            let (_, member) = state.members[&name];
            object.learn(member, &assignment, told.zxid.0)?;
            hands.insert(member, assignment);
        }
        object.holdings.check_whole(state.dealt, &state.partitions, hands, &shown.free)
    }
}

fn check_generation(told: Option<u64>, zxid: u64) -> Result {
    if told == Some(zxid) {
        return Ok(());
    }
    Err(format!("a change at {zxid} has generation {told:?}"))
}

impl Promises for AssignmentPromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        self.identities.note(entry);
        if entry.call.is_none() && entry.answered.is_empty() && entry.ended.is_empty() {
            return Ok(());
        }
        self.judged += 1;
        for answered in &entry.answered {
            if let Err(refusal) = &answered.outcome {
                self.wait_ended(entry, answered, word_of(refusal))?;
            }
        }
        for object in self.objects.values_mut() {
            let members = object.state.members.iter();
            let gone = members.filter(|(_, (session, _))| entry.ended.contains(session));
            for name in gone.map(|(name, _)| name.clone()).collect::<Vec<String>>() {
                object.take_out(entry.zxid.0, &name);
            }
        }
        if let Some(call) = &entry.call {
            self.called(entry, call)?;
        }
        for answered in entry.answered.iter().filter(|answered| answered.outcome.is_ok()) {
            self.pushed(entry, answered)?;
        }
        for object in self.objects.values_mut() {
            let members = &object.state.members;
            let is_there = |member: u64| members.values().any(|(_, there)| *there == member);
            if let Some((ticket, _)) = object.waits.iter().find(|(_, (of, _))| !is_there(*of)) {
                return Err(format!("{ticket:?} waits for a member that is gone"));
            }
            object.waits.check_overdue(entry, |_, _| false)?;
            object.states.note(entry.zxid, object.state.clone());
        }
        Ok(())
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        let Config { members_max, partitions_max } = self.config;
        let object = self.objects.entry(told.object.into()).or_default();
        let within = object.states.within(told.from, told.zxid);
        let states: Vec<State> = within.map(|state| state.cloned().unwrap_or_default()).collect();
        let any = |is_right: &dyn Fn(&State) -> bool| states.iter().any(is_right);
        let is_right = match (told.operation, told.refusal()) {
            ("define", Some("too-many-partitions")) => {
                told.arguments::<Define>()?.partitions.names().len() > partitions_max
            }
            ("define", Some("bad-name")) => match told.arguments::<Define>()?.partitions {
                Partitions::Count(_) => false,
                Partitions::Names(names) => names.iter().any(|name| is_bad_name(name)),
            },
            ("join", Some("name-taken")) => {
                let MemberName { name } = told.arguments()?;
                let by: SessionId = told.detail()?;
                any(&|state| state.members.get(&name).is_some_and(|(session, _)| *session == by))
            }
            ("join", Some("too-many-members")) => any(&|state| state.members.len() >= members_max),
            ("acknowledge" | "await-assignment" | "leave", Some("not-member")) => {
                let MemberName { name } = told.arguments()?;
                any(&|state| state.own(&name, told.session).is_none())
            }
            (
                "join" | "leave" | "acknowledge" | "await-assignment" | "assignment",
                Some("bad-name"),
            ) => is_bad_name(&told.arguments::<MemberName>()?.name),
            ("acknowledge", Some("stale-generation" | "not-revoked")) => return self.refused(told),
            ("await-assignment", Some("unchanged")) => {
                let AwaitAssignment { name, after, wait_ms } = told.arguments()?;
                let own = |state: &State| state.own(&name, told.session);
                let was_so = |member| object.holdings.check_unchanged(member, after, told.from.0);
                wait_ms == Some(0) && any(&|state| own(state).is_some_and(|it| was_so(it).is_ok()))
            }
            ("assignment", None) => {
                let MemberName { name } = told.arguments()?;
                let shown = told.reply::<Option<Assignment>>()?.flatten();
                let state = object.states.at(told.zxid).cloned().unwrap_or_default();
                match (state.members.get(&name), shown) {
                    (Some((_, member)), Some(shown)) => {
                        return object.learn(*member, &shown, told.zxid.0);
                    }
                    (member, shown) => member.is_none() && shown.is_none(),
                }
            }
            ("assignments", None) => return self.show(told),
            _ => false,
        };
        if is_right {
            return Ok(());
        }
        Err(format!("is told {:?}, there was {states:?}", told.outcome))
    }

    fn finish(&mut self, left: &[String]) -> Result {
        for (name, object) in &self.objects {
            let below = left.iter().filter(|path| path.split('/').next() == Some(name)).count();
            let State { members, partitions, .. } = &object.state;
            // The object, its generation, the partitions, and members whose sessions live.
            let whole = match (members.len(), partitions.is_empty()) {
                (0, true) => 0,
                (members, is_empty) => 2 + members + usize::from(!is_empty),
            };
            if below != whole {
                return Err(format!("{:?}, and of {name} are left {left:?}", object.state));
            }
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl AssignmentPromises {
    /// An acknowledgement that was refused, with what the member has.
    fn refused(&mut self, told: &Told<'_>) -> Result {
        let given_up: Acknowledge = told.arguments()?;
        let has: Assignment = told.detail()?;
        let object = self.objects.entry(told.object.into()).or_default();
        let states = object.states.within(told.from, told.zxid);
        let own: BTreeSet<u64> = states
            .filter_map(|state| state?.own(&given_up.name, told.session))
            .filter(|member| *member <= has.generation)
            .collect();
        let Some(member) = own.last() else {
            return Err(format!("who had no member {} is told it has {has:?}", given_up.name));
        };
        object.learn(*member, &has, has.generation.max(told.from.0))?;
        let is_stale = has.generation != given_up.generation;
        let is_right = match told.refusal() {
            Some("stale-generation") => is_stale,
            _ => !is_stale && !given_up.partitions.is_subset(&has.revoking),
        };
        if is_right { Ok(()) } else { Err(format!("{given_up:?} is refused, it has {has:?}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::said::{Said, answer, end};
    use super::*;
    use quorate_types::ErrorCode;

    const DEFINE: (&str, &str) = ("a", "define");
    const JOIN: (&str, &str) = ("a", "join");
    const AWAIT: (&str, &str) = ("a", "await-assignment");
    const ACKNOWLEDGE: (&str, &str) = ("a", "acknowledge");

    fn name(number: u64) -> String {
        format!("worker-{number}")
    }

    fn has(generation: u64, granted: &[(&str, u64)], revoking: &[&str]) -> Assignment {
        Assignment {
            generation,
            granted: granted.iter().map(|(name, fence)| ((*name).into(), *fence)).collect(),
            revoking: revoking.iter().map(|name| (*name).into()).collect(),
        }
    }

    /// Partitions 0 and 1 are defined, and session 1 has both: member 12 under fence 12.
    fn said() -> Said {
        let config = Config { members_max: 2, partitions_max: 2 };
        let mut said = Said::to((TRIAL.promises)(&to_cbor(&config)));
        let wanted = Define { partitions: Partitions::Count(2) };
        said.done(1, DEFINE, &wanted, &11_u64, vec![]).unwrap();
        join(&mut said, 1, &has(12, &[("0", 12), ("1", 12)], &[]), vec![]).unwrap();
        said
    }

    fn join(said: &mut Said, number: u64, told: &Assignment, answered: Vec<Answered>) -> Result {
        said.done(number, JOIN, &MemberName { name: name(number) }, told, answered)
    }

    fn await_after(number: u64, after: u64) -> AwaitAssignment {
        AwaitAssignment { name: name(number), after, wait_ms: None }
    }

    /// Session 2 joins as member 14, and session 1 is to give up partition 1.
    fn revoking() -> Said {
        let mut said = said();
        let waits = said.parked(1, AWAIT, &await_after(1, 12));
        let less = answer(&waits, &has(14, &[("0", 12)], &["1"]));
        join(&mut said, 2, &has(14, &[], &[]), vec![less]).unwrap();
        said
    }

    fn acknowledge(said: &mut Said, generation: u64, told: Vec<Answered>) -> Result {
        let partitions = BTreeSet::from(["1".to_owned()]);
        let given_up = Acknowledge { name: name(1), generation, partitions };
        let left = has(said.next(), &[("0", 12)], &[]);
        said.done(1, ACKNOWLEDGE, &given_up, &left, told)
    }

    fn shown(said: &Said, of: &[(u64, Assignment)], free: &[&str]) -> Assignments {
        let member = |(number, assignment): &(u64, Assignment)| Share {
            name: name(*number),
            session: SessionId(*number),
            identity: String::new(),
            assignment: assignment.clone(),
        };
        Assignments {
            generation: said.zxid,
            members: of.iter().map(member).collect(),
            free: free.iter().map(|name| (*name).into()).collect(),
        }
    }

    fn show(said: &mut Said, shown: &Assignments) -> Result {
        said.told(3, ("a", "assignments"), &(), Ok(to_cbor(shown).to_vec()))
    }

    #[test]
    fn what_an_assignment_does_is_believed() {
        let mut said = revoking();
        let now = [(1, has(14, &[("0", 12)], &["1"])), (2, has(14, &[], &[]))];
        let known = shown(&said, &now, &[]);
        show(&mut said, &known).unwrap();
        let waits = said.parked(2, AWAIT, &await_after(2, 14));
        let more = has(said.next(), &[("1", said.next())], &[]);
        acknowledge(&mut said, 14, vec![answer(&waits, &more)]).unwrap();
        said.event(&[1], vec![]).unwrap();
        said.event(&[2], vec![]).unwrap();
        let left = ["a", "a/assignment", "a/partitions"].map(str::to_owned);
        said.promises.finish(&left).unwrap();
        said.promises.finish(&[]).unwrap_err();
    }

    #[test]
    fn a_partition_in_two_hands_is_found() {
        let mut said = said();
        let text = join(&mut said, 2, &has(13, &[("1", 13)], &[]), vec![]).unwrap_err();
        assert!(text.contains("1 is in two hands"), "{text}");

        let mut early = revoking();
        let waits = early.parked(2, AWAIT, &await_after(2, 14));
        let more = has(early.next(), &[("1", early.next())], &[]);
        let wanted = Define { partitions: Partitions::Count(2) };
        let next = early.next();
        let text = early.done(3, DEFINE, &wanted, &next, vec![answer(&waits, &more)]);
        assert!(text.unwrap_err().contains("1 is in two hands"));
    }

    #[test]
    fn what_was_given_up_and_is_kept_or_taken_without_being_asked_for_is_found() {
        let mut kept = revoking();
        let partitions = BTreeSet::from(["1".to_owned()]);
        let given_up = Acknowledge { name: name(1), generation: 14, partitions };
        let all = has(kept.next(), &[("0", 12), ("1", 12)], &[]);
        let text = kept.done(1, ACKNOWLEDGE, &given_up, &all, vec![]).unwrap_err();
        assert!(text.contains("it was given up at"), "{text}");

        let mut stale = revoking();
        assert!(acknowledge(&mut stale, 12, vec![]).unwrap_err().contains("the newest"));
        let mut unasked = said();
        assert!(acknowledge(&mut unasked, 12, vec![]).is_err());
    }

    #[test]
    fn who_is_woken_for_nothing_or_not_woken_is_found() {
        let mut woken = said();
        let waits = woken.parked(1, AWAIT, &await_after(1, 12));
        let same = has(woken.next(), &[("0", 12), ("1", 12)], &[]);
        let text = join(&mut woken, 2, &has(14, &[], &[]), vec![answer(&waits, &same)]);
        assert!(text.unwrap_err().contains("woken and nothing changed"));

        let mut asleep = said();
        asleep.parked(1, AWAIT, &await_after(1, 12));
        join(&mut asleep, 2, &has(14, &[], &[]), vec![]).unwrap();
        let now = [(1, has(14, &[("0", 12)], &["1"])), (2, has(14, &[], &[]))];
        let known = shown(&asleep, &now, &[]);
        assert!(show(&mut asleep, &known).unwrap_err().contains("changed at 14"));

        let mut left = said();
        left.parked(1, AWAIT, &await_after(1, 12));
        let name = MemberName { name: name(1) };
        left.done(1, ("a", "leave"), &name, &14_u64, vec![]).unwrap_err();
    }

    #[test]
    fn what_is_not_balanced_or_moves_without_need_is_found() {
        let mut idle = said();
        let known = shown(&idle, &[(1, has(12, &[("0", 12)], &[]))], &["1"]);
        idle.told(3, ("a", "assignments"), &(), Ok(to_cbor(&known).to_vec())).unwrap_err();

        let mut moved = said();
        let known = shown(&moved, &[(1, has(12, &[("0", 12), ("1", 12)], &[]))], &[]);
        show(&mut moved, &known).unwrap();
        join(&mut moved, 2, &has(13, &[], &[]), vec![]).unwrap();
        let now = [(1, has(13, &[], &["0", "1"])), (2, has(13, &[], &[]))];
        let known = shown(&moved, &now, &[]);
        assert!(show(&mut moved, &known).unwrap_err().contains("Join takes 0"));
    }

    #[test]
    fn refusals_and_ends_of_waits_that_were_never_right_are_found() {
        let mut said = said();
        let mine = MemberName { name: name(1) };
        said.told(1, ("a", "leave"), &mine, Err("not-member")).unwrap_err();
        said.told(2, ("a", "leave"), &mine, Err("not-member")).unwrap();
        said.told(2, JOIN, &mine, Err("too-many-members")).unwrap_err();
        said.told_with(2, JOIN, &mine, Err("name-taken"), to_cbor(&SessionId(1))).unwrap();
        said.told_with(2, JOIN, &mine, Err("name-taken"), to_cbor(&SessionId(3))).unwrap_err();
        let partitions = BTreeSet::new();
        let stale = Acknowledge { name: name(1), generation: 12, partitions };
        let detail = to_cbor(&has(12, &[("0", 12), ("1", 12)], &[]));
        said.told_with(1, ACKNOWLEDGE, &stale, Err("stale-generation"), detail).unwrap_err();
        let waits = said.parked(1, AWAIT, &await_after(1, 12));
        said.event(&[], vec![end(&waits, ErrorCode::TimedOut)]).unwrap_err();
    }
}
