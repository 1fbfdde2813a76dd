//! Linearizable reads without log entries.
//!
//! Comes in: read barriers of this replica and questions of followers. Goes out: for each exactly
//! one answer, an index or a refusal. Invariant: an index given is at least the commit index at the
//! moment the barrier was asked, confirmed by a quorum in a later round of heartbeats; numbers of
//! rounds (per term) and of questions (ever) are not reused. Never answers before the leader has
//! committed in its own term.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::message::{Message, ReadIndex, ReadIndexReply};
use crate::output::ReadRefusal;
use crate::quorum;
use crate::raft::Raft;
use crate::types::{Index, ReadId, ReplicaId};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};

/// Rounds under way at once; further reads gather for the next one.
const ROUNDS_MAX: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Asker {
    Own(ReadId),
    Peer { id: ReplicaId, request: u64 },
}

#[derive(Clone, Copy, Debug)]
struct PendingRead {
    asker: Asker,
    asked_ms: u64,
}

/// Leader: one round of heartbeats.
#[derive(Clone, Debug)]
struct Round {
    number: u64,
    /// The commit index when the round started.
    index: Index,
    reads: Vec<PendingRead>,
}

/// Follower: one question to the leader.
#[derive(Clone, Debug)]
struct Question {
    request: u64,
    sent_ms: u64,
    reads: Vec<PendingRead>,
}

#[derive(Clone, Debug)]
pub(crate) struct Reads {
    waiting: Vec<PendingRead>,
    rounds: VecDeque<Round>,
    questions: Vec<Question>,
    /// Newest round of this leadership; 0: none.
    pub(crate) round: u64,
    /// Starts at a random number, so that no later run of this replica repeats one.
    next_request: u64,
    /// No pending read expires before this; recomputed only once it has passed.
    expiry_ms: u64,
}

impl Reads {
    pub(crate) fn new(first_request: u64) -> Reads {
        Reads {
            waiting: Vec::new(),
            rounds: VecDeque::new(),
            questions: Vec::new(),
            round: 0,
            next_request: first_request,
            expiry_ms: u64::MAX,
        }
    }

    fn add(&mut self, read: PendingRead, expires_ms: u64) {
        self.waiting.push(read);
        self.expiry_ms = self.expiry_ms.min(expires_ms);
    }

    fn pending(&self) -> impl Iterator<Item = &PendingRead> {
        let rounds = self.rounds.iter().flat_map(|round| &round.reads);
        let questions = self.questions.iter().flat_map(|question| &question.reads);
        rounds.chain(questions).chain(&self.waiting)
    }

    /// Rounds are numbered within a term, and a term has one leadership.
    pub(crate) fn begin_leadership(&mut self) {
        assert!(self.rounds.is_empty(), "rounds of an older leadership");
        self.round = 0;
    }

    /// Takes every read back that is under way.
    fn gather(&mut self) -> Vec<PendingRead> {
        let mut all = Vec::new();
        self.rounds.drain(..).for_each(|round| all.extend(round.reads));
        self.questions.drain(..).for_each(|question| all.extend(question.reads));
        all.append(&mut self.waiting);
        all
    }
}

impl Raft {
    /// Asks for an index at which a read here is linearizable; the answer comes in `Output::reads`
    /// under `id`, at the latest after twice the longest election timeout.
    pub fn read_barrier(&mut self, now_ms: u64, id: ReadId) {
        self.advance_time(now_ms);
        if self.refetch.is_some() {
            self.outbox.reads.push((id, Err(ReadRefusal::Refetching)));
            return;
        }
        self.add_read(Asker::Own(id));
    }

    fn add_read(&mut self, asker: Asker) {
        let read = PendingRead { asker, asked_ms: self.now_ms };
        let expires_ms = self.read_expires_ms(&read);
        self.reads.add(read, expires_ms);
    }

    pub(crate) fn take_read_index(&mut self, from: ReplicaId, question: &ReadIndex) {
        let asker = Asker::Peer { id: from, request: question.request };
        if self.is_leader() {
            self.add_read(asker);
        } else {
            self.answer_read(asker, Err(ReadRefusal::NotLeader));
        }
    }

    pub(crate) fn take_read_index_reply(&mut self, reply: &ReadIndexReply) {
        let mut questions = self.reads.questions.iter();
        let Some(place) = questions.position(|question| question.request == reply.request) else {
            return;
        };
        let question = self.reads.questions.swap_remove(place);
        let answer = reply.index.ok_or(ReadRefusal::NotLeader);
        question.reads.into_iter().for_each(|read| self.answer_read(read.asker, answer));
    }

    fn answer_read(&mut self, asker: Asker, answer: Result<Index, ReadRefusal>) {
        match asker {
            Asker::Own(id) => self.outbox.reads.push((id, answer)),
            Asker::Peer { id, request } => {
                let (term, index) = (self.hard_state.term, answer.ok());
                let reply = ReadIndexReply { term, request, index };
                self.send(id, Message::ReadIndexReply(reply));
            }
        }
    }

