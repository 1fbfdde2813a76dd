//! A ZooKeeper request in quorate's words.
//!
//! Comes in: a decoded request. Goes out: an operation with the shape of its reply, or an answer that
//! needs no replica. Invariant: errors come in ZooKeeper's order; what ZooKeeper reads without looking
//! at the path's form is not there if the path is none.

use super::reconfig;
use super::tell::Shape;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_machine::TTL_MS_MAX;
use quorate_types::request::{
    CreateMode, MultiOperation, ReadLevel, ReadOperation, RestoredKind, RestoredWatch, WatchMode,
};
use quorate_types::{AclEntry, ErrorCode, Operation, Outcome, Refusal, Reply, ZnodePath, Zxid};
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

/// `reconfigures`: whether members may be changed by `reconfig`.
pub(super) fn turn(request: Request<'_>, reconfigures: bool) -> Step {
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
        Request::Delete(PathVersion { path, version }) => deleted(path).map(|path| {
            let expected_version = Some(version);
            (Operation::Delete { path, expected_version }, Shape::Empty)
        }),
        Request::SetData(set) => set_data(set),
        Request::SetAcl(set) => set_acl(set),
        Request::Multi(multi) if multi.0.iter().any(lacks_time) => return unreadable(),
        Request::Multi(multi) => multi_of(multi.0),
        Request::Reconfig(_) if !reconfigures => Err(ErrorCode::ReconfigurationDisabled),
        Request::Reconfig(asked) => Ok((reconfig::operation_of(&asked), Shape::DataStat)),
        Request::Exists(_)
        | Request::GetData(_)
        | Request::GetAcl(_)
        | Request::GetChildren(_)
        | Request::GetChildren2(_)
        | Request::MultiRead(_)
        | Request::GetEphemerals(_)
        | Request::GetAllChildrenNumber(_)
        | Request::Sync(_) => read_of(request),
        Request::SetWatches(_) | Request::SetWatches2(_) => restored_of(request),
        Request::AddWatch(_) | Request::CheckWatches(_) | Request::RemoveWatches(_) => {
            return watch_of(request);
        }
        // A lone check stops a ZooKeeper 3.8 ensemble, and its log cannot be read afterwards; a
        // deletion of a container looks at no ACL there. Neither is for clients.
        Request::Check(_)
        | Request::DeleteContainer(_)
        | Request::CreateSession
        | Request::Unknown(_) => return Step::Improper,
    };
    match translated {
        Ok((operation, shape)) => asked(operation, shape),
        Err(code) => refused(code),
    }
}

/// ZooKeeper reads what its server has, and `sync` waits for all that was acknowledged before.
fn asked(operation: Operation, shape: Shape) -> Step {
    let level = match operation {
        Operation::Sync => ReadLevel::Linearizable,
        _ => ReadLevel::Local,
    };
    Step::Ask(Box::new(Asked { level, operation, shape }))
}

/// Whether a server that only reads refuses it, whatever is in it: ZooKeeper's list.
pub(super) fn is_write(opcode: i32) -> bool {
    matches!(
        Opcode::from_number(opcode),
        Some(
            Opcode::Sync
                | Opcode::Create
                | Opcode::Create2
                | Opcode::CreateTtl
                | Opcode::CreateContainer
                | Opcode::Delete
                | Opcode::DeleteContainer
                | Opcode::SetData
                | Opcode::SetAcl
                | Opcode::Multi
                | Opcode::Check
                | Opcode::Reconfig
        )
    )
}

pub(super) fn refused(code: ErrorCode) -> Step {
    Step::Answer(Shape::Empty, Err(Refusal::new(code, "")))
}

/// What becomes of a request whose body is none of its kind: the client is told so, at its turn.
pub(super) fn unreadable() -> Step {
    Step::Answer(Shape::Unreadable, Ok(Reply::Done))
}

fn path_of(text: &str) -> Result<ZnodePath, ErrorCode> {
    ZnodePath::parse(text).map_err(|_| ErrorCode::BadArguments)
}

/// ZooKeeper looks up what it reads as it stands: what is no path is not there, and the empty text
/// is another name of the root.
fn found(text: &str) -> Result<ZnodePath, ErrorCode> {
    if text.is_empty() {
        return Ok(ZnodePath::root());
    }
    ZnodePath::parse(text).map_err(|_| ErrorCode::NoNode)
}

