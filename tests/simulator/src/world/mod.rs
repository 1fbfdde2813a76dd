//! The world around the replicas: time, disks, links between servers, connections of clients.
//!
//! Comes in: what replicas and clients want done. Goes out: inputs, at the time they arrive, and
//! observations for the checkers. Invariant: events happen in order of time, then of their making;
//! everything random comes from one seed; bytes on one lane of a link and on one connection arrive
//! in order. Must never: read a clock, start a thread, or decide anything a server should decide.

mod clients;
mod connections;
mod disk;
mod event;
mod links;
mod server;
mod servers;
pub mod tree;
mod zookeeper;
mod zookeeper_clients;

pub use clients::ClientStanding;
pub use server::{Clock, Server};
pub use servers::address;

use crate::check::Checks;
use crate::client::SimulatedClient;
use crate::executor::Recipes;
use crate::history::History;
use crate::observation::{Observation, Rest};
use crate::plan::Plan;
use crate::sum::Sum;
use crate::zookeeper::ZooKeeperClient;
use connections::Connection;
use event::Event;
use links::Link;
use quorate_faulty_disk::Choices;
use quorate_types::ComponentDigest;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Lines kept of what befell servers.
const DIARY_LINES_MAX: usize = 60;

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Who noticed.
    pub checker: &'static str,
    pub text: String,
    pub at_ms: u64,
}

/// Counts of what happened, to know that it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub events: u64,
    pub messages: u64,
    pub lost: u64,
    pub doubled: u64,
    pub overtaken: u64,
    pub disk_batches: u64,
    pub disk_faults: u64,
    /// Processes that ended because their disk failed them.
    pub disk_errors: u64,
    /// Damaged disks by what came of it: noticed and fetched again, refused as a whole, without
    /// consequence, and beyond notice (undone).
    pub damage_found: u64,
    pub damage_refused: u64,
    pub damage_harmless: u64,
    pub damage_hidden: u64,
    pub starts: u64,
    pub snapshots_saved: u64,
    pub snapshots_sent: u64,
    pub connections: u64,
    pub installs: u64,
}

pub struct World {
    pub plan: Plan,
    pub recipes: Arc<Recipes>,
    pub now_ms: u64,
    pub choices: Choices,
    pub servers: BTreeMap<u64, Server>,
    pub clients: Vec<SimulatedClient>,
    pub zookeeper_clients: Vec<ZooKeeperClient>,
    pub history: History,
    pub checks: Checks,
    pub violation: Option<Violation>,
    pub counts: Counts,
    /// Over every event and every action, so that two runs of a seed can be compared.
    pub sum: Sum,
    /// What replicas told the operator: the server, when, and what.
    /// Servers that cannot run a component which the others can.
    pub cannot_compile: BTreeSet<(u64, ComponentDigest)>,
    pub alarms: Vec<(u64, u64, String)>,
    /// Faults that strike single messages do so only while this holds.
    pub is_troubled: bool,
    /// What befell servers, newest last, for people.
    pub diary: VecDeque<String>,
    /// Disks that are gone and whose servers are not replaced yet.
    pub lost_disks: u64,
    /// The operator has asked for a server to be removed.
    pub is_removing: bool,
    /// Chance in a thousand, by kind, for consensus messages.
    pub message_faults: MessageFaults,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    links: BTreeMap<(u64, u64), Link>,
    connections: BTreeMap<u64, Connection>,
    /// Clients that cannot reach a server: (client, server).
    client_cuts: std::collections::BTreeSet<(usize, u64)>,
    next_connection: u64,
    next_generation: u64,
    next_server: u64,
}

/// Chances in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageFaults {
    pub loss: u64,
    pub duplicate: u64,
    pub reorder: u64,
    pub delay: u64,
}

impl World {
    #[must_use]
    pub fn new(plan: Plan, recipes: Arc<Recipes>, checks: Checks) -> World {
        let servers = 1..=plan.servers;
        let mut world = World {
            choices: Choices(plan.seed),
            next_server: plan.servers + 1,
            servers: servers.map(|id| (id, Server::new(id, plan.sector_bytes))).collect(),
            plan,
            recipes,
            now_ms: 1_000,
            clients: Vec::new(),
            zookeeper_clients: Vec::new(),
            history: History::default(),
            checks,
            violation: None,
            counts: Counts::default(),
            sum: Sum::default(),
            cannot_compile: BTreeSet::new(),
            alarms: Vec::new(),
            is_troubled: true,
            diary: VecDeque::new(),
            lost_disks: 0,
            is_removing: false,
            message_faults: MessageFaults::default(),
            events: BTreeMap::new(),
            order: 0,
            links: BTreeMap::new(),
            connections: BTreeMap::new(),
            client_cuts: std::collections::BTreeSet::new(),
            next_connection: 1,
            next_generation: 1,
        };
        for id in 1..=world.plan.servers {
            world.start(id);
        }
        world
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((at_ms.max(self.now_ms), self.order), event);
    }

