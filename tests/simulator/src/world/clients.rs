//! Native clients in the world: what applications ask for and are told, and the frames in between.

use super::World;
use super::connections::{Connection, Door};
use super::event::Carried;
use crate::client::{Link, SimulatedClient, UNDOES};
use crate::history::{AskedOperation, Ending, OperationId};
use crate::observation::Observation;
use crate::work::{LOCKS, path};
use crate::zookeeper::ZooKeeperClient;
use quorate_client::protocol::{CallId, Notice, Submission, Undo};
use quorate_replica::Input;
use quorate_types::request::ReadLevel;
use quorate_types::{Operation, Reply, SessionId};
use quorate_wire::native::{ClientFrame, ServerFrame, encode_client};

/// What a client is doing, for people.
#[derive(Clone, Debug)]
pub struct ClientStanding {
    pub client: usize,
    pub link: Link,
    pub session: Option<SessionId>,
    pub outstanding: Vec<OperationId>,
}

impl World {
    pub fn add_client(&mut self, session_timeout_ms: u64) -> usize {
        self.add_client_of(None, session_timeout_ms)
    }

    /// Adds a client; with `only` it connects to that server alone.
    pub fn add_client_of(&mut self, only: Option<u64>, session_timeout_ms: u64) -> usize {
        let number = self.clients.len();
        let seed = self.choices.next();
        let mut client = SimulatedClient::new(number, seed, session_timeout_ms, self.now_ms);
        client.process.only = only;
        self.clients.push(client);
        self.tend(number);
        number
    }

    /// Asks for something in a client's name. `patience_ms`: how long the caller waits.
    pub fn ask(
        &mut self,
        number: usize,
        operation: Operation,
        level: ReadLevel,
        patience_ms: Option<u64>,
    ) -> OperationId {
        let id = self.record_asked(number, operation.clone(), level);
        let undo = undo_of(&operation);
        let client = &mut self.clients[number];
        let call = client.next_call;
        client.next_call += 1;
        client.calls.insert(call, id);
        client.unsent.push_back((call, id));
        let submission = Submission {
            call,
            operation,
            level,
            timeout_ms: patience_ms,
            timeout_covers_parking: patience_ms.is_some(),
            undo,
        };
        client.protocol.submit(self.now_ms, submission);
        self.tend(number);
        id
    }

    pub(super) fn record_asked(
        &mut self,
        client: usize,
        operation: Operation,
        level: ReadLevel,
    ) -> OperationId {
        let asked = self.history.next_moment(self.now_ms);
        let id = OperationId(self.history.operations.len());
        self.history.operations.push(AskedOperation {
            client,
            operation,
            level,
            asked,
            request: None,
            first_sent: None,
            times_sent: 0,
            parked: None,
            refused_at: None,
            abandoned: false,
            ended: None,
        });
        self.show(&Observation::Asked { id });
        id
    }

    /// The caller stops waiting.
    pub fn abandon(&mut self, number: usize, id: OperationId) {
        let client = &mut self.clients[number];
        let Some(call) =
            client.calls.iter().find(|(_, known)| **known == id).map(|(call, _)| *call)
        else {
            return;
        };
        client.calls.remove(&call);
        client.unsent.retain(|(known, _)| *known != call);
        client.protocol.abandon(call);
        self.history.operations[id.0].abandoned = true;
        self.tend(number);
    }

    // What the network driver of a client does.

    /// Takes notices and sends frames.
    pub(super) fn tend_client(&mut self, number: usize) {
        self.clients[number].protocol.tick(self.now_ms);
        self.take_notices(number);
        self.send_frames(number);
        self.take_notices(number);
    }

    fn take_notices(&mut self, number: usize) {
        while let Some(notice) = self.clients[number].protocol.poll_notice() {
            match notice {
                Notice::Completed { call, result } => self.complete(number, call, result),
                Notice::Event(event) => {
                    let session = self.clients[number].session.unwrap_or_default();
                    let seen = Observation::Notified { client: number, session, event: &event };
                    self.show(&seen);
                    self.clients[number].notified.push_back(event);
                }
                Notice::Gap { path, mode } => {
                    self.clients[number].gaps += 1;
                    let session = self.clients[number].session.unwrap_or_default();
                    self.show(&Observation::GapSeen { client: number, session, path: &path, mode });
                }
                Notice::Connected { .. } => {}
                Notice::Disconnect(_) => self.redial(number, true),
                Notice::Lost { reason } => self.end_session(number, Some(&reason)),
                Notice::Closed => self.end_session(number, None),
            }
        }
    }

