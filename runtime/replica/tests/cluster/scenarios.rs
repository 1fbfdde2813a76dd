//! One trouble each, told step by step.

use crate::words::{call, children, code, create, data, get, path, persistent, set, token};
use crate::world::World;
use quorate_faulty_disk::Crash;
use quorate_raft::{Index, Role};
use quorate_storage::snapshot;
use quorate_types::limits::Limits;
use quorate_types::request::CreateMode;
use quorate_types::{ErrorCode, Operation, Reply};

/// A cluster of three with one client that connects anywhere.
fn cluster(seed: u64) -> (World, usize) {
    cluster_with(seed, Limits::TESTED)
}

fn cluster_with(seed: u64, limits: Limits) -> (World, usize) {
    let mut world = World::with_limits(seed, 3, limits);
    world.await_leader();
    let client = world.add_client(None, 2_000);
    world.await_established(client);
    (world, client)
}

fn followers(world: &mut World) -> (u64, u64, u64) {
    let leader = world.await_leader();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    (leader, others[0], others[1])
}

fn assert_equal_digests(world: &mut World) {
    world.await_level();
    let digests: Vec<u64> = (1..=3).map(|id| world.replica(id).machine().digest()).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:x?}");
}

#[test]
fn a_torn_last_frame_is_no_damage() {
    for seed in 0..20 {
        let (mut world, client) = cluster(seed);
        let (leader, follower, _) = followers(&mut world);
        world.ask(client, persistent("/kept", "kept")).unwrap();
        for number in 0..6 {
            world.request(client, persistent(&format!("/n{number}"), "x".repeat(300)));
        }
        let ms = 2 + world.choices.below(6);
        world.run_for(ms);
        for id in [leader, follower] {
            world.crash(id, Crash::KeepPrefix);
            world.start(id);
            assert!(!world.replica(id).raft().is_refetching(), "seed {seed}");
        }
        let last = world.ask(client, get("/n5"));
        assert!(last.is_ok(), "seed {seed}: {last:?}");
        assert_eq!(data(&world.ask(client, get("/kept"))), "kept");
        assert_equal_digests(&mut world);
        assert_eq!(world.journal.alarms, [], "seed {seed}");
    }
}

/// Flips one byte of what a stopped server keeps in its log.
fn flip(world: &mut World, id: u64, needle: &[u8]) {
    let server = world.servers.get_mut(&id).unwrap();
    let files = server.disk.files();
    let found =
        files.iter().filter(|(name, _)| name.starts_with("segment")).find_map(|(name, bytes)| {
            let place = bytes.windows(needle.len()).position(|window| window == needle)?;
            Some((name.clone(), place))
        });
    let (name, place) = found.expect("the log holds it");
    server.disk.spoil(&name, |bytes| bytes[place] ^= 0x10);
}

#[test]
fn a_server_whose_log_was_spoilt_neither_serves_nor_votes_until_it_has_it_again() {
    let (mut world, client) = cluster(11);
    for number in 0..8 {
        world.ask(client, persistent(&format!("/n{number}"), format!("needle-{number}"))).unwrap();
    }
    world.await_level();
    world.run_for(100);
    let (leader, sound, spoilt) = followers(&mut world);
    world.crash(spoilt, Crash::Kill);
    flip(&mut world, spoilt, b"needle-3");
    world.partition(&[leader]);
    world.start(spoilt);
    let there = world.add_client(Some(spoilt), 2_000);
    assert!(world.replica(spoilt).raft().is_refetching());
    assert!(!world.journal.alarms.is_empty(), "the operator is told");
    for _ in 0..300 {
        world.run_for(10);
        assert!(world.replica(spoilt).raft().is_refetching());
        assert_ne!(world.replica(sound).raft().role(), Role::Leader, "a lost log elected a leader");
        assert!(!world.clients[there].is_established());
    }
    world.heal();
    world
        .run_until("the log is whole again", |world| !world.replica(spoilt).raft().is_refetching());
    world.await_established(there);
    assert_eq!(data(&world.ask(there, get("/n3"))), "needle-3");
    assert_equal_digests(&mut world);
    // It counts again: with it, the leader can go.
    world.crash(leader, Crash::LoseUnsynced);
    assert!(world.ask(there, persistent("/after", "")).is_ok());
    world.restart(spoilt);
    assert!(!world.replica(spoilt).raft().is_refetching(), "the mark of damage is gone");
}

