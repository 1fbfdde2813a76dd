//! The peer door: one QUIC connection between each two servers, four streams each way.
//!
//! Comes in: members' connections, bytes. Goes out: decoded frames to the replica's inbox, under a
//! generation that grows with every connection. Who the members are and where, the replica says, at
//! any time. Invariant: nothing but a hello is read before both sides know by certificate which
//! member the other is; who is none any more is disconnected; the server with the higher id dials,
//! so two servers never have two connections for long; the newest one counts. Heartbeats and votes
//! go on a stream of their own, ahead of entries and snapshots.

use crate::entropy;
use crate::handshake_words::handshake_words;
use crate::identity_of::CertificateName;
use crate::inbox::{Event, Inbox};
use crate::outbox::Outbox;
use crate::quic_native::certificate_name;
use crate::replica_task::Members;
use crate::transport::{self, CloseCode, WritingEnd, close};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use quorate_replica::Input;
use quorate_types::{Incarnation, ServerId, Zxid};
use quorate_wire::peer::{FrameBuffer, PROTOCOL, PeerFrame, encode};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

#[cfg(test)]
mod tests;

/// Frames that may wait for one stream of a peer.
const WAITING_FRAMES_MAX: usize = 65_536;
/// Bytes read from a stream at once.
const CHUNK_BYTES: usize = 256 << 10;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A connection that lasted this long was a good one: the next attempt comes at once.
const GOOD_CONNECTION: Duration = Duration::from_secs(2);

/// One of the streams between two servers. The number is the stream's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Hello, heartbeats, votes, acknowledgements, touches.
    Control = 0,
    /// Entries.
    Append = 1,
    /// Clients' requests and their answers.
    Forward = 2,
    /// Parts of snapshots.
    Snapshot = 3,
}

impl Lane {
    const ALL: [Lane; 4] = [Lane::Control, Lane::Append, Lane::Forward, Lane::Snapshot];

    fn of(frame: &PeerFrame) -> Lane {
        match frame {
            PeerFrame::Raft(message) if quorate_replica::is_append(message) => Lane::Append,
            PeerFrame::Raft(_) | PeerFrame::Hello { .. } | PeerFrame::Touch { .. } => Lane::Control,
            PeerFrame::SnapshotAck { .. }
            | PeerFrame::Members { .. }
            | PeerFrame::Compiled { .. } => Lane::Control,
            PeerFrame::Forward { .. }
            | PeerFrame::ForwardAnswer { .. }
            | PeerFrame::ForwardLost { .. } => Lane::Forward,
            PeerFrame::SnapshotChunk { .. } => Lane::Snapshot,
        }
    }

    /// Higher goes first when the network is the bottleneck.
    fn priority(self) -> i32 {
        match self {
            Lane::Control => 3,
            Lane::Append => 2,
            Lane::Forward => 1,
            Lane::Snapshot => 0,
        }
    }
}

/// Where the replica's task puts frames for one connection to a peer.
pub(crate) struct PeerLink {
    lanes: [Outbox<PeerFrame>; 4],
}

impl PeerLink {
    pub(crate) fn new() -> PeerLink {
        PeerLink { lanes: Lane::ALL.map(|_| Outbox::new(WAITING_FRAMES_MAX)) }
    }

    pub(crate) fn send(&self, frame: PeerFrame) {
        let bytes = frame_bytes(&frame);
        self.lanes[Lane::of(&frame) as usize].push(frame, bytes);
    }

    /// Ends the connection for a reason that is logged on both sides; nothing more is sent on it.
    pub(crate) fn abandon(&self, reason: &str) {
        self.lanes.iter().for_each(|lane| lane.abandon(reason.to_owned()));
    }

    /// Ends the connection once what waits on the control stream is sent.
    pub(crate) fn finish(&self) {
        self.lanes[Lane::Control as usize].finish();
    }
}

fn frame_bytes(frame: &PeerFrame) -> usize {
    let payload = match frame {
        PeerFrame::Raft(bytes)
        | PeerFrame::Forward { request: bytes, .. }
        | PeerFrame::SnapshotChunk { bytes, .. } => bytes.len(),
        PeerFrame::ForwardAnswer { .. } => 512,
        PeerFrame::Touch { sessions } => sessions.len() * 8,
        PeerFrame::Members { members, .. } => members.len() * 128,
        PeerFrame::Compiled { components } => components.len() * 64,
        PeerFrame::Hello { .. } | PeerFrame::ForwardLost { .. } | PeerFrame::SnapshotAck { .. } => {
            0
        }
    };
    payload + 64
}

