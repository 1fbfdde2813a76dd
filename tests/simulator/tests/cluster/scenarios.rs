//! One trouble each, told step by step.

use crate::cluster::{Cluster, has_znode};
use crate::words::{
    acquire, children, code, create, data, delete, fence, get, holder, persistent, release, set,
};
use quorate_faulty_disk::Crash;
use quorate_raft::{Index, Role};
use quorate_simulator::work::path;
use quorate_simulator::world::{MessageFaults, World};
use quorate_storage::snapshot;
use quorate_types::limits::Limits;
use quorate_types::request::CreateMode;
use quorate_types::{ErrorCode, Operation, Reply, SessionId};

/// A cluster of three with one client that connects anywhere.
fn cluster(seed: u64) -> (Cluster, usize) {
    cluster_with(seed, Limits::TESTED)
}

fn cluster_with(seed: u64, limits: Limits) -> (Cluster, usize) {
    let mut cluster = Cluster::with_limits(seed, 3, limits);
    cluster.await_leader();
    let client = cluster.add_served_client(None, 2_000);
    (cluster, client)
}

#[test]
fn a_torn_last_frame_is_no_damage() {
    for seed in 0..20 {
        let (mut cluster, client) = cluster(seed);
        let (leader, follower, _) = cluster.leader_and_followers();
        cluster.ask(client, persistent("/kept", "kept")).unwrap();
        for number in 0..6 {
            cluster.request(client, persistent(&format!("/n{number}"), "x".repeat(300)));
        }
        let ms = 2 + cluster.choices.below(6);
        cluster.run_for(ms);
        for id in [leader, follower] {
            cluster.crash(id, Crash::KeepPrefix);
            cluster.start(id);
            assert!(!cluster.replica(id).raft().is_refetching(), "seed {seed}");
        }
        let last = cluster.ask_until_settled(client, get("/n5"));
        assert!(last.is_ok(), "seed {seed}: {last:?}");
        assert_eq!(data(&cluster.ask(client, get("/kept"))), "kept");
        cluster.assert_equal_digests();
        assert_eq!(cluster.told_operator(), [], "seed {seed}");
    }
}

/// Flips one bit of what a stopped server keeps in its log.
fn flip(cluster: &mut Cluster, id: u64, needle: &[u8]) {
    let files = cluster.servers[&id].disk.files();
    let found =
        files.iter().filter(|(name, _)| name.starts_with("segment")).find_map(|(name, bytes)| {
            let place = bytes.windows(needle.len()).position(|window| window == needle)?;
            Some((name.clone(), place))
        });
    let (name, place) = found.expect("the log holds it");
    cluster.spoil(id, &name, |bytes| bytes[place] ^= 0x10);
}

#[test]
fn a_server_whose_log_was_spoilt_neither_serves_nor_votes_until_it_has_it_again() {
    let (mut cluster, client) = cluster(11);
    for number in 0..8 {
        let (at, value) = (format!("/n{number}"), format!("needle-{number}"));
        cluster.ask(client, persistent(&at, value)).unwrap();
    }
    cluster.await_level();
    cluster.run_for(100);
    let (leader, sound, spoilt) = cluster.leader_and_followers();
    cluster.crash(spoilt, Crash::Kill);
    flip(&mut cluster, spoilt, b"needle-3");
    cluster.partition(&[leader]);
    cluster.start(spoilt);
    let there = cluster.add_client(Some(spoilt), 2_000);
    assert!(cluster.replica(spoilt).raft().is_refetching());
    assert!(!cluster.told_operator().is_empty(), "the operator is told");
    for _ in 0..300 {
        cluster.run_for(10);
        assert!(cluster.replica(spoilt).raft().is_refetching());
        let role = cluster.replica(sound).raft().role();
        assert_ne!(role, Role::Leader, "a lost log elected a leader");
        assert!(!cluster.client(there).is_served());
    }
    cluster.heal();
    cluster
        .run_until("the log is whole again", |world| !world.replica(spoilt).raft().is_refetching());
    cluster.await_served(there);
    assert_eq!(data(&cluster.ask(there, get("/n3"))), "needle-3");
    cluster.assert_equal_digests();
    // It counts again: with it, the leader can go.
    cluster.crash(leader, Crash::LoseUnsynced);
    assert!(cluster.ask(there, persistent("/after", "")).is_ok());
    cluster.restart(spoilt);
    assert!(!cluster.replica(spoilt).raft().is_refetching(), "the mark of damage is gone");
}

