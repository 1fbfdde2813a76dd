//! What clients are told, in order.
//!
//! Comes in: outcomes, notifications, ends of sessions. Goes out: frames. Invariant: on one
//! connection, a notification leaves before any reply that shows the change or a later one;
//! replies leave in the order of the requests, except those of parked calls, which come when they
//! come.

use crate::Replica;
use crate::boundary::Action;
use crate::connection::{ConnectionState, Slot, SlotBody};
use quorate_machine::{ConnectionResult, RecipeExecutor};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::{ErrorCode, Operation, Outcome, Refusal, SessionId, Zxid};
use quorate_wire::native::ServerFrame;

impl<E: RecipeExecutor> Replica<E> {
    pub(crate) fn send_client(&mut self, connection: u64, frame: ServerFrame) {
        self.actions.push_back(Action::SendClient { connection, frame });
    }

    /// Ends a connection with the reason: a goodbye within a session, a refusal before one.
    pub(crate) fn end_connection(&mut self, connection: u64, refusal: Refusal) {
        let frame = match self.connections.get(&connection).map(|known| known.state) {
            Some(ConnectionState::Established { .. } | ConnectionState::Reading { .. }) => {
                ServerFrame::Goodbye(refusal)
            }
            Some(ConnectionState::Opened | ConnectionState::Connecting { .. }) => {
                ServerFrame::Refused(refusal)
            }
            None => return,
        };
        self.send_client(connection, frame);
        self.actions.push_back(Action::CloseConnection { connection });
        self.on_connection_closed(connection);
    }

    /// An outcome for a request of this connection.
    pub(crate) fn deliver_outcome(
        &mut self,
        connection: u64,
        sequence: u64,
        zxid: Zxid,
        outcome: Outcome,
    ) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        match known.slot_mut(sequence) {
            Some(slot) => {
                slot.body = SlotBody::Answered { zxid, outcome };
                self.advance_line(connection);
            }
            None => self.send_client(connection, ServerFrame::Reply { sequence, zxid, outcome }),
        }
    }

    /// What was applied for a session: to the connection it has here, if it has one here.
    pub(crate) fn deliver_applied(
        &mut self,
        zxid: Zxid,
        session: SessionId,
        sequence: u64,
        outcome: Outcome,
    ) {
        self.submissions.take_call(session, sequence);
        if let Some(connection) = self.sessions_here.get(&session).copied() {
            self.deliver_outcome(connection, sequence, zxid, outcome);
        }
    }

    /// A session was opened or attached, or could not be.
    pub(crate) fn deliver_connection(&mut self, zxid: Zxid, result: ConnectionResult) {
        if result.origin.server != self.settings.identity.server {
            return;
        }
        let connection = result.origin.connection;
        self.submissions.take_connecting(connection);
        match result.outcome {
            Err(refusal) => self.end_connection(connection, refusal),
            Ok(grant) => {
                let Some(known) = self.connections.get_mut(&connection) else { return };
                let ConnectionState::Connecting { resumed } = known.state else {
                    self.on_granted_again(connection, grant.session);
                    return;
                };
                known.state =
                    ConnectionState::Established { session: grant.session, epoch: grant.epoch };
                self.sessions_here.insert(grant.session, connection);
                self.touched.insert(grant.session);
                let frame = ServerFrame::Connected {
                    session: grant.session,
                    password: grant.password,
                    timeout_ms: grant.timeout_ms,
                    server: self.settings.identity.server,
                    resumed,
                    zxid,
                    read_only: false,
                };
                self.send_client(connection, frame);
            }
        }
    }

    /// The request for this session was done twice, across a change of leaders. The requests that
    /// the connection has under way carry the epoch of the first time and will be refused: the
    /// client connects again and brings them under the newest. A session opened twice is two.
    fn on_granted_again(&mut self, connection: u64, session: SessionId) {
        if self.sessions_here.get(&session) == Some(&connection) {
            let text = "the session was attached twice; connect again";
            self.end_connection(connection, Refusal::new(ErrorCode::SessionMoved, text));
        }
    }

    /// The session is attached elsewhere now: the connection it had here is over.
    pub(crate) fn session_moved(&mut self, session: SessionId, to: (u64, bool)) {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::MovedSessionStaysServed) {
            return;
        }
        let (connection, here) = to;
        match self.sessions_here.get(&session).copied() {
            Some(before) if !(here && before == connection) => {
                let text = "the session is attached to another connection now";
                self.end_connection(before, Refusal::new(ErrorCode::SessionMoved, text));
            }
            _ => {}
        }
    }

    /// The session has ended: its connection is told after everything it was owed.
    pub(crate) fn session_closed(&mut self, session: SessionId) {
        if let Some(connection) = self.sessions_here.get(&session).copied() {
            let text = "the session has ended";
            self.end_connection(connection, Refusal::new(ErrorCode::SessionExpired, text));
        }
    }

    /// Sends what stands at the head of the line and needs to wait no more.
    pub(crate) fn advance_line(&mut self, connection: u64) {
        loop {
            let has_fuel = self.has_fuel();
            let Some(known) = self.connections.get_mut(&connection) else { return };
            let Some(head) = known.line.front() else { return };
            let applied = self.applied;
            let ready = match &head.body {
                SlotBody::Answered { .. } => true,
                SlotBody::Read { from: Some(from), operation } => {
                    *from <= applied && (has_fuel || !matches!(operation, Operation::Call { .. }))
                }
                SlotBody::Read { from: None, .. } | SlotBody::Submitted => false,
            };
            if !ready {
                if let SlotBody::Read { from: Some(from), .. } = head.body {
                    self.barriers.wait_until_applied(from, connection);
                }
                return;
            }
            let slot = known.line.pop_front().expect("the head is there");
            self.send_slot(connection, slot);
        }
    }

    fn send_slot(&mut self, connection: u64, slot: Slot) {
        let Slot { sequence, body } = slot;
        let (zxid, outcome) = match body {
            SlotBody::Answered { zxid, outcome } => (zxid, outcome),
            SlotBody::Read { operation, .. } => (self.applied(), self.read(connection, &operation)),
            SlotBody::Submitted => unreachable!("only answered slots and reads are sent"),
        };
        self.send_client(connection, ServerFrame::Reply { sequence, zxid, outcome });
    }
}
