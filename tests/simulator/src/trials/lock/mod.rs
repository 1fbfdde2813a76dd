//! The lock (plugins/lock/README.md): what its callers say, and what clients do with it.
//!
//! Comes in: clients' turns and answers. Goes out: locks taken, alone or several at once, given back,
//! revoked and broken. Invariant: what a client was granted it gives back, forgets with its session,
//! or lets run out.

mod promises;
mod state;

use super::{EndedCall, Trial, Turn, Work};
use crate::history::OperationId;
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

pub const TRIAL: Trial = Trial {
    name: "lock",
    config: draw_config,
    work: |_| Box::<LockWork>::default(),
    promises: |config| Box::new(promises::LockPromises::new(config)),
};

const LOCKS: [&str; 3] = ["a", "b", "c"];

/// Who may break locks, if not everybody may.
const ADMIN: (usize, &str) = (0, "client-0");

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Config {
    delay_ms: u64,
    waiters_max: u32,
    objects_max: u32,
    admins: Vec<String>,
}

fn draw_config(choices: &mut Choices, plan: &Plan) -> Bytes {
    let delays_ms = [0, plan.pause_ms * 6, plan.session_timeout_ms.0];
    to_cbor(&Config {
        delay_ms: delays_ms[choices.below(3) as usize],
        waiters_max: [1, 2, 10_000][choices.below(3) as usize],
        objects_max: [2, 3, 16][choices.below(3) as usize],
        admins: if choices.one_in(2) { vec![ADMIN.1.to_owned()] } else { Vec::new() },
    })
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Acquire {
    wait_ms: Option<u64>,
    note: String,
    reentrant: bool,
    hold_ms: Option<u64>,
    delay_ms: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct AcquireAll {
    with: Vec<String>,
    wait_ms: Option<u64>,
    note: String,
    hold_ms: Option<u64>,
    delay_ms: Option<u64>,
}

/// What is granted, and names a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    fence: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ReleaseAll {
    fence: u64,
    with: Option<Vec<String>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Released {
    released: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Revoke {
    within_ms: u64,
    fence: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Break {
    fence: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    session: u64,
    fence: u64,
    note: String,
    since_ms: u64,
    depth: u32,
    ends_at_ms: Option<u64>,
    revoke_at_ms: Option<u64>,
    delay_ms: Option<u64>,
    with: Vec<String>,
}

/// What one client does.
#[derive(Default)]
struct LockWork {
    /// A lock, the fence, and the time at which it is given back. Of several locks the one called.
    held: Vec<(&'static str, u64, u64)>,
    acquiring: BTreeSet<OperationId>,
    /// A hold of somebody.
    seen: u64,
}

fn draw_wait(turn: &mut Turn<'_>) -> Option<u64> {
    let longest_ms = turn.session_timeout_ms() * 2;
    let choices = turn.choices();
    match choices.below(4) {
        0 => Some(0),
        1 | 2 => None,
        _ => Some(1 + choices.below(longest_ms)),
    }
}

/// Holds: mostly without an end, some shorter and some longer than they are needed. Rarely none.
fn draw_hold(turn: &mut Turn<'_>) -> Option<u64> {
    let spans_ms = [turn.pause_ms() * 6, turn.session_timeout_ms()];
    let choices = turn.choices();
    match choices.below(5) {
        0 => Some(choices.below(spans_ms[0])),
        1 => Some(1 + choices.below(spans_ms[1])),
        _ => None,
    }
}

fn draw_delay(turn: &mut Turn<'_>) -> Option<u64> {
    let span_ms = turn.pause_ms() * 10;
    let choices = turn.choices();
    match choices.below(3) {
        0 => Some(choices.below(span_ms)),
        1 => Some(0),
        _ => None,
    }
}

impl LockWork {
    fn ask_acquire(&mut self, turn: &mut Turn<'_>, object: &str) {
        let (wait_ms, hold_ms, delay_ms) = (draw_wait(turn), draw_hold(turn), draw_delay(turn));
        let reentrant = turn.choices().one_in(2);
        let note = format!("client {}", turn.client());
        let wanted = Acquire { wait_ms, note, reentrant, hold_ms, delay_ms };
        self.acquiring.insert(turn.call(object, "acquire", &wanted));
    }

    fn ask_acquire_all(&mut self, turn: &mut Turn<'_>, object: &str) {
        let (wait_ms, hold_ms, delay_ms) = (draw_wait(turn), draw_hold(turn), draw_delay(turn));
        let mut with: Vec<String> = Vec::new();
        for lock in LOCKS {
            if turn.choices().one_in(2) {
                with.insert(0, lock.into());
            }
        }
        if turn.choices().one_in(20) {
            with.push("no/name".into());
        }
        let note = format!("client {}", turn.client());
        let wanted = AcquireAll { with, wait_ms, note, hold_ms, delay_ms };
        let object = if turn.choices().one_in(40) { "" } else { object };
        self.acquiring.insert(turn.call(object, "acquire-all", &wanted));
    }

    fn ask_to_give_way(&self, turn: &mut Turn<'_>, object: &str) {
        let within_ms = [0, turn.pause_ms() * 4, turn.session_timeout_ms()];
        let choices = turn.choices();
        let fence = choices.one_in(2).then_some(self.seen);
        let within_ms = within_ms[choices.below(3) as usize];
        match choices.below(3) {
            0 => turn.call(object, "break", &Break { fence }),
            _ => turn.call(object, "revoke", &Revoke { within_ms, fence }),
        };
    }

    fn keep(&mut self, turn: &mut Turn<'_>, object: &'static str, fence: u64) {
        let span_ms = turn.pause_ms() * 8 + 1;
        let until_ms = turn.now_ms() + turn.choices().below(span_ms);
        self.held.push((object, fence, until_ms));
    }

    /// Gives back what was held long enough.
    fn end(turn: &mut Turn<'_>, object: &str, fence: u64) {
        match turn.choices().below(8) {
            0 => drop(turn.call(object, "release", &Grant { fence })),
            1 => {
                let with = Some(LOCKS.map(str::to_owned).into());
                turn.call(object, "release-all", &ReleaseAll { fence, with });
            }
            2 => {
                let with = Some(vec![LOCKS[turn.choices().below(3) as usize].to_owned()]);
                turn.call(object, "release-all", &ReleaseAll { fence, with });
            }
            3 | 4 => drop(turn.call(object, "release-all", &ReleaseAll { fence, with: None })),
            _ => {
                for lock in LOCKS {
                    if lock == object || turn.choices().one_in(2) {
                        turn.call(lock, "release", &Grant { fence });
                    }
                }
            }
        }
    }
}

fn known_lock(object: &str) -> Option<&'static str> {
    LOCKS.into_iter().find(|known| *known == object)
}

impl Work for LockWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let object = LOCKS[turn.choices().below(3) as usize];
        match turn.choices().below(16) {
            0..=6 => self.ask_acquire(turn, object),
            7..=10 => self.ask_acquire_all(turn, object),
            11 => self.ask_to_give_way(turn, object),
            12 => drop(turn.call(object, "release", &Grant { fence: self.seen })),
            13 => {
                if let Some(id) = self.acquiring.pop_first() {
                    turn.abandon(id);
                }
            }
            _ => drop(turn.query(object, "holder", Bytes::new())),
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let Some(object) = known_lock(ended.object) else { return };
        match ended.operation {
            "acquire" | "acquire-all" => {
                self.acquiring.remove(&ended.id);
                if let Some(Grant { fence }) = ended.reply() {
                    self.keep(turn, object, fence);
                }
            }
            "holder" => {
                if let Some(Some(holder)) = ended.reply::<Option<Holder>>() {
                    self.seen = holder.fence;
                }
            }
            _ => {}
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        let now_ms = turn.now_ms();
        for (object, fence, until_ms) in std::mem::take(&mut self.held) {
            if !eager {
                let with = Some(LOCKS.map(str::to_owned).into());
                turn.call(object, "release-all", &ReleaseAll { fence, with });
            } else if until_ms <= now_ms {
                LockWork::end(turn, object, fence);
            } else {
                self.held.push((object, fence, until_ms));
            }
        }
        if !eager && turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {
        self.held.clear();
        self.acquiring.clear();
    }

    fn is_at_rest(&self) -> bool {
        self.held.is_empty()
    }
}
