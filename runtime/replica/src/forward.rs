//! Requests that wait for the leader: this server's own, kept until answered, sent again in order
//! whenever the leader or the way to it changes.
//!
//! Comes in: admitted requests; answers. Goes out: frames to the leader, or the request itself to
//! `proposal` when this replica leads. Invariant: a submission is answered exactly once, or its
//! connection is closed. Sending twice is harmless: the session's kept replies make it one.

use crate::Replica;
use crate::codec;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use quorate_machine::{RecipeExecutor, Request};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{Role, Term};
use quorate_types::{ErrorCode, Operation, Outcome, Refusal, ServerId, SessionId, Zxid};
use quorate_wire::peer::PeerFrame;

use crate::server_of;

/// Who asked the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A submission of this server.
    Here(u64),
    /// A submission of another server, made on this generation of its connection. The peer numbers
    /// anew when it restarts, so an answer for an older connection must not reach the newer one.
    Peer { peer: ServerId, generation: u64, id: u64 },
    /// The leader itself.
    Leader,
}

impl Source {
    /// Whether this server asked.
    pub(crate) fn is_peer(&self, server: ServerId) -> bool {
        matches!(self, Source::Peer { peer, .. } if *peer == server)
    }
}

/// What waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// A request of a session's connection.
    Slot { connection: u64, session: SessionId, sequence: u64 },
    /// A connection that opens or resumes a session.
    Connecting { connection: u64 },
}

/// To whom a submission was last given. Only the answer to this attempt counts: one from an earlier
/// leader may be a refusal of what the present one does.
#[derive(Clone, Copy, Debug)]
struct Given {
    leader: ServerId,
    term: Term,
    attempt: u64,
}

#[derive(Clone, Debug)]
struct Submission {
    request: Request,
    waiter: Waiter,
    given: Option<Given>,
    /// The answer is here and waits in `early`: it is given to nobody any more.
    answered: bool,
}

/// Every request of this server that has no answer yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Submissions {
    next_id: u64,
    next_attempt: u64,
    /// Which submission each attempt that counts was for.
    attempts: BTreeMap<u64, u64>,
    /// In the order they came: sending them again keeps a session's order.
    waiting: BTreeMap<u64, Submission>,
    by_call: BTreeMap<(SessionId, u64), u64>,
    by_connection: BTreeMap<u64, u64>,
    /// Answers computed by the leader from a state that is not applied here yet.
    early: BTreeMap<(Zxid, u64), Outcome>,
}

