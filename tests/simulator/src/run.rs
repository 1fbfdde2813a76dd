//! One run of one seed: preparation, work under trouble, and the proof that everything comes to rest.
//!
//! Comes in: a plan. Goes out: figures, or what went wrong. Invariant: the run is a function of the
//! plan and the components.

use crate::check::Checks;
use crate::executor::{Component, Recipes};
use crate::fault::Fault;
use crate::observation::Observation;
use crate::plan::Plan;
use crate::trouble::{Occurrences, Trouble};
use crate::work::{FOLDERS, LOCKS, LOOPING, TRAPPING, Worker, path};
use crate::world::{Counts, Violation, World};
use crate::zookeeper::work::ZooKeeperWorker;
use bytes::Bytes;
use quorate_types::request::{CreateMode, ReadLevel};
use quorate_types::{ErrorCode, Operation, ZnodeData, ZnodePath};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// How often the operator looks for servers that need a hand, once everything has healed.
const OPERATOR_LOOKS_MS: u64 = 400;

/// How a run failed: each kind has its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// An assertion of a server or client broke.
    Crash,
    /// A checker found a broken promise.
    Correctness,
    /// After every fault had ended, something did not come to rest.
    Liveness,
    /// The same seed ran differently a second time.
    Nondeterminism,
}

/// What went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    pub kind: FailureKind,
    pub violation: Violation,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub virtual_ms: u64,
    pub operations: u64,
    pub answered: u64,
    pub refused: u64,
    pub unknown: u64,
    pub entries: u64,
    pub sessions_lost: u64,
    pub counts: Counts,
    pub occurrences: Occurrences,
    pub judged: Vec<(&'static str, u64)>,
    pub sum: u64,
}

/// The end of a run.
#[derive(Clone, Debug)]
pub struct Report {
    pub figures: Figures,
    pub failure: Option<Failure>,
    /// The last things that clients saw before a failure.
    pub tail: Vec<String>,
}

impl Report {
    /// The same plan gave another sum over everything that it did.
    pub fn fail_as_nondeterministic(&mut self, second: u64) {
        let first = self.figures.sum;
        let text = format!("two runs differ: {first:016x} and {second:016x}");
        let at_ms = self.figures.virtual_ms;
        let violation = Violation { checker: "determinism", text, at_ms };
        self.failure = Some(Failure { kind: FailureKind::Nondeterminism, violation });
    }
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what a panic says for the report instead of printing it at once. Once per process.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        let text = format!("{info}");
        PANIC.with(|kept| *kept.borrow_mut() = Some(text));
    }));
}

/// What the last panic of this thread said.
pub(crate) fn take_panic() -> String {
    PANIC.with(|kept| kept.borrow_mut().take()).unwrap_or_default()
}

/// Runs a plan.
#[must_use]
pub fn run(plan: &Plan, recipes: &Arc<Recipes>) -> Report {
    run_with(plan, recipes, Checks::of(plan))
}

/// Runs a plan under these checkers.
#[must_use]
pub fn run_with(plan: &Plan, recipes: &Arc<Recipes>, checks: Checks) -> Report {
    let mut simulation = None;
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let world = World::new(plan.clone(), Arc::clone(recipes), checks);
        simulation.insert(Simulation::new(world)).go()
    }));
    let failure = match ended {
        Ok(failure) => failure,
        Err(_) => {
            let text = take_panic();
            let at_ms = simulation.as_ref().map_or(0, |simulation| simulation.world.now_ms);
            let violation = Violation { checker: "assertion", text, at_ms };
            Some(Failure { kind: FailureKind::Crash, violation })
        }
    };
    let Some(simulation) = simulation else {
        return Report { figures: Figures::default(), failure, tail: Vec::new() };
    };
    let tail = failure.as_ref().map_or(Vec::new(), |_| simulation.tail());
    Report { figures: simulation.figures(), failure, tail }
}

struct Simulation {
    world: World,
    workers: Vec<Worker>,
    zookeeper_workers: Vec<ZooKeeperWorker>,
    occurrences: Occurrences,
}

