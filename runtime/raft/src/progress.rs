//! A leader's view of one peer, and the flow control of its appends.
//!
//! Comes in: what was sent, what the peer answered. Goes out: whether and from where to send next.
//! Invariant: `matched < next`; answers of another replication session never get here; the window
//! holds at most `appends_inflight_max` appends. Never goes back below what the peer acknowledged
//! within the session.

use alloc::collections::VecDeque;

use crate::types::Index;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};

/// How a leader currently feeds a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationState {
    /// Looks for the last equal entry: one append per answer or heartbeat.
    Probe,
    /// Sends ahead of acknowledgements, up to the window.
    Replicate,
    /// Waits for a snapshot to arrive.
    Snapshot,
}

/// A leader's view of one peer, for status and for decisions of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Last entry known durable at the peer in this replication session.
    pub matched: Index,
    /// Next entry to send.
    pub next: Index,
    /// How it is fed.
    pub state: ReplicationState,
    /// When it last answered (monotonic ms); the start of the leadership if never.
    pub contact_ms: u64,
    /// Unanswered appends with entries.
    pub inflight: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) state: ReplicationState,
    pub(crate) matched: Index,
    pub(crate) next: Index,
    /// Last index of each unanswered append with entries, rising.
    inflight: VecDeque<Index>,
    /// Probe only: an append is out and neither it nor a heartbeat has been answered.
    pub(crate) probe_sent: bool,
    /// Send an append even without news, so that a lost one is noticed.
    pub(crate) poke: bool,
    /// Commit index that the peer has been sent together with the entries up to it.
    pub(crate) sent_commit: Index,
    pub(crate) session: u64,
    /// The peer's run as told in this leadership; 0: has not answered yet.
    pub(crate) life: u64,
    pub(crate) contact_ms: u64,
    pub(crate) acked_round: u64,
}

impl Progress {
    pub(crate) fn new(session: u64, next: Index, now_ms: u64) -> Progress {
        Progress {
            state: ReplicationState::Probe,
            matched: Index(0),
            next: next.max(Index(1)),
            inflight: VecDeque::new(),
            probe_sent: false,
            poke: false,
            sent_commit: Index(0),
            session,
            life: 0,
            contact_ms: now_ms,
            acked_round: 0,
        }
    }

    /// Begins a new replication session: nothing the peer said before counts for its log any more.
    pub(crate) fn restart(&mut self, session: u64, next: Index) {
        let (life, contact_ms, acked_round) = (self.life, self.contact_ms, self.acked_round);
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::OlderSessionCounts) {
            let matched = self.matched;
            *self =
                Progress { life, acked_round, matched, ..Progress::new(session, next, contact_ms) };
            return;
        }
        *self = Progress { life, acked_round, ..Progress::new(session, next, contact_ms) };
    }

    pub(crate) fn status(&self) -> PeerStatus {
        PeerStatus {
            matched: self.matched,
            next: self.next,
            state: self.state,
            contact_ms: self.contact_ms,
            inflight: self.inflight.len(),
        }
    }

    /// Whether an append may leave now; `news` says whether there is anything to tell.
    pub(crate) fn may_send(&self, news: bool, inflight_max: usize) -> bool {
        match self.state {
            ReplicationState::Probe => !self.probe_sent,
            ReplicationState::Replicate => {
                self.inflight.len() < inflight_max && (news || self.poke)
            }
            ReplicationState::Snapshot => false,
        }
    }

    /// An append with `count` entries, telling `commit`, has left.
    pub(crate) fn sent(&mut self, count: usize, commit: Index) {
        let last_sent = Index(self.next.0 - 1 + count as u64);
        self.poke = false;
        match self.state {
            ReplicationState::Probe => self.probe_sent = true,
            ReplicationState::Replicate => {
                self.sent_commit = commit.min(last_sent);
                if count > 0 {
                    self.next = last_sent.next();
                    self.inflight.push_back(last_sent);
                }
            }
            ReplicationState::Snapshot => unreachable!("append to a peer that gets a snapshot"),
        }
        self.check();
    }

    /// The peer holds everything up to `matched`. `first_held` is the leader's first entry. Returns
    /// whether this was news.
    pub(crate) fn accepted(&mut self, matched: Index, first_held: Index) -> bool {
        let raised = matched > self.matched;
        let outdated = matched < self.matched;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        match self.state {
            // Answers an append from before the probe, which may still be rejected.
            ReplicationState::Probe if outdated => {}
            ReplicationState::Probe => self.begin_replicate(),
            ReplicationState::Replicate => {
                while self.inflight.front().is_some_and(|last| *last <= matched) {
                    self.inflight.pop_front();
                }
            }
            ReplicationState::Snapshot if self.matched.next() >= first_held => {
                self.begin_replicate();
            }
            ReplicationState::Snapshot => {}
        }
        self.check();
        raised
    }

    /// The peer lacks `previous`; `retry_after` is the best place to go on. Returns false if the
    /// answer is about an append that does not matter any more.
    pub(crate) fn rejected(&mut self, previous: Index, retry_after: Index) -> bool {
        match self.state {
            ReplicationState::Snapshot => return false,
            ReplicationState::Replicate if previous <= self.matched => return false,
            ReplicationState::Replicate => self.begin_probe(self.matched.next()),
            ReplicationState::Probe if previous.next() != self.next => return false,
            ReplicationState::Probe => {
                let next = retry_after.next().min(previous).max(self.matched.next());
                self.begin_probe(next);
            }
        }
        true
    }

    /// The peer has answered a heartbeat: what is still unanswered may be lost.
    pub(crate) fn heartbeat_answered(&mut self, last: Index, inflight_max: usize) {
        self.probe_sent = false;
        if self.state == ReplicationState::Replicate && self.matched < last {
            self.poke = true;
            if self.inflight.len() >= inflight_max {
                self.inflight.pop_front();
            }
        }
    }

    pub(crate) fn begin_probe(&mut self, next: Index) {
        self.state = ReplicationState::Probe;
        self.next = next;
        self.probe_sent = false;
        self.inflight.clear();
        self.check();
    }

    fn begin_replicate(&mut self) {
        self.begin_probe(self.matched.next());
        self.state = ReplicationState::Replicate;
        self.sent_commit = Index(0);
    }

    pub(crate) fn begin_snapshot(&mut self) {
        self.begin_probe(self.matched.next());
        self.state = ReplicationState::Snapshot;
    }

    /// The snapshot has arrived up to the given index, or failed; goes on after the next answer.
    pub(crate) fn snapshot_ended(&mut self, outcome: Result<Index, ()>) {
        let arrived = outcome.unwrap_or_default();
        self.begin_probe(self.matched.max(arrived).next());
        self.probe_sent = true;
    }

    fn check(&self) {
        assert!(self.matched < self.next, "next entry already acknowledged");
    }
}

#[cfg(test)]
mod tests;
