//! Watches over breaks: what was acknowledged is told once, in order, or said to be a gap.

use crate::cluster::Cluster;
use crate::words::{acquire, code, data, delete, fence, get, persistent, release, set};
use quorate_raft::Index;
use quorate_simulator::client::SimulatedClient;
use quorate_simulator::work::path;
use quorate_types::limits::Limits;
use quorate_types::request::{CreateMode, WatchEvent, WatchEventKind, WatchMode, WatchPosition};
use quorate_types::{AclEntry, ErrorCode, Operation, Outcome, Permissions, Reply, Zxid};

const RECURSIVE: WatchMode = WatchMode::PersistentRecursive;

/// A watch whose events carry values.
fn watch(at: &str, mode: WatchMode, since: Option<WatchPosition>) -> Operation {
    Operation::AddWatch { path: path(at), mode, since, values: true }
}

/// A cluster with a client that writes and one that holds a watch; `/a` is there.
struct Watched {
    cluster: Cluster,
    writer: usize,
    watcher: usize,
    /// What was acknowledged since the watch was set: zxid and value.
    written: Vec<(Zxid, String)>,
}

impl Watched {
    fn new(seed: u64, limits: Limits, at: &str, mode: WatchMode) -> Watched {
        Watched::on(Cluster::with_limits(seed, 3, limits), at, mode)
    }

    fn on(mut cluster: Cluster, at: &str, mode: WatchMode) -> Watched {
        cluster.await_leader();
        let writer = cluster.add_served_client(None, 20_000);
        let watcher = cluster.add_served_client(None, 20_000);
        cluster.ask(writer, persistent("/a", "")).unwrap();
        // "From now on" is from what the watcher's server has applied.
        cluster.await_level();
        assert_eq!(cluster.ask(watcher, watch(at, mode, None)), Ok(Reply::Done));
        Watched { cluster, writer, watcher, written: Vec::new() }
    }

    fn watcher(&self) -> &SimulatedClient {
        self.cluster.client(self.watcher)
    }

    fn write(&mut self, times: usize) {
        for _ in 0..times {
            let value = format!("{}-{}", self.written.len(), "x".repeat(200));
            let asked = set("/a", value.clone(), None);
            let outcome = self.cluster.ask_until_settled(self.writer, asked);
            let Ok(Reply::Stat(stat)) = outcome else { panic!("{outcome:?}") };
            self.written.push((stat.mzxid, value));
        }
    }

    /// The watcher has an answer that shows everything written: its events come before.
    fn catch_up(&mut self) {
        let (_, newest) = self.written.last().expect("something was written").clone();
        assert_eq!(data(&self.cluster.ask_until_settled(self.watcher, get("/a"))), newest);
    }

    fn seen(&self) -> Vec<(Zxid, String)> {
        let seen = |event: &WatchEvent| {
            let data = event.data.as_ref().expect("the watch asked for values").to_vec();
            (event.zxid, String::from_utf8(data).expect("values are text"))
        };
        self.watcher().notified.iter().map(seen).collect()
    }

    /// Moves the watcher to a server, which need not be ready for it.
    fn send_watcher_to(&mut self, server: u64) {
        self.cluster.send_client_to(self.watcher, server);
    }

    fn keep_watcher_away(&mut self, away: bool) {
        self.cluster.keep_away(self.watcher, away);
    }
}

#[test]
fn a_watch_that_moves_from_server_to_server_during_writes_tells_each_write_once() {
    // Nothing is forgotten, however long it takes until the watcher is served again.
    let limits = Limits { history_events_max: 128, history_bytes_max: 1 << 16, ..Limits::TESTED };
    for seed in 0..30 {
        let mut watched = Watched::new(600 + seed, limits, "/", RECURSIVE);
        for _ in 0..40 {
            let writes = watched.cluster.choices.below(3) as usize;
            watched.write(writes);
            match watched.cluster.choices.below(4) {
                0 => {
                    let server = 1 + watched.cluster.choices.below(3);
                    watched.send_watcher_to(server);
                }
                // The server does not hear that the connection is gone, or late.
                1 => {
                    let watcher = watched.watcher;
                    watched.cluster.break_client(watcher, None);
                }
                _ => {}
            }
        }
        watched.write(1);
        watched.catch_up();
        assert_eq!(watched.seen(), watched.written, "seed {seed}");
        assert_eq!(watched.watcher().gaps, 0);
    }
}

