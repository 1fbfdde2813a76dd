//! Ephemeral znodes (ZooKeeper programmer's guide, "Ephemeral Nodes"): one exists exactly while its
//! session does, and has no children.
//!
//! Comes in: the log, change by change, and at the end every server's tree and sessions. Invariant
//! kept: what is owned is known without looking at any server.

use crate::history::{CommittedEntry, History};
use crate::observation::{Checker, Observation, Rest, SimulatedReplica};
use crate::world::tree::read_tree;
use quorate_machine::{Change, Origin, Transaction, ZnodeKind};
use quorate_types::request::MultiOperation;
use quorate_types::{Operation, SessionId, ZnodePath, Zxid};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Ephemerals {
    /// The sessions that exist, with what they own.
    sessions: BTreeMap<SessionId, BTreeSet<ZnodePath>>,
    owners: BTreeMap<ZnodePath, SessionId>,
    mounts: BTreeSet<ZnodePath>,
    judged: u64,
}

impl Ephemerals {
    fn on_committed(&mut self, history: &History, entry: &CommittedEntry) -> Result<(), String> {
        let Some(transaction) = &entry.transaction else { return Ok(()) };
        for change in &transaction.changes {
            self.take(history, (entry.zxid, transaction), change)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        history: &History,
        (zxid, transaction): (Zxid, &Transaction),
        change: &Change,
    ) -> Result<(), String> {
        match change {
            Change::OpenSession { .. } => {
                self.sessions.insert(SessionId(zxid.0), BTreeSet::new());
                Ok(())
            }
            Change::AttachSession { session } if !self.sessions.contains_key(session) => {
                Err(format!("{zxid} attaches session {session}, which does not exist"))
            }
            Change::CloseSession { session } => self.close(zxid, *session),
            Change::CreateZnode { path, kind, .. } => self.create(zxid, path, *kind),
            Change::DeleteZnode { path } => self.delete(history, (zxid, transaction), path),
            Change::PutMount { path, .. } => {
                self.mounts.insert(path.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, zxid: Zxid, session: SessionId) -> Result<(), String> {
        self.judged += 1;
        let Some(owned) = self.sessions.remove(&session) else {
            return Err(format!("{zxid} ends session {session}, which does not exist"));
        };
        if owned.is_empty() {
            return Ok(());
        }
        Err(format!("{zxid} ends session {session} and leaves its ephemerals {owned:?}"))
    }

    fn create(&mut self, zxid: Zxid, path: &ZnodePath, kind: ZnodeKind) -> Result<(), String> {
        let owner = path.parent().and_then(|parent| self.owners.get(&parent));
        if let Some(owner) = owner {
            return Err(format!("{zxid} creates {path} below an ephemeral of session {owner}"));
        }
        let ZnodeKind::Ephemeral(owner) = kind else { return Ok(()) };
        self.judged += 1;
        let Some(owned) = self.sessions.get_mut(&owner) else {
            return Err(format!("{zxid} creates {path} for session {owner}, which does not exist"));
        };
        owned.insert(path.clone());
        match self.owners.insert(path.clone(), owner) {
            None => Ok(()),
            Some(before) => {
                Err(format!("{zxid} creates {path}, which session {before} owns already"))
            }
        }
    }

    fn delete(
        &mut self,
        history: &History,
        (zxid, transaction): (Zxid, &Transaction),
        path: &ZnodePath,
    ) -> Result<(), String> {
        let Some(owner) = self.owners.remove(path) else { return Ok(()) };
        self.judged += 1;
        if let Some(owned) = self.sessions.get_mut(&owner) {
            owned.remove(path);
        }
        let ends = |change: &Change| matches!(change, Change::CloseSession { session } if *session == owner);
        let governed = self.mounts.iter().any(|mount| path.relative_to(mount).is_some());
        let wanted = governed
            || transaction.changes.iter().any(ends)
            || asks_to_delete(history, transaction, path);
        if wanted {
            return Ok(());
        }
        Err(format!(
            "{zxid} deletes {path} of session {owner}, which goes on; nobody asked for it: {:?}",
            transaction.origin
        ))
    }

    /// What a server shows is what follows from the log.
    fn compare(&self, server: u64, replica: &SimulatedReplica) -> Result<(), String> {
        let shown: BTreeMap<ZnodePath, SessionId> = read_tree(replica)
            .into_iter()
            .filter_map(|(path, (_, stat))| Some((path, stat.ephemeral_owner?)))
            .collect();
        let differs = |(path, owner): &(&ZnodePath, &SessionId)| {
            self.owners.get(*path) != Some(*owner) || shown.get(*path) != Some(*owner)
        };
        if let Some((path, owner)) = shown.iter().chain(&self.owners).find(differs) {
            let (here, log) = (shown.get(path), self.owners.get(path));
            return Err(format!(
                "{path} of session {owner}: server {server} shows {here:?} as its owner, the log says \
                 {log:?}"
            ));
        }
        let sessions: BTreeSet<SessionId> =
            replica.machine().sessions().iter().map(|known| known.session).collect();
        let expected: BTreeSet<SessionId> = self.sessions.keys().copied().collect();
        if sessions == expected {
            return Ok(());
        }
        let differing: Vec<_> = sessions.symmetric_difference(&expected).collect();
        Err(format!(
            "server {server} and the log do not agree on whether sessions exist: {differing:?}"
        ))
    }
}

fn asks_to_delete(history: &History, transaction: &Transaction, path: &ZnodePath) -> bool {
    if !matches!(transaction.origin, Origin::Session { .. }) {
        return false;
    }
    let Some(id) = history.origin(transaction) else { return false };
    match &history.operation(id).operation {
        Operation::Delete { path: asked, .. } => asked == path,
        Operation::Multi { operations } => operations.iter().any(
            |part| matches!(part, MultiOperation::Delete { path: asked, .. } if asked == path),
        ),
        _ => false,
    }
}

impl Checker for Ephemerals {
    fn name(&self) -> &'static str {
        "ephemerals"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Committed { entry } => self.on_committed(history, entry),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _: &History, rest: &Rest<'_>) -> Result<(), String> {
        rest.replicas.iter().try_for_each(|(server, replica)| self.compare(*server, replica))
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::path;
    use quorate_machine::AclSource;

    const SESSION: SessionId = SessionId(1);

    fn open() -> Change {
        Change::OpenSession { password: [0; 16], timeout_ms: 1, identity: String::new() }
    }

    fn create(at: &str, kind: ZnodeKind) -> Change {
        Change::CreateZnode { path: path(at), data: "".into(), acl: AclSource::Open, kind }
    }

    fn ephemeral(at: &str) -> Change {
        create(at, ZnodeKind::Ephemeral(SESSION))
    }

    fn delete(at: &str) -> Change {
        Change::DeleteZnode { path: path(at) }
    }

    fn close() -> Change {
        Change::CloseSession { session: SESSION }
    }

    /// Takes transactions of the leader, from zxid 1 on.
    fn judge(transactions: Vec<Vec<Change>>) -> Result<(), String> {
        let (mut checker, history) = (Ephemerals::default(), History::default());
        for (zxid, changes) in (1..).zip(transactions) {
            let origin = Origin::Leader;
            let transaction = Transaction { time_ms: 0, origin, changes, reply: None, call: None };
            for change in &transaction.changes {
                checker.take(&history, (Zxid(zxid), &transaction), change)?;
            }
        }
        Ok(())
    }

    #[test]
    fn an_ephemeral_goes_in_the_transaction_that_ends_its_session() {
        judge(vec![vec![open()], vec![ephemeral("/e")], vec![delete("/e"), close()]]).unwrap();
        judge(vec![vec![open()], vec![ephemeral("/e")], vec![close()]]).unwrap_err();
        judge(vec![vec![open()], vec![ephemeral("/e")], vec![delete("/e")], vec![close()]])
            .unwrap_err();
    }

    #[test]
    fn an_ephemeral_has_an_owner_that_exists() {
        judge(vec![vec![open()], vec![close()], vec![ephemeral("/e")]]).unwrap_err();
        judge(vec![vec![close()]]).unwrap_err();
    }

    #[test]
    fn an_ephemeral_has_no_children() {
        let child = create("/e/child", ZnodeKind::Persistent);
        judge(vec![vec![open()], vec![ephemeral("/e")], vec![child]]).unwrap_err();
    }
}
