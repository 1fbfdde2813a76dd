//! A recipe's component on one server, as a scenario drives it.
//!
//! Invariant: from the mount on, numbers and time are those that every stage counts, see
//! `quorate-recipe-scenario`. What has to be there before, a session of the operator's and the
//! uploaded component, takes numbers below.

use crate::one_server::{OneServer, path};
use quorate_machine::Identity;
use quorate_recipe_host::CompiledRecipe;
use quorate_recipe_scenario::{
    Answer, CallId, Happened, MOUNT_PATH, MOUNT_ZXID, Refused, SESSION_TIMEOUT_MS, START_MS, Stage,
    Znode,
};
use quorate_types::recipe::OperationKind;
use quorate_types::{
    ComponentDigest, ErrorCode, Operation, Outcome, Refusal, Reply, SessionId, Zxid,
};
use std::collections::{BTreeMap, BTreeSet};

/// Queries have no sequence number; theirs begin here.
const FIRST_QUERY: CallId = 1 << 32;

/// See the file.
pub(crate) struct WasmStage {
    pub(crate) server: OneServer,
    operator: SessionId,
    /// Two builds of the recipe; the first is in charge.
    builds: [ComponentDigest; 2],
    config: Vec<u8>,
    calls: BTreeMap<(u64, CallId), Operation>,
    parked: BTreeSet<(u64, CallId)>,
    queries: u64,
    runs_told: usize,
}

impl WasmStage {
    /// A server that knows the component. `compiled`: what was compiled before.
    pub(crate) fn new(
        component: &[u8],
        compiled: BTreeMap<ComponentDigest, CompiledRecipe>,
    ) -> WasmStage {
        let mut server = OneServer::new();
        server.time_ms = START_MS;
        server.compiled = compiled;
        let operator = server.open("operator", SESSION_TIMEOUT_MS);
        let builds = [
            server.install(operator, component),
            server.install(operator, &another_build(component)),
        ];
        server.skip_to(Zxid(MOUNT_ZXID));
        let (calls, parked) = (BTreeMap::new(), BTreeSet::new());
        let (config, queries, runs_told) = (Vec::new(), 0, server.runs.len());
        WasmStage { server, operator, builds, config, calls, parked, queries, runs_told }
    }

    fn put_mount(&mut self, digest: ComponentDigest, config: &[u8]) -> Result<(), Refused> {
        let done = self.server.mount(self.operator, (MOUNT_PATH, digest), config);
        done.map(drop).map_err(refused)
    }

    fn collect_znodes(&self, below: &str, into: &mut Vec<Znode>) {
        for name in self.server.children(below) {
            let full = format!("{below}/{name}");
            let get = Operation::Get { path: path(&full), watch: false };
            let read = self.server.machine.read(&Identity::named("operator"), &get);
            let Ok(Reply::Data(data, stat)) = read else { continue };
            into.push(Znode {
                path: full[MOUNT_PATH.len() + 1..].to_owned(),
                data: data.to_vec(),
                owner: stat.ephemeral_owner.map(|owner| owner.0),
                version: stat.version,
                created: stat.czxid.0,
                modified: stat.mzxid.0,
            });
            self.collect_znodes(&full, into);
        }
    }
}

/// The same component with a section that nobody reads: other bytes, another digest.
fn another_build(component: &[u8]) -> Vec<u8> {
    const SECTION: [u8; 9] = [0, 7, 5, b'b', b'u', b'i', b'l', b'd', 2];
    [component, &SECTION].concat()
}

/// A trap's words differ from a panic's, so they are left out.
fn refused(refusal: Refusal) -> Refused {
    let code = refusal.recipe_code.unwrap_or_else(|| refusal.code.name().to_owned());
    let message = match refusal.code {
        ErrorCode::RecipeTrapped => String::from("the recipe trapped"),
        _ => refusal.message,
    };
    Refused { code, message, detail: refusal.detail.to_vec() }
}

fn answer_of(outcome: Outcome) -> Answer {
    match outcome {
        Ok(Reply::Called(reply)) => Answer::Done(reply.to_vec()),
        Ok(Reply::Parked(_)) => Answer::Parked,
        Ok(other) => panic!("{other:?} answers a call"),
        Err(refusal) => Answer::Refused(refused(refusal)),
    }
}

