//! Members come and go while the cluster works.

use crate::server::address;
use crate::words::{code, data, get, persistent, set};
use crate::world::World;
use quorate_faulty_disk::Crash;
use quorate_machine::{Change, Transaction};
use quorate_raft::{EntryKind, Index, Role};
use quorate_types::limits::Limits;
use quorate_types::{ErrorCode, Operation, Outcome, Reply, ServerId};

pub fn add(id: u64) -> Operation {
    let at = address(id);
    Operation::AddMember { server: ServerId(id), peer_address: at.peer, native_address: at.native }
}

pub fn promote(id: u64) -> Operation {
    Operation::PromoteMember { server: ServerId(id) }
}

pub fn remove(id: u64) -> Operation {
    Operation::RemoveMember { server: ServerId(id) }
}

/// A cluster with one client that connects anywhere.
fn cluster(seed: u64, servers: u64, limits: Limits) -> (World, usize) {
    let mut world = World::with_limits(seed, servers, limits);
    world.await_leader();
    let client = world.add_client(None, 2_000);
    world.await_established(client);
    world.ask(client, persistent("/a", "")).unwrap();
    (world, client)
}

fn three(seed: u64) -> (World, usize) {
    cluster(seed, 3, Limits::TESTED)
}

/// The voters, as one server sees them.
fn voters(world: &World, id: u64) -> Vec<u64> {
    world.replica(id).raft().membership().voters.iter().map(|id| id.0).collect()
}

fn learners(world: &World, id: u64) -> Vec<u64> {
    world.replica(id).raft().membership().learners.iter().map(|id| id.0).collect()
}

fn assert_equal_digests(world: &mut World) {
    world.await_level();
    let up: Vec<u64> = world.servers.keys().copied().filter(|id| world.is_up(*id)).collect();
    let digest = |id: &u64| world.replica(*id).machine().digest();
    assert!(up.iter().all(|id| digest(id) == digest(&up[0])), "servers {up:?} differ");
}

fn words(outcome: &Outcome) -> &str {
    &outcome.as_ref().expect_err("it is refused").message
}

fn assert_refused(outcome: &Outcome, code: ErrorCode, with: &str) {
    assert_eq!(crate::words::code(outcome), Some(code), "{outcome:?}");
    assert!(words(outcome).contains(with), "{outcome:?}");
}

/// Asks for a promotion until the learner has caught up.
fn promote_when_ready(world: &mut World, client: usize, id: u64) {
    for _ in 0..200 {
        match world.ask_until_settled(client, &promote(id)) {
            Ok(_) => return,
            Err(refusal) => {
                assert_eq!(refusal.code, ErrorCode::MembershipRefused, "{refusal}");
                world.run_for(20);
            }
        }
    }
    panic!("server {id} is not promoted");
}

#[test]
fn a_server_joins_is_promoted_and_takes_the_place_of_the_leader() {
    for seed in 0..20 {
        let (mut world, client) = three(seed);
        let joined = world.start_joining(&[1, 2, 3]);
        assert_eq!(world.ask(client, add(joined)), Ok(Reply::Done), "seed {seed}");
        let leader = world.await_leader();
        assert_eq!(learners(&world, leader), [joined]);
        promote_when_ready(&mut world, client, joined);
        let leader = world.await_leader();
        assert_eq!(voters(&world, leader), [1, 2, 3, 4]);
        assert!(!world.replica(leader).raft().membership().is_joint(), "seed {seed}");
        assert_eq!(world.ask(client, remove(leader)), Ok(Reply::Done), "seed {seed}");
        let left: Vec<u64> = (1..=4).filter(|id| *id != leader).collect();
        let next = world.await_leader();
        assert_ne!(next, leader);
        assert_eq!(voters(&world, next), left);
        world.crash(leader, Crash::Kill);
        world.ask(client, set("/a", "after", None)).unwrap();
        assert_eq!(data(&world.ask(client, get("/a"))), "after");
        assert_equal_digests(&mut world);
        // It counts: with it, one of the others can go.
        let other = *left.iter().find(|id| **id != joined).unwrap();
        world.crash(other, Crash::LoseUnsynced);
        world.ask_until_settled(client, &set("/a", "last", None)).unwrap();
        world.restart(joined);
        assert_eq!(data(&world.ask(client, get("/a"))), "last");
        for id in [leader, other] {
            assert_eq!(world.journal.alarms.iter().filter(|(at, _)| *at == id).count(), {
                usize::from(id == leader)
            });
        }
    }
}