    fn complete(
        &mut self,
        number: usize,
        call: CallId,
        result: Result<quorate_client::protocol::Answer, quorate_client::protocol::CallFailure>,
    ) {
        let client = &mut self.clients[number];
        client.unsent.retain(|(known, _)| *known != call);
        let Some(id) = client.calls.remove(&call) else { return };
        client.ended.push_back(id);
        let moment = self.history.next_moment(self.now_ms);
        let known = &mut self.history.operations[id.0];
        let zxid = result.as_ref().ok().map(|answer| answer.zxid).or(known.refused_at);
        known.ended = Some(Ending { moment, zxid, result: result.map(|answer| answer.reply) });
        self.show(&Observation::Ended { id });
    }

    /// The session is over: the application opens another one.
    fn end_session(&mut self, number: usize, reason: Option<&str>) {
        if let Some(connection) = self.clients[number].process.connection() {
            self.send_to_server(connection, Carried::Closed);
            self.show(&Observation::Disconnected { client: number, connection });
        }
        if let Some(session) = self.clients[number].session {
            match reason {
                Some(reason) => {
                    self.show(&Observation::SessionLost { client: number, session, reason });
                }
                None => self.show(&Observation::SessionClosed { client: number, session }),
            }
        }
        let (seed, pause_ms) = (self.choices.next(), self.choices.below(100));
        let client = &mut self.clients[number];
        client.sessions_lost += u32::from(reason.is_some());
        client.begin_again(seed, self.now_ms + pause_ms);
    }

    /// Another process takes the place of one that has died.
    pub(super) fn replace_client(&mut self, number: usize, back_after_ms: u64) {
        let (session, seed) = (self.clients[number].session, self.choices.next());
        let unfinished: Vec<OperationId> = self.clients[number].calls.values().copied().collect();
        for id in unfinished {
            self.history.operations[id.0].abandoned = true;
        }
        self.show(&Observation::ClientDied { client: number, session });
        self.clients[number].begin_again(seed, self.now_ms + back_after_ms);
    }

    fn send_frames(&mut self, number: usize) {
        loop {
            let client = &mut self.clients[number];
            let Link::Up { connection, .. } = client.process.link else { return };
            let Some(frame) = client.protocol.poll_frame(self.now_ms) else { return };
            match &frame {
                ClientFrame::Request { sequence, level, operation, .. } => {
                    self.record_sent(number, connection, (*sequence, *level, operation));
                }
                ClientFrame::Heartbeat => {
                    self.show(&Observation::HeartbeatSent { client: number, connection });
                }
                ClientFrame::Connect { .. } | ClientFrame::Status => {}
            }
            self.send_to_server(connection, Carried::Bytes(encode_client(&frame)));
        }
    }

    fn record_sent(
        &mut self,
        number: usize,
        connection: u64,
        (sequence, level, operation): (u64, ReadLevel, &Operation),
    ) {
        let known = self.clients[number].sent.get(&sequence).copied();
        let id = match known {
            Some(id) => id,
            None => self.name_request(number, sequence, level, operation),
        };
        let moment = self.history.next_moment(self.now_ms);
        let asked = &mut self.history.operations[id.0];
        asked.first_sent.get_or_insert(moment);
        asked.times_sent += 1;
        self.show(&Observation::Sent { id, connection });
    }

    /// Finds out which operation a request's number stands for.
    fn name_request(
        &mut self,
        number: usize,
        sequence: u64,
        level: ReadLevel,
        operation: &Operation,
    ) -> OperationId {
        let id = if SimulatedClient::is_own(operation, level) {
            self.record_asked(number, operation.clone(), level)
        } else {
            let next = self.clients[number].unsent.pop_front();
            next.expect("a request was asked for before it is sent").1
        };
        let client = &mut self.clients[number];
        client.sent.insert(sequence, id);
        let session = client.session.expect("requests are sent within a session");
        let asked = &mut self.history.operations[id.0];
        assert_eq!(asked.operation, *operation, "requests are sent in the order of asking");
        asked.request = Some((session, sequence));
        let before = self.history.by_request.insert((session, sequence), id);
        if before.is_some() {
            self.fail("client", format!("session {session} uses number {sequence} twice"));
        }
        id
    }

