//! When sessions expire (design page, section 6: "the leader tracks last touch on its monotonic clock;
//! a new leader grants every session its full timeout"): not before their timeout since the leader
//! heard of them, and not much later once nobody speaks for them.
//!
//! Comes in: what clients send and hear, the log, leaders after every step. What counts as heard is
//! only what is sure to have reached the leader that decided: its own beginning, a session attached
//! there, its own standstill, a frame that it answered itself; and, when every fault has ended, frames
//! that other servers answered, which they tell the leader of once per heartbeat interval. A frame
//! answered by a server that is cut off is none: touches are not acknowledged, and the next frame
//! makes up for a lost one.

use crate::history::{CommittedEntry, History};
use crate::observation::{Checker, Observation, Rest, SimulatedReplica};
use crate::zookeeper::zookeeper_place;
use quorate_machine::{Change, Origin};
use quorate_raft::{EntryKind, Role};
use quorate_types::{SessionId, Zxid};
use quorate_wire::zookeeper::{ServerMessage, xid};
use std::collections::{BTreeMap, VecDeque};

/// A leader takes what it heard itself into account this much later at the most, in true time: its
/// heartbeat interval.
const NOTE_MS: u64 = 250;
/// A standstill this long is longer than any election timeout, whatever the clock's rate.
const STALL_MS: u64 = 1_200;
/// How long after the end of all faults servers may still be finding each other and their leader.
const REUNION_MS: u64 = 5_000;
/// How long a leader may take to end a session that is due: it asks its quorum, compiles what has
/// to hear of it, and tries again.
const EXPIRY_MS: u64 = 5_000;

#[derive(Default)]
pub struct SessionExpiry {
    sessions: BTreeMap<SessionId, Session>,
    /// The session of each client process that lives.
    present: BTreeMap<usize, SessionId>,
    connections: BTreeMap<u64, Connection>,
    terms: BTreeMap<u64, Leadership>,
    /// The term that each server led when it was last looked at.
    leading: BTreeMap<u64, u64>,
    stepped_ms: BTreeMap<u64, u64>,
    /// Since when nothing is wrong and the members are the same.
    calm_since_ms: Option<u64>,
    judged: u64,
}

struct Session {
    timeout_ms: u64,
    /// When the leader of a term applied that it was opened or attached: term and time.
    attached: Option<(u64, u64)>,
    /// Frames that were answered, newest last.
    frames: VecDeque<Frame>,
}

/// A frame that a server has answered.
#[derive(Clone, Copy)]
struct Frame {
    server: u64,
    sent_ms: u64,
    answered_ms: u64,
}

struct Connection {
    server: u64,
    heartbeats_ms: VecDeque<u64>,
    requests_ms: BTreeMap<u64, u64>,
}

/// What one server did as the leader of one term.
struct Leadership {
    server: u64,
    ready_ms: Option<u64>,
    stalled_ms: u64,
    /// Last indexes, and when they were reached.
    proposed: Vec<(u64, u64)>,
}

impl SessionExpiry {
    fn on_stepped(&mut self, server: u64, replica: &SimulatedReplica, now_ms: u64) {
        let before_ms = self.stepped_ms.insert(server, now_ms).unwrap_or(now_ms);
        let raft = replica.raft();
        if raft.role() != Role::Leader {
            self.leading.remove(&server);
            return;
        }
        let (term, last) = (raft.term().0, raft.last_index().0);
        self.leading.insert(server, term);
        let leadership = self.terms.entry(term).or_insert_with(|| Leadership {
            server,
            ready_ms: None,
            stalled_ms: 0,
            proposed: Vec::new(),
        });
        if now_ms - before_ms >= STALL_MS {
            leadership.stalled_ms = now_ms;
        }
        if replica.is_serving_leader() {
            leadership.ready_ms.get_or_insert(now_ms);
        }
        if leadership.proposed.last().is_none_or(|(known, _)| *known < last) {
            leadership.proposed.push((last, now_ms));
        }
    }

    fn on_applied(&mut self, history: &History, server: u64, zxid: Zxid) {
        let Some(term) = self.leading.get(&server).copied() else { return };
        let Some(entry) = history.entry(zxid) else { return };
        for (session, _) in granted(entry) {
            if let Some(known) = self.sessions.get_mut(&session) {
                known.attached = Some((term, history.now.at_ms));
            }
        }
    }

