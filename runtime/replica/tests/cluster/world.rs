//! The world around the replicas: time, links between servers, connections of clients.
//!
//! Comes in: what replicas and clients want done. Goes out: inputs, at the time they arrive.
//! Invariant: events happen in order of time, then of their making; bytes on one lane of a link and
//! on one connection arrive in order; a broken link delivers nothing of what was on it.

use crate::client::{Client, Link, Wish};
use crate::journal::Journal;
use crate::lock_recipe::LockExecutor;
use crate::server::Server;
use quorate_faulty_disk::{Choices, Crash};
use quorate_machine::{Identity, Machine};
use quorate_raft::SnapshotMark;
use quorate_replica::{Action, Input, MemberAddress, Replica};
use quorate_storage::snapshot;
use quorate_types::limits::Limits;
use quorate_types::request::ReadLevel;
use quorate_types::{ComponentDigest, Operation, Outcome, Reply, ServerId, ZnodePath};
use quorate_wire::native::{FrameBuffer, encode_client, encode_server};
use quorate_wire::peer::{self, PeerFrame};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Something on its way.
enum Event {
    Wake { server: u64, run: u64, at_ms: u64 },
    PeerBytes { from: u64, to: u64, generation: u64, bytes: Vec<u8> },
    Dial { between: (u64, u64) },
    Disk { server: u64, run: u64 },
    SaveSnapshot { server: u64, run: u64, snapshot: Box<(SnapshotMark, Machine)> },
    LoadSnapshot { server: u64, run: u64, file: String, index: u64 },
    Compile { server: u64, run: u64, digest: ComponentDigest },
    Resume { server: u64, run: u64 },
    Gathered { server: u64, run: u64 },
    Speak { client: usize },
    ToServer { connection: u64, what: Carried },
    ToClient { connection: u64, what: Carried },
}

enum Carried {
    Opened,
    Bytes(Vec<u8>),
    Closed,
}

/// The connection between two servers.
#[derive(Default)]
struct PeerLink {
    generation: u64,
    up: bool,
    /// Nothing passes, and no connection can be made.
    cut: bool,
    /// When the last bytes arrive, by direction and lane.
    arrivals: [[u64; 4]; 2],
}

/// A client's connection to a server.
struct Connection {
    client: usize,
    server: u64,
    run: u64,
    open_here: bool,
    buffer: FrameBuffer,
    to_server_ms: u64,
    to_client_ms: u64,
}

/// Longest delays, in ms; each is drawn from 1 up.
#[derive(Clone, Copy)]
pub struct Delays {
    pub link: u64,
    pub disk: u64,
    pub snapshot: u64,
    pub client: u64,
    /// Now and then a frame between servers takes very long.
    pub hiccups: bool,
}

pub struct World {
    pub now_ms: u64,
    pub choices: Choices,
    pub delays: Delays,
    pub limits: Limits,
    pub servers: BTreeMap<u64, Server>,
    pub clients: Vec<Client>,
    pub journal: Journal,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    links: BTreeMap<(u64, u64), PeerLink>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    next_generation: u64,
    /// Servers that were removed: clients do not try them any more.
    pub dismissed: BTreeSet<u64>,
    /// Snapshot files that servers read to send them.
    pub snapshots_sent: u64,
}

impl World {
    pub fn new(seed: u64, servers: u64) -> World {
        World::with_limits(seed, servers, Limits::TESTED)
    }

    pub fn with_limits(seed: u64, servers: u64, limits: Limits) -> World {
        let mut links = BTreeMap::new();
        for a in 1..=servers {
            for b in a + 1..=servers {
                links.insert((a, b), PeerLink::default());
            }
        }
        let mut world = World {
            now_ms: 1_000,
            choices: Choices(seed),
            delays: Delays { link: 3, disk: 3, snapshot: 20, client: 2, hiccups: false },
            limits,
            servers: (1..=servers)
                .map(|id| (id, Server::new(id, (1..=servers).collect())))
                .collect(),
            clients: Vec::new(),
            journal: Journal::default(),
            events: BTreeMap::new(),
            order: 0,
            links,
            connections: BTreeMap::new(),
            next_connection: 1,
            next_generation: 1,
            dismissed: BTreeSet::new(),
            snapshots_sent: 0,
        };
        for id in 1..=servers {
            world.start(id);
        }
        world
    }