impl Simulation {
    fn new(mut world: World) -> Simulation {
        let (least_ms, most_ms) = world.plan.session_timeout_ms;
        for _ in 0..world.plan.clients {
            let timeout_ms = least_ms + world.choices.below(most_ms - least_ms + 1);
            world.add_client(timeout_ms);
        }
        world.clients[0].process.is_administrator = true;
        let trial = world.plan.trial.clone();
        let workers =
            (0..world.plan.clients).map(|client| Worker::new(client, trial.clone())).collect();
        for _ in 0..world.plan.zookeeper_clients {
            let timeout_ms = least_ms + world.choices.below(most_ms - least_ms + 1);
            world.add_zookeeper_client(timeout_ms);
        }
        let zookeeper_workers =
            (0..world.plan.zookeeper_clients).map(ZooKeeperWorker::new).collect();
        Simulation { world, workers, zookeeper_workers, occurrences: Occurrences::new() }
    }

    fn go(&mut self) -> Option<Failure> {
        let done = self.prepare().and_then(|()| self.work());
        done.err()
    }

    fn broken(&self) -> Result<(), Failure> {
        match &self.world.violation {
            None => Ok(()),
            Some(violation) => {
                Err(Failure { kind: FailureKind::Correctness, violation: violation.clone() })
            }
        }
    }

    fn stuck(&self, what: String) -> Failure {
        let at_ms = self.world.now_ms;
        let violation = Violation { checker: "liveness", text: what, at_ms };
        Failure { kind: FailureKind::Liveness, violation }
    }

    /// Long enough for elections, sessions and retries to have their turn several times.
    fn patience_ms(&self) -> u64 {
        let plan = &self.world.plan;
        (plan.timings.election_ms.1 * 40 + plan.session_timeout_ms.1 * 6).max(30_000)
    }

    /// Asks for one thing and waits for the answer.
    fn ask(&mut self, operation: Operation) -> Result<(), Failure> {
        loop {
            let id = self.world.ask(0, operation.clone(), ReadLevel::Linearizable, None);
            let ended = |world: &World| world.history.operation(id).ended.is_none();
            let patience_ms = self.patience_ms();
            let done = self.world.run_while(patience_ms, ended);
            self.broken()?;
            if !done {
                return Err(
                    self.stuck(format!("{operation:?} has no answer while nothing is wrong"))
                );
            }
            self.world.clients[0].ended.clear();
            let known = self.world.history.operation(id);
            let ending = known.ended.as_ref().expect("it was waited for");
            match &ending.outcome() {
                Some(Ok(_)) => return Ok(()),
                Some(Err(refusal)) if refusal.code == ErrorCode::NodeExists => return Ok(()),
                Some(Err(refusal)) if refusal.code == ErrorCode::RecipeLoading => {}
                Some(Err(refusal)) => return Err(self.stuck(format!("{operation:?}: {refusal}"))),
                // The session was lost: once more in the next.
                None => {}
            }
        }
    }

    fn prepare(&mut self) -> Result<(), Failure> {
        for folder in FOLDERS {
            self.ask(create(folder))?;
        }
        for folder in 0..4 {
            self.ask(create(&format!("/d/{folder}")))?;
        }
        let recipes = Arc::clone(&self.world.recipes);
        if let Some((trial, config)) = self.world.plan.trial.clone() {
            let (usual, upgraded) = recipes.editions(trial.name);
            self.install(usual)?;
            self.install(upgraded)?;
            return self.mount_with(trial.mount(), usual, config);
        }
        self.install(&recipes.lock)?;
        self.mount(LOCKS, &recipes.lock)?;
        if self.world.plan.has(Fault::Upgrade) {
            self.install(recipes.editions("lock").1)?;
        }
        if self.world.plan.has(Fault::RecipeFault) {
            self.install(&recipes.trapping)?;
            self.mount(TRAPPING, &recipes.trapping)?;
            self.install(&recipes.looping)?;
            self.mount(LOOPING, &recipes.looping)?;
        }
        Ok(())
    }

    fn install(&mut self, component: &Component) -> Result<(), Failure> {
        let digest = component.digest;
        let total_bytes = u32::try_from(component.bytes.len()).expect("components are small");
        let chunk_bytes = self.world.plan.limits.component_chunk_bytes_max as usize;
        for (place, part) in component.bytes.chunks(chunk_bytes).enumerate() {
            let offset = u32::try_from(place * chunk_bytes).expect("components are small");
            let bytes = Bytes::copy_from_slice(part);
            self.ask(Operation::UploadComponent {
                digest,
                total_bytes,
                offset,
                bytes,
                signature: None,
            })?;
        }
        self.ask(Operation::InstallRecipe { digest, signature: None })
    }

    fn mount(&mut self, at: &str, component: &Component) -> Result<(), Failure> {
        self.mount_with(path(at), component, Bytes::new())
    }

