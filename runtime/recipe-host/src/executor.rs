//! Runs one call, event or migration of a recipe: machine's `RecipeExecutor` by wasmtime.
//!
//! Comes in: what to run, limits, a view of the tree. Goes out: how it ended.
//! Invariant: every run has an instance of its own, thrown away with everything in it, so a run is
//! a function of the component, the view and the arguments. Must never: panic because of a guest,
//! or let a guest touch anything but the view.

use crate::catalogue::Catalogue;
use crate::compiler::GuestFunctions;
use crate::contract::{guest, types};
use crate::figures::RecipeFigures;
use crate::recipe_log::{RecipeLine, RecipeLog};
use crate::run_state::{Fault, Run};
use crate::trust::Trust;
use crate::view_slot;
use bytes::Bytes;
use quorate_machine::{
    ComponentStatus, RecipeEnd, RecipeEvent, RecipeExecutor, RecipeFailure, RecipeFault,
    RecipeFaultKind, RecipeRun, RecipeView,
};
use quorate_types::recipe::{OperationFigures, RecipeLimits};
use quorate_types::{ComponentDigest, RecipeSignature, TicketId, ZnodePath};
use std::sync::Arc;
use std::time::Instant;
use wasmtime::Store;
use wasmtime::component::Instance;

/// Bytes of a refusal's code.
const FAILURE_CODE_BYTES_MAX: usize = 64;

/// What the check of a signature with one key counts as: it takes about 80 µs, as so many units of
/// plain code do at the most.
const SIGNATURE_FUEL: u64 = 200_000;

/// Runs the components of a catalogue. One per thread that runs recipes; cheap to clone.
#[derive(Clone, Debug)]
pub struct WasmExecutor {
    catalogue: Arc<Catalogue>,
    log: Arc<RecipeLog>,
    trust: Arc<Trust>,
    fuel_used: u64,
    figures: Arc<RecipeFigures>,
    /// Whether runs count in the figures now.
    counted: bool,
    /// Whether runs are timed: a simulation must not look at a clock.
    timed: bool,
    host_calls: u64,
}

impl WasmExecutor {
    /// An executor of what the catalogue holds at the time of each run; lets every component in.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>) -> WasmExecutor {
        WasmExecutor {
            catalogue,
            log: Arc::default(),
            trust: Arc::new(Trust::any()),
            fuel_used: 0,
            host_calls: 0,
            figures: Arc::default(),
            counted: true,
            timed: false,
        }
    }

    /// The same, and its figures tell how long runs took by this machine's clock.
    #[must_use]
    pub fn timed(self) -> WasmExecutor {
        WasmExecutor { timed: true, ..self }
    }

    /// The same, and lets in only what is trusted.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> WasmExecutor {
        WasmExecutor { trust: Arc::new(trust), ..self }
    }

    /// The lines that recipes logged through this executor and its clones.
    #[must_use]
    pub fn log(&self) -> &Arc<RecipeLog> {
        &self.log
    }

    /// Functions of the contract that all runs so far have called, for metrics.
    #[must_use]
    pub fn host_calls(&self) -> u64 {
        self.host_calls
    }
}

impl RecipeExecutor for WasmExecutor {
    fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    fn vouch(
        &mut self,
        component: &ComponentDigest,
        signature: Option<&RecipeSignature>,
    ) -> Result<(), String> {
        let (vouched, keys_tried) = self.trust.vouch(component, signature);
        self.fuel_used = self.fuel_used.saturating_add(keys_tried * SIGNATURE_FUEL);
        vouched
    }

    fn status(&self, component: &ComponentDigest) -> ComponentStatus {
        self.catalogue.status(component)
    }

    fn run(
        &mut self,
        component: &ComponentDigest,
        run: RecipeRun<'_>,
        limits: &RecipeLimits,
        view: &mut RecipeView<'_>,
    ) -> Result<RecipeEnd, RecipeFault> {
        let Some(recipe) = self.catalogue.get(component) else {
            return Err(RecipeFault {
                kind: RecipeFaultKind::NotReady,
                message: format!("the component {component} is not ready on this server"),
                fuel_used: 0,
            });
        };
        let begun = self.timed.then(Instant::now);
        let (mut store, instance) = recipe.instantiate(limits);
        let ended = match instance {
            Ok(instance) => view_slot::lend(&mut store, view, |store| {
                call(store, instance, (recipe.functions(), run))
            }),
            Err(error) => Err(store.data().fault(&error)),
        };
        let ended = ended.and_then(|end| within_limits(end, limits));
        let fuel_used = limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
        self.fuel_used = self.fuel_used.saturating_add(fuel_used);
        self.host_calls = self.host_calls.saturating_add(store.data().host_calls);
        for (level, message) in std::mem::take(&mut store.data_mut().log.lines) {
            let mount = view.mount_path().to_string();
            self.log.write(RecipeLine { component: *component, mount, level, message });
        }
        let ended = ended.map_err(|fault| RecipeFault {
            kind: fault.kind,
            message: fault.message,
            fuel_used,
        });
        if self.counted {
            let took = begun.map(|begun| begun.elapsed()).unwrap_or_default();
            self.figures.count(view.mount_path(), run, ended.as_ref(), (fuel_used, took));
        }
        ended
    }

