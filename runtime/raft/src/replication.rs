//! Appends, acknowledgements, commit; and a follower's side of them.
//!
//! Comes in: proposals, appends, replies, reports about peers and snapshots. Goes out: appends,
//! acknowledgements, a rising commit index. Invariant: an entry commits by count only in the
//! leader's own term and on durable copies; a follower's commit never exceeds what it knows equal
//! to the leader's log. Never overwrites a committed entry.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::membership::Membership;
use crate::message::{Append, AppendOutcome, AppendReply, Heartbeat, HeartbeatReply, Message};
use crate::output::{ProposeRefusal, Violation};
use crate::quorum;
use crate::raft::{Raft, decode_own};
use crate::types::{Entry, EntryKind, HardState, Index, ReplicaId, SnapshotMark, Term};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};

/// The way back of a replica that lost acknowledged entries.
///
/// The leader may still count on what was acknowledged before the loss. So this replica waits until
/// the leader names its present run, which means a new replication session began with nothing
/// counted; the commit index told from then on owes nothing to the lost entries. Once the log holds
/// everything up to such a commit index of the leader's own term, nothing acknowledged is missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refetch {
    /// The first session of this term in which the leader knew the present run.
    session: Option<u64>,
    /// A commit index of the leader's own term told in such a session, already in the log.
    goal: Option<Index>,
}

impl Refetch {
    pub(crate) fn enter_term(&mut self) {
        *self = Refetch::default();
    }
}

impl Raft {
    /// Appends commands, contiguous, if this replica leads `only_in_term`. Returns the index of the
    /// first. They may still be lost if leadership is. `payloads` must not be empty.
    pub fn propose(
        &mut self,
        payloads: Vec<Arc<[u8]>>,
        only_in_term: Term,
    ) -> Result<Index, ProposeRefusal> {
        assert!(!payloads.is_empty(), "proposal of nothing");
        let bytes: usize = payloads.iter().map(|payload| payload.len()).sum();
        self.check_propose(only_in_term, bytes)?;
        let first = self.log.last_index().next();
        for payload in payloads {
            self.append_own(EntryKind::Command, payload);
        }
        Ok(first)
    }

    /// Whether a proposal of this many payload bytes would be taken now, for callers that compute
    /// what they propose and cannot take it back.
    pub fn check_propose(&self, only_in_term: Term, bytes: usize) -> Result<(), ProposeRefusal> {
        self.check_may_propose()?;
        if only_in_term != self.hard_state.term {
            return Err(ProposeRefusal::OtherTerm { term: self.hard_state.term });
        }
        let full =
            self.uncommitted_bytes.saturating_add(bytes) > self.settings.uncommitted_bytes_max;
        if full && self.uncommitted_bytes > 0 {
            return Err(ProposeRefusal::Full);
        }
        Ok(())
    }

    pub(crate) fn check_may_propose(&self) -> Result<(), ProposeRefusal> {
        if !self.is_leader() {
            return Err(ProposeRefusal::NotLeader { leader: self.leader });
        }
        match self.transfer {
            Some(transfer) => Err(ProposeRefusal::Transferring { to: transfer.to }),
            None => Ok(()),
        }
    }

    pub(crate) fn append_own(&mut self, kind: EntryKind, payload: Arc<[u8]>) -> Index {
        let index = self.log.last_index().next();
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_add(payload.len());
        self.log.append(Entry { index, term: self.hard_state.term, kind, payload });
        index
    }

    /// Leader: sends every peer what it may be sent now.
    pub(crate) fn feed_all(&mut self) {
        let peers: Vec<ReplicaId> = self.peers.keys().copied().collect();
        peers.into_iter().for_each(|id| self.feed(id));
    }

    pub(crate) fn feed(&mut self, id: ReplicaId) {
        while self.feed_once(id) {}
    }

