//! What callers of a queue send and get, and what a mount of queues is given.
//!
//! Comes in: nothing. Goes out: types with their schemas. Invariant: whatever a configuration that
//! was [checked](Config::check) allows in one call fits into one run of a recipe.

use quorate_recipe::prelude::*;

/// Items that one call may touch: a call of this many stays within the changes that a run may make.
const BATCH_MAX: u32 = 100;
/// Items that one session may hold: its end gives them all back in one run.
const TAKEN_MAX: u32 = 100;
/// Bytes of payload in one call or reply.
pub(crate) const CALL_BYTES_MAX: usize = 192 << 10;
/// Bytes of the reason for which an item came back.
pub(crate) const REASON_BYTES_MAX: usize = 256;

/// What a mount may be given. It holds for every queue of the mount.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Schema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Items in one queue: ready, delayed, taken and dead ones.
    pub length_max: u64,
    /// Items in one call, at most 100.
    pub batch_max: u32,
    /// Bytes of one payload, at most 196608.
    pub payload_bytes_max: u32,
    /// How long a taken item is its taker's, unless the taker says.
    pub visibility_ms: u64,
    /// How long a taker may say.
    pub visibility_ms_max: u64,
    /// Deliveries after which an item that comes back is dead; 0: never.
    pub deliveries_max: u32,
    /// Items that one session may have taken from one queue, at most 100.
    pub taken_max: u32,
    /// Takers that may wait at one queue.
    pub takers_max: u32,
    /// Puts that may wait at one queue.
    pub putters_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            length_max: 100_000,
            batch_max: BATCH_MAX,
            payload_bytes_max: 64 << 10,
            visibility_ms: 30_000,
            visibility_ms_max: 43_200_000,
            deliveries_max: 5,
            taken_max: TAKEN_MAX,
            takers_max: 10_000,
            putters_max: 100,
        }
    }
}

impl Config {
    /// Refuses what a run could not keep.
    pub(crate) fn check(&self) -> Result<()> {
        let rules = [
            (self.length_max > 0, "length_max is at least 1"),
            ((1..=BATCH_MAX).contains(&self.batch_max), "batch_max is from 1 to 100"),
            (
                (1..=CALL_BYTES_MAX).contains(&(self.payload_bytes_max as usize)),
                "payload_bytes_max is from 1 to 196608",
            ),
            ((1..=TAKEN_MAX).contains(&self.taken_max), "taken_max is from 1 to 100"),
            (
                (1..=self.visibility_ms_max).contains(&self.visibility_ms),
                "visibility_ms is from 1 to visibility_ms_max",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Failure::new("bad-config", *rule)),
            None => Ok(()),
        }
    }
}

/// An item to put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    /// What it carries.
    pub payload: Blob,
    /// The smaller, the sooner it is taken; not given: 100.
    #[serde(default = "usual_priority")]
    pub priority: u16,
    /// Milliseconds before it can be taken; not given: 0.
    #[serde(default)]
    pub delay_ms: u64,
}

fn usual_priority() -> u16 {
    100
}

/// Items to put, and how to wait for room.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// All of them are put, or none.
    pub items: Vec<NewItem>,
    /// Milliseconds to wait for room; 0: not at all.
    #[serde(default)]
    pub wait_ms: u64,
}

/// How much to take, and how to wait for it.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// Items at most; not given: 1.
    #[serde(default = "one")]
    pub count: u32,
    /// Milliseconds to wait for the first item; none: for ever; 0: not at all.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// How long the items are the taker's; none: as long as the mount says.
    #[serde(default)]
    pub visibility_ms: Option<u64>,
}

fn one() -> u32 {
    1
}

impl Default for Take {
    fn default() -> Self {
        Take { count: one(), wait_ms: None, visibility_ms: None }
    }
}

/// One delivery of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Which item.
    pub item: u64,
    /// The fence of the delivery: greater than that of every delivery of this item before.
    pub fence: u64,
}

/// An item in its taker's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Delivery {
    /// Acknowledge the item with it, and send its fence with every write made on the item's behalf.
    pub receipt: Receipt,
    /// What it carries.
    pub payload: Blob,
    /// As it was put.
    pub priority: u16,
    /// How many times it has been delivered, this time included.
    pub deliveries: u32,
    /// When it was put: milliseconds since 1970, by the leader's stamp.
    pub put_ms: u64,
    /// When it goes back, unless it is acknowledged or its time extended.
    pub due_ms: u64,
}

/// Which deliveries.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    /// All of them are acknowledged, or none.
    pub receipts: Vec<Receipt>,
}

/// Which deliveries have come to nothing.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct NegativeAcknowledge {
    /// All of their items go back, or none.
    pub receipts: Vec<Receipt>,
    /// Milliseconds before the items can be taken again; not given: 0.
    #[serde(default)]
    pub delay_ms: u64,
    /// Shown with the item among the dead letters; cut at 256 bytes.
    #[serde(default)]
    pub reason: String,
}

/// Which deliveries need more time.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// All of them are extended, or none.
    pub receipts: Vec<Receipt>,
    /// From now on; none: as long as the mount says.
    #[serde(default)]
    pub visibility_ms: Option<u64>,
}

/// How many items to look at.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Peek {
    /// Items at most; fewer are given when their payloads are large. Not given: 1.
    #[serde(default = "one")]
    pub count: u32,
}

/// An item that is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct ReadyItem {
    /// Which.
    pub item: u64,
    /// What it carries.
    pub payload: Blob,
    /// As it was put.
    pub priority: u16,
    /// How many times it has been delivered.
    pub deliveries: u32,
    /// When it was put: milliseconds since 1970.
    pub put_ms: u64,
}

/// Which dead letters to look at.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetters {
    /// Only those after this item; none: from the first one on.
    #[serde(default)]
    pub after: Option<u64>,
    /// Items at most; fewer are given when their payloads are large. Not given: 1.
    #[serde(default = "one")]
    pub count: u32,
}

/// An item that was delivered as often as it may be and was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct DeadLetter {
    /// Which.
    pub item: u64,
    /// What it carries.
    pub payload: Blob,
    /// As it was put.
    pub priority: u16,
    /// How many times it was delivered.
    pub deliveries: u32,
    /// When it was put: milliseconds since 1970.
    pub put_ms: u64,
    /// Why it came back the last time.
    pub reason: String,
}

/// Which dead letters are meant.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// These, all or none; none given: the oldest, as many as one call may touch.
    #[serde(default)]
    pub items: Option<Vec<u64>>,
}

/// How many there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Lengths {
    /// Items that can be taken.
    pub ready: u64,
    /// Items put or sent back with a delay that is not over.
    pub delayed: u64,
    /// Items in a taker's hands.
    pub taken: u64,
    /// Dead letters.
    pub dead: u64,
    /// Takers that wait.
    pub takers: u64,
    /// Puts that wait.
    pub putters: u64,
}
