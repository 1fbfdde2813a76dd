//! Members come and go while the cluster works.

use crate::cluster::Cluster;
use crate::words::{add_member, code, data, get, persistent, promote_member, remove_member, set};
use quorate_faulty_disk::Crash;
use quorate_machine::{Change, Transaction};
use quorate_raft::{EntryKind, Index, ReplicaId, Role};
use quorate_simulator::world::{World, address};
use quorate_types::limits::Limits;
use quorate_types::request::{MembersWanted, WantedMember};
use quorate_types::{ErrorCode, Operation, Outcome, Reply, ServerId};
use std::collections::BTreeSet;

/// A cluster with one client that connects anywhere; `/a` is there.
fn cluster_of(seed: u64, servers: u64, limits: Limits) -> (Cluster, usize) {
    let mut cluster = Cluster::with_limits(seed, servers, limits);
    cluster.await_leader();
    // Long enough to try servers that are gone one after the other, a second each.
    let client = cluster.add_served_client(None, 15_000);
    cluster.ask(client, persistent("/a", "")).unwrap();
    (cluster, client)
}

fn three(seed: u64) -> (Cluster, usize) {
    cluster_of(seed, 3, Limits::TESTED)
}

fn ids(of: &BTreeSet<ReplicaId>) -> Vec<u64> {
    of.iter().map(|id| id.0).collect()
}

/// The voters, as one server sees them.
fn voters(world: &World, id: u64) -> Vec<u64> {
    ids(&world.replica(id).raft().membership().voters)
}

fn learners(world: &World, id: u64) -> Vec<u64> {
    ids(&world.replica(id).raft().membership().learners)
}

fn peers(world: &World, id: u64) -> Vec<u64> {
    world.servers[&id].peers.keys().map(|id| id.0).collect()
}

fn assert_refused(outcome: &Outcome, with_code: ErrorCode, with: &str) {
    assert_eq!(code(outcome), Some(with_code), "{outcome:?}");
    let message = &outcome.as_ref().expect_err("it has a code").message;
    assert!(message.contains(with), "{outcome:?}");
}

/// Whether an entry that is not committed yet, as the server sees it, makes such a change.
fn proposes(world: &World, id: u64, wanted: impl Fn(&Change) -> bool) -> bool {
    let raft = world.replica(id).raft();
    let proposed = raft.entries(raft.committed().next()..=raft.last_index());
    let transactions = proposed.filter_map(|entry| Transaction::decode(&entry.payload).ok());
    transactions.flat_map(|transaction| transaction.changes).any(|change| wanted(&change))
}

/// Asks for a promotion until the learner has caught up.
fn promote_when_ready(cluster: &mut Cluster, client: usize, id: u64) {
    for _ in 0..200 {
        match cluster.ask_until_settled(client, promote_member(id)) {
            Ok(_) => return,
            Err(refusal) => {
                assert_eq!(refusal.code, ErrorCode::MembershipRefused, "{refusal}");
                cluster.run_for(20);
            }
        }
    }
    panic!("server {id} is not promoted");
}

#[test]
fn a_server_joins_is_promoted_and_takes_the_place_of_the_leader() {
    for seed in 0..20 {
        let (mut cluster, client) = three(seed);
        let joined = cluster.start_joining();
        assert_eq!(cluster.ask(client, add_member(joined)), Ok(Reply::Done), "seed {seed}");
        let leader = cluster.await_leader();
        assert_eq!(learners(&cluster, leader), [joined]);
        promote_when_ready(&mut cluster, client, joined);
        let leader = cluster.await_leader();
        assert_eq!(voters(&cluster, leader), [1, 2, 3, 4]);
        assert!(!cluster.replica(leader).raft().membership().is_joint(), "seed {seed}");
        assert_eq!(cluster.ask(client, remove_member(leader)), Ok(Reply::Done), "seed {seed}");
        let left: Vec<u64> = (1..=4).filter(|id| *id != leader).collect();
        let next = cluster.await_leader();
        assert_ne!(next, leader);
        assert_eq!(voters(&cluster, next), left);
        cluster.crash(leader, Crash::Kill);
        cluster.ask(client, set("/a", "after", None)).unwrap();
        assert_eq!(data(&cluster.ask(client, get("/a"))), "after");
        cluster.assert_equal_digests();
        // It counts: with it, one of the others can go.
        let other = *left.iter().find(|id| **id != joined).unwrap();
        cluster.crash(other, Crash::LoseUnsynced);
        cluster.ask_until_settled(client, set("/a", "last", None)).unwrap();
        cluster.restart(joined);
        assert_eq!(data(&cluster.ask(client, get("/a"))), "last");
        let told = |id: u64| cluster.told_operator().iter().filter(|(at, _)| *at == id).count();
        assert_eq!((told(leader), told(other)), (1, 0), "seed {seed}");
    }
}

