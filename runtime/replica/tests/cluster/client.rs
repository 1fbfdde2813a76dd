//! A native client: a session kept through reconnects, requests sent again until answered.
//!
//! Comes in: frames of a server, time. Goes out: frames, and what was answered. Invariant checked:
//! replies come in the order of requests, but for calls that may park; what a read shows never goes
//! back; a request has one final answer.

use quorate_types::request::{HeldWatch, ReadLevel, WatchEvent, WatchPosition};
use quorate_types::{ErrorCode, Operation, Outcome, Reply, SessionId, Zxid};
use quorate_wire::native::{ClientFrame, FrameBuffer, PROTOCOL, Resume, ServerFrame};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Where a client stands with its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Idle,
    Connecting { connection: u64, server: u64 },
    Established { connection: u64, server: u64 },
}

#[derive(Clone, Debug)]
pub struct Pending {
    pub operation: Operation,
    pub level: ReadLevel,
    pub parked: bool,
}

/// A request that came to its end.
#[derive(Clone, Debug)]
pub struct Done {
    pub session: SessionId,
    pub sequence: u64,
    pub operation: Operation,
    /// `None`: the session ended first; what became of the request is not known.
    pub outcome: Option<Outcome>,
}

/// What the client wants of the world around it.
pub enum Wish {
    Send { connection: u64, frame: ClientFrame },
    Drop { connection: u64 },
}

pub struct Client {
    pub name: String,
    /// Connects there and nowhere else.
    pub only: Option<u64>,
    pub link: Link,
    pub session: Option<(SessionId, [u8; 16])>,
    pub timeout_ms: u64,
    /// Says nothing and hears nothing.
    pub silent: bool,
    next_sequence: u64,
    pub pending: BTreeMap<u64, Pending>,
    replied: BTreeSet<u64>,
    /// Sent on this connection and not answered there yet.
    expected: VecDeque<u64>,
    last_seen: Zxid,
    pub buffer: FrameBuffer,
    pub heard_ms: u64,
    pub said_ms: u64,
    pub retry_at_ms: u64,
    pub done: VecDeque<Done>,
    pub watched: Vec<WatchEvent>,
    /// Every event up to here of the watches held has come.
    told: WatchPosition,
    /// Watches that each connection resumes before anything else.
    pub held: Vec<HeldWatch>,
    /// The request that resumes them, until it is answered.
    resuming: Option<u64>,
    pub gaps: u32,
    pub sessions_lost: u32,
    pub wishes: Vec<Wish>,
}

impl Client {
    pub fn new(name: String, only: Option<u64>, timeout_ms: u64) -> Client {
        Client {
            name,
            only,
            link: Link::Idle,
            session: None,
            timeout_ms,
            silent: false,
            next_sequence: 1,
            pending: BTreeMap::new(),
            replied: BTreeSet::new(),
            expected: VecDeque::new(),
            last_seen: Zxid(0),
            buffer: FrameBuffer::new(),
            heard_ms: 0,
            said_ms: 0,
            retry_at_ms: 0,
            done: VecDeque::new(),
            watched: Vec::new(),
            told: WatchPosition::default(),
            held: Vec::new(),
            resuming: None,
            gaps: 0,
            sessions_lost: 0,
            wishes: Vec::new(),
        }
    }

    pub fn is_established(&self) -> bool {
        matches!(self.link, Link::Established { .. })
    }

    pub fn session_id(&self) -> SessionId {
        self.session.expect("the client has a session").0
    }

    pub fn connection(&self) -> Option<u64> {
        match self.link {
            Link::Idle => None,
            Link::Connecting { connection, .. } | Link::Established { connection, .. } => {
                Some(connection)
            }
        }
    }

    /// Where a watch goes on that broke off with the connection.
    pub fn told(&self) -> WatchPosition {
        self.told
    }

    fn see(&mut self, zxid: Zxid) {
        self.last_seen = self.last_seen.max(zxid);
        if self.resuming.is_none() {
            self.told = self.told.max(zxid.into());
        }
    }

    fn resume_watches(&mut self, now_ms: u64) {
        if let Some(before) = self.resuming.take() {
            self.pending.remove(&before);
        }
        if !self.held.is_empty() {
            let (watches, since) = (self.held.clone(), self.told);
            let operation = Operation::ResumeWatches { watches, since };
            self.resuming = Some(self.request(now_ms, operation, ReadLevel::Local));
        }
    }

