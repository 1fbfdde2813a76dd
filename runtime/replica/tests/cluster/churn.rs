//! Somebody who changes the membership all the time.
//!
//! Comes in: what was answered, the members as servers see them. Goes out: servers that join, are
//! promoted and removed. Invariant checked at the end: no change is left under way, and everybody
//! has the same record of members.

use crate::client::Done;
use crate::membership::{add, promote, remove};
use crate::world::World;
use quorate_faulty_disk::Crash;
use quorate_raft::Membership;
use quorate_types::{ErrorCode, Operation, Reply, ServerId};
use std::collections::BTreeSet;

/// Servers that ever were, at most.
const SERVERS_MAX: usize = 9;

pub struct Churn {
    client: usize,
    pub added: u64,
    pub promoted: u64,
    pub removed: u64,
    pub refused: u64,
}

impl Churn {
    pub fn new(world: &mut World) -> Churn {
        let client = world.add_client(None, 1_500);
        Churn { client, added: 0, promoted: 0, removed: 0, refused: 0 }
    }

    /// Takes in what was answered, and now and then asks for the next change.
    pub fn work(&mut self, world: &mut World) {
        while let Some(done) = world.clients[self.client].done.pop_front() {
            self.take(&done);
        }
        self.dismiss(world);
        let client = &world.clients[self.client];
        if client.pending.is_empty() && client.session.is_some() && world.choices.one_in(12) {
            self.ask(world);
        }
    }

    pub fn is_idle(&self, world: &World) -> bool {
        world.clients[self.client].pending.is_empty()
    }

    fn take(&mut self, done: &Done) {
        let Some(outcome) = &done.outcome else { return };
        match (&done.operation, outcome) {
            (Operation::AddMember { .. }, Ok(Reply::Done)) => self.added += 1,
            (Operation::PromoteMember { .. }, Ok(Reply::Done)) => self.promoted += 1,
            (Operation::RemoveMember { .. }, Ok(Reply::Done)) => self.removed += 1,
            (operation, Ok(reply)) => panic!("{operation:?} is answered {reply:?}"),
            (operation, Err(refusal)) => {
                let said = [ErrorCode::MembershipRefused, ErrorCode::NoMember];
                let proper = said.contains(&refusal.code) || refusal.code.is_transient();
                assert!(proper, "{operation:?}: {refusal}");
                self.refused += 1;
            }
        }
    }

    fn ask(&mut self, world: &mut World) {
        let members = newest_membership(world);
        let ids = |of: &BTreeSet<quorate_raft::ReplicaId>| of.iter().map(|id| id.0).collect();
        let (voters, learners): (Vec<u64>, Vec<u64>) =
            (ids(&members.voters), ids(&members.learners));
        let all: Vec<u64> = ids(&members.members());
        if all.is_empty() {
            // Nobody is up.
            return;
        }
        let operation = match world.choices.below(8) {
            0 | 1 if world.servers.len() < SERVERS_MAX => add(world.start_joining(&all)),
            2 => add(1 + world.choices.below(world.servers.len() as u64)),
            3..=5 => promote(one_of(world, if learners.is_empty() { &all } else { &learners })),
            6 if voters.len() > 2 => remove(one_of(world, &voters)),
            _ => remove(one_of(world, &all)),
        };
        world.request(self.client, operation);
    }

    /// Who was removed is switched off after a while, for good.
    fn dismiss(&mut self, world: &mut World) {
        for id in removed(world) {
            world.dismissed.insert(id);
            if world.is_up(id) && world.choices.one_in(20) {
                world.crash(id, Crash::Kill);
            }
        }
    }

    /// Only members are left, all of them able to be contacted.
    pub fn finish(&mut self, world: &mut World) {
        // Whoever asked for it may have lost the session; it comes to its end all the same.
        world.run_until("no change is under way", |world| {
            let leader = world.leader().map(|id| world.replica(id));
            leader.is_some_and(|leader| leader.machine().membership_change().is_none())
        });
        let leader = world.await_leader();
        let replica = world.replica(leader);
        assert!(!replica.raft().membership().is_joint());
        let members: Vec<u64> =
            replica.raft().membership().members().iter().map(|id| id.0).collect();
        let all: Vec<u64> = world.servers.keys().copied().collect();
        for id in all {
            if !members.contains(&id) && world.is_up(id) {
                world.crash(id, Crash::Kill);
            } else if world.is_up(id) && !world.servers[&id].peers.contains_key(&ServerId(leader)) {
                // All that it knew of have left meanwhile: the operator says who is there.
                world.crash(id, Crash::Kill);
                world.servers.get_mut(&id).unwrap().set_contacts(&members);
                world.start(id);
            }
        }
        world.await_level();
        let told = world.replica(leader).member_addresses();
        for id in &members {
            assert_eq!(world.replica(*id).member_addresses(), told, "server {id}");
            assert_eq!(world.servers[id].peers, told, "server {id}");
        }
    }
}

fn one_of(world: &mut World, ids: &[u64]) -> u64 {
    ids[world.choices.below(ids.len() as u64) as usize]
}

/// The membership of the server that has come furthest.
fn newest_membership(world: &World) -> Membership {
    let up = world.servers.keys().filter(|id| world.is_up(**id));
    let newest = up.max_by_key(|id| world.replica(**id).raft().committed());
    newest.map_or_else(Membership::default, |id| world.replica(*id).raft().membership().clone())
}

fn removed(world: &World) -> BTreeSet<u64> {
    let up = world.servers.keys().filter(|id| world.is_up(**id));
    let recorded = up.flat_map(|id| world.replica(*id).machine().members());
    recorded.filter(|(_, member)| member.removed).map(|(server, _)| server.0).collect()
}
