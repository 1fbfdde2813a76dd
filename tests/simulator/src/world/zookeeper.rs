//! The ZooKeeper door in the world: what a server's process does for each connection of a ZooKeeper
//! client, beside its replica.
//!
//! Comes in: bytes of clients, frames of replicas. Goes out: the other, by the servers' own
//! `Conversation`. Invariant: a conversation ends with its connection or its server's process; to the
//! checkers of the native protocol it is the client whose session it speaks for, as long as that client
//! listens. Must never decide what the conversation decides.

use super::World;
use super::connections::Door;
use super::event::{Carried, Event};
use crate::history::{Ending, OperationId};
use crate::observation::Observation;
use bytes::Bytes;
use quorate_client::protocol::CallFailure;
use quorate_machine::Identity;
use quorate_replica::Input;
use quorate_replica::zookeeper::{Conversation, End, Proved, Step};
use quorate_types::{ErrorCode, Outcome, SessionId, Zxid};
use quorate_wire::native::{ClientFrame, ServerFrame};
use quorate_wire::zookeeper::{Frames, Received};
use std::collections::{BTreeMap, VecDeque};

/// Bytes of one connection's requests under way above which no more are taken, as the server has it.
const PENDING_BYTES_MAX: usize = 4 << 20;

/// The server's end of a ZooKeeper client's connection.
pub(crate) struct ZooKeeperDoor {
    conversation: Conversation,
    frames: Frames,
    /// What the client's frames ask for, in order; `None`: nothing that is recorded.
    pub(super) asked: VecDeque<Option<OperationId>>,
    /// Frames of the replica that the conversation has not taken.
    outbox: VecDeque<ServerFrame>,
    /// Bytes for the client.
    out: Vec<u8>,
    entropy: [u8; 16],
    session: SessionId,
    /// Which request each number of this connection stands for.
    requests: BTreeMap<u64, OperationId>,
    is_open: bool,
    /// The replica has closed the connection: it ends when the outbox is empty.
    is_finishing: bool,
    is_over: bool,
    is_woken: bool,
}

impl ZooKeeperDoor {
    pub(super) fn new(client: usize) -> ZooKeeperDoor {
        ZooKeeperDoor {
            conversation: Conversation::new(vec![Proved::address(&address_of(client))], false),
            frames: Frames::new(),
            asked: VecDeque::new(),
            outbox: VecDeque::new(),
            out: Vec::new(),
            entropy: [0; 16],
            session: SessionId::default(),
            requests: BTreeMap::new(),
            is_open: false,
            is_finishing: false,
            is_over: false,
            is_woken: false,
        }
    }
}

fn address_of(client: usize) -> String {
    format!("10.0.0.{client}")
}

impl World {
    /// The door of a connection that goes on.
    pub(super) fn zookeeper_door(&mut self, connection: u64) -> Option<&mut ZooKeeperDoor> {
        match &mut self.connections.get_mut(&connection)?.door {
            Door::ZooKeeper(door) if !door.is_over => Some(door),
            Door::ZooKeeper(_) | Door::Native(_) => None,
        }
    }

    /// Bytes of the client have come.
    pub(super) fn reach_zookeeper_door(
        &mut self,
        connection: u64,
        bytes: &[u8],
        entropy: [u8; 16],
    ) {
        let Some(door) = self.zookeeper_door(connection) else { return };
        door.frames.received().extend_from_slice(bytes);
        if !door.is_open {
            door.entropy = entropy;
        }
        self.wake_zookeeper_door(connection);
    }

    /// The replica has a frame for the client. `false`: the connection is no ZooKeeper client's.
    pub(super) fn leave_at_zookeeper_door(&mut self, connection: u64, frame: &ServerFrame) -> bool {
        let Some(known) = self.connections.get_mut(&connection) else { return false };
        let Door::ZooKeeper(door) = &mut known.door else { return false };
        door.outbox.push_back(frame.clone());
        self.wake_zookeeper_door(connection);
        true
    }

