//! Calls that wait (runtime/docs/native-protocol.md, "Exactly once"; the design's tickets): each is
//! answered exactly once, its caller is told what the log says, and nobody waits for nothing.
//!
//! Comes in: every committed entry, and the frames and endings that clients saw. Invariant: the
//! tickets followed here are those of every replica at rest.

use crate::history::{CommittedEntry, History, OperationId};
use crate::observation::{Checker, Observation, Rest};
use quorate_machine::{Change, Origin, Transaction};
use quorate_types::{ErrorCode, Operation, Outcome, Reply, SessionId, TicketId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// A call by its session and number.
type CallName = (SessionId, u64);

#[derive(Clone, Copy, Debug)]
struct Ticket {
    call: CallName,
    deadline_ms: Option<u64>,
}

#[derive(Clone, Debug)]
struct Completion {
    zxid: Zxid,
    outcome: Outcome,
}

#[derive(Default)]
pub struct ParkedCalls {
    open: BTreeMap<TicketId, Ticket>,
    newest_ticket: Option<TicketId>,
    ticket_of: BTreeMap<CallName, TicketId>,
    completions: BTreeMap<CallName, Completion>,
    sessions: BTreeSet<SessionId>,
    /// The session that each client has.
    clients: BTreeMap<usize, SessionId>,
    judged: u64,
}

impl ParkedCalls {
    fn follow(&mut self, history: &History, entry: &CommittedEntry) -> Result<(), String> {
        let Some(transaction) = &entry.transaction else { return Ok(()) };
        let mut ended = BTreeSet::new();
        for change in &transaction.changes {
            match change {
                Change::OpenSession { .. } => drop(self.sessions.insert(SessionId(entry.zxid.0))),
                Change::CloseSession { session } => drop(ended.insert(*session)),
                _ => {}
            }
        }
        for change in &transaction.changes {
            match change {
                Change::Park { ticket, session, sequence, deadline_ms, .. } => {
                    let parked = Ticket { call: (*session, *sequence), deadline_ms: *deadline_ms };
                    self.park(transaction, *ticket, parked)?;
                }
                Change::Complete { ticket, outcome } => {
                    let completion = Completion { zxid: entry.zxid, outcome: outcome.clone() };
                    self.complete((history, transaction), *ticket, completion, &ended)?;
                }
                _ => {}
            }
        }
        for session in ended {
            self.sessions.remove(&session);
            if let Some((ticket, _)) = self.open.iter().find(|(_, open)| open.call.0 == session) {
                return Err(format!(
                    "session {session} ended in {} and its ticket {ticket:?} still waits",
                    entry.zxid
                ));
            }
        }
        Ok(())
    }

    fn park(
        &mut self,
        transaction: &Transaction,
        ticket: TicketId,
        parked: Ticket,
    ) -> Result<(), String> {
        self.judged += 1;
        let (session, sequence) = parked.call;
        let asked = matches!(&transaction.origin, Origin::Session { session, sequence, .. }
            if (*session, *sequence) == parked.call);
        if !asked {
            return Err(format!(
                "request {sequence} of session {session} is parked by {:?}",
                transaction.origin
            ));
        }
        if !self.sessions.contains(&session) {
            return Err(format!("session {session} has ended and is parked as {ticket:?}"));
        }
        if self.newest_ticket.is_some_and(|newest| ticket <= newest) {
            return Err(format!("ticket {ticket:?} does not come after {:?}", self.newest_ticket));
        }
        if let Some(before) = self.ticket_of.insert(parked.call, ticket) {
            return Err(format!(
                "request {sequence} of session {session} waits as {before:?} and as {ticket:?}"
            ));
        }
        self.newest_ticket = Some(ticket);
        self.open.insert(ticket, parked);
        Ok(())
    }

    fn complete(
        &mut self,
        (history, transaction): (&History, &Transaction),
        ticket: TicketId,
        completion: Completion,
        ended: &BTreeSet<SessionId>,
    ) -> Result<(), String> {
        self.judged += 1;
        let zxid = completion.zxid;
        let Some(open) = self.open.remove(&ticket) else {
            return Err(format!("{zxid} completes ticket {ticket:?}, which does not wait"));
        };
        let right = match &completion.outcome {
            Ok(Reply::Parked(_)) => false,
            Ok(_) => !ended.contains(&open.call.0),
            Err(refusal) => match refusal.code {
                ErrorCode::TimedOut => {
                    open.deadline_ms.is_some_and(|at_ms| at_ms <= transaction.time_ms)
                }
                ErrorCode::Cancelled => is_cancelled(history, transaction, open.call),
                ErrorCode::SessionExpired => ended.contains(&open.call.0),
                _ => true,
            },
        };
        if !right {
            return Err(format!(
                "{zxid} at {} answers {open:?} with {:?}; it comes from {:?}",
                transaction.time_ms, completion.outcome, transaction.origin
            ));
        }
        self.completions.insert(open.call, completion);
        Ok(())
    }

    /// A frame with an answer: a parked call is told that it waits, and then what the log says.
    fn see_answer(
        &mut self,
        history: &History,
        call: CallName,
        zxid: Zxid,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let (session, sequence) = call;
        if let Ok(Reply::Parked(ticket)) = outcome {
            self.judged += 1;
            if self.ticket_of.get(&call) != Some(ticket) {
                return Err(format!(
                    "request {sequence} of session {session} was told that it waits as {ticket:?}; \
                     the log has {:?}",
                    self.ticket_of.get(&call)
                ));
            }
            return Ok(());
        }
        self.check_cancellation(history, call, outcome)?;
        let passing = outcome.as_ref().err().map(|refusal| refusal.code).is_some_and(is_passing);
        if passing || !self.ticket_of.contains_key(&call) {
            return Ok(());
        }
        self.judged += 1;
        match self.completions.get(&call) {
            Some(known) if known.outcome == *outcome && known.zxid <= zxid => Ok(()),
            other => Err(format!(
                "request {sequence} of session {session} waited and was told {outcome:?} at {zxid}; \
                 the log has {other:?}"
            )),
        }
    }

    /// Who was told that his call is cancelled waits no more.
    fn check_cancellation(
        &self,
        history: &History,
        call: CallName,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let Some(id) = history.by_request.get(&call) else { return Ok(()) };
        let Operation::CancelCall { sequence } = history.operation(*id).operation else {
            return Ok(());
        };
        let waiting = self.ticket_of.get(&(call.0, sequence));
        match waiting.filter(|ticket| outcome.is_ok() && self.open.contains_key(ticket)) {
            None => Ok(()),
            Some(ticket) => Err(format!(
                "session {} gave up request {sequence} and was told so; {ticket:?} still waits",
                call.0
            )),
        }
    }

    fn judge_told(&mut self, history: &History, id: OperationId) -> Result<(), String> {
        let asked = history.operation(id);
        let (Some(call), Some(ending)) = (asked.request, &asked.ended) else { return Ok(()) };
        let Some(outcome) = ending.outcome() else { return Ok(()) };
        if !self.ticket_of.contains_key(&call) {
            return Ok(());
        }
        self.judged += 1;
        match self.completions.get(&call) {
            Some(known) if known.outcome == outcome => Ok(()),
            other => Err(format!(
                "the caller of request {} of session {} was told {outcome:?}; the log has {other:?}",
                call.1, call.0
            )),
        }
    }
}

/// The entry comes from the caller's own wish to wait no more.
fn is_cancelled(history: &History, transaction: &Transaction, call: CallName) -> bool {
    let Some(id) = history.origin(transaction) else { return false };
    let asked = history.operation(id);
    let by_caller = asked.request.is_some_and(|(session, _)| session == call.0);
    by_caller && asked.operation == Operation::CancelCall { sequence: call.1 }
}

/// Says nothing about the call itself.
fn is_passing(code: ErrorCode) -> bool {
    code.is_transient() || matches!(code, ErrorCode::SessionExpired | ErrorCode::SessionMoved)
}

impl Checker for ParkedCalls {
    fn name(&self) -> &'static str {
        "parked_calls"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => self.follow(history, entry),
            Observation::AnswerSeen { session, sequence, zxid, outcome, .. } => {
                self.see_answer(history, (*session, *sequence), *zxid, outcome)
            }
            Observation::Ended { id } => self.judge_told(history, *id),
            Observation::Connected { client, session, .. } => {
                self.clients.insert(*client, *session);
                Ok(())
            }
            Observation::SessionLost { client, .. }
            | Observation::SessionClosed { client, .. }
            | Observation::ClientDied { client, .. } => {
                self.clients.remove(client);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, history: &History, rest: &Rest<'_>) -> Result<(), String> {
        for (server, replica) in &rest.replicas {
            let count = replica.machine().ticket_count();
            if count != self.open.len() as u64 {
                return Err(format!(
                    "server {server} keeps {count} tickets, by the log {} wait",
                    self.open.len()
                ));
            }
        }
        let living: BTreeSet<SessionId> = self.clients.values().copied().collect();
        let orphan = self.open.iter().find(|(_, open)| living.contains(&open.call.0));
        if let Some((ticket, open)) = orphan {
            return Err(format!("{ticket:?} of {open:?} waits and its caller does not"));
        }
        for (call, completion) in &self.completions {
            let id = history.by_request.get(call).filter(|_| living.contains(&call.0));
            let asked = id.map(|id| history.operation(*id));
            if asked.is_some_and(|asked| asked.ended.is_none() && !asked.abandoned) {
                return Err(format!("the caller of {call:?} was never told {completion:?}"));
            }
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::Refusal;

    fn done_at(zxid: u64, outcome: Outcome) -> Completion {
        Completion { zxid: Zxid(zxid), outcome }
    }

    #[test]
    fn a_parked_call_is_answered_once_and_not_before_its_time() {
        let (session, history, nobody) = (SessionId(1), History::default(), BTreeSet::new());
        let origin = Origin::Session { session, sequence: 4, forgotten: Vec::new() };
        let (changes, reply, call) = (Vec::new(), None, None);
        let from = Transaction { time_ms: 50, origin, changes, reply, call };
        let mut calls = ParkedCalls::default();
        let ticket = Ticket { call: (session, 4), deadline_ms: Some(60) };
        assert!(calls.park(&from, TicketId(1), ticket).is_err(), "the session is not open");
        calls.sessions.insert(session);
        calls.park(&from, TicketId(2), ticket).unwrap();
        assert!(calls.park(&from, TicketId(3), ticket).is_err(), "it waits already");
        let answer = done_at(9, Ok(Reply::Done));
        calls.complete((&history, &from), TicketId(2), answer.clone(), &nobody).unwrap();
        assert!(calls.complete((&history, &from), TicketId(2), answer, &nobody).is_err());
        let other = Ok(Reply::Uploaded(1));
        assert!(calls.see_answer(&history, (session, 4), Zxid(9), &other).is_err());
        calls.see_answer(&history, (session, 4), Zxid(9), &Ok(Reply::Done)).unwrap();
        let early = done_at(9, Err(Refusal::new(ErrorCode::TimedOut, "")));
        calls.open.insert(TicketId(5), ticket);
        assert!(calls.complete((&history, &from), TicketId(5), early, &nobody).is_err());
    }
}
