//! Following the log: each committed entry is done in the model and compared with what it says.
//!
//! Comes in: entries in order, with the operation that each came from. Goes out: complaints.
//! Invariant: what a client asked of the tree is executed by the model's own rules. Taken over as
//! logged is only what lies below mounts, and outside of them a mount's top and what the leader
//! reaps: ephemerals of a session that ends, TTL znodes whose time has passed, emptied containers; and
//! the data of the znode that tells the members, when they change.

use super::{CONFIG, CONFIG_VERSION, Draft, Lifetime, Model, When, Znode, next_version};
use crate::history::{CommittedEntry, History};
use quorate_machine::{AclSource, Change, Origin, Transaction, ZnodeKind};
use quorate_types::{ErrorCode, Operation, SessionId, ZnodePath, Zxid};
use std::collections::BTreeMap;

type Changed = BTreeMap<ZnodePath, Option<Znode>>;

impl Model {
    /// Does the next committed entry.
    ///
    /// # Errors
    /// How the entry differs from what the rules say.
    pub fn follow(&mut self, history: &History, entry: &CommittedEntry) -> Result<(), String> {
        let Some(transaction) = &entry.transaction else {
            self.now.zxid = entry.zxid;
            return Ok(());
        };
        let asked = history.origin(transaction).map(|id| &history.operation(id).operation);
        self.follow_transaction(entry.zxid, transaction, asked)
            .map_err(|complaint| format!("transaction {}: {complaint}", entry.zxid))
    }

    fn follow_transaction(
        &mut self,
        zxid: Zxid,
        transaction: &Transaction,
        asked: Option<&Operation>,
    ) -> Result<(), String> {
        let when = When { zxid, time_ms: transaction.time_ms };
        if when.time_ms < self.now.time_ms {
            return Err(format!("its time {} is before {}", when.time_ms, self.now.time_ms));
        }
        for change in &transaction.changes {
            if let Change::PutMount { path, .. } = change {
                self.mounts.insert(path.clone());
            }
        }
        let logged = self.take_over(when, transaction)?;
        self.check_origin(when, transaction, asked, &logged)?;
        self.commit(zxid, logged);
        self.now = when;
        self.note_sessions(transaction)
    }

    /// What the logged changes make of the tree.
    fn take_over(&self, when: When, transaction: &Transaction) -> Result<Changed, String> {
        let mut draft = self.draft(self.now.zxid);
        for change in &transaction.changes {
            draft.take_over(when, change)?;
        }
        Ok(draft.changed)
    }

    fn check_origin(
        &self,
        when: When,
        transaction: &Transaction,
        asked: Option<&Operation>,
        logged: &Changed,
    ) -> Result<(), String> {
        let Origin::Session { session, sequence, .. } = &transaction.origin else {
            return self.check_unasked(transaction);
        };
        let Some(operation) = asked else {
            return Err(format!("nobody asked for number {sequence} of session {session}"));
        };
        // The end of a change of the membership bears the number of its beginning.
        let ends = |change: &Change| matches!(change, Change::EndMembership { .. });
        if !self.is_live(*session) && !transaction.changes.iter().any(ends) {
            return Err(format!(
                "number {sequence} of session {session} is done after the session ended"
            ));
        }
        let done = format!("number {sequence} of session {session}, {operation:?}, is done");
        match self.execute(operation, *session, self.now.zxid, when) {
            None => self.check_unasked(transaction),
            Some(execution) if matches!(transaction.reply, Some(Err(_))) => {
                let refused = transaction.reply.as_ref().and_then(|reply| reply.as_ref().err());
                let Some(refusal) = refused else { return Ok(()) };
                if !logged.is_empty() {
                    return Err(format!("{done}, refused, and changes {logged:?}"));
                }
                let agrees = execution.outcome.as_ref().is_err_and(|denial| {
                    denial.code == refusal.code
                        && denial.failed_operation == refusal.failed_operation
                });
                // Limits are not part of the model.
                if agrees || refusal.code == ErrorCode::QuotaExceeded {
                    return Ok(());
                }
                let expected = &execution.outcome;
                Err(format!("{done} with the refusal {refusal}, and must be with {expected:?}"))
            }
            Some(execution) => {
                let expected = execution
                    .outcome
                    .map_err(|denial| format!("{done}, and must be refused: {denial:?}"))?;
                if transaction.reply != Some(Ok(expected.clone())) {
                    let reply = &transaction.reply;
                    return Err(format!("{done} with {reply:?}, and must be with {expected:?}"));
                }
                let changed = execution.draft.changed;
                self.compare(operation, changed, logged)
                    .map_err(|difference| format!("{done}: {difference}"))
            }
        }
    }