    pub(super) fn deliver_native(&mut self, connection: u64, bytes: &[u8]) {
        let Some(Connection { door: Door::Native(buffer), server, client, .. }) =
            self.connections.get_mut(&connection)
        else {
            return;
        };
        let (id, client) = (*server, *client);
        buffer.push(bytes);
        let limit = self.plan.limits.client_frame_bytes_max;
        let next = buffer.next_client(limit).expect("clients speak properly");
        let frame = next.expect("a whole frame");
        self.show_arrival((id, connection, client), &frame);
        self.input(id, Input::ClientFrame { connection, frame });
    }

    fn show_arrival(
        &mut self,
        (server, connection, client): (u64, u64, usize),
        frame: &ClientFrame,
    ) {
        let ClientFrame::Request { sequence, .. } = frame else { return };
        if let Some(session) = self.clients[client].session {
            let sequence = *sequence;
            self.show(&Observation::Arrived { server, connection, session, sequence });
        }
    }

    pub(super) fn hear(&mut self, number: usize, connection: u64, bytes: &[u8]) {
        let client = &mut self.clients[number];
        client.buffer.push(bytes);
        let frame = client.buffer.next_server(u32::MAX).expect("servers speak properly");
        let frame = frame.expect("a whole frame");
        self.show_frame(number, connection, &frame);
        self.clients[number].protocol.receive(self.now_ms, frame);
    }

    /// What the frame tells, before the protocol makes anything of it.
    fn show_frame(&mut self, client: usize, connection: u64, frame: &ServerFrame) {
        let session = self.clients[client].session.unwrap_or_default();
        match frame {
            ServerFrame::Connected { session, .. } => self.clients[client].on_granted(*session),
            ServerFrame::Reply { sequence, zxid, outcome } => {
                self.note_answer(client, *sequence, *zxid, outcome);
            }
            _ => {}
        }
        self.show_server_frame((client, connection, session), frame);
    }

    /// What a frame of a server tells a native client, or a conversation in the place of one.
    pub(super) fn show_server_frame(
        &mut self,
        (client, connection, session): (usize, u64, SessionId),
        frame: &ServerFrame,
    ) {
        match frame {
            ServerFrame::Connected { session, timeout_ms, server, resumed, zxid, .. } => {
                self.show(&Observation::Connected {
                    client,
                    connection,
                    session: *session,
                    server: *server,
                    resumed: *resumed,
                    timeout_ms: *timeout_ms,
                    zxid: *zxid,
                });
            }
            ServerFrame::Reply { sequence, zxid, outcome } => {
                let (sequence, zxid) = (*sequence, *zxid);
                self.show(&Observation::AnswerSeen {
                    client,
                    connection,
                    session,
                    sequence,
                    zxid,
                    outcome,
                });
            }
            ServerFrame::Watch(event) => {
                self.show(&Observation::WatchSeen { client, connection, session, event });
            }
            ServerFrame::Heartbeat { zxid } => {
                let zxid = *zxid;
                self.show(&Observation::HeartbeatSeen { client, connection, session, zxid });
            }
            ServerFrame::Refused(_) | ServerFrame::Goodbye(_) => {}
        }
    }

    /// The protocol does not tell its caller what a refusal's zxid was: it is remembered here.
    fn note_answer(
        &mut self,
        number: usize,
        sequence: u64,
        zxid: quorate_types::Zxid,
        outcome: &quorate_types::Outcome,
    ) {
        let Some(id) = self.clients[number].sent.get(&sequence).copied() else { return };
        let moment = self.history.now;
        let known = &mut self.history.operations[id.0];
        match outcome {
            Ok(Reply::Parked(_)) => drop(known.parked.get_or_insert(moment)),
            Err(refusal) if refusal.code.is_transient() => {
                self.clients[number].put_off.insert(id);
            }
            Err(_) if known.ended.is_none() => known.refused_at = Some(zxid),
            _ => {}
        }
    }

    /// What every client is doing, for people.
    #[must_use]
    pub fn client_standings(&self) -> Vec<ClientStanding> {
        let standing = |client: &SimulatedClient| ClientStanding {
            client: client.process.number,
            link: client.process.link,
            session: client.session,
            outstanding: client.calls.values().copied().collect(),
        };
        let native = self.clients.iter().map(standing);
        native.chain(self.zookeeper_clients.iter().map(ZooKeeperClient::standing)).collect()
    }
}

/// What undoes a grant of the lock whose caller has gone.
fn undo_of(operation: &Operation) -> Option<Undo> {
    match operation {
        Operation::Call { object, operation, .. }
            if operation == "acquire" && object.is_within(&path(LOCKS)) =>
        {
            Some(Undo { object: object.clone(), operation: UNDOES.into() })
        }
        _ => None,
    }
}
