//! The oracle: `raft` 0.7.0 (raft-rs), with its asynchronous way of writing.
//!
//! Comes in: inputs of the network. Goes out: what the server did. Invariant: messages of a leader
//! leave beside its write, those of everybody else once the write they came with is durable; the log
//! that the replica reads is ahead of the durable one, which is all that a stop leaves. Must never
//! use the thread's random generator for what a run depends on.

use std::collections::VecDeque;

use quorate_scenarios::server::mix;
use raft::eraftpb::{Entry, EntryType, HardState, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, Ready, StateRole};

use crate::candidate::{
    APPEND_BYTES_MAX, Applied, Candidate, ELECTION_TIMEOUT_MS_MAX, ELECTION_TIMEOUT_MS_MIN,
    Effects, HEARTBEAT_INTERVAL_MS, Input, Kind, Place, Sync,
};

/// One tick of raft-rs.
const TICK_MS: u64 = 10;

/// A server around raft-rs.
pub struct Theirs {
    place: Place,
    disk: Disk,
    process: Option<Process>,
}

/// What survives a stop.
#[derive(Default)]
struct Disk {
    hard_state: HardState,
    entries: Vec<Entry>,
}

impl Disk {
    fn make_durable(&mut self, write: &mut Write) {
        if let Some(hard_state) = write.hard_state.take() {
            self.hard_state = hard_state;
        }
        if let Some(first) = write.entries.first() {
            let from = first.index;
            self.entries.retain(|entry| entry.index < from);
            let last = self.entries.last().map_or(0, |entry| entry.index);
            assert!(from == last + 1, "a gap in the durable log");
        }
        self.entries.append(&mut write.entries);
    }
}

/// A write in progress.
struct Write {
    /// The number of the `Ready` that it came with.
    number: u64,
    hard_state: Option<HardState>,
    entries: Vec<Entry>,
    /// What may be said once it is durable.
    promises: Vec<Message>,
}

struct Process {
    replica: RawNode<MemStorage>,
    store: MemStorage,
    writes: VecDeque<Write>,
    next_tick_ms: u64,
    jitter: Jitter,
}

/// Election timeouts that follow from a seed. raft-rs draws its own from the thread's generator when
/// it enters a term or a role; right after each input this replaces what it drew.
struct Jitter {
    seed: u64,
    draws: u64,
    ticks: usize,
    drawn_for: (u64, StateRole, u64),
}

impl Jitter {
    fn new(seed: u64) -> Self {
        let mut jitter = Self { seed, draws: 0, ticks: 0, drawn_for: (0, StateRole::Follower, 0) };
        jitter.draw();
        jitter
    }

    fn draw(&mut self) {
        let (least, most) = (ticks(ELECTION_TIMEOUT_MS_MIN), ticks(ELECTION_TIMEOUT_MS_MAX));
        self.draws += 1;
        let span = (most - least) as u64;
        self.ticks = least + (mix(self.seed, self.draws) % span) as usize;
    }

    fn settle(&mut self, replica: &mut RawNode<MemStorage>) {
        let raft = &mut replica.raft;
        let present = (raft.term, raft.state, raft.leader_id);
        // A pre-candidate keeps the timeout of the follower it was.
        if present != self.drawn_for && raft.state != StateRole::PreCandidate {
            self.draw();
        }
        self.drawn_for = present;
        raft.set_randomized_election_timeout(self.ticks);
    }
}

fn ticks(duration_ms: u64) -> usize {
    usize::try_from(duration_ms / TICK_MS).expect("a few hundred ticks")
}

impl Process {
    fn start(place: &Place, disk: &Disk, now_ms: u64, seed: u64) -> Result<Self, String> {
        let voters: Vec<u64> = (1..=place.servers).collect();
        let store = MemStorage::new_with_conf_state((voters, Vec::new()));
        store.wl().set_hardstate(disk.hard_state.clone());
        store.wl().append(&disk.entries).map_err(|error| error.to_string())?;
        let config = Config {
            id: place.id,
            election_tick: ticks(ELECTION_TIMEOUT_MS_MIN),
            heartbeat_tick: ticks(HEARTBEAT_INTERVAL_MS),
            min_election_tick: ticks(ELECTION_TIMEOUT_MS_MIN),
            max_election_tick: ticks(ELECTION_TIMEOUT_MS_MAX),
            max_size_per_msg: APPEND_BYTES_MAX as u64,
            max_inflight_msgs: place.appends_inflight_max,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            ..Config::default()
        };
        let silent = slog::Logger::root(slog::Discard, slog::o!());
        let replica =
            RawNode::new(&config, store.clone(), &silent).map_err(|error| error.to_string())?;
        let (writes, next_tick_ms) = (VecDeque::new(), now_ms + TICK_MS);
        Ok(Self { replica, store, writes, next_tick_ms, jitter: Jitter::new(seed) })
    }

    /// Ticks missed during a pause are not made up: a timer in a real process would skip them too.
    fn tick(&mut self, now_ms: u64) {
        self.replica.tick();
        self.next_tick_ms = now_ms + TICK_MS;
    }

