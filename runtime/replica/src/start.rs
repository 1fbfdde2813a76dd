//! From the files of a data directory to a running replica.
//!
//! Comes in: settings and every file's bytes. Goes out: a replica whose state is the newest whole
//! snapshot and whose log is what recovery vouches for. Invariant: nothing is applied here beyond
//! the snapshot: only consensus knows what is committed. Damage is never taken for emptiness.

use crate::boundary::Now;
use crate::connection::to_usize;
use crate::consensus::{DiskPurpose, DiskQueue};
use crate::membership::settled_by;
use crate::read::ReadBarriers;
use crate::settings::Settings;
use crate::snapshot_transfer::Snapshots;
use crate::{Replica, replica_of};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use quorate_machine::{Machine, RecipeExecutor, WatchHistory, WatchTable};
use quorate_raft::{HardState, Index, Membership, Raft, SnapshotMark, Start, Term};
use quorate_storage::{DiskOperation, Log, LogSettings, Recovered, RecoveryError, snapshot};
use quorate_types::Zxid;

/// Why a data directory cannot be started from.
#[derive(Clone, Debug)]
pub enum StartError {
    /// The log's own words.
    Recovery(RecoveryError),
    /// The directory belongs to another server or cluster.
    Foreign {
        /// What it says it is and what was expected.
        text: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Recovery(error) => write!(f, "the log cannot be recovered: {error}"),
            StartError::Foreign { text } => f.write_str(text),
        }
    }
}

impl core::error::Error for StartError {}

/// What a replica begins with.
struct Ground {
    log: Log,
    operations: Vec<DiskOperation>,
    start: Start,
    machine: Machine,
    alarm: Option<String>,
}

impl<E: RecipeExecutor> Replica<E> {
    /// Starts from the files of a data directory; none at all: a new cluster's server, or one that
    /// waits to be added to a running one.
    ///
    /// # Errors
    /// When the files are another server's, or so damaged that starting could lose what was
    /// acknowledged.
    pub fn start(
        mut settings: Settings,
        files: &BTreeMap<String, Vec<u8>>,
        executor: E,
        now: Now,
    ) -> Result<Replica<E>, StartError> {
        let ground = match recover(&mut settings, files) {
            Err(StartError::Recovery(RecoveryError::NotCreated)) => create(&settings),
            recovered => recovered?,
        };
        let mark = ground.start.snapshot.clone();
        let settled = settled_by(&ground.start.entries);
        let mut raft = Raft::new(raft_settings(&settings), ground.start, now.monotonic_ms);
        if let Some(index) = settled {
            raft.know_committed(index);
        }
        let mut replica = Replica {
            settings,
            fuel_used_before: executor.fuel_used(),
            executor,
            now,
            raft,
            log: ground.log,
            disk: DiskQueue::default(),
            machine: ground.machine,
            applied: mark.index,
            leading: None,
            leader_seen_ms: now.monotonic_ms,
            connections: BTreeMap::new(),
            sessions_here: BTreeMap::new(),
            readers: crate::read_only::Readers::default(),
            touched: BTreeSet::new(),
            touches_sent_ms: now.monotonic_ms,
            submissions: crate::forward::Submissions::default(),
            barriers: ReadBarriers::default(),
            peers: BTreeMap::new(),
            compiled_by: BTreeMap::new(),
            watches: WatchTable::new(),
            watch_history: WatchHistory::standing_on(Zxid(mark.index.0)),
            snapshots: Snapshots::standing_on(mark),
            peers_told: None,
            members_told: None,
            belonged: false,
            alarms: BTreeMap::new(),
            shutting_down_since_ms: None,
            shut_down: false,
            actions: VecDeque::new(),
        };
        if !ground.operations.is_empty() {
            replica.perform(ground.operations, DiskPurpose::Upkeep);
        }
        if let Some(alarm) = ground.alarm {
            replica.raise_alarm(String::from("log"), alarm);
        }
        replica.compile_all_components();
        replica.on_membership_changed();
        replica.tell_peers();
        replica.settle();
        Ok(replica)
    }
}

fn raft_settings(settings: &Settings) -> quorate_raft::Settings {
    let limits = &settings.limits;
    quorate_raft::Settings {
        id: replica_of(settings.identity.server),
        seed: settings.seed,
        election_timeout_ms_min: settings.election_timeout_ms_min,
        election_timeout_ms_max: settings.election_timeout_ms_max,
        heartbeat_interval_ms: settings.heartbeat_interval_ms,
        append_entries_max: to_usize(limits.append_entries_max),
        append_bytes_max: to_usize(limits.append_bytes_max),
        appends_inflight_max: to_usize(limits.appends_inflight_max),
        uncommitted_bytes_max: to_usize(limits.transaction_bytes_max) * 8,
    }
}