/// Small snapshots, and nothing of the log kept behind them.
fn snapshot_limits() -> Limits {
    Limits { snapshot_log_bytes: 3_000, log_bytes_behind_snapshot: 0, ..Limits::TESTED }
}

#[test]
fn a_server_that_lags_behind_the_log_gets_a_snapshot() {
    let (mut world, client) = cluster_with(12, snapshot_limits());
    world.mount_lock(client);
    world.ask(client, persistent("/a", "")).unwrap();
    let (_, _, lagging) = followers(&mut world);
    world.clients[client].only = (1..=3).find(|id| *id != lagging);
    world.drop_client_connection(client, Some(0));
    world.await_established(client);
    world.partition(&[lagging]);
    let at = world.replica(lagging).raft().last_index();
    let held = token(&world.ask(client, call("/locks/a", "acquire")));
    for number in 0..60 {
        world.ask(client, set("/a", format!("{number}-{}", "x".repeat(200)), None)).unwrap();
    }
    let leader = world.await_leader();
    assert!(world.replica(leader).raft().first_index() > Index(at.0 + 1), "the log was compacted");
    world.heal();
    assert_equal_digests(&mut world);
    assert!(world.snapshots_sent > 0);
    let there = world.add_client(Some(lagging), 2_000);
    world.await_established(there);
    assert!(data(&world.ask(there, get("/a"))).starts_with(b"59-"));
    assert_eq!(token(&world.ask_until_settled(there, &call("/locks/a", "holder"))), held);
    world.restart(lagging);
    assert_equal_digests(&mut world);
    assert_eq!(world.journal.alarms, []);
}

