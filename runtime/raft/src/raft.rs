//! The state of one replica and the dispatch of its inputs.
//!
//! Comes in: everything the caller tells a replica. Goes out: changes of state and of the outbox,
//! made by the files beside this one (`election`, `replication`, `read_index`, `membership_change`,
//! `transfer`). Invariant: term, vote, commit and applied never go back; `applied <= committed`.
//! A message is checked before anything changes, so a refused one leaves no trace.

use alloc::collections::BTreeMap;
use core::ops::RangeInclusive;

use crate::log::Log;
use crate::membership::Membership;
use crate::message::{
    AppendOutcome, AppendReply, HeartbeatReply, Message, ReadIndexReply, VoteReply,
};
use crate::output::{Outbox, Violation};
use crate::progress::{PeerStatus, Progress};
use crate::read_index::Reads;
use crate::replication::Refetch;
use crate::settings::Settings;
use crate::transfer::Transfer;
use crate::types::{
    Entry, EntryKind, HardState, Index, ReplicaId, Role, SnapshotMark, Start, Term, WriteSequence,
};

/// Terms, indexes and rounds beyond this never occur; larger ones from peers are refused.
const NUMBER_MAX: u64 = 1 << 62;

/// No replication session has this number.
const NO_SESSION: u64 = 0;

/// No round of reads has this number.
const NO_ROUND: u64 = 0;

/// One replica's consensus state.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) settings: Settings,
    /// The newest time given; never goes back.
    pub(crate) now_ms: u64,
    /// Random number of this run, never 0; tells peers of a restart.
    pub(crate) life: u64,
    jitter_draws: u64,
    pub(crate) hard_state: HardState,
    pub(crate) role: Role,
    pub(crate) leader: Option<ReplicaId>,
    pub(crate) log: Log,
    pub(crate) snapshot: SnapshotMark,
    pub(crate) membership: Membership,
    pub(crate) committed: Index,
    pub(crate) applied: Index,
    /// The newest index handed out in `Output::apply_to`.
    pub(crate) apply_told: Index,
    pub(crate) election_deadline_ms: u64,
    /// Last sign of the present leader; meaningful while `leader` is another replica.
    pub(crate) leader_contact_ms: u64,
    /// Last index known equal to the log of this term's leader.
    pub(crate) matched_in_term: Index,
    /// Newest replication session of this term's leader with this replica.
    pub(crate) leader_session: u64,
    pub(crate) refetch: Option<Refetch>,
    pub(crate) votes: BTreeMap<ReplicaId, bool>,
    pub(crate) heartbeat_deadline_ms: u64,
    pub(crate) peers: BTreeMap<ReplicaId, Progress>,
    pub(crate) sessions_begun: u64,
    /// Leader: no membership entry lies beyond this index.
    pub(crate) membership_pending: Index,
    pub(crate) uncommitted_bytes: usize,
    pub(crate) transfer: Option<Transfer>,
    pub(crate) reads: Reads,
    pub(crate) outbox: Outbox,
}

impl Raft {
    /// A replica as its disk left it. Panics if `settings` are out of range or `start` contradicts
    /// itself; both were checked before.
    pub fn new(settings: Settings, start: Start, now_ms: u64) -> Raft {
        settings.check();
        assert!(start.snapshot.membership.is_valid(), "snapshot's membership is invalid");
        let log = Log::new(&start.snapshot, start.entries);
        let life = mix(settings.seed ^ mix(settings.id.0 ^ mix(now_ms))) | 1;
        let mut outbox = Outbox::default();
        let mut hard_state = start.hard_state;
        if log.last_term() > hard_state.term {
            hard_state = HardState { term: log.last_term(), vote: None };
            outbox.hard_state_changed();
        }
        let mut raft = Raft {
            now_ms,
            life,
            jitter_draws: 0,
            hard_state,
            role: Role::Follower,
            leader: None,
            log,
            membership: start.snapshot.membership.clone(),
            committed: start.snapshot.index,
            applied: start.snapshot.index,
            apply_told: start.snapshot.index,
            snapshot: start.snapshot,
            election_deadline_ms: 0,
            leader_contact_ms: 0,
            matched_in_term: Index(0),
            leader_session: 0,
            refetch: start.refetching.then(Refetch::default),
            votes: BTreeMap::new(),
            heartbeat_deadline_ms: 0,
            peers: BTreeMap::new(),
            sessions_begun: 0,
            membership_pending: Index(0),
            uncommitted_bytes: 0,
            transfer: None,
            reads: Reads::new(mix(life)),
            outbox,
            settings,
        };
        raft.recover_commit();
        raft.role = raft.role_without_leading();
        raft.arm_election_timer();
        raft.campaign_if_alone();
        raft
    }

