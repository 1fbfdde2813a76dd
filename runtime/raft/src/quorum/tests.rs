//! Quorum arithmetic against brute force over every small membership.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::*;

fn set(bits: u32) -> BTreeSet<ReplicaId> {
    (0..8).filter(|bit| bits & (1 << bit) != 0).map(ReplicaId).collect()
}

fn memberships() -> Vec<Membership> {
    let mut all = Vec::new();
    for incoming in 1..16 {
        for outgoing in 0..16 {
            let (voters, voters_outgoing) = (set(incoming), set(outgoing));
            all.push(Membership { voters, voters_outgoing, ..Membership::default() });
        }
    }
    all
}

/// More than half of a half, counted one by one.
fn is_quorum(voters: &BTreeSet<ReplicaId>, has: impl Fn(ReplicaId) -> bool) -> bool {
    let count = voters.iter().filter(|id| has(**id)).count();
    voters.is_empty() || 2 * count > voters.len()
}

fn is_joint_quorum(membership: &Membership, has: impl Fn(ReplicaId) -> bool + Copy) -> bool {
    is_quorum(&membership.voters, has) && is_quorum(&membership.voters_outgoing, has)
}

#[test]
fn the_value_reached_is_the_largest_that_a_quorum_holds() {
    for membership in memberships() {
        for code in 0..256u32 {
            let value = |id: ReplicaId| (code >> (2 * id.0)) & 3;
            let largest =
                (0..4).rev().find(|least| is_joint_quorum(&membership, |id| value(id) >= *least));
            assert_eq!(reached(&membership, value), largest, "{membership:?} code {code}");
        }
    }
}

#[test]
fn an_election_is_won_lost_or_open_as_counting_every_outcome_says() {
    for membership in memberships() {
        for code in 0..256u32 {
            let answer = |id: ReplicaId| (code >> (2 * id.0)) & 3;
            let mut votes = BTreeMap::new();
            for id in membership.members().into_iter().filter(|id| answer(*id) < 2) {
                votes.insert(id, answer(id) == 1);
            }
            let expected = if is_joint_quorum(&membership, |id| votes.get(&id) == Some(&true)) {
                Election::Won
            } else if is_joint_quorum(&membership, |id| votes.get(&id) != Some(&false)) {
                Election::Open
            } else {
                Election::Lost
            };
            assert_eq!(election(&membership, &votes), expected, "{membership:?} {votes:?}");
        }
    }
}

#[test]
fn nobody_wins_an_election_without_voters() {
    assert_eq!(election(&Membership::default(), &BTreeMap::new()), Election::Lost);
    assert_eq!(reached(&Membership::default(), |_| 1), None);
}
