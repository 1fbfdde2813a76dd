//! Who belongs to the cluster: voters, the outgoing voters of a joint phase, learners.
//!
//! Comes in: a membership and a change asked for. Goes out: the membership to replicate, its bytes.
//! Invariant: a membership in effect has at least one voter, and nobody is voter and learner at
//! once. A change of voters passes through a joint phase in which both majorities decide; learners
//! alone change in one step. Never decides when a membership takes effect: that is at commit.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use crate::types::ReplicaId;

const LAYOUT_VERSION: u8 = 1;
/// Most replicas per set that `decode` accepts; far above any sensible cluster.
const MEMBERS_MAX: u32 = 1_024;

/// One membership of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
pub struct Membership {
    /// Those who vote and count for commit.
    pub voters: BTreeSet<ReplicaId>,
    /// Joint phase only: the voters before the change; their majority is needed as well.
    pub voters_outgoing: BTreeSet<ReplicaId>,
    /// Those who receive entries without a vote.
    pub learners: BTreeSet<ReplicaId>,
    /// Joint phase only: outgoing voters who become learners when it ends.
    pub learners_next: BTreeSet<ReplicaId>,
    /// Joint phase only: the leader ends it by itself.
    pub auto_leave: bool,
}

/// One step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipStep {
    /// A new replica without a vote, or a voter that loses it.
    AddLearner(ReplicaId),
    /// A learner, or a new replica, becomes a voter. The caller first makes sure it is alive and
    /// has caught up (see `Raft::progress`), or commits stall.
    AddVoter(ReplicaId),
    /// A replica leaves for good; its id is never used again.
    Remove(ReplicaId),
}

/// Steps that take effect together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipChange {
    /// Applied in order; a replica may appear once.
    pub steps: Vec<MembershipStep>,
}

/// Why a change makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipError {
    /// It changes nothing.
    NoChange,
    /// No voter would be left.
    NoVoters,
    /// The same replica appears twice.
    Repeated(ReplicaId),
    /// The replica to remove is no member.
    Unknown(ReplicaId),
    /// A joint phase is still in effect.
    Joint,
    /// The bytes are not a membership.
    Bytes,
}

impl fmt::Display for MembershipError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MembershipError::NoChange => write!(out, "the change changes nothing"),
            MembershipError::NoVoters => write!(out, "no voter would be left"),
            MembershipError::Repeated(id) => write!(out, "replica {id} appears twice"),
            MembershipError::Unknown(id) => write!(out, "replica {id} is no member"),
            MembershipError::Joint => write!(out, "an earlier change is still in its joint phase"),
            MembershipError::Bytes => write!(out, "not the bytes of a membership"),
        }
    }
}

impl core::error::Error for MembershipError {}

impl Membership {
    /// A membership of these voters and nobody else.
    pub fn of_voters(voters: impl IntoIterator<Item = ReplicaId>) -> Membership {
        Membership { voters: voters.into_iter().collect(), ..Membership::default() }
    }

    /// Whether two majorities decide.
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// Whether the replica has a vote, in either half of a joint phase.
    pub fn is_voter(&self, id: ReplicaId) -> bool {
        self.voters.contains(&id) || self.voters_outgoing.contains(&id)
    }

    /// Everybody who receives entries, without repetition, in order.
    pub fn members(&self) -> BTreeSet<ReplicaId> {
        let mut members = self.voters.clone();
        members.extend(&self.voters_outgoing);
        members.extend(&self.learners);
        members.extend(&self.learners_next);
        members
    }

    /// Whether this replica alone decides.
    pub fn is_sole_voter(&self, id: ReplicaId) -> bool {
        !self.is_joint() && self.voters.len() == 1 && self.voters.contains(&id)
    }