    // Time.

    fn at(&mut self, at_ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((at_ms.max(self.now_ms), self.order), event);
    }

    fn after(&mut self, longest_ms: u64, event: Event) {
        let delay_ms = 1 + self.choices.below(longest_ms);
        self.at(self.now_ms + delay_ms, event);
    }

    pub fn run_for(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while self.step(until_ms) {}
        self.now_ms = until_ms;
    }

    /// Runs until the condition holds.
    pub fn run_until(&mut self, what: &str, mut holds: impl FnMut(&World) -> bool) {
        let until_ms = self.now_ms + 20_000;
        while !holds(self) {
            assert!(self.step(until_ms), "20 s passed and still not: {what}");
        }
    }

    /// The next event, if it is due by then.
    fn step(&mut self, until_ms: u64) -> bool {
        let client_ms = self.clients_due_ms();
        let event_ms = self.events.first_key_value().map_or(u64::MAX, |((at_ms, _), _)| *at_ms);
        if client_ms.min(event_ms) > until_ms {
            return false;
        }
        if client_ms < event_ms {
            self.now_ms = self.now_ms.max(client_ms);
            self.tend_clients();
        } else {
            let ((at_ms, _), event) = self.events.pop_first().expect("it was looked at");
            self.now_ms = self.now_ms.max(at_ms);
            self.happen(event);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake { server, run, at_ms } => self.on_wake(server, run, at_ms),
            Event::PeerBytes { from, to, generation, bytes } => {
                self.on_peer_bytes((from, to), generation, &bytes);
            }
            Event::Dial { between } => self.on_dial(between),
            Event::Disk { server, run } => self.on_disk(server, run),
            Event::SaveSnapshot { server, run, snapshot } => {
                let (mark, machine) = *snapshot;
                self.on_save_snapshot((server, run), &mark, &machine);
            }
            Event::LoadSnapshot { server, run, file, index } => {
                if self.runs(server, run) {
                    let files = self.servers[&server].disk.files();
                    let file = files.get(&file).map(|bytes| Arc::from(&bytes[..]));
                    self.input(server, Input::SnapshotLoaded { index, file });
                }
            }
            Event::Compile { server, run, digest } => {
                if self.runs(server, run) {
                    self.servers[&server].executor.compiled.borrow_mut().insert(digest);
                    self.input(server, Input::ComponentCompiled { digest });
                }
            }
            Event::Gathered { server, run } => {
                if self.runs(server, run) && !self.servers[&server].paused {
                    self.handle_gathered(server);
                }
            }
            Event::Resume { server, run } => {
                if self.runs(server, run) {
                    self.resume(server);
                }
            }
            Event::Speak { client } => self.speak(client),
            Event::ToServer { connection, what } => self.arrive_at_server(connection, what),
            Event::ToClient { connection, what } => self.arrive_at_client(connection, what),
        }
    }

    // Servers.

    fn server(&mut self, id: u64) -> &mut Server {
        self.servers.get_mut(&id).expect("the server is one of the cluster")
    }

    fn runs(&self, id: u64, run: u64) -> bool {
        let server = &self.servers[&id];
        server.replica.is_some() && server.run == run
    }

    pub fn is_up(&self, id: u64) -> bool {
        self.servers[&id].replica.is_some()
    }

    pub fn replica(&self, id: u64) -> &Replica<LockExecutor> {
        self.servers[&id].replica.as_ref().expect("the server runs")
    }

