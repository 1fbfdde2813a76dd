//! Random messages of the ZooKeeper protocol, of every kind.
//!
//! Comes in: a source of random numbers. Goes out: messages that can be written and read.

use crate::random::Random;
use bytes::Bytes;
use quorate_types::Permissions;
use quorate_wire::zookeeper::{
    Acl, AclStat, AddWatch, Auth, ChildrenStat, ClientInfo, ConnectRequest, ConnectResponse,
    Create, CreateTtl, DataStat, EventKind, Multi, MultiOperation, MultiReadOperation,
    MultiReadResult, MultiResult, Opcode, PathStat, PathVersion, Read, Reconfig, Reply, Request,
    Secret, SetAcl, SetData, SetWatches, SetWatches2, Stat, WatcherEvent, WatcherState, WatchesOf,
    ZooKeeperError,
};

const TEXTS: [&str; 10] = [
    "",
    "/",
    "/a",
    "/locks/orders/x-0000000001",
    "/größe/€/𝄞",
    "world",
    "anyone",
    "digest",
    "relative//..\u{0}",
    "/a-path-that-is-longer-than-others/and-has-some-more-parts/so-that-lengths-of-two-digits-come",
];

pub(super) fn text(random: &mut Random) -> &'static str {
    random.of(&TEXTS)
}

pub(super) fn texts(random: &mut Random) -> Vec<&'static str> {
    random.list(text)
}

pub(super) fn int(random: &mut Random) -> i32 {
    random.number() as i32
}

pub(super) fn long(random: &mut Random) -> i64 {
    random.number() as i64
}

pub(super) fn buffer(random: &mut Random) -> Option<Bytes> {
    random.option(|random| {
        let bytes = if random.once_in(20) { 700 } else { random.below(24) };
        (0..bytes).map(|_| random.next() as u8).collect()
    })
}

fn secret(random: &mut Random) -> Secret {
    Secret(buffer(random))
}

pub(super) fn acl(random: &mut Random) -> Vec<Acl<'static>> {
    random.list(|random| Acl {
        permissions: Permissions(random.number() as u32),
        scheme: text(random),
        id: text(random),
    })
}

fn stat(random: &mut Random) -> Stat {
    Stat {
        czxid: long(random),
        mzxid: long(random),
        ctime_ms: long(random),
        mtime_ms: long(random),
        version: int(random),
        cversion: int(random),
        aversion: int(random),
        ephemeral_owner: long(random),
        data_length: int(random),
        children_count: int(random),
        pzxid: long(random),
    }
}

fn error(random: &mut Random) -> ZooKeeperError {
    random.of(ZooKeeperError::ALL)
}

fn create(random: &mut Random) -> Create<'static> {
    Create { path: text(random), data: buffer(random), acl: acl(random), mode: int(random) }
}

fn create_ttl(random: &mut Random) -> CreateTtl<'static> {
    let Create { path, data, acl, mode } = create(random);
    CreateTtl { path, data, acl, mode, ttl_ms: long(random) }
}

fn read(random: &mut Random) -> Read<'static> {
    Read { path: text(random), watch: random.once_in(2) }
}

fn path_version(random: &mut Random) -> PathVersion<'static> {
    PathVersion { path: text(random), version: int(random) }
}

fn set_data(random: &mut Random) -> SetData<'static> {
    SetData { path: text(random), data: buffer(random), version: int(random) }
}

fn watches_of(random: &mut Random) -> WatchesOf<'static> {
    WatchesOf { path: text(random), kind: int(random) }
}

fn path_stat(random: &mut Random) -> PathStat<'static> {
    PathStat { path: text(random), stat: stat(random) }
}

fn data_stat(random: &mut Random) -> DataStat {
    DataStat { data: buffer(random), stat: stat(random) }
}

fn set_watches(random: &mut Random) -> SetWatches<'static> {
    SetWatches {
        relative_zxid: long(random),
        data: texts(random),
        exist: texts(random),
        child: texts(random),
    }
}

fn set_watches2(random: &mut Random) -> SetWatches2<'static> {
    let SetWatches { relative_zxid, data, exist, child } = set_watches(random);
    let (persistent, persistent_recursive) = (texts(random), texts(random));
    SetWatches2 { relative_zxid, data, exist, child, persistent, persistent_recursive }
}

fn multi_operation(random: &mut Random) -> MultiOperation<'static> {
    match random.below(7) {
        0 => MultiOperation::Create(create(random)),
        1 => MultiOperation::Delete(path_version(random)),
        2 => MultiOperation::SetData(set_data(random)),
        3 => MultiOperation::Check(path_version(random)),
        4 => MultiOperation::Create2(create(random)),
        5 => MultiOperation::CreateContainer(create(random)),
        _ => MultiOperation::CreateTtl(create_ttl(random)),
    }
}

fn multi_read_operation(random: &mut Random) -> MultiReadOperation<'static> {
    let read = read(random);
    if random.once_in(2) {
        MultiReadOperation::GetData(read)
    } else {
        MultiReadOperation::GetChildren(read)
    }
}

fn multi_result(random: &mut Random) -> MultiResult<'static> {
    match random.below(6) {
        0 => MultiResult::Create(text(random)),
        1 => MultiResult::Create2(path_stat(random)),
        2 => MultiResult::SetData(stat(random)),
        3 => MultiResult::Error(error(random)),
        4 => MultiResult::Delete,
        _ => MultiResult::Check,
    }
}

