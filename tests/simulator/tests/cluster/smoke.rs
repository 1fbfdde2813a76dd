//! Three servers do what they are for.

use crate::cluster::{Cluster, has_znode};
use crate::words::{acquire, code, create, data, fence, get, holder, persistent, release, set};
use quorate_simulator::work::path;
use quorate_types::request::{CreateMode, MultiOperation, WatchEventKind, WatchMode};
use quorate_types::{ErrorCode, Operation, Reply, ServerId};

/// A cluster with a client at its leader and one at a follower.
fn cluster(seed: u64) -> (Cluster, usize, usize) {
    let mut cluster = Cluster::new(seed, 3);
    let leader = cluster.await_leader();
    let follower = cluster.follower();
    let at_leader = cluster.add_served_client(Some(leader), 1_000);
    let at_follower = cluster.add_served_client(Some(follower), 1_000);
    (cluster, at_leader, at_follower)
}

#[test]
fn clients_of_any_server_read_and_write_the_same_tree() {
    let (mut cluster, at_leader, at_follower) = cluster(1);
    for (number, at) in [(at_leader, "/a"), (at_follower, "/b")] {
        let created = cluster.ask(number, persistent(at, "one"));
        assert!(matches!(created, Ok(Reply::Created(..))), "{created:?}");
        assert_eq!(code(&cluster.ask(number, persistent(at, ""))), Some(ErrorCode::NodeExists));
        assert_eq!(
            code(&cluster.ask(number, set(at, "two", Some(7)))),
            Some(ErrorCode::BadVersion)
        );
        let Ok(Reply::Stat(stat)) = cluster.ask(number, set(at, "two", Some(0))) else { panic!() };
        assert_eq!(stat.version, 1);
    }
    for number in [at_leader, at_follower] {
        for at in ["/a", "/b"] {
            assert_eq!(data(&cluster.ask(number, get(at))), "two");
        }
    }
    let multi = |version| Operation::Multi {
        operations: vec![
            MultiOperation::Check { path: path("/a"), expected_version: Some(version) },
            MultiOperation::Delete { path: path("/b"), expected_version: None },
        ],
    };
    assert!(cluster.ask(at_follower, multi(0)).is_err());
    assert!(cluster.ask(at_follower, multi(1)).is_ok());
    assert_eq!(code(&cluster.ask(at_leader, get("/b"))), Some(ErrorCode::NoNode));
    cluster.await_level();
    assert_eq!(cluster.told_operator(), []);
}

#[test]
fn a_watch_tells_before_the_reply_that_shows_the_change() {
    let (mut cluster, at_leader, at_follower) = cluster(2);
    let (path, mode) = (path("/w"), WatchMode::PersistentRecursive);
    let watch = Operation::AddWatch { path, mode, since: None, values: false };
    assert_eq!(cluster.ask(at_follower, watch), Ok(Reply::Done));
    cluster.ask(at_leader, persistent("/w", "")).unwrap();
    cluster.ask(at_leader, set("/w", "new", None)).unwrap();
    assert_eq!(data(&cluster.ask(at_follower, get("/w"))), "new");
    let seen: Vec<_> =
        cluster.client(at_follower).notified.iter().map(|event| event.kind).collect();
    assert_eq!(seen, [WatchEventKind::Created, WatchEventKind::DataChanged]);
}

#[test]
fn a_lock_passes_on_by_release_and_by_the_end_of_a_session() {
    let (mut cluster, at_leader, at_follower) = cluster(3);
    cluster.mount_lock(at_leader);
    let third = cluster.add_served_client(None, 400);
    let first = fence(&cluster.ask(at_leader, acquire("/locks/a")));
    let waiting = cluster.request(third, acquire("/locks/a"));
    cluster.await_parked(waiting);
    let last = cluster.request(at_follower, acquire("/locks/a"));
    cluster.await_parked(last);
    assert!(cluster.ask(at_leader, release("/locks/a", first)).is_ok());
    let second = fence(&cluster.answer(waiting));
    assert!(second > first);
    let shown = cluster.ask(at_follower, holder("/locks/a"));
    assert_eq!(fence(&shown), second, "a query on a follower");
    cluster.silence_client(third, 60_000);
    let third_fence = fence(&cluster.answer(last));
    assert!(third_fence > second);
    assert!(cluster.ask(at_follower, release("/locks/a", third_fence)).is_ok());
    cluster.await_level();
    for id in 1..=3 {
        assert_eq!(cluster.replica(id).machine().ticket_count(), 0);
        assert!(!has_znode(&cluster, id, "/locks/a"), "an idle object is reaped");
    }
    assert_eq!(cluster.told_operator(), []);
}

#[test]
fn leadership_moves_where_it_is_asked_to() {
    let (mut cluster, _, at_follower) = cluster(4);
    let before = cluster.leader().unwrap();
    let to = cluster.follower();
    let transfer = Operation::TransferLeader { to: Some(ServerId(to)) };
    assert_eq!(cluster.ask(at_follower, transfer), Ok(Reply::Done));
    cluster.run_until("the other leads", |world| world.leader() == Some(to));
    assert_ne!(before, to);
    assert!(cluster.ask(at_follower, persistent("/after", "")).is_ok());
}

#[test]
fn restarting_every_server_one_by_one_keeps_everything() {
    let (mut cluster, _, _) = cluster(5);
    let client = cluster.add_served_client(None, 2_000);
    cluster.mount_lock(client);
    let held = fence(&cluster.ask(client, acquire("/locks/a")));
    cluster.ask(client, create("/mine", "", CreateMode::Ephemeral)).unwrap();
    for id in 1..=3 {
        cluster.ask_until_settled(client, persistent(&format!("/z{id}"), "kept")).unwrap();
        cluster.restart(id);
        cluster.await_level();
        cluster.await_leader();
    }
    for at in ["/z1", "/z2", "/z3"] {
        assert_eq!(data(&cluster.ask(client, get(at))), "kept");
    }
    assert!(cluster.ask(client, get("/mine")).is_ok());
    assert_eq!(fence(&cluster.ask_until_settled(client, holder("/locks/a"))), held);
    assert_eq!(cluster.client(client).sessions_lost, 0);
    cluster.assert_equal_digests();
    assert_eq!(cluster.told_operator(), []);
}

#[test]
fn a_server_that_is_asked_to_stop_hands_over_first() {
    let (mut cluster, at_leader, at_follower) = cluster(6);
    let before = cluster.leader().unwrap();
    cluster.shut_down(before);
    cluster.run_until("another leads", |world| world.leader().is_some_and(|id| id != before));
    assert!(cluster.ask(at_follower, persistent("/after", "")).is_ok());
    assert!(!cluster.client(at_leader).is_served());
}
