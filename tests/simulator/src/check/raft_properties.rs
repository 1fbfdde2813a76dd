//! The Raft properties (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm",
//! figure 3): election safety, leader append-only, log matching, leader completeness, state machine
//! safety; and what follows for one server: terms, commits and applied entries never go back.
//!
//! Comes in: replicas after every input. Invariant checked besides: equal applied entries give equal
//! digests on every server, through restarts and snapshots.

use crate::history::History;
use crate::observation::{Checker, Observation, Rest, SimulatedReplica};
use quorate_raft::{Index, Role};
use quorate_types::Zxid;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct RaftProperties {
    leaders: BTreeMap<u64, u64>,
    servers: BTreeMap<u64, Seen>,
    /// By the newest term that had a leader then: the newest entry that was applied. No later leader
    /// committed it, so every later one has it.
    applied_under: BTreeMap<u64, Zxid>,
    /// The digest at each applied entry, and who had it first.
    digests: BTreeMap<u64, (u64, u64)>,
    judged: u64,
}

/// A server as it was when last looked at.
#[derive(Clone, Copy, Default)]
struct Seen {
    run: u64,
    term: u64,
    committed: u64,
    applied: u64,
    last: u64,
    leads: bool,
}

impl RaftProperties {
    fn look_at(
        &mut self,
        history: &History,
        (server, run): (u64, u64),
        replica: &SimulatedReplica,
    ) -> Result<(), String> {
        let raft = replica.raft();
        let before = self.servers.get(&server).copied().unwrap_or_default();
        let leads = raft.role() == Role::Leader;
        let now = Seen {
            run,
            term: raft.term().0,
            committed: raft.committed().0,
            applied: replica.applied().0,
            last: raft.last_index().0,
            leads,
        };
        self.servers.insert(server, now);
        if before.run == run {
            check_growth(server, before, now)?;
        }
        if leads {
            self.check_leader(history, server, before, now, replica)?;
        }
        self.check_digest(server, replica)
    }

    fn check_leader(
        &mut self,
        history: &History,
        server: u64,
        before: Seen,
        now: Seen,
        replica: &SimulatedReplica,
    ) -> Result<(), String> {
        let known = *self.leaders.entry(now.term).or_insert(server);
        if known != server {
            return Err(format!("term {} has two leaders, {known} and {server}", now.term));
        }
        let goes_on = before.leads && before.term == now.term && before.run == now.run;
        if goes_on && now.last < before.last {
            return Err(format!("leader {server} shortened its log to {}", now.last));
        }
        if goes_on {
            return Ok(());
        }
        // Leader completeness, when leadership begins: what was committed in older terms is there. A
        // candidate may be told late that it was elected, and then lacks what a newer one committed.
        let older = self.applied_under.range(..now.term).next_back();
        let newest = older.map_or(Zxid(0), |(_, zxid)| *zxid);
        if now.last < newest.0 {
            return Err(format!(
                "leader {server} of term {} has a log to {}, but {newest} was applied",
                now.term, now.last
            ));
        }
        let required = usize::try_from(newest.0).unwrap_or(usize::MAX).min(history.entries.len());
        let recent = history.entries[..required].iter().rev().take(50);
        for entry in recent {
            let own = replica.raft().term_at(Index(entry.zxid.0));
            if own.is_some_and(|own| own.0 != entry.term) {
                return Err(format!(
                    "leader {server} has {own:?} at {}, which was applied in term {}",
                    entry.zxid, entry.term
                ));
            }
        }
        Ok(())
    }

    fn check_digest(&mut self, server: u64, replica: &SimulatedReplica) -> Result<(), String> {
        let zxid = replica.applied();
        if replica.machine().applied() != zxid {
            return Err(format!("server {server} applied {zxid} and its machine did not"));
        }
        let digest = replica.machine().digest();
        let (first, known) = *self.digests.entry(zxid.0).or_insert((server, digest));
        if known != digest {
            return Err(format!("servers {first} and {server} differ at {zxid}"));
        }
        Ok(())
    }
}

/// Within one run; a restart may forget a term that nothing was promised in.
fn check_growth(server: u64, before: Seen, now: Seen) -> Result<(), String> {
    if now.term < before.term {
        return Err(format!("server {server} went from term {} to {}", before.term, now.term));
    }
    if now.committed < before.committed {
        return Err(format!("server {server} took back commit {}", before.committed));
    }
    if now.applied < before.applied {
        return Err(format!("server {server} took back entry {}", before.applied));
    }
    if now.applied > now.committed {
        return Err(format!(
            "server {server} applied {} and committed {}",
            now.applied, now.committed
        ));
    }
    Ok(())
}

impl Checker for RaftProperties {
    fn name(&self) -> &'static str {
        "raft_properties"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Stepped { server, run, replica }
            | Observation::Started { server, run, replica } => {
                self.look_at(history, (*server, *run), replica)
            }
            Observation::Committed { entry } => {
                let newest_term = self.leaders.last_key_value().map_or(0, |(term, _)| *term);
                self.applied_under.insert(newest_term, entry.zxid);
                Ok(())
            }
            Observation::Applied { server, zxid, fingerprint } => {
                self.judged += 1;
                let known = history.entry(*zxid).map(|entry| entry.fingerprint);
                if known == Some(*fingerprint) {
                    return Ok(());
                }
                Err(format!("server {server} applied another entry {zxid} than the first that did"))
            }
            Observation::Installed { server, mark } => {
                let known = history.entry(Zxid(mark.index.0)).map(|entry| entry.term);
                if known == Some(mark.term.0) {
                    return Ok(());
                }
                Err(format!(
                    "server {server} took over a snapshot of {mark:?}, applied was {known:?}"
                ))
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, history: &History, rest: &Rest<'_>) -> Result<(), String> {
        for (server, replica) in &rest.replicas {
            if replica.applied() != history.newest() {
                let newest = history.newest();
                return Err(format!(
                    "server {server} rests at {}, not {newest}",
                    replica.applied()
                ));
            }
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
