//! Single runs of a component's operations, to see what one costs: `quorate recipe inspect`.
//!
//! Comes in: a compiled component with its bytes, a configuration, arguments. Goes out: fuel, and
//! the answer a client would get. Invariant: a run is prepared by the machine and the executor of a
//! server, on an object that holds nothing, and is not applied to the state that the next run sees.
//! Must never: be taken for a bound; other arguments and other state take other fuel.

use crate::catalogue::Catalogue;
use crate::compiler::CompiledRecipe;
use crate::executor::WasmExecutor;
use bytes::Bytes;
use quorate_machine::{
    Applied, ComponentStatus, ConnectionOrigin, Identity, Machine, Outstanding, Prepared,
    RecipeCall, RecipeEnd, RecipeExecutor, RecipeFault, RecipeRun, RecipeView, Request, Stamp,
};
use quorate_types::limits::Limits;
use quorate_types::recipe::{OperationKind, RecipeLimits};
use quorate_types::{
    ComponentDigest, ErrorCode, Operation, Outcome, RecipeSignature, Refusal, Reply, ServerId,
    SessionId, ZnodePath, Zxid,
};
use std::sync::Arc;

/// Who calls.
const CALLER: &str = "sample";
/// Where the component is mounted.
const MOUNT: &str = "/sample";
/// Any moment will do, as long as it is the same in every run; this one is in November 2023.
const TIME_MS: u64 = 1_700_000_000_000;

/// What one run came to.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Fuel of the operation alone, without that of the `object-created` event before a command.
    pub fuel: u64,
    /// What a client would be told.
    pub outcome: Outcome,
}

/// A machine with one session and the component mounted.
pub struct SampleMount {
    machine: Machine,
    catalogue: Arc<Catalogue>,
    session: SessionId,
    epoch: Zxid,
    sequence: u64,
}

impl SampleMount {
    /// Mounts the component with this configuration: CBOR, empty for its defaults.
    ///
    /// # Errors
    /// The refusal of the mount, as a server would give it.
    ///
    /// # Panics
    /// When `bytes` are not those of the component.
    pub fn new(recipe: &CompiledRecipe, bytes: &[u8], config: Bytes) -> Result<Self, Refusal> {
        let digest = recipe.digest();
        let catalogue = Arc::new(Catalogue::new());
        catalogue.insert(digest, Ok(recipe.clone()));
        let machine = Machine::with_limits(Limits::PRODUCTION);
        let (session, epoch) = (SessionId(0), Zxid(0));
        let mut mount = SampleMount { machine, catalogue, session, epoch, sequence: 0 };
        mount.open_session();
        let total_bytes = bytes.len() as u32;
        let mut offset = 0;
        for part in bytes.chunks(Limits::PRODUCTION.component_chunk_bytes_max as usize) {
            let bytes = Bytes::copy_from_slice(part);
            let upload =
                Operation::UploadComponent { digest, total_bytes, offset, bytes, signature: None };
            mount.change(upload)?;
            offset += part.len() as u32;
        }
        mount.change(Operation::InstallRecipe { digest, signature: None })?;
        let path = ZnodePath::parse(MOUNT).expect("it is a path");
        mount.change(Operation::Mount { path, digest, config, open: false, fuel: None })?;
        Ok(mount)
    }

    /// Runs an operation on an object that holds nothing.
    #[must_use]
    pub fn sample(&self, operation: &str, arguments: &[u8]) -> Sample {
        let mut executor = self.executor();
        let object = ZnodePath::parse(&format!("{MOUNT}/object")).expect("it is a path");
        let outcome = match self.machine.operation_kind(&object, operation) {
            Ok(OperationKind::Query) => {
                let identity = Identity::named(CALLER);
                let session = self.session;
                let call = RecipeCall {
                    object: &object,
                    operation,
                    arguments,
                    session,
                    identity: &identity,
                };
                self.machine.query(&mut executor, call)
            }
            Ok(OperationKind::Command) => {
                let operation = operation.to_owned();
                let arguments = Bytes::copy_from_slice(arguments);
                let call = Operation::Call { object, operation, arguments };
                let request = self.request(self.sequence + 1, call);
                self.answer(&mut self.machine.clone(), &mut executor, request)
            }
            Err(refusal) => Err(refusal),
        };
        Sample { fuel: executor.invoke_fuel, outcome }
    }

