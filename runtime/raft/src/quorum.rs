//! Majorities, alone and joint, recomputed from a sorted copy each time.
//!
//! Comes in: a membership and a value per replica. Goes out: the largest value that a majority of
//! every half has reached, or the state of an election. Invariant: two quorums of one membership
//! intersect in each half. Never keeps a running count: clusters are small and counts go wrong.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::membership::Membership;
use crate::types::ReplicaId;

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
    let incoming = majority_reached(&membership.voters, &value);
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
    values.sort_unstable();
    let majority = values.len() / 2 + 1;
    values.len().checked_sub(majority).and_then(|position| values.get(position).copied())
}

/// How an election stands with these answers.
pub(crate) fn election(membership: &Membership, votes: &BTreeMap<ReplicaId, bool>) -> Election {
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
