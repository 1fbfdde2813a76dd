//! The data directories of a new cluster that begins with a state made elsewhere.
//!
//! Comes in: a state, and which servers. Goes out: operations that fill an empty folder, for each
//! server. Invariant: every server begins with the same bytes of the same snapshot at the same place in
//! the log, so that whoever is elected has it. Must never be used for a server of a cluster that runs.

use crate::replica_of;
use alloc::string::String;
use alloc::vec::Vec;
use quorate_machine::Machine;
use quorate_raft::{HardState, Index, Membership, SnapshotMark, Term};
use quorate_storage::{DiskOperation, Log, LogBatch, LogSettings, ServerIdentity, snapshot};
use quorate_types::ServerId;

/// The term that the snapshot is said to be from: the first that an election can bring.
const TERM: Term = Term(1);

/// What all servers of the new cluster begin with.
pub struct Founding {
    mark: SnapshotMark,
    cluster: u64,
    file: Vec<u8>,
}

impl Founding {
    /// With this state; its newest transaction is the snapshot's place in the log.
    ///
    /// # Panics
    /// When the state has no transaction: a cluster begins empty without any of this.
    #[must_use]
    pub fn new(
        state: &Machine,
        cluster: u64,
        servers: impl IntoIterator<Item = ServerId>,
    ) -> Founding {
        let index = Index(state.applied().0);
        assert!(index > Index(0), "an empty log has no snapshot");
        let membership = Membership::of_voters(servers.into_iter().map(replica_of));
        let mark = SnapshotMark { index, term: TERM, membership };
        let file = snapshot::encode(&mark, cluster, &state.encode_image());
        Founding { mark, cluster, file }
    }

    /// Name and bytes of the snapshot's file.
    #[must_use]
    pub fn snapshot_file(&self) -> (String, &[u8]) {
        (snapshot::file_name(&self.mark), &self.file)
    }

    /// What fills the folder of one server.
    ///
    /// # Panics
    /// When the server is of another cluster.
    #[must_use]
    pub fn operations(
        &self,
        identity: ServerIdentity,
        log_segment_bytes: u32,
    ) -> Vec<DiskOperation> {
        assert!(identity.cluster == self.cluster, "a server of another cluster");
        let settings = LogSettings { segment_bytes: log_segment_bytes };
        let (mut log, mut operations) = Log::create(settings, identity, &self.mark.membership);
        operations.extend(snapshot::save(&snapshot::file_name(&self.mark), self.file.clone()));
        operations.extend(log.append(&LogBatch {
            hard_state: Some(HardState { term: TERM, vote: None }),
            installed: Some(&self.mark),
            ..LogBatch::default()
        }));
        log.durable(log.newest_sequence());
        operations.extend(log.vouch());
        operations
    }
}
