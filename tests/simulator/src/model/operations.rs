//! What each operation on the tree must be answered, and what it changes.
//!
//! Source of the order of errors: ZooKeeper's `PrepRequestProcessor`. Create: TTL, parent missing,
//! exists, ephemeral parent. Delete: parent missing, missing, version, children. Set: missing,
//! version. A multi sees what its earlier operations did, and changes all or nothing.

use super::{Draft, Lifetime, Model, When, Znode, is_first};
use quorate_types::acl::open_acl;
use quorate_types::request::{CreateMode, MultiOperation, MultiReply};
use quorate_types::{
    AclEntry, ErrorCode, Operation, Outcome, Reply, SessionId, Stat, ZnodeData, ZnodePath, Zxid,
};

/// ZooKeeper's longest TTL, in milliseconds.
const TTL_MS_MAX: u64 = 0xff_ffff_ffff;

/// Why an operation is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    pub code: ErrorCode,
    /// Which operation of a multi failed.
    pub failed_operation: Option<u32>,
}

/// What an operation must be answered, and what it changes if it is done.
#[derive(Debug)]
pub struct Execution<'a> {
    pub outcome: Result<Reply, Denial>,
    pub(super) draft: Draft<'a>,
}

type Step<T> = Result<T, ErrorCode>;

/// Whether the model knows what the operation does to the tree.
#[must_use]
pub fn is_tree_write(operation: &Operation) -> bool {
    match operation {
        Operation::Create { acl, .. } => is_open(acl.as_ref()),
        Operation::Multi { operations } => operations.iter().all(|one| match one {
            MultiOperation::Create { acl, .. } => is_open(acl.as_ref()),
            _ => true,
        }),
        Operation::Delete { .. } | Operation::SetData { .. } | Operation::CloseSession => true,
        _ => false,
    }
}

/// Whether everyone may do everything: said by nothing, or, as ZooKeeper clients do, in words.
fn is_open(acl: Option<&Vec<AclEntry>>) -> bool {
    acl.is_none_or(|entries| *entries == open_acl())
}

/// Whether the model knows what the operation shows.
#[must_use]
pub fn is_tree_read(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Get { .. }
            | Operation::Exists { .. }
            | Operation::Children { .. }
            | Operation::GetAcl { .. }
    )
}

/// Whether a server answered what it must. Messages are for people and differ.
#[must_use]
pub fn same_outcome(answered: &Outcome, expected: &Result<Reply, Denial>) -> bool {
    match (answered, expected) {
        (Ok(answered), Ok(expected)) => answered == expected,
        (Err(refusal), Err(denial)) => {
            let Denial { code, failed_operation } = *denial;
            (refusal.code, refusal.failed_operation) == (code, failed_operation)
        }
        _ => false,
    }
}

fn paths(operation: &Operation) -> Vec<&ZnodePath> {
    match operation {
        Operation::Create { path, .. }
        | Operation::Delete { path, .. }
        | Operation::SetData { path, .. } => vec![path],
        Operation::Multi { operations } => operations.iter().map(path_of_part).collect(),
        _ => Vec::new(),
    }
}

fn path_of_part(operation: &MultiOperation) -> &ZnodePath {
    match operation {
        MultiOperation::Create { path, .. }
        | MultiOperation::Delete { path, .. }
        | MultiOperation::SetData { path, .. }
        | MultiOperation::Check { path, .. } => path,
    }
}

