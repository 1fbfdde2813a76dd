//! The leader turns requests into transactions and proposes them.
//!
//! Comes in: requests of this and other servers, and what is due. Goes out: proposals, each only in
//! the term it was computed in, and answers that need no log entry. Invariant: an answer computed
//! from a change that is not committed leaves only once that change is; a transaction computed at
//! zxid z is proposed at index z.

use crate::Replica;
use crate::boundary::Action;
use crate::connection::to_usize;
use crate::forward::Source;
use crate::leading::{HeldAnswer, Leading};
use crate::read::ReadWaiter;
use crate::settings::Verify;
use alloc::sync::Arc;
use alloc::vec;
use quorate_machine::{Prepared, RecipeExecutor, Request, Stamp, Transaction};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::Role;
use quorate_types::{Incarnation, Outcome, Reply, ServerId, SessionId, Zxid};
use quorate_wire::peer::PeerFrame;

/// Transactions of due timers made in one go; the rest waits for the next round, so that clients'
/// requests are not kept waiting by a thousand timers.
const DUE_TRANSACTIONS_MAX: u32 = 16;

impl<E: RecipeExecutor> Replica<E> {
    /// Takes a request as the leader. It waits in line before the leader is ready, while the leader
    /// has as much under way as it takes or has run recipes for long, and while it hands leadership
    /// over; if the line goes with the leadership, whoever holds the request gives it to the next leader. It is never refused
    /// for being too much: it may be a repeat of what is done already.
    pub(crate) fn lead(&mut self, source: Source, request: Request) {
        let room = self.has_room() && self.has_fuel();
        let Some(leading) = &mut self.leading else { return };
        if !room || !leading.ready || !leading.queue.is_empty() {
            leading.queue.push_back((source, request));
        } else {
            self.turn_into_transaction(source, request);
        }
    }

    /// Whether one more transaction of any size would be taken now.
    fn has_room(&self) -> bool {
        let Some(leading) = &self.leading else { return false };
        let outstanding = self.raft.last_index().0 - self.applied.0;
        // The limit counts changes; in the log come the reply and the call, and the end of a session
        // may pass it: consensus must take what was computed, so there is room to spare.
        let transaction_bytes = to_usize(self.settings.limits.transaction_bytes_max) * 4;
        outstanding < u64::from(self.settings.limits.proposals_outstanding_max)
            && self.raft.check_propose(leading.term, transaction_bytes).is_ok()
    }

    /// The next request in line, if it can be done now.
    fn next_in_line(&mut self) -> Option<(Source, Request)> {
        let is_taken = self.has_room() && self.has_fuel();
        if is_taken { self.leading.as_mut()?.queue.pop_front() } else { None }
    }

    /// What the leader does by itself. True: something was done.
    pub(crate) fn serve_as_leader(&mut self) -> bool {
        let Some(leading) = &mut self.leading else { return false };
        if !leading.ready {
            if self.applied < leading.ready_from {
                return false;
            }
            leading.become_ready(&self.machine, self.now);
            self.record_first_members();
            self.record_incarnations();
        }
        let mut moved = false;
        while let Some((source, request)) = self.next_in_line() {
            self.turn_into_transaction(source, request);
            moved = true;
        }
        self.release_held_answers();
        moved |= self.advance_membership();
        self.fire_due() || self.watch_sessions() || moved
    }

    /// Takes up or lays down leadership as consensus says.
    pub(crate) fn follow_role(&mut self) {
        let term = self.raft.term();
        let leads = self.raft.role() == Role::Leader;
        if self.leading.as_ref().is_some_and(|leading| !leads || leading.term != term) {
            self.leading = None;
        }
        if leads && self.leading.is_none() {
            // Nothing was proposed yet: the last entry is the one this leader began its term with.
            let ready_from = self.raft.last_index();
            let record_calls = self.settings.verify != Verify::Off;
            self.leading = Some(Leading::begin(term, ready_from, self.now, record_calls));
        }
    }

    fn turn_into_transaction(&mut self, source: Source, request: Request) {
        if let Some(outcome) = self.do_without_entry(&request) {
            self.answer_source(source, self.applied(), outcome);
            return;
        }
        if !self.has_room() {
            // Only what the leader does by itself comes here then, and it comes again.
            assert!(source == Source::Leader, "a request left the line without room for it");
            return;
        }
        let objection = self.objection_to(&request);
        let Some(leading) = &mut self.leading else { return };
        leading.outstanding.object(objection);
        let zxid = Zxid(self.raft.last_index().0 + 1);
        let stamp = Stamp { zxid, time_ms: leading.time.stamp_ms(self.now) };
        let prepared =
            leading.outstanding.prepare(&self.machine, &mut self.executor, stamp, request);
        let warnings = leading.outstanding.take_warnings();
        self.actions.extend(warnings.into_iter().map(|text| Action::Warn { text }));
        match prepared {
            Prepared::Transaction(transaction) => self.propose(zxid, &transaction),
            Prepared::Answer(outcome) => self.hold_answer(source, outcome),
            Prepared::AlreadyParked(ticket) => self.hold_answer(source, Ok(Reply::Parked(ticket))),
            Prepared::Nothing => {}
        }
    }

