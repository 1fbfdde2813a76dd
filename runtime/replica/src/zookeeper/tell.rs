//! An outcome in ZooKeeper's words.
//!
//! Comes in: outcomes with the shape that their requests want, events. Goes out: bytes. Invariant:
//! only errors of ZooKeeper's table leave, for its Java client gives up a connection on any other.

use alloc::string::String;
use alloc::vec::Vec;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::request::{MultiReply, ReadReply, WatchEvent, WatchEventKind};
use quorate_types::{ErrorCode, Outcome, Refusal, Reply, Stat, ZnodeData, Zxid};
use quorate_wire::zookeeper::{
    self as wire, Acl, AclStat, ChildrenStat, ClientInfo, DataStat, EventKind, Multi,
    MultiReadResult, MultiResult, Opcode, PathStat, WatcherEvent, WatcherState, ZooKeeperError,
    encode_error, encode_notification, encode_reply,
};

/// What the reply to a request looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A header alone.
    Empty,
    /// The path of the znode created.
    Path,
    /// Its path and stat.
    PathStat,
    /// A stat.
    Stat,
    /// A stat, or that there is no such znode.
    Exists,
    /// Data and stat.
    DataStat,
    /// ACL and stat.
    AclStat,
    /// Names.
    Children,
    /// Names and a stat.
    ChildrenStat,
    /// This text, given back.
    Given(String),
    /// A result for each of these.
    Multi {
        opcodes: Vec<Opcode>,
        /// An item that is wrong in itself.
        wrong: Option<(u32, ErrorCode)>,
    },
    /// A result for each read.
    MultiRead {
        /// For each read, why it was not asked for; `None`: it was.
        wrong: Vec<Option<ErrorCode>>,
    },
    /// Events first, then a header alone.
    Restored,
    /// That a persistent watch was added.
    Added,
    /// A header alone, or that there was no such watch.
    Watches,
    /// Paths.
    Ephemerals,
    /// A number.
    Count,
    /// Proved identities, scheme and name.
    WhoAmI(Vec<(String, String)>),
    /// A header alone; then the connection ends.
    Closed,
    /// That the request cannot be read.
    Unreadable,
}

/// A transaction's number as ZooKeeper counts.
pub(super) fn number_of(zxid: Zxid) -> i64 {
    i64::try_from(zxid.0).unwrap_or(i64::MAX)
}

