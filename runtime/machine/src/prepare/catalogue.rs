//! The catalogue: upload, install, remove.
//!
//! Invariant: a component is complete only if its bytes have its digest; installed only if this
//! leader's executor has compiled it and knows its descriptor; removed only if no mount names it. What
//! cannot be a recipe goes with its refusal, and what nobody installed goes when there is no room:
//! neither is listed, so nobody could remove it.
//! Bytes and recipes come in only if this leader's executor vouches for them.

use super::{Done, Step, Work, refuse};
use crate::apply;
use crate::change::Change;
use crate::executor::{ComponentStatus, RecipeExecutor};
use crate::items::Component;
use crate::tables::{Components, Mounts, State};
use alloc::format;
use alloc::sync::Arc;
use bytes::Bytes;
use core::ops::Bound;
use quorate_types::recipe::{InstalledRecipe, RecipeDescriptor};
use quorate_types::{ComponentDigest, ErrorCode, Operation, RecipeSignature, Refusal, Reply, Zxid};
use sha2::{Digest, Sha256};

pub(super) fn upload(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    operation: &Operation,
) -> Step {
    let Operation::UploadComponent { digest, total_bytes, offset, bytes, signature } = operation
    else {
        return Ok(Done::Nothing);
    };
    let before = work.state.get::<Components>(digest);
    check_sizes(work, before.as_deref(), *total_bytes, bytes)?;
    let received = before.as_ref().map_or(0, |component| component.received_bytes);
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let end = offset.saturating_add(length);
    if end <= received {
        return Ok(Done::Answer(Ok(Reply::Uploaded(received))));
    }
    if *offset != received {
        let message = format!("parts come in order: {received} bytes are there");
        return refuse(ErrorCode::BadArguments, message);
    }
    if end > *total_bytes {
        return refuse(ErrorCode::BadArguments, "the part passes the end of the component");
    }
    check_trusted(executor, digest, signature.as_deref())?;
    let (digest, total_bytes, offset) = (*digest, *total_bytes, *offset);
    let bytes = Bytes::copy_from_slice(bytes);
    let change = Change::UploadChunk { digest, total_bytes, offset, bytes };
    if end == total_bytes && !matches_digest(work, &digest, &change) {
        let message = format!("the bytes are not those of {digest}: begin again");
        let refusal = Refusal::new(ErrorCode::BadArguments, message);
        if before.is_none() {
            return Err(refusal);
        }
        // Else a wrong part would block the upload for ever.
        work.change(Change::RemoveComponent { digest });
        return Ok(Done::Changed(Some(Err(refusal))));
    }
    work.change(change);
    Ok(Done::Changed(Some(Ok(Reply::Uploaded(end)))))
}

fn check_trusted(
    executor: &mut dyn RecipeExecutor,
    digest: &ComponentDigest,
    signature: Option<&RecipeSignature>,
) -> Result<(), Refusal> {
    let refused = |why| Refusal::new(ErrorCode::RecipeNotTrusted, why);
    executor.vouch(digest, signature).map_err(refused)
}

fn check_sizes(
    work: &mut Work,
    before: Option<&Component>,
    total_bytes: u32,
    part: &[u8],
) -> Result<(), Refusal> {
    let limits = &work.limits;
    if total_bytes == 0 || total_bytes > limits.component_bytes_max {
        let message = format!("a component has 1 to {} bytes", limits.component_bytes_max);
        return refuse(ErrorCode::QuotaExceeded, message);
    }
    if part.is_empty() || part.len() > limits.component_chunk_bytes_max as usize {
        let message = format!("a part has 1 to {} bytes", limits.component_chunk_bytes_max);
        return refuse(ErrorCode::QuotaExceeded, message);
    }
    match before {
        Some(component) if component.total_bytes != total_bytes => {
            let message = format!("the component was begun with {} bytes", component.total_bytes);
            refuse(ErrorCode::BadArguments, message)
        }
        Some(_) => Ok(()),
        None => {
            if work.count_at_most::<Components>() >= limits.components_max as usize {
                return make_room(work);
            }
            Ok(())
        }
    }
}

/// Takes out an upload that was not installed.
fn make_room(work: &mut Work) -> Result<(), Refusal> {
    let mut idle = None;
    work.state.scan::<Components>(Bound::Unbounded, &mut |digest, component: &Arc<_>| {
        if component.installed.is_none() {
            idle = Some(*digest);
        }
        idle.is_none()
    });
    let Some(digest) = idle else {
        let message = "the catalogue is full: remove recipes that no mount names";
        return refuse(ErrorCode::QuotaExceeded, message);
    };
    work.change(Change::RemoveComponent { digest });
    Ok(())
}

fn matches_digest(work: &Work, digest: &ComponentDigest, last: &Change) -> bool {
    let mut hash = Sha256::new();
    for part in apply::component_parts(&work.state, digest) {
        hash.update(&part);
    }
    if let Change::UploadChunk { bytes, .. } = last {
        hash.update(bytes);
    }
    hash.finalize().as_slice() == digest.0
}

fn installed(
    digest: &ComponentDigest,
    component: &Component,
    (zxid, descriptor): (Zxid, RecipeDescriptor),
) -> InstalledRecipe {
    let bytes = component.total_bytes;
    InstalledRecipe { digest: *digest, bytes, installed: zxid, ready: true, descriptor }
}

pub(super) fn install(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    (digest, signature): (&ComponentDigest, Option<&RecipeSignature>),
) -> Step {
    let component = work.state.get::<Components>(digest);
    let Some(component) = component.filter(|component| component.is_complete()) else {
        return refuse(ErrorCode::NoRecipe, format!("{digest} is not uploaded completely"));
    };
    if let Some(facts) = component.installed.clone() {
        let recipe = installed(digest, &component, facts);
        return Ok(Done::Answer(Ok(Reply::Installed(recipe))));
    }
    // Again: it may have been uploaded when more was trusted, or to a leader that trusts more.
    check_trusted(executor, digest, signature)?;
    match executor.status(digest) {
        ComponentStatus::Loading => {
            refuse(ErrorCode::RecipeLoading, "the component is being compiled: try again")
        }
        ComponentStatus::Invalid(why) => {
            work.change(Change::RemoveComponent { digest: *digest });
            Ok(Done::Changed(Some(Err(Refusal::new(ErrorCode::RecipeInvalid, why)))))
        }
        ComponentStatus::Ready(descriptor) => {
            let facts = (work.stamp.zxid, descriptor.clone());
            work.change(Change::InstallComponent { digest: *digest, descriptor });
            let recipe = installed(digest, &component, facts);
            Ok(Done::Changed(Some(Ok(Reply::Installed(recipe)))))
        }
    }
}

pub(super) fn remove(work: &mut Work, digest: &ComponentDigest) -> Step {
    if !work.state.has::<Components>(digest) {
        return refuse(ErrorCode::NoRecipe, format!("{digest} is not in the catalogue"));
    }
    let mut named_by = None;
    work.state.scan::<Mounts>(Bound::Unbounded, &mut |path, mount: &Arc<_>| {
        if mount.digest == *digest {
            named_by = Some(path.clone());
        }
        named_by.is_none()
    });
    if let Some(path) = named_by {
        return refuse(ErrorCode::RecipeInUse, format!("{path} is governed by it: unmount first"));
    }
    work.change(Change::RemoveComponent { digest: *digest });
    Ok(Done::Changed(Some(Ok(Reply::Done))))
}