    /// The watches are set again: what they missed comes before anything that they report live.
    fn on_resumed(&mut self, replayed: Vec<WatchEvent>, gap: bool) {
        self.resuming = None;
        self.gaps += u32::from(gap);
        for event in replayed {
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: WatchEvent) {
        assert!(event.position() > self.told, "{}: {event:?} again", self.name);
        assert_eq!(self.resuming, None, "{}: {event:?} of a watch that is not set", self.name);
        self.last_seen = self.last_seen.max(event.zxid);
        self.told = event.position();
        self.watched.push(event);
    }

    /// Begins to connect; the connection's number is the caller's.
    pub fn connect(&mut self, now_ms: u64, connection: u64, server: u64) {
        self.link = Link::Connecting { connection, server };
        self.buffer = FrameBuffer::new();
        self.expected.clear();
        self.heard_ms = now_ms;
        let resume = self.session.map(|(session, password)| Resume { session, password });
        let timeout_ms = self.timeout_ms as u32;
        let last_seen = self.last_seen;
        let protocol = PROTOCOL;
        let frame = ClientFrame::Connect { protocol, resume, timeout_ms, last_seen };
        self.say(now_ms, connection, frame);
    }

    /// The connection is gone, or is given up.
    pub fn lose_connection(&mut self, now_ms: u64, pause_ms: u64) {
        if let Some(connection) = self.connection() {
            self.wishes.push(Wish::Drop { connection });
        }
        self.link = Link::Idle;
        self.retry_at_ms = now_ms + pause_ms;
    }

    /// Queues a request, and sends it if there is a connection.
    pub fn request(&mut self, now_ms: u64, operation: Operation, level: ReadLevel) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.pending.insert(sequence, Pending { operation, level, parked: false });
        self.send_request(now_ms, sequence);
        sequence
    }

    fn send_request(&mut self, now_ms: u64, sequence: u64) {
        let Link::Established { connection, .. } = self.link else { return };
        let oldest_unreplied = self.pending.keys().next().copied().unwrap_or(self.next_sequence);
        self.replied = self.replied.split_off(&oldest_unreplied);
        let pending = &self.pending[&sequence];
        let frame = ClientFrame::Request {
            sequence,
            oldest_unreplied,
            acknowledged: self.replied.iter().copied().collect(),
            level: pending.level,
            operation: pending.operation.clone(),
        };
        self.expected.push_back(sequence);
        self.say(now_ms, connection, frame);
    }

    fn say(&mut self, now_ms: u64, connection: u64, frame: ClientFrame) {
        self.said_ms = now_ms;
        self.wishes.push(Wish::Send { connection, frame });
    }

    /// Heartbeats, and giving up a connection that says nothing.
    pub fn tick(&mut self, now_ms: u64) {
        if self.silent {
            return;
        }
        if self.link != Link::Idle && now_ms >= self.heard_ms + self.timeout_ms * 2 / 3 {
            self.lose_connection(now_ms, 0);
        }
        if let Link::Established { connection, .. } = self.link
            && now_ms >= self.said_ms + self.timeout_ms / 4
        {
            self.say(now_ms, connection, ClientFrame::Heartbeat);
        }
    }

    pub fn hear(&mut self, now_ms: u64, frame: ServerFrame) {
        self.heard_ms = now_ms;
        match frame {
            ServerFrame::Connected { session, password, timeout_ms, resumed, zxid, .. } => {
                self.on_connected(now_ms, (session, password), resumed, zxid);
                assert_eq!(u64::from(timeout_ms), self.timeout_ms, "another timeout was granted");
            }
            ServerFrame::Refused(refusal) => {
                assert_ne!(refusal.code, ErrorCode::SessionRefused, "{}: {refusal}", self.name);
                assert_ne!(refusal.code, ErrorCode::BadArguments, "{}: {refusal}", self.name);
                if refusal.code == ErrorCode::SessionExpired {
                    self.lose_session();
                }
                self.lose_connection(now_ms, 20);
            }
            ServerFrame::Goodbye(refusal) => {
                assert_ne!(refusal.code, ErrorCode::BadArguments, "{}: {refusal}", self.name);
                if refusal.code == ErrorCode::SessionExpired {
                    self.lose_session();
                }
                self.lose_connection(now_ms, 20);
            }
            ServerFrame::Reply { sequence, zxid, outcome } => {
                self.on_reply(sequence, zxid, outcome);
            }
            ServerFrame::Watch(event) => {
                self.on_event(event);
            }
            ServerFrame::Heartbeat { zxid } => {
                assert!(zxid >= self.last_seen, "{}: the server went back", self.name);
                self.see(zxid);
            }
        }
    }

