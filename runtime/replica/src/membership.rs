//! Who belongs to the cluster: the leader ends the change that is on record, every server tells
//! its shell where the members are.
//!
//! Comes in: the record of members, what consensus knows. Goes out: membership entries, the end of
//! a change, the addresses to dial and accept. Invariant: a change is on record, with where its
//! server is, before consensus hears of it, and is ended only once consensus has settled on it, the
//! joint phase over, or when nothing came of it; so whatever crash comes between, the next leader
//! goes on from the record. What is on record and no member of consensus is harmless. Must never:
//! end a change while an entry of it may still commit, or leave half of one behind.

use crate::Replica;
use crate::boundary::Action;
use crate::{replica_of, server_of};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use quorate_machine::{
    Change, Member, MemberStep, MembershipStep, RecipeExecutor, Request, Transaction,
};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{
    Entry, EntryKind, Index, Membership, MembershipChange, PeerStatus, ProposeRefusal, ReplicaId,
    ReplicationState,
};
use quorate_types::{ErrorCode, MemberAddress, Refusal, ServerId, Zxid};
use quorate_wire::peer::PeerFrame;

/// How long a leader waits for servers that are to become members and voters at once, in milliseconds.
const JOINING_MS_MAX: u64 = 10_000;

/// What the leader does next about a change.
enum Next {
    /// Nothing until consensus has moved.
    Wait,
    /// An entry was appended, or leadership is on its way to another.
    Moved,
    /// It is over: done, or nothing came of it.
    End(Result<(), Refusal>),
}

impl<E: RecipeExecutor> Replica<E> {
    /// Where every member is, as far as this server knows: those on record, those in entries that
    /// are not applied here yet, those that a peer with more of the log knows, and the configured
    /// ones until the cluster has them on record.
    #[must_use]
    pub fn member_addresses(&self) -> BTreeMap<ServerId, MemberAddress> {
        let mut found = self.settings.members.clone();
        // After a start nothing may be applied, and without its peers nothing ever would.
        let unapplied = self.applied.next()..=self.raft.last_index();
        let commands =
            self.raft.entries(unapplied).filter(|entry| entry.kind == EntryKind::Command);
        let transactions = commands.filter_map(|entry| Transaction::decode(&entry.payload).ok());
        let recorded = transactions.flat_map(|transaction| transaction.changes);
        let recorded = recorded.filter_map(|change| match change {
            Change::RecordAddress { server, address } => Some((server, address)),
            _ => None,
        });
        let recorded: Vec<(ServerId, MemberAddress)> = recorded.collect();
        for (server, member) in self.machine.members() {
            if let Some(address) = &member.address {
                found.insert(server, address.clone());
            } else if member.is_removed() {
                found.remove(&server);
            }
        }
        found.extend(recorded);
        if let Some((applied, told)) = &self.members_told
            && *applied > self.applied()
        {
            for (server, address) in told.iter().filter(|(server, _)| !self.is_removed(**server)) {
                found.entry(*server).or_insert_with(|| address.clone());
            }
        }
        found
    }

    /// A peer that has applied more than this server says where the members are. Only then can a
    /// leader that joined while this server was away connect to it, and bring it the log in which
    /// it would find that leader.
    pub(crate) fn on_members_told(
        &mut self,
        applied: Zxid,
        members: BTreeMap<ServerId, MemberAddress>,
    ) {
        let before = self.members_told.as_ref().map_or(self.applied(), |(before, _)| *before);
        if applied > before.max(self.applied()) {
            self.members_told = Some((applied, members));
            self.tell_peers();
        }
    }

    pub(crate) fn tell_members(&mut self, peer: ServerId) {
        let (applied, members) = (self.applied(), self.member_addresses());
        self.send_peer(peer, PeerFrame::Members { applied, members });
    }

