//! The value (plugins/value/README.md): versions grow, compare and set, no change missed by who waits.
//!
//! Comes in: clients' turns, and the log in callers' words. Goes out: settings and waits; the first
//! promise broken. Invariant: the value is known after every entry. Who waits is told of a change in
//! the transaction that made it or, if more wait than one may tell, by one soon after.

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
use serde_cbor::Value;
use std::collections::BTreeMap;

pub const TRIAL: Trial = Trial {
    name: "value",
    config: draw_config,
    work: |_| Box::<ValueWork>::default(),
    promises: |config| Box::new(ValuePromises::new(config)),
};

const VALUES: [&str; 2] = ["a", "b"];

/// Waiters that one transaction answers, whatever the mount says.
const ANSWERED_MAX: usize = 400;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    value_bytes_max: usize,
    waiters_max: u64,
    answered_max: usize,
}

fn draw_config(choices: &mut Choices, _: &Plan) -> Bytes {
    to_cbor(&Config {
        value_bytes_max: [8, 65_536][choices.below(2) as usize],
        waiters_max: [2, 10_000][choices.below(2) as usize],
        answered_max: [1, 2, 200][choices.below(3) as usize],
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct Set {
    value: Value,
    if_version: Option<u64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Version {
    version: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Delete {
    if_version: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AwaitChange {
    after: u64,
    wait_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    version: u64,
    document: Option<Document>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Document {
    value: Value,
    version: u64,
    session: SessionId,
    identity: String,
    since_ms: u64,
}

/// What one client does.
#[derive(Default)]
struct ValueWork {
    /// The newest version that it was told, of each value.
    seen: [u64; 2],
    set: u64,
    /// It has done what it does at the end.
    is_over: bool,
}

impl ValueWork {
    /// A version that may be the present one.
    fn draw_version(&self, turn: &mut Turn<'_>, at: usize) -> u64 {
        [0, 1, self.seen[at], self.seen[at]][turn.choices().below(4) as usize]
    }

    fn draw_if_version(&self, turn: &mut Turn<'_>, at: usize) -> Option<u64> {
        let version = self.draw_version(turn, at);
        turn.choices().one_in(2).then_some(version)
    }
}

impl Work for ValueWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let at = turn.choices().below(2) as usize;
        let value = VALUES[at];
        match turn.choices().below(16) {
            0..=4 => {
                self.set += 1;
                let mut text = format!("{}-{}", turn.client(), self.set).into_bytes();
                text.resize([text.len(), 0, 8, 9][turn.choices().below(4) as usize], b'x');
                let if_version = self.draw_if_version(turn, at);
                turn.call(value, "set", &Set { value: Value::Bytes(text), if_version });
            }
            5 | 6 => {
                let if_version = self.draw_if_version(turn, at);
                turn.call(value, "delete", &Delete { if_version });
            }
            7..=12 => {
                let after = match turn.choices().below(4) {
                    0 => self.draw_version(turn, at),
                    _ => self.seen[at],
                };
                let wait_ms = turn.draw_wait_ms();
                turn.call(value, "await-change", &AwaitChange { after, wait_ms });
            }
            13 | 14 => drop(turn.query(value, "get", Bytes::new())),
            _ => turn.abandon_any(),
        }
    }

    fn take(&mut self, _: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let Some(at) = VALUES.iter().position(|value| *value == ended.object) else { return };
        // A state has a version too.
        if let Some(Version { version }) = ended.reply() {
            self.seen[at] = version;
        }
        if ended.operation == "delete" && ended.reply() == Some(true) {
            self.seen[at] = 0;
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        if eager {
            return;
        }
        if !self.is_over {
            self.is_over = true;
            let value = VALUES[turn.choices().below(2) as usize];
            turn.call(value, "delete", &Delete { if_version: None });
        }
        if turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {}

    fn is_at_rest(&self) -> bool {
        true
    }
}

/// A value as callers know it.
#[derive(Debug, Default)]
struct Shared {
    state: State,
    /// The last transaction that changed it.
    changed: Zxid,
    /// Who waits, since which transaction.
    waits: Waits<Zxid>,
    /// The value, and how many wait, as of every transaction that changed either.
    shown: Timeline<(State, u64)>,
}

impl Shared {
    fn check_version(&self, if_version: Option<u64>) -> Result {
        match if_version {
            Some(version) if version != self.state.version => {
                Err(format!("done for version {version}, the value is {:?}", self.state))
            }
            _ => Ok(()),
        }
    }

    /// Some of those who have waited since before the last change are told how things stand: in
    /// order of arrival, and `now` as many as one transaction may tell.
    fn check_answers(&mut self, most: usize, now: bool, answers: &[&Answered]) -> Result {
        let changed = self.changed;
        let untold = self.waits.iter().filter(|(_, since)| **since < changed);
        let turn: Vec<_> = untold.map(|(ticket, _)| ticket).take(most).collect();
        let answered = answers.iter().map(|answered| answered.ticket);
        if (now || !answers.is_empty()) && !answered.eq(turn.iter().copied()) {
            return Err(format!("{answers:?} are told of the change {changed}, not {turn:?}"));
        }
        for answered in answers {
            self.waits.end(answered.ticket)?;
            let told: Option<State> = answered.reply()?;
            if told.as_ref() != Some(&self.state) {
                return Err(format!("{answered:?} is told {told:?}, it is {:?}", self.state));
            }
        }
        Ok(())
    }
}

struct ValuePromises {
    config: Config,
    values: BTreeMap<String, Shared>,
    identities: Identities,
    judged: u64,
}

impl ValuePromises {
    fn new(config: &[u8]) -> ValuePromises {
        let config = serde_cbor::from_slice(config).expect("the trial drew it");
        let (values, identities) = (BTreeMap::new(), Identities::default());
        ValuePromises { config, values, identities, judged: 0 }
    }

    fn called(&mut self, entry: &RecipeEntry<'_>, call: &LoggedCall<'_>) -> Result {
        let (zxid, time_ms, session) = (entry.zxid, entry.time_ms, call.name.0);
        let shared = self.values.entry(call.object.into()).or_default();
        match call.operation {
            "set" => {
                let Set { value, if_version } = call.arguments()?;
                shared.check_version(if_version)?;
                if bytes_of(&value) > self.config.value_bytes_max {
                    return Err(format!("{value:?} is too large"));
                }
                let version = zxid.0;
                if call.reply()? != Some(Version { version }) {
                    return Err(format!("version {:?} is set", call.reply));
                }
                let identity = self.identities.of(session);
                let document = Document { value, version, session, identity, since_ms: time_ms };
                shared.state = State { version, document: Some(document) };
                shared.changed = zxid;
            }
            "delete" => {
                shared.check_version(call.arguments::<Delete>()?.if_version)?;
                let was_there = shared.state.document.is_some();
                if call.reply()? != Some(was_there) {
                    return Err(format!("told is {:?}, it was {:?}", call.reply, shared.state));
                }
                if was_there {
                    shared.state = State::default();
                    shared.changed = zxid;
                }
            }
            "await-change" => {
                let AwaitChange { after, wait_ms } = call.arguments()?;
                let is_other = after != shared.state.version;
                match call.reply::<State>()? {
                    None if !is_other => {
                        let wait = (wait_ms, self.config.waiters_max);
                        shared.waits.begin(time_ms, call, wait, zxid)?;
                    }
                    Some(told) if is_other && told == shared.state => {}
                    told => {
                        let state = &shared.state;
                        return Err(format!("told after {after} is {told:?}, it is {state:?}"));
                    }
                }
            }
            other => return Err(format!("the value has no command {other}")),
        }
        Ok(())
    }
}

fn bytes_of(value: &Value) -> usize {
    if let Value::Bytes(bytes) = value { bytes.len() } else { usize::MAX }
}

/// Whether a refusal of a command is right as things stand.
fn is_right(
    config: &Config,
    told: &Told<'_>,
    word: &str,
    (state, waiting): &(State, u64),
) -> Result<bool> {
    match (told.operation, word) {
        ("set" | "delete", "other-version") => {
            let if_version = match told.operation {
                "set" => told.arguments::<Set>()?.if_version,
                _ => told.arguments::<Delete>()?.if_version,
            };
            let is_other = if_version.is_some_and(|version| version != state.version);
            Ok(is_other && told.detail::<State>()? == *state)
        }
        ("set", "value-too-large") => {
            Ok(bytes_of(&told.arguments::<Set>()?.value) > config.value_bytes_max)
        }
        ("await-change", _) => {
            let AwaitChange { after, wait_ms } = told.arguments()?;
            let is_full = wait_ms != Some(0) && *waiting >= config.waiters_max;
            Ok(after == state.version
                && match word {
                    "unchanged" => wait_ms == Some(0),
                    "waiters-full" => is_full,
                    _ => false,
                })
        }
        _ => Ok(false),
    }
}

impl Promises for ValuePromises {
    fn follow(&mut self, entry: &RecipeEntry<'_>) -> Result {
        self.identities.note(entry);
        self.judged += u64::from(entry.call.is_some() || !entry.answered.is_empty());
        let mut answers: BTreeMap<&str, Vec<&Answered>> = BTreeMap::new();
        for answered in &entry.answered {
            let object = &answered.call.object;
            if answered.outcome.is_ok() {
                answers.entry(object).or_default().push(answered);
            } else {
                check_wait_ended(entry, answered)?;
                let shared = self.values.entry(object.clone()).or_default();
                shared.waits.end(answered.ticket)?;
            }
        }
        if let Some(call) = &entry.call {
            self.called(entry, call)?;
        }
        let most = self.config.answered_max.clamp(1, ANSWERED_MAX);
        for (name, shared) in &mut self.values {
            let answers = answers.remove(name.as_str()).unwrap_or_default();
            let changed = shared.changed;
            shared.check_answers(most, changed == entry.zxid, &answers)?;
            shared.waits.check_overdue(entry, |_, since| *since < changed)?;
            shared.shown.note(entry.zxid, (shared.state.clone(), shared.waits.len()));
        }
        match answers.first_key_value() {
            None => Ok(()),
            Some((object, _)) => Err(format!("{object} is no value, and its callers wait")),
        }
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        let none = (State::default(), 0);
        let shown = &self.values.entry(told.object.into()).or_default().shown;
        match (told.operation, told.refusal()) {
            ("get", None) => {
                let state = &shown.at(told.zxid).unwrap_or(&none).0;
                let seen: Option<State> = told.reply()?;
                if seen.as_ref() == Some(state) {
                    return Ok(());
                }
                Err(format!("shows {seen:?} at {}, it was {state:?}", told.zxid))
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
        let there = self.values.iter().filter(|(_, shared)| shared.state.document.is_some());
        let expected: Vec<String> =
            there.flat_map(|(name, _)| [name.clone(), format!("{name}/document")]).collect();
        if left == expected { Ok(()) } else { Err(format!("left are {left:?}, not {expected:?}")) }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::super::said::{Said, answer};
    use super::*;

    const SET: (&str, &str) = ("a", "set");
    const DELETE: (&str, &str) = ("a", "delete");
    const AWAIT: (&str, &str) = ("a", "await-change");

    fn said() -> Said {
        let config = Config { value_bytes_max: 4, waiters_max: 2, answered_max: 1 };
        Said::to((TRIAL.promises)(&to_cbor(&config)))
    }

    fn set(text: &str, if_version: Option<u64>) -> Set {
        Set { value: Value::Bytes(text.into()), if_version }
    }

    fn after(after: u64) -> AwaitChange {
        AwaitChange { after, wait_ms: None }
    }

    /// Sets a value by session 1, and gives the state then.
    fn do_set(said: &mut Said, text: &str) -> State {
        let (version, since_ms) = (said.next(), said.now_ms);
        let value = Value::Bytes(text.into());
        let (session, identity) = (SessionId(1), String::new());
        said.done(1, SET, &set(text, None), &Version { version }, vec![]).unwrap();
        State { version, document: Some(Document { value, version, session, identity, since_ms }) }
    }

    #[test]
    fn what_a_value_does_is_believed() {
        let mut said = said();
        let first = do_set(&mut said, "one");
        let waits = said.parked(2, AWAIT, &after(first.version));
        let late = said.parked(2, AWAIT, &after(first.version));
        let delete = Delete { if_version: Some(first.version) };
        let none = State::default();
        said.done(1, DELETE, &delete, &true, vec![answer(&waits, &none)]).unwrap();
        said.event(&[], vec![answer(&late, &none)]).unwrap();
        said.done(1, DELETE, &Delete { if_version: None }, &false, vec![]).unwrap();
        said.told(1, ("a", "get"), &(), Ok(to_cbor(&none).to_vec())).unwrap();
        said.promises.finish(&[]).unwrap();
    }

    #[test]
    fn versions_that_come_back_and_updates_that_are_lost_are_found() {
        let mut again = said();
        let version = again.next();
        again.done(1, SET, &set("one", None), &Version { version }, vec![]).unwrap();
        again.done(1, SET, &set("two", None), &Version { version }, vec![]).unwrap_err();

        let mut lost = said();
        let first = do_set(&mut lost, "one");
        do_set(&mut lost, "two");
        let version = lost.next();
        let stale = set("one", Some(first.version));
        lost.done(1, SET, &stale, &Version { version }, vec![]).unwrap_err();
        let stale = Delete { if_version: Some(first.version) };
        lost.done(1, DELETE, &stale, &true, vec![]).unwrap_err();

        let mut large = said();
        let version = large.next();
        large.done(1, SET, &set("fifth", None), &Version { version }, vec![]).unwrap_err();
    }

    #[test]
    fn changes_that_are_missed_or_told_otherwise_are_found() {
        let mut missed = said();
        missed.parked(2, AWAIT, &after(0));
        let version = missed.next();
        missed.done(1, SET, &set("one", None), &Version { version }, vec![]).unwrap_err();

        let mut stale = said();
        let first = do_set(&mut stale, "one");
        let waits = stale.parked(2, AWAIT, &after(first.version));
        let delete = Delete { if_version: None };
        stale.done(1, DELETE, &delete, &true, vec![answer(&waits, &first)]).unwrap_err();

        let mut idle = said();
        let waits = idle.parked(2, AWAIT, &after(0));
        idle.event(&[], vec![answer(&waits, &State::default())]).unwrap_err();

        let mut gap = said();
        let first = do_set(&mut gap, "one");
        let unchanged = AwaitChange { after: 0, wait_ms: Some(0) };
        gap.told(2, AWAIT, &unchanged, Err("unchanged")).unwrap_err();
        gap.done(2, AWAIT, &after(first.version), &first, vec![]).unwrap_err();
    }

    #[test]
    fn refusals_and_values_that_were_never_right_are_found() {
        let mut said = said();
        let first = do_set(&mut said, "one");
        let detail = to_cbor(&first);
        let wanted = set("two", Some(first.version));
        said.told_with(1, SET, &wanted, Err("other-version"), detail.clone()).unwrap_err();
        let wanted = set("two", Some(0));
        said.told_with(1, SET, &wanted, Err("other-version"), detail).unwrap();
        let none = to_cbor(&State::default());
        said.told_with(1, SET, &wanted, Err("other-version"), none.clone()).unwrap_err();
        said.told(1, SET, &wanted, Err("value-too-large")).unwrap_err();
        said.told(1, AWAIT, &after(first.version), Err("waiters-full")).unwrap_err();
        said.told(1, ("a", "get"), &(), Ok(none.to_vec())).unwrap_err();
        said.promises.finish(&[]).unwrap_err();
        said.promises.finish(&["a".into(), "a/document".into(), "a/waiter".into()]).unwrap_err();
    }
}
