//! A ZooKeeper request in quorate's words.
//!
//! Comes in: a decoded request. Goes out: an operation with the shape of its reply, or an answer that
//! needs no replica. Invariant: errors come in ZooKeeper's order; what ZooKeeper reads without looking
//! at the path's form is not there if the path is none.

use super::level_of;
use super::tell::Shape;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::request::{
    CreateMode, MultiOperation, ReadLevel, ReadOperation, RestoredKind, RestoredWatch, WatchMode,
};
use quorate_types::{AclEntry, ErrorCode, Operation, Outcome, Refusal, ZnodePath, Zxid};
use quorate_wire::zookeeper as wire;
use quorate_wire::zookeeper::{
    Acl, AddWatchMode, Create, CreateTtl, MultiOperation as WireOperation, MultiReadOperation,
    Opcode, PathVersion, Request, SetAcl, SetData, WatcherKind, WatchesOf,
};

/// A request for the replica.
pub(super) struct Asked {
    pub(super) level: ReadLevel,
    pub(super) operation: Operation,
    pub(super) shape: Shape,
}

/// What becomes of a request.
pub(super) enum Step {
    /// The replica is asked.
    Ask(Box<Asked>),
    /// It is answered here, at its turn.
    Answer(Shape, Outcome),
    /// A sign of life, answered at once.
    Heartbeat,
    /// A proof of identity, answered at once.
    Prove { scheme: String, proof: Bytes },
    /// A step of SASL, answered at once.
    Sasl { token: Bytes },
    /// Who the client has proved to be.
    WhoAmI,
    /// No client may ask for it: it is told so, and the connection closes.
    Improper,
}

/// An operation with the shape of its reply, or why there is none.
type Translated = Result<(Operation, Shape), ErrorCode>;

pub(super) fn turn(request: Request<'_>) -> Step {
    let translated = match request {
        Request::Ping => return Step::Heartbeat,
        Request::Auth(auth) => {
            let (scheme, proof) = (String::from(auth.scheme), auth.auth.0.unwrap_or_default());
            return Step::Prove { scheme, proof };
        }
        Request::Sasl(token) => return Step::Sasl { token: token.0.unwrap_or_default() },
        Request::WhoAmI => return Step::WhoAmI,
        Request::CloseSession => Ok((Operation::CloseSession, Shape::Closed)),
        Request::Create(create) => created(create, Shape::Path),
        Request::Create2(create) | Request::CreateContainer(create) => {
            created(create, Shape::PathStat)
        }
        Request::CreateTtl(create) => created_ttl(create),
        Request::Delete(PathVersion { path, version }) => path_of(path).map(|path| {
            let expected_version = Some(version);
            (Operation::Delete { path, expected_version }, Shape::Empty)
        }),
        Request::SetData(set) => set_data(set),
        Request::SetAcl(set) => set_acl(set),
        Request::Multi(multi) => multi_of(multi.0),
        Request::Reconfig(_) => Err(ErrorCode::ReconfigurationDisabled),
        Request::Exists(_)
        | Request::GetData(_)
        | Request::GetAcl(_)
        | Request::GetChildren(_)
        | Request::GetChildren2(_)
        | Request::MultiRead(_)
        | Request::GetEphemerals(_)
        | Request::GetAllChildrenNumber(_)
        | Request::Sync(_) => read_of(request),
        Request::SetWatches(_)
        | Request::SetWatches2(_)
        | Request::AddWatch(_)
        | Request::CheckWatches(_)
        | Request::RemoveWatches(_) => watch_of(request),
        // A lone check stops a ZooKeeper 3.8 ensemble, and its log cannot be read afterwards; a
        // deletion of a container looks at no ACL there. Neither is for clients.
        Request::Check(_)
        | Request::DeleteContainer(_)
        | Request::CreateSession
        | Request::Unknown(_) => return Step::Improper,
    };
    match translated {
        Ok((operation, shape)) => {
            let level = level_of(&operation);
            Step::Ask(Box::new(Asked { level, operation, shape }))
        }
        Err(code) => Step::Answer(Shape::Empty, Err(Refusal::new(code, ""))),
    }
}