#[test]
fn a_server_joins_by_a_snapshot() {
    let limits =
        Limits { snapshot_log_bytes: 3_000, log_bytes_behind_snapshot: 0, ..Limits::TESTED };
    for seed in 0..10 {
        let (mut world, client) = cluster(seed, 3, limits);
        for number in 0..60 {
            let value = format!("{number}-{}", "x".repeat(200));
            world.ask(client, set("/a", value, None)).unwrap();
        }
        let leader = world.await_leader();
        assert!(world.replica(leader).raft().first_index() > Index(2), "the log was compacted");
        let joined = world.start_joining(&[1, 2, 3]);
        world.ask(client, add(joined)).unwrap();
        promote_when_ready(&mut world, client, joined);
        assert!(world.snapshots_sent > 0, "seed {seed}");
        let there = world.add_client(Some(joined), 2_000);
        world.await_established(there);
        assert!(data(&world.ask(there, get("/a"))).starts_with(b"59-"));
        world.restart(joined);
        assert_equal_digests(&mut world);
        assert_eq!(
            world.replica(joined).member_addresses(),
            world.replica(leader).member_addresses()
        );
        assert_eq!(world.journal.alarms, [], "seed {seed}");
    }
}

#[test]
fn a_server_that_waits_to_be_added_neither_campaigns_nor_serves() {
    let (mut world, client) = three(1);
    let joined = world.start_joining(&[1, 2, 3]);
    let there = world.add_client(Some(joined), 2_000);
    world.run_for(3_000);
    world.restart(joined);
    world.run_for(3_000);
    assert_eq!(world.replica(joined).raft().role(), Role::Learner);
    assert_eq!(world.replica(joined).raft().term().0, 0);
    assert!(!world.clients[there].is_established());
    world.ask(client, add(joined)).unwrap();
    world.await_established(there);
    assert!(world.ask(there, persistent("/there", "")).is_ok());
}

#[test]
fn a_learner_is_promoted_only_in_touch_and_caught_up() {
    let (mut world, client) = three(2);
    let joined = world.start_joining(&[1, 2, 3]);
    assert_refused(&world.ask(client, promote(joined)), ErrorCode::NoMember, "add it first");
    world.crash(joined, Crash::Kill);
    world.ask(client, add(joined)).unwrap();
    assert_refused(
        &world.ask(client, promote(joined)),
        ErrorCode::MembershipRefused,
        "not connected",
    );
    let many = u64::from(world.limits.promotion_lag_entries_max) * 2;
    world.start(joined);
    world.run_until("the learner has the first entries", |world| {
        world.replica(joined).applied().0 > 1
    });
    let leader = world.await_leader();
    world.clients[client].only = Some(leader);
    world.drop_client_connection(client, Some(0));
    world.await_established(client);
    // Its disk stands still: it answers, and holds nothing more durably.
    world.pause(joined, 150);
    let mut asked = Vec::new();
    for number in 0..many {
        asked.push(world.request(client, set("/a", format!("{number}"), None)));
        world.run_until("there is room", |world| world.clients[client].pending.len() < 14);
    }
    let refused = world.ask(client, promote(joined));
    assert_refused(&refused, ErrorCode::MembershipRefused, "caught up");
    promote_when_ready(&mut world, client, joined);
    assert_equal_digests(&mut world);
}

#[test]
fn what_would_end_the_cluster_is_refused() {
    let (mut world, client) = cluster(3, 1, Limits::TESTED);
    assert_refused(&world.ask(client, remove(1)), ErrorCode::MembershipRefused, "last voter");
    let (mut world, client) = three(3);
    let leader = world.await_leader();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    world.crash(others[0], Crash::Kill);
    world.run_for(300);
    let refused = world.ask(client, remove(others[1]));
    assert_refused(&refused, ErrorCode::MembershipRefused, "1 are in touch");
    assert_eq!(world.ask(client, remove(others[0])), Ok(Reply::Done));
    assert_eq!(voters(&world, leader).len(), 2);
}

#[test]
fn wrong_words_are_refused_and_repeats_are_done() {
    let (mut world, client) = three(4);
    let at = |server: u64, peer: &str, native: &str| Operation::AddMember {
        server: ServerId(server),
        peer_address: peer.into(),
        native_address: native.into(),
    };
    let wrong = [at(4, "nowhere", "n4:1"), at(4, "p4:1", ""), at(4, "p4:0", "n4:1")];
    for operation in wrong.into_iter().chain([at(0, "p:1", "n:1"), at(4, "p4:1", "p4:1")]) {
        assert_eq!(code(&world.ask(client, operation)), Some(ErrorCode::BadArguments));
    }
    assert_refused(&world.ask(client, at(4, "p2:1", "n4:1")), ErrorCode::BadArguments, "server 2");
    for unknown in [promote(9), remove(9)] {
        assert_eq!(code(&world.ask(client, unknown)), Some(ErrorCode::NoMember));
    }
    for _ in 0..2 {
        assert_eq!(world.ask(client, add(4)), Ok(Reply::Done));
    }
    assert_eq!(world.ask(client, promote(2)), Ok(Reply::Done), "a voter is one");
    assert_eq!(world.ask(client, at(4, "moved:7", "n4:1")), Ok(Reply::Done));
    world.await_level();
    for id in 1..=3 {
        let known = world.replica(id).member_addresses();
        assert_eq!(known[&ServerId(4)].peer, "moved:7");
        assert_eq!(world.servers[&id].peers, known);
    }
    for _ in 0..2 {
        assert_eq!(world.ask(client, remove(4)), Ok(Reply::Done));
    }
    assert_refused(&world.ask(client, add(4)), ErrorCode::MembershipRefused, "another id");
    assert_eq!(code(&world.ask(client, promote(4))), Some(ErrorCode::NoMember));
    world.await_level();
    assert!(!world.servers[&1].peers.contains_key(&ServerId(4)));
}

