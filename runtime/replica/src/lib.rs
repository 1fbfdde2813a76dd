//! The whole server as one state machine: inputs in, actions out. Start here.
//!
//! [`Replica::handle`] takes one [`Input`] and the time; [`Replica::poll_action`] gives what is to
//! be done about it. Connections, sessions, consensus, the log's format, the tree, watches,
//! tickets and recipes are inside; sockets, files, the clock, entropy, TLS and compilation are
//! outside. Invariant: equal settings and equal inputs give equal actions. This room only wires:
//! what a request does is decided in `machine`, what is agreed in `raft`, what is written in
//! `storage`.
//!
//! The files follow a request: [`boundary`] → `connection` → `admission` → `forward` → `proposal`
//! → `consensus` → `applier` → `delivery`, with `read` and `watching` beside them.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod admission;
mod applier;
pub mod boundary;
mod codec;
mod compiled;
mod connection;
mod consensus;
mod delivery;
mod forward;
mod founding;
mod leading;
mod listing;
mod membership;
mod peer;
mod proposal;
mod read;
mod read_only;
mod session_clock;
pub mod settings;
mod snapshot_transfer;
mod start;
mod status;
#[cfg(test)]
mod test_network;
mod watching;
pub mod zookeeper;

pub use boundary::{Action, Input, Now};
pub use codec::is_append;
pub use founding::Founding;
pub use listing::{SessionList, WatchList, WatchOrder};
pub use quorate_raft::SnapshotMark;
pub use quorate_types::MemberAddress;
pub use settings::{Settings, Verify};
pub use start::StartError;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use compiled::Compiled;
use connection::Connection;
use consensus::DiskQueue;
use forward::Submissions;
use leading::Leading;
use peer::Peer;
use quorate_machine::{Machine, RecipeExecutor, WatchHistory, WatchTable};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_raft::{Index, Raft, ReplicaId, Role, Term};
use quorate_storage::Log;
use quorate_types::{ServerId, SessionId, Zxid};
use read::ReadBarriers;
use read_only::Readers;
use snapshot_transfer::Snapshots;

/// One server's state machine.
pub struct Replica<E: RecipeExecutor> {
    settings: Settings,
    executor: E,
    /// Fuel that the executor had used when the inputs being handled came.
    fuel_used_before: u64,
    now: Now,
    raft: Raft,
    log: Log,
    disk: DiskQueue,
    machine: Machine,
    /// Invariant: `applied` is the index of the last entry whose effects are in `machine`.
    applied: Index,
    leading: Option<Leading>,
    /// When a leader was last heard of.
    leader_seen_ms: u64,
    connections: BTreeMap<u64, Connection>,
    /// Which connection of this server a session is attached to.
    sessions_here: BTreeMap<SessionId, u64>,
    readers: Readers,
    /// Sessions heard of since the last batch to the leader.
    touched: BTreeSet<SessionId>,
    touches_sent_ms: u64,
    submissions: Submissions,
    barriers: ReadBarriers,
    peers: BTreeMap<ServerId, Peer>,
    /// What connected peers say of their components.
    compiled_by: BTreeMap<ServerId, Compiled>,
    watches: WatchTable,
    watch_history: WatchHistory,
    snapshots: Snapshots,
    /// Where the shell was told that the members are.
    peers_told: Option<BTreeMap<ServerId, MemberAddress>>,
    /// Where a peer said that they are, and the last transaction that it had applied then.
    members_told: Option<(Zxid, BTreeMap<ServerId, MemberAddress>)>,
    /// Whether this server was a member, in a membership that was in effect here.
    belonged: bool,
    /// What is wrong, by subject; bounded by the number of subjects there are.
    alarms: BTreeMap<String, String>,
    shutting_down_since_ms: Option<u64>,
    shut_down: bool,
    actions: VecDeque<Action>,
}

