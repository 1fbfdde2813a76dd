//! Random histories of a log, and what must be read back after them.
//!
//! Comes in: a seed. Goes out: batches and snapshots for a disk, and the state that the log has
//! after each batch. Invariant: a history is one that consensus could produce: terms grow,
//! truncation stays above snapshots, marks lie inside the log, and a snapshot's file is saved before
//! its mark is appended. Must never: share code with the log that it judges.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod places;

use quorate_faulty_disk::{Choices, FaultyDisk};
use quorate_raft::{Entry, EntryKind, HardState, Index, Membership, ReplicaId, SnapshotMark, Term};
use quorate_storage::{
    DiskOperation, Log, LogBatch, LogSettings, Recovered, RecoveryError, ServerIdentity, snapshot,
};
use quorate_types::{Incarnation, ServerId};
use std::collections::{BTreeMap, BTreeSet};
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

/// A snapshot whose file is on its way to the disk, or there without a mark in the log.
#[derive(Clone, Debug)]
pub struct Saving {
    pub mark: SnapshotMark,
    /// It comes from the leader and takes the place of the log.
    pub installs: bool,
    pub saved: bool,
}

/// The image of a state machine that has applied everything up to this mark.
pub fn image(mark: &SnapshotMark) -> Vec<u8> {
    let mut choices = Choices(mark.index.0 << 20 | mark.term.0);
    (0..choices.below(1_500)).map(|_| choices.next() as u8).collect()
}

/// A batch that may follow `state` while the entries up to `floor` are committed; with a snapshot
/// whose file is durable.
fn draw_batch(state: &State, floor: Index, saved: Option<&Saving>, choices: &mut Choices) -> Batch {
    let mut batch = Batch::default();
    let mut term = state.hard_state.term;
    if choices.one_in(3) {
        term = Term(term.0 + 1 + choices.below(2));
        let vote = (!choices.one_in(3)).then(|| ReplicaId(1 + choices.below(3)));
        batch.hard_state = Some(HardState { term, vote });
    }
    match saved {
        Some(saved) if saved.installs => batch.installed = Some(saved.mark.clone()),
        Some(saved) => batch.snapshot_mark = Some(saved.mark.clone()),
        None => {}
    }
    if choices.one_in(8) && batch.installed.is_none() && state.last_index() > floor {
        let span = state.last_index().0 - floor.0;
        batch.truncate_from = Some(Index(floor.0 + 1 + choices.below(span)));
    }
    let shortened = after(state, &batch);
    for number in 0..choices.below(4) {
        let index = Index(shortened.last_index().0 + 1 + number);
        batch.entries.push(draw_entry(index, term, choices));
    }
    if choices.one_in(15) {
        batch.refetching = Some(choices.one_in(2));
    }
    batch
}

