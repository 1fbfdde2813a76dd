//! Plain writes: create, delete, set data, set ACL, multi.
//!
//! Errors come in ZooKeeper's order. Invariant: below a mount nothing is written unless the mount
//! is open, and then its recipe hears of it in the same transaction.

use super::{Caller, Done, Step, Work, refuse};
use crate::acl;
use crate::change::{AclSource, Change};
use crate::executor::{RecipeEvent, RecipeExecutor};
use crate::items::Mount;
use crate::prepare::recipes::Handled;
use crate::quota::{self, Difference};
use crate::system::{self, is_system};
use crate::tables::State;
use crate::znode::{TTL_MS_MAX, Znode, ZnodeKind};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::request::{CreateMode, MultiOperation, MultiReply};
use quorate_types::{
    AclEntry, ErrorCode, Operation, Permissions, Refusal, Reply, SessionId, Stat, ZnodeData,
    ZnodePath,
};

/// A create as the single request and the multi have it.
struct Creation<'a> {
    path: &'a ZnodePath,
    data: &'a ZnodeData,
    mode: CreateMode,
    acl: Option<&'a [AclEntry]>,
}

fn no_node<T>(path: &ZnodePath) -> Result<T, Refusal> {
    refuse(ErrorCode::NoNode, format!("there is no znode {path}"))
}

fn check_version(actual: i32, expected: Option<i32>) -> Result<(), Refusal> {
    match expected {
        // ZooKeeper's clients write "any" as -1.
        None | Some(-1) => Ok(()),
        Some(expected) if expected == actual => Ok(()),
        Some(expected) => {
            let message = format!("the version is {actual}, not {expected}");
            refuse(ErrorCode::BadVersion, message)
        }
    }
}

pub(crate) fn next_version(version: i32) -> i32 {
    // -1 means "any", so ZooKeeper skips it; counting wraps as Java's does.
    match version.wrapping_add(1) {
        -1 => 0,
        next => next,
    }
}

impl Work {
    fn check_data_size(&self, data: &[u8]) -> Result<(), Refusal> {
        let max = self.limits.znode_data_bytes_max;
        if data.len() <= max as usize {
            return Ok(());
        }
        refuse(ErrorCode::QuotaExceeded, format!("a znode holds at most {max} bytes"))
    }

    /// Refuses what passes a hard limit of a subtree, if that is wanted; warns of soft ones. What
    /// recipes write is counted and never refused.
    fn check_quota(&mut self, path: &ZnodePath, difference: Difference) -> Result<(), Refusal> {
        for passed in quota::passed(&self.state, path, difference) {
            match passed.is_hard {
                true if self.limits.enforces_quotas => {
                    return refuse(ErrorCode::QuotaExceeded, passed.text);
                }
                true => {}
                false => self.warnings.push(passed.text),
            }
        }
        Ok(())
    }

    /// Refuses plain writes below a closed mount; remembers those below an open one.
    fn check_ungoverned(&mut self, path: &ZnodePath) -> Result<(), Refusal> {
        match self.governing(path) {
            None => Ok(()),
            Some((mount_path, mount)) if mount.open => {
                self.plain_changes.push((mount_path, path.clone()));
                Ok(())
            }
            Some((mount_path, _)) => governed(&mount_path),
        }
    }
}

fn governed<T>(mount_path: &ZnodePath) -> Result<T, Refusal> {
    let message = format!("only the recipe mounted at {mount_path} writes there: use a call");
    refuse(ErrorCode::GovernedByRecipe, message)
}

pub(super) fn create_alone(work: &mut Work, caller: Caller<'_>, operation: &Operation) -> Step {
    let Operation::Create { path, data, mode, acl } = operation else { return Ok(Done::Nothing) };
    let creation = Creation { path, data, mode: *mode, acl: acl.as_deref() };
    let (path, stat) = create(work, caller, &creation)?;
    Ok(Done::Changed(Some(Ok(Reply::Created(path, stat)))))
}

/// How long a znode of this mode lives.
fn kind_of(mode: CreateMode, session: SessionId) -> Result<ZnodeKind, Refusal> {
    Ok(match mode {
        CreateMode::Persistent
        | CreateMode::PersistentSequential
        | CreateMode::PersistentNumber => ZnodeKind::Persistent,
        CreateMode::Ephemeral | CreateMode::EphemeralSequential | CreateMode::EphemeralNumber => {
            ZnodeKind::Ephemeral(session)
        }
        CreateMode::Container => ZnodeKind::Container { emptied_ms: 0 },
        CreateMode::Ttl(ttl_ms)
        | CreateMode::TtlSequential(ttl_ms)
        | CreateMode::TtlNumber(ttl_ms) => {
            if ttl_ms == 0 || ttl_ms > TTL_MS_MAX {
                let message = format!("a TTL is 1 to {TTL_MS_MAX} milliseconds");
                return refuse(ErrorCode::BadArguments, message);
            }
            ZnodeKind::Ttl(ttl_ms)
        }
    })
}