    pub fn start(&mut self, id: u64) {
        let (now_ms, limits) = (self.now_ms, self.limits);
        let server = self.servers.get_mut(&id).expect("the server is one of the cluster");
        let started = server.start(now_ms, limits, &mut self.choices);
        started.unwrap_or_else(|error| panic!("server {id} does not start: {error}"));
        self.perform_actions(id);
        let between: Vec<(u64, u64)> =
            self.links.keys().filter(|(a, b)| *a == id || *b == id).copied().collect();
        for between in between {
            self.after(5, Event::Dial { between });
        }
    }

    /// Starts one more server, which waits to be added by the servers of `contacts`.
    pub fn start_joining(&mut self, contacts: &[u64]) -> u64 {
        let id = self.servers.len() as u64 + 1;
        for other in 1..id {
            self.links.insert((other, id), PeerLink::default());
        }
        self.servers.insert(id, Server::joining(id, contacts.to_vec()));
        self.start(id);
        id
    }

    /// The shell dials and accepts members and nobody else.
    fn on_peers_changed(&mut self, id: u64, members: BTreeMap<ServerId, MemberAddress>) {
        self.server(id).peers = members;
        let of_server = |(a, b): &&(u64, u64)| *a == id || *b == id;
        let links: Vec<(u64, u64)> = self.links.keys().filter(of_server).copied().collect();
        for between in links {
            if self.are_peers(between) {
                self.after(5, Event::Dial { between });
            } else {
                self.break_link(between);
            }
        }
    }

    fn are_peers(&self, (a, b): (u64, u64)) -> bool {
        self.servers[&a].peers.contains_key(&ServerId(b))
            && self.servers[&b].peers.contains_key(&ServerId(a))
    }

    pub fn crash(&mut self, id: u64, crash: Crash) {
        let server = self.servers.get_mut(&id).expect("the server is one of the cluster");
        server.crash(crash, &mut self.choices);
        let between: Vec<(u64, u64)> =
            self.links.keys().filter(|(a, b)| *a == id || *b == id).copied().collect();
        for between in between {
            self.break_link(between);
        }
        let gone: Vec<u64> = self.connections_of(id);
        for connection in gone {
            self.send_to_client(connection, Carried::Closed);
        }
    }

    pub fn restart(&mut self, id: u64) {
        self.crash(id, Crash::LoseUnsynced);
        self.start(id);
    }

    /// The process stands still: nothing it is sent is looked at meanwhile.
    pub fn pause(&mut self, id: u64, ms: u64) {
        let run = self.servers[&id].run;
        self.server(id).paused = true;
        self.at(self.now_ms + ms, Event::Resume { server: id, run });
    }

    fn resume(&mut self, id: u64) {
        self.server(id).paused = false;
        self.handle_gathered(id);
        while let Some(input) = self.server(id).inbox.pop_front() {
            self.input(id, input);
        }
        if self.is_up(id) {
            self.input(id, Input::Tick);
        }
    }

    pub fn input(&mut self, id: u64, input: Input) {
        let now_ms = self.now_ms;
        let server = self.server(id);
        if server.paused {
            server.inbox.push_back(input);
            return;
        }
        if server.replica.is_some() && input.is_gathered() {
            server.gathered.push(input);
            let run = server.run;
            if server.gathered.len() == 1 {
                let wait_ms = self.choices.below(2);
                self.at(now_ms + wait_ms, Event::Gathered { server: id, run });
            }
            return;
        }
        self.handle_gathered(id);
        let server = self.server(id);
        let now = server.now(now_ms);
        let Some(replica) = &mut server.replica else { return };
        if let Input::PeerConnected { peer, generation, .. } = &input {
            server.generations.insert(peer.0, *generation);
        }
        replica.handle(now, input);
        self.perform_actions(id);
    }

