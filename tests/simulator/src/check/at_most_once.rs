//! A request is done once, however often and wherever it is sent, and always answered the same.
//!
//! Source: `runtime/docs/native-protocol.md`, "Exactly once"; the design's kept replies. Comes in:
//! transactions, and every answer that reaches a client, wanted or not. Not judged: reads, which show
//! another state each time; answers that are not final; refusals of what was not done, which are
//! judged anew on each retry. A session that has ended or moved answers nothing any more.

use crate::history::History;
use crate::observation::{Checker, Observation};
use quorate_machine::{Change, Origin, Transaction};
use quorate_types::{ErrorCode, Outcome, Reply, SessionId, TicketId, Zxid};
use std::collections::BTreeMap;

type RequestId = (SessionId, u64);

#[derive(Default)]
pub struct AtMostOnce {
    done: BTreeMap<RequestId, Zxid>,
    answers: BTreeMap<RequestId, Outcome>,
    tickets: BTreeMap<TicketId, RequestId>,
    judged: u64,
}

impl AtMostOnce {
    fn on_committed(&mut self, zxid: Zxid, transaction: &Transaction) -> Result<(), String> {
        for change in &transaction.changes {
            match change {
                Change::Park { ticket, session, sequence, .. } => {
                    self.tickets.insert(*ticket, (*session, *sequence));
                }
                Change::Complete { ticket, outcome } => {
                    let request = self.tickets.remove(ticket).ok_or_else(|| {
                        format!("transaction {zxid} answers ticket {ticket}, which does not wait")
                    })?;
                    self.answer(zxid, request, outcome)?;
                }
                _ => {}
            }
        }
        let Origin::Session { session, sequence, .. } = &transaction.origin else { return Ok(()) };
        let request = (*session, *sequence);
        if let Some(reply) = &transaction.reply
            && !matches!(reply, Ok(Reply::Parked(_)))
        {
            self.answer(zxid, request, reply)?;
        }
        // A change of the membership ends under the number under which it began.
        let ends = |change: &Change| matches!(change, Change::EndMembership { .. });
        if transaction.changes.iter().any(ends) {
            return Ok(());
        }
        self.judged += 1;
        match self.done.insert(request, zxid) {
            None => Ok(()),
            Some(first) => Err(format!(
                "number {sequence} of session {session} is done twice, at {first} and at {zxid}"
            )),
        }
    }

    fn answer(
        &mut self,
        zxid: Zxid,
        (session, sequence): RequestId,
        outcome: &Outcome,
    ) -> Result<(), String> {
        match self.answers.insert((session, sequence), outcome.clone()) {
            None => Ok(()),
            Some(first) => Err(format!(
                "number {sequence} of session {session} is answered {outcome:?} at {zxid}, and was \
                 before: {first:?}"
            )),
        }
    }

    fn on_answer(&mut self, request: RequestId, outcome: &Outcome) -> Result<(), String> {
        if !is_final(outcome) || !self.done.contains_key(&request) {
            return Ok(());
        }
        self.judged += 1;
        let decided = self.answers.get(&request);
        if decided == Some(outcome) {
            return Ok(());
        }
        let (session, sequence) = request;
        Err(format!(
            "number {sequence} of session {session} was done with the answer {decided:?}, and its \
             client is told {outcome:?}"
        ))
    }
}

fn is_final(outcome: &Outcome) -> bool {
    match outcome {
        Ok(Reply::Parked(_)) => false,
        Ok(_) => true,
        Err(refusal) => {
            let over = [ErrorCode::SessionExpired, ErrorCode::SessionMoved];
            !refusal.code.is_transient() && !over.contains(&refusal.code)
        }
    }
}

impl Checker for AtMostOnce {
    fn name(&self) -> &'static str {
        "at_most_once"
    }

    fn observe(&mut self, _: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => match &entry.transaction {
                Some(transaction) => self.on_committed(entry.zxid, transaction),
                None => Ok(()),
            },
            Observation::AnswerSeen { session, sequence, outcome, .. } => {
                self.on_answer((*session, *sequence), outcome)
            }
            _ => Ok(()),
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::Refusal;

    const REQUEST: RequestId = (SessionId(1), 7);

    fn done(changes: Vec<Change>, reply: Outcome) -> Transaction {
        let (session, sequence) = REQUEST;
        let origin = Origin::Session { session, sequence, forgotten: Vec::new() };
        Transaction { time_ms: 0, origin, changes, reply: Some(reply), call: None }
    }

    fn refusal(code: ErrorCode) -> Outcome {
        Err(Refusal::new(code, "no"))
    }

    #[test]
    fn a_second_transaction_of_a_request_is_one_too_many() {
        let mut checker = AtMostOnce::default();
        checker.on_committed(Zxid(2), &done(Vec::new(), Ok(Reply::Done))).unwrap();
        checker.on_committed(Zxid(3), &done(Vec::new(), Ok(Reply::Done))).unwrap_err();
    }

    #[test]
    fn what_was_done_is_answered_as_it_was_done() {
        let mut checker = AtMostOnce::default();
        checker.on_answer(REQUEST, &refusal(ErrorCode::NoNode)).unwrap();
        checker.on_committed(Zxid(2), &done(Vec::new(), Ok(Reply::Done))).unwrap();
        checker.on_answer(REQUEST, &Ok(Reply::Done)).unwrap();
        checker.on_answer(REQUEST, &refusal(ErrorCode::NoLeader)).unwrap();
        checker.on_answer(REQUEST, &refusal(ErrorCode::SessionMoved)).unwrap();
        checker.on_answer(REQUEST, &refusal(ErrorCode::NodeExists)).unwrap_err();
        checker.on_answer(REQUEST, &Ok(Reply::Uploaded(1))).unwrap_err();
    }

    #[test]
    fn a_parked_call_is_answered_by_its_completion() {
        let ticket = TicketId::of(Zxid(2), 0);
        let (session, sequence) = REQUEST;
        let mount = quorate_types::ZnodePath::root();
        let object = String::new();
        let park = Change::Park { ticket, session, sequence, mount, object, deadline_ms: None };
        let complete = || Change::Complete { ticket, outcome: Ok(Reply::Uploaded(5)) };
        let mut checker = AtMostOnce::default();
        checker.on_committed(Zxid(2), &done(vec![park], Ok(Reply::Parked(ticket)))).unwrap();
        let leader = |changes| Transaction {
            time_ms: 0,
            origin: Origin::Leader,
            changes,
            reply: None,
            call: None,
        };
        checker.on_committed(Zxid(3), &leader(vec![complete()])).unwrap();
        checker.on_answer(REQUEST, &Ok(Reply::Parked(ticket))).unwrap();
        checker.on_answer(REQUEST, &Ok(Reply::Uploaded(5))).unwrap();
        checker.on_answer(REQUEST, &Ok(Reply::Done)).unwrap_err();
        checker.on_committed(Zxid(4), &leader(vec![complete()])).unwrap_err();
    }
}