fn create(
    work: &mut Work,
    caller: Caller<'_>,
    creation: &Creation<'_>,
) -> Result<(ZnodePath, Stat), Refusal> {
    let kind = kind_of(creation.mode, caller.session)?;
    let acl = match creation.acl {
        None => AclSource::Open,
        Some(given) => match acl::resolve(given, caller.identity)? {
            resolved if resolved == quorate_types::acl::open_acl() => AclSource::Open,
            resolved => AclSource::Given(resolved),
        },
    };
    let is_number = creation.mode.is_number();
    let parent_path = if is_number { Some(creation.path.clone()) } else { creation.path.parent() };
    let Some(parent_path) = parent_path else {
        return refuse(ErrorCode::NodeExists, "the root is always there");
    };
    let prefix = if is_number { "" } else { creation.path.name() };
    let Some(parent) = work.state.znode(&parent_path) else { return no_node(&parent_path) };
    acl::check(&parent, &parent_path, caller.identity, &[Permissions::CREATE])?;
    let path = if creation.mode.is_sequential() {
        sequential_path(&parent_path, prefix, &parent)?
    } else {
        creation.path.clone()
    };
    work.check_ungoverned(&path)?;
    if work.state.znode(&path).is_some() {
        return refuse(ErrorCode::NodeExists, format!("{path} is there already"));
    }
    if parent.owner().is_some() {
        let message = format!("{parent_path} is ephemeral and cannot have children");
        return refuse(ErrorCode::NoChildrenForEphemerals, message);
    }
    work.check_data_size(creation.data)?;
    work.check_quota(&path, Difference::created(creation.data))?;
    // The request's data is a slice of a whole frame, which a small znode must not keep alive.
    let data = creation.data.copied();
    work.change(Change::CreateZnode { path: path.clone(), data, acl, kind });
    let stat = stat_of(work, &path);
    Ok((path, stat))
}

/// ZooKeeper's naming: the number of children the parent ever had.
pub(crate) fn sequential_path(
    parent_path: &ZnodePath,
    prefix: &str,
    parent: &Znode,
) -> Result<ZnodePath, Refusal> {
    let name = format!("{prefix}{:010}", parent.children_created);
    #[cfg(feature = "planted-bugs")]
    let name = if is_planted(PlantedBug::SequentialNumberReused) {
        format!("{prefix}{:010}", parent.children_count)
    } else {
        name
    };
    let path = parent_path.join(&name);
    path.map_err(|error| Refusal::new(ErrorCode::BadArguments, format!("{error}")))
}

fn stat_of(work: &Work, path: &ZnodePath) -> Stat {
    work.state.znode(path).expect("a znode just changed is there").stat()
}

pub(super) fn delete_alone(
    work: &mut Work,
    caller: Caller<'_>,
    path: &ZnodePath,
    expected_version: Option<i32>,
) -> Step {
    delete(work, caller, path, expected_version)?;
    Ok(Done::Changed(Some(Ok(Reply::Done))))
}

fn delete(
    work: &mut Work,
    caller: Caller<'_>,
    path: &ZnodePath,
    expected_version: Option<i32>,
) -> Result<(), Refusal> {
    let Some(parent_path) = path.parent().filter(|_| !is_system(path)) else {
        return refuse(ErrorCode::BadArguments, format!("{path} cannot be deleted"));
    };
    let Some(parent) = work.state.znode(&parent_path) else { return no_node(&parent_path) };
    acl::check(&parent, &parent_path, caller.identity, &[Permissions::DELETE])?;
    let Some(znode) = work.state.znode(path) else { return no_node(path) };
    if let Some((mount_path, _)) = work.governing(path).filter(|(mount, _)| mount == path) {
        return governed(&mount_path);
    }
    work.check_ungoverned(path)?;
    check_version(znode.version, expected_version)?;
    if znode.children_count > 0 {
        return refuse(ErrorCode::NotEmpty, format!("{path} has children"));
    }
    work.change(Change::DeleteZnode { path: path.clone() });
    Ok(())
}

pub(super) fn set_data_alone(
    work: &mut Work,
    caller: Caller<'_>,
    (path, data): (&ZnodePath, &ZnodeData),
    expected_version: Option<i32>,
) -> Step {
    let stat = set_data(work, caller, (path, data), expected_version)?;
    Ok(Done::Changed(Some(Ok(Reply::Stat(stat)))))
}

