//! The rate limiter (plugins/rate-limiter/README.md): what its callers say, and what clients do with
//! it.
//!
//! Comes in: clients' turns and answers. Goes out: tokens taken and leased, leases given back, rates
//! changed. Invariant: what a client leased it gives back, or lets run out.

mod bucket;
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
    name: "rate-limiter",
    config: draw_config,
    work: |config| Box::new(RateWork::new(config)),
    promises: |config| Box::new(promises::RatePromises::new(config)),
};

const BUCKETS: [&str; 2] = ["a", "b"];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Config {
    rate: Option<Rate>,
    claims_max: u32,
    leases_max: u32,
    lease_ms_max: u64,
    grants_max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rate {
    tokens: u64,
    per_ms: u64,
    burst: u64,
}

/// Rates at which some calls wait and some do not.
fn draw_rate(choices: &mut Choices, pause_ms: u64) -> Rate {
    let rates = [
        Rate { tokens: 7, per_ms: pause_ms * 10, burst: 5 },
        Rate { tokens: 1, per_ms: pause_ms * 2 + 1, burst: 2 },
        Rate { tokens: 3, per_ms: 1_000, burst: 12 },
    ];
    rates[choices.below(3) as usize]
}

fn draw_config(choices: &mut Choices, plan: &Plan) -> Bytes {
    let rate = draw_rate(choices, plan.pause_ms);
    to_cbor(&Config {
        rate: choices.below(4).checked_sub(1).map(|_| rate),
        claims_max: [2, 10_000, 10_000][choices.below(3) as usize],
        leases_max: [1, 3, 100][choices.below(3) as usize],
        lease_ms_max: [plan.pause_ms * 5, plan.session_timeout_ms.0][choices.below(2) as usize],
        grants_max: [1, 2, 100][choices.below(3) as usize],
    })
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Take {
    tokens: u64,
    wait_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Lease {
    tokens: u64,
    for_ms: u64,
    wait_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Quota {
    fence: u64,
    tokens: u64,
    ends_at_ms: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct GiveBack {
    fence: u64,
    unspent: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Configure {
    rate: Option<Rate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    rate: Option<Rate>,
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RetryAfter {
    retry_after_ms: u64,
}

/// What one client does.
struct RateWork {
    config: Config,
    /// Leases, with the time at which they are given back.
    leases: Vec<(&'static str, Quota, u64)>,
    waiting: BTreeSet<OperationId>,
    /// A lease that was had.
    old: u64,
}

impl RateWork {
    fn new(config: &[u8]) -> RateWork {
        let config = serde_cbor::from_slice(config).expect("the trial drew it");
        RateWork { config, leases: Vec::new(), waiting: BTreeSet::new(), old: 0 }
    }

    fn draw(&self, turn: &mut Turn<'_>) -> (u64, Option<u64>) {
        let longest_ms = turn.session_timeout_ms() * 2;
        let shortest_ms = turn.pause_ms() * 4;
        let burst = self.config.rate.map_or(4, |rate| rate.burst);
        let choices = turn.choices();
        let tokens = match choices.below(8) {
            0 => choices.below(burst + 2),
            1 => burst,
            _ => 1 + choices.below(burst.div_ceil(2)),
        };
        let wait_ms = match choices.below(6) {
            0 => Some(0),
            1 | 2 => None,
            3 => Some(1 + choices.below(shortest_ms)),
            _ => Some(1 + choices.below(longest_ms)),
        };
        (tokens, wait_ms)
    }

    fn ask_take(&mut self, turn: &mut Turn<'_>, object: &str) {
        let (tokens, wait_ms) = self.draw(turn);
        self.waiting.insert(turn.call(object, "take", &Take { tokens, wait_ms }));
    }

    fn ask_lease(&mut self, turn: &mut Turn<'_>, object: &str) {
        let (tokens, wait_ms) = self.draw(turn);
        let for_ms = turn.choices().below(self.config.lease_ms_max + self.config.lease_ms_max / 8);
        self.waiting.insert(turn.call(object, "lease", &Lease { tokens, for_ms, wait_ms }));
    }

    fn ask_configure(turn: &mut Turn<'_>, object: &str) {
        let pause_ms = turn.pause_ms();
        let choices = turn.choices();
        let rate = draw_rate(choices, pause_ms);
        let rate = match choices.below(6) {
            0 => Some(Rate { burst: 0, ..rate }),
            1 | 2 => Some(rate),
            3 => Some(Rate { per_ms: rate.per_ms + 7, burst: rate.burst + 1, ..rate }),
            _ => None,
        };
        turn.call(object, "configure", &Configure { rate });
    }

    fn give_back(&mut self, turn: &mut Turn<'_>, object: &str, quota: Quota) {
        let fence = quota.fence;
        self.old = fence;
        let choices = turn.choices();
        let unspent = choices.below(quota.tokens + 1);
        let unspent = match choices.below(10) {
            // Spent, all of it, without a word.
            0 => return,
            1 => quota.tokens + 1,
            _ => unspent,
        };
        turn.call(object, "give-back", &GiveBack { fence, unspent });
    }
}

fn known_bucket(object: &str) -> Option<&'static str> {
    BUCKETS.into_iter().find(|known| *known == object)
}

impl Work for RateWork {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let object = BUCKETS[turn.choices().below(2) as usize];
        match turn.choices().below(18) {
            0..=7 => self.ask_take(turn, object),
            8..=11 => self.ask_lease(turn, object),
            12 => RateWork::ask_configure(turn, object),
            13 => {
                let given = GiveBack { fence: self.old, unspent: 0 };
                turn.call(object, "give-back", &given);
            }
            14 => {
                if let Some(id) = self.waiting.pop_first() {
                    turn.abandon(id);
                }
            }
            _ => drop(turn.query(object, "standing", Bytes::new())),
        }
    }

    fn take(&mut self, turn: &mut Turn<'_>, ended: &EndedCall<'_>) {
        let Some(object) = known_bucket(ended.object) else { return };
        self.waiting.remove(&ended.id);
        if ended.operation == "lease"
            && let Some(quota) = ended.reply::<Quota>()
        {
            // Some are given back too late.
            let span_ms = self.config.lease_ms_max * 5 / 4;
            let until_ms = turn.now_ms() + turn.choices().below(span_ms + 1);
            self.leases.push((object, quota, until_ms));
        }
    }

    fn tend(&mut self, turn: &mut Turn<'_>, eager: bool) {
        let now_ms = turn.now_ms();
        for (object, quota, until_ms) in std::mem::take(&mut self.leases) {
            if !eager {
                let given = GiveBack { fence: quota.fence, unspent: quota.tokens };
                turn.call(object, "give-back", &given);
            } else if until_ms <= now_ms {
                self.give_back(turn, object, quota);
            } else {
                self.leases.push((object, quota, until_ms));
            }
        }
        if !eager && turn.choices().one_in(50) {
            turn.abandon_all();
        }
    }

    fn forget(&mut self) {
        self.leases.clear();
        self.waiting.clear();
    }

    fn is_at_rest(&self) -> bool {
        self.leases.is_empty()
    }
}
