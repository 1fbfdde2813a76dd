//! One client process of the ZooKeeper protocol, as ZooKeeper's Java client is one.
//!
//! Comes in: what its servers sent, time. Goes out: what it waits for, watches and knows of its session.
//! Invariant: a request is sent once; what is unanswered when a connection ends is given up, for it may
//! have been done or not; a session is over when a server says so and at no other time. Source:
//! `ClientCnxn` and `ZKWatchManager` of ZooKeeper 3.9.

pub mod words;
pub mod work;

use crate::client::{Link, Process};
use crate::history::OperationId;
use crate::world::ClientStanding;
use quorate_types::request::{RestoredKind, RestoredWatch};
use quorate_types::{Operation, SessionId, ZnodePath, Zxid};
use quorate_wire::zookeeper::{EventKind, Frames, Opcode};
use std::collections::{BTreeSet, VecDeque};

/// Clients of the ZooKeeper protocol are numbered from here on.
pub const FIRST_ZOOKEEPER_CLIENT: usize = 1_000;

/// The place of a client among those of the ZooKeeper protocol, if it is one.
#[must_use]
pub fn zookeeper_place(client: usize) -> Option<usize> {
    client.checked_sub(FIRST_ZOOKEEPER_CLIENT)
}

/// What a server calls a client when it opens a session.
#[must_use]
pub fn identity_of(client: usize) -> String {
    match zookeeper_place(client) {
        // The ZooKeeper door knows an address and no name.
        Some(_) => String::new(),
        None => format!("client-{client}"),
    }
}

/// A request that was sent and has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    pub xid: i32,
    pub opcode: Opcode,
    pub id: OperationId,
}

/// A session as its client knows it.
#[derive(Clone, Copy, Debug)]
pub struct ZooKeeperSession {
    pub id: SessionId,
    pub password: [u8; 16],
    pub timeout_ms: u64,
}

/// The watches that a client has, by ZooKeeper's kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldWatches {
    pub data: BTreeSet<ZnodePath>,
    pub exist: BTreeSet<ZnodePath>,
    pub child: BTreeSet<ZnodePath>,
    pub persistent: BTreeSet<ZnodePath>,
    pub recursive: BTreeSet<ZnodePath>,
}

impl HeldWatches {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == HeldWatches::default()
    }

    /// A watch has fired: the one-shot ones that it is about go.
    pub fn fire(&mut self, kind: EventKind, path: &ZnodePath) {
        if kind != EventKind::ChildrenChanged {
            self.data.remove(path);
            self.exist.remove(path);
        }
        if matches!(kind, EventKind::ChildrenChanged | EventKind::Deleted) {
            self.child.remove(path);
        }
    }

    /// What asks a server for all of them.
    #[must_use]
    pub fn restoration(&self, since: i64) -> Operation {
        let lists = [
            (&self.data, RestoredKind::Data),
            (&self.exist, RestoredKind::Absence),
            (&self.child, RestoredKind::Children),
            (&self.persistent, RestoredKind::Persistent),
            (&self.recursive, RestoredKind::PersistentRecursive),
        ];
        let watch = |path: &ZnodePath, kind| RestoredWatch { path: path.clone(), kind };
        let of = |(paths, kind): (&BTreeSet<ZnodePath>, RestoredKind)| {
            paths.iter().map(|path| watch(path, kind)).collect::<Vec<_>>()
        };
        let since = Zxid(u64::try_from(since).unwrap_or(0));
        Operation::RestoreWatches { watches: lists.into_iter().flat_map(of).collect(), since }
    }
}

pub struct ZooKeeperClient {
    pub process: Process,
    pub session: Option<ZooKeeperSession>,
    /// The session of somebody else that it has asked for, without its password.
    pub guessed: Option<SessionId>,
    /// The server of this connection has said that it serves the session.
    pub is_attached: bool,
    /// What it asks for, in milliseconds.
    pub session_timeout_ms: u64,
    /// That of the newest reply, which the client takes as it is.
    pub last_zxid: i64,
    pub watches: HeldWatches,
    pub awaited: VecDeque<Awaited>,
    pub frames: Frames,
    pub sessions_lost: u32,
    /// Answered and not looked at yet by the application, with the version told of the znode.
    pub ended: VecDeque<(OperationId, Option<i32>)>,
    pub(crate) sent_ms: u64,
    pub(crate) heard_ms: u64,
    next_xid: i32,
}

