//! The candidate under test: `quorate-raft` in the server that the scenarios use.
//!
//! Comes in: inputs of the network. Goes out: what the server did. Invariant: the server applies only
//! what its replica released. Must never compact, so that no snapshot is sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_raft::{EntryKind, Membership, Message, ReplicaId, Role, Settings};
use quorate_scenarios::server::{Effect, Packet, Server};

use crate::candidate::{
    APPEND_BYTES_MAX, Applied, Candidate, ELECTION_TIMEOUT_MS_MAX, ELECTION_TIMEOUT_MS_MIN,
    Effects, HEARTBEAT_INTERVAL_MS, Input, Kind, Place, Sync,
};

/// A server around our Raft.
pub struct Ours {
    server: Server,
}

impl Ours {
    fn settings(place: &Place) -> Settings {
        Settings {
            election_timeout_ms_min: ELECTION_TIMEOUT_MS_MIN,
            election_timeout_ms_max: ELECTION_TIMEOUT_MS_MAX,
            heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
            append_entries_max: usize::MAX,
            append_bytes_max: APPEND_BYTES_MAX,
            appends_inflight_max: place.appends_inflight_max,
            uncommitted_bytes_max: usize::MAX,
            ..Settings::new(ReplicaId(place.id), 0)
        }
    }

    fn start(&mut self, now_ms: u64, seed: u64) -> Vec<Effect> {
        self.server.settings.seed = seed;
        self.server.start(now_ms);
        self.server.drain()
    }

    fn tick(&mut self, now_ms: u64) -> Result<Vec<Effect>, String> {
        self.server.running()?.tick(now_ms);
        Ok(self.server.drain())
    }

    fn connection(&mut self, peer: u64, up: bool) -> Result<Vec<Effect>, String> {
        let raft = self.server.running()?;
        if up {
            raft.peer_connected(ReplicaId(peer));
        } else {
            raft.peer_disconnected(ReplicaId(peer));
        }
        Ok(self.server.drain())
    }

    fn propose(&mut self, payloads: Vec<Vec<u8>>) -> Result<(bool, Vec<Effect>), String> {
        let raft = self.server.running()?;
        let payloads = payloads.into_iter().map(Arc::from).collect();
        let proposed = raft.propose(payloads, raft.term()).is_ok();
        Ok((proposed, self.server.drain()))
    }

    fn write_done(&mut self) -> Vec<Effect> {
        let done = self.server.complete_write();
        done.map_or_else(Vec::new, |(_, effects)| effects)
    }
}

impl Candidate for Ours {
    type Message = Message;

    fn new(place: Place) -> Self {
        let voters: BTreeSet<ReplicaId> = (1..=place.servers).map(ReplicaId).collect();
        let membership = Membership { voters, ..Membership::default() };
        let mut server = Server::new(Self::settings(&place), membership, 0);
        server.crash(0);
        Self { server }
    }

    fn take(&mut self, now_ms: u64, input: Input<Message>) -> Result<Effects<Message>, String> {
        let mut proposed = false;
        let happened = match input {
            Input::Start(seed) => self.start(now_ms, seed),
            Input::Tick => self.tick(now_ms)?,
            Input::Receive(from, message) => {
                self.server.receive(now_ms, ReplicaId(from), Packet::Raft(message))?
            }
            Input::Disconnected(peer) => self.connection(peer, false)?,
            Input::Connected(peer) => self.connection(peer, true)?,
            Input::Propose(payloads) => {
                let (taken, happened) = self.propose(payloads)?;
                proposed = taken;
                happened
            }
            Input::WriteDone => self.write_done(),
        };
        let mut effects = Effects { proposed, ..Effects::default() };
        happened.into_iter().for_each(|effect| note(&mut effects, effect));
        Ok(effects)
    }

    fn stop(&mut self) {
        self.server.crash(0);
    }

    fn runs(&self) -> bool {
        self.server.raft.is_some()
    }

    fn next_tick_ms(&self) -> u64 {
        self.server.raft.as_ref().map_or(u64::MAX, |raft| raft.next_deadline_ms())
    }

    fn leads_in(&self) -> Option<u64> {
        let raft = self.server.raft.as_ref()?;
        (raft.role() == Role::Leader).then(|| raft.term().0)
    }

    fn kind(message: &Message) -> Kind {
        match message {
            Message::Append(append) if append.entries.is_empty() => Kind::AppendEmpty,
            Message::Append(_) => Kind::Append,
            Message::AppendReply(_) => Kind::AppendReply,
            Message::Heartbeat(_) => Kind::Heartbeat,
            Message::HeartbeatReply(_) => Kind::HeartbeatReply,
            Message::PreVote(_) | Message::PreVoteReply(_) => Kind::Election,
            Message::Vote(_) | Message::VoteReply(_) => Kind::Election,
            Message::ReadIndex(_) | Message::ReadIndexReply(_) => Kind::Other,
            Message::TimeoutNow(_) => Kind::Other,
        }
    }
}

fn note(effects: &mut Effects<Message>, effect: Effect) {
    match effect {
        Effect::Send(to, Packet::Raft(message)) => effects.messages.push((to.0, message)),
        Effect::Queue(_) => effects.writes.push(Sync::Needed),
        Effect::Apply(entry) => effects.applied.push(Applied {
            index: entry.index.0,
            term: entry.term.0,
            payload: match entry.kind {
                EntryKind::Command => entry.payload.to_vec(),
                EntryKind::Empty | EntryKind::Membership => Vec::new(),
            },
        }),
        Effect::Send(_, Packet::Snapshot { .. } | Packet::SnapshotAnswer { .. }) => {
            unreachable!("a snapshot where nothing is compacted")
        }
        Effect::Install(_) => unreachable!("a snapshot where nothing is compacted"),
        Effect::Answer(..) | Effect::Role | Effect::Membership => {}
    }
}
