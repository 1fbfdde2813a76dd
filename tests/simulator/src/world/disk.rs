//! Disks in the world: batches that take their time, snapshots written beside them, and faults.
//!
//! Invariant: a disk that lies or rots has a shadow, which holds what an honest one would. When the
//! server starts again, the log is read from both: damage that nobody could notice, a spoilt newest
//! frame that no later one vouches for, is more than any server survives, and is undone; all other
//! damage is the server's to find.

use super::World;
use super::event::{Event, SnapshotSave};
use crate::observation::Observation;
use quorate_faulty_disk::{Choices, Crash, DiskFault, FaultyDisk};
use quorate_replica::Input;
use quorate_storage::{DiskOperation, Log, LogSettings, Recovered, RecoveryError, snapshot};
use std::sync::Arc;

/// What a disk will do wrong next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedFault {
    /// The next operation fails; the process ends.
    Error,
    /// So many operations from here on go wrong without a word.
    Lies(u64),
}

impl super::Server {
    /// Performs everything that was asked for, until something fails.
    pub(super) fn finish_batches(&mut self) {
        let operations: Vec<DiskOperation> =
            self.batches.drain(..).flat_map(|(_, operations)| operations).collect();
        self.perform_while_possible(&operations);
    }

    pub(super) fn perform_while_possible(&mut self, operations: &[DiskOperation]) {
        for operation in operations {
            if self.perform_one(operation, None).is_err() {
                return;
            }
        }
    }

    fn perform_one(
        &mut self,
        operation: &DiskOperation,
        fault: Option<DiskFault>,
    ) -> Result<(), quorate_faulty_disk::DiskError> {
        if let Some(shadow) = &mut self.shadow {
            shadow.perform(operation);
        }
        self.disk.try_perform(operation, fault)
    }

    /// From here on the shadow holds what an honest disk would.
    fn cast_shadow(&mut self) {
        if self.shadow.is_none() {
            let mut shadow = self.disk.clone();
            shadow.set_capacity(None);
            self.shadow = Some(shadow);
        }
        self.damaged = true;
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
        self.make_room(id);
        for operation in operations {
            let World { servers, choices, counts, .. } = self;
            let server = servers.get_mut(&id).expect("the server is one of the cluster");
            let fault = next_fault(server, operation, choices);
            counts.disk_faults += u64::from(fault.is_some());
            if server.perform_one(operation, fault).is_err() {
                self.counts.disk_errors += 1;
                self.note(&format!("the disk of server {id} fails {operation:.60?}"));
                // Nothing is performed behind what failed.
                self.server_mut(id).batches.clear();
                self.crash(id, Crash::Kill);
                return false;
            }
        }
        true
    }

