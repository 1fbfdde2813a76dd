//! One server: a replica, its disk, its clock, and what the shell of a process does for it.
//!
//! Invariant: disk batches are performed in order, each some time after it was asked for; what is
//! under way when the server stops is performed up to a random point.

use crate::executor::{Recipes, SimulatedExecutor};
use crate::observation::SimulatedReplica;
use quorate_faulty_disk::{Choices, Crash, FaultyDisk};
use quorate_recipe_host::Catalogue;
use quorate_replica::{Input, MemberAddress, Now, Replica, Settings, StartError};
use quorate_storage::DiskOperation;
use quorate_types::ServerId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How a server's clocks differ from true time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// True time and monotonic time at which this rate began.
    from_ms: (u64, u64),
    /// Milliseconds that it counts in a true second.
    rate: u64,
    /// Wall time less monotonic time.
    wall_offset_ms: u64,
}

impl Clock {
    fn new() -> Clock {
        Clock { from_ms: (0, 0), rate: 1_000, wall_offset_ms: 1_700_000_000_000 }
    }

    #[must_use]
    pub fn now(&self, true_ms: u64) -> Now {
        let monotonic_ms = self.from_ms.1 + (true_ms - self.from_ms.0) * self.rate / 1_000;
        Now { monotonic_ms, wall_ms: monotonic_ms + self.wall_offset_ms }
    }

    /// The first true millisecond at which the monotonic clock shows this or more.
    fn true_ms(&self, monotonic_ms: u64) -> u64 {
        let ahead_ms = monotonic_ms.saturating_sub(self.from_ms.1);
        self.from_ms.0 + (ahead_ms * 1_000).div_ceil(self.rate)
    }

    pub fn set_rate(&mut self, true_ms: u64, rate: u64) {
        self.from_ms = (true_ms, self.now(true_ms).monotonic_ms);
        self.rate = rate;
    }

    pub fn jump_wall(&mut self, ahead: bool, by_ms: u64) {
        self.wall_offset_ms = if ahead {
            self.wall_offset_ms + by_ms
        } else {
            self.wall_offset_ms.saturating_sub(by_ms)
        };
    }
}

pub struct Server {
    pub id: u64,
    pub disk: FaultyDisk,
    pub replica: Option<SimulatedReplica>,
    pub catalogue: Arc<Catalogue>,
    pub clock: Clock,
    /// Counts starts: what was under way for an earlier run is void.
    pub run: u64,
    pub paused: bool,
    /// The next disk operations fail or lie in this way.
    pub disk_fault: Option<super::disk::PlannedFault>,
    pub slow_disk_until_ms: u64,
    pub slow_disk_ms: u64,
    pub full_until_ms: u64,
    /// What an honest disk would hold, while this one lies or has rotted.
    pub shadow: Option<FaultyDisk>,
    /// Damaged, and not yet known to have caught up since.
    pub damaged: bool,
    /// Whom a server that joins may be contacted by; `None`: a member from the beginning.
    pub contacts: Option<Vec<u64>>,
    /// Whom it dials and accepts.
    pub peers: BTreeMap<ServerId, MemberAddress>,
    /// The newest entry that was seen applied.
    pub applied: u64,
    pub(super) batches: VecDeque<(u64, Vec<DiskOperation>)>,
    /// Inputs wait here while the process stands still.
    pub(super) inbox: VecDeque<Input>,
    /// Frames that will be handled together.
    pub(super) gathered: Vec<Input>,
    pub(super) wake_at_ms: Option<u64>,
    /// The newest connection to each peer that the replica has heard of and that neither it nor the
    /// network has closed: what it sends goes there.
    pub(super) generations: BTreeMap<u64, u64>,
    pub incarnation: u64,
}

impl Server {
    #[must_use]
    pub fn new(id: u64, sector_bytes: usize) -> Server {
        Server {
            id,
            disk: FaultyDisk::default().with_sector_bytes(sector_bytes),
            replica: None,
            catalogue: Arc::default(),
            clock: Clock::new(),
            run: 0,
            paused: false,
            disk_fault: None,
            slow_disk_until_ms: 0,
            slow_disk_ms: 0,
            full_until_ms: 0,
            shadow: None,
            damaged: false,
            contacts: None,
            peers: BTreeMap::new(),
            applied: 0,
            batches: VecDeque::new(),
            inbox: VecDeque::new(),
            gathered: Vec::new(),
            wake_at_ms: None,
            generations: BTreeMap::new(),
            incarnation: id * 1_000,
        }
    }

    /// What the replica is about to hear of its connections to peers.
    pub(super) fn note_connection(&mut self, input: &Input) {
        match input {
            Input::PeerConnected { peer, generation, .. } => {
                self.generations.insert(peer.0, *generation);
            }
            Input::PeerDisconnected { peer, generation }
                if self.generations.get(&peer.0) == Some(generation) =>
            {
                self.generations.remove(&peer.0);
            }
            _ => {}
        }
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// In true time.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let deadline_ms = self.replica.as_ref()?.next_deadline_ms();
        Some(self.clock.true_ms(deadline_ms))
    }

    /// Reads the disk and begins to run.
    ///
    /// # Errors
    /// When the replica cannot start from what it finds.
    pub fn start(
        &mut self,
        true_ms: u64,
        settings: Settings,
        choices: &mut Choices,
    ) -> Result<(), StartError> {
        assert!(self.replica.is_none(), "server {} runs already", self.id);
        self.run += 1;
        // A machine's monotonic clock begins anew with it.
        let rate = self.clock.rate;
        self.clock.from_ms = (true_ms, choices.below(1 << 40));
        self.clock.rate = rate;
        let wall_ms = 1_700_000_000_000 + true_ms + choices.below(2_000);
        self.clock.wall_offset_ms = wall_ms.saturating_sub(self.clock.from_ms.1);
        let (executor, catalogue): (SimulatedExecutor, _) = Recipes::executor();
        self.catalogue = catalogue;
        let now = self.clock.now(true_ms);
        let replica = Replica::start(settings, &self.disk.files(), executor, now)?;
        self.applied = replica.applied().0;
        self.replica = Some(replica);
        Ok(())
    }

    /// Stops without warning.
    pub fn crash(&mut self, crash: Crash, choices: &mut Choices) {
        self.replica = None;
        self.wake_at_ms = None;
        self.paused = false;
        self.disk_fault = None;
        self.peers.clear();
        self.inbox.clear();
        self.gathered.clear();
        self.generations.clear();
        let under_way: Vec<DiskOperation> =
            self.batches.drain(..).flat_map(|(_, operations)| operations).collect();
        let performed = choices.below(under_way.len() as u64 + 1) as usize;
        self.perform_while_possible(&under_way[..performed]);
        self.disk.crash(crash, choices);
        if let Some(shadow) = &mut self.shadow {
            let honest = if crash == Crash::Kill { crash } else { Crash::LoseUnsynced };
            shadow.crash(honest, choices);
        }
    }
}
