//! One server without a network: a machine, its outstanding changes, and the real executor.
//!
//! Comes in: requests of sessions, and what time it is. Goes out: their replies, and figures of every
//! run. Invariant: every call is run a second time before it is applied, as a follower that verifies
//! would, and both runs agree. For tests: what a test cannot mean panics.

use quorate_machine::{
    ComponentStatus, ConnectionOrigin, Identity, Machine, Outstanding, Prepared, RecipeCall,
    RecipeEnd, RecipeEvent, RecipeExecutor, RecipeFailure, RecipeFault, RecipeRun, RecipeView,
    Request, Stamp, Verdict,
};
use quorate_recipe_host::{Catalogue, CompiledRecipe, Compiler, WasmExecutor, component_digest};
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
pub struct OneServer {
    /// The state.
    pub machine: Machine,
    outstanding: Outstanding,
    /// What runs the components.
    pub executor: WasmExecutor,
    catalogue: Arc<Catalogue>,
    /// Whether calls are run a second time before they are applied.
    pub verifying: bool,
    /// The clock: milliseconds since 1970.
    pub time_ms: u64,
    last: Zxid,
    /// Every run but those that verify, in order.
    pub runs: Vec<RunFigures>,
    /// Components that need no compilation any more.
    pub compiled: BTreeMap<ComponentDigest, CompiledRecipe>,
    sessions: BTreeMap<SessionId, Client>,
    /// Everything answered, by session and sequence number, in order.
    pub replies: BTreeMap<(SessionId, u64), Vec<Outcome>>,
    /// The same in the order in which it was answered.
    pub answered: Vec<(SessionId, u64, Outcome)>,
}

#[derive(Debug)]
struct Client {
    epoch: Zxid,
    sequence: u64,
    identity: Identity,
}

/// One run of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFigures {
    /// The operation, or the event in brackets.
    pub name: String,
    /// How long it took.
    pub time: Duration,
    /// What it cost.
    pub fuel: u64,
    /// The refusal of an event handler.
    pub handler_refused: Option<RecipeFailure>,
}

/// Takes the figures of every run.
struct Metered<'a> {
    executor: &'a mut WasmExecutor,
    runs: &'a mut Vec<RunFigures>,
}

impl RecipeExecutor for Metered<'_> {
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
        let (started, fuel_before) = (Instant::now(), self.executor.fuel_used());
        let ended = self.executor.run(component, run, limits, view);
        // The refusal of any other event is that of the request it belongs to.
        let is_told = !matches!(
            run,
            RecipeRun::Event {
                event: RecipeEvent::Mounted
                    | RecipeEvent::ObjectCreated
                    | RecipeEvent::ConfigChanged(_),
                ..
            }
        );
        let handler_refused = match (&run, &ended) {
            (RecipeRun::Event { .. }, Ok(RecipeEnd::Refused(failure))) if is_told => {
                Some(failure.clone())
            }
            _ => None,
        };
        let (time, fuel) = (started.elapsed(), self.executor.fuel_used() - fuel_before);
        self.runs.push(RunFigures { name: name_of(&run), time, fuel, handler_refused });
        ended
    }
}

fn name_of(run: &RecipeRun<'_>) -> String {
    let event = match run {
        RecipeRun::Invoke { operation, .. } => return (*operation).to_owned(),
        RecipeRun::Migrate { .. } => "migrate",
        RecipeRun::Event { event, .. } => match event {
            RecipeEvent::Mounted => "mounted",
            RecipeEvent::ObjectCreated => "object created",
            RecipeEvent::ConfigChanged(_) => "configuration changed",
            RecipeEvent::SessionClosed(_) => "session closed",
            RecipeEvent::Timer(_) => "timer",
            RecipeEvent::TicketExpired { .. } => "ticket expired",
            RecipeEvent::TicketCancelled { .. } => "ticket cancelled",
            RecipeEvent::ZnodeChanged(_) => "znode changed",
        },
    };
    format!("({event})")
}

