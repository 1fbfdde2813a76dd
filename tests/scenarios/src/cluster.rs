//! A cluster that does nothing by itself: a script says which packet arrives, which write completes
//! and how far each server's clock runs. In: one call per command. Out: trace lines. Packets and
//! writes keep the order in which they came up, so a script that only says "stabilize" is the run
//! in which everything takes the same time. Checks every property of `checks` after every step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_raft::{Membership, ReplicaId, Role, Settings};

use crate::checks::{Checks, Servers};
use crate::server::{Effect, Packet, Server, mix};
use crate::trace;

/// A packet on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    order: u64,
    /// The sender.
    pub from: ReplicaId,
    /// The receiver.
    pub to: ReplicaId,
    /// What it carries.
    pub packet: Packet,
}

/// The cluster and everything in flight.
pub struct Cluster {
    /// The servers, running or not.
    pub servers: Servers,
    /// Packets on their way, oldest first.
    pub flights: VecDeque<Flight>,
    /// The properties and the record they need.
    pub checks: Checks,
    /// What new servers are started with, apart from their names.
    pub settings: Settings,
    clocks: BTreeMap<ReplicaId, u64>,
    /// For each server the order numbers of its writes in progress.
    writes: BTreeMap<ReplicaId, VecDeque<u64>>,
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    next_order: u64,
    trace: Vec<String>,
}

/// More steps than any script needs; reaching it means that the cluster never comes to rest.
const STEPS_MAX: usize = 10_000;

impl Cluster {
    /// A cluster without servers.
    pub fn new(settings: Settings) -> Self {
        Self {
            servers: BTreeMap::new(),
            flights: VecDeque::new(),
            checks: Checks::default(),
            settings,
            clocks: BTreeMap::new(),
            writes: BTreeMap::new(),
            cut: BTreeSet::new(),
            next_order: 0,
            trace: Vec::new(),
        }
    }

    /// The lines that came up since the last call.
    pub fn take_trace(&mut self) -> String {
        std::mem::take(&mut self.trace).join("\n")
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, line: String) {
        self.trace.push(line);
    }

    /// Adds a server with an empty disk and connects it to the running ones.
    ///
    /// # Errors
    /// When a property breaks.
    pub fn add_server(&mut self, id: ReplicaId, membership: Membership) -> Result<(), String> {
        let settings = Settings { id, seed: mix(id.0, 1), ..self.settings.clone() };
        self.clocks.insert(id, 0);
        self.writes.insert(id, VecDeque::new());
        self.servers.insert(id, Server::new(settings, membership, 0));
        self.step(id, Server::drain)?;
        self.connect_all(id)
    }

    /// The local time of a server.
    pub fn now_ms(&self, id: ReplicaId) -> u64 {
        self.clocks.get(&id).copied().unwrap_or(0)
    }

    /// The named server.
    ///
    /// # Errors
    /// When there is none.
    pub fn server(&mut self, id: ReplicaId) -> Result<&mut Server, String> {
        self.servers.get_mut(&id).ok_or_else(|| format!("there is no server {id}"))
    }

    /// Calls a function of one server, sends what it puts out, and checks every property.
    ///
    /// # Errors
    /// When there is no such server or a property breaks.
    pub fn step(
        &mut self,
        id: ReplicaId,
        call: impl FnOnce(&mut Server) -> Vec<Effect>,
    ) -> Result<(), String> {
        let effects = call(self.server(id)?);
        self.take_effects(id, effects)
    }

    fn take_effects(&mut self, id: ReplicaId, effects: Vec<Effect>) -> Result<(), String> {
        self.checks.after_step(&self.servers, id, &effects)?;
        let server = &self.servers[&id];
        let mut lines = Vec::new();
        for effect in effects {
            if let Some(line) = trace::effect(server, &effect) {
                lines.push(line);
            }
            let order = self.next_order;
            match effect {
                Effect::Queue(_) => self.writes.entry(id).or_default().push_back(order),
                Effect::Send(to, packet) => {
                    self.flights.push_back(Flight { order, from: id, to, packet });
                }
                Effect::Apply(_) | Effect::Install(_) | Effect::Answer(..) => {}
                Effect::Role | Effect::Membership => {}
            }
            self.next_order += 1;
        }
        self.trace.extend(lines);
        Ok(())
    }

