//! Three servers do what they are for.

use crate::words::{call, code, data, get, persistent, set, token};
use crate::world::World;
use quorate_types::request::{CreateMode, MultiOperation, WatchEventKind, WatchMode};
use quorate_types::{ErrorCode, Operation, Reply, ServerId};

fn new_world(seed: u64) -> (World, usize, usize) {
    let mut world = World::new(seed, 3);
    let leader = world.await_leader();
    let follower = world.follower();
    let at_leader = world.add_client(Some(leader), 1_000);
    let at_follower = world.add_client(Some(follower), 1_000);
    world.await_established(at_leader);
    world.await_established(at_follower);
    (world, at_leader, at_follower)
}

#[test]
fn clients_of_any_server_read_and_write_the_same_tree() {
    let (mut world, at_leader, at_follower) = new_world(1);
    for (number, path) in [(at_leader, "/a"), (at_follower, "/b")] {
        let created = world.ask(number, persistent(path, "one"));
        assert!(matches!(created, Ok(Reply::Created(..))), "{created:?}");
        assert_eq!(code(&world.ask(number, persistent(path, ""))), Some(ErrorCode::NodeExists));
        assert_eq!(
            code(&world.ask(number, set(path, "two", Some(7)))),
            Some(ErrorCode::BadVersion)
        );
        let Ok(Reply::Stat(stat)) = world.ask(number, set(path, "two", Some(0))) else { panic!() };
        assert_eq!(stat.version, 1);
    }
    for number in [at_leader, at_follower] {
        for path in ["/a", "/b"] {
            assert_eq!(data(&world.ask(number, get(path))), "two");
        }
    }
    let path = |text| crate::words::path(text);
    let multi = |version| Operation::Multi {
        operations: vec![
            MultiOperation::Check { path: path("/a"), expected_version: Some(version) },
            MultiOperation::Delete { path: path("/b"), expected_version: None },
        ],
    };
    assert!(world.ask(at_follower, multi(0)).is_err());
    assert!(world.ask(at_follower, multi(1)).is_ok());
    assert_eq!(code(&world.ask(at_leader, get("/b"))), Some(ErrorCode::NoNode));
    world.await_level();
    assert_eq!(world.journal.alarms, []);
}

#[test]
fn a_watch_tells_before_the_reply_that_shows_the_change() {
    let (mut world, at_leader, at_follower) = new_world(2);
    let (path, mode) = (crate::words::path("/w"), WatchMode::PersistentRecursive);
    let watch = Operation::AddWatch { path, mode, since: None, values: false };
    assert_eq!(world.ask(at_follower, watch), Ok(Reply::Done));
    world.ask(at_leader, persistent("/w", "")).unwrap();
    world.ask(at_leader, set("/w", "new", None)).unwrap();
    assert_eq!(data(&world.ask(at_follower, get("/w"))), "new");
    let seen: Vec<_> = world.clients[at_follower].watched.iter().map(|event| event.kind).collect();
    assert_eq!(seen, [WatchEventKind::Created, WatchEventKind::DataChanged]);
}

#[test]
fn a_lock_passes_on_by_release_and_by_the_end_of_a_session() {
    let (mut world, at_leader, at_follower) = new_world(3);
    world.mount_lock(at_leader);
    let third = world.add_client(None, 400);
    world.await_established(third);
    let first = token(&world.ask(at_leader, call("/locks/a", "acquire")));
    let waiting = world.request(third, call("/locks/a", "acquire"));
    world.run_until("the call is parked", |world| world.clients[third].pending[&waiting].parked);
    let last = world.request(at_follower, call("/locks/a", "acquire"));
    world.run_until("the call is parked", |world| world.clients[at_follower].pending[&last].parked);
    assert!(world.ask(at_leader, call("/locks/a", "release")).is_ok());
    let second = token(&world.answer(third, waiting));
    assert!(second > first);
    let shown = world.ask(at_follower, call("/locks/a", "holder"));
    assert_eq!(token(&shown), second, "a query on a follower");
    world.clients[third].silent = true;
    let third_token = token(&world.answer(at_follower, last));
    assert!(third_token > second);
    assert!(world.ask(at_follower, call("/locks/a", "release")).is_ok());
    world.await_level();
    for id in 1..=3 {
        assert_eq!(world.replica(id).machine().ticket_count(), 0);
        let object = crate::words::path("/locks/a");
        assert!(!world.tree(id).contains_key(&object), "an idle object is reaped");
    }
    assert_eq!(world.journal.alarms, []);
}

#[test]
fn leadership_moves_where_it_is_asked_to() {
    let (mut world, _, at_follower) = new_world(4);
    let before = world.leader().unwrap();
    let to = world.follower();
    let transfer = Operation::TransferLeader { to: Some(ServerId(to)) };
    assert_eq!(world.ask(at_follower, transfer), Ok(Reply::Done));
    world.run_until("the other leads", |world| world.leader() == Some(to));
    assert_ne!(before, to);
    assert!(world.ask(at_follower, persistent("/after", "")).is_ok());
}

#[test]
fn restarting_every_server_one_by_one_keeps_everything() {
    let (mut world, _, _) = new_world(5);
    let client = world.add_client(None, 2_000);
    world.await_established(client);
    world.mount_lock(client);
    let held = token(&world.ask(client, call("/locks/a", "acquire")));
    let ephemeral = crate::words::create("/mine", "", CreateMode::Ephemeral);
    world.ask(client, ephemeral).unwrap();
    for id in 1..=3 {
        world.ask_until_settled(client, &persistent(&format!("/z{id}"), "kept")).unwrap();
        world.restart(id);
        world.await_level();
        world.await_leader();
    }
    for path in ["/z1", "/z2", "/z3"] {
        assert_eq!(data(&world.ask(client, get(path))), "kept");
    }
    assert!(world.ask(client, get("/mine")).is_ok());
    assert_eq!(token(&world.ask_until_settled(client, &call("/locks/a", "holder"))), held);
    assert_eq!(world.clients[client].sessions_lost, 0);
    world.await_level();
    let digests: Vec<u64> = (1..=3).map(|id| world.replica(id).machine().digest()).collect();
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
    assert_eq!(world.journal.alarms, []);
}

#[test]
fn a_server_that_is_asked_to_stop_hands_over_first() {
    let (mut world, at_leader, at_follower) = new_world(6);
    let before = world.leader().unwrap();
    world.input(before, quorate_replica::Input::Shutdown);
    world.run_until("another leads", |world| world.leader().is_some_and(|id| id != before));
    assert!(world.ask(at_follower, persistent("/after", "")).is_ok());
    assert!(!world.clients[at_leader].is_established());
}
