//! Three replicas on a network that can be cut, for tests.
//!
//! Comes in: inputs, time in steps. Goes out: what clients were told. Invariant: disks never fail, and
//! what is sent arrives at once or, over a cut link, never.

use crate::{Action, Input, MemberAddress, Now, Replica, Settings, Verify};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::vec::Vec;
use quorate_machine::{Identity, NoRecipes};
use quorate_storage::ServerIdentity;
use quorate_types::limits::Limits;
use quorate_types::request::ReadLevel;
use quorate_types::{Incarnation, Operation, Outcome, ServerId, Zxid};
use quorate_wire::native::{ClientFrame, PROTOCOL, Resume, ServerFrame};

/// Session timeout that clients ask for.
pub(crate) const TIMEOUT_MS: u32 = 20_000;
const STEP_MS: u64 = 10;

/// Three replicas, their disks and their network, in steps.
pub(crate) struct Network {
    pub(crate) replicas: BTreeMap<u64, Replica<NoRecipes>>,
    now_ms: u64,
    generation: u64,
    /// The server that is cut off.
    alone: Option<u64>,
    on_the_way: VecDeque<(u64, Input)>,
    told: BTreeMap<u64, Vec<ServerFrame>>,
    /// Batches that each server's disk was given.
    pub(crate) disk_batches: BTreeMap<u64, usize>,
}

fn settings(server: u64, read_only_mode: bool) -> Settings {
    let address = |id| {
        let (peer, native) = (format!("s{id}:1"), format!("s{id}:2"));
        (ServerId(id), MemberAddress { peer, native, zookeeper: None })
    };
    Settings {
        identity: ServerIdentity {
            cluster: 1,
            server: ServerId(server),
            incarnation: Incarnation(server),
        },
        members: (1..=3).map(address).collect(),
        join: false,
        read_only_mode,
        seed: server,
        election_timeout_ms_min: 100,
        election_timeout_ms_max: 200,
        heartbeat_interval_ms: 20,
        verify: Verify::Off,
        limits: Limits::PRODUCTION,
    }
}

impl Network {
    /// Three servers with a leader.
    pub(crate) fn new(read_only_mode: bool) -> Network {
        let start = |id| {
            let settings = settings(id, read_only_mode);
            let replica =
                Replica::start(settings, &BTreeMap::new(), NoRecipes, Now::default()).unwrap();
            (id, replica)
        };
        let mut network = Network {
            replicas: (1..=3).map(start).collect(),
            now_ms: 0,
            generation: 0,
            alone: None,
            on_the_way: VecDeque::new(),
            told: BTreeMap::new(),
            disk_batches: BTreeMap::new(),
        };
        network.link_all();
        network.pass(2_000);
        network
    }

    /// Connects every server with every other, anew.
    pub(crate) fn link_all(&mut self) {
        self.alone = None;
        self.generation += 1;
        for (to, peer) in pairs() {
            let (peer, incarnation) = (ServerId(peer), Incarnation(peer));
            let input = Input::PeerConnected { peer, generation: self.generation, incarnation };
            self.on_the_way.push_back((to, input));
        }
    }

    /// Takes a server's peers from it.
    pub(crate) fn cut_off(&mut self, server: u64) {
        self.alone = Some(server);
        for (to, peer) in pairs().filter(|(to, peer)| *to == server || *peer == server) {
            let generation = self.generation;
            let input = Input::PeerDisconnected { peer: ServerId(peer), generation };
            self.on_the_way.push_back((to, input));
        }
    }

    /// Lets time pass, in steps.
    pub(crate) fn pass(&mut self, ms: u64) {
        for _ in 0..ms / STEP_MS {
            self.now_ms += STEP_MS;
            for server in 1..=3 {
                self.handle(server, Input::Tick);
            }
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        while let Some((to, input)) = self.on_the_way.pop_front() {
            self.handle(to, input);
        }
    }

    /// Gives a server an input and performs what comes of it.
    pub(crate) fn handle(&mut self, server: u64, input: Input) {
        let now = Now { monotonic_ms: self.now_ms, wall_ms: self.now_ms };
        let replica = self.replicas.get_mut(&server).unwrap();
        replica.handle(now, input);
        while let Some(action) = replica.poll_action() {
            match action {
                Action::Disk { batch, .. } => {
                    *self.disk_batches.entry(server).or_default() += 1;
                    self.on_the_way.push_back((server, Input::DiskDone { batch }));
                }
                Action::SendPeer { peer, frame } => {
                    let is_cut = self.alone.is_some_and(|alone| alone == server || alone == peer.0);
                    assert!(!is_cut, "a server that is cut off has no peers");
                    let (from, generation) = (ServerId(server), self.generation);
                    let input = Input::PeerFrame { peer: from, generation, frame };
                    self.on_the_way.push_back((peer.0, input));
                }
                Action::SendClient { connection, frame } => {
                    self.told.entry(connection).or_default().push(frame);
                }
                _ => {}
            }
        }
    }

    /// The server that leads.
    pub(crate) fn leader(&self) -> u64 {
        let mut replicas = self.replicas.iter();
        *replicas.find(|(_, replica)| replica.is_serving_leader()).expect("there is a leader").0
    }

    /// What a connection was told since it was last asked.
    pub(crate) fn heard(&mut self, connection: u64) -> Vec<ServerFrame> {
        self.told.remove(&connection).unwrap_or_default()
    }

    /// Asks for a session on a new connection; the answer.
    pub(crate) fn connect(
        &mut self,
        (server, connection): (u64, u64),
        read_only: bool,
        resume: Option<Resume>,
    ) -> ServerFrame {
        let (identity, entropy) = (Identity::default(), [7; 16]);
        self.handle(server, Input::ConnectionOpened { connection, identity, entropy });
        let (timeout_ms, last_seen) = (TIMEOUT_MS, Zxid(0));
        let connect =
            ClientFrame::Connect { protocol: PROTOCOL, resume, timeout_ms, last_seen, read_only };
        self.handle(server, Input::ClientFrame { connection, frame: connect });
        self.pass(200);
        self.heard(connection).remove(0)
    }

    /// Asks a request; its outcome.
    pub(crate) fn ask(
        &mut self,
        (server, connection): (u64, u64),
        sequence: u64,
        (level, operation): (ReadLevel, Operation),
    ) -> Outcome {
        let (oldest_unreplied, acknowledged) = (sequence, Vec::new());
        let frame =
            ClientFrame::Request { sequence, oldest_unreplied, acknowledged, level, operation };
        self.handle(server, Input::ClientFrame { connection, frame });
        self.pass(200);
        match self.heard(connection).remove(0) {
            ServerFrame::Reply { outcome, .. } => outcome,
            other => panic!("{other:?} is no reply"),
        }
    }
}

/// Every server with every other.
pub(crate) fn pairs() -> impl Iterator<Item = (u64, u64)> {
    (1..=3).flat_map(|to| (1..=3).map(move |peer| (to, peer))).filter(|(to, peer)| to != peer)
}
