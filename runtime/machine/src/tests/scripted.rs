//! A recipe written natively: a lock with waiters, and operations that misbehave.
//!
//! An object has `holder`, ephemeral, and `w-<ticket>` for every waiter, ephemeral too.

use crate::executor::{
    ComponentStatus, RecipeEnd, RecipeEvent, RecipeExecutor, RecipeFailure, RecipeFault,
    RecipeFaultKind, RecipeRun,
};
use crate::view::{LogLevel, RecipeView, ViewError};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_types::recipe::{OperationDescriptor, OperationKind, RecipeDescriptor, RecipeLimits};
use quorate_types::{ComponentDigest, RecipeSignature, SessionId, TicketId};

/// The signature that every component may have.
pub(super) const SIGNATURE: RecipeSignature = RecipeSignature([0x51; 64]);

/// Runs the lock for every component; what is `loading` or `invalid` can be set.
#[derive(Default)]
pub(super) struct Scripted {
    pub(super) loading: BTreeSet<ComponentDigest>,
    /// Let in only with [`SIGNATURE`].
    pub(super) signed_only: BTreeSet<ComponentDigest>,
    pub(super) invalid: BTreeSet<ComponentDigest>,
    /// Commands of these do one thing more.
    pub(super) altered: BTreeSet<ComponentDigest>,
    /// Commands of these trap.
    pub(super) broken: BTreeSet<ComponentDigest>,
    pub(super) is_nondeterministic: bool,
    pub(super) handlers_trap: bool,
    runs: u64,
}

type Run = Result<RecipeEnd, RecipeFault>;

const COMMANDS: [&str; 12] = [
    "acquire",
    "release",
    "trap",
    "spin",
    "flood",
    "refuse",
    "leak",
    "lease",
    "wobble",
    "touch",
    "both",
    "park-only",
];

pub(super) fn descriptor(version: &str, state_version: u32) -> RecipeDescriptor {
    let operation = |name: &str, kind| OperationDescriptor {
        name: name.to_string(),
        kind,
        arguments_schema: String::new(),
        reply_schema: String::new(),
        doc: String::new(),
    };
    let mut operations: Vec<_> =
        COMMANDS.iter().map(|name| operation(name, OperationKind::Command)).collect();
    operations.push(operation("holder", OperationKind::Query));
    operations.push(operation("cheat", OperationKind::Query));
    RecipeDescriptor {
        name: "lock".into(),
        version: version.into(),
        state_version,
        config_schema: String::new(),
        doc: String::new(),
        operations,
    }
}

pub(super) fn fault(kind: RecipeFaultKind) -> RecipeFault {
    RecipeFault { kind, message: format!("scripted {kind:?}"), fuel_used: 7 }
}

fn refused(code: &str) -> RecipeEnd {
    let detail = Bytes::from_static(b"\xf6");
    RecipeEnd::Refused(RecipeFailure { code: code.into(), message: "no".into(), detail })
}

/// What a guest makes of an error of a host function: a trap, here.
fn trapped(_: ViewError) -> RecipeFault {
    fault(RecipeFaultKind::Trap)
}

fn at(object: &str, name: &str) -> String {
    if object.is_empty() { name.into() } else { format!("{object}/{name}") }
}

fn waiter(object: &str, ticket: TicketId) -> String {
    at(object, &format!("w-{:020}", ticket.0))
}

fn token(view: &RecipeView<'_>) -> Bytes {
    Bytes::copy_from_slice(&view.zxid().0.to_be_bytes())
}

impl RecipeExecutor for Scripted {
    fn vouch(
        &mut self,
        component: &ComponentDigest,
        signature: Option<&RecipeSignature>,
    ) -> Result<(), String> {
        let is_trusted = !self.signed_only.contains(component) || signature == Some(&SIGNATURE);
        if is_trusted { Ok(()) } else { Err(format!("{component} is a stranger's")) }
    }

    fn status(&self, component: &ComponentDigest) -> ComponentStatus {
        if self.loading.contains(component) {
            return ComponentStatus::Loading;
        }
        if self.invalid.contains(component) {
            return ComponentStatus::Invalid("imports wasi".into());
        }
        let version = u32::from(component.0[0] & 1);
        ComponentStatus::Ready(descriptor(&format!("1.{version}.0"), 1 + version))
    }