/// Small snapshots, and nothing of the log kept behind them.
fn snapshot_limits() -> Limits {
    Limits { snapshot_log_bytes: 3_000, log_bytes_behind_snapshot: 0, ..Limits::TESTED }
}

#[test]
fn a_server_that_lags_behind_the_log_gets_a_snapshot() {
    let (mut cluster, client) = cluster_with(12, snapshot_limits());
    cluster.mount_lock(client);
    cluster.ask(client, persistent("/a", "")).unwrap();
    let (_, other, lagging) = cluster.leader_and_followers();
    cluster.send_client_to(client, other);
    cluster.await_served(client);
    cluster.partition(&[lagging]);
    let at = cluster.replica(lagging).raft().last_index();
    let held = fence(&cluster.ask(client, acquire("/locks/a")));
    for number in 0..60 {
        let value = format!("{number}-{}", "x".repeat(200));
        cluster.ask(client, set("/a", value, None)).unwrap();
    }
    let leader = cluster.await_leader();
    let first = cluster.replica(leader).raft().first_index();
    assert!(first > Index(at.0 + 1), "the log was compacted");
    cluster.heal();
    cluster.assert_equal_digests();
    assert!(cluster.counts.snapshots_sent > 0);
    let there = cluster.add_served_client(Some(lagging), 2_000);
    assert!(data(&cluster.ask(there, get("/a"))).starts_with(b"59-"));
    assert_eq!(fence(&cluster.ask_until_settled(there, holder("/locks/a"))), held);
    cluster.restart(lagging);
    cluster.assert_equal_digests();
    assert_eq!(cluster.told_operator(), []);
}

