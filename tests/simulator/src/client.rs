//! One client process: the real protocol of a session, and what its network driver does around it.
//!
//! Comes in: what the application asks for, bytes, time. Goes out: bytes, and what the application
//! is told. Invariant: decides nothing that the real client decides: requests, retries, heartbeats
//! and watches are the protocol's. What is recorded is recorded at the protocol's edge.

use quorate_client::protocol::{CallId, Protocol, Settings};
use quorate_types::request::{ReadLevel, WatchEvent};
use quorate_types::{Operation, SessionId};
use quorate_wire::native::FrameBuffer;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::history::OperationId;

const REDIAL_PAUSE_MS_MIN: u64 = 50;
const REDIAL_PAUSE_MS_MAX: u64 = 1_000;

/// The lock's command that undoes a grant whose caller has gone.
pub(crate) const UNDOES: &str = "release";

/// A client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Idle { retry_at_ms: u64 },
    Dialing { connection: u64, server: u64, give_up_ms: u64 },
    Up { connection: u64, server: u64 },
}

pub struct SimulatedClient {
    pub number: usize,
    /// Counts processes: what was meant for an earlier one is void.
    pub life: u32,
    pub protocol: Protocol,
    pub link: Link,
    pub session: Option<SessionId>,
    /// The connection over which the session was granted last.
    granted_over: Option<u64>,
    pub session_timeout_ms: u64,
    /// The process stands still until then.
    pub silent_until_ms: u64,
    /// It connects to this server and no other.
    pub only: Option<u64>,
    /// No ACL binds it.
    pub is_administrator: bool,
    /// The server left last, tried last.
    pub left: Option<u64>,
    pub buffer: FrameBuffer,
    /// Told to the application and not looked at yet.
    pub ended: VecDeque<OperationId>,
    pub notified: VecDeque<WatchEvent>,
    /// How often a watch was said to have a gap.
    pub gaps: u32,
    /// Requests of this session that a server has refused for a while.
    pub put_off: BTreeSet<OperationId>,
    pub sessions_lost: u32,
    pub(crate) calls: BTreeMap<CallId, OperationId>,
    /// Submitted and not sent: the protocol sends them in this order.
    pub(crate) unsent: VecDeque<(CallId, OperationId)>,
    pub(crate) sent: BTreeMap<u64, OperationId>,
    pub(crate) next_call: CallId,
    pub(crate) wake_at_ms: Option<u64>,
    redial_pause_ms: u64,
}

impl SimulatedClient {
    #[must_use]
    pub fn new(number: usize, seed: u64, session_timeout_ms: u64, now_ms: u64) -> SimulatedClient {
        SimulatedClient {
            number,
            life: 0,
            protocol: protocol(seed, session_timeout_ms),
            link: Link::Idle { retry_at_ms: now_ms },
            session: None,
            granted_over: None,
            session_timeout_ms,
            silent_until_ms: 0,
            only: None,
            is_administrator: false,
            left: None,
            buffer: FrameBuffer::new(),
            ended: VecDeque::new(),
            notified: VecDeque::new(),
            gaps: 0,
            put_off: BTreeSet::new(),
            sessions_lost: 0,
            calls: BTreeMap::new(),
            unsent: VecDeque::new(),
            sent: BTreeMap::new(),
            next_call: 1,
            wake_at_ms: None,
            redial_pause_ms: REDIAL_PAUSE_MS_MIN,
        }
    }

    /// Another process, or another session of the same one, in the place of this client.
    pub fn begin_again(&mut self, seed: u64, retry_at_ms: u64) {
        let fresh = SimulatedClient::new(self.number, seed, self.session_timeout_ms, retry_at_ms);
        let ended = std::mem::take(&mut self.ended);
        *self = SimulatedClient {
            ended,
            life: self.life + 1,
            only: self.only,
            is_administrator: self.is_administrator,
            silent_until_ms: self.silent_until_ms,
            sessions_lost: self.sessions_lost,
            ..fresh
        };
    }

    #[must_use]
    pub fn connection(&self) -> Option<u64> {
        match self.link {
            Link::Idle { .. } => None,
            Link::Dialing { connection, .. } | Link::Up { connection, .. } => Some(connection),
        }
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. }) && self.session.is_some()
    }

    /// Whether a server has said that it serves the session over this connection.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.granted_over.is_some() && self.granted_over == self.connection()
    }

    /// Requests that the application waits for.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.calls.len()
    }

    /// When the process has something to do by itself, in true time.
    #[must_use]
    pub fn deadline_ms(&self) -> u64 {
        let link_ms = match self.link {
            Link::Idle { retry_at_ms } => retry_at_ms,
            Link::Dialing { give_up_ms, .. } => give_up_ms,
            Link::Up { .. } => u64::MAX,
        };
        let protocol_ms = self.protocol.next_deadline_ms().unwrap_or(u64::MAX);
        link_ms.min(protocol_ms).max(self.silent_until_ms)
    }

    /// The pause before the next attempt; longer after each in a row.
    pub fn next_redial_pause_ms(&mut self, drawn: u64) -> u64 {
        let pause_ms = self.redial_pause_ms / 2 + drawn % (self.redial_pause_ms / 2 + 1);
        self.redial_pause_ms = (self.redial_pause_ms * 2).min(REDIAL_PAUSE_MS_MAX);
        pause_ms
    }

    pub fn on_granted(&mut self, session: SessionId) {
        self.session = Some(session);
        self.granted_over = self.connection();
        self.redial_pause_ms = REDIAL_PAUSE_MS_MIN;
    }

    /// The request that a frame carries: one of the application's, in the order of asking, or one of
    /// the protocol's own. Of commands, these alone are asked for at the local level.
    pub(crate) fn is_own(operation: &Operation, level: ReadLevel) -> bool {
        let could_be = match operation {
            Operation::ResumeWatches { .. } | Operation::CancelCall { .. } => true,
            Operation::Call { operation, .. } => operation == UNDOES,
            _ => false,
        };
        level == ReadLevel::Local && could_be
    }
}

fn protocol(seed: u64, session_timeout_ms: u64) -> Protocol {
    let session_timeout_ms = u32::try_from(session_timeout_ms).expect("timeouts are short");
    Protocol::new(Settings { session_timeout_ms, seed })
}