    fn run(
        &mut self,
        component: &ComponentDigest,
        run: RecipeRun<'_>,
        _limits: &RecipeLimits,
        view: &mut RecipeView<'_>,
    ) -> Run {
        self.runs += 1;
        if self.loading.contains(component) {
            return Err(fault(RecipeFaultKind::NotReady));
        }
        match run {
            RecipeRun::Invoke { object, .. } if self.broken.contains(component) => {
                view.create(&at(object, "half-done"), b"", None).map_err(trapped)?;
                Err(fault(RecipeFaultKind::Trap))
            }
            RecipeRun::Invoke { object, operation, arguments, session, identity } => {
                if self.altered.contains(component) {
                    let name = at(object, "altered-");
                    view.create_sequential(&name, b"", None).map_err(trapped)?;
                }
                self.invoke(view, (object, operation), arguments, (session, identity))
            }
            RecipeRun::Event { object, event } => self.event(view, object, event),
            RecipeRun::Migrate { from_state_version } => {
                let data = from_state_version.to_be_bytes();
                view.create("migrated", &data, None).map_err(trapped)?;
                Ok(RecipeEnd::Handled)
            }
        }
    }
}

impl Scripted {
    fn invoke(
        &mut self,
        view: &mut RecipeView<'_>,
        (object, operation): (&str, &str),
        arguments: &[u8],
        (session, identity): (SessionId, &str),
    ) -> Run {
        match operation {
            "acquire" => acquire(view, object, arguments, session),
            "release" => release(view, object, session),
            "holder" => {
                let holder = view.get(&at(object, "holder")).map_err(trapped)?;
                Ok(RecipeEnd::Done(holder.map_or(Bytes::new(), |holder| holder.data)))
            }
            "cheat" => {
                let cheated = view.create(&at(object, "cheated"), b"", None);
                Ok(RecipeEnd::Done(Bytes::from(format!("{cheated:?}"))))
            }
            "trap" => {
                view.create(&at(object, "half-done"), b"", None).map_err(trapped)?;
                view.log(LogLevel::Error, "about to trap").map_err(trapped)?;
                Err(fault(RecipeFaultKind::Trap))
            }
            "spin" => Err(fault(RecipeFaultKind::OutOfFuel)),
            "flood" => {
                for number in 0..10_000u32 {
                    // A guest that goes on regardless is stopped all the same.
                    drop(view.create(&at(object, &format!("f{number}")), b"", None));
                }
                Ok(RecipeEnd::Done(Bytes::new()))
            }
            "refuse" => {
                view.create(&at(object, "half-done"), b"", None).map_err(trapped)?;
                Ok(refused("no-way"))
            }
            "leak" => {
                view.park(None).map_err(trapped)?;
                Ok(RecipeEnd::Done(Bytes::new()))
            }
            "lease" => {
                let at_ms = u64::from_be_bytes(arguments.try_into().unwrap_or_default());
                view.timer_set("lease", at_ms).map_err(trapped)?;
                Ok(RecipeEnd::Done(Bytes::new()))
            }
            "wobble" => {
                let data = if self.is_nondeterministic { self.runs } else { 0 };
                view.create(&at(object, "wobble"), &data.to_be_bytes(), None).map_err(trapped)?;
                Ok(RecipeEnd::Done(Bytes::new()))
            }
            "touch" => {
                let (one, _) = view.seed();
                let facts = view.session(session).map(|facts| facts.identity);
                assert_eq!(facts.as_deref(), Some(identity));
                let name = view.create_sequential(&at(object, "t-"), &one.to_be_bytes(), None);
                Ok(RecipeEnd::Done(Bytes::from(name.map_err(trapped)?)))
            }
            "both" => {
                let ticket = view.park(None).map_err(trapped)?;
                let done = view.complete(ticket, Ok(Bytes::from_static(b"at once")));
                assert_eq!(done, Ok(true));
                Ok(RecipeEnd::Parked(ticket))
            }
            "park-only" => view.park(None).map_err(trapped).map(RecipeEnd::Parked),
            other => unreachable!("{other} is not described"),
        }
    }

