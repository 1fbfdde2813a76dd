//! A peer may say anything: the replica refuses or follows, and never panics.
//!
//! Random messages with likely and extreme numbers go to replicas in every role, whose writes
//! become durable and whose entries are applied in between. Nothing is asserted about the outcome
//! beyond what the core itself asserts, that refusals leave no trace, and that commit never falls.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_raft::{
    Append, AppendOutcome, AppendReply, Entry, EntryKind, HardState, Heartbeat, HeartbeatReply,
    Index, Membership, Message, PreVote, PreVoteReply, Raft, ReadId, ReadIndex, ReadIndexReply,
    ReplicaId, Settings, SnapshotMark, Start, Term, TimeoutNow, Vote, VoteReply,
};

struct Prng(u64);

impl Prng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Mostly around `near`, sometimes an extreme.
    fn number(&mut self, near: u64) -> u64 {
        match self.below(40) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << 62,
            3 => self.next(),
            _ => near.saturating_add(self.below(5)).saturating_sub(2),
        }
    }
}

fn start() -> (Settings, Start) {
    let mut membership = Membership::of_voters([1, 2, 3].map(ReplicaId));
    membership.learners.insert(ReplicaId(4));
    let snapshot = SnapshotMark { index: Index(0), term: Term(0), membership };
    let hard_state = HardState::default();
    let start = Start { hard_state, snapshot, entries: Vec::new(), refetching: false };
    (Settings::new(ReplicaId(1), 7), start)
}

fn entries(prng: &mut Prng, previous: u64, term: u64) -> Vec<Entry> {
    let mut list = Vec::new();
    for step in 0..prng.below(4) {
        let (kind, payload) = match prng.below(12) {
            0 => (EntryKind::Membership, vec![1, 0, 9]),
            1 => {
                let bits = 1 + prng.below(15);
                let voters = (0..4).filter(|bit| bits & (1 << bit) != 0).map(|bit| bit + 1);
                let membership = Membership::of_voters(voters.map(ReplicaId));
                (EntryKind::Membership, membership.encode())
            }
            _ => (EntryKind::Command, vec![0; 5]),
        };
        let index = match prng.below(30) {
            0 => prng.number(previous),
            _ => previous.wrapping_add(1 + step),
        };
        let term = if prng.below(10) == 0 { prng.number(term) } else { term };
        let payload = Arc::from(payload);
        list.push(Entry { index: Index(index), term: Term(term), kind, payload });
    }
    list
}

fn message(prng: &mut Prng, raft: &Raft, from: ReplicaId) -> Message {
    let ahead = prng.below(20) / 19;
    let term = Term(prng.number(raft.term().0 + ahead));
    let near = [raft.last_index().0, raft.committed().0, raft.first_index().0];
    let near = near[prng.below(3) as usize];
    let index = Index(prng.number(near));
    let other = Index(prng.number(near));
    let held = raft.term_at(index).unwrap_or_default();
    let index_term = if prng.below(3) == 0 { Term(prng.number(held.0)) } else { held };
    let session = prng.number(raft.progress(from).map_or(1, |_| 3));
    let (life, round, granted) = (prng.number(2), prng.below(4), prng.below(2) == 0);
    let (commit, commit_term) = (other, Term(prng.number(raft.term().0)));
    match prng.below(11) {
        0 => {
            let (last_index, last_term) = (index, index_term);
            Message::PreVote(PreVote { term, last_index, last_term, commit, commit_term })
        }
        1 => {
            let asked_in = raft.term();
            Message::PreVoteReply(PreVoteReply { term, asked_in, granted, commit, commit_term })
        }
        2 => {
            let (last_index, last_term, transfer) = (index, index_term, prng.below(4) == 0);
            Message::Vote(Vote { term, last_index, last_term, transfer })
        }
        3 => Message::VoteReply(VoteReply { term, granted }),
        4 | 5 => {
            let entries = entries(prng, index.0, term.0);
            let (previous_index, previous_term) = (index, index_term);
            let append = Append { term, session, previous_index, previous_term, commit, entries };
            Message::Append(append)
        }
        6 => {
            let outcome = match prng.below(2) {
                0 => AppendOutcome::Accepted { matched: index },
                _ => {
                    let (hint_index, hint_term) = (other, index_term);
                    AppendOutcome::Rejected { previous: index, hint_index, hint_term }
                }
            };
            Message::AppendReply(AppendReply { term, session, life, outcome })
        }
        7 => Message::Heartbeat(Heartbeat { term, session, life, commit, round }),
        8 => Message::HeartbeatReply(HeartbeatReply { term, session, life, round }),
        9 => match prng.below(2) {
            0 => Message::ReadIndex(ReadIndex { term, request: prng.next() }),
            _ => {
                let (request, index) = (prng.next(), Some(index));
                Message::ReadIndexReply(ReadIndexReply { term, request, index })
            }
        },
        _ => Message::TimeoutNow(TimeoutNow { term }),
    }
}

/// Lets the shell's side happen: drains, sometimes completes writes, applies what is released.
fn shell(prng: &mut Prng, raft: &mut Raft, now_ms: u64) {
    let output = raft.take_output();
    if let Some(index) = output.apply_to {
        assert!(index <= raft.durable_index());
        raft.applied(index);
    }
    if let Some(write) = output.write
        && prng.below(4) > 0
    {
        raft.durable(write.sequence);
    }
    match prng.below(40) {
        0 => raft.read_barrier(now_ms, ReadId(prng.next())),
        1 => raft.peer_connected(ReplicaId(2 + prng.below(3))),
        2 => raft.snapshot_sent(ReplicaId(2 + prng.below(3)), Ok(Index(prng.number(5)))),
        3 => _ = raft.transfer_leader(now_ms, None),
        4 => _ = raft.propose(vec![Arc::from([1u8; 3])], raft.term()),
        5 => {
            let index = raft.applied_index();
            if let Some(term) = raft.term_at(index) {
                let membership = raft.membership_at(index);
                let mark = SnapshotMark { index, term, membership };
                raft.compacted(mark, Index(index.0.saturating_sub(prng.below(5))));
            }
        }
        6 => {
            let (index, term) = (Index(prng.number(raft.committed().0 + 2)), raft.term());
            let mark = SnapshotMark { index, term, membership: raft.membership().clone() };
            raft.install_snapshot(now_ms, ReplicaId(2 + prng.below(2)), term, mark);
        }
        _ => {}
    }
}

#[test]
fn no_message_makes_a_replica_panic() {
    let mut roles = BTreeSet::new();
    for seed in 0..200 {
        let mut prng = Prng(seed);
        let (settings, start) = start();
        let mut now_ms = 0;
        let mut raft = Raft::new(settings, start, now_ms);
        for step in 0..2_500 {
            now_ms += prng.below(60);
            let committed = raft.committed();
            let from = ReplicaId(1 + prng.below(5));
            let said = message(&mut prng, &raft, from);
            let before = (raft.term(), raft.role(), raft.last_index(), raft.leader());
            if raft.receive(now_ms, from, said).is_err() {
                let after = (raft.term(), raft.role(), raft.last_index(), raft.leader());
                assert_eq!(before, after, "seed {seed} step {step}: a refusal left a trace");
            }
            raft.tick(now_ms);
            shell(&mut prng, &mut raft, now_ms);
            roles.insert(format!("{:?}", raft.role()));
            assert!(raft.committed() >= committed, "seed {seed} step {step}: commit fell");
            assert!(raft.next_deadline_ms() >= now_ms, "seed {seed} step {step}: busy timer");
        }
    }
    assert_eq!(roles.len(), 5, "only {roles:?} were put to the test");
}
