//! One server without a network: a machine, its outstanding changes, and the real executor.
//!
//! Comes in: requests of sessions. Goes out: their replies. Every transaction is verified by a
//! second run before it is applied, as a follower would.

use quorate_machine::{
    ComponentStatus, ConnectionOrigin, Identity, Machine, Outstanding, Prepared, RecipeEnd,
    RecipeExecutor, RecipeFault, RecipeRun, RecipeView, Request, Stamp, Verdict,
};
use quorate_recipe_host::{Catalogue, Compiler, WasmExecutor, component_digest};
use quorate_types::limits::Limits;
use quorate_types::recipe::RecipeLimits;
use quorate_types::{
    ComponentDigest, Operation, Outcome, RecipeSignature, Reply, ServerId, SessionId, ZnodePath,
    Zxid,
};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// One engine for all tests of a process.
pub static COMPILER: LazyLock<Compiler> = LazyLock::new(|| Compiler::new().expect("an engine"));

/// See the file.
pub struct Stage {
    pub machine: Machine,
    pub outstanding: Outstanding,
    pub executor: WasmExecutor,
    catalogue: Arc<Catalogue>,
    /// Whether transactions are run a second time before they are applied.
    pub verifying: bool,
    pub time_ms: u64,
    last: Zxid,
    /// How long runs took while preparing, by operation.
    pub run_times: BTreeMap<String, Vec<Duration>>,
    /// What runs cost while preparing, in order; for whoever wants to know to take.
    pub run_costs: Vec<RunCost>,
    sessions: BTreeMap<SessionId, (Zxid, u64)>,
    /// Everything answered, by session and sequence number, in order.
    pub replies: BTreeMap<(SessionId, u64), Vec<Outcome>>,
}

/// What one run of a recipe cost.
#[derive(Clone, Debug)]
pub struct RunCost {
    /// The operation's or the event's name.
    pub name: String,
    pub fuel: u64,
    /// Functions of the contract that it called.
    pub host_calls: u64,
    /// How it broke, if it did: an event that breaks is undone in silence.
    pub fault: Option<String>,
}

/// Takes time and cost of every run, by the name of its operation.
struct Timed<'a> {
    executor: &'a mut WasmExecutor,
    run_times: &'a mut BTreeMap<String, Vec<Duration>>,
    run_costs: &'a mut Vec<RunCost>,
}

impl RecipeExecutor for Timed<'_> {
    fn fuel_used(&self) -> u64 {
        self.executor.fuel_used()
    }

    fn vouch(
        &mut self,
        component: &ComponentDigest,
        signature: Option<&RecipeSignature>,
    ) -> Result<(), String> {
        self.executor.vouch(component, signature)
    }

    fn status(&self, component: &ComponentDigest) -> ComponentStatus {
        self.executor.status(component)
    }

    fn run(
        &mut self,
        component: &ComponentDigest,
        run: RecipeRun<'_>,
        limits: &RecipeLimits,
        view: &mut RecipeView<'_>,
    ) -> Result<RecipeEnd, RecipeFault> {
        let (fuel, host_calls) = (self.executor.fuel_used(), self.executor.host_calls());
        let started = Instant::now();
        let ended = self.executor.run(component, run, limits, view);
        let time = started.elapsed();
        let name = run.name().to_owned();
        self.run_costs.push(RunCost {
            name: name.clone(),
            fuel: self.executor.fuel_used() - fuel,
            host_calls: self.executor.host_calls() - host_calls,
            fault: ended.as_ref().err().map(|fault| format!("{:?}: {}", fault.kind, fault.message)),
        });
        self.run_times.entry(name).or_default().push(time);
        ended
    }
}

pub fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).expect("a path")
}

impl Stage {
    pub fn new() -> Stage {
        Stage::with_limits(Limits::PRODUCTION)
    }

    pub fn with_limits(limits: Limits) -> Stage {
        let catalogue = Arc::new(Catalogue::new());
        Stage {
            machine: Machine::with_limits(limits),
            outstanding: Outstanding::new(),
            executor: WasmExecutor::new(Arc::clone(&catalogue)),
            catalogue,
            verifying: true,
            time_ms: 1_000_000,
            last: Zxid(0),
            run_times: BTreeMap::new(),
            run_costs: Vec::new(),
            sessions: BTreeMap::new(),
            replies: BTreeMap::new(),
        }
    }

    /// A server with this component mounted at `mount`, and one session.
    pub fn with_recipe(component: &[u8], mount: &str) -> (Stage, SessionId) {
        let mut stage = Stage::new();
        let session = stage.open();
        stage.install(session, component, mount);
        (stage, session)
    }

    pub fn open(&mut self) -> SessionId {
        let origin = ConnectionOrigin { server: ServerId(1), connection: self.last.0 };
        let identity = Identity::named("tester");
        let request =
            Request::OpenSession { origin, password: [7; 16], timeout_ms: 30_000, identity };
        let refused = self.submit(request);
        assert_eq!(refused, None, "a session is opened");
        let (session, (epoch, _)) = self.sessions.last_key_value().expect("it is known");
        assert_eq!(epoch.0, self.last.0, "the newest session is the one just opened");
        *session
    }

    /// Installs a component and mounts it.
    pub fn install(&mut self, session: SessionId, component: &[u8], mount: &str) {
        self.install_with(session, component, (mount, &[]));
    }

