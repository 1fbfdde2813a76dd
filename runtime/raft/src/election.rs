//! Elections: pre-votes, votes, becoming leader, following, and the leader's watch over its quorum.
//!
//! Comes in: timeouts and votes. Goes out: a leader per term at most. Invariant: a vote, and the
//! question for votes, leaves only once term, vote and the log it describes are durable; nobody
//! votes while it hears a live leader, unless that leader asked for the election. A replica that
//! lost acknowledged entries takes no part.

use crate::membership::Membership;
use crate::message::{Message, PreVote, PreVoteReply, Vote, VoteReply};
use crate::progress::Progress;
use crate::quorum::{self, Election};
use crate::raft::Raft;
use crate::types::{EntryKind, HardState, Index, ReplicaId, Role, Term};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};

impl Raft {
    /// Whether this replica hears from a leader, or is one that hears from its quorum. A learner never
    /// campaigns, so it names a leader that is long gone: this says so.
    pub fn has_live_leader(&self) -> bool {
        let contact_ms = match self.leader {
            Some(leader) if leader == self.settings.id => self.quorum_contact_ms(),
            Some(_) => self.leader_contact_ms,
            None => return false,
        };
        self.now_ms < contact_ms.saturating_add(self.settings.election_timeout_ms_min)
    }

    /// Leader: the newest time by which a quorum had answered.
    fn quorum_contact_ms(&self) -> u64 {
        let now_ms = self.now_ms;
        let contact = |id| self.peers.get(&id).map_or(now_ms, |peer| peer.contact_ms);
        quorum::reached(&self.membership, contact).unwrap_or(now_ms)
    }

    pub(crate) fn quorum_deadline_ms(&self) -> u64 {
        self.quorum_contact_ms().saturating_add(self.settings.election_timeout_ms_max)
    }

    pub(crate) fn tick_leader(&mut self) {
        if self.now_ms >= self.quorum_deadline_ms() {
            self.follow(self.hard_state.term, None);
            return;
        }
        if self.transfer.is_some_and(|transfer| self.now_ms >= transfer.deadline_ms) {
            self.transfer = None;
        }
        if self.now_ms >= self.heartbeat_deadline_ms {
            self.send_heartbeats();
        }
    }

    /// Follows in `term`; a higher one than before starts without a vote.
    pub(crate) fn follow(&mut self, term: Term, leader: Option<ReplicaId>) {
        assert!(leader != Some(self.settings.id), "follows itself");
        let role = self.role_without_leading();
        if (term, leader, role) == (self.hard_state.term, self.leader, self.role) {
            return;
        }
        if term > self.hard_state.term {
            self.enter_term(HardState { term, vote: None });
        }
        self.role = role;
        self.leader = leader;
        self.leader_contact_ms = self.now_ms;
        self.leave_leadership();
        self.arm_election_timer();
        self.outbox.role_changed = true;
    }

    fn enter_term(&mut self, hard_state: HardState) {
        self.set_hard_state(hard_state);
        self.drop_held();
        self.matched_in_term = Index(0);
        self.leader_session = 0;
        if let Some(refetch) = &mut self.refetch {
            refetch.enter_term();
        }
    }

    fn leave_leadership(&mut self) {
        self.votes.clear();
        self.peers.clear();
        self.transfer = None;
        self.outbox.snapshot_wanted.clear();
        self.requeue_reads();
    }

    /// A membership entry that is committed but not applied may change who is to vote; the caller
    /// settles that first.
    fn has_unapplied_membership(&self) -> bool {
        let mut unapplied = self.log.range(self.applied.next()..=self.committed);
        unapplied.any(|entry| entry.kind == EntryKind::Membership)
    }

    pub(crate) fn may_campaign(&self) -> bool {
        self.role != Role::Leader
            && self.membership.is_voter(self.settings.id)
            && self.refetch.is_none()
            && !self.log.is_installing()
            && !self.has_unapplied_membership()
    }

    pub(crate) fn campaign_if_allowed(&mut self) {
        if self.may_campaign() {
            self.pre_campaign();
        }
    }

    /// A replica that decides alone waits for nobody.
    pub(crate) fn campaign_if_alone(&mut self) {
        let idle = matches!(self.role, Role::Follower);
        if idle && self.membership.is_sole_voter(self.settings.id) {
            self.campaign_if_allowed();
        }
    }

    fn pre_campaign(&mut self) {
        self.role = Role::PreCandidate;
        self.leader = None;
        self.outbox.role_changed = true;
        self.requeue_reads();
        self.votes.clear();
        self.votes.insert(self.settings.id, true);
        let question = PreVote {
            term: self.hard_state.term,
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
            commit: self.committed,
            commit_term: self.commit_term(),
        };
        for id in self.other_voters() {
            self.send(id, Message::PreVote(question.clone()));
        }
        self.count_pre_votes();
    }

