//! Snapshots: taken of this state, sent to peers that lag, installed when received.
//!
//! Comes in: applied bytes, peers that need one, parts. Goes out: files to save and load, parts.
//! Invariant (consensus note 6.5): a received snapshot is whole and durable before consensus hears
//! of it, and consensus has made the install durable before the state is swapped. Old log goes only
//! after the mark of the snapshot that replaces it is durable.

use crate::Replica;
use crate::boundary::Action;
use crate::connection::to_usize;
use crate::consensus::DiskPurpose;
use crate::replica_of;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use quorate_machine::{Machine, RecipeExecutor, WatchHistory};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{Index, Role, SnapshotMark, Term};
use quorate_storage::{DiskOperation, LogBatch, snapshot};
use quorate_types::ServerId;
use quorate_wire::peer::PeerFrame;

/// While a snapshot is sent, this many times the log between two snapshots is kept behind it.
const SENDING_KEEPS_LOGS: u64 = 8;

/// Which part of which snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) offset: u64,
    pub(crate) total: u64,
}

/// A snapshot on its way to a peer.
#[derive(Clone, Debug)]
struct Sending {
    index: Index,
    /// `None` while it is read from the disk.
    file: Option<Arc<[u8]>>,
}

/// A snapshot on its way from the leader.
#[derive(Clone, Debug)]
struct Receiving {
    from: ServerId,
    term: u64,
    index: u64,
    total: u64,
    bytes: Vec<u8>,
}

/// A whole snapshot that is being made durable or installed.
#[derive(Clone, Debug)]
struct Installing {
    from: ServerId,
    term: u64,
    mark: SnapshotMark,
    machine: Machine,
}

/// Everything about snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots {
    /// Bytes of log applied since the last snapshot was begun.
    applied_bytes: u64,
    /// Being written by the shell.
    saving: Option<SnapshotMark>,
    /// The newest whose mark is durable.
    pub(crate) newest: Option<SnapshotMark>,
    sending: BTreeMap<ServerId, Sending>,
    receiving: Option<Receiving>,
    installing: Option<Installing>,
}

impl Snapshots {
    /// At a start: this snapshot, or none at index 0, is what the log stands on.
    pub(crate) fn standing_on(mark: SnapshotMark) -> Snapshots {
        Snapshots { newest: Some(mark), ..Snapshots::default() }
    }

    pub(crate) fn note_applied(&mut self, bytes: usize) {
        self.applied_bytes += u64::try_from(bytes).expect("usize fits in 64 bits");
    }

    /// What was sent to or received from this peer is void.
    pub(crate) fn forget_peer(&mut self, peer: ServerId) {
        self.sending.remove(&peer);
        if self.receiving.as_ref().is_some_and(|receiving| receiving.from == peer) {
            self.receiving = None;
        }
    }
}