fn path_of(text: &str) -> Result<ZnodePath, ErrorCode> {
    ZnodePath::parse(text).map_err(|_| ErrorCode::BadArguments)
}

/// ZooKeeper looks up what it reads as it stands: what is no path is not there.
fn found(text: &str) -> Result<ZnodePath, ErrorCode> {
    ZnodePath::parse(text).map_err(|_| ErrorCode::NoNode)
}

fn acl_of(acl: &[Acl<'_>]) -> Vec<AclEntry> {
    let entry = |acl: &Acl<'_>| AclEntry {
        permissions: acl.permissions,
        scheme: String::from(acl.scheme),
        id: String::from(acl.id),
    };
    acl.iter().map(entry).collect()
}

/// The path and mode of a create. A sequential znode may have a number for its whole name: then the
/// path ends with a slash.
fn place_of(text: &str, mode: CreateMode) -> Result<(ZnodePath, CreateMode), ErrorCode> {
    let unnamed = text.strip_suffix('/').filter(|_| mode.is_sequential());
    let Some(parent) = unnamed else { return Ok((path_of(text)?, mode)) };
    let parent = if parent.is_empty() { ZnodePath::root() } else { path_of(parent)? };
    let mode = match mode {
        CreateMode::PersistentSequential => CreateMode::PersistentNumber,
        CreateMode::EphemeralSequential => CreateMode::EphemeralNumber,
        CreateMode::TtlSequential(ttl_ms) => CreateMode::TtlNumber(ttl_ms),
        other => other,
    };
    Ok((parent, mode))
}

fn mode_of(number: i32) -> Result<CreateMode, ErrorCode> {
    match wire::CreateMode::from_number(number) {
        Some(wire::CreateMode::Persistent) => Ok(CreateMode::Persistent),
        Some(wire::CreateMode::PersistentSequential) => Ok(CreateMode::PersistentSequential),
        Some(wire::CreateMode::Ephemeral) => Ok(CreateMode::Ephemeral),
        Some(wire::CreateMode::EphemeralSequential) => Ok(CreateMode::EphemeralSequential),
        Some(wire::CreateMode::Container) => Ok(CreateMode::Container),
        // These need a time, which only their own request has.
        Some(wire::CreateMode::PersistentTtl | wire::CreateMode::PersistentSequentialTtl)
        | None => Err(ErrorCode::BadArguments),
    }
}

fn creation(create: Create<'_>) -> Result<MultiOperation, ErrorCode> {
    let (path, mode) = place_of(create.path, mode_of(create.mode)?)?;
    let (data, acl) = (create.data.unwrap_or_default(), Some(acl_of(&create.acl)));
    Ok(MultiOperation::Create { path, data, mode, acl })
}

fn creation_ttl(create: CreateTtl<'_>) -> Result<MultiOperation, ErrorCode> {
    let ttl_ms = u64::try_from(create.ttl_ms).map_err(|_| ErrorCode::BadArguments)?;
    let mode = match wire::CreateMode::from_number(create.mode) {
        Some(wire::CreateMode::PersistentTtl) => CreateMode::Ttl(ttl_ms),
        Some(wire::CreateMode::PersistentSequentialTtl) => CreateMode::TtlSequential(ttl_ms),
        _ => return Err(ErrorCode::BadArguments),
    };
    let (path, mode) = place_of(create.path, mode)?;
    let (data, acl) = (create.data.unwrap_or_default(), Some(acl_of(&create.acl)));
    Ok(MultiOperation::Create { path, data, mode, acl })
}

fn alone(operation: MultiOperation) -> Operation {
    match operation {
        MultiOperation::Create { path, data, mode, acl } => {
            Operation::Create { path, data, mode, acl }
        }
        other => Operation::Multi { operations: [other].into() },
    }
}

