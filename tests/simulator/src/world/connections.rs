//! Connections of clients in the world, whatever protocol they speak: dialling, bytes to and fro, and
//! what cuts, silences, breaks and half kills them.
//!
//! Comes in: bytes and ends of connections, from either side. Goes out: the same at the other side,
//! later. Invariant: what is sent on one connection arrives in order and whole, or not at all.

use super::World;
use super::event::{Carried, Event};
use super::zookeeper::ZooKeeperDoor;
use crate::client::{Link, Process};
use crate::observation::Observation;
use crate::zookeeper::zookeeper_place;
use quorate_machine::Identity;
use quorate_replica::Input;
use quorate_wire::native::FrameBuffer;

/// How long a client tries to reach a server before it tries another.
const DIAL_MS: u64 = 1_000;

/// A client's connection to a server.
pub(crate) struct Connection {
    pub(super) client: usize,
    pub(super) life: u32,
    pub(super) server: u64,
    pub(super) run: u64,
    pub(super) door: Door,
    /// When the last bytes arrive there, and back.
    to_server_ms: u64,
    to_client_ms: u64,
    /// What cannot pass now, in order: for the server, and for the client.
    held: [Vec<Carried>; 2],
}

/// The server's end of a connection, which ends with the server's process.
pub(super) enum Door {
    Native(FrameBuffer),
    ZooKeeper(Box<ZooKeeperDoor>),
}

impl World {
    pub(super) fn process(&self, number: usize) -> &Process {
        match zookeeper_place(number) {
            Some(place) => &self.zookeeper_clients[place].process,
            None => &self.clients[number].process,
        }
    }

    pub(super) fn process_mut(&mut self, number: usize) -> &mut Process {
        match zookeeper_place(number) {
            Some(place) => &mut self.zookeeper_clients[place].process,
            None => &mut self.clients[number].process,
        }
    }

    /// The numbers of all clients.
    #[must_use]
    pub fn client_numbers(&self) -> Vec<usize> {
        let zookeeper = self.zookeeper_clients.iter().map(|client| client.process.number);
        (0..self.clients.len()).chain(zookeeper).collect()
    }

    /// Whatever a client has to do now; then sets its alarm.
    pub(super) fn tend(&mut self, number: usize) {
        if self.process(number).silent_until_ms <= self.now_ms {
            match zookeeper_place(number) {
                Some(place) => self.tend_zookeeper_client(place),
                None => self.tend_client(number),
            }
            match self.process(number).link {
                Link::Idle { retry_at_ms } if retry_at_ms <= self.now_ms => self.dial(number),
                Link::Dialing { give_up_ms, .. } if give_up_ms <= self.now_ms => {
                    self.redial(number, true);
                }
                _ => {}
            }
        }
        self.set_client_alarm(number);
    }

    fn set_client_alarm(&mut self, number: usize) {
        let at_ms = match zookeeper_place(number) {
            Some(place) => self.zookeeper_clients[place].deadline_ms(),
            None => self.clients[number].deadline_ms(),
        };
        let now_ms = self.now_ms;
        let process = self.process_mut(number);
        if at_ms < u64::MAX && process.wake_at_ms.is_none_or(|known_ms| at_ms < known_ms) {
            let at_ms = at_ms.max(now_ms + 1);
            process.wake_at_ms = Some(at_ms);
            let life = process.life;
            self.at(at_ms, Event::ClientWake { client: number, life, at_ms });
        }
    }

    pub(super) fn on_client_wake(&mut self, number: usize, life: u32, at_ms: u64) {
        let process = self.process_mut(number);
        if process.life == life && process.wake_at_ms == Some(at_ms) {
            process.wake_at_ms = None;
            self.tend(number);
        }
    }

    fn choose_server(&mut self, number: usize) -> u64 {
        let Process { only, left, .. } = *self.process(number);
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
        let give_up_ms = self.now_ms + DIAL_MS;
        let process = self.process_mut(number);
        process.left = Some(server);
        process.link = Link::Dialing { connection, server, give_up_ms };
        let life = process.life;
        let door = match zookeeper_place(number) {
            Some(_) => Door::ZooKeeper(Box::new(ZooKeeperDoor::new(number))),
            None => {
                self.clients[number].buffer = FrameBuffer::new();
                Door::Native(FrameBuffer::new())
            }
        };
        let opened = Connection {
            client: number,
            life,
            server,
            run: self.servers[&server].run,
            door,
            to_server_ms: 0,
            to_client_ms: 0,
            held: [Vec::new(), Vec::new()],
        };
        self.connections.insert(connection, opened);
        self.send_to_server(connection, Carried::Opened);
    }

    /// Gives the connection up; another attempt follows. `tell`: the server hears of it.
    pub(super) fn redial(&mut self, number: usize, tell: bool) {
        let drawn = self.choices.next();
        let connection = self.process(number).connection();
        match zookeeper_place(number) {
            Some(place) => self.zookeeper_clients[place].on_disconnected(),
            None => self.clients[number].protocol.transport_down(),
        }
        let now_ms = self.now_ms;
        let process = self.process_mut(number);
        let pause_ms = process.next_redial_pause_ms(drawn);
        process.link = Link::Idle { retry_at_ms: now_ms + pause_ms };
        if let Some(connection) = connection {
            if tell {
                self.send_to_server(connection, Carried::Closed);
            }
            self.show(&Observation::Disconnected { client: number, connection });
        }
    }

