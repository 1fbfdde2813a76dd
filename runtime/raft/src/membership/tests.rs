//! Behaviour of memberships: changes, the joint phase, bytes.

use alloc::vec::Vec;

use super::*;

fn ids(list: &[u64]) -> BTreeSet<ReplicaId> {
    list.iter().copied().map(ReplicaId).collect()
}

fn voters(list: &[u64]) -> Membership {
    Membership::of_voters(ids(list))
}

fn change(steps: &[MembershipStep]) -> MembershipChange {
    MembershipChange { steps: Vec::from(steps) }
}

use MembershipStep::{AddLearner, AddVoter, Remove};

#[test]
fn learners_come_and_go_in_one_step() {
    let with = voters(&[1, 2]).change(&change(&[AddLearner(ReplicaId(3))])).expect("valid");
    assert!(!with.is_joint());
    assert_eq!(with.learners, ids(&[3]));
    let without = with.change(&change(&[Remove(ReplicaId(3))])).expect("valid");
    assert_eq!(without, voters(&[1, 2]));
}

#[test]
fn a_change_of_voters_passes_through_a_joint_phase() {
    let steps = [AddVoter(ReplicaId(4)), Remove(ReplicaId(1)), AddLearner(ReplicaId(2))];
    let joint = voters(&[1, 2, 3]).change(&change(&steps)).expect("valid");
    assert_eq!(
        (joint.voters.clone(), joint.voters_outgoing.clone()),
        (ids(&[3, 4]), ids(&[1, 2, 3]))
    );
    assert_eq!((joint.learners.clone(), joint.learners_next.clone()), (ids(&[]), ids(&[2])));
    assert!(joint.auto_leave && joint.is_valid());
    assert!(joint.is_voter(ReplicaId(1)) && joint.is_voter(ReplicaId(4)));
    let last = joint.leave_joint();
    assert_eq!((last.voters.clone(), last.learners.clone()), (ids(&[3, 4]), ids(&[2])));
    assert!(!last.is_joint() && last.is_valid());
}

#[test]
fn changes_without_sense_are_refused() {
    let now = Membership { learners: ids(&[5]), ..voters(&[1]) };
    let refused = |steps: &[MembershipStep]| now.change(&change(steps)).err();
    assert_eq!(refused(&[]), Some(MembershipError::NoChange));
    assert_eq!(refused(&[AddVoter(ReplicaId(1))]), Some(MembershipError::NoChange));
    assert_eq!(refused(&[Remove(ReplicaId(1))]), Some(MembershipError::NoVoters));
    assert_eq!(refused(&[Remove(ReplicaId(9))]), Some(MembershipError::Unknown(ReplicaId(9))));
    let twice = [AddLearner(ReplicaId(7)), Remove(ReplicaId(7))];
    assert_eq!(refused(&twice), Some(MembershipError::Repeated(ReplicaId(7))));
    let joint = now.change(&change(&[AddVoter(ReplicaId(5))])).expect("valid");
    let again = joint.change(&change(&[AddVoter(ReplicaId(6))]));
    assert_eq!(again, Err(MembershipError::Joint));
}

#[test]
fn bytes_return_the_same_membership() {
    let steps = [AddVoter(ReplicaId(4)), AddLearner(ReplicaId(2))];
    let joint = voters(&[1, 2, 3]).change(&change(&steps)).expect("valid");
    for membership in [Membership::default(), voters(&[1, 2, 3]), joint.leave_joint(), joint] {
        assert_eq!(Membership::decode(&membership.encode()), Ok(membership));
    }
}

#[test]
fn broken_bytes_are_refused_and_never_panic() {
    let good = voters(&[1, 2, 3]).encode();
    for length in 0..good.len() {
        assert!(Membership::decode(&good[..length]).is_err(), "cut at {length}");
    }
    let mut long = good.clone();
    long.push(0);
    assert!(Membership::decode(&long).is_err());
    let mut huge = good.clone();
    huge[2..6].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Membership::decode(&huge).is_err());
    for position in 0..good.len() {
        for value in 0..=255 {
            let mut bytes = good.clone();
            bytes[position] = value;
            if let Ok(membership) = Membership::decode(&bytes) {
                assert_eq!(membership.encode(), bytes, "position {position} value {value}");
            }
        }
    }
}

#[test]
fn a_voter_that_is_also_a_learner_does_not_decode() {
    let both = Membership { learners: ids(&[1]), ..voters(&[1, 2]) };
    assert_eq!(Membership::decode(&both.encode()), Err(MembershipError::Bytes));
    let learners_only = Membership { learners: ids(&[1]), ..Membership::default() };
    assert_eq!(Membership::decode(&learners_only.encode()), Err(MembershipError::Bytes));
}