    fn on_committed(&mut self, history: &History, entry: &CommittedEntry) -> Result<(), String> {
        let now_ms = history.now.at_ms;
        if entry.kind == EntryKind::Membership && self.calm_since_ms.is_some() {
            self.calm_since_ms = Some(now_ms);
        }
        for (session, timeout_ms) in granted(entry) {
            if let Some(timeout_ms) = timeout_ms {
                let frames = VecDeque::new();
                self.sessions.insert(session, Session { timeout_ms, attached: None, frames });
            }
        }
        let Some(transaction) = &entry.transaction else { return Ok(()) };
        for change in &transaction.changes {
            let Change::CloseSession { session } = change else { continue };
            let Some(ended) = self.sessions.remove(session) else { continue };
            if transaction.origin == Origin::Leader {
                self.judge(*session, &ended, entry)?;
            }
        }
        Ok(())
    }

    /// Whether the leader was right to end a session.
    fn judge(
        &mut self,
        session: SessionId,
        ended: &Session,
        entry: &CommittedEntry,
    ) -> Result<(), String> {
        let Some(leadership) = self.terms.get(&entry.term) else { return Ok(()) };
        let place = leadership.proposed.partition_point(|(last, _)| *last < entry.zxid.0);
        let Some((_, decided_ms)) = leadership.proposed.get(place).copied() else { return Ok(()) };
        self.judged += 1;
        let (heard_ms, how) = self.heard_ms(ended, entry.term, leadership, decided_ms);
        // A clock runs a tenth too fast at the most; it is rounded at either end.
        let least_ms = (ended.timeout_ms * 10 / 11).saturating_sub(3);
        // What was heard after the decision could not hinder it.
        let Some(silent_ms) = decided_ms.checked_sub(heard_ms) else { return Ok(()) };
        if silent_ms >= least_ms {
            return Ok(());
        }
        Err(format!(
            "server {} of term {} decided at {decided_ms} ms to end session {session} ({}), {silent_ms} ms \
             after {how}; its timeout is {} ms",
            leadership.server, entry.term, entry.zxid, ended.timeout_ms
        ))
    }

    /// The newest time at which the leader has surely heard of the session, and how.
    fn heard_ms(
        &self,
        ended: &Session,
        term: u64,
        leadership: &Leadership,
        decided_ms: u64,
    ) -> (u64, &'static str) {
        let Some(ready_ms) = leadership.ready_ms.filter(|ready_ms| *ready_ms <= decided_ms) else {
            return (decided_ms, "that leader was not ready yet");
        };
        let attached =
            ended.attached.filter(|(known, at_ms)| *known == term && *at_ms <= decided_ms);
        let own = ended.frames.iter().rev().find(|frame| {
            let noted_ms = frame.answered_ms + NOTE_MS;
            frame.server == leadership.server && frame.sent_ms >= ready_ms && noted_ms <= decided_ms
        });
        let candidates = [
            Some((ready_ms, "that leader began")),
            Some((leadership.stalled_ms, "that leader had stood still")),
            attached.map(|(_, at_ms)| (at_ms, "that leader applied its attachment")),
            own.map(|frame| (frame.sent_ms, "the client sent what that leader answered")),
            self.relayed_ms(ended, ready_ms, decided_ms).map(|sent_ms| {
                (sent_ms, "the client sent the last but one frame that was answered")
            }),
        ];
        candidates.into_iter().flatten().max().expect("a leader begins")
    }

    /// When everything is whole: the last but one frame that another server answered in time to tell
    /// the leader of it. One may be lost with a connection between servers.
    fn relayed_ms(&self, ended: &Session, ready_ms: u64, decided_ms: u64) -> Option<u64> {
        let calm_ms = self.calm_since_ms?.max(ready_ms) + REUNION_MS;
        // Much longer than the way to the leader takes by the plan's delays.
        let way_ms = ended.timeout_ms / 4;
        let mut frames =
            ended.frames.iter().rev().filter(|frame| {
                frame.sent_ms >= calm_ms && frame.answered_ms + way_ms <= decided_ms
            });
        let newest = frames.next()?;
        frames.find(|frame| frame.answered_ms + way_ms <= newest.sent_ms).map(|frame| frame.sent_ms)
    }

    fn on_answered(&mut self, session: SessionId, server: u64, sent_ms: u64, answered_ms: u64) {
        let Some(known) = self.sessions.get_mut(&session) else { return };
        known.frames.push_back(Frame { server, sent_ms, answered_ms });
        let old_ms = answered_ms.saturating_sub(known.timeout_ms * 2);
        while known.frames.front().is_some_and(|frame| frame.sent_ms < old_ms) {
            known.frames.pop_front();
        }
    }

    fn on_heartbeat_answered(&mut self, connection: u64, session: SessionId, now_ms: u64) {
        let known = self.connections.get_mut(&connection);
        let sent = known.and_then(|known| Some((known.server, known.heartbeats_ms.pop_front()?)));
        if let Some((server, sent_ms)) = sent {
            self.on_answered(session, server, sent_ms, now_ms);
        }
    }