fn log_settings(settings: &Settings) -> LogSettings {
    LogSettings { segment_bytes: settings.limits.log_segment_bytes }
}

fn first_membership(settings: &Settings) -> Membership {
    if settings.join {
        // Nobody's vote is known, so this server never campaigns: it waits for a leader.
        return Membership::default();
    }
    Membership::of_voters(settings.members.keys().map(|server| replica_of(*server)))
}

fn create(settings: &Settings) -> Ground {
    let membership = first_membership(settings);
    let (log, operations) = Log::create(log_settings(settings), settings.identity, &membership);
    let snapshot = SnapshotMark { index: Index(0), term: Term(0), membership };
    let start = Start {
        hard_state: HardState::default(),
        snapshot,
        entries: Vec::new(),
        refetching: false,
    };
    let machine = Machine::with_limits(settings.limits);
    Ground { log, operations, start, machine, alarm: None }
}

fn recover(
    settings: &mut Settings,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Ground, StartError> {
    let mut recovered =
        Log::recover(log_settings(settings), files).map_err(StartError::Recovery)?;
    check_identity(settings, &recovered)?;
    settings.identity = recovered.identity;
    // What a crash left behind between the writing of a snapshot and its mark.
    recovered.operations.extend(snapshot::remove_others(files, &[&recovered.snapshot]));
    let alarm = recovered.damage.as_ref().map(|damage| {
        let cost = if damage.entries_lost {
            "this server refetches the lost entries from its peers and neither votes nor serves \
             until it has them"
        } else {
            "nothing was lost: it was repaired from what else is there"
        };
        format!("the log was damaged in {}: {:?}; {cost}", damage.file, damage.cause)
    });
    let mark = &recovered.snapshot;
    if mark.index == Index(0) {
        return Ok(ground_of(recovered, Machine::with_limits(settings.limits), alarm));
    }
    let name = snapshot::file_name(mark);
    let loaded = files.get(&name).and_then(|bytes| {
        let (found, image) = snapshot::decode(bytes).ok()?;
        (found == *mark).then(|| Machine::decode_image(&image).ok()).flatten()
    });
    match loaded {
        Some(mut machine) => {
            machine.set_limits(settings.limits);
            Ok(ground_of(recovered, machine, alarm))
        }
        None => Ok(without_snapshot(settings, recovered, &name)),
    }
}

fn check_identity(settings: &Settings, recovered: &Recovered) -> Result<(), StartError> {
    let (wanted, found) = (&settings.identity, &recovered.identity);
    if wanted.cluster == found.cluster && wanted.server == found.server {
        return Ok(());
    }
    let text = format!(
        "the data directory belongs to server {} of cluster {:016x}, not to server {} of cluster \
         {:016x}: point `data_dir` to the right one",
        found.server, found.cluster, wanted.server, wanted.cluster
    );
    Err(StartError::Foreign { text })
}

fn ground_of(recovered: Recovered, machine: Machine, alarm: Option<String>) -> Ground {
    let start = Start {
        hard_state: recovered.hard_state,
        snapshot: recovered.snapshot,
        entries: recovered.entries,
        refetching: recovered.refetching,
    };
    Ground { log: recovered.log, operations: recovered.operations, start, machine, alarm }
}

/// The log stands on a snapshot that is gone or damaged: everything must come from peers.
fn without_snapshot(settings: &Settings, recovered: Recovered, name: &str) -> Ground {
    let Recovered { mut log, hard_state, snapshot: mark, mut operations, .. } = recovered;
    let empty = SnapshotMark { index: Index(0), term: Term(0), membership: mark.membership };
    let batch = quorate_storage::LogBatch {
        hard_state: None,
        truncate_from: None,
        entries: &[],
        snapshot_mark: None,
        installed: Some(&empty),
        refetching: Some(true),
    };
    operations.extend(log.append(&batch));
    let alarm = format!(
        "the snapshot {name} is missing or damaged: this server refetches everything from its \
         peers and neither votes nor serves until it has it"
    );
    let start = Start { hard_state, snapshot: empty, entries: Vec::new(), refetching: true };
    let machine = Machine::with_limits(settings.limits);
    Ground { log, operations, start, machine, alarm: Some(alarm) }
}
