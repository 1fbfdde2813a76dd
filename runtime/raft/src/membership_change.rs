//! Changing who belongs to the cluster.
//!
//! Comes in: a change asked of the leader, committed membership entries. Goes out: membership
//! entries, and the membership in effect. Invariant: a membership takes effect when its entry
//! commits, and none is appended before the one ahead of it is committed and the leader has
//! committed in its own term. A leader that is no voter any more tells the others and steps down.

use crate::membership::{Membership, MembershipChange};
use crate::output::ProposeRefusal;
use crate::raft::Raft;
use crate::types::{EntryKind, Index, ReplicaId, Role};

impl Raft {
    /// Appends a change of membership; in effect once the entry commits. A change of voters passes
    /// through a joint phase, which the leader ends by itself.
    pub fn propose_membership(
        &mut self,
        change: MembershipChange,
    ) -> Result<Index, ProposeRefusal> {
        self.check_may_propose()?;
        if !self.is_membership_settled() {
            return Err(ProposeRefusal::MembershipPending);
        }
        let next = self.membership.change(&change).map_err(ProposeRefusal::Membership)?;
        Ok(self.append_membership(&next))
    }

    /// Leader: whether no change is under way: every membership entry there is has committed, the
    /// joint phase is over, and something of this leader's own term is committed.
    pub fn is_membership_settled(&self) -> bool {
        self.membership_pending <= self.committed
            && self.has_committed_in_term()
            && !self.membership.is_joint()
    }

    /// For the start: the caller sees in its own entries that everything up to `index` was committed
    /// once, since what a later one says follows only from that. Without it the last membership
    /// entry of a log counts as uncommitted, and voters that have left for good might be needed.
    pub fn know_committed(&mut self, index: Index) {
        assert!(index <= self.log.last_index(), "known committed beyond the log's end");
        if index > self.committed {
            self.advance_commit(index);
            self.campaign_if_alone();
        }
    }

    fn append_membership(&mut self, membership: &Membership) -> Index {
        let index = self.append_own(EntryKind::Membership, membership.encode().into());
        self.membership_pending = index;
        index
    }

    /// Leader: ends the joint phase once it may.
    pub(crate) fn leave_joint_if_possible(&mut self) {
        let settled = self.membership_pending <= self.committed && self.has_committed_in_term();
        if settled && self.membership.is_joint() && self.membership.auto_leave {
            let next = self.membership.leave_joint();
            self.append_membership(&next);
        }
    }

    /// Puts a committed membership into effect.
    pub(crate) fn enter_membership(&mut self, membership: Membership) {
        if membership == self.membership {
            return;
        }
        self.membership = membership;
        self.outbox.membership_changed = true;
        match self.role {
            Role::Leader => self.settle_peers(),
            Role::Follower | Role::Learner => {
                let role = self.role_without_leading();
                self.outbox.role_changed |= role != self.role;
                self.role = role;
            }
            Role::PreCandidate | Role::Candidate => {
                if !self.membership.is_voter(self.settings.id) {
                    self.follow(self.hard_state.term, None);
                }
            }
        }
    }

    /// Leader: peers come and go with the membership. Those who go are told why first.
    fn settle_peers(&mut self) {
        let members = self.membership.members();
        let gone = |id: &&ReplicaId| !members.contains(id);
        let leaving: alloc::vec::Vec<ReplicaId> = self.peers.keys().filter(gone).copied().collect();
        for id in leaving {
            self.feed(id);
            self.peers.remove(&id);
            self.outbox.snapshot_wanted.remove(&id);
        }
        self.add_missing_peers();
        if self.transfer.is_some_and(|transfer| !self.membership.is_voter(transfer.to)) {
            self.transfer = None;
        }
    }

    /// Leader: steps down once its own removal is committed, after telling the others so.
    pub(crate) fn step_down_if_removed(&mut self) {
        if self.is_leader() && !self.membership.is_voter(self.settings.id) {
            self.feed_all();
            self.follow(self.hard_state.term, None);
        }
    }
}
