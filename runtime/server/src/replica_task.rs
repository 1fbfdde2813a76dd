//! The one task that owns the replica: events in, actions out, time from two clocks.
//!
//! Comes in: batches of events from the inbox. Goes out: frames to outboxes, jobs to the disk,
//! snapshot and compile threads. Invariant: after each input every action is performed, in order,
//! before the next input; nothing here waits for anything but the inbox. It shares its threads with
//! the doors, so that a frame that came in, and one that goes out, need not wake another thread.
//! Must never decide anything about the protocol: what to do is in the actions.

use crate::background::{CompileJob, SnapshotJob};
use crate::disk::DiskJob;
use crate::inbox::{Event, Inbox};
use crate::outbox::Outbox;
use crate::quic_native::frame_bytes;
use crate::quic_peer::PeerLink;
use quorate_machine::RecipeExecutor;
use quorate_replica::{Action, Input, MemberAddress, Now, Replica};
use quorate_types::ServerId;
use quorate_wire::native::ServerFrame;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Stack of a thread that recipes run on: within a stack of their own and with room for the host.
pub(crate) const STACK_BYTES: usize = 8 << 20;
/// Events of clients handled before peers and the disk get their turn again.
const CLIENT_EVENTS_MAX: usize = 256;
/// A batch that takes longer holds up heartbeats.
const SLOW: Duration = Duration::from_millis(200);

/// What the rest of the process sees of the replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The leader that this server knows.
    pub leader: Option<ServerId>,
    /// Whether this server is it and serves.
    pub leads: bool,
    /// Everything was handed over.
    pub shut_down: bool,
}

/// Where the members are, this server among them.
pub(crate) type Members = Arc<BTreeMap<ServerId, MemberAddress>>;

/// Where actions go.
pub(crate) struct Performers {
    pub(crate) disk: Sender<DiskJob>,
    pub(crate) snapshots: Sender<SnapshotJob>,
    pub(crate) compiler: Sender<CompileJob>,
    pub(crate) standing: watch::Sender<Standing>,
    /// Where the members are, for the peer door.
    pub(crate) members: watch::Sender<Members>,
    /// The last transaction applied, for hellos.
    pub(crate) applied: Arc<AtomicU64>,
}