#[test]
fn a_server_joins_by_a_snapshot() {
    let limits =
        Limits { snapshot_log_bytes: 3_000, log_bytes_behind_snapshot: 0, ..Limits::TESTED };
    for seed in 0..10 {
        let (mut cluster, client) = cluster_of(seed, 3, limits);
        for number in 0..60 {
            let value = format!("{number}-{}", "x".repeat(200));
            cluster.ask(client, set("/a", value, None)).unwrap();
        }
        let leader = cluster.await_leader();
        let first = cluster.replica(leader).raft().first_index();
        assert!(first > Index(2), "the log was compacted");
        let joined = cluster.start_joining();
        cluster.ask(client, add_member(joined)).unwrap();
        promote_when_ready(&mut cluster, client, joined);
        assert!(cluster.counts.snapshots_sent > 0, "seed {seed}");
        let there = cluster.add_served_client(Some(joined), 2_000);
        assert!(data(&cluster.ask(there, get("/a"))).starts_with(b"59-"));
        cluster.restart(joined);
        cluster.assert_equal_digests();
        assert_eq!(
            cluster.replica(joined).member_addresses(),
            cluster.replica(leader).member_addresses()
        );
        assert_eq!(cluster.told_operator(), [], "seed {seed}");
    }
}

#[test]
fn a_server_that_waits_to_be_added_neither_campaigns_nor_serves() {
    let (mut cluster, client) = three(1);
    let joined = cluster.start_joining();
    let there = cluster.add_client(Some(joined), 2_000);
    cluster.run_for(3_000);
    cluster.restart(joined);
    cluster.run_for(3_000);
    assert_eq!(cluster.replica(joined).raft().role(), Role::Learner);
    assert_eq!(cluster.replica(joined).raft().term().0, 0);
    assert!(!cluster.client(there).is_served());
    cluster.ask(client, add_member(joined)).unwrap();
    cluster.await_served(there);
    assert!(cluster.ask(there, persistent("/there", "")).is_ok());
}

#[test]
fn a_learner_is_promoted_only_in_touch_and_caught_up() {
    let (mut cluster, client) = three(2);
    let joined = cluster.start_joining();
    let refused = cluster.ask(client, promote_member(joined));
    assert_refused(&refused, ErrorCode::NoMember, "add it first");
    cluster.crash(joined, Crash::Kill);
    cluster.ask(client, add_member(joined)).unwrap();
    let refused = cluster.ask(client, promote_member(joined));
    assert_refused(&refused, ErrorCode::MembershipRefused, "not connected");
    let many = u64::from(cluster.plan.limits.promotion_lag_entries_max) * 2;
    cluster.start(joined);
    cluster.run_until("the learner has the first entries", |world| {
        world.replica(joined).applied().0 > 1
    });
    let leader = cluster.await_leader();
    cluster.send_client_to(client, leader);
    cluster.await_served(client);
    // Its disk stands still: it answers, and holds nothing more durably.
    cluster.pause(joined, 150);
    for number in 0..many {
        cluster.request(client, set("/a", format!("{number}"), None));
        cluster.await_room(client);
    }
    let refused = cluster.ask(client, promote_member(joined));
    assert_refused(&refused, ErrorCode::MembershipRefused, "caught up");
    promote_when_ready(&mut cluster, client, joined);
    cluster.assert_equal_digests();
}