    fn set_counted(&mut self, counted: bool) {
        self.counted = counted;
    }

    fn figures(&self, mount: &ZnodePath) -> Vec<OperationFigures> {
        self.figures.of(mount)
    }
}

/// Calls the exported function that stands for the run.
fn call(
    store: &mut Store<Run>,
    instance: Instance,
    (functions, run): (&GuestFunctions, RecipeRun<'_>),
) -> Result<RecipeEnd, Fault> {
    let called = match run {
        RecipeRun::Invoke { object, operation, arguments, session, identity } => {
            let caller = guest::Caller { session: session.0, identity };
            let call = guest::Call { object, operation, arguments, caller };
            instance
                .get_typed_func::<(guest::Call<'_>,), (Result<guest::Outcome, types::Failure>,)>(
                    &mut *store,
                    &functions.invoke,
                )
                .and_then(|invoke| invoke.call(&mut *store, (call,)))
                .map(|(answer,)| answer.map(end_of_invoke))
        }
        RecipeRun::Event { object, event } => instance
            .get_typed_func::<(&str, guest::Event<'_>), (Result<(), types::Failure>,)>(
                &mut *store,
                &functions.on_event,
            )
            .and_then(|on_event| on_event.call(&mut *store, (object, guest_event(event))))
            .map(|(answer,)| answer.map(|()| RecipeEnd::Handled)),
        RecipeRun::Migrate { from_state_version } => instance
            .get_typed_func::<(u32,), (Result<(), types::Failure>,)>(
                &mut *store,
                &functions.migrate,
            )
            .and_then(|migrate| migrate.call(&mut *store, (from_state_version,)))
            .map(|(answer,)| answer.map(|()| RecipeEnd::Handled)),
    };
    match called {
        Ok(Ok(end)) => Ok(end),
        Ok(Err(failure)) => Ok(RecipeEnd::Refused(recipe_failure(failure))),
        Err(error) => Err(store.data().fault(&error)),
    }
}

fn end_of_invoke(outcome: guest::Outcome) -> RecipeEnd {
    match outcome {
        guest::Outcome::Done(reply) => RecipeEnd::Done(Bytes::from(reply)),
        guest::Outcome::Parked(ticket) => RecipeEnd::Parked(TicketId(ticket)),
    }
}

pub(crate) fn recipe_failure(failure: types::Failure) -> RecipeFailure {
    RecipeFailure {
        code: failure.code,
        message: failure.message,
        detail: Bytes::from(failure.detail),
    }
}

fn guest_event(event: RecipeEvent<'_>) -> guest::Event<'_> {
    let ended = |ticket: TicketId, session: quorate_types::SessionId| guest::EndedTicket {
        ticket: ticket.0,
        session: session.0,
    };
    match event {
        RecipeEvent::Mounted => guest::Event::Mounted,
        RecipeEvent::ObjectCreated => guest::Event::ObjectCreated,
        RecipeEvent::ConfigChanged(before) => guest::Event::ConfigChanged(before),
        RecipeEvent::SessionClosed(session) => guest::Event::SessionClosed(session.0),
        RecipeEvent::Timer(name) => guest::Event::Timer(name),
        RecipeEvent::TicketExpired { ticket, session } => {
            guest::Event::TicketExpired(ended(ticket, session))
        }
        RecipeEvent::TicketCancelled { ticket, session } => {
            guest::Event::TicketCancelled(ended(ticket, session))
        }
        RecipeEvent::ZnodeChanged(path) => guest::Event::ZnodeChanged(path),
    }
}

/// A reply is kept in the replicated session, so its size is limited however it came about.
fn within_limits(end: RecipeEnd, limits: &RecipeLimits) -> Result<RecipeEnd, Fault> {
    let bytes = match &end {
        RecipeEnd::Done(reply) => reply.len(),
        RecipeEnd::Refused(failure) => failure_bytes(failure)?,
        RecipeEnd::Parked(_) | RecipeEnd::Handled => 0,
    };
    if bytes > limits.reply_bytes as usize {
        let message =
            format!("the recipe replies with {bytes} bytes, {} are allowed", limits.reply_bytes);
        return Err(Fault::new(RecipeFaultKind::OverLimit, message));
    }
    Ok(end)
}

/// Bytes of a refusal, whose code is a name for programs.
pub(crate) fn failure_bytes(failure: &RecipeFailure) -> Result<usize, Fault> {
    if failure.code.len() > FAILURE_CODE_BYTES_MAX {
        let message = format!(
            "the recipe refuses with a code of {} bytes, {FAILURE_CODE_BYTES_MAX} are allowed",
            failure.code.len()
        );
        return Err(Fault::new(RecipeFaultKind::OverLimit, message));
    }
    Ok(failure.code.len() + failure.message.len() + failure.detail.len())
}