    fn mount_with(
        &mut self,
        path: ZnodePath,
        component: &Component,
        config: Bytes,
    ) -> Result<(), Failure> {
        let digest = component.digest;
        self.ask(Operation::Mount { path, digest, config, open: false, fuel: None })
    }

    fn work(&mut self) -> Result<(), Failure> {
        let mut trouble = Trouble::begin(&mut self.world);
        let until_ms = self.world.now_ms + self.world.plan.busy_ms;
        while self.world.now_ms < until_ms {
            let native_ms = self.workers.iter().map(Worker::due_ms);
            let zookeeper_ms = self.zookeeper_workers.iter().map(ZooKeeperWorker::due_ms);
            let due_ms = native_ms.chain(zookeeper_ms).min().unwrap_or(u64::MAX);
            // Answers are looked at soon after they come, whatever else there is to do.
            let soon_ms = self.world.now_ms + 1 + self.world.plan.pause_ms / 4;
            let next_ms = due_ms.min(trouble.due_ms()).min(soon_ms).min(until_ms);
            self.world.run_until_ms(next_ms.max(self.world.now_ms + 1));
            self.broken()?;
            trouble.act(&mut self.world);
            self.let_work(true, trouble.haste);
            self.broken()?;
        }
        trouble.end(&mut self.world);
        self.occurrences = std::mem::take(&mut trouble.occurrences);
        self.world.show(&Observation::Healed);
        self.broken()?;
        self.come_to_rest(&mut trouble)
    }

    fn let_work(&mut self, eager: bool, haste: u64) {
        for worker in &mut self.workers {
            worker.work(&mut self.world, eager, haste);
        }
        for worker in &mut self.zookeeper_workers {
            worker.work(&mut self.world, eager, haste);
        }
    }

    fn come_to_rest(&mut self, trouble: &mut Trouble) -> Result<(), Failure> {
        let until_ms = self.world.now_ms + self.patience_ms();
        let mut looks_ms = self.world.now_ms;
        while !(self.is_at_rest() && trouble.churn.is_at_rest()) {
            if self.world.now_ms >= until_ms {
                return Err(self.stuck(self.unrest()));
            }
            self.world.run_for(20);
            self.broken()?;
            trouble.tend_churn(&mut self.world);
            if self.world.now_ms >= looks_ms {
                looks_ms = self.world.now_ms + OPERATOR_LOOKS_MS;
                self.world.correct_contacts();
                self.world.start_stopped();
            }
            self.let_work(false, 1);
        }
        self.serve_once_more()?;
        // Long enough for the sessions of clients that are gone to end.
        self.world.run_for(self.world.plan.session_timeout_ms.1 * 5 / 4 + 10_000);
        self.broken()?;
        let level = |world: &World| !is_level(world);
        let patience_ms = self.patience_ms();
        if !self.world.run_while(patience_ms, level) {
            self.broken()?;
            return Err(self.stuck(format!("the servers do not become level: {}", self.unrest())));
        }
        self.world.show_rest();
        self.broken()
    }

    /// The healed cluster takes a write from every client.
    fn serve_once_more(&mut self) -> Result<(), Failure> {
        let asked: Vec<_> = (0..self.workers.len())
            .map(|client| {
                let (path, data) = (path("/q/last-"), ZnodeData::EMPTY);
                let mode = CreateMode::PersistentSequential;
                let operation = Operation::Create { path, data, mode, acl: None };
                self.world.ask(client, operation, ReadLevel::Linearizable, None)
            })
            .collect();
        let waits =
            |world: &World| asked.iter().any(|id| world.history.operation(*id).ended.is_none());
        let patience_ms = self.patience_ms();
        let done = self.world.run_while(patience_ms, waits);
        self.broken()?;
        if done {
            self.serve_zookeeper_once_more()
        } else {
            Err(self.stuck(format!("no service: {}", self.unrest())))
        }
    }

    /// A request that is lost with its connection is asked for again: that is the application's part.
    fn serve_zookeeper_once_more(&mut self) -> Result<(), Failure> {
        let until_ms = self.world.now_ms + self.patience_ms();
        let Simulation { world, zookeeper_workers, .. } = self;
        let mut waits = |world: &mut World| {
            let mut served = true;
            for worker in zookeeper_workers.iter_mut() {
                served &= worker.is_served_once_more(world);
            }
            !served
        };
        while waits(world) && world.now_ms < until_ms && world.violation.is_none() {
            world.run_for(20);
        }
        let done = !waits(world);
        self.broken()?;
        if done {
            Ok(())
        } else {
            Err(self.stuck(format!("no service of ZooKeeper clients: {}", self.unrest())))
        }
    }