    /// A ZooKeeper client gives its session up when it is told so and at no other time.
    fn judge_lost(&self, client: usize, session: SessionId, reason: &str) -> Result<(), String> {
        match zookeeper_place(client) {
            Some(_) if self.sessions.contains_key(&session) => {
                Err(format!("client {client} has lost session {session}, which lives: {reason}"))
            }
            _ => Ok(()),
        }
    }

    /// Nobody speaks for a session whose client has gone: its time is over at some point.
    fn check_left(&mut self, rest: &Rest<'_>, now_ms: u64) -> Result<(), String> {
        let (Some(calm_ms), Some(replica)) = (self.calm_since_ms, rest.replicas.get(&rest.leader))
        else {
            return Ok(());
        };
        let term = replica.raft().term().0;
        let leadership = self.terms.get(&term).filter(|known| known.server == rest.leader);
        let Some((leadership, ready_ms)) =
            leadership.and_then(|known| Some((known, known.ready_ms?)))
        else {
            return Ok(());
        };
        for known in replica.machine().sessions() {
            self.judged += 1;
            let Some(session) = self.sessions.get(&known.session) else { continue };
            let answered_ms = session.frames.back().map_or(0, |frame| frame.answered_ms);
            let attached_ms = session.attached.map_or(0, |(_, at_ms)| at_ms);
            let newest_ms = [calm_ms, ready_ms, leadership.stalled_ms, answered_ms, attached_ms];
            let newest_ms = newest_ms.into_iter().max().unwrap_or(0);
            let due_ms = newest_ms + session.timeout_ms * 10 / 9 + EXPIRY_MS;
            let lives = self.present.values().any(|present| *present == known.session);
            if !lives && due_ms < now_ms {
                return Err(format!(
                    "session {} of {} is still there at {now_ms} ms: nobody speaks for it, and the \
                     leader had to hear nothing since {newest_ms} ms; its timeout is {} ms",
                    known.session, known.identity, session.timeout_ms
                ));
            }
        }
        Ok(())
    }
}

fn is_ping_answer(message: &ServerMessage<'_>) -> bool {
    matches!(message, ServerMessage::Reply { header, .. } if header.xid == xid::PING)
}

/// Sessions that an entry opens, with their timeout, or attaches.
fn granted(entry: &CommittedEntry) -> impl Iterator<Item = (SessionId, Option<u64>)> {
    let changes = entry.transaction.iter().flat_map(|transaction| &transaction.changes);
    changes.filter_map(|change| match change {
        Change::OpenSession { timeout_ms, .. } => {
            Some((SessionId(entry.zxid.0), Some(u64::from(*timeout_ms))))
        }
        Change::AttachSession { session } => Some((*session, None)),
        _ => None,
    })
}