    /// Frames often come together: those that one wake of a server's thread finds.
    fn handle_gathered(&mut self, id: u64) {
        let now_ms = self.now_ms;
        let server = self.server(id);
        let now = server.now(now_ms);
        let gathered = std::mem::take(&mut server.gathered);
        let Some(replica) = &mut server.replica else { return };
        if !gathered.is_empty() {
            replica.handle_together(now, gathered);
            self.perform_actions(id);
        }
    }

    fn on_wake(&mut self, id: u64, run: u64, at_ms: u64) {
        if self.runs(id, run) && self.servers[&id].wake_at_ms == Some(at_ms) {
            self.server(id).wake_at_ms = None;
            if !self.servers[&id].paused {
                self.input(id, Input::Tick);
            }
        }
    }

    fn perform_actions(&mut self, id: u64) {
        while let Some(action) = self.server(id).replica.as_mut().and_then(Replica::poll_action) {
            self.perform(id, action);
        }
        let server = self.servers.get_mut(&id).expect("the server is one of the cluster");
        let Some(replica) = &server.replica else { return };
        self.journal.look_at(id, replica);
        let deadline_ms = server.deadline_ms().expect("it runs").max(self.now_ms + 1);
        if server.wake_at_ms.is_none_or(|wake_ms| deadline_ms < wake_ms) {
            server.wake_at_ms = Some(deadline_ms);
            let run = server.run;
            self.at(deadline_ms, Event::Wake { server: id, run, at_ms: deadline_ms });
        }
    }

    fn perform(&mut self, id: u64, action: Action) {
        let run = self.servers[&id].run;
        match action {
            Action::SendClient { connection, frame } => {
                self.send_to_client(connection, Carried::Bytes(encode_server(&frame)));
            }
            Action::CloseConnection { connection } => {
                self.send_to_client(connection, Carried::Closed);
            }
            Action::SendPeer { peer, frame } => self.send_to_peer(id, peer.0, &frame),
            Action::ClosePeer { peer, .. } => self.break_link(ordered(id, peer.0)),
            Action::PeersChanged { members } => self.on_peers_changed(id, members),
            Action::Disk { batch, operations } => {
                let idle = self.servers[&id].batches.is_empty();
                self.server(id).batches.push_back((batch, operations));
                if idle {
                    self.after(self.delays.disk, Event::Disk { server: id, run });
                }
            }
            Action::SaveSnapshot { mark, machine } => {
                let event =
                    Event::SaveSnapshot { server: id, run, snapshot: Box::new((mark, machine)) };
                self.after(self.delays.snapshot, event);
            }
            Action::LoadSnapshot { file, index } => {
                self.snapshots_sent += 1;
                let event = Event::LoadSnapshot { server: id, run, file, index };
                self.after(self.delays.snapshot, event);
            }
            Action::CompileComponent { digest, bytes } => {
                assert_eq!(&bytes[..], crate::lock_recipe::COMPONENT);
                self.after(self.delays.snapshot, Event::Compile { server: id, run, digest });
            }
            Action::RemoveComponent { digest } => {
                self.servers[&id].executor.compiled.borrow_mut().remove(&digest);
            }
            Action::Alarm { text } => self.journal.alarms.push((id, text)),
            Action::ShutdownComplete => {}
        }
    }

    fn on_disk(&mut self, id: u64, run: u64) {
        if !self.runs(id, run) {
            return;
        }
        let batch = self.server(id).perform_batch().expect("a batch is under way");
        if !self.servers[&id].batches.is_empty() {
            self.after(self.delays.disk, Event::Disk { server: id, run });
        }
        self.input(id, Input::DiskDone { batch });
    }

    fn on_save_snapshot(&mut self, (id, run): (u64, u64), mark: &SnapshotMark, machine: &Machine) {
        if !self.runs(id, run) {
            return;
        }
        let cluster = self.replica(id).identity().cluster;
        let bytes = snapshot::encode(mark, cluster, &machine.encode_image());
        for operation in snapshot::save(&snapshot::file_name(mark), bytes) {
            self.server(id).disk.perform(&operation);
        }
        self.input(id, Input::SnapshotSaved { index: mark.index.0 });
    }