    /// Installs a component and mounts it with a configuration, CBOR.
    pub fn install_with(
        &mut self,
        session: SessionId,
        component: &[u8],
        (mount, config): (&str, &[u8]),
    ) {
        let digest = self.upload(session, component);
        let config = config.to_vec().into();
        let mounting =
            Operation::Mount { path: path(mount), digest, config, open: false, fuel: None };
        self.send(session, mounting).expect("the recipe is mounted");
    }

    /// Installs a component.
    pub fn upload(&mut self, session: SessionId, component: &[u8]) -> ComponentDigest {
        let digest = component_digest(component);
        const CHUNK_BYTES: usize = 256 << 10;
        for (position, chunk) in component.chunks(CHUNK_BYTES).enumerate() {
            let upload = Operation::UploadComponent {
                digest,
                total_bytes: component.len() as u32,
                offset: (position * CHUNK_BYTES) as u32,
                bytes: chunk.to_vec().into(),
                signature: None,
            };
            self.send(session, upload).expect("the chunk is taken");
        }
        self.send(session, Operation::InstallRecipe { digest, signature: None })
            .expect("the recipe is installed");
        digest
    }

    /// Mounts what is installed, or changes a mount.
    pub fn mount(&mut self, session: SessionId, digest: ComponentDigest, mount: &str) -> Outcome {
        let (path, config) = (path(mount), Vec::new().into());
        self.send(session, Operation::Mount { path, digest, config, open: false, fuel: None })
    }

    /// Fires what is due so many milliseconds later, until nothing more is.
    pub fn advance(&mut self, time_ms: u64) -> u32 {
        self.time_ms += time_ms;
        let mut fired = 0;
        while self.outstanding.next_deadline_ms(&self.machine).is_some_and(|at| at <= self.time_ms)
        {
            self.submit(Request::FireDue);
            fired += 1;
        }
        fired
    }

    /// Sends a write and gives its first answer.
    pub fn send(&mut self, session: SessionId, operation: Operation) -> Outcome {
        let (epoch, sequence) = self.sessions.get_mut(&session).expect("an open session");
        *sequence += 1;
        let (epoch, sequence) = (*epoch, *sequence);
        let request = Request::Client {
            session,
            epoch,
            sequence,
            oldest_unreplied: sequence.saturating_sub(100),
            acknowledged: Vec::new(),
            identity: Identity::named("tester"),
            operation,
        };
        if let Some(answer) = self.submit(request) {
            return answer;
        }
        let replies = self.replies.get(&(session, sequence)).expect("the origin is answered");
        replies.first().expect("with one answer at least").clone()
    }

    pub fn call(
        &mut self,
        session: SessionId,
        (object, operation): (&str, &str),
        arguments: &[u8],
    ) -> Outcome {
        let call = Operation::Call {
            object: path(object),
            operation: operation.to_owned(),
            arguments: arguments.to_vec().into(),
        };
        self.send(session, call)
    }

    /// The number of the session's last request.
    pub fn sequence(&self, session: SessionId) -> u64 {
        self.sessions[&session].1
    }

    /// The number of the last transaction.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// Ends a session as a leader does that has not heard of it.
    pub fn expire(&mut self, session: SessionId) {
        assert_eq!(self.submit(Request::ExpireSession { session }), None, "it ends");
        self.sessions.remove(&session);
    }

    pub fn children(&self, of: &str) -> Vec<String> {
        let operation =
            Operation::Children { path: path(of), after: None, limit: None, watch: false };
        match self.machine.read(&Identity::named("tester"), &operation) {
            Ok(Reply::Children(names, _, _)) => names,
            Err(_) => Vec::new(),
            Ok(other) => panic!("{other:?} answers a children read"),
        }
    }

    /// Prepares, verifies, applies; gives the answer if there is no transaction.
    fn submit(&mut self, request: Request) -> Option<Outcome> {
        let zxid = self.last.next();
        let stamp = Stamp { zxid, time_ms: self.time_ms };
        let mut executor = Timed {
            executor: &mut self.executor,
            run_times: &mut self.run_times,
            run_costs: &mut self.run_costs,
        };
        let transaction =
            match self.outstanding.prepare(&self.machine, &mut executor, stamp, request) {
                Prepared::Transaction(transaction) => transaction,
                Prepared::Answer(outcome) => return Some(outcome),
                Prepared::Nothing => return None,
                other => panic!("{other:?} was not expected"),
            };
        if self.verifying {
            let verdict = self.machine.verify(&mut self.executor, zxid, &transaction);
            assert!(matches!(verdict, Verdict::Agrees | Verdict::NotACall), "{verdict:?}");
        }
        self.last = zxid;
        let applied = self.machine.apply(zxid, &transaction);
        self.outstanding.applied(zxid);
        for connection in applied.connections {
            let grant = connection.outcome.expect("the session is granted");
            self.sessions.insert(grant.session, (grant.epoch, 0));
        }
        for reply in applied.replies {
            self.replies.entry((reply.session, reply.sequence)).or_default().push(reply.outcome);
        }
        for digest in applied.components_completed {
            let bytes = self.machine.component_bytes(&digest).expect("it is complete");
            let compiled = COMPILER.compile(&digest, &bytes).map_err(|error| error.to_string());
            self.catalogue.insert(digest, compiled);
        }
        None
    }
}