    /// The replica closes the connection. `false`: it is no ZooKeeper client's.
    pub(super) fn finish_zookeeper_door(&mut self, connection: u64) -> bool {
        let Some(known) = self.connections.get_mut(&connection) else { return false };
        let Door::ZooKeeper(door) = &mut known.door else { return false };
        door.is_finishing = true;
        self.wake_zookeeper_door(connection);
        true
    }

    /// The task of the connection runs soon: not at once, for it is not the replica's.
    fn wake_zookeeper_door(&mut self, connection: u64) {
        let Some(door) = self.zookeeper_door(connection) else { return };
        if std::mem::replace(&mut door.is_woken, true) {
            return;
        }
        let at_ms = self.now_ms + self.choices.below(2);
        self.at(at_ms, Event::Door { connection });
    }

    /// The process goes on after it stood still, and so do the tasks of its connections.
    pub(super) fn wake_zookeeper_doors(&mut self, server: u64) {
        for connection in self.connections_of_server(server) {
            self.wake_zookeeper_door(connection);
        }
    }

    pub(super) fn on_zookeeper_door(&mut self, connection: u64) {
        let Some(known) = self.connections.get(&connection) else { return };
        let (server, run) = (known.server, known.run);
        let Some(door) = self.zookeeper_door(connection) else { return };
        door.is_woken = false;
        if !self.runs(server, run) || self.servers[&server].paused {
            return;
        }
        // It waits for both sides and takes whichever comes first.
        if self.choices.one_in(2) {
            self.take_from_client(connection);
        }
        self.take_from_replica(connection);
        self.take_from_client(connection);
        self.flush_zookeeper_door(connection);
    }