/// A snapshot that a server in this state may take, or be sent.
fn draw_snapshot(state: &State, choices: &mut Choices) -> Option<Saving> {
    let membership = membership(1 + choices.below(5));
    let span = state.last_index().0 - state.snapshot.index.0;
    if choices.one_in(5) {
        let index = Index(state.last_index().0 + 1 + choices.below(5));
        let mark = SnapshotMark { index, term: state.hard_state.term, membership };
        return Some(Saving { mark, installs: true, saved: false });
    }
    let index = Index(state.snapshot.index.0 + 1 + choices.below(span.max(1)));
    let entry = state.entries.iter().find(|entry| entry.index == index)?;
    let mark = SnapshotMark { index, term: entry.term, membership };
    Some(Saving { mark, installs: false, saved: false })
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

/// One thing for a disk to do, and what is done once it is.
#[derive(Clone, Debug)]
pub struct Step {
    pub operation: DiskOperation,
    /// The batch that this step belongs to: a place in `History::states`.
    pub batch: usize,
    pub completes: Completes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completes {
    Nothing,
    /// A batch: the number that `Log::durable` wants.
    Batch(u64),
    /// The file of the snapshot that is being saved.
    Snapshot,
}

/// A log at work, its batches on their way to a disk.
#[derive(Clone, Debug)]
pub struct History {
    pub log: Log,
    /// `states[n]` holds after batch `n`; the first one is what the log began with.
    pub states: Vec<State>,
    /// Number of the frame of each batch; of the first state, of the frame before.
    pub sequences: Vec<u64>,
    /// Not performed yet, in order.
    pub queue: Vec<Step>,
    /// The newest batch whose every step was performed.
    pub durable: Option<usize>,
    saving: Option<Saving>,
    /// Files of snapshots, once the queue is performed.
    snapshot_files: BTreeSet<String>,
}

impl History {
    pub fn create() -> History {
        let (log, operations) = Log::create(SETTINGS, identity(), &membership(3));
        History::beginning(log, State::new(), operations)
    }

    /// A log that continues from what was read; `operations` are those of recovery.
    pub fn continued(read: &Recovered) -> History {
        let state = State {
            hard_state: read.hard_state,
            snapshot: read.snapshot.clone(),
            entries: read.entries.clone(),
            refetching: read.refetching,
        };
        let mut history = History::beginning(read.log.clone(), state, read.operations.clone());
        if read.snapshot.index > Index(0) {
            history.snapshot_files.insert(snapshot::file_name(&read.snapshot));
        }
        history
    }

    fn beginning(log: Log, state: State, operations: Vec<DiskOperation>) -> History {
        let mut history = History {
            sequences: vec![log.newest_sequence()],
            log,
            states: vec![state],
            queue: Vec::new(),
            durable: None,
            saving: None,
            snapshot_files: BTreeSet::new(),
        };
        history.enqueue(operations);
        history
    }

    fn enqueue(&mut self, operations: Vec<DiskOperation>) {
        let batch = self.states.len() - 1;
        let count = operations.len();
        for (number, operation) in operations.into_iter().enumerate() {
            let is_last = number + 1 == count;
            let sequence = self.log.newest_sequence();
            let completes = if is_last { Completes::Batch(sequence) } else { Completes::Nothing };
            self.queue.push(Step { operation, batch, completes });
        }
    }

    pub fn append(&mut self, batch: &Batch) {
        let next = after(self.newest(), batch);
        self.states.push(next);
        let operations = self.log.append(&batch.borrow());
        self.sequences.push(self.log.newest_sequence());
        self.enqueue(operations);
    }

    pub fn newest(&self) -> &State {
        self.states.last().expect("a history has a first state")
    }

    /// One random act of a server: mostly a batch, sometimes upkeep.
    pub fn act(&mut self, choices: &mut Choices) {
        match choices.below(18) {
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
            4 | 5 => self.save_snapshot(choices),
            6 => self.remove_snapshots(),
            _ => {
                let saved = self.saving.take_if(|saving| saving.saved);
                let committed = self.newest().snapshot.index;
                let unmarked = self.saving.iter().chain(&saved).filter(|saving| !saving.installs);
                let floor = unmarked.map(|saving| saving.mark.index).fold(committed, Index::max);
                let batch = draw_batch(self.newest(), floor, saved.as_ref(), choices);
                self.append(&batch);
            }
        }
    }

    /// Begins to save a snapshot, if none is on its way: as another thread does, at the same time
    /// as what is queued.
    fn save_snapshot(&mut self, choices: &mut Choices) {
        if self.saving.is_some() {
            return;
        }
        let Some(saving) = draw_snapshot(self.newest(), choices) else { return };
        let name = snapshot::file_name(&saving.mark);
        let bytes = snapshot::encode(&saving.mark, identity().cluster, &image(&saving.mark));
        let operations = snapshot::save(&name, bytes);
        let count = operations.len();
        let mut place = 0;
        for (number, operation) in operations.into_iter().enumerate() {
            let is_last = number + 1 == count;
            let completes = if is_last { Completes::Snapshot } else { Completes::Nothing };
            place += choices.below((self.queue.len() - place) as u64 + 1) as usize;
            self.queue.insert(place, Step { operation, batch: 0, completes });
            place += 1;
        }
        self.snapshot_files.insert(name);
        self.saving = Some(saving);
    }

    /// Lets go of older snapshots once the newest mark is durable, and no other is on its way.
    fn remove_snapshots(&mut self) {
        let durable = self.durable.map(|durable| &self.states[durable].snapshot);
        let newest = &self.newest().snapshot;
        if self.saving.is_some() || durable != Some(newest) {
            return;
        }
        let files = self.snapshot_files.iter().map(|name| (name.clone(), Vec::new())).collect();
        let operations = snapshot::remove_others(&files, &[newest]);
        let kept = snapshot::file_name(newest);
        self.snapshot_files.retain(|name| *name == kept);
        self.enqueue(operations);
    }

    /// This step of the queue was performed; gives the number that the log may be told of.
    pub fn performed(&mut self, step: &Step) -> Option<u64> {
        match step.completes {
            Completes::Nothing => None,
            Completes::Batch(sequence) => {
                self.durable = Some(step.batch);
                Some(sequence)
            }
            Completes::Snapshot => {
                self.saving.iter_mut().for_each(|saving| saving.saved = true);
                None
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
        if let Some(sequence) = history.performed(&step) {
            history.log.durable(sequence);
        }
    }
}

/// Reads log and snapshots back as a server's start does.
pub fn recover(files: &BTreeMap<String, Vec<u8>>) -> Result<Recovered, RecoveryError> {
    let mut read = Log::recover(SETTINGS, files)?;
    read.operations.extend(snapshot::remove_others(files, &[&read.snapshot]));
    Ok(read)
}

/// Whether the snapshot that the log continues from is there, whole, and the one that was saved.
pub fn has_snapshot(files: &BTreeMap<String, Vec<u8>>, mark: &SnapshotMark) -> bool {
    let bytes = files.get(&snapshot::file_name(mark));
    let read = bytes.and_then(|bytes| snapshot::decode(bytes).ok());
    mark.index == Index(0) || read == Some((mark.clone(), image(mark)))
}
