//! The faults of a storm. In: the run's random numbers and fault strengths. Out: cuts, crashes,
//! pauses, damage, membership changes and transfers, given to the cluster. Never damages so many
//! logs that acknowledged entries could be gone everywhere: that much no cluster survives.

use quorate_raft::{Index, Membership, MembershipChange, MembershipStep, ReplicaId, Role};

use super::{CHAOS_EVERY_MS, Event, Storm};

impl Storm {
    pub(super) fn on_chaos(&mut self) -> Result<(), String> {
        if self.calm {
            return Ok(());
        }
        self.schedule(CHAOS_EVERY_MS, Event::Chaos);
        if self.prng.chance(self.faults.cut_permille) {
            self.cut_some_links();
        }
        if self.prng.chance(self.faults.crash_permille) {
            let ids = self.ids();
            if self.prng.chance(100) {
                // A power cut.
                ids.into_iter().for_each(|id| self.crash(id));
            } else {
                let id = self.prng.one_of(&ids);
                self.crash(id);
            }
        }
        if self.prng.chance(self.faults.pause_permille) {
            let ids = self.ids();
            let id = self.prng.one_of(&ids);
            let until_ms = self.now_ms + self.prng.within(20..500);
            self.paused_until.insert(id, until_ms);
        }
        if self.prng.chance(self.faults.membership_permille) {
            self.change_membership()?;
        }
        if self.prng.chance(self.faults.transfer_permille) {
            self.transfer()?;
        }
        Ok(())
    }

    /// Cuts one direction, both, or everything around one server.
    fn cut_some_links(&mut self) {
        let ids = self.ids();
        let (one, two) = (self.prng.one_of(&ids), self.prng.one_of(&ids));
        let shape = self.prng.within(0..4);
        let mut links = Vec::new();
        for other in ids {
            match shape {
                0 if other == two => links.push((one, two)),
                1 if other == two => links.extend([(one, two), (two, one)]),
                2 => links.extend([(one, other), (other, one)]),
                3 => links.push((one, other)),
                _ => {}
            }
        }
        let notice = self.prng.chance(500);
        let duration_ms = self.prng.within(20..800);
        for (from, to) in links.into_iter().filter(|(from, to)| from != to) {
            self.cut.insert((from, to));
            self.schedule(duration_ms, Event::MendLink { from, to });
            if notice {
                self.schedule(5, Event::Connection { at: from, peer: to, up: false });
                self.schedule(duration_ms + 5, Event::Connection { at: from, peer: to, up: true });
            }
        }
    }

    fn crash(&mut self, id: ReplicaId) {
        let after_ms = self.prng.within(5..600);
        let seed = self.prng.draw();
        let pending = self.servers[&id].disk.pending.len() as u64;
        let surviving = self.prng.within(0..pending + 1);
        let damaged = self.may_damage() && self.prng.chance(self.faults.damage_permille);
        let server = self.servers.get_mut(&id).expect("a server of this cluster");
        if server.raft.is_none() {
            return;
        }
        server.crash(usize::try_from(surviving).expect("a short queue"));
        server.settings.seed = seed;
        if damaged
            && let (Some(first), Some(last)) =
                (server.disk.entries.first(), server.disk.entries.last())
        {
            let from = Index(self.prng.within(first.index.0..last.index.0 + 1));
            server.corrupt(from);
        }
        self.tell(|| format!("{id} crashes, {surviving} of {pending} writes survive"));
        self.summary.crashes += 1;
        self.checks.server_stopped(id);
        *self.lives.entry(id).or_default() += 1;
        self.paused_until.remove(&id);
        self.schedule(after_ms, Event::Start { server: id });
    }

    /// Damage stays within a minority of the first voters, and runs with damage keep them.
    fn may_damage(&self) -> bool {
        let damaged = self.servers.values().filter(|server| server.disk.refetching).count() as u64;
        self.faults.membership_permille == 0 && (damaged + 1) * 2 < self.first_voters
    }

    fn one_leader(&mut self) -> Option<ReplicaId> {
        let leaders: Vec<ReplicaId> =
            self.ids().into_iter().filter(|id| self.role(*id) == Some(Role::Leader)).collect();
        if leaders.is_empty() {
            return None;
        }
        Some(self.prng.one_of(&leaders)).filter(|id| !self.is_paused(*id))
    }

    fn change_membership(&mut self) -> Result<(), String> {
        let Some(leader) = self.one_leader() else { return Ok(()) };
        let Some(raft) = self.servers[&leader].raft.as_ref() else { return Ok(()) };
        let change = self.draw_change(raft.membership().clone());
        // A refusal is an answer too: another change may be under way.
        self.step(leader, |server, _| {
            if let Some(raft) = server.raft.as_mut() {
                let _ = raft.propose_membership(change);
            }
        })
    }

    fn draw_change(&mut self, membership: Membership) -> MembershipChange {
        let mut steps: Vec<MembershipStep> = Vec::new();
        let mut voters = membership.voters.len();
        for id in self.ids() {
            if self.prng.chance(600) {
                continue;
            }
            let voter = membership.voters.contains(&id);
            let member = voter || membership.learners.contains(&id);
            let choice = self.prng.within(0..3);
            if voter && choice != 1 && voters <= 2 {
                continue;
            }
            match choice {
                0 => steps.push(MembershipStep::AddLearner(id)),
                1 => steps.push(MembershipStep::AddVoter(id)),
                _ if member => steps.push(MembershipStep::Remove(id)),
                _ => continue,
            }
            voters =
                voters + usize::from(choice == 1 && !voter) - usize::from(choice != 1 && voter);
        }
        MembershipChange { steps }
    }

    fn transfer(&mut self) -> Result<(), String> {
        let Some(leader) = self.one_leader() else { return Ok(()) };
        let ids = self.ids();
        let to = Some(self.prng.one_of(&ids)).filter(|_| self.prng.chance(700));
        self.step(leader, |server, now_ms| {
            if let Some(raft) = server.raft.as_mut() {
                let _ = raft.transfer_leader(now_ms, to);
            }
        })
    }
}
