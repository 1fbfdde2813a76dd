//! The read-write lock (plugins/read-write-lock/README.md): what its callers say, and what clients do
//! with it.
//!
//! Comes in: clients' turns and answers. Goes out: holds taken, changed and given back. Invariant:
//! what a client was granted it gives back, or forgets with its session.

mod promises;

use super::{EndedCall, Trial, Turn, Work};
use crate::history::OperationId;
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const TRIAL: Trial = Trial {
    name: "read-write-lock",
    config: draw_config,
    work: |_| Box::<LockWork>::default(),
    promises: |config| Box::new(promises::LockPromises::new(config)),
};

const LOCKS: [&str; 2] = ["a", "b"];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    claims_max: u32,
    grants_max: u32,
    note_bytes_max: u32,
}

fn draw_config(choices: &mut Choices, _: &Plan) -> Bytes {
    to_cbor(&Config {
        claims_max: [3, 10_000, 10_000][choices.below(3) as usize],
        grants_max: [1, 2, 100][choices.below(3) as usize],
        note_bytes_max: [3, 1_024][choices.below(2) as usize],
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Read,
    Write,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Acquire {
    mode: Mode,
    wait_ms: Option<u64>,
    note: String,
}

/// What is granted, and names a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    fence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    mode: Mode,
    session: u64,
    fence: u64,
    note: String,
    since_ms: u64,
    claims: u32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Page {
    after: Option<String>,
    limit: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Holders {
    holders: Vec<Holder>,
    next: Option<String>,
}

type Hold = (&'static str, Mode, u64);

/// What one client does.
#[derive(Default)]
struct LockWork {
    /// Holds, with the time at which something is done about them.
    held: Vec<(Hold, u64)>,
    acquiring: BTreeMap<OperationId, Mode>,
    /// Holds that are being turned into the other kind.
    changing: BTreeMap<OperationId, Hold>,
    /// A hold of somebody.
    seen: u64,
}

impl LockWork {
    fn ask_acquire(&mut self, turn: &mut Turn<'_>, object: &str) {
        let longest_ms = turn.session_timeout_ms() * 2;
        let choices = turn.choices();
        let wait_ms = match choices.below(4) {
            0 => Some(0),
            1 | 2 => None,
            _ => Some(1 + choices.below(longest_ms)),
        };
        let mode = [Mode::Read, Mode::Read, Mode::Write][choices.below(3) as usize];
        let note = "note"[..choices.below(5) as usize].to_owned();
        let id = turn.call(object, "acquire", &Acquire { mode, wait_ms, note });
        self.acquiring.insert(id, mode);
    }

    fn keep(&mut self, turn: &mut Turn<'_>, hold: Hold) {
        let span_ms = turn.pause_ms() * 6 + 1;
        let until_ms = turn.now_ms() + turn.choices().below(span_ms);
        self.held.push((hold, until_ms));
    }

    /// Does something about a hold that was held long enough.
    fn end(&mut self, turn: &mut Turn<'_>, hold: Hold) {
        let (object, mode, fence) = hold;
        let which = Grant { fence };
        match turn.choices().below(8) {
            0..=2 => {
                let operation = if mode == Mode::Read { "try-upgrade" } else { "downgrade" };
                self.changing.insert(turn.call(object, operation, &which), hold);
            }
            // Twice.
            3 => {
                turn.call(object, "release", &which);
                turn.call(object, "release", &which);
            }
            _ => drop(turn.call(object, "release", &which)),
        }
    }

    /// What is not the caller's, or not of the kind, is not to be had.
    fn ask_wrongly(&self, turn: &mut Turn<'_>, object: &str) {
        let operation = ["release", "downgrade", "try-upgrade"][turn.choices().below(3) as usize];
        let own = self.held.first().map_or(self.seen, |((_, _, fence), _)| *fence);
        let fence = if operation == "release" { self.seen } else { own };
        turn.call(object, operation, &Grant { fence });
    }
}

fn known_lock(object: &str) -> Option<&'static str> {
    LOCKS.into_iter().find(|known| *known == object)
}

impl Work for LockWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let object = LOCKS[turn.choices().below(2) as usize];
        match turn.choices().below(14) {
            0..=8 => self.ask_acquire(turn, object),
            9 => self.ask_wrongly(turn, object),
            10 => {
                if let Some((id, _)) = self.acquiring.pop_first() {
                    turn.abandon(id);
                }
            }
            _ => {
                let limit = turn.choices().one_in(2).then_some(1);
                turn.query(object, "holders", to_cbor(&Page { after: None, limit }));
            }
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let Some(object) = known_lock(ended.object) else { return };
        match ended.operation {
            "acquire" => {
                let mode = self.acquiring.remove(&ended.id);
                if let (Some(mode), Some(Grant { fence })) = (mode, ended.reply()) {
                    self.keep(turn, (object, mode, fence));
                }
            }
            "downgrade" | "try-upgrade" => {
                let Some(before) = self.changing.remove(&ended.id) else { return };
                let other = if before.1 == Mode::Read { Mode::Write } else { Mode::Read };
                let after = ended.reply().map(|Grant { fence }| (object, other, fence));
                self.keep(turn, after.unwrap_or(before));
            }
            "holders" => {
                let Some(listed) = ended.reply::<Holders>() else { return };
                self.seen = listed.holders.first().map_or(self.seen, |holder| holder.fence);
                if listed.next.is_some() {
                    let page = Page { after: listed.next, limit: Some(2) };
                    turn.query(object, "holders", to_cbor(&page));
                }
            }
            _ => {}
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        let now_ms = turn.now_ms();
        for (hold, until_ms) in std::mem::take(&mut self.held) {
            if !eager {
                turn.call(hold.0, "release", &Grant { fence: hold.2 });
            } else if until_ms <= now_ms {
                self.end(turn, hold);
            } else {
                self.held.push((hold, until_ms));
            }
        }
        if !eager && turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {
        *self = LockWork { seen: self.seen, ..LockWork::default() };
    }

    fn is_at_rest(&self) -> bool {
        self.held.is_empty()
    }
}
