//! The configuration (plugins/configuration/README.md): versions grow, one for each member, roll-outs that do
//! not change their mind, a history that is true, one push to who waits.
//!
//! Comes in: clients' turns, and the log in callers' words. Goes out: versions and waits; the first
//! promise broken. Invariant: the document is known after every entry. Whom a percentage reaches is
//! the recipe's affair: it is learnt from what members are told, and must not contradict itself.
//! Fewer wait at once than one transaction may tell.

mod model;
#[cfg(test)]
mod tests;
mod words;

use super::waits::check_wait_ended;
use super::{
    Answered, EndedCall, Identities, Promises, RecipeEntry, Result, Told, Trial, Turn, Work,
};
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use model::{Document, Shown, is_right};
use quorate_faulty_disk::Choices;
use std::collections::BTreeMap;
use words::{
    AwaitChange, Candidate, Change, Config, Define, Definition, Field, Get, History, Remove,
    Rollback, Set, Stage, Status, Version, Widen,
};

pub const TRIAL: Trial = Trial {
    name: "configuration",
    config: draw_config,
    work: |_| Box::<ConfigurationWork>::default(),
    promises: |config| Box::new(ConfigurationPromises::new(config)),
};

const DOCUMENTS: [&str; 2] = ["a", "b"];
const MEMBERS: [&str; 5] = ["m0", "m1", "m2", "m3", "m4"];

fn draw_config(choices: &mut Choices, _: &Plan) -> Bytes {
    to_cbor(&Config {
        history_max: [1, 3, 50][choices.below(3) as usize],
        document_bytes_max: [24, 65_536][choices.below(2) as usize],
        watchers_max: [2, 10_000][choices.below(2) as usize],
    })
}

/// What one client does.
#[derive(Default)]
struct ConfigurationWork {
    /// Of each document: the newest version that it was told, and one that is or was rolled out.
    seen: [u64; 2],
    rolled_out: [u64; 2],
    texts: u64,
    /// It has done what it does at the end.
    is_over: bool,
}

fn draw_member(turn: &mut Turn<'_>) -> String {
    MEMBERS[turn.choices().below(5) as usize].into()
}

impl ConfigurationWork {
    /// A text that fits some definitions, or is too large here.
    fn draw_text(&mut self, turn: &mut Turn<'_>) -> String {
        self.texts += 1;
        let number = self.texts * 10 + turn.client() as u64;
        match turn.choices().below(8) {
            0 => format!("{{\"name\": {number}}}"),
            1 => format!("{{\"port\": \"{number}\"}}"),
            2 => format!("no JSON {number}"),
            3 => format!("{{\"port\": {number}, \"name\": \"long enough\"}}"),
            _ => format!("{{\"port\": {number}}}"),
        }
    }

    fn draw_if_version(&self, turn: &mut Turn<'_>, at: usize) -> Option<u64> {
        let seen = self.seen[at];
        [None, None, Some(seen), Some(0)][turn.choices().below(4) as usize]
    }

    fn draw_percentage(turn: &mut Turn<'_>) -> u8 {
        [0, 10, 40, 60, 90, 100, 101][turn.choices().below(7) as usize]
    }

    fn ask_set(&mut self, turn: &mut Turn<'_>, at: usize) {
        let if_version = self.draw_if_version(turn, at);
        let note = format!("client {}", turn.client());
        match turn.choices().below(6) {
            0 => {
                let to = self.seen[at];
                turn.call(DOCUMENTS[at], "rollback", &Rollback { to, if_version, note });
            }
            1 | 2 => {
                let (document, percentage) =
                    (self.draw_text(turn), ConfigurationWork::draw_percentage(turn));
                let members = turn.choices().one_in(2).then(|| draw_member(turn));
                let members = members.into_iter().collect();
                let stage = Stage { document, if_version, percentage, members, note };
                turn.call(DOCUMENTS[at], "stage", &stage);
            }
            _ => {
                let document = self.draw_text(turn);
                turn.call(DOCUMENTS[at], "set", &Set { document, if_version, note });
            }
        }
    }