    /// The role, term or leader changed: own reads ask again, peers' reads are refused.
    pub(crate) fn requeue_reads(&mut self) {
        for read in self.reads.gather() {
            match read.asker {
                Asker::Own(_) => self.reads.waiting.push(read),
                Asker::Peer { .. } => self.answer_read(read.asker, Err(ReadRefusal::NotLeader)),
            }
        }
    }

    /// Starts a round, or asks the leader, for the reads gathered so far.
    pub(crate) fn start_reads(&mut self) {
        if self.reads.waiting.is_empty() {
            return;
        }
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::ReadBeforeOwnCommit) && self.is_leader() {
            self.start_round();
            return;
        }
        if self.has_committed_in_term() {
            self.start_round();
        } else if let Some(leader) = self.leader.filter(|leader| *leader != self.settings.id) {
            self.ask_leader(leader);
        }
    }

    fn start_round(&mut self) {
        if self.reads.rounds.len() >= ROUNDS_MAX {
            return;
        }
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::ReadBarrierUnconfirmed) {
            let (reads, index) = (core::mem::take(&mut self.reads.waiting), self.committed);
            reads.into_iter().for_each(|read| self.answer_read(read.asker, Ok(index)));
            return;
        }
        self.reads.round += 1;
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::ReadRoundReused) && !self.reads.rounds.is_empty() {
            self.reads.round -= 1;
        }
        let reads = core::mem::take(&mut self.reads.waiting);
        let round = Round { number: self.reads.round, index: self.committed, reads };
        self.reads.rounds.push_back(round);
        self.send_heartbeats();
        self.finish_rounds();
    }

    fn ask_leader(&mut self, leader: ReplicaId) {
        let request = self.reads.next_request;
        self.reads.next_request = request.wrapping_add(1);
        let reads = core::mem::take(&mut self.reads.waiting);
        self.reads.questions.push(Question { request, sent_ms: self.now_ms, reads });
        let question = ReadIndex { term: self.hard_state.term, request };
        self.send(leader, Message::ReadIndex(question));
    }

    /// Answers the rounds that a quorum has echoed.
    pub(crate) fn finish_rounds(&mut self) {
        let newest = self.reads.round;
        let echoed = |id| self.peers.get(&id).map_or(newest, |peer| peer.acked_round);
        let Some(confirmed) = quorum::reached(&self.membership, echoed) else {
            return;
        };
        while self.reads.rounds.front().is_some_and(|round| round.number <= confirmed) {
            let Some(round) = self.reads.rounds.pop_front() else { break };
            round.reads.into_iter().for_each(|read| self.answer_read(read.asker, Ok(round.index)));
        }
    }

    fn read_expires_ms(&self, read: &PendingRead) -> u64 {
        read.asked_ms.saturating_add(2 * self.settings.election_timeout_ms_max)
    }

    fn question_retries_ms(&self, question: &Question) -> u64 {
        question.sent_ms.saturating_add(self.settings.election_timeout_ms_min)
    }

    /// When to look for reads that expire or questions to ask again; never too late.
    pub(crate) fn reads_deadline_ms(&self) -> u64 {
        let retry = self.reads.questions.iter().map(|asked| self.question_retries_ms(asked)).min();
        self.reads.expiry_ms.min(retry.unwrap_or(u64::MAX))
    }

    /// Refuses reads that waited too long; asks unanswered questions again under a fresh number.
    pub(crate) fn expire_reads(&mut self) {
        if self.now_ms < self.reads_deadline_ms() {
            return;
        }
        let questions = core::mem::take(&mut self.reads.questions);
        for question in questions {
            if self.now_ms >= self.question_retries_ms(&question) {
                self.reads.waiting.extend(question.reads);
            } else {
                self.reads.questions.push(question);
            }
        }
        let mut expired = Vec::new();
        let limit_ms = 2 * self.settings.election_timeout_ms_max;
        let now_ms = self.now_ms;
        let mut keep = |read: &PendingRead| {
            let fresh = now_ms < read.asked_ms.saturating_add(limit_ms);
            if !fresh {
                expired.push(read.asker);
            }
            fresh
        };
        self.reads.waiting.retain(&mut keep);
        self.reads.rounds.iter_mut().for_each(|round| round.reads.retain(&mut keep));
        self.reads.questions.iter_mut().for_each(|asked| asked.reads.retain(&mut keep));
        self.reads.rounds.retain(|round| !round.reads.is_empty());
        self.reads.questions.retain(|question| !question.reads.is_empty());
        let next = self.reads.pending().map(|read| self.read_expires_ms(read)).min();
        self.reads.expiry_ms = next.unwrap_or(u64::MAX);
        expired.into_iter().for_each(|asker| self.answer_read(asker, Err(ReadRefusal::Expired)));
    }
}