    fn propose(&mut self, zxid: Zxid, transaction: &Transaction) {
        let term = self.leading.as_ref().expect("only the leader proposes").term;
        let payload: Arc<[u8]> = transaction.encode().into();
        let index = self
            .raft
            .propose(vec![payload], term)
            .expect("the leader asked before it computed the transaction");
        assert!(index.0 == zxid.0, "proposed at {}, computed for {zxid}", index.0);
    }

    fn hold_answer(&mut self, source: Source, outcome: Outcome) {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::RefusalSentAtOnce) {
            self.answer_source(source, self.applied(), outcome);
            return;
        }
        let Some(leading) = &mut self.leading else { return };
        let after = leading.outstanding.tip().unwrap_or(Zxid(0)).max(Zxid(self.applied.0));
        if after.0 <= self.applied.0 {
            self.answer_source(source, after, outcome);
        } else {
            leading.held.push_back(HeldAnswer { after, source, outcome });
        }
    }

    fn release_held_answers(&mut self) {
        loop {
            let Some(leading) = &mut self.leading else { return };
            match leading.held.front() {
                Some(held) if held.after.0 <= self.applied.0 => {}
                _ => return,
            }
            let held = leading.held.pop_front().expect("the front is there");
            self.answer_source(held.source, held.after, held.outcome);
        }
    }

    fn answer_source(&mut self, source: Source, after: Zxid, outcome: Outcome) {
        match source {
            Source::Here(id) => self.answer_submission(id, outcome),
            Source::Peer { peer, generation, id } => {
                #[cfg(feature = "planted-bugs")]
                let present = self.peers.get(&peer).map(|known| known.generation);
                #[cfg(feature = "planted-bugs")]
                let generation = if is_planted(PlantedBug::AnswerForOlderConnection) {
                    present.unwrap_or(generation)
                } else {
                    generation
                };
                if self.peers.get(&peer).is_some_and(|known| known.generation == generation) {
                    let frame = PeerFrame::ForwardAnswer { id, after, outcome };
                    self.send_peer(peer, frame);
                }
            }
            Source::Leader => {}
        }
    }

    /// Timers, ticket deadlines and TTLs that are due.
    fn fire_due(&mut self) -> bool {
        for _ in 0..DUE_TRANSACTIONS_MAX {
            let Some(leading) = &self.leading else { return false };
            let stamp_ms = leading.time.stamp_ms(self.now);
            let due = leading.outstanding.next_deadline_ms(&self.machine);
            if due.is_none_or(|due_ms| due_ms > stamp_ms) || !self.has_fuel() {
                return false;
            }
            if !self.do_as_leader(Request::FireDue) {
                return false;
            }
        }
        true
    }

    /// Does what nobody asked for. True: it became a proposal.
    pub(crate) fn do_as_leader(&mut self, request: Request) -> bool {
        let before = self.raft.last_index();
        self.turn_into_transaction(Source::Leader, request);
        self.raft.last_index() > before
    }

    /// Sessions that may have to expire: first confirm that this is still the leader, with a round
    /// begun now.
    fn watch_sessions(&mut self) -> bool {
        let Some(leading) = &mut self.leading else { return false };
        if leading.confirming_expiry || leading.sessions.due(self.now.monotonic_ms).is_empty() {
            return false;
        }
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::ExpiryUnconfirmed) {
            self.expire_sessions();
            return true;
        }
        leading.confirming_expiry = true;
        self.wait_for_barrier(ReadWaiter::Expiry);
        true
    }

    /// The quorum confirmed this leader: expire who is still silent.
    pub(crate) fn expire_sessions(&mut self) {
        let Some(leading) = &mut self.leading else { return };
        leading.confirming_expiry = false;
        let due = leading.sessions.due(self.now.monotonic_ms);
        for session in due {
            // Whoever is left is still due in the next round.
            if self.has_fuel() {
                self.expire_session(session);
            }
        }
    }

    fn expire_session(&mut self, session: SessionId) {
        if let Some(leading) = &mut self.leading {
            // Not due again until this proposal had its chance.
            let wait_ms = self.settings.election_timeout_ms_max * 2;
            leading.sessions.put_off(session, self.now.monotonic_ms + wait_ms);
        }
        self.turn_into_transaction(Source::Leader, Request::ExpireSession { session });
    }

    /// Puts on record which data directory each member runs on, so that an emptied disk under an
    /// old id is noticed.
    pub(crate) fn record_incarnations(&mut self) {
        let mut seen: alloc::vec::Vec<_> =
            self.peers.iter().map(|(server, peer)| (*server, peer.incarnation)).collect();
        seen.push((self.settings.identity.server, self.settings.identity.incarnation));
        for (server, incarnation) in seen {
            self.record_incarnation(server, incarnation);
        }
    }

    /// As [`Replica::record_incarnations`], of one member.
    pub(crate) fn record_incarnation(&mut self, server: ServerId, incarnation: Incarnation) {
        let ready = self.leading.as_ref().is_some_and(|leading| leading.ready);
        let belongs = self.raft.membership().members().contains(&crate::replica_of(server));
        let recorded = self.machine.member(server).and_then(|known| known.incarnation);
        if ready && belongs && recorded.is_none() {
            let request = Request::RecordMember { server, incarnation };
            self.turn_into_transaction(Source::Leader, request);
        }
    }
}