fn created(create: Create<'_>, shape: Shape) -> Translated {
    Ok((alone(creation(create)?), shape))
}

fn created_ttl(create: CreateTtl<'_>) -> Translated {
    Ok((alone(creation_ttl(create)?), Shape::PathStat))
}

fn set_data(set: SetData<'_>) -> Translated {
    let (path, data) = (path_of(set.path)?, set.data.unwrap_or_default());
    let expected_version = Some(set.version);
    Ok((Operation::SetData { path, data, expected_version }, Shape::Stat))
}

fn set_acl(set: SetAcl<'_>) -> Translated {
    let (path, acl) = (path_of(set.path)?, acl_of(&set.acl));
    Ok((Operation::SetAcl { path, acl, expected_version: Some(set.version) }, Shape::Stat))
}

fn multi_of(wanted: Vec<WireOperation<'_>>) -> Translated {
    let mut opcodes = Vec::with_capacity(wanted.len());
    let mut operations = Vec::with_capacity(wanted.len());
    let mut wrong = None;
    for (operation, place) in wanted.into_iter().zip(0..) {
        let (opcode, translated) = item_of(operation);
        opcodes.push(opcode);
        match translated {
            _ if wrong.is_some() => {}
            Ok(operation) => operations.push(operation),
            // Those before it may fail too, and then they are what is told.
            Err(code) => wrong = Some((place, code)),
        }
    }
    match wrong {
        None => Ok((Operation::Multi { operations }, Shape::Multi { opcodes, wrong })),
        // Nothing of it may be done: in the place of the wrong one stands a check that always fails.
        Some(_) => {
            let (path, expected_version) = (ZnodePath::root(), Some(i32::MIN));
            operations.push(MultiOperation::Check { path, expected_version });
            Ok((Operation::Multi { operations }, Shape::Multi { opcodes, wrong }))
        }
    }
}

fn item_of(operation: WireOperation<'_>) -> (Opcode, Result<MultiOperation, ErrorCode>) {
    match operation {
        WireOperation::Create(create) => (Opcode::Create, creation(create)),
        WireOperation::Create2(create) => (Opcode::Create2, creation(create)),
        WireOperation::CreateContainer(create) => (Opcode::Create2, creation(create)),
        WireOperation::CreateTtl(create) => (Opcode::Create2, creation_ttl(create)),
        WireOperation::Delete(PathVersion { path, version }) => {
            let delete = |path| MultiOperation::Delete { path, expected_version: Some(version) };
            (Opcode::Delete, path_of(path).map(delete))
        }
        WireOperation::SetData(SetData { path, data, version }) => {
            let data = data.unwrap_or_default();
            let set =
                |path| MultiOperation::SetData { path, data, expected_version: Some(version) };
            (Opcode::SetData, path_of(path).map(set))
        }
        WireOperation::Check(PathVersion { path, version }) => {
            let check = |path| MultiOperation::Check { path, expected_version: Some(version) };
            (Opcode::Check, path_of(path).map(check))
        }
    }
}

fn read_of(request: Request<'_>) -> Translated {
    Ok(match request {
        Request::Exists(read) => {
            (Operation::Exists { path: found(read.path)?, watch: read.watch }, Shape::Exists)
        }
        Request::GetData(read) => {
            (Operation::Get { path: found(read.path)?, watch: read.watch }, Shape::DataStat)
        }
        Request::GetAcl(path) => (Operation::GetAcl { path: found(path)? }, Shape::AclStat),
        Request::GetChildren(read) => (children(read)?, Shape::Children),
        Request::GetChildren2(read) => (children(read)?, Shape::ChildrenStat),
        Request::MultiRead(reads) => {
            let operations = reads.0.iter().map(read_item).collect::<Result<_, ErrorCode>>()?;
            (Operation::MultiRead { operations }, Shape::MultiRead)
        }
        Request::GetEphemerals(prefix) => {
            (Operation::Ephemerals { prefix: String::from(prefix) }, Shape::Ephemerals)
        }
        Request::GetAllChildrenNumber(path) => {
            (Operation::CountBelow { path: found(path)? }, Shape::Count)
        }
        Request::Sync(path) => (Operation::Sync, Shape::Given(String::from(path))),
        _ => return Err(ErrorCode::Unimplemented),
    })
}

