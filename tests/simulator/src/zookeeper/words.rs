//! What is asked and answered in the words of the ZooKeeper protocol, written without a look at how the
//! servers' own door says it.
//!
//! Comes in: operations, and outcomes as the tree's rules make them. Goes out: a client's bytes; what
//! the client must be told of such an outcome. Source: ZooKeeper's jute records and `KeeperException`.

use quorate_types::acl::open_acl;
use quorate_types::request::{
    CreateMode, MultiOperation, MultiReply, RestoredKind, RestoredWatch, WatchMode,
};
use quorate_types::{AclEntry, ErrorCode, Operation, Reply, Stat, ZnodeData, ZnodePath};
use quorate_wire::zookeeper as wire;
use quorate_wire::zookeeper::{
    Acl, AddWatch, AddWatchMode, Create, CreateTtl, Multi, MultiOperation as WireOperation,
    MultiResult, Opcode, PathStat, PathVersion, Read, Request, SetData, SetWatches2,
    ZooKeeperError, encode_request,
};

/// Appends the frame of a request. `opcode` chooses among those that ask for the same.
///
/// # Panics
/// When ZooKeeper clients do not ask for such a thing.
pub fn encode(out: &mut Vec<u8>, xid: i32, operation: &Operation, opcode: Opcode) {
    let open = open_acl();
    let acl: Vec<Acl<'_>> = open.iter().map(entry).collect();
    let request = match operation {
        Operation::Create { path, data, mode, .. } => {
            create(&Creation { path, data, mode: *mode, acl: acl.clone() }, opcode)
        }
        Operation::Delete { path, expected_version } => {
            Request::Delete(version(path, *expected_version))
        }
        Operation::SetData { path, data, expected_version } => {
            Request::SetData(set(path, data, *expected_version))
        }
        Operation::Multi { operations } => {
            Request::Multi(Multi(operations.iter().map(|part| item(part, &acl)).collect()))
        }
        Operation::Get { path, watch } => Request::GetData(read(path, *watch)),
        Operation::Exists { path, watch } => Request::Exists(read(path, *watch)),
        Operation::Children { path, watch, .. } if opcode == Opcode::GetChildren => {
            Request::GetChildren(read(path, *watch))
        }
        Operation::Children { path, watch, .. } => Request::GetChildren2(read(path, *watch)),
        Operation::Sync => Request::Sync("/"),
        Operation::AddWatch { path, mode, .. } => Request::AddWatch(add_watch(path, *mode)),
        Operation::RestoreWatches { watches, since } => {
            let relative_zxid = i64::try_from(since.0).unwrap_or(i64::MAX);
            Request::SetWatches2(set_watches(watches, relative_zxid))
        }
        Operation::CloseSession => Request::CloseSession,
        // Of what is answered beside the replica, and is to be answered at its turn.
        Operation::Status => Request::WhoAmI,
        other => panic!("no ZooKeeper client asks for {other:?}"),
    };
    encode_request(out, xid, &request);
}

struct Creation<'a> {
    path: &'a ZnodePath,
    data: &'a ZnodeData,
    mode: CreateMode,
    acl: Vec<Acl<'a>>,
}

fn entry(one: &AclEntry) -> Acl<'_> {
    Acl { permissions: one.permissions, scheme: &one.scheme, id: &one.id }
}

/// The number of a mode in `CreateMode`, and the time that some of them have.
fn mode_number(mode: CreateMode) -> (i32, Option<u64>) {
    match mode {
        CreateMode::Persistent => (0, None),
        CreateMode::Ephemeral => (1, None),
        CreateMode::PersistentSequential => (2, None),
        CreateMode::EphemeralSequential => (3, None),
        CreateMode::Container => (4, None),
        CreateMode::Ttl(ttl_ms) => (5, Some(ttl_ms)),
        CreateMode::TtlSequential(ttl_ms) => (6, Some(ttl_ms)),
        other => panic!("the workload creates nothing {other:?}"),
    }
}

fn create<'a>(creation: &Creation<'a>, opcode: Opcode) -> Request<'a> {
    let (mode, ttl_ms) = mode_number(creation.mode);
    let (path, data) = (creation.path.as_str(), creation.data.clone().into_option());
    let acl = creation.acl.clone();
    if let Some(ttl_ms) = ttl_ms {
        let ttl_ms = i64::try_from(ttl_ms).expect("times are short");
        return Request::CreateTtl(CreateTtl { path, data, acl, mode, ttl_ms });
    }
    let create = Create { path, data, acl, mode };
    match opcode {
        Opcode::Create => Request::Create(create),
        Opcode::CreateContainer => Request::CreateContainer(create),
        _ => Request::Create2(create),
    }
}

