//! A small blocking client of the ZooKeeper protocol: one connection, one request at a time.
//!
//! Comes in: an address, typed requests. Goes out: the frames of the server, typed when asked for,
//! and notifications in the order they came. Invariant: it sends what it is told, right or wrong; it
//! never reconnects by itself. Must never wait for an answer without a deadline.

use crate::{PATIENCE, ZooKeeperStream};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use quorate_wire::zookeeper::{
    ConnectRequest, ConnectResponse, EventKind, Frames, Opcode, Received, Record, ReplyHeader,
    Request, RequestHeader, Secret, ServerMessage, WatcherState, decode_connect_response,
    decode_reply, encode_connect_request, encode_request, xid,
};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Bytes in a frame of a server at most.
const FRAME_BYTES_MAX: u32 = 16 << 20;
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Nothing of this server was seen yet.
const NO_TRANSACTION: i64 = 0;

/// A session to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeperSession {
    /// Its number.
    pub id: i64,
    /// Its password.
    pub password: Bytes,
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeperEvent {
    /// What happened.
    pub kind: EventKind,
    /// The state of the connection that it tells.
    pub state: WatcherState,
    /// The znode.
    pub path: String,
}

/// The reply to a request.
#[derive(Clone, Debug)]
pub struct Answered {
    frame: Bytes,
    opcode: i32,
}

impl Answered {
    /// What it says.
    ///
    /// # Errors
    /// It is no reply to such a request.
    pub fn message(&self) -> Result<ServerMessage<'_>> {
        Ok(decode_reply(&self.frame, |_| Opcode::from_number(self.opcode))?)
    }

    /// Its header.
    ///
    /// # Errors
    /// As [`Answered::message`].
    pub fn header(&self) -> Result<ReplyHeader> {
        Ok(match self.message()? {
            ServerMessage::Notification { header, .. }
            | ServerMessage::Refused(header)
            | ServerMessage::Reply { header, .. } => header,
        })
    }
}

/// A connection.
#[derive(Debug)]
pub struct ZooKeeperClient {
    stream: ZooKeeperStream,
    frames: Frames,
    session: ZooKeeperSession,
    timeout_ms: i32,
    reads_only: bool,
    /// Of the next request.
    xid: i32,
    events: Vec<ZooKeeperEvent>,
}

impl ZooKeeperClient {
    /// Asks for a new session.
    ///
    /// # Errors
    /// The network, or the server closes.
    pub fn connect(address: SocketAddr, timeout_ms: i32) -> Result<ZooKeeperClient> {
        let hello = ConnectRequest { timeout_ms, ..ZooKeeperClient::hello() };
        let client = ZooKeeperClient::over(ZooKeeperStream::plain(address)?, hello)?;
        client.context("the server closed instead of giving a session")
    }

