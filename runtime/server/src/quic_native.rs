//! The native door: QUIC connections of clients, one ordered stream each.
//!
//! Comes in: connections, bytes. Goes out: decoded frames to the replica's inbox; encoded frames to
//! clients, many in one write. Invariant: a connection is announced before its first frame and
//! taken back after its last, under a number that no other connection of this server ever had. What
//! a frame means is decided in the replica; what is no frame ends the connection here.

use crate::entropy;
use crate::handshake_words::handshake_words;
use crate::identity_of::{CertificateName, NamelessCertificate, identity_of};
use crate::inbox::{Event, Inbox, InboxClosed};
use crate::outbox::Outbox;
use crate::transport::{self, CloseCode, WritingEnd, close};
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream};
use quorate_machine::Identity;
use quorate_replica::Input;
use quorate_types::limits::Limits;
use quorate_types::request::{ReadReply, WatchEvent};
use quorate_types::{Outcome, Reply};
use quorate_wire::native::{FrameBuffer, ServerFrame, encode_server};
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

#[cfg(test)]
mod tests;

/// What a client without a certificate is called, where that is allowed. A certificate with this
/// name is refused.
pub const ANONYMOUS: &str = "anonymous";

/// Numbers of connections in one start of a server.
const CONNECTION_BITS: u32 = 40;
/// Bytes read from a stream at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Gives connections of all doors of a server numbers that none had before, in any of its starts.
pub(crate) struct ConnectionNumbers {
    next: AtomicU64,
}

impl ConnectionNumbers {
    /// Of the `starts`-th start of this server.
    pub(crate) fn new(starts: u64) -> ConnectionNumbers {
        assert!(starts < 1 << (u64::BITS - CONNECTION_BITS), "starts fit beside the connections");
        ConnectionNumbers { next: AtomicU64::new(starts << CONNECTION_BITS) }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// What every connection of the door shares.
pub(crate) struct NativeDoor {
    cluster: String,
    limits: Limits,
    inbox: Arc<Inbox>,
    numbers: Arc<ConnectionNumbers>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

impl NativeDoor {
    pub(crate) fn new(
        cluster: String,
        limits: Limits,
        inbox: Arc<Inbox>,
        numbers: Arc<ConnectionNumbers>,
    ) -> NativeDoor {
        NativeDoor {
            cluster,
            limits,
            inbox,
            numbers,
            connections: Arc::new(Semaphore::new(limits.connections_max as usize)),
            handshakes: Arc::new(Semaphore::new(transport::HANDSHAKES_MAX)),
        }
    }

    /// Serves until `stopping` is true, then until every connection has ended.
    pub(crate) async fn serve(
        self: Arc<NativeDoor>,
        endpoint: Endpoint,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => self.admit(incoming, &mut tasks),
                    None => break,
                },
                Some(_) = tasks.join_next() => {}
                _ = stopping.wait_for(|stopping| *stopping) => break,
            }
        }
        endpoint.set_server_config(None);
        while tasks.join_next().await.is_some() {}
    }

    /// Refuses before any work is done, or begins a handshake.
    fn admit(self: &Arc<NativeDoor>, incoming: Incoming, tasks: &mut JoinSet<()>) {
        let free = self.handshakes.available_permits();
        let crowded = free + transport::HANDSHAKES_UNPROVEN_MAX < transport::HANDSHAKES_MAX;
        if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
            // The address proves itself by coming back; nothing is kept here until then.
            let _ = incoming.retry();
            return;
        }
        let places = (
            Arc::clone(&self.connections).try_acquire_owned(),
            Arc::clone(&self.handshakes).try_acquire_owned(),
        );
        let (Ok(connection_place), Ok(handshake_place)) = places else {
            let from = incoming.remote_address();
            let limit = self.limits.connections_max;
            tracing::warn!(%from, limit, "connection refused: too many");
            incoming.refuse();
            return;
        };
        let door = Arc::clone(self);
        tasks.spawn(async move {
            let _connection_place = connection_place;
            let from = incoming.remote_address();
            let opened = timeout(transport::HANDSHAKE_DEADLINE, door.open(incoming)).await;
            drop(handshake_place);
            match opened {
                Ok(Ok(client)) => door.converse(client).await,
                Ok(Err(reason)) => tracing::info!(%from, reason, "client refused"),
                Err(_) => tracing::debug!(%from, "client gave up during the handshake"),
            }
        });
    }

    /// The handshake, up to the client's stream.
    async fn open(&self, incoming: Incoming) -> Result<Client, String> {
        let connecting = incoming.accept().map_err(|error| error.to_string())?;
        let connection = connecting.await.map_err(|error| handshake_words(&error))?;
        let address = connection.remote_address();
        let identity = self.identify(&connection, address).inspect_err(|reason| {
            close(&connection, CloseCode::NotAllowed, reason);
        })?;
        let (send, receive) = connection.accept_bi().await.map_err(|error| error.to_string())?;
        Ok(Client { connection, address, identity, send, receive })
    }

    fn identify(&self, connection: &Connection, from: SocketAddr) -> Result<Identity, String> {
        let name = match certificate_name(connection, &self.cluster) {
            Ok(CertificateName::Client(name)) if name == ANONYMOUS => {
                return Err(format!("the name `{ANONYMOUS}` is for clients without a certificate"));
            }
            Ok(CertificateName::Client(name)) => name,
            // A slash is no part of a client's name, so this is nobody else's.
            Ok(CertificateName::Server(server)) => format!("server/{server}"),
            // TLS lets this happen only where certificates are optional.
            Err(NamelessCertificate::Absent) => String::from(ANONYMOUS),
            Err(reason) => return Err(reason.to_string()),
        };
        let proofs = vec![(String::from("ip"), from.ip().to_canonical().to_string())];
        Ok(Identity { name, proofs })
    }

    /// From the announcement to the end of a connection.
    async fn converse(&self, client: Client) {
        let Client { connection, address, identity, mut send, receive } = client;
        let number = self.numbers.next();
        tracing::debug!(connection = number, from = %address, client = identity.name, "connected");
        let frames_max = self.limits.connection_backlog_frames_max as usize;
        let outbox = Arc::new(Outbox::new(frames_max));
        let opened = Event::ClientOpened {
            connection: number,
            identity,
            entropy: entropy::random_bytes(),
            outbox: Arc::clone(&outbox),
        };
        if self.inbox.send_from_client(opened, 0).await.is_err() {
            close(&connection, CloseCode::ShuttingDown, "the server is shutting down");
            return;
        }
        let (code, reason) = tokio::select! {
            ended = write_frames(&outbox, &mut send) => ended,
            ended = self.read_frames(number, receive, &outbox) => ended,
        };
        if code == CloseCode::TooSlow || code == CloseCode::Protocol {
            tracing::warn!(connection = number, from = %address, reason, "connection closed");
        } else {
            tracing::debug!(connection = number, from = %address, reason, "connection closed");
        }
        close(&connection, code, &reason);
        // Frames that came after this one are dropped by the shell: the outbox is gone.
        outbox.abandon(reason);
        let closed = Event::Input(Input::ConnectionClosed { connection: number });
        let _ = self.inbox.send_from_client(closed, 0).await;
    }

    async fn read_frames(
        &self,
        connection: u64,
        mut receive: RecvStream,
        outbox: &Outbox<ServerFrame>,
    ) -> (CloseCode, String) {
        let mut buffer = FrameBuffer::new();
        loop {
            outbox.readable().await;
            match receive.read_chunk(CHUNK_BYTES, true).await {
                Ok(Some(chunk)) => buffer.push(&chunk.bytes),
                Ok(None) => return (CloseCode::Done, String::from("the client ended its stream")),
                Err(error) => return (CloseCode::Done, error.to_string()),
            }
            loop {
                let before = buffer.len();
                let frame = match buffer.next_client(self.limits.client_frame_bytes_max) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(error) => return (CloseCode::Protocol, error.to_string()),
                };
                let event = Event::Input(Input::ClientFrame { connection, frame });
                let sent = self.inbox.send_from_client(event, before - buffer.len()).await;
                if sent == Err(InboxClosed) {
                    // Nobody reads any more; the writer brings the last words across and ends.
                    return std::future::pending().await;
                }
            }
        }
    }
}

