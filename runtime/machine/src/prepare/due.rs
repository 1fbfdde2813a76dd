//! What is due at a time: ticket deadlines, timers, TTLs, empty containers.
//!
//! Goes out: one transaction for a bounded number of them, earliest first. Invariant: whatever is
//! fired is gone or later afterwards, so that firing makes progress. What waits for a component to
//! be compiled stays and is passed over. Handlers that use much fuel make the transaction short.

use super::recipes::{Handled, end_ticket};
use super::{Done, Step, Work};
use crate::change::Change;
use crate::executor::{RecipeEvent, RecipeExecutor};
use crate::items::TimerKey;
use crate::tables::{Deadlines, Due, Mounts, State, Tickets, Timers};
use alloc::vec::Vec;
use core::ops::Bound;
use quorate_types::{ErrorCode, Refusal, TicketId, ZnodePath};

/// Fired by one transaction.
const FIRED_MAX: usize = 64;
/// Looked at for one transaction: those passed over must not hide the rest.
const SEEN_MAX: usize = 1_024;
/// How much later a timer of a suspended mount is looked at again.
const SUSPENDED_TIMER_DELAY_MS: u64 = 60_000;

pub(super) fn fire(work: &mut Work, executor: &mut dyn RecipeExecutor) -> Step {
    let mut fired = 0;
    let weight_max = work.limits.transaction_bytes_max as usize / 2;
    for due in due_now(work) {
        let spent = work.fuel_used >= work.limits.recipe_fuel_max;
        if fired == FIRED_MAX || work.weight > weight_max || spent {
            break;
        }
        let savepoint = work.savepoint();
        let handled = match due {
            Due::Ticket(ticket) => expire_ticket(work, executor, ticket),
            Due::Timer(key) => fire_timer(work, executor, key),
            Due::Znode(path) => reap_znode(work, executor, path),
        };
        match handled {
            Handled::Settled => fired += 1,
            Handled::NotReady => work.rollback(&savepoint),
        }
    }
    if work.changes.is_empty() { Ok(Done::Nothing) } else { Ok(Done::Changed(None)) }
}

fn due_now(work: &Work) -> Vec<Due> {
    let mut found = Vec::new();
    let now_ms = work.stamp.time_ms;
    work.state.scan::<Deadlines>(Bound::Unbounded, &mut |(at_ms, due), ()| {
        let is_due = *at_ms <= now_ms && found.len() < SEEN_MAX;
        if is_due {
            found.push(due.clone());
        }
        is_due
    });
    found
}

fn expire_ticket(work: &mut Work, executor: &mut dyn RecipeExecutor, ticket: TicketId) -> Handled {
    // A handler that ran before may have answered it.
    let Some(parked) = work.state.get::<Tickets>(&ticket) else { return Handled::Settled };
    let outcome = Err(Refusal::new(ErrorCode::TimedOut, "the deadline of the call has passed"));
    let event = RecipeEvent::TicketExpired { ticket, session: parked.session };
    end_ticket(work, executor, ticket, (outcome, event))
}

fn fire_timer(work: &mut Work, executor: &mut dyn RecipeExecutor, key: TimerKey) -> Handled {
    let now_ms = work.stamp.time_ms;
    if work.state.get::<Timers>(&key).is_none_or(|at_ms| at_ms > now_ms) {
        return Handled::Settled;
    }
    let mount = work.state.get::<Mounts>(&key.mount).expect("timers go with their mount");
    let TimerKey { mount: mount_path, object, name } = key;
    if mount.suspended.is_some() {
        let at_ms = now_ms.saturating_add(SUSPENDED_TIMER_DELAY_MS);
        work.change(Change::SetTimer { mount: mount_path, object, name, at_ms });
        return Handled::Settled;
    }
    work.change(Change::CancelTimer {
        mount: mount_path.clone(),
        object: object.clone(),
        name: name.clone(),
    });
    work.handle_event(executor, (&mount_path, &mount), &object, RecipeEvent::Timer(&name))
}

fn reap_znode(work: &mut Work, executor: &mut dyn RecipeExecutor, path: ZnodePath) -> Handled {
    let now_ms = work.stamp.time_ms;
    let due_ms = work.state.znode(&path).and_then(|znode| znode.due_ms());
    if due_ms.is_none_or(|due_ms| due_ms > now_ms) {
        return Handled::Settled;
    }
    work.change(Change::DeleteZnode { path: path.clone() });
    let Some((mount_path, mount)) = work.governing(&path) else { return Handled::Settled };
    let relative = path.relative_to(&mount_path).unwrap_or("");
    let object = relative.split('/').next().unwrap_or("");
    let event = RecipeEvent::ZnodeChanged(relative);
    work.handle_event(executor, (&mount_path, &mount), object, event)
}
