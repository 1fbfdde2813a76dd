//! Majorities, alone and joint, recomputed from a sorted copy each time.
//!
//! Comes in: a membership and a value per replica. Goes out: the largest value that a majority of
//! every half has reached, or the state of an election. Invariant: two quorums of one membership
//! intersect in each half. Never keeps a running count: clusters are small and counts go wrong.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::membership::Membership;
use crate::types::ReplicaId;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Election {
    Won,
    Lost,
    Open,
}

/// The largest value reached by a majority of the voters, and of the outgoing voters if joint.
pub(crate) fn reached<T: Ord + Copy>(
    membership: &Membership,
    value: impl Fn(ReplicaId) -> T,
) -> Option<T> {
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::LearnerCounted) {
        return reached_by_members(membership, &value);
    }
    let incoming = majority_reached(&membership.voters, &value);
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::JointNeedsOneMajority) {
        return incoming;
    }
    let outgoing = majority_reached(&membership.voters_outgoing, &value);
    match (incoming, outgoing) {
        (Some(incoming), Some(outgoing)) => Some(incoming.min(outgoing)),
        (one, other) => one.or(other),
    }
}

fn majority_reached<T: Ord + Copy>(
    voters: &BTreeSet<ReplicaId>,
    value: impl Fn(ReplicaId) -> T,
) -> Option<T> {
    let mut values: Vec<T> = voters.iter().map(|id| value(*id)).collect();
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::QuorumScanUnsorted) {
        return values.get(values.len() / 2).copied();
    }
    values.sort_unstable();
    let majority = values.len() / 2 + 1;
    #[cfg(feature = "planted-bugs")]
    let majority =
        if is_planted(PlantedBug::HalfIsMajority) { values.len().div_ceil(2) } else { majority };
    values.len().checked_sub(majority).and_then(|position| values.get(position).copied())
}

/// What `reached` says when learners' copies stand in for voters'.
#[cfg(feature = "planted-bugs")]
fn reached_by_members<T: Ord + Copy>(
    membership: &Membership,
    value: impl Fn(ReplicaId) -> T,
) -> Option<T> {
    let mut values: Vec<T> = membership.members().into_iter().map(value).collect();
    values.sort_unstable();
    let majority = membership.voters.len() / 2 + 1;
    values.len().checked_sub(majority).and_then(|position| values.get(position).copied())
}

/// How an election stands with these answers.
pub(crate) fn election(membership: &Membership, votes: &BTreeMap<ReplicaId, bool>) -> Election {
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::JointNeedsOneMajority) {
        return majority_election(&membership.voters, votes);
    }
    let halves = [&membership.voters, &membership.voters_outgoing];
    let results: Vec<Election> = halves
        .into_iter()
        .filter(|voters| !voters.is_empty())
        .map(|voters| majority_election(voters, votes))
        .collect();
    if results.is_empty() || results.contains(&Election::Lost) {
        Election::Lost
    } else if results.contains(&Election::Open) {
        Election::Open
    } else {
        Election::Won
    }
}

fn majority_election(voters: &BTreeSet<ReplicaId>, votes: &BTreeMap<ReplicaId, bool>) -> Election {
    let majority = voters.len() / 2 + 1;
    let granted = voters.iter().filter(|id| votes.get(id) == Some(&true)).count();
    let refused = voters.iter().filter(|id| votes.get(id) == Some(&false)).count();
    if granted >= majority {
        Election::Won
    } else if refused + majority > voters.len() {
        Election::Lost
    } else {
        Election::Open
    }
}

#[cfg(test)]
mod tests;