fn set_data(
    work: &mut Work,
    caller: Caller<'_>,
    (path, data): (&ZnodePath, &ZnodeData),
    expected_version: Option<i32>,
) -> Result<Stat, Refusal> {
    let Some(znode) = work.state.znode(path) else { return no_node(path) };
    acl::check(&znode, path, caller.identity, &[Permissions::WRITE])?;
    if path.as_str() == system::CONFIG {
        let message = format!("{path} tells the members, and changes with them alone");
        return refuse(ErrorCode::BadArguments, message);
    }
    work.check_ungoverned(path)?;
    work.check_data_size(data)?;
    work.check_quota(path, Difference::set(&znode.data, data))?;
    check_version(znode.version, expected_version)?;
    let version = next_version(znode.version);
    work.change(Change::SetData { path: path.clone(), data: data.copied(), version });
    Ok(stat_of(work, path))
}

pub(super) fn set_acl(
    work: &mut Work,
    caller: Caller<'_>,
    (path, given): (&ZnodePath, &[AclEntry]),
    expected_version: Option<i32>,
) -> Step {
    let acl = acl::resolve(given, caller.identity)?;
    let Some(znode) = work.state.znode(path) else { return no_node(path) };
    acl::check(&znode, path, caller.identity, &[Permissions::ADMIN])?;
    // The ACL of the mount itself says who may call: it is the operator's, not the recipe's.
    if let Some((mount_path, mount)) = work.governing(path)
        && mount_path != *path
        && !mount.open
    {
        return governed(&mount_path);
    }
    check_version(znode.aversion, expected_version)?;
    let version = next_version(znode.aversion);
    work.change(Change::SetAcl { path: path.clone(), acl, version });
    Ok(Done::Changed(Some(Ok(Reply::Stat(stat_of(work, path))))))
}

pub(super) fn multi(work: &mut Work, caller: Caller<'_>, operations: &[MultiOperation]) -> Step {
    let max = work.limits.multi_operations_max;
    if operations.len() > max as usize {
        let message = format!("a multi has at most {max} operations");
        return refuse(ErrorCode::QuotaExceeded, message);
    }
    let mut replies = Vec::with_capacity(operations.len());
    for (position, operation) in (0u32..).zip(operations) {
        let reply = multi_operation(work, caller, operation);
        let named = |refusal| Refusal { failed_operation: Some(position), ..refusal };
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::FailedMultiKeepsChanges) && reply.is_err() && position > 0 {
            return Ok(Done::Changed(Some(reply.map_err(named).map(|_| Reply::Done))));
        }
        replies.push(reply.map_err(named)?);
    }
    Ok(Done::Changed(Some(Ok(Reply::Multi(replies)))))
}

fn multi_operation(
    work: &mut Work,
    caller: Caller<'_>,
    operation: &MultiOperation,
) -> Result<MultiReply, Refusal> {
    match operation {
        MultiOperation::Create { path, data, mode, acl } => {
            let creation = Creation { path, data, mode: *mode, acl: acl.as_deref() };
            create(work, caller, &creation).map(|(path, stat)| MultiReply::Created(path, stat))
        }
        MultiOperation::Delete { path, expected_version } => {
            delete(work, caller, path, *expected_version).map(|()| MultiReply::Deleted)
        }
        MultiOperation::SetData { path, data, expected_version } => {
            set_data(work, caller, (path, data), *expected_version).map(MultiReply::Set)
        }
        MultiOperation::Check { path, expected_version } => {
            let Some(znode) = work.state.znode(path) else { return no_node(path) };
            acl::check(&znode, path, caller.identity, &[Permissions::READ])?;
            #[cfg(feature = "planted-bugs")]
            if is_planted(PlantedBug::VersionUncheckedInMulti) {
                return Ok(MultiReply::Checked);
            }
            check_version(znode.version, *expected_version).map(|()| MultiReply::Checked)
        }
    }
}

/// Runs `znode-changed` for what the client itself changed below open mounts.
pub(super) fn tell_open_mounts(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
) -> Result<(), Refusal> {
    for (mount_path, path) in core::mem::take(&mut work.plain_changes) {
        let Some(mount) = work.state.get::<crate::tables::Mounts>(&mount_path) else { continue };
        let relative = String::from(path.relative_to(&mount_path).unwrap_or(""));
        tell(work, executor, (&mount_path, &mount), &relative)?;
    }
    Ok(())
}

fn tell(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    mount: (&ZnodePath, &Arc<Mount>),
    relative: &str,
) -> Result<(), Refusal> {
    let object = relative.split('/').next().unwrap_or("");
    match work.handle_event(executor, mount, object, RecipeEvent::ZnodeChanged(relative)) {
        Handled::Settled => Ok(()),
        Handled::NotReady => super::recipes::loading(mount.0),
    }
}