#[test]
fn what_would_end_the_cluster_is_refused() {
    let (mut cluster, client) = cluster_of(3, 1, Limits::TESTED);
    let refused = cluster.ask(client, remove_member(1));
    assert_refused(&refused, ErrorCode::MembershipRefused, "last voter");
    let (mut cluster, client) = three(3);
    let (leader, one, other) = cluster.leader_and_followers();
    cluster.crash(one, Crash::Kill);
    cluster.run_for(300);
    let refused = cluster.ask(client, remove_member(other));
    assert_refused(&refused, ErrorCode::MembershipRefused, "1 are in touch");
    assert_eq!(cluster.ask(client, remove_member(one)), Ok(Reply::Done));
    assert_eq!(voters(&cluster, leader).len(), 2);
}

#[test]
fn wrong_words_are_refused_and_repeats_are_done() {
    let (mut cluster, client) = three(4);
    let at = |server: u64, peer: &str, native: &str| Operation::AddMember {
        server: ServerId(server),
        peer_address: peer.into(),
        native_address: native.into(),
        zookeeper_address: None,
    };
    let wrong = [at(4, "nowhere", "n4:1"), at(4, "p4:1", ""), at(4, "p4:0", "n4:1")];
    for operation in wrong.into_iter().chain([at(0, "p:1", "n:1"), at(4, "p4:1", "p4:1")]) {
        assert_eq!(code(&cluster.ask(client, operation)), Some(ErrorCode::BadArguments));
    }
    let refused = cluster.ask(client, at(4, "p2:1", "n4:1"));
    assert_refused(&refused, ErrorCode::BadArguments, "server 2");
    for unknown in [promote_member(9), remove_member(9)] {
        assert_eq!(code(&cluster.ask(client, unknown)), Some(ErrorCode::NoMember));
    }
    for _ in 0..2 {
        assert_eq!(cluster.ask(client, add_member(4)), Ok(Reply::Done));
    }
    assert_eq!(cluster.ask(client, promote_member(2)), Ok(Reply::Done), "a voter is one");
    assert_eq!(cluster.ask(client, at(4, "moved:7", "n4:1")), Ok(Reply::Done));
    cluster.await_level();
    for id in 1..=3 {
        let known = cluster.replica(id).member_addresses();
        assert_eq!(known[&ServerId(4)].peer, "moved:7");
        assert_eq!(cluster.servers[&id].peers, known);
    }
    for _ in 0..2 {
        assert_eq!(cluster.ask(client, remove_member(4)), Ok(Reply::Done));
    }
    let refused = cluster.ask(client, add_member(4));
    assert_refused(&refused, ErrorCode::MembershipRefused, "another id");
    assert_eq!(code(&cluster.ask(client, promote_member(4))), Some(ErrorCode::NoMember));
    cluster.await_level();
    assert!(!peers(&cluster, 1).contains(&4));
}

#[test]
fn one_change_is_made_at_a_time() {
    let (mut cluster, client) = three(5);
    let joined = cluster.start_joining();
    cluster.ask(client, add_member(joined)).unwrap();
    cluster.run_until("the learner has caught up", |world| world.replica(joined).applied().0 > 5);
    let (leader, one, _) = cluster.leader_and_followers();
    let second = cluster.add_served_client(Some(leader), 2_000);
    // With one voter gone and the joint phase in need of three of four, the promotion waits.
    cluster.crash(one, Crash::Kill);
    let asked = cluster.request(client, promote_member(joined));
    cluster.run_until("the promotion is under way", |world| {
        world.replica(leader).machine().membership_change().is_some()
    });
    let refused = cluster.ask(second, add_member(9));
    if cluster.replica(leader).machine().membership_change().is_some() {
        assert_refused(&refused, ErrorCode::MembershipRefused, "one change is made at a time");
    }
    assert_eq!(cluster.answer(asked), Ok(Reply::Done));
}