fn error_of(code: ErrorCode) -> ZooKeeperError {
    let error = match code {
        // Too much is asked for at a time; ZooKeeper's word for it.
        ErrorCode::Overloaded => Some(ZooKeeperError::ThrottledOp),
        code => ZooKeeperError::from_number(code.zookeeper()),
    };
    error.filter(|error| *error != ZooKeeperError::Ok).unwrap_or(ZooKeeperError::SystemError)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn stat_of(stat: &Stat) -> wire::Stat {
    wire::Stat {
        czxid: number_of(stat.czxid),
        mzxid: number_of(stat.mzxid),
        ctime_ms: signed(stat.ctime_ms),
        mtime_ms: signed(stat.mtime_ms),
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.ephemeral_owner.map_or(0, |owner| owner.0.cast_signed()),
        data_length: i32::try_from(stat.data_length).unwrap_or(i32::MAX),
        children_count: i32::try_from(stat.children_count).unwrap_or(i32::MAX),
        pzxid: number_of(stat.pzxid),
    }
}

fn data_stat(data: &ZnodeData, stat: &Stat) -> DataStat {
    DataStat { data: data.clone().into_option(), stat: stat_of(stat) }
}

/// Appends the reply to the request `xid`.
pub(super) fn reply(out: &mut Vec<u8>, (xid, zxid): (i32, Zxid), shape: &Shape, outcome: &Outcome) {
    let zxid = number_of(zxid);
    match outcome {
        Ok(reply) => done(out, (xid, zxid), shape, reply),
        Err(refusal) => match (shape, refusal.failed_operation) {
            (Shape::Multi { opcodes, wrong }, Some(failed)) => {
                let results = failed_multi(opcodes.len(), failed, refusal, *wrong);
                encode_reply(out, xid, zxid, &wire::Reply::Multi(Multi(results)));
            }
            _ => encode_error(out, xid, zxid, error_of(refusal.code)),
        },
    }
}

fn done(out: &mut Vec<u8>, (xid, zxid): (i32, i64), shape: &Shape, reply: &Reply) {
    #[cfg(feature = "planted-bugs")]
    if let (Shape::Restored, Reply::Watching { replayed, .. }) = (shape, reply)
        && is_planted(PlantedBug::MissedToldAfterReply)
    {
        encode_reply(out, xid, zxid, &wire::Reply::Empty);
        return replayed.iter().for_each(|event| self::event(event, out));
    }
    if let (Shape::Restored, Reply::Watching { replayed, .. }) = (shape, reply) {
        for event in replayed {
            self::event(event, out);
        }
    }
    match body_of(shape, reply) {
        Ok(body) => encode_reply(out, xid, zxid, &body),
        Err(error) => encode_error(out, xid, zxid, error),
    }
}

/// The body of a reply; an error where ZooKeeper has an error for what natively is an answer.
fn body_of<'a>(shape: &'a Shape, reply: &'a Reply) -> Result<wire::Reply<'a>, ZooKeeperError> {
    Ok(match (shape, reply) {
        (Shape::Empty | Shape::Closed | Shape::Restored, _) => wire::Reply::Empty,
        (Shape::Path, Reply::Created(path, _)) => wire::Reply::Path(path.as_str()),
        (Shape::PathStat, Reply::Created(path, stat)) => {
            wire::Reply::PathStat(PathStat { path: path.as_str(), stat: stat_of(stat) })
        }
        (Shape::Stat, Reply::Stat(stat)) => wire::Reply::Stat(stat_of(stat)),
        (Shape::Exists, Reply::Exists(Some(stat))) => wire::Reply::Stat(stat_of(stat)),
        (Shape::Exists, Reply::Exists(None)) => return Err(ZooKeeperError::NoNode),
        (Shape::DataStat, Reply::Data(data, stat)) => wire::Reply::DataStat(data_stat(data, stat)),
        (Shape::AclStat, Reply::Acl(acl, stat)) => {
            let entry = |entry: &'a quorate_types::AclEntry| Acl {
                permissions: entry.permissions,
                scheme: &entry.scheme,
                id: &entry.id,
            };
            let acl = acl.iter().map(entry).collect();
            wire::Reply::AclStat(AclStat { acl, stat: stat_of(stat) })
        }
        #[cfg(feature = "planted-bugs")]
        (Shape::Children, Reply::Children(names, true, _))
            if is_planted(PlantedBug::PartOfChildrenTold) =>
        {
            wire::Reply::Children(texts(names))
        }
        // A part of the children would look like all of them.
        (Shape::Children | Shape::ChildrenStat, Reply::Children(_, true, _)) => {
            return Err(ZooKeeperError::SystemError);
        }
        (Shape::Children, Reply::Children(names, ..)) => wire::Reply::Children(texts(names)),
        (Shape::ChildrenStat, Reply::Children(names, _, stat)) => {
            let (children, stat) = (texts(names), stat_of(stat));
            wire::Reply::ChildrenStat(ChildrenStat { children, stat })
        }
        (Shape::Given(text), _) => wire::Reply::Path(text),
        (Shape::Multi { opcodes, .. }, Reply::Multi(replies)) => {
            let results = opcodes.iter().zip(replies).map(|(opcode, one)| result_of(*opcode, one));
            wire::Reply::Multi(Multi(results.collect()))
        }
        (Shape::MultiRead { wrong }, Reply::MultiRead(replies)) => {
            let mut replies = replies.iter();
            let result = |wrong: &Option<ErrorCode>| match wrong {
                Some(code) => Some(MultiReadResult::Error(error_of(*code))),
                None => replies.next().map(read_of),
            };
            wire::Reply::MultiRead(Multi(wrong.iter().filter_map(result).collect()))
        }
        (Shape::Unreadable, _) => return Err(ZooKeeperError::MarshallingError),
        (Shape::Added, _) => wire::Reply::Error(ZooKeeperError::Ok),
        (Shape::Watches, Reply::Count(0)) => return Err(ZooKeeperError::NoWatcher),
        (Shape::Watches, _) => wire::Reply::Empty,
        (Shape::Ephemerals, Reply::Paths(paths)) => {
            wire::Reply::Ephemerals(paths.iter().map(|path| path.as_str()).collect())
        }
        (Shape::Count, Reply::Count(count)) => {
            wire::Reply::ChildrenNumber(i32::try_from(*count).unwrap_or(i32::MAX))
        }
        (Shape::WhoAmI(proved), _) => {
            let info = |(scheme, user): &'a (String, String)| ClientInfo { scheme, user };
            wire::Reply::WhoAmI(proved.iter().map(info).collect())
        }
        // The replica answered something else than was asked for.
        _ => return Err(ZooKeeperError::SystemError),
    })
}

