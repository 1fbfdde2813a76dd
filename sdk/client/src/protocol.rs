//! The client's side of a session as a pure state machine.
//!
//! Comes in: frames of a server, the transport coming up and going down, calls, the time in
//! milliseconds of one monotonic clock. Goes out: frames to send, and notices for the shell.
//! Invariant: a request keeps its sequence number from its first sending to its final answer, over
//! any number of connections and refusals, so that the servers apply it once. Numbers are given
//! out at the first sending and never skipped. Must never: read a clock, touch a socket, or give a
//! caller two answers.

mod pending;
mod receive;
#[cfg(test)]
mod tests;
mod watches;

pub use pending::{CallId, Submission, Undo};

use crate::random::Random;
use pending::{Acknowledgements, Pending, Purpose, Stage};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::request::{WatchEvent, WatchMode};
use quorate_types::{Operation, Refusal, Reply, ServerId, SessionId, ZnodePath, Zxid};
use quorate_wire::native::{ClientFrame, PROTOCOL, Resume};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use watches::Watches;

/// Requests of the caller without a final answer that a server is asked to hold; a little below the
/// servers' own limit, so that cancellations always fit.
const UNREPLIED_MAX: usize = 4_000;
/// How long a server may take to answer `Connect`, in milliseconds: an election and a commit.
const CONNECT_ANSWER_MS: u64 = 5_000;
/// First wait before a refused request is sent again, in milliseconds; doubles each time.
const RETRY_MS_MIN: u64 = 10;
/// Longest wait before a refused request is sent again, in milliseconds.
const RETRY_MS_MAX: u64 = 1_000;

/// What a request was answered, and the transaction whose state the answer shows or made.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What.
    pub reply: Reply,
    /// Whose state the reply shows, or which transaction it made.
    pub zxid: Zxid,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum CallFailure {
    /// A server said no.
    Refused(Refusal),
    /// The deadline passed. `sent`: it may still have been done.
    DeadlinePassed {
        /// Whether a server may have it.
        sent: bool,
        /// Why it was refused for a while, if it was.
        last_refusal: Option<Refusal>,
    },
    /// The session has ended under it.
    SessionLost(String),
    /// The session was closed by this client.
    Closed,
}

/// Why the connection is to be given up.
#[derive(Clone, Debug, PartialEq)]
pub enum Disconnect {
    /// The server refused `Connect`.
    Refused(Refusal),
    /// The server sends the client elsewhere.
    Goodbye(Refusal),
    /// Nothing was heard for so long.
    Silent {
        /// How long.
        silent_ms: u64,
    },
    /// The server has had no leader for so long.
    NoLeader {
        /// How long.
        fruitless_ms: u64,
    },
    /// A frame that has no place here.
    Violation(&'static str),
}

/// What the shell is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The session is served by this connection.
    Connected {
        /// Which session.
        session: SessionId,
        /// Which server.
        server: ServerId,
        /// Granted, in milliseconds.
        timeout_ms: u32,
    },
    /// A call is over.
    Completed {
        /// Which.
        call: CallId,
        /// Its answer, once.
        result: Result<Answer, CallFailure>,
    },
    /// A watch has fired.
    Event(WatchEvent),
    /// A watch was set again after a reconnect at a server whose history does not reach back to the
    /// break; what happened in between is not known.
    Gap {
        /// On which znode.
        path: ZnodePath,
        /// For which changes.
        mode: WatchMode,
    },
    /// Give up this connection and try another server.
    Disconnect(Disconnect),
    /// The session has ended. Nothing more will come.
    Lost {
        /// For a person.
        reason: String,
    },
    /// The session was closed as asked. Nothing more will come.
    Closed,
}

/// What this machine is started with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Session timeout to ask for, in milliseconds.
    pub session_timeout_ms: u32,
    /// For the jitter of retries.
    pub seed: u64,
}

#[derive(Debug)]
struct Grant {
    session: SessionId,
    password: [u8; 16],
    timeout_ms: u64,
    /// When the newest frame that a server has answered was sent: the servers count the timeout
    /// from no earlier than this.
    contact_ms: u64,
}

#[derive(Debug)]
enum Life {
    Fresh,
    Granted(Grant),
    Ended { failure: CallFailure },
}

#[derive(Debug)]
enum Link {
    Down,
    Handshaking { since_ms: u64, sent: bool },
    Up(Up),
}

#[derive(Debug)]
struct Up {
    heard_ms: u64,
    heartbeat_due_ms: u64,
    /// When the heartbeats not yet answered were sent.
    heartbeats_sent_ms: VecDeque<u64>,
    /// Since when every answer was that there is no leader.
    fruitless_since_ms: Option<u64>,
}