impl Model {
    /// What the operation must be answered if it is done as `when` on the state after the entry
    /// `at`. `None`: the model does not know, or a recipe has a say.
    #[must_use]
    pub fn execute(
        &self,
        operation: &Operation,
        session: SessionId,
        at: Zxid,
        when: When,
    ) -> Option<Execution<'_>> {
        let governed = paths(operation).into_iter().any(|path| self.is_governed(path));
        if governed || !is_tree_write(operation) {
            return None;
        }
        let mut draft = self.draft(at);
        let outcome = draft.execute(operation, session, when);
        Some(Execution { outcome, draft })
    }

    /// What the read must be answered from the state after the entry `at` by a server that lists so
    /// many names at most. `None`: the model does not know.
    #[must_use]
    pub fn read(
        &self,
        operation: &Operation,
        at: Zxid,
        names_max: u32,
    ) -> Option<Result<Reply, Denial>> {
        let no_node = Denial { code: ErrorCode::NoNode, failed_operation: None };
        let there = |path| self.znode(path, at).ok_or(no_node);
        Some(match operation {
            Operation::Get { path, .. } => {
                there(path).map(|znode| Reply::Data(znode.data.clone(), znode.stat()))
            }
            Operation::Exists { path, .. } => {
                Ok(Reply::Exists(self.znode(path, at).map(Znode::stat)))
            }
            Operation::Children { path, after, limit, .. } => there(path).map(|znode| {
                let after = after.as_deref().unwrap_or("");
                let names = self.children(path, at).into_iter();
                let mut names: Vec<String> = names.filter(|name| name.as_str() > after).collect();
                let room = limit.unwrap_or(names_max).min(names_max) as usize;
                let more = names.len() > room;
                names.truncate(room);
                Reply::Children(names, more, znode.stat())
            }),
            Operation::GetAcl { path } => there(path)
                .map(|znode| Reply::Acl(znode.acl.clone().unwrap_or_else(open_acl), znode.stat())),
            _ => return None,
        })
    }
}

