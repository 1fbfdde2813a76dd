//! What must hold at every moment, whoever looks.
//!
//! Comes in: a replica after each of its inputs. Invariant checked: a term has one leader; equal
//! zxids have equal digests, on every server and through every restart.

use crate::lock_recipe::LockExecutor;
use quorate_raft::Role;
use quorate_replica::Replica;
use quorate_types::SessionId;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Journal {
    leaders: BTreeMap<u64, u64>,
    digests: BTreeMap<u64, (u64, u64)>,
    /// The sessions there are after the newest transaction that any server has applied.
    pub sessions: BTreeSet<SessionId>,
    /// What replicas told the operator, with the server.
    pub alarms: Vec<(u64, String)>,
}

impl Journal {
    pub fn look_at(&mut self, server: u64, replica: &Replica<LockExecutor>) {
        if replica.raft().role() == Role::Leader {
            let term = replica.raft().term().0;
            let leader = *self.leaders.entry(term).or_insert(server);
            assert_eq!(leader, server, "term {term} has two leaders");
        }
        if replica.applied().0 > self.newest() {
            let sessions = replica.machine().sessions();
            self.sessions = sessions.iter().map(|known| known.session).collect();
        }
        let (zxid, digest) = (replica.applied().0, replica.machine().digest());
        let (first, known) = *self.digests.entry(zxid).or_insert((server, digest));
        assert_eq!(known, digest, "servers {first} and {server} differ at zxid {zxid}");
        assert_eq!(replica.machine().applied().0, zxid, "applied here and in the machine");
    }

    /// The newest transaction that any server has applied.
    pub fn newest(&self) -> u64 {
        self.digests.last_key_value().map_or(0, |(zxid, _)| *zxid)
    }
}