fn version(path: &ZnodePath, expected: Option<i32>) -> PathVersion<'_> {
    PathVersion { path: path.as_str(), version: expected.unwrap_or(-1) }
}

fn set<'a>(path: &'a ZnodePath, data: &ZnodeData, expected: Option<i32>) -> SetData<'a> {
    SetData {
        path: path.as_str(),
        data: data.clone().into_option(),
        version: expected.unwrap_or(-1),
    }
}

fn read(path: &ZnodePath, watch: bool) -> Read<'_> {
    Read { path: path.as_str(), watch }
}

fn add_watch(path: &ZnodePath, mode: WatchMode) -> AddWatch<'_> {
    let mode = match mode {
        WatchMode::PersistentRecursive => AddWatchMode::PersistentRecursive,
        _ => AddWatchMode::Persistent,
    };
    AddWatch { path: path.as_str(), mode: mode.number() }
}

fn set_watches(watches: &[RestoredWatch], relative_zxid: i64) -> SetWatches2<'_> {
    let of = |kind| {
        let those = watches.iter().filter(move |watch| watch.kind == kind);
        those.map(|watch| watch.path.as_str()).collect()
    };
    SetWatches2 {
        relative_zxid,
        data: of(RestoredKind::Data),
        exist: of(RestoredKind::Absence),
        child: of(RestoredKind::Children),
        persistent: of(RestoredKind::Persistent),
        persistent_recursive: of(RestoredKind::PersistentRecursive),
    }
}

/// In a multi, what lasts is created without asking for its stat.
fn item<'a>(part: &'a MultiOperation, acl: &[Acl<'a>]) -> WireOperation<'a> {
    match part {
        MultiOperation::Create { path, data, mode, .. } => {
            let creation = Creation { path, data, mode: *mode, acl: acl.to_vec() };
            match create(&creation, opcode_in_multi(*mode)) {
                Request::Create(create) => WireOperation::Create(create),
                Request::CreateContainer(create) => WireOperation::CreateContainer(create),
                Request::CreateTtl(create) => WireOperation::CreateTtl(create),
                Request::Create2(create) => WireOperation::Create2(create),
                _ => unreachable!("a creation is one of these"),
            }
        }
        MultiOperation::Delete { path, expected_version } => {
            WireOperation::Delete(version(path, *expected_version))
        }
        MultiOperation::SetData { path, data, expected_version } => {
            WireOperation::SetData(set(path, data, *expected_version))
        }
        MultiOperation::Check { path, expected_version } => {
            WireOperation::Check(version(path, *expected_version))
        }
    }
}

fn opcode_in_multi(mode: CreateMode) -> Opcode {
    match mode {
        CreateMode::Persistent | CreateMode::PersistentSequential => Opcode::Create,
        CreateMode::Container => Opcode::CreateContainer,
        _ => Opcode::Create2,
    }
}

/// What a client is told of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    Reply(wire::Reply<'a>),
    Refused(ZooKeeperError),
}

/// Why something was not done: the code, and which operation of a multi failed.
pub type Denied = (ErrorCode, Option<u32>);

/// What the client must be told of an outcome.
#[must_use]
pub fn told<'a>(
    operation: &'a Operation,
    opcode: Opcode,
    outcome: Result<&'a Reply, Denied>,
) -> Told<'a> {
    let reply = match outcome {
        Ok(reply) => reply,
        Err((code, failed)) => return denied(operation, (code, failed)),
    };
    Told::Reply(match (opcode, reply) {
        (Opcode::Create, Reply::Created(path, _)) => wire::Reply::Path(path.as_str()),
        (_, Reply::Created(path, stat)) => wire::Reply::PathStat(path_stat(path, stat)),
        (_, Reply::Exists(None)) => return Told::Refused(ZooKeeperError::NoNode),
        (_, Reply::Stat(stat) | Reply::Exists(Some(stat))) => wire::Reply::Stat(wire_stat(stat)),
        (_, Reply::Data(data, stat)) => {
            let (data, stat) = (data.clone().into_option(), wire_stat(stat));
            wire::Reply::DataStat(wire::DataStat { data, stat })
        }
        // The protocol knows no part of a list.
        (_, Reply::Children(_, true, _)) => return Told::Refused(ZooKeeperError::SystemError),
        (Opcode::GetChildren, Reply::Children(names, ..)) => wire::Reply::Children(texts(names)),
        (_, Reply::Children(names, _, stat)) => {
            let (children, stat) = (texts(names), wire_stat(stat));
            wire::Reply::ChildrenStat(wire::ChildrenStat { children, stat })
        }
        (_, Reply::Multi(replies)) => wire::Reply::Multi(results(operation, replies)),
        (Opcode::Sync, _) => wire::Reply::Path("/"),
        (Opcode::AddWatch, _) => wire::Reply::Error(ZooKeeperError::Ok),
        _ => wire::Reply::Empty,
    })
}

