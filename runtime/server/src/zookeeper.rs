//! The ZooKeeper door: TCP connections of ZooKeeper clients.
//!
//! Comes in: connections, bytes. Goes out: a native client's frames to the replica's inbox, ZooKeeper's
//! replies to clients, many in one write; answers to four-letter words. Invariant: a connection is
//! announced before its first frame and taken back after its last; its requests are not read while
//! it has many without a reply. What is asked and answered is put into words by the replica's
//! `Conversation`; here are only sockets. Must never decide what a request may do.

mod figures;
mod proofs;
mod sasl;
mod words;

pub use sasl::SaslUser;

use crate::entropy;
use crate::inbox::{Event, Inbox, InboxClosed};
use crate::outbox::{Next, Outbox};
use crate::quic_native::ConnectionNumbers;
use bytes::BytesMut;
use figures::{Figures, Timing};
use proofs::check_proof;
use quorate_machine::Identity;
use quorate_replica::Input;
use quorate_replica::zookeeper::{Conversation, End, Proved, Step};
use quorate_types::limits::Limits;
use quorate_wire::native::ServerFrame;
use quorate_wire::zookeeper::{DecodeError, FourLetterWord, Frames, Received, xid};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

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

/// What the ZooKeeper door is told before it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeperConfig {
    /// Where ZooKeeper clients connect, TCP.
    pub listen: SocketAddr,
    /// Connections from one address at most; 0: any number. ZooKeeper's `maxClientCnxns`.
    pub connections_per_address_max: u32,
    /// Four-letter words that are answered. ZooKeeper's `4lw.commands.whitelist`.
    pub words: Vec<FourLetterWord>,
    /// `user:hash` whose password makes an administrator; ZooKeeper's `superDigest`.
    pub super_digest: Option<String>,
    /// Who may prove itself by SASL DIGEST-MD5.
    pub sasl_users: Vec<SaslUser>,
    /// Bytes of a request at most; ZooKeeper's `jute.maxbuffer`.
    pub frame_bytes_max: u32,
    /// Whether `reconfig` is not refused; ZooKeeper's `reconfigEnabled`.
    pub reconfig_enabled: bool,
}

impl ZooKeeperConfig {
    /// A door at this address, with what ZooKeeper has if nothing is said.
    #[must_use]
    pub fn at(listen: SocketAddr) -> ZooKeeperConfig {
        ZooKeeperConfig {
            listen,
            connections_per_address_max: 60,
            words: vec![FourLetterWord::Srvr, FourLetterWord::Isro],
            super_digest: None,
            sasl_users: Vec::new(),
            frame_bytes_max: 1_048_575,
            reconfig_enabled: false,
        }
    }
}

/// What every connection of the door shares.
pub(crate) struct ZooKeeperDoor {
    config: ZooKeeperConfig,
    limits: Limits,
    inbox: Arc<Inbox>,
    numbers: Arc<ConnectionNumbers>,
    figures: Figures,
    by_address: Mutex<BTreeMap<IpAddr, u32>>,
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
        inbox: Arc<Inbox>,
        numbers: Arc<ConnectionNumbers>,
    ) -> ZooKeeperDoor {
        let by_address = Mutex::new(BTreeMap::new());
        ZooKeeperDoor { config, limits, inbox, numbers, figures: Figures::default(), by_address }
    }

    /// Serves until `stopping` is true, then until every connection has ended.
    pub(crate) async fn serve(
        self: Arc<ZooKeeperDoor>,
        listener: TcpListener,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => self.admit(stream, from, &mut tasks),
                    Err(error) => {
                        tracing::warn!(%error, "a ZooKeeper connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
                () = stopped(&mut stopping) => break,
            }
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }

    fn admit(
        self: &Arc<ZooKeeperDoor>,
        stream: TcpStream,
        from: SocketAddr,
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
            door.converse(stream, from).await;
        });
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

    /// From the first byte to the end of a connection.
    async fn converse(&self, stream: TcpStream, from: SocketAddr) {
        let number = self.numbers.next();
        let address = from.ip().to_canonical().to_string();
        let mut client = Client {
            door: self,
            number,
            stream,
            frames: Frames::new(),
            conversation: Conversation::new(address.clone(), self.config.reconfig_enabled),
            outbox: Arc::new(Outbox::new(self.limits.connection_backlog_frames_max as usize)),
            timing: Timing::new(&self.figures),
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
        let closed = Event::Input(Input::ConnectionClosed { connection: number });
        let _ = self.inbox.send_from_client(closed, 0).await;
    }
}

/// One connection.
struct Client<'d> {
    door: &'d ZooKeeperDoor,
    number: u64,
    stream: TcpStream,
    frames: Frames,
    conversation: Conversation,
    outbox: Arc<Outbox<ServerFrame>>,
    timing: Timing<'d>,
    sasl: sasl::Attempt,
    /// Bytes to be written.
    out: Vec<u8>,
    /// The client's IP address: its first identity.
    address: String,
}

impl Client<'_> {
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
        let proofs = vec![(String::from("ip"), self.address.clone())];
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
        self.door.figures.received();
        let step = self.conversation.on_frame(frame, &mut self.out)?;
        self.timing.under_way(self.conversation.pending());
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
            return Err(self.conversation.unproved(xid::AUTH, &mut self.out).into());
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
                return Err(self.conversation.unproved(xid, &mut self.out).into());
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
            let told = self.conversation.on_server(frame, &mut self.out);
            self.timing.under_way(self.conversation.pending());
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
        self.door.figures.sent();
        let written = self.stream.write_all(&self.out).await;
        self.out.clear();
        Ok(written?)
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

async fn read_some(stream: &mut TcpStream, received: &mut BytesMut) -> Result<(), Over> {
    received.reserve(CHUNK_BYTES);
    match stream.read_buf(received).await? {
        0 => Err(Over::Gone),
        _ => Ok(()),
    }
}