fn children(read: wire::Read<'_>) -> Result<Operation, ErrorCode> {
    let (path, watch) = (found(read.path)?, read.watch);
    Ok(Operation::Children { path, after: None, limit: None, watch })
}

fn read_item(read: &MultiReadOperation<'_>) -> Result<ReadOperation, ErrorCode> {
    Ok(match read {
        MultiReadOperation::GetData(read) => ReadOperation::Get { path: found(read.path)? },
        MultiReadOperation::GetChildren(read) => {
            ReadOperation::Children { path: found(read.path)? }
        }
    })
}

fn watch_of(request: Request<'_>) -> Translated {
    match request {
        Request::SetWatches(wanted) => {
            let lists = [
                (wanted.data, RestoredKind::Data),
                (wanted.exist, RestoredKind::Absence),
                (wanted.child, RestoredKind::Children),
            ];
            Ok(restored(wanted.relative_zxid, lists))
        }
        Request::SetWatches2(wanted) => {
            let lists = [
                (wanted.data, RestoredKind::Data),
                (wanted.exist, RestoredKind::Absence),
                (wanted.child, RestoredKind::Children),
                (wanted.persistent, RestoredKind::Persistent),
                (wanted.persistent_recursive, RestoredKind::PersistentRecursive),
            ];
            Ok(restored(wanted.relative_zxid, lists))
        }
        Request::AddWatch(added) => {
            let mode = match AddWatchMode::from_number(added.mode) {
                Some(AddWatchMode::Persistent) => WatchMode::Persistent,
                Some(AddWatchMode::PersistentRecursive) => WatchMode::PersistentRecursive,
                None => return Err(ErrorCode::BadArguments),
            };
            let path = path_of(added.path)?;
            Ok((Operation::AddWatch { path, mode, since: None, values: false }, Shape::Added))
        }
        Request::CheckWatches(watches) => {
            let (path, mode) = watches_of(watches)?;
            Ok((Operation::CountWatches { path, mode }, Shape::Watches))
        }
        Request::RemoveWatches(watches) => {
            let (path, mode) = watches_of(watches)?;
            Ok((Operation::RemoveWatches { path, mode }, Shape::Watches))
        }
        _ => Err(ErrorCode::Unimplemented),
    }
}

fn watches_of(watches: WatchesOf<'_>) -> Result<(ZnodePath, Option<WatchMode>), ErrorCode> {
    let mode = match WatcherKind::from_number(watches.kind) {
        Some(WatcherKind::Children) => Some(WatchMode::OneShotChildren),
        Some(WatcherKind::Data) => Some(WatchMode::OneShotData),
        Some(WatcherKind::Persistent) => Some(WatchMode::Persistent),
        Some(WatcherKind::PersistentRecursive) => Some(WatchMode::PersistentRecursive),
        Some(WatcherKind::Any) => None,
        None => return Err(ErrorCode::BadArguments),
    };
    // What is no path has no watch.
    let path = ZnodePath::parse(watches.path).map_err(|_| ErrorCode::NoWatcher)?;
    Ok((path, mode))
}

/// Watches on what is no path can never fire and are left out.
fn restored<'a>(
    since: i64,
    lists: impl IntoIterator<Item = (Vec<&'a str>, RestoredKind)>,
) -> (Operation, Shape) {
    let mut watches = Vec::new();
    for (paths, kind) in lists {
        let paths = paths.into_iter().filter_map(|path| ZnodePath::parse(path).ok());
        watches.extend(paths.map(|path| RestoredWatch { path, kind }));
    }
    let since = Zxid(u64::try_from(since).unwrap_or(0));
    (Operation::RestoreWatches { watches, since }, Shape::Restored)
}