/// The leader crashes at every moment of a change; whoever asked is answered once, and the change
/// is made once.
#[test]
fn a_change_outlives_the_leader_that_began_it() {
    let between = (0..60).filter(|seed| change_without_its_leader(*seed)).count();
    assert!(between > 2, "{between} crashes hit between the record and the membership entry");
}

/// Whether the first crash hit between the record of the change and the membership entry.
fn change_without_its_leader(seed: u64) -> bool {
    let (mut cluster, client) = three(seed);
    let joined = cluster.start_joining();
    let leader = cluster.await_leader();
    let asked = cluster.request(client, add_member(joined));
    cluster.run_for(2 + seed / 2);
    let replica = cluster.replica(leader);
    let recorded = replica.machine().member(ServerId(joined)).is_some();
    let entered = replica.raft().membership().members().len() == 4;
    cluster.crash(leader, Crash::LoseUnsynced);
    assert_eq!(cluster.answer(asked), Ok(Reply::Done), "seed {seed}");
    let next = cluster.await_leader();
    assert_eq!(learners(&cluster, next), [joined], "seed {seed}");
    let asked = cluster.request(client, promote_member(joined));
    cluster.run_for(2 + seed / 2);
    cluster.start(leader);
    let next = cluster.await_leader();
    cluster.restart(next);
    let promoted = cluster.answer(asked);
    if promoted.is_err() {
        assert_eq!(code(&promoted), Some(ErrorCode::MembershipRefused), "{promoted:?}");
        promote_when_ready(&mut cluster, client, joined);
    }
    let next = cluster.await_leader();
    assert_eq!(voters(&cluster, next), [1, 2, 3, 4], "seed {seed}");
    cluster.assert_equal_digests();
    let raft = cluster.replica(next).raft();
    let all = raft.entries(raft.first_index()..=raft.last_index());
    let memberships = all.filter(|entry| entry.kind == EntryKind::Membership).count();
    assert_eq!(memberships, 3, "seed {seed}: one to add, two to promote");
    recorded && !entered
}

#[test]
fn a_change_during_a_partition_is_made_on_the_side_of_the_quorum() {
    for seed in 0..20 {
        let (mut cluster, client) = three(seed);
        let joined = cluster.start_joining();
        let parted = cluster.await_leader();
        let asked = cluster.request(client, add_member(joined));
        cluster.run_for(seed);
        cluster.partition(&[parted]);
        assert_eq!(cluster.answer(asked), Ok(Reply::Done), "seed {seed}");
        let next = cluster.leader().filter(|id| *id != parted).expect("the quorum has a leader");
        assert_eq!(learners(&cluster, next), [joined]);
        promote_when_ready(&mut cluster, client, joined);
        let removed = cluster.ask_until_settled(client, remove_member(parted));
        assert_eq!(removed, Ok(Reply::Done));
        cluster.heal();
        cluster.run_for(1_000);
        cluster.ask(client, set("/a", "after", None)).unwrap();
        let leader = cluster.await_leader();
        assert_ne!(leader, parted);
        assert!(!cluster.replica(parted).is_serving_leader());
        assert!(!peers(&cluster, leader).contains(&parted));
        cluster.crash(parted, Crash::Kill);
        cluster.assert_equal_digests();
    }
}

#[test]
fn a_cluster_grows_from_one_and_every_first_member_can_go() {
    let (mut cluster, client) = cluster_of(6, 1, Limits::TESTED);
    for _ in 0..3 {
        let joined = cluster.start_joining();
        cluster.ask(client, add_member(joined)).unwrap();
        promote_when_ready(&mut cluster, client, joined);
    }
    for gone in [1, 2] {
        assert_eq!(cluster.ask_until_settled(client, remove_member(gone)), Ok(Reply::Done));
        cluster.crash(gone, Crash::Kill);
    }
    for id in [3, 4] {
        cluster.restart(id);
    }
    cluster.ask_until_settled(client, set("/a", "still", None)).unwrap();
    cluster.assert_equal_digests();
    let leader = cluster.await_leader();
    assert_eq!(voters(&cluster, leader), [3, 4]);
    assert_eq!(peers(&cluster, leader), [3, 4]);
}