/// What ZooKeeper wants of a path before it looks for the parent. It looks at the rest of the form
/// later, or never.
fn has_parent(text: &str) -> Result<(), ErrorCode> {
    if text.contains('/') && !text.contains('\0') { Ok(()) } else { Err(ErrorCode::BadArguments) }
}

/// The path of what is to be deleted.
fn deleted(text: &str) -> Result<ZnodePath, ErrorCode> {
    has_parent(text)?;
    found(text)
}

/// The path of what is to be created. What is wrong with the parent's is told as its absence.
fn new_path(text: &str) -> Result<ZnodePath, ErrorCode> {
    has_parent(text)?;
    let parent = text.rsplit_once('/').map_or("", |(parent, _)| parent);
    found(parent)?;
    path_of(text)
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
    let Some(parent) = unnamed else { return Ok((new_path(text)?, mode)) };
    has_parent(text)?;
    let parent = found(parent)?;
    let mode = match mode {
        CreateMode::PersistentSequential => CreateMode::PersistentNumber,
        CreateMode::EphemeralSequential => CreateMode::EphemeralNumber,
        CreateMode::TtlSequential(ttl_ms) => CreateMode::TtlNumber(ttl_ms),
        other => other,
    };
    Ok((parent, mode))
}

/// As [`place_of`]; of a path that is none and an ACL without entries, ZooKeeper tells the latter.
fn placed(
    text: &str,
    mode: CreateMode,
    acl: &[Acl<'_>],
) -> Result<(ZnodePath, CreateMode), ErrorCode> {
    let place = place_of(text, mode);
    match place {
        Err(_) if acl.is_empty() && has_parent(text).is_ok() => Err(ErrorCode::InvalidAcl),
        place => place,
    }
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
    let mode = mode_of(create.mode)?;
    let (path, mode) = placed(create.path, mode, &create.acl)?;
    let (data, acl) = (create.data.into(), Some(acl_of(&create.acl)));
    Ok(MultiOperation::Create { path, data, mode, acl })
}

fn creation_ttl(create: CreateTtl<'_>) -> Result<MultiOperation, ErrorCode> {
    let ttl_ms = u64::try_from(create.ttl_ms).map_err(|_| ErrorCode::BadArguments)?;
    let mode = match wire::CreateMode::from_number(create.mode) {
        Some(wire::CreateMode::PersistentTtl) => CreateMode::Ttl(ttl_ms),
        Some(wire::CreateMode::PersistentSequentialTtl) => CreateMode::TtlSequential(ttl_ms),
        _ => return Err(ErrorCode::BadArguments),
    };
    if !(1..=TTL_MS_MAX).contains(&ttl_ms) {
        return Err(ErrorCode::BadArguments);
    }
    let (path, mode) = placed(create.path, mode, &create.acl)?;
    let (data, acl) = (create.data.into(), Some(acl_of(&create.acl)));
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
    let (path, data) = (path_of(set.path)?, set.data.into());
    let expected_version = Some(set.version);
    Ok((Operation::SetData { path, data, expected_version }, Shape::Stat))
}

fn set_acl(set: SetAcl<'_>) -> Translated {
    let (path, acl) = (path_of(set.path)?, acl_of(&set.acl));
    Ok((Operation::SetAcl { path, acl, expected_version: Some(set.version) }, Shape::Stat))
}

/// Whether a create of a multi has a mode that needs a time and is of those without one: to ZooKeeper
/// such a multi cannot be read.
fn lacks_time(operation: &WireOperation<'_>) -> bool {
    match operation {
        WireOperation::Create(create)
        | WireOperation::Create2(create)
        | WireOperation::CreateContainer(create) => has_time(create.mode),
        _ => false,
    }
}

fn has_time(mode: i32) -> bool {
    matches!(
        wire::CreateMode::from_number(mode),
        Some(wire::CreateMode::PersistentTtl | wire::CreateMode::PersistentSequentialTtl)
    )
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

/// The mode decides what the result looks like, before the opcode does.
fn created_item(create: Create<'_>, opcode: Opcode) -> (Opcode, Result<MultiOperation, ErrorCode>) {
    let is_container = create.mode == wire::CreateMode::Container.number();
    (if is_container { Opcode::Create2 } else { opcode }, creation(create))
}

fn item_of(operation: WireOperation<'_>) -> (Opcode, Result<MultiOperation, ErrorCode>) {
    match operation {
        WireOperation::Create(create) => created_item(create, Opcode::Create),
        WireOperation::Create2(create) | WireOperation::CreateContainer(create) => {
            created_item(create, Opcode::Create2)
        }
        WireOperation::CreateTtl(create) if has_time(create.mode) => {
            (Opcode::Create2, creation_ttl(create))
        }
        // Without a mode that needs it, the time does not count.
        WireOperation::CreateTtl(CreateTtl { path, data, acl, mode, .. }) => {
            created_item(Create { path, data, acl, mode }, Opcode::Create)
        }
        WireOperation::Delete(PathVersion { path, version }) => {
            let delete = |path| MultiOperation::Delete { path, expected_version: Some(version) };
            (Opcode::Delete, deleted(path).map(delete))
        }
        WireOperation::SetData(SetData { path, data, version }) => {
            let (data, expected_version) = (data.into(), Some(version));
            let set = |path| MultiOperation::SetData { path, data, expected_version };
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
        Request::Exists(read) if read.path.contains('\0') => return Err(ErrorCode::BadArguments),
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
            let items: Vec<_> = reads.0.iter().map(read_item).collect();
            let wrong = items.iter().map(|item| item.as_ref().err().copied()).collect();
            let operations = items.into_iter().flatten().collect();
            (Operation::MultiRead { operations }, Shape::MultiRead { wrong })
        }
        Request::GetEphemerals(prefix) => {
            // Blanks alone mean all of them.
            let prefix = if prefix.trim().is_empty() { "/" } else { prefix };
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

fn restored_of(request: Request<'_>) -> Translated {
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
        _ => Err(ErrorCode::Unimplemented),
    }
}

/// A number that stands for nothing is to ZooKeeper a body that it cannot read.
fn watch_of(request: Request<'_>) -> Step {
    match request {
        Request::AddWatch(added) => {
            let mode = match AddWatchMode::from_number(added.mode) {
                Some(AddWatchMode::Persistent) => WatchMode::Persistent,
                Some(AddWatchMode::PersistentRecursive) => WatchMode::PersistentRecursive,
                None => return unreadable(),
            };
            match ZnodePath::parse(added.path) {
                Ok(path) => {
                    let add = Operation::AddWatch { path, mode, since: None, values: false };
                    asked(add, Shape::Added)
                }
                // It can never fire.
                Err(_) => Step::Answer(Shape::Added, Ok(Reply::Done)),
            }
        }
        Request::CheckWatches(watches) => {
            watches_of(watches, |path, mode| Operation::CountWatches { path, mode })
        }
        Request::RemoveWatches(watches) => {
            watches_of(watches, |path, mode| Operation::RemoveWatches { path, mode })
        }
        _ => refused(ErrorCode::Unimplemented),
    }
}

fn watches_of(
    watches: WatchesOf<'_>,
    operation: impl FnOnce(ZnodePath, Option<WatchMode>) -> Operation,
) -> Step {
    let mode = match WatcherKind::from_number(watches.kind) {
        Some(WatcherKind::Children) => Some(WatchMode::OneShotChildren),
        Some(WatcherKind::Data) => Some(WatchMode::OneShotData),
        Some(WatcherKind::Persistent) => Some(WatchMode::Persistent),
        Some(WatcherKind::PersistentRecursive) => Some(WatchMode::PersistentRecursive),
        Some(WatcherKind::Any) => None,
        None => return unreadable(),
    };
    match ZnodePath::parse(watches.path) {
        Ok(path) => asked(operation(path, mode), Shape::Watches),
        // What is no path has no watch.
        Err(_) => refused(ErrorCode::NoWatcher),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::zookeeper::{AddWatch, Multi, Read};

    fn turn(request: Request<'_>) -> Step {
        super::turn(request, false)
    }

    fn code_of(request: Request<'_>) -> Option<ErrorCode> {
        match turn(request) {
            Step::Answer(_, Err(refusal)) => Some(refusal.code),
            _ => None,
        }
    }

    #[test]
    fn what_is_wrong_with_a_path_is_told_in_zookeepers_order() {
        let entry =
            Acl { permissions: quorate_types::Permissions::ALL, scheme: "world", id: "anyone" };
        let create = |path, entries: &[Acl<'static>], mode| {
            code_of(Request::Create(Create { path, data: None, acl: entries.into(), mode }))
        };
        for (path, code) in [
            ("a", ErrorCode::BadArguments),
            ("/a\0", ErrorCode::BadArguments),
            ("/a/", ErrorCode::BadArguments),
            ("/a/..", ErrorCode::BadArguments),
            ("a/b", ErrorCode::NoNode),
            ("/a//b", ErrorCode::NoNode),
            ("/a/../b", ErrorCode::NoNode),
        ] {
            assert_eq!(create(path, &[entry], 0), Some(code), "{path:?}");
            let without = if path.contains('/') && !path.contains('\0') {
                ErrorCode::InvalidAcl
            } else {
                ErrorCode::BadArguments
            };
            assert_eq!(create(path, &[], 0), Some(without), "{path:?}");
            assert_eq!(create(path, &[entry], 7), Some(ErrorCode::BadArguments));
        }
        let delete = |path| code_of(Request::Delete(PathVersion { path, version: -1 }));
        assert_eq!(delete("a"), Some(ErrorCode::BadArguments));
        assert_eq!(delete("/a//b"), Some(ErrorCode::NoNode));
        assert_eq!(delete("/a/b"), None);
    }

    #[test]
    fn in_a_multi_the_mode_of_a_create_counts_more_than_its_opcode() {
        let create = |mode| Create { path: "/a", data: None, acl: Vec::new(), mode };
        let ttl = |mode| CreateTtl { path: "/a", data: None, acl: Vec::new(), mode, ttl_ms: 0 };
        for (operation, opcode) in [
            (WireOperation::Create(create(0)), Opcode::Create),
            (WireOperation::Create(create(4)), Opcode::Create2),
            (WireOperation::Create2(create(0)), Opcode::Create2),
            (WireOperation::CreateTtl(ttl(0)), Opcode::Create),
        ] {
            let (told, translated) = item_of(operation);
            assert_eq!(told, opcode);
            assert!(translated.is_ok());
        }
        assert_eq!(item_of(WireOperation::CreateTtl(ttl(5))).1, Err(ErrorCode::BadArguments));
        let timeless = Multi([WireOperation::Create(create(5))].into());
        let step = turn(Request::Multi(timeless));
        assert!(matches!(step, Step::Answer(Shape::Unreadable, _)));
    }

    #[test]
    fn reads_find_the_root_under_no_name_and_nothing_under_a_wrong_one() {
        let exists = |path| code_of(Request::Exists(Read { path, watch: false }));
        assert_eq!(exists("/a/"), Some(ErrorCode::NoNode));
        assert_eq!(exists("/a\0"), Some(ErrorCode::BadArguments));
        let Step::Ask(asked) = turn(Request::GetData(Read { path: "", watch: false })) else {
            panic!("the root is there")
        };
        assert_eq!(asked.operation, Operation::Get { path: ZnodePath::root(), watch: false });
        let reads =
            ["/a", "a"].map(|path| MultiReadOperation::GetData(Read { path, watch: false }));
        let Step::Ask(asked) = turn(Request::MultiRead(Multi(reads.into()))) else {
            panic!("one of them may be there")
        };
        assert_eq!(asked.shape, Shape::MultiRead { wrong: [None, Some(ErrorCode::NoNode)].into() });
    }

    #[test]
    fn a_watch_of_no_kind_cannot_be_read_and_one_on_no_path_is_taken() {
        let add = |path, mode| turn(Request::AddWatch(AddWatch { path, mode }));
        assert!(matches!(add("/a", 2), Step::Answer(Shape::Unreadable, _)));
        assert!(matches!(add("a", 0), Step::Answer(Shape::Added, Ok(_))));
        let check = |kind| turn(Request::CheckWatches(WatchesOf { path: "/a", kind }));
        assert!(matches!(check(6), Step::Answer(Shape::Unreadable, _)));
        assert!(matches!(check(3), Step::Ask(_)));
    }
}
