//! How this server sees the cluster, for people and tools.
//!
//! Comes in: nothing. Goes out: a status, the catalogue with what is compiled here. Must never
//! change anything.

use crate::Replica;
use crate::{replica_of, server_of};
use alloc::string::String;
use alloc::vec::Vec;
use quorate_machine::{ComponentStatus, Identity, RecipeExecutor};
use quorate_raft::Role;
use quorate_types::request::{MemberStatus, ServerStatus};
use quorate_types::{Operation, Outcome, Reply, ServerId, Zxid};

impl<E: RecipeExecutor> Replica<E> {
    /// How this server sees the cluster.
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        ServerStatus {
            server: self.settings.identity.server,
            role: String::from(self.role_name()),
            term: self.raft.term().0,
            leader: self.leader(),
            applied: self.applied(),
            committed: Zxid(self.raft.committed().0),
            digest: self.machine.digest(),
            znodes: self.machine.znode_count(),
            sessions: self.machine.session_count(),
            watches: u64::try_from(self.watches.count()).unwrap_or(u64::MAX),
            tickets: self.machine.ticket_count(),
            connections: u32::try_from(self.connections.len()).unwrap_or(u32::MAX),
            members: self.member_statuses(),
            removed_members: self.removed_members(),
            alarms: self.alarm_texts(),
        }
    }

    fn role_name(&self) -> &'static str {
        if self.only_reads() {
            return "read-only";
        }
        match (self.raft.is_refetching(), self.raft.role()) {
            (true, _) => "refetching",
            (false, Role::Leader) => "leader",
            (false, Role::Follower) => "follower",
            (false, Role::PreCandidate | Role::Candidate) => "candidate",
            (false, Role::Learner) => "learner",
        }
    }

    fn member_statuses(&self) -> Vec<MemberStatus> {
        let members = self.raft.membership().members();
        members.into_iter().map(|id| self.member_status(server_of(id))).collect()
    }

    fn removed_members(&self) -> Vec<ServerId> {
        let recorded = self.machine.members().into_iter();
        recorded.filter(|(_, member)| member.is_removed()).map(|(server, _)| server).collect()
    }

    fn member_status(&self, server: ServerId) -> MemberStatus {
        let id = replica_of(server);
        let recorded = self.machine.member(server).and_then(|member| member.address.clone());
        let address = recorded.or_else(|| self.settings.members.get(&server).cloned());
        MemberStatus {
            server,
            voter: self.raft.membership().is_voter(id),
            peer_address: address.as_ref().map_or(String::new(), |known| known.peer.clone()),
            native_address: address.map_or(String::new(), |known| known.native),
            connected: server == self.settings.identity.server || self.peers.contains_key(&server),
            matched: self.raft.progress(id).map(|known| known.matched.0),
        }
    }

    /// The mounts, with what their runs have cost on this server.
    pub(crate) fn list_mounts(&self, identity: &Identity) -> Outcome {
        let outcome = self.machine.read(identity, &Operation::ListMounts)?;
        let Reply::Mounts(mut mounts) = outcome else { return Ok(outcome) };
        for mount in &mut mounts {
            mount.figures = self.executor.figures(&mount.path);
            if let Some(leading) = &self.leading {
                mount.faults = leading.outstanding.faults(&mount.path);
            }
        }
        Ok(Reply::Mounts(mounts))
    }

    /// The catalogue, with what is compiled on this server.
    pub(crate) fn list_recipes(&self) -> Outcome {
        let outcome =
            self.machine.read(&Identity::named("this server"), &Operation::ListRecipes)?;
        let Reply::Recipes(mut recipes) = outcome else { return Ok(outcome) };
        for recipe in &mut recipes {
            let status = self.executor.status(&recipe.digest);
            recipe.ready = matches!(status, ComponentStatus::Ready(_));
        }
        Ok(Reply::Recipes(recipes))
    }
}
