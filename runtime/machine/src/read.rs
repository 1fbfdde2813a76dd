//! Reads of the applied state.
//!
//! Comes in: who asks, and what for. Goes out: the reply or a refusal. Invariant: changes nothing;
//! work is in proportion to the reply. Watches and levels are the caller's business.

use crate::acl;
use crate::items::{Component, Mount};
use crate::prepare::refuse;
use crate::request::Identity;
use crate::tables::{Components, Ephemerals, Mounts, ObjectTickets, State, Tables, Znodes};
use crate::znode::{TreeKey, Znode};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;
use quorate_types::acl::open_acl;
use quorate_types::limits::Limits;
use quorate_types::recipe::{InstalledRecipe, MountedRecipe};
use quorate_types::request::{
    ReadOperation, ReadReply, RestoredKind, RestoredWatch, WatchEvent, WatchEventKind,
};
use quorate_types::{
    ErrorCode, Operation, Outcome, Permissions, Refusal, Reply, SessionId, TicketId, ZnodePath,
    Zxid,
};

pub(crate) fn read(
    tables: &Tables,
    limits: &Limits,
    identity: &Identity,
    operation: &Operation,
) -> Outcome {
    match operation {
        Operation::Get { path, .. } => {
            let znode = readable(tables, identity, path, &[Permissions::READ])?;
            Ok(Reply::Data(znode.data.clone(), znode.stat()))
        }
        Operation::Exists { path, .. } => match tables.znode(path) {
            None => Ok(Reply::Exists(None)),
            Some(znode) => {
                acl::check(&znode, path, identity, &[Permissions::READ])?;
                Ok(Reply::Exists(Some(znode.stat())))
            }
        },
        Operation::Children { path, after, limit, .. } => {
            let znode = readable(tables, identity, path, &[Permissions::READ])?;
            let max = limits.children_reply_max;
            let limit = limit.unwrap_or(max).min(max) as usize;
            let (names, more) = children(tables, path, after.as_deref(), limit)?;
            Ok(Reply::Children(names, more, znode.stat()))
        }
        Operation::GetAcl { path } => {
            let wanted = [Permissions::READ, Permissions::ADMIN];
            let znode = readable(tables, identity, path, &wanted)?;
            let mut acl = znode.acl.as_deref().cloned().unwrap_or_else(open_acl);
            if acl::check(&znode, path, identity, &[Permissions::ADMIN]).is_err() {
                acl::mask_secrets(&mut acl);
            }
            Ok(Reply::Acl(acl, znode.stat()))
        }
        Operation::CountBelow { path } => {
            readable(tables, identity, path, &[Permissions::READ])?;
            count_below(tables, path, limits.children_reply_max).map(Reply::Count)
        }
        Operation::MultiRead { operations } => multi_read(tables, limits, identity, operations),
        Operation::Sync => Ok(Reply::Done),
        Operation::ListRecipes => Ok(Reply::Recipes(recipes(tables))),
        Operation::ListMounts => Ok(Reply::Mounts(mounts(tables, identity))),
        _ => refuse(ErrorCode::Unimplemented, "this is no read of the tree"),
    }
}

/// Several reads of one state, as many as fit one frame.
fn multi_read(
    tables: &Tables,
    limits: &Limits,
    identity: &Identity,
    operations: &[ReadOperation],
) -> Outcome {
    let mut bytes = 0;
    let mut replies = Vec::with_capacity(operations.len());
    for operation in operations {
        let reply = read_one(tables, limits, identity, operation);
        bytes += match &reply {
            ReadReply::Data(data, _) => data.len(),
            ReadReply::Children(names) => names.iter().map(String::len).sum(),
            ReadReply::Refused(_) => 0,
        };
        if bytes > limits.client_frame_bytes_max as usize {
            let most = limits.client_frame_bytes_max;
            let message = format!("what is read together is more than {most} bytes");
            return refuse(ErrorCode::QuotaExceeded, message);
        }
        replies.push(reply);
    }
    Ok(Reply::MultiRead(replies))
}

/// One read of several; which reply it has follows from what was asked for.
fn read_one(
    tables: &Tables,
    limits: &Limits,
    identity: &Identity,
    operation: &ReadOperation,
) -> ReadReply {
    let operation = match operation.clone() {
        ReadOperation::Get { path } => Operation::Get { path, watch: false },
        ReadOperation::Children { path } => {
            Operation::Children { path, after: None, limit: None, watch: false }
        }
    };
    match read(tables, limits, identity, &operation) {
        Ok(Reply::Data(data, stat)) => ReadReply::Data(data, stat),
        // A part of the children would look like all of them.
        Ok(Reply::Children(_, true, _)) => {
            let text = "the znode has more children than one reply tells";
            ReadReply::Refused(Refusal::new(ErrorCode::Overloaded, text))
        }
        Ok(Reply::Children(names, ..)) => ReadReply::Children(names),
        Ok(other) => unreachable!("a read is answered {other:?}"),
        Err(refusal) => ReadReply::Refused(refusal),
    }
}