impl Draft<'_> {
    fn execute(
        &mut self,
        operation: &Operation,
        session: SessionId,
        when: When,
    ) -> Result<Reply, Denial> {
        let alone = |code| Denial { code, failed_operation: None };
        match operation {
            Operation::Create { path, data, mode, .. } => self
                .make(session, when, (path, data, *mode))
                .map(|(path, stat)| Reply::Created(path, stat))
                .map_err(alone),
            Operation::Delete { path, expected_version } => {
                self.remove(when, path, *expected_version).map(|()| Reply::Done).map_err(alone)
            }
            Operation::SetData { path, data, expected_version } => {
                self.replace(when, (path, data), *expected_version).map(Reply::Stat).map_err(alone)
            }
            Operation::Multi { operations } => self.multi(session, when, operations),
            Operation::CloseSession => {
                self.remove_ephemerals(session, when);
                Ok(Reply::Done)
            }
            _ => unreachable!("only writes of the tree are executed"),
        }
    }

    fn multi(
        &mut self,
        session: SessionId,
        when: When,
        operations: &[MultiOperation],
    ) -> Result<Reply, Denial> {
        let mut replies = Vec::new();
        for (place, operation) in (0..).zip(operations) {
            let done = match operation {
                MultiOperation::Create { path, data, mode, .. } => self
                    .make(session, when, (path, data, *mode))
                    .map(|(path, stat)| MultiReply::Created(path, stat)),
                MultiOperation::Delete { path, expected_version } => {
                    self.remove(when, path, *expected_version).map(|()| MultiReply::Deleted)
                }
                MultiOperation::SetData { path, data, expected_version } => {
                    self.replace(when, (path, data), *expected_version).map(MultiReply::Set)
                }
                MultiOperation::Check { path, expected_version } => {
                    self.check(path, *expected_version).map(|()| MultiReply::Checked)
                }
            };
            let reply = done.map_err(|code| Denial { code, failed_operation: Some(place) });
            match reply {
                Ok(reply) => replies.push(reply),
                Err(denial) => {
                    self.changed.clear();
                    return Err(denial);
                }
            }
        }
        Ok(Reply::Multi(replies))
    }

    fn make(
        &mut self,
        session: SessionId,
        when: When,
        (path, data, mode): (&ZnodePath, &ZnodeData, CreateMode),
    ) -> Step<(ZnodePath, Stat)> {
        let lifetime = match mode {
            CreateMode::Persistent
            | CreateMode::PersistentSequential
            | CreateMode::PersistentNumber => Lifetime::Persistent,
            mode if mode.is_ephemeral() => Lifetime::Ephemeral(session),
            CreateMode::Ttl(ttl_ms)
            | CreateMode::TtlSequential(ttl_ms)
            | CreateMode::TtlNumber(ttl_ms) => Lifetime::Ttl(ttl_ms),
            _ => Lifetime::Container,
        };
        if matches!(lifetime, Lifetime::Ttl(ttl_ms) if ttl_ms == 0 || ttl_ms > TTL_MS_MAX) {
            return Err(ErrorCode::BadArguments);
        }
        let (parent_path, prefix) = match mode.is_number() {
            true => (path.clone(), ""),
            false => (path.parent().ok_or(ErrorCode::NodeExists)?, path.name()),
        };
        let parent = self.znode(&parent_path).ok_or(ErrorCode::NoNode)?;
        let path = if mode.is_sequential() {
            let name = format!("{prefix}{:010}", parent.children_created);
            parent_path.join(&name).map_err(|_| ErrorCode::BadArguments)?
        } else {
            path.clone()
        };
        if self.znode(&path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if parent.owner().is_some() {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let stat = self.create(when, &path, Znode::new(when, data.clone(), None, lifetime));
        Ok((path, stat))
    }

    fn remove(&mut self, when: When, path: &ZnodePath, expected: Option<i32>) -> Step<()> {
        let parent = path.parent().filter(|_| !is_first(path)).ok_or(ErrorCode::BadArguments)?;
        self.znode(&parent).ok_or(ErrorCode::NoNode)?;
        self.check(path, expected)?;
        if self.znode(path).is_some_and(|znode| znode.children > 0) {
            return Err(ErrorCode::NotEmpty);
        }
        self.delete(when, path);
        Ok(())
    }

    fn replace(
        &mut self,
        when: When,
        (path, data): (&ZnodePath, &ZnodeData),
        expected: Option<i32>,
    ) -> Step<Stat> {
        self.check(path, expected)?;
        Ok(self.set(when, path, data))
    }

    fn check(&self, path: &ZnodePath, expected: Option<i32>) -> Step<()> {
        let znode = self.znode(path).ok_or(ErrorCode::NoNode)?;
        match expected {
            None | Some(-1) => Ok(()),
            Some(expected) if expected == znode.version => Ok(()),
            Some(_) => Err(ErrorCode::BadVersion),
        }
    }

    /// Those below mounts go too, but there the recipes hear of it first, and may do more.
    fn remove_ephemerals(&mut self, session: SessionId, when: When) {
        let owned = self.model.ephemerals.get(&session);
        let ungoverned: Vec<ZnodePath> = owned
            .into_iter()
            .flatten()
            .filter(|path| !self.model.is_governed(path))
            .cloned()
            .collect();
        for path in ungoverned {
            self.delete(when, &path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FIRST;

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    fn creation(text: &str, mode: CreateMode) -> Operation {
        Operation::Create { path: path(text), data: ZnodeData::EMPTY, mode, acl: None }
    }

    /// Does the operation as the next transaction, if it may be done.
    fn step(model: &mut Model, operation: &Operation) -> Result<Reply, Denial> {
        let before = model.now;
        let when = When { zxid: before.zxid.next(), time_ms: before.time_ms + 10 };
        let execution = model.execute(operation, SessionId(1), before.zxid, when).unwrap();
        let (outcome, changed) = (execution.outcome, execution.draft.changed);
        model.commit(when.zxid, changed);
        model.now = when;
        outcome
    }

    fn code(outcome: Result<Reply, Denial>) -> ErrorCode {
        outcome.unwrap_err().code
    }

    fn stat(model: &Model, text: &str, at: u64) -> Stat {
        model.znode(&path(text), Zxid(at)).unwrap().stat()
    }

    #[test]
    fn errors_come_in_the_order_of_zookeeper() {
        let mut model = Model::default();
        assert_eq!(
            code(step(&mut model, &creation("/a/b", CreateMode::Ttl(0)))),
            ErrorCode::BadArguments
        );
        assert_eq!(
            code(step(&mut model, &creation("/a/b", CreateMode::Persistent))),
            ErrorCode::NoNode
        );
        step(&mut model, &creation("/a", CreateMode::Ephemeral)).unwrap();
        assert_eq!(
            code(step(&mut model, &creation("/a", CreateMode::Persistent))),
            ErrorCode::NodeExists
        );
        let child = creation("/a/b", CreateMode::Persistent);
        assert_eq!(code(step(&mut model, &child)), ErrorCode::NoChildrenForEphemerals);
        step(&mut model, &creation("/p", CreateMode::Persistent)).unwrap();
        step(&mut model, &creation("/p/c", CreateMode::Persistent)).unwrap();
        let delete = |expected_version| Operation::Delete { path: path("/p"), expected_version };
        assert_eq!(code(step(&mut model, &delete(Some(3)))), ErrorCode::BadVersion);
        assert_eq!(code(step(&mut model, &delete(Some(0)))), ErrorCode::NotEmpty);
    }

    #[test]
    fn stats_count_and_earlier_states_stay() {
        let mut model = Model::default();
        step(&mut model, &creation("/p", CreateMode::Persistent)).unwrap();
        step(&mut model, &creation("/p/n-", CreateMode::PersistentSequential)).unwrap();
        let gone = Operation::Delete { path: path("/p/n-0000000000"), expected_version: None };
        step(&mut model, &gone).unwrap();
        let named = step(&mut model, &creation("/p/n-", CreateMode::PersistentSequential));
        assert!(matches!(named, Ok(Reply::Created(name, _)) if name == path("/p/n-0000000001")));
        let parent = stat(&model, "/p", 4);
        assert_eq!((parent.pzxid, parent.cversion, parent.children_count), (Zxid(4), 3, 1));
        assert_eq!(stat(&model, "/p", 2).cversion, 1);
        assert_eq!(stat(&model, "/p", 3).children_count, 0);
        assert_eq!(model.children(&path("/p"), Zxid(2)).len(), 1);
        assert!(model.children(&path("/p"), Zxid(3)).is_empty());
        assert_eq!(model.znode(&path("/p"), Zxid(0)), None);
    }

    #[test]
    fn a_multi_sees_its_own_changes_and_does_all_or_nothing() {
        let mut model = Model::default();
        let create = |text: &str| MultiOperation::Create {
            path: path(text),
            data: ZnodeData::EMPTY,
            mode: CreateMode::Persistent,
            acl: None,
        };
        let check =
            |version| MultiOperation::Check { path: path("/a"), expected_version: Some(version) };
        let wrong = Operation::Multi { operations: vec![create("/a"), check(1)] };
        let denial = Denial { code: ErrorCode::BadVersion, failed_operation: Some(1) };
        assert_eq!(step(&mut model, &wrong), Err(denial));
        assert_eq!(model.tree().count(), FIRST.len());
        let right = Operation::Multi { operations: vec![create("/a"), create("/a/b"), check(0)] };
        step(&mut model, &right).unwrap();
        assert_eq!(model.tree().count(), FIRST.len() + 2);
    }

    #[test]
    fn the_end_of_a_session_takes_its_ephemerals() {
        let mut model = Model::default();
        step(&mut model, &creation("/e", CreateMode::Ephemeral)).unwrap();
        step(&mut model, &creation("/p", CreateMode::Persistent)).unwrap();
        step(&mut model, &Operation::CloseSession).unwrap();
        assert_eq!(model.znode(&path("/e"), Zxid(3)), None);
        assert_eq!(stat(&model, "/", 3).children_count, 2);
    }

    #[test]
    fn a_list_is_cut_where_the_server_cuts_it() {
        let mut model = Model::default();
        for name in ["/a", "/b", "/c"] {
            step(&mut model, &creation(name, CreateMode::Persistent)).unwrap();
        }
        let list = Operation::Children {
            path: path("/"),
            after: Some("a".into()),
            limit: Some(1),
            watch: false,
        };
        let Some(Ok(Reply::Children(names, more, _))) = model.read(&list, Zxid(3), 50) else {
            panic!("the root is there");
        };
        assert_eq!((names, more), (vec![String::from("b")], true));
    }
}