    // Links between servers.

    fn link(&mut self, between: (u64, u64)) -> &mut PeerLink {
        self.links.get_mut(&between).expect("any two servers have a link")
    }

    /// Ends the connection between two servers; another one is made soon.
    pub fn break_link(&mut self, between: (u64, u64)) {
        let link = self.link(between);
        if !std::mem::take(&mut link.up) {
            return;
        }
        let generation = link.generation;
        let (a, b) = between;
        for (server, peer) in [(a, b), (b, a)] {
            if self.is_up(server) {
                let peer = ServerId(peer);
                self.input(server, Input::PeerDisconnected { peer, generation });
            }
        }
        self.after(20, Event::Dial { between });
    }

    /// Nothing passes between the two any more, or everything does again.
    pub fn cut(&mut self, between: (u64, u64), cut: bool) {
        self.link(between).cut = cut;
        if cut {
            self.break_link(between);
        } else {
            self.after(20, Event::Dial { between });
        }
    }

    /// Cuts a group off the others.
    pub fn partition(&mut self, group: &[u64]) {
        let all: Vec<(u64, u64)> = self.links.keys().copied().collect();
        for between in all {
            let parted = group.contains(&between.0) != group.contains(&between.1);
            if self.links[&between].cut != parted {
                self.cut(between, parted);
            }
        }
    }

    pub fn heal(&mut self) {
        self.partition(&[]);
    }

    fn on_dial(&mut self, between: (u64, u64)) {
        let (a, b) = between;
        let generation = self.next_generation;
        let fit = self.is_up(a) && self.is_up(b) && self.are_peers(between);
        let link = self.link(between);
        if link.up || link.cut || !fit {
            return;
        }
        *link = PeerLink { generation, up: true, ..PeerLink::default() };
        self.next_generation += 1;
        for (server, peer) in [(a, b), (b, a)] {
            let incarnation = self.replica(peer).identity().incarnation;
            let peer = ServerId(peer);
            self.input(server, Input::PeerConnected { peer, generation, incarnation });
        }
    }

    fn send_to_peer(&mut self, from: u64, to: u64, frame: &PeerFrame) {
        let mut delay_ms = 1 + self.choices.below(self.delays.link);
        if self.delays.hiccups && self.choices.one_in(400) {
            // Everything behind it on its lane waits too.
            delay_ms += self.choices.below(600);
        }
        let arrives_ms = self.now_ms + delay_ms;
        let generation = self.servers[&from].generations.get(&to).copied();
        let Some(link) = self.links.get_mut(&ordered(from, to)) else { return };
        if !link.up || generation != Some(link.generation) {
            return;
        }
        let arrival = &mut link.arrivals[usize::from(from < to)][lane(frame)];
        *arrival = arrives_ms.max(*arrival);
        let (at_ms, generation) = (*arrival, link.generation);
        let bytes = peer::encode(frame);
        self.at(at_ms, Event::PeerBytes { from, to, generation, bytes });
    }

    fn on_peer_bytes(&mut self, (from, to): (u64, u64), generation: u64, bytes: &[u8]) {
        let link = &self.links[&ordered(from, to)];
        if !link.up || link.generation != generation {
            return;
        }
        let mut buffer = peer::FrameBuffer::new();
        buffer.push(bytes);
        let limit = self.limits.peer_frame_bytes_max;
        let frame = buffer.next_peer(limit).expect("peers speak properly").expect("a whole frame");
        let peer = ServerId(from);
        self.input(to, Input::PeerFrame { peer, generation, frame });
    }

    // Clients.

    /// Adds a client; with `only` it connects to that server alone.
    pub fn add_client(&mut self, only: Option<u64>, timeout_ms: u64) -> usize {
        let number = self.clients.len();
        self.clients.push(Client::new(format!("client-{number}"), only, timeout_ms));
        number
    }