    /// Tells the shell where the members are, and lets go of those that have left.
    pub(crate) fn tell_peers(&mut self) {
        let members = self.member_addresses();
        if self.peers_told.as_ref() != Some(&members) {
            self.peers_told = Some(members.clone());
            // The shell lets go of all others.
            let stays = |peer: &ServerId| members.contains_key(peer);
            let peers: Vec<ServerId> = self.peers.keys().copied().filter(stays).collect();
            self.actions.push_back(Action::PeersChanged { members });
            peers.into_iter().for_each(|peer| self.tell_members(peer));
        }
        let removed: Vec<ServerId> =
            self.peers.keys().copied().filter(|peer| self.is_removed(*peer)).collect();
        for peer in removed {
            self.close_peer(peer, removal_words(peer));
        }
    }

    /// Whether the server has left for good, as far as is known here.
    pub(crate) fn is_removed(&self, server: ServerId) -> bool {
        self.machine.member(server).is_some_and(|member| member.is_removed())
    }

    /// Whether this server is a member, of the membership in effect here.
    pub(crate) fn belongs(&self) -> bool {
        let here = replica_of(self.settings.identity.server);
        self.raft.membership().members().contains(&here)
    }

    /// The membership in effect here is another one: this server may have left.
    pub(crate) fn on_membership_changed(&mut self) {
        let here = self.settings.identity.server;
        let belongs = self.belongs();
        if self.belonged && !belongs {
            self.raise_alarm(String::from("removed"), removal_words(here));
            self.close_all_connections("this server was removed from the cluster; try another");
        }
        self.belonged |= belongs;
    }

    /// Leader: puts the members of the first membership on record, where the configuration of a
    /// new cluster says they are.
    pub(crate) fn record_first_members(&mut self) {
        let voters = self.raft.membership().voters.iter().copied().map(server_of);
        let missing = voters.filter(|server| {
            self.machine.member(*server).is_none_or(|known| lacks_address(&known))
        });
        let address = |server| Some((server, self.settings.members.get(&server)?.clone()));
        let voters: BTreeMap<ServerId, MemberAddress> = missing.filter_map(address).collect();
        if !voters.is_empty() {
            self.do_as_leader(Request::RecordVoters { voters });
        }
    }

    /// Leader: brings the change on record one step further. True: something was done.
    pub(crate) fn advance_membership(&mut self) -> bool {
        let Some(change) = self.machine.membership_change() else { return false };
        let Some(leading) = &self.leading else { return false };
        // Once its end is proposed nothing more may be done for it, whatever has become possible; the
        // next change may have begun behind it, and must not be ended in its place.
        let newest = leading.outstanding.membership_change(&self.machine);
        let goes_on = newest.as_ref() == Some(&change);
        #[cfg(feature = "planted-bugs")]
        let goes_on = goes_on || (newest.is_some() && is_planted(PlantedBug::NextChangeEnded));
        if !goes_on || !self.raft.is_membership_settled() {
            return false;
        }
        match self.next_of(&change) {
            Next::Wait => false,
            Next::Moved => true,
            Next::End(outcome) => {
                self.leading.iter_mut().for_each(|leading| leading.joining_until_ms = None);
                self.do_as_leader(Request::EndMembership { outcome })
            }
        }
    }

    fn next_of(&mut self, change: &quorate_machine::MembershipChange) -> Next {
        let membership = self.raft.membership();
        let is_open =
            |step: &&MemberStep| !is_as_wished(membership, replica_of(step.server), step.step);
        let open: Vec<MemberStep> = change.steps.iter().filter(is_open).cloned().collect();
        if open.is_empty() {
            return Next::End(Ok(()));
        }
        let enlisted = change.enlisted();
        let is_outside = |server: &&ServerId| !membership.members().contains(&replica_of(**server));
        let outside: Vec<ServerId> = enlisted.iter().filter(is_outside).copied().collect();
        if !outside.is_empty() {
            return self.let_join(&outside);
        }
        match self.take_steps(&open) {
            // Who has joined for this change has to leave again first.
            Next::End(Err(_)) if !enlisted.is_empty() => self.wait_for_joining(&enlisted),
            next => next,
        }
    }

