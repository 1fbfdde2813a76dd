//! Three replicas on a network that can be cut.

use super::*;
use crate::{Action, Input, MemberAddress, Now, Settings, Verify};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::vec;
use bytes::Bytes;
use quorate_machine::{
    ComponentStatus, Identity, RecipeEnd, RecipeFault, RecipeFaultKind, RecipeRun, RecipeView,
};
use quorate_storage::ServerIdentity;
use quorate_types::limits::Limits;
use quorate_types::recipe::RecipeLimits;
use quorate_types::request::{CreateMode, MultiOperation, ReadLevel, WatchMode};
use quorate_types::{ComponentDigest, Incarnation, RecipeSignature, ServerId, ZnodePath, Zxid};
use quorate_wire::native::{ClientFrame, PROTOCOL};

const TIMEOUT_MS: u32 = 20_000;
const STEP_MS: u64 = 10;

struct NoRecipes;

impl RecipeExecutor for NoRecipes {
    fn vouch(&mut self, _: &ComponentDigest, _: Option<&RecipeSignature>) -> Result<(), String> {
        Ok(())
    }

    fn status(&self, _: &ComponentDigest) -> ComponentStatus {
        ComponentStatus::Loading
    }

    fn run(
        &mut self,
        _: &ComponentDigest,
        _: RecipeRun<'_>,
        _: &RecipeLimits,
        _: &mut RecipeView<'_>,
    ) -> Result<RecipeEnd, RecipeFault> {
        let message = String::from("no recipe here");
        Err(RecipeFault { kind: RecipeFaultKind::NotReady, message, fuel_used: 0 })
    }
}

struct Network {
    replicas: BTreeMap<u64, Replica<NoRecipes>>,
    now_ms: u64,
    generation: u64,
    /// The server that is cut off.
    alone: Option<u64>,
    on_the_way: VecDeque<(u64, Input)>,
    told: BTreeMap<u64, Vec<ServerFrame>>,
    disk_batches: BTreeMap<u64, usize>,
}

