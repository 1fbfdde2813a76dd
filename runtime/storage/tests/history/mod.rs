//! Random histories of a log, and what must be read back after them.
//!
//! Comes in: a seed. Goes out: batches for a log, and the state that the log has after each.
//! Invariant: a history is one that consensus could produce: terms grow, truncation stays above
//! snapshots, marks lie inside the log. Must never: share code with the log that it judges.
#![allow(dead_code, reason = "each test file uses its part")]

use quorate_faulty_disk::{Choices, FaultyDisk};
use quorate_raft::{Entry, EntryKind, HardState, Index, Membership, ReplicaId, SnapshotMark, Term};
use quorate_storage::{DiskOperation, Log, LogBatch, LogSettings, Recovered, ServerIdentity};
use quorate_types::{Incarnation, ServerId};
use std::sync::Arc;

pub const SETTINGS: LogSettings = LogSettings { segment_bytes: 4_096 };

pub fn identity() -> ServerIdentity {
    ServerIdentity { cluster: 11, server: ServerId(2), incarnation: Incarnation(0xfeed) }
}

pub fn membership(voters: u64) -> Membership {
    Membership::of_voters((1..=voters).map(ReplicaId))
}

/// What a log holds.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub hard_state: HardState,
    pub snapshot: SnapshotMark,
    /// Everything since the last install; the log may have let go of what the snapshot covers.
    pub entries: Vec<Entry>,
    pub refetching: bool,
}

impl State {
    pub fn new() -> State {
        State {
            hard_state: HardState::default(),
            snapshot: SnapshotMark { index: Index(0), term: Term(0), membership: membership(3) },
            entries: Vec::new(),
            refetching: false,
        }
    }

    pub fn last_index(&self) -> Index {
        let last = self.entries.last().map_or(Index(0), |entry| entry.index);
        last.max(self.snapshot.index)
    }

    /// Whether `read` is this state, apart from the hard state and from entries that the snapshot
    /// covers.
    pub fn is_log_of(&self, read: &Recovered) -> bool {
        let needed = self.entries.iter().filter(|entry| entry.index > self.snapshot.index);
        self.snapshot == read.snapshot
            && self.refetching == read.refetching
            && self.entries.ends_with(&read.entries)
            && read.entries.len() >= needed.count()
    }
}

/// A batch that owns its parts.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub hard_state: Option<HardState>,
    pub truncate_from: Option<Index>,
    pub entries: Vec<Entry>,
    pub snapshot_mark: Option<SnapshotMark>,
    pub installed: Option<SnapshotMark>,
    pub refetching: Option<bool>,
}

impl Batch {
    pub fn borrow(&self) -> LogBatch<'_> {
        LogBatch {
            hard_state: self.hard_state,
            truncate_from: self.truncate_from,
            entries: &self.entries,
            snapshot_mark: self.snapshot_mark.as_ref(),
            installed: self.installed.as_ref(),
            refetching: self.refetching,
        }
    }
}

/// The state after `batch`.
pub fn after(state: &State, batch: &Batch) -> State {
    let mut next = state.clone();
    next.hard_state = batch.hard_state.unwrap_or(next.hard_state);
    if let Some(mark) = &batch.installed {
        next.entries.clear();
        next.snapshot = mark.clone();
    }
    if let Some(from) = batch.truncate_from {
        next.entries.retain(|entry| entry.index < from);
    }
    next.entries.extend(batch.entries.iter().cloned());
    if let Some(mark) = &batch.snapshot_mark {
        next.snapshot = mark.clone();
    }
    next.refetching = batch.refetching.unwrap_or(next.refetching);
    next
}

/// A batch that may follow `state`.
pub fn draw_batch(state: &State, choices: &mut Choices) -> Batch {
    let mut batch = Batch::default();
    let mut term = state.hard_state.term;
    if choices.one_in(3) {
        term = Term(term.0 + 1 + choices.below(2));
        let vote = (!choices.one_in(3)).then(|| ReplicaId(1 + choices.below(3)));
        batch.hard_state = Some(HardState { term, vote });
    }
    if choices.one_in(25) {
        let index = Index(state.last_index().0 + 1 + choices.below(5));
        let membership = membership(1 + choices.below(5));
        batch.installed = Some(SnapshotMark { index, term, membership });
    } else if choices.one_in(8) && state.last_index() > state.snapshot.index {
        let span = state.last_index().0 - state.snapshot.index.0;
        batch.truncate_from = Some(Index(state.snapshot.index.0 + 1 + choices.below(span)));
    }
    let shortened = after(state, &batch);
    for number in 0..choices.below(4) {
        let index = Index(shortened.last_index().0 + 1 + number);
        batch.entries.push(draw_entry(index, term, choices));
    }
    let grown = after(state, &batch);
    let span = grown.last_index().0 - grown.snapshot.index.0;
    if choices.one_in(5) && span > 0 && batch.installed.is_none() {
        let index = Index(grown.snapshot.index.0 + 1 + choices.below(span));
        let entry = grown.entries.iter().find(|entry| entry.index == index).expect("in the log");
        let membership = membership(1 + choices.below(5));
        batch.snapshot_mark = Some(SnapshotMark { index, term: entry.term, membership });
    }
    if choices.one_in(15) {
        batch.refetching = Some(choices.one_in(2));
    }
    batch
}