#[test]
fn one_change_is_made_at_a_time() {
    let (mut world, client) = three(5);
    let joined = world.start_joining(&[1, 2, 3]);
    world.ask(client, add(joined)).unwrap();
    world.run_until("the learner has caught up", |world| world.replica(joined).applied().0 > 5);
    let leader = world.await_leader();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let second = world.add_client(Some(leader), 2_000);
    world.await_established(second);
    // With one voter gone and the joint phase in need of three of four, the promotion waits.
    world.crash(others[0], Crash::Kill);
    let asked = world.request(client, promote(joined));
    world.run_until("the promotion is under way", |world| {
        world.replica(leader).machine().membership_change().is_some()
    });
    let refused = world.ask(second, add(9));
    if world.replica(leader).machine().membership_change().is_some() {
        assert_refused(&refused, ErrorCode::MembershipRefused, "one change is made at a time");
    }
    assert_eq!(world.answer(client, asked), Ok(Reply::Done));
}

/// The leader crashes at every moment of a change; whoever asked is answered once, and the change
/// is made once.
#[test]
fn a_change_outlives_the_leader_that_began_it() {
    let mut between = 0;
    for seed in 0..60 {
        let (mut world, client) = three(seed);
        let joined = world.start_joining(&[1, 2, 3]);
        let leader = world.await_leader();
        let asked = world.request(client, add(joined));
        world.run_for(2 + seed / 2);
        let replica = world.replica(leader);
        let recorded = replica.machine().member(ServerId(joined)).is_some();
        let entered = replica.raft().membership().members().len() == 4;
        between += u32::from(recorded && !entered);
        world.crash(leader, Crash::LoseUnsynced);
        assert_eq!(world.answer(client, asked), Ok(Reply::Done), "seed {seed}");
        let next = world.await_leader();
        assert_eq!(learners(&world, next), [joined], "seed {seed}");
        let asked = world.request(client, promote(joined));
        world.run_for(2 + seed / 2);
        world.start(leader);
        let next = world.await_leader();
        world.restart(next);
        let promoted = world.answer(client, asked);
        if promoted.is_err() {
            assert_eq!(code(&promoted), Some(ErrorCode::MembershipRefused), "{promoted:?}");
            promote_when_ready(&mut world, client, joined);
        }
        let next = world.await_leader();
        assert_eq!(voters(&world, next), [1, 2, 3, 4], "seed {seed}");
        assert_equal_digests(&mut world);
        let entries = world.replica(next).raft();
        let all = entries.entries(entries.first_index()..=entries.last_index());
        let memberships = all.filter(|entry| entry.kind == EntryKind::Membership).count();
        assert_eq!(memberships, 3, "seed {seed}: one to add, two to promote");
    }
    assert!(between > 2, "{between} crashes hit between the record and the membership entry");
}

#[test]
fn a_change_during_a_partition_is_made_on_the_side_of_the_quorum() {
    for seed in 0..20 {
        let (mut world, client) = three(seed);
        let joined = world.start_joining(&[1, 2, 3]);
        let parted = world.await_leader();
        let asked = world.request(client, add(joined));
        world.run_for(seed);
        world.partition(&[parted]);
        assert_eq!(world.answer(client, asked), Ok(Reply::Done), "seed {seed}");
        let next = world.leader().filter(|id| *id != parted).expect("the quorum has a leader");
        assert_eq!(learners(&world, next), [joined]);
        promote_when_ready(&mut world, client, joined);
        assert_eq!(world.ask_until_settled(client, &remove(parted)), Ok(Reply::Done));
        world.heal();
        world.run_for(1_000);
        world.ask(client, set("/a", "after", None)).unwrap();
        let leader = world.await_leader();
        assert_ne!(leader, parted);
        assert!(!world.replica(parted).is_serving_leader());
        assert!(!world.servers[&leader].peers.contains_key(&ServerId(parted)));
        world.crash(parted, Crash::Kill);
        assert_equal_digests(&mut world);
    }
}