#[test]
fn a_server_whose_snapshot_was_spoilt_fetches_everything_again() {
    let (mut cluster, client) = cluster_with(13, snapshot_limits());
    cluster.ask(client, persistent("/a", "")).unwrap();
    for number in 0..60 {
        let value = format!("{number}-{}", "x".repeat(200));
        cluster.ask(client, set("/a", value, None)).unwrap();
    }
    cluster.run_for(200);
    let (leader, sound, spoilt) = cluster.leader_and_followers();
    cluster.crash(spoilt, Crash::Kill);
    let (_, name) = snapshot_on_disk(&cluster, spoilt).expect("snapshots were taken");
    cluster.spoil(spoilt, &name, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    cluster.partition(&[leader]);
    cluster.start(spoilt);
    assert!(cluster.replica(spoilt).raft().is_refetching());
    cluster.run_for(1_500);
    assert_ne!(cluster.replica(sound).raft().role(), Role::Leader);
    // Once more, before anything is back.
    cluster.crash(spoilt, Crash::Kill);
    cluster.start(spoilt);
    assert!(cluster.replica(spoilt).raft().is_refetching());
    cluster.heal();
    cluster.run_until("everything is back", |world| !world.replica(spoilt).raft().is_refetching());
    cluster.assert_equal_digests();
    cluster.restart(spoilt);
    cluster.assert_equal_digests();
}

#[test]
fn what_a_crash_left_of_unmarked_snapshots_is_removed() {
    let (mut cluster, client) = cluster_with(14, snapshot_limits());
    cluster.plan.delays.background_ms = 40;
    cluster.ask(client, persistent("/a", "")).unwrap();
    for number in 0..120 {
        let value = format!("{number}-{}", "x".repeat(200));
        cluster.ask(client, set("/a", value, None)).unwrap();
        if number % 10 == 0 {
            let id = 1 + number % 3;
            cluster.crash(id, Crash::KeepUnsynced);
            cluster.start(id);
        }
    }
    cluster.run_for(300);
    for server in cluster.servers.values() {
        let files = server.disk.files();
        let kept: Vec<_> = files.keys().filter(|name| name.contains("snapshot")).collect();
        assert!(kept.len() <= 1, "server {} keeps {kept:?}", server.id);
    }
    cluster.assert_equal_digests();
}

/// The index of the newest snapshot that the server's disk holds, and its file.
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

/// Lets every log take up to so long for each batch; snapshots are written quickly beside it.
fn slow_logs(cluster: &mut Cluster, slow_ms: u64) {
    for id in 1..=3 {
        cluster.slow_disk(id, slow_ms, u64::MAX);
    }
}

/// Whether a server met again, with its removal still to come, a snapshot that had no mark.
fn save_a_snapshot_again(seed: u64) -> bool {
    let (mut cluster, client) = cluster_with(seed, snapshot_limits());
    cluster.ask(client, persistent("/a", "")).unwrap();
    let (_, id, _) = cluster.leader_and_followers();
    cluster.plan.delays.background_ms = 1;
    cluster.plan.delays.disk_ms = 1;
    slow_logs(&mut cluster, 100);
    while snapshot_on_disk(&cluster, id).is_none() {
        cluster.ask(client, set("/a", "x".repeat(200), None)).unwrap();
        cluster.await_level();
        cluster.run_for(8);
    }
    let (index, file) = snapshot_on_disk(&cluster, id).expect("the loop ended with it");
    // Nothing more is written, so the next snapshot is of the same index.
    cluster.crash(id, Crash::LoseUnsynced);
    slow_logs(&mut cluster, 400);
    cluster.start(id);
    let is_marked = cluster.replica(id).raft().snapshot().index == index;
    cluster.run_until("all is applied", |world| world.replica(id).applied().0 >= index.0);
    cluster.run_for(10);
    let holds = |world: &World, file: &str| world.servers[&id].disk.files().contains_key(file);
    if is_marked || cluster.replica(id).applied().0 > index.0 || !holds(&cluster, &file) {
        return false;
    }
    (1..=3).for_each(|id| cluster.calm_disk(id));
    cluster.plan.delays.disk_ms = 3;
    cluster.run_for(500);
    while cluster.replica(id).raft().snapshot().index < index {
        cluster.ask(client, set("/a", "more", None)).unwrap();
        cluster.await_level();
        cluster.run_for(20);
        assert!(cluster.replica(id).applied().0 < index.0 + 60, "no snapshot is taken any more");
    }
    cluster.run_for(100);
    let marked = cluster.replica(id).raft().snapshot().clone();
    assert!(holds(&cluster, &snapshot::file_name(&marked)), "seed {seed}: the mark is of no file");
    cluster.partition(&[id]);
    cluster.restart(id);
    assert!(!cluster.replica(id).raft().is_refetching(), "seed {seed}");
    assert_eq!(cluster.replica(id).raft().snapshot(), &marked, "without anybody's help");
    assert!(has_znode(&cluster, id, "/a"));
    cluster.heal();
    cluster.assert_equal_digests();
    assert_eq!(cluster.told_operator(), []);
    true
}

#[test]
fn an_emptied_disk_under_an_old_id_is_refused() {
    let (mut cluster, client) = cluster(15);
    cluster.ask(client, persistent("/a", "")).unwrap();
    cluster.await_level();
    cluster.run_for(100);
    let (_, other, wiped) = cluster.leader_and_followers();
    cluster.crash(wiped, Crash::LoseUnsynced);
    cluster.wipe(wiped);
    cluster.start(wiped);
    cluster.run_for(500);
    assert_eq!(cluster.replica(wiped).applied().0, 0, "it is told nothing");
    let alarms = cluster.told_operator();
    let told = |id: u64| {
        let mut of_server = alarms.iter().filter(|(server, _)| *server == id);
        of_server.any(|(_, text)| text.contains("another data directory"))
    };
    assert!((1..=3).filter(|id| *id != wiped).all(told), "{alarms:?}");
    cluster.crash(other, Crash::Kill);
    cluster.run_for(1_500);
    assert_eq!(cluster.leader(), None, "an emptied disk helped to lead");
    cluster.start(other);
    assert!(cluster.ask_until_settled(client, persistent("/b", "")).is_ok());
}

#[test]
fn an_emptied_disk_does_not_vote_while_nothing_is_applied_yet() {
    let (mut cluster, client) = cluster(16);
    cluster.ask(client, persistent("/a", "")).unwrap();
    cluster.await_level();
    for id in 1..=3 {
        cluster.crash(id, Crash::LoseUnsynced);
    }
    cluster.wipe(3);
    cluster.start(1);
    cluster.start(3);
    for _ in 0..2_000 {
        cluster.run_for(1);
        let role = cluster.replica(1).raft().role();
        assert_ne!(role, Role::Leader, "an emptied disk elected a leader");
    }
    cluster.start(2);
    let again = cluster.add_client(None, 2_000);
    assert!(cluster.ask(again, get("/a")).is_ok());
}

#[test]
fn a_leader_that_stands_still_expires_nobody_who_goes_on() {
    let (mut cluster, _) = cluster(17);
    let clients: Vec<usize> = (0..6).map(|_| cluster.add_client(None, 500)).collect();
    clients.iter().for_each(|client| cluster.await_served(*client));
    for round in 0..4 {
        let leader = cluster.await_leader();
        let ms = [300, 700, 1_500, 3_000][round];
        // Who is cut short goes on elsewhere, and does not try the one that stands still again.
        for client in &clients {
            cluster.clients[*client].process.only = Some(1 + leader % 3);
        }
        cluster.pause(leader, ms);
        cluster.run_for(ms + 1_500);
    }
    for client in clients {
        assert_eq!(cluster.client(client).sessions_lost, 0, "client {client}");
        assert!(cluster.client(client).is_served());
    }
}

/// Clients that hear nothing for their timeout give their sessions up; the servers must not.
#[test]
fn a_cluster_that_stands_still_as_a_whole_expires_nobody() {
    let (mut cluster, _) = cluster(18);
    let clients: Vec<usize> = (0..4).map(|_| cluster.add_served_client(None, 1_000)).collect();
    let session = |number: &usize| cluster.client(*number).session.expect("it is served");
    let sessions: Vec<SessionId> = clients.iter().map(session).collect();
    for id in 1..=3 {
        cluster.pause(id, 5_000);
    }
    cluster.run_for(5_000);
    for _ in 0..90 {
        cluster.run_for(10);
        for id in 1..=3 {
            let machine = cluster.replica(id).machine();
            let lost = sessions.iter().find(|session| machine.session(**session).is_none());
            assert_eq!(lost, None, "server {id} has ended it");
        }
    }
    clients.iter().for_each(|client| cluster.await_served(*client));
}

/// What a follower tells of a session is held back until its time is over; the leader is out of touch
/// with its quorum just then. What it hears first, once it is in touch again, is that the session lives.
#[test]
fn a_leader_that_is_out_of_touch_expires_nobody_whose_words_are_on_their_way() {
    for seed in 0..20 {
        let (mut cluster, _) = cluster(seed);
        let (leader, told, other) = cluster.leader_and_followers();
        let client = cluster.add_served_client(Some(told), 500);
        let session = cluster.client(client).session.expect("it is served");
        for _ in 0..20 {
            cluster.ask(client, get("/")).unwrap();
        }
        cluster.cut(told, leader, true);
        cluster.run_for(430);
        cluster.cut_both(other, leader, true);
        cluster.run_for(90);
        cluster.cut(told, leader, false);
        cluster.run_for(10);
        cluster.cut_both(other, leader, false);
        cluster.run_for(1_000);
        assert!(cluster.replica(leader).machine().session(session).is_some(), "seed {seed}");
        assert_eq!(cluster.client(client).sessions_lost, 0, "seed {seed}");
    }
}

#[test]
fn a_silent_session_ends_with_its_ephemerals_and_one_that_speaks_does_not() {
    let (mut cluster, speaks) = cluster(19);
    let silent = cluster.add_served_client(None, 600);
    for (number, at) in [(speaks, "/speaks"), (silent, "/silent")] {
        cluster.ask(number, create(at, "", CreateMode::Ephemeral)).unwrap();
    }
    cluster.silence_client(silent, 60_000);
    let began_ms = cluster.now_ms;
    while code(&cluster.ask(speaks, get("/silent"))).is_none() {
        cluster.run_for(20);
    }
    let took_ms = cluster.now_ms - began_ms;
    assert!((400..=1_000).contains(&took_ms), "{took_ms} ms for a timeout of 600");
    assert!(cluster.ask(speaks, get("/speaks")).is_ok());
}

#[test]
fn a_request_brought_again_through_another_server_is_done_once_and_answered_the_same() {
    let (mut cluster, _) = cluster(20);
    let (leader, first, second) = cluster.leader_and_followers();
    let client = cluster.add_served_client(Some(first), 2_000);
    cluster.ask(client, persistent("/seq", "")).unwrap();
    let before = cluster.replica(leader).applied();
    let made = create("/seq/n-", "once", CreateMode::PersistentSequential);
    let asked = cluster.request(client, made);
    cluster.run_until("it is applied", |world| world.replica(leader).applied() > before);
    let applied = cluster.replica(leader).applied();
    assert!(cluster.waits(asked), "not answered yet");
    cluster.clients[client].process.only = Some(second);
    cluster.break_client(client, Some(50));
    let answer = cluster.answer(asked);
    let Ok(Reply::Created(at, stat)) = answer else { panic!("{answer:?}") };
    assert_eq!((at, stat.czxid), (path("/seq/n-0000000000"), applied));
    let listed = cluster.ask(client, children("/seq"));
    let Ok(Reply::Children(names, _, _)) = listed else { panic!("{listed:?}") };
    assert_eq!(names.len(), 1);
}

/// A leader does what a follower forwards, and neither its answer nor the entry reaches that follower;
/// what is said in between it does meanwhile. Then it is gone, and the next one is asked again.
fn lose_an_answer(
    cluster: &mut Cluster,
    client: usize,
    asked: Operation,
    meanwhile: impl FnOnce(&mut Cluster, u64),
) -> (quorate_simulator::history::OperationId, u64) {
    let (leader, first, second) = cluster.leader_and_followers();
    cluster.send_client_to(client, first);
    cluster.await_served(client);
    cluster.await_level();
    cluster.cut(leader, first, true);
    let before = cluster.replica(leader).applied();
    let asked = cluster.request(client, asked);
    cluster.run_until("it is applied", |world| {
        [leader, second].iter().all(|id| world.replica(*id).applied() > before)
    });
    meanwhile(cluster, second);
    assert!(cluster.waits(asked), "the answer is lost");
    assert_eq!(cluster.replica(first).applied(), before, "and so is the entry");
    assert_eq!(cluster.leader(), Some(leader), "until here");
    cluster.crash(leader, Crash::LoseUnsynced);
    cluster.run_until("the other leads", |world| world.leader() == Some(second));
    (asked, leader)
}

/// Catches the planted bug `kept-reply-ignored`.
#[test]
fn a_call_whose_answer_was_lost_with_the_leader_is_done_once_and_answered_the_same() {
    let (mut cluster, client) = cluster(23);
    cluster.mount_lock(client);
    let (asked, gone) = lose_an_answer(&mut cluster, client, acquire("/locks/a"), |_, _| {});
    let answer = cluster.settled(asked);
    assert_eq!(cluster.recorded(asked).reply.as_ref(), Some(&answer));
    let granted = fence(&answer);
    let shown = cluster.ask_until_settled(client, holder("/locks/a"));
    assert_eq!(fence(&shown), granted, "the first grant is the only one");
    let leader = cluster.await_leader();
    assert_eq!(cluster.replica(leader).machine().ticket_count(), 0, "nobody waits for it");
    cluster.start(gone);
    cluster.assert_equal_digests();
    assert_eq!(cluster.ask_until_settled(client, release("/locks/a", granted)).err(), None);
}

/// A parked call is brought again through another server and answered by a push before it arrives there.
/// The answer is acknowledged, so nothing is kept of it when the server would give it to the next leader.
///
/// Fails when a server keeps what was answered in this way (`drop_answered` in
/// runtime/replica/src/admission.rs).
#[test]
fn a_call_that_a_push_has_answered_is_not_given_to_the_next_leader() {
    let overtaken = (0..10).filter(|seed| answer_by_push(*seed)).count();
    assert!(overtaken > 3, "only {overtaken} seeds brought it about");
}

/// Whether the push came while the call was still on its way.
fn answer_by_push(seed: u64) -> bool {
    let (mut cluster, holds) = cluster(seed);
    cluster.mount_lock(holds);
    let (leader, first, second) = cluster.leader_and_followers();
    let waits = cluster.add_served_client(Some(second), 5_000);
    let held = fence(&cluster.ask(holds, acquire("/locks/a")));
    let waiting = cluster.request(waits, acquire("/locks/a"));
    cluster.await_parked(waiting);
    cluster.move_with_slow_requests(waits, first);
    assert_eq!(cluster.history.operation(waiting).times_sent, 2, "it is brought again");
    cluster.ask_until_settled(holds, release("/locks/a", held)).unwrap();
    let granted = fence(&cluster.settled(waiting));
    let acknowledges = cluster.request(waits, persistent("/acknowledges", ""));
    // From here on the first server hears nothing of the leader, but is heard.
    cluster.cut(leader, first, true);
    cluster.run_for(25);
    let overtaken = !has_znode(&cluster, leader, "/acknowledges");
    cluster.run_until("it is done", |world| has_znode(world, second, "/acknowledges"));
    assert!(cluster.waits(acknowledges), "its answer is lost");
    cluster.crash(leader, Crash::LoseUnsynced);
    assert_eq!(cluster.settled(acknowledges).err(), None);
    cluster.start(leader);
    cluster.assert_equal_digests();
    assert_eq!(cluster.replica(second).machine().ticket_count(), 0, "nobody waits for it");
    cluster.ask_until_settled(waits, release("/locks/a", granted)).unwrap();
    cluster.await_level();
    assert!(!has_znode(&cluster, second, "/locks/a"), "nobody holds it");
    overtaken
}

/// Catches the planted bug `kept-reply-ignored`.
#[test]
fn a_refusal_whose_answer_was_lost_with_the_leader_is_given_again_whatever_has_changed() {
    let (mut cluster, client) = cluster(24);
    let other = cluster.add_served_client(None, 2_000);
    cluster.ask(client, persistent("/x", "first")).unwrap();
    let made = persistent("/x", "second");
    let (asked, _) = lose_an_answer(&mut cluster, client, made, |cluster, second| {
        cluster.send_client_to(other, second);
        cluster.ask(other, delete("/x")).unwrap();
    });
    let answer = cluster.settled(asked);
    assert_eq!(code(&answer), Some(ErrorCode::NodeExists));
    let recorded = cluster.recorded(asked);
    assert_eq!((recorded.reply.as_ref(), recorded.changes.len()), (Some(&answer), 0));
    let gone = cluster.ask_until_settled(client, get("/x"));
    assert_eq!(code(&gone), Some(ErrorCode::NoNode), "what was refused was not done later");
}

#[test]
fn a_parked_call_outlives_its_leader_and_its_connection() {
    let (mut cluster, holds) = cluster(21);
    cluster.mount_lock(holds);
    let waits = cluster.add_served_client(None, 2_000);
    let held = fence(&cluster.ask(holds, acquire("/locks/a")));
    let waiting = cluster.request(waits, acquire("/locks/a"));
    cluster.await_parked(waiting);
    for _ in 0..3 {
        let leader = cluster.await_leader();
        cluster.crash(leader, Crash::LoseUnsynced);
        cluster.break_client(waits, Some(10));
        cluster.await_leader();
        cluster.start(leader);
        cluster.run_for(300);
        assert!(cluster.waits(waiting));
    }
    cluster.ask_until_settled(holds, release("/locks/a", held)).unwrap();
    assert!(fence(&cluster.settled(waiting)) > held);
    assert_eq!(cluster.client(waits).sessions_lost, 0);
}

#[test]
fn a_refusal_that_rests_on_an_uncommitted_change_waits_for_it() {
    let (mut cluster, _) = cluster(22);
    let leader = cluster.await_leader();
    let [first, second] = [0, 1].map(|_| cluster.add_client(Some(leader), 2_000));
    cluster.await_served(first);
    cluster.await_served(second);
    cluster.partition(&[leader]);
    let made = cluster.request(first, persistent("/x", "first"));
    cluster.run_for(10);
    let refused = cluster.request(second, persistent("/x", "second"));
    cluster.run_for(50);
    assert_eq!(cluster.replica(leader).raft().role(), Role::Leader);
    assert!(cluster.waits(refused), "told before it was true");
    cluster.heal();
    assert!(cluster.answer(made).is_ok());
    assert_eq!(code(&cluster.answer(refused)), Some(ErrorCode::NodeExists));
}

#[test]
fn a_refusal_that_rests_on_a_change_that_was_lost_is_never_told() {
    for seed in 0..10 {
        let (mut cluster, _) = cluster(seed);
        let leader = cluster.await_leader();
        let [first, second] = [0, 1].map(|_| cluster.add_client(Some(leader), 2_000));
        cluster.await_served(first);
        cluster.await_served(second);
        cluster.partition(&[leader]);
        let made = cluster.request(first, persistent("/x", "first"));
        cluster.run_for(10);
        let refused = cluster.request(second, persistent("/x", "second"));
        cluster.run_for(50);
        cluster.crash(leader, Crash::LoseUnsynced);
        cluster.clients[second].process.only = None;
        let won = cluster.answer(refused);
        assert!(won.is_ok(), "seed {seed}: {won:?}");
        cluster.start(leader);
        cluster.heal();
        assert_eq!(code(&cluster.answer(made)), Some(ErrorCode::NodeExists), "seed {seed}");
    }
}

#[test]
fn handing_leadership_over_refuses_no_request() {
    for seed in 0..20 {
        let (mut cluster, client) = cluster(seed);
        cluster.ask(client, persistent("/a", "")).unwrap();
        let mover = cluster.add_served_client(None, 2_000);
        let mut asked = Vec::new();
        for number in 0..40 {
            if number % 10 == 5 {
                cluster.request(mover, Operation::TransferLeader { to: None });
            }
            asked.push(cluster.request(client, set("/a", format!("{number}"), Some(number))));
            let ms = cluster.choices.below(4);
            cluster.run_for(ms);
            cluster.await_room(client);
        }
        for (number, asked) in asked.into_iter().enumerate() {
            let outcome = cluster.answer(asked);
            assert!(outcome.is_ok(), "seed {seed}, write {number}: {outcome:?}");
        }
    }
}

#[test]
fn a_follower_whose_answer_was_lost_is_not_sent_what_it_has_for_ever() {
    let limits = Limits { snapshot_log_bytes: 100, log_bytes_behind_snapshot: 0, ..Limits::TESTED };
    for seed in 0..30 {
        let (mut cluster, client) = cluster_with(seed, limits);
        cluster.ask_until_settled(client, persistent("/a", "")).unwrap();
        cluster.message_faults.loss = 300;
        cluster.message_faults.reorder = 100;
        for number in 0..30 {
            cluster.ask_until_settled(client, set("/a", format!("{number}"), None)).unwrap();
        }
        cluster.message_faults = MessageFaults::default();
        cluster.await_level();
        cluster.assert_equal_digests();
    }
}
