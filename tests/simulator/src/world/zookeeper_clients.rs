//! ZooKeeper clients in the world: what their network driver does, and what applications ask for and
//! are told.
//!
//! Comes in: bytes of servers, time, wishes of applications. Goes out: bytes, observations of what the
//! client saw on the wire. Source of what it does when: ZooKeeper's Java client.

use super::World;
use super::event::Carried;
use crate::client::Link;
use crate::history::OperationId;
use crate::observation::Observation;
use crate::zookeeper::words::{Told, encode, is_failed_multi};
use crate::zookeeper::{Awaited, FIRST_ZOOKEEPER_CLIENT, ZooKeeperClient, ZooKeeperSession};
use bytes::Bytes;
use quorate_types::request::{ReadLevel, WatchMode};
use quorate_types::{Operation, SessionId, ZnodePath};
use quorate_wire::zookeeper::{
    ConnectRequest, ConnectResponse, Frames, Opcode, Received, Reply, Request, Secret,
    ServerMessage, WatcherEvent, ZooKeeperError, decode_connect_response, decode_reply,
    encode_connect_request, encode_request, xid,
};

impl World {
    /// Adds a client of the ZooKeeper protocol; its number.
    pub fn add_zookeeper_client(&mut self, session_timeout_ms: u64) -> usize {
        let place = self.zookeeper_clients.len();
        let client = ZooKeeperClient::new(place, session_timeout_ms, self.now_ms);
        self.zookeeper_clients.push(client);
        self.tend(FIRST_ZOOKEEPER_CLIENT + place);
        FIRST_ZOOKEEPER_CLIENT + place
    }

    /// Asks for something in a client's name; `None`: it has no server now.
    pub fn ask_zookeeper(
        &mut self,
        place: usize,
        operation: Operation,
        opcode: Opcode,
    ) -> Option<OperationId> {
        let client = &mut self.zookeeper_clients[place];
        if !client.is_attached {
            return None;
        }
        let xid = match opcode {
            Opcode::SetWatches2 => xid::SET_WATCHES,
            _ => client.next_xid(),
        };
        let level = match operation {
            Operation::Sync => ReadLevel::Linearizable,
            _ => ReadLevel::Local,
        };
        let mut bytes = Vec::new();
        encode(&mut bytes, xid, &operation, opcode);
        let id = self.record_asked(FIRST_ZOOKEEPER_CLIENT + place, operation, level);
        self.zookeeper_clients[place].awaited.push_back(Awaited { xid, opcode, id });
        if let Some(connection) = self.send_zookeeper(place, bytes, Some(id)) {
            self.show(&Observation::ZooKeeperSent { id, connection });
        }
        self.tend(FIRST_ZOOKEEPER_CLIENT + place);
        Some(id)
    }

    /// Sends a frame on the client's connection, which it names.
    fn send_zookeeper(
        &mut self,
        place: usize,
        bytes: Vec<u8>,
        id: Option<OperationId>,
    ) -> Option<u64> {
        let client = &mut self.zookeeper_clients[place];
        client.sent_ms = self.now_ms;
        let connection = client.process.connection()?;
        if let Some(door) = self.zookeeper_door(connection) {
            door.asked.push_back(id);
        }
        self.send_to_server(connection, Carried::Bytes(bytes));
        Some(connection)
    }