    fn take_steps(&mut self, open: &[MemberStep]) -> Next {
        let mut promoted = open.iter().filter(|step| step.step == MembershipStep::Promote);
        if promoted.any(|step| self.is_unheard(step.server)) {
            return Next::Wait;
        }
        if let Err(refusal) = self.check_steps(open) {
            return Next::End(Err(refusal));
        }
        let here = self.settings.identity.server;
        if open.iter().any(|step| step.server == here && takes_vote(step.step)) {
            return self.hand_over_before_leaving();
        }
        self.propose_steps(open.iter().map(|step| (step.server, step.step)))
    }

    fn propose_steps(&mut self, steps: impl Iterator<Item = (ServerId, MembershipStep)>) -> Next {
        let step = |(server, step)| {
            let id = replica_of(server);
            match step {
                MembershipStep::Add | MembershipStep::Demote => {
                    quorate_raft::MembershipStep::AddLearner(id)
                }
                MembershipStep::Promote => quorate_raft::MembershipStep::AddVoter(id),
                MembershipStep::Remove => quorate_raft::MembershipStep::Remove(id),
            }
        };
        match self.raft.propose_membership(MembershipChange { steps: steps.map(step).collect() }) {
            Ok(_) => Next::Moved,
            Err(ProposeRefusal::Membership(error)) => Next::End(refused(format!("{error}"))),
            Err(_) => Next::Wait,
        }
    }

    /// Servers that are to become members and voters at once are learners first: nobody votes before
    /// it has caught up.
    fn let_join(&mut self, servers: &[ServerId]) -> Next {
        if self.is_joining_over() {
            let names: Vec<String> = servers.iter().map(|server| format!("{server}")).collect();
            return Next::End(refused(format!(
                "the members to be were not ready within {} s: see that the new ones ({}) run, at the \
                 addresses given and configured to join, and that a quorum of all is connected, then \
                 try again",
                JOINING_MS_MAX / 1_000,
                names.join(", ")
            )));
        }
        self.propose_steps(servers.iter().map(|server| (*server, MembershipStep::Add)))
    }

    /// Gives those who join time to catch up; after it they are members no more, as before.
    fn wait_for_joining(&mut self, servers: &[ServerId]) -> Next {
        let now_ms = self.now.monotonic_ms;
        let Some(leading) = &mut self.leading else { return Next::Wait };
        let until_ms = *leading.joining_until_ms.get_or_insert(now_ms + JOINING_MS_MAX);
        match now_ms < until_ms {
            true => Next::Wait,
            false => {
                self.propose_steps(servers.iter().map(|server| (*server, MembershipStep::Remove)))
            }
        }
    }

    fn is_joining_over(&self) -> bool {
        let until_ms = self.leading.as_ref().and_then(|leading| leading.joining_until_ms);
        until_ms.is_some_and(|until_ms| self.now.monotonic_ms >= until_ms)
    }

    /// A leader that is to leave makes another the leader, which then removes it: nobody has to
    /// wait for an election.
    fn hand_over_before_leaving(&mut self) -> Next {
        if self.raft.transfer_target().is_some() {
            return Next::Wait;
        }
        match self.raft.transfer_leader(self.now.monotonic_ms, None) {
            Ok(()) => Next::Moved,
            Err(ProposeRefusal::NoTransferTarget) => Next::End(refused(String::from(
                "the server leads and no other voter can take over: see that the other voters run \
                 and are connected, then try again",
            ))),
            Err(_) => Next::Wait,
        }
    }

    /// Leader: whether the server has had no chance yet to say what it holds.
    fn is_unheard(&self, server: ServerId) -> bool {
        let probed =
            |known: PeerStatus| known.state == ReplicationState::Probe && known.matched == Index(0);
        self.is_in_touch(server) && self.raft.progress(replica_of(server)).is_some_and(probed)
    }

    fn check_promotion(&self, server: ServerId) -> Result<(), Refusal> {
        let id = replica_of(server);
        if !self.raft.membership().learners.contains(&id) {
            let text = format!("server {server} is no learner: add it first");
            return Err(Refusal::new(ErrorCode::NoMember, text));
        }
        if !self.is_in_touch(server) {
            return refused(format!(
                "server {server} is not connected to the leader: start it, and see that its \
                 addresses are right and its configuration says `join = true`"
            ));
        }
        let last = self.raft.last_index().0;
        let matched = self.raft.progress(id).map_or(0, |known| known.matched.0);
        let lag_max = u64::from(self.settings.limits.promotion_lag_entries_max);
        if last.saturating_sub(matched) > lag_max {
            return refused(format!(
                "server {server} has {matched} of {last} entries and is promoted once it lacks at \
                 most {lag_max}: try again when it has caught up"
            ));
        }
        Ok(())
    }