impl Checker for SessionExpiry {
    fn name(&self) -> &'static str {
        "session_expiry"
    }

    fn observe(&mut self, history: &History, what: &Observation<'_>) -> Result<(), String> {
        let now_ms = history.now.at_ms;
        match what {
            Observation::Stepped { server, replica, .. } => {
                self.on_stepped(*server, replica, now_ms);
            }
            Observation::Stopped { server, .. } => drop(self.leading.remove(server)),
            Observation::Applied { server, zxid, .. } => self.on_applied(history, *server, *zxid),
            Observation::Committed { entry } => return self.on_committed(history, entry),
            Observation::Connected { client, connection, session, server, .. } => {
                self.present.insert(*client, *session);
                let (heartbeats_ms, requests_ms) = Default::default();
                let opened = Connection { server: server.0, heartbeats_ms, requests_ms };
                self.connections.insert(*connection, opened);
            }
            Observation::Sent { id, connection } => {
                let known = history.operation(*id);
                let connection = self.connections.get_mut(connection);
                if let (Some((_, sequence)), Some(connection)) = (known.request, connection) {
                    connection.requests_ms.insert(sequence, now_ms);
                }
            }
            Observation::HeartbeatSent { connection, .. } => {
                if let Some(connection) = self.connections.get_mut(connection) {
                    connection.heartbeats_ms.push_back(now_ms);
                }
            }
            Observation::AnswerSeen { connection, session, sequence, .. } => {
                let known = self.connections.get_mut(connection);
                let sent = known
                    .and_then(|known| Some((known.server, known.requests_ms.remove(sequence)?)));
                if let Some((server, sent_ms)) = sent {
                    self.on_answered(*session, server, sent_ms, now_ms);
                }
            }
            Observation::HeartbeatSeen { client, connection, session, .. }
                if zookeeper_place(*client).is_none() =>
            {
                self.on_heartbeat_answered(*connection, *session, now_ms);
            }
            // What their conversations hear is not what ZooKeeper clients hear.
            Observation::ZooKeeperHeard { connection, session, message, .. }
                if is_ping_answer(message) =>
            {
                self.on_heartbeat_answered(*connection, *session, now_ms);
            }
            Observation::SessionLost { client, session, reason } => {
                self.present.remove(client);
                return self.judge_lost(*client, *session, reason);
            }
            Observation::SessionClosed { client, .. } | Observation::ClientDied { client, .. } => {
                self.present.remove(client);
            }
            Observation::Disconnected { connection, .. } => {
                self.connections.remove(connection);
            }
            Observation::Healed => self.calm_since_ms = Some(now_ms),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, history: &History, rest: &Rest<'_>) -> Result<(), String> {
        self.check_left(rest, history.now.at_ms)
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::told::{SESSION, Told, committed, requested};
    use crate::zookeeper::FIRST_ZOOKEEPER_CLIENT;
    use quorate_types::ServerId;
    use quorate_wire::zookeeper::{Reply, ReplyHeader, ZooKeeperError};

    const CLIENT: usize = FIRST_ZOOKEEPER_CLIENT;

    /// Server 1 leads term 2 from 1,000 ms on, and has proposed entry 5 at `decided_ms`: the end of a
    /// session of 1,100 ms with these frames.
    fn judge(
        frames: Vec<Frame>,
        decided_ms: u64,
        calm_since_ms: Option<u64>,
    ) -> Result<(), String> {
        let ready_ms = Some(1_000);
        let proposed = vec![(1, 1_000), (5, decided_ms)];
        let leadership = Leadership { server: 1, ready_ms, stalled_ms: 0, proposed };
        let terms = BTreeMap::from([(2, leadership)]);
        let mut checker = SessionExpiry { terms, calm_since_ms, ..SessionExpiry::default() };
        let ended = Session { timeout_ms: 1_100, attached: None, frames: frames.into() };
        checker.judge(SESSION, &ended, &committed(Zxid(5), 2))
    }

    fn frame(server: u64, sent_ms: u64) -> Frame {
        Frame { server, sent_ms, answered_ms: sent_ms + 10 }
    }

    #[test]
    fn a_new_leader_grants_every_session_its_timeout() {
        judge(vec![], 2_000, None).unwrap();
        judge(vec![], 1_990, None).unwrap_err();
    }

    #[test]
    fn what_the_leader_answered_itself_counts() {
        judge(vec![frame(1, 2_000)], 2_900, None).unwrap_err();
        judge(vec![frame(1, 2_000)], 3_000, None).unwrap();
    }

    #[test]
    fn what_the_leader_answered_a_moment_ago_may_not_be_noted_yet() {
        judge(vec![frame(1, 2_000)], 2_100, None).unwrap();
    }

    #[test]
    fn what_others_answered_counts_when_nothing_is_wrong() {
        let frames = || vec![frame(2, 19_000), frame(2, 19_400)];
        judge(frames(), 19_900, None).unwrap();
        judge(frames(), 19_900, Some(15_000)).unwrap();
        judge(frames(), 19_900, Some(5_000)).unwrap_err();
        judge(frames(), 20_000, Some(5_000)).unwrap();
    }

    #[test]
    fn a_session_that_lives_is_not_said_to_be_over() {
        let mut run = Told::<SessionExpiry>::with_session();
        let lost = Observation::SessionLost { client: CLIENT, session: SESSION, reason: "over" };
        run.observe(&lost).unwrap_err();
        run.commit(requested(1), Change::CloseSession { session: SESSION }).unwrap();
        run.observe(&lost).unwrap();
    }

    #[test]
    fn of_a_zookeeper_client_the_pings_that_it_hears_answered_count() {
        let mut run = Told::<SessionExpiry>::with_session();
        let (client, connection, session, zxid) = (CLIENT, 1, SESSION, Zxid(1));
        let (server, timeout_ms, resumed) = (ServerId(1), 1_000, false);
        for what in [
            Observation::Connected {
                client,
                connection,
                session,
                server,
                resumed,
                timeout_ms,
                zxid,
            },
            Observation::HeartbeatSent { client, connection },
            Observation::HeartbeatSeen { client, connection, session, zxid },
        ] {
            run.observe(&what).unwrap();
        }
        assert_eq!(run.checker.sessions[&SESSION].frames.len(), 0);
        let header = ReplyHeader { xid: xid::PING, zxid: 1, error: ZooKeeperError::Ok };
        let message = &ServerMessage::Reply { header, reply: Reply::Empty };
        let awaited = None;
        run.observe(&Observation::ZooKeeperHeard { client, connection, session, awaited, message })
            .unwrap();
        assert_eq!(run.checker.sessions[&SESSION].frames.len(), 1);
    }
}
