//! Sessions: open, attach, close, expire.
//!
//! Invariant: a session's ephemerals and tickets go in the transaction that ends it, whatever its
//! mounts' recipes do; their handlers run first, while everything is still there.

use super::{Done, Step, Work, refuse};
use crate::change::Change;
use crate::executor::{RecipeEvent, RecipeExecutor};
use crate::items::Session;
use crate::prepare::recipes::{Handled, loading};
use crate::read;
use crate::request::Identity;
use crate::tables::{Mounts, SessionTickets, Sessions, State, Tickets};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::{ErrorCode, Refusal, Reply, SessionId, TicketId, ZnodePath};

pub(super) fn open(
    work: &mut Work,
    password: [u8; 16],
    timeout_ms: u32,
    identity: &Identity,
) -> Step {
    let there = work.count_at_most::<Sessions>();
    if there >= work.limits.sessions_max as usize {
        return refuse(ErrorCode::Overloaded, "the cluster has as many sessions as it may");
    }
    let limits = &work.limits;
    let timeout_ms = timeout_ms.clamp(limits.session_timeout_ms_min, limits.session_timeout_ms_max);
    let identity = identity.name.clone();
    work.change(Change::OpenSession { password, timeout_ms, identity });
    Ok(Done::Changed(None))
}

pub(super) fn attach(
    work: &mut Work,
    session: SessionId,
    password: [u8; 16],
    identity: &Identity,
) -> Step {
    check_owner(&work.state, session, &password, identity)?;
    work.change(Change::AttachSession { session });
    Ok(Done::Changed(None))
}

/// Refuses unless the session is there, and the caller's.
pub(crate) fn check_owner(
    state: &impl State,
    session: SessionId,
    password: &[u8; 16],
    identity: &Identity,
) -> Result<(), Refusal> {
    let Some(facts) = state.get::<Sessions>(&session) else {
        return refuse(ErrorCode::SessionExpired, "the session has ended");
    };
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::PasswordUnchecked) {
        return Ok(());
    }
    if !has_password(&facts, password) || facts.identity != identity.name {
        return refuse(ErrorCode::SessionRefused, "the password or identity is not the session's");
    }
    Ok(())
}

/// Compares without telling by its time how much is right.
fn has_password(session: &Session, given: &[u8; 16]) -> bool {
    session.password.iter().zip(given).fold(0, |wrong, (own, given)| wrong | (own ^ given)) == 0
}

pub(super) fn close(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    session: SessionId,
) -> Step {
    end(work, executor, session)?;
    Ok(Done::Changed(Some(Ok(Reply::Done))))
}

pub(super) fn expire(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    session: SessionId,
) -> Step {
    if !work.state.has::<Sessions>(&session) {
        return Ok(Done::Nothing);
    }
    end(work, executor, session)?;
    Ok(Done::Changed(None))
}

/// Ends a session. Put off while a recipe that must hear of it is not compiled here.
fn end(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    session: SessionId,
) -> Result<(), Refusal> {
    work.closing = Some(session);
    #[cfg(feature = "planted-bugs")]
    if is_planted(PlantedBug::EndingSessionLooksLive) {
        work.closing = None;
    }
    for (mount_path, object) in objects_of(work, session) {
        let Some(mount) = work.state.get::<Mounts>(&mount_path) else { continue };
        let event = RecipeEvent::SessionClosed(session);
        match work.handle_event(executor, (&mount_path, &mount), &object, event) {
            Handled::Settled => {}
            Handled::NotReady => return loading(&mount_path),
        }
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::OneObjectHearsOfClose) {
            break;
        }
    }
    for ticket in tickets_of(work, session) {
        let outcome = Err(Refusal::new(ErrorCode::SessionExpired, "the session has ended"));
        work.change(Change::Complete { ticket, outcome });
    }
    for path in ephemerals_of(work, session) {
        work.change(Change::DeleteZnode { path });
    }
    work.change(Change::CloseSession { session });
    Ok(())
}

fn tickets_of(work: &Work, session: SessionId) -> Vec<TicketId> {
    let first = (session, TicketId(0));
    let keys = work.state.keys_while::<SessionTickets>(&first, |(owner, _)| *owner == session);
    keys.into_iter().map(|(_, ticket)| ticket).collect()
}

fn ephemerals_of(work: &Work, session: SessionId) -> Vec<ZnodePath> {
    let paths = read::ephemerals_of(&work.state, session);
    #[cfg(feature = "planted-bugs")]
    let paths = if is_planted(PlantedBug::EphemeralsLeftBehind) {
        paths.into_iter().take(2).collect()
    } else {
        paths
    };
    paths
}

/// The objects where the session owns ephemerals or tickets, in order of path. They count as
/// touched: with the last ephemeral an object may become empty.
fn objects_of(work: &mut Work, session: SessionId) -> BTreeSet<(ZnodePath, String)> {
    let mut objects = BTreeSet::new();
    for path in ephemerals_of(work, session) {
        let Some((mount_path, _)) = work.governing(&path) else { continue };
        let relative = path.relative_to(&mount_path).unwrap_or("");
        let object = String::from(relative.split('/').next().unwrap_or(""));
        objects.insert((mount_path, object));
    }
    for ticket in tickets_of(work, session) {
        let ticket: Option<Arc<crate::items::Ticket>> = work.state.get::<Tickets>(&ticket);
        objects.extend(ticket.map(|ticket| (ticket.mount.clone(), ticket.object.clone())));
    }
    work.touched.extend(objects.iter().cloned());
    objects
}