#[test]
fn a_server_that_starts_again_knows_what_its_log_holds() {
    let mut watched = Watched::new(620, Limits::TESTED, "/a", WatchMode::Persistent);
    for server in 1..=3 {
        watched.send_watcher_to(server);
        watched.cluster.await_served(watched.watcher);
        watched.write(3);
        watched.cluster.restart(server);
        watched.write(3);
    }
    watched.catch_up();
    assert_eq!(watched.seen(), watched.written);
    assert_eq!(watched.watcher().gaps, 0);
}

fn small_snapshots() -> Limits {
    Limits { snapshot_log_bytes: 3_000, log_bytes_behind_snapshot: 0, ..Limits::TESTED }
}

#[test]
fn what_a_snapshot_skipped_is_a_gap_and_what_comes_after_is_told() {
    let mut watched = Watched::new(630, small_snapshots(), "/a", RECURSIVE);
    let (_, other, lagging) = watched.cluster.leader_and_followers();
    watched.cluster.send_client_to(watched.writer, other);
    watched.cluster.partition(&[lagging]);
    let at = watched.cluster.replica(lagging).raft().last_index();
    watched.send_watcher_to(lagging);
    watched.write(60);
    let leader = watched.cluster.await_leader();
    let first = watched.cluster.replica(leader).raft().first_index();
    assert!(first > Index(at.0 + 1), "the log was compacted");
    watched.cluster.heal();
    watched.catch_up();
    assert_eq!((watched.seen(), watched.watcher().gaps), (vec![], 1));
    watched.write(3);
    watched.catch_up();
    assert_eq!(watched.seen(), watched.written[60..]);
    assert_eq!(watched.watcher().gaps, 1);
}

#[test]
fn a_server_that_starts_from_a_snapshot_knows_nothing_of_what_was_before() {
    let mut watched = Watched::new(635, small_snapshots(), "/a", RECURSIVE);
    watched.keep_watcher_away(true);
    watched.write(40);
    let server = watched.cluster.follower();
    watched.cluster.await_level();
    // What the disk was given last is there when the server starts again.
    watched.cluster.run_for(200);
    watched.cluster.restart(server);
    watched.send_watcher_to(server);
    watched.keep_watcher_away(false);
    watched.catch_up();
    assert_eq!((watched.seen(), watched.watcher().gaps), (vec![], 1));
    watched.write(2);
    watched.catch_up();
    assert_eq!(watched.seen(), watched.written[40..]);
}

#[test]
fn what_the_history_has_forgotten_is_a_gap() {
    let limits = Limits { history_events_max: 10, ..Limits::TESTED };
    for (missed, gaps) in [(10, 0), (11, 1)] {
        let mut watched = Watched::new(640, limits, "/a", RECURSIVE);
        watched.keep_watcher_away(true);
        watched.write(missed);
        watched.keep_watcher_away(false);
        watched.catch_up();
        let known = if gaps == 0 { watched.written.clone() } else { vec![] };
        assert_eq!((watched.seen(), watched.watcher().gaps), (known, gaps));
    }
}

#[test]
fn a_one_shot_watch_fires_once_however_often_the_connection_breaks() {
    let mut watched = Watched::new(650, Limits::TESTED, "/a", WatchMode::OneShotData);
    for _ in 0..2 {
        watched.keep_watcher_away(true);
        watched.write(3);
        watched.keep_watcher_away(false);
        watched.catch_up();
        watched.write(3);
        watched.catch_up();
    }
    let fired: Vec<Zxid> = watched.watcher().notified.iter().map(|event| event.zxid).collect();
    assert_eq!(fired, [watched.written[0].0]);
}

fn replayed(outcome: &Outcome) -> Vec<(WatchEventKind, &str)> {
    let Ok(Reply::Watching { replayed, gap: false }) = outcome else { panic!("{outcome:?}") };
    replayed.iter().map(|event| (event.kind, event.path.as_str())).collect()
}

#[test]
fn nobody_hears_live_or_later_of_a_znode_that_he_may_not_read() {
    let mut watched = Watched::on(Cluster::unjudged(660, 3), "/", RECURSIVE);
    let (writer, watcher) = (watched.writer, watched.watcher);
    let cluster = &mut watched.cluster;
    let own = AclEntry {
        permissions: Permissions::ALL,
        scheme: "x509".into(),
        id: format!("client-{writer}"),
    };
    let leader = cluster.await_leader();
    let before = WatchPosition::from(cluster.replica(leader).applied());
    let secret = Operation::Create {
        path: path("/secret"),
        data: "hidden".into(),
        mode: CreateMode::Persistent,
        acl: Some(vec![own]),
    };
    cluster.ask(writer, secret).unwrap();
    cluster.ask(writer, set("/secret", "still hidden", None)).unwrap();
    cluster.ask(writer, delete("/secret")).unwrap();
    watched.write(1);
    watched.catch_up();
    assert_eq!(watched.seen(), watched.written, "live");
    let cluster = &mut watched.cluster;
    let again = watch("/", RECURSIVE, Some(before));
    let shown = cluster.ask(watcher, again.clone());
    assert_eq!(replayed(&shown), [(WatchEventKind::DataChanged, "/a")]);
    let all = cluster.ask(writer, again);
    let kinds = [WatchEventKind::Created, WatchEventKind::DataChanged, WatchEventKind::Deleted];
    let mut expected = kinds.map(|kind| (kind, "/secret")).to_vec();
    expected.push((WatchEventKind::DataChanged, "/a"));
    assert_eq!(replayed(&all), expected);
}

