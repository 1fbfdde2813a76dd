//! The replica of the log: state, inputs, dispatch. (Signatures first; bodies follow.)

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use crate::membership::{Membership, MembershipChange};
use crate::message::Message;
use crate::output::{Output, ProposeRefusal, Violation};
use crate::settings::Settings;
use crate::types::{
    Entry, Index, ReadId, ReplicaId, Role, SnapshotMark, Start, Term, WriteSequence,
};

/// How a leader currently feeds a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationState {
    /// Looks for the last equal entry: one append at a time.
    Probe,
    /// Sends ahead of acknowledgements, up to the window.
    Replicate,
    /// Waits for a snapshot to arrive.
    Snapshot,
}

/// A leader's view of one peer, for status and decisions of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Last entry known durable at the peer in this replication session.
    pub matched: Index,
    /// Next entry to send.
    pub next: Index,
    /// How it is fed.
    pub state: ReplicationState,
    /// When it last answered.
    pub contact_ms: u64,
    /// Unanswered appends with entries.
    pub inflight: usize,
}

/// One replica's consensus state.
#[derive(Clone, Debug)]
pub struct Raft {
    settings: Settings,
}

#[allow(unused_variables, missing_docs, clippy::unimplemented)]
impl Raft {
    pub fn new(settings: Settings, start: Start, now_ms: u64) -> Raft {
        unimplemented!()
    }
    pub fn tick(&mut self, now_ms: u64) {
        unimplemented!()
    }
    pub fn next_deadline_ms(&self) -> u64 {
        unimplemented!()
    }
    pub fn receive(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        message: Message,
    ) -> Result<(), Violation> {
        unimplemented!()
    }
    pub fn propose(
        &mut self,
        payloads: Vec<Arc<[u8]>>,
        only_in_term: Term,
    ) -> Result<Index, ProposeRefusal> {
        unimplemented!()
    }
    pub fn read_barrier(&mut self, now_ms: u64, id: ReadId) {
        unimplemented!()
    }
    pub fn propose_membership(
        &mut self,
        change: MembershipChange,
    ) -> Result<Index, ProposeRefusal> {
        unimplemented!()
    }
    pub fn transfer_leader(
        &mut self,
        now_ms: u64,
        to: Option<ReplicaId>,
    ) -> Result<(), ProposeRefusal> {
        unimplemented!()
    }
    pub fn durable(&mut self, sequence: WriteSequence) {
        unimplemented!()
    }
    pub fn applied(&mut self, index: Index) {
        unimplemented!()
    }
    pub fn peer_connected(&mut self, id: ReplicaId) {
        unimplemented!()
    }
    pub fn peer_disconnected(&mut self, id: ReplicaId) {
        unimplemented!()
    }
    /// Own snapshot is durable; entries below `keep_from` (at most `mark.index + 1`) may go.
    pub fn compacted(&mut self, mark: SnapshotMark, keep_from: Index) {
        unimplemented!()
    }
    pub fn snapshot_sent(&mut self, to: ReplicaId, outcome: Result<Index, ()>) {
        unimplemented!()
    }
    /// The file is durable already; false: stale, ignore.
    pub fn install_snapshot(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        term: Term,
        mark: SnapshotMark,
    ) -> bool {
        unimplemented!()
    }
    pub fn take_output(&mut self) -> Output {
        unimplemented!()
    }

    pub fn id(&self) -> ReplicaId {
        self.settings.id
    }
    pub fn term(&self) -> Term {
        unimplemented!()
    }
    pub fn vote(&self) -> Option<ReplicaId> {
        unimplemented!()
    }
    pub fn role(&self) -> Role {
        unimplemented!()
    }
    pub fn leader(&self) -> Option<ReplicaId> {
        unimplemented!()
    }
    /// Oldest entry still held (`last_index + 1` if none).
    pub fn first_index(&self) -> Index {
        unimplemented!()
    }
    pub fn last_index(&self) -> Index {
        unimplemented!()
    }
    pub fn committed(&self) -> Index {
        unimplemented!()
    }
    /// Last index given to `applied` (or the snapshot's).
    pub fn applied_index(&self) -> Index {
        unimplemented!()
    }
    /// Last durable entry of the present log.
    pub fn durable_index(&self) -> Index {
        unimplemented!()
    }
    pub fn term_at(&self, index: Index) -> Option<Term> {
        unimplemented!()
    }
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        unimplemented!()
    }
    pub fn entries(&self, range: RangeInclusive<Index>) -> impl Iterator<Item = &Entry> {
        core::iter::empty()
    }
    pub fn membership(&self) -> &Membership {
        unimplemented!()
    }
    pub fn snapshot(&self) -> &SnapshotMark {
        unimplemented!()
    }
    pub fn is_refetching(&self) -> bool {
        unimplemented!()
    }
    pub fn has_committed_in_term(&self) -> bool {
        unimplemented!()
    }
    pub fn transfer_target(&self) -> Option<ReplicaId> {
        unimplemented!()
    }
    pub fn progress(&self, id: ReplicaId) -> Option<PeerStatus> {
        unimplemented!()
    }
}
