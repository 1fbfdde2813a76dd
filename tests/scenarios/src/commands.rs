//! The commands of raft scripts. In: one parsed command and the cluster. Out: its trace.
//! Every command says with an example how it is written; a command does one thing and leaves the
//! rest to the next line. A command behind `quiet` leaves no trace. Never looks at traces itself.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use quorate_raft::{
    Append, AppendOutcome, AppendReply, Entry, EntryKind, Heartbeat, Index, Membership,
    MembershipChange, MembershipStep, Message, PreVote, ProposeRefusal, ReadId, ReplicaId,
    ReplicationState, Role, Settings, Term, Vote,
};

use crate::cluster::{Cluster, Flight};
use crate::script::{Command, parse_numbers};
use crate::server::Packet;
use crate::trace;

type Outcome = Result<(), String>;

/// A cluster under the control of a script.
pub struct Script {
    cluster: Cluster,
}

impl Default for Script {
    fn default() -> Self {
        Self { cluster: Cluster::new(settings()) }
    }
}

/// Round numbers, so that scripts can count: elections after 100 to 200 ms, heartbeats every 50.
fn settings() -> Settings {
    Settings {
        id: ReplicaId(0),
        seed: 1,
        election_timeout_ms_min: 100,
        election_timeout_ms_max: 200,
        heartbeat_interval_ms: 50,
        append_entries_max: 64,
        append_bytes_max: 1 << 16,
        appends_inflight_max: 8,
        uncommitted_bytes_max: 1 << 16,
    }
}

fn id(text: &str) -> Result<ReplicaId, String> {
    text.parse().map(ReplicaId).map_err(|_| format!("{text} is not a server"))
}

fn ids(text: &str) -> Result<BTreeSet<ReplicaId>, String> {
    Ok(parse_numbers(text)?.into_iter().map(ReplicaId).collect())
}

