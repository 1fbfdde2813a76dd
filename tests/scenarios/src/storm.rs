//! A cluster under random faults, driven by one seed: packets are lost, doubled, delayed and
//! reordered, links cut in one or both directions, servers paused, crashed with unsynced writes
//! lost, their acknowledged log damaged, memberships changed, leadership moved, logs compacted.
//! In: a seed and a size. Out: how many steps were made, or a sentence that says what broke. Each
//! run ends with a phase without faults in which the cluster must become one again. Uses no real
//! clock, so a seed always gives the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_raft::{Index, Membership, ReadId, ReplicaId, Role, Settings, Term};

use crate::checks::{Checks, Servers};
use crate::prng::Prng;
use crate::server::{Effect, Packet, Server, mix};
use crate::trace;

/// How strong each fault is in one run.
#[derive(Clone, Debug)]
struct Faults {
    loss_permille: u64,
    double_permille: u64,
    delay_ms_max: u64,
    disk_ms_max: u64,
    cut_permille: u64,
    crash_permille: u64,
    damage_permille: u64,
    pause_permille: u64,
    membership_permille: u64,
    transfer_permille: u64,
    /// Applied entries that a server keeps before it takes a snapshot; 0 means never.
    compact_after: u64,
    clock_drift_permille: u64,
}

impl Faults {
    /// Each run has other faults, so that rare combinations come up. A run with damaged logs has
    /// many crashes and keeps its first voters.
    fn draw(prng: &mut Prng) -> Self {
        let damage_permille = prng.one_of(&[0, 0, 0, 500]);
        let damaging = damage_permille > 0;
        Self {
            loss_permille: prng.one_of(&[0, 0, 10, 50, 200]),
            double_permille: prng.one_of(&[0, 0, 20, 200]),
            delay_ms_max: prng.one_of(&[2, 5, 20, 60, 150]),
            disk_ms_max: prng.one_of(&[1, 3, 10, 60, 250]),
            cut_permille: prng.one_of(&[0, 50, 150, 300]),
            crash_permille: if damaging { 150 } else { prng.one_of(&[0, 30, 100, 200]) },
            damage_permille,
            pause_permille: prng.one_of(&[0, 30, 100]),
            membership_permille: if damaging { 0 } else { prng.one_of(&[0, 50, 200, 600]) },
            transfer_permille: prng.one_of(&[0, 20, 150]),
            compact_after: prng.one_of(&[0, 1, 3, 10, 50]),
            clock_drift_permille: prng.one_of(&[0, 10, 50]),
        }
    }

    fn none(compact_after: u64) -> Self {
        Self {
            loss_permille: 0,
            double_permille: 0,
            delay_ms_max: 3,
            disk_ms_max: 2,
            cut_permille: 0,
            crash_permille: 0,
            damage_permille: 0,
            pause_permille: 0,
            membership_permille: 0,
            transfer_permille: 0,
            compact_after,
            clock_drift_permille: 0,
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Deliver {
        from: ReplicaId,
        to: ReplicaId,
        packet: Packet,
    },
    DiskDone {
        server: ReplicaId,
        life: u64,
    },
    Connection {
        at: ReplicaId,
        peer: ReplicaId,
        up: bool,
    },
    /// The transport gives up on a snapshot it was sending.
    SnapshotTimeout {
        from: ReplicaId,
        to: ReplicaId,
        number: u64,
    },
    Start {
        server: ReplicaId,
    },
    MendLink {
        from: ReplicaId,
        to: ReplicaId,
    },
    Clients,
    Chaos,
}

/// What a run amounted to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Inputs given to replicas.
    pub steps: u64,
    /// Entries committed.
    pub committed: u64,
    /// Terms that had a leader.
    pub leaders: u64,
    /// Reads answered with an index.
    pub reads: u64,
    /// Snapshots installed.
    pub installs: u64,
    /// Crashes.
    pub crashes: u64,
    /// Memberships that came into effect, counted per server.
    pub memberships: u64,
    /// Digest of every step of the run: two runs with the same one took the same steps.
    pub digest: u64,
}

impl Summary {
    /// Adds the figures of another run.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.committed += other.committed;
        self.leaders += other.leaders;
        self.reads += other.reads;
        self.installs += other.installs;
        self.crashes += other.crashes;
        self.memberships += other.memberships;
        self.digest ^= other.digest;
    }
}

