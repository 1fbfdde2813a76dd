//! What a script is made of, and short words to write it with.
//!
//! Comes in: nothing. Goes out: steps. Invariant: a step is data; it means the same to every server.

use bytes::Bytes;
use quorate_types::Permissions;
use quorate_wire::zookeeper::{
    Acl, AddWatch, Auth, Create, CreateTtl, Multi, MultiOperation, MultiReadOperation, PathVersion,
    Read, Request, Secret, SetAcl, SetData, SetWatches, SetWatches2, WatchesOf,
};

pub(crate) const PERSISTENT: i32 = 0;
pub(crate) const EPHEMERAL: i32 = 1;
pub(crate) const SEQUENTIAL: i32 = 2;
pub(crate) const EPHEMERAL_SEQUENTIAL: i32 = 3;
pub(crate) const CONTAINER: i32 = 4;
pub(crate) const TTL: i32 = 5;
pub(crate) const TTL_SEQUENTIAL: i32 = 6;

pub(crate) const READ: u32 = 1;
pub(crate) const WRITE: u32 = 2;
pub(crate) const CREATE: u32 = 4;
pub(crate) const DELETE: u32 = 8;
pub(crate) const ADMIN: u32 = 16;
pub(crate) const ALL: u32 = 31;

/// Any version.
pub(crate) const ANY: i32 = -1;

/// Which transaction a client says it has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    /// None.
    Nothing,
    /// The newest at the step [`Act::Mark`].
    Mark,
    /// The newest of all.
    Newest,
    /// More than the server has.
    Future,
}

/// Which password a client says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Password {
    Right,
    Wrong,
    Empty,
}

/// What is done in a step.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A new session, with this timeout in milliseconds.
    Connect(i32),
    /// The session of the connection named, on a new connection.
    Resume { of: &'static str, password: Password, seen: Seen },
    /// A session that nobody has.
    ResumeUnknown,
    /// A request.
    Ask(Request<'static>),
    /// Watches of a lost connection: the request's number is put in.
    Restore(Request<'static>, Seen),
    /// A request with bytes that may be none of it.
    Raw(i32, Vec<u8>),
    /// The network connection goes, the session stays.
    Drop,
    /// Remembers the newest transaction, for [`Seen::Mark`].
    Mark,
    /// Waits for a notification.
    Await,
}

/// One step on one connection.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) on: &'static str,
    pub(crate) act: Act,
    /// Why the two servers may answer differently here.
    pub(crate) explained: Option<&'static str>,
}

impl Step {
    /// The two servers differ here, and for this reason.
    pub(crate) fn explained(mut self, reason: &'static str) -> Step {
        self.explained = Some(reason);
        self
    }
}

pub(crate) fn on(on: &'static str, request: Request<'static>) -> Step {
    act(on, Act::Ask(request))
}

pub(crate) fn act(on: &'static str, act: Act) -> Step {
    Step { on, act, explained: None }
}

/// As the main character of the script.
pub(crate) fn ann(request: Request<'static>) -> Step {
    on("ann", request)
}

/// As another session.
pub(crate) fn bob(request: Request<'static>) -> Step {
    on("bob", request)
}

pub(crate) type Entry = (u32, &'static str, &'static str);

pub(crate) const OPEN: &[Entry] = &[(ALL, "world", "anyone")];

pub(crate) fn acl(entries: &[Entry]) -> Vec<Acl<'static>> {
    let entry = |(permissions, scheme, id): &Entry| Acl {
        permissions: Permissions(*permissions),
        scheme,
        id,
    };
    entries.iter().map(entry).collect()
}

fn some(data: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(data.as_bytes()))
}

pub(crate) fn creation(
    path: &'static str,
    data: &'static str,
    mode: i32,
    entries: &[Entry],
) -> Create<'static> {
    Create { path, data: some(data), acl: acl(entries), mode }
}

pub(crate) fn create(path: &'static str, data: &'static str, mode: i32) -> Request<'static> {
    Request::Create(creation(path, data, mode, OPEN))
}

pub(crate) fn create2(path: &'static str, data: &'static str, mode: i32) -> Request<'static> {
    Request::Create2(creation(path, data, mode, OPEN))
}

