//! What callers of the semaphore say and are told, and what a mount may be given.
//!
//! Comes in: CBOR of callers. Goes out: CBOR to callers; `Pool` and `Holder` are also what the znodes
//! hold. Invariant: what a caller may leave out has a default, what it misspells is refused.

use quorate_recipe::prelude::*;

/// What a mount may be given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Capacity of every semaphore; none: each gets its own at its first use.
    pub capacity: Option<u64>,
    /// Most sessions with leases and waiters of one semaphore, together.
    pub claims_max: u32,
    /// Most leases of one session in one semaphore, at most 100.
    pub leases_max: u32,
    /// Most waiters that one run answers, at most 100 and fewer if they have many leases; the next
    /// ones follow a millisecond later.
    pub grants_max: u32,
    /// Longest note.
    pub note_bytes_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            capacity: None,
            claims_max: 10_000,
            leases_max: 100,
            grants_max: 100,
            note_bytes_max: 256,
        }
    }
}

/// How much to take, how to wait, and what to tell others.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// How much: all of it or nothing is granted. At least 1; not given: 1.
    #[serde(default = "one")]
    pub quantity: u64,
    /// Milliseconds to wait in line; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// The capacity that the caller believes in: sets it at first use, is compared afterwards.
    #[serde(default)]
    pub capacity: Option<u64>,
    /// Milliseconds after which the lease ends unless it is renewed; none: with the session.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// Shown to whoever lists the leases.
    #[serde(default)]
    pub note: String,
}

fn one() -> u64 {
    1
}

impl Default for Acquire {
    fn default() -> Self {
        Acquire { quantity: 1, wait_ms: None, capacity: None, ttl_ms: None, note: String::new() }
    }
}

/// The quantity is yours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Grant {
    /// Names the lease within the session, and grows from grant to grant.
    pub fence: u64,
    /// When the lease ends unless it is renewed: milliseconds since 1970, by the leader's stamp; none:
    /// with the session.
    pub ends_at_ms: Option<u64>,
}

/// Which lease to give back.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The fence of its grant.
    pub fence: u64,
}

/// Which lease is to last longer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// The fence of its grant.
    pub fence: u64,
    /// Milliseconds from now; none: it ends with the session.
    pub ttl_ms: Option<u64>,
}

/// How much there shall be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// At least 1; none: what the mount says, or the next first use.
    pub capacity: Option<u64>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Pool {
    /// In all.
    pub capacity: u64,
    /// Leased out; above the capacity only after it was made smaller.
    pub taken: u64,
    /// Whether `resize` has set the capacity: then the callers' own do not count.
    pub resized: bool,
}

impl Pool {
    /// Takes the mount's capacity over, unless it has one of its own by `resize`.
    pub(crate) fn follow(&mut self, config: &Config) {
        if !self.resized {
            self.capacity = config.capacity.unwrap_or(self.capacity);
        }
    }
}

/// A quantity that is leased out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Lease {
    /// The fence of its grant.
    pub fence: u64,
    /// How much.
    pub quantity: u64,
    /// When it was granted: milliseconds since 1970, by the leader's stamp.
    pub since_ms: u64,
    /// When it ends unless it is renewed; none: with the session.
    pub ends_at_ms: Option<u64>,
    /// What the holder said when it acquired.
    pub note: String,
}

/// The leases of one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Holder {
    /// The session.
    pub session: SessionId,
    /// Who the session's connection proved to be.
    pub identity: String,
    /// In order of their fences.
    pub leases: Vec<Lease>,
}

/// Which leases to list.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// The `next` of the page before; none: from the beginning.
    pub after: Option<SessionId>,
    /// No more sessions once there are so many leases, at most 200; none: 200.
    pub limit: Option<u32>,
}

/// Who has how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Leases {
    /// How much there is; none: the semaphore is not used.
    pub pool: Option<Pool>,
    /// In order of session.
    pub holders: Vec<Holder>,
    /// There may be more: ask for those after this session.
    pub next: Option<SessionId>,
}