    /// The end of a session lets recipes act: below their mounts what is logged counts.
    fn compare(
        &self,
        operation: &Operation,
        mut expected: Changed,
        logged: &Changed,
    ) -> Result<(), String> {
        if *operation == Operation::CloseSession {
            let governed = logged.iter().filter(|(path, _)| self.is_governed(path));
            expected.extend(governed.map(|(path, after)| (path.clone(), after.clone())));
        }
        for path in expected.keys().chain(logged.keys()) {
            let (expected, logged) = (expected.get(path), logged.get(path));
            if expected != logged {
                return Err(format!("{path} must become {expected:?} and becomes {logged:?}"));
            }
        }
        Ok(())
    }

    /// Outside the mounts nothing changes by itself but what is reaped.
    fn check_unasked(&self, transaction: &Transaction) -> Result<(), String> {
        for change in &transaction.changes {
            let (path, deletes) = match change {
                Change::DeleteZnode { path } => (path, true),
                Change::CreateZnode { path, .. }
                | Change::SetData { path, .. }
                | Change::SetAcl { path, .. } => (path, false),
                _ => continue,
            };
            if self.is_governed(path) || self.follows_members(path, transaction) {
                continue;
            }
            let reaped = deletes
                && transaction.origin == Origin::Leader
                && self.may_be_reaped(path, transaction);
            if !reaped {
                let origin = &transaction.origin;
                return Err(format!("{origin:?} changes {path} unasked: {change:?}"));
            }
        }
        Ok(())
    }

    /// Whether the znode that tells the members changes with them.
    fn follows_members(&self, path: &ZnodePath, transaction: &Transaction) -> bool {
        let members = |change: &Change| matches!(change, Change::RecordStanding { .. });
        path.as_str() == CONFIG && transaction.changes.iter().any(members)
    }

    fn may_be_reaped(&self, path: &ZnodePath, transaction: &Transaction) -> bool {
        let Some(znode) = self.znode(path, self.now.zxid) else { return false };
        match znode.lifetime {
            Lifetime::Persistent => false,
            Lifetime::Ephemeral(owner) => {
                let closes = Change::CloseSession { session: owner };
                transaction.changes.contains(&closes)
            }
            Lifetime::Container => znode.children_created > 0,
            Lifetime::Ttl(ttl_ms) => {
                znode.set.time_ms.saturating_add(ttl_ms) <= transaction.time_ms
            }
        }
    }

