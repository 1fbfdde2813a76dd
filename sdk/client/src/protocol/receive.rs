//! What each frame of a server does to the session.
//!
//! Comes in: frames, one by one, with the time. Goes out: notices. Invariant: a final answer takes
//! its request out; a transient refusal never does while somebody waits. Late and repeated answers
//! are ignored.

use super::watches::Resumed;
use super::{
    Answer, CallFailure, CallId, Disconnect, Grant, Life, Link, Notice, Pending, Protocol, Purpose,
    RETRY_MS_MAX, RETRY_MS_MIN, Stage, Up, heartbeat_interval_ms,
};
#[cfg(feature = "planted-bugs")]
use quorate_planted_bugs::{PlantedBug, is_planted};
use quorate_types::{ErrorCode, Operation, Outcome, Refusal, Reply, ServerId, Zxid};
use quorate_wire::native::ServerFrame;
use std::collections::VecDeque;

impl Protocol {
    /// Takes a frame of the server in.
    pub fn receive(&mut self, now_ms: u64, frame: ServerFrame) {
        match &mut self.link {
            Link::Down => {}
            Link::Handshaking { since_ms, .. } => {
                let since_ms = *since_ms;
                self.receive_handshake(now_ms, since_ms, frame);
            }
            Link::Up(up) => {
                up.heard_ms = now_ms;
                self.receive_connected(now_ms, frame);
            }
        }
    }

    fn receive_handshake(&mut self, now_ms: u64, since_ms: u64, frame: ServerFrame) {
        match frame {
            ServerFrame::Connected {
                session, password, timeout_ms, server, resumed, zxid, ..
            } => {
                if let Life::Granted(old) = &self.life
                    && (!resumed || old.session != session)
                {
                    let reason = format!("server {server} no longer knew session {}", old.session);
                    self.lose(reason);
                    return;
                }
                let timeout_ms = u64::from(timeout_ms.max(1));
                let grant = Grant { session, password, timeout_ms, contact_ms: since_ms };
                self.life = Life::Granted(grant);
                self.last_seen = self.last_seen.max(zxid);
                self.go_on(now_ms, server);
            }
            ServerFrame::Refused(refusal) | ServerFrame::Goodbye(refusal) => {
                self.refuse_connection(refusal);
            }
            ServerFrame::Reply { .. } | ServerFrame::Watch(_) | ServerFrame::Heartbeat { .. } => {
                let words = "the server spoke before it had granted a session";
                self.disconnect(Disconnect::Violation(words));
            }
        }
    }

    fn refuse_connection(&mut self, refusal: Refusal) {
        let ended = matches!(refusal.code, ErrorCode::SessionExpired | ErrorCode::SessionRefused);
        if ended && self.has_session() {
            self.lose(refusal.to_string());
        } else {
            self.disconnect(Disconnect::Refused(refusal));
        }
    }

