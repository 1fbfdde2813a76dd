//! The replica's one queue: many tasks and threads put events in, the replica's task takes them.
//!
//! Comes in: frames of clients and peers, news of the disk and of compilation. Goes out: batches of
//! events. Invariant: events of one client, and those of one peer, come out in the order they went
//! in; peers and the disk go before clients, so that a crowd of clients cannot delay a heartbeat.
//! The queue is bounded in bytes for clients and for peers apart: a task waits with `send` until
//! there is room, and stops reading its connection meanwhile. News of this server's own threads
//! never waits: it is bounded by what the replica asked for.

use crate::outbox::Outbox;
use crate::quic_peer::PeerLink;
use quorate_machine::Identity;
use quorate_replica::{Input, SessionList, WatchList, WatchOrder};
use quorate_types::{Incarnation, ServerId};
use quorate_wire::native::ServerFrame;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::timeout_at;

/// What reaches the replica's task.
pub(crate) enum Event {
    /// A client's connection passed its handshake.
    ClientOpened {
        /// Its number.
        connection: u64,
        /// Who it proved to be.
        identity: Identity,
        /// Fresh random bytes.
        entropy: [u8; 16],
        /// Where its frames go.
        outbox: Arc<Outbox<ServerFrame>>,
    },
    /// A peer's connection passed its handshake and said hello.
    PeerOpened {
        /// Which member.
        peer: ServerId,
        /// Which of its connections.
        generation: u64,
        /// Of its data directory.
        incarnation: Incarnation,
        /// Where its frames go.
        link: Arc<PeerLink>,
    },
    /// Somebody wants to see the watches here.
    ListWatches {
        /// In which order.
        order: WatchOrder,
        /// How many at most.
        rows_max: usize,
        /// Where the list goes.
        to: oneshot::Sender<WatchList>,
    },
    /// Somebody wants to see the sessions.
    ListSessions {
        /// How many at most.
        rows_max: usize,
        /// Where the list goes.
        to: oneshot::Sender<SessionList>,
    },
    /// Anything that the shell need not know about.
    Input(Input),
}

/// Room for waiting frames is counted in pieces of so many bytes, at least one for each frame.
const PIECE_BYTES: usize = 1 << 10;
/// Waiting frames of clients: 64 MiB, or 65,536 small ones.
const CLIENT_PIECES_MAX: u32 = 1 << 16;
/// Waiting frames of peers; holds a few of the largest.
const PEER_PIECES_MAX: u32 = 1 << 16;

struct Waiting {
    event: Event,
    /// Given back when the event is taken.
    pieces: u32,
}

#[derive(Default)]
struct Queues {
    first: VecDeque<Waiting>,
    clients: VecDeque<Waiting>,
    closed: bool,
}

/// The queue.
pub(crate) struct Inbox {
    queues: Mutex<Queues>,
    arrived: Notify,
    client_room: Semaphore,
    peer_room: Semaphore,
}