/// The client's side of one session.
#[derive(Debug)]
pub struct Protocol {
    settings: Settings,
    random: Random,
    life: Life,
    link: Link,
    last_seen: Zxid,
    next_sequence: u64,
    /// Sent at least once and not finally answered, by sequence.
    unreplied: BTreeMap<u64, Pending>,
    sequences: BTreeMap<CallId, u64>,
    /// Not sent yet, in the order of submission.
    unsent: BTreeMap<CallId, Pending>,
    /// This machine's own requests, not sent yet.
    own: VecDeque<Pending>,
    resend: VecDeque<u64>,
    retries: BTreeSet<(u64, u64)>,
    deadlines: BTreeSet<(u64, CallId)>,
    acknowledgements: Acknowledgements,
    watches: Watches,
    notices: VecDeque<Notice>,
    /// Answers that wait until every watch is resumed.
    after_resumption: VecDeque<Notice>,
}

impl Protocol {
    /// A session not asked for yet.
    #[must_use]
    pub fn new(settings: Settings) -> Protocol {
        Protocol {
            settings,
            random: Random::new(settings.seed),
            life: Life::Fresh,
            link: Link::Down,
            last_seen: Zxid(0),
            next_sequence: 1,
            unreplied: BTreeMap::new(),
            sequences: BTreeMap::new(),
            unsent: BTreeMap::new(),
            own: VecDeque::new(),
            resend: VecDeque::new(),
            retries: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            acknowledgements: Acknowledgements::default(),
            watches: Watches::default(),
            notices: VecDeque::new(),
            after_resumption: VecDeque::new(),
        }
    }

    /// Whether a session was granted and has not ended.
    pub fn has_session(&self) -> bool {
        matches!(self.life, Life::Granted(_))
    }

    /// Whether everything asked for was answered, parked calls aside.
    pub fn is_at_rest(&self) -> bool {
        let parked = |pending: &Pending| pending.stage == Stage::Parked;
        self.unsent.is_empty() && self.own.is_empty() && self.unreplied.values().all(parked)
    }

    /// The next thing that the shell should know.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// A transport to some server is up: the session is asked for.
    pub fn transport_up(&mut self, now_ms: u64) {
        assert!(matches!(self.link, Link::Down), "a second transport while one is up");
        self.link = Link::Handshaking { since_ms: now_ms, sent: false };
    }

    /// The transport is gone.
    pub fn transport_down(&mut self) {
        self.link = Link::Down;
        self.resend.clear();
        self.own.retain(|pending| pending.purpose != Purpose::Resume);
        self.watches.on_disconnected();
    }

    /// Takes a call over. Its completion comes as a notice.
    pub fn submit(&mut self, now_ms: u64, submission: Submission) {
        let call = submission.call;
        if let Life::Ended { failure } = &self.life {
            let result = Err(failure.clone());
            self.notices.push_back(Notice::Completed { call, result });
            return;
        }
        let pending = Pending::for_caller(now_ms, submission);
        if let Some(deadline_ms) = pending.deadline_ms {
            self.deadlines.insert((deadline_ms, call));
        }
        self.unsent.insert(call, pending);
    }

    /// The caller has stopped waiting. A call of a recipe that was sent is followed up until it is
    /// known to be cancelled or undone; anything else is not reported, and never sent again: nobody
    /// expects it to be done late.
    pub fn abandon(&mut self, call: CallId) {
        if let Some(pending) = self.unsent.remove(&call) {
            self.forget_deadline(&pending);
            return;
        }
        let Some(sequence) = self.sequences.remove(&call) else {
            return;
        };
        let Some(pending) = self.unreplied.get_mut(&sequence) else {
            return;
        };
        pending.abandoned = true;
        let deadline = pending.deadline_ms.take();
        if let Some(deadline_ms) = deadline {
            self.deadlines.remove(&(deadline_ms, call));
        }
        let answer_may_come = pending.stage == Stage::Sent && matches!(self.link, Link::Up(_));
        match (pending.stage, pending.is_moot()) {
            (Stage::Parked, _) => self.cancel_parked(sequence),
            (_, true) if !answer_may_come => drop(self.finish(sequence)),
            _ => {}
        }
    }

    /// Sends what takes a call back whose caller has gone.
    pub(crate) fn undo(&mut self, operation: Operation) {
        if !matches!(self.life, Life::Ended { .. }) {
            self.own.push_back(Pending::own(operation, Purpose::Undo));
        }
    }