    /// The client's process dies and another takes its place: nothing is said to anybody.
    pub fn kill_client(&mut self, number: usize, back_after_ms: u64) {
        if let Some(connection) = self.process(number).connection() {
            // The server finds out by the silence alone.
            self.at(self.now_ms + 2_000, Event::ToServer { connection, what: Carried::Closed });
        }
        match zookeeper_place(number) {
            Some(place) => self.replace_zookeeper_client(place, back_after_ms),
            None => self.replace_client(number, back_after_ms),
        }
        self.tend(number);
    }

    /// The client says and hears nothing for a while.
    pub fn silence_client(&mut self, number: usize, for_ms: u64) {
        let now_ms = self.now_ms;
        let process = self.process_mut(number);
        process.silent_until_ms = process.silent_until_ms.max(now_ms + for_ms);
        let life = process.life;
        self.at(now_ms + for_ms, Event::ClientSpeaks { client: number, life });
    }

    pub(super) fn on_client_speaks(&mut self, number: usize, life: u32) {
        let process = self.process(number);
        if process.life != life || process.silent_until_ms > self.now_ms {
            return;
        }
        if let Some(connection) = process.connection() {
            self.release(connection);
        }
        self.tend(number);
    }

    /// The client's connection breaks; its server hears of it `after_ms` later, or never.
    pub fn break_client(&mut self, number: usize, after_ms: Option<u64>) {
        let Some(connection) = self.process(number).connection() else { return };
        self.redial(number, false);
        // Without it what is on its way still arrives: the connection is only half dead.
        if let Some(after_ms) = after_ms {
            self.at(self.now_ms + after_ms, Event::ToServer { connection, what: Carried::Closed });
        }
        self.tend(number);
    }

    // Bytes on their way.

    pub(super) fn connections_of_server(&self, id: u64) -> Vec<u64> {
        let of = self.connections.iter().filter(|(_, known)| known.server == id);
        of.map(|(connection, _)| *connection).collect()
    }

    pub(super) fn send_to_server(&mut self, connection: u64, what: Carried) {
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
            let process = self.process(known.client);
            process.life == known.life && process.silent_until_ms > self.now_ms
        })
    }

    /// Whether the client still listens on this connection.
    pub(super) fn hears(&self, connection: u64) -> bool {
        self.connections.get(&connection).is_some_and(|known| {
            let process = self.process(known.client);
            process.life == known.life && process.connection() == Some(connection)
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
        let hears = self.hears(connection);
        let Some(known) = self.connections.remove(&connection) else { return };
        if self.runs(known.server, known.run) {
            self.input(known.server, Input::ConnectionClosed { connection });
        }
        if hears {
            self.redial(known.client, false);
            self.tend(known.client);
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
        let entropy: [u8; 16] = entropy.concat().try_into().expect("sixteen bytes");
        let Some(known) = self.connections.get(&connection) else { return };
        let (id, run, client) = (known.server, known.run, known.client);
        if !self.runs(id, run) {
            self.send_to_client(connection, Carried::Closed);
            return;
        }
        let speaks_zookeeper = matches!(known.door, Door::ZooKeeper(_));
        match what {
            // A ZooKeeper door tells the replica of a connection with its first frame.
            Carried::Opened if speaks_zookeeper => {
                self.send_to_client(connection, Carried::Opened);
            }
            Carried::Opened => {
                let mut identity = Identity::named(format!("client-{client}"));
                if self.process(client).is_administrator {
                    identity.proofs.push(("super".into(), String::new()));
                }
                self.input(id, Input::ConnectionOpened { connection, identity, entropy });
                self.send_to_client(connection, Carried::Opened);
            }
            Carried::Bytes(bytes) if speaks_zookeeper => {
                self.reach_zookeeper_door(connection, &bytes, entropy);
            }
            Carried::Bytes(bytes) => self.deliver_native(connection, &bytes),
            Carried::Closed => {
                self.connections.remove(&connection);
                self.input(id, Input::ConnectionClosed { connection });
            }
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
        let (number, server, run) = (known.client, known.server, known.run);
        let closed = matches!(what, Carried::Closed);
        if self.hears(connection) {
            match what {
                Carried::Opened => {
                    self.process_mut(number).link = Link::Up { connection, server };
                    match zookeeper_place(number) {
                        Some(place) => self.greet_zookeeper(place),
                        None => self.clients[number].protocol.transport_up(self.now_ms),
                    }
                }
                Carried::Bytes(bytes) => match zookeeper_place(number) {
                    Some(place) => self.hear_zookeeper(place, connection, &bytes),
                    None => self.hear(number, connection, &bytes),
                },
                Carried::Closed => self.redial(number, false),
            }
        }
        if closed {
            self.connections.remove(&connection);
            if self.runs(server, run) {
                self.input(server, Input::ConnectionClosed { connection });
            }
        }
        self.tend(number);
    }
}