impl Stage for WasmStage {
    fn mount(&mut self, config: &[u8]) -> Result<(), Refused> {
        self.configure(config)
    }

    fn open(&mut self, identity: &str) -> u64 {
        self.server.open(identity, SESSION_TIMEOUT_MS).0
    }

    fn call(
        &mut self,
        session: u64,
        object: &str,
        operation: &str,
        arguments: &[u8],
    ) -> (CallId, Answer) {
        let object = match object {
            "" => MOUNT_PATH.to_owned(),
            name => format!("{MOUNT_PATH}/{name}"),
        };
        let (object, session) = (path(&object), SessionId(session));
        if self.server.machine.operation_kind(&object, operation) == Ok(OperationKind::Query) {
            let outcome = self.server.query(session, (object.as_str(), operation), arguments);
            self.queries += 1;
            return (FIRST_QUERY + self.queries, answer_of(outcome));
        }
        let (operation, arguments) = (operation.to_owned(), arguments.to_vec().into());
        let request = Operation::Call { object, operation, arguments };
        let answer = answer_of(self.server.send(session, request.clone()));
        let call = (session.0, self.server.sequence(session));
        self.calls.insert(call, request);
        if answer == Answer::Parked {
            self.parked.insert(call);
        }
        (call.1, answer)
    }

    fn retry(&mut self, session: u64, call: CallId) -> Answer {
        match self.calls.get(&(session, call)).cloned() {
            Some(request) => answer_of(self.server.send_as(SessionId(session), call, request)),
            None => Answer::Refused(Refused {
                code: String::from("unknown-call"),
                message: String::from("only commands are made again"),
                detail: Vec::new(),
            }),
        }
    }

    fn cancel(&mut self, session: u64, call: CallId) {
        let cancelled =
            self.server.send(SessionId(session), Operation::CancelCall { sequence: call });
        cancelled.expect("a cancel is not refused");
    }

    fn close(&mut self, session: u64) {
        let closed = self.server.send(SessionId(session), Operation::CloseSession);
        closed.expect("the end of a session is not refused");
        self.parked.retain(|(owner, _)| *owner != session);
    }

    fn advance(&mut self, ms: u64) {
        self.server.advance_to(self.server.time_ms + ms);
    }

    fn jump(&mut self, ms: u64) {
        self.server.time_ms += ms;
        self.server.advance_to(self.server.time_ms);
    }

    fn configure(&mut self, config: &[u8]) -> Result<(), Refused> {
        self.put_mount(self.builds[0], config)?;
        self.config = config.to_vec();
        Ok(())
    }

    fn upgrade(&mut self) -> Result<(), Refused> {
        let config = self.config.clone();
        self.put_mount(self.builds[1], &config)?;
        self.builds.reverse();
        Ok(())
    }

    fn znodes(&self) -> Vec<Znode> {
        let mut znodes = Vec::new();
        self.collect_znodes(MOUNT_PATH, &mut znodes);
        znodes
    }

    fn take_happened(&mut self) -> Vec<Happened> {
        let mut happened = Vec::new();
        for (session, sequence, outcome) in std::mem::take(&mut self.server.answered) {
            if outcome.as_ref().is_ok_and(|reply| matches!(reply, Reply::Parked(_))) {
                continue;
            }
            if self.parked.remove(&(session.0, sequence)) {
                let answer = match answer_of(outcome) {
                    Answer::Done(reply) => Ok(reply),
                    Answer::Refused(refused) => Err(refused),
                    Answer::Parked => unreachable!("passed over above"),
                };
                happened.push(Happened::Pushed { session: session.0, call: sequence, answer });
            }
        }
        let told = &self.server.runs[self.runs_told..];
        for failure in told.iter().filter_map(|run| run.handler_refused.clone()) {
            happened.push(Happened::HandlerRefused(Refused {
                code: failure.code,
                message: failure.message,
                detail: failure.detail.to_vec(),
            }));
        }
        self.runs_told = self.server.runs.len();
        happened
    }
}