    /// The connection is made: the client says which session it wants.
    pub(super) fn greet_zookeeper(&mut self, place: usize) {
        let client = &mut self.zookeeper_clients[place];
        client.frames = Frames::after_handshake();
        client.heard_ms = self.now_ms;
        let wanted = client.session.or_else(|| self.guess_session(place));
        let (session_id, password) = match wanted {
            Some(session) => (session.id.0.cast_signed(), session.password),
            None => (0, [0; 16]),
        };
        let client = &self.zookeeper_clients[place];
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: client.last_zxid,
            timeout_ms: i32::try_from(client.session_timeout_ms).expect("timeouts are short"),
            session_id,
            password: Secret(Some(Bytes::copy_from_slice(&password))),
            read_only: Some(false),
        };
        let mut bytes = Vec::new();
        encode_connect_request(&mut bytes, &request);
        self.send_zookeeper(place, bytes, None);
    }

    /// A client that has no session sometimes tries another's, whose password it does not quite know.
    fn guess_session(&mut self, place: usize) -> Option<ZooKeeperSession> {
        let other = self.choices.below(self.zookeeper_clients.len() as u64) as usize;
        let tries = self.choices.one_in(6);
        let session = self.zookeeper_clients[other].session.filter(|_| tries && other != place);
        self.zookeeper_clients[place].guessed = session.map(|session| session.id);
        session.map(|session| {
            let mut password = session.password;
            password[15] ^= 1;
            ZooKeeperSession { password, ..session }
        })
    }

    /// Pings an idle server, and gives up a silent one.
    pub(super) fn tend_zookeeper_client(&mut self, place: usize) {
        let client = &self.zookeeper_clients[place];
        if !matches!(client.process.link, Link::Up { .. }) {
            return;
        }
        if client.silence_deadline_ms() <= self.now_ms {
            self.redial(FIRST_ZOOKEEPER_CLIENT + place, true);
        } else if client.ping_deadline_ms() <= self.now_ms {
            let mut bytes = Vec::new();
            encode_request(&mut bytes, xid::PING, &Request::Ping);
            if let Some(connection) = self.send_zookeeper(place, bytes, None) {
                let client = FIRST_ZOOKEEPER_CLIENT + place;
                self.show(&Observation::HeartbeatSent { client, connection });
            }
        }
    }

    /// Another process takes the place of one that has died.
    pub(super) fn replace_zookeeper_client(&mut self, place: usize, back_after_ms: u64) {
        let client = FIRST_ZOOKEEPER_CLIENT + place;
        let session = self.zookeeper_clients[place].session.map(|session| session.id);
        self.show(&Observation::ClientDied { client, session });
        self.zookeeper_clients[place].begin_again(self.now_ms + back_after_ms);
    }

    /// The session is over: the application opens another one.
    fn end_zookeeper_session(&mut self, place: usize, reason: Option<&str>) {
        let client = FIRST_ZOOKEEPER_CLIENT + place;
        if let Some(connection) = self.process(client).connection() {
            self.send_to_server(connection, Carried::Closed);
            self.show(&Observation::Disconnected { client, connection });
        }
        if let Some(session) = self.zookeeper_clients[place].session.map(|session| session.id) {
            match reason {
                Some(reason) => self.show(&Observation::SessionLost { client, session, reason }),
                None => self.show(&Observation::SessionClosed { client, session }),
            }
        }
        let pause_ms = self.choices.below(100);
        let known = &mut self.zookeeper_clients[place];
        known.sessions_lost += u32::from(reason.is_some());
        known.begin_again(self.now_ms + pause_ms);
    }

    pub(super) fn hear_zookeeper(&mut self, place: usize, connection: u64, bytes: &[u8]) {
        let client = &mut self.zookeeper_clients[place];
        client.heard_ms = self.now_ms;
        client.frames.received().extend_from_slice(bytes);
        loop {
            let client = &mut self.zookeeper_clients[place];
            // What was heard before may have ended the connection.
            if client.process.connection() != Some(connection) {
                return;
            }
            let next = client.frames.next(u32::MAX).expect("servers speak properly");
            let Some(Received::Frame(frame)) = next else { return };
            if client.is_attached {
                self.hear_zookeeper_message(place, connection, &frame);
            } else {
                let response = decode_connect_response(&frame).expect("servers greet properly");
                self.on_zookeeper_session(place, connection, &response);
            }
        }
    }

    fn on_zookeeper_session(&mut self, place: usize, connection: u64, response: &ConnectResponse) {
        let guessed = self.zookeeper_clients[place].guessed;
        if let Some(guessed) = guessed {
            if response.timeout_ms > 0 {
                let id = response.session_id;
                let text = format!("asked for session {guessed} without its password and got {id}");
                self.fail("zookeeper_client", text);
            }
            return self.end_zookeeper_session(place, None);
        }
        if response.timeout_ms <= 0 {
            self.end_zookeeper_session(place, Some("the server says that it has expired"));
            return;
        }
        let client = &mut self.zookeeper_clients[place];
        let password = response.password.0.as_deref().unwrap_or_default();
        let id = SessionId(response.session_id.cast_unsigned());
        let before = client.session.map(|session| session.id);
        client.on_attached(ZooKeeperSession {
            id,
            password: password.try_into().expect("passwords have sixteen bytes"),
            timeout_ms: u64::try_from(response.timeout_ms).unwrap_or(0),
        });
        let restoration = client.watches.restoration(client.last_zxid);
        let restores = !client.watches.is_empty();
        if before.is_some_and(|before| before != id) {
            self.fail("zookeeper_client", format!("{before:?} was resumed as session {id}"));
        }
        let client = FIRST_ZOOKEEPER_CLIENT + place;
        self.show(&Observation::ZooKeeperConnected { client, connection, session: id });
        if restores {
            self.ask_zookeeper(place, restoration, Opcode::SetWatches2);
        }
    }

    fn hear_zookeeper_message(&mut self, place: usize, connection: u64, frame: &Bytes) {
        let client = &mut self.zookeeper_clients[place];
        let first = client.awaited.front().copied();
        // Whether it is the answer to the first request is for the checkers to say.
        let asked = |xid| client.awaited.iter().find(|asked| asked.xid == xid).copied().or(first);
        let message = match decode_reply(frame, |xid| asked(xid).map(|asked| asked.opcode)) {
            Ok(message) => message,
            Err(error) => {
                let text = format!("connection {connection} told what cannot be read: {error:?}");
                return self.fail("zookeeper_client", text);
            }
        };
        let header = match &message {
            ServerMessage::Notification { .. } => None,
            ServerMessage::Refused(header) | ServerMessage::Reply { header, .. } => {
                Some(*header).filter(|header| header.xid != xid::PING)
            }
        };
        let awaited = header.and_then(|_| client.awaited.pop_front());
        if let Some(header) = header.filter(|header| header.zxid > 0) {
            client.last_zxid = header.zxid;
        }
        let session = client.session.map(|session| session.id).unwrap_or_default();
        let number = FIRST_ZOOKEEPER_CLIENT + place;
        let message = &message;
        self.show(&Observation::ZooKeeperHeard {
            client: number,
            connection,
            session,
            awaited,
            message,
        });
        self.act_on_zookeeper(place, awaited, message);
    }

    /// What the client makes of what it heard.
    fn act_on_zookeeper(
        &mut self,
        place: usize,
        awaited: Option<Awaited>,
        message: &ServerMessage<'_>,
    ) {
        match (awaited, message) {
            (_, ServerMessage::Notification { event, .. }) => self.fire_watch(place, event),
            (Some(awaited), ServerMessage::Refused(header)) => {
                self.leave_watch(place, awaited, Some(header.error));
                self.tell_zookeeper_application(place, awaited, &Told::Refused(header.error));
            }
            (Some(awaited), ServerMessage::Reply { reply, .. }) => {
                if awaited.opcode == Opcode::CloseSession {
                    return self.end_zookeeper_session(place, None);
                }
                self.leave_watch(place, awaited, None);
                self.tell_zookeeper_application(place, awaited, &Told::Reply(reply.clone()));
            }
            (None, _) => {}
        }
    }

    fn fire_watch(&mut self, place: usize, event: &WatcherEvent<'_>) {
        match ZnodePath::parse(event.path) {
            Ok(path) => self.zookeeper_clients[place].watches.fire(event.kind, &path),
            Err(_) => self.fail("zookeeper_client", format!("{event:?} is of no znode")),
        }
    }

    /// The watch of a request stands once it is answered, as the Java client has it.
    fn leave_watch(&mut self, place: usize, awaited: Awaited, error: Option<ZooKeeperError>) {
        let operation = &self.history.operations[awaited.id.0].operation;
        let watches = &mut self.zookeeper_clients[place].watches;
        match (operation, error) {
            (Operation::Get { path, watch: true }, None)
            | (Operation::Exists { path, watch: true }, None) => {
                watches.data.insert(path.clone());
            }
            (Operation::Exists { path, watch: true }, Some(ZooKeeperError::NoNode)) => {
                watches.exist.insert(path.clone());
            }
            (Operation::Children { path, watch: true, .. }, None) => {
                watches.child.insert(path.clone());
            }
            (Operation::AddWatch { path, mode: WatchMode::PersistentRecursive, .. }, None) => {
                watches.recursive.insert(path.clone());
            }
            (Operation::AddWatch { path, .. }, None) => {
                watches.persistent.insert(path.clone());
            }
            _ => {}
        }
    }

    fn tell_zookeeper_application(&mut self, place: usize, awaited: Awaited, told: &Told<'_>) {
        let version = match told {
            Told::Reply(reply) if !is_failed_multi(reply) => version_in(reply),
            Told::Reply(_) | Told::Refused(_) => None,
        };
        self.zookeeper_clients[place].ended.push_back((awaited.id, version));
    }
}

/// The version of the znode that a reply is about.
fn version_in(reply: &Reply<'_>) -> Option<i32> {
    match reply {
        Reply::PathStat(told) => Some(told.stat.version),
        Reply::Stat(stat) => Some(stat.version),
        Reply::DataStat(told) => Some(told.stat.version),
        _ => None,
    }
}
