//! What callers of the rate limiter say and are told, and what a mount may be given.
//!
//! Comes in: CBOR of callers. Goes out: CBOR to callers; `Rate` is also what a znode holds. Invariant:
//! what a caller may leave out has a default, what it misspells is refused.

use quorate_recipe::prelude::*;

/// What a mount may be given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The rate of every object that is not configured by itself; none: those are refused.
    pub rate: Option<Rate>,
    /// Most callers in line and sessions with leases of one object, together.
    pub claims_max: u32,
    /// Most leases of one session in one object, at most 100.
    pub leases_max: u32,
    /// Longest lease.
    pub lease_ms_max: u64,
    /// Most waiters that one run answers, at most 100 and fewer if they have many leases; the next
    /// ones follow a millisecond later.
    pub grants_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rate: None,
            claims_max: 10_000,
            leases_max: 100,
            lease_ms_max: 3_600_000,
            grants_max: 100,
        }
    }
}

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// So many come in each period, evenly: 1 to 1,000,000,000.
    pub tokens: u64,
    /// The period in milliseconds: 1 to a day; none: a second.
    #[serde(default = "second")]
    pub per_ms: u64,
    /// The bucket holds so many: 1 to 1,000,000,000.
    pub burst: u64,
}

fn second() -> u64 {
    1_000
}

/// What to take.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// At least 1, at most the burst; not given: 1.
    #[serde(default = "one")]
    pub tokens: u64,
    /// Milliseconds to wait in line; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

fn one() -> u64 {
    1
}

/// What to lease.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// At least 1, at most the burst.
    pub tokens: u64,
    /// Milliseconds in which they are to be spent or given back.
    pub for_ms: u64,
    /// Milliseconds to wait in line; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// The tokens are taken, or given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Taken {
    /// Whole tokens in the bucket now.
    pub left: u64,
}

/// The tokens are yours to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Quota {
    /// Names the lease within the session.
    pub fence: u64,
    /// How many.
    pub tokens: u64,
    /// Spend none after this: milliseconds since 1970, by the leader's stamp.
    pub ends_at_ms: u64,
}

/// What is given back of a lease.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct GiveBack {
    /// The fence of the lease.
    pub fence: u64,
    /// How many of its tokens were not spent.
    pub unspent: u64,
}

/// How fast an object shall be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Configure {
    /// None: as the mount says.
    pub rate: Option<Rate>,
}

/// How an object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Standing {
    /// None: neither the mount nor the object is configured.
    pub rate: Option<Rate>,
    /// Whole tokens in the bucket.
    pub left: u64,
}

/// Callers that are refused, told when it may be worth asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct RetryAfter {
    /// Not before so many milliseconds.
    pub retry_after_ms: u64,
}
