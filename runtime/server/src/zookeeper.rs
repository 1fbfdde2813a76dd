//! The ZooKeeper door: connections of ZooKeeper clients, TCP and TLS.
//!
//! Comes in: connections, bytes. Goes out: a native client's frames to the replica's inbox, ZooKeeper's
//! replies to clients, many in one write; answers to four-letter words. Invariant: a connection is
//! announced before its first frame and taken back after its last; its requests are not read while
//! it has many without a reply. What is asked and answered is put into words by the replica's
//! `Conversation`; here are only sockets. Must never decide what a request may do.

mod config;
mod entrance;
mod figures;
mod listings;
mod proofs;
mod sasl;
mod subject;
mod words;

pub use config::{ShownCertificates, ZooKeeperConfig, ZooKeeperTls};
pub use sasl::SaslUser;

use crate::entropy;
use crate::inbox::{Event, Inbox, InboxClosed};
use crate::outbox::{Next, Outbox};
use crate::quic_native::ConnectionNumbers;
use crate::tls::TlsError;
use bytes::BytesMut;
use entrance::{Entered, Entrance, TlsEntrance, enter};
use figures::{Counting, Figures, Known};
use proofs::check_proof;
use quorate_machine::Identity;
use quorate_replica::Input;
use quorate_replica::zookeeper::{Conversation, End, Proved, Step};
use quorate_types::limits::Limits;
use quorate_wire::native::ServerFrame;
use quorate_wire::zookeeper::{
    DecodeError, FourLetterWord, Frames, Received, decode_request_header,
};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a connection may take to come in: its TLS handshake.
const ENTRANCE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may take to say what it wants.
const FIRST_FRAME_DEADLINE: Duration = Duration::from_secs(10);
/// How long the last words may take to be read.
const LAST_WORDS_DEADLINE: Duration = Duration::from_secs(2);
/// Pause after the operating system refused a connection, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of one connection's requests under way above which no more are taken.
const PENDING_BYTES_MAX: usize = 4 << 20;
/// Bytes read from a connection at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What every connection of the door shares.
pub(crate) struct ZooKeeperDoor {
    config: ZooKeeperConfig,
    tls: Option<TlsEntrance>,
    limits: Limits,
    inbox: Arc<Inbox>,
    numbers: Arc<ConnectionNumbers>,
    figures: Figures,
    /// Where the log and the snapshots are.
    state_folder: PathBuf,
    /// By their numbers.
    connections: Mutex<BTreeMap<u64, Arc<Known>>>,
    by_address: Mutex<BTreeMap<IpAddr, u32>>,
}

/// The bound ports of the door.
#[derive(Debug)]
pub(crate) struct Listeners<L> {
    /// [`ZooKeeperConfig::listen`].
    pub(crate) main: Option<L>,
    /// [`ZooKeeperTls::listen`].
    pub(crate) tls: Option<L>,
}

