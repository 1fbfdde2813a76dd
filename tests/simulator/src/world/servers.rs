//! Servers in the world: starting, stopping, standing still, and doing what replicas want done.

use super::event::{Carried, Event, SnapshotSave};
use super::{World, ordered};
use crate::history::CommittedEntry;
use crate::observation::{Observation, SimulatedReplica};
use crate::sum::Sum;
use quorate_faulty_disk::Crash;
use quorate_machine::Transaction;
use quorate_raft::{Entry, EntryKind, Index};
use quorate_replica::{Action, Input, MemberAddress, Replica, Settings, Verify};
use quorate_storage::{IDENTITY_FILE, ServerIdentity};
use quorate_types::{ComponentDigest, Incarnation, ServerId, Zxid};
use quorate_wire::native::encode_server;
use std::collections::BTreeMap;

const CLUSTER: u64 = 77;

impl World {
    pub(super) fn server_mut(&mut self, id: u64) -> &mut super::Server {
        self.servers.get_mut(&id).expect("the server is one of the cluster")
    }

    pub(super) fn runs(&self, id: u64, run: u64) -> bool {
        self.servers.get(&id).is_some_and(|server| server.is_up() && server.run == run)
    }

    #[must_use]
    pub fn is_up(&self, id: u64) -> bool {
        self.servers.get(&id).is_some_and(super::Server::is_up)
    }

    /// # Panics
    /// When the server does not run.
    #[must_use]
    pub fn replica(&self, id: u64) -> &SimulatedReplica {
        self.servers[&id].replica.as_ref().expect("the server runs")
    }

    fn settings(&mut self, id: u64) -> Settings {
        let server = &self.servers[&id];
        let join = server.contacts.is_some();
        // Once there is a log, the configuration only says who may be contacted: the operator keeps
        // it up to date.
        let members: Vec<u64> = if server.disk.files().contains_key(IDENTITY_FILE) {
            self.servers.keys().copied().collect()
        } else {
            server.contacts.clone().unwrap_or_else(|| (1..=self.plan.servers).collect())
        };
        Settings {
            identity: ServerIdentity {
                cluster: CLUSTER,
                server: ServerId(id),
                incarnation: Incarnation(self.servers[&id].incarnation),
            },
            members: members.iter().map(|id| (ServerId(*id), address(*id))).collect(),
            seed: self.choices.next(),
            election_timeout_ms_min: self.plan.timings.election_ms.0,
            election_timeout_ms_max: self.plan.timings.election_ms.1,
            heartbeat_interval_ms: self.plan.timings.heartbeat_ms,
            join,
            read_only_mode: false,
            verify: Verify::All,
            limits: self.plan.limits,
        }
    }

