//! A mount in memory as its clients see it: calls with numbers, each done once.
//!
//! Comes in: calls, and calls again. Goes out: answers, at once and pushed. Invariant: a call that
//! comes again gets its first answer, or waits on; the recipe does not run for it. A session's answers
//! are forgotten with it.

use super::mounted::Mounted;
use crate::contract::Outcome;
use crate::failure::{Failure, Result};
use crate::object::SessionId;
use crate::ticket::TicketId;
use std::collections::BTreeMap;

/// A call's number within its session.
pub(crate) type CallNumber = u64;

/// What a client knows of its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Waiting(TicketId),
    Answered(Result<Vec<u8>>),
}

#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) mounted: Mounted,
    kept: BTreeMap<(SessionId, CallNumber), Kept>,
    waiting: BTreeMap<TicketId, (SessionId, CallNumber)>,
    calls_made: u64,
}

impl Served {
    pub(crate) fn new(mounted: Mounted) -> Served {
        Served { mounted, kept: BTreeMap::new(), waiting: BTreeMap::new(), calls_made: 0 }
    }

    #[track_caller]
    pub(crate) fn call(
        &mut self,
        session: SessionId,
        (object, operation): (&str, &str),
        arguments: &[u8],
    ) -> (CallNumber, Kept) {
        let outcome = self.mounted.call(session, object, operation, arguments);
        self.keep(session, outcome)
    }

    /// Keeps how a call ended under the next number.
    pub(crate) fn keep(
        &mut self,
        session: SessionId,
        outcome: Result<Outcome>,
    ) -> (CallNumber, Kept) {
        self.calls_made += 1;
        let call = (session, self.calls_made);
        let kept = match outcome {
            Ok(Outcome::Done(reply)) => Kept::Answered(Ok(reply)),
            Err(failure) => Kept::Answered(Err(failure)),
            Ok(Outcome::Parked(ticket)) => self.parked(call, ticket),
        };
        self.kept.insert(call, kept.clone());
        (call.1, kept)
    }

    /// A ticket completed by the run that parked it is an answer at once.
    fn parked(&mut self, call: (SessionId, CallNumber), ticket: TicketId) -> Kept {
        let answers = &mut self.mounted.world.answers;
        match answers.iter().position(|(answered, _)| *answered == ticket) {
            Some(position) => Kept::Answered(answers.remove(position).1),
            None => {
                self.waiting.insert(ticket, call);
                Kept::Waiting(ticket)
            }
        }
    }

    /// What a client is told that makes a call again.
    pub(crate) fn retry(&self, session: SessionId, call: CallNumber) -> Kept {
        let expired =
            || Kept::Answered(Err(Failure::new("session-expired", "the session has ended")));
        self.kept.get(&(session, call)).cloned().unwrap_or_else(expired)
    }

    #[track_caller]
    pub(crate) fn close(&mut self, session: SessionId) {
        self.mounted.close(session);
        self.kept.retain(|(owner, _), _| *owner != session);
        self.waiting.retain(|_, (owner, _)| *owner != session);
    }

    /// The answers pushed since this was asked last, in order.
    pub(crate) fn take_pushed(&mut self) -> Vec<(SessionId, CallNumber, Result<Vec<u8>>)> {
        let mut pushed = Vec::new();
        for (ticket, answer) in std::mem::take(&mut self.mounted.world.answers) {
            if let Some(call) = self.waiting.remove(&ticket) {
                self.kept.insert(call, Kept::Answered(answer.clone()));
                pushed.push((call.0, call.1, answer));
            }
        }
        pushed
    }
}