/// Who this server is to its peers and who they are.
pub(crate) struct PeerSettings {
    /// This server.
    pub(crate) server: ServerId,
    /// Of this server's data directory.
    pub(crate) incarnation: Incarnation,
    /// Name of the cluster, as certificates have it.
    pub(crate) cluster: String,
    /// The number that hellos compare.
    pub(crate) cluster_id: u64,
    /// `host:port` of the other members as the configuration has it: tried in turn with what the
    /// cluster has on record, for when everything was moved while nothing ran.
    pub(crate) configured: BTreeMap<ServerId, String>,
    /// Bytes of one frame.
    pub(crate) frame_bytes_max: u32,
}

/// What every connection of the door shares.
pub(crate) struct PeerDoor {
    settings: PeerSettings,
    /// Where the members are, by the replica.
    members: watch::Receiver<Members>,
    inbox: Arc<Inbox>,
    /// The last transaction that this server has applied, for hellos.
    applied: Arc<AtomicU64>,
    next_generation: AtomicU64,
    /// The newest connection of each peer.
    current: Mutex<BTreeMap<ServerId, (u64, Connection)>>,
}

/// What this server dials with.
#[derive(Clone)]
struct Dialer {
    endpoint: Endpoint,
    config: quinn::ClientConfig,
}

/// What a hello told.
struct Greeting {
    incarnation: Incarnation,
    applied: Zxid,
    control_in: RecvStream,
    control_buffer: FrameBuffer,
    control_out: SendStream,
}

impl PeerDoor {
    pub(crate) fn new(
        settings: PeerSettings,
        members: watch::Receiver<Members>,
        inbox: Arc<Inbox>,
        applied: Arc<AtomicU64>,
    ) -> PeerDoor {
        PeerDoor {
            settings,
            members,
            inbox,
            applied,
            next_generation: AtomicU64::new(1),
            current: Mutex::default(),
        }
    }

