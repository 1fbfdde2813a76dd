//! Watches over breaks: what was acknowledged is told once, in order, or said to be a gap.

use crate::client::Client;
use crate::words::{code, path, persistent, set};
use crate::world::World;
use quorate_raft::Index;
use quorate_types::limits::Limits;
use quorate_types::request::{
    CreateMode, HeldWatch, WatchEvent, WatchEventKind, WatchMode, WatchPosition,
};
use quorate_types::{AclEntry, ErrorCode, Operation, Outcome, Permissions, Reply, Zxid};

const RECURSIVE: WatchMode = WatchMode::PersistentRecursive;

fn held(at: &str, mode: WatchMode) -> HeldWatch {
    HeldWatch { path: path(at), mode, values: true }
}

fn add(watch: &HeldWatch, since: Option<WatchPosition>) -> Operation {
    let HeldWatch { path, mode, values } = watch.clone();
    Operation::AddWatch { path, mode, since, values }
}

/// A cluster with a client that writes and one that holds a watch; `/a` is there.
struct Watched {
    world: World,
    writer: usize,
    watcher: usize,
    /// What was acknowledged since the watch was set: zxid and value.
    written: Vec<(Zxid, String)>,
}

impl Watched {
    fn new(seed: u64, limits: Limits, watch: &HeldWatch) -> Watched {
        let mut world = World::with_limits(seed, 3, limits);
        world.await_leader();
        let writer = world.add_client(None, 20_000);
        let watcher = world.add_client(None, 20_000);
        world.await_established(writer);
        world.await_established(watcher);
        world.ask(writer, persistent("/a", "")).unwrap();
        // "From now on" is from what the watcher's server has applied.
        world.await_level();
        assert_eq!(world.ask(watcher, add(watch, None)), Ok(Reply::Done));
        world.clients[watcher].held.push(watch.clone());
        Watched { world, writer, watcher, written: Vec::new() }
    }

    fn watcher(&self) -> &Client {
        &self.world.clients[self.watcher]
    }

    fn write(&mut self, times: usize) {
        for _ in 0..times {
            let value = format!("{}-{}", self.written.len(), "x".repeat(200));
            let outcome =
                self.world.ask_until_settled(self.writer, &set("/a", value.clone(), None));
            let Ok(Reply::Stat(stat)) = outcome else { panic!("{outcome:?}") };
            self.written.push((stat.mzxid, value));
        }
    }

    /// The watcher is connected and knows everything that was written.
    fn catch_up(&mut self) {
        let newest = self.written.last().expect("something was written").0;
        self.world.run_until("the watcher has caught up", |world| {
            world.clients[1].is_established() && world.clients[1].told().zxid >= newest
        });
    }

    fn seen(&self) -> Vec<(Zxid, String)> {
        let seen = |event: &WatchEvent| {
            let data = event.data.as_ref().expect("the watch asked for values").to_vec();
            (event.zxid, String::from_utf8(data).expect("values are text"))
        };
        self.watcher().watched.iter().map(seen).collect()
    }

    /// Moves the watcher to a server, which need not be ready for it.
    fn send_watcher_to(&mut self, server: u64) {
        self.world.clients[self.watcher].only = Some(server);
        self.world.drop_client_connection(self.watcher, Some(0));
    }
}

