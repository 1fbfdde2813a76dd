//! Runs of recipes: calls, queries, events, cancellation.
//!
//! Invariant: a run that faults or refuses leaves no change; a fault is counted, and a mount that
//! keeps faulting is suspended. Must never: let a recipe that is not compiled here count as one
//! that faulted.

use super::{Caller, Done, Step, Work, refuse};
use crate::acl;
use crate::change::{AclSource, Change};
use crate::executor::{
    RecipeEnd, RecipeEvent, RecipeExecutor, RecipeFailure, RecipeFault, RecipeFaultKind, RecipeRun,
};
use crate::items::{KeptReply, Mount};
use crate::request::RecipeCall;
use crate::tables::{Components, KeptReplies, Mounts, State, Tickets};
use crate::view::{RecipeView, ViewMode};
use crate::znode::ZnodeKind;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use bytes::Bytes;
use quorate_types::limits::Limits;
use quorate_types::recipe::{OperationKind, RecipeLimits};
use quorate_types::{
    ErrorCode, Outcome, Permissions, Refusal, Reply, SessionId, TicketId, ZnodeData, ZnodePath,
};

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    /// Handled, or undone alone: the transaction goes on.
    Settled,
    /// The component is not compiled here: the transaction must wait.
    NotReady,
}

pub(super) fn loading<T>(mount_path: &ZnodePath) -> Result<T, Refusal> {
    let message = format!("the recipe mounted at {mount_path} is not compiled here yet: try again");
    refuse(ErrorCode::RecipeLoading, message)
}

fn limits_of(mount: &Mount, limits: &Limits) -> RecipeLimits {
    RecipeLimits {
        fuel: mount.fuel.unwrap_or(limits.recipe_fuel_max).min(limits.recipe_fuel_max),
        memory_bytes: limits.recipe_memory_bytes_max,
        changes: limits.recipe_changes_max,
        written_bytes: limits.recipe_written_bytes_max,
        read_bytes: limits.recipe_read_bytes_max,
        reply_bytes: limits.recipe_reply_bytes_max,
        log_bytes: limits.recipe_log_bytes_max,
        tickets: limits.recipe_tickets_max,
    }
}

pub(crate) fn refusal_of_failure(failure: RecipeFailure) -> Refusal {
    Refusal {
        recipe_code: Some(failure.code),
        detail: failure.detail,
        ..Refusal::new(ErrorCode::RecipeRefused, failure.message)
    }
}

pub(crate) fn refusal_of_fault(fault: &RecipeFault) -> Refusal {
    Refusal::new(fault.kind.error_code(), fault.message.clone())
}

fn event_fuel_spent(mount_path: &ZnodePath) -> RecipeFault {
    let message =
        format!("the event handlers of {mount_path} used too much fuel in one transaction");
    RecipeFault { kind: RecipeFaultKind::OutOfFuel, message, fuel_used: 0 }
}

fn broken(message: &str) -> RecipeFault {
    let message = String::from(message);
    RecipeFault { kind: RecipeFaultKind::Trap, message, fuel_used: 0 }
}

impl Work {
    /// Runs a recipe and holds it to the contract; on a fault or refusal its changes are undone.
    pub(super) fn run(
        &mut self,
        executor: &mut dyn RecipeExecutor,
        (mount_path, mount): (&ZnodePath, &Arc<Mount>),
        run: RecipeRun<'_>,
        mode: ViewMode,
    ) -> Result<RecipeEnd, RecipeFault> {
        let end = self.run_uncounted(executor, (mount_path, mount), run, mode);
        self.count_fault(mount_path, run, &end);
        end
    }

