//! One connection of the ZooKeeper protocol that keeps many requests under way.
//!
//! Comes in: requests as bytes, how many may be without a reply. Goes out: the time that each took,
//! from being handed to the connection to its reply. Invariant: replies come in the order of the
//! requests and none is an error, else the run ends with the reason. Must never wait for a reply
//! while there is room for a request.

use anyhow::{Context, Result, bail, ensure};
use quorate_wire::zookeeper::{
    ConnectRequest, Frames, Reader, Received, Record, ReplyHeader, Request, Secret, ZooKeeperError,
    decode_connect_response, encode_connect_request, encode_request,
};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a server may take to answer anything at all.
const PATIENCE: Duration = Duration::from_secs(20);
/// Session timeout asked for.
const SESSION_TIMEOUT_MS: i32 = 30_000;
/// Bytes in a frame of a server at most.
const FRAME_BYTES_MAX: u32 = 16 << 20;
/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A connection with a session of its own.
pub(super) struct Pipeline {
    stream: TcpStream,
    frames: Frames,
    session: i64,
    /// Of the next request.
    xid: i32,
}

/// What a server says that it is: the word behind `Mode:`; `None`: it does not tell.
pub(super) async fn mode_of(address: &str) -> Option<String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(b"srvr").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text.lines().find_map(|line| line.strip_prefix("Mode: "))?.to_owned())
    };
    timeout(PATIENCE, ask).await.ok()?
}

impl Pipeline {
    /// Connects and opens a session.
    pub(super) async fn open(address: &str) -> Result<Pipeline> {
        let stream = TcpStream::connect(address).await;
        let stream =
            stream.with_context(|| format!("no server takes ZooKeeper clients at {address}"))?;
        stream.set_nodelay(true)?;
        let mut pipeline =
            Pipeline { stream, frames: Frames::after_handshake(), session: 0, xid: 1 };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: SESSION_TIMEOUT_MS,
            session_id: 0,
            password: Secret(Some(vec![0; 16].into())),
            read_only: Some(false),
        };
        let mut out = Vec::new();
        encode_connect_request(&mut out, &request);
        let answer = async {
            loop {
                pipeline.exchange(&mut out).await?;
                if let Some(Received::Frame(frame)) = pipeline.frames.next(FRAME_BYTES_MAX)? {
                    return Ok::<_, anyhow::Error>(decode_connect_response(&frame)?);
                }
            }
        };
        let answer = timeout(PATIENCE, answer).await;
        let response = answer
            .with_context(|| format!("the server at {address} does not answer"))?
            .with_context(|| format!("the server at {address} gives no session"))?;
        ensure!(response.timeout_ms > 0, "the server at {address} gives no session");
        pipeline.session = response.session_id;
        Ok(pipeline)
    }

    /// The number of its session.
    pub(super) fn session(&self) -> i64 {
        self.session
    }

    /// Sends what `next` appends under the number it is given, at most `window` without a reply,
    /// until it says that there is no more; then waits for the rest. Gives the time of each.
    pub(super) async fn run(
        &mut self,
        window: usize,
        mut next: impl FnMut(&mut Vec<u8>, i32) -> bool,
    ) -> Result<Vec<Duration>> {
        let (mut sent, mut out) = (VecDeque::with_capacity(window), Vec::new());
        let mut times = Vec::new();
        let mut more = true;
        loop {
            while more && sent.len() < window {
                more = next(&mut out, self.xid);
                if more {
                    sent.push_back((self.xid, Instant::now()));
                    self.xid = self.xid.checked_add(1).unwrap_or(1);
                }
            }
            if sent.is_empty() {
                return Ok(times);
            }
            let exchanged = timeout(PATIENCE, self.exchange(&mut out)).await;
            exchanged.context("the server does not answer any more")??;
            while let Some(received) = self.frames.next(FRAME_BYTES_MAX)? {
                let Received::Frame(frame) = received else { bail!("a word in place of a reply") };
                let header = ReplyHeader::read(&mut Reader::new(&frame), "ReplyHeader")?;
                let (xid, at) = sent.pop_front().context("a reply that nothing asked for")?;
                ensure!(header.xid == xid, "reply {} in the place of {xid}", header.xid);
                if header.error != ZooKeeperError::Ok {
                    bail!("the server refused a request of the load: {:?}", header.error);
                }
                times.push(at.elapsed());
            }
        }
    }

    /// One request, one reply.
    pub(super) async fn ask(&mut self, request: &Request<'_>) -> Result<()> {
        let mut once = Some(request);
        let sent = self.run(1, |out, xid| match once.take() {
            None => false,
            Some(request) => {
                encode_request(out, xid, request);
                true
            }
        });
        sent.await.map(drop)
    }

    /// Closes the session.
    pub(super) async fn close(mut self) -> Result<()> {
        self.ask(&Request::CloseSession).await
    }

    /// Writes and reads what can be written and read, at least a little of either.
    async fn exchange(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let interest = match out.is_empty() {
            true => Interest::READABLE,
            false => Interest::READABLE | Interest::WRITABLE,
        };
        let ready = self.stream.ready(interest).await?;
        if ready.is_writable() {
            match self.stream.try_write(out) {
                Ok(written) => drop(out.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        if ready.is_readable() {
            let received = self.frames.received();
            received.reserve(CHUNK_BYTES);
            match self.stream.try_read_buf(received) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