/// A path that a test wrote.
///
/// # Panics
/// The text is none.
#[must_use]
pub fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

impl Default for OneServer {
    fn default() -> OneServer {
        OneServer::new()
    }
}

impl OneServer {
    /// A server with nothing but the root.
    #[must_use]
    pub fn new() -> OneServer {
        let catalogue = Arc::new(Catalogue::new());
        OneServer {
            machine: Machine::with_limits(Limits::PRODUCTION),
            outstanding: Outstanding::new(),
            executor: WasmExecutor::new(Arc::clone(&catalogue)),
            catalogue,
            verifying: true,
            time_ms: 1_000_000,
            last: Zxid(0),
            runs: Vec::new(),
            compiled: BTreeMap::new(),
            sessions: BTreeMap::new(),
            replies: BTreeMap::new(),
            answered: Vec::new(),
        }
    }

    /// A server with this component mounted at `mount`, and one session.
    #[must_use]
    pub fn with_recipe(component: &[u8], mount: &str) -> (OneServer, SessionId) {
        let mut server = OneServer::new();
        let session = server.open("tester", 30_000);
        let digest = server.install(session, component);
        server.mount(session, (mount, digest), &[]).expect("the recipe is mounted");
        (server, session)
    }

    /// Opens a session.
    pub fn open(&mut self, identity: &str, timeout_ms: u32) -> SessionId {
        let origin = ConnectionOrigin { server: ServerId(1), connection: self.last.0 };
        let identity = Identity::named(identity);
        let request = Request::OpenSession {
            origin,
            password: [7; 16],
            timeout_ms,
            identity: identity.clone(),
        };
        let refused = self.submit(request);
        assert_eq!(refused, None, "a session is opened");
        // A session's number is that of the transaction that opened it.
        let session = SessionId(self.last.0);
        let granted = self.sessions.get_mut(&session).expect("the session just opened is known");
        granted.identity = identity;
        session
    }