#[test]
fn a_removed_server_that_comes_back_is_let_in_by_nobody() {
    let (mut cluster, client) = three(7);
    let leader = cluster.await_leader();
    let removed = cluster.follower();
    cluster.crash(removed, Crash::Kill);
    assert_eq!(cluster.ask(client, remove_member(removed)), Ok(Reply::Done));
    let term = cluster.replica(leader).raft().term();
    cluster.start(removed);
    cluster.run_for(3_000);
    assert_eq!(cluster.replica(leader).raft().term(), term);
    assert_eq!(cluster.leader(), Some(leader));
    assert_ne!(cluster.replica(removed).raft().role(), Role::Leader);
}

/// The last membership entry of a log is not known to be committed after a restart; but whoever was
/// told that a server is removed has switched it off.
#[test]
fn a_removed_server_is_not_needed_after_a_restart() {
    for (servers, down) in [(2, 0), (4, 1)] {
        let (mut cluster, client) = cluster_of(8, servers, Limits::TESTED);
        let leader = cluster.await_leader();
        let gone = cluster.follower();
        assert_eq!(cluster.ask(client, remove_member(gone)), Ok(Reply::Done));
        let left: Vec<u64> = (1..=servers).filter(|id| *id != gone).collect();
        cluster.await_level_of(&left);
        for id in 1..=servers {
            cluster.crash(id, Crash::LoseUnsynced);
        }
        let up: Vec<u64> = left.iter().copied().skip(down).collect();
        assert!(up.len() > left.len() / 2, "a quorum of those that are left");
        for id in up {
            cluster.start(id);
        }
        let served = cluster.ask_until_settled(client, set("/a", "after", None));
        assert!(served.is_ok(), "{servers} servers, led by {leader}: {served:?}");
    }
}

/// What is refused stays refused, whatever becomes possible before the refusal is applied.
#[test]
fn a_learner_that_comes_back_while_its_promotion_is_refused_stays_a_learner() {
    let (mut cluster, client) = three(9);
    let leader = cluster.await_leader();
    let joined = cluster.start_joining();
    cluster.ask(client, add_member(joined)).unwrap();
    cluster.await_level();
    cluster.send_client_to(client, leader);
    cluster.await_served(client);
    cluster.part(leader, joined, true);
    let asked = cluster.request(client, promote_member(joined));
    let ends = |change: &Change| matches!(change, Change::EndMembership { done: false, .. });
    cluster.run_until("the end is proposed", |world| proposes(world, leader, ends));
    // The end cannot commit yet, and the learner is in touch again.
    cluster.partition(&[leader, joined]);
    cluster.run_for(90);
    assert_eq!(cluster.leader(), Some(leader));
    cluster.heal();
    let refused = cluster.answer(asked);
    assert_refused(&refused, ErrorCode::MembershipRefused, "not connected");
    cluster.run_for(1_000);
    assert_eq!(learners(&cluster, leader), [joined]);
    assert!(!cluster.replica(leader).raft().membership().is_joint());
}

/// The end of a change is not that of the next one, which may begin before it is committed.
#[test]
fn a_change_that_begins_behind_the_end_of_another_is_made_too() {
    let (mut cluster, client) = three(12);
    let leader = cluster.await_leader();
    let other = cluster.add_served_client(Some(leader), 15_000);
    cluster.send_client_to(client, leader);
    cluster.await_served(client);
    let joined = cluster.start_joining();
    let first = cluster.request(client, add_member(joined));
    let ends = |change: &Change| matches!(change, Change::EndMembership { done: true, .. });
    cluster.run_until("the end is proposed", |world| proposes(world, leader, ends));
    cluster.partition(&[leader]);
    // A learner may never come.
    let second = cluster.request(other, add_member(9));
    let begins = |change: &Change| match change {
        Change::BeginMembership { steps, .. } => steps[0].server == ServerId(9),
        _ => false,
    };
    cluster.run_until("the next change begins", |world| proposes(world, leader, begins));
    assert!(proposes(&cluster, leader, ends), "the end of the first one was committed already");
    cluster.run_for(5);
    assert_eq!(cluster.leader(), Some(leader));
    cluster.heal();
    for asked in [first, second] {
        assert_eq!(cluster.answer(asked), Ok(Reply::Done));
    }
    let leader = cluster.await_leader();
    assert_eq!(learners(&cluster, leader), [joined, 9]);
}

