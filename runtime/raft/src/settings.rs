//! The constants of one replica's run: identity, seed, times and windows.
//!
//! Comes in: the configuration, checked once. Goes out: values every other file reads. Invariant:
//! `check` holds for the whole run. Never changes after the start.

use crate::types::ReplicaId;

/// Constants of one run. Times are milliseconds of the caller's monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This replica.
    pub id: ReplicaId,
    /// Source of election jitter and of never-reused numbers; differs between replicas and should
    /// differ between runs (production: entropy; simulation: the run's seed).
    pub seed: u64,
    /// Shortest silence of the leader after which a follower campaigns, and for which followers
    /// refuse votes after leader contact.
    pub election_timeout_ms_min: u64,
    /// Longest such silence (exclusive); a leader without a quorum's answers for this long steps down.
    pub election_timeout_ms_max: u64,
    /// Time between a leader's heartbeats; below `election_timeout_ms_min`.
    pub heartbeat_interval_ms: u64,
    /// Most entries in one append, at least 1.
    pub append_entries_max: usize,
    /// Most payload bytes in one append; one entry is always sent, however large.
    pub append_bytes_max: usize,
    /// Most unanswered appends with entries per peer, at least 1.
    pub appends_inflight_max: usize,
    /// Proposals are refused while this many payload bytes are uncommitted; one proposal is always
    /// taken when nothing is uncommitted.
    pub uncommitted_bytes_max: usize,
}

impl Settings {
    /// Usual values for a local network: 1 to 2 s election timeout, 100 ms heartbeat.
    pub fn new(id: ReplicaId, seed: u64) -> Settings {
        Settings {
            id,
            seed,
            election_timeout_ms_min: 1_000,
            election_timeout_ms_max: 2_000,
            heartbeat_interval_ms: 100,
            append_entries_max: 4_096,
            append_bytes_max: 1 << 20,
            appends_inflight_max: 64,
            uncommitted_bytes_max: 64 << 20,
        }
    }

    /// Panics if a value is out of its range: the configuration is checked before it comes here.
    pub(crate) fn check(&self) {
        assert!(self.heartbeat_interval_ms > 0, "heartbeat interval is 0");
        assert!(self.heartbeat_interval_ms < self.election_timeout_ms_min, "heartbeat too slow");
        assert!(self.election_timeout_ms_min < self.election_timeout_ms_max, "no election jitter");
        assert!(self.append_entries_max > 0 && self.appends_inflight_max > 0, "empty window");
    }
}
