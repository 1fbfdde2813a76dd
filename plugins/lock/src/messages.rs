//! What callers of the lock say and are told, and what a mount may be given.
//!
//! Comes in: CBOR of callers. Goes out: CBOR to callers; `Holder` is also what a znode holds. Invariant:
//! what a caller may leave out has a default, what it misspells is refused; what a reply or znode
//! gains later has a default for those who wrote it before.

use quorate_recipe::prelude::*;

/// What a mount may be given.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For so many milliseconds a lock is kept from others after its holder's session has ended without
    /// a release, unless the holder said otherwise.
    pub delay_ms: u64,
    /// Most callers in line for one lock.
    pub waiters_max: u32,
    /// Most locks that one `acquire-all` takes: 1 to 16.
    pub objects_max: u32,
    /// Who may `break` locks, by identity; none named: whoever may call.
    pub admins: Vec<String>,
    /// Whether clients of ZooKeeper that lock by themselves share these locks; an open mount only.
    pub layout: Layout,
}

/// Who may contend for the locks of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Callers of the recipe.
    #[default]
    Own,
    /// They, and clients of ZooKeeper as Curator and kazoo have them.
    Zookeeper,
}

/// One hand-over may touch this many locks of as many who waited, within the limits of one run.
pub(crate) const OBJECTS_MAX: u32 = 16;
/// Bytes of a note: every look at a place in line reads it.
pub(crate) const NOTE_BYTES_MAX: usize = 1_024;

impl Default for Config {
    fn default() -> Self {
        Config {
            delay_ms: 0,
            waiters_max: 10_000,
            objects_max: OBJECTS_MAX,
            admins: Vec::new(),
            layout: Layout::Own,
        }
    }
}

/// How to wait, how to hold, and what to tell others.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// Milliseconds to wait in line; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// Shown to whoever asks for the holder; at most 1024 bytes.
    #[serde(default)]
    pub note: String,
    /// A session that holds the lock by a reentrant acquire has it at once again, and releases it as
    /// often.
    #[serde(default)]
    pub reentrant: bool,
    /// Milliseconds after which the lock passes on, released or not; none: it does not.
    #[serde(default)]
    pub hold_ms: Option<u64>,
    /// As the mount's `delay_ms`, for this hold; none: as the mount says.
    #[serde(default)]
    pub delay_ms: Option<u64>,
}

/// Which other locks to take with this one, and as `Acquire`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct AcquireAll {
    /// Names of the other locks, in any order.
    pub with: Vec<String>,
    /// Milliseconds to wait in all lines; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// Shown to whoever asks for the holder; at most 1024 bytes.
    #[serde(default)]
    pub note: String,
    /// Milliseconds after which the locks pass on, released or not; none: they do not.
    #[serde(default)]
    pub hold_ms: Option<u64>,
    /// As the mount's `delay_ms`, for these holds; none: as the mount says.
    #[serde(default)]
    pub delay_ms: Option<u64>,
}

/// The lock is yours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Grant {
    /// Send it with every write to what the lock guards, and let that refuse a smaller one than it
    /// has seen.
    pub fence: u64,
}

/// Which grant to give back.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The fence of the grant.
    pub fence: u64,
}

/// Which grant of several locks to give back.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseAll {
    /// The fence of the grant.
    pub fence: u64,
    /// Names of the other locks; none: those that were acquired with this one.
    #[serde(default)]
    pub with: Option<Vec<String>>,
}

/// What was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Released {
    /// Names of the locks that were still held under the fence.
    pub released: Vec<String>,
}

/// By when the holder is to release.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Milliseconds from now.
    pub within_ms: u64,
    /// Only this grant; none: whoever holds the lock.
    #[serde(default)]
    pub fence: Option<u64>,
}

/// What to break.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Break {
    /// Only this grant; none: whoever holds the lock.
    #[serde(default)]
    pub fence: Option<u64>,
}

/// Who has the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Holder {
    /// The session.
    pub session: SessionId,
    /// Who the session's connection proved to be.
    pub identity: String,
    /// The fence of its grant.
    pub fence: u64,
    /// What it said when it acquired.
    pub note: String,
    /// When it was granted: milliseconds since 1970, by the leader's stamp.
    pub since_ms: u64,
    /// How many releases free it, if it was acquired as reentrant; 0: it was not, and one does.
    #[serde(default)]
    pub depth: u32,
    /// When it passes on, released or not.
    #[serde(default)]
    pub ends_at_ms: Option<u64>,
    /// The holder is asked to release: when it passes on if it does not.
    #[serde(default)]
    pub revoke_at_ms: Option<u64>,
    /// For how long it is kept from others if the session ends; none: as the mount says.
    #[serde(default)]
    pub delay_ms: Option<u64>,
    /// All locks of the grant, if it was of several.
    #[serde(default)]
    pub with: Vec<String>,
    /// In the layout of ZooKeeper: names of the znodes by which it contends. A client of ZooKeeper has
    /// one, and no fence: that is 0 then, and besides session and identity nothing is known of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
}

impl Holder {
    /// When it passes on by itself.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.ends_at_ms.into_iter().chain(self.revoke_at_ms).min()
    }
}