    /// Starts a server from what its disk holds.
    pub fn start(&mut self, id: u64) {
        self.counts.starts += 1;
        self.make_room(id);
        self.judge_damage(id);
        let settings = self.settings(id);
        let (now_ms, servers) = (self.now_ms, &mut self.servers);
        let server = servers.get_mut(&id).expect("the server is one of the cluster");
        if let Err(error) = server.start(now_ms, settings, &mut self.choices) {
            self.fail("starting", format!("server {id} does not start: {error}"));
            return;
        }
        let run = self.servers[&id].run;
        self.note(&format!("server {id} starts"));
        self.with_replica(id, |replica| Observation::Started { server: id, run, replica });
        self.perform_actions(id);
        let others: Vec<u64> = self.servers.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            self.after(5, Event::Dial { between: ordered(id, other) });
        }
    }

    /// Starts a server that is not a member yet and waits to be made one; its id.
    pub fn start_joining(&mut self) -> u64 {
        let id = self.next_server;
        self.next_server += 1;
        let mut server = super::Server::new(id, self.plan.sector_bytes);
        server.contacts = Some(self.servers.keys().copied().collect());
        server.incarnation = id * 1_000;
        self.servers.insert(id, server);
        self.start(id);
        id
    }

    /// Starts servers again that know nobody of those who are there now: the operator has noticed.
    pub fn correct_contacts(&mut self) {
        let Some(leader) = self.leader() else { return };
        let knows_somebody = |server: &&super::Server| {
            let others = self.servers.keys().filter(|other| **other != server.id);
            server.id == leader
                || others.into_iter().any(|other| self.are_peers((server.id, *other)))
        };
        let lost: Vec<u64> = self
            .servers
            .values()
            .filter(|server| server.is_up() && !server.paused && !knows_somebody(server))
            .map(|server| server.id)
            .collect();
        for id in lost {
            self.crash(id, Crash::Kill);
            self.start(id);
        }
    }

    /// Starts servers that had been told to stop before everything healed, and did so after it.
    pub fn start_stopped(&mut self) {
        let down = self.servers.values().filter(|server| !server.is_up());
        let down: Vec<u64> = down.map(|server| server.id).collect();
        down.into_iter().for_each(|id| self.start(id));
    }

    /// A server that is no member any more, or whose disk is lost, is taken away for good.
    pub fn take_away(&mut self, id: u64) {
        self.note(&format!("server {id} is taken away"));
        self.crash(id, Crash::Kill);
        self.servers.remove(&id);
    }

    /// The shell dials and accepts members and nobody else.
    fn on_peers_changed(&mut self, id: u64, members: BTreeMap<ServerId, MemberAddress>) {
        self.server_mut(id).peers = members;
        let others: Vec<u64> = self.servers.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            let between = ordered(id, other);
            if self.are_peers(between) {
                self.after(5, Event::Dial { between });
            } else {
                self.break_link(between);
            }
        }
    }

    /// Whether one of them dials the other and is let in.
    pub(super) fn are_peers(&self, (a, b): (u64, u64)) -> bool {
        let knows = |who: u64, whom: u64| {
            self.servers.get(&who).is_some_and(|server| server.peers.contains_key(&ServerId(whom)))
        };
        knows(a, b) && knows(b, a)
    }

    /// Shows the checkers something about a running replica.
    fn with_replica(
        &mut self,
        id: u64,
        what: impl for<'a> FnOnce(&'a SimulatedReplica) -> Observation<'a>,
    ) {
        let World { servers, checks, history, violation, now_ms, .. } = self;
        let Some(replica) = servers.get(&id).and_then(|server| server.replica.as_ref()) else {
            return;
        };
        history.next_moment(*now_ms);
        if violation.is_none() {
            *violation = checks.observe(history, &what(replica), *now_ms);
        }
    }

    /// The process ends without warning.
    pub fn crash(&mut self, id: u64, crash: Crash) {
        if !self.is_up(id) {
            return;
        }
        let run = self.servers[&id].run;
        let server = self.servers.get_mut(&id).expect("the server is one of the cluster");
        // What a disk lied about shows when the power fails, and only until then is it watched.
        let crash = if server.shadow.is_some() { Crash::LoseUnsynced } else { crash };
        server.crash(crash, &mut self.choices);
        self.note(&format!("server {id} stops: {crash:?}"));
        self.after_stop(id, run);
    }

    fn after_stop(&mut self, id: u64, run: u64) {
        self.show(&Observation::Stopped { server: id, run });
        let others: Vec<u64> = self.servers.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            self.break_link(ordered(id, other));
        }
        for connection in self.connections_of_server(id) {
            self.send_to_client(connection, Carried::Closed);
        }
    }

    /// The process is told to stop, and does so in order.
    pub fn shut_down(&mut self, id: u64) {
        self.input(id, Input::Shutdown);
    }

    /// The process stands still: nothing it is sent is looked at meanwhile.
    pub fn pause(&mut self, id: u64, ms: u64) {
        let run = self.servers[&id].run;
        self.server_mut(id).paused = true;
        self.at(self.now_ms + ms, Event::Resume { server: id, run });
    }

    pub(super) fn on_resume(&mut self, id: u64, run: u64) {
        if !self.runs(id, run) {
            return;
        }
        self.server_mut(id).paused = false;
        self.handle_gathered(id);
        while let Some(input) = self.server_mut(id).inbox.pop_front() {
            self.input(id, input);
        }
        self.wake_zookeeper_doors(id);
        self.input(id, Input::Tick);
    }

    /// Hands an input to a server's replica, now or when its process looks.
    pub fn input(&mut self, id: u64, input: Input) {
        let now_ms = self.now_ms;
        let Some(server) = self.servers.get_mut(&id) else { return };
        if server.replica.is_none() {
            return;
        }
        if server.paused {
            server.inbox.push_back(input);
            return;
        }
        if input.is_gathered() {
            server.gathered.push(input);
            let run = server.run;
            if server.gathered.len() == 1 {
                let wait_ms = self.choices.below(2);
                self.at(now_ms + wait_ms, Event::Gathered { server: id, run });
            }
            return;
        }
        self.handle_gathered(id);
        let Some(server) = self.servers.get_mut(&id) else { return };
        let now = server.clock.now(now_ms);
        server.note_connection(&input);
        let Some(replica) = &mut server.replica else { return };
        replica.handle(now, input);
        self.after_handling(id);
    }

    pub(super) fn on_gathered(&mut self, id: u64, run: u64) {
        if self.runs(id, run) && !self.servers[&id].paused {
            self.handle_gathered(id);
        }
    }

    /// Frames often come together: those that one wake of a server's thread finds.
    fn handle_gathered(&mut self, id: u64) {
        let now_ms = self.now_ms;
        let server = self.server_mut(id);
        let now = server.clock.now(now_ms);
        let gathered = std::mem::take(&mut server.gathered);
        let Some(replica) = &mut server.replica else { return };
        if !gathered.is_empty() {
            replica.handle_together(now, gathered);
            self.after_handling(id);
        }
    }

    pub(super) fn on_wake(&mut self, id: u64, run: u64, at_ms: u64) {
        if self.runs(id, run) && self.servers[&id].wake_at_ms == Some(at_ms) {
            self.server_mut(id).wake_at_ms = None;
            if !self.servers[&id].paused {
                self.input(id, Input::Tick);
            }
        }
    }

    fn after_handling(&mut self, id: u64) {
        let run = self.servers[&id].run;
        self.watch_applied(id);
        self.with_replica(id, |replica| Observation::Stepped { server: id, run, replica });
        self.perform_actions(id);
    }

    /// Shows each entry that the server has applied since it was last looked at.
    fn watch_applied(&mut self, id: u64) {
        let server = &self.servers[&id];
        let Some(replica) = &server.replica else { return };
        let applied = replica.applied().0;
        let mut next = server.applied + 1;
        let mut entries = Vec::new();
        let mut installed = None;
        while next <= applied {
            match replica.raft().entry(Index(next)) {
                Some(entry) => entries.push(entry.clone()),
                None => {
                    // It has taken over a snapshot and lost the entries before.
                    let mark = replica.raft().snapshot().clone();
                    next = mark.index.0.max(next);
                    installed = Some(mark);
                    entries.clear();
                }
            }
            next += 1;
        }
        self.server_mut(id).applied = applied;
        if let Some(mark) = installed {
            self.counts.installs += 1;
            self.show(&Observation::Installed { server: id, mark: &mark });
        }
        for entry in entries {
            self.see_applied(id, &entry);
        }
    }

    fn see_applied(&mut self, id: u64, entry: &Entry) {
        let fingerprint = fingerprint(entry);
        let zxid = Zxid(entry.index.0);
        if zxid > self.history.newest() {
            if zxid != self.history.newest().next() {
                let newest = self.history.newest();
                self.fail(
                    "log",
                    format!("server {id} applies {zxid}, nobody applied after {newest}"),
                );
                return;
            }
            let moment = self.history.next_moment(self.now_ms);
            let transaction = (entry.kind == EntryKind::Command)
                .then(|| Transaction::decode(&entry.payload).expect("a replica has just read it"));
            let (term, kind) = (entry.term.0, entry.kind);
            let seen = CommittedEntry { zxid, term, kind, fingerprint, transaction, moment };
            self.history.entries.push(seen.clone());
            self.show(&Observation::Committed { entry: &seen });
        }
        self.show(&Observation::Applied { server: id, zxid, fingerprint });
    }

    pub(super) fn perform_actions(&mut self, id: u64) {
        while let Some(action) =
            self.servers.get_mut(&id).and_then(|server| server.replica.as_mut()?.poll_action())
        {
            self.perform(id, action);
        }
        let now_ms = self.now_ms;
        let server = self.server_mut(id);
        let Some(deadline_ms) = server.deadline_ms() else { return };
        let deadline_ms = deadline_ms.max(now_ms + 1);
        if server.wake_at_ms.is_none_or(|wake_ms| deadline_ms < wake_ms) {
            server.wake_at_ms = Some(deadline_ms);
            let run = server.run;
            self.at(deadline_ms, Event::Wake { server: id, run, at_ms: deadline_ms });
        }
    }

    fn perform(&mut self, id: u64, action: Action) {
        let run = self.servers[&id].run;
        match action {
            Action::SendClient { connection, frame } => {
                let bytes = encode_server(&frame);
                self.sum.add_bytes(&bytes);
                if !self.leave_at_zookeeper_door(connection, &frame) {
                    self.send_to_client(connection, Carried::Bytes(bytes));
                }
            }
            Action::CloseConnection { connection } => {
                if !self.finish_zookeeper_door(connection) {
                    self.send_to_client(connection, Carried::Closed);
                }
            }
            Action::SendPeer { peer, frame } => self.send_to_peer(id, peer.0, &frame),
            Action::ClosePeer { peer, .. } => self.close_peer(id, peer.0),
            Action::Disk { batch, operations } => self.queue_disk(id, batch, operations),
            Action::SaveSnapshot { mark, machine } => {
                let save = Box::new(SnapshotSave::State { mark, machine });
                let delay_ms = self.plan.delays.background_ms;
                self.after(delay_ms, Event::SaveSnapshot { server: id, run, save });
            }
            Action::LoadSnapshot { file, index } => {
                self.counts.snapshots_sent += 1;
                let event = Event::LoadSnapshot { server: id, run, file, index };
                self.after(self.plan.delays.background_ms, event);
            }
            Action::CompileComponent { digest, .. } => {
                let event = Event::Compile { server: id, run, digest };
                self.after(self.plan.delays.background_ms, event);
            }
            Action::RemoveComponent { digest } => self.servers[&id].catalogue.remove(&digest),
            Action::Alarm { text } => self.on_alarm(id, text),
            Action::Warn { .. } => {}
            Action::PeersChanged { members } => self.on_peers_changed(id, members),
            Action::ShutdownComplete => self.end_in_order(id),
        }
    }

    fn close_peer(&mut self, id: u64, peer: u64) {
        self.server_mut(id).generations.remove(&peer);
        self.break_link(ordered(id, peer));
    }

    fn on_alarm(&mut self, id: u64, text: String) {
        self.show(&Observation::Alarmed { server: id, text: &text });
        self.alarms.push((id, self.now_ms, text));
    }

    /// A process that was told to stop finishes what it has given its disk to do.
    fn end_in_order(&mut self, id: u64) {
        let server = self.servers.get_mut(&id).expect("the server is one of the cluster");
        server.finish_batches();
        self.crash(id, Crash::Kill);
    }

    pub(super) fn on_compile(&mut self, id: u64, run: u64, digest: ComponentDigest) {
        if self.runs(id, run) {
            let outcome = if self.cannot_compile.contains(&(id, digest)) {
                self.show(&Observation::CannotCompile { server: id, digest });
                Err(String::from("it needs what this version does not know"))
            } else {
                self.recipes.compile(&digest)
            };
            self.servers[&id].catalogue.insert(digest, outcome);
            self.input(id, Input::ComponentCompiled { digest });
        }
    }

    /// The server that leads and serves, in the newest term if there are two.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        let serving = self.servers.values().filter(|server| {
            !server.paused && server.replica.as_ref().is_some_and(Replica::is_serving_leader)
        });
        let term = |server: &&super::Server| self.replica(server.id).raft().term();
        serving.max_by_key(term).map(|server| server.id)
    }
}

/// Where a server says that it is reached.
#[must_use]
pub fn address(id: u64) -> MemberAddress {
    MemberAddress {
        peer: format!("p{id}:1"),
        native: format!("n{id}:1"),
        zookeeper: Some(format!("z{id}:1")),
    }
}

fn fingerprint(entry: &Entry) -> u64 {
    let mut sum = Sum::default();
    sum.add(&[entry.index.0, entry.term.0, entry.kind as u64]);
    sum.add_bytes(&entry.payload);
    sum.value()
}