#[test]
fn a_server_whose_snapshot_was_spoilt_fetches_everything_again() {
    let (mut world, client) = cluster_with(13, snapshot_limits());
    world.ask(client, persistent("/a", "")).unwrap();
    for number in 0..60 {
        world.ask(client, set("/a", format!("{number}-{}", "x".repeat(200)), None)).unwrap();
    }
    world.run_for(200);
    let (leader, sound, spoilt) = followers(&mut world);
    world.crash(spoilt, Crash::Kill);
    let server = world.servers.get_mut(&spoilt).unwrap();
    let is_snapshot = |name: &&String| snapshot::parse_file_name(name).is_some();
    let name = server.disk.files().keys().find(is_snapshot).unwrap().clone();
    server.disk.spoil(&name, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    world.partition(&[leader]);
    world.start(spoilt);
    assert!(world.replica(spoilt).raft().is_refetching());
    world.run_for(1_500);
    assert_ne!(world.replica(sound).raft().role(), Role::Leader);
    // Once more, before anything is back.
    world.crash(spoilt, Crash::Kill);
    world.start(spoilt);
    assert!(world.replica(spoilt).raft().is_refetching());
    world.heal();
    world.run_until("everything is back", |world| !world.replica(spoilt).raft().is_refetching());
    assert_equal_digests(&mut world);
    world.restart(spoilt);
    assert_equal_digests(&mut world);
}

#[test]
fn what_a_crash_left_of_unmarked_snapshots_is_removed() {
    let (mut world, client) = cluster_with(14, snapshot_limits());
    world.delays.snapshot = 40;
    world.ask(client, persistent("/a", "")).unwrap();
    for number in 0..120 {
        world.ask(client, set("/a", format!("{number}-{}", "x".repeat(200)), None)).unwrap();
        if number % 10 == 0 {
            let id = 1 + number % 3;
            world.crash(id, Crash::KeepUnsynced);
            world.start(id);
        }
    }
    world.run_for(300);
    for server in world.servers.values() {
        let files = server.disk.files();
        let kept: Vec<_> = files.keys().filter(|name| name.contains("snapshot")).collect();
        assert!(kept.len() <= 1, "server {} keeps {kept:?}", server.id);
    }
    assert_equal_digests(&mut world);
}

/// The index of the snapshot that the server's disk holds, and its file.
fn snapshot_on_disk(world: &World, id: u64) -> Option<(Index, String)> {
    let files = world.servers[&id].disk.files();
    let mut found =
        files.into_keys().filter_map(|name| Some((snapshot::parse_file_name(&name)?.1, name)));
    found.next_back()
}

#[test]
fn a_snapshot_saved_again_outlives_the_removal_of_its_unmarked_forerunner() {
    let met = (0..20).filter(|seed| save_a_snapshot_again(*seed)).count();
    assert!(met > 3, "only {met} seeds brought it about");
}

/// Whether a server met again, with its removal still to come, a snapshot that had no mark.
fn save_a_snapshot_again(seed: u64) -> bool {
    let (mut world, client) = cluster_with(seed, snapshot_limits());
    world.ask(client, persistent("/a", "")).unwrap();
    let (_, id, _) = followers(&mut world);
    world.delays.snapshot = 1;
    world.delays.disk = 100;
    while snapshot_on_disk(&world, id).is_none() {
        world.ask(client, set("/a", "x".repeat(200), None)).unwrap();
        world.await_level();
        world.run_for(2);
    }
    let (index, file) = snapshot_on_disk(&world, id).expect("the loop ended with it");
    // Nothing more is written, so the next snapshot is of the same index.
    world.crash(id, Crash::LoseUnsynced);
    world.delays.disk = 400;
    world.start(id);
    let is_marked = world.replica(id).raft().snapshot().index == index;
    world.run_until("all is applied", |world| world.replica(id).applied().0 >= index.0);
    world.run_for(5);
    let holds = |world: &World, file: &str| world.servers[&id].disk.files().contains_key(file);
    if is_marked || world.replica(id).applied().0 > index.0 || !holds(&world, &file) {
        return false;
    }
    world.delays.disk = 3;
    world.run_for(500);
    while world.replica(id).raft().snapshot().index < index {
        world.ask(client, set("/a", "more", None)).unwrap();
        world.await_level();
        world.run_for(20);
        assert!(world.replica(id).applied().0 < index.0 + 60, "no snapshot is taken any more");
    }
    world.run_for(100);
    let marked = world.replica(id).raft().snapshot().clone();
    assert!(holds(&world, &snapshot::file_name(&marked)), "seed {seed}: the mark is of no file");
    world.partition(&[id]);
    world.restart(id);
    assert!(!world.replica(id).raft().is_refetching(), "seed {seed}");
    assert_eq!(world.replica(id).raft().snapshot(), &marked, "without anybody's help");
    assert!(world.tree(id).contains_key(&path("/a")));
    world.heal();
    assert_equal_digests(&mut world);
    assert_eq!(world.journal.alarms, []);
    true
}

#[test]
fn an_emptied_disk_under_an_old_id_is_refused() {
    let (mut world, client) = cluster(15);
    world.ask(client, persistent("/a", "")).unwrap();
    world.await_level();
    world.run_for(100);
    let (_, other, wiped) = followers(&mut world);
    world.crash(wiped, Crash::LoseUnsynced);
    world.servers.get_mut(&wiped).unwrap().wipe();
    world.start(wiped);
    world.run_for(500);
    assert_eq!(world.replica(wiped).applied().0, 0, "it is told nothing");
    let told = |id: u64| {
        let mut of_server = world.journal.alarms.iter().filter(|(server, _)| *server == id);
        of_server.any(|(_, text)| text.contains("another data directory"))
    };
    assert!((1..=3).filter(|id| *id != wiped).all(told), "{:?}", world.journal.alarms);
    world.crash(other, Crash::Kill);
    world.run_for(1_500);
    assert_eq!(world.leader(), None, "an emptied disk helped to lead");
    world.start(other);
    assert!(world.ask(client, persistent("/b", "")).is_ok());
}

#[test]
fn an_emptied_disk_does_not_vote_while_nothing_is_applied_yet() {
    let (mut world, client) = cluster(16);
    world.ask(client, persistent("/a", "")).unwrap();
    world.await_level();
    for id in 1..=3 {
        world.crash(id, Crash::LoseUnsynced);
    }
    world.servers.get_mut(&3).unwrap().wipe();
    world.start(1);
    world.start(3);
    for _ in 0..2_000 {
        world.run_for(1);
        assert_ne!(
            world.replica(1).raft().role(),
            Role::Leader,
            "an emptied disk elected a leader"
        );
    }
    world.start(2);
    assert!(world.ask(client, get("/a")).is_ok());
}

#[test]
fn a_leader_that_stands_still_expires_nobody_who_goes_on() {
    let (mut world, _) = cluster(17);
    let clients: Vec<usize> = (0..6).map(|_| world.add_client(None, 500)).collect();
    clients.iter().for_each(|client| world.await_established(*client));
    for round in 0..4 {
        let leader = world.await_leader();
        let ms = [300, 700, 1_500, 3_000][round];
        // Who is cut short goes on elsewhere, and does not try the one that stands still again.
        for client in &clients {
            world.clients[*client].only = Some(1 + leader % 3);
        }
        world.pause(leader, ms);
        world.run_for(ms + 1_500);
    }
    for client in clients {
        assert_eq!(world.clients[client].sessions_lost, 0, "client {client}");
        assert!(world.clients[client].is_established());
    }
}

#[test]
fn a_cluster_that_stands_still_as_a_whole_expires_nobody() {
    let (mut world, _) = cluster(18);
    let clients: Vec<usize> = (0..4).map(|_| world.add_client(None, 1_000)).collect();
    clients.iter().for_each(|client| world.await_established(*client));
    for id in 1..=3 {
        world.pause(id, 5_000);
    }
    world.run_for(8_000);
    for client in clients {
        assert_eq!(world.clients[client].sessions_lost, 0, "client {client}");
    }
}

#[test]
fn a_silent_session_ends_with_its_ephemerals_and_one_that_speaks_does_not() {
    let (mut world, speaks) = cluster(19);
    let silent = world.add_client(None, 600);
    world.await_established(silent);
    for (number, at) in [(speaks, "/speaks"), (silent, "/silent")] {
        world.ask(number, create(at, "", CreateMode::Ephemeral)).unwrap();
    }
    world.clients[silent].silent = true;
    let began_ms = world.now_ms;
    let ended = |world: &mut World| code(&world.ask(speaks, get("/silent"))).is_some();
    while !ended(&mut world) {
        world.run_for(20);
    }
    let took_ms = world.now_ms - began_ms;
    assert!((400..=1_000).contains(&took_ms), "{took_ms} ms for a timeout of 600");
    assert!(world.ask(speaks, get("/speaks")).is_ok());
}

#[test]
fn a_request_brought_again_through_another_server_is_done_once_and_answered_the_same() {
    let (mut world, _) = cluster(20);
    let (leader, first, second) = followers(&mut world);
    let client = world.add_client(Some(first), 2_000);
    world.await_established(client);
    world.ask(client, persistent("/seq", "")).unwrap();
    let made = create("/seq/n-", "once", CreateMode::PersistentSequential);
    let before = world.replica(leader).applied();
    let sequence = world.request(client, made);
    world.run_until("it is applied", |world| world.replica(leader).applied() > before);
    let applied = world.replica(leader).applied();
    assert!(world.clients[client].pending.contains_key(&sequence), "not answered yet");
    world.clients[client].only = Some(second);
    world.drop_client_connection(client, Some(50));
    let answer = world.answer(client, sequence);
    let Ok(Reply::Created(at, stat)) = answer else { panic!("{answer:?}") };
    assert_eq!((at, stat.czxid), (path("/seq/n-0000000000"), applied));
    let listed = world.ask(client, children("/seq", None));
    let Ok(Reply::Children(names, _, _)) = listed else { panic!("{listed:?}") };
    assert_eq!(names.len(), 1);
}

#[test]
fn a_parked_call_outlives_its_leader_and_its_connection() {
    let (mut world, holder) = cluster(21);
    world.mount_lock(holder);
    let waiter = world.add_client(None, 2_000);
    world.await_established(waiter);
    let held = token(&world.ask(holder, call("/locks/a", "acquire")));
    let waiting = world.request(waiter, call("/locks/a", "acquire"));
    world.run_until("it is parked", |world| world.clients[waiter].pending[&waiting].parked);
    for _ in 0..3 {
        let leader = world.await_leader();
        world.crash(leader, Crash::LoseUnsynced);
        world.drop_client_connection(waiter, Some(10));
        world.await_leader();
        world.start(leader);
        world.run_for(300);
        assert!(world.clients[waiter].pending.contains_key(&waiting));
    }
    world.ask_until_settled(holder, &call("/locks/a", "release")).unwrap();
    assert!(token(&world.answer(waiter, waiting)) > held);
    assert_eq!(world.clients[waiter].sessions_lost, 0);
}

#[test]
fn a_refusal_that_rests_on_an_uncommitted_change_waits_for_it() {
    let (mut world, _) = cluster(22);
    let (leader, ..) = followers(&mut world);
    let [first, second] = [0, 1].map(|_| world.add_client(Some(leader), 2_000));
    world.await_established(first);
    world.await_established(second);
    world.partition(&[leader]);
    let made = world.request(first, persistent("/x", "first"));
    world.run_for(10);
    let refused = world.request(second, persistent("/x", "second"));
    world.run_for(50);
    assert_eq!(world.replica(leader).raft().role(), Role::Leader);
    assert!(world.clients[second].pending.contains_key(&refused), "told before it was true");
    world.heal();
    assert!(world.answer(first, made).is_ok());
    assert_eq!(code(&world.answer(second, refused)), Some(ErrorCode::NodeExists));
}

#[test]
fn a_refusal_that_rests_on_a_change_that_was_lost_is_never_told() {
    for seed in 0..10 {
        let (mut world, _) = cluster(seed);
        let (leader, ..) = followers(&mut world);
        let [first, second] = [0, 1].map(|_| world.add_client(Some(leader), 2_000));
        world.await_established(first);
        world.await_established(second);
        world.partition(&[leader]);
        let made = world.request(first, persistent("/x", "first"));
        world.run_for(10);
        let refused = world.request(second, persistent("/x", "second"));
        world.run_for(50);
        world.crash(leader, Crash::LoseUnsynced);
        world.clients[second].only = None;
        let won = world.answer(second, refused);
        assert!(won.is_ok(), "seed {seed}: {won:?}");
        world.start(leader);
        world.heal();
        assert_eq!(code(&world.answer(first, made)), Some(ErrorCode::NodeExists), "seed {seed}");
    }
}

#[test]
fn handing_leadership_over_refuses_no_request() {
    for seed in 0..20 {
        let (mut world, client) = cluster(seed);
        world.ask(client, persistent("/a", "")).unwrap();
        let mover = world.add_client(None, 2_000);
        world.await_established(mover);
        let mut asked = Vec::new();
        for number in 0..40 {
            if number % 10 == 5 {
                world.request(mover, Operation::TransferLeader { to: None });
            }
            asked.push(world.request(client, set("/a", format!("{number}"), Some(number))));
            let ms = world.choices.below(4);
            world.run_for(ms);
            world.run_until("there is room", |world| world.clients[client].pending.len() < 14);
        }
        for (number, sequence) in asked.into_iter().enumerate() {
            let outcome = world.answer(client, sequence);
            assert!(outcome.is_ok(), "seed {seed}, write {number}: {outcome:?}");
        }
    }
}