#[test]
fn a_refused_read_leaves_no_watch() {
    let mut watched = Watched::on(Cluster::unjudged(665, 3), "/nothing", RECURSIVE);
    let (writer, watcher) = (watched.writer, watched.watcher);
    let cluster = &mut watched.cluster;
    let anyone = "world".to_owned();
    let write_only =
        vec![AclEntry { permissions: Permissions::WRITE, scheme: anyone, id: "anyone".into() }];
    let acl = Operation::SetAcl { path: path("/a"), acl: write_only, expected_version: None };
    cluster.ask(writer, acl).unwrap();
    let refused = cluster.ask(watcher, Operation::Exists { path: path("/a"), watch: true });
    assert_eq!(code(&refused), Some(ErrorCode::NotAllowed));
    let Ok(Reply::Status(status)) = cluster.ask(watcher, Operation::Status) else { panic!() };
    assert_eq!(status.watches, 1);
}

#[test]
fn a_server_that_is_behind_catches_up_before_it_watches_from_there() {
    let mut watched = Watched::new(670, Limits::TESTED, "/a", RECURSIVE);
    let (_, other, behind) = watched.cluster.leader_and_followers();
    let reader = watched.cluster.add_served_client(Some(behind), 20_000);
    watched.cluster.send_client_to(watched.writer, other);
    watched.cluster.partition(&[behind]);
    watched.write(3);
    let (seen, _) = watched.written[1];
    let asked = watched.cluster.request(reader, watch("/a", RECURSIVE, Some(seen.into())));
    watched.cluster.run_for(50);
    assert!(watched.cluster.waits(asked), "answered from an older state");
    watched.cluster.heal();
    let outcome = watched.cluster.answer(asked);
    assert_eq!(replayed(&outcome), [(WatchEventKind::DataChanged, "/a")]);
    let never = watch("/a", RECURSIVE, Some(Zxid(1_000_000).into()));
    assert_eq!(code(&watched.cluster.ask(reader, never)), Some(ErrorCode::BadArguments));
}

/// A call that was parked before the break is answered by what comes after writes that the watches
/// have not told yet, while they are being resumed: the answer must wait for their events.
///
/// Catches the planted bug `answer-before-resumption`.
#[test]
fn an_answer_that_comes_while_watches_are_resumed_waits_for_their_events() {
    let held_back = (0..10).filter(|seed| is_answer_held_back(680 + seed)).count();
    assert!(held_back > 3, "only {held_back} seeds brought it about");
}

/// Whether the answer reached the client before its watches were resumed.
fn is_answer_held_back(seed: u64) -> bool {
    let mut watched = Watched::new(seed, Limits::TESTED, "/a", RECURSIVE);
    let (writer, watcher) = (watched.writer, watched.watcher);
    let cluster = &mut watched.cluster;
    cluster.mount_lock(writer);
    let held = fence(&cluster.ask(writer, acquire("/locks/a")));
    let waiting = cluster.request(watcher, acquire("/locks/a"));
    cluster.await_parked(waiting);
    let server = cluster.follower();
    cluster.move_with_slow_requests(watcher, server);
    cluster.request(writer, set("/a", "new", None));
    let released = cluster.request(writer, release("/locks/a", held));
    assert_eq!(cluster.settled(released).err(), None);
    let newest = cluster.history.newest();
    cluster.run_until("the server knows", |world| world.replica(server).applied() >= newest);
    cluster.run_for(5);
    let held_back = cluster.waits(waiting);
    cluster.run_until("the call is answered", |world| {
        let answered = world.history.operation(waiting).ended.is_some();
        let told = world.clients[watcher].notified.iter().map(|event| event.kind);
        assert!(!answered || told.eq([WatchEventKind::DataChanged]), "seed {seed}");
        answered
    });
    held_back
}