/// A place among the connections of one address, given back when it is dropped.
struct Place<'d> {
    door: &'d ZooKeeperDoor,
    address: IpAddr,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.door.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    /// What was said.
    #[error("{0}")]
    Said(#[from] End),
    /// What was sent is no frame.
    #[error("{0}")]
    NoFrame(#[from] DecodeError),
    /// The network.
    #[error("{0}")]
    Network(#[from] io::Error),
    /// The client went.
    #[error("the client ended the connection")]
    Gone,
    /// It read too slowly.
    #[error("{0}")]
    TooSlow(String),
    /// The replica closed it.
    #[error("the server closed it")]
    Finished,
    /// It said nothing for too long.
    #[error("the client said nothing")]
    Silent,
    /// A word was answered.
    #[error("a four-letter word was answered")]
    Answered,
}

impl ZooKeeperDoor {
    pub(crate) fn new(
        config: ZooKeeperConfig,
        limits: Limits,
        (inbox, numbers): (Arc<Inbox>, Arc<ConnectionNumbers>),
        state_folder: PathBuf,
    ) -> Result<ZooKeeperDoor, TlsError> {
        let tls = config.tls.as_ref().map(TlsEntrance::new).transpose()?;
        let by_address = Mutex::new(BTreeMap::new());
        Ok(ZooKeeperDoor {
            config,
            tls,
            limits,
            inbox,
            numbers,
            figures: Figures::default(),
            state_folder,
            connections: Mutex::default(),
            by_address,
        })
    }

    /// Every connection, in the order of their numbers.
    fn known(&self) -> Vec<Arc<Known>> {
        self.connections().values().cloned().collect()
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Known>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until `stopping` is true, then until every connection has ended.
    pub(crate) async fn serve(
        self: Arc<ZooKeeperDoor>,
        listeners: Listeners<TcpListener>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let unifies = self.config.tls.as_ref().is_some_and(|tls| tls.port_unification);
        let main_entrance = if unifies { Entrance::Either } else { Entrance::Plain };
        let mut tasks = JoinSet::new();
        loop {
            let (accepted, entrance) = tokio::select! {
                accepted = accept(listeners.main.as_ref()) => (accepted, main_entrance),
                accepted = accept(listeners.tls.as_ref()) => (accepted, Entrance::Tls),
                Some(_) = tasks.join_next() => continue,
                () = stopped(&mut stopping) => break,
            };
            match accepted {
                Ok((stream, from)) => self.admit((stream, from), entrance, &mut tasks),
                Err(error) => {
                    tracing::warn!(%error, "a ZooKeeper connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listeners);
        while tasks.join_next().await.is_some() {}
    }

    fn admit(
        self: &Arc<ZooKeeperDoor>,
        (stream, from): (TcpStream, SocketAddr),
        entrance: Entrance,
        tasks: &mut JoinSet<()>,
    ) {
        let is_full = tasks.len() >= self.limits.connections_max as usize;
        if is_full {
            tracing::warn!(%from, "ZooKeeper connection refused: too many");
            return;
        }
        let door = Arc::clone(self);
        tasks.spawn(async move {
            let address = from.ip().to_canonical();
            let Some(_place) = door.place(address) else {
                let limit = door.config.connections_per_address_max;
                tracing::warn!(%from, limit, "ZooKeeper connection refused: too many of its address");
                return;
            };
            // Requests are small and answered one by one: none must wait for the next.
            let _ = stream.set_nodelay(true);
            door.let_in(stream, from, entrance).await;
        });
    }

    async fn let_in(&self, stream: TcpStream, from: SocketAddr, entrance: Entrance) {
        let entered = timeout(ENTRANCE_DEADLINE, enter(stream, entrance, self.tls.as_ref())).await;
        match entered {
            Ok(Ok(Entered::Plain(stream))) => self.converse(stream, from, Vec::new()).await,
            Ok(Ok(Entered::Tls(stream, proved))) => self.converse(*stream, from, proved).await,
            Ok(Err(error)) => {
                let reason = error.to_string();
                tracing::warn!(%from, reason, "a ZooKeeper client was not let in");
            }
            Err(_) => tracing::warn!(%from, "a ZooKeeper client took too long to come in"),
        }
    }

    fn place(&self, address: IpAddr) -> Option<Place<'_>> {
        let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        let most = self.config.connections_per_address_max;
        if most > 0 && *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { door: self, address })
    }

    /// From the first byte to the end of a connection. `proved`: by its certificate.
    async fn converse<S>(&self, stream: S, from: SocketAddr, mut proved: Vec<Proved>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let number = self.numbers.next();
        let address = from.ip().to_canonical().to_string();
        proved.insert(0, Proved::address(&address));
        let known = Arc::new(Known::new(from));
        self.connections().insert(number, Arc::clone(&known));
        let mut client = Client {
            door: self,
            number,
            stream,
            frames: Frames::new(),
            conversation: Conversation::new(proved, self.config.reconfig_enabled),
            outbox: Arc::new(Outbox::new(self.limits.connection_backlog_frames_max as usize)),
            counting: Counting::new(&self.figures, known),
            sasl: sasl::Attempt::default(),
            out: Vec::new(),
            address,
        };
        tracing::debug!(connection = number, %from, "a ZooKeeper client connected");
        let over = client.run().await.err().unwrap_or(Over::Finished);
        let reason = over.to_string();
        match over {
            Over::NoFrame(_)
            | Over::TooSlow(_)
            | Over::Said(End::Undecodable(_) | End::Improper) => {
                tracing::warn!(connection = number, %from, reason, "connection closed");
            }
            _ => tracing::debug!(connection = number, %from, reason, "connection closed"),
        }
        let _ = timeout(LAST_WORDS_DEADLINE, client.flush()).await;
        let _ = timeout(LAST_WORDS_DEADLINE, client.stream.shutdown()).await;
        client.outbox.abandon(reason);
        self.connections().remove(&number);
        let closed = Event::Input(Input::ConnectionClosed { connection: number });
        let _ = self.inbox.send_from_client(closed, 0).await;
    }
}

/// One connection.
struct Client<'d, S> {
    door: &'d ZooKeeperDoor,
    number: u64,
    stream: S,
    frames: Frames,
    conversation: Conversation,
    outbox: Arc<Outbox<ServerFrame>>,
    counting: Counting<'d>,
    sasl: sasl::Attempt,
    /// Bytes to be written.
    out: Vec<u8>,
    /// The client's IP address: its first identity.
    address: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<'_, S> {
    async fn run(&mut self) -> Result<(), Over> {
        let first = timeout(FIRST_FRAME_DEADLINE, self.first()).await;
        match first.map_err(|_| Over::Silent)?? {
            Received::Word(word) => {
                self.answer(word).await;
                return Err(Over::Answered);
            }
            Received::Frame(frame) => {
                self.open().await?;
                self.take(&frame).await?;
            }
        }
        self.take_all().await?;
        loop {
            let may_read = self.takes_frames();
            tokio::select! {
                next = self.outbox.next() => self.write(next).await?,
                read = read_some(&mut self.stream, self.frames.received()), if may_read => {
                    read?;
                }
            }
            // Also after a reply: what was received may have waited for it.
            self.take_all().await?;
        }
    }

    async fn first(&mut self) -> Result<Received, Over> {
        loop {
            if let Some(received) = self.frames.next(self.door.config.frame_bytes_max)? {
                return Ok(received);
            }
            read_some(&mut self.stream, self.frames.received()).await?;
        }
    }

    /// Tells the replica of the connection.
    async fn open(&self) -> Result<(), Over> {
        let proofs = self.conversation.identities().iter().cloned();
        let proofs = proofs.map(|Proved { scheme, id, .. }| (scheme, id)).collect();
        let opened = Event::ClientOpened {
            connection: self.number,
            identity: Identity { name: String::new(), proofs },
            entropy: entropy::random_bytes(),
            outbox: Arc::clone(&self.outbox),
        };
        self.give(opened, 0).await
    }

    async fn give(&self, event: Event, bytes: usize) -> Result<(), Over> {
        match self.door.inbox.send_from_client(event, bytes).await {
            Ok(()) => Ok(()),
            Err(InboxClosed) => Err(Over::Finished),
        }
    }

    fn takes_frames(&self) -> bool {
        let requests_max = self.door.limits.session_outstanding_max as usize;
        self.conversation.takes_frames(requests_max, PENDING_BYTES_MAX)
    }

    /// Takes the frames received, as many as may be under way.
    async fn take_all(&mut self) -> Result<(), Over> {
        while self.takes_frames()
            && let Some(Received::Frame(frame)) =
                self.frames.next(self.door.config.frame_bytes_max)?
        {
            self.take(&frame).await?;
        }
        self.flush().await
    }

    async fn take(&mut self, frame: &bytes::Bytes) -> Result<(), Over> {
        self.counting.received();
        let is_request = self.conversation.has_session();
        let step = self.conversation.on_frame(frame, &mut self.out)?;
        if is_request && let Ok((header, _)) = decode_request_header(frame) {
            self.counting.own().asked(header);
        }
        self.counting.under_way(self.conversation.pending());
        match step {
            None => Ok(()),
            Some(Step::Frame(asked)) => {
                let input = Input::ClientFrame { connection: self.number, frame: asked };
                self.give(Event::Input(input), frame.len()).await
            }
            Some(Step::Prove { scheme, proof }) => self.prove(&scheme, &proof).await,
            Some(Step::Sasl { xid, token }) => self.sasl(xid, &token).await,
        }
    }

    async fn prove(&mut self, scheme: &str, proof: &[u8]) -> Result<(), Over> {
        let super_digest = self.door.config.super_digest.as_deref();
        let Some(proved) = check_proof(scheme, proof, (&self.address, super_digest)) else {
            return Err(self.conversation.unproved(&mut self.out).into());
        };
        self.tell_proved(&proved).await?;
        self.conversation.proved(&proved, &mut self.out);
        Ok(())
    }

    async fn sasl(&mut self, xid: i32, token: &[u8]) -> Result<(), Over> {
        match self.sasl.token(token, &self.door.config.sasl_users) {
            sasl::Answer::Challenge(challenge) => {
                self.conversation.challenge(xid, challenge.into(), &[], &mut self.out);
            }
            sasl::Answer::Proved { user, server_proof } => {
                let proved =
                    [Proved { scheme: String::from("sasl"), id: user.clone(), name: user }];
                self.tell_proved(&proved).await?;
                self.conversation.challenge(xid, server_proof.into(), &proved, &mut self.out);
            }
            sasl::Answer::Refused => {
                return Err(self.conversation.unproved_by_sasl(xid, &mut self.out).into());
            }
        }
        Ok(())
    }

    async fn tell_proved(&self, proved: &[Proved]) -> Result<(), Over> {
        for Proved { scheme, id, .. } in proved.iter().cloned() {
            let input = Input::ConnectionProved { connection: self.number, scheme, id };
            self.give(Event::Input(input), 0).await?;
        }
        Ok(())
    }

    async fn write(&mut self, next: Next<ServerFrame>) -> Result<(), Over> {
        let (frames, bytes) = match next {
            Next::Write(frames, bytes) => (frames, bytes),
            Next::Finish => return Err(Over::Finished),
            Next::Abandon(reason) => return Err(Over::TooSlow(reason)),
        };
        for frame in frames {
            match &frame {
                ServerFrame::Connected { session, timeout_ms, .. } => {
                    self.counting.own().connected(session.0, *timeout_ms);
                }
                ServerFrame::Reply { zxid, .. } => self.counting.own().shown(zxid.0),
                _ => {}
            }
            let told = self.conversation.on_server(frame, &mut self.out);
            self.counting.under_way(self.conversation.pending());
            told?;
        }
        self.flush().await?;
        self.outbox.written(bytes);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Over> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.counting.sent();
        let written = self.stream.write_all(&self.out).await;
        self.out.clear();
        written?;
        // TLS keeps back what the network did not take at once.
        Ok(self.stream.flush().await?)
    }

    async fn answer(&mut self, word: FourLetterWord) {
        let text = words::answer(self.door, word, (self.number, &self.outbox)).await;
        self.out.extend_from_slice(text.as_bytes());
    }
}

/// Waits until it is true, or can never become so.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// The next connection; never, where there is no listener.
async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn read_some<S: AsyncRead + Unpin>(
    stream: &mut S,
    received: &mut BytesMut,
) -> Result<(), Over> {
    received.reserve(CHUNK_BYTES);
    match stream.read_buf(received).await? {
        0 => Err(Over::Gone),
        _ => Ok(()),
    }
}