impl ZooKeeperClient {
    #[must_use]
    pub fn new(place: usize, session_timeout_ms: u64, now_ms: u64) -> ZooKeeperClient {
        ZooKeeperClient {
            process: Process::new(FIRST_ZOOKEEPER_CLIENT + place, now_ms),
            session: None,
            guessed: None,
            is_attached: false,
            session_timeout_ms,
            last_zxid: 0,
            watches: HeldWatches::default(),
            awaited: VecDeque::new(),
            frames: Frames::after_handshake(),
            sessions_lost: 0,
            ended: VecDeque::new(),
            sent_ms: now_ms,
            heard_ms: now_ms,
            next_xid: 1,
        }
    }

    /// Another process, or another session of the same one, in the place of this client.
    pub fn begin_again(&mut self, retry_at_ms: u64) {
        let place = zookeeper_place(self.process.number).unwrap_or(0);
        *self = ZooKeeperClient {
            process: self.process.next(retry_at_ms),
            sessions_lost: self.sessions_lost,
            ..ZooKeeperClient::new(place, self.session_timeout_ms, retry_at_ms)
        };
    }

    pub fn next_xid(&mut self) -> i32 {
        let xid = self.next_xid;
        self.next_xid += 1;
        xid
    }

    /// The connection is gone, and with it every reply that did not come.
    pub fn on_disconnected(&mut self) {
        self.is_attached = false;
        self.awaited.clear();
    }

    /// The session is served over a new connection.
    pub fn on_attached(&mut self, session: ZooKeeperSession) {
        self.session = Some(session);
        self.is_attached = true;
        self.process.on_granted();
    }

    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.is_attached && self.awaited.is_empty() && self.ended.is_empty()
    }

    fn timeout_ms(&self) -> u64 {
        self.session.map_or(self.session_timeout_ms, |session| session.timeout_ms)
    }

    /// A server that says nothing until then is given up: after two thirds of the session's time.
    #[must_use]
    pub fn silence_deadline_ms(&self) -> u64 {
        self.heard_ms + self.timeout_ms() * 2 / 3
    }

    /// The server hears of the client by then at the latest: after one third of the session's time.
    #[must_use]
    pub fn ping_deadline_ms(&self) -> u64 {
        if self.is_attached { self.sent_ms + self.timeout_ms() / 3 } else { u64::MAX }
    }

    /// When the process has something to do by itself, in true time.
    #[must_use]
    pub fn deadline_ms(&self) -> u64 {
        let link_ms = match self.process.link {
            Link::Up { .. } => self.silence_deadline_ms().min(self.ping_deadline_ms()),
            Link::Idle { .. } | Link::Dialing { .. } => self.process.link_deadline_ms(),
        };
        link_ms.max(self.process.silent_until_ms)
    }

    /// What the client is doing, for people.
    #[must_use]
    pub fn standing(&self) -> ClientStanding {
        ClientStanding {
            client: self.process.number,
            link: self.process.link,
            session: self.session.map(|session| session.id),
            outstanding: self.awaited.iter().map(|awaited| awaited.id).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::path;

    #[test]
    fn a_watch_that_fired_is_not_asked_for_again() {
        let mut watches = HeldWatches::default();
        watches.data.insert(path("/a"));
        watches.child.insert(path("/a"));
        watches.persistent.insert(path("/a"));
        watches.fire(EventKind::DataChanged, &path("/a"));
        let kinds = |watches: &HeldWatches| match watches.restoration(7) {
            Operation::RestoreWatches { watches, since: Zxid(7) } => {
                watches.iter().map(|watch| watch.kind).collect::<Vec<_>>()
            }
            other => panic!("{other:?} restores nothing"),
        };
        assert_eq!(kinds(&watches), [RestoredKind::Children, RestoredKind::Persistent]);
        watches.fire(EventKind::Deleted, &path("/a"));
        assert_eq!(kinds(&watches), [RestoredKind::Persistent]);
    }
}