    /// The commit index is not kept on disk, but a membership entry is appended only once the one
    /// before it is committed: all but the last in the log are. Knowing them keeps this replica's
    /// membership at most one step from anybody else's, so that their quorums intersect.
    fn recover_commit(&mut self) {
        let after = self.snapshot.index.next();
        let last = self.log.last_index();
        let mut last_two = (None, None);
        for entry in self.log.range(after..=last) {
            if entry.kind == EntryKind::Membership {
                last_two = (last_two.1, Some(entry.index));
            }
        }
        if let Some(index) = last_two.0 {
            self.advance_commit(index);
        }
    }

    /// Moves time on: elections, heartbeats, loss of quorum, expiry of reads and transfers. Times
    /// before the newest one given count as that one.
    pub fn tick(&mut self, now_ms: u64) {
        self.advance_time(now_ms);
        self.expire_reads();
        if self.role == Role::Leader {
            self.tick_leader();
        } else if self.now_ms >= self.election_deadline_ms {
            self.arm_election_timer();
            self.campaign_if_allowed();
        }
    }

    /// When the next `tick` has something to do (monotonic ms).
    pub fn next_deadline_ms(&self) -> u64 {
        let reads = self.reads_deadline_ms();
        if self.role != Role::Leader {
            return reads.min(self.election_deadline_ms);
        }
        let transfer = self.transfer.map_or(u64::MAX, |transfer| transfer.deadline_ms);
        let quorum = self.quorum_deadline_ms();
        self.heartbeat_deadline_ms.min(transfer).min(quorum).min(reads)
    }

    /// Takes a message from a peer. Never panics on its content; after an error nothing has changed
    /// and the connection should be closed.
    pub fn receive(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        message: Message,
    ) -> Result<(), Violation> {
        self.check_message(from, &message)?;
        self.advance_time(now_ms);
        if !self.settle_term(from, &message) {
            return Ok(());
        }
        match message {
            Message::PreVote(question) => self.answer_pre_vote(from, &question),
            Message::PreVoteReply(reply) => self.take_pre_vote_reply(from, &reply),
            Message::Vote(question) => self.answer_vote(from, &question),
            Message::VoteReply(reply) => self.take_vote_reply(from, &reply),
            Message::Append(append) => self.take_append(from, append),
            Message::AppendReply(reply) => self.take_append_reply(from, &reply),
            Message::Heartbeat(heartbeat) => self.take_heartbeat(from, &heartbeat),
            Message::HeartbeatReply(reply) => self.take_heartbeat_reply(from, &reply),
            Message::ReadIndex(question) => self.take_read_index(from, &question),
            Message::ReadIndexReply(reply) => self.take_read_index_reply(&reply),
            Message::TimeoutNow(_) => self.take_timeout_now(from),
        }
        Ok(())
    }

    fn check_message(&self, from: ReplicaId, message: &Message) -> Result<(), Violation> {
        if from == self.settings.id {
            return Err(Violation::FromSelf);
        }
        if message.term().0 > NUMBER_MAX || message.term().0 == 0 && needs_term(message) {
            return Err(Violation::OutOfRange);
        }
        match message {
            Message::Append(append) => self.check_append(from, append),
            Message::Heartbeat(heartbeat) => self.check_leader(from, heartbeat.term),
            Message::TimeoutNow(timeout_now) => self.check_leader(from, timeout_now.term),
            Message::AppendReply(reply) => self.check_append_reply(from, reply),
            Message::HeartbeatReply(reply) => self.check_heartbeat_reply(from, reply),
            Message::PreVote(_) | Message::PreVoteReply(_) | Message::Vote(_) => Ok(()),
            Message::VoteReply(_) | Message::ReadIndex(_) => Ok(()),
            Message::ReadIndexReply(reply) => self.check_index(reply.index.unwrap_or_default()),
        }
    }