/// The replica's task has ended: nobody takes events any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InboxClosed;

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox {
            queues: Mutex::default(),
            arrived: Notify::new(),
            client_room: Semaphore::new(CLIENT_PIECES_MAX as usize),
            peer_room: Semaphore::new(PEER_PIECES_MAX as usize),
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(
        &self,
        choose: impl FnOnce(&mut Queues) -> &mut VecDeque<Waiting>,
        waiting: Waiting,
    ) -> Result<(), InboxClosed> {
        let mut queues = self.queues();
        if queues.closed {
            return Err(InboxClosed);
        }
        let was_empty = queues.first.is_empty() && queues.clients.is_empty();
        choose(&mut queues).push_back(waiting);
        drop(queues);
        if was_empty {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Puts in an event of a client that came in so many bytes; waits for room.
    pub(crate) async fn send_from_client(
        &self,
        event: Event,
        bytes: usize,
    ) -> Result<(), InboxClosed> {
        let pieces = pieces(bytes, CLIENT_PIECES_MAX);
        self.client_room.acquire_many(pieces).await.map_err(|_| InboxClosed)?.forget();
        self.put(|queues| &mut queues.clients, Waiting { event, pieces })
    }

    /// Puts in an event of a peer that came in so many bytes; waits for room.
    pub(crate) async fn send_from_peer(
        &self,
        event: Event,
        bytes: usize,
    ) -> Result<(), InboxClosed> {
        let pieces = pieces(bytes, PEER_PIECES_MAX);
        self.peer_room.acquire_many(pieces).await.map_err(|_| InboxClosed)?.forget();
        self.put(|queues| &mut queues.first, Waiting { event, pieces })
    }

    /// Puts in news of this server's own threads; never waits. After the end it is lost.
    pub(crate) fn send_own(&self, input: Input) {
        let waiting = Waiting { event: Event::Input(input), pieces: 0 };
        let _ = self.put(|queues| &mut queues.first, waiting);
    }

    /// Waits until there is an event or it is `until`, then takes all first ones and at most
    /// `clients_max` of clients into `taken`, which was empty.
    pub(crate) async fn take(&self, taken: &mut Vec<Event>, until: Instant, clients_max: usize) {
        self.take_waiting(taken, clients_max);
        while taken.is_empty() {
            let in_time = timeout_at(until.into(), self.arrived.notified()).await.is_ok();
            self.take_waiting(taken, clients_max);
            if !in_time {
                return;
            }
        }
    }

    fn take_waiting(&self, taken: &mut Vec<Event>, clients_max: usize) {
        let mut queues = self.queues();
        let mut pieces = 0;
        for waiting in queues.first.drain(..) {
            pieces += waiting.pieces as usize;
            taken.push(waiting.event);
        }
        self.peer_room.add_permits(pieces);
        pieces = 0;
        let clients = queues.clients.len().min(clients_max);
        for waiting in queues.clients.drain(..clients) {
            pieces += waiting.pieces as usize;
            taken.push(waiting.event);
        }
        self.client_room.add_permits(pieces);
    }

    /// Refuses events from now on, frees everyone who waits for room, and gives what was never
    /// taken.
    pub(crate) fn close(&self) -> Vec<Event> {
        let mut queues = self.queues();
        queues.closed = true;
        self.client_room.close();
        self.peer_room.close();
        let Queues { first, clients, closed: _ } = &mut *queues;
        first.drain(..).chain(clients.drain(..)).map(|waiting| waiting.event).collect()
    }
}

fn pieces(bytes: usize, pieces_max: u32) -> u32 {
    u32::try_from(bytes / PIECE_BYTES + 1).unwrap_or(pieces_max).min(pieces_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::native::ClientFrame;
    use std::time::Duration;

    fn heartbeat(connection: u64) -> Event {
        Event::Input(Input::ClientFrame { connection, frame: ClientFrame::Heartbeat })
    }

    fn label(event: &Event) -> String {
        match event {
            Event::Input(Input::ClientFrame { connection, .. }) => format!("client {connection}"),
            Event::Input(Input::DiskDone { batch }) => format!("disk {batch}"),
            Event::Input(Input::PeerDisconnected { peer, .. }) => format!("peer {peer}"),
            _ => String::from("other"),
        }
    }

    async fn take(inbox: &Inbox, clients_max: usize) -> Vec<String> {
        let mut taken = Vec::new();
        inbox.take(&mut taken, Instant::now(), clients_max).await;
        taken.iter().map(label).collect()
    }

    #[tokio::test]
    async fn peers_and_the_disk_go_before_clients_and_each_keeps_its_order() {
        let inbox = Inbox::new();
        for connection in 1..=3 {
            inbox.send_from_client(heartbeat(connection), 1).await.unwrap();
        }
        let gone = Input::PeerDisconnected { peer: ServerId(7), generation: 1 };
        inbox.send_from_peer(Event::Input(gone), 1).await.unwrap();
        inbox.send_own(Input::DiskDone { batch: 5 });
        assert_eq!(take(&inbox, 2).await, ["peer 7", "disk 5", "client 1", "client 2"]);
        assert_eq!(take(&inbox, 2).await, ["client 3"]);
        assert!(take(&inbox, 2).await.is_empty());
    }

    #[tokio::test]
    async fn a_client_waits_while_the_queue_is_full_and_the_disk_does_not() {
        let inbox = Inbox::new();
        let all = CLIENT_PIECES_MAX as usize * PIECE_BYTES;
        inbox.send_from_client(heartbeat(1), all).await.unwrap();
        let mut second = Box::pin(inbox.send_from_client(heartbeat(2), 1));
        let waited = tokio::time::timeout(Duration::ZERO, &mut second).await;
        assert!(waited.is_err(), "there is no room");
        inbox.send_own(Input::DiskDone { batch: 1 });
        assert_eq!(take(&inbox, 9).await, ["disk 1", "client 1"]);
        second.await.unwrap();
        assert_eq!(take(&inbox, 9).await, ["client 2"]);
    }

    #[tokio::test]
    async fn closing_frees_those_who_wait() {
        let inbox = Inbox::new();
        let all = CLIENT_PIECES_MAX as usize * PIECE_BYTES;
        inbox.send_from_client(heartbeat(1), all).await.unwrap();
        let (second, ()) = tokio::join!(inbox.send_from_client(heartbeat(2), 1), async {
            inbox.close();
        });
        assert_eq!(second, Err(InboxClosed));
        assert_eq!(inbox.send_from_peer(heartbeat(3), 1).await, Err(InboxClosed));
    }
}
