//! One client's connection: its handshake and the line of its requests.
//!
//! Comes in: decoded frames. Goes out: sessions asked for, requests handed to `admission`.
//! Invariant: replies leave in the order of the requests, except those of parked calls. A frame
//! that the state does not allow closes the connection and nothing else.

use crate::Replica;
use crate::forward::Waiter;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use quorate_machine::{ConnectionOrigin, Identity, RecipeExecutor, Request};
use quorate_raft::Index;
use quorate_types::{ErrorCode, Operation, Outcome, Refusal, Reply, SessionId, Zxid};
use quorate_wire::native::{ClientFrame, PROTOCOL, Resume, ServerFrame};

/// Identities that one connection proves at most. Each write carries them all.
const PROOFS_MAX: usize = 64;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionState {
    /// Nothing was sent yet.
    Opened,
    /// The session is being opened or resumed.
    Connecting { resumed: bool },
    /// Requests are served. `epoch`: the transaction that attached the session to this connection.
    Established { session: SessionId, epoch: Zxid },
    /// Reads are served, without a quorum. `is_local`: the session is this server's alone.
    Reading { session: SessionId, is_local: bool },
}

/// What a request in the line waits for.
#[derive(Clone, Debug)]
pub(crate) enum SlotBody {
    /// The leader.
    Submitted,
    /// Its turn, and that this index is applied; `None`: that the index is known.
    Read { operation: Operation, from: Option<Index> },
    /// Its turn.
    Answered { zxid: Zxid, outcome: Outcome },
}

/// One request in the line.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) sequence: u64,
    pub(crate) body: SlotBody,
}

/// One client's connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) identity: Identity,
    pub(crate) entropy: [u8; 16],
    pub(crate) state: ConnectionState,
    pub(crate) line: VecDeque<Slot>,
}

impl Connection {
    /// The session served, once there is one.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self.state {
            ConnectionState::Established { session, .. }
            | ConnectionState::Reading { session, .. } => Some(session),
            ConnectionState::Opened | ConnectionState::Connecting { .. } => None,
        }
    }

    /// The request with this number, if it still waits.
    pub(crate) fn slot_mut(&mut self, sequence: u64) -> Option<&mut Slot> {
        self.line.iter_mut().find(|slot| slot.sequence == sequence)
    }
}

impl<E: RecipeExecutor> Replica<E> {
    pub(crate) fn on_connection_opened(
        &mut self,
        connection: u64,
        identity: Identity,
        entropy: [u8; 16],
    ) {
        let opened =
            Connection { identity, entropy, state: ConnectionState::Opened, line: VecDeque::new() };
        let before = self.connections.insert(connection, opened);
        assert!(before.is_none(), "connection {connection} was opened twice");
        let full = self.connections.len() > to_usize(self.settings.limits.connections_max);
        if full {
            let text = "this server has as many connections as it takes; try another";
            self.end_connection(connection, Refusal::new(ErrorCode::Overloaded, text));
        }
    }

