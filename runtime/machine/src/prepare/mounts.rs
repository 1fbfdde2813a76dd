//! Mounts: mount, change of a mount (configuration, recipe version, end of a suspension), unmount.
//!
//! Invariant: no mount lies within another; a mount's component is installed; tickets and timers
//! of a mount go with it; no component takes over that a voter in touch cannot run. The `mounted`
//! event, `config-changed` and a migration are part of the transaction they belong to: it is refused
//! when they fail.

use super::recipes::RunRefusal;
use super::{Caller, Done, Step, Work, refuse};
use crate::acl;
use crate::change::{AclSource, Change};
use crate::executor::{RecipeEnd, RecipeEvent, RecipeExecutor, RecipeRun};
use crate::items::Mount;
use crate::prepare::recipes::refusal_of_failure;
use crate::tables::{Components, Mounts, ObjectTickets, State};
use crate::view::ViewMode;
use crate::znode::ZnodeKind;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::recipe::RecipeDescriptor;
use quorate_types::{
    ComponentDigest, ErrorCode, Operation, Permissions, Refusal, Reply, TicketId, ZnodeData,
    ZnodePath,
};

pub(super) fn mount(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    caller: Caller<'_>,
    operation: &Operation,
) -> Step {
    let Operation::Mount { path, digest, config, open, fuel } = operation else {
        return Ok(Done::Nothing);
    };
    let Some(descriptor) = descriptor_of(&work.state, digest) else {
        return refuse(ErrorCode::NoRecipe, format!("{digest} is not installed"));
    };
    check_fuel(work, *fuel)?;
    let change = Change::PutMount {
        path: path.clone(),
        digest: *digest,
        config: Bytes::copy_from_slice(config),
        open: *open,
        fuel: *fuel,
    };
    let before = work.state.get::<Mounts>(path);
    if let Some(objection) = work.objection.take()
        && before.as_ref().is_none_or(|before| before.digest != *digest)
    {
        return Err(objection);
    }
    match before {
        Some(before) => {
            check_admin(work, caller, path)?;
            alter(work, executor, (path, &before, &descriptor), change)?;
        }
        None => {
            check_place(work, path)?;
            make_top(work, caller, path)?;
            work.change(change);
            let mounted = mount_at(work, path);
            work.demand_event(executor, (path, &mounted), "", RecipeEvent::Mounted)
                .map_err(RunRefusal::into_refusal)?;
        }
    }
    work.faults.remove(path);
    Ok(Done::Changed(Some(Ok(Reply::Done))))
}

fn mount_at(work: &Work, path: &ZnodePath) -> Arc<Mount> {
    work.state.get::<Mounts>(path).expect("a mount just put is there")
}

/// What an installed component says of itself.
pub(crate) fn descriptor_of(
    state: &impl State,
    digest: &ComponentDigest,
) -> Option<RecipeDescriptor> {
    let component = state.get::<Components>(digest)?;
    component.installed.as_ref().map(|(_, descriptor)| descriptor.clone())
}