    fn check_steps(&self, steps: &[MemberStep]) -> Result<(), Refusal> {
        let mut voters = self.raft.membership().voters.clone();
        let mut leaving = Vec::new();
        for step in steps {
            let id = replica_of(step.server);
            if step.step == MembershipStep::Promote {
                self.check_promotion(step.server)?;
                voters.insert(id);
            } else if takes_vote(step.step) && voters.remove(&id) {
                leaving.push(format!("server {}", step.server));
            }
        }
        if leaving.is_empty() { Ok(()) } else { self.check_left(&voters, &leaving.join(", ")) }
    }

    /// Whether the voters that are left can go on without those that leave.
    fn check_left(&self, voters: &BTreeSet<ReplicaId>, leaving: &str) -> Result<(), Refusal> {
        if voters.is_empty() {
            return refused(format!(
                "{leaving} is the last voter: promote another server first, or stop the cluster if \
                 it is to end"
            ));
        }
        let in_touch = voters.iter().filter(|id| self.is_in_touch(server_of(**id))).count();
        let (left, quorum) = (voters.len(), voters.len() / 2 + 1);
        if in_touch < quorum {
            return refused(format!(
                "without {leaving}, {left} voters would be left, of which {in_touch} are in touch \
                 with the leader and {quorum} are needed: start the others, or remove one of those \
                 that are gone instead"
            ));
        }
        Ok(())
    }

    /// Leader: whether the server is this one, or connected and heard from lately.
    fn is_in_touch(&self, server: ServerId) -> bool {
        let heard = self.raft.progress(replica_of(server)).is_some_and(|known| {
            let silent_ms = self.now.monotonic_ms.saturating_sub(known.contact_ms);
            silent_ms < self.settings.election_timeout_ms_max
        });
        server == self.settings.identity.server || (heard && self.peers.contains_key(&server))
    }
}

fn lacks_address(member: &Member) -> bool {
    member.address.is_none() && !member.is_removed()
}

fn is_as_wished(membership: &Membership, id: ReplicaId, step: MembershipStep) -> bool {
    match step {
        MembershipStep::Add => membership.members().contains(&id),
        MembershipStep::Promote => membership.voters.contains(&id),
        MembershipStep::Demote => membership.learners.contains(&id),
        MembershipStep::Remove => !membership.members().contains(&id),
    }
}

/// Whether a voter is none any more after it.
fn takes_vote(step: MembershipStep) -> bool {
    matches!(step, MembershipStep::Demote | MembershipStep::Remove)
}

fn refused<T>(text: String) -> Result<T, Refusal> {
    Err(Refusal::new(ErrorCode::MembershipRefused, text))
}

/// The newest membership entry of a recovered log that an ended change vouches for: its end was
/// proposed only once consensus had settled on everything before.
pub(crate) fn settled_by(entries: &[Entry]) -> Option<Index> {
    let newest = entries.iter().rposition(|entry| entry.kind == EntryKind::Membership)?;
    let ends = |entry: &Entry| {
        let transaction = Transaction::decode(&entry.payload);
        let changes = transaction.map_or_else(|_| Vec::new(), |transaction| transaction.changes);
        changes.iter().any(|change| matches!(change, Change::EndMembership { .. }))
    };
    let mut later = entries[newest..].iter().filter(|entry| entry.kind == EntryKind::Command);
    later.any(ends).then(|| entries[newest].index)
}

/// Why a server that has left is not talked to.
pub(crate) fn removal_words(server: ServerId) -> String {
    format!(
        "server {server} was removed from the cluster: stop it and delete its data directory; to \
         bring the machine back, add it under another id"
    )
}
