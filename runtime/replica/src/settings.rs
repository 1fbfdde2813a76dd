//! What a replica is told at start and never changes.
//!
//! Comes in: the server's checked configuration. Invariant: nothing here changes what a committed
//! transaction does; that is all in the log.

use alloc::collections::BTreeMap;
use quorate_storage::ServerIdentity;
use quorate_types::limits::Limits;
use quorate_types::{MemberAddress, ServerId};

/// Which recipe calls a follower runs again to compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// None.
    Off,
    /// One in 64.
    #[default]
    Sample,
    /// All.
    All,
}

/// What a replica is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which server of which cluster. The incarnation counts only when the disk is empty; else
    /// the one on disk does.
    pub identity: ServerIdentity,
    /// The members of a new cluster, and where they are; of a joining server, those it may be
    /// contacted by at first. What the cluster has on record counts before it.
    pub members: BTreeMap<ServerId, MemberAddress>,
    /// Whether an empty data directory waits to be added to a running cluster. Without it, it is
    /// one of a new cluster's.
    pub join: bool,
    /// Whether this server, cut off from a quorum, serves reads to clients that are content with them.
    pub read_only_mode: bool,
    /// Seed of every random choice of this replica.
    pub seed: u64,
    /// Shortest time without a leader before an election.
    pub election_timeout_ms_min: u64,
    /// Longest time without a leader before an election.
    pub election_timeout_ms_max: u64,
    /// Time between the leader's heartbeats.
    pub heartbeat_interval_ms: u64,
    /// Which calls to compare.
    pub verify: Verify,
    /// Every other bound.
    pub limits: Limits,
}

impl Settings {
    /// How long clients stay connected while no leader is known: long enough for an election or
    /// two, short enough that they find a server on the right side of a partition.
    #[must_use]
    pub fn leaderless_ms_max(&self) -> u64 {
        self.election_timeout_ms_max * 6
    }
}