    fn clients_due_ms(&self) -> u64 {
        let due_ms = |client: &Client| match client.link {
            _ if client.silent => u64::MAX,
            Link::Idle => client.retry_at_ms,
            Link::Connecting { .. } => client.heard_ms + client.timeout_ms * 2 / 3,
            Link::Established { .. } => {
                let gives_up_ms = client.heard_ms + client.timeout_ms * 2 / 3;
                gives_up_ms.min(client.said_ms + client.timeout_ms / 4)
            }
        };
        self.clients.iter().map(due_ms).min().unwrap_or(u64::MAX).max(self.now_ms)
    }

    fn tend_clients(&mut self) {
        for number in 0..self.clients.len() {
            let now_ms = self.now_ms;
            self.clients[number].tick(now_ms);
            let client = &self.clients[number];
            if client.link == Link::Idle && !client.silent && now_ms >= client.retry_at_ms {
                self.connect(number);
            }
            self.grant_wishes(number);
        }
    }

    fn connect(&mut self, number: usize) {
        let ids = self.servers.keys().filter(|id| !self.dismissed.contains(id));
        let ids: Vec<u64> = ids.copied().collect();
        let drawn = ids[self.choices.below(ids.len() as u64) as usize];
        let server = self.clients[number].only.unwrap_or(drawn);
        let connection = self.next_connection;
        self.next_connection += 1;
        let (run, now_ms) = (self.servers[&server].run, self.now_ms);
        let opened = Connection {
            client: number,
            server,
            run,
            open_here: false,
            buffer: FrameBuffer::new(),
            to_server_ms: 0,
            to_client_ms: 0,
        };
        self.connections.insert(connection, opened);
        self.send_to_server(connection, Carried::Opened);
        self.clients[number].connect(now_ms, connection, server);
    }

    fn grant_wishes(&mut self, number: usize) {
        for wish in std::mem::take(&mut self.clients[number].wishes) {
            match wish {
                Wish::Send { connection, frame } => {
                    self.send_to_server(connection, Carried::Bytes(encode_client(&frame)));
                }
                Wish::Drop { connection } => self.send_to_server(connection, Carried::Closed),
            }
        }
    }

    fn connections_of(&self, server: u64) -> Vec<u64> {
        let of_server = self.connections.iter().filter(|(_, known)| known.server == server);
        of_server.map(|(connection, _)| *connection).collect()
    }

    fn send_to_server(&mut self, connection: u64, what: Carried) {
        let delay_ms = 1 + self.choices.below(self.delays.client);
        let arrives_ms = self.now_ms + delay_ms;
        let Some(known) = self.connections.get_mut(&connection) else { return };
        known.to_server_ms = known.to_server_ms.max(arrives_ms);
        let at_ms = known.to_server_ms;
        self.at(at_ms, Event::ToServer { connection, what });
    }

    fn send_to_client(&mut self, connection: u64, what: Carried) {
        let delay_ms = 1 + self.choices.below(self.delays.client);
        let arrives_ms = self.now_ms + delay_ms;
        let Some(known) = self.connections.get_mut(&connection) else { return };
        known.to_client_ms = known.to_client_ms.max(arrives_ms);
        let at_ms = known.to_client_ms;
        self.at(at_ms, Event::ToClient { connection, what });
    }