    /// The session is served: watches are resumed, and then everything without a final answer goes
    /// out again, in order.
    fn go_on(&mut self, now_ms: u64, server: ServerId) {
        self.link = Link::Up(Up {
            heard_ms: now_ms,
            heartbeat_due_ms: now_ms + heartbeat_interval_ms(&self.life),
            heartbeats_sent_ms: VecDeque::new(),
            fruitless_since_ms: None,
        });
        self.retries.clear();
        let moot = |(sequence, pending): (&u64, &Pending)| {
            (pending.is_moot() || pending.purpose == Purpose::Resume).then_some(*sequence)
        };
        for sequence in self.unreplied.iter().filter_map(moot).collect::<Vec<_>>() {
            self.finish(sequence);
        }
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::RetryUnderNewSequence) {
            self.renumber_unreplied();
        }
        self.resend = self.unreplied.keys().copied().collect();
        #[cfg(feature = "planted-bugs")]
        if is_planted(PlantedBug::ResentInReverse) {
            self.resend.make_contiguous().reverse();
        }
        for pending in self.unreplied.values_mut() {
            pending.stage = Stage::Sent;
        }
        self.resume_watches();
        if let Life::Granted(grant) = &self.life {
            let timeout_ms = u32::try_from(grant.timeout_ms).unwrap_or(u32::MAX);
            let session = grant.session;
            self.notices.push_back(Notice::Connected { session, server, timeout_ms });
        }
    }

    #[cfg(feature = "planted-bugs")]
    fn renumber_unreplied(&mut self) {
        for pending in std::mem::take(&mut self.unreplied).into_values() {
            if let Purpose::Caller(call) = pending.purpose {
                self.sequences.insert(call, self.next_sequence);
            }
            self.unreplied.insert(self.next_sequence, pending);
            self.next_sequence += 1;
        }
    }

    /// Before anything else, so that events leave before replies that show what they tell of.
    fn resume_watches(&mut self) {
        for operation in self.watches.resume().into_iter().rev() {
            self.own.push_front(Pending::own(operation, Purpose::Resume));
        }
        if !self.watches.is_resuming() {
            self.notices.append(&mut self.after_resumption);
        }
    }

    fn receive_connected(&mut self, now_ms: u64, frame: ServerFrame) {
        match frame {
            ServerFrame::Reply { sequence, zxid, outcome } => {
                self.see(zxid);
                self.receive_reply(now_ms, sequence, zxid, outcome);
            }
            ServerFrame::Watch(event) => {
                self.last_seen = self.last_seen.max(event.zxid);
                self.notices.extend(self.watches.on_event(event).map(Notice::Event));
            }
            ServerFrame::Heartbeat { zxid } => {
                self.see(zxid);
                self.receive_heartbeat();
            }
            ServerFrame::Goodbye(refusal) if refusal.code == ErrorCode::SessionExpired => {
                self.lose(refusal.to_string());
            }
            ServerFrame::Goodbye(refusal) => self.disconnect(Disconnect::Goodbye(refusal)),
            ServerFrame::Connected { .. } | ServerFrame::Refused(_) => {
                let words = "the server answered the connect frame twice";
                self.disconnect(Disconnect::Violation(words));
            }
        }
    }

    /// Every event up to this transaction has come.
    fn see(&mut self, zxid: Zxid) {
        self.last_seen = self.last_seen.max(zxid);
        self.watches.on_zxid(zxid);
    }

    fn receive_heartbeat(&mut self) {
        let Link::Up(up) = &mut self.link else {
            return;
        };
        if let (Some(sent_ms), Life::Granted(grant)) =
            (up.heartbeats_sent_ms.pop_front(), &mut self.life)
        {
            grant.contact_ms = grant.contact_ms.max(sent_ms);
        }
    }

    fn receive_reply(&mut self, now_ms: u64, sequence: u64, zxid: Zxid, outcome: Outcome) {
        if !self.unreplied.contains_key(&sequence) {
            return;
        }
        match outcome {
            Ok(Reply::Parked(_)) => self.park(sequence),
            Ok(reply) => self.complete(sequence, Answer { reply, zxid }),
            Err(refusal) => self.receive_refusal(now_ms, sequence, refusal),
        }
    }

    fn park(&mut self, sequence: u64) {
        self.note_fruitful();
        let Some(pending) = self.unreplied.get_mut(&sequence) else {
            return;
        };
        pending.stage = Stage::Parked;
        let abandoned = pending.abandoned;
        if !pending.deadline_covers_parking {
            let patient = Pending { deadline_ms: None, ..pending.clone() };
            let hurried = std::mem::replace(pending, patient);
            self.forget_deadline(&hurried);
        }
        if abandoned {
            self.cancel_parked(sequence);
        }
    }

    fn complete(&mut self, sequence: u64, answer: Answer) {
        self.note_fruitful();
        let Some(pending) = self.finish(sequence) else {
            return;
        };
        self.acknowledgements.answered(sequence, &pending.operation, true);
        self.watches.on_done(&pending.operation, &answer.reply);
        match pending.purpose {
            Purpose::Caller(_) if pending.abandoned => {
                if let Some(operation) = pending.undo.and_then(|undo| undo.undoing(&answer.reply)) {
                    self.undo(operation);
                }
            }
            Purpose::Caller(call) => self.tell_completed(call, Ok(answer)),
            Purpose::Resume => self.complete_resumption(&pending.operation, answer.reply),
            Purpose::Cancel | Purpose::Undo => {}
        }
        if pending.operation == Operation::CloseSession {
            self.end(CallFailure::Closed);
        }
    }

    fn complete_resumption(&mut self, operation: &Operation, reply: Reply) {
        let (Operation::ResumeWatches { watches, .. }, Reply::Watching { replayed, gap }) =
            (operation, reply)
        else {
            let words = "the server did not say from where on it watches";
            self.disconnect(Disconnect::Violation(words));
            return;
        };
        if let Some(Resumed { gaps, events }) = self.watches.on_resumed(watches, replayed, gap) {
            let gaps = gaps.into_iter().map(|(path, mode)| Notice::Gap { path, mode });
            self.notices.extend(gaps.chain(events.into_iter().map(Notice::Event)));
            self.notices.append(&mut self.after_resumption);
        }
    }

    fn receive_refusal(&mut self, now_ms: u64, sequence: u64, refusal: Refusal) {
        match refusal.code {
            ErrorCode::SessionExpired => self.lose(refusal.to_string()),
            ErrorCode::SessionMoved => self.disconnect(Disconnect::Goodbye(refusal)),
            code if code.is_transient() => self.retry_later(now_ms, sequence, refusal),
            _ => {
                self.note_fruitful();
                self.refuse_for_good(sequence, refusal);
            }
        }
    }

    /// A server that will not have the session's watches is left: without them it would be silent.
    fn refuse_for_good(&mut self, sequence: u64, refusal: Refusal) {
        let resumes = |pending: &Pending| pending.purpose == Purpose::Resume;
        if self.unreplied.get(&sequence).is_some_and(resumes) {
            self.disconnect(Disconnect::Goodbye(refusal));
        } else {
            self.refuse(sequence, refusal);
        }
    }

    /// Ends a request with a final refusal.
    pub(crate) fn refuse(&mut self, sequence: u64, refusal: Refusal) {
        let Some(pending) = self.finish(sequence) else {
            return;
        };
        self.acknowledgements.answered(sequence, &pending.operation, false);
        if let Purpose::Caller(call) = pending.purpose
            && !pending.abandoned
        {
            self.tell_completed(call, Err(CallFailure::Refused(refusal)));
        }
    }

    /// An answer may show what the watches tell only once they are resumed: a call that was parked
    /// through an earlier connection is answered whenever it is done. The caller waits until then, so
    /// that nobody learns of something new and still trusts what a watched znode was.
    fn tell_completed(&mut self, call: CallId, result: Result<Answer, CallFailure>) {
        let notice = Notice::Completed { call, result };
        let waits = self.watches.is_resuming();
        #[cfg(feature = "planted-bugs")]
        let waits = waits && !is_planted(PlantedBug::AnswerBeforeResumption);
        if waits {
            self.after_resumption.push_back(notice);
        } else {
            self.notices.push_back(notice);
        }
    }

    /// The request stays under its sequence and goes out again after a pause that doubles, with
    /// jitter, so that many clients do not come back at once.
    fn retry_later(&mut self, now_ms: u64, sequence: u64, refusal: Refusal) {
        let leaderless = matches!(refusal.code, ErrorCode::NoLeader | ErrorCode::ServerUnavailable);
        let Some(pending) = self.unreplied.get_mut(&sequence) else {
            return;
        };
        if pending.is_moot() {
            self.refuse(sequence, refusal);
            return;
        }
        if let Stage::RetryAt(at_ms) = pending.stage {
            self.retries.remove(&(at_ms, sequence));
        }
        let pause_ms = (RETRY_MS_MIN << pending.refusals.min(10)).min(RETRY_MS_MAX);
        let at_ms = now_ms + self.random.between(pause_ms.div_ceil(2), pause_ms);
        pending.refusals += 1;
        pending.last_refusal = Some(refusal);
        pending.stage = Stage::RetryAt(at_ms);
        self.retries.insert((at_ms, sequence));
        if leaderless {
            self.note_fruitless(now_ms);
        }
    }

    fn note_fruitful(&mut self) {
        if let Link::Up(up) = &mut self.link {
            up.fruitless_since_ms = None;
        }
    }

    /// A server cut off from its leader for a third of the timeout is left: another may have one.
    fn note_fruitless(&mut self, now_ms: u64) {
        let patience_ms = heartbeat_interval_ms(&self.life);
        let Link::Up(up) = &mut self.link else {
            return;
        };
        let since_ms = *up.fruitless_since_ms.get_or_insert(now_ms);
        let fruitless_ms = now_ms - since_ms;
        if fruitless_ms >= patience_ms {
            self.disconnect(Disconnect::NoLeader { fruitless_ms });
        }
    }
}