#[test]
fn a_learner_that_is_cut_off_sends_its_clients_elsewhere() {
    let (mut cluster, client) = three(10);
    let joined = cluster.start_joining();
    cluster.ask(client, add_member(joined)).unwrap();
    let there = cluster.add_served_client(Some(joined), 5_000);
    cluster.partition(&[joined]);
    cluster.clients[there].process.only = None;
    cluster.run_until("the client has gone", |world| !world.clients[there].is_served());
    cluster.clients[there].process.only = Some(1);
    cluster.ask(there, set("/a", "elsewhere", None)).unwrap();
    assert_eq!(cluster.client(there).sessions_lost, 0);
}

#[test]
fn a_server_that_was_away_follows_a_leader_that_came_meanwhile() {
    for seed in 0..10 {
        let (mut cluster, client) = three(seed);
        let away = cluster.follower();
        cluster.partition(&[away]);
        let joined = cluster.start_joining();
        cluster.part(away, joined, true);
        cluster.ask(client, add_member(joined)).unwrap();
        promote_when_ready(&mut cluster, client, joined);
        let to = Some(ServerId(joined));
        cluster.ask_until_settled(client, Operation::TransferLeader { to }).unwrap();
        cluster.run_until("the new server leads", |world| world.leader() == Some(joined));
        assert!(!peers(&cluster, away).contains(&joined), "seed {seed}");
        cluster.heal();
        cluster.run_until("it follows", |world| {
            world.replica(away).leader() == Some(ServerId(joined))
        });
        assert!(peers(&cluster, away).contains(&joined), "seed {seed}");
        cluster.assert_equal_digests();
        assert_eq!(cluster.told_operator(), [], "seed {seed}");
    }
}

#[test]
fn a_learner_catches_up_although_snapshots_are_taken_faster_than_they_are_sent() {
    let limits = Limits {
        snapshot_log_bytes: 1_000,
        log_bytes_behind_snapshot: 0,
        snapshot_chunk_bytes: 500,
        ..Limits::TESTED
    };
    let (mut cluster, client) = cluster_of(31, 3, limits);
    for number in 0..60 {
        let value = format!("{number}-{}", "x".repeat(500));
        cluster.ask(client, persistent(&format!("/n{number}"), value)).unwrap();
    }
    let joined = cluster.start_joining();
    cluster.ask(client, add_member(joined)).unwrap();
    let mut number = 0;
    let caught_up = |cluster: &Cluster| {
        let leader = cluster.leader().map(|leader| cluster.replica(leader).applied());
        leader.is_some_and(|leader| cluster.replica(joined).applied().0 + 8 > leader.0)
    };
    while !caught_up(&cluster) {
        number += 1;
        assert!(number < 1_000, "the learner runs after one snapshot after the other");
        cluster.ask(client, set("/a", "x".repeat(150), None)).unwrap();
    }
    assert!(cluster.counts.snapshots_sent < 8, "{} were sent", cluster.counts.snapshots_sent);
}

fn reconfigure(joining: &[(u64, bool)], leaving: &[u64]) -> Operation {
    let wanted = |(id, voter): &(u64, bool)| WantedMember {
        server: ServerId(*id),
        address: address(*id),
        voter: *voter,
    };
    let joining = joining.iter().map(wanted).collect();
    let leaving = leaving.iter().copied().map(ServerId).collect();
    let wanted = MembersWanted::Changed { joining, leaving };
    Operation::Reconfigure { wanted, expected_version: None }
}

