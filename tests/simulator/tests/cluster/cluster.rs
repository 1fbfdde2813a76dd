//! A cluster without faults of its own, and what a script can say to it.
//!
//! Comes in: what a script wants to happen. Goes out: what clients were told. Invariant: a broken
//! promise ends the script where it happens; once the script is over, everything is healed, must come
//! to rest, serve every client, and satisfy every checker.

use crate::words;
use quorate_faulty_disk::{Crash, FaultyDisk};
use quorate_machine::Transaction;
use quorate_simulator::check::Checks;
use quorate_simulator::client::SimulatedClient;
use quorate_simulator::executor::Recipes;
use quorate_simulator::history::OperationId;
use quorate_simulator::observation::Observation;
use quorate_simulator::plan::{Delays, Plan, Timings};
use quorate_simulator::run::{is_led, is_level};
use quorate_simulator::work::{LOCKS, path};
use quorate_simulator::world::{World, ordered};
use quorate_types::limits::Limits;
use quorate_types::request::{CreateMode, ReadLevel};
use quorate_types::{Operation, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Virtual time in which anything that a script waits for must have happened.
const PATIENCE_MS: u64 = 20_000;

/// How long a request may be on its way when a script says so: less than an election timeout.
const SLOW_MS: u64 = 80;

/// Read and compiled once.
fn recipes() -> Arc<Recipes> {
    static RECIPES: OnceLock<Arc<Recipes>> = OnceLock::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/recipes");
    let load = || Arc::new(Recipes::load(&folder).unwrap_or_else(|error| panic!("{error:#}")));
    Arc::clone(RECIPES.get_or_init(load))
}

fn plan(seed: u64, servers: u64, limits: Limits) -> Plan {
    Plan {
        seed,
        servers,
        clients: 0,
        zookeeper_clients: 0,
        busy_ms: 0,
        pause_ms: 0,
        session_timeout_ms: (2_000, 2_000),
        timings: Timings { election_ms: (100, 200), heartbeat_ms: 20 },
        delays: Delays { link_ms: 3, disk_ms: 3, background_ms: 20, client_ms: 2, idle_ms: 600 },
        limits,
        sector_bytes: 512,
        faults: BTreeMap::new(),
        trial: None,
    }
}

pub struct Cluster {
    world: World,
    /// Servers whose disks were emptied.
    wiped: BTreeSet<u64>,
}

impl Deref for Cluster {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Cluster {
    pub fn new(seed: u64, servers: u64) -> Cluster {
        Cluster::with_limits(seed, servers, Limits::TESTED)
    }

    pub fn with_limits(seed: u64, servers: u64, limits: Limits) -> Cluster {
        Cluster::judged_by(Checks::all(), plan(seed, servers, limits))
    }

    /// Without any checker: they take every znode for open to all.
    pub fn unjudged(seed: u64, servers: u64) -> Cluster {
        Cluster::judged_by(Checks::default(), plan(seed, servers, Limits::TESTED))
    }

    fn judged_by(checks: Checks, plan: Plan) -> Cluster {
        Cluster { world: World::new(plan, recipes(), checks), wiped: BTreeSet::new() }
    }

    // Time.

    fn look(&self) {
        if let Some(broken) = &self.world.violation {
            panic!("{} at {} ms: {}", broken.checker, broken.at_ms, broken.text);
        }
    }

    pub fn run_for(&mut self, ms: u64) {
        self.world.run_for(ms);
        self.look();
    }

    /// Runs until the condition holds.
    pub fn run_until(&mut self, what: &str, mut holds: impl FnMut(&World) -> bool) {
        let held = self.world.run_while(PATIENCE_MS, |world| !holds(world));
        self.look();
        assert!(held, "{PATIENCE_MS} ms passed and still not: {what}");
    }

    // Servers.

    pub fn await_leader(&mut self) -> u64 {
        self.run_until("a leader serves", |world| world.leader().is_some());
        self.leader().expect("one serves")
    }

    pub fn follower(&mut self) -> u64 {
        let leader = self.await_leader();
        *self.servers.keys().find(|id| **id != leader).expect("there is another server")
    }

    /// The leader of three, and the others.
    pub fn leader_and_followers(&mut self) -> (u64, u64, u64) {
        let leader = self.await_leader();
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
        (leader, others[0], others[1])
    }

    pub fn running(&self) -> Vec<u64> {
        self.servers.keys().copied().filter(|id| self.is_up(*id)).collect()
    }

    /// Every running server has applied everything that any has.
    pub fn await_level(&mut self) {
        let running = self.running();
        self.await_level_of(&running);
    }

    /// As [`Cluster::await_level`], of these servers only.
    pub fn await_level_of(&mut self, servers: &[u64]) {
        self.run_until("the servers are level", |world| {
            let newest = servers.iter().map(|id| world.replica(*id).raft().last_index().0).max();
            servers.iter().all(|id| Some(world.replica(*id).applied().0) == newest)
        });
    }

    pub fn assert_equal_digests(&mut self) {
        self.await_level();
        let running = self.running();
        let digest = |id: &u64| self.replica(*id).machine().digest();
        let digests: Vec<u64> = running.iter().map(digest).collect();
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{running:?}: {digests:x?}");
    }

    /// What servers told the operator, with the server.
    pub fn told_operator(&self) -> Vec<(u64, &str)> {
        self.alarms.iter().map(|(server, _, text)| (*server, text.as_str())).collect()
    }

    pub fn restart(&mut self, id: u64) {
        self.crash(id, Crash::LoseUnsynced);
        self.start(id);
    }

    /// Gives a stopped server an empty disk under its old id.
    pub fn wipe(&mut self, id: u64) {
        assert!(!self.is_up(id), "a running server is not wiped");
        self.show(&Observation::DiskDamaged { server: id });
        let sector_bytes = self.plan.sector_bytes;
        let server = self.servers.get_mut(&id).expect("the server is one of the cluster");
        server.disk = FaultyDisk::default().with_sector_bytes(sector_bytes);
        server.incarnation += 1;
        self.wiped.insert(id);
    }

    /// Changes a file of a stopped server.
    pub fn spoil(&mut self, id: u64, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        assert!(!self.is_up(id), "a running server's files are not spoilt");
        self.show(&Observation::DiskDamaged { server: id });
        self.servers.get_mut(&id).expect("it is one of them").disk.spoil(file, change);
    }

    /// Nothing passes between the two any more and both know it, or everything passes again.
    pub fn part(&mut self, a: u64, b: u64, parted: bool) {
        self.cut_both(a, b, parted);
        if parted {
            self.break_link(ordered(a, b));
        }
    }

    /// Parts a group from all others, and nobody else.
    pub fn partition(&mut self, group: &[u64]) {
        let all: Vec<u64> = self.servers.keys().copied().collect();
        for a in &all {
            for b in all.iter().filter(|b| *b > a) {
                self.part(*a, *b, group.contains(a) != group.contains(b));
            }
        }
    }

    pub fn heal(&mut self) {
        self.partition(&[]);
    }

    // Clients.

    /// Adds a client; with `only` it connects to that server alone.
    pub fn add_client(&mut self, only: Option<u64>, timeout_ms: u64) -> usize {
        self.add_client_of(only, timeout_ms)
    }

    /// As [`Cluster::add_client`], and waits until it is served.
    pub fn add_served_client(&mut self, only: Option<u64>, timeout_ms: u64) -> usize {
        let number = self.add_client(only, timeout_ms);
        self.await_served(number);
        number
    }

    /// As [`Cluster::add_served_client`], one that no ACL binds.
    pub fn add_administrator(&mut self, timeout_ms: u64) -> usize {
        let number = self.add_client(None, timeout_ms);
        self.clients[number].process.is_administrator = true;
        self.await_served(number);
        number
    }

    pub fn client(&self, number: usize) -> &SimulatedClient {
        &self.clients[number]
    }

    pub fn await_served(&mut self, number: usize) {
        self.run_until(&format!("client {number} is served"), |world| {
            world.clients[number].is_served()
        });
    }

    /// Breaks a client's connection, which its server hears of at once, and sends it to a server.
    pub fn send_client_to(&mut self, number: usize, server: u64) {
        self.clients[number].process.only = Some(server);
        self.break_client(number, Some(0));
    }

    /// As [`Cluster::send_client_to`], until it is served there. The first things that it asks for are
    /// then long on their way; nothing else is.
    pub fn move_with_slow_requests(&mut self, number: usize, server: u64) {
        self.send_client_to(number, server);
        self.run_until("it connects", |world| world.clients[number].process.connection().is_some());
        let ordinary_ms = std::mem::replace(&mut self.plan.delays.client_ms, SLOW_MS);
        self.await_served(number);
        self.plan.delays.client_ms = ordinary_ms;
    }

    /// Breaks a client's connection and keeps it away from every server, or lets it back.
    pub fn keep_away(&mut self, number: usize, away: bool) {
        if away {
            self.break_client(number, Some(0));
            self.run_for(10);
        }
        for server in self.servers.keys().copied().collect::<Vec<_>>() {
            self.cut_client(number, server, away);
        }
    }

    pub fn request(&mut self, number: usize, operation: Operation) -> OperationId {
        self.world.ask(number, operation, ReadLevel::Linearizable, None)
    }

    pub fn waits(&self, asked: OperationId) -> bool {
        self.history.operation(asked).ended.is_none()
    }

    pub fn await_parked(&mut self, asked: OperationId) {
        self.run_until("the call is parked", |world| {
            world.history.operation(asked).parked.is_some()
        });
    }

    /// Waits until the client has room for another request.
    pub fn await_room(&mut self, number: usize) {
        self.run_until("there is room", |world| world.clients[number].outstanding() < 14);
    }

    /// Waits for the final answer of a request, which servers may put off.
    pub fn settled(&mut self, asked: OperationId) -> Outcome {
        let what = format!("{:?} is answered", self.history.operation(asked).operation);
        self.run_until(&what, |world| world.history.operation(asked).ended.is_some());
        let known = self.history.operation(asked);
        let ending = known.ended.as_ref().expect("it was waited for");
        ending.outcome().unwrap_or_else(|| panic!("nobody knows of {known:?}"))
    }

    /// Waits for the final answer of a request that no server puts off.
    pub fn answer(&mut self, asked: OperationId) -> Outcome {
        let outcome = self.settled(asked);
        let known = self.history.operation(asked);
        let put_off = self.clients[known.client].put_off.contains(&asked);
        assert!(!put_off, "a server refused it for a while: {known:?}");
        outcome
    }

    /// The one transaction that a request was made into.
    pub fn recorded(&self, asked: OperationId) -> &Transaction {
        let transactions =
            self.history.entries.iter().filter_map(|entry| entry.transaction.as_ref());
        let of_request: Vec<&Transaction> =
            transactions.filter(|made| self.history.origin(made) == Some(asked)).collect();
        let [made] = of_request[..] else { panic!("made into {of_request:?}") };
        made
    }

    pub fn ask(&mut self, number: usize, operation: Operation) -> Outcome {
        let asked = self.request(number, operation);
        self.answer(asked)
    }

    /// As [`Cluster::ask`], and servers may put it off.
    pub fn ask_until_settled(&mut self, number: usize, operation: Operation) -> Outcome {
        let asked = self.request(number, operation);
        self.settled(asked)
    }

    /// Makes the lock rule its mount.
    pub fn mount_lock(&mut self, number: usize) {
        let lock = self.recipes.lock.clone();
        let chunk_bytes = self.plan.limits.component_chunk_bytes_max as usize;
        for operation in words::installation(&lock, chunk_bytes, LOCKS) {
            let outcome = self.ask_until_settled(number, operation.clone());
            assert!(outcome.is_ok(), "{operation:?}: {outcome:?}");
        }
    }

    // The end.

    fn come_to_rest(&mut self) {
        self.look();
        self.heal();
        self.heal_clients();
        for id in std::mem::take(&mut self.wiped) {
            self.take_away(id);
        }
        for id in self.servers.keys().copied().collect::<Vec<_>>() {
            if !self.is_up(id) {
                self.start(id);
            }
        }
        self.show(&Observation::Healed);
        self.run_until("one server leads", is_led);
        self.take_removed_away();
        self.correct_contacts();
        self.run_until("all servers are level", |world| is_led(world) && is_level(world));
        self.serve_everybody();
        // Long enough for the sessions of clients that say nothing to end.
        let timeouts_ms = self.clients.iter().map(|client| client.session_timeout_ms);
        let longest_ms = timeouts_ms.max().unwrap_or(0);
        self.run_for(longest_ms * 5 / 4 + 10_000);
        self.run_until("all servers are level at the end", is_level);
        self.show_rest();
        self.look();
    }

    fn take_removed_away(&mut self) {
        let leader = self.await_leader();
        let members = self.replica(leader).raft().membership().members();
        let all: Vec<u64> = self.servers.keys().copied().collect();
        for id in all.into_iter().filter(|id| !members.iter().any(|member| member.0 == *id)) {
            self.take_away(id);
        }
    }

    fn serve_everybody(&mut self) {
        let now_ms = self.now_ms;
        let speaks = |number: &usize| self.clients[*number].process.silent_until_ms <= now_ms;
        let speaking: Vec<usize> = (0..self.clients.len()).filter(speaks).collect();
        for number in speaking {
            self.clients[number].process.only = None;
            let last = words::create("/last-", "", CreateMode::PersistentSequential);
            let outcome = self.ask_until_settled(number, last);
            assert!(outcome.is_ok(), "client {number} is not served: {outcome:?}");
        }
    }
}

impl Drop for Cluster {
    /// A script that is over is judged; one that failed has its verdict.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.come_to_rest();
        }
    }
}

/// Whether a server's tree has the znode.
pub fn has_znode(world: &World, server: u64, at: &str) -> bool {
    quorate_simulator::world::tree::read_tree(world.replica(server)).contains_key(&path(at))
}