    /// The first frame of a client that wants a new session.
    #[must_use]
    pub fn hello() -> ConnectRequest {
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: NO_TRANSACTION,
            timeout_ms: 10_000,
            session_id: 0,
            password: Secret(Some(Bytes::from_static(&[0; 16]))),
            read_only: Some(false),
        }
    }

    /// Asks for an old session. `None`: the server closed without an answer. A session that is gone
    /// has the timeout 0.
    ///
    /// # Errors
    /// The network.
    pub fn resume(
        address: SocketAddr,
        timeout_ms: i32,
        session: &ZooKeeperSession,
        last_zxid_seen: i64,
    ) -> Result<Option<ZooKeeperClient>> {
        let hello = ConnectRequest {
            last_zxid_seen,
            timeout_ms,
            session_id: session.id,
            password: Secret(Some(session.password.clone())),
            ..ZooKeeperClient::hello()
        };
        ZooKeeperClient::over(ZooKeeperStream::plain(address)?, hello)
    }

    /// Says hello on a new connection. `None`: the server closed without an answer.
    ///
    /// # Errors
    /// The network.
    pub fn over(stream: ZooKeeperStream, hello: ConnectRequest) -> Result<Option<ZooKeeperClient>> {
        let mut client = ZooKeeperClient {
            stream,
            frames: Frames::after_handshake(),
            session: ZooKeeperSession { id: hello.session_id, password: Bytes::new() },
            timeout_ms: hello.timeout_ms,
            reads_only: false,
            xid: 1,
            events: Vec::new(),
        };
        let mut out = Vec::new();
        encode_connect_request(&mut out, &hello);
        client.send(&out)?;
        let Some(frame) = client.frame()? else { return Ok(None) };
        let ConnectResponse { timeout_ms, session_id, password, read_only, .. } =
            decode_connect_response(&frame)?;
        client.timeout_ms = timeout_ms;
        client.reads_only = read_only == Some(true);
        client.session =
            ZooKeeperSession { id: session_id, password: password.0.unwrap_or_default() };
        Ok(Some(client))
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &ZooKeeperSession {
        &self.session
    }

    /// The timeout granted; 0: the session asked for is gone.
    #[must_use]
    pub fn timeout_ms(&self) -> i32 {
        self.timeout_ms
    }

    /// Whether the server said that it only reads.
    #[must_use]
    pub fn reads_only(&self) -> bool {
        self.reads_only
    }

    /// Sends a request and waits for its reply. `None`: the server closed instead.
    ///
    /// # Errors
    /// The network, or a frame that is no answer.
    pub fn ask(&mut self, request: &Request<'_>) -> Result<Option<Answered>> {
        let number = match request {
            Request::Ping => xid::PING,
            Request::Auth(_) => xid::AUTH,
            Request::SetWatches(_) | Request::SetWatches2(_) => xid::SET_WATCHES,
            _ => self.next_xid(),
        };
        let mut out = Vec::new();
        encode_request(&mut out, number, request);
        self.exchange(&out, (number, request.opcode()))
    }

    /// As [`ZooKeeperClient::ask`], with a body that may be none of such a request.
    ///
    /// # Errors
    /// As [`ZooKeeperClient::ask`].
    pub fn ask_raw(&mut self, opcode: i32, body: &[u8]) -> Result<Option<Answered>> {
        let number = self.next_xid();
        let mut frame = Vec::new();
        RequestHeader { xid: number, opcode }.write(&mut frame);
        frame.extend_from_slice(body);
        let mut out = i32::try_from(frame.len())?.to_be_bytes().to_vec();
        out.extend_from_slice(&frame);
        self.exchange(&out, (number, opcode))
    }

    fn next_xid(&mut self) -> i32 {
        self.xid += 1;
        self.xid - 1
    }

    fn exchange(&mut self, out: &[u8], (number, opcode): (i32, i32)) -> Result<Option<Answered>> {
        self.send(out)?;
        while let Some(frame) = self.frame()? {
            match self.sort(frame, (number, opcode))? {
                Some(answered) => return Ok(Some(answered)),
                None => continue,
            }
        }
        Ok(None)
    }

    /// Keeps a notification, gives a reply.
    fn sort(&mut self, frame: Bytes, wanted: (i32, i32)) -> Result<Option<Answered>> {
        let (number, opcode) = wanted;
        match decode_reply(&frame, |_| Opcode::from_number(opcode))? {
            ServerMessage::Notification { event, .. } => {
                let path = event.path.to_owned();
                self.events.push(ZooKeeperEvent { kind: event.kind, state: event.state, path });
                return Ok(None);
            }
            ServerMessage::Refused(header) | ServerMessage::Reply { header, .. } => {
                if header.xid != number {
                    bail!("the reply to {} came in the place of that to {number}", header.xid);
                }
            }
        }
        Ok(Some(Answered { frame, opcode }))
    }

    /// Notifications since this was last asked, in the order they came.
    pub fn take_events(&mut self) -> Vec<ZooKeeperEvent> {
        core::mem::take(&mut self.events)
    }

    /// Waits for a notification, but not for long: whoever waits longer has others to keep alive.
    ///
    /// # Errors
    /// The network, or a frame that is no notification.
    pub fn wait_for_event(&mut self, at_most: Duration) -> Result<()> {
        let begin = Instant::now();
        while self.events.is_empty() && begin.elapsed() < at_most {
            let Some(frame) = self.frame_within(at_most)? else { return Ok(()) };
            if self.sort(frame, (xid::NOTIFICATION, 0))?.is_some() {
                bail!("a reply that nothing asked for");
            }
        }
        Ok(())
    }

    /// What is sent to a server that closed is lost; its last words are to be read all the same.
    fn send(&mut self, out: &[u8]) -> Result<()> {
        match self.stream.write_all(out).and_then(|()| self.stream.flush()) {
            Err(error) if !is_closed(error.kind()) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The next frame; `None`: the server closed.
    fn frame(&mut self) -> Result<Option<Bytes>> {
        let begin = Instant::now();
        let frame = self.frame_within(PATIENCE)?;
        if frame.is_none() && begin.elapsed() >= PATIENCE {
            bail!("the server does not answer");
        }
        Ok(frame)
    }

    /// The next frame; `None`: the server closed, or none came in time.
    fn frame_within(&mut self, at_most: Duration) -> Result<Option<Bytes>> {
        let begin = Instant::now();
        loop {
            match self.frames.next(FRAME_BYTES_MAX)? {
                Some(Received::Frame(frame)) => return Ok(Some(frame)),
                Some(Received::Word(_)) => bail!("a word where a frame belongs"),
                None => {}
            }
            let left = at_most.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.tcp().set_read_timeout(Some(left))?;
            let mut chunk = vec![0; CHUNK_BYTES];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(read) => self.frames.received().extend_from_slice(&chunk[..read]),
                Err(error) if is_closed(error.kind()) => return Ok(None),
                Err(error) if is_late(error.kind()) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn is_late(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::UnexpectedEof
    )
}