impl<E: RecipeExecutor> Replica<E> {
    /// Takes one input. Afterwards [`Replica::poll_action`] must be called until it gives nothing.
    ///
    /// # Panics
    /// On a bug: an internal invariant does not hold. Never because of what a client or a peer
    /// sent.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.handle_together(now, [input]);
    }

    /// Takes inputs that came together, in their order: what they give rise to is written and sent
    /// in one piece. Only for frames and finished disk batches, since actions are performed after
    /// all of them: what opens or closes a connection is handled by itself.
    ///
    /// # Panics
    /// As [`Replica::handle`].
    pub fn handle_together(&mut self, now: Now, inputs: impl IntoIterator<Item = Input>) {
        let stalled_ms = now.monotonic_ms.saturating_sub(self.now.monotonic_ms);
        self.now =
            Now { monotonic_ms: now.monotonic_ms.max(self.now.monotonic_ms), wall_ms: now.wall_ms };
        self.fuel_used_before = self.executor.fuel_used();
        if stalled_ms > self.settings.election_timeout_ms_min {
            self.on_own_stall();
        }
        for input in inputs {
            let before = self.part_in_consensus();
            self.on_input(input);
            if self.part_in_consensus() != before {
                // The other rooms must hear of it before they take anything else in.
                self.settle();
            }
        }
        self.settle();
    }

    /// Whether recipes may still be run before it is the turn of peers and the disk. The rest waits
    /// for the next input or tick: a crowd of expensive calls must not hold up heartbeats.
    pub(crate) fn has_fuel(&self) -> bool {
        let used = self.executor.fuel_used().saturating_sub(self.fuel_used_before);
        used < self.settings.limits.replica_round_fuel_max
    }

    fn part_in_consensus(&self) -> (Term, Role, Option<ReplicaId>) {
        (self.raft.term(), self.raft.role(), self.raft.leader())
    }

    /// The next thing to do; `None` until the next input.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Input::Tick`] is needed at the latest, on the monotonic clock.
    #[must_use]
    pub fn next_deadline_ms(&self) -> u64 {
        let mut deadline_ms = self.raft.next_deadline_ms();
        deadline_ms = deadline_ms.min(self.touches_sent_ms + self.settings.heartbeat_interval_ms);
        if let Some(leading) = &self.leading {
            deadline_ms = deadline_ms.min(leading.next_deadline_ms(&self.machine, self.now));
        }
        if !self.has_fuel() {
            deadline_ms = 0;
        }
        deadline_ms.max(self.now.monotonic_ms + 1)
    }

    /// Which server of which cluster this is, with the incarnation of its data directory.
    #[must_use]
    pub fn identity(&self) -> quorate_storage::ServerIdentity {
        self.settings.identity
    }

    /// The leader this replica knows.
    #[must_use]
    pub fn leader(&self) -> Option<ServerId> {
        self.raft.leader().map(server_of)
    }

    /// Whether this replica leads and serves.
    #[must_use]
    pub fn is_serving_leader(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| leading.ready)
    }

    /// The applied state, for checkers and for status pages.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The consensus core, for checkers.
    #[must_use]
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// The executor, for checkers and for status pages.
    #[must_use]
    pub fn executor(&self) -> &E {
        &self.executor
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> Zxid {
        Zxid(self.applied.0)
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::ConnectionOpened { connection, identity, entropy } => {
                self.on_connection_opened(connection, identity, entropy);
            }
            Input::ClientFrame { connection, frame } => self.on_client_frame(connection, frame),
            Input::ConnectionProved { connection, scheme, id } => {
                self.on_connection_proved(connection, scheme, id);
            }
            Input::ConnectionClosed { connection } => self.on_connection_closed(connection),
            Input::PeerConnected { peer, generation, incarnation } => {
                self.on_peer_connected(peer, generation, incarnation);
            }
            Input::PeerFrame { peer, generation, frame } => {
                self.on_peer_frame(peer, generation, frame);
            }
            Input::PeerDisconnected { peer, generation } => {
                self.on_peer_disconnected(peer, generation);
            }
            Input::DiskDone { batch } => self.on_disk_done(batch),
            Input::SnapshotSaved { index } => self.on_snapshot_saved(Index(index)),
            Input::SnapshotLoaded { index, file } => self.on_snapshot_loaded(Index(index), file),
            Input::ComponentCompiled { .. } => self.on_component_compiled(),
            Input::Tick => {}
            Input::Shutdown => self.on_shutdown(),
        }
    }

    /// Runs every room until none has anything left to do at this instant.
    fn settle(&mut self) {
        self.raft.tick(self.now.monotonic_ms);
        self.on_time();
        self.advance_applied_lines();
        loop {
            let consensus_moved = self.drive_consensus();
            let leader_moved = self.serve_as_leader();
            let reads_moved = self.advance_reads();
            if !(consensus_moved || leader_moved || reads_moved) {
                break;
            }
        }
        self.check_shutdown();
    }

    fn on_time(&mut self) {
        if self.raft.has_live_leader() {
            self.leader_seen_ms = self.now.monotonic_ms;
        }
        if self.send_touches() {
            self.tend_idle_log();
            self.record_incarnations();
        }
        self.check_leaderless();
    }

    /// This very server stood still: it cannot tell who was silent meanwhile.
    fn on_own_stall(&mut self) {
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::OwnStallIgnored) {
            return;
        }
        let now_ms = self.now.monotonic_ms;
        if let Some(leading) = &mut self.leading {
            leading.sessions.touch_all(now_ms);
        }
    }

    fn on_shutdown(&mut self) {
        if self.shutting_down_since_ms.is_none() {
            self.shutting_down_since_ms = Some(self.now.monotonic_ms);
            if self.raft.role() == Role::Leader {
                // Refused when there is nobody to take over: then the process just ends.
                let _ = self.raft.transfer_leader(self.now.monotonic_ms, None);
            }
        }
    }

    fn check_shutdown(&mut self) {
        let Some(since_ms) = self.shutting_down_since_ms else { return };
        let waited_ms = self.now.monotonic_ms - since_ms;
        let alone = self.raft.membership().voters.len() <= 1;
        let handed_over = alone
            || self.raft.role() != Role::Leader
            || waited_ms >= self.settings.election_timeout_ms_max;
        if handed_over && !self.shut_down {
            self.shut_down = true;
            self.close_all_connections("the server is shutting down");
            self.actions.push_back(Action::ShutdownComplete);
        }
    }

    fn raise_alarm(&mut self, subject: String, text: String) {
        if self.alarms.get(&subject) != Some(&text) {
            self.alarms.insert(subject, text.clone());
            self.actions.push_back(Action::Alarm { text });
        }
    }
}

fn server_of(id: ReplicaId) -> ServerId {
    ServerId(id.0)
}

fn replica_of(server: ServerId) -> ReplicaId {
    ReplicaId(server.0)
}
