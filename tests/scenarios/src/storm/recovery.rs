//! The end of a storm: every fault is taken away and the cluster must become one again.
//! In: whatever the storm left. Out: `Ok` when there is one leader, equal logs, a settled
//! membership, service for reads and writes, and no question left without an answer. Also makes the
//! leader throw its whole log away while a follower is down, after which that follower must return.

use std::collections::BTreeSet;

use quorate_raft::{Index, ReplicaId, Role, Term};

use super::{Event, Faults, Storm};

/// Time for one leader to appear and everybody to catch up, many election timeouts.
const SETTLE_MS: u64 = 4_000;
/// Time for one request to be served by a settled cluster.
const SERVE_MS: u64 = 600;

impl Storm {
    /// Connections that nobody said were broken are not made anew: what was lost on them must be
    /// noticed by the replicas themselves.
    pub(super) fn become_calm(&mut self) -> Result<(), String> {
        self.calm = true;
        self.faults = Faults::none(self.faults.compact_after);
        self.cut.clear();
        self.paused_until.clear();
        for id in self.ids() {
            self.on_start(id)?;
        }
        self.run_until(self.now_ms + SETTLE_MS)
    }

    pub(super) fn check_recovered(&mut self) -> Result<(), String> {
        let leader = self.the_leader()?;
        self.check_proposals_decided()?;
        self.serve(leader)?;
        self.lose_the_whole_log(leader)?;
        let leader = self.the_leader()?;
        self.serve(leader)?;
        self.summary.committed = self.checks.committed().0;
        self.summary.leaders = self.checks.leaders();
        Ok(())
    }

    fn the_leader(&mut self) -> Result<ReplicaId, String> {
        let leaders: Vec<ReplicaId> =
            self.ids().into_iter().filter(|id| self.role(*id) == Some(Role::Leader)).collect();
        let [leader] = leaders.as_slice() else {
            return Err(format!("the healed cluster has leaders {leaders:?}"));
        };
        let leader = *leader;
        let raft = self.servers.get_mut(&leader).expect("a server of this cluster").running()?;
        if raft.membership().is_joint() {
            return Err(format!("{leader} leads a healed cluster in a joint membership"));
        }
        Ok(leader)
    }

    fn members(&mut self, leader: ReplicaId) -> Result<BTreeSet<ReplicaId>, String> {
        let raft = self.servers.get_mut(&leader).expect("a server of this cluster").running()?;
        Ok(raft.membership().members())
    }

    /// New proposals commit, reads on every member are answered, all logs are equal.
    fn serve(&mut self, leader: ReplicaId) -> Result<(), String> {
        let last = self.propose_or_fail(leader)?;
        for id in self.members(leader)? {
            self.read(id)?;
        }
        let answered = self.summary.reads;
        self.run_until(self.now_ms + SERVE_MS)?;
        if self.checks.committed() < last {
            return Err(format!("{leader} does not commit proposal {last} in a healed cluster"));
        }
        let waiting = self.checks.reads_waiting();
        if !waiting.is_empty() {
            return Err(format!("reads {waiting:?} never got an answer"));
        }
        let members = self.members(leader)?;
        if self.summary.reads < answered + members.len() as u64 {
            return Err("a read was refused in a healed cluster".to_string());
        }
        self.check_logs_equal(leader, &members)
    }

    fn propose_or_fail(&mut self, leader: ReplicaId) -> Result<Index, String> {
        let before = self.accepted.len();
        for _ in 0..5 {
            self.propose(leader, 2)?;
        }
        match self.accepted.last() {
            Some((last, _)) if self.accepted.len() > before => Ok(*last),
            Some(_) | None => Err(format!("{leader} takes no proposal in a healed cluster")),
        }
    }

    fn check_logs_equal(
        &mut self,
        leader: ReplicaId,
        members: &BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        let (end, digest) = {
            let machine = &self.servers[&leader].machine;
            (machine.applied, machine.digest)
        };
        for id in members {
            let server = self.servers.get_mut(id).expect("a member is a server");
            let (applied, found) = (server.machine.applied, server.machine.digest);
            let raft = server.running()?;
            let last = raft.last_index();
            if (applied, found) != (end, digest) || last != end || raft.is_refetching() {
                return Err(format!(
                    "{id} ends with {applied} of {last} applied, leader {leader} with {end}"
                ));
            }
        }
        Ok(())
    }

    fn check_proposals_decided(&mut self) -> Result<(), String> {
        let committed = self.checks.committed();
        let open: Vec<&(Index, Term)> =
            self.accepted.iter().filter(|(index, _)| *index > committed).collect();
        // A proposal whose place no later term needed is lost for good, and its proposer knows:
        // it does not lead that term any more.
        let current = self.ids().into_iter().find_map(|id| {
            let raft = self.servers[&id].raft.as_ref()?;
            (raft.role() == Role::Leader).then(|| raft.term())
        });
        match open.iter().find(|(_, term)| Some(*term) == current) {
            Some((index, term)) => Err(format!("proposal {index} of term {term} is forgotten")),
            None => Ok(()),
        }
    }

    /// openraft #1828: a follower that needs a snapshot of an idle leader whose log is empty.
    fn lose_the_whole_log(&mut self, leader: ReplicaId) -> Result<(), String> {
        let members = self.members(leader)?;
        let followers: Vec<ReplicaId> = members.into_iter().filter(|id| *id != leader).collect();
        if followers.is_empty() {
            return Ok(());
        }
        let follower = self.prng.one_of(&followers);
        self.servers.get_mut(&follower).expect("a member is a server").crash(0);
        self.checks.server_stopped(follower);
        *self.lives.entry(follower).or_default() += 1;
        self.propose_or_fail(leader)?;
        self.run_until(self.now_ms + 100)?;
        let server = self.servers.get_mut(&leader).expect("a server of this cluster");
        let effects = server.compact(0)?;
        self.take_effects(leader, effects)?;
        let seed = self.prng.draw();
        self.servers.get_mut(&follower).expect("a member is a server").settings.seed = seed;
        self.schedule(1, Event::Start { server: follower });
        self.run_until(self.now_ms + SETTLE_MS / 2)
    }
}
