//! Drives consensus: its writes to the disk, its messages to peers, its news to the other rooms.
//!
//! Comes in: completed disk batches. Goes out: disk batches, messages, what may be applied.
//! Invariant: batches are numbered and performed in order; consensus is told that a write is
//! durable only when its batch is done.

use crate::Replica;
use crate::boundary::Action;
use crate::codec;
use crate::server_of;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use quorate_machine::RecipeExecutor;
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{Output, SnapshotMark, Write, WriteSequence};
use quorate_storage::{DiskOperation, LogBatch};
use quorate_wire::peer::PeerFrame;

/// What a disk batch was for.
#[derive(Clone, Debug)]
pub(crate) enum DiskPurpose {
    /// A write of consensus.
    Consensus(WriteSequence),
    /// The mark of this server's own snapshot.
    SnapshotMarked(SnapshotMark),
    /// A snapshot received from the leader.
    SnapshotReceived,
    /// Files nobody waits for.
    Upkeep,
}

/// Batches on their way to the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiskQueue {
    next_batch: u64,
    under_way: VecDeque<DiskBatch>,
}

/// One batch on its way.
#[derive(Clone, Debug)]
struct DiskBatch {
    batch: u64,
    /// The newest batch of the log that it makes durable.
    log_sequence: u64,
    purpose: DiskPurpose,
}

impl DiskQueue {
    /// Whether files that are no longer needed are still on their way out.
    pub(crate) fn is_tidying(&self) -> bool {
        self.under_way.iter().any(|batch| matches!(batch.purpose, DiskPurpose::Upkeep))
    }
}

impl<E: RecipeExecutor> Replica<E> {
    /// Takes all that consensus has to say. True: it said something.
    pub(crate) fn drive_consensus(&mut self) -> bool {
        let mut moved = false;
        loop {
            let output = self.raft.take_output();
            if output == Output::default() {
                return moved;
            }
            moved = true;
            self.on_output(output);
        }
    }

    fn on_output(&mut self, output: Output) {
        if let Some(write) = output.write {
            self.write(&write);
        }
        for (to, message) in output.messages {
            self.send_peer(server_of(to), PeerFrame::Raft(codec::encode_message(&message).into()));
        }
        if let Some(mark) = output.installed {
            self.swap_state(&mark);
        }
        if let Some(to) = output.apply_to {
            self.apply_to(to);
        }
        for (id, result) in output.reads {
            self.on_barrier(id, result);
        }
        for peer in output.snapshot_wanted {
            self.on_snapshot_wanted(server_of(peer));
        }
        if output.membership_changed {
            self.on_membership_changed();
        }
        if output.role_changed {
            self.on_role_changed();
        }
    }

    fn write(&mut self, write: &Write) {
        let batch = LogBatch {
            hard_state: write.hard_state,
            truncate_from: write.truncate_from,
            entries: &write.entries,
            snapshot_mark: None,
            installed: write.installed.as_ref(),
            refetching: write.refetched.then_some(false),
        };
        let operations = self.log.append(&batch);
        self.perform(operations, DiskPurpose::Consensus(write.sequence));
    }

    /// Queues a batch for the disk.
    pub(crate) fn perform(&mut self, operations: Vec<DiskOperation>, purpose: DiskPurpose) {
        let batch = self.disk.next_batch;
        self.disk.next_batch += 1;
        let log_sequence = self.log.newest_sequence();
        self.disk.under_way.push_back(DiskBatch { batch, log_sequence, purpose });
        self.actions.push_back(Action::Disk { batch, operations });
    }

    pub(crate) fn on_disk_done(&mut self, done: u64) {
        let DiskBatch { batch, log_sequence, purpose } =
            self.disk.under_way.pop_front().expect("a batch is done that was never begun");
        assert!(batch == done, "batch {done} is done before batch {batch}");
        self.log.durable(log_sequence);
        match purpose {
            DiskPurpose::Consensus(sequence) => self.raft.durable(sequence),
            DiskPurpose::SnapshotMarked(mark) => self.on_snapshot_marked(mark),
            DiskPurpose::SnapshotReceived => self.on_snapshot_received(),
            DiskPurpose::Upkeep => {}
        }
    }

    /// While the disk has nothing to do: let the newest frame be vouched for, make the next segment
    /// ready.
    pub(crate) fn tend_idle_log(&mut self) {
        if !self.disk.under_way.is_empty() {
            return;
        }
        let mut operations = self.log.vouch();
        if operations.is_empty() {
            operations = self.log.prepare_spare();
        }
        if !operations.is_empty() {
            self.perform(operations, DiskPurpose::Upkeep);
        }
    }

    fn on_role_changed(&mut self) {
        self.follow_role();
        if self.raft.leader().is_some() {
            self.leader_seen_ms = self.now.monotonic_ms;
            #[cfg(feature = "planted-bugs")]
            if is_planted(PlantedBug::SubmissionNotRepeated) {
                return;
            }
            self.give_all_to_leader();
        }
    }
}
