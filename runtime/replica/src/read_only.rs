//! Reading without a quorum: ZooKeeper's read-only mode, off unless the settings turn it on.
//!
//! Comes in: connections whose clients are content with a server that only reads, while no leader is
//! known. Goes out: sessions that are known here or are this server's alone, and reads of what is
//! applied here. Invariant: nothing that such a connection asks for reaches a leader or the log, and
//! no read on it claims to be linearizable. When a leader is known again every such connection ends,
//! so that its client connects anew. Must never tell a client that a session of the cluster has ended:
//! whether it has, this server cannot know.

use crate::Replica;
use crate::connection::ConnectionState;
use crate::session_clock::SessionClock;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use quorate_machine::RecipeExecutor;
use quorate_types::{ErrorCode, Operation, Outcome, Refusal, Reply, SessionId};
use quorate_wire::native::{Resume, ServerFrame};

#[cfg(test)]
mod tests;

/// Marks sessions that are one server's alone. Those of the cluster are numbered by the transaction
/// that opened them and never come so far.
const LOCAL: u64 = 1 << 63;

/// Connections that only read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readers {
    /// Whether reading only has begun since a leader was last known.
    begun: bool,
    connections: BTreeMap<SessionId, u64>,
    /// When each was last heard of: no leader watches over these.
    clock: SessionClock,
}

impl Readers {
    /// Notes that no leader is known; false: it was noted before.
    pub(crate) fn begin(&mut self) -> bool {
        !core::mem::replace(&mut self.begun, true)
    }

    /// Notes a sign of life.
    pub(crate) fn touch(&mut self, session: SessionId, now_ms: u64) {
        self.clock.touch(session, now_ms);
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, session: SessionId, connection: u64) {
        if self.connections.get(&session) == Some(&connection) {
            self.connections.remove(&session);
            self.clock.forget(session);
        }
    }
}

impl<E: RecipeExecutor> Replica<E> {
    /// Whether this server serves reads and nothing else.
    pub(crate) fn only_reads(&self) -> bool {
        self.settings.read_only_mode
            && self.is_leaderless()
            && self.belongs()
            && !self.raft.is_refetching()
            && self.shutting_down_since_ms.is_none()
    }

    /// Gives a connection a session to read in: the one that it asks for, or a new one of this server.
    pub(crate) fn connect_reader(
        &mut self,
        connection: u64,
        resume: Option<Resume>,
        timeout_ms: u32,
    ) {
        let limits = &self.settings.limits;
        let timeout_ms =
            timeout_ms.clamp(limits.session_timeout_ms_min, limits.session_timeout_ms_max);
        let known = self.connections.get(&connection).expect("the caller has found it");
        let resumed = resume.is_some();
        let granted = match resume {
            Some(resume) => self.known_session(connection, &resume),
            None => {
                assert!(connection < LOCAL, "connections are numbered below the mark");
                Ok((SessionId(LOCAL | connection), known.entropy, timeout_ms))
            }
        };
        let (session, password, timeout_ms) = match granted {
            Ok(granted) => granted,
            Err(refusal) => return self.end_connection(connection, refusal),
        };
        if let Some(before) = self.readers.connections.get(&session).copied() {
            let text = "the session is attached to another connection now";
            self.end_connection(before, Refusal::new(ErrorCode::SessionMoved, text));
        }
        self.readers.connections.insert(session, connection);
        self.readers.clock.watch(session, u64::from(timeout_ms), self.now.monotonic_ms);
        let state = ConnectionState::Reading { session, is_local: !resumed };
        self.connections.get_mut(&connection).expect("it was found above").state = state;
        let frame = ServerFrame::Connected {
            session,
            password,
            timeout_ms,
            server: self.settings.identity.server,
            resumed,
            zxid: self.applied(),
            read_only: true,
        };
        self.send_client(connection, frame);
    }

    /// The session asked for, by what is applied here. One that is not known may have been opened, and
    /// one that is known closed, at the other servers since.
    fn known_session(
        &self,
        connection: u64,
        resume: &Resume,
    ) -> Result<(SessionId, [u8; 16], u32), Refusal> {
        let Resume { session, password } = *resume;
        if session.0 & LOCAL != 0 {
            let text = "a session of one server alone ends with its connection";
            return Err(Refusal::new(ErrorCode::SessionExpired, text));
        }
        let identity = &self.connections[&connection].identity;
        match self.machine.session_of(session, &password, identity) {
            Ok(status) => Ok((session, password, status.timeout_ms)),
            Err(refusal) if refusal.code == ErrorCode::SessionExpired => {
                let text = "this server knows no leader and not the session; try another";
                Err(Refusal::new(ErrorCode::ServerUnavailable, text))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Ends connections of clients that were silent for their whole timeout.
    pub(crate) fn end_silent_readers(&mut self) {
        for session in self.readers.clock.due(self.now.monotonic_ms) {
            if let Some(connection) = self.readers.connections.get(&session).copied() {
                let text = "the client was silent for the timeout of its session";
                self.end_connection(connection, Refusal::new(ErrorCode::SessionExpired, text));
            }
        }
    }

    /// Ends every connection that only reads.
    pub(crate) fn end_readers(&mut self, reason: &str) {
        self.readers.begun = false;
        let readers: Vec<u64> = self.readers.connections.values().copied().collect();
        for connection in readers {
            let refusal = Refusal::new(ErrorCode::ServerUnavailable, String::from(reason));
            self.end_connection(connection, refusal);
        }
    }
}

/// What a client that only reads is told of what is no read, or of one that would have to ask a leader.
/// Its own session it may end if that is this server's alone.
pub(crate) fn refuse_reader(operation: &Operation, is_local: bool) -> Outcome {
    match operation {
        Operation::CloseSession if is_local => Ok(Reply::Done),
        _ => {
            let text = "this server has no quorum and only reads";
            Err(Refusal::new(ErrorCode::ReadOnly, text))
        }
    }
}
