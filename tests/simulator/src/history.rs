//! What is remembered of a run: every operation that clients asked for, and every entry committed.
//!
//! Comes in: what the world sees at clients and servers. Goes out: to the checkers, read only.
//! Invariant: operations stand in the order in which they were asked for; entries by their index,
//! without holes; `moment` numbers everything that was seen, so that "before" needs no clock.

use quorate_client::protocol::CallFailure;
use quorate_machine::Transaction;
use quorate_raft::EntryKind;
use quorate_types::request::ReadLevel;
use quorate_types::{Operation, Outcome, SessionId, Zxid};
use std::collections::BTreeMap;

/// Place of an operation in [`History::operations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub usize);

/// When something was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Grows with everything that is seen: decides what was before what.
    pub number: u64,
    /// True time, in milliseconds.
    pub at_ms: u64,
}

/// How an operation ended for its caller.
#[derive(Clone, Debug)]
pub struct Ending {
    pub moment: Moment,
    /// What the newest final answer frame carried; `None` when no server answered.
    pub zxid: Option<Zxid>,
    /// The answer, or why there is none. `Refused` is an answer; of the others it is not known
    /// whether the operation was done.
    pub result: Result<quorate_types::Reply, CallFailure>,
}

impl Ending {
    /// The answer as a server gave it; `None`: nobody knows.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.result {
            Ok(reply) => Some(Ok(reply.clone())),
            Err(CallFailure::Refused(refusal)) => Some(Err(refusal.clone())),
            Err(_) => None,
        }
    }
}

/// An operation from its caller's side.
#[derive(Clone, Debug)]
pub struct AskedOperation {
    pub client: usize,
    pub operation: Operation,
    pub level: ReadLevel,
    pub asked: Moment,
    /// Its place in its session, once it was sent.
    pub request: Option<(SessionId, u64)>,
    pub first_sent: Option<Moment>,
    pub times_sent: u32,
    /// When the caller was told that it waits.
    pub parked: Option<Moment>,
    /// The state that the refusal it was told shows.
    pub refused_at: Option<Zxid>,
    /// The caller stopped waiting: the operation may still be done, and may then be undone.
    pub abandoned: bool,
    pub ended: Option<Ending>,
}

/// A committed entry, as the first server that applied it had it.
#[derive(Clone, Debug)]
pub struct CommittedEntry {
    pub zxid: Zxid,
    pub term: u64,
    pub kind: EntryKind,
    /// Hash of term, kind and payload: equal on every server.
    pub fingerprint: u64,
    /// `None` for entries that carry none.
    pub transaction: Option<Transaction>,
    /// When the first server applied it.
    pub moment: Moment,
}

/// Everything remembered of a run.
#[derive(Debug, Default)]
pub struct History {
    pub operations: Vec<AskedOperation>,
    /// By index, from 1: entry `i` is at place `i - 1`.
    pub entries: Vec<CommittedEntry>,
    pub by_request: BTreeMap<(SessionId, u64), OperationId>,
    pub now: Moment,
}

impl History {
    /// Numbers what is seen next.
    pub fn next_moment(&mut self, at_ms: u64) -> Moment {
        self.now = Moment { number: self.now.number + 1, at_ms };
        self.now
    }

    #[must_use]
    pub fn operation(&self, id: OperationId) -> &AskedOperation {
        &self.operations[id.0]
    }

    #[must_use]
    pub fn entry(&self, zxid: Zxid) -> Option<&CommittedEntry> {
        self.entries.get(usize::try_from(zxid.0.checked_sub(1)?).ok()?)
    }

    /// The newest entry that any server has applied.
    #[must_use]
    pub fn newest(&self) -> Zxid {
        self.entries.last().map_or(Zxid(0), |entry| entry.zxid)
    }

    /// The operation that a transaction's origin names, if one of our clients asked for it.
    #[must_use]
    pub fn origin(&self, transaction: &Transaction) -> Option<OperationId> {
        let quorate_machine::Origin::Session { session, sequence, .. } = &transaction.origin else {
            return None;
        };
        self.by_request.get(&(*session, *sequence)).copied()
    }
}