    fn is_at_rest(&self) -> bool {
        let idle = self.workers.iter().all(|worker| worker.is_at_rest(&self.world));
        let served = self.world.clients.iter().all(|client| client.is_up());
        let zookeeper = self.world.zookeeper_clients.iter().all(|client| client.is_at_rest());
        let runs = self.world.servers.keys().all(|id| self.world.is_up(*id));
        idle && served && zookeeper && runs && is_led(&self.world)
    }

    fn unrest(&self) -> String {
        let mut text = format!("leader {:?};", self.world.leader());
        for server in self.world.servers.values() {
            text += &match &server.replica {
                None => format!(" server {} is down;", server.id),
                Some(replica) => {
                    let raft = replica.raft();
                    format!(
                        " server {}: {:?} in term {} of voters {:?}, log to {}, committed {}, \
                         applied {}{}{};",
                        server.id,
                        raft.role(),
                        raft.term(),
                        raft.membership().voters,
                        raft.last_index(),
                        raft.committed(),
                        replica.applied(),
                        if raft.is_refetching() { ", refetching" } else { "" },
                        if server.paused { ", paused" } else { "" },
                    )
                }
            };
        }
        if let Some(leader) = self.world.leader() {
            let raft = self.world.replica(leader).raft();
            for id in raft.membership().members() {
                if let Some(progress) = raft.progress(id) {
                    text += &format!(" {id} for the leader: {progress:?};");
                }
            }
        }
        for standing in self.world.client_standings() {
            let waits: Vec<String> = standing
                .outstanding
                .iter()
                .map(|id| format!("{:?}", self.world.history.operation(*id)))
                .collect();
            text += &format!(
                " client {} {:?} session {:?} waits for {waits:?};",
                standing.client, standing.link, standing.session
            );
        }
        text
    }

    fn tail(&self) -> Vec<String> {
        let history = &self.world.history;
        let mut lines: Vec<String> = self.world.diary.iter().cloned().collect();
        for (server, at_ms, text) in self.world.alarms.iter().rev().take(12).rev() {
            lines.push(format!("alarm of server {server} at {at_ms} ms: {text}"));
        }
        for entry in history.entries.iter().rev().take(12).rev() {
            let what = entry.transaction.as_ref().map(|known| (&known.origin, &known.changes));
            lines.push(format!("entry {} term {}: {what:?}", entry.zxid, entry.term));
        }
        for known in history.operations.iter().rev().take(12).rev() {
            lines.push(format!("{known:?}"));
        }
        lines
    }

    fn sessions_lost(&self) -> u64 {
        let native = self.world.clients.iter().map(|one| u64::from(one.sessions_lost));
        let zookeeper = self.world.zookeeper_clients.iter();
        native.chain(zookeeper.map(|one| u64::from(one.sessions_lost))).sum()
    }

    fn figures(&self) -> Figures {
        let history = &self.world.history;
        let ended = || history.operations.iter().filter_map(|known| known.ended.as_ref());
        let outcomes = || ended().filter_map(|ending| ending.outcome());
        Figures {
            virtual_ms: self.world.now_ms,
            operations: history.operations.len() as u64,
            answered: outcomes().count() as u64,
            refused: outcomes().filter(Result::is_err).count() as u64,
            unknown: (history.operations.len() - outcomes().count()) as u64,
            entries: history.entries.len() as u64,
            sessions_lost: self.sessions_lost(),
            counts: self.world.counts,
            occurrences: self.occurrences.clone(),
            judged: self.world.checks.judged(),
            sum: self.world.sum.value(),
        }
    }
}

fn create(at: &str) -> Operation {
    let (data, mode) = (ZnodeData::EMPTY, CreateMode::Persistent);
    Operation::Create { path: path(at), data, mode, acl: None }
}

/// One server leads and serves, and no other believes that it does.
#[must_use]
pub fn is_led(world: &World) -> bool {
    let leads = |id: &&u64| world.is_up(**id) && world.replica(**id).is_serving_leader();
    world.servers.keys().filter(leads).count() == 1
}

/// Every server has applied everything there is.
#[must_use]
pub fn is_level(world: &World) -> bool {
    let up = || world.servers.keys().filter(|id| world.is_up(**id));
    let newest = up().map(|id| world.replica(*id).raft().last_index().0).max();
    up().count() == world.servers.len()
        && up().all(|id| Some(world.replica(*id).applied().0) == newest)
        && !world.servers.values().any(|server| server.paused)
}
