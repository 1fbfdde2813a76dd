//! The semaphore (plugins/semaphore/README.md): what its callers say, and what clients do with it.
//!
//! Comes in: clients' turns and answers. Goes out: leases taken, renewed and given back, capacities
//! changed. Invariant: what a client was granted it gives back, forgets with its session, or lets run
//! out.

mod promises;

use super::{EndedCall, Trial, Turn, Work};
use crate::history::OperationId;
use crate::plan::Plan;
use crate::work::to_cbor;
use bytes::Bytes;
use quorate_faulty_disk::Choices;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

pub const TRIAL: Trial = Trial {
    name: "semaphore",
    config: draw_config,
    work: |config| Box::new(SemaphoreWork::new(config)),
    promises: |config| Box::new(promises::SemaphorePromises::new(config)),
};

const SEMAPHORES: [&str; 2] = ["a", "b"];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    capacity: Option<u64>,
    claims_max: u32,
    leases_max: u32,
    grants_max: u32,
    note_bytes_max: u32,
}

fn draw_config(choices: &mut Choices, _: &Plan) -> Bytes {
    to_cbor(&Config {
        capacity: [None, Some(1), Some(3), Some(7)][choices.below(4) as usize],
        claims_max: [3, 10_000, 10_000][choices.below(3) as usize],
        leases_max: [1, 3, 100][choices.below(3) as usize],
        grants_max: [1, 2, 100][choices.below(3) as usize],
        note_bytes_max: [3, 256][choices.below(2) as usize],
    })
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Acquire {
    quantity: u64,
    wait_ms: Option<u64>,
    capacity: Option<u64>,
    ttl_ms: Option<u64>,
    note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    fence: u64,
    ends_at_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Release {
    fence: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Renew {
    fence: u64,
    ttl_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Resize {
    capacity: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pool {
    capacity: u64,
    taken: u64,
    resized: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    fence: u64,
    quantity: u64,
    since_ms: u64,
    ends_at_ms: Option<u64>,
    note: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Holder {
    session: u64,
    leases: Vec<Lease>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Page {
    after: Option<u64>,
    limit: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Leases {
    pool: Option<Pool>,
    holders: Vec<Holder>,
    next: Option<u64>,
}

/// What one client does.
struct SemaphoreWork {
    capacity: u64,
    /// Leases, with the time at which something is done about them.
    held: Vec<(&'static str, u64, u64)>,
    acquiring: BTreeSet<OperationId>,
    /// A lease of somebody.
    seen: u64,
}

impl SemaphoreWork {
    fn new(config: &[u8]) -> SemaphoreWork {
        let config: Config = serde_cbor::from_slice(config).expect("the trial drew it");
        let capacity = config.capacity.unwrap_or(4);
        SemaphoreWork { capacity, held: Vec::new(), acquiring: BTreeSet::new(), seen: 0 }
    }

    fn ask_acquire(&mut self, turn: &mut Turn<'_>, object: &str) {
        let longest_ms = turn.session_timeout_ms() * 2;
        let shortest_ms = turn.pause_ms() * 6;
        let choices = turn.choices();
        let wait_ms = match choices.below(4) {
            0 => Some(0),
            1 | 2 => None,
            _ => Some(1 + choices.below(longest_ms)),
        };
        let quantity = match choices.below(8) {
            0 => choices.below(self.capacity + 3),
            1 | 2 => self.capacity,
            _ => 1 + choices.below(self.capacity),
        };
        let capacity = match choices.below(8) {
            0 => None,
            1 => Some(self.capacity + 1),
            _ => Some(self.capacity),
        };
        let ttl_ms = match choices.below(5) {
            0 => Some(choices.below(longest_ms)),
            1 => Some(1 + choices.below(shortest_ms)),
            _ => None,
        };
        let note = "note"[..choices.below(5) as usize].to_owned();
        let wanted = Acquire { quantity, wait_ms, capacity, ttl_ms, note };
        self.acquiring.insert(turn.call(object, "acquire", &wanted));
    }

    fn ask_resize(&self, turn: &mut Turn<'_>, object: &str) {
        let choices = turn.choices();
        let capacity = match choices.below(8) {
            0 => Some(0),
            1..=3 => Some(1 + choices.below(self.capacity + 3)),
            _ => None,
        };
        turn.call(object, "resize", &Resize { capacity });
    }

    /// Does something about a lease that was held long enough.
    fn end(&mut self, turn: &mut Turn<'_>, object: &'static str, fence: u64) {
        let longest_ms = turn.session_timeout_ms();
        match turn.choices().below(10) {
            0 | 1 => {
                let choices = turn.choices();
                let ttl_ms = [None, Some(choices.below(longest_ms))][choices.below(2) as usize];
                let until_ms = turn.now_ms() + turn.choices().below(longest_ms);
                turn.call(object, "renew", &Renew { fence, ttl_ms });
                self.held.push((object, fence, until_ms));
            }
            // Twice.
            2 => {
                turn.call(object, "release", &Release { fence });
                turn.call(object, "release", &Release { fence });
            }
            _ => drop(turn.call(object, "release", &Release { fence })),
        }
    }

    /// What is not the caller's is not to be had.
    fn ask_wrongly(&mut self, turn: &mut Turn<'_>, object: &str) {
        let fence = self.seen;
        match turn.choices().below(2) {
            0 => turn.call(object, "renew", &Renew { fence, ttl_ms: Some(1) }),
            _ => turn.call(object, "release", &Release { fence }),
        };
    }
}

fn known_semaphore(object: &str) -> Option<&'static str> {
    SEMAPHORES.into_iter().find(|known| *known == object)
}

impl Work for SemaphoreWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let object = SEMAPHORES[turn.choices().below(2) as usize];
        match turn.choices().below(16) {
            0..=9 => self.ask_acquire(turn, object),
            10 => self.ask_resize(turn, object),
            11 => self.ask_wrongly(turn, object),
            12 => {
                if let Some(id) = self.acquiring.pop_first() {
                    turn.abandon(id);
                }
            }
            _ => {
                let limit = turn.choices().one_in(2).then_some(1);
                turn.query(object, "leases", to_cbor(&Page { after: None, limit }));
            }
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let Some(object) = known_semaphore(ended.object) else { return };
        match ended.operation {
            "acquire" => {
                self.acquiring.remove(&ended.id);
                let span_ms = turn.pause_ms() * 8 + 1;
                if let Some(Grant { fence, .. }) = ended.reply() {
                    let until_ms = turn.now_ms() + turn.choices().below(span_ms);
                    self.held.push((object, fence, until_ms));
                }
            }
            "leases" => {
                let Some(listed) = ended.reply::<Leases>() else { return };
                let first = listed.holders.first().and_then(|holder| holder.leases.first());
                self.seen = first.map_or(self.seen, |lease| lease.fence);
                if listed.next.is_some() {
                    let page = Page { after: listed.next, limit: Some(2) };
                    turn.query(object, "leases", to_cbor(&page));
                }
            }
            _ => {}
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        let now_ms = turn.now_ms();
        for (object, fence, until_ms) in std::mem::take(&mut self.held) {
            if !eager {
                turn.call(object, "release", &Release { fence });
            } else if until_ms <= now_ms {
                self.end(turn, object, fence);
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