fn count(command: &Command) -> Result<usize, String> {
    let number = command.number("count", u64::MAX)?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// `1->2`.
fn link(command: &Command, position: usize) -> Result<(ReplicaId, ReplicaId), String> {
    let text = command.word(position, "a link such as 1->2")?;
    let (from, to) = text.split_once("->").ok_or_else(|| format!("{text} is not a link"))?;
    Ok((id(from)?, id(to)?))
}

impl Script {
    /// Runs one command and returns its trace.
    ///
    /// # Errors
    /// When the command cannot be run, or a property of the cluster broke.
    pub fn run(&mut self, command: &Command) -> Result<String, String> {
        if command.name == "quiet" {
            let mut inner = command.clone();
            inner.name = command.word(0, "a command")?.to_string();
            inner.words.remove(0);
            self.run(&inner)?;
            return Ok(String::new());
        }
        self.dispatch(command)?;
        Ok(self.cluster.take_trace())
    }

    fn dispatch(&mut self, command: &Command) -> Outcome {
        match command.name.as_str() {
            "cluster" => self.cluster_of(command),
            "server" => self.add_server(command),
            "campaign" => self.campaign(command),
            "elect" => self.elect(command),
            "elapse" => self.elapse(command),
            "stabilize" => self.stabilize(command),
            "propose" => self.propose(command),
            "change" => self.change(command),
            "transfer" => self.transfer(command),
            "read" => self.read(command),
            "deliver" => self.deliver(command),
            "drop" => self.drop_packets(command),
            "drop-all" => self.drop_all(),
            "delay" => self.delay(command),
            "double" => self.double(command),
            "sync" => self.sync(command),
            "cut" => self.cut(command),
            "isolate" => self.isolate(command),
            "heal" => self.heal(),
            "disconnect" => self.connection(command, false),
            "connect" => self.connection(command, true),
            "crash" => self.crash(command),
            "damage" => self.damage(command),
            "preset" => self.preset(command),
            "restart" => self.cluster.restart(id(command.word(0, "a server")?)?),
            "compact" => self.compact(command),
            "pause-applying" => self.pause_applying(command, true),
            "resume-applying" => self.pause_applying(command, false),
            "send" => self.send(command),
            "status" => self.status(),
            "progress" => self.progress(command),
            "log" => self.log(command),
            "queues" => self.queues(),
            other => Err(format!("there is no command {other}")),
        }
    }

    // Example: cluster 1,2,3 learners=4 inflight=2 entries=1 bytes=10 uncommitted=8
    fn cluster_of(&mut self, command: &Command) -> Outcome {
        let number = |key: &str, default: usize| -> Result<usize, String> {
            let value = command.number(key, default as u64)?;
            usize::try_from(value).map_err(|_| format!("{key} is too large"))
        };
        let mut settings = settings();
        settings.appends_inflight_max = number("inflight", settings.appends_inflight_max)?;
        settings.append_entries_max = number("entries", settings.append_entries_max)?;
        settings.append_bytes_max = number("bytes", settings.append_bytes_max)?;
        settings.uncommitted_bytes_max = number("uncommitted", settings.uncommitted_bytes_max)?;
        let mut membership = Membership::of_voters(ids(command.word(0, "voters")?)?);
        membership.learners = command.numbers("learners")?.into_iter().map(ReplicaId).collect();
        self.cluster = Cluster::new(settings);
        for id in membership.members() {
            self.cluster.add_server(id, membership.clone())?;
        }
        Ok(())
    }

    // A server with an empty disk that knows no membership. Example: server 4
    fn add_server(&mut self, command: &Command) -> Outcome {
        self.cluster.add_server(id(command.word(0, "a server")?)?, Membership::default())
    }

    // Clocks run until the server asks for votes; only its timer fires. With `alone=1` only its own
    // clock runs: the others still hold to the leader they heard a moment ago.
    // Example: campaign 2 alone=1
    fn campaign(&mut self, command: &Command) -> Outcome {
        let alone = command.number("alone", 0)? == 1;
        self.cluster.campaign(id(command.word(0, "a server")?)?, alone)
    }

    // Campaign and stabilize without a trace, among some servers if given: the short way to one.
    // With `hold=1` everything stops when the server leads: its first appends are on their way.
    // Example: elect 1 among=1,2,3 hold=1
    fn elect(&mut self, command: &Command) -> Outcome {
        let id = id(command.word(0, "a server")?)?;
        let everyone = self.cluster.ids();
        let among = command.options.get("among").map_or(Ok(everyone), |text| ids(text))?;
        let hold = command.number("hold", 0)? == 1;
        self.cluster.campaign(id, false)?;
        self.cluster.stabilize_until(&among, |cluster| {
            let raft = cluster.servers.get(&id).and_then(|server| server.raft.as_ref());
            hold && raft.is_some_and(|raft| raft.role() == Role::Leader)
        })?;
        let standing = trace::standing(self.cluster.server(id)?);
        let _ = self.cluster.take_trace();
        self.cluster.note(format!("{id} is {standing}"));
        Ok(())
    }

    // Forgets everything on its way. Example: drop-all
    fn drop_all(&mut self) -> Outcome {
        self.cluster.flights.clear();
        Ok(())
    }

    // All clocks, or those of some servers, run on. `settle=1`: everything arrives after each tick.
    // Example: elapse 200 1,2
    fn elapse(&mut self, command: &Command) -> Outcome {
        let duration_ms = command.word(0, "milliseconds")?;
        let duration_ms = duration_ms.parse().map_err(|_| format!("{duration_ms} is no time"))?;
        let everyone = self.cluster.ids();
        let chosen = command.words.get(1).map_or(Ok(everyone.clone()), |text| ids(text))?;
        let settle = command.number("settle", 0)? == 1;
        self.cluster.elapse(&chosen, duration_ms, |cluster| {
            if settle { cluster.stabilize(&everyone) } else { Ok(()) }
        })
    }

    // Packets and writes, oldest first, until nothing is left; among some servers if given.
    // Example: stabilize 1,2
    fn stabilize(&mut self, command: &Command) -> Outcome {
        let everyone = self.cluster.ids();
        let chosen = command.words.first().map_or(Ok(everyone), |text| ids(text))?;
        self.cluster.stabilize(&chosen)
    }

    fn refused(&mut self, id: ReplicaId, refusal: &ProposeRefusal) {
        self.cluster.note(format!("{id} refuses: {refusal}"));
    }

    // Proposes payloads, in the present term unless another is given. Example: propose 1 x y term=2
    fn propose(&mut self, command: &Command) -> Outcome {
        let id = id(command.word(0, "a server")?)?;
        let payloads: Vec<Arc<[u8]>> =
            command.words[1..].iter().map(|word| Arc::from(word.as_bytes())).collect();
        let current = self.cluster.server(id)?.running()?.term();
        let term = Term(command.number("term", current.0)?);
        let mut refusal = None;
        self.cluster.step(id, |server| {
            if let Some(raft) = server.raft.as_mut() {
                refusal = raft.propose(payloads, term).err();
            }
            server.drain()
        })?;
        if let Some(refusal) = refusal {
            self.refused(id, &refusal);
        }
        Ok(())
    }

    // Proposes a membership change. Example: change 1 add=4 learner=5 remove=1
    fn change(&mut self, command: &Command) -> Outcome {
        let id = id(command.word(0, "a server")?)?;
        let mut steps = Vec::new();
        let numbers = |key: &str| -> Result<Vec<ReplicaId>, String> {
            Ok(command.numbers(key)?.into_iter().map(ReplicaId).collect())
        };
        steps.extend(numbers("add")?.into_iter().map(MembershipStep::AddVoter));
        steps.extend(numbers("learner")?.into_iter().map(MembershipStep::AddLearner));
        steps.extend(numbers("remove")?.into_iter().map(MembershipStep::Remove));
        let mut refusal = None;
        self.cluster.step(id, |server| {
            if let Some(raft) = server.raft.as_mut() {
                refusal = raft.propose_membership(MembershipChange { steps }).err();
            }
            server.drain()
        })?;
        if let Some(refusal) = refusal {
            self.refused(id, &refusal);
        }
        Ok(())
    }

    // Moves leadership, to anybody if no target is given. Example: transfer 1 2
    fn transfer(&mut self, command: &Command) -> Outcome {
        let leader = id(command.word(0, "a server")?)?;
        let to = command.words.get(1).map(|text| id(text)).transpose()?;
        let now_ms = self.cluster.now_ms(leader);
        let mut refusal = None;
        self.cluster.step(leader, |server| {
            if let Some(raft) = server.raft.as_mut() {
                refusal = raft.transfer_leader(now_ms, to).err();
            }
            server.drain()
        })?;
        if let Some(refusal) = refusal {
            self.refused(leader, &refusal);
        }
        Ok(())
    }

    // Begins linearizable reads under numbers, together. Example: read 2 7,8
    fn read(&mut self, command: &Command) -> Outcome {
        let id = id(command.word(0, "a server")?)?;
        let reads = parse_numbers(command.word(1, "numbers for the reads")?)?;
        let now_ms = self.cluster.now_ms(id);
        reads.iter().for_each(|read| self.cluster.checks.read_begins(id, ReadId(*read)));
        self.cluster.step(id, |server| {
            if let Some(raft) = server.raft.as_mut() {
                reads.into_iter().for_each(|read| raft.read_barrier(now_ms, ReadId(read)));
            }
            server.drain()
        })
    }

    // Delivers what is on one link, oldest first. Example: deliver 1->2 count=1
    fn deliver(&mut self, command: &Command) -> Outcome {
        let (from, to) = link(command, 0)?;
        self.cluster.deliver(from, to, count(command)?)
    }

    fn flights(&mut self, command: &Command) -> Result<Vec<Flight>, String> {
        let (from, to) = link(command, 0)?;
        let kind = command.options.get("kind").cloned().unwrap_or_default();
        Ok(self.cluster.take_flights(count(command)?, |flight| {
            let text = trace::packet(flight.from, flight.to, &flight.packet);
            let word = text.split(' ').nth(1).unwrap_or_default();
            (flight.from, flight.to) == (from, to) && (kind.is_empty() || kind == word)
        }))
    }

    // Loses packets, of one kind if given. Example: drop 1->2 count=1 kind=append
    fn drop_packets(&mut self, command: &Command) -> Outcome {
        for flight in self.flights(command)? {
            let text = trace::packet(flight.from, flight.to, &flight.packet);
            self.cluster.note(format!("dropped {text}"));
        }
        Ok(())
    }

    // Lets packets arrive behind everything sent so far. Example: delay 1->2 count=1
    fn delay(&mut self, command: &Command) -> Outcome {
        let flights = self.flights(command)?;
        self.cluster.put_back(flights);
        Ok(())
    }

    // Lets packets arrive twice. Example: double 1->2
    fn double(&mut self, command: &Command) -> Outcome {
        let flights = self.flights(command)?;
        self.cluster.put_back(flights.clone());
        self.cluster.put_back(flights);
        Ok(())
    }

    // Completes writes, oldest first. Example: sync 1 count=1
    fn sync(&mut self, command: &Command) -> Outcome {
        let id = id(command.word(0, "a server")?)?;
        for _ in 0..count(command)? {
            if !self.cluster.sync(id)? {
                break;
            }
        }
        Ok(())
    }

    // Packets on these links vanish until `heal`. Example: cut 1->2 2->1
    fn cut(&mut self, command: &Command) -> Outcome {
        for position in 0..command.words.len() {
            let (from, to) = link(command, position)?;
            self.cluster.cut(from, to);
        }
        Ok(())
    }

    // Cuts every link of these servers to servers outside the group. Example: isolate 1,2
    fn isolate(&mut self, command: &Command) -> Outcome {
        let inside = ids(command.word(0, "servers")?)?;
        for outside in self.cluster.ids().difference(&inside) {
            for one in &inside {
                self.cluster.cut(*one, *outside);
                self.cluster.cut(*outside, *one);
            }
        }
        Ok(())
    }

    // Mends every link. Example: heal
    fn heal(&mut self) -> Outcome {
        self.cluster.heal();
        Ok(())
    }

    // Both ends learn that their connection broke or came up. Example: connect 1 2
    fn connection(&mut self, command: &Command, up: bool) -> Outcome {
        let one = id(command.word(0, "a server")?)?;
        self.cluster.connection(one, id(command.word(1, "another server")?)?, up)
    }

    // Stops a server; writes in progress are lost but the first few. Example: crash 1 surviving=1
    fn crash(&mut self, command: &Command) -> Outcome {
        let surviving = usize::try_from(command.number("surviving", 0)?).unwrap_or(usize::MAX);
        self.cluster.crash(id(command.word(0, "a server")?)?, surviving)
    }

    // Corrupts the stopped server's durable entries from an index on. Example: damage 1 from=3
    fn damage(&mut self, command: &Command) -> Outcome {
        let from = Index(command.number("from", 1)?);
        self.cluster.server(id(command.word(0, "a server")?)?)?.corrupt(from);
        Ok(())
    }

    // Restarts a server with the log of a history that nobody has to play: the term of each entry.
    // Example: preset 1 log=1,1,4 t=5
    fn preset(&mut self, command: &Command) -> Outcome {
        let id = id(command.word(0, "a server")?)?;
        let terms = command.numbers("log")?;
        let term = command.number("t", terms.last().copied().unwrap_or(0))?;
        self.cluster.crash(id, 0)?;
        self.cluster.server(id)?.preset(Term(term), &terms);
        self.cluster.restart(id)
    }

    // Snapshot of the applied state; all but the last `keep` applied entries go.
    // Example: compact 1 keep=2
    fn compact(&mut self, command: &Command) -> Outcome {
        let id = id(command.word(0, "a server")?)?;
        let keep = command.number("keep", 0)?;
        let effects = self.cluster.server(id)?.compact(keep)?;
        self.cluster.step(id, |_| effects)?;
        let disk = &self.cluster.server(id)?.disk;
        let (mark, entries) = (&disk.snapshot.mark, disk.entries.len());
        let line = format!("{id} has snapshot {}@{}, {entries} entries", mark.index, mark.term);
        self.cluster.note(line);
        Ok(())
    }

    // Committed entries stay unapplied for a while. Example: pause-applying 1
    fn pause_applying(&mut self, command: &Command, paused: bool) -> Outcome {
        let id = id(command.word(0, "a server")?)?;
        self.cluster.server(id)?.applying_paused = paused;
        self.cluster.step(id, crate::server::Server::drain)
    }

    // A message that no replica sent arrives at once.
    // Example: send 3->1 vote t=9 last=5@2
    fn send(&mut self, command: &Command) -> Outcome {
        let (from, to) = link(command, 0)?;
        let packet = match command.word(1, "a kind of message")? {
            "snapshot-refused" => {
                let index = Index(command.number("index", 0)?);
                Packet::SnapshotAnswer { index, installed: false }
            }
            _ => Packet::Raft(made_up(command)?),
        };
        let now_ms = self.cluster.now_ms(to);
        self.cluster.note(trace::packet(from, to, &packet));
        let outcome = self.cluster.server(to)?.receive(now_ms, from, packet);
        match outcome {
            Ok(effects) => self.cluster.step(to, |_| effects),
            Err(violation) => {
                self.cluster.note(format!("  {to} calls that illegal: {violation}"));
                Ok(())
            }
        }
    }

    // One line per server. Example: status
    fn status(&mut self) -> Outcome {
        let mut lines = Vec::new();
        for server in self.cluster.servers.values() {
            let mut line = format!("{}: {}", server.id(), trace::standing(server));
            if let Some(raft) = server.raft.as_ref() {
                let (last, committed) = (raft.last_index(), raft.committed());
                let applied = server.machine.applied;
                let _ = write!(line, " last={last} commit={committed} applied={applied}");
            }
            lines.push(line);
        }
        lines.into_iter().for_each(|line| self.cluster.note(line));
        Ok(())
    }

    // How a leader feeds its peers. Example: progress 1
    fn progress(&mut self, command: &Command) -> Outcome {
        let leader = id(command.word(0, "a server")?)?;
        let everyone = self.cluster.ids();
        let raft = self.cluster.server(leader)?.running()?;
        let mut lines = Vec::new();
        for peer in everyone {
            let Some(status) = raft.progress(peer).filter(|_| peer != leader) else { continue };
            let state = match status.state {
                ReplicationState::Probe => "probe",
                ReplicationState::Replicate => "replicate",
                ReplicationState::Snapshot => "snapshot",
            };
            let mut line =
                format!("{peer}: {state} matched={} next={}", status.matched, status.next);
            if status.inflight > 0 {
                let _ = write!(line, " inflight={}", status.inflight);
            }
            lines.push(line);
        }
        lines.into_iter().for_each(|line| self.cluster.note(line));
        Ok(())
    }

    // What a server holds in memory. Example: log 1
    fn log(&mut self, command: &Command) -> Outcome {
        let id = id(command.word(0, "a server")?)?;
        let raft = self.cluster.server(id)?.running()?;
        let (first, last) = (raft.first_index(), raft.last_index());
        let held: Vec<Entry> =
            (first.0..=last.0).filter_map(|index| raft.entry(Index(index)).cloned()).collect();
        let text = if held.is_empty() { "empty".to_string() } else { trace::entries(&held) };
        self.cluster.note(format!("{id}: {text}"));
        Ok(())
    }

    // Packets on their way and writes in progress. Example: queues
    fn queues(&mut self) -> Outcome {
        let mut lines: Vec<String> = self
            .cluster
            .flights
            .iter()
            .map(|flight| trace::packet(flight.from, flight.to, &flight.packet))
            .collect();
        for server in self.cluster.servers.values() {
            for write in &server.disk.pending {
                lines.push(format!("pending: {}", trace::write(server.id(), write)));
            }
        }
        lines.into_iter().for_each(|line| self.cluster.note(line));
        Ok(())
    }
}

fn point(command: &Command, key: &str) -> Result<(Index, Term), String> {
    let text = command.options.get(key).map_or("0@0", String::as_str);
    let (index, term) = text.split_once('@').ok_or_else(|| format!("{text} is not 3@1"))?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text} is not a number"));
    Ok((Index(number(index)?), Term(number(term)?)))
}