    /// Uploads and installs a component.
    ///
    /// # Panics
    /// It cannot be a recipe.
    pub fn install(&mut self, session: SessionId, component: &[u8]) -> ComponentDigest {
        const CHUNK_BYTES: usize = 256 << 10;
        let digest = component_digest(component);
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

    /// Mounts an installed component, or alters its mount.
    ///
    /// # Errors
    /// The refusal.
    pub fn mount(
        &mut self,
        session: SessionId,
        (mount, digest): (&str, ComponentDigest),
        config: &[u8],
    ) -> Outcome {
        let (path, config) = (path(mount), config.to_vec().into());
        self.send(session, Operation::Mount { path, digest, config, open: false, fuel: None })
    }

    /// Leaves numbers out, so that the next transaction gets this one.
    ///
    /// # Panics
    /// It was given already.
    pub fn skip_to(&mut self, next: Zxid) {
        assert!(self.last < next, "{next} was given already");
        self.last = Zxid(next.0 - 1);
    }

    /// Sends a write and gives its first answer.
    ///
    /// # Errors
    /// The refusal.
    pub fn send(&mut self, session: SessionId, operation: Operation) -> Outcome {
        self.sessions.get_mut(&session).expect("an open session").sequence += 1;
        let sequence = self.sequence(session);
        self.send_as(session, sequence, operation)
    }

    /// Sends a write under a sequence number, perhaps again.
    ///
    /// # Errors
    /// The refusal.
    pub fn send_as(&mut self, session: SessionId, sequence: u64, operation: Operation) -> Outcome {
        let client = &self.sessions[&session];
        let request = Request::Client {
            session,
            epoch: client.epoch,
            sequence,
            // A client that has its last hundred replies still on the way.
            oldest_unreplied: sequence.saturating_sub(100),
            acknowledged: Vec::new(),
            identity: client.identity.clone(),
            operation,
        };
        if let Some(answer) = self.submit(request) {
            return answer;
        }
        let replies = self.replies.get(&(session, sequence)).expect("the origin is answered");
        replies.first().expect("with one answer at least").clone()
    }

    /// Makes a call; the object is an absolute path.
    ///
    /// # Errors
    /// The refusal.
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

    /// Makes a query.
    ///
    /// # Errors
    /// The refusal.
    pub fn query(
        &mut self,
        session: SessionId,
        (object, operation): (&str, &str),
        arguments: &[u8],
    ) -> Outcome {
        let identity = &self.sessions[&session].identity;
        let object = path(object);
        let call = RecipeCall { object: &object, operation, arguments, session, identity };
        let mut executor = Metered { executor: &mut self.executor, runs: &mut self.runs };
        self.machine.query(&mut executor, call)
    }

    /// Lets time pass up to `end_ms`; what falls due fires at its time.
    pub fn advance_to(&mut self, end_ms: u64) {
        while let Some(at_ms) = self.machine.next_deadline_ms().filter(|at_ms| *at_ms <= end_ms) {
            self.time_ms = self.time_ms.max(at_ms);
            self.submit(Request::FireDue);
        }
        self.time_ms = end_ms;
    }

    /// The number of the session's last request.
    #[must_use]
    pub fn sequence(&self, session: SessionId) -> u64 {
        self.sessions[&session].sequence
    }

    /// The children of a znode, in order of name; none if it is not there.
    #[must_use]
    pub fn children(&self, of: &str) -> Vec<String> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let operation =
                Operation::Children { path: path(of), after, limit: None, watch: false };
            match self.machine.read(&Identity::named("tester"), &operation) {
                Ok(Reply::Children(more_names, more, _)) => {
                    names.extend(more_names);
                    after = names.last().cloned();
                    if !more {
                        return names;
                    }
                }
                Err(_) => return names,
                Ok(other) => panic!("{other:?} answers a children read"),
            }
        }
    }

    /// Prepares, verifies, applies; gives the answer if there is no transaction.
    fn submit(&mut self, request: Request) -> Option<Outcome> {
        let zxid = self.last.next();
        let stamp = Stamp { zxid, time_ms: self.time_ms };
        let mut executor = Metered { executor: &mut self.executor, runs: &mut self.runs };
        let transaction =
            match self.outstanding.prepare(&self.machine, &mut executor, stamp, request) {
                Prepared::Transaction(transaction) => transaction,
                Prepared::Answer(outcome) => return Some(outcome),
                Prepared::AlreadyParked(ticket) => return Some(Ok(Reply::Parked(ticket))),
                other => panic!("{other:?} was not expected"),
            };
        if self.verifying {
            let verdict = self.machine.verify(&mut self.executor, zxid, &transaction);
            assert!(
                matches!(verdict, Verdict::Agrees | Verdict::NotACall),
                "the recipe is not deterministic, a second run differs: {verdict:?}"
            );
        }
        self.last = zxid;
        let applied = self.machine.apply(zxid, &transaction);
        self.outstanding.applied(zxid);
        for connection in applied.connections {
            let grant = connection.outcome.expect("the session is granted");
            let client = Client { epoch: grant.epoch, sequence: 0, identity: Identity::default() };
            self.sessions.insert(grant.session, client);
        }
        for reply in applied.replies {
            let key = (reply.session, reply.sequence);
            self.replies.entry(key).or_default().push(reply.outcome.clone());
            self.answered.push((reply.session, reply.sequence, reply.outcome));
        }
        for digest in applied.components_completed {
            self.compile(digest);
        }
        None
    }

    fn compile(&mut self, digest: ComponentDigest) {
        let bytes = self.machine.component_bytes(&digest).expect("it is complete");
        let compiled = match self.compiled.get(&digest) {
            Some(compiled) => Ok(compiled.clone()),
            None => COMPILER.compile(&digest, &bytes).map_err(|error| error.to_string()),
        };
        if let Ok(compiled) = &compiled {
            self.compiled.insert(digest, compiled.clone());
        }
        self.catalogue.insert(digest, compiled);
    }
}