    /// [`Work::run`], and a fault does not count.
    pub(crate) fn run_uncounted(
        &mut self,
        executor: &mut dyn RecipeExecutor,
        (mount_path, mount): (&ZnodePath, &Arc<Mount>),
        run: RecipeRun<'_>,
        mode: ViewMode,
    ) -> Result<RecipeEnd, RecipeFault> {
        let savepoint = self.savepoint();
        self.runs += 1;
        let limits = self.limits_of(mount_path, mount, run);
        let object = match run {
            RecipeRun::Invoke { object, .. } | RecipeRun::Event { object, .. } => object,
            RecipeRun::Migrate { .. } => "",
        };
        self.touched.insert((mount_path.clone(), String::from(object)));
        let fuel_before = executor.fuel_used();
        let mut view = RecipeView::new(self, (mount_path, mount), (object, mode), limits);
        let end = match limits.fuel {
            0 => Err(event_fuel_spent(mount_path)),
            _ => executor.run(&mount.digest, run, &limits, &mut view),
        };
        let end = view.judge(end).and_then(|end| self.check_end(&end, run, &limits).map(|()| end));
        let undo =
            !matches!(end, Ok(RecipeEnd::Done(_) | RecipeEnd::Parked(_) | RecipeEnd::Handled));
        if undo {
            self.rollback(&savepoint);
        }
        let fuel_used = executor.fuel_used().saturating_sub(fuel_before);
        self.fuel_used += fuel_used;
        if matches!(run, RecipeRun::Event { .. }) {
            *self.event_fuel.entry(mount_path.clone()).or_default() += fuel_used;
        }
        end
    }

    /// The limits of a run; an event's fuel is what earlier ones of its mount have left.
    fn limits_of(&self, mount_path: &ZnodePath, mount: &Mount, run: RecipeRun<'_>) -> RecipeLimits {
        let mut limits = limits_of(mount, &self.limits);
        if matches!(run, RecipeRun::Event { .. }) {
            let used = self.event_fuel.get(mount_path).copied().unwrap_or(0);
            limits.fuel = limits.fuel.min(self.limits.recipe_event_fuel_max.saturating_sub(used));
        }
        limits
    }

    fn check_end(
        &self,
        end: &RecipeEnd,
        run: RecipeRun<'_>,
        limits: &RecipeLimits,
    ) -> Result<(), RecipeFault> {
        let is_invoke = matches!(run, RecipeRun::Invoke { .. });
        match end {
            RecipeEnd::Done(_) | RecipeEnd::Parked(_) if !is_invoke => {
                Err(broken("an event was answered like an operation"))
            }
            RecipeEnd::Handled if is_invoke => {
                Err(broken("an operation was answered like an event"))
            }
            RecipeEnd::Done(reply) if reply.len() > limits.reply_bytes as usize => {
                let message = format!("the reply has more than {} bytes", limits.reply_bytes);
                Err(RecipeFault { kind: RecipeFaultKind::OverLimit, message, fuel_used: 0 })
            }
            RecipeEnd::Done(_)
            | RecipeEnd::Parked(_)
            | RecipeEnd::Handled
            | RecipeEnd::Refused(_) => Ok(()),
        }
    }

    /// Counts the faults of a mount since the last call that went well. An event that went well
    /// proves nothing: one runs before every first call of an object.
    fn count_fault(
        &mut self,
        mount_path: &ZnodePath,
        run: RecipeRun<'_>,
        end: &Result<RecipeEnd, RecipeFault>,
    ) {
        match end {
            Ok(_) if matches!(run, RecipeRun::Event { .. }) => {}
            Ok(_) => drop(self.faults.remove(mount_path)),
            Err(fault) if fault.kind == RecipeFaultKind::NotReady => {}
            Err(_) => *self.faults.entry(mount_path.clone()).or_default() += 1,
        }
    }

    /// Suspends a mount that has faulted too often in a row; whether it did.
    pub(super) fn suspend_if_faulty(&mut self, mount_path: &ZnodePath, why: &str) -> bool {
        let faults = self.faults.get(mount_path).copied().unwrap_or(0);
        let mount = self.state.get::<Mounts>(mount_path);
        let is_running = mount.is_some_and(|mount| mount.suspended.is_none());
        if faults < self.limits.mount_faults_max || !is_running {
            return false;
        }
        let reason = format!("{faults} faults in a row, the last: {why}");
        self.change(Change::SuspendMount { path: mount_path.clone(), reason });
        self.faults.remove(mount_path);
        true
    }

    /// Runs an event handler. One that fails is undone alone.
    pub(super) fn handle_event(
        &mut self,
        executor: &mut dyn RecipeExecutor,
        mount: (&ZnodePath, &Arc<Mount>),
        object: &str,
        event: RecipeEvent<'_>,
    ) -> Handled {
        if mount.1.suspended.is_some() {
            return Handled::Settled;
        }
        let run = RecipeRun::Event { object, event };
        match self.run(executor, mount, run, ViewMode::Event) {
            Ok(_) => Handled::Settled,
            Err(fault) if fault.kind == RecipeFaultKind::NotReady => Handled::NotReady,
            Err(fault) => {
                self.suspend_if_faulty(mount.0, &fault.message);
                Handled::Settled
            }
        }
    }

