//! One server: a replica, its disk, and what the shell of a process does for it.
//!
//! Invariant: disk batches are performed in order, each some time after it was asked for; what is
//! under way when the server stops is performed up to a random point.

use crate::lock_recipe::LockExecutor;
use quorate_faulty_disk::{Choices, Crash, FaultyDisk};
use quorate_replica::{Input, MemberAddress, Now, Replica, Settings, StartError, Verify};
use quorate_storage::{DiskOperation, ServerIdentity};
use quorate_types::limits::Limits;
use quorate_types::{Incarnation, ServerId};
use std::collections::{BTreeMap, VecDeque};

pub const ELECTION_MS: (u64, u64) = (100, 200);
pub const HEARTBEAT_MS: u64 = 20;
const CLUSTER: u64 = 77;

/// Where a server of the simulation is.
pub fn address(id: u64) -> MemberAddress {
    MemberAddress { peer: format!("p{id}:1"), native: format!("n{id}:1") }
}

pub struct Server {
    pub id: u64,
    pub disk: FaultyDisk,
    pub replica: Option<Replica<LockExecutor>>,
    /// Counts starts: what was under way for an earlier run is void.
    pub run: u64,
    pub batches: VecDeque<(u64, Vec<DiskOperation>)>,
    /// Inputs wait here while the process stands still.
    pub inbox: VecDeque<Input>,
    /// Frames that will be handled together.
    pub gathered: Vec<Input>,
    pub paused: bool,
    pub wake_at_ms: Option<u64>,
    /// The newest connection to each peer that the replica has heard of: what it sends goes there.
    pub generations: BTreeMap<u64, u64>,
    pub incarnation: u64,
    /// The members it is configured with.
    members: Vec<u64>,
    /// Whether it waits to be added.
    join: bool,
    /// Where its replica says that members are.
    pub peers: BTreeMap<ServerId, MemberAddress>,
    pub executor: LockExecutor,
    /// Added to the simulation's time.
    monotonic_offset_ms: u64,
    pub wall_offset_ms: u64,
}

impl Server {
    /// A server of a new cluster.
    pub fn new(id: u64, members: Vec<u64>) -> Server {
        Server {
            id,
            disk: FaultyDisk::default(),
            replica: None,
            run: 0,
            batches: VecDeque::new(),
            inbox: VecDeque::new(),
            gathered: Vec::new(),
            paused: false,
            wake_at_ms: None,
            generations: BTreeMap::new(),
            incarnation: id * 1_000,
            members,
            join: false,
            peers: BTreeMap::new(),
            executor: LockExecutor::default(),
            monotonic_offset_ms: 0,
            wall_offset_ms: 1_000_000,
        }
    }

    /// A server that waits to be added to a running cluster.
    pub fn joining(id: u64, members: Vec<u64>) -> Server {
        Server { join: true, ..Server::new(id, members) }
    }

    /// Its configuration is corrected.
    pub fn set_contacts(&mut self, contacts: &[u64]) {
        self.members = contacts.to_vec();
    }

    pub fn now(&self, now_ms: u64) -> Now {
        Now {
            monotonic_ms: now_ms + self.monotonic_offset_ms,
            wall_ms: now_ms + self.wall_offset_ms,
        }
    }

    /// On the simulation's clock.
    pub fn deadline_ms(&self) -> Option<u64> {
        let deadline_ms = self.replica.as_ref()?.next_deadline_ms();
        Some(deadline_ms.saturating_sub(self.monotonic_offset_ms))
    }

    pub fn start(
        &mut self,
        now_ms: u64,
        limits: Limits,
        choices: &mut Choices,
    ) -> Result<(), StartError> {
        assert!(self.replica.is_none(), "server {} runs already", self.id);
        self.run += 1;
        self.monotonic_offset_ms = choices.below(100_000);
        self.wall_offset_ms = 1_000_000 + choices.below(2_000);
        self.executor = LockExecutor::default();
        let settings = Settings {
            identity: ServerIdentity {
                cluster: CLUSTER,
                server: ServerId(self.id),
                incarnation: Incarnation(self.incarnation),
            },
            members: self.members.iter().map(|id| (ServerId(*id), address(*id))).collect(),
            join: self.join,
            seed: choices.next(),
            election_timeout_ms_min: ELECTION_MS.0,
            election_timeout_ms_max: ELECTION_MS.1,
            heartbeat_interval_ms: HEARTBEAT_MS,
            verify: Verify::All,
            limits,
        };
        let now = self.now(now_ms);
        let files = self.disk.files();
        self.replica = Some(Replica::start(settings, &files, self.executor.clone(), now)?);
        Ok(())
    }

    /// Stops without warning.
    pub fn crash(&mut self, crash: Crash, choices: &mut Choices) {
        self.replica = None;
        self.wake_at_ms = None;
        self.paused = false;
        self.inbox.clear();
        self.gathered.clear();
        self.generations.clear();
        self.peers.clear();
        let under_way: Vec<DiskOperation> =
            self.batches.drain(..).flat_map(|(_, operations)| operations).collect();
        let performed = choices.below(under_way.len() as u64 + 1) as usize;
        for operation in &under_way[..performed] {
            self.disk.perform(operation);
        }
        self.disk.crash(crash, choices);
    }

    /// An empty disk under the old id.
    pub fn wipe(&mut self) {
        assert!(self.replica.is_none(), "a running server is not wiped");
        self.disk = FaultyDisk::holding(&BTreeMap::new());
        self.incarnation += 1;
    }

    /// Performs the oldest batch.
    pub fn perform_batch(&mut self) -> Option<u64> {
        let (batch, operations) = self.batches.pop_front()?;
        for operation in &operations {
            self.disk.perform(operation);
        }
        Some(batch)
    }
}