    fn executor(&self) -> Metered {
        Metered { inner: WasmExecutor::new(Arc::clone(&self.catalogue)), invoke_fuel: 0 }
    }

    fn open_session(&mut self) {
        let origin = ConnectionOrigin { server: ServerId(1), connection: 1 };
        let identity = Identity::named(CALLER);
        let request =
            Request::OpenSession { origin, password: [0; 16], timeout_ms: 30_000, identity };
        let mut machine = self.machine.clone();
        let applied = apply(&mut machine, &mut self.executor(), request).ok();
        let connection = applied.and_then(|applied| applied.connections.into_iter().next());
        let grant = connection.and_then(|connection| connection.outcome.ok());
        let grant = grant.expect("an empty machine grants a session");
        (self.machine, self.session, self.epoch) = (machine, grant.session, grant.epoch);
    }

    /// Makes a change that stays.
    fn change(&mut self, operation: Operation) -> Result<(), Refusal> {
        self.sequence += 1;
        let request = self.request(self.sequence, operation);
        let mut machine = self.machine.clone();
        self.answer(&mut machine, &mut self.executor(), request)?;
        self.machine = machine;
        Ok(())
    }

    fn request(&self, sequence: u64, operation: Operation) -> Request {
        Request::Client {
            session: self.session,
            epoch: self.epoch,
            sequence,
            oldest_unreplied: sequence,
            acknowledged: Vec::new(),
            identity: Identity::named(CALLER),
            operation,
        }
    }

    fn answer(
        &self,
        machine: &mut Machine,
        executor: &mut Metered,
        request: Request,
    ) -> Result<Reply, Refusal> {
        let applied = apply(machine, executor, request)?;
        let own = applied.replies.into_iter().find(|reply| reply.session == self.session);
        own.map_or_else(|| Err(unanswered()), |reply| reply.outcome)
    }
}

fn unanswered() -> Refusal {
    Refusal::new(ErrorCode::RecipeLoading, "the request has no answer of its own")
}

/// Prepares and applies, as one server would that is alone.
fn apply(
    machine: &mut Machine,
    executor: &mut Metered,
    request: Request,
) -> Result<Applied, Refusal> {
    let zxid = machine.applied().next();
    let stamp = Stamp { zxid, time_ms: TIME_MS };
    match Outstanding::new().prepare(machine, executor, stamp, request) {
        Prepared::Transaction(transaction) => Ok(machine.apply(zxid, &transaction)),
        Prepared::Answer(Err(refusal)) => Err(refusal),
        Prepared::Answer(Ok(_)) | Prepared::AlreadyParked(_) | Prepared::Nothing => {
            Err(unanswered())
        }
    }
}

/// Takes the fuel of operations.
struct Metered {
    inner: WasmExecutor,
    invoke_fuel: u64,
}

impl RecipeExecutor for Metered {
    fn vouch(
        &mut self,
        component: &ComponentDigest,
        signature: Option<&RecipeSignature>,
    ) -> Result<(), String> {
        self.inner.vouch(component, signature)
    }

    fn status(&self, component: &ComponentDigest) -> ComponentStatus {
        self.inner.status(component)
    }

    fn run(
        &mut self,
        component: &ComponentDigest,
        run: RecipeRun<'_>,
        limits: &RecipeLimits,
        view: &mut RecipeView<'_>,
    ) -> Result<RecipeEnd, RecipeFault> {
        let before = self.inner.fuel_used();
        let ended = self.inner.run(component, run, limits, view);
        if matches!(run, RecipeRun::Invoke { .. }) {
            self.invoke_fuel = self.inner.fuel_used() - before;
        }
        ended
    }
}