    /// Runs a handler whose failure refuses the request.
    pub(super) fn demand_event(
        &mut self,
        executor: &mut dyn RecipeExecutor,
        mount: (&ZnodePath, &Arc<Mount>),
        object: &str,
        event: RecipeEvent<'_>,
    ) -> Result<(), RunRefusal> {
        let run = RecipeRun::Event { object, event };
        match self.run(executor, mount, run, ViewMode::Event) {
            Ok(RecipeEnd::Refused(failure)) => {
                Err(RunRefusal::Refused(refusal_of_failure(failure)))
            }
            Ok(_) => Ok(()),
            Err(fault) => Err(RunRefusal::Faulted(fault)),
        }
    }
}

/// Why a run that the request needs did not go well.
pub(super) enum RunRefusal {
    Refused(Refusal),
    Faulted(RecipeFault),
}

impl RunRefusal {
    pub(super) fn into_refusal(self) -> Refusal {
        match self {
            RunRefusal::Refused(refusal) => refusal,
            RunRefusal::Faulted(fault) => refusal_of_fault(&fault),
        }
    }
}

/// A call's object resolved: its mount, and its name below.
struct Target {
    mount_path: ZnodePath,
    mount: Arc<Mount>,
    object: String,
}

fn resolve(state: &impl State, object: &ZnodePath) -> Result<Target, Refusal> {
    let Some((mount_path, mount)) = super::governing(state, object) else {
        let message = format!("no recipe is mounted at or above {object}");
        return refuse(ErrorCode::NoMount, message);
    };
    let name = String::from(object.relative_to(&mount_path).unwrap_or(""));
    if name.contains('/') {
        let message = format!("an object is one name below {mount_path}, or the mount itself");
        return refuse(ErrorCode::BadArguments, message);
    }
    if let Some(reason) = &mount.suspended {
        let message = format!("the mount {mount_path} is suspended: {reason}");
        return refuse(ErrorCode::MountSuspended, message);
    }
    Ok(Target { mount_path, mount, object: name })
}

fn kind_of(state: &impl State, target: &Target, name: &str) -> Result<OperationKind, Refusal> {
    let component = state.get::<Components>(&target.mount.digest);
    let installed = component.as_ref().and_then(|component| component.installed.as_ref());
    let (_, descriptor) = installed.expect("a mount's component is installed");
    match descriptor.operation(name) {
        Some(operation) => Ok(operation.kind),
        None => {
            let message = format!("recipe {} has no operation `{name}`", descriptor.name);
            refuse(ErrorCode::UnknownOperation, message)
        }
    }
}

/// Whether an operation of an object is a command or a query.
pub(crate) fn operation_kind(
    state: &impl State,
    object: &ZnodePath,
    operation: &str,
) -> Result<OperationKind, Refusal> {
    let target = resolve(state, object)?;
    kind_of(state, &target, operation)
}

fn check_mount_acl(
    work: &Work,
    target: &Target,
    call: &RecipeCall<'_>,
    wanted: Permissions,
) -> Result<(), Refusal> {
    let znode = work.state.znode(&target.mount_path).expect("a mount's znode is there");
    acl::check(&znode, &target.mount_path, call.identity, &[wanted])
}

/// Answers a query on the state of `work`, which is left as it was.
pub(crate) fn query(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    call: RecipeCall<'_>,
) -> Outcome {
    let target = resolve(&work.state, call.object)?;
    if kind_of(&work.state, &target, call.operation)? == OperationKind::Command {
        let message = format!("`{}` is a command: it goes through the log", call.operation);
        return refuse(ErrorCode::BadArguments, message);
    }
    check_mount_acl(work, &target, &call, Permissions::READ)?;
    let mount = (&target.mount_path, &target.mount);
    match work.run(executor, mount, invocation(&target, &call), ViewMode::Query) {
        Ok(RecipeEnd::Done(bytes)) => Ok(Reply::Called(bytes)),
        Ok(RecipeEnd::Refused(failure)) => Err(refusal_of_failure(failure)),
        Ok(RecipeEnd::Parked(_) | RecipeEnd::Handled) => {
            Err(refusal_of_fault(&broken("a query was not answered with a value")))
        }
        Err(fault) => Err(refusal_of_fault(&fault)),
    }
}