    /// When [`Protocol::tick`] has something to do.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let lost = match &self.life {
            Life::Granted(grant) => Some(grant.contact_ms + grant.timeout_ms),
            Life::Fresh | Life::Ended { .. } => None,
        };
        let link = match &self.link {
            Link::Down => None,
            Link::Handshaking { since_ms, .. } => Some(since_ms + CONNECT_ANSWER_MS),
            Link::Up(up) => Some(self.silence_deadline_ms(up).min(up.heartbeat_due_ms)),
        };
        let retry = self.retries.first().map(|(at_ms, _)| *at_ms);
        let deadline = self.deadlines.first().map(|(at_ms, _)| *at_ms);
        [lost, link, retry, deadline].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now_ms: u64) {
        self.check_contact(now_ms);
        self.check_link(now_ms);
        while let Some((at_ms, sequence)) = self.retries.first().copied() {
            if at_ms > now_ms {
                break;
            }
            self.retries.remove(&(at_ms, sequence));
            self.send_again(sequence);
        }
        while let Some((at_ms, call)) = self.deadlines.first().copied() {
            if at_ms > now_ms {
                break;
            }
            self.deadlines.remove(&(at_ms, call));
            self.pass_deadline(call);
        }
    }

    /// The next frame to send; ask only while there is room to send it.
    pub fn poll_frame(&mut self, now_ms: u64) -> Option<ClientFrame> {
        match &mut self.link {
            Link::Down => None,
            Link::Handshaking { sent: true, .. } => None,
            Link::Handshaking { sent, .. } => {
                *sent = true;
                Some(self.connect_frame())
            }
            Link::Up(up) if up.heartbeat_due_ms <= now_ms => {
                up.heartbeats_sent_ms.push_back(now_ms);
                up.heartbeat_due_ms = now_ms + heartbeat_interval_ms(&self.life);
                Some(ClientFrame::Heartbeat)
            }
            Link::Up(_) => self.next_request(),
        }
    }

    /// Ends the session on this side: every call is answered, nothing is sent any more.
    fn end(&mut self, failure: CallFailure) {
        self.notices.append(&mut self.after_resumption);
        let mut calls: Vec<CallId> = self.unsent.keys().copied().collect();
        calls.extend(self.sequences.keys());
        for call in calls {
            let result = Err(failure.clone());
            self.notices.push_back(Notice::Completed { call, result });
        }
        self.notices.push_back(match &failure {
            CallFailure::SessionLost(reason) => Notice::Lost { reason: reason.clone() },
            _ => Notice::Closed,
        });
        self.life = Life::Ended { failure };
        self.transport_down();
        self.unsent.clear();
        self.own.clear();
        self.unreplied.clear();
        self.sequences.clear();
        self.retries.clear();
        self.deadlines.clear();
    }

    fn lose(&mut self, reason: String) {
        self.end(CallFailure::SessionLost(reason));
    }

    /// Gives the connection up; the shell will bring another one.
    fn disconnect(&mut self, reason: Disconnect) {
        self.transport_down();
        self.notices.push_back(Notice::Disconnect(reason));
    }

    fn check_contact(&mut self, now_ms: u64) {
        let Life::Granted(grant) = &self.life else {
            return;
        };
        if now_ms >= grant.contact_ms + grant.timeout_ms {
            let timeout_ms = grant.timeout_ms;
            self.lose(format!("no server answered for the session timeout of {timeout_ms} ms"));
        }
    }

    /// Two thirds of the timeout, so that a third is left to reach another server.
    fn silence_deadline_ms(&self, up: &Up) -> u64 {
        let Life::Granted(grant) = &self.life else {
            return u64::MAX;
        };
        up.heard_ms + grant.timeout_ms * 2 / 3
    }

    fn check_link(&mut self, now_ms: u64) {
        match &self.link {
            Link::Down => {}
            Link::Handshaking { since_ms, .. } => {
                let silent_ms = now_ms - since_ms;
                if silent_ms >= CONNECT_ANSWER_MS {
                    self.disconnect(Disconnect::Silent { silent_ms });
                }
            }
            Link::Up(up) if now_ms >= self.silence_deadline_ms(up) => {
                let silent_ms = now_ms - up.heard_ms;
                self.disconnect(Disconnect::Silent { silent_ms });
            }
            Link::Up(_) => {}
        }
    }

    fn send_again(&mut self, sequence: u64) {
        if let Some(pending) = self.unreplied.get_mut(&sequence) {
            pending.stage = Stage::Sent;
            if matches!(self.link, Link::Up(_)) {
                self.resend.push_back(sequence);
            }
        }
    }

    fn pass_deadline(&mut self, call: CallId) {
        let sent = self.sequences.get(&call).copied();
        let pending = match sent {
            Some(sequence) => self.unreplied.get(&sequence),
            None => self.unsent.get(&call),
        };
        let last_refusal = pending.and_then(|pending| pending.last_refusal.clone());
        let failure = CallFailure::DeadlinePassed { sent: sent.is_some(), last_refusal };
        self.notices.push_back(Notice::Completed { call, result: Err(failure) });
        self.abandon(call);
    }

    fn forget_deadline(&mut self, pending: &Pending) {
        if let (Some(deadline_ms), Purpose::Caller(call)) = (pending.deadline_ms, &pending.purpose)
        {
            self.deadlines.remove(&(deadline_ms, *call));
        }
    }

    /// Asks for the cancellation of a parked call that nobody waits for any more, once.
    fn cancel_parked(&mut self, sequence: u64) {
        if let Some(pending) = self.unreplied.get_mut(&sequence)
            && !pending.cancel_asked
        {
            pending.cancel_asked = true;
            self.own.push_back(Pending::own(Operation::CancelCall { sequence }, Purpose::Cancel));
        }
    }

    /// Takes a request out whose final answer is known or no longer wanted.
    fn finish(&mut self, sequence: u64) -> Option<Pending> {
        let pending = self.unreplied.remove(&sequence)?;
        self.forget_deadline(&pending);
        if let Purpose::Caller(call) = pending.purpose {
            self.sequences.remove(&call);
        }
        if let Stage::RetryAt(at_ms) = pending.stage {
            self.retries.remove(&(at_ms, sequence));
        }
        if pending.operation.is_write() {
            self.acknowledgements.add(sequence);
        }
        Some(pending)
    }

    fn connect_frame(&self) -> ClientFrame {
        let resume = match &self.life {
            Life::Granted(grant) => {
                Some(Resume { session: grant.session, password: grant.password })
            }
            Life::Fresh | Life::Ended { .. } => None,
        };
        ClientFrame::Connect {
            protocol: PROTOCOL,
            resume,
            timeout_ms: self.settings.session_timeout_ms,
            last_seen: self.last_seen,
            read_only: false,
        }
    }

    /// First what resumes the watches, alone; then what was sent before, in order; then this
    /// machine's own; then what callers ask for.
    fn next_request(&mut self) -> Option<ClientFrame> {
        if self.watches.is_resuming() {
            return self.next_resumption();
        }
        while let Some(sequence) = self.resend.pop_front() {
            if self.unreplied.contains_key(&sequence) {
                return Some(self.request_frame(sequence));
            }
        }
        let next = match self.own.pop_front() {
            Some(pending) => pending,
            None if self.unreplied.len() >= UNREPLIED_MAX => return None,
            None => self.unsent.pop_first()?.1,
        };
        Some(self.first_frame(next))
    }

    fn next_resumption(&mut self) -> Option<ClientFrame> {
        let resumes = |pending: &Pending| pending.purpose == Purpose::Resume;
        let again = |sequence: &u64| self.unreplied.get(sequence).is_some_and(resumes);
        if let Some(position) = self.resend.iter().position(again) {
            let sequence = self.resend.remove(position)?;
            return Some(self.request_frame(sequence));
        }
        let first = self.own.pop_front_if(|pending| resumes(pending))?;
        Some(self.first_frame(first))
    }

    /// Gives a request its number.
    fn first_frame(&mut self, pending: Pending) -> ClientFrame {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        if let Purpose::Caller(call) = pending.purpose {
            self.sequences.insert(call, sequence);
        }
        self.unreplied.insert(sequence, pending);
        self.request_frame(sequence)
    }

    fn oldest_unreplied(&self) -> u64 {
        self.unreplied.keys().next().copied().unwrap_or(self.next_sequence)
    }

    fn request_frame(&mut self, sequence: u64) -> ClientFrame {
        let oldest_unreplied = self.oldest_unreplied();
        let acknowledged = self.acknowledgements.carried_by(sequence, oldest_unreplied);
        #[cfg(feature = "planted-bugs")]
        let acknowledged = if is_planted(PlantedBug::AcknowledgedTooEarly) {
            self.unreplied.range(..sequence).map(|(earlier, _)| *earlier).collect()
        } else {
            acknowledged
        };
        let pending = self.unreplied.get(&sequence).expect("only requests under way are sent");
        ClientFrame::Request {
            sequence,
            oldest_unreplied,
            acknowledged,
            level: pending.level,
            operation: pending.operation.clone(),
        }
    }
}

fn heartbeat_interval_ms(life: &Life) -> u64 {
    match life {
        Life::Granted(grant) => grant.timeout_ms / 3,
        Life::Fresh | Life::Ended { .. } => u64::from(u32::MAX),
    }
}
