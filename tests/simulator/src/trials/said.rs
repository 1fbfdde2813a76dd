//! Entries that a unit test tells a recipe's [`Promises`], in the words of its callers.
//!
//! Comes in: calls with their outcomes. Goes out: what the promises say to each. Invariant: entries
//! have the next zxid each.

use super::{Answered, LoggedCall, Parked, Promises, RecipeEntry, Result, Told};
use crate::work::to_cbor;
use bytes::Bytes;
use quorate_types::{ErrorCode, Outcome, Refusal, Reply, SessionId, TicketId, Zxid};
use serde::Serialize;

/// A log in the making.
pub(super) struct Said {
    pub(super) promises: Box<dyn Promises>,
    pub(super) zxid: u64,
    /// Of the entries that come next.
    pub(super) now_ms: u64,
}

impl Said {
    pub(super) fn to(promises: Box<dyn Promises>) -> Said {
        Said { promises, zxid: 10, now_ms: 1_000 }
    }

    /// The zxid that the next entry gets.
    pub(super) fn next(&self) -> u64 {
        self.zxid + 1
    }

    fn follow(
        &mut self,
        call: Option<LoggedCall<'_>>,
        ended: Vec<SessionId>,
        answered: Vec<Answered>,
    ) -> Result {
        self.zxid += 1;
        let (zxid, time_ms) = (Zxid(self.zxid), self.now_ms);
        let entry =
            RecipeEntry { zxid, time_ms, call, answered, opened: None, ended, changes: &[] };
        self.promises.follow(&entry)
    }

    /// A call that is answered at once, and parked calls that it answers.
    pub(super) fn done(
        &mut self,
        session: u64,
        (object, operation): (&str, &str),
        arguments: &impl Serialize,
        reply: &impl Serialize,
        answered: Vec<Answered>,
    ) -> Result {
        let (arguments, reply) = (to_cbor(arguments), to_cbor(reply));
        let name = (SessionId(session), self.next());
        let reply = Ok(&reply[..]);
        let call =
            LoggedCall { name, object, operation, arguments: &arguments, reply, deadline_ms: None };
        self.follow(Some(call), Vec::new(), answered)
    }

    /// A call that is parked without a deadline.
    pub(super) fn parked(
        &mut self,
        session: u64,
        (object, operation): (&str, &str),
        arguments: &impl Serialize,
    ) -> (Parked, TicketId) {
        let arguments = to_cbor(arguments);
        let (zxid, ticket) = (Zxid(self.next()), TicketId(self.next()));
        let name = (SessionId(session), self.next());
        let reply = Err(ticket);
        let call =
            LoggedCall { name, object, operation, arguments: &arguments, reply, deadline_ms: None };
        assert_eq!(self.follow(Some(call), Vec::new(), Vec::new()), Ok(()), "a call may wait");
        let parked = Parked {
            name,
            object: object.into(),
            operation: operation.into(),
            arguments: arguments.to_vec(),
            since: zxid,
            deadline_ms: None,
        };
        (parked, ticket)
    }

    /// Parked calls are answered by a timer, or a session ends.
    pub(super) fn event(&mut self, ended: &[u64], answered: Vec<Answered>) -> Result {
        self.follow(None, ended.iter().map(|session| SessionId(*session)).collect(), answered)
    }

    /// A query's reply, or a refusal by the recipe's own word, with the newest state.
    pub(super) fn told(
        &mut self,
        session: u64,
        (object, operation): (&str, &str),
        arguments: &impl Serialize,
        told: std::result::Result<Vec<u8>, &str>,
    ) -> Result {
        self.told_with(session, (object, operation), arguments, told, Bytes::new())
    }

    /// The same; with a refusal goes what it says for a program.
    pub(super) fn told_with(
        &mut self,
        session: u64,
        (object, operation): (&str, &str),
        arguments: &impl Serialize,
        told: std::result::Result<Vec<u8>, &str>,
        detail: Bytes,
    ) -> Result {
        let outcome: Outcome = match told {
            Ok(reply) => Ok(Reply::Called(reply.into())),
            Err(word) => {
                let refusal = Refusal::new(ErrorCode::RecipeRefused, "");
                Err(Refusal { recipe_code: Some(word.into()), detail, ..refusal })
            }
        };
        let arguments = to_cbor(arguments);
        let zxid = Zxid(self.zxid);
        self.promises.told(&Told {
            client: 0,
            session: SessionId(session),
            object,
            operation,
            arguments: &arguments,
            outcome: &outcome,
            from: zxid,
            zxid,
        })
    }
}

/// A parked call gets its reply.
pub(super) fn answer(parked: &(Parked, TicketId), reply: &impl Serialize) -> Answered {
    let (call, ticket) = parked.clone();
    Answered { ticket, call, outcome: Ok(to_cbor(reply).to_vec()) }
}

/// A parked call comes to another end.
pub(super) fn end(parked: &(Parked, TicketId), code: ErrorCode) -> Answered {
    let (call, ticket) = parked.clone();
    Answered { ticket, call, outcome: Err(Refusal::new(code, "")) }
}