fn settings(server: u64, read_only_mode: bool) -> Settings {
    let address = |id| {
        let (peer, native) = (format!("s{id}:1"), format!("s{id}:2"));
        (ServerId(id), MemberAddress { peer, native })
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
    fn new(read_only_mode: bool) -> Network {
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

    fn link_all(&mut self) {
        self.alone = None;
        self.generation += 1;
        for (to, peer) in pairs() {
            let (peer, incarnation) = (ServerId(peer), Incarnation(peer));
            let input = Input::PeerConnected { peer, generation: self.generation, incarnation };
            self.on_the_way.push_back((to, input));
        }
    }

    fn cut_off(&mut self, server: u64) {
        self.alone = Some(server);
        for (to, peer) in pairs().filter(|(to, peer)| *to == server || *peer == server) {
            let generation = self.generation;
            let input = Input::PeerDisconnected { peer: ServerId(peer), generation };
            self.on_the_way.push_back((to, input));
        }
    }

    /// Lets time pass, in steps.
    fn pass(&mut self, ms: u64) {
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

    fn handle(&mut self, server: u64, input: Input) {
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

    fn leader(&self) -> u64 {
        let mut replicas = self.replicas.iter();
        *replicas.find(|(_, replica)| replica.is_serving_leader()).expect("there is a leader").0
    }

    /// What a connection was told since it was last asked.
    fn heard(&mut self, connection: u64) -> Vec<ServerFrame> {
        self.told.remove(&connection).unwrap_or_default()
    }

    fn connect(
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

    fn ask(
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

fn pairs() -> impl Iterator<Item = (u64, u64)> {
    (1..=3).flat_map(|to| (1..=3).map(move |peer| (to, peer))).filter(|(to, peer)| to != peer)
}

fn path() -> ZnodePath {
    ZnodePath::parse("/a").unwrap()
}

fn create() -> Operation {
    let (data, mode) = (Bytes::from_static(b"x"), CreateMode::Persistent);
    Operation::Create { path: path(), data: data.into(), mode, acl: None }
}

fn resume_of(frame: &ServerFrame) -> Resume {
    match frame {
        ServerFrame::Connected { session, password, .. } => {
            Resume { session: *session, password: *password }
        }
        other => panic!("{other:?} gives no session"),
    }
}

fn is_read_only(frame: &ServerFrame) -> bool {
    matches!(frame, ServerFrame::Connected { read_only: true, .. })
}

#[track_caller]
fn assert_refused(frame: &ServerFrame, code: ErrorCode) {
    let is_it = matches!(frame, ServerFrame::Refused(refusal) if refusal.code == code);
    assert!(is_it, "{frame:?} does not refuse with {code}");
}

/// A network whose follower is cut off and reads, with a session that it had before.
fn cut_network() -> (Network, u64, Resume) {
    let mut network = Network::new(true);
    let follower = pairs().map(|(to, _)| to).find(|to| *to != network.leader()).unwrap();
    let granted = network.connect((follower, 1), true, None);
    assert!(!is_read_only(&granted), "there is a quorum");
    let written = network.ask((follower, 1), 1, (ReadLevel::Local, create()));
    assert!(written.is_ok(), "{written:?}");
    network.cut_off(follower);
    network.pass(2_000);
    let told = network.heard(1);
    assert!(matches!(told[..], [ServerFrame::Goodbye(_)]), "{told:?}");
    (network, follower, resume_of(&granted))
}

#[test]
fn a_server_without_a_quorum_reads_what_it_has_and_lets_nothing_near_the_log() {
    let (mut network, server, session) = cut_network();
    let before = (network.disk_batches[&server], network.replicas[&server].applied());
    let granted = network.connect((server, 2), true, Some(session.clone()));
    assert!(is_read_only(&granted));
    assert_eq!(resume_of(&granted), session);
    let here = (server, 2);
    let get = || Operation::Get { path: path(), watch: true };
    let read = network.ask(here, 1, (ReadLevel::Local, get()));
    assert!(matches!(&read, Ok(Reply::Data(..))), "{read:?}");
    let watch = Operation::AddWatch {
        path: path(),
        mode: WatchMode::Persistent,
        since: None,
        values: false,
    };
    assert!(network.ask(here, 2, (ReadLevel::Local, watch)).is_ok());
    let multi = vec![MultiOperation::Check { path: path(), expected_version: None }];
    let refused = [
        (ReadLevel::Linearizable, get()),
        (ReadLevel::Linearizable, Operation::Sync),
        (ReadLevel::Local, create()),
        (ReadLevel::Local, Operation::Multi { operations: multi }),
        (ReadLevel::Local, Operation::TransferLeader { to: None }),
        // The cluster may still serve the session.
        (ReadLevel::Local, Operation::CloseSession),
    ];
    for (sequence, asked) in (3..).zip(refused) {
        let outcome = network.ask(here, sequence, asked);
        assert_eq!(outcome.unwrap_err().code, ErrorCode::ReadOnly);
    }
    let replica = &network.replicas[&server];
    assert_eq!((network.disk_batches[&server], replica.applied()), before);
    assert_eq!(replica.status().role, "read-only");
}

#[test]
fn a_new_session_there_is_that_servers_alone() {
    let (mut network, server, _) = cut_network();
    let granted = network.connect((server, 2), true, None);
    let local = resume_of(&granted);
    assert!(is_read_only(&granted) && local.session.0 & LOCAL != 0);
    let again = network.connect((server, 3), true, Some(local.clone()));
    assert_refused(&again, ErrorCode::SessionExpired);
    let close = (ReadLevel::Local, Operation::CloseSession);
    assert_eq!(network.ask((server, 2), 1, close), Ok(Reply::Done));
    let leader = network.leader();
    let elsewhere = network.connect((leader, 4), true, Some(local));
    assert_refused(&elsewhere, ErrorCode::SessionExpired);
}

#[test]
fn who_wants_more_than_reading_or_is_not_known_is_sent_on() {
    let (mut network, server, session) = cut_network();
    let writer = network.connect((server, 2), false, None);
    assert_refused(&writer, ErrorCode::ServerUnavailable);
    let unknown = Resume { session: SessionId(4_711), password: [0; 16] };
    let unknown = network.connect((server, 3), true, Some(unknown));
    assert_refused(&unknown, ErrorCode::ServerUnavailable);
    let wrong = Resume { password: [0; 16], ..session };
    let wrong = network.connect((server, 4), true, Some(wrong));
    assert_refused(&wrong, ErrorCode::SessionRefused);
}

#[test]
fn readers_are_sent_away_when_there_is_a_leader_and_their_session_goes_on() {
    let (mut network, server, session) = cut_network();
    network.connect((server, 2), true, Some(session.clone()));
    network.link_all();
    network.pass(1_000);
    let told = network.heard(2);
    let code = |frame: &ServerFrame| match frame {
        ServerFrame::Goodbye(refusal) => Some(refusal.code),
        _ => None,
    };
    assert_eq!(told.iter().map(code).collect::<Vec<_>>(), [Some(ErrorCode::ServerUnavailable)]);
    let granted = network.connect((server, 3), true, Some(session.clone()));
    assert!(!is_read_only(&granted));
    assert_eq!(resume_of(&granted).session, session.session);
}

#[test]
fn a_reader_that_is_silent_for_its_timeout_is_gone_and_a_newer_connection_takes_its_place() {
    let (mut network, server, session) = cut_network();
    network.connect((server, 2), true, Some(session.clone()));
    network.connect((server, 3), true, Some(session));
    assert!(matches!(network.heard(2)[..], [ServerFrame::Goodbye(_)]));
    let half_ms = u64::from(TIMEOUT_MS) / 2;
    for _ in 0..3 {
        network.pass(half_ms);
        let frame = ClientFrame::Heartbeat;
        network.handle(server, Input::ClientFrame { connection: 3, frame });
    }
    let told = network.heard(3);
    let beats = told.iter().filter(|frame| matches!(frame, ServerFrame::Heartbeat { .. }));
    assert_eq!((beats.count(), told.len()), (3, 3));
    network.pass(half_ms * 2 + 100);
    assert!(matches!(network.heard(3)[..], [ServerFrame::Goodbye(_)]));
}

#[test]
fn without_the_mode_a_server_without_a_quorum_serves_nobody() {
    let mut network = Network::new(false);
    let server = network.leader();
    network.cut_off(server);
    network.pass(2_000);
    let granted = network.connect((server, 1), true, None);
    assert_refused(&granted, ErrorCode::ServerUnavailable);
    assert_ne!(network.replicas[&server].status().role, "read-only");
    let opened: BTreeSet<u64> = network.replicas[&server].connections.keys().copied().collect();
    assert_eq!(opened, BTreeSet::new());
}