fn check_fuel(work: &Work, fuel: Option<u64>) -> Result<(), Refusal> {
    let max = work.limits.recipe_fuel_max;
    match fuel {
        Some(fuel) if fuel == 0 || fuel > max => {
            refuse(ErrorCode::BadArguments, format!("fuel is 1 to {max}"))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_admin(work: &Work, caller: Caller<'_>, path: &ZnodePath) -> Result<(), Refusal> {
    let znode = work.state.znode(path).expect("a mount's znode is there");
    acl::check(&znode, path, caller.identity, &[Permissions::ADMIN])
}

/// Refuses the root, a full table, and mounts within mounts.
fn check_place(work: &Work, path: &ZnodePath) -> Result<(), Refusal> {
    if path.is_root() {
        return refuse(ErrorCode::BadArguments, "the root cannot be a mount");
    }
    let there = work.count_at_most::<Mounts>();
    if there >= work.limits.mounts_max as usize {
        return refuse(ErrorCode::QuotaExceeded, "there are as many mounts as there may be");
    }
    let above = work.governing(path).map(|(mount_path, _)| mount_path);
    let mut below = None;
    work.state.scan::<Mounts>(Bound::Excluded(path), &mut |other, _| {
        if other.is_within(path) {
            below = Some(other.clone());
        }
        // Paths below begin alike, as do some beside.
        below.is_none() && other.as_str().starts_with(path.as_str())
    });
    match above.or(below) {
        Some(other) => {
            let message = format!("{other} is a mount, and mounts do not lie within one another");
            refuse(ErrorCode::GovernedByRecipe, message)
        }
        None => Ok(()),
    }
}

/// Creates the top of the subtree, or checks that the one there can be it.
fn make_top(work: &mut Work, caller: Caller<'_>, path: &ZnodePath) -> Result<(), Refusal> {
    if let Some(znode) = work.state.znode(path) {
        check_admin(work, caller, path)?;
        if znode.children_count > 0 {
            return refuse(ErrorCode::NotEmpty, format!("{path} has children: mount elsewhere"));
        }
        if znode.kind != ZnodeKind::Persistent {
            let message = format!("{path} is not persistent: mount elsewhere");
            return refuse(ErrorCode::NoChildrenForEphemerals, message);
        }
        return Ok(());
    }
    let parent_path = path.parent().unwrap_or_else(ZnodePath::root);
    let Some(parent) = work.state.znode(&parent_path) else {
        return refuse(ErrorCode::NoNode, format!("there is no znode {parent_path}"));
    };
    acl::check(&parent, &parent_path, caller.identity, &[Permissions::CREATE])?;
    if parent.owner().is_some() {
        let message = format!("{parent_path} is ephemeral and cannot have children");
        return refuse(ErrorCode::NoChildrenForEphemerals, message);
    }
    let (data, acl, kind) = (ZnodeData::EMPTY, AclSource::Open, ZnodeKind::Persistent);
    work.change(Change::CreateZnode { path: path.clone(), data, acl, kind });
    Ok(())
}

/// Changes a mount: another version migrates the state, another configuration is announced.
fn alter(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    (path, before, descriptor): (&ZnodePath, &Arc<Mount>, &RecipeDescriptor),
    change: Change,
) -> Result<(), Refusal> {
    let old = descriptor_of(&work.state, &before.digest).expect("a mount's component is installed");
    if old.name != descriptor.name {
        let message = format!("{path} is governed by recipe {}: unmount first", old.name);
        return refuse(ErrorCode::RecipeInUse, message);
    }
    if descriptor.state_version < old.state_version {
        let message = format!(
            "the state has version {}, the recipe knows {}",
            old.state_version, descriptor.state_version
        );
        return refuse(ErrorCode::RecipeInvalid, message);
    }
    work.change(change);
    let after = mount_at(work, path);
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::MigrationSkipped) {
        return Ok(());
    }
    if descriptor.state_version != old.state_version {
        let run = RecipeRun::Migrate { from_state_version: old.state_version };
        match work.run(executor, (path, &after), run, ViewMode::Event) {
            Ok(RecipeEnd::Refused(failure)) => return Err(refusal_of_failure(failure)),
            Ok(_) => {}
            Err(fault) => return Err(RunRefusal::Faulted(fault).into_refusal()),
        }
    }
    if after.config != before.config {
        let event = RecipeEvent::ConfigChanged(&before.config);
        work.demand_event(executor, (path, &after), "", event).map_err(RunRefusal::into_refusal)?;
    }
    Ok(())
}

pub(super) fn unmount(work: &mut Work, caller: Caller<'_>, path: &ZnodePath) -> Step {
    if !work.state.has::<Mounts>(path) {
        return refuse(ErrorCode::NoMount, format!("no recipe is mounted at {path}"));
    }
    check_admin(work, caller, path)?;
    for ticket in tickets_of(work, path) {
        let message = format!("the recipe at {path} was unmounted");
        let outcome = Err(Refusal::new(ErrorCode::NoMount, message));
        work.change(Change::Complete { ticket, outcome });
    }
    for key in work.timers_of(path, None) {
        let (mount, object, name) = (key.mount, key.object, key.name);
        work.change(Change::CancelTimer { mount, object, name });
    }
    work.change(Change::Unmount { path: path.clone() });
    work.faults.remove(path);
    Ok(Done::Changed(Some(Ok(Reply::Done))))
}

fn tickets_of(work: &Work, mount: &ZnodePath) -> Vec<TicketId> {
    let first = (mount.clone(), String::new(), TicketId(0));
    let keys = work.state.keys_while::<ObjectTickets>(&first, |(owner, _, _)| owner == mount);
    keys.into_iter().map(|(_, _, ticket)| ticket).collect()
}