    fn arrive_at_server(&mut self, connection: u64, what: Carried) {
        let entropy = [self.choices.next().to_le_bytes(), self.choices.next().to_le_bytes()];
        let Some(known) = self.connections.get_mut(&connection) else { return };
        let (id, run, client) = (known.server, known.run, known.client);
        let server = &self.servers[&id];
        if server.replica.is_none() || server.run != run {
            self.send_to_client(connection, Carried::Closed);
            return;
        }
        match what {
            Carried::Opened => {
                known.open_here = true;
                let identity = Identity::named(self.clients[client].name.clone());
                let entropy = entropy.concat().try_into().expect("sixteen bytes");
                self.input(id, Input::ConnectionOpened { connection, identity, entropy });
            }
            Carried::Bytes(bytes) => {
                known.buffer.push(&bytes);
                let limit = self.limits.client_frame_bytes_max;
                let next = known.buffer.next_client(limit).expect("clients speak properly");
                let frame = next.expect("a whole frame");
                self.input(id, Input::ClientFrame { connection, frame });
            }
            Carried::Closed => {
                self.connections.remove(&connection);
                self.input(id, Input::ConnectionClosed { connection });
            }
        }
    }

    fn arrive_at_client(&mut self, connection: u64, what: Carried) {
        let Some(known) = self.connections.get(&connection) else { return };
        let (number, server, now_ms) = (known.client, known.server, self.now_ms);
        let closed = matches!(what, Carried::Closed);
        let client = &mut self.clients[number];
        if client.connection() == Some(connection) && !client.silent {
            match what {
                Carried::Bytes(bytes) => {
                    client.buffer.push(&bytes);
                    let frame =
                        client.buffer.next_server(u32::MAX).expect("servers speak properly");
                    client.hear(now_ms, frame.expect("a whole frame"));
                }
                Carried::Closed => {
                    let pause_ms = 1 + self.choices.below(30);
                    self.clients[number].lose_connection(now_ms, pause_ms);
                    self.clients[number].wishes.clear();
                }
                Carried::Opened => unreachable!("clients open connections"),
            }
        }
        if closed {
            self.connections.remove(&connection);
            self.input(server, Input::ConnectionClosed { connection });
        }
        self.grant_wishes(number);
    }

    /// The client's connection breaks; its server hears of it `after_ms` later, or never.
    pub fn drop_client_connection(&mut self, number: usize, after_ms: Option<u64>) {
        let now_ms = self.now_ms;
        let Some(connection) = self.clients[number].connection() else { return };
        let pause_ms = self.choices.below(30);
        self.clients[number].lose_connection(now_ms, pause_ms);
        self.clients[number].wishes.clear();
        // Without it what is on its way still arrives: the connection is only half dead.
        if let Some(after_ms) = after_ms {
            self.at(now_ms + after_ms, Event::ToServer { connection, what: Carried::Closed });
        }
    }

    /// The client says and hears nothing for a while.
    pub fn silence(&mut self, number: usize, for_ms: u64) {
        self.clients[number].silent = true;
        self.at(self.now_ms + for_ms, Event::Speak { client: number });
    }

    /// What the client was sent meanwhile is gone, and with it the connection.
    fn speak(&mut self, number: usize) {
        let now_ms = self.now_ms;
        self.clients[number].silent = false;
        self.clients[number].lose_connection(now_ms, 0);
        self.grant_wishes(number);
    }

    // What scripts ask.

    pub fn request(&mut self, number: usize, operation: Operation) -> u64 {
        self.request_at(number, operation, ReadLevel::Linearizable)
    }

    pub fn request_at(&mut self, number: usize, operation: Operation, level: ReadLevel) -> u64 {
        let now_ms = self.now_ms;
        let sequence = self.clients[number].request(now_ms, operation, level);
        self.grant_wishes(number);
        sequence
    }

    /// Waits for the final answer of a request.
    pub fn answer(&mut self, number: usize, sequence: u64) -> Outcome {
        let is_it = |done: &crate::client::Done| done.sequence == sequence;
        self.run_until(&format!("request {sequence} of client {number} is answered"), |world| {
            world.clients[number].done.iter().any(is_it)
        });
        let done = &mut self.clients[number].done;
        let place = done.iter().position(is_it).expect("it was just there");
        let found = done.remove(place).expect("it was just there");
        found.outcome.unwrap_or_else(|| panic!("the session of client {number} ended"))
    }