fn made_up(command: &Command) -> Result<Message, String> {
    let term = Term(command.number("t", 0)?);
    let (last_index, last_term) = point(command, "last")?;
    match command.word(1, "a kind of message")? {
        "vote" => Ok(Message::Vote(Vote { term, last_index, last_term, transfer: false })),
        "prevote" => {
            let (commit, commit_term) = point(command, "commit")?;
            let question = PreVote { term, last_index, last_term, commit, commit_term };
            Ok(Message::PreVote(question))
        }
        "heartbeat" => Ok(Message::Heartbeat(Heartbeat {
            term,
            session: command.number("session", 1)?,
            life: 0,
            commit: Index(command.number("commit", 0)?),
            round: 0,
        })),
        "append" => made_up_append(command, term),
        "append-reply" => Ok(Message::AppendReply(AppendReply {
            term,
            session: command.number("session", 1)?,
            life: command.number("life", 1)?,
            outcome: AppendOutcome::Accepted { matched: Index(command.number("ok", 0)?) },
        })),
        other => Err(format!("no example of {other} can be made up")),
    }
}

fn made_up_append(command: &Command, term: Term) -> Result<Message, String> {
    let (previous_index, previous_term) = point(command, "after")?;
    let mut entries = Vec::new();
    for (place, text) in command.words[2..].iter().enumerate() {
        let index = Index(previous_index.0 + 1 + place as u64);
        let payload = Arc::from(text.as_bytes());
        entries.push(Entry { index, term, kind: EntryKind::Command, payload });
    }
    let commit = Index(command.number("commit", 0)?);
    let session = command.number("session", 1)?;
    Ok(Message::Append(Append { term, session, previous_index, previous_term, commit, entries }))
}