    /// The membership to replicate for `change`: joint if voters change, else final.
    pub fn change(&self, change: &MembershipChange) -> Result<Membership, MembershipError> {
        if self.is_joint() {
            return Err(MembershipError::Joint);
        }
        let mut next = self.clone();
        let mut seen = BTreeSet::new();
        for step in &change.steps {
            let (MembershipStep::AddLearner(id)
            | MembershipStep::AddVoter(id)
            | MembershipStep::Remove(id)) = *step;
            if !seen.insert(id) {
                return Err(MembershipError::Repeated(id));
            }
            let was_member = next.voters.remove(&id) | next.learners.remove(&id);
            match step {
                MembershipStep::AddLearner(_) => _ = next.learners.insert(id),
                MembershipStep::AddVoter(_) => _ = next.voters.insert(id),
                MembershipStep::Remove(_) if was_member => {}
                MembershipStep::Remove(_) => return Err(MembershipError::Unknown(id)),
            }
        }
        if next == *self {
            return Err(MembershipError::NoChange);
        }
        if next.voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        if next.voters != self.voters {
            next.enter_joint(&self.voters);
        }
        Ok(next)
    }

    fn enter_joint(&mut self, voters_before: &BTreeSet<ReplicaId>) {
        self.voters_outgoing = voters_before.clone();
        self.learners_next = self.learners.intersection(voters_before).copied().collect();
        self.learners.retain(|id| !voters_before.contains(id));
        self.auto_leave = true;
    }

    /// The membership after the joint phase.
    pub fn leave_joint(&self) -> Membership {
        let mut learners = self.learners.clone();
        learners.extend(&self.learners_next);
        Membership { voters: self.voters.clone(), learners, ..Membership::default() }
    }

    /// Version byte, auto-leave byte, then four counted lists of little-endian ids.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::from([LAYOUT_VERSION, u8::from(self.auto_leave)]);
        for set in [&self.voters, &self.voters_outgoing, &self.learners, &self.learners_next] {
            bytes.extend_from_slice(&(set.len() as u32).to_le_bytes());
            set.iter().for_each(|id| bytes.extend_from_slice(&id.0.to_le_bytes()));
        }
        bytes
    }

    /// The reverse of `encode`; refuses anything `encode` does not make.
    pub fn decode(bytes: &[u8]) -> Result<Membership, MembershipError> {
        let Some((&[LAYOUT_VERSION, auto_leave @ (0 | 1)], mut rest)) = bytes.split_first_chunk()
        else {
            return Err(MembershipError::Bytes);
        };
        let mut sets: [BTreeSet<ReplicaId>; 4] = Default::default();
        for set in &mut sets {
            *set = decode_set(&mut rest).ok_or(MembershipError::Bytes)?;
        }
        let [voters, voters_outgoing, learners, learners_next] = sets;
        let membership = Membership {
            voters,
            voters_outgoing,
            learners,
            learners_next,
            auto_leave: auto_leave == 1,
        };
        if !rest.is_empty() || !membership.is_valid() {
            return Err(MembershipError::Bytes);
        }
        Ok(membership)
    }

    /// Whether the sets fit together. A replica that joins an existing cluster starts with an empty
    /// membership, so an empty one is valid here.
    pub fn is_valid(&self) -> bool {
        let joint = self.is_joint();
        (!self.voters.is_empty() || self.members().is_empty())
            && (joint || (self.learners_next.is_empty() && !self.auto_leave))
            && self.learners.is_disjoint(&self.voters)
            && self.learners.is_disjoint(&self.voters_outgoing)
            && self.learners_next.is_disjoint(&self.voters)
            && self.learners_next.is_subset(&self.voters_outgoing)
    }
}

fn decode_set(rest: &mut &[u8]) -> Option<BTreeSet<ReplicaId>> {
    let (count, mut tail) = rest.split_first_chunk()?;
    let count = u32::from_le_bytes(*count);
    if count > MEMBERS_MAX {
        return None;
    }
    let mut set = BTreeSet::new();
    for _ in 0..count {
        let (id, after) = tail.split_first_chunk()?;
        let id = ReplicaId(u64::from_le_bytes(*id));
        if set.last().is_some_and(|last| *last >= id) {
            return None;
        }
        set.insert(id);
        tail = after;
    }
    *rest = tail;
    Some(set)
}

#[cfg(test)]
mod tests;