fn denied(operation: &Operation, (code, failed): Denied) -> Told<'static> {
    let (Operation::Multi { operations }, Some(failed)) = (operation, failed) else {
        return Told::Refused(error_of(code));
    };
    let result = |place: usize| match place.cmp(&(failed as usize)) {
        std::cmp::Ordering::Less => ZooKeeperError::Ok,
        std::cmp::Ordering::Equal => error_of(code),
        std::cmp::Ordering::Greater => ZooKeeperError::RuntimeInconsistency,
    };
    let results = (0..operations.len()).map(|place| MultiResult::Error(result(place)));
    Told::Reply(wire::Reply::Multi(Multi(results.collect())))
}

fn results<'a>(operation: &Operation, replies: &'a [MultiReply]) -> Multi<MultiResult<'a>> {
    let Operation::Multi { operations } = operation else { return Multi(Vec::new()) };
    let result = |(part, reply): (&MultiOperation, &'a MultiReply)| match (part, reply) {
        (MultiOperation::Create { mode, .. }, MultiReply::Created(path, _))
            if opcode_in_multi(*mode) == Opcode::Create =>
        {
            MultiResult::Create(path.as_str())
        }
        (_, MultiReply::Created(path, stat)) => MultiResult::Create2(path_stat(path, stat)),
        (_, MultiReply::Deleted) => MultiResult::Delete,
        (_, MultiReply::Set(stat)) => MultiResult::SetData(wire_stat(stat)),
        (_, MultiReply::Checked) => MultiResult::Check,
    };
    Multi(operations.iter().zip(replies).map(result).collect())
}

/// Whether a multi was answered that nothing of it was done.
#[must_use]
pub fn is_failed_multi(reply: &wire::Reply<'_>) -> bool {
    let failed = |result: &MultiResult<'_>| matches!(result, MultiResult::Error(_));
    matches!(reply, wire::Reply::Multi(Multi(results)) if results.iter().any(failed))
}

fn texts(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn path_stat<'a>(path: &'a ZnodePath, stat: &Stat) -> PathStat<'a> {
    PathStat { path: path.as_str(), stat: wire_stat(stat) }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("a run's numbers are small")
}

fn wire_stat(stat: &Stat) -> wire::Stat {
    wire::Stat {
        czxid: signed(stat.czxid.0),
        mzxid: signed(stat.mzxid.0),
        pzxid: signed(stat.pzxid.0),
        ctime_ms: signed(stat.ctime_ms),
        mtime_ms: signed(stat.mtime_ms),
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.ephemeral_owner.map_or(0, |owner| signed(owner.0)),
        data_length: i32::try_from(stat.data_length).expect("data is small"),
        children_count: i32::try_from(stat.children_count).expect("children are few"),
    }
}

/// Those of `KeeperException.Code` that this workload can meet.
fn error_of(code: ErrorCode) -> ZooKeeperError {
    match code {
        ErrorCode::NoNode => ZooKeeperError::NoNode,
        ErrorCode::NodeExists => ZooKeeperError::NodeExists,
        ErrorCode::BadVersion => ZooKeeperError::BadVersion,
        ErrorCode::NotEmpty => ZooKeeperError::NotEmpty,
        ErrorCode::NoChildrenForEphemerals => ZooKeeperError::NoChildrenForEphemerals,
        ErrorCode::BadArguments => ZooKeeperError::BadArguments,
        ErrorCode::QuotaExceeded => ZooKeeperError::QuotaExceeded,
        ErrorCode::Overloaded => ZooKeeperError::ThrottledOp,
        ErrorCode::NotAllowed | ErrorCode::GovernedByRecipe => ZooKeeperError::NoAuth,
        ErrorCode::SessionExpired => ZooKeeperError::SessionExpired,
        ErrorCode::SessionMoved => ZooKeeperError::SessionMoved,
        ErrorCode::TimedOut => ZooKeeperError::OperationTimeout,
        _ => ZooKeeperError::SystemError,
    }
}