/// Znodes below a path, by walking all of them; refused where there are more than `most`, which
/// would hold up everybody else.
fn count_below(tables: &Tables, path: &ZnodePath, most: u32) -> Result<u64, Refusal> {
    if path.is_root() {
        // Every znode but the root.
        return Ok(tables.count::<Znodes>() as u64 - 1);
    }
    let mut count = 0;
    let mut parents = alloc::vec![path.clone()];
    while let Some(parent) = parents.pop() {
        let from = TreeKey::before_children(&parent);
        tables.scan::<Znodes>(Bound::Excluded(&from), &mut |key, znode| {
            if key.is_child_of(&parent) {
                count += 1;
                if znode.children_count > 0 {
                    parents.push(key.path().clone());
                }
            }
            key.may_be_beside(&from) && count <= u64::from(most)
        });
        if count > u64::from(most) {
            let message =
                format!("there are more than {most} znodes below {path}: count them apart");
            return refuse(ErrorCode::Overloaded, message);
        }
    }
    Ok(count)
}

/// The ephemeral znodes of a session, in order.
pub(crate) fn ephemerals_of(state: &impl State, session: SessionId) -> Vec<ZnodePath> {
    let first = (session, ZnodePath::root());
    let keys = state.keys_while::<Ephemerals>(&first, |(owner, _)| *owner == session);
    keys.into_iter().map(|(_, path)| path).collect()
}

/// ZooKeeper's rule (`DataTree.setWatches`): a znode that is gone was deleted, one that came was
/// created, one with a newer transaction than the client has seen was changed. Persistent watches are
/// told nothing of the time between.
pub(crate) fn missed(
    tables: &Tables,
    identity: &Identity,
    watch: &RestoredWatch,
    (since, applied): (Zxid, Zxid),
) -> Option<WatchEvent> {
    let znode = tables.znode(&watch.path);
    let acl = znode.as_ref().and_then(|znode| znode.acl.as_deref());
    let may_read = acl::may_read(acl.map(Vec::as_slice), identity);
    let kind = match (watch.kind, &znode) {
        (RestoredKind::Data | RestoredKind::Children, None) => WatchEventKind::Deleted,
        (RestoredKind::Data, Some(znode)) if znode.mzxid > since => WatchEventKind::DataChanged,
        (RestoredKind::Absence, Some(_)) => WatchEventKind::Created,
        (RestoredKind::Children, Some(znode)) if znode.pzxid > since => {
            WatchEventKind::ChildrenChanged
        }
        _ => return None,
    };
    let (path, zxid) = (watch.path.clone(), applied);
    may_read.then_some(WatchEvent { kind, path, zxid, place: 0, data: None })
}

fn readable(
    tables: &Tables,
    identity: &Identity,
    path: &ZnodePath,
    wanted: &[Permissions],
) -> Result<Arc<Znode>, Refusal> {
    let Some(znode) = tables.znode(path) else {
        return refuse(ErrorCode::NoNode, format!("there is no znode {path}"));
    };
    acl::check(&znode, path, identity, wanted)?;
    Ok(znode)
}

fn children(
    tables: &Tables,
    path: &ZnodePath,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<String>, bool), Refusal> {
    let from = match after {
        None | Some("") => TreeKey::before_children(path),
        Some(name) => match path.join(name) {
            Ok(child) if !name.contains('/') => TreeKey::of(&child),
            Ok(_) | Err(_) => {
                return refuse(ErrorCode::BadArguments, format!("`{name}` is no name of a znode"));
            }
        },
    };
    let mut names = Vec::new();
    let mut more = false;
    tables.scan::<Znodes>(Bound::Excluded(&from), &mut |key, _| {
        let is_child = key.is_child_of(path);
        more = is_child && names.len() >= limit;
        if is_child && !more {
            names.push(String::from(key.name()));
        }
        key.may_be_beside(&from) && !more
    });
    Ok((names, more))
}

fn recipes(tables: &Tables) -> Vec<InstalledRecipe> {
    let mut found = Vec::new();
    tables.scan::<Components>(Bound::Unbounded, &mut |digest, component: &Arc<Component>| {
        if let Some((installed, descriptor)) = component.installed.clone() {
            let bytes = component.total_bytes;
            found.push(InstalledRecipe {
                digest: *digest,
                bytes,
                installed,
                ready: false,
                descriptor,
            });
        }
        true
    });
    found
}

/// The mounts; what a recipe was given is shown to those who may change it.
fn mounts(tables: &Tables, identity: &Identity) -> Vec<MountedRecipe> {
    let mut found = Vec::new();
    tables.scan::<Mounts>(Bound::Unbounded, &mut |path, mount: &Arc<Mount>| {
        let component = tables.get::<Components>(&mount.digest);
        let installed = component.as_ref().and_then(|component| component.installed.as_ref());
        let (_, descriptor) = installed.expect("a mount's component is installed");
        let administers = tables
            .znode(path)
            .is_some_and(|znode| acl::check(&znode, path, identity, &[Permissions::ADMIN]).is_ok());
        let config = if administers { mount.config.clone() } else { Bytes::new() };
        found.push(MountedRecipe {
            path: path.clone(),
            recipe: descriptor.name.clone(),
            version: descriptor.version.clone(),
            digest: mount.digest,
            config,
            open: mount.open,
            fuel: mount.fuel,
            suspended: mount.suspended.clone(),
            faults: 0,
            tickets: tickets_of(tables, path),
            figures: Vec::new(),
        });
        true
    });
    found
}

/// Calls that wait at a mount.
fn tickets_of(tables: &Tables, mount: &ZnodePath) -> u64 {
    let first = (mount.clone(), String::new(), TicketId(0));
    let mut count = 0;
    tables.scan::<ObjectTickets>(Bound::Included(&first), &mut |(owner, _, _), _| {
        let is_of_mount = owner == mount;
        count += u64::from(is_of_mount);
        is_of_mount
    });
    count
}