    fn on_connected(
        &mut self,
        now_ms: u64,
        (session, password): (SessionId, [u8; 16]),
        resumed: bool,
        zxid: Zxid,
    ) {
        let Link::Connecting { connection, server } = self.link else {
            panic!("{}: connected twice", self.name)
        };
        assert_eq!(resumed, self.session.is_some());
        assert!(zxid >= self.last_seen, "{}: the new server is behind", self.name);
        if let Some((known, _)) = self.session {
            assert_eq!(known, session);
        }
        self.last_seen = zxid;
        self.session = Some((session, password));
        self.link = Link::Established { connection, server };
        self.resume_watches(now_ms);
        let sent = self.resuming;
        let again: Vec<u64> = self.pending.keys().copied().collect();
        for sequence in again.into_iter().filter(|again| Some(*again) != sent) {
            self.send_request(now_ms, sequence);
        }
    }

    fn on_reply(&mut self, sequence: u64, zxid: Zxid, outcome: Outcome) {
        // What was answered through a push is not answered again here.
        while self.expected.front().is_some_and(|first| !self.pending.contains_key(first)) {
            self.expected.pop_front();
        }
        let is_next = self.expected.front() == Some(&sequence);
        if is_next {
            self.expected.pop_front();
        }
        let Some(pending) = self.pending.get_mut(&sequence) else {
            assert!(sequence < self.next_sequence, "{}: a reply to nothing", self.name);
            return;
        };
        let is_call = matches!(pending.operation, Operation::Call { .. });
        assert!(
            is_next || is_call,
            "{}: reply {sequence} is out of order: {:?} come first",
            self.name,
            self.expected
        );
        let transfers = matches!(pending.operation, Operation::TransferLeader { .. });
        let shows = outcome.as_ref().err().is_none_or(|refusal| !refusal.code.is_transient());
        if shows && !is_call && !transfers && !pending.operation.is_write() {
            let what = &pending.operation;
            assert!(zxid >= self.last_seen, "{}: {what:?} shows an older state", self.name);
        }
        if let Ok(Reply::Watching { replayed, gap }) = &outcome {
            check_replay(&pending.operation, zxid, replayed);
            if self.resuming == Some(sequence) {
                self.pending.remove(&sequence);
                self.on_resumed(replayed.clone(), *gap);
                self.see(zxid);
                return;
            }
        }
        self.last_seen = self.last_seen.max(zxid);
        if self.resuming.is_none() {
            self.told = self.told.max(zxid.into());
        }
        assert_ne!(
            outcome.as_ref().err().map(|refusal| refusal.code),
            Some(ErrorCode::SessionMoved),
            "{}: a request on the newest connection is refused as moved",
            self.name
        );
        if matches!(outcome, Ok(Reply::Parked(_))) {
            pending.parked = true;
            return;
        }
        let Pending { operation, .. } = self.pending.remove(&sequence).expect("it was there");
        self.replied.insert(sequence);
        let session = self.session_id();
        self.done.push_back(Done { session, sequence, operation, outcome: Some(outcome) });
    }

    /// The session has ended: what was not answered is not known.
    pub fn lose_session(&mut self) {
        let Some((session, _)) = self.session.take() else { return };
        self.sessions_lost += 1;
        for (sequence, pending) in std::mem::take(&mut self.pending) {
            let operation = pending.operation;
            self.done.push_back(Done { session, sequence, operation, outcome: None });
        }
        self.next_sequence = 1;
        self.resuming = None;
        self.held.clear();
        self.replied.clear();
        self.expected.clear();
    }
}

/// A replay is what lies between the point asked for and the reply, in order.
fn check_replay(operation: &Operation, zxid: Zxid, replayed: &[WatchEvent]) {
    let (Operation::AddWatch { since: Some(since), .. } | Operation::ResumeWatches { since, .. }) =
        operation
    else {
        panic!("{operation:?} is answered with a replay")
    };
    let mut before = *since;
    for event in replayed {
        assert!(event.position() > before && event.zxid <= zxid, "{event:?} after {before}");
        before = event.position();
    }
}