    fn flush_zookeeper_door(&mut self, connection: u64) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        let Door::ZooKeeper(door) = &mut known.door else { return };
        let bytes = std::mem::take(&mut door.out);
        if !bytes.is_empty() {
            self.sum.add_bytes(&bytes);
            self.send_to_client(connection, Carried::Bytes(bytes));
        }
    }

    /// The server closes the connection after the last words.
    fn end_zookeeper_door(&mut self, connection: u64, end: Option<&End>) {
        let Some(door) = self.zookeeper_door(connection) else { return };
        door.is_over = true;
        match end {
            None | Some(End::Closed | End::NoSession(_)) => {}
            // Clients here say nothing wrong and come from nowhere else.
            Some(end) => self.fail("zookeeper_door", format!("connection {connection}: {end}")),
        }
        self.flush_zookeeper_door(connection);
        self.send_to_client(connection, Carried::Closed);
        let server = self.connections[&connection].server;
        self.input(server, Input::ConnectionClosed { connection });
    }

    fn take_from_replica(&mut self, connection: u64) {
        while let Some(door) = self.zookeeper_door(connection) {
            let Some(frame) = door.outbox.pop_front() else {
                if door.is_finishing {
                    self.end_zookeeper_door(connection, None);
                }
                return;
            };
            self.show_to_conversation(connection, &frame);
            let Some(door) = self.zookeeper_door(connection) else { return };
            if let ServerFrame::Connected { session, .. } = &frame {
                door.session = *session;
            }
            if let Err(end) = door.conversation.on_server(frame, &mut door.out) {
                self.end_zookeeper_door(connection, Some(&end));
            }
        }
    }

    /// Takes the frames received, as many as may be under way.
    fn take_from_client(&mut self, connection: u64) {
        let requests_max = self.plan.limits.session_outstanding_max as usize;
        let limit = self.plan.limits.client_frame_bytes_max;
        while let Some(door) = self.zookeeper_door(connection) {
            if !door.conversation.takes_frames(requests_max, PENDING_BYTES_MAX) {
                return;
            }
            match door.frames.next(limit).expect("clients speak properly") {
                None => return,
                Some(Received::Frame(frame)) => self.take_frame(connection, &frame),
                Some(Received::Word(word)) => {
                    self.fail("zookeeper_door", format!("no client says {word:?}"));
                }
            }
        }
    }

    fn take_frame(&mut self, connection: u64, frame: &Bytes) {
        let known = &self.connections[&connection];
        let (server, client) = (known.server, known.client);
        let Some(door) = self.zookeeper_door(connection) else { return };
        let id = door.asked.pop_front().flatten();
        if !std::mem::replace(&mut door.is_open, true) {
            let entropy = door.entropy;
            let proofs = vec![(String::from("ip"), address_of(client))];
            let identity = Identity { name: String::new(), proofs };
            self.input(server, Input::ConnectionOpened { connection, identity, entropy });
        }
        let Some(door) = self.zookeeper_door(connection) else { return };
        match door.conversation.on_frame(frame, &mut door.out) {
            Ok(Some(Step::Frame(frame))) => {
                self.show_asked(connection, id, &frame);
                self.input(server, Input::ClientFrame { connection, frame });
            }
            Ok(Some(step)) => self.fail("zookeeper_door", format!("nobody asked for {step:?}")),
            Ok(None) => {}
            Err(end) => self.end_zookeeper_door(connection, Some(&end)),
        }
    }

    /// What the conversation asks for in the client's name.
    fn show_asked(&mut self, connection: u64, id: Option<OperationId>, frame: &ClientFrame) {
        match (id, frame) {
            (Some(id), ClientFrame::Request { sequence, level, operation, .. }) => {
                let known = &self.history.operations[id.0];
                if known.operation != *operation || known.level != *level {
                    let text = format!("{known:?} became {operation:?} at level {level:?}");
                    self.fail("zookeeper_door", text);
                }
                self.show_numbered(connection, id, *sequence);
            }
            // The client itself has shown it.
            (None, ClientFrame::Heartbeat | ClientFrame::Connect { .. }) => {}
            (id, frame) => {
                self.fail("zookeeper_door", format!("{id:?} became {frame:?}"));
            }
        }
    }

    /// A request has its number within the session.
    fn show_numbered(&mut self, connection: u64, id: OperationId, sequence: u64) {
        let hears = self.hears(connection);
        let Some(door) = self.zookeeper_door(connection) else { return };
        let request = (door.session, sequence);
        door.requests.insert(sequence, id);
        let moment = self.history.next_moment(self.now_ms);
        let known = &mut self.history.operations[id.0];
        known.request = Some(request);
        known.first_sent = Some(moment);
        known.times_sent += 1;
        let is_write = known.operation.is_write();
        // Numbers of reads are those of their connection: the one that is listened to counts.
        let before = match is_write || hears {
            true => self.history.by_request.insert(request, id),
            false => None,
        };
        if let Some(before) = before.filter(|_| is_write) {
            self.fail("zookeeper_door", format!("{before:?} and {id:?} are both {request:?}"));
        }
        self.show(&Observation::Sent { id, connection });
    }

    /// What the replica tells the conversation, which is a native client to it.
    fn show_to_conversation(&mut self, connection: u64, frame: &ServerFrame) {
        if !self.hears(connection) {
            return;
        }
        let client = self.connections[&connection].client;
        let Some(door) = self.zookeeper_door(connection) else { return };
        let session = door.session;
        let answered = match frame {
            ServerFrame::Reply { sequence, zxid, outcome } => {
                door.requests.get(sequence).map(|id| (*id, *zxid, outcome))
            }
            _ => None,
        };
        self.show_server_frame((client, connection, session), frame);
        if let Some((id, zxid, outcome)) = answered {
            self.end_for_conversation(id, zxid, outcome);
        }
    }

    fn end_for_conversation(&mut self, id: OperationId, zxid: Zxid, outcome: &Outcome) {
        self.show(&Observation::ZooKeeperAnswered { id, zxid, outcome });
        let over = [ErrorCode::SessionExpired, ErrorCode::SessionMoved];
        let says_nothing = |code: ErrorCode| code.is_transient() || over.contains(&code);
        if matches!(outcome, Err(refusal) if says_nothing(refusal.code)) {
            return;
        }
        let moment = self.history.next_moment(self.now_ms);
        let result = outcome.clone().map_err(CallFailure::Refused);
        self.history.operations[id.0].ended = Some(Ending { moment, zxid: Some(zxid), result });
        self.show(&Observation::Ended { id });
    }
}