#[test]
fn a_cluster_grows_from_one_and_every_first_member_can_go() {
    let (mut world, client) = cluster(6, 1, Limits::TESTED);
    for _ in 0..3 {
        let contacts: Vec<u64> = world.servers.keys().copied().collect();
        let joined = world.start_joining(&contacts);
        world.ask(client, add(joined)).unwrap();
        promote_when_ready(&mut world, client, joined);
    }
    for gone in [1, 2] {
        assert_eq!(world.ask_until_settled(client, &remove(gone)), Ok(Reply::Done));
        world.crash(gone, Crash::Kill);
    }
    for id in [3, 4] {
        world.restart(id);
    }
    world.ask_until_settled(client, &set("/a", "still", None)).unwrap();
    assert_equal_digests(&mut world);
    let leader = world.await_leader();
    assert_eq!(voters(&world, leader), [3, 4]);
    let known: Vec<u64> = world.servers[&leader].peers.keys().map(|id| id.0).collect();
    assert_eq!(known, [3, 4]);
}

#[test]
fn a_removed_server_that_comes_back_is_let_in_by_nobody() {
    let (mut world, client) = three(7);
    let leader = world.await_leader();
    let removed = world.follower();
    world.crash(removed, Crash::Kill);
    assert_eq!(world.ask(client, remove(removed)), Ok(Reply::Done));
    let term = world.replica(leader).raft().term();
    world.start(removed);
    world.run_for(3_000);
    assert_eq!(world.replica(leader).raft().term(), term);
    assert_eq!(world.leader(), Some(leader));
    assert_ne!(world.replica(removed).raft().role(), Role::Leader);
}

/// The last membership entry of a log is not known to be committed after a restart; but whoever was
/// told that a server is removed has switched it off.
#[test]
fn a_removed_server_is_not_needed_after_a_restart() {
    for (servers, down) in [(2, 0), (4, 1)] {
        let (mut world, client) = cluster(8, servers, Limits::TESTED);
        let leader = world.await_leader();
        let gone = world.follower();
        assert_eq!(world.ask(client, remove(gone)), Ok(Reply::Done));
        world.dismissed.insert(gone);
        let left: Vec<u64> = (1..=servers).filter(|id| *id != gone).collect();
        world.await_level_of(&left);
        for id in 1..=servers {
            world.crash(id, Crash::LoseUnsynced);
        }
        let up: Vec<u64> = left.iter().copied().skip(down).collect();
        assert!(up.len() > left.len() / 2, "a quorum of those that are left");
        for id in up {
            world.start(id);
        }
        let served = world.ask_until_settled(client, &set("/a", "after", None));
        assert!(served.is_ok(), "{servers} servers, led by {leader}: {served:?}");
    }
}

/// What is refused stays refused, whatever becomes possible before the refusal is applied.
#[test]
fn a_learner_that_comes_back_while_its_promotion_is_refused_stays_a_learner() {
    let (mut world, client) = three(9);
    let leader = world.await_leader();
    let joined = world.start_joining(&[1, 2, 3]);
    world.ask(client, add(joined)).unwrap();
    world.await_level();
    world.clients[client].only = Some(leader);
    world.drop_client_connection(client, Some(0));
    world.await_established(client);
    let between = (leader, joined);
    world.cut(between, true);
    let asked = world.request(client, promote(joined));
    world.run_until("the end is proposed", |world| {
        let raft = world.replica(leader).raft();
        let proposed = raft.entries(raft.committed().next()..=raft.last_index());
        let transactions = proposed.filter_map(|entry| Transaction::decode(&entry.payload).ok());
        let mut changes = transactions.flat_map(|transaction| transaction.changes);
        changes.any(|change| matches!(change, Change::EndMembership { done: false, .. }))
    });
    // The end cannot commit yet, and the learner is in touch again.
    world.partition(&[leader, joined]);
    world.run_for(90);
    assert_eq!(world.leader(), Some(leader));
    world.heal();
    let refused = world.answer(client, asked);
    assert_refused(&refused, ErrorCode::MembershipRefused, "not connected");
    world.run_for(1_000);
    assert_eq!(learners(&world, leader), [joined]);
    assert!(!world.replica(leader).raft().membership().is_joint());
}

#[test]
fn a_learner_that_is_cut_off_sends_its_clients_elsewhere() {
    let (mut world, client) = three(10);
    let joined = world.start_joining(&[1, 2, 3]);
    world.ask(client, add(joined)).unwrap();
    let there = world.add_client(Some(joined), 5_000);
    world.await_established(there);
    world.partition(&[joined]);
    world.clients[there].only = None;
    world.run_until("the client has gone", |world| !world.clients[there].is_established());
    world.clients[there].only = Some(1);
    world.ask(there, set("/a", "elsewhere", None)).unwrap();
    assert_eq!(world.clients[there].sessions_lost, 0);
}