impl<E: RecipeExecutor> Replica<E> {
    /// Begins a snapshot once enough was applied since the last.
    pub(crate) fn take_snapshot_if_due(&mut self) {
        let due =
            self.snapshots.applied_bytes >= u64::from(self.settings.limits.snapshot_log_bytes);
        let free = self.snapshots.saving.is_none() && self.snapshots.installing.is_none();
        // A file on its way out may have the name that this snapshot would get: it is written
        // beside the queue in which that one is removed.
        if !(due && free) || self.disk.is_tidying() {
            return;
        }
        let membership = self.raft.membership_at(self.applied);
        if membership.voters.is_empty() {
            // A server that joined by entries learns the membership from the one that added it;
            // until then its snapshot would be of no use to anybody.
            return;
        }
        let term = self.raft.term_at(self.applied).expect("applied entries are in the log");
        let mark = SnapshotMark { index: self.applied, term, membership };
        self.snapshots.applied_bytes = 0;
        self.snapshots.saving = Some(mark.clone());
        self.actions.push_back(Action::SaveSnapshot { mark, machine: self.machine.clone() });
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::MarkBeforeSnapshot) {
            self.on_snapshot_saved(self.applied);
        }
    }

    pub(crate) fn on_snapshot_saved(&mut self, index: Index) {
        let Some(mark) = self.snapshots.saving.take_if(|mark| mark.index == index) else { return };
        // A snapshot of the leader came in between: the log may stand on it already.
        let installing = self.snapshots.installing.as_ref().map(|installing| &installing.mark);
        let newer = self.snapshots.newest.as_ref().into_iter().chain(installing);
        let is_older =
            newer.map(|newer| newer.index).max().is_some_and(|newest| newest > mark.index);
        #[cfg(feature = "planted-bugs")]
        let is_older = is_older && !is_planted(PlantedBug::OlderMarkAccepted);
        if is_older {
            let file = snapshot::file_name(&mark);
            self.perform(vec![DiskOperation::Remove { file }], DiskPurpose::Upkeep);
            return;
        }
        let batch = LogBatch {
            hard_state: None,
            truncate_from: None,
            entries: &[],
            snapshot_mark: Some(&mark),
            installed: None,
            refetching: None,
        };
        let operations = self.log.append(&batch);
        self.perform(operations, DiskPurpose::SnapshotMarked(mark));
    }

    pub(crate) fn on_snapshot_marked(&mut self, mark: SnapshotMark) {
        if self.snapshots.newest.as_ref().is_some_and(|newest| newest.index >= mark.index) {
            return;
        }
        let keep_from = self.keep_from(mark.index);
        self.raft.compacted(mark.clone(), keep_from);
        let mut operations = self.log.compact(keep_from);
        operations.extend(self.remove_newest());
        self.snapshots.newest = Some(mark);
        self.perform(operations, DiskPurpose::Upkeep);
    }

    /// The file of the snapshot that is about to be replaced.
    fn remove_newest(&self) -> Option<DiskOperation> {
        let before = self.snapshots.newest.as_ref().filter(|mark| mark.index > Index(0))?;
        Some(DiskOperation::Remove { file: snapshot::file_name(before) })
    }

    /// The first entry to keep behind a snapshot: a follower that lags a little needs none, and one
    /// that is just being sent an older one goes on from there. Otherwise it would need the next one
    /// by then, and so on for ever where snapshots are taken faster than they are sent.
    fn keep_from(&self, index: Index) -> Index {
        let limits = &self.settings.limits;
        let first = self.reach_back(
            Index(index.0 + 1),
            Index(0),
            u64::from(limits.log_bytes_behind_snapshot),
        );
        let sent = self.snapshots.sending.values().map(|sending| sending.index.0 + 1).min();
        let sent = sent.map_or(first, Index).min(first);
        self.reach_back(first, sent, u64::from(limits.snapshot_log_bytes) * SENDING_KEEPS_LOGS)
    }

    /// The entry at most so many bytes of log before `first`, and not before `least`.
    fn reach_back(&self, first: Index, least: Index, mut bytes_max: u64) -> Index {
        let mut reached = first;
        while reached > least
            && let Some(entry) = self.raft.entry(Index(reached.0 - 1))
        {
            let bytes = u64::try_from(entry.payload.len()).expect("usize fits in 64 bits");
            let Some(rest) = bytes_max.checked_sub(bytes + 32) else { break };
            bytes_max = rest;
            reached = Index(reached.0 - 1);
        }
        reached
    }

    /// Consensus wants a peer to have the newest snapshot.
    pub(crate) fn on_snapshot_wanted(&mut self, peer: ServerId) {
        let newest = self.snapshots.newest.clone().filter(|mark| mark.index > Index(0));
        let Some(mark) = newest.filter(|_| self.peers.contains_key(&peer)) else {
            self.raft.snapshot_sent(replica_of(peer), Err(()));
            return;
        };
        let index = mark.index;
        self.snapshots.sending.insert(peer, Sending { index, file: None });
        let file = snapshot::file_name(&mark);
        self.actions.push_back(Action::LoadSnapshot { file, index: index.0 });
    }

    pub(crate) fn on_snapshot_loaded(&mut self, index: Index, file: Option<Arc<[u8]>>) {
        let waiting: Vec<ServerId> = self
            .snapshots
            .sending
            .iter()
            .filter(|(_, sending)| sending.index == index && sending.file.is_none())
            .map(|(peer, _)| *peer)
            .collect();
        for peer in waiting {
            match &file {
                Some(file) => {
                    let sending = Sending { index, file: Some(Arc::clone(file)) };
                    self.snapshots.sending.insert(peer, sending);
                    self.send_snapshot_part(peer, 0);
                }
                None => self.end_sending(peer, Err(())),
            }
        }
    }

    fn send_snapshot_part(&mut self, peer: ServerId, offset: u64) {
        let Some(sending) = self.snapshots.sending.get(&peer) else { return };
        let Some(file) = &sending.file else { return };
        let length = to_usize(self.settings.limits.snapshot_chunk_bytes);
        let rest = usize::try_from(offset).ok().and_then(|start| file.get(start..));
        let Some(rest) = rest else {
            self.end_sending(peer, Err(()));
            return;
        };
        let part = rest.get(..length).unwrap_or(rest);
        let frame = PeerFrame::SnapshotChunk {
            term: self.raft.term().0,
            index: sending.index.0,
            offset,
            total: u64::try_from(file.len()).expect("usize fits in 64 bits"),
            bytes: Bytes::copy_from_slice(part),
        };
        self.send_peer(peer, frame);
    }

    pub(crate) fn on_snapshot_ack(
        &mut self,
        peer: ServerId,
        index: u64,
        received: u64,
        refused: bool,
    ) {
        let Some(sending) = self.snapshots.sending.get(&peer) else { return };
        if sending.index.0 != index {
            return;
        }
        let total = sending.file.as_ref().map_or(0, |file| file.len());
        let total = u64::try_from(total).expect("usize fits in 64 bits");
        if refused || self.raft.role() != Role::Leader {
            self.end_sending(peer, Err(()));
        } else if received >= total {
            self.end_sending(peer, Ok(Index(index)));
        } else {
            self.send_snapshot_part(peer, received);
        }
    }

    fn end_sending(&mut self, peer: ServerId, outcome: Result<Index, ()>) {
        self.snapshots.sending.remove(&peer);
        self.raft.snapshot_sent(replica_of(peer), outcome);
    }

    /// A part of the leader's snapshot.
    pub(crate) fn on_snapshot_part(&mut self, from: ServerId, part: Part, bytes: &[u8]) {
        let outdated = part.term < self.raft.term().0;
        if !outdated && part.index <= self.applied.min(self.raft.durable_index()).0 {
            // The leader missed the answer that said so, and may have no older entries to ask with.
            self.acknowledge_part(from, part.index, u64::MAX, false);
            return;
        }
        let stale = outdated || part.index <= self.applied.0;
        let busy = self.snapshots.installing.is_some();
        if stale || busy {
            self.acknowledge_part(from, part.index, 0, true);
            return;
        }
        let fits = self.snapshots.receiving.as_ref().is_some_and(|receiving| {
            receiving.from == from
                && receiving.index == part.index
                && receiving.term == part.term
                && receiving.total == part.total
        });
        if !fits {
            self.snapshots.receiving = Some(Receiving {
                from,
                term: part.term,
                index: part.index,
                total: part.total,
                bytes: Vec::new(),
            });
        }
        let receiving = self.snapshots.receiving.as_mut().expect("it was just put there");
        let have = u64::try_from(receiving.bytes.len()).expect("usize fits in 64 bits");
        if part.offset == have {
            receiving.bytes.extend_from_slice(bytes);
        }
        let have = u64::try_from(receiving.bytes.len()).expect("usize fits in 64 bits");
        if have < receiving.total {
            self.acknowledge_part(from, part.index, have, false);
        } else {
            self.on_snapshot_whole();
        }
    }

    fn acknowledge_part(&mut self, to: ServerId, index: u64, received: u64, refused: bool) {
        let frame = PeerFrame::SnapshotAck { index, received, refused };
        self.send_peer(to, frame);
    }

    /// Every part is here: check the whole and make it durable.
    fn on_snapshot_whole(&mut self) {
        let Some(receiving) = self.snapshots.receiving.take() else { return };
        let Receiving { from, term, index, bytes, .. } = receiving;
        let checked = snapshot::decode(&bytes).ok().and_then(|(mark, image)| {
            let machine = Machine::decode_image(&image).ok()?;
            (mark.index.0 == index).then_some((mark, machine))
        });
        let Some((mark, machine)) = checked else {
            self.acknowledge_part(from, index, 0, true);
            return;
        };
        let operations = snapshot::save(&snapshot::file_name(&mark), bytes);
        self.snapshots.installing = Some(Installing { from, term, mark, machine });
        self.perform(operations, DiskPurpose::SnapshotReceived);
    }

    pub(crate) fn on_snapshot_received(&mut self) {
        let Some(installing) = &self.snapshots.installing else { return };
        let (from, index) = (installing.from, installing.mark.index);
        let taken = self.raft.install_snapshot(
            self.now.monotonic_ms,
            replica_of(from),
            Term(installing.term),
            installing.mark.clone(),
        );
        if taken {
            let total = u64::MAX;
            self.acknowledge_part(from, index.0, total, false);
        } else {
            let file = snapshot::file_name(&installing.mark);
            self.snapshots.installing = None;
            self.perform(vec![DiskOperation::Remove { file }], DiskPurpose::Upkeep);
            self.acknowledge_part(from, index.0, 0, true);
        }
    }

    /// The install is durable: the state of the snapshot becomes this replica's.
    pub(crate) fn swap_state(&mut self, mark: &SnapshotMark) {
        let installing = self.snapshots.installing.take().expect("an install was under way");
        assert!(installing.mark == *mark, "another snapshot was installed than was received");
        assert!(mark.index >= self.applied, "an install never goes back");
        self.machine = installing.machine;
        self.machine.set_limits(self.settings.limits);
        self.applied = mark.index;
        self.watch_history = WatchHistory::standing_on(self.applied());
        self.raft.applied(mark.index);
        let mut operations = self.log.compact(Index(mark.index.0 + 1));
        operations.extend(self.remove_newest());
        self.snapshots.newest = Some(installing.mark);
        self.snapshots.applied_bytes = 0;
        self.perform(operations, DiskPurpose::Upkeep);
        self.compile_all_components();
        self.tell_peers();
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::WatchesSurviveSnapshot) {
            self.deliver_early_answers();
            self.advance_applied_lines();
            return;
        }
        // What changed in between was not seen change by change, so watches would miss it.
        self.close_all_connections("this server caught up by a snapshot; connect again");
        self.deliver_early_answers();
        self.advance_applied_lines();
    }
}