struct Storm {
    prng: Prng,
    faults: Faults,
    now_ms: u64,
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    servers: Servers,
    checks: Checks,
    /// Local milliseconds per 1000 true ones.
    rates: BTreeMap<ReplicaId, u64>,
    paused_until: BTreeMap<ReplicaId, u64>,
    lives: BTreeMap<ReplicaId, u64>,
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    snapshots_sending: BTreeMap<(ReplicaId, ReplicaId), u64>,
    accepted: Vec<(Index, Term)>,
    next_read: u64,
    next_payload: u64,
    calm: bool,
    /// Every step is told, for whoever looks into a seed.
    told: bool,
    first_voters: u64,
    summary: Summary,
}

const CHAOS_EVERY_MS: u64 = 40;
const CLIENTS_EVERY_MS: u64 = 15;
const SNAPSHOT_TIMEOUT_MS: u64 = 400;
/// Far more than any run takes; reaching it means that the replicas keep one another busy for ever.
const STEPS_MAX: u64 = 300_000;
/// Servers that exist but are not in the first membership.
const SPARE_SERVERS: u64 = 2;

/// Runs one seed like `run` and tells every step on standard error.
///
/// # Errors
/// As `run`.
pub fn run_told(seed: u64, voters: u64, storm_ms: u64) -> Result<Summary, String> {
    let mut storm = Storm::new(seed, voters);
    storm.told = true;
    storm.run(voters, storm_ms)
}

/// Runs one seed: `storm_ms` of virtual time with faults, then the phase without.
///
/// # Errors
/// A sentence that says which property broke, at which virtual time.
pub fn run(seed: u64, voters: u64, storm_ms: u64) -> Result<Summary, String> {
    Storm::new(seed, voters).run(voters, storm_ms)
}

impl Storm {
    fn new(seed: u64, voters: u64) -> Self {
        let mut prng = Prng::new(mix(seed, voters));
        let faults = Faults::draw(&mut prng);
        Self {
            prng,
            faults,
            now_ms: 0,
            order: 0,
            events: BTreeMap::new(),
            servers: Servers::new(),
            checks: Checks::default(),
            rates: BTreeMap::new(),
            paused_until: BTreeMap::new(),
            lives: BTreeMap::new(),
            cut: BTreeSet::new(),
            snapshots_sending: BTreeMap::new(),
            accepted: Vec::new(),
            next_read: 0,
            next_payload: 0,
            calm: false,
            told: false,
            first_voters: voters,
            summary: Summary::default(),
        }
    }

    fn run(&mut self, voters: u64, storm_ms: u64) -> Result<Summary, String> {
        let outcome = self.begin(voters).and_then(|()| {
            self.run_until(storm_ms)?;
            self.become_calm()?;
            self.check_recovered()
        });
        let (now_ms, steps) = (self.now_ms, self.summary.steps);
        match outcome {
            Ok(()) => Ok(self.summary),
            Err(message) => {
                Err(format!("{message} (at {now_ms} ms, step {steps}, {:?})", self.faults))
            }
        }
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        if self.told {
            eprintln!("{:>6} {}", self.now_ms, line());
        }
    }

    fn begin(&mut self, voters: u64) -> Result<(), String> {
        let first: BTreeSet<ReplicaId> = (1..=voters).map(ReplicaId).collect();
        let settings = self.draw_settings();
        for number in 1..=voters + SPARE_SERVERS {
            let id = ReplicaId(number);
            let membership = Membership {
                voters: if number <= voters { first.clone() } else { BTreeSet::new() },
                ..Membership::default()
            };
            let seed = self.prng.draw();
            let drift = self.faults.clock_drift_permille;
            self.rates.insert(id, self.prng.within(1000 - drift..1001 + drift));
            let server = Server::new(Settings { id, seed, ..settings.clone() }, membership, 0);
            self.servers.insert(id, server);
            self.lives.insert(id, 0);
        }
        for id in self.ids() {
            self.step(id, |_, _| ())?;
            self.connect(id);
        }
        self.schedule(1, Event::Clients);
        self.schedule(1, Event::Chaos);
        Ok(())
    }