    pub(crate) fn check_leader(&self, from: ReplicaId, term: Term) -> Result<(), Violation> {
        let known = if term == self.hard_state.term { self.leader } else { None };
        if known.is_some_and(|leader| leader != from) {
            return Err(Violation::SecondLeader);
        }
        Ok(())
    }

    pub(crate) fn check_index(&self, index: Index) -> Result<(), Violation> {
        if index.0 > NUMBER_MAX { Err(Violation::OutOfRange) } else { Ok(()) }
    }

    /// Adopts a higher term, answers a lower one. Returns whether the message is to be handled.
    fn settle_term(&mut self, from: ReplicaId, message: &Message) -> bool {
        let term = message.term();
        if term < self.hard_state.term {
            return self.answer_lower_term(from, message);
        }
        if term == self.hard_state.term {
            return true;
        }
        match message {
            Message::PreVote(_) => {}
            Message::Vote(vote) if !vote.transfer && self.has_live_leader() => return false,
            Message::Append(_) | Message::Heartbeat(_) => self.follow(term, Some(from)),
            _ => self.follow(term, None),
        }
        true
    }

    /// A peer behind in terms learns the present one, or it could be stuck: a deposed leader, a
    /// candidate that lost, an asker for reads. If it leads in that term by the time the answer
    /// arrives, the answer must not count there: it names no session and no round.
    fn answer_lower_term(&mut self, from: ReplicaId, message: &Message) -> bool {
        let (term, life) = (self.hard_state.term, self.life);
        let answer = match message {
            Message::Append(append) => Message::AppendReply(AppendReply {
                term,
                session: NO_SESSION,
                life,
                outcome: AppendOutcome::Rejected {
                    previous: append.previous_index,
                    hint_index: Index(0),
                    hint_term: Term(0),
                },
            }),
            Message::Heartbeat(_) => {
                let (session, round) = (NO_SESSION, NO_ROUND);
                Message::HeartbeatReply(HeartbeatReply { term, session, life, round })
            }
            // Refused by `answer_pre_vote`; a reply is judged by `asked_in` and `granted`.
            Message::PreVote(_) | Message::PreVoteReply(_) => return true,
            Message::Vote(_) => Message::VoteReply(VoteReply { term, granted: false }),
            Message::ReadIndex(question) => {
                let request = question.request;
                Message::ReadIndexReply(ReadIndexReply { term, request, index: None })
            }
            _ => return false,
        };
        self.send(from, answer);
        false
    }

    /// Everything up to this write is on disk: releases what waited for it.
    pub fn durable(&mut self, sequence: WriteSequence) {
        if let Some(mark) = self.log.complete(sequence) {
            assert!(mark.index >= self.applied, "installed snapshot older than the applied state");
            self.applied = mark.index;
            self.apply_told = mark.index;
            self.outbox.installed = Some(mark);
        }
        self.release_held();
        if self.role == Role::Leader {
            self.commit_what_a_quorum_holds();
        }
        self.finish_refetching_if_complete();
    }

    /// The caller's state machine has applied everything up to `index`.
    pub fn applied(&mut self, index: Index) {
        assert!(index <= self.apply_told, "applied beyond what was handed out");
        self.applied = self.applied.max(index);
        self.campaign_if_alone();
    }

    /// The caller's own snapshot is durable; entries below `keep_from` (at most `mark.index + 1`)
    /// go. A mark older than the newest one is ignored.
    pub fn compacted(&mut self, mark: SnapshotMark, keep_from: Index) {
        if mark.index <= self.snapshot.index {
            return;
        }
        assert!(mark.index <= self.applied, "snapshot of entries that are not applied");
        let held = self.log.term_at(mark.index);
        assert!(held == Some(mark.term), "snapshot's term differs from the log's");
        self.log.compact(keep_from.min(mark.index.next()));
        self.snapshot = mark;
    }

