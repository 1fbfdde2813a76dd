//! Disks in the world: batches that take their time, snapshots written beside them, and faults.

use super::World;
use super::event::{Event, SnapshotSave};
use quorate_faulty_disk::Crash;
use quorate_replica::Input;
use quorate_storage::{DiskOperation, snapshot};
use std::sync::Arc;

/// What a disk will do wrong next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedFault {
    /// A write or sync fails; the process ends.
    Error,
    /// A sync fails and what it should have written is gone; the process ends.
    FailedSync,
}

impl super::Server {
    /// Performs everything that was asked for.
    pub(super) fn finish_batches(&mut self) {
        for (_, operations) in self.batches.drain(..) {
            operations.iter().for_each(|operation| self.disk.perform(operation));
        }
    }
}

impl World {
    pub(super) fn queue_disk(&mut self, id: u64, batch: u64, operations: Vec<DiskOperation>) {
        self.sum.add(&[batch, operations.len() as u64]);
        for operation in &operations {
            if let DiskOperation::WriteAt { bytes, offset, .. } = operation {
                self.sum.add(&[*offset]);
                self.sum.add_bytes(bytes);
            }
        }
        let server = self.server_mut(id);
        let idle = server.batches.is_empty();
        server.batches.push_back((batch, operations));
        if idle {
            self.schedule_disk(id);
        }
    }

    fn schedule_disk(&mut self, id: u64) {
        let server = &self.servers[&id];
        let (run, slow) = (server.run, self.now_ms < server.slow_disk_until_ms);
        let longest_ms = if slow { server.slow_disk_ms } else { self.plan.delays.disk_ms };
        self.after(longest_ms, Event::Disk { server: id, run });
    }

    pub(super) fn on_disk(&mut self, id: u64, run: u64) {
        if !self.runs(id, run) {
            return;
        }
        self.counts.disk_batches += 1;
        let server = self.server_mut(id);
        let (batch, operations) = server.batches.pop_front().expect("a batch is under way");
        if !self.perform_operations(id, &operations) {
            return;
        }
        if !self.servers[&id].batches.is_empty() {
            self.schedule_disk(id);
        }
        self.input(id, Input::DiskDone { batch });
    }

    /// Whether the process survived it.
    fn perform_operations(&mut self, id: u64, operations: &[DiskOperation]) -> bool {
        for operation in operations {
            self.server_mut(id).disk.perform(operation);
        }
        true
    }

    pub(super) fn on_save_snapshot(&mut self, id: u64, run: u64, save: SnapshotSave) {
        if !self.runs(id, run) {
            return;
        }
        let (index, mut steps) = match save {
            SnapshotSave::State { mark, machine } => {
                let cluster = self.replica(id).identity().cluster;
                let bytes = snapshot::encode(&mark, cluster, &machine.encode_image());
                (mark.index.0, snapshot::save(&snapshot::file_name(&mark), bytes).into())
            }
            SnapshotSave::Steps { index, steps } => (index, steps),
        };
        let step: Option<DiskOperation> = steps.pop_front();
        if let Some(operation) = step {
            if self.perform_operations(id, &[operation]) {
                let save = Box::new(SnapshotSave::Steps { index, steps });
                let longest_ms = self.plan.delays.disk_ms;
                self.after(longest_ms, Event::SaveSnapshot { server: id, run, save });
            }
            return;
        }
        self.counts.snapshots_saved += 1;
        self.input(id, Input::SnapshotSaved { index });
    }

    pub(super) fn on_load_snapshot(&mut self, (id, run): (u64, u64), file: &str, index: u64) {
        if self.runs(id, run) {
            let files = self.servers[&id].disk.files();
            let file = files.get(file).map(|bytes| Arc::from(&bytes[..]));
            self.input(id, Input::SnapshotLoaded { index, file });
        }
    }

    /// A disk takes up to so long for each batch, until then.
    pub fn slow_disk(&mut self, id: u64, slow_ms: u64, until_ms: u64) {
        let server = self.server_mut(id);
        server.slow_disk_ms = slow_ms;
        server.slow_disk_until_ms = until_ms;
    }

    /// The next write or sync fails.
    pub fn plan_disk_error(&mut self, id: u64, failed_sync: bool) {
        let fault = if failed_sync { PlannedFault::FailedSync } else { PlannedFault::Error };
        self.server_mut(id).disk_fault = Some(fault);
    }

    /// The disk has no room for a while.
    pub fn fill_disk(&mut self, id: u64, for_ms: u64) {
        self.server_mut(id).full_until_ms = self.now_ms + for_ms;
    }

    /// The disk works again as it should.
    pub fn calm_disk(&mut self, id: u64) {
        let server = self.server_mut(id);
        server.disk_fault = None;
        server.slow_disk_until_ms = 0;
        server.full_until_ms = 0;
    }

    /// Whether damage to this server leaves a quorum of whole disks.
    #[must_use]
    pub fn may_be_damaged(&self, _id: u64) -> bool {
        false
    }

    /// Ends a process in order, but without waiting for anything.
    pub fn shut_down_at_once(&mut self, id: u64) {
        self.crash(id, Crash::Kill);
    }

    /// Damages a stopped server's files.
    pub fn rot(&mut self, _id: u64, _choices: &mut quorate_faulty_disk::Choices) {}

    /// The next write goes wrong without a word.
    pub fn plan_lie(&mut self, _id: u64, _choices: &mut quorate_faulty_disk::Choices) {}

    /// The process ends because its disk failed it.
    #[allow(dead_code, reason = "called by the disk's faults")]
    fn end_by_disk(&mut self, id: u64) {
        self.counts.disk_faults += 1;
        self.crash(id, Crash::Kill);
    }
}