fn draw_entry(index: Index, term: Term, choices: &mut Choices) -> Entry {
    let kind = match choices.below(10) {
        0 => EntryKind::Empty,
        1 => EntryKind::Membership,
        _ => EntryKind::Command,
    };
    let bytes = match choices.below(40) {
        0 => 5_000 + choices.below(3_000),
        1..10 => choices.below(20),
        _ => choices.below(300),
    };
    // Sequences of zeros and of bytes that look like a frame are the ones that mislead a scan.
    let payload: Vec<u8> = match choices.below(4) {
        0 => vec![0; bytes as usize],
        1 => b"QFRM\x02\0\0\0".iter().copied().cycle().take(bytes as usize).collect(),
        _ => (0..bytes).map(|_| choices.next() as u8).collect(),
    };
    Entry { index, term, kind, payload: Arc::from(payload) }
}

/// One thing for a disk to do, and which batch is durable once it is done.
#[derive(Clone, Debug)]
pub struct Step {
    pub operation: DiskOperation,
    /// The batch that this step belongs to: a place in `History::states`.
    pub batch: usize,
    /// Number that `Log::durable` wants, at the last step of a batch.
    pub completes: Option<u64>,
}

/// A log at work, its batches on their way to a disk.
#[derive(Clone, Debug)]
pub struct History {
    pub log: Log,
    /// `states[n]` holds after batch `n`; the first one is what the log began with.
    pub states: Vec<State>,
    /// Not performed yet, in order.
    pub queue: Vec<Step>,
}

impl History {
    pub fn create() -> History {
        let (log, operations) = Log::create(SETTINGS, identity(), &membership(3));
        let mut history = History { log, states: vec![State::new()], queue: Vec::new() };
        history.enqueue(operations);
        history
    }

    /// A log that continues from what was read; `operations` are those of recovery.
    pub fn continued(read: &Recovered) -> History {
        let state = State {
            hard_state: read.hard_state,
            snapshot: read.snapshot.clone(),
            entries: read.entries.clone(),
            refetching: read.refetching,
        };
        let mut history = History { log: read.log.clone(), states: vec![state], queue: Vec::new() };
        history.enqueue(read.operations.clone());
        history
    }

    fn enqueue(&mut self, operations: Vec<DiskOperation>) {
        let batch = self.states.len() - 1;
        let count = operations.len();
        for (number, operation) in operations.into_iter().enumerate() {
            let completes = (number + 1 == count).then(|| self.log.newest_sequence());
            self.queue.push(Step { operation, batch, completes });
        }
    }

    pub fn append(&mut self, batch: &Batch) {
        let next = after(self.newest(), batch);
        self.states.push(next);
        let operations = self.log.append(&batch.borrow());
        self.enqueue(operations);
    }

    pub fn newest(&self) -> &State {
        self.states.last().expect("a history has a first state")
    }

    /// One random act of a server: mostly a batch, sometimes upkeep.
    pub fn act(&mut self, choices: &mut Choices) {
        match choices.below(16) {
            0 => {
                let operations = self.log.vouch();
                self.enqueue(operations);
            }
            1 => {
                let operations = self.log.prepare_spare();
                self.enqueue(operations);
            }
            2 | 3 => {
                let keep_from = Index(self.newest().snapshot.index.0 + 2 - choices.below(2));
                let operations = self.log.compact(keep_from);
                self.enqueue(operations);
            }
            _ => {
                let batch = draw_batch(self.newest(), choices);
                self.append(&batch);
            }
        }
    }

    /// Leaves out syncs as `DiskOperation` allows; a batch whose sync is left out is done with the
    /// sync that follows.
    pub fn merge_syncs(&mut self) {
        let mut place = 0;
        while let Some([first, between, last]) = self.queue.get(place..place + 3) {
            let is_merged = match (&first.operation, &between.operation) {
                (DiskOperation::Sync { file }, DiskOperation::WriteAt { file: written, .. }) => {
                    file == written && last.operation == first.operation
                }
                _ => false,
            };
            if is_merged {
                self.queue.remove(place);
            } else {
                place += 1;
            }
        }
    }
}

/// Performs the queue to its end; the log hears of each batch as it completes.
pub fn perform_all(history: &mut History, disk: &mut FaultyDisk) {
    for step in std::mem::take(&mut history.queue) {
        disk.perform(&step.operation);
        if let Some(sequence) = step.completes {
            history.log.durable(sequence);
        }
    }
}
