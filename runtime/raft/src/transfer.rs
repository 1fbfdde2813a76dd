//! Handing leadership over on purpose.
//!
//! Comes in: the wish to hand over, the successor's progress. Goes out: `TimeoutNow` once the
//! successor holds the whole log. Invariant: no proposal is taken meanwhile, and the transfer ends
//! after one election timeout whether or not it succeeded. Never hands over to a non-voter.

use crate::message::{Message, TimeoutNow};
use crate::output::ProposeRefusal;
use crate::raft::Raft;
use crate::types::{ReplicaId, Role};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) to: ReplicaId,
    pub(crate) deadline_ms: u64,
}

impl Raft {
    /// Hands leadership to `to`, or to the voter that is furthest ahead. Success shows as a change
    /// of leader; after an election timeout without one, proposals are taken again.
    pub fn transfer_leader(
        &mut self,
        now_ms: u64,
        to: Option<ReplicaId>,
    ) -> Result<(), ProposeRefusal> {
        self.advance_time(now_ms);
        if !self.is_leader() {
            return Err(ProposeRefusal::NotLeader { leader: self.leader });
        }
        let to = to.or_else(|| self.best_successor());
        let to = to.filter(|id| *id != self.settings.id && self.membership.is_voter(*id));
        let to = to.ok_or(ProposeRefusal::NoTransferTarget)?;
        match self.transfer {
            Some(transfer) if transfer.to == to => return Ok(()),
            Some(transfer) => return Err(ProposeRefusal::Transferring { to: transfer.to }),
            None => {}
        }
        let deadline_ms = self.now_ms.saturating_add(self.settings.election_timeout_ms_max);
        self.transfer = Some(Transfer { to, deadline_ms });
        self.hand_over_if_caught_up(to);
        Ok(())
    }

    /// Among the voters heard from lately, the one that lacks least.
    fn best_successor(&self) -> Option<ReplicaId> {
        let fresh_ms = self.settings.election_timeout_ms_min;
        let fit = self.peers.iter().filter(|(id, peer)| {
            self.membership.voters.contains(id)
                && peer.life != 0
                && self.now_ms < peer.contact_ms.saturating_add(fresh_ms)
        });
        fit.max_by_key(|(id, peer)| (peer.matched, **id)).map(|(id, _)| *id)
    }

    pub(crate) fn hand_over_if_caught_up(&mut self, id: ReplicaId) {
        if self.transfer.is_none_or(|transfer| transfer.to != id) {
            return;
        }
        let caught_up = |peer: &crate::progress::Progress| peer.matched == self.log.last_index();
        if self.peers.get(&id).is_some_and(caught_up) {
            let term = self.hard_state.term;
            self.send(id, Message::TimeoutNow(TimeoutNow { term }));
        }
    }

    pub(crate) fn take_timeout_now(&mut self, from: ReplicaId) {
        let from_leader = self.leader.is_none_or(|leader| leader == from);
        let idle = matches!(self.role, Role::Follower | Role::PreCandidate);
        if from_leader && idle && self.may_campaign() {
            self.campaign(true);
        }
    }
}
