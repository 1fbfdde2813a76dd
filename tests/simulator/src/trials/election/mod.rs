//! The election (plugins/election/README.md): what its callers say, and what clients do with it.
//!
//! Comes in: clients' turns and answers. Goes out: candidates, proclamations, ends of terms, and
//! observers of all that. Invariant: a client that leads resigns, hands its office on, or forgets it
//! with its session.

mod promises;

use super::{EndedCall, Trial, Turn, Work};
use crate::history::OperationId;
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use serde::{Deserialize, Serialize};
use serde_cbor::Value;
use std::collections::{BTreeMap, BTreeSet};

pub const TRIAL: Trial = Trial {
    name: "election",
    config: draw_config,
    work: |_| Box::<ElectionWork>::default(),
    promises: |config| Box::new(promises::ElectionPromises::new(config)),
};

const ELECTIONS: [&str; 2] = ["a", "b"];
/// Names that candidates share.
const NAMES: [&str; 3] = ["east", "west", "no/name"];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    candidates_max: u32,
    observers_max: u32,
    value_bytes_max: u32,
    answered_max: u32,
}

fn draw_config(choices: &mut Choices, _: &Plan) -> Bytes {
    to_cbor(&Config {
        candidates_max: [1, 3, 1_000][choices.below(3) as usize],
        observers_max: [1, 4, 10_000][choices.below(3) as usize],
        value_bytes_max: [3, 4_096][choices.below(2) as usize],
        answered_max: [1, 2, 200][choices.below(3) as usize],
    })
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Campaign {
    name: Option<String>,
    value: Value,
    wait_ms: Option<u64>,
}

/// What is won, and names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Term {
    term: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Proclaim {
    term: u64,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Revision {
    revision: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Transfer {
    term: u64,
    to: String,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Observe {
    after: Option<u64>,
    wait_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Standing {
    revision: u64,
    leader: Option<Leader>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Leader {
    name: String,
    session: u64,
    term: u64,
    revision: u64,
    value: Value,
    since_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Page {
    after: Option<u64>,
    limit: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    place: u64,
    name: String,
    session: u64,
}

/// What one client does.
#[derive(Default)]
struct ElectionWork {
    /// Terms, and when something is done about them.
    terms: Vec<(&'static str, u64, u64)>,
    waiting: BTreeSet<OperationId>,
    /// What was seen of each election.
    seen: BTreeMap<&'static str, u64>,
    /// A term of somebody, and the name of a candidate.
    others_term: u64,
    next_name: String,
}

fn draw_wait(turn: &mut Turn<'_>) -> Option<u64> {
    let longest_ms = turn.session_timeout_ms() * 2;
    let choices = turn.choices();
    match choices.below(5) {
        0 => Some(0),
        1 | 2 => None,
        _ => Some(1 + choices.below(longest_ms)),
    }
}

fn draw_value(turn: &mut Turn<'_>) -> Value {
    let choices = turn.choices();
    let length = choices.below(5) as usize;
    Value::Bytes((0..length).map(|_| choices.below(256) as u8).collect())
}

impl ElectionWork {
    fn ask_campaign(&mut self, turn: &mut Turn<'_>, object: &str) {
        let choices = turn.choices();
        let name = match choices.below(12) {
            0 => Some(NAMES[choices.below(3) as usize].to_owned()),
            1..=8 => Some(format!("name-{}", choices.below(40))),
            _ => None,
        };
        let (value, wait_ms) = (draw_value(turn), draw_wait(turn));
        self.waiting.insert(turn.call(object, "campaign", &Campaign { name, value, wait_ms }));
    }

    /// More places than one run passes over when the session ends.
    fn ask_often(&mut self, turn: &mut Turn<'_>, object: &str) {
        for number in 0..10 {
            let name = Some(format!("many-{}-{number}", turn.client()));
            let (value, wait_ms) = (Value::Bytes(Vec::new()), None);
            self.waiting.insert(turn.call(object, "campaign", &Campaign { name, value, wait_ms }));
        }
    }

    fn ask_observe(&mut self, turn: &mut Turn<'_>, object: &'static str) {
        let seen = self.seen.get(object).copied();
        let after = if turn.choices().one_in(8) { None } else { seen };
        let wait_ms = draw_wait(turn);
        self.waiting.insert(turn.call(object, "observe", &Observe { after, wait_ms }));
    }

    /// What is not the caller's is not to be had.
    fn ask_wrongly(&self, turn: &mut Turn<'_>, object: &str) {
        let term = self.others_term;
        match turn.choices().below(3) {
            0 => turn.call(object, "resign", &Term { term }),
            1 => turn.call(object, "transfer", &Transfer { term, to: self.next_name.clone() }),
            _ => turn.call(object, "proclaim", &Proclaim { term, value: Value::Bytes(vec![]) }),
        };
    }

    fn keep(&mut self, turn: &mut Turn<'_>, object: &'static str, term: u64) {
        let span_ms = turn.pause_ms() * 8 + 1;
        let until_ms = turn.now_ms() + turn.choices().below(span_ms);
        self.terms.push((object, term, until_ms));
    }

    /// Does something about a term that has lasted long enough.
    fn end(&mut self, turn: &mut Turn<'_>, object: &'static str, term: u64) {
        match turn.choices().below(10) {
            0..=2 => {
                let value = draw_value(turn);
                turn.call(object, "proclaim", &Proclaim { term, value });
                self.keep(turn, object, term);
            }
            3 | 4 => {
                let to = match turn.choices().below(3) {
                    0 => NAMES[turn.choices().below(3) as usize].to_owned(),
                    _ => self.next_name.clone(),
                };
                turn.call(object, "transfer", &Transfer { term, to });
                self.keep(turn, object, term);
            }
            _ => drop(turn.call(object, "resign", &Term { term })),
        }
    }
}

fn known_election(object: &str) -> Option<&'static str> {
    ELECTIONS.into_iter().find(|known| *known == object)
}

impl Work for ElectionWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let object = ELECTIONS[turn.choices().below(2) as usize];
        match turn.choices().below(20) {
            0..=6 => self.ask_campaign(turn, object),
            7..=11 => self.ask_observe(turn, object),
            12 => self.ask_wrongly(turn, object),
            13 | 14 => {
                if let Some(id) = self.waiting.pop_first() {
                    turn.abandon(id);
                }
            }
            15 if turn.choices().one_in(4) => self.ask_often(turn, object),
            15..=17 => drop(turn.query(object, "leader", Bytes::new())),
            _ => {
                let choices = turn.choices();
                let limit = choices.one_in(2).then(|| 1 + choices.below(3) as u32);
                turn.query(object, "candidates", to_cbor(&Page { after: None, limit }));
            }
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let Some(object) = known_election(ended.object) else { return };
        self.waiting.remove(&ended.id);
        match ended.operation {
            "campaign" => {
                if let Some(Term { term }) = ended.reply() {
                    self.keep(turn, object, term);
                }
            }
            "leader" | "observe" => {
                let Some(standing) = ended.reply::<Standing>() else { return };
                self.seen.insert(object, standing.revision);
                self.others_term = standing.leader.map_or(self.others_term, |leader| leader.term);
            }
            "candidates" => {
                let Some(places) = ended.reply::<Vec<Place>>() else { return };
                let Some(Place { place, name, .. }) = places.last() else { return };
                self.next_name.clone_from(name);
                if turn.choices().one_in(2) {
                    let page = Page { after: Some(*place), limit: None };
                    turn.query(object, "candidates", to_cbor(&page));
                }
            }
            _ => {}
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        let now_ms = turn.now_ms();
        for (object, term, until_ms) in std::mem::take(&mut self.terms) {
            if !eager {
                turn.call(object, "resign", &Term { term });
            } else if until_ms <= now_ms {
                self.end(turn, object, term);
            } else {
                self.terms.push((object, term, until_ms));
            }
        }
        if !eager && turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {
        self.terms.clear();
        self.waiting.clear();
    }

    fn is_at_rest(&self) -> bool {
        self.terms.is_empty()
    }
}