fn multi_read_result(random: &mut Random) -> MultiReadResult<'static> {
    match random.below(3) {
        0 => MultiReadResult::GetData(data_stat(random)),
        1 => MultiReadResult::GetChildren(texts(random)),
        _ => MultiReadResult::Error(error(random)),
    }
}

/// A request of any kind, of an unknown one too.
pub fn request(random: &mut Random) -> Request<'static> {
    let opcode = random.of(Opcode::ALL);
    request_of(random, opcode)
}

/// A request with this opcode; an unknown one for `Error`.
pub fn request_of(random: &mut Random, opcode: Opcode) -> Request<'static> {
    match opcode {
        Opcode::Create => Request::Create(create(random)),
        Opcode::Delete => Request::Delete(path_version(random)),
        Opcode::Exists => Request::Exists(read(random)),
        Opcode::GetData => Request::GetData(read(random)),
        Opcode::SetData => Request::SetData(set_data(random)),
        Opcode::GetAcl => Request::GetAcl(text(random)),
        Opcode::SetAcl => {
            Request::SetAcl(SetAcl { path: text(random), acl: acl(random), version: int(random) })
        }
        Opcode::GetChildren => Request::GetChildren(read(random)),
        Opcode::Sync => Request::Sync(text(random)),
        Opcode::Ping => Request::Ping,
        Opcode::GetChildren2 => Request::GetChildren2(read(random)),
        Opcode::Check => Request::Check(path_version(random)),
        Opcode::Multi => Request::Multi(Multi(random.list(multi_operation))),
        Opcode::Create2 => Request::Create2(create(random)),
        Opcode::Reconfig => Request::Reconfig(Reconfig {
            joining: random.option(text),
            leaving: random.option(text),
            new_members: random.option(text),
            config_id: long(random),
        }),
        Opcode::CheckWatches => Request::CheckWatches(watches_of(random)),
        Opcode::RemoveWatches => Request::RemoveWatches(watches_of(random)),
        Opcode::CreateContainer => Request::CreateContainer(create(random)),
        Opcode::DeleteContainer => Request::DeleteContainer(buffer(random)),
        Opcode::CreateTtl => Request::CreateTtl(create_ttl(random)),
        Opcode::MultiRead => Request::MultiRead(Multi(random.list(multi_read_operation))),
        Opcode::Auth => {
            Request::Auth(Auth { kind: int(random), scheme: text(random), auth: secret(random) })
        }
        Opcode::SetWatches => Request::SetWatches(set_watches(random)),
        Opcode::Sasl => Request::Sasl(secret(random)),
        Opcode::GetEphemerals => Request::GetEphemerals(text(random)),
        Opcode::GetAllChildrenNumber => Request::GetAllChildrenNumber(text(random)),
        Opcode::SetWatches2 => Request::SetWatches2(set_watches2(random)),
        Opcode::AddWatch => Request::AddWatch(AddWatch { path: text(random), mode: int(random) }),
        Opcode::WhoAmI => Request::WhoAmI,
        Opcode::CreateSession => Request::CreateSession,
        Opcode::CloseSession => Request::CloseSession,
        Opcode::Error => Request::Unknown(random.of(&[-1, 0, 10, 23, 99, i32::MAX])),
    }
}

/// A reply to a request with this opcode.
pub fn reply(random: &mut Random, opcode: Opcode) -> Reply<'static> {
    match opcode {
        Opcode::Create | Opcode::Sync => Reply::Path(text(random)),
        Opcode::Create2 | Opcode::CreateContainer | Opcode::CreateTtl => {
            Reply::PathStat(path_stat(random))
        }
        Opcode::Exists | Opcode::SetData | Opcode::SetAcl => Reply::Stat(stat(random)),
        Opcode::GetData | Opcode::Reconfig => Reply::DataStat(data_stat(random)),
        Opcode::GetAcl => Reply::AclStat(AclStat { acl: acl(random), stat: stat(random) }),
        Opcode::GetChildren => Reply::Children(texts(random)),
        Opcode::GetChildren2 => {
            Reply::ChildrenStat(ChildrenStat { children: texts(random), stat: stat(random) })
        }
        Opcode::Multi => Reply::Multi(Multi(random.list(multi_result))),
        Opcode::MultiRead => Reply::MultiRead(Multi(random.list(multi_read_result))),
        Opcode::Sasl => Reply::Sasl(secret(random)),
        Opcode::GetEphemerals => Reply::Ephemerals(texts(random)),
        Opcode::GetAllChildrenNumber => Reply::ChildrenNumber(int(random)),
        Opcode::AddWatch => Reply::Error(error(random)),
        Opcode::WhoAmI => Reply::WhoAmI(
            random.list(|random| ClientInfo { scheme: text(random), user: text(random) }),
        ),
        _ => Reply::Empty,
    }
}

/// An event of a watch.
pub fn event(random: &mut Random) -> WatcherEvent<'static> {
    WatcherEvent {
        kind: random.of(EventKind::ALL),
        state: random.of(WatcherState::ALL),
        path: text(random),
    }
}

fn password(random: &mut Random) -> Secret {
    Secret(random.option(|random| (0..16).map(|_| random.next() as u8).collect()))
}

/// The first frame of a client.
pub fn connect_request(random: &mut Random) -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: long(random),
        timeout_ms: int(random),
        session_id: long(random),
        password: password(random),
        read_only: random.option(|random| random.once_in(2)),
    }
}

/// The first frame of a server.
pub fn connect_response(random: &mut Random) -> ConnectResponse {
    ConnectResponse {
        protocol_version: 0,
        timeout_ms: int(random),
        session_id: long(random),
        password: password(random),
        read_only: random.option(|random| random.once_in(2)),
    }
}