impl Submissions {
    fn insert(&mut self, request: Request, waiter: Waiter) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        match waiter {
            Waiter::Slot { session, sequence, .. } => {
                self.by_call.insert((session, sequence), id);
            }
            Waiter::Connecting { connection } => {
                self.by_connection.insert(connection, id);
            }
        }
        self.waiting.insert(id, Submission { request, waiter, given: None, answered: false });
        id
    }

    fn take(&mut self, id: u64) -> Option<Waiter> {
        let submission = self.waiting.remove(&id)?;
        if let Some(given) = submission.given {
            self.attempts.remove(&given.attempt);
        }
        match submission.waiter {
            Waiter::Slot { session, sequence, .. } => {
                self.by_call.remove(&(session, sequence));
            }
            Waiter::Connecting { connection } => {
                self.by_connection.remove(&connection);
            }
        }
        Some(submission.waiter)
    }

    /// Notes to whom a submission is given, and numbers the attempt; `None`: it has it already, or
    /// needs it no more.
    fn give(&mut self, id: u64, leader: ServerId, term: Term) -> Option<(u64, &Request)> {
        let submission = self.waiting.get_mut(&id).filter(|submission| !submission.answered)?;
        if let Some(given) = submission.given {
            if (given.leader, given.term) == (leader, term) {
                return None;
            }
            self.attempts.remove(&given.attempt);
            #[cfg(feature = "planted-bugs")]
            if is_planted(PlantedBug::AnswerToOlderAttempt) {
                self.attempts.insert(given.attempt, id);
            }
        }
        let attempt = self.next_attempt;
        self.next_attempt += 1;
        self.attempts.insert(attempt, id);
        submission.given = Some(Given { leader, term, attempt });
        Some((attempt, &submission.request))
    }

    /// What was given to this server may be lost.
    fn take_back_from(&mut self, server: ServerId) {
        for submission in self.waiting.values_mut() {
            if let Some(given) = submission.given.take_if(|given| given.leader == server) {
                #[cfg(feature = "planted-bugs")]
                if is_planted(PlantedBug::AnswerToOlderAttempt) {
                    continue;
                }
                self.attempts.remove(&given.attempt);
            }
        }
    }

    /// The submission of this call is answered by what was applied.
    pub(crate) fn take_call(&mut self, session: SessionId, sequence: u64) -> Option<Waiter> {
        let id = *self.by_call.get(&(session, sequence))?;
        self.take(id)
    }

    /// The submission of this connecting connection is answered by what was applied.
    pub(crate) fn take_connecting(&mut self, connection: u64) -> Option<Waiter> {
        let id = *self.by_connection.get(&connection)?;
        self.take(id)
    }

    /// Forgets the requests of a session whose answers have reached the client another way: the
    /// replies kept of them go, so that giving them to a leader once more would do them again.
    pub(crate) fn forget_answered(
        &mut self,
        session: SessionId,
        oldest_unreplied: u64,
        acknowledged: &[u64],
    ) -> Vec<u64> {
        let below = self.by_call.range((session, 0)..(session, oldest_unreplied));
        let mut answered: Vec<u64> = below.map(|((_, sequence), _)| *sequence).collect();
        let named = acknowledged.iter().copied();
        answered.extend(named.filter(|named| self.by_call.contains_key(&(session, *named))));
        for sequence in &answered {
            self.take_call(session, *sequence);
        }
        answered
    }

    /// Forgets everything that waits for a connection that is gone.
    pub(crate) fn forget_connection(&mut self, gone: u64) {
        let ids: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, submission)| match submission.waiter {
                Waiter::Slot { connection, .. } | Waiter::Connecting { connection } => {
                    connection == gone
                }
            })
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.take(id);
        }
    }
}

impl<E: RecipeExecutor> Replica<E> {
    /// Keeps a request until it is answered and gives it to the leader, if one is known.
    pub(crate) fn submit(&mut self, request: Request, waiter: Waiter) {
        let id = self.submissions.insert(request, waiter);
        self.give_to_leader(id);
    }

    /// The connection to a peer is new: what it was given before may be lost, whether or not it is
    /// known to lead just now.
    pub(crate) fn give_again(&mut self, peer: ServerId) {
        self.submissions.take_back_from(peer);
        if self.leader() == Some(peer) {
            self.give_all_to_leader();
        }
    }

    /// Gives every submission that the present leader has not got to it, in order.
    pub(crate) fn give_all_to_leader(&mut self) {
        let ids: Vec<u64> = self.submissions.waiting.keys().copied().collect();
        for id in ids {
            self.give_to_leader(id);
        }
    }

    fn give_to_leader(&mut self, id: u64) {
        let Some(leader) = self.raft.leader().map(server_of) else { return };
        let term = self.raft.term();
        let here = self.settings.identity.server;
        if leader != here && !self.peers.contains_key(&leader) {
            return;
        }
        if leader == here && self.raft.role() != Role::Leader {
            return;
        }
        let Some((attempt, request)) = self.submissions.give(id, leader, term) else { return };
        if leader == here {
            let request = request.clone();
            self.lead(Source::Here(id), request);
        } else {
            let request = codec::encode_forward(term, request).into();
            let frame = PeerFrame::Forward { id: attempt, request };
            self.send_peer(leader, frame);
        }
    }

    /// A peer asks this server as the leader of a term. In any other term the request may have been
    /// answered through another leader meanwhile, its kept reply may be gone, and doing it now
    /// would do it twice: it is dropped, and the peer gives it to whom it now knows as the leader.
    pub(crate) fn on_forward(&mut self, peer: ServerId, id: u64, bytes: &[u8]) {
        let Some(generation) = self.peers.get(&peer).map(|known| known.generation) else { return };
        let leads = self.raft.role() == Role::Leader;
        match codec::decode_forward(bytes) {
            #[cfg(feature = "planted-bugs")]
            Ok((_, request)) if leads && is_planted(PlantedBug::StaleForwardAccepted) => {
                self.lead(Source::Peer { peer, generation, id }, request);
            }
            Ok((term, _)) if !leads || term != self.raft.term() => {
                let frame = PeerFrame::ForwardLost { id };
                self.send_peer(peer, frame);
            }
            Ok((_, request)) => self.lead(Source::Peer { peer, generation, id }, request),
            Err(error) => self.close_peer(peer, alloc::format!("a forwarded request: {error}")),
        }
    }