/// A connection whose handshake is done.
struct Client {
    connection: Connection,
    address: SocketAddr,
    identity: Identity,
    send: SendStream,
    receive: RecvStream,
}

/// Whom the other side's certificate names.
pub(crate) fn certificate_name(
    connection: &Connection,
    cluster: &str,
) -> Result<CertificateName, NamelessCertificate> {
    let shown = connection.peer_identity().ok_or(NamelessCertificate::Absent)?;
    let chain = shown.downcast::<Vec<CertificateDer<'static>>>().ok();
    let certificate = chain.as_ref().and_then(|chain| chain.first());
    identity_of(certificate.ok_or(NamelessCertificate::Absent)?, cluster)
}

async fn write_frames(outbox: &Outbox<ServerFrame>, send: &mut SendStream) -> (CloseCode, String) {
    match transport::write_all(outbox, send, encode_server).await {
        WritingEnd::Broken(reason) => (CloseCode::Done, reason),
        WritingEnd::Finished => (CloseCode::Done, String::from("the server closed it")),
        WritingEnd::Abandoned(reason) => (CloseCode::TooSlow, reason),
    }
}

/// About how many bytes a frame takes while it waits.
pub(crate) fn frame_bytes(frame: &ServerFrame) -> usize {
    let payload = match frame {
        ServerFrame::Reply { outcome, .. } => outcome_bytes(outcome),
        ServerFrame::Watch(event) => event_bytes(event),
        ServerFrame::Refused(refusal) | ServerFrame::Goodbye(refusal) => refusal.message.len(),
        ServerFrame::Connected { .. } | ServerFrame::Heartbeat { .. } => 0,
    };
    payload + 128
}

fn event_bytes(event: &WatchEvent) -> usize {
    event.path.as_str().len() + event.data.as_ref().map_or(0, |data| data.len())
}

fn names_bytes(names: &[String]) -> usize {
    names.iter().map(|name| name.len() + 24).sum()
}

fn read_reply_bytes(reply: &ReadReply) -> usize {
    match reply {
        ReadReply::Data(data, _) => data.len() + 128,
        ReadReply::Children(names) => names_bytes(names),
        ReadReply::Refused(refusal) => refusal.message.len(),
    }
}

fn outcome_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Ok(Reply::Data(data, _)) => data.len(),
        Ok(Reply::Called(reply)) => reply.len(),
        Ok(Reply::Children(names, ..)) => names_bytes(names),
        Ok(Reply::Multi(replies)) => replies.len() * 256,
        Ok(Reply::Recipes(recipes)) => recipes.len() * 4_096,
        Ok(Reply::Mounts(mounts)) => mounts.len() * 256,
        Ok(Reply::Paths(paths)) => paths.iter().map(|path| path.as_str().len() + 24).sum(),
        Ok(Reply::MultiRead(replies)) => replies.iter().map(read_reply_bytes).sum(),
        Ok(Reply::Watching { replayed, .. }) => {
            replayed.iter().map(|event| event_bytes(event) + 128).sum()
        }
        Ok(_) => 256,
        Err(refusal) => refusal.message.len() + refusal.detail.len(),
    }
}