    pub(crate) fn on_connection_proved(&mut self, connection: u64, scheme: String, id: String) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        let proof = (scheme, id);
        if !known.identity.proofs.contains(&proof) && known.identity.proofs.len() < PROOFS_MAX {
            known.identity.proofs.push(proof);
        }
    }

    pub(crate) fn on_connection_closed(&mut self, connection: u64) {
        let Some(closed) = self.connections.remove(&connection) else { return };
        if let Some(session) = closed.session()
            && self.sessions_here.get(&session) == Some(&connection)
        {
            self.sessions_here.remove(&session);
        }
        if let ConnectionState::Reading { session, .. } = closed.state {
            self.readers.forget(session, connection);
        }
        self.watches.remove_watcher(connection);
        self.submissions.forget_connection(connection);
    }

    pub(crate) fn on_client_frame(&mut self, connection: u64, frame: ClientFrame) {
        let Some(state) = self.connections.get(&connection).map(|known| known.state) else {
            return;
        };
        match (state, frame) {
            (
                ConnectionState::Opened,
                ClientFrame::Connect { protocol, resume, timeout_ms, last_seen: _, read_only },
            ) => self.on_connect(connection, protocol, read_only, (resume, timeout_ms)),
            (
                ConnectionState::Established { .. } | ConnectionState::Reading { .. },
                ClientFrame::Request { sequence, oldest_unreplied, acknowledged, level, operation },
            ) => {
                self.on_sign_of_life(state);
                let finished = Finished { oldest_unreplied, acknowledged };
                self.admit(connection, sequence, finished, (level, operation));
            }
            (
                ConnectionState::Established { .. } | ConnectionState::Reading { .. },
                ClientFrame::Heartbeat,
            ) => {
                self.on_sign_of_life(state);
                let zxid = self.applied();
                self.send_client(connection, ServerFrame::Heartbeat { zxid });
            }
            (ConnectionState::Opened, ClientFrame::Status) => self.send_status(connection),
            (
                ConnectionState::Opened
                | ConnectionState::Connecting { .. }
                | ConnectionState::Established { .. }
                | ConnectionState::Reading { .. },
                ClientFrame::Connect { .. }
                | ClientFrame::Request { .. }
                | ClientFrame::Heartbeat
                | ClientFrame::Status,
            ) => {
                let text = "a frame came that has no place here: connect first, and once";
                self.end_connection(connection, Refusal::new(ErrorCode::BadArguments, text));
            }
        }
    }

    fn on_sign_of_life(&mut self, state: ConnectionState) {
        match state {
            ConnectionState::Established { session, .. } => {
                self.touched.insert(session);
            }
            ConnectionState::Reading { session, .. } => {
                self.readers.touch(session, self.now.monotonic_ms);
            }
            ConnectionState::Opened | ConnectionState::Connecting { .. } => {}
        }
    }

    /// `read_only`: a server that only reads will do.
    fn on_connect(
        &mut self,
        connection: u64,
        protocol: u16,
        read_only: bool,
        (resume, timeout_ms): (Option<Resume>, u32),
    ) {
        if let Err(refusal) = self.check_connect(protocol) {
            self.end_connection(connection, refusal);
            return;
        }
        if self.is_leaderless() {
            if read_only && self.only_reads() {
                self.connect_reader(connection, resume, timeout_ms);
            } else {
                let text = "this server knows no leader; try another";
                let refusal = Refusal::new(ErrorCode::ServerUnavailable, text);
                self.end_connection(connection, refusal);
            }
            return;
        }
        let origin = ConnectionOrigin { server: self.settings.identity.server, connection };
        let known = self.connections.get_mut(&connection).expect("the caller has found it");
        known.state = ConnectionState::Connecting { resumed: resume.is_some() };
        let identity = known.identity.clone();
        let limits = &self.settings.limits;
        let request = match resume {
            Some(Resume { session, password }) => {
                Request::AttachSession { origin, session, password, identity }
            }
            None => Request::OpenSession {
                origin,
                password: known.entropy,
                timeout_ms: timeout_ms
                    .clamp(limits.session_timeout_ms_min, limits.session_timeout_ms_max),
                identity,
            },
        };
        self.submit(request, Waiter::Connecting { connection });
    }

    fn send_status(&mut self, connection: u64) {
        let (zxid, outcome) = (self.applied(), Ok(Reply::Status(self.status())));
        self.send_client(connection, ServerFrame::Reply { sequence: 0, zxid, outcome });
    }

    fn check_connect(&self, protocol: u16) -> Result<(), Refusal> {
        if protocol != PROTOCOL {
            let text = alloc::format!(
                "the client speaks protocol {protocol}, this server {PROTOCOL}: upgrade the older"
            );
            return Err(Refusal::new(ErrorCode::Unimplemented, text));
        }
        if self.raft.is_refetching() {
            let text = "this server refetches damaged entries of its log; try another";
            return Err(Refusal::new(ErrorCode::ServerUnavailable, text));
        }
        if !self.belongs() {
            let text = "this server is no member of the cluster; try another";
            return Err(Refusal::new(ErrorCode::ServerUnavailable, text));
        }
        if self.shutting_down_since_ms.is_some() {
            let text = "this server is shutting down; try another";
            return Err(Refusal::new(ErrorCode::ServerUnavailable, text));
        }
        Ok(())
    }

    /// Whether no leader is known for long.
    pub(crate) fn is_leaderless(&self) -> bool {
        let leaderless_ms = self.now.monotonic_ms - self.leader_seen_ms;
        leaderless_ms > self.settings.leaderless_ms_max()
    }

    /// While no leader is known for long, clients are sent to other servers, and no more are taken but
    /// those that only read. Whoever has said nothing yet may still ask how this server is.
    pub(crate) fn check_leaderless(&mut self) {
        if !self.is_leaderless() {
            self.end_readers("the cluster has a leader; connect again");
            return;
        }
        if self.readers.begin() {
            self.close_connections("this server knows no leader; try another", |state| {
                !matches!(state, ConnectionState::Opened)
            });
        }
        self.end_silent_readers();
    }

    /// Says goodbye to every client.
    pub(crate) fn close_all_connections(&mut self, reason: &str) {
        self.close_connections(reason, |_| true);
    }

    /// Says goodbye to the clients whose connections have come so far.
    pub(crate) fn close_connections(
        &mut self,
        reason: &str,
        closes: impl Fn(ConnectionState) -> bool,
    ) {
        let all = self.connections.iter().filter(|(_, known)| closes(known.state));
        let all: Vec<u64> = all.map(|(connection, _)| *connection).collect();
        for connection in all {
            let refusal = Refusal::new(ErrorCode::ServerUnavailable, String::from(reason));
            self.end_connection(connection, refusal);
        }
    }
}

/// What a client has the replies of.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) oldest_unreplied: u64,
    pub(crate) acknowledged: Vec<u64>,
}

pub(crate) fn to_usize(number: u32) -> usize {
    usize::try_from(number).expect("usize has at least 32 bits here")
}