fn texts(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn result_of(opcode: Opcode, reply: &MultiReply) -> MultiResult<'_> {
    match reply {
        MultiReply::Created(path, _) if opcode == Opcode::Create => {
            MultiResult::Create(path.as_str())
        }
        MultiReply::Created(path, stat) => {
            MultiResult::Create2(PathStat { path: path.as_str(), stat: stat_of(stat) })
        }
        MultiReply::Deleted => MultiResult::Delete,
        MultiReply::Set(stat) => MultiResult::SetData(stat_of(stat)),
        MultiReply::Checked => MultiResult::Check,
    }
}

fn read_of(reply: &ReadReply) -> MultiReadResult<'_> {
    match reply {
        ReadReply::Data(data, stat) => MultiReadResult::GetData(data_stat(data, stat)),
        ReadReply::Children(names) => MultiReadResult::GetChildren(texts(names)),
        ReadReply::Refused(refusal) => MultiReadResult::Error(error_of(refusal.code)),
    }
}

/// ZooKeeper's rule: `Ok` before the item that failed, its error, `RuntimeInconsistency` after it.
fn failed_multi(
    count: usize,
    failed: u32,
    refusal: &Refusal,
    wrong: Option<(u32, ErrorCode)>,
) -> Vec<MultiResult<'static>> {
    #[cfg(feature = "planted-bugs")]
    let failed = if is_planted(PlantedBug::FirstItemToldFailed) { 0 } else { failed };
    let code = wrong.filter(|(place, _)| *place == failed).map_or(refusal.code, |(_, code)| code);
    let result = |place: u32| match place.cmp(&failed) {
        core::cmp::Ordering::Less => ZooKeeperError::Ok,
        core::cmp::Ordering::Equal => error_of(code),
        core::cmp::Ordering::Greater => ZooKeeperError::RuntimeInconsistency,
    };
    (0..).take(count).map(|place| MultiResult::Error(result(place))).collect()
}

/// Appends the notification of an event.
pub(super) fn event(event: &WatchEvent, out: &mut Vec<u8>) {
    let kind = match event.kind {
        WatchEventKind::Created => EventKind::Created,
        WatchEventKind::Deleted => EventKind::Deleted,
        WatchEventKind::DataChanged => EventKind::DataChanged,
        WatchEventKind::ChildrenChanged => EventKind::ChildrenChanged,
    };
    let told = WatcherEvent { kind, state: WatcherState::SyncConnected, path: event.path.as_str() };
    encode_notification(out, number_of(event.zxid), &told);
}