    pub fn ask(&mut self, number: usize, operation: Operation) -> Outcome {
        let sequence = self.request(number, operation);
        self.answer(number, sequence)
    }

    /// As [`World::ask`], again while the answer is only for now.
    pub fn ask_until_settled(&mut self, number: usize, operation: &Operation) -> Outcome {
        loop {
            let outcome = self.ask(number, operation.clone());
            match &outcome {
                Err(refusal) if refusal.code.is_transient() => self.run_for(20),
                _ => return outcome,
            }
        }
    }

    pub fn leader(&self) -> Option<u64> {
        let serves = |server: &&Server| {
            server.replica.as_ref().is_some_and(Replica::is_serving_leader) && !server.paused
        };
        let leading = self.servers.values().filter(serves);
        leading.max_by_key(|server| self.replica(server.id).raft().term()).map(|server| server.id)
    }

    pub fn await_leader(&mut self) -> u64 {
        self.run_until("a leader serves", |world| world.leader().is_some());
        self.leader().expect("one serves")
    }

    pub fn follower(&mut self) -> u64 {
        let leader = self.await_leader();
        *self.servers.keys().find(|id| **id != leader).expect("there is another server")
    }

    /// Every running server has applied everything that any has.
    pub fn await_level(&mut self) {
        let up = self.servers.keys().copied().filter(|id| self.is_up(*id)).collect::<Vec<_>>();
        self.await_level_of(&up);
    }

    /// As [`World::await_level`], of these servers only.
    pub fn await_level_of(&mut self, servers: &[u64]) {
        self.run_until("the servers are level", |world| {
            let up = || servers.iter();
            let newest = up().map(|id| world.replica(*id).raft().last_index().0).max();
            up().all(|id| Some(world.replica(*id).applied().0) == newest)
        });
    }

    pub fn await_established(&mut self, number: usize) {
        self.run_until(&format!("client {number} is connected"), |world| {
            world.clients[number].is_established()
        });
    }

    /// Makes the lock recipe rule `/locks`.
    pub fn mount_lock(&mut self, number: usize) {
        use crate::words::{install, mount, upload};
        for operation in [upload(), install(), mount("/locks")] {
            let outcome = self.ask_until_settled(number, &operation);
            assert!(outcome.is_ok(), "{operation:?}: {outcome:?}");
        }
    }

    /// Every path of a server's tree with the session that owns it.
    pub fn tree(&self, id: u64) -> BTreeMap<ZnodePath, Option<quorate_types::SessionId>> {
        let machine = self.replica(id).machine();
        let everyone = Identity::named("checker");
        let mut found = BTreeMap::new();
        let mut open = vec![ZnodePath::root()];
        while let Some(path) = open.pop() {
            let exists = Operation::Exists { path: path.clone(), watch: false };
            let Ok(Reply::Exists(Some(stat))) = machine.read(&everyone, &exists) else {
                panic!("{path} vanished");
            };
            let mut after = None;
            loop {
                let list = crate::words::children(path.as_str(), after.clone());
                let Ok(Reply::Children(names, more, _)) = machine.read(&everyone, &list) else {
                    panic!("{path} has no list of children");
                };
                open.extend(names.iter().map(|name| path.join(name).expect("names are proper")));
                if !more {
                    break;
                }
                after = names.last().cloned();
            }
            found.insert(path, stat.ephemeral_owner);
        }
        found
    }
}

pub fn ordered(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}

/// The streams that the real shell has between two servers.
fn lane(frame: &PeerFrame) -> usize {
    match frame {
        PeerFrame::Raft(message) if quorate_replica::is_append(message) => 1,
        PeerFrame::Forward { .. } | PeerFrame::ForwardAnswer { .. } => 2,
        PeerFrame::ForwardLost { .. } => 2,
        PeerFrame::SnapshotChunk { .. } => 3,
        _ => 0,
    }
}