pub(crate) fn create_with(path: &'static str, entries: &[Entry]) -> Request<'static> {
    Request::Create(creation(path, "", PERSISTENT, entries))
}

pub(crate) fn container(path: &'static str, mode: i32) -> Request<'static> {
    Request::CreateContainer(creation(path, "c", mode, OPEN))
}

pub(crate) fn creation_ttl(path: &'static str, mode: i32, ttl_ms: i64) -> CreateTtl<'static> {
    CreateTtl { path, data: some("t"), acl: acl(OPEN), mode, ttl_ms }
}

pub(crate) fn create_ttl(path: &'static str, mode: i32, ttl_ms: i64) -> Request<'static> {
    Request::CreateTtl(creation_ttl(path, mode, ttl_ms))
}

pub(crate) fn delete(path: &'static str, version: i32) -> Request<'static> {
    Request::Delete(PathVersion { path, version })
}

pub(crate) fn exists(path: &'static str, watch: bool) -> Request<'static> {
    Request::Exists(Read { path, watch })
}

pub(crate) fn get(path: &'static str, watch: bool) -> Request<'static> {
    Request::GetData(Read { path, watch })
}

pub(crate) fn set(path: &'static str, data: &'static str, version: i32) -> Request<'static> {
    Request::SetData(SetData { path, data: some(data), version })
}

pub(crate) fn get_acl(path: &'static str) -> Request<'static> {
    Request::GetAcl(path)
}

pub(crate) fn set_acl(path: &'static str, entries: &[Entry], version: i32) -> Request<'static> {
    Request::SetAcl(SetAcl { path, acl: acl(entries), version })
}

pub(crate) fn children(path: &'static str, watch: bool) -> Request<'static> {
    Request::GetChildren(Read { path, watch })
}

pub(crate) fn children2(path: &'static str, watch: bool) -> Request<'static> {
    Request::GetChildren2(Read { path, watch })
}

pub(crate) fn multi<const N: usize>(items: [MultiOperation<'static>; N]) -> Request<'static> {
    Request::Multi(Multi(items.into()))
}

pub(crate) fn multi_read<const N: usize>(
    items: [MultiReadOperation<'static>; N],
) -> Request<'static> {
    Request::MultiRead(Multi(items.into()))
}

pub(crate) fn m_create(path: &'static str, mode: i32) -> MultiOperation<'static> {
    MultiOperation::Create(creation(path, "m", mode, OPEN))
}

pub(crate) fn m_create2(path: &'static str, mode: i32) -> MultiOperation<'static> {
    MultiOperation::Create2(creation(path, "m", mode, OPEN))
}

pub(crate) fn m_ttl(path: &'static str, mode: i32, ttl_ms: i64) -> MultiOperation<'static> {
    MultiOperation::CreateTtl(creation_ttl(path, mode, ttl_ms))
}

pub(crate) fn m_delete(path: &'static str, version: i32) -> MultiOperation<'static> {
    MultiOperation::Delete(PathVersion { path, version })
}

pub(crate) fn m_set(path: &'static str, version: i32) -> MultiOperation<'static> {
    MultiOperation::SetData(SetData { path, data: some("multi"), version })
}

pub(crate) fn m_check(path: &'static str, version: i32) -> MultiOperation<'static> {
    MultiOperation::Check(PathVersion { path, version })
}

pub(crate) fn r_get(path: &'static str) -> MultiReadOperation<'static> {
    MultiReadOperation::GetData(Read { path, watch: false })
}

pub(crate) fn r_children(path: &'static str) -> MultiReadOperation<'static> {
    MultiReadOperation::GetChildren(Read { path, watch: false })
}

pub(crate) fn auth(scheme: &'static str, proof: &'static str) -> Request<'static> {
    Request::Auth(Auth { kind: 0, scheme, auth: Secret(some(proof)) })
}

pub(crate) fn add_watch(path: &'static str, mode: i32) -> Request<'static> {
    Request::AddWatch(AddWatch { path, mode })
}

pub(crate) fn check_watches(path: &'static str, kind: i32) -> Request<'static> {
    Request::CheckWatches(WatchesOf { path, kind })
}

pub(crate) fn remove_watches(path: &'static str, kind: i32) -> Request<'static> {
    Request::RemoveWatches(WatchesOf { path, kind })
}

pub(crate) type Paths = &'static [&'static str];

pub(crate) fn set_watches([data, exist, child]: [Paths; 3]) -> Request<'static> {
    Request::SetWatches(SetWatches {
        relative_zxid: 0,
        data: data.into(),
        exist: exist.into(),
        child: child.into(),
    })
}

pub(crate) fn set_watches2(
    [data, exist, child, persistent, persistent_recursive]: [Paths; 5],
) -> Request<'static> {
    Request::SetWatches2(SetWatches2 {
        relative_zxid: 0,
        data: data.into(),
        exist: exist.into(),
        child: child.into(),
        persistent: persistent.into(),
        persistent_recursive: persistent_recursive.into(),
    })
}