    fn go_on(turn: &mut Turn<'_>, document: &str, version: u64) {
        match turn.choices().below(4) {
            0 | 1 => {
                let percentage = ConfigurationWork::draw_percentage(turn);
                let members = turn.choices().one_in(2).then(|| draw_member(turn));
                let members = members.into_iter().collect();
                turn.call(document, "widen", &Widen { version, percentage, members });
            }
            2 => drop(turn.call(document, "promote", &Candidate { version })),
            _ => drop(turn.call(document, "abort", &Candidate { version })),
        }
    }

    fn ask_define(turn: &mut Turn<'_>, document: &str) {
        let field =
            |path: &str, required| Field { path: path.into(), kind: "integer".into(), required };
        let fields = match turn.choices().below(6) {
            0 => Some(vec![field("/port", true)]),
            1 => Some(vec![field("/port", false)]),
            2 => Some(vec![field("port", true)]),
            _ => None,
        };
        let definition = fields.map(|fields| Definition { fields });
        turn.call(document, "define", &Define { definition });
    }

    fn ask_query(&self, turn: &mut Turn<'_>, at: usize) {
        let document = DOCUMENTS[at];
        let seen = self.seen[at];
        match turn.choices().below(8) {
            0 => {
                let after = turn.choices().one_in(2).then_some(seen);
                let count = 1 + turn.choices().below(4) as u32;
                turn.query(document, "history", to_cbor(&History { after, count }));
            }
            1 => drop(turn.query(document, "definition", Bytes::new())),
            2 | 3 => drop(turn.query(document, "status", Bytes::new())),
            4 => {
                let get = Get { member: None, version: Some(seen) };
                turn.query(document, "get", to_cbor(&get));
            }
            5 => {
                let get = Get { member: None, version: None };
                turn.query(document, "get", to_cbor(&get));
            }
            _ => {
                let get = Get { member: Some(draw_member(turn)), version: None };
                turn.query(document, "get", to_cbor(&get));
            }
        }
    }
}