    /// Somebody has made room on a disk that was full, if the time for that has come.
    pub(super) fn make_room(&mut self, id: u64) {
        let now_ms = self.now_ms;
        let server = self.server_mut(id);
        if server.full_until_ms > 0 && server.full_until_ms <= now_ms {
            server.full_until_ms = 0;
            server.disk.set_capacity(None);
        }
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

    /// The next operation fails.
    pub fn plan_disk_error(&mut self, id: u64) {
        self.server_mut(id).disk_fault = Some(PlannedFault::Error);
    }

    /// The disk has no room for a while.
    pub fn fill_disk(&mut self, id: u64, for_ms: u64) {
        let until_ms = self.now_ms + for_ms;
        let server = self.server_mut(id);
        server.full_until_ms = until_ms;
        let used_bytes = server.disk.used_bytes();
        server.disk.set_capacity(Some(used_bytes));
    }

    /// The disk works again as it should.
    pub fn calm_disk(&mut self, id: u64) {
        let server = self.server_mut(id);
        server.disk_fault = None;
        server.slow_disk_until_ms = 0;
        server.full_until_ms = 0;
        server.disk.set_capacity(None);
    }

    /// Whether every other disk is whole, every server that was damaged has caught up, and the other
    /// voters are a quorum: what is acknowledged then lies on a quorum even if this disk loses it.
    #[must_use]
    pub fn may_be_damaged(&mut self, id: u64) -> bool {
        self.others_are_whole(id)
            && self.servers[&id].shadow.is_none()
            && self.has_quorum_without(id)
    }

    /// Whether the voters, of a membership that is not about to change, are enough without this one:
    /// no cluster outlives the disks of a majority.
    fn has_quorum_without(&self, id: u64) -> bool {
        let replicas = self.servers.values().filter_map(|server| server.replica.as_ref());
        let rafts = replicas.map(quorate_replica::Replica::raft);
        let newest = rafts.max_by_key(|raft| (raft.term_at(raft.last_index()), raft.last_index()));
        let Some(newest) = newest.filter(|_| !self.is_removing) else { return false };
        let voters = &newest.membership().voters;
        let left = voters.iter().filter(|voter| voter.0 != id);
        let present = left.filter(|voter| self.servers.contains_key(&voter.0)).count();
        !newest.membership().is_joint() && present > voters.len() / 2
    }

    /// Whether every disk but this one is whole, and every server that was damaged has caught up.
    #[must_use]
    pub fn others_are_whole(&mut self, id: u64) -> bool {
        let newest = self.history.newest();
        for server in self.servers.values_mut() {
            let whole = server.batches.is_empty()
                && server.replica.as_ref().is_some_and(|replica| {
                    !replica.raft().is_refetching() && replica.raft().durable_index().0 >= newest.0
                });
            if server.damaged && server.shadow.is_none() && whole {
                server.damaged = false;
            }
        }
        self.lost_disks == 0
            && self.servers.values().all(|server| !server.damaged || server.id == id)
    }

    /// Damages a stopped server's files.
    pub fn rot(&mut self, id: u64, choices: &mut Choices) {
        self.show(&Observation::DiskDamaged { server: id });
        let server = self.server_mut(id);
        server.cast_shadow();
        let names: Vec<String> = server.disk.files().into_keys().collect();
        let Some(file) = names.get(choices.below(names.len().max(1) as u64) as usize) else {
            return;
        };
        match choices.below(8) {
            0 => server.disk.lose_file(file),
            1 => server.disk.truncate_file(file, choices.below(5_000)),
            _ => drop(server.disk.rot(choices)),
        }
        self.counts.disk_faults += 1;
    }

    /// The next operations go wrong without a word.
    pub fn plan_lies(&mut self, id: u64, count: u64) {
        self.note(&format!("the disk of server {id} lies {count} times"));
        self.show(&Observation::DiskDamaged { server: id });
        let server = self.server_mut(id);
        server.cast_shadow();
        server.disk_fault = Some(PlannedFault::Lies(count));
    }

    /// What a server with a damaged disk will find; damage beyond what can be noticed is undone, and
    /// so is what makes a start impossible: somebody restores the disk.
    pub(super) fn judge_damage(&mut self, id: u64) {
        let segment_bytes = self.plan.limits.log_segment_bytes;
        let server = self.servers.get_mut(&id).expect("the server is one of the cluster");
        let Some(shadow) = server.shadow.take() else { return };
        let settings = LogSettings { segment_bytes };
        let honest = Log::recover(settings, &shadow.files());
        let found = Log::recover(settings, &server.disk.files());
        let found_text = format!("{:?}", found.as_ref().map(|found| &found.damage));
        let verdict = match (honest, found) {
            (Err(error), _) => {
                server.disk = shadow;
                let is_new = error == RecoveryError::NotCreated;
                if !is_new {
                    self.fail("disk", format!("an honest disk of server {id}: {error}"));
                }
                "was not made yet"
            }
            (Ok(honest), Err(_)) => {
                self.counts.damage_refused += 1;
                restore(server, shadow, &honest);
                "is refused, and restored"
            }
            (Ok(_), Ok(found)) if found.refetching => {
                self.counts.damage_found += 1;
                "has lost entries, as it knows"
            }
            (Ok(honest), Ok(found)) if is_less(&found, &honest) => {
                self.counts.damage_hidden += 1;
                restore(server, shadow, &honest);
                "has lost what nobody could notice, and is restored"
            }
            (Ok(_), Ok(_)) => {
                self.counts.damage_harmless += 1;
                "has lost nothing"
            }
        };
        self.note(&format!("the damaged disk of server {id} {verdict}: {found_text}"));
    }
}

fn restore(server: &mut super::Server, shadow: FaultyDisk, honest: &Recovered) {
    server.disk = shadow;
    server.damaged = honest.refetching;
}

/// Whether something durable is missing and nobody was told.
fn is_less(found: &Recovered, honest: &Recovered) -> bool {
    let last = |read: &Recovered| {
        read.entries
            .last()
            .map_or((read.snapshot.index, read.snapshot.term), |last| (last.index, last.term))
    };
    last(found) != last(honest)
        || found.snapshot.index != honest.snapshot.index
        || found.hard_state != honest.hard_state
}

fn next_fault(
    server: &mut super::Server,
    operation: &DiskOperation,
    choices: &mut Choices,
) -> Option<DiskFault> {
    match server.disk_fault? {
        PlannedFault::Error => {
            server.disk_fault = None;
            Some(DiskFault::draw_honest(operation, choices))
        }
        PlannedFault::Lies(count) => {
            server.disk_fault = (count > 1).then_some(PlannedFault::Lies(count - 1));
            DiskFault::draw_lie(&server.disk, operation, choices)
        }
    }
}