    fn note_sessions(&mut self, transaction: &Transaction) -> Result<(), String> {
        for change in &transaction.changes {
            match change {
                Change::OpenSession { .. } => {
                    self.sessions.insert(SessionId(self.now.zxid.0));
                }
                Change::CloseSession { session } => {
                    self.sessions.remove(session);
                    let left = self.ephemerals.remove(session).unwrap_or_default();
                    if !left.is_empty() {
                        return Err(format!("session {session} ends and leaves {left:?}"));
                    }
                }
                Change::Unmount { path } => {
                    self.mounts.remove(path);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Draft<'_> {
    fn take_over(&mut self, when: When, change: &Change) -> Result<(), String> {
        match change {
            Change::CreateZnode { path, data, acl, kind } => {
                let parent = path.parent().and_then(|parent| self.znode(&parent));
                let parent = parent.ok_or_else(|| format!("{path} is created without a parent"))?;
                let acl = match acl {
                    AclSource::Open => None,
                    AclSource::Parent => parent.acl.clone(),
                    AclSource::Given(entries) => Some(entries.clone()),
                };
                if parent.owner().is_some() {
                    return Err(format!("{path} is created below an ephemeral"));
                }
                if self.znode(path).is_some() {
                    return Err(format!("{path} is created and is there already"));
                }
                let znode = Znode::new(when, data.clone(), acl, lifetime(*kind));
                self.create(when, path, znode);
            }
            Change::DeleteZnode { path } => {
                let children = self.znode(path).map(|znode| znode.children);
                if children != Some(0) || path.is_root() {
                    return Err(format!("{path} is deleted and has children: {children:?}"));
                }
                self.delete(when, path);
            }
            // ZooKeeper's rule: its own znode of the members has one version, whatever becomes of it.
            Change::SetData { path, data, version: CONFIG_VERSION } if path.as_str() == CONFIG => {
                self.set(when, path, data);
                let config = self.changed.get_mut(path).and_then(Option::as_mut);
                config.expect("it was just set").version = CONFIG_VERSION;
            }
            Change::SetData { path, data, version } => {
                let before = self.znode(path).map(|znode| znode.version);
                if before.map(next_version) != Some(*version) {
                    return Err(format!("{path} goes from version {before:?} to {version}"));
                }
                self.set(when, path, data);
            }
            Change::SetAcl { path, acl, version } => {
                let before = self.znode(path).ok_or_else(|| format!("{path} is not there"))?;
                let (acl, aversion) = (Some(acl.clone()), *version);
                let after = Znode { acl, aversion, ..before.clone() };
                self.changed.insert(path.clone(), Some(after));
            }
            _ => {}
        }
        Ok(())
    }
}

fn lifetime(kind: ZnodeKind) -> Lifetime {
    match kind {
        ZnodeKind::Persistent => Lifetime::Persistent,
        ZnodeKind::Ephemeral(owner) => Lifetime::Ephemeral(owner),
        ZnodeKind::Container { .. } => Lifetime::Container,
        ZnodeKind::Ttl(ttl_ms) => Lifetime::Ttl(ttl_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FIRST;
    use bytes::Bytes;
    use quorate_types::request::CreateMode;
    use quorate_types::{Reply, Stat};

    const SESSION: SessionId = SessionId(1);

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    fn transaction(origin: Origin, changes: Vec<Change>, reply: Option<Reply>) -> Transaction {
        Transaction { time_ms: 100, origin, changes, reply: reply.map(Ok), call: None }
    }

    fn asked(changes: Vec<Change>, reply: Reply) -> Transaction {
        let origin = Origin::Session { session: SESSION, sequence: 1, forgotten: Vec::new() };
        transaction(origin, changes, Some(reply))
    }

    fn opened() -> Model {
        let mut model = Model::default();
        let password = [0; 16];
        let open = Change::OpenSession { password, timeout_ms: 1, identity: String::new() };
        let open = transaction(Origin::Leader, vec![open], None);
        model.follow_transaction(Zxid(1), &open, None).unwrap();
        model
    }

    fn change(text: &str, kind: ZnodeKind) -> Change {
        let (data, acl) = ("".into(), AclSource::Open);
        Change::CreateZnode { path: path(text), data, acl, kind }
    }

    fn operation(text: &str, mode: CreateMode) -> Operation {
        Operation::Create { path: path(text), data: "".into(), mode, acl: None }
    }

    fn stat(zxid: u64, owner: Option<SessionId>) -> Stat {
        Stat {
            czxid: Zxid(zxid),
            mzxid: Zxid(zxid),
            pzxid: Zxid(zxid),
            ctime_ms: 100,
            mtime_ms: 100,
            ephemeral_owner: owner,
            ..Stat::default()
        }
    }

    #[test]
    fn an_operation_must_be_answered_and_done_as_the_rules_say() {
        let asks = operation("/a", CreateMode::Persistent);
        let created = Reply::Created(path("/a"), stat(2, None));
        let right = asked(vec![change("/a", ZnodeKind::Persistent)], created.clone());
        opened().follow_transaction(Zxid(2), &right, Some(&asks)).unwrap();
        let wrong_stat = Reply::Created(path("/a"), stat(1, None));
        let wrong = asked(vec![change("/a", ZnodeKind::Persistent)], wrong_stat);
        opened().follow_transaction(Zxid(2), &wrong, Some(&asks)).unwrap_err();
        let wrong = asked(vec![change("/a", ZnodeKind::Ephemeral(SESSION))], created.clone());
        opened().follow_transaction(Zxid(2), &wrong, Some(&asks)).unwrap_err();
        let wrong = asked(Vec::new(), created.clone());
        opened().follow_transaction(Zxid(2), &wrong, Some(&asks)).unwrap_err();
        opened().follow_transaction(Zxid(2), &right, None).unwrap_err();
        Model::default().follow_transaction(Zxid(2), &right, Some(&asks)).unwrap_err();
    }

    #[test]
    fn what_must_be_refused_must_not_be_done() {
        let mut model = opened();
        let asks = operation("/a", CreateMode::Persistent);
        let created = Reply::Created(path("/a"), stat(2, None));
        let done = asked(vec![change("/a", ZnodeKind::Persistent)], created);
        model.follow_transaction(Zxid(2), &done, Some(&asks)).unwrap();
        let again = asked(Vec::new(), Reply::Done);
        let complaint = model.follow_transaction(Zxid(3), &again, Some(&asks)).unwrap_err();
        assert!(complaint.contains("must be refused"), "{complaint}");
    }

    #[test]
    fn the_leader_reaps_what_may_be_reaped_and_nothing_else() {
        let model = |mode, kind| {
            let mut model = opened();
            let owner = matches!(kind, ZnodeKind::Ephemeral(_)).then_some(SESSION);
            let created = Reply::Created(path("/a"), stat(2, owner));
            let done = asked(vec![change("/a", kind)], created);
            model.follow_transaction(Zxid(2), &done, Some(&operation("/a", mode))).unwrap();
            model
        };
        let delete = || Change::DeleteZnode { path: path("/a") };
        let reap = |mut model: Model, changes| {
            let reaped = transaction(Origin::Leader, changes, None);
            model.follow_transaction(Zxid(3), &reaped, None)
        };
        let ephemeral = || model(CreateMode::Ephemeral, ZnodeKind::Ephemeral(SESSION));
        let close = || Change::CloseSession { session: SESSION };
        reap(ephemeral(), vec![delete(), close()]).unwrap();
        reap(ephemeral(), vec![delete()]).unwrap_err();
        reap(ephemeral(), vec![close()]).unwrap_err();
        reap(model(CreateMode::Persistent, ZnodeKind::Persistent), vec![delete()]).unwrap_err();
        reap(model(CreateMode::Ttl(1), ZnodeKind::Ttl(1)), vec![delete()]).unwrap_err();
        let container = ZnodeKind::Container { emptied_ms: 0 };
        reap(model(CreateMode::Container, container), vec![delete()]).unwrap_err();
    }

    #[test]
    fn below_a_mount_what_is_logged_counts() {
        let mut model = opened();
        let (digest, config) = (quorate_types::ComponentDigest([0; 32]), Bytes::new());
        let at = path("/locks");
        let mount = Change::PutMount { path: at, digest, config, open: false, fuel: None };
        let changes = vec![
            change("/locks", ZnodeKind::Persistent),
            mount,
            change("/locks/a", ZnodeKind::Ephemeral(SESSION)),
        ];
        let calls = Operation::Sync;
        let done = asked(changes, Reply::Done);
        model.follow_transaction(Zxid(2), &done, Some(&calls)).unwrap();
        assert_eq!(model.tree().count(), FIRST.len() + 2);
        let outside = asked(vec![change("/b", ZnodeKind::Persistent)], Reply::Done);
        model.follow_transaction(Zxid(3), &outside, Some(&calls)).unwrap_err();
    }
}