#[test]
fn a_watch_that_moves_from_server_to_server_during_writes_tells_each_write_once() {
    for seed in 0..30 {
        let mut watched = Watched::new(600 + seed, Limits::TESTED, &held("/", RECURSIVE));
        for _ in 0..40 {
            let writes = watched.world.choices.below(3) as usize;
            watched.write(writes);
            match watched.world.choices.below(4) {
                0 => {
                    let server = 1 + watched.world.choices.below(3);
                    watched.send_watcher_to(server);
                }
                // The server does not hear that the connection is gone, or late.
                1 => {
                    let watcher = watched.watcher;
                    watched.world.drop_client_connection(watcher, None);
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
    let mut watched = Watched::new(620, Limits::TESTED, &held("/a", WatchMode::Persistent));
    for server in 1..=3 {
        watched.send_watcher_to(server);
        watched.world.await_established(1);
        watched.write(3);
        watched.world.restart(server);
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
    let mut watched = Watched::new(630, small_snapshots(), &held("/a", RECURSIVE));
    let lagging = watched.world.follower();
    watched.world.clients[watched.writer].only = (1..=3).find(|id| *id != lagging);
    watched.world.drop_client_connection(watched.writer, Some(0));
    watched.world.partition(&[lagging]);
    let at = watched.world.replica(lagging).raft().last_index();
    watched.send_watcher_to(lagging);
    watched.write(60);
    let leader = watched.world.await_leader();
    let first = watched.world.replica(leader).raft().first_index();
    assert!(first > Index(at.0 + 1), "the log was compacted");
    watched.world.heal();
    watched.catch_up();
    assert_eq!((watched.seen(), watched.watcher().gaps), (vec![], 1));
    watched.write(3);
    watched.catch_up();
    assert_eq!(watched.seen(), watched.written[60..]);
    assert_eq!(watched.watcher().gaps, 1);
}

#[test]
fn a_server_that_starts_from_a_snapshot_knows_nothing_of_what_was_before() {
    let mut watched = Watched::new(635, small_snapshots(), &held("/a", RECURSIVE));
    watched.world.drop_client_connection(watched.watcher, Some(0));
    watched.world.clients[watched.watcher].retry_at_ms = u64::MAX;
    watched.write(40);
    let server = watched.world.follower();
    watched.world.await_level();
    // What the disk was given last is there when the server starts again.
    watched.world.run_for(200);
    watched.world.restart(server);
    watched.world.clients[watched.watcher].only = Some(server);
    watched.world.clients[watched.watcher].retry_at_ms = 0;
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
        let mut watched = Watched::new(640, limits, &held("/a", RECURSIVE));
        watched.world.drop_client_connection(watched.watcher, Some(0));
        watched.world.clients[watched.watcher].retry_at_ms = u64::MAX;
        watched.write(missed);
        watched.world.clients[watched.watcher].retry_at_ms = 0;
        watched.catch_up();
        let known = if gaps == 0 { watched.written.clone() } else { vec![] };
        assert_eq!((watched.seen(), watched.watcher().gaps), (known, gaps));
    }
}

#[test]
fn a_one_shot_watch_fires_once_however_often_the_connection_breaks() {
    let mut watched = Watched::new(650, Limits::TESTED, &held("/a", WatchMode::OneShotData));
    watched.world.drop_client_connection(watched.watcher, Some(0));
    watched.world.clients[watched.watcher].retry_at_ms = u64::MAX;
    watched.write(3);
    watched.world.clients[watched.watcher].retry_at_ms = 0;
    watched.catch_up();
    watched.world.clients[watched.watcher].held.clear();
    watched.write(3);
    watched.catch_up();
    let fired: Vec<Zxid> = watched.watcher().watched.iter().map(|event| event.zxid).collect();
    assert_eq!(fired, [watched.written[0].0]);
}

fn replayed(outcome: &Outcome) -> Vec<(WatchEventKind, &str)> {
    let Ok(Reply::Watching { replayed, gap: false }) = outcome else { panic!("{outcome:?}") };
    replayed.iter().map(|event| (event.kind, event.path.as_str())).collect()
}

#[test]
fn nobody_hears_live_or_later_of_a_znode_that_he_may_not_read() {
    let mut watched = Watched::new(660, Limits::TESTED, &held("/", RECURSIVE));
    let (writer, watcher) = (watched.writer, watched.watcher);
    let world = &mut watched.world;
    let own = AclEntry {
        permissions: Permissions::ALL,
        scheme: "x509".into(),
        id: world.clients[writer].name.clone(),
    };
    let before = world.clients[watcher].told();
    let secret = Operation::Create {
        path: path("/secret"),
        data: "hidden".into(),
        mode: CreateMode::Persistent,
        acl: Some(vec![own]),
    };
    world.ask(writer, secret).unwrap();
    world.ask(writer, set("/secret", "still hidden", None)).unwrap();
    let gone = Operation::Delete { path: path("/secret"), expected_version: None };
    world.ask(writer, gone).unwrap();
    watched.write(1);
    watched.catch_up();
    assert_eq!(watched.seen(), watched.written, "live");
    let world = &mut watched.world;
    let again = add(&held("/", RECURSIVE), Some(before));
    let shown = world.ask(watcher, again.clone());
    assert_eq!(replayed(&shown), [(WatchEventKind::DataChanged, "/a")]);
    let all = world.ask(writer, again);
    let kinds = [WatchEventKind::Created, WatchEventKind::DataChanged, WatchEventKind::Deleted];
    let mut expected = kinds.map(|kind| (kind, "/secret")).to_vec();
    expected.push((WatchEventKind::DataChanged, "/a"));
    assert_eq!(replayed(&all), expected);
}

#[test]
fn a_refused_read_leaves_no_watch() {
    let mut watched = Watched::new(665, Limits::TESTED, &held("/nothing", RECURSIVE));
    let (writer, watcher) = (watched.writer, watched.watcher);
    let world = &mut watched.world;
    let anyone = "world".to_owned();
    let write_only =
        vec![AclEntry { permissions: Permissions::WRITE, scheme: anyone, id: "anyone".into() }];
    let acl = Operation::SetAcl { path: path("/a"), acl: write_only, expected_version: None };
    world.ask(writer, acl).unwrap();
    let refused = world.ask(watcher, Operation::Exists { path: path("/a"), watch: true });
    assert_eq!(code(&refused), Some(ErrorCode::NotAllowed));
    let Ok(Reply::Status(status)) = world.ask(watcher, Operation::Status) else { panic!() };
    assert_eq!(status.watches, 1);
}

#[test]
fn a_server_that_is_behind_catches_up_before_it_watches_from_there() {
    let watch = held("/a", RECURSIVE);
    let mut watched = Watched::new(670, Limits::TESTED, &watch);
    let behind = watched.world.follower();
    let reader = watched.world.add_client(Some(behind), 20_000);
    watched.world.await_established(reader);
    watched.world.clients[watched.writer].only = (1..=3).find(|id| *id != behind);
    watched.world.drop_client_connection(watched.writer, Some(0));
    watched.world.partition(&[behind]);
    watched.write(3);
    let (seen, _) = watched.written[1];
    let sequence = watched.world.request(reader, add(&watch, Some(seen.into())));
    watched.world.run_for(50);
    assert!(watched.world.clients[reader].done.is_empty(), "answered from an older state");
    watched.world.heal();
    let outcome = watched.world.answer(reader, sequence);
    assert_eq!(replayed(&outcome), [(WatchEventKind::DataChanged, "/a")]);
    let never = add(&watch, Some(Zxid(1_000_000).into()));
    assert_eq!(code(&watched.world.ask(reader, never)), Some(ErrorCode::BadArguments));
}
