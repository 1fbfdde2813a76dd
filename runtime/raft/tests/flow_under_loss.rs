//! Flow control keeps its promise under mild loss: nearly everything proposed commits soon, and
//! not by sending everything again and again.
//!
//! Five replicas, 3 % of messages lost, delays of 1 to 15 ms (so messages overtake one another),
//! disks of 1 to 4 ms, 100 proposals a second at whoever leads. Naive resending of the window on
//! each rejection once halved what committed here; probing in one-entry steps would show as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_raft::{
    HardState, Index, Membership, Message, Raft, ReplicaId, Role, Settings, SnapshotMark, Start,
    Term, WriteSequence,
};

const REPLICAS: u64 = 5;
const RUN_MS: u64 = 60_000;

enum Event {
    Message { from: ReplicaId, to: ReplicaId, message: Message },
    Durable { at: ReplicaId, sequence: WriteSequence },
}

#[derive(Default, Debug)]
struct Counts {
    proposed: u64,
    committed: u64,
    appends: u64,
    entries_sent: u64,
    elections: u64,
}

struct Run {
    seed: u64,
    replicas: BTreeMap<ReplicaId, Raft>,
    events: BTreeMap<(u64, u64), Event>,
    numbered: u64,
    loss_permille: u64,
    /// Random part of the delay; 1: messages arrive in order.
    jitter_ms: u64,
    counts: Counts,
}

impl Run {
    fn new(seed: u64, loss_permille: u64, jitter_ms: u64) -> Run {
        let ids = || (1..=REPLICAS).map(ReplicaId);
        let membership = Membership::of_voters(ids());
        let snapshot = SnapshotMark { index: Index(0), term: Term(0), membership };
        let replica = |id| {
            let hard_state = HardState::default();
            let (snapshot, entries) = (snapshot.clone(), Vec::new());
            let start = Start { hard_state, snapshot, entries, refetching: false };
            (id, Raft::new(Settings::new(id, seed), start, 0))
        };
        let replicas = ids().map(replica).collect();
        let (events, counts) = (BTreeMap::new(), Counts::default());
        Run { seed, replicas, events, numbered: 0, loss_permille, jitter_ms, counts }
    }

    fn draw(&mut self, limit: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }

    fn schedule(&mut self, at_ms: u64, event: Event) {
        self.numbered += 1;
        self.events.insert((at_ms, self.numbered), event);
    }

    fn drain(&mut self, id: ReplicaId, now_ms: u64) {
        let Some(raft) = self.replicas.get_mut(&id) else { return };
        let output = raft.take_output();
        if let Some(index) = output.apply_to {
            raft.applied(index);
        }
        if output.role_changed && raft.role() == Role::Leader {
            self.counts.elections += 1;
        }
        if let Some(write) = output.write {
            let at_ms = now_ms + 1 + self.draw(4);
            self.schedule(at_ms, Event::Durable { at: id, sequence: write.sequence });
        }
        for (to, message) in output.messages {
            if let Message::Append(append) = &message {
                self.counts.appends += 1;
                self.counts.entries_sent += append.entries.len() as u64;
            }
            if self.draw(1_000) >= self.loss_permille {
                let at_ms = now_ms + 1 + self.draw(self.jitter_ms);
                self.schedule(at_ms, Event::Message { from: id, to, message });
            }
        }
    }

    fn handle(&mut self, now_ms: u64, event: Event) {
        let id = match &event {
            Event::Message { to, .. } => *to,
            Event::Durable { at, .. } => *at,
        };
        let Some(raft) = self.replicas.get_mut(&id) else { return };
        match event {
            Event::Message { from, message, .. } => {
                let taken = raft.receive(now_ms, from, message);
                assert_eq!(taken, Ok(()), "an honest peer was refused");
            }
            // Writes finish in order: a later one finishing first has carried the earlier along.
            Event::Durable { sequence, .. } => raft.durable(sequence),
        }
        self.drain(id, now_ms);
    }

    fn propose(&mut self) {
        let leads = |raft: &&mut Raft| raft.role() == Role::Leader;
        let leader = self.replicas.values_mut().filter(leads).max_by_key(|raft| raft.term());
        if let Some(leader) = leader
            && leader.propose(vec![Arc::from([0u8; 64])], leader.term()).is_ok()
        {
            self.counts.proposed += 1;
        }
    }

    fn run(mut self) -> Counts {
        for now_ms in 0..RUN_MS {
            if now_ms % 10 == 0 {
                self.propose();
            }
            for id in (1..=REPLICAS).map(ReplicaId) {
                if let Some(raft) = self.replicas.get_mut(&id) {
                    raft.tick(now_ms);
                }
                self.drain(id, now_ms);
            }
            while let Some(first) = self.events.first_entry().filter(|due| due.key().0 <= now_ms) {
                let event = first.remove();
                self.handle(now_ms, event);
            }
        }
        let committed = self.replicas.values().map(|raft| raft.committed().0).max();
        self.counts.committed = committed.unwrap_or_default();
        self.counts
    }
}

#[test]
fn mild_loss_costs_little() {
    for seed in 1..=3 {
        let counts = Run::new(seed, 30, 15).run();
        let copies = counts.proposed * (REPLICAS - 1);
        assert!(counts.proposed >= 5_500, "seed {seed}: {counts:?}");
        assert!(counts.committed * 100 >= counts.proposed * 99, "seed {seed}: {counts:?}");
        assert!(counts.entries_sent * 10 <= copies * 20, "seed {seed}: {counts:?}");
        assert!(counts.appends * 10 <= copies * 30, "seed {seed}: {counts:?}");
        assert_eq!(counts.elections, 1, "seed {seed}: {counts:?}");
    }
}

#[test]
fn without_loss_and_in_order_every_entry_is_sent_once_to_each_peer() {
    let counts = Run::new(9, 0, 1).run();
    let copies = counts.proposed * (REPLICAS - 1);
    assert!(counts.entries_sent * 10 <= copies * 10 + 100, "{counts:?}");
    assert_eq!(counts.elections, 1, "{counts:?}");
}