/// Both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic_ms: whole_ms(self.start.elapsed()), wall_ms: whole_ms(wall) }
    }

    fn at(&self, monotonic_ms: u64) -> Instant {
        // A deadline that does not fit is as good as one in an hour: the loop asks again.
        let far = self.start + self.start.elapsed() + Duration::from_secs(3_600);
        self.start.checked_add(Duration::from_millis(monotonic_ms)).map_or(far, |at| at.min(far))
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

struct Shell {
    performers: Performers,
    clients: HashMap<u64, Arc<Outbox<ServerFrame>>>,
    peers: BTreeMap<ServerId, (u64, Arc<PeerLink>)>,
    standing: Standing,
}

/// Drives the replica until it has shut down.
pub(crate) async fn run<E: RecipeExecutor>(
    mut replica: Box<Replica<E>>,
    inbox: Arc<Inbox>,
    clock: Clock,
    performers: Performers,
) {
    let mut shell = Shell {
        performers,
        clients: HashMap::new(),
        peers: BTreeMap::new(),
        standing: Standing::default(),
    };
    let (mut events, mut gathered) = (Vec::new(), Vec::new());
    shell.perform_all(&mut replica);
    while !shell.standing.shut_down {
        let deadline_ms = replica.next_deadline_ms();
        inbox.take(&mut events, clock.at(deadline_ms), CLIENT_EVENTS_MAX).await;
        let started = Instant::now();
        let taken = events.len();
        for event in events.drain(..) {
            match event {
                Event::Input(input) if input.is_gathered() => gathered.push(input),
                event => {
                    shell.inputs(&mut replica, clock.now(), &mut gathered);
                    shell.handle(&mut replica, clock.now(), event);
                }
            }
        }
        shell.inputs(&mut replica, clock.now(), &mut gathered);
        let now = clock.now();
        if now.monotonic_ms >= deadline_ms {
            shell.input(&mut replica, now, Input::Tick);
        }
        shell.report(&replica);
        let took = started.elapsed();
        if took > SLOW {
            let took_ms = whole_ms(took);
            tracing::warn!(took_ms, events = taken, "the replica was busy for long");
        }
        // What was just given to the doors leaves first, and what they have read comes in together.
        tokio::task::yield_now().await;
    }
    for event in inbox.close() {
        match event {
            Event::ClientOpened { outbox, .. } => outbox.finish(),
            Event::PeerOpened { link, .. } => link.finish(),
            Event::ListWatches { .. } | Event::ListSessions { .. } | Event::Input(_) => {}
        }
    }
    shell.clients.values().for_each(|outbox| outbox.finish());
    shell.peers.values().for_each(|(_, link)| link.finish());
}

impl Shell {
    fn handle<E: RecipeExecutor>(&mut self, replica: &mut Replica<E>, now: Now, event: Event) {
        let input = match event {
            Event::ClientOpened { connection, identity, entropy, outbox } => {
                self.clients.insert(connection, outbox);
                Input::ConnectionOpened { connection, identity, entropy }
            }
            Event::PeerOpened { peer, generation, incarnation, link } => {
                self.peers.insert(peer, (generation, link));
                Input::PeerConnected { peer, generation, incarnation }
            }
            // Whoever asked may have given up waiting.
            Event::ListWatches { order, rows_max, to } => {
                let _ = to.send(replica.list_watches(order, rows_max));
                return;
            }
            Event::ListSessions { rows_max, to } => {
                let _ = to.send(replica.list_sessions(rows_max));
                return;
            }
            Event::Input(input) => {
                match &input {
                    Input::ConnectionClosed { connection } => drop(self.clients.remove(connection)),
                    Input::PeerDisconnected { peer, generation } => self.forget(*peer, *generation),
                    _ => {}
                }
                input
            }
        };
        self.input(replica, now, input);
    }

    /// Inputs that came together: one write to the disk and one message to each peer for all.
    fn inputs<E: RecipeExecutor>(
        &mut self,
        replica: &mut Replica<E>,
        now: Now,
        gathered: &mut Vec<Input>,
    ) {
        if !gathered.is_empty() {
            replica.handle_together(now, gathered.drain(..));
            self.perform_all(replica);
        }
    }

    fn input<E: RecipeExecutor>(&mut self, replica: &mut Replica<E>, now: Now, input: Input) {
        replica.handle(now, input);
        self.perform_all(replica);
    }

    fn forget(&mut self, peer: ServerId, generation: u64) {
        if self.peers.get(&peer).is_some_and(|(newest, _)| *newest == generation) {
            self.peers.remove(&peer);
        }
    }

    fn perform_all<E: RecipeExecutor>(&mut self, replica: &mut Replica<E>) {
        while let Some(action) = replica.poll_action() {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::SendClient { connection, frame } => self.send_client(connection, frame),
            Action::CloseConnection { connection } => {
                if let Some(outbox) = self.clients.get(&connection) {
                    outbox.finish();
                }
            }
            Action::SendPeer { peer, frame } => {
                if let Some((_, link)) = self.peers.get(&peer) {
                    link.send(frame);
                }
            }
            Action::ClosePeer { peer, reason } => {
                tracing::warn!(%peer, reason, "closing the connection to the peer");
                if let Some((_, link)) = self.peers.get(&peer) {
                    link.abandon(&reason);
                }
            }
            Action::PeersChanged { members } => {
                self.performers.members.send_replace(Arc::new(members));
            }
            Action::Disk { batch, operations } => {
                give(&self.performers.disk, DiskJob { batch, operations });
            }
            Action::SaveSnapshot { mark, machine } => {
                tracing::info!(index = mark.index.0, "snapshot begun");
                give(
                    &self.performers.snapshots,
                    SnapshotJob::Save { mark, machine: Box::new(machine) },
                );
            }
            Action::LoadSnapshot { file, index } => {
                give(&self.performers.snapshots, SnapshotJob::Load { file, index });
            }
            Action::CompileComponent { digest, bytes } => {
                give(&self.performers.compiler, CompileJob::Compile { digest, bytes });
            }
            Action::RemoveComponent { digest } => {
                give(&self.performers.compiler, CompileJob::Remove { digest });
            }
            Action::Alarm { text } => tracing::error!(alarm = text, "alarm"),
            Action::Warn { text } => tracing::warn!("{text}"),
            Action::ShutdownComplete => self.standing.shut_down = true,
        }
    }

    fn send_client(&self, connection: u64, frame: ServerFrame) {
        if let Some(outbox) = self.clients.get(&connection) {
            let bytes = frame_bytes(&frame);
            outbox.push(frame, bytes);
        }
    }

    /// Tells the rest of the process what has changed.
    fn report<E: RecipeExecutor>(&mut self, replica: &Replica<E>) {
        self.performers.applied.store(replica.applied().0, Ordering::Relaxed);
        let before = self.standing;
        self.standing.leader = replica.leader();
        self.standing.leads = replica.is_serving_leader();
        if self.standing == before {
            return;
        }
        if self.standing.leader != before.leader {
            match self.standing.leader {
                Some(leader) => tracing::info!(%leader, "the cluster has a leader"),
                None => tracing::warn!("no leader is known"),
            }
        }
        if self.standing.leads && !before.leads {
            tracing::info!("this server leads");
        }
        self.performers.standing.send_replace(self.standing);
    }
}

/// The other threads live as long as this one holds their queues.
fn give<J>(queue: &Sender<J>, job: J) {
    assert!(queue.send(job).is_ok(), "a thread of this server has ended before the replica");
}