impl Work for ConfigurationWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let at = turn.choices().below(2) as usize;
        let document = DOCUMENTS[at];
        match turn.choices().below(24) {
            0..=5 => self.ask_set(turn, at),
            6..=8 => ConfigurationWork::go_on(turn, document, self.rolled_out[at]),
            9 => ConfigurationWork::ask_define(turn, document),
            10 => {
                let if_version = self.draw_if_version(turn, at);
                turn.call(document, "remove", &Remove { if_version });
            }
            11..=16 => {
                let version = self.seen[at];
                let member = turn.choices().one_in(2).then(|| draw_member(turn));
                let wait_ms = turn.draw_wait_ms();
                turn.call(document, "await-change", &AwaitChange { version, member, wait_ms });
            }
            17..=22 => self.ask_query(turn, at),
            _ => turn.abandon_any(),
        }
    }

    fn take(&mut self, _: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let Some(at) = DOCUMENTS.iter().position(|name| *name == ended.object) else { return };
        match ended.operation {
            "set" | "rollback" => self.seen[at] = ended.reply().unwrap_or(self.seen[at]),
            "stage" => self.rolled_out[at] = ended.reply().unwrap_or(self.rolled_out[at]),
            "status" => {
                if let Some(Status { current, roll_out, .. }) = ended.reply() {
                    self.seen[at] = current;
                    self.rolled_out[at] = roll_out.map_or(0, |roll_out| roll_out.version);
                }
            }
            "await-change" | "get" => {
                if let Some(Change { version }) = ended.reply() {
                    self.seen[at] = version;
                }
            }
            _ => {}
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        if eager {
            return;
        }
        if !self.is_over {
            self.is_over = true;
            let at = turn.choices().below(2) as usize;
            let version = self.rolled_out[at];
            turn.call(DOCUMENTS[at], "abort", &Candidate { version });
            turn.call(DOCUMENTS[at], "remove", &Remove { if_version: None });
            turn.call(DOCUMENTS[at], "define", &Define { definition: None });
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

struct ConfigurationPromises {
    config: Config,
    documents: BTreeMap<String, Document>,
    identities: Identities,
    judged: u64,
}

impl ConfigurationPromises {
    fn new(config: &[u8]) -> ConfigurationPromises {
        let config = serde_cbor::from_slice(config).expect("the trial drew it");
        let (documents, identities) = (BTreeMap::new(), Identities::default());
        ConfigurationPromises { config, documents, identities, judged: 0 }
    }

    fn judge_query(&mut self, told: &Told<'_>) -> Result {
        let document = self.documents.entry(told.object.into()).or_default();
        let none = Shown::default();
        let shown = document.shown.at(told.zxid).unwrap_or(&none);
        let is_right = match (told.operation, told.refusal()) {
            ("get", refusal) => {
                let Get { member, version } = told.arguments()?;
                let told_version: Option<words::Text> = told.reply()?;
                match (told_version, refusal) {
                    (Some(seen), _) => {
                        if version.is_none_or(|version| version != seen.version) {
                            let member = member.as_deref().filter(|_| version.is_none());
                            document.reach.learn(&shown.status, member, seen.version)?;
                        }
                        shown.kept.get(&seen.version) == Some(&seen)
                    }
                    (None, Some("no-document")) => shown.status.current == 0,
                    (None, Some("no-such-version")) => {
                        version.is_some_and(|version| !shown.kept.contains_key(&version))
                    }
                    _ => false,
                }
            }
            ("history", None) => {
                let History { after, count } = told.arguments()?;
                let after = after.map_or(0, |after| after + 1);
                let kept = shown.kept.range(after..).take(count as usize);
                let right: Vec<Version> = kept.map(|(_, text)| text.facts()).collect();
                told.reply()? == Some(right) && shown.status.current != 0
            }
            ("history", Some("no-document")) => shown.status.current == 0,
            ("status", None) => told.reply()?.as_ref() == Some(&shown.status),
            ("definition", None) => {
                told.reply::<Option<Definition>>()?.as_ref() == Some(&shown.definition)
            }
            _ => false,
        };
        if is_right {
            return Ok(());
        }
        Err(format!("told is {:?} at {}, it was {shown:?}", told.outcome, told.zxid))
    }
}

impl Promises for ConfigurationPromises {
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
                let document = self.documents.entry(object.clone()).or_default();
                document.waits.end(answered.ticket)?;
            }
        }
        if let Some(call) = &entry.call {
            let identity = self.identities.of(call.name.0);
            let document = self.documents.entry(call.object.into()).or_default();
            document.called(&self.config, entry, call, identity)?;
        }
        for (name, document) in &mut self.documents {
            let answers = answers.remove(name.as_str()).unwrap_or_default();
            let is_called = entry.call.as_ref().is_some_and(|call| call.object == name);
            if is_called || !answers.is_empty() {
                document.check_answers(&answers)?;
            }
            if is_called || !entry.answered.is_empty() {
                document.note(entry.zxid);
            }
            document.waits.check_overdue(entry, |_, _| false)?;
        }
        match answers.first_key_value() {
            None => Ok(()),
            Some((object, _)) => Err(format!("{object} is no document, and its callers wait")),
        }
    }

    fn told(&mut self, told: &Told<'_>) -> Result {
        self.judged += 1;
        if ["get", "history", "status", "definition"].contains(&told.operation) {
            return self.judge_query(told);
        }
        let Some(word) = told.refusal() else {
            return Err(format!("{} is answered and not in the log", told.operation));
        };
        let none = Shown::default();
        let document = self.documents.entry(told.object.into()).or_default();
        for shown in document.shown.within(told.from, told.zxid) {
            if is_right(&self.config, told, word, shown.unwrap_or(&none), &document.reach)? {
                return Ok(());
            }
        }
        Err(format!("{} is refused {word}, and that was never right", told.operation))
    }

    fn finish(&mut self, left: &[String]) -> Result {
        let expected: Vec<String> =
            self.documents.iter().flat_map(|(name, document)| document.left(name)).collect();
        if left == expected { Ok(()) } else { Err(format!("left are {left:?}, not {expected:?}")) }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