    fn receive(&mut self, message: Message) -> Result<(), String> {
        self.replica.step(message).map_err(|error| error.to_string())
    }

    fn propose(&mut self, payloads: Vec<Vec<u8>>) -> bool {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.replica.raft.id;
        let entries: Vec<Entry> = payloads
            .into_iter()
            .map(|payload| Entry { data: payload.into(), ..Entry::default() })
            .collect();
        message.set_entries(entries.into());
        self.replica.step(message).is_ok()
    }

    fn finish_write(&mut self, disk: &mut Disk, effects: &mut Effects<Message>) {
        let Some(mut write) = self.writes.pop_front() else { return };
        disk.make_durable(&mut write);
        self.replica.on_persist_ready(write.number);
        effects.messages.extend(write.promises.into_iter().map(|message| (message.to, message)));
    }

    fn drain(
        &mut self,
        disk: &mut Disk,
        effects: &mut Effects<Message>,
    ) -> Result<(), raft::Error> {
        self.jitter.settle(&mut self.replica);
        while self.replica.has_ready() {
            let ready = self.replica.ready();
            self.handle(ready, disk, effects)?;
        }
        Ok(())
    }

    fn handle(
        &mut self,
        mut ready: Ready,
        disk: &mut Disk,
        effects: &mut Effects<Message>,
    ) -> Result<(), raft::Error> {
        let messages = ready.take_messages();
        effects.messages.extend(messages.into_iter().map(|message| (message.to, message)));
        if let Some(hard_state) = ready.hs() {
            self.store.wl().set_hardstate(hard_state.clone());
        }
        self.store.wl().append(ready.entries())?;
        let committed = ready.take_committed_entries();
        self.writes.push_back(Write {
            number: ready.number(),
            hard_state: ready.hs().cloned(),
            entries: ready.take_entries(),
            promises: ready.take_persisted_messages(),
        });
        let sync = if ready.must_sync() { Sync::Needed } else { Sync::Unneeded };
        self.replica.advance_append_async(ready);
        if let Some(last) = committed.last() {
            self.replica.advance_apply_to(last.index);
        }
        effects.applied.extend(committed.into_iter().map(applied));
        if sync == Sync::Unneeded && self.writes.len() == 1 {
            self.finish_write(disk, effects);
        } else {
            effects.writes.push(sync);
        }
        Ok(())
    }
}

fn applied(entry: Entry) -> Applied {
    assert!(entry.entry_type == EntryType::EntryNormal, "the membership never changes");
    Applied { index: entry.index, term: entry.term, payload: entry.data.to_vec() }
}

impl Candidate for Theirs {
    type Message = Message;

    fn new(place: Place) -> Self {
        Self { place, disk: Disk::default(), process: None }
    }

    fn take(&mut self, now_ms: u64, input: Input<Message>) -> Result<Effects<Message>, String> {
        let mut effects = Effects::default();
        if let Input::Start(seed) = input {
            self.process = Some(Process::start(&self.place, &self.disk, now_ms, seed)?);
        }
        let id = self.place.id;
        let process = self.process.as_mut().ok_or_else(|| format!("{id} is down"))?;
        match input {
            Input::Start(_) => {}
            Input::Tick => process.tick(now_ms),
            Input::Receive(_, message) => process.receive(message)?,
            Input::Disconnected(peer) => process.replica.report_unreachable(peer),
            Input::Connected(peer) => process.replica.report_unreachable(peer),
            Input::Propose(payloads) => effects.proposed = process.propose(payloads),
            Input::WriteDone => process.finish_write(&mut self.disk, &mut effects),
        }
        process.drain(&mut self.disk, &mut effects).map_err(|error| error.to_string())?;
        Ok(effects)
    }

    fn stop(&mut self) {
        self.process = None;
    }

    fn runs(&self) -> bool {
        self.process.is_some()
    }

    fn next_tick_ms(&self) -> u64 {
        self.process.as_ref().map_or(u64::MAX, |process| process.next_tick_ms)
    }

    fn leads_in(&self) -> Option<u64> {
        let raft = &self.process.as_ref()?.replica.raft;
        (raft.state == StateRole::Leader).then_some(raft.term)
    }

    fn kind(message: &Message) -> Kind {
        match message.get_msg_type() {
            MessageType::MsgAppend if message.entries.is_empty() => Kind::AppendEmpty,
            MessageType::MsgAppend => Kind::Append,
            MessageType::MsgAppendResponse => Kind::AppendReply,
            MessageType::MsgHeartbeat => Kind::Heartbeat,
            MessageType::MsgHeartbeatResponse => Kind::HeartbeatReply,
            MessageType::MsgRequestVote => Kind::Election,
            MessageType::MsgRequestVoteResponse => Kind::Election,
            MessageType::MsgRequestPreVote => Kind::Election,
            MessageType::MsgRequestPreVoteResponse => Kind::Election,
            _ => Kind::Other,
        }
    }
}