/// The servers of a configuration as text, with their roles.
fn members_told(outcome: &Outcome) -> Vec<String> {
    let data = data(outcome);
    let text = std::str::from_utf8(&data).expect("a configuration is text");
    let servers = text.lines().filter_map(|line| {
        let (server, place) = line.strip_prefix("server.")?.split_once('=')?;
        let role = place.split([':', ';']).nth(3)?;
        Some(format!("{server} {role}"))
    });
    servers.collect()
}

#[test]
fn a_reconfiguration_lets_a_voter_come_and_others_go_at_once() {
    for seed in 0..20 {
        let (mut cluster, client) = three(seed);
        let administrator = cluster.add_administrator(15_000);
        let joined = cluster.start_joining();
        let (leader, learner, gone) = cluster.leader_and_followers();
        let asked = reconfigure(&[(joined, true), (learner, false)], &[gone]);
        assert_eq!(code(&cluster.ask(client, asked.clone())), Some(ErrorCode::NotAllowed));
        let told = cluster.ask(administrator, asked);
        let mut expected = vec![
            format!("{joined} participant"),
            format!("{leader} participant"),
            format!("{learner} observer"),
        ];
        expected.sort();
        assert_eq!(members_told(&told), expected, "seed {seed}");
        let mut left = vec![leader, joined];
        left.sort_unstable();
        let leader = cluster.await_leader();
        assert_eq!(voters(&cluster, leader), left, "seed {seed}");
        assert_eq!(learners(&cluster, leader), [learner], "seed {seed}");
        cluster.run_for(1_000);
        let config = cluster.ask(client, get("/zookeeper/config"));
        assert_eq!(members_told(&config), expected, "seed {seed}");
        cluster.crash(gone, Crash::Kill);
        cluster.assert_equal_digests();
    }
}

#[test]
fn a_leader_leaves_by_a_reconfiguration() {
    for seed in 0..20 {
        let (mut cluster, _) = three(seed);
        let administrator = cluster.add_administrator(15_000);
        let leader = cluster.await_leader();
        let told = cluster.ask_until_settled(administrator, reconfigure(&[], &[leader]));
        assert_eq!(members_told(&told).len(), 2, "seed {seed}");
        let next = cluster.await_leader();
        assert_ne!(next, leader);
        assert_eq!(voters(&cluster, next).len(), 2, "seed {seed}");
    }
}

#[test]
fn a_voter_that_never_comes_leaves_nothing_behind_and_a_learner_may_never_come() {
    let (mut cluster, client) = three(7);
    let administrator = cluster.add_administrator(15_000);
    let before = cluster.ask(client, get("/zookeeper/config"));
    let (_, one, _) = cluster.leader_and_followers();
    let refused = cluster.ask(administrator, reconfigure(&[(9, true)], &[one]));
    assert_refused(&refused, ErrorCode::MembersNotReady, "not ready within");
    let leader = cluster.await_leader();
    assert_eq!((voters(&cluster, leader), learners(&cluster, leader)), (vec![1, 2, 3], vec![]));
    assert_eq!(cluster.ask(client, get("/zookeeper/config")), before);
    let told = cluster.ask(administrator, reconfigure(&[(9, false)], &[]));
    assert_eq!(members_told(&told)[3], "9 observer");
    let told = cluster.ask(administrator, reconfigure(&[], &[9]));
    assert_eq!(members_told(&told).len(), 3);
}

#[test]
fn a_reconfiguration_is_ended_by_the_next_leader() {
    for seed in 0..20 {
        let (mut cluster, _) = three(seed);
        let administrator = cluster.add_administrator(15_000);
        let joined = cluster.start_joining();
        let asked = cluster.request(administrator, reconfigure(&[(joined, true)], &[]));
        let leader = cluster.await_leader();
        cluster.run_until("it is under way", |world| {
            let machine = world.replica(leader).machine();
            machine.membership_change().is_some()
        });
        cluster.crash(leader, Crash::Kill);
        let told = cluster.settled(asked);
        assert_eq!(members_told(&told).len(), 4, "seed {seed}");
        let next = cluster.await_leader();
        assert_eq!(voters(&cluster, next), [1, 2, 3, 4], "seed {seed}");
    }
}
