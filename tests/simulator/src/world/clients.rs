//! Clients in the world: dialling, bytes to and fro, and what applications ask for and are told.

use super::World;
use super::event::{Carried, Event};
use crate::client::{Link, SimulatedClient, UNDOES};
use crate::history::{AskedOperation, Ending, OperationId};
use crate::observation::Observation;
use crate::work::{LOCKS, path};
use quorate_client::protocol::{CallId, Notice, Submission, Undo};
use quorate_machine::Identity;
use quorate_replica::Input;
use quorate_types::request::ReadLevel;
use quorate_types::{Operation, Reply, SessionId};
use quorate_wire::native::{ClientFrame, FrameBuffer, ServerFrame, encode_client};

/// How long a client tries to reach a server before it tries another.
const DIAL_MS: u64 = 1_000;

/// A client's connection to a server.
pub(crate) struct Connection {
    pub(super) client: usize,
    pub(super) life: u32,
    pub(super) server: u64,
    pub(super) run: u64,
    buffer: FrameBuffer,
    /// When the last bytes arrive there, and back.
    to_server_ms: u64,
    to_client_ms: u64,
    /// What cannot pass now, in order: for the server, and for the client.
    held: [Vec<Carried>; 2],
}

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
        client.only = only;
        self.clients.push(client);
        self.tend_client(number);
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
        self.tend_client(number);
        id
    }

    fn record_asked(
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
        self.tend_client(number);
    }

    // What the network driver of a client does.

    /// Whatever a client has to do now: dial, take notices, send frames; then sets its alarm.
    pub(super) fn tend_client(&mut self, number: usize) {
        if self.clients[number].silent_until_ms > self.now_ms {
            self.set_client_alarm(number);
            return;
        }
        self.clients[number].protocol.tick(self.now_ms);
        self.take_notices(number);
        self.send_frames(number);
        self.take_notices(number);
        match self.clients[number].link {
            Link::Idle { retry_at_ms } if retry_at_ms <= self.now_ms => self.dial(number),
            Link::Dialing { give_up_ms, .. } if give_up_ms <= self.now_ms => {
                self.redial(number, true);
            }
            _ => {}
        }
        self.set_client_alarm(number);
    }

    fn set_client_alarm(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let at_ms = client.deadline_ms();
        if at_ms < u64::MAX && client.wake_at_ms.is_none_or(|known_ms| at_ms < known_ms) {
            let at_ms = at_ms.max(self.now_ms + 1);
            client.wake_at_ms = Some(at_ms);
            let life = client.life;
            self.at(at_ms, Event::ClientWake { client: number, life, at_ms });
        }
    }

    pub(super) fn on_client_wake(&mut self, number: usize, life: u32, at_ms: u64) {
        let client = &mut self.clients[number];
        if client.life == life && client.wake_at_ms == Some(at_ms) {
            client.wake_at_ms = None;
            self.tend_client(number);
        }
    }

    fn choose_server(&mut self, number: usize) -> u64 {
        let SimulatedClient { only, left, .. } = self.clients[number];
        if let Some(only) = only {
            return only;
        }
        let ids: Vec<u64> = self.servers.keys().copied().collect();
        let others: Vec<u64> = ids.iter().copied().filter(|id| Some(*id) != left).collect();
        let from = if others.is_empty() { ids } else { others };
        from[self.choices.below(from.len() as u64) as usize]
    }

    fn dial(&mut self, number: usize) {
        let server = self.choose_server(number);
        let connection = self.next_connection;
        self.next_connection += 1;
        self.counts.connections += 1;
        let client = &mut self.clients[number];
        client.left = Some(server);
        let give_up_ms = self.now_ms + DIAL_MS;
        client.link = Link::Dialing { connection, server, give_up_ms };
        client.buffer = FrameBuffer::new();
        let opened = Connection {
            client: number,
            life: client.life,
            server,
            run: self.servers[&server].run,
            buffer: FrameBuffer::new(),
            to_server_ms: 0,
            to_client_ms: 0,
            held: [Vec::new(), Vec::new()],
        };
        self.connections.insert(connection, opened);
        self.send_to_server(connection, Carried::Opened);
    }

    /// Gives the connection up; another attempt follows. `tell`: the server hears of it.
    fn redial(&mut self, number: usize, tell: bool) {
        let drawn = self.choices.next();
        let client = &mut self.clients[number];
        let connection = client.connection();
        client.protocol.transport_down();
        let pause_ms = client.next_redial_pause_ms(drawn);
        client.link = Link::Idle { retry_at_ms: self.now_ms + pause_ms };
        if let Some(connection) = connection {
            if tell {
                self.send_to_server(connection, Carried::Closed);
            }
            self.show(&Observation::Disconnected { client: number, connection });
        }
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
        if let Some(connection) = self.clients[number].connection() {
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

    /// The client's process dies and another takes its place: nothing is said to anybody.
    pub fn kill_client(&mut self, number: usize, back_after_ms: u64) {
        if let Some(connection) = self.clients[number].connection() {
            // The server finds out by the silence alone.
            self.at(self.now_ms + 2_000, Event::ToServer { connection, what: Carried::Closed });
        }
        let (session, seed) = (self.clients[number].session, self.choices.next());
        let unfinished: Vec<OperationId> = self.clients[number].calls.values().copied().collect();
        for id in unfinished {
            self.history.operations[id.0].abandoned = true;
        }
        self.show(&Observation::ClientDied { client: number, session });
        self.clients[number].begin_again(seed, self.now_ms + back_after_ms);
        self.tend_client(number);
    }

    /// The client says and hears nothing for a while.
    pub fn silence_client(&mut self, number: usize, for_ms: u64) {
        let client = &mut self.clients[number];
        client.silent_until_ms = client.silent_until_ms.max(self.now_ms + for_ms);
        let life = client.life;
        self.at(self.now_ms + for_ms, Event::ClientSpeaks { client: number, life });
    }

    pub(super) fn on_client_speaks(&mut self, number: usize, life: u32) {
        let client = &self.clients[number];
        if client.life != life || client.silent_until_ms > self.now_ms {
            return;
        }
        if let Some(connection) = client.connection() {
            self.release(connection);
        }
        self.tend_client(number);
    }

    /// The client's connection breaks; its server hears of it `after_ms` later, or never.
    pub fn break_client(&mut self, number: usize, after_ms: Option<u64>) {
        let Some(connection) = self.clients[number].connection() else { return };
        self.redial(number, false);
        // Without it what is on its way still arrives: the connection is only half dead.
        if let Some(after_ms) = after_ms {
            self.at(self.now_ms + after_ms, Event::ToServer { connection, what: Carried::Closed });
        }
        self.tend_client(number);
    }

    fn send_frames(&mut self, number: usize) {
        loop {
            let client = &mut self.clients[number];
            let Link::Up { connection, .. } = client.link else { return };
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

    // Bytes on their way.

    pub(super) fn connections_of_server(&self, id: u64) -> Vec<u64> {
        let of = self.connections.iter().filter(|(_, known)| known.server == id);
        of.map(|(connection, _)| *connection).collect()
    }

    fn send_to_server(&mut self, connection: u64, what: Carried) {
        let delay_ms = 1 + self.choices.below(self.plan.delays.client_ms);
        let now_ms = self.now_ms;
        let Some(known) = self.connections.get_mut(&connection) else { return };
        known.to_server_ms = known.to_server_ms.max(now_ms + delay_ms);
        let at_ms = known.to_server_ms;
        self.at(at_ms, Event::ToServer { connection, what });
    }

    pub(super) fn send_to_client(&mut self, connection: u64, what: Carried) {
        let delay_ms = 1 + self.choices.below(self.plan.delays.client_ms);
        let now_ms = self.now_ms;
        let Some(known) = self.connections.get_mut(&connection) else { return };
        known.to_client_ms = known.to_client_ms.max(now_ms + delay_ms);
        let at_ms = known.to_client_ms;
        self.at(at_ms, Event::ToClient { connection, what });
    }

    /// Nothing passes between a client and a server any more, or everything does again.
    pub fn cut_client(&mut self, client: usize, server: u64, cut: bool) {
        if cut {
            self.client_cuts.insert((client, server));
        } else {
            self.client_cuts.remove(&(client, server));
        }
        let idle_ms = self.plan.delays.idle_ms;
        let between: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, known)| known.client == client && known.server == server)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in between {
            if cut {
                self.at(self.now_ms + idle_ms, Event::ConnectionIdle { connection });
            } else {
                self.release(connection);
            }
        }
    }

    pub fn heal_clients(&mut self) {
        for (client, server) in self.client_cuts.clone() {
            self.cut_client(client, server, false);
        }
    }

    fn is_cut(&self, connection: u64) -> bool {
        self.connections
            .get(&connection)
            .is_some_and(|known| self.client_cuts.contains(&(known.client, known.server)))
    }

    /// Whether what is for the client waits until its process goes on.
    fn is_silent(&self, connection: u64) -> bool {
        self.connections.get(&connection).is_some_and(|known| {
            let client = &self.clients[known.client];
            client.life == known.life && client.silent_until_ms > self.now_ms
        })
    }

    /// What was held back passes, in order, as far as it can.
    fn release(&mut self, connection: u64) {
        if self.is_cut(connection) {
            return;
        }
        let Some(known) = self.connections.get_mut(&connection) else { return };
        for what in std::mem::take(&mut known.held[0]) {
            self.deliver_to_server(connection, what);
        }
        if self.is_silent(connection) {
            return;
        }
        let Some(known) = self.connections.get_mut(&connection) else { return };
        for what in std::mem::take(&mut known.held[1]) {
            self.deliver_to_client(connection, what);
        }
    }

    /// Both ends give up a connection over which nothing passed.
    pub(super) fn on_connection_idle(&mut self, connection: u64) {
        if !self.is_cut(connection) {
            return;
        }
        let Some(known) = self.connections.remove(&connection) else { return };
        if self.runs(known.server, known.run) {
            self.input(known.server, Input::ConnectionClosed { connection });
        }
        let client = &self.clients[known.client];
        if client.life == known.life && client.connection() == Some(connection) {
            self.redial(known.client, false);
            self.tend_client(known.client);
        }
    }

    pub(super) fn arrive_at_server(&mut self, connection: u64, what: Carried) {
        let cut = self.is_cut(connection);
        let Some(known) = self.connections.get_mut(&connection) else { return };
        if cut || !known.held[0].is_empty() {
            known.held[0].push(what);
        } else {
            self.deliver_to_server(connection, what);
        }
    }

    fn deliver_to_server(&mut self, connection: u64, what: Carried) {
        let entropy = [self.choices.next().to_le_bytes(), self.choices.next().to_le_bytes()];
        let Some(known) = self.connections.get_mut(&connection) else { return };
        let (id, run, client) = (known.server, known.run, known.client);
        if !self.servers.get(&id).is_some_and(|server| server.is_up() && server.run == run) {
            self.send_to_client(connection, Carried::Closed);
            return;
        }
        match what {
            Carried::Opened => {
                let mut identity = Identity::named(format!("client-{client}"));
                if self.clients[client].is_administrator {
                    identity.proofs.push(("super".into(), String::new()));
                }
                let entropy = entropy.concat().try_into().expect("sixteen bytes");
                self.input(id, Input::ConnectionOpened { connection, identity, entropy });
                self.send_to_client(connection, Carried::Opened);
            }
            Carried::Bytes(bytes) => {
                known.buffer.push(&bytes);
                let limit = self.plan.limits.client_frame_bytes_max;
                let next = known.buffer.next_client(limit).expect("clients speak properly");
                let frame = next.expect("a whole frame");
                self.show_arrival((id, connection, client), &frame);
                self.input(id, Input::ClientFrame { connection, frame });
            }
            Carried::Closed => {
                self.connections.remove(&connection);
                self.input(id, Input::ConnectionClosed { connection });
            }
        }
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

    pub(super) fn arrive_at_client(&mut self, connection: u64, what: Carried) {
        let waits = self.is_cut(connection) || self.is_silent(connection);
        let Some(known) = self.connections.get_mut(&connection) else { return };
        if waits || !known.held[1].is_empty() {
            known.held[1].push(what);
        } else {
            self.deliver_to_client(connection, what);
        }
    }

    fn deliver_to_client(&mut self, connection: u64, what: Carried) {
        let Some(known) = self.connections.get(&connection) else { return };
        let (number, life, server, run) = (known.client, known.life, known.server, known.run);
        let closed = matches!(what, Carried::Closed);
        let client = &mut self.clients[number];
        let hears = client.life == life && client.connection() == Some(connection);
        if hears {
            match what {
                Carried::Opened => {
                    client.link = Link::Up { connection, server };
                    client.protocol.transport_up(self.now_ms);
                }
                Carried::Bytes(bytes) => self.hear(number, connection, &bytes),
                Carried::Closed => self.redial(number, false),
            }
        }
        if closed {
            self.connections.remove(&connection);
            if self.runs(server, run) {
                self.input(server, Input::ConnectionClosed { connection });
            }
        }
        self.tend_client(number);
    }

    fn hear(&mut self, number: usize, connection: u64, bytes: &[u8]) {
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
            ServerFrame::Connected { session, timeout_ms, server, resumed, zxid, .. } => {
                self.clients[client].on_granted(*session);
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
                self.note_answer(client, sequence, zxid, outcome);
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
            client: client.number,
            link: client.link,
            session: client.session,
            outstanding: client.calls.values().copied().collect(),
        };
        self.clients.iter().map(standing).collect()
    }
}

/// A lock granted to a caller who has gone is given back.
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