    fn current(&self) -> MutexGuard<'_, BTreeMap<ServerId, (u64, Connection)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts and dials until `stopping` is true, then ends every connection.
    pub(crate) async fn serve(
        self: Arc<PeerDoor>,
        endpoint: Endpoint,
        config: quinn::ClientConfig,
        mut stopping: watch::Receiver<bool>,
    ) {
        let dialer = Dialer { endpoint: endpoint.clone(), config };
        let mut tasks = JoinSet::new();
        let mut members = self.members.clone();
        let mut dialed = BTreeSet::new();
        loop {
            for peer in self.to_dial(&dialed) {
                dialed.insert(peer);
                let (door, dialer) = (Arc::clone(&self), dialer.clone());
                let mut stopping = stopping.clone();
                tasks.spawn(async move {
                    door.keep_dialing(&dialer, peer, &mut stopping).await;
                    Some(peer)
                });
            }
            tokio::select! {
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) if tasks.len() < transport::HANDSHAKES_MAX => {
                        let door = Arc::clone(&self);
                        tasks.spawn(async move {
                            door.answer(incoming).await;
                            None
                        });
                    }
                    Some(incoming) => incoming.refuse(),
                    None => break,
                },
                Some(ended) = tasks.join_next() => {
                    if let Ok(Some(peer)) = ended {
                        dialed.remove(&peer);
                    }
                }
                Ok(()) = members.changed() => self.close_strangers(),
                _ = stopping.wait_for(|stopping| *stopping) => break,
            }
        }
        endpoint.set_server_config(None);
        // The replica has asked every connection to flush and end.
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = timeout(transport::FLUSH_DEADLINE, all).await;
    }

    /// Members that this server dials and no task does yet.
    fn to_dial(&self, dialed: &BTreeSet<ServerId>) -> Vec<ServerId> {
        let members = self.members.borrow();
        let lower = members.range(..self.settings.server).map(|(peer, _)| *peer);
        lower.filter(|peer| !dialed.contains(peer)).collect()
    }

    fn is_member(&self, peer: ServerId) -> bool {
        self.members.borrow().contains_key(&peer)
    }

    /// Who is no member any more is let go.
    fn close_strangers(&self) {
        for (peer, (_, connection)) in self.current().iter() {
            if !self.is_member(*peer) {
                close(connection, CloseCode::NotAllowed, "the server is no member any more");
            }
        }
    }

    /// Where the member is dialed at the `attempt`-th time; `None`: it is no member any more.
    fn address_of(&self, peer: ServerId, attempt: usize) -> Option<String> {
        let members = self.members.borrow();
        let recorded = &members.get(&peer)?.peer;
        let configured = self.settings.configured.get(&peer).filter(|other| *other != recorded);
        Some(configured.filter(|_| attempt % 2 == 1).unwrap_or(recorded).clone())
    }

    /// One connection that came in.
    async fn answer(self: Arc<PeerDoor>, incoming: quinn::Incoming) {
        let from = incoming.remote_address();
        let handshake = async {
            let connecting = incoming.accept().map_err(|error| error.to_string())?;
            let connection = connecting.await.map_err(|error| handshake_words(&error))?;
            let peer = self.member_that_dials(&connection).inspect_err(|reason| {
                close(&connection, CloseCode::NotAllowed, reason);
            })?;
            Ok::<_, String>((connection, peer))
        };
        match timeout(transport::HANDSHAKE_DEADLINE, handshake).await {
            Ok(Ok((connection, peer))) => self.converse(connection, peer).await,
            Ok(Err(reason)) => tracing::warn!(%from, reason, "connection at the peer door refused"),
            Err(_) => tracing::warn!(%from, "a handshake at the peer door took too long"),
        }
    }

    /// The member whose certificate this is, if it is the one that dials.
    fn member_that_dials(&self, connection: &Connection) -> Result<ServerId, String> {
        match certificate_name(connection, &self.settings.cluster) {
            Ok(CertificateName::Server(peer)) if peer <= self.settings.server => {
                let own = self.settings.server;
                Err(format!("server {peer} must not dial server {own}: the higher id dials"))
            }
            Ok(CertificateName::Server(peer)) if self.is_member(peer) => Ok(peer),
            Ok(CertificateName::Server(peer)) => {
                Err(format!("server {peer} is no member of this cluster"))
            }
            Ok(CertificateName::Client(name)) => {
                Err(format!("client `{name}` is not allowed at the peer door; clients use native"))
            }
            Err(reason) => Err(reason.to_string()),
        }
    }

    /// Connects to a member again and again until `stopping` is true or it is no member any more.
    async fn keep_dialing(
        &self,
        dialer: &Dialer,
        peer: ServerId,
        stopping: &mut watch::Receiver<bool>,
    ) {
        let mut backoff = BACKOFF_MIN;
        let mut reported = String::new();
        let mut members = self.members.clone();
        for attempt in 0.. {
            members.mark_unchanged();
            let Some(address) = self.address_of(peer, attempt).filter(|_| !*stopping.borrow())
            else {
                return;
            };
            let dialing = self.dial(dialer, peer, &address);
            let dialing = timeout(transport::HANDSHAKE_DEADLINE, dialing);
            let dialed = tokio::select! {
                dialed = dialing => dialed,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            let reason = match dialed {
                Ok(Ok(connection)) => {
                    reported.clear();
                    let since = Instant::now();
                    self.converse(connection, peer).await;
                    if since.elapsed() >= GOOD_CONNECTION {
                        backoff = BACKOFF_MIN;
                    }
                    String::from("connection lost")
                }
                Ok(Err(reason)) => reason,
                Err(_) => String::from("no answer"),
            };
            if reason == reported {
                tracing::debug!(%peer, address, reason, "no connection to the peer");
            } else {
                tracing::warn!(%peer, address, reason, "no connection to the peer");
                reported = reason;
            }
            // Servers that lost one another at one moment should not all dial at one moment.
            let jitter = Duration::from_millis(entropy::random_number() % 50);
            tokio::select! {
                () = tokio::time::sleep(backoff + jitter) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
                Ok(()) = members.changed() => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn dial(
        &self,
        dialer: &Dialer,
        peer: ServerId,
        address: &str,
    ) -> Result<Connection, String> {
        let Dialer { endpoint, config } = dialer;
        let local = endpoint.local_addr().map_err(|error| error.to_string())?;
        let found = tokio::net::lookup_host(address).await.map_err(|error| error.to_string())?;
        let usable = |found: &SocketAddr| local.is_ipv6() || found.is_ipv4();
        let remote = found.into_iter().find(usable);
        let remote = remote.ok_or_else(|| format!("{address} has no address usable here"))?;
        let name = crate::certificates::SERVER_NAME;
        let connecting = endpoint.connect_with(config.clone(), remote, name);
        let connecting = connecting.map_err(|error| error.to_string())?;
        let connection = connecting.await.map_err(|error| handshake_words(&error))?;
        match certificate_name(&connection, &self.settings.cluster) {
            Ok(CertificateName::Server(found)) if found == peer => Ok(connection),
            found => {
                let found = match found {
                    Ok(name) => name.to_string(),
                    Err(reason) => reason.to_string(),
                };
                let reason = format!("server {peer} was expected at {address}, not {found}");
                close(&connection, CloseCode::NotAllowed, &reason);
                Err(reason)
            }
        }
    }

    /// From the hellos to the end of a connection to a member.
    async fn converse(&self, connection: Connection, peer: ServerId) {
        let greeted = timeout(transport::HANDSHAKE_DEADLINE, self.greet(&connection, peer)).await;
        let greeting = match greeted {
            Ok(Ok(greeting)) => greeting,
            Ok(Err(reason)) => {
                tracing::warn!(%peer, reason, "the peer's hello was refused");
                close(&connection, CloseCode::Protocol, &reason);
                return;
            }
            Err(_) => {
                tracing::warn!(%peer, "the peer said no hello");
                close(&connection, CloseCode::TooSlow, "no hello came");
                return;
            }
        };
        let generation = self.next_generation.fetch_add(1, Ordering::Relaxed);
        let before = self.current().insert(peer, (generation, connection.clone()));
        if let Some((_, before)) = before {
            close(&before, CloseCode::Replaced, "a newer connection took its place");
        }
        let link = Arc::new(PeerLink::new());
        let incarnation = greeting.incarnation;
        tracing::info!(%peer, generation, applied = %greeting.applied, "peer connected");
        let opened = Event::PeerOpened { peer, generation, incarnation, link: Arc::clone(&link) };
        if self.inbox.send_from_peer(opened, 0).await.is_ok() {
            let carried = Carried { peer, generation, link };
            let (code, reason) = self.carry(&connection, greeting, carried).await;
            tracing::info!(%peer, generation, reason, "peer disconnected");
            close(&connection, code, &reason);
        }
        self.forget(peer, generation);
        let gone = Event::Input(Input::PeerDisconnected { peer, generation });
        let _ = self.inbox.send_from_peer(gone, 0).await;
    }

    fn forget(&self, peer: ServerId, generation: u64) {
        let mut current = self.current();
        if current.get(&peer).is_some_and(|(newest, _)| *newest == generation) {
            current.remove(&peer);
        }
    }

    /// Says hello, hears hello, compares.
    async fn greet(&self, connection: &Connection, peer: ServerId) -> Result<Greeting, String> {
        let mut control_out = open_lane(connection, Lane::Control).await?;
        let hello = PeerFrame::Hello {
            protocol: PROTOCOL,
            cluster: self.settings.cluster_id,
            server: self.settings.server,
            incarnation: self.settings.incarnation,
            applied: Zxid(self.applied.load(Ordering::Relaxed)),
        };
        let sent = control_out.write_all(&encode(&hello)).await;
        sent.map_err(|error| error.to_string())?;
        let (lane, mut control_in) = accept_lane(connection).await?;
        if lane != Lane::Control {
            return Err(String::from("the first stream is not the control stream"));
        }
        let mut control_buffer = FrameBuffer::new();
        loop {
            match control_buffer.next_peer(256).map_err(|error| error.to_string())? {
                Some(hello) => {
                    let (incarnation, applied) = self.check_hello(&hello, peer)?;
                    return Ok(Greeting {
                        incarnation,
                        applied,
                        control_in,
                        control_buffer,
                        control_out,
                    });
                }
                None => read_into(&mut control_buffer, &mut control_in).await?,
            }
        }
    }

    fn check_hello(
        &self,
        hello: &PeerFrame,
        peer: ServerId,
    ) -> Result<(Incarnation, Zxid), String> {
        let PeerFrame::Hello { protocol, cluster, server, incarnation, applied } = hello else {
            return Err(String::from("the first frame is no hello"));
        };
        if *protocol != PROTOCOL {
            return Err(format!(
                "it speaks version {protocol} of the peer protocol, not {PROTOCOL}"
            ));
        }
        if *cluster != self.settings.cluster_id {
            return Err(String::from("it belongs to another cluster"));
        }
        if *server != peer {
            return Err(format!("it says it is server {server}; its certificate says {peer}"));
        }
        Ok((*incarnation, *applied))
    }

    /// Carries frames both ways until the first stream ends.
    async fn carry(
        &self,
        connection: &Connection,
        greeting: Greeting,
        carried: Carried,
    ) -> (CloseCode, String) {
        let mut tasks = JoinSet::new();
        let mut control_out = Some(greeting.control_out);
        for lane in Lane::ALL {
            let link = Arc::clone(&carried.link);
            let opened = control_out.take();
            let connection = connection.clone();
            tasks.spawn(async move {
                let opened = match opened {
                    Some(opened) => Ok(opened),
                    None => open_lane(&connection, lane).await,
                };
                match opened {
                    Ok(send) => write_lane(&link.lanes[lane as usize], send).await,
                    Err(reason) => (CloseCode::Done, reason),
                }
            });
        }
        let reader = LaneReader {
            inbox: Arc::clone(&self.inbox),
            peer: carried.peer,
            generation: carried.generation,
            frame_bytes_max: self.settings.frame_bytes_max,
        };
        let control =
            reader.clone().read(Lane::Control, greeting.control_in, greeting.control_buffer);
        tasks.spawn(control);
        for _ in 1..Lane::ALL.len() {
            let (connection, reader) = (connection.clone(), reader.clone());
            tasks.spawn(async move {
                match accept_lane(&connection).await {
                    Ok((lane, receive)) => reader.read(lane, receive, FrameBuffer::new()).await,
                    Err(reason) => (CloseCode::Done, reason),
                }
            });
        }
        // Dropping the set ends the others.
        match tasks.join_next().await {
            Some(Ok(ended)) => ended,
            _ => (CloseCode::Done, String::from("a task of the connection failed")),
        }
    }
}

/// What identifies one connection to a peer.
struct Carried {
    peer: ServerId,
    generation: u64,
    link: Arc<PeerLink>,
}

async fn open_lane(connection: &Connection, lane: Lane) -> Result<SendStream, String> {
    let mut send = connection.open_uni().await.map_err(|error| error.to_string())?;
    let _ = send.set_priority(lane.priority());
    send.write_all(&[lane as u8]).await.map_err(|error| error.to_string())?;
    Ok(send)
}

async fn accept_lane(connection: &Connection) -> Result<(Lane, RecvStream), String> {
    let mut receive = connection.accept_uni().await.map_err(|error| error.to_string())?;
    let mut number = [0];
    receive.read_exact(&mut number).await.map_err(|error| error.to_string())?;
    let lane = Lane::ALL.into_iter().find(|lane| *lane as u8 == number[0]);
    Ok((lane.ok_or_else(|| format!("no stream has the number {}", number[0]))?, receive))
}

async fn read_into(buffer: &mut FrameBuffer, receive: &mut RecvStream) -> Result<(), String> {
    match receive.read_chunk(CHUNK_BYTES, true).await {
        Ok(Some(chunk)) => {
            buffer.push(&chunk.bytes);
            Ok(())
        }
        Ok(None) => Err(String::from("the peer ended a stream")),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Clone)]
struct LaneReader {
    inbox: Arc<Inbox>,
    peer: ServerId,
    generation: u64,
    frame_bytes_max: u32,
}

impl LaneReader {
    async fn read(
        self,
        lane: Lane,
        mut receive: RecvStream,
        mut buffer: FrameBuffer,
    ) -> (CloseCode, String) {
        let LaneReader { inbox, peer, generation, frame_bytes_max } = self;
        loop {
            loop {
                let before = buffer.len();
                let frame = match buffer.next_peer(frame_bytes_max) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(error) => return (CloseCode::Protocol, error.to_string()),
                };
                if Lane::of(&frame) != lane {
                    return (CloseCode::Protocol, format!("a frame on the wrong stream {lane:?}"));
                }
                let event = Event::Input(Input::PeerFrame { peer, generation, frame });
                if inbox.send_from_peer(event, before - buffer.len()).await.is_err() {
                    return (CloseCode::ShuttingDown, String::from("this server is shutting down"));
                }
            }
            if let Err(reason) = read_into(&mut buffer, &mut receive).await {
                return (CloseCode::Done, reason);
            }
        }
    }
}

async fn write_lane(outbox: &Outbox<PeerFrame>, mut send: SendStream) -> (CloseCode, String) {
    match transport::write_all(outbox, &mut send, encode).await {
        WritingEnd::Broken(reason) => (CloseCode::Done, reason),
        WritingEnd::Finished => {
            (CloseCode::ShuttingDown, String::from("this server is shutting down"))
        }
        WritingEnd::Abandoned(reason) => (CloseCode::Protocol, reason),
    }
}