    fn after(&mut self, longest_ms: u64, event: Event) {
        let delay_ms = 1 + self.choices.below(longest_ms.max(1));
        self.at(self.now_ms + delay_ms, event);
    }

    /// Runs until then, or until a promise is broken.
    pub fn run_until_ms(&mut self, until_ms: u64) {
        while self.step(until_ms) {}
        self.now_ms = self.now_ms.max(until_ms);
    }

    pub fn run_for(&mut self, ms: u64) {
        self.run_until_ms(self.now_ms + ms);
    }

    /// Runs until the condition holds; `false`: it did not within the time.
    #[must_use]
    pub fn run_while(&mut self, within_ms: u64, mut goes_on: impl FnMut(&World) -> bool) -> bool {
        let until_ms = self.now_ms + within_ms;
        while goes_on(self) {
            if !self.step(until_ms) {
                return false;
            }
        }
        true
    }

    /// The next event, if it is due by then and nothing is wrong yet.
    fn step(&mut self, until_ms: u64) -> bool {
        let Some(((at_ms, _), _)) = self.events.first_key_value() else { return false };
        if *at_ms > until_ms || self.violation.is_some() {
            return false;
        }
        let ((at_ms, order), event) = self.events.pop_first().expect("it was looked at");
        self.now_ms = self.now_ms.max(at_ms);
        self.counts.events += 1;
        self.sum.add(&[at_ms, order, event.kind()]);
        self.happen(event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake { server, run, at_ms } => self.on_wake(server, run, at_ms),
            Event::Gathered { server, run } => self.on_gathered(server, run),
            Event::Resume { server, run } => self.on_resume(server, run),
            Event::Disk { server, run } => self.on_disk(server, run),
            Event::SaveSnapshot { server, run, save } => self.on_save_snapshot(server, run, *save),
            Event::LoadSnapshot { server, run, file, index } => {
                self.on_load_snapshot((server, run), &file, index);
            }
            Event::Compile { server, run, digest } => self.on_compile(server, run, digest),
            Event::PeerBytes { from, to, generation, bytes } => {
                self.on_peer_bytes((from, to), generation, bytes);
            }
            Event::Dial { between } => self.on_dial(between),
            Event::LinkIdle { between, generation } => self.on_link_idle(between, generation),
            Event::Release { between, generation } => self.on_release(between, generation),
            Event::ClientWake { client, life, at_ms } => self.on_client_wake(client, life, at_ms),
            Event::ClientSpeaks { client, life } => self.on_client_speaks(client, life),
            Event::ToServer { connection, what } => self.arrive_at_server(connection, what),
            Event::ToClient { connection, what } => self.arrive_at_client(connection, what),
            Event::ConnectionIdle { connection } => self.on_connection_idle(connection),
            Event::Door { connection } => self.on_zookeeper_door(connection),
        }
    }

    /// Shows the checkers something.
    pub fn show(&mut self, what: &Observation<'_>) {
        self.history.next_moment(self.now_ms);
        if self.violation.is_none() {
            self.violation = self.checks.observe(&self.history, what, self.now_ms);
        }
    }

    /// Shows the checkers that everything has come to rest. Every server contacts the members, and
    /// nobody else.
    pub fn show_rest(&mut self) {
        let leader = self.leader().unwrap_or_default();
        let members = self.is_up(leader).then(|| self.replica(leader).member_addresses());
        let other = self.servers.values().find(|one| members.as_ref() != Some(&one.peers));
        if let Some(Server { id, peers, .. }) = other {
            let text = format!("server {id} contacts {peers:?}, members are {members:?}");
            self.fail("members", text);
        }
        let World { servers, checks, history, violation, .. } = self;
        let replicas = servers
            .values()
            .filter_map(|server| Some((server.id, server.replica.as_ref()?)))
            .collect();
        if violation.is_none() {
            *violation = checks.finish(history, &Rest { replicas, leader });
        }
    }

    /// Writes down what befell a server.
    pub fn note(&mut self, text: &str) {
        if self.diary.len() == DIARY_LINES_MAX {
            self.diary.pop_front();
        }
        self.diary.push_back(format!("{} ms: {text}", self.now_ms));
    }

    pub fn fail(&mut self, checker: &'static str, text: String) {
        let at_ms = self.now_ms;
        self.violation.get_or_insert(Violation { checker, text, at_ms });
    }
}

/// The pair in the order in which links are kept.
#[must_use]
pub fn ordered(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}