    /// Delivers the packet at a position of `flights`.
    fn deliver_at(&mut self, position: usize) -> Result<(), String> {
        let Some(flight) = self.flights.remove(position) else { return Ok(()) };
        let Flight { from, to, packet, .. } = flight;
        let down = self.servers.get(&to).is_none_or(|server| server.raft.is_none());
        if down || self.cut.contains(&(from, to)) {
            return Ok(());
        }
        self.trace.push(trace::packet(from, to, &packet));
        let now_ms = self.now_ms(to);
        match self.server(to)?.receive(now_ms, from, packet) {
            Ok(effects) => self.take_effects(to, effects),
            Err(violation) => {
                self.trace.push(format!("  {to} calls that illegal: {violation}"));
                Ok(())
            }
        }
    }

    /// Delivers up to `count` packets from one server to another, oldest first.
    ///
    /// # Errors
    /// When a property breaks.
    pub fn deliver(&mut self, from: ReplicaId, to: ReplicaId, count: usize) -> Result<(), String> {
        for _ in 0..count {
            let found = self.flights.iter().position(|one| one.from == from && one.to == to);
            let Some(position) = found else { break };
            self.deliver_at(position)?;
        }
        Ok(())
    }

    /// Removes packets that match, oldest first, up to `count`, and returns them.
    pub fn take_flights(
        &mut self,
        count: usize,
        mut wanted: impl FnMut(&Flight) -> bool,
    ) -> Vec<Flight> {
        let mut taken = Vec::new();
        let flights = std::mem::take(&mut self.flights);
        for flight in flights {
            if taken.len() < count && wanted(&flight) {
                taken.push(flight);
            } else {
                self.flights.push_back(flight);
            }
        }
        taken
    }

    /// Puts packets back on their way, behind all others.
    pub fn put_back(&mut self, flights: Vec<Flight>) {
        for flight in flights {
            let order = self.next_order;
            self.next_order += 1;
            self.flights.push_back(Flight { order, ..flight });
        }
    }

    /// Completes the oldest write of a server. Returns false when its disk is idle.
    ///
    /// # Errors
    /// When there is no such server or a property breaks.
    pub fn sync(&mut self, id: ReplicaId) -> Result<bool, String> {
        self.writes.entry(id).or_default().pop_front();
        let Some((write, effects)) = self.server(id)?.complete_write() else { return Ok(false) };
        self.trace.push(trace::write(id, &write));
        self.take_effects(id, effects)?;
        Ok(true)
    }

    /// Delivers packets and completes writes among `ids`, oldest first, until nothing is left.
    ///
    /// # Errors
    /// When a property breaks or the cluster does not come to rest.
    pub fn stabilize(&mut self, ids: &BTreeSet<ReplicaId>) -> Result<(), String> {
        self.stabilize_until(ids, |_| false)
    }