    pub(crate) fn advance_time(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// A fresh election timeout from now on.
    pub(crate) fn arm_election_timer(&mut self) {
        let span = self.settings.election_timeout_ms_max - self.settings.election_timeout_ms_min;
        self.jitter_draws += 1;
        let draw = mix(self.settings.seed ^ mix(self.settings.id.0) ^ mix(self.jitter_draws << 32));
        let timeout_ms = self.settings.election_timeout_ms_min + draw % span;
        self.election_deadline_ms = self.now_ms.saturating_add(timeout_ms);
    }

    pub(crate) fn role_without_leading(&self) -> Role {
        if self.membership.is_voter(self.settings.id) { Role::Follower } else { Role::Learner }
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }
}

/// Whether the message can only be said once there has been an election.
fn needs_term(message: &Message) -> bool {
    matches!(message, Message::Append(_) | Message::Heartbeat(_) | Message::TimeoutNow(_))
}

/// The splitmix64 finalizer: spreads a seed over 64 bits.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Raft {
    /// This replica.
    pub fn id(&self) -> ReplicaId {
        self.settings.id
    }

    /// Newest term seen.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Whom this replica voted for in the present term.
    pub fn vote(&self) -> Option<ReplicaId> {
        self.hard_state.vote
    }

    /// What this replica is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The leader of the present term, itself included, if known.
    pub fn leader(&self) -> Option<ReplicaId> {
        self.leader
    }

    /// Oldest entry held; `last_index + 1` if none is.
    pub fn first_index(&self) -> Index {
        self.log.first_index()
    }

    /// Last entry of the log, durable or not.
    pub fn last_index(&self) -> Index {
        self.log.last_index()
    }

    /// Last entry known committed.
    pub fn committed(&self) -> Index {
        self.committed
    }

    /// Last entry reported with `applied`, or the installed snapshot's.
    pub fn applied_index(&self) -> Index {
        self.applied
    }

    /// Last durable entry of the present log.
    pub fn durable_index(&self) -> Index {
        self.log.durable_index()
    }

    /// The term at a position, if it is held; also of the position just before the first entry.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// One entry, if it is held.
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.log.entry(index)
    }

    /// Those entries of the range that are held, in order.
    pub fn entries(&self, range: RangeInclusive<Index>) -> impl Iterator<Item = &Entry> {
        self.log.range(range)
    }

    /// The membership in effect here: that of the newest committed membership entry.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The membership in effect at a committed index not below the newest snapshot's: what a
    /// snapshot of that index carries.
    pub fn membership_at(&self, index: Index) -> Membership {
        let after = self.snapshot.index.next();
        let entries = self.log.range(after..=index.min(self.committed));
        let newest = entries.filter(|entry| entry.kind == EntryKind::Membership).last();
        newest.map_or_else(|| self.snapshot.membership.clone(), decode_own)
    }

    /// The newest snapshot, own or installed.
    pub fn snapshot(&self) -> &SnapshotMark {
        &self.snapshot
    }

    /// Whether lost entries are still being fetched again.
    pub fn is_refetching(&self) -> bool {
        self.refetch.is_some()
    }

    /// Whether this replica leads and an entry of its own term is committed.
    pub fn has_committed_in_term(&self) -> bool {
        self.is_leader() && self.log.term_at(self.committed) == Some(self.hard_state.term)
    }

    /// Whom leadership is being handed to.
    pub fn transfer_target(&self) -> Option<ReplicaId> {
        self.transfer.map(|transfer| transfer.to)
    }

    /// A leader's view of a peer; `None` if this replica does not lead or the peer is no member.
    pub fn progress(&self, id: ReplicaId) -> Option<PeerStatus> {
        self.peers.get(&id).map(Progress::status)
    }
}

/// Decodes a membership entry of the own log, checked when it came in.
pub(crate) fn decode_own(entry: &Entry) -> Membership {
    let decoded = Membership::decode(&entry.payload);
    assert!(decoded.is_ok(), "membership entry {} of the own log is broken", entry.index);
    decoded.unwrap_or_default()
}