    /// Sends one append if there is reason and room. Returns whether another may follow.
    fn feed_once(&mut self, id: ReplicaId) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let previous_index = peer.next.previous();
        let commit_news = peer.sent_commit < self.committed.min(previous_index);
        let news = commit_news || peer.next <= self.log.last_index();
        if !peer.may_send(news, self.settings.appends_inflight_max) {
            return false;
        }
        let Some(previous_term) = self.log.term_at(previous_index) else {
            self.want_snapshot(id);
            return false;
        };
        let (count_max, bytes_max) =
            (self.settings.append_entries_max, self.settings.append_bytes_max);
        let entries = self.log.slice(peer.next, count_max, bytes_max);
        peer.sent(entries.len(), self.committed);
        let more = !entries.is_empty();
        let append = Append {
            term: self.hard_state.term,
            session: peer.session,
            previous_index,
            previous_term,
            commit: self.committed,
            entries,
        };
        self.send(id, Message::Append(append));
        more
    }

    /// The peer needs entries that are gone. One that has not answered lately gets nothing yet.
    fn want_snapshot(&mut self, id: ReplicaId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let silent_ms = self.now_ms - peer.contact_ms;
        if silent_ms < self.settings.election_timeout_ms_max {
            peer.begin_snapshot();
            self.outbox.snapshot_wanted.insert(id);
        }
    }

    pub(crate) fn send_heartbeats(&mut self) {
        let (term, round, commit) = (self.hard_state.term, self.reads.round, self.committed);
        let heartbeats: Vec<(ReplicaId, Heartbeat)> = self
            .peers
            .iter()
            .map(|(id, peer)| {
                let (session, life) = (peer.session, peer.life);
                (*id, Heartbeat { term, session, life, commit, round })
            })
            .collect();
        for (id, heartbeat) in heartbeats {
            self.send(id, Message::Heartbeat(heartbeat));
        }
        self.heartbeat_deadline_ms =
            self.now_ms.saturating_add(self.settings.heartbeat_interval_ms);
    }

    /// A connection to the peer was made: a new replication session begins.
    pub fn peer_connected(&mut self, id: ReplicaId) {
        self.restart_session(id);
    }

    /// The connection to the peer is gone: what was in flight may be lost.
    pub fn peer_disconnected(&mut self, id: ReplicaId) {
        self.restart_session(id);
    }

    fn restart_session(&mut self, id: ReplicaId) {
        let next = self.log.last_index().next();
        if let Some(peer) = self.peers.get_mut(&id) {
            self.sessions_begun += 1;
            peer.restart(self.sessions_begun, next);
            self.outbox.snapshot_wanted.remove(&id);
        }
    }

    /// The snapshot asked for in `Output::snapshot_wanted` has arrived, up to the index given, or
    /// sending it failed. After a failure it is asked for again when the peer next answers.
    pub fn snapshot_sent(&mut self, to: ReplicaId, outcome: Result<Index, ()>) {
        let last = self.log.last_index();
        let waits = crate::progress::ReplicationState::Snapshot;
        if let Some(peer) = self.peers.get_mut(&to).filter(|peer| peer.state == waits) {
            peer.snapshot_ended(outcome.map(|index| index.min(last)));
        }
    }

    /// Leader: notes a peer's answer. `None`: the answer is from an older session, or shows that
    /// the peer restarted, and says nothing about its present log.
    fn note_answer(&mut self, from: ReplicaId, session: u64, life: u64) -> Option<()> {
        if !self.is_leader() {
            return None;
        }
        let now_ms = self.now_ms;
        let peer = self.peers.get_mut(&from).filter(|peer| peer.session == session)?;
        peer.contact_ms = now_ms;
        let known = core::mem::replace(&mut peer.life, life);
        if known != 0 && known != life {
            self.restart_session(from);
            return None;
        }
        Some(())
    }

    pub(crate) fn check_append_reply(
        &self,
        from: ReplicaId,
        reply: &AppendReply,
    ) -> Result<(), Violation> {
        let current = self.peers.get(&from).is_some_and(|peer| peer.session == reply.session);
        let (index, acknowledges) = match reply.outcome {
            AppendOutcome::Accepted { matched } => (matched, true),
            AppendOutcome::Rejected { previous, hint_index, .. } => {
                (hint_index.max(previous), false)
            }
        };
        self.check_index(index)?;
        let unsent = acknowledges && index > self.log.last_index();
        if current && reply.term == self.hard_state.term && unsent {
            return Err(Violation::AcknowledgesUnsent);
        }
        if reply.life == 0 { Err(Violation::OutOfRange) } else { Ok(()) }
    }

    pub(crate) fn take_append_reply(&mut self, from: ReplicaId, reply: &AppendReply) {
        if self.note_answer(from, reply.session, reply.life).is_none() {
            return;
        }
        let first_held = self.log.first_index();
        let Some(peer) = self.peers.get_mut(&from) else { return };
        match reply.outcome {
            AppendOutcome::Accepted { matched } => {
                let raised = peer.accepted(matched, first_held);
                if raised {
                    self.commit_what_a_quorum_holds();
                    self.hand_over_if_caught_up(from);
                }
            }
            AppendOutcome::Rejected { previous, hint_index, hint_term } => {
                let (retry_after, _) = self.log.last_at_most(hint_index, hint_term);
                peer.rejected(previous, retry_after);
            }
        }
    }

    pub(crate) fn check_heartbeat_reply(
        &self,
        from: ReplicaId,
        reply: &HeartbeatReply,
    ) -> Result<(), Violation> {
        let current = self.peers.get(&from).is_some_and(|peer| peer.session == reply.session);
        if current && reply.term == self.hard_state.term && reply.round > self.reads.round {
            return Err(Violation::AcknowledgesUnsent);
        }
        if reply.life == 0 { Err(Violation::OutOfRange) } else { Ok(()) }
    }

    pub(crate) fn take_heartbeat_reply(&mut self, from: ReplicaId, reply: &HeartbeatReply) {
        if self.note_answer(from, reply.session, reply.life).is_none() {
            return;
        }
        let last = self.log.last_index();
        let inflight_max = self.settings.appends_inflight_max;
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.heartbeat_answered(last, inflight_max);
            peer.acked_round = peer.acked_round.max(reply.round);
            self.finish_rounds();
        }
    }

    /// Leader: raises the commit index to what durable copies on a quorum allow.
    pub(crate) fn commit_what_a_quorum_holds(&mut self) {
        while self.is_leader() {
            let own = self.log.durable_index();
            #[cfg(feature = "planted-bugs")]
            let own = if is_planted(PlantedBug::LeaderCountsUnsyncedCopy) {
                self.log.last_index()
            } else {
                own
            };
            let held = |id| self.peers.get(&id).map_or(Index(0), |peer| peer.matched);
            let held = |id| if id == self.settings.id { own } else { held(id) };
            let Some(index) = quorum::reached(&self.membership, held) else { break };
            let of_own_term = self.log.term_at(index) == Some(self.hard_state.term);
            #[cfg(feature = "planted-bugs")]
            let of_own_term = of_own_term || is_planted(PlantedBug::OldTermCommittedByCount);
            if index <= self.committed || !of_own_term {
                break;
            }
            self.advance_commit(index);
            self.step_down_if_removed();
        }
        if self.is_leader() {
            self.leave_joint_if_possible();
        }
    }

    /// Commits up to `index`; each membership entry on the way takes effect.
    pub(crate) fn advance_commit(&mut self, index: Index) {
        assert!(index <= self.log.last_index(), "commit beyond the log's end");
        while self.committed < index {
            let entry = self.log.entry(self.committed.next()).cloned();
            let Some(entry) = entry else { unreachable!("uncommitted entry is not held") };
            self.committed = entry.index;
            self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(entry.payload.len());
            if entry.kind == EntryKind::Membership {
                self.enter_membership(decode_own(&entry));
            }
        }
    }

    /// Follower: the leader says so much is committed, of what is known equal to its log.
    fn follow_commit(&mut self, commit: Index) {
        let known = commit.min(self.matched_in_term);
        #[cfg(feature = "planted-bugs")]
        let known = if is_planted(PlantedBug::CommitBeyondMatched) {
            commit.min(self.log.last_index())
        } else {
            known
        };
        if known > self.committed {
            self.advance_commit(known);
        }
    }

    fn hear_leader(&mut self, from: ReplicaId, session: u64) {
        self.follow(self.hard_state.term, Some(from));
        self.leader_contact_ms = self.now_ms;
        self.leader_session = self.leader_session.max(session);
        self.arm_election_timer();
    }

    pub(crate) fn check_append(&self, from: ReplicaId, append: &Append) -> Result<(), Violation> {
        self.check_leader(from, append.term)?;
        self.check_index(append.previous_index)?;
        let mut previous = (append.previous_index, append.previous_term);
        for entry in &append.entries {
            let contiguous = entry.index == previous.0.next();
            if !contiguous || entry.term < previous.1 || entry.term.0 == 0 {
                return Err(Violation::BrokenEntries);
            }
            if entry.kind == EntryKind::Membership && !is_usable_membership(&entry.payload) {
                return Err(Violation::BrokenMembership);
            }
            previous = (entry.index, entry.term);
        }
        if previous.1 > append.term {
            return Err(Violation::BrokenEntries);
        }
        if append.term < self.hard_state.term {
            return Ok(());
        }
        self.check_keeps_settled_entries(append)
    }

    /// Committed entries, and those already found equal in this term, never change.
    fn check_keeps_settled_entries(&self, append: &Append) -> Result<(), Violation> {
        let same_term = append.term == self.hard_state.term;
        let equal = if same_term { self.matched_in_term } else { Index(0) };
        let settled = self.committed.max(equal);
        let contradicts = |index, term| {
            index <= settled && self.log.term_at(index).is_some_and(|held| held != term)
        };
        let entries = append.entries.iter().map(|entry| (entry.index, entry.term));
        let named = [(append.previous_index, append.previous_term)];
        if named.into_iter().chain(entries).any(|(index, term)| contradicts(index, term)) {
            return Err(Violation::ContradictsCommitted);
        }
        Ok(())
    }

    pub(crate) fn take_append(&mut self, from: ReplicaId, mut append: Append) {
        self.hear_leader(from, append.session);
        let last_sent = Index(append.previous_index.0 + append.entries.len() as u64);
        if append.previous_index < self.committed {
            let known = (self.committed.0 - append.previous_index.0) as usize;
            append.entries.drain(..known.min(append.entries.len()));
            append.previous_index = self.committed;
            append.previous_term = self.log.term_at(self.committed).unwrap_or_default();
        }
        let matched = last_sent.max(append.previous_index);
        if self.log.term_at(append.previous_index) != Some(append.previous_term) {
            self.reject_append(from, &append);
            return;
        }
        self.append_new(append.entries);
        self.matched_in_term = self.matched_in_term.max(matched);
        self.follow_commit(append.commit);
        self.note_refetched(append.session, append.commit);
        self.acknowledge(from, append.session, matched);
    }

    fn append_new(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match self.log.term_at(entry.index) {
                Some(term) if term == entry.term => continue,
                Some(_) => {
                    assert!(entry.index > self.committed, "overwrites a committed entry");
                    self.log.truncate(entry.index);
                }
                None => {}
            }
            self.log.append(entry);
        }
    }

    fn acknowledge(&mut self, to: ReplicaId, session: u64, matched: Index) {
        let (term, life) = (self.hard_state.term, self.life);
        let outcome = AppendOutcome::Accepted { matched };
        let reply = Message::AppendReply(AppendReply { term, session, life, outcome });
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::AppendAcknowledgedBeforeDurable) {
            self.send(to, reply);
            return;
        }
        self.send_once_durable(to, reply, matched);
    }

    /// Tells the leader where to go on, so that it need not go back entry by entry.
    fn reject_append(&mut self, from: ReplicaId, append: &Append) {
        let previous = append.previous_index;
        let (hint_index, hint_term) = self.log.last_at_most(previous, append.previous_term);
        let (term, session, life) = (self.hard_state.term, append.session, self.life);
        let outcome = AppendOutcome::Rejected { previous, hint_index, hint_term };
        let reply = AppendReply { term, session, life, outcome };
        self.send(from, Message::AppendReply(reply));
    }

    pub(crate) fn take_heartbeat(&mut self, from: ReplicaId, heartbeat: &Heartbeat) {
        self.hear_leader(from, heartbeat.session);
        self.follow_commit(heartbeat.commit);
        if let Some(refetch) = &mut self.refetch
            && heartbeat.life == self.life
        {
            refetch.session.get_or_insert(heartbeat.session);
        }
        self.note_refetched(heartbeat.session, heartbeat.commit);
        let (term, session, round) = (heartbeat.term, heartbeat.session, heartbeat.round);
        let reply = HeartbeatReply { term, session, life: self.life, round };
        self.send(from, Message::HeartbeatReply(reply));
    }

    fn note_refetched(&mut self, session: u64, commit: Index) {
        let of_own_term = self.log.term_at(commit) == Some(self.hard_state.term);
        let held = commit <= self.committed && of_own_term;
        if let Some(refetch) = &mut self.refetch
            && refetch.session.is_some_and(|first| session >= first)
            && held
        {
            refetch.goal.get_or_insert(commit);
        }
        self.finish_refetching_if_complete();
    }

    /// The lost part is back and durable: takes part again. A vote given and forgotten in this term
    /// cannot be repeated: the vote is spent on the term's leader.
    pub(crate) fn finish_refetching_if_complete(&mut self) {
        let goal = self.refetch.as_ref().and_then(|refetch| refetch.goal);
        if goal.is_none_or(|goal| goal > self.log.durable_index()) {
            return;
        }
        let HardState { term, vote } = self.hard_state;
        let vote = vote.or(self.leader);
        if vote.is_none() {
            return;
        }
        self.refetch = None;
        self.set_hard_state(HardState { term, vote });
        self.outbox.refetched = true;
    }

    /// A snapshot from the leader of `term` has arrived and its file is durable. Returns false if
    /// it is of no use: then nothing changed but what the leader is told. After true, the old log
    /// is gone from here; when the write that says so is durable, `Output::installed` follows.
    pub fn install_snapshot(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        term: Term,
        mark: SnapshotMark,
    ) -> bool {
        self.advance_time(now_ms);
        let usable = mark.membership.is_valid() && !mark.membership.voters.is_empty();
        let from_leader = self.check_leader(from, term).is_ok() && from != self.settings.id;
        if term < self.hard_state.term || !from_leader || !usable || mark.term > term {
            return false;
        }
        if self.check_index(mark.index).is_err() || self.check_index(Index(term.0)).is_err() {
            return false;
        }
        self.follow(term, Some(from));
        self.hear_leader(from, 0);
        let session = self.leader_session;
        if mark.index <= self.committed {
            self.acknowledge(from, session, self.committed);
            return false;
        }
        self.matched_in_term = self.matched_in_term.max(mark.index);
        if self.log.term_at(mark.index) == Some(mark.term) {
            self.advance_commit(mark.index);
            self.acknowledge(from, session, mark.index);
            return false;
        }
        self.install(mark);
        self.acknowledge(from, session, self.committed);
        true
    }

    fn install(&mut self, mark: SnapshotMark) {
        self.log.install(&mark);
        self.committed = mark.index;
        self.matched_in_term = mark.index;
        self.enter_membership(mark.membership.clone());
        self.snapshot = mark;
    }
}

fn is_usable_membership(payload: &[u8]) -> bool {
    Membership::decode(payload).is_ok_and(|membership| !membership.voters.is_empty())
}