    /// Like `stabilize`, but stops as soon as `enough` says so.
    ///
    /// # Errors
    /// When a property breaks or the cluster does not come to rest.
    pub fn stabilize_until(
        &mut self,
        ids: &BTreeSet<ReplicaId>,
        mut enough: impl FnMut(&Self) -> bool,
    ) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            if enough(self) || !self.advance(ids)? {
                return Ok(());
            }
        }
        Err(format!("the cluster does not come to rest within {STEPS_MAX} steps"))
    }

    /// Delivers the oldest packet or completes the oldest write. False when there is none.
    fn advance(&mut self, ids: &BTreeSet<ReplicaId>) -> Result<bool, String> {
        let packet = self
            .flights
            .iter()
            .enumerate()
            .find(|(_, flight)| ids.contains(&flight.from) && ids.contains(&flight.to))
            .map(|(position, flight)| (flight.order, position));
        let write = ids
            .iter()
            .filter_map(|id| Some((*self.writes.get(id)?.front()?, *id)))
            .min_by_key(|(order, _)| *order);
        match (packet, write) {
            (None, None) => return Ok(false),
            (Some((sent, position)), Some((queued, _))) if sent < queued => {
                self.deliver_at(position)?;
            }
            (Some((_, position)), None) => self.deliver_at(position)?,
            (_, Some((_, id))) => {
                self.sync(id)?;
            }
        }
        Ok(true)
    }

    /// Lets the clocks of `ids` run for `duration_ms`, ticking each server at its own deadlines.
    /// After each tick calls `between`.
    ///
    /// # Errors
    /// When a property breaks.
    pub fn elapse(
        &mut self,
        ids: &BTreeSet<ReplicaId>,
        duration_ms: u64,
        mut between: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut left_ms = duration_ms;
        for _ in 0..STEPS_MAX {
            let next = ids.iter().filter_map(|id| Some((self.wait_ms(*id)?, *id))).min();
            let (wait_ms, id) = match next {
                Some((wait_ms, id)) if wait_ms <= left_ms => (wait_ms, id),
                Some(_) | None => {
                    self.advance_clocks(ids, left_ms);
                    return Ok(());
                }
            };
            left_ms -= wait_ms;
            self.advance_clocks(ids, wait_ms);
            self.tick(id)?;
            between(self)?;
        }
        Err(format!("the clocks do not get past {left_ms} ms within {STEPS_MAX} steps"))
    }

    fn wait_ms(&self, id: ReplicaId) -> Option<u64> {
        let raft = self.servers.get(&id)?.raft.as_ref()?;
        Some(raft.next_deadline_ms().saturating_sub(self.now_ms(id)))
    }

    fn advance_clocks(&mut self, ids: &BTreeSet<ReplicaId>, by_ms: u64) {
        for id in ids {
            if let Some(clock) = self.clocks.get_mut(id) {
                *clock = clock.saturating_add(by_ms);
            }
        }
    }

    /// Ticks one server at its present time.
    ///
    /// # Errors
    /// When there is no such server or a property breaks.
    pub fn tick(&mut self, id: ReplicaId) -> Result<(), String> {
        let now_ms = self.now_ms(id);
        self.step(id, |server| {
            if let Some(raft) = server.raft.as_mut() {
                raft.tick(now_ms);
            }
            server.drain()
        })
    }

    /// Runs clocks until one server asks for votes; only its timer fires. With `alone` only its own
    /// clock runs, so that the others have heard of their leader a moment ago.
    ///
    /// # Errors
    /// When the server is down or a property breaks.
    pub fn campaign(&mut self, id: ReplicaId, alone: bool) -> Result<(), String> {
        let running = if alone { BTreeSet::from([id]) } else { self.ids() };
        let term = self.server(id)?.running()?.term();
        for _ in 0..20 {
            let Some(wait_ms) = self.wait_ms(id).filter(|wait_ms| *wait_ms < 1_000_000) else {
                break;
            };
            self.advance_clocks(&running, wait_ms);
            self.tick(id)?;
            let raft = self.server(id)?.running()?;
            let asks = matches!(raft.role(), Role::PreCandidate | Role::Candidate);
            if asks || raft.term() > term {
                return Ok(());
            }
        }
        self.note(format!("{id} does not campaign"));
        Ok(())
    }

    /// Stops a server at once; the first `surviving` writes in progress still reach the disk.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn crash(&mut self, id: ReplicaId, surviving: usize) -> Result<(), String> {
        self.server(id)?.crash(surviving);
        self.writes.insert(id, VecDeque::new());
        self.checks.server_stopped(id);
        Ok(())
    }

    /// Starts a stopped server from its disk and connects it.
    ///
    /// # Errors
    /// When there is no such server or a property breaks.
    pub fn restart(&mut self, id: ReplicaId) -> Result<(), String> {
        let now_ms = self.now_ms(id);
        self.step(id, |server| {
            server.settings.seed = mix(server.settings.seed, 2);
            server.start(now_ms);
            server.drain()
        })?;
        self.connect_all(id)
    }

    fn connect_all(&mut self, id: ReplicaId) -> Result<(), String> {
        let others: Vec<ReplicaId> = self.servers.keys().copied().collect();
        for other in others {
            if other != id && self.servers[&other].raft.is_some() {
                self.connection(id, other, false)?;
                self.connection(id, other, true)?;
            }
        }
        Ok(())
    }

    /// Tells both ends that the connection between them broke or came up.
    ///
    /// # Errors
    /// When there is no such server or a property breaks.
    pub fn connection(&mut self, one: ReplicaId, two: ReplicaId, up: bool) -> Result<(), String> {
        for (id, peer) in [(one, two), (two, one)] {
            self.step(id, |server| {
                if let Some(raft) = server.raft.as_mut() {
                    if up {
                        raft.peer_connected(peer);
                    } else {
                        raft.peer_disconnected(peer);
                    }
                }
                server.drain()
            })?;
        }
        Ok(())
    }

    /// From now on packets from `from` to `to` vanish, those on their way too.
    pub fn cut(&mut self, from: ReplicaId, to: ReplicaId) {
        self.cut.insert((from, to));
        self.flights.retain(|flight| (flight.from, flight.to) != (from, to));
    }

    /// Ends every cut.
    pub fn heal(&mut self) {
        let cut = std::mem::take(&mut self.cut);
        self.flights.retain(|flight| !cut.contains(&(flight.from, flight.to)));
    }

    /// Every server's name.
    pub fn ids(&self) -> BTreeSet<ReplicaId> {
        self.servers.keys().copied().collect()
    }
}