    /// Asks for votes in the next term.
    pub(crate) fn campaign(&mut self, transfer: bool) {
        let term = self.hard_state.term.next();
        self.enter_term(HardState { term, vote: Some(self.settings.id) });
        self.role = Role::Candidate;
        self.leader = None;
        self.leave_leadership();
        self.arm_election_timer();
        self.outbox.role_changed = true;
        let last_index = self.log.last_index();
        let question = Vote { term, last_index, last_term: self.log.last_term(), transfer };
        for id in self.other_voters() {
            self.send_once_durable(id, Message::Vote(question.clone()), last_index);
        }
        self.vote_for_itself_once_durable();
    }

    fn other_voters(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        let Membership { voters, voters_outgoing, .. } = &self.membership;
        let mut others = voters | voters_outgoing;
        others.remove(&self.settings.id);
        others.into_iter()
    }

    pub(crate) fn count_own_vote(&mut self) {
        if self.role == Role::Candidate {
            self.votes.insert(self.settings.id, true);
            self.count_votes();
        }
    }

    fn count_pre_votes(&mut self) {
        match quorum::election(&self.membership, &self.votes) {
            Election::Won if self.may_campaign() => self.campaign(false),
            Election::Won => self.follow(self.hard_state.term, None),
            Election::Lost => self.follow(self.hard_state.term, None),
            Election::Open => {}
        }
    }

    fn count_votes(&mut self) {
        match quorum::election(&self.membership, &self.votes) {
            Election::Won => self.lead(),
            Election::Lost => self.follow(self.hard_state.term, None),
            Election::Open => {}
        }
    }

    /// A replica that lost acknowledged entries could help a leader that lacks them too.
    fn may_vote(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::RefetchingServerVotes) {
            return true;
        }
        self.refetch.is_none()
    }

    pub(crate) fn answer_pre_vote(&mut self, from: ReplicaId, question: &PreVote) {
        self.learn_commit(question.commit, question.commit_term);
        let granted = question.term >= self.hard_state.term
            && self.may_vote()
            && !self.has_live_leader()
            && self.log.is_no_newer_than(question.last_index, question.last_term);
        let term = self.hard_state.term;
        let (asked_in, commit, commit_term) = (question.term, self.committed, self.commit_term());
        let reply = PreVoteReply { term, asked_in, granted, commit, commit_term };
        self.send(from, Message::PreVoteReply(reply));
    }

    fn commit_term(&self) -> Term {
        self.log.term_at(self.committed).unwrap_or_default()
    }

    /// An entry that another replica knows committed is committed here too.
    fn learn_commit(&mut self, commit: Index, commit_term: Term) {
        let held = self.log.term_at(commit) == Some(commit_term);
        if held && commit > self.committed && !self.is_leader() {
            self.advance_commit(commit);
        }
    }

    pub(crate) fn take_pre_vote_reply(&mut self, from: ReplicaId, reply: &PreVoteReply) {
        self.learn_commit(reply.commit, reply.commit_term);
        if self.role == Role::PreCandidate && reply.asked_in == self.hard_state.term {
            self.votes.entry(from).or_insert(reply.granted);
            self.count_pre_votes();
        }
    }

    pub(crate) fn answer_vote(&mut self, from: ReplicaId, question: &Vote) {
        let free = match self.hard_state.vote {
            Some(vote) => vote == from,
            None => self.leader.is_none(),
        };
        let granted = free
            && self.may_vote()
            && self.log.is_no_newer_than(question.last_index, question.last_term);
        let term = self.hard_state.term;
        let reply = Message::VoteReply(VoteReply { term, granted });
        if granted {
            self.set_hard_state(HardState { term, vote: Some(from) });
            self.arm_election_timer();
            #[cfg(feature = "planted-bugs")]
            if is_planted(PlantedBug::VoteSentBeforeDurable) {
                self.send(from, reply);
                return;
            }
            self.send_once_durable(from, reply, Index(0));
        } else {
            self.send(from, reply);
        }
    }

    pub(crate) fn take_vote_reply(&mut self, from: ReplicaId, reply: &VoteReply) {
        if self.role == Role::Candidate {
            self.votes.entry(from).or_insert(reply.granted);
            self.count_votes();
        }
    }

    fn lead(&mut self) {
        assert!(self.role == Role::Candidate, "leads without an election");
        assert!(self.refetch.is_none(), "leads without its whole log");
        self.role = Role::Leader;
        self.leader = Some(self.settings.id);
        self.leave_leadership();
        self.reads.begin_leadership();
        self.membership_pending = self.log.last_index();
        let uncommitted = self.log.range(self.committed.next()..=self.log.last_index());
        self.uncommitted_bytes = uncommitted.map(|entry| entry.payload.len()).sum();
        self.add_missing_peers();
        self.append_own(EntryKind::Empty, [].into());
        self.heartbeat_deadline_ms =
            self.now_ms.saturating_add(self.settings.heartbeat_interval_ms);
        self.outbox.role_changed = true;
    }

    pub(crate) fn add_missing_peers(&mut self) {
        let mut members = self.membership.members();
        members.remove(&self.settings.id);
        for id in members {
            if !self.peers.contains_key(&id) {
                self.sessions_begun += 1;
                let next = self.log.last_index().next();
                self.peers.insert(id, Progress::new(self.sessions_begun, next, self.now_ms));
            }
        }
    }
}
