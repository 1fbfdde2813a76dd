//! A lock as a recipe, run natively.
//!
//! An object has `holder`, ephemeral, with the fencing token as data, and `w-<ticket>` for every
//! waiter. Invariant: deterministic, so that followers that run a call again find the same.

use bytes::Bytes;
use quorate_machine::{
    ComponentStatus, RecipeEnd, RecipeEvent, RecipeExecutor, RecipeFailure, RecipeFault,
    RecipeFaultKind, RecipeRun, RecipeView, ViewError,
};
use quorate_types::recipe::{OperationDescriptor, OperationKind, RecipeDescriptor, RecipeLimits};
use quorate_types::{ComponentDigest, SessionId, TicketId};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// What is uploaded as the component: any bytes will do.
pub const COMPONENT: &[u8] = b"a lock with waiters";

/// The name of the component in the catalogue.
pub fn component_digest() -> ComponentDigest {
    ComponentDigest(Sha256::digest(COMPONENT).into())
}

/// Runs the lock for every component that was compiled.
#[derive(Clone, Default)]
pub struct LockExecutor {
    pub compiled: Rc<RefCell<BTreeSet<ComponentDigest>>>,
}

type Run = Result<RecipeEnd, RecipeFault>;

fn descriptor() -> RecipeDescriptor {
    let operation = |name: &str, kind| OperationDescriptor {
        name: name.into(),
        kind,
        arguments_schema: String::new(),
        reply_schema: String::new(),
        doc: String::new(),
    };
    RecipeDescriptor {
        name: "lock".into(),
        version: "1.0.0".into(),
        state_version: 1,
        config_schema: String::new(),
        doc: String::new(),
        operations: vec![
            operation("acquire", OperationKind::Command),
            operation("release", OperationKind::Command),
            operation("holder", OperationKind::Query),
        ],
    }
}

fn trapped(error: ViewError) -> RecipeFault {
    let message = format!("{error:?}");
    RecipeFault { kind: RecipeFaultKind::Trap, message, fuel_used: 0 }
}

fn waiter(object: &str, ticket: TicketId) -> String {
    format!("{object}/w-{:020}", ticket.0)
}

fn holder(object: &str) -> String {
    format!("{object}/holder")
}

fn token(view: &RecipeView<'_>) -> Bytes {
    Bytes::copy_from_slice(&view.zxid().0.to_be_bytes())
}

impl RecipeExecutor for LockExecutor {
    fn status(&self, component: &ComponentDigest) -> ComponentStatus {
        if self.compiled.borrow().contains(component) {
            ComponentStatus::Ready(descriptor())
        } else {
            ComponentStatus::Loading
        }
    }

    fn run(
        &mut self,
        component: &ComponentDigest,
        run: RecipeRun<'_>,
        _limits: &RecipeLimits,
        view: &mut RecipeView<'_>,
    ) -> Run {
        if !self.compiled.borrow().contains(component) {
            let kind = RecipeFaultKind::NotReady;
            return Err(RecipeFault { kind, message: "not compiled".into(), fuel_used: 0 });
        }
        match run {
            RecipeRun::Invoke { object, operation: "acquire", arguments, session, .. } => {
                acquire(view, object, arguments, session)
            }
            RecipeRun::Invoke { object, operation: "release", session, .. } => {
                release(view, object, session)
            }
            RecipeRun::Invoke { object, .. } => {
                let found = view.get(&holder(object)).map_err(trapped)?;
                Ok(RecipeEnd::Done(found.map_or(Bytes::new(), |found| found.data)))
            }
            RecipeRun::Event { object, event } => handle(view, object, event),
            RecipeRun::Migrate { .. } => Ok(RecipeEnd::Handled),
        }
    }
}

fn acquire(view: &mut RecipeView<'_>, object: &str, arguments: &[u8], session: SessionId) -> Run {
    if !view.exists(&holder(object)) {
        let token = token(view);
        view.create(&holder(object), &token, Some(session)).map_err(trapped)?;
        return Ok(RecipeEnd::Done(token));
    }
    let wait_ms = <[u8; 8]>::try_from(arguments).ok().map(u64::from_be_bytes);
    let deadline_ms = wait_ms.map(|wait_ms| view.now_ms() + wait_ms);
    let ticket = view.park(deadline_ms).map_err(trapped)?;
    view.create(&waiter(object, ticket), b"", Some(session)).map_err(trapped)?;
    Ok(RecipeEnd::Parked(ticket))
}

fn release(view: &mut RecipeView<'_>, object: &str, session: SessionId) -> Run {
    let held = view.get(&holder(object)).map_err(trapped)?;
    if held.is_none_or(|held| held.stat.owner != Some(session)) {
        let (code, message) = ("not-held".into(), "another session holds the lock".into());
        return Ok(RecipeEnd::Refused(RecipeFailure { code, message, detail: Bytes::new() }));
    }
    view.delete(&holder(object), None).map_err(trapped)?;
    pass_on(view, object)?;
    Ok(RecipeEnd::Done(Bytes::new()))
}

/// Grants the lock to the first waiter that is still there.
fn pass_on(view: &mut RecipeView<'_>, object: &str) -> Result<(), RecipeFault> {
    for waiting in view.scan(object, Some("w"), u32::MAX).map_err(trapped)? {
        let number = waiting.name.strip_prefix("w-").and_then(|text| text.parse().ok());
        let Some(number) = number else { return Ok(()) };
        view.delete(&format!("{object}/{}", waiting.name), None).map_err(trapped)?;
        let token = token(view);
        if view.complete(TicketId(number), Ok(token.clone())).map_err(trapped)? {
            let owner = waiting.stat.owner;
            return view.create(&holder(object), &token, owner).map_err(trapped);
        }
    }
    Ok(())
}

fn handle(view: &mut RecipeView<'_>, object: &str, event: RecipeEvent<'_>) -> Run {
    match event {
        RecipeEvent::SessionClosed(session) => {
            let held = view.get(&holder(object)).map_err(trapped)?;
            if held.is_some_and(|held| held.stat.owner == Some(session)) {
                view.delete(&holder(object), None).map_err(trapped)?;
                pass_on(view, object)?;
            }
        }
        RecipeEvent::TicketExpired { ticket, .. } | RecipeEvent::TicketCancelled { ticket, .. }
            if view.exists(&waiter(object, ticket)) =>
        {
            view.delete(&waiter(object, ticket), None).map_err(trapped)?;
        }
        _ => {}
    }
    Ok(RecipeEnd::Handled)
}