    fn draw_settings(&mut self) -> Settings {
        let prng = &mut self.prng;
        Settings {
            id: ReplicaId(0),
            seed: 0,
            election_timeout_ms_min: 100,
            election_timeout_ms_max: 200,
            heartbeat_interval_ms: 25,
            append_entries_max: prng.one_of(&[1, 2, 8, 64]),
            append_bytes_max: prng.one_of(&[1, 64, 4096]),
            appends_inflight_max: prng.one_of(&[1, 2, 8]),
            uncommitted_bytes_max: prng.one_of(&[64, 4096]),
        }
    }

    fn ids(&self) -> Vec<ReplicaId> {
        self.servers.keys().copied().collect()
    }

    fn schedule(&mut self, after_ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now_ms + after_ms, self.order), event);
    }

    fn local_ms(&self, id: ReplicaId) -> u64 {
        self.now_ms * self.rates[&id] / 1000
    }

    /// The true time at which a local time has come.
    fn true_ms(&self, id: ReplicaId, local_ms: u64) -> u64 {
        local_ms.saturating_mul(1000).div_ceil(self.rates[&id])
    }

    fn run_until(&mut self, end_ms: u64) -> Result<(), String> {
        loop {
            let event = self.events.first_key_value().map(|(key, _)| *key);
            let tick = self.next_tick();
            match (event, tick) {
                (Some((at_ms, order)), tick) if tick.is_none_or(|(due, _)| at_ms <= due) => {
                    if at_ms > end_ms {
                        break;
                    }
                    self.now_ms = self.now_ms.max(at_ms);
                    let event = self.events.remove(&(at_ms, order)).expect("the first event");
                    self.take(event)?;
                }
                (_, Some((due_ms, id))) => {
                    if due_ms > end_ms {
                        break;
                    }
                    self.now_ms = self.now_ms.max(due_ms);
                    self.step(id, |server, now_ms| {
                        if let Some(raft) = server.raft.as_mut() {
                            raft.tick(now_ms);
                        }
                    })?;
                }
                (_, None) => break,
            }
        }
        self.now_ms = end_ms;
        Ok(())
    }

    fn next_tick(&self) -> Option<(u64, ReplicaId)> {
        self.servers
            .values()
            .filter_map(|server| {
                let (id, raft) = (server.id(), server.raft.as_ref()?);
                let paused_until = self.paused_until.get(&id).copied().unwrap_or(0);
                let due_ms = self.true_ms(id, raft.next_deadline_ms());
                Some((due_ms.max(paused_until).max(self.now_ms), id))
            })
            .min()
    }

    fn take(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Deliver { from, to, packet } => self.on_deliver(from, to, packet),
            Event::DiskDone { server, life } => self.on_disk_done(server, life),
            Event::Connection { at, peer, up } => self.on_connection(at, peer, up),
            Event::SnapshotTimeout { from, to, number } => {
                self.on_snapshot_timeout(from, to, number)
            }
            Event::Start { server } => self.on_start(server),
            Event::MendLink { from, to } => self.on_mend(from, to),
            Event::Clients => self.on_clients(),
            Event::Chaos => self.on_chaos(),
        }
    }

    /// Gives one input to a server, then takes its effects and checks every property.
    fn step(&mut self, id: ReplicaId, input: impl FnOnce(&mut Server, u64)) -> Result<(), String> {
        let now_ms = self.local_ms(id);
        let server = self.servers.get_mut(&id).expect("a server of this cluster");
        input(server, now_ms);
        let effects = server.drain();
        self.take_effects(id, effects)
    }

    fn take_effects(&mut self, id: ReplicaId, effects: Vec<Effect>) -> Result<(), String> {
        self.summary.steps += 1;
        if self.summary.steps > STEPS_MAX {
            return Err("the cluster never comes to rest".to_string());
        }
        let step = mix(self.now_ms, id.0 ^ ((effects.len() as u64) << 32));
        let state = mix(self.servers[&id].machine.digest, self.checks.committed().0);
        self.summary.digest = mix(self.summary.digest, mix(step, state));
        if self.told {
            let server = &self.servers[&id];
            let lines = effects.iter().filter_map(|one| trace::effect(server, one));
            lines.for_each(|line| self.tell(|| line));
        }
        self.checks.after_step(&self.servers, id, &effects)?;
        for effect in effects {
            match effect {
                Effect::Queue(_) => {
                    let life = self.lives[&id];
                    let after_ms = self.prng.within(0..self.faults.disk_ms_max + 1);
                    self.schedule(after_ms, Event::DiskDone { server: id, life });
                }
                Effect::Send(to, packet) => self.send(id, to, packet),
                Effect::Answer(_, answer) => self.summary.reads += u64::from(answer.is_ok()),
                Effect::Install(_) => self.summary.installs += 1,
                Effect::Membership => self.summary.memberships += 1,
                Effect::Apply(_) | Effect::Role => {}
            }
        }
        self.compact_if_due(id)
    }

    fn compact_if_due(&mut self, id: ReplicaId) -> Result<(), String> {
        let server = &self.servers[&id];
        let limit = server.disk.snapshot.mark.index.0 + self.faults.compact_after;
        let due = self.faults.compact_after > 0 && server.machine.applied.0 > limit;
        if due && server.raft.is_some() {
            let keep = self.prng.one_of(&[0, 0, 1, 4]);
            let server = self.servers.get_mut(&id).expect("a server of this cluster");
            let effects = server.compact(keep)?;
            self.take_effects(id, effects)?;
        }
        Ok(())
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, packet: Packet) {
        if matches!(packet, Packet::Snapshot { .. }) {
            self.order += 1;
            let number = self.order;
            self.snapshots_sending.insert((from, to), number);
            self.schedule(SNAPSHOT_TIMEOUT_MS, Event::SnapshotTimeout { from, to, number });
        }
        if !self.servers.contains_key(&to)
            || self.cut.contains(&(from, to))
            || self.prng.chance(self.faults.loss_permille)
        {
            return;
        }
        let copies = 1 + u64::from(self.prng.chance(self.faults.double_permille));
        for _ in 0..copies {
            let after_ms = self.prng.within(1..self.faults.delay_ms_max + 2);
            self.schedule(after_ms, Event::Deliver { from, to, packet: packet.clone() });
        }
    }

    /// True when the server sleeps; the event then waits until it wakes up.
    fn postpone(&mut self, server: ReplicaId, event: &Event) -> bool {
        let until_ms = self.paused_until.get(&server).copied().unwrap_or(0);
        if until_ms <= self.now_ms {
            return false;
        }
        self.schedule(until_ms - self.now_ms, event.clone());
        true
    }

    fn on_deliver(&mut self, from: ReplicaId, to: ReplicaId, packet: Packet) -> Result<(), String> {
        let event = Event::Deliver { from, to, packet };
        if self.postpone(to, &event) {
            return Ok(());
        }
        let Event::Deliver { packet, .. } = event else { return Ok(()) };
        if let Packet::SnapshotAnswer { .. } = packet {
            self.snapshots_sending.remove(&(to, from));
        }
        self.tell(|| trace::packet(from, to, &packet));
        let now_ms = self.local_ms(to);
        let server = self.servers.get_mut(&to).expect("a server of this cluster");
        match server.receive(now_ms, from, packet) {
            Ok(effects) => self.take_effects(to, effects),
            Err(violation) => Err(format!("{to} calls a packet of {from} illegal: {violation}")),
        }
    }

    fn on_disk_done(&mut self, id: ReplicaId, life: u64) -> Result<(), String> {
        if self.lives[&id] != life || self.postpone(id, &Event::DiskDone { server: id, life }) {
            return Ok(());
        }
        let server = self.servers.get_mut(&id).expect("a server of this cluster");
        match server.complete_write() {
            Some((write, effects)) => {
                self.tell(|| trace::write(id, &write));
                self.take_effects(id, effects)
            }
            None => Ok(()),
        }
    }

    fn on_connection(&mut self, at: ReplicaId, peer: ReplicaId, up: bool) -> Result<(), String> {
        if self.postpone(at, &Event::Connection { at, peer, up }) {
            return Ok(());
        }
        self.step(at, |server, _| {
            if let Some(raft) = server.raft.as_mut() {
                if up {
                    raft.peer_connected(peer);
                } else {
                    raft.peer_disconnected(peer);
                }
            }
        })
    }

    fn on_snapshot_timeout(
        &mut self,
        from: ReplicaId,
        to: ReplicaId,
        number: u64,
    ) -> Result<(), String> {
        if self.snapshots_sending.get(&(from, to)) != Some(&number) {
            return Ok(());
        }
        self.snapshots_sending.remove(&(from, to));
        self.step(from, |server, _| {
            if let Some(raft) = server.raft.as_mut() {
                raft.snapshot_sent(to, Err(()));
            }
        })
    }

    fn on_start(&mut self, id: ReplicaId) -> Result<(), String> {
        if self.servers[&id].raft.is_some() {
            return Ok(());
        }
        self.step(id, |server, now_ms| server.start(now_ms))?;
        self.connect(id);
        Ok(())
    }

    fn on_mend(&mut self, from: ReplicaId, to: ReplicaId) -> Result<(), String> {
        if self.cut.remove(&(from, to)) && self.prng.chance(500) {
            self.reconnect(from, to);
        }
        Ok(())
    }

    /// Both ends of every connection of a server learn that it is new.
    fn connect(&mut self, id: ReplicaId) {
        for other in self.ids() {
            if other != id {
                self.reconnect(id, other);
            }
        }
    }

    fn reconnect(&mut self, one: ReplicaId, two: ReplicaId) {
        for (at, peer) in [(one, two), (two, one)] {
            let after_ms = self.prng.within(0..self.faults.delay_ms_max + 1);
            self.schedule(after_ms, Event::Connection { at, peer, up: false });
            self.schedule(after_ms, Event::Connection { at, peer, up: true });
        }
    }

    fn on_clients(&mut self) -> Result<(), String> {
        if self.calm {
            return Ok(());
        }
        self.schedule(CLIENTS_EVERY_MS, Event::Clients);
        let ids = self.ids();
        let id = self.prng.one_of(&ids);
        let batch = self.prng.within(1..4);
        // Most proposals go to whoever believes to lead, some to anybody.
        let leaders: Vec<ReplicaId> =
            ids.iter().copied().filter(|id| self.role(*id) == Some(Role::Leader)).collect();
        let proposer = if leaders.is_empty() || self.prng.chance(100) {
            id
        } else {
            self.prng.one_of(&leaders)
        };
        self.propose(proposer, batch)?;
        if self.prng.chance(500) {
            self.read(id)?;
        }
        Ok(())
    }

    fn role(&self, id: ReplicaId) -> Option<Role> {
        self.servers[&id].raft.as_ref().map(|raft| raft.role())
    }

    fn is_paused(&self, id: ReplicaId) -> bool {
        self.paused_until.get(&id).is_some_and(|until_ms| *until_ms > self.now_ms)
    }

    fn propose(&mut self, id: ReplicaId, batch: u64) -> Result<(), String> {
        if self.is_paused(id) {
            return Ok(());
        }
        let payloads: Vec<Arc<[u8]>> = (0..batch)
            .map(|offset| Arc::from((self.next_payload + offset).to_le_bytes().as_slice()))
            .collect();
        self.next_payload += batch;
        let stale_term = self.prng.chance(50);
        let mut accepted = None;
        self.step(id, |server, _| {
            let Some(raft) = server.raft.as_mut() else { return };
            let term = raft.term();
            let only_in_term = if stale_term { Term(term.0.saturating_sub(1)) } else { term };
            accepted = raft.propose(payloads, only_in_term).ok().map(|index| (index, only_in_term));
        })?;
        if stale_term && accepted.is_some() {
            return Err(format!("{id} accepted a proposal that was computed in an older term"));
        }
        for offset in 0..batch {
            self.accepted.extend(accepted.map(|(index, term)| (Index(index.0 + offset), term)));
        }
        Ok(())
    }

    fn read(&mut self, id: ReplicaId) -> Result<(), String> {
        if self.is_paused(id) || self.servers[&id].raft.is_none() {
            return Ok(());
        }
        self.next_read += 1;
        let read = ReadId(self.next_read);
        self.checks.read_begins(id, read);
        self.step(id, |server, now_ms| {
            if let Some(raft) = server.raft.as_mut() {
                raft.read_barrier(now_ms, read);
            }
        })
    }
}

mod chaos;
mod recovery;
