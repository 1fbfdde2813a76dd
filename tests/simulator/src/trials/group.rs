//! The group (plugins/group/README.md): one member for each name, generations, differences that add up,
//! members that go with their sessions.
//!
//! Comes in: clients' turns, and the log in callers' words. Goes out: members and waits; the first
//! promise broken. Invariant: the list of every generation is known, and so is what a caller who has
//! any of them must be told. Fewer wait at once than one transaction may tell.

use super::waits::{Waits, check_wait_ended};
use super::{
    Answered, EndedCall, Identities, LoggedCall, Promises, RecipeEntry, Result, Timeline, Told,
    Trial, Turn, Work,
};
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use quorate_types::{SessionId, Zxid};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub const TRIAL: Trial = Trial {
    name: "group",
    config: draw_config,
    work: |_| Box::<GroupWork>::default(),
    promises: |config| Box::new(GroupPromises::new(config)),
};

const GROUPS: [&str; 2] = ["a", "b"];
const NAMES: [&str; 6] = ["n0", "n1", "n2", "n3", "n4", ".."];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    members_max: usize,
    metadata_bytes_max: usize,
    history_max: usize,
    watchers_max: u64,
}

fn draw_config(choices: &mut Choices, _: &Plan) -> Bytes {
    to_cbor(&Config {
        members_max: [2, 1_000][choices.below(2) as usize],
        metadata_bytes_max: [8, 1_024][choices.below(2) as usize],
        history_max: [1, 3, 200][choices.below(3) as usize],
        watchers_max: [2, 10_000][choices.below(2) as usize],
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct Join {
    name: String,
    metadata: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Leave {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    name: String,
    metadata: String,
    session: SessionId,
    identity: String,
    joined: u64,
    updated: u64,
    since_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Members {
    generation: u64,
    members: Vec<Member>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AwaitChange {
    after: u64,
    wait_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    Difference(Difference),
    Gap(Members),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Difference {
    generation: u64,
    joined: Vec<Member>,
    left: Vec<String>,
    updated: Vec<Member>,
}

/// What one client does.
#[derive(Default)]
struct GroupWork {
    /// Members of its session, with the time at which they leave.
    own: Vec<(&'static str, String, u64)>,
    /// The newest generation that it was told, of each group, and the one before.
    seen: [(u64, u64); 2],
    updates: u64,
}

impl GroupWork {
    /// A name, mostly one of its own.
    fn draw_name(&self, turn: &mut Turn<'_>, group: &str) -> String {
        let own = self.own.iter().find(|(of, ..)| *of == group);
        match own.filter(|_| !turn.choices().one_in(4)) {
            Some((_, name, _)) => name.clone(),
            None => NAMES[turn.choices().below(6) as usize].into(),
        }
    }

    fn draw_metadata(&mut self, turn: &mut Turn<'_>) -> String {
        self.updates += 1;
        let padding = if turn.choices().one_in(8) { 9 } else { 0 };
        format!("{}-{}{}", turn.client(), self.updates, "x".repeat(padding))
    }

    fn ask_change(&mut self, turn: &mut Turn<'_>, at: usize) {
        let (newest, before) = self.seen[at];
        let after = match turn.choices().below(6) {
            0 => before,
            1 => [0, newest + 1][turn.choices().below(2) as usize],
            _ => newest,
        };
        let wait_ms = turn.draw_wait_ms();
        turn.call(GROUPS[at], "await-change", &AwaitChange { after, wait_ms });
    }

    fn leave(turn: &mut Turn<'_>, group: &str, name: String) {
        turn.call(group, "leave", &Leave { name });
    }
}

impl Work for GroupWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let at = turn.choices().below(2) as usize;
        let group = GROUPS[at];
        match turn.choices().below(16) {
            0..=4 => {
                let name = NAMES[turn.choices().below(6) as usize].into();
                let metadata = self.draw_metadata(turn);
                turn.call(group, "join", &Join { name, metadata });
            }
            5 | 6 => {
                let name = self.draw_name(turn, group);
                let metadata = self.draw_metadata(turn);
                turn.call(group, "update", &Join { name, metadata });
            }
            7 => {
                let name = self.draw_name(turn, group);
                GroupWork::leave(turn, group, name);
            }
            8..=12 => self.ask_change(turn, at),
            13 | 14 => drop(turn.query(group, "members", Bytes::new())),
            _ => turn.abandon_any(),
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let Some(at) = GROUPS.iter().position(|group| *group == ended.object) else { return };
        let group = GROUPS[at];
        let told = match ended.operation {
            "members" => ended.reply().map(|told: Members| told.generation),
            "await-change" => ended.reply().map(|told: Change| match told {
                Change::Difference(told) => told.generation,
                Change::Gap(told) => told.generation,
            }),
            _ => ended.reply(),
        };
        if let Some(generation) = told {
            self.seen[at] = (generation, self.seen[at].0);
        }
        let (Ok(Join { name, .. }), true) =
            (serde_cbor::from_slice(ended.arguments), ended.operation == "join")
        else {
            return;
        };
        if told.is_some() {
            let span_ms = turn.pause_ms() * 20 + 1;
            let until_ms = turn.now_ms() + turn.choices().below(span_ms);
            self.own.push((group, name, until_ms));
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        let now_ms = turn.now_ms();
        for (group, name, until_ms) in std::mem::take(&mut self.own) {
            if eager && until_ms > now_ms {
                self.own.push((group, name, until_ms));
            } else if !eager || !turn.choices().one_in(4) {
                GroupWork::leave(turn, group, name);
            }
        }
        if !eager && turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {
        self.own.clear();
    }

    fn is_at_rest(&self) -> bool {
        self.own.is_empty()
    }
}

/// A group's list, by name.
type List = BTreeMap<String, Member>;

/// A group as callers know it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shown {
    generation: u64,
    list: Rc<List>,
    waiting: u64,
}

impl Shown {
    fn members(&self) -> Members {
        Members { generation: self.generation, members: self.list.values().cloned().collect() }
    }
}

#[derive(Debug, Default)]
struct Group {
    /// 0: nobody is there.
    generation: u64,
    list: List,
    /// The generations of the changes since the group came into being, one for each member that
    /// joined, left or was updated.
    steps: Vec<u64>,
    /// When it came into being.
    began: Zxid,
    /// Callers, with the generation that they have.
    waits: Waits<u64>,
    shown: Timeline<Shown>,
}

impl Group {
    /// A member joined, left or was updated.
    fn step(&mut self, zxid: Zxid) {
        if self.generation == 0 {
            self.began = zxid;
            self.steps.clear();
        }
        self.generation = zxid.0;
        self.steps.push(zxid.0);
    }

    /// Who came with these sessions goes with them.
    fn end_sessions(&mut self, zxid: Zxid, ended: &[SessionId]) -> bool {
        let gone: Vec<String> = self
            .list
            .values()
            .filter(|member| ended.contains(&member.session))
            .map(|member| member.name.clone())
            .collect();
        for name in &gone {
            self.list.remove(name);
            self.step(zxid);
        }
        !gone.is_empty()
    }

    /// What a caller who has the list of another generation is told.
    fn change_since(&self, after: u64, history_max: usize) -> Change {
        let since = self.steps.iter().filter(|generation| **generation > after).count();
        let is_known = after + 1 >= self.began.0 && after < self.generation && since <= history_max;
        if !is_known {
            let members = self.list.values().cloned().collect();
            return Change::Gap(Members { generation: self.generation, members });
        }
        // Generations are transactions, and the list of a number between two is that of the first.
        let none = Rc::default();
        let before = self.shown.at(Zxid(after)).map_or(&none, |shown| &shown.list);
        let is_same = |name: &str| match (before.get(name), self.list.get(name)) {
            (Some(before), Some(now)) => before.joined == now.joined,
            _ => false,
        };
        let (stayed, joined): (Vec<&Member>, Vec<&Member>) =
            self.list.values().partition(|member| is_same(&member.name));
        let updated = stayed.into_iter().filter(|member| before.get(&member.name) != Some(member));
        Change::Difference(Difference {
            generation: self.generation,
            joined: joined.into_iter().cloned().collect(),
            left: before.keys().filter(|name| !is_same(name)).cloned().collect(),
            updated: updated.cloned().collect(),
        })
    }

    /// Everybody who waits is told of a change, once and in the transaction that made it.
    fn check_answers(
        &mut self,
        history_max: usize,
        has_changed: bool,
        answers: &[&Answered],
    ) -> Result {
        let answered: BTreeSet<_> = answers.iter().map(|answered| answered.ticket).collect();
        let waiting = self.waits.iter().map(|(ticket, _)| ticket);
        let turn: BTreeSet<_> = waiting.filter(|_| has_changed).collect();
        if answered != turn {
            return Err(format!("{answers:?} are told of a change, not {turn:?}"));
        }
        for answered in answers {
            let after = self.waits.end(answered.ticket)?;
            let right = self.change_since(after, history_max);
            let told: Option<Change> = answered.reply()?;
            if told.as_ref() != Some(&right) {
                return Err(format!("after {after} {answered:?} is told {told:?}, not {right:?}"));
            }
        }
        Ok(())
    }
}

struct GroupPromises {
    config: Config,
    groups: BTreeMap<String, Group>,
    identities: Identities,
    judged: u64,
}

impl GroupPromises {
    fn new(config: &[u8]) -> GroupPromises {
        let config = serde_cbor::from_slice(config).expect("the trial drew it");
        let (groups, identities) = (BTreeMap::new(), Identities::default());
        GroupPromises { config, groups, identities, judged: 0 }
    }

    /// Carries out a call; says whether the list is another.
    fn called(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result<bool> {
        let (zxid, session, config) = (entry.zxid, call.name.0, self.config);
        let group = self.groups.entry(call.object.into()).or_default();
        if call.operation == "await-change" {
            let AwaitChange { after, wait_ms } = call.arguments()?;
            if after == group.generation {
                let wait = (wait_ms, config.watchers_max);
                group.waits.begin(entry.time_ms, call, wait, after)?;
                return Ok(false);
            }
            let right = group.change_since(after, config.history_max);
            let told: Option<Change> = call.reply()?;
            if told.as_ref() != Some(&right) {
                return Err(format!("after {after} {told:?} is told, not {right:?}"));
            }
            return Ok(false);
        }
        if call.reply()? != Some(zxid.0) {
            return Err(format!("the generation told is {:?}", call.reply));
        }
        match call.operation {
            "join" => {
                let Join { name, metadata } = call.arguments()?;
                let is_full = group.list.len() >= config.members_max;
                if is_full || is_bad(&name) || metadata.len() > config.metadata_bytes_max {
                    return Err(format!("{name:?} joins with {metadata:?}: {:?}", group.list));
                }
                let (identity, since_ms) = (self.identities.of(session), entry.time_ms);
                let (joined, updated) = (zxid.0, zxid.0);
                let known = name.clone();
                let member =
                    Member { name, metadata, session, identity, joined, updated, since_ms };
                if let Some(other) = group.list.insert(known, member) {
                    return Err(format!("two members have one name, the other is {other:?}"));
                }
            }
            "update" => {
                let Join { name, metadata } = call.arguments()?;
                let member = group.list.get_mut(&name).filter(|member| member.session == session);
                let Some(member) = member else { return Err(not_own(session, &name)) };
                if metadata.len() > config.metadata_bytes_max {
                    return Err(format!("{metadata} is too large"));
                }
                member.metadata = metadata;
                member.updated = zxid.0;
            }
            "leave" => {
                let Leave { name } = call.arguments()?;
                let member = group.list.remove(&name);
                if member.is_none_or(|member| member.session != session) {
                    return Err(not_own(session, &name));
                }
            }
            other => return Err(format!("the group has no command {other}")),
        }
        group.step(zxid);
        Ok(true)
    }
}

fn not_own(session: SessionId, name: &str) -> String {
    format!("{name} is changed by session {session}, which has no such member")
}

fn is_bad(name: &str) -> bool {
    name == ".."
}

/// Whether a refusal of a command is right as things stand.
fn is_right(config: &Config, told: &Told<'_>, word: &str, shown: &Shown) -> Result<bool> {
    if told.operation == "await-change" {
        let AwaitChange { after, wait_ms } = told.arguments()?;
        let is_full = wait_ms != Some(0) && shown.waiting >= config.watchers_max;
        return Ok(after == shown.generation
            && match word {
                "unchanged" => wait_ms == Some(0),
                "too-many-watchers" => is_full,
                _ => false,
            });
    }
    let (name, metadata) = match told.operation {
        "leave" => (told.arguments::<Leave>()?.name, String::new()),
        _ => {
            let Join { name, metadata } = told.arguments()?;
            (name, metadata)
        }
    };
    let member = shown.list.get(&name);
    let is_own = member.is_some_and(|member| member.session == told.session);
    match (told.operation, word) {
        (_, "bad-name") => Ok(is_bad(&name)),
        ("join", "name-taken") => Ok(member == Some(&told.detail()?)),
        ("join", "too-many-members") => {
            Ok(member.is_none() && shown.list.len() >= config.members_max)
        }
        ("join", "too-large") => Ok(member.is_none() && metadata.len() > config.metadata_bytes_max),
        ("update", "too-large") => Ok(is_own && metadata.len() > config.metadata_bytes_max),
        ("update" | "leave", "not-member") => Ok(!is_own),
        _ => Ok(false),
    }
}

impl Promises for GroupPromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        self.identities.note(entry);
        self.judged += u64::from(
            entry.call.is_some() || !entry.answered.is_empty() || !entry.ended.is_empty(),
        );
        let mut answers: BTreeMap<&str, Vec<&Answered>> = BTreeMap::new();
        for answered in &entry.answered {
            let object = &answered.call.object;
            if answered.outcome.is_ok() {
                answers.entry(object).or_default().push(answered);
            } else {
                check_wait_ended(entry, answered)?;
                let group = self.groups.entry(object.clone()).or_default();
                group.waits.end(answered.ticket)?;
            }
        }
        let mut changed = None;
        if let Some(call) = &entry.call
            && self.called(entry, call)?
        {
            changed = Some(call.object);
        }
        let history_max = self.config.history_max;
        for (name, group) in &mut self.groups {
            let has_lost = group.end_sessions(entry.zxid, &entry.ended);
            let has_changed = has_lost || changed == Some(name);
            let answers = answers.remove(name.as_str()).unwrap_or_default();
            group.check_answers(history_max, has_changed, &answers)?;
            if group.list.is_empty() {
                group.generation = 0;
            }
            group.waits.check_overdue(entry, |_, _| false)?;
            let (generation, waiting) = (group.generation, group.waits.len());
            let list = match group.shown.at(entry.zxid) {
                Some(shown) if *shown.list == group.list => Rc::clone(&shown.list),
                _ => Rc::new(group.list.clone()),
            };
            group.shown.note(entry.zxid, Shown { generation, list, waiting });
        }
        match answers.first_key_value() {
            None => Ok(()),
            Some((object, _)) => Err(format!("{object} is no group, and its callers wait")),
        }
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        let none = Shown::default();
        let shown = &self.groups.entry(told.object.into()).or_default().shown;
        match (told.operation, told.refusal()) {
            ("members", None) => {
                let right = shown.at(told.zxid).unwrap_or(&none).members();
                let seen: Option<Members> = told.reply()?;
                if seen.as_ref() == Some(&right) {
                    return Ok(());
                }
                Err(format!("shows {seen:?} at {}, there are {right:?}", told.zxid))
            }
            (operation, Some(word)) => {
                for shown in shown.within(told.from, told.zxid) {
                    if is_right(&self.config, told, word, shown.unwrap_or(&none))? {
                        return Ok(());
                    }
                }
                Err(format!("{operation} is refused {word}, and that was never right"))
            }
            (operation, None) => Err(format!("{operation} is answered and not in the log")),
        }
    }

    fn finish(&mut self, left: &[String]) -> Result {
        for (name, group) in &self.groups {
            let below: Vec<&String> =
                left.iter().filter(|path| path.split('/').next() == Some(name)).collect();
            if group.list.is_empty() && !below.is_empty() {
                return Err(format!("nobody is in group {name}, and left are {below:?}"));
            }
            let prefix = format!("{name}/members/");
            let there = below.iter().filter_map(|path| path.strip_prefix(&prefix));
            if !there.eq(group.list.keys()) {
                return Err(format!("left are {below:?}, there should be {:?}", group.list));
            }
            // The group, its head and two folders; for each member its own two; the history.
            let most = 4 + 2 * group.list.len() + group.steps.len().min(self.config.history_max);
            if below.len() > most {
                return Err(format!("left are {below:?}, {most} znodes at most should be"));
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

    const JOIN: (&str, &str) = ("a", "join");
    const UPDATE: (&str, &str) = ("a", "update");
    const LEAVE: (&str, &str) = ("a", "leave");
    const AWAIT: (&str, &str) = ("a", "await-change");

    fn said(history_max: usize) -> Said {
        let config = Config { members_max: 2, metadata_bytes_max: 4, history_max, watchers_max: 2 };
        Said::to((TRIAL.promises)(&to_cbor(&config)))
    }

    fn named(name: &str, metadata: &str) -> Join {
        Join { name: name.into(), metadata: metadata.into() }
    }

    fn leave(name: &str) -> Leave {
        Leave { name: name.into() }
    }

    fn after(after: u64) -> AwaitChange {
        AwaitChange { after, wait_ms: None }
    }

    /// A member as it is after it joined in this transaction.
    fn member(said: &Said, session: u64, name: &str, joined: u64) -> Member {
        Member {
            name: name.into(),
            metadata: "m".into(),
            session: SessionId(session),
            identity: String::new(),
            joined,
            updated: joined,
            since_ms: said.now_ms,
        }
    }

    fn join(said: &mut Said, session: u64, name: &str) -> Member {
        let generation = said.next();
        said.done(session, JOIN, &named(name, "m"), &generation, vec![]).unwrap();
        member(said, session, name, generation)
    }

    fn difference(generation: u64, joined: &[Member], left: &[&str]) -> Change {
        Change::Difference(Difference {
            generation,
            joined: joined.to_vec(),
            left: left.iter().map(|name| (*name).to_owned()).collect(),
            updated: Vec::new(),
        })
    }

    #[test]
    fn what_a_group_does_is_believed() {
        let mut said = said(3);
        let first = join(&mut said, 1, "one");
        let waits = said.parked(9, AWAIT, &after(first.joined));
        let generation = said.next();
        let second = member(&said, 2, "two", generation);
        let change = difference(generation, std::slice::from_ref(&second), &[]);
        let answers = vec![answer(&waits, &change)];
        said.done(2, JOIN, &named("two", "m"), &generation, answers).unwrap();
        let waits = said.parked(9, AWAIT, &after(generation));
        let change = difference(said.next(), &[], &["one"]);
        said.event(&[1], vec![answer(&waits, &change)]).unwrap();
        let members = Members { generation: said.zxid, members: vec![second.clone()] };
        said.told(9, ("a", "members"), &(), Ok(to_cbor(&members).to_vec())).unwrap();
        let change = difference(said.zxid, &[second], &["one"]);
        said.done(9, AWAIT, &after(first.joined), &change, vec![]).unwrap();
        let generation = said.next();
        said.done(2, LEAVE, &leave("two"), &generation, vec![]).unwrap();
        said.done(9, AWAIT, &after(generation), &Change::Gap(Members::default()), vec![]).unwrap();
        said.promises.finish(&[]).unwrap();
    }

    #[test]
    fn names_that_two_have_and_members_of_others_are_found() {
        let mut twice = said(3);
        join(&mut twice, 1, "one");
        let generation = twice.next();
        twice.done(2, JOIN, &named("one", "m"), &generation, vec![]).unwrap_err();

        let mut foreign = said(3);
        join(&mut foreign, 1, "one");
        let generation = foreign.next();
        foreign.done(2, UPDATE, &named("one", "x"), &generation, vec![]).unwrap_err();
        let generation = foreign.next();
        foreign.done(2, LEAVE, &leave("one"), &generation, vec![]).unwrap_err();

        let mut many = said(3);
        join(&mut many, 1, "one");
        join(&mut many, 1, "two");
        let generation = many.next();
        many.done(1, JOIN, &named("n3", "m"), &generation, vec![]).unwrap_err();
    }

    #[test]
    fn changes_that_are_missed_or_do_not_add_up_are_found() {
        let mut missed = said(3);
        missed.parked(9, AWAIT, &after(0));
        let generation = missed.next();
        missed.done(1, JOIN, &named("one", "m"), &generation, vec![]).unwrap_err();

        let mut kept = said(3);
        let first = join(&mut kept, 1, "one");
        kept.event(&[1], vec![]).unwrap();
        let members = Members { generation: first.joined, members: vec![first] };
        kept.told(9, ("a", "members"), &(), Ok(to_cbor(&members).to_vec())).unwrap_err();

        // It has gone and come back: the second is another member.
        let mut back = said(3);
        let other = join(&mut back, 2, "two");
        join(&mut back, 1, "one");
        let generation = back.next();
        back.done(1, LEAVE, &leave("one"), &generation, vec![]).unwrap();
        let first = join(&mut back, 1, "one");
        let change = difference(first.joined, std::slice::from_ref(&first), &[]);
        back.done(9, AWAIT, &after(other.joined + 1), &change, vec![]).unwrap_err();
        let change = difference(first.joined, &[first], &["one"]);
        back.done(9, AWAIT, &after(other.joined + 1), &change, vec![]).unwrap();

        // Two changes since, and one is remembered.
        let mut silent = said(1);
        join(&mut silent, 1, "one");
        let before = silent.zxid;
        join(&mut silent, 1, "two");
        let generation = silent.next();
        silent.done(1, LEAVE, &leave("two"), &generation, vec![]).unwrap();
        let change = difference(generation, &[], &[]);
        silent.done(9, AWAIT, &after(before), &change, vec![]).unwrap_err();
    }

    #[test]
    fn refusals_that_were_never_right_are_found() {
        let mut said = said(3);
        let first = join(&mut said, 1, "one");
        let detail = to_cbor(&first);
        let two = named("two", "m");
        said.told_with(1, JOIN, &two, Err("name-taken"), detail.clone()).unwrap_err();
        said.told_with(1, JOIN, &named("one", "m"), Err("name-taken"), detail).unwrap();
        said.told(1, JOIN, &two, Err("too-many-members")).unwrap_err();
        said.told(1, JOIN, &two, Err("too-large")).unwrap_err();
        said.told(1, LEAVE, &leave("one"), Err("not-member")).unwrap_err();
        let unchanged = AwaitChange { after: 0, wait_ms: Some(0) };
        said.told(1, AWAIT, &unchanged, Err("unchanged")).unwrap_err();
        said.told(1, AWAIT, &after(first.joined), Err("too-many-watchers")).unwrap_err();
        said.promises.finish(&[]).unwrap_err();
    }
}