    fn event(&mut self, view: &mut RecipeView<'_>, object: &str, event: RecipeEvent<'_>) -> Run {
        if self.handlers_trap {
            view.create(&at(object, "half-done"), b"", None).map_err(trapped)?;
            return Err(fault(RecipeFaultKind::Trap));
        }
        match event {
            RecipeEvent::Mounted | RecipeEvent::ObjectCreated => {}
            RecipeEvent::ConfigChanged(before) if before == b"stuck" => {
                return Ok(refused("stuck"));
            }
            RecipeEvent::ConfigChanged(before) => {
                view.create("configured", before, None).map_err(trapped)?;
            }
            RecipeEvent::SessionClosed(session) => session_closed(view, object, session)?,
            RecipeEvent::Timer(name) => {
                assert_eq!(name, "lease");
                if view.exists(&at(object, "holder")) {
                    view.delete(&at(object, "holder"), None).map_err(trapped)?;
                }
                pass_on(view, object)?;
            }
            RecipeEvent::TicketExpired { ticket, .. }
            | RecipeEvent::TicketCancelled { ticket, .. } => {
                assert_eq!(view.complete(ticket, Ok(Bytes::new())), Ok(false));
                if view.exists(&waiter(object, ticket)) {
                    view.delete(&waiter(object, ticket), None).map_err(trapped)?;
                }
            }
            RecipeEvent::ZnodeChanged(path) => {
                let data = path.as_bytes();
                if view.exists("heard") {
                    view.set("heard", data, None).map_err(trapped)?;
                } else {
                    view.create("heard", data, None).map_err(trapped)?;
                }
            }
        }
        Ok(RecipeEnd::Handled)
    }
}

fn acquire(view: &mut RecipeView<'_>, object: &str, arguments: &[u8], session: SessionId) -> Run {
    let holder = at(object, "holder");
    if !view.exists(&holder) {
        let token = token(view);
        view.create(&holder, &token, Some(session)).map_err(trapped)?;
        return Ok(RecipeEnd::Done(token));
    }
    let deadline_ms = <[u8; 8]>::try_from(arguments).ok().map(u64::from_be_bytes);
    let ticket = view.park(deadline_ms).map_err(trapped)?;
    view.create(&waiter(object, ticket), b"", Some(session)).map_err(trapped)?;
    Ok(RecipeEnd::Parked(ticket))
}

fn release(view: &mut RecipeView<'_>, object: &str, session: SessionId) -> Run {
    let holder = at(object, "holder");
    let held = view.get(&holder).map_err(trapped)?;
    if held.is_none_or(|held| held.stat.owner != Some(session)) {
        return Ok(refused("not-held"));
    }
    view.delete(&holder, None).map_err(trapped)?;
    pass_on(view, object)?;
    Ok(RecipeEnd::Done(Bytes::new()))
}

/// Grants the lock to the first waiter that is still there.
fn pass_on(view: &mut RecipeView<'_>, object: &str) -> Result<(), RecipeFault> {
    for waiter in view.scan(object, Some("w"), u32::MAX).map_err(trapped)? {
        let Some(ticket) = waiter.name.strip_prefix("w-").and_then(|text| text.parse().ok()) else {
            return Ok(());
        };
        view.delete(&at(object, &waiter.name), None).map_err(trapped)?;
        let token = token(view);
        if view.complete(TicketId(ticket), Ok(token.clone())).map_err(trapped)? {
            let owner = waiter.stat.owner;
            return view.create(&at(object, "holder"), &token, owner).map_err(trapped);
        }
    }
    Ok(())
}

fn session_closed(
    view: &mut RecipeView<'_>,
    object: &str,
    session: SessionId,
) -> Result<(), RecipeFault> {
    assert_eq!(view.session(session), None);
    let holder = at(object, "holder");
    let held = view.get(&holder).map_err(trapped)?;
    if held.is_some_and(|held| held.stat.owner == Some(session)) {
        view.delete(&holder, None).map_err(trapped)?;
        pass_on(view, object)?;
    }
    Ok(())
}