fn invocation<'a>(target: &'a Target, call: &RecipeCall<'a>) -> RecipeRun<'a> {
    RecipeRun::Invoke {
        object: &target.object,
        operation: call.operation,
        arguments: call.arguments,
        session: call.session,
        identity: &call.identity.name,
    }
}

/// Runs a command.
pub(super) fn call(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    caller: Caller<'_>,
    (object, operation, arguments): (&ZnodePath, &str, &Bytes),
) -> Step {
    let (session, identity) = (caller.session, caller.identity);
    let call = RecipeCall { object, operation, arguments, session, identity };
    let target = resolve(&work.state, object)?;
    if kind_of(&work.state, &target, operation)? == OperationKind::Query {
        return Ok(Done::Answer(query(work, executor, call)));
    }
    check_mount_acl(work, &target, &call, Permissions::WRITE)?;
    match command(work, executor, &target, (&call, caller.sequence)) {
        Ok(reply) => Ok(Done::Changed(reply)),
        Err(RunRefusal::Refused(refusal)) => Err(refusal),
        Err(RunRefusal::Faulted(fault)) => {
            let refusal = refusal_of_fault(&fault);
            work.rollback_all();
            if work.suspend_if_faulty(&target.mount_path, &fault.message) {
                return Ok(Done::Changed(Some(Err(refusal))));
            }
            Err(refusal)
        }
    }
}

fn command(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    target: &Target,
    (call, sequence): (&RecipeCall<'_>, u64),
) -> Result<Option<Outcome>, RunRefusal> {
    let mount = (&target.mount_path, &target.mount);
    if work.state.znode(call.object).is_none() {
        let (acl, kind) = (AclSource::Parent, ZnodeKind::Persistent);
        let path = call.object.clone();
        work.change(Change::CreateZnode { path, data: ZnodeData::EMPTY, acl, kind });
        work.demand_event(executor, mount, &target.object, RecipeEvent::ObjectCreated)?;
    }
    let mode = ViewMode::Command { session: call.session, sequence };
    let run = invocation(target, call);
    let shadowed = work.run_shadow(executor, mount, run, mode);
    let since = work.changes.len();
    let fuel_before = work.fuel_used;
    let end = work.run(executor, mount, run, mode);
    let ran = (&end, since, work.fuel_used - fuel_before);
    work.compare_shadow(mount.0, (&target.object, call.operation), shadowed, ran);
    match end.map_err(RunRefusal::Faulted)? {
        RecipeEnd::Done(bytes) => Ok(Some(Ok(Reply::Called(Bytes::copy_from_slice(&bytes))))),
        RecipeEnd::Refused(failure) => Err(RunRefusal::Refused(refusal_of_failure(failure))),
        // A ticket completed in the same run is answered by its completion.
        RecipeEnd::Parked(ticket) if !work.state.has::<Tickets>(&ticket) => Ok(None),
        RecipeEnd::Parked(ticket) => Ok(Some(Ok(Reply::Parked(ticket)))),
        RecipeEnd::Handled => unreachable!("refused when the run ended"),
    }
}

/// Gives up a parked call.
pub(super) fn cancel(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    session: SessionId,
    sequence: u64,
) -> Step {
    let kept = work.state.get::<KeptReplies>(&(session, sequence));
    let Some(KeptReply::Parked(ticket)) = kept else {
        return Ok(Done::Answer(Ok(Reply::Done)));
    };
    let outcome = Err(Refusal::new(ErrorCode::Cancelled, "the caller gave up waiting"));
    let event = RecipeEvent::TicketCancelled { ticket, session };
    match end_ticket(work, executor, ticket, (outcome, event)) {
        Handled::Settled => Ok(Done::Changed(Some(Ok(Reply::Done)))),
        Handled::NotReady => {
            let message = "the recipe is not compiled here yet: try again";
            refuse(ErrorCode::RecipeLoading, message)
        }
    }
}

/// Answers a ticket for the recipe, and tells it.
pub(super) fn end_ticket(
    work: &mut Work,
    executor: &mut dyn RecipeExecutor,
    ticket: TicketId,
    (outcome, event): (Outcome, RecipeEvent<'_>),
) -> Handled {
    let parked = work.state.get::<Tickets>(&ticket).expect("a ticket ended is there");
    work.change(Change::Complete { ticket, outcome });
    match work.state.get::<Mounts>(&parked.mount) {
        Some(mount) => work.handle_event(executor, (&parked.mount, &mount), &parked.object, event),
        None => Handled::Settled,
    }
}
