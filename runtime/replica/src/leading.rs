//! What exists only while this replica leads: the overlay of proposed changes, the session clock,
//! the stamp of time, answers held back.
//!
//! Invariant: created when leadership of a term begins, dropped when it ends; nothing of it
//! outlives the term. Requests are turned into transactions only once `ready`: when every entry
//! of earlier terms is applied, so that the overlay starts on the whole log.

use crate::boundary::Now;
use crate::forward::Source;
use crate::session_clock::SessionClock;
use alloc::collections::VecDeque;
use quorate_machine::{Machine, Outstanding, Request};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{Index, Term};
use quorate_types::{Outcome, Zxid};

/// Pause before what is due and could not be done at once is tried again: its component is being
/// compiled, or the quorum is being asked.
const RETRY_MS: u64 = 10;

/// Stamps entries: real time that never goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaderTime {
    base_ms: u64,
    base_monotonic_ms: u64,
}

impl LeaderTime {
    /// Begins at `wall_ms`, or at the last stamp of the log if that is later. From then on only
    /// the monotonic clock counts: a jump of the wall clock moves no deadline.
    pub(crate) fn begin(last_stamp_ms: u64, now: Now) -> LeaderTime {
        LeaderTime { base_ms: last_stamp_ms.max(now.wall_ms), base_monotonic_ms: now.monotonic_ms }
    }

    /// The stamp for an entry made now.
    pub(crate) fn stamp_ms(&self, now: Now) -> u64 {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::StampFollowsWallClock) {
            return self.base_ms.max(now.wall_ms);
        }
        self.base_ms + (now.monotonic_ms - self.base_monotonic_ms)
    }

    /// When, on the monotonic clock, the stamp reaches `stamp_ms`.
    fn monotonic_of(&self, stamp_ms: u64) -> u64 {
        self.base_monotonic_ms.saturating_add(stamp_ms.saturating_sub(self.base_ms))
    }
}

/// An answer that waits until the state it was computed from is committed.
#[derive(Clone, Debug)]
pub(crate) struct HeldAnswer {
    pub(crate) after: Zxid,
    pub(crate) source: Source,
    pub(crate) outcome: Outcome,
}

/// The leader's own state.
pub(crate) struct Leading {
    pub(crate) term: Term,
    /// The empty entry this leader began its term with.
    pub(crate) ready_from: Index,
    pub(crate) ready: bool,
    pub(crate) time: LeaderTime,
    pub(crate) outstanding: Outstanding,
    pub(crate) sessions: SessionClock,
    /// Requests that wait until there is room for them; bounded by the submissions of all servers.
    pub(crate) queue: VecDeque<(Source, Request)>,
    /// In the order of `after`.
    pub(crate) held: VecDeque<HeldAnswer>,
    /// Whether a read barrier is under way that will confirm the quorum before sessions expire.
    pub(crate) confirming_expiry: bool,
    /// Until when servers that join are waited for, on the monotonic clock, once that has begun.
    pub(crate) joining_until_ms: Option<u64>,
}

impl Leading {
    /// `record_calls`: whether followers run calls again to compare.
    pub(crate) fn begin(term: Term, ready_from: Index, now: Now, record_calls: bool) -> Leading {
        let mut outstanding = Outstanding::new();
        outstanding.set_record_calls(record_calls);
        Leading {
            term,
            ready_from,
            ready: false,
            time: LeaderTime::begin(0, now),
            outstanding,
            sessions: SessionClock::default(),
            queue: VecDeque::new(),
            held: VecDeque::new(),
            confirming_expiry: false,
            joining_until_ms: None,
        }
    }

    /// Every entry of earlier terms is applied: the log's last stamp and all sessions are known.
    pub(crate) fn become_ready(&mut self, machine: &Machine, now: Now) {
        self.ready = true;
        self.time = LeaderTime::begin(machine.time_ms(), now);
        for known in machine.sessions() {
            let heard_ms = now.monotonic_ms;
            #[cfg(feature = "planted-bugs")]
            let heard_ms =
                if is_planted(PlantedBug::NewLeaderGrantsNoTimeout) { 0 } else { heard_ms };
            self.sessions.watch(known.session, u64::from(known.timeout_ms), heard_ms);
        }
    }

    /// When the leader has something to do by itself, on the monotonic clock.
    pub(crate) fn next_deadline_ms(&self, machine: &Machine, now: Now) -> u64 {
        let due_ms = self
            .outstanding
            .next_deadline_ms(machine)
            .map_or(u64::MAX, |stamp_ms| self.time.monotonic_of(stamp_ms));
        let expiry_ms = self.sessions.next_deadline_ms().unwrap_or(u64::MAX);
        let deadline_ms = due_ms.min(expiry_ms);
        match (self.ready, deadline_ms <= now.monotonic_ms) {
            (false, _) => u64::MAX,
            (true, true) => now.monotonic_ms + RETRY_MS,
            (true, false) => deadline_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_never_go_back_whatever_the_wall_clock_does() {
        let early = Now { monotonic_ms: 1_000, wall_ms: 50_000 };
        let time = LeaderTime::begin(70_000, early);
        assert_eq!(time.stamp_ms(early), 70_000);
        let jumped = Now { monotonic_ms: 1_010, wall_ms: 10 };
        assert_eq!(time.stamp_ms(jumped), 70_010);
        assert_eq!(time.monotonic_of(70_010), 1_010);
    }
}
