//! A write that was acknowledged is in the history that every server ends with, at its place.
//!
//! Source: the design, section 4 (acknowledged only after a majority holds it durably) and the promise
//! that crashes, lost power and a minority of spoilt disks take nothing back. Comes in: what callers
//! were told; at the end, the entries that every server has applied and the digest of what it made
//! of them.

use crate::history::{History, OperationId};
use crate::observation::{Checker, Observation, Rest, SimulatedReplica};
use quorate_machine::Origin;
use quorate_raft::Index;
use quorate_types::{SessionId, Zxid};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Durability {
    /// Each write that was acknowledged, and the state that its answer shows.
    acknowledged: Vec<(OperationId, Zxid)>,
    judged: u64,
}

impl Durability {
    fn on_ended(&mut self, history: &History, id: OperationId) {
        let asked = history.operation(id);
        let Some(ending) = &asked.ended else { return };
        if let (true, Ok(_), Some(zxid)) = (asked.operation.is_write(), &ending.result, ending.zxid)
        {
            self.acknowledged.push((id, zxid));
        }
    }

    /// The transactions of the writes that were acknowledged. What changed nothing has none.
    fn judge_history(&mut self, history: &History) -> Result<(), String> {
        let mut done: BTreeMap<(SessionId, u64), Zxid> = BTreeMap::new();
        for entry in &history.entries {
            let origin = entry.transaction.as_ref().map(|transaction| &transaction.origin);
            if let Some(Origin::Session { session, sequence, .. }) = origin {
                done.entry((*session, *sequence)).or_insert(entry.zxid);
            }
        }
        for (id, zxid) in &self.acknowledged {
            let asked = history.operation(*id);
            let place = asked.request.and_then(|request| done.get(&request));
            let must_have_one = crate::model::is_tree_write(&asked.operation);
            self.judged += 1;
            if place.is_some_and(|place| place > zxid) || (place.is_none() && must_have_one) {
                return Err(format!(
                    "{:?} of {:?} was acknowledged at {zxid}, and its transaction is {place:?}",
                    asked.operation, asked.request
                ));
            }
        }
        Ok(())
    }

    fn judge_server(
        &self,
        history: &History,
        server: u64,
        replica: &SimulatedReplica,
    ) -> Result<(), String> {
        let newest = self.acknowledged.iter().map(|(_, zxid)| *zxid).max().unwrap_or_default();
        if replica.applied() < newest {
            return Err(format!(
                "server {server} ends at {}, and {newest} was acknowledged",
                replica.applied()
            ));
        }
        for entry in &history.entries {
            let own = replica.raft().term_at(Index(entry.zxid.0));
            if own.is_some_and(|own| own.0 != entry.term) {
                return Err(format!(
                    "server {server} ends with an entry {} of term {own:?}, and one of term {} was \
                     applied",
                    entry.zxid, entry.term
                ));
            }
        }
        Ok(())
    }
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        if let Observation::Ended { id } = what {
            self.on_ended(history, *id);
        }
        Ok(())
    }

    fn finish(&mut self, history: &History, rest: &Rest<'_>) -> Result<(), String> {
        self.judge_history(history)?;
        for (server, replica) in &rest.replicas {
            self.judge_server(history, *server, replica)?;
        }
        let digest = |replica: &&SimulatedReplica| replica.machine().digest();
        let leader = rest.replicas.get(&rest.leader).map(digest);
        match rest.replicas.iter().find(|(_, replica)| Some(digest(replica)) != leader) {
            None => Ok(()),
            Some((server, _)) => {
                Err(format!("server {server} ends with another state than the leader"))
            }
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