    /// The leader answered without a log entry. The client is told once the state that the answer
    /// was computed from is applied here too, so that it never sees an older one afterwards.
    pub(crate) fn on_forward_answer(&mut self, attempt: u64, after: Zxid, outcome: Outcome) {
        let Some(id) = self.submissions.attempts.get(&attempt).copied() else { return };
        #[cfg(feature = "planted-bugs")]
        let after = if is_planted(PlantedBug::AnswerBeforeApplied) { Zxid(0) } else { after };
        if after.0 <= self.applied.0 {
            self.answer_submission(id, outcome);
        } else if let Some(submission) = self.submissions.waiting.get_mut(&id) {
            submission.answered = true;
            self.submissions.early.insert((after, id), outcome);
        }
    }

    /// Tells clients what waited for entries that are applied now.
    pub(crate) fn deliver_early_answers(&mut self) {
        while let Some(((after, id), _)) = self.submissions.early.first_key_value() {
            if after.0 > self.applied.0 {
                return;
            }
            let key = (*after, *id);
            let outcome = self.submissions.early.remove(&key).expect("the first key is there");
            self.answer_submission(key.1, outcome);
        }
    }

    /// Answers a submission of this server, if it still waits.
    pub(crate) fn answer_submission(&mut self, id: u64, outcome: Outcome) {
        let zxid = self.applied();
        let query = self.query_of(id);
        match self.submissions.take(id) {
            Some(Waiter::Slot { connection, sequence, .. }) => {
                let outcome = query.map_or(outcome, |query| self.read(connection, &query));
                self.deliver_outcome(connection, sequence, zxid, outcome);
            }
            Some(Waiter::Connecting { connection }) => {
                let refusal = outcome.err().unwrap_or_else(|| {
                    Refusal::new(ErrorCode::SessionExpired, "the session could not be opened")
                });
                self.end_connection(connection, refusal);
            }
            None => {}
        }
    }

    /// A query that came while its mount was not known here: the leader answered it from an earlier
    /// state than the one that its client is told it shows, so it is answered anew from that.
    fn query_of(&self, id: u64) -> Option<Operation> {
        match &self.submissions.waiting.get(&id)?.request {
            Request::Client { operation: operation @ Operation::Call { .. }, .. }
                if self.is_read(operation) =>
            {
                Some(operation.clone())
            }
            _ => None,
        }
    }

    /// What the leader does without an entry in the log; `None`: everything else.
    pub(crate) fn do_without_entry(&mut self, request: &Request) -> Option<Outcome> {
        let Request::Client { operation, identity, .. } = request else { return None };
        match operation {
            Operation::TransferLeader { to } => Some(self.transfer_leader(*to)),
            Operation::BeginShadow { path, digest, calls } => {
                let outstanding = &mut self.leading.as_mut()?.outstanding;
                let seen = (&self.machine, &self.executor as &dyn RecipeExecutor);
                Some(outstanding.begin_shadow(seen, identity, path, (*digest, *calls)))
            }
            Operation::ShadowReport { path } => {
                let outstanding = &self.leading.as_ref()?.outstanding;
                Some(outstanding.shadow_report(&self.machine, identity, path))
            }
            _ => None,
        }
    }

    fn transfer_leader(&mut self, to: Option<ServerId>) -> Outcome {
        let to = to.map(crate::replica_of);
        match self.raft.transfer_leader(self.now.monotonic_ms, to) {
            Ok(()) => Ok(quorate_types::Reply::Done),
            Err(refusal) => Err(Refusal::new(
                ErrorCode::MembershipRefused,
                alloc::format!("leadership cannot be transferred now: {refusal}"),
            )),
        }
    }
}
