//! A history that a unit test tells one checker, step by step.
//!
//! Comes in: entries, requests, observations. Goes out: what the checker says to each. Invariant:
//! an entry has the next zxid and is in the history before the checker sees it, as in a real run.

use crate::history::{AskedOperation, CommittedEntry, History, Moment, OperationId};
use crate::observation::{Checker, Observation};
use quorate_machine::{Change, ConnectionOrigin, Origin, Transaction};
use quorate_raft::EntryKind;
use quorate_types::request::ReadLevel;
use quorate_types::{Operation, Outcome, ServerId, SessionId, Zxid};

/// The session of a history that has one.
pub(super) const SESSION: SessionId = SessionId(1);

/// What a checker has been told.
#[derive(Default)]
pub(super) struct Told<C> {
    pub(super) history: History,
    pub(super) checker: C,
    /// The term of the entries that come next.
    pub(super) term: u64,
}

impl<C: Checker + Default> Told<C> {
    /// [`SESSION`] was opened by connection 1 with the first entry.
    pub(super) fn with_session() -> Told<C> {
        let mut told = Told::default();
        assert_eq!(told.commit(connected(1), open(0)), Ok(()));
        told
    }

    pub(super) fn observe(&mut self, what: &Observation<'_>) -> Result<(), String> {
        self.checker.observe(&self.history, what)
    }

    pub(super) fn commit(&mut self, origin: Origin, change: Change) -> Result<(), String> {
        self.commit_with_reply(origin, vec![change], None)
    }

    pub(super) fn commit_with_reply(
        &mut self,
        origin: Origin,
        changes: Vec<Change>,
        reply: Option<Outcome>,
    ) -> Result<(), String> {
        let transaction = Transaction { time_ms: 0, origin, changes, reply, call: None };
        let entry = CommittedEntry {
            transaction: Some(transaction),
            ..committed(self.history.newest().next(), self.term)
        };
        self.history.entries.push(entry.clone());
        self.observe(&Observation::Committed { entry: &entry })
    }

    /// Notes a request of [`SESSION`], unless it is known.
    pub(super) fn ask(
        &mut self,
        sequence: u64,
        operation: Operation,
        level: ReadLevel,
    ) -> OperationId {
        let request = (SESSION, sequence);
        if let Some(known) = self.history.by_request.get(&request) {
            return *known;
        }
        let id = OperationId(self.history.operations.len());
        self.history.by_request.insert(request, id);
        self.history.operations.push(AskedOperation {
            client: 0,
            operation,
            level,
            asked: Moment::default(),
            request: Some(request),
            first_sent: None,
            times_sent: 1,
            parked: None,
            refused_at: None,
            abandoned: false,
            ended: None,
        });
        id
    }
}

/// An entry that carries nothing.
pub(super) fn committed(zxid: Zxid, term: u64) -> CommittedEntry {
    CommittedEntry {
        zxid,
        term,
        kind: EntryKind::Command,
        fingerprint: 0,
        transaction: None,
        moment: Moment::default(),
    }
}

/// Who opens or attaches a session over this connection to server 1.
pub(super) fn connected(connection: u64) -> Origin {
    Origin::Connection(ConnectionOrigin { server: ServerId(1), connection })
}

/// Who asks for what [`SESSION`]'s request of this number changes.
pub(super) fn requested(sequence: u64) -> Origin {
    Origin::Session { session: SESSION, sequence, forgotten: Vec::new() }
}

/// A session of client 0 with a password of this byte.
pub(super) fn open(password: u8) -> Change {
    let identity = String::from("client-0");
    Change::OpenSession { password: [password; 16], timeout_ms: 1_000, identity }
}
